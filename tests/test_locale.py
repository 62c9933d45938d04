"""Numbers where the locale writes them with a decimal comma."""
import os
import shutil
import subprocess
import sys

import pytest

# Attributes, messages, a training step, export and prediction.
LAYERS = '''
import locale, sys
import mxnet as mx, numpy as np
from mxnet.gluon import nn
import bmx
from bmx import deploy
assert locale.setlocale(locale.LC_ALL, 'de_DE.UTF-8') and locale.str(0.5) == '0,5'
assert bmx.nn.ste_sign(mx.nd.array([-2, 0.5])).asnumpy().tolist() == [-1, 1]
for threshold, message in ((-1.5, 'got -1.5'), ('1,5', "a number, got '1,5'")):
    try:
        mx.nd.binarize(mx.nd.ones(3), clip_threshold=threshold)
        raise AssertionError(threshold)
    except mx.MXNetError as error:
        assert message in str(error), error
x = mx.nd.array([-0.8, -0.7, 0.3, 0.75])
x.attach_grad()
with mx.autograd.record():
    out = mx.nd.binarize(x, clip_threshold=0.75)
out.backward()
assert x.grad.asnumpy().tolist() == [0, 1, 1, 1]
net = nn.HybridSequential()
net.add(nn.Conv2D(8, 3), nn.BatchNorm(epsilon=1e-3), bmx.nn.QActivation(), bmx.nn.QConv2D(8, 3), nn.BatchNorm(),
        bmx.nn.PReLU(),
        nn.Flatten(), bmx.nn.QActivation(), bmx.nn.QDense(3))
net.initialize()
net.hybridize()
x = mx.nd.random.normal(shape=(2, 3, 8, 8))
trainer = mx.gluon.Trainer(net.collect_params(), 'sgd', {'learning_rate': 0.1})
with mx.autograd.record():
    loss = net(x).sum()
loss.backward()
trainer.step(2)
bmx.export(net, sys.argv[1], (1, 3, 8, 8), x)
deployed, _ = deploy.load(sys.argv[1])
assert np.array_equal(deployed(x).asnumpy(), net(x).asnumpy())
'''


@pytest.mark.skipif(not shutil.which('localedef'), reason='needs localedef')
def test_decimal_comma(tmp_path):
    # a locale of our own: few systems have one
    made = subprocess.run(['localedef', '-i', 'de_DE', '-f', 'UTF-8', str(tmp_path / 'de_DE.UTF-8')],
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if not (tmp_path / 'de_DE.UTF-8').exists():
        pytest.skip(f'localedef has no de_DE (exit code {made.returncode})')
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', LAYERS, str(tmp_path / 'net')], stderr=subprocess.PIPE,
                          text=True, env=dict(os.environ, LOCPATH=str(tmp_path), LC_ALL='de_DE.UTF-8'))
    assert done.returncode == 0, done.stderr
