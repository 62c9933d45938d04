"""Results for people and programs: aligned text, JSON, CSV, pictures."""
import csv
import io
import json
import numbers
import os
import sys

from . import storage

# What the name of a picture may end in.
PICTURES = ('.png', '.svg', '.pdf')


def refuse_unwritable(*paths):
    """Raise an OSError for a folder, or a file in a folder that does not exist; None stands for no file."""
    for path in paths:
        if path is not None and os.path.isdir(path):
            raise IsADirectoryError('%s is a folder' % path)
        if path is not None and not os.path.isdir(os.path.dirname(os.path.abspath(path))):
            raise FileNotFoundError('the folder of %s does not exist' % path)


def refuse_picture(path):
    """Raise what `save_picture` would raise for this path, before the work; None stands for no picture."""
    refuse_unwritable(path)
    if path is not None and os.path.splitext(path)[1].lower() not in PICTURES:
        raise ValueError('%s: the name of a picture ends in %s' % (path, ', '.join(PICTURES)))


def printable(text):
    """Text for a terminal: control characters, and what else is not printable, as escapes; lines stay lines.

    Names of classes, files and models come from elsewhere, and a terminal acts on escape sequences among them.
    """
    return ''.join(each if each.isprintable() or each == '\n' else each.encode('unicode_escape').decode()
                   for each in str(text))


def end_output():
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


def table(header, lines):
    """Aligned text of a header and lines of cells, which are strings or numbers."""
    cells = [list(header)] + [[cell_text(value) for value in line] for line in lines]
    widths = [max(map(len, column)) for column in zip(*cells)]
    return '\n'.join('  '.join(cell.rjust(width) if column else cell.ljust(width)
                               for column, (cell, width) in enumerate(zip(line, widths))) for line in cells)


def cell_text(value):
    """A value as `table` shows it: a float in a few digits, None as -."""
    if value is None:
        return '-'
    if not isinstance(value, float):
        return str(value)
    return '%.3f' % value if value < 10 else '%.1f' % value


def write_json(path, content):
    """Write what JSON can hold."""
    storage.write_file(path, [json.dumps(content, indent=1).encode()])


def write_csv(path, rows, fields=None):
    """Write a table: the names of the fields, then a line for each row, a dict; numbers in 6 digits, integers whole.

    The fields are by default all that rows have.
    """
    fields = fields or list(dict.fromkeys(field for row in rows for field in row))
    out = io.StringIO(newline='')
    writer = csv.DictWriter(out, fields)
    writer.writeheader()
    writer.writerows({key: _number(value) for key, value in row.items()} for row in rows)
    storage.write_file(path, [out.getvalue().encode()])


def _number(value):
    fraction = isinstance(value, numbers.Real) and not isinstance(value, numbers.Integral)
    return '%.6g' % value if fraction else value


def save_picture(path, figure):
    """Write a matplotlib Figure, in the format that the path ends in (one of `PICTURES`)."""
    out = io.BytesIO()
    figure.savefig(out, format=os.path.splitext(path)[1][1:].lower())
    storage.write_file(path, [out.getvalue()])
