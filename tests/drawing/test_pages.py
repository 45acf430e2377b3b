"""The pictures of the package's own commands."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from mrcnn.drawing import instances as drawing_instances
from mrcnn.drawing import loss_curves, pages

NAMES = ["BG", "square", "disk"]


def make_instances(count: int, size: int = 64, seed: int = 0) -> dict[str, np.ndarray]:
    """`count` rectangles in an image of size x size, as `detect` returns instances."""
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, size - 12, (count, 2))
    boxes = np.concatenate([corners, corners + rng.integers(4, 12, (count, 2))], axis=1)
    masks = np.zeros((size, size, count), dtype=bool)
    for i, (y1, x1, y2, x2) in enumerate(boxes):
        masks[y1:y2, x1:x2, i] = True
    return {
        "rois": boxes.astype(np.int32),
        "class_ids": rng.integers(1, 3, count),
        "scores": rng.uniform(0.5, 1, count).astype(np.float32),
        "masks": masks,
    }


def make_axes() -> matplotlib.axes.Axes:
    figure = Figure(figsize=(4, 4), dpi=100)
    FigureCanvasAgg(figure)
    return figure.add_axes((0, 0, 1, 1))


def draw(instances: dict[str, np.ndarray], image: np.ndarray, **options) -> matplotlib.axes.Axes:
    ax = make_axes()
    drawing_instances.draw_instances(
        ax,
        image,
        instances["rois"],
        instances["masks"],
        instances["class_ids"],
        NAMES,
        instances["scores"],
        **options,
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
        picture = drawing_instances.to_rgb(image)
        assert picture.dtype == np.uint8
        np.testing.assert_array_equal(picture, np.broadcast_to(expected, (2, 3, 3)))

    def test_copies(self) -> None:
        image = np.zeros((2, 2, 3), np.uint8)
        drawing_instances.to_rgb(image)[:] = 9
        assert not image.any()

    def test_rejects_other_shapes(self) -> None:
        with pytest.raises(ValueError, match=r"\(2, 2, 5\)"):
            drawing_instances.to_rgb(np.zeros((2, 2, 5)))


class TestMaskOutlines:
    def test_runs_along_the_outer_edge_of_the_pixels(self) -> None:
        mask = np.zeros((8, 9), bool)
        mask[2:5, 3:7] = True
        (outline,) = drawing_instances.mask_outlines(mask)
        assert outline.min(axis=0).tolist() == [2.5, 1.5]  # x, y
        assert outline.max(axis=0).tolist() == [6.5, 4.5]

    def test_is_closed_at_the_border_of_the_image(self) -> None:
        (outline,) = drawing_instances.mask_outlines(np.ones((4, 6), bool))
        np.testing.assert_array_equal(outline[0], outline[-1])

    def test_parts_and_holes(self) -> None:
        mask = np.zeros((12, 12), bool)
        mask[1:6, 1:6] = True
        mask[3, 3] = False
        mask[9:11, 9:11] = True
        assert len(drawing_instances.mask_outlines(mask)) == 3

    def test_empty(self) -> None:
        assert drawing_instances.mask_outlines(np.zeros((4, 4), bool)) == []

    @settings(max_examples=20, deadline=None)
    @given(st.integers(0, 2**16))
    def test_lies_half_a_pixel_around_any_mask(self, seed: int) -> None:
        mask = np.random.default_rng(seed).random((7, 5)) < 0.3
        if not mask.any():
            return
        points = np.concatenate(drawing_instances.mask_outlines(mask))
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

    @pytest.mark.parametrize("corner", [(0, 0), (0, 52), (52, 0), (52, 52), (25, 60)])
    def test_captions_stay_inside_the_picture(self, corner: tuple[int, int]) -> None:
        instances = make_instances(1)
        instances["rois"][0] = (*corner, corner[0] + 4, corner[1] + 4)
        ax = draw(instances, np.zeros((64, 64, 3)), captions=["a long caption 0.99"])
        ax.figure.canvas.draw()
        frame, label = ax.get_window_extent(), ax.texts[0].get_window_extent()
        assert frame.x0 <= label.x0 and label.x1 <= frame.x1
        assert frame.y0 <= label.y0 and label.y1 <= frame.y1

    def test_captions_of_one_place_do_not_hide_each_other(self) -> None:
        instances = make_instances(3)
        instances["rois"][:] = (20, 20, 44, 44)
        ax = draw(instances, np.zeros((64, 64, 3)), font_size=5)
        assert len({text.get_position()[1] for text in ax.texts}) == 3

    def test_many_instances_have_thin_lines_and_no_captions(self) -> None:
        few, many = (draw(make_instances(n), np.zeros((64, 64, 3))) for n in (3, 150))
        assert len(few.texts) == 3 and not many.texts
        assert len(many.patches) == 150
        assert many.patches[0].get_linewidth() < few.patches[0].get_linewidth()

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
        assert drawing_instances.class_name(-1, NAMES) == "square (crowd)"
        assert drawing_instances.class_name(9, NAMES) == "class 9"


def test_distinct_colors_differ() -> None:
    colors = np.array(drawing_instances.distinct_colors(60))
    distances = np.linalg.norm(colors[:, None] - colors[None], axis=2) + 9 * np.eye(60)
    assert distances.min() > 0.02
    assert np.linalg.norm(np.diff(colors, axis=0), axis=1).min() > 0.5


class TestDetectionsPage:
    def test_size_follows_the_pictures(self, tmp_path: Path) -> None:
        images = [np.zeros((64, 64, 3)), np.zeros((64, 64, 1)), np.zeros((64, 64), np.uint8)]
        instances = [make_instances(n) for n in (3, 0, 2)]
        path = pages.detections_page(
            images, instances, instances, NAMES, tmp_path / "new" / "page.png", columns=2
        )
        with Image.open(path) as page:
            assert page.format == "PNG"
            width, height = np.array(page.size) / pages.DPI / pages.CELL_INCHES
        assert 4 < width < 4.4  # two pairs in a row
        assert 2 < height < 2.3  # two rows

    @pytest.mark.parametrize("shape", [(1, 1), (20, 300), (300, 20)])
    def test_any_image_size(self, tmp_path: Path, shape: tuple[int, int]) -> None:
        image = np.random.default_rng(0).integers(0, 255, (*shape, 3), np.uint8)
        instances = {
            "rois": np.array([[0, 0, *shape]]),
            "class_ids": np.array([1]),
            "masks": np.ones((*shape, 1), bool),
        }
        path = pages.detections_page([image], [instances], [instances], NAMES, tmp_path / "p")
        with Image.open(path) as page:
            pixels = np.asarray(page.convert("RGB"))
        assert pixels.shape[0] < 2 * pages.CELL_INCHES * pages.DPI
        assert pixels.std() > 0

    def test_ground_truth_lies_left_of_detections(self, tmp_path: Path) -> None:
        image, full = np.zeros((64, 64, 3)), make_instances(8)
        path = pages.detections_page([image], [full], [make_instances(0)], NAMES, tmp_path / "p")
        with Image.open(path) as page:
            saturation = np.ptp(np.asarray(page.convert("RGB")).astype(int), axis=2)
        left, right = np.array_split(saturation > 60, 2, axis=1)
        assert left.any() and not right.any()

    def test_boxes_alone(self, tmp_path: Path) -> None:
        instances = make_instances(2)
        del instances["masks"]
        image = np.zeros((64, 64, 3))
        path = pages.detections_page([image], [instances], [instances], NAMES, tmp_path / "p")
        assert path.stat().st_size > 0

    def test_a_found_object_keeps_its_color(self) -> None:
        truth = {"rois": [[0, 0, 10, 10], [20, 20, 40, 40]], "class_ids": [1, 2]}
        found = {
            "rois": [[20, 20, 40, 39], [0, 0, 10, 9], [50, 50, 60, 60]],
            "class_ids": [2, 2, 1],
        }
        truth, found = (
            {key: np.array(value) for key, value in instances.items()}
            for instances in (truth, found)
        )
        truth_colors, found_colors = pages._pair_colors(truth, found)
        assert found_colors[0] == truth_colors[1]
        assert not set(found_colors[1:]) & set(truth_colors)  # another class; no object there

    def test_counts_must_agree(self, tmp_path: Path) -> None:
        instances = make_instances(1)
        with pytest.raises(ValueError, match="1 images, 1 ground truths, 0 detections"):
            pages.detections_page([np.zeros((64, 64))], [instances], [], NAMES, tmp_path / "p")
        with pytest.raises(ValueError, match="0 images"):
            pages.detections_page([], [], [], NAMES, tmp_path / "p")

    def test_in_a_thread_and_without_pyplot(self, tmp_path: Path) -> None:
        instances, errors = make_instances(2), []

        def work(name: str) -> None:
            try:
                image = np.zeros((64, 64, 3))
                pages.detections_page([image], [instances], [instances], NAMES, tmp_path / name)
            except Exception as error:  # noqa: BLE001
                errors.append(error)

        threads = [threading.Thread(target=work, args=(f"{i}.png",)) for i in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not errors
        assert (tmp_path / "0.png").read_bytes() == (tmp_path / "1.png").read_bytes()


def test_importing_figures_leaves_pyplot_alone_and_the_package_leaves_figures_alone() -> None:
    code = (
        "import sys, mrcnn; assert 'matplotlib' not in sys.modules\n"
        "import mrcnn.drawing.pages; assert 'matplotlib.pyplot' not in sys.modules"
    )
    root = Path(pages.__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)


class TestPlotLosses:
    HISTORY = {
        "loss": [3.0, 2.0, 1.0],
        "val_loss": [3.5, 2.5, 1.5],
        "rpn_class_loss": [0.5, 0.01, 0.001],
        "learning_rate": [1.0, 1.0, 1.0],
    }

    @staticmethod
    def panels(monkeypatch: pytest.MonkeyPatch, *arguments, **options) -> list:
        """The axes that plot_losses saves."""
        saved = []
        monkeypatch.setattr(loss_curves, "_save", lambda figure, path: saved.append(figure) or path)
        loss_curves.plot_losses(*arguments, **options)
        return saved[0].axes

    def test_writes_a_png_of_two_panels(self, tmp_path: Path) -> None:
        path = loss_curves.plot_losses(self.HISTORY, tmp_path / "a" / "losses.png", stages=[2])
        with Image.open(path) as picture:
            width, height = np.array(loss_curves.PANEL_INCHES) * pages.DPI
            assert picture.size == (round(2 * width), round(height))

    def test_ignores_the_users_savefig_settings(self, tmp_path: Path) -> None:
        with matplotlib.rc_context({"savefig.bbox": "tight", "savefig.dpi": 30}):
            path = loss_curves.plot_losses({"loss": [1.0]}, tmp_path / "losses.png")
        with Image.open(path) as picture:
            assert picture.size == tuple(round(x * pages.DPI) for x in loss_curves.PANEL_INCHES)

    def test_total_first_then_components(self, monkeypatch: pytest.MonkeyPatch) -> None:
        history = {"b_loss": [1.0], "a_loss": [1.0], "loss": [2.0], "val_a_loss": [1.0]}
        axes = self.panels(monkeypatch, history, "x")
        assert [ax.get_title() for ax in axes] == ["loss (total)", "b_loss", "a_loss"]
        assert [len(ax.lines) for ax in axes] == [1, 1, 2]

    def test_log_scale_where_the_loss_spans_decades(self, monkeypatch: pytest.MonkeyPatch) -> None:
        axes = self.panels(monkeypatch, self.HISTORY, "x")
        assert [ax.get_yscale() for ax in axes] == ["linear", "log"]
        (ax,) = self.panels(monkeypatch, {"loss": [100.0, 0.0]}, "x")
        assert ax.get_yscale() == "linear"  # zero has no logarithm

    def test_csv_equals_dict(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        log = tmp_path / "log.csv"
        log.write_text("epoch,loss,val_loss\n1,3.0,NA\n2,2.0,2.5\n3,1.0,\n")
        history = {"loss": [3.0, 2.0, 1.0], "val_loss": [np.nan, 2.5, None]}
        for source in (log, str(log), history):
            (ax,) = self.panels(monkeypatch, source, "x")
            train, val = ax.lines
            assert train.get_xydata().tolist() == [[1, 3], [2, 2], [3, 1]]
            assert val.get_xydata().tolist() == [[2, 2.5]]

    def test_resumed_run_the_last_row_of_an_epoch_counts(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        log = tmp_path / "log.csv"
        log.write_text("epoch,loss\n0,3\n1,2\n2,9\n1,2.5\n2,1\n")
        (ax,) = self.panels(monkeypatch, log, "x")
        assert ax.lines[0].get_xydata().tolist() == [[0, 3], [1, 2.5], [2, 1]]

    def test_epochs_of_keras_are_counted_as_weights_files_are(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        log = tmp_path / "log.csv"
        log.write_text("epoch,loss\n0,3\n1,2\n")
        (ax,) = self.panels(monkeypatch, log, "x", stages=[1, 2], epoch_offset=1)
        assert [line.get_xdata()[0] for line in ax.lines[1:]] == [1, 2]
        assert ax.lines[0].get_xdata().tolist() == [1, 2]

    def test_loss_without_a_finite_value(self, tmp_path: Path) -> None:
        assert loss_curves.plot_losses({"loss": [np.nan, np.inf]}, tmp_path / "x.png").exists()

    @pytest.mark.parametrize("history", [{}, {"loss": []}, {"acc": [1.0]}, {"epoch": [1]}])
    def test_nothing_to_draw(self, history: dict, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="at least one epoch"):
            loss_curves.plot_losses(history, tmp_path / "x.png")

    def test_columns_of_different_lengths(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="'val_loss' has 1 values"):
            loss_curves.plot_losses({"loss": [1.0, 2.0], "val_loss": [1.0]}, tmp_path / "x.png")

    def test_missing_log(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            loss_curves.plot_losses(tmp_path / "none.csv", tmp_path / "x.png")
