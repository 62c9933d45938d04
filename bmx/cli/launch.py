"""Start the processes of a distributed training: workers, servers, and the scheduler of MXNet's KVStore.

    bmx launch -n 2 -- bmx train --model meliusnet22 --kvstore dist_sync --save-dir runs/meliusnet22

What they write is printed with their name before it. When one fails, all are ended; Ctrl-C has a training save a
checkpoint and stop, a second one stops at once. docs/distributed.md says more.
"""
import argparse

from ..threads import physical_cores
from ..train import TrainingError
from ..train.launcher import Job, address_for, free_port, read_hosts
from . import CommandParser
from .output import complain, tell
from .types import port, positive


def add_options(parser: CommandParser) -> None:
    parser.description, parser.formatter_class = __doc__, argparse.RawDescriptionHelpFormatter
    parser.allow_abbrev = False
    parser.forwarded = 'worker'
    parser.usage = '%(prog)s -n N [-s N] [--hosts FILE] [--address ADDRESS] [--port PORT] -- COMMAND ...'
    parser.add_argument('-n', '--num-workers', type=positive, required=True, metavar='N', help='workers')
    parser.add_argument('-s', '--num-servers', type=positive, metavar='N', help='servers (default: as many as hosts)')
    parser.add_argument('--hosts', metavar='FILE', help='hosts, one in a line, where workers and servers are started '
                        'by ssh, in turn; this folder and this Python have to be there, too (default: all run here)')
    parser.add_argument('--address', help='of this machine, for the hosts (default: that on the way to them)')
    parser.add_argument('--port', type=port, help='of the scheduler (default: a free one)')


def run(arguments: argparse.Namespace) -> int:
    """Start them and wait; returns the exit code: 0, that of the first process that failed, or 130 when stopped."""
    if not arguments.worker:
        arguments.parser.error('after --, give the command of the workers')
    try:
        hosts = read_hosts(arguments.hosts) if arguments.hosts is not None else []
        address = arguments.address or address_for(hosts)
        scheduler_port = free_port(address, arguments.port)
    except TrainingError as error:
        complain(f'{arguments.parser.prog}: {error}')
        return 1
    servers = arguments.num_servers or len(hosts) or 1
    threads = None if hosts else max(1, physical_cores() // arguments.num_workers)
    code, failure = Job(arguments.worker, arguments.num_workers, servers, hosts, address, scheduler_port, threads,
                        tell).run()
    if failure is not None:
        complain(f'{arguments.parser.prog}: {failure}')
    return code
