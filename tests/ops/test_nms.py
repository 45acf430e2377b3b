"""Non-maximum suppression, and what is built on it: proposals and detections."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from mrcnn.data.boxes import compute_overlaps
from mrcnn.layers.detections import DetectionSettings, refine_detections
from mrcnn.layers.proposals import ProposalSettings, propose
from mrcnn.ops import nms, torch_nms
from mrcnn.ops.nms import nms_sorted
from tests.ops import naive
from tests.ops.variants import quick
from tests.support import compiled, gradient

few = settings(max_examples=8, deadline=None)
on_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="the kernels are TensorFlow's"
)
STD_DEV = np.array([0.1, 0.1, 0.2, 0.2], np.float32)
IMAGES, ROWS = 7, 12


@pytest.fixture(scope="module")
def vectors(fixtures):
    return np.load(fixtures / "loss_vectors.npz")


def naive_nms(boxes, valid, threshold, count, groups=None) -> tuple[np.ndarray, np.ndarray]:
    index, found = np.zeros((len(boxes), count), int), np.zeros((len(boxes), count), bool)
    for b, image in enumerate(boxes):
        kept: list[int] = []
        for i in range(len(image)):
            if not valid[b, i] or len(kept) == count:
                continue
            rivals = [j for j in kept if groups is None or groups[b, i] == groups[b, j]]
            if not any(naive.iou(image[i], image[j]) > threshold for j in rivals):
                kept.append(i)
        index[b, : len(kept)], found[b, : len(kept)] = kept, True
    return index, found


def images(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(boxes, valid, groups): two random images and five awkward ones."""
    rng = np.random.default_rng(seed)
    boxes = np.sort(rng.uniform(0, 1, (IMAGES, ROWS, 2, 2)), axis=2).reshape(IMAGES, ROWS, 4)
    boxes[0] = [0.2, 0.2, 0.7, 0.7] + rng.uniform(-0.1, 0.1, (ROWS, 4))  # a heap
    valid = rng.uniform(size=(IMAGES, ROWS)) < 0.8
    boxes[2], valid[2] = [0.1, 0.1, 0.9, 0.9], True  # the same box again and again
    boxes[3] = 0  # no area: none suppresses another
    valid[4] = False
    valid[5] = np.arange(ROWS) == ROWS - 1
    # An IoU of exactly one half, touching boxes, and boxes outside.
    boxes[6, :6] = [[0, 0, 1, 1], [0, 0, 0.5, 1], [0.5, 0, 1, 1], [2, 2, 3, 3], [0] * 4, [1] * 4]
    boxes[6, 6:], valid[6] = boxes[6, :6] - [0, 0, 0, 0.125], True
    groups = rng.integers(0, 3, (IMAGES, ROWS))
    return boxes.astype(np.float32), valid, groups.astype(np.int32)


