"""`python -m bmx` is `bmx`."""
import sys

from .cli import main

sys.exit(main())
