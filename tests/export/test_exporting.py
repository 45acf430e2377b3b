"""Files of every format, opened in their own runtimes, find what the network finds."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from mrcnn.export import exporting, formats
from mrcnn.export.exporting import ExportSettings, export
from mrcnn.export.formats import FORMATS, Format
from mrcnn.export.network import OUTPUTS
from mrcnn.inference.detector import Detector
from mrcnn.model import MaskRCNN
from mrcnn.tensorflow_backend.export import Traced
from tests.export.test_network import model_of, picture

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="converters take graphs from TensorFlow"
)
SAMPLES = Path(__file__).resolve().parents[2] / "samples" / "export"
SIZE = (50, 90)
NAMES = ["BG", "square", "disc"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> MaskRCNN:
    return model_of(tmp_path_factory.mktemp("logs"))


@pytest.fixture
def pictures() -> list[np.ndarray]:
    return [picture(*SIZE, seed) for seed in range(3)]


def needs(name: str) -> Format:
    form = FORMATS[name]
    for package in form.packages:
        pytest.importorskip(package)
    return form


def run_alone(script: str, *arguments: Path) -> list[str]:
    """The lines that a sample prints, in a process in which this package is not to be had."""
    alone = "import runpy, sys; sys.modules['mrcnn'] = None; sys.path.insert(0, sys.argv[1]); "
    alone += "sys.argv = sys.argv[2:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    command = [sys.executable, "-c", alone, str(SAMPLES), str(SAMPLES / script)]
    done = subprocess.run(
        [*command, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("name", "size", "weights"),
    [
        # The command's test and the walkthrough's write these two.
        pytest.param("savedmodel", None, "float32", marks=pytest.mark.slow),
        pytest.param("onnx", None, "float32", marks=pytest.mark.slow),
        # Two minutes on some machines; test_kept_weights.py makes its files of a smaller network.
        pytest.param("openvino", SIZE, "float32", marks=pytest.mark.slow),
        ("litert", SIZE, "float32"),
    ],
)
def test_a_file_finds_what_the_network_finds(model, pictures, tmp_path, name, size, weights):
    form = needs(name)
    settings = ExportSettings(name, size, weights)
    done = export(model.detector, tmp_path / "sub" / "net", settings, pictures, NAMES)
    assert done.path == tmp_path / "sub" / f"net{form.suffix}" and done.path.exists()
    assert done.labels.read_text().splitlines() == NAMES
    assert done.agreement.pairs == done.agreement.own == done.agreement.other > 10
    assert not any(file.name.startswith(".") for file in done.path.parent.iterdir())

    run = form.load(done.path)
    outputs = run(pictures[0][None])
    assert sorted(outputs) == sorted(OUTPUTS)
    assert {name: outputs[name].dtype for name in OUTPUTS} == {
        "boxes": np.float32,
        "class_ids": np.int32,
        "scores": np.float32,
        "masks": np.float32,
        "mask_corners": np.float32,
        "mask_areas": np.float32,
        "count": np.int32,
    }
    slots = model.config.DETECTION_MAX_INSTANCES
    assert outputs["masks"].shape == (1, slots, 28, 28)
    if size is None:
        assert run(picture(33, 120)[None])["boxes"].shape == (1, slots, 4)
    image = tmp_path / "picture.png"
    Image.fromarray(pictures[0]).save(image)
    lines = run_alone(f"run_{name}.py", done.path, image, tmp_path / "drawn.png")
    assert len([line for line in lines if "  box " in line]) == outputs["count"][0]
    assert Image.open(tmp_path / "drawn.png").size == SIZE[::-1]
    if name == "savedmodel":
        again = export(model.detector, done.path, settings, pictures)  # takes its place
        assert again.path == done.path and again.labels is None


@pytest.mark.slow  # the graph is compared in test_network.py: this is what converters make of it
@pytest.mark.parametrize("name", ["savedmodel", "onnx", "openvino", "litert"])
def test_networks_of_torchvisions_weights_are_exported_too(pictures, tmp_path, name):
    form = needs(name)
    model = model_of(tmp_path, ARCHITECTURE="torchvision_v2", IMAGE_RESIZE_MODE="pad32")
    settings = ExportSettings(name, SIZE)
    done = export(model.detector, tmp_path / "net", settings, pictures, NAMES)
    assert done.agreement.pairs > 10
    assert form.load(done.path)(pictures[0][None])["masks"].shape == (1, 10, 30, 30)


# --- What is refused


class Recorder:
    """A format whose file is what is asked of it, and finds what it is told to."""

    def __init__(self, model: MaskRCNN, shift: float = 0) -> None:
        self.detector, self.shift = model.detector, shift

    def write(self, traced: Traced, path: Path, weights: str) -> None:
        path.write_text(weights)

    def load(self, path: Path) -> formats.Run:
        return self.run

    def run(self, image: np.ndarray) -> dict[str, np.ndarray]:
        found = self.detector.detect_compact([image[0]])[0]
        result = {name: found[name][None] for name in ("boxes", "class_ids", "scores")}
        result |= {"masks": found["box_masks"][None], "count": np.array([len(found["scores"])])}
        return {**result, "boxes": result["boxes"] + self.shift}


def use(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    form = Format("a test", ".test", recorder.write, recorder.load)
    monkeypatch.setitem(FORMATS, "onnx", form)


def test_a_file_that_finds_other_things_is_not_left_behind(model, pictures, tmp_path, monkeypatch):
    use(Recorder(model), monkeypatch)
    done = export(model.detector, tmp_path / "net", ExportSettings("onnx"), pictures)
    assert done.path.read_text() == "float32"
    use(Recorder(model, shift=30.0), monkeypatch)
    with pytest.raises(ValueError, match=r"net.test: not written, because a test does not find"):
        export(model.detector, tmp_path / "net", ExportSettings("onnx"), pictures)
    assert [file.name for file in tmp_path.iterdir()] == ["net.test"]  # the one from before
    assert done.path.read_text() == "float32"


def test_pasted_masks_are_compared_too(model, pictures, tmp_path, monkeypatch):
    settings = ExportSettings("savedmodel", SIZE, pasted=True)
    done = export(model.detector, tmp_path / "net", settings, pictures)
    outputs = FORMATS["savedmodel"].load(done.path)(pictures[0][None])
    assert outputs["pasted"].shape == (1, 10, *SIZE) and outputs["pasted"].any()
    exporting._expect_pasted(outputs, pictures[0], model.config)
    for wrong in (outputs["pasted"][:, :, ::-1], np.zeros_like(outputs["pasted"])):
        with pytest.raises(ValueError, match="pixels of the masks that the file has pasted"):
            exporting._expect_pasted({**outputs, "pasted": wrong}, pictures[0], model.config)


def test_what_a_converter_says_is_passed_on(model, pictures, tmp_path, monkeypatch):
    recorder = Recorder(model)

    def write(traced: Traced, path: Path, weights: str) -> None:
        raise KeyError("no rule for Unheard")

    recorder.write = write
    use(recorder, monkeypatch)
    with pytest.raises(ValueError, match="refused the network: KeyError: 'no rule for Unheard'"):
        export(model.detector, tmp_path / "net", ExportSettings("onnx"), pictures)
    assert not list(tmp_path.iterdir())


def test_handlers_of_a_converter_do_not_stay(model, pictures, tmp_path, monkeypatch):
    recorder = Recorder(model)
    handler = logging.NullHandler()

    def write(traced: Traced, path: Path, weights: str) -> None:
        logging.getLogger().addHandler(handler)
        path.touch()

    recorder.write = write
    use(recorder, monkeypatch)
    export(model.detector, tmp_path / "net", ExportSettings("onnx"), pictures)
    assert handler not in logging.getLogger().handlers


def test_something_else_is_not_replaced(model, pictures, tmp_path, monkeypatch):
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "thesis.tex").touch()
    with pytest.raises(FileExistsError, match="expected a free name"):
        export(model.detector, tmp_path / "net", ExportSettings("savedmodel"), pictures)
    use(Recorder(model), monkeypatch)
    (tmp_path / "net.test").mkdir()
    with pytest.raises(FileExistsError, match="something else is there"):
        export(model.detector, tmp_path / "net", ExportSettings("onnx"), pictures)


def test_what_is_not_installed_is_named(monkeypatch):
    form = Format("Some format", ".some", None, None, ("not_there", "numpy"), "some")
    with pytest.raises(ValueError, match=r"needs not_there, which is not.*'mrcnn\[some\]'"):
        form.expect_packages()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"format": "caffe"}, "expected one of .*received 'caffe'"),
        ({"format": "savedmodel", "weights": "int8"}, "keeps them as float32; received 'int8'"),
        ({"format": "litert"}, "expected --picture-size HEIGHT WIDTH"),
        ({"format": "onnx", "image_size": (0, 5)}, "at least 1; received"),
    ],
)
def test_what_a_file_cannot_be_is_said(values, message):
    with pytest.raises(ValueError, match=message):
        ExportSettings(**values)


def test_pictures_of_another_size_are_scaled():
    image = picture(30, 40)
    assert exporting._of_size(image, (30, 40)) is image
    assert exporting._of_size(image, None) is image
    scaled = exporting._of_size(np.concatenate([image, image], axis=2), (60, 80))
    assert scaled.shape == (60, 80, 6) and scaled.dtype == np.uint8


def test_it_needs_tensorflow(model, pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "is_tensorflow", lambda: False)
    with pytest.raises(ValueError, match="KERAS_BACKEND=tensorflow"):
        export(model.detector, tmp_path / "net", ExportSettings("savedmodel"), pictures)


def test_the_detector_is_left_as_it_is(model):
    assert isinstance(model.detector, Detector) and model.config.JIT_COMPILE is None
