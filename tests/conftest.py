import os

import pytest

from bmx import ops

os.environ.setdefault('MPLBACKEND', 'Agg')  # no test opens a window


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
