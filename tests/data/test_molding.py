"""Molding: against fixtures, and undone by unmolding."""

from __future__ import annotations

import json
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrcnn.config import Config
from mrcnn.data.molding import (
    check_image,
    compose_image_meta,
    mold_image,
    mold_inputs,
    parse_image_meta,
    unmold_image,
)

DERIVED = ("BATCH_SIZE", "IMAGE_SHAPE", "IMAGE_META_SIZE")
property_test = settings(max_examples=40, deadline=None)


class SmallConfig(Config):
    NUM_CLASSES = 4
    IMAGE_MIN_DIM = 64
    IMAGE_MAX_DIM = 128


def config_of(mode="square", channels=3):
    means = [123.7, 116.8, 103.9, 60.1][:channels]
    values = {"IMAGE_RESIZE_MODE": mode, "IMAGE_CHANNEL_COUNT": channels, "MEAN_PIXEL": means}
    return type("ModeConfig", (SmallConfig,), values)()


@pytest.fixture(scope="module")
def vectors(fixtures):
    return np.load(fixtures / "util_vectors.npz")


@pytest.fixture(scope="module", params=["A", "C"])
def parity(request, parity_file):
    """(config, arrays of each image) of an inference fixture."""
    arrays = np.load(parity_file(f"{request.param}_parity.npz"))
    values = json.loads(parity_file(f"{request.param}_config.json").read_text())
    values = {name: value for name, value in values.items() if name not in DERIVED}
    config = type("ParityConfig", (Config,), values)()
    images = defaultdict(dict)
    for name in arrays.files:  # "g2_windows" is of batch 2
        image, _, name_in_batch = name.partition("_")
        images[image][name_in_batch] = arrays[name]
    return config, list(images.values())


class TestMoldImage:
    def test_fixture(self, vectors):
        molded = mold_image(vectors["mold_in"], Config())
        np.testing.assert_allclose(molded, vectors["mold_out"], rtol=1e-6, atol=1e-5)
        assert molded.dtype == np.float32
        unmolded = unmold_image(vectors["mold_out"], Config())
        np.testing.assert_array_equal(unmolded, vectors["unmold_img"])

    @pytest.mark.parametrize("channels", [1, 3, 4])
    def test_unmolding_undoes_molding_for_every_level(self, channels):
        levels = np.arange(256, dtype=np.uint8)
        images = np.stack([levels] * channels, axis=-1)[None, None]
        config = config_of(channels=channels)
        np.testing.assert_array_equal(unmold_image(mold_image(images, config), config), images)

    def test_levels_out_of_range_are_clipped(self):
        image = np.array([[[-500.0, 0.0, 500.0]]])
        assert unmold_image(image, Config()).tolist() == [[[0, 117, 255]]]


class TestImageMeta:
    def test_fixture(self, vectors):
        meta = compose_image_meta(
            7, (100, 150, 3), (128, 192, 3), (14, 0, 114, 192), 1.28, [1, 0, 1, 1]
        )
        np.testing.assert_array_equal(meta, vectors["meta"])
        for name, value in parse_image_meta(meta[None]).items():
            np.testing.assert_array_equal(value, vectors[f"meta_{name}"])
            assert value.dtype == vectors[f"meta_{name}"].dtype

    @property_test
    @given(data=st.data(), classes=st.integers(1, 9))
    def test_parsing_undoes_composing(self, data, classes):
        def integers(count, high=5000):
            return data.draw(st.lists(st.integers(0, high), min_size=count, max_size=count))

        fields = {
            "image_id": integers(1, 2**31 - 1)[0],
            "original_image_shape": integers(3),
            "image_shape": integers(3),
            "window": integers(4),
            "scale": data.draw(st.floats(0.125, 8, width=32)),
            "active_class_ids": integers(classes, 1),
        }
        meta = compose_image_meta(**fields)
        assert meta.shape == (1 + 3 + 3 + 4 + 1 + classes,)
        for name, value in parse_image_meta(np.stack([meta, meta])).items():
            np.testing.assert_array_equal(value, np.stack([fields[name]] * 2))


