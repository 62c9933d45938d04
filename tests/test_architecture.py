"""Imports go only the ways that docs/architecture.py allows, and its picture shows them."""
import re
import runpy

import pytest
from PIL import Image

ARCHITECTURE = runpy.run_path('docs/architecture.py')
ROOMS, WAY = ARCHITECTURE['ROOMS'], ARCHITECTURE['WAY']


def test_every_file_has_a_room_and_every_room_files():
    rooms = {path: ARCHITECTURE['room_of'](path) for path in ARCHITECTURE['sources']()}
    assert [path for path, room in rooms.items() if room is None] == []
    assert set(rooms.values()) == set(ROOMS)


def test_imports_are_those_that_are_allowed():
    found = ARCHITECTURE['edges']()
    allowed = {(name, other) for name, room in ROOMS.items() for other in room.imports}
    assert {edge: places for edge, places in found.items() if edge not in allowed} == {}
    assert allowed - set(found) == set()  # what nobody needs is no longer allowed


def test_rooms_import_what_is_below_them():
    assert [(name, other) for name, room in ROOMS.items() for other in room.imports
            if ROOMS[other].place[1] >= room.place[1]] == []


@pytest.mark.parametrize('text, expected', [
    ('from ..graph import Graph', ['bmx/graph']), ('from .files import load', ['bmx/deploy/files']),
    ('from .. import ops, __version__', ['bmx/ops', 'bmx/__version__']), ('def f():\n    import bmx.nn', ['bmx/nn']),
    ('from bmx.models import MODELS', ['bmx/models']), ('import os, mxnet', [])])
def test_reads_imports(text, expected, tmp_path, monkeypatch):
    path = tmp_path / 'bmx' / 'deploy' / 'a.py'
    path.parent.mkdir(parents=True)
    path.write_text(text)
    monkeypatch.setitem(ARCHITECTURE['imports'].__globals__, 'ROOT', tmp_path)
    assert [target for _, target in ARCHITECTURE['imports']('bmx/deploy/a.py')] == expected


@pytest.mark.parametrize('room, place, _', WAY)
def test_the_way_leads_through_what_is_there(room, place, _):
    path, name = place.split(':')
    assert ARCHITECTURE['room_of'](path) == room
    content = (ARCHITECTURE['ROOT'] / path).read_text()
    assert re.search(rf'^(def|class|struct) {name}\b', content, re.M)


def test_the_picture_is_of_these_rooms():
    """Else: python docs/architecture.py."""
    with Image.open(ARCHITECTURE['PICTURE']) as picture:
        assert picture.info['Description'] == ARCHITECTURE['fingerprint']()
