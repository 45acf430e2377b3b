"""Weights files of Keras 3's own layout, read by the names of their layers."""

from __future__ import annotations

import json
import zipfile

import h5py
import keras
import numpy as np
import pytest

from mrcnn.weights import keras3
from mrcnn.weights.matterport import load_weights
from mrcnn.weights.report import WeightsError
from tests.weights.networks import NAMES, RPN, assert_same, build, edit, values


def other_order(classes: int = 3) -> keras.Model:
    """The layers of `build` in another order, so that Keras gives them other numbers."""
    layers = keras.layers
    feature = keras.Input((8, 8, 4))
    shared = layers.Conv2D(5, 3, padding="same", name=RPN[0])(feature)
    heads = [layers.Conv2D(n, 1, name=name) for n, name in ((12, RPN[2]), (6, RPN[1]))]
    rpn = keras.Model(feature, [head(shared) for head in heads], name="rpn_model")
    image = keras.Input((8, 8, 3), name="input_image")
    extra = layers.Conv2D(4, 3, padding="same", name="another")(image)
    x = layers.Conv2D(4, 3, padding="same", name="conv1")(image)
    outputs = [
        extra,
        *rpn(x),
        layers.Dense(classes, name="mrcnn_class_logits")(layers.Flatten()(x)),
    ]
    return keras.Model(image, outputs)


@pytest.fixture
def written(tmp_path):
    path = tmp_path / "new.weights.h5"
    build().save_weights(path)
    return path


def test_layers_are_found_by_name(written):
    model = build(seed=1)
    report = load_weights(model, written, by_name=False)
    assert sorted(report.loaded) == sorted(NAMES)
    assert report.skipped == report.missing == ()
    assert_same(values(model), values(build()))


def test_a_network_of_another_order_gets_the_layers_of_its_names(written):
    model = other_order()
    report = load_weights(model, written)
    assert sorted(report.loaded) == sorted(["conv1", "mrcnn_class_logits", *RPN])
    assert report.missing == ("another",)
    assert_same(values(model), values(build()), report.loaded)


def test_the_name_of_the_file_does_not_matter(written):
    model = build(seed=1)
    load_weights(model, written.rename(written.with_name("renamed.h5")))
    assert_same(values(model), values(build()))


@pytest.mark.parametrize(
    "excluded, kept", [(["conv1"], ["conv1"]), (["rpn_model"], [*RPN]), ([RPN[1]], [RPN[1]])]
)
def test_exclude_works(written, excluded, kept):
    model, before = build(seed=1), values(build(seed=1))
    report = load_weights(model, written, exclude=excluded)
    assert sorted(report.excluded) == sorted(kept)
    assert_same(values(model), before, kept)
    assert_same(values(model), values(build()), set(NAMES) - set(kept))


def test_other_shapes_are_named(written):
    model, before = build(classes=5), values(build(classes=5))
    with pytest.raises(WeightsError, match=r"new\.weights\.h5.*mrcnn_class_logits: expected"):
        load_weights(model, written)
    assert_same(values(model), before)


def test_a_layer_in_a_wrapper_counts_under_the_wrappers_name(tmp_path):
    image = keras.Input((2, 8, 8, 3))
    wrapped = keras.layers.TimeDistributed(keras.layers.Conv2D(4, 3, padding="same"), name="conv1")
    port = keras.Model(image, wrapped(image))
    port.save_weights(tmp_path / "port.weights.h5")
    model = build(seed=1)
    assert load_weights(model, tmp_path / "port.weights.h5").loaded == ("conv1",)
    assert_same({"conv1": port.get_weights()}, values(model), ["conv1"])


def test_a_whole_model_of_keras_3(tmp_path):
    for name in ("model.keras", "model.h5"):
        build().save(tmp_path / name)
        model = build(seed=1)
        report = load_weights(model, tmp_path / name)
        assert sorted(report.loaded) == sorted(NAMES)
        assert_same(values(model), values(build()))


def test_nothing_of_an_archive_is_read_but_the_weights(tmp_path):
    """Not the description of the model, which could ask for code to be run."""
    build().save(tmp_path / "model.keras")
    with (
        zipfile.ZipFile(tmp_path / "model.keras") as source,
        zipfile.ZipFile(tmp_path / "evil.keras", "w") as target,
    ):
        target.writestr("config.json", "not even json")
        target.writestr("model.weights.h5", source.read("model.weights.h5"))
    model = build(seed=1)
    load_weights(model, tmp_path / "evil.keras")
    assert_same(values(model), values(build()))


def test_an_archive_of_more_than_the_model_can_have_is_refused(tmp_path, monkeypatch):
    build().save(tmp_path / "model.keras")
    monkeypatch.setattr(keras3, "KERAS3_FLOOR_BYTES", 0)
    monkeypatch.setattr(keras3, "MAX_KERAS3_RATIO", 1)
    with pytest.raises(WeightsError, match=r"model\.keras.*above the limit"):
        load_weights(build(), tmp_path / "model.keras")


