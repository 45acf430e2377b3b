"""Weights in and out, in the HDF5 layout of Matterport's `.h5` files (Keras 2), or `.safetensors`.

The file's attribute `layer_names` lists the layers; each has a group with the attribute
`weight_names`, which lists its datasets in order, such as ``conv1/kernel:0``. A model inside the
model (`rpn_model`) is one group that holds the weights of its layers. Layers without weights have
an empty list. Older forks and Keras 2 can read what `save_weights` writes.

Files are untrusted: see `mrcnn.files.hdf5` for what is refused. Shapes are compared before any
data are read, so that a file takes no more memory than the model.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import h5py
import keras
import numpy as np

from mrcnn.files import hdf5
from mrcnn.files.atomic import atomic_path
from mrcnn.files.safetensors import read_safetensors, write_safetensors
from mrcnn.weights.keras3 import (
    StoredWeights,
    has_layout,
    load_keras3,
    most_bytes,
    stored_layers,
)
from mrcnn.weights.layers import weighted_layers
from mrcnn.weights.mismatch import explain
from mrcnn.weights.reading import open_weights
from mrcnn.weights.report import Shapes, WeightsError, WeightsReport, abbreviate

# Kernels are stored height, width, in, out on every backend of Keras 3, which is what a Keras 2
# reader takes "tensorflow" to mean; the version keeps it from converting Keras 1 weights.
LAYOUT_BACKEND = np.bytes_("tensorflow")
LAYOUT_VERSION = np.bytes_("2.14.0")
# An HDF5 object header holds 64 KB; Keras leaves 1 KB for the rest of it.
ATTRIBUTE_LIMIT = 64512  # bytes
# Some ports keep the anchors of one image size and batch as a weight. Ours are computed.
IGNORED_LAYERS = ("anchors",)
_SAFETENSORS = ".safetensors"
# In the order in which layers have them.
_VARIABLES = ("kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance")
# Of the weights in a file of which nothing else is known: ResNet-152 has 0.25 GB.
MOST_BYTES = 2 << 30


def load_weights(
    model: keras.Model,
    path: str | os.PathLike[str],
    exclude: Iterable[str] | None = (),
    by_name: bool = True,
) -> WeightsReport:
    """Load a weights file into the layers of the same names.

    Layers are matched by name through inner models on either side, so `rpn_conv_shared` is found
    in the file's `rpn_model` or at its top level. On any error the model stays as it was. Of
    Keras 3's files only the weights are read, never what would make a model of them. Those that do
    not name their layers (of its early versions) are left to Keras's own loader.

    Args:
        model: the network, built.
        path: the file: weights or a whole model of Keras 1, 2 or 3 in HDF5, or `.keras`; or
            `.safetensors`, as `save_weights` writes it.
        exclude: names of layers, or of inner models, that keep their values: for other classes
            ["mrcnn_class_logits", "mrcnn_bbox_fc", "mrcnn_bbox", "mrcnn_mask"].
        by_name: True: layers on one side only are reported. False: they are an error.

    Raises:
        FileNotFoundError: if there is no such file.
        WeightsError: a `ValueError`: if the file is damaged, of another format or refused, if no
            layer matches, if shapes differ, or if `by_name` is False and layers are left over.
    """
    path = os.fspath(path)
    excluded = [exclude] if isinstance(exclude, str) else list(exclude or ())
    with _open_stored(path, most_bytes(model)) as stored:
        if stored is not None:
            pairs, report = _match(model, stored, excluded, path)
            _check(model, stored, report, by_name)
            values = [(variable, dataset[()]) for variable, dataset in pairs]
    if stored is None:
        return load_keras3(model, path, excluded)
    for variable, value in values:
        variable.assign(value)
    return report


def read_layers(
    model: keras.Model, path: str | os.PathLike[str], names: Iterable[str]
) -> dict[str, list[np.ndarray]]:
    """The arrays of some layers of a weights file, in their order; layers that it lacks are not in.

    Args:
        model: the network; a file may not hold much more than it.
        path: see `load_weights`.
        names: of layers that are in no inner model.
    """
    path = os.fspath(path)
    with _open_stored(path, most_bytes(model)) as stored:
        found = stored or {}
        return {name: [array[()] for _, array in found[name]] for name in names if name in found}


def read_file(path: str | os.PathLike[str]) -> dict[str, list[np.ndarray]]:
    """The arrays of every layer of a weights file, in their order.

    Raises:
        FileNotFoundError: there is no such file.
        WeightsError: it holds no Keras weights.
    """
    path = os.fspath(path)
    with open_weights(path, MOST_BYTES) as file:
        hdf5.check_tree(file, MOST_BYTES)
        stored = _stored_layers(file, path) or {}
        return {name: [array[()] for _, array in arrays] for name, arrays in stored.items()}


def save_weights(model: keras.Model, path: str | os.PathLike[str]) -> str:
    """Write the weights of a model, and return the path.

    In Matterport's layout; as `.safetensors`, if the name ends so, under names such as
    "conv1/kernel". The file appears whole or not at all. It holds kernels, biases and the
    parameters and statistics of batch normalization; neither optimizer, random states nor metrics.

    Raises:
        ValueError: if the model owns a weight outside its layers, which the layout cannot hold.
    """
    in_layers = {id(weight) for layer, _ in weighted_layers(model) for weight in layer.weights}
    loose = [weight.path for weight in model.weights if id(weight) not in in_layers]
    if loose:
        raise ValueError(
            f"The layout of Matterport's files has a group per layer; these weights belong to "
            f"the model itself: {abbreviate(loose)}. Move them into a layer."
        )
    if os.fspath(path).endswith(_SAFETENSORS):
        arrays = {
            f"{layer.name}/{weight.name}": _to_numpy(weight)
            for layer, _ in weighted_layers(model)
            for weight in layer.weights
        }
        write_safetensors(path, arrays, {"format": "keras"})
        return os.fspath(path)
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs["backend"] = LAYOUT_BACKEND
        file.attrs["keras_version"] = LAYOUT_VERSION
        _write_names(file, "layer_names", [layer.name for layer in model.layers])
        for layer in model.layers:
            group = file.create_group(layer.name)
            inside = [leaf for leaf, _ in weighted_layers(layer)] if _is_model(layer) else [layer]
            weights = _in_file_order(inside)
            names = [_weight_name(leaf, weight) for leaf, weight in weights]
            _write_names(group, "weight_names", names)
            for name, (_, weight) in zip(names, weights, strict=True):
                group.create_dataset(name, data=_to_numpy(weight))
    return os.fspath(path)


# --- Reading ---------------------------------------------------------------------------------


@contextmanager
def _open_stored(path: str, most_bytes: int) -> Iterator[StoredWeights | None]:
    """The arrays of a file by layer, to be read while it is open; None: it names no layers."""
    if path.endswith(_SAFETENSORS):
        if not os.path.isfile(path):
            raise FileNotFoundError(f"Weights file {path}: no such file.")
        try:
            arrays = read_safetensors(path)
        except ValueError as error:
            raise WeightsError(str(error)) from error
        yield _by_variable(arrays, path)
        return
    with open_weights(path, most_bytes) as file:
        yield _stored_layers(file, path)


def _by_variable(arrays: dict[str, np.ndarray], path: str) -> StoredWeights:
    """Arrays called layer/variable by layer, in the order in which layers have their variables.

    Those whose names are not among the usual ones follow in the order of the file.
    """
    found: StoredWeights = {}
    for name in sorted(arrays, key=lambda name: _place_of(name.rpartition("/")[2])):
        layer = name.rpartition("/")[0]
        if not layer:
            raise WeightsError(
                f"{path}: expected arrays called layer/variable, such as 'conv1/kernel', as this "
                f"package writes them; received {name[:60]!r}. Other packages' weights are for "
                "mrcnn convert."
            )
        found.setdefault(layer, []).append((name, arrays[name]))
    return found


def _place_of(variable: str) -> int:
    return _VARIABLES.index(variable) if variable in _VARIABLES else len(_VARIABLES)


def _stored_layers(file: h5py.File, path: str) -> StoredWeights | None:
    """Every layer of a file with its weights, or None for one that does not name its layers."""
    root, layers = file, hdf5.names(file, "layer_names")
    if layers is None and hdf5.has(root, "model_weights"):  # a whole saved model
        root = hdf5.subgroup(file, "model_weights")
        layers = hdf5.names(root, "layer_names")
    if layers is None:
        if has_layout(root):
            return stored_layers(root)
        raise WeightsError(
            f"{path}: this HDF5 file holds no Keras weights: expected the attribute "
            f"'layer_names', found {abbreviate(list(root.attrs)) or 'no attribute'}."
        )
    return {layer: _stored_weights(hdf5.subgroup(root, layer)) for layer in layers}


def _stored_weights(group: h5py.Group) -> list[tuple[str, h5py.Dataset]]:
    names = hdf5.names(group, "weight_names")
    if names is None:
        raise KeyError(f"{group.name} lacks the attribute 'weight_names'")
    weights = [(name, hdf5.child(group, name)) for name in names]
    for name, weight in weights:
        if not isinstance(weight, h5py.Dataset):
            raise KeyError(f"{group.name}/{name} is no array")
    return weights


# --- Matching --------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Layers:
    """The layers of a model that have weights.

    Attributes:
        by_name: each of them, also those inside inner models.
        inner: the layers of each inner model, such as `rpn_model`.
    """

    by_name: dict[str, keras.Layer]
    inner: dict[str, list[keras.Layer]]

    @classmethod
    def of(cls, model: keras.Model) -> _Layers:
        by_name: dict[str, keras.Layer] = {}
        inner: dict[str, list[keras.Layer]] = {}
        for layer, owners in weighted_layers(model):
            if layer.name in by_name:
                raise WeightsError(f"The model has two layers named {layer.name!r}; rename one.")
            by_name[layer.name] = layer
            for owner in owners:
                inner.setdefault(owner, []).append(layer)
        return cls(by_name, inner)

    def meant_by(self, names: Iterable[str]) -> set[str]:
        """The names of the layers that are listed, by themselves or as an inner model."""
        own = {name for name in names if name in self.by_name}
        return own | {layer.name for name in names for layer in self.inner.get(name, ())}


def _match(
    model: keras.Model, stored: StoredWeights, exclude: list[str], path: str
) -> tuple[list[tuple[keras.Variable, h5py.Dataset]], WeightsReport]:
    """Pair the variables of the model with the arrays of the file, and report."""
    layers = _Layers.of(model)
    excluded = layers.meant_by(exclude)
    values: list[tuple[keras.Variable, h5py.Dataset]] = []
    loaded: list[str] = []
    skipped: list[str] = []
    mismatched: list[tuple[str, Shapes, Shapes]] = []
    # A group that names a layer wins over the same layer inside another group.
    for group, weights in sorted(stored.items(), key=lambda item: item[0] not in layers.by_name):
        if not weights or group in exclude:
            continue
        for name, variables, arrays in _units(group, weights, layers):
            if name in excluded or name in exclude:
                continue
            if not variables or name in loaded:
                skipped.append(name if name == group else f"{group}/{name}")
                continue
            expected, found = _shapes(variables), _shapes(arrays)
            if expected == found:
                loaded.append(name)
                values += zip(variables, arrays, strict=True)
            else:
                mismatched.append((name, expected, found))
    known = {layer.name for layer in model.layers} | {*layers.by_name, *layers.inner, *stored}
    known |= {name for group, weights in stored.items() for name in _by_layer(group, weights)}
    seen = {*loaded, *excluded, *(name for name, _, _ in mismatched)}
    report = WeightsReport(
        path,
        loaded=tuple(loaded),
        skipped=tuple(skipped),
        missing=tuple(name for name in layers.by_name if name not in seen),
        mismatched=tuple(mismatched),
        excluded=tuple(name for name in layers.by_name if name in excluded),
        unknown_excluded=tuple(name for name in exclude if name not in known),
    )
    return values, report


def _units(
    group: str, weights: list[tuple[str, h5py.Dataset]], layers: _Layers
) -> Iterator[tuple[str, list[keras.Variable], list[h5py.Dataset]]]:
    """Split a group of the file into layers: (name, variables of the model or [], arrays)."""
    arrays = [array for _, array in weights]
    if group in layers.by_name:
        yield group, layers.by_name[group].weights, arrays
        return
    by_layer = _by_layer(group, weights)
    if group in layers.inner and not by_layer.keys() <= layers.by_name.keys():
        # Keras made the names unique ("rpn_class_raw_1"): go by order, as Keras does.
        targets = _in_file_order(layers.inner[group])
        if len(targets) != len(arrays):
            yield group, [variable for _, variable in targets], arrays
            return
        for layer in layers.inner[group]:
            own = [index for index, (owner, _) in enumerate(targets) if owner is layer]
            yield layer.name, [targets[i][1] for i in own], [arrays[i] for i in own]
        return
    for name, own_arrays in by_layer.items():
        yield name, layers.by_name[name].weights if name in layers.by_name else [], own_arrays


def _by_layer(group: str, weights: list[tuple[str, h5py.Dataset]]) -> dict[str, list[h5py.Dataset]]:
    """Sort a group's arrays by the layer in their names: "rpn_class_raw/kernel:0"."""
    by_layer: dict[str, list[h5py.Dataset]] = {}
    for name, array in weights:
        layer = name.split("/")[-2] if "/" in name else group
        by_layer.setdefault(layer, []).append(array)
    return by_layer


