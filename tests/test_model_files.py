"""The two files of a deployed model: older formats, damage, hostile content, and how they are written."""
import errno
import fcntl
import json
import math
import os
import shutil
import signal

import mxnet as mx
import numpy as np
import pytest
from mxnet.gluon import nn

import bmx
from bmx import deploy
from bmx.deploy import files
from helpers import own, random, sequential, small_net

DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'data')
FORMATS = (1, 2, 3)


@pytest.fixture
def old(tmp_path):
    """Copies the files of a format that earlier versions wrote; returns their prefix."""
    def copy(version=3):
        for path in (files.symbol_path, files.params_path):
            shutil.copy(path(os.path.join(DATA, f'format-{version}')), path(str(tmp_path / 'net')))
        return str(tmp_path / 'net')
    return copy


def exported(folder):
    prefix = str(folder / 'net')
    bmx.export(small_net(), prefix, (1, 3, 8, 8))
    return prefix


def content(path):
    with open(path, 'rb') as stream:
        return stream.read()


def write(path, data):
    with open(path, 'wb') as stream:
        stream.write(data)


@pytest.mark.parametrize('version', FORMATS)
def test_older_formats_load_and_answer_the_same(version, old):
    prefix = old(version)
    with open(os.path.join(DATA, 'formats.json')) as stream:
        expected = json.load(stream)[str(version)]
    deployed, metadata = deploy.load(prefix)
    assert (metadata.format, metadata.classes, metadata.symbol_sha256) == (version, list('abcd'), None)
    x = mx.nd.array(np.random.RandomState(0).normal(size=(2, 3, 6, 6)))
    np.testing.assert_allclose(deployed(x).asnumpy(), expected, rtol=1e-5)


def test_reshapes_of_older_formats_count_values(old):
    prefix = old(2)
    text = content(files.symbol_path(prefix)).decode()
    assert '"shape": "(-1, 72)"' in text
    write(files.symbol_path(prefix), text.replace('"shape": "(-1, 72)"', '"shape": "(-1, 71)"').encode())
    with pytest.raises(bmx.LoadError, match='Cannot reshape'):
        deploy.load(prefix)


def test_numbers_as_classes_of_older_formats(old):
    prefix = old()
    edit_metadata(prefix, lambda found: found.update(classes=[1, 2, 3, 4]))
    assert deploy.load(prefix)[1].classes == ['1', '2', '3', '4']


def test_every_byte_of_both_files_is_covered(tmp_path):
    prefix, generator = exported(tmp_path), np.random.RandomState(0)
    for path in (files.symbol_path(prefix), files.params_path(prefix)):
        whole = content(path)
        begin = max(0, whole.find(b'sha256'))  # the digests and what is around them, byte by byte
        positions = list(range(begin, min(begin + 300, len(whole)), 3)) + list(generator.randint(len(whole), size=150))
        for position in positions:
            bit = 1 << generator.randint(8)
            write(path, whole[:position] + bytes([whole[position] ^ bit]) + whole[position + 1:])
            with pytest.raises(bmx.LoadError):
                deploy.load(prefix)
        write(path, whole)
    deploy.load(prefix)


EDITS = {
    'a step less': (' steps=relu', ''),
    'another step': ('steps=relu', 'steps=mul:p3'),
    'space': ('\n', '\n '),
    'digest of zeros': None,
    'digest in capitals': None,
    'no digest': None,
    'older format': (r'\"format\": 4', r'\"format\": 3'),
    'older format without digest': None,
}


@pytest.mark.parametrize('name', EDITS)
def test_a_changed_symbol_does_not_load(name, tmp_path):
    prefix = str(tmp_path / 'net')
    net = sequential(nn.BatchNorm(), bmx.nn.BinaryConv(8, 3), nn.BatchNorm(), bmx.nn.BinaryConv(8, 3),
                     nn.Activation('relu'))
    net.initialize()
    bmx.export(net, prefix, (1, 3, 8, 8))
    text, own = content(files.symbol_path(prefix)).decode(), deploy.load(prefix)[1].symbol_sha256
    if EDITS[name]:
        changed = text.replace(*EDITS[name], 1)
    elif name == 'digest of zeros':
        changed = text.replace(own, '0' * 64)
    elif name == 'digest in capitals':
        changed = text.replace(own, own.upper())
    else:
        changed = text.replace(rf', \"symbol_sha256\": \"{own}\"', '')
        if name == 'older format without digest':  # what was of format 4 remains to be checked as a graph
            changed = changed.replace(r'\"format\": 4', r'\"format\": 3')
            changed = changed.replace('relu', 'rely')
    assert changed != text
    write(files.symbol_path(prefix), changed.encode())
    with pytest.raises(bmx.LoadError):
        deploy.load(prefix)


