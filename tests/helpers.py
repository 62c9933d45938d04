"""What several tests share."""
import csv
import fcntl
import json
import os
import shutil
import subprocess
from pathlib import Path

import mxnet as mx
import numpy as np
import pytest
from mxnet import gluon
from mxnet.gluon import nn
from PIL import Image

import bmx
from bmx import cli, deploy, plot
from bmx.deploy import files
from bmx.structure import structure

# Data -----------------------------------------------------------------------------------------------------------------

CLASSES = ('n01440764', 'zebra')


def write_folder(path, train=5, val=3, classes=CLASSES, size=(30, 24)):
    """Small photographs-to-be: a hint of one hue per class, under noise."""
    rng = np.random.RandomState(0)
    for part, count in (('train', train), ('val', val)):
        for label, name in enumerate(classes):
            (path / part / name).mkdir(parents=True, exist_ok=True)
            for index in range(count):
                pixels = rng.randint(0, 200, size=size[::-1] + (3,)) + 55 * np.eye(3, dtype=int)[label % 3]
                Image.fromarray(pixels.astype(np.uint8)).save(str(path / part / name / f'{index}.jpg'))
    return path


def write_cifar10(path, train=20, test=10):
    path.mkdir(parents=True, exist_ok=True)
    rng = np.random.RandomState(0)
    for name, count in (('data_batch_1.bin', train), ('data_batch_2.bin', train), ('test_batch.bin', test)):
        records = rng.randint(0, 256, size=(count, 3073)).astype(np.uint8)
        records[:, 0] = np.arange(count) % 10
        records.tofile(str(path / name))
    return path


def data_options(**given):
    """How the tests of data read it."""
    from bmx.train import DataOptions
    settings = dict(batch_size=4, num_workers=2, augmentation='paper', seed=7, input_size=16, crop_ratio=0.875)
    return DataOptions(**dict(settings, **given))


# Trainings ------------------------------------------------------------------------------------------------------------

# A study of two trainings of seconds, on the bundled digits.
STUDY = '''
[DEFAULT]
model = meliusnet22
set =
    blocks=(1,1)
    reductions=(0.5,)
num-epochs = 2   # of digits

[comparisons]
rate = base, high

[base]
lr = 0.1
expected = 70
published = 1:50.5
    2:60

[high]
lr = 0.2
'''


def tiny(classes, stem='thumbnail', channels=8):
    """A binary network of three layers, with dropout so that it draws random numbers."""
    net = gluon.nn.HybridSequential()
    net.add(gluon.nn.Conv2D(channels, 3, padding=1, in_channels=3), gluon.nn.BatchNorm(),
            bmx.nn.BinaryConv(channels, 3, padding=1), gluon.nn.GlobalAvgPool2D(), gluon.nn.Flatten(),
            gluon.nn.Dropout(0.2), gluon.nn.Dense(classes))
    return net


def arguments(folder, tmp_path, *more):
    """A command line for `tiny`: 10 images in batches of 4, so that the last one is smaller."""
    return ['--model', 'tiny', '--data-dir', folder, '--save-dir', str(tmp_path / 'run'), '--input-size', '16',
            '--batch-size', '4', '--num-epochs', '2', '-j', '1', '--warmup-epochs', '0', '--log-interval',
            '1'] + list(more)


def train(command):
    """Exit code of `bmx train`, in this process."""
    return cli.main(['train'] + command)


def parse(command):
    """The options of a training."""
    return cli.CommandParser('train').parse_args(command)


def prepare(command):
    """The `Training` of a command line."""
    from bmx.cli.train import start
    from bmx.cli.training import plan_of
    from bmx.train import CheckpointStore
    options = parse(command)
    plan = plan_of(options)
    return start(options, plan, plan.open_data(options.num_workers),
                 CheckpointStore(options.save_dir, options.save_frequency))


def read_metrics(directory):
    """The rows of a training's metrics.csv."""
    from bmx.train.progress import COLUMNS
    with open(str(directory / 'metrics.csv')) as lines:
        reader = csv.DictReader(lines)
        assert tuple(reader.fieldnames) == COLUMNS
        return [{key: float(value) for key, value in row.items()} for row in reader]


# Networks -------------------------------------------------------------------------------------------------------------


def own(net, x):
    """What a float network answers in the arithmetic of programs."""
    return deploy.OwnNetwork(*deploy.trace(net, x.shape))(x)[0].asnumpy()


def random(shape, seed=0):
    return mx.nd.array(np.random.RandomState(seed).normal(size=shape))


def randomize(net, x):
    """Initialize a network with values that exercise it: gammas of both signs and zero, other running statistics."""
    generator = np.random.RandomState(1)
    net.initialize(mx.init.Normal(1))
    net(x)
    for name, parameter in net.collect_params().items():
        value = generator.normal(size=parameter.shape)
        if name.endswith('gamma'):
            value[::3] = 0
        elif name.endswith('running_var'):
            value = np.abs(value) + 0.1
        parameter.set_data(mx.nd.array(value))
    return net


def sequential(*blocks):
    net = nn.HybridSequential()
    net.add(*blocks)
    return net


def small_net():
    return randomize(sequential(nn.Conv2D(6, 3), nn.BatchNorm(), bmx.nn.BinaryConv(5, 3, padding=1), nn.Dense(4)),
                     random((1, 3, 8, 8)))

