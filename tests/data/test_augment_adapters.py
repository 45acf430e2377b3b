"""imgaug and Albumentations: image and masks move together, decided by the generator alone.

Tests of a library are skipped where it is not installed.
"""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrcnn.data import augment_adapters
from mrcnn.data.augment import ForeignTransform, HorizontalFlip, Sequential, as_transform, augment
from mrcnn.data.boxes import extract_bboxes
from mrcnn.data.dataset_checks import SampleError
from mrcnn.data.loader import Loader
from mrcnn.data.stream import SampleStream
from tests.matterport.test_generator import Squares
from tests.tiny import tiny_config

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


def scene(count=1, side=128):
    """An image that shows its first mask, 200 inside and 0 outside; masks bool [H, W, N]."""
    y, x = np.mgrid[:side, :side] * (128 / side)
    masks = np.zeros((side, side, count), bool)
    for i in range(count):
        masks[..., i] = ((y - 50 - i) / 30) ** 2 + ((x - 70 + i) / 20) ** 2 < 1
        masks[..., i] |= (y > 30) & (y < 40 + i) & (x > 60) & (x < 100)
    image = np.repeat(masks[..., :1] * np.uint8(200), 3, axis=2)
    return image, masks


def apply(augmentation, image, masks, seed):
    return augment(augmentation, image, masks, np.random.default_rng(seed))


def assert_pure(augmentation, image, masks):
    """The same generator gives the same result, in any thread; nothing that is given changes."""
    before = image.copy(), masks.copy()
    alone = [apply(augmentation, image, masks, seed) for seed in range(12)]
    with ThreadPoolExecutor(4) as pool:
        together = pool.map(lambda seed: apply(augmentation, image, masks, seed), range(12))
        for one, other in zip(alone, together, strict=True):
            for array, same in zip(one, other, strict=True):
                np.testing.assert_array_equal(array, same)
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(masks, before[1])
    assert len({moved[0].tobytes() for moved in alone}) > 1


def assert_moves_together(augmentation, most_wrong=0.015):
    image, masks = scene()
    has_moved = False
    for seed in range(6):
        moved, moved_masks = apply(augmentation, image, masks, seed)
        assert moved.shape == image.shape and moved.dtype == np.uint8
        assert moved_masks.shape == masks.shape and moved_masks.dtype == bool
        assert np.mean((moved[..., 0] >= 100) != moved_masks[..., 0]) <= most_wrong
        has_moved |= bool((moved_masks != masks).any())
    assert has_moved


