"""The five operators with random attributes, types and shapes, without dimensions and with none of something included.

A case is a call that the documentation allows, whose values have to be those of NumPy, or one with something changed
that makes it forbidden, which has to be an MXNetError.
"""
import mxnet as mx
import numpy as np

from bmx import ops

from .driver import CLEAN, RIGHT

ABOUT = 'operators with random attributes, types and shapes, against NumPy'
QUICK = 60
SECONDS, MEMORY = 60, 8 << 30
FLOATS = ('float16', 'float32', 'float64')


def prepare(folder):
    # MXNet starts its threads in the case, not in the parent: they do not survive the fork.
    return None


def attempt(state, random, folder):
    case = _Case(random)
    draw = random.choice([_binarize, _residual_binarize, _channelwise, _xnor_popcount, _binary_subgraph,
                          _expand_weights])
    draw(case)
    case.spoil()
    with mx.util.np_shape(case.np_shape):
        try:
            outputs, gradients = case.call()
        except mx.MXNetError:
            if not case.forbidden:
                raise
            return CLEAN
    assert not case.forbidden, f'{case}: it is forbidden, but gave a result'
    expected, slopes = case.reference()
    case.compare('output', outputs, expected)
    if gradients is not None:
        case.compare('gradient', gradients, slopes)
    return RIGHT


