"""The losses of Mask R-CNN, against loops and finite differences."""

from __future__ import annotations

import numpy as np
import pytest
from keras import ops

from mrcnn.ops import losses
from tests.support import compiled, gradient

B, A, K, R, P, C, SIDE = 2, 9, 4, 6, 3, 4, 3  # see the shape letters of mrcnn.ops.losses


def cases(seed: int) -> dict[str, np.ndarray]:
    """Inputs of all losses, with padding of every kind."""
    rng = np.random.default_rng(seed)
    match = rng.integers(-1, 2, (B, A))
    match[:, :2] = [1, -1]
    class_ids = rng.integers(0, C, (B, R))
    class_ids[:, 0] = 2
    case = {
        "match": match,
        "logits": rng.normal(0, 3, (B, A, 2)),
        "target_deltas": rng.normal(0, 1, (B, K, 4)),
        "deltas": rng.normal(0, 1, (B, A, 4)),
        "class_ids": class_ids,
        "head_logits": rng.normal(0, 3, (B, R, C)),
        "active": np.array([[1, 1, 0, 1], [1, 1, 1, 1]]),
        "valid": np.arange(R) < [[R - 2], [R]],
        "head_target_deltas": rng.normal(0, 1, (B, R, 4)),
        "head_deltas": rng.normal(0, 1, (B, R, C, 4)),
        "head_target_masks": rng.integers(0, 2, (B, P, SIDE, SIDE)),
        "head_masks": rng.uniform(0.05, 0.95, (B, P, SIDE, SIDE)),
    }
    kinds = {"match": np.int32, "class_ids": np.int32, "valid": bool}
    return {name: value.astype(kinds.get(name, np.float32)) for name, value in case.items()}


def everything(c):
    return {
        "rpn_class": losses.rpn_class_loss(c["match"], c["logits"]),
        "rpn_bbox": losses.rpn_bbox_loss(c["target_deltas"], c["match"], c["deltas"]),
        "class": losses.mrcnn_class_loss(c["class_ids"], c["head_logits"], c["active"], c["valid"]),
        "bbox": losses.mrcnn_bbox_loss(c["head_target_deltas"], c["class_ids"], c["head_deltas"]),
        "mask": losses.mrcnn_mask_loss(
            c["head_target_masks"], c["class_ids"][:, :P], c["head_masks"]
        ),
    }


# The inputs that the network predicts, and the loss of each.
PREDICTIONS = {
    "logits": "rpn_class",
    "deltas": "rpn_bbox",
    "head_logits": "class",
    "head_deltas": "bbox",
    "head_masks": "mask",
}
EVERYTHING = compiled(everything)


def mean(values) -> float:
    return float(np.mean(values)) if len(values) else 0.0


def naive_smooth_l1(true, predicted) -> float:
    distance = abs(float(true) - float(predicted))
    return 0.5 * distance**2 if distance < 1 else distance - 0.5


def naive_entropy(class_id, logits) -> float:
    logits = logits.astype(float)
    return float(np.log(np.exp(logits - logits.max()).sum()) + logits.max() - logits[class_id])


def naive_losses(c) -> dict[str, float]:
    values = {name: [] for name in ("rpn_class", "rpn_bbox", "bbox", "mask")}
    entropy, counted = 0.0, 0.0
    for b in range(len(c["match"])):
        targets = iter(c["target_deltas"][b])
        for a, match in enumerate(c["match"][b]):
            if match:
                values["rpn_class"].append(naive_entropy(int(match == 1), c["logits"][b, a]))
            target = next(targets, None) if match == 1 else None
            if target is not None:
                values["rpn_bbox"] += map(naive_smooth_l1, target, c["deltas"][b, a])
        for r, class_id in enumerate(c["class_ids"][b]):
            logits = c["head_logits"][b, r]
            flag = float(c["active"][b, logits.argmax()]) * bool(c["valid"][b, r])
            if flag:
                entropy, counted = entropy + naive_entropy(class_id, logits), counted + flag
            if class_id <= 0:
                continue
            target = c["head_target_deltas"][b, r]
            values["bbox"] += map(naive_smooth_l1, target, c["head_deltas"][b, r, class_id])
            if r < c["head_masks"].shape[1]:
                masks = c["head_target_masks"][b, r], c["head_masks"][b, r]
                for true, p in zip(*(mask.ravel() for mask in masks), strict=True):
                    values["mask"].append(-np.log(p if true else 1 - p))
    return {name: mean(v) for name, v in values.items()} | {"class": entropy / max(counted, 1)}


