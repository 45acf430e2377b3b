"""The COCO reader: folders, selection, masks, crowds, counts and errors."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mrcnn.data.boxes import extract_bboxes
from mrcnn.datasets.coco import CocoDataset

pytestmark = pytest.mark.usefixtures("annotations_either_way")

HEIGHT, WIDTH = 20, 30
SQUARE = [[2, 3, 12, 3, 12, 9, 2, 9]]  # 10 wide, 6 high


def content(**changes) -> dict:
    """Two images with a cat (3) and a dog (9) each in some form, and one without objects."""
    base = {
        "images": [
            {"id": 11, "file_name": "a.png", "height": HEIGHT, "width": WIDTH},
            {"id": 12, "file_name": "b.png", "height": HEIGHT, "width": WIDTH},
            {"id": 13, "file_name": "c.png", "height": HEIGHT, "width": WIDTH},
        ],
        "categories": [{"id": 9, "name": "dog"}, {"id": 3, "name": "cat"}],
        "annotations": [
            {"id": 1, "image_id": 11, "category_id": 9, "iscrowd": 0, "segmentation": SQUARE},
            {
                "id": 2,
                "image_id": 11,
                "category_id": 3,
                "iscrowd": 1,
                "segmentation": {"size": [HEIGHT, WIDTH], "counts": [40, 20, 540]},
            },
            {"id": 3, "image_id": 12, "category_id": 9, "iscrowd": 0, "segmentation": SQUARE},
        ],
    }
    return {**base, **changes}


def write(folder: Path, data: dict, subset: str = "train", year: str = "2017", images=None) -> Path:
    """Write a data set in COCO's layout; returns the json file."""
    file = folder / "annotations" / f"instances_{subset}{year}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(data))
    image_dir = folder / f"{images or subset}{year}"
    image_dir.mkdir(exist_ok=True)
    for image in data["images"]:
        picture = Image.new("RGB", (image["width"], image["height"]))
        picture.save(image_dir / Path(image["file_name"]).name)
    return file


def loaded(folder: Path, *args, **kwargs) -> CocoDataset:
    dataset = CocoDataset()
    dataset.load_coco(folder, *args, **kwargs)
    dataset.prepare()
    return dataset


def test_loads_classes_images_and_masks(tmp_path):
    write(tmp_path, content())
    dataset = loaded(tmp_path, "train")
    assert dataset.class_names == ["BG", "cat", "dog"]
    assert [info["id"] for info in dataset.image_info] == [11, 12, 13]
    assert dataset.load_image(0).shape == (HEIGHT, WIDTH, 3)

    masks, class_ids = dataset.load_mask(0)
    assert masks.shape == (HEIGHT, WIDTH, 2) and masks.dtype == bool
    assert class_ids.dtype == np.int32
    assert class_ids.tolist() == [2, -1]  # the crowd of cats is negative
    assert extract_bboxes(masks).tolist() == [[3, 2, 9, 12], [0, 2, 20, 3]]
    assert dataset.annotations(0) == content()["annotations"][:2]
    assert dataset.image_info[0]["width"] == WIDTH and dataset.image_info[0]["height"] == HEIGHT


def test_image_without_objects_has_masks_of_its_size(tmp_path):
    write(tmp_path, content())
    masks, class_ids = loaded(tmp_path, "train").load_mask(2)
    assert masks.shape == (HEIGHT, WIDTH, 0) and masks.dtype == bool
    assert class_ids.shape == (0,) and class_ids.dtype == np.int32


@pytest.mark.parametrize(
    ("subset", "images"),
    [("train", "train"), ("val", "val"), ("minival", "val"), ("valminusminival", "val")],
)
def test_subsets_of_a_year_take_their_images_from_the_right_folder(tmp_path, subset, images):
    write(tmp_path, content(), subset, "2014", images)
    dataset = loaded(tmp_path, subset, year="2014")
    assert Path(dataset.image_info[0]["path"]) == tmp_path / f"{images}2014" / "a.png"


