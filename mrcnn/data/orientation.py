"""Which way up the images of a data set are: as stored, or turned as their EXIF data say.

Cameras store a picture as their sensor lies, and write beside it how to turn it. Browsers, and so
the annotation tools in them, show it turned; programs that read pixels do not turn it. Boxes and
masks are measured on the one or the other. `Config.EXIF_ORIENTATION` says which:

- "apply": turned;
- "ignore": as stored;
- "auto": where the data set states a size that only one of the two has (a quarter turn exchanges
  height and width), that one. Where a reader knows its tool (`add_image(…, upright=True)`, as for
  the VGG Image Annotator), what the tool shows. Otherwise as stored, which is said once a data set.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from mrcnn.config import Config
from mrcnn.data.bit_depth import grey_bit_depth
from mrcnn.files.image_file import SIDEWAYS, orientation_of, width_and_height
from mrcnn.files.remote_image import local_image

if TYPE_CHECKING:
    from mrcnn.data.dataset import Dataset

# Images are read by data sets, whose `load_image` scripts replace: it cannot get the setting as an
# argument. A value for each thread, so that two configurations may read one data set.
_setting: ContextVar[str] = ContextVar("EXIF_ORIENTATION", default=Config.EXIF_ORIENTATION)


@contextmanager
def exif_orientation(setting: str) -> Iterator[None]:
    """In this context, images are read by a value of `Config.EXIF_ORIENTATION`."""
    token = _setting.set(setting)
    try:
        yield
    finally:
        _setting.reset(token)


def load_image(dataset: Dataset, image_id: int, config: Config) -> np.ndarray:
    """`dataset.load_image(image_id)`, as EXIF_ORIENTATION and GREY_BIT_DEPTH ask."""
    with exif_orientation(config.EXIF_ORIENTATION), grey_bit_depth(config.GREY_BIT_DEPTH):
        return dataset.load_image(image_id)


def is_upright(info: Mapping[str, Any], image: Image.Image) -> bool | None:
    """Whether an image is to be turned as its EXIF data say.

    Args:
        info: its entry of `Dataset.image_info`.
        image: its opened file.

    Returns:
        None where "auto" cannot know.
    """
    setting, orientation = _setting.get(), orientation_of(image)
    if orientation == 1 or setting == "ignore":
        return False
    if setting == "apply":
        return True
    stated, stored = (info.get("width"), info.get("height")), image.size
    # A size that only one of the two has tells more than what is usual for the tool.
    tells = orientation in SIDEWAYS and stored[0] != stored[1] and None not in stated
    if info.get("upright"):
        return not (tells and stated == stored)
    return stated == stored[::-1] if tells else None


def shown_size(info: Mapping[str, Any], config: Config) -> tuple[int, int]:
    """(width, height) of an image of which no size is stated, by its header and the setting."""
    upright = config.EXIF_ORIENTATION != "ignore" and bool(info.get("upright"))
    path = local_image(info["path"])
    return width_and_height(path, upright or config.EXIF_ORIENTATION == "apply")
