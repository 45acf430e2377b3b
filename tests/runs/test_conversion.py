"""Converting torchvision's weights: every tensor is accounted for, and what does not fit is named.

The networks are made here of their tensors' shapes, so that torch is needed by a few tests only.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import mrcnn
from mrcnn.commands import cli
from mrcnn.runs.conversion import REPORT_FILE, convert
from mrcnn.weights import torchvision

CLASSES = 3


@pytest.fixture(autouse=True)
def room(tmp_path: Path) -> Iterator[None]:
    """Networks take 80 MB each, and pytest would keep them."""
    yield
    shutil.rmtree(tmp_path)


SMALL = {"IMAGE_MIN_DIM": 64, "IMAGE_MAX_DIM": 96}


def tensors(version: int = 1, classes: int = CLASSES, seed: int = 0) -> dict[str, np.ndarray]:
    """A state dict of a Mask R-CNN on a ResNet-18, as torchvision names and shapes it."""
    rng, found = np.random.default_rng(seed), {}
    normed = version == 2

    def convolution(name: str, *shape: int, bias: bool = False) -> None:
        found[f"{name}.weight"] = rng.normal(0, 0.05, shape).astype(np.float32)
        if bias:
            found[f"{name}.bias"] = rng.normal(0, 0.1, shape[0]).astype(np.float32)

    def norm(name: str, channels: int) -> None:
        for variable in ("weight", "bias", "running_mean", "running_var"):
            found[f"{name}.{variable}"] = rng.uniform(0.5, 1.5, channels).astype(np.float32)
        found[f"{name}.num_batches_tracked"] = np.array(7, np.int64)

    def block(name: str, *shape: int) -> None:
        convolution(f"{name}.0", *shape, bias=not normed)
        if normed:
            norm(f"{name}.1", shape[0])

    body = "backbone.body."
    convolution(f"{body}conv1", 64, 3, 7, 7)
    norm(f"{body}bn1", 64)
    channels = 64
    for stage, width in enumerate((64, 128, 256, 512), start=1):
        for number in range(2):
            name = f"{body}layer{stage}.{number}"
            before = channels if number == 0 else width
            convolution(f"{name}.conv1", width, before, 3, 3)
            norm(f"{name}.bn1", width)
            convolution(f"{name}.conv2", width, width, 3, 3)
            norm(f"{name}.bn2", width)
            if before != width:
                convolution(f"{name}.downsample.0", width, before, 1, 1)
                norm(f"{name}.downsample.1", width)
        block(f"backbone.fpn.inner_blocks.{stage - 1}", 256, width, 1, 1)
        block(f"backbone.fpn.layer_blocks.{stage - 1}", 256, 256, 3, 3)
        channels = width
    for number in range(version):
        convolution(f"rpn.head.conv.{number}.0", 256, 256, 3, 3, bias=True)
    convolution("rpn.head.cls_logits", 3, 256, 1, 1, bias=True)
    convolution("rpn.head.bbox_pred", 12, 256, 1, 1, bias=True)
    head = "roi_heads.box_head."
    if version == 1:
        convolution(f"{head}fc6", 64, 256 * 49, bias=True)
        convolution(f"{head}fc7", 64, 64, bias=True)
    else:
        for number in range(4):
            block(f"{head}{number}", 256, 256, 3, 3)
        convolution(f"{head}5", 64, 256 * 49, bias=True)
    convolution("roi_heads.box_predictor.cls_score", classes, 64, bias=True)
    convolution("roi_heads.box_predictor.bbox_pred", 4 * classes, 64, bias=True)
    for number in range(4):
        block(f"roi_heads.mask_head.{number}", 256, 256, 3, 3)
    convolution("roi_heads.mask_predictor.conv5_mask", 256, 256, 2, 2, bias=True)
    convolution("roi_heads.mask_predictor.mask_fcn_logits", classes, 256, 1, 1, bias=True)
    return found


def write_safetensors(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    header, data = {}, bytearray()
    for name, array in arrays.items():
        dtype = {"float32": "F32", "int64": "I64"}[str(array.dtype)]
        offsets = [len(data), len(data) + array.nbytes]
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": offsets}
        data += array.tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(data))
    return path


def of_v1(**changed: np.ndarray | None) -> dict[str, np.ndarray]:
    """A network's tensors, some replaced or (None) left out; "__" stands for "."."""
    found = tensors()
    for name, array in changed.items():
        name = name.replace("__", ".")
        found.pop(name, None)
        if array is not None:
            found[name] = array
    return found


