"""For targets: the commands in this process, with what they print, and damaged copies of files."""
import contextlib
import io
import logging
import os
from collections import namedtuple

import numpy as np

Outcome = namedtuple('Outcome', 'code out error')


def _run(main, arguments, lines):
    out, error = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as end:  # of argparse
            code = end.code
    outcome = Outcome(code, out.getvalue(), error.getvalue())
    assert code in (0, 1) and 'Traceback' not in outcome.out + outcome.error, outcome
    assert len(outcome.error.splitlines()) <= lines, outcome
    assert all(each.isprintable() or each in '\n' for each in outcome.out + outcome.error), outcome
    return outcome


def bmx(*arguments, lines=1):
    """`python -m bmx ARGUMENTS`, which may tell so many lines of errors."""
    from bmx.cli import main
    return _run(main, arguments, lines)


def train(*arguments):
    """The first step of a training: `bmx train ARGUMENTS --dry-run`; errors are lines of its log."""
    from bmx.cli import main
    outcome = _run(main, ('train', '--model', 'resnete18', '--stem', 'thumbnail', '--set', 'layers=(1,1)', '--set',
                          'channels=(8,8)', '--input-size', '16', '--batch-size', '4', '-j', '2', '--dry-run',
                          '--lr', '0.0001', *arguments), 0)
    for handler in list(logging.getLogger('bmx.train').handlers):
        logging.getLogger('bmx.train').removeHandler(handler)
    assert outcome.out.count('error: ') == outcome.code, outcome
    return outcome


def exported_model(folder, keywords):
    """Prefix and float parameters of a small network that was exported for images of 16x16 pixels."""
    import mxnet as mx

    import bmx
    mx.random.seed(0)
    net = bmx.get_model('meliusnet22', **keywords)
    net.initialize(mx.init.Xavier())
    net(mx.nd.zeros((1, 3, 16, 16)))
    prefix, params = os.path.join(folder, 'net'), os.path.join(folder, 'net.params')
    net.save_parameters(params)
    bmx.export(net, prefix, (1, 3, 16, 16), model='meliusnet22', classes=['cat', 'dog', 'owl'], preprocess={
        'size': [16, 16], 'crop_ratio': 0.875, 'mean': [0.5] * 3, 'std': [0.25] * 3})
    return prefix, params


def mutant(content, random):
    """A damaged copy of bytes: some flipped, changed, cut off, cut out, repeated, or replaced by extreme numbers."""
    content = bytearray(content)
    for _ in range(1 + random.geometric(0.5)):
        size = max(1, len(content))
        # The beginning, where headers are, is hit more often.
        at = random.randint(min(size, 64)) if random.rand() < 0.4 else random.randint(size)
        kind = random.randint(6)
        if kind == 0:
            content[at:at + 1] = bytes([random.randint(256)])
        elif kind == 1:
            content[at:at + 1] = bytes([(content[at] if at < len(content) else 0) ^ 1 << random.randint(8)])
        elif kind == 2:
            content = content[:at]
        elif kind == 3:
            del content[at:at + 1 + random.randint(64)]
        elif kind == 4:
            content[at:at] = content[at:at + 1 + random.randint(64)]
        else:
            number = np.array([0, -1, 1, 2 ** 31 - 1, -2 ** 31, 65535, 1 << 16][random.randint(7)], np.int64)
            width = (1, 2, 4)[random.randint(3)]
            content[at:at + width] = number.astype('<i8').tobytes()[:width][::(1, -1)[random.randint(2)]]
    return bytes(content)
