"""The training script in-process, with a tiny network on tiny data."""
import io
import re
import shlex
import sys

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd
from PIL import Image

import bmx
from bmx import cli
from bmx.cli.training import plan_of
from bmx.train import Interrupted, Training, TrainingError, TrainingOptions, progress, recipes
from bmx.train.objective import Objective
from bmx.train.totals import Totals
from helpers import arguments, parse, prepare, read_metrics, train, write_cifar10

pytestmark = pytest.mark.usefixtures('tiny_model')


# Recipes --------------------------------------------------------------------------------------------------------------

MELIUSNET = dict(optimizer='radam', lr=0.002, lr_mode='cosine', num_epochs=120, warmup_epochs=0, batch_size=256,
                 clip_threshold=1.3, augmentation='paper', initializer='xavier', input_size=224, stem=None,
                 binary_wd=0, bipolar=0, clip_weights=False)
MOBINET = dict(optimizer='adam', lr=0.0001, wd=0.00001, binary_wd=0.00001, bipolar=0, clip_weights=False,
               batch_size=128, num_epochs=50, warmup_epochs=0, lr_mode='step', lr_decay=0.1, lr_decay_period=0,
               lr_decay_epoch=(20, 30), scaling='gradient', clip_threshold=1.0, augmentation='crop')
COMPACT = dict(optimizer='adam', lr=0.0001, wd=0, binary_wd=0, bipolar=5e-7, clip_weights=True, batch_size=256,
               warmup_epochs=0, lr_mode='plateau', lr_decay=0.5, clip_threshold=1.0, augmentation='crop-flip')
RECIPES = [
    ('meliusnet22', 'folder', {}, MELIUSNET),
    ('meliusnet_a', 'recordio', {}, MELIUSNET),
    ('meliusnet29', 'cifar10', {}, dict(MELIUSNET, stem='thumbnail', input_size=32, augmentation='shift-flip')),
    ('meliusnet29', 'digits', {}, dict(MELIUSNET, stem='thumbnail', input_size=8, augmentation='shift', batch_size=32,
                                       num_epochs=10)),
    ('meliusnet29', 'digits', dict(stem='grouped', input_size=64), dict(stem='grouped', input_size=64)),
    ('resnete18_v2', 'folder', {}, MELIUSNET),
    ('birealnet34', 'folder', {}, MELIUSNET),
    ('binarydensenet28', 'folder', {}, MELIUSNET),
    ('meliusnet_float', 'folder', {}, dict(optimizer='sgd', lr=0.1, num_epochs=90, warmup_epochs=5, bits=32)),
    ('densenet_float', 'digits', {}, dict(optimizer='sgd', lr=0.1, num_epochs=10, warmup_epochs=5, bits=32)),
    ('MeliusNet_Float', 'folder', {}, dict(optimizer='sgd', bits=32)),
    ('mobinet_mid', 'folder', {}, MOBINET),
    ('mobinet_post', 'folder', {}, dict(MOBINET, lr_decay_epoch=(15, 45))),
    ('mobinet_pre', 'folder', {}, dict(MOBINET, lr=0.001, lr_decay_epoch=(15, 45))),
    ('mobinet_plain', 'folder', {}, dict(MOBINET, num_epochs=20, lr_decay_epoch=(15,))),
    ('nin_binary', 'folder', {}, COMPACT),
    ('alexnet_binary', 'recordio', {}, COMPACT),
    ('nin_binary', 'cifar10', dict(clip_weights=False, bipolar=0.0),
     dict(COMPACT, clip_weights=False, bipolar=0, augmentation='shift-flip')),
    ('other', 'folder', {}, dict(optimizer='adam', lr=0.001, warmup_epochs=5, wd=0.0001, binary_wd=0, bipolar=0,
                                 clip_weights=False)),
    ('meliusnet22', 'folder', dict(lr=0.0, wd=0.0, clip_threshold=0.0, momentum=0.0),
     dict(lr=0.0, wd=0.0, clip_threshold=0.0, momentum=0.0)),
    ('other', 'folder', dict(warmup_epochs=0, lr=None), dict(warmup_epochs=0, lr=0.001)),
]


@pytest.mark.parametrize('model, dataset, given, expected', RECIPES)
def test_recipe(model, dataset, given, expected):
    recipe = recipes.resolve(model, dataset, given)
    assert {key: getattr(recipe, key) for key in expected} == expected


@pytest.mark.parametrize('model, dataset', [(model, 'folder') for model in recipes.RECIPES]
                         + [('other', dataset) for dataset in recipes.DATASETS])
