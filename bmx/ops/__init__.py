"""The C++ operators ``binarize``, ``residual_binarize``, ``channelwise``, ``binary_convolution``, ``xnor_popcount``,
``binary_subgraph`` and ``expand_weights``; importing this package loads them, once.

Afterwards ``mx.nd`` and ``mx.sym`` have them, as ``mx.nd.xnor_popcount`` and ``mx.sym.xnor_popcount``.
"""
from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import itertools
from typing import Any, Callable, Iterator

import mxnet as mx

from . import reference
from .calls import behind_identity, is_identity, keep_careful, keep_shapes_known, load_operators
from .library import find_library
from .packing import (
    can_interleave,
    deinterleave_weights,
    interleave_weights,
    level_bytes,
    pack_float_weights,
    pack_levels,
    pack_weights,
    unpack_float_weights,
    unpack_weights,
)

__all__ = ['PHASES', 'Profile', 'behind_identity', 'can_interleave', 'deinterleave_weights', 'interleave_weights',
           'is_identity', 'isa', 'kernels', 'level_bytes', 'library_path', 'measure_bound', 'measure_float_bound',
           'measure_float_product', 'measure_product', 'pack_float_weights', 'pack_levels', 'pack_weights', 'profile',
           'reference', 'supported_kernels', 'unpack_float_weights', 'unpack_weights', 'use_kernel']


def library_path() -> str:
    """Absolute path of the C++ library, for ``mx.library.load`` or MXNet's ``MXLoadLib``.

    Returns
    -------
    str
    """
    return _PATH


def _load(path: str) -> ctypes.CDLL:
    load_operators(path)
    library = ctypes.CDLL(path)  # the copy that MXNet has loaded
    library.bmx_kernel_name.argtypes = [ctypes.c_int]
    library.bmx_kernel_supported.argtypes = [ctypes.c_int]
    library.bmx_kernel_supported.restype = ctypes.c_bool
    library.bmx_use_kernel.argtypes = [ctypes.c_char_p]
    library.bmx_measure_bound.argtypes = library.bmx_measure_float_bound.argtypes = [ctypes.c_char_p]
    library.bmx_measure_product.argtypes = [ctypes.c_char_p, *[ctypes.c_int64] * 6]
    library.bmx_measure_float_product.argtypes = [ctypes.c_char_p, *[ctypes.c_int64] * 8]
    for function in (library.bmx_measure_bound, library.bmx_measure_float_bound, library.bmx_measure_product,
                     library.bmx_measure_float_product):
        function.restype = ctypes.c_double
    library.bmx_profile.argtypes = [ctypes.c_int]
    library.bmx_profile.restype = None
    library.bmx_profile_read.argtypes = [ctypes.POINTER(ctypes.c_double)]
    library.bmx_profile_read.restype = None
    library.bmx_phase_name.argtypes = [ctypes.c_int]
    library.bmx_profile_instructions.argtypes = [ctypes.POINTER(ctypes.c_double), ctypes.c_int]
    for function in (library.bmx_kernel_name, library.bmx_current_kernel, library.bmx_use_kernel,
                     library.bmx_phase_name, library.bmx_last_error):
        function.restype = ctypes.c_char_p
    if library.bmx_current_kernel() is None:
        raise ImportError(library.bmx_last_error().decode())
    return library


# Once for all libraries: MXNet makes the functions of this one anew when it loads another.
mx.library.load = keep_careful(mx.library.load)
keep_shapes_known(mx.sym.Symbol)
_PATH = find_library()
_LIBRARY = _load(_PATH)


def isa() -> str:
    """Name of the kernel in use: the fastest this CPU supports, or the one that ``BMX_ISA`` names.

    Returns
    -------
    str
    """
    return _LIBRARY.bmx_current_kernel().decode()


def kernels() -> tuple[str, ...]:
    """Names of all kernels in the library, the slowest first, whether or not this CPU supports them.

    Returns
    -------
    tuple of str
    """
    return _names(_LIBRARY.bmx_kernel_name)


def use_kernel(name: str) -> None:
    """Put a kernel in use for the whole process; for tests and benchmarks.

    Parameters
    ----------
    name : str
        One of `kernels`.

    Raises
    ------
    ValueError
        The name is unknown or this CPU does not support the kernel.
    """
    if _LIBRARY.bmx_use_kernel(name.encode()) is None:
        raise ValueError(_LIBRARY.bmx_last_error().decode())