@pytest.mark.parametrize('exact', [False, True])
def test_programs_are_of_the_format_of_the_file(exact, tmp_path):
    prefix = str(tmp_path / 'net')
    bmx.export(small_net(), prefix, (1, 3, 8, 8), exact=exact)

    def older(found):
        found['format'] = 3
        del found['symbol_sha256'], found['exact']
    edit_metadata(prefix, older)
    if exact:  # no word of its programs is younger
        assert deploy.load(prefix)[1].exact
    else:
        with pytest.raises(bmx.LoadError, match='it has format 3, and programs of format 4'):
            deploy.load(prefix)


def test_names_of_zeros_do_not_disturb_the_digest(tmp_path):
    prefix = str(tmp_path / 'net')
    names = ['0' * 64, rf'\"symbol_sha256\": \"{"0" * 64}\"', 'ü\n"', 'd']
    bmx.export(small_net(), prefix, (1, 3, 8, 8), classes=names)
    assert deploy.load(prefix)[1].classes == names


def node(graph, op):
    return next(each for each in graph['nodes'] if each['op'] == op)


# What may not be true of a graph: libmxnet crashes on some of them.
GRAPHS = {
    'an output that a variable has not': lambda graph: node(graph, 'binary_subgraph')['inputs'][0].__setitem__(1, 1),
    'an output that an operator has not': lambda graph: graph['heads'][0].__setitem__(1, 7),
    'a negative output': lambda graph: node(graph, 'binary_subgraph')['inputs'][1].__setitem__(1, -1),
    'itself as input': lambda graph: node(graph, 'binary_subgraph')['inputs'][0].__setitem__(
        0, graph['nodes'].index(node(graph, 'binary_subgraph'))),
    'a later node as input': lambda graph: graph['nodes'].reverse(),
    'a node that is not there': lambda graph: graph['heads'][0].__setitem__(0, 2 ** 31),
    'a negative node': lambda graph: graph['heads'][0].__setitem__(0, -1),
    'true for a number': lambda graph: graph['heads'][0].__setitem__(0, True),
    'no heads': lambda graph: graph.update(heads=[]),
    'heads of another kind': lambda graph: graph.update(heads={'0': 1}),
    'an input too few': lambda graph: node(graph, 'binary_subgraph')['inputs'].pop(),
    'an input too many': lambda graph: node(graph, 'binary_subgraph')['inputs'].append([0, 0, 0]),
    'an input too few of BatchNorm': lambda graph: node(graph, 'BatchNorm')['inputs'].pop(),
    'an unknown operator': lambda graph: node(graph, 'binary_subgraph').update(op='nothing'),
    'an operator of Python': lambda graph: node(graph, 'BatchNorm').update(op='Custom', attrs={'op_type': 'x'}),
    'a pointer': lambda graph: node(graph, 'BatchNorm').update(op='_NDArray', attrs={'info': '0x1234'}),
    'a number for an operator': lambda graph: node(graph, 'BatchNorm').update(op=3),
    'attributes that are no texts': lambda graph: node(graph, 'BatchNorm').update(attrs={'eps': 1}),
    'nested attributes': lambda graph: node(graph, 'BatchNorm').update(attrs={'eps': {}}),
    'an attribute that does not parse': lambda graph: node(graph, 'BatchNorm').update(attrs={'eps': 'x'}),
    'a list for a node': lambda graph: graph['nodes'].append([]),
    'a subgraph': lambda graph: node(graph, 'BatchNorm').update(subgraphs=[{}]),
    'no name': lambda graph: node(graph, 'BatchNorm').pop('name'),
    'a variable twice': lambda graph: graph['nodes'].append(dict(node(graph, 'null'), inputs=[])),
    'a variable with inputs': lambda graph: graph['nodes'][1].update(inputs=[[0, 0, 0]]),
    'a variable of a negative shape': lambda graph: graph['nodes'][1]['attrs'].update(__shape__='(-9,)'),
    'a variable of no shape': lambda graph: graph['nodes'][1]['attrs'].update(__shape__='[['),
    'a variable of a shape in parentheses': lambda graph: graph['nodes'][1]['attrs'].update(__shape__='(' * 9000),
    'a variable of another shape': lambda graph: graph['nodes'][1]['attrs'].update(__shape__='(77, 5)'),
    'a variable of an unknown type': lambda graph: graph['nodes'][1]['attrs'].update(__dtype__='99'),
    'a variable without a parameter': lambda graph: graph['nodes'][1].update(name='other'),
    'another input': lambda graph: graph['nodes'][0].update(name='date'),
    'a program that is none': lambda graph: node(graph, 'binary_subgraph')['attrs'].update(program='conv'),
}


