"""Fuzz targets: for each reader of untrusted files, how to make odd ones and what must hold.

A case is a valid file with some things changed: values of a json file, chunks of a PNG, links of an
HDF5 file, entries of a zip archive, or any bytes. A reader may read it or refuse it with a
`ValueError` or `OSError` that names the file; anything else is a failure. Only `settings` and the
targets of weights (`benchmarks.fuzz_weights`) load Keras.
"""

from __future__ import annotations

import copy
import importlib
import importlib.util
import io
import json
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as mask_api

from mrcnn.data.images import read_image
from mrcnn.datasets.cityscapes import CityscapesDataset, read_instance_ids
from mrcnn.datasets.coco import CocoDataset
from mrcnn.datasets.via import read_via_json
from mrcnn.files import zip

ROOT = Path(__file__).resolve().parent.parent
SIZE = 24, 32  # height and width of the images
CLEAN = (ValueError, OSError)

Draw = Callable[[st.SearchStrategy], Any]


@dataclass(frozen=True)
class Target:
    """A reader to fuzz.

    Attributes:
        cases: a strategy.
        write: puts a case into an empty folder.
        read: reads it as a user would, and asserts that nothing outside was touched.
        named: a part of the path that errors have to name.
        needs: a module that takes long to import.
    """

    cases: st.SearchStrategy
    write: Callable[[Any, Path], None]
    read: Callable[[Path], None]
    named: str
    needs: str = "mrcnn"


def execute(target: Target, case: Any, folder: Path) -> str:
    """Read a case in an empty folder: "read" or "refused"; a failure is raised."""
    target.write(case, folder)
    try:
        target.read(folder)
    except CLEAN as error:
        message = str(error)
        assert not isinstance(error, UnicodeError), f"no sentence: {error!r}"
        assert target.named in message, f"names no file: {error!r}"
        assert "MemoryError" not in message and "allocate" not in message, message
        message.encode()  # can be printed
        return "refused"
    return "read"


# --- Strategies --------------------------------------------------------------------------------

HOSTILE = st.one_of(
    st.sampled_from(
        [
            *(None, True, False, 0, -1, 2**31, 2**63, 10**30, 10**400, 1e308, -1e308, 0.5),
            *(float("nan"), float("inf"), "", "..", "../secret.png", "/etc/passwd", "C:\\x.png"),
            *("sub/../../secret.png", "link.png", "links/secret.png", "loop", "a\0b", "\ud800"),
            *("pipe.png", "sub", "sub/b.png", "\x1b[2J", [], {}, [[]], [None], {"a": 1}, "é" * 300),
        ]
    ),
    st.integers(-5, 60),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.lists(st.integers(-40, 80), max_size=8),
    st.lists(st.lists(st.floats(-60, 90), min_size=6, max_size=8), max_size=3),
)


def _places(value: Any, path: tuple = ()) -> list[tuple]:
    """The paths of all values in a json document."""
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    else:
        items = []
    return [
        *([path] if path else []),
        *(place for key, inner in items for place in _places(inner, (*path, key))),
    ]


@st.composite
def mutated_json(draw: Draw, base: Any) -> bytes:
    """A json document with values replaced, removed or repeated; now and then broken bytes."""
    document = json.loads(json.dumps(base))
    for _ in range(draw(st.sampled_from([0, 1, 1, 1, 2, 4]))):
        places = _places(document)
        if not places:
            break
        *parents, key = draw(st.sampled_from(places))
        holder = document
        for parent in parents:
            holder = holder[parent]
        action = draw(st.sampled_from(["replace"] * 6 + ["remove", "repeat"]))
        if action == "replace":
            holder[key] = copy.deepcopy(draw(HOSTILE))
        elif action == "remove":
            del holder[key]
        elif isinstance(holder, list):
            holder.append(copy.deepcopy(holder[key]))
    text = json.dumps(document).encode()
    return draw(mutated_bytes([text])) if draw(st.integers(0, 15)) == 0 else text


@st.composite
def mutated_bytes(draw: Draw, bases: list[bytes]) -> bytes:
    """One of some files with bytes changed, cut off, taken out or repeated."""
    data = bytearray(draw(st.sampled_from(bases)))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        action = draw(st.sampled_from(["set", "set", "set", "wide", "cut", "remove", "repeat"]))
        length = draw(st.integers(1, 40))
        if action == "set":
            data[at : at + 1] = bytes([draw(st.integers(0, 255))])
        elif action == "wide":
            value = draw(st.sampled_from([0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 0x10000]))
            data[at : at + 4] = struct.pack(draw(st.sampled_from("<>")) + "I", value)
        elif action == "cut":
            del data[at:]
        elif action == "remove":
            del data[at : at + length]
        else:
            data[at:at] = data[at : at + length]
    return bytes(data)


