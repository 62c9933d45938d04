"""Arrays without dimensions, or with none of something: each operator says so, or gives an empty result."""
import json
import subprocess
import sys

import mxnet as mx
import pytest

import bmx.ops  # noqa: F401  (loads the operators)

# What every case can use: arrays without dimensions, with none of something, of ones, packed weights.
PRELUDE = '''
import json, sys
import mxnet as mx, numpy as np
import bmx

def empty(*shape, **kwargs):
    with mx.util.np_shape(True):
        return mx.nd.zeros(shape, **kwargs)

scalar, byte = mx.nd.array(np.zeros(())), mx.nd.array(np.zeros(()), dtype='uint8')
ones = lambda *shape: mx.nd.ones(shape)
weight = lambda *shape: mx.nd.zeros(shape, dtype='uint8')
CONV = 'conv in=x0[0:3] out=y0 kernel=1,1 filters=4 weight=p0'

def gradient(function, *arrays):
    for array in arrays:
        array.attach_grad()
    with mx.autograd.record():
        out = function(*arrays)
        out = out[0] if isinstance(out, list) else out
    out.backward()
    return arrays[-1].grad
'''
# A call, and the shape of its result or what its error has to say.
NO_DIMENSIONS = 'an input has no dimensions; a single value has shape (1,)'
CASES = [(call, NO_DIMENSIONS) for call in (
    "mx.nd.binarize(scalar)",
    "mx.nd.binarize(data=scalar)",
    "mx.nd.residual_binarize(scalar, binarizations=2)[0]",
    "mx.nd.channelwise(scalar, ones(3), kind='scale')",
    "mx.nd.channelwise(ones(3, 2), scalar, kind='prelu')",
    "mx.nd.binary_convolution(scalar, ones(8, 1), num_filter=8)",
    "mx.nd.binary_convolution(ones(2, 1), scalar, num_filter=8)",
    "mx.nd.xnor_popcount(scalar, weight(8, 1), num_filter=8)",
    "mx.nd.xnor_popcount(ones(2, 8), byte, num_filter=8)",
    "mx.nd.xnor_popcount(ones(2, 8), weight(8, 1), scalar, num_filter=8, threshold=True)",
    "mx.nd.expand_weights(scalar, weight(1, 2), shape=(4, 4))",
    "mx.nd.expand_weights(ones(2, 1, 1), byte, shape=(4, 4))",
    "mx.nd.binary_subgraph(scalar, weight(4, 1, 1, 1), program=CONV)",
    "mx.nd.binary_subgraph(ones(1, 3, 2, 2), byte, program=CONV)",
    "mx.nd.binary_subgraph(ones(1, 3, 2, 2), scalar, program='map in=x0[0:3] out=y0 steps=prelu:p0')",
    "mx.nd.binary_subgraph(ones(1, 3, 2, 2), scalar, num_data=2, program='map in=x0[0:3] out=y0 steps=plus:x1[0:3]')",
)]
# Without what `bmx.ops` does in Python, as from other languages.
CASES += [(call, message + ' has no dimensions; a single value has shape (1)') for call, message in (
    ("mx.nd.channelwise.__wrapped__(ones(3, 2), scalar, kind='prelu')", 'values'),
    ("mx.nd.binary_convolution.__wrapped__(ones(2, 8), scalar, num_filter=8)", 'weight'),
    ("mx.nd.xnor_popcount.__wrapped__(ones(2, 8), byte, num_filter=8)", 'weight'),
    ("mx.nd.xnor_popcount.__wrapped__(ones(2, 8), weight(8, 1), scalar, num_filter=8, threshold=True)", 'threshold'),
    ("mx.nd.binary_subgraph.__wrapped__(ones(1, 3, 2, 2), byte, program=CONV)", 'p0'),
    ("mx.nd.binary_subgraph.__wrapped__(ones(1, 3, 2, 2), scalar, num_data=2, "
     "program='map in=x0[0:3] out=y0 steps=plus:x1[0:3]')", 'x1'),
)]
# The same where MXNet knows that a dimension may be 0 and a scalar is an array.
NP_SHAPE_CASES = [case for case in CASES if case[1] == NO_DIMENSIONS] + [
    ("mx.nd.binarize.__wrapped__(scalar)", 'data has no dimensions'),
    ("mx.nd.channelwise.__wrapped__(scalar, ones(3), kind='scale')", 'data has no dimensions'),
    ("mx.nd.xnor_popcount.__wrapped__(scalar, weight(8, 1), num_filter=8)", 'data has no dimensions'),
    ("mx.nd.binarize(empty(0, 3, 4, 4), pad=(1, 1))", [0, 3, 6, 6]),
    ("mx.nd.binarize(empty(2, 0))", [2, 0]),
    ("mx.nd.binarize(empty(2, 3, 0, 4), pad=(1, 1))", 'data has a dimension of size 0, shape (2, 3, 0, 4)'),
    ("gradient(mx.nd.binarize, empty(0, 3))", [0, 3]),
    ("mx.nd.residual_binarize(empty(0, 3, 2), binarizations=2)[0]", [0, 3, 2]),
    ("mx.nd.residual_binarize(empty(0, 3, 2), binarizations=2)[1]", [2, 0]),
    ("gradient(lambda x: mx.nd.residual_binarize(x, pad=1), empty(0, 3, 2))", [0, 3, 2]),
    ("mx.nd.residual_binarize(empty(2, 0, 4))[0]", 'data has a dimension of size 0, shape (2, 0, 4)'),
    ("mx.nd.channelwise(empty(0, 3), ones(3), kind='scale')", [0, 3]),
    ("mx.nd.channelwise(empty(65535, 65535, 0), ones(65535), kind='prelu')", [65535, 65535, 0]),
    ("gradient(lambda x, v: mx.nd.channelwise(x, v, kind='prelu'), empty(0, 3, 2), ones(3))", [3]),
    ("mx.nd.channelwise(ones(2, 3), empty(0), kind='scale')", 'values must have shape (1) or (3), got (0)'),
    ("mx.nd.xnor_popcount(empty(0, 8), weight(8, 1), num_filter=8)", 'data has a dimension of size 0, shape (0, 8)'),
    ("mx.nd.xnor_popcount(ones(2, 8), empty(8, 0, dtype='uint8'), num_filter=8)",
     'weight must have shape (8, 1), got (8, 0)'),
    ("mx.nd.xnor_popcount(ones(2, 8), weight(8, 1), empty(2, 0), num_filter=8, threshold=True)",
     'threshold must have shape (2, 8), got (2, 0)'),
    ("mx.nd.binary_subgraph(empty(0, 3, 2, 2), weight(4, 1, 1, 1), program=CONV)",
     'x0 has a dimension of size 0, shape (0, 3, 2, 2)'),
    ("mx.nd.binary_subgraph(ones(1, 3, 2, 2), empty(0), program='map in=x0[0:3] out=y0 steps=prelu:p0')",
     'p0 must have shape (3), got (0)'),
    ("mx.nd.xnor_popcount(ones(1, 1, 1, 1), weight(1, 1, 1, 1), kernel=(1, 1), pad=(20000, 20000), num_filter=1, "
     "stride=(40000, 40000))", 'needs 12800640192 bytes for one image, MXNet lends at most 2147483647'),
]


