"""Models without MXNet: results, inputs, threads, processes, errors. Needs the wheel, pytest and Pillow."""
import concurrent.futures
import copy
import io
import multiprocessing
import os
import pathlib
import pickle
import subprocess
import sys
import tempfile
import threading
import time

import numpy as np
import pytest
from PIL import Image

import bmx_runtime
from bmx_runtime import Model, ModelError
from conftest import DATA, prefix

PICTURE = prefix('picture.png')


def random(shape, seed=0):
    return np.random.RandomState(seed).normal(size=shape).astype(np.float32)


def read(path):
    with open(path, 'rb') as stream:
        return stream.read()


def contents(name):
    return read(prefix(name) + '-symbol.json'), read(prefix(name) + '-0000.params')


# Results --------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('threads', [1, 2, 3])
@pytest.mark.parametrize('name', ['classifier', 'two-outputs'])
def test_the_bits_of_mxnet(name, threads, expected):
    model = Model(prefix(name), threads=threads)
    assert model.threads == threads
    for case in expected[name]:
        found = model(random(case['shape']))
        found = found if isinstance(found, tuple) else (found,)
        assert len(found) == len(case['outputs'])
        for output, wanted in zip(found, case['outputs']):
            assert output.dtype == np.float32
            np.testing.assert_array_equal(output, np.float32(wanted))