class _Case:
    """One call: `inputs` are NumPy arrays, `reference` what computes its outputs and gradients from them."""

    def __init__(self, random):
        self.random, self.name, self.inputs, self.attributes, self.function = random, None, [], {}, None
        self.forbidden = ''  # why
        self.tolerance = 0
        self.np_shape = self.maybe()  # does MXNet know empty arrays?
        self.symbolic = self.maybe(0.3)
        self.recorded = False  # are gradients asked for?
        self.heads = None  # gradients of the outputs

    def __str__(self):
        return f'{self.name}({[(x.shape, x.dtype.name) for x in self.inputs]}, {self.attributes}) {self.forbidden}'

    def any_of(self, values):
        return values[self.random.randint(len(values))]

    def maybe(self, probability=0.5):
        return self.random.rand() < probability

    def values(self, shape, dtype='float32'):
        """Halves of integers, both zeros, and others."""
        x = np.round(self.random.randn(*shape) * 4) / 2 if self.maybe() else self.random.randn(*shape)
        x = np.asarray(x)
        x[(x == 0) & (self.random.rand(*shape) < 0.5)] = -0.0
        return x.astype(dtype)

    def shape(self, least, most=5, empty=True):
        """Few elements; where MXNet knows empty arrays, sometimes none."""
        dimensions = self.random.randint(least, most + 1)
        shape = [self.any_of([1, 2, 3, 4, 7, 8, 9, 16, 17, 33]) for _ in range(dimensions)]
        while np.prod(shape) > 20000:
            shape[self.random.randint(dimensions)] = 1
        if empty and self.np_shape and self.maybe(0.15):
            shape[self.random.randint(dimensions)] = 0
        return tuple(shape)

    def spoil(self):
        """Sometimes make the call a forbidden one: one array or attribute is wrong."""
        if self.forbidden or self.maybe(0.6):
            return
        kind = self.any_of(['no dimensions', 'dtype', 'dimension', 'more dimensions', 'attribute', 'unknown attribute',
                            'inputs'])
        index = self.random.randint(len(self.inputs))
        x = self.inputs[index]
        if kind == 'no dimensions':
            if self.symbolic and not self.np_shape:
                return  # MXNet itself writes beyond its memory, before it asks the library (bmx/ops/calls.py)
            self.inputs[index] = np.zeros((), x.dtype)
        elif kind == 'dtype':
            self.inputs[index] = x.astype(self.any_of(['int32', 'int8', 'int64']))
        elif kind == 'dimension':
            if index < self.attributes.get('num_data', 1):
                return  # data of another size are as good
            axis = self.random.randint(x.ndim)
            size = self.any_of([size for size in (0, 1, x.shape[axis] + 1, x.shape[axis] + 8)
                                if size != x.shape[axis] and (size or self.np_shape)])
            if x.ndim == 1 and 1 in (size, x.size) and self.name in ('channelwise', 'binary_subgraph'):
                return  # one value for all channels, or one for each
            self.inputs[index] = np.zeros(x.shape[:axis] + (size,) + x.shape[axis + 1:], x.dtype)
        elif kind == 'more dimensions':
            if not index and self.name in ('binarize', 'residual_binarize', 'channelwise'):
                return
            self.inputs[index] = x[None]
        elif kind == 'attribute':
            if not self.attributes:
                return
            name = self.any_of(sorted(self.attributes))
            wrong = ['', 'x', '(', '-1,', '1,5', '(1, 2'] + ([] if name == 'clip_threshold' else ['9' * 30, '0x10'])
            self.attributes[name] = self.any_of(wrong)
            kind += ' ' + name
        elif kind == 'unknown attribute':
            self.attributes['colour'] = 'red'
        elif kind == 'inputs':
            self.inputs.append(np.zeros((1,), 'float32'))
        self.forbidden = kind

    def call(self):
        """Outputs, and gradients of the inputs where the operator has some."""
        arrays = [self._array(x) for x in self.inputs]
        if self.symbolic:
            return self._call_symbol(arrays)
        function = getattr(mx.nd, self.name)
        if not self.recorded:
            return self._numpy(function(*arrays, **self.attributes)), None
        for array in arrays:
            array.attach_grad()
        with mx.autograd.record():
            outputs = function(*arrays, **self.attributes)
        outputs = outputs if isinstance(outputs, list) else [outputs]
        self.heads = [self.values(y.shape, y.dtype) for y in outputs]
        mx.autograd.backward(outputs, [self._array(head) for head in self.heads])
        return self._numpy(outputs), self._numpy([array.grad for array in arrays])

    def _call_symbol(self, arrays):
        names = [f'input{i}' for i in range(len(arrays))]
        symbol = getattr(mx.sym, self.name)(*[mx.sym.var(name) for name in names], **self.attributes)
        arguments = dict(zip(names, arrays))
        gradients = {name: mx.nd.zeros_like(array) for name, array in arguments.items()} if self.recorded else None
        executor = symbol.bind(mx.cpu(), arguments, args_grad=gradients, grad_req='write' if gradients else 'null')
        outputs = executor.forward(is_train=bool(gradients))
        if not gradients:
            return self._numpy(outputs), None
        self.heads = [self.values(y.shape, y.dtype) for y in outputs]
        executor.backward([self._array(head) for head in self.heads])
        return self._numpy(outputs), self._numpy([gradients[name] for name in names])

    @staticmethod
    def _array(x):
        if 0 in x.shape:
            return mx.nd.zeros(x.shape, dtype=x.dtype)
        return mx.nd.array(x, dtype=x.dtype)

    @staticmethod
    def _numpy(arrays):
        return [array.asnumpy() for array in (arrays if isinstance(arrays, list) else [arrays])]

    def reference(self):
        with np.errstate(all='ignore'):
            return self.function(self, *self.inputs)

    def compare(self, what, found, expected):
        for index, (one, other) in enumerate(zip(found, expected)):
            if other is None:
                continue
            other = np.asarray(other)
            assert one.shape == other.shape and one.dtype == other.dtype, (
                f'{self}: {what} {index} is {one.shape} {one.dtype}, not {other.shape} {other.dtype}')
            same = np.allclose(one, other, rtol=self.tolerance, atol=self.tolerance * 10, equal_nan=True)
            assert same, f'{self}: {what} {index} differs'


def _draw_sign(case, dimensions):
    """Attributes that binarize and residual_binarize share."""
    a = case.attributes
    if case.maybe():
        a['estimator'] = case.any_of(['clip', 'polynomial'])
    if case.maybe():
        a['clip_threshold'] = case.any_of([0, 0.5, 1, 1.3, 3, float('inf'), '1e-3'])
    if case.maybe() and dimensions > 0:
        pad = tuple(int(case.random.randint(4)) for _ in range(case.random.randint(1, min(2, dimensions) + 1)))
        a['pad'] = pad[0] if len(pad) == 1 and case.maybe() else pad
    if case.maybe():
        a['pad_value'] = int(case.random.randint(-1, 2))


def _pads(attributes):
    pad = attributes.get('pad', ())
    return pad if isinstance(pad, tuple) else (pad,)


def _border(attributes, dimensions):
    pad = _pads(attributes)
    return [(0, 0)] * (dimensions - len(pad)) + [(each, each) for each in pad]


