"""Weights that change sign: counted, written, read, drawn."""
import csv

import mxnet as mx
import numpy as np
import pytest
from mxnet import gluon
from PIL import Image

import bmx
from bmx.train import TrainingError, sign_flips
from bmx.train.sign_flips import COLUMNS, SignFlips
from helpers import arguments, prepare, read_metrics, train

pytestmark = pytest.mark.usefixtures('tiny_model')


def make_net(bits=1, prefix='mine_'):
    """Layers of 12 and 6 weights, and one that is not counted."""
    net = gluon.nn.HybridSequential(prefix=prefix)
    with net.name_scope(), bmx.nn.config(bits=bits):
        net.add(bmx.nn.QDense(3, in_units=4, prefix='first_'), gluon.nn.Dense(3, in_units=3, prefix='float_'),
                bmx.nn.QDense(2, in_units=3, prefix='last_'))
    net.initialize(mx.init.One())
    return net


def set_weights(layer, values):
    layer.weight.set_data(mx.nd.array(values).reshape(layer.weight.shape))


# Counting -------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('bits', [1, 2, 32])
def test_counts_layer_by_layer(bits):
    net = make_net(bits)
    counter = SignFlips(net)
    assert counter.layers == {'first': 12, 'last': 6}
    set_weights(net[0], [-1] * 3 + [1] * 9)
    counter.count()
    set_weights(net[0], [-1] * 2 + [1] * 10)
    set_weights(net[1], [-1] * 9)  # float
    set_weights(net[2], [-2] * 6)
    counter.count()
    counter.count()
    counter.count()
    total, by_layer = counter.percentages()
    assert by_layer == pytest.approx([100 * 4 / 12 / 4, 100 * 6 / 6 / 4])
    assert total == pytest.approx(100 * 10 / 18 / 4)


@pytest.mark.parametrize('before, after, changes', [
    (0.0, 1.0, 0), (-0.0, 1.0, 0), (0.0, -0.0, 0), (0.0, -1.0, 12), (-1e-30, 1e-30, 12), (-1e-30, 0.0, 12),
    (5, 1e-9, 0)])
def test_the_sign_of_zero(before, after, changes):
    net = make_net()
    set_weights(net[0], [before] * 12)
    counter = SignFlips(net)
    set_weights(net[0], [after] * 12)
    counter.count()
    assert counter.state == {'steps': 1, 'flips': [changes, 0]}


def test_goes_on_from_a_state():
    net = make_net()
    counter = SignFlips(net)
    set_weights(net[0], [-1] * 12)
    counter.count()
    state = dict(counter.state)
    resumed = SignFlips(net)  # has seen these weights only
    resumed.restart(**state)
    for each in (counter, resumed):
        each.count()
    assert counter.state == resumed.state == {'steps': 2, 'flips': [12, 0]}
    counter.restart()
    assert counter.state == {'steps': 0, 'flips': [0, 0]}


def test_shared_weights_count_once():
    net = make_net()
    net.add(bmx.nn.QDense(2, in_units=3, params=net[2].params))
    assert SignFlips(net).layers == {'first': 12, 'last': 6}


def test_names_of_the_zoo():
    net = bmx.get_model('meliusnet22', blocks=(1, 1), reductions=(0.5,))
    net.initialize()
    net(mx.nd.zeros((1, 3, 32, 32)))
    layers = SignFlips(net).layers
    assert list(layers)[0] == 'stage1_denseblock0_binaryconv0_conv0' and len(layers) == 4
    assert list(layers.values()) == [np.prod(layer.weight.shape) for layer in bmx.nn.quantized_layers(net)]


# Of a training --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('bits', ['1', '32'])
def test_of_a_training(folder, tmp_path, no_pictures, monkeypatch, bits):
    """Against the parameters before and after each step."""
    training = prepare(arguments(folder, tmp_path, '--bits', bits, '--lr', '0.05', '--no-export'))
    weight = bmx.nn.quantized_layers(training.net)[0].weight
    weights = [weight.data().asnumpy()]
    step = training.train_step
    monkeypatch.setattr(training, 'train_step', lambda batch: step(batch) or weights.append(weight.data().asnumpy()))
    training.run()
    changed = [100 * np.mean((before >= 0) != (after >= 0)) for before, after in zip(weights, weights[1:])]
    expected = [np.mean(changed[:3]), np.mean(changed[3:])]
    assert len(changed) == 6 and min(expected) > 0
    assert [row['sign_flips'] for row in read_metrics(tmp_path / 'run')] == pytest.approx(expected, rel=1e-5)
    (found,) = sign_flips.read(str(tmp_path / 'run' / 'sign_flips.csv')).values()
    assert found == pytest.approx(expected, rel=1e-5)


def test_of_a_network_without_quantized_layers(folder, tmp_path, no_pictures, monkeypatch):
    def plain(classes, stem='thumbnail'):
        net = gluon.nn.HybridSequential()
        net.add(gluon.nn.Conv2D(4, 3), gluon.nn.GlobalAvgPool2D(), gluon.nn.Dense(classes))
        return net

    monkeypatch.setitem(bmx.models.MODELS, 'tiny', plain)
    command = arguments(folder, tmp_path, '--no-export')
    assert train(command) == 0
    run = tmp_path / 'run'
    assert not (run / 'sign_flips.csv').exists()
    with open(str(run / 'metrics.csv'), newline='') as lines:
        assert [row['sign_flips'] for row in csv.DictReader(lines)] == ['', '']
    assert 'of the signs change' not in (run / 'train.log').read_text()
    (run / 'metrics.csv').unlink()
    assert train(command + ['--resume']) == 0 and (run / 'metrics.csv').exists()


