"""From a trained Gluon network to a packed one that runs on `xnor_popcount`, and back from its files."""
from .arithmetic import OwnNetwork
from .errors import ExportError
from .export import Export, export
from .files import Metadata, load
from .trace import trace
from .verify import Comparison, Verification, compare, verify
