"""Studies: trainings to compare, each a set of bmx train's flags, as data in a file (docs/recipes.md)."""
import configparser
import dataclasses
import re
from typing import Dict, List, Optional, Tuple

from .errors import TrainingError

# What run_recipes.py itself decides for each training.
RESERVED = ('data-dir', 'save-dir', 'seed', 'resume', 'resume-epoch', 'resume-params', 'resume-states', 'extend',
            'dry-run', 'benchmark-input', 'logging-file')

# What run_recipes.py writes beside the folders of the variants.
RESULT_FILES = ('results.csv', 'summary.csv', 'results.png', 'sign-flips.png')

# Keys that are no flags.
_NOTES = ('expected', 'published')


@dataclasses.dataclass(frozen=True)
class Variant:
    """One training of a study, a section of its file.

    Attributes
    ----------
    name : str
    flags : list of str
        Arguments for bmx train.
    expected : float or None
        Published top-1 in %.
    published : list of (int, float)
        Published validation top-1 of single epochs, in %.
    """
    name: str
    flags: List[str]
    expected: Optional[float]
    published: List[Tuple[int, float]]


@dataclasses.dataclass(frozen=True)
class Study:
    """Variants, and which of them are compared.

    Attributes
    ----------
    path : str
    variants : dict
        Name to `Variant`.
    comparisons : dict
        Title to the names of variants, of which the first is the baseline.
    """
    path: str
    variants: Dict[str, Variant]
    comparisons: Dict[str, List[str]]


def read_study(path: str) -> Study:
    """Read and check a study.

    Parameters
    ----------
    path : str

    Returns
    -------
    Study

    Raises
    ------
    TrainingError
        The file is not what docs/recipes.md describes; the message says where. Flags are not checked here.
    OSError
        It cannot be read.
    """
    # The default section's own handling would put the flags into [comparisons], too.
    parser = configparser.ConfigParser(
        interpolation=None, delimiters=('=',), comment_prefixes=('#',), inline_comment_prefixes=('#',),
        allow_no_value=True, empty_lines_in_values=False, default_section='')
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    try:
        with open(path, encoding='utf-8') as lines:
            parser.read_file(lines, source=path)
    except (configparser.Error, UnicodeDecodeError) as error:
        raise TrainingError(f'{path} is no study: {" ".join(str(error).split())}') from None
    sections = {name: dict(parser[name]) for name in parser.sections()}
    common = sections.pop('DEFAULT', {})
    comparisons = sections.pop('comparisons', None)
    if not sections:
        raise TrainingError(f'{path} has no variants: each is a section like [baseline] with flags of bmx '
                            'train')
    variants = {name: _variant(f'{path}, [{name}]', name, dict(common, **section))
                for name, section in sections.items()}
    return Study(path, variants, _comparisons(path, variants, comparisons))


def _variant(where, name, section):
    if not re.fullmatch(r'\w[\w.-]*', name):
        raise TrainingError(f'{where}: a variant is also the name of a folder: letters, digits, _, - and . only')
    if name in RESULT_FILES:
        raise TrainingError(f'{where}: results are written to {name}, call the variant otherwise')
    for key in section:
        if key in RESERVED:
            raise TrainingError(f'{where}: leave out {key}, run_recipes.py gives it')
    if not section.get('model'):
        raise TrainingError(f'{where}: model is missing')
    expected = section.get('expected')
    flags = [flag for key, value in section.items() if key not in _NOTES for flag in _flags(key, value)]
    return Variant(name, flags, None if expected is None else _percent(where, 'expected', expected),
                   _published(where, section.get('published') or ''))


def _flags(key, value):
    """The arguments of one key: one of each of its lines."""
    if value is None:
        return ['--' + key]
    return [f'--{key}={line}' for line in value.strip().split('\n')]


def _percent(where, key, text):
    try:
        number = float(text)
    except ValueError:
        number = -1
    if not 0 <= number <= 100:
        raise TrainingError(f'{where}: {key} must be a number of percent, got {text!r}')
    return number


def _published(where, text):
    points = []
    for point in text.split():
        epoch, _, value = point.partition(':')
        if not epoch.isdigit() or int(epoch) < 1:
            raise TrainingError(f'{where}: published must be EPOCH:PERCENT and so on, got {point!r}')
        points.append((int(epoch), _percent(where, 'published', value)))
    return points


def _comparisons(path, variants, section):
    if section is None:
        return {'all variants': list(variants)}
    comparisons = {title: [name.strip() for name in (names or '').split(',')] for title, names in section.items()}
    for title, names in comparisons.items():
        for name in names:
            if name not in variants:
                raise TrainingError(f'{path}, [comparisons], {title}: there is no section [{name}]')
        if len(set(names)) < len(names):
            raise TrainingError(f'{path}, [comparisons], {title}: a variant is named twice')
    unused = set(variants).difference(*comparisons.values())
    if unused:
        raise TrainingError(f'{path}: in none of the [comparisons]: {", ".join(sorted(unused))}')
    return comparisons
