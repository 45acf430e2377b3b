"""Weights in and out: Matterport's HDF5 layout, read and written."""

from __future__ import annotations

import os

import h5py
import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mrcnn.files.safetensors import read_safetensors, write_safetensors
from mrcnn.weights.layers import weighted_layers
from mrcnn.weights.matterport import load_weights, save_weights
from mrcnn.weights.report import WeightsError
from tests.weights.networks import NAMES, RPN, assert_same, build, edit, read_layout, values

# --- Writing ---------------------------------------------------------------------------------


def test_the_layout_group_by_group(saved):
    written, expected = read_layout(saved), values(build())
    model_layers = [layer.name for layer in build().layers]
    assert list(written) == model_layers
    assert list(written["conv1"]) == ["conv1/kernel:0", "conv1/bias:0"]
    assert list(written["bn_conv1"]) == [
        f"bn_conv1/{name}:0" for name in ("gamma", "beta", "moving_mean", "moving_variance")
    ]
    assert list(written["rpn_model"]) == [
        f"{layer}/{weight}:0" for layer in RPN for weight in ("kernel", "bias")
    ]
    for layer in ("conv1", "bn_conv1", "mrcnn_class_logits"):
        assert_same({layer: list(written[layer].values())}, expected, [layer])
    for layer in RPN:
        arrays = [array for name, array in written["rpn_model"].items() if name.startswith(layer)]
        assert_same({layer: arrays}, expected, [layer])
    for layer in ("input_image", "activation", "dropout", "flatten"):
        assert written[layer] == {}
    with h5py.File(saved) as file:
        assert isinstance(file.attrs["keras_version"], bytes)  # as Keras 2 expects
        assert file.attrs["keras_version"].startswith(b"2.")
        assert file.attrs["backend"] == b"tensorflow"


def test_no_random_state_no_metric_and_no_optimizer_is_written(tmp_path):
    model = build()
    model.compile("sgd", ["mse", "mse", "mse"], metrics=[["mae"], ["mae"], ["mae"]])
    model.optimizer.build(model.trainable_variables)
    model.metrics_tracker = keras.metrics.Mean(name="loss_tracker")
    written = read_layout(save_weights(model, tmp_path / "weights.h5"))
    kinds = {name.split("/")[-1] for layer in written.values() for name in layer}
    assert kinds == {"kernel:0", "bias:0", "gamma:0", "beta:0",
                     "moving_mean:0", "moving_variance:0"}  # fmt: skip


def test_an_inner_model_keeps_keras_2s_order(tmp_path):
    feature = keras.Input((4, 4, 2))
    x = keras.layers.BatchNormalization(name="first")(feature)
    x = keras.layers.Conv2D(2, 1, name="second")(x)
    image = keras.Input((4, 4, 2))
    model = keras.Model(image, keras.Model(feature, x, name="inner")(image))
    path = save_weights(model, tmp_path / "weights.h5")
    assert list(read_layout(path)["inner"]) == [
        *("first/gamma:0", "first/beta:0", "second/kernel:0", "second/bias:0"),
        *("first/moving_mean:0", "first/moving_variance:0"),
    ]
    before = values(model)
    for weight in model.weights:
        weight.assign(weight * 0 - 1)
    load_weights(model, path, by_name=False)
    assert_same(values(model), before)


def test_a_frozen_model_is_written_in_the_same_order(saved, tmp_path):
    model = build()
    for layer, _ in weighted_layers(model):
        layer.trainable = layer.name == "rpn_bbox_pred"
    path = save_weights(model, tmp_path / "frozen.h5")
    assert list(read_layout(path)["rpn_model"]) == list(read_layout(saved)["rpn_model"])


@pytest.mark.parametrize("by_name", [True, False])
def test_kerass_own_loader_reads_what_we_write(saved, by_name):
    model = build(seed=1)
    model.load_weights(saved, **({"by_name": True} if by_name else {}))
    assert_same(values(model), values(build()))