# --- Hostile and damaged files -----------------------------------------------------------------


def conv(file: h5py.File) -> h5py.Group:
    return file["layers/conv2d/vars"]


def link_away(file: h5py.File) -> None:
    del conv(file)["0"]
    conv(file)["0"] = h5py.ExternalLink("/etc/passwd", "/")


def objects(file: h5py.File) -> None:
    del conv(file)["0"]
    conv(file).create_dataset("0", data=["text"], dtype=h5py.string_dtype())


def loop(file: h5py.File) -> None:
    file["layers/conv2d/layers"] = file["layers"]


def twice(file: h5py.File) -> None:
    file.copy("layers/conv2d", "layers/conv2d_9")


def group_for_array(file: h5py.File) -> None:
    del conv(file)["0"]
    conv(file).create_group("0")


def name_of_numbers(file: h5py.File) -> None:
    conv(file).attrs["name"] = [1, 2, 3]


def gap(file: h5py.File) -> None:
    conv(file).move("1", "7")


@pytest.mark.parametrize(
    "change, expected",
    [
        (link_away, "link to another file"),
        (objects, "expected an array of numbers"),
        (loop, "is there twice"),
        (twice, "two layers named 'conv1'"),
        (group_for_array, "is a group"),
        (name_of_numbers, "'name'.*not a text"),
        (gap, "'1'.*not there"),
    ],
)
def test_what_weights_do_not_hold_is_refused(written, change, expected):
    model, before = build(seed=1), values(build(seed=1))
    with pytest.raises(WeightsError, match=rf"new\.weights\.h5.*({expected})"):
        load_weights(model, edit(written, change))
    assert_same(values(model), before)


def test_groups_that_multiply_end(tmp_path):
    """Ten layers, each of which holds all ten again."""
    path = tmp_path / "many.weights.h5"
    with h5py.File(path, "w") as file:
        for number in range(10):
            layer = file.create_group(f"layers/model_{number}")
            layer.create_group("vars").attrs["name"] = f"model_{number}"
            layer["layers"] = file["layers"]
    with pytest.raises(WeightsError, match="is there twice"):
        load_weights(build(), path)


# --- Files that do not name their layers --------------------------------------------------------


def without_names(file: h5py.File) -> None:
    def drop(name: str, found: h5py.Group | h5py.Dataset) -> None:
        found.attrs.pop("name", None)

    file.visititems(drop)


def test_unnamed_layers_go_through_kerass_loader(written):
    edit(written, without_names)
    model = build(seed=1)
    report = load_weights(model, written)
    assert sorted(report.loaded) == sorted(NAMES)
    assert_same(values(model), values(build()))
    with pytest.raises(WeightsError, match="exclude"):
        load_weights(model, written, exclude=["conv1"])
    with pytest.raises(WeightsError, match=r"renamed\.h5.*Keras 3"):
        load_weights(model, written.rename(written.with_name("renamed.h5")))


def test_an_error_of_keras_leaves_the_model_as_it_was(tmp_path):
    path = tmp_path / "other.weights.h5"
    build(classes=5).save_weights(path)
    edit(path, without_names)
    model, before = build(seed=1), values(build(seed=1))
    with pytest.raises(WeightsError, match=r"other\.weights\.h5: Keras cannot load it"):
        load_weights(model, path)
    assert_same(values(model), before)


def test_a_file_that_declares_much_more_than_the_model_is_refused(tmp_path):
    path = tmp_path / "huge.weights.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("layers/conv/vars/0", (1 << 30,), "float32")  # nothing is written
    with pytest.raises(WeightsError, match="refused"):
        keras3.check_keras3_file(build(), str(path))


def test_a_list_of_several_files_names_the_one_that_is_missing(tmp_path):
    path = tmp_path / "model.weights.json"
    path.write_text(json.dumps({"weight_map": {"conv1": "part_1.weights.h5"}}))
    with pytest.raises(WeightsError, match=r"\['part_1.weights.h5'\] that it lists is missing"):
        keras3.check_keras3_file(build(), str(path))
    path.write_text(json.dumps({"files": []}))
    with pytest.raises(WeightsError, match="expected the 'weight_map'"):
        keras3.check_keras3_file(build(), str(path))


def test_the_first_weights_are_not_those_of_the_file():
    """Else the tests above could not fail."""
    assert not np.array_equal(build().get_weights()[0], build(seed=1).get_weights()[0])


def test_groups_nested_too_deeply_are_refused(written):
    edit(written, lambda file: file.create_group("layers/conv2d/" + "x/" * 100))
    with pytest.raises(WeightsError, match="nested too deeply"):
        load_weights(build(), written)
