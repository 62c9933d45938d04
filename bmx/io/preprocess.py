"""How an image file becomes the input of a network, at evaluation.

A preprocessing is a dict, stored in deployed models: `size` (height, width), `crop_ratio` (share of the resized image's
shorter side that the central crop keeps), `mean` and `std` (a number a channel, of values in [0, 1]).
"""
from __future__ import annotations

import math
import os
from collections import Counter
from typing import TYPE_CHECKING, Any, BinaryIO, Callable, Iterable, Iterator, Mapping, Sequence, Union

import mxnet as mx
import numpy as np
from PIL import Image

from .description import check_preprocess, plain
from .images import EXTENSIONS, as_pixels, read_image

if TYPE_CHECKING:
    Picture = Union[str, os.PathLike[str], BinaryIO, Image.Image, np.ndarray]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# Pixels of the largest image that is resized whole, although only its centre is wanted.
MAX_RESIZED_PIXELS = 1 << 25


def resize_and_crop(image: np.ndarray, size: Sequence[int], crop_ratio: float) -> np.ndarray:
    """Resize an (H, W, 3) uint8 array so that the central crop of `size` is `crop_ratio` of its shorter side."""
    height, width = size
    scale = max(math.ceil(height / crop_ratio) / image.shape[0], math.ceil(width / crop_ratio) / image.shape[1])
    target = (max(width, round(image.shape[1] * scale)), max(height, round(image.shape[0] * scale)))
    left, top = (target[0] - width) // 2, (target[1] - height) // 2
    window = (left, top, left + width, top + height)
    picture = Image.fromarray(image)
    if target[0] * target[1] <= MAX_RESIZED_PIXELS:
        # Rows, then columns: values are rounded between the two, and Pillow's own order depends on its version.
        rows = picture.resize((target[0], picture.height), Image.BILINEAR)
        return np.asarray(rows.resize(target, Image.BILINEAR).crop(window))
    # Thousands of times as long as it is wide: only the centre is resized, which may round otherwise.
    box = [min(side * whole / resized, whole)
           for side, whole, resized in zip(window, picture.size * 2, target * 2)]
    return np.asarray(picture.resize((width, height), Image.BILINEAR, box=box))


def normalise(image: np.ndarray, mean: Sequence[float], std: Sequence[float]) -> np.ndarray:
    """From (H, W, 3) uint8 to (3, H, W) float32: values to [0, 1], minus mean, over std."""
    values = np.repeat(np.arange(256, dtype=np.float32)[:, None], 3, axis=1)  # all that a channel can have
    levels = (values / 255 - np.float32(mean)) / np.float32(std)
    return np.stack([np.take(levels[:, channel], image[..., channel]) for channel in range(3)])


def prepare(image: Picture, preprocess: Mapping[str, Any]) -> np.ndarray:
    """An image as the input that a network was trained on: resized, cropped, normalised.

    Parameters
    ----------
    image : str, path, binary file object, PIL.Image.Image or uint8 array (H, W, 3)
        Files as `bmx.io.images.read_image` decodes them.
    preprocess : dict
        `size`, `crop_ratio`, `mean` and `std`, as a deployed model holds them (`bmx.deploy.load` returns them with it).

    Returns
    -------
    numpy.ndarray
        float32 (3, height, width), without a batch: `mx.nd.array(prepared[None])` is a batch of one.

    Raises
    ------
    OSError
        There is no such file, or it is no image, damaged or truncated.
    ValueError
        The array is no image, or `preprocess` does not say how it becomes an input.
    """
    if preprocess is None:
        raise ValueError('the model does not say how an image becomes its input: export it again with preprocess=')
    check_preprocess(plain(preprocess), 'preprocess')
    pixels = image if isinstance(image, np.ndarray) else as_pixels(image)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size == 0:
        raise ValueError(f'an image must be a uint8 array (H, W, 3), got a {pixels.dtype} array {pixels.shape}')
    return normalise(resize_and_crop(pixels, preprocess['size'], preprocess['crop_ratio']),
                     preprocess['mean'], preprocess['std'])


def load_inputs(paths: Iterable[str | os.PathLike], preprocess: Mapping[str, Any], batch_size: int = 32,
                skipped: Callable[[OSError], object] | None = None) -> Iterator[mx.nd.NDArray]:
    """Yield (N, 3, H, W) NDArray batches of image files; the arguments and errors are those of `load_batches`."""
    for _, batch in load_batches(paths, preprocess, batch_size, skipped):
        yield batch


def load_batches(paths: Iterable[str | os.PathLike], preprocess: Mapping[str, Any], batch_size: int = 32,
                 skipped: Callable[[OSError], object] | None = None
                 ) -> Iterator[tuple[list[str | os.PathLike], mx.nd.NDArray]]:
    """Yield pairs of paths and the (N, 3, H, W) NDArray of their images.

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
    names, images, count = [], [], 0
    for path in paths:
        try:
            images.append(prepare(read_image(path), preprocess))
        except OSError as error:
            if skipped is None:
                raise
            skipped(error)
            continue
        names.append(path)
        count += 1
        if len(images) == batch_size:
            yield names, mx.nd.array(np.stack(images))
            names, images = [], []
    if images:
        yield names, mx.nd.array(np.stack(images))
    if count == 0:
        raise OSError('there is no image that can be read')


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is none of the user's: `._x.jpg`, `.ipynb_checkpoints`."""
    return name.startswith('.')


def is_image(name: str) -> bool:
    """Whether a file of this name is taken for an image."""
    return not is_hidden(name) and name.lower().endswith(EXTENSIONS)


def left_out_kind(name: str, is_folder: bool) -> str:
    """Why an entry of a folder of images is left out, in words that follow a number."""
    if is_hidden(name):
        return 'hidden'
    return 'folders inside of class folders' if is_folder else f'files that are no images ({", ".join(EXTENSIONS)})'


def find_images(folder: str, left_out: Counter[str] | None = None) -> list[str]:
    """All image files below a folder, sorted; links to folders are followed, hidden files and folders are not.

    Parameters
    ----------
    folder : str
    left_out : Counter, optional
        Receives how many files and folders are left out, by why (`left_out_kind`).

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
        if left_out is not None:
            left_out.update(left_out_kind(name, False) for name in names if not is_image(name))
            left_out.update(left_out_kind(name, True) for name in folders if is_hidden(name))
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        paths.extend(os.path.join(base, name) for name in names if is_image(name))
    if not paths:
        raise FileNotFoundError(f'there are no images ({", ".join(EXTENSIONS)}) below {folder}')
    return sorted(paths)
