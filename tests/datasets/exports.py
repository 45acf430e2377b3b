"""Small exports of annotation tools, each in the form that its exporter writes.

The forms were read in the exporters' code and in data sets that people published: which fields
there are, in which order, from which number ids count, what is left empty, what the files and
folders are called. Every function writes an export to a folder; every picture has one nut and one
fig, as masks where the tool can write such, and as boxes where it is about boxes.

Read in: CVAT (datumaro's coco_format/converter.py), FiftyOne (utils/coco.py), Label Studio
(label-studio-converter and label-studio-sdk: converter.py, brush_to_coco.py, keypoints.py, and its
issues 7294 and, of the converter, 139 and 188), COCO Annotator (workers/tasks/data.py,
util/coco_util.py), Make Sense (COCOExporter.ts), VIA 2 (via.js, and an export of 2.0.8), labelme
(examples/instance_segmentation/labelme2coco.py), fcakyon's labelme2coco with sahi (utils/coco.py),
COCO 2017. Roboflow's exporter is not public: its form is that of published data sets.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 48, 64
NUT = (4, 6, 20, 14)  # x, y, width, height of the pixels
FIG = (36, 20, 16, 24)
BOXES = {"nut": NUT, "fig": FIG}

Json = dict[str, Any]


@dataclass(frozen=True)
class Picture:
    """A picture and its number, from 0."""

    index: int

    @property
    def name(self) -> str:
        return f"{self.index}.jpg"

    def save(self, path: Path) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        random = np.random.default_rng(self.index)
        small = Image.fromarray(random.integers(0, 256, (6, 8, 3)).astype(np.uint8))
        small.resize((WIDTH, HEIGHT), Image.Resampling.NEAREST).save(path, quality=95)
        return path


def pictures(count: int, first: int = 0) -> list[Picture]:
    return [Picture(index) for index in range(first, first + count)]


def objects(shown: Sequence[Picture]) -> Iterator[tuple[int, int, Picture, str]]:
    """(number, number of the picture, picture, name) of each object, from 0."""
    number = 0
    for position, picture in enumerate(shown):
        for name in BOXES:
            yield number, position, picture, name
            number += 1


def corners(name: str, number: type = float) -> list[Any]:
    """A polygon around the pixels of an object."""
    x, y, width, height = map(number, BOXES[name])
    return [x, y, x + width, y, x + width, y + height, x, y + height]


def box(name: str, number: type = float) -> list[Any]:
    return [number(side) for side in BOXES[name]]


def area(name: str) -> int:
    return BOXES[name][2] * BOXES[name][3]


def run_lengths(name: str) -> Json:
    """Uncompressed, column by column."""
    x, y, width, height = BOXES[name]
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[y : y + height, x : x + width] = 1
    flat = mask.ravel(order="F")
    changes = [0, *(np.flatnonzero(np.diff(flat)) + 1).tolist(), flat.size]
    return {"counts": np.diff(changes).tolist(), "size": [HEIGHT, WIDTH]}


def dump(path: Path, content: Json, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, **options), encoding="utf-8")


# --- COCO ------------------------------------------------------------------------------------


def coco_2017(root: Path) -> None:
    """COCO's own folders: instances beside keypoints and captions, a crowd as run lengths."""
    for subset, shown in (("train", pictures(3)), ("val", pictures(2, 3))):
        images = []
        for picture in shown:
            name = f"{picture.index:012}.jpg"
            picture.save(root / f"{subset}2017" / name)
            images.append(
                {
                    "license": 3,
                    "file_name": name,
                    "coco_url": f"http://images.cocodataset.org/{subset}2017/{name}",
                    "height": HEIGHT,
                    "width": WIDTH,
                    "date_captured": "2013-11-14 11:18:45",
                    "flickr_url": "http://farm9.staticflickr.com/8186/8119368305_4e622c8349_z.jpg",
                    "id": picture.index,
                }
            )
        annotations: list[Json] = [
            {
                "segmentation": [corners(name)],
                "area": float(area(name)),
                "iscrowd": 0,
                "image_id": picture.index,
                "bbox": box(name),
                "category_id": {"nut": 1, "fig": 90}[name],
                "id": 900_100_000_000 + number,
            }
            for number, _, picture, name in objects(shown)
        ]
        counts = [50 * HEIGHT + 2, *[3, HEIGHT - 3] * 9, 3, 5 * HEIGHT - 5]
        annotations.append(
            {
                "segmentation": {"counts": counts, "size": [HEIGHT, WIDTH]},
                "area": 30,
                "iscrowd": 1,
                "image_id": shown[0].index,
                "bbox": [50, 2, 10, 3],
                "category_id": 1,
                "id": 900_100_999_999,
            }
        )
        content = {
            "info": {
                "description": "COCO 2017 Dataset",
                "url": "http://cocodataset.org",
                "version": "1.0",
                "year": 2017,
                "contributor": "COCO Consortium",
                "date_created": "2017/09/01",
            },
            "licenses": [{"url": "http://creativecommons.org", "id": 3, "name": "Attribution"}],
            "images": images,
            "annotations": annotations,
            "categories": [
                {"supercategory": "food", "id": 1, "name": "nut"},
                {"supercategory": "food", "id": 90, "name": "fig"},
            ],
        }
        dump(root / "annotations" / f"instances_{subset}2017.json", content)
        people = [{**annotations[0], "keypoints": [5, 7, 2] * 17, "num_keypoints": 17}]
        dump(
            root / "annotations" / f"person_keypoints_{subset}2017.json",
            {**content, "annotations": people},
        )
        captions = [{"image_id": shown[0].index, "id": 1, "caption": "A nut and a fig."}]
        dump(
            root / "annotations" / f"captions_{subset}2017.json",
            {"info": content["info"], "images": images, "annotations": captions},
        )


