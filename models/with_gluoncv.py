"""GluonCV's model zoo knows the models of this package, whenever it is imported; this package's import does without."""
from __future__ import annotations

import functools
import sys
import types
from importlib.machinery import ModuleSpec
from typing import Any, Callable, Sequence

from PIL import ImageFile

from .registry import MODELS, get_model


def _register() -> None:
    sys.modules['gluoncv.model_zoo.model_zoo']._models.update({name: functools.partial(get_model, name)
                                                               for name in MODELS})


def _adding_models(execute: Callable) -> Callable:
    """A loader's `exec_module` of GluonCV that registers the models and puts back what the import changes.

    GluonCV tells Pillow to read truncated images as whole, in the whole process.
    """
    def exec_module(module):
        truncated = ImageFile.LOAD_TRUNCATED_IMAGES
        try:
            execute(module)
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = truncated
        _register()
    return exec_module


class _Finder:
    """Finds GluonCV as the other finders of `sys.meta_path` do."""

    @classmethod
    def find_spec(cls, name: str, path: Sequence[str] | None = None,
                  target: types.ModuleType | None = None) -> ModuleSpec | None:
        if name != 'gluoncv':
            return None
        for finder in sys.meta_path:
            spec = finder.find_spec(name, path, target) if finder is not cls else None
            if spec is not None:
                if spec.loader is not None:
                    loader: Any = spec.loader
                    loader.exec_module = _adding_models(loader.exec_module)
                return spec
        return None


def register_with_gluoncv() -> None:
    """Make `gluoncv.model_zoo.get_model` know the models of this package: now, or once GluonCV is imported."""
    if 'gluoncv' in sys.modules:
        _register()
    else:
        sys.meta_path.insert(0, _Finder)
