"""Files: written whole or not at all, read with errors that say what is wrong with them."""
import contextlib
import hashlib
import os
import tempfile

import mxnet as mx

# How the names of files and folders begin that are being written.
TEMPORARY = '.partial-'


@contextlib.contextmanager
def atomic_file(path):
    """Yield a temporary name beside `path`; what was written there replaces `path` at the end, or nothing does."""
    directory, name = os.path.split(os.path.abspath(path))
    handle, temporary = tempfile.mkstemp(prefix=TEMPORARY, suffix='-' + name, dir=directory)
    os.close(handle)
    os.chmod(temporary, 0o644)
    try:
        yield temporary
        flush(temporary)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    flush(directory)


def flush(path):
    """Have the disk hold a file, or the names in a directory."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def digest(path):
    """SHA-256 of a file, hexadecimal."""
    found = hashlib.sha256()
    with open(path, 'rb') as content:
        for block in iter(lambda: content.read(1 << 20), b''):
            found.update(block)
    return found.hexdigest()


class LoadError(ValueError):
    """A file that is not what its name promises; the message says which, and what is wrong with it."""


def sentence(error):
    """What an MXNetError says, without its traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [line.partition('MXNetError: ')[2] for line in lines if 'MXNetError: ' in line]
    return (named or lines)[-1]


def load_parameters(net, path, ctx=None):
    """Load trained parameters into a network, with errors that say what is wrong with the file.

    Parameters
    ----------
    net : gluon.Block
    path : str
        Written by `save_parameters` for a network of the same structure.
    ctx : Context or list of Context, optional

    Raises
    ------
    FileNotFoundError
        No such file.
    LoadError
        The file is damaged, or belongs to another model.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError('parameter file %s does not exist' % path)
    try:
        found = mx.nd.load(path)
    except (mx.MXNetError, ValueError) as error:
        raise LoadError('%s is damaged or not a parameter file of MXNet: %s' % (path, sentence(error))) from None
    expected = net._collect_params_with_prefix()
    found = {name.split(':', 1)[-1]: value for name, value in found.items()} if isinstance(found, dict) else {}
    missing, extra = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    if missing or extra:
        raise LoadError('%s belongs to another model than %s: %d of its %d parameters are missing%s, %d are unknown%s; '
                        'was it built with another stem or other keywords?'
                        % (path, getattr(net, 'model_name', net.name), len(missing), len(expected), _example(missing),
                           len(extra), _example(extra)))
    for name, parameter in expected.items():
        if not _compatible(parameter.shape, found[name].shape):
            raise LoadError('%s: parameter %s has shape %s, the model %s wants %s; was it built with other classes, '
                            'stem or keywords?' % (path, name, found[name].shape,
                                                   getattr(net, 'model_name', net.name), parameter.shape))
    net.load_parameters(path, ctx=ctx, cast_dtype=True)


def _example(names):
    return ' (%s, ...)' % names[0] if names else ''


def _compatible(declared, found):
    """Whether a declared shape, in which 0 is yet unknown, allows the one found."""
    return declared is None or (len(declared) == len(found) and all(a in (0, b) for a, b in zip(declared, found)))
