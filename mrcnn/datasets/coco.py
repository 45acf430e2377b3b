"""COCO annotations: polygons, compressed and uncompressed run lengths, crowds.

The format is described at https://cocodataset.org/#format-data. In a segmentation, x comes
before y; a box is [x, y, width, height]; run lengths ("RLE") go down the columns.

Shape letters: H, W height and width of an image; N its instances.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
from pycocotools import mask as mask_api
from pycocotools.coco import COCO

from mrcnn.data.dataset import Dataset
from mrcnn.datasets.segmentation import (
    Annotation,
    Rle,
    annotation_to_image_rle,
    annotation_to_mask,
    annotation_to_rle,
    check_structure,
)

# Two parts of COCO 2014's "val", in json files of their own; their images lie with "val".
SUBSETS_OF_VAL = ("minival", "valminusminival")

NOT_SELECTED = "annotations of classes not selected"
NO_SELECTED_CLASS = "images without a selected class"
UNDER_ONE_PIXEL = "masks under one pixel"


class CocoDataset(Dataset):
    """Images and instances of COCO json files; several files can be loaded into one.

    `image_info[i]` holds `width`, `height` and `annotations`, the selected entries of the
    json as they stand there. What was left out is counted in `left_out`.
    """

    def __init__(self, class_map: Mapping[int, int] | None = None) -> None:
        super().__init__(class_map)
        self._left_out: Counter[str] = Counter()
        self._under_one_pixel: set[tuple[str, Any, Any]] = set()

    def load_coco(
        self,
        dataset_dir: str | os.PathLike[str],
        subset: str,
        year: str | int | None = "2017",
        class_ids: Sequence[int] | None = None,
        class_map: Mapping[int, int] | None = None,
        return_coco: bool = False,
    ) -> COCO | None:
        """Load a subset of a folder in COCO's layout, with or without a year in its names.

        Reads `DIR/annotations/instances_{subset}{year}.json` and takes the images from
        `DIR/{subset}{year}/`; where that json does not exist, the same without the year.

        Args:
            dataset_dir: the folder DIR.
            subset: "train", "val", "minival" or "valminusminival"; the last two take the
                images of "val". Data sets with other subsets may name those.
            year: of the data set; None or "" when the names have none.
            class_ids, class_map, return_coco: as in `load_coco_json`.

        Raises:
            FileNotFoundError: the json, the image folder or an image is missing.
            ValueError: the json is malformed.
        """
        image_subset = "val" if subset in SUBSETS_OF_VAL else subset
        tried = []
        for suffix in dict.fromkeys([str(year or ""), ""]):
            annotations = Path(dataset_dir, "annotations", f"instances_{subset}{suffix}.json")
            if annotations.is_file():
                image_dir = Path(dataset_dir, f"{image_subset}{suffix}")
                return self.load_coco_json(
                    annotations, image_dir, class_ids, "coco", class_map, return_coco
                )
            tried.append(str(annotations))
        raise FileNotFoundError(
            f"{dataset_dir}: expected the annotations of the subset {subset!r} in "
            f"{' or '.join(tried)}; found no such file. Check the folder, the subset and the year."
        )

    def load_coco_json(
        self,
        annotations: str | os.PathLike[str],
        image_dir: str | os.PathLike[str],
        class_ids: Sequence[int] | None = None,
        source: str = "coco",
        class_map: Mapping[int, int] | None = None,
        return_coco: bool = False,
    ) -> COCO | None:
        """Load one json file in COCO's format.

        Args:
            annotations: the json file.
            image_dir: the folder that the json's file names are relative to.
            class_ids: category ids to load, in the order of the classes. Annotations of
                others are skipped, and images without any of them too. None or empty: all
                categories by ascending id, and all images.
            source: name of the data set. Categories of the same source and id are one class.
            class_map: {category id: category id to load it as}, to join categories of the
                file; ids it does not name stay as they are.
            return_coco: return the file's `pycocotools.coco.COCO` object too.

        Raises:
            FileNotFoundError: the json, the image folder or an image is missing.
            ValueError: the json is malformed, or a class id is not in it.
        """
        file, folder = Path(annotations), Path(image_dir)
        content = read_coco_json(file)
        if not folder.is_dir():
            raise FileNotFoundError(
                f"{folder}: expected the folder with the images of {file}; there is none."
            )
        names = {category["id"]: category["name"] for category in content["categories"]}
        select = class_ids is not None and len(class_ids) > 0
        selected = list(class_ids) if select else sorted(names)
        class_map = dict(class_map or {})
        for category in [*selected, *class_map, *class_map.values()]:
            _check_category(category, names, f"{file}: class_ids or class_map")
        classes = {k: names[k] for k in (class_map.get(k, k) for k in selected)}
        self._check_class_names(source, classes, file)

        images = _index_images(content["images"], file)
        chosen, skipped = _group_annotations(
            content["annotations"], images, names, set(selected), class_map, file
        )
        wanted = [image for image in images.values() if image["id"] in chosen or not select]
        paths = _image_paths(wanted, folder, file)

        for category, name in classes.items():
            self.add_class(source, category, name)
        for image, path in zip(wanted, paths, strict=True):
            self.add_image(
                source,
                image_id=image["id"],
                path=path,
                width=image["width"],
                height=image["height"],
                annotations=chosen.get(image["id"], []),
                annotation_file=str(file),
            )
        self._left_out[NOT_SELECTED] += skipped
        self._left_out[NO_SELECTED_CLASS] += len(images) - len(wanted)
        return coco_api(content) if return_coco else None

    def _check_class_names(self, source: str, classes: Mapping[int, str], file: Path) -> None:
        known = {info["id"]: info["name"] for info in self.class_info if info["source"] == source}
        for category, name in classes.items():
            if known.get(category, name) != name:
                raise ValueError(
                    f"{file}: expected category {category} to be {known[category]!r}, as in the "
                    f"file loaded before it for the source {source!r}; received {name!r}. Load "
                    f"one of the two with another `source`."
                )

    def annotations(self, image_id: int) -> list[Annotation]:
        """The selected annotations of an image as they stand in the json, crowds among them."""
        return self.image_info[image_id]["annotations"]

    def load_rles(self, image_id: int) -> tuple[list[Rle], np.ndarray]:
        """The instances of an image, compressed: `load_mask` before decoding.

        Returns:
            N run-length encodings of the image's size, each of at least one pixel, and
            int32 [N] class ids, negative for crowds.
        """
        info = self.image_info[image_id]
        rles, class_ids = [], []
        for annotation in info["annotations"]:
            class_id = self.map_source_class_id(f"{info['source']}.{annotation['category_id']}")
            rle = annotation_to_image_rle(
                annotation, info["height"], info["width"], info["annotation_file"]
            )
            if mask_api.area(rle) < 1:
                self._under_one_pixel.add((info["source"], info["id"], annotation.get("id")))
                continue
            rles.append(rle)
            class_ids.append(-class_id if annotation.get("iscrowd") else class_id)
        return rles, np.array(class_ids, np.int32)

    def load_mask(self, image_id: int) -> tuple[np.ndarray, np.ndarray]:
        """The instance masks of an image.

        A crowd, one region that covers many objects, has its class id negated; a crowd whose
        run lengths are of another size than the image covers the whole image. Masks that
        rasterize to no pixel are left out, and counted in `left_out`.

        Returns:
            bool [H, W, N] (each mask contiguous in memory) and int32 [N] class ids.

        Raises:
            ValueError: a segmentation is malformed; names the file and the annotation's id.
        """
        info = self.image_info[image_id]
        if "annotations" not in info:  # added by a subclass from another source
            return super().load_mask(image_id)
        rles, class_ids = self.load_rles(image_id)
        if not rles:
            return np.zeros((info["height"], info["width"], 0), bool), class_ids
        return mask_api.decode(rles).view(bool), class_ids

    def image_reference(self, image_id: int) -> str:
        """A link to the image on cocodataset.org, for images of the source "coco"."""
        info = self.image_info[image_id]
        if info["source"] == "coco":
            return f"http://cocodataset.org/#explore?id={info['id']}"
        return super().image_reference(image_id)

    @property
    def left_out(self) -> dict[str, int]:
        """What was not loaded, and how often; masks under one pixel as they are met."""
        return {**self._left_out, UNDER_ONE_PIXEL: len(self._under_one_pixel)}

    def summary(self) -> str:
        """One sentence: how many images and instances there are, and what was left out."""
        loaded = [a for info in self.image_info for a in info.get("annotations", [])]
        crowds = sum(bool(a.get("iscrowd")) for a in loaded)
        left_out = ", ".join(
            f"{count} {reason}" for reason, count in self.left_out.items() if count
        )
        return (
            f"{len(self.image_info)} images with {len(loaded)} annotations, {crowds} of them "
            f"crowds; left out: {left_out or 'nothing'}."
        )

    def annToRLE(self, ann: Annotation, height: int, width: int) -> Rle:  # noqa: N802
        """Matterport's name of `annotation_to_rle`."""
        return annotation_to_rle(ann, height, width)

    def annToMask(self, ann: Annotation, height: int, width: int) -> np.ndarray:  # noqa: N802
        """Matterport's name of `annotation_to_mask`."""
        return annotation_to_mask(ann, height, width)


