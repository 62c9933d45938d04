"""Deployment: exact folding, faithful conversion, files that other programs load, and refusals."""
import os
import subprocess
import sys
import textwrap

import mxnet as mx
import numpy as np
import pytest
from mxnet import gluon
from mxnet.gluon import nn

import bmx
from bmx import deploy
from bmx.deploy import files
from bmx.deploy.threshold import batchnorm_threshold
from helpers import own, random, randomize, sequential, small_net

GAMMAS = [-2.5, -1.0, -1e-6, 0.0, 1e-6, 1.0, 3.7]


@pytest.mark.parametrize('fix_gamma', [False, True])
@pytest.mark.parametrize('gamma', GAMMAS)
def test_thresholds_decide_as_batchnorm_does(gamma, fix_gamma):
    generator = np.random.RandomState(5)
    channels = 60
    beta, mean = generator.normal(size=(2, channels))
    beta[:10], mean[5:15] = 0, 0  # boundaries at the mean and at zero
    values = [mx.nd.array(v) for v in (np.full(channels, gamma), beta, mean, generator.uniform(0.01, 4, channels))]
    attrs = dict(eps=1e-5, fix_gamma=fix_gamma)
    threshold, direction = batchnorm_threshold(*values, attrs=attrs)
    around = np.where(np.isfinite(threshold), threshold, 0).astype(np.float32)
    points = [around, np.nextafter(around, np.float32(np.inf)), np.nextafter(around, np.float32(-np.inf)),
              np.zeros(channels), -np.zeros(channels), values[2].asnumpy()]
    points += list(generator.normal(size=(50, channels)) * 3) + [np.full(channels, 1e30), np.full(channels, -1e30)]
    x = np.float32(points)
    for shape in ((len(x), channels), (len(x), channels, 1, 1)):
        normal = mx.nd.BatchNorm(mx.nd.array(x.reshape(shape)), *values, use_global_stats=True, **attrs)
        expected = (normal.asnumpy() >= 0).reshape(x.shape)
        assert (expected == (direction * x >= direction * threshold)).all()
    if gamma == 0 and not fix_gamma:
        assert np.isinf(threshold).all()
    elif fix_gamma or gamma > 0:
        assert (direction == 1).all()
    else:
        assert (direction[np.isfinite(threshold)] == -1).all()


class Residual(gluon.HybridBlock):
    """One normalisation read by a sign and by the sum: the sign folds, the sum still needs it."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm()
        self.conv = bmx.nn.BinaryConv(6, 3, padding=1)

    def hybrid_forward(self, F, x):
        y = self.norm(x)
        return self.conv(y) + y


class SharedSign(gluon.HybridBlock):
    """One sign read by two convolutions, one of which shares its weights with a third."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm()
        self.sign = bmx.nn.QActivation()
        self.first = bmx.nn.QConv2D(6, 3, padding=1, use_bias=False, in_channels=6)
        self.second = bmx.nn.QConv2D(6, 1, in_channels=6)

    def hybrid_forward(self, F, x):
        y = self.sign(self.norm(x))
        z = self.first(y) + self.second(y)
        return self.first(self.sign(z))


class Sum(gluon.HybridBlock):
    """A sign that is used as a number."""

    def __init__(self):
        super().__init__()
        self.sign = bmx.nn.QActivation()
        self.conv = bmx.nn.QConv2D(6, 1, use_bias=False)

    def hybrid_forward(self, F, x):
        y = self.sign(x)
        return self.conv(y) + y