# --- Roboflow --------------------------------------------------------------------------------


def roboflow(root: Path) -> None:
    """A folder a subset with its json among the images; a placeholder as the first category."""
    for subset, shown in (
        ("train", pictures(3)),
        ("valid", pictures(2, 3)),
        ("test", pictures(1, 5)),
    ):
        date = "2025-11-14T10:00:45+00:00"
        images = []
        for position, picture in enumerate(shown):
            name = f"IMG_{picture.index}_jpg.rf.f420d64134e57e535d022ab39e16b0d{picture.index}.jpg"
            picture.save(root / subset / name)
            images.append(
                {
                    "id": position,
                    "license": 1,
                    "file_name": name,
                    "height": HEIGHT,
                    "width": WIDTH,
                    "date_captured": date,
                    "extra": {"name": f"IMG_{picture.index}.jpg"},
                }
            )
        content = {
            "info": {
                "year": "2025",
                "version": "1",
                "description": "Exported from roboflow.com",
                "contributor": "",
                "url": "https://public.roboflow.com/object-detection/undefined",
                "date_created": date,
            },
            "licenses": [{"id": 1, "url": "https://creativecommons.org", "name": "CC BY 4.0"}],
            "categories": [
                {"id": 0, "name": "fig", "supercategory": "none"},
                {"id": 1, "name": "fig", "supercategory": "fig"},
                {"id": 2, "name": "nut", "supercategory": "fig"},
            ],
            "images": images,
            "annotations": [
                {
                    "id": number,
                    "image_id": position,
                    "category_id": {"fig": 1, "nut": 2}[name],
                    "bbox": box(name, int),
                    "area": area(name),
                    "segmentation": [corners(name, int)],
                    "iscrowd": 0,
                }
                for number, position, _, name in objects(shown)
            ],
        }
        dump(root / subset / "_annotations.coco.json", content, separators=(",", ":"))
    for name in ("README.dataset.txt", "README.roboflow.txt"):
        (root / name).write_text("fruit > 2025-11-14 10:00am\nhttps://universe.roboflow.com\n")


def roboflow_boxes(root: Path) -> None:
    """An export of boxes: empty segmentations."""
    roboflow(root)
    for file in root.glob("*/_annotations.coco.json"):
        content = json.loads(file.read_text())
        for annotation in content["annotations"]:
            annotation["segmentation"] = []
        dump(file, content, separators=(",", ":"))


# --- CVAT ------------------------------------------------------------------------------------


