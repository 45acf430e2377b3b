"""`report.html`: what is on it, that a browser opens it, and that strangers' names are text."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mrcnn.config import Config
from mrcnn.datasets.coco import CocoDataset
from mrcnn.datasets.shapes import write_shapes
from mrcnn.evaluation.coco import write_class_csv, write_csv
from mrcnn.evaluation.ground_truth import Truth
from mrcnn.evaluation.results import Result
from mrcnn.runs import analysis, report, report_images
from mrcnn.runs.settings import configure, save_settings

pytest.importorskip("plotly", reason="needs the extra 'report'")

HOSTILE = "</script><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as training and evaluation leave it, of a data set with a hostile class name."""
    folder = tmp_path_factory.mktemp("run")
    data = tmp_path_factory.mktemp("data")
    write_shapes(data, train=1, val=5, image_size=(64, 64))
    path = data / "annotations" / "instances_val.json"
    content = json.loads(path.read_text())
    content["categories"][0]["name"] = HOSTILE
    path.write_text(json.dumps(content))
    dataset = CocoDataset.of(data, "val")
    truth = Truth.of(dataset.ground_truth)
    # All is found but in the first image, and there is one false detection.
    first = content["images"][0]["id"]
    results: list[Result] = [
        {
            "image_id": entry["image_id"],
            "category_id": entry["category_id"],
            "score": 0.9 - 0.001 * number,
            "segmentation": annotation["segmentation"],
        }
        for number, (entry, annotation) in enumerate(
            zip(content["annotations"], truth.objects, strict=True)
        )
        if entry["image_id"] != first and not entry["iscrowd"]
    ]
    results.append({**results[0], "image_id": first, "score": 0.95})
    ids = [info["id"] for info in dataset.image_info]
    names = {entry["id"]: entry["name"] for entry in content["categories"]}
    matching = analysis.write_analysis(folder, "val", truth, results, ids, names)
    numbers = {"AP": 0.5, "AP50": -1.0}
    row = dict.fromkeys(("AP", "AP50", "AP75", "AP_S", "AP_M", "AP_L"), 0.5) | {
        name: 0.25 for name in ("AR1", "AR10", "AR100", "AR_S", "AR_M", "AR_L")
    }
    write_csv(folder / "coco_val.csv", {"segm": {**row, **numbers}})
    classes = {"segm": {key: dict.fromkeys(("AP", "AP50", "AP75"), 0.5) for key in names}}
    write_class_csv(folder / "coco_val_classes.csv", classes, names)
    (folder / "losses.csv").write_text(
        "epoch,loss,val_loss,val_segm_AP\n1,2.0,3.0,\n2,1.0,2.0,0.25\n"
    )
    save_settings(
        configure(Config, {"MAX_GT_INSTANCES": 77}),
        folder,
        {"class_names": ["BG", *names.values()], "training": {"steps": 12}},
    )
    chosen = report_images.choose_images(
        dataset, list(dataset.image_ids), Config(), truth, results, matching
    )
    assert report.write_report(folder, "val", chosen) == folder / "report.html"
    return folder


def text_of(run: Path) -> str:
    return (run / "report.html").read_text(encoding="utf-8")


def without_library(page: str) -> str:
    """The page without Plotly itself."""
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    return page.replace(max(scripts, key=len), "")


def test_it_tells_of_settings_curves_metrics_errors_and_images(run: Path):
    page = without_library(text_of(run))
    for words in ("MAX_GT_INSTANCES", "77", "Losses", "What goes wrong", "0.500", "–", "steps"):
        assert words in page
    figures = json.loads(
        re.search(r'type="application/json">(.*?)</script>', page, re.DOTALL).group(1)
    )
    assert figures.keys() == {"losses", "metrics", "precision", "f1", "confusion", "errors"}
    assert page.count('<figure class="image"') == 5
    assert page.count("data:image/jpeg") == 10
    # Nothing is loaded from elsewhere.
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!data:)""", page)


def test_the_worst_image_comes_first_with_its_errors(run: Path):
    page = without_library(text_of(run))
    figures = re.findall(r'<figure class="image" (.*?)>', page)
    wrong = [int(re.search(r'data-wrong="(\d+)"', figure).group(1)) for figure in figures]
    assert wrong[0] >= 2 and wrong[0] == max(wrong) and not any(wrong[1:])
    assert "missed" in figures[0] and "missed" not in figures[1]


def test_names_of_strangers_are_text(run: Path):
    page = without_library(text_of(run))
    assert HOSTILE not in page and "<img src=x" not in page
    assert html.escape(HOSTILE) in page


def test_training_alone_and_nothing_at_all(run: Path, tmp_path: Path):
    for name in ("losses.csv", "config.json"):
        shutil.copy(run / name, tmp_path)
    path = report.write_report(tmp_path)
    assert path is not None and "COCO metrics, val" not in path.read_text(encoding="utf-8")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert report.write_report(empty) == empty / "report.html"


def test_without_plotly_it_says_what_to_install(tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO", "mrcnn")
    monkeypatch.setitem(sys.modules, "plotly", None)
    monkeypatch.setitem(sys.modules, "plotly.graph_objects", None)
    assert report.write_report(tmp_path) is None
    assert "mrcnn[report]" in caplog.text and not list(tmp_path.iterdir())


def test_overlays_have_the_size_of_the_report(run: Path):
    drawn = report_images._overlay(np.zeros((100, 50, 3), np.uint8), [], 0.5)
    assert drawn.shape == (50, 25, 3)


@pytest.mark.skipif(
    not (shutil.which("chromium") or shutil.which("google-chrome")), reason="needs a Chromium"
)
def test_a_browser_draws_it_without_errors(run: Path, tmp_path: Path):
    """The page's script runs to its end: every figure is drawn, and the images are counted."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
    command += [f"--user-data-dir={tmp_path}", "--virtual-time-budget=10000", "--dump-dom"]
    done = subprocess.run(
        [*command, (run / "report.html").as_uri()],
        capture_output=True,
        timeout=300,
        text=True,
    )
    page = done.stdout
    assert page.count("main-svg") >= 6 and "5 of 5 images" in page
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert not [line for line in console if "rror" in line], console
    assert "<img src=x" not in page.split("main-svg")[0]