@pytest.fixture(autouse=True, params=[False, True] if torch_nms.kernel() else [False])
def without_torchvision(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """On PyTorch, with torchvision's kernel and without."""
    if request.param:
        monkeypatch.setattr(torch_nms, "kernel", lambda: None)


def everything(boxes, valid, groups):
    return {
        "few": nms_sorted(boxes, valid, 0.5, 3),
        "more than rows": nms_sorted(boxes, valid, 0.5, ROWS + 2),
        "groups": nms_sorted(boxes, valid, 0.5, 6, groups=groups),
    }


EVERYTHING = compiled(everything)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_like_the_loops(seed):
    boxes, valid, groups = images(seed)
    expected = {
        "few": naive_nms(boxes, valid, 0.5, 3),
        "more than rows": naive_nms(boxes, valid, 0.5, ROWS + 2),
        "groups": naive_nms(boxes, valid, 0.5, 6, groups),
    }
    for name, run in EVERYTHING:
        got = run(boxes, valid, groups)
        for key, (index, found) in expected.items():
            np.testing.assert_array_equal(got[key][1], found, err_msg=f"{name} {key}")
            np.testing.assert_array_equal(got[key][0], index, err_msg=f"{name} {key}")
        assert got["few"][0].dtype == np.int32, name


@pytest.mark.parametrize("block", [1, 5, 7])
def test_blocks_of_any_size_keep_the_same(monkeypatch, block):
    boxes, valid, groups = images(4)
    monkeypatch.setattr(nms, "BLOCK", block)
    for count in (1, 3, ROWS + 2):
        found = nms_sorted(boxes, valid, 0.5, count, groups=groups)
        expected = naive_nms(boxes, valid, 0.5, count, groups)
        for got, wanted in zip(found, expected, strict=True):
            np.testing.assert_array_equal(ops.convert_to_numpy(got), wanted)


def test_a_chain_in_which_each_box_suppresses_the_next():
    """Every other one is kept, which takes as many rounds as there are boxes."""
    rows = 40
    left = np.arange(rows, dtype=np.float32)[:, None] * 0.3
    box = np.array([0, 0, 1, 1], np.float32)
    boxes = (box + left * np.array([0, 1, 0, 1], np.float32))[None]
    index, found = nms_sorted(boxes, np.ones((1, rows), bool), 0.5, rows)
    kept = ops.convert_to_numpy(index)[ops.convert_to_numpy(found)]
    np.testing.assert_array_equal(kept, np.arange(0, rows, 2))


def test_thousands_of_boxes_in_heaps():
    random = np.random.default_rng(0)
    centers = random.uniform(0, 1, (2, 40, 2)).repeat(50, axis=1)
    centers += random.normal(0, 0.02, centers.shape)
    boxes = np.concatenate([centers - 0.05, centers + 0.05], axis=-1).astype(np.float32)
    valid = random.uniform(size=boxes.shape[:2]) < 0.95
    for count in (100, 2000):
        index, found = map(ops.convert_to_numpy, nms_sorted(boxes, valid, 0.7, count))
        for b in range(2):
            kept: list[int] = []
            for i in np.flatnonzero(valid[b]):
                rivals = compute_overlaps(boxes[b, i : i + 1], boxes[b, kept])
                if len(kept) < count and not (rivals > 0.7).any():
                    kept.append(i)
            np.testing.assert_array_equal(index[b, found[b]], kept)


@given(seed=st.integers(0, 2**32 - 1), threshold=st.sampled_from([0.0, 0.3, 0.7, 1.0]))
@few
def test_what_is_kept(seed, threshold):
    boxes, valid, _ = images(seed)
    index, found = map(ops.convert_to_numpy, nms_sorted(boxes, valid, threshold, ROWS))
    for b in range(IMAGES):
        kept = index[b, found[b]]
        assert valid[b, kept].all()
        assert (np.diff(kept) > 0).all()  # in order of score
        overlaps = np.triu(naive.overlaps(boxes[b, kept], boxes[b, kept]), 1)
        assert (overlaps <= threshold + 1e-6).all()
        lost = np.setdiff1d(np.flatnonzero(valid[b]), kept)
        reasons = naive.overlaps(boxes[b, lost], boxes[b, kept]) > threshold - 1e-6
        assert (reasons & (kept < lost[:, None])).any(axis=1).all()


def test_no_gradient_flows_to_the_boxes():
    boxes, valid, _ = images(3)

    def kept(b):
        index, found = nms_sorted(b, ops.convert_to_tensor(valid), 0.5, 3)
        return ops.sum(ops.cast(index, "float32")) + ops.sum(ops.cast(found, "float32"))

    assert not gradient(kept, boxes).any()


@on_tensorflow
class TestNative:
    @pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 0.7, 1.0])
    @pytest.mark.parametrize("count", [1, 5, ROWS + 3])
    @pytest.mark.parametrize("grouped", [False, True])
    def test_like_the_loops(self, threshold, count, grouped):
        for seed in range(4):
            boxes, valid, groups = images(seed)
            groups = groups if grouped else None
            tensors = map(ops.convert_to_tensor, (boxes, valid))
            kinds = ops.convert_to_tensor(groups) if grouped else None
            got = nms_sorted(*tensors, threshold, count, groups=kinds, use_tf_kernels=True)
            index, found = naive_nms(boxes, valid, threshold, count, groups)
            np.testing.assert_array_equal(got[1], found)
            np.testing.assert_array_equal(got[0], index)

    def test_the_twins_agree(self):
        run = dict(EVERYTHING)["xla"]
        for seed in range(100, 160):
            boxes, valid, groups = map(ops.convert_to_tensor, images(seed))
            pure = run(boxes, valid, groups)
            by_kernel = {
                "few": nms_sorted(boxes, valid, 0.5, 3, use_tf_kernels=True),
                "more than rows": nms_sorted(boxes, valid, 0.5, ROWS + 2, use_tf_kernels=True),
                "groups": nms_sorted(boxes, valid, 0.5, 6, groups=groups, use_tf_kernels=True),
            }
            for key, (index, found) in by_kernel.items():
                np.testing.assert_array_equal(pure[key][0], index, err_msg=key)
                np.testing.assert_array_equal(pure[key][1], found, err_msg=key)

    def test_in_a_graph(self):
        import tensorflow as tf

        boxes, valid, groups = images(5)
        run = tf.function(
            lambda: (
                nms_sorted(boxes, valid, 0.5, 4, use_tf_kernels=True),
                nms_sorted(boxes, valid, 0.5, 4, groups=groups, use_tf_kernels=True),
            ),
            jit_compile=False,
        )
        for got, kinds in zip(run(), (None, groups), strict=True):
            for part, expected in zip(got, naive_nms(boxes, valid, 0.5, 4, kinds), strict=True):
                np.testing.assert_array_equal(part, expected)