@pytest.mark.parametrize("year", ["2017", "", None])
def test_layout_without_a_year(tmp_path, year):
    write(tmp_path, content(), "val", "")
    assert len(loaded(tmp_path, "val", year=year).image_ids) == 3


def test_names_with_the_year_go_before_those_without(tmp_path):
    write(tmp_path, content(), "val", "")
    write(tmp_path, content(images=content()["images"][:2]), "val", "2017")
    assert len(loaded(tmp_path, "val").image_ids) == 2


def test_selected_classes_only(tmp_path):
    write(tmp_path, content())
    dataset = loaded(tmp_path, "train", class_ids=[3])
    assert dataset.class_names == ["BG", "cat"]
    assert [info["id"] for info in dataset.image_info] == [11]
    assert dataset.load_mask(0)[1].tolist() == [-1]
    assert dataset.left_out == {
        "annotations of classes not selected": 2,
        "images without a selected class": 2,
        "masks under one pixel": 0,
    }
    assert "2 annotations of classes not selected" in dataset.summary()


def test_class_ids_give_the_order_of_classes(tmp_path):
    write(tmp_path, content())
    assert loaded(tmp_path, "train", class_ids=[9, 3]).class_names == ["BG", "dog", "cat"]


def test_class_map_joins_categories(tmp_path):
    file = write(tmp_path, content())
    dataset = CocoDataset()
    coco = dataset.load_coco(tmp_path, "train", class_map={9: 3}, return_coco=True)
    dataset.prepare()
    assert dataset.class_names == ["BG", "cat"]
    assert dataset.load_mask(0)[1].tolist() == [1, -1]
    assert coco.dataset == json.loads(file.read_text())  # the ground truth is the file's


def test_a_split_is_loaded_prepared_and_has_its_ground_truth(tmp_path):
    file = write(tmp_path, content(), "val", "2017")
    dataset = CocoDataset.of(tmp_path, "val", "2017")
    assert dataset.class_names == ["BG", "cat", "dog"] and len(dataset.image_ids) == 3
    assert dataset.ground_truth.dataset == json.loads(file.read_text())
    copy = pickle.loads(pickle.dumps(dataset))  # as a worker process of the loader gets it
    assert copy.load_mask(0)[1].tolist() == [2, -1]
    for without in (copy, CocoDataset(), CocoDataset.of(tmp_path, "val", 2017, ground_truth=False)):
        with pytest.raises(ValueError, match=r"load it with CocoDataset\.of"):
            _ = without.ground_truth


def test_a_subclass_loads_splits_of_its_own_kind(tmp_path):
    class Cats(CocoDataset):
        pass

    write(tmp_path, content(), "val", "")
    assert isinstance(Cats.of(tmp_path, "val"), Cats)


def test_return_coco_says_nothing(tmp_path, capsys):
    write(tmp_path, content())
    coco = CocoDataset().load_coco(tmp_path, "train", return_coco=True)
    assert sorted(coco.getImgIds()) == [11, 12, 13] and coco.getCatIds() == [9, 3]
    assert capsys.readouterr().out == ""


def test_several_files_in_one_data_set(tmp_path):
    train = write(tmp_path / "pets", content())
    write(tmp_path / "pets", content(images=content()["images"][2:], annotations=[]), "val")
    plants = content(categories=[{"id": 3, "name": "fern"}, {"id": 9, "name": "moss"}])
    other = write(tmp_path / "plants", plants)
    dataset = CocoDataset()
    dataset.load_coco_json(train, tmp_path / "pets/train2017")
    dataset.load_coco(tmp_path / "pets", "val")
    dataset.load_coco_json(other, tmp_path / "plants/train2017", source="plants")
    dataset.prepare()
    assert dataset.class_names == ["BG", "cat", "dog", "fern", "moss"]
    assert len(dataset.image_ids) == 7
    assert dataset.load_mask(0)[1].tolist() == [2, -1]
    assert dataset.load_mask(4)[1].tolist() == [4, -3]
    assert dataset.image_reference(0).endswith("cocodataset.org/#explore?id=11")
    assert "cocodataset.org" not in dataset.image_reference(4)


