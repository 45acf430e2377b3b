"""MaskRCNN, the door that Matterport's scripts come through."""

from __future__ import annotations

import csv
import random
import re
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest

from mrcnn import model as modellib
from mrcnn.config import LOSS_NAMES
from mrcnn.data.boxes import norm_boxes
from mrcnn.data.dataset import Dataset
from mrcnn.model import MaskRCNN
from mrcnn.process import set_random_seed
from mrcnn.training import model as training_model
from mrcnn.training.stages import Stage
from mrcnn.weights.layers import weighted_layers
from tests.tiny import tiny_config

SIZES = ((64, 64), (40, 90), (100, 30), (64, 64), (17, 23))


def picture(height: int, width: int, seed: int = 0, channels: int = 3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (height, width, channels)).astype(np.uint8)


def all_weights(model: MaskRCNN) -> dict[str, list[np.ndarray]]:
    """Weights by layer, without the random states of the training graph."""
    return {
        layer.name: layer.get_weights()
        for layer, _ in weighted_layers(model.keras_model)
        if not layer.name.endswith("_targets")
    }


def assert_same_weights(first: dict[str, list], second: dict[str, list]) -> None:
    assert first.keys() == second.keys()
    for name, values in first.items():
        for x, y in zip(values, second[name], strict=True):
            np.testing.assert_array_equal(x, y, err_msg=name)


def assert_same_result(first: dict[str, Any], second: dict[str, Any]) -> None:
    np.testing.assert_array_equal(first["rois"], second["rois"])
    np.testing.assert_array_equal(first["class_ids"], second["class_ids"])
    np.testing.assert_allclose(first["scores"], second["scores"], atol=1e-5)
    assert first["masks"].shape == second["masks"].shape
    if first["masks"].size:
        assert (first["masks"] != second["masks"]).mean() < 1e-3


@pytest.fixture(scope="module")
def detector(tmp_path_factory) -> MaskRCNN:
    config = tiny_config(SEED=1)
    model = MaskRCNN("inference", config, tmp_path_factory.mktemp("logs"))
    # Untrained, every RoI would be of the class of the largest bias: mix the classes.
    logits = model.keras_model.get_layer("mrcnn_class_logits")
    kernel, bias = logits.get_weights()
    logits.set_weights([kernel * 5, bias])
    return model


# --- Construction -----------------------------------------------------------------------------


def test_an_unknown_mode_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="'training' or 'inference'.*'train'"):
        MaskRCNN("train", tiny_config(), tmp_path)


def test_the_constructor_writes_nothing(detector: MaskRCNN):
    assert detector.mode == "inference" and detector.epoch == 0
    assert re.fullmatch(r"tiny\d{8}T\d{4}", Path(detector.log_dir).name)
    assert Path(detector.log_dir).parent == Path(detector.model_dir)
    assert list(Path(detector.model_dir).iterdir()) == []
    with pytest.raises(FileNotFoundError, match="tiny"):
        detector.find_last()


def test_the_seed_decides_the_first_weights_and_nothing_of_the_callers(tmp_path: Path):
    def weights(seed: int) -> list[np.ndarray]:
        return MaskRCNN("training", tiny_config(SEED=seed), tmp_path).keras_model.get_weights()

    random.seed(5)
    expected = random.random()
    first, second, other = [], [], []
    for found, seed in ((first, 3), (second, 3), (other, 4)):
        random.seed(5)
        found += weights(seed)
        assert random.random() == expected
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    # Those that do not differ begin as zeros or ones.
    kernels = [(a, b) for a, b in zip(first, other, strict=True) if a.ndim > 1]
    assert kernels and not any(np.array_equal(a, b) for a, b in kernels)


def test_the_weights_are_those_that_a_command_begins_with(tmp_path: Path):
    """Commands seed the whole process, and then build as the API does."""
    set_random_seed(3)
    globally = training_model.build(tiny_config(SEED=3)).get_weights()
    found = MaskRCNN("training", tiny_config(SEED=3), tmp_path).keras_model.get_weights()
    assert all(np.array_equal(a, b) for a, b in zip(found, globally, strict=True))


def test_keras_model_is_open_to_scripts(detector: MaskRCNN):
    model = detector.keras_model
    assert model.get_layer("fpn_p2").output.shape[-1] == 16
    features = keras.Model(model.inputs[0], model.get_layer("fpn_p2").output)
    assert features(np.zeros((1, 64, 128, 3), np.float32)).shape == (1, 16, 32, 16)


