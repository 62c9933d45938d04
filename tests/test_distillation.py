"""Knowledge distillation, and how residual networks begin."""
import json
import shutil

import mxnet as mx
import numpy as np
import pytest
from gluoncv import model_zoo

import bmx
from bmx.cli.training import plan_of
from bmx.io.description import write_description
from bmx.train import TrainingOptions, distillation
from bmx.train.plan import build_net
from helpers import arguments, parse, prepare, train, write_folder

pytestmark = pytest.mark.usefixtures('tiny_model')


@pytest.fixture(scope='module')
def taught(tmp_path_factory):
    """Folder of images and MODEL-best.params of a training on them."""
    path = tmp_path_factory.mktemp('teacher')
    folder = str(write_folder(path / 'data'))
    with pytest.MonkeyPatch.context() as patch:
        from bmx.train import loop
        from helpers import tiny
        patch.setitem(bmx.models.MODELS, 'tiny', tiny)
        patch.setattr(loop, 'draw_curves', lambda *_: None)
        patch.setattr(loop.sign_flips, 'draw', lambda *_: None)
        assert train(arguments(folder, path, '--set', 'channels=16', '--bits', '32', '--no-export')) == 0
    return folder, path / 'run' / 'tiny-best.params'


def softmax(x):
    powers = np.exp(x - x.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize('option', [('--temperature', '3'), ('--hard-weight', '0.1')])
def test_options_without_a_teacher(option, folder, tmp_path, capsys):
    assert train(arguments(folder, tmp_path, '--dry-run', *option)) == 1
    assert 'are about a teacher: give --teacher or --teacher-params' in capsys.readouterr().out


@pytest.mark.parametrize('sparse', [True, False])
@pytest.mark.parametrize('hard', [0.0, 0.3, 1.0])
def test_loss(sparse, hard):
    """The formula, and the gradient that GluonCV's loss has."""
    rng, T = np.random.RandomState(0), 5.0
    scores, teacher = rng.normal(size=(2, 6, 4)).astype('float32') * 4
    labels = rng.randint(4, size=6) if sparse else softmax(rng.normal(size=(6, 4)))
    dense = np.eye(4)[labels] if sparse else labels
    p, q = softmax(teacher / T), softmax(scores / T)
    expected = hard * -(dense * np.log(softmax(scores))).sum(1) + (1 - hard) * T ** 2 * (p * np.log(p / q)).sum(1)
    gradient = hard * (softmax(scores) - dense) + (1 - hard) * T * (q - p)
    x = mx.nd.array(scores)
    x.attach_grad()
    loss = distillation.DistillationLoss(T, hard, sparse)
    with mx.autograd.record():
        found = loss(x, mx.nd.array(labels), mx.nd.array(p))
    found.backward()
    np.testing.assert_allclose(found.asnumpy(), expected, rtol=2e-4, atol=2e-5)
    np.testing.assert_allclose(x.grad.asnumpy(), gradient, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize('more', [(), ('--mixup',), ('--label-smoothing',)])
def test_a_student_comes_to_the_teacher(taught, tmp_path, more):
    folder, params = taught
    training = prepare(arguments(folder, tmp_path, '--teacher-params', str(params), '--temperature', '2',
                                 '--hard-weight', '0', '--lr', '0.03', *more))
    batch = next(training.data.val_batches())
    x = mx.nd.array(batch.data)
    before = [parameter.data().asnumpy() for parameter in training._objective.teacher._net.collect_params().values()]

    def distance():
        answers = mx.nd.softmax(training.net(x) / 2)
        return float((training._objective.teacher(x) - answers).abs().mean().asscalar())
    first = distance()
    for epoch in range(6):
        for images in training.data.train_batches(epoch):
            training.train_step(images)
    assert distance() < 0.75 * first
    for parameter, value in zip(training._objective.teacher._net.collect_params().values(), before):  # as it was
        assert parameter.grad_req == 'null' and (parameter.data().asnumpy() == value).all()


def test_resume_wants_the_same_teacher(taught, tmp_path, capsys, no_pictures):
    folder, params = taught
    command = arguments(folder, tmp_path, '--no-export', '--num-epochs', '1', '--teacher-params')
    assert train(command + [str(params)]) == 0
    for ending in ('params', 'json'):
        shutil.copy(str(params.with_suffix('.' + ending)), str(tmp_path / ('moved.' + ending)))
    assert train(command + [str(tmp_path / 'moved.params'), '--resume']) == 0
    assert train(command + [str(tmp_path / 'moved.params'), '--resume', '--temperature', '3']) == 1
    assert 'temperature was 20.0, is now 3.0' in capsys.readouterr().out
    other = mx.nd.load(str(params))
    name = next(iter(other))
    mx.nd.save(str(tmp_path / 'moved.params'), dict(other, **{name: other[name] + 1}))
    assert train(command + [str(tmp_path / 'moved.params'), '--resume']) == 1
    assert 'teacher_params was "' in capsys.readouterr().out
    assert train(command[:-1] + ['--resume']) == 1
    assert 'teacher_params was "' in capsys.readouterr().out


def test_a_checkpoint_from_before_goes_on(folder, tmp_path, no_pictures):
    command = arguments(folder, tmp_path, '--no-export', '--num-epochs', '1')
    assert train(command) == 0
    path = tmp_path / 'run' / 'checkpoint-0001' / 'checkpoint.json'
    state = json.loads(path.read_text())
    for name in ('last_gamma', 'teacher', 'teacher_params', 'temperature', 'hard_weight'):
        del state['arguments'][name]
    path.write_text(json.dumps(state))
    assert train(command + ['--resume']) == 0


def test_models_of_gluoncv(folder, tmp_path, monkeypatch):
    """By name in ~/.mxnet/models, whose names have digits of a checksum, or in a file."""
    monkeypatch.setattr(distillation, 'ROOT', str(tmp_path))
    teacher = model_zoo.get_model('cifar_resnet20_v1', classes=2)
    teacher.initialize(mx.init.Xavier())
    teacher(mx.nd.zeros((1, 3, 32, 32)))
    path = tmp_path / 'cifar_resnet20_v1-01abcdef.params'
    teacher.save_parameters(str(path))
    for where in ((), ('--teacher-params', str(path))):
        training = prepare(arguments(folder, tmp_path, '--teacher', 'CIFAR_ResNet20_v1', *where))
        x = mx.nd.random.normal(shape=(2, 3, 16, 16))
        found = training._objective.teacher(x).asnumpy()
        np.testing.assert_allclose(found, softmax(teacher(x).asnumpy() / 20), rtol=1e-4)
    assert prepare(arguments(folder, tmp_path, '--teacher', 'cifar_resnet20_v1', '--hard-weight', '1')
                   )._objective.teacher is None


@pytest.mark.parametrize('more, message', [
    (('--teacher', 'nonsense'), 'no parameters of --teacher nonsense in '),
    (('--teacher-params', 'nowhere'), '--teacher-params nowhere does not exist'),
    (('--teacher', 'resnete18', '--teacher-params', '{params}'), 'tiny-best.json says that it is tiny, not resnete18'),
    (('--teacher-params', '{alone}'), 'says what network it is: give --teacher, too'),
    (('--teacher', 'nonsense', '--teacher-params', '{alone}'), 'nonsense is a model neither of bmx nor of GluonCV'),
    (('--teacher', 'resnete18', '--teacher-params', '{alone}'), 'belongs to another model than resnete18'),
    (('--teacher-params', '{three}'), 'it knows 3 classes, the data has 2'),
    (('--teacher-params', '{torn}'), 'is damaged or not a parameter file of MXNet'),
])
def test_errors(taught, tmp_path, monkeypatch, capsys, more, message):
    folder, params = taught
    monkeypatch.setattr(distillation, 'ROOT', str(tmp_path))
    paths = {name: tmp_path / f'{name}.params' for name in ('alone', 'three', 'torn')}
    for path in paths.values():
        shutil.copy(str(params), str(path))
    paths['torn'].write_bytes(params.read_bytes()[:500])
    description = json.loads(params.with_suffix('.json').read_text())
    (tmp_path / 'torn.json').write_text(json.dumps(description))
    (tmp_path / 'three.json').write_text(json.dumps(dict(description, classes=list('abc'))))
    given = [each.format(params=params, **paths) for each in more]
    assert train(arguments(folder, tmp_path, *given)) == 1
    assert message in capsys.readouterr().out


# Where it begins ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('model, more', [
    ('resnete18', ['--set', 'layers=(2,1,1,1)']), ('resnet18_binary', []), ('quicknet_small', []),
    ('reactnet_a', ['--set', 'channels=(32,64,64)', '--set', 'halving=(0,)']), ('mobinet_mid', []),
    ('groupnet18', ['--set', 'layers=(2,2,2,2)'])])
