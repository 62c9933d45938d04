"""The command `bench`, on sizes that take no time: what it writes, and what it refuses."""
import csv
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import mxnet as mx
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

import bmx
from bmx import ops
from bmx.bench import frontier, kernels, layers, models, results
from bmx.bench import runtime as bench_runtime
from bmx.bench import train as bench_train
from bmx.bench.shapes import SHAPES, Shape
from bmx.bench.timing import interleave
from bmx.cli import main
from bmx.cli.bench import SUBJECTS
from bmx.graph import Graph
from bmx.models import MODELS
from bmx.papers.accuracies import OTHERS, Accuracy, published
from helpers import build_runtime

FIELDS = {'name', 'implementation', 'isa', 'threads', 'batch', 'min_ms', 'median_ms', 'runs', 'cpu', 'mxnet', 'gluoncv',
          'bmx'}
SMALL = [Shape(70, 3, 5, 3), Shape(9, 4, 3, 1)]
SMALL_GROUPED = [Shape(6, 6, 4, 3, 3)]
SMALL_BITS = [Shape(16, 8, 4, 3)]
SMALL_FLOAT = [Shape(3, 8, 9, 3, 1, 2), Shape(8, 16, 5, 1, 4)]


def tiny(**kwargs):
    return MODELS['meliusnet22'](**dict(kwargs, stem='thumbnail', blocks=(1, 1), reductions=(0.5,)))


def small_mobinet(**kwargs):
    return MODELS['mobinet_mid'](**dict(kwargs, k=2, channels=(64,), halving=(0,), stem='thumbnail', classes=5))


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(kernels, 'SHAPES', SMALL)
    monkeypatch.setattr(layers, 'SHAPES', SMALL)
    monkeypatch.setattr(layers, 'GROUPED_SHAPES', SMALL_GROUPED)
    monkeypatch.setattr(layers, 'FLOAT_SHAPES', SMALL_FLOAT)
    monkeypatch.setattr(layers, 'BIT_SHAPES', SMALL_BITS)
    monkeypatch.setitem(MODELS, 'tiny', tiny)
    monkeypatch.setitem(MODELS, 'small_mobinet', small_mobinet)
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    monkeypatch.setattr('bmx.bench.timing.TURN', 0.001)
    before = ops.isa()
    yield
    ops.use_kernel(before)


def measure(folder, *arguments):
    """Run `bench` with all its outputs; the rows of the JSON file, after a look at the others."""
    paths = {kind: str(folder / ('rows.' + kind)) for kind in ('json', 'csv', 'png')}
    assert main(['bench'] + list(arguments) + ['--rounds', '2', '--json', paths['json'], '--csv', paths['csv'],
                                               '--picture', paths['png']]) == 0
    with open(paths['json']) as stream:
        rows = json.load(stream)
    with open(paths['csv'], newline='') as stream:
        lines = list(csv.DictReader(stream))
    assert [line['name'] for line in lines] == [row['name'] for row in rows]
    assert float(lines[0]['min_ms']) == pytest.approx(rows[0]['min_ms'], rel=1e-4)
    assert Image.open(paths['png']).size[0] > 500
    for row in rows:
        assert FIELDS <= set(row) and 0 < row['min_ms'] <= row['median_ms'] and row['threads'] == 1
    return rows


def test_kernels(tmp_path, capsys):
    rows = measure(tmp_path, 'kernels')
    assert [(row['name'], row['isa']) for row in rows] == [
        (str(shape), name) for shape in SMALL for name in ops.supported_kernels()]
    assert all(row['gmacs'] > 0 and row['share'] == pytest.approx(row['gmacs'] / row['bound_gmacs']) for row in rows)
    assert 'GMAC/s (share of bound)' in capsys.readouterr().out
    assert {row['isa'] for row in measure(tmp_path, 'kernels', '--isa', 'portable')} == {'portable'}


def assert_phases_add_up(row):
    total = sum(value for field, value in row.items() if field.endswith('_ms') and field not in ('min_ms', 'median_ms'))
    assert total == pytest.approx(row['min_ms']) or row['rest_ms'] == 0


