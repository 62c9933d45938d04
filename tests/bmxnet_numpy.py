"""BMXNet's models in NumPy: its files written, and read and computed without MXNet's or this package's operators."""
import ast
import json

import mxnet as mx
import numpy as np

WORDS = {32: (np.uint32, np.float32), 64: (np.uint64, np.float64)}


# Writing --------------------------------------------------------------------------------------------------------------

def words(signs, size):
    """The words of a layer's signs: of (O, C, kh, kw) filter after filter, of (O, K) the first words of all units, then
    the second ones."""
    bits = (np.asarray(signs) >= 0).reshape(len(signs), -1, size)
    if np.ndim(signs) == 2:
        bits = bits.transpose(1, 0, 2)
    integers = sum(bits[..., bit].astype(object) << bit for bit in range(size))
    return integers.astype(WORDS[size][0]).ravel().view(WORDS[size][1])


class Model:
    """Nodes of a symbol and arrays, added one after the other."""

    def __init__(self, size=64, key='attr', seed=0):
        self.size, self.key, self.state = size, key, np.random.RandomState(seed)
        self.nodes, self.arrays = [], {}
        self.last = self.node('null', 'data')

    def node(self, op, name, inputs=(), **attrs):
        entry = {'op': op, 'name': name, 'inputs': [[source, 0] for source in inputs]}
        if self.key == 'param':  # of before MXNet 0.9
            entry.update(param=attrs, attr={'lr_mult': '2'}, backward_source_id=-1)
        elif attrs:
            entry[self.key] = attrs
        self.nodes.append(entry)
        self.last = len(self.nodes) - 1
        return self.last

    def parameter(self, name, value):
        self.arrays[name] = value
        return self.node('null', name.split(':')[1])

    def values(self, *shape):
        return self.state.normal(size=shape).astype(np.float32)

    def norm(self, data, name, channels, **attrs):
        arrays = {'arg:gamma': self.values(channels), 'arg:beta': self.values(channels),
                  'aux:moving_mean': self.values(channels), 'aux:moving_var': np.abs(self.values(channels)) + 0.1}
        inputs = []
        for which, value in arrays.items():
            kind, name_of = which.split(':')
            if self.key == 'param' and kind == 'aux':
                self.arrays[f'aux:{name}_{name_of}'] = value
            else:
                inputs.append(self.parameter(f'{kind}:{name}_{name_of}', value))
        return self.node('BatchNorm', name, [data] + inputs, **dict({'eps': '2e-05', 'fix_gamma': 'False'}, **attrs))

    def conv(self, data, name, shape, binary=False, **attrs):
        return self._product(data, name, shape, binary, 'QConvolution' if binary else 'Convolution',
                             kernel=str(tuple(shape[2:])), num_filter=str(shape[0]), **attrs)

    def dense(self, data, name, shape, binary=False, **attrs):
        return self._product(data, name, shape, binary, 'QFullyConnected' if binary else 'FullyConnected',
                             num_hidden=str(shape[0]), **attrs)

    def _product(self, data, name, shape, binary, op, **attrs):
        value = self.values(*shape)
        if binary and self.size:
            value, attrs = words(value, self.size), dict(attrs, binarized_weights_only='True')
        if binary:
            attrs = dict({'act_bit': '1'}, **attrs)
        inputs = [data, self.parameter(f'arg:{name}_weight', value)]
        if attrs.get('no_bias', str(binary)) == 'False':
            inputs.append(self.parameter(f'arg:{name}_bias', self.values(shape[0])))
        return self.node(op, name, inputs, **attrs)

    def write(self, folder):
        """The paths of its two files, the last node its head."""
        symbol, params = str(folder / 'net-symbol.json'), str(folder / 'net-0000.params')
        content = {'nodes': self.nodes, 'arg_nodes': [], 'heads': [[self.last, 0]],
                   'attrs': {'mxnet_version': ['int', 903]}}
        with open(symbol, 'w') as stream:
            json.dump(content, stream)
        mx.nd.save(params, {name: mx.nd.array(value, dtype=np.asarray(value).dtype)
                            for name, value in self.arrays.items()})
        return symbol, params


# Reading and computing ------------------------------------------------------------------------------------------------

def signs(stored, filters, taps_shape):
    """(O, C, kh, kw) or (O, K) of +1 and -1 from words, or from floats that are not packed."""
    if stored.ndim > 1:
        return np.where(stored >= 0, 1, -1).astype(np.float32)
    size = 8 * stored.itemsize
    integers = np.frombuffer(stored.tobytes(), WORDS[size][0])
    bits = np.array([[int(word) >> bit & 1 for bit in range(size)] for word in integers])
    if not taps_shape:
        bits = bits.reshape(-1, filters, size).swapaxes(0, 1)
    return (2 * bits - 1).reshape((filters, -1) + taps_shape).astype(np.float32)


