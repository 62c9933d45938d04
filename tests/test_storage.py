"""Files are written whole or not at all, on a disk that is full at any page too; parameters from Python's paths."""
import contextlib
import os
import resource
import subprocess
import sys

import mxnet as mx
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from mxnet import gluon

import bmx
from bmx.io import formats, storage
from bmx.io.description import description_path, read_description, write_description

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PAGE = resource.getpagesize()


def arrays(scale=1.0):
    random = np.random.RandomState(0)
    return {'0.weight': mx.nd.array(scale * random.normal(size=(50, 3, 11))), 'é': mx.nd.zeros((1,), dtype='uint8'),
            'packed': mx.nd.array(random.randint(255, size=(70, 97)), dtype='uint8')}


def picture(path, text):
    figure = Figure()
    FigureCanvasAgg(figure)
    figure.suptitle(text)
    formats.save_picture(path, figure)


# Every way that the package writes a file: its name, and functions of the path that write an old and a new content.
WRITERS = {
    'a.params': (lambda path: storage.save_arrays(path, arrays()), lambda path: storage.save_arrays(path, arrays(2.0))),
    'a.json': (lambda path: formats.write_json(path, list(range(1000))),
               lambda path: formats.write_json(path, list(range(2000)))),
    'a.csv': (lambda path: formats.write_csv(path, [{'a': 1, 'é': 2.5}]),
              lambda path: formats.write_csv(path, [{'a': 1, 'é': 2.5}] * 1500)),
    'a.png': (lambda path: picture(path, 'old'), lambda path: picture(path, 'new')),
    'a.svg': (lambda path: picture(path, 'old'), lambda path: picture(path, 'new')),
    'a.pdf': (lambda path: picture(path, 'old'), lambda path: picture(path, 'new')),
}