def test_last_gamma(folder, tmp_path, model, more):
    plan = plan_of(parse(arguments(folder, tmp_path, '--model', model, '--last-gamma', '--stem', 'thumbnail', *more)))
    net = build_net(plan, 2, [mx.cpu()])
    gammas = [each for each in net.collect_params('.*gamma').values() if each.grad_req != 'null']
    zero = [each for each in gammas if not each.data().asnumpy().any()]
    blocks = []
    net.apply(lambda block: blocks.append(getattr(block, 'residual_norm', None)))
    assert {id(each) for each in zero} == {id(block.gamma) for block in blocks if block is not None} and zero
    assert len(zero) < len(gammas)
    # behind a shortcut alone nothing of a binary convolution is seen
    x = mx.nd.random.normal(shape=(2, 3, 16, 16))
    before = net(x).asnumpy()
    for name, parameter in net.collect_params('.*conv.*weight').items():
        if parameter in bmx.nn.binary_parameters(net) and 'shortcut' not in name and model != 'mobinet_mid':
            parameter.set_data(-parameter.data())
    np.testing.assert_array_equal(net(x).asnumpy(), before)


@pytest.mark.parametrize('model, more, message', [
    ('meliusnet22', [], 'nothing of it is normalised and then added to a shortcut: leave out --last-gamma'),
    ('resnete18_v2', [], 'nothing of it is normalised'), ('mobinet_mid', ['--set', 'skip=False'], 'nothing of it'),
    ('resnete18', ['--use-pretrained'], '--last-gamma is how a training begins from nothing')])
def test_last_gamma_where_it_means_nothing(folder, tmp_path, capsys, model, more, message):
    assert train(arguments(folder, tmp_path, '--model', model, '--last-gamma', *more)) == 1
    assert message in capsys.readouterr().out


def test_a_teacher_may_say_itself_what_its_layers_do(tmp_path):
    """Of a model whose keywords go before the scope that it was built in."""
    path, classes = str(tmp_path / 'meliusnet22-best.params'), ['a', 'b']
    net = bmx.get_model('meliusnet22', classes=2, stem='thumbnail', bits=2)
    assert net.layer_defaults['bits'] == 1
    net.initialize()
    net(mx.nd.zeros((1, 3, 32, 32)))
    net.save_parameters(path)
    write_description(path, net, classes, {'size': [32, 32], 'crop_ratio': 1.0, 'mean': [0.5] * 3, 'std': [0.5] * 3})
    options = TrainingOptions('tiny', teacher_params=path)
    images = mx.nd.zeros((1, 3, 32, 32))
    assert distillation.load_teacher(options, classes, images.shape, [mx.cpu()])(images).shape == (1, 2)