def test_every_recipe_is_one(model, dataset):
    recipe = recipes.resolve(model, dataset, {})
    assert set(vars(recipe)) == set(recipes.KEYS)


def test_a_misspelt_key_is_refused(monkeypatch):
    monkeypatch.setitem(recipes.RECIPES, 'mine', dict(warm_up=3))
    with pytest.raises(TrainingError, match='the recipe of mine has warm_up: the keys of a recipe are optimizer, lr'):
        recipes.resolve('mine_2', 'folder', {})
    monkeypatch.setitem(recipes.DATASETS, 'films', dict(size=3))
    with pytest.raises(TrainingError, match='that of films has size: '):
        recipes.resolve('other', 'films', {})
    with pytest.raises(TrainingError, match='what is given has rate: '):
        recipes.resolve('other', 'folder', dict(rate=0.1))


def test_zero_on_the_command_line_is_zero(folder, tmp_path):
    plan = plan_of(parse(arguments(folder, tmp_path, '--lr', '0', '--wd', '0', '--clip-threshold', '0',
                                   '--warmup-epochs', '0', '--set', 'stem=none', '--set', 'channels=0')))
    recipe = plan.recipe
    assert (recipe.lr, recipe.wd, recipe.clip_threshold, recipe.warmup_epochs) == (0, 0, 0, 0)
    assert plan.options.model_kwargs == {'stem': 'none', 'channels': 0}


@pytest.mark.parametrize('model, more, bits', [
    ('meliusnet22', [], 1), ('meliusnet22', ['--set', 'bits=32'], 32), ('meliusnet22', ['--bits', '2'], 2),
    ('MeliusNet_Float', [], 32), ('meliusnet_float', ['--set', 'bits=1'], 1)])
def test_the_recipe_tells_the_bits_that_are_built(folder, tmp_path, model, more, bits):
    plan = plan_of(parse(arguments(folder, tmp_path, '--model', model, *more)))
    net = plan.network.build()
    assert plan.recipe.bits == bits == net.features[1][0].conv.conv.quantization.bits


# Steps ----------------------------------------------------------------------------------------------------------------

def test_clip_threshold_reaches_the_network(folder, tmp_path):
    gradients = []
    for threshold in ('0', '1000'):
        training = prepare(arguments(folder, tmp_path, '--clip-threshold', threshold))
        with autograd.record():
            loss = (training.net(mx.nd.random.normal(shape=(2, 3, 16, 16))) ** 2).sum()
        loss.backward()
        gradients.append(float(training.net[0].weight.grad().abs().sum().asscalar()))
    assert gradients[0] == 0 < gradients[1]


@pytest.mark.parametrize('more', [('--mode', 'imperative'), ('--optimizer', 'sgd', '--lr', '0.01'),
                                  ('--optimizer', 'adam', '--warmup-epochs', '1'),
                                  ('--label-smoothing', '--mixup', '--mixup-off-epoch', '1')], ids=' '.join)
def test_options_train_and_export(folder, tmp_path, more):
    assert train(arguments(folder, tmp_path, *more)) == 0
    rows = read_metrics(tmp_path / 'run')
    assert [row['epoch'] for row in rows] == [1, 2]
    assert all(np.isfinite(list(row.values())).all() for row in rows)
    assert (tmp_path / 'run' / 'tiny-symbol.json').is_file() and (tmp_path / 'run' / 'tiny-0000.params').is_file()