def test_other_names_for_the_same_category_ids_are_refused(tmp_path):
    write(tmp_path / "pets", content())
    write(tmp_path / "plants", content(categories=[{"id": k, "name": "fern"} for k in (3, 9)]))
    dataset = CocoDataset()
    dataset.load_coco(tmp_path / "pets", "train")
    with pytest.raises(ValueError, match="category 3 to be 'cat'.*received 'fern'.*source"):
        dataset.load_coco(tmp_path / "plants", "train")


def test_crowd_of_another_size_covers_the_image(tmp_path):
    data = content()
    data["annotations"][1]["segmentation"] = {"size": [5, 5], "counts": [10, 5, 10]}
    write(tmp_path, data)
    masks, class_ids = loaded(tmp_path, "train").load_mask(0)
    assert masks.shape == (HEIGHT, WIDTH, 2) and masks[..., 1].all() and class_ids[1] == -1


def test_masks_under_one_pixel_are_left_out_and_counted_once(tmp_path):
    data = content()
    data["annotations"][0]["segmentation"] = [[5.1, 5.1, 5.2, 5.1, 5.2, 5.2]]
    write(tmp_path, data)
    dataset = loaded(tmp_path, "train")
    for _ in range(2):
        masks, class_ids = dataset.load_mask(0)
        assert masks.shape[2] == 1 and class_ids.tolist() == [-1]
    assert dataset.left_out["masks under one pixel"] == 1
    assert "1 masks under one pixel" in dataset.summary()


def test_rles_are_the_masks_before_decoding(tmp_path):
    write(tmp_path, content())
    rles, class_ids = loaded(tmp_path, "train").load_rles(0)
    assert [rle["size"] for rle in rles] == [[HEIGHT, WIDTH]] * 2 and class_ids.tolist() == [2, -1]


def test_matterports_names_of_the_rasterizers(tmp_path):
    annotation = content()["annotations"][0]
    mask = CocoDataset().annToMask(annotation, HEIGHT, WIDTH)
    assert mask.shape == (HEIGHT, WIDTH) and mask.sum() == 60
    assert CocoDataset().annToRLE(annotation, HEIGHT, WIDTH)["size"] == [HEIGHT, WIDTH]


def test_images_that_a_subclass_adds_go_to_the_base_class(tmp_path):
    dataset = CocoDataset()
    dataset.add_class("other", 1, "thing")
    dataset.add_image("other", "x", None)
    dataset.prepare()
    assert dataset.load_mask(0)[1].shape == (0,)
    assert dataset.image_reference(0) == ""


def test_file_names_in_subfolders(tmp_path):
    data = content()
    data["images"][0]["file_name"] = "day1/a.png"
    write(tmp_path, data)
    (tmp_path / "train2017/day1").mkdir()
    (tmp_path / "train2017/a.png").rename(tmp_path / "train2017/day1/a.png")
    assert loaded(tmp_path, "train").load_image(0).shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize("name", ["../b.png", "x/../../b.png", "/etc/passwd", "C:\\b.png", ".."])
def test_file_names_outside_the_folder_are_refused(tmp_path, name):
    data = content()
    data["images"][1]["file_name"] = name
    write(tmp_path, content())
    (tmp_path / "annotations/instances_train2017.json").write_text(json.dumps(data))
    (tmp_path / "b.png").touch()
    with pytest.raises(ValueError, match="image 12, field 'file_name': expected a path inside"):
        loaded(tmp_path, "train")


def test_missing_json_names_what_was_tried(tmp_path):
    with pytest.raises(FileNotFoundError, match="instances_val2014.json or .*instances_val.json"):
        CocoDataset().load_coco(tmp_path, "val", year=2014)
    with pytest.raises(FileNotFoundError, match="none.json"):
        CocoDataset().load_coco_json(tmp_path / "none.json", tmp_path)


