"""How an image file becomes the input of a network, at evaluation.

A preprocessing is a dict, stored in deployed models: `size` (height, width), `crop_ratio` (share of the resized image's
shorter side that the central crop keeps), `mean` and `std` (a number a channel, of values in [0, 1]).
"""
from __future__ import annotations

import math
import os
import threading
from typing import Any, BinaryIO, Callable, Iterable, Iterator, Mapping, Sequence

import mxnet as mx
import numpy as np
from PIL import Image, ImageFile

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# The formats of image files, by Pillow's names, and how the names of their files end. No other is tried.
FORMATS = {'JPEG': ('.jpg', '.jpeg'), 'PNG': ('.png',), 'BMP': ('.bmp',), 'GIF': ('.gif',), 'PPM': ('.ppm',),
           'WEBP': ('.webp',)}
EXTENSIONS = tuple(extension for extensions in FORMATS.values() for extension in extensions)

# Pixels of the largest image that is decoded: 400 MB as RGB.
MAX_PIXELS = 1 << 27
# Pixels of the largest image that is resized whole, although only its centre is wanted.
MAX_RESIZED_PIXELS = 1 << 25

# Pillow's modes of images with 8 bits a channel or fewer, which it converts to RGB itself (alpha is dropped); those of
# 16 bits it would clip.
_MODES_OF_8_BITS = ('1', 'L', 'LA', 'P', 'PA', 'RGB', 'RGBA', 'RGBX', 'CMYK', 'YCbCr')
_MODES_OF_16_BITS = ('I', 'I;16', 'I;16B', 'I;16L', 'I;16N')


class _WholeImages:
    """While any thread is inside, Pillow refuses a truncated image, whatever the program has told it."""

    def __init__(self) -> None:
        self._lock, self._inside = threading.Lock(), 0

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._before, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                ImageFile.LOAD_TRUNCATED_IMAGES = self._before


_whole_images = _WholeImages()


def _open(stream: BinaryIO) -> Image.Image:
    """`Image.open` of `FORMATS` alone, with a bound of pixels that does not depend on what the program set."""
    Image.init()
    prefix = stream.read(16).ljust(16, b'\0')
    for format in FORMATS:
        factory, accepts = Image.OPEN[format]
        if accepts(prefix) is True:  # and not the name of a library that Pillow was built without
            stream.seek(0)
            image = factory(stream, '')
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f'its {image.width}x{image.height} pixels are more than {MAX_PIXELS}')
            return image
    raise ValueError('it is none of ' + ', '.join(FORMATS))


def read_image(path: str | os.PathLike) -> np.ndarray:
    """Decode an image file to RGB, uint8, shape (H, W, 3).

    Raises
    ------
    OSError
        No such file, or one that `decode_image` refuses; the message names it.
    """
    if os.path.isdir(path):
        raise IsADirectoryError(f'{path} is a folder, not an image')
    if not os.path.isfile(path):
        raise FileNotFoundError(f'no such image: {path}')
    with open(path, 'rb') as stream:
        return decode_image(stream, path)


def decode_image(stream: BinaryIO, name: str | os.PathLike) -> np.ndarray:
    """Decode what a binary stream holds to RGB, uint8, shape (H, W, 3).

    Transparency is dropped, of 16 bits the higher 8 are kept, and of several images the first.

    Parameters
    ----------
    stream : binary file object
    name : str
        What to call it.

    Raises
    ------
    OSError
        It is truncated or damaged, of another format than `FORMATS`, or of more than `MAX_PIXELS`.
    """
    try:
        with _whole_images:
            return _rgb(_open(stream))
    except Exception as error:  # Pillow's decoders raise whatever a damaged file leads them to
        raise OSError(f'{name} cannot be decoded as an image: {str(error) or type(error).__name__}') from None


def _rgb(image: Image.Image) -> np.ndarray:
    image.load()
    if image.mode in _MODES_OF_16_BITS:
        gray = (np.asarray(image).clip(0, 0xffff) >> 8).astype(np.uint8)
        return np.repeat(gray[..., None], 3, axis=-1)
    if image.mode not in _MODES_OF_8_BITS:
        raise ValueError(f'its pixels are of the kind {image.mode}')
    image.info.pop('transparency', None)  # Pillow would warn that it is dropped
    return np.asarray(image.convert('RGB'))


