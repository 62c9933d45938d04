"""From a trained Gluon network to a packed one that runs on `xnor_popcount`, and back from its files."""
from .errors import ExportError, LoadError, sentence
from .export import Export, export
from .files import Metadata, load, load_parameters
from .verify import Comparison, compare