def rooms(size):
    """Sizes at which the disk is full: at every page of a few, and within the first and the last."""
    pages = list(range(0, size, PAGE))
    return sorted({*pages[::-(-len(pages) // 6)], pages[-1], 1, size - 100, size - 1})


@contextlib.contextmanager
def limit(size):
    """Inside, no file can exceed a size, as if the disk were full there; nor can the one that pytest writes to."""
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))


def replacement(path):
    """What writes the new content of a file, its size, and the old content, which is there now."""
    write_old, write_new = WRITERS[os.path.basename(path)]
    write_new(path)
    size = os.path.getsize(path)
    write_old(path)
    with open(path, 'rb') as content:
        return write_new, size, content.read()


@pytest.mark.parametrize('name', WRITERS)
def test_full_at_every_page(tmp_path, name):
    path = str(tmp_path / name)
    write_new, size, old = replacement(path)
    for room in rooms(size):
        with limit(room), pytest.raises(OSError, match=f"File too large: '{path}'"):
            write_new(path)
        with open(path, 'rb') as content:
            assert content.read() == old, room
        assert os.listdir(str(tmp_path)) == [name]
    with limit(size):
        write_new(path)
    assert os.path.getsize(path) == size


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MiB; only root can have it."""
    folder = tmp_path / 'disk'
    folder.mkdir()
    if os.geteuid() or subprocess.call(['mount', '-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', str(folder)],
                                       stderr=subprocess.DEVNULL):
        pytest.skip('no file system can be mounted')
    yield folder
    subprocess.check_call(['umount', '-l', str(folder)])


@pytest.mark.parametrize('name', WRITERS)
def test_full_disk(small_disk, name):
    path = str(small_disk / name)
    write_new, size, old = replacement(path)
    for pages in sorted({room // PAGE for room in rooms(size)}):
        with open(str(small_disk / 'fill'), 'wb') as fill:
            free = os.statvfs(str(small_disk))
            fill.write(bytes(free.f_bavail * free.f_frsize - pages * PAGE))
        with pytest.raises(OSError, match=f"No space left on device: '{path}'"):
            write_new(path)
        os.unlink(str(small_disk / 'fill'))
        with open(path, 'rb') as content:
            assert content.read() == old, pages
        assert os.listdir(str(small_disk)) == [name]


def test_arrays_are_written_as_mxnet_writes_them(tmp_path):
    content = {dtype: mx.nd.array(np.arange(24).reshape(shape), dtype=dtype) for dtype, shape in (
        ('float32', (2, 3, 4)), ('float16', (24,)), ('float64', (1, 24)), ('uint8', (4, 6)), ('int8', (6, 4)),
        ('int32', (2, 12)), ('int64', (3, 8)))}
    for arrays_ in (content, {}, {'über.weight': mx.nd.ones((1,))}):
        written = storage.save_arrays(str(tmp_path / 'ours'), arrays_)
        mx.nd.save(str(tmp_path / 'theirs'), arrays_)
        assert (tmp_path / 'ours').read_bytes() == (tmp_path / 'theirs').read_bytes()
        assert written == storage.digest(str(tmp_path / 'theirs'))


def test_what_is_read_back_is_compared(tmp_path, monkeypatch):
    path = tmp_path / 'file'
    path.write_bytes(b'old')
    monkeypatch.setattr(storage, 'digest', lambda path: 'another')
    with pytest.raises(OSError, match='what was read back is not what was written: .*file'):
        storage.write_file(str(path), [b'new'])
    assert path.read_bytes() == b'old' and os.listdir(str(tmp_path)) == ['file']


def test_an_error_in_the_content_changes_nothing(tmp_path):
    path = tmp_path / 'file'
    path.write_bytes(b'old')

    def blocks():
        yield b'new'
        raise RuntimeError
    with pytest.raises(RuntimeError):
        storage.write_file(str(path), blocks())
    assert path.read_bytes() == b'old' and os.listdir(str(tmp_path)) == ['file']


def test_what_killed_writers_left_is_removed(tmp_path):
    others = ['.partial-other-abcdefgh', '.partial-file', 'file-abcdefgh']
    for name in others + ['.partial-file-abcdefgh']:
        (tmp_path / name).touch()

    def blocks():  # another process writes the same file meanwhile
        storage.write_file(str(tmp_path / 'file'), [b'other'])
        yield b'new'
    storage.write_file(str(tmp_path / 'file'), blocks())
    assert (tmp_path / 'file').read_bytes() == b'new'
    assert sorted(os.listdir(str(tmp_path))) == sorted(others + ['file'])


def test_links_and_devices_stay(tmp_path):
    (tmp_path / 'file').write_bytes(b'old')
    (tmp_path / 'link').symlink_to(tmp_path / 'file')
    storage.write_file(tmp_path / 'link', [b'new'])
    assert (tmp_path / 'link').is_symlink() and (tmp_path / 'file').read_bytes() == b'new'
    os.mkfifo(str(tmp_path / 'pipe'))
    reader = os.open(str(tmp_path / 'pipe'), os.O_RDONLY | os.O_NONBLOCK)
    storage.write_file(str(tmp_path / 'pipe'), [b'new'])
    assert os.read(reader, 10) == b'new'
    os.close(reader)
    program = (f"import sys; sys.path.insert(0, {ROOT!r}); from bmx.io import formats; "
               "formats.write_json('/dev/stdout', [1])")
    assert subprocess.check_output([sys.executable, '-W', 'ignore', '-c', program]) == b'[\n 1\n]'
    with pytest.raises(OSError, match='No space left on device'):
        formats.write_json('/dev/full', [])


def test_output_on_a_full_disk_is_one_line():
    with open('/dev/full', 'w') as full:
        done = subprocess.run([sys.executable, '-W', 'ignore', '-m', 'bmx', 'summary', 'nin_binary', '--json'],
                              stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (1, 'bmx summary: [Errno 28] No space left on device\n')


# Parameters -----------------------------------------------------------------------------------------------------------

def shared():
    """A network of two layers with one weight, and a third."""
    net = gluon.nn.HybridSequential()
    first = bmx.nn.QDense(4, in_units=4)
    net.add(first, bmx.nn.QDense(4, in_units=4, params=first.params), gluon.nn.Dense(3, in_units=4))
    return net


@pytest.mark.parametrize('deduplicate', [False, True])
def test_shared_parameters(tmp_path, deduplicate):
    net, again = shared(), shared()
    net.initialize(mx.init.Normal(1))
    path = tmp_path / 'net.params'
    net.save_parameters(str(path), deduplicate=deduplicate)
    bmx.load_parameters(again, path)
    x = mx.nd.random.normal(shape=(5, 4))
    assert (net(x) == again(x)).asnumpy().all()
    assert again[0].weight is again[1].weight


@pytest.mark.parametrize('change, message', [
    (lambda content: content.pop('2.bias'), r'1 of its 6 parameters are missing \(2.bias, ...\), 0 are unknown'),
    (lambda content: [content.pop(name) for name in ('0.weight', '1.weight')],
     r'2 of its 6 parameters are missing \(0.weight'),
    (lambda content: content.update(other=mx.nd.ones((1,))), r'0 of .* missing, 1 are unknown \(other, ...\)'),
    (lambda content: content.update({'2.bias': mx.nd.ones((4,))}),
     r'parameter 2.bias has shape \(4,\), .* wants \(3,\)'),
])
def test_parameters_of_another_network(tmp_path, change, message):
    net = shared()
    net.initialize()
    content = storage.parameter_arrays(net)
    change(content)
    storage.save_arrays(tmp_path / 'net.params', content)
    with pytest.raises(bmx.LoadError, match=message):
        bmx.load_parameters(shared(), tmp_path / 'net.params')


def test_paths_of_pathlib(tmp_path):
    net = bmx.get_model('meliusnet22', classes=3, stem='thumbnail', blocks=(1, 1), reductions=(0.5,))
    params = tmp_path / 'net.params'
    write_description(params, net, ['a', 'b', 'c'], {'size': [8, 8], 'crop_ratio': 1.0, 'mean': [0, 0, 0],
                                                     'std': [1, 1, 1]})
    assert description_path(params) == str(tmp_path / 'net.json')
    assert read_description(params).classes == ['a', 'b', 'c']
    picture(tmp_path / 'a.png', 'title')
    formats.refuse_picture(tmp_path / 'b.png')
    assert storage.digest(params.with_suffix('.json')) == storage.digest(str(tmp_path / 'net.json'))
    with pytest.raises(FileNotFoundError, match='parameter file .*net.params does not exist'):
        bmx.load_parameters(net, params)


@pytest.mark.parametrize('before, mask, mode', [(None, 0o022, 0o644), (None, 0o077, 0o600), (0o600, 0o022, 0o600)])
def test_permissions(tmp_path, before, mask, mode):
    path = tmp_path / 'a.json'
    if before is not None:
        path.write_text('')
        path.chmod(before)
    usual = os.umask(mask)
    try:
        storage.write_file(path, [b'{}'])
    finally:
        os.umask(usual)
    assert path.stat().st_mode & 0o777 == mode
