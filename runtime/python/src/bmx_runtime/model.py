"""A deployed model."""
from __future__ import annotations

import ctypes
import operator
import os
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any, BinaryIO, Iterable, NamedTuple, Union

import numpy as np

from . import _library
from ._library import ModelError, Shape, call, library, text

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray  # of NumPy 1.20
    from PIL.Image import Image

    Array = NDArray[np.float32]
    Picture = Union[str, os.PathLike[str], BinaryIO, Image, NDArray[np.uint8]]


class Guess(NamedTuple):
    """A class that an image may be of.

    Attributes
    ----------
    name : str
        The class's name; its number where the model names no classes.
    probability : float
    """
    name: str
    probability: float


class Preprocess(NamedTuple):
    """How an image becomes an input, see `Model.prepare`.

    Attributes
    ----------
    size : (int, int)
        Height and width of an input.
    crop_ratio : float
        The share of the resized image's shorter side that the central crop keeps.
    mean, std : tuple of float
        Of a channel, red, green and blue: its values, 0 to 1, become (value - mean) / std.
    """
    size: tuple[int, int]
    crop_ratio: float
    mean: tuple[float, ...]
    std: tuple[float, ...]


class Model:
    """A deployed model: the files PREFIX-symbol.json and PREFIX-0000.params that `bmx export` writes.

    It is called with a batch. Any number of threads may do so at once: each call has a session of its own, that is the
    memory and the threads to compute, which is made when there is none to spare, and kept: as many as calls have run at
    once. Python's other threads go on meanwhile. Results are the same bits for any threads, kernel and batch, and those
    of the model in MXNet.

    A model can be pickled: by the path of its files, which the reading process must have, or with its contents where it
    was made by `from_bytes`. It works in processes that are forked from one that has loaded it. Python from 3.12 on
    warns of forks of a process that has threads (DeprecationWarning); the model's are harmless, because its sessions
    start new ones in the child.

    Parameters
    ----------
    prefix : str or path
        Of the files, without -symbol.json.
    threads : int
        How many compute a call, its own thread among them; 0: one for each core that the process may use. Where many
        threads call the model at once, as many as there are cores, 1 is best.
    kernel : str, optional
        The code of an instruction set, for example 'avx2'; by default the one that the variable BMX_ISA of the
        environment names, or else the fastest that this CPU supports.

    Attributes
    ----------
    name : str
        Name of the network, for example 'meliusnet22'.
    classes : tuple of str
        Names of the classes; empty where the model has none.
    input_shape : tuple of int
        The shape of a batch of one image that the model was exported for, for example (1, 3, 224, 224).
    preprocess : Preprocess or None
        How an image becomes an input; None where the model does not say.

    Raises
    ------
    FileNotFoundError
        A file is missing, or cannot be read.
    ModelError
        The files are damaged, foreign, of a newer format, or have operators that only MXNet has. It is a ValueError.
    ValueError
        There is no such kernel here, or number of threads.
    TypeError
        An argument is of another type.
    MemoryError
        Memory or threads are used up.
    """

    def __init__(self, prefix: str | os.PathLike[str], threads: int = 0, kernel: str | None = None) -> None:
        path = os.fspath(prefix)
        handle = ctypes.c_void_p()
        call('bmx_model_load', _library.API_VERSION, _c_text('prefix', os.fsencode(path)), ctypes.byref(handle))
        self._complete(handle, threads, kernel)
        self._pickled: tuple[Any, tuple[Any, ...]] = type(self), (os.path.abspath(path), threads, kernel)

    @classmethod
    def from_bytes(cls, symbol: bytes, params: bytes, threads: int = 0, kernel: str | None = None) -> Model:
        """The model of the contents of its two files.

        Parameters
        ----------
        symbol, params : bytes
            What PREFIX-symbol.json and PREFIX-0000.params hold.
        threads, kernel
            As of `Model`, and so are the errors.
        """
        symbol, params = _contents('symbol', symbol), _contents('params', params)
        handle = ctypes.c_void_p()
        call('bmx_model_load_memory', _library.API_VERSION, symbol, len(symbol), params, len(params),
             ctypes.byref(handle))
        model = cls.__new__(cls)
        model._complete(handle, threads, kernel)
        model._pickled = cls.from_bytes, (symbol, params, threads, kernel)
        return model

    def _complete(self, handle: ctypes.c_void_p, threads: int, kernel: str | None) -> None:
        # Not at the end of the process, where another thread may be in a call.
        weakref.finalize(self, library.bmx_model_free, handle).atexit = False
        self._handle = handle
        self._new_session_arguments = _c_int('threads', threads), _kernel_name(kernel)
        self._idle: deque[_Session] = deque()  # whose operations are atomic
        session = _Session(self)
        self._idle.append(session)
        self._threads = int(library.bmx_session_threads(session.handle))
        self._kernel = text(library.bmx_session_kernel(session.handle))
        self.name = text(library.bmx_model_name(handle))
        self.classes: tuple[str, ...] = tuple(text(library.bmx_model_class(handle, index))
                             for index in range(library.bmx_model_num_classes(handle)))
        self.input_shape = _sizes(library.bmx_model_input_shape(handle))
        self.preprocess = self._read_preprocess()

    @property
    def threads(self) -> int:
        """How many compute a call."""
        return self._threads

    @property
    def kernel(self) -> str:
        """The code of which instruction set runs."""
        return self._kernel

    def _read_preprocess(self) -> Preprocess | None:
        found = _library.Preprocess()
        try:
            call('bmx_model_preprocess', self._handle, ctypes.byref(found))
        except ValueError:
            return None
        # The shortest numbers that become these as float32, as the file has them.
        mean, std = (tuple(float(str(np.float32(value))) for value in values) for values in (found.mean, found.std))
        return Preprocess((found.height, found.width), found.crop_ratio, mean, std)

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self._pickled

    def __repr__(self) -> str:
        return (f'<bmx_runtime.Model {self.name!r}, input_shape={self.input_shape}, threads={self.threads}, '
                f'kernel={self.kernel!r}>')

    def __call__(self, batch: ArrayLike) -> Array | tuple[Array, ...]:
        """Run a batch.

        Parameters
        ----------
        batch : array
            Real numbers, (N, 3, H, W), or what else `input_shape` has behind N: `model.prepare(image)[None]` of one
            image, `np.stack` of several prepared ones. What is not float32 and C-contiguous is converted. H and W may
            be others than those of `input_shape` where the model's layers allow that.

        Returns
        -------
        array or tuple of arrays
            The model's output, float32, for example (N, classes); a tuple where it has several.

        Raises
        ------
        ValueError
            The model does not take this shape, or there is a NaN.
        MemoryError
            Memory or threads are used up.
        """
        values = self._as_input(batch)
        shape = _shape(values.shape)
        outputs = [self._new_output(shape, index)
                   for index in range(library.bmx_model_num_outputs(self._handle))]
        pointers = (ctypes.c_void_p * len(outputs))(*[output.ctypes.data for output in outputs])
        try:
            session = self._idle.pop()
        except IndexError:
            session = _Session(self)
        try:
            call('bmx_session_run', session.handle, values.ctypes.data, ctypes.byref(shape), pointers)
        finally:
            self._idle.append(session)
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def _as_input(self, batch: ArrayLike) -> Array:
        values = np.asarray(batch)
        if values.dtype.kind not in 'fiub':
            raise ValueError(f'a batch must be of real numbers, got an array of {values.dtype}')
        if values.ndim != len(self.input_shape):
            wanted = ', '.join(['N', *map(str, self.input_shape[1:])])
            single = values.ndim == len(self.input_shape) - 1
            raise ValueError(f'{self.name} takes batches ({wanted}), got an array {values.shape}' +
                             single * ': x[None] is a batch of one')
        values = np.require(values, np.float32, ['C', 'A'])
        with np.errstate(invalid='ignore'):
            if values.size and np.isnan(values.min()):
                raise ValueError('the batch has a NaN')
        return values

    def _new_output(self, shape: Shape, index: int) -> Array:
        output = Shape()
        call('bmx_model_output_shape', self._handle, ctypes.byref(shape), index, ctypes.byref(output))
        return np.empty(_sizes(output), np.float32)

    def prepare(self, image: Picture) -> Array:
        """An image as an input of the model, as its `preprocess` says.

        Parameters
        ----------
        image : str, path, binary file object, PIL.Image.Image or uint8 array (H, W, 3)
            All but the array need Pillow. Files are JPEG, PNG, BMP, GIF, PPM, PGM or WebP. Transparency is dropped, of
            16 bits a channel the higher 8 are kept, and of several images the first. They are turned as the orientation
            says that a camera has noted (EXIF); an array is taken as it is.

        Returns
        -------
        array
            float32, (3, height, width), no batch: `model(model.prepare(image)[None])` runs it.

        Raises
        ------
        OSError
            There is no such file, or it is no image, damaged or truncated.
        ValueError
            The array is no image, or the model does not say how an image becomes an input.
        """
        if self.preprocess is None:
            raise ValueError(f'{self.name} does not say how an image becomes its input: call it with a batch of inputs '
                             'that are made as in training, or have it exported again with '
                             'bmx.export(..., preprocess=)')
        pixels = np.ascontiguousarray(image) if isinstance(image, np.ndarray) else _decode(image)
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size == 0:
            raise ValueError(f'an image must be a uint8 array (H, W, 3), got a {pixels.dtype} array {pixels.shape}' +
                             _hint(pixels.shape))
        prepared = np.empty((3, *self.preprocess.size), np.float32)
        call('bmx_model_prepare', self._handle, pixels.ctypes.data, pixels.shape[0], pixels.shape[1],
             prepared.ctypes.data)
        return prepared

    def predict(self, images: Iterable[Picture], top: int = 5) -> list[list[Guess]]:
        """The classes that images most probably are of.

        Parameters
        ----------
        images : iterable
            A list of images as `prepare` takes them; of one image, `[image]`.
        top : int
            How many classes of each, 1 or more; all where there are fewer.

        Returns
        -------
        list of list of Guess
            For each image the classes, the most probable first.

        Raises
        ------
        ModelError
            The model is no classifier.
        OSError, ValueError
            As of `prepare`.
        TypeError
            `images` is one image.
        """
        if _c_int('top', top) < 1:
            raise ValueError(f'top must be at least 1, got {top}')
        is_one = (isinstance(images, (str, bytes, os.PathLike)) or hasattr(images, 'read') or
                  isinstance(images, np.ndarray) and images.ndim in (2, 3))
        if is_one or not (hasattr(images, '__iter__') or hasattr(images, '__getitem__')):
            raise TypeError(f'images must be a list, got one {type(images).__name__}: give [image]')
        return [self._guesses(self.prepare(image), top) for image in images]

    def _guesses(self, prepared: Array, top: int) -> list[Guess]:
        scores = self(prepared[None])
        if isinstance(scores, tuple) or scores.ndim != 2:
            raise ModelError(f'{self.name} is no classifier: its output is no array of (images, classes)')
        if self.classes and len(self.classes) != scores.shape[1]:
            raise ModelError(f'{self.name} is damaged: it names {len(self.classes)} classes of {scores.shape[1]}')
        powers = np.exp(scores[0].astype(np.float64) - scores[0].max())
        probabilities = (powers / powers.sum()).astype(np.float32)
        return [Guess(self.classes[index] if self.classes else str(index), float(probabilities[index]))
                for index in np.argsort(-probabilities, kind='stable')[:top]]


