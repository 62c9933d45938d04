"""The numbers of the MoBiNet paper.

Phan, Huynh, He, Savvides, Shen: "MoBiNet: A Mobile Binary Network for Image Classification" (WACV 2020).
"""
from .tables import Column, Paper, Row, Series, Table

# Operations of MobileNet-v1, 1e6, by which the paper divides.
MOBILENET = 569
# Operations, 1e6, and parameters, 1e6, of Bi-RealNet-18, as the paper prints them.
BIREALNET_OPS, BIREALNET_PARAMETERS = 163, 11.7


def _ops(counted):
    return counted.ops / 1e6


def _ops_without_classifier(counted):
    return counted.ops_without_classifier / 1e6


def _parameters(counted):
    return (counted.params_binary + counted.params_float) / 1e6


IMAGENET = {'stem': 'imagenet'}
XNOR = {'weight': 'xnor', 'activation': 'xnor'}
WITHOUT_CLASSIFIER = {'OPs 1e6': _ops_without_classifier,
                      'faster': lambda counted: BIREALNET_OPS / _ops_without_classifier(counted)}
OPS, PARAMETERS = Column('OPs 1e6', _ops), Column('params 1e6', _parameters)
TOP1, TOP5 = Column('top-1 %'), Column('top-5 %')

MEMORY = ('A group has one cell. Ours, in MiB, are binary weights as 1 bit and all else as float32, of which the '
          'classifier alone is 3.91.')
FILE = 'A file of PyTorch, which the paper measures, also holds the running statistics: 16.23 MiB.'
UP = 'Rounded up: K=2 adds 0.86 to K=1, as in Mid-block, which makes 36.66.'
RESNET = 'Rounded up: ResNet-18 has 11.69e6.'
SHIFTED = ("569 over the printed operations of this row is not the printed factor, which is that of the row above: the "
           "column has slipped by one, and its first cell is Pre-block's.")
CUT_FIRST = '569 / 46.57 is 12.22.'
PARAMETERS_850 = ('With the printed architecture K=3 has 8.36e6 weights and, with two values a channel of batch '
                  'normalisation, 8.39e6 parameters; the printed 8.75 of K=4 is counted alike.')
ROUNDED = 'The paper divides the rounded numbers: 1.63 / 0.49.'
OPS_ALEXNET = ('AlexNet without groups, first and last layer float, takes 121.7, with images of 227x227 pixels 125.5. '
               'Where the other 12 are spent the paper does not tell.')
SCALED_167 = ("163.5 are Bi-RealNet's; 1.7 for the means of |x| over the channels of all inputs, and 1.5 for the "
              'products of all results with them, make 166.7. Scaling is left out here.')


def _pair(k, relu, prelu):
    return Row(f'Mid-block (K = {k})', f'{relu} {prelu} +', 'mobinet_mid', {'k': k})


TABLE_1 = Table('Table 1: with and without the additional 1x1 convolution (K = 0, 20 epochs)',
                (Column('network'), TOP1, TOP5, OPS, PARAMETERS), (
                    Row('W/o blocks', '25.46 47.34 + +', 'mobinet_plain', {'k': 0}),
                    Row('Pre-block', '35.86 59.46 + +', 'mobinet_pre', {'k': 0})))

TABLE_2 = Table('Table 2: PReLU instead of ReLU, top-1',
                (Column('network'), Column('ReLU %'), Column('PReLU %'), OPS), (
                    _pair(0, '32.44', '34.73'), _pair(1, '48.52', '50.41'), _pair(2, '49.60', '52.25'),
                    _pair(3, '51.36', '53.47')))


def _k(name, network, k, printed, **notes):
    return Row(f'{name[:-len("-block")]} K={k}', printed, network, {'k': k},
               notes=dict({'size MB': MEMORY}, **notes),
               point=(name, f'K={k}'))


