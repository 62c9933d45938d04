"""Training: recipes, data sets, the loop, checkpoints, studies of several trainings.

`plan.settle` makes a `Plan` of options, `plan.begin` a `Training` of that; the commands `train` and `recipes` put them
together.
"""
from . import data, recipes, regularizers
from .checkpoint import CheckpointStore
from .errors import TrainingError
from .loop import Interrupted, Training
from .options import DataOptions, TrainingOptions
from .plan import Plan
from .progress import configure_logging
from .workers import Workers
