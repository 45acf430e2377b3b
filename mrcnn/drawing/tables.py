"""Tables of text and HTML, such as that of a model's weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

DEAD_WEIGHT = "*** dead?"
OVERFLOW = "*** overflow?"
# A weight beyond this is suspicious in a network whose activations are normalized.
LARGE_WEIGHT = 1000


def weight_table(model: Any) -> list[list[str]]:
    """Name, shape, least, greatest value and standard deviation of every weight, under a header.

    Weights that look dead (a kernel of one value) or too large are marked.

    Args:
        model: a `MaskRCNN` or a Keras model.
    """
    table = [["WEIGHT NAME", "SHAPE", "MIN", "MAX", "STD"]]
    for layer in getattr(model, "keras_model", model).layers:
        for weight, values in zip(layer.weights, layer.get_weights(), strict=True):
            name = getattr(weight, "path", weight.name)
            low, high = values.min(), values.max()
            # A bias may well be constant; a kernel that is has learned nothing.
            if low == high and values.ndim > 1:
                name += f" {DEAD_WEIGHT}"
            if max(abs(low), abs(high)) > LARGE_WEIGHT or not np.isfinite(values).all():
                name += f" {OVERFLOW}"
            row = [name, str(tuple(values.shape)), f"{low:+9.4f}", f"{high:+10.4f}"]
            table.append([*row, f"{values.std():+9.4f}"])
    return table


def text_table(table: Sequence[Sequence[Any]]) -> str:
    """Rows of cells as lines of aligned columns."""
    cells = [[str(cell) for cell in row] for row in table]
    widths = [
        max(len(row[column]) for row in cells if column < len(row))
        for column in range(max(map(len, cells), default=0))
    ]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip()
        for row in cells
    )


def html_table(table: Sequence[Sequence[Any]]) -> str:
    """Rows of cells as an HTML table; cells may hold tags."""
    rows = ("".join(f"<td>{cell}</td>" for cell in row) for row in table)
    return "<table>" + "".join(f"<tr>{row}</tr>" for row in rows) + "</table>"
