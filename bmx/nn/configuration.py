"""Defaults of the quantized layers, and the scope that changes them."""
from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import functools
from numbers import Real
from typing import Any, Iterator, Mapping

import numpy as np

from .quantizers import (
    BINARIZATIONS,
    ESTIMATORS,
    SCALINGS,
    ApproxSign,
    DoReFa,
    Float,
    Quantizer,
    Residual,
    Sign,
    names,
    parse_quantizer,
)

BITS = tuple(range(1, 9)) + (32,)


@dataclasses.dataclass(frozen=True)
class Config:
    """How a quantized layer quantizes; frozen, so that a block keeps what it was built with.

    `activation` and `weight` name quantizers; where they are None, the others stand for one, BMXNet's way. Both ways at
    once, for one role, are refused.

    Attributes
    ----------
    bits : int
        Of the weights: 1 (a sign), 2 to 8 (`dorefa`) or 32 (`float`: the layer equals its Gluon parent).
    activation_bits : int, optional
        Of the activations, the same values; None: as many as `bits`.
    quantizer : str
        Name in `bmx.nn.quantizers.ESTIMATORS`: the sign's gradient, for activations and weights of 1 bit.
    clip_threshold : float
        t of the straight-through estimator (MeliusNet, Equation 3); 0 stops all but the gradient at 0.
    scaling : str
        Of weights of 1 bit, see `bmx.nn.quantizers.Sign`.
    pad_value : int
        What a padded tap counts as: -1, +1 or 0. Where the activations are not signs, or the weights float, always 0.
    binarizations : int
        How many scaled signs stand for an activation (`residual`), 1 to 8; with 1 its sign alone, not scaled. Only
        where weights and activations have 1 bit. See docs/semantics.md, "Several binarizations".
    activation, weight : str or Quantizer, optional
        A quantizer, or a text such as 'dorefa(2)' that names one (`bmx.nn.QUANTIZERS`); kept as text.
    """
    bits: int = 1
    activation_bits: int | None = None
    quantizer: str = 'ste_sign'
    clip_threshold: float = 1.3
    scaling: str = 'none'
    pad_value: int = -1
    binarizations: int = 1
    activation: str | None = None
    weight: str | None = None

    def __post_init__(self) -> None:
        for field, allowed in (('bits', BITS), ('activation_bits', (None,) + BITS), ('scaling', SCALINGS),
                               ('quantizer', tuple(ESTIMATORS)), ('pad_value', (-1, 0, 1)),
                               ('binarizations', BINARIZATIONS)):
            value = getattr(self, field)
            if value not in allowed:
                raise ValueError(f'{field} must be one of {", ".join(map(repr, allowed))}, got {value!r}')
            object.__setattr__(self, field, allowed[allowed.index(value)])  # NumPy's numbers cannot be written as JSON
        threshold = self.clip_threshold
        if not (isinstance(threshold, Real) and threshold >= 0):
            raise ValueError(f'clip_threshold must be a number of at least 0, got {threshold!r}')
        object.__setattr__(self, 'clip_threshold', threshold.item() if isinstance(threshold, np.generic) else threshold)
        for role, can in (('activation', 'quantizes_activations'), ('weight', 'quantizes_weights')):
            value = getattr(self, role)
            if value is not None:
                quantizer = parse_quantizer(value)
                if not getattr(quantizer, can)():
                    raise ValueError(f'{role}: {quantizer.name} does not quantize {role}s; those that do: '
                                     f'{", ".join(names(role == "activation"))}')
                object.__setattr__(self, role, str(quantizer))

    @functools.cached_property
    def activation_quantizer(self) -> Quantizer:
        """The object that quantizes activations."""
        if self.activation is not None:
            return parse_quantizer(self.activation)
        bits = self.bits if self.activation_bits is None else self.activation_bits
        if self.weight is not None and self.activation_bits is None:
            bits = 1 if self.weight_quantizer.bits < 32 else 32
        if bits > 1:
            return Float() if bits == 32 else DoReFa(bits)
        if self.binarizations > 1 and self.weight_quantizer.bits == 1:
            return Residual(self.binarizations, self.clip_threshold, self.quantizer)
        return self._sign('none')

    @functools.cached_property
    def weight_quantizer(self) -> Quantizer:
        """The object that quantizes weights."""
        if self.weight is not None:
            return parse_quantizer(self.weight)
        if self.bits > 1:
            return Float() if self.bits == 32 else DoReFa(self.bits)
        return self._sign(self.scaling)

    def _sign(self, scaling: str) -> Quantizer:
        return ApproxSign(scaling) if self.quantizer == 'approx_sign' else Sign(scaling, self.clip_threshold)

    @property
    def border(self) -> int:
        """What a convolution's padding holds: `pad_value` among signs, else 0."""
        return self.pad_value if self.activation_quantizer.signs and self.weight_quantizer.bits < 32 else 0


