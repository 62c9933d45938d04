"""What several tests share."""
import csv

import numpy as np
from mxnet import gluon
from PIL import Image

import bmx
from bmx import cli

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