def cvat_json(shown: Sequence[Picture], folder: str = "", masks: bool = False) -> Json:
    annotations = []
    for number, position, _, name in objects(shown):
        mask: Any = run_lengths(name) if masks else [corners(name)]
        annotations.append(
            {
                "id": number + 1,
                "image_id": position + 1,
                "category_id": {"nut": 1, "fig": 2}[name],
                "segmentation": mask,
                "area": float(area(name)),
                "bbox": box(name),
                "iscrowd": int(masks),
                "attributes": {"occluded": False},
            }
        )
    return {
        "licenses": [{"name": "", "id": 0, "url": ""}],
        "info": {
            "contributor": "",
            "date_created": "",
            "description": "",
            "url": "",
            "version": "",
            "year": "",
        },
        "categories": [
            {"id": 1, "name": "nut", "supercategory": ""},
            {"id": 2, "name": "fig", "supercategory": ""},
        ],
        "images": [
            {
                "id": position + 1,
                "width": WIDTH,
                "height": HEIGHT,
                "file_name": f"{folder}{picture.name}",
                "license": 0,
                "flickr_url": "",
                "coco_url": "",
                "date_captured": 0,
            }
            for position, picture in enumerate(shown)
        ],
        "annotations": annotations,
    }


def cvat(root: Path) -> None:
    """A task: one subset, "default", its images in a folder of that name."""
    for picture in pictures(3):
        picture.save(root / "images" / "default" / picture.name)
    dump(root / "annotations" / "instances_default.json", cvat_json(pictures(3)))


def cvat_folders(root: Path) -> None:
    """A task whose images were uploaded in a folder, which may be called as a subset is."""
    for picture in pictures(3):
        picture.save(root / "images" / "default" / "train" / picture.name)
    dump(root / "annotations" / "instances_default.json", cvat_json(pictures(3), "train/"))


def cvat_merged(root: Path) -> None:
    """Older versions put all images in one folder."""
    for picture in pictures(3):
        picture.save(root / "images" / picture.name)
    dump(root / "annotations" / "instances_default.json", cvat_json(pictures(3)))


def cvat_project(root: Path) -> None:
    """A project whose tasks have subsets."""
    for subset, shown in (("Train", pictures(3)), ("Validation", pictures(2, 3))):
        for picture in shown:
            picture.save(root / "images" / subset / picture.name)
        dump(root / "annotations" / f"instances_{subset}.json", cvat_json(shown))


def cvat_brush(root: Path) -> None:
    """Masks of the brush: run lengths, and every one a crowd."""
    cvat(root)
    dump(root / "annotations" / "instances_default.json", cvat_json(pictures(3), masks=True))


def cvat_boxes(root: Path) -> None:
    """Rectangles: an empty segmentation, and a rotation among the attributes."""
    cvat(root)
    content = cvat_json(pictures(3))
    for annotation in content["annotations"]:
        annotation |= {"segmentation": [], "attributes": {"occluded": False, "rotation": 0.0}}
    dump(root / "annotations" / "instances_default.json", content)


# --- FiftyOne --------------------------------------------------------------------------------


def fiftyone(root: Path) -> None:
    """labels.json and data/: classes from 0, images from 1, polygons along the pixels' middles."""
    for picture in pictures(3):
        picture.save(root / "data" / picture.name)
    annotations = []
    for number, position, _, name in objects(pictures(3)):
        x, y, width, height = map(float, BOXES[name])
        right, bottom = x + width - 0.5, y + height - 0.5
        outline = [right, bottom, right, y, x, y - 0.5, x - 0.5, bottom, right, bottom]
        annotations.append(
            {
                "id": number + 1,
                "image_id": position + 1,
                "category_id": {"fig": 0, "nut": 1}[name],
                "bbox": box(name),
                "segmentation": [outline],
                "area": float(area(name)),
                "tags": [],
            }
        )
    dump(
        root / "labels.json",
        {
            "info": {
                "year": "",
                "version": "",
                "description": "Exported from FiftyOne",
                "contributor": "",
                "url": "https://voxel51.com/fiftyone",
                "date_created": "2022-03-16T17:05:23",
            },
            "licenses": [],
            "categories": [
                {"id": 0, "name": "fig", "supercategory": None},
                {"id": 1, "name": "nut", "supercategory": None},
            ],
            "images": [
                {
                    "id": position + 1,
                    "file_name": picture.name,
                    "height": HEIGHT,
                    "width": WIDTH,
                    "license": None,
                    "coco_url": None,
                }
                for position, picture in enumerate(pictures(3))
            ],
            "annotations": annotations,
        },
    )