def test_modes_compute_the_same(folder, tmp_path):
    losses = []
    for mode in ('hybrid', 'imperative'):
        assert train(arguments(folder, tmp_path / mode, '--mode', mode, '--no-export')) == 0
        losses.append([row['val_loss'] for row in read_metrics(tmp_path / mode / 'run')])
    np.testing.assert_allclose(*losses, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('smoothing, share, expected', [
    (False, 1.0, [[0, 0, 1, 0], [1, 0, 0, 0]]),
    (True, 1.0, [[0.025, 0.025, 0.925, 0.025], [0.925, 0.025, 0.025, 0.025]]),
    (False, 0.75, [[0.25, 0, 0.75, 0], [0.75, 0, 0.25, 0]]),
])
def test_dense_labels(smoothing, share, expected):
    objective = Objective(None, TrainingOptions('tiny', label_smoothing=smoothing), 4, [mx.cpu()])
    np.testing.assert_allclose(objective._dense(mx.nd.array([2, 0]), share).asnumpy(), expected, rtol=1e-6)


@pytest.mark.parametrize('classes', [2, 5, 20])
def test_totals_equal_mxnet_metrics(classes):
    rng = np.random.RandomState(0)
    totals, top1, top5 = Totals(), mx.metric.Accuracy(), mx.metric.TopKAccuracy(min(5, classes))
    for size in (7, 3):
        scores, label = rng.normal(size=(size, classes)).astype('float32'), rng.randint(classes, size=size)
        totals.add(scores, label.astype('float32'), 0.0)
        top1.update([mx.nd.array(label)], [mx.nd.array(scores)])
        if classes > 5:
            top5.update([mx.nd.array(label)], [mx.nd.array(scores)])
    assert totals.mean('top1') == top1.get()[1]
    assert totals.mean('top5') == (top5.get()[1] if classes > 5 else 1.0)


def test_not_finite_loss_stops_before_the_update(folder, tmp_path, capsys):
    command = arguments(folder, tmp_path, '--no-export', '--optimizer', 'sgd')
    assert train(command + ['--lr', '1e30']) == 1
    assert 'the update was not made' in capsys.readouterr().out


def _nan_image(_net, batch):
    batch.data[0] = np.nan  # the sign makes bits of it, so the loss stays finite


def _nan_classifier(net, _batch):
    net[-1].bias.set_data(mx.nd.full((2,), np.nan))


@pytest.mark.parametrize('spoil, what', [(_nan_image, 'a gradient is not finite'),
                                         (_nan_classifier, 'the loss is nan')])
def test_nan_keeps_parameters_and_checkpoint(folder, tmp_path, spoil, what):
    training = prepare(arguments(folder, tmp_path, '--num-epochs', '1'))
    training.run()
    before = training.net[0].weight.data().asnumpy()
    batch = next(training.data.train_batches(0))
    spoil(training.net, batch)
    with pytest.raises(TrainingError, match=what + ' in epoch 2, batch 1; the update was not made. '
                                                   'The last checkpoint is .*checkpoint-0001'):
        training.train_step(batch)
    np.testing.assert_array_equal(training.net[0].weight.data().asnumpy(), before)


# The whole script -----------------------------------------------------------------------------------------------------

def test_what_a_training_leaves(folder, tmp_path):
    (tmp_path / 'data' / 'train' / 'zebra' / '0.jpg').write_bytes(b'broken')
    assert train(arguments(folder, tmp_path, '--save-frequency', '0')) == 0
    run = tmp_path / 'run'
    assert sorted(path.name for path in run.iterdir()) == [
        '.lock', 'checkpoint-0001', 'checkpoint-0002', 'curves.png', 'metrics.csv', 'sign_flips.csv', 'sign_flips.png',
        'tiny-0000.params', 'tiny-best.json', 'tiny-best.params', 'tiny-symbol.json', 'train.log']
    rows = read_metrics(run)
    assert [row['skipped_images'] for row in rows] == [1, 1]
    assert Image.open(str(run / 'curves.png')).size > (800, 300)
    log = (run / 'train.log').read_text()
    assert 'epoch 2/2 batch 3/3' in log and 'skipped 1 unreadable images' in log and '0.jpg' in log
    deployed, metadata = bmx.deploy.load(str(run / 'tiny'))
    assert metadata.classes == ['tench', 'zebra'] and metadata.preprocess['size'] == [16, 16]
    training = prepare(arguments(folder, tmp_path, '--resume'))
    bmx.load_parameters(training.net, training.best_params)
    batch = next(training.data.val_batches())
    np.testing.assert_allclose(deployed(mx.nd.array(batch.data)).asnumpy(),
                               training.net(mx.nd.array(batch.data)).asnumpy(), rtol=1e-4, atol=1e-5)


def test_export_later_is_the_export_of_the_training(folder, tmp_path):
    more = ['--save-frequency', '0', '--scaling', 'constant', '--set', 'channels=12']
    assert train(arguments(folder, tmp_path, *more)) == 0
    run = tmp_path / 'run'
    assert cli.main(['export', '--params', str(run / 'tiny-best.params'), '--out', str(tmp_path / 'later')]) == 0
    (net, first), (again, later) = (bmx.deploy.load(str(prefix)) for prefix in (run / 'tiny', tmp_path / 'later'))
    x = mx.nd.random.normal(shape=(4, 3, 16, 16))
    assert (net(x) == again(x)).asnumpy().all()
    # the names of layers are counted in a process
    later.params_sha256, later.symbol_sha256 = first.params_sha256, first.symbol_sha256
    assert first == later and later.layer_defaults['scaling'] == 'constant' and later.settings['channels'] == 12


@pytest.mark.parametrize('program, called', [('train_imagenet.py', ['train_imagenet.py']),
                                             ('/venv/bin/bmx', ['/venv/bin/bmx', 'train']),
                                             ('/somewhere/bmx/__main__.py', ['-m', 'bmx', 'train'])])
@pytest.mark.parametrize('more', [[], ['--resume']])
def test_the_command_that_goes_on(folder, tmp_path, monkeypatch, capsys, program, called, more):
    """What is printed after a stop is how the training was called, with --resume."""
    def stop(_):
        raise Interrupted('checkpoint-0001')
    monkeypatch.setattr(sys, 'argv', [program])
    monkeypatch.setattr(Training, 'run', stop)
    (tmp_path / 'run').mkdir()
    command = arguments(folder, tmp_path, '--set', 'channels=(8)', *more)
    assert (cli.script('train', command) if len(called) == 1 else train(command)) == 130
    assert capsys.readouterr().out.splitlines()[-1] == shlex.join(
        [sys.executable] + called + command + ([] if more else ['--resume']))


def test_dry_run_without_images(folder, tmp_path, capsys):
    for path in (tmp_path / 'data' / 'train').glob('*/*.jpg'):
        path.write_bytes(b'broken')
    assert train(arguments(folder, tmp_path, '--dry-run')) == 1
    assert re.search(r'error: none of the \d+ training images can be read', capsys.readouterr().out)


def test_dry_run_writes_nothing(folder, tmp_path, capsys):
    assert train(arguments(folder, tmp_path, '--dry-run')) == 0
    assert not (tmp_path / 'run').exists()
    out = capsys.readouterr().out
    assert 'optimizer=adam' in out and 'nothing was written' in out


@pytest.mark.parametrize('dataset', ['digits', 'cifar10'])
def test_small_images_imply_their_stem(dataset, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv('HOME', str(tmp_path))
    where = ['--data-dir', str(write_cifar10(tmp_path / 'cifar'))] if dataset == 'cifar10' else []
    assert train(['--model', 'meliusnet_c', '--dry-run', '--batch-size', '4'] + where) == 0
    out = capsys.readouterr().out
    assert 'stem=thumbnail' in out
    assert ('training on the bundled handwritten digits' in out) == (dataset == 'digits')


ERRORS = [
    (('--model', 'nonsense'), "cannot build nonsense: unknown model 'nonsense'; choose from "),
    (('--set', 'colour=3'), "cannot build tiny: tiny has no keyword 'colour': its keywords are channels, "),
    (('--set', 'channels=x'), "cannot build tiny: channels of tiny must be a number, as 8 is, got 'x'"),
    (('--freeze', '9'), "--freeze '9' matches no parameter of tiny: their names are 0.weight, "),
    (('--freeze', '('), "--freeze '(' is no regular expression: "),
    (('--freeze', ''), '--freeze  leaves nothing to train'),
    (('--extend',), 'nothing to extend: there is no checkpoint in --save-dir '),
    (('--use-pretrained',), '--use-pretrained: no pretrained parameters of tiny at '),
    (('--data-dir', 'nowhere'), '--data-dir nowhere does not exist'),
    (('--optimizer', 'magic'), "unknown --optimizer 'magic': choose one of "),
    (('--lr-mode', 'plateau', '--lr-decay', '1'), '--lr-mode plateau multiplies the rate by --lr-decay, 1, which'),
    (('--warmup-epochs', '2'), '2 warm-up epochs leave nothing of 2 epochs'),
    (('--dtype', 'float16'), 'MXNet computes float16 on GPUs only'),
    (('--resume',), 'nothing to resume: there is no --save-dir '),
    (('--num-gpus', '3'), '--num-gpus 3: this MXNet sees'),
    (('--set', 'classes=3'), 'the data decides the number of classes'),
    (('--resume-epoch', '2'), 'nothing to train: --resume-epoch 2 of 2 epochs'),
    (('--stem', 'imagenet', '--set', 'stem=grouped'), '--stem imagenet contradicts --set stem=grouped'),
    (('--model', 'resnete18', '--input-size', '1'), 'cannot build resnete18: images of 1x1 pixels are too small'),
    (('--model', 'meliusnet59', '--set', 'groups=5'), 'cannot build meliusnet59: Error in operator '),
    (('--bits', '2', '--set', 'bits=1'), '--bits 2 contradicts --set bits=1'),
    (('--model', 'meliusnet_float', '--bits', '1'), 'cannot build meliusnet_float: '),
    (('--resume-params', 'nowhere.params'), 'parameter file nowhere.params does not exist'),
    (('--resume-states', 'nowhere.states'), 'cannot load nowhere.states'),
    (('--use-rec', '--rec-train', 'nowhere.rec'), 'no such RecordIO file: --rec-train nowhere.rec'),
]


@pytest.mark.parametrize('more, message', ERRORS)
def test_errors(folder, tmp_path, capsys, more, message):
    assert train(arguments(folder, tmp_path, *more)) == 1
    assert 'error: ' + message in capsys.readouterr().out


@pytest.mark.parametrize('part', ['train', 'val'])
def test_nothing_readable(folder, tmp_path, capsys, part):
    for path in (tmp_path / 'data' / part).glob('*/*.jpg'):
        path.write_bytes(b'broken')
    assert train(arguments(folder, tmp_path)) == 1
    assert {'train': 'none of the 10 training images', 'val': 'none of the 6 validation images'}[part] in \
        capsys.readouterr().out


@pytest.mark.parametrize('more', [('--batch-size', '0'), ('--seed', '-1'), ('--set', 'novalue'), ('--num-epochs', '0'),
                                  ('--augmentation', 'wild'), ('--bipolar', '-1'), ('--seed', '4294967296'),
                                  ('--lr', 'inf'), ('--wd', 'nan'), ('--batch-size', '1.5'), ('-j', '100000'),
                                  ('--input-size', '100000'), ('--num-epochs', '10000000000'),
                                  ('--binary-wd', '-0.1'), ('--clip-weights', 'maybe'), ('--clip-weights',),
                                  ('--lr-mode', 'cliff')], ids=' '.join)
def test_bad_command_lines(folder, tmp_path, more):
    with pytest.raises(SystemExit) as stop:
        train(arguments(folder, tmp_path, *more))
    assert stop.value.code == 2


def test_gluoncv_style_resume(folder, tmp_path):
    assert train(arguments(folder, tmp_path, '--no-export', '--lr', '0.01')) == 0
    first = tmp_path / 'run' / 'checkpoint-0001'
    more = ['--no-export', '--lr', '0.01', '--resume-epoch', '1', '--resume-params', str(first / 'net.params'),
            '--resume-states', str(first / 'trainer.states')]
    assert train(arguments(folder, tmp_path / 'second', *more)) == 0
    (row,) = read_metrics(tmp_path / 'second' / 'run')
    whole = read_metrics(tmp_path / 'run')[1]
    for key in ('epoch', 'lr', 'train_loss', 'val_loss'):
        assert row[key] == pytest.approx(whole[key], rel=1e-4)


# What is shown --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('epochs', [1, 3, 5, 12])
def test_curves_have_whole_epochs(epochs, monkeypatch):
    figures = []
    monkeypatch.setattr(progress, 'save_picture', lambda _, figure: figures.append(figure))
    progress.draw_curves('', [dict(dict.fromkeys(progress.COLUMNS, 0.5), epoch=epoch + 1) for epoch in range(epochs)],
                         'a title')
    for axes in figures[0].axes:
        low, high = axes.get_xlim()
        ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
        assert ticks and all(tick == round(tick) and 1 <= tick <= epochs for tick in ticks)


@pytest.mark.parametrize('columns', [80, 200])
def test_bars_fit_the_terminal(columns, monkeypatch):
    """Every number of a long training is whole, with a bar beside it."""
    monkeypatch.setattr(progress.shutil, 'get_terminal_size', lambda: (columns, 24))
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, 'stderr', terminal)
    with progress.progress_bar('epoch 100/120', 1281167, progress.TRAINING_BAR, done=640000) as bar:
        bar.start_t -= 600
        bar.set_postfix_str('loss 6.9078, top-1 0.1234, 10:12:34 left', refresh=False)
        bar.update(640000)
        bar.refresh()
    with progress.progress_bar('validation', 50000) as bar:
        bar.start_t -= 30
        bar.update(25000)
        bar.refresh()
    shown = [line for line in terminal.getvalue().split('\r') if line.strip()]
    assert all(len(line) <= columns for line in shown)
    training = [line for line in shown if line.startswith('epoch 100/120 100%|')][-1]
    assert re.search(r'\|[^|]+\| 1066\.\d\d images/s, loss 6\.9078, top-1 0\.1234, 10:12:34 left$', training.rstrip())
    assert any(re.match(r'validation  50%\|[^|]+\| 833\.\d\d images/s, 00:\d\d left', line) for line in shown)
