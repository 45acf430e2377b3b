"""What must be the same for a run to go on exactly: settings, data and stage, and their comparison.

Settings that change no weight may differ, such as those of the loader's workers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from mrcnn.config import Config

_DERIVED = ("BATCH_SIZE", "IMAGE_SHAPE", "IMAGE_META_SIZE")
_FREE_PREFIXES = ("LOADER_", "CHECKPOINT", "DETECTION_", "LOSS_SPIKE_")
# BATCH_SIZE is compared in place of its factors, the rate of the stage in place of the setting's.
_FREE = frozenset(
    (
        *("NAME", "RUN_NAME", "KEEP_FREED_MEMORY", "FREEZE_GRAPH"),
        *("GPU_COUNT", "IMAGES_PER_GPU", "LEARNING_RATE", "POST_NMS_ROIS_INFERENCE"),
    )
)


def settings_of(config: Config) -> dict[str, Any]:
    """The settings as JSON holds them; a function becomes {"function": its name}.

    Attributes that a subclass adds are left out: nobody but their scripts reads them.
    """
    names = [name for name in dir(Config) if name.isupper()]
    settings = {name: getattr(config, name) for name in (*names, *_DERIVED)}
    return json.loads(json.dumps(settings, default=_plain))


def data_of(dataset: Any) -> dict[str, Any] | None:
    """Number of images of a data set, and a digest of which they are, in order. None: no set."""
    if dataset is None:
        return None
    digest = hashlib.sha256()
    for image_id in dataset.image_ids:
        info = dataset.image_info[image_id]
        digest.update(f"{info['source']}\0{info['id']}\n".encode())
    return {"images": len(dataset.image_ids), "digest": digest.hexdigest()[:16]}


def differences(expected: Mapping[str, Any], received: Mapping[str, Any]) -> list[str]:
    """What keeps a run from going on exactly, one text for each difference.

    Args:
        expected: of the state: "settings", "data", "validation" and "stage".
        received: of the run that wants to go on.
    """
    found = []
    old, new = expected["settings"], received["settings"]
    for name in sorted(old.keys() | new.keys()):
        free = name in _FREE or name.startswith(_FREE_PREFIXES)
        if not free and old.get(name) != new.get(name):
            found.append(f"{name} expected {old.get(name)!r}, received {new.get(name)!r}")
    for name in ("layers", "learning_rate", "momentum"):
        if expected["stage"][name] != received["stage"][name]:
            found.append(
                f"{name} expected {expected['stage'][name]!r}, received {received['stage'][name]!r}"
            )
    for key, name in (("data", "training data"), ("validation", "validation data")):
        if expected[key] != received[key]:
            found.append(f"{name} expected {_text(expected[key])}, received {_text(received[key])}")
    return found


def expect_same(
    path: str,
    header: Mapping[str, Any],
    config: Config,
    train_dataset: Any,
    val_dataset: Any,
    stage: Mapping[str, Any],
) -> None:
    """Check that a run goes on as it was when a state was written.

    Args:
        path: the state file.
        header: its header, see `mrcnn.checkpoints.writer`.
        config, train_dataset, val_dataset, stage: of the run that wants to go on.

    Raises:
        ValueError: something differs; the message names it, with both values.
    """
    received = {
        "settings": settings_of(config),
        "data": data_of(train_dataset),
        "validation": data_of(val_dataset),
        "stage": stage,
    }
    if found := differences(header, received):
        raise ValueError(
            f"{path}: training cannot go on exactly, because it differs from the run that was "
            f"stopped: {'; '.join(found)}. Set them back; or begin anew from the weights of an "
            "epoch (mask_rcnn_*.h5)."
        )


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if callable(value):
        return {"function": getattr(value, "__qualname__", type(value).__qualname__)}
    return str(value)


def _text(data: Mapping[str, Any] | None) -> str:
    return "none" if data is None else f"{data['images']} images (digest {data['digest']})"