@pytest.mark.parametrize("version", [1, 2])
def test_the_file_opens_with_nothing_more_to_say(tmp_path: Path, version: int):
    arrays = tensors(version)
    source = write_safetensors(tmp_path / "w.safetensors", arrays)
    done = convert(source, tmp_path / "own" / "w.h5", settings=SMALL)
    counters = [name for name in arrays if name.endswith("num_batches_tracked")]
    assert sorted(name for name, _ in done.ignored) == sorted(counters)
    assert {name for name, _ in done.used} == arrays.keys() - set(counters)
    report = (tmp_path / "own" / REPORT_FILE).read_text()
    assert all(name in report for name in arrays) and "0 missing" in report

    model = mrcnn.load(tmp_path / "own" / "w.h5")
    config = model.config
    assert config.architecture().name == ("torchvision", "torchvision_v2")[version - 1]
    assert (config.BACKBONE, config.NUM_CLASSES, config.IMAGE_MIN_DIM) == ("resnet18", 3, 64)
    assert model.class_names == ["BG", "class 1", "class 2"]
    kernel = model.keras_model.get_layer("mrcnn_class_conv1").get_weights()[0]
    matrix = arrays[f"roi_heads.box_head.{'fc6' if version == 1 else '5'}.weight"]
    assert kernel[2, 5, 17, 9] == matrix[9, 17 * 49 + 2 * 7 + 5]
    deltas = model.keras_model.get_layer("mrcnn_bbox_fc").get_weights()[1].reshape(-1, 4)
    theirs = arrays["roi_heads.box_predictor.bbox_pred.bias"].reshape(-1, 4)
    np.testing.assert_array_equal(deltas[:, [1, 0, 3, 2]], theirs)


def test_the_result_may_be_safetensors_too(tmp_path: Path):
    source = write_safetensors(tmp_path / "w.safetensors", tensors())
    for name in ("a/w.h5", "b/w.safetensors"):
        convert(source, tmp_path / name, settings=SMALL)
    first, second = (mrcnn.load(tmp_path / name) for name in ("a/w.h5", "b/w.safetensors"))
    pairs = zip(first.keras_model.get_weights(), second.keras_model.get_weights(), strict=True)
    assert all(np.array_equal(one, other) for one, other in pairs)
    assert second.config.architecture().name == "torchvision"


def test_old_names_and_wrappers_are_known():
    new = tensors()
    old = {}
    for name, array in new.items():
        if name.startswith("backbone.fpn."):
            name = name.replace(".0.weight", ".weight").replace(".0.bias", ".bias")
        if name.startswith("rpn.head.conv."):
            name = name.replace("conv.0.0.", "conv.")
        if name.startswith("roi_heads.mask_head."):
            number = int(name.split(".")[2])
            name = name.replace(f"mask_head.{number}.0.", f"mask_head.mask_fcn{number + 1}.")
        old[f"module.{name}"] = array
    assert old.keys() != new.keys()
    found, names = torchvision.with_current_names(old)
    assert found.keys() == new.keys() and set(names.values()) == old.keys()
    assert all(found[name] is array for name, array in new.items())


def test_the_epsilon_is_kept_where_it_is_told(tmp_path: Path):
    source = write_safetensors(tmp_path / "w.safetensors", tensors())
    convert(source, tmp_path / "own" / "w.h5", norm_epsilon=0.0, settings=SMALL)
    model = mrcnn.load(tmp_path / "own" / "w.h5")
    assert model.config.architecture().norm_epsilon == 0
    assert model.keras_model.get_layer("bn_conv1").epsilon == 0


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"roi_heads__mask_predictor__conv5_mask__bias": None}, "1 are missing: .*conv5_mask.bias"),
        ({"backbone__body__bn1__running_var": None}, "missing: .*bn1.running_var"),
        ({"roi_heads__box_predictor__cls_score__weight": None}, "there is no .*cls_score"),
        ({"rpn__head__cls_logits__weight": np.zeros((9, 256, 1, 1), np.float32)}, "cls_logits"),
        ({"backbone__body__layer4__1__conv1__weight": None}, "missing: .*layer4.1.conv1"),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_written(tmp_path: Path, changed, words):
    source = write_safetensors(tmp_path / "w.safetensors", of_v1(**changed))
    with pytest.raises(ValueError, match=rf"w\.safetensors: .*{words}"):
        convert(source, tmp_path / "own" / "w.h5", settings=SMALL)
    assert not list(tmp_path.glob("own/*"))


