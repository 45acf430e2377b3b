"""Targets on the host, against Matterport's numbers and against the device's."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import settings

from mrcnn.config import Config
from mrcnn.data.boxes import apply_box_deltas, compute_overlaps, norm_boxes
from mrcnn.matterport.anchors import generate_pyramid_anchors
from mrcnn.matterport.targets import build_detection_targets, build_rpn_targets
from mrcnn.ops.target_settings import RoiTargetSettings, RpnTargetSettings
from tests.ops import naive

few = settings(max_examples=40, deadline=None)
STD_DEV = np.array([0.1, 0.1, 0.2, 0.2])
ANCHORS = generate_pyramid_anchors((12, 24), [0.5, 1, 2], [(16, 16), (8, 8)], [4, 8], 1)


def configure(**settings):
    """Matterport's settings, but for those given."""
    return type("Some", (Config,), settings)()


def rpn_config(count=16, **thresholds):
    return configure(RPN_TRAIN_ANCHORS_PER_IMAGE=count, RPN_BBOX_STD_DEV=STD_DEV, **thresholds)


def some_objects(rng, count=4, side=64):
    """(class ids, boxes int32): objects, one crowd among them, one empty slot."""
    corner = rng.integers(0, side - 24, (count, 2))
    boxes = np.concatenate([corner, corner + rng.integers(6, 24, (count, 2))], axis=1)
    class_ids = rng.integers(1, 3, count)
    class_ids[1:3] = -1, 0
    return class_ids.astype(np.int32), boxes.astype(np.int32)


