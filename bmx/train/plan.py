"""A training before it begins: what is settled, and what is built from that."""
from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any, Mapping, Sequence

import mxnet as mx

from ..deploy import Export, export
from ..io.storage import load_parameters, sentence
from ..network import NetworkOptions, images_fit
from ..nn import Config, binary_parameters
from . import recipes, regularizers
from .checkpoint import CheckpointStore
from .data import DEFAULT_DIR, ImageData, Source, open_data
from .distillation import load_teacher
from .errors import TrainingError
from .finetuning import freeze
from .loop import Training
from .options import DataOptions, TrainingOptions
from .progress import logger
from .randomness import integer
from .workers import Workers

# Validation images on which the exported network is compared with the float network.
VERIFIED_IMAGES = 1000

_LAYERS = tuple(field.name for field in dataclasses.fields(Config) if field.name in recipes.KEYS)


@dataclasses.dataclass(frozen=True)
class Plan:
    """Everything that decides a training's result.

    Attributes
    ----------
    source : data.Source
    recipe : recipes.Recipe
    options : TrainingOptions
    """
    source: Source
    recipe: recipes.Recipe
    options: TrainingOptions

    @property
    def network(self) -> NetworkOptions:
        """The `NetworkOptions` of what is trained."""
        return NetworkOptions(self.options.model, self.options.model_kwargs,
                              {name: getattr(self.recipe, name) for name in _LAYERS})

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one image as the network sees it, with a batch axis: ``(1, 3, H, W)``."""
        return (1, 3) + (self.recipe.input_size,) * 2

    @property
    def contexts(self) -> list[mx.Context]:
        """The devices, as MXNet names them."""
        return [mx.gpu(index) for index in range(self.options.num_gpus)] or [mx.cpu()]

    @property
    def batch_size(self) -> int:
        """Images of a step, on all devices."""
        return self.recipe.batch_size * len(self.contexts)

    def open_data(self, num_workers: int = 4, workers: Workers | None = None) -> ImageData:
        """The `ImageData`, read by so many threads; of several workers this one's part of each step."""
        recipe = self.recipe
        return open_data(self.source, DataOptions(
            batch_size=self.batch_size, input_size=recipe.input_size,
            crop_ratio=recipe.crop_ratio, augmentation=recipe.augmentation, seed=self.options.seed,
            num_workers=num_workers, num_parts=workers.count if workers else 1,
            part_index=workers.rank if workers else 0))


def settle(source: Source, options: TrainingOptions, given: Mapping[str, Any]) -> Plan:
    """Settle what is not given by the recipe of the model's family and of the kind of data.

    Parameters
    ----------
    source : data.Source
    options : TrainingOptions
    given : dict
        Keys of a recipe that are given; None stands for "not given".

    Returns
    -------
    Plan
        Its model gets the recipe's stem as a keyword.

    Raises
    ------
    TrainingError
        The options contradict each other or the machine.
    """
    if options.num_gpus > mx.context.num_gpus():
        raise TrainingError(f'--num-gpus {options.num_gpus}: this MXNet sees {mx.context.num_gpus()} GPUs; it takes '
                            "MXNet's GPU wheel to use them")
    if 'classes' in options.model_kwargs:
        raise TrainingError('the data decides the number of classes: leave out --set classes')
    if options.dtype == 'float16' and options.num_gpus == 0:
        raise TrainingError('MXNet computes float16 on GPUs only: give --num-gpus, or --dtype float32')
    if options.last_gamma and options.use_pretrained:
        raise TrainingError('--last-gamma is how a training begins from nothing, --use-pretrained begins elsewhere: '
                            'leave out one')
    if options.teacher is None and options.teacher_params is None and (options.temperature, options.hard_weight) != (
            TrainingOptions.temperature, TrainingOptions.hard_weight):
        raise TrainingError('--temperature and --hard-weight are about a teacher: give --teacher or --teacher-params, '
                            'or leave them out')
    recipe = recipes.resolve(options.model, source.kind, given)
    if recipe.clip_weights and options.dtype == 'float16':
        raise TrainingError('with --dtype float16 the optimizer keeps the weights in float32, where they cannot be '
                            'clipped: give --clip-weights no, or --dtype float32')
    if recipe.stem is not None:
        options = dataclasses.replace(options, model_kwargs=dict(options.model_kwargs, stem=recipe.stem))
    plan = Plan(source, recipe, options)
    if options.use_pretrained:
        try:
            _ = plan.network.pretrained_path
        except (ValueError, OSError) as error:
            raise TrainingError(f'--use-pretrained: {error}') from None
    return plan


