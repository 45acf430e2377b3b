"""A folder for each picture, with a file for each object, as in the 2018 Data Science Bowl.

a/images/a.png    a/masks/1.png, a/masks/2.png, ...
a/masks/cell/1.png                    where there are classes, a folder for each
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import PurePosixPath

from mrcnn.datasets.formats.bitmaps import cut_to_box, read_mask
from mrcnn.datasets.formats.listing import Listing
from mrcnn.datasets.formats.source import (
    ONLY_CLASS,
    Item,
    LabelledObject,
    Names,
    Source,
    as_class,
)
from mrcnn.files.image_file import width_and_height


class MaskFolders(Source):
    """Folders with `images` and `masks` of one picture each."""

    NAME, TITLE = "masks", "mask folders"

    @classmethod
    def recognised_by(cls, listing: Listing) -> str | None:
        if listing.chosen:
            return None
        for folder, (images, masks) in _folders(listing).items():
            # A mask of the picture's own name may be an image of numbers.
            names = {PurePosixPath(name).stem for name in masks} - {PurePosixPath(images[0]).stem}
            if len(images) == 1 and names and folder.name == PurePosixPath(images[0]).stem:
                return str(folder / "masks")
        return None

    def __init__(self, listing: Listing) -> None:
        super().__init__(listing)
        names = Names()
        for folder, (images, masks) in _folders(listing).items():
            if len(images) != 1:
                raise ValueError(
                    f"{listing.root / folder / 'images'}: expected one picture for the masks of "
                    f"{folder / 'masks'}; found {len(images)}."
                )
            labelled = []
            for mask in masks:
                inner = PurePosixPath(mask).relative_to(folder / "masks").parts
                name = as_class(inner[0]) if len(inner) > 1 else ONLY_CLASS
                if name is None:
                    raise ValueError(f"{listing.path(mask)}: expected the name of a class.")
                labelled.append((names.add(name), mask))
            self.items.append(Item(images[0], labelled, upright=False))
        self.categories = names.sorted()
        used = {item.file_name for item in self.items} | {
            m for i in self.items for _, m in i.labels
        }
        self.counts["images without masks left out"] += len(set(listing.images) - used)

    def objects(self, item: Item, counts: Counter[str]) -> Iterator[LabelledObject]:
        width, height = width_and_height(self.listing.path(item.file_name))
        for name, file in item.labels:
            pixels = read_mask(self.listing.path(file))
            if pixels.shape != (height, width):
                raise ValueError(
                    f"{self.listing.path(file)}: expected the size of {item.file_name}, "
                    f"{height} x {width}; received {pixels.shape[0]} x {pixels.shape[1]} pixels "
                    f"(height x width)."
                )
            if not pixels.any():
                counts["masks without a pixel left out"] += 1
                continue
            yield LabelledObject(name, file, bitmaps=[cut_to_box(pixels)])


def _folders(listing: Listing) -> dict[PurePosixPath, tuple[list[str], list[str]]]:
    """The folders that hold both, with the files of each."""
    found: dict[PurePosixPath, tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
    for name in listing.images:
        path = PurePosixPath(name)
        for number, kind in enumerate(("images", "masks")):
            if path.parent.name == kind:
                found[path.parent.parent][number].append(name)
            elif kind == "masks" and path.parent.parent.name == kind:
                found[path.parent.parent.parent][number].append(name)
    return {folder: both for folder, both in found.items() if all(both)}
