"""`bench split`: where the time of a deployed network goes, layer by layer, beside its share of the operations."""
import re
import tempfile
import time

import mxnet as mx

from .. import ops
from ..accounting import summary
from ..deploy import files
from ..graph import Graph
from ..models import get_model
from ..products import match_binary_product
from ..report import table
from .models import inference, load, write
from .timing import RUNS, row


def measure(arguments):
    """Time each instruction of a deployed network's programs; what remains are MXNet's operators.

    Returns
    -------
    (list of dict, str)
        Rows, of layers in their order and of the rest, with the fields ops (operations, one of 64 binary ones),
        share_of_time, share_of_ops (both of 1) and outputs (values written); the table.
    """
    x = mx.nd.random.normal(shape=(arguments.batch, 3, arguments.size, arguments.size))
    net = get_model(arguments.model)
    with tempfile.TemporaryDirectory() as folder:
        prefix = write(net.model_name, net, x, folder)[net.model_name, 'deployed']
        run = inference(load(prefix, 'deployed', x), x)
        layers = _layers(net, prefix, x.shape)
        runs = [_run(run) for _ in range(RUNS * arguments.rounds + 1)][1:]  # the first allocates
    counted = summary(net, (1,) + x.shape[1:])
    layers.append({'name': "MXNet's operators", 'variant': 'float', 'ops': counted.flops, 'outputs': None})
    best = [min(times) for times in zip(*runs)]
    rows = [row(layer['name'], layer['variant'], arguments.batch, times, ops.isa(),
                share_of_time=fastest / sum(best), share_of_ops=layer['ops'] / counted.ops, ops=layer['ops'],
                outputs=layer['outputs']) for layer, fastest, times in zip(layers, best, zip(*runs))]
    lines = [[entry['name'], entry['variant'], '%.3f' % entry['min_ms'], '%.1f' % (100 * entry['share_of_time']),
              '%.1f' % (100 * entry['share_of_ops']),
              '%.1f' % (entry['share_of_time'] / entry['share_of_ops']) if entry['ops'] else '-',
              '-' if entry['outputs'] is None else '%.0f' % (entry['outputs'] / 1e3)] for entry in rows]
    return rows, '%s, %.2f ms\n%s' % (net.model_name, 1e3 * sum(best), table(
        ['layer', 'what', 'ms', '% of time', '% of OPs', 'ratio', 'outputs / 1e3'], lines))


def _run(run):
    """Seconds of each instruction and of the rest, in one run."""
    with ops.profile() as profile:
        start = time.perf_counter()
        run()
        seconds = time.perf_counter() - start
    return profile.instructions + [seconds - sum(profile.instructions)]


def _layers(net, prefix, shape):
    """What each instruction of the programs is: dicts with name, variant, ops and outputs, of one image."""
    graph = Graph.from_block(net, (1,) + shape[1:])
    shapes = graph.infer_shapes()
    counts = {layer['name']: layer for layer in summary(net, (1,) + shape[1:]).layers}
    products = {}
    for node in graph.nodes:
        product = match_binary_product(node)
        if product is not None:
            products[product.weight.name + '_packed'] = node
    found = []
    for node in Graph.from_symbol(mx.sym.load(files.symbol_path(prefix))).nodes:
        if node.op == 'xnor_popcount':
            found.append(_layer(products[node.input(1).name], node.attr('num_group', 1), net.prefix, counts, shapes))
        for text in node.attrs['program'].split('; ') if node.op == 'binary_subgraph' else ():
            fields = dict(field.split('=') for field in text.split()[1:])
            if 'weight' in fields:
                variable = node.input(node.attr('num_data') + int(fields['weight'][1:]))
                found.append(_layer(products[variable.name], int(fields['groups']), net.prefix, counts, shapes))
            else:
                steps = ['%s pooling' % fields['pool']] if 'pool' in fields else []
                steps += [step.partition(':')[0] for key in ('before', 'steps')
                          for step in fields.get(key, '').split('|') if step]
                found.append({'name': '', 'variant': ', '.join(steps) or 'copy', 'ops': 0, 'outputs': None})
    return found


def _layer(node, groups, prefix, counts, shapes):
    name = node.name[len(prefix):] if node.name.startswith(prefix) else node.name
    weight, out = shapes[node.inputs[1][0].name, 0], counts[name]['output_shape']
    kernel = '%s ' % 'x'.join(map(str, weight[2:])) if len(weight) > 2 else ''
    text = '%s%d->%d%s' % (kernel, weight[1] * groups, weight[0], ' ' + 'x'.join(map(str, out[2:])) if out[2:] else '')
    if groups > 1:
        text += ' groups of %d' % weight[1]
    outputs = 1
    for size in out[1:]:
        outputs *= size
    return {'name': re.sub('_fwd$', '', name), 'variant': text, 'ops': counts[name]['bops'] / 64, 'outputs': outputs}