def describe(data: ImageData, recipe: recipes.Recipe, workers: Workers) -> None:
    """Log what is trained on, and how."""
    if data.kind == 'digits':
        logger.info('no --data-dir given and no ImageNet in %s: training on the bundled handwritten digits',
                    DEFAULT_DIR)
    logger.info('data: %s, %d training and %d validation images in %d classes', data.kind, data.train_size,
                data.val_size, len(data.classes))
    if workers.asynchronous:
        logger.info('workers: %d by dist_async: each updates by its own %d images, at the learning rate of the '
                    'epoch', workers.count, data.options.batch_size)
    elif workers.distributed:
        logger.info('workers: %d by %s: a step has %d x %d = %d images, an epoch %d steps; learning rate and weight '
                    'decay are those of such a step', workers.count, workers.kvstore.type, workers.count,
                    data.options.batch_size, data.step_size, data.num_train_batches)
    logger.info('recipe: %s', ', '.join(f'{key}={value}' for key, value in sorted(dataclasses.asdict(recipe).items())))


def build_net(plan: Plan, classes: int, contexts: Sequence[mx.Context], hybridize: bool = True) -> mx.gluon.HybridBlock:
    """The network: initialized, shapes settled, every parameter with its weight decay.

    Parameters
    ----------
    plan : Plan
    classes : int
        How many the data has.
    contexts : list of mx.Context
    hybridize : bool
        False computes one operator after the other.

    Returns
    -------
    gluon.HybridBlock

    Raises
    ------
    TrainingError
        There is no such network, or not with inputs of this size.
    """
    options, recipe = plan.options, plan.recipe
    mx.random.seed(integer(options.seed, 'init'))
    try:
        net = plan.network.build(classes=classes)
        if options.last_gamma:
            _zero_last_gammas(net)
        net.initialize(mx.init.create(recipe.initializer), ctx=contexts)
        net.cast(options.dtype)
        if options.freeze is not None:
            freeze(net, options.freeze)
        with images_fit(net, plan.input_shape):
            for context in contexts:
                net(mx.nd.zeros(plan.input_shape, ctx=context, dtype=options.dtype))
    except (ValueError, OSError, mx.MXNetError) as error:
        raise TrainingError(f'cannot build {options.model}: {sentence(error)}') from error
    if hybridize:
        net.hybridize(static_alloc=True, static_shape=True)
    ineffective = [name for name in ('binary_wd', 'bipolar', 'clip_weights') if getattr(recipe, name)]
    if ineffective and not binary_parameters(net):
        logger.warning('%s has no binary weights: without effect are %s', options.model,
                       ', '.join('--' + name.replace('_', '-') for name in ineffective))
    regularizers.set_decays(net, recipe, options.no_wd)
    return net


def _zero_last_gammas(net: mx.gluon.HybridBlock) -> None:
    """Have residual blocks begin as their shortcuts; a ValueError where there are none."""
    norms = []

    def collect(block: mx.gluon.Block) -> None:
        norm = getattr(block, 'residual_norm', None)
        if norm is not None:
            norms.append(norm)

    net.apply(collect)
    if not norms:
        raise ValueError('nothing of it is normalised and then added to a shortcut: leave out --last-gamma')
    for norm in norms:
        norm.gamma.init = mx.init.Zero()


def begin(plan: Plan, data: ImageData, store: CheckpointStore, hybridize: bool = True,
          log_interval: int = 50, tensorboard: bool = False, workers: Workers | None = None) -> Training:
    """The `Training` at its beginning; of the arguments `build_net` and `Training` tell."""
    net = build_net(plan, len(data.classes), plan.contexts, hybridize)
    teacher = load_teacher(plan.options, data.classes, plan.input_shape, plan.contexts)
    return Training(net, data, recipe=plan.recipe, options=plan.options, store=store, contexts=plan.contexts,
                    log_interval=log_interval, teacher=teacher, tensorboard=tensorboard, workers=workers)


def export_best(training: Training, prefix: str) -> Export:
    """Write the best network of a training packed, verified on images of its data; returns the `deploy.Export`."""
    data, net = training.data, training.net
    net.cast('float32')
    net.collect_params().reset_ctx([mx.cpu()])
    load_parameters(net, training.best_params)
    batches = itertools.islice(data.val_batches(), math.ceil(VERIFIED_IMAGES / data.options.batch_size))
    return export(net, prefix, data_shape=(1,) + data.image_shape,
                  inputs=(mx.nd.array(batch.data) for batch in batches if len(batch.label)),
                  preprocess=data.preprocess, classes=data.classes)
