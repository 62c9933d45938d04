"""Models that BMXNet trained: deployed, they compute what NumPy makes of their files."""
import os
import re
from pathlib import Path

import mxnet as mx
import numpy as np
import pytest
from mxnet.gluon import nn

import bmx
from bmx import cli
from bmx.io.preprocess import find_images, load_inputs
from bmxnet_numpy import Model, computed, patches
from helpers import operators, random, sequential

SHARED = Path(__file__).resolve().parent.parent.parent / 'shared' / 'data'


def deployed(symbol, params, shape, folder, inputs=None):
    prefix = str(folder / 'deployed')
    bmx.export(bmx.import_bmxnet(symbol, params, (1,) + shape), prefix, (1,) + shape, inputs=inputs)
    return bmx.deploy.load(prefix)[0], operators(prefix)


def unit(model, data, name, channels, filters, stride, binary):
    """A residual unit of BMXNet's ResNets, whose shortcut is a convolution; without QActivation, as in its CIFAR-10."""
    def activation(data, number):
        if binary:
            return model.node('QActivation', f'{name}_act{number}', [data], act_bit='1', backward_only='True')
        return model.node('Activation', f'{name}_relu{number}', [data], act_type='relu')

    strides = str((stride, stride))
    first = activation(model.norm(data, name + '_bn1', channels), 1)
    conv = model.conv(first, name + '_conv1', (filters, channels, 3, 3), binary, pad='(1, 1)', stride=strides,
                      no_bias='True', workspace='256')
    second = activation(model.norm(conv, name + '_bn2', filters), 2)
    conv = model.conv(second, name + '_conv2', (filters, filters, 3, 3), binary, pad='(1, 1)', no_bias='True')
    shortcut = model.conv(first, name + '_sc', (filters, channels, 1, 1), binary, stride=strides, no_bias='True')
    return model.node('elemwise_add', name + '_plus', [conv, shortcut])


def resnet(size, key='attr'):
    """As BMXNet's ResNet-18 for ImageNet, whose first stage is float; smaller."""
    model = Model(size, key)
    stem = model.conv(model.norm(model.last, 'bn_data', 3, fix_gamma='True'), 'conv0', (64, 3, 7, 7), pad='(3, 3)',
                      stride='(2, 2)', no_bias='True')
    stem = model.node('Activation', 'relu0', [model.norm(stem, 'bn0', 64)], act_type='relu')
    stem = model.node('Pooling', 'pooling0', [stem], kernel='(3, 3)', pad='(1, 1)', stride='(2, 2)', pool_type='max')
    end = unit(model, unit(model, stem, 'stage1_unit1', 64, 64, 1, False), 'stage2_unit1', 64, 128, 2, True)
    end = model.node('Activation', 'relu1', [model.norm(end, 'bn1', 128)], act_type='relu')
    end = model.node('Pooling', 'pool1', [end], global_pool='True', kernel='(7, 7)', pool_type='avg')
    end = model.dense(model.node('Flatten', 'flatten0', [end]), 'fc1', (10, 128), no_bias='False')
    model.node('SoftmaxOutput', 'softmax', [end, model.node('null', 'softmax_label')])
    return model


@pytest.mark.parametrize('size, key', [(64, 'attr'), (32, 'param'), (None, 'attrs')])
def test_a_residual_network_in_the_layout_of_imagenet(size, key, tmp_path):
    """Words of 32 and 64 bits, and float weights; symbols of before MXNet 0.9, before and since 1.0."""
    files = resnet(size, key).write(tmp_path)
    net, nodes = deployed(*files, (3, 32, 32), tmp_path)
    assert [node['op'] for node in nodes] == ['binary_subgraph']  # all of it
    x = random((3, 3, 32, 32), 5) * 50
    assert np.array_equal(net(x).asnumpy(), computed(*files, x.asnumpy()))


@pytest.mark.parametrize('size', [32, 64])
@pytest.mark.parametrize('shape, filters', [((48, 9, 8), (5, 48, 4, 4)), ((32, 6, 6), (7, 32, 2, 2)),
                                            ((64, 5, 7), (3, 64, 3, 1))])