TABLE_3 = Table(
    'Table 3: K-dependency (ImageNet)',
    (Column('network'), TOP1, TOP5, Column('size MB', lambda counted: counted.size_mib), OPS,
     Column('faster', lambda counted: MOBILENET / _ops(counted)), PARAMETERS), (
        _k('Pre-block', 'mobinet_pre', 0, '35.86 59.46 4.60 45.87 12.40 +'),
        _k('Pre-block', 'mobinet_pre', 1, '48.93 72.83 4.60 46.57 12.23 +', **{'faster': CUT_FIRST}),
        _k('Pre-block', 'mobinet_pre', 2, '50.74 74.22 4.60 47.97 11.86 +'),
        _k('Pre-block', 'mobinet_pre', 3, '51.41 74.75 4.60 50.76 11.21 +'),
        _k('Mid-block', 'mobinet_mid', 0, '34.73 58.28 4.60 45.61 12.40 +', **{'faster': SHIFTED}),
        _k('Mid-block', 'mobinet_mid', 1, '50.41 73.98 4.60 46.04 12.48 +', **{'faster': SHIFTED}),
        _k('Mid-block', 'mobinet_mid', 2, '52.25 75.32 4.60 46.90 12.36 +', **{'faster': SHIFTED}),
        _k('Mid-block', 'mobinet_mid', 3, '53.47 76.46 4.60 48.62 12.13 +', **{'faster': SHIFTED}),
        _k('Post-block', 'mobinet_post', 0, '33.58 56.69 4.50 35.37 16.09 +'),
        _k('Post-block', 'mobinet_post', 1, '46.83 70.57 4.50 35.80 15.89 +'),
        _k('Post-block', 'mobinet_post', 2, '48.22 71.97 4.50 36.67 15.52 +', **{'OPs 1e6': UP}),
        _k('Post-block', 'mobinet_post', 3, '49.88 73.27 4.50 38.39 14.82 +'),
        Row('MobileNet', '70.9 89.90 16.20 569 1.00 +', 'mobilenet1.0', notes={'size MB': FILE},
            point=('MobileNet-v1, float', '1.0'))),
    ('OPs = BOPs / 64 + FLOPs with the final dense layer; all convolutions of a block at its input\'s resolution.',
     'faster: 569e6, the operations of MobileNet, over these. Parameters: of batch normalisation two values a '
     'channel, of PReLU one a layer.'))

TABLE_4 = Table(
    'Table 4: beside other binary networks (ImageNet)',
    (Column('network'), TOP1, Column('top-5'), PARAMETERS,
     Column('saves', lambda counted: BIREALNET_PARAMETERS / _parameters(counted)), OPS,
     Column('faster', lambda counted: BIREALNET_OPS / _ops(counted))), (
        Row('Binary Connect', '35.40 61.00 + + + +', 'alexnet_xnor', layers={'weight': 'sign', 'activation': 'float'}),
        Row('BNNs', '42.20 67.10 + + + +', 'resnet18_binary', IMAGENET, WITHOUT_CLASSIFIER),
        Row('ABC-Net', '42.70 67.60 + + + +', 'resnet18_binary', IMAGENET, WITHOUT_CLASSIFIER),
        Row('DoReFa-Net', '43.60 - + + + +', 'alexnet_xnor', layers={'weight': 'dorefa(1)', 'activation': 'dorefa(1)'}),
        Row('BWN', '39.20 64.70 - - - -'),
        Row('SQ-BWN', '45.50 70.60 - - - -'),
        Row('XNOR-AlexNet', '44.20 69.20 62.38 0.19 138 1.18', 'alexnet_xnor',
            notes={'OPs 1e6': OPS_ALEXNET, 'faster': OPS_ALEXNET},
            point=('other binary', 'XNOR-AlexNet'), layers=XNOR),
        Row('XNOR-ResNet-18', '51.20 69.30 11.7 1.00 167 0.97', 'resnet18_binary', dict(IMAGENET, shortcut='float'),
            WITHOUT_CLASSIFIER, {'OPs 1e6': SCALED_167, 'faster': SCALED_167}, ('other binary', 'XNOR-ResNet-18'),
            XNOR),
        Row('Bi-RealNet-18', '56.40 79.50 11.70 1.00 163 1.00', 'birealnet18', IMAGENET,
            WITHOUT_CLASSIFIER, {'params 1e6': RESNET}, ('other binary', 'Bi-RealNet-18')),
        Row('Mid-block K=3', '53.47 76.46 8.50 1.38 49 3.33', 'mobinet_mid', {'k': 3},
            notes={'params 1e6': PARAMETERS_850, 'saves': PARAMETERS_850, 'faster': ROUNDED}),
        Row('Mid-block K=4', '54.40 77.50 8.75 1.34 52 3.13', 'mobinet_mid', {'k': 4},
            point=('Mid-block', 'K=4'))),
    ('Saves and faster: 11.70e6 parameters and 1.63e8 operations of Bi-RealNet-18 over these. Its operations leave '
     'out the final dense layer, those of MoBiNet do not.',
     'Where the paper prints nothing, the network is the one that has this accuracy: of Binary Connect and DoReFa-Net '
     'AlexNet, of BNNs and ABC-Net (one base) ResNet-18 with binary 1x1 convolutions; BWN and SQ-BWN are not counted.'))

PAPER = Paper(
    'MoBiNet (Phan et al., WACV 2020, "MoBiNet: A Mobile Binary Network for Image Classification")',
    (TABLE_1, TABLE_2, TABLE_3, TABLE_4), accuracy='top-1 %', costs=('OPs 1e6', 'params 1e6'),
    series={
        'Mid-block': Series('C3', 'o'),
        'Pre-block': Series('C0', '^'),
        'Post-block': Series('C2', 's'),
        'other binary': Series('C5', 'x', ''),
        'MobileNet-v1, float': Series('black', '*'),
    })
