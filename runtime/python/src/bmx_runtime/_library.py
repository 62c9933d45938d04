"""The C library, `bmx.h`, through ctypes, which lets other threads of Python run during a call."""
from __future__ import annotations

import ctypes
import os
from ctypes import POINTER, c_char, c_char_p, c_double, c_float, c_int, c_int32, c_int64, c_size_t, c_void_p
from typing import Any, Sequence

API_VERSION = 1
MAX_DIMS = 4


class Error(ctypes.Structure):
    _fields_ = [('text', c_char * 1024)]


class Preprocess(ctypes.Structure):
    _fields_ = [('height', c_int64), ('width', c_int64), ('crop_ratio', c_double), ('mean', c_float * 3),
                ('std', c_float * 3)]


class Shape(ctypes.Structure):
    _fields_ = [('dims', c_int32), ('sizes', c_int64 * MAX_DIMS)]


class ModelError(ValueError):
    """A model's files are damaged, foreign, of a newer format, or have operators that only MXNet has."""


# What a function returns, and its arguments but for the last of those that can fail, the error.
_FUNCTIONS: dict[str, tuple[Any, Sequence[Any]]] = {
    'bmx_version': (c_char_p, []),
    'bmx_format_version': (c_int, []),
    'bmx_model_free': (None, [c_void_p]),
    'bmx_model_name': (c_char_p, [c_void_p]),
    'bmx_model_num_classes': (c_int64, [c_void_p]),
    'bmx_model_class': (c_char_p, [c_void_p, c_int64]),
    'bmx_model_input_shape': (Shape, [c_void_p]),
    'bmx_model_num_outputs': (c_int64, [c_void_p]),
    'bmx_session_free': (None, [c_void_p]),
    'bmx_session_threads': (c_int, [c_void_p]),
    'bmx_session_kernel': (c_char_p, [c_void_p]),
}
_FALLIBLE: dict[str, Sequence[Any]] = {
    'bmx_model_load': [c_int, c_char_p, POINTER(c_void_p)],
    'bmx_model_load_memory': [c_int, c_char_p, c_size_t, c_char_p, c_size_t, POINTER(c_void_p)],
    'bmx_model_preprocess': [c_void_p, POINTER(Preprocess)],
    'bmx_model_output_shape': [c_void_p, POINTER(Shape), c_int64, POINTER(Shape)],
    'bmx_model_prepare': [c_void_p, c_void_p, c_int64, c_int64, c_void_p],
    'bmx_session_create': [c_void_p, c_int, c_char_p, POINTER(c_void_p)],
    'bmx_session_run': [c_void_p, c_void_p, POINTER(Shape), POINTER(c_void_p)],
}

# bmx_status but BMX_OK.
_EXCEPTIONS: Sequence[type[Exception]] = (ValueError, FileNotFoundError, ModelError, MemoryError, RuntimeError)


def _load() -> ctypes.CDLL:
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'libbmx.so')
    try:
        library = ctypes.CDLL(path)
    except OSError as error:
        raise ImportError(f'the library of bmx_runtime cannot be loaded: {error}') from None
    for name, (result, arguments) in _FUNCTIONS.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    for name, arguments in _FALLIBLE.items():
        function = getattr(library, name)
        function.restype, function.argtypes = c_int, [*arguments, POINTER(Error)]
    return library


library = _load()


def call(name: str, *arguments: Any) -> None:
    """Call a function that can fail, and raise what it says went wrong."""
    error = Error()
    status = getattr(library, name)(*arguments, ctypes.byref(error))
    if status:
        raise _EXCEPTIONS[status - 1](text(error.text))


def text(content: bytes) -> str:
    """Text that the library gave."""
    return content.decode('utf-8', 'replace')  # a message that was cut may end within a character


def version() -> str:
    """The version of the library."""
    return text(library.bmx_version())