def fiftyone_boxes(root: Path) -> None:
    """Detections of an older version: `segmentation` is null, `iscrowd` there."""
    fiftyone(root)
    content = json.loads((root / "labels.json").read_text())
    for annotation in content["annotations"]:
        annotation |= {"segmentation": None, "iscrowd": 0}
    dump(root / "labels.json", content)


def fiftyone_links(root: Path) -> None:
    """`export_media="symlink"`: the pictures are links out of the export."""
    fiftyone(root)
    for picture in pictures(3):
        moved = picture.save(root.parent / "photographs" / picture.name)
        (root / "data" / picture.name).unlink()
        (root / "data" / picture.name).symlink_to(moved)


# --- Label Studio ----------------------------------------------------------------------------


def label_studio(root: Path, name: str = "images/{}", boxes: bool = False) -> None:
    """result.json and images/: all ids from 0, the names with the folder; `ignore` beside iscrowd.

    Args:
        root: of the export.
        name: of a file, as versions on several systems write it.
        boxes: rectangles in place of polygons.
    """
    images, annotations = [], []
    for position, picture in enumerate(pictures(3)):
        file = f"72688b1a-{picture.name}"
        picture.save(root / "images" / file)
        images.append(
            {"width": WIDTH, "height": HEIGHT, "id": position, "file_name": name.format(file)}
        )
    for number, position, _, label in objects(pictures(3)):
        annotations.append(
            {
                "id": number,
                "image_id": position,
                "category_id": {"fig": 0, "nut": 1}[label],
                "segmentation": [] if boxes else [corners(label)],
                "bbox": box(label),
                "ignore": 0,
                "iscrowd": 0,
                "area": float(area(label)),
            }
        )
    dump(
        root / "result.json",
        {
            "images": images,
            "categories": [{"id": 0, "name": "fig"}, {"id": 1, "name": "nut"}],
            "annotations": annotations,
            "info": {
                "year": 2026,
                "version": "1.0",
                "description": "",
                "contributor": "Label Studio",
                "url": "",
                "date_created": "2026-11-29 05:00:00.123456",
            },
        },
        indent=2,
    )


def label_studio_boxes(root: Path) -> None:
    label_studio(root, boxes=True)


def label_studio_windows(root: Path) -> None:
    label_studio(root, "images\\{}")


def label_studio_project_folder(root: Path) -> None:
    """The converter's issue 139: the project's number, which no folder has."""
    label_studio(root, "images\\1/{}")


def label_studio_outside(root: Path) -> None:
    """Label Studio's issue 7294, of version 1.16: where the server keeps its uploads."""
    label_studio(root, "..\\..\\label-studio\\label-studio\\media\\upload\\4\\{}")


def label_studio_no_size(root: Path) -> None:
    """A task without a label whose image could not be opened: it has no size."""
    label_studio(root)
    content = json.loads((root / "result.json").read_text())
    extra = Picture(3)
    extra.save(root / "images" / extra.name)
    content["images"].append(
        {"width": None, "height": None, "id": 3, "file_name": f"images/{extra.name}"}
    )
    dump(root / "result.json", content, indent=2)


def label_studio_two_annotators(root: Path) -> None:
    """Each annotation of a task is an image of its own, of the same file."""
    label_studio(root)
    content = json.loads((root / "result.json").read_text())
    first = content["images"][0]
    content["images"].append({**first, "id": 3})
    content["annotations"] += [
        {**annotation, "id": 6 + number, "image_id": 3}
        for number, annotation in enumerate(content["annotations"][:2])
    ]
    dump(root / "result.json", content, indent=2)


def label_studio_keypoints(root: Path) -> None:
    """Key points beside polygons: a category "default", and neither a mask nor an area."""
    label_studio(root)
    content = json.loads((root / "result.json").read_text())
    content["categories"].append(
        {
            "id": 2,
            "name": "default",
            "supercategory": "default",
            "keypoints": ["stem"],
            "skeleton": [],
        }
    )
    content["annotations"].append(
        {
            "id": 6,
            "image_id": 0,
            "category_id": 2,
            "keypoints": [10, 8, 2],
            "num_keypoints": 1,
            "bbox": [10, 8, 0, 0],
            "iscrowd": 0,
        }
    )
    dump(root / "result.json", content, indent=2)


