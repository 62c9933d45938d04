"""What the documents name exists: links, files, names of bmx, commands and their options."""
import argparse
import dataclasses
import functools
import importlib
import importlib.util
import re
import runpy
import shlex
from pathlib import Path

import mxnet as mx
import pytest

import bmx  # noqa: F401  (its operators are named)
from bmx.cli import COMMANDS, CommandParser
from bmx.models import MODELS
from bmx.train.recipes import Recipe

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted(str(path.relative_to(ROOT)) for path in [
    *ROOT.glob('*.md'), *ROOT.glob('docs/**/*.md'), *ROOT.glob('benchmarks/*.md')])
PRESENT = [name for name in DOCUMENTS if name != 'CHANGELOG.md']  # that one names what is gone, too
FOLDERS = ('bmx', 'models', 'runtime', 'docs', 'tests', 'recipes', 'benchmarks', '.ci')
TOP = [path.name for path in ROOT.iterdir() if path.is_file()]
FILES = TOP + [str(path.relative_to(ROOT)) for folder in FOLDERS for path in (ROOT / folder).rglob('*')
               if '__pycache__' not in path.parts]
SOURCE = r'[\w.*/-]*\.(?:py|cc|h|md|ini|toml|cff)'
READER_WRITES = {'models/tiny.py'}
SCRIPTS = {'train_imagenet.py': 'train', 'run_recipes.py': 'recipes'}


@functools.lru_cache(maxsize=None)
def options(command):
    """The options of a command and of what it has for commands."""
    def of(parser):
        found = set()
        for action in parser._actions:
            found.update(action.option_strings)
            if isinstance(action, argparse._SubParsersAction):
                found = found.union(*map(of, action.choices.values()))
        return found

    parser = argparse.ArgumentParser()
    importlib.import_module('bmx.cli.' + command).add_options(parser)
    return of(parser)


def read(document):
    return (ROOT / document).read_text()


def blocks(text):
    """The lines of fenced and indented blocks, continued ones joined."""
    fenced = re.findall(r'^```[^\n]*\n(.*?)^```', text, re.M | re.S)
    indented = re.findall(r'(?:^|\n\n)((?:    [^\n]*\n)+)', re.sub(r'^```.*?^```', '', text, flags=re.M | re.S))
    return [line.strip() for block in fenced + indented for line in re.sub(r'\\\n\s*', '', block).splitlines()]


def spans(text):
    """What stands between backticks in a line or over the end of one, outside of fenced blocks."""
    text = re.sub(r'^```.*?^```', '', text, flags=re.M | re.S)
    return [' '.join(span.split()) for paragraph in text.split('\n\n') for span in re.findall('`([^`]+)`', paragraph)]


def words(line):
    """The words of a command line up to a pipe, without prompt, comment and variables; none if it is no command."""
    try:
        found = shlex.split(line[2:] if line.startswith('$ ') else line, comments=True)
    except ValueError:
        return []
    while found and re.match(r'[A-Z_]+=', found[0]):
        found.pop(0)
    return found[:found.index('|')] if '|' in found else found


def arguments(line):
    """(command, its arguments) of a line that runs bmx, else None."""
    found = words(line)
    if found[:3] == ['python', '-m', 'bmx']:
        found = ['bmx'] + found[3:]
    if found[:1] == ['python'] and found[1:] and found[1] in SCRIPTS:
        return SCRIPTS[found[1]], found[2:]
    if found[:1] == ['bmx'] and found[1:] and not found[1].startswith('-'):
        return found[1], found[2:]
    if found[1:] and found[0] in COMMANDS:  # of a sentence
        return found[0], found[1:]
    return None


def commands(document):
    """All of (command, its arguments) that a document shows."""
    text = read(document)
    for line in blocks(text) + spans(text):
        found = arguments(line)
        if found is not None and found[0] not in ('COMMAND', '...'):
            for command in found[0].split('|'):
                yield command, found[1]


def slug(heading):
    """The anchor that a heading gets."""
    return re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-')


def exists(path):
    """Whether a file or folder is there, by its path or the end of that; capitals stand for any name."""
    path = path.rstrip('/')
    if path in FILES or path in FOLDERS or path in READER_WRITES:
        return True
    pattern = re.sub(r'\\\*|(?<![a-zA-Z])[A-Z]{3,}', r'[^/]+', re.escape(path))
    return any(re.search(f'(^|/){pattern}$', name) for name in FILES)


def is_path(span):
    """Whether a span looks like a file or a folder of the repository."""
    return bool(re.fullmatch(SOURCE, span) or span.partition('/')[0] in FOLDERS and re.fullmatch(r'[\w.*/-]+/?', span))


