"""How an image file becomes the input of a network, at evaluation.

A preprocessing is a dict, stored in deployed models: `size` (height, width), `crop_ratio` (share of the resized image's
shorter side that the central crop keeps), `mean` and `std` (a number a channel, of values in [0, 1]).
"""
import math
import os

import mxnet as mx
import numpy as np
from PIL import Image

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
EXTENSIONS = ('.jpg', '.jpeg', '.png', '.bmp', '.gif', '.ppm', '.webp')


def read_image(path):
    """Decode an image file to RGB, uint8, shape (H, W, 3).

    Raises
    ------
    OSError
        No such file, or one that cannot be decoded; the message names it.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError('no such image: %s' % path)
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert('RGB'))
    except (OSError, SyntaxError, ValueError) as error:
        raise OSError('%s cannot be decoded as an image: %s' % (path, error)) from None


def resize_and_crop(image, size, crop_ratio):
    """Resize an (H, W, 3) uint8 array so that the central crop of `size` is `crop_ratio` of its shorter side."""
    height, width = size
    scale = max(math.ceil(height / crop_ratio) / image.shape[0], math.ceil(width / crop_ratio) / image.shape[1])
    target = (max(width, round(image.shape[1] * scale)), max(height, round(image.shape[0] * scale)))
    resized = np.asarray(Image.fromarray(image).resize(target, Image.BILINEAR))
    top, left = (resized.shape[0] - height) // 2, (resized.shape[1] - width) // 2
    return resized[top:top + height, left:left + width]


def normalise(image, mean, std):
    """From (H, W, 3) uint8 to (3, H, W) float32: values to [0, 1], minus mean, over std."""
    scaled = (image.astype(np.float32) / 255 - np.float32(mean)) / np.float32(std)
    return np.ascontiguousarray(scaled.transpose(2, 0, 1))


def prepare(image, preprocess):
    """From an (H, W, 3) uint8 image to the (3, H, W) float32 input that `preprocess` describes."""
    return normalise(resize_and_crop(image, preprocess['size'], preprocess['crop_ratio']),
                     preprocess['mean'], preprocess['std'])


def load_inputs(paths, preprocess, batch_size=32):
    """Yield (N, 3, H, W) NDArray batches of image files."""
    for start in range(0, len(paths), batch_size):
        yield mx.nd.array(np.stack([prepare(read_image(path), preprocess) for path in paths[start:start + batch_size]]))


def find_images(folder):
    """All image files below a folder, sorted.

    Raises
    ------
    FileNotFoundError
        No such folder, or no image in it.
    """
    if not os.path.isdir(folder):
        raise FileNotFoundError('no such folder: %s' % folder)
    paths = sorted(os.path.join(base, name) for base, _, names in os.walk(folder) for name in names
                   if name.lower().endswith(EXTENSIONS))
    if not paths:
        raise FileNotFoundError('there are no images (%s) below %s' % (', '.join(EXTENSIONS), folder))
    return paths
