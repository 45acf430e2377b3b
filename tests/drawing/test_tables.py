"""Tables of text and HTML."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from mrcnn.drawing import tables


def test_columns_of_text_are_aligned() -> None:
    assert tables.text_table([["NAME", "N"], ["a long name", 3], ["x"]]) == (
        "NAME         N\na long name  3\nx"
    )
    assert tables.text_table([]) == ""


def test_cells_of_html_may_hold_tags() -> None:
    table = tables.html_table([["<b>NAME</b>", 3]])
    assert table == "<table><tr><td><b>NAME</b></td><td>3</td></tr></table>"


@pytest.mark.parametrize(
    ("name", "values", "mark"),
    [
        ("kernel", np.array([[-1.0, 2.0]]), ""),
        ("bias", np.zeros(2), ""),  # may well be constant
        ("kernel", np.zeros((1, 2)), tables.DEAD_WEIGHT),
        ("kernel", np.array([[1.0, 2000.0]]), tables.OVERFLOW),
        ("kernel", np.array([[1.0, np.inf]]), tables.OVERFLOW),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value encountered")
def test_odd_weights_are_marked(name: str, values: np.ndarray, mark: str) -> None:
    weight = SimpleNamespace(path=f"conv/{name}", name=name)
    layer = SimpleNamespace(weights=[weight], get_weights=lambda: [values])
    header, row = tables.weight_table(SimpleNamespace(layers=[layer]))
    assert header[0] == "WEIGHT NAME" and len(row) == len(header)
    assert row[0] == f"conv/{name} {mark}".strip() and row[1] == str(values.shape)
