"""The C++ tests in tests/native, and that the library runs on any CPU."""
import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from bmx import ops

FOLDER = Path(__file__).resolve().parent / 'native'


def run_make(target, *tools):
    missing = [tool for tool in ('make',) + tools if shutil.which(tool) is None]
    if missing:
        pytest.skip('needs {}'.format(' and '.join(missing)))
    result = subprocess.run(['make', '-s', '-j{}'.format(os.cpu_count()), '-C', str(FOLDER), target],
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
    assert result.returncode == 0, result.stdout
    print(result.stdout)


def test_kernels():
    run_make('plain', os.environ.get('CXX', 'g++').split()[0])


def test_neon():
    run_make('neon', 'aarch64-linux-gnu-g++', 'qemu-aarch64')


def lines_of(*command):
    return subprocess.run(command, stdout=subprocess.PIPE, universal_newlines=True, check=True).stdout.splitlines()


def functions_by_address(library):
    """address: (file of a function that is local to it, else None; name)."""
    functions, file = {}, None
    for line in lines_of('readelf', '--symbols', '--wide', library):
        fields = line.split()
        if len(fields) == 8 and fields[3] == 'FILE':
            file = fields[7]
        elif len(fields) == 8 and fields[3] == 'FUNC':
            functions[int(fields[1], 16)] = (file if fields[4] == 'LOCAL' else None, fields[7])
    return functions


@pytest.mark.skipif(platform.machine() != 'x86_64', reason='x86-64 only')
@pytest.mark.skipif(not shutil.which('objdump') or not shutil.which('readelf'), reason='needs objdump and readelf')
def test_only_kernels_use_more_than_any_cpu_has():
    """Of an inline function the linker keeps one copy for all files: one with AVX would crash a CPU that lacks it."""
    functions = functions_by_address(ops.library_path())
    wrong, found, function = set(), 0, (None, '?')
    for line in lines_of('objdump', '--disassemble', '--no-show-raw-insn', ops.library_path()):
        start = re.match(r'([0-9a-f]+) <.*>:$', line)
        if start:
            function = functions.get(int(start.group(1), 16), (None, line))
        elif re.search(r'\tv\w+ .*%[xyz]mm|\ttile|\ttdp', line):  # VEX, EVEX
            file, name = function
            found += 1
            in_kernel = file is not None and file.startswith('kernel_')
            if not in_kernel and not re.search(r'\.(avx|arch_)', name):  # a clone that is chosen at run time
                wrong.add(name)
    assert not wrong
    assert found
