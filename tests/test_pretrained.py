"""Trained networks: those that come with bmx, and how one is made of a training."""
import json
import os

import mxnet as mx
import numpy as np
import pytest
from PIL import Image

import bmx
from bmx import deploy
from bmx.cli import main
from bmx.cli.network import trained_network
from bmx.deploy.files import params_path
from bmx.io.description import read_description, write_description
from bmx.io.preprocess import load_inputs
from bmx.io.storage import LoadError, load_parameters
from bmx.models import INSTALLED, pretrained_path
from bmx.nn import binary_parameters, config
from bmx.train import pretrained
from helpers import CLASSES, prepare, random, randomize, write_folder

NAME = 'meliusnet13'
SHIPPED = os.path.join(INSTALLED, NAME + '.params')
IMAGENETTE = os.path.join(os.path.dirname(__file__), '..', '..', 'shared', 'data', 'imagenette')
NAMES = ['tench', 'zebra']  # of the folders that `write_folder` makes
VIEW = {'size': [16, 16], 'crop_ratio': 0.875, 'mean': [0.485, 0.456, 0.406], 'std': [0.229, 0.224, 0.225]}


def small(**layers):
    """A network of three binary convolutions, no weight of it 1 or 0, in the scope of these settings."""
    with config(**layers):
        net = bmx.get_model('meliusnet22', classes=2, stem='thumbnail', blocks=[1, 1], reductions=[0.5])
    return randomize(net, random((1, 3, 16, 16)))


def trained(folder, **layers):
    """What a training leaves: parameters with their description."""
    net, path = small(**layers), str(folder / 'net-best.params')
    net.save_parameters(path)
    write_description(path, net, NAMES, VIEW)
    return net, path


@pytest.fixture
def data(tmp_path):
    return str(write_folder(tmp_path / 'photographs', train=1, val=4))


# What comes with bmx --------------------------------------------------------------------------------------------------

def test_get_model_finds_what_comes_with_bmx(tmp_path):
    net = bmx.get_model(NAME, pretrained=True, root=str(tmp_path))
    assert net.model_kwargs == {'classes': 10}
    assert all(np.unique(np.abs(each.data().asnumpy())).size == 1 for each in binary_parameters(net))
    description = read_description(pretrained_path(NAME, str(tmp_path)))
    x = random((2, 3) + tuple(description.preprocess['size']))
    assert net(x).dtype == np.float32
    assert (net(x) == pretrained_network(SHIPPED)(x)).asnumpy().all()
    other = bmx.get_model(NAME)
    other.initialize(mx.init.Xavier())
    other(x)
    other.save_parameters(str(tmp_path / (NAME + '.params')))
    assert (bmx.get_model(NAME, pretrained=True, root=str(tmp_path))(x) == other(x)).asnumpy().all()


def pretrained_network(path):
    return trained_network(path).net


def test_the_deployed_files_are_those_of_the_parameters(tmp_path):
    """Exported again they are the same numbers, below a MiB."""
    description = read_description(SHIPPED)
    net = pretrained_network(SHIPPED)
    deploy.export(net, str(tmp_path / 'net'), (1, 3) + tuple(description.preprocess['size']),
                  classes=description.classes, preprocess=description.preprocess)
    ours, there = (list(mx.nd.load(params_path(prefix)).values()) for prefix in (
        tmp_path / 'net', SHIPPED[:-len('.params')]))
    assert len(ours) == len(there) and all(np.array_equal(one.asnumpy(), other.asnumpy())
                                           for one, other in zip(ours, there))
    assert os.path.getsize(params_path(SHIPPED[:-len('.params')])) < 1 << 20



def test_demo(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, color in (('a.png', (250, 10, 10)), ('b.jpg', (10, 10, 250))):
        Image.new('RGB', (90, 70), color).save(name)
    assert main(['predict', '--demo', 'a.png', 'b.jpg', '--json']) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row['image'] for row in found] == ['a.png', 'b.jpg']
    assert all(guess['class'] in read_description(SHIPPED).classes for row in found for guess in row['top'])
    assert main(['predict', '--demo', 'a.png']) == 0 and capsys.readouterr().out.startswith('a.png\n')
    for arguments in ([], ['a.png'], ['--json', 'a.png'], ['net', '--demo', 'a.png'], ['--demo']):
        with pytest.raises(SystemExit):
            main(['predict'] + arguments)
        assert '--demo' in capsys.readouterr().err
    assert main(['predict', '--demo', 'b.jpg', 'none.png']) == 1
    printed = capsys.readouterr()
    assert printed.out.startswith('b.jpg\n') and 'none.png' in printed.err


@pytest.mark.skipif(not os.path.isdir(IMAGENETTE), reason='without the photographs')
def test_accuracy_is_what_the_files_say():
    """Of every fifth validation photograph of each class, within two standard errors of a sample of 200."""
    deployed, metadata = deploy.load(SHIPPED[:-len('.params')])
    folders = sorted(os.listdir(os.path.join(IMAGENETTE, 'val')))
    hits = images = 0
    for label, name in enumerate(folders):
        folder = os.path.join(IMAGENETTE, 'val', name)
        paths = [os.path.join(folder, each) for each in sorted(os.listdir(folder))[::5]]
        for batch in load_inputs(paths, metadata.preprocess):
            hits += int((deployed(batch).asnumpy().argmax(axis=1) == label).sum())
            images += len(batch)
    top1 = pretrained.read_accuracy(SHIPPED).top1
    assert images == 200 and abs(100 * hits / images - top1) < 200 * np.sqrt(top1 / 100 * (1 - top1 / 100) / images)


