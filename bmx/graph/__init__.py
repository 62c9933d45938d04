"""Graphs of networks, read and rewritten: layers are recognised by their operators and attributes, never by name."""
from .graph import Graph, Node, without_prefix
