"""Several devices of a machine, in whose place are two contexts of the CPU."""
import json

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd, gluon

import bmx
from bmx.models import MODELS
from bmx.train import Interrupted, Plan
from bmx.train.totals import Totals
from helpers import arguments, prepare, train

pytestmark = pytest.mark.usefixtures('tiny_model', 'no_pictures')

DEVICES = [mx.cpu(0), mx.cpu(1)]


def frozen(classes, stem='thumbnail', statistics=True):
    """A binary network; with fixed statistics of batch normalisation it computes each image by itself."""
    net, norm = gluon.nn.HybridSequential(), dict(use_global_stats=statistics)
    net.add(gluon.nn.Conv2D(8, 3, padding=1, in_channels=3), gluon.nn.BatchNorm(**norm),
            bmx.nn.BinaryConv(8, 3, padding=1, in_channels=8), gluon.nn.BatchNorm(**norm),
            gluon.nn.GlobalAvgPool2D(), gluon.nn.Flatten(), gluon.nn.Dense(classes))
    return net


@pytest.fixture
def on(monkeypatch):
    """Sets the devices of trainings."""
    monkeypatch.setitem(MODELS, 'frozen', frozen)
    return lambda devices: monkeypatch.setattr(Plan, 'contexts', property(lambda plan: devices))


def values(net):
    return {name: [each.asnumpy() for each in parameter.list_data()]
            for name, parameter in net._collect_params_with_prefix().items()}


def epochs(training, count):
    """The gradients of the first step, summed over the devices; the parameters of each device after all steps."""
    gradients = None
    for training._epoch in range(count):
        for number, batch in enumerate(training.data.train_batches(training._epoch)):
            training._batch = number
            training.train_step(batch)
            if gradients is None:
                in_place = not training._trainer._update_on_kvstore  # each device has the sum already
                gradients = {name: sum(each.asnumpy() for each in parameter.list_grad()[:1 if in_place else None])
                             for name, parameter in training.net._collect_params_with_prefix().items()
                             if parameter.grad_req != 'null'}
    return gradients, values(training.net), training._sign_flips.state, training._totals.top1


@pytest.mark.parametrize('more', [
    ('--optimizer', 'sgd', '--lr', '0.05'), ('--optimizer', 'radam', '--bipolar', '0.001', '--binary-wd', '0.01'),
    ('--optimizer', 'adam', '--lr', '0.01', '--clip-weights', 'yes'), ('--mixup', '--mixup-off-epoch', '2')],
    ids=' '.join)
def test_two_devices_are_one(folder, tmp_path, on, more):
    """Batches of 2 on each of two, 4 on one: the same images, so the same steps but for the rounding of sums."""
    found = []
    for devices in ([mx.cpu()], DEVICES):
        on(devices)
        training = prepare(arguments(folder, tmp_path, '--model', 'frozen', *more, '--batch-size',
                                     str(4 // len(devices))))
        assert training.data.num_train_batches == 3
        found.append(epochs(training, 2))
    (expected, one, *counted), (gradients, two, *counted_on_two) = found
    for name, gradient in expected.items():
        np.testing.assert_allclose(gradients[name], gradient, rtol=1e-4, atol=1e-6, err_msg=name)
    for name, (value,) in one.items():
        assert (two[name][0] == two[name][1]).all(), name
        np.testing.assert_allclose(two[name][0], value, rtol=1e-4, atol=2e-6, err_msg=name)
    assert counted_on_two == counted


@pytest.mark.parametrize('more', [(), ('--clip-weights', 'yes')], ids=' '.join)
def test_resumed_on_two_devices(folder, tmp_path, on, monkeypatch, more):
    """Statistics of batch normalisation, which each device counts for itself, come together as well."""
    on(DEVICES)
    monkeypatch.setitem(MODELS, 'frozen', lambda classes: frozen(classes, statistics=False))
    command = ['--model', 'frozen', '--batch-size', '2', '--no-export', *more]
    whole, stopped = arguments(folder, tmp_path / 'a', *command), arguments(folder, tmp_path / 'b', *command)
    assert train(whole) == 0
    training = prepare(stopped)

    def stop(given, do=training.train_step):
        do(given)
        if (training._epoch, training._batch) == (1, 1):
            training._batch += 1
            training._save()
            raise Interrupted('here')
    monkeypatch.setattr(training, 'train_step', stop)
    with pytest.raises(Interrupted):
        training.run()
    assert train(stopped + ['--resume']) == 0
    one, two = (prepare(command + ['--resume']) for command in (whole, stopped))
    for (name, expected), found in zip(values(one.net).items(), values(two.net).values()):
        assert (expected[0] == expected[1]).all(), name
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6, err_msg=name)
    for row, other in zip(one.history, two.history):
        assert row['val_top1'] == other['val_top1'] and row['sign_flips'] == other['sign_flips']
        np.testing.assert_allclose(row['val_loss'], other['val_loss'], rtol=1e-4)
    on([mx.cpu()])  # what is saved has the loss and accuracy that are told
    alone, totals = prepare(arguments(folder, tmp_path / 'c', *command)), Totals()
    alone.load(str(tmp_path / 'a' / 'run' / 'checkpoint-0002' / 'net.params'))
    for batch in alone.data.val_batches():
        alone._objective.evaluate(alone.net, batch, totals)
    assert totals.mean('top1') == row['val_top1']
    np.testing.assert_allclose(totals.mean('loss'), row['val_loss'], rtol=1e-4, atol=1e-6)


def test_a_training_exports(folder, tmp_path, on):
    on(DEVICES)
    assert train(arguments(folder, tmp_path, '--batch-size', '2')) == 0
    assert (tmp_path / 'run' / 'tiny-0000.params').is_file()


def test_the_packed_operator_runs_on_each():
    net = frozen(4)
    net.initialize(mx.init.Xavier(), ctx=DEVICES)
    net.hybridize(static_alloc=True, static_shape=True)
    x = mx.nd.random.normal(shape=(2, 3, 8, 8))
    with autograd.record():
        scores = [net(x.as_in_context(device)) for device in DEVICES]
    autograd.backward(scores)
    operators = [node['op'] for node in json.loads(net(mx.sym.var('data')).tojson())['nodes']]
    assert operators.count('binary_convolution') == 1
    assert [each.context for each in scores] == DEVICES and (scores[0].asnumpy() == scores[1].asnumpy()).all()
    for parameter in net.collect_params().values():
        if parameter.grad_req != 'null':
            one, two = parameter.list_grad()
            assert (one.asnumpy() == two.asnumpy()).all() and one.asnumpy().any()
