"""Unmolding: as Matterport's package does it, and as what training taught."""

from __future__ import annotations

import json
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from keras import ops

from mrcnn.config import Config
from mrcnn.data.boxes import extract_bboxes, norm_boxes
from mrcnn.data.dataset import Dataset
from mrcnn.data.masks import paste_masks
from mrcnn.data.molding import mold_inputs, resize_to_input
from mrcnn.data.sample import load_sample
from mrcnn.data.unmolding import (
    Unmolded,
    boxes_of_network,
    locate_detections,
    unmold_detections,
)
from mrcnn.ops.target_settings import RoiTargetSettings
from mrcnn.ops.targets import detection_targets

DERIVED = ("BATCH_SIZE", "IMAGE_SHAPE", "IMAGE_META_SIZE")
property_test = settings(max_examples=40, deadline=None)


class SmallConfig(Config):
    NUM_CLASSES = 4
    IMAGE_MIN_DIM = 64
    IMAGE_MAX_DIM = 128


def config_of(mode="square", **values):
    return type("ModeConfig", (SmallConfig,), {"IMAGE_RESIZE_MODE": mode, **values})()


def matterport(mode="square"):
    return config_of(mode, DETECTION_BOXES="matterport")


def rows(boxes, class_ids, scores=None, padding=0):
    """Detections as the network gives them, rows of zeros at the end."""
    detections = np.zeros((len(boxes) + padding, 6), np.float32)
    detections[: len(boxes), :4] = boxes
    detections[: len(boxes), 4] = class_ids
    detections[: len(boxes), 5] = np.linspace(0.9, 0.5, len(boxes)) if scores is None else scores
    return detections


def full_masks(detections, classes=4, side=8):
    masks = np.zeros((len(detections), side, side, classes), np.float32)
    masks[np.arange(len(detections)), :, :, detections[:, 4].astype(int)] = 1
    return masks


class TestMatterports:
    @pytest.fixture(params=["A", "C"])
    def images(self, request, parity_file):
        """The arrays of each image of an inference fixture."""
        arrays = np.load(parity_file(f"{request.param}_parity.npz"))
        settings = json.loads(parity_file(f"{request.param}_config.json").read_text())
        settings = {name: value for name, value in settings.items() if name not in DERIVED}
        config = type("Parity", (Config,), {**settings, "DETECTION_BOXES": "matterport"})()
        images = defaultdict(dict)
        for name in arrays.files:  # "g2_windows" is of batch 2
            image, _, name_in_batch = name.partition("_")
            images[image][name_in_batch] = arrays[name]
        return config, list(images.values())

    def test_fixture(self, images):
        config, arrays_of_images = images
        for arrays in arrays_of_images:
            unmolded = unmold_detections(
                arrays["detections"][0],
                arrays["mrcnn_mask"][0],
                arrays["image0"].shape,
                arrays["molded_images"].shape[1:],
                arrays["windows"][0],
                config,
            )
            np.testing.assert_array_equal(unmolded.boxes, arrays["res0_rois"])
            np.testing.assert_array_equal(unmolded.class_ids, arrays["res0_class_ids"])
            np.testing.assert_array_equal(unmolded.scores, arrays["res0_scores"])
            shape = arrays["res0_masks_shape"]
            bits = np.unpackbits(arrays["res0_masks_packed"], count=int(np.prod(shape)))
            assert unmolded.masks.shape == tuple(shape)
            assert (unmolded.masks != bits.reshape(shape)).mean() < 1e-3
            assert unmolded.boxes.dtype == unmolded.class_ids.dtype == np.int32
            assert unmolded.scores.dtype == np.float32
            assert unmolded.masks.dtype == bool

    @property_test
    @given(
        size=st.tuples(st.integers(2, 300), st.integers(2, 300)),
        mode=st.sampled_from(["square", "pad64", "none"]),
        seed=st.integers(0, 2**16),
    )
    def test_boxes_come_back_from_the_frame_of_the_window(self, size, mode, seed):
        """Matterport's is the inverse of norm_boxes in the image's own frame, not of training."""
        rng = np.random.default_rng(seed)
        boxes = random_boxes(size, rng)
        image = np.zeros((*size, 3), np.uint8)
        molded, _, windows = mold_inputs([image], matterport(mode))

        y1, x1, y2, x2 = norm_boxes(windows[0], molded.shape[1:3])
        in_window = norm_boxes(boxes, size)
        placed = in_window * [y2 - y1, x2 - x1, y2 - y1, x2 - x1] + [y1, x1, y1, x1]
        assume(y2 > y1 and x2 > x1)
        class_ids = rng.integers(1, 4, len(boxes))
        detections = rows(placed, class_ids, rng.random(len(boxes)), padding=3)

        unmolded = unmold_detections(
            detections,
            full_masks(detections),
            image.shape,
            molded.shape[1:],
            windows[0],
            matterport(mode),
        )
        np.testing.assert_array_equal(unmolded.boxes, boxes)
        np.testing.assert_array_equal(unmolded.class_ids, class_ids)
        np.testing.assert_array_equal(unmolded.scores, detections[: len(boxes), 5])
        assert_filled(unmolded)

    def test_window_of_one_row(self):
        """A very long image is molded to a single row: its boxes stay finite."""
        detections = np.array([[0.5, 0.25, 0.5, 0.75, 1, 0.9]], np.float32)
        masks = np.ones((1, 4, 4, 2), np.float32)
        shapes = (3, 900, 3), (65, 65, 3), (32, 0, 33, 65)
        unmolded = unmold_detections(detections, masks, *shapes, matterport())
        assert unmolded.boxes.tolist() == [[0, 225, 1, 675]]

    def test_the_boxes_are_the_rois_and_the_masks_fill_them(self):
        detections = rows([[0.1, 0.1, 0.5, 0.5]], [1])
        found = locate(detections, matterport())
        assert found.boxes is not None and found.mask_corners is None
        np.testing.assert_array_equal(found.boxes, found.rois)


