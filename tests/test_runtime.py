"""The runtime without MXNet gives the bits that MXNet gives: here both are in one process, the runtime by its Python
package with a library of these sources. What that package does itself is tested in runtime/python/tests.
"""
import concurrent.futures
import importlib
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from mxnet.gluon import nn
from PIL import Image

import bmx
from bmx import cli, deploy, ops
from bmx.io import preprocess
from fuzz import model_files
from helpers import RUNTIME, conv, random, randomize, sequential, small_net

DATA = Path(__file__).resolve().parent / 'data'
VIEW = {'size': [8, 8], 'crop_ratio': 0.875, 'mean': [0.485, 0.456, 0.406], 'std': [0.229, 0.224, 0.225]}


def several_bits(activation, weight):
    with bmx.nn.config(activation=activation, weight=weight):
        return sequential(nn.Conv2D(8, 3, padding=1), nn.BatchNorm(), conv(8), nn.BatchNorm(), conv(8),
                          nn.GlobalAvgPool2D(), nn.Dense(3))


# Networks, the shape of one image, and another one that they take, if any.
NETWORKS = {
    **{name: (lambda name=name: model_files.networks()[name][0], shape, other)
       for name, shape, other in (('meliusnet', (3, 8, 8), (3, 12, 7)),
                                  ('resnet of average pooling', (3, 9, 9), (3, 10, 14)),
                                  ('groups', (3, 8, 8), None), ('binarizations', (3, 8, 8), None))},
    **{name: (lambda name=name: bmx.get_model(name, classes=7), shape, other)
       for name, shape, other in (('meliusnet22', (3, 64, 64), (3, 96, 72)), ('resnete18', (3, 32, 32), (3, 41, 64)),
                                  ('mobinet_mid', (3, 32, 32), None), ('nin_binary', (3, 64, 64), None),
                                  ('quicknet_small', (3, 64, 64), None))},
    'dorefa': (lambda: several_bits('dorefa(2)', 'dorefa(2)'), (3, 8, 8), (3, 5, 9)),
    'lq': (lambda: several_bits('lq(2)', 'sign'), (3, 8, 8), (3, 5, 9)),
}


def export(net, prefix, shape, **options):
    bmx.export(randomize(net, random((1,) + shape)), prefix, (1,) + shape, **options)
    return deploy.load(prefix)[0]


def kernels(runtime, prefix):
    """A model for each kernel that this CPU supports."""
    for name in ops.kernels():
        try:
            yield runtime.Model(prefix, threads=2, kernel=name)
        except ValueError:
            with pytest.raises(ValueError):
                ops.use_kernel(name)


@pytest.mark.parametrize('name', NETWORKS)
def test_the_bits_of_mxnet(name, runtime, tmp_path):
    """For batches, numbers of threads, kernels and other sizes."""
    make, shape, other = NETWORKS[name]
    prefix = str(tmp_path / 'net')
    deployed = export(make(), prefix, shape)
    models = [runtime.Model(prefix, threads=threads) for threads in (1, 3)] + list(kernels(runtime, prefix))
    assert len({model.kernel for model in models}) >= 2  # portable is one of them
    for sizes in ((1, *shape), (5, *shape), *([(2, *other)] if other else [])):
        x = random(sizes)
        expected = deployed(x).asnumpy()
        for model in models:
            found = model(x.asnumpy())
            assert found.dtype == expected.dtype and np.array_equal(found, expected), (model, sizes)


def test_threads_at_once(runtime, tmp_path):
    prefix = str(tmp_path / 'net')
    deployed = export(NETWORKS['meliusnet'][0](), prefix, (3, 8, 8))
    inputs = [random((1 + index % 4, 3, 8, 8), index) for index in range(16)]
    expected = [deployed(x).asnumpy() for x in inputs]
    model = runtime.Model(prefix, threads=2)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for found, wanted in zip(pool.map(model, [x.asnumpy() for x in inputs] * 4), expected * 4):
            assert np.array_equal(found, wanted)


def test_what_models_say(runtime, tmp_path):
    prefix = str(tmp_path / 'net')
    export(small_net(), prefix, (3, 8, 8), classes=['a', 'b', 'é', 'd\n'], preprocess=VIEW)
    model, (_, metadata) = runtime.Model(prefix), deploy.load(prefix)
    assert (model.name, list(model.classes)) == (metadata.model, metadata.classes)
    assert model.input_shape == (1, *metadata.input_shape)
    assert {key: list(value) if isinstance(value, tuple) else value
            for key, value in model.preprocess._asdict().items()} == metadata.preprocess


def test_operators_of_mxnet_are_refused_by_name(runtime, tmp_path):
    export(small_net(), str(tmp_path / 'exact'), (3, 8, 8), exact=True)
    net, shape = model_files.networks()['rows']
    export(net, str(tmp_path / 'rows'), shape)
    for prefix, names in ((tmp_path / 'exact', ('Convolution',)), (tmp_path / 'rows', ('BatchNorm', 'reshape_like')),
                          (DATA / 'format-1', ('xnor_popcount', 'broadcast_add'))):
        with pytest.raises(runtime.ModelError) as error:
            runtime.Model(prefix)
        assert all(name in str(error.value) for name in names), error.value


