"""The numbers of the MeliusNet paper.

Bethge, Bartz, Yang, Chen, Meinel: "MeliusNet: An Improved Network Architecture for Binary Neural Networks" (WACV 2021).
"""
from .tables import Column, Paper, Row, Series, Table

GROUPED, IMAGENET = {'stem': 'grouped'}, {'stem': 'imagenet'}


def _ops(counted):
    return counted.ops_without_classifier / 1e8


def _ops_with_classifier(counted):
    return counted.ops / 1e8


def _size(counted):
    return counted.size_mib


def _size_decimal(counted):
    return counted.size_mib * 2 ** 20 / 1e6


def _ops_without_classifiers(counted):
    """Operations, in 1e8, of several networks in one without the final dense layer of each."""
    return counted.ops / 1e8 - sum(layer['flops'] for layer in counted.layers if layer['op'] == 'FullyConnected') / 1e8


def _ops_of_four(counted):
    """Operations, in 1e8, with four binary products in the place of each."""
    return _ops(counted) + 3 * counted.bops / 64 / 1e8


def _layer_flops(*parts):
    """Operations, in 1e8, of the float layers whose names contain one of some parts."""
    return lambda counted: sum(layer['flops'] for layer in counted.layers
                               if any(part in layer['name'] for part in parts)) / 1e8


def _share(*parts):
    return lambda counted: 100 * _layer_flops(*parts)(counted) / _ops(counted)


def _reductions(counted):
    """Channels behind and before each transition; its layers are a BatchNorm and a convolution."""
    channels = [layer['output_shape'][1] for layer in counted.layers if layer['name'].startswith('transition')]
    return ','.join(f'{behind}/{before}' for behind, before in zip(channels[1::2], channels[::2]))


# How methods quantize; `FLOAT_1X1` is ResNet with the shortcuts of every method that leaves them float.
FLOAT_1X1 = dict(IMAGENET, shortcut='float')
BWN = {'weight': 'xnor', 'activation': 'float'}
TTQ = {'weight': 'ttq', 'activation': 'float'}
HWGQ = {'weight': 'xnor', 'activation': 'hwgq(2)'}
LQ_NET = {'weight': 'lq(1)', 'activation': 'lq(2)'}
SYQ = {'weight': 'syq(1)', 'activation': 'dorefa(2)'}
DOREFA = {'weight': 'dorefa(2)', 'activation': 'dorefa(2)'}
CIRCULANT = {'weight': 'circulant', 'activation': 'sign'}
ABC_NET = {'weight': 'abc(5)', 'activation': 'abc(5)'}
BNN = {'weight': 'sign', 'activation': 'sign'}
XNOR_NET = {'weight': 'xnor', 'activation': 'xnor'}
XNOR_NET_PP = {'weight': 'xnor_pp', 'activation': 'sign'}

OPS, SIZE = Column('OPs 1e8', _ops), Column('size MB', _size)
TOP1, TOP5 = Column('top-1 %'), Column('top-5 %')
RESNET = {'OPs 1e8': _ops_with_classifier, 'size MB': _size_decimal}
MOBILENET = {'OPs 1e8': _ops_with_classifier}

GROUP_SIZE = 'Tables 2 and 3 give one size, ~5.1, for their whole group of networks.'
PUBLISHED_193 = ("1.93 is the Bi-Real-Net paper's own number; the printed 1.43 of the grouped stem, and the 0.49 that "
                 'it saves (section 4.1), make 1.92.')
PUBLISHED_271 = 'The printed 2.20 of the grouped stem, and the 0.49 that it saves (section 4.1), make 2.69.'
NORMS_GROUPNET = ('A branch has batch normalisations of its own; with one a layer for all branches '
                  '(decomposition=layer) the sizes are 9.23 and 15.28.')
BY_TWO_BITS = ('Weights of 1 bit by activations of 2 make 1.90; 2.42 are those of 2 by 2 bits (DoReFa), which the '
               'table prints for the whole group.')
BY_TWO_BITS_34 = ('Weights of 1 bit by activations of 2 make 2.47, 2 by 2 bits 3.58, and 3.40 if the 1x1 convolutions '
                  'have these bits, too.')
SIZE_34 = '5.1 is what the table gives Bi-RealNet34, too, as large as this one.'
SIZE_18 = ('The table gives one size to the whole group. 4.0 MiB are those of ResNet-18 with float 1x1 convolutions, '
           '3.36 of binary ones.')
