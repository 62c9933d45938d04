"""The command `recipes`: with a stand-in for trainings, and once with a real one."""
import csv
import json
import os
import re
import shutil
import sys

import pytest
from PIL import Image

from bmx import cli
from bmx.threads import physical_cores
from bmx.train import CheckpointStore, TrainingError, comparison, recipes, runs, sign_flips
from bmx.train.progress import COLUMNS, logger, write_metrics
from bmx.train.runs import Run, find_runs
from bmx.train.study import read_study
from helpers import STUDY, train, write_folder

# Writes a row of metrics.csv an epoch, whose accuracy tells the learning rate, the seed and the epoch.
STAND_IN = '''
import csv, os, signal, sys, time
given = dict(argument[2:].partition('=')[::2] for argument in sys.argv[1:])
directory = given['save-dir']
with open(os.path.join(os.path.dirname(__file__), 'calls'), 'a') as calls:
    print(directory, '--resume' in sys.argv, os.environ['OMP_NUM_THREADS'], file=calls)
if given.get('wd') == '0.5':
    print('Traceback: and so on')
    sys.exit('error: it went wrong')
if given.get('wd') == '0.75':
    os.kill(os.getpid(), signal.SIGKILL)
if given.get('wd') == '0.0625':
    sys.exit(0)
stopped = []
signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))
path = os.path.join(directory, 'metrics.csv')
rows = list(csv.DictReader(open(path))) if os.path.exists(path) else []
patience = time.time() + 20
if given.get('wd') == '0.25' and not rows:
    os.kill(os.getppid(), signal.SIGINT)
    while not stopped and time.time() < patience:
        time.sleep(0.01)
while len(rows) < int(given['num-epochs']):
    accuracy = float(given['lr']) + int(given['seed']) / 100 + len(rows) / 10
    rows.append(dict(dict.fromkeys(COLUMNS, 1), epoch=len(rows) + 1, val_top1=accuracy, train_top1=accuracy / 2))
    with open(path, 'w') as out:
        writer = csv.DictWriter(out, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    while given.get('wd') == '0.125' and not stopped and time.time() < patience:
        time.sleep(0.01)
    if stopped:
        time.sleep(0.2)
        print('saved')
        sys.exit(130)
'''.replace('COLUMNS', repr(COLUMNS))