def test_long_lists_of_names_are_split(tmp_path):
    def chain(seed: int) -> keras.Model:
        x = image = keras.Input((2,), name="input_image")
        for index in range(100):
            x = keras.layers.Activation("linear", name=f"{index:03}" + "n" * 900)(x)
        model = keras.Model(image, keras.layers.Dense(2, name="dense")(x))
        model.layers[-1].kernel.assign(np.full((2, 2), seed))
        return model

    path = save_weights(chain(1), tmp_path / "weights.h5")
    with h5py.File(path) as file:
        assert "layer_names" not in file.attrs
        assert {"layer_names0", "layer_names1"} <= set(file.attrs)
    assert len(read_layout(path)) == 102
    for load in (load_weights, lambda model, path: model.load_weights(path)):
        model = chain(2)
        load(model, path)
        np.testing.assert_array_equal(model.layers[-1].kernel, np.ones((2, 2)))


def test_a_write_that_fails_leaves_the_old_file(saved, monkeypatch):
    before = saved.read_bytes()

    def fail(*_args):
        raise OSError("no space left")

    monkeypatch.setattr("mrcnn.weights.matterport._to_numpy", fail)
    with pytest.raises(OSError, match="no space"):
        save_weights(build(seed=1), saved)
    assert saved.read_bytes() == before
    assert os.listdir(saved.parent) == [saved.name]


def test_a_weight_outside_the_layers_is_an_error(tmp_path):
    model = build()
    model.loose = model.add_weight(shape=(), name="loose")
    with pytest.raises(ValueError, match="loose"):
        save_weights(model, tmp_path / "weights.h5")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "bfloat16"])
def test_files_hold_float32_under_any_policy(tmp_path, policy):
    image = keras.Input((2,))
    model = keras.Model(image, keras.layers.Dense(2, name="dense", dtype=policy)(image))
    path = save_weights(model, tmp_path / "weights.h5")
    assert {array.dtype for array in read_layout(path)["dense"].values()} == {np.dtype("f4")}
    before = values(model)
    load_weights(model, path)
    assert_same(values(model), before)


def test_a_layer_of_layers_is_one_group(tmp_path):
    @keras.saving.register_keras_serializable("test")
    class Pair(keras.layers.Layer):
        def build(self, shape):
            self.first = keras.layers.Dense(3, name="first")
            self.second = keras.layers.Dense(shape[-1], name="second")
            self.first.build(shape)
            self.second.build((*shape[:-1], 3))
            super().build(shape)

        def call(self, x):
            return self.second(self.first(x))

    image = keras.Input((2,))
    model = keras.Model(image, Pair(name="pair")(image))
    path = save_weights(model, tmp_path / "weights.h5")
    assert list(read_layout(path)["pair"]) == [
        f"pair/{name}/{weight}:0" for name in ("first", "second") for weight in ("kernel", "bias")
    ]
    before = values(model)
    for weight in model.weights:
        weight.assign(weight * 0 - 1)
    assert load_weights(model, path).loaded == ("pair",)
    assert_same(values(model), before)


# --- Reading ---------------------------------------------------------------------------------


@pytest.mark.parametrize("by_name", [True, False])
def test_safetensors_hold_the_same(tmp_path, by_name):
    path = save_weights(build(), tmp_path / "weights.safetensors")
    assert path == str(tmp_path / "weights.safetensors")
    model = build(seed=1)
    report = load_weights(model, path, by_name=by_name, exclude=["conv1"])
    assert_same(values(model), values(build()), set(NAMES) - {"conv1"})
    assert report.excluded == ("conv1",) and report.skipped == report.missing == ()
    arrays = read_safetensors(path)
    kernel = model.get_layer("rpn_model").get_layer("rpn_conv_shared").get_weights()[0]
    np.testing.assert_array_equal(arrays["rpn_conv_shared/kernel"], kernel)
    # Another writer's order does not matter.
    shuffled = {name: arrays[name] for name in sorted(arrays, reverse=True)}
    write_safetensors(tmp_path / "other.safetensors", shuffled)
    load_weights(model, tmp_path / "other.safetensors", by_name=by_name)
    assert_same(values(model), values(build()))


