"""Where a data set's json and images are: in COCO's layout, or as tools export them.

COCO's layout is `annotations/instances_SUBSET[YEAR].json` with the images in `SUBSET[YEAR]/`.
Tools write others: Roboflow `train/_annotations.coco.json` beside the images, CVAT
`annotations/instances_default.json` with `images/`, FiftyOne `labels.json` with `data/`, Label
Studio `result.json` with `images/`. They are found by looking: a json with COCO's three lists, and
a folder that holds its images. Where there is none, the annotations may be in one of
`mrcnn.datasets.formats`, or in shards (`mrcnn.datasets.shards`).
"""

from __future__ import annotations

import os
import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from mrcnn.datasets.coco_json import read_coco_json
from mrcnn.datasets.division import TRAIN, VAL, Division
from mrcnn.datasets.formats.listing import holds
from mrcnn.datasets.image_stores import Place, place_of
from mrcnn.datasets.other_formats import other_format
from mrcnn.datasets.subset_names import SYNONYMS, names_any_subset, names_subset
from mrcnn.files.elsewhere import file_meant
from mrcnn.files.untrusted import is_outside
from mrcnn.logger import logger

# Two parts of COCO 2014's "val", in json files of their own; their images are those of "val".
SUBSETS_OF_VAL = ("minival", "valminusminival")
LISTS = (b'"images"', b'"annotations"', b'"categories"')
USUAL_FOLDERS = ("images", "data", "imgs", "img", "jpegimages", "default")
# How deep below the folder is looked, and at how many files and folders.
MAX_DEPTH = 3
MAX_ENTRIES = 10_000
# Of a json's images, how many are looked for in a folder, and how many names a message lists.
SAMPLED_IMAGES = 20
LISTED = 8


@dataclass(frozen=True)
class SplitFiles:
    """The files of one subset.

    Attributes:
        name: of the subset, with the year where the files have it.
        annotations: the json.
        images: the folder of its images; or, as a text, an address or tar files.
        is_standard: whether they are in COCO's layout.
        content: what a json in COCO's format would hold, where the annotations are in another
            one; `annotations` is then the folder or file that was given.
    """

    name: str
    annotations: Path
    images: Place
    is_standard: bool = True
    content: dict[str, Any] | None = None

    def read(self) -> dict[str, Any]:
        """The content in COCO's format.

        Raises:
            OSError, ValueError: the json cannot be read, or is another one; names it.
        """
        return read_coco_json(self.annotations) if self.content is None else self.content


def find_split(
    dataset: str | os.PathLike[str],
    subset: str,
    year: str | int | None = "",
    division: Division | None = None,
    image_dir: str | os.PathLike[str] | None = None,
) -> SplitFiles:
    """Find the json and the images of a subset.

    Args:
        dataset: the folder of the data set, or a json file, which is then the subset "train"; or
            another file that one of `mrcnn.datasets.formats` reads.
        subset: its name, such as "train", or the json's path below the folder.
        year: in COCO's names; None or "": none.
        division: of a data set without a validation set; None: its subsets are its own.
        image_dir: where the images of a json in COCO's format are, see `CocoDataset.of`; None:
            they are looked for.

    Raises:
        FileNotFoundError: there is no such folder, or no json of the subset; lists what is there.
        ValueError: several files could be it; lists them. Or the annotations are in another
            format, and `image_dir` is given.
    """
    root = Path(dataset)
    elsewhere = None if image_dir is None else os.fspath(image_dir)
    part = division.part(subset) if division is not None else None
    if division is not None and part is not None:
        whole = find_split(dataset, division.subset, year, image_dir=image_dir)
        return _part_of(whole, division, part)
    if root.is_file() and not is_coco_json(root):
        files = _in_other_format(root, subset, elsewhere)
        if files is not None:
            return files
    if root.is_file() and subset == "train":
        return _with_images(root, root.parent, root.stem, elsewhere)
    if not root.is_dir():
        raise FileNotFoundError(_no_folder(root, subset))
    image_subset = "val" if subset in SUBSETS_OF_VAL else subset
    for suffix in dict.fromkeys([str(year or ""), ""]):
        file = root / "annotations" / f"instances_{subset}{suffix}.json"
        if file.is_file():
            if year and not suffix:
                logger.warning(
                    f"year {year}: there is no annotations/instances_{subset}{year}.json in "
                    f"{root}; {file.name} is used, which names no year."
                )
            folder: Place = root / f"{image_subset}{suffix}"
            if elsewhere is not None:
                folder = _in_place_of(elsewhere, f"{image_subset}{suffix}")
            if isinstance(folder, str) or elsewhere is not None or folder.is_dir():
                return SplitFiles(f"{subset}{suffix}", file, folder)
            try:
                return _with_images(file, root, f"{subset}{suffix}", missing=folder)
            except ValueError:  # of the json, which its reader explains
                return SplitFiles(f"{subset}{suffix}", file, folder)
    if subset.endswith(".json") and (root / subset).is_file():
        return _with_images(root / subset, root, Path(subset).stem, elsewhere)
    return _look(root, subset, str(year or ""), elsewhere)