@pytest.fixture(autouse=True)
def quiet():
    yield
    for handler in list(logger.handlers):  # they write to what pytest has captured for one test
        logger.removeHandler(handler)


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Has the command call the stand-in; returns a function that tells the calls: directory, resumed, threads."""
    script = tmp_path / 'script' / 'stand_in.py'
    script.parent.mkdir()
    script.write_text(STAND_IN)
    monkeypatch.setattr('bmx.cli.recipes.TRAIN', [sys.executable, str(script)])
    monkeypatch.setattr(runs, '_PAUSE', 0.01)
    for owner, name in ((comparison, 'draw'), (comparison.sign_flips, 'draw_comparisons')):
        monkeypatch.setattr(owner, name, lambda *_: None)  # takes half a second each time

    def calls():
        path = script.parent / 'calls'
        return [tuple(line.split()) for line in path.read_text().splitlines()] if path.exists() else []
    return calls


def run_study(arguments):
    return cli.main(['recipes'] + arguments)


def read(path):
    with open(path, newline='') as content:
        return list(csv.DictReader(content))


# Refusals before anything starts --------------------------------------------------------------------------------------

@pytest.mark.parametrize('change, more, message', [
    (('lr = 0.2', 'learning-rate = 0.2'), [], r'\[high\]: unrecognized arguments: --learning-rate=0.2'),
    (('lr = 0.2', 'see = 3'), [], r'\[high\]: unrecognized arguments: --see=3'),
    (('lr = 0.2', 'help'), [], r'\[high\]: leave out the flag for help'),
    (('', ''), ['--', '-h'], r'\[base\]: leave out the flag for help'),
    (('', ''), ['--', '--dry'], r'\[base\]: unrecognized arguments: --dry'),
    (('lr = 0.2', 'lr = fast'), [], r'\[high\]: argument --lr: must be a finite number'),
    (('lr = 0.2', 'model = resnet1000'), [], r'\[high\]: .*unknown model'),
    (('lr = 0.2', 'set = blocks=(1,1,1)'), [], r'\[high\]: '),
    (('lr = 0.2', 'set = colour=red'), [], r'\[high\]: cannot build meliusnet22'),
    (('lr = 0.2', 'optimizer = newton'), [], r"\[high\]: unknown --optimizer 'newton'"),
    (('lr = 0.2', 'warmup-epochs = 2'), [], r'\[high\]: 2 warm-up epochs leave nothing'),
    (('', ''), ['--data-dir', '/nowhere'], '--data-dir /nowhere does not exist'),
    (('', ''), ['--only', 'base', 'low'], '--only low: .* has base, high'),
    (('', ''), ['--report'], 'no training of .* with a whole epoch'),
    (('', ''), ['--', '--num-gpus', '9'], '--num-gpus 9'),
])
def test_refused_before_anything_starts(study, tmp_path, capsys, stand_in, change, more, message):
    save_dir = tmp_path / 'runs'
    assert run_study([study(STUDY.replace(*change)), '--save-dir', str(save_dir)] + more) == 1
    assert re.search(message, capsys.readouterr().out)
    assert not save_dir.exists() and not stand_in()


@pytest.mark.parametrize('more', [['--seeds', '1', '1'], ['--seeds', '-1'], ['--seeds', 'x'], ['--jobs', '0'],
                                  ['--', '--seed', '3'], ['--', '--save-dir=x'], ['--threads', '0'], ['--rep']],
                         ids=' '.join)
def test_bad_command_line(study, tmp_path, more):
    with pytest.raises(SystemExit) as stop:
        run_study([study(), '--save-dir', str(tmp_path / 'runs')] + more)
    assert stop.value.code == 2


def test_missing_study(tmp_path, capsys):
    assert run_study([str(tmp_path / 'no.ini'), '--save-dir', str(tmp_path / 'runs')]) == 1
    assert 'no.ini' in capsys.readouterr().out


# Running --------------------------------------------------------------------------------------------------------------

def test_runs_all_seeds_then_skips(study, tmp_path, stand_in, monkeypatch, capsys):
    monkeypatch.setenv('OMP_NUM_THREADS', '77')
    save_dir = tmp_path / 'runs'
    command = [study(), '--save-dir', str(save_dir), '--threads', '3', '--seeds']
    assert run_study(command + ['0']) == 0
    assert run_study(command + ['1', '0']) == 0
    assert run_study(command + ['0', '1']) == 0
    assert stand_in() == [(str(save_dir / variant / seed), 'True', '3')
                          for seed in ('seed0', 'seed1') for variant in ('base', 'high')]
    assert '4 of 4 trainings are done' in capsys.readouterr().out
    rows = read(str(save_dir / 'results.csv'))
    assert [(row['variant'], row['seed'], row['epochs'], row['best_val_top1']) for row in rows] == [
        ('base', '0', '2', '20'), ('base', '1', '2', '21'), ('high', '0', '2', '30'), ('high', '1', '2', '31')]
    assert float(rows[0]['size_mib']) > 0 and float(rows[0]['ops']) > 0


@pytest.mark.parametrize('jobs', ['1', '2'])
def test_only_and_jobs(study, tmp_path, stand_in, jobs):
    command = [study(), '--save-dir', str(tmp_path / 'runs'), '--jobs', jobs, '--seeds', '4', '5', '--only', 'high']
    assert run_study(command) == 0
    threads = str(max(1, physical_cores() // int(jobs)))
    assert sorted(stand_in()) == [(str(tmp_path / 'runs' / 'high' / seed), 'True', threads)
                                  for seed in ('seed4', 'seed5')]


def test_failure_does_not_stop_the_others(study, tmp_path, stand_in, capsys):
    command = ['--save-dir', str(tmp_path / 'runs')]
    assert run_study([study(STUDY.replace('lr = 0.1', 'lr = 0.1\nwd = 0.5'))] + command) == 1
    assert 'failed: base, seed 0: exit code 1: error: it went wrong' in capsys.readouterr().out
    assert [row['variant'] for row in read(str(tmp_path / 'runs' / 'results.csv'))] == ['high']
    # Nothing of it was trained, so the flags may change.
    assert run_study([study()] + command) == 0
    assert [directory[-10:] for directory, _, _ in stand_in()] == ['base/seed0', 'high/seed0', 'base/seed0']


def test_what_cannot_start_does_not_stop_the_others(study, tmp_path, stand_in, capsys):
    save_dir = tmp_path / 'runs'
    (save_dir / 'base').mkdir(parents=True)
    (save_dir / 'base' / 'seed0').touch()
    assert run_study([study(), '--save-dir', str(save_dir), '--jobs', '2']) == 1
    assert re.search('failed: base, seed 0: .*File exists', capsys.readouterr().out)
    assert [row['variant'] for row in read(str(save_dir / 'results.csv'))] == ['high']


def test_results_that_cannot_be_written_do_not_stop_the_trainings(study, tmp_path, stand_in, capsys):
    save_dir = tmp_path / 'runs'
    (save_dir / 'results.csv').mkdir(parents=True)
    command = [study(), '--save-dir', str(save_dir)]
    assert run_study(command) == 1
    assert re.search('failed: results: .*results.csv', capsys.readouterr().out)
    assert len(stand_in()) == 2
    assert run_study(command) == 1
    (save_dir / 'results.csv').rmdir()
    assert run_study(command) == 0
    assert len(stand_in()) == 2


def test_an_error_stops_what_runs(study, tmp_path, stand_in, monkeypatch, capsys):
    def spoil(*_):
        if (tmp_path / 'runs' / 'base' / 'seed0' / 'metrics.csv').exists():
            raise OSError('no terminal')
    monkeypatch.setattr(runs._Progress, 'show', spoil)
    command = [study(STUDY.replace('[base]', '[base]\nwd = 0.125')), '--save-dir', str(tmp_path / 'runs')]
    assert run_study(command) == 1
    assert 'error: no terminal' in capsys.readouterr().out
    assert (tmp_path / 'runs' / 'base' / 'seed0' / 'output.log').read_text() == 'saved\n'


def test_stop_and_go_on(study, tmp_path, stand_in, capsys):
    command = [study(STUDY.replace('lr = 0.1', 'lr = 0.1\nwd = 0.25')), '--save-dir', str(tmp_path / 'runs')]
    assert run_study(command) == 130
    assert 'base, seed 0: stopped after epoch 1' in capsys.readouterr().out
    assert not (tmp_path / 'runs' / 'high').exists()
    assert run_study(command) == 0
    assert 'base, seed 0: goes on after epoch 1' in capsys.readouterr().out
    assert [directory[-10:] for directory, _, _ in stand_in()] == ['base/seed0', 'base/seed0', 'high/seed0']


def test_unfinished_export_is_repeated(study, tmp_path, stand_in):
    command = [study(), '--save-dir', str(tmp_path / 'runs'), '--only', 'base']
    assert run_study(command) == 0
    path = tmp_path / 'runs' / 'base' / 'seed0' / 'run.json'
    path.write_text(json.dumps(dict(json.loads(path.read_text()), done=False)))
    assert run_study(command) == 0
    assert len(stand_in()) == 2


def test_changed_flags_are_refused(study, tmp_path, stand_in, capsys):
    command = ['--save-dir', str(tmp_path / 'runs')]
    assert run_study([study()] + command) == 0
    for more in ([], ['--report']):
        assert run_study([study(STUDY.replace('lr = 0.2', 'lr = 0.3'))] + command + more) == 1
        assert 'high/seed0 was trained with other settings: lr was 0.2, is now 0.3;' in capsys.readouterr().out
    # The same flags in other words, what does not matter to the result, and new variants.
    same = STUDY.replace('lr = 0.2', 'lr = 2e-1\nno-export\nlog-interval = 7\noptimizer = radam')
    same = same.replace('    blocks=(1,1)\n    reductions=(0.5,)\n', '    reductions=(0.5,)\n    blocks=(1,1)\n')
    assert run_study([study(same)] + command) == 0
    more = STUDY.replace('base, high', 'base, high, more') + '[more]\nlr = 0.3\n'
    assert run_study([study(more)] + command) == 0
    assert len(stand_in()) == 3


def test_changed_recipe_of_the_family_is_refused(study, tmp_path, stand_in, monkeypatch, capsys):
    command = [study(), '--save-dir', str(tmp_path / 'runs'), '--only', 'base', '--seeds']
    assert run_study(command + ['0']) == 0
    monkeypatch.setitem(recipes.RECIPES, 'meliusnet', dict(recipes.RECIPES['meliusnet'], optimizer='adam'))
    for more in ([], ['--report']):
        assert run_study(command + ['0', '1'] + more) == 1
        assert 'other settings: optimizer was radam, is now adam;' in capsys.readouterr().out
    # Records of earlier versions do not say.
    path = tmp_path / 'runs' / 'base' / 'seed0' / 'run.json'
    record = json.loads(path.read_text())
    del record['recipe']
    path.write_text(json.dumps(record))
    assert run_study(command + ['0', '1']) == 0


def test_foreign_directory_is_refused(study, tmp_path, stand_in, capsys):
    (tmp_path / 'runs' / 'base' / 'seed0' / 'checkpoint-0001').mkdir(parents=True)
    assert run_study([study(), '--save-dir', str(tmp_path / 'runs')]) == 1
    assert 'base/seed0 has a training that run_recipes.py did not start' in capsys.readouterr().out
    assert not stand_in()


@pytest.mark.parametrize('name, spoil', [
    ('metrics.csv', lambda content: content[:-5]),   # cut in its last number
    ('metrics.csv', lambda content: content[:-20]),  # cut before it
    ('metrics.csv', lambda content: content.replace(b'2,0.25,', b'2,,')),
    ('metrics.csv', lambda content: content.replace(b'2,0.25,', b'2,one,')),
    ('metrics.csv', lambda content: content.replace(b'2,0.25,', b'3,0.25,')),
    ('metrics.csv', lambda content: b''),
    ('metrics.csv', lambda content: b'nothing\nlike it'),
    ('metrics.csv', lambda content: content + bytes(range(256))),
    ('sign_flips.csv', lambda content: content[:-5]),
    ('sign_flips.csv', lambda content: content.replace(b'2,stage1', b'3,stage1')),
    ('run.json', lambda content: content[:-20]),
    ('run.json', lambda content: b''),
    ('run.json', lambda content: b'[]'),
    ('run.json', lambda content: b'{}'),
    ('run.json', lambda content: bytes(range(256))),
    ('run.json', lambda content: content.replace(b'"epochs": 2', b'"epochs": "x"')),
    ('run.json', lambda content: content.replace(b'"kind"', b'"sort"')),
    ('run.json', lambda content: content.replace(b'"--lr=0.2"', b'3')),
])
def test_damaged_files(study, tmp_path, stand_in, capsys, name, spoil):
    path, save_dir = study(), tmp_path / 'runs'
    for variant in read_study(path).variants.values():
        write_run(save_dir, variant, 0, [0.5, 0.6])
    file = save_dir / 'high' / 'seed0' / name
    file.write_bytes(spoil(file.read_bytes()))
    command = [path, '--save-dir', str(save_dir)]
    assert run_study(command) == 1
    assert re.search(rf'error: .*high/seed0/{name} is damaged \(.*\): delete', capsys.readouterr().out)
    assert not (save_dir / 'results.csv').exists()
    for more, code in (['--only', 'base'], 0), (['--report'], 1):
        assert run_study(command + more) == code
        assert 'left out of the results: ' in capsys.readouterr().out
        assert [row['variant'] for row in read(str(save_dir / 'results.csv'))] == ['base']
    assert not stand_in()


def test_killed(study, tmp_path, stand_in, capsys):
    text = STUDY.replace('[base]', '[base]\nwd = 0.75')
    assert run_study([study(text), '--save-dir', str(tmp_path / 'runs')]) == 1
    assert 'failed: base, seed 0: killed by signal 9: no output' in capsys.readouterr().out


def test_exit_code_0_without_all_epochs_is_a_failure(study, tmp_path, stand_in, capsys):
    command = [study(STUDY.replace('[base]', '[base]\nwd = 0.0625')), '--save-dir', str(tmp_path / 'runs')]
    for _ in range(2):
        assert run_study(command) == 1
        assert 'failed: base, seed 0: exit code 0, but metrics.csv has 0 of 2 epochs' in capsys.readouterr().out
        assert not json.loads((tmp_path / 'runs' / 'base' / 'seed0' / 'run.json').read_text())['done']


def test_copies_do_not_count(study, tmp_path):
    variants = list(read_study(study()).variants.values())
    write_run(tmp_path, variants[0], 0, [0.5, 0.6])
    for copy in ('seed00', 'old-seed0', 'seed0.old', 'seed-1'):
        shutil.copytree(str(tmp_path / 'base' / 'seed0'), str(tmp_path / 'base' / copy))
    found, damaged = find_runs(variants, str(tmp_path))
    assert ([run.directory for run in found], damaged) == ([str(tmp_path / 'base' / 'seed0')], [])


def test_other_data_is_refused(study, tmp_path, stand_in, capsys):
    data = str(write_folder(tmp_path / 'data', train=2, val=1))
    command = [study(), '--save-dir', str(tmp_path / 'runs'), '--only']
    assert run_study(command + ['base']) == 0
    assert run_study(command + ['high', '--data-dir', data]) == 1
    assert 'base/seed0 was trained on other data, digits, 1437 training' in capsys.readouterr().out
    assert len(stand_in()) == 1


def test_two_trainings_in_one_directory_are_refused(study, tmp_path, stand_in, capsys):
    with CheckpointStore(tmp_path / 'runs' / 'base' / 'seed0', 0).locked():
        assert run_study([study(), '--save-dir', str(tmp_path / 'runs')]) == 1
    assert 'failed: base, seed 0: another process trains in' in capsys.readouterr().out
    assert [directory[-10:] for directory, _, _ in stand_in()] == ['high/seed0']


# Results --------------------------------------------------------------------------------------------------------------

def write_run(save_dir, variant, seed, accuracies, epochs=2, layers=2):
    """The files of a run whose validation top-1 is given for each epoch."""
    run = Run(variant, seed, str(save_dir))
    os.makedirs(run.directory)
    run.record = {'flags': variant.flags, 'common': [], 'done': True, 'epochs': epochs, 'input_size': 8,
                  'data_name': 'photographs', 'size_mib': 1.5, 'ops': 2e6,
                  'data': {'kind': 'folder', 'train_images': 30, 'val_images': 10, 'classes': ['a', 'b']}}
    run.write()
    history = [dict(dict.fromkeys(COLUMNS, 0.25), epoch=epoch + 1, val_top1=accuracy, seconds=10 * (epoch + 1),
                    images_per_s=30 / (epoch + 1), sign_flips_of_layers=[0.5 / (epoch + seed + 1)] * layers,
                    sign_flips=0.5 / (epoch + seed + 1) if layers else None)
               for epoch, accuracy in enumerate(accuracies)]
    write_metrics(os.path.join(run.directory, 'metrics.csv'), history)
    if layers:
        sign_flips.write(os.path.join(run.directory, 'sign_flips.csv'),
                         {f'stage{layer}': 9 for layer in range(layers)}, history)


def test_summary(study, tmp_path):
    found = read_study(study())
    for seed, best in enumerate((0.5, 0.6, 0.7)):
        write_run(tmp_path, found.variants['base'], seed, [best, best - 0.1])
    for seed, best in enumerate((0.8, 0.9)):
        write_run(tmp_path, found.variants['high'], seed, [0.1, best])
    write_run(tmp_path, found.variants['high'], 2, [0.99])  # not finished: does not count
    text = comparison.write(found, find_runs(found.variants.values(), str(tmp_path))[0], str(tmp_path))
    base, high = read(str(tmp_path / 'summary.csv'))
    assert base == dict(comparison='rate', variant='base', seeds='3', mean='60', std='10', min='50', max='70',
                        difference='', standard_error='', expected='70', last_mean='50', train_mean='25',
                        sign_flips='0.243056')  # of 1/2, 1/4; 1/4, 1/6; 1/6, 1/8
    # 25 - 60; 7.0711^2 / 2 + 10^2 / 3 under the root
    assert high == dict(comparison='rate', variant='high', seeds='2', mean='85', std='7.07107', min='80', max='90',
                        difference='25', standard_error='7.63763', expected='', last_mean='85', train_mean='25',
                        sign_flips='0.291667')
    assert '25.00' in text and '7.64' in text
    results = read(str(tmp_path / 'results.csv'))
    assert len(results) == 6
    assert results[0] == dict(variant='base', seed='0', epochs='2', of_epochs='2', best_val_top1='50',
                              last_val_top1='40', last_train_top1='25', seconds='30', images_per_s='20',
                              size_mib='1.5', ops='2e+06', sign_flips='0.375')
    assert results[-1]['epochs'] == '1'


@pytest.mark.parametrize('accuracies', [
    {'base': [[0.5]]},                                    # nothing finished yet
    {'base': [[0.5, 0.6]]},                               # one seed, no spread
    {'base': [[0.5, 0.6], [0.5]], 'high': [[0.6]]},       # finished and not
    {'high': [[0.5, 0.6], [0.5, 0.7]]},                   # without the baseline
    {'base': [[0.5, 0.6]] * 2, 'high': [[0.0, 0.0]] * 2},  # no difference between seeds
])
def test_report_of_whatever_is_there(study, tmp_path, capsys, accuracies):
    path = study()
    for name, variant in read_study(path).variants.items():
        for seed, each in enumerate(accuracies.get(name, [])):
            write_run(tmp_path / 'runs', variant, seed, each)
    assert run_study([path, '--save-dir', str(tmp_path / 'runs'), '--report']) == 0
    assert len(read(str(tmp_path / 'runs' / 'results.csv'))) == sum(map(len, accuracies.values()))
    image = Image.open(str(tmp_path / 'runs' / 'results.png'))
    assert image.width > 1000 and len(image.convert('L').getcolors()) > 20
    assert set(accuracies) <= set(capsys.readouterr().out.split())


@pytest.mark.parametrize('trained, expected', [
    ('base high', {'rate': ['base', 'high']}), ('high base plain', {'rate': ['base', 'high'], 'plain': ['plain']}),
    ('base', {'base': ['base']}), ('deep plain', {'plain, deep': ['plain', 'deep']}),
    ('base high deep', {'rate': ['base', 'high'], 'size': ['base', 'deep']})])
def test_what_is_not_trained_is_not_shown(study, tmp_path, capsys, monkeypatch, trained, expected):
    text = STUDY.replace('rate = base, high', 'rate = base, high\nfloat = plain\nsize = base, deep\n')
    path = study(text + '[plain]\nlr = 0.1\n[deep]\nlr = 0.3\n')
    found, figures = read_study(path), []
    for name in trained.split():
        write_run(tmp_path / 'runs', found.variants[name], 0, [0.5, 0.6])
    assert comparison.shown(found, trained.split()) == expected
    monkeypatch.setattr(comparison, 'save_picture', lambda _, figure: figures.append(figure))
    assert run_study([path, '--save-dir', str(tmp_path / 'runs'), '--report']) == 0
    panels = figures[0].axes[::3]
    assert [panel.get_title(loc='left') for panel in panels] == list(expected)
    assert [[label.get_text().split('\n')[0] for label in panel.get_yticklabels()] for panel in panels] == list(
        expected.values())
    assert all(('(baseline)' in panel.get_yticklabels()[0].get_text()) == (title in ('rate', 'size'))
               for panel, title in zip(panels, expected))
    assert set(capsys.readouterr().out.split()) & set(found.variants) == set(trained.split())


def without_sign_flips(directory):
    """Make the files of a run those of a version that did not count."""
    (directory / 'sign_flips.csv').unlink()
    rows = [line.split(',') for line in (directory / 'metrics.csv').read_text().splitlines()]
    place = rows[0].index('sign_flips')
    (directory / 'metrics.csv').write_text(''.join(','.join(row[:place] + row[place + 1:]) + '\n' for row in rows))


def test_runs_of_earlier_versions_are_reported(study, tmp_path, monkeypatch):
    monkeypatch.setattr(comparison, 'draw', lambda *_: None)  # takes a second
    path, save_dir = study(), tmp_path / 'runs'
    for variant in read_study(path).variants.values():
        write_run(save_dir, variant, 0, [0.5, 0.6])
    without_sign_flips(save_dir / 'high' / 'seed0')
    assert run_study([path, '--save-dir', str(save_dir), '--report']) == 0
    assert [row['sign_flips'] for row in read(str(save_dir / 'results.csv'))] == ['0.375', '']
    assert [row['sign_flips'] for row in read(str(save_dir / 'summary.csv'))] == ['0.375', '']
    assert Image.open(str(save_dir / 'sign-flips.png')).height > 300
    (save_dir / 'sign-flips.png').unlink()
    without_sign_flips(save_dir / 'base' / 'seed0')
    assert run_study([path, '--save-dir', str(save_dir), '--report']) == 0
    assert not (save_dir / 'sign-flips.png').exists()


def test_what_sign_flips_png_shows(study, tmp_path, monkeypatch):
    """For each comparison the complete seeds of every variant that has any; else those that are not complete."""
    text = STUDY.replace('rate = base, high', 'rate = base, high\nfloat = plain\nsize = base, deep\n')
    text += '[plain]\nlr = 0.1\n[deep]\nlr = 0.3\n'
    found = read_study(study(text))
    write_run(tmp_path, found.variants['base'], 0, [0.5, 0.6])
    write_run(tmp_path, found.variants['base'], 1, [0.5])
    write_run(tmp_path, found.variants['high'], 3, [0.5])
    write_run(tmp_path, found.variants['plain'], 0, [0.5, 0.6], layers=0)
    write_run(tmp_path, found.variants['deep'], 0, [0.5, 0.6], layers=40)
    draw, drawn = sign_flips.draw_comparisons, []
    monkeypatch.setattr(comparison, 'draw', lambda *_: None)  # takes a second
    monkeypatch.setattr(sign_flips, 'draw_comparisons', lambda *args: drawn.append(args) or draw(*args))
    comparison.write(found, find_runs(found.variants.values(), str(tmp_path))[0], str(tmp_path))
    (_, comparisons, title), = drawn
    base = {'stage0': [0.5, 0.25], 'stage1': [0.5, 0.25]}
    deep = {f'stage{layer}': [0.5, 0.25] for layer in range(40)}
    assert comparisons == {'rate': {'base': [base], 'high': [{'stage0': [0.125], 'stage1': [0.125]}]},
                           'size': {'base': [base], 'deep': [deep]}}
    assert 'photographs' in title and Image.open(str(tmp_path / 'sign-flips.png')).height > 800


# For real -------------------------------------------------------------------------------------------------------------

def test_real_training(study, tmp_path):
    text = STUDY.replace('reductions=(0.5,)\n', 'reductions=(0.5,)\n    growth=8\nbatch-size = 512\nno-export\n')
    save_dir = tmp_path / 'runs'
    command = [study(text.replace('num-epochs = 2', 'num-epochs = 1')), '--save-dir', str(save_dir), '--only', 'base',
               '--threads', '1']
    assert run_study(command) == 0
    rows = read(str(save_dir / 'results.csv'))
    assert [(row['variant'], row['seed'], row['epochs'], row['of_epochs']) for row in rows] == [('base', '0', '1', '1')]
    assert not list(save_dir.rglob('*-symbol.json'))
    # Lost metrics come back from the checkpoint, without training. In this process: another takes seconds to start.
    directory = save_dir / 'base' / 'seed0'
    metrics = (directory / 'metrics.csv').read_text()
    (directory / 'metrics.csv').unlink()
    flags = json.loads((directory / 'run.json').read_text())['flags']
    assert train(flags + ['--save-dir', str(directory), '--resume']) == 0
    assert (directory / 'metrics.csv').read_text() == metrics


def test_a_quantizer_given_goes_before_the_recipe():
    named = recipes.resolve('mobinet_mid', 'digits', {'weight': 'twn'})
    assert (named.weight, named.clip_threshold) == ('twn', 1.0)
    told = recipes.resolve('reactnet_a', 'digits', {'clip_threshold': 0.5})
    assert (told.weight, told.activation, told.clip_threshold) == (None, None, 0.5)
    with pytest.raises(TrainingError, match="what is given: bits=2 and weight='twn' both tell"):
        recipes.resolve('resnete18', 'digits', {'weight': 'twn', 'bits': 2})
