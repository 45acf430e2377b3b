"""The same images through several networks, side by side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mrcnn.drawing import comparison, pages
from tests.drawing.rectangles import NAMES, make_instances


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Figure]:
    """Draws a comparison, and returns its figure."""
    saved: list[Figure] = []
    monkeypatch.setattr(pages, "save_figure", lambda figure, path: saved.append(figure) or path)

    def draw(truths: list[dict], found: dict[str, list[dict]], **options: Any) -> Figure:
        images = [np.zeros((64, 64, 3)) for _ in range(len(truths))]
        titles = [f"{n}.jpg" for n in range(len(truths))]
        comparison.comparison_page(images, truths, found, NAMES, "page.png", titles, **options)
        return saved[-1]

    return draw


def titles(figure: Figure) -> list[str]:
    return [ax.get_title() for ax in figure.axes]


def test_every_network_has_its_counts(page: Callable[..., Figure]) -> None:
    truth, nothing = make_instances(3), make_instances(0)
    figure = page([truth, truth], {"baseline": [truth, nothing], "sobel": [truth, truth]})
    assert titles(figure) == [
        "ground truth\n3 objects",
        "baseline\n3 of 3 found, 0 false or double",
        "sobel\n3 of 3 found, 0 false or double",
        "ground truth\n3 objects",
        "baseline\n0 of 3 found, 0 false or double",
        "sobel\n3 of 3 found, 0 false or double",
    ]
    rules, *names = (text.get_text() for text in figure.texts)
    assert names == ["0.jpg", "1.jpg"] and "IoU of 0.5" in rules and "score" not in rules


def test_an_object_has_one_color_in_the_whole_row(page: Callable[..., Figure]) -> None:
    """Whatever a network found beside it."""
    truth, others = make_instances(2), make_instances(5, seed=1)
    both = {
        name: np.concatenate([truth[name], others[name]], axis=-1 if name == "masks" else 0)
        for name in truth
    }
    shown = comparison._shown(truth, {"few": truth, "many": both}, 0.0)
    colors = [list(one.found.colors) for one in shown.values()]
    assert colors[0] == colors[1][:2] == list(shown["few"].truth.colors)
    assert list(shown["many"].truth.colors) == list(shown["few"].truth.colors)
    assert len({tuple(color) for color in colors[1]}) == 7


def test_nothing_overlaps(page: Callable[..., Figure]) -> None:
    truth = make_instances(3)
    figure = page([truth] * 2, {name: [truth] * 2 for name in "abc"}, min_score=0.5)
    FigureCanvasAgg(figure).draw()
    assert "score of 0.5 or more" in figure.texts[0].get_text()
    boxes = [text.get_window_extent() for text in figure.texts]
    boxes += [ax.title.get_window_extent() for ax in figure.axes]
    boxes += [ax.get_window_extent() for ax in figure.axes]
    width, height = figure.get_size_inches() * figure.dpi
    for i, box in enumerate(boxes):
        assert 0 <= box.x0 and box.x1 <= width and 0 <= box.y0 and box.y1 <= height
        assert not any(box.overlaps(other) for other in boxes[i + 1 :])


def test_what_does_not_fit_together_is_refused(page: Callable[..., Figure]) -> None:
    truth = make_instances(1)
    for truths, found in (([], {"a": []}), ([truth], {}), ([truth], {"a": [truth, truth]})):
        with pytest.raises(ValueError, match="at least one image and one network"):
            page(truths, found)
