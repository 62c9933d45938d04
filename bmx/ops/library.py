"""Where the C++ library is; read by `setup.py`, too, so it imports nothing of this package."""
from __future__ import annotations

import hashlib
import sys
from pathlib import Path

_NAME = Path('bmx', 'ops', 'libbmx.so')
_FOLDER = Path(__file__).resolve().parent


def fingerprint(folder: Path = _FOLDER / 'src') -> str | None:
    """What tells the C++ sources in a folder from others, as the library that is made of them holds it.

    Returns
    -------
    str
        None where there are no sources, as in an installed package.
    """
    sources = sorted(Path(folder).rglob('*.cc')) + sorted(Path(folder).rglob('*.h'))
    if not sources:
        return None
    digest = hashlib.sha256()
    for source in sources:
        content = source.read_bytes()
        digest.update(f'{source.name} {len(content)}\n'.encode() + content)
    return digest.hexdigest()


def find_library() -> str:
    """The library beside this file; in a clone without one, or with one of other sources, that of an installed bmx.

    Returns
    -------
    str
        An absolute path.

    Raises
    ------
    ImportError
        There is no library, or none made of the sources that lie beside this file.
    """
    wanted = fingerprint()
    candidates = [_FOLDER / _NAME.name]
    if wanted is not None:  # a clone
        candidates += [Path(folder).resolve() / _NAME for folder in sys.path]
    others = []
    for path in candidates:
        if path.is_file():
            if wanted is None or wanted.encode() in path.read_bytes():
                return str(path)
            others.append(str(path))
    found = f'{" and ".join(dict.fromkeys(others))} was made of other C++ sources' if others else \
        f'{candidates[0]} is missing'
    if wanted is None:
        raise ImportError(f'{found}: install bmx again')
    raise ImportError(f'{found}: in {_FOLDER.parents[1]} run `{sys.executable} -m pip install .` or `{sys.executable} '
                      'setup.py build_ext --inplace`')