# Quantized layer, its Gluon parent, shape of the input, arguments.
LAYERS = [
    (bmx.nn.QConv2D, nn.Conv2D, (2, 6, 7, 5), dict(channels=4, kernel_size=3)),
    (bmx.nn.QConv2D, nn.Conv2D, (2, 6, 7, 5), dict(channels=4, kernel_size=3, padding=1, strides=2)),
    (bmx.nn.QConv2D, nn.Conv2D, (1, 6, 9, 9),
     dict(channels=6, kernel_size=(3, 2), padding=(2, 0), dilation=2, groups=3)),
    (bmx.nn.QConv2D, nn.Conv2D, (1, 5, 4, 4), dict(channels=5, kernel_size=3, groups=5, use_bias=False, padding=1)),
    (bmx.nn.QConv2D, nn.Conv2D, (1, 3, 4, 4), dict(channels=2, kernel_size=1, activation='relu', in_channels=3)),
    (bmx.nn.QConv1D, nn.Conv1D, (2, 3, 8), dict(channels=4, kernel_size=3, padding=1)),
    (bmx.nn.QConv1D, nn.Conv1D, (2, 4, 8), dict(channels=4, kernel_size=2, groups=2, strides=2)),
    (bmx.nn.QDense, nn.Dense, (3, 11), dict(units=4)),
    (bmx.nn.QDense, nn.Dense, (3, 2, 5), dict(units=4, activation='tanh')),
    (bmx.nn.QDense, nn.Dense, (3, 2, 5), dict(units=4, flatten=False)),
]

IDS = [f'{row[0].__name__}-{index}' for index, row in enumerate(LAYERS)]


def initialized(layer, shape, hybridize=False):
    mx.random.seed(1)
    layer.initialize(mx.init.Normal(1))
    if hybridize:
        layer.hybridize(static_alloc=True, static_shape=True)
    layer(random(shape))
    if getattr(layer, 'bias', None) is not None:
        layer.bias.set_data(random(layer.bias.shape, 7))
    return layer


def operators(prefix):
    """Those that compute: without the reshapes that only look at the number of channels."""
    with open(files.symbol_path(prefix)) as stream:
        return [node for node in json.load(stream)['nodes'] if node['op'] not in ('null', '_npx_reshape')]


class Net(gluon.HybridBlock):
    """Runs a function of (F, self, x) over the layers that it is given by name."""

    def __init__(self, forward, **layers):
        super().__init__()
        self._forward = forward
        for name, layer in layers.items():
            setattr(self, name, layer)

    def hybrid_forward(self, F, x):
        return self._forward(F, self, x)


def conv(channels=6, kernel=3, **kwargs):
    return bmx.nn.BinaryConv(channels, kernel, padding=kernel // 2, **kwargs)


def check_picture(blocks, counted, shape):
    """Nothing is left out of the picture or of its frame, no text covers another one."""
    figure = plot.picture('name', shape, blocks, counted)
    texts = figure.axes[0].texts
    assert min(text.get_fontsize() for text in texts) >= 8
    renderer = figure.canvas.get_renderer()
    places = [text.get_window_extent(renderer) for text in texts if text.get_text()]
    width, height = figure.canvas.get_width_height()
    for index, (place, text) in enumerate(zip(places, texts)):
        assert 0 <= place.x0 and place.x1 <= width and 0 <= place.y0 and place.y1 <= height, text
        for other, another in zip(places[:index], texts):
            across = min(place.x1, other.x1) - max(place.x0, other.x0)
            along = min(place.y1, other.y1) - max(place.y0, other.y0)
            assert across <= 0.5 or along <= 1, (text, another)
    panels = plot._panels(blocks)
    assert [block for panel in panels for block in panel.blocks] == blocks


def assert_costs_the_same(net, shape, prefix):
    """The float network and its deployed form, as a block and as a symbol file."""
    expected = bmx.summary(net, shape).to_dict()
    block, _ = bmx.deploy.load(prefix)
    for deployed in (block, mx.sym.load(prefix + '-symbol.json')):
        found = bmx.summary(deployed, shape).to_dict()
        for key in set(expected) - {'name', 'layers'}:
            assert found[key] == expected[key], key
    blocks, counted = structure(block, shape)
    for key in ('bops', 'flops', 'size_bits'):
        assert sum(getattr(each, key) for each in blocks) == sum(layer[key] for layer in counted.layers), key

DTYPES = ['float16', 'float32', 'float64']


def gradient(x, estimator='clip', clip_threshold=1.3):
    """Slope of the straight-through estimator at x, in the dtype of x."""
    size = np.abs(x)
    if estimator == 'clip':
        return (size <= x.dtype.type(clip_threshold)).astype(x.dtype)
    two = x.dtype.type(2)
    return np.where(size <= 1, two - two * np.minimum(size, 1), x.dtype.type(0))


# The runtime without MXNet --------------------------------------------------------------------------------------------

RUNTIME = Path(__file__).resolve().parents[1] / 'runtime'


def build_runtime(target):
    """Build a target of runtime/CMakeLists.txt; the folder of the build. Skips the test where there is no CMake."""
    if shutil.which('cmake') is None:
        pytest.skip('needs cmake to build the runtime (Debian, Ubuntu: apt-get install cmake)')
    folder = RUNTIME.parent / 'build' / 'runtime'  # that of `make runtime-test`: what is there is not compiled again
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / 'tests.lock', 'w') as lock:  # other processes of tests build it, too
        fcntl.flock(lock, fcntl.LOCK_EX)
        _build(folder, target)
    return folder


def _build(folder, target):
    for command in (['-S', RUNTIME, '-B', folder],
                    ['--build', folder, '--parallel', os.cpu_count(), '--target', target]):
        done = subprocess.run(['cmake', *map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True)
        assert done.returncode == 0, done.stdout