class TestMoldInputs:
    def test_fixture(self, parity):
        config, images = parity
        for arrays in images:
            self.compare(config, arrays)

    def compare(self, config, arrays):
        molded, metas, windows = mold_inputs([arrays["image0"]], config)
        expected = arrays["molded_images"]
        assert molded.shape == expected.shape
        assert molded.dtype == np.float32
        assert np.abs(molded - expected).max() < 1 + 1e-4  # a grey level
        assert (np.abs(molded - expected) > 0.5).mean() < 0.02
        np.testing.assert_allclose(metas, arrays["image_metas"], rtol=1e-12)
        np.testing.assert_array_equal(windows, arrays["windows"])

    def test_a_batch_is_its_images_one_by_one(self):
        rng = np.random.default_rng(0)
        images = [rng.integers(0, 256, (h, w, 3), np.uint8) for h, w in ((50, 80), (200, 30))]
        together = mold_inputs(images, config_of())
        for i, image in enumerate(images):
            for batch, single in zip(together, mold_inputs([image], config_of()), strict=True):
                np.testing.assert_array_equal(batch[i], single[0])

    @pytest.mark.parametrize("channels", [1, 4])
    def test_other_channel_counts(self, channels):
        config = config_of(channels=channels)
        molded, metas, _ = mold_inputs([np.full((64, 128, channels), 9, np.uint8)], config)
        assert molded.shape == (1, 128, 128, channels)
        assert metas.shape == (1, config.IMAGE_META_SIZE)

    def test_images_of_different_molded_shapes_are_refused(self):
        images = [np.zeros((64, width, 3), np.uint8) for width in (64, 128)]
        with pytest.raises(ValueError, match=r"images\[1\] becomes \(64, 128, 3\).*\(64, 64, 3\)"):
            mold_inputs(images, config_of("pad64"))

    def test_no_images_are_refused(self):
        with pytest.raises(ValueError, match="at least one image"):
            mold_inputs([], config_of())

    def test_the_bad_image_of_a_list_is_named(self):
        good = np.zeros((64, 64, 3), np.uint8)
        with pytest.raises(ValueError, match=r"images\[2\].*\(64, 64\)"):
            mold_inputs([good, good, good[..., 0]], config_of())


class TestCheckImage:
    @pytest.mark.parametrize(
        ("image", "channels", "error", "message"),
        [
            ("a.jpg", 3, TypeError, r"received str.*read_image"),
            ([[1, 2, 3]], 3, TypeError, "received list"),
            (np.zeros((4, 4, 3), bool), 3, TypeError, "dtype bool"),
            (np.zeros((4, 4, 3), object), 3, TypeError, "dtype object"),
            (np.zeros((4, 4)), 3, ValueError, r"np\.stack"),
            (np.zeros((4, 4, 1)), 3, ValueError, r"np\.repeat"),
            (np.zeros((4, 4, 4)), 3, ValueError, "alpha"),
            (np.zeros((4, 4)), 1, ValueError, r"image\[\.\.\., None\]"),
            (np.zeros((4, 4, 3)), 6, ValueError, r"height, width, 6.*IMAGE_CHANNEL_COUNT"),
            (np.zeros((1, 4, 4, 3)), 3, ValueError, "list of images"),
            (np.zeros((0, 4, 3)), 3, ValueError, "at least one pixel"),
        ],
    )
    def test_refuses(self, image, channels, error, message):
        with pytest.raises(error, match=rf"images\[5\].*{message}"):
            check_image(image, channels, 5)

    @pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32])
    def test_accepts_numbers(self, dtype):
        check_image(np.zeros((1, 1, 3), dtype), 3, 0)

    def test_advice_leads_to_an_accepted_image(self):
        grey = np.zeros((4, 4), np.uint8)
        check_image(np.stack([grey] * 3, axis=-1), 3, 0)
        check_image(np.repeat(grey[..., None], 3, axis=-1), 3, 0)
        check_image(np.zeros((4, 4, 4))[..., :3], 3, 0)
        check_image(grey[..., None], 1, 0)
