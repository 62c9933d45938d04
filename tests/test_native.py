"""The C++ tests in tests/native, on some of their sizes (`make test-native`: all); that the library runs on any CPU."""
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
        pytest.skip(f'needs {" and ".join(missing)}')
    result = subprocess.run(['make', '-s', f'-j{os.cpu_count()}', '-C', str(FOLDER), target, 'THINNING=6'],
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert result.returncode == 0, result.stdout
    print(result.stdout)


def test_kernels():
    run_make('plain', os.environ.get('CXX', 'g++').split()[0])


def test_random_programs_with_sanitizers():
    run_make('fuzz-few', os.environ.get('CXX', 'g++').split()[0])


def test_neon():
    run_make('neon', 'aarch64-linux-gnu-g++', 'qemu-aarch64')


def test_only_kernels_depend_on_the_instruction_set():
    """The table of kernels is the one choice: no other source asks for the CPU's features or names instructions."""
    dependent = re.compile(r'cpu_supports|cpu_is|cpu_init|cpuid|xgetbv|getauxval|ifunc|target_clones|target\s*\(|'
                           r'BMX_TARGET|immintrin|arm_neon|include "\w+_avx\w*\.h"')
    texts = {path.name: path.read_text() for path in (Path(ops.library_path()).parent / 'src').rglob('*.*')}
    found = {name for name, text in texts.items() if dependent.search(text)}
    # the macro, and what only kernels include
    assert found - {'target.h'} == {name for name in texts if re.match(r'kernel_\w+\.cc|\w+_avx\w*\.h', name)} - {
        'kernel_portable.cc'}


def lines_of(*command):
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()


def local_functions(library):
    """Addresses of the functions that only their own file can call: under names that are not shared."""
    symbols = [line.split() for line in lines_of('readelf', '--symbols', '--wide', library)]
    return {int(symbol[1], 16) for symbol in symbols if symbol[3:5] == ['FUNC', 'LOCAL']}


@pytest.mark.skipif(platform.machine() != 'x86_64', reason='x86-64 only')
@pytest.mark.skipif(not shutil.which('objdump') or not shutil.which('readelf'), reason='needs objdump and readelf')
def test_shared_functions_run_on_any_cpu():
    """Of an inline function the linker keeps one copy for all files: one with AVX would crash a CPU that lacks it."""
    local = local_functions(ops.library_path())
    wrong, found, function, is_local = set(), 0, '', False
    for line in lines_of('objdump', '--disassemble', '--no-show-raw-insn', ops.library_path()):
        start = re.match(r'([0-9a-f]+) <(.*)>:$', line)
        if start:
            function, is_local = start.group(2), int(start.group(1), 16) in local
        elif re.search(r'\tv\w+ .*%[xyz]mm|\ttile|\ttdp', line):  # VEX, EVEX
            found += 1
            if not is_local:
                wrong.add(function)
    assert not wrong
    assert found