def random_boxes(size, rng, count=6):
    corners = np.stack([rng.choice(side + 1, (count, 2)) for side in size], axis=-1)
    boxes = np.sort(corners, axis=1).reshape(count, 4)
    return boxes[(boxes[:, 2:] > boxes[:, :2]).all(axis=1)]


def assert_filled(unmolded: Unmolded) -> None:
    """Each mask is all of its box."""
    for i, (top, left, bottom, right) in enumerate(unmolded.boxes):
        expected = np.zeros(unmolded.masks.shape[:2], bool)
        expected[top:bottom, left:right] = True
        np.testing.assert_array_equal(unmolded.masks[:, :, i], expected)


def locate(detections, config, image=(20, 30, 3), molded=(64, 64, 3), window=(0, 0, 64, 64)):
    return locate_detections(detections, full_masks(detections), image, molded, window, config)


@pytest.mark.parametrize("boxes_are", ["exact", "matterport"])
class TestBothWays:
    def unmold(self, detections, boxes_are):
        detections = np.array(detections, np.float32).reshape(-1, 6)
        masks = np.ones((len(detections), 4, 4, 3), np.float32)
        shapes = (20, 30, 3), (64, 64, 3), (0, 0, 64, 64)
        config = config_of(DETECTION_BOXES=boxes_are)
        return unmold_detections(detections, masks, *shapes, config)

    @pytest.mark.parametrize("detections", [[], [[0, 0, 0, 0, 0, 0]] * 5])
    def test_nothing_found(self, detections, boxes_are):
        unmolded = self.unmold(detections, boxes_are)
        assert unmolded.boxes.shape == (0, 4)
        assert unmolded.class_ids.shape == unmolded.scores.shape == (0,)
        assert unmolded.masks.shape == (20, 30, 0)
        assert unmolded.boxes.dtype == unmolded.class_ids.dtype == np.int32
        assert unmolded.masks.dtype == bool

    def test_stops_at_the_first_padding_row(self, boxes_are):
        unmolded = self.unmold([[0, 0, 1, 1, 2, 0.9], [0] * 6, [0, 0, 1, 1, 1, 0.8]], boxes_are)
        assert unmolded.class_ids.tolist() == [2]

    def test_boxes_of_no_area_are_left_out(self, boxes_are):
        flat = [0.5, 0.2, 0.4, 0.8, 1, 0.95]
        unmolded = self.unmold([flat, [0, 0, 1, 1, 2, 0.9]], boxes_are)
        assert unmolded.class_ids.tolist() == [2]
        assert unmolded.scores.tolist() == pytest.approx([0.9])
        assert unmolded.boxes.tolist() == [[0, 0, 20, 30]]
        assert unmolded.masks.shape == (20, 30, 1)
        assert unmolded.masks.all()

    def test_without_a_change_of_scale_both_are_the_same(self, boxes_are):
        rng = np.random.default_rng(0)
        boxes = random_boxes((64, 64), rng, count=50)
        detections = rows(norm_boxes(boxes, (64, 64)), rng.integers(1, 4, len(boxes)))
        image = np.zeros((64, 64, 3), np.uint8)
        config = config_of(IMAGE_MAX_DIM=64, DETECTION_BOXES=boxes_are)
        molded, _, windows = mold_inputs([image], config)
        unmolded = unmold_detections(
            detections, full_masks(detections), image.shape, molded.shape[1:], windows[0], config
        )
        np.testing.assert_array_equal(unmolded.boxes, boxes)
        assert_filled(unmolded)


