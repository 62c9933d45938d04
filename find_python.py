"""Which Python installs bmx: MXNet 1.9.1 runs on 3.8 to 3.11.

    python find_python.py        # prints this one's path, or says what is needed
    python find_python.py --any  # prints another one's path where this one does not do
"""
import os
import subprocess
import sys

OLDEST, NEWEST = (3, 8), (3, 11)


def suits(version):
    """Whether MXNet runs on a version of Python."""
    return OLDEST <= tuple(version[:2]) <= NEWEST


def _text(version):
    return '.'.join(map(str, version[:2]))


def find_others():
    """Paths of interpreters in PATH that would do, the newest version first; each starts and makes environments."""
    found = []
    for minor in range(NEWEST[1], OLDEST[1] - 1, -1):
        for folder in os.environ.get('PATH', '').split(os.pathsep):
            path = os.path.join(folder, f'python3.{minor}')
            if os.access(path, os.X_OK) and not os.path.isdir(path):
                try:
                    code = subprocess.run([path, '-c', 'import ensurepip, venv'], stdout=subprocess.DEVNULL,
                                          stderr=subprocess.DEVNULL, timeout=2).returncode
                except (OSError, subprocess.TimeoutExpired):
                    continue
                if code == 0:
                    found.append(path)
                    break
    return found


def say_what_is_needed():
    """End with one sentence if this Python does not do."""
    if not suits(sys.version_info):
        others = find_others()
        advice = f'of those here {", ".join(others)} would do' if others else 'PATH has none of these'
        sys.exit(f'bmx: MXNet 1.9.1, which it extends, runs on Python {_text(OLDEST)} to {_text(NEWEST)}, and '
                 f'{sys.executable} is {_text(sys.version_info)}: {advice}')


def main():
    others = find_others() if '--any' in sys.argv[1:] and not suits(sys.version_info) else []
    if others:
        print(f'bmx: MXNet 1.9.1 does not run on Python {_text(sys.version_info)}, which python3 is: using {others[0]}',
              file=sys.stderr)
    else:
        say_what_is_needed()
    print(others[0] if others else sys.executable)


if __name__ == '__main__':
    main()
