#!/usr/bin/env python
"""`bmx train` under the name of GluonCV's script."""
import sys

from bmx.cli import script

if __name__ == '__main__':
    sys.exit(script('train'))