def resolves(name):
    """Whether a dotted name of bmx can be imported, or is an attribute of what can."""
    parts = name.split('.')
    for length in range(len(parts), 0, -1):
        try:
            value = importlib.import_module('.'.join(parts[:length]))
        except ImportError:
            continue
        for part in parts[length:]:
            if not hasattr(value, part):
                return False
            value = getattr(value, part)
        return True
    return False


def dotted(span):
    """The dotted name of bmx that a span is or calls, else None."""
    found = re.match(r'(bmx(?:\.\w+)+)(?:\(.*\))?$', span)
    return found and found.group(1)


@pytest.mark.parametrize('document', DOCUMENTS)
def test_links_lead_somewhere(document):
    wrong = []
    for target in re.findall(r'\]\(([^)\s]+)\)', read(document)):
        if re.match(r'\w+:', target):
            continue
        path, _, anchor = target.partition('#')
        there = (ROOT / document).parent / path if path else ROOT / document
        if not there.exists() or anchor and anchor not in map(
                slug, re.findall(r'^#+ (.*)$', there.read_text(), re.M)):
            wrong.append(target)
    assert wrong == []


@pytest.mark.parametrize('document', PRESENT)
def test_files_that_are_named_exist(document):
    assert [span for span in spans(read(document)) if is_path(span) and not exists(span)] == []


@pytest.mark.parametrize('document', PRESENT)
def test_names_stand_in_the_files_that_documents_say(document):
    """`NAME` in `FILE`, and `FILE:NAME`."""
    text = ' '.join(read(document).split())
    found = [(name, path) for name, path in re.findall(rf'`(\w+)` (?:in|of) `({SOURCE})`', text)]
    found += [(name, path) for path, name in re.findall(rf'`({SOURCE}):(\w+)`', text)]
    assert [(name, path) for name, path in found if exists(path) and not any(
        re.search(rf'\b{name}\b', read(each)) for each in FILES if ('/' + each).endswith('/' + path))] == []
    assert [path for _, path in found if not exists(path)] == []


@pytest.mark.parametrize('document', PRESENT)
def test_names_of_bmx_exist(document):
    code = '\n'.join(blocks(read(document)))
    names = set(filter(None, map(dotted, spans(read(document))))) | set(re.findall(r'\bbmx(?:\.[a-zA-Z_]\w*)+', code))
    assert [name for name in sorted(names) if not resolves(name)] == []


@pytest.mark.parametrize('document', PRESENT)
def test_commands_and_options_exist(document):
    """Of every command, complete or not; options by themselves are those of any command."""
    unknown = []
    for command, given in commands(document):
        if command not in COMMANDS:
            unknown.append(command)
            continue
        own = given[:given.index('--')] if '--' in given else given
        unknown += [(command, word) for word in own if re.match('--[a-z]', word)
                    and word.partition('=')[0] not in options(command)]
    known = set(re.findall(r'--[a-z]+', read('runtime/bmx_run/options.cc'))).union(*map(options, COMMANDS))
    known |= {flag for names, _ in flags('Not here') for flag in names}
    unknown += [span for span in spans(read(document))
                if re.match('--[a-z]', span) and re.match(r'[\w-]+', span).group() not in known]
    assert unknown == []


@pytest.mark.parametrize('document', PRESENT)
def test_command_lines_in_blocks_parse(document, capsys):
    wrong = []
    for line in blocks(read(document)):
        found = arguments(line)
        if found is None or found[0] not in COMMANDS:
            continue
        try:
            CommandParser(found[0]).parse_args(found[1])
        except SystemExit:
            wrong.append((line, capsys.readouterr().err.splitlines()[-1]))
    assert wrong == []


@pytest.mark.parametrize('document', PRESENT)
def test_other_programs_in_blocks_exist(document):
    """Scripts, modules, tests and targets of make."""
    wrong = []
    for line in map(words, blocks(read(document))):
        if line[:2] == ['python', '-m']:
            there = importlib.util.find_spec(line[2]) or (ROOT / 'runtime/python/src' / line[2]).is_dir()
            wrong += [] if line[2] == 'pip' or there else [line[2]]
        elif line[:1] == ['python']:
            wrong += [] if (ROOT / line[1]).is_file() else [line[1]]
        elif line[:1] == ['make']:
            folder, names = (line[2], line[3:]) if line[1] == '-C' else ('.', line[1:])
            targets = re.findall(r'^([a-z-]+):', read(folder + '/Makefile'), re.M)
            wrong += [name for name in names if '=' not in name and name not in targets]
        wrong += [word for word in line if re.match(r'(tests|docs|recipes)/', word) and not exists(word)]
    assert wrong == []


