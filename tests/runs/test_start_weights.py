"""The weights that a run starts from."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import keras
import pytest

from benchmarks.stand_in import Squares, StandIn, StandInConfig
from mrcnn.config import Config
from mrcnn.runs import start_weights
from mrcnn.runs.settings import configure
from mrcnn.weights.mismatch import CLASS_LAYERS


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
