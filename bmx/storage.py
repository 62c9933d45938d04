"""Files that are there whole or not at all, and how to tell."""
import contextlib
import hashlib
import os
import tempfile

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