def label_studio_brush(root: Path) -> None:
    """The SDK's brush export: result_coco.json, contours through the outermost pixels."""
    images, annotations = [], []
    for position, picture in enumerate(pictures(3)):
        file = f"72688b1a-{picture.name}"
        picture.save(root / "images" / file)
        images.append(
            {
                "id": position,
                "file_name": file,
                "path": f"/data/upload/1/{file}",
                "width": WIDTH,
                "height": HEIGHT,
            }
        )
    for number, position, _, name in objects(pictures(3)):
        x, y, width, height = BOXES[name]
        right, bottom = x + width - 1, y + height - 1
        annotations.append(
            {
                "id": number,
                "image_id": position,
                "category_id": {"nut": 1, "fig": 2}[name],
                "segmentation": [[x, y, x, bottom, right, bottom, right, y]],
                "area": (width - 1) * (height - 1),
                "bbox": [x, y, width, height],
                "iscrowd": 0,
                "annotator": "unknown",
            }
        )
    dump(
        root / "result_coco.json",
        {
            "images": images,
            "annotations": annotations,
            "categories": [
                {"id": i, "name": name, "supercategory": "", "color": "#3ab7dd", "metadata": {}}
                for i, name in enumerate(BOXES, start=1)
            ],
            "info": {
                "year": 2026,
                "version": "1.0",
                "description": "Converted from Label Studio",
                "contributor": "Label Studio Converter",
                "date_created": "2026-11-29 05:00:00.123456",
            },
        },
        indent=2,
        ensure_ascii=False,
    )


# --- COCO Annotator --------------------------------------------------------------------------


def coco_annotator_json() -> Json:
    """Database entries as they are: `iscrowd` false, paths of the server, whole areas."""
    return {
        "images": [
            {
                "id": 11 + position,
                "dataset_id": 1,
                "category_ids": [],
                "path": f"/datasets/nuts/{picture.name}",
                "width": WIDTH,
                "height": HEIGHT,
                "file_name": picture.name,
                "annotated": False,
                "annotating": [],
                "num_annotations": 0,
                "metadata": {},
                "deleted": False,
                "milliseconds": 0,
                "events": [],
                "regenerate_thumbnail": False,
            }
            for position, picture in enumerate(pictures(3))
        ],
        "categories": [
            {
                "id": id,
                "name": name,
                "supercategory": "",
                "color": "#3ab7dd",
                "metadata": {},
                "keypoint_colors": [],
            }
            for id, name in ((4, "nut"), (7, "fig"))
        ],
        "annotations": [
            {
                "id": 101 + number,
                "image_id": 11 + position,
                "category_id": {"nut": 4, "fig": 7}[name],
                "segmentation": [corners(name)],
                "area": area(name),
                "bbox": box(name),
                "iscrowd": False,
                "isbbox": False,
                "color": "#b00cd4",
                "metadata": {},
            }
            for number, position, _, name in objects(pictures(3))
        ],
    }


def coco_annotator(root: Path) -> None:
    """A json that the browser saved, beside the folder of the data set."""
    for picture in pictures(3):
        picture.save(root / "nuts" / picture.name)
    dump(root / "nuts-1.json", coco_annotator_json())


def coco_annotator_server(root: Path) -> None:
    """The server's folder: the export in a hidden folder among the images."""
    for picture in pictures(3):
        picture.save(root / picture.name)
    dump(root / ".exports" / "coco-1732863600.1234567.json", coco_annotator_json())


# --- Make Sense ------------------------------------------------------------------------------


def makesense(root: Path) -> None:
    """Annotations from 0, images and categories from 1, no licenses."""
    for picture in pictures(3):
        picture.save(root / picture.name)
    content = {
        "info": {"description": "my-project-name"},
        "images": [
            {"id": position + 1, "width": WIDTH, "height": HEIGHT, "file_name": picture.name}
            for position, picture in enumerate(pictures(3))
        ],
        "annotations": [
            {
                "id": number,
                "iscrowd": 0,
                "image_id": position + 1,
                "category_id": {"nut": 1, "fig": 2}[name],
                "segmentation": [corners(name)],
                "bbox": box(name),
                "area": area(name),
            }
            for number, position, _, name in objects(pictures(3))
        ],
        "categories": [{"id": 1, "name": "nut"}, {"id": 2, "name": "fig"}],
    }
    name = "labels_my-project-name_2026-11-29-05-00-00.json"
    dump(root / name, content, separators=(",", ":"))