def _check(model: keras.Model, stored: StoredWeights, report: WeightsReport, by_name: bool) -> None:
    """Raise a `WeightsError` if the report says that the file does not fit."""
    if report.mismatched:
        names = {name for group, weights in stored.items() for name in _by_layer(group, weights)}
        own = {layer.name for layer, _ in weighted_layers(model)}
        raise WeightsError(explain(report, names, own), report)
    if not report.loaded:
        in_file = [name for name, weights in stored.items() if weights]
        in_model = [layer.name for layer, _ in weighted_layers(model)]
        raise WeightsError(
            f"{report.path}: no layer matches by name. In the file: "
            f"{abbreviate(in_file) or 'none'}; in the model: {abbreviate(in_model) or 'none'}; "
            f"excluded: {abbreviate(report.excluded) or 'none'}.",
            report,
        )
    extra = [name for name in report.skipped if not {*name.split("/")} & {*IGNORED_LAYERS}]
    if not by_name and (extra or report.missing):
        raise WeightsError(
            f"{report.path}: the layers differ from the model's. In the file only: "
            f"{abbreviate(extra) or 'none'}; in the model only: "
            f"{abbreviate(report.missing) or 'none'}. Load with by_name=True to load the layers "
            "that both have.",
            report,
        )


# --- Writing ---------------------------------------------------------------------------------


