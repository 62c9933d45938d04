"""An exported network takes the sizes that the float network takes, and refuses those that it refuses."""
import mxnet as mx
import numpy as np
import pytest
from mxnet import gluon
from mxnet.gluon import nn

import bmx
from bmx import deploy
from bmx.deploy import files
from helpers import random, randomize, sequential

Sign, Dense, Conv = bmx.nn.QActivation, bmx.nn.QDense, bmx.nn.BinaryConv


class Reshaped(gluon.HybridBlock):
    """A reshape between a sign and the dense layer that reads it."""

    def __init__(self, shape, units, flatten=True, **attributes):
        super().__init__()
        self._shape, self._attributes = shape, attributes
        self.sign, self.dense = Sign(), Dense(units, flatten=flatten)

    def hybrid_forward(self, F, x):
        return self.dense(F.reshape(self.sign(x), shape=self._shape, **self._attributes))


class Heads(gluon.HybridBlock):
    """A dense layer over the pixels of an image, whose features are its channels."""

    def __init__(self):
        super().__init__()
        self.norm, self.sign, self.dense = nn.BatchNorm(), Sign(), Dense(3, flatten=False, scaling='constant')

    def hybrid_forward(self, F, x):
        return self.dense(F.transpose(self.sign(self.norm(x)), axes=(0, 2, 3, 1)))


class Normed(gluon.HybridBlock):
    """Two signs of one normalisation, and a dense layer over rows between float ones."""

    def __init__(self):
        super().__init__()
        self.first, self.sign, self.second = nn.Dense(12, flatten=False), Sign(), Dense(5, flatten=False)

    def hybrid_forward(self, F, x):
        return F.softmax(self.second(self.sign(self.first(x))))


