"""What is trained how, as data: the recipe of each model family and what a small data set changes in it.

A value is looked up in this order: the command line, `DATASETS`, `RECIPES`. Nothing is ever replaced because it is 0.
"""
import mxnet as mx
from gluoncv.utils import LRScheduler, LRSequential

from .errors import TrainingError

# Bethge et al., "MeliusNet", WACV 2021, section 4.1: how its authors train every binary network, their baselines too.
# The paper gives no weight decay; 0.0001 is GluonCV's, on the float weights only.
_MELIUSNET_PAPER = dict(optimizer='radam', lr=0.002, warmup_epochs=0)
_MELIUSNET_PAPER_FLOAT = dict(optimizer='sgd', lr=0.1, num_epochs=90, warmup_epochs=5, augmentation='gluoncv',
                              bits=32)

# Longest matching prefix of the model's name; '' is every model without a recipe of its own.
RECIPES = {
    '': dict(
        optimizer='adam', lr=0.001, momentum=0.9, wd=0.0001, batch_size=256, num_epochs=120, initializer='xavier',
        lr_mode='cosine', lr_decay=0.1, lr_decay_period=0, lr_decay_epoch=(40, 60), warmup_lr=0.0, warmup_epochs=5,
        bits=1, activation_bits=None, quantizer='ste_sign', clip_threshold=1.3, scaling='none', binarizations=1,
        augmentation='paper', stem=None, input_size=224, crop_ratio=0.875),
    # Expected on ImageNet with the grouped stem (Tables 1 and 2): 63.6 % top-1 for MeliusNet-22, 65.8 % for MeliusNet-29,
    # 60.6 % for ResNetE-18, 63.7 % for Bi-Real-Net-34, 62.6 % for BinaryDenseNet-28, 64.2 % for BinaryDenseNet-37.
    'meliusnet': _MELIUSNET_PAPER,
    'resnete': _MELIUSNET_PAPER,
    'birealnet': _MELIUSNET_PAPER,
    'binarydensenet': _MELIUSNET_PAPER,
    # Section 4.2. Expected on ImageNet: both reach 62.4 % top-1 on the training images.
    'meliusnet_float': _MELIUSNET_PAPER_FLOAT,
    'densenet_float': _MELIUSNET_PAPER_FLOAT,
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


def resolve(model, dataset, given):
    """The complete recipe of one training.

    Parameters
    ----------
    model : str
        Name of the model, in any case.
    dataset : str
        Kind of data, a key of `DATASETS`.
    given : dict
        What the user asked for, by the names of `RECIPES`; None stands for "not given".

    Returns
    -------
    dict
        Every key of ``RECIPES['']`` with its value.
    """
    recipe = dict(RECIPES[''])
    recipe.update(RECIPES[max((prefix for prefix in RECIPES if model.lower().startswith(prefix)), key=len)])
    recipe.update(DATASETS[dataset])
    recipe.update({key: value for key, value in given.items() if key in recipe and value is not None})
    if given.get('warmup_epochs') is None:  # a short training still gets beyond its warm-up
        recipe['warmup_epochs'] = min(recipe['warmup_epochs'], recipe['num_epochs'] - 1)
    return recipe


def learning_rate(recipe, batches_per_epoch):
    """GluonCV's schedule: linear warm-up, then `lr_mode`.

    Parameters
    ----------
    recipe : dict
        Result of :func:`resolve`.
    batches_per_epoch : int

    Returns
    -------
    callable
        Step of the training, from 0, to learning rate.
    """
    warmup, epochs = recipe['warmup_epochs'], recipe['num_epochs']
    if warmup >= epochs:
        raise TrainingError('%d warm-up epochs leave nothing of %d epochs: lower --warmup-epochs (%d) or raise '
                            '--num-epochs' % (warmup, epochs, warmup))
    if recipe['lr_decay_period'] > 0:
        decays = range(recipe['lr_decay_period'], epochs, recipe['lr_decay_period'])
    else:
        decays = recipe['lr_decay_epoch']
    # GluonCV divides by the number of steps less one.
    steps = [max(2, count * batches_per_epoch) for count in (warmup, epochs - warmup)]
    schedule = LRScheduler(recipe['lr_mode'], base_lr=recipe['lr'], target_lr=0, niters=steps[1], power=2,
                           step_iter=[(epoch - warmup) * batches_per_epoch for epoch in decays],
                           step_factor=recipe['lr_decay'])
    if warmup == 0:
        return LRSequential([schedule])
    return LRSequential([LRScheduler('linear', base_lr=recipe['warmup_lr'], target_lr=recipe['lr'], niters=steps[0]),
                         schedule])


def optimizer(recipe, dtype):
    """Name and parameters of the recipe's optimizer, as `gluon.Trainer` takes them."""
    name = recipe['optimizer'].lower()
    if name not in mx.optimizer.Optimizer.opt_registry:
        raise TrainingError('unknown --optimizer %r: choose one of %s'
                            % (name, ', '.join(sorted(mx.optimizer.Optimizer.opt_registry))))
    parameters = {'learning_rate': recipe['lr'], 'wd': recipe['wd'], 'multi_precision': dtype != 'float32'}
    if name in _USES_MOMENTUM:
        parameters['momentum'] = recipe['momentum']
    return name, parameters
