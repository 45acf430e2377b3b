"""Ways to damage a data set: one at least for each kind that the doctor knows."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.doctor.sound import HEIGHT, SIDE, WIDTH, Data, noise, rle, sound, square


@dataclass(frozen=True)
class Case:
    """A damage, and what the doctor has to say.

    Attributes:
        damage: changes the data, before it is written.
        message: a part of the message of the first kind.
        kinds: all kinds that are to be found; the first is the case's own.
        settings: of the configuration.
        box_only: option of the check and the training.
        after: changes the written json files.
        quick: whether the quick check finds the first kind too.
    """

    damage: Callable[[Data], Any]
    message: str
    kinds: tuple[str, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    box_only: bool = False
    after: Callable[[Data], Any] = lambda data: None
    quick: bool = True


CASES: dict[str, Case] = {}


def case(
    *kinds: str, message: str, quick: bool = True, **options: Any
) -> Callable[[Callable[[Data], Any]], Callable[[Data], Any]]:
    def add(damage: Callable[[Data], Any]) -> Callable[[Data], Any]:
        name = damage.__name__.replace("_", "-")
        assert name not in CASES
        CASES[name] = Case(damage, message, kinds, quick=quick, **options)
        return damage

    return add


# --- The json file -------------------------------------------------------------------------


def _cut_json(data: Data) -> None:
    file = data.folder / "annotations" / "instances_train.json"
    file.write_bytes(file.read_bytes()[:-30])


@case("json-unreadable", message="subset: expected a COCO json file", after=_cut_json)
def json_cut_off(data: Data) -> None: ...


@case("json-unreadable", message="instances_train.json: subset: expected a COCO json file")
def json_without_categories(data: Data) -> None:
    del data.train["categories"]


@case("folder-missing", "no-images", message="received no such folder")
def folder_missing(data: Data) -> None:
    shutil.rmtree(data.folder / "train")


@case("no-images", "images-unlisted", message="'images': expected at least one image")
def no_images(data: Data) -> None:
    data.train["images"], data.train["annotations"] = [], []


@case("no-annotations", message="expected at least one object")
def no_annotations(data: Data) -> None:
    data.train["annotations"] = []


@case("val-no-annotations", message="expected at least one object to validate on")
def no_annotations_to_validate_on(data: Data) -> None:
    data.val["annotations"] = []


@case("category-entry", message="category 9: expected an 'id', a whole number or text, and")
def category_without_name(data: Data) -> None:
    data.train["categories"].append({"id": 9})
    data.val["categories"].append({"id": 9})


@case("category-entry", message="category 8.5: expected an 'id', a whole number or text, and")
def category_id_of_a_fraction(data: Data) -> None:
    for content in data.content.values():
        content["categories"].append({"id": 8.5, "name": "date"})


@case("category-id-twice", message="category 7, field 'id': expected each category id once; "
      "received it for 'walnut' and 'nut'")  # fmt: skip
def category_id_twice(data: Data) -> None:
    data.train["categories"].insert(0, {"id": 7, "name": "walnut"})


@case("category-name-twice", "class-rare", message="category 8, field 'name': expected a name of "
      "its own; received 'nut', as 7 has")  # fmt: skip
def category_name_twice(data: Data) -> None:
    for content in data.content.values():
        content["categories"].append({"id": 8, "name": "nut"})
        content["annotations"][0]["category_id"] = 8


@case("category-placeholder", "class-empty", message="category 0, field 'name'")
def category_of_roboflow(data: Data) -> None:
    for content in data.content.values():
        content["categories"].insert(0, {"id": 0, "name": "nut", "supercategory": "none"})


@case("category-nameless", message="category 7, field 'name'")
def category_named_as_the_background(data: Data) -> None:
    for content in data.content.values():
        content["categories"][0]["name"] = "BG"


@case("category-form", message="category 7: expected 'id' in COCO's form; received a number")
def category_id_as_text(data: Data) -> None:
    data.train["categories"][0]["id"] = "7"


# --- Entries of images -----------------------------------------------------------------------


@case("image-entry", "class-rare", message="image 0: expected 'id', 'file_name', and a whole")
def image_without_height(data: Data) -> None:
    del data.train["images"][0]["height"]


@case("image-entry", "class-rare", message="'width': 0")
def image_of_no_width(data: Data) -> None:
    data.train["images"][0]["width"] = 0


@case("image-entry", message="received 'a.png'")
def image_that_is_a_text(data: Data) -> None:
    data.train["images"].append("a.png")


@case("image-form", message="image 0: expected 'height' in COCO's form; received a whole number")
def image_height_as_float(data: Data) -> None:
    data.train["images"][0]["height"] = 48.0


@case("image-id-twice", "image-unannotated", message="received it for '0.png' and '1.png'")
def image_id_twice(data: Data) -> None:
    data.save(noise(2), "2.png")
    data.train["images"].append({**data.train["images"][0], "id": 2, "file_name": "2.png"})
    data.train["images"][1]["id"] = 0
    for annotation in data.train["annotations"][10:]:
        annotation["image_id"] = 0
        annotation["segmentation"] = [[x + 1 for x in annotation["segmentation"][0]]]
        annotation["bbox"] = [annotation["bbox"][0] + 1, annotation["bbox"][1] + 1, SIDE, SIDE]


@case("image-file-twice", "image-unannotated", message="image 5, field 'file_name'")
def image_file_twice(data: Data) -> None:
    data.train["images"].append({**data.train["images"][0], "id": 5})


@case("path-outside", "class-rare", message="image 0, field 'file_name': expected a path inside")
def path_outside(data: Data) -> None:
    data.image().rename(data.folder / "0.png")
    data.train["images"][0]["file_name"] = "../0.png"


@case("image-missing", "class-rare", message="image 0, field 'file_name': expected the file")
def image_missing(data: Data) -> None:
    data.image().unlink()


@case("path-backslash", "class-rare", message="image 0, field 'file_name': expected 'a/0.png'")
def path_of_windows(data: Data) -> None:
    (data.folder / "train" / "a").mkdir()
    data.image().rename(data.image("a/0.png"))
    data.train["images"][0]["file_name"] = "a\\0.png"


@case("path-outside", "class-rare", message="image 0, field 'file_name': expected a path inside")
def path_of_windows_outside(data: Data) -> None:
    data.image().rename(data.folder / "0.png")
    data.train["images"][0]["file_name"] = "..\\0.png"


@case("path-link", "class-rare", message="'0.png', which leads by a link to")
def path_by_a_link(data: Data) -> None:
    data.image().rename(data.folder / "0.png")
    data.image().symlink_to(data.folder / "0.png")


@case("path-elsewhere", "class-rare", message="expected a path inside the image folder, perhaps")
def path_of_another_machine(data: Data) -> None:
    data.train["images"][0]["file_name"] = "C:\\photos\\0.png"


@case("category-repeated", message="category 7: expected each category once; received 'nut' 2")
def categories_for_each_image(data: Data) -> None:
    data.train["categories"] *= 2


@case("images-unlisted", message="received 1 files without one, such as extra.png")
def images_unlisted(data: Data) -> None:
    data.save(noise(7), "extra.png")


@case("image-unannotated", message="image 1, field 'annotations'")
def image_unannotated(data: Data) -> None:
    data.train["annotations"] = [square(0, 0, id) for id in range(1, 21)]
    for id, annotation in enumerate(data.train["annotations"]):
        annotation["category_id"] = 3 if id % 2 else 7
        annotation["segmentation"] = [[v + id / 100 for v in annotation["segmentation"][0]]]


# --- Entries of annotations --------------------------------------------------------------------


@case("annotation-entry", "class-rare", message="annotation 1: expected 'id', 'image_id' and")
def annotation_without_category(data: Data) -> None:
    del data.object()["category_id"]


@case("annotation-entry", message="annotation: expected 'id', 'image_id' and 'category_id'")
def annotation_without_id(data: Data) -> None:
    del data.object()["id"]


@case("annotation-id-twice", message="annotation 2, field 'id'")
def annotation_id_twice(data: Data) -> None:
    data.object(5)["id"] = 2


@case("annotation-twice", message="annotation 50: expected each object once; received the "
      "object of 1 again")  # fmt: skip
def annotation_twice(data: Data) -> None:
    data.train["annotations"].append({**data.object(), "id": 50})


@case("image-unknown", "class-rare", message="annotation 1, field 'image_id'")
def image_unknown(data: Data) -> None:
    data.object()["image_id"] = 77


@case("category-unknown", "class-rare", message="annotation 1, field 'category_id'")
def category_unknown(data: Data) -> None:
    data.object()["category_id"] = 1


@case("crowd-flag", "class-rare", message="annotation 1, field 'iscrowd': expected 0 or 1; "
      "received 'x'")  # fmt: skip
def crowd_flag_of_a_text(data: Data) -> None:
    data.object()["iscrowd"] = "x"


@case("annotation-form", message="annotation 1: expected 'iscrowd' in COCO's form; received a "
      "number written as text, '0'")  # fmt: skip
def crowd_flag_as_text(data: Data) -> None:
    data.object()["iscrowd"] = "0"


@case("crowd", "class-rare", message="annotation 1, field 'iscrowd': expected 0, an object")
def crowd(data: Data) -> None:
    data.object()["iscrowd"] = 1


@case("only-crowds", "crowd", message="expected at least one ordinary object; received 20 crowds")
def only_crowds(data: Data) -> None:
    for annotation in data.train["annotations"]:
        annotation["iscrowd"] = 1


@case("class-only-crowds", "crowd", "class-empty", "class-validation-only", message="category 3")
def class_of_crowds_only(data: Data) -> None:
    for annotation in data.train["annotations"]:
        annotation["iscrowd"] = int(annotation["category_id"] == 3)


@case("val-only-crowds", "crowd", message="object to validate on; received 10 crowds")
def validation_of_crowds_only(data: Data) -> None:
    for annotation in data.val["annotations"]:
        annotation["iscrowd"] = 1


@case("val-class-only-crowds", "crowd", message="category 3: expected at least one ordinary object")
def validation_has_a_class_of_crowds_only(data: Data) -> None:
    for annotation in data.val["annotations"]:
        annotation["iscrowd"] = int(annotation["category_id"] == 3)


# --- Image files -----------------------------------------------------------------------------


@case("file-unreadable", message="0.png: image 0: expected an image file")
def file_is_a_text(data: Data) -> None:
    data.image().write_text("<html>404</html>")


@case("file-unreadable", message="0.png: image 0: expected an image file")
def file_empty(data: Data) -> None:
    data.image().write_bytes(b"")


@case("file-broken", message="0.png: image 0: expected a complete file", quick=False)
def png_truncated(data: Data) -> None:
    content = data.image().read_bytes()
    data.image().write_bytes(content[: len(content) // 2])


@case("file-broken", "file-format", message="truncated", quick=False)
def jpeg_truncated(data: Data) -> None:
    data.save(noise(0), format="JPEG", quality=95)
    content = data.image().read_bytes()
    data.image().write_bytes(content[: len(content) // 2])


@case("file-floats", message="received floating-point values")
def floats(data: Data) -> None:
    data.image().unlink()
    data.train["images"][0]["file_name"] = "0.tif"
    data.save(Image.fromarray(np.random.rand(HEIGHT, WIDTH).astype(np.float32)), "0.tif")


@case("size-wrong", message="image 0, field 'width, height': expected 48 x 72 pixels")
def size_wrong(data: Data) -> None:
    data.train["images"][0]["width"] = 72


@case("size-wrong", message="received 96 x 128 pixels")
def size_of_a_thumbnail(data: Data) -> None:
    data.save(noise(0).resize((2 * WIDTH, 2 * HEIGHT)))


@case("size-unused", "image-unannotated", message="image 3, field 'width, height'")
def size_unused(data: Data) -> None:
    data.save(noise(3), "3.png")
    data.train["images"].append({"id": 3, "file_name": "3.png", "height": 10, "width": 10})


@case("size-rotated", message="the EXIF orientation 6")
def size_rotated(data: Data) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data.save(noise(0, WIDTH, HEIGHT), exif=exif)


@case("exif-orientation", message="received the EXIF orientation 3 (upside down)")
def exif_upside_down(data: Data) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    data.save(noise(0), exif=exif)


@case("file-format", message="expected a file of the format PNG; received JPEG")
def jpeg_named_png(data: Data) -> None:
    data.save(noise(0), format="JPEG", quality=95)


@case("bits-16", "grey", message="received 16 bits, values from 0 to 4095")
def grey_of_12_bits(data: Data) -> None:
    values = np.linspace(0, 4095, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH).astype(np.uint16)
    data.save(Image.fromarray(values))


@case("palette", message="received a palette")
def palette(data: Data) -> None:
    data.save(noise(0).quantize(16))


@case("grey", message="expected three channels; received one")
def grey(data: Data) -> None:
    data.save(noise(0).convert("L"))


@case("alpha", message="received an opaque one", quick=False)
def alpha_opaque(data: Data) -> None:
    data.save(noise(0).convert("RGBA"))


@case("transparent", message="received 50.0% transparent ones", quick=False)
def alpha_transparent(data: Data) -> None:
    picture = noise(0)
    alpha = np.full((HEIGHT, WIDTH), 255, np.uint8)
    alpha[: HEIGHT // 2] = 0
    picture.putalpha(Image.fromarray(alpha))
    data.save(picture)


@case("transparent", "palette", message="transparent ones", quick=False)
def palette_with_a_transparent_color(data: Data) -> None:
    data.save(noise(0).quantize(16), transparency=0)


@case("color-space", "file-format", message="expected RGB; received CMYK")
def cmyk(data: Data) -> None:
    data.save(noise(0).convert("CMYK"), format="JPEG")


@case("frames", "palette", message="expected one picture; received 2")
def animation(data: Data) -> None:
    data.image().unlink()
    data.train["images"][0]["file_name"] = "0.gif"
    data.save(noise(0), "0.gif", save_all=True, append_images=[noise(1)])


@case("blank", message="received one color, (9, 9, 9)", quick=False)
def blank(data: Data) -> None:
    data.save(Image.new("RGB", (WIDTH, HEIGHT), (9, 9, 9)))


# --- Segmentations and boxes -----------------------------------------------------------------


@case("segmentation-missing", message="annotation 1, field 'segmentation'")
def segmentation_missing(data: Data) -> None:
    del data.object()["segmentation"]


@case("segmentation-missing", message="received none")
def segmentation_empty(data: Data) -> None:
    data.object()["segmentation"] = []


@case("box-only", message="received a box only", box_only=True)
def box_only(data: Data) -> None:
    del data.object()["segmentation"]


@case("box-only-malformed", message="received [2, 2, 0, 12]", box_only=True)
def box_only_of_no_width(data: Data) -> None:
    del data.object()["segmentation"]
    data.object()["bbox"] = [2, 2, 0, 12]


@case("segmentation-malformed", "class-rare", message="received 'circle'")
def segmentation_is_a_text(data: Data) -> None:
    data.object()["segmentation"] = "circle"


@case("annotation-form", message="a flat list for one polygon, [2, 2, 14, 2, 14, 14")
def polygon_not_in_a_list(data: Data) -> None:
    data.object()["segmentation"] = [2, 2, 14, 2, 14, 14, 2, 14]


@case("polygon-points", message="annotation 1, field 'segmentation': expected at least 3 points")
def polygon_of_two_points(data: Data) -> None:
    data.object()["segmentation"] = [[2, 2, 14, 14]]


@case("polygon-points", message="received a polygon of 7 numbers")
def polygon_of_odd_length(data: Data) -> None:
    data.object()["segmentation"][0].pop()


@case("polygon-coordinates", message="received nan")
def polygon_of_nan(data: Data) -> None:
    data.object()["segmentation"][0][0] = float("nan")


@case("polygon-coordinates", message="received a point 4936 pixels outside")
def polygon_far_outside(data: Data) -> None:
    data.object()["segmentation"][0][2] = 5000


@case("polygon-coordinates", message="received None")
def polygon_with_null(data: Data) -> None:
    data.object()["segmentation"][0][2] = None


@case("polygon-outside", message="points up to 10.0 pixels outside")
def polygon_outside(data: Data) -> None:
    data.object(3)["segmentation"] = [[50, 2, 74, 2, 74, 14, 50, 14]]
    data.object(3)["bbox"] = [50, 2, 14, 12]


@case("mask-empty", "polygon-outside", message="annotation 4, field 'segmentation'", quick=False)
def polygon_all_outside(data: Data) -> None:
    data.object(3)["segmentation"] = [[70, 2, 80, 2, 80, 14, 70, 14]]


@case("polygon-crossing", message="received a crossing near x 8.0, y 8.0", quick=False)
def polygon_crossing(data: Data) -> None:
    data.object()["segmentation"] = [[2, 2, 14, 14, 14, 2, 2, 14]]
    data.object()["area"] = SIDE * SIDE / 2


@case("polygon-no-area", "mask-empty", message="annotation 1, field 'segmentation'")
def polygon_without_area(data: Data) -> None:
    data.object()["segmentation"] = [[5, 5, 5, 5, 5, 5]]


@case("rle-size", message="expected the size [48, 64]; received [64, 48]")
def rle_size(data: Data) -> None:
    mask = np.zeros((WIDTH, HEIGHT))
    mask[2:14, 2:14] = 1
    data.object()["segmentation"] = rle(mask)


@case("crowd-rle-size", "crowd", "class-rare", message="annotation 1, field 'segmentation'")
def crowd_rle_size(data: Data) -> None:
    rle_size(data)
    data.object()["iscrowd"] = 1


@case("rle-counts", message="received the sum 100")
def rle_counts(data: Data) -> None:
    data.object()["segmentation"] = {"size": [HEIGHT, WIDTH], "counts": [90, 10]}


@case("rle-counts", message="received a broken text")
def rle_broken(data: Data) -> None:
    data.object()["segmentation"] = {"size": [HEIGHT, WIDTH], "counts": "\x7f~~"}


@case("mask-empty", message="annotation 1, field 'segmentation'", quick=False)
def mask_empty(data: Data) -> None:
    data.object()["segmentation"] = {"size": [HEIGHT, WIDTH], "counts": [HEIGHT * WIDTH]}


@case("area-malformed", message="annotation 1, field 'area': expected a number of pixels")
def area_that_is_none(data: Data) -> None:
    data.object()["area"] = float("nan")


@case("box-malformed", message="annotation 1, field 'bbox'")
def box_of_negative_width(data: Data) -> None:
    data.object()["bbox"] = [14, 2, -12, 12]


@case("box-corners", message="expected [x, y, width, height], [18, 2, 12, 12]; received "
      "[18, 2, 30, 14], which are", quick=False)  # fmt: skip
def box_as_corners(data: Data) -> None:
    data.object(1)["bbox"] = [18, 2, 30, 14]


@case("box-disagrees", message="expected the mask's box, [2, 2, 12, 12]; received [2, 2, 20, 12]",
      quick=False)  # fmt: skip
def box_disagrees(data: Data) -> None:
    data.object()["bbox"] = [2, 2, 20, 12]


@case("area-disagrees", message="expected the mask's 144 pixels; received 7", quick=False)
def area_disagrees(data: Data) -> None:
    data.object()["area"] = 7


# --- Sizes -----------------------------------------------------------------------------------


@case("too-many-objects", message="expected at most MAX_GT_INSTANCES = 5; received 10 objects",
      settings={"MAX_GT_INSTANCES": 5})  # fmt: skip
def too_many_objects(data: Data) -> None: ...


def _large(data: Data) -> None:
    data.save(noise(0, 40 * HEIGHT, 40 * WIDTH))
    data.train["images"][0] |= {"height": 40 * HEIGHT, "width": 40 * WIDTH}
    for annotation in data.train["annotations"][:10]:
        annotation["segmentation"] = [[40 * v for v in annotation["segmentation"][0]]]
        annotation["bbox"] = [40 * v for v in annotation["bbox"]]
        annotation["area"] *= 40 * 40


@case("object-vanishes", message="annotation 1, field 'segmentation': expected a pixel",
      quick=False)  # fmt: skip
def object_vanishes(data: Data) -> None:
    _large(data)
    data.object()["segmentation"] = [[2, 2, 14, 2, 14, 14, 2, 14]]
    data.object().update(bbox=[2, 2, 12, 12], area=144)


@case("image-too-large", message="expected at most 64 x 64 after the resize; received 48 x 80",
      settings={"IMAGE_RESIZE_MODE": "none"})  # fmt: skip
def image_too_large(data: Data) -> None:
    data.save(noise(0, HEIGHT, 80))
    data.train["images"][0]["width"] = 80


@case("anchors-miss", message="received 0.0% of 20 objects with it", quick=False,
      settings={"RPN_ANCHOR_SCALES": (30, 32, 34, 36, 48)})  # fmt: skip
def anchors_miss(data: Data) -> None: ...


# --- Classes and splits ------------------------------------------------------------------------


@case("class-empty", message="category 8: expected objects of 'date'; received none")
def class_empty(data: Data) -> None:
    for content in data.content.values():
        content["categories"].append({"id": 8, "name": "date"})


@case("class-rare", message="category 3: expected at least 10 objects of 'fig'; received 9")
def class_rare(data: Data) -> None:
    del data.train["annotations"][1]


@case("class-imbalance", "class-rare", message="received 149 times: 149 'nut', 1 'fig'",
      settings={"MAX_GT_INSTANCES": 200})  # fmt: skip
def class_imbalance(data: Data) -> None:
    data.train["annotations"] = [
        {**square(0, i % 2, i + 1), "category_id": 3 if i == 0 else 7} for i in range(150)
    ]
    for i, annotation in enumerate(data.train["annotations"]):
        annotation["segmentation"] = [[v + i / 100 for v in annotation["segmentation"][0]]]


@case("class-validation-only", "class-empty", message="category 8: expected objects of 'date' in")
def class_in_validation_only(data: Data) -> None:
    class_empty(data)
    data.val["annotations"][0]["category_id"] = 8


@case("classes-count", message="expected 2 classes, as train has; received 3")
def validation_has_another_class(data: Data) -> None:
    data.val["categories"].append({"id": 8, "name": "date"})


@case("classes-differ", message="the classes of train: 'fig' at position 1; received 'date'")
def validation_names_another_class(data: Data) -> None:
    data.val["categories"][1] = {"id": 3, "name": "date"}


@case("split-leak", message="val/0.png: image 100: expected a picture that is not in train")
def leak(data: Data) -> None:
    shutil.copy(data.image(), data.folder / "val" / "0.png")


@case("split-leak", message="received the pixels of its image 0", quick=False)
def leak_in_another_format(data: Data) -> None:
    noise(0).save(data.folder / "val" / "0.bmp")
    data.val["images"][0]["file_name"] = "0.bmp"
    (data.folder / "val" / "0.png").unlink()


@case("split-near-leak", message="one that resembles its image 0 (correlation", quick=False)
def leak_compressed_again(data: Data) -> None:
    (data.folder / "val" / "0.png").unlink()
    noise(0).save(data.folder / "val" / "0.jpg", quality=40)
    data.val["images"][0]["file_name"] = "0.jpg"


@case("picture-twice", message="1.png: image 1: expected each picture once; received the pixels "
      "of image 0", quick=False)  # fmt: skip
def picture_twice(data: Data) -> None:
    shutil.copy(data.image(), data.image("1.png"))


def damaged(name: str, folder: Path) -> Data:
    """Write a damaged data set."""
    data = sound(folder)
    chosen = CASES[name]
    chosen.damage(data)
    data.write()
    chosen.after(data)
    return data