def test_layers(tmp_path, capsys):
    rows = measure(tmp_path, 'layers', '--batch', '2', '--isa', 'portable')
    assert [(row['name'], row['implementation']) for row in rows] == [
        (name % str(shape), implementation) for shapes, name, own in (
            (SMALL + SMALL_GROUPED + SMALL_BITS, '%s', 'xnor_popcount'), (SMALL_BITS, '%s 1/2 bits', 'xnor_popcount'),
            (SMALL_BITS, '%s 2/2 bits', 'xnor_popcount'), (SMALL_BITS, '%s 3/5 bits', 'xnor_popcount'),
            (SMALL_FLOAT, '%s float', 'fconv'))
        for shape in shapes for implementation in (own, 'float')]
    assert {(row['isa'], row['batch']) for row in rows} == {('portable', 2)}
    floats = [row for row in rows if row['implementation'] == 'fconv']
    assert all(row['share'] == pytest.approx(row['gmacs'] / row['bound_gmacs']) and row['ratio'] > 0 for row in floats)
    for row in rows[:2 * len(SMALL + SMALL_GROUPED):2]:
        assert row['packing_ms'] > 0 and row['gemm_ms'] > 0 and 'mapping_ms' not in row
        assert_phases_add_up(row)
    assert rows[0]['ratio'] == pytest.approx(rows[0]['min_ms'] / rows[1]['min_ms'])
    assert {row['products'] for row in rows if '3/5' in row['name'] and row['implementation'] != 'float'} == {15}
    assert rows[0]['gmacs'] == pytest.approx(2 * SMALL[0].macs / rows[0]['min_ms'] / 1e6)
    assert 'kernel portable; threads 1; batch 2' in capsys.readouterr().out


