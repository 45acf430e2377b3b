"""The base class of data sets: which classes and images there are, and how they are numbered.

A reader of a format subclasses `Dataset`, registers its classes and images with `add_class`
and `add_image`, and overrides `load_mask` (and `load_image` where images are not plain files)::

    dataset = BalloonDataset()
    dataset.load_balloon("balloon/", "train")  # calls add_class and add_image
    dataset.prepare()
    for image_id in dataset.image_ids:
        image = dataset.load_image(image_id)
        mask, class_ids = dataset.load_mask(image_id)

Several sources may share one `Dataset`. Each has ids of its own; `prepare` numbers classes and
images from 0 on, in the order in which they were added.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from mrcnn.data.bit_depth import chosen_depth, depth_of, largest_value, spread, stated_depth
from mrcnn.data.image_table import ImageInfos, ImageTable
from mrcnn.data.images import read_image
from mrcnn.data.orientation import is_upright
from mrcnn.files.remote_image import local_image
from mrcnn.logger import logger

# Of all data sets, because a data set with a lock of its own could not be sent to a process.
_depths_lock = threading.Lock()


class Dataset:
    """Classes and images of one or more sources.

    Class 0 is the background, "BG", of the source "".

    Attributes:
        class_info: one dict a class: source, id (in the source), name.
        image_info: one dict an image: id (in the source), source, path, and what else
            `add_image` was given. A list; once a large json was loaded an `ImageInfos`, which
            behaves as one.

    Attributes that `prepare` sets:
        num_classes, class_ids, class_names: background included. Of a name with synonyms, such
            as "plane, aeroplane", the part before the comma is kept.
        num_images, image_ids: internal ids, 0 to num_images - 1.
        sources: names of the sources, "" of the background included.
        source_class_ids: internal class ids of each source, background included.
        class_from_source_map, image_from_source_map: internal ids by "source.id".
    """

    def __init__(self, class_map: Any = None) -> None:
        """Make a data set that holds the background class only. `class_map`: see `prepare`."""
        self.class_info: list[dict[str, Any]] = [{"source": "", "id": 0, "name": "BG"}]
        self.image_info: list[dict[str, Any]] | ImageInfos = []
        _warn_of_class_map(class_map)

    def add_class(self, source: str, class_id: Any, class_name: str) -> None:
        """Register a class; one that is there already is left as it is.

        Args:
            source: name of the source, such as "coco"; without a dot.
            class_id: the class's id in that source.
            class_name: what it is called.
        """
        _check_source(source)
        if not any(c["source"] == source and c["id"] == class_id for c in self.class_info):
            self.class_info.append({"source": source, "id": class_id, "name": class_name})

    def add_image(self, source: str, image_id: Any, path: str | None, **kwargs: Any) -> None:
        """Register an image.

        Args:
            source: name of the source; without a dot.
            image_id: the image's id in that source.
            path: its file; None where `load_image` needs none.
            **kwargs: anything that `load_mask` wants to find in `image_info[image_id]`. Read
                here too: `width` and `height` in pixels, and `upright`, whether they and the
                masks are those of the image turned as its EXIF data say.
        """
        _check_source(source)
        self.image_info.append({"id": image_id, "source": source, "path": path, **kwargs})

    def _add_table(self, table: ImageTable) -> None:
        """Register the images of a table, without a dict for each."""
        _check_source(table.source)
        if type(self).add_image is not Dataset.add_image or "add_image" in vars(self):
            for row in range(len(table)):  # as a subclass wants to see them
                info = table.info(row)
                source, image_id, path = map(info.pop, ("source", "id", "path"))
                self.add_image(source, image_id, path, **info)
            return
        if not isinstance(self.image_info, ImageInfos):
            self.image_info = ImageInfos(self.image_info)
        self.image_info.extend_by_table(table)

    def prepare(self, class_map: Any = None) -> None:
        """Number the classes and images. Call it once all are added, and again after adding more.

        Args:
            class_map: not used, as in Matterport's package; accepted for its scripts.
        """
        _warn_of_class_map(class_map)
        self.num_classes = len(self.class_info)
        self.class_ids = np.arange(self.num_classes)
        self.class_names = [str(info["name"]).split(",")[0] for info in self.class_info]
        self.num_images = len(self.image_info)
        self._image_ids = np.arange(self.num_images)
        self.class_from_source_map = _internal_ids(self.class_info)
        self.image_from_source_map = _internal_ids(self.image_info)
        self.sources = list(dict.fromkeys(info["source"] for info in self.class_info))
        self.source_class_ids = {
            source: [
                class_id
                for class_id, info in enumerate(self.class_info)
                if class_id == 0 or info["source"] == source
            ]
            for source in self.sources
        }

    def __getattr__(self, name: str) -> Any:
        # Called only for a missing attribute: say why those of `prepare` are missing.
        reason = f"{type(self).__name__} has no attribute {name!r}."
        if name in _SET_BY_PREPARE:
            reason += " It is set by prepare(): call that after adding classes and images."
        raise AttributeError(reason, name=name, obj=self)

    @property
    def image_ids(self) -> np.ndarray:
        """Internal ids of all images, 0 to num_images - 1."""
        return self._image_ids

    def map_source_class_id(self, source_class_id: str) -> int:
        """Return the internal id of a class "source.id", such as "coco.12"."""
        known = self.class_from_source_map
        if source_class_id not in known:
            raise ValueError(
                f"There is no class {source_class_id!r}. Expected 'source.id', one of "
                f"{', '.join(map(repr, known))}."
            )
        return known[source_class_id]

    def get_source_class_id(self, class_id: int, source: str) -> Any:
        """Return the id that a class has in its source: the inverse of `map_source_class_id`."""
        info = self.class_info[class_id]
        if info["source"] != source:
            raise ValueError(
                f"Class {class_id} ({info['name']!r}) is of the source {info['source']!r}, "
                f"not of {source!r}."
            )
        return info["id"]

    def source_image_link(self, image_id: int) -> str | None:
        """Return the image's path, or a URL where a subclass knows one, for debugging."""
        return self.image_info[image_id]["path"]

    def image_reference(self, image_id: int) -> str:
        """Return what identifies the image in its source. Subclasses override it."""
        return ""

    def load_image(self, image_id: int) -> np.ndarray:
        """Read an image as uint8 [H, W, 3], RGB. See `read_image` for other kinds of files.

        An orientation in its EXIF data is applied or not by `mrcnn.data.orientation`. Grey values
        above 8 bits have as many as the file says, or as `Config.GREY_BIT_DEPTH`, or as the
        largest of the source needs (`mrcnn.data.bit_depth`).
        """
        info = self.image_info[image_id]
        return read_image(
            local_image(info["path"]),
            upright=lambda image: self._is_upright(info, image),
            depth=lambda image, maximum: self._depth(info, image, maximum),
        )

    def _is_upright(self, info: dict[str, Any], image: Image.Image) -> bool:
        upright = is_upright(info, image)
        if upright is None and not self.__dict__.get("_said_orientation"):
            self._said_orientation = True
            logger.warning(
                "Image %r of the source %r (%s) has an orientation in its EXIF data, and nothing "
                "tells whether its annotations are measured on the picture turned by it. It, and "
                "others like it, are taken as stored. If objects lie elsewhere, set "
                'EXIF_ORIENTATION = "apply"; "ignore" leaves out this warning.',
                *(info["id"], info["source"], info["path"]),
            )
        return bool(upright)

    def _depth(self, info: dict[str, Any], image: Image.Image, maximum: int) -> int:
        """The bits of a grey image above 8 bits, the same for all of its source; said once."""
        stated = stated_depth(image)
        if stated is not None:
            return stated
        source = info["source"]
        depth = chosen_depth(source)
        if depth is None:
            depth = self._found_depth(source)
            if depth is None:  # this one is among the few of their kind
                depth = self._found_depth(source, limit=self.num_images)
        depth = depth or depth_of(maximum)
        if maximum >= 1 << depth and not self.__dict__.get("_said_depth"):
            self._said_depth = True
            logger.warning(
                "%s holds values up to %d, more than the %d bits that images of its source are "
                "taken to have. Larger values become 255, here and in others. Set GREY_BIT_DEPTH "
                "to %d to keep them.",
                *(info["path"], maximum, depth, depth_of(maximum)),
            )
        return depth

    def _found_depth(self, source: str, limit: int | None = None) -> int | None:
        """The bits that grey images of a source need, where such are among those looked at."""
        depths: dict[str, int] = self.__dict__.setdefault("_depths", {})
        with _depths_lock:  # threads read images; the first finds out for all
            if source not in depths:
                of_source = (info["source"] == source for info in self.image_info)
                numbers = np.flatnonzero(np.fromiter(of_source, bool))
                some = spread(len(numbers), limit)
                paths = (self.image_info[number]["path"] for number in numbers[some].tolist())
                largest, count = largest_value(paths)
                if not count:
                    return None
                depths[source] = depth_of(largest)
                logger.info(
                    "Grey images of the source %r have more than 8 bits, the largest value of %d "
                    "of them is %d: they are taken as %d bits and divided by %d.",
                    *(source, count, largest, depths[source], 1 << (depths[source] - 8)),
                )
        return depths[source]

    def load_mask(self, image_id: int) -> tuple[np.ndarray, np.ndarray]:
        """Load an image's instances. Subclasses override it; here there are none.

        A reader that can read each mask within its box alone may also define
        `load_instances(image_id)`, which returns a `mrcnn.data.instances.Instances` of the
        same objects. Training then calls that one, unless a subclass overrides only `load_mask`.

        Returns:
            (masks bool [H, W, N], class_ids int32 [N]); a negative id marks a crowd.
        """
        logger.warning(
            "%s does not define load_mask(): image %s has no instances.",
            type(self).__name__,
            image_id,
        )
        return np.empty((0, 0, 0), bool), np.empty(0, np.int32)

    def load_box_only(self, image_id: int) -> np.ndarray | None:
        """Which of an image's instances have a box but no mask; None: none of them.

        Such an instance trains boxes and classes, not masks; its mask in `load_mask` is its
        filled box. Subclasses with such instances override this.

        Returns:
            bool [N], in the order of `load_mask`; or None.
        """
        return None


