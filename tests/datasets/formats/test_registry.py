"""A folder is recognised by what it holds."""

from __future__ import annotations

import pytest

from mrcnn.datasets.class_folders import is_class_folders
from mrcnn.datasets.formats.registry import FORMATS, is_annotated, open_source, subsets_of
from tests.datasets.formats import test_cvat as cvat
from tests.datasets.formats import test_instance_images as instances
from tests.datasets.formats import test_label_studio as studio
from tests.datasets.formats import test_labelme as labelme
from tests.datasets.formats import test_mask_folders as folders
from tests.datasets.formats import test_supervisely as supervisely
from tests.datasets.formats import test_via as via
from tests.datasets.formats import test_voc as voc
from tests.datasets.formats import test_yolo as yolo
from tests.datasets.formats.support import box_mask, load, picture, write_json

WRITERS = {
    "labelme": lambda f: labelme.write(f, "a", [labelme.shape("cat", labelme.SQUARE)]),
    "via": lambda f: via.write(f, [via.region(via.POLYGON)]),
    "voc": voc.write,
    "yolo": lambda f: yolo.write(f, yolo.SQUARE),
    "cvat": lambda f: cvat.write(f, cvat.image(cvat.SQUARE.format(more=""))),
    "labelstudio": lambda f: studio.write(
        f, studio.task(studio.result("polygonlabels", {"points": studio.SQUARE}))
    ),
    "supervisely": lambda f: supervisely.write(
        f, [supervisely.shape("cat", "rectangle", supervisely.SQUARE[::2])]
    ),
    "masks": lambda f: folders.write(f, "a", [("", box_mask(*folders.BOXES[0]))]),
    "instances": instances.write,
}


@pytest.mark.parametrize("name", WRITERS)
def test_each_format_is_recognised_and_nothing_else(tmp_path, name):
    WRITERS[name](tmp_path / "a_data_set")
    source = open_source(tmp_path / "a_data_set")
    assert source is not None and source.NAME == name
    (items,) = subsets_of(source).values()
    assert len(items) == 1 and load(tmp_path / "a_data_set").load_mask(0)[0].any()
    assert is_annotated(tmp_path / "a_data_set") and not is_class_folders(tmp_path / "a_data_set")


def test_every_format_is_tried():
    assert {reader.NAME for reader in FORMATS} == set(WRITERS)


def test_several_formats_are_named(tmp_path):
    WRITERS["labelme"](tmp_path)
    WRITERS["via"](tmp_path)
    with pytest.raises(ValueError, match=r"labelme \(a\.json\) and VGG Image Annotator \(via_"):
        load(tmp_path)
    assert len(load(tmp_path / "via_region_data.json").image_ids) == 1


def test_folders_of_classes_and_other_things_are_none(tmp_path):
    for name in ("cat", "dog"):
        picture(tmp_path / "sorted" / name / "a.jpg")
    write_json(tmp_path / "sorted" / "notes.json", {"shapes": "round"})
    (tmp_path / "sorted" / "settings.yaml").write_text("names: [a\n")
    (tmp_path / "sorted" / "page.xml").write_text("<html/>")
    assert not is_annotated(tmp_path / "sorted") and is_class_folders(tmp_path / "sorted")


def test_hidden_files_are_left_alone(tmp_path):
    WRITERS["labelme"](tmp_path)
    labelme.write(tmp_path / ".trash", "b", [labelme.shape("dog", labelme.SQUARE)])
    labelme.write(tmp_path / "__MACOSX", "c", [labelme.shape("dog", labelme.SQUARE)])
    assert load(tmp_path).class_names == ["BG", "cat"]