def test_a_tensor_without_a_place_is_reported(tmp_path: Path):
    arrays = tensors() | {"roi_heads.keypoint_head.0.weight": np.zeros(3, np.float32)}
    source = write_safetensors(tmp_path / "w.safetensors", arrays)
    done = convert(source, tmp_path / "own" / "w.h5", settings=SMALL)
    assert dict(done.ignored)["roi_heads.keypoint_head.0.weight"] == (
        "no layer of this network takes it"
    )


@pytest.mark.parametrize("names", [["cat"], ["cat", "cat"], ["a", "b", "c"]])
def test_class_names_are_as_many_as_classes(tmp_path: Path, names: list[str]):
    source = write_safetensors(tmp_path / "w.safetensors", tensors())
    with pytest.raises(ValueError, match="class names: .* expected 2 different names"):
        convert(source, tmp_path / "own" / "w.h5", class_names=names)


def test_cocos_classes_have_their_names(tmp_path: Path):
    source = write_safetensors(tmp_path / "w.safetensors", tensors(classes=91))
    done = convert(source, tmp_path / "own" / "w.h5", settings=SMALL)
    names = done.class_names
    assert (names[1], names[12], names[13], names[90]) == (
        *("person", "unused 12", "stop sign", "toothbrush"),
    )


def test_other_networks_settings_are_left_alone(tmp_path: Path):
    source = write_safetensors(tmp_path / "w.safetensors", tensors())
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(FileExistsError, match="config.json is there already"):
        convert(source, tmp_path / "w.h5")
    with pytest.raises(ValueError, match="expected a file whose name ends in .h5 or .safetensors"):
        convert(source, tmp_path / "own" / "w.keras")


def test_the_command_converts_and_says_what_it_did(tmp_path: Path, capsys):
    source = write_safetensors(tmp_path / "w.safetensors", tensors())
    out = tmp_path / "own" / "w.h5"
    command = ["convert", str(source), str(out), "--class-names", "cat", "dog"]
    assert cli.main([*command, "--set", "IMAGE_MIN_DIM=64", "IMAGE_MAX_DIM=96"]) == 0
    assert "0 missing" in capsys.readouterr().out
    assert json.loads((tmp_path / "own" / "config.json").read_text())["class_names"] == [
        *("BG", "cat", "dog"),
    ]
    assert cli.main(command) == 2
    assert "is there already" in "".join(capsys.readouterr())


@pytest.mark.parametrize("name", ["w.pkl", "w.onnx", "none.pth"])
def test_other_files_are_refused(tmp_path: Path, name: str):
    if not name.startswith("none"):
        (tmp_path / name).write_bytes(b"x" * 100)
    with pytest.raises((ValueError, FileNotFoundError), match=name):
        convert(tmp_path / name, tmp_path / "own" / "w.h5")


class TestPyTorchsFiles:
    @pytest.fixture(autouse=True)
    def torch(self):
        self.torch = pytest.importorskip("torch", reason="to read .pth takes torch")

    def test_a_file_of_training_and_halves_are_read(self, tmp_path: Path):
        state = {name: self.torch.from_numpy(array) for name, array in tensors().items()}
        state = {n: x.half() if x.is_floating_point() else x for n, x in state.items()}
        self.torch.save({"model": state, "epoch": 3}, tmp_path / "w.pth")
        done = convert(tmp_path / "w.pth", tmp_path / "own" / "w.h5", settings=SMALL)
        assert len(done.used) > 100

    def test_what_would_run_is_refused(self, tmp_path: Path):
        class Evil:
            def __reduce__(self):
                return (Path.touch, (tmp_path / "touched",))

        self.torch.save({"model": Evil()}, tmp_path / "w.pth")
        with pytest.raises(ValueError, match=r"w\.pth: expected tensors by name"):
            convert(tmp_path / "w.pth", tmp_path / "own" / "w.h5")
        assert not (tmp_path / "touched").exists()

    @pytest.mark.parametrize("content", [[1, 2], {"a": 1}, {}])
    def test_other_content_is_refused(self, tmp_path: Path, content):
        self.torch.save(content, tmp_path / "w.pth")
        with pytest.raises(ValueError, match=r"w\.pth: expected"):
            convert(tmp_path / "w.pth", tmp_path / "own" / "w.h5")
