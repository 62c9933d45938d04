"""Rows of results as text, JSON, CSV and a picture."""
import json
import os

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from .. import storage


def refuse_unwritable(*paths):
    """Raise an OSError for a folder, or a file in a folder that does not exist; None stands for no file."""
    for path in paths:
        if path is not None and os.path.isdir(path):
            raise IsADirectoryError('%s is a folder' % path)
        if path is not None and not os.path.isdir(os.path.dirname(os.path.abspath(path))):
            raise FileNotFoundError('the folder of %s does not exist' % path)


def heading(rows):
    """The line that says where and with what was measured."""
    names = ', '.join(dict.fromkeys(row['isa'] for row in rows if row['isa'] is not None))
    kernels = '; kernel ' + names if names else ''
    return ('%(cpu)s%(kernels)s; threads %(threads)d; batch %(batch)d; MXNet %(mxnet)s, GluonCV %(gluoncv)s, '
            'bmx %(bmx)s' % dict(rows[0], kernels=kernels))


def table(header, lines):
    """Aligned text of a header and lines of cells, which are strings or numbers."""
    cells = [list(header)] + [[_cell(value) for value in line] for line in lines]
    widths = [max(map(len, column)) for column in zip(*cells)]
    return '\n'.join('  '.join(cell.rjust(width) if column else cell.ljust(width)
                               for column, (cell, width) in enumerate(zip(line, widths))) for line in cells)


def _cell(value):
    if value is None:
        return '-'
    if not isinstance(value, float):
        return str(value)
    return '%.3f' % value if value < 10 else '%.1f' % value


def write_json(path, rows):
    """Write the list of rows."""
    with storage.atomic_file(path) as temporary, open(temporary, 'w') as out:
        json.dump(rows, out, indent=1)


def write_csv(path, rows):
    """Write a line for each row, after one with the names of all fields."""
    fields = list(dict.fromkeys(field for row in rows for field in row))
    storage.write_csv(path, fields, rows)


def draw(path, rows, command):
    """Draw a bar for each row, its speed or else its shortest time, as PNG; the title is the command that made it."""
    field, label = ('gmacs', 'GMAC/s') if 'gmacs' in rows[0] else ('min_ms', 'ms')
    variants, places, names = list(dict.fromkeys(row['variant'] for row in rows)), [], {}
    for row in rows:  # a gap between names
        places.append(places[-1] + (1 if row['name'] in names else 1.5) if places else 0)
        names.setdefault(row['name'], []).append(places[-1])
    figure = Figure(figsize=(9, 1.2 + 0.17 * places[-1]), dpi=120, constrained_layout=True)
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for index, variant in enumerate(variants):
        bars = [(place, row[field]) for place, row in zip(places, rows) if row['variant'] == variant]
        axes.barh(*zip(*bars), color='C%d' % index, height=0.9, label=variant)
    for place, row in zip(places, rows):
        axes.text(row[field], place, ' ' + _cell(float(row[field])), va='center', fontsize=7)
    axes.set_yticks([sum(group) / len(group) for group in names.values()])
    axes.set_yticklabels(names, fontsize=8)
    axes.invert_yaxis()
    axes.set(xlabel=label)
    axes.margins(x=0.1, y=0.5 / len(rows))
    axes.grid(axis='x', alpha=0.3)
    axes.legend(fontsize=8, loc='center left', bbox_to_anchor=(1, 0.5))
    axes.set_title('%s\n%s' % (command, heading(rows)), fontsize=8)
    with storage.atomic_file(path) as temporary:
        figure.savefig(temporary, format='png')
