"""Images sorted into folders, a folder a class, to pretrain a backbone on.

    FOLDER/train/cat/*.jpg   FOLDER/val/cat/*.jpg      or, without subsets, FOLDER/cat/*.jpg
    FOLDER/train/dog/*.jpg   FOLDER/val/dog/*.jpg                           FOLDER/dog/*.jpg

Without subsets a share of each class is held out to validate with. A folder named `background`
holds images of no object: the class 0.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import numpy as np

from mrcnn.data.dataset import Dataset
from mrcnn.datasets.crops import describe_classes
from mrcnn.datasets.formats.listing import IMAGE_SUFFIXES
from mrcnn.datasets.formats.registry import is_annotated
from mrcnn.datasets.layouts import is_coco_json
from mrcnn.datasets.shards import is_sharded
from mrcnn.datasets.subset_names import SYNONYMS
from mrcnn.files.image_file import width_and_height

SOURCE = "folders"
BACKGROUND = "background"
HELD_OUT = 0.1


class ClassFolders(Dataset):
    """Images of one object each, or of none, by the folder that they lie in.

    `image_info[i]` holds the class id; 0: no object. `left_out` counts files that are no images.
    """

    def __init__(self) -> None:
        super().__init__()
        self.left_out: Counter[str] = Counter()

    def load_folders(self, root: str | os.PathLike[str], subset: str, seed: int = 0) -> None:
        """Load a subset of a folder of class folders; call `prepare` afterwards.

        Args:
            root: the folder.
            subset: "train" or "val"; each class is a folder of `root/subset`, or, where neither
                subset has a folder, of `root`, and a share of it is held out.
            seed: decides which images are held out.

        Raises:
            FileNotFoundError: there is no such folder.
            ValueError: there are fewer than two classes, a class without an image, or one in "val"
                that "train" lacks; or a file is no image.
        """
        root = Path(root)
        if not root.is_dir():
            raise FileNotFoundError(f"{root}: expected a folder of class folders; there is none.")
        train, val = _subset_folder(root, "train"), _subset_folder(root, "val")
        place = root if train is None else {"train": train, "val": val}.get(subset)
        if place is None:
            there = ", ".join(sorted(path.name for path in root.iterdir())) or "nothing"
            raise FileNotFoundError(
                f"{root}: expected class folders of the subset {subset!r}, as "
                f"{subset}/CLASS/*.jpg; found {there}. To go without a validation set: "
                '--val-subset "".'
            )
        known = class_folders(train if train is not None else root)
        names = [name for name in known if name != BACKGROUND]
        if len(known) < 2:
            raise ValueError(
                f"{train or root}: expected at least two folders with images, each a class (one "
                f"may be {BACKGROUND!r}); found {', '.join(known) or 'none'}."
            )
        unknown = [name for name in class_folders(place) if name not in known]
        if unknown:
            raise ValueError(
                f"{place}: expected the classes of {train}, {', '.join(known)}; found "
                f"{', '.join(unknown)} too."
            )
        for number, name in enumerate(names, start=1):
            self.add_class(SOURCE, number, name)
        numbers = {BACKGROUND: 0, **{name: i for i, name in enumerate(names, start=1)}}
        for name, files in class_folders(place).items():
            chosen = files if train is not None else _held_out(files, subset, seed)
            self.left_out["files that are no images"] += _other_files(place / name)
            for path in chosen:
                self._add(path, f"{name}/{path.name}", numbers[name])

    def load_mask(self, image_id: int) -> tuple[np.ndarray, np.ndarray]:
        """One mask of the whole image, of its class; none of an image of no object."""
        info = self.image_info[image_id]
        count = int(info["class_id"] > 0)
        return (
            np.ones((info["height"], info["width"], count), bool),
            np.full(count, info["class_id"], np.int32),
        )

    def summary(self) -> str:
        """How many images of which class there are, and what was left out."""
        return describe_classes(self, "of no object", self.left_out)

    def _add(self, path: Path, name: str, class_id: int) -> None:
        # Nothing is measured on the pixels: they are turned as a camera says.
        width, height = width_and_height(path, upright=True)
        self.add_image(
            *(SOURCE, name, str(path)), class_id=class_id, height=height, width=width, upright=True
        )


def is_class_folders(root: str | os.PathLike[str]) -> bool:
    """Whether a folder holds class folders, and no annotations in a format that is read."""
    root = Path(root)
    if not root.is_dir():
        return False
    if any(is_coco_json(path) for pattern in ("*.json", "*/*.json") for path in root.glob(pattern)):
        return False
    if is_annotated(root) or is_sharded(root):
        return False
    train = _subset_folder(root, "train")
    return bool(class_folders(train if train is not None else root))


def class_folders(folder: Path) -> dict[str, list[Path]]:
    """The images of each folder in a folder, by its name, both sorted; not those without any."""
    found = {}
    for path in sorted(folder.iterdir()):
        if path.is_dir() and (
            files := [file for file in sorted(path.iterdir()) if _is_image(file)]
        ):
            found[path.name] = files
    return found


def _subset_folder(root: Path, subset: str) -> Path | None:
    """The folder of a subset that holds class folders, under its name or another usual one."""
    for path in sorted(root.iterdir()):
        if path.name.lower() in SYNONYMS[subset] and path.is_dir() and class_folders(path):
            return path
    return None


def _held_out(files: list[Path], subset: str, seed: int) -> list[Path]:
    """The part of a class's files that a subset has, the same for any of the two."""
    count = max(1, round(HELD_OUT * len(files))) if len(files) > 1 else 0
    order = np.random.default_rng(np.random.SeedSequence([seed, 2])).permutation(len(files))
    chosen = order[:count] if subset == "val" else order[count:]
    return [files[i] for i in sorted(chosen.tolist())]


def _other_files(folder: Path) -> int:
    return sum(path.is_file() and not _is_image(path) for path in folder.iterdir())


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()
