"""Cityscapes: street scenes with fine annotations (https://www.cityscapes-dataset.com).

A data set is a folder with `leftImg8bit/SPLIT/CITY/ID_leftImg8bit.png` and
`gtFine/SPLIT/CITY/ID_gtFine_{polygons.json,instanceIds.png}`, ID being CITY_SEQUENCE_FRAME.
Both annotations have the same content: the objects' polygons, painted one over the other, give the
instance ids. Either can be read.

In an image of instance ids a pixel holds `1000 * label + n` for instance n of a label that
distinguishes instances, and else the label alone. A label with instances alone is a group,
"cargroup" in the polygons: several objects that could not be told apart.

Shape letters: H, W height and width of an image; N its instances.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mrcnn.data.dataset import Dataset
from mrcnn.datasets.polygon_filling import paint_polygon
from mrcnn.files.image_file import open_image, width_and_height
from mrcnn.files.untrusted import MAX_IMAGE_PIXELS, Folder, check_mask_bytes, is_size, load_json

SOURCE = "cityscapes"
# A label's place is its id.
LABELS = (
    *("unlabeled", "ego vehicle", "rectification border", "out of roi", "static", "dynamic"),
    *("ground", "road", "sidewalk", "parking", "rail track", "building", "wall", "fence"),
    *("guard rail", "bridge", "tunnel", "pole", "polegroup", "traffic light", "traffic sign"),
    *("vegetation", "terrain", "sky", "person", "rider", "car", "truck", "bus", "caravan"),
    *("trailer", "train", "motorcycle", "bicycle"),
)
NEVER_PAINTED = -1  # the id of license plates: the car stays visible
LABEL_IDS = {**{name: number for number, name in enumerate(LABELS)}, "license plate": NEVER_PAINTED}
GROUP = "group"  # ends the label of a group
INSTANCE_FACTOR = 1000
WITH_INSTANCES = range(LABEL_IDS["person"], LABEL_IDS["bicycle"] + 1)
NOT_EVALUATED = (LABEL_IDS["caravan"], LABEL_IDS["trailer"])
# The labels that `load_cityscapes` makes classes of.
CLASSES = {
    "instance": tuple(label for label in WITH_INSTANCES if label not in NOT_EVALUATED),
    "all": tuple(range(len(LABELS))),
}
# The file of each kind of annotations, after "ID_gtFine_".
ANNOTATIONS = {"polygons": "polygons.json", "instances": "instanceIds.png"}
IMAGE_SUFFIX = "_leftImg8bit.png"

MIN_POINTS = 3
# Points may stray over the border of the image by this many of its longer sides, not further.
POLYGON_MARGIN = 1.0


class CityscapesDataset(Dataset):
    """Images and instances of Cityscapes; several subsets can be loaded into one.

    The classes are of the source "cityscapes"; their ids in it are the label ids. Groups are
    crowds: their class ids are negative. `image_info[i]` holds `width`, `height` and `city`.
    """

    def load_cityscapes(
        self,
        root: str | os.PathLike[str],
        subset: str,
        annotations: str = "polygons",
        classes: str = "instance",
        cities: Sequence[str] | None = None,
        limit: int | None = None,
    ) -> None:
        """Load a subset of a folder in the layout of Cityscapes.

        Args:
            root: the folder that holds `leftImg8bit` and `gtFine`.
            subset: "train", "val", "test", or another that exists.
            annotations: "polygons" reads the json files, "instances" the instance ids.
            classes: "instance" for the 8 classes of the instance benchmark, or "all" for all
                34 labels. Of labels without instances, each is one instance an image.
            cities: those to load; None: all.
            limit: load the first so many images by name; None or 0: all.

        Raises:
            FileNotFoundError: a folder, an image or its annotations are missing.
            ValueError: an argument is not one of those above, or an image cannot be read.
        """
        for name, value, choices in (
            ("annotations", annotations, ANNOTATIONS),
            ("classes", classes, CLASSES),
        ):
            if value not in choices:
                raise ValueError(f"{name}: expected one of {list(choices)}; received {value!r}.")
        if limit is not None and limit < 0:
            raise ValueError(f"limit: expected a number of images from 0 up; received {limit}.")
        images = _image_files(Path(root, "leftImg8bit", subset), cities)[: limit or None]
        truths = [_truth_of(image, Path(root, "gtFine", subset)) for image in images]
        missing = [f for f in (_file(truth, annotations) for truth in truths) if not f.is_file()]
        if missing:
            raise FileNotFoundError(
                f"{missing[0]}: expected annotations for each of the {len(images)} images in "
                f"{Path(root, 'leftImg8bit', subset)}; {len(missing)} such files are missing. "
                f"Unpack gtFine beside leftImg8bit, or read the other annotations."
            )
        for folder, files in (
            (Path(root, "leftImg8bit", subset), images),
            (Path(root, "gtFine", subset), [_file(truth, annotations) for truth in truths]),
        ):
            _check_inside(folder, files)
        for label in CLASSES[classes]:
            self.add_class(SOURCE, label, LABELS[label])
        for image, truth in zip(images, truths, strict=True):
            width, height = width_and_height(image)
            self.add_image(
                SOURCE,
                image_id=image.name.removesuffix(IMAGE_SUFFIX),
                path=str(image),
                width=width,
                height=height,
                city=image.parent.name,
                ground_truth=str(truth),
                annotation_kind=annotations,
            )

    def truth_file(self, image_id: int, annotations: str) -> Path:
        """The file of an image's "polygons" or "instances"."""
        return _file(Path(self.image_info[image_id]["ground_truth"]), annotations)

    def load_instance_ids(self, image_id: int) -> np.ndarray:
        """The instance ids of an image, read or painted: int32 [H, W].

        Raises:
            FileNotFoundError, ValueError: the annotations are missing, malformed or of another
                size than the image; names the file and the field.
        """
        info = self.image_info[image_id]
        file = self.truth_file(image_id, info["annotation_kind"])
        read = paint_polygons if info["annotation_kind"] == "polygons" else read_instance_ids
        ids = read(file)
        if ids.shape != (info["height"], info["width"]):
            raise ValueError(
                f"{file}: expected the size of the image {info['path']}, {info['height']} x "
                f"{info['width']}; received {ids.shape[0]} x {ids.shape[1]}."
            )
        return ids

    def load_mask(self, image_id: int) -> tuple[np.ndarray, np.ndarray]:
        """The visible parts of an image's instances, by ascending instance id.

        Instances that others cover wholly are not there.

        Returns:
            bool [H, W, N] (each mask contiguous in memory) and int32 [N] class ids, negative
            for groups.
        """
        info = self.image_info[image_id]
        if "ground_truth" not in info:  # added by a subclass from another source
            return super().load_mask(image_id)
        ids = self.load_instance_ids(image_id)
        found, class_ids = [], []
        for value in _values(ids):
            label, group = split_instance_id(value)
            class_id = self.class_from_source_map.get(f"{SOURCE}.{label}")
            if class_id is not None:
                found.append(value)
                class_ids.append(-class_id if group else class_id)
        height, width = ids.shape
        check_mask_bytes(height, width, len(found), str(info["path"]))
        masks = np.empty((len(found), height, width), bool)
        for mask, value in zip(masks, found, strict=True):
            np.equal(ids, value, out=mask)
        return masks.transpose(1, 2, 0), np.array(class_ids, np.int32)

    def image_reference(self, image_id: int) -> str:
        """The image's id, CITY_SEQUENCE_FRAME."""
        info = self.image_info[image_id]
        return info["id"] if info["source"] == SOURCE else super().image_reference(image_id)

    def summary(self) -> str:
        """One sentence: how many images, cities and classes there are."""
        cities = {info["city"] for info in self.image_info if "city" in info}
        return (
            f"{len(self.image_info)} images of {len(cities)} cities, "
            f"{len(self.class_info) - 1} classes."
        )


