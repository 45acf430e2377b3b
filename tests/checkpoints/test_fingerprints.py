"""Data sets and transforms as few values."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from mrcnn.checkpoints.fingerprints import describe_transform, fingerprint, versions
from mrcnn.data.augment import HorizontalFlip, OneOf, RandomRotate90, Sequential, VerticalFlip
from mrcnn.data.dataset import Dataset


def dataset(ids: Any = ("a", "b"), source: str = "noise", path: Any = None, **info: Any) -> Dataset:
    made = Dataset()
    made.add_class(source, 1, "thing")
    for image_id in ids:
        made.add_image(source, image_id, path, **info)
    made.prepare()
    return made


def test_a_fingerprint_tells_images_and_their_order():
    same = fingerprint(dataset())
    assert same is not None and same["images"] == 2
    assert fingerprint(dataset()) == same
    for other in (dataset(("b", "a")), dataset(("a", "c")), dataset(source="x")):
        assert fingerprint(other)["digest"] != same["digest"]
    assert fingerprint(None) is None


VALUES = [
    [{"bbox": [1, 2, 3, 4], "iscrowd": 0}],
    [{"bbox": [1, 2, 3, 5], "iscrowd": 0}],
    [{"bbox": [1, 2, 3, 4], "iscrowd": 1}],
    np.arange(4),
    np.arange(4).reshape(2, 2),
    np.arange(4.0),
    b"12",
    b"13",
    {1: "x", "2": "y"},
    "text",
    "folder/other",
]


def test_a_fingerprint_tells_annotations():
    found = [fingerprint(dataset(annotations=value))["annotations"] for value in VALUES]
    assert len(set(found)) == len(VALUES)
    assert found == [fingerprint(dataset(annotations=value))["annotations"] for value in VALUES]


def test_a_fingerprint_does_not_tell_where_things_lie_or_in_which_process(tmp_path):
    class Own:
        """Its text holds its address."""

    def made(folder):
        (tmp_path / folder).mkdir()
        mask = tmp_path / folder / "mask.png"
        mask.write_bytes(b"mask")
        where = {"path": str(mask), "annotation_file": str(mask)}
        return dataset(masks=[str(mask)], truth=mask, own=Own(), **where), mask

    (first, _), (second, mask) = made("one"), made("two")
    assert fingerprint(first) == fingerprint(second)
    mask.write_bytes(b"another")
    assert fingerprint(first)["annotations"] != fingerprint(second)["annotations"]
    # The order of the fields in a json file tells nothing.
    one, other = {"x": 1, "y": 2}, {"y": 2, "x": 1}
    assert fingerprint(dataset(annotation=one)) == fingerprint(dataset(annotation=other))


def own() -> Any:
    return Sequential([HorizontalFlip(0.3), OneOf([VerticalFlip(1), RandomRotate90()])])


def of_imgaug() -> Any:
    iaa = pytest.importorskip("imgaug.augmenters")
    return iaa.Sequential([iaa.Fliplr(0.5), iaa.Sometimes(0.3, iaa.Affine(rotate=(-5, 5)))])


def of_albumentations() -> Any:
    albumentations = pytest.importorskip("albumentations")
    return albumentations.Compose([albumentations.HorizontalFlip(p=0.5)])


@pytest.mark.parametrize("make", [own, of_imgaug, of_albumentations])
def test_a_transform_is_described_alike_in_every_process_and_after_use(make):
    transform = make()
    described = describe_transform(transform)
    assert json.loads(json.dumps(described)) == described
    if make is not own:
        transform(image=np.zeros((8, 8, 3), np.uint8))
    assert describe_transform(transform) == described == describe_transform(make())
    assert "0x" not in json.dumps(described)  # no address


def test_what_a_transform_draws_with_counts_and_its_generator_does_not():
    class Jitter:
        def __init__(self, sigma: float, seed: int) -> None:
            self.sigma, self.rng = sigma, np.random.default_rng(seed)

    assert describe_transform(Jitter(1, 0)) == describe_transform(Jitter(1, 1))
    assert describe_transform(Jitter(1, 0)) != describe_transform(Jitter(2, 0))
    iaa = pytest.importorskip("imgaug.augmenters")
    assert describe_transform(iaa.Affine(rotate=5)) != describe_transform(iaa.Affine(rotate=6))
    assert describe_transform(None) is None


def test_versions_tell_the_backend():
    found = versions()
    assert found[found["backend"]] != "unknown" and {"mrcnn", "keras", "numpy"} <= found.keys()