def test_each_mode_has_its_methods(detector: MaskRCNN):
    with pytest.raises(RuntimeError, match='mode="training"'):
        detector.train(None, None, 0.01, 1, "heads")


def test_the_names_of_the_module_are_there():
    for name in modellib.__all__:
        assert hasattr(modellib, name)


# --- Detection --------------------------------------------------------------------------------


def test_detect_takes_any_number_of_images_of_any_size(detector: MaskRCNN):
    images = [picture(*size, seed=k) for k, size in enumerate(SIZES)]
    assert len(images) % detector.config.BATCH_SIZE  # the last batch is not full
    results = detector.detect(images)
    assert len(results) == len(images)
    for image, result in zip(images, results, strict=True):
        count = len(result["rois"])
        assert set(result) == {"rois", "class_ids", "scores", "masks"}
        assert result["rois"].shape == (count, 4) and result["rois"].dtype == np.int32
        assert result["class_ids"].shape == (count,) and result["class_ids"].dtype == np.int32
        assert result["scores"].shape == (count,) and result["scores"].dtype == np.float32
        assert result["masks"].shape == (*image.shape[:2], count)
        assert result["masks"].dtype == bool
        y1, x1, y2, x2 = result["rois"].T
        assert (0 <= y1).all() and (y1 < y2).all() and (y2 <= image.shape[0]).all()
        assert (0 <= x1).all() and (x1 < x2).all() and (x2 <= image.shape[1]).all()
        assert (np.diff(result["scores"]) <= 0).all()
        assert set(result["class_ids"]) <= {1, 2}
    assert sum(len(result["rois"]) for result in results) >= len(images)
    # One by one, and in another order, the images have the same results.
    for image, result in zip(images, results, strict=True):
        assert_same_result(detector.detect([image])[0], result)
    for backwards, result in zip(detector.detect(images[::-1]), results[::-1], strict=True):
        assert_same_result(backwards, result)


def test_detect_leaves_the_images_alone(detector: MaskRCNN):
    image = picture(40, 90)
    before = image.copy()
    detector.detect([image])
    np.testing.assert_array_equal(image, before)


def test_detect_molded_is_detect_without_resizing(detector: MaskRCNN):
    images = [picture(64, 64, seed) for seed in range(3)]  # of the network's size
    molded, metas, windows = detector.mold_inputs(images)
    assert molded.dtype == np.float32 and windows.tolist() == [[0, 0, 64, 64]] * 3
    for molded_result, result in zip(
        detector.detect_molded(molded, metas), detector.detect(images), strict=True
    ):
        assert_same_result(molded_result, result)
    with pytest.raises(ValueError, match="3 and 2"):
        detector.detect_molded(molded, metas[:2])
    with pytest.raises(ValueError, match="at least one"):
        detector.detect_molded(molded[:0], metas[:0])


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        ([], ValueError, "at least one image"),
        ([picture(8, 8)[..., 0]], ValueError, r"images\[0\].*np.stack"),
        ([picture(8, 8, channels=1)], ValueError, r"\[height, width, 3\].*\(8, 8, 1\)"),
        ([picture(8, 8), picture(8, 8, channels=4)], ValueError, r"images\[1\].*alpha"),
        ([picture(8, 8)[None]], ValueError, "list of images"),
        ([[[[0.5, 0.5, 0.5]]]], TypeError, r"images\[0\].*received list"),
        ([None], TypeError, r"images\[0\].*received NoneType"),
        ([picture(8, 8).astype(str)], TypeError, "dtype"),
        ([np.zeros((0, 8, 3), np.uint8)], ValueError, "at least one pixel"),
    ],
    ids=["none", "grey", "one channel", "RGBA", "batch", "lists", "None", "text", "empty"],
)
def test_wrong_images_are_named(detector: MaskRCNN, images: list, error: type, message: str):
    with pytest.raises(error, match=message):
        detector.detect(images)


def test_float_images_are_the_same_as_uint8(detector: MaskRCNN):
    image = picture(64, 64)
    assert_same_result(detector.detect([image.astype(np.float32)])[0], detector.detect([image])[0])


