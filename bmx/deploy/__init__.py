"""From a trained Gluon network to a packed one that runs on `xnor_popcount`, and back from its files."""
from .errors import ExportError
from .export import Export, export
from .files import Metadata, load
from .verify import Comparison, compare
