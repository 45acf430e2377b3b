"""labelme's files are read as labelme draws them, and what is lost is said."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from mrcnn.commands import cli
from mrcnn.datasets.layouts import find_split
from tests.datasets.formats.support import (
    HEIGHT,
    WIDTH,
    box_mask,
    ellipse_mask,
    iou,
    load,
    masks_of,
    picture,
    write_json,
)

SQUARE = [[2, 3], [12, 3], [12, 9], [2, 9]]


def png(mask: np.ndarray) -> str:
    data = io.BytesIO()
    Image.fromarray(mask).save(data, "PNG")
    return base64.b64encode(data.getvalue()).decode()


def shape(label, points, shape_type="polygon", group_id=None, **more):
    return {
        "label": label,
        "points": points,
        "group_id": group_id,
        "description": "",
        "shape_type": shape_type,
        "flags": {},
        "mask": None,
        **more,
    }


def write(folder, name="a", shapes=(), **more):
    picture(folder / f"{name}.jpg")
    content = {
        "version": "5.5.0",
        "flags": {},
        "shapes": list(shapes),
        "imagePath": f"{name}.jpg",
        "imageData": None,
        "imageHeight": HEIGHT,
        "imageWidth": WIDTH,
    }
    return write_json(folder / f"{name}.json", {**content, **more})


def test_every_shape_is_read_as_it_is_drawn(tmp_path, capsys):
    inner = np.zeros((5, 8), bool)
    inner[1:, 2:] = True
    write(
        tmp_path,
        shapes=[
            shape("polygon", SQUARE),
            shape("rectangle", [[12, 9], [2, 3]], "rectangle"),
            shape("circle", [[30, 20], [36, 28]], "circle"),
            shape("turned", [[20, 10], [30, 20], [20, 30], [10, 20]], "oriented_rectangle"),
            shape("mask", [[40, 10], [47, 14]], "mask", mask=png(inner)),
            shape("line", [[1, 1], [5, 5]], "linestrip"),
            shape("line", [[1, 1]], "point"),
            shape("__ignore__", SQUARE),
        ],
    )
    dataset = load(tmp_path)
    assert dataset.class_names == ["BG", "circle", "mask", "polygon", "rectangle", "turned"]
    found = masks_of(dataset, "a.jpg")
    assert np.array_equal(found["polygon"][0], box_mask(2, 3, 12, 9))
    assert np.array_equal(found["rectangle"][0], box_mask(2, 3, 12, 9))
    assert iou(found["circle"][0], ellipse_mask(30, 20, 10, 10)) > 0.95
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    assert iou(found["turned"][0], abs(x - 20) + abs(y - 20) <= 10) > 0.9
    expected = np.zeros((HEIGHT, WIDTH), bool)
    expected[10:15, 40:48] = inner
    assert np.array_equal(found["mask"][0], expected)
    said = capsys.readouterr().out
    for text in (
        "train: labelme, 1 images with 5 objects",
        "1 circles taken as polygons",
        "1 rectangles taken as masks",
        "1 turned rectangles taken as polygons",
        "1 linestrip shapes left out, which have no area",
        "1 point shapes left out",
        "1 shapes labelled __ignore__ left out",
    ):
        assert text in said


def test_a_group_is_one_object_of_several_parts(tmp_path, capsys):
    other = [[30, 3], [40, 3], [40, 9], [30, 9]]
    write(
        tmp_path,
        shapes=[
            shape("cat", SQUARE, group_id=1),
            shape("cat", other, group_id=1),
            shape("dog", SQUARE, group_id=1),
            shape("cat", SQUARE, group_id=2),
            shape("cat", [[30, 20], [34, 20]], "circle", group_id=2),
        ],
    )
    found = masks_of(load(tmp_path), "a.jpg")
    assert len(found["cat"]) == 2 and len(found["dog"]) == 1
    assert np.array_equal(found["cat"][0], box_mask(2, 3, 12, 9) | box_mask(30, 3, 40, 9))
    said = capsys.readouterr().out
    assert "2 objects of several parts" in said and "2 shapes joined by their group_id" in said


def test_folders_of_subsets_share_their_classes(tmp_path):
    write(tmp_path / "train", "a", [shape("b", SQUARE)])
    write(tmp_path / "train", "c", [shape("z", SQUARE)])
    write(tmp_path / "val", "a", [shape("a", SQUARE)])
    train, val = load(tmp_path), load(tmp_path, "val")
    assert train.class_names == val.class_names == ["BG", "a", "b", "z"]
    assert len(train.image_ids) == 2 and len(val.image_ids) == 1
    assert train.image_info[0]["path"] == str(tmp_path / "train" / "a.jpg")


def test_without_subsets_all_is_to_train_on(tmp_path):
    write(tmp_path, "test_01", [shape("cat", SQUARE)])  # a name of a file tells no subset
    picture(tmp_path / "unlabelled.jpg")
    assert len(load(tmp_path).image_ids) == 1
    with pytest.raises(FileNotFoundError, match=r"train \(1\).*--split 0\.8.*--val-subset \"\""):
        load(tmp_path, "val")


def test_the_check_goes_through_it_and_mends_it(tmp_path, capsys):
    write(tmp_path / "data", "a", [shape("cat", SQUARE)])
    write(tmp_path / "data", "b", [shape("cat", SQUARE), shape("cat", [[1, 1], [2, 2]])])
    command = ["check", str(tmp_path / "data"), "--val-subset", ""]
    assert cli.main(command) == 1
    assert "b.json, shape 1" in capsys.readouterr().out
    assert cli.main([*command, "--fix", str(tmp_path / "mended")]) == 1
    mended = load(tmp_path / "mended")
    assert len(mended.image_ids) == 2 and len(mended.annotations(1)) == 1


def test_bad_shapes_are_named_and_can_be_skipped(tmp_path):
    write(
        tmp_path,
        shapes=[
            shape("cat", SQUARE),
            shape("cat", [[1, 1], ["x", 2], [3, 3]]),
            shape("cat", [[1, 1], [1e300, 2], [3, 3]]),
            shape("cat", [[1, 1]], "circle"),
            shape("cat", [[1, 1], [5, 5]], "mask", mask="no base64!"),
            shape("cat", [[1, 1], [5, 5]], "mask", mask=png(np.ones((3, 3), bool))[:40]),
            shape("cat", [[1, 1], [5, 5]], "spline"),
            shape("cat", None),
        ],
    )
    with pytest.raises(ValueError, match=r"a\.json, shape 1.*segmentation"):
        load(tmp_path)
    dataset = load(tmp_path, skip_invalid=True)
    assert len(dataset.annotations(0)) == 1
    assert sum(dataset.left_out.values()) == 7


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"imagePath": "../../secret.jpg"}, "expected the image '../../secret.jpg'"),
        ({"imagePath": "/etc/passwd"}, "expected the image '/etc/passwd'"),
        ({"imagePath": ""}, "field 'imagePath': expected the name"),
        ({"imagePath": "b.jpg", "imageData": "abcd"}, "inside the json"),
        ({"imageHeight": "tall"}, "expected the image's size"),
        ({"imageHeight": 10**9}, "expected the image's size"),
        ({"shapes": [{"points": SQUARE}]}, "shape 0, field 'label'"),
        ({"shapes": [{"label": "a\nb", "points": SQUARE}]}, "shape 0, field 'label'"),
        ({"shapes": ["cat"]}, "shape 0, field 'label'"),
    ],
)
def test_bad_files_are_named(tmp_path, change, message):
    folder = tmp_path / "data"
    write(folder, "a", **{"shapes": [shape("cat", SQUARE)], **change})
    picture(tmp_path / "secret.jpg")
    if "imagePath" in change:
        (folder / "a.jpg").rename(folder / "z.jpg")
    with pytest.raises((ValueError, FileNotFoundError), match=message) as error:
        load(folder)
    assert "a.json" in str(error.value)


def test_a_file_that_is_cut_off_is_named(tmp_path):
    file = write(tmp_path, "a", [shape("cat", SQUARE)])
    file.write_text(file.read_text()[:-9])
    with pytest.raises(ValueError, match=r"a\.json: expected a json file of labelme"):
        load(tmp_path)


def test_a_renamed_image_is_found_beside_its_json(tmp_path):
    write(tmp_path, "a", [shape("cat", SQUARE)], imagePath="C:\\photos\\IMG_1.JPG")
    assert load(tmp_path).image_info[0]["path"].endswith("a.jpg")


def test_two_jsons_of_one_image_are_refused(tmp_path):
    write(tmp_path, "a", [shape("cat", SQUARE)])
    write(tmp_path, "b", [shape("cat", SQUARE)], imagePath="a.jpg")
    with pytest.raises(ValueError, match=r"b\.json: expected one file for each image"):
        load(tmp_path)


def test_a_picture_on_its_side_is_turned_as_labelme_shows_it(tmp_path):
    write(tmp_path, "a", [shape("cat", SQUARE)])
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(tmp_path / "a.jpg", height=WIDTH, width=HEIGHT, exif=exif)
    dataset = load(tmp_path)
    assert dataset.load_image(0).shape[:2] == (HEIGHT, WIDTH)


def test_annotations_that_changed_are_read_again(tmp_path):
    write(tmp_path, "a", [shape("cat", SQUARE)])
    assert len(load(tmp_path).annotations(0)) == 1
    write(tmp_path, "a", [shape("cat", SQUARE), shape("cat", SQUARE)])
    assert len(load(tmp_path).annotations(0)) == 2


def test_a_link_out_of_the_folder_is_not_followed(tmp_path):
    write(tmp_path / "elsewhere", "a", [shape("cat", SQUARE)])
    folder = tmp_path / "data"
    write(folder, "b", [shape("cat", SQUARE)], imagePath="a.jpg")
    (folder / "b.jpg").unlink()
    (folder / "a.jpg").symlink_to(tmp_path / "elsewhere" / "a.jpg")
    with pytest.raises(FileNotFoundError, match=r"b\.json"):
        load(folder)


def test_cocos_json_comes_first(tmp_path):
    write(tmp_path, "a", [shape("cat", SQUARE)])
    image = {"id": 1, "file_name": "a.jpg", "height": HEIGHT, "width": WIDTH}
    write_json(tmp_path / "coco.json", {"images": [image], "annotations": [], "categories": []})
    assert find_split(tmp_path, "train").annotations == tmp_path / "coco.json"
