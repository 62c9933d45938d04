"""The numbers of papers, beside ours: `bmx paper NAME`. A paper is a file of data here."""
from .. import report
from . import compact, meliusnet, mobinet, picture, tables

PAPERS = {'compact': compact.PAPER, 'meliusnet': meliusnet.PAPER, 'mobinet': mobinet.PAPER}


def run(arguments):
    """Print a paper's tables, write the files that were asked for.

    Parameters
    ----------
    arguments : argparse.Namespace
        Of the command `paper`: name, json, csv, picture.
    """
    report.refuse_unwritable(arguments.json, arguments.csv)
    report.refuse_picture(arguments.picture)
    paper = PAPERS[arguments.name]
    filled = tables.fill(paper)
    print(tables.text(paper, filled))
    if arguments.json is not None:
        report.write_json(arguments.json, tables.records(filled))
    if arguments.csv is not None:
        report.write_csv(arguments.csv, tables.records(filled))
    if arguments.picture is not None:
        picture.draw(arguments.picture, paper, filled)