def resize_and_crop(image: np.ndarray, size: Sequence[int], crop_ratio: float) -> np.ndarray:
    """Resize an (H, W, 3) uint8 array so that the central crop of `size` is `crop_ratio` of its shorter side."""
    height, width = size
    scale = max(math.ceil(height / crop_ratio) / image.shape[0], math.ceil(width / crop_ratio) / image.shape[1])
    target = (max(width, round(image.shape[1] * scale)), max(height, round(image.shape[0] * scale)))
    left, top = (target[0] - width) // 2, (target[1] - height) // 2
    window = (left, top, left + width, top + height)
    picture = Image.fromarray(image)
    if target[0] * target[1] <= MAX_RESIZED_PIXELS:
        return np.asarray(picture.resize(target, Image.BILINEAR).crop(window))
    # Thousands of times as long as it is wide: only the centre is resized, which may round otherwise.
    box = [min(side * whole / resized, whole)
           for side, whole, resized in zip(window, picture.size * 2, target * 2)]
    return np.asarray(picture.resize((width, height), Image.BILINEAR, box=box))


def normalise(image: np.ndarray, mean: Sequence[float], std: Sequence[float]) -> np.ndarray:
    """From (H, W, 3) uint8 to (3, H, W) float32: values to [0, 1], minus mean, over std."""
    values = np.repeat(np.arange(256, dtype=np.float32)[:, None], 3, axis=1)  # all that a channel can have
    levels = (values / 255 - np.float32(mean)) / np.float32(std)
    return np.stack([np.take(levels[:, channel], image[..., channel]) for channel in range(3)])


def prepare(image: np.ndarray, preprocess: Mapping[str, Any]) -> np.ndarray:
    """From an (H, W, 3) uint8 image to the (3, H, W) float32 input that `preprocess` describes."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ValueError(f'an image must be a uint8 array (H, W, 3), got a {image.dtype} array {image.shape}')
    return normalise(resize_and_crop(image, preprocess['size'], preprocess['crop_ratio']),
                     preprocess['mean'], preprocess['std'])


def load_inputs(paths: Iterable[str | os.PathLike], preprocess: Mapping[str, Any], batch_size: int = 32,
                skipped: Callable[[OSError], object] | None = None) -> Iterator[mx.nd.NDArray]:
    """Yield (N, 3, H, W) NDArray batches of image files.

    Parameters
    ----------
    paths : iterable of str or path
    preprocess : dict
    batch_size : int
    skipped : callable, optional
        Called with the OSError of each file that cannot be read, which is left out; otherwise it is raised.

    Raises
    ------
    OSError
        A file cannot be read, or none of them can.
    """
    batch, count = [], 0
    for path in paths:
        try:
            batch.append(prepare(read_image(path), preprocess))
        except OSError as error:
            if skipped is None:
                raise
            skipped(error)
            continue
        count += 1
        if len(batch) == batch_size:
            yield mx.nd.array(np.stack(batch))
            batch = []
    if batch:
        yield mx.nd.array(np.stack(batch))
    if count == 0:
        raise OSError('there is no image that can be read')


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is none of the user's: `._x.jpg`, `.ipynb_checkpoints`."""
    return name.startswith('.')


def is_image(name: str) -> bool:
    """Whether a file of this name is taken for an image."""
    return not is_hidden(name) and name.lower().endswith(EXTENSIONS)


def find_images(folder: str) -> list[str]:
    """All image files below a folder, sorted; links to folders are followed, hidden files and folders are not.

    Raises
    ------
    FileNotFoundError
        No such folder, or no image in it.
    """
    if not os.path.isdir(folder):
        raise FileNotFoundError(f'no such folder: {folder}')
    paths, seen = [], set()
    for base, folders, names in os.walk(folder, followlinks=True):
        place = os.path.realpath(base)
        if place in seen:  # by a link, perhaps to a folder above
            folders.clear()
            continue
        seen.add(place)
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        paths.extend(os.path.join(base, name) for name in names if is_image(name))
    if not paths:
        raise FileNotFoundError(f'there are no images ({", ".join(EXTENSIONS)}) below {folder}')
    return sorted(paths)
