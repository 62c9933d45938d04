"""A few cases of each fuzz target; `make fuzz` tries many."""
import os
import re
import subprocess
import sys

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FOLDER = os.path.join(ROOT, 'tests', 'fuzz')
TARGETS = sorted(name[:-3] for name in os.listdir(FOLDER)
                 if name.endswith('.py') and name not in ('__init__.py', '__main__.py', 'driver.py', 'commands.py'))


@pytest.mark.parametrize('target', TARGETS)
def test_few_cases(target):
    # In a process of its own: cases fork, which one that computes with several threads cannot.
    done = subprocess.run([sys.executable, '-W', 'ignore', '-m', 'tests.fuzz', target, '--quick'], cwd=ROOT,
                          timeout=600, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    assert int(re.search(r'(\d+) tried', done.stdout).group(1)) > 0, done.stdout


CRASHES = '''
ABOUT, QUICK, SECONDS, MEMORY = 'cases that go wrong', 5, 1, 1 << 32
def prepare(folder): pass
def attempt(state, random, folder):
    import os, time
    case = random.randint(5)
    if case == 0: os.abort()
    if case == 1: time.sleep(60)
    if case == 2: raise ValueError('as it happens')
    return {3: 'right', 4: 'clean error'}[case]
'''


def test_whatever_a_case_does_is_counted(tmp_path):
    sys.path.insert(0, ROOT)
    try:
        from tests.fuzz import driver
    finally:
        sys.path.remove(ROOT)
    import types
    target = types.ModuleType('crashes')
    exec(CRASHES, vars(target))
    import numpy as np
    seeds = {np.random.RandomState(seed).randint(5): seed for seed in range(30)}
    figures = driver.run(target, [seeds[case] for case in range(5)])
    assert (figures.right, figures.clean, figures.tried) == (1, 1, 5)
    assert [text.strip().splitlines()[-1] for _, text in figures.failures] == [
        'killed by signal 6', 'took longer than 1 s', 'ValueError: as it happens']
