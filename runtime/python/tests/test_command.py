"""`python -m bmx_runtime`."""
import json
import os
import subprocess
import sys

import pytest

from bmx_runtime.__main__ import main
from conftest import prefix

PICTURE = prefix('picture.png')


def test_what_bmx_predict_prints(capsys, expected):
    assert main([prefix('classifier'), PICTURE]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = [guess['class'].replace('\x1b', '\\x1b') for guess in expected['top']]
    assert lines == [PICTURE] + [f'  {100 * guess["probability"]:5.1f} %  {name}'
                                 for guess, name in zip(expected['top'], names)]


def test_json(capsys, expected):
    assert main([prefix('classifier'), PICTURE, PICTURE, '--json', '--threads', '1', '--kernel', 'portable']) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row['image'] for row in rows] == [PICTURE] * 2
    for row in rows:
        assert [guess['class'] for guess in row['top']] == [guess['class'] for guess in expected['top']]
        assert [guess['probability'] for guess in row['top']] == pytest.approx(
            [guess['probability'] for guess in expected['top']], rel=1e-6)


def test_options_may_stand_between(capsys):
    assert main(['--json', prefix('classifier'), '--threads', '0', PICTURE, '--kernel=portable', PICTURE]) == 0
    assert [row['image'] for row in json.loads(capsys.readouterr().out)] == [PICTURE] * 2


def test_bench(capsys):
    assert main([prefix('classifier'), '--bench', '--threads', '1', '--kernel', 'portable', '--json']) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found['model'], found['input_shape'], found['threads'], found['kernel']) == (
        'meliusnet22', [1, 3, 8, 12], 1, 'portable')
    assert 0 < found['min_ms'] <= found['median_ms'] <= found['p99_ms']


def test_unreadable_images(capsys):
    """The others are told."""
    assert main([prefix('classifier'), 'missing.png', PICTURE, prefix('expected.json')]) == 1
    printed = capsys.readouterr()
    assert printed.out.startswith(PICTURE) and len(printed.out.splitlines()) == 6
    first, second = printed.err.splitlines()
    assert first == 'python -m bmx_runtime: no such image: missing.png'
    assert 'expected.json cannot be decoded as an image' in second


def test_errors(capsys):
    assert main(['missing', PICTURE]) == 1
    assert 'missing-symbol.json' in capsys.readouterr().err
    for wrong, message in (([], 'an IMAGE is missing'), (['--bench', PICTURE, PICTURE], 'one IMAGE at most'),
                           (['--threads', 'x', PICTURE], "--threads: a number from 0 on, not 'x'"),
                           (['--threads=-1', PICTURE], "--threads: a number from 0 on, not '-1'"),
                           (['--threads', '99999', PICTURE], 'threads must be between 0 and'),
                           (['--thr', '1', PICTURE], 'unrecognized arguments: --thr'),
                           (['--kernel', 'abacus', PICTURE], "no kernel 'abacus'"),
                           (['--kernel', '', PICTURE], "no kernel ''")):
        with pytest.raises(SystemExit, match='2'):
            main([prefix('classifier'), *wrong])
        assert message in capsys.readouterr().err


def test_a_kernel_of_the_environment_that_cannot_be():
    run = subprocess.run([sys.executable, '-m', 'bmx_runtime', prefix('classifier'), PICTURE],
                         env=dict(os.environ, BMX_ISA='abacus'), stderr=subprocess.PIPE)
    assert run.returncode == 2 and b"no kernel 'abacus' for this CPU (BMX_ISA)" in run.stderr


def test_without_pillow():
    """Models run; images are refused with what to install."""
    program = ('import sys; sys.modules["PIL"] = None; import numpy, bmx_runtime\n'
               f'model = bmx_runtime.Model({prefix("classifier")!r})\n'
               'model.predict([numpy.zeros((4, 4, 3), numpy.uint8)])\n'
               f'model.predict([{PICTURE!r}])')
    run = subprocess.run([sys.executable, '-c', program], stderr=subprocess.PIPE)
    last = run.stderr.decode().splitlines()[-1]
    assert last.startswith('ImportError: images need Pillow') and "pip install 'bmx-runtime[images]'" in last


def test_as_a_program(expected):
    run = subprocess.run([sys.executable, '-m', 'bmx_runtime', prefix('classifier'), PICTURE, '--json'],
                         stdout=subprocess.PIPE, check=True)
    assert json.loads(run.stdout.decode())[0]['top'][0]['class'] == expected['top'][0]['class']
