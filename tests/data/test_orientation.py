"""Photographs on their side: turned where their annotations are, and only there."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from PIL import Image

from mrcnn.config import Config
from mrcnn.data.cache import make_cache
from mrcnn.data.dataset import Dataset
from mrcnn.data.images import read_image
from mrcnn.data.orientation import exif_orientation, load_image
from mrcnn.data.sample import load_sample
from mrcnn.data.shape_groups import group_shapes
from mrcnn.files.image_file import orientation_of, width_and_height

HEIGHT, WIDTH = 48, 64
STORED = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
# What a viewer shows of the stored pixels, by the definition of the EXIF orientations.
SHOWN = {
    1: STORED,
    2: STORED[:, ::-1],
    3: STORED[::-1, ::-1],
    4: STORED[::-1],
    5: STORED.transpose(1, 0, 2),
    6: np.rot90(STORED, -1),
    7: STORED[::-1, ::-1].transpose(1, 0, 2),
    8: np.rot90(STORED),
}


class Photographs(Dataset):
    """One photograph; its object covers the top left quarter of what the annotator saw."""

    def load_mask(self, image_id):
        info = self.image_info[image_id]
        mask = np.zeros((info["height"], info["width"], 1), bool)
        mask[: info["height"] // 2, : info["width"] // 2] = True
        return mask, np.ones(1, np.int32)


def photograph(folder, orientation, **info):
    path = folder / f"{orientation}.png"
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(STORED).save(path, exif=exif)
    dataset = Photographs()
    dataset.add_class("x", 1, "thing")
    dataset.add_image("x", 0, str(path), **info)
    dataset.prepare()
    return dataset


def config(setting="auto", **settings):
    values = {"NAME": "x", "NUM_CLASSES": 2, "EXIF_ORIENTATION": setting, **settings}
    values = {"IMAGE_MIN_DIM": 64, "IMAGE_MAX_DIM": 64, **values}
    return type("Some", (Config,), values)()


@pytest.mark.parametrize("orientation", SHOWN)
def test_apply_turns_every_orientation_and_ignore_none(tmp_path, orientation):
    dataset = photograph(tmp_path, orientation)
    shown = SHOWN[orientation]
    np.testing.assert_array_equal(load_image(dataset, 0, config("apply")), shown)
    np.testing.assert_array_equal(load_image(dataset, 0, config("ignore")), STORED)
    path = dataset.image_info[0]["path"]
    np.testing.assert_array_equal(read_image(path, upright=True), shown)
    np.testing.assert_array_equal(read_image(path), STORED)
    assert width_and_height(path, upright=True) == (shown.shape[1], shown.shape[0])
    assert width_and_height(path) == (WIDTH, HEIGHT)


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_auto_goes_by_the_size_that_the_data_set_states(tmp_path, orientation, caplog):
    turned = photograph(tmp_path, orientation, width=HEIGHT, height=WIDTH)
    np.testing.assert_array_equal(turned.load_image(0), SHOWN[orientation])
    stored = photograph(tmp_path, orientation, width=WIDTH, height=HEIGHT)
    np.testing.assert_array_equal(stored.load_image(0), STORED)
    assert not caplog.messages


@pytest.mark.parametrize(
    ("orientation", "info"), [(3, {"width": WIDTH, "height": HEIGHT}), (6, {}), (2, {})]
)
def test_where_auto_cannot_know_it_says_so_once(tmp_path, caplog, orientation, info):
    dataset = photograph(tmp_path, orientation, **info)
    for _ in range(3):
        np.testing.assert_array_equal(dataset.load_image(0), STORED)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert 'set EXIF_ORIENTATION = "apply"' in record.message and str(tmp_path) in record.message


def test_a_reader_can_know_what_its_tool_shows(tmp_path, caplog):
    for orientation, shown in SHOWN.items():
        dataset = photograph(tmp_path, orientation, upright=True)
        np.testing.assert_array_equal(dataset.load_image(0), shown)
        np.testing.assert_array_equal(load_image(dataset, 0, config("ignore")), STORED)
    assert not caplog.messages


def test_the_setting_holds_in_its_context_only(tmp_path):
    dataset = photograph(tmp_path, 6, width=WIDTH, height=HEIGHT)
    with exif_orientation("apply"):
        assert dataset.load_image(0).shape == (WIDTH, HEIGHT, 3)
    assert dataset.load_image(0).shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize("orientation", [1, 6, 8])
def test_a_mask_covers_its_object_in_a_sample(tmp_path, orientation):
    height, width = SHOWN[orientation].shape[:2]
    dataset = photograph(tmp_path, orientation, width=width, height=height)
    settings = config(USE_MINI_MASK=False, IMAGE_MIN_DIM=0, IMAGE_MIN_SCALE=0)
    sample = load_sample(dataset, 0, settings, np.random.default_rng(0))
    y1, x1, y2, x2 = sample.boxes[0]
    np.testing.assert_array_equal(
        sample.image[y1:y2, x1:x2], SHOWN[orientation][: height // 2, : width // 2]
    )


def test_the_groups_of_shapes_know_the_turn(tmp_path):
    dataset = photograph(tmp_path, 6)
    settings = {"IMAGE_SHAPE_GROUPS": [[64, 128], [128, 64]], "IMAGE_MAX_DIM": 128}
    stored, turned = (
        group_shapes(dataset, config(setting, **settings)) for setting in ("ignore", "apply")
    )
    assert stored == [(128, 128)] or stored != turned


@pytest.mark.parametrize("kind", ["ram", "folder"])
def test_a_cache_keeps_images_of_both_kinds_apart(tmp_path, kind):
    store = "ram" if kind == "ram" else str(tmp_path / "cache")
    for orientation, size in ((6, (HEIGHT, WIDTH)), (6, (WIDTH, HEIGHT))):
        dataset = photograph(tmp_path, orientation, width=size[0], height=size[1])
        settings = config(LOADER_CACHE=store, LOADER_CACHE_GB=1)
        cache = make_cache(settings)
        for _ in range(2):
            sample = load_sample(dataset, 0, settings, np.random.default_rng(0), cache=cache)
            assert sample.image_meta[1:3].tolist() == [size[1], size[0]]


def test_pillow_turns_tiff_files_itself(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(STORED).save(tmp_path / "x.tif", exif=exif)
    with Image.open(tmp_path / "x.tif") as image:
        assert orientation_of(image) == 1
    for upright in (True, False):
        np.testing.assert_array_equal(read_image(tmp_path / "x.tif", upright), SHOWN[6])


def test_the_setting_is_checked():
    with pytest.raises(ValueError, match="EXIF_ORIENTATION: expected one of .*'apply'.*'turn'"):
        config("turn")