def _part_of(files: SplitFiles, division: Division, part: str) -> SplitFiles:
    content, new = division.of(files.read(), part)
    if new:
        _warn(
            files.images,
            f"{files.annotations}: {new} images are in no part of the split that the run was "
            f"started with; they are left out.",
        )
    return replace(files, name=part, is_standard=False, content=content)


def find_subsets(
    dataset: str | os.PathLike[str],
    year: str | int | None = "",
    division: Division | None = None,
    image_dir: str | os.PathLike[str] | None = None,
) -> list[SplitFiles]:
    """All subsets of a data set in any format that is read.

    Args:
        dataset, year, division, image_dir: as in `find_split`. Of COCO's own names, all years are
            taken.

    Raises:
        FileNotFoundError: there is no such folder, or nothing that is read; lists what is there.
        ValueError: several files could be a subset; lists them.
    """
    root = Path(dataset)
    if division is not None:
        return [find_split(root, part, year, division, image_dir) for part in (TRAIN, VAL)]
    if not root.exists():
        raise FileNotFoundError(_no_folder(root, "train"))
    if root.is_file() and is_coco_json(root):
        name = next((name for name in SYNONYMS if names_subset(root.name, name)), "train")
        return [replace(find_split(root, "train", image_dir=image_dir), name=name)]
    candidates = []
    if root.is_dir():
        candidates = [p for p in _walk(root) if p.suffix.lower() == ".json" and is_coco_json(p)]
    if candidates:
        places = [path.relative_to(root) for path in candidates]
        names = [n for n in SYNONYMS if any(names_subset(place, n) for place in places)]
        if not all(map(names_any_subset, places)) and "train" not in names:
            names = ["train", *names]
        found = [find_split(root, name, image_dir=image_dir) for name in names]
        return [replace(files, name=name) for files, name in zip(found, names, strict=True)]
    other = other_format(root)
    if other is None:
        return [find_split(root, "train")]  # which says what is there
    return [find_split(root, name, image_dir=image_dir) for name in other.subsets()]