def test_missing_image_folder(tmp_path):
    file = write(tmp_path, content())
    with pytest.raises(FileNotFoundError, match="nowhere: expected the folder with the images"):
        CocoDataset().load_coco_json(file, tmp_path / "nowhere")


def test_missing_image_names_the_image_and_counts(tmp_path):
    write(tmp_path, content())
    (tmp_path / "train2017/b.png").unlink()
    (tmp_path / "train2017/c.png").unlink()
    dataset = CocoDataset()
    with pytest.raises(FileNotFoundError, match="image 12: .*'b.png'.* 1 of the other 2"):
        dataset.load_coco(tmp_path, "train")
    assert dataset.image_info == []  # nothing was added before the check


@pytest.mark.parametrize("text", ["{", "[]", '{"images": [], "annotations": []}'])
def test_malformed_json(tmp_path, text):
    file = write(tmp_path, content())
    file.write_text(text)
    with pytest.raises(ValueError, match="instances_train2017.json: expected"):
        loaded(tmp_path, "train")


def broken(part: str, index: int, **fields) -> dict:
    data = content()
    data[part][index].update(fields)
    return data


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (broken("annotations", 2, image_id=99), "annotation 3, field 'image_id'.*received 99"),
        (broken("annotations", 0, category_id=5), "annotation 1, field 'category_id'.*received 5"),
        (
            broken("annotations", 0, segmentation=[[1, 1, 2, 2]]),
            "annotation 1, field 'segmen.*3 po",
        ),
        (broken("images", 1, id=11), "each image id once; 11 is the id of a.png and of b.png"),
        (broken("images", 1, height=0), "image 12, field 'height': expected a whole number"),
    ],
)
def test_errors_at_loading_name_file_id_and_field(tmp_path, data, message):
    write(tmp_path, content())
    (tmp_path / "annotations/instances_train2017.json").write_text(json.dumps(data))
    with pytest.raises(ValueError, match=message) as error:
        loaded(tmp_path, "train")
    assert "instances_train2017.json" in str(error.value)


@pytest.mark.parametrize("field", ["image_id", "category_id", "segmentation"])
def test_missing_field_of_an_annotation(tmp_path, field):
    data = content()
    del data["annotations"][1][field]
    write(tmp_path, data)
    with pytest.raises(ValueError, match=f"annotation 2: expected the field '{field}'"):
        loaded(tmp_path, "train")


@pytest.mark.parametrize("field", ["id", "file_name", "height", "width"])
def test_missing_field_of_an_image(tmp_path, field):
    write(tmp_path, content())
    data = content()
    del data["images"][1][field]
    (tmp_path / "annotations/instances_train2017.json").write_text(json.dumps(data))
    with pytest.raises(ValueError, match=f"expected the field '{field}'"):
        loaded(tmp_path, "train")


def test_run_lengths_of_another_size_are_refused_when_loaded(tmp_path):
    data = broken("annotations", 0, segmentation={"size": [5, 5], "counts": [25]})
    write(tmp_path, data)
    with pytest.raises(ValueError, match=r"annotation 1, .*\[20, 30\]; received the size \[5, 5\]"):
        loaded(tmp_path, "train").load_mask(0)


def test_unknown_class_ids_are_refused(tmp_path):
    write(tmp_path, content())
    with pytest.raises(ValueError, match=r"class_ids.*\(3, 9\); received 4"):
        loaded(tmp_path, "train", class_ids=[3, 4])


def test_reader_does_not_import_a_framework():
    code = (
        "import sys, mrcnn.datasets.coco, mrcnn.datasets.shapes, mrcnn.evaluation.coco, "
        "mrcnn.evaluation.average_precision; "
        "print({'keras', 'tensorflow', 'jax', 'torch', 'matplotlib'} & set(sys.modules))"
    )
    root = Path(__file__).resolve().parents[2]
    run = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert run.stdout.strip() == "set()", run.stderr


# Annotations whose box reaches along a spike thinner than a pixel, which no raster shows.
THIN_SPIKES = {109652, 1415025, 1996153, 2104631}


