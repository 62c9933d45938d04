"""bmx_runtime: deployed binary networks of bmx on any CPU, without MXNet.

    >>> import bmx_runtime
    >>> model = bmx_runtime.Model('deployed/meliusnet22')
    >>> scores = model(batch)                   # float32 (N, 3, 224, 224) in, (N, 1000) out
    >>> model.predict(['cat.jpg'], top=1)       # with Pillow
    [[Guess(name='tabby', probability=0.41)]]
"""
from ._library import ModelError, version
from .model import Guess, Model, Preprocess

__version__ = version()

__all__ = ['Guess', 'Model', 'ModelError', 'Preprocess', '__version__']