def with_batch_norm(graph):
    """Behind the program a BatchNorm, which is not there in the file of format 3."""
    last = len(graph['nodes'])
    names = ['gamma', 'beta', 'mean', 'var']
    graph['nodes'] += [{'op': 'null', 'name': name, 'attrs': {}, 'inputs': []} for name in names]
    graph['nodes'].append({'op': 'BatchNorm', 'name': 'norm', 'attrs': {'eps': '1e-05'},
                           'inputs': [[last - 1, 0, 0]] + [[last + index, 0, 0] for index in range(4)]})
    graph['heads'] = [[last + 4, 0, 0]]


@pytest.mark.parametrize('name', GRAPHS)
def test_graphs_that_libmxnet_must_not_see(name, old):
    prefix = old()
    graph = json.loads(content(files.symbol_path(prefix)).decode())
    if 'BatchNorm' in name or 'BatchNorm' in GRAPHS[name].__code__.co_consts:
        with_batch_norm(graph)
    GRAPHS[name](graph)
    write(files.symbol_path(prefix), json.dumps(graph).encode())
    for loader in (deploy.load, files.import_block):
        with pytest.raises(bmx.LoadError, match='net-symbol.json'):
            loader(prefix)


@pytest.mark.parametrize('op, attrs', [
    ('Pooling', {'kernel': '(2, 2)', 'stride': '(0, 0)'}), ('SliceChannel', {'num_outputs': '0'}),
    ('Pooling', {'kernel': '(0, 0)'}), ('SliceChannel', {'num_outputs': '-1'})])
def test_attributes_that_operators_divide_by(op, attrs, old):
    prefix = old()
    graph = json.loads(content(files.symbol_path(prefix)).decode())
    graph['nodes'].append({'op': op, 'name': 'last', 'attrs': attrs, 'inputs': [[0, 0, 0]]})
    graph['heads'] = [[len(graph['nodes']) - 1, 0, 0]]
    write(files.symbol_path(prefix), json.dumps(graph).encode())
    with pytest.raises(bmx.LoadError, match='cannot have'):
        deploy.load(prefix)


def edit_metadata(prefix, change):
    graph = json.loads(content(files.symbol_path(prefix)).decode())
    found = json.loads(graph['nodes'][0]['attrs']['__bmx__'])
    replaced = change(found)
    graph['nodes'][0]['attrs']['__bmx__'] = replaced if isinstance(replaced, str) else json.dumps(found)
    write(files.symbol_path(prefix), json.dumps(graph).encode())


