"""Images, masks and boxes as they are drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given as given_by
from hypothesis import settings
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mrcnn.drawing.instances import (
    Instances,
    InstanceStyle,
    class_name,
    distinct_colors,
    draw_instances,
    mask_outlines,
    to_rgb,
)
from tests.drawing.rectangles import NAMES, make_instances


def make_axes() -> Axes:
    figure = Figure(figsize=(4, 4), dpi=100)
    FigureCanvasAgg(figure)
    return figure.add_axes((0, 0, 1, 1))


def draw(
    instances: dict[str, np.ndarray],
    image: np.ndarray,
    captions: list[str] | None = None,
    **style: Any,
) -> Axes:
    ax = make_axes()
    draw_instances(
        ax,
        image,
        Instances(
            instances["rois"],
            instances["class_ids"],
            instances["masks"],
            instances["scores"],
            captions=captions,
        ),
        NAMES,
        InstanceStyle(**style),
    )
    return ax


class TestToRgb:
    @pytest.mark.parametrize(
        ("image", "expected"),
        [
            (np.full((2, 3), 7, np.uint8), (7, 7, 7)),
            (np.full((2, 3, 1), 0.2, np.float32), (51, 51, 51)),
            (np.full((2, 3, 3), 200.6), (201, 201, 201)),
            (np.full((2, 3, 3), [-5.0, 300.0, 9.0]), (0, 255, 9)),
            (np.full((2, 3, 4), [1, 2, 3, 4], np.uint8), (1, 2, 3)),
            (np.ones((2, 3), bool), (255, 255, 255)),
            (np.full((2, 3), 4000, np.uint16), (255, 255, 255)),
            (np.full((2, 3), 40, np.uint16), (40, 40, 40)),
            (np.full((2, 3), np.nan), (0, 0, 0)),
        ],
    )
    def test_values(self, image: np.ndarray, expected: tuple[int, int, int]) -> None:
        picture = to_rgb(image)
        assert picture.dtype == np.uint8
        np.testing.assert_array_equal(picture, np.broadcast_to(expected, (2, 3, 3)))

    def test_copies(self) -> None:
        image = np.zeros((2, 2, 3), np.uint8)
        to_rgb(image)[:] = 9
        assert not image.any()

    def test_rejects_other_shapes(self) -> None:
        with pytest.raises(ValueError, match=r"\(2, 2, 5\)"):
            to_rgb(np.zeros((2, 2, 5)))


class TestMaskOutlines:
    def test_runs_along_the_outer_edge_of_the_pixels(self) -> None:
        mask = np.zeros((8, 9), bool)
        mask[2:5, 3:7] = True
        (outline,) = mask_outlines(mask)
        assert outline.min(axis=0).tolist() == [2.5, 1.5]  # x, y
        assert outline.max(axis=0).tolist() == [6.5, 4.5]

    def test_is_closed_at_the_border_of_the_image(self) -> None:
        (outline,) = mask_outlines(np.ones((4, 6), bool))
        np.testing.assert_array_equal(outline[0], outline[-1])

    def test_parts_and_holes(self) -> None:
        mask = np.zeros((12, 12), bool)
        mask[1:6, 1:6] = True
        mask[3, 3] = False
        mask[9:11, 9:11] = True
        assert len(mask_outlines(mask)) == 3

    def test_empty(self) -> None:
        assert mask_outlines(np.zeros((4, 4), bool)) == []

    @settings(max_examples=20, deadline=None)
    @given_by(st.integers(0, 2**16))
    def test_lies_half_a_pixel_around_any_mask(self, seed: int) -> None:
        mask = np.random.default_rng(seed).random((7, 5)) < 0.3
        if not mask.any():
            return
        points = np.concatenate(mask_outlines(mask))
        rows, columns = np.nonzero(mask)
        assert points.min(axis=0).tolist() == [columns.min() - 0.5, rows.min() - 0.5]
        assert points.max(axis=0).tolist() == [columns.max() + 0.5, rows.max() + 0.5]


class TestDrawInstances:
    def test_colors_pixels_only_inside_masks(self) -> None:
        instances = make_instances(5)
        image = np.full((64, 64, 3), 100, np.uint8)
        (picture,) = draw(instances, image).get_images()
        changed = np.any(picture.get_array() != 100, axis=2)
        np.testing.assert_array_equal(changed, instances["masks"].any(axis=2))
        assert (image == 100).all()

    def test_captions_name_and_score(self) -> None:
        instances = make_instances(1)
        instances["scores"][:] = 0.875
        instances["class_ids"][:] = 2
        (text,) = draw(instances, np.zeros((64, 64, 3))).texts
        assert text.get_text() in ("disk 0.88", "disk 0.87")

    def test_many_instances_have_thin_lines_and_few_captions(self) -> None:
        few, many = (draw(make_instances(n), np.zeros((64, 64, 3))) for n in (3, 150))
        assert len(few.texts) == 3 and 0 < len(many.texts) <= 50
        # The classes stay; the scores give way.
        assert {text.get_text() for text in many.texts} <= set(NAMES)
        assert len(many.patches) == 150
        assert many.patches[0].get_linewidth() < few.patches[0].get_linewidth()

    def test_many_instances_of_one_class_are_captioned_by_their_scores(self) -> None:
        instances = make_instances(150)
        instances["class_ids"][:] = 1
        texts = [text.get_text() for text in draw(instances, np.zeros((64, 64, 3))).texts]
        surest = np.sort(instances["scores"])[::-1]
        assert texts and texts[0] == f"{surest[0]:.2f}"
        # Without scores nothing is left to say.
        instances["scores"] = None
        assert not draw(instances, np.zeros((64, 64, 3))).texts

    def test_skips_boxes_without_area(self) -> None:
        instances = make_instances(3)
        instances["rois"][1] = (5, 5, 5, 9)
        ax = draw(instances, np.zeros((64, 64, 3)))
        assert len(ax.patches) == len(ax.texts) == len(ax.collections) == 2

    @pytest.mark.parametrize(
        ("hidden", "artists"),
        [("show_mask", "collections"), ("show_bbox", "patches"), ("show_caption", "texts")],
    )
    def test_parts_can_be_hidden(self, hidden: str, artists: str) -> None:
        ax = draw(make_instances(2), np.zeros((64, 64, 3)), **{hidden: False})
        drawn = {name: len(getattr(ax, name)) for name in ("collections", "patches", "texts")}
        assert drawn.pop(artists) == 0
        assert set(drawn.values()) == {2}

    def test_colors_of_any_kind_and_masks_of_numbers(self) -> None:
        instances = make_instances(3)
        ax = make_axes()
        colors = ["red", "#0000ff", (0, 1, 0)]
        masks = instances["masks"].astype(np.float32)
        given = Instances(instances["rois"], instances["class_ids"], masks, colors=colors)
        draw_instances(ax, np.zeros((64, 64, 3)), given, NAMES)
        drawn = {patch.get_edgecolor()[:3] for patch in ax.patches}
        assert drawn == {(1, 0, 0), (0, 0, 1), (0, 1, 0)}
        assert given.masks is masks and given.colors is colors

    @pytest.mark.parametrize("key", ["class_ids", "scores", "rois"])
    def test_counts_must_agree(self, key: str) -> None:
        instances = make_instances(3)
        instances[key] = instances[key][:2]
        with pytest.raises(ValueError, match="counts must agree.*2 .*3|counts must agree.*3 .*2"):
            draw(instances, np.zeros((64, 64, 3)))

    def test_mask_of_another_size_is_an_error(self) -> None:
        with pytest.raises(ValueError, match=r"\(32, 64\).*\(64, 64\)"):
            draw(make_instances(1), np.zeros((32, 64, 3)))

    def test_names_crowds_and_unknown_classes(self) -> None:
        assert class_name(-1, NAMES) == "square (crowd)"
        assert class_name(9, NAMES) == "class 9"


def test_distinct_colors_differ() -> None:
    colors = np.array(distinct_colors(60))
    distances = np.linalg.norm(colors[:, None] - colors[None], axis=2) + 9 * np.eye(60)
    assert distances.min() > 0.02
    assert np.linalg.norm(np.diff(colors, axis=0), axis=1).min() > 0.5
