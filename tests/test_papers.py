"""Tables of papers: each printed number is what is counted, or a note says why not."""
import csv
import json
import os
import re
from unittest import mock

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from bmx import get_model, summary
from bmx.cli import main
from bmx.papers import PAPERS, accuracies, compact, picture, tables

MODELS_PAGE = os.path.join(os.path.dirname(__file__), os.pardir, 'docs', 'models.md')


@pytest.fixture(scope='module')
def filled():
    return {name: tables.fill(paper) for name, paper in PAPERS.items()}


def cells_of(filled):
    return [cell for rows in filled.values() for cells in rows for cell in cells if cell is not None]


@pytest.mark.parametrize('printed, counted, mark', [
    ('1.35', 1.3549, 'equal'), ('1.35', 1.3451, 'equal'), ('1.35', 1.3588, 'cut'), ('1.35', 1.3401, 'differs'),
    ('1.35', 1.36, 'differs'), ('10', 9.86, 'equal'), ('17', 16.14, 'differs'), ('~5.1', 5.228, 'about'),
    ('~5.1', 5.36, 'differs'), ('~5.1', 5.1, 'equal'), ('5.1', 5.228, 'differs'), ('1/2,3/4', '1/2,3/4', 'equal'),
    ('1/2,3/4', '1/2,3/5', 'differs')])
def test_compare(printed, counted, mark):
    assert tables.compare(printed, counted) == mark


@pytest.mark.parametrize('name', PAPERS)
def test_each_number_is_counted_alike_or_explained_and_each_explanation_is_needed(name, filled):
    for cell in cells_of(filled[name]):
        assert (cell.mark == 'differs') == (cell.note is not None), cell


@pytest.mark.parametrize('network, size, printed', [
    ('nin_binary', compact.NIN, 28.95), ('alexnet_binary', compact.ALEXNET, 232.52)])
def test_float_base_models(network, size, printed):
    counted = summary(get_model(network, bits=32, activation='relu', scale=False), (1, 3, 224, 224))
    weights = sum(layer['params_float'] for layer in counted.layers if layer['op'] != 'BatchNorm')
    assert weights * 4 / 2 ** 20 == size == pytest.approx(printed, abs=0.005)


@pytest.mark.parametrize('name', PAPERS)
def test_the_data_fit_the_columns(name):
    for table in PAPERS[name].tables:
        heads = {column.head for column in table.columns}
        for row in table.rows:
            assert len(row.printed.split()) == len(table.columns) - 1, (table.title, row.name)
            assert set(row.notes) | set(row.quantities) <= heads, (table.title, row.name)
            assert row.point is None or row.point[0] in PAPERS[name].series
    assert len({table.title for table in PAPERS[name].tables}) == len(PAPERS[name].tables)


def test_what_a_paper_prints_twice_it_prints_alike_but_for_what_is_known():
    """Wrongly typed numbers: rows of a name, in tables that count the same, with other numbers."""
    seen, contradictions = {}, set()
    for table in PAPERS['meliusnet'].tables:
        for row in table.rows:
            for column, printed in zip(table.columns[1:], row.printed.split()):
                if (column.head in ('OPs 1e8', 'top-1 %') and row.network and not row.layers
                        and table.title.startswith('Table')):
                    key = column.head, row.network, repr(row.settings or {'stem': 'grouped'})
                    seen.setdefault(key, set()).add(printed)
    contradictions = {key[:2]: printed for key, printed in seen.items() if len(printed) > 1}
    assert contradictions == {
        ('OPs 1e8', 'meliusnet59'): {'5.25', '5.32'},
        ('OPs 1e8', 'birealnet18'): {'1.63', '1.82'},            # "Strong Baseline"
        ('top-1 %', 'birealnet18'): {'56.4', '60.9'},
        ('top-1 %', 'resnete18'): {'58.1', '60.0'},              # trained otherwise
        ('top-1 %', 'birealnet34'): {'62.2', '63.3'},
        ('top-1 %', 'binarydensenet28'): {'60.7', '61.7'},
        ('top-1 %', 'binarydensenet37'): {'62.5', '63.3'}}


class KeptFigure(Figure):
    """A figure that is found in `made`."""
    made = []

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.made.append(self)


