"""bmx: binary neural networks for stock Apache MXNet 1.9.1 and Gluon."""
from . import threads

threads.use_physical_cores()  # before anything imports MXNet

from . import models, nn, ops, optimizers  # noqa: E402
from .accounting import Summary, summary  # noqa: E402
from .deploy import ExportError, export  # noqa: E402
from .models import get_model  # noqa: E402
from .models.registry import register_with_gluoncv  # noqa: E402
from .storage import LoadError, load_parameters  # noqa: E402

__version__ = '0.1.0'
register_with_gluoncv()
