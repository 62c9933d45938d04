import os
import signal

import pytest

from bmx import ops

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


# A recipe file of two trainings of seconds, on the bundled digits.
TINY = '''
[DEFAULT]
model = meliusnet22
set =
    blocks=(1,1)
    reductions=(0.5,)
num-epochs = 2   # of digits

[comparisons]
rate = base, high

[base]
lr = 0.1
expected = 70
published = 1:50.5
    2:60

[high]
lr = 0.2
'''


@pytest.fixture
def recipe(tmp_path):
    """Writes a recipe file; returns its path."""
    def write(text=TINY):
        path = tmp_path / 'recipe.ini'
        path.write_text(text)
        return str(path)
    return write