# Name -> network, shape that it is exported at, others that it is called with; the float network refuses some.
SEQUENCES = [(2, 6, 20), (2, 9, 20), (1, 7, 20), (5, 1, 20), (2, 6, 40), (2, 6, 10), (2, 6, 21), (2, 6, 17)]
IMAGES = [(1, 5, 9, 9), (3, 5, 9, 9), (2, 5, 12, 7), (1, 5, 20, 31), (2, 6, 9, 9), (2, 4, 9, 9), (2, 8, 9, 9)]
NETS = {
    'rows of sequences': (lambda: sequential(Sign(), Dense(4, flatten=False)), SEQUENCES),
    'scaled rows': (lambda: sequential(Sign(), Dense(4, flatten=False, scaling='constant', use_bias=False)), SEQUENCES),
    'rows of rows': (lambda: sequential(nn.Dense(16, flatten=False), Sign(), Dense(8, flatten=False),
                                        Sign(), Dense(4, flatten=False, activation='relu')), SEQUENCES),
    'rows between float layers': (Normed, SEQUENCES),
    'rows of images': (lambda: sequential(Sign(), Dense(4, flatten=False)),
                       [(1, 3, 5, 12), (2, 3, 5, 12), (2, 4, 7, 12), (1, 1, 1, 12), (1, 3, 5, 24), (1, 3, 5, 9)]),
    'rows of five axes': (lambda: sequential(Sign(), Dense(4, flatten=False)),
                          [(1, 2, 3, 4, 6), (2, 3, 2, 5, 6), (1, 2, 3, 4, 12)]),
    'pixels': (Heads, IMAGES),
    'one row each': (lambda: sequential(Sign(), Dense(4)), [(2, 12), (5, 12), (1, 12), (2, 11), (2, 9), (2, 24)]),
    'rows of two axes': (lambda: sequential(Sign(), Dense(4, flatten=False)), [(2, 12), (5, 12), (2, 10)]),
    'dense on images': (lambda: sequential(nn.BatchNorm(), Sign(), Dense(4)),
                        [(1, 4, 3, 6), (5, 4, 3, 6), (1, 4, 6, 3), (1, 4, 18, 1), (2, 4, 3, 3), (1, 4, 6, 6),
                         (1, 4, 3, 5), (1, 2, 6, 6)]),
    'float dense on images': (lambda: sequential(Conv(4, 3, padding=1), nn.BatchNorm(), nn.Dense(4)),
                              [(1, 4, 3, 6), (5, 4, 3, 6), (1, 4, 6, 3), (1, 4, 18, 1), (2, 4, 3, 3)]),
    'dense on an image of one channel': (lambda: sequential(Sign(), Dense(4)),
                                         [(1, 1, 6, 6), (3, 1, 6, 6), (1, 1, 5, 7), (2, 1, 4, 9), (1, 1, 33, 1),
                                          (2, 1, 3, 6)]),
    'dense after flatten': (lambda: sequential(nn.Conv2D(3, 3), Sign(), nn.Flatten(), Dense(4)),
                            [(1, 2, 5, 5), (5, 2, 5, 5), (1, 2, 5, 6), (1, 2, 7, 7), (1, 2, 3, 11), (1, 2, 11, 3)]),
    'reshape between': (lambda: Reshaped((0, -1), 4), [(1, 4, 3, 3), (5, 4, 3, 3), (1, 2, 3, 6), (1, 4, 3, 4)]),
    'reshape to rows': (lambda: Reshaped((-1, 6), 4), [(1, 4, 3, 3), (5, 4, 3, 3), (1, 6, 7), (1, 4, 3, 4)]),
    'reshape to sequences': (lambda: Reshaped((0, 0, -1), 4, False), [(1, 4, 3, 3), (5, 7, 3, 3), (2, 4, 3, 4)]),
    'reversed reshape': (lambda: Reshaped((-1, 0), 4, False, reverse=True),
                         [(1, 4, 3, 9), (5, 7, 2, 9), (1, 4, 3, 10)]),
    'convolution over rows': (lambda: sequential(nn.BatchNorm(), Sign(), bmx.nn.QConv1D(4, 3, padding=1)),
                              [(1, 5, 9), (4, 5, 9), (2, 5, 30), (1, 5, 3), (1, 6, 9), (1, 5, 1)]),
    'unpadded convolution over rows': (lambda: sequential(Sign(), bmx.nn.QConv1D(4, 3, strides=2, scaling='constant')),
                                       [(1, 5, 9), (4, 5, 9), (2, 5, 30), (1, 6, 9), (1, 8, 9), (1, 5, 2)]),
    'image read by a binary layer': (lambda: sequential(Conv(6, 3, padding=1), Conv(4, 3, padding=1)), IMAGES),
    'normalised image': (lambda: sequential(nn.BatchNorm(), Conv(6, 3, padding=1), nn.GlobalAvgPool2D(), nn.Dense(4)),
                         IMAGES),
    'global pooling': (lambda: sequential(nn.Conv2D(8, 3), bmx.nn.PlainLayout(), nn.BatchNorm(), Conv(6, 3),
                                          nn.MaxPool2D(2), Conv(6, 3, padding=1), nn.GlobalAvgPool2D(), Dense(3)),
                       IMAGES + [(1, 5, 5, 5)]),
    'average pooling': (lambda: sequential(nn.BatchNorm(), Conv(6, 3, padding=1), nn.AvgPool2D(2, ceil_mode=True,
                                                                                              count_include_pad=False)),
                        IMAGES),
    'shuffled': (lambda: sequential(nn.Conv2D(8, 3), nn.BatchNorm(), Conv(8, 3, groups=2), bmx.nn.ChannelShuffle(2)),
                 IMAGES),
    'binarizations': (lambda: sequential(Sign(binarizations=2), bmx.nn.QConv2D(6, 3, padding=1, binarizations=2,
                                                                              scaling='constant')), IMAGES),
    'binarizations of rows': (lambda: sequential(Sign(binarizations=2), bmx.nn.QConv1D(6, 3, binarizations=2)),
                              [(1, 5, 9), (4, 5, 9), (2, 5, 30), (1, 6, 9)]),
    'dense of binarizations': (lambda: sequential(Sign(binarizations=2), Dense(4, binarizations=2)),
                               [(1, 4, 3, 6), (5, 4, 3, 6), (1, 4, 3, 7), (1, 4, 5, 6), (1, 4, 6, 6), (1, 3, 3, 6)]),
    'dense of binarizations of rows': (lambda: sequential(Sign(binarizations=2), Dense(4, binarizations=2)),
                                       [(1, 4, 6), (5, 4, 6), (1, 4, 8), (1, 4, 12)]),
    'dense of binarizations of five axes': (lambda: sequential(Sign(binarizations=2), Dense(4, binarizations=2)),
                                            [(1, 4, 2, 3, 2), (5, 4, 2, 3, 2), (1, 4, 3, 2, 2), (1, 4, 3, 3, 2)]),
    'float layer of binary weights': (lambda: sequential(Dense(4, flatten=False, scaling='constant')), SEQUENCES),
    'k bits': (lambda: sequential(bmx.nn.QActivation(bits=2), bmx.nn.QConv2D(4, 3, bits=2)), IMAGES),
}


