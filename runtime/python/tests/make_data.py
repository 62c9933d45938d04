"""Writes data/ anew, with bmx and MXNet: python runtime/python/tests/make_data.py, from the root of a clone.

The models are tiny, and what MXNet answers stands in expected.json: by model, for inputs that
`RandomState(0).normal` gives, and what `bmx predict` says of picture.png.
"""
import contextlib
import io
import json
import os

import mxnet as mx
import numpy as np
from mxnet.gluon import nn
from PIL import Image

import bmx
from bmx import cli, deploy

DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'data')
VIEW = {'size': [8, 12], 'crop_ratio': 0.875, 'mean': [0.485, 0.456, 0.406], 'std': [0.229, 0.224, 0.225]}
# Inputs of each model, the second of a size that it was not exported for.
SHAPES = ([2, 3, 8, 12], [1, 3, 9, 7])


class TwoOutputs(mx.gluon.HybridBlock):
    def __init__(self):
        super().__init__()
        self.features, self.classes = nn.HybridSequential(), nn.HybridSequential()
        self.features.add(nn.Conv2D(8, 3, padding=1, use_bias=False), bmx.nn.PlainLayout(), nn.BatchNorm(),
                          bmx.nn.BinaryConv(8, 3, padding=1))
        self.classes.add(nn.BatchNorm(), bmx.nn.BinaryConv(8, 3, padding=1), nn.GlobalAvgPool2D(), nn.Dense(3))

    def hybrid_forward(self, F, x):
        features = self.features(x)
        return features, self.classes(features)


def tiny():
    return bmx.get_model('meliusnet22', blocks=(1, 1), reductions=(0.5,), growth=8, stem='thumbnail', classes=7)


def main():
    os.makedirs(DATA, exist_ok=True)
    expected = {}
    for name, net, options in (
            ('classifier', tiny(), {'classes': [f'class {index}' for index in range(6)] + ['é\x1b'],
                                    'preprocess': VIEW}),
            ('two-outputs', TwoOutputs(), {}), ('with-mxnet-operators', tiny(), {'exact': True})):
        mx.random.seed(1)
        net.initialize(mx.init.Normal(0.05), force_reinit=True)
        prefix = os.path.join(DATA, name)
        bmx.export(net, prefix, SHAPES[0], **options)
        deployed, _ = deploy.load(prefix)
        expected[name] = []
        for shape in SHAPES:
            found = deployed(mx.nd.array(np.random.RandomState(0).normal(size=shape)))
            outputs = [each.asnumpy() for each in (found if isinstance(found, list) else [found])]
            expected[name].append({'shape': shape, 'outputs': [output.tolist() for output in outputs]})
    picture = os.path.join(DATA, 'picture.png')
    rows, columns = np.mgrid[:40, :61]
    noise = np.random.RandomState(0).randint(0, 60, (40, 61, 3))
    Image.fromarray((noise + np.stack([rows * 4, columns * 3, rows + columns], axis=-1)).astype(np.uint8)).save(picture)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert cli.main(['predict', os.path.join(DATA, 'classifier'), picture, '--json']) == 0
    expected['top'] = json.loads(printed.getvalue())[0]['top']
    with open(os.path.join(DATA, 'expected.json'), 'w') as stream:
        json.dump(expected, stream)
        stream.write('\n')


if __name__ == '__main__':
    main()
