"""What commands say to people."""
import sys

from ..report import printable


def tell(text):
    """Print what is for people."""
    print(printable(text))


def complain(text):
    """Print one line on stderr."""
    print(printable(text).replace('\n', '\\n'), file=sys.stderr)


def skipped(error):
    """Tell of a file that is left out."""
    complain('skipped: %s' % error)
