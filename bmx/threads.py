"""How many threads MXNet computes with, and how they wait."""
import os


def physical_cores() -> int:
    """Processor cores that this process may use; hardware threads of one core count once."""
    if not hasattr(os, 'sched_getaffinity'):
        return os.cpu_count() or 1
    cores = set()
    for processor in os.sched_getaffinity(0):
        try:
            with open(f'/sys/devices/system/cpu/cpu{processor}/topology/thread_siblings_list') as siblings:
                cores.add(siblings.read())
        except OSError:
            cores.add(str(processor))
    return len(cores)


def use_physical_cores() -> None:
    """Have MXNet compute with a thread for each core, unless the environment says otherwise.

    By itself MXNet takes half of the processors, because it assumes two hardware threads a core; where there is one,
    as on many virtual machines, half of the machine stays idle. Has no effect once MXNet is imported.
    """
    os.environ.setdefault('OMP_NUM_THREADS', str(physical_cores()))


def wait_briefly() -> None:
    """Have MXNet's threads look out for work some ten microseconds, then sleep, unless the environment says otherwise.

    By themselves they look out for milliseconds, and keep from the cores the threads of this package's operators, and
    those of other processes. Has no effect once MXNet is imported.
    """
    if 'OMP_WAIT_POLICY' not in os.environ:
        os.environ.setdefault('GOMP_SPINCOUNT', '20000')