def loss_of(name: str, case: dict[str, np.ndarray]):
    """The loss that depends on the prediction `name`, as a function of it."""
    rest = {key: ops.convert_to_tensor(value) for key, value in case.items()}
    return lambda prediction: everything(rest | {name: prediction})[PREDICTIONS[name]]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_like_the_loops(seed):
    case = cases(seed)
    expected = naive_losses(case)
    for name, run in EVERYTHING:
        got = run(case)
        for key, value in expected.items():
            assert got[key] == pytest.approx(value, rel=2e-5), f"{name} {key}"


@pytest.mark.parametrize("name", PREDICTIONS)
def test_gradient_like_finite_differences(name):
    case = cases(3)
    slope = gradient(loss_of(name, case), case[name], jit=True)
    step = 1e-6
    for index in np.ndindex(case[name].shape):
        sides = []
        for sign in (1, -1):
            moved = case[name].astype(float)
            moved[index] += sign * step
            sides.append(naive_losses(case | {name: moved})[PREDICTIONS[name]])
        expected = (sides[0] - sides[1]) / (2 * step)
        assert slope[index] == pytest.approx(expected, abs=1e-5), index


@pytest.mark.parametrize("name", PREDICTIONS)
@pytest.mark.parametrize("jit", [False, True])
def test_nothing_counts(name, jit):
    """An image without objects: zero loss, zero gradient."""
    case = cases(4)
    for key in ("match", "class_ids", "active"):
        case[key][:] = 0
    loss = loss_of(name, case)
    assert float(loss(case[name])) == 0
    np.testing.assert_array_equal(gradient(loss, case[name], jit), 0)


@pytest.mark.parametrize("key", ["match", "class_ids", "active"])
def test_one_image_without_objects(key):
    case = cases(5)
    case[key][0] = 0
    expected = naive_losses(case)
    for name, value in everything(case).items():
        assert float(value) == pytest.approx(expected[name], rel=2e-5)


@pytest.mark.parametrize("name", PREDICTIONS)
def test_garbage_in_padding_changes_nothing(name):
    case = cases(6)
    case["match"][:, 5:] = 0
    case["class_ids"][:, P - 1 :] = -3
    case["valid"] = np.tile(np.arange(R) < P - 1, (B, 1))
    dirty = {key: value.copy() for key, value in case.items()}
    for key in ("logits", "deltas"):
        dirty[key][:, 5:] = 1e30
    for key in ("head_logits", "head_target_deltas", "head_deltas"):
        dirty[key][:, P - 1 :] = -1e30
    dirty["head_logits"][:, P - 1 :, 1] = 1e30
    dirty["head_target_masks"][:, P - 1 :] = 255
    dirty["class_ids"][:, P - 1 :] = -1000
    dirty["target_deltas"] = np.where(
        np.arange(K)[:, None] < (case["match"] == 1).sum(1)[:, None, None],
        case["target_deltas"],
        np.float32(1e30),
    )
    clean, loss = loss_of(name, case), loss_of(name, dirty)
    assert float(loss(dirty[name])) == pytest.approx(float(clean(case[name])), rel=1e-6)
    slope = gradient(loss, dirty[name])
    np.testing.assert_allclose(slope, gradient(clean, case[name]), rtol=1e-5, atol=1e-8)
    start = P - 1 if name.startswith("head") else 5
    assert slope[:, :start].any() and not slope[:, start:].any()


class TestSmoothL1:
    def test_value_and_slope(self):
        predicted = np.array([-3, -1, -0.5, 0, 0.25, 1, 2], np.float32)
        true = np.zeros(7, np.float32)
        got = losses.smooth_l1(true, predicted)
        np.testing.assert_allclose(got, [2.5, 0.5, 0.125, 0, 0.03125, 0.5, 1.5])
        slope = gradient(lambda p: ops.sum(losses.smooth_l1(true, p)), predicted)
        np.testing.assert_allclose(slope, [-1, -1, -0.5, 0, 0.25, 1, 1])

    def test_far_away(self):
        far = np.array([1e25, -3e38], np.float32)
        zero = np.zeros(2, np.float32)
        np.testing.assert_allclose(losses.smooth_l1(zero, far), np.abs(far))
        slope = gradient(lambda p: ops.sum(losses.smooth_l1(zero, p)), far)
        np.testing.assert_array_equal(slope, [1, -1])


