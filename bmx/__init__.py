"""bmx: binary neural networks for stock Apache MXNet 1.9.1 and Gluon."""
from . import ops
from . import nn
from . import models
from . import optimizers
from .accounting import Summary, summary
from .deploy import ExportError, export
from .models import get_model
from .models.registry import register_with_gluoncv
from .storage import LoadError, load_parameters

__version__ = '0.1.0'
register_with_gluoncv()
