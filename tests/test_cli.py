"""The command line, as a user calls it."""
import importlib
import io
import json
import os
import pkgutil
import re
import shlex
import shutil
import subprocess
import sys

import mxnet as mx
import numpy as np
import pytest
from PIL import Image

import bmx
from bmx.cli import COMMANDS, main
from bmx.io import preprocess
from bmx.io.description import preprocessing, write_description
from bmx.models import MODELS
from bmx.network import NetworkOptions, images_fit
from bmx.structure import structure
from helpers import arguments, tiny, write_folder

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
        Image.fromarray(pixels).save(str(path / 'images' / f'{index}.png'))
    (path / 'names.txt').write_text('cat\ndog\nfish\n')
    (path / 'latin-1.txt').write_bytes('chat\nchien\np\u00eache\n'.encode('latin-1'))
    (path / 'broken').mkdir()
    (path / 'broken' / '1.jpg').write_bytes(b'no image')
    assert main(['export', '--model', 'meliusnet22', '--params', str(path / 'net.params'), '--out', str(path / 'out'),
                 '--input-size', '16', '--class-names', str(path / 'names.txt'),
                 '--verify-on', str(path / 'images')] + SMALL) == 0
    for name in ('half', 'damaged'):
        shutil.copy(str(path / 'out-symbol.json'), str(path / (name + '-symbol.json')))
    params = (path / 'out-0000.params').read_bytes()
    (path / 'damaged-0000.params').write_bytes(params[:-1] + bytes([params[-1] ^ 1]))
    return path


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A network as a training of one epoch leaves it, float and deployed."""
    path = tmp_path_factory.mktemp('trained')
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODELS, 'tiny', tiny)
        data = str(write_folder(path / 'data', train=5, val=3))
        assert main(['train', *arguments(data, path, '--num-epochs', '1')]) == 0
        yield path / 'run'


def test_summary_json(capsys):
    assert main(['summary', 'meliusnet_b', '--json', '--input-size', '128', '--set', 'classes=10']) == 0
    found = json.loads(capsys.readouterr().out)
    expected = bmx.summary(bmx.get_model('meliusnet_b', classes=10), (1, 3, 128, 128)).to_dict()
    assert found == expected


def test_streams_of_another_kind(monkeypatch):
    """A program that runs a command may have put something else in the place of standard output."""
    out = io.StringIO()
    monkeypatch.setattr(sys, 'stdout', out)
    monkeypatch.setattr(sys, 'argv', ['bmx', 'summary', 'meliusnet_b', '--input-size', '64'])
    assert main() == 0
    assert 'OPs' in out.getvalue()


def test_a_network_needs_a_model():
    with pytest.raises(ValueError, match='no model: give the name of one'):
        NetworkOptions(None).build()


def test_summary_of_files(folder, capsys):
    net = bmx.get_model('meliusnet22', stem='thumbnail', classes=3, blocks=(1, 1), reductions=(0.5,))
    for options, size in ([], 16), (['--input-size', '32'], 32):
        assert main(['summary', str(folder / 'out'), '--json'] + options) == 0
        found, expected = json.loads(capsys.readouterr().out), bmx.summary(net, (1, 3, size, size)).to_dict()
        assert {key: found[key] for key in set(found) - {'layers'}} == {
            key: expected[key] for key in set(expected) - {'layers'}}


def test_plot_of_files(folder, capsys):
    assert main(['plot', str(folder / 'out')]) == 0
    path = str(folder / 'out') + '.png'
    assert capsys.readouterr().out == path + '\n' and os.path.getsize(path) > 10000
    assert main(['plot', str(folder / 'out'), '--json']) == 0
    blocks, _ = structure(bmx.deploy.load(str(folder / 'out'))[0], (1, 3, 16, 16))
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps([block.to_dict() for block in blocks]))


def test_files_of_no_images(tmp_path, capsys):
    net = mx.gluon.nn.HybridSequential()
    net.add(bmx.nn.QActivation(), bmx.nn.QDense(5, in_units=7))
    net.initialize()
    prefix = str(tmp_path / 'net')
    bmx.export(net, prefix, (1, 7))
    assert main(['plot', prefix, '--json']) == 0
    assert json.loads(capsys.readouterr().out)[-1]['output_shape'] == [5]
    assert main(['summary', prefix, '--input-size', '7']) == 1
    assert 'takes no images, but inputs of shape (7,): leave out --input-size' in capsys.readouterr().err


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


@pytest.mark.parametrize('preprocess', [
    None, {}, {'size': [16, 16]}, {'size': [16, 16], 'mean': [0] * 3, 'std': [1] * 3}])  # of files of elsewhere
def test_a_whole_preprocessing_is_wanted(preprocess):
    with pytest.raises(bmx.LoadError, match='does not say how an image' if preprocess is None else 'cannot be'):
        preprocessing(bmx.deploy.Metadata([3, 16, 16], '', 'net', {}, {}, preprocess=preprocess))


def test_predict_goes_on_after_a_bad_image(folder, capsys):
    good = str(folder / 'images' / '1.png')
    assert main(['predict', str(folder / 'out'), str(folder / 'names.txt'), good, str(folder / 'none.png')]) == 1
    out, error = capsys.readouterr()
    assert out.startswith(good) and 'skipped: ' in error and 'names.txt cannot be decoded' in error
    assert error.endswith('left out: 2 of 3 images, which cannot be read\n')


def test_predict_of_folders(folder, tmp_path, capsys):
    (tmp_path / 'more').mkdir()
    (tmp_path / 'more' / 'a.pgm').write_bytes(b'P5 2 2 255 abcd')
    (tmp_path / 'more' / 'notes.txt').write_text('')
    (tmp_path / 'more' / '.hidden').write_text('')
    table = tmp_path / 'guesses.csv'
    assert main(['predict', str(folder / 'out'), str(folder / 'images'), str(tmp_path / 'more'), '--top', '2', '--json',
                 '--csv', str(table)]) == 0
    out, error = capsys.readouterr()
    rows = json.loads(out)
    assert [os.path.basename(row['image']) for row in rows] == ['0.png', '1.png', '2.png', 'a.pgm']
    assert all(len(row['top']) == 2 for row in rows)
    assert re.match(f'left out of {tmp_path}/more: 1 files that are no images .*, 1 hidden\n$', error)
    lines = table.read_text().splitlines()
    assert lines[0] == 'image,rank,class,probability' and len(lines) == 9
    assert lines[2].startswith(f'{rows[0]["image"]},2,{rows[0]["top"][1]["class"]},')
    with pytest.raises(SystemExit):
        main(['predict', str(folder / 'out'), str(folder / 'images'), '--top', '0'])


def test_predict_by_a_float_network(trained, folder, capsys):
    """As the deployed one."""
    found = []
    for network in (str(trained / 'tiny'), str(trained / 'tiny-best.params')):
        assert main(['predict', network, str(folder / 'images'), '--json']) == 0
        found.append(json.loads(capsys.readouterr().out))
    for one, other in zip(*found):
        assert [guess['class'] for guess in one['top']] == [guess['class'] for guess in other['top']]


def _export(folder, out, *more):
    return ['export', '--model', 'meliusnet22', '--params', str(folder / 'net.params'), '--out', str(out),
            '--input-size', '16', *more] + SMALL


@pytest.mark.parametrize('name', ['a b', '[1] *', 'h\u00e4user \u65e5\u672c'])
def test_paths_of_any_characters(name, folder, tmp_path, capsys):
    path = tmp_path / name
    path.mkdir()
    for image in ('0.png', '1.png'):
        (path / image).write_bytes((folder / 'images' / image).read_bytes())
    names = path / 'names.txt'
    names.write_bytes('\ufeffcat\r\ndog\r\nowl \u65e5\r\n'.encode())  # with a byte-order mark, as Notepad saves it
    prefix = str(path / name)
    assert main(_export(folder, prefix, '--class-names', str(names), '--verify-on', str(path))) == 0
    assert main(['verify', prefix, '--params', str(folder / 'net.params'), '--data-dir', str(path)]) == 0
    assert 'values on 2 of 2 inputs' in capsys.readouterr().out
    assert main(['predict', prefix, '--json', str(path / '1.png')]) == 0
    row, = json.loads(capsys.readouterr().out)
    assert {guess['class'] for guess in row['top']} == {'cat', 'dog', 'owl \u65e5'}


def test_bad_images_among_those_to_verify_on(folder, tmp_path, capsys):
    """They are named, the others are compared."""
    images = tmp_path / 'images'
    images.mkdir()
    for name in ('0.png', '2.png'):
        (images / name).write_bytes((folder / 'images' / name).read_bytes())
    (images / '1.png').write_bytes((images / '0.png').read_bytes()[:200])
    (images / '3.jpg').write_bytes(b'%!PS-Adobe-3.0 EPSF-3.0\n')
    assert main(_export(folder, tmp_path / 'net', '--verify-on', str(images))) == 0
    out, error = capsys.readouterr()
    assert 'on 2 of 2 inputs' in out
    assert [line.split(' cannot')[0] for line in error.splitlines()] == [
        f'skipped: {images / name}' for name in ('1.png', '3.jpg')]
    assert main(['verify', str(tmp_path / 'net'), '--params', str(folder / 'net.params'), '--data-dir', str(images)]
                ) == 0
    out, error = capsys.readouterr()
    assert 'on 2 of 2 inputs' in out and error.count('skipped: ') == 2


def test_a_terminal_gets_no_escape_sequences(folder, tmp_path, capsys):
    names = tmp_path / 'names.txt'
    names.write_bytes('\x1b]0;title\x07cat\ndog\x9b31m\n\u202efish\n'.encode())
    image = tmp_path / 'a\x1b[31m.png'
    image.write_bytes((folder / 'images/0.png').read_bytes())
    assert main(_export(folder, tmp_path / 'net', '--class-names', str(names))) == 0
    assert main(['predict', str(tmp_path / 'net'), str(image), str(tmp_path / 'b\x1b[31m\n.png')]) == 1
    out, error = capsys.readouterr()
    assert r'\x1b]0;title\x07cat' in out and r'dog\x9b31m' in out and r'\u202efish' in out and r'a\x1b[31m.png' in out
    assert f'no such image: {tmp_path}/b\\x1b[31m\\n.png\n' in error
    assert all(each.isprintable() or each == '\n' for each in out + error)
    assert main(['predict', str(tmp_path / 'net'), str(image), '--json']) == 0  # a program gets what it is
    assert json.loads(capsys.readouterr().out)[0]['image'] == str(image)


def test_names_that_the_encoding_does_not_have(folder, tmp_path):
    (tmp_path / 'names.txt').write_bytes('\u65e5\u672c\n2\n3\n'.encode())
    assert main(_export(folder, tmp_path / 'net', '--class-names', str(tmp_path / 'names.txt'))) == 0
    run = subprocess.run([sys.executable, '-W', 'ignore', '-m', 'bmx', 'predict', str(tmp_path / 'net'),
                          str(folder / 'images/0.png')], stdout=subprocess.PIPE,
                         env=dict(os.environ, PYTHONIOENCODING='ascii'))
    assert run.returncode == 0 and rb'\u65e5\u672c' in run.stdout


_NO_ROOM = """
import resource, sys
from bmx.cli import main
from bmx.io.description import write_description
from bmx.network import images_fit
from bmx.structure import structure
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
sys.exit(main(sys.argv[1:]))
"""


def test_a_file_that_cannot_be_written_is_no_matter_of_shapes(folder, tmp_path):
    run = subprocess.run([sys.executable, '-W', 'ignore', '-c', _NO_ROOM] + _export(folder, tmp_path / 'net'),
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert run.returncode == 1 and 'Traceback' not in run.stderr
    assert 'too small' not in run.stderr and run.stderr.startswith('bmx export: ')


@pytest.mark.parametrize('failure', [mx.MXNetError('Check failed: fs->Write'), OSError(28, 'No space left on device')])
def test_images_fit_takes_only_what_is_about_shapes(failure):
    net = bmx.get_model('resnete18')
    with pytest.raises(type(failure), match=str(failure.args[-1])):
        with images_fit(net, (1, 3, 224, 224)):
            raise failure


def test_settings_of_a_file_do_not_load_parameters(folder, tmp_path, capsys):
    """A description or a deployed model that says `pretrained` would have another file opened."""
    params = tmp_path / 'net.params'
    params.write_bytes((folder / 'net.params').read_bytes())
    net = bmx.get_model('meliusnet22', stem='thumbnail', classes=3, blocks=(1, 1), reductions=(0.5,))
    net.model_kwargs.update(pretrained=True, root=str(tmp_path))
    write_description(str(params), net, ['a', 'b', 'c'], {'size': [16, 16], 'crop_ratio': 1.0, 'mean': [0.5] * 3,
                                                          'std': [0.5] * 3})
    assert main(['export', '--params', str(params), '--out', str(tmp_path / 'x')]) == 1
    assert 'pretrained, root' in capsys.readouterr().err


def test_a_model_that_is_no_classifier(folder, tmp_path, capsys):
    net = bmx.nn.BinaryConv(2, 3)
    net.initialize()
    bmx.export(net, str(tmp_path / 'net'), (1, 3, 16, 16), preprocess={
        'size': [16, 16], 'crop_ratio': 1, 'mean': [0.5] * 3, 'std': [1] * 3})
    assert main(['predict', str(tmp_path / 'net'), str(folder / 'images' / '1.png')]) == 1
    assert 'is no classifier' in capsys.readouterr().err


def test_a_reader_that_has_seen_enough():
    run = subprocess.run(f'{shlex.quote(sys.executable)} -W ignore -m bmx summary meliusnet22 | head -1', shell=True,
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
    'unknown model': (['summary', 'meliusnet'], "unknown model 'meliusnet': no model has this name, and there is no "
                      'meliusnet-symbol.json of a deployed one; did you mean meliusnet'),
    'no model at all': (['plot', 'zzz'], "unknown model 'zzz': .*; choose from alexnet_binary, "),
    'another prefix': (['plot', '{}/our'], 'there is no .*/our-symbol.json of a deployed one; did you mean .*/out\\?'),
    'a file for a prefix': (['summary', '{}/out-symbol.json'], 'did you mean .*/out\\?'),
    'one file alone': (['summary', '{}/half'], 'half-0000.params is missing'),
    'a damaged file': (['plot', '{}/damaged'], 'damaged-0000.params is damaged'),
    'options of files': (['summary', '{}/out', '--bits', '4', '--set', 'classes=3', '--stem', 'grouped'],
                         'out is a deployed model and stays as it was exported: leave out --set, --stem, --bits\n$'),
    'one option of files': (['plot', '{}/out', '--clip-threshold', '1'], 'leave out --clip-threshold\n$'),
    'image too small for files': (['summary', '{}/out', '--input-size', '1'],
                                  'images of 1x1 pixels are too small for meliusnet22: give a larger --input-size'),
    'unknown keyword': (['summary', 'meliusnet22', '--set', 'depth=3'], "meliusnet22 has no keyword 'depth': its "
                        'keywords are bits, blocks, classes, groups, growth, improve, reductions, stem\n$'),
    'a misspelt keyword': (['summary', 'meliusnet22', '--set', 'block=(1,1)'], r'\(did you mean blocks\?\)'),
    'a keyword of a member': (['summary', 'ensemble_resnete18', '--set', 'basis=3'], 'keywords are .*members, network'),
    'a name for a number': (['summary', 'meliusnet22', '--set', 'growth=x'], 'growth of meliusnet22 must be a number, '
                            "as 64 is, got 'x'"),
    'a word for a truth': (['summary', 'mobinet_mid', '--set', 'skip=no'], "skip of mobinet_mid must be True or False"),
    'a file of two to predict': (['predict', '{}/out-symbol.json', 'x'], 'names one file of a deployed model: give its '
                                 'PREFIX, .*/out\n$'),
    'parameters of two to predict': (['predict', '{}/out-0000.params', 'x'], 'give its PREFIX, .*/out\n$'),
    'a file of two to verify': (['verify', '{}/out-0000.params'], 'give its PREFIX, .*/out\n$'),
    'a file of two to evaluate': (['evaluate', '{}/out-symbol.json'], 'give its PREFIX, .*/out\n$'),
    'deployed parameters': (['export', '--model', 'meliusnet22', '--params', '{}/out-0000.params', '--out', '{}/x'],
                            'no file of trained parameters, but of a deployed model'),
    'a symbol for parameters': (['export', '--params', '{}/out-symbol.json', '--out', '{}/x'],
                                'is no file of parameters: give the .params file'),
    'a file of two to write': (['export', '--model', 'meliusnet22', '--params', '{}/net.params', '--out',
                                '{}/x-symbol.json', *SMALL], 'give their PREFIX, .*/x\n$'),
    'a folder without images': (['predict', '{}/out', '{}/broken/none'], 'left out: 1 of 1 images, which cannot be'),
    'no description': (['evaluate', '{}/net.params'], 'net.json is missing: of a network that is not deployed'),
    'no classes to evaluate': (['evaluate', '{}/out', '--data-dir', '{}'], 'does not know 2 of the 2 classes'),
    'no images to evaluate': (['evaluate', '{}/out', '--data-dir', '{}/broken'], 'holds no images'),
    'no records to evaluate': (['evaluate', '{}/out', '--rec-val', '{}/x.rec'], 'no such RecordIO file'),
    'an unknown model to list': (['models', 'nets'], "unknown model 'nets'"),
    'unknown stem': (['summary', 'meliusnet22', '--set', 'stem=big'], "unknown stem 'big'"),
    'a role told twice': (['summary', 'resnete18', '--bits', '2', '--weight', 'sign'],
                          "bits=2 and weight='sign' both tell how weights are quantized"),
    'a role told by a keyword': (['summary', 'resnete18', '--set', 'bits=2', '--weight', 'sign'],
                                 "bits=2 and weight='sign' both tell"),
    'without effect': (['summary', 'meliusnet_float', '--weight', 'sign'],
                       'its layers have weights of float, --weight sign has no effect'),
    'nothing to compare with': (['verify', '{}/out', '--data-dir', '{}/images'], 'give its --params'),
    'contradiction': (['summary', 'meliusnet22', '--stem', 'imagenet', '--set', 'stem=grouped'], 'contradicts'),
    'image too small': (['summary', 'meliusnet22', '--input-size', '8'],
                        '^bmx summary: images of 8x8 pixels are too small for meliusnet22: give a larger '
                        '--input-size\n$'),
    'image too small to plot': (['plot', 'resnete18', '--input-size', '1', '--json'],
                                '^bmx plot: images of 1x1 pixels are too small for resnete18: give a larger '
                                '--input-size\n$'),
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
    'a width out of bounds': (['summary', 'nin_binary', '--set', 'width=1e308'], 'width must be .* at most 1000'),
    'a depth out of bounds': (['summary', 'meliusnet22', '--set', 'blocks=(1000000000,1,1,1)'],
                              'blocks takes whole numbers from 1 to 1000'),
    'classes out of bounds': (['summary', 'meliusnet22', '--set', 'classes=1000000000000'],
                              'classes takes whole numbers from 1 to 1048576, got 1000000000000'),
    'shares out of bounds': (['summary', 'meliusnet22', '--set', 'reductions=(1e300,1,1)'],
                             'reductions must be shares'),
    'a layer without a kind': (['summary', 'nin_binary', '--set', 'layers=({1:2},)'],
                               r"nin_binary does not take these settings \(layers=\({1: 2},\)\): 'kind'"),
    'a number for a sequence': (['summary', 'meliusnet22', '--set', 'blocks=5'], 'blocks of meliusnet22 must be a '
                                r'sequence, as \(4, 5, 4, 4\) is, got 5\n$'),
    'a value full of escapes': (['summary', 'meliusnet22', '--set', 'stem=\x1b[31m'], r"unknown stem '\\x1b\[31m'"),
    'a folder for a prefix': (['predict', '{}', 'x'], 'is missing; .*; in the folder .* are the models .*/out'),
    'a folder without models': (['verify', '{}/images'], 'is missing; .*; in the folder .*/images is no model\n$'),
    'an escape in a path': (['verify', '{}/no\x1b[31mthing\n2'], r'no\\x1b\[31mthing\\n2-symbol.json is missing'),
    'no name': (['predict', '{}/out', ''], 'no such image: '),
    'names in latin-1': (['export', '--model', 'meliusnet22', '--params', '{}/net.params', '--out', '{}/x',
                          '--class-names', '{}/latin-1.txt'] + SMALL, 'latin-1.txt is not UTF-8 .*: save it as UTF-8'),
    'names of a folder': (['export', '--model', 'meliusnet22', '--params', '{}/net.params', '--out', '{}/x',
                           '--class-names', '{}/images'] + SMALL, 'Is a directory'),
    'no readable images': (['export', '--model', 'meliusnet22', '--params', '{}/net.params', '--out', '{}/x',
                            '--verify-on', '{}/broken', '--input-size', '16'] + SMALL,
                           'skipped: .*broken/1.jpg cannot be decoded.*\n.*there is no image that can be read'),
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
                                       ['--set', 'prefix=abc'], ['--set', 'pretrained=1'], ['--set', 'root=x'],
                                       ['--input-size', '1' + '0' * 30], ['--set', 'x=' + '-' * 100000 + '1']])
def test_options_that_argparse_refuses(arguments, capsys):
    with pytest.raises(SystemExit):
        main(['summary', 'meliusnet22'] + arguments)
    assert len(capsys.readouterr().err) < 2000


def test_evaluate_says_that_it_takes_the_digits(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv('HOME', str(tmp_path))
    assert main(['evaluate', str(folder / 'out')]) == 1
    assert re.match(r'no --data-dir given .* bundled handwritten digits\n.* does not know 10 of the 10 classes',
                    capsys.readouterr().err)


@pytest.mark.parametrize('arguments, message', [
    (['train', '--model', 'meliusnet22', '--data_dir', 'x'], r'--data_dir x \(did you mean --data-dir\?\)'),
    (['evaluate', 'x', '--pictures=x', '--cvs', 'x'], r'--pictures=x --cvs x \(did you mean --picture, --csv\?\)'),
    (['plot', 'meliusnet22', 'x'], 'x'),
    (['launch', '-n', '2', 'bmx', 'train'], r'bmx train \(what is after -- goes on: -- bmx train\)'),
])
def test_options_that_no_command_has(arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    error = capsys.readouterr().err
    assert stop.value.code == 2 and error.startswith(f'usage: bmx {arguments[0]} ')
    assert re.search(f'bmx {arguments[0]}: error: unrecognized arguments: {message}\n$', error)


def test_errors_of_the_operating_system_name_the_file_first(tmp_path, capsys):
    path = str(tmp_path / 'none.ini')
    assert main(['recipes', path, '--save-dir', str(tmp_path)]) == 1
    assert capsys.readouterr().out == f'error: {path}: No such file or directory\n'


@pytest.mark.parametrize('option, value', [('--mean', 'nan'), ('--mean', 'inf'), ('--mean', '1e39'), ('--std', '0'),
                                           ('--std', '-1'), ('--std', 'nan'), ('--std', 'inf'), ('--std', '1e-50'),
                                           ('--mean', '123.68'), ('--std', '58.4')])
def test_preprocessing_that_argparse_refuses(option, value, folder, capsys):
    with pytest.raises(SystemExit):
        main(['export', '--model', 'meliusnet22', '--params', str(folder / 'net.params'), '--out', str(folder / 'x'),
              option, '0.5', value, '0.5'] + SMALL)
    assert re.search(f'argument {option}: (mean|std) .* is not on the scale of values from 0 to 1',
                     capsys.readouterr().err)


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


ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def test_version(capsys):
    with pytest.raises(SystemExit) as stop:
        main(['--version'])
    assert stop.value.code == 0 and capsys.readouterr().out == f'bmx {bmx.__version__}\n'


@pytest.mark.parametrize('command', COMMANDS)
def test_help_of_every_command(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, '--help'])
    assert stop.value.code == 0 and capsys.readouterr().out.startswith(f'usage: bmx {command} ')


def test_models(capsys):
    assert main(['models', '--json']) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == list(MODELS)
    assert found['meliusnet_b']['keywords'] == {'improve': 'newest', 'blocks': [4, 6, 8, 6], 'groups': 2, 'bits': None,
                                                'reductions': [160 / 320, 224 / 544, 320 / 736], 'stem': 'grouped',
                                                'classes': 1000, 'growth': 64}
    assert found['mobinet_post']['recipe']['lr_decay_epoch'] == [15, 45]
    assert {'network', 'members', 'layers', 'stem'} <= set(found['ensemble_resnete18']['keywords'])
    assert main(['models', 'resnete18', 'resnet18_binary']) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith('ResNetE: A stem') and '  resnete18: as these' in lines
    assert lines[-2:] == ["  resnet18_binary: layers=(2, 2, 2, 2), convolutions=2, shortcut='binary'",
                          "    recipe: optimizer='adam', lr=0.001, warmup_epochs=5"]


def test_every_module_of_a_command_is_in_the_table():
    modules = {name for _, name, _ in pkgutil.iter_modules(bmx.cli.__path__)}
    assert {name.replace('_', '-') for name in modules
            if hasattr(importlib.import_module('bmx.cli.' + name), 'run')} == set(COMMANDS)


_LOADED = """
import sys
from bmx.cli import main
try:
    main(sys.argv[1:])
