#!/usr/bin/env python
"""`bmx recipes` as a script."""
import sys

from bmx.cli import script

if __name__ == '__main__':
    sys.exit(script('recipes'))
