"""YOLO's text files are read with their yaml, as Ultralytics and exports write both."""

from __future__ import annotations

import numpy as np
import pytest

from tests.datasets.formats.support import HEIGHT, WIDTH, box_mask, load, masks_of, picture

SQUARE = "0 0.1 0.1 0.5 0.1 0.5 0.5 0.1 0.5"
MASK = box_mask(6, 4, 30, 20)
YAML = """path: ../datasets/pets # root
train: images/train
val: images/val
test: ~

names:
  0: cat
  1: dog
"""
ROBOFLOW = """train: ../train/images
val: ../valid/images
test: ../test/images

nc: 2
names: ['cat', 'dog']
"""


def write(folder, text, yaml=YAML, place="{kind}/train/a", name="a"):
    picture(folder / (place.format(kind="images") + ".jpg"))
    label = folder / (place.format(kind="labels") + ".txt")
    label.parent.mkdir(parents=True, exist_ok=True)
    label.write_text(text)
    if yaml:
        (folder / "data.yaml").write_text(yaml)


def test_the_layout_of_ultralytics(tmp_path, capsys):
    write(tmp_path, f"{SQUARE}\n\n1 0.5 0.5 1 0.5 1 1\n")
    write(tmp_path, SQUARE, place="{kind}/val/b")
    picture(tmp_path / "images" / "train" / "empty.jpg")
    dataset = load(tmp_path)
    assert dataset.class_names == ["BG", "cat", "dog"] == load(tmp_path, "val").class_names
    assert len(dataset.image_ids) == 2 and len(load(tmp_path, "val").image_ids) == 1
    assert np.array_equal(masks_of(dataset, "a.jpg")["cat"][0], MASK)
    assert masks_of(dataset, "empty.jpg") == {}
    assert "1 images without a text file, which have no object" in capsys.readouterr().out


def test_the_layout_of_roboflow_whose_paths_lead_one_folder_too_high(tmp_path):
    write(tmp_path, SQUARE, ROBOFLOW, "train/{kind}/a")
    write(tmp_path, SQUARE, ROBOFLOW, "valid/{kind}/b")
    assert len(load(tmp_path).image_ids) == len(load(tmp_path, "val").image_ids) == 1
    assert np.array_equal(masks_of(load(tmp_path / "data.yaml", "val"), "b.jpg")["cat"][0], MASK)


def test_lists_of_images_and_label_studios_flat_export(tmp_path):
    write(tmp_path, SQUARE, "train: train.txt\nnames: [cat]\n")
    picture(tmp_path / "images" / "train" / "unused.jpg")
    (tmp_path / "train.txt").write_text("./images/train/a.jpg\n")
    assert len(load(tmp_path).image_ids) == 1
    flat = tmp_path / "flat"
    write(flat, SQUARE, None, "{kind}/a")
    (flat / "classes.txt").write_text("cat\ndog\n")
    assert load(flat).class_names == ["BG", "cat", "dog"]


def test_boxes_have_no_mask(tmp_path):
    write(tmp_path, "1 0.5 0.5 0.25 0.5\n")
    with pytest.raises(ValueError, match=r"labels/train/a\.txt, line 1.*--box-only"):
        load(tmp_path)
    dataset = load(tmp_path, box_only=True)
    assert dataset.annotations(0)[0]["bbox"] == [22.5, 10.0, 15.0, 20.0]
    assert dataset.load_box_only(0).tolist() == [True]


@pytest.mark.parametrize(
    "line", ["0 0.1 0.1 0.5 0.1 0.5", "0 0.1 0.1 0.5 0.1 0.5 x", "0 1 2 100 7 3 9"]
)
def test_bad_lines_are_named_and_can_be_skipped(tmp_path, line):
    write(tmp_path, f"{SQUARE}\n{line}\n")
    with pytest.raises(ValueError, match=r"labels/train/a\.txt, line 2"):
        load(tmp_path)
    assert len(load(tmp_path, skip_invalid=True).annotations(0)) == 1


@pytest.mark.parametrize(
    ("text", "yaml", "message"),
    [
        (
            "2 0.1 0.1 0.5 0.1 0.5 0.5",
            YAML,
            r"a\.txt, line 1: expected the number of a class, from 0 to 1",
        ),
        ("cat 0.1 0.1 0.5 0.1 0.5 0.5", YAML, r"a\.txt, line 1: .*received 'cat'"),
        (SQUARE, None, r"expected the names of the classes"),
        (
            SQUARE,
            YAML.replace("1: dog", "2: dog"),
            r"data\.yaml, key 'names': expected the numbers 0 to 1",
        ),
        (SQUARE, YAML.replace("dog", "cat"), r"'names': expected a name for each class, each once"),
        (
            SQUARE,
            "train: images/none\nnames: [cat]\n",
            r"data\.yaml: expected images in the folders",
        ),
        (SQUARE, "train: /etc\nnames: [cat]\n", r"data\.yaml: expected images in the folders"),
        (SQUARE, "train: ../../..\nnames: [cat]\n", r"data\.yaml: expected images in the folders"),
    ],
)
def test_bad_files_are_named(tmp_path, text, yaml, message):
    write(tmp_path, text, yaml)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        load(tmp_path)


def test_a_list_may_not_lead_out(tmp_path):
    picture(tmp_path / "secret.jpg")
    folder = tmp_path / "data"
    write(folder, SQUARE, "train: train.txt\nnames: [cat]\n")
    (folder / "train.txt").write_text("../secret.jpg\n")
    with pytest.raises(FileNotFoundError, match=r"train\.txt, line 1.*secret"):
        load(folder)


def test_sizes_are_those_of_the_pictures(tmp_path):
    write(tmp_path, SQUARE)
    assert load(tmp_path).load_image(0).shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize(
    "names",
    [
        "names: [cat, 'no', \"dog # 1\"]",
        "names: {0: cat, 1: no, 2: 'dog # 1'}",
        "names:\n- cat\n- no # two\n- 'dog # 1'",
        "names: [\n  cat,\n  no,\n  'dog # 1',\n]",
    ],
)
def test_names_in_any_form_of_yaml(tmp_path, names):
    write(tmp_path, SQUARE, f"train: images/train\n{names}\n")
    assert load(tmp_path).class_names == ["BG", "cat", "no", "dog # 1"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("names: [a", r"data\.yaml: expected YAML"),
        ("names: &x [*x]", r"data\.yaml: expected YAML; expected no references"),
        ("names: {0: {x: 1}}", r"data\.yaml, 'names': expected a name for each class"),
        ("names: [" + "[" * 5000, r"data\.yaml: expected YAML"),
        ("names: cat", r"data\.yaml, key 'names': expected a list of names"),
        ("names: [cat]\npad: " + "x" * (1 << 20), r"data\.yaml: expected YAML of at most"),
    ],
)
def test_other_yaml_is_refused(tmp_path, names, message):
    write(tmp_path, SQUARE, f"train: images/train\n{names}\n")
    with pytest.raises(ValueError, match=message):
        load(tmp_path)


def test_a_tag_of_python_is_a_mere_list(tmp_path):
    write(tmp_path, SQUARE, "train: images/train\nnames: !!python/object/apply:os.abort [cat]\n")
    assert load(tmp_path).class_names == ["BG", "cat"]


def test_the_export_of_cvat_with_a_list_of_paths_of_its_own(tmp_path):
    write(tmp_path, SQUARE, "path: ./\ntrain: train.txt\nnames:\n  0: cat\n")
    (tmp_path / "train.txt").write_text("data/images/train/a.jpg\n")
    assert len(load(tmp_path).image_ids) == 1
