"""Files: written whole or not at all, read with errors that say what is wrong with them."""
from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import hashlib
import os
import re
import stat
import struct
import tempfile
from typing import BinaryIO, Callable, Iterable, Iterator, Mapping, Sequence

import mxnet as mx

# How the names of files and folders begin that are being written.
TEMPORARY = '.partial-'

# The file by which a folder is locked, and the variable of the environment that tells a process the descriptor of one
# that it inherited.
LOCK = '.lock'
_INHERITED = 'BMX_LOCK'

# How a file of arrays begins in MXNet's format.
_MAGIC = 0x112


def write_file(path: str | os.PathLike, chunks: Iterable[bytes]) -> str:
    """Write a file whole: what was there before stays until the new content is on the disk and was read back.

    What is no file, for example /dev/stdout, is written to directly.

    Parameters
    ----------
    path : str or os.PathLike
    chunks : iterable of bytes
        The content.

    Returns
    -------
    str
        SHA-256 of the content, hexadecimal.

    Raises
    ------
    OSError
        It cannot be written, for example on a full disk. The message names `path`, which is what it was before.
    """
    path = os.fspath(path)
    try:
        if os.path.exists(path) and not os.path.isfile(path):
            with open(path, 'wb') as out:
                return _write(out, chunks)
        target = os.path.realpath(path)  # a link stays one
        _remove_leftovers(target)
        with _temporary(target) as (out, temporary):
            meant = _write(out, chunks)
            os.fsync(out.fileno())
            if digest(temporary) != meant:
                raise OSError(errno.EIO, 'what was read back is not what was written')
            os.chmod(temporary, _mode(target))
            os.replace(temporary, target)
        flush(os.path.dirname(target))
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None
    return meant


def _mode(path: str) -> int:
    """Permissions of a file that replaces another, or of a new one."""
    with contextlib.suppress(FileNotFoundError):
        return stat.S_IMODE(os.stat(path).st_mode)
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def _write(out: BinaryIO, chunks: Iterable[bytes]) -> str:
    meant = hashlib.sha256()
    for chunk in chunks:
        out.write(chunk)
        meant.update(chunk)
    out.flush()
    return meant.hexdigest()


@contextlib.contextmanager
def _temporary(path: str) -> Iterator[tuple[BinaryIO, str]]:
    """Yield a file beside `path`, open for writing and locked, and its name; an error deletes it."""
    out, temporary = _create_locked(path)
    with out:
        try:
            yield out, temporary
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            raise


def _create_locked(path: str) -> tuple[BinaryIO, str]:
    directory, name = os.path.split(path)
    while True:
        handle, temporary = tempfile.mkstemp(prefix=TEMPORARY + name + '-', dir=directory)
        out = open(handle, 'wb')
        with contextlib.suppress(OSError):  # some network disks have no locks
            fcntl.flock(out, fcntl.LOCK_EX)
        if os.path.exists(temporary):  # else another writer took it for a leftover before it was locked
            return out, temporary
        out.close()