def test_channels_that_do_not_fill_words(size, shape, filters, tmp_path):
    """The bits of a filter go on from one pixel of the kernel to the next; a bias follows the product."""
    model = Model(size)
    model.conv(model.last, 'conv', filters, True, pad='(1, 0)', stride='(2, 1)', no_bias='False')
    files = model.write(tmp_path)
    x = random((2,) + shape, 3)
    assert np.array_equal(deployed(*files, shape, tmp_path)[0](x).asnumpy(), computed(*files, x.asnumpy()))


@pytest.mark.parametrize('size', [32, 64])
@pytest.mark.parametrize('shape', [(128,), (16, 4, 4)])
@pytest.mark.parametrize('backward_only', ['True', 'False'])
def test_dense_layers(size, shape, backward_only, tmp_path):
    """Their words lie by columns; the signs may come from the layer or from the activation before it."""
    model, count = Model(size), int(np.prod(shape))
    data = model.norm(model.last, 'bn', shape[0])
    data = model.node('Flatten', 'flatten', [data]) if len(shape) > 1 else data
    data = model.node('QActivation', 'act', [data], backward_only=backward_only)
    model.norm(model.dense(data, 'fc', (9, count), True, no_bias='False'), 'bn2', 9)
    files = model.write(tmp_path)
    x = random((4,) + shape, 3)
    assert np.array_equal(deployed(*files, shape, tmp_path)[0](x).asnumpy(), computed(*files, x.asnumpy()))


needs_models = pytest.mark.skipif(not (SHARED / 'bmxnet1').is_dir(), reason='no ../shared/data/bmxnet1')


@needs_models
@pytest.mark.skipif(not (SHARED / 'imagenette').is_dir(), reason='no ../shared/data/imagenette')
def test_bmxnets_cifar10_network(tmp_path, capsys):
    """Its ResNet-18 on a few photographs, by the command: the numbers of NumPy, bit for bit."""
    files = [str(SHARED / 'bmxnet1' / f'cifar10-resnet18-64bit-{end}') for end in ('symbol.json', '0000.params')]
    prefix = str(tmp_path / 'cifar10')
    assert cli.main(['import-bmxnet', *files, '--out', prefix, '--input-shape', '3', '32', '32']) == 0
    assert '20 of 22 layers binary' in capsys.readouterr().out
    net, metadata = bmx.deploy.load(prefix)
    assert metadata.model == 'cifar10-resnet18-64bit' and len(operators(prefix)) == 1
    images = find_images(str(SHARED / 'imagenette' / 'val'))[::200][:4]
    x = next(load_inputs(images, metadata.preprocess))
    assert 200 < x.asnumpy().max() <= 255.001
    assert np.array_equal(net(x).asnumpy(), computed(*files, x.asnumpy()))
    assert cli.main(['predict', prefix, images[0]]) == 0


@needs_models
@pytest.mark.parametrize('size', [32, 64])
def test_bmxnets_mnist_network(size, tmp_path):
    """MXNet computes its tanh, in its own arithmetic."""
    files = [str(SHARED / 'bmxnet1' / f'mnist-{size}bit-{end}') for end in ('symbol.json', '0001.params')]
    x = mx.nd.array(np.random.RandomState(1).uniform(size=(4, 1, 28, 28)))
    net, _ = deployed(*files, (1, 28, 28), tmp_path, x)
    np.testing.assert_allclose(net(x).asnumpy(), computed(*files, x.asnumpy()), rtol=1e-4, atol=1e-4)


# What cannot be imported ----------------------------------------------------------------------------------------------

def edited(name, **attrs):
    """Change attributes of a node."""
    def edit(model):
        next(node for node in model.nodes if node['name'] == name)['attr'].update(attrs)
    return edit


def operator(name, op):
    def edit(model):
        next(node for node in model.nodes if node['name'] == name)['op'] = op
    return edit


