"""What an export proves of a deployed network, and what it notices."""
import dataclasses
import os
import re

import mxnet as mx
import numpy as np
import pytest
from mxnet import gluon
from mxnet.gluon import nn

import bmx
from bmx import deploy
from bmx.cli import main
from bmx.deploy import arithmetic, fold, fuse, lower, operators
from bmx.graph import Graph
from bmx.ops.program import Conv, Program
from helpers import Net, conv, own, random, randomize, sequential


def network():
    """Float convolutions, normalisation that a sign and one that a sum reads, sums, pooling, a dense layer."""
    return Net(lambda F, net, x: (lambda y: net.dense(net.pool(net.second(net.act(net.first(y))) + y)))(
        net.norm(net.float(x))), float=nn.Conv2D(6, 3, padding=1), norm=nn.BatchNorm(), first=conv(),
        act=sequential(nn.BatchNorm(), nn.BatchNorm()), second=conv(), pool=nn.GlobalAvgPool2D(), dense=nn.Dense(4))


def swapped(pack):
    def wrong(weight, groups=1):
        packed = pack(weight, groups)
        packed[0, 0, 0, :2] = packed[0, 0, 0, 1::-1].copy()
        return packed
    return wrong


def changed(make):
    """A function whose result, an array, is 1 % larger."""
    return lambda *args: make(*args) * np.float32(1.01)


def reversed_directions(find):
    return lambda *args: find(*args) * np.float32([[1], [-1]])


def without_sums(fold_steps):
    """Binary convolutions forget what is added to them."""
    def wrong(*args):
        built = fold_steps(*args)
        return dataclasses.replace(built, program=Program(tuple(
            dataclasses.replace(each, steps=tuple(step for step in each.steps if step.word != 'plus'))
            if isinstance(each, Conv) else each for each in built.program.instructions)))
    return wrong


# What can be wrong with an export: the module and function, what is in its place, and what notices it: (a) the
# comparison of networks, or (b) that of single instructions with MXNet's operators.
WRONG = {
    'two weights change places': (operators, 'pack_float_weights', swapped, 'b'),
    'normalisation': (operators, 'norm_values', changed, 'b'),
    'a fold of steps': (fold, 'steps_threshold', reversed_directions, 'a'),
    'a fold when lowering': (lower, 'steps_threshold', reversed_directions, 'a'),
    'packed weights': (bmx.ops, 'pack_weights', lambda pack: lambda weight: pack(-weight), 'a'),
    'sums': (fuse, 'fold_steps', without_sums, 'a'),
}


@pytest.mark.parametrize('name', WRONG)
def test_what_is_wrong_is_noticed_and_not_written(name, tmp_path, monkeypatch):
    module, function, make, noticed = WRONG[name]
    x = random((4, 6, 9, 8))
    net = randomize(network(), x)
    bmx.export(net, str(tmp_path / 'right'), x.shape, x)
    os.mkdir(str(tmp_path / 'wrong'))
    monkeypatch.setattr(module, function, make(getattr(module, function)))
    with pytest.raises(bmx.ExportError, match='computes something else than .*nothing was written') as caught:
        bmx.export(net, str(tmp_path / 'wrong' / 'net'), x.shape, x)
    assert os.listdir(str(tmp_path / 'wrong')) == []
    message = str(caught.value)
    difference = float(re.search('arithmetic of programs: .*largest difference (.*) of the', message).group(1))
    error = float(re.search('largest error (.*) of what', message).group(1))
    assert (difference > 0, error > 1) == ((True, False) if noticed == 'a' else (False, True))


def test_the_last_bits_of_one_score_are_noticed(tmp_path):
    x = random((4, 6, 9, 8))
    net, prefix = randomize(network(), x), str(tmp_path / 'net')
    bmx.export(net, prefix, x.shape, x)
    deployed, _ = deploy.load(prefix)
    assert deploy.verify(net, deployed, [x], deploy.OwnNetwork(*deploy.trace(net, x.shape))).holds
    bias, = [parameter for name, parameter in deployed.collect_params().items() if re.search('dense[0-9]+_bias$', name)]
    value = bias.data().asnumpy()
    value[1] += 2 * np.spacing(np.abs(deployed(x).asnumpy()).max())
    bias.set_data(mx.nd.array(value))
    found = deploy.verify(net, deployed, [x], deploy.OwnNetwork(*deploy.trace(net, x.shape)))
    assert found.comparison.equal and 0 < found.comparison.max_difference < 1e-6 and not found.holds