# Name -> network, its input, number of layers that run binary.
NETS = {
    'padding -1': (lambda: sequential(nn.BatchNorm(), bmx.nn.BinaryConv(5, 3, padding=1)), (2, 6, 7, 8), 1),
    'padding +1': (lambda: sequential(nn.BatchNorm(), bmx.nn.BinaryConv(5, 3, padding=1, pad_value=1)),
                   (2, 6, 7, 8), 1),
    'padding 0': (lambda: sequential(nn.BatchNorm(), bmx.nn.BinaryConv(5, 3, padding=1, pad_value=0)), (2, 6, 7, 8), 1),
    'no batchnorm': (lambda: sequential(bmx.nn.BinaryConv(5, 3)), (2, 6, 7, 8), 1),
    'relu between': (lambda: sequential(nn.BatchNorm(), nn.Activation('relu'), bmx.nn.BinaryConv(5, 3)),
                     (2, 6, 7, 8), 1),
    'strides, dilation, groups': (lambda: sequential(
        nn.BatchNorm(), bmx.nn.BinaryConv(6, (3, 2), (2, 1), (2, 1), (2, 1), groups=3)), (2, 6, 9, 8), 1),
    'depthwise': (lambda: sequential(nn.BatchNorm(), bmx.nn.BinaryConv(6, 3, padding=1, groups=6)), (2, 6, 9, 8), 1),
    'scaling, bias, activation': (lambda: sequential(
        nn.BatchNorm(scale=False), bmx.nn.QActivation(),
        bmx.nn.QConv2D(6, 3, scaling='gradient', activation='tanh')), (2, 6, 5, 5), 1),
    'polynomial': (lambda: sequential(bmx.nn.BinaryConv(6, 3, quantizer='approx_sign')), (2, 6, 5, 5), 1),
    'one dimension': (lambda: sequential(
        nn.BatchNorm(), bmx.nn.QActivation(), bmx.nn.QConv1D(4, 3, padding=1)), (2, 5, 9), 1),
    'dense': (lambda: sequential(nn.BatchNorm(), bmx.nn.QActivation(), bmx.nn.QDense(4, scaling='constant')),
              (3, 10), 1),
    'dense on images': (lambda: sequential(nn.BatchNorm(), bmx.nn.QActivation(), bmx.nn.QDense(4)), (3, 4, 3, 3), 1),
    'dense after flatten': (lambda: sequential(
        nn.BatchNorm(), bmx.nn.QActivation(), nn.Flatten(), bmx.nn.QDense(4)), (3, 4, 3, 3), 1),
    'dense on sequences': (lambda: sequential(bmx.nn.QActivation(), bmx.nn.QDense(4, flatten=False)), (3, 4, 6), 1),
    'residual': (Residual, (2, 6, 5, 5), 1),
    'shared sign and weights': (SharedSign, (2, 6, 5, 5), 3),
    'sign as number': (Sum, (2, 6, 5, 5), 1),
    'binary weights only': (lambda: sequential(bmx.nn.QConv2D(4, 3, scaling='constant')), (2, 6, 5, 5), 0),
    'binary input only': (lambda: sequential(bmx.nn.QActivation(), nn.Conv2D(4, 3)), (2, 6, 5, 5), 0),
    'misleading names': (lambda: sequential(
        bmx.nn.QActivation(prefix='relu_'), bmx.nn.QConv2D(4, 3, prefix='float_'),
        nn.Conv2D(4, 1, prefix='qconv_binary_xnor_')), (2, 6, 5, 5), 1),
    'dropout': (lambda: sequential(nn.Dropout(0.5), bmx.nn.BinaryConv(4, 3)), (2, 6, 5, 5), 1),
}


@pytest.mark.parametrize('exact', [False, True])
@pytest.mark.parametrize('name', NETS)
def test_deployed_equals_float(name, exact, tmp_path):
    build, shape, binary = NETS[name]
    x = random((8,) + shape[1:], 3)
    net = randomize(build(), x)
    if exact or not binary:  # MXNet's float convolutions round as their batch wants
        expected, alone = net(x).asnumpy(), net(x[:1]).asnumpy()
    else:
        expected = own(net, x)
        alone = expected[:1]
    result = bmx.export(net, str(tmp_path / 'net'), shape, x, exact=exact)
    assert sum(row.reason is None for row in result.rows) == binary
    deployed, _ = deploy.load(str(tmp_path / 'net'))
    for static in (None, False, True):
        if static is not None:
            deployed.hybridize(static_alloc=static, static_shape=static)
        assert np.array_equal(deployed(x).asnumpy(), expected)
        assert np.array_equal(deployed(x[:1]).asnumpy(), alone)


