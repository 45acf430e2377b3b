"""What README.md and the pages tell to run, run: their Python, and the commands of two pages.

docs/walkthrough.md has tests/test_walkthrough.py, the script of docs/matterport.md
tests/test_docs.py. All other commands are parsed (tests/docs/test_commands.py).
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import types
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import keras
import numpy as np
import pytest
from PIL import Image

from mrcnn import utils
from mrcnn.checkpoints.settings_file import save_settings
from mrcnn.commands import cli
from mrcnn.config import Config
from mrcnn.datasets.coco import CocoDataset
from mrcnn.datasets.shapes import write_shapes
from mrcnn.model import MaskRCNN
from mrcnn.runs.pretraining import BackboneClassifier
from tests.docs.blocks import REPOSITORY, Block, blocks, commands
from tests.tiny import tiny_config

SCRIPT = "class DiscsConfig"  # the one of docs/matterport.md
LOADED = re.compile(r'mrcnn\.load\("([^"]+)"\)')
NOT_HERE = {"pip", ".", "labelme", "python3"}  # what a page installs, or opens a window with


def python_blocks() -> list[Block]:
    return [
        block
        for block in blocks()
        if block.language == "python" and block.reason is None and SCRIPT not in block.code
    ]


def commands_of(page: str) -> list[list[str]]:
    code = [b.code for b in blocks() if b.page == page and b.language == "bash" and not b.reason]
    return [words for block in code for words in commands(block) if words[0] not in NOT_HERE]


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a network that has learned nothing, and is sure of everything."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    folder.mkdir()
    config = tiny_config()
    MaskRCNN("inference", config, folder).save_weights(folder / "mask_rcnn_tiny_0001.h5")
    save_settings(config, folder, {"class_names": ["BG", "fig", "date"]})
    return folder


@pytest.fixture
def names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the text around a block says that there is: files here, and these variables."""
    monkeypatch.chdir(tmp_path)
    image = np.random.default_rng(0).integers(0, 255, (60, 80, 3)).astype(np.uint8)
    Path("folder").mkdir()
    for place in ("photo.jpg", "folder/1.jpg", "folder/2.jpg"):
        Image.fromarray(image).save(place)
    write_shapes("shapes", 4, 2, image_size=(64, 64))
    # Trainings and exports are not carried out, but called with what the block gives them.
    monkeypatch.setattr(MaskRCNN, "export", create_autospec(MaskRCNN.export))
    monkeypatch.setattr(
        BackboneClassifier, "train_stages", create_autospec(BackboneClassifier.train_stages)
    )
    monkeypatch.setattr(
        utils, "download_trained_weights", create_autospec(utils.download_trained_weights)
    )
    supervision = types.SimpleNamespace(Detections=lambda **arrays: arrays)
    monkeypatch.setitem(sys.modules, "supervision", supervision)
    return {
        **{"Config": Config, "config": tiny_config(), "keras": keras},
        **{"image": image, "pictures": [image], "model": create_autospec(MaskRCNN, instance=True)},
        "train_set": CocoDataset.of("shapes", "train"),
        "val_set": CocoDataset.of("shapes", "val"),
    }


@pytest.mark.parametrize("block", python_blocks(), ids=str)
def test_the_python_of_a_page_runs(block: Block, names: dict[str, Any], run_folder: Path):
    for place in LOADED.findall(block.code):
        shutil.copytree(run_folder, place)
    if "predictions/" in block.code:
        assert cli.main(["predict", "folder", "--model", str(run_folder)]) == 0
    if "\nimport mrcnn\n" not in f"\n{block.code}":
        import mrcnn

        names["mrcnn"] = mrcnn
    exec(compile(block.code, str(block), "exec"), names)
    model = names["model"]
    called = [name for name in re.findall(r"\bmodel\.(\w+)\(", block.code)]
    if "mrcnn.load" not in block.code and "BackboneClassifier" not in block.code:
        assert all(getattr(model, name).called for name in called)


def test_the_command_of_contributing_can_be_added(names: dict[str, Any]):
    (code,) = (b.code for b in python_blocks() if b.page == "CONTRIBUTING.md")
    exec(compile(code, "CONTRIBUTING.md", "exec"), names)
    from mrcnn.commands.parser import Parser

    parser = Parser()
    names["add_options"](parser)
    assert parser.parse_args([]).backbone and names["HELP"] and callable(names["run"])


def run_page(page: str, shorter: dict[str, str]) -> None:
    """Run the commands of a page in this folder, some of their words in another form."""
    lines = [" ".join(words) for words in commands_of(page)]
    for long, short in shorter.items():
        assert sum(long in line for line in lines) == 1, long
        lines = [line.replace(long, short) for line in lines]
    for line in lines:
        program, *words = line.split()
        if program == "python":
            script = str(REPOSITORY / words[0])
            subprocess.run([sys.executable, script, *words[1:]], check=True)
            continue
        assert program == "mrcnn", line
        assert cli.main(words) == 0, line


@pytest.mark.slow  # what it does, the tests of the commands do with less
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="exports a SavedModel")
def test_start_in_five_minutes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mrcnn.commands.demo.TRAIN_IMAGES", 8)
    monkeypatch.setattr("mrcnn.commands.demo.VAL_IMAGES", 2)
    sure = "--set DETECTION_MIN_CONFIDENCE=0 DETECTION_MAX_INSTANCES=5"
    run_page(
        "docs/start.md",
        {
            "mrcnn demo": "mrcnn demo --steps 2",
            "--output found": f"--output found {sure}",
            "--output shapes_model": f"--output shapes_model {sure}",
        },
    )
    assert Path("demo_output/detections_val.png").is_file()
    assert len(list(Path("found/overlays").iterdir())) == 2
    assert Path("shapes_model/saved_model.pb").is_file()


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="exports to ONNX")
def test_your_own_data(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for package in ("onnx", "tf2onnx", "onnxruntime"):
        pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(shared / "data" / "fruits_nuts", "fruits_nuts")
    shutil.copytree("fruits_nuts/val", "others")
    small = "--steps 4 --steps-per-epoch 2 --image-size 64 --backbone resnet10"
    sure = "--set DETECTION_MIN_CONFIDENCE=0 DETECTION_MAX_INSTANCES=5"
    run_page(
        "docs/your_data.md",
        {
            "mrcnn train fruits_nuts": f"mrcnn train fruits_nuts {small}",
            "--score 0.59": "--score 0",
            "--output fruits.onnx": f"--output fruits.onnx {sure}",
        },
    )
    (folder,) = Path("logs").iterdir()
    assert (folder / "losses.png").is_file() and (folder / "analysis_val.png").is_file()
    assert len(list(Path("found/overlays").iterdir())) == 4
    assert Path("out.png").is_file()