ELEMENTWISE = ('The convolutions make 1.70e9 binary and 1.18e8 float operations, the latter the 7x7 one: 1.45. The '
               'printed numbers hold 0.12e8 and 0.15e8 more, which no convolution takes: float 1x1 ones are 0.19e8 '
               '(Bi-RealNet, 1.63).')
STRONG_182 = ('Counted as Bi-RealNet18, whose convolutions it has and for which the table prints 1.63; the other '
              '0.19e8 are none of its convolutions.')
BASE_181 = ('Tables 2 and 3 print 1.63 for this network; ten times 1.81e8 are those of the float ResNet-18. The shares '
            'are of 1.81.')

SECTION_3_2 = Table(
    'Section 3.2: what the float layers of Bi-RealNet18 take',
    (Column('layers'), OPS, Column('share %')), (
        Row('7x7 convolution', '1.18 65', 'birealnet18', IMAGENET,
            {'OPs 1e8': _layer_flops('stem'), 'share %': _share('stem')}, {'share %': BASE_181}),
        Row('1x1 convolutions', '0.18 10', 'birealnet18', IMAGENET,
            {'OPs 1e8': _layer_flops('shortcut'), 'share %': _share('shortcut')},
            {'OPs 1e8': 'Each of the three takes 64 * 128 * 28 * 28, or as many otherwise: together 0.193e8.',
             'share %': BASE_181}),
        Row('both', '- 75', 'birealnet18', IMAGENET, {'share %': _share('stem', 'shortcut')}, {'share %': BASE_181}),
        Row('the whole network', '1.81 -', 'birealnet18', IMAGENET, notes={'OPs 1e8': BASE_181}),
        Row('grouped stem', '0.69 -', 'birealnet18', GROUPED, {'OPs 1e8': _layer_flops('stem')})))

TABLE_1_STRUCTURE = Table(
    'Table 1, structure',
    (Column('network'), Column('pairs of blocks'), Column('groups'), Column('channels kept', _reductions)), (
        Row('MeliusNet22', '4,5,4,4 1 160/320,224/480,256/480', 'meliusnet22'),
        Row('MeliusNet29', '4,6,8,6 1 128/320,192/512,256/704', 'meliusnet29'),
        Row('MeliusNet42', '5,8,14,10 1 160/384,256/672,416/1152', 'meliusnet42'),
        Row('MeliusNet59', '6,12,24,12 1 192/448,320/960,544/1856', 'meliusnet59'),
        Row('MeliusNetA', '4,5,5,6 4 160/320,256/480,288/576', 'meliusnet_a'),
        Row('MeliusNetB', '4,6,8,6 2 160/320,224/544,320/736', 'meliusnet_b'),
        Row('MeliusNetC', '3,5,10,6 4 128/256,192/448,224/704', 'meliusnet_c',
            notes={'channels kept': '192 channels and ten pairs of blocks make 832, not 704; the operations and the '
                   'size of Table 1 are those of 288/832.'})))

TABLE_1 = Table(
    'Table 1, operations, size and accuracy (grouped stem, ImageNet)',
    (Column('network'), Column('BOPs 1e9', lambda counted: counted.bops / 1e9),
     Column('FLOPs 1e8', lambda counted: counted.flops_without_classifier / 1e8), OPS, SIZE, TOP1, TOP5), (
        Row('MeliusNet22', '4.62 1.35 2.08 3.9 63.6 84.7', 'meliusnet22', point=('MeliusNet', '22')),
        Row('MeliusNet29', '5.47 1.29 2.14 5.1 65.8 86.2', 'meliusnet29', point=('MeliusNet', '29')),
        Row('MeliusNet42', '9.69 1.74 3.25 10.1 69.2 88.3', 'meliusnet42', point=('MeliusNet', '42')),
        Row('MeliusNet59', '18.3 2.45 5.25 17.4 71.0 89.7', 'meliusnet59', point=('MeliusNet', '59'),
            notes={'OPs 1e8': 'Table 4 prints 5.32, which is what the printed BOPs and FLOPs add up to.'}),
        Row('MeliusNetA', '4.85 0.86 1.62 4.0 63.4 84.2', 'meliusnet_a', point=('MeliusNet A, B, C', 'A')),
        Row('MeliusNetB', '5.72 1.06 1.96 5.0 65.7 85.9', 'meliusnet_b', point=('MeliusNet A, B, C', 'B')),
        Row('MeliusNetC', '4.35 0.82 1.50 4.5 64.1 85.0', 'meliusnet_c', point=('MeliusNet A, B, C', 'C'))),
    ('OPs = BOPs / 64 + FLOPs, without the final dense layer; sizes in MiB, binary weights as 1 bit, others as 32.',
     'The text compares MeliusNet29 with BinaryDenseNet38, the table with 37; there is no 38.'))

