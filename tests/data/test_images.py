"""Reading images and bilinear resizing: against fixtures, scikit-image and a plain loop."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mrcnn.data.images import read_image, resize, resize_bilinear

property_test = settings(max_examples=40, deadline=None)


@pytest.fixture(scope="module")
def vectors(fixtures):
    return np.load(fixtures / "util_vectors.npz")


def resize_by_loop(image, height, width, cval=0.0):
    """Bilinear, half-pixel centers, `cval` outside: one pixel at a time, in float64."""
    rows, columns = image.shape

    def at(y, x):
        return float(image[y, x]) if 0 <= y < rows and 0 <= x < columns else cval

    out = np.empty((height, width))
    for i in range(height):
        for j in range(width):
            y = (i + 0.5) * rows / height - 0.5
            x = (j + 0.5) * columns / width - 0.5
            y0, x0 = math.floor(y), math.floor(x)
            top = at(y0, x0) * (1 - x + x0) + at(y0, x0 + 1) * (x - x0)
            bottom = at(y0 + 1, x0) * (1 - x + x0) + at(y0 + 1, x0 + 1) * (x - x0)
            out[i, j] = top * (1 - y + y0) + bottom * (y - y0)
    return out


class TestResize:
    def test_fixture(self, vectors):
        for name in ("resize_float_out", "resize_float_out_up"):
            resized = resize(vectors["unmold_in"], vectors[name].shape)
            np.testing.assert_allclose(resized, vectors[name], atol=1e-6)
            assert resized.dtype == np.float32

    @property_test
    @given(
        size=st.tuples(*[st.integers(1, 12)] * 4),
        cval=st.sampled_from([0.0, 0.25, -3.0]),
        seed=st.integers(0, 2**16),
    )
    def test_matches_the_loop(self, size, cval, seed):
        image = np.random.default_rng(seed).random(size[:2])
        expected = resize_by_loop(image, size[2], size[3], cval)
        resized = resize(image, size[2:], cval=cval, clip=False)
        np.testing.assert_allclose(resized, expected, atol=1e-12)
        clipped = resize(image, size[2:], cval=cval, clip=True)
        if not image.min() <= cval <= image.max():
            expected = np.clip(expected, image.min(), image.max())
        np.testing.assert_allclose(clipped, expected, atol=1e-12)

    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32, np.float64])
    @pytest.mark.parametrize("preserve_range", [False, True])
    @pytest.mark.parametrize("target", [(40, 33), (7, 9), (13, 17), (200, 5)])
    def test_matches_scikit_image(self, dtype, preserve_range, target):
        transform = pytest.importorskip("skimage.transform")
        rng = np.random.default_rng(1)
        image = (rng.random((13, 17, 3)) * 200 + 20).astype(dtype)  # no zero: clipping matters
        expected = transform.resize(
            image, target, order=1, mode="constant", anti_aliasing=False, clip=True,
            preserve_range=preserve_range,
        )  # fmt: skip
        resized = resize(image, target, preserve_range=preserve_range)
        assert resized.shape == expected.shape
        np.testing.assert_allclose(resized, expected, rtol=3e-6)

    @pytest.mark.parametrize(
        "settings_",
        [
            {"order": 0},
            {"order": 3},
            {"mode": "edge"},
            {"anti_aliasing": True},
            {"anti_aliasing": None, "preserve_range": True},
            {"output_shape": (5, 6, 2)},
        ],
    )
    def test_other_settings_are_scikit_images(self, settings_):
        transform = pytest.importorskip("skimage.transform")
        image = np.random.default_rng(2).integers(0, 256, (10, 12, 3), np.uint8)
        arguments = {"output_shape": (5, 6), "mode": "constant", "anti_aliasing": False}
        arguments |= settings_
        np.testing.assert_array_equal(
            resize(image, **arguments), transform.resize(image, **arguments)
        )

    def test_bool_counts_as_zero_and_one(self):
        mask = np.array([[False, True]])
        np.testing.assert_allclose(resize(mask, (1, 4)), [[0, 0.25, 0.75, 0.75]])

    def test_same_size_changes_nothing(self):
        image = np.random.default_rng(3).random((9, 8, 2)).astype(np.float32)
        np.testing.assert_array_equal(resize(image, (9, 8)), image)

    @property_test
    @given(level=st.integers(0, 255), size=st.tuples(st.integers(1, 50), st.integers(1, 50)))
    def test_flat_images_stay_flat_when_truncated(self, level, size):
        out = np.empty((*size, 3), np.uint8)
        resize_bilinear(np.full((13, 11, 3), level, np.uint8), out)
        assert (out == level).all()

    def test_writes_into_a_view(self):
        canvas = np.full((8, 9, 1), 7, np.uint8)
        resize_bilinear(np.full((2, 2, 1), 50, np.uint8), canvas[2:6, 3:5])
        assert (canvas[2:6, 3:5] == 50).all()
        canvas[2:6, 3:5] = 7
        assert (canvas == 7).all()

    @pytest.mark.parametrize("size", [(900, 40), (40, 900), (901, 903)])
    def test_shrinking_far_leaves_lines_out(self, size):
        image = np.random.default_rng(5).random((*size, 1))
        expected = resize_by_loop(image[..., 0], 7, 9)
        np.testing.assert_allclose(resize(image, (7, 9))[..., 0], expected, atol=1e-12)

    def test_strided_input(self):
        image = np.random.default_rng(4).random((20, 30, 4))
        view = image[::2, ::-3, 1:3]
        np.testing.assert_array_equal(resize(view, (7, 21)), resize(view.copy(), (7, 21)))

    @pytest.mark.parametrize(("shape", "target"), [((0, 5), (3, 3)), ((5, 5), (3, 0))])
    def test_no_pixels_are_refused(self, shape, target):
        with pytest.raises(ValueError, match="at least 1"):
            resize(np.zeros(shape), target)


class TestReadImage:
    def save(self, folder, array_or_image, name="image.png", **options):
        image = array_or_image
        if isinstance(image, np.ndarray):
            image = Image.fromarray(image)
        image.save(folder / name, **options)
        return folder / name

    def test_rgb_as_stored(self, tmp_path):
        pixels = np.random.default_rng(0).integers(0, 256, (5, 4, 3), np.uint8)
        read = read_image(self.save(tmp_path, pixels))
        np.testing.assert_array_equal(read, pixels)
        assert read.flags.writeable
        np.testing.assert_array_equal(read_image(str(tmp_path / "image.png")), pixels)

    def test_grey_becomes_three_equal_channels(self, tmp_path):
        grey = np.arange(20, dtype=np.uint8).reshape(4, 5)
        read = read_image(self.save(tmp_path, grey))
        np.testing.assert_array_equal(read, np.stack([grey] * 3, axis=-1))

    def test_black_and_white(self, tmp_path):
        read = read_image(self.save(tmp_path, Image.fromarray(np.eye(3, dtype=bool))))
        np.testing.assert_array_equal(read[..., 1], np.eye(3) * 255)

    def test_alpha_is_dropped_not_blended(self, tmp_path):
        pixels = np.random.default_rng(1).integers(0, 256, (5, 4, 4), np.uint8)
        np.testing.assert_array_equal(read_image(self.save(tmp_path, pixels)), pixels[..., :3])
        grey_alpha = Image.fromarray(pixels[..., :2].copy())
        read = read_image(self.save(tmp_path, grey_alpha, "la.png"))
        np.testing.assert_array_equal(read, np.repeat(pixels[..., :1], 3, axis=-1))

    def test_palette_becomes_its_colors(self, tmp_path):
        palette = Image.fromarray(np.array([[0, 1], [2, 0]], np.uint8)).convert("P")
        palette.putpalette([255, 0, 0, 0, 255, 0, 9, 8, 7])
        read = read_image(self.save(tmp_path, palette, transparency=1))
        assert read.tolist() == [[[255, 0, 0], [0, 255, 0]], [[9, 8, 7], [255, 0, 0]]]

    def test_sixteen_bits_keep_the_upper_eight(self, tmp_path):
        deep = np.array([[0, 255, 256], [0x1234, 0xFF00, 0xFFFF]], np.uint16)
        for name in ("deep.png", "deep.tif"):
            read = read_image(self.save(tmp_path, deep, name))
            assert read.dtype == np.uint8
            np.testing.assert_array_equal(read, np.stack([deep >> 8] * 3, axis=-1))

    def test_orientation_is_ignored(self, tmp_path):
        exif = Image.Exif()
        exif[0x0112] = 6  # turned by a quarter
        path = self.save(tmp_path, np.zeros((4, 9, 3), np.uint8), "turned.jpg", exif=exif)
        assert read_image(path).shape == (4, 9, 3)

    def test_missing_file_is_named(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="nowhere.jpg"):
            read_image(tmp_path / "nowhere.jpg")

    def test_text_file_is_named(self, tmp_path):
        (tmp_path / "notes.jpg").write_text("no image")
        with pytest.raises(ValueError, match=r"notes\.jpg: cannot be read as an image"):
            read_image(tmp_path / "notes.jpg")

    def test_truncated_file_is_named(self, tmp_path):
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
        path = self.save(tmp_path, noise)
        path.write_bytes(path.read_bytes()[:2000])
        with pytest.raises(ValueError, match=r"image\.png: cannot be read"):
            read_image(path)

    def test_values_of_unknown_range_are_refused(self, tmp_path):
        path = self.save(tmp_path, np.full((3, 3), 0.5, np.float32), "float.tif")
        with pytest.raises(ValueError, match=r"float\.tif.*floating-point"):
            read_image(path)
        path = self.save(tmp_path, np.full((3, 3), 70_000, np.int32), "wide.tif")
        with pytest.raises(ValueError, match=r"wide\.tif.*16 bits"):
            read_image(path)