@pytest.mark.parametrize("folder", ["coco_open", "fruits_nuts", "nucleus_dsb2018"])
@pytest.mark.parametrize("subset", ["train", "val"])
def test_real_data_sets(shared, folder, subset):
    dataset = loaded(shared / "data" / folder, subset)
    for image_id in dataset.image_ids:
        info = dataset.image_info[image_id]
        masks, class_ids = dataset.load_mask(image_id)
        annotations = dataset.annotations(image_id)
        assert masks.shape == (info["height"], info["width"], len(annotations))
        for box, class_id, annotation in zip(
            extract_bboxes(masks), class_ids, annotations, strict=True
        ):
            if annotation["iscrowd"]:
                assert class_id < 0
                continue
            x, y, width, height = annotation["bbox"]
            tolerance = 4 if folder == "coco_open" and annotation["id"] in THIN_SPIKES else 2
            error = np.abs(box - [y, x, y + height, x + width]).max()
            assert error <= tolerance, (info["id"], annotation["id"], error)
    assert dataset.left_out["masks under one pixel"] == 0


# --- Boxes without masks ------------------------------------------------------------------------


def with_boxes(**changes) -> dict:
    """`content`, with the dog of image 11 as a box alone."""
    data = content()
    dog = {"id": 1, "image_id": 11, "category_id": 9, "bbox": [2.4, 3, 10, 6.2], **changes}
    return {**data, "annotations": [dog, *data["annotations"][1:]]}


@pytest.mark.parametrize("empty", [{}, {"segmentation": []}, {"segmentation": None}])
def test_a_box_without_a_mask_becomes_its_filled_box_and_is_known_as_such(tmp_path, empty):
    write(tmp_path, with_boxes(**empty))
    dataset = loaded(tmp_path, "train", box_only=True)
    dataset.prepare()
    masks, class_ids = dataset.load_mask(0)
    assert list(class_ids) == [2, -1]
    np.testing.assert_array_equal(extract_bboxes(masks)[0], [3, 2, 9, 12])
    assert masks[..., 0].sum() == 60
    assert list(dataset.load_box_only(0)) == [True, False]
    assert dataset.load_box_only(1) is None


def test_a_box_without_a_mask_needs_the_flag_and_the_error_says_so(tmp_path):
    write(tmp_path, with_boxes())
    with pytest.raises(ValueError, match=r"annotation 1: .*'segmentation'.*box_only=True"):
        loaded(tmp_path, "train")


@pytest.mark.parametrize("box", [[1, 2, 3], [1, 2, 0, 4], [1, 2, 3, float("nan")], "1 2 3 4"])
def test_a_box_that_is_none_is_refused(tmp_path, box):
    write(tmp_path, with_boxes(bbox=box))
    with pytest.raises(ValueError, match=r"annotation 1, field 'bbox': expected \[x, y, width"):
        loaded(tmp_path, "train", box_only=True)


def test_boxes_outside_the_image_are_counted_and_do_not_shift_the_others(tmp_path):
    write(tmp_path, with_boxes(bbox=[40, 3, 5, 5]))
    dataset = loaded(tmp_path, "train", box_only=True)
    dataset.prepare()
    assert list(dataset.load_mask(0)[1]) == [-1] and list(dataset.load_box_only(0)) == [False]
    assert sum(dataset.left_out.values()) == 1


# --- Other forms of the same, and what cannot be read --------------------------------------------

NESTED = [[[2, 3], [12, 3], [12, 9], [2, 9]]]


