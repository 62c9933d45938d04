"""What a Python user passes to the exporter without thinking: it works, or the error says what to give."""
from pathlib import Path

import mxnet as mx
import numpy as np
import pytest
from mxnet import gluon
from mxnet.gluon import nn

import bmx
from bmx import deploy
from bmx.deploy import files
from bmx.io.description import read_description, write_description
from helpers import small_net

SHAPE = (1, 3, 8, 8)
VIEW = {'size': [8, 8], 'crop_ratio': 0.875, 'mean': [0.5] * 3, 'std': [0.25] * 3}
IMAGES = np.random.RandomState(0).normal(size=(4, 3, 8, 8))
DATASET = gluon.data.ArrayDataset(IMAGES.astype('float32'), np.zeros(4))

# Arguments of `export`, the number of inputs that it verifies on.
ACCEPTED = {
    'NumPy inputs': (dict(inputs=IMAGES), 4),
    'NumPy inputs of bytes': (dict(inputs=np.uint8(IMAGES * 9)), 4),
    'a list of NumPy inputs': (dict(inputs=[IMAGES, IMAGES[:1]]), 5),
    'inputs of integers': (dict(inputs=mx.nd.array(IMAGES * 9, dtype='int32')), 4),
    'inputs of float64': (dict(inputs=mx.nd.array(IMAGES, dtype='float64')), 4),
    'an array of mxnet.numpy': (dict(inputs=mx.np.array(IMAGES)), 4),
    'a loader of images and labels': (dict(inputs=gluon.data.DataLoader(DATASET, 3)), 4),
    'an iterator of MXNet': (dict(inputs=mx.io.NDArrayIter(IMAGES, np.zeros(4), 2)), 4),
    'a generator': (dict(inputs=(batch for batch in (IMAGES, IMAGES))), 8),
    'a shape of NumPy numbers': (dict(data_shape=tuple(np.int64(size) for size in SHAPE)), 4),
    'a shape as a list': (dict(data_shape=list(SHAPE)), 4),
    'a shape as an array': (dict(data_shape=np.array(SHAPE)), 4),
    'numbers as classes': (dict(classes=np.arange(4)), 4),
    'an array of names': (dict(classes=np.array(list('abcd'))), 4),
    'preprocessing of NumPy': (dict(preprocess={'size': (np.int32(8), 8), 'crop_ratio': np.float32(0.5),
                                                'mean': np.zeros(3), 'std': np.ones(3, np.float32)}), 4),
    'a model name that is none': (dict(model=Path('a')), 4),
}


@pytest.mark.parametrize('name', ACCEPTED)
def test_accepted(name, tmp_path):
    given, images = ACCEPTED[name]
    exported = bmx.export(small_net(), tmp_path / 'net', **dict(dict(data_shape=SHAPE), **given))
    assert exported.comparison.images == images
    metadata = deploy.load(tmp_path / 'net')[1]
    assert metadata.input_shape == [3, 8, 8] and metadata.classes in (None, list('0123'), list('abcd'))
    assert metadata.preprocess in (None, {'size': [8, 8], 'crop_ratio': 0.5, 'mean': [0, 0, 0], 'std': [1, 1, 1]})


