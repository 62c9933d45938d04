"""Training: recipes, data sets, the loop, checkpoints. `train_imagenet.py` puts them together."""
from . import data, recipes, regularizers
from .checkpoint import CheckpointStore
from .errors import TrainingError
from .loop import Interrupted, Training
from .progress import configure_logging