@pytest.mark.parametrize(
    ("fields", "form"),
    [
        ({"segmentation": SQUARE[0]}, "'segmentation': a flat list for one polygon"),
        ({"segmentation": NESTED}, "'segmentation': pairs [x, y] for a polygon's list"),
        ({"iscrowd": "0"}, "'iscrowd': a number written as text"),
        ({"iscrowd": None}, "'iscrowd': null for a value that is not given"),
        ({"image_id": "11"}, "'image_id': a number written as text"),
        ({"category_id": 9.0}, "'category_id': a whole number written as a float"),
        ({"area": "60"}, "'area': a number written as text"),
    ],
)
def test_other_forms_are_the_same_object_and_are_counted(tmp_path, fields, form):
    write(tmp_path, broken("annotations", 0, **fields))
    dataset = CocoDataset.of(tmp_path, "train", "2017")
    masks, class_ids = dataset.load_mask(0)
    assert class_ids.tolist() == [2, -1] and masks[3:9, 2:12, 0].all() and masks[..., 0].sum() == 60
    assert dataset.forms == {form: 1}
    assert dataset.summary().endswith(f"Read as: 1 {form}.")
    first = dataset.ground_truth.dataset["annotations"][0]  # pycocotools gets COCO's own form
    assert first["segmentation"] == SQUARE and first["image_id"] == 11 and first["category_id"] == 9


def test_nothing_is_said_of_forms_where_there_are_none(tmp_path):
    write(tmp_path, broken("annotations", 0, iscrowd=False))
    dataset = CocoDataset.of(tmp_path, "train", "2017")
    assert not dataset.forms and "Read as" not in dataset.summary()


def test_sizes_of_images_may_be_floats_or_text(tmp_path):
    file = write(tmp_path, content())
    file.write_text(json.dumps(broken("images", 0, height=float(HEIGHT), width=str(WIDTH))))
    dataset = CocoDataset.of(tmp_path, "train", "2017")
    assert dataset.load_mask(0)[0].shape == (HEIGHT, WIDTH, 2)
    assert dataset.image_info[0]["height"] == HEIGHT and sum(dataset.forms.values()) == 2


@pytest.mark.parametrize("placeholder", [[[]], [[0.0]], [0]])
def test_a_placeholder_is_no_mask(tmp_path, placeholder):
    write(tmp_path, with_boxes(segmentation=placeholder))
    dataset = CocoDataset.of(tmp_path, "train", "2017", box_only=True)
    assert list(dataset.load_box_only(0)) == [True, False]
    with pytest.raises(ValueError, match=r"annotation 1, field 'segmentation': .*--box-only"):
        loaded(tmp_path, "train")


@pytest.mark.parametrize("segmentation", [[], [[1, 1, 2, 2]], "circle"])
def test_a_mask_that_cannot_be_read_names_the_ways_on(tmp_path, segmentation):
    write(tmp_path, with_boxes(segmentation=segmentation))
    with pytest.raises(ValueError, match="annotation 1, field 'segmentation': exp") as error:
        loaded(tmp_path, "train")
    for way in ("mrcnn check DATASET --fix OUT", "--skip-invalid (skip_invalid=True)"):
        assert way in str(error.value)
    if segmentation != "circle":
        assert "--box-only (box_only=True)" in str(error.value)


INVALID = {
    "annotations without a mask": {"segmentation": []},
    "annotations with a malformed mask or box": {"segmentation": [[1, 1, 2, 2]]},
    "annotations whose field 'iscrowd' is missing or cannot be read": {"iscrowd": "x"},
    "annotations whose field 'bbox' is missing or cannot be read": {"bbox": [[1, 2, 3, 4]]},
    "annotations of unknown images": {"image_id": 99},
    "annotations of unknown categories": {"category_id": 99},
}


@pytest.mark.parametrize("kind", INVALID)
def test_invalid_annotations_are_left_out_and_counted_by_kind_on_demand(tmp_path, kind):
    write(tmp_path, broken("annotations", 0, **INVALID[kind]))
    with pytest.raises(ValueError, match=r"annotation 1.*skip_invalid=True"):
        loaded(tmp_path, "train")
    dataset = CocoDataset.of(tmp_path, "train", "2017", skip_invalid=True)
    assert dataset.load_mask(0)[1].tolist() == [-1] and len(dataset.image_ids) == 3
    assert {k: n for k, n in dataset.left_out.items() if n} == {kind: 1}
    assert f"left out: 1 {kind}" in dataset.summary()
    assert [a["id"] for a in dataset.ground_truth.dataset["annotations"]] == [2, 3]


