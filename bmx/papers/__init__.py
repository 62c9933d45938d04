"""The numbers of papers, beside ours: `bmx paper NAME`. A paper is a file of data here."""
from . import compact, meliusnet, mobinet

PAPERS = {'compact': compact.PAPER, 'meliusnet': meliusnet.PAPER, 'mobinet': mobinet.PAPER}
