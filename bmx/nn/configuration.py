"""Defaults of the quantized layers, and the scope that changes them."""
from __future__ import annotations

import contextlib
import contextvars
import dataclasses
from numbers import Real
from typing import Any, Iterator, Sequence

import numpy as np

from . import quantizers
from .quantizers import Tensor

BITS = tuple(range(1, 9)) + (32,)
SCALINGS = ('none', 'constant', 'gradient')
BINARIZATIONS = tuple(range(1, 9))


@dataclasses.dataclass(frozen=True)
class Config:
    """How a quantized layer quantizes; frozen, so that a block keeps what it was built with.

    Attributes
    ----------
    bits : int
        Of the weights: 1 (binary), 2 to 8 (DoReFa-Net) or 32 (float: the layer equals its Gluon parent).
    activation_bits : int, optional
        Of the activations, the same values; None: as many as `bits`.
    quantizer : str
        Name in `bmx.nn.QUANTIZERS`: the sign's gradient, for activations and weights of 1 bit.
    clip_threshold : float
        t of the straight-through estimator (MeliusNet, Equation 3); 0 stops all but the gradient at 0.
    scaling : str
        Channel-wise scaling of weights of 1 bit by alpha = mean |w| of an output channel: 'none', 'gradient' (XNOR-Net:
        through the sign, straight, and through alpha) or 'constant' (Bi-Real-Net's magnitude-aware gradient: alpha
        multiplies the gradient of the sign, its own is not taken). See docs/semantics.md, "Weight scaling".
    pad_value : int
        What a padded tap counts as: -1, +1 or 0. Where the activations are not signs, or the weights float, always 0.
    binarizations : int
        How many scaled signs stand for an activation (Tang et al. 2017), 1 to 8; with 1 its sign alone, not scaled.
        Only where weights and activations have 1 bit. See docs/semantics.md, "Several binarizations".
    """
    bits: int = 1
    activation_bits: int | None = None
    quantizer: str = 'ste_sign'
    clip_threshold: float = 1.3
    scaling: str = 'none'
    pad_value: int = -1
    binarizations: int = 1

    def __post_init__(self) -> None:
        for field, allowed in (('bits', BITS), ('activation_bits', (None,) + BITS), ('scaling', SCALINGS),
                               ('quantizer', tuple(quantizers.QUANTIZERS)), ('pad_value', (-1, 0, 1)),
                               ('binarizations', BINARIZATIONS)):
            value = getattr(self, field)
            if value not in allowed:
                raise ValueError(f'{field} must be one of {", ".join(map(repr, allowed))}, got {value!r}')
            object.__setattr__(self, field, allowed[allowed.index(value)])  # NumPy's numbers cannot be written as JSON
        threshold = self.clip_threshold
        if not (isinstance(threshold, Real) and threshold >= 0):
            raise ValueError(f'clip_threshold must be a number of at least 0, got {threshold!r}')
        object.__setattr__(self, 'clip_threshold', threshold.item() if isinstance(threshold, np.generic) else threshold)

    @property
    def input_bits(self) -> int:
        """Bits of the activations: `activation_bits`, or where that is None those of the weights."""
        return self.bits if self.activation_bits is None else self.activation_bits

    @property
    def border(self) -> int:
        """What a convolution's padding holds: `pad_value` among signs, else 0."""
        return self.pad_value if self.input_bits == 1 and self.bits < 32 else 0

    @property
    def terms(self) -> int:
        """How many signs stand for an activation: `binarizations` among signs, else 1."""
        return self.binarizations if self.input_bits == self.bits == 1 else 1

    def quantize_activation(self, x: Tensor, padding: Sequence[int] = ()) -> Tensor | tuple[Tensor, Tensor]:
        """Quantize an NDArray or Symbol to `input_bits`; the dtype stays. Signs get a border of `pad_value`.

        With several `terms` it returns their signs and scales, see `bmx.nn.quantizers.residual_sign`.
        """
        if self.terms > 1:
            return quantizers.residual_sign(x, self.terms, self.quantizer, self.clip_threshold, padding=padding,
                                            pad_value=self.pad_value)
        if self.input_bits == 1:
            return self._sign(x, padding=padding, pad_value=self.pad_value)
        return x if self.input_bits == 32 else quantizers.k_bit_activation(x, self.input_bits)

    def quantize_weight(self, x: Tensor) -> Tensor:
        """Quantize an NDArray or Symbol to `bits`; the dtype stays."""
        if self.bits == 1:
            return self._sign(x)
        return x if self.bits == 32 else quantizers.k_bit_weight(x, self.bits)

    def _sign(self, x: Tensor, **arguments: Any) -> Tensor:
        return quantizers.QUANTIZERS[self.quantizer](x, clip_threshold=self.clip_threshold, **arguments)


_current = contextvars.ContextVar('bmx.nn.config', default=Config())  # noqa: B039  (it is frozen)


def resolve(**given: Any) -> Config:
    """The scope's configuration with what was given to a layer; None means "not given", 0 means 0."""
    return dataclasses.replace(_current.get(), **{key: value for key, value in given.items() if value is not None})


@contextlib.contextmanager
def config(**defaults: Any) -> Iterator[Config]:
    """Set the defaults of the quantized layers that are built inside the scope, in this thread.

    Parameters
    ----------
    **defaults
        Any attribute of `Config`: bits, activation_bits, quantizer, clip_threshold, scaling, pad_value, binarizations.

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
