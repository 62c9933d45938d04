"""What commands say to people."""
from __future__ import annotations

import os
import sys
from collections import Counter

from ..io.preprocess import find_images
from ..io.text import counted, printable


def tell(text: object) -> None:
    """Print what is for people."""
    print(printable(text))


def complain(text: object) -> None:
    """Print one line on stderr."""
    print(printable(text).replace('\n', '\\n'), file=sys.stderr)


def error_text(error: Exception) -> str:
    """The text of an error; of one of the operating system about a file first which, and no number."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f'{error.filename}: {error.strerror}'
    return str(error)


def skipped(error: Exception) -> None:
    """Tell of a file that is left out."""
    complain(f'skipped: {error}')


def images_below(folder: str) -> list[str]:
    """The images that `find_images` finds, after telling what is left out."""
    left_out: Counter[str] = Counter()
    paths = find_images(folder, left_out)
    if left_out:
        complain(f'left out of {folder}: {counted(left_out)}')
    return paths


def end_output() -> OSError | None:
    """Write out what standard output holds; discard what cannot be written, so that Python's own end does not fail.

    Returns
    -------
    OSError or None
        Why it cannot be written: for example a full disk, or a reader that has seen enough.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        with open(os.devnull, 'wb') as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
        return error
    return None
