"""The model zoo: one file a family, all of them in one registry."""
from . import meliusnet
from .registry import MODELS, get_model, register
