"""Graphs of networks, read and rewritten: layers are recognised by their operators and attributes, never by name."""
from .graph import Entry, Graph, Node, Shapes, without_prefix
