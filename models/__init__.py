"""The model zoo: one file a family, all of them in one registry."""
from . import compact, densenet, ensemble, groupnet, meliusnet, mobinet, quicknet, reactnet, resnete
from .registry import (
    INSTALLED,
    MODELS,
    ROOT,
    family,
    find,
    get_model,
    keywords,
    pretrained_path,
    register,
    register_family,
)

__all__ = ['INSTALLED', 'MODELS', 'ROOT', 'family', 'find', 'get_model', 'keywords', 'pretrained_path', 'register',
           'register_family']
