"""The weights that a run starts from."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import h5py
import keras
import numpy as np
import pytest

from benchmarks.stand_in import Squares, StandIn, StandInConfig
from mrcnn.config import Config
from mrcnn.model import MaskRCNN
from mrcnn.runs import start_weights
from mrcnn.runs.settings import configure, save_settings
from mrcnn.weights.mismatch import CLASS_LAYERS
from tests.tiny import tiny_config


def test_layers_can_be_left_out_of_the_start_weights(tmp_path):
    """Expressions become the names of the layers that they match."""
    layers = [keras.layers.Dense(1, name=name) for name in ("conv1", "mrcnn_mask_conv1", "fc")]
    network = keras.Sequential([keras.Input((1,)), *layers])
    calls = []
    model = SimpleNamespace(
        config=Config(),
        model_dir=tmp_path,
        keras_model=network,
        load_weights=lambda path, **options: calls.append((path, options)),
        set_log_dir=lambda: None,
    )
    file = str(tmp_path / "a.h5")
    Path(file).write_bytes(b"")
    start_weights.load_start_weights(model, file, ["mrcnn_mask.*", "fc"])
    assert calls == [(file, {"by_name": True, "exclude": ["mrcnn_mask_conv1", "fc"]})]
    with pytest.raises(ValueError, match="mask_of_nothing"):
        start_weights.load_start_weights(model, file, ["mask_of_nothing"])
    start_weights.load_start_weights(model, "none", ["mrcnn_mask.*"])
    assert len(calls) == 1


def test_of_other_classes_the_layers_that_depend_on_them_are_left_out(monkeypatch, tmp_path):
    monkeypatch.setattr(start_weights.pretrained, "download_trained_weights", lambda name: name)
    excluded = {}
    for classes in (2, start_weights.COCO_CLASSES):
        model = SimpleNamespace(
            config=configure(Config, {"NUM_CLASSES": classes}),
            model_dir=tmp_path,
            keras_model=None,
            load_weights=lambda path, by_name, exclude, classes=classes: excluded.update(
                {classes: exclude}
            ),
            set_log_dir=lambda: None,
        )
        start_weights.load_start_weights(model, "COCO")
    assert excluded == {2: list(CLASS_LAYERS), start_weights.COCO_CLASSES: []}


@pytest.fixture(scope="module")
def run_of_three(tmp_path_factory) -> Path:
    """The weights of a run on three classes, with the settings beside them."""
    folder = tmp_path_factory.mktemp("logs") / "three20260101T1200"
    config = tiny_config(NUM_CLASSES=4, SEED=1)
    model = MaskRCNN("training", config, folder)
    folder.mkdir()
    for name in CLASS_LAYERS:  # biases are all zero at first
        layer = model.keras_model.get_layer(name)
        random = np.random.default_rng(len(name))
        layer.set_weights([random.normal(size=w.shape) for w in layer.get_weights()])
    path = folder / "mask_rcnn_three_0001.h5"
    model.save_weights(path)
    save_settings(config, folder, {"class_names": ["BG", "nut", "fig", "date"]})
    return path


@pytest.mark.parametrize(
    "names",
    [
        ["BG", "date", "fig", "nut"],
        ["BG", "fig"],
        ["BG", "kiwi", "nut", "plum", "fig", "pear"],
        ["BG", "kiwi"],
    ],
)
def test_what_a_class_has_learned_goes_by_its_name(run_of_three, tmp_path, caplog, names):
    theirs = ["BG", "nut", "fig", "date"]
    config = tiny_config(NUM_CLASSES=len(names), SEED=2)
    model = MaskRCNN("training", config, tmp_path)
    fresh = {name: model.keras_model.get_layer(name).get_weights() for name in CLASS_LAYERS}
    caplog.set_level("INFO", "mrcnn")
    start_weights.load_start_weights(model, str(run_of_three), class_names=names)
    new = [name for name in names if name not in theirs]
    assert ("new and random: " + (", ".join(new) or "none")) in caplog.text
    with h5py.File(run_of_three) as file:
        for layer, width in zip(CLASS_LAYERS, (1, 4, 1), strict=True):
            stored = [file[layer][name][()] for name in file[layer].attrs["weight_names"]]
            found = model.keras_model.get_layer(layer).get_weights()
            for before, values, source in zip(fresh[layer], found, stored, strict=True):
                for k, name in enumerate(names):
                    own = values[..., k * width : (k + 1) * width]
                    j = theirs.index(name) if name in theirs else None
                    expected = (
                        before[..., k * width : (k + 1) * width]
                        if j is None
                        else source[..., j * width : (j + 1) * width]
                    )
                    np.testing.assert_array_equal(own, expected.astype(np.float32))
        conv = model.keras_model.get_layer("conv1").get_weights()[0]
        kernel = file["conv1"][file["conv1"].attrs["weight_names"][0]][()]
    np.testing.assert_array_equal(conv, kernel)
    assert model.epoch == 0  # a new run


def test_the_same_classes_and_unknown_ones_are_loaded_as_they_are(run_of_three, tmp_path, caplog):
    caplog.set_level("INFO", "mrcnn")
    for names in (["BG", "nut", "fig", "date"], None):
        model = MaskRCNN("training", tiny_config(NUM_CLASSES=4, SEED=2), tmp_path)
        start_weights.load_start_weights(model, str(run_of_three), class_names=names)
        assert "by name" not in caplog.text
        other = MaskRCNN("training", tiny_config(NUM_CLASSES=4, SEED=3), tmp_path)
        other.load_weights(run_of_three, by_name=True)
        for layer in CLASS_LAYERS:
            found, expected = (m.keras_model.get_layer(layer).get_weights() for m in (model, other))
            np.testing.assert_array_equal(found[0], expected[0])


def test_heads_that_are_left_out_stay_random(run_of_three, tmp_path):
    model = MaskRCNN("training", tiny_config(NUM_CLASSES=3, SEED=2), tmp_path)
    before = model.keras_model.get_layer("mrcnn_mask").get_weights()[0]
    names = ["BG", "fig", "nut"]
    start_weights.load_start_weights(model, str(run_of_three), ["mrcnn_mask"], class_names=names)
    np.testing.assert_array_equal(
        model.keras_model.get_layer("mrcnn_mask").get_weights()[0], before
    )


def test_a_list_of_classes_that_is_not_that_of_the_heads_is_an_error(run_of_three, tmp_path):
    folder = tmp_path / "wrong20260101T1200"
    folder.mkdir()
    shutil.copy(run_of_three, folder)
    config = tiny_config(NUM_CLASSES=4)
    save_settings(config, folder, {"class_names": ["BG", "nut", "fig"]})
    model = MaskRCNN("training", config, tmp_path)
    with pytest.raises(ValueError, match=r"mrcnn_class_logits has an array .*a multiple of 3"):
        start_weights.load_start_weights(
            model, str(folder / run_of_three.name), class_names=["BG", "a", "b", "nut"]
        )


def test_only_last_goes_on_with_a_run(tmp_path):
    """A file in a log folder, even the newest, begins a new run: the folder stays as it is."""
    first = StandIn("training", StandInConfig(), tmp_path / "logs")
    first.train(Squares().add(4), None, 1e-2, epochs=2, layers="all")
    newest = first.find_last()
    del first  # and its lock
    folder = Path(newest).parent
    before = {path: path.read_bytes() for path in folder.iterdir()}
    model = StandIn("training", StandInConfig(), tmp_path / "logs")
    start_weights.load_start_weights(model, newest)
    assert model.epoch == 0
    model.train(Squares().add(4), None, 1e-2, epochs=1, layers="all")
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    assert Path(model.log_dir, "mask_rcnn_stand-in_0001.h5").is_file()
    again = StandIn("training", StandInConfig(), tmp_path / "logs")
    start_weights.load_start_weights(again, "last")
    assert (again.epoch, again.log_dir) == (1, model.log_dir)


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [("imagenet", ValueError, "resnet50"), ("last", FileNotFoundError, "No checkpoint")],
)
def test_weights_that_there_are_not(tmp_path, name, error, message):
    config = configure(Config, {"NAME": "x", "BACKBONE": "resnet10"})
    with pytest.raises(error, match=message):
        start_weights.weights_path(name, tmp_path, config)
