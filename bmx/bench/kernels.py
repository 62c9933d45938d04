"""`bench kernels`: the product alone, without packing, and the bound of the instructions it is made of."""
from __future__ import annotations

import statistics
from typing import Any

from .. import ops
from ..io.text import table
from .shapes import SHAPES
from .timing import progress, row


def measure(isa: str | None, rounds: int) -> tuple[list[dict[str, Any]], str]:
    """Time every kernel that this CPU supports, or `isa` alone, on every shape, in so many rounds.

    Returns
    -------
    (list of dict, str)
        Rows with the fields gmacs (GMAC/s in the shortest run), bound_gmacs and share of that bound; the table.
    """
    names = ops.supported_kernels() if isa is None else (isa,)
    bounds = {name: [] for name in names}
    seconds = {(shape, name): [] for shape in SHAPES for name in names}
    for index in range(rounds):
        progress(f'round {index + 1} of {rounds}')
        for name in names:
            bounds[name].append(ops.measure_bound(name))
        for shape, name in seconds:
            seconds[shape, name].append(ops.measure_product(name, shape.size, shape.size, shape.channels, shape.filters,
                                                            (shape.kernel, shape.kernel)))
    rows = []
    for (shape, name), times in seconds.items():
        speed, bound = shape.macs / min(times), max(bounds[name])
        rows.append(row(str(shape), name, 1, times, isa=name, gmacs=speed / 1e9, bound_gmacs=bound / 1e9,
                        median_bound_gmacs=statistics.median(bounds[name]) / 1e9, share=speed / bound))
    lines = [[str(shape)] + [f'{entry["gmacs"]:.0f} ({100 * entry["share"]:.0f} %)'
                             for entry in rows if entry['name'] == str(shape)] for shape in SHAPES]
    lines.append(['bound'] + [f'{max(bounds[name]) / 1e9:.0f}' for name in names])
    return rows, table(['GMAC/s (share of bound)'] + list(names), lines)
