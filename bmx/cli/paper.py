"""`bmx paper`: the tables of a paper, each printed number beside ours."""
from __future__ import annotations

import argparse

from ..io.formats import refuse_picture, refuse_unwritable, write_csv, write_json
from ..papers import PAPERS, picture, tables


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('name', choices=list(PAPERS))
    parser.add_argument('--json', metavar='FILE', help='write the cells as a list')
    parser.add_argument('--csv', metavar='FILE', help='write the cells as a table')
    parser.add_argument('--picture', metavar='FILE', help='draw accuracy against operations and size')


def run(arguments: argparse.Namespace) -> None:
    refuse_unwritable(arguments.json, arguments.csv)
    refuse_picture(arguments.picture)
    paper = PAPERS[arguments.name]
    filled = tables.fill(paper)
    print(tables.text(paper, filled))
    if arguments.json is not None:
        write_json(arguments.json, tables.records(filled))
    if arguments.csv is not None:
        write_csv(arguments.csv, tables.records(filled))
    if arguments.picture is not None:
        picture.draw(arguments.picture, paper, filled)
