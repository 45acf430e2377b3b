"""Putting images into the copy of a data set."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from mrcnn.data.orientation import is_upright
from mrcnn.datasets.formats.parts import Picture
from mrcnn.files.addresses import RemotePath
from mrcnn.files.image_file import open_image, orientation_of
from mrcnn.files.remote_image import local_image

STORED = "images written again as PNG, because their EXIF data would turn them"


def place_image(picture: Picture, folder: Path, turns: bool, counts: Counter[str]) -> str:
    """Put an image into a folder: as a hard link where that is possible, otherwise as a copy.

    Args:
        picture: with its name in the folder.
        folder: of the images.
        turns: whether those who read the format turn images as their EXIF data say. Where the
            annotations are of the stored pixels, these are then written without such data.
        counts: what takes another form is counted here.

    Returns:
        The name in the folder.

    Raises:
        FileExistsError: there is such a file already.
    """
    name = picture.name
    stored = turns and _must_stay(picture)
    if stored:
        name = str(PurePosixPath(name).with_suffix(".png"))
    target = folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    if stored:
        counts[STORED] += 1
        with open_image(local_image(picture.path)) as image:
            Image.fromarray(np.asarray(image.convert("RGB"))).save(target)
        return name
    if isinstance(picture.path, RemotePath):
        with open(target, "xb") as file:
            file.write(picture.path.read())
        return name
    source = os.path.realpath(picture.path)
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)
    return name


def _must_stay(picture: Picture) -> bool:
    """Whether the annotations are of the stored pixels, and the EXIF data would turn them."""
    with open_image(local_image(picture.path)) as image:
        return orientation_of(image) != 1 and not is_upright(picture.entry, image)