# Made of a training ---------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('layers, condensed', [
    ({}, True), ({'quantizer': 'approx_sign'}, True), ({'scaling': 'constant'}, False), ({'weight': 'xnor',
                                                                                          'activation': 'sign'}, False),
    ({'bits': 32}, False)], ids=str)
def test_condensed_parameters_compute_the_same(layers, condensed, tmp_path):
    net, again = small(**layers), small(**layers)
    arrays = pretrained.condense(net)
    assert any(each.dtype == np.float16 for each in arrays.values()) == condensed
    path = str(tmp_path / 'net.params')
    mx.nd.save(path, arrays)
    load_parameters(again, path)
    x = random((2, 3, 16, 16), seed=5)
    assert (net(x) == again(x)).asnumpy().all()
    for one, other in zip(binary_parameters(net), binary_parameters(again)):
        assert one.data().abs().mean().asscalar() == pytest.approx(other.data().abs().mean().asscalar(), rel=1e-3)


def test_added(tmp_path, data, capsys):
    net, params = trained(tmp_path)
    root = tmp_path / 'new' / 'models'
    command = ['pretrained', '--root', str(root), '--add', params, '--data-dir', data]
    assert main(command) == 0
    assert '8 validation images of photographs' in capsys.readouterr().out
    settings = dict(classes=2, stem='thumbnail', blocks=[1, 1], reductions=[0.5])
    x = random((2, 3, 16, 16), seed=5)
    assert (bmx.get_model('meliusnet22', pretrained=True, root=str(root), **settings)(x) == net(x)).asnumpy().all()
    path = str(root / 'meliusnet22.params')
    assert read_description(path).classes == NAMES
    assert os.path.getsize(path) < os.path.getsize(params)
    deployed, metadata = deploy.load(str(root / 'meliusnet22'))
    assert metadata.classes == NAMES
    # the accuracy, image by image
    hits = 0
    for label, name in enumerate(CLASSES):
        paths = [os.path.join(data, 'val', name, each) for each in os.listdir(os.path.join(data, 'val', name))]
        scores = deployed(next(load_inputs(paths, VIEW))).asnumpy()
        hits += int((scores.argmax(axis=1) == label).sum())
    assert pretrained.read_accuracy(path) == pretrained.Accuracy('photographs', 8, 100 * hits / 8, 100.0)
    assert main(['pretrained', '--root', str(root), '--json']) == 0
    rows = {row['model']: row for row in json.loads(capsys.readouterr().out)}
    assert set(rows) == {'meliusnet22', NAME} and rows['meliusnet22']['parameters'] == path
    assert rows[NAME]['top-1 %'] > 70 and rows[NAME]['images'] == 1000 and rows[NAME]['MiB deployed'] < 1
    assert main(['pretrained', '--root', str(root)]) == 0
    assert 'photographs' in capsys.readouterr().out


def test_refused(tmp_path, data, capsys):
    _, params = trained(tmp_path)
    root = tmp_path / 'root'
    command = ['pretrained', '--root', str(root), '--add', params, '--data-dir']
    other = str(write_folder(tmp_path / 'other', train=1, val=1, classes=('a', 'b')))
    for place, message in ((other, 'was trained with other data'), (str(tmp_path / 'none'), 'does not exist')):
        assert main(command + [place]) == 1 and message in capsys.readouterr().err
    os.unlink(params[:-len('.params')] + '.json')
    assert main(command + [data]) == 1 and 'the description that a training leaves' in capsys.readouterr().err
    assert not root.exists()
    for arguments in (['--add', params], ['--data-dir', data]):
        with pytest.raises(SystemExit):
            main(['pretrained'] + arguments)


@pytest.mark.parametrize('text', ['', '[]', '{"data": "x"}', '{"data": "x", "images": "9", "top1": 1.0, "top5": 2.0}'])
def test_damaged_accuracy(text, tmp_path):
    path = str(tmp_path / 'net.params')
    assert pretrained.read_accuracy(path) is None
    with open(pretrained.accuracy_path(path), 'w') as stream:
        stream.write(text)
    with pytest.raises(LoadError, match='net-accuracy.json is damaged'):
        pretrained.read_accuracy(path)


def test_a_training_begins_with_them(tmp_path, monkeypatch):
    """`--use-pretrained` finds what comes with bmx, and begins with it: of other classes all but the classifier."""
    monkeypatch.setenv('HOME', str(tmp_path))
    data = str(write_folder(tmp_path / 'data', train=1, val=1, classes=[f'class{index}' for index in range(10)]))
    training = prepare(['--model', NAME, '--data-dir', data, '--input-size', '32', '--use-pretrained', '--save-dir',
                        str(tmp_path / 'run'), '--batch-size', '2'])
    x = random((2, 3, 32, 32))
    assert (training.net.features(x) == bmx.get_model(NAME, pretrained=True).features(x)).asnumpy().all()
