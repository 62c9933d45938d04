"""What holds before any computing: the Python, the NumPy, the library of a clone, and what an import brings along."""
import os
import re
import runpy
import shutil
import subprocess
import sys

import pytest

import bmx
from bmx.ops.library import fingerprint

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SOURCES = os.path.join(ROOT, 'bmx', 'ops', 'src')


def run(code, directory=ROOT, **variables):
    """A process of this Python that runs code in a directory: exit code, last line of its output, of its errors."""
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], cwd=str(directory), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, env=dict(os.environ, **variables))
    return (done.returncode, *((text.decode().strip().splitlines() or [''])[-1] for text in (done.stdout, done.stderr)))


# Imports --------------------------------------------------------------------------------------------------------------

def test_import_brings_only_what_mxnet_does():
    code, loaded, _ = run('import mxnet, sys; before = set(sys.modules); import bmx\n'
                          'print(sorted({name.split(".")[0] for name in set(sys.modules) - before}))')
    assert code == 0 and 'bmx' in loaded
    assert not [name for name in ('gluoncv', 'matplotlib', 'sklearn', 'pandas', 'scipy', 'requests', 'tqdm')
                if repr(name) in loaded]


@pytest.mark.parametrize('order', ['bmx, gluoncv', 'gluoncv, bmx', 'bmx, gluoncv.model_zoo'])
def test_gluoncv_knows_the_models(order):
    """Pillow stays strict, unless GluonCV was there first."""
    code, found, errors = run(f'import {order}; from PIL import ImageFile\n'
                              'print(gluoncv.model_zoo.get_model("meliusnet29", classes=5).model_name, '
                              'ImageFile.LOAD_TRUNCATED_IMAGES)')
    assert (code, found) == (0, f'meliusnet29 {order.startswith("gluoncv")}'), errors


# NumPy and Python -----------------------------------------------------------------------------------------------------

def test_numpy_that_mxnet_cannot_import(tmp_path):
    for name, text in (('mxnet', 'import numpy\nnumpy.bool'), ('numpy', '__version__ = "1.26.4"')):
        (tmp_path / (name + '.py')).write_text(text)
    code, _, error = run('import bmx', PYTHONPATH=str(tmp_path))
    assert code == 1 and 'cannot be imported with NumPy 1.26.4' in error and "pip install 'numpy<1.24'" in error


def test_other_errors_of_mxnet_stay(tmp_path):
    (tmp_path / 'mxnet.py').write_text('raise ImportError("libfoo.so is missing")')
    assert run('import bmx', PYTHONPATH=str(tmp_path)) == (1, '', 'ImportError: libfoo.so is missing')


@pytest.fixture
def find_python(tmp_path, monkeypatch):
    """`find_python.py` in a Python 3.13; PATH has one 3.11 that does not start and one 3.9 that does."""
    for name, status in (('python3.11', 127), ('python3.9', 0), ('python3.12', 0)):
        (tmp_path / name).write_text(f'#!/bin/sh\nexit {status}\n')
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv('PATH', str(tmp_path))
    monkeypatch.setattr(sys, 'version_info', (3, 13, 0))
    return runpy.run_path(os.path.join(ROOT, 'find_python.py'))


def test_python_that_mxnet_cannot_run_on(find_python, tmp_path, monkeypatch):
    with pytest.raises(SystemExit, match=rf'on Python 3\.8 to 3\.11, and .* is 3\.13: .* '
                                         rf'{tmp_path}/python3\.9 would do'):
        find_python['say_what_is_needed']()
    monkeypatch.setenv('PATH', '')
    with pytest.raises(SystemExit, match='PATH has none of these'):
        find_python['say_what_is_needed']()


def test_another_python_is_found(find_python, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['find_python.py', '--any'])
    find_python['main']()
    out, err = capsys.readouterr()
    assert out == f'{tmp_path}/python3.9\n' and f'using {tmp_path}/python3.9' in err