# --- What training teaches comes back -----------------------------------------------------------


class Objects(Dataset):
    """One image with masks."""

    def __init__(self, masks: np.ndarray) -> None:
        super().__init__()
        self.masks = masks
        for class_id in (1, 2, 3):
            self.add_class("some", class_id, f"thing {class_id}")
        self.add_image("some", 0, path="")
        self.prepare()

    def load_image(self, image_id):
        return np.zeros((*self.masks.shape[:2], 3), np.uint8)

    def load_mask(self, image_id):
        return self.masks, np.ones(self.masks.shape[2], np.int32)


def taught(masks: np.ndarray, config: Config) -> tuple[np.ndarray, np.ndarray, tuple]:
    """What a network would answer that has learned its targets of the objects' own boxes.

    Returns:
        detections, mrcnn_mask, and (image shape, molded shape, window).
    """
    dataset = Objects(masks)
    sample = load_sample(dataset, 0, config, np.random.default_rng(0))
    count = len(sample.boxes)
    boxes = norm_boxes(sample.boxes, sample.image.shape)
    # A hair smaller than the objects: at exactly their ends, the last bit of a float decides
    # between the last row and zero.
    rois = boxes + np.array([1, 1, -1, -1], np.float32) * 1e-6
    roi_settings = RoiTargetSettings(
        count=2 * count,
        positive_ratio=0.5,
        mask_shape=tuple(config.MASK_SHAPE),
        mini_masks=config.USE_MINI_MASK,
    )
    given = [rois, sample.class_ids, boxes, sample.masks]
    noise = np.linspace(0.9, 0.1, count, dtype=np.float32)  # in this order
    targets = detection_targets(
        *(ops.convert_to_tensor(np.asarray(x)[None]) for x in given),
        ops.convert_to_tensor(noise[None]),
        roi_settings,
    )
    arrays = [ops.convert_to_numpy(x)[0, :count] for x in (targets.rois, targets.masks)]
    assert sorted(arrays[0].tolist()) == sorted(rois.tolist())
    place = resize_to_input(dataset.load_image(0), config)
    detections = rows(arrays[0], np.ones(count))
    mrcnn_mask = np.repeat(arrays[1][..., None], config.NUM_CLASSES, axis=-1)
    return detections, mrcnn_mask, ((*masks.shape[:2], 3), place.image.shape, place.window)


