"""Defaults of the quantized layers, and the scope that changes them."""
import contextlib
import contextvars
import dataclasses

from . import quantizers

SCALINGS = ('none', 'constant', 'gradient')


@dataclasses.dataclass(frozen=True)
class Config:
    """How a quantized layer quantizes; frozen, so that a block keeps what it was built with.

    Attributes
    ----------
    bits : int
        1 (binary) or 32 (float: the layer equals its Gluon parent).
    quantizer : str
        Name in `bmx.nn.QUANTIZERS`: the sign's gradient, for activations and weights.
    clip_threshold : float
        t of the straight-through estimator (MeliusNet, Equation 3); 0 blocks all but the gradient at 0.
    scaling : str
        Channel-wise weight scaling alpha = mean |w| of an output channel (XNOR-Net): 'none', 'constant' (no gradient
        through alpha) or 'gradient'.
    pad_value : int
        What a padded tap counts as: -1, +1 or 0.
    """
    bits: int = 1
    quantizer: str = 'ste_sign'
    clip_threshold: float = 1.3
    scaling: str = 'none'
    pad_value: int = -1

    def __post_init__(self):
        for field, allowed in (('bits', (1, 32)), ('quantizer', tuple(quantizers.QUANTIZERS)),
                               ('scaling', SCALINGS), ('pad_value', (-1, 0, 1))):
            if getattr(self, field) not in allowed:
                raise ValueError('%s must be one of %s, got %r' % (field, ', '.join(map(repr, allowed)), getattr(self, field)))
        if not self.clip_threshold >= 0:
            raise ValueError('clip_threshold must be a number of at least 0, got %r' % (self.clip_threshold,))

    def quantize(self, x, composed=False, padding=()):
        """Quantize an NDArray or Symbol, then pad it with `pad_value`; the dtype stays. With bits=32 it stays as it is.

        `composed` asks for built-in operators even on the CPU.
        """
        if self.bits == 32:
            return x
        return quantizers.QUANTIZERS[self.quantizer](x, clip_threshold=self.clip_threshold, composed=composed,
                                                     padding=padding, pad_value=self.pad_value)


_current = contextvars.ContextVar('bmx.nn.config', default=Config())


def resolve(**given):
    """The scope's configuration with what was given to a layer; None means "not given", 0 means 0."""
    return dataclasses.replace(_current.get(), **{key: value for key, value in given.items() if value is not None})


@contextlib.contextmanager
def config(**defaults):
    """Set the defaults of the quantized layers that are built inside the scope, in this thread.

    Parameters
    ----------
    **defaults
        Any attribute of `Config`: bits, quantizer, clip_threshold, scaling, pad_value.

    Examples
    --------
    >>> with bmx.nn.config(clip_threshold=1.3, scaling='constant'):
    ...     layer = bmx.nn.QConv2D(64, 3)
    """
    unknown = set(defaults) - {field.name for field in dataclasses.fields(Config)}
    if unknown:
        raise TypeError('config has no setting %s; it has %s' % (
            ', '.join(sorted(unknown)), ', '.join(field.name for field in dataclasses.fields(Config))))
    token = _current.set(resolve(**defaults))
    try:
        yield _current.get()
    finally:
        _current.reset(token)