DEEP = '[' * 100000 + ']' * 100000
# What a model file can say of itself that no exporter wrote.
METADATA = {
    'nested': lambda found: DEEP,
    'nested settings': lambda found: json.dumps(found).replace('"settings": {}', f'"settings": {{"a": {DEEP}}}'),
    'settings nested less deep': lambda found: json.dumps(found).replace(
        '"settings": {}', f'"settings": {{"a": {"[" * 800}{"]" * 800}}}'),
    'layer defaults nested': lambda found: found.update(layer_defaults={'bits': [[1]]}),
    'layer default of a huge number': lambda found: found.update(layer_defaults={'clip_threshold': 10 ** 400}),
    'layer default NaN': lambda found: found.update(layer_defaults={'clip_threshold': math.nan}),
    'number': lambda found: '3',
    'null': lambda found: 'null',
    'text': lambda found: '"a"',
    'no JSON': lambda found: '{',
    'lone surrogate': lambda found: json.dumps(found).replace('small', '\\ud800 \x1b'),
    'huge number': lambda found: json.dumps(found).replace('"settings": {}', '"settings": {"classes": 1e400}'),
    'many digits': lambda found: json.dumps(found).replace('"settings": {}', f'"settings": {{"a": {"9" * 5000}}}'),
    'NaN': lambda found: found.update(settings={'width': math.nan}),
    'format': lambda found: found.update(format=True),
    'format as text': lambda found: found.update(format='3'),
    'format as a list': lambda found: found.update(format=[3]),
    'format as a fraction': lambda found: found.update(format=3.0),
    'format nested': lambda found: found.update(format={'a': [1]}),
    'newest format without a digest': lambda found: found.update(format=4),
    'digest in an older format': lambda found: found.update(symbol_sha256='0' * 64),
    'digest of another type': lambda found: found.update(params_sha256=3),
    'bit order': lambda found: found.update(bit_order=[]),
    'negative input': lambda found: found.update(input_shape=[3, -6, 6]),
    'empty input': lambda found: found.update(input_shape=[3, 0, 6]),
    'huge input': lambda found: found.update(input_shape=[3, 10 ** 9, 10 ** 9]),
    'huge number of the input': lambda found: found.update(input_shape=[10 ** 30, 6, 6]),
    'fractions of the input': lambda found: found.update(input_shape=[3.0, 6, 6]),
    'true as input': lambda found: found.update(input_shape=[True, 6, 6]),
    'texts of the input': lambda found: found.update(input_shape=['3', 6, 6]),
    'nested input': lambda found: found.update(input_shape=[[3], 6, 6]),
    'input of no dimension': lambda found: found.update(input_shape=[]),
    'input of many dimensions': lambda found: found.update(input_shape=[1] * 1000),
    'smaller input': lambda found: found.update(input_shape=[3, 2, 2]),
    'three classes': lambda found: found.update(classes=list('abc')),
    'many classes': lambda found: found.update(classes=['a'] * 100000),
    'no class': lambda found: found.update(classes=[]),
    'classes in lists': lambda found: found.update(classes=[['a'], 'b', 'c', 'd']),
    'classes of fractions': lambda found: found.update(classes=[0.5, 1, 2, 3]),
    'classes as text': lambda found: found.update(classes='abcd'),
    'model': lambda found: found.update(model=3),
    'model of escape sequences': lambda found: found.update(model='\x1b[2J'),
    'mean NaN': lambda found: found['preprocess'].update(mean=[0, math.nan, 0]),
    'mean infinite': lambda found: found['preprocess'].update(mean=[0, math.inf, 0]),
    'mean huge': lambda found: found['preprocess'].update(mean=[0, 10 ** 400, 0]),
    'mean of two': lambda found: found['preprocess'].update(mean=[0, 0]),
    'std 0': lambda found: found['preprocess'].update(std=[1, 0, 1]),
    'std NaN': lambda found: found['preprocess'].update(std=[1, 1, math.nan]),
    'std below any': lambda found: found['preprocess'].update(std=[1, 1, 1e-320]),
    'std true': lambda found: found['preprocess'].update(std=[1, 1, True]),
    'size huge': lambda found: found['preprocess'].update(size=[10 ** 9, 10 ** 9]),
    'size 0': lambda found: found['preprocess'].update(size=[0, 6]),
    'size of fractions': lambda found: found['preprocess'].update(size=[6.0, 6]),
    'crop ratio 0': lambda found: found['preprocess'].update(crop_ratio=0),
    'crop ratio below any': lambda found: found['preprocess'].update(crop_ratio=1e-300),
    'crop ratio 2': lambda found: found['preprocess'].update(crop_ratio=2),
    'crop ratio NaN': lambda found: found['preprocess'].update(crop_ratio=math.nan),
    'preprocessing': lambda found: found.update(preprocess=[]),
    'setting of a huge number': lambda found: found.update(settings={'classes': 10 ** 300}),
    'setting pretrained': lambda found: found.update(settings={'pretrained': True}),
    'setting root': lambda found: found.update(settings={'root': '/tmp'}),
    'setting ctx': lambda found: found.update(settings={'ctx': None}),
    'setting prefix': lambda found: found.update(settings={'prefix': 'a'}),
    'setting params': lambda found: found.update(settings={'params': None}),
    'setting name': lambda found: found.update(settings={'name': 'resnete18'}),
}


@pytest.mark.parametrize('name', METADATA)
def test_hostile_metadata(name, old):
    prefix = old()
    edit_metadata(prefix, METADATA[name])
    with pytest.raises(bmx.LoadError, match='net-symbol.json') as caught:
        deploy.load(prefix)
    assert len(str(caught.value)) < 1000 and '\x1b' not in str(caught.value)