class _Session:
    """The memory and the threads of a call."""

    def __init__(self, model: Model) -> None:
        self.handle = ctypes.c_void_p()
        call('bmx_session_create', model._handle, *model._new_session_arguments, ctypes.byref(self.handle))
        weakref.finalize(self, library.bmx_session_free, self.handle).atexit = False


def _decode(image: str | os.PathLike[str] | BinaryIO | Image) -> NDArray[np.uint8]:
    try:
        from . import _images
    except ImportError as error:
        raise ImportError(f"images need Pillow ({error}): pip install 'bmx-runtime[images]'") from None
    return _images.as_pixels(image)


def _hint(shape: tuple[int, ...]) -> str:
    """What makes an image of an array of this shape that is none."""
    if len(shape) == 2:
        return ': np.stack([image] * 3, axis=-1) makes one of gray values'
    if len(shape) == 3 and shape[2] == 4:
        return ': image[..., :3] leaves its fourth channel out'
    if len(shape) == 3 and shape[0] == 3:
        return ': image.transpose(1, 2, 0) puts its channels last'
    return ''


# What ctypes would cut or take for something else.

def _c_int(name: str, value: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f'{name} must be an integer, got {value!r}') from None
    if abs(number) >= 1 << 31:
        raise ValueError(f'{name} cannot be {number}')
    return number


def _c_text(name: str, value: bytes) -> bytes:
    if b'\0' in value:
        raise ValueError(f'{name} has a null character: {value!r}')
    return value


def _kernel_name(kernel: str | None) -> bytes | None:
    if kernel is None:
        return None
    if not isinstance(kernel, str):
        raise TypeError(f'kernel must be a str or None, got {kernel!r}')
    return _c_text('kernel', kernel.encode())


def _contents(name: str, value: bytes) -> bytes:
    try:
        return bytes(memoryview(value))
    except TypeError:
        raise TypeError(f'{name} must be bytes, got {type(value).__name__}') from None


def _shape(sizes: tuple[int, ...]) -> Shape:
    return Shape(len(sizes), tuple(sizes))


def _sizes(shape: Shape) -> tuple[int, ...]:
    return tuple(shape.sizes[:shape.dims])