def test_safetensors_of_others_are_for_convert(tmp_path):
    write_safetensors(tmp_path / "w.safetensors", {"conv1.weight": np.zeros(2, np.float32)})
    with pytest.raises(WeightsError, match="called layer/variable.*mrcnn convert"):
        load_weights(build(), tmp_path / "w.safetensors")
    (tmp_path / "w.safetensors").write_bytes(b"no header")
    with pytest.raises(WeightsError, match="expected a safetensors file"):
        load_weights(build(), tmp_path / "w.safetensors")
    with pytest.raises(FileNotFoundError, match="none.safetensors"):
        load_weights(build(), tmp_path / "none.safetensors")


@pytest.mark.parametrize("by_name", [True, False])
def test_a_round_trip(saved, by_name):
    model = build(seed=1)
    report = load_weights(model, str(saved), by_name=by_name)
    assert_same(values(model), values(build()))
    assert sorted(report.loaded) == sorted(NAMES)
    assert report.skipped == report.missing == report.mismatched == report.excluded == ()
    assert str(report) == f"{saved}: 6 layers loaded"


@settings(max_examples=10, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(excluded=st.sets(st.sampled_from(NAMES), max_size=5))
def test_exclude_keeps_the_models_values(saved, excluded):
    model, kept = build(seed=1), values(build(seed=1))
    report = load_weights(model, saved, exclude=sorted(excluded))
    if excluded:
        assert_same(values(model), kept, excluded)
    assert_same(values(model), values(build()), set(NAMES) - excluded)
    assert set(report.excluded) == excluded
    assert set(report.loaded) == set(NAMES) - excluded
    assert report.missing == report.skipped == ()


def test_exclude_takes_an_inner_model(saved):
    report = load_weights(build(seed=1), saved, exclude=["rpn_model"])
    assert set(report.excluded) == set(RPN)
    assert report.skipped == report.missing == ()


def test_exclude_of_none_and_of_unknown_names(saved):
    assert load_weights(build(), saved, exclude=None).unknown_excluded == ()
    report = load_weights(build(), saved, exclude=["mrcnn_bbox_fc", "dropout", "conv1"])
    assert report.unknown_excluded == ("mrcnn_bbox_fc",)
    assert "1 layer in `exclude` but nowhere else (mrcnn_bbox_fc)" in str(report)


def test_other_classes_need_exclude(saved):
    model = build(classes=5, seed=1)
    before = values(model)
    for by_name in (True, False):
        with pytest.raises(
            WeightsError, match=r"weights.h5.*\(256, 5\).*\(256, 3\).*exclude=\['mrcnn_class_log"
        ) as error:
            load_weights(model, saved, by_name=by_name)
        assert error.value.report.mismatched == (
            ("mrcnn_class_logits", ((256, 5), (5,)), ((256, 3), (3,))),
        )
        assert_same(values(model), before)  # nothing is assigned on an error
    load_weights(model, saved, exclude=["mrcnn_class_logits"], by_name=False)
    assert_same(values(model), values(build()), ["conv1", *RPN])


def test_another_number_of_weights_is_a_mismatch(saved):
    image = keras.Input((8, 8, 3))
    conv = keras.layers.Conv2D(4, 3, use_bias=False, name="conv1")
    with pytest.raises(WeightsError, match="conv1: expected .3, 3, 3, 4., found .*, .4,."):
        load_weights(keras.Model(image, conv(image)), saved)


@pytest.mark.parametrize(("ours", "theirs"), [("rpn_model", None), (None, "rpn_model")])
def test_the_rpn_may_be_nested_on_one_side_only(tmp_path, ours, theirs):
    path = save_weights(build(rpn_name=theirs), tmp_path / "weights.h5")
    model = build(seed=1, rpn_name=ours)
    report = load_weights(model, path, by_name=False)
    assert sorted(report.loaded) == sorted(NAMES)
    assert_same(values(model), values(build(rpn_name=theirs)))


def test_names_that_keras_made_unique(saved):
    """A second model of one session called its inner weights rpn_class_raw_1/kernel:0."""

    def rename(file):
        group = file["rpn_model"]
        names = [name.decode() for name in group.attrs["weight_names"]]
        for name in names:
            group[name.replace("/", "_1/")] = group[name][()]
            del group[name]
        group.attrs["weight_names"] = [name.replace("/", "_1/") for name in names]

    model = build(seed=1)
    report = load_weights(model, edit(saved, rename), by_name=False)
    assert set(report.loaded) == set(NAMES)
    assert_same(values(model), values(build()))


def test_an_inner_model_of_another_size(saved):
    def shorten(file):
        file["rpn_model"].attrs["weight_names"] = [b"a/kernel:0", b"a/bias:0"]
        for name in ("kernel", "bias"):
            file[f"rpn_model/a/{name}:0"] = file[f"rpn_model/rpn_conv_shared/{name}:0"][()]

    with pytest.raises(WeightsError, match="rpn_model: expected"):
        load_weights(build(), edit(saved, shorten))


def test_anchors_of_a_port_are_skipped_and_reported(saved):
    def add_anchors(file):
        names = [*file.attrs["layer_names"], b"anchors"]
        file.attrs["layer_names"] = names
        file.create_group("anchors").attrs["weight_names"] = [b"anchors/Variable:0"]
        file["anchors/anchors/Variable:0"] = np.zeros((2, 10, 4), np.float32)

    edit(saved, add_anchors)
    for by_name in (True, False):
        report = load_weights(build(seed=1), saved, by_name=by_name)
        assert report.skipped == ("anchors",)
        assert "1 layer in the file only (anchors)" in str(report)


def test_layers_on_one_side_only(saved):
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, name="conv1")(image)
    model = keras.Model(image, keras.layers.Conv2D(4, 3, name="new")(x))
    report = load_weights(model, saved)
    assert report.loaded == ("conv1",)
    assert report.missing == ("new",)
    assert set(report.skipped) == {"bn_conv1", "mrcnn_class_logits"} | {
        f"rpn_model/{name}" for name in RPN
    }
    with pytest.raises(WeightsError, match=r"file only: bn_conv1.*model only: new"):
        load_weights(model, saved, by_name=False)


