import importlib
import os
import shutil
import signal
import sys

import pytest

from bmx import ops
from bmx.models import MODELS
from helpers import RUNTIME, STUDY, build_runtime, tiny, write_folder

os.environ.setdefault('MPLBACKEND', 'Agg')  # no test opens a window


@pytest.fixture(scope='session', autouse=True)
def heard_signals():
    """Ctrl-C and the end of the terminal are heard, here and in processes of tests, in the background too."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGHUP)}
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if before[number] == signal.SIG_IGN:
            signal.signal(number, handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(params=ops.kernels())
def isa(request):
    """Each kernel of the table in turn; skips those that this CPU does not support."""
    before = ops.isa()
    try:
        ops.use_kernel(request.param)
    except ValueError as error:
        pytest.skip(str(error))
    yield request.param
    ops.use_kernel(before)


@pytest.fixture
def tiny_model(monkeypatch):
    """The model `tiny`; what trainings log ends with the test."""
    from bmx.train.progress import logger
    monkeypatch.setitem(MODELS, 'tiny', tiny)
    yield
    for handler in list(logger.handlers):  # they write to what pytest has captured for one test
        logger.removeHandler(handler)


@pytest.fixture
def folder(tmp_path):
    """A data set of 10 training and 6 validation images."""
    return str(write_folder(tmp_path / 'data', train=5, val=3))


@pytest.fixture
def no_pictures(monkeypatch):
    """Of a training: they take half a second each time."""
    from bmx.train import loop  # which most tests do without
    monkeypatch.setattr(loop, 'draw_curves', lambda *_: None)
    monkeypatch.setattr(loop.sign_flips, 'draw', lambda *_: None)


@pytest.fixture
def study(tmp_path):
    """Writes a study; returns its path."""
    def write(text=STUDY):
        path = tmp_path / 'study.ini'
        path.write_text(text)
        return str(path)
    return write


@pytest.fixture(scope='session')
def runtime(tmp_path_factory):
    """The module bmx_runtime, with a library of these sources."""
    library = build_runtime('bmx_shared') / 'libbmx.so'
    site = tmp_path_factory.mktemp('site')
    shutil.copytree(str(RUNTIME / 'python' / 'src' / 'bmx_runtime'), str(site / 'bmx_runtime'))
    shutil.copy(str(library), str(site / 'bmx_runtime'))
    sys.path.insert(0, str(site))
    yield importlib.import_module('bmx_runtime')
    sys.path.remove(str(site))
