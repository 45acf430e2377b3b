"""Matterport's drawing functions."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrcnn import visualize
from mrcnn.data.images import read_image
from mrcnn.data.masks import minimize_mask
from mrcnn.drawing import notebook, tables

NAMES = ["BG", "square", "disk"]
RED, BLUE = (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)
IMAGE = np.full((40, 50, 3), 100, np.uint8)
BOXES = np.array([[2, 3, 20, 22], [15, 25, 35, 45]], np.int32)
CLASS_IDS = np.array([1, 2])
SCORES = np.array([0.9, 0.6], np.float32)
MASKS = np.zeros((40, 50, 2), bool)
for _i, (_y1, _x1, _y2, _x2) in enumerate(BOXES):
    MASKS[_y1:_y2, _x1:_x2, _i] = True
INSTANCES = (BOXES, MASKS, CLASS_IDS, NAMES)
NOTHING = (np.zeros((0, 4), np.int32), np.zeros((40, 50, 0), bool), np.zeros(0, int), NAMES)


@pytest.fixture(autouse=True)
def backend() -> Iterator[None]:
    """Draw with Agg, and close what a test leaves open; the user's backend comes back."""
    before = plt.get_backend()
    plt.switch_backend("agg")
    yield
    plt.close("all")
    plt.switch_backend(before)


