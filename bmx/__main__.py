"""`bmx` and `python -m bmx`."""
import sys

from .cli import main



def run():
    """The command `bmx`."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors='backslashreplace')  # names of classes that the encoding does not have
    return main()


if __name__ == '__main__':
    sys.exit(run())