def grey_depths(dataset: Dataset) -> dict[str, int]:
    """The bits of the grey images above 8 bits that a data set reads from files, by their source.

    Empty where there are none among those looked at, and for data sets with a `load_image` of
    their own.
    """
    if type(dataset).load_image is not Dataset.load_image:
        return {}
    sources = dict.fromkeys(info["source"] for info in dataset.image_info)
    found = {source: dataset._found_depth(source) for source in sources}
    return {source: depth for source, depth in found.items() if depth is not None}


_SET_BY_PREPARE = frozenset(
    (
        *("num_classes", "class_ids", "class_names", "num_images", "image_ids", "_image_ids"),
        *("class_from_source_map", "image_from_source_map", "sources", "source_class_ids"),
    )
)


def _internal_ids(infos: list[dict[str, Any]] | ImageInfos) -> Mapping[str, int]:
    if isinstance(infos, ImageInfos):
        return infos.internal_ids()
    return {f"{info['source']}.{info['id']}": index for index, info in enumerate(infos)}


def _check_source(source: str) -> None:
    if "." in source:
        raise ValueError(
            f"source: expected a name without a dot, because 'source.id' names a class or image; "
            f"received {source!r}."
        )


def _warn_of_class_map(class_map: Any) -> None:
    if class_map is not None:
        logger.warning("class_map is accepted for older scripts, but has no effect.")
