"""Weights of other packages as a weights file of this one, with the settings that they need."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from mrcnn.checkpoints.settings_file import CLASS_NAMES, SETTINGS_FILE, save_settings
from mrcnn.config import Config
from mrcnn.datasets.coco_categories import NAMES as COCO_NAMES
from mrcnn.files.atomic import atomic_path
from mrcnn.files.safetensors import read_safetensors
from mrcnn.model import MaskRCNN
from mrcnn.runs.settings import configure
from mrcnn.setting_rules.architecture import Architecture
from mrcnn.weights import torchvision
from mrcnn.weights.layers import weighted_layers
from mrcnn.weights.report import WeightsError, abbreviate

# What was done with each tensor, beside the weights.
REPORT_FILE = "conversion.txt"
# The beginning of the SHA-256 of a published file whose normalizations had another epsilon
# (torchvision `models/detection/mask_rcnn.py`: `MaskRCNN_ResNet50_FPN_Weights.COCO_V1`).
_EPSILON_BY_DIGEST = {"bf2d0c1e": 0.0}
# Where a file of training keeps the tensors.
_NESTED = ("model", "state_dict", "model_state_dict")


class Conversion(NamedTuple):
    """What was done with the tensors of a file."""

    source: str
    architecture: Architecture
    settings: Mapping[str, object]
    class_names: Sequence[str]
    used: tuple[tuple[str, str], ...]  # (name in the file, layer/variable)
    ignored: tuple[tuple[str, str], ...]  # (name in the file, why)

    def __str__(self) -> str:
        lines = [
            f"{self.source}: {self.architecture.name}, {self.settings['BACKBONE']}, "
            f"{len(self.class_names)} classes with the background, epsilon of the normalizations "
            f"{self.architecture.norm_epsilon:g}.",
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
) -> Conversion:
    """Write a weights file from torchvision's weights of a Mask R-CNN, and what belongs to it.

    Beside it there will be config.json, as beside a run's weights, so that every command knows the
    architecture, the classes and how to prepare images; and `REPORT_FILE` with every tensor.

    Args:
        source: `.pth` or `.pt`, of `torch.save`, for which torch is needed; or `.safetensors`.
        output: the weights file, in a folder that holds no settings of other weights.
        class_names: without the background, in the order of their numbers. None: COCO's for 91
            classes with the background, otherwise "class 1", ….
        norm_epsilon: of the normalizations. None: 0 for torchvision's first COCO weights, which are
            known by their digest, otherwise 1e-5; the tensors do not tell.
        settings: settings of `Config` that differ, such as IMAGE_MIN_DIM.

    Raises:
        FileNotFoundError: there is no such file.
        FileExistsError: the output, or another network's settings beside it, are there.
        ValueError: the file cannot be used, lacks tensors, or a name of a class is missing.
    """
    source, output = Path(source), Path(output)
    _expect_place(output)
    arrays, names = _read(source)
    try:
        found = torchvision.network_of(arrays)
    except WeightsError as error:
        raise WeightsError(f"{source}: {error}") from error
    architecture = dataclasses.replace(
        found.architecture, norm_epsilon=_epsilon(norm_epsilon, source, found.architecture)
    )
    classes = _class_names(class_names, int(str(found.settings["NUM_CLASSES"])), source)
    value = architecture.name if architecture == found.architecture else architecture
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
    model = MaskRCNN("inference", config, output.parent)
    used = _assign(model.keras_model, arrays, names, architecture, source)
    taken = {name for name, _ in used}
    ignored = [
        (name, torchvision.why_ignored(name)) for name in sorted(set(names.values()) - taken)
    ]
    done = Conversion(
        str(source), architecture, found.settings, classes, tuple(used), tuple(ignored)
    )
    model.save_weights(output)
    save_settings(config, output.parent, {CLASS_NAMES: classes})
    with atomic_path(output.parent / REPORT_FILE) as temporary:
        Path(temporary).write_text(done.in_full(), encoding="utf-8")
    return done


def _expect_place(output: Path) -> None:
    if output.suffix != ".h5":
        raise ValueError(f"output: expected a file whose name ends in .h5; received {output}.")
    for path in (output, output.parent / SETTINGS_FILE):
        if path.exists():
            raise FileExistsError(
                f"{path} is there already. Weights and the {SETTINGS_FILE} beside them belong "
                "together: expected a folder for them alone, such as converted/weights.h5."
            )


def _read(source: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The tensors of a file under today's names, and their names in the file."""
    if not source.is_file():
        raise FileNotFoundError(f"{source}: no such file.")
    if source.suffix == ".safetensors":
        arrays = read_safetensors(source)
    elif source.suffix in (".pth", ".pt"):
        arrays = _read_torch(source)
    else:
        raise ValueError(
            f"{source}: expected a file of torchvision's weights, .pth, .pt or .safetensors."
        )
    try:
        return torchvision.with_current_names(arrays)
    except WeightsError as error:
        raise WeightsError(f"{source}: {error}") from error


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


def _epsilon(asked: float | None, source: Path, architecture: Architecture) -> float:
    if asked is not None:
        return asked
    digest = hashlib.sha256()
    with source.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return _EPSILON_BY_DIGEST.get(digest.hexdigest()[:8], architecture.norm_epsilon)


def _class_names(given: Sequence[str] | None, count: int, source: Path) -> list[str]:
    if given is not None:
        if len(given) != count - 1 or len(set(given)) != len(given):
            raise ValueError(
                f"class names: {source} has {count} classes with the background; expected "
                f"{count - 1} different names, received {len(given)}: {abbreviate(list(given))}."
            )
        return ["BG", *given]
    if count == max(COCO_NAMES) + 1:
        return ["BG", *(COCO_NAMES.get(i, f"unused {i}") for i in range(1, count))]
    return ["BG", *(f"class {i}" for i in range(1, count))]


def _assign(
    model: keras.Model,
    arrays: Mapping[str, np.ndarray],
    names: Mapping[str, str],
    architecture: Architecture,
    source: Path,
) -> list[tuple[str, str]]:
    """Give the tensors to the layers; returns each one's name in the file and its place.

    Raises:
        WeightsError: a variable gets none, or one of another shape.
    """
    variables = {
        (layer.name, variable.name): variable
        for layer, _ in weighted_layers(model)
        for variable in layer.weights
    }
    places = torchvision.places(arrays, architecture)
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