class TestRpnTargets:
    @pytest.mark.parametrize("case", range(5))
    def test_parity_with_matterports_random_draw(self, fixtures, case):
        vectors = np.load(fixtures / "util_vectors.npz")
        facts = json.loads((fixtures / "util_vectors.json").read_text())["rpn_targets"][case]
        state = np.random.get_state()
        try:
            np.random.seed(facts["np_seed"])
            match, deltas = build_rpn_targets(
                (128, 128, 3),
                vectors[facts["anchors"]],
                vectors[f"rpnt{case}_gt_ids"],
                vectors[f"rpnt{case}_gt_boxes"],
                rpn_config(facts["RPN_TRAIN_ANCHORS_PER_IMAGE"]),
            )
        finally:
            np.random.set_state(state)
        assert match.dtype == np.int32
        np.testing.assert_array_equal(match, vectors[f"rpnt{case}_match"])
        np.testing.assert_allclose(deltas, vectors[f"rpnt{case}_bbox"], atol=1e-6)

    @pytest.mark.parametrize("count", [8, 64, 2 * len(ANCHORS)])
    def test_twin_of_the_device(self, count):
        from keras import ops

        from mrcnn.ops import targets

        for seed in range(6):
            rng = np.random.default_rng(seed)
            class_ids, boxes = some_objects(rng)
            expected = targets.rpn_targets(
                ops.convert_to_tensor(ANCHORS.astype(np.float32)),
                ops.convert_to_tensor(class_ids[None]),
                ops.convert_to_tensor(boxes[None].astype(np.float32)),
                ops.convert_to_tensor(rng.random((1, len(ANCHORS)), np.float32)),
                RpnTargetSettings(count, STD_DEV),
            )
            wanted, wanted_deltas = (ops.convert_to_numpy(array[0]) for array in expected)
            match, deltas = build_rpn_targets(
                (64, 64, 3), ANCHORS, class_ids, boxes, rpn_config(count), rng
            )
            # The device counts anchors within 1e-5 of the best as ties; rounding decides here.
            overlaps = compute_overlaps(ANCHORS, boxes[class_ids > 0])
            tied = (overlaps >= 0.99999 * overlaps.max(axis=0)).any(axis=1)
            if count == 2 * len(ANCHORS):  # nothing is dropped
                np.testing.assert_array_equal(match[~tied], wanted[~tied])
                index, place = np.flatnonzero(match == 1), np.flatnonzero(wanted == 1)
                both = np.intersect1d(index, place)
                np.testing.assert_allclose(
                    deltas[np.searchsorted(index, both)],
                    wanted_deltas[np.searchsorted(place, both)],
                    atol=1e-4,
                )
                assert len(both) > 0 and not deltas[len(index) :].any()
            else:
                assert np.sum(match == 1) <= count // 2
                assert np.sum(match != 0) == np.sum(wanted != 0) == count

    def test_positive_deltas_lead_to_the_object(self):
        class_ids, boxes = np.array([1], np.int32), np.array([[10, 20, 38, 41]], np.int32)
        match, deltas = build_rpn_targets((64, 64, 3), ANCHORS, class_ids, boxes, rpn_config(64))
        positive = np.flatnonzero(match == 1)
        assert len(positive) > 0
        moved = apply_box_deltas(ANCHORS[positive], deltas[: len(positive)] * STD_DEV)
        np.testing.assert_allclose(moved, np.repeat(boxes, len(positive), axis=0), atol=1e-4)

    def test_a_crowd_takes_its_anchors_out_of_the_negatives(self):
        class_ids, boxes = np.array([-1], np.int32), np.array([[0, 0, 64, 32]], np.int32)
        config = rpn_config(2 * len(ANCHORS))
        match, deltas = build_rpn_targets((64, 64, 3), ANCHORS, class_ids, boxes, config)
        touched = compute_overlaps(ANCHORS, boxes)[:, 0] >= 0.001
        np.testing.assert_array_equal(match, np.where(touched, 0, -1))
        assert not deltas.any()

    def test_the_settings_are_the_thresholds(self):
        class_ids = np.array([1, -1], np.int32)
        boxes = np.array([[10, 20, 30, 40], [34, 0, 64, 32]], np.int32)

        def labels(**thresholds):
            config = rpn_config(2 * len(ANCHORS), **thresholds)
            return build_rpn_targets((64, 64, 3), ANCHORS, class_ids, boxes, config)[0]

        iou, crowd = compute_overlaps(ANCHORS, boxes).T
        best = iou == iou.max()
        thresholds = {"RPN_POSITIVE_IOU": 0.5, "RPN_NEGATIVE_IOU": 0.1, "CROWD_IOU": 0.2}
        expected = np.where((iou < 0.1) & (crowd < 0.2), -1, 0)
        expected[(iou >= 0.5) | best] = 1
        np.testing.assert_array_equal(labels(**thresholds), expected)
        for name, value in thresholds.items():  # each of them changes something
            assert (labels(**{name: value}) != labels()).any(), name

    @pytest.mark.parametrize(
        "boxes", [np.zeros((0, 4), np.int32), [[30, 30, 30, 40]], [[900, 900, 950, 950]]]
    )
    def test_nothing_to_find_gives_negatives_only(self, boxes):
        class_ids = np.ones(len(boxes), np.int32)
        match, deltas = build_rpn_targets((64, 64, 3), ANCHORS, class_ids, boxes, rpn_config())
        assert set(np.unique(match)) == {-1, 0} and np.sum(match == -1) == 16
        assert not deltas.any()

    @pytest.mark.parametrize("window", [None, (4, 8, 60, 52)])
    def test_border_anchors_as_on_the_device(self, window):
        from keras import ops

        from mrcnn.ops import targets

        class_ids = np.array([1, 2, -1], np.int32)
        boxes = np.array([[0, 0, 20, 18], [30, 20, 51, 44], [44, 0, 64, 20]], np.int32)
        count = 2 * len(ANCHORS)  # nothing is dropped
        border = (0, 0, 64, 64) if window is None else window
        expected = targets.rpn_targets(
            ops.convert_to_tensor(ANCHORS.astype(np.float32)),
            ops.convert_to_tensor(class_ids[None]),
            ops.convert_to_tensor(boxes[None].astype(np.float32)),
            ops.zeros((1, len(ANCHORS))),
            RpnTargetSettings(count, STD_DEV, border_anchors="ignore"),
            ops.convert_to_tensor(np.array([border], np.float32)),
        )
        wanted, wanted_deltas = (ops.convert_to_numpy(array[0]) for array in expected)
        match, deltas = build_rpn_targets(
            (64, 64, 3),
            ANCHORS,
            class_ids,
            boxes,
            rpn_config(count, RPN_BORDER_ANCHORS="ignore"),
            window=window,
        )
        np.testing.assert_array_equal(match, wanted)
        np.testing.assert_allclose(deltas, wanted_deltas, atol=1e-4)
        kept = build_rpn_targets((64, 64, 3), ANCHORS, class_ids, boxes, rpn_config(count))[0]
        assert (match != kept).sum() > 50 and {-1, 1} <= set(match)

    def test_the_generator_decides(self):
        class_ids, boxes = some_objects(np.random.default_rng(0))

        def match(seed):
            rng = np.random.default_rng(seed)
            return build_rpn_targets((64, 64), ANCHORS, class_ids, boxes, rpn_config(), rng)[0]

        np.testing.assert_array_equal(match(1), match(1))
        assert (match(1) != match(2)).any()