def _look(root: Path, subset: str, year: str, elsewhere: str | None) -> SplitFiles:
    files = [path for path in _walk(root) if path.suffix.lower() == ".json"]
    candidates = [path for path in files if is_coco_json(path)]
    matching = [path for path in candidates if names_subset(path.relative_to(root), subset)]
    if not matching and subset == "train":
        # What names no subset at all is what there is to train on.
        matching = [path for path in candidates if not names_any_subset(path.relative_to(root))]
    # COCO's own folder holds keypoints of the same subset beside the instances.
    instances = [path for path in matching if path.name.startswith("instances_")]
    if len(instances) == 1:
        matching = instances
    if len(matching) == 1:
        return _with_images(matching[0], root, subset, elsewhere)
    if not candidates:
        found = _in_other_format(root, subset, elsewhere)
        if found is not None:
            return found
    names = [str(path.relative_to(root)) for path in candidates]
    if len(matching) > 1:
        names = [str(path.relative_to(root)) for path in matching]
        raise ValueError(
            f"{root}: expected one json for the subset {subset!r}; found {_listed(names)}. Name "
            f"the one you mean: {_options(subset, names[0])}."
        )
    expected = f"annotations/instances_{subset}{year}.json"
    if year:
        expected += f" or annotations/instances_{subset}.json"
    text = f"{root}: expected the annotations of the subset {subset!r}, as {expected} or another "
    text += "json in COCO's format that names the subset; "
    if names:
        text += f"found {_listed(names)}. If one of them is meant: {_options(subset, names[0])}."
    elif files:
        others = [str(path.relative_to(root)) for path in files]
        text += (
            f"found json files that are in no format that is read: {_listed(others)}. Export the "
            f"annotations as COCO json (instances), or in a format of docs/formats.md."
        )
    else:
        there = sorted(os.listdir(root))
        text += f"found no json; in the folder: {_listed(there) if there else 'nothing'}."
    if subset == "val":
        text += ' To go without a validation set: --val-subset "".'
    raise FileNotFoundError(text)


def is_coco_json(path: Path) -> bool:
    """Whether a file has the names of COCO's three lists; it is not read as json for that."""
    return holds(path, LISTS)


def _in_place_of(image_dir: str, subset: str) -> Place:
    return place_of(image_dir.replace("{subset}", subset))


def _in_other_format(root: Path, subset: str, elsewhere: str | None) -> SplitFiles | None:
    """A subset of annotations in another format than COCO's; None: they are in no known one.

    Raises:
        OSError, ValueError: they cannot be read, or have their images elsewhere.
        FileNotFoundError: they have no such subset.
    """
    other = other_format(root)
    if other is None:
        return None
    if elsewhere is not None:
        raise ValueError(
            f"{root}: expected a json in COCO's format, whose images may lie elsewhere (image_dir, "
            f"--image-dir); found {other.title}. `mrcnn convert-data` makes one of it."
        )
    content, text = other.read(subset)
    if not content["images"]:
        there = ", ".join(f"{name} ({len(of)})" for name, of in other.subsets().items())
        ways = "--split 0.8 divides the images; " if subset == "val" else ""
        if subset == "val":
            ways += '--val-subset "" goes without a validation set; '
        raise FileNotFoundError(
            f"{root}: expected images of the subset {subset!r}; found those of "
            f"{there or 'none'} ({other.title}). {ways}"
            f"{_option_of(subset)} NAME takes another subset."
        )
    _say(root, f"{subset}: {text}")
    return SplitFiles(subset, root, other.place, is_standard=False, content=content)


def _walk(root: Path) -> Iterator[Path]:
    """The files below a folder, those nearest first, by name; links to folders are not followed."""
    level, seen = [root], 0
    for _ in range(MAX_DEPTH):
        below: list[Path] = []
        for folder in level:
            try:
                with os.scandir(folder) as listing:
                    entries = sorted(listing, key=lambda entry: entry.name)
            except OSError:
                continue
            for entry in entries:
                seen += 1
                if entry.is_dir(follow_symlinks=False):
                    below.append(Path(entry.path))
                elif seen <= MAX_ENTRIES or entry.name.lower().endswith(".json"):
                    yield Path(entry.path)
        level = below


