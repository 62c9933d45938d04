"""What a quantizer is, and the registry by whose names layers, models, recipes and commands tell one."""
from __future__ import annotations

import ast
import dataclasses
import difflib
import math
from typing import Any, ClassVar, Dict, NamedTuple, Sequence, Tuple, Union

import mxnet as mx
import numpy as np

from ..tensors import Tensor, namespace


class Term(NamedTuple):
    """A quantized weight is the sum of its terms: `values` times `scale` times `step`.

    Attributes
    ----------
    values : NDArray or Symbol
        Of the weight's shape; integers, but of a float weight.
    scale : NDArray or Symbol, optional
        (O,), one for each output channel, which the product is multiplied with.
    step : float
        Another factor of the product.
    """
    values: Tensor
    scale: Tensor | None = None
    step: float = 1.0


# Name of a learned parameter -> its shape and what it begins with.
Learned = Dict[str, Tuple[Tuple[int, ...], Union[float, Sequence[float]]]]


@dataclasses.dataclass(frozen=True)
class Quantizer:
    """A method: how activations, or weights, or both become numbers of few bits, and their gradient.

    A subclass is frozen and has the method's settings as fields; it overrides `quantize_activation`,
    `quantize_weight` or both. Its text, `dorefa(2)`, is what `parse_quantizer` makes it of again.

    Attributes
    ----------
    name : str
        In the registry.
    source : str
        Paper, with the equations that it is written after.
    bits : int
        Of a value; as many as there are signs in the sum that it is. 32: it stays as it is.
    step : float
        Activations are integers times this number.
    signs : bool
        Activations are +1 and -1, or sums of such: their padding is what `bmx.nn.Config.pad_value` says, else 0.
    has_scales : bool
        Activations have a second output, for `combine`.
    by_channel : bool
        What activations learn has a value for each channel: the block has to be told how many there are.
    """
    name: ClassVar[str] = ''
    source: ClassVar[str] = ''
    signs: ClassVar[bool] = False
    by_channel: ClassVar[bool] = False

    @property
    def bits(self) -> int:
        raise NotImplementedError

    @property
    def step(self) -> float:
        return 1.0

    @property
    def has_scales(self) -> bool:
        return False

    @property
    def planes(self) -> int:
        """How many tensors of one bit an activation is given as, one behind the other along the batch."""
        return 1

    def activation_parameters(self, channels: int) -> Learned:
        """What `quantize_activation` learns, of so many channels."""
        return {}

    def weight_parameters(self, shape: Sequence[int]) -> Learned:
        """What `quantize_weight` learns, of a weight of this shape, where 0 is unknown."""
        return {}

    def quantize_activation(self, x: Tensor, padding: Sequence[int] = (), pad_value: int = -1,
                            **learned: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Quantize activations.

        Parameters
        ----------
        x : NDArray or Symbol
            (N, C, ...), float.
        padding, pad_value
            The border around the last axes, where they are `signs`.
        **learned
            The parameters of `activation_parameters`.

        Returns
        -------
        NDArray or Symbol, or two
            The values; where it `has_scales`, also what `combine` takes. With several `planes` these lie along the
            batch, (planes * N, C, ...), and the scales are (planes, N).
        """
        raise NotImplementedError

    def quantize_weight(self, weight: Tensor, **learned: Tensor) -> list[Term]:
        """Quantize a weight, (O, ...), given the parameters of `weight_parameters`."""
        raise NotImplementedError

    def integers(self, x: Tensor) -> Tensor:
        """The integers of which activations are `step` times as much, exactly."""
        return x if self.step == 1 else x / self.step

    def combine(self, product: Tensor, scales: Tensor, shape: tuple[int, ...], window: dict[str, Any]) -> Tensor:
        """Make one of the products of all planes.

        Parameters
        ----------
        product : NDArray or Symbol
            Of what `quantize_activation` returned with one term of the weights.
        scales : NDArray or Symbol
            Its second output.
        shape : tuple of int
            That in which (N,) broadcasts to a product, (-1, 1, 1, 1) for instance.
        window : dict
            kernel, stride, pad and dilate of a convolution; empty of a dense layer.
        """
        F, total = namespace(product), None
        if self.planes == 1:
            return F.broadcast_mul(product, F.reshape(scales, shape=shape))
        # squeeze_axis makes MXNet compare the number of planes
        by_plane = F.SliceChannel(scales, num_outputs=self.planes, axis=0, squeeze_axis=True)
        for plane, scale in zip(F.SliceChannel(product, num_outputs=self.planes, axis=0), by_plane):
            plane = F.broadcast_mul(plane, F.reshape(scale, shape=shape))
            total = plane if total is None else total + plane
        return total

    def finish(self, product: Tensor, axes: int, **learned: Tensor) -> Tensor:
        """What becomes of the sum of the products with all terms of a weight: (N, O, ...) with so many axes behind the
        channels, or (..., O) where `axes` is 0; given the parameters of `weight_parameters`."""
        return product

    @classmethod
    def quantizes_activations(cls) -> bool:
        return cls.quantize_activation is not Quantizer.quantize_activation

    @classmethod
    def quantizes_weights(cls) -> bool:
        return cls.quantize_weight is not Quantizer.quantize_weight

    def __str__(self) -> str:
        given = []
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value != field.default:
                given.append(f'{value!r}' if field.default is dataclasses.MISSING else f'{field.name}={value!r}')
        return self.name + (f'({", ".join(given)})' if given else '')


QUANTIZERS: dict[str, type[Quantizer]] = {}


def register(quantizer: type[Quantizer]) -> type[Quantizer]:
    """Make a subclass of `Quantizer` known under its name; a decorator."""
    if quantizer.name in QUANTIZERS:
        raise ValueError(f'a quantizer named {quantizer.name} is registered already')
    QUANTIZERS[quantizer.name] = quantizer
    return quantizer


def names(activations: bool) -> list[str]:
    """The names of those that quantize activations, or weights."""
    return [name for name, found in QUANTIZERS.items()
            if (found.quantizes_activations() if activations else found.quantizes_weights())]


def names_quantizer(value: object) -> bool:
    """Whether a value is a quantizer, or a text with the name of one, and not something else's, 'relu' for instance."""
    return isinstance(value, Quantizer) or (
        isinstance(value, str) and value.partition('(')[0].strip() in QUANTIZERS)


def _literal(node: ast.expr) -> object:
    """The value of a setting; Python has no literal for an infinite one."""
    return math.inf if isinstance(node, ast.Name) and node.id == 'inf' else ast.literal_eval(node)


def parse_quantizer(text: str | Quantizer) -> Quantizer:
    """The quantizer that a text like `sign`, `sign(clip=1.0)` or `dorefa(2)` names.

    Raises
    ------
    ValueError
        No such quantizer, or not with these settings.
    TypeError
        It is neither a text nor a quantizer.
    """
    if isinstance(text, Quantizer):
        return text
    if not isinstance(text, str):
        raise TypeError("a quantizer is told by a text such as 'dorefa(2)' or an object such as "
                        f'bmx.nn.quantizers.DoReFa(2), got {text!r:.100}')
    try:
        call = ast.parse(text.strip(), mode='eval').body
        call = ast.Call(call, [], []) if isinstance(call, ast.Name) else call
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name)):
            raise ValueError('it is neither')
        name = call.func.id
        positional = [_literal(value) for value in call.args]
        named = {keyword.arg: _literal(keyword.value) for keyword in call.keywords if keyword.arg}
        if len(named) < len(call.keywords):
            raise ValueError('** is not one')
    except (ValueError, SyntaxError, AttributeError, TypeError, RecursionError, MemoryError):
        raise ValueError(f'{text!r:.100} is no quantizer: give its name, or its name and settings as in '
                         'sign(clip=1.0)') from None
    if name not in QUANTIZERS:
        close = difflib.get_close_matches(name.lower(), QUANTIZERS)
        hint = f'did you mean {" or ".join(close)}?' if close else f'choose from {", ".join(QUANTIZERS)}'
        raise ValueError(f'unknown quantizer {name!r:.100}; {hint}')
    try:
        return QUANTIZERS[name](*positional, **named)
    except TypeError:
        fields = ', '.join(field.name for field in dataclasses.fields(QUANTIZERS[name])) or 'none'
        raise ValueError(f'{text!r:.100}: the settings of {name} are: {fields}') from None