def test_nothing_in_common_is_an_error(saved):
    image = keras.Input((2,))
    model = keras.Model(image, keras.layers.Dense(2, name="other")(image))
    with pytest.raises(ValueError, match=r"In the file: conv1.*in the model: other"):
        load_weights(model, saved)
    with pytest.raises(ValueError, match="no layer matches.*excluded: conv1"):
        load_weights(build(), saved, exclude=NAMES)


def test_two_layers_of_one_name_are_an_error(saved):
    image = keras.Input((8, 8, 3))
    inner = keras.Input((8, 8, 3))
    inner = keras.Model(inner, keras.layers.Conv2D(3, 1, name="conv1")(inner), name="inner")
    model = keras.Model(image, keras.layers.Conv2D(3, 1, name="conv1")(inner(image)))
    with pytest.raises(WeightsError, match="two layers named 'conv1'"):
        load_weights(model, saved)


def test_a_whole_keras_2_model_file(saved, tmp_path):
    with h5py.File(tmp_path / "model.h5", "w") as target, h5py.File(saved) as source:
        source.copy(source, target, "model_weights")
        target.create_group("optimizer_weights")
        target.attrs["model_config"] = b"{}"
    model = build(seed=1)
    load_weights(model, tmp_path / "model.h5", by_name=False)
    assert_same(values(model), values(build()))


def test_imagenet_names_of_keras_1(tmp_path):
    """The ImageNet file names its weights conv1_W:0 …, and lists them as variable-length text."""
    source = values(build())
    names = {"conv1": ["conv1_W:0", "conv1_b:0"], "activation_9": [],
             "bn_conv1": [f"bn_conv1_{name}:0" for name in
                          ("gamma", "beta", "running_mean", "running_std")]}  # fmt: skip
    with h5py.File(tmp_path / "imagenet.h5", "w") as file:
        file.attrs["layer_names"] = list(names)
        for layer, weights in names.items():
            group = file.create_group(layer)
            group.attrs["weight_names"] = weights
            for name, array in zip(weights, source.get(layer, []), strict=True):
                group[name] = array
    model = build(seed=1)
    report = load_weights(model, tmp_path / "imagenet.h5")
    assert report.loaded == ("conv1", "bn_conv1")
    assert set(report.missing) == {*RPN, "mrcnn_class_logits"}
    assert_same(values(model), source, ["conv1", "bn_conv1"])


