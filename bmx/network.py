"""A network from what a person says of it: its model, keywords, and the configuration of its layers."""
from __future__ import annotations

import contextlib
import dataclasses
import io
from typing import Any, Iterator, Sequence

import mxnet as mx

from .accounting import summary
from .io.description import Description
from .models import get_model, pretrained_path
from .nn import config, quantized_layers
from .nn.configuration import ROLES
from .nn.quantizers import names_quantizer, parse_quantizer

# What building a network raises, beside ValueError, for settings that it cannot have.
_UNFIT = (TypeError, AttributeError, ArithmeticError, LookupError, AssertionError, MemoryError, RecursionError)


@dataclasses.dataclass(frozen=True)
class NetworkOptions:
    """How to build a network.

    Attributes
    ----------
    model : str, optional
        A name of `bmx.models.MODELS`; None where a file is to tell it.
    settings : dict
        Keywords of the model.
    layers : dict
        Settings of the scope `bmx.nn.config` that it is built in.
    """
    model: str | None
    settings: dict = dataclasses.field(default_factory=dict)
    layers: dict = dataclasses.field(default_factory=dict)

    def build(self, **more: Any) -> mx.gluon.HybridBlock:
        """The network, not initialized, given `more` arguments of `get_model`.

        Raises
        ------
        ValueError
            No such model, or not with these settings. `bits`, `scaling` and quantizers of the layers are refused where
            no layer follows them, because the model says itself what its layers do.
        """
        if self.model is None:
            raise ValueError('the network has no model: give the name of one')
        try:
            with config(**self.layers):
                net = get_model(self.model, **self.settings, **more)
        except _UNFIT as error:
            settings = ', '.join(f'{key}={value!r:.100}' for key, value in {**self.layers, **self.settings}.items())
            raise ValueError(f'model {self.model} does not take these settings ({settings}): '
                             f'{str(error) or type(error).__name__}') from None
        self._check_effect(net)
        return net

    @property
    def pretrained_path(self) -> str:
        """The file of the model's pretrained parameters.

        Raises
        ------
        FileNotFoundError, ValueError
            It is not there, or there is no such model.
        """
        return pretrained_path(str(self.model))

    def _check_effect(self, net: mx.gluon.HybridBlock) -> None:
        """Refuse settings of the layers that none of them follows."""
        layers = quantized_layers(net)
        for role in ROLES:
            given = self.layers.get(role) or self.settings.get(role)
            found = {str(getattr(layer.quantization, role + '_quantizer')) for layer in layers}
            if found and given is not None and names_quantizer(given) and str(parse_quantizer(given)) not in found:
                raise ValueError(f'{net.model_name} itself says that its layers have {role}s of '
                                 f'{" and ".join(sorted(found))}, --{role} {given} has no effect: leave it out')
        for name in ('bits', 'scaling'):
            given = self.layers.get(name)
            found = {getattr(layer.quantization, name) for layer in layers}
            if found and given is not None and given not in found:
                raise ValueError(f'{net.model_name} itself says that its layers have '
                                 f'{name}={" and ".join(map(str, sorted(found)))}, --{name} {given} has no effect: '
                                 f'give --{name} {max(found)}, or --set {name}={given} to change them')


def described_network(described: Description) -> mx.gluon.HybridBlock:
    """The network, not initialized, that a description tells of.

    Its layers' settings are the scope of that time, of which a model may have said otherwise: they are not checked as
    options are.
    """
    with config(**described.layer_defaults):
        return NetworkOptions(described.model, described.settings).build()


@contextlib.contextmanager
def images_fit(net: mx.gluon.HybridBlock, shape: Sequence[int], option: str = '--input-size') -> Iterator[None]:
    """Inside, an MXNetError becomes a ValueError that says so where images of a shape are too small for a network."""
    with contextlib.redirect_stdout(io.StringIO()):  # MXNet prints the shapes that it could not go on with
        try:
            yield
        except mx.MXNetError as error:
            if _has_shapes(net, shape) or not _has_shapes(net, (1, 3) + (8 * max(28, *shape[2:]),) * 2):
                raise error from None
            raise ValueError(f'images of {shape[2]}x{shape[3]} pixels are too small for {net.model_name}: give a '
                             f'larger {option}') from None


def _has_shapes(net: mx.gluon.HybridBlock, shape: Sequence[int]) -> bool:
    """Whether an input of a shape goes through a network."""
    try:
        summary(net, shape)
    except mx.MXNetError:
        return False
    return True