TABLE_2 = Table(
    'Table 2: training and grouped stem (ImageNet)',
    (Column('network'), Column('training'), Column('stem'), SIZE, OPS, TOP1), (
        Row('ResNetE18', 'original 7x7 ~4.0 1.63 58.1', 'resnete18', IMAGENET),
        Row('ResNetE18', 'ours 7x7 ~4.0 1.63 60.0', 'resnete18', IMAGENET),
        Row('ResNetE18', 'ours grouped ~4.0 1.14 60.6', 'resnete18', GROUPED),
        Row('BinaryDenseNet28', 'original 7x7 ~4.0 2.58 60.7', 'binarydensenet28', IMAGENET),
        Row('BinaryDenseNet28', 'ours 7x7 ~4.0 2.58 61.7', 'binarydensenet28', IMAGENET),
        Row('BinaryDenseNet28', 'ours grouped ~4.0 2.09 62.6', 'binarydensenet28', GROUPED),
        Row('MeliusNet22', 'ours 7x7 ~4.0 2.57 62.8', 'meliusnet22', IMAGENET),
        Row('MeliusNet22', 'ours grouped ~4.0 2.08 63.6', 'meliusnet22', GROUPED),
        Row('Bi-RealNet34', 'original 7x7 ~5.1 1.93 62.2', 'birealnet34', IMAGENET, notes={'OPs 1e8': PUBLISHED_193}),
        Row('Bi-RealNet34', 'ours 7x7 ~5.1 1.93 63.3', 'birealnet34', IMAGENET, notes={'OPs 1e8': PUBLISHED_193}),
        Row('Bi-RealNet34', 'ours grouped ~5.1 1.43 63.7', 'birealnet34', GROUPED),
        Row('BinaryDenseNet37', 'original 7x7 ~5.1 2.71 62.5', 'binarydensenet37', IMAGENET,
            notes={'OPs 1e8': PUBLISHED_271}),
        Row('BinaryDenseNet37', 'ours 7x7 ~5.1 2.71 63.3', 'binarydensenet37', IMAGENET,
            notes={'OPs 1e8': PUBLISHED_271}),
        Row('BinaryDenseNet37', 'ours grouped ~5.1 2.20 64.2', 'binarydensenet37', GROUPED),
        Row('MeliusNet29', 'ours 7x7 ~5.1 2.63 64.9', 'meliusnet29', IMAGENET),
        Row('MeliusNet29', 'ours grouped ~5.1 2.14 65.8', 'meliusnet29', GROUPED)),
    ('training: "ours" is the MeliusNet paper\'s.',))

COLUMNS_3 = (Column('method'), Column('bits W/A'), TOP1, SIZE, OPS)
RESNET_COUNTED = 'ResNet: counted with the final dense layer; its sizes are in 1e6 bytes.'
REMARKS_3 = (
    RESNET_COUNTED,
    'The others are ResNet-18, its first and last layer float; the 1x1 convolutions are float, too, but those of '
    'ABC-Net, BNN, XNOR-Net and XNOR-Net++. A product of numbers of a and b bits counts as a * b binary ones, a '
    'ternary weight as 2 bits.',
    'Ensemble: six networks as BNN. Circulant-CNN: four binary products for one.')