def outcomes(cases, prelude):
    """The shape or the error of each call, in one process: one that crashes is the last."""
    code = PRELUDE + '''
for call in json.loads(sys.argv[1]):
    try:
        result = eval(call)
        print(json.dumps(list(result.asnumpy().shape)), flush=True)
    except mx.MXNetError as error:
        print(json.dumps(str(error)), flush=True)
'''
    calls = json.dumps([call for call, _ in cases])
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', prelude + code, calls], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == len(cases), f'{cases[len(found)][0]}: exit code {done.returncode}\n{done.stderr}'
    return zip(cases, found)


@pytest.mark.parametrize('cases, prelude', [
    (CASES, ''), (NP_SHAPE_CASES, 'import mxnet\nmxnet.util.set_np_shape(True)\n')], ids=['plain', 'np_shape'])
def test_without_dimensions_or_values(cases, prelude):
    for (call, expected), found in outcomes(cases, prelude):
        if isinstance(expected, str):
            assert isinstance(found, str) and expected in found, (call, found)
        else:
            assert found == expected, call


# Memory that a program needs, computed without wrapping.
@pytest.mark.parametrize('program, shape, message', [
    ('conv in=x0[0:2147483647] out=y0 weight=p0 kernel=1,1 pad=9,9 groups=2147483647 filters=2147483647',
     (1, 2147483647, 1, 1),
     'instruction 0 (conv): padded data of 2147483647 channels and 19x19 pixels is too large'),
    ('conv in=x0[0:1] out=y0 weight=p0 kernel=4096,4096 pad=2048,2048 filters=2147483647', (1, 1, 1, 1),
     'instruction 0 (conv): weights of 2147483647 filters, 1 channels and kernel 4096x4096 are too large'),
    ('map in=x0[0:1] out=y0', (1, 3, 2147483647, 2147483647),
     'x0 of 3 channels and 2147483647x2147483647 pixels is too large'),
])
def test_sizes_do_not_wrap(program, shape, message):
    inputs = [mx.sym.var('x0'), mx.sym.var('p0')][:1 + program.count('p0')]
    with pytest.raises(mx.MXNetError) as error:
        mx.sym.binary_subgraph(*inputs, program=program).infer_shape(x0=shape)
    assert message in str(error.value)


UNKNOWN = '''
import mxnet as mx, bmx
net = bmx.nn.PReLU()
net.initialize()
y = net(mx.sym.var('x'))
for ask in (y.infer_shape_partial, y.infer_shape, lambda: y.simple_bind(mx.cpu(), misspelt=(1, 3, 4, 4))):
    try:
        ask()
    except mx.MXNetError as error:
        print(error)
print(y.infer_shape(x=(1, 3, 4, 4))[1])
'''


def test_shapes_of_unknown_data_are_refused():
    # in a process of its own: MXNet writes beyond its memory where nothing refuses
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', UNKNOWN], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True)
    assert done.returncode == 0 and done.stdout.count("give the shape of x, which") == 3, done.stdout
    assert done.stdout.splitlines()[-1] == '[(1, 3, 4, 4)]'
