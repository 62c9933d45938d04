"""The rooms of this code, who may import whom, and the way of a network: as data, and drawn.

`python docs/architecture.py` writes docs/images/architecture.png; it reads the imports and needs Matplotlib alone.
"""
import ast
import dataclasses
import hashlib
import textwrap
from pathlib import Path
from typing import Tuple

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / 'docs' / 'images' / 'architecture.png'


@dataclasses.dataclass(frozen=True)
class Room:
    """A room: its files and folders, what is in it, which rooms it may import, and where its box is drawn.

    A place is (column, row), row 0 at the bottom; a room imports rooms of lower rows alone.
    """
    places: Tuple[str, ...]
    text: str
    imports: Tuple[str, ...]
    place: Tuple[float, int]


ROOMS = {
    'bmx': Room(('bmx/__init__.py', 'bmx/__main__.py', 'bmx/mxnet_import.py'), 'what import bmx gives',
                ('accounting', 'cli', 'deploy', 'io', 'models', 'nn', 'ops', 'optimizers', 'threads'), (4.2, 7)),
    'cli': Room(('bmx/cli',), 'a file for each command',
                ('accounting', 'bench', 'deploy', 'io', 'models', 'network', 'nn', 'ops', 'papers', 'plot', 'structure',
                 'threads', 'train'), (2.1, 6)),
    'bench': Room(('bmx/bench',), 'speed, measured',
                  ('accounting', 'deploy', 'graph', 'io', 'models', 'nn', 'ops', 'papers', 'train'), (0.9, 5)),
    'train': Room(('bmx/train',), 'data, loop, checkpoints, recipes, studies',
                  ('accounting', 'deploy', 'graph', 'io', 'network', 'nn'), (2.1, 4)),
    'plot': Room(('bmx/plot',), 'the picture of a network', ('io', 'structure'), (5.4, 4)),
    'papers': Room(('bmx/papers',), 'what papers print', ('accounting', 'io', 'nn'), (0, 3)),
    'deploy': Room(('bmx/deploy',), 'lower, fuse, write, verify', ('graph', 'io', 'ops'), (3.2, 3)),
    'network': Room(('bmx/network.py',), 'a network from options', ('accounting', 'io', 'models', 'nn'), (1.2, 3)),
    'structure': Room(('bmx/structure',), 'the blocks of a network', ('accounting', 'graph', 'ops'), (5.4, 3)),
    'accounting': Room(('bmx/accounting.py',), 'operations and size', ('graph', 'ops'), (4.3, 2)),
    'models': Room(('models',), 'the model zoo', ('nn',), (0.6, 2)),
    'io': Room(('bmx/io',), 'files, descriptions, images', ('nn',), (2.1, 2)),
    'graph': Room(('bmx/graph',), 'graphs, read and rewritten', ('ops',), (3.8, 1)),
    'nn': Room(('bmx/nn',), 'layers, quantizers, stems', ('ops',), (1.5, 1)),
    'ops': Room(('bmx/ops',), 'the C++ library, packing, programs', (), (2.6, 0)),
    'optimizers': Room(('bmx/optimizers.py',), 'RAdam', (), (5.4, 1)),
    'threads': Room(('bmx/threads.py',), 'how many MXNet takes', (), (5.4, 0)),
}

# The way of a network: the room, the file and what is called there, and what that does.
WAY = (
    ('cli', 'bmx/cli/train.py:run', 'options of a training'),
    ('train', 'bmx/train/plan.py:settle', 'recipe, settled'),
    ('models', 'models/registry.py:get_model', 'layers of nn'),
    ('train', 'bmx/train/loop.py:Training', 'X-best.params'),
    ('io', 'bmx/io/description.py:write_description', 'X-best.json'),
    ('deploy', 'bmx/deploy/tracing.py:trace', 'graph, parameters'),
    ('deploy', 'bmx/deploy/lower.py:lower', 'xnor_popcount, packed weights'),
    ('deploy', 'bmx/deploy/fuse.py:fuse', 'binary_subgraph: programs'),
    ('deploy', 'bmx/deploy/files.py:write', 'X-symbol.json, X-0000.params'),
    ('deploy', 'bmx/deploy/verification.py:verify', 'kept, if it computes the same'),
    ('deploy', 'bmx/deploy/files.py:load', 'a SymbolBlock of MXNet'),
    ('ops', 'bmx/ops/src/mxnet/op_binary_subgraph.cc:BinarySubgraph', 'the answer'),
)


def room_of(path):
    """The name of the room of a file, given by its path in the repository; None if it has none."""
    path = 'models' + path[len('bmx/models'):] if path.startswith('bmx/models') else path
    return next((name for name, room in ROOMS.items()
                 for place in room.places if path == place or path.startswith(place + '/')), None)


