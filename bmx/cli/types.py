"""Types of options, for argparse: from text to a value, or a refusal that says what is wanted."""
from __future__ import annotations

import argparse
import ast
from typing import Any

from ..io.description import NOT_KEYWORDS, scale_complaint

# Whole numbers are below, of which nobody needs as many.
MOST = 1 << 31


def setting(text: str) -> tuple[str, Any]:
    """A `key=value` of --set as (key, value); the value is a Python literal, else a string."""
    key, separator, value = text.partition('=')
    if not separator or not key.isidentifier():
        raise argparse.ArgumentTypeError(f'{text!r:.100} is not key=value')
    if key in NOT_KEYWORDS:
        raise argparse.ArgumentTypeError(f"{key} is an argument of Gluon's, not a keyword of the model")
    try:
        return key, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return key, value
    except (MemoryError, RecursionError):
        raise argparse.ArgumentTypeError(f'the value of {key} is nested too deeply') from None


def yes_or_no(text: str) -> bool:
    """A bool."""
    if text not in ('yes', 'no'):
        raise argparse.ArgumentTypeError(f'must be yes or no, got {text}')
    return text == 'yes'


def epochs(text: str) -> tuple[int, ...]:
    """Whole numbers with commas between them."""
    return tuple(natural(number) for number in text.split(','))


def _number(kind, accepts, wanted):
    """The type of numbers of a kind (int, float) that a predicate accepts."""
    def number(text):
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not accepts(value):
            raise argparse.ArgumentTypeError(f'must be {wanted}, got {text!s:.100}')
        return value
    return number


natural = _number(int, lambda value: 0 <= value < MOST, 'a whole number of at least 0')
positive = _number(int, lambda value: 1 <= value < MOST, 'a whole number of at least 1')
workers = _number(int, lambda value: 0 <= value <= 1024, 'a whole number from 0 to 1024')
seed = _number(int, lambda value: 0 <= value < 1 << 32, f'a whole number from 0 to {(1 << 32) - 1}')
non_negative = _number(float, lambda value: 0 <= value < float('inf'), 'a finite number of at least 0')
fraction = _number(float, lambda value: 0 < value <= 1, 'a number above 0 and at most 1')
share = _number(float, lambda value: 0 <= value <= 1, 'a number from 0 to 1')
above_zero = _number(float, lambda value: 0 < value < float('inf'), 'a finite number above 0')
port = _number(int, lambda value: 1 <= value < 1 << 16, f'a whole number from 1 to {(1 << 16) - 1}')
side = _number(int, lambda value: 1 <= value <= 1 << 14, f'a whole number from 1 to {1 << 14}')


def _channel(name):
    """The type of a channel's 'mean' or 'std'."""
    def channel(text):
        try:
            complaint, value = None, float(text)
        except ValueError:
            complaint = f'must be a number, got {text!s:.100}'
        else:
            complaint = scale_complaint(name, value)
        if complaint:
            raise argparse.ArgumentTypeError(complaint)
        return value
    return channel


mean, std = _channel('mean'), _channel('std')
