"""Pages of detections beside their ground truth."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from mrcnn.drawing import pages
from tests.drawing.rectangles import NAMES, make_instances


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Figure]:
    """Draws the page of one image, or of several, and returns its figure."""
    saved: list[Figure] = []
    monkeypatch.setattr(pages, "save_figure", lambda figure, path: saved.append(figure) or path)

    def draw(truths: list[dict], found: list[dict], **options: Any) -> Figure:
        images = [np.zeros((64, 64, 3))] * len(truths)
        pages.detections_page(images, truths, found, NAMES, "page.png", **options)
        return saved[-1]

    return draw


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.texts]


class TestTextsOfAPage:
    def test_the_rules_are_said(self, page: Callable[..., Figure]) -> None:
        truth = make_instances(2)
        (rules,) = texts(page([truth], [truth], min_score=0.25))
        assert "score of 0.25 or more" in rules and "IoU of 0.5" in rules and "missed" in rules
        (rules,) = texts(page([truth], [truth]))
        assert "score of" not in rules

    @pytest.mark.parametrize("count", [1, 3])
    def test_names_of_any_length_fit(self, page: Callable[..., Figure], count: int) -> None:
        names = ["a.jpg", "$x_1$ " + "very long " * 40 + ".jpg", "b.png"][:count]
        names[0] = names[0] if count > 1 else names[0] * 99
        truths = [make_instances(2)] * count
        figure = page(truths, truths, titles=names, min_score=0.125)
        FigureCanvasAgg(figure).draw()
        rules, *drawn = figure.texts
        assert [text.get_text()[:4] for text in drawn] == [name[:4] for name in names]
        assert all(
            text.get_text().endswith(name[-4:]) for text, name in zip(drawn, names, strict=True)
        )
        extents = [text.get_window_extent() for text in figure.texts]
        extents += [ax.title.get_window_extent() for ax in figure.axes]
        extents += [ax.get_window_extent() for ax in figure.axes]
        for i, extent in enumerate(extents):
            assert extent.x1 <= figure.bbox.x1 and extent.y1 <= figure.bbox.y1
            # A little smaller: neighbors touch.
            assert not any(extent.shrunk(0.98, 0.9).overlaps(other) for other in extents[:i])

    def test_counts_and_what_was_found(self, page: Callable[..., Figure]) -> None:
        truth, found = make_instances(6), make_instances(6)
        found = {
            name: values[..., :4] if name == "masks" else values[:4]
            for name, values in found.items()
        }
        found["scores"] = np.array([0.9, 0.8, 0.7, 0.2])
        left, right = page([truth], [found], min_score=0.5).axes
        assert left.get_title() == "ground truth: 6, 3 found"
        assert right.get_title() == "detections: 3"
        assert len(right.patches) == len(right.collections) == 3

    def test_one_class_is_named(self, page: Callable[..., Figure]) -> None:
        truth = make_instances(3)
        truth["class_ids"][:] = 2
        left, right = page([truth], [make_instances(0)]).axes
        assert left.get_title() == "ground truth: 3 × disk, 0 found"
        assert right.get_title() == "detections: 0"

    def test_detections_below_the_score_are_told(self, page: Callable[..., Figure]) -> None:
        found = make_instances(3)
        found["scores"] = np.array([0.2, 0.31, 0.1])
        _, right = page([make_instances(0)], [found], min_score=0.5).axes
        assert right.get_title() == "detections: 0; 3 below the score, the best 0.31"

    def test_captions_that_do_not_fit_are_told(self, page: Callable[..., Figure]) -> None:
        many = make_instances(150)
        _, right = page([many], [many]).axes
        assert 0 < len(right.texts) < 150
        assert right.get_title() == f"detections: 150, {len(right.texts)} captioned"

    def test_a_picture_says_who_made_it(self, tmp_path: Path) -> None:
        instances, path = make_instances(1), tmp_path / "page.png"
        pages.detections_page([np.zeros((64, 64))], [instances], [instances], NAMES, path)
        with Image.open(path) as picture:
            assert picture.info["Software"] == "mrcnn"


class TestDetectionsPage:
    def test_size_follows_the_pictures(self, tmp_path: Path) -> None:
        images = [np.zeros((64, 64, 3)), np.zeros((64, 64, 1)), np.zeros((64, 64), np.uint8)]
        instances = [make_instances(n) for n in (3, 0, 2)]
        path = pages.detections_page(
            images, instances, instances, NAMES, tmp_path / "new" / "page.png"
        )
        with Image.open(path) as page:
            assert page.format == "PNG"
            width, height = np.array(page.size) / pages.DPI / pages.CELL_INCHES
        assert 4 < width < 4.4  # two pairs in a row
        assert 2 < height < 2.5  # two rows

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