@pytest.mark.parametrize("image", [picture(64, 64) - 99.7, 250 + picture(64, 64).astype("uint16")])
def test_values_that_are_no_bytes_reach_the_network_as_they_are(
    detector: MaskRCNN, image: np.ndarray
):
    molded, metas, _ = detector.mold_inputs([image])
    np.testing.assert_allclose(molded[0], image - detector.config.MEAN_PIXEL, atol=1e-4)
    expected = detector.detect_molded(molded, metas)[0]
    assert_same_result(detector.detect([image])[0], expected)


def test_verbose_prints_the_images(detector: MaskRCNN, capsys: pytest.CaptureFixture):
    detector.detect([picture(64, 64)], verbose=1)
    assert "(64, 64, 3)" in capsys.readouterr().out
    detector.detect([picture(64, 64)])
    assert capsys.readouterr().out == ""


def test_images_of_several_network_shapes(tmp_path: Path):
    config = tiny_config(IMAGE_RESIZE_MODE="pad64", IMAGE_MAX_DIM=128)
    model = MaskRCNN("inference", config, tmp_path)
    images = [picture(*size, seed=k) for k, size in enumerate(((64, 64), (64, 120), (60, 60)))]
    results = model.detect(images)
    for image, result in zip(images, results, strict=True):
        assert result["masks"].shape[:2] == image.shape[:2]
    assert_same_result(model.detect(images[1:2])[0], results[1])
    anchors = model.get_anchors((64, 128, 3))
    cells = 16 * 32 + 8 * 16 + 4 * 8 + 2 * 4 + 1 * 2
    assert anchors.shape == model.anchors.shape == (3 * cells, 4)
    assert anchors.dtype == np.float32
    with pytest.raises(ValueError, match="one shape"):
        model.mold_inputs(images)


# --- Training ---------------------------------------------------------------------------------


class Squares(Dataset):
    """Bright squares on noise, made on demand."""

    def add(self, count: int) -> Squares:
        self.add_class("squares", 1, "bright")
        self.add_class("squares", 2, "grey")
        for index in range(count):
            self.add_image("squares", index, None)
        self.prepare()
        return self

    def load_image(self, image_id: int) -> np.ndarray:
        image = picture(64, 64, seed=int(image_id)) // 3
        image[8:40, 8:40], image[36:60, 30:54] = 250, 180
        return image

    def load_mask(self, image_id: int) -> tuple[np.ndarray, np.ndarray]:
        masks = np.zeros((64, 64, 2), bool)
        masks[8:40, 8:40, 0] = masks[36:60, 30:54, 1] = True
        return masks, np.array([1, 2], np.int32)


class Run:
    """A model that was trained for two epochs."""

    def __init__(self, folder: Path) -> None:
        self.config = tiny_config()
        self.train_dataset, self.val_dataset = Squares().add(5), Squares().add(2)
        self.model = MaskRCNN("training", self.config, folder)
        self.first = all_weights(self.model)
        self.epochs_seen: list[int] = []
        seen = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: self.epochs_seen.append(epoch)
        )
        self.history = self.model.train(
            self.train_dataset,
            self.val_dataset,
            learning_rate=self.config.LEARNING_RATE,
            epochs=2,
            layers="heads",
            custom_callbacks=[seen],
        )
        self.log_dir = Path(self.model.log_dir)
        self.weights = all_weights(self.model)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    return Run(tmp_path_factory.mktemp("logs"))


LOSSES = ("loss", *LOSS_NAMES[:5])  # without the edge head