# --- Files that are not weights --------------------------------------------------------------


def test_hdf5_without_keras_weights(tmp_path):
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file.attrs["title"] = "measurements"
    with pytest.raises(WeightsError, match=r"data\.h5.*'layer_names', found title"):
        load_weights(build(), tmp_path / "data.h5")


# --- Matterport's own file ---------------------------------------------------------------------


def stand_in(layout: dict[str, dict[str, np.ndarray]]) -> keras.Model:
    """A model with one layer for each group of a file that has weights, of the same shapes."""

    def layer(name: str, arrays: list[np.ndarray]) -> tuple[keras.Layer, tuple[int, ...]]:
        kernel = arrays[0]
        if len(arrays) == 4:
            return keras.layers.BatchNormalization(name=name), (2, 2, len(kernel))
        if kernel.ndim == 2:
            return keras.layers.Dense(kernel.shape[1], name=name), kernel.shape[:1]
        kind = keras.layers.Conv2DTranspose if "deconv" in name else keras.layers.Conv2D
        return (
            kind(len(arrays[1]), kernel.shape[:2], padding="same", name=name,
                 kernel_initializer="zeros"),
            (2, 2, kernel.shape[3] if "deconv" in name else kernel.shape[2]),
        )  # fmt: skip

    inputs, outputs = [], []
    for group, weights in layout.items():
        if group == "rpn_model":
            by_layer: dict[str, list[np.ndarray]] = {}
            for name, array in weights.items():
                by_layer.setdefault(name.split("/")[0], []).append(array)
            made = [layer(name, arrays) for name, arrays in by_layer.items()]
            inner = [keras.Input(shape) for _, shape in made]
            inner_outputs = [made[i][0](tensor) for i, tensor in enumerate(inner)]
            model = keras.Model(inner, inner_outputs, name="rpn_model")
            inputs += (feeds := [keras.Input(shape) for _, shape in made])
            outputs += model(feeds)
        elif weights:
            made_layer, shape = layer(group, list(weights.values()))
            inputs.append(keras.Input(shape))
            outputs.append(made_layer(inputs[-1]))
    return keras.Model(inputs, outputs)


def test_matterports_own_file(fixtures, tmp_path):
    path = fixtures / "A_weights.h5"
    with h5py.File(path) as file:  # its names are variable-length text
        layout = {
            layer: {name: file[f"{layer}/{name}"][()] for name in file[layer].attrs["weight_names"]}
            for layer in file.attrs["layer_names"]
            # the last stages are large and the same again
            if not layer.startswith(("res4", "bn4", "res5", "bn5"))
        }
    model = stand_in(layout)
    report = load_weights(model, path)
    weighted = {layer for layer, weights in layout.items() if weights}
    assert set(report.loaded) == weighted - {"rpn_model"} | set(RPN)
    assert report.missing == ()
    assert all(name.startswith(("res4", "bn4", "res5", "bn5")) for name in report.skipped)
    assert len(report.skipped) == 2 * (6 * 3 + 1 + 3 * 3 + 1)

    found = values(model)
    for layer in weighted - {"rpn_model"}:
        assert_same(found, {layer: list(layout[layer].values())})
    for layer in RPN:
        stored = [layout["rpn_model"][f"{layer}/{name}:0"] for name in ("kernel", "bias")]
        assert_same(found, {layer: stored})

    written = read_layout(save_weights(model, tmp_path / "ours.h5"))
    for layer in weighted:
        assert list(written[layer]) == list(layout[layer]), "names and order"
        for name, array in layout[layer].items():
            np.testing.assert_array_equal(written[layer][name], array, err_msg=name)
