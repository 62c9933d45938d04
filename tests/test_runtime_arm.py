"""The runtime on ARM gives the bits that MXNet gives here: compiled for it, run by QEMU. Compiling takes minutes."""
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import mxnet as mx
import numpy as np
import pytest

from helpers import RUNTIME
from test_runtime import NETWORKS, export

BUILD = RUNTIME.parent / 'build' / 'test-runtime-arm'  # kept: what did not change is not compiled again
IMAGES = 3
# Of the toolchain file, which names the compiler, too, the emulator.
TARGETS = {'aarch64-linux-gnu': 'qemu-aarch64', 'arm-linux-gnueabihf': 'qemu-arm'}

pytestmark = pytest.mark.full


def run(*command):
    done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope='module', params=TARGETS)
def scores(request):
    """A function that returns what bmx_scores prints, of every kernel the same."""
    target, emulator = request.param, TARGETS[request.param]
    missing = [tool for tool in ('cmake', f'{target}-g++', emulator) if shutil.which(tool) is None]
    if missing:
        pytest.skip(f'needs {" and ".join(missing)}')
    build = BUILD / target
    run('cmake', '-S', RUNTIME, '-B', build, f'-DCMAKE_TOOLCHAIN_FILE=cmake/{target}.cmake')
    run('cmake', '--build', build, '--parallel', os.cpu_count(), '--target', 'bmx_scores')
    return lambda prefix: run(emulator, '-L', Path('/usr') / target, build / 'tests' / 'bmx_scores', prefix, IMAGES)


def hashed(shape):
    """The images of runtime/tests/scores.h."""
    bits = np.arange(np.prod(shape), dtype=np.uint32) * np.uint32(2654435761)
    bits = (bits ^ bits >> np.uint32(15)) * np.uint32(2246822519)
    return (bits >> np.uint32(8)).astype(np.float32).reshape(shape) / np.float32(2 ** 23) - np.float32(1)


@pytest.mark.parametrize('name', NETWORKS)
def test_the_bits_of_mxnet(name, scores, tmp_path):
    """For every kernel, alone and in a batch, with one thread and two."""
    make, shape, _ = NETWORKS[name]
    deployed = export(make(), str(tmp_path / 'net'), shape)
    expected = deployed(mx.nd.array(hashed((IMAGES, *shape)))).asnumpy()
    assert scores(tmp_path / 'net').split() == [hashlib.sha256(row.tobytes()).hexdigest() for row in expected]