def _own(value: object) -> object:
    """Python's number in the place of NumPy's, which has no text that could be read again."""
    return value.item() if isinstance(value, np.generic) else value


def check_choice(quantizer: Quantizer, name: str, allowed: Sequence[object]) -> None:
    """Refuse, by a ValueError, a setting that is none of those allowed; keep the one that it equals."""
    value = _own(getattr(quantizer, name))
    for choice in allowed:
        if isinstance(choice, bool) == isinstance(value, bool) and choice == value:
            object.__setattr__(quantizer, name, choice)
            return
    raise ValueError(f'{name} must be one of {", ".join(map(repr, allowed))}, got {value!r:.100}')


def check_number(quantizer: Quantizer, name: str, least: float = 0.0, below: float = math.inf,
                 whole: bool = False) -> None:
    """Refuse, by a ValueError, a setting that is no number, or no whole one, from `least` to what is less than `below`,
    where that is finite; keep Python's number of it."""
    value = _own(getattr(quantizer, name))
    if (isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value
            or (value >= below and below < math.inf) or whole and value % 1 != 0):
        limit = f' and less than {below:g}' if below < math.inf else ''
        raise ValueError(f'{name} must be a {"whole " if whole else ""}number of at least {least:g}{limit}, '
                         f'got {value!r:.100}')
    object.__setattr__(quantizer, name, int(value) if whole else value)


def channel_scale(weight: Tensor) -> Tensor:
    """mean |w| of each output channel, (O,)."""
    F = namespace(weight)
    return F.mean(F.abs(weight), axis=0, exclude=True)


def straight_through(values: Tensor, surrogate: Tensor) -> Tensor:
    """`values`, exactly, whose gradient `surrogate`, which must be finite, receives as well."""
    return values + (surrogate - namespace(values).BlockGrad(surrogate))


def concat_planes(planes: Sequence[Tensor]) -> Tensor:
    """Planes of an activation, one behind the other along the batch."""
    return namespace(planes[0]).concat(*planes, dim=0) if len(planes) > 1 else planes[0]


def marked(x: Tensor, **attributes: Any) -> Tensor:
    """A symbol with attributes, __bits__ for instance, that tell readers of a graph what it is; an array as it is."""
    if isinstance(x, mx.sym.Symbol):
        x._set_attr(**{f'__{name}__': str(value) for name, value in attributes.items()})
    return x


@register
@dataclasses.dataclass(frozen=True)
class Float(Quantizer):
    """Values as they are. Weights: the layer is its Gluon parent."""
    name: ClassVar[str] = 'float'

    @property
    def bits(self) -> int:
        return 32

    def quantize_activation(self, x: Tensor, padding: Sequence[int] = (), pad_value: int = -1,
                            **learned: Tensor) -> Tensor:
        return x

    def quantize_weight(self, weight: Tensor, **learned: Tensor) -> list[Term]:
        return [Term(weight)]