REFUSED = {
    'a number': (dict(inputs=3), 'inputs must be an array or a sequence of arrays, got a int'),
    'numbers': (dict(inputs=[1, 2]), 'a batch of inputs must be an array, got a int'),
    'names': (dict(inputs=['a.jpg']), 'a batch of inputs must be an array, got a str'),
    'images, not batches': (dict(inputs=DATASET), r'a batch of inputs has shape \(3, 8, 8\); give batches as of shape'),
    'one image': (dict(inputs=IMAGES[0]), r'give batches as of shape \(1, 3, 8, 8\), the number of inputs first'),
    'gray images': (dict(inputs=IMAGES[:, :1]), 'cannot be verified, nothing was written'),
    'no inputs': (dict(inputs=[]), 'there are no inputs'),
    'names by number': (dict(classes={0: 'a'}), 'must be a list of names in the order of the outputs, got a dict'),
    'one name': (dict(classes='abcd'), 'must be a list of names in the order of the outputs, got a str'),
    'how many names': (dict(classes=4), 'must be a list of names in the order of the outputs, got a int'),
    'no images': (dict(data_shape=(0, 3, 8, 8)), r'must be whole numbers of at least 1, the batch first, got \(0, 3'),
    'no shape': (dict(data_shape=None), 'must be whole numbers of at least 1, the batch first, got None'),
    'any batch': (dict(data_shape=(None, 3, 8, 8)), 'must be whole numbers of at least 1'),
    'three names': (dict(classes=np.arange(3)), '3 names of classes for 4 outputs'),
    'a mean that is none': (dict(preprocess=dict(VIEW, mean=[0, np.nan, 0])), 'preprocessing cannot be'),
    'a mean of 0 to 255': (dict(preprocess=dict(VIEW, mean=[123.68, 116.8, 103.9])),
                           'mean 123.68 is not on the scale of values from 0 to 1, where it is from 0 to 1: divide it '
                           'by 255, that is 0.485'),
    'a deviation of 0': (dict(preprocess=dict(VIEW, std=[0.2, 0, 0.2])),
                         'std 0 is not on the scale of values from 0 to 1, where it is from 0.001 to 1'),
    'a size of one number': (dict(preprocess=dict(VIEW, size=16)), 'preprocessing cannot be'),
    'another size': (dict(preprocess=dict(VIEW, size=[16, 16])),
                     r'preprocess makes inputs of shape \(3, 16, 16\), those of the network are \(3, 8, 8\)'),
    'a crop of nothing': (dict(preprocess=dict(VIEW, crop_ratio=0)), 'preprocessing cannot be'),
    'a part of a preprocessing': (dict(preprocess={'size': [8, 8]}), 'must be a dict of size, crop_ratio, mean, std'),
    'a misspelt preprocessing': (dict(preprocess=dict(VIEW, means=1)), 'must be a dict of size, crop_ratio, mean, std'),
    'a preprocessing that is none': (dict(preprocess=3), 'must be a dict of size, crop_ratio, mean, std, got 3'),
    'a name of control characters': (dict(model='\x1b[2J'), 'model cannot be'),
}


@pytest.mark.parametrize('name', REFUSED)
def test_refused(name, tmp_path):
    given, message = REFUSED[name]
    with pytest.raises(bmx.ExportError, match=message):
        bmx.export(small_net(), tmp_path / 'net', **dict(dict(data_shape=SHAPE), **given))
    assert list(tmp_path.iterdir()) == []


class Constant(mx.gluon.HybridBlock):
    def hybrid_forward(self, F, x):
        return F.ones((1, 4))


def test_a_network_that_does_not_read_its_input(tmp_path):
    with pytest.raises(bmx.ExportError, match='does not read its input'):
        bmx.export(Constant(), tmp_path / 'net', SHAPE)


WITHOUT_GRAPH = {'not hybrid': nn.Sequential, 'a symbol': lambda: mx.sym.var('data'), 'a number': lambda: 3,
                 'a name': lambda: 'meliusnet22'}


@pytest.mark.parametrize('name', WITHOUT_GRAPH)
def test_what_has_no_graph(name, tmp_path):
    with pytest.raises(bmx.ExportError) as caught:
        bmx.export(WITHOUT_GRAPH[name](), tmp_path / 'net', SHAPE)
    assert '\n' not in str(caught.value) and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('load', [lambda prefix: deploy.load(prefix)[0],
                                  lambda prefix: gluon.SymbolBlock.imports(files.symbol_path(prefix), ['data'],
                                                                           files.params_path(prefix))])
def test_a_deployed_network_is_not_exported_again(load, tmp_path):
    bmx.export(small_net(), tmp_path / 'net', SHAPE)
    with pytest.raises(bmx.ExportError, match='is a deployed one already .* copy its two files, or export the trained'):
        bmx.export(load(tmp_path / 'net'), tmp_path / 'again', SHAPE)


@pytest.mark.parametrize('classes', [3, np.int64(3), np.array(3), np.uint8(3)], ids=lambda value: type(value).__name__)
def test_settings_of_numpy_numbers(classes, tmp_path):
    net = bmx.get_model('meliusnet22', classes=classes, stem='thumbnail', blocks=np.array([1]), reductions=(),
                        growth=np.int32(64))
    assert net.model_kwargs == dict(classes=3, stem='thumbnail', blocks=[1], reductions=(), growth=64)
    net.initialize()
    bmx.export(net, tmp_path / 'net', (1, 3, 16, 16))
    settings = deploy.load(tmp_path / 'net')[1].settings
    assert settings == dict(classes=3, stem='thumbnail', blocks=[1], reductions=[], growth=64)
    preprocess = {'size': [16, 16], 'crop_ratio': 1, 'mean': [0, 0, 0], 'std': [1, 1, 1]}
    write_description(tmp_path / 'net.params', net, list('abc'), preprocess)
    assert read_description(tmp_path / 'net.params').settings == settings
