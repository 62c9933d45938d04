"""The deployed network of a moment, in memory: what validations of trainings compute."""
import mxnet as mx
import numpy as np
import pytest

import bmx
from bmx.deploy import ExportError, in_memory, load
from bmx.models import get_model
from bmx.train import loop
from helpers import arguments, prepare, random, randomize, read_metrics, train


@pytest.mark.parametrize('name', ['meliusnet22', 'mobinet_mid', 'nin_binary_expanded', 'reactnet_a'])
def test_computes_what_the_files_compute(name, tmp_path):
    net, x = get_model(name, classes=10), random((2, 3, 64, 64))
    randomize(net, x)
    bmx.export(net, tmp_path / 'model', x.shape)
    assert (in_memory(net, (1, 3, 64, 64))(x).asnumpy() == load(tmp_path / 'model')[0](x).asnumpy()).all()


def test_is_that_of_a_moment():
    net, x = get_model('resnete18', classes=10, stem='thumbnail'), random((2, 3, 32, 32))
    randomize(net, x)
    before, scores = in_memory(net, x.shape), net(x)
    for parameter in net.collect_params('.*gamma').values():
        parameter.set_data(-parameter.data())
    np.testing.assert_allclose(before(x).asnumpy(), scores.asnumpy(), rtol=1e-3, atol=1e-4)
    assert np.abs(in_memory(net, x.shape)(x).asnumpy() - scores.asnumpy()).max() > 0.1


def test_float_networks_have_none_and_what_cannot_be_converted_is_refused():
    with bmx.nn.config(bits=32):
        net = get_model('resnete18', classes=10, stem='thumbnail')
    net.initialize()
    net(mx.nd.zeros((1, 3, 32, 32)))
    assert in_memory(net, (1, 3, 32, 32)) is None
    net = get_model('resnete18', classes=10, stem='thumbnail')
    net.initialize()
    net(mx.nd.zeros((1, 3, 32, 32)))
    next(iter(net.collect_params('.*gamma').values())).data()[:] = np.nan
    with pytest.raises(ExportError, match='not finite'):
        in_memory(net, (1, 3, 32, 32))


@pytest.mark.usefixtures('tiny_model', 'no_pictures')
def test_a_training_validates_what_it_exports(folder, tmp_path):
    """The loss in the table is that of the exported network, to the last digit that the table has."""
    command = arguments(folder, tmp_path, '--num-epochs', '1')
    assert train(command) == 0
    net, _ = load(tmp_path / 'run' / 'tiny')
    totals, training = loop.Totals(), prepare(command)
    for batch in training.data.val_batches():
        training._objective.evaluate(net, batch, totals)
    row, = read_metrics(tmp_path / 'run')
    assert row['val_loss'] == pytest.approx(totals.mean('loss'), rel=1e-5)


@pytest.mark.usefixtures('tiny_model')
def test_what_has_no_deployed_form_validates_itself(folder, tmp_path):
    training = prepare(arguments(folder, tmp_path, '--bits', '32'))
    assert training._evaluated_net() is training.net
    training = prepare(arguments(folder, tmp_path))
    assert training._evaluated_net() is not training.net
    training.net[6].weight.data()[:] = np.nan
    assert training._evaluated_net() is training.net
