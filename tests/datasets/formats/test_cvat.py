"""CVAT's xml is read as CVAT writes it, and no xml can do harm."""

from __future__ import annotations

import numpy as np
import pytest

from tests.datasets.formats.support import (
    HEIGHT,
    WIDTH,
    box_mask,
    ellipse_mask,
    iou,
    load,
    masks_of,
    picture,
)

LABELS = "".join(f"<label><name>{n}</name><type>any</type></label>" for n in ("tree", "cat", "dog"))
POINTS = "2.00,3.00;12.00,3.00;12.00,9.00;2.00,9.00"
SQUARE = (
    f'<polygon label="cat" source="manual" occluded="0" points="{POINTS}" z_order="0"{{more}}>'
    '<attribute name="a">b</attribute></polygon>'
)


def image(shapes: str, name="a.jpg", subset="") -> str:
    subset = f' subset="{subset}"' if subset else ""
    return f'<image id="0" name="{name}"{subset} width="{WIDTH}" height="{HEIGHT}">{shapes}</image>'


def write(folder, *images: str, pictures=("images/a.jpg",), head=""):
    for name in pictures:
        picture(folder / name)
    folder.mkdir(exist_ok=True, parents=True)
    (folder / "annotations.xml").write_text(
        f'<?xml version="1.0" encoding="utf-8"?>{head}\n<annotations><version>1.1</version>'
        f"<meta><task><labels>{LABELS}</labels></task></meta>{''.join(images)}</annotations>"
    )


def test_every_shape_is_read_as_cvat_draws_it(tmp_path, capsys):
    mask = np.zeros((4, 6), bool)
    mask[1, 2:] = mask[2] = True
    flat = mask.ravel()
    runs = np.diff(np.flatnonzero(np.diff(np.r_[0, flat, 2])), prepend=0)  # along the rows
    assert runs.tolist() == [8, 10, 6]
    shapes = [
        SQUARE.format(more=""),
        '<box label="dog" occluded="0" xtl="10" ytl="10" xbr="30" ybr="20"></box>',
        '<box label="dog" occluded="0" xtl="10" ytl="10" xbr="30" ybr="20" rotation="90"></box>',
        '<ellipse label="dog" cx="30.0" cy="20.0" rx="12.0" ry="5.0" rotation="30"></ellipse>',
        '<mask label="dog" rle="8, 10, 6" left="40" top="10" width="6" height="4"></mask>',
        '<polyline label="tree" points="1,1;5,5"></polyline>',
        '<points label="tree" points="1,1"></points>',
        '<tag label="tree"></tag>',
    ]
    write(tmp_path, image("".join(shapes)))
    dataset = load(tmp_path)
    assert dataset.class_names == ["BG", "cat", "dog"]  # in the order of the labels
    found = masks_of(dataset, "a.jpg")
    assert np.array_equal(found["cat"][0], box_mask(2, 3, 12, 9))
    box, turned, ellipse, painted = found["dog"]
    assert np.array_equal(box, box_mask(10, 10, 30, 20))
    assert np.array_equal(turned, box_mask(15, 5, 25, 25))
    assert iou(ellipse, ellipse_mask(30, 20, 12, 5, 30)) > 0.93
    expected = np.zeros((HEIGHT, WIDTH), bool)
    expected[10:14, 40:46] = mask
    assert np.array_equal(painted, expected)
    said = capsys.readouterr().out
    for text in (
        "1 polyline shapes left out",
        "1 points shapes",
        "1 tag shapes",
        "1 ellipses taken",
    ):
        assert text in said
    assert "2 rectangles taken as masks" in said and "1 turned rectangles" in said


def test_groups_subsets_and_pictures_of_a_project(tmp_path):
    grouped = SQUARE.format(more=' group_id="3"')
    other = '<polygon label="cat" points="20,20;25,20;25,25;20,25" group_id="3"></polygon>'
    write(
        tmp_path,
        image(grouped + other, "x/a.jpg", "Train"),
        image(SQUARE.format(more=""), "b.jpg", "Validation"),
        pictures=("images/Train/x/a.jpg", "images/Validation/b.jpg"),
    )
    train, val = load(tmp_path), load(tmp_path, "val")
    (cat,) = masks_of(train, "a.jpg")["cat"]
    assert np.array_equal(cat, box_mask(2, 3, 12, 9) | box_mask(20, 20, 25, 25))
    assert len(val.image_ids) == 1 and val.image_info[0]["path"].endswith("Validation/b.jpg")


def test_the_file_itself_may_be_given(tmp_path):
    write(tmp_path, image(SQUARE.format(more="")))
    assert len(load(tmp_path / "annotations.xml").image_ids) == 1


