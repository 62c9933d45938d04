"""`python -m bmx`."""
import sys

from .cli import main

for stream in (sys.stdout, sys.stderr):
    stream.reconfigure(errors='backslashreplace')  # names of classes that the encoding does not have
sys.exit(main())
