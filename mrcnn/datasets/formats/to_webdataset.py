"""Writing a data set as WebDataset's shards, which `mrcnn.datasets.shards` reads."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from mrcnn.datasets.formats.content import as_json
from mrcnn.datasets.formats.parts import Part, Picture
from mrcnn.datasets.shards import CATEGORIES
from mrcnn.files.addresses import RemotePath
from mrcnn.files.atomic import write_json

IMAGES_A_SHARD = 1000


def write_webdataset(parts: Sequence[Part], out: Path) -> None:
    """Write `SUBSET-000000.tar` and so on, of `IMAGES_A_SHARD` images each, and `categories.json`.

    Raises:
        ValueError: two images have one name up to the first dot, or two subsets have different
            classes of one id.
    """
    categories: dict[Any, str] = {}
    for part in parts:
        for id, name in part.categories.items():
            if categories.setdefault(id, name) != name:
                raise ValueError(
                    f"{part.file}: expected category {id} to be {categories[id]!r}, as in the "
                    f"other subsets; received {name!r}."
                )
    write_json(out / CATEGORIES, [{"id": id, "name": name} for id, name in categories.items()])
    for part in parts:
        keys: dict[str, str] = {}
        for first in range(0, len(part.pictures), IMAGES_A_SHARD):
            name = f"{part.name}-{first // IMAGES_A_SHARD:06d}.tar"
            with tarfile.open(out / name, "x:") as tar:
                for picture in part.pictures[first : first + IMAGES_A_SHARD]:
                    _add(tar, part, picture, keys)


def _add(tar: tarfile.TarFile, part: Part, picture: Picture, keys: dict[str, str]) -> None:
    path = PurePosixPath(picture.name)
    key = str(path.with_name(path.stem.replace(".", "_")))
    if keys.setdefault(key, picture.path) != picture.path:
        raise ValueError(
            f"{part.file}: expected images with names of their own; {keys[key]} and {picture.path} "
            f"would both be {key}. Rename one of them."
        )
    if isinstance(picture.path, RemotePath):
        _add_file(tar, key + path.suffix.lower(), picture.path.read())
    else:
        _add_file(tar, key + path.suffix.lower(), Path(os.fspath(picture.path)).read_bytes())
    entry = {name: value for name, value in picture.entry.items() if name != "file_name"}
    entry["annotations"] = [_written(annotation) for annotation in picture.annotations]
    _add_file(tar, f"{key}.json", json.dumps(entry).encode())


def _written(annotation: dict[str, Any]) -> dict[str, Any]:
    segmentation = annotation.get("segmentation")
    if isinstance(segmentation, dict):
        return {**annotation, "segmentation": as_json(segmentation)}
    return annotation


def _add_file(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)  # without an owner or a time: the same content, the same file
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))
