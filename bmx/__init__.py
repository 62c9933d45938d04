"""bmx: binary neural networks for stock Apache MXNet 1.9.1 and Gluon."""
import os

__version__ = '0.5.0'  # the one place that says it

_folder = os.path.dirname(os.path.abspath(__file__))
if not os.path.isdir(os.path.join(_folder, 'models')):  # in a clone the model zoo lies beside this folder
    __path__.append(os.path.dirname(_folder))

from . import mxnet_import  # before all that imports MXNet

# isort: split
from . import models, nn, ops, optimizers
from .accounting import Summary, summary
from .deploy import ExportError, export, import_bmxnet
from .io.bmxnet2 import load_bmxnet2_parameters
from .io.preprocess import prepare
from .io.storage import LoadError, load_parameters
from .models import get_model
from .models.with_gluoncv import register_with_gluoncv

__all__ = ['ExportError', 'LoadError', 'Summary', '__version__', 'export', 'get_model', 'import_bmxnet',
           'load_bmxnet2_parameters', 'load_parameters', 'models', 'nn', 'ops', 'optimizers', 'prepare', 'summary']

register_with_gluoncv()
mxnet_import.serve()