@pytest.mark.parametrize('channels, size', [(16, 5), (64, 32)])
def test_values_on_the_boundary_behind_a_float_convolution(channels, size, tmp_path):
    generator = np.random.RandomState(3)
    net = sequential(nn.Conv2D(channels, 1, use_bias=False), bmx.nn.PlainLayout(), nn.BatchNorm(),
                     bmx.nn.BinaryConv(8, 3, padding=1))
    randomize(net, random((1, channels, size, size)))
    net[0].weight.set_data(mx.nd.array(np.eye(channels).reshape(channels, channels, 1, 1)))
    norm = net[2]
    values = [value.data() for value in (norm.gamma, norm.beta, norm.running_mean, norm.running_var)]
    threshold, _ = batchnorm_threshold(*values, attrs={'eps': 1e-5, 'fix_gamma': False})
    threshold = np.where(np.isfinite(threshold), threshold, 0).astype(np.float32)
    steps = [threshold, np.nextafter(threshold, np.float32(9e9)), np.nextafter(threshold, np.float32(-9e9))]
    choice = generator.randint(3, size=(4, size, size))
    x = mx.nd.array(np.stack(steps)[choice].transpose(0, 3, 1, 2))
    assert bmx.export(net, str(tmp_path / 'net'), x.shape, x).comparison.max_difference == 0


def test_no_float_weights_of_binary_layers_are_left(tmp_path):
    net = randomize(NETS['shared sign and weights'][0](), random((2, 6, 5, 5)))
    bmx.export(net, str(tmp_path / 'net'), (1, 6, 5, 5))
    saved = mx.nd.load(files.params_path(str(tmp_path / 'net')))
    weights = {name: value for name, value in saved.items() if 'weight' in name}
    assert len(weights) == 2 and all(value.dtype == np.uint8 for value in weights.values())


# Loaders are scripts that have `prefix`, `library` and `x`, NumPy (5, 3, 8, 8), and leave `out`, NumPy (5, 4).
LOADERS = {
    'SymbolBlock': """
        import mxnet as mx
        mx.library.load(library, verbose=False)
        net = mx.gluon.SymbolBlock.imports(prefix + '-symbol.json', ['data'], prefix + '-0000.params')
        net.hybridize(static_alloc=True, static_shape=True)
        out = net(mx.nd.array(x)).asnumpy()""",
    'Module': """
        import mxnet as mx
        mx.library.load(library, verbose=False)
        symbol, arguments, auxiliary = mx.model.load_checkpoint(prefix, 0)
        module = mx.mod.Module(symbol, label_names=None)
        module.bind(for_training=False, data_shapes=[('data', x.shape)])
        module.set_params(arguments, auxiliary)
        module.forward(mx.io.DataBatch([mx.nd.array(x)]), is_train=False)
        out = module.get_outputs()[0].asnumpy()""",
    'C predict API': """
        import ctypes, importlib.util, os
        folder_of_mxnet = importlib.util.find_spec('mxnet').submodule_search_locations[0]
        mxnet = ctypes.CDLL(os.path.join(folder_of_mxnet, 'libmxnet.so'))
        mxnet.MXGetLastError.restype = ctypes.c_char_p
        def check(code):
            assert code == 0, mxnet.MXGetLastError()
        check(mxnet.MXLoadLib(library.encode(), 0))
        symbol, params = (open(prefix + suffix, 'rb').read() for suffix in ('-symbol.json', '-0000.params'))
        predictor, size = ctypes.c_void_p(), ctypes.c_uint(x.size)
        check(mxnet.MXPredCreate(symbol, params, len(params), 1, 0, 1, (ctypes.c_char_p * 1)(b'data'),
                                 (ctypes.c_uint * 2)(0, 4), (ctypes.c_uint * 4)(*x.shape), ctypes.byref(predictor)))
        floats = ctypes.POINTER(ctypes.c_float)
        check(mxnet.MXPredSetInput(predictor, b'data', x.ctypes.data_as(floats), size))
        check(mxnet.MXPredForward(predictor))
        out = np.empty((5, 4), np.float32)
        check(mxnet.MXPredGetOutput(predictor, 0, out.ctypes.data_as(floats), ctypes.c_uint(out.size)))
        check(mxnet.MXPredFree(predictor))""",
}