def array(name, change):
    def edit(model):
        model.arrays[name] = change(model.arrays[name])
    return edit


def renamed(old, new):
    def edit(model):
        model.arrays[new] = model.arrays.pop(old)
    return edit


def reading(name, source):
    def edit(model):
        next(node for node in model.nodes if node['name'] == name)['inputs'][0][0] = source
    return edit


CONV = 'stage2_unit1_conv1'
REFUSED = {
    'operator': (operator('relu1', 'Gelu2'), r'relu1 \(Gelu2\): no operator of MXNet'),
    'python': (operator('relu1', 'Custom'), r'relu1 \(Custom\): runs Python code'),
    'two': (lambda model: [operator('relu1', 'Foo')(model), operator('flatten0', 'Bar')(model)],
            r'relu1 \(Foo\).*flatten0 \(Bar\)'),
    'bits of activations': (edited('stage2_unit1_act1', act_bit='2'), r'stage2_unit1_act1 \(QActivation\): .*2 bits'),
    'bits': (edited(CONV, act_bit='4'), rf'{CONV} \(QConvolution\): activations of 4 bits'),
    'bits of weights': (edited(CONV, weight_bit='2'), rf'{CONV} \(QConvolution\): weights of 2 bits'),
    'groups': (edited(CONV, num_group='2'), rf'{CONV} \(QConvolution\): 2 groups'),
    'scales': (edited(CONV, scaling_factor='True'), rf'{CONV} \(QConvolution\): scaling_factor=True'),
    'layout': (edited(CONV, layout='NHWC'), rf'{CONV} \(QConvolution\): layout NHWC'),
    'volumes': (edited(CONV, kernel='(3, 3, 3)'), rf'{CONV} \(QConvolution\): a kernel of 3 axes'),
    'half floats': (array(f'arg:{CONV}_weight', lambda value: value.astype(np.float16)), 'must be a row of words'),
    'table': (array(f'arg:{CONV}_weight', lambda value: value.reshape(2, -1)), 'must be a row of words'),
    'too short': (array(f'arg:{CONV}_weight', lambda value: value[:-1]), f'{CONV}_weight.* do not fill 128 filters'),
    'other words': (array(f'arg:{CONV}_weight', lambda value: value[::2]), 'do not fill 128 filters of 3x3 taps'),
    'filters': (edited(CONV, num_filter='x'), 'num_filter cannot be'),
    'no filters': (edited(CONV, num_filter='0'), 'has 0 filters'),
    'empty kernel': (edited(CONV, kernel='(0, 3)'), 'is not a symbol file of MXNet, or damaged'),
    'kernel': (edited(CONV, kernel='(3, 3'), 'is not a symbol file of MXNet, or damaged'),
    'nested': (edited(CONV, kernel='(' * 9999), 'is not a symbol file of MXNet, or damaged'),
    'padding': (edited(CONV, pad='(1, -1)'), 'damaged|pad'),
    'packed': (edited(CONV, binarized_weights_only='False'), 'does the symbol lack binarized_weights_only'),
    'missing weights': (renamed(f'arg:{CONV}_weight', 'arg:other'), f'has no {CONV}_weight, .*another model'),
    'missing': (renamed('arg:bn1_beta', 'arg:bn2_beta'),
                r'is not of the model.* 1 \(bn1_beta\).* 1 \(bn2_beta\) others'),
    'more': (lambda model: model.arrays.update({'arg:more': np.zeros(3, np.float32)}), r'1 \(more\) others'),
    'no node': (reading('relu1', 9999), 'node 9999 is read before it is there'),
    'no inputs': (lambda model: model.nodes[-1].pop('inputs'), 'is not a symbol file of MXNet, or damaged: .*inputs'),
    'no name': (lambda model: model.nodes[5].update(name=5), 'damaged'),
    'attributes': (edited(CONV, stride=[1, 1]), 'no texts'),
    'shape': (array('arg:bn1_beta', lambda value: value[:5]), r'bn1_beta has the shape \(5,\), not \(128,\)'),
    'dilation': (edited('conv0', dilate='(0, 0)'), "cannot have dilate"),
    'not finite': (array('arg:bn1_beta', lambda value: value * np.nan), 'bn1_beta has a value that is not finite'),
}


