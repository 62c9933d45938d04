"""`bmx models`: the models, their keywords with defaults, and their recipes."""
from __future__ import annotations

import argparse
import dataclasses
import inspect
import json
import textwrap
from typing import Any, Iterable

from ..io.description import plain
from ..models import MODELS, family, find, keywords
from ..train.recipes import Recipe, resolve
from .output import tell

_WIDTH = 110


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.description = ('The models by family. Keywords are given as --set KEY=VALUE; a recipe is what a training '
                          'takes where options do not say otherwise.')
    parser.add_argument('names', nargs='*', metavar='MODEL', help='default: all')
    parser.add_argument('--json', action='store_true', help='machine-readable output')


def run(arguments: argparse.Namespace) -> None:
    names = [find(name).__name__ for name in arguments.names] or list(MODELS)
    if arguments.json:
        print(json.dumps({name: describe(name) for name in names}, indent=1, default=repr))
    else:
        tell('\n\n'.join(_texts(list(dict.fromkeys(names)))))


def describe(name: str) -> dict[str, Any]:
    """What there is to know of a model, as JSON holds it: its family, keywords with defaults, recipe on photographs.

    A keyword without a default has null, as one whose default is None.
    """
    network = family(name)
    return {'family': network.__name__ if network else None, 'text': _first_line(network or find(name)),
            'keywords': {key: plain(default) for key, default in _defaults(name).items()},
            'recipe': dataclasses.asdict(resolve(name, 'folder', {}))}


def _defaults(name: str) -> dict[str, Any]:
    return {key: None if parameter.default is inspect.Parameter.empty else parameter.default
            for key, parameter in (keywords(name) or {}).items()}


def _first_line(documented: Any) -> str:
    return (inspect.getdoc(documented) or '').partition('\n')[0]


def _texts(names: list[str]) -> list[str]:
    """A text for each family: what most of its models have, then each model with what it has in another way."""
    families: dict[Any, list[str]] = {}
    for name in names:
        families.setdefault(family(name) or name, []).append(name)
    usual = dataclasses.asdict(Recipe())
    texts = []
    for network, members in families.items():
        keys = {name: _defaults(name) for name in members}
        recipes = {name: dataclasses.asdict(resolve(name, 'folder', {})) for name in members}
        shared, trained = _usual(keys.values()), _usual(recipes.values())
        title, documented = (network, find(network)) if isinstance(network, str) else (network.__name__, network)
        text = _first_line(documented)
        lines = [f'{title}: {text}' if text else title, *_wrapped('keywords: ', shared),
                 *_wrapped('recipe: ', _other(trained, usual), 'the default one')]
        for name in members:
            lines += _wrapped(f'{name}: ', _other(keys[name], shared)) if len(members) > 1 else []
            own = _other(recipes[name], trained)
            lines += ['  ' + line for line in _wrapped('recipe: ', own)] if own else []
        texts.append('\n'.join(lines))
    return texts


def _usual(settings: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Of each key the value that is there most often, the first of equally many."""
    found: dict[str, list[Any]] = {}
    for each in settings:
        for key, value in each.items():
            found.setdefault(key, []).append(value)
    return {key: max(values, key=values.count) for key, values in found.items()}


def _other(settings: dict[str, Any], than: dict[str, Any]) -> dict[str, Any]:
    """What settings have in another way."""
    return {key: value for key, value in settings.items() if key not in than or than[key] != value}


def _wrapped(head: str, settings: dict[str, Any], nothing: str = 'as these') -> list[str]:
    text = ', '.join(f'{key}={_short(value)}' for key, value in settings.items())
    return textwrap.wrap(head + (text or nothing), _WIDTH, initial_indent='  ', subsequent_indent='      ',
                         break_long_words=False, break_on_hyphens=False)


def _short(value: Any) -> str:
    """A value in a few characters: shares in three digits, long sequences cut."""
    if isinstance(value, float):
        return f'{value:.4g}'
    if isinstance(value, (list, tuple)):
        text = '(' + ', '.join(map(_short, value)) + (',)' if len(value) == 1 else ')')
        return text if len(text) <= 60 else f'{text[:50]} ... {len(value)} in all)'
    return repr(value)