@pytest.mark.parametrize('loader', LOADERS)
def test_loads_where_only_the_library_is_loaded(loader, tmp_path):
    net, x, prefix = small_net(), random((5, 3, 8, 8), 2), str(tmp_path / 'net')
    bmx.export(net, prefix, x.shape, x)
    np.save(str(tmp_path / 'x.npy'), x.asnumpy())
    script = '\n'.join([
        'import sys', 'import numpy as np', 'prefix, library, folder = sys.argv[1:]', 'x = np.load(folder + "/x.npy")',
        textwrap.dedent(LOADERS[loader]), 'assert "bmx" not in sys.modules', 'np.save(folder + "/out.npy", out)'])
    subprocess.run([sys.executable, '-W', 'ignore', '-c', script, prefix, bmx.ops.library_path(), str(tmp_path)],
                   check=True, cwd=str(tmp_path))
    assert np.array_equal(np.load(str(tmp_path / 'out.npy')), own(net, x))


def test_without_the_library_mxnet_names_the_operator(tmp_path):
    prefix = str(tmp_path / 'net')
    bmx.export(small_net(), prefix, (1, 3, 8, 8))
    script = f'import mxnet as mx; mx.sym.load({prefix + "-symbol.json"!r})'
    run = subprocess.run([sys.executable, '-W', 'ignore', '-c', script], stderr=subprocess.PIPE, cwd=str(tmp_path))
    assert run.returncode == 1 and b'binary_subgraph' in run.stderr


def test_metadata(tmp_path):
    prefix = str(tmp_path / 'net')
    view = {'size': [8, 8], 'crop_ratio': 0.875, 'mean': [0.5] * 3, 'std': [0.25] * 3}
    bmx.export(small_net(), prefix, (1, 3, 8, 8), model='tiny', classes=list('abcd'), preprocess=view)
    _, metadata = deploy.load(prefix)
    assert (metadata.format, metadata.bit_order, metadata.model) == (4, 'lsb-first', 'tiny')
    assert (metadata.settings, metadata.layer_defaults) == ({}, {})
    assert (metadata.input_shape, metadata.classes, metadata.preprocess) == ([3, 8, 8], list('abcd'), view)


class PythonOperator(gluon.HybridBlock):
    def hybrid_forward(self, F, x):
        return F.Custom(x, op_type='bmx_test_identity')


@mx.operator.register('bmx_test_identity')
class _IdentityProp(mx.operator.CustomOpProp):
    def create_operator(self, ctx, shapes, dtypes):
        class Identity(mx.operator.CustomOp):
            def forward(self, is_train, req, in_data, out_data, aux):
                self.assign(out_data[0], req[0], in_data[0])
        return Identity()


class Dynamic(gluon.HybridBlock):
    def hybrid_forward(self, F, x):
        return x if x.shape[0] > 1 else x * 2


class DataParameter(gluon.HybridBlock):
    def __init__(self, prefix):
        super().__init__(prefix=prefix)
        self.data = self.params.get('data', shape=(1,), init='ones')

    def hybrid_forward(self, F, x, data):
        return F.broadcast_mul(x, data)


class ControlFlow(gluon.HybridBlock):
    def hybrid_forward(self, F, x):
        return F.contrib.foreach(lambda row, state: (row * 2, state), x, [])[0]


def with_weight(value):
    net = small_net()
    net[2].conv.weight.data()[0, 0, 0, 0] = value
    return net


def cast(net):
    net.cast('float64')
    return net


REFUSED = {
    'python operator': (lambda: sequential(PythonOperator(prefix='mine_')), 'mine_.*runs Python code'),
    'not a number': (lambda: with_weight(np.nan), 'conv0_weight.*not finite'),
    'other dtype': (lambda: cast(small_net()), 'float64.*cast'),
    'not initialized': (lambda: sequential(nn.Dense(3)), 'no parameters yet'),
    'two names for four outputs': (lambda: small_net(), '2 names of classes for 4 outputs'),
    'parameter called data': (lambda: sequential(DataParameter(prefix='')), 'is called data'),
    'control flow': (lambda: sequential(ControlFlow(prefix='loop_')), 'loop.*holds a graph of its own'),
    'not hybrid': (lambda: nn.Sequential(), 'only a HybridBlock'),
    'not traceable': (lambda: Dynamic(), 'cannot be traced'),
}


