"""Weights of other packages as a weights file of this one, with the settings that they need.

Of a Mask R-CNN the whole network, of a classifier its backbone.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from mrcnn import network
from mrcnn.checkpoints.settings_file import (
    CLASS_NAMES,
    CLASSIFIER_BACKBONE,
    NETWORK,
    SETTINGS_FILE,
    TRAINING,
    save_settings,
)
from mrcnn.config import Config
from mrcnn.datasets.coco_categories import NAMES as COCO_NAMES
from mrcnn.datasets.formats.yaml_file import read_yaml
from mrcnn.files.array_pickle import read_array_pickle
from mrcnn.files.atomic import atomic_path
from mrcnn.files.safetensors import read_safetensors
from mrcnn.logger import logger
from mrcnn.model import MaskRCNN
from mrcnn.runs.settings import configure
from mrcnn.setting_rules.architecture import ARCHITECTURES, Architecture
from mrcnn.weights import classifiers, detectron2, matterport, torchvision
from mrcnn.weights.layers import weighted_layers
from mrcnn.weights.report import WeightsError, abbreviate
from mrcnn.weights.torchvision import Network, Place

# What was done with each tensor, beside the weights.
REPORT_FILE = "conversion.txt"
# The beginning of the SHA-256 of a published file whose normalizations had another epsilon
# (torchvision `models/detection/mask_rcnn.py`: `MaskRCNN_ResNet50_FPN_Weights.COCO_V1`).
_EPSILON_BY_DIGEST = {"bf2d0c1e": 0.0}
# What Detectron2 writes beside the weights of a training.
_DETECTRON2_CONFIG = "config.yaml"
# Where a file of training keeps the tensors.
_NESTED = ("model", "state_dict", "model_state_dict")


class Conversion(NamedTuple):
    """What was done with the tensors of a file."""

    source: str
    architecture: Architecture
    settings: Mapping[str, object]
    class_names: Sequence[str]  # the background first; of a backbone none
    used: tuple[tuple[str, str], ...]  # (name in the file, layer/variable)
    ignored: tuple[tuple[str, str], ...]  # (name in the file, why)

    def __str__(self) -> str:
        what = f"{len(self.class_names)} classes with the background"
        if not self.class_names:
            what = "the backbone alone"
        lines = [
            f"{self.source}: {self.architecture.name}, {self.settings['BACKBONE']}, {what}, "
            f"epsilon of the normalizations {self.architecture.norm_epsilon:g}.",
            f"{len(self.used)} tensors used, {len(self.ignored)} ignored, 0 missing.",
        ]
        by_reason: dict[str, list[str]] = {}
        for name, why in self.ignored:
            by_reason.setdefault(why, []).append(name)
        lines += [
            f"Ignored, because {why}: {len(names)} ({abbreviate(names)})."
            for why, names in by_reason.items()
        ]
        return "\n".join(lines)

    def in_full(self) -> str:
        """Every tensor, a line each."""
        lines = [str(self), ""]
        lines += [f"used     {name} -> {place}" for name, place in self.used]
        lines += [f"ignored  {name}: {why}" for name, why in self.ignored]
        return "\n".join([*lines, ""])


def convert(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    class_names: Sequence[str] | None = None,
    norm_epsilon: float | None = None,
    settings: Mapping[str, Any] | None = None,
    detectron2_config: str | os.PathLike[str] | None = None,
) -> Conversion:
    """Write a weights file from another package's weights, and what belongs to it.

    Beside it there will be config.json, as beside a run's weights, so that every command knows the
    architecture, the classes and how to prepare images; and `REPORT_FILE` with every tensor.

    Args:
        source: of torchvision's or Detectron2's Mask R-CNN, or of a ResNet that torchvision, timm
            or Keras's applications trained as a classifier, which gives a backbone to start from.
            `.pth` or `.pt`, of `torch.save`, for which torch is needed; `.safetensors`;
            Detectron2's `.pkl`, of arrays alone; Keras's `.h5`.
        output: the weights file, `.h5` or `.safetensors`, in a folder that holds no settings of
            other weights.
        class_names: without the background, in the order of their numbers; of a Mask R-CNN only.
            None: COCO's for 91 classes with the background, or 81 of Detectron2's; otherwise
            "class 1", ….
        norm_epsilon: of the normalizations. None: 0 for torchvision's first COCO weights, which are
            known by their digest, otherwise 1e-5; the tensors do not tell.
        settings: settings of `Config` that differ, such as IMAGE_MIN_DIM.
        detectron2_config: the config file of a network of Detectron2's. None: `config.yaml` beside
            the source if it is there, else that of the model zoo for such tensors.

    Raises:
        FileNotFoundError: there is no such file.
        FileExistsError: the output, or another network's settings beside it, are there.
        ValueError: the file cannot be used, lacks tensors, or a name of a class is missing.
    """
    source, output = Path(source), Path(output)
    _expect_place(output)
    theirs = _read(source, None if detectron2_config is None else Path(detectron2_config))
    found = theirs.network
    architecture = dataclasses.replace(
        found.architecture, norm_epsilon=_epsilon(norm_epsilon, source, found.architecture)
    )
    classes = _class_names(
        class_names, found.settings.get("NUM_CLASSES"), source, theirs.coco_names
    )
    value = architecture.name if architecture in ARCHITECTURES.values() else architecture
    config = configure(
        Config,
        {
            "NAME": output.stem,
            "ARCHITECTURE": value,
            "IMAGES_PER_GPU": 1,
            **found.settings,
            **(settings or {}),
        },
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    if classes:
        model = MaskRCNN("inference", config, output.parent).keras_model
    else:
        image = keras.Input((None, None, config.IMAGE_CHANNEL_COUNT))
        model = keras.Model(image, network.build_backbone(image, config))
    used = _assign(model, theirs, source)
    taken = {name for name, _ in used}
    ignored = [
        (name, theirs.why_ignored(name)) for name in sorted({*theirs.names.values()} - taken)
    ]
    done = Conversion(
        str(source), architecture, found.settings, classes, tuple(used), tuple(ignored)
    )
    matterport.save_weights(model, output)
    details = {CLASS_NAMES: classes} if classes else {TRAINING: {NETWORK: CLASSIFIER_BACKBONE}}
    save_settings(config, output.parent, details)
    with atomic_path(output.parent / REPORT_FILE) as temporary:
        Path(temporary).write_text(done.in_full(), encoding="utf-8")
    return done


class _Source(NamedTuple):
    """The tensors of a file, and what is known of them."""

    arrays: dict[str, np.ndarray]
    names: dict[str, str]  # in the file
    network: Network
    places: list[Place]
    why_ignored: Callable[[str], str]
    coco_names: Mapping[int, str] = COCO_NAMES  # by the number of a class


def _expect_place(output: Path) -> None:
    if output.suffix not in (".h5", ".safetensors"):
        raise ValueError(
            f"output: expected a file whose name ends in .h5 or .safetensors; received {output}."
        )
    for path in (output, output.parent / SETTINGS_FILE):
        if path.exists():
            raise FileExistsError(
                f"{path} is there already. Weights and the {SETTINGS_FILE} beside them belong "
                "together: expected a folder for them alone, such as converted/weights.h5."
            )


def _read(source: Path, detectron2_config: Path | None) -> _Source:
    for path in (source, detectron2_config):
        if path is not None and not path.is_file():
            raise FileNotFoundError(f"{path}: no such file.")
    readers = {
        ".safetensors": read_safetensors,
        ".pth": _read_torch,
        ".pt": _read_torch,
        ".pkl": _read_pickle,
    }
    try:
        if source.suffix in (".h5", ".hdf5", ".keras"):
            return _of_keras(matterport.read_file(source))
        if source.suffix not in readers:
            raise WeightsError("expected a file of weights, .pth, .pt, .safetensors, .pkl or .h5.")
        arrays = readers[source.suffix](source)
        if detectron2.is_detectron2(arrays):
            beside = source.with_name(_DETECTRON2_CONFIG)
            if detectron2_config is None and beside.is_file():
                detectron2_config = beside
            return _of_detectron2(arrays, detectron2_config)
        if detectron2_config is not None:
            raise WeightsError(
                f"expected tensors of Detectron2, of which {detectron2_config} is to be the "
                f"config file; received {abbreviate(sorted(arrays))}."
            )
        return _of_pytorch(arrays)
    except WeightsError as error:
        text = str(error)
        raise WeightsError(text if str(source) in text else f"{source}: {text}") from error


def _of_pytorch(arrays: dict[str, np.ndarray]) -> _Source:
    if classifiers.is_pytorch_classifier(arrays):
        found, places = classifiers.pytorch_network(arrays), classifiers.pytorch_places(arrays)
        return _Source(
            arrays, {name: name for name in arrays}, found, places, classifiers.why_ignored
        )
    current, names = torchvision.with_current_names(arrays)
    found = torchvision.network_of(current)
    places = torchvision.places(current, found.architecture)
    return _Source(current, names, found, places, torchvision.why_ignored)


def _of_detectron2(arrays: dict[str, np.ndarray], config_file: Path | None) -> _Source:
    config = None
    if config_file is not None:
        config = read_yaml(config_file)
        if not isinstance(config, Mapping):
            raise WeightsError(f"{config_file}: expected settings by name; received {config!r}.")
        logger.info(f"Settings of the network from {config_file}.")
    is_bgr = config is None or detectron2.is_bgr(config)
    current, names = detectron2.with_torchvision_names(arrays, is_bgr)
    found = detectron2.network_of(current, config)
    places = torchvision.places(current, found.architecture)
    coco_names = dict(enumerate(COCO_NAMES.values(), start=1))
    return _Source(current, names, found, places, torchvision.why_ignored, coco_names)


def _of_keras(layers: dict[str, list[np.ndarray]]) -> _Source:
    if not classifiers.is_keras_classifier([*layers]):
        raise WeightsError(
            "expected a ResNet of Keras's applications; received layers of another network: "
            f"{abbreviate([*layers]) or 'none'}. Matterport's weights and this package's own need "
            "no conversion."
        )
    arrays = classifiers.keras_arrays(layers)
    found, places = classifiers.keras_network([*layers]), classifiers.keras_places([*layers])
    return _Source(arrays, {name: name for name in arrays}, found, places, classifiers.why_ignored)


def _read_torch(source: Path) -> dict[str, np.ndarray]:
    try:
        import torch
    except ImportError as error:
        raise ValueError(
            f"{source}: to read it takes PyTorch: pip install 'mrcnn[torch]'. A .safetensors file "
            "of the same tensors is read without."
        ) from error
    try:
        # Tensors alone: nothing in the file is run.
        content = torch.load(source, map_location="cpu", weights_only=True)
    except Exception as error:  # of many kinds, none of them documented
        raise ValueError(
            f"{source}: expected tensors by name, as torch.save(model.state_dict(), ...) writes "
            f"them; PyTorch says: {str(error).splitlines()[0] if str(error) else type(error)}"
        ) from error
    for name in _NESTED:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
            break
    tensors = isinstance(content, Mapping) and all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in content.items()
    )
    if not tensors:
        raise ValueError(
            f"{source}: expected tensors by name, or under one of {list(_NESTED)}; received "
            f"{type(content).__name__}. Save model.state_dict()."
        )
    return {
        name: (value.float() if value.is_floating_point() else value).detach().numpy()
        for name, value in content.items()
    }


def _read_pickle(source: Path) -> dict[str, np.ndarray]:
    content = read_array_pickle(source)
    arrays = content.get("model", content) if isinstance(content, dict) else None
    if not isinstance(arrays, dict) or "blobs" in arrays:
        raise WeightsError(
            "expected Detectron2's tensors by name, under 'model'; received "
            f"{abbreviate([*map(str, arrays)]) if isinstance(arrays, dict) else type(content)}."
        )
    others = [str(name) for name, value in arrays.items() if not isinstance(value, np.ndarray)]
    if others:
        raise WeightsError(f"expected arrays by name; {abbreviate(others)} are none.")
    return {
        str(name): value.astype(np.float32) if value.dtype.kind == "f" else value
        for name, value in arrays.items()
    }


def _epsilon(asked: float | None, source: Path, architecture: Architecture) -> float:
    if asked is not None:
        return asked
    digest = hashlib.sha256()
    with source.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return _EPSILON_BY_DIGEST.get(digest.hexdigest()[:8], architecture.norm_epsilon)


def _class_names(
    given: Sequence[str] | None, classes: object, source: Path, coco_names: Mapping[int, str]
) -> list[str]:
    """Of a network for so many classes; empty for a backbone, which has none (None)."""
    if classes is None:
        if given is not None:
            raise ValueError(f"class names: {source} holds a backbone, which has none.")
        return []
    count = int(str(classes))
    if given is not None:
        if len(given) != count - 1 or len(set(given)) != len(given):
            raise ValueError(
                f"class names: {source} has {count} classes with the background; expected "
                f"{count - 1} different names, received {len(given)}: {abbreviate(list(given))}."
            )
        return ["BG", *given]
    if count == max(coco_names) + 1:
        return ["BG", *(coco_names.get(i, f"unused {i}") for i in range(1, count))]
    return ["BG", *(f"class {i}" for i in range(1, count))]


def _assign(model: keras.Model, theirs: _Source, source: Path) -> list[tuple[str, str]]:
    """Give the tensors to the layers; returns each one's name in the file and its place.

    Raises:
        WeightsError: a variable gets none, or one of another shape.
    """
    variables = {
        (layer.name, variable.name): variable
        for layer, _ in weighted_layers(model)
        for variable in layer.weights
    }
    places, arrays, names = theirs.places, theirs.arrays, theirs.names
    missing = [place.source for place in places if place.source not in arrays]
    missing += [
        "/".join(key)
        for key in variables.keys() - {(place.layer, place.variable) for place in places}
    ]
    if missing:
        raise WeightsError(
            f"{source}: expected tensors for the whole network; {len(missing)} are missing: "
            f"{abbreviate(missing, 8)}."
        )
    values = []
    for place in places:
        variable, value = variables[place.layer, place.variable], place.change(arrays[place.source])
        if tuple(value.shape) != tuple(variable.shape):
            raise WeightsError(
                f"{source}: tensor {names[place.source]!r}: expected {tuple(variable.shape)} for "
                f"{place.layer}/{place.variable}; received {tuple(value.shape)}, which was "
                f"{tuple(arrays[place.source].shape)}."
            )
        values.append((variable, value))
    for variable, value in values:
        variable.assign(np.asarray(value, np.float32))
    return [(names[place.source], f"{place.layer}/{place.variable}") for place in places]
