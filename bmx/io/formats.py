"""Files of results: JSON, CSV, pictures."""
from __future__ import annotations

import csv
import io
import json
import numbers
import os
from typing import TYPE_CHECKING, Any, Mapping, Sequence

from . import storage

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# What the name of a picture may end in.
PICTURES = ('.png', '.svg', '.pdf')


def refuse_unwritable(*paths: str | os.PathLike | None) -> None:
    """Raise an OSError for a folder, or a file in a folder that does not exist; None stands for no file."""
    for path in paths:
        if path is not None and os.path.isdir(path):
            raise IsADirectoryError(f'{path} is a folder')
        if path is not None and not os.path.isdir(os.path.dirname(os.path.abspath(path))):
            raise FileNotFoundError(f'the folder of {path} does not exist')


def refuse_picture(path: str | None) -> None:
    """Raise what `save_picture` would raise for this path, before the work; None stands for no picture."""
    refuse_unwritable(path)
    if path is not None and os.path.splitext(path)[1].lower() not in PICTURES:
        raise ValueError(f'{path}: the name of a picture ends in {", ".join(PICTURES)}')


def write_json(path: str | os.PathLike, content: Any) -> None:
    """Write what JSON can hold."""
    storage.write_file(path, [json.dumps(content, indent=1).encode()])


def write_csv(path: str | os.PathLike, rows: Sequence[Mapping[str, Any]], fields: Sequence[str] | None = None) -> None:
    """Write a table: the names of the fields, then a line for each row, a dict; numbers in 6 digits, integers whole.

    The fields are by default all that rows have.
    """
    fields = fields or list(dict.fromkeys(field for row in rows for field in row))
    out = io.StringIO(newline='')
    writer = csv.DictWriter(out, fields)
    writer.writeheader()
    writer.writerows({key: _number(value) for key, value in row.items()} for row in rows)
    storage.write_file(path, [out.getvalue().encode()])


def _number(value: Any) -> Any:
    fraction = isinstance(value, numbers.Real) and not isinstance(value, numbers.Integral)
    return f'{value:.6g}' if fraction else value


def save_picture(path: str, figure: Figure) -> None:
    """Write a matplotlib Figure, in the format that the path ends in (one of `PICTURES`)."""
    out = io.BytesIO()
    figure.savefig(out, format=os.path.splitext(path)[1][1:].lower())
    storage.write_file(path, [out.getvalue()])