@pytest.mark.parametrize('name', REFUSED)
def test_refused(name, tmp_path):
    build, message = REFUSED[name]
    with pytest.raises(bmx.ExportError, match=message):
        bmx.export(build(), str(tmp_path / 'net'), (1, 3, 8, 8), classes=['a', 'b'] if 'two names' in name else None)
    assert os.listdir(str(tmp_path)) == []


def test_a_wrong_conversion_is_not_kept(tmp_path, monkeypatch):
    net, prefix = small_net(), str(tmp_path / 'net')
    bmx.export(net, prefix, (1, 3, 8, 8))
    before = [open(path(prefix), 'rb').read() for path in (files.params_path, files.symbol_path)]
    pack = bmx.ops.pack_weights
    monkeypatch.setattr(bmx.ops, 'pack_weights', lambda weight: pack(-weight))
    with pytest.raises(bmx.ExportError, match='computes something else.*nothing was written'):
        bmx.export(net, prefix, (1, 3, 8, 8))
    assert [open(path(prefix), 'rb').read() for path in (files.params_path, files.symbol_path)] == before
    assert len(os.listdir(str(tmp_path))) == 2


DAMAGE = {
    'truncated parameters': (files.params_path, lambda content: content[:len(content) // 2],
                             'damaged, or not the file'),
    'empty parameters': (files.params_path, lambda content: b'', 'damaged, or not the file'),
    'flipped bit': (files.params_path, lambda content: content[:-9] + bytes([content[-9] ^ 1]) + content[-8:],
                    'damaged'),
    'truncated symbol': (files.symbol_path, lambda content: content[:len(content) // 2], 'not a symbol file'),
    'foreign symbol': (files.symbol_path, lambda content: content.replace(b'__bmx__', b'__other__'),
                       'not written by bmx'),
    'foreign attribute': (files.symbol_path, lambda content: content.replace(br'\"model\"', br'\"net\"'),
                          'is damaged: see model, net'),
    'settings': (files.symbol_path, lambda content: content.replace(br'\"settings\": {}', br'\"settings\": 3'),
                 'damaged: its settings cannot be 3'),
    'layer defaults': (files.symbol_path, lambda content: content.replace(
        br'\"layer_defaults\": {}', br'\"layer_defaults\": null'), 'damaged: its layer_defaults cannot be None'),
    'unknown layer default': (files.symbol_path, lambda content: content.replace(
        br'\"layer_defaults\": {}', br'\"layer_defaults\": {\"depth\": 3}'), 'config has no setting depth'),
    'impossible layer default': (files.symbol_path, lambda content: content.replace(
        br'\"layer_defaults\": {}', br'\"layer_defaults\": {\"bits\": 9}'), 'layer_defaults: bits must be one of'),
    'input shape': (files.symbol_path, lambda content: content.replace(
        br'\"input_shape\": [3, 8, 8]', br'\"input_shape\": null'), 'damaged: its input_shape cannot be None'),
    'newer format': (files.symbol_path, lambda content: content.replace(br'\"format\": 4', br'\"format\": 9'),
                     'has format 9'),
}


@pytest.mark.parametrize('name', DAMAGE)
def test_damaged_files(name, tmp_path):
    path, damage, message = DAMAGE[name]
    prefix = str(tmp_path / 'net')
    bmx.export(small_net(), prefix, (1, 3, 8, 8))
    with open(path(prefix), 'rb') as stream:
        content = stream.read()
    assert damage(content) != content
    with open(path(prefix), 'wb') as stream:
        stream.write(damage(content))
    with pytest.raises(bmx.LoadError, match=message):
        deploy.load(prefix)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match='net-symbol.json is missing'):
        deploy.load(str(tmp_path / 'net'))


def test_parameters_of_another_model_and_truncated_ones(tmp_path):
    path = str(tmp_path / 'net.params')
    small_net().save_parameters(path)
    bmx.load_parameters(small_net(), path)
    with pytest.raises(bmx.LoadError, match='belongs to another model than meliusnet22: .* parameters are missing'):
        bmx.load_parameters(bmx.get_model('meliusnet22'), path)
    other = sequential(nn.Conv2D(6, 3), nn.BatchNorm(), bmx.nn.BinaryConv(5, 3, padding=1), nn.Dense(9, in_units=180))
    with pytest.raises(bmx.LoadError, match=r'shape \(4, 180\).* wants \(9, 180\)'):
        bmx.load_parameters(other, path)
    with open(path, 'rb') as stream:
        content = stream.read()
    for size in (0, 10, len(content) // 2, len(content) - 1):
        with open(path, 'wb') as stream:
            stream.write(content[:size])
        with pytest.raises(bmx.LoadError, match='damaged'):
            bmx.load_parameters(small_net(), path)
    with pytest.raises(FileNotFoundError, match='does not exist'):
        bmx.load_parameters(small_net(), path + 's')


KILLS = {
    'before the new files are verified': 'files.load = lambda prefix: os.kill(os.getpid(), signal.SIGKILL)',
    'between the two renames': '''
replace = os.replace
def killer(source, target):
    if target.endswith('.json'):
        os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)
os.replace = killer''',
}


@pytest.mark.parametrize('moment', KILLS)
def test_killed_while_writing_leaves_the_old_model(moment, tmp_path):
    prefix, x = str(tmp_path / 'net'), random((2, 3, 8, 8))
    bmx.export(small_net(), prefix, (1, 3, 8, 8))
    expected = deploy.load(prefix)[0](x).asnumpy()
    script = '\n'.join([
        'import os, signal, sys', 'sys.path.insert(0, sys.argv[2])', 'import test_deploy, bmx',
        'from bmx.deploy import files', KILLS[moment],
        'net = test_deploy.small_net()', 'net[2].conv.weight.set_data(-net[2].conv.weight.data())',
        'bmx.export(net, sys.argv[1], (1, 3, 8, 8))'])
    run = subprocess.run([sys.executable, '-W', 'ignore', '-c', script, prefix, os.path.dirname(__file__)])
    assert run.returncode == -9
    assert np.array_equal(deploy.load(prefix)[0](x).asnumpy(), expected)
    bmx.export(small_net(), prefix, (1, 3, 8, 8))
    assert np.array_equal(deploy.load(prefix)[0](x).asnumpy(), expected)


def test_prefix_must_name_files(tmp_path):
    with pytest.raises(bmx.ExportError, match='names a folder'):
        bmx.export(small_net(), str(tmp_path) + os.sep, (1, 3, 8, 8))


def test_inputs_that_are_not_finite_verify_nothing(tmp_path):
    x = random((2, 3, 8, 8))
    x[1, 1, 1, 1] = np.nan
    with pytest.raises(bmx.ExportError, match='an input to compare on is not finite'):
        bmx.export(small_net(), str(tmp_path / 'net'), (1, 3, 8, 8), x)


class Outputs(gluon.HybridBlock):
    """A large output that is right, and a small one."""

    def __init__(self):
        super().__init__()
        self.float = nn.Conv2D(4, 1)
        self.binary = bmx.nn.BinaryConv(4, 1)

    def hybrid_forward(self, F, x):
        return self.float(x) * 1e6, F.tanh(self.binary(x) * 0.01)


def test_every_output_is_verified(tmp_path, monkeypatch):
    net = randomize(Outputs(), random((2, 3, 4, 4)))
    result = bmx.export(net, str(tmp_path / 'net'), (1, 3, 4, 4))
    assert result.comparison.max_difference == 0
    pack = bmx.ops.pack_weights
    monkeypatch.setattr(bmx.ops, 'pack_weights', lambda weight: pack(-weight))
    with pytest.raises(bmx.ExportError, match='values on 0 of 4 inputs'):
        bmx.export(net, str(tmp_path / 'net'), (1, 3, 4, 4))


def test_networks_elsewhere_and_constants_of_other_types(tmp_path):
    class Cast(gluon.HybridBlock):
        def __init__(self):
            super().__init__()
            self.scale = self.params.get('scale', shape=(1, 3, 1, 1), init=mx.init.Uniform(1))

        def hybrid_forward(self, F, x, scale):
            return F.cast(F.broadcast_mul(F.cast(x, 'float64'), F.cast(scale, 'float64')), 'float32')
    net = sequential(Cast(), bmx.nn.BinaryConv(4, 3))
    net.initialize(ctx=mx.cpu(1))
    result = bmx.export(net, str(tmp_path / 'net'), (1, 3, 8, 8))
    assert result.comparison.max_difference == 0