class TestCrossEntropy:
    def test_large_logits_stay_finite(self):
        logits = np.array([[1e4, -1e4], [-1e4, 1e4], [1e30, 0]], np.float32)
        class_ids = np.array([0, 0, 1], np.int32)
        got = losses.cross_entropy(class_ids, logits)
        np.testing.assert_allclose(got, [0, 2e4, 1e30])
        slope = gradient(lambda x: ops.sum(losses.cross_entropy(class_ids, x)), logits)
        np.testing.assert_allclose(slope, [[0, 0], [-1, 1], [1, -1]])

    @pytest.mark.parametrize("jit", [False, True])
    def test_certain_masks_stay_finite(self, jit):
        true = np.array([0, 1, 0, 1], np.float32)
        certain = np.array([0, 1, 1, 0], np.float32)
        got = ops.convert_to_numpy(losses.binary_cross_entropy(true, certain))
        np.testing.assert_allclose(got[:2], 0, atol=1e-6)
        assert (got[2:] > 14).all() and (got[2:] < 17).all()
        slope = gradient(lambda p: ops.sum(losses.binary_cross_entropy(true, p)), certain, jit)
        assert np.isfinite(slope).all()


class TestClassLoss:
    def test_each_image_has_its_own_classes(self):
        logits = np.array([[[0, 5, 0], [5, 0, 0]]] * 2, np.float32)
        class_ids = np.array([[0, 0]] * 2, np.int32)
        active = np.array([[1, 1, 1], [1, 0, 1]], np.float32)
        wrong, right = naive_entropy(0, logits[0, 0]), naive_entropy(0, logits[0, 1])
        got = float(losses.mrcnn_class_loss(class_ids, logits, active))
        assert got == pytest.approx((wrong + 2 * right) / 3, rel=1e-5)

    def test_valid_is_all_when_not_given(self):
        c = cases(7)
        inputs = c["class_ids"], c["head_logits"], c["active"]
        every = float(losses.mrcnn_class_loss(*inputs, np.ones((B, R), bool)))
        assert float(losses.mrcnn_class_loss(*inputs)) == every


class TestParity:
    @pytest.fixture
    def vectors(self, fixtures):
        return np.load(fixtures / "loss_vectors.npz")

    def test_smooth_l1(self, vectors):
        got = losses.smooth_l1(vectors["smooth_l1_true"], vectors["smooth_l1_pred"])
        np.testing.assert_allclose(got, vectors["smooth_l1_out"], rtol=1e-5, atol=1e-7)

    @pytest.mark.parametrize("key", ["rpn_n", "rpn_empty"])
    def test_rpn(self, vectors, key):
        match = vectors[f"{key}_match"][..., 0]
        got = losses.rpn_class_loss(match, vectors[f"{key}_logits"])
        assert float(got) == pytest.approx(float(vectors[f"{key}_class_loss"]), rel=1e-5)
        got = losses.rpn_bbox_loss(vectors[f"{key}_target_bbox"], match, vectors[f"{key}_bbox"])
        assert float(got) == pytest.approx(float(vectors[f"{key}_bbox_loss"]), rel=1e-5)

    @pytest.mark.parametrize("key", ["head_n", "head_empty"])
    def test_class(self, vectors, key):
        class_ids, logits = vectors[f"{key}_target_class_ids"], vectors[f"{key}_logits"]
        # Matterport takes the flags of image 0 for the whole batch, and counts padding.
        active = np.broadcast_to(vectors[f"{key}_active"][:1], vectors[f"{key}_active"].shape)
        for flags, suffix in [(active, ""), (np.ones_like(active), "_allactive")]:
            expected = float(vectors[f"{key}_class_loss{suffix}"])
            got = losses.mrcnn_class_loss(class_ids, logits, flags, None)
            assert float(got) == pytest.approx(expected, rel=1e-5)
        assert np.isnan(vectors[f"{key}_class_loss_noneactive"])  # 0 / 0
        assert float(losses.mrcnn_class_loss(class_ids, logits, np.zeros_like(active))) == 0

    @pytest.mark.parametrize("key", ["head_n", "head_empty"])
    def test_boxes_and_masks(self, vectors, key):
        class_ids = vectors[f"{key}_target_class_ids"]
        got = losses.mrcnn_bbox_loss(
            vectors[f"{key}_target_bbox"], class_ids, vectors[f"{key}_pred_bbox"]
        )
        assert float(got) == pytest.approx(float(vectors[f"{key}_bbox_loss"]), rel=1e-5)
        masks = vectors[f"{key}_pred_masks"]
        own = np.take_along_axis(masks, class_ids[:, :, None, None, None], axis=4)[..., 0]
        got = losses.mrcnn_mask_loss(vectors[f"{key}_target_masks"], class_ids, own)
        assert float(got) == pytest.approx(float(vectors[f"{key}_mask_loss"]), rel=1e-5)


