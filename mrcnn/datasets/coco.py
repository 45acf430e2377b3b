"""Data sets in COCO's format: polygons, compressed and uncompressed run lengths, crowds.

The format is described at https://cocodataset.org/#format-data. In a segmentation, x comes
before y; a box is [x, y, width, height]; run lengths ("RLE") go down the columns.

Shape letters: H, W height and width of an image; N its instances.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from pycocotools import mask as mask_api
from pycocotools.coco import COCO

from mrcnn.data.annotation_table import AnnotationTable, counts
from mrcnn.data.dataset import Dataset
from mrcnn.data.image_table import ImageTable, Info
from mrcnn.data.instances import Instances
from mrcnn.datasets.coco_json import (
    EntryReader,
    by_type,
    check_category,
    coco_api,
    is_box_only,
)
from mrcnn.datasets.division import Division
from mrcnn.datasets.image_entries import ImageEntries
from mrcnn.datasets.image_stores import open_store, place_of
from mrcnn.datasets.layouts import SplitFiles, find_split
from mrcnn.datasets.loaded_images import as_infos, as_table, of_classes
from mrcnn.datasets.segmentation import (
    Annotation,
    Rle,
    annotation_to_image_rle,
    annotation_to_mask,
    annotation_to_rle,
    box_rle,
    rle_crop,
)
from mrcnn.files.untrusted import check_mask_bytes

NOT_SELECTED = "annotations of classes not selected"
NO_SELECTED_CLASS = "images without a selected class"
UNDER_ONE_PIXEL = "masks under one pixel"


class CocoDataset(Dataset):
    """Images and instances of COCO json files; several files can be loaded into one.

    `image_info[i]` holds `width`, `height` and `annotations`, the selected entries of the json in
    COCO's own form (see `mrcnn.data.coco_fields`): a list, or of a file of 64 MB or more a sequence
    whose items stay in the file (`mrcnn.data.annotation_table`); `image_info` is then a
    `mrcnn.data.image_table.ImageInfos`, which behaves as a list. What was left out is counted in
    `left_out`, what was written in another form in `forms`.

    `CocoDataset.of(folder, "val", "2017")` gives a split that is ready to use; `load_coco` and
    `load_coco_json` add files one by one, and `prepare` is then called as for any data set.
    """

    _ground_truth: COCO | None = None

    def __init__(self, class_map: Mapping[int, int] | None = None) -> None:
        super().__init__(class_map)
        self._left_out: Counter[str] = Counter()
        self.forms: Counter[str] = Counter()
        self._under_one_pixel: set[tuple[str, Any, str]] = set()

    @classmethod
    def of(
        cls,
        folder: str | os.PathLike[str],
        subset: str,
        year: str | int | None = "",
        *,
        box_only: bool = False,
        skip_invalid: bool = False,
        ground_truth: bool = True,
        division: Division | None = None,
        image_dir: str | os.PathLike[str] | None = None,
    ) -> Self:
        """Load one subset of a folder in COCO's layout and prepare it.

        Args:
            folder, subset, year, box_only, skip_invalid: as `dataset_dir` and the others of
                `load_coco`.
            ground_truth: index the annotations for pycocotools, see the attribute of that name.
            division: of a data set without a validation set.
            image_dir: as in `load_coco_json`, where the images are not beside the json; of
                "{subset}" in it the subset's name takes the place.

        Raises:
            FileNotFoundError: the json, the image folder or an image is missing.
            ValueError: the json is malformed.
        """
        dataset = cls()
        if division is None and image_dir is None:
            dataset._ground_truth = dataset.load_coco(
                *(folder, subset, year),
                return_coco=ground_truth,
                box_only=box_only,
                skip_invalid=skip_invalid,
            )
        else:
            files = find_split(folder, subset, year, division, image_dir)
            reader = EntryReader(files.annotations, box_only, skip_invalid)
            dataset._ground_truth = dataset._load(files, reader, None, "coco", None, ground_truth)
        dataset.prepare()
        return dataset

    @property
    def ground_truth(self) -> COCO:
        """The annotations of the split as pycocotools reads them, for evaluation.

        Raises:
            ValueError: the data set was not loaded by `of`, or without its `ground_truth`.
        """
        if self._ground_truth is None:
            raise ValueError(
                "The data set has no ground truth for pycocotools: load it with "
                "CocoDataset.of(folder, subset, year). Copies in other processes have none."
            )
        return self._ground_truth

    def __getstate__(self) -> dict[str, Any]:
        # The loader's worker processes read samples; they do not evaluate.
        return {**self.__dict__, "_ground_truth": None}

    def load_coco(
        self,
        dataset_dir: str | os.PathLike[str],
        subset: str,
        year: str | int | None = "2017",
        class_ids: Sequence[int] | None = None,
        class_map: Mapping[int, int] | None = None,
        return_coco: bool = False,
        box_only: bool = False,
        skip_invalid: bool = False,
    ) -> COCO | None:
        """Load a subset of a folder in COCO's layout, with or without a year in its names.

        Reads `DIR/annotations/instances_{subset}{year}.json` and takes the images from
        `DIR/{subset}{year}/`; where that json does not exist, the same without the year; where
        that does not exist either, what `mrcnn.datasets.layouts` finds.

        Args:
            dataset_dir: the folder DIR; or a json file, the subset "train".
            subset: "train", "val", "minival" or "valminusminival"; the last two take the
                images of "val". Data sets with other subsets may name those, or the json's path.
            year: of the data set; None or "" when the names have none.
            class_ids, class_map, return_coco, box_only, skip_invalid: as in `load_coco_json`.

        Raises:
            FileNotFoundError: the json, the image folder or an image is missing.
            ValueError: the json is malformed, or several files could be it.
        """
        files = find_split(dataset_dir, subset, year)
        if files.content is None:
            return self.load_coco_json(
                *(files.annotations, files.images, class_ids, "coco", class_map),
                return_coco=return_coco,
                box_only=box_only,
                skip_invalid=skip_invalid,
            )
        reader = EntryReader(files.annotations, box_only, skip_invalid)
        return self._load(files, reader, class_ids, "coco", class_map, return_coco)

    def load_coco_json(
        self,
        annotations: str | os.PathLike[str],
        image_dir: str | os.PathLike[str],
        class_ids: Sequence[int] | None = None,
        source: str = "coco",
        class_map: Mapping[int, int] | None = None,
        return_coco: bool = False,
        box_only: bool = False,
        skip_invalid: bool = False,
    ) -> COCO | None:
        """Load one json file in COCO's format.

        Args:
            annotations: the json file.
            image_dir: what the json's file names are relative to: a folder; an address of fsspec,
                such as "s3://bucket/train2017" or "zip://photos::file:///photos.zip"; or tar files,
                "shards/train-*.tar", whose members they name. Each image is read from there when
                its turn comes.
            class_ids: category ids to load, in the order of the classes. Annotations of
                others are skipped, and images without any of them too. None or empty: all
                categories by ascending id, and all images.
            source: name of the data set. Categories of the same source and id are one class.
            class_map: {category id: category id to load it as}, to join categories of the
                file; ids it does not name stay as they are.
            return_coco: return the `pycocotools.coco.COCO` object of all that was read too.
            box_only: accept annotations with a `bbox` and no `segmentation`. They train boxes and
                classes, and nothing of the mask branch.
            skip_invalid: leave out annotations that cannot be used, and count them by kind in
                `left_out`; False: the first one is an error.

        Raises:
            FileNotFoundError: the json, the image folder or an image is missing.
            ValueError: the json is malformed, or a class id is not in it.
        """
        files = SplitFiles("", Path(annotations), place_of(image_dir))
        reader = EntryReader(files.annotations, box_only, skip_invalid)
        return self._load(files, reader, class_ids, source, class_map, return_coco)

    def _load(
        self,
        files: SplitFiles,
        reader: EntryReader,
        class_ids: Sequence[int] | None,
        source: str,
        class_map: Mapping[int, int] | None,
        return_coco: bool,
    ) -> COCO | None:
        file, content = files.annotations, files.read()
        store = open_store(files.images, file)
        categories = reader.categories(content["categories"])
        names = {category["id"]: category["name"] for category in categories}
        selected = [] if class_ids is None else list(class_ids)
        select = bool(selected)
        if not select:
            selected = sorted(names, key=by_type)
        class_map = dict(class_map or {})
        for category in [*selected, *class_map, *class_map.values()]:
            check_category(category, names, f"{file}: class_ids or class_map")
        classes = {k: names[k] for k in (class_map.get(k, k) for k in selected)}
        self._check_class_names(source, classes, file)

        images = reader.images(content["images"])
        annotated = reader.annotations(content["annotations"], images, names, set(selected))
        chosen = of_classes(annotated, set(selected), class_map)
        wanted: ImageTable | list[Info]
        if isinstance(images, ImageEntries) and isinstance(chosen, AnnotationTable):
            wanted = as_table(images, chosen, select, source, files, store)
        else:
            wanted = as_infos(images, chosen, select, files, store)
        api = None
        if return_coco:
            lists = {"images": list(images.values()), "annotations": list(annotated)}
            api = coco_api({**content, **lists, "categories": categories}, str(file))

        for category, name in classes.items():
            self.add_class(source, category, name)
        if isinstance(wanted, ImageTable):
            self._add_table(wanted)
        else:
            for info in wanted:
                self.add_image(source, **info)
        self._left_out[NOT_SELECTED] += reader.not_selected
        self._left_out[NO_SELECTED_CLASS] += len(images) - len(wanted)
        self._left_out += reader.left_out
        self.forms += reader.forms
        return api

    def _check_class_names(self, source: str, classes: Mapping[int, str], file: Path) -> None:
        known = {info["id"]: info["name"] for info in self.class_info if info["source"] == source}
        for category, name in classes.items():
            if known.get(category, name) != name:
                raise ValueError(
                    f"{file}: expected category {category} to be {known[category]!r}, as in the "
                    f"file loaded before it for the source {source!r}; received {name!r}. Load "
                    f"one of the two with another `source`."
                )

    def annotations(self, image_id: int) -> Sequence[Annotation]:
        """The selected annotations of an image in COCO's own form, crowds included."""
        return self.image_info[image_id]["annotations"]

    def load_box_only(self, image_id: int) -> np.ndarray | None:
        """bool [N]: which instances of `load_mask` are boxes without a mask."""
        info = self.image_info[image_id]
        if "annotations" not in info or not any(map(is_box_only, info["annotations"])):
            return None
        return np.array([is_box_only(annotation) for annotation, _ in self._visible(image_id)])

    def load_rles(self, image_id: int) -> tuple[list[Rle], np.ndarray]:
        """The instances of an image, compressed: `load_mask` before decoding.

        Returns:
            N run-length encodings of the image's size, each of at least one pixel, and
            int32 [N] class ids, negative for crowds.
        """
        source = self.image_info[image_id]["source"]
        rles, class_ids = [], []
        for annotation, rle in self._visible(image_id):
            class_id = self.map_source_class_id(f"{source}.{annotation['category_id']}")
            rles.append(rle)
            class_ids.append(-class_id if annotation.get("iscrowd") else class_id)
        return rles, np.array(class_ids, np.int32)

    def _visible(self, image_id: int) -> Iterator[tuple[Annotation, Rle]]:
        """The annotations that cover at least one pixel; the others are counted."""
        info = self.image_info[image_id]
        size = info["height"], info["width"]
        for annotation in info["annotations"]:
            if is_box_only(annotation):
                rle = box_rle(annotation["bbox"], *size)
            else:
                rle = annotation_to_image_rle(annotation, *size, info["annotation_file"])
            if mask_api.area(rle) < 1:
                self._under_one_pixel.add((info["source"], info["id"], repr(annotation.get("id"))))
                continue
            yield annotation, rle

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
        check_mask_bytes(info["height"], info["width"], len(rles), str(info["path"]))
        return mask_api.decode(rles).view(bool), class_ids

    def load_instances(self, image_id: int) -> Instances:
        """The instances of `load_mask`, each cut to its box; no mask of the image's size is made.

        Raises:
            ValueError: a segmentation is malformed; names the file and the annotation's id.
        """
        info = self.image_info[image_id]
        if "annotations" not in info:  # added by a subclass from another source
            return Instances.from_masks(*super().load_mask(image_id))
        rles, class_ids = self.load_rles(image_id)
        pixels = sum(int(width * height) for _, _, width, height in map(mask_api.toBbox, rles))
        check_mask_bytes(1, pixels, 1, str(info["path"]))
        boxes = np.zeros((len(rles), 4), np.int32)
        crops = []
        for box, rle in zip(boxes, rles, strict=True):
            box[:], crop = rle_crop(rle)
            crops.append(crop)
        return Instances((info["height"], info["width"]), boxes, crops, class_ids)

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
        """How many images and instances there are, what was left out, and what read how."""
        loaded: Counter[bool] = Counter()
        for info in self.image_info:
            for (_, is_crowd), number in counts(info.get("annotations", ())).items():
                loaded[is_crowd] += number
        left_out = ", ".join(
            f"{count} {reason}" for reason, count in self.left_out.items() if count
        )
        forms = ", ".join(f"{count} {form}" for form, count in self.forms.items())
        return (
            f"{len(self.image_info)} images with {loaded.total()} annotations, {loaded[True]} of "
            f"them crowds; left out: {left_out or 'nothing'}."
            + (f" Read as: {forms}." if forms else "")
        )

    def annToRLE(self, ann: Annotation, height: int, width: int) -> Rle:  # noqa: N802
        """Matterport's name of `annotation_to_rle`."""
        return annotation_to_rle(ann, height, width)

    def annToMask(self, ann: Annotation, height: int, width: int) -> np.ndarray:  # noqa: N802
        """Matterport's name of `annotation_to_mask`."""
        return annotation_to_mask(ann, height, width)