def _with_images(
    file: Path, root: Path, name: str, elsewhere: str | None = None, missing: Path | None = None
) -> SplitFiles:
    """The json with the folder that holds its images, or `missing` where none does.

    Folders that name another subset are left out: files of the same names are other images.

    Raises:
        ValueError: several folders hold them; lists them.
    """
    if elsewhere is not None:
        return SplitFiles(name, file, _in_place_of(elsewhere, name), is_standard=False)
    images = read_coco_json(file)["images"]
    count = sum(isinstance(image, dict) for image in images)
    named = array("q", (number for number, image in enumerate(images) if _is_named(image)))
    chosen_ones = named[:: max(1, -(-len(named) // SAMPLED_IMAGES))]
    sample = [images[number]["file_name"] for number in chosen_ones]
    subset = re.sub(r"\d+$", "", name)
    folders = [
        folder
        for folder in _image_folders(file, root)
        if not _names_another(folder.relative_to(root), subset) or folder == file.parent
    ]
    found = {folder: _count(folder, sample) for folder in folders}
    if not any(found.values()):  # names of another machine, which errors and the doctor explain
        found = {folder: _count_ends(folder, sample) for folder in folders}
    most = max(found.values())
    if not most:
        return SplitFiles(name, file, missing or root, is_standard=False)
    best = [folder for folder in folders if found[folder] == most]
    usual = [folder for folder in best if folder == file.parent or _is_usual(folder, root, subset)]
    if len(best) > 1 and not usual:
        raise ValueError(
            f"{file}: expected one folder with its images; found "
            f"{_listed([str(folder.relative_to(root)) for folder in best])}. Name the right one "
            f"'images', or move the others away."
        )
    chosen = (usual or best)[0]
    shown = os.path.relpath(chosen, root)
    where = "images beside it" if chosen == file.parent else f"{shown}{os.sep}"
    _say(root, f"{name}: {os.path.relpath(file, root)} with {where}, {count} images")
    return SplitFiles(name, file, chosen, is_standard=False)


def _is_named(image: Any) -> bool:
    return isinstance(image, dict) and isinstance(image.get("file_name"), str)


@cache
def _warn(place: Place, text: str) -> None:
    """Warn of something in a data set: once, however often it is read."""
    logger.warning(text)


@cache
def _say(root: Path, text: str) -> None:
    """Say what is used of a data set: once, however often it is read."""
    logger.info(text)


def _is_usual(folder: Path, root: Path, subset: str) -> bool:
    """Whether a folder has a name that tools give to a folder of images, or the subset's."""
    return folder.name.lower() in USUAL_FOLDERS or names_subset(folder.relative_to(root), subset)


def _names_another(path: Path, subset: str) -> bool:
    others = [other for other in SYNONYMS if other != subset]
    return not names_subset(path, subset) and any(names_subset(path, other) for other in others)


def _image_folders(file: Path, root: Path) -> list[Path]:
    """Folders that may hold the images of a json: beside it, below it, and below the data set."""
    folders = [file.parent, root]
    level = [file.parent, root]
    for _ in range(MAX_DEPTH - 1):
        below: list[Path] = []
        for folder in level:
            try:
                with os.scandir(folder) as entries:
                    below += sorted(
                        Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=True)
                    )
            except OSError:
                continue
        level = below[:MAX_ENTRIES]
        folders += level
    return list(dict.fromkeys(folders))


def _count(folder: Path, names: list[str]) -> int:
    """How many files of these names there are in a folder."""
    slashed = [name.replace("\\", "/") for name in names if "\0" not in name]
    return sum(not is_outside(name) and os.path.isfile(folder / name) for name in slashed)


def _count_ends(folder: Path, names: list[str]) -> int:
    """How many parts of names from another machine lead to files in a folder."""
    found = (file_meant(name, lambda end: os.path.isfile(folder / end)) for name in names)
    return sum(len(end.split("/")) for end in found if end is not None)


def _no_folder(root: Path, subset: str) -> str:
    kind = "a file" if root.exists() else "nothing there"
    parent = root.absolute().parent
    text = f"{root}: expected the folder of a data set; there is {kind}."
    if root.exists():
        return f"{text} A json file is read as the training set alone, not as {subset!r}."
    while not parent.is_dir():
        parent = parent.parent
    try:
        folders = [entry.name for entry in os.scandir(parent) if entry.is_dir()]
        there = sorted(name for name in folders if not name.startswith("."))
    except OSError:
        there = []
    return f"{text} In {parent}: {_listed(there) if there else 'no folders'}."


def _options(subset: str, name: str) -> str:
    return f"{_option_of(subset)} {name} (of `mrcnn evaluate`: --subset {name})"


def _option_of(subset: str) -> str:
    return {"train": "--train-subset", "val": "--val-subset"}.get(subset, "--subset")


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more
