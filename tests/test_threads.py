import os
import subprocess
import sys

import pytest

from bmx.threads import physical_cores


@pytest.mark.parametrize('given, expected', [(None, str(physical_cores())), ('1', '1')])
def test_a_thread_for_each_core_unless_told_otherwise(given, expected):
    environment = {name: value for name, value in os.environ.items() if name != 'OMP_NUM_THREADS'}
    if given is not None:
        environment['OMP_NUM_THREADS'] = given
    script = 'import os, bmx; print(os.environ["OMP_NUM_THREADS"])'
    found = subprocess.run([sys.executable, '-W', 'ignore', '-c', script], env=environment, stdout=subprocess.PIPE)
    assert found.stdout.decode().split() == [expected]


@pytest.mark.parametrize('given, expected', [
    ({}, '20000'), ({'GOMP_SPINCOUNT': '7'}, '7'), ({'OMP_WAIT_POLICY': 'active'}, 'None')])
def test_threads_wait_briefly_unless_told_otherwise(given, expected):
    names = ('GOMP_SPINCOUNT', 'OMP_WAIT_POLICY')
    environment = {name: value for name, value in os.environ.items() if name not in names}
    script = 'import os, bmx; print(os.environ.get("GOMP_SPINCOUNT"))'
    found = subprocess.run([sys.executable, '-W', 'ignore', '-c', script], env=dict(environment, **given),
                           stdout=subprocess.PIPE)
    assert found.stdout.decode().split() == [expected]


def test_cores_are_at_most_the_processors():
    assert 1 <= physical_cores() <= len(os.sched_getaffinity(0))


def test_an_unknown_number_of_processors_is_one(monkeypatch):
    monkeypatch.delattr(os, 'sched_getaffinity')
    monkeypatch.setattr(os, 'cpu_count', lambda: None)
    assert physical_cores() == 1