@st.composite
def png(draw: Draw) -> bytes:
    """A PNG with valid checksums around odd headers, sizes and data."""
    side = st.one_of(st.integers(0, 70), st.sampled_from([2**14, 2**16, 2**31 - 1, 2**32 - 1]))
    width, height = draw(side), draw(side)
    depth, color = draw(st.sampled_from([1, 2, 4, 8, 16])), draw(st.sampled_from([0, 2, 3, 4, 6]))
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, draw(st.integers(0, 1)))
    pixels = zlib.compress(bytes(draw(st.integers(0, 60_000))))
    chunks = [(b"IHDR", header)]
    for name in draw(st.lists(st.sampled_from([b"PLTE", b"tRNS", b"zTXt", b"iCCP", b"acTL"]))):
        bomb = b"k\0\0" + zlib.compress(bytes(1 << 20))
        chunks.append((name, draw(st.sampled_from([b"", bytes(3), bytes(768), bomb]))))
    chunks += [(b"IDAT", draw(st.sampled_from([pixels, pixels[:20], b""]))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


@cache
def image_files() -> tuple[bytes, ...]:
    """Small valid images of each format and mode that is read."""
    noise = np.random.default_rng(0).integers(0, 256, (*SIZE, 4), dtype=np.uint8)
    whole = Image.fromarray(noise)
    files = []
    for kind, mode, options in (
        *(("PNG", m, {}) for m in ("RGB", "RGBA", "L", "P", "I;16", "1")),
        *(("JPEG", m, {}) for m in ("RGB", "L", "CMYK")),
        *(("GIF", "P", {}), ("BMP", "RGB", {}), ("PPM", "RGB", {}), ("TGA", "RGB", {})),
        *(("TIFF", m, {"compression": c}) for m in ("RGB", "L") for c in (None, "tiff_lzw")),
        *(("WEBP", "RGB", {}), ("JPEG2000", "RGB", {}), ("AVIF", "RGB", {})),
        *(("EPS", "RGB", {}), ("ICO", "RGBA", {})),  # never opened
    ):
        buffer = io.BytesIO()
        image = whole.convert("L").convert("I;16") if mode == "I;16" else whole.convert(mode)
        try:
            image.save(buffer, kind, **options)
        except (KeyError, OSError):  # this Pillow was built without it
            continue
        files.append(buffer.getvalue())
    return tuple(files)


def _write_png(path: Path, size: tuple[int, int] = SIZE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((*size, 3), np.uint8)).save(path)


def _image_folder(folder: Path) -> Path:
    """Images, and ways out of the folder: links to a file and to a folder, a pipe, a loop."""
    images = folder / "images"
    for path in (images / "a.png", images / "sub" / "b.png", folder / "secret.png"):
        _write_png(path)
    (images / "link.png").symlink_to(folder / "secret.png")
    (images / "links").symlink_to(folder)
    (images / "loop").symlink_to(images / "loop")
    os.mkfifo(images / "pipe.png")
    return images


# --- Annotations ---------------------------------------------------------------------------------

_POLYGON = [2, 2, 20, 3, 18, 20, 4, 15]
_SQUARE = mask_api.encode(np.asfortranarray(np.pad(np.ones((8, 8), np.uint8), ((9, 7), (12, 12)))))
COCO_JSON = {
    "images": [
        {"id": 1, "file_name": "a.png", "height": SIZE[0], "width": SIZE[1]},
        {"id": 2, "file_name": "sub/b.png", "height": SIZE[0], "width": SIZE[1]},
    ],
    "categories": [{"id": 1, "name": "one"}, {"id": 7, "name": "seven"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "segmentation": [_POLYGON]},
        {
            "id": 2,
            "image_id": 1,
            "category_id": 7,
            "iscrowd": 1,
            "segmentation": {"size": list(SIZE), "counts": [100, 200, SIZE[0] * SIZE[1] - 300]},
        },
        {
            "id": 3,
            "image_id": 2,
            "category_id": 7,
            "segmentation": {"size": list(SIZE), "counts": _SQUARE["counts"].decode()},
        },
        {"id": 4, "image_id": 2, "category_id": 1, "bbox": [3, 4, 10, 9.5]},
    ],
}


def _write_coco(case: bytes, folder: Path) -> None:
    _image_folder(folder)
    (folder / "annotations.json").write_bytes(case)


def _read_coco(folder: Path) -> None:
    dataset, images = CocoDataset(), folder / "images"
    dataset.load_coco_json(folder / "annotations.json", images, return_coco=True, box_only=True)
    dataset.prepare()
    for image_id in dataset.image_ids:
        path = os.path.realpath(dataset.image_info[image_id]["path"])
        assert path.startswith(f"{os.path.realpath(images)}/"), f"{path} lies outside"
        masks, class_ids = dataset.load_mask(image_id)
        assert masks.shape[2] == len(class_ids)
        dataset.load_image(image_id)


VIA_JSON = {
    "a.png24": {
        "filename": "a.png",
        "size": 24,
        "file_attributes": {},
        "regions": [
            {
                "shape_attributes": {
                    "name": "polygon",
                    "all_points_x": [2, 20, 18],
                    "all_points_y": [1, 4, 20],
                },
                "region_attributes": {"kind": "x"},
            },
            {"shape_attributes": {"name": "rect", "x": 1, "y": 2, "width": 9, "height": 7}},
            {"shape_attributes": {"name": "circle", "cx": 9, "cy": 8, "r": 5.5}},
        ],
    },
    "b.png24": {
        "filename": "sub/b.png",
        "regions": {
            "0": {
                "shape_attributes": {"name": "ellipse", "cx": 9, "cy": 8, "rx": 5, "ry": 3},
                "region_attributes": {},
            }
        },
    },
}


@cache
def _sample(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "samples" / name / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _write_via(case: bytes, folder: Path) -> None:
    (_image_folder(folder) / "via.json").write_bytes(case)


def _read_via(folder: Path) -> None:
    read_via_json(folder / "images" / "via.json")
    dataset = _sample("balloon").BalloonDataset()
    dataset.load_balloon(folder, "images")
    dataset.prepare()
    for image_id in dataset.image_ids:
        path = os.path.realpath(dataset.image_info[image_id]["path"])
        assert path.startswith(f"{os.path.realpath(folder / 'images')}/"), f"{path} lies outside"
        masks, class_ids = dataset.load_mask(image_id)
        assert masks.shape == (*SIZE, len(class_ids))


CITYSCAPES_JSON = {
    "imgHeight": SIZE[0],
    "imgWidth": SIZE[1],
    "objects": [
        {"label": "road", "polygon": [[0, 0], [30, 0], [30, 20]]},
        {"label": "car", "polygon": [[3, 3], [20, 3], [20, 15], [3, 12]]},
        {"label": "cargroup", "polygon": [[5, 5], [9, 5], [9, 9]], "deleted": 0},
        {"label": "person", "polygon": [[12.5, 5], [15, 5], [15, 9]]},
    ],
}
_FRAME = "x/x_000000_000019"


def _write_cityscapes(case: bytes, folder: Path) -> None:
    _write_png(folder / "leftImg8bit" / "train" / f"{_FRAME}_leftImg8bit.png")
    truth = folder / "gtFine" / "train" / f"{_FRAME}_gtFine_polygons.json"
    truth.parent.mkdir(parents=True)
    truth.write_bytes(case)


def _read_cityscapes(folder: Path) -> None:
    dataset = CityscapesDataset()
    dataset.load_cityscapes(folder, "train")
    dataset.prepare()
    masks, class_ids = dataset.load_mask(0)
    assert masks.shape == (*SIZE, len(class_ids))


# --- Images, archives, settings --------------------------------------------------------------


def _write_image(case: bytes, folder: Path) -> None:
    (folder / "image.png").write_bytes(case)


def _read_image(folder: Path) -> None:
    image = read_image(folder / "image.png")
    assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3


def _read_instance_ids(folder: Path) -> None:
    assert read_instance_ids(folder / "image.png").dtype == np.int32


def _write_nucleus(case: bytes, folder: Path) -> None:
    _write_png(folder / "test" / "n" / "images" / "n.png")
    (folder / "test" / "n" / "masks").mkdir()
    (folder / "test" / "n" / "masks" / "image.png").write_bytes(case)


def _read_nucleus(folder: Path) -> None:
    dataset = _sample("nucleus").NucleusDataset()
    dataset.load_nucleus(folder, "test")
    dataset.prepare()
    masks, class_ids = dataset.load_mask(0)
    assert masks.shape == (*SIZE, len(class_ids))


@st.composite
def archives(draw: Draw) -> bytes:
    """A zip archive with odd names, kinds and sizes; often with changed bytes."""
    names = st.one_of(
        st.sampled_from(
            ["a.txt", "sub/b.txt", "../x", "/x", "a/../../x", "..\\x", "C:x", "a.txt/b"]
        ),
        st.text(max_size=6),
    )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in draw(st.lists(names, max_size=4)):
            entry = zipfile.ZipInfo("x")
            entry.filename = name
            entry.external_attr = draw(st.sampled_from([0, 0o120777, 0o100644, 0o010644])) << 16
            entry.compress_type = draw(st.sampled_from([0, 8, 12, 14]))
            try:
                archive.writestr(entry, b"0" * draw(st.sampled_from([0, 5, 1 << 20])))
            except (ValueError, UnicodeError):  # a name that cannot be written
                continue
    data = buffer.getvalue()
    return draw(mutated_bytes([data])) if draw(st.booleans()) else data


def _write_zip(case: bytes, folder: Path) -> None:
    (folder / "archive.zip").write_bytes(case)


def _read_zip(folder: Path) -> None:
    try:
        zip.extract_zip(folder / "archive.zip", folder / "in" / "here", progress=False)
    except OSError as error:
        # The operating system's own errors name the file inside.
        if error.filename is None or "here" not in str(error.filename):
            raise
        raise OSError(f"archive.zip: {error}") from error
    finally:
        outside = {path.name for path in folder.iterdir()} - {"archive.zip", "in"}
        inner = {path.name for path in (folder / "in").glob("*")} - {"here"}
        links = [path for path in folder.rglob("*") if path.is_symlink()]
        assert not outside and not inner and not links, (outside, inner, links)


SETTINGS_JSON = {
    "NAME": "x",
    "NUM_CLASSES": 3,
    "BACKBONE": "resnet10",
    "IMAGE_MAX_DIM": 128,
    "IMAGE_MIN_DIM": 64,
    "IMAGE_PAD_SHAPE": [64, 64],
    "IMAGE_RESIZE_MODE": "pad64",
    "MASK_SHAPE": [28, 28],
    "MEAN_PIXEL": [1, 2, 3],
    "LOSS_WEIGHTS": {"rpn_class_loss": 1.0},
    "EDGE_LOSS_FILTERS": ["sobel-x"],
    "EDGE_LOSS_NORM": "l2",
    "RPN_NMS_THRESHOLD": 0.7,
    "RPN_ANCHOR_SCALES": [8, 16, 32, 64, 128],
    "OPTIMIZER": "sgd",
    "validate": 5,
    "__init__": "x",
}


def _write_settings(case: bytes, folder: Path) -> None:
    (folder / "config.json").write_bytes(case)


def _read_settings(folder: Path) -> None:
    from mrcnn.config import Config
    from mrcnn.runs import settings as runs_settings

    settings = runs_settings.load_settings(folder / "weights.h5")
    try:
        runs_settings.configure(Config, settings)
    except ValueError as error:  # of the class, which knows no file
        raise ValueError(f"config.json: {error}") from error


def _weights() -> ModuleType:
    return importlib.import_module("benchmarks.fuzz_weights")


def _write_file(path: Path, content: bytes) -> None:
    path.write_bytes(content)


IMAGE_BYTES = st.one_of(st.deferred(lambda: mutated_bytes(list(image_files()))), png())

TARGETS: dict[str, Target] = {
    "coco": Target(mutated_json(COCO_JSON), _write_coco, _read_coco, "annotations.json"),
    "via": Target(mutated_json(VIA_JSON), _write_via, _read_via, "images"),
    "cityscapes": Target(
        mutated_json(CITYSCAPES_JSON), _write_cityscapes, _read_cityscapes, "polygons.json"
    ),
    "image": Target(IMAGE_BYTES, _write_image, _read_image, "image.png"),
    "instance-ids": Target(IMAGE_BYTES, _write_image, _read_instance_ids, "image.png"),
    "nucleus": Target(IMAGE_BYTES, _write_nucleus, _read_nucleus, "image.png"),
    "zip": Target(archives(), _write_zip, _read_zip, "archive.zip"),
    "settings": Target(
        mutated_json(SETTINGS_JSON),
        _write_settings,
        _read_settings,
        "config.json",
        "mrcnn.runs.settings",
    ),
    "weights": Target(
        st.deferred(lambda: _weights().WEIGHTS_CASES),
        lambda case, folder: _weights().write_weights(case, folder),
        lambda folder: _weights().read_weights(folder),
        "weights.h5",
        "benchmarks.fuzz_weights",
    ),
    "weights-bytes": Target(
        st.deferred(lambda: mutated_bytes(list(_weights().weights_bytes()))),
        lambda case, folder: _write_file(folder / "weights.h5", case),
        lambda folder: _weights().read_weights(folder),
        "weights.h5",
        "benchmarks.fuzz_weights",
    ),
}