def test_the_source_distribution_holds_what_its_documents_link(tmp_path):
    done = subprocess.run([sys.executable, '-W', 'ignore', 'setup.py', '-q', 'egg_info', '--egg-base', str(tmp_path)],
                          cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout.decode()
    metadata, = tmp_path.glob('*.egg-info')  # an old setuptools does not read the package's name
    held = set((metadata / 'SOURCES.txt').read_text().splitlines())
    documents = [path for path in held if path.endswith('.md')]
    assert {'README.md', 'docs/semantics.md'} < set(documents)
    linked = {(path, os.path.normpath(os.path.join(os.path.dirname(path), target)))
              for path in documents for target in re.findall(r'\]\(([^)#\s]+)', open(os.path.join(ROOT, path)).read())
              if not re.match(r'\w+:', target)}
    assert sorted(link for link in linked if link[1] not in held) == []
    assert not [path for path in held if path.endswith(('.pyc', '.so'))]


@pytest.mark.parametrize('version', ['3.12', '3.13'])
def test_setup_says_which_python_it_needs(version):
    python = shutil.which('python' + version)
    if python is None or subprocess.run([python, '--version'], stderr=subprocess.DEVNULL).returncode:
        pytest.skip('no python' + version)
    done = subprocess.run([python, 'setup.py', '--version'], cwd=ROOT, stderr=subprocess.PIPE, timeout=5)
    assert done.returncode == 1
    assert re.fullmatch(r'bmx: MXNet .* runs on Python 3\.8 to 3\.11, .*\n', done.stderr.decode())


# The library of a clone -----------------------------------------------------------------------------------------------

@pytest.fixture
def clone(tmp_path):
    """A clone without the library, beside an empty folder for an installed package."""
    shutil.copytree(os.path.join(ROOT, 'bmx'), str(tmp_path / 'clone' / 'bmx'),
                    ignore=shutil.ignore_patterns('*.so', '__pycache__'))
    os.symlink(os.path.join(ROOT, 'models'), str(tmp_path / 'clone' / 'models'))
    (tmp_path / 'installed' / 'bmx' / 'ops').mkdir(parents=True)
    return tmp_path


def library(clone, where, content):
    path = clone / where / 'bmx' / 'ops' / 'libbmx.so'
    path.write_text(content)
    return str(path)


@pytest.fixture
def find_library(clone, monkeypatch):
    monkeypatch.setattr(sys, 'path', [str(clone / 'installed')])
    return runpy.run_path(str(clone / 'clone' / 'bmx' / 'ops' / 'library.py'))['find_library']


def test_the_library_is_of_these_sources():
    with open(bmx.ops.library_path(), 'rb') as stream:
        assert fingerprint().encode() in stream.read()


def test_fingerprints_differ(clone):
    sources = clone / 'clone' / 'bmx' / 'ops' / 'src'
    assert fingerprint(sources) == fingerprint()
    (sources / 'error.h').write_text('')
    changed = fingerprint(sources)
    (sources / 'error.h').rename(sources / 'mistake.h')
    assert len({fingerprint(), changed, fingerprint(sources)}) == 3


def test_own_library_before_an_installed_one(clone, find_library):
    installed = library(clone, 'installed', fingerprint())
    assert find_library() == installed
    own = library(clone, 'clone', fingerprint())
    assert find_library() == own
    library(clone, 'clone', 'stale')
    assert find_library() == installed


def test_no_library_that_fits(clone, find_library):
    remedies = rf'in {clone / "clone"} run `\S+ -m pip install \.` or `\S+ setup\.py build_ext --inplace`'
    with pytest.raises(ImportError, match=r'clone/bmx/ops/libbmx\.so is missing: ' + remedies):
        find_library()
    library(clone, 'clone', 'stale')
    library(clone, 'installed', 'stale, too')
    with pytest.raises(ImportError, match='clone/.* and .*installed/.* was made of other C.. sources: ' + remedies):
        find_library()


def test_an_installed_package_takes_its_own(clone, find_library):
    shutil.rmtree(str(clone / 'clone' / 'bmx' / 'ops' / 'src'))
    library(clone, 'installed', fingerprint())
    with pytest.raises(ImportError, match='is missing: install bmx again'):
        find_library()
    own = library(clone, 'clone', 'anything')
    assert find_library() == own


def test_a_clone_runs_with_an_installed_library(clone):
    installed = str(clone / 'installed')
    shutil.copy(bmx.ops.library_path(), os.path.join(installed, 'bmx', 'ops'))
    code, found, errors = run('import sys, bmx; print(bmx.__file__, bmx.models.__file__, bmx.ops.library_path())',
                              clone / 'clone', PYTHONPATH=installed)
    own = str(clone / 'clone')
    assert (code, found) == (0, ' '.join([own + '/bmx/__init__.py', own + '/models/__init__.py',
                                          installed + '/bmx/ops/libbmx.so'])), errors


# The version ----------------------------------------------------------------------------------------------------------

def test_version(capsys):
    from bmx.cli import main
    with pytest.raises(SystemExit):
        main(['--version'])
    assert capsys.readouterr().out == f'bmx {bmx.__version__}\n'


def test_changelog_speaks_of_versions():
    with open(os.path.join(ROOT, 'CHANGELOG.md')) as stream:
        headings = [line[3:].rstrip('\n') for line in stream if line.startswith('## ')]
    if headings[0] == 'Unreleased':  # the version in the making
        del headings[0]
    versions = [re.fullmatch(r'(\d+)\.(\d+)\.(\d+)( \([^)]*\))?', heading) for heading in headings]
    assert all(versions), headings
    numbers = [tuple(map(int, version.groups()[:3])) for version in versions]
    assert numbers == sorted(numbers, reverse=True)
    assert bmx.__version__ in ['.'.join(map(str, number)) for number in numbers]