finally:
    print([name[8:] for name in sys.modules if name.startswith('bmx.cli.')])
"""


@pytest.mark.parametrize('arguments, loaded', [(['--help'], "['output']"), (['predict', 'nothing', 'nothing'],
                                                "['output', 'types', 'network', 'predict']")])
def test_commands_that_are_not_called_are_not_loaded(arguments, loaded):
    run = subprocess.run([sys.executable, '-W', 'ignore', '-c', _LOADED] + arguments, stdout=subprocess.PIPE,
                         stderr=subprocess.DEVNULL, text=True)
    assert run.stdout.splitlines()[-1] == loaded


@pytest.mark.parametrize('name', ['train_imagenet.py', 'run_recipes.py'])
def test_scripts_are_commands_from_any_folder(name, tmp_path):
    run = subprocess.run([sys.executable, '-W', 'ignore', os.path.join(ROOT, name), '--save-dir', 'x', '--nonsense'],
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=str(tmp_path))
    assert run.returncode == 2 and run.stderr.startswith(f'usage: {name} ')
    assert run.stderr.splitlines()[-1].startswith(f'{name}: error: ') and not run.stdout


def test_interrupted(capsys, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt
    monkeypatch.setattr('bmx.cli.summary.summary', interrupt)
    assert main(['summary', 'resnete18', '--stem', 'thumbnail']) == 130
    assert capsys.readouterr().err == 'bmx summary: stopped\n'