def split_instance_id(value: int) -> tuple[int, bool]:
    """The label of an instance id, and whether it is a group of objects."""
    if value >= INSTANCE_FACTOR:
        return value // INSTANCE_FACTOR, False
    return value, value in WITH_INSTANCES


def read_instance_ids(file: str | os.PathLike[str]) -> np.ndarray:
    """Read `*_gtFine_instanceIds.png`: int32 [H, W].

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a grey image of 16 or 32 bits, or holds a value that is not an
            instance id.
    """
    with open_image(file) as image:
        mode, ids = image.mode, np.asarray(image)
    if not mode.startswith("I"):
        raise ValueError(
            f"{file}: expected instance ids as a grey image of 16 or 32 bits; received the mode "
            f"{mode!r}. Label ids and colors do not tell instances apart."
        )
    ids = ids.astype(np.int32)
    limit = len(LABELS) * INSTANCE_FACTOR
    values = _values(ids) if 0 <= ids.min() and ids.max() < limit else [ids.min(), ids.max()]
    for value in values:
        label = value // INSTANCE_FACTOR if value >= INSTANCE_FACTOR else value
        labels = WITH_INSTANCES if value >= INSTANCE_FACTOR else range(len(LABELS))
        if label not in labels:
            raise ValueError(
                f"{file}: expected label ids from 0 to {len(LABELS) - 1}, or 1000 * label + n for "
                f"labels from {WITH_INSTANCES[0]} to {WITH_INSTANCES[-1]}; received {value}."
            )
    return ids