FOREIGN = {
    'nothing': b'', 'null': b'null', 'a number': b'1', 'a list': b'[]', 'no nodes': b'{}',
    'nodes of another kind': b'{"nodes": 3}', 'numbers for nodes': b'{"nodes": [3]}',
    'attributes of another kind': b'{"nodes": [{"attrs": 3}]}', 'nested': DEEP.encode(),
    'not UTF-8': b'{"nodes": "\xff\xfe"}', 'UTF-16': '{"nodes": []}'.encode('utf-16'), 'zeros': bytes(100),
}


@pytest.mark.parametrize('name', FOREIGN)
def test_foreign_symbol_files(name, old):
    prefix = old()
    write(files.symbol_path(prefix), FOREIGN[name])
    for loader in (deploy.load, files.import_block):
        with pytest.raises(bmx.LoadError, match='net-symbol.json'):
            loader(prefix)


def test_foreign_parameter_files(old):
    prefix = old()
    for damaged in (b'', b'abc', bytes(100), content(files.params_path(prefix))[:-30]):
        write(files.params_path(prefix), damaged)
        with pytest.raises(bmx.LoadError, match='net-0000.params'):
            files.import_block(prefix)
    mx.nd.save(files.params_path(prefix), {'arg:other': mx.nd.ones(3)})
    with pytest.raises(bmx.LoadError, match='not the parameter file of'):
        files.import_block(prefix)


def test_files_of_mxnet_itself_can_be_imported(tmp_path):
    net = mx.gluon.model_zoo.vision.get_model('mobilenet0.25', classes=3)
    net.initialize()
    net.hybridize()
    x = random((1, 3, 64, 64))
    expected = net(x).asnumpy()
    net.export(str(tmp_path / 'net'))
    assert np.array_equal(files.import_block(str(tmp_path / 'net'))(x).asnumpy(), expected)


@pytest.fixture
def no_links(monkeypatch):
    """A file system without hard links, as FAT is."""
    def refuse(source, target, **_):
        raise PermissionError(errno.EPERM, 'Operation not permitted', source)
    monkeypatch.setattr(os, 'link', refuse)


def test_replaces_without_hard_links(tmp_path, no_links):
    prefix, x = exported(tmp_path), random((2, 3, 8, 8))
    net = small_net()
    net[2].conv.weight.set_data(-net[2].conv.weight.data())
    bmx.export(net, prefix, (1, 3, 8, 8))
    assert np.array_equal(deploy.load(prefix)[0](x).asnumpy(), own(net, x))
    assert sorted(os.listdir(str(tmp_path))) == ['net-0000.params', 'net-symbol.json']


def test_a_failing_copy_replaces_nothing(tmp_path, no_links, monkeypatch):
    prefix = exported(tmp_path)
    before = content(files.params_path(prefix)), content(files.symbol_path(prefix))

    def full(source, target):
        write(target, b'part')
        raise OSError(errno.ENOSPC, 'No space left on device', target)
    monkeypatch.setattr(shutil, 'copyfile', full)
    with pytest.raises(OSError, match='No space left'):
        bmx.export(small_net(), prefix, (1, 3, 8, 8))
    assert (content(files.params_path(prefix)), content(files.symbol_path(prefix))) == before
    assert len(os.listdir(str(tmp_path))) == 2


MOMENTS = ('replace', 'unlink', 'remove', 'link', 'fsync', 'open')


def moved_by_a_process_that_dies(source, target, calls):
    """Move a model in a child that is killed when it has made so many calls of the system; whether it was."""
    child = os.fork()
    if child == 0:
        made = []

        def counted(call):
            def run(*args, **kwargs):
                made.append(call)
                if len(made) > calls:
                    os.kill(os.getpid(), signal.SIGKILL)
                return call(*args, **kwargs)
            return run
        for name in MOMENTS:
            setattr(os, name, counted(getattr(os, name)))
        shutil.copyfile = counted(shutil.copyfile)
        try:
            files.move(source, target)
            os._exit(0)
        finally:
            os._exit(1)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL)
    return status != 0


