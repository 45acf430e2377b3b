"""Labels of anchors and proposals.

The noise decides what is drawn, so the twins draw the same: the largest noise first.
"""

from __future__ import annotations

import functools
import json

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from mrcnn.data.boxes import compute_overlaps
from mrcnn.ops import anchors as anchor_ops
from mrcnn.ops import targets as ops_targets
from mrcnn.ops.target_settings import RoiTargetSettings, RpnTargetSettings
from tests.ops import naive
from tests.ops.variants import quick, whole

few = settings(max_examples=8, deadline=None)
on_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="the kernels are TensorFlow's"
)
either = pytest.mark.parametrize("use_tf_kernels", [False, pytest.param(True, marks=on_tensorflow)])
STD_DEV = np.array([0.1, 0.1, 0.2, 0.2], np.float32)


def random_boxes(rng, shape: tuple[int, ...], smallest: float = 0.02) -> np.ndarray:
    corner = rng.uniform(0, 0.7, (*shape, 2))
    return np.concatenate([corner, corner + rng.uniform(smallest, 0.3, (*shape, 2))], axis=-1)


def best_noise(chosen: list[int], noise: np.ndarray) -> list[int]:
    return sorted(chosen, key=lambda i: -noise[i])


# --- RPN ----------------------------------------------------------------------------

IMAGES, INSTANCES, COUNT = 8, 5, 8
ANCHORS = anchor_ops.pyramid_anchors([12, 24], [0.5, 1, 2], [(8, 8), (4, 4)], [8, 16])
ANCHORS = ANCHORS.astype(np.float32)