def test_what_a_model_says_of_itself(classifier):
    assert (classifier.name, classifier.input_shape) == ('meliusnet22', (1, 3, 8, 12))
    assert classifier.classes == tuple(f'class {index}' for index in range(6)) + ('é\x1b',)
    assert classifier.preprocess == ((8, 12), 0.875, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert classifier.preprocess.size == (8, 12)
    assert classifier.threads >= 1
    assert repr(classifier) == (f"<bmx_runtime.Model 'meliusnet22', input_shape=(1, 3, 8, 12), "
                                f"threads={classifier.threads}, kernel='{classifier.kernel}'>")
    other = Model(pathlib.Path(prefix('two-outputs')))
    assert other.classes == () and other.preprocess is None
    assert bmx_runtime.__version__.count('.') == 2


def test_kernels(classifier):
    x = random((1, 3, 8, 12))
    portable = Model(prefix('classifier'), kernel='portable')
    assert portable.kernel == 'portable'
    np.testing.assert_array_equal(portable(x), classifier(x))
    program = f'import bmx_runtime; print(bmx_runtime.Model({prefix("classifier")!r}))'
    run = subprocess.run([sys.executable, '-c', program],
                         env=dict(os.environ, BMX_ISA='portable'), stdout=subprocess.PIPE, check=True)
    assert b"kernel='portable'" in run.stdout


# Inputs ---------------------------------------------------------------------------------------------------------------

def test_inputs_are_converted(classifier):
    x = np.random.RandomState(0).randint(-3, 4, (2, 3, 8, 12))
    wanted = classifier(x.astype(np.float32))
    unaligned = np.frombuffer(b'\0' + x.astype(np.float32).tobytes(), np.uint8)[1:].view(np.float32).reshape(x.shape)
    read_only = x.astype(np.float32)
    read_only.flags.writeable = False
    for same in (x, x.astype(np.float64), x.astype(np.int8), x.astype(np.float16), x.astype('>f4'), x.tolist(),
                 np.asfortranarray(x.astype(np.float32)), np.repeat(x.astype(np.float32), 2, axis=0)[::2],
                 unaligned, read_only):
        np.testing.assert_array_equal(classifier(same), wanted)


@pytest.mark.parametrize('batch, message', [
    (np.zeros((3, 8, 12)), r'takes batches \(N, 3, 8, 12\), got an array \(3, 8, 12\): x\[None\] is a batch of one'),
    (np.zeros((1, 8, 12, 3)), 'it has 3 channels, which come second'),
    (np.zeros((1, 1, 3, 8, 12)), 'takes batches'), (0, 'takes batches'),
    (np.zeros((1, 4, 8, 12)), '4'), (np.zeros((1, 3, 0, 12)), 'each size must be from 1'),
    (np.full((1, 3, 8, 12), np.nan), 'NaN'), (np.zeros((1, 3, 8, 12), complex), 'real numbers'),
    (np.zeros((1, 3, 8, 12), object), 'real numbers')])
def test_inputs_that_are_refused(batch, message, classifier):
    with pytest.raises(ValueError, match=message):
        classifier(batch)
    classifier(np.zeros(classifier.input_shape))  # which is as usable as before


def test_no_images_have_no_results(classifier):
    assert classifier(np.zeros((0, 3, 8, 12))).shape == (0, 7)
    assert classifier.predict([]) == []


def test_results_are_the_callers(classifier):
    one = classifier(random((1, 3, 8, 12)))
    before = one.copy()
    classifier(random((1, 3, 8, 12), 1))
    np.testing.assert_array_equal(one, before)
    one[:] = 0


# Images ---------------------------------------------------------------------------------------------------------------

def test_predictions_of_bmx_predict(classifier, expected):
    """Of a path, a file, an image of Pillow and an array."""
    names = [guess['class'] for guess in expected['top']]
    probabilities = [guess['probability'] for guess in expected['top']]
    with Image.open(PICTURE) as image, open(PICTURE, 'rb') as file:
        found = classifier.predict([PICTURE, pathlib.Path(PICTURE), file, io.BytesIO(read(PICTURE)), image,
                                    np.asarray(image)])
    assert len(found) == 6
    for guesses in found:
        assert [guess.name for guess in guesses] == names
        np.testing.assert_allclose([guess.probability for guess in guesses], probabilities, rtol=1e-6)
    [[best]] = classifier.predict([PICTURE], top=1)
    assert best == found[0][0]
    assert len(classifier.predict([PICTURE], top=100)[0]) == 7


def test_images_become_inputs(classifier):
    with Image.open(PICTURE) as image:
        pixels = np.asarray(image)
    prepared = classifier.prepare(PICTURE)
    assert prepared.dtype == np.float32 and prepared.shape == (3, 8, 12)
    np.testing.assert_array_equal(prepared, classifier.prepare(pixels))
    wide = np.repeat(pixels, 2, axis=1)[:, ::2]
    np.testing.assert_array_equal(prepared, classifier.prepare(wide))


@pytest.mark.parametrize('image, error, message', [
    ('missing.png', FileNotFoundError, 'no such image: missing.png'),
    (DATA, IsADirectoryError, 'is a folder'),
    (prefix('expected.json'), OSError, 'expected.json cannot be decoded as an image: it is none of JPEG'),
    (io.BytesIO(b'x'), OSError, 'the file cannot be decoded'),
    (io.BytesIO(read(PICTURE)[:2000]), OSError, 'the file cannot be decoded'),
    (Image.new('F', (4, 4)), ValueError, r"the image's pixels are of the kind F, .*convert\('RGB'\)"),
    (np.zeros((4, 4), np.uint8), ValueError, r'\(H, W, 3\), got a uint8 array \(4, 4\): np.stack\('),
    (np.zeros((4, 4, 4), np.uint8), ValueError, r': image\[..., :3\]'),
    (np.zeros((3, 4, 5), np.uint8), ValueError, r': image.transpose\(1, 2, 0\)'),
    (np.zeros((4, 4, 3)), ValueError, 'got a float64 array'),
    (np.zeros((0, 4, 3), np.uint8), ValueError, 'must be a uint8 array'),
    (7, TypeError, 'must be a path, .* got int')])
def test_images_that_are_refused(image, error, message, classifier):
    with pytest.raises(error, match=message):
        classifier.predict([image])


def test_hints_make_images():
    gray, four, first = (np.zeros(shape, np.uint8) for shape in ((4, 5), (4, 5, 4), (3, 4, 5)))
    for image in (np.stack([gray] * 3, axis=-1), four[..., :3], first.transpose(1, 2, 0)):
        assert Model(prefix('classifier')).prepare(image).shape == (3, 8, 12)


def test_one_image_is_no_list(classifier):
    with Image.open(PICTURE) as image, open(PICTURE, 'rb') as file:
        pixels = np.asarray(image)
        for one in (PICTURE, pathlib.Path(PICTURE), image, file, io.BytesIO(b'x'), pixels, 7):
            with pytest.raises(TypeError, match=r'must be a list, got one .*: give \[image\]'):
                classifier.predict(one)
        assert len(classifier.predict(np.stack([pixels, pixels]))) == 2


def test_a_file_on_disk_has_no_name(classifier):
    """Of an upload that did not fit into memory `name` is the number of its descriptor."""
    with tempfile.SpooledTemporaryFile(max_size=1) as file:
        file.write(b'GIF, but not really')
        file.seek(0)
        assert isinstance(file.name, int)
        with pytest.raises(OSError, match='^the file cannot be decoded'):
            classifier.predict([file])


@pytest.mark.parametrize('top, error', [(0, ValueError), (-1, ValueError), (1.5, TypeError), (None, TypeError)])
def test_numbers_of_classes_that_cannot_be(top, error, classifier):
    with pytest.raises(error, match='top must be'):
        classifier.predict([], top=top)


def test_models_that_predict_nothing():
    image = np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(ValueError, match='does not say how an image becomes its input'):
        Model(prefix('two-outputs')).predict([image])
    with pytest.raises(ValueError, match=r'call it with a batch .* bmx.export\(..., preprocess=\)'):
        Model(prefix('two-outputs')).prepare(image)


# Threads and processes ------------------------------------------------------------------------------------------------

def test_many_threads(classifier):
    """Each gets its own results, and as many sessions are kept as ran at once."""
    inputs = [random((1 + index % 3, 3, 8, 12), index) for index in range(12)]
    wanted = [classifier(x) for x in inputs]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for _ in range(20):
            for found, each in zip(pool.map(classifier, inputs), wanted):
                np.testing.assert_array_equal(found, each)
    assert 1 <= len(classifier._idle) <= 4


def test_other_threads_run_during_a_call():
    model = Model(prefix('classifier'), threads=1)
    batch = random((3000, 3, 8, 12))
    ticks, done = [], threading.Event()

    def tick():
        while not done.is_set():
            ticks.append(time.perf_counter())
            time.sleep(0.001)

    thread = threading.Thread(target=tick)
    thread.start()
    start = time.perf_counter()
    model(batch)
    end = time.perf_counter()
    done.set()
    thread.join()
    assert end - start < 0.02 or any(start + 0.005 < when < end - 0.005 for when in ticks)


def _run(model, x):
    return model(x)


@pytest.mark.parametrize('method', ['fork', 'spawn'])
@pytest.mark.parametrize('made', [lambda: Model(prefix('classifier'), threads=2),
                                  lambda: Model.from_bytes(*contents('classifier'), threads=2)])
def test_processes(made, method):
    """A model goes to others, by its files' path or with its contents, and still runs here."""
    model, x = made(), random((2, 3, 8, 12))
    wanted = model(x)
    with concurrent.futures.ProcessPoolExecutor(2, multiprocessing.get_context(method)) as pool:
        for future in [pool.submit(_run, model, x) for _ in range(4)]:
            np.testing.assert_array_equal(future.result(timeout=60), wanted)
    np.testing.assert_array_equal(model(x), wanted)


def _inherited(model, x, wanted, answers):
    answers.put(np.array_equal(model(x), wanted))


def test_a_forked_process_uses_the_model_that_it_inherits():
    """Also while another thread is in a call."""
    context, model = multiprocessing.get_context('fork'), Model(prefix('classifier'), threads=2)
    x = random((2, 3, 8, 12))
    wanted, stop = model(x), threading.Event()

    def keep_running():
        while not stop.is_set():
            model(x)

    thread = threading.Thread(target=keep_running)
    thread.start()
    try:
        for _ in range(5):
            answers = context.SimpleQueue()
            process = context.Process(target=_inherited, args=(model, x, wanted, answers))
            process.start()
            process.join(60)
            assert process.exitcode == 0 and answers.get()
    finally:
        stop.set()
        thread.join()


def test_pickles(tmp_path, monkeypatch):
    """By a path that does not depend on the working folder; copies are models of their own."""
    monkeypatch.chdir(DATA)
    model, x = Model('classifier', threads=2, kernel='portable'), random((1, 3, 8, 12))
    wanted, content = model(x), pickle.dumps(model)
    assert len(content) < 1000
    monkeypatch.chdir(tmp_path)
    for same in (pickle.loads(content), copy.copy(model), copy.deepcopy(model)):
        assert (same.threads, same.kernel) == (2, 'portable')
        np.testing.assert_array_equal(same(x), wanted)


def test_models_of_bytes():
    symbol, params = contents('classifier')
    x = random((1, 3, 8, 12))
    model = Model.from_bytes(bytearray(symbol), memoryview(params), 1, 'portable')
    assert (model.threads, model.kernel) == (1, 'portable')
    np.testing.assert_array_equal(model(x), Model(prefix('classifier'))(x))


# Errors ---------------------------------------------------------------------------------------------------------------

def test_models_that_are_refused(tmp_path):
    symbol, params = contents('classifier')
    with pytest.raises(FileNotFoundError, match='missing-symbol.json'):
        Model(tmp_path / 'missing')
    (tmp_path / 'half-symbol.json').write_bytes(symbol)
    with pytest.raises(FileNotFoundError, match='half-0000.params'):
        Model(tmp_path / 'half')
    for damaged in ((symbol[:-100], params), (symbol, params[:-1]), (b'', b''), (params, symbol)):
        with pytest.raises(ModelError, match='.'):
            Model.from_bytes(*damaged)
    with pytest.raises(ModelError, match='Convolution.*Pooling'):
        Model(prefix('with-mxnet-operators'))
    with pytest.raises(ValueError, match='abacus'):
        Model(prefix('classifier'), kernel='abacus')
    with pytest.raises(ValueError, match='-1'):
        Model(prefix('classifier'), threads=-1)


@pytest.mark.parametrize('arguments, error, message', [
    ({'threads': 1 << 40}, ValueError, 'threads cannot be 1099511627776'),
    ({'threads': (1 << 32) + 1}, ValueError, 'threads cannot be 4294967297'),
    ({'threads': -(1 << 31) - 1}, ValueError, 'threads cannot be'),
    ({'threads': 1025}, ValueError, 'threads must be between 0 and 1024'),
    ({'threads': 1.5}, TypeError, 'threads must be an integer, got 1.5'),
    ({'threads': '2'}, TypeError, "threads must be an integer, got '2'"),
    ({'threads': None}, TypeError, 'threads must be an integer, got None'),
    ({'kernel': b'portable'}, TypeError, "kernel must be a str or None, got b'portable'"),
    ({'kernel': 5}, TypeError, 'kernel must be a str or None, got 5'),
    ({'kernel': 'portable\0'}, ValueError, 'kernel has a null character'),
    ({'kernel': ''}, ValueError, "no kernel ''"),
    ({'prefix': prefix('classifier') + '\0x'}, ValueError, 'prefix has a null character')])
def test_arguments_that_cannot_be(arguments, error, message):
    with pytest.raises(error, match=message):
        Model(**{'prefix': prefix('classifier'), **arguments})
    if 'prefix' not in arguments:
        with pytest.raises(error, match=message):
            Model.from_bytes(*contents('classifier'), **arguments)


def test_contents_that_cannot_be():
    symbol, params = contents('classifier')
    for arguments, name in (((5, 5), 'symbol'), ((symbol, 5), 'params'), ((symbol.decode(), params), 'symbol')):
        with pytest.raises(TypeError, match=name + ' must be bytes, got'):
            Model.from_bytes(*arguments)
    assert Model(prefix('classifier'), threads=np.int64(2)).threads == 2


def test_memory_comes_back():
    """Of models and their sessions: 300 of them take less than 30 would."""
    if not os.path.exists('/proc/self/statm'):
        pytest.skip('there is no /proc')

    def resident():
        with open('/proc/self/statm') as stream:
            return int(stream.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')

    def work(times):
        for _ in range(times):
            Model(prefix('classifier'), threads=2)(random((16, 3, 8, 12)))

    work(30)
    before = resident()
    work(300)
    assert resident() - before < 20 << 20
