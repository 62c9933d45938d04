"""The numbers of the paper on compact binary networks.

Tang, Hua, Wang: "How to Train a Compact Binary Neural Network with High Accuracy?" (AAAI 2017).
"""
from .tables import Column, Paper, Row, Series, Table

# Sizes of the float networks in MiB: 7,589,920 and 60,954,656 weights of Caffe's Network in Network and AlexNet.
NIN = 7589920 * 4 / 2 ** 20
ALEXNET = 60954656 * 4 / 2 ** 20
RESNET = 11679912 * 4 / 2 ** 20  # ResNet-18


def _size(counted):
    """MiB of weights, binary ones as 1 bit, and slopes of PReLU; batch normalisation is left out."""
    return sum(layer['size_bits'] for layer in counted.layers if layer['op'] != 'BatchNorm') / 8 / 2 ** 20


def _rate(base):
    return lambda counted: base / _size(counted)


def _ops(counted):
    return counted.ops / 1e8


RELU_FLOAT, FULL = {'bits': 32, 'activation': 'relu'}, {'binary_classifier': False}
FULL_RELU, RELU = dict(FULL, activation='relu'), {'activation': 'relu'}
TWO, ONE = {'binarizations': 2}, {'binarizations': 1}

SIZE, OPS = Column('size MB', _size), Column('OPs 1e8', _ops)
NIN_RATE, ALEXNET_RATE = Column('rate', _rate(NIN)), Column('rate', _rate(ALEXNET))
TOP5, TOP1 = Column('top-5 %'), Column('top-1 %')
OF_ALEXNET, OF_NIN = {'rate': _rate(ALEXNET)}, {'rate': _rate(NIN)}

BIASES_226 = "With the layers' biases, which Caffe's AlexNet has, it is 22.58."
BIASES_602 = ('With ReLU the counted network has 1,263,944 numbers of 32 bits; 6.02 are 1,260,784. The rule is in a '
              'supplement that is not part of the paper; PReLU makes the printed difference of the right sign.')
BIASES_271 = ("With the layers' biases it is 27.1; but with biases the 23.6 of the expanded network would be 23.2.")
SCALES_334 = 'With a scaling factor of 32 bits for each binary filter, which is computed of the weights, it is 3.34.'
RATE_29 = {'rate': BIASES_271}

TABLE_1 = Table(
    'Table 1: methods (ImageNet)', (Column('network'), SIZE, ALEXNET_RATE, TOP5, TOP1, OPS), (
        Row('AlexNet', '232 1 80.2 56.6 +', 'alexnet_binary', RELU_FLOAT, point=('AlexNet, float', 'AlexNet')),
        Row('BNN', '22.6 10.3 50.4 27.9 +', 'alexnet_binary', FULL_RELU, notes={'size MB': BIASES_226},
            point=('other AlexNets', 'BNN')),
        Row('XNOR-net', '22.6 10.3 69.2 44.2 +', 'alexnet_binary', FULL_RELU, notes={'size MB': BIASES_226},
            point=('other AlexNets', 'XNOR')),
        Row('DoReFa-net', '22.6 10.3 - 49.8 -', 'alexnet_binary', FULL_RELU, notes={'size MB': BIASES_226}),
        Row('Our Method', '1.23 23.6 75.6 51.4 +', 'nin_binary_expanded', TWO, OF_NIN)),
    ('Sizes in MiB: weights and slopes of PReLU, without batch normalisation, which the rates of the paper leave out.',
     'rate: the size of the float network of the same kind over it.'))

TABLE_2 = Table(
    'Table 2: learning rate and activation; the last layer is float', (
        Column('network'), Column('learning rate'), Column('activation'), NIN_RATE, TOP5, TOP1, SIZE, OPS), (
        Row('BNN', '0.01 ReLU 6.02 43.5 20.9 + +', 'nin_binary', FULL_RELU, notes={'rate': BIASES_602},
            point=('NIN, float last layer', 'lr 0.01')),
        Row('BNN', '0.0001 ReLU 6.02 61.3 36.4 + +', 'nin_binary', FULL_RELU, notes={'rate': BIASES_602},
            point=('NIN, float last layer', 'ReLU')),
        Row('BNN', '0.0001 PReLU 5.98 65.6 41.2 + +', 'nin_binary', FULL, point=('NIN, float last layer', 'PReLU'))))