def test_a_lost_file_is_restored(folder, tmp_path, no_pictures):
    command = arguments(folder, tmp_path, '--no-export', '--num-epochs', '1')
    assert train(command) == 0
    path = tmp_path / 'run' / 'sign_flips.csv'
    before = [row.split(',')[2:] for row in path.read_text().splitlines()]  # names are counted in a process
    path.unlink()
    assert '% of the signs change in a step' in (tmp_path / 'run' / 'train.log').read_text()
    assert train(command + ['--resume']) == 0
    assert [row.split(',')[2:] for row in path.read_text().splitlines()] == before


# Files and pictures ---------------------------------------------------------------------------------------------------

def history(layers, epochs):
    rng = np.random.RandomState(0)
    return [dict(epoch=epoch, sign_flips=0.5, sign_flips_of_layers=list(10 ** rng.uniform(-3, 1, layers)))
            for epoch in range(1, epochs + 1)]


def test_written_and_read(tmp_path):
    path = str(tmp_path / 'sign_flips.csv')
    assert sign_flips.read(path) == {}
    rows = history(2, 3)
    sign_flips.write(path, {'a': 4, 'b': 5}, rows)
    with open(path, newline='') as lines:
        found = list(csv.DictReader(lines))
    assert tuple(found[0]) == COLUMNS and len(found) == 6
    assert (found[3]['epoch'], found[3]['layer'], found[3]['weights']) == ('2', 'b', '5')
    expected = {name: [row['sign_flips_of_layers'][place] for row in rows] for place, name in enumerate('ab')}
    read = sign_flips.read(path)
    assert list(read) == ['a', 'b'] and all(read[name] == pytest.approx(expected[name], rel=1e-5) for name in 'ab')


@pytest.mark.parametrize('text, message', [
    ('', 'its columns are not epoch, layer, weights, sign_flips'),
    ('epoch,layer\n1,a\n', 'its columns are not'),
    ('epoch,layer,weights,sign_flips\n1,a,4,0.5', 'its last row is cut'),
    ('epoch,layer,weights,sign_flips\n1,a,4,\n', 'could not convert'),
    ('epoch,layer,weights,sign_flips\n1,a\n', 'could not convert'),
    ('epoch,layer,weights,sign_flips\n1,a,4,101\n', 'epoch 1 of a'),
    ('epoch,layer,weights,sign_flips\n1,a,4,nan\n', 'epoch 1 of a'),
    ('epoch,layer,weights,sign_flips\n2,a,4,1\n', 'epoch 2 of a'),
    ('epoch,layer,weights,sign_flips\n1,a,4,1\n1,b,4,1\n2,a,4,1\n', 'some layers have more epochs than others'),
])
def test_damaged(tmp_path, text, message):
    path = tmp_path / 'sign_flips.csv'
    path.write_text(text)
    with pytest.raises(TrainingError, match=rf'sign_flips.csv is damaged \(.*{message}.*\): delete it'):
        sign_flips.read(str(path))


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize('layers, epochs', [(1, 1), (12, 2), (100, 30)])
def test_picture(tmp_path, layers, epochs):
    path = str(tmp_path / 'sign_flips.png')
    rows = history(layers, epochs)
    rows[0]['sign_flips_of_layers'][0] = 0.0  # has no logarithm
    sign_flips.draw(path, {f'stage{layer}_conv0': 9 for layer in range(layers)}, rows, 'a title')
    image = Image.open(path)
    assert image.width >= 900 and len(image.convert('L').getcolors()) > 20


def test_percentages_are_plain_numbers(monkeypatch):
    figures = []
    monkeypatch.setattr(sign_flips, 'save_picture', lambda _, figure: figures.append(figure))
    row = {'epoch': 1, 'sign_flips': 0.3, 'sign_flips_of_layers': [0.2, 0.4]}
    sign_flips.draw('', {'a': 9, 'b': 9}, [row], 'a title')
    figures[0].canvas.draw()
    axis = figures[0].axes[0].yaxis
    assert {'0.2', '0.3', '0.4'} <= {label.get_text() for label in axis.get_ticklabels(which='both')}


@pytest.mark.parametrize('layers', [5, 20, 60])
@pytest.mark.parametrize('epochs', [1, 3, 5, 12])
def test_the_legend_is_inside_of_the_picture(layers, epochs, monkeypatch):
    figures = []
    monkeypatch.setattr(sign_flips, 'save_picture', lambda _, figure: figures.append(figure))
    sign_flips.draw('', {f'stage{layer}_conv0': 9 for layer in range(layers)}, history(layers, epochs), 'a title')
    figure, = figures
    figure.canvas.draw()
    axes, = figure.axes
    legend, (width, height) = axes.get_legend().get_window_extent(), figure.canvas.get_width_height()
    assert len(axes.get_legend().get_texts()) == min(epochs, 5)
    assert 0 <= legend.x0 and legend.x1 <= width and 0 <= legend.y0 and legend.y1 <= height
    assert axes.get_window_extent().width > 0.8 * width


@pytest.mark.parametrize('names, expected', [
    (['a_conv0', 'b_c_conv0'], ['a', 'b_c']), (['a_x_conv0', 'b_x_conv0'], ['a', 'b']), (['a_conv0'], ['a_conv0']),
    (['conv0', 'a_conv0'], ['conv0', 'a_conv0']), (['a', 'b'], ['a', 'b']), (['a_c', 'b_d'], ['a_c', 'b_d'])])
def test_names_in_pictures(names, expected):
    assert sign_flips._without_common_end(names) == expected