TABLE_3_SMALL = Table('Table 3, about 18 layers (ImageNet)', COLUMNS_3, (
    Row('BWN', '1/32 60.8 4 18.1', 'resnet18_binary', FLOAT_1X1, point=('low bit', 'BWN 1/32'), layers=BWN),
    Row('TTQ', '2/32 66.6 5.3 18.1', 'resnet18_binary', FLOAT_1X1, point=('low bit', 'TTQ 2/32'), layers=TTQ),
    Row('HWGQ', '1/2 59.6 4 ~2.4', 'resnet18_binary', FLOAT_1X1, notes={'OPs 1e8': BY_TWO_BITS},
        point=('low bit', 'HWGQ 1/2'), layers=HWGQ),
    Row('LQ-Net', '1/2 62.6 4 ~2.4', 'resnet18_binary', FLOAT_1X1, notes={'OPs 1e8': BY_TWO_BITS},
        point=('low bit', 'LQ-Net 1/2'), layers=LQ_NET),
    Row('SYQ', '1/2 55.4 4 ~2.4', 'resnet18_binary', FLOAT_1X1, notes={'OPs 1e8': BY_TWO_BITS},
        point=('low bit', 'SYQ 1/2'), layers=SYQ),
    Row('DoReFa', '2/2 62.6 5.3 ~2.4', 'resnet18_binary', FLOAT_1X1, point=('low bit', 'DoReFa 2/2'), layers=DOREFA),
    Row('Ensemble', '(1/1)x6 61.0 + +', 'ensemble_resnete18', dict(IMAGENET, network='resnet18_binary', members=6),
        {'OPs 1e8': _ops_without_classifiers}, point=('several bases', 'Ensemble x6'), layers=BNN),
    Row('Circulant-CNN', '(1/1)x4 61.4 - +', 'resnet18_binary', FLOAT_1X1,
        {'OPs 1e8': _ops_of_four}, layers=CIRCULANT),
    Row('ABC-Net', '(1/1)x5 65.0 8.7 7.8', 'resnet18_binary', IMAGENET, point=('several bases', 'ABC-Net x5'),
        layers=ABC_NET),
    Row('GroupNet', '(1/1)x5 67.0 9.2 2.68', 'groupnet18', IMAGENET, notes={'size MB': NORMS_GROUPNET},
        point=('several bases', 'GroupNet18 x5')),
    Row('BNN', '1/1 42.2 ~4 1.57', 'resnet18_binary', IMAGENET, notes={'size MB': SIZE_18, 'OPs 1e8': ELEMENTWISE},
        point=('other binary', 'BNN'), layers=BNN),
    Row('XNOR-Net', '1/1 51.2 ~4 1.59', 'resnet18_binary', IMAGENET,
        notes={'size MB': SIZE_18, 'OPs 1e8': ELEMENTWISE}, point=('other binary', 'XNOR-Net'), layers=XNOR_NET),
    Row('Bi-RealNet', '1/1 56.4 ~4 1.63', 'birealnet18', IMAGENET, point=('Bi-RealNet, original', '18')),
    Row('XNOR-Net++', '1/1 57.1 ~4 1.59', 'resnet18_binary', IMAGENET,
        notes={'size MB': SIZE_18, 'OPs 1e8': ELEMENTWISE}, point=('other binary', 'XNOR-Net++'), layers=XNOR_NET_PP),
    Row('Bi-RealNet (our baseline)', '1/1 60.6 ~4 1.14', 'birealnet18', GROUPED,
        point=('Bi-RealNet, grouped stem', '18')),
    Row('BinaryDenseNet', '1/1 60.7 ~4 2.58', 'binarydensenet28', IMAGENET, point=('BinaryDenseNet, original', '28')),
    Row('Strong Baseline', '1/1 60.9 ~4 1.82', 'birealnet18', IMAGENET, notes={'OPs 1e8': STRONG_182},
        point=('other binary', 'Strong Baseline')),
    Row('BinaryDenseNet (our baseline)', '1/1 62.6 ~4 2.09', 'binarydensenet28', GROUPED,
        point=('BinaryDenseNet, grouped stem', '28')),
    Row('MeliusNetA', '1/1 63.4 ~4 1.62', 'meliusnet_a'),
    Row('ResNet', '32/32 69.3 46.8 18.1', 'resnet18_v1', quantities=RESNET, point=('ResNet, float', '18'))), REMARKS_3)

TABLE_3_LARGE = Table('Table 3, about 34 layers (ImageNet)', COLUMNS_3, (
    Row('HWGQ', '1/2 64.3 5.1 ~3.4', 'resnet34_binary', FLOAT_1X1,
        notes={'size MB': SIZE_34, 'OPs 1e8': BY_TWO_BITS_34}, point=('low bit', 'HWGQ34 1/2'), layers=HWGQ),
    Row('LQ-Net', '1/2 66.6 5.1 ~3.4', 'resnet34_binary', FLOAT_1X1,
        notes={'size MB': SIZE_34, 'OPs 1e8': BY_TWO_BITS_34}, point=('low bit', 'LQ-Net34 1/2'), layers=LQ_NET),
    Row('GroupNet', '(1/1)x5 70.5 15.3 4.13', 'groupnet34', IMAGENET, notes={'size MB': NORMS_GROUPNET},
        point=('several bases', 'GroupNet34 x5')),
    Row('Bi-RealNet', '1/1 62.2 ~5.1 1.93', 'birealnet34', IMAGENET, notes={'OPs 1e8': PUBLISHED_193},
        point=('Bi-RealNet, original', '34')),
    Row('Bi-RealNet (our baseline)', '1/1 63.7 ~5.1 1.43', 'birealnet34', GROUPED,
        point=('Bi-RealNet, grouped stem', '34')),
    Row('BinaryDenseNet', '1/1 62.5 ~5.1 2.71', 'binarydensenet37', IMAGENET, notes={'OPs 1e8': PUBLISHED_271},
        point=('BinaryDenseNet, original', '37')),
    Row('BinaryDenseNet (our baseline)', '1/1 64.2 ~5.1 2.20', 'binarydensenet37', GROUPED,
        point=('BinaryDenseNet, grouped stem', '37')),
    Row('MeliusNetB', '1/1 65.7 ~5.1 1.96', 'meliusnet_b'),
    Row('ResNet', '32/32 73.3 87.2 36.6', 'resnet34_v1', quantities=RESNET, point=('ResNet, float', '34'))),
    (RESNET_COUNTED,))