TABLE_3 = Table(
    'Table 3: the last layer', (Column('network'), Column('last layer'), Column('scale'), NIN_RATE, TOP5, TOP1, SIZE,
                                OPS), (
        Row('BNN', 'full no 5.98 65.6 41.2 + +', 'nin_binary', FULL),
        Row('BNN', 'binary no 27.1 61.0 35.8 + +', 'nin_binary', {'scale': False}, notes=RATE_29,
            point=('NIN', 'no scale')),
        Row('BNN', 'binary yes 27.1 64.6 39.3 + +', 'nin_binary', notes=RATE_29, point=('NIN', '1 binarization'))))

TABLE_4 = Table(
    'Table 4: the last layer beside DoReFa-Net, activations of 2 bits',
    (Column('network'), Column('last layer'), Column('scale'), ALEXNET_RATE, TOP5, TOP1, SIZE), (
        Row('DoReFa-net', 'full no 10.3 - 47.1 +', 'alexnet_binary', FULL_RELU, point=('other AlexNets', 'DoReFa')),
        Row('DoReFa-net', 'binary - 31.4 - 40.3 +', 'alexnet_binary', RELU,
            point=('other AlexNets', 'DoReFa, binary last layer')),
        Row('BNN', 'binary yes 27.1 70.4 45.8 +', 'nin_binary', TWO, OF_NIN, RATE_29)))

TABLE_5 = Table(
    'Table 5: several binarizations', (Column('network'), Column('bits of A'), NIN_RATE, TOP5, TOP1, SIZE, OPS), (
        Row('BNN', '1 27.1 64.6 39.3 + +', 'nin_binary', ONE, notes=RATE_29),
        Row('BNN', '2 27.1 70.4 45.8 + +', 'nin_binary', TWO, notes=RATE_29, point=('NIN', '2 binarizations')),
        Row('BNN (expand)', '2 23.6 75.6 51.4 + +', 'nin_binary_expanded', TWO, point=('NIN', '2, expanded'))))

TABLE_6 = Table(
    'Table 6: methods and base models (ImageNet)',
    (Column('network'), Column('base'), Column('bits,last'), Column('rate'),
     Column('of AlexNet', _rate(ALEXNET)), SIZE, TOP5, TOP1), (
        Row('BNN', 'AlexNet 1,full 10.3 10.3 22.6 50.4 27.9', 'alexnet_binary', FULL_RELU, OF_ALEXNET,
            {'size MB': BIASES_226}),
        Row('XNOR-net', 'AlexNet 1,full 10.3 10.3 22.6 69.2 44.2', 'alexnet_binary', FULL_RELU, OF_ALEXNET,
            {'size MB': BIASES_226}),
        Row('XNOR-net', 'ResNet-18 1,full 13.4 70 3.34 73.2 51.2', 'resnet18_binary', {'stem': 'imagenet'},
            {'rate': _rate(RESNET)}, {'size MB': SCALES_334}, ('ResNet-18', 'XNOR')),
        Row('DoReFa-net', 'AlexNet 2,full 10.3 10.3 22.6 - 49.8', 'alexnet_binary', FULL_RELU, OF_ALEXNET,
            {'size MB': BIASES_226}),
        Row('Our method', 'AlexNet 2,binary 31.2 31.2 7.43 71.1 46.6', 'alexnet_binary', TWO, OF_ALEXNET,
            point=('AlexNet', '2 binarizations')),
        Row('Our method', 'NIN-net 2,binary 23.6 189 1.23 75.6 51.4', 'nin_binary_expanded', TWO, OF_NIN)),
    ('bits,last: bits of the activations, and what the last layer is.',
     'OPs = BOPs / 64 + FLOPs with the classifier; with m binarizations a product takes m times the BOPs.'))

PAPER = Paper(
    'Tang, Hua, Wang (AAAI 2017), "How to Train a Compact Binary Neural Network with High Accuracy?"',
    (TABLE_1, TABLE_2, TABLE_3, TABLE_4, TABLE_5, TABLE_6), accuracy='top-1 %', costs=('size MB', 'OPs 1e8'),
    series={
        'NIN': Series('C3', 'o'),
        'NIN, float last layer': Series('C3', 'o', '--', True),
        'AlexNet': Series('C0', '^'),
        'other AlexNets': Series('C0', 'x', ''),
        'ResNet-18': Series('C2', 's'),
        'AlexNet, float': Series('black', '*'),
    })
