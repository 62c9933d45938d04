"""The command line, as a user calls it."""
import json
import os
import re
import shlex
import subprocess
import sys

import mxnet as mx
import numpy as np
import pytest
from PIL import Image

import bmx
from bmx import preprocess
from bmx.cli import main

SMALL = ['--stem', 'thumbnail', '--set', 'classes=3', '--set', 'blocks=(1,1)', '--set', 'reductions=(0.5,)']


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Trained parameters, an exported model and some images."""
    path = tmp_path_factory.mktemp('cli')
    net = bmx.get_model('meliusnet22', stem='thumbnail', classes=3, blocks=(1, 1), reductions=(0.5,))
    net.initialize(mx.init.Xavier())
    net(mx.nd.zeros((1, 3, 16, 16)))
    net.save_parameters(str(path / 'net.params'))
    (path / 'images').mkdir()
    generator = np.random.RandomState(0)
    for index, size in enumerate([(20, 30), (16, 16), (40, 18)]):
        pixels = generator.randint(0, 255, size=size + (3,)).astype(np.uint8)
        Image.fromarray(pixels).save(str(path / 'images' / ('%d.png' % index)))
    (path / 'names.txt').write_text('cat\ndog\nfish\n')
    assert main(['export', '--model', 'meliusnet22', '--params', str(path / 'net.params'), '--out', str(path / 'out'),
                 '--input-size', '16', '--class-names', str(path / 'names.txt'),
                 '--verify-on', str(path / 'images')] + SMALL) == 0
    return path


def test_summary_json(capsys):
    assert main(['summary', 'meliusnet_b', '--json', '--input-size', '128', '--set', 'classes=10']) == 0
    found = json.loads(capsys.readouterr().out)
    expected = bmx.summary(bmx.get_model('meliusnet_b', classes=10), (1, 3, 128, 128)).to_dict()
    assert found == expected


def test_summary_table(capsys):
    assert main(['summary', 'meliusnet22', '--stem', 'imagenet']) == 0
    text = capsys.readouterr().out
    assert 'stage1_denseblock0' in text and 'OPs          2.57' in text


def test_export_verify_predict(folder, capsys):
    prefix = str(folder / 'out')
    assert main(['verify', prefix]) == 0
    assert 'files intact' in capsys.readouterr().out
    assert main(['verify', prefix, '--params', str(folder / 'net.params'), '--data-dir', str(folder / 'images')]) == 0
    assert 'top-1 equal on 3 and values on 3 of 3 inputs' in capsys.readouterr().out
    images = [str(folder / 'images' / name) for name in ('0.png', '2.png')]
    assert main(['predict', prefix, '--json'] + images) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row['image'] for row in rows] == images
    assert {guess['class'] for guess in rows[0]['top']} == {'cat', 'dog', 'fish'}
    probabilities = [guess['probability'] for guess in rows[1]['top']]
    assert probabilities == sorted(probabilities, reverse=True) and sum(probabilities) == pytest.approx(1, abs=1e-5)
    assert main(['predict', prefix] + images) == 0
    assert 'cat' in capsys.readouterr().out


@pytest.mark.parametrize('preprocessing', [
    {}, {'size': [16, 16]}, {'size': [16, 16], 'mean': [0] * 3, 'std': [1] * 3}])  # others are not exported
def test_predict_wants_a_whole_preprocessing(preprocessing, folder, tmp_path, capsys):
    net = bmx.nn.BinaryConv(2, 3)
    net.initialize()
    bmx.export(net, str(tmp_path / 'net'), (1, 3, 16, 16), preprocess=preprocessing)
    assert main(['predict', str(tmp_path / 'net'), str(folder / 'images' / '1.png')]) == 1
    assert 'damaged: its preprocessing cannot be' in capsys.readouterr().err


def test_predict_goes_on_after_a_bad_image(folder, capsys):
    good = str(folder / 'images' / '1.png')
    assert main(['predict', str(folder / 'out'), str(folder / 'names.txt'), good, str(folder)]) == 1
    out, error = capsys.readouterr()
    assert out.startswith(good) and 'names.txt cannot be decoded' in error and 'no such image' in error


def test_a_reader_that_has_seen_enough():
    run = subprocess.run('%s -W ignore -m bmx summary meliusnet22 | head -1' % shlex.quote(sys.executable), shell=True,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert run.stdout.startswith(b'layer') and b'Broken' not in run.stderr


def test_verify_finds_other_parameters(folder, capsys):
    net = bmx.get_model('meliusnet22', stem='thumbnail', classes=3, blocks=(1, 1), reductions=(0.5,))
    net.load_parameters(str(folder / 'net.params'))
    for parameter in bmx.nn.binary_parameters(net):
        parameter.set_data(-parameter.data())
    other = str(folder / 'other.params')
    net.save_parameters(other)
    assert main(['verify', str(folder / 'out'), '--params', other]) == 1
    error = capsys.readouterr().err
    assert 'differs from the float network' in error
    positions = re.search(r'\[(.*)\]', error).group(1).split(', ')
    assert len(positions) == len(set(positions))


ERRORS = {
    'unknown model': (['summary', 'meliusnet'], "unknown model 'meliusnet'; choose from"),
    'unknown keyword': (['summary', 'meliusnet22', '--set', 'depth=3'], 'does not take these settings.*depth'),
    'unknown stem': (['summary', 'meliusnet22', '--set', 'stem=big'], "unknown stem 'big'"),
    'nothing to compare with': (['verify', '{}/out', '--data-dir', '{}/images'], 'give its --params'),
    'contradiction': (['summary', 'meliusnet22', '--stem', 'imagenet', '--set', 'stem=grouped'], 'contradicts'),
    'image too small': (['summary', 'meliusnet22', '--input-size', '8'],
                        '^bmx summary: images of 8x8 pixels are too small for meliusnet22: give a larger --input-size\n$'),
    'image too small to plot': (['plot', 'resnete18', '--input-size', '1', '--json'],
                                '^bmx plot: images of 1x1 pixels are too small for resnete18: give a larger --input-size\n$'),
    'no stages': (['summary', 'resnete18', '--set', 'layers=()', '--set', 'channels=()'], 'layers takes whole numbers'),
    'groups that do not divide': (['summary', 'meliusnet59', '--set', 'groups=5'], 'must divide group size'),
    'no parameters': (['export', '--model', 'meliusnet22', '--params', '{}/none', '--out', '{}/x'],
                      'none does not exist'),
    'other parameters': (['export', '--model', 'meliusnet22', '--params', '{}/net.params', '--out', '{}/x'],
                         'belongs to another model than meliusnet22'),
    'not parameters': (['export', '--model', 'meliusnet22', '--params', '{}/names.txt', '--out', '{}/x'],
                       'damaged or not'),
    'no prefix': (['verify', '{}/nothing'], 'nothing-symbol.json is missing'),
    'no images': (['verify', '{}/out', '--params', '{}/net.params', '--data-dir', '{}/none'], 'no such folder'),
    'other keywords': (['verify', '{}/out', '--params', '{}/net.params', '--set', 'classes=4'],
                       'was it built with other'),
    'no image': (['predict', '{}/out', '{}/none.jpg'], 'no such image'),
    'not an image': (['predict', '{}/out', '{}/names.txt'], 'names.txt cannot be decoded'),
}


@pytest.mark.parametrize('name', ERRORS)
def test_errors(name, folder, capsys):
    arguments, message = ERRORS[name]
    assert main([argument.replace('{}', str(folder)) for argument in arguments]) == 1
    out, error = capsys.readouterr()
    assert re.search(message, error), error
    assert 'infer_shape' not in out and 'Traceback' not in error and not os.path.exists(str(folder / 'x-symbol.json'))


@pytest.mark.parametrize('arguments', [['--set', 'classes'], ['--set', '1=2'], ['--set', ''], ['--stem', 'big'],
                                       ['--input-size', '0'], ['--set', 'params=3'], ['--set', 'ctx=3'],
                                       ['--set', 'prefix=abc'], ['--set', 'pretrained=1'], ['--set', 'root=x']])
def test_options_that_argparse_refuses(arguments):
    with pytest.raises(SystemExit):
        main(['summary', 'meliusnet22'] + arguments)


@pytest.mark.parametrize('shape, size', [((20, 30), (16, 16)), ((16, 16), (16, 16)), ((5, 90), (12, 20)),
                                         ((90, 5), (7, 7))])
def test_resize_and_crop(shape, size):
    image = np.full(shape + (3,), 77, np.uint8)
    assert (preprocess.resize_and_crop(image, size, 0.875) == np.full(size + (3,), 77)).all()


def test_normalise():
    image = np.zeros((2, 3, 3), np.uint8)
    image[0, 1] = (255, 0, 51)
    found = preprocess.normalise(image, (0.5, 0, 0.2), (0.5, 1, 2))
    assert found.shape == (3, 2, 3) and found.dtype == np.float32
    assert np.allclose(found[:, 0, 1], [1, 0, 0], atol=1e-6) and np.allclose(found[:, 1, 2], [-1, 0, -0.1])