def makesense_unlabelled(root: Path) -> None:
    """A polygon without a label has no category: the field is not there."""
    makesense(root)
    (file,) = root.glob("labels_*.json")
    content = json.loads(file.read_text())
    del content["annotations"][1]["category_id"]
    dump(file, content, separators=(",", ":"))


# --- VGG Image Annotator, as COCO --------------------------------------------------------------


def via(root: Path, image_ids: Sequence[int] = (1, 2, 3), nameless: bool = False) -> None:
    """Since 2.0.10: everything from 1, whole coordinates, and a point without area and box.

    Args:
        root: of the export.
        image_ids: of the three pictures.
        nameless: categories whose ids could not be made numbers of.
    """
    shown = pictures(3)
    for picture in shown:
        picture.save(root / picture.name)
    ids: dict[str, int | None] = {"nut": None, "fig": None} if nameless else {"nut": 1, "fig": 2}
    annotations: list[Json] = [
        {
            "segmentation": [corners(name, int)],
            "area": area(name),
            "bbox": box(name, int),
            "iscrowd": 0,
            "id": number + 1,
            "image_id": image_ids[position],
            "category_id": ids[name],
        }
        for number, position, _, name in objects(shown)
    ]
    dump(
        root / "via_project_29Nov2026_5h0m_coco.json",
        {
            "info": {
                "year": 2026,
                "version": "1.0",
                "description": "VIA project exported to COCO format using VGG Image Annotator",
                "contributor": "",
                "url": "http://www.robots.ox.ac.uk/~vgg/software/via/",
                "date_created": "Sun Nov 29 2026 05:00:00 GMT+0000 (Coordinated Universal Time)",
            },
            "images": [
                {
                    "id": id,
                    "width": WIDTH,
                    "height": HEIGHT,
                    "file_name": picture.name,
                    "license": 0,
                    "flickr_url": picture.name,
                    "coco_url": picture.name,
                    "date_captured": "",
                }
                for id, picture in zip(image_ids, shown, strict=True)
            ],
            "annotations": annotations,
            "licenses": [{"id": 0, "name": "Unknown License", "url": ""}],
            "categories": [
                {"supercategory": "fruit", "id": ids[name], "name": name} for name in BOXES
            ],
        },
        separators=(",", ":"),
    )


def via_points(root: Path) -> None:
    """Points beside polygons: an empty polygon, and lists for area and box."""
    via(root)
    (file,) = root.glob("via_*.json")
    content = json.loads(file.read_text())
    content["annotations"].append(
        {
            "segmentation": [[]],
            "area": [],
            "bbox": [],
            "iscrowd": 0,
            "keypoints": [10, 8, 2],
            "num_keypoints": 1,
            "id": 7,
            "image_id": 1,
            "category_id": 1,
        }
    )
    dump(file, content, separators=(",", ":"))


def via_same_ids(root: Path) -> None:
    """File names that begin with one number: `parseInt` gives their images one id."""
    via(root, image_ids=(10, 10, 11))


def via_null_categories(root: Path) -> None:
    """File names that begin with numbers, options that do not: `parseInt` gives NaN, json null."""
    via(root, image_ids=(0, 1, 2), nameless=True)


def via_208(root: Path) -> None:
    """Version 2.0.8: flat polygons, the image's id as text, the categories anew for each image."""
    shown = pictures(3)
    for picture in shown:
        picture.save(root / picture.name)
    dump(
        root / "via_export_coco.json",
        {
            "info": {
                "year": 2020,
                "version": "1",
                "description": "Exported using VGG Image Annotator",
                "contributor": "",
                "url": "http://www.robots.ox.ac.uk/~vgg/software/via/",
                "date_created": "Thu Apr 09 2020 10:55:40 GMT-0500 (Colombia Standard Time)",
            },
            "images": [
                {
                    "id": position,
                    "width": WIDTH,
                    "height": HEIGHT,
                    "file_name": picture.name,
                    "license": 1,
                    "date_captured": "",
                }
                for position, picture in enumerate(shown)
            ],
            "annotations": [
                {
                    "id": number,
                    "image_id": str(position),
                    "category_id": {"nut": 1, "fig": 2}[name],
                    "segmentation": corners(name, int),
                    "area": area(name),
                    "bbox": box(name, int),
                    "iscrowd": 0,
                }
                for number, position, _, name in objects(shown)
            ],
            "licenses": [{"id": 1, "name": "Unknown", "url": ""}],
            "categories": [
                {"id": id, "name": name, "supercategory": "fruit"}
                for id, name in ((1, "nut"), (2, "fig"))
            ]
            * len(shown),
        },
        separators=(",", ":"),
    )


