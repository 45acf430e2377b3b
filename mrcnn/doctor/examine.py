"""All checks of a data set, in order: entries, image files, annotations, sizes, classes, splits."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from tqdm import tqdm

from mrcnn.config import Config
from mrcnn.data.annotation_table import counts
from mrcnn.data.coco_fields import Entry
from mrcnn.data.dataset import Dataset
from mrcnn.datasets.division import Division
from mrcnn.doctor import anchors, classes, segmentations, sizes, splits
from mrcnn.doctor.annotations import check_emptiness, check_names, read_entries
from mrcnn.doctor.any_dataset import read_dataset
from mrcnn.doctor.findings import ERROR, WARNING, Finding
from mrcnn.doctor.image_files import ImageFile, ImageFiles, check_image_file
from mrcnn.doctor.subset import Subset, find_subset

# Image files a subset whose headers the quick check reads, spread over the subset.
QUICK_IMAGES = 500
MAX_DEFAULT_JOBS = 8


@dataclass(frozen=True)
class DatasetFiles:
    """A data set in COCO's layout.

    Attributes:
        folder: with annotations/instances_SUBSET[YEAR].json.
        train, val: subsets; `val` None: there is none.
        year: in the names of the data set; "": none.
        division: of a data set without a validation set.
        image_dir: where the images are, see `CocoDataset.of`; None: beside the json.
    """

    folder: str | os.PathLike[str]
    train: str = "train"
    val: str | None = "val"
    year: str = ""
    division: Division | None = None
    image_dir: str | None = None


@dataclass
class ExaminedSubset:
    """A subset and what was found in it.

    Attributes:
        subset: its usable entries.
        findings: in the order of the checks.
        image_files: those that were read.
        objects: all of them; in a quick check those whose box the numbers of the json tell.
        usable: how many annotations training can use, as far as was checked, by (category id,
            whether crowds).
    """

    subset: Subset
    findings: list[Finding] = field(default_factory=list)
    image_files: ImageFiles = field(default_factory=list)
    objects: sizes.ObjectSizes = field(default_factory=sizes.ObjectSizes)
    usable: Counter[tuple[Any, bool]] = field(default_factory=Counter)


class CheckedImage(NamedTuple):
    """What was found in an image, its annotations included."""

    file: ImageFile
    findings: list[Finding]
    usable: list[Entry]
    objects: sizes.ObjectSizes


@dataclass
class Examination:
    """What was found in a data set.

    Attributes:
        dataset: its folder.
        subsets: of training and, unless it was left out, of validation.
        quick: whether only the headers of some files and the numbers of the json were read.
        coverage: of the training objects by anchors; None where nothing could be read.
    """

    dataset: str
    subsets: list[ExaminedSubset]
    quick: bool
    coverage: anchors.AnchorCoverage | None = None

    @property
    def findings(self) -> list[Finding]:
        """Of all subsets."""
        return [finding for examined in self.subsets for finding in examined.findings]

    @property
    def stops_training(self) -> bool:
        """Whether there is an error."""
        return any(finding.severity == ERROR for finding in self.findings)


def examine(
    dataset: DatasetFiles,
    config: Config,
    box_only: bool = False,
    quick: bool = False,
    jobs: int | None = None,
    progress: bool = True,
    skip_invalid: bool = False,
) -> Examination:
    """Check a data set.

    Args:
        dataset: which files.
        config: settings of the training.
        box_only: as `mrcnn train --box-only`.
        quick: read the json and the headers of some images only.
        jobs: threads; None: the number of cores, at most 8.
        progress: show a progress bar.
        skip_invalid: as `mrcnn train --skip-invalid`: annotations that cannot be used are left
            out, which is a warning then.
    """
    examination = Examination(str(dataset.folder), [], quick)
    names = dict.fromkeys([dataset.train, *([dataset.val] if dataset.val else [])])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of large pictures and odd metadata
        for name in names:
            subset = find_subset(
                *(dataset.folder, name, dataset.year, dataset.division, dataset.image_dir)
            )
            subset.is_validation = name != dataset.train
            subset.exif_orientation = config.EXIF_ORIENTATION
            examined = ExaminedSubset(subset, read_entries(subset))
            examination.subsets.append(examined)
            if subset.is_readable and quick:
                _check_quickly(examined, config, box_only)
            elif subset.is_readable:
                _check_fully(examined, config, box_only, jobs or default_jobs(), progress)
    _check_training(examination, config)
    if all(examined.subset.is_readable for examined in examination.subsets):
        _compare(examination.subsets, quick)
    if skip_invalid:
        for examined in examination.subsets:
            examined.findings = list(map(_without_stop, examined.findings))
    return examination


def examine_datasets(
    train: Dataset,
    val: Dataset | None,
    config: Config,
    jobs: int | None = None,
    progress: bool = True,
) -> Examination:
    """Check data sets of any format: their pictures, and their objects as masks.

    Args:
        train, val: prepared data sets; `val` None: there is none.
        config: settings of the training; NUM_CLASSES is the data sets'.
        jobs: threads; None: the number of cores, at most 8.
        progress: show a progress bar.
    """
    examination = Examination(type(train).__name__, [], quick=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, dataset in (("train", train), ("val", val)):
            if dataset is None:
                continue
            settings = {"NUM_CLASSES": dataset.num_classes}
            of_dataset = type("DatasetConfig", (type(config),), settings)()
            subset, findings = read_dataset(dataset, name, of_dataset, progress)
            subset.is_validation = name == "val"
            findings += [*check_names(subset), *check_emptiness(subset)]
            examined = ExaminedSubset(subset, findings)
            examination.subsets.append(examined)
            _check_fully(examined, of_dataset, True, jobs or default_jobs(), progress)
    _check_training(examination, config)
    _compare(examination.subsets, quick=False)
    return examination


def _without_stop(finding: Finding) -> Finding:
    """A finding of a training that leaves invalid annotations out."""
    if finding.subject != "annotation" or finding.severity != ERROR:
        return finding
    return replace(finding, severity=WARNING, training="leaves the annotation out, and counts it")


def default_jobs() -> int:
    """The number of cores, at most 8."""
    return min(os.cpu_count() or 1, MAX_DEFAULT_JOBS)


def _check_fully(
    examined: ExaminedSubset, config: Config, box_only: bool, jobs: int, progress: bool
) -> None:
    """Read every file, rasterize every object."""
    subset = examined.subset

    def check_image(image: Entry) -> CheckedImage:
        if image["file_name"] is None:  # a picture that the data set draws
            file = ImageFile(size=(image["height"], image["width"]), is_readable=True)
        else:
            file = check_image_file(subset, image)
        # Masks of another size than the image's tell nothing, and may be of any size.
        masks = file.size == (image["height"], image["width"])
        checked = segmentations.check_annotations(subset, image, box_only, masks)
        findings = file.findings + checked.findings
        if file.size is None:
            return CheckedImage(file, findings, checked.usable, sizes.ObjectSizes())
        of_sizes, objects = sizes.check_objects(subset, image, file.size, checked, config)
        return CheckedImage(file, findings + of_sizes, checked.usable, objects)

    objects = []
    with ThreadPoolExecutor(jobs, thread_name_prefix="mrcnn-doctor") as pool:
        results = tqdm(
            zip(subset.images, pool.map(check_image, subset.images), strict=True),
            desc=f"Check {subset.name}",
            total=len(subset.images),
            unit="image",
            disable=not progress or None,
        )
        for image, result in results:
            examined.image_files.append((image, result.file))
            examined.findings += result.findings
            examined.usable.update(counts(result.usable))
            objects.append(result.objects)
    examined.objects = sizes.ObjectSizes.concatenate(objects)
    examined.findings += splits.check_duplicates(subset, examined.image_files)


def _check_quickly(examined: ExaminedSubset, config: Config, box_only: bool) -> None:
    """Read the headers of some files, and the numbers of every annotation."""
    subset = examined.subset
    some = subset.images[:: max(1, -(-len(subset.images) // QUICK_IMAGES))]
    for image in some:
        file = check_image_file(subset, image, pixels=False)
        examined.image_files.append((image, file))
        examined.findings += file.findings
    objects = []
    for image in subset.images:
        checked = segmentations.check_annotations(subset, image, box_only, masks=False)
        examined.findings += checked.findings
        examined.usable.update(counts(checked.usable))
        count = len(subset.annotations.get(image["id"], ()))
        placement = sizes.place_image((image["height"], image["width"]), config)
        examined.findings += sizes.check_count(subset, image, count, config)
        examined.findings += sizes.check_fit(subset, image, placement)
        objects.append(sizes.stated_objects(checked.usable, placement))
    examined.objects = sizes.ObjectSizes.concatenate(objects)


def _check_training(examination: Examination, config: Config) -> None:
    """The checks of all objects of the training together."""
    for examined in examination.subsets:
        examined.findings += classes.check_crowds(examined.subset, examined.usable)
    train = examination.subsets[0]
    if not train.subset.is_readable:
        return
    train.findings += classes.check_balance(train.subset)
    objects = train.objects
    if examination.quick:
        objects = objects.some(anchors.MAX_SEARCH_OBJECTS)
    examination.coverage = anchors.measure_coverage(objects.boxes, objects.input_sizes, config)
    if not examination.quick:
        train.findings += anchors.check_coverage(train.subset, examination.coverage)


def _compare(subsets: list[ExaminedSubset], quick: bool) -> None:
    """The checks that need both subsets; their findings are the validation's."""
    train, val = subsets[0], subsets[-1]
    if val is train:
        return
    val.findings += classes.check_same_classes(train.subset, val.subset)
    if quick:
        some = [image for image, _ in val.image_files]
        val.findings += splits.check_file_leakage(train.subset, val.subset, some)
    else:
        val.findings += splits.check_leakage(
            *(train.subset, train.image_files, val.subset, val.image_files)
        )
