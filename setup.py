"""Build of bmx: the Python packages and one C++ library, loaded by MXNet at run time."""

import hashlib
import importlib.util
import os
import runpy
import shlex
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent
_PYTHON = runpy.run_path(str(ROOT / 'find_python.py'))
_PYTHON['say_what_is_needed']()  # before setuptools, which such a Python may not have

from setuptools import Extension, find_packages, setup  # noqa: E402
from setuptools.command.build_ext import build_ext  # noqa: E402

SOURCES = ROOT / 'bmx' / 'ops' / 'src'
OBJECTS = ROOT / 'build' / 'objects'
# -Bsymbolic: libmxnet exports the same C++ templates, built by an older compiler; they must not replace ours.
# No -march: the library has to run on any CPU, kernels name the instructions they need.
# -ffp-contract=off: a product and a sum round as they do in MXNet, with every instruction set.
COMPILE_FLAGS = ['-std=c++14', '-O3', '-ffp-contract=off', '-Wall', '-fopenmp', '-fPIC']
LINK_FLAGS = ['-shared', '-fopenmp', '-Wl,-Bsymbolic']
# Flags of single files, by name.
FINGERPRINT = runpy.run_path(str(ROOT / 'bmx' / 'ops' / 'library.py'))['fingerprint'](SOURCES)
FILE_FLAGS = {'lib_api.cc': ['-w'], 'library.cc': [f'-DBMX_SOURCES="{FINGERPRINT}"']}


def find_compiler():
    """The C++ compiler's command as a list: $CXX, else c++, else g++."""
    for command in [os.environ['CXX']] if os.environ.get('CXX') else ['c++', 'g++']:
        if shutil.which(shlex.split(command)[0]):
            return shlex.split(command)
    sys.exit('bmx: no C++ compiler found; install one (Debian, Ubuntu: apt install g++), or set CXX to the one you '
             'have.')


def find_mxnet():
    """Folder of the MXNet wheel, which is not imported: it may fail to with the build environment's NumPy."""
    spec = importlib.util.find_spec('mxnet')
    if spec is None:
        sys.exit('bmx: MXNet is needed to build; run: pip install mxnet==1.9.1')
    return Path(spec.submodule_search_locations[0])


class BuildLibrary(build_ext):
    """Compiles the library with the system's compiler; objects are kept and named by what they were made from."""

    def get_ext_filename(self, fullname):
        return os.path.join(*fullname.split('.')) + '.so'  # not tied to a Python version

    def build_extension(self, ext):
        compiler, mxnet = find_compiler(), find_mxnet()
        sources = sorted(SOURCES.rglob('*.cc')) + [mxnet / 'src' / 'lib_api.cc']
        headers = sorted(SOURCES.rglob('*.h')) + [mxnet / 'include' / 'mxnet' / 'lib_api.h']
        OBJECTS.mkdir(parents=True, exist_ok=True)

        def compile_one(source):
            command = compiler + COMPILE_FLAGS + FILE_FLAGS.get(source.name, [])
            key = hashlib.sha1(repr(command).encode())  # not where MXNet is: another folder in every build by pip
            for file in [source] + headers:
                key.update(file.read_bytes())
            target = OBJECTS / f'{source.stem}-{key.hexdigest()[:16]}.o'
            if not target.exists():
                partial = target.with_suffix('.partial')
                command += ['-I', str(SOURCES), '-I', str(mxnet / 'include')]
                subprocess.run(command + ['-c', str(source), '-o', str(partial)], check=True)
                partial.replace(target)
            return str(target)

        library = Path(self.get_ext_fullpath(ext.name))
        library.parent.mkdir(parents=True, exist_ok=True)
        try:
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                objects = list(pool.map(compile_one, reversed(sources)))  # lib_api.cc takes longest
            partial = library.with_suffix('.partial')
            subprocess.run(compiler + objects + LINK_FLAGS + ['-o', str(partial)], check=True)
            partial.replace(library)  # a process that has the old library loaded keeps it
        except subprocess.CalledProcessError as error:
            sys.exit(f'bmx: the C++ compiler failed: {" ".join(error.cmd)}')


commands = {'build_ext': BuildLibrary}
try:
    from setuptools.command.bdist_wheel import bdist_wheel
except ImportError:  # an environment's own setuptools, before 70.1: it builds in place
    pass
else:
    class AnyPythonWheel(bdist_wheel):
        """Tags the wheel for any Python 3: the library does not use Python."""

        def get_tag(self):
            return ('py3', 'none', super().get_tag()[2])

    commands['bdist_wheel'] = AnyPythonWheel

setup(
    packages=find_packages(include=['bmx', 'bmx.*']) + ['bmx.models'],
    package_dir={'bmx.models': 'models'},
    ext_modules=[Extension('bmx.ops.libbmx', sources=[])],
    cmdclass=commands,
    zip_safe=False,
)
