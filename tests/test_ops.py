"""The operator xnor_popcount: every kernel of the table against the reference and against MXNet, exactly."""
import ctypes
import itertools
import os
import subprocess
import sys

import mxnet as mx
import numpy as np
import pytest

from bmx import ops

CHANNELS = [1, 3, 7, 8, 9, 31, 32, 33, 63, 64, 65, 128, 200]
PAD_VALUES = [-1, 0, 1]
KERNELS_2D = [(1, 1), (3, 3), (1, 3), (5, 2)]


def make(seed, shape, filters, kernel=(), groups=1, threshold=False):
    """Data with values on and around the thresholds and both zeros; weights; packed weights; thresholds or None."""
    random = np.random.RandomState(seed)
    data = random.randint(-2, 3, shape).astype('float32')
    data[(data == 0) & (random.rand(*shape) < 0.5)] = -0.0
    weight = random.randn(filters, shape[1] // groups, *kernel).astype('float32')
    thresholds = None
    if threshold:
        values = random.choice([-np.inf, -2, -1, -0.0, 0, 1, 1.5, np.inf], shape[1])
        thresholds = np.stack([values, random.choice([-1, 1], shape[1])]).astype('float32')
    return data, weight, ops.pack_weights(weight), thresholds


def call(data, packed, threshold=None, **arguments):
    inputs = [mx.nd.array(data), mx.nd.array(packed, dtype='uint8')]
    if threshold is not None:
        inputs.append(mx.nd.array(threshold))
        arguments['threshold'] = True
    return mx.nd.xnor_popcount(*inputs, **arguments).asnumpy()


def check(data, packed, threshold=None, **arguments):
    expected = ops.reference.xnor_popcount(data, packed, threshold, **arguments)
    out = call(data, packed, threshold, **arguments)
    assert out.dtype == np.float32 and out.shape == expected.shape
    assert np.array_equal(out, expected), arguments


def check_table(channels, groups, kernels, strides, dilates, pads, batches, image):
    table = itertools.product(kernels, strides, dilates, pads, PAD_VALUES, batches)
    for seed, (kernel, stride, dilate, pad, pad_value, batch) in enumerate(table):
        data, _, packed, threshold = make(seed, (batch, channels) + image, 3 * groups, kernel, groups, seed % 2)
        check(data, packed, threshold, kernel=kernel, stride=stride, dilate=dilate, pad=pad, pad_value=pad_value,
              num_filter=3 * groups, num_group=groups)


def test_reference_takes_the_filters_of_the_weight():
    data, _, packed, _ = make(0, (2, 9, 4, 4), 5, (3, 3))
    expected = ops.reference.xnor_popcount(data, packed, kernel=(3, 3), num_filter=5)
    assert np.array_equal(ops.reference.xnor_popcount(data, packed, kernel=(3, 3)), expected)


def group_table():
    return [(channels, groups) for channels in CHANNELS for groups in sorted({1, channels}) if groups < 65]


@pytest.mark.parametrize('channels, groups', group_table())
def test_convolution(isa, channels, groups):
    check_table(channels, groups, KERNELS_2D, [(1, 1), (2, 1)], [(1, 1), (1, 2)], [(0, 0), (1, 2)], [1], (6, 7))


@pytest.mark.full
@pytest.mark.parametrize('channels', CHANNELS)
def test_convolution_full(isa, channels):
    for groups in [g for g in range(1, channels + 1) if channels % g == 0]:
        check_table(channels, groups, KERNELS_2D, [(1, 1), (2, 1), (3, 2)], [(1, 1), (2, 1), (1, 2)],
                    [(0, 0), (1, 2), (4, 1)], [1, 3], (9, 7))


# Groups of few channels are looked up: their number, channels and filters of each.
SMALL_GROUPS = [(66, 1, 1), (9, 1, 2), (33, 2, 2), (33, 2, 1), (22, 3, 3), (17, 4, 4), (13, 5, 5), (3, 7, 7),
                (17, 8, 8), (3, 8, 70), (6, 12, 12), (5, 16, 16), (2, 17, 17), (3, 24, 24), (2, 32, 32)]


@pytest.mark.parametrize('groups, channels, filters', SMALL_GROUPS)
def test_small_groups(isa, groups, channels, filters):
    table = itertools.product([((3, 3), (1, 1)), ((5, 2), (1, 3)), ((1, 5), (2, 1))], [(1, 1), (2, 2)], PAD_VALUES)
    for seed, ((kernel, dilate), stride, pad_value) in enumerate(table):
        data, _, packed, threshold = make(seed, (1 + seed % 2, groups * channels, 9, 14), groups * filters, kernel,
                                          groups, seed % 2)
        check(data, packed, threshold, kernel=kernel, stride=stride, dilate=dilate, pad=(1, 1), pad_value=pad_value,
              num_filter=groups * filters, num_group=groups)


@pytest.mark.parametrize('channels, groups', [(64, 64), (64, 32), (64, 16), (64, 4), (60, 20)])
@pytest.mark.parametrize('pad_value', PAD_VALUES)
def test_small_groups_threads(isa, channels, groups, pad_value):
    data, _, packed, threshold = make(groups, (2, channels, 20, 21), channels, (3, 3), groups, threshold=True)
    check(data, packed, threshold, kernel=(3, 3), pad=(1, 1), pad_value=pad_value, num_filter=channels,
          num_group=groups)


@pytest.mark.full
@pytest.mark.parametrize('group', [1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 16, 17, 32, 33])
def test_small_groups_full(isa, group):
    for groups in (1, 2, 31, 32, 33, 64, 65):
        check_table(group * groups, groups, KERNELS_2D, [(1, 1), (1, 2), (3, 2)], [(1, 1), (1, 2)], [(0, 0), (1, 2)],
                    [1, 3], (9, 7))


@pytest.mark.parametrize('channels', CHANNELS)
def test_convolution_1d(isa, channels):
    check_table(channels, 1, [(1,), (3,)], [(1,), (2,)], [(1,), (2,)], [(0,), (2,)], [1, 3], (8,))


@pytest.mark.parametrize('threshold', [False, True])
@pytest.mark.parametrize('batch', [1, 3, 40])
@pytest.mark.parametrize('channels', CHANNELS)
def test_dense(isa, channels, batch, threshold):
    data, _, packed, thresholds = make(channels, (batch, channels), 10, threshold=threshold)
    check(data, packed, thresholds, num_filter=10)


@pytest.mark.parametrize('filters', [1, 2, 3, 4, 5, 7, 63, 64, 65])
def test_filter_tails(isa, filters):
    data, _, packed, _ = make(filters, (2, 33, 5, 4), filters, (3, 3))
    check(data, packed, kernel=(3, 3), pad=(1, 1), num_filter=filters)


@pytest.mark.parametrize('image', [(1, 1), (1, 15), (1, 16), (3, 5), (4, 4), (17, 1), (7, 9), (8, 8), (5, 13),
                                   (12, 23)])
@pytest.mark.parametrize('pad_value', PAD_VALUES)
def test_image_tails(isa, image, pad_value):
    data, _, packed, threshold = make(sum(image), (3, 40) + image, 4, (3, 3), threshold=True)
    check(data, packed, threshold, kernel=(3, 3), pad=(1, 1), pad_value=pad_value, num_filter=4)


@pytest.mark.parametrize('groups', [1, 2, 8])
@pytest.mark.parametrize('pad_value', PAD_VALUES)
def test_threads(isa, groups, pad_value):
    """Large enough to be split among threads, in images, groups, pixels and filters."""
    data, _, packed, threshold = make(groups, (2, 64, 20, 21), 64, (3, 3), groups, threshold=True)
    check(data, packed, threshold, kernel=(3, 3), pad=(1, 1), pad_value=pad_value, num_filter=64, num_group=groups)


@pytest.mark.parametrize('words', [1, 7, 8, 9, 15, 16, 247, 248, 249, 255, 256, 496, 600])
@pytest.mark.parametrize('sign', [-1, 1])
def test_extreme_counts(isa, words, sign):
    """All bits differ, or none, over reductions that fill a kernel's narrow counters."""
    channels = 64 * words
    data, packed = np.ones((2, channels)), ops.pack_weights(np.full((5, channels), sign))
    assert np.array_equal(call(data, packed, num_filter=5), np.full((2, 5), sign * channels))


@pytest.mark.parametrize('groups', [1, 3])
@pytest.mark.parametrize('kernel', KERNELS_2D)
@pytest.mark.parametrize('pad_value', PAD_VALUES)
def test_equals_mxnet_convolution(isa, kernel, pad_value, groups):
    arguments = dict(kernel=kernel, stride=(2, 1), dilate=(1, 2), num_filter=6, num_group=groups)
    data, weight, packed, _ = make(0, (3, 33, 9, 8), 6, kernel, groups)
    sign = mx.nd.array(np.where(data >= 0, 1, -1))
    padded = mx.nd.pad(sign, mode='constant', pad_width=(0, 0, 0, 0, 2, 2, 1, 1), constant_value=pad_value)
    expected = mx.nd.Convolution(padded, mx.nd.array(np.where(weight >= 0, 1, -1)), no_bias=True, **arguments)
    out = call(data, packed, pad=(2, 1), pad_value=pad_value, **arguments)
    assert np.array_equal(out, expected.asnumpy())


def test_equals_mxnet_dense(isa):
    data, weight, packed, _ = make(0, (4, 100), 7)
    expected = mx.nd.FullyConnected(mx.nd.array(np.where(data >= 0, 1, -1)),
                                    mx.nd.array(np.where(weight >= 0, 1, -1)), num_hidden=7, no_bias=True)
    assert np.array_equal(call(data, packed, num_filter=7), expected.asnumpy())


@pytest.mark.parametrize('t, d, x, bit', [
    (0, 1, 0.0, 1), (0, 1, -0.0, 1), (0, 1, -1e-38, -1), (0, -1, 0.0, 1), (0, -1, -0.0, 1), (0, -1, 1e-38, -1),
    (-0.0, 1, 0.0, 1), (-0.0, -1, 0.0, 1), (0.3, 1, 0.3, 1), (0.3, -1, 0.3, 1),
    (0.3, 1, np.nextafter(np.float32(0.3), np.float32(0)), -1),
    (0.3, -1, np.nextafter(np.float32(0.3), np.float32(1)), -1),
    (np.inf, 1, 3e38, -1), (np.inf, -1, 3e38, 1), (-np.inf, 1, -3e38, 1), (-np.inf, -1, -3e38, -1),
    (0, -1, 1e-45, -1), (-0.0, -1, -1e-45, 1), (-1e-45, -1, -0.0, -1), (1e-45, -1, 1e-45, 1),
    (0.3, 1, np.nan, -1), (0.3, -1, np.nan, 1), (np.inf, -1, np.nan, 1), (-np.inf, 1, np.nan, -1),
    (np.nan, 1, 0.3, -1), (np.nan, -1, 0.3, -1), (-np.nan, -1, -np.inf, -1), (np.nan, 1, np.nan, -1),
    (np.uint32(0x7fffffff).view('float32'), -1, 0.3, -1), (np.uint32(0xffffffff).view('float32'), -1, np.inf, -1),
])
@pytest.mark.parametrize('image', [(1, 1), (4, 4)])
def test_threshold(isa, t, d, x, bit, image):
    data, threshold = np.full((1, 1) + image, x, 'float32'), np.array([[t], [d]], 'float32')
    for function in (call, ops.reference.xnor_popcount):
        out = function(data, ops.pack_weights(np.ones((1, 1, 1, 1))), threshold, kernel=(1, 1), num_filter=1)
        assert np.array_equal(out, np.full((1, 1) + image, bit))


# The ways into MXNet. All compute this layer.
LAYER = dict(kernel=(3, 3), pad=(1, 1), num_filter=6, threshold=True)
LAYER_SHAPE = (2, 20, 5, 6)


@pytest.fixture
def saved(tmp_path):
    """A symbol and its parameters in files, an input and the output it has to give."""
    data, _, packed, threshold = make(3, LAYER_SHAPE, 6, (3, 3), threshold=True)
    symbol = mx.sym.xnor_popcount(mx.sym.var('data'), mx.sym.var('weight', dtype='uint8'), mx.sym.var('threshold'),
                                  name='layer', **LAYER)
    symbol.save(str(tmp_path / 'net-symbol.json'))
    mx.nd.save(str(tmp_path / 'net-0000.params'), {'arg:weight': mx.nd.array(packed, dtype='uint8'),
                                                   'arg:threshold': mx.nd.array(threshold)})
    np.save(str(tmp_path / 'data.npy'), data)
    arguments = {key: value for key, value in LAYER.items() if key != 'threshold'}
    np.save(str(tmp_path / 'out.npy'), ops.reference.xnor_popcount(data, packed, threshold, **arguments))
    return tmp_path


def test_executor(saved):
    symbol = mx.sym.load(str(saved / 'net-symbol.json'))
    arguments = {key[4:]: value for key, value in mx.nd.load(str(saved / 'net-0000.params')).items()}
    arguments['data'] = mx.nd.array(np.load(str(saved / 'data.npy')))
    out = symbol.bind(mx.cpu(), arguments).forward()[0]
    assert np.array_equal(out.asnumpy(), np.load(str(saved / 'out.npy')))


@pytest.mark.parametrize('flags', [None, {}, {'static_alloc': True, 'static_shape': True}], ids=str)
def test_symbol_block(saved, flags):
    net = mx.gluon.SymbolBlock.imports(str(saved / 'net-symbol.json'), ['data'], str(saved / 'net-0000.params'))
    if flags is not None:
        net.hybridize(**flags)
    for _ in range(3):
        out = net(mx.nd.array(np.load(str(saved / 'data.npy'))))
        assert np.array_equal(out.asnumpy(), np.load(str(saved / 'out.npy')))


def test_module(saved):
    symbol, arguments, auxiliary = mx.model.load_checkpoint(str(saved / 'net'), 0)
    module = mx.mod.Module(symbol, data_names=['data'], label_names=None)
    module.bind([('data', LAYER_SHAPE)], for_training=False)
    module.set_params(arguments, auxiliary)
    module.forward(mx.io.DataBatch([mx.nd.array(np.load(str(saved / 'data.npy')))]), is_train=False)
    assert np.array_equal(module.get_outputs()[0].asnumpy(), np.load(str(saved / 'out.npy')))


def run_python(code, *arguments, **environment):
    return subprocess.run([sys.executable, '-c', code] + [str(argument) for argument in arguments],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          env=dict(os.environ, **environment))


def test_plain_mxnet_with_the_library_alone(saved):
    code = """
import sys, mxnet as mx, numpy as np
mx.library.load(sys.argv[1], verbose=False)
folder = sys.argv[2]
net = mx.gluon.SymbolBlock.imports(folder + "/net-symbol.json", ["data"], folder + "/net-0000.params")
out = net(mx.nd.array(np.load(folder + "/data.npy"))).asnumpy()
assert "bmx" not in sys.modules
assert np.array_equal(out, np.load(folder + "/out.npy"))
"""
    result = run_python(code, ops.library_path(), saved)
    assert result.returncode == 0, result.stderr


def test_shapes_and_types_are_inferred():
    symbol = mx.sym.xnor_popcount(mx.sym.var('data'), mx.sym.var('weight'), mx.sym.var('threshold'), **LAYER)
    arguments, out, _ = symbol.infer_shape(data=LAYER_SHAPE)
    assert arguments == [LAYER_SHAPE, (6, 3, 3, 3), (2, 20)] and out == [(2, 6, 5, 6)]
    arguments, out, _ = symbol.infer_type(data='float32')
    assert arguments == [np.float32, np.uint8, np.float32] and out == [np.float32]


@pytest.mark.parametrize('known, out', [
    ({'data': (0, 20, 5, 6)}, (0, 6, 5, 6)),
    ({'data': (2, 20, 0, 6)}, ()),
    ({'data': (2, 0, 5, 6)}, ()),
])
def test_partly_unknown_shapes(known, out):
    symbol = mx.sym.xnor_popcount(mx.sym.var('data'), mx.sym.var('weight'), mx.sym.var('threshold'), **LAYER)
    assert symbol.infer_shape_partial(**known)[1] == [out]
    with pytest.raises(mx.MXNetError, match='give the shape of data, which'):  # MXNet would write beyond its memory
        symbol.infer_shape_partial(weight=(6, 3, 3, 3))


# What differs from a call that works, and the error it has to give.
ERRORS = [
    (dict(num_filter=None), 'num_filter is required'),
    (dict(num_filter=0), 'num_filter must be between 1 and 2147483647, got 0'),
    (dict(num_filter=-1), 'num_filter must be between 1 and 2147483647, got -1'),
    (dict(num_filter=2 ** 40), 'num_filter must be between 1 and 2147483647, got 1099511627776'),
    (dict(num_filter='x'), "num_filter must be an integer, got 'x'"),
    (dict(num_filter=5), 'weight must have shape (5, 3, 3, 2), got (8, 3, 3, 2)'),
    (dict(num_group=3), 'num_group must divide num_filter, got num_group 3 and num_filter 8'),
    (dict(num_group=0), 'num_group must divide num_filter, got num_group 0 and num_filter 8'),
    (dict(num_group=-2), 'num_group must divide num_filter, got num_group -2 and num_filter 8'),
    (dict(num_group=2, data=(2, 15, 5, 6)), 'groups 2 do not divide the 15 channels'),
    (dict(pad_value=2), 'pad_value must be -1, 0 or 1, got 2'),
    (dict(pad_value=0.5), "pad_value must be an integer, got '0.5'"),
    (dict(kernel='abc'), "kernel must be a tuple of integers, got 'abc'"),
    (dict(kernel='(3, 3'), "kernel must be a tuple of integers, got '(3, 3'"),
    (dict(kernel=(3, 3, 3)), 'kernel must have 1 or 2 numbers, or none for a dense layer, got (3, 3, 3)'),
    (dict(kernel=(0, 3)), 'kernel must be between 1 and 2147483647, got 0'),
    (dict(kernel=(-3, 3)), 'kernel must be between 1 and 2147483647, got -3'),
    (dict(kernel=(9, 3), weight=(8, 9, 3, 2)),
     'kernel spans 9x3 but the padded data only 5x6'),
    (dict(dilate=(1, 3)), 'kernel spans 3x7 but the padded data only 5x6'),
    (dict(dilate=(0, 1)), 'dilate must be between 1 and 2147483647, got 0'),
    (dict(stride=(0, 1)), 'stride must be between 1 and 2147483647, got 0'),
    (dict(stride=(1,)), 'stride (1) must have as many numbers as kernel, 2'),
    (dict(pad=(-1, 1)), 'pad must be between 0 and 2147483647, got -1'),
    (dict(pad=(2 ** 31 - 1, 1)), 'padded data of 16 channels and 4294967299x8 pixels is too large'),
    (dict(pad=(2 ** 31 - 1,) * 2, stride=(2 ** 31 - 1,) * 2),
     'padded data of 16 channels and 4294967299x4294967300 pixels is too large'),
    (dict(pad=(40000, 40000), stride=(80001, 80001)), 'padded data of 16 channels and 80005x80006 pixels is too large'),
    (dict(kernel=(1, 1), weight=(8, 1, 1, 2), pad=(20000, 20000), stride=(40001, 40001)),
     'bytes for one image, MXNet lends at most 2147483647; use a smaller image'),
    (dict(pad=(10 ** 30, 1)), "pad must be a tuple of integers, got '(1000000000000000000000000000000, 1)'"),
    (dict(kernel=(1 << 14, 1 << 14)), 'sums of more than 16777216 products are not exact in float32, got 16 channels'),
    (dict(layout='NHWC'), "unknown attribute 'layout'; valid names: kernel, stride, pad, dilate, num_filter, "
                          "num_group, pad_value, threshold"),
    (dict(data=(2, 16)), 'data must have 4 dimensions for kernel (3, 3), got shape (2, 16)'),
    (dict(data=(2, 16, 5)), 'data must have 4 dimensions for kernel (3, 3), got shape (2, 16, 5)'),
    (dict(kernel=None), 'data of a dense layer (no kernel) must be 2-D, got (2, 16, 5, 6)'),
    (dict(kernel=None, data=(2, 16), num_group=2), 'a dense layer (no kernel) has num_group 1, got 2'),
    (dict(weight=(8, 3, 3, 1)), 'weight must have shape (8, 3, 3, 2), got (8, 3, 3, 1)'),
    (dict(weight=(8, 16, 3, 3)), 'weight must have shape (8, 3, 3, 2), got (8, 16, 3, 3)'),
    (dict(weight=(8, 18)), 'weight must have shape (8, 3, 3, 2), got (8, 18)'),
    (dict(weight_dtype='float32'), 'weight must be uint8'),
    (dict(weight_dtype='int8'), 'weight must be uint8'),
    (dict(data_dtype='float64'), 'data must be float32'),
    (dict(data_dtype='float16'), 'data must be float32'),
    (dict(inputs=1), 'Operator xnor_popcount expects 2 inputs, but got 1 instead'),
    (dict(inputs=3), 'Operator xnor_popcount expects 2 inputs, but got 3 instead'),
    (dict(threshold='maybe'), "threshold must be True or False, got 'maybe'"),
    (dict(threshold=True), 'Operator xnor_popcount expects 3 inputs, but got 2 instead'),
    (dict(threshold=True, inputs=3, threshold_shape=(2, 15)), 'threshold must have shape (2, 16), got (2, 15)'),
    (dict(threshold=True, inputs=3, threshold_shape=(16,)), 'threshold must have shape (2, 16), got (16)'),
    (dict(threshold=True, inputs=3, threshold_dtype='float64'), 'threshold must be float32'),
]


@pytest.mark.parametrize('change, message', ERRORS, ids=[str(change) for change, _ in ERRORS])
def test_errors(change, message):
    call = dict(data=(2, 16, 5, 6), data_dtype='float32', weight=(8, 3, 3, 2), weight_dtype='uint8',
                threshold_shape=(2, 16), threshold_dtype='float32', inputs=2, kernel=(3, 3), num_filter=8)
    call.update(change)
    inputs = [mx.nd.zeros(call.pop('data'), dtype=call.pop('data_dtype')),
              mx.nd.zeros(call.pop('weight'), dtype=call.pop('weight_dtype')),
              mx.nd.zeros(call.pop('threshold_shape'), dtype=call.pop('threshold_dtype'))][:call.pop('inputs')]
    attributes = {key: value for key, value in call.items() if value is not None}
    with pytest.raises(mx.MXNetError) as error:
        mx.nd.xnor_popcount(*inputs, **attributes).wait_to_read()
    assert message in str(error.value)


def test_an_error_shows_its_own_sentence_only():
    for pad_value in (5, 6):
        with pytest.raises(mx.MXNetError) as error:
            mx.nd.xnor_popcount(mx.nd.zeros((1, 8)), mx.nd.zeros((1, 1), dtype='uint8'), num_filter=1,
                                pad_value=pad_value)
    assert str(error.value).count('xnor_popcount: ') == 1 and 'got 6' in str(error.value)


def test_zero_size_is_an_error():
    with mx.util.np_shape(True):
        with pytest.raises(mx.MXNetError, match=r'data has a dimension of size 0, shape \(0, 8\)'):
            mx.nd.xnor_popcount(mx.nd.zeros((0, 8)), mx.nd.zeros((1, 1), dtype='uint8'), num_filter=1)


def test_backward_is_refused():
    data = mx.nd.ones((1, 8))
    data.attach_grad()
    with mx.autograd.record():
        out = mx.nd.xnor_popcount(data, mx.nd.zeros((1, 1), dtype='uint8'), num_filter=1)
    with pytest.raises(mx.MXNetError, match='has no gradient, it is for deployment only'):
        out.backward()
        data.grad.wait_to_read()


def test_kernel_table():
    assert ops.kernels()[0] == 'portable' and len(set(ops.kernels())) == len(ops.kernels())
    assert ops.isa() in ops.kernels()
    before = ops.isa()
    supported = ops.supported_kernels()
    assert ops.isa() == before and before in supported and set(supported) <= set(ops.kernels())
    with pytest.raises(ValueError, match="no kernel 'abacus' for this CPU; valid names: " + ', '.join(supported)):
        ops.use_kernel('abacus')
    assert ctypes.CDLL(ops.library_path()).bmx_kernel_name(-1) == 0


def test_kernels_in_use_are_supported(isa):
    assert isa in ops.supported_kernels()


@pytest.mark.parametrize('name', ops.kernels())
def test_bmx_isa_forces_a_kernel(name):
    result = run_python('from bmx import ops; print(ops.isa())', BMX_ISA=name)
    if name in ops.supported_kernels():
        assert result.stdout.strip() == name
    else:
        assert f"no kernel '{name}' for this CPU (BMX_ISA)" in result.stderr


def test_empty_bmx_isa_counts_as_unset():
    result = run_python('from bmx import ops; print(ops.isa())', BMX_ISA='')
    assert result.stdout.strip() in ops.supported_kernels(), result.stderr


def test_unknown_bmx_isa():
    result = run_python('import bmx.ops', BMX_ISA='abacus')
    assert result.returncode == 1
    assert result.stderr.strip().splitlines()[-1].startswith(
        "ImportError: no kernel 'abacus' for this CPU (BMX_ISA); valid names: portable")


def test_unknown_bmx_isa_with_the_library_alone():
    code = """
import sys, mxnet as mx
mx.library.load(sys.argv[1], verbose=False)
mx.nd.xnor_popcount(mx.nd.zeros((1, 8)), mx.nd.zeros((1, 1), dtype="uint8"), num_filter=1).wait_to_read()
"""
    result = run_python(code, ops.library_path(), BMX_ISA='abacus')
    assert result.returncode == 1
    assert "no kernel 'abacus' for this CPU (BMX_ISA); valid names: portable" in result.stderr
