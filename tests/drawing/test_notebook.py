"""What notebooks show besides instances; `tests/test_visualize.py` looks at the pictures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure

from mrcnn.drawing import notebook
from mrcnn.drawing.instances import Instances
from tests.drawing.rectangles import NAMES, make_instances


def instances(count: int, seed: int = 0) -> Instances:
    made = make_instances(count, seed=seed)
    return Instances(made["rois"], made["class_ids"], made["masks"], made["scores"])


def test_the_height_of_a_grid_follows_its_images() -> None:
    square, wide, tall = np.zeros((8, 8)), np.zeros((4, 8)), np.zeros((80, 8))
    height = notebook.grid_height([square] * 3, columns=2, width=10)
    assert height == 2 * (5 + notebook.TITLE_INCHES)
    assert notebook.grid_height([wide], 1, 10) == 5 + notebook.TITLE_INCHES
    assert notebook.grid_height([tall], 1, 10) == 15 + notebook.TITLE_INCHES  # limited
    assert notebook.grid_height([], 4, 10) == 1


def test_the_classes_that_cover_most_come_first() -> None:
    masks = np.zeros((6, 6, 3), bool)
    masks[:2, :2, 0] = masks[3:, 3:, 1] = masks[0, 5, 2] = True
    (first, picture), (second, _) = notebook.largest_classes(masks, np.array([1, 2, 1]), 2)
    assert (first, second) == (2, 1)
    np.testing.assert_array_equal(picture, np.where(masks[:, :, 1], 2, 0))
    assert len(notebook.largest_classes(masks, np.array([1, 2, 1]), 1)) == 1


def test_a_visibility_is_one_of_three() -> None:
    color = (1.0, 0.0, 0.0)
    faint, normal, bold = (notebook.box_style(visibility, color) for visibility in range(3))
    assert faint.is_faint and faint.color == notebook.GREY
    assert normal.color == bold.color == color and normal.width < bold.width
    with pytest.raises(ValueError, match="expected 0, 1 or 2 each; received 3"):
        notebook.box_style(3, color)


def test_differences_hold_the_truth_first_then_predictions_by_score() -> None:
    truth, predicted = instances(3), instances(4, seed=1)
    truth.boxes[1] = 0  # padding
    marked = notebook.mark_differences(truth, predicted, 0.5, 0.0)
    assert len(marked.boxes) == 2 + 4
    np.testing.assert_array_equal(marked.boxes[:2], truth.boxes[[0, 2]])
    assert marked.captions[:2] == ["", ""] and all(marked.captions[2:])
    assert np.all(np.diff(marked.scores[2:]) <= 0)
    assert marked.colors == [notebook.GROUND_TRUTH_COLOR] * 2 + [notebook.PREDICTION_COLOR] * 4


@pytest.mark.parametrize("missing", ["masks", "scores"])
def test_differences_need_masks_and_scores(missing: str) -> None:
    with pytest.raises(ValueError, match="expected masks of both sets and scores"):
        notebook.mark_differences(instances(2), replace(instances(2), **{missing: None}), 0.5, 0.5)


def test_a_negative_roi_has_no_name_and_no_mask() -> None:
    ax = Figure().add_subplot()
    boxes = np.array([[0, 0, 9, 9], [10, 10, 30, 30]])
    image, masks = np.full((40, 40, 3), 100, np.uint8), np.ones((2, 7, 7))
    names, colors = [None, NAMES[1]], [(1.0, 0.0, 0.0)] * 2
    notebook.draw_roi_refinement(ax, image, boxes, boxes + 1, masks, names, colors)
    assert [patch.get_edgecolor()[:3] for patch in ax.patches][0] == notebook.GREY
    assert len(ax.patches) == 3 and [text.get_text() for text in ax.texts] == ["square"]
    changed = np.any(ax.images[0].get_array() != 100, axis=2)
    assert changed[10:30, 10:30].all() and changed.sum() == 400