def read_coco_json(file: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a COCO json file and check that it has images, annotations and categories."""
    try:
        content = json.loads(Path(file).read_bytes())
    except FileNotFoundError:
        raise FileNotFoundError(f"{file}: expected a COCO json file; there is none.") from None
    except ValueError as error:
        raise ValueError(f"{file}: expected a COCO json file; it is not json: {error}.") from None
    for field in ("images", "annotations", "categories"):
        if not isinstance(content, dict) or not isinstance(content.get(field), list):
            raise ValueError(
                f"{file}: expected an object with the list {field!r}, as in COCO's "
                f"instances_*.json; found none."
            )
    return content


def coco_api(content: dict[str, Any]) -> COCO:
    """Index the content of a COCO json file with pycocotools, without its printing."""
    api = COCO()
    api.dataset = content
    with contextlib.redirect_stdout(io.StringIO()):
        api.createIndex()
    return api


def _is_positive(value: Any) -> bool:
    return isinstance(value, int) and value > 0


def _check_category(category: Any, names: Mapping[int, str], where: str) -> None:
    if category not in names:
        raise ValueError(
            f"{where}: expected a category id of the file's 'categories' "
            f"({', '.join(map(str, sorted(names)))}); received {category!r}."
        )


def _index_images(images: list[dict[str, Any]], file: Path) -> dict[Any, dict[str, Any]]:
    """The images by id, in the file's order."""
    index: dict[Any, dict[str, Any]] = {}
    for image in images:
        for field in ("id", "file_name", "height", "width"):
            if field not in image:
                raise ValueError(
                    f"{file}: image {image.get('id')}: expected the field {field!r}; it is missing."
                )
        if not (_is_positive(image["height"]) and _is_positive(image["width"])):
            raise ValueError(
                f"{file}: image {image['id']}: expected a positive 'height' and 'width'; received "
                f"{image['height']!r} and {image['width']!r}."
            )
        if image["id"] in index:
            raise ValueError(
                f"{file}: expected each image id once; {image['id']} stands for "
                f"{index[image['id']]['file_name']} and for {image['file_name']}."
            )
        index[image["id"]] = image
    return index


def _group_annotations(
    annotations: list[Annotation],
    images: Mapping[Any, Any],
    names: Mapping[int, str],
    selected: set[int],
    class_map: Mapping[int, int],
    file: Path,
) -> tuple[dict[Any, list[Annotation]], int]:
    """Group the annotations of selected categories by image id; count the others."""
    chosen: dict[Any, list[Annotation]] = defaultdict(list)
    skipped = 0
    for annotation in annotations:
        where = f"{file}: annotation {annotation.get('id')}"
        for field in ("image_id", "category_id", "segmentation"):
            if field not in annotation:
                raise ValueError(f"{where}: expected the field {field!r}; it is missing.")
        if annotation["image_id"] not in images:
            raise ValueError(
                f"{where}, field 'image_id': expected the id of an entry of 'images'; received "
                f"{annotation['image_id']!r}, which has none."
            )
        category = annotation["category_id"]
        _check_category(category, names, f"{where}, field 'category_id'")
        if category not in selected:
            skipped += 1
            continue
        check_structure(annotation, str(file))
        target = class_map.get(category, category)
        if target != category:
            annotation = {**annotation, "category_id": target}
        chosen[annotation["image_id"]].append(annotation)
    return dict(chosen), skipped


def _image_paths(images: list[dict[str, Any]], folder: Path, file: Path) -> list[str]:
    """The path of each image, all checked to be files inside the folder."""
    listing = set(os.listdir(folder))  # one call, where a million `stat` would take minutes
    paths, missing = [], []
    for image in images:
        name = os.path.normpath(str(image["file_name"]))
        path = os.path.join(folder, name)
        absolute = os.path.isabs(name) or PureWindowsPath(name).anchor
        if absolute or name.split(os.sep)[0] == os.pardir:
            raise ValueError(
                f"{file}: image {image['id']}, field 'file_name': expected a path inside the image "
                f"folder {folder}; received {image['file_name']!r}."
            )
        if name not in listing and not os.path.isfile(path):
            missing.append(image)
        paths.append(path)
    if missing:
        raise FileNotFoundError(
            f"{file}: image {missing[0]['id']}: expected the file {missing[0]['file_name']!r} in "
            f"{folder}; it is missing, as are {len(missing) - 1} of the other {len(images) - 1}. "
            f"Complete the folder, or take the images out of the json."
        )
    return paths