@pytest.mark.parametrize(
    "shape",
    [
        '<polygon label="cat" points="2,3;x,9;4,4"></polygon>',
        '<polygon label="cat"></polygon>',
        '<box label="cat" xtl="1" ytl="2" xbr="3"></box>',
        '<ellipse label="cat" cx="nan" cy="2" rx="3" ry="4"></ellipse>',
        '<mask label="cat" rle="8, 10, 7" left="1" top="1" width="6" height="4"></mask>',
        '<mask label="cat" rle="8, -10, 26" left="1" top="1" width="6" height="4"></mask>',
        '<mask label="cat" rle="1" left="1" top="1" width="9999999" height="99999999"></mask>',
        '<mask label="cat" rle="9999999999999999999" left="1" top="1" width="6" height="4"></mask>',
    ],
)
def test_bad_shapes_are_named_and_can_be_skipped(tmp_path, shape):
    write(tmp_path, image(SQUARE.format(more="") + shape))
    with pytest.raises(ValueError, match=r"annotations\.xml, image images/a\.jpg, \w+ 1"):
        load(tmp_path)
    assert len(load(tmp_path, skip_invalid=True).annotations(0)) == 1


@pytest.mark.parametrize(
    ("images", "head", "message"),
    [
        ("<image id='0' name='a.jpg' width='60'/>", "", "expected 'name', 'width' and 'height'"),
        (image('<polygon points="1,1;2,2;3,3"/>'), "", "expected a 'label'"),
        ("<track id='0' label='cat'></track>", "", "CVAT for images 1.1'"),
        (image(SQUARE.format(more="")) * 2, "", "expected each image once"),
        (image("<polygon"), "", "annotations.xml: expected annotations of CVAT"),
        (image("&lol;"), '<!DOCTYPE a [<!ENTITY lol "haha">]>', "without a document type"),
        (image("&x;"), '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>', "document type"),
        (image("<a>" * 60 + "</a>" * 60), "", "nested too deeply"),
    ],
)
def test_bad_files_are_named(tmp_path, images, head, message):
    write(tmp_path, images, head=head)
    with pytest.raises(ValueError, match=message) as error:
        load(tmp_path)
    assert "annotations.xml" in str(error.value)


def test_an_encoding_that_is_none_is_refused(tmp_path):
    write(tmp_path, image(SQUARE.format(more="")))
    file = tmp_path / "annotations.xml"
    file.write_text(file.read_text().replace("utf-8", "ut1-8"))
    with pytest.raises(ValueError, match=r"annotations\.xml.*unknown encoding"):
        load(tmp_path)


def test_billion_laughs_are_refused_at_once(tmp_path):
    levels = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 10))
    write(tmp_path, image("&l9;"), head=f'<!DOCTYPE a [<!ENTITY l0 "ha">{levels}]>')
    with pytest.raises(ValueError, match="document type"):
        load(tmp_path)


def test_a_picture_that_is_not_there_is_named(tmp_path):
    write(tmp_path, image(SQUARE.format(more=""), "../../etc/passwd"), pictures=())
    with pytest.raises((FileNotFoundError, ValueError), match="passwd"):
        load(tmp_path)


def test_a_box_in_a_group_with_a_mask_is_its_bounding_box(tmp_path, capsys):
    """As Datumaro exports the instances of a COCO json; its files are named after subsets."""
    group = ' group_id="3"'
    box = f'<box label="cat" xtl="0" ytl="0" xbr="30" ybr="30"{group}></box>'
    write(tmp_path, image(SQUARE.format(more=group) + box))
    (tmp_path / "annotations.xml").rename(tmp_path / "val.xml")
    write(tmp_path, image(box, "b.jpg"), pictures=["images/b.jpg"])
    (tmp_path / "annotations.xml").rename(tmp_path / "train.xml")
    assert np.array_equal(masks_of(load(tmp_path, "val"), "a.jpg")["cat"][0], box_mask(2, 3, 12, 9))
    assert "1 boxes left out that have a mask in their group" in capsys.readouterr().out
    assert np.array_equal(masks_of(load(tmp_path), "b.jpg")["cat"][0], box_mask(0, 0, 30, 30))


def test_an_outline_without_end_is_refused(tmp_path):
    points = ";".join(f"{x},{y}" for x, y in [(0, 0), (119, 79)] * 20_000)
    shape = f'<polygon label="cat" points="{points}"></polygon>'
    write(tmp_path, image(SQUARE.format(more="") + shape))
    with pytest.raises(ValueError, match=r"polygon 1.*outlines of at most"):
        load(tmp_path, skip_invalid=False).load_mask(0)
    assert len(load(tmp_path, skip_invalid=True).annotations(0)) == 1
