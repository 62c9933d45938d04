"""`bmx.prepare`, and what docs/deploy.md shows in its place."""
import io
import re
from pathlib import Path

import mxnet as mx
import numpy as np
import pytest
from PIL import Image

import bmx
from helpers import small_net

VIEW = {'size': [8, 8], 'crop_ratio': 0.875, 'mean': [0.485, 0.456, 0.406], 'std': [0.229, 0.224, 0.225]}


@pytest.fixture
def photograph(tmp_path):
    """A file whose EXIF turns it."""
    exif = Image.Exif()
    exif[0x112] = 6
    path = tmp_path / 'fish.jpg'
    Image.fromarray(np.random.RandomState(0).randint(0, 256, (20, 31, 3)).astype(np.uint8)).save(str(path), exif=exif)
    return path


def test_one_input_of_everything(photograph):
    expected = bmx.prepare(photograph, VIEW)
    assert expected.shape == (3, 8, 8) and expected.dtype == np.float32
    with Image.open(str(photograph)) as image:
        pixels = np.rot90(np.asarray(image), -1)
        for given in (str(photograph), io.BytesIO(photograph.read_bytes()), image, pixels):
            np.testing.assert_array_equal(bmx.prepare(given, VIEW), expected)


@pytest.mark.parametrize('image, view, error, message', [
    ('none.jpg', VIEW, OSError, 'no such image: none.jpg'),
    (3, VIEW, TypeError, 'an image must be a path, a binary file, a PIL.Image.Image or an array, got int'),
    (np.zeros((4, 4)), VIEW, ValueError, r'a uint8 array \(H, W, 3\), got a float64 array'),
    ('x.jpg', None, ValueError, 'does not say how an image becomes its input'),
    ('x.jpg', {'size': [8, 8]}, ValueError, 'preprocess is damaged: its preprocessing cannot be'),
    ('x.jpg', dict(VIEW, mean=[123.68, 116.78, 103.94]), ValueError, 'mean 123.68 is not on the scale'),
    ('x.jpg', dict(VIEW, std=[0, 0, 0]), ValueError, 'std 0 is not on the scale')])
def test_what_cannot_be_prepared(image, view, error, message):
    with pytest.raises(error, match=message):
        bmx.prepare(image, view)


def test_what_the_document_shows(photograph, tmp_path, monkeypatch):
    """Its lines, with Pillow and MXNet alone, give the same values."""
    monkeypatch.chdir(tmp_path)
    bmx.export(small_net(), 'meliusnet22', (1, 3, 8, 8), preprocess=VIEW)
    text = (Path(__file__).resolve().parent.parent / 'docs' / 'deploy.md').read_text()
    block, = [block for block in re.findall('```python\n(.*?)```', text, re.S) if "['__bmx__']" in block]
    net, metadata = bmx.deploy.load('meliusnet22')
    names = {'mx': mx, 'net': net}
    exec(block, names)
    np.testing.assert_array_equal(names['x'], bmx.prepare('fish.jpg', metadata.preprocess))
    assert names['scores'].shape == (1, 4)
