"""The commands of docs/walkthrough.md, in their order, with less data and fewer steps."""

from __future__ import annotations

import glob
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import pytest

from mrcnn.commands import cli
from mrcnn.datasets.shapes import CLASS_NAMES

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="export takes graphs from TensorFlow"
)
REPOSITORY = Path(__file__).resolve().parent.parent
PAGE = (REPOSITORY / "docs" / "walkthrough.md").read_text(encoding="utf-8")
SHORTER = {
    "'shapes', 240, 40": "'shapes', 12, 4",
    "'drawn', 0, 24, seed=1": "'drawn', 0, 5, seed=1, image_size=(64, 64)",
    "--steps 900": "--steps 4 --steps-per-epoch 1 --image-size 64 --set TOP_DOWN_PYRAMID_SIZE=16",
    "--steps 60": "--steps 2 --image-size 64 --set TOP_DOWN_PYRAMID_SIZE=16",
    # After four steps nothing is sure.
    "--save overlays labelme": "--save overlays labelme --score 0 --max-detections 5",
    "--images photos": "--images photos --set DETECTION_MIN_CONFIDENCE=0 "
    "DETECTION_MAX_INSTANCES=10",
}


def commands(section: str) -> list[list[str]]:
    """The words of each command of a section of the page."""
    text = PAGE.split(f"\n## {section}\n")[1] if section else PAGE
    blocks = re.findall(r"```bash\n(.*?)```", text.split("\n## ")[0], re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [shlex.split(line) for line in lines]


def run(command: list[str]) -> None:
    for long, short in SHORTER.items():
        words = shlex.join(command)
        if long in words:
            command = shlex.split(words.replace(long, short))
        elif any(long in word for word in command):
            command = [word.replace(long, short) for word in command]
    program, *rest = command
    arguments = [path for word in rest for path in (sorted(glob.glob(word)) or [word])]
    if program == "mv":
        shutil.move(*arguments)
    elif program == "mrcnn":
        assert cli.main(arguments) == 0, command
    elif arguments[0] == "-c":
        exec(arguments[1], {})
    else:
        script = str(REPOSITORY / arguments[0])
        subprocess.run([sys.executable, script, *arguments[1:]], check=True)


@pytest.mark.slow  # what it does, the tests of the commands do with less
def test_the_page_does_what_it_says(tmp_path, monkeypatch, caplog):
    for package in ("plotly", "onnx", "tf2onnx", "onnxruntime"):
        pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    caplog.set_level("INFO", "mrcnn")
    for long in SHORTER:
        assert PAGE.count(long) == 1, long

    for command in commands(""):
        run(command)
    assert len(list(Path("photos").iterdir())) == 5

    for section in (
        "Train, and stop when it no longer gets better",
        "What it can do, and what goes wrong",
    ):
        for command in commands(section):
            run(command)
    (folder,) = Path("logs").iterdir()
    assert (folder / "report.html").is_file() and (folder / "coco_val.csv").is_file()
    assert "val_segm_AP" in (folder / "losses.csv").read_text()
    assert any(path.name.endswith("_best.h5") for path in folder.iterdir())

    for command in commands("Predict, and correct what is wrong"):
        run(command)
    assert len(list(Path("found", "overlays").iterdir())) == 5
    correct()

    caplog.clear()
    for command in commands("Train again"):
        run(command)
    assert "Taken by name: circle, square" in caplog.text
    again = next(Path("logs").glob("again*"))
    config = json.loads((again / "config.json").read_text())
    assert config["class_names"] == ["BG", *sorted(CLASS_NAMES)]

    for command in commands("Hand it on"):
        run(command)
    assert Path("shapes.onnx").is_file() and Path("onnx.png").is_file()
    assert Path("shapes.labels.txt").read_text().split() == config["class_names"]


def correct() -> None:
    """As a person would: what is none is taken away, what was missed is drawn."""
    names = sorted(CLASS_NAMES)
    for number, path in enumerate(sorted(Path("found", "labelme").glob("*.json"))):
        content = json.loads(path.read_text())
        assert {shape["label"] for shape in content["shapes"]} <= {*names}
        points = [[5, 5], [40, 6], [38, 44.5], [7, 41]]
        drawn = {"points": points, "group_id": None, "shape_type": "polygon", "flags": {}}
        content["shapes"] = [*content["shapes"][:1], {**drawn, "label": names[number % 3]}]
        path.write_text(json.dumps(content))
