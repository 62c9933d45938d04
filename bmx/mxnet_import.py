"""The import of MXNet, with a reason where it fails; nothing of this package is imported before."""
import logging
import os
import sys

from . import threads

threads.use_physical_cores()
threads.wait_briefly()
# A process that ps-lite's variables call a server or scheduler becomes one in the import of MXNet, and does not come
# back. Servers compute with the optimizers of this package, so that it has to be imported before: see `serve`.
_served = os.environ.pop('DMLC_ROLE') if os.environ.get('DMLC_ROLE') in ('server', 'scheduler') else None
try:
    import mxnet
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


def serve() -> None:
    """Be a server or scheduler of a distributed training, where the environment says so; ends the process then."""
    if _served is not None:
        os.environ['DMLC_ROLE'] = _served
        logging.basicConfig(level=logging.WARNING)  # MXNet would have all packages tell everything
        mxnet.kvstore.kvstore_server._init_kvstore_server_module()