# --- labelme ---------------------------------------------------------------------------------


def labelme(root: Path) -> None:
    """labelme's script: JPEGImages/ in the names, the same names drawn in Visualization/, nulls."""
    shown = pictures(3)
    for picture in shown:
        picture.save(root / "JPEGImages" / picture.name)
        picture.save(root / "Visualization" / picture.name)
    dump(
        root / "annotations.json",
        {
            "info": {
                "description": None,
                "url": None,
                "version": None,
                "year": 2026,
                "contributor": None,
                "date_created": "2026-11-29 05:00:00.123456",
            },
            "licenses": [{"url": None, "id": 0, "name": None}],
            "type": "instances",
            "images": [
                {
                    "license": 0,
                    "url": None,
                    "file_name": f"JPEGImages/{picture.name}",
                    "height": HEIGHT,
                    "width": WIDTH,
                    "date_captured": None,
                    "id": position,
                }
                for position, picture in enumerate(shown)
            ],
            "categories": [
                {"supercategory": None, "id": 0, "name": "_background_"},
                {"supercategory": None, "id": 1, "name": "nut"},
                {"supercategory": None, "id": 2, "name": "fig"},
            ],
            "annotations": [
                {
                    "id": number,
                    "image_id": position,
                    "category_id": {"nut": 1, "fig": 2}[name],
                    "segmentation": [corners(name)],
                    "area": float(area(name)),
                    "bbox": box(name),
                    "iscrowd": 0,
                }
                for number, position, _, name in objects(shown)
            ],
        },
    )


def labelme2coco(root: Path, folder: str = "photos/") -> None:
    """fcakyon's package: dataset.json, names as the folder of labelme's files was given.

    Args:
        root: of the data set; labelme's files lie beside the pictures.
        folder: the part of a name before the file.
    """
    shown = pictures(3)
    for picture in shown:
        picture.save(root / "photos" / picture.name)
        content = {"version": "5.4.1", "shapes": [], "imagePath": picture.name, "imageData": None}
        dump(root / "photos" / f"{picture.index}.json", content)
    dump(
        root / "dataset.json",
        {
            "images": [
                {
                    "height": HEIGHT,
                    "width": WIDTH,
                    "id": position + 1,
                    "file_name": f"{folder}{picture.name}",
                }
                for position, picture in enumerate(shown)
            ],
            "annotations": [
                {
                    "iscrowd": 0,
                    "image_id": position + 1,
                    "bbox": box(name, int),
                    "segmentation": [corners(name)],
                    "category_id": {"nut": 0, "fig": 1}[name],
                    "id": number + 1,
                    "area": area(name),
                }
                for number, position, _, name in objects(shown)
            ],
            "categories": [
                {"id": 0, "name": "nut", "supercategory": "nut"},
                {"id": 1, "name": "fig", "supercategory": "fig"},
            ],
        },
        indent=4,
        separators=(",", ":"),
    )


def labelme2coco_absolute(root: Path) -> None:
    """The folder was given by its whole path, on another machine."""
    labelme2coco(root, "/home/someone/fruit/photos/")


# --- What is to be found ---------------------------------------------------------------------


@dataclass(frozen=True)
class Export:
    """An export, and what is right of it.

    Attributes:
        write: writes it.
        json: of the training, below its folder.
        images: the folder of those images, below its folder.
        findings: what the doctor says of it, but for what it says of any so small data set.
        validates: it has a subset "val", of two pictures.
        objects: in the training, by the name of their class.
        stops: the message of the reader where it refuses the export as it is.
        mended: what `--fix` keeps: objects, or None where no copy can be written.
        options: "box_only", "crowds_as_objects", "follow_links": with them it is read or mended.
    """

    write: Callable[[Path], None]
    json: str
    images: str
    findings: frozenset[str] = frozenset()
    validates: bool = False
    objects: int = 6
    stops: str = ""
    mended: int | None = 6
    options: frozenset[str] = frozenset()


def export(
    write: Callable[[Path], None], json: str, images: str, *findings: str, **rest: Any
) -> Export:
    return Export(write, json, images, frozenset(findings), **rest)


