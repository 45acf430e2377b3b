"""Pages of detections beside their ground truth."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mrcnn.drawing import pages
from tests.drawing.rectangles import NAMES, make_instances


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
