"""`bench models`: deployed networks, their float twins, and networks of GluonCV.

Run as a process of its own it prints the bytes of memory that a network needs: prefix, implementation, shape.
"""
from __future__ import annotations

import ast
import os
import sys
import tempfile
from typing import Any, Callable, Sequence

import mxnet as mx

from .. import ops
from ..deploy import export, files
from ..io.preprocess import IMAGENET_MEAN, IMAGENET_STD
from ..io.text import table
from ..models import MODELS, get_model
from .memory import growth, peak
from .timing import interleave, phase_fields, progress, row

# The MeliusNet paper pairs C, 42 and 59 with these MobileNets, by operations and accuracy.
DEFAULT = ('meliusnet22', 'meliusnet_c', 'meliusnet42', 'meliusnet59', 'mobilenet0.5', 'mobilenet0.75', 'mobilenet1.0')


def measure(names: Sequence[str], exact: bool, batch: int, size: int, rounds: int) -> tuple[list[dict[str, Any]], str]:
    """Time each network (of `names`, else of `DEFAULT`) as it can run, if `exact` with MXNet's float operators, too.

    Returns
    -------
    (list of dict, str)
        Rows with the fields ratio (to `reference`), params_bytes, peak_bytes and, of deployed networks, the
        milliseconds of each phase; the tables.
    """
    names = list(dict.fromkeys(names or DEFAULT))
    x = mx.nd.random.normal(shape=(batch, 3, size, size))
    with tempfile.TemporaryDirectory() as folder:
        prefixes = {}
        for name, net in {name: build(name) for name in names}.items():
            progress('preparing ' + name)
            kinds = ('deployed', 'exact', 'float') if is_of_zoo(name) else ('plain', 'mkldnn')
            prefixes.update(write(name, net, x, folder, [kind for kind in kinds if exact or kind != 'exact']))
        contestants = {key: inference(load(prefix, key[1], x), x) for key, prefix in prefixes.items()}
        profiled = [key for key in contestants if key[1] in ('deployed', 'exact')]
        seconds, profiles = interleave(contestants, rounds, profiled)
        rows = []
        for (name, implementation), times in seconds.items():
            progress(f'memory of {name} {implementation}')
            reference = 'float' if is_of_zoo(name) else 'plain'
            entry = row(name, implementation, batch, times, ops.isa(), reference=reference,
                        ratio=min(times) / min(seconds[name, reference]),
                        params_bytes=os.path.getsize(files.params_path(prefixes[name, implementation])),
                        peak_bytes=_peak(prefixes[name, implementation], implementation, x.shape))
            if (name, implementation) in profiles:
                entry.update(phase_fields(ops.PHASES, profiles[name, implementation], times))
            rows.append(entry)
    return rows, _text(rows)


def is_of_zoo(name: str) -> bool:
    """Whether a name, keywords behind it or not, is that of a model of this package."""
    return name.split()[0] in MODELS


def build(name: str, **settings: Any) -> mx.gluon.HybridBlock:
    """A network of this package or of GluonCV, not initialized; a name may have keywords behind it, ' bits=32'."""
    name, *keywords = name.split() or ['']
    for key, _, value in (keyword.partition('=') for keyword in keywords):
        try:
            settings[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            settings[key] = value
    if name in MODELS:
        return get_model(name, **settings)
    try:
        from gluoncv import model_zoo  # takes a while to import
        return model_zoo.get_model(name, **settings)
    except ValueError:
        raise ValueError(f'unknown model {name!r}; choose from {", ".join(sorted(MODELS))}, or a name of '
                         'gluoncv.model_zoo.get_model_list()') from None


def write(name: str, net: mx.gluon.HybridBlock, x: mx.nd.NDArray, folder: str,
          implementations: Sequence[str]) -> dict[tuple[str, str], str]:
    """Write the files of a network with random parameters for each implementation; (name, it) to their prefix."""
    _randomize(net, x.shape)
    prefixes, plain = {}, os.path.join(folder, name.replace(' ', '_'))
    for implementation in implementations:
        if implementation in ('deployed', 'exact'):
            prefixes[name, implementation] = f'{plain}-{implementation}'
            export(net, prefixes[name, implementation], x.shape, x, exact=implementation == 'exact', preprocess={
                'size': x.shape[2:], 'crop_ratio': 0.875, 'mean': IMAGENET_MEAN, 'std': IMAGENET_STD})
        elif plain not in prefixes.values():
            net.hybridize()
            net(x)
            net.export(plain)
        prefixes.setdefault((name, implementation), plain)
    return prefixes


def _randomize(net, shape):
    """Random parameters; BatchNorm with scales, shifts and statistics as different as those of a trained network."""
    net.initialize(mx.init.Xavier())
    with mx.autograd.train_mode():
        net(mx.nd.random.normal(shape=(2,) + shape[1:]))
    for name, parameter in net.collect_params().items():
        if name.endswith('gamma'):
            parameter.set_data(mx.nd.random.uniform(0.5, 1.5, parameter.shape))
        elif name.endswith('beta'):
            parameter.set_data(mx.nd.random.normal(0, 0.3, parameter.shape))


def load(prefix: str, implementation: str, x: mx.nd.NDArray) -> mx.gluon.HybridBlock:
    """A network from its files, ready to compute: as MXNet fuses it (mkldnn), or hybridized with static memory."""
    net = files.import_block(prefix)
    if implementation == 'mkldnn':
        net.optimize_for(x, backend='MKLDNN', static_alloc=True, static_shape=True)
    else:
        net.hybridize(static_alloc=True, static_shape=True)
    return net


def inference(net: mx.gluon.HybridBlock, x: mx.nd.NDArray) -> Callable[[], None]:
    """A function that computes once and waits for the result."""
    def run():
        net(x)
        mx.nd.waitall()
    return run


def _peak(prefix, implementation, shape):
    """Peak working set of a network in bytes, measured in a process of its own; None if that fails."""
    return peak('models', prefix, implementation, *shape)


def _text(rows):
    """Times and sizes; where the time of deployed networks goes; how they compare with GluonCV's."""
    parts = [table(['network', 'implementation', 'min ms', 'median ms', 'of its reference', 'params MiB', 'peak MiB'],
                   [[entry['name'], entry['implementation'], entry['min_ms'], entry['median_ms'],
                     f'{entry["ratio"]:.3f} {entry["reference"]}', entry['params_bytes'] / 2 ** 20,
                     entry['peak_bytes'] and entry['peak_bytes'] / 2 ** 20] for entry in rows])]
    deployed = [entry for entry in rows if entry['implementation'] in ('deployed', 'exact')]
    others = [entry for entry in rows if not is_of_zoo(entry['name'])]
    if deployed:
        phases = ops.PHASES + ('rest',)
        parts.append(table(('ms of deployed',) + phases,
                           [[f'{entry["name"]} {entry["implementation"]}'] + [entry[phase + '_ms'] for phase in phases]
                            for entry in deployed]))
    if deployed and others:
        header = ['time of deployed / of'] + [f'{other["name"]} {other["implementation"]}' for other in others]
        parts.append(table(header, [[f'{entry["name"]} {entry["implementation"]}']
                                    + [entry['min_ms'] / other['min_ms'] for other in others]
                                    for entry in deployed]))
    return '\n\n'.join(parts)


if __name__ == '__main__':
    _prefix, _implementation, *_shape = sys.argv[1:]
    _x = mx.nd.random.normal(shape=tuple(map(int, _shape)))
    print(growth(lambda: inference(load(_prefix, _implementation, _x), _x)))