def head_config(count=12, mini=True, ratio=0.33, shape=(8, 8), **thresholds):
    config = configure(
        TRAIN_ROIS_PER_IMAGE=count,
        ROI_POSITIVE_RATIO=ratio,
        BBOX_STD_DEV=STD_DEV,
        USE_MINI_MASK=mini,
        NUM_CLASSES=4,
        **thresholds,
    )
    config.MASK_SHAPE = shape  # of any size: no network is built
    return config


class TestDetectionTargets:
    @pytest.mark.parametrize("kind", ["mini", "full"])
    def test_parity(self, fixtures, kind):
        vectors = np.load(fixtures / "loss_vectors.npz")
        names = ("proposals", "gt_ids", "gt_boxes", "gt_masks")
        proposals, class_ids, boxes, masks = (vectors[f"tgt_{kind}_{name}"] for name in names)
        wanted = {
            key: vectors[f"tgt_{kind}_{key}"] for key in ("rois", "class_ids", "deltas", "masks")
        }
        config = head_config(60, kind == "mini", shape=(28, 28))
        config.NUM_CLASSES = int(class_ids.max()) + 1
        scale = 1.0
        if kind == "full":
            # Normalized boxes to pixels of the masks; a pixel is what IoUs differ by.
            scale = np.array([masks.shape[0] - 1, masks.shape[1] - 1] * 2)
        offset = np.array([0, 0, 1, 1]) if kind == "full" else 0
        real = proposals.any(axis=1)
        pixels = np.where(real[:, None], proposals * scale + offset, 0).astype(np.float64)
        got = build_detection_targets(
            pixels, class_ids, boxes * scale + offset, masks, config, np.random.default_rng(0)
        )

        positive = got.class_ids > 0
        rows = (got.rois != 0).any(axis=1)
        np.testing.assert_array_equal(positive, np.arange(60) < positive.sum())
        np.testing.assert_array_equal(rows, np.arange(60) < rows.sum())
        if kind == "mini":  # in Matterport's unit
            assert positive.sum() == (wanted["class_ids"] > 0).sum()
            assert rows.sum() == (wanted["rois"] != 0).any(axis=1).sum()
        normalized = (got.rois - offset) / scale
        compared = 0
        for slot in np.flatnonzero(positive):
            place = np.abs(wanted["rois"] - normalized[slot]).max(axis=1).argmin()
            if np.abs(wanted["rois"][place] - normalized[slot]).max() > 1e-5:
                continue  # Matterport's draw left it out
            own = got.class_ids[slot]
            assert own == wanted["class_ids"][place]
            mask = got.masks[slot, :, :, own]
            assert np.mean(mask != wanted["masks"][place]) <= 0.002
            if kind == "mini":
                np.testing.assert_allclose(
                    got.bboxes[slot, own], wanted["deltas"][place], atol=1e-4
                )
            compared += 1
        assert compared >= 5

    def test_twin_of_the_device(self):
        """Any unit will do for both, so the device gets pixels; enough slots for all."""
        from keras import ops

        from mrcnn.ops import targets

        for seed in range(4):
            rois, class_ids, boxes, masks, config = self.case(seed, mini=True)
            got = build_detection_targets(rois, class_ids, boxes, masks, config)

            def tensor(array):
                return ops.convert_to_tensor(np.asarray(array, np.float32)[None])

            expected = targets.detection_targets(
                tensor(rois),
                ops.convert_to_tensor(class_ids[None]),
                tensor(boxes),
                tensor(masks.transpose(2, 0, 1)),
                tensor(np.linspace(0, 0.9, len(rois))),
                RoiTargetSettings(
                    config.TRAIN_ROIS_PER_IMAGE,
                    config.ROI_POSITIVE_RATIO,
                    STD_DEV,
                    config.MASK_SHAPE,
                    mini_masks=True,
                ),
            )
            wanted = {key: ops.convert_to_numpy(v)[0] for key, v in expected._asdict().items()}
            positive = np.sum(got.class_ids > 0)
            assert 0 < positive < config.TRAIN_ROIS_PER_IMAGE / 2  # none was left out
            own = got.bboxes[np.arange(len(got.rois)), got.class_ids]
            ours = np.column_stack([got.rois, got.class_ids, own])
            theirs = np.column_stack([wanted["rois"], wanted["class_ids"], wanted["deltas"]])
            ours, theirs = (rows[np.lexsort(rows[:, ::-1].T)] for rows in (ours, theirs))
            assert wanted["valid"].sum() == got.rois.any(axis=1).sum()
            np.testing.assert_allclose(ours[ours[:, 4] > 0], theirs[theirs[:, 4] > 0], atol=1e-4)

    @pytest.mark.parametrize("seed", range(5))
    @pytest.mark.parametrize("mini", [True, False])
    def test_masks_are_like_the_loops(self, mini, seed):
        rois, class_ids, boxes, masks, config = self.case(seed, mini)
        got = build_detection_targets(rois, class_ids, boxes, masks, config)
        objects = np.where(class_ids > 0, compute_overlaps(got.rois, boxes), 0).argmax(axis=1)
        for slot in np.flatnonzero(got.class_ids > 0):
            roi, g = got.rois[slot].astype(float), objects[slot]
            frame = norm_boxes(roi, masks.shape)
            if mini:
                origin, size = np.tile(boxes[g, :2], 2), np.tile(boxes[g, 2:] - boxes[g, :2], 2)
                frame = (roi - origin) / size
            crop = naive.crop(masks[..., g : g + 1], frame, config.MASK_SHAPE)[..., 0]
            clear = np.abs(crop - 0.5) > 1e-3  # halfway, rounding may go either way
            mask = got.masks[slot, :, :, got.class_ids[slot]]
            assert clear.mean() > 0.5
            np.testing.assert_array_equal(mask[clear], np.round(crop)[clear])

    def case(self, seed, mini):
        rng = np.random.default_rng(seed)
        class_ids, boxes = some_objects(rng)
        near = np.clip(np.repeat(boxes, 5, axis=0) + rng.integers(-3, 4, (20, 4)), 0, 64)
        rois = np.concatenate([near, np.zeros((5, 4), int)]).astype(np.int32)
        masks = rng.random((14, 14, 4) if mini else (64, 64, 4)) > 0.4
        return rois, class_ids, boxes, masks, head_config(60, mini, ratio=0.5)

    def test_shapes_and_only_the_own_class_is_filled(self):
        class_ids, boxes = np.array([2], np.int32), np.array([[8, 8, 40, 40]], np.int32)
        rois = np.array([[8, 8, 40, 40], [0, 0, 5, 5], [50, 50, 60, 60]], np.int32)
        masks = np.ones((14, 14, 1), bool)
        got = build_detection_targets(rois, class_ids, boxes, masks, head_config(6))
        assert got.rois.dtype == np.int32 and got.rois.shape == (6, 4)
        assert got.class_ids.tolist() == [2, 0, 0, 0, 0, 0]
        assert got.bboxes.shape == (6, 4, 4) and not got.bboxes.any()  # a perfect fit
        assert got.masks.shape == (6, 8, 8, 4)
        assert got.masks[0, :, :, 2].all() and got.masks.sum() == 64
        assert sorted(got.rois[1:3].tolist()) == rois[1:].tolist() and not got.rois[3:].any()

    def test_a_mask_is_cropped_to_its_roi(self):
        masks = np.zeros((64, 64, 1), bool)
        masks[8:40, 8:24] = True  # the left half of the box
        box = np.array([[8, 8, 40, 40]], np.int32)
        rois = np.array([[8, 8, 40, 40], [8, 8, 40, 24]], np.int32)
        config = head_config(8, mini=False)
        got = build_detection_targets(rois, np.array([1]), box, masks, config)
        for roi, mask in zip(got.rois[:2].tolist(), got.masks[:2, :, :, 1], strict=True):
            assert mask.mean() == {40: 0.5, 24: 1.0}[roi[3]]

    def test_a_crowd_takes_proposals_out_of_the_negatives(self):
        boxes = np.array([[0, 0, 20, 20], [30, 0, 64, 64]], np.int32)
        rois = np.array([[0, 0, 20, 20], [40, 10, 60, 30], [0, 40, 20, 60]], np.int32)
        masks = np.ones((14, 14, 2), bool)
        got = build_detection_targets(rois, np.array([1, -1]), boxes, masks, head_config())
        assert got.rois.any(axis=1).sum() == 2 and [40, 10, 60, 30] not in got.rois.tolist()

    def test_the_settings_are_the_thresholds(self):
        boxes = np.array([[0, 0, 20, 20], [30, 0, 64, 64]], np.int32)
        # IoU 0.6 with the object; none with either; 0.04 with the crowd.
        rois = np.array([[0, 0, 20, 12], [0, 40, 20, 60], [40, 10, 50, 18]], np.int32)
        masks = np.ones((14, 14, 2), bool)

        def found(**thresholds):
            config = head_config(12, **thresholds)
            got = build_detection_targets(rois, np.array([1, -1]), boxes, masks, config)
            rows = [rois.tolist().index(roi) for roi in got.rois.tolist() if any(roi)]
            return {row: int(class_id) for row, class_id in zip(rows, got.class_ids, strict=False)}

        assert found() == {0: 1, 1: 0}
        assert found(ROI_POSITIVE_IOU=0.61) == {}  # no positive, no RoI
        assert found(CROWD_IOU=0.05) == {0: 1, 1: 0, 2: 0}

    @pytest.mark.parametrize("objects", [0, 1])
    def test_no_positive_no_roi(self, objects):
        class_ids, boxes = np.ones(objects, int), np.tile([50, 50, 60, 60], (objects, 1))
        masks = np.ones((14, 14, objects), bool)
        rois = np.array([[0, 0, 20, 20]], np.int32)
        got = build_detection_targets(rois, class_ids, boxes, masks, head_config())
        assert not any(part.any() for part in got)

    def test_share_of_positives(self):
        box = np.array([[10, 10, 50, 50]], np.int32)
        rois = np.concatenate([np.tile(box, (300, 1)), np.tile([[0, 0, 5, 5]], (300, 1))])
        masks = np.ones((14, 14, 1), bool)
        got = build_detection_targets(rois, np.array([1]), box, masks, head_config(200))
        assert (got.class_ids > 0).sum() == 66 and got.rois.any(axis=1).sum() == 200