def test_what_mxnet_answers_is_told_and_no_condition(tmp_path):
    """Thresholds lie where MXNet's sums are: where programs round otherwise, the other sign is taken."""
    x = random((8, 64, 5, 5))
    net = randomize(sequential(nn.Conv2D(16, 3, in_channels=64), nn.BatchNorm(), conv()), x)
    net[1].running_mean.set_data(net[0](x)[0, :, 1, 1])
    net[1].beta.set_data(mx.nd.zeros(16))
    net[1].gamma.set_data(mx.nd.ones(16))
    verification = bmx.export(net, str(tmp_path / 'net'), x.shape, x).verification
    assert verification.holds and verification.comparison.max_difference == 0
    assert set(verification.float_comparison.differing_values) == {0}
    text = str(verification)
    assert 'arithmetic of programs: top-1 equal on 8 and values on 8 of 8 inputs, largest difference 0 of' in text
    assert re.search(r'beside the float network as MXNet computes it on this CPU: .* values on 7 of 8 inputs', text)
    assert 'takes the other sign' in text


@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_a_result_that_is_no_number_is_no_right_one(value):
    graph, params = deploy.trace(randomize(sequential(nn.Conv2D(4, 3)), random((1, 2, 5, 5))), (1, 2, 5, 5))
    _, (replaced,) = arithmetic.in_own_arithmetic(graph, params, ())
    x = random((1, 2, 5, 5))
    result = mx.nd.Convolution(x, *replaced.parameters, kernel=(3, 3), num_filter=4)
    assert replaced.error(x, result) == 0
    result[0, 1, 1, 1] = value
    assert replaced.error(x, result) == np.inf


def test_exact_keeps_the_operators_of_mxnet(tmp_path):
    x = random((4, 6, 9, 8))
    net, prefix = randomize(network(), x), str(tmp_path / 'net')
    exported = bmx.export(net, prefix, x.shape, x, exact=True)
    verification = exported.verification
    assert verification.comparison is verification.float_comparison and verification.errors == {}
    assert not verification.to_the_bit and str(verification).startswith('verified against the float network: top-1')
    deployed, metadata = deploy.load(prefix)
    assert metadata.exact and np.array_equal(deployed(x).asnumpy(), net(x).asnumpy())
    assert {'Convolution', 'BatchNorm', 'Pooling', 'FullyConnected'} < {
        node.op for node in Graph.from_symbol(mx.sym.load(prefix + '-symbol.json')).nodes}


@pytest.mark.parametrize('exact', [False, True])
def test_a_network_without_binary_layers_keeps_them_in_any_case(exact, tmp_path):
    x = random((2, 3, 9, 8))
    net = randomize(sequential(nn.Conv2D(4, 3), nn.BatchNorm(), nn.Dense(3)), x)
    bmx.export(net, str(tmp_path / 'net'), x.shape, x, exact=exact)
    deployed, metadata = deploy.load(str(tmp_path / 'net'))
    assert metadata.exact and np.array_equal(deployed(x).asnumpy(), net(x).asnumpy())


def test_commands(tmp_path, capsys):
    net = bmx.get_model('resnete18', stem='thumbnail', layers=(1,), channels=(16,), classes=3)
    x = random((4, 3, 16, 16))
    randomize(net, x)
    params = str(tmp_path / 'net.params')
    net.save_parameters(params)
    for options, expected, said in (
            ([], own(net, x), 'verified against the float network in the arithmetic of programs'),
            (['--exact'], net(x).asnumpy(), 'verified against the float network: ')):
        prefix = str(tmp_path / ('exact' if options else 'net'))
        assert main(['export', '--model', 'resnete18', '--params', params, '--out', prefix, '--input-size', '16',
                     '--stem', 'thumbnail', '--set', 'layers=(1,)', '--set', 'channels=(16,)', '--set', 'classes=3']
                    + options) == 0
        assert said in capsys.readouterr().out
        deployed, metadata = deploy.load(prefix)
        assert metadata.exact == bool(options) and np.array_equal(deployed(x).asnumpy(), expected)
        assert main(['verify', prefix, '--params', params]) == 0
        assert said in capsys.readouterr().out
        net.output.bias.set_data(net.output.bias.data() + 1)
        net.save_parameters(params + '-other')
        assert main(['verify', prefix, '--params', params + '-other']) == 1
        assert 'the deployed network differs from the float network' in capsys.readouterr().err
        net.load_parameters(params)


class Shifted(gluon.HybridBlock):
    """Adds a parameter to each of two images: takes no other number of them."""

    def __init__(self):
        super().__init__()
        self.conv, self.shift = conv(), self.params.get('shift', shape=(2, 6, 5, 5))

    def hybrid_forward(self, F, x, shift):
        return self.conv(x) + shift


def test_what_does_not_load_again_is_not_written(tmp_path):
    x = random((2, 6, 5, 5))
    with pytest.raises(bmx.ExportError, match=r'cannot be verified, nothing was written: .*input of shape \(6, 5, 5\)'):
        bmx.export(randomize(Shifted(), x), str(tmp_path / 'net'), x.shape, x)
    assert os.listdir(str(tmp_path)) == []