@pytest.fixture(scope='module')
def written(filled, tmp_path_factory):
    """For each paper the folder where the command wrote all its files, and the figure."""
    found = {}
    for name in PAPERS:
        folder = tmp_path_factory.mktemp(name)
        files = [f'--{name.partition(".")[0]}={folder / name}' for name in ('json', 'csv', 'picture.png')]
        with mock.patch.multiple(tables, fill=lambda paper: filled[name]), \
                mock.patch.multiple(picture, Figure=KeptFigure):
            assert main(['paper', name] + files) == 0
        found[name] = folder, KeptFigure.made[-1]
    return found


@pytest.mark.parametrize('name', PAPERS)
def test_files(name, written):
    folder, _ = written[name]
    rows = json.loads((folder / 'json').read_text())
    with open(str(folder / 'csv'), newline='') as stream:
        lines = list(csv.DictReader(stream))
    assert [(line['table'], line['row'], line['column'], line['printed'], line['mark']) for line in lines] \
        == [(row['table'], row['row'], row['column'], row['printed'], row['mark'] or '') for row in rows]
    assert all((row['counted'] is None) == (row['mark'] is None) == (row['network'] is None) for row in rows)
    assert Image.open(str(folder / 'picture.png')).size[0] > 1000


def test_meliusnet_json(written):
    rows = json.loads((written['meliusnet'][0] / 'json').read_text())
    found = [row for row in rows if (row['row'], row['column']) == ('MeliusNet59', 'OPs 1e8')]
    assert [row['mark'] for row in found] == ['differs', 'equal']
    assert [row['counted'] for row in found] == pytest.approx([5.3195, 5.3195], abs=1e-4)
    stems = {row['settings'] for row in rows if row['table'].startswith('Table 2') and row['mark']}
    assert stems == {'stem=imagenet', 'stem=grouped'}


@pytest.mark.parametrize('name', PAPERS)
def test_text(name, filled):
    found = tables.text(PAPERS[name], filled[name])
    assert max(map(len, found.splitlines())) <= 120
    for table in PAPERS[name].tables:
        block = next(block for block in found.split('\n\n') if block.startswith(table.title + '\n'))
        marks = set(map(int, re.findall(r'  \[(\d+)\]', block)))
        assert marks == set(map(int, re.findall(r'^\[(\d+)\]', block, re.M)))
        assert all(any(line.startswith(row.name) for line in block.splitlines()) for row in table.rows)
    assert '\nMeliusNet22      4.62  4.6242  =       1.35  1.3588  cut ' in tables.text(
        PAPERS['meliusnet'], filled['meliusnet'])


def test_a_difference_without_a_note_is_marked(filled):
    row = tables.Row('MeliusNet22', '9.99', 'meliusnet22')
    paper = tables.Paper('A paper', (tables.Table('Table', (tables.Column('network'), tables.Column(
        'MiB', lambda counted: counted.size_mib)), (row,)),), 'top-1 %', (), {})
    assert '\nMeliusNet22  9.99  3.8772  !\n' in tables.text(paper, tables.fill(paper))


@pytest.mark.parametrize('name', PAPERS)
def test_each_point_of_the_picture_has_a_label_that_covers_no_other(name, written):
    _, figure = written[name]
    renderer = figure.canvas.get_renderer()
    for axes in figure.axes:
        labels = [Text.get_window_extent(text, renderer) for text in axes.texts]
        assert len(labels) == sum(len(line.get_xdata()) for line in axes.get_lines()) >= 10
        assert not [1 for index, label in enumerate(labels) for other in labels[:index] if label.overlaps(other)]