@pytest.mark.parametrize(
    "segmentation",
    [[[2, 3, 12, 3, 12, None]], [[2, 3, 12, 3, 12, 1e6]], {"size": [5, 5], "counts": [25]}],
)
def test_masks_that_cannot_be_rasterized_are_known_when_loaded(tmp_path, segmentation):
    write(tmp_path, broken("annotations", 0, segmentation=segmentation))
    with pytest.raises(ValueError, match=r"annotation 1.*skip_invalid=True"):
        loaded(tmp_path, "train").load_mask(0)
    dataset = CocoDataset.of(tmp_path, "train", "2017", skip_invalid=True)
    assert dataset.left_out["annotations with a malformed mask or box"] == 1
    assert dataset.load_mask(0)[1].tolist() == [-1]


def test_what_is_wrong_with_other_classes_does_not_matter(tmp_path):
    write(tmp_path, broken("annotations", 0, segmentation="circle"))
    assert loaded(tmp_path, "train", class_ids=[3]).left_out["annotations of classes not selected"]


def test_names_of_windows_are_told_from_missing_files(tmp_path):
    data = broken("images", 0, file_name="day1\\a.png")
    write(tmp_path, content())
    (tmp_path / "annotations/instances_train2017.json").write_text(json.dumps(data))
    (tmp_path / "train2017/day1").mkdir()
    (tmp_path / "train2017/a.png").rename(tmp_path / "train2017/day1/a.png")
    with pytest.raises(
        FileNotFoundError, match=r"image 11, .*expected 'day1/a\.png', which exists"
    ):
        loaded(tmp_path, "train")
    (tmp_path / "train2017/day1/a.png").unlink()
    with pytest.raises(FileNotFoundError, match="it is missing"):
        loaded(tmp_path, "train")


@pytest.mark.parametrize("name", ["..\\a.png", "x\\..\\..\\a.png"])
def test_names_of_windows_that_lead_out_are_refused(tmp_path, name):
    write(tmp_path, content())
    data = broken("images", 0, file_name=name)
    (tmp_path / "annotations/instances_train2017.json").write_text(json.dumps(data))
    with pytest.raises(ValueError, match="image 11, field 'file_name': expected a path inside"):
        loaded(tmp_path, "train")


# What each of the shared cases is: its objects as (class, height, width), or what is refused.
CASES = {
    "flat_polygon": [(1, 30, 40)],
    "via_coco_export": [(1, 30, 40)],
    "nested_polygon": [(1, 30, 40)],
    "iscrowd_false": [(1, 30, 40)],
    "cvat_masks_all_crowd": [(-1, 30, 40)],
    "crossing_at_corner": [(1, 50, 70)],
    "empty_mask_in_evaluation": [(1, 30, 40)],
    "boxes_as_nested_empty": "--box-only",
    "placeholder_segmentation": "--box-only",
    "windows_names": "expected 'images/a.png', which exists",
}


@pytest.mark.parametrize("name", CASES)
def test_shared_cases(shared, name):
    expected = CASES[name]
    folder = shared / "cases" / name
    if isinstance(expected, str):
        with pytest.raises((ValueError, FileNotFoundError), match=expected):
            CocoDataset.of(folder, "train")
        return
    masks, class_ids = CocoDataset.of(folder, "train").load_mask(0)
    boxes = extract_bboxes(masks)
    sides = [(y2 - y1, x2 - x1) for y1, x1, y2, x2 in boxes.tolist()]
    assert [(c, *s) for c, s in zip(class_ids.tolist(), sides, strict=True)] == expected


def test_shared_cases_of_boxes(shared):
    cases = {"boxes_as_nested_empty": [[10, 10, 40, 50]]}
    cases["placeholder_segmentation"] = [[10, 10, 40, 50], [5, 60, 25, 80]]
    for name, boxes in cases.items():
        dataset = CocoDataset.of(shared / "cases" / name, "train", box_only=True)
        assert extract_bboxes(dataset.load_mask(0)[0]).tolist() == boxes