def _slope(x, attributes):
    size = np.abs(x)
    if attributes.get('estimator', 'clip') == 'clip':
        return size <= x.dtype.type(attributes.get('clip_threshold', 1.3))
    two = x.dtype.type(2)
    return np.where(size <= 1, two - two * size, x.dtype.type(0))


def _inside(border, head):
    return head[tuple(slice(before, size - after) for (before, after), size in zip(border, head.shape))]


def _binarize(case):
    case.name, case.recorded = 'binarize', True
    shape = case.shape(1)
    _draw_sign(case, len(shape))
    case.inputs = [case.values(shape, case.any_of(FLOATS))]
    if 0 in shape[len(shape) - len(_pads(case.attributes)):] and any(_pads(case.attributes)):
        case.forbidden = 'an empty image has no border'

    def reference(case, x):
        border = _border(case.attributes, x.ndim)
        signs = np.pad(np.where(x >= 0, 1, -1), border, mode='constant',
                       constant_values=case.attributes.get('pad_value', -1))
        return [signs.astype(x.dtype)], [(_slope(x, case.attributes) * _inside(border, case.heads[0])).astype(x.dtype)]
    case.function = reference


def _residual_binarize(case):
    case.name, case.recorded = 'residual_binarize', True
    shape = case.shape(2)
    _draw_sign(case, len(shape) - 2)
    terms = case.any_of([1, 2, 3, 8])
    if terms > 1 or case.maybe():
        case.attributes['binarizations'] = terms
    case.inputs = [case.values(shape, case.any_of(FLOATS))]
    if 0 in shape[1:]:
        case.forbidden = 'a sample without values has no mean'

    def reference(case, x):
        border = _border(case.attributes, x.ndim)
        if not len(x):
            signs = np.zeros(tuple(size + 2 * before for size, (before, _) in zip(x.shape, border)), x.dtype)
            return [signs, np.zeros((terms, 0), x.dtype)], [x]
        signs, scales = ops.reference.residual_binarize(x, terms, _pads(case.attributes),
                                                        case.attributes.get('pad_value', -1))
        alpha = scales[0].reshape((-1,) + (1,) * (x.ndim - 1))
        head = _inside(border, case.heads[0][:len(x)])
        scaled = np.where(alpha == 0, x.dtype.type(0), (head / alpha).astype(x.dtype))
        return [signs, scales], [(_slope(x, case.attributes) * scaled).astype(x.dtype)]
    case.function = reference


def _channelwise(case):
    case.name, case.recorded = 'channelwise', True
    shape, dtype = case.shape(2), case.any_of(FLOATS[1:])
    case.attributes['kind'] = kind = case.any_of(['scale', 'prelu'])
    case.inputs = [case.values(shape, dtype), case.values((case.any_of([1, shape[1]]),), dtype)]
    case.tolerance = 1e-4 if dtype == 'float32' else 1e-10

    def reference(case, x, values):
        column = values.reshape((1, -1) + (1,) * (x.ndim - 2))
        head, below = case.heads[0], np.where(x > 0, 0, x) if kind == 'prelu' else x
        out = np.where(x > 0, x, x * column) if kind == 'prelu' else x * column
        slope = np.where(x > 0, head, head * column) if kind == 'prelu' else head * column
        total = (below.astype('float64') * head).sum(axis=tuple(i for i in range(x.ndim) if i != 1))
        total = total.sum(keepdims=True) if values.size == 1 else total
        return [out.astype(dtype)], [slope.astype(dtype), total.astype(dtype).reshape(values.shape)]
    case.function = reference


