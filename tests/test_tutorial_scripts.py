"""Scripts as people write them for Matterport's package: they run, unchanged, from their folder.

The scripts know nothing of this package but the names and signatures of Matterport's.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from mrcnn.checkpoints import folders

REPOSITORY = Path(__file__).resolve().parent.parent
SCRIPTS = REPOSITORY / "tests" / "scripts"
FRUIT = {"apple": (10, 12, 50, 60), "pear": (55, 30, 90, 80)}  # y1, x1, y2, x2


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with images of fruit, one mask file an instance."""
    root = tmp_path_factory.mktemp("tutorial")
    random = np.random.default_rng(0)
    for subset, count in (("train", 3), ("val", 2)):
        for number in range(count):
            shape = (100, 150) if number % 2 else (128, 96)
            masks = root / "fruit" / subset / f"{number:03d}" / "masks"
            masks.mkdir(parents=True)
            image = random.integers(0, 80, (*shape, 3)).astype(np.uint8)
            for k, (name, (y1, x1, y2, x2)) in enumerate(FRUIT.items()):
                image[y1:y2, x1:x2] = 220, 40 * k, 100
                mask = np.zeros(shape, np.uint8)
                mask[y1:y2, x1:x2] = 255
                Image.fromarray(mask).save(masks / f"{name}_{k}.png")
            Image.fromarray(image).save(masks.parent / "image.png")
    return root


@pytest.fixture(scope="module")
def weights(folder: Path, fixtures: Path) -> Path:
    """Random weights that Matterport's code wrote, where scripts expect those of COCO."""
    path = folder / "mask_rcnn_coco.h5"
    path.symlink_to(fixtures / "A_weights.h5")
    return path


def run(script: str, folder: Path) -> str:
    """Run a script in a folder, without a screen. Returns what it prints."""
    environment = {**os.environ, "MPLBACKEND": "Agg", "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [sys.executable, str(SCRIPTS / script)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    assert "PredictCost" not in done.stderr  # TensorFlow's, a page for each graph
    return done.stdout


def test_every_script_is_run():
    text = Path(__file__).read_text(encoding="utf-8")
    for script in SCRIPTS.glob("*.py"):
        assert f'run("{script.name}"' in text


def test_scripts_use_nothing_but_matterports_modules():
    for script in SCRIPTS.glob("*.py"):
        modules = re.findall(r"mrcnn[.\w]*", script.read_text(encoding="utf-8"))
        doors = ("config", "model", "utils", "visualize")
        allowed = {"mrcnn", *(f"mrcnn.{name}" for name in doors)}
        used = {".".join(name.split(".")[:2]) for name in modules if not name.startswith("mrcnn_")}
        assert used <= allowed, script.name


def test_look_at_data(folder: Path):
    printed = run("look_at_data.py", folder)
    assert "Image Count: 3" in printed and "Batches:  2" in printed
    assert "Anchors:  (4092, 4)" in printed
    assert int(re.search(r"Positive ROIs:\s+(\d+)", printed).group(1)) > 0


def test_train_find_detect_and_evaluate(folder: Path, weights: Path):
    printed = run("fruit.py", folder)
    last = Path(folders.find_last(folder / "logs", "fruit"))
    assert last.name == "mask_rcnn_fruit_0002.h5" and f"{last}" in printed
    assert last.with_name("mask_rcnn_fruit_0001.h5").is_file()
    with h5py.File(folder / "logs" / "mask_rcnn_fruit.h5") as file:  # of keras_model.save_weights
        assert "rpn_model" in file.attrs["layer_names"].astype(str)
    assert 0 <= float(re.search(r"mAP:\s+(\S+)", printed).group(1)) <= 1
    assert Image.open(folder / "detections.png").size == (800, 800)


def test_a_data_set_that_draws_its_images(folder: Path, weights: Path):
    printed = run("shapes.py", folder)
    last = folders.find_last(folder / "logs", "shapes", "sobel")
    assert Path(last).name == "mask_rcnn_shapes_0001.h5"
    assert Path(last).parent.name.startswith("shapes_sobel_")
    assert re.search(r"Detected \d of 2", printed)
    assert "mrcnn_mask_edge_loss" in Path(last).with_name("losses.csv").read_text()


def test_old_habits(folder: Path, weights: Path):
    printed = run("old_habits.py", folder)
    (run_folder,) = (folder / "habits").iterdir()
    files = {path.name for path in run_folder.iterdir()}
    assert {"configuration.log", "mask_rcnn_habits_0001.h5", "config.json"} <= files
    assert "STEPS_PER_EPOCH                2" in (run_folder / "configuration.log").read_text()
    assert "(1, 8, 4)" in printed and "(1, 4092, 1)" in printed and "epoch 0 has" in printed
    assert 0 <= float(re.search(r"mAP (\S+)", printed).group(1)) <= 1
    assert re.search(r"mini masks +shape: \(56, 56, 2\)", printed)
    assert re.search(r"found \((\d+), 4\) of \(\1, 4\)", printed)