def rpn_images(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(gt_class_ids, gt_boxes in pixels of a 64² image, noise)."""
    rng = np.random.default_rng(seed)
    class_ids = rng.integers(1, 4, (IMAGES, INSTANCES))
    boxes = np.round(random_boxes(rng, (IMAGES, INSTANCES), 0.1) * 64)
    class_ids[:, 3:], boxes[:, 3:] = 0, 0
    class_ids[1], boxes[1] = 0, 0  # no object
    class_ids[2, :3] = -1  # crowds only
    class_ids[3, 1] = -2  # a crowd among the objects
    class_ids[4], boxes[4] = 0, 1e6  # empty slots with garbage …
    class_ids[4, 2], boxes[4, 2] = 2, [10, 10, 34, 34]  # … around an object
    class_ids[5, :3], boxes[5, :3] = 1, [32, 32, 32, 32]  # no area
    boxes[5, 1] = [500, 500, 600, 600]  # an object no anchor touches
    class_ids[6], boxes[6] = 1, ANCHORS[[3, 3, 60, 90, 200]]  # perfect fits and duplicates
    class_ids[7], boxes[7] = 1, ANCHORS[[1, 31, 61, 91, 121]]  # more positives than slots
    noise = rng.permuted(np.tile(np.arange(len(ANCHORS)), (IMAGES, 1)), axis=1) / len(ANCHORS)
    return class_ids.astype(np.int32), boxes.astype(np.float32), noise.astype(np.float32)


def naive_crosses(anchor, window) -> bool:
    """Whether some of an anchor's area is inside a window, and some of it outside."""
    height = min(anchor[2], window[2]) - max(anchor[0], window[0])
    width = min(anchor[3], window[3]) - max(anchor[1], window[1])
    return height > 0 and width > 0 and height * width < naive.area(anchor) * (1 - 1e-6)


def naive_rpn(
    class_ids,
    boxes,
    noise,
    count,
    positive_iou=0.7,
    negative_iou=0.3,
    crowd_iou=0.001,
    windows=None,
) -> tuple[np.ndarray, np.ndarray]:
    match = np.zeros(noise.shape, int)
    deltas = np.zeros((len(noise), count, 4))
    for b in range(len(noise)):
        overlaps = naive.overlaps(ANCHORS, boxes[b])
        real, crowd = np.flatnonzero(class_ids[b] > 0), np.flatnonzero(class_ids[b] < 0)
        positive, negative = [], []
        inside = range(len(ANCHORS))
        if windows is not None:
            inside = [a for a in inside if not naive_crosses(ANCHORS[a], windows[b])]
            overlaps[np.setdiff1d(np.arange(len(ANCHORS)), inside)] = 0
        for a in inside:
            best = max((overlaps[a, g] for g in real), default=0)
            is_best = any(overlaps[a, g] >= 0.99999 * overlaps[:, g].max() > 0 for g in real)
            if best >= positive_iou or is_best:
                positive.append(a)
            elif best < negative_iou and all(overlaps[a, g] < crowd_iou for g in crowd):
                negative.append(a)
        kept = sorted(best_noise(positive, noise[b])[: count // 2])
        match[b, kept] = 1
        match[b, best_noise(negative, noise[b])[: count - len(kept)]] = -1
        for slot, a in enumerate(kept):
            g = max(real, key=lambda g, a=a: overlaps[a, g])  # the first of the best
            deltas[b, slot] = naive.encode(ANCHORS[a], boxes[b, g]) / STD_DEV
    return match, deltas


def rpn(class_ids, boxes, noise):
    return {
        count: ops_targets.rpn_targets(
            ops.convert_to_tensor(ANCHORS),
            class_ids,
            boxes,
            noise,
            RpnTargetSettings(count, STD_DEV),
        )
        for count in (COUNT, 2 * len(ANCHORS))
    }


RPN = whole(rpn)


@functools.cache
def rpn_run(count):
    return quick(
        lambda *tensors: ops_targets.rpn_targets(*tensors, RpnTargetSettings(count, STD_DEV))
    )


class TestRpnTargets:
    @pytest.mark.parametrize("seed", [0, 1])
    def test_like_the_loops(self, seed):
        case = rpn_images(seed)
        expected = {count: naive_rpn(*case, count) for count in (COUNT, 2 * len(ANCHORS))}
        assert (expected[COUNT][0][7] == 1).sum() == COUNT // 2
        assert (expected[2 * len(ANCHORS)][0][7] == 1).sum() > COUNT // 2
        for name, run in RPN:
            for count, (match, deltas) in run(*case).items():
                np.testing.assert_array_equal(match, expected[count][0], err_msg=name)
                np.testing.assert_allclose(deltas, expected[count][1], atol=1e-4, err_msg=name)
                assert match.dtype == np.int32 and deltas.shape == (IMAGES, count, 4)

    @pytest.mark.parametrize(
        "thresholds",
        [(0.5, 0.4, 0.001), (0.9, 0.1, 0.2), (0.6, 0.6, 0.05), (0.7, 0.3, 0.3)],
    )
    def test_other_thresholds(self, thresholds):
        case, count = rpn_images(0), 2 * len(ANCHORS)
        expected, expected_deltas = naive_rpn(*case, count, *thresholds)
        assert (expected != naive_rpn(*case, count)[0]).any()
        settings = RpnTargetSettings(count, STD_DEV, *thresholds)
        run = quick(lambda *tensors: ops_targets.rpn_targets(*tensors, settings))
        match, deltas = run(ANCHORS, *case)
        np.testing.assert_array_equal(match, expected)
        np.testing.assert_allclose(deltas, expected_deltas, atol=1e-4)

    def test_awkward_images(self):
        for name, run in RPN:
            match, deltas = run(*rpn_images(2))[COUNT]
            assert np.isfinite(deltas).all(), name
            for b in (1, 5):  # nothing to find: negatives only
                np.testing.assert_array_equal(np.unique(match[b]), [-1, 0], err_msg=name)
                assert (match[b] == -1).sum() == COUNT and not deltas[b].any(), name
            assert (match[2] < 1).all(), name  # a crowd is no object
            assert (match[4] == 1).any(), name

    def test_every_object_has_its_best_anchor(self):
        # Eager or compiled: the best anchor is found by an equality of two floats.
        for seed in range(20):
            class_ids, boxes, noise = rpn_images(10 + seed)
            for name, run in RPN[-1:]:
                match = run(class_ids, boxes, noise)[2 * len(ANCHORS)][0]
                for b in (0, 3):
                    for box in boxes[b][class_ids[b] > 0]:
                        best = naive.overlaps(ANCHORS, [box])[:, 0].argmax()
                        assert match[b, best] == 1, name

    def test_empty_slots_at_the_end_change_nothing(self):
        def both(class_ids, boxes):
            anchors = ops.convert_to_tensor(ANCHORS)
            full = ops_targets.anchor_overlaps(anchors, class_ids, boxes)
            return full, ops_targets.anchor_overlaps(anchors, class_ids[:, :3], boxes[:, :3])

        class_ids, boxes, _ = rpn_images(3)
        for some, same in zip(*quick(both)(class_ids[:4], boxes[:4]), strict=True):
            np.testing.assert_array_equal(some, same)

    @pytest.mark.parametrize("loops", [1, 2, 3])
    def test_objects_may_be_compared_a_few_at_a_time(self, loops, monkeypatch):
        def overlaps(class_ids, boxes):
            return ops_targets.anchor_overlaps(ops.convert_to_tensor(ANCHORS), class_ids, boxes)

        class_ids, boxes, _ = rpn_images(3)
        one_by_one = quick(overlaps)(class_ids, boxes)
        monkeypatch.setattr(ops_targets, "LOOPS", loops)
        together = quick(lambda *images: overlaps(*images))(class_ids, boxes)
        for some, same in zip(together, one_by_one, strict=True):
            # XLA fuses each program in its own way, which may move the last digit.
            np.testing.assert_allclose(some, same, rtol=1e-6)

    def test_a_single_anchor_takes_part(self):
        match, deltas = rpn_run(1)(ANCHORS, *rpn_images(4))
        np.testing.assert_array_equal((match != 0).sum(1), 1)
        assert deltas.shape == (IMAGES, 1, 4)

    def test_every_surplus_anchor_is_as_likely(self):
        class_ids, boxes, _ = (array[7:8] for array in rpn_images(5))
        rng = np.random.default_rng(6)
        noise = rng.uniform(size=(1500, len(ANCHORS))).astype(np.float32)
        class_ids, boxes = np.tile(class_ids, (1500, 1)), np.tile(boxes, (1500, 1, 1))
        match = rpn_run(COUNT)(ANCHORS, class_ids, boxes, noise)[0]
        for label in (1, -1):
            share = (match == label).mean(axis=0)
            drawn = share[share > 0]
            assert len(drawn) > COUNT // 2
            expected = COUNT // 2 / len(drawn)
            spread = np.sqrt(expected * (1 - expected) / 1500)
            assert abs(drawn - expected).max() < 5 * spread

    def test_border_anchors_may_take_no_part(self):
        class_ids, boxes, noise = rpn_images(7)
        # Images of all sorts of sizes in their padding, and one without.
        windows = np.array([[0, 0, 64, 64], [8, 4, 56, 60], [0, 16, 64, 48], [30, 30, 34, 50]])
        windows = np.concatenate([windows, windows[::-1]]).astype(np.float32)
        count = 2 * len(ANCHORS)
        settings = RpnTargetSettings(count, STD_DEV, border_anchors="ignore")

        def both(class_ids, boxes, noise, windows):
            anchors = ops.convert_to_tensor(ANCHORS)
            crossing = ops_targets.crosses_border(anchors, windows)
            targets = ops_targets.rpn_targets(anchors, class_ids, boxes, noise, settings, windows)
            return crossing, *targets

        expected, expected_deltas = naive_rpn(class_ids, boxes, noise, count, windows=windows)
        kept = naive_rpn(class_ids, boxes, noise, count)[0]
        assert (expected != kept).any() and (expected == 1).sum() > 10
        # An object at the border has another best anchor.
        assert ((expected == 1) & (kept != 1)).any()
        for name, run in whole(both):
            crossing, match, deltas = run(class_ids, boxes, noise, windows)
            for b, a in np.ndindex(crossing.shape):
                assert crossing[b, a] == naive_crosses(ANCHORS[a], windows[b])
            assert (match[crossing] == 0).all() and crossing.any()
            np.testing.assert_array_equal(match, expected, err_msg=name)
            np.testing.assert_allclose(deltas, expected_deltas, atol=1e-4, err_msg=name)

    def test_without_windows_there_is_no_border(self):
        settings = RpnTargetSettings(COUNT, border_anchors="ignore")
        with pytest.raises(ValueError, match="windows: expected .*not padding"):
            ops_targets.rpn_targets(ops.convert_to_tensor(ANCHORS), *rpn_images(0), settings)
        with pytest.raises(ValueError, match="'keep' or 'ignore'; received 'drop'"):
            RpnTargetSettings(border_anchors="drop")

    @pytest.mark.parametrize("case", range(5))
    def test_parity(self, fixtures, case):
        vectors = np.load(fixtures / "util_vectors.npz")
        facts = json.loads((fixtures / "util_vectors.json").read_text())["rpn_targets"][case]
        count = facts["RPN_TRAIN_ANCHORS_PER_IMAGE"]
        anchors = vectors[facts["anchors"]].astype(np.float32)
        class_ids, boxes = vectors[f"rpnt{case}_gt_ids"], vectors[f"rpnt{case}_gt_boxes"]
        expected = vectors[f"rpnt{case}_match"]
        labelled = expected != 0
        assert ((expected == 1).sum(), (expected == -1).sum()) == (facts["pos"], facts["neg"])
        # Of anchors that are equally good Matterport keeps those that rounding left.
        overlaps = compute_overlaps(vectors[facts["anchors"]], boxes[class_ids > 0])
        tied = (overlaps >= 0.99999 * overlaps.max(axis=0)).any(axis=1)
        extra = tied & (expected != 1)
        assert tied.sum() <= 2 * len(overlaps[0])

        rng = np.random.default_rng(case)
        noise = rng.permutation(len(expected)) / len(expected)
        # The second image's noise is on Matterport's side: so must be its draw.
        noise = np.stack([noise, 0.5 * noise + 0.5 * labelled]).astype(np.float32)
        slots = 30 - len(class_ids)
        objects = (
            np.stack([np.pad(class_ids, (0, slots))] * 2),
            np.stack([np.pad(boxes, ((0, slots), (0, 0)))] * 2).astype(np.float32),
        )
        everything = rpn_run(2 * len(expected))(anchors, *objects, noise)[0][0]
        (drawn, match), (_, deltas) = rpn_run(count)(anchors, *objects, noise)

        np.testing.assert_array_equal(everything[labelled], expected[labelled])
        if facts["pos"] < count // 2:  # no positive was dropped
            np.testing.assert_array_equal(everything == 1, (expected == 1) | extra)
        positives = min((everything == 1).sum(), count // 2)
        assert ((drawn == 1).sum(), (drawn == -1).sum()) == (positives, count - positives)

        ours = np.flatnonzero(match == 1)
        np.testing.assert_array_equal(ours[~extra[ours]], np.flatnonzero(expected == 1))
        assert (expected[match == -1] == -1).all()
        got, wanted = deltas[: len(ours)][~extra[ours]], vectors[f"rpnt{case}_bbox"]
        np.testing.assert_allclose(got, wanted[: len(got)], rtol=1e-5, atol=1e-5)
        assert not wanted[len(got) :].any() and not deltas[len(ours) :].any()


# --- second stage -------------------------------------------------------------------

PROPOSALS, ROIS, RATIO, MASK = 30, 12, 0.33, (4, 4)


def roi_images(seed: int):
    """(proposals, gt_class_ids, gt_boxes, gt_masks, noise)."""
    rng = np.random.default_rng(seed)
    class_ids = rng.integers(1, 4, (IMAGES, INSTANCES))
    boxes = random_boxes(rng, (IMAGES, INSTANCES), 0.1)
    class_ids[:, 3:], boxes[:, 3:] = 0, 0
    proposals = random_boxes(rng, (IMAGES, PROPOSALS))
    near = np.repeat(boxes[:, :3], 2, axis=1)
    proposals[:, :6] = near + rng.uniform(-0.015, 0.015, near.shape)
    proposals[:, 6:9] = boxes[:, :3]  # perfect fits
    class_ids[1], boxes[1] = 0, 0  # no object
    class_ids[2, :3] = -1  # crowds only
    class_ids[3, 1] = -2  # a crowd among the objects
    class_ids[4], boxes[4, [0, 1, 3, 4]] = [0, 0, 3, 0, 0], [-5, 7, 1e3, 1e6]  # garbage slots
    proposals[5] = 0  # padding only
    proposals[6, 1:] = 0  # a single one
    proposals[7] = np.resize(boxes[7, :3], (PROPOSALS, 4))  # positives only
    proposals[:, 25:] = 0
    masks = rng.integers(0, 2, (IMAGES, INSTANCES, 6, 7))
    noise = rng.permuted(np.tile(np.arange(PROPOSALS), (IMAGES, 1)), axis=1) / PROPOSALS
    arrays = (proposals, class_ids, boxes, masks, noise)
    kinds = (np.float32, np.int32, np.float32, np.float32, np.float32)
    return tuple(array.astype(kind) for array, kind in zip(arrays, kinds, strict=True))


def relative(roi, box) -> list[float]:
    height, width = float(box[2] - box[0]), float(box[3] - box[1])
    return [
        (float(side) - float(box[i % 2])) / (width if i % 2 else height)
        for i, side in enumerate(roi)
    ]


def naive_rois(
    proposals,
    class_ids,
    boxes,
    masks,
    noise,
    count,
    mini_masks,
    positive_iou=0.5,
    crowd_iou=0.001,
    ground_truth=False,
    fill_up=False,
):
    slots = int(count * RATIO)
    if ground_truth:
        own = np.where((class_ids > 0)[..., None], boxes, 0)
        proposals = np.concatenate([proposals, own], axis=1)
    images = len(proposals)
    got = {
        "rois": np.zeros((images, count, 4)),
        "class_ids": np.zeros((images, count), int),
        "deltas": np.zeros((images, count, 4)),
        "masks": np.zeros((images, slots, *MASK)),
        "valid": np.zeros((images, count), bool),
    }
    for b in range(images):
        overlaps = naive.overlaps(proposals[b], boxes[b])
        real, crowd = np.flatnonzero(class_ids[b] > 0), np.flatnonzero(class_ids[b] < 0)
        positive, negative = [], []
        for n in range(len(proposals[b])):
            best = max((overlaps[n, g] for g in real), default=0)
            if not proposals[b, n].any():
                continue
            if best >= positive_iou:
                positive.append(n)
            elif all(overlaps[n, g] < crowd_iou for g in crowd):
                negative.append(n)
        positive = best_noise(positive, noise[b])[:slots]
        wanted = int(np.float32(len(positive)) * np.float32(1 / RATIO)) - len(positive)
        wanted = count if fill_up else wanted
        negative = best_noise(negative, noise[b])[: min(wanted, count - len(positive))]
        drawn = positive + negative
        got["rois"][b, : len(drawn)] = proposals[b, drawn]
        got["valid"][b, : len(drawn)] = True
        for slot, n in enumerate(positive):
            g = max(real, key=lambda g, n=n: overlaps[n, g])
            got["class_ids"][b, slot] = class_ids[b, g]
            got["deltas"][b, slot] = naive.encode(proposals[b, n], boxes[b, g]) / STD_DEV
            frame = relative(proposals[b, n], boxes[b, g]) if mini_masks else proposals[b, n]
            crop = naive.crop(masks[b, g][..., None], frame, MASK)[..., 0]
            got["masks"][b, slot] = np.where(abs(crop - 0.5) < 1e-3, np.nan, np.round(crop))
    return got


def roi_targets(*tensors, count=ROIS, mini_masks=True, ratio=RATIO, shape=MASK, **options):
    settings = {
        name: options.pop(name)
        for name in ("positive_iou", "crowd_iou", "ground_truth", "fill_up", "pixel_boxes")
        if name in options
    }
    settings = RoiTargetSettings(count, ratio, STD_DEV, shape, mini_masks, **settings)
    return ops_targets.detection_targets(*tensors, settings, **options)


def rois(*arrays):
    return {
        "few": roi_targets(*arrays),
        # More than there are proposals.
        "many": roi_targets(*arrays, count=100, mini_masks=False),
    }


ROI = whole(rois)


def to_pixels(boxes, height: int, width: int) -> np.ndarray:
    scale, shift = np.array([height, width] * 2) - 1, np.array([0, 0, 1, 1])
    return (boxes * scale + shift).astype(np.float32)


def once(*arrays, **options) -> ops_targets.DetectionTargets:
    return quick(lambda *tensors: roi_targets(*tensors, **options))(*arrays)


def assert_targets(got, expected, name=""):
    for key, value in expected.items():
        part = getattr(got, key)
        if key == "masks":  # a pixel halfway may go either way
            part = np.where(np.isnan(value), np.nan, part)
        np.testing.assert_allclose(part, value, atol=1e-4, err_msg=f"{name} {key}")


class TestDetectionTargets:
    @pytest.mark.parametrize(
        "changed", [("ground_truth",), ("fill_up",), ("ground_truth", "fill_up")]
    )
    def test_objects_among_the_proposals_and_negatives_in_the_places_of_positives(self, changed):
        options = dict.fromkeys(changed, True)
        *case, noise = roi_images(2)
        rng = np.random.default_rng(3)
        columns = PROPOSALS + (INSTANCES if "ground_truth" in changed else 0)
        noise = rng.permuted(np.tile(np.arange(columns), (IMAGES, 1)), axis=1) / columns
        case = (*case, noise.astype(np.float32))
        expected = naive_rois(*case, ROIS, True, **options)
        assert_targets(once(*case, **options), expected)
        # The image without objects has negatives, and the one whose proposals are padding a RoI.
        assert expected["valid"][1].any() == ("fill_up" in changed)
        assert expected["valid"][5].any() == ("ground_truth" in changed)

    @pytest.mark.parametrize("mini_masks", [True, False])
    def test_boxes_may_be_in_pixels(self, mini_masks):
        """Matterport's masks of them are the same as those of normalized boxes."""
        proposals, class_ids, boxes, masks, noise = roi_images(4)
        height, width = masks.shape[2:]
        pixels = [
            np.where(b.any(axis=-1, keepdims=True), to_pixels(b, height, width), 0)
            for b in (proposals, boxes)
        ]
        frame = once(proposals, class_ids, boxes, masks, noise, mini_masks=mini_masks)
        got = once(
            pixels[0], class_ids, pixels[1], masks, noise, mini_masks=mini_masks, pixel_boxes=True
        )
        assert got.rois.shape == frame.rois.shape and got.class_ids.any()
        expected = naive.overlaps(pixels[0][0], pixels[1][0]).max(axis=1) >= 0.5
        found = [roi for roi, id in zip(got.rois[0], got.class_ids[0], strict=True) if id]
        assert all((np.abs(pixels[0][0][expected] - roi).max(axis=1) < 1e-4).any() for roi in found)

    def test_sampled_masks_need_pixels_and_a_window(self):
        with pytest.raises(ValueError, match="sampled_masks: expected pixel_boxes"):
            RoiTargetSettings(sampled_masks=True)
        settings = RoiTargetSettings(
            ROIS, RATIO, STD_DEV, MASK, False, pixel_boxes=True, sampled_masks=True
        )
        with pytest.raises(ValueError, match="windows: expected the part of each image"):
            ops_targets.detection_targets(*roi_images(0), settings)

    @pytest.mark.parametrize("seed", [0, 1])
    def test_like_the_loops(self, seed):
        case = roi_images(seed)
        expected = {
            "few": naive_rois(*case, ROIS, True),
            "many": naive_rois(*case, 100, False),
        }
        for name, run in ROI:
            got = run(*case)
            for key, value in expected.items():
                assert_targets(got[key], value, f"{name} {key}")

    @on_tensorflow
    @pytest.mark.parametrize("mini_masks", [False, True])
    def test_by_tensorflows_kernels(self, mini_masks):
        case = roi_images(2)
        got = once(*case, mini_masks=mini_masks, use_tf_kernels=True)
        assert_targets(got, naive_rois(*case, ROIS, mini_masks))

    @pytest.mark.parametrize("positive_iou, crowd_iou", [(0.3, 0.001), (0.8, 0.001), (0.5, 0.2)])
    def test_other_thresholds(self, positive_iou, crowd_iou):
        case = roi_images(1)
        expected = naive_rois(*case, 40, True, positive_iou, crowd_iou)
        assert (expected["rois"] != naive_rois(*case, 40, True)["rois"]).any()
        got = once(*case, count=40, positive_iou=positive_iou, crowd_iou=crowd_iou)
        assert_targets(got, expected)

    def test_awkward_images(self):
        for name, run in ROI:
            for targets in run(*roi_images(3)).values():
                parts = targets._asdict()
                assert all(np.isfinite(part).all() for part in parts.values()), name
                slots = targets.masks.shape[1]
                positives = (targets.class_ids > 0).sum(1)
                # No positive, no negative: an image without objects has no RoI.
                for b in (1, 2, 5):
                    assert not any(part[b].any() for part in parts.values()), name
                assert positives[7] == min(slots, 25), name  # all that fit
                assert not (targets.class_ids < 0).any(), name
                padding = ~targets.valid
                assert not targets.rois[padding].any(), name
                assert not targets.deltas[targets.class_ids == 0].any(), name
                assert not targets.masks[targets.class_ids[:, :slots] == 0].any(), name

    @given(seed=st.integers(0, 2**32 - 1))
    @few
    def test_positives_come_first_then_negatives(self, seed):
        case = roi_images(seed)
        run = ROI[-1][1]
        got = run(*case)["few"]._asdict()
        positives, rows = (got["class_ids"] > 0).sum(1), got["valid"].sum(1)
        slot = np.arange(ROIS)
        np.testing.assert_array_equal(got["class_ids"] > 0, slot < positives[:, None])
        np.testing.assert_array_equal(got["valid"], slot < rows[:, None])
        assert (positives <= int(ROIS * RATIO)).all()
        assert (rows <= positives / RATIO).all()
        assert set(np.unique(got["masks"])) <= {0, 1}
        for key, value in run(*case)["few"]._asdict().items():
            np.testing.assert_array_equal(got[key], value)

    def test_box_only_objects_train_boxes_and_no_masks(self):
        proposals, class_ids, boxes, masks, noise = roi_images(0)
        plain = once(proposals, class_ids, boxes, masks, noise)
        np.testing.assert_array_equal(plain.mask_class_ids, plain.class_ids[:, : int(ROIS * RATIO)])
        marked = masks.copy()
        marked[:, 0] = 2  # the first object of each image
        got = once(proposals, class_ids, boxes, marked, noise)
        for name in ("rois", "class_ids", "deltas", "valid"):
            np.testing.assert_array_equal(getattr(got, name), getattr(plain, name))
        kept, before = np.array(got.mask_class_ids), np.array(plain.mask_class_ids)
        lost = kept != before
        assert lost.any() and not kept[lost].any() and kept.any()
        assert not np.array(got.masks)[lost].any()
        np.testing.assert_array_equal(np.array(got.masks)[~lost], np.array(plain.masks)[~lost])

    @pytest.mark.parametrize("count, ratio, positives, rows", [(200, 0.33, 66, 200), (4, 1, 4, 4)])
    def test_the_share_of_positives(self, count, ratio, positives, rows):
        box = np.array([0.2, 0.2, 0.6, 0.6], np.float32)
        proposals = np.tile(box, (1, 400, 1))
        proposals[:, 200:] += 0.39
        got = once(
            proposals,
            np.ones((1, 1), np.int32),
            box[None, None],
            np.ones((1, 1, 4, 4), np.float32),
            np.linspace(0, 0.9, 400, dtype=np.float32)[None],
            count=count,
            ratio=ratio,
        )
        assert got.class_ids.sum() == positives
        assert got.valid.sum() == rows

    def test_no_slot_for_a_positive(self):
        got = once(*roi_images(4), count=2)
        assert not any(part.any() for part in got)
        assert got.masks.shape == (IMAGES, 0, *MASK)

    def test_every_proposal_is_as_likely(self):
        rng = np.random.default_rng(5)
        proposals, class_ids, boxes, masks, _ = (
            np.repeat(array[:1], 1500, axis=0) for array in roi_images(6)
        )
        noise = rng.uniform(size=(1500, PROPOSALS)).astype(np.float32)
        got = once(proposals, class_ids, boxes, masks, noise)
        positive = got.class_ids > 0
        for drawn in (positive, got.valid & ~positive):
            _, times = np.unique(got.rois[drawn], axis=0, return_counts=True)
            expected = times.sum() / len(times)
            share = expected / 1500
            assert 0 < share < 1
            assert abs(times - expected).max() < 5 * np.sqrt(expected * (1 - share))


@either
@pytest.mark.parametrize("kind", ["mini", "full"])
def test_parity_of_detection_targets(fixtures, kind, use_tf_kernels):
    vectors = np.load(fixtures / "loss_vectors.npz")
    wanted = {key: vectors[f"tgt_{kind}_{key}"] for key in ("rois", "class_ids", "deltas", "masks")}
    proposals = vectors[f"tgt_{kind}_proposals"]
    arrays = (
        proposals[None],
        vectors[f"tgt_{kind}_gt_ids"][None],
        vectors[f"tgt_{kind}_gt_boxes"][None],
        np.moveaxis(vectors[f"tgt_{kind}_gt_masks"], -1, 0)[None].astype(np.float32),
    )
    options = {
        "count": 60,
        "mini_masks": kind == "mini",
        "use_tf_kernels": use_tf_kernels,
        "shape": (28, 28),
    }
    rows = int((wanted["rois"] != 0).any(axis=1).sum())
    positives = int((wanted["class_ids"] > 0).sum())

    rng = np.random.default_rng(0)
    noise = 0.5 * rng.permutation(len(proposals)).astype(np.float32) / len(proposals)
    run = quick(lambda *tensors: roi_targets(*tensors, **options))
    got = run(*arrays, noise[None])
    assert (got.class_ids > 0).sum() == positives
    assert got.valid.sum() == rows

    # With the noise on Matterport's side, even the order is Matterport's.
    for place, roi in enumerate(wanted["rois"][:rows]):
        noise[(proposals == roi).all(axis=1)] = 0.99 - 0.4 * place / rows
    got = run(*arrays, noise[None])
    for key in ("rois", "class_ids", "deltas"):
        np.testing.assert_allclose(getattr(got, key)[0], wanted[key], atol=1e-5, err_msg=key)
    slots = got.masks.shape[1]
    np.testing.assert_array_equal(got.masks[0], wanted["masks"][:slots])
    assert not wanted["masks"][slots:].any()