@pytest.fixture(autouse=True)
def shows(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each call of plt.show()."""
    calls: list[int] = []
    monkeypatch.setattr(plt, "show", lambda *args, **kwargs: calls.append(1))
    return calls


def picture_of(ax: plt.Axes) -> np.ndarray:
    return np.asarray(ax.get_images()[0].get_array())


def captions_of(ax: plt.Axes) -> list[str]:
    return sorted(text.get_text() for text in ax.texts)


class TestRandomColors:
    @pytest.mark.parametrize("count", [0, 1, 7, 100])
    def test_are_distinct_rgb(self, count: int) -> None:
        colors = visualize.random_colors(count)
        assert len(set(colors)) == len(colors) == count
        assert all(len(color) == 3 and 0 <= min(color) <= max(color) <= 1 for color in colors)

    def test_bright_or_darker(self) -> None:
        assert np.allclose(np.max(visualize.random_colors(9), axis=1), 1)
        assert np.allclose(np.max(visualize.random_colors(9, bright=False), axis=1), 0.7)

    def test_follow_the_seed_of_random(self) -> None:
        random.seed(4)
        first = visualize.random_colors(20)
        random.seed(4)
        assert visualize.random_colors(20) == first
        assert visualize.random_colors(20) != first


class TestApplyMask:
    def test_changes_the_image_itself_and_only_in_the_mask(self) -> None:
        image, mask = IMAGE.copy(), MASKS[:, :, 0]
        assert visualize.apply_mask(image, mask, RED) is image
        assert (image[~mask] == 100).all()
        assert (image[mask] == [177, 50, 50]).all()

    @settings(max_examples=25, deadline=None)
    @given(
        st.sampled_from(["uint8", "uint32", "float32"]),
        st.floats(0, 1),
        st.integers(0, 2**16),
    )
    def test_is_a_weighted_mean(self, dtype: str, alpha: float, seed: int) -> None:
        rng = np.random.default_rng(seed)
        image = rng.integers(0, 256, (4, 5, 3)).astype(dtype)
        mask, color = rng.random((4, 5)) < 0.5, rng.random(3)
        expected = image.astype(float)
        for y, x, c in np.ndindex(4, 5, 3):
            if mask[y, x]:
                expected[y, x, c] = (1 - alpha) * image[y, x, c] + alpha * 255 * color[c]
        visualize.apply_mask(image, mask, color, alpha)
        assert image.dtype == dtype
        assert np.abs(image - expected).max() <= (1e-3 if dtype == "float32" else 1)

    def test_grey_and_rgba(self) -> None:
        grey, rgba = np.zeros((2, 2, 1), np.uint8), np.full((2, 2, 4), 200, np.uint8)
        full = np.ones((2, 2), np.uint8)
        assert (visualize.apply_mask(grey, full, RED, alpha=1) == 85).all()
        assert (visualize.apply_mask(rgba, full, RED, alpha=1) == [255, 0, 0, 200]).all()

    def test_flat_image(self) -> None:
        flat = np.zeros((2, 3), np.uint8)
        half = np.array([[1, 0, 0], [0, 0, 1]])
        assert visualize.apply_mask(flat, half, RED, alpha=1) is flat
        np.testing.assert_array_equal(flat, 85 * half)

    def test_mask_of_another_size(self) -> None:
        with pytest.raises(ValueError, match=r"\(40, 50\).*\(40, 49\)"):
            visualize.apply_mask(IMAGE.copy(), MASKS[:, :-1, 0], RED)


class TestDrawBox:
    def test_frame_of_two_pixels_inside_the_box(self) -> None:
        image = np.zeros((20, 20, 3), np.uint8)
        assert visualize.draw_box(image, np.array([3, 4, 15, 16]), [9, 8, 7]) is image
        expected = np.zeros((20, 20), bool)
        expected[3:15, 4:16] = True
        expected[5:13, 6:14] = False
        np.testing.assert_array_equal(image.any(axis=2), expected)
        assert (image[expected] == [9, 8, 7]).all()

    @pytest.mark.parametrize("box", [(-5, -5, 30, 30), (0, 0, 0, 0), (19, 19, 20, 20)])
    def test_at_the_border(self, box: tuple[int, ...]) -> None:
        image = visualize.draw_box(np.zeros((20, 20, 3), np.uint8), box, (1, 1, 1))
        inside = image[max(box[0], 0) : box[2], max(box[1], 0) : box[3]]
        assert inside.sum() == image.sum()
        assert image.any() == (inside.size > 0)


class TestDisplayInstances:
    def test_makes_and_shows_its_own_figure(self, shows: list[int]) -> None:
        ax = visualize.display_instances(IMAGE, *INSTANCES, SCORES, "a title", (5, 4))
        assert shows == [1]
        assert ax.get_title() == "a title"
        assert ax.figure.get_size_inches().tolist() == [5, 4]
        assert captions_of(ax) == ["disk 0.60", "square 0.90"]
        changed = np.any(picture_of(ax) != IMAGE, axis=2)
        np.testing.assert_array_equal(changed, MASKS.any(axis=2))

    def test_both_names_of_the_axes(self, shows: list[int]) -> None:
        figure, (first, second, third, fourth) = plt.subplots(1, 4)
        visualize.display_instances(IMAGE, *INSTANCES, ax=first)
        visualize.display_instances(IMAGE, *INSTANCES, figAx=second)
        visualize.display_instances(IMAGE, *INSTANCES, figAx=(figure, third))
        visualize.display_instances(IMAGE, *INSTANCES, None, "", (16, 16), fourth)
        assert [len(ax.patches) for ax in figure.axes] == [2, 2, 2, 2]
        assert plt.get_fignums() == [figure.number] and not shows

    def test_both_orders_of_positional_arguments(self) -> None:
        colors, captions = [RED, BLUE], ["one", "two"]
        head = (IMAGE, *INSTANCES, SCORES, "", (5, 5), None, True, True)
        axes = [
            visualize.display_instances(*head, True, colors, captions),
            visualize.display_instances(*head, colors, captions),
            visualize.display_instances(*head, colors=colors, captions=captions),
        ]
        for ax in axes:
            assert captions_of(ax) == captions
            # The artists lie large to small; the second box is the larger one.
            assert [patch.get_edgecolor()[:3] for patch in ax.patches] == [BLUE, RED]
        hidden = visualize.display_instances(*head, False, colors, captions)
        assert not hidden.texts and len(hidden.patches) == 2
        assert captions_of(visualize.display_instances(*head, None, captions)) == captions

    def test_no_instances(self, capsys: pytest.CaptureFixture[str]) -> None:
        ax = visualize.display_instances(IMAGE, *NOTHING, np.zeros(0))
        assert "*** No instances to display ***" in capsys.readouterr().out
        np.testing.assert_array_equal(picture_of(ax), IMAGE)

    @pytest.mark.parametrize(
        "image",
        [IMAGE[:, :, :1], IMAGE[:, :, 0], IMAGE / 255, np.dstack([IMAGE, IMAGE[:, :, :1]])],
        ids=["grey", "flat", "float", "rgba"],
    )
    def test_grey_float_and_rgba_look_like_their_rgb(self, image: np.ndarray) -> None:
        ax = visualize.display_instances(image, *INSTANCES, show_mask=False)
        np.testing.assert_array_equal(picture_of(ax), IMAGE)

    @pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float32])
    def test_masks_of_any_type(self, dtype: type) -> None:
        ax = visualize.display_instances(IMAGE, BOXES, MASKS.astype(dtype), CLASS_IDS, NAMES)
        changed = np.any(picture_of(ax) != IMAGE, axis=2)
        np.testing.assert_array_equal(changed, MASKS.any(axis=2))

    def test_mini_masks_fill_their_boxes(self) -> None:
        mini = minimize_mask(BOXES, MASKS, (14, 14))
        pictures = [
            picture_of(function(IMAGE, *arguments))
            for masks in (MASKS, mini)
            for function, arguments in (
                (visualize.display_instances, (BOXES, masks, CLASS_IDS, NAMES)),
                (visualize.draw_boxes, (BOXES, None, masks)),
            )
        ]
        for picture in pictures:
            changed = np.any(picture != IMAGE, axis=2)
            np.testing.assert_array_equal(changed, MASKS.any(axis=2))

    def test_empty_mask_of_a_box(self) -> None:
        ax = visualize.display_instances(IMAGE, BOXES, np.zeros_like(MASKS), CLASS_IDS, NAMES)
        np.testing.assert_array_equal(picture_of(ax), IMAGE)
        assert len(ax.patches) == 2

    @pytest.mark.parametrize(
        "names",
        [NAMES[:2], [*NAMES, "more", "names"], {0: "BG", 1: "square"}, np.array(NAMES)],
        ids=["shorter", "longer", "dict", "array"],
    )
    def test_class_names_of_any_kind(self, names: Any) -> None:
        ax = visualize.display_instances(IMAGE, BOXES, MASKS, CLASS_IDS, names)
        assert captions_of(ax) == ["disk" if len(names) > 2 else "class 2", "square"]

    def test_saved_picture_shows_the_image_and_its_instances(self, tmp_path: Path) -> None:
        ax = visualize.display_instances(IMAGE, *INSTANCES, figsize=(4, 3.9), colors=[RED, BLUE])
        ax.figure.savefig(tmp_path / "figure.png", dpi=50)
        pixels = read_image(tmp_path / "figure.png").reshape(-1, 3).tolist()
        for color in ([100, 100, 100], [177, 50, 50], [50, 50, 177]):
            assert pixels.count(color) > 100
        # No margins: most of the figure is the picture.
        assert pixels.count([255, 255, 255]) < 0.25 * len(pixels)

    def test_counts_must_agree(self) -> None:
        with pytest.raises(ValueError, match="2 boxes, 2 class_ids, 2 colors, 1 masks"):
            visualize.display_instances(IMAGE, BOXES, MASKS[:, :, :1], CLASS_IDS, NAMES)

    def test_leaves_its_arguments_alone(self) -> None:
        image = IMAGE.copy()
        visualize.display_instances(image, *INSTANCES)
        np.testing.assert_array_equal(image, IMAGE)


class TestDisplayDifferences:
    def test_captions_are_score_and_mask_iou(self, shows: list[int]) -> None:
        shifted = np.roll(MASKS, 1, axis=0)
        _, ax = plt.subplots()
        visualize.display_differences(
            IMAGE, BOXES, CLASS_IDS, MASKS, BOXES, CLASS_IDS, SCORES, shifted, NAMES, ax=ax
        )
        # A shift by one of 18 rows leaves 17 of 19 in common; of 20 rows, 19 of 21.
        assert captions_of(ax) == ["0.60 / 0.90", "0.90 / 0.89"]
        edges = [patch.get_edgecolor()[:3] for patch in ax.patches]
        assert edges.count(notebook.GROUND_TRUTH_COLOR) == 2
        assert edges.count(notebook.PREDICTION_COLOR) == 2
        assert not shows

    def test_mini_masks(self) -> None:
        shifted = np.roll(MASKS, 1, axis=0)
        moved = BOXES + [1, 0, 1, 0]
        truth = minimize_mask(BOXES, MASKS, (14, 14))
        for found in (shifted, minimize_mask(moved, shifted, (28, 28))):
            ax = visualize.display_differences(
                IMAGE, BOXES, CLASS_IDS, truth, moved, CLASS_IDS, SCORES, found, NAMES
            )
            assert captions_of(ax) == ["0.60 / 0.90", "0.90 / 0.89"]

    def test_any_order_equal_scores_and_padding(self) -> None:
        boxes = np.concatenate([BOXES[::-1], np.zeros((1, 4), np.int32)])
        masks = np.dstack([MASKS[:, :, ::-1], np.zeros((40, 50, 1), bool)])
        class_ids, scores = np.array([1, 2, 0]), np.array([0.8, 0.8, 0.0])
        ax = visualize.display_differences(
            IMAGE, BOXES[:1], CLASS_IDS[:1], MASKS[:, :, :1],
            boxes, class_ids, scores, masks, NAMES, show_mask=False,
        )  # fmt: skip
        assert len(ax.patches) == 3
        captions = {text.get_text(): text.get_position()[0] for text in ax.texts}
        assert set(captions) == {"0.80 / 0.00", "0.80 / 1.00"}
        assert captions["0.80 / 1.00"] < captions["0.80 / 0.00"]  # the true box is the left one

    def test_nothing_at_all(self, capsys: pytest.CaptureFixture[str]) -> None:
        none, masks = np.zeros(0, int), np.zeros((40, 50, 0), bool)
        boxes = np.zeros((0, 4), int)
        visualize.display_differences(
            IMAGE, boxes, none, masks, boxes, none, none, masks, NAMES, title="t"
        )
        assert "No instances" in capsys.readouterr().out

    def test_nothing_found(self) -> None:
        none, masks = np.zeros(0, int), np.zeros((40, 50, 0), bool)
        ax = visualize.display_differences(
            IMAGE, BOXES, CLASS_IDS, MASKS, np.zeros((0, 4), int), none, none, masks, NAMES
        )
        assert len(ax.patches) == 2 and not ax.texts


class TestDrawRois:
    def test_counts_and_draws(self, capsys: pytest.CaptureFixture[str]) -> None:
        rois = np.concatenate([BOXES, [[0, 0, 9, 9]]])
        ax = visualize.draw_rois(
            IMAGE, rois, rois + 1, np.ones((3, 28, 28)), np.array([1, 2, 0]), NAMES
        )
        printed = capsys.readouterr().out
        assert "Positive ROIs:  2" in printed and "Negative ROIs:  1" in printed
        assert "Positive Ratio: 0.67" in printed
        assert captions_of(ax) == ["disk", "square"]
        assert len(ax.patches) == 3 + 2  # each RoI, and the refined box of the positive
        changed = np.any(picture_of(ax) != 100, axis=2)
        np.testing.assert_array_equal(changed, MASKS.any(axis=2))

    def test_rois_that_leave_the_image(self) -> None:
        rois = np.array([[-5, -5, 20, 20], [30, 40, 60, 80]])
        ones = np.ones((2, 7, 7))
        ax = visualize.draw_rois(IMAGE, rois, rois, ones, CLASS_IDS, NAMES)
        changed = np.any(picture_of(ax) != 100, axis=2)
        assert changed[:20, :20].all() and changed[30:, 40:].all()
        assert changed.sum() == 20 * 20 + 10 * 10

    def test_limit_and_none(self) -> None:
        rois = np.repeat(BOXES, 10, axis=0)
        ids = np.zeros(20, int)
        ax = visualize.draw_rois(IMAGE, rois, rois, np.ones((20, 7, 7)), ids, NAMES, limit=4)
        assert len(ax.patches) == 4
        empty = visualize.draw_rois(IMAGE, rois[:0], rois[:0], np.ones((0, 7, 7)), ids[:0], NAMES)
        assert not empty.patches


class TestDrawBoxes:
    def test_boxes_refined_boxes_masks_and_captions(self, shows: list[int]) -> None:
        ax = visualize.draw_boxes(IMAGE, BOXES, BOXES + 1, MASKS, ["a", "b"], title="t")
        assert (len(ax.patches), len(ax.lines), captions_of(ax)) == (4, 4, ["a", "b"])
        assert ax.get_title() == "t" and shows == [1]
        changed = np.any(picture_of(ax) != 100, axis=2)
        np.testing.assert_array_equal(changed, MASKS.any(axis=2))

    def test_visibility(self) -> None:
        boxes = np.concatenate([BOXES, BOXES[:1]])
        ax = visualize.draw_boxes(IMAGE, boxes, visibilities=[0, 1, 2])
        faint, normal, bold = ax.patches
        assert faint.get_edgecolor()[:3] == notebook.GREY
        assert faint.get_alpha() < normal.get_alpha() <= bold.get_alpha()
        assert bold.get_linewidth() > normal.get_linewidth()

    def test_refined_boxes_alone_on_given_axes(self, shows: list[int]) -> None:
        _, ax = plt.subplots()
        assert visualize.draw_boxes(IMAGE, refined_boxes=BOXES, ax=ax) is ax
        assert len(ax.patches) == 2 and not shows

    def test_no_boxes_at_all(self) -> None:
        assert not visualize.draw_boxes(IMAGE, BOXES[:0]).patches
        with pytest.raises(ValueError, match="neither"):
            visualize.draw_boxes(IMAGE)


class TestDisplayImages:
    def test_grid(self, shows: list[int]) -> None:
        images = [IMAGE, IMAGE[:, :, :1], IMAGE / 255, IMAGE[:, :, 0].astype(float)]
        axes = visualize.display_images(images, list("abcd"), cols=3)
        assert [ax.get_title() for ax in axes] == list("abcd")
        for ax in axes[:3]:
            np.testing.assert_array_equal(picture_of(ax), IMAGE)
        assert picture_of(axes[3]).shape == (40, 50)
        assert axes[3].get_position().y1 < axes[0].get_position().y0 + 0.5
        assert shows == [1]

    def test_color_map(self) -> None:
        (ax,) = visualize.display_images([IMAGE[:, :, :1]], cmap="Blues", interpolation="none")
        assert ax.get_images()[0].get_cmap().name == "Blues"

    def test_none_and_missing_titles(self) -> None:
        assert len(visualize.display_images([])) == 0
        with pytest.raises(ValueError, match="2 images, 1 titles"):
            visualize.display_images([IMAGE, IMAGE], ["a"])


class TestDisplayTopMasks:
    def test_largest_classes_first(self) -> None:
        axes = visualize.display_top_masks(IMAGE, MASKS, CLASS_IDS, NAMES, limit=3)
        titles = [ax.get_title() for ax in axes]
        assert titles == ["H x W = 40 x 50", "disk", "square", "-"]
        np.testing.assert_array_equal(picture_of(axes[1]) > 0, MASKS[:, :, 1])
        assert not picture_of(axes[3]).any()

    def test_no_instances(self) -> None:
        axes = visualize.display_top_masks(IMAGE, MASKS[:, :, :0], CLASS_IDS[:0], NAMES)
        assert len(axes) == 5


def test_plot_precision_recall() -> None:
    recalls, precisions = np.array([0, 0.5, 1]), np.array([1, 0.8, 0])
    ax = visualize.plot_precision_recall(0.654, precisions, recalls)
    assert "0.654" in ax.get_title()
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), np.stack([recalls, precisions], 1))


class TestPlotOverlaps:
    def test_cells_say_match_or_wrong(self) -> None:
        overlaps = np.array([[0.9, 0.1, 0], [0.2, 0.7, 0]])
        ax = visualize.plot_overlaps(
            np.array([1, 2, 0]), np.array([1, 1]), SCORES, overlaps, NAMES, threshold=0.5
        )
        texts = [text.get_text() for text in ax.texts]
        assert texts == ["0.900\nmatch", "0.100", "0.200", "0.700\nwrong"]
        assert [label.get_text() for label in ax.get_xticklabels()] == ["square", "disk"]
        assert ax.get_yticklabels()[0].get_text() == "square (0.90)"

    def test_empty_and_large(self) -> None:
        none = np.zeros(0, int)
        assert not visualize.plot_overlaps(none, none, none, np.zeros((0, 0)), NAMES).texts
        ones = np.ones(60, int)
        ax = visualize.plot_overlaps(ones, ones, ones, np.eye(60), NAMES)
        assert not ax.texts and ax.get_images()


class TestTables:
    TABLE = [["NAME", "N"], ["a long name", 3]]

    def test_text_without_ipython(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setitem(sys.modules, "IPython", None)
        visualize.display_table(self.TABLE)
        assert capsys.readouterr().out == "NAME         N\na long name  3\n"

    @pytest.mark.parametrize("in_notebook", [True, False])
    def test_html_in_a_notebook_only(
        self,
        in_notebook: bool,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        shown: list[str] = []
        shell = SimpleNamespace(get_ipython=lambda: object() if in_notebook else None)
        display = SimpleNamespace(HTML=str, display=shown.append)
        with monkeypatch.context() as imported:  # matplotlib looks for IPython's shell afterwards
            imported.setitem(sys.modules, "IPython", shell)
            imported.setitem(sys.modules, "IPython.display", display)
            visualize.display_table(self.TABLE)
        assert bool(shown) == in_notebook
        assert bool(capsys.readouterr().out) != in_notebook
        if in_notebook:
            assert shown[0].startswith("<table><tr><td>NAME</td>")

    def test_weight_stats_of_a_network(self, tmp_path: Path, capsys: Any) -> None:
        from mrcnn.model import MaskRCNN
        from tests.tiny import tiny_config

        model = MaskRCNN("inference", tiny_config(), tmp_path)
        for network in (model, model.keras_model):
            visualize.display_weight_stats(network)
            lines = capsys.readouterr().out.splitlines()
            names = [line.split()[0] for line in lines]
            for name in ("conv1/kernel", "rpn_conv_shared/kernel", "mrcnn_mask/bias"):
                assert names.count(name) == 1
            assert not any(tables.OVERFLOW in line or tables.DEAD_WEIGHT in line for line in lines)

    def test_weight_stats(self, capsys: pytest.CaptureFixture[str]) -> None:
        arrays = {
            "conv/kernel": np.array([[-1.0, 2.0]]),
            "conv/bias": np.zeros(2),
            "dead/kernel": np.zeros((1, 2)),
            "wild/kernel": np.array([[1.0, 2000.0]]),
            "nan/kernel": np.array([[1.0, np.nan]]),
        }
        layer = SimpleNamespace(
            weights=[SimpleNamespace(path=path, name="kernel") for path in arrays],
            get_weights=lambda: list(arrays.values()),
        )
        for model in (
            SimpleNamespace(keras_model=SimpleNamespace(layers=[layer])),
            SimpleNamespace(layers=[layer]),
        ):
            visualize.display_weight_stats(model)
            header, kernel, bias, dead, wild, nan = capsys.readouterr().out.splitlines()
            assert header.split()[0] == "WEIGHT"
            assert kernel.split() == ["conv/kernel", "(1,", "2)", "-1.0000", "+2.0000", "+1.5000"]
            assert tables.DEAD_WEIGHT in dead and tables.DEAD_WEIGHT not in bias
            assert tables.OVERFLOW in wild and tables.OVERFLOW in nan
            assert tables.OVERFLOW not in kernel