def ellipse(size, center, radii):
    y, x = np.ogrid[: size[0], : size[1]]
    return ((y + 0.5 - center[0]) / radii[0]) ** 2 + ((x + 0.5 - center[1]) / radii[1]) ** 2 <= 1


def mask_ious(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    """The IoU of each found mask with the true one that it fits best."""
    overlaps = [
        [(a & b).sum() / (a | b).sum() for b in true.transpose(2, 0, 1)]
        for a in found.transpose(2, 0, 1)
    ]
    return np.max(overlaps, axis=1)


class TestExact:
    def test_a_small_object_of_a_large_photograph(self):
        """40 pixels of a photograph that is shrunk to a quarter: 10 pixels, then 40 again."""
        masks = np.zeros((512, 512, 1), bool)
        masks[80:120, 200:240] = True
        detections, mrcnn_mask, place = taught(masks, config_of())
        exact = unmold_detections(detections, mrcnn_mask, *place, config_of())
        assert exact.boxes.tolist() == [[80, 200, 120, 240]]
        np.testing.assert_array_equal(exact.masks, masks)
        # Matterport's: 1 / scale - 1 = 3 pixels shorter, before they are rounded.
        theirs = unmold_detections(detections, mrcnn_mask, *place, matterport())
        y1, x1, y2, x2 = theirs.boxes[0]
        assert {y2 - y1, x2 - x1} <= {37, 38}

    @property_test
    @given(
        size=st.tuples(st.integers(2, 300), st.integers(2, 300)),
        mode=st.sampled_from(["square", "pad64", "none"]),
        seed=st.integers(0, 2**16),
    )
    def test_boxes_are_the_edges_that_were_taught(self, size, mode, seed):
        """Any pixels of the molded image: their edges, in the original image's pixels."""
        rng = np.random.default_rng(seed)
        image = np.zeros((*size, 3), np.uint8)
        molded, _, ((top, left, bottom, right),) = mold_inputs([image], config_of(mode))
        inside = random_boxes((bottom - top, right - left), rng)
        assume(len(inside))
        taught_boxes = norm_boxes(inside + [top, left, top, left], molded.shape[1:3])
        detections = rows(taught_boxes, rng.integers(1, 4, len(inside)))
        window = (top, left, bottom, right)
        found = locate(detections, config_of(mode), image.shape, molded.shape[1:], window)
        sides = np.array([size[0] / (bottom - top), size[1] / (right - left)] * 2)
        rounded = (found.rois[:, 2:] - found.rois[:, :2]) == 1  # it may be less than a pixel
        near = np.abs(found.boxes - inside * sides) < 1e-3
        assert (near | np.tile(rounded, 2)).all()
        assert (np.abs(found.rois - found.boxes) <= 0.5 + 1e-9).all()
        assert (found.rois[:, 2:] > found.rois[:, :2]).all()
        assert (found.rois >= 0).all() and (found.rois <= [*size, *size]).all()
        # The masks are certain, so they are all of the pixels of their boxes.
        pasted = paste_masks(found.box_masks, found.boxes, size, found.mask_corners)
        unmolded = Unmolded(found.rois, found.class_ids, found.scores, pasted)
        assert_filled(unmolded)

    @pytest.mark.parametrize("use_mini_mask", [True, False])
    @pytest.mark.parametrize("size", [(640, 480), (300, 1000), (60, 90)])
    def test_what_training_taught_comes_back(self, size, use_mini_mask):
        """Ellipses: exact masks fit better than Matterport's, and as well as the pixels allow."""
        rng = np.random.default_rng(3)
        radii = rng.uniform(0.15, 0.4, (6, 2)) * min(size)
        centers = radii + rng.random((6, 2)) * (np.array(size) - 2 * radii)
        masks = np.stack([ellipse(size, c, r) for c, r in zip(centers, radii, strict=True)], -1)
        config = config_of(USE_MINI_MASK=use_mini_mask)
        detections, mrcnn_mask, place = taught(masks, config)
        exact = unmold_detections(detections, mrcnn_mask, *place, config)
        config = config_of(USE_MINI_MASK=use_mini_mask, DETECTION_BOXES="matterport")
        theirs = unmold_detections(detections, mrcnn_mask, *place, config)
        ours, matterports = mask_ious(exact.masks, masks), mask_ious(theirs.masks, masks)
        assert ours.min() > 0.93
        assert ours.mean() > matterports.mean() + 0.005
        # The molded pixels that made the boxes are the only error, and it has no direction.
        scale = (place[2][2] - place[2][0]) / size[0]
        error = np.sort(exact.boxes, axis=0) - np.sort(extract_bboxes(masks), axis=0)
        assert np.abs(error).max() <= 0.5 / scale + 1

    def test_parts_of_an_enlarged_pixel_become_the_pixel(self):
        """An image of 8 x 8 is enlarged to 128: a box may be a sixteenth of a pixel."""
        boxes = np.array([[40, 40, 41, 41], [40, 8, 41, 72], [127, 127, 128, 128]])
        detections = rows(norm_boxes(boxes, (128, 128)), [1, 2, 3])
        place = (8, 8, 3), (128, 128, 3), (0, 0, 128, 128)
        found = locate(detections, config_of(), *place)
        assert found.rois.tolist() == [[2, 2, 3, 3], [2, 0, 3, 4], [7, 7, 8, 8]]
        unmolded = unmold_detections(detections, full_masks(detections), *place, config_of())
        assert_filled(unmolded)

    def test_what_lies_outside_the_image_is_cut_off(self):
        """From other code than this network, whose boxes end at the window."""
        detections = rows([[-0.5, 0.5, 1.5, 2.0], [-0.5, -0.5, -0.2, -0.2]], [1, 1])
        found = locate(detections, config_of())
        assert found.rois.tolist() == [[0, 15, 20, 30]]
        assert len(found.mask_corners) == 1

    def test_window_of_one_row(self):
        """A very long image is molded to a single row, and is all that this row shows."""
        detections = np.array([[0.5, 0.25, 0.5, 0.75, 1, 0.9]], np.float32)
        masks = np.ones((1, 4, 4, 2), np.float32)
        shapes = (3, 900, 3), (65, 65, 3), (32, 0, 33, 65)
        unmolded = unmold_detections(detections, masks, *shapes, config_of())
        assert unmolded.boxes.tolist() == [[0, 222, 3, 678]]
        assert unmolded.masks.sum() == 3 * (678 - 222)


@property_test
@given(
    st.sampled_from(["exact", "matterport"]),
    st.tuples(st.integers(20, 200), st.integers(20, 200)),
    st.lists(st.tuples(*(st.floats(0, 1),) * 4), min_size=1, max_size=5),
)
def test_a_box_of_the_image_comes_back_through_the_network(kind, size, corners):
    """`boxes_of_network` is the inverse of how the network's answers are read."""
    config = config_of(DETECTION_BOXES=kind)
    pixels = np.array(corners) * [*size, *size]
    boxes = np.sort(np.rint(pixels).reshape(-1, 2, 2), axis=1).reshape(-1, 4).astype(int)
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
    assume((boxes[:, 2:] <= size).all())
    resized, _, window = resize_to_input(np.zeros((*size, 3), np.uint8), config)
    shapes = (*size, 3), resized.shape, window, config
    normalized = boxes_of_network(boxes, *shapes)
    detections = rows(normalized, [1] * len(boxes))
    found = locate_detections(detections, full_masks(detections), *shapes)
    np.testing.assert_allclose(found.boxes, boxes, atol=1e-3)


def test_a_box_of_the_network_is_what_training_teaches():
    """Of an image that needs no resizing, it is the normalized box of its pixels."""
    config = config_of()
    shape = (128, 128, 3)
    boxes = np.array([[8, 16, 40, 100], [0, 0, 128, 128]])
    found = boxes_of_network(boxes, shape, shape, (0, 0, 128, 128), config)
    np.testing.assert_allclose(found, norm_boxes(boxes, shape), atol=1e-6)
