"""Images/s of several workers against one, what a step sends, and what a network allows by these figures.

    python benchmarks/scaling.py --model meliusnet22 --data-dir imagenette --input-size 128 --batch-size 16

Steps of a training are made by one process without a store, by one worker and a server, and by several workers and a
server, each worker with one thread, on this machine. Options that are not listed go to the trainings.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

# The first steps allocate and compile.
FIRST_STEPS = 4
# Bytes of a number that is sent.
BYTES = 4


def local_traffic():
    """Bytes that this machine has sent to itself."""
    with open('/proc/net/dev') as lines:
        return next(int(line.split()[1]) for line in lines if line.strip().startswith('lo:'))


def work(kvstore, steps, flags):
    """As a worker make steps; what is known of them, as a dict."""
    import mxnet as mx

    from bmx.cli import CommandParser
    from bmx.cli.training import plan_of
    from bmx.train import CheckpointStore, TrainingError, Workers
    from bmx.train.plan import begin

    with tempfile.TemporaryDirectory() as folder:  # to which nothing is written
        options = CommandParser('train').parse_args([*flags, '--kvstore', kvstore, '--save-dir', folder])
        with Workers(kvstore) as workers:
            plan = plan_of(options)
            data = plan.open_data(options.num_workers, workers)
            if data.num_train_batches <= FIRST_STEPS + steps:
                raise TrainingError(f'an epoch has {data.num_train_batches} steps, measured are {FIRST_STEPS} + '
                                    f'{steps}: take more images, or a smaller --batch-size')
            training = begin(plan, data, CheckpointStore(folder, 0), workers=workers)
            for index, batch in enumerate(data.train_batches(0)):
                if index == FIRST_STEPS:
                    begun, sent = time.perf_counter(), local_traffic()
                elif index == FIRST_STEPS + steps:
                    break
                training.train_step(batch)
                mx.nd.waitall()
            seconds, sent = time.perf_counter() - begun, local_traffic() - sent
            parameters = sum(each.data().size for each in training.net.collect_params().values()
                             if each.grad_req != 'null')
            return {'rank': workers.rank, 'images': steps * data.step_size, 'seconds': seconds, 'sent': sent / steps,
                    'parameters': parameters}


def measure(workers, options, flags):
    """The figures of worker 0; of 0 workers those of a process without a store."""
    kvstore = options.kvstore if workers else 'device'
    command = [sys.executable, '-W', 'ignore', __file__, '--work', kvstore, '--steps', str(options.steps), *flags]
    if workers:
        command = [sys.executable, '-W', 'ignore', '-m', 'bmx', 'launch', '-n', str(workers), '-s',
                   str(options.servers), '--', *command]
    done = subprocess.run(command, env=dict(os.environ, OMP_NUM_THREADS='1'), stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)
    found = [json.loads(line[line.index('{'):]) for line in done.stdout.splitlines() if '{"rank": ' in line]
    if done.returncode or len(found) != max(1, workers):
        sys.exit(f'{" ".join(command)} failed:\n{done.stdout}')
    return next(each for each in found if each['rank'] == 0)


def on_paper(step_bytes, seconds, gigabits):
    """What a network allows: for each number of workers and of servers the seconds of sending, at least."""
    rate = gigabits * 1e9 / 8  # bytes/s, each way
    lines = [f'on a network of {gigabits:g} Gbit/s, by steps of {seconds:.3f} s, sent when they are computed:']
    for workers in (8, 64):
        for servers in (1, workers):
            # A server receives its part of the gradients of all workers, and sends it to all. A worker beside each of
            # the servers sends and receives its own, too; what stays on its machine is not sent.
            load = workers / servers if servers == 1 else 2 * (1 - 1 / workers)
            sending = load * step_bytes / rate
            lines.append(f'  {workers:2} workers, {servers:2} server{"s" * (servers > 1)}: sending takes '
                         f'{sending:.3f} s, {workers * seconds / (seconds + sending):.1f} times one worker')
    return '\n'.join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     allow_abbrev=False)
    parser.add_argument('-n', '--workers', type=int, default=2)
    parser.add_argument('-s', '--servers', type=int, default=1)
    parser.add_argument('--kvstore', default='dist_sync')
    parser.add_argument('--steps', type=int, default=20, help=f'that are counted, after {FIRST_STEPS} (default: 20)')
    parser.add_argument('--gigabits', type=float, default=10, help='of the network on paper (default: 10)')
    parser.add_argument('--work', help=argparse.SUPPRESS)
    options, flags = parser.parse_known_args()
    if options.work:
        print(json.dumps(work(options.work, options.steps, flags)), flush=True)
        return
    speeds = []
    for workers in (0, 1, options.workers):
        found = measure(workers, options, flags)
        speeds.append(found['images'] / found['seconds'])
        name = f'{workers} workers by {options.kvstore}' if workers else 'without a store'
        print(f'{name}: {speeds[-1]:.2f} images/s, {found["seconds"] / options.steps:.3f} s for a step, '
              f'{found["sent"] / 1e6:.1f} MB sent in it', flush=True)
        if not workers:
            seconds = found['seconds'] / options.steps
    print(f'{options.workers} workers are {speeds[2] / speeds[1]:.2f} times as fast as one with a server, '
          f'{speeds[2] / speeds[0]:.2f} times as fast as without')
    size = BYTES * found['parameters']
    print(f'the gradients are {found["parameters"]} numbers, {size / 1e6:.1f} MB: in a step a worker sends and '
          f'receives as many bytes, so that all send {2 * options.workers * size / 1e6:.1f} MB')
    print(on_paper(size, seconds, options.gigabits))


if __name__ == '__main__':
    main()