def test_the_page_of_models_prints_what_is_counted(filled):
    """The table of docs/models.md: `model`, then OPs and MiB as ours (the paper's), then the paper's top-1."""
    with open(MODELS_PAGE) as stream:
        content = stream.read()
    marks = [cell.mark for cell in cells_of(filled['meliusnet']) if cell.mark not in (None, 'added')]
    sentence = r'(\d+)\sof\s(\d+)\sare\sthe\sprinted\sdigits,\srounded\sor\scut,\s(\d+)\swithin\s5\s%.*?(\d+)\sdiffer'
    told = tuple(map(int, re.search(sentence, content, re.S).groups()))
    assert told == (marks.count('equal') + marks.count('cut'), len(marks), marks.count('about'),
                    marks.count('differs'))
    lines = re.findall(r'^\| `(\w+)` \| (\S+) \((.+?)\) \| (\S+) \((.+?)\) \| (\S+) % \|$', content, re.M)
    assert len(lines) > 10
    for network, ops, printed_ops, size, printed_size, top1 in lines:
        rows = [cells for table in filled['meliusnet'].values() for cells in table
                if cells[0] and cells[0].row.network == network and cells[0].row.settings.get('stem') != 'imagenet']
        values = {}
        for cell in [cell for cells in rows for cell in cells if cell is not None]:
            values.setdefault(cell.column, []).append((cell.printed, cell.counted))
        assert (printed_ops.split(';')[0], float(ops)) in [
            (printed, round(counted, 4)) for printed, counted in values['OPs 1e8']], network
        assert (printed_size, float(size)) in [(printed, round(counted, 2)) for printed, counted in values['size MB']]
        assert top1 in [printed for printed, _ in values['top-1 %']]


@pytest.mark.parametrize('arguments, message', [
    (['--json', '{}'], '{} is a folder'),
    (['--csv', '{}/none/rows.csv'], 'the folder of {}/none/rows.csv does not exist'),
    (['--picture', '{}/none/a.png'], 'the folder of {}/none/a.png does not exist'),
    (['--picture', '{}/a.jpg'], '{}/a.jpg: the name of a picture ends in .png, .svg, .pdf')])
def test_files_that_cannot_be_written(arguments, message, tmp_path, capsys):
    assert main(['paper', 'meliusnet'] + [argument.replace('{}', str(tmp_path)) for argument in arguments]) == 1
    out, error = capsys.readouterr()
    assert error == f'bmx paper: {message.replace("{}", str(tmp_path))}\n' and out == ''


def test_unknown_paper(capsys):
    with pytest.raises(SystemExit):
        main(['paper', 'alexnet'])
    assert 'meliusnet' in capsys.readouterr().err


@pytest.mark.parametrize('name, top1, settings, source', [
    ('meliusnet22', 63.6, {}, 'MeliusNet .*, Table 1$'), ('birealnet34', 63.7, {}, 'MeliusNet .*, Table 2$'),
    ('mobinet_mid', 53.47, {}, 'MoBiNet .*, Table 3$'), ('nin_binary', 39.3, {}, 'Tang'),
    ('alexnet_binary', 46.6, {'binarizations': 2}, 'Tang.*, Table 6$'), ('mobilenet1.0', 70.6, {}, 'MeliusNet'),
    ('mobilenet0.25', 50.6, {}, 'MobileNets'), ('mobilenetv3_large', 75.2, {}, 'MobileNetV3')])
def test_published_accuracies(name, top1, settings, source):
    found = accuracies.published(name)
    assert (found.top1, found.settings) == (top1, settings) and re.search(source, found.source)


@pytest.mark.parametrize('name', ['meliusnet_naive', 'meliusnet_float', 'nothing'])
def test_no_published_accuracy(name):
    assert accuracies.published(name) is None


def test_no_accuracy_is_there_twice():
    others = [name for names in accuracies.OTHERS.values() for name in names]
    printed = {row.network for paper in PAPERS.values() for table in paper.tables for row in table.rows}
    assert len(others) == len(set(others)) and not printed & set(others)


@pytest.mark.parametrize('name', ['meliusnet22', 'binarydensenet28', 'resnete18', 'birealnet34', 'mobinet_mid'])
def test_what_accuracies_take_for_defaults_is(name):
    """Of all keywords that tables give for the network."""
    given = {key for paper in PAPERS.values() for table in paper.tables for row in table.rows if row.network == name
             for key in row.settings}
    default = summary(get_model(name), (1, 3, 64, 64))
    for key in given & set(accuracies.DEFAULTS):
        found = summary(get_model(name, **{key: accuracies.DEFAULTS[key]}), (1, 3, 64, 64))
        assert [found.ops, found.size_mib] == [default.ops, default.size_mib]
