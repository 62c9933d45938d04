"""The import of MXNet, with a reason where it fails; nothing of this package is imported before."""
import sys

from . import threads

threads.use_physical_cores()
threads.wait_briefly()
try:
    import mxnet  # noqa: F401
except (AttributeError, ImportError) as error:
    if sys.version_info >= (3, 12):
        version = '.'.join(map(str, sys.version_info[:2]))
        raise ImportError(f'MXNet 1.9.1 runs on Python 3.8 to 3.11, this is {version}: make an environment with one of '
                          'those') from error
    try:
        import numpy
    except ImportError:
        raise error from None
    if tuple(map(int, numpy.__version__.split('.')[:2])) >= (1, 24):
        raise ImportError(f"MXNet 1.9.1 cannot be imported with NumPy {numpy.__version__}: `{sys.executable} -m pip "
                          "install 'numpy<1.24'`") from error
    raise
