"""The tables in documents that are made of code or measurements: `python docs/tables.py` writes them into their pages.

In a page a table stands between the comments ``<!-- begin: NAME, docs/tables.py -->`` and ``<!-- end -->``.
"""
import csv
import dataclasses
import re
from pathlib import Path

from bmx.bench.frontier import optimal
from bmx.nn.quantizers import QUANTIZERS

ROOT = Path(__file__).resolve().parent.parent


def markdown(header, rows):
    """A table of Markdown; a `|` in a cell is written so that it ends none."""
    lines = [header, ['---'] * len(header), *rows]
    return ''.join('| ' + ' | '.join(cell.replace('|', r'\|') for cell in line) + ' |\n' for line in lines)


def methods():
    """A row for each quantizer."""
    rows = []
    for name, quantizer in QUANTIZERS.items():
        settings = ', '.join(field.name if field.default is dataclasses.MISSING else f'{field.name}={field.default!r}'
                             for field in dataclasses.fields(quantizer))
        roles = [role for role, is_one in (('activations', quantizer.quantizes_activations()),
                                           ('weights', quantizer.quantizes_weights())) if is_one]
        summary = ' '.join(quantizer.__doc__.split('\n\n')[0].split())
        rows.append([f'`{name}`', settings or '-', ', '.join(roles), summary, quantizer.source or '-'])
    return markdown(['name', 'settings', 'of', 'what it does', 'source'], rows)


def measured():
    """The networks of benchmarks/frontier.csv with an accuracy: binary ones, and MobileNets, the faster of two ways."""
    with open(str(ROOT / 'benchmarks' / 'frontier.csv'), newline='') as stream:
        rows = [dict(row, ms=float(row['min_ms']), mb=int(row['bytes']) / 1e6, top1=float(row['top1']))
                for row in csv.DictReader(stream) if row['top1']]
    binary = [row for row in rows if row['implementation'] == 'deployed']
    others = {}
    for row in rows:
        if row['implementation'] != 'deployed':
            others[row['name']] = min(row, others.get(row['name'], row), key=lambda row: row['ms'])
    return binary, list(others.values())


def title(row):
    """A network as the commands name it, its keywords as their options."""
    name, *settings = row['name'].split(' ')
    if row['implementation'] != 'deployed':
        return f'{name} (float)'
    options = [('--{} {}' if key in ('stem', 'binarizations') else '--set {}={}').format(*setting.split('='))
               for setting in settings for key in [setting.split('=')[0]]]
    return f'`{" ".join([name] + options)}`'


def best(cost, unit):
    """The most accurate binary networks for each cost, beside the MobileNet that is for no more."""
    binary, floats = measured()
    rows = []
    for row in optimal(binary, cost):
        rival = max((each for each in floats if each[cost] <= row[cost]), key=lambda each: each['top1'], default=None)
        rows.append([f'{row[cost]:.1f}', title(row), f'{row["top1"]:.1f}',
                     f'{rival["name"]}, {rival["top1"]:.1f}' if rival else 'none'])
    return markdown([unit, 'most accurate binary network', 'top-1 %', 'most accurate MobileNet within it'], rows)


def networks():
    """All of them, the fastest first."""
    binary, floats = measured()
    return markdown(['network', 'ms', 'MB', 'top-1 %'], [
        [title(row), f'{row["ms"]:.1f}', f'{row["mb"]:.1f}', f'{row["top1"]:.1f}']
        for row in sorted(binary + floats, key=lambda row: row['ms'])])


TABLES = {
    'methods': methods,
    'by time': lambda: best('ms', 'ms'),
    'by size': lambda: best('mb', 'MB'),
    'networks': networks,
}


def written(page):
    """The text of a page with the tables of today."""
    return re.sub(r'(<!-- begin: ([\w ]+), docs/tables\.py -->\n).*?(?=<!-- end -->)',
                  lambda found: found.group(1) + '\n' + TABLES[found.group(2)]() + '\n', page, flags=re.S)


if __name__ == '__main__':
    for path in ROOT.glob('docs/*.md'):
        text = path.read_text()
        if written(text) != text:
            path.write_text(written(text))
