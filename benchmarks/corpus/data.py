"""Small synthetic data sets in the forms that the projects of the corpus read.

Every form is a function that writes into a folder; `FORMS` has them by the name that the list of
projects uses.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from skimage import io

from benchmarks.corpus import scenes

Form = Callable[..., None]


def via(
    folder: Path,
    subsets: Sequence[str] = ("train", "val"),
    file: str = "via_region_data.json",
    attributes: Mapping[str, Sequence[str]] | None = None,
    version: int = 1,
    count: int = 3,
) -> None:
    """VGG Image Annotator: SUBSET/FILE and pictures beside it.

    Args:
        folder: where the subsets are made.
        subsets: names of folders; "." for the folder itself.
        file: name of the annotations.
        attributes: of a region: its name, and its value for each class.
        version: of the tool. In 1 the regions are an object, in 2 a list.
        count: pictures of each subset.
    """
    attributes = attributes or {}
    kinds = max([1, *map(len, attributes.values())])
    for place, subset in enumerate(subsets):
        images: dict[str, Any] = {}
        for index in range(count):
            scene = scenes.draw(100 * place + index, kinds)
            name = f"picture{index}.jpg"
            write(folder / subset / name, scene.image)
            regions = [
                {
                    "shape_attributes": {
                        "name": "polygon",
                        "all_points_x": outline.x,
                        "all_points_y": outline.y,
                    },
                    "region_attributes": {
                        key: values[outline.kind] for key, values in attributes.items()
                    },
                }
                for outline in scene.outlines
            ]
            images[name + "1"] = {
                "filename": name,
                "size": 1,
                "file_attributes": {},
                "regions": regions
                if version == 2
                else {str(number): region for number, region in enumerate(regions)},
            }
        save_json(folder / subset / file, images)


def coco(
    folder: Path,
    images: str,
    annotations: str,
    categories: Mapping[str, int],
    count: int = 3,
    name: str = "{:012d}.jpg",
    fill: int = 0,
) -> None:
    """COCO: pictures in one folder and a json of their polygons.

    Args:
        folder: what `images` and `annotations` are relative to.
        images: folder of the pictures.
        annotations: the json.
        categories: id of each name.
        count: pictures.
        name: of a picture, formatted with its id.
        fill: categories altogether; those without objects have free ids and names of their own.
    """
    names = list(categories)
    free = [number for number in range(1, fill + 1) if number not in categories.values()]
    categories = {**categories, **{f"category {number}": number for number in free}}
    categories = dict(list(categories.items())[: max(fill, len(names))])
    described, objects = [], []
    for index in range(count):
        image_id = 1 + index
        scene = scenes.draw(image_id, len(names))
        write(folder / images / name.format(image_id), scene.image)
        height, width = scene.size
        described.append(
            {"id": image_id, "file_name": name.format(image_id), "height": height, "width": width}
        )
        for outline in scene.outlines:
            left, top, right, bottom = outline.box
            corners = [value for pair in zip(outline.x, outline.y, strict=True) for value in pair]
            objects.append(
                {
                    "id": len(objects) + 1,
                    "image_id": image_id,
                    "category_id": categories[names[outline.kind]],
                    "segmentation": [corners],
                    "bbox": [left, top, right - left, bottom - top],
                    "area": int(outline.mask(scene.size).sum()),
                    "iscrowd": 0,
                }
            )
    save_json(
        folder / annotations,
        {
            "info": {},
            "licenses": [],
            "images": described,
            "annotations": objects,
            "categories": [
                {"id": number, "name": label, "supercategory": ""}
                for label, number in categories.items()
            ],
        },
    )


def voc(
    folder: Path,
    numbers: Sequence[int],
    classes: Sequence[str] = ("kangaroo",),
    images: str = "images",
    annotations: str = "annots",
    name: str = "{:05d}",
) -> None:
    """Pascal VOC's boxes: a picture and an xml for each number.

    Args:
        folder: what `images` and `annotations` are relative to.
        numbers: of the pictures.
        classes: names of the objects.
        images: folder of the pictures.
        annotations: folder of the xml files.
        name: of both files, formatted with the number, without suffix.
    """
    for number in numbers:
        scene = scenes.draw(number, len(classes))
        stem = name.format(number)
        write(folder / images / f"{stem}.jpg", scene.image)
        root = ElementTree.Element("annotation")
        ElementTree.SubElement(root, "filename").text = f"{stem}.jpg"
        size = ElementTree.SubElement(root, "size")
        for key, value in zip(("width", "height", "depth"), (*scene.size[::-1], 3), strict=True):
            ElementTree.SubElement(size, key).text = str(value)
        for outline in scene.outlines:
            found = ElementTree.SubElement(root, "object")
            ElementTree.SubElement(found, "name").text = classes[outline.kind]
            for key in ("pose", "truncated", "difficult"):
                ElementTree.SubElement(found, key).text = "0"
            box = ElementTree.SubElement(found, "bndbox")
            for key, value in zip(("xmin", "ymin", "xmax", "ymax"), outline.box, strict=True):
                ElementTree.SubElement(box, key).text = str(value)
        path = folder / annotations / f"{stem}.xml"
        path.parent.mkdir(parents=True, exist_ok=True)
        ElementTree.ElementTree(root).write(path)


def mask_folders(
    folder: Path,
    ids: Sequence[str] = (),
    ids_of: Mapping[str, str] | None = None,
    count: int = 3,
    images: str = "images",
    image: str = "{}.png",
    colour: bool = False,
) -> None:
    """The 2018 Data Science Bowl's folders: ID/images/ID.png, and ID/masks/N.png per object.

    Args:
        folder: in which the folders of the pictures are made.
        ids: of the pictures.
        ids_of: "file" and "name": further ids, those of a list in a script, which the script
            insists on.
        count: further pictures, with ids of their own.
        images: folder of the picture.
        image: name of the picture, formatted with the id.
        colour: masks of three channels.
    """
    every = [*ids, *(f"extra{index}" for index in range(count))]
    if ids_of:
        every += listed(Path(ids_of["file"]), ids_of["name"])
    for seed, identity in enumerate(every):
        scene = scenes.draw(seed)
        write(folder / identity / images / image.format(identity), scene.image)
        for number, mask in enumerate(scene.visible_masks()):
            pixels = mask.astype(np.uint8) * 255
            if colour:
                pixels = np.repeat(pixels[..., None], 3, axis=2)
            write(folder / identity / "masks" / f"{number}.png", pixels)


def labelme(folder: Path, classes: Sequence[str], count: int = 3, size: Sequence[int] = ()) -> None:
    """labelme: N.jpg and N.json side by side.

    Args:
        folder: for both.
        classes: labels of the polygons.
        count: pictures.
        size: height and width, where the reader has it fixed.
    """
    for index in range(count):
        scene = scenes.draw(index, len(classes), size=(*size,) if size else scenes.SIZE)
        write(folder / f"{index}.jpg", scene.image)
        shapes = [
            {
                "label": classes[outline.kind],
                "points": [[x, y] for x, y in zip(outline.x, outline.y, strict=True)],
                "shape_type": "polygon",
                "flags": {},
            }
            for outline in scene.outlines
        ]
        height, width = scene.size
        described = {"imagePath": f"{index}.jpg", "imageHeight": height, "imageWidth": width}
        save_json(folder / f"{index}.json", {**described, "shapes": shapes})


def indexed(
    folder: Path,
    classes: Sequence[str],
    image: str,
    mask: str,
    names: str = "",
    count: int = 5,
    size: Sequence[int] = (),
) -> None:
    """A picture, an image of the numbers of its objects, and a yaml of their classes.

    Args:
        folder: what the three patterns are relative to.
        classes: of the objects.
        image: path of a picture, formatted with its number.
        mask: path of the image of numbers, likewise.
        names: path of labelme's yaml, likewise; none when it is empty.
        count: pictures.
        size: height and width, where the reader has it fixed.
    """
    for index in range(count):
        scene = scenes.draw(index, len(classes), size=(*size,) if size else scenes.SIZE)
        write(folder / image.format(index), scene.image)
        write(folder / mask.format(index), scene.instances())
        if names:
            lines = ["label_names:", "- _background_"]
            lines += [
                f"- {classes[outline.kind]}{number}"
                for number, outline in enumerate(scene.outlines, 1)
            ]
            path = folder / names.format(index)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n".join(lines) + "\n")


def rle_table(
    folder: Path,
    images: str,
    table: str,
    size: Sequence[int],
    names: Sequence[str],
    objects: int = 2,
) -> None:
    """Kaggle's csv of run lengths, one object a row, and the pictures.

    Args:
        folder: what `images` and `table` are relative to.
        images: folder of the pictures.
        table: the csv.
        size: height and width of the pictures.
        names: of the pictures.
        objects: in each picture.
    """
    rows = ["ImageId,EncodedPixels"]
    for seed, name in enumerate(names):
        scene = scenes.draw(seed, objects=objects, size=(*size,), side=min(size) // 3)
        write(folder / images / name, scene.image)
        for outline in scene.outlines:
            pixels = np.concatenate([[0], outline.mask(scene.size).T.ravel(), [0]]).astype(int)
            changes = np.flatnonzero(np.diff(pixels)) + 1  # runs count down the columns, from 1
            changes[1::2] -= changes[::2]
            rows.append(f"{name},{' '.join(map(str, changes))}")
    text(folder, table, "\n".join(rows) + "\n")


def pictures(folder: Path, names: Sequence[str], size: Sequence[int] = (), kinds: int = 3) -> None:
    """Pictures and nothing else.

    Args:
        folder: for the pictures.
        names: of the files.
        size: height and width.
        kinds: classes of objects in them.
    """
    for seed, name in enumerate(names):
        scene = scenes.draw(seed, kinds, size=(*size,) if size else scenes.SIZE)
        write(folder / name, scene.image)


def video(folder: Path, name: str, frames: int = 3) -> None:
    """A short film of one picture a frame.

    Args:
        folder: for the film.
        name: of the file; .avi.
        frames: how many.
    """
    import cv2  # only the projects that read films need it

    folder.mkdir(parents=True, exist_ok=True)
    height, width = scenes.SIZE
    codec = cv2.VideoWriter_fourcc(*"MJPG")  # type: ignore[attr-defined]
    film = cv2.VideoWriter(str(folder / name), codec, 5.0, (width, height))
    for seed in range(frames):
        film.write(scenes.draw(seed, 3).image[..., ::-1].copy())
    film.release()


def text(folder: Path, name: str, content: str) -> None:
    """A file of text.

    Args:
        folder: for the file.
        name: of the file.
        content: of the file.
    """
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def empty(folder: Path) -> None:
    """A folder that the script expects to be there.

    Args:
        folder: the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)


FORMS: dict[str, Form] = {
    "via": via,
    "coco": coco,
    "voc": voc,
    "mask_folders": mask_folders,
    "labelme": labelme,
    "indexed": indexed,
    "rle_table": rle_table,
    "pictures": pictures,
    "video": video,
    "text": text,
    "empty": empty,
}


def listed(script: Path, name: str) -> list[str]:
    """The strings of a list that is written out in a script.

    Raises:
        ValueError: the script has no such list.
    """
    for node in ast.walk(ast.parse(script.read_text())):
        if isinstance(node, ast.Assign) and any(
            isinstance(target, ast.Name) and target.id == name for target in node.targets
        ):
            return [str(value) for value in ast.literal_eval(node.value)]
    raise ValueError(f"{script}: no list {name}")


def write(path: Path, pixels: np.ndarray) -> None:
    """An image file; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    io.imsave(path, pixels, check_contrast=False)


def save_json(path: Path, content: object) -> None:
    """A json file; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
