"""All checks of a data set, in order: entries, image files, annotations, sizes, classes, splits."""

from __future__ import annotations

import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tqdm import tqdm

from mrcnn.doctor import classes, image_files, segmentations, sizes, splits
from mrcnn.doctor.annotations import Subset, find_subset, read_entries
from mrcnn.doctor.findings import ERROR, Finding

# Image files a subset whose headers the quick check reads, spread over the subset.
QUICK_IMAGES = 500
MAX_DEFAULT_JOBS = 8


@dataclass
class Examined:
    """A subset and what was found in it.

    Attributes:
        subset: its usable entries.
        findings: in the order of the checks.
        pictures: (entry of the image, its file), of the files that were looked at.
        boxes, extents: of all objects, as in `sizes.Objects`.
    """

    subset: Subset
    findings: list[Finding] = field(default_factory=list)
    pictures: splits.Pictures = field(default_factory=list)
    boxes: np.ndarray = field(default_factory=lambda: np.zeros((0, 4)))
    extents: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), int))


@dataclass
class Examination:
    """What was found in a data set.

    Attributes:
        dataset: its folder.
        subsets: of training and, unless it was left out, of validation.
        quick: whether the headers of some files and the numbers of the json were all there was.
        reach: of the training objects; None in a quick check.
    """

    dataset: str
    subsets: list[Examined]
    quick: bool
    reach: sizes.Reach | None = None

    @property
    def findings(self) -> list[Finding]:
        """Of all subsets."""
        return [finding for examined in self.subsets for finding in examined.findings]

    @property
    def stops_training(self) -> bool:
        """Whether there is an error."""
        return any(finding.severity == ERROR for finding in self.findings)


def examine(
    dataset: str | os.PathLike[str],
    config: Any,
    train: str = "train",
    val: str | None = "val",
    year: str = "",
    box_only: bool = False,
    quick: bool = False,
    jobs: int | None = None,
    progress: bool = True,
) -> Examination:
    """Check a data set in COCO's layout.

    Args:
        dataset: folder with annotations/instances_SUBSET[YEAR].json.
        config: settings of the training, see `mrcnn.config.Config`.
        train, val: subsets; `val` None: there is none.
        year: in the names of the data set; "": none.
        box_only: as `mrcnn train --box-only`.
        quick: read the json and the headers of some images only.
        jobs: threads; None: the number of cores, at most 8.
        progress: show a progress bar.
    """
    examination = Examination(str(dataset), [], quick)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of large pictures and odd metadata
        for name in dict.fromkeys([train, *([val] if val else [])]):
            subset = find_subset(dataset, name, year)
            examined = Examined(subset, read_entries(subset))
            examination.subsets.append(examined)
            if subset.content is not None:
                if quick:
                    _look_quickly(examined, config, box_only)
                else:
                    _look(examined, config, box_only, jobs or default_jobs(), progress)
    first = examination.subsets[0]
    if first.subset.content is not None:
        first.findings += classes.check_balance(first.subset)
        if not quick:
            examination.reach = sizes.reach(first.boxes, first.extents, config)
            first.findings += sizes.check_reach(first.subset, examination.reach)
    if all(examined.subset.content is not None for examined in examination.subsets):
        _compare(examination.subsets, quick)
    return examination


def default_jobs() -> int:
    """The number of cores, at most 8."""
    return min(os.cpu_count() or 1, MAX_DEFAULT_JOBS)


def _look(examined: Examined, config: Any, box_only: bool, jobs: int, progress: bool) -> None:
    """Read every file, rasterize every object."""
    subset = examined.subset

    def look(
        image: dict[str, Any],
    ) -> tuple[image_files.Picture, segmentations.Shapes, sizes.Objects | None]:
        picture = image_files.look_at(subset, image)
        # Masks of another size than the image's tell nothing, and may be of any size.
        masks = picture.size == (image["height"], image["width"])
        of_image = segmentations.look_at(subset, image, box_only, masks)
        objects = None
        if picture.size is not None:
            objects = sizes.look_at(subset, image, picture.size, of_image, config)
        return picture, of_image, objects

    boxes, extents = [examined.boxes], [examined.extents]
    with ThreadPoolExecutor(jobs, thread_name_prefix="mrcnn-doctor") as pool:
        results = tqdm(
            zip(subset.images, pool.map(look, subset.images), strict=True),
            desc=f"Check {subset.name}",
            total=len(subset.images),
            unit="image",
            disable=not progress,
        )
        for image, (picture, of_image, objects) in results:
            examined.pictures.append((image, picture))
            examined.findings += picture.findings + of_image.findings
            if objects is not None:
                examined.findings += objects.findings
                boxes.append(objects.boxes)
                extents.append(objects.extents)
    examined.boxes, examined.extents = np.concatenate(boxes), np.concatenate(extents)
    examined.findings += splits.check_within(subset, examined.pictures)


def _look_quickly(examined: Examined, config: Any, box_only: bool) -> None:
    """Read the headers of some files, and the numbers of every annotation."""
    subset = examined.subset
    some = subset.images[:: max(1, -(-len(subset.images) // QUICK_IMAGES))]
    for image in some:
        picture = image_files.look_at(subset, image, pixels=False)
        examined.pictures.append((image, picture))
        examined.findings += picture.findings
    for image in subset.images:
        examined.findings += segmentations.look_at(subset, image, box_only, masks=False).findings
        count = len(subset.annotations.get(image["id"], ()))
        placement = sizes.place((image["height"], image["width"]), config)
        examined.findings += sizes.check_count(subset, image, count, config)
        examined.findings += sizes.check_fit(subset, image, placement)


def _compare(subsets: list[Examined], quick: bool) -> None:
    """The checks that need both subsets; their findings are the validation's."""
    train, val = subsets[0], subsets[-1]
    if val is train:
        return
    val.findings += classes.check_same(train.subset, val.subset)
    if quick:
        some = [image for image, _ in val.pictures]
        val.findings += splits.check_files(train.subset, val.subset, some)
    else:
        val.findings += splits.check_between(
            *(train.subset, train.pictures, val.subset, val.pictures)
        )