def supported_kernels() -> tuple[str, ...]:
    """Those of `kernels` that this CPU supports.

    Returns
    -------
    tuple of str
    """
    return tuple(name for index, name in enumerate(kernels()) if _LIBRARY.bmx_kernel_supported(index))


def measure_bound(kernel: str) -> float:
    """How fast a kernel could be: the loop of its instructions alone, without loads that could miss, on one thread.

    Parameters
    ----------
    kernel : str

    Returns
    -------
    float
        Multiply-accumulates a second.

    Raises
    ------
    ValueError
        The name is unknown or this CPU does not support the kernel.
    """
    return _measured(_LIBRARY.bmx_measure_bound(kernel.encode()))


def measure_float_bound(kernel: str) -> float:
    """How fast a kernel's float32 convolution could be: a loop of its multiply-adds in registers, on one thread.

    Parameters
    ----------
    kernel : str

    Returns
    -------
    float
        Multiply-accumulates a second.

    Raises
    ------
    ValueError
        The name is unknown or this CPU does not support the kernel.
    """
    return _measured(_LIBRARY.bmx_measure_float_bound(kernel.encode()))


def measure_product(kernel: str, height: int, width: int, channels: int, filters: int,
                    window: tuple[int, int]) -> float:
    """Time a kernel's product of one image alone, without packing and epilogue, on one thread.

    Parameters
    ----------
    kernel : str
    height, width, channels : int
        Of the image.
    filters : int
    window : tuple of int
        Height and width of the convolution's kernel, which is padded by half of it.

    Returns
    -------
    float
        Seconds, the shortest of several repetitions.

    Raises
    ------
    ValueError
        The name is unknown or this CPU does not support the kernel.
    """
    return _measured(_LIBRARY.bmx_measure_product(kernel.encode(), height, width, channels, filters, *window))


def measure_float_product(kernel: str, height: int, width: int, channels: int, filters: int, groups: int,
                          window: tuple[int, int], stride: int) -> float:
    """Time a kernel's float convolution of one image, from planar data to planar results, on one thread.

    Parameters
    ----------
    kernel : str
    height, width, channels : int
        Of the image.
    filters, groups : int
    window : tuple of int
        Height and width of the convolution's kernel, which is padded by half of it.
    stride : int

    Returns
    -------
    float
        Seconds, the shortest of several repetitions.

    Raises
    ------
    ValueError
        The name is unknown or this CPU does not support the kernel.
    """
    return _measured(_LIBRARY.bmx_measure_float_product(kernel.encode(), height, width, channels, filters, groups,
                                                        *window, stride))


def _names(name_of: Callable[[int], Any]) -> tuple[str, ...]:
    """The names of a table of the library: of index 0, 1, ... until there is none."""
    return tuple(name.decode() for name in itertools.takewhile(bool, map(name_of, itertools.count())))


def _measured(value: float) -> float:
    if value < 0:
        raise ValueError(_LIBRARY.bmx_last_error().decode())
    return value


# Phases of the work inside the library, as `profile` tells them apart: packing, gemm, epilogue, mapping.
PHASES = _names(_LIBRARY.bmx_phase_name)


@dataclasses.dataclass
class Profile:
    """Where the library spent its time.

    Attributes
    ----------
    phases : dict of str to float
        Seconds of each of `PHASES`: packing of activations and weights; gemm, the products, binary and float; epilogue,
        what follows a product before its result is in memory; mapping, what the library does beside the products
        (pooling, affine functions, changes of layout).
    instructions : list of float
        Seconds of each instruction of the programs that ran, in their order.
    """
    phases: dict[str, float] = dataclasses.field(default_factory=dict)
    instructions: list[float] = dataclasses.field(default_factory=list)


@contextlib.contextmanager
def profile() -> Iterator[Profile]:
    """Account for the time that the library spends while the scope is open.

    Yields
    ------
    Profile
        Filled in when the scope closes.
    """
    found = Profile()
    _LIBRARY.bmx_profile(1)
    try:
        yield found
    finally:
        phases = (ctypes.c_double * len(PHASES))()
        _LIBRARY.bmx_profile_read(phases)
        _LIBRARY.bmx_profile(0)
        instructions = (ctypes.c_double * _LIBRARY.bmx_profile_instructions(None, 0))()
        _LIBRARY.bmx_profile_instructions(instructions, len(instructions))
        found.phases, found.instructions = dict(zip(PHASES, phases)), list(instructions)
