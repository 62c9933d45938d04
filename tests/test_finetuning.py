"""Trainings that begin with the parameters of another one, and trainings that are made longer."""
import shutil

import mxnet as mx
import numpy as np
import pytest
from mxnet import gluon

import bmx
from bmx.io.storage import parameter_arrays
from bmx.network import NetworkOptions
from bmx.train.finetuning import classifier_to_skip, freeze
from helpers import arguments, prepare, read_metrics, tiny, train, write_folder

pytestmark = pytest.mark.usefixtures('tiny_model', 'no_pictures')

CLASSIFIER = {'6.weight', '6.bias'}


@pytest.fixture(scope='module')
def first(tmp_path_factory):
    """Parameters of a training with three classes, its description beside them."""
    path = tmp_path_factory.mktemp('first')
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(bmx.models.MODELS, 'tiny', tiny)
        data = str(write_folder(path / 'data', train=3, val=2, classes=('a', 'b', 'c')))
        assert train(arguments(data, path, '--num-epochs', '1', '--no-export')) == 0
    return path / 'run' / 'tiny-best.params'


def values(net):
    return {name: array.asnumpy() for name, array in parameter_arrays(net).items()}


def saved(path):
    return {name: array.asnumpy() for name, array in mx.nd.load(str(path)).items()}


@pytest.mark.parametrize('with_description', [True, False])
def test_all_but_the_classifier_is_loaded(first, folder, tmp_path, capsys, with_description):
    params = tmp_path / 'tiny.params'
    shutil.copy(str(first), str(params))
    if with_description:
        shutil.copy(str(first)[:-len('.params')] + '.json', str(tmp_path / 'tiny.json'))
    net = prepare(arguments(folder, tmp_path, '--resume-params', str(params))).net
    fresh = values(prepare(arguments(folder, tmp_path)).net)
    for name, value in values(net).items():
        np.testing.assert_array_equal(value, fresh[name] if name in CLASSIFIER else saved(first)[name])
    assert train(arguments(folder, tmp_path, '--resume-params', str(params), '--dry-run')) == 0
    assert (f'{params} is of a network of 3 classes, the data has 2: loaded is everything but the classifier '
            '(6.weight, 6.bias)\n') in capsys.readouterr().out
    assert train(arguments(folder, tmp_path, '--resume-params', str(params), '--dry-run', '--strict')) == 1
    assert 'is of a network of 3 classes, the data has 2: leave out --strict' in capsys.readouterr().out


def test_strict_without_parameters(folder, tmp_path, capsys):
    assert train(arguments(folder, tmp_path, '--dry-run', '--strict')) == 1
    assert '--strict is about parameters to start from' in capsys.readouterr().out


@pytest.mark.parametrize('classes, skipped', [('abc', False), ('acb', True), ('xyz', True)])
def test_other_names_are_other_classes(first, classes, skipped):
    assert (classifier_to_skip(NetworkOptions('tiny'), str(first), list(classes)) is not None) == skipped