def _in_file_order(
    layers: Sequence[keras.Layer],
) -> list[tuple[keras.Layer, keras.Variable]]:
    """The (layer, weight) pairs of one group: statistics after parameters, as in Keras 2."""
    pairs = [(layer, weight) for layer in layers for weight in layer.weights]
    return sorted(pairs, key=lambda pair: pair[1].name.startswith("moving_"))


def _weight_name(layer: keras.Layer, weight: keras.Variable) -> str:
    """The dataset of a weight: "conv1/kernel:0"; a layer inside `layer` adds its own name."""
    _, _, inside = f"/{weight.path}".partition(f"/{layer.name}/")
    return f"{layer.name}/{inside or weight.name}:0"


def _write_names(group: h5py.Group, attribute: str, names: Sequence[str]) -> None:
    """Write a list of names, split into numbered attributes when one cannot hold it."""
    data = np.array([name.encode("utf8") for name in names]) if names else np.zeros(0)
    if data.nbytes <= ATTRIBUTE_LIMIT:
        group.attrs[attribute] = data
        return
    chunk = ATTRIBUTE_LIMIT // data.itemsize
    for index, start in enumerate(range(0, len(data), chunk)):
        group.attrs[f"{attribute}{index}"] = data[start : start + chunk]


def _to_numpy(weight: keras.Variable) -> np.ndarray:
    array = keras.ops.convert_to_numpy(weight)
    return array if array.dtype.kind in "fiub" else array.astype(np.float32)  # bfloat16


# --- Small helpers -----------------------------------------------------------------------------


def _is_model(layer: keras.Layer) -> bool:
    return hasattr(layer, "layers")


def _shapes(values: Iterable[keras.Variable | h5py.Dataset]) -> Shapes:
    return tuple(tuple(value.shape) for value in values)