def paint_polygons(file: str | os.PathLike[str]) -> np.ndarray:
    """Paint the objects of `*_gtFine_polygons.json` as instance ids: int32 [H, W].

    As Cityscapes' own tool does: in the order of the list, so that later objects cover earlier
    ones; all that nothing covers is unlabeled, 0. Objects marked as deleted, and license plates,
    are not painted.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is malformed, or the outline of an object is too long to paint
            (`mrcnn.datasets.polygon_filling`); names the object and the field.
    """
    content = _read_json(file)
    canvas = Image.new("I", (content["imgWidth"], content["imgHeight"]), 0)
    instances: Counter[int] = Counter()
    for number, label, group, points in _objects(content, file):
        value = label
        if label in WITH_INSTANCES and not group:
            value = INSTANCE_FACTOR * label + instances[label]
            instances[label] += 1
            if instances[label] > INSTANCE_FACTOR:
                raise ValueError(
                    f"{file}: expected at most {INSTANCE_FACTOR} objects of a label, because "
                    f"instance ids hold no more; received more of {LABELS[label]!r}."
                )
        if label == NEVER_PAINTED:
            continue
        try:
            paint_polygon(canvas, points, value)
        except ValueError as error:
            raise ValueError(f"{file}: object {number}, field 'polygon': {error}.") from None
    return np.array(canvas, np.int32)


def parse_label(name: str) -> tuple[int, bool] | None:
    """The id of a label's name and whether it is a group; None for an unknown name."""
    if name in LABEL_IDS:  # "polegroup" is a label of its own
        return LABEL_IDS[name], False
    member = name.removesuffix(GROUP)
    return (LABEL_IDS[member], True) if name != member and member in LABEL_IDS else None


def _read_json(file: str | os.PathLike[str]) -> dict[str, Any]:
    try:
        content = load_json(file)
    except FileNotFoundError:
        raise FileNotFoundError(f"{file}: expected polygons; there is no such file.") from None
    except ValueError as error:
        raise ValueError(f"{file}: expected polygons as json; it is not json: {error}.") from None
    if not isinstance(content, dict) or not isinstance(content.get("objects"), list):
        raise ValueError(f"{file}, field 'objects': expected a list of objects; found none.")
    sides = content.get("imgHeight"), content.get("imgWidth")
    if not is_size(*sides):
        raise ValueError(
            f"{file}, fields 'imgHeight' and 'imgWidth': expected numbers of pixels, together at "
            f"most {MAX_IMAGE_PIXELS}; received {repr(sides[0])[:60]} and {repr(sides[1])[:60]}."
        )
    return content