BOX_ONLY = frozenset(["box_only"])
DEFAULT = "annotations/instances_default.json"
VIA = "via_project_29Nov2026_5h0m_coco.json"
MAKESENSE = "labels_my-project-name_2026-11-29-05-00-00.json"

EXPORTS = (
    export(
        *(coco_2017, "annotations/instances_train2017.json", "train2017", "crowd"),
        validates=True,
        objects=7,
        mended=7,
    ),
    export(
        roboflow,
        *("train/_annotations.coco.json", "train", "category-placeholder", "class-empty"),
        validates=True,
    ),
    export(
        roboflow_boxes,
        *("train/_annotations.coco.json", "train"),
        *("category-placeholder", "class-empty", "box-only"),
        validates=True,
        stops="There is a 'bbox': --box-only",
        options=BOX_ONLY,
    ),
    export(cvat, DEFAULT, "images/default"),
    export(cvat_folders, DEFAULT, "images/default"),
    export(cvat_merged, DEFAULT, "images"),
    export(cvat_project, "annotations/instances_Train.json", "images/Train", validates=True),
    export(
        *(cvat_brush, DEFAULT, "images/default", "only-crowds", "crowd"),
        options=frozenset(["crowds_as_objects"]),
    ),
    export(
        *(cvat_boxes, DEFAULT, "images/default", "box-only"),
        stops="There is a 'bbox': --box-only",
        options=BOX_ONLY,
    ),
    export(fiftyone, "labels.json", "data"),
    export(
        *(fiftyone_boxes, "labels.json", "data", "box-only"),
        stops="There is a 'bbox': --box-only",
        options=BOX_ONLY,
    ),
    export(
        *(fiftyone_links, "labels.json", "data", "path-link", "no-images"),
        stops="MRCNN_FOLLOW_LINKS=1",
        options=frozenset(["follow_links"]),
    ),
    export(label_studio, "result.json", "."),
    export(
        *(label_studio_boxes, "result.json", ".", "box-only"),
        stops="There is a 'bbox': --box-only",
        options=BOX_ONLY,
    ),
    export(
        *(label_studio_windows, "result.json", ".", "path-backslash", "no-images"),
        stops=r"'images/72688b1a-0\.jpg', which exists",
    ),
    export(
        *(label_studio_project_folder, "result.json", "images", "path-elsewhere", "no-images"),
        stops=r"'72688b1a-0\.jpg' is a file there",
    ),
    export(
        *(label_studio_outside, "result.json", "images", "path-elsewhere", "no-images"),
        stops=r"'72688b1a-0\.jpg' is a file there",
    ),
    export(
        *(label_studio_no_size, "result.json", ".", "image-entry"),
        stops="image 3, field 'height'",
    ),
    export(
        *(label_studio_two_annotators, "result.json", ".", "image-file-twice"),
        objects=8,
        mended=8,
    ),
    export(
        *(label_studio_keypoints, "result.json", ".", "segmentation-missing"),
        stops="annotation 6: expected the field 'segmentation'",
    ),
    export(label_studio_brush, "result_coco.json", "images"),
    export(coco_annotator, "nuts-1.json", "nuts"),
    export(coco_annotator_server, ".exports/coco-1732863600.1234567.json", "."),
    export(makesense, MAKESENSE, "."),
    export(
        *(makesense_unlabelled, MAKESENSE, ".", "annotation-entry"),
        stops="annotation 1: expected the field 'category_id'",
        mended=5,
    ),
    export(via, VIA, "."),
    export(
        *(via_points, VIA, ".", "area-malformed", "annotation-form", "segmentation-missing"),
        stops="annotation 7, field 'area'",
    ),
    export(
        *(via_same_ids, VIA, ".", "image-id-twice", "annotation-twice"),
        stops="10 is the id of 0.jpg and of 1.jpg",
        mended=2,
    ),
    export(
        *(via_null_categories, VIA, ".", "category-entry", "annotation-entry", "no-annotations"),
        stops="category None, field 'id'",
        mended=None,
    ),
    export(via_208, "via_export_coco.json", ".", "annotation-form", "category-repeated"),
    export(labelme, "annotations.json", ".", "class-empty"),
    export(labelme2coco, "dataset.json", "."),
    export(
        *(labelme2coco_absolute, "dataset.json", ".", "path-elsewhere", "no-images"),
        stops=r"'photos/0\.jpg' is a file there",
    ),
)