def test_training_writes_matterports_files(run: Run):
    files = {path.name for path in run.log_dir.iterdir()}
    checkpoints = {f"mask_rcnn_tiny_{epoch:04d}.h5" for epoch in (1, 2)}
    assert checkpoints <= files and "losses.csv" in files
    states = {f"step_{step:08d}.state" for step in (2, 4)}
    assert states <= files
    described = {"losses.csv", "config.json", "stages.json", "mask_rcnn_tiny_best.h5", ".lock"}
    events = files - checkpoints - states - described
    assert events and all(name.startswith("events.out.tfevents") for name in events)
    assert run.epochs_seen == [0, 1] and run.model.epoch == 2
    assert set(run.history.history) == {*LOSSES, *(f"val_{name}" for name in LOSSES)}
    with open(run.log_dir / "losses.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    for row in rows:
        assert all(np.isfinite(float(row[name])) for name in (*LOSSES, "val_loss"))


def test_only_the_heads_were_trained(run: Run):
    for name, values in run.first.items():
        same = all((x == y).all() for x, y in zip(values, run.weights[name], strict=True))
        assert same or re.match("mrcnn_|rpn_|fpn_", name), name
        assert not (same and name == "rpn_conv_shared")


def test_find_last_finds_the_last_epoch(run: Run):
    assert run.model.find_last() == str(run.log_dir / "mask_rcnn_tiny_0002.h5")


def test_an_empty_newer_folder_does_not_hide_it(run: Run):
    newer = run.log_dir.parent / "tiny29990101T0000"
    newer.mkdir()
    try:
        assert run.model.find_last() == str(run.log_dir / "mask_rcnn_tiny_0002.h5")
    finally:
        newer.rmdir()


def test_inference_gets_the_weights_of_training(run: Run, tmp_path: Path):
    detector = MaskRCNN("inference", tiny_config(SEED=1), tmp_path)
    report = detector.load_weights(run.model.find_last(), by_name=True)
    assert not report.missing and not report.mismatched
    assert_same_weights(all_weights(detector), run.weights)
    result = detector.detect([run.val_dataset.load_image(0)])[0]
    assert np.isfinite(result["scores"]).all()
    # And back, through a file that inference writes.
    path = detector.save_weights(tmp_path / "weights.h5")
    training = MaskRCNN("training", tiny_config(SEED=1), tmp_path)
    training.load_weights(path)
    assert_same_weights(all_weights(training), run.weights)
    assert training.epoch == 0  # not a checkpoint's name


def test_loading_goes_on_in_the_checkpoints_folder(run: Run, tmp_path: Path):
    other = MaskRCNN("inference", tiny_config(SEED=1), tmp_path)
    other.load_weights(run.model.find_last())
    assert other.epoch == 2 and Path(other.log_dir) == run.log_dir
    other.set_log_dir(str(run.log_dir / "mask_rcnn_tiny_0001.h5"))
    assert other.epoch == 1 and Path(other.log_dir) == run.log_dir
    other.set_log_dir()
    assert other.epoch == 0 and Path(other.log_dir).parent == tmp_path
    with pytest.raises(FileNotFoundError):
        other.load_weights(tmp_path / "nothing.h5")


def test_excluded_layers_keep_their_weights(run: Run, tmp_path: Path):
    """The usual start of fine-tuning: weights of other classes, but for the last layers."""
    config = tiny_config(NUM_CLASSES=5, SEED=1)
    model = MaskRCNN("training", config, tmp_path)
    last = ["mrcnn_class_logits", "mrcnn_bbox_fc", "mrcnn_bbox", "mrcnn_mask"]
    before = all_weights(model)
    with pytest.raises(ValueError, match="mrcnn_class_logits"):
        model.load_weights(run.model.find_last(), by_name=True)
    assert_same_weights(all_weights(model), before)
    report = model.load_weights(run.model.find_last(), by_name=True, exclude=last)
    assert set(report.excluded) == set(last) - {"mrcnn_bbox"}  # which has no weights
    after = all_weights(model)
    own = [name for name in after if name in last]
    assert len(own) == 3
    assert_same_weights({n: after[n] for n in own}, {n: before[n] for n in own})
    rest = after.keys() - set(own)
    assert_same_weights({n: after[n] for n in rest}, {n: run.weights[n] for n in rest})


def read_matterports(path: Path) -> dict[str, dict[str, np.ndarray]]:
    """Weights by layer and name, as a plain reader of Matterport's layout finds them."""
    with h5py.File(path, "r") as file:
        return {
            layer.decode(): {
                name.decode(): np.array(file[layer.decode()][name.decode()])
                for name in file[layer.decode()].attrs["weight_names"]
            }
            for layer in file.attrs["layer_names"]
        }


def test_the_keras_model_writes_matterports_files(run: Run, detector: MaskRCNN, tmp_path: Path):
    """What the notebook on shapes ends with."""
    path = tmp_path / "mask_rcnn_shapes.h5"
    run.model.keras_model.save_weights(str(path))
    stored = read_matterports(path)
    assert {"conv1", "ROI", "rpn_model", "mrcnn_mask"} <= stored.keys()
    assert list(stored["conv1"]) == ["conv1/kernel:0", "conv1/bias:0"]
    assert "rpn_conv_shared/kernel:0" in stored["rpn_model"] and not stored["ROI"]
    np.testing.assert_array_equal(stored["conv1"]["conv1/kernel:0"], run.weights["conv1"][0])

    other = MaskRCNN("inference", tiny_config(SEED=1), tmp_path)
    other.load_weights(path, by_name=True)
    assert_same_weights(all_weights(other), run.weights)
    # The same from inference to training, and by the Keras model's own method.
    again = tmp_path / "again.h5"
    other.keras_model.save_weights(again)
    assert read_matterports(again)["conv1"].keys() == stored["conv1"].keys()
    for options in ({}, {"by_name": True}):
        training = MaskRCNN("training", tiny_config(SEED=1), tmp_path)
        training.keras_model.load_weights(again, **options)
        assert_same_weights(all_weights(training), run.weights)


def test_the_keras_model_does_not_overwrite_against_its_orders(run: Run, tmp_path: Path):
    path = tmp_path / "weights.h5"
    run.model.keras_model.save_weights(path)
    run.model.keras_model.save_weights(path)
    with pytest.raises(FileExistsError, match="weights.h5"):
        run.model.keras_model.save_weights(path, overwrite=False)


def test_layers_of_another_shape_can_be_skipped(run: Run, tmp_path: Path):
    model = MaskRCNN("inference", tiny_config(NUM_CLASSES=5, SEED=1), tmp_path).keras_model
    path = tmp_path / "weights.h5"
    run.model.keras_model.save_weights(path)
    before = model.get_layer("mrcnn_mask").get_weights()
    with pytest.raises(ValueError, match="mrcnn_mask"):
        model.load_weights(path, by_name=True)
    model.load_weights(path, by_name=True, skip_mismatch=True)
    np.testing.assert_array_equal(model.get_layer("mrcnn_mask").get_weights()[0], before[0])
    conv = model.get_layer("conv1").get_weights()[0]
    np.testing.assert_array_equal(conv, run.weights["conv1"][0])
    with pytest.raises(FileNotFoundError, match="nothing.h5"):
        model.load_weights(tmp_path / "nothing.h5", by_name=True, skip_mismatch=True)


def test_keras_files_stay_keras_files(run: Run, tmp_path: Path):
    """Names that Keras 3 claims get its layout; a file of Matterport's is known by its inside."""
    keras_file = tmp_path / "keras.weights.h5"
    run.model.keras_model.save_weights(keras_file)
    with h5py.File(keras_file, "r") as file:
        assert "layer_names" not in file.attrs
    ours = run.model.save_weights(tmp_path / "ours.weights.h5")
    for path in (keras_file, ours):
        model = MaskRCNN("training", tiny_config(SEED=1), tmp_path)
        model.keras_model.load_weights(path)
        assert_same_weights(all_weights(model), run.weights)
    model.load_weights(keras_file)
    # A whole model comes back as what it was.
    run.model.keras_model.save(tmp_path / "whole.keras")
    whole = keras.saving.load_model(tmp_path / "whole.keras", compile=False)
    assert type(whole) is type(run.model.keras_model)
    assert whole.weight_decay == run.config.WEIGHT_DECAY
    run.model.keras_model.save(tmp_path / "whole.h5")  # as ModelCheckpoint does
    assert h5py.is_hdf5(tmp_path / "whole.h5")


def test_checkpoint_path(run: Run):
    path = run.model.checkpoint_path
    assert path.endswith("mask_rcnn_tiny_{epoch:04d}.h5")
    assert path.format(epoch=2) == run.model.find_last()


def test_what_scripts_ask_the_keras_model(run: Run, detector: MaskRCNN):
    for model in (run.model.keras_model, detector.keras_model):
        lines = []
        model.summary(print_fn=lambda text, lines=lines, **_: lines.append(text))
        assert "rpn_model" in "".join(lines)
        assert {"input_image", "input_image_meta"} <= {tensor.name for tensor in model.inputs}
        assert len(model.outputs) > 5
        assert model.get_layer("ROI").output.shape[-1] == 4
        assert model.get_layer("rpn_model") in model.layers
        assert isinstance(model.metrics_names, list)
    assert {"loss", *LOSS_NAMES[:5]} <= set(run.model.keras_model.metrics_names)


# --- A look inside ------------------------------------------------------------------------------


def test_run_graph_as_in_the_notebooks(detector: MaskRCNN, capsys: pytest.CaptureFixture):
    image = picture(50, 64)
    pillar = detector.keras_model.get_layer("ROI").output
    result = detector.detect([image])[0]
    found = detector.run_graph(
        [image],
        [
            ("fpn_p2", detector.keras_model.get_layer("fpn_p2").output),
            ("refined_anchors", detector.ancestor(pillar, "ROI/refined_anchors:0")),
            ("detections", detector.keras_model.get_layer("mrcnn_detection").output),
        ],
    )
    assert list(found) == ["fpn_p2", "refined_anchors", "detections"]
    assert found["fpn_p2"].shape == (1, 16, 16, 16)
    assert found["refined_anchors"].shape == (1, 100, 4)
    count = len(result["scores"])
    np.testing.assert_allclose(found["detections"][0, :count, 5], result["scores"], atol=1e-5)
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(found)
    # Images that are molded already.
    molded, metas, _ = detector.mold_inputs([image])
    outputs = [("fpn_p2", detector.keras_model.get_layer("fpn_p2").output)]
    again = detector.run_graph(molded, outputs, image_metas=metas)
    np.testing.assert_allclose(again["fpn_p2"], found["fpn_p2"], rtol=1e-4, atol=1e-3)
    assert detector.ancestor(pillar, "nowhere") is None


def test_layers_with_weights(detector: MaskRCNN):
    layers = detector.get_trainable_layers()
    assert {"conv1", "rpn_model", "mrcnn_mask"} <= {layer.name for layer in layers}
    assert detector.find_trainable_layer(layers[0]) is layers[0]


def test_anchors_are_those_of_the_last_image(tmp_path: Path):
    config = tiny_config(IMAGE_RESIZE_MODE="pad64", IMAGE_MAX_DIM=128)
    model = MaskRCNN("inference", config, tmp_path)
    assert len(model.anchors) == len(model.get_anchors((128, 128, 3)))
    outputs = [("conv1", model.keras_model.get_layer("conv1").output)]
    for run_on in (model.detect, lambda images: model.run_graph(images, outputs)):
        for size in ((64, 64), (64, 128)):
            run_on([picture(*size)])
            found = model.anchors
            np.testing.assert_allclose(
                norm_boxes(found, size), model.get_anchors((*size, 3)), atol=1e-6
            )
            assert found.max() > 2


# The last tests change the run.


def test_training_goes_on_counting(run: Run, capsys: pytest.CaptureFixture):
    assert run.model.train(run.train_dataset, None, 0.01, epochs=2, layers="all") is None
    assert "Nothing to train" in capsys.readouterr().out
    assert_same_weights(all_weights(run.model), run.weights)
    # Without validation, and with every layer.
    history = run.model.train(run.train_dataset, None, 0.001, epochs=3, layers="all")
    assert history.epoch == [2] and run.model.epoch == 3
    assert set(history.history) == set(LOSSES)
    assert run.model.find_last().endswith("mask_rcnn_tiny_0003.h5")
    after = all_weights(run.model)
    assert (after["conv1"][0] != run.weights["conv1"][0]).any()
    # The losses of all epochs are in one file.
    with open(run.log_dir / "losses.csv", newline="") as file:
        assert [row[0] for row in csv.reader(file)][1:] == ["1", "2", "3"]


def test_stages_that_are_done_are_passed_over(run: Run, monkeypatch: pytest.MonkeyPatch):
    calls = []
    monkeypatch.setattr(run.model, "train", lambda *args, **kwargs: calls.append((args, kwargs)))
    stages = [Stage("heads", 0.01, 4), Stage("all", 0.001, 3)]
    run.model.train_stages(run.train_dataset, None, stages, start=5)
    assert [args[2:] for args, _ in calls] == [(0.01, 7, "heads"), (0.001, 9, "all")]
    calls.clear()
    run.model.train_stages(run.train_dataset, None, stages, augmentation="some")
    assert [args[2:] for args, _ in calls] == [(0.01, 2, "heads"), (0.001, 4, "all")]
    assert all(kwargs == {"augmentation": "some"} for _, kwargs in calls)


def test_a_wrong_layer_name_is_said(run: Run):
    with pytest.raises(ValueError, match="layer"):
        run.model.train(run.train_dataset, None, 0.01, run.model.epoch + 1, layers="mrcn_mask")


def test_a_training_model_does_not_detect(run: Run):
    with pytest.raises(RuntimeError, match='mode="inference"'):
        run.model.detect([picture(64, 64)])
    with pytest.raises(RuntimeError, match='mode="inference"'):
        run.model.detect_molded(np.zeros((1, 64, 64, 3)), np.zeros((1, 15)))