def answer(net, x):
    """What a network answers, None where it refuses."""
    try:
        return net(x).asnumpy()
    except (mx.MXNetError, AssertionError):
        return None


# In programs, dense layers on images: of as many features, but another height and width are refused.
WHOLE = ('dense on images', 'dense on an image of one channel', 'float dense on images')


@pytest.mark.parametrize('exact', [False, True])
@pytest.mark.parametrize('name', NETS)
def test_sizes(name, exact, tmp_path, capsys):
    build, shapes = NETS[name]
    prefix = str(tmp_path / 'net')
    net = randomize(build(), random(shapes[0]))
    bmx.export(net, prefix, shapes[0], exact=exact)
    expected = {shape: answer(net, random(shape, 2)) for shape in shapes}
    if name in WHOLE and not exact:
        expected.update((shape, None) for shape in shapes if shape[1:] != shapes[0][1:])
    assert sum(value is not None for value in expected.values()) > 1
    deployed = deploy.load(prefix)[0]
    for hybridized in (None, dict(static_alloc=False), dict(static_alloc=True, static_shape=False)):
        if hybridized is not None:
            deployed.hybridize(**hybridized)
        for shape in shapes + shapes[::-1]:
            found = answer(deployed, random(shape, 2))
            if expected[shape] is None:
                assert found is None, (shape, found.shape)
            else:
                assert found is not None, shape
                np.testing.assert_allclose(found, expected[shape], rtol=1e-5, atol=1e-5, err_msg=str(shape))


def test_another_image_for_a_dense_layer_is_refused_in_a_sentence(tmp_path):
    build, shapes = NETS['float dense on images']
    net = randomize(build(), random(shapes[0]))
    bmx.export(net, str(tmp_path / 'net'), shapes[0])
    with pytest.raises(mx.MXNetError, match='a dense layer on images of 3x6 pixels got one of 6x3'):
        deploy.load(str(tmp_path / 'net'))[0](random((1, 4, 6, 3)))


@pytest.mark.parametrize('name', ['rows of sequences', 'pixels', 'global pooling', 'dense of binarizations'])
def test_module_takes_other_sizes(name, tmp_path):
    build, shapes = NETS[name]
    prefix = str(tmp_path / 'net')
    net = randomize(build(), random(shapes[0]))
    bmx.export(net, prefix, shapes[0])
    symbol, arguments, auxiliary = mx.model.load_checkpoint(prefix, 0)
    module = mx.mod.Module(symbol, label_names=None)
    module.bind(for_training=False, data_shapes=[('data', shapes[0])])
    module.set_params(arguments, auxiliary)
    for shape in shapes[1::-1]:
        module.reshape(data_shapes=[('data', shape)])
        module.forward(mx.io.DataBatch([random(shape, 2)]), is_train=False)
        np.testing.assert_allclose(module.get_outputs()[0].asnumpy(), net(random(shape, 2)).asnumpy(), rtol=1e-5,
                                   atol=1e-5)


def test_networks_of_the_registry_get_no_further_operators(tmp_path):
    net = bmx.get_model('meliusnet22', blocks=(1, 1), reductions=(0.5,), stem='thumbnail', classes=5)
    net.initialize(mx.init.Xavier())
    bmx.export(net, str(tmp_path / 'net'), (1, 3, 32, 32))
    nodes = mx.sym.load(files.symbol_path(str(tmp_path / 'net'))).get_internals().list_outputs()
    assert not [node for node in nodes if 'channels0' in node]