class TestTheLossesOfOtherArchitectures:
    """Those of torchvision: one logit, another beta, sums over all that were drawn, logits."""

    BETA = 1 / 9

    def naive(self, c) -> dict[str, float]:
        objectness, boxes, deltas, masks, valid = [], 0.0, 0.0, [], 0
        for b in range(len(c["match"])):
            targets = iter(c["target_deltas"][b])
            for a, match in enumerate(c["match"][b]):
                if match:
                    p = 1 / (1 + np.exp(-float(c["logits"][b, a, 0])))
                    objectness.append(-np.log(p if match == 1 else 1 - p))
                target = next(targets, None) if match == 1 else None
                if target is not None:
                    boxes += sum(map(self.smooth, target, c["deltas"][b, a]))
            for r, class_id in enumerate(c["class_ids"][b]):
                valid += bool(c["valid"][b, r])
                if class_id <= 0:
                    continue
                own = c["head_deltas"][b, r, class_id]
                deltas += sum(map(self.smooth, c["head_target_deltas"][b, r], own))
                if r < c["head_masks"].shape[1]:
                    logits = 9 * c["head_masks"][b, r].astype(float) - 4
                    p = 1 / (1 + np.exp(-logits))
                    true = 0.3 + 0.4 * c["head_target_masks"][b, r]
                    masks += (-true * np.log(p) - (1 - true) * np.log(1 - p)).ravel().tolist()
        return {
            "rpn_class": mean(objectness),
            "rpn_bbox": boxes / len(objectness),
            "bbox": deltas / valid,
            "mask": mean(masks),
        }

    def smooth(self, true, predicted) -> float:
        d = abs(float(true) - float(predicted))
        return 0.5 * d**2 / self.BETA if d < self.BETA else d - 0.5 * self.BETA

    def ours(self, c):
        return {
            "rpn_class": losses.rpn_class_loss(c["match"], c["logits"][..., :1]),
            "rpn_bbox": losses.rpn_bbox_loss(
                c["target_deltas"], c["match"], c["deltas"], self.BETA, over_all=True
            ),
            "bbox": losses.mrcnn_bbox_loss(
                c["head_target_deltas"], c["class_ids"], c["head_deltas"], c["valid"], self.BETA
            ),
            "mask": losses.mrcnn_mask_loss(
                0.3 + 0.4 * ops.cast(c["head_target_masks"], "float32"),
                c["class_ids"][:, : c["head_masks"].shape[1]],
                9 * c["head_masks"] - 4,
                of_logits=True,
            ),
        }

    @pytest.mark.parametrize("seed", [0, 1])
    def test_like_the_loops(self, seed):
        case = cases(seed)
        case["class_ids"] = np.where(case["valid"], case["class_ids"], 0)
        expected = self.naive(case)
        for name, run in compiled(self.ours):
            got = run(case)
            for key, value in expected.items():
                assert got[key] == pytest.approx(value, rel=2e-5), f"{name} {key}"

    def test_without_a_square_it_is_the_distance(self):
        got = losses.smooth_l1(np.zeros(3, np.float32), np.array([-2, 0, 0.5], np.float32), 0.0)
        np.testing.assert_allclose(got, [2, 0, 0.5])

    def test_the_slope_of_logits_does_not_vanish(self):
        logits = np.array([80.0, -80.0, 1e30], np.float32)
        true = np.array([0, 1, 0], np.float32)
        got = losses.binary_cross_entropy_of_logits(true, logits)
        np.testing.assert_allclose(got, [80, 80, 1e30])
        slope = gradient(lambda x: ops.sum(losses.binary_cross_entropy_of_logits(true, x)), logits)
        np.testing.assert_allclose(slope, [1, -1, 1])