# --- Without a library ------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(count=st.integers(0, 40), seed=st.integers(0, 1000))
def test_packing_masks_is_undone_by_unpacking(count, seed):
    masks = np.random.default_rng(seed).random((4, 3, count)) > 0.5
    packed = augment_adapters._pack(masks)
    assert packed.dtype == np.int32 and packed.shape[2] == -(-count // 16)
    assert packed.max(initial=0) < 2**24  # exact in float32
    np.testing.assert_array_equal(augment_adapters._unpack(packed, count), masks)


def test_what_is_of_no_library_is_not_taken_for_one():
    for thing in (HorizontalFlip(), "imgaug", object(), np.zeros(3)):
        assert augment_adapters.library_of(thing) is None


# --- imgaug -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def iaa():
    if find_spec("imgaug") is None:
        pytest.skip("imgaug is not installed")
    from imgaug import augmenters

    return augmenters


IMGAUG_MOVES = {
    "Fliplr": lambda iaa: iaa.Fliplr(0.5),
    "Flipud": lambda iaa: iaa.Flipud(0.5),
    "Affine": lambda iaa: iaa.Affine(rotate=(-40, 40), scale=(0.8, 1.2), shear=(-9, 9)),
    "Affine, edge": lambda iaa: iaa.Affine(translate_px=(-20, 20), mode="edge"),
    "ScaleX": lambda iaa: iaa.ScaleX((0.5, 1.5)),
    "TranslateX": lambda iaa: iaa.TranslateX(px=(-9, 9)),
    "Rotate": lambda iaa: iaa.Rotate((-30, 30)),
    "ShearY": lambda iaa: iaa.ShearY((-20, 20)),
    "PiecewiseAffine": lambda iaa: iaa.PiecewiseAffine(scale=0.04),
    "PerspectiveTransform": lambda iaa: iaa.PerspectiveTransform(scale=(0.01, 0.1)),
    "ElasticTransformation": lambda iaa: iaa.ElasticTransformation(alpha=(0, 40.0), sigma=5.0),
    "Rot90": lambda iaa: iaa.Rot90((0, 3)),
    "Jigsaw": lambda iaa: iaa.Jigsaw(nb_rows=4, nb_cols=4),
    "CropAndPad": lambda iaa: iaa.CropAndPad(percent=(-0.2, 0.2)),
    "Crop": lambda iaa: iaa.Crop(px=(0, 20)),
    "Pad": lambda iaa: iaa.Pad(px=(0, 20)),
    "KeepSizeByResize": lambda iaa: iaa.KeepSizeByResize(iaa.Crop(px=9, keep_size=False)),
    "WithPolarWarping": lambda iaa: iaa.WithPolarWarping(iaa.Affine(rotate=(-20, 20))),
    "Sometimes": lambda iaa: iaa.Sometimes(0.5, iaa.Affine(rotate=45)),
    "OneOf": lambda iaa: iaa.OneOf([iaa.Fliplr(1.0), iaa.Flipud(1.0)]),
    "SomeOf": lambda iaa: iaa.SomeOf((0, 2), [iaa.Fliplr(0.5), iaa.Affine(rotate=(-30, 30))]),
    "Sequential": lambda iaa: iaa.Sequential([iaa.Fliplr(0.5), iaa.Crop(percent=(0, 0.1))]),
}
IMGAUG_COLORS = {
    "Add": lambda iaa: iaa.Add((-20, 20), per_channel=True),
    "Multiply": lambda iaa: iaa.Multiply((0.8, 1.5)),
    "AdditiveGaussianNoise": lambda iaa: iaa.AdditiveGaussianNoise(scale=(0, 20)),
    "GaussianBlur": lambda iaa: iaa.GaussianBlur(sigma=(0, 5)),
    "CoarseDropout": lambda iaa: iaa.CoarseDropout(0.2, size_percent=0.2),
    "Cutout": lambda iaa: iaa.Cutout(),
    "LinearContrast": lambda iaa: iaa.LinearContrast((0.5, 1.5)),
    "CLAHE": lambda iaa: iaa.CLAHE(),
    "AddToHueAndSaturation": lambda iaa: iaa.AddToHueAndSaturation((-20, 20)),
    "Sharpen": lambda iaa: iaa.Sharpen((0, 1)),
    "Clouds": lambda iaa: iaa.Clouds(),  # reads np.complex
    "MaxPooling": lambda iaa: iaa.MaxPooling((2, 3)),
    "UniformVoronoi": lambda iaa: iaa.UniformVoronoi((50, 100)),
    "FilterSharpen": lambda iaa: iaa.pillike.FilterSharpen(),
    "Blend": lambda iaa: iaa.BlendAlphaSimplexNoise(iaa.Add((-20, 20))),
    "WithChannels": lambda iaa: iaa.WithChannels(0, iaa.Add((10, 50))),
    "SomeOf": lambda iaa: iaa.SomeOf(2, [iaa.Add(5), iaa.Multiply(2), iaa.GaussianBlur(1)]),
}


class TestImgaug:
    def test_it_can_be_imported_after_this_package(self, iaa):
        code = "import mrcnn.data.augment\nimport imgaug\nprint(imgaug.__version__)"
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert run.returncode == 0, run.stderr

    @pytest.mark.parametrize("name", IMGAUG_MOVES)
    def test_image_and_masks_move_together(self, iaa, name):
        assert_moves_together(IMGAUG_MOVES[name](iaa))

    @pytest.mark.parametrize("name", IMGAUG_COLORS)
    def test_colors_change_the_image_only(self, iaa, name):
        rng = np.random.default_rng(0)
        image, masks = rng.integers(0, 255, (64, 64, 3), dtype=np.uint8), scene(2, 64)[1]
        changed = False
        for seed in range(4):
            moved, moved_masks = apply(IMGAUG_COLORS[name](iaa), image, masks, seed)
            np.testing.assert_array_equal(moved_masks, masks)
            changed |= bool((moved != image).any())
        assert changed

    def test_masks_do_not_depend_on_their_number(self, iaa):
        augmenter = iaa.Sequential([iaa.Fliplr(0.5), iaa.Affine(rotate=(-30, 30)), iaa.Crop(px=5)])
        image, masks = scene(20, 64)
        moved, moved_masks = apply(augmenter, image, masks, 3)
        for chosen in ([], [0], [18, 2]):
            some, some_masks = apply(augmenter, image, masks[..., chosen], 3)
            np.testing.assert_array_equal(some, moved)
            np.testing.assert_array_equal(some_masks, moved_masks[..., chosen])

    def test_the_generator_alone_decides(self, iaa):
        augmenter = iaa.Sequential(
            [
                iaa.Fliplr(0.5),
                iaa.SomeOf((0, 2), [iaa.Affine(rotate=(-30, 30)), iaa.Multiply((0.8, 1.5))]),
                iaa.AdditiveGaussianNoise(scale=(0, 9)),
            ],
            random_order=True,
        )
        assert_pure(augmenter, *scene(2, 64))

    @pytest.mark.parametrize(
        "make, named",
        [
            (lambda iaa: iaa.pillike.Affine(rotate=9), "pillike.Affine"),
            (
                lambda iaa: iaa.Sequential([iaa.Sometimes(1, iaa.pillike.Affine())]),
                "pillike.Affine",
            ),
            (lambda iaa: iaa.RandAugment(n=2, m=9), "collections.RandAugment"),
            (lambda iaa: iaa.Lambda(lambda images, *_: images), "meta.Lambda"),
            (lambda iaa: iaa.BlendAlphaSegMapClassIds(1, iaa.Add(1)), "BlendAlphaSegMapClassIds"),
            (lambda iaa: iaa.BlendAlphaBoundingBoxes("a", iaa.Add(1)), "BlendAlphaBoundingBoxes"),
            (lambda iaa: iaa.BlendAlpha(0.5, iaa.Affine(rotate=9)), "geometric.Affine"),
            (lambda iaa: iaa.WithChannels(0, [iaa.OneOf([iaa.Fliplr(1.0)])]), "flip.Fliplr"),
        ],
    )
    def test_what_would_part_them_is_refused_by_name(self, iaa, make, named):
        with pytest.raises(ValueError, match=rf"imgaug\.augmenters\.\S*{named} is refused"):
            as_transform(make(iaa))

    def test_an_augmenter_of_ones_own_is_refused_with_what_is_accepted(self, iaa):
        class Mine(iaa.meta.Augmenter):
            def get_parameters(self):
                return []

        with pytest.raises(ValueError, match="Mine is refused.*Accepted are.*flip, geometric"):
            as_transform(iaa.Sequential([Mine()]))

        class MyAdd(iaa.Add):
            pass

        as_transform(MyAdd(5))

    @pytest.mark.parametrize(
        "make",
        [lambda iaa: iaa.Resize(64), lambda iaa: iaa.Affine(rotate=30, fit_output=True)],
    )
    def test_a_new_size_is_refused(self, iaa, make):
        with pytest.raises(ValueError, match=r"changed the image; expected uint8 \(128, 128, 3\)"):
            apply(make(iaa), *scene(), 0)


# --- Albumentations ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def albumentations():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_ALBUMENTATIONS_UPDATE", "1")  # it asks its server for the newest version
        yield pytest.importorskip("albumentations", minversion="2")


ALBUMENTATIONS_MOVES = {
    "HorizontalFlip": lambda a: a.HorizontalFlip(p=0.5),
    "D4": lambda a: a.D4(p=1),
    "Affine": lambda a: a.Affine(rotate=(-40, 40), scale=(0.8, 1.2), p=1),
    "ShiftScaleRotate": lambda a: a.ShiftScaleRotate(p=1),
    "Perspective": lambda a: a.Perspective(p=1),
    "PiecewiseAffine": lambda a: a.PiecewiseAffine(p=1),
    "ElasticTransform": lambda a: a.ElasticTransform(alpha=60, sigma=6, p=1),
    "GridDistortion": lambda a: a.GridDistortion(p=1),
    "RandomResizedCrop": lambda a: a.RandomResizedCrop((128, 128), scale=(0.5, 1), p=1),
    "OneOf": lambda a: a.OneOf([a.VerticalFlip(p=1), a.Transpose(p=1)], p=1),
    "Compose": lambda a: a.Compose([a.HorizontalFlip(), a.SomeOf([a.Rotate(p=1)], n=1)]),
    "Compose with boxes": lambda a: a.Compose(
        [a.RandomRotate90(p=1)], bbox_params=a.BboxParams("pascal_voc", label_fields=[])
    ),
}
ALBUMENTATIONS_COLORS = {
    "RandomBrightnessContrast": lambda a: a.RandomBrightnessContrast(p=1),
    "GaussNoise": lambda a: a.GaussNoise(p=1),
    "HueSaturationValue": lambda a: a.HueSaturationValue(p=1),
    "CLAHE": lambda a: a.CLAHE(p=1),
    "CoarseDropout": lambda a: a.CoarseDropout(p=1),
}


class TestAlbumentations:
    @pytest.mark.parametrize("name", ALBUMENTATIONS_MOVES)
    def test_image_and_masks_move_together(self, albumentations, name):
        assert_moves_together(ALBUMENTATIONS_MOVES[name](albumentations))

    @pytest.mark.parametrize("name", ALBUMENTATIONS_COLORS)
    def test_colors_change_the_image_only(self, albumentations, name):
        rng = np.random.default_rng(0)
        image, masks = rng.integers(0, 255, (64, 64, 3), dtype=np.uint8), scene(2, 64)[1]
        moved, moved_masks = apply(ALBUMENTATIONS_COLORS[name](albumentations), image, masks, 0)
        np.testing.assert_array_equal(moved_masks, masks)
        assert (moved != image).any()

    def test_masks_do_not_depend_on_their_number(self, albumentations):
        a = albumentations
        augmenter = a.Compose([a.HorizontalFlip(), a.Affine(rotate=(-30, 30), p=1)])
        image, masks = scene(20, 64)
        moved, moved_masks = apply(augmenter, image, masks, 3)
        for chosen in ([], [0], [18, 2]):
            some, some_masks = apply(augmenter, image, masks[..., chosen], 3)
            np.testing.assert_array_equal(some, moved)
            np.testing.assert_array_equal(some_masks, moved_masks[..., chosen])

    def test_the_generator_alone_decides(self, albumentations):
        a = albumentations
        colors = [a.RandomBrightnessContrast(), a.GaussNoise()]
        augmenter = a.Compose([a.HorizontalFlip(), a.Affine(rotate=(-30, 30)), a.OneOf(colors)])
        assert_pure(augmenter, *scene(2, 64))

    @pytest.mark.parametrize(
        "make, named, reason",
        [
            (lambda a: a.MaskDropout(), "MaskDropout", "takes them out"),
            (lambda a: a.Compose([a.OneOf([a.Mosaic()])]), "Mosaic", "puts objects in"),
            (lambda a: a.BBoxSafeRandomCrop(), "BBoxSafeRandomCrop", "needs 'bboxes'"),
            (lambda a: a.RandomCropNearBBox(), "RandomCropNearBBox", "needs 'cropping_bbox'"),
        ],
    )
    def test_what_would_part_them_is_refused_by_name(self, albumentations, make, named, reason):
        with pytest.raises(ValueError, match=rf"albumentations\.\S*{named} is refused.*{reason}"):
            as_transform(make(albumentations))

    @pytest.mark.parametrize(
        "make, received",
        [
            (lambda a: a.RandomCrop(50, 60), r"uint8 \(50, 60, 3\)"),
            (lambda a: a.Normalize(), r"float32 \(128, 128, 3\)"),
        ],
    )
    def test_a_new_size_or_type_is_refused(self, albumentations, make, received):
        with pytest.raises(ValueError, match=f"changed the image; .*received {received}"):
            apply(make(albumentations), *scene(), 0)


# --- Both -----------------------------------------------------------------------------------


@pytest.fixture(params=["imgaug", "albumentations"])
def augmenter(request):
    """Mirrors and turns half the images."""
    library = request.getfixturevalue("iaa" if request.param == "imgaug" else "albumentations")
    if request.param == "imgaug":
        return library.Sequential([library.Fliplr(0.5), library.Affine(rotate=(-30, 30))])
    return library.Compose([library.HorizontalFlip(), library.Affine(rotate=(-30, 30), p=1)])


@pytest.mark.parametrize("mini", [True, False])
def test_batches_are_a_pure_function_of_seed_and_step(augmenter, mini):
    config = tiny_config(USE_MINI_MASK=mini)
    reference = Loader(SampleStream.of(Squares(5), config, 3, augmenter), workers=0)
    plain = Loader(SampleStream.of(Squares(5), config, 3), workers=0)
    with Loader(SampleStream.of(Squares(5), config, 3, augmenter), workers=4) as loader:
        for step, batch in enumerate(loader.batches(stop=8)):
            expected = reference.batch(step)
            for name, array in batch.items():
                np.testing.assert_array_equal(array, expected[name])
            assert (batch["input_image"] != plain.batch(step)["input_image"]).any()


def test_boxes_are_those_of_the_moved_masks(augmenter):
    image, masks = scene(3, 64)
    boxes = extract_bboxes(masks)
    moved = Sequential([HorizontalFlip(1), augmenter])(
        image, masks, boxes, np.random.default_rng(0)
    )
    np.testing.assert_array_equal(moved[2], extract_bboxes(moved[1]))
    assert (moved[2] != boxes).any()


def test_a_class_instead_of_an_object_is_refused(augmenter):
    with pytest.raises(TypeError, match="the class .* itself, not an object of it"):
        as_transform(type(augmenter))


def test_mini_masks_are_refused(augmenter):
    image, masks = scene(2, 64)
    with pytest.raises(ValueError, match=r"image's size \(64, 64\); received \(14, 14\)"):
        ForeignTransform(augmenter)(
            image, masks[:14, :14], extract_bboxes(masks), np.random.default_rng(0)
        )


def test_an_error_inside_names_the_image(augmenter):
    def fail(*arguments, **keywords):
        raise RuntimeError("out of ideas")

    loader = Loader(SampleStream.of(Squares(5), tiny_config(), 0, augmenter), workers=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(augmenter), "__call__", fail)
        with pytest.raises(SampleError, match=r"square-\d.*RuntimeError: out of ideas"):
            loader.batch(0)