# Images ---------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('size, ratio', [([8, 12], 0.875), ([16, 16], 1), ([9, 20], 0.5)])
def test_images_become_the_inputs_of_bmx_predict(size, ratio, runtime, tmp_path):
    prefix, view = str(tmp_path / 'net'), dict(VIEW, size=size, crop_ratio=ratio)
    export(sequential(bmx.nn.QActivation(), bmx.nn.QConv2D(2, 1), nn.GlobalAvgPool2D(), nn.Dense(2)), prefix,
           (3, *size), preprocess=view)
    model, generator = runtime.Model(prefix), np.random.RandomState(0)
    for shape in [(1, 1), (1, 90), (300, 7), (8, 12), (64, 64), (500, 333), *generator.randint(1, 120, (30, 2))]:
        image = generator.randint(0, 256, (*shape, 3)).astype(np.uint8)
        assert np.array_equal(model.prepare(image), preprocess.prepare(image, view)), shape


def test_predictions_are_those_of_bmx_predict(runtime, tmp_path, capsys):
    prefix, paths = str(tmp_path / 'net'), []
    net = small_net()
    for parameter in net[-1].collect_params().values():
        parameter.set_data(parameter.data() / 20)  # several classes are likely
    bmx.export(net, prefix, (1, 3, 8, 8), classes=list('abcd'), preprocess=VIEW)
    for index in range(4):
        paths.append(str(tmp_path / f'{index}.png'))
        noise = np.random.RandomState(index).randint(0, 256, (20 + index, 30, 3)).astype(np.uint8)
        Image.fromarray(noise).save(paths[-1])
    assert cli.main(['predict', prefix, *paths, '--json']) == 0
    for row, guesses in zip(json.loads(capsys.readouterr().out), runtime.Model(prefix).predict(paths)):
        assert [guess.name for guess in guesses] == [guess['class'] for guess in row['top']]
        np.testing.assert_allclose([guess.probability for guess in guesses],
                                   [guess['probability'] for guess in row['top']], rtol=1e-6)


# bmx verify -----------------------------------------------------------------------------------------------------------

@pytest.fixture
def photographs(tmp_path):
    """A prefix, and a folder of 40 images."""
    export(small_net(), str(tmp_path / 'net'), (3, 8, 8), preprocess=VIEW)
    (tmp_path / 'images').mkdir()
    for index in range(40):
        noise = np.random.RandomState(index).randint(0, 256, (9 + index, 14, 3)).astype(np.uint8)
        Image.fromarray(noise).save(str(tmp_path / 'images' / f'{index}.png'))
    return str(tmp_path / 'net'), str(tmp_path / 'images')


def test_verify_compares_with_the_runtime(runtime, photographs, capsys, monkeypatch):
    """On images, or random inputs; one bit in one of them is noticed."""
    prefix, images = photographs
    assert cli.main(['verify', prefix, '--runtime', '--data-dir', images]) == 0
    assert 'the runtime without MXNet gives the same bits for 40 of 40 inputs' in capsys.readouterr().out
    assert cli.main(['verify', prefix, '--runtime']) == 0
    assert 'comparing on random inputs\nthe runtime without MXNet gives the same bits for 16 of 16' \
        in capsys.readouterr().out
    call = runtime.Model.__call__

    def one_bit(model, batch):
        scores = call(model, batch)
        scores.view(np.uint32)[len(batch) // 2, 1] ^= 1
        return scores
    monkeypatch.setattr(runtime.Model, '__call__', one_bit)
    assert cli.main(['verify', prefix, '--runtime', '--data-dir', images]) == 1  # two batches
    assert 'the same bits for 38 of 40 inputs' in capsys.readouterr().err


def test_verify_with_the_float_network_and_the_runtime(runtime, tmp_path, capsys):
    net, params = bmx.get_model('resnete18', stem='thumbnail', layers=(1,), channels=(16,), classes=3), 'net.params'
    randomize(net, random((1, 3, 16, 16)))
    net.save_parameters(str(tmp_path / params))
    bmx.export(net, str(tmp_path / 'net'), (1, 3, 16, 16))
    assert cli.main(['verify', str(tmp_path / 'net'), '--runtime', '--params', str(tmp_path / params)]) == 0
    assert re.search(r'the same bits for 16 of 16 inputs\n(.*\n)?verified against the float network',
                     capsys.readouterr().out)


def test_verify_says_why_it_cannot_compare(runtime, photographs, capsys, monkeypatch):
    prefix, images = photographs
    assert cli.main(['verify', prefix, '--runtime', '--data-dir', images, '--bits', '1']) == 1
    assert 'give its --params' in capsys.readouterr().err
    assert cli.main(['verify', str(DATA / 'format-1'), '--runtime']) == 1
    assert 'needs operators of MXNet' in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, 'bmx_runtime', None)
    assert cli.main(['verify', prefix, '--runtime']) == 1
    assert re.search('cannot be imported .*pip install "./runtime/python', capsys.readouterr().err)


# The interface --------------------------------------------------------------------------------------------------------

def test_the_package_knows_the_header(runtime):
    """Every function with as many arguments as it has, and what is defined."""
    header = re.sub(r'/\*.*?\*/', '', (RUNTIME / 'include' / 'bmx.h').read_text(), flags=re.S)
    library = importlib.import_module('bmx_runtime._library')
    functions = re.findall(r'BMX_API (?:const )?\w+\*? (\w+)\(([^)]*)\);', header)
    assert len(functions) == len(re.findall(r'^BMX_API ', header, flags=re.M)) > 10
    for name, arguments in functions:
        count = 0 if arguments in ('', 'void') else arguments.count(',') + 1
        assert len(getattr(library.library, name).argtypes) == count, name
    assert {name for name, _ in functions} == set(library._FUNCTIONS) | set(library._FALLIBLE)
    defined = dict(re.findall(r'#define (BMX_\w+) (\d+)', header))
    assert int(defined['BMX_API_VERSION']) == library.API_VERSION
    assert int(defined['BMX_MAX_DIMS']) == library.MAX_DIMS
    assert runtime.__version__ == bmx.__version__
