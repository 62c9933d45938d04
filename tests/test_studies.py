"""Studies: what is read from their files, and those of the repository."""
import glob
import os
import re

import pytest

from bmx.cli.recipes import check_flags, check_variants
from bmx.cli.training import plan_of
from bmx.papers import compact, meliusnet, mobinet
from bmx.train import TrainingError, recipes
from bmx.train.schedule import learning_rate
from bmx.train.study import read_study

FOLDER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'recipes')
FILES = sorted(glob.glob(os.path.join(FOLDER, '*.ini')))


def test_read(study):
    found = read_study(study())
    assert list(found.variants) == ['base', 'high'] and found.comparisons == {'rate': ['base', 'high']}
    base = found.variants['base']
    assert base.flags == ['--model=meliusnet22', '--set=blocks=(1,1)', '--set=reductions=(0.5,)', '--num-epochs=2',
                          '--lr=0.1']
    assert (base.expected, base.published) == (70, [(1, 50.5), (2, 60)])
    assert (found.variants['high'].expected, found.variants['high'].published) == (None, [])


def test_keys_without_value_and_no_comparisons(study):
    found = read_study(study('[b]\nmodel = x\nno-export\n[a]\nmodel = x\n'))
    assert found.variants['b'].flags == ['--model=x', '--no-export']
    assert found.comparisons == {'all variants': ['b', 'a']}


@pytest.mark.parametrize('text, message', [
    ('', 'no variants'),
    ('[DEFAULT]\nmodel = x', 'no variants'),
    ('model = x', 'no section headers'),
    ('[a]\nmodel = x\nmodel = y', "'model' in section 'a' already exists"),
    ('[a]\nlr = 1', r'\[a\]: model is missing'),
    ('[a b]\nmodel = x', r'\[a b\]: a variant is also the name of a folder'),
    ('[..]\nmodel = x', 'also the name of a folder'),
    ('[results.png]\nmodel = x', r'\[results.png\]: results are written to results.png'),
    ('[a]\nmodel = x\nseed = 1', 'leave out seed'),
    ('[DEFAULT]\nsave-dir = y\n[a]\nmodel = x', 'leave out save-dir'),
    ('[a]\nmodel = x\nexpected = good', "expected must be a number of percent, got 'good'"),
    ('[a]\nmodel = x\nexpected = 101', 'expected must be'),
    ('[a]\nmodel = x\npublished = 0:5', 'EPOCH:PERCENT'),
    ('[a]\nmodel = x\npublished = 50', 'published must be'),
    ('[a]\nmodel = x\n[comparisons]\nc = a, b', r'c: there is no section \[b\]'),
    ('[a]\nmodel = x\n[comparisons]\nc =', 'there is no section'),
    ('[a]\nmodel = x\n[comparisons]\nc = a, a', 'named twice'),
    ('[a]\nmodel = x\n[b]\nmodel = x\n[comparisons]\nc = a', r'in none of the \[comparisons\]: b'),
])
def test_bad_study(study, text, message):
    with pytest.raises(TrainingError, match=message):
        read_study(study(text))


@pytest.mark.parametrize('path', FILES, ids=os.path.basename)
def test_studies_of_the_repository(path):
    """Every flag is one of the command `train`, every schedule, optimizer and model can be built."""
    with open(path) as content:
        header = content.read().partition('[')[0]
    assert all(word in header for word in ('Reproduces', 'Expected', 'Data:', 'Hardware and duration'))
    for options in check_flags(read_study(path), []).values():
        plan = plan_of(options)
        learning_rate(plan.recipe, 10)
        recipes.optimizer(plan.recipe, options.dtype)
        plan.network.build(classes=10)


def test_expected_is_what_the_paper_prints():
    printed = {}
    for row in meliusnet.TABLE_1.rows:
        printed[row.network, 'grouped'] = float(row.printed.split()[-2])
    for row in meliusnet.TABLE_2.rows:
        if row.printed.startswith('ours'):
            printed[row.network, row.settings['stem']] = float(row.printed.split()[-1])
    found = read_study(os.path.join(FOLDER, 'meliusnet-imagenet.ini'))
    options = check_flags(found, [])
    assert {(options[name].model, options[name].stem): variant.expected for name, variant in found.variants.items()
            if variant.expected is not None} == printed


# Tables of a paper whose rows the variants of a study train, and which variants these are.
@pytest.mark.parametrize('name, tables, variants', [
    ('mobinet', [mobinet.TABLE_3, mobinet.TABLE_4], r'(pre|mid|post)-k[0-4]'),
    ('mobinet', [mobinet.TABLE_1], 'plain|pre-k0-20'),
    ('compact', [compact.TABLE_2, compact.TABLE_3, compact.TABLE_5, compact.TABLE_6], '.*')])
def test_expected_of_single_networks_is_what_the_paper_prints(name, tables, variants):
    printed = set()
    for table in tables:
        place = [column.head for column in table.columns].index('top-1 %') - 1
        printed.update((row.network, row.settings.get('k'), float(row.printed.split()[place])) for row in table.rows)
    found = read_study(os.path.join(FOLDER, name + '-imagenet.ini'))
    options, told = check_flags(found, []), set()
    for variant in found.variants.values():
        if variant.expected is not None and re.fullmatch(variants, variant.name):
            told.add((options[variant.name].model, dict(options[variant.name].settings).get('k'), variant.expected))
    assert told and told <= printed


def test_variants_of_the_photographs_are_of_equal_size():
    found = read_study(os.path.join(FOLDER, 'photographs.ini'))
    parsed = check_flags(found, [])
    facts = check_variants(found.path, {name: parsed[name] for name in found.comparisons['blocks']})
    base = facts['baseline']
    for name in facts:
        assert abs(facts[name]['size_mib'] / base['size_mib'] - 1) < 0.05, name
        assert abs(facts[name]['ops'] / base['ops'] - 1) < 0.08, name