@pytest.mark.parametrize("use_tf_kernels", [False, pytest.param(True, marks=on_tensorflow)])
class TestParity:
    @pytest.mark.parametrize("tenths", [3, 5, 7])
    def test_kernel(self, vectors, tenths, use_tf_kernels):
        order = np.argsort(-vectors["nms_scores"], kind="stable")
        boxes, valid = vectors["nms_boxes"][order][None], np.ones((1, len(order)), bool)
        boxes, valid = ops.convert_to_tensor(boxes), ops.convert_to_tensor(valid)
        index, found = nms_sorted(
            boxes, valid, tenths / 10, len(order), use_tf_kernels=use_tf_kernels
        )
        kept = order[ops.convert_to_numpy(index)[ops.convert_to_numpy(found)]]
        np.testing.assert_array_equal(kept, vectors[f"nms_keep_{tenths}"])

    @pytest.mark.parametrize("key, threshold", [("prop_out", 0.7), ("prop_out_big", 0.3)])
    def test_proposals(self, vectors, key, threshold, use_tf_kernels):
        expected = vectors[key]

        def run(scores, deltas, anchors):
            return propose(
                scores,
                deltas,
                anchors,
                ProposalSettings(expected.shape[1], threshold, pre_nms_limit=200, std_dev=STD_DEV),
                use_tf_kernels=use_tf_kernels,
            )

        # Eager, or compiled by XLA where it can be: whichever is the quicker of the two.
        variants = compiled(run)
        run = variants[0 if use_tf_kernels else -1][1]
        scores = vectors["prop_scores"][..., 1]
        got, chosen, moved = run(scores, vectors["prop_deltas"], vectors["prop_anchors"])
        np.testing.assert_allclose(got, expected, atol=1e-5)
        assert chosen.shape == moved.shape == (2, 200, 4)

    @pytest.mark.parametrize(
        "key, confidence, background",
        [("ref_out", 0.5, 0), ("ref_out_noconf", 0.0, 0), ("ref_out_allbg", 0.5, 1)],
    )
    def test_detections(self, vectors, key, confidence, background, use_tf_kernels):
        probabilities = vectors["ref_probs"].copy()
        if background:
            probabilities[:] = [1, 0, 0, 0]

        def run(rois, probabilities, deltas, window):
            return refine_detections(
                rois,
                probabilities,
                deltas,
                window,
                DetectionSettings(len(vectors[key]), confidence, 0.3, STD_DEV),
                use_tf_kernels=use_tf_kernels,
            )

        rest = [vectors[f"ref_{name}"][None] for name in ("rois", "deltas", "window")]
        got = quick(run)(rest[0], probabilities[None], *rest[1:])
        np.testing.assert_allclose(got[0], vectors[key], atol=1e-5)
