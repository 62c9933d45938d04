"""`python -m tests.fuzz [TARGET ...] --seconds 600`: tries for long, prints figures.

Its exit code is 1 if a case came out otherwise.
"""
import argparse
import itertools
import os
import sys

os.environ['OMP_NUM_THREADS'] = '1'  # before MXNet: a team of threads does not survive the fork of a case

from . import driver  # noqa: E402


def main():
    parser = argparse.ArgumentParser(prog='python -m tests.fuzz', description=__doc__.partition(': ')[2])
    parser.add_argument('targets', nargs='*', metavar='TARGET', help='default: all')
    parser.add_argument('--seconds', type=float, default=600, help='for each target (default: 600)')
    parser.add_argument('--first', type=int, default=0, metavar='SEED', help='seed of the first case (default: 0)')
    parser.add_argument('--quick', action='store_true', help='only the few cases that the tests try')
    parser.add_argument('--case', type=int, metavar='SEED', help='try this case alone')
    arguments = parser.parse_args()
    known = driver.targets()
    unknown = sorted(set(arguments.targets) - set(known))
    if unknown:
        parser.error(f'no target {", ".join(unknown)}; there are {", ".join(known)}')
    failed, lines = False, []
    for name in arguments.targets or known:
        target = driver.load(name)
        print(f'{name}: {target.ABOUT}')
        shown = []

        def tell(figures):
            if len(figures.failures) > len(shown):
                shown.append(figures.failures[-1])
                seed, text = shown[-1]
                print(f'\rcase {seed} (python -m tests.fuzz {name} --case {seed}): {text}', flush=True)
            if sys.stderr.isatty():
                print(f'\r{figures} ', end='', file=sys.stderr, flush=True)

        seeds = itertools.count(arguments.first) if arguments.case is None else [arguments.case]
        if arguments.quick:
            seeds = range(target.QUICK)
        figures = driver.run(target, seeds, arguments.seconds, tell)
        failed = failed or bool(figures.failures)
        lines.append(f'{name}: {figures}')
        print('\r' + lines[-1], flush=True)
    if len(lines) > 1:
        print('\n'.join(['', 'all:'] + lines))
    return int(failed)


if __name__ == '__main__':
    sys.exit(main())
