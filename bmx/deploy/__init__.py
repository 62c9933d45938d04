"""From a trained Gluon network to a packed one that runs on `xnor_popcount`, and back from its files."""
from .arithmetic import OwnNetwork
from .bmxnet import import_bmxnet
from .errors import ExportError
from .exporter import Export, export, in_memory
from .files import Metadata, load
from .runtime import equal_bits, import_runtime
from .tracing import trace
from .verification import Comparison, Verification, compare, verify

__all__ = ['Comparison', 'Export', 'ExportError', 'Metadata', 'OwnNetwork', 'Verification', 'compare',
           'equal_bits', 'export', 'import_bmxnet', 'import_runtime', 'in_memory', 'load', 'trace', 'verify']
