"""Image files: which are read, and to which RGB values.

The runtime without MXNet (`runtime/python`) ships this module as well: it knows Pillow and NumPy alone.
"""
from __future__ import annotations

import os
import struct
import threading
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from PIL import Image, ImageFile

if TYPE_CHECKING:
    from numpy.typing import NDArray  # of NumPy 1.20

# The formats of image files, by Pillow's names, and how the names of their files end. No other is tried.
FORMATS = {'JPEG': ('.jpg', '.jpeg'), 'PNG': ('.png',), 'BMP': ('.bmp',), 'GIF': ('.gif',),
           'PPM': ('.ppm', '.pgm', '.pbm', '.pnm'), 'WEBP': ('.webp',)}
EXTENSIONS = tuple(extension for extensions in FORMATS.values() for extension in extensions)

# Pixels of the largest image that is decoded: 400 MB as RGB.
MAX_PIXELS = 1 << 27

# Pillow's modes of images with 8 bits a channel or fewer, which it converts to RGB itself (alpha is dropped); those of
# 16 bits it would clip.
_MODES_OF_8_BITS = ('1', 'L', 'LA', 'P', 'PA', 'RGB', 'RGBA', 'RGBX', 'CMYK', 'YCbCr')
_MODES_OF_16_BITS = ('I', 'I;16', 'I;16B', 'I;16L', 'I;16N')

# EXIF: how it begins in a JPEG; the tag of the orientation, and its type.
_EXIF, _ORIENTATION, _SHORT = b'Exif\0\0', 0x112, 3


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
        if accepts and accepts(prefix) is True:  # and not the name of a library that Pillow was built without
            stream.seek(0)
            image = factory(stream, '')
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f'its {image.width}x{image.height} pixels are more than {MAX_PIXELS}')
            return image
    raise ValueError('it is none of ' + ', '.join(FORMATS))


def read_image(path: str | os.PathLike[str]) -> NDArray[np.uint8]:
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


def decode_image(stream: BinaryIO, name: str | os.PathLike[str]) -> NDArray[np.uint8]:
    """Decode what a binary stream holds to RGB, uint8, shape (H, W, 3).

    Transparency is dropped, of 16 bits the higher 8 are kept, and of several images the first. It is turned as the
    orientation says that a camera has noted (EXIF).

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
            return to_rgb(_open(stream))
    except Exception as error:  # Pillow's decoders raise whatever a damaged file leads them to
        raise OSError(f'{name} cannot be decoded as an image: {str(error) or type(error).__name__}') from None


def as_pixels(image: str | os.PathLike[str] | BinaryIO | Image.Image) -> NDArray[np.uint8]:
    """The RGB values, uint8 (H, W, 3), of an image in a file, named or open, or of Pillow's.

    Raises
    ------
    OSError, ValueError
        As `read_image`, `decode_image` and `to_rgb`.
    TypeError
        It is none of these.
    """
    if isinstance(image, (str, os.PathLike)):
        return read_image(image)
    if isinstance(image, Image.Image):
        return to_rgb(image)
    if hasattr(image, 'read'):
        name = getattr(image, 'name', None)  # of temporary files the number of the descriptor
        return decode_image(image, name if name and isinstance(name, str) else 'the file')
    raise TypeError(f'an image must be a path, a binary file, a PIL.Image.Image or an array, got '
                    f'{type(image).__name__}')


def to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    """Pixels of a Pillow image as RGB, uint8, shape (H, W, 3), as `decode_image` describes them.

    What `ImageOps.exif_transpose` has turned is not turned twice: it removes the orientation from the image's EXIF.

    Raises
    ------
    ValueError
        They are of a kind that has no such values, for example float.
    OSError
        The image's file is truncated or damaged.
    """
    with _whole_images:
        image.load()
    if image.mode in _MODES_OF_16_BITS:
        gray = (np.asarray(image).clip(0, 0xffff) >> 8).astype(np.uint8)
        return _upright(np.repeat(gray[..., None], 3, axis=-1), image)
    if image.mode not in _MODES_OF_8_BITS:
        raise ValueError(f"the image's pixels are of the kind {image.mode}, which convert('RGB') makes RGB")
    plain = image.copy() if 'transparency' in image.info else image
    plain.info.pop('transparency', None)  # Pillow would warn that it is dropped
    return _upright(np.asarray(plain.convert('RGB')), image)


def _upright(pixels: NDArray[np.uint8], image: Image.Image) -> NDArray[np.uint8]:
    """Pixels of an image, turned and mirrored as its EXIF says."""
    exif = image.info.get('exif')
    orientation = _orientation(exif) if isinstance(exif, bytes) else 1
    if orientation > 4:
        pixels = pixels.transpose(1, 0, 2)
    rows, columns = _REVERSED[orientation]
    return np.ascontiguousarray(pixels[::rows, ::columns])


# Orientation of EXIF to the order in which rows and columns are read, those from 5 on after they were exchanged.
_REVERSED = {1: (1, 1), 2: (1, -1), 3: (-1, -1), 4: (-1, 1), 5: (1, 1), 6: (1, -1), 7: (-1, -1), 8: (-1, 1)}


def _orientation(exif: bytes) -> int:
    """The orientation that EXIF notes, 1 to 8; 1, upright, where it notes none, or is damaged.

    `runtime/bmx_run/exif.cc` reads the same.
    """
    start = len(_EXIF) if exif.startswith(_EXIF) else 0
    order = {b'II*\0': '<', b'MM\0*': '>'}.get(exif[start:start + 4])
    if order is None:
        return 1
    try:
        at = start + struct.unpack_from(order + 'I', exif, start + 4)[0]
        for entry in range(struct.unpack_from(order + 'H', exif, at)[0]):
            tag, kind, count, value = struct.unpack_from(order + 'HHIH', exif, at + 2 + 12 * entry)
            if tag == _ORIENTATION:
                return value if (kind, count) == (_SHORT, 1) and 1 <= value <= 8 else 1
    except struct.error:  # it ends early
        pass
    return 1