def sources():
    """Paths of the Python files that a room must have."""
    return sorted(str(path.relative_to(ROOT)) for folder in ('bmx', 'models') for path in (ROOT / folder).rglob('*.py'))


def imports(path):
    """What a file imports of this package: (line, path of what it imports, without an ending)."""
    package = path.rpartition('/')[0].split('/')
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            found = [alias.name.split('.') for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[:len(package) - node.level + 1] if node.level else []
            base += node.module.split('.') if node.module else []
            # of `from .. import x` x may be a module, else it is a name of the package
            found = [base + [alias.name] for alias in node.names] if len(base) == 1 else [base]
        else:
            continue
        for parts in found:
            if parts[0] in ('bmx', 'models') and len(parts) > 1:
                yield node.lineno, '/'.join(parts)


def edges():
    """Who imports whom: (room, room) to the places, 'file:line'."""
    found = {}
    for path in sources():
        for line, target in imports(path):
            name = room_of(target) or room_of(target + '.py')
            if name is not None and name != room_of(path):  # None: a name of bmx itself, as __version__ is
                found.setdefault((room_of(path), name), []).append(f'{path}:{line}')
    return found


def fingerprint():
    """What tells whether a picture is of these rooms."""
    return hashlib.sha256(repr((ROOMS, WAY, sorted(edges()))).encode()).hexdigest()


_WIDTH, _HEIGHT = 0.92, 0.5  # of a box, in columns and rows
_COLORS = {'cli': '#f2d0a9', 'train': '#f1e3a0', 'models': '#d5e8b8', 'nn': '#d5e8b8', 'io': '#c7dcf0',
           'deploy': '#dcc9ec', 'graph': '#dcc9ec', 'ops': '#f0c4c4'}


def _box(axes, x, y, name, text, width=_WIDTH, height=_HEIGHT, color='#eeeeee'):
    from matplotlib.patches import FancyBboxPatch

    axes.add_patch(FancyBboxPatch((x - width / 2, y - height / 2), width, height, boxstyle='round,pad=0.01',
                                  facecolor=color, edgecolor='#444444', linewidth=0.8, zorder=3))
    lines = textwrap.wrap(text, 24)
    axes.text(x, y + height * 0.22, name, ha='center', va='center', fontsize=9, weight='bold', zorder=4)
    axes.text(x, y - height * 0.17, '\n'.join(lines), ha='center', va='center', fontsize=6.5, zorder=4)


def draw(path):
    """Draw the rooms with the imports that there are, and below them the way of a network."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.5, 10), dpi=110)
    FigureCanvasAgg(figure)
    rooms, way = figure.subplots(2, 1, gridspec_kw={'height_ratios': (3.2, 1)})
    figure.subplots_adjust(0.01, 0.01, 0.99, 0.96, hspace=0.06)
    rooms.set_title('Rooms: an arrow is an import; bmx and cli, which import most of what is below, have grey ones',
                    fontsize=9)
    for name, room in ROOMS.items():
        _box(rooms, *room.place, name, room.text, color=_COLORS.get(name, '#eeeeee'))
    for importer, imported in edges():
        (x, y), (to_x, to_y) = ROOMS[importer].place, ROOMS[imported].place
        faint = importer in ('bmx', 'cli')
        lean = 0.3 * max(-1, min(1, to_x - x))  # where it leaves and arrives, beside the middle
        rooms.annotate('', (to_x - lean, to_y + _HEIGHT / 2), (x + lean, y - _HEIGHT / 2), zorder=1 if faint else 2,
                       arrowprops=dict(arrowstyle='-|>', lw=0.5 if faint else 1, shrinkA=0, shrinkB=0,
                                       color='#c8c8c8' if faint else '#555577'))
    rooms.set(xlim=(-0.6, 6), ylim=(-0.4, 7.4))
    way.set_title('The way of a network, from training to a deployed answer', fontsize=9)
    columns = 4
    for index, (name, place, result) in enumerate(WAY):
        x, y = index % columns, -(index // columns)
        called = place.rpartition(':')[2]
        _box(way, x, y, f'{index + 1}  {name}: {called}', '-> ' + result, 0.8, 0.6, _COLORS[name])
        if index + 1 < len(WAY):
            wraps = x == columns - 1
            way.annotate('', (0, y - 0.7) if wraps else (x + 0.6, y), (x, y - 0.3) if wraps else (x + 0.4, y),
                         arrowprops=dict(arrowstyle='-|>', color='#555577', lw=1, shrinkA=1, shrinkB=0))
    way.set(xlim=(-0.5, columns - 0.5), ylim=(-2.4, 0.4))
    for axes in (rooms, way):
        axes.axis('off')
    figure.savefig(path, metadata={'Description': fingerprint()})


if __name__ == '__main__':
    draw(PICTURE)