def test_pretrained_parameters_of_other_classes(first, folder, tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    place = tmp_path / '.mxnet' / 'models'
    place.mkdir(parents=True)
    shutil.copy(str(first), str(place / 'tiny.params'))
    found = values(prepare(arguments(folder, tmp_path, '--use-pretrained')).net)
    assert found['6.weight'].shape == (2, 8)
    np.testing.assert_array_equal(found['0.weight'], saved(first)['0.weight'])


def test_the_classifier_of_every_kind_of_model(tmp_path):
    for name, classifier in (('meliusnet22', 'output.weight'), ('nin_binary', 'output.0.conv.weight'),
                             ('ensemble_resnete18', 'members.0.output.weight')):
        net = bmx.get_model(name, classes=4, stem='thumbnail', **({'members': 1} if 'ens' in name else {}))
        net.initialize()
        net(mx.nd.zeros((1, 3, 64, 64)))
        net.save_parameters(str(tmp_path / 'net.params'))
        pattern = classifier_to_skip(NetworkOptions(name, dict(stem='thumbnail', **({'members': 1} if 'ens' in name
                                                                                     else {}))),
                                     str(tmp_path / 'net.params'), list('abcde'))
        assert classifier.replace('.', r'\.') in pattern


@pytest.mark.parametrize('skip, message', [('(', r"'\(' is no regular expression"),
                                           ('head', "'head' matches no parameter"), ('1', r'wants \(2, 8\)')])
def test_what_cannot_be_skipped(first, skip, message):
    net = tiny(2)
    net.initialize()
    net(mx.nd.zeros((1, 3, 16, 16)))
    with pytest.raises(ValueError, match=message):
        bmx.load_parameters(net, first, skip=skip)
    bmx.load_parameters(net, first, skip='6')


@pytest.mark.parametrize('mode', ['hybrid', 'imperative'])
@pytest.mark.parametrize('more', [(), ('--clip-weights', 'yes', '--optimizer', 'sgd', '--bipolar', '0.1')])
def test_what_is_frozen_does_not_move(first, folder, tmp_path, mode, more):
    command = arguments(folder, tmp_path, '--resume-params', str(first), '--freeze', '[0-5]', '--mode', mode,
                        '--lr', '0.1', *more)
    assert train(command) == 0
    found = saved(tmp_path / 'run' / 'checkpoint-0002' / 'net.params')
    before = saved(first)
    assert {name for name in found if not np.array_equal(found[name], before[name])} == CLASSIFIER


def test_workers_average_no_frozen_weights(folder, tmp_path):
    training = prepare(arguments(folder, tmp_path, '--freeze', '[0-5]'))
    assert {each.name.rpartition('_running_')[2] for each in training._statistics} == {'mean', 'var'}


def test_only_statistics_that_are_frozen_stay(folder, tmp_path):
    assert train(arguments(folder, tmp_path, '--freeze', r'1\.(gamma|beta)', '--no-export')) == 0
    found = saved(tmp_path / 'run' / 'checkpoint-0002' / 'net.params')
    assert np.all(found['1.gamma'] == 1) and np.all(found['1.beta'] == 0) and found['1.running_mean'].any()


def test_gradients_below_a_frozen_normalisation():
    """They are those of a normalisation by constants."""
    net = gluon.nn.HybridSequential()
    net.add(gluon.nn.Dense(3, in_units=2), gluon.nn.BatchNorm(in_channels=3), gluon.nn.Dense(1, in_units=3))
    net.initialize(mx.init.Normal(1))
    statistics = [mx.nd.array(row) for row in ([1, 2, 3], [4, 1, 0.25])]
    for parameter, value in zip((net[1].running_mean, net[1].running_var), statistics):
        parameter.set_data(value)
    freeze(net, '1')
    net.hybridize()
    x = mx.nd.array(np.random.RandomState(0).normal(size=(5, 2)))
    with mx.autograd.record():
        total = net(x).sum()
    total.backward()
    scale = net[2].weight.data()[0] / (statistics[1] + 1e-5).sqrt()
    np.testing.assert_allclose(net[0].weight.grad().asnumpy(), np.outer(scale.asnumpy(), x.sum(0).asnumpy()), rtol=1e-4)


def test_resumed_with_what_it_began_with(first, folder, tmp_path, capsys):
    """The same command with --resume goes on; where there is no checkpoint yet, it begins with the parameters."""
    command = arguments(folder, tmp_path, '--resume-params', str(first), '--freeze', '[0-5]', '--no-export', '--resume')
    (tmp_path / 'run').mkdir()
    assert train(command) == 0
    assert 'loaded is everything but the classifier' in capsys.readouterr().out
    assert train(command) == 0
    assert 'loaded' not in capsys.readouterr().out
    assert train(command + ['--freeze', '0']) == 1
    assert 'freeze was "[0-5]", is now "0"' in capsys.readouterr().out


@pytest.mark.parametrize('lr_mode', ['cosine', 'step'])
def test_extended(folder, tmp_path, capsys, lr_mode):
    command = arguments(folder, tmp_path, '--no-export', '--lr', '0.01', '--lr-mode', lr_mode, '--lr-decay-epoch',
                        '1,3')
    assert train(command) == 0
    two = read_metrics(tmp_path / 'run')
    longer = command + ['--num-epochs', '4']
    assert train(longer + ['--resume']) == 1
    assert 'num_epochs was 2, is now 4' in capsys.readouterr().out
    assert train(command + ['--num-epochs', '1', '--extend']) == 1
    assert train(longer + ['--extend']) == 0
    assert 'extended from 2 to 4 epochs: the learning rate goes on where' in capsys.readouterr().out
    rows = read_metrics(tmp_path / 'run')
    assert rows[:2] == two and [row['epoch'] for row in rows] == [1, 2, 3, 4]
    rates = [0.01 * (1 + np.cos(np.pi * step / 11)) / 2 for step in (6, 9)] if lr_mode == 'cosine' else [0.001, 0.0001]
    np.testing.assert_allclose([row['lr'] for row in rows[2:]], rates, rtol=1e-4)
    assert train(longer + ['--resume']) == 0  # it is a training of four epochs now
    assert train(longer + ['--extend', '--lr', '0.02']) == 1
    assert 'lr was 0.01, is now 0.02' in capsys.readouterr().out