@pytest.mark.parametrize('links', [True, False])
def test_killed_between_any_two_calls_leaves_the_old_model_or_the_new(links, tmp_path, request):
    """Also where the export before was killed, and nobody has tidied up in between."""
    if not links:
        request.getfixturevalue('no_links')
    prefix, x = exported(tmp_path), random((2, 3, 8, 8))
    os.mkdir(str(tmp_path / 'new'))
    net, candidate = small_net(), str(tmp_path / 'new' / 'net')
    net[2].conv.weight.set_data(-net[2].conv.weight.data())
    bmx.export(net, candidate, (1, 3, 8, 8))
    answers = {'old': deploy.load(prefix)[0](x).asnumpy(), 'new': own(net, x)}
    seen, calls, killed = [], 0, True
    while killed:
        source = str(tmp_path / 'new' / 'candidate')
        for path in (files.params_path, files.symbol_path):
            shutil.copy(path(candidate), path(source))
        killed = moved_by_a_process_that_dies(source, prefix, calls)
        found = deploy.load(prefix)[0](x).asnumpy()
        seen += [name for name, answer in answers.items() if np.array_equal(found, answer)]
        calls += 1
        assert len(seen) == calls
    assert seen[0] == 'old' and seen[-1] == 'new' and calls > 8
    assert sorted(os.listdir(str(tmp_path))) == ['net-0000.params', 'net-symbol.json', 'new']


def test_two_exports_at_once_and_one_who_loads(tmp_path):
    prefix, x = exported(tmp_path), random((2, 3, 8, 8))
    net, other, children = small_net(), str(tmp_path / 'other'), []
    net[2].conv.weight.set_data(-net[2].conv.weight.data())
    bmx.export(net, other, (1, 3, 8, 8))
    answers = [deploy.load(path)[0](x).asnumpy() for path in (prefix, other)]
    for path in (prefix, other):
        for kept in (files.params_path, files.symbol_path):
            shutil.copy(kept(path), kept(path + '-kept'))
    for path in (prefix, other):
        children.append(os.fork())
        if not children[-1]:
            try:
                while True:
                    for kept in (files.params_path, files.symbol_path):
                        shutil.copy(kept(path + '-kept'), kept(path + '-next'))
                    files.move(path + '-next', prefix)
            finally:
                os._exit(1)
    try:
        found = [deploy.load(prefix)[0](x).asnumpy() for _ in range(60)]
        assert [os.waitpid(child, os.WNOHANG) for child in children] == [(0, 0)] * 2  # nobody failed
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    seen = {index for each in found for index, answer in enumerate(answers) if np.array_equal(each, answer)}
    assert seen == {0, 1} and all(any(np.array_equal(each, answer) for answer in answers) for each in found)


def test_leftovers_of_this_model_go_those_in_use_stay(tmp_path):
    names = ['.partial-net-killed00', '.partial-net-working0', '.partial-net2-killed00', '.partial-other']
    for name in names:
        os.mkdir(str(tmp_path / name))
        write(str(tmp_path / name / 'model-0000.params'), b'part')
    working = os.open(str(tmp_path / names[1]), os.O_RDONLY)
    fcntl.flock(working, fcntl.LOCK_EX)
    exported(tmp_path)
    os.close(working)
    assert sorted(os.listdir(str(tmp_path))) == names[1:] + ['net-0000.params', 'net-symbol.json']


def test_a_model_in_a_folder_without_write_permission_loads_after_a_killed_export(tmp_path):
    prefix, other = exported(tmp_path), str(tmp_path / 'other')
    net = small_net()
    net[2].conv.weight.set_data(-net[2].conv.weight.data())
    bmx.export(net, other, (1, 3, 8, 8))
    os.rename(files.params_path(prefix), files._backup_path(prefix))  # between the two renames
    os.rename(files.params_path(other), files.params_path(prefix))
    names = sorted(os.listdir(str(tmp_path)))
    assert np.array_equal(deploy.load(prefix)[0](random((2, 3, 8, 8))).asnumpy(),
                          own(small_net(), random((2, 3, 8, 8))))
    assert sorted(os.listdir(str(tmp_path))) == names


def test_what_is_not_read_back_as_it_was_written_replaces_nothing(tmp_path, monkeypatch):
    prefix = exported(tmp_path)
    before = content(files.params_path(prefix)), content(files.symbol_path(prefix))
    flush = os.fsync

    def cut(handle):  # as a disk that is full and does not say so
        os.ftruncate(handle, max(0, os.fstat(handle).st_size - 40))
        flush(handle)
    monkeypatch.setattr(os, 'fsync', cut)
    with pytest.raises(OSError, match='read back is not what was written.*nothing was') as caught:
        bmx.export(small_net(), prefix, (1, 3, 8, 8))
    assert 'partial' not in str(caught.value)
    assert (content(files.params_path(prefix)), content(files.symbol_path(prefix))) == before
    assert len(os.listdir(str(tmp_path))) == 2
