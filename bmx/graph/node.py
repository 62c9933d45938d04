"""The nodes of graphs."""
from __future__ import annotations

import ast
from typing import Any, Iterable, Mapping, Tuple

# An output of a node, by its index.
Entry = Tuple['Node', int]


class Node:
    """An operator or (op == 'null') a variable.

    Attributes
    ----------
    op, name : str
    attrs : dict of str to str
    inputs : list of (Node, int)
        Producer and index of its output.
    """

    def __init__(self, op: str, name: str, attrs: Mapping[str, str] | None = None,
                 inputs: Iterable[Entry] = ()) -> None:
        self.op, self.name, self.attrs, self.inputs = op, name, dict(attrs or {}), list(inputs)

    @property
    def is_variable(self) -> bool:
        return self.op == 'null'

    def input(self, index: int) -> Node:
        return self.inputs[index][0]

    def attr(self, key: str, default: Any = None) -> Any:
        """An attribute as a Python value: number, bool, tuple or string."""
        if key not in self.attrs:
            return default
        try:
            return ast.literal_eval(self.attrs[key])
        except (ValueError, SyntaxError, MemoryError, RecursionError):  # the latter two: nested too deeply
            return self.attrs[key]

    def __repr__(self) -> str:
        return f'{self.op}({self.name})'