def test_models(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(models, '_peak', lambda prefix, implementation, shape: 1 << 20)
    rows = measure(tmp_path, 'models', 'tiny', 'mobilenet0.25', '--size', '32', '--exact')
    assert [(row['name'], row['implementation']) for row in rows] == [
        ('tiny', 'deployed'), ('tiny', 'exact'), ('tiny', 'float'), ('mobilenet0.25', 'plain'),
        ('mobilenet0.25', 'mkldnn')]
    deployed, _, plain = rows[:3]
    assert deployed['ratio'] == pytest.approx(deployed['min_ms'] / plain['min_ms']) and plain['ratio'] == 1
    assert deployed['params_bytes'] < plain['params_bytes'] / 2
    assert all(deployed[phase + '_ms'] >= 0 for phase in ops.PHASES) and deployed['gemm_ms'] > 0
    assert_phases_add_up(deployed)
    out, error = capsys.readouterr()
    assert 'time of deployed / of' in out and 'mobilenet0.25 mkldnn' in out and 'round 2 of 2' in error


def test_names_with_keywords(tmp_path, monkeypatch):
    monkeypatch.setattr(models, '_peak', lambda prefix, implementation, shape: 1 << 20)
    names = ['tiny weight=dorefa(2) activation=dorefa(2)', 'tiny bits=1']
    rows = measure(tmp_path, 'models', *names, '--size', '32')
    assert [row['name'] for row in rows] == [name for name in names for _ in range(2)]
    assert rows[0]['params_bytes'] > rows[2]['params_bytes']
    with pytest.raises(ValueError, match="unknown model 'other'"):
        models.build('other bits=1')


def test_frontier(tmp_path, capsys, monkeypatch):
    """The zoo here: two binary networks, of which one has a published accuracy, and a float one."""
    monkeypatch.setitem(OTHERS, 'A study of small networks', {'tiny': 60.})
    monkeypatch.setattr(frontier, 'MODELS', {
        'tiny': tiny, 'small_mobinet': small_mobinet, 'meliusnet_float': MODELS['meliusnet_float']})
    monkeypatch.setattr(frontier, 'MOBILENETS', ('mobilenet0.25', 'mobilenetv2_0.25'))
    rows = measure(tmp_path, 'frontier', '--size', '32')
    assert [(row['name'], row['implementation'], row['top1']) for row in rows] == [
        ('small_mobinet', 'deployed', None), ('tiny', 'deployed', 60), ('mobilenet0.25', 'plain', 50.6),
        ('mobilenet0.25', 'mkldnn', 50.6), ('mobilenetv2_0.25', 'plain', 51.76),
        ('mobilenetv2_0.25', 'mkldnn', 51.76)]
    assert [row['optimal'] for row in rows] == [None if row['top1'] is None else all(
        other['top1'] < row['top1'] for other in rows
        if other['top1'] is not None and other['min_ms'] < row['min_ms']) for row in rows]
    assert rows[1]['ops'] == bmx.summary(tiny(), (1, 3, 32, 32)).ops and rows[1]['size'] == 32
    assert 4 * 475544 < rows[2]['bytes'] == rows[3]['bytes'] < 4.4 * 475544  # GluonCV: 475,544 parameters
    out = ' '.join(capsys.readouterr().out.split())
    assert '60.0 [1]' in out and '[1] A study of small networks' in out
    assert 'no published accuracy on ImageNet: small_mobinet' in out and 'meliusnet_float' not in out


def test_frontier_with_the_keywords_of_what_is_published(monkeypatch, capsys):
    monkeypatch.setitem(MODELS, 'small_nin', lambda **kwargs: MODELS['nin_binary'](**dict(kwargs, width=0.125)))
    monkeypatch.setattr(frontier, 'MODELS', {'small_nin': None})
    monkeypatch.setattr(frontier, 'MOBILENETS', ())
    monkeypatch.setattr(frontier, 'published', lambda name: Accuracy(50, 'Nobody', {'binarizations': 2}))
    rows, text = frontier.measure(1, 64, 1)
    assert [row['name'] for row in rows] == ['small_nin binarizations=2'] and 'small_nin binarizations=2' in text
    assert rows[0]['ops'] == bmx.summary(bmx.get_model('small_nin', binarizations=2), (1, 3, 64, 64)).ops


@pytest.mark.parametrize('points, best', [
    ([(1, 50), (2, 60), (3, 55), (4, 70)], [0, 1, 3]), ([(2, 50), (1, 50)], [1]), ([(1, 50), (1, 60)], [1]),
    ([(1, None), (2, 10)], [1]), ([], [])])
def test_the_most_accurate_at_each_cost(points, best):
    rows = [dict(ms=ms, top1=top1) for ms, top1 in points]
    assert frontier.optimal(rows, 'ms') == [rows[index] for index in best]


def test_every_network_of_the_frontier_has_a_label_that_covers_no_other(tmp_path, monkeypatch):
    """In the panel of time and in that of size; a point of a plain network is labeled where it is fused."""
    made = []
    monkeypatch.setattr(frontier, 'Figure', lambda **kwargs: made.append(Figure(**kwargs)) or made[-1])
    rows = [dict(name=name, implementation=implementation, isa='none', threads=1, batch=1, size=9, cpu='a CPU',
                 top1=published(name).top1, min_ms=ms * (2 if implementation == 'plain' else 1), bytes=3e6 * ms)
            for ms, name in enumerate(('mobilenet0.25', 'mobilenet0.5', 'meliusnet22', 'meliusnet_a', 'resnete18'), 1)
            for implementation in (('plain', 'mkldnn') if 'mobile' in name else ('deployed',))]
    frontier.draw(str(tmp_path / 'a.png'), rows, 'bmx bench frontier')
    for axes in made[0].axes:
        labels = [text for text in axes.texts if 'better' not in text.get_text()]
        assert sorted(text.get_text() for text in labels) == sorted({row['name'] for row in rows})
        boxes = [Text.get_window_extent(text) for text in axes.texts]
        assert not [1 for index, box in enumerate(boxes) for other in boxes[:index] if box.overlaps(other)]
    assert 'a CPU, kernel none, 1 thread, 9x9' in made[0].texts[0].get_text() + made[0]._suptitle.get_text()


def test_memory(tmp_path):
    x = mx.nd.zeros((1, 3, 64, 64))
    prefixes = models.write('tiny', models.build('tiny'), x, str(tmp_path), ['float'])
    features = 4 * 64 * 64 * 192
    assert features < models._peak(prefixes['tiny', 'float'], 'float', x.shape) < 100 * features


def test_times_survive_a_failing_measurement_of_memory(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(models.sys, 'executable', shutil.which('false'))
    rows = measure(tmp_path, 'models', 'mobilenet0.25', '--size', '32')
    assert [row['peak_bytes'] for row in rows] == [None, None]
    out, error = capsys.readouterr()
    assert re.search(r'mobilenet0.25 +mkldnn .* -$', out, re.MULTILINE)
    assert error.count('no peak memory: the process that measures it failed with code 1') == 2


@pytest.fixture
def installed_runtime(runtime, monkeypatch):
    """bmx_runtime, also in processes that are started."""
    monkeypatch.setenv('PYTHONPATH', str(Path(runtime.__file__).parents[1]))


def test_runtime(tmp_path, capsys, installed_runtime):
    command = str(build_runtime('bmx_run') / 'bmx_run' / 'bmx-run')
    rows = measure(tmp_path, 'runtime', 'tiny', '--size', '32', '--batch', '2', '--bmx-run', command)
    assert [(row['measured'], row['implementation']) for row in rows] == [
        (measured, door) for measured in ('one process', 'two at once') for door in ('mxnet', 'bmx_runtime')] + [
        ('start', program) for program in ('mxnet', 'bmx_runtime', 'bmx-run')]
    starts = rows[4:]
    assert [row['batch'] for row in rows] == [2] * 4 + [1] * 3 and {row['runs'] for row in starts} == {2}
    assert all(row['runs'] >= 2 * (1 + (row['measured'] == 'two at once')) for row in rows[:4])
    for row in rows:
        first = next(other for other in rows if other['measured'] == row['measured'])
        assert row['ratio'] == pytest.approx(row['min_ms'] / first['min_ms'])
        assert row['median_ratio'] == pytest.approx(row['median_ms'] / first['median_ms'])
        assert (row['peak_bytes'] is None) == (row not in starts)
    in_mxnet, in_python, alone = starts
    assert in_mxnet['min_ms'] > in_python['min_ms'] > alone['min_ms'] > 0.5
    assert 100 << 20 < in_mxnet['peak_bytes'] and 2 << 20 < alone['peak_bytes'] < in_python['peak_bytes'] < 100 << 20
    out, error = capsys.readouterr()
    assert re.search(r'tiny +two at once +bmx_runtime ', out) and 'tiny: start 2 of 2' in error


def test_runtime_without_the_command(tmp_path, capsys, installed_runtime, monkeypatch):
    monkeypatch.setattr(bench_runtime.shutil, 'which', lambda name: None)
    monkeypatch.setattr(bench_runtime, '_latencies', lambda *_: [])
    monkeypatch.setattr(bench_runtime, '_start', lambda command: (len(command), 1 << 20))
    rows = measure(tmp_path, 'runtime', 'tiny', '--size', '32')
    assert [row['implementation'] for row in rows] == ['mxnet', 'bmx_runtime']
    assert 'bmx-run is left out' in capsys.readouterr().err
    for arguments, message in ((['mobilenet0.25'], 'only networks of this package run without MXNet, not mobilenet0'),
                               (['tiny', '--bmx-run', 'no-bmx-run'], 'no-bmx-run is no program')):
        assert main(['bench', 'runtime'] + arguments) == 1
        assert message in capsys.readouterr().err


def test_processes_that_fail_are_named(tmp_path):
    with pytest.raises(ChildProcessError, match='door.py mxnet .*nothing.* failed'):
        bench_runtime._latencies('net', str(tmp_path / 'nothing'), 1, (1, 3, 8, 8), 1)
    for command in (shutil.which('false'), str(tmp_path / 'nothing')):
        with pytest.raises(ChildProcessError, match=f'{command} failed'):
            bench_runtime._start([command])


def test_start_is_up_to_the_first_answer():
    """And memory that of the command alone, not of the process that measures."""
    held = 64 << 20
    program = f'x = bytes({held}); print(1, flush=True); import time; time.sleep(0.5)'
    began = time.perf_counter()
    seconds, peak = bench_runtime._start([sys.executable, '-c', program])
    assert seconds < time.perf_counter() - began - 0.5 and 0 < peak < held / 2  # zeros that nobody wrote
    _, written = bench_runtime._start([sys.executable, '-c', program.replace('bytes(', "b'x' * (")])
    assert held < written < 2 * held


def test_a_panel_for_what_is_measured(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(results, 'Figure', lambda **kwargs: made.append(Figure(**kwargs)) or made[-1])
    rows = [dict(name=name, implementation=door, isa='none', threads=1, batch=1, cpu='a CPU', min_ms=1., mxnet='1',
                 gluoncv='1', bmx='1', measured=measured)
            for measured in ('latency', 'start') for name in 'ab' for door in 'xyz'[:2 + (measured == 'start')]]
    results.draw(str(tmp_path / 'a.png'), rows, 'bmx bench')
    assert [(axes.get_xlabel(), len(axes.patches)) for axes in made[0].axes] == [('ms, latency', 4), ('ms, start', 6)]


def test_split(tmp_path, capsys):
    rows = measure(tmp_path, 'split', 'small_mobinet', '--size', '16', '--binarizations', '2')
    with bmx.nn.config(binarizations=2):
        counted = bmx.summary(small_mobinet(), (1, 3, 16, 16))
    products = [layer for layer in counted.layers if layer['bops'] or layer['flops']]
    layers = [row for row in rows if row['ops']]
    assert [row['ops'] for row in layers] == [layer['bops'] / 64 + layer['flops'] for layer in products]
    assert [row['name'] + '_fwd' for row in layers] == [layer['name'] for layer in products]
    assert [row['implementation'] for row in layers] == [
        '3x3 3->32 16x16 float', '3x3 32->32 16x16 groups of 4', '1x1 32->64 16x16', '1x1 64->64 16x16',
        '1x1 64->5 float']
    assert [row['implementation'] for row in rows if not row['ops']] == ['avg pooling', 'avg pooling', 'float']
    assert rows[-1]['name'] == "MXNet's operators" and sum(row['ops'] for row in rows) == counted.ops
    for share in ('share_of_time', 'share_of_ops'):
        assert sum(row[share] for row in rows) == pytest.approx(1)
    assert 'small_mobinet, ' in capsys.readouterr().out


@pytest.mark.parametrize('name', ['alexnet_binary', 'nin_binary', 'resnete18', 'mobinet_pre'])
def test_split_of_binarizations(name, tmp_path, monkeypatch):
    build = MODELS[name]
    width = dict(width=0.125) if name in ('alexnet_binary', 'nin_binary') else {}
    monkeypatch.setitem(MODELS, name, lambda **kwargs: build(**dict(kwargs, stem='thumbnail', **width)))
    MODELS[name].__name__ = name
    rows = measure(tmp_path, 'split', name, '--size', '16', '--binarizations', '2')
    with bmx.nn.config(binarizations=2):
        counted = bmx.summary(bmx.get_model(name), (1, 3, 16, 16))
    assert sum(row['ops'] for row in rows) == counted.ops
    assert sorted(row['ops'] for row in rows if row['ops']) == sorted(
        layer['bops'] / 64 + layer['flops'] for layer in counted.layers if layer['bops'] or layer['flops'])


def test_train(tmp_path, capsys):
    rows = measure(tmp_path, 'train', 'tiny', '--batch', '2', '--size', '16')
    assert [(row['measured'], row['implementation']) for row in rows] == [
        ('step', 'binary'), ('step', 'bits=32'), ('evaluation', 'binary'), ('evaluation', 'bits=32')]
    assert rows[0]['optimizer'] == 'adam' and rows[0]['size'] == 16 and rows[1]['ratio'] == rows[3]['ratio'] == 1
    assert [row['isa'] for row in rows] == [ops.isa(), None] * 2 and rows[0]['batch'] == 2
    assert 'optimizer adam' in capsys.readouterr().out


def test_memory_of_training():
    """A process of its own knows the scope's settings, and binary steps need less than those of several planes."""
    with bmx.nn.config(scaling='constant'):
        one = bench_train._peak('resnete18', 1, 2, 32)
        with bmx.nn.config(binarizations=8):
            assert 2 ** 20 < one < bench_train._peak('resnete18', 1, 2, 32)


TRAINING = '''
import bmx
from bmx.bench.train import training_step
for name in ('meliusnet22', 'meliusnet_c'):
    training_step(bmx.get_model(name, blocks=(1, 1), reductions=(0.5,)), 2, 64, 'sgd', {})()
'''


def test_training_stays_out_of_reference_code():
    """oneDNN's log names the code that runs; its reference code is some 20 times slower."""
    log = subprocess.run([sys.executable, '-W', 'ignore', '-c', TRAINING], env=dict(os.environ, DNNL_VERBOSE='1'),
                         check=True, stdout=subprocess.PIPE).stdout.decode()
    ran = {tuple(line.split(',')[3:6]) for line in log.splitlines() if line.startswith('dnnl_verbose,exec')}
    ran = {each for each in ran if each[0].startswith(('batch_normalization', 'pooling'))}
    assert {way for _, _, way in ran} >= {'forward_training', 'backward', 'backward_data'}
    assert not [each for each in ran if each[1] == 'ref:any']


def test_contestants_take_turns():
    order = []
    seconds, _ = interleave({name: lambda name=name: order.append(name) for name in 'abc'}, 4)
    turns = [name for index, name in enumerate(order) if index == 0 or order[index - 1] != name]
    assert ''.join(turns) == 'abc' * 5 and len(order) > 30
    assert all(len(seconds[name]) < order.count(name) for name in 'abc')


@pytest.mark.parametrize('long, counted', [(1, 6), (0.001, 2)])
def test_runs_in_a_turn(long, counted, monkeypatch):
    monkeypatch.setattr('bmx.bench.timing.LONG', long)
    calls = []

    def run():
        calls.append(0)
        time.sleep(0.002)
    seconds, profiles = interleave({'run': run}, 2)
    assert len(seconds['run']) == counted and len(calls) == 1 + 2 + counted and not profiles
    seconds, profiles = interleave({'run': run}, 2, ['run'])
    assert len(seconds['run']) == counted and len(calls) == 2 * (1 + 2 + counted) + counted
    assert tuple(profiles['run'].phases) == ops.PHASES == ('packing', 'gemm', 'epilogue', 'mapping')
    assert profiles['run'].instructions == []


def test_another_number_of_threads_starts_over(monkeypatch):
    class Started(Exception):
        pass

    def start(program, command, environment):
        assert command[1:] == ['-m', 'bmx', 'bench', 'layers', '--threads', '2']
        assert environment['OMP_NUM_THREADS'] == '2'
        raise Started
    monkeypatch.setattr(os, 'execve', start)
    with pytest.raises(Started):
        main(['bench', 'layers', '--threads', '2'])


def test_shapes_are_those_of_the_zoo():
    found = set()
    for name in ('meliusnet22', 'meliusnet_c', 'meliusnet59'):
        graph = Graph.from_block(bmx.get_model(name), (1, 3, 224, 224))
        shapes = graph.infer_shapes()
        for node in graph.nodes:
            if node.op == 'Convolution' and node.attr('num_group', 1) == 1 and node.attr('stride') == (1, 1):
                filters, channels, kernel, _ = shapes[node.input(1).name, 0]
                found.add(Shape(channels, filters, shapes[node.name, 0][2], kernel))
    assert set(SHAPES) <= found


@pytest.mark.parametrize('arguments, message', [
    (['models', 'meliusnet'], "unknown model 'meliusnet'; choose from .*meliusnet22.*gluoncv"),
    (['train', 'mobilenet0.5'], "unknown model 'mobilenet0.5'; choose from"),
    (['layers', '--isa', 'mmx'], "no kernel 'mmx' for this CPU.*valid names: portable"),
    (['kernels', '--isa', 'mmx'], "no kernel 'mmx' for this CPU"),
    (['layers', '--json', '/nowhere/rows.json'], 'the folder of /nowhere/rows.json does not exist'),
    (['kernels', '--csv', '/tmp'], '/tmp is a folder'),
])
def test_errors(arguments, message, capsys):
    assert main(['bench'] + arguments) == 1
    assert re.search(message, capsys.readouterr().err)


def test_offers_the_kernels_of_this_cpu(capsys):
    with pytest.raises(SystemExit):
        main(['bench', 'kernels', '--help'])
    offered = re.search(r'the kernel, one of (.*?) \(', ' '.join(capsys.readouterr().out.split())).group(1)
    assert tuple(offered.split(', ')) == ops.supported_kernels()


@pytest.mark.parametrize('arguments', [[], ['everything'], ['layers', '--batch', '0'], ['layers', '--threads', '0'],
                                       ['kernels', '--batch', '2'], ['kernels', '--threads', '2'],
                                       ['kernels', '--rounds', '0'], ['models', '--size', '-1'], ['train'],
                                       ['train', 'tiny', '--isa', 'portable']])
def test_options_that_argparse_refuses(arguments):
    with pytest.raises(SystemExit):
        main(['bench'] + arguments)


def test_every_subject_is_on_the_command_line(capsys):
    for subject in SUBJECTS:
        with pytest.raises(SystemExit) as stop:
            main(['bench', subject, '--help'])
        assert stop.value.code == 0 and '--rounds' in capsys.readouterr().out


def test_bounds():
    """No kernel's multiply-adds are slower than those of the first in the table; an unknown kernel is an error."""
    slowest, *others = [ops.measure_float_bound(kernel) for kernel in ops.supported_kernels()]
    assert all(0 < slowest < other for other in others)
    with pytest.raises(ValueError, match="no kernel 'abacus'"):
        ops.measure_float_bound('abacus')


def test_measured_float_products():
    """More work takes longer; an unknown kernel is an error."""
    for kernel in ops.supported_kernels():
        few, many = (ops.measure_float_product(kernel, 14, 14, 16, filters, 2, (3, 3), 2) for filters in (4, 256))
        assert 0 < few < many
    with pytest.raises(ValueError, match="no kernel 'abacus'"):
        ops.measure_float_product('abacus', 1, 1, 1, 1, 1, (1, 1), 1)
