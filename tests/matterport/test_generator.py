"""Matterport's readers: what they return, and that they read as the training loader does."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from mrcnn.data.augment import HorizontalFlip, VerticalFlip
from mrcnn.data.boxes import extract_bboxes
from mrcnn.data.dataset import Dataset
from mrcnn.data.dataset_checks import SampleError
from mrcnn.data.loader import Loader
from mrcnn.data.masks import expand_mask
from mrcnn.data.molding import mold_image, parse_image_meta
from mrcnn.data.stream import SampleStream
from mrcnn.matterport.generator import DataGenerator, data_generator, load_image_gt
from mrcnn.training import model as training_model
from tests.tiny import tiny_config


class Squares(Dataset):
    """Images of noise; image i holds i % 3 bright squares."""

    def __init__(self, count=5, size=(64, 64)):
        super().__init__()
        self.size = size
        self.add_class("squares", 1, "small")
        self.add_class("squares", 2, "large")
        for i in range(count):
            self.add_image("squares", image_id=f"square-{i}", path=None)
        self.prepare()

    def load_image(self, image_id):
        rng = np.random.default_rng(image_id)
        image = rng.integers(0, 99, (*self.size, 3), dtype=np.uint8)
        image[self.load_mask(image_id)[0].any(axis=2)] = 200
        return image

    def load_mask(self, image_id):
        masks = np.zeros((*self.size, image_id % 3), bool)
        for i in range(image_id % 3):
            masks[10 + 5 * i : 30 + 10 * i, 4 + 20 * i : 24 + 24 * i, i] = True
        return masks, np.arange(1, 1 + image_id % 3, dtype=np.int32)


def assert_equal(first, second):
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


class TestLoadImageGt:
    def test_the_classes_are_those_of_the_data_set(self):
        """Notebooks look at data with a configuration of another network."""
        meta = load_image_gt(Squares(), tiny_config(NUM_CLASSES=1), 2)[1]
        assert meta[12:].tolist() == [1, 1, 1]

    def test_a_class_of_settings_stands_for_its_object(self):
        """A notebook on food hands on `FoodConfig`, not `FoodConfig()`."""
        config = tiny_config()
        by_class = load_image_gt(Squares(), type(config), 2, rng=np.random.default_rng(3))
        assert_equal(by_class, load_image_gt(Squares(), config, 2, rng=np.random.default_rng(3)))

    @pytest.mark.parametrize("mini", [True, False])
    def test_what_it_returns(self, mini):
        config = tiny_config()
        image, meta, class_ids, boxes, masks = load_image_gt(
            Squares(), config, 2, augment=False, augmentation=None, use_mini_mask=mini
        )
        assert image.dtype == np.uint8 and image.shape == (64, 64, 3)
        assert parse_image_meta(meta[None])["image_id"] == 2
        assert meta.shape == (config.IMAGE_META_SIZE,)
        assert class_ids.dtype == np.int32 and class_ids.tolist() == [1, 2]
        assert boxes.dtype == np.int32 and boxes.tolist() == [[10, 4, 30, 24], [15, 24, 40, 48]]
        assert masks.dtype == bool and masks.shape == ((14, 14, 2) if mini else (64, 64, 2))
        if not mini:
            np.testing.assert_array_equal(extract_bboxes(masks), boxes)

    @pytest.mark.parametrize("mini", [True, False])
    def test_masks_are_whole_unless_mini_masks_are_asked_for(self, mini):
        config = tiny_config(USE_MINI_MASK=mini)
        for form in ((), (False,), (HorizontalFlip(1),)):
            assert load_image_gt(Squares(), config, 2, *form)[4].shape == (64, 64, 2)
        _, _, _, boxes, masks = load_image_gt(Squares(), config, 2, use_mini_mask=True)
        assert masks.shape == (14, 14, 2)
        assert config.USE_MINI_MASK == mini  # the caller's settings stay as they are
        np.testing.assert_array_equal(
            expand_mask(boxes, masks, (64, 64)), load_image_gt(Squares(), config, 2)[4]
        )

    @pytest.mark.parametrize("keywords", [{}, {"augment": True}])
    def test_false_is_no_augmentation(self, keywords):
        dataset, config = Squares(), tiny_config()
        found = [
            load_image_gt(dataset, config, 1, **keywords, **none, rng=np.random.default_rng(3))
            for none in ({}, {"augmentation": False})
        ]
        assert_equal(*found)
        first, second = (
            next(data_generator(dataset, config, augmentation=none)) for none in (None, False)
        )
        assert_equal(first[0], second[0])

    def test_class_ids_may_be_a_list(self):
        class Lists(Squares):
            def load_mask(self, image_id):
                masks, class_ids = super().load_mask(image_id)
                return masks, class_ids.tolist()

        assert_equal(
            load_image_gt(Lists(), tiny_config(), 2), load_image_gt(Squares(), tiny_config(), 2)
        )

    @pytest.mark.parametrize(
        "arguments, keywords",
        [
            ((False, HorizontalFlip(1), False), {}),
            ((), {"augmentation": HorizontalFlip(1), "use_mini_mask": False}),
            ((HorizontalFlip(1),), {"use_mini_mask": False}),  # 2.1 has it in this place
        ],
    )
    def test_both_forms_of_the_signature(self, arguments, keywords):
        dataset, config = Squares(), tiny_config()
        image, _, _, boxes, masks = load_image_gt(dataset, config, 1, *arguments, **keywords)
        plain = load_image_gt(dataset, config, 1, use_mini_mask=False)
        np.testing.assert_array_equal(image, plain[0][:, ::-1])
        np.testing.assert_array_equal(masks, plain[4][:, ::-1])
        assert boxes.tolist() == [[10, 40, 30, 60]]

    def test_none_in_the_place_of_augmentation(self):
        dataset, config = Squares(), tiny_config()
        assert_equal(load_image_gt(dataset, config, 1, None), load_image_gt(dataset, config, 1))

    def test_augment_mirrors_half_the_images(self):
        dataset, config = Squares(), tiny_config()
        plain = load_image_gt(dataset, config, 1, use_mini_mask=False)
        mirrored = 0
        for seed in range(40):
            rng = np.random.default_rng(seed)
            image, _, _, boxes, masks = load_image_gt(
                dataset, config, 1, augment=True, use_mini_mask=False, rng=rng
            )
            np.testing.assert_array_equal(extract_bboxes(masks), boxes)
            if (image != plain[0]).any():
                np.testing.assert_array_equal(image, plain[0][:, ::-1])
                mirrored += 1
        assert 10 < mirrored < 30

    def test_augment_and_augmentation_together(self):
        dataset, config = Squares(), tiny_config()
        plain = load_image_gt(dataset, config, 1)[0]
        images = {
            load_image_gt(
                dataset, config, 1, True, VerticalFlip(1), rng=np.random.default_rng(seed)
            )[0].tobytes()
            for seed in range(20)
        }
        assert images == {plain[::-1].tobytes(), plain[::-1, ::-1].tobytes()}

    def test_numpys_global_seed_decides_by_default(self):
        dataset, config = Squares(), tiny_config()
        state = np.random.get_state()
        try:
            images = []
            for seed in (*range(12), *range(12)):
                np.random.seed(seed)
                images.append(load_image_gt(dataset, config, 1, augment=True)[0].tobytes())
        finally:
            np.random.set_state(state)
        assert images[:12] == images[12:] and len(set(images)) == 2

    @pytest.mark.parametrize("mode, shape", [("pad64", (128, 192, 3)), ("none", (100, 150, 3))])
    def test_the_image_is_as_large_as_in_detection(self, mode, shape):
        config = tiny_config(IMAGE_RESIZE_MODE=mode)  # IMAGE_SHAPE is 64 x 64
        image, meta, _, boxes, masks = load_image_gt(
            Squares(size=(100, 150)), config, 2, use_mini_mask=False
        )
        assert image.shape == shape and masks.shape[:2] == shape[:2]
        y1, x1, y2, x2 = parse_image_meta(meta[None])["window"][0]
        assert (y2 - y1, x2 - x1) == (100, 150)
        assert boxes[0].tolist() == [10 + y1, 4 + x1, 30 + y1, 24 + x1]

    def test_an_image_without_instances(self):
        _, _, class_ids, boxes, masks = load_image_gt(Squares(), tiny_config(), 0)
        assert class_ids.shape == (0,) and boxes.shape == (0, 4) and masks.shape == (64, 64, 0)


def image_ids(batch):
    return batch[0][1][:, 0].astype(int).tolist()


class TestDataGenerator:
    @pytest.mark.parametrize("shuffle", [True, False])
    def test_a_pass_holds_every_image_once(self, shuffle):
        batches = DataGenerator(Squares(5), tiny_config(), shuffle=shuffle)
        assert len(batches) == 3
        orders = []
        for _ in range(3):
            order = [i for index in range(3) for i in image_ids(batches[index])]
            assert sorted(order) == [0, 1, 2, 3, 4]
            assert order == [i for batch in batches for i in image_ids(batch)]
            orders.append(tuple(order))
            batches.on_epoch_end()
        assert (len(set(orders)) > 1) == shuffle

    def test_the_index_decides(self):
        batches = DataGenerator(Squares(5), tiny_config(), augmentation=HorizontalFlip())
        for index in (2, 0, 2, 1):
            again = DataGenerator(Squares(5), tiny_config(), augmentation=HorizontalFlip())
            assert_equal(batches[index][0], again[index][0])
        assert_equal(batches[-1][0], batches[2][0])
        for index in (3, -4):
            with pytest.raises(IndexError, match="from 0 to 2"):
                batches[index]

    def test_inputs(self):
        config = tiny_config()
        inputs, outputs = DataGenerator(Squares(4), config, shuffle=False)[1]
        anchors = 3 * (16 * 16 + 8 * 8 + 4 * 4 + 2 * 2 + 1)
        shapes = [(array.dtype.name, array.shape) for array in inputs]
        assert shapes == [
            ("float32", (2, 64, 64, 3)),
            ("float32", (2, config.IMAGE_META_SIZE)),
            ("int32", (2, anchors, 1)),
            ("float32", (2, 32, 4)),
            ("int32", (2, 4)),
            ("int32", (2, 4, 4)),
            ("bool", (2, 14, 14, 4)),
        ]
        assert outputs == []
        assert (inputs[2] != 0).sum(axis=(1, 2)).tolist() == [32, 32]
        assert (inputs[2][0] == 1).any() and inputs[3][0].any()  # image 2 has objects
        assert not (inputs[2][1] == 1).any() and not inputs[3][1].any()  # image 3 has none

    def test_random_rois(self):
        inputs, outputs = DataGenerator(Squares(4), tiny_config(), random_rois=20)[0]
        assert outputs == [] and len(inputs) == 8
        assert inputs[7].dtype == np.int32 and inputs[7].shape == (2, 20, 4)

    def test_detection_targets(self):
        config = tiny_config(TRAIN_ROIS_PER_IMAGE=30)
        generator = DataGenerator(
            Squares(3), config, shuffle=False, random_rois=400, detection_targets=True
        )
        inputs, (class_ids, bboxes, masks) = generator[1]  # image 2 alone
        rois = inputs[8]
        assert rois.shape == (1, 30, 4) and class_ids.shape == (1, 30, 1)
        assert bboxes.shape == (1, 30, 3, 4) and masks.shape == (1, 30, 28, 28, 3)
        own = class_ids[0, :, 0]
        assert set(own[:9]) == {1, 2} and not own[9:].any()
        everything = set(map(tuple, inputs[7][0].tolist()))
        assert set(map(tuple, rois[0][rois[0].any(axis=1)].tolist())) <= everything
        assert all(masks[0, slot, :, :, own[slot]].mean() > 0.3 for slot in range(9))
        with pytest.raises(ValueError, match="random_rois of at least 1"):
            DataGenerator(Squares(), config, detection_targets=True)


class TestDataGeneratorFunction:
    def test_it_reads_as_the_training_loader_does(self):
        dataset, config = Squares(5), tiny_config()
        augmentation = HorizontalFlip()
        loader = Loader(SampleStream.of(dataset, config, config.SEED, augmentation), workers=0)
        batches = data_generator(dataset, config, augmentation=augmentation, batch_size=2)
        for step, (inputs, outputs) in enumerate(itertools.islice(batches, 6)):
            expected = loader.batch(step)
            assert outputs == []
            np.testing.assert_array_equal(inputs[0], mold_image(expected["input_image"], config))
            np.testing.assert_array_equal(inputs[1], expected["input_image_meta"])
            np.testing.assert_array_equal(inputs[4], expected["input_gt_class_ids"])
            np.testing.assert_array_equal(inputs[5], expected["input_gt_boxes"])
            masks = inputs[6].transpose(0, 3, 1, 2)
            np.testing.assert_array_equal(masks, expected["input_gt_masks"])

    def test_every_pass_holds_every_image_once(self):
        batches = data_generator(Squares(5), tiny_config())
        stream = [image_ids(batch)[0] for batch in itertools.islice(batches, 15)]
        assert all(sorted(stream[k : k + 5]) == [0, 1, 2, 3, 4] for k in (0, 5, 10))

    def test_augment_mirrors_images(self):
        config, keywords = tiny_config(), {"shuffle": False, "batch_size": 4}
        plain, some = (
            next(data_generator(Squares(4), config, augment=augment, **keywords))[0][0]
            for augment in (False, True)
        )
        for image, mirrored in zip(plain, some, strict=True):
            assert (mirrored == image).all() or (mirrored == image[:, ::-1]).all()

    def test_wrong_arguments_are_told_at_once(self):
        with pytest.raises(ValueError, match="random_rois"):
            data_generator(Squares(), tiny_config(), detection_targets=True)
        with pytest.raises(ValueError, match="no images"):
            data_generator(Squares(0), tiny_config())

    def test_an_error_names_the_image(self):
        class Broken(Squares):
            def load_image(self, image_id):
                raise OSError("truncated")

        with pytest.raises(SampleError, match=r"square-\d.*OSError: truncated"):
            next(data_generator(Broken(), tiny_config()))


def test_a_network_trains_on_random_rois():
    from mrcnn.training import compile

    config = tiny_config(USE_RPN_ROIS=False, POST_NMS_ROIS_TRAINING=200)
    batch = Loader(SampleStream.of(Squares(3), config, 0, shuffle=False), workers=0).batch(1)
    model = training_model.build(config)
    compile.set_trainable(model, "heads")
    compile.compile_model(model, config, learning_rate=0.01, momentum=0.9)
    losses = model.train_on_batch(batch, return_dict=True)
    assert all(np.isfinite(value) for value in losses.values())
    assert losses["mrcnn_mask_loss"] > 0 and losses["mrcnn_bbox_loss"] > 0
