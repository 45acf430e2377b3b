"""Downloads of COCO's images and annotations."""

from __future__ import annotations

import os
import shutil
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from mrcnn.files.download import DownloadError, download
from mrcnn.files.zip import DamagedArchiveError, extract_zip

# images.cocodataset.org speaks http only; this is the same bucket over https.
COCO_URL = "https://s3.amazonaws.com/images.cocodataset.org"
COCO_SUBSETS = {
    "2014": ("train", "val", "test", "minival", "valminusminival"),
    "2015": ("test",),
    "2017": ("train", "val", "test", "unlabeled"),
}
# The 5k/35k split of val2014 is not on COCO's server; py-faster-rcnn published these.
COCO_SPLIT_URLS = {
    "minival": "https://dl.dropboxusercontent.com/s/o43o90bna78omob/"
    "instances_minival2014.json.zip?dl=1",
    "valminusminival": "https://dl.dropboxusercontent.com/s/s3tw5zcg7395368/"
    "instances_valminusminival2014.json.zip?dl=1",
}


def download_coco(
    folder: str | os.PathLike[str], subset: str, year: str | int, progress: bool = True
) -> tuple[str, str]:
    """Download and unpack the images and annotations of a part of COCO.

    The layout is COCO's: `<folder>/train2017/*.jpg`, `<folder>/annotations/*.json`. What is there
    is kept: a folder of images appears only once it is complete. The archives are removed.

    Args:
        folder: the data set's folder.
        subset: one of `COCO_SUBSETS[year]`; "minival" and "valminusminival" are parts of val2014.
        year: "2014", "2015" (test only) or "2017".
        progress: show bars.

    Returns:
        (folder of the images, annotation file)

    Raises:
        ValueError: if there is no such part.
        DownloadError: as `download` and `extract_zip` do.
    """
    year, root = str(year), Path(folder)
    if subset not in COCO_SUBSETS.get(year, ()):
        raise ValueError(
            f"COCO has no subset {subset!r} of {year!r}; expected one of {COCO_SUBSETS}."
        )
    images = root / f"{'val' if subset in COCO_SPLIT_URLS else subset}{year}"
    if subset in ("test", "unlabeled"):  # without objects
        archive, file_name = f"image_info_{subset}{year}.zip", f"image_info_{subset}{year}.json"
    else:
        archive, file_name = f"annotations_trainval{year}.zip", f"instances_{subset}{year}.json"
    annotations = root / "annotations" / file_name
    annotations_url = COCO_SPLIT_URLS.get(subset, f"{COCO_URL}/annotations/{archive}")
    if not annotations.exists():
        unpack_download(annotations_url, root, annotations, progress)
    if not images.exists():
        unpack_download(f"{COCO_URL}/zips/{images.name}.zip", root, images, progress)
    return str(images), str(annotations)


def unpack_download(url: str, root: Path, wanted: Path, progress: bool) -> None:
    """Download an archive, unpack it aside, and move what belongs beside `wanted` into place.

    Files that are there already stay as they are: somebody may have edited them.
    """
    archive = root / Path(urllib.parse.urlsplit(url).path).name
    staging = root / f".{archive.name}.unpacked"
    record = archive.with_name(archive.name + ".sha256")
    download(url, archive, progress=progress)
    shutil.rmtree(staging, ignore_errors=True)  # of a run that was killed
    try:
        extract_zip(archive, staging, progress=progress)
        wanted.parent.mkdir(parents=True, exist_ok=True)
        for found in [*staging.rglob("*.json"), *staging.glob(wanted.name)]:
            target = wanted.parent / found.name
            if found.exists() and not target.exists():
                os.replace(found, target)
    except DamagedArchiveError:
        archive.unlink()  # so that the next call downloads it again
        record.unlink(missing_ok=True)
        raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    if not wanted.exists():
        raise DownloadError(f"{archive}: expected {wanted.name} in it, but it is not there.")
    archive.unlink()
    record.unlink(missing_ok=True)
