"""The import of MXNet, with a reason where it fails; nothing of this package is imported before."""
import sys

from . import threads

threads.use_physical_cores()
try:
    import mxnet  # noqa: F401
except (AttributeError, ImportError) as error:
    if sys.version_info >= (3, 12):
        raise ImportError('MXNet 1.9.1 runs on Python 3.8 to 3.11, this is {}.{}: make an environment with one of those'
                          .format(*sys.version_info[:2])) from error
    try:
        import numpy
    except ImportError:
        raise error from None
    if tuple(map(int, numpy.__version__.split('.')[:2])) >= (1, 24):
        raise ImportError("MXNet 1.9.1 cannot be imported with NumPy {}: `{} -m pip install 'numpy<1.24'`".format(
            numpy.__version__, sys.executable)) from error
    raise