@pytest.mark.parametrize('case', REFUSED)
def test_refused_models(case, tmp_path, capsys):
    edit, message = REFUSED[case]
    model = resnet(64)
    edit(model)
    files = model.write(tmp_path)
    refuse(files, message, tmp_path, capsys)


def refuse(files, message, folder, capsys, *options):
    """The command tells one sentence and writes nothing."""
    shape = [] if '--input-shape' in options else ['--input-shape', '3', '32', '32']
    out = folder / 'out'
    assert cli.main(['import-bmxnet', *files, '--out', str(out / 'net'), *shape, *options]) == 1
    error = capsys.readouterr().err
    assert error.startswith('bmx import-bmxnet: ') and error.count('\n') == 1
    assert re.search(message, error), error
    assert not out.exists() or not os.listdir(str(out))


def test_damaged_and_missing_files(tmp_path, capsys):
    symbol, params = resnet(64).write(tmp_path)
    refuse((symbol + 'x', params), 'does not exist; a model of BMXNet is a symbol', tmp_path, capsys)
    refuse((params, symbol), 'is not a symbol file of MXNet', tmp_path, capsys)
    refuse((symbol, params), 'does not fit .*, or its input has another shape than', tmp_path, capsys,
           '--input-shape', '4', '32', '32')
    refuse((symbol, params), '--verify-on takes images', tmp_path, capsys, '--input-shape', '4', '32', '32',
           '--verify-on', str(tmp_path))
    names = tmp_path / 'names'
    names.write_text('one\ntwo\n')
    refuse((symbol, params), '2 names of classes for 10 outputs', tmp_path, capsys, '--class-names', str(names))
    whole = Path(params).read_bytes()
    for content in (whole[:len(whole) // 2], b'', whole[:40]):
        Path(params).write_bytes(content)
        refuse((symbol, params), 'is damaged or not a parameter file', tmp_path, capsys)
    Path(params).write_bytes(whole)
    for content in ('{}', '[]', '{"nodes": [], "heads": []}', '{"nodes": [1], "heads": [[0, 0]]}', '{"nodes'):
        Path(symbol).write_text(content)
        refuse((symbol, params), 'is not a symbol file of MXNet', tmp_path, capsys)


# BMXNet 2 -------------------------------------------------------------------------------------------------------------

def sign(x):
    return np.where(x >= 0, 1, -1).astype(np.float32)


def counted(x, weight, pad):
    """A binary convolution of BMXNet 2: how many signs agree, of a border of -1."""
    taps = patches(sign(x), weight.shape[2:], (1, 1), pad, -1)
    rows = sign(weight).reshape(len(weight), -1)
    return (np.einsum('ok,nkhw->nohw', rows, taps) + np.float32(rows.shape[1])) / 2


def bmxnet2(state):
    """The parameters of a small network of BMXNet 2 as `save_parameters` names them, and what it answers."""
    def values(*shape):
        return state.normal(size=shape).astype(np.float32)

    arrays = {'0.weight': values(6, 3, 3, 3), '2.qconv.weight': values(5, 6, 3, 3), '4.weight': values(4, 180)}
    for place, channels in (('1', 6), ('5', 4)):
        arrays.update({f'{place}.gamma': values(channels), f'{place}.beta': values(channels),
                       f'{place}.running_mean': values(channels), f'{place}.running_var': np.abs(values(channels))})

    def answer(x):
        x = mx.nd.Convolution(mx.nd.array(x), mx.nd.array(arrays['0.weight']), num_filter=6, kernel=(3, 3),
                              no_bias=True)
        x = norm(x.asnumpy(), '1')
        x = counted(x, arrays['2.qconv.weight'], (1, 1)).reshape(len(x), -1)
        x = (sign(x - 27) @ sign(arrays['4.weight']).T + 180) / 2
        return norm(x, '5')

    def norm(x, place):
        gamma, beta, mean, var = (arrays[f'{place}.{name}'].reshape((1, -1) + (1,) * (x.ndim - 2))
                                  for name in ('gamma', 'beta', 'running_mean', 'running_var'))
        return (x - mean) / np.sqrt(var + 1e-5) * gamma + beta

    return arrays, answer


class Less(mx.gluon.HybridBlock):
    def hybrid_forward(self, F, x):
        return F.Flatten(x) - 27


def network(**settings):
    with bmx.nn.config(**dict(dict(weight='bmxnet', activation='sign'), **settings)):
        return sequential(nn.Conv2D(6, 3, use_bias=False), nn.BatchNorm(), bmx.nn.BinaryConv(5, 3, padding=1),
                          sequential(Less(), bmx.nn.QActivation()), bmx.nn.QDense(4, use_bias=False), nn.BatchNorm())


@pytest.mark.parametrize('hybridize', [False, True])
def test_parameters_of_bmxnet2(hybridize, tmp_path):
    arrays, answer = bmxnet2(np.random.RandomState(0))
    path = str(tmp_path / 'net.params')
    mx.nd.save(path, {name: mx.nd.array(value) for name, value in arrays.items()})
    net = network()
    net.hybridize(hybridize)
    bmx.load_bmxnet2_parameters(net, path)
    x = random((3, 3, 8, 8), 2)
    np.testing.assert_allclose(net(x).asnumpy(), answer(x.asnumpy()), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize('settings, message', [
    (dict(weight='sign'), r'gives \(dot \+ K\) / 2: build the network in'),
    (dict(weight='sign(scaling="constant")'), r'qdense\d+_? has weights by sign.* gives \(dot \+ K\) / 2'),
    (dict(pad_value=1), 'pads with 1, BMXNet 2 with -1')])
def test_networks_that_are_none_of_bmxnet2(settings, message, tmp_path):
    arrays, _ = bmxnet2(np.random.RandomState(0))
    path = str(tmp_path / 'net.params')
    mx.nd.save(path, {name: mx.nd.array(value) for name, value in arrays.items()})
    with pytest.raises(ValueError, match=message):
        bmx.load_bmxnet2_parameters(network(**settings), path)
    arrays.pop('2.qconv.weight')
    mx.nd.save(path, {name: mx.nd.array(value) for name, value in arrays.items()})
    with pytest.raises(bmx.LoadError, match=r'1 of its 11 parameters are missing \(2.conv.weight, ...\)'):
        bmx.load_bmxnet2_parameters(network(), path)


def test_symbols_of_bmxnet2(tmp_path):
    """What `net.export` of BMXNet 2 writes: layers composed of operators, of which MXNet lacks some."""
    model = Model(None, 'attrs')
    data = model.node('_contrib_gradcancel', 'cancel', [model.last], threshold='1.0')
    data = model.node('Pad', 'pad', [model.node('det_sign', 'signs', [data])], mode='constant', constant_value='-1',
                      pad_width='(0, 0, 0, 0, 1, 1, 1, 1)')
    weight = model.node('det_sign', 'weights', [model.parameter('arg:qconv0_weight', model.values(5, 6, 3, 3))])
    conv = model.node('Convolution', 'qconv0_fwd', [data, weight], kernel='(3, 3)', num_filter='5', no_bias='True')
    model.node('_div_scalar', 'half', [model.node('_plus_scalar', 'plus', [conv], scalar='54')], scalar='2')
    symbol, params = model.write(tmp_path)
    net, nodes = deployed(symbol, params, (6, 7, 8), tmp_path)
    assert [node['op'] for node in nodes] == ['binary_subgraph']
    x = random((2, 6, 7, 8), 1)
    assert np.array_equal(net(x).asnumpy(), counted(x.asnumpy(), model.arrays['arg:qconv0_weight'], (1, 1)))
