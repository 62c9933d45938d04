"""The command bmx-run prints what `bmx predict` prints, of images of all kinds."""
import io
import json
import subprocess

import numpy as np
import pytest
from PIL import Image

import bmx
from bmx import cli
from helpers import build_runtime, small_net

VIEW = {'size': [8, 8], 'crop_ratio': 0.875, 'mean': [0.485, 0.456, 0.406], 'std': [0.229, 0.224, 0.225]}
CLASSES = ['tench', 'ä 鱼', '\x1b[31m\n', '"quoted"']


@pytest.fixture(scope='module')
def bmx_run():
    """A function that runs the command: from arguments to the exit code and the texts of both outputs."""
    command = build_runtime('bmx_run') / 'bmx_run' / 'bmx-run'

    def run(*arguments):
        done = subprocess.run([str(command), *map(str, arguments)], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE)
        return done.returncode, done.stdout.decode(), done.stderr.decode()
    return run


@pytest.fixture(scope='module')
def prefix(tmp_path_factory):
    prefix, net = str(tmp_path_factory.mktemp('model') / 'net'), small_net()
    for parameter in net[-1].collect_params().values():
        parameter.set_data(parameter.data() / 20)  # several classes are likely
    bmx.export(net, prefix, (1, 3, 8, 8), classes=CLASSES, preprocess=VIEW)
    return prefix


def noise(mode, shape=(23, 37), seed=0):
    values = np.random.RandomState(seed).randint(0, 256, (*shape, 3)).astype(np.uint8)
    return Image.fromarray(values).convert(mode)


def encoded(image, format, **options):
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def turned(format, orientation, order='MM'):
    """An image whose EXIF notes an orientation, behind another entry."""
    exif = (b'MM\0*\0\0\0\x08\0\x02\x01\x0f\0\x03\0\0\0\x01\0\x05\0\0\x01\x12\0\x03\0\0\0\x01\0' + bytes([orientation])
            + bytes(6)) if order == 'MM' else (
        b'II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0' + bytes([orientation]) + bytes(7))
    return encoded(noise('RGB', (20, 33)), format, exif=b'Exif\0\0' + exif)


def gray16(maximum=65535):
    values = np.random.RandomState(3).randint(0, maximum + 1, (20, 30)).astype('>u2')
    return b'P5\n30 20\n%d\n' % maximum + values.tobytes()


FILES = {
    'JPEG': {**{f'turned {how}': turned('JPEG', how, 'II' if how % 2 else 'MM') for how in range(10)},
             **{f'{mode}{subsampling}{progressive}': encoded(noise(mode), 'JPEG', subsampling=subsampling,
                                                             progressive=progressive)
                for mode in ('RGB', 'L', 'CMYK') for subsampling in (0, 1, 2) for progressive in (False, True)}},
    'PNG': {**{f'turned {how}': turned('PNG', how) for how in range(1, 9)},
            **{mode: encoded(noise(mode), 'PNG') for mode in ('1', 'L', 'LA', 'P', 'RGB', 'RGBA')},
            'few colours': encoded(noise('RGB').quantize(5), 'PNG', bits=4, transparency=1),
            '16 bits': encoded(Image.fromarray(np.arange(0, 65536, 64, dtype=np.uint16).reshape(32, 32)), 'PNG')},
    'PPM': {'RGB': encoded(noise('RGB'), 'PPM'), 'tall': encoded(noise('RGB', (120, 20)), 'PPM'),
            'wide': encoded(noise('RGB', (3, 200)), 'PPM'),
            'levels': b'P6 # a comment\n2 2 99\n' + bytes(range(90, 102)),
            '16 bits of colour': b'P6 2 2 60000\n' + bytes(range(0, 240, 10))},
    'PGM': {'L': encoded(noise('L'), 'PPM'), '16 bits': gray16(), '12 bits': gray16(4095)},
}


def write(folder, files):
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return [str(folder / name) for name in files]


def predict(capsys, *arguments):
    code = cli.main(['predict', *arguments])
    return code, capsys.readouterr().out


@pytest.mark.parametrize('format', FILES)
def test_the_guesses_of_bmx_predict(format, bmx_run, prefix, tmp_path, capsys):
    if f' {format}' not in bmx_run('--help')[1].partition('Formats of images:')[2]:
        pytest.skip(f'bmx-run was built without {format}')
    paths = write(tmp_path, FILES[format])
    assert bmx_run(prefix, *paths) == (*predict(capsys, prefix, *paths), '')
    code, found, _ = bmx_run('--json', prefix, *paths)
    expected, rows = json.loads(predict(capsys, '--json', prefix, *paths)[1]), json.loads(found)
    assert code == 0 and found == json.dumps(rows, indent=1) + '\n'
    for row, wanted in zip(rows, expected):
        assert row['image'] == wanted['image'] and len(row['top']) == len(wanted['top'])
        for guess, other in zip(row['top'], wanted['top']):
            assert guess['class'] == other['class']
            assert guess['probability'] == pytest.approx(other['probability'], rel=3e-6)  # another exp


def test_images_that_cannot_be_read(bmx_run, prefix, tmp_path, capsys):
    """Each is told of by name, the others are classified all the same."""
    whole = {'whole.ppm': FILES['PPM']['RGB']}
    files = {'empty.jpg': b'', 'short.ppm': FILES['PPM']['RGB'][:-1], 'huge.ppm': b'P6 1000000 1000000 255\n',
             'short.jpg': FILES['JPEG']['RGB0False'][:-2], 'short.png': FILES['PNG']['RGB'][:-30], 'a.gif': b'GIF89a'}
    paths = [*write(tmp_path, files), str(tmp_path / 'missing\x1b.jpg'), str(tmp_path)]
    last = write(tmp_path, whole)
    code, out, complaints = bmx_run(prefix, *paths, *last)
    assert code == 1 and out == predict(capsys, prefix, *last)[1]
    lines = complaints.splitlines()
    assert len(lines) == len(paths)
    for line, path in zip(lines, paths):
        assert line.startswith('bmx-run: ') and path.replace('\x1b', r'\x1b') in line
    assert bmx_run('--json', prefix, *paths)[:2] == (1, '[]\n')


def test_latency(bmx_run, prefix, tmp_path):
    path, = write(tmp_path, {'a.ppm': FILES['PPM']['RGB']})
    code, out, _ = bmx_run('--bench', '--json', '--threads', 2, '--kernel', 'portable', prefix, path)
    row = json.loads(out)
    assert code == 0 and row['input_shape'] == [1, 3, 8, 8] and out == json.dumps(row, indent=1) + '\n'
    assert (row['threads'], row['kernel']) == (2, 'portable') and row['runs'] >= 20
    assert 0 < row['min_ms'] <= row['median_ms'] <= row['p99_ms']


def test_exit_codes(bmx_run, prefix):
    assert bmx_run('--version')[:2] == (0, f'bmx-run {bmx.__version__}\n')
    for arguments in ([], [prefix], ['--fast', prefix, 'a.jpg'], ['--threads', '-1', prefix, 'a.jpg'],
                      ['--kernel', 'none', prefix, 'a.jpg'], ['--kernel', '', prefix, 'a.jpg']):
        code, out, complaint = bmx_run(*arguments)
        assert (code, out) == (2, '') and complaint.startswith('bmx-run: ') and '--help' in complaint
    code, out, complaint = bmx_run(prefix + '-none', 'a.jpg')
    assert (code, out) == (1, '') and prefix + '-none-symbol.json' in complaint