def patches(x, kernel, stride, pad, border):
    """The taps of each window, (N, C * kh * kw, H', W')."""
    x = np.pad(x, [(0, 0), (0, 0)] + [(width, width) for width in pad], mode='constant', constant_values=border)
    height, width = ((x.shape[2 + axis] - kernel[axis]) // stride[axis] + 1 for axis in (0, 1))
    taps = [x[:, :, row:row + height * stride[0]:stride[0], column:column + width * stride[1]:stride[1]]
            for row in range(kernel[0]) for column in range(kernel[1])]
    return np.stack(taps, axis=2).reshape(len(x), -1, height, width)


def chain(taps, weight):
    """One sum of fused multiply-adds for each output, over the taps in their order: the product of two float32 numbers
    is exact in float64."""
    total = np.zeros((len(taps), len(weight)) + taps.shape[2:], np.float32)
    for tap, column in enumerate(weight.T.astype(np.float64)):
        column = column.reshape((1, -1) + (1,) * (taps.ndim - 2))
        total = (taps[:, tap:tap + 1].astype(np.float64) * column + total).astype(np.float32)
    return total


def pool(x, attrs):
    kernel = x.shape[2:] if attrs.get('global_pool') == 'True' else ast.literal_eval(attrs['kernel'])
    stride, pad = ast.literal_eval(attrs.get('stride', '(1, 1)')), ast.literal_eval(attrs.get('pad', '(0, 0)'))
    largest = attrs['pool_type'] == 'max'
    taps = patches(x, kernel, stride, pad, -np.inf if largest else 0)
    taps = taps.reshape((len(x), x.shape[1], -1) + taps.shape[2:])
    if largest:
        return taps.max(axis=2)
    total = np.zeros_like(taps[:, :, 0])
    for tap in range(taps.shape[2]):
        total = total + taps[:, :, tap]
    return total / np.float32(taps.shape[2])


def computed(symbol, params, x):
    """What the model of two files answers, its last softmax left out; float layers in the order of programs."""
    with open(symbol) as stream:
        content = json.load(stream)
    arrays = {name.split(':')[1]: value.asnumpy() for name, value in mx.nd.load(params).items()}
    results = []
    for node in content['nodes']:
        op, name = node['op'], node['name']
        attrs = node.get('param') or node.get('attrs') or node.get('attr') or {}
        given = [results[each[0]] for each in node['inputs']]
        shapes = {key: ast.literal_eval(attrs.get(key, default)) for key, default in (
            ('kernel', '()'), ('stride', '(1, 1)'), ('pad', '(0, 0)'))}
        if op == 'null':
            result = x if name == 'data' else arrays.get(name)
        elif op == 'BatchNorm':
            states = given[3:] or [arrays[f'{name}_moving_mean'], arrays[f'{name}_moving_var']]
            data, gamma, beta, mean, variance = [given[0]] + [
                each.reshape((1, -1) + (1,) * (given[0].ndim - 2)) for each in given[1:3] + states]
            gamma = np.ones_like(gamma) if attrs.get('fix_gamma', 'True') == 'True' else gamma
            scale = gamma / np.sqrt(variance + np.float32(attrs.get('eps', 1e-3)))
            result = (data - mean) * scale + beta
        elif op in ('Convolution', 'QConvolution'):
            binary, filters = op[0] == 'Q', int(attrs['num_filter'])
            weight = signs(given[1], filters, shapes['kernel']) if binary else given[1]
            data = np.where(given[0] >= 0, 1, -1).astype(np.float32) if binary else given[0]
            taps, weight = patches(data, border=int(binary), **shapes), weight.reshape(filters, -1)
            if binary:
                agreeing = np.einsum('ok,nkhw->nohw', weight, taps, optimize=True)
                result = (agreeing + np.float32(weight.shape[1])) / np.float32(2)
            else:
                result = chain(taps, weight)
            result = result + given[2].reshape(1, -1, 1, 1) if len(given) > 2 else result
        elif op in ('FullyConnected', 'QFullyConnected'):
            rows, units = given[0].reshape(len(x), -1), int(attrs['num_hidden'])
            if op[0] == 'Q':
                weight = signs(given[1], units, ())
                result = (np.where(rows >= 0, 1, -1).astype(np.float32) @ weight.T + np.float32(weight.shape[1])) / 2
            else:
                result = chain(rows, given[1])
            result = result + given[2] if len(given) > 2 else result
        elif op == 'QActivation':
            binary = attrs.get('backward_only', 'False') == 'False'
            result = np.where(given[0] >= 0, 1, -1).astype(np.float32) if binary else given[0]
        elif op == 'Activation':
            result = np.maximum(given[0], 0) if attrs['act_type'] == 'relu' else np.tanh(given[0])
        elif op == 'Pooling':
            result = pool(given[0], attrs)
        elif op == 'Flatten':
            result = given[0].reshape(len(x), -1)
        elif op == 'elemwise_add':
            result = given[0] + given[1]
        else:
            assert op == 'SoftmaxOutput', op
            result = given[0]
        results.append(result)
    return results[content['heads'][0][0]]