def _remove_leftovers(path: str) -> None:
    """Delete what killed writers of `path` left: temporary files that nobody has locked."""
    directory, name = os.path.split(path)
    for leftover in glob.glob(os.path.join(glob.escape(directory), glob.escape(TEMPORARY + name + '-') + '?' * 8)):
        with contextlib.suppress(OSError), open(leftover, 'rb') as content:
            fcntl.flock(content, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(leftover)


def array_chunks(arrays: Mapping[str, mx.nd.NDArray]) -> Iterator[bytes]:
    """The content of the file that `mx.nd.save` writes, as an iterable of bytes for `write_file`.

    MXNet's own writer does not notice when closing a file fails, for example on a full disk.

    Parameters
    ----------
    arrays : dict
        Names to NDArrays.
    """
    yield struct.pack('<QQQ', _MAGIC, 0, len(arrays))
    for array in arrays.values():
        yield array.__getstate__()['handle']
    yield struct.pack('<Q', len(arrays))
    for name in map(str.encode, arrays):
        yield struct.pack('<Q', len(name)) + name


def save_arrays(path: str | os.PathLike, arrays: Mapping[str, mx.nd.NDArray]) -> str:
    """Write a dict of names to NDArrays in the format of `mx.nd.save`; as `write_file`, whose digest is returned."""
    return write_file(path, array_chunks(arrays))


def parameter_arrays(net: mx.gluon.Block) -> dict[str, mx.nd.NDArray]:
    """The parameters of a network as `save_parameters` names them."""
    return {name: parameter._reduce() for name, parameter in net._collect_params_with_prefix().items()}


def flush(path: str | os.PathLike) -> None:
    """Have the disk hold a file, or the names in a directory."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def digest(path: str | os.PathLike) -> str:
    """SHA-256 of a file, hexadecimal."""
    found = hashlib.sha256()
    with open(path, 'rb') as content:
        for chunk in iter(lambda: content.read(1 << 20), b''):
            found.update(chunk)
    return found.hexdigest()


def lock_folder(path: str) -> int | None:
    """Lock a folder for this process and for those it starts with the descriptor that is returned.

    The lock lasts until all of them have closed it or ended, however they end. It is that of a file in the folder,
    which stays there: network disks lock files only.

    Parameters
    ----------
    path : str

    Returns
    -------
    int or None
        A descriptor, for `os.close` and `lock_to_inherit`; None where the file system has no locks.

    Raises
    ------
    BlockingIOError
        Another process holds the lock.
    """
    path, inherited = os.path.join(path, LOCK), os.environ.get(_INHERITED, '')
    if inherited.isdigit() and _is_descriptor_of(int(inherited), path):
        return os.dup(int(inherited))
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        if isinstance(error, BlockingIOError):
            raise
        return None
    return handle


def _is_descriptor_of(handle: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except OSError:
        return False


def lock_to_inherit(lock: int | None) -> tuple[tuple[int, ...], dict[str, str]]:
    """What a process that is to share a lock of `lock_folder` needs: descriptors and variables of the environment."""
    return ((), {}) if lock is None else ((lock,), {_INHERITED: str(lock)})


class LoadError(ValueError):
    """A file that is not what its name promises; the message says which, and what is wrong with it."""


def sentence(error: Exception) -> str:
    """What an MXNetError says, without its traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [line.partition('MXNetError: ')[2] for line in lines if 'MXNetError: ' in line]
    return (named or lines)[-1]


def read_arrays(path: str | os.PathLike) -> dict[str, mx.nd.NDArray]:
    """The arrays of a file of `mx.nd.save` by name, without the `arg:` and `aux:` of symbols; of a list, none.

    Raises
    ------
    FileNotFoundError
        No such file.
    LoadError
        The file is damaged.
    """
    path = os.fspath(path)
    if not os.path.isfile(path):
        raise FileNotFoundError(f'parameter file {path} does not exist')
    try:
        found = mx.nd.load(path)
    except (mx.MXNetError, ValueError) as error:
        raise LoadError(f'{path} is damaged or not a parameter file of MXNet: {sentence(error)}') from None
    return {name.split(':', 1)[-1]: value for name, value in found.items()} if isinstance(found, dict) else {}


def load_parameters(net: mx.gluon.Block, path: str | os.PathLike,
                    ctx: mx.Context | Sequence[mx.Context] | None = None, skip: str | None = None,
                    rename: Callable[[str], str] | None = None) -> None:
    """Load trained parameters into a network, with errors that say what is wrong with the file.

    Parameters
    ----------
    net : gluon.Block
        All that is skipped has to be initialized, before or afterwards.
    path : str or os.PathLike
        Written by `save_parameters` for a network of the same structure, with or without `deduplicate`.
    ctx : Context or list of Context, optional
    skip : str, optional
        The parameters that this selects (`select_parameters`) keep what they have, whatever the file holds in their
        place: 'output' leaves the classifier of a model of the zoo as it is, for other classes.
    rename : callable, optional
        Gives the network's name of a parameter, of the file's.

    Raises
    ------
    FileNotFoundError
        No such file.
    LoadError
        The file is damaged, or belongs to another model.
    ValueError
        `skip` is no regular expression, or selects nothing.
    """
    skipped = set() if skip is None else set(select_parameters(net, skip))
    expected = {name: parameter for name, parameter in net._collect_params_with_prefix().items()
                if name not in skipped}
    renamed = {name if rename is None else rename(name): value for name, value in read_arrays(path).items()}
    found = {name: value for name, value in renamed.items() if name not in skipped}
    given = {expected[name] for name in found if name in expected}  # of a shared one, one name is enough
    missing = sorted(name for name in expected if expected[name] not in given)
    extra = sorted(set(found) - set(expected))
    if missing or extra:
        if os.fspath(path).endswith('-0000.params'):
            raise LoadError(f'{os.fspath(path)} is no file of trained parameters, but of a deployed model, it seems, '
                            'whose weights are packed: give those of its training, for example MODEL-best.params')
        raise LoadError(f'{path} belongs to another model than {getattr(net, "model_name", net.name)}: {len(missing)} '
                        f'of its {len(expected)} parameters are missing{_example(missing)}, {len(extra)} are '
                        f'unknown{_example(extra)}; was it built with another stem or other keywords?')
    for name, value in found.items():
        if not _compatible(expected[name].shape, value.shape):
            raise LoadError(f'{path}: parameter {name} has shape {value.shape}, the model '
                            f'{getattr(net, "model_name", net.name)} wants {expected[name].shape}; was it built with '
                            'other classes, stem or keywords?')
    for name, value in found.items():
        expected[name]._load_init(value, ctx, cast_dtype=True)


def select_parameters(net: mx.gluon.Block, pattern: str) -> dict[str, mx.gluon.Parameter]:
    """The parameters of a network, by name, whose names a regular expression matches from their beginning on.

    Names are those of files of parameters, for example features.0.weight: no other network in the process changes them.

    Raises
    ------
    ValueError
        It is no regular expression, or matches none.
    """
    parameters = net._collect_params_with_prefix()
    try:
        found = {name: parameter for name, parameter in parameters.items() if re.match(pattern, name)}
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f'{pattern!r:.100} is no regular expression: {error}') from None
    if not found:
        raise ValueError(f'{pattern!r:.100} matches no parameter of {getattr(net, "model_name", net.name)}: their '
                         f'names are {", ".join(list(parameters)[:3])}, ..., {list(parameters)[-1]}')
    return found


def _example(names: Sequence[str]) -> str:
    return f' ({names[0]}, ...)' if names else ''


def _compatible(declared: Sequence[int], found: Sequence[int]) -> bool:
    """Whether a declared shape, in which 0 is yet unknown, allows the one found."""
    return declared is None or (len(declared) == len(found) and all(a in (0, b) for a, b in zip(declared, found)))
