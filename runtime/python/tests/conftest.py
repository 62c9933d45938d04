import json
import os

import pytest

import bmx_runtime

DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'data')


def prefix(name):
    return os.path.join(DATA, name)


@pytest.fixture(scope='session')
def expected():
    """What MXNet answers, see make_data.py."""
    with open(os.path.join(DATA, 'expected.json')) as stream:
        return json.load(stream)


@pytest.fixture
def classifier():
    return bmx_runtime.Model(prefix('classifier'))
