"""Captions lie inside the picture and clear of each other."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mrcnn.drawing.captions import MAX_CAPTION_SHARE, MAX_CAPTIONS, Caption, draw_captions

RED = (1.0, 0.0, 0.0)


def write(*captions: tuple[str, tuple[int, int, int, int]], font_size: float = 7) -> Axes:
    """A picture of 64 x 64 pixels, 4 inches wide, with captions at boxes."""
    figure = Figure(figsize=(4, 4), dpi=100)
    FigureCanvasAgg(figure)
    ax = figure.add_axes((0, 0, 1, 1))
    ax.imshow(np.zeros((64, 64, 3)))
    draw_captions(ax, [Caption(text, np.array(box), RED) for text, box in captions], font_size)
    return ax


@pytest.mark.parametrize("corner", [(0, 0), (0, 52), (52, 0), (52, 52), (25, 60)])
def test_captions_stay_inside_the_picture(corner: tuple[int, int]) -> None:
    ax = write(("a long caption 0.99", (*corner, corner[0] + 4, corner[1] + 4)))
    ax.figure.canvas.draw()
    frame, label = ax.get_window_extent(), ax.texts[0].get_window_extent()
    assert frame.x0 <= label.x0 and label.x1 <= frame.x1
    assert frame.y0 <= label.y0 and label.y1 <= frame.y1


def test_captions_of_one_place_do_not_hide_each_other() -> None:
    ax = write(*[("square 0.99", (20, 20, 44, 44))] * 3, font_size=5)
    assert len({text.get_position()[1] for text in ax.texts}) == 3


def test_one_that_finds_no_place_is_left_out() -> None:
    ax = write(*[(f"square {i}", (20, 20, 44, 44)) for i in range(9)], font_size=5)
    assert 3 <= len(ax.texts) < 9
    assert ax.texts[0].get_text() == "square 0"  # the first choose first


def test_in_a_crowded_picture_the_first_are_written_and_short() -> None:
    figure = Figure(figsize=(4, 4), dpi=100)
    FigureCanvasAgg(figure)
    ax = figure.add_axes((0, 0, 1, 1))
    ax.imshow(np.zeros((64, 64, 3)))
    corners = [(y, x) for y in range(0, 64, 4) for x in range(0, 64, 4)]
    captions = [
        Caption(f"nucleus {i}", np.array((y, x, y + 4, x + 4)), RED, str(i))
        for i, (y, x) in enumerate(corners)
    ]
    written = draw_captions(ax, captions, 7)
    assert len(ax.texts) == written
    assert 10 < written <= MAX_CAPTIONS < len(captions)
    assert [text.get_text() for text in ax.texts[:2]] == ["0", "1"]
    extents = [text.get_window_extent() for text in ax.texts]
    area = sum(extent.width * extent.height for extent in extents)
    assert area < 1.1 * MAX_CAPTION_SHARE * 400**2


def test_a_caption_that_would_hide_the_picture_is_left_out() -> None:
    assert not write(("a caption as long as the picture is wide", (1, 1, 9, 9)), font_size=40).texts
    crowded = [Caption("a long text", np.array((1, 1, 9, 9)), RED, "")] * (MAX_CAPTIONS + 1)
    assert draw_captions(write(), crowded, 7) == 0


def test_an_empty_text_takes_no_place() -> None:
    assert [text.get_text() for text in write(("", (1, 1, 9, 9)), ("a", (1, 1, 9, 9))).texts] == [
        "a"
    ]


def test_a_dollar_is_no_formula() -> None:
    ax = write(("US$ or A$ \\x", (1, 1, 9, 9)))
    ax.figure.canvas.draw()
    assert not ax.texts[0].get_parse_math()