def _objects(
    content: dict[str, Any], file: str | os.PathLike[str]
) -> Iterator[tuple[int, int, bool, list[tuple[float, float]]]]:
    """Its number, label id, group or not, and points (x, y) of each object that is not deleted."""
    margin = POLYGON_MARGIN * max(content["imgHeight"], content["imgWidth"])
    for number, entry in enumerate(content["objects"]):
        where = f"{file}: object {number}"
        if not isinstance(entry, dict):
            raise ValueError(f"{where}: expected label and polygon; received {repr(entry)[:60]}.")
        if entry.get("deleted"):
            continue
        label = parse_label(str(entry.get("label")))
        if label is None:
            raise ValueError(
                f"{where}, field 'label': expected a label of Cityscapes, or one with 'group' "
                f"after it; received {repr(entry.get('label'))[:60]}."
            )
        points = entry.get("polygon")
        if not isinstance(points, list) or len(points) < MIN_POINTS:
            raise ValueError(
                f"{where}, field 'polygon': expected a list of at least {MIN_POINTS} points; "
                f"received {repr(points)[:60]}."
            )
        for point in points:
            if not _is_point(point, content, margin):
                raise ValueError(
                    f"{where}, field 'polygon': expected points [x, y] in the image of "
                    f"{content['imgHeight']} x {content['imgWidth']}; received {repr(point)[:60]}."
                )
        yield (number, *label, [(point[0], point[1]) for point in points])


def _is_point(point: Any, content: dict[str, Any], margin: float) -> bool:
    sides = content["imgWidth"], content["imgHeight"]
    return (
        isinstance(point, list)
        and len(point) == 2
        and all(isinstance(value, (int, float)) for value in point)
        # False for NaN too.
        and all(-margin <= v <= side + margin for v, side in zip(point, sides, strict=True))
    )


def _values(ids: np.ndarray) -> list[int]:
    """The distinct values of an image of instance ids, ascending."""
    return np.flatnonzero(np.bincount(ids.ravel())).tolist()


def _image_files(folder: Path, cities: Sequence[str] | None) -> list[Path]:
    if not folder.is_dir():
        there = sorted(path.name for path in folder.parent.glob("*") if path.is_dir())
        raise FileNotFoundError(
            f"{folder}: expected the images of this subset; there is no such folder. Beside it "
            f"there is {', '.join(there) or 'nothing'}."
        )
    known = sorted(path.name for path in folder.iterdir() if path.is_dir())
    unknown = sorted(set(cities or ()) - set(known))
    if unknown:
        raise ValueError(f"cities: expected some of {known}; received {unknown} too.")
    chosen = known if cities is None else sorted(set(cities))
    images = [
        file for city in chosen for file in sorted(Path(folder, city).glob(f"*{IMAGE_SUFFIX}"))
    ]
    if not images:
        raise FileNotFoundError(
            f"{folder}: expected images CITY/*{IMAGE_SUFFIX}; found none in {chosen}."
        )
    return images


def _check_inside(folder: Path, files: list[Path]) -> None:
    """Refuse links that lead out of a folder."""
    inside = Folder(folder)
    for file in files:
        try:
            inside.find(str(file.relative_to(folder)))
        except ValueError as error:
            raise ValueError(f"{file}: {error}.") from None


def _truth_of(image: Path, folder: Path) -> Path:
    """The start of the names of an image's annotation files."""
    return folder / image.parent.name / (image.name.removesuffix(IMAGE_SUFFIX) + "_gtFine")


def _file(truth: Path, annotations: str) -> Path:
    return truth.with_name(f"{truth.name}_{ANNOTATIONS[annotations]}")
