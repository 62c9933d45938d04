"""The table of methods in docs/methods.md, made of the registry: `python docs/methods.py` writes it."""
import dataclasses
from pathlib import Path

from bmx.nn.quantizers import QUANTIZERS

PAGE = Path(__file__).resolve().parent / 'methods.md'
BEGIN, END = '<!-- begin: docs/methods.py -->\n', '<!-- end -->\n'


def table():
    """Rows of Markdown, one for each quantizer."""
    rows = ['| name | settings | of | what it does | source |', '| --- | --- | --- | --- | --- |']
    for name, quantizer in QUANTIZERS.items():
        settings = ', '.join(field.name if field.default is dataclasses.MISSING else f'{field.name}={field.default!r}'
                             for field in dataclasses.fields(quantizer))
        roles = [role for role, is_one in (('activations', quantizer.quantizes_activations()),
                                           ('weights', quantizer.quantizes_weights())) if is_one]
        summary = ' '.join(quantizer.__doc__.split('\n\n')[0].split())
        rows.append(f'| `{name}` | {settings or "-"} | {", ".join(roles)} | {summary} | {quantizer.source or "-"} |')
    return '\n'.join(rows) + '\n'


def written(page):
    """A page with the table of today."""
    before, rest = page.split(BEGIN)
    return before + BEGIN + table() + END + rest.split(END)[1]


if __name__ == '__main__':
    PAGE.write_text(written(PAGE.read_text()))