def _expand_weights(case):
    case.name = 'expand_weights'
    groups, bits = case.any_of([0, 0, 1, 2, 3]), case.any_of([1, 2, 3, 8])
    shape = (max(groups, 1) * case.any_of([1, 2, 3, 8, 17, 33]),) + case.shape(1, 4, empty=False)
    by = tuple(size if case.maybe(0.3) else 1 for size in shape)
    if case.maybe(0.1):
        by, case.forbidden = by + (1,), 'levels of more axes'
    if groups > 1 and case.maybe(0.1):
        groups, case.forbidden = shape[0] + 1, 'groups that do not divide the filters'
    case.attributes.update(shape=shape, bits=bits)
    if groups or case.maybe(0.2):
        case.attributes['groups'] = groups
    size = -(-int(np.prod(shape)) // 8)
    case.inputs = [case.values((1 << bits,) + by), case.random.randint(256, size=(bits, size)).astype('uint8')]

    def reference(case, levels, codes):
        return [ops.reference.expand_weights(levels, codes, **case.attributes)], None
    case.function = reference


def _draw_weight(case, filters, channels, kernel):
    return ops.pack_weights(case.random.randn(filters, channels, *kernel))


def _draw_threshold(case, channels):
    t = np.round(case.random.randn(channels) * 4) / 2
    t[case.random.rand(channels) < 0.1] = case.any_of([np.inf, -np.inf, np.nan, 1e9, -0.0])
    return np.stack([t, case.random.choice([-1, 1], channels)]).astype('float32')


def _xnor_popcount(case):
    case.name, random = 'xnor_popcount', case.random
    spatial = random.randint(3)
    kernel, stride, pad, dilate = (tuple(int(random.randint(*span)) for _ in range(spatial))
                                   for span in ((1, 5), (1, 4), (0, 4), (1, 3)))
    groups = case.any_of([1, 1, 2, 3, 8]) if spatial else 1
    channels = groups * case.any_of([1, 2, 3, 4, 7, 8, 9, 16, 31, 32, 33, 64, 65])
    filters = groups * case.any_of([1, 2, 3, 16, 17, 64, 65])
    size = tuple(case.any_of([1, 2, 5, 8, 13]) for _ in range(spatial))
    batch = case.any_of([1, 2, 3])
    if case.np_shape and case.maybe(0.1):
        batch, case.forbidden = 0, 'an empty batch'
    if any(n + 2 * p < d * (k - 1) + 1 for n, p, k, d in zip(size, pad, kernel, dilate)):
        case.forbidden = 'a kernel that is larger than the data'
    terms, threshold = case.any_of([1, 1, 1, 2, 5]), case.maybe()
    if terms > 1 and threshold:
        case.forbidden = 'a threshold is of one binarization'
    planes = case.any_of([1, 1, 2, 3]) if threshold or case.maybe(0.1) else 1
    weight_planes, counted = case.any_of([1, 1, 2, 5]), case.maybe(0.5 if planes > 1 else 0.05)
    zero_one, scales = (case.maybe(0.3 if terms == 1 else 0.05) for _ in range(2))
    weight_scales, pad_value = case.maybe(0.3), -1 if zero_one and case.maybe(0.9) else int(random.randint(-1, 2))
    if planes > 1 and not threshold or counted and planes == 1:
        case.forbidden = 'planes by thresholds'
    if terms > 1 and (planes > 1 or zero_one or scales):
        case.forbidden = 'several binarizations are planes of signs'
    if zero_one and pad_value != -1:
        case.forbidden = 'padding holds zeros'
    a = case.attributes
    a['num_filter'] = filters
    for name, value, default in (
            ('kernel', kernel, ()), ('stride', stride, (1,) * spatial), ('pad', pad, (0,) * spatial),
            ('dilate', dilate, (1,) * spatial), ('num_group', groups, 1), ('threshold', threshold, False),
            ('binarizations', terms, 1), ('planes', planes, 1), ('weight_planes', weight_planes, 1),
            ('counted', counted, False), ('zero_one', zero_one, False), ('scales', scales, False),
            ('weight_scales', weight_scales, False), ('pad_value', pad_value, -1)):
        if value != default or spatial and case.maybe(0.2):
            a[name] = value
    case.inputs = [case.values((batch, channels) + size),
                   _draw_weight(case, weight_planes * filters, channels // groups, kernel)]
    comparisons = [_draw_threshold(case, channels) for _ in range(2 ** planes - 1 if counted else planes)]
    others = [('threshold', threshold, np.stack(comparisons) if planes > 1 else comparisons[0]),
              ('scales', scales, case.values((planes,))),
              ('weight_scales', weight_scales, case.values((weight_planes, filters)))]
    given = [name for name, there, _ in others if there]
    case.inputs += [value for _, there, value in others if there]

    def reference(case, data, weight, *rest):
        arguments = {key: value for key, value in a.items() if key not in ('threshold', 'scales', 'weight_scales')}
        return [ops.reference.xnor_popcount(data, weight, **dict(zip(given, rest)), **arguments)], None
    case.function = reference


def _binary_subgraph(case):
    """A few instructions: binary convolutions and maps with their options."""
    case.name, random = 'binary_subgraph', case.random
    batch, size = case.any_of([1, 2, 3]), (case.any_of([1, 4, 7, 12]), case.any_of([1, 5, 9, 17]))
    widths = [case.any_of([1, 3, 8, 17, 33, 64]) for _ in range(random.randint(1, 3))]
    tensors = [(f'x{index}', width, size) for index, width in enumerate(widths)]
    parameters, text, shapes = [], [], [(batch, width) + size for width in widths]

    def add(value):
        parameters.append(value)
        return f'p{len(parameters) - 1}'

    def steps(channels):
        words = []
        for _ in range(random.randint(3)):
            kind = case.any_of(['mul', 'add', 'norm', 'relu', 'prelu'])
            shape = (3, channels) if kind == 'norm' else (1,) if kind == 'prelu' and case.maybe() else (channels,)
            words.append(kind if kind == 'relu' else f'{kind}:{add(case.values(shape))}')
        return '|'.join(words)

    for index in range(random.randint(1, 4)):
        last = index > 0 and case.maybe() or index == 2
        (_, _, size) = case.any_of(tensors)
        sources, channels = [], 0
        for name, width, other in tensors:
            if other == size and (case.maybe(0.7) or not sources):
                begin = random.randint(width)
                end = random.randint(begin, width) + 1
                sources.append(f'{name}[{begin}:{end}]')
                channels += end - begin
        kernel, stride = (case.any_of([1, 2, 3]), case.any_of([1, 3])), (case.any_of([1, 2]), case.any_of([1, 2, 5]))
        kernel = tuple(min(k, n) for k, n in zip(kernel, size))
        words = ['conv' if case.maybe() else 'map', 'in=' + ','.join(sources), '']
        window = [f'kernel={kernel[0]},{kernel[1]}', f'stride={stride[0]},{stride[1]}']
        full = 0
        if words[0] == 'conv':
            groups = case.any_of([group for group in (1, 2, 3, channels) if channels % group == 0])
            filters = groups * case.any_of([1, 2, 16, 33, 64])
            terms, weight_planes = case.any_of([1, 1, 1, 3]), case.any_of([1, 1, 2])
            planes, zero_one = (case.any_of([1, 1, 2]), int(case.maybe(0.3))) if terms == 1 else (1, 0)
            counted = int(planes > 1 and case.maybe())
            weight = _draw_weight(case, weight_planes * filters, channels // groups, kernel)
            interleaved = filters // groups % ops.packing.BLOCK_FILTERS == 0 and case.maybe()
            if interleaved:
                weight = ops.interleave_weights(weight)
            words += window + [f'filters={filters}', f'groups={groups}', f'binarizations={terms}',
                               f'pad_value={-1 if zero_one else random.randint(-1, 2)}',
                               f'interleaved={interleaved:d}', f'planes={planes}', f'counted={counted}',
                               f'zero_one={zero_one}', f'weight_planes={weight_planes}', 'weight=' + add(weight)]
            if planes > 1:
                words.append('threshold=' + add(np.stack([_draw_threshold(case, channels)
                                                          for _ in range(3 if counted else 2)])))
            elif terms == 1 and case.maybe():
                words.append('threshold=' + add(_draw_threshold(case, channels)))
            if case.maybe(0.3):
                words.append('weight_scales=' + add(case.values((weight_planes, filters))))
            channels = filters
        elif case.maybe():
            before, full = steps(channels), int(case.maybe())
            words += ['before=' + before] * bool(before)
            words += window + ['pool=' + case.any_of(['max', 'avg']), f'full={full}']
        else:
            kernel, stride = (1, 1), (1, 1)
        size = tuple((n - k + (s - 1 if full else 0)) // s + 1 for n, k, s in zip(size, kernel, stride))
        after = steps(channels)
        words += ['steps=' + after] * bool(after)
        words[2] = 'out=y0' if last else f'out=s{index}:{case.any_of(["float32", "planar"])}'
        text.append(' '.join(words))
        tensors.append((f's{index}', channels, size))
        if last:
            break
    else:
        name, width, _ = tensors[-1]
        text.append(f'map in={name}[0:{width}] out=y0')
    case.attributes = {'program': ';'.join(text), 'num_data': len(widths)}
    case.inputs = [case.values(shape) for shape in shapes] + parameters

    def reference(case, *inputs):
        data, parameters = list(inputs[:len(widths)]), list(inputs[len(widths):])
        return ops.reference.binary_subgraph(case.attributes['program'], data, parameters), None
    case.function = reference