def rows(document):
    """Cells of the rows of a document's tables."""
    return [[cell.strip() for cell in line.strip('|').split(' | ')]
            for line in read(document).splitlines() if line.startswith('| ') and not line.startswith('| ---')]


GLOSSARY = rows('docs/glossary.md')[1:]


@pytest.mark.parametrize('row', GLOSSARY, ids=[row[0] for row in GLOSSARY])
def test_a_word_of_the_glossary_is_where_it_says(row):
    """A place is a file or folder, a name of bmx, or an operator."""
    places = spans(row[-1])
    assert len(row) == 3 and places
    assert [span for span in places if not (
        resolves(dotted(span)) if dotted(span) else exists(span) if is_path(span) else hasattr(mx.nd, span))] == []


def test_the_glossary_is_in_order():
    terms = [row[0] for row in GLOSSARY]
    assert terms == sorted(set(terms))


def test_a_page_says_where_everything_is():
    table = spans(read('docs/architecture.md').partition('## Where things are')[2])
    rooms = runpy.run_path(str(ROOT / 'docs' / 'architecture.py'))['ROOMS'].values()
    places = {place + '/' * (ROOT / place).is_dir() for room in rooms for place in room.places}
    places -= {'bmx/__init__.py', 'bmx/__main__.py'}
    assert sorted((places | {folder + '/' for folder in FOLDERS if folder != 'bmx'}) - set(table)) == []


def test_every_page_is_in_the_navigation():
    named = re.findall(r'(\S+\.md)$', read('mkdocs.yml').partition('\nnav:')[2], re.M)
    assert sorted(named) == sorted(set(DOCUMENTS + ['runtime/python/README.md']))


def test_tables_are_those_of_code_and_measurements():
    """Else: python docs/tables.py."""
    written = runpy.run_path(str(ROOT / 'docs' / 'tables.py'))['written']
    assert [document for document in DOCUMENTS if written(read(document)) != read(document)] == []


def test_models_that_a_page_describes_are_all():
    named = {span.split(' ')[0] for span in spans(read('docs/models.md'))}
    assert sorted(set(MODELS) - named) == []


def test_commands_that_a_page_lists_are_all():
    assert [span.split(' ')[1] for cells in rows('docs/start.md')[1:] for span in spans(cells[0])] == list(COMMANDS)


def flags(*headings):
    """Rows of docs/flags.md below headings: the flags of the first cell, the other cells."""
    parts = re.split(r'^## (.*)\n', read('docs/flags.md'), flags=re.M)
    lines = [line for heading in headings for line in parts[parts.index(heading) + 1].splitlines()]
    return [(spans(cells[0]), cells[1:]) for line in lines if line.startswith('| `-')
            for cells in [[cell.strip() for cell in line[1:-1].split(' | ')]]]


def test_flags_hold_every_option_of_trainings():
    shown = [flag for names, _ in flags('The same', 'Another default, or another meaning', 'Only here')
             for flag in names]
    assert sorted(shown) == sorted(options('train') - {'-h', '--help'})
    assert not set(shown) & {flag for names, _ in flags('Not here') for flag in names}


def test_defaults_of_flags_are_those_that_the_table_says():
    parser = argparse.ArgumentParser()
    importlib.import_module('bmx.cli.train').add_options(parser)
    defaults = {option: action.default for action in parser._actions for option in action.option_strings}
    recipe = {'--' + field.name.replace('_', '-'): field.default for field in dataclasses.fields(Recipe)}
    wrong = []
    for names, (default, *_) in flags('The same'):
        for name in names:
            value = recipe.get(name) if defaults[name] is None else defaults[name]
            text = {'None': 'none', 'False': 'off'}.get(
                str(value), ','.join(map(str, value)) if isinstance(value, tuple)
                else f'{value:g}' if isinstance(value, float) else str(value))
            wrong += [(name, text)] if default != text else []
    assert wrong == []


@pytest.mark.parametrize('name', ['bmx/deploi/x.py', 'nowhere.cc', 'docs/none.md', 'operation_NAME.h.cc'])
def test_finds_files_that_are_not_there(name):
    assert is_path(name) and not exists(name)


def test_reads_commands():
    text = ('Say `bmx summary\nMODEL --json`:\n\n    $ A=1 bmx plot x \\\n        --out y.png  # drawn\n\n'
            '```\nmake demo\n```\n')
    assert [arguments(line) for line in blocks(text)] == [None, ('plot', ['x', '--out', 'y.png'])]
    assert [arguments(span) for span in spans(text)] == [('summary', ['MODEL', '--json'])]
    assert resolves('bmx.nn.config') and not resolves('bmx.nn.configs')