ROLES = ('activation', 'weight')
# What stands for a quantizer where none is named.
_SHORTHAND = {'activation': {'bits', 'activation_bits', 'quantizer', 'clip_threshold', 'binarizations'},
              'weight': {'bits', 'quantizer', 'clip_threshold', 'scaling'}}
# What tells all of these is a whole configuration, a recipe's for instance: shorthand beside a name is what was there
# before the name was given.
_WHOLE = {'bits', 'quantizer', 'clip_threshold', 'scaling', 'binarizations'}
_current = contextvars.ContextVar('bmx.nn.config', default=Config())  # noqa: B039  (it is frozen)


def check_told_once(given: Mapping[str, Any], defaults: bool = False) -> None:
    """Refuse, by a ValueError, the name of a quantizer beside shorthand for it, also of what is Config's default where
    `defaults`; None means "not given"."""
    for role in ROLES:
        for key in sorted(_SHORTHAND[role]) if given.get(role) is not None else ():
            value = given.get(key)
            if value is not None and (defaults or value != getattr(Config, key)):
                raise ValueError(f'{key}={value!r:.100} and {role}={str(given[role])!r:.100} both tell how {role}s are '
                                 f'quantized: leave one of them out; to tell quantizers of both roles, name both, by '
                                 'activation= and weight=')


def merged(further: Mapping[str, Any], **given: Any) -> dict[str, Any]:
    """Settings with what was given nearer to a layer in their place; None means "not given", 0 means 0.

    Nearer shorthand goes before a name that is further away, and a nearer name before all shorthand.

    Parameters
    ----------
    further : dict
        Attributes of `Config`, and anything else.
    **given
        The same.

    Raises
    ------
    ValueError
        The two ways to tell a quantizer, its name and shorthand that is not the default, are given at once.
    """
    given = {key: value for key, value in given.items() if value is not None}
    if not _WHOLE <= set(given):
        check_told_once(given)
    for role, shorthand in _SHORTHAND.items():
        if not shorthand.isdisjoint(given):
            given.setdefault(role, None)
    return {**further, **given}


def resolve(**given: Any) -> Config:
    """The scope's configuration with what was given to a layer, as `merged` says."""
    return Config(**merged(dataclasses.asdict(_current.get()), **given))


@contextlib.contextmanager
def config(**defaults: Any) -> Iterator[Config]:
    """Set the defaults of the quantized layers that are built inside the scope, in this thread.

    Parameters
    ----------
    **defaults
        Any attribute of `Config`: bits, activation_bits, quantizer, clip_threshold, scaling, pad_value, binarizations,
        activation, weight.

    Examples
    --------
    >>> with bmx.nn.config(clip_threshold=1.3, scaling='constant'):
    ...     layer = bmx.nn.QConv2D(64, 3)
    """
    unknown = set(defaults) - {field.name for field in dataclasses.fields(Config)}
    if unknown:
        raise TypeError(f'config has no setting {", ".join(sorted(unknown))}; it has '
                        f'{", ".join(field.name for field in dataclasses.fields(Config))}')
    token = _current.set(resolve(**defaults))
    try:
        yield _current.get()
    finally:
        _current.reset(token)
