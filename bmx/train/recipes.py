"""What is trained how, as data: the recipe of each model family and what a small data set changes in it.

A value is looked up in this order: the command line, `DATASETS`, `RECIPES`, `Recipe`. Nothing is ever replaced because
it is 0.
"""
from __future__ import annotations

import dataclasses
from typing import Any, Mapping

import mxnet as mx

from ..nn.configuration import merged
from .errors import TrainingError


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a network is trained, what its layers do and what it sees: every key with its value.

    The defaults are the recipe of models without one of their own. That of a key which checkpoints lack because they
    are older must be what trainings did before.
    """
    optimizer: str = 'adam'
    lr: float = 0.001
    momentum: float = 0.9
    wd: float = 0.0001
    binary_wd: float = 0.0
    bipolar: float = 0.0
    clip_weights: bool = False
    batch_size: int = 256  # of each device
    num_epochs: int = 120
    initializer: str = 'xavier'
    lr_mode: str = 'cosine'
    lr_decay: float = 0.1
    lr_decay_period: int = 0
    lr_decay_epoch: tuple[int, ...] = (40, 60)
    warmup_lr: float = 0.0
    warmup_epochs: int = 5
    bits: int = 1
    activation_bits: int | None = None
    quantizer: str = 'ste_sign'
    clip_threshold: float = 1.3
    scaling: str = 'none'
    binarizations: int = 1
    activation: str | None = None
    weight: str | None = None
    augmentation: str = 'paper'
    stem: str | None = None
    input_size: int = 224
    crop_ratio: float = 0.875


KEYS = tuple(field.name for field in dataclasses.fields(Recipe))

# Bethge et al., "MeliusNet", WACV 2021, section 4.1: how its authors train every binary network, their baselines too.
# The paper gives no weight decay; 0.0001 is GluonCV's, on the float weights only.
_MELIUSNET_PAPER = dict(optimizer='radam', lr=0.002, warmup_epochs=0)
_MELIUSNET_PAPER_FLOAT = dict(optimizer='sgd', lr=0.1, num_epochs=90, warmup_epochs=5, augmentation='gluoncv',
                              bits=32)

# Phan et al., "MoBiNet", WACV 2020, section 4.1, with PyTorch's Adam, whose weight decay is of all parameters, the
# binarized ones included. Weights are trained by its Equation 5, XNOR-Net's, with XNOR-Net's clipping at 1. The paper
# mentions no flipping.
_MOBINET_PAPER = dict(optimizer='adam', lr=0.0001, wd=0.00001, binary_wd=0.00001, batch_size=128, num_epochs=50,
                      warmup_epochs=0, lr_mode='step', lr_decay=0.1, lr_decay_epoch=(20, 30), scaling='gradient',
                      clip_threshold=1.0, augmentation='crop')

# Tang et al., "How to Train a Compact Binary Neural Network with High Accuracy?", AAAI 2017: "Implementation details"
# and Algorithm 1. The paper prints no number of epochs and no weight decay of the float weights: 60 leaves room for a
# dozen halvings of the rate, and 0 is Algorithm 1's, which has the bipolar regularizer alone.
_COMPACT_PAPER = dict(optimizer='adam', lr=0.0001, wd=0.0, bipolar=5e-7, clip_weights=True, batch_size=256,
                      num_epochs=60, warmup_epochs=0, lr_mode='plateau', lr_decay=0.5, clip_threshold=1.0,
                      augmentation='crop-flip')

# Liu et al., "ReActNet", ECCV 2020, section 5.1: its second step, from scratch and with labels alone; the paper trains
# the activations first, with float weights, and both steps with the outputs of a ResNet-34 in the labels' place. Its
# linear decay of the rate is a cosine here.
_REACTNET_PAPER = dict(optimizer='adam', lr=0.0005, wd=0.0, batch_size=256, num_epochs=256, warmup_epochs=0,
                       lr_mode='cosine', activation='approx_sign', weight='sign(scaling="constant",clip=1.0)',
                       augmentation='crop-flip')

# Larq Zoo's training of QuickNet: batches of 2048 over its devices.
_QUICKNET_ZOO = dict(optimizer='adam', lr=0.0025, wd=0.0, batch_size=256, num_epochs=600, warmup_epochs=5,
                     lr_mode='cosine', clip_threshold=1.25, augmentation='crop-flip')

# What differs from `Recipe`, by the longest matching prefix of the model's name.
RECIPES = {
    '': {},
    # Expected on ImageNet with the grouped stem (Tables 1 and 2): 63.6 % top-1 for MeliusNet-22, 65.8 % for
    # MeliusNet-29, 60.6 % for ResNetE-18, 63.7 % for Bi-Real-Net-34, 62.6 % for BinaryDenseNet-28, 64.2 % for
    # BinaryDenseNet-37.
    'meliusnet': _MELIUSNET_PAPER,
    'resnete': _MELIUSNET_PAPER,
    'birealnet': _MELIUSNET_PAPER,
    'binarydensenet': _MELIUSNET_PAPER,
    # Section 4.2. Expected on ImageNet: both reach 62.4 % top-1 on the training images.
    'meliusnet_float': _MELIUSNET_PAPER_FLOAT,
    'densenet_float': _MELIUSNET_PAPER_FLOAT,
    # Tables 3 and 4 of the MoBiNet paper. Expected on ImageNet, top-1 by the number of dependencies K = 0 to 3: 34.73,
    # 50.41, 52.25, 53.47 % with the mid-block (K = 4: 54.40 %), 33.58, 46.83, 48.22, 49.88 % with the post-block,
    # 35.86, 48.93, 50.74, 51.41 % with the pre-block.
    'mobinet': _MOBINET_PAPER,
    'mobinet_post': dict(_MOBINET_PAPER, lr_decay_epoch=(15, 45)),
    'mobinet_pre': dict(_MOBINET_PAPER, lr=0.001, lr_decay_epoch=(15, 45)),
    # Section 4.2.2. Expected on ImageNet (Table 1): 25.46 % top-1.
    'mobinet_plain': dict(_MOBINET_PAPER, num_epochs=20, lr_decay_epoch=(15,)),
    # Expected on ImageNet, top-1: Network in Network 39.3 % with 1 binarization of the activations, 45.8 % with 2
    # (Table 5), 51.4 % with 2 and wider; AlexNet 46.6 % with 2 (Table 6).
    'nin_binary': _COMPACT_PAPER,
    'alexnet_binary': _COMPACT_PAPER,
    # Published, top-1: ReActNet-A, B, C 69.4, 70.1, 71.4 %; QuickNet-Small, QuickNet, -Large 59.4, 63.3, 66.9 %.
    'reactnet': _REACTNET_PAPER,
    'quicknet': _QUICKNET_ZOO,
}

# What the kind of data changes: images of a few pixels need another stem, other sizes, other augmentation.
# The bundled digits are for trying things out. Expected with meliusnet29: 98 % top-1 in 2 minutes on 2 cores.
DATASETS = {
    'recordio': {},
    'folder': {},
    'cifar10': dict(stem='thumbnail', input_size=32, crop_ratio=1.0, augmentation='shift-flip'),
    'digits': dict(stem='thumbnail', input_size=8, crop_ratio=1.0, augmentation='shift', batch_size=32, num_epochs=10),
}

_USES_MOMENTUM = ('sgd', 'nag', 'signum', 'lbsgd')


def resolve(model: str, dataset: str, given: Mapping[str, Any]) -> Recipe:
    """The complete recipe of one training.

    Parameters
    ----------
    model : str
        Name of the model, in any case.
    dataset : str
        Kind of data, a key of `DATASETS`.
    given : dict
        What the user asked for, by the keys of `Recipe`; None stands for "not given".

    Returns
    -------
    Recipe

    Raises
    ------
    TrainingError
        A recipe or `given` has a key that no recipe has.
    """
    family = max((prefix for prefix in RECIPES if model.lower().startswith(prefix)), key=len)
    given = {key: value for key, value in given.items() if value is not None}
    recipe = Recipe()
    for where, row in ((f'the recipe of {family}', RECIPES[family]), (f'that of {dataset}', DATASETS[dataset]),
                       ('what is given', given)):
        unknown = set(row).difference(KEYS)
        if unknown:
            raise TrainingError(f'{where} has {", ".join(sorted(unknown))}: the keys of a recipe are {", ".join(KEYS)}')
        try:  # a name of a quantizer goes before what a recipe says of it otherwise, and the other way round
            recipe = Recipe(**merged(dataclasses.asdict(recipe), **row))
        except ValueError as error:
            raise TrainingError(f'{where}: {error}') from None
    if 'warmup_epochs' not in given:  # a short training still gets beyond its warm-up
        recipe = dataclasses.replace(recipe, warmup_epochs=min(recipe.warmup_epochs, recipe.num_epochs - 1))
    return recipe


def optimizer(recipe: Recipe, dtype: str) -> tuple[str, dict[str, Any]]:
    """Name and parameters of the recipe's optimizer, as `gluon.Trainer` takes them.

    Its weight decay is 1: that of a parameter is what `regularizers.set_decays` gave it.
    """
    name = recipe.optimizer.lower()
    if name not in mx.optimizer.Optimizer.opt_registry:
        raise TrainingError(f'unknown --optimizer {name!r}: choose one of '
                            f'{", ".join(sorted(mx.optimizer.Optimizer.opt_registry))}')
    parameters = {'learning_rate': recipe.lr, 'wd': 1.0, 'multi_precision': dtype != 'float32'}
    if name in _USES_MOMENTUM:
        parameters['momentum'] = recipe.momentum
    return name, parameters
