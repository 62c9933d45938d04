"""Augmentation: from a picture to a network's input, every random number from an explicit stream.

Pictures are uint8 arrays (H, W, 3); how they are evaluated without augmentation is `bmx.io.preprocess`.
"""
from __future__ import annotations

import math
from typing import Any, Mapping

import numpy as np
from PIL import Image, ImageEnhance

from ...io import preprocess


def fit(image: np.ndarray, _rng: np.random.RandomState, view: Mapping[str, Any]) -> np.ndarray:
    """Resize and cut out the centre, as at evaluation."""
    return preprocess.resize_and_crop(image, view['size'], view['crop_ratio'])


def random_resized_crop(image: np.ndarray, rng: np.random.RandomState, view: Mapping[str, Any]) -> np.ndarray:
    """A rectangle of 8 to 100 % of the area, an aspect of 3/4 to 4/3, resized (Szegedy et al., "Inception", 2015)."""
    height, width = image.shape[:2]
    for _ in range(10):
        area = rng.uniform(0.08, 1) * width * height
        aspect = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
        crop_width, crop_height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < crop_width <= width and 0 < crop_height <= height:
            left, top = rng.randint(width - crop_width + 1), rng.randint(height - crop_height + 1)
            crop = Image.fromarray(image[top:top + crop_height, left:left + crop_width])
            return np.asarray(crop.resize(view['size'][::-1], Image.BILINEAR))
    return fit(image, rng, view)


def random_crop(image: np.ndarray, rng: np.random.RandomState, view: Mapping[str, Any]) -> np.ndarray:
    """Resize to a square, whatever the aspect (256x256 for inputs of 224x224), and cut out a rectangle anywhere.

    Tang et al., "How to Train a Compact Binary Neural Network", AAAI 2017; Phan et al., "MoBiNet", WACV 2020.
    """
    height, width = view['size']
    target = [math.ceil(side / view['crop_ratio']) for side in (width, height)]
    resized = np.asarray(Image.fromarray(image).resize(target, Image.BILINEAR))
    top, left = rng.randint(target[1] - height + 1), rng.randint(target[0] - width + 1)
    return resized[top:top + height, left:left + width]


def random_shift(image: np.ndarray, rng: np.random.RandomState, _view: Mapping[str, Any]) -> np.ndarray:
    """Move by up to an eighth of the size, black outside: pad and crop, as is usual for CIFAR-10 (4 of 32 pixels)."""
    height, width = image.shape[:2]
    reach = height // 8
    top, left = rng.randint(2 * reach + 1, size=2)
    padded = np.pad(image, ((reach, reach), (reach, reach), (0, 0)))
    return padded[top:top + height, left:left + width]


def random_flip(image: np.ndarray, rng: np.random.RandomState, _view: Mapping[str, Any]) -> np.ndarray:
    """Mirror every second image."""
    return image[:, ::-1] if rng.rand() < 0.5 else image


def color_jitter(image: np.ndarray, rng: np.random.RandomState, _view: Mapping[str, Any],
                 strength: float = 0.4) -> np.ndarray:
    """Brightness, contrast and saturation by up to 40 %, in random order."""
    picture = Image.fromarray(np.ascontiguousarray(image))
    enhancers = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
    for choice in rng.permutation(len(enhancers)):
        picture = enhancers[choice](picture).enhance(rng.uniform(1 - strength, 1 + strength))
    return np.asarray(picture)


# Principal components of ImageNet's pixels: Krizhevsky et al., "AlexNet", 2012; numbers as in MXNet.
_PCA_VALUES = np.array([55.46, 4.794, 1.148])
_PCA_VECTORS = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])


def pca_lighting(image: np.ndarray, rng: np.random.RandomState, _view: Mapping[str, Any],
                 strength: float = 0.1) -> np.ndarray:
    """Add to every pixel one random colour along the principal components of ImageNet's colours."""
    offset = _PCA_VECTORS @ (rng.normal(0, strength, 3) * _PCA_VALUES)
    return np.clip(image + offset.astype(np.float32), 0, 255).round().astype(np.uint8)


# Each step: (uint8 image, numpy.random.RandomState, preprocessing) -> uint8 image; the first one settles the size.
AUGMENTATIONS = {
    'none': (fit,),
    'paper': (random_resized_crop, random_flip),
    'gluoncv': (random_resized_crop, random_flip, color_jitter, pca_lighting),
    'crop': (random_crop,),
    'crop-flip': (random_crop, random_flip),
    'shift': (fit, random_shift),
    'shift-flip': (fit, random_shift, random_flip),
}


def augment(image: np.ndarray, name: str, rng: np.random.RandomState, view: Mapping[str, Any]) -> np.ndarray:
    """Apply ``AUGMENTATIONS[name]`` and normalise.

    Parameters
    ----------
    image : numpy.ndarray
        uint8 (H, W, 3).
    name : str
        A key of `AUGMENTATIONS`.
    rng : numpy.random.RandomState
    view : dict
        Preprocessing, see `bmx.io.preprocess`.

    Returns
    -------
    numpy.ndarray
        float32 (3, height, width).
    """
    for step in AUGMENTATIONS[name]:
        image = step(image, rng, view)
    return preprocess.normalise(image, view['mean'], view['std'])