TABLE_4 = Table(
    'Table 4: beside MobileNet-v1 (ImageNet)',
    (Column('network'), Column('bits W/A'), SIZE, OPS, TOP1), (
        Row('GroupNet18', '(1/1)x5 9.2 2.68 67.0', 'groupnet18', IMAGENET, notes={'size MB': NORMS_GROUPNET}),
        Row('GroupNet34', '(1/1)x5 15 4.13 70.5', 'groupnet34', IMAGENET),
        Row('Bi-RealNet34', '1/1 5.1 1.93 62.2', 'birealnet34', IMAGENET,
            notes={'size MB': GROUP_SIZE, 'OPs 1e8': PUBLISHED_193}),
        Row('MobileNet-v1 0.5', '32/32 5.1 1.49 63.7', 'mobilenet0.5', quantities=MOBILENET,
            point=('MobileNet-v1, float', '0.5')),
        Row('Bi-RealNet34 (grouped stem)', '1/1 5.1 1.43 63.7', 'birealnet34', GROUPED, notes={'size MB': GROUP_SIZE}),
        Row('MeliusNetC', '1/1 4.5 1.50 64.1', 'meliusnet_c'),
        Row('MobileNet-v1 0.75', '32/32 10 3.25 68.4', 'mobilenet0.75', quantities=MOBILENET,
            point=('MobileNet-v1, float', '0.75')),
        Row('MeliusNet42', '1/1 10 3.25 69.2', 'meliusnet42'),
        Row('MobileNet-v1 1.0', '32/32 17 5.69 70.6', 'mobilenet1.0', quantities=MOBILENET,
            notes={'size MB': 'One cell for this network and MeliusNet59; this one has 16.1 MiB, or 16.9e6 bytes.'},
            point=('MobileNet-v1, float', '1.0')),
        Row('MeliusNet59', '1/1 17 5.32 71.0', 'meliusnet59')),
    ('MobileNet: counted with the final dense layer; without it the largest has 5.68.',))

FLOAT_PAIR = ('The paper does not print the channels of the transitions. Ours give the printed sizes; of '
              'all multiples of 32 up to 512, none give both numbers of DenseNet, and only 224, 160, 192 give those of '
              'MeliusNet.')

SECTION_4_2 = Table(
    'Section 4.2: the pair of float networks (7x7 stem, ImageNet)',
    (Column('network'), Column('blocks'), Column('FLOPs 1e9', lambda counted: counted.flops_without_classifier / 1e9),
     SIZE, Column('training top-1 %')), (
        Row('MeliusNet', '4,4,4,3 4.5 20.87 62.4', 'meliusnet_float', notes={'FLOPs 1e9': FLOAT_PAIR}),
        Row('DenseNet', '6,6,6,5 4.0 19.58 62.4', 'densenet_float', notes={'FLOPs 1e9': FLOAT_PAIR})))

PAPER = Paper(
    'MeliusNet (Bethge et al., WACV 2021, "MeliusNet: An Improved Network Architecture for Binary Neural Networks")',
    (SECTION_3_2, TABLE_1_STRUCTURE, TABLE_1, TABLE_2, SECTION_4_2, TABLE_3_SMALL, TABLE_3_LARGE, TABLE_4),
    accuracy='top-1 %', costs=('OPs 1e8', 'size MB'),
    series={
        'MeliusNet': Series('C3', 'o'),
        'MeliusNet A, B, C': Series('C1', 'o'),
        'BinaryDenseNet, grouped stem': Series('C2', 's'),
        'BinaryDenseNet, original': Series('C2', 's', '--', True),
        'Bi-RealNet, grouped stem': Series('C0', '^'),
        'Bi-RealNet, original': Series('C0', '^', '--', True),
        'other binary': Series('C5', 'x', ''),
        'several bases': Series('C4', 'P', ''),
        'low bit': Series('C6', 'd', ''),
        'MobileNet-v1, float': Series('black', '*'),
        'ResNet, float': Series('0.5', '*'),
    })
