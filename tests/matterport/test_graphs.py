"""Matterport's graph functions and layer classes, against what Matterport's computed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from mrcnn.config import Config
from mrcnn.layers.detections import DetectionSettings
from mrcnn.layers.proposals import ProposalSettings
from mrcnn.matterport import graphs as graph
from mrcnn.matterport import layers
from tests.tiny import tiny_config


class VectorConfig(Config):
    """Settings with which the vectors of `loss_vectors.npz` were made."""

    IMAGES_PER_GPU = 2
    NUM_CLASSES = 4
    PRE_NMS_LIMIT = 200
    DETECTION_MIN_CONFIDENCE = 0.5
    DETECTION_MAX_INSTANCES = 15
    TRAIN_ROIS_PER_IMAGE = 60


@pytest.fixture(scope="module")
def vectors(fixtures: Path) -> dict[str, np.ndarray]:
    with np.load(fixtures / "loss_vectors.npz") as archive:
        return dict(archive)


def configured(**settings: Any) -> Config:
    return type("SomeVectorConfig", (VectorConfig,), settings)()


def close(found: Any, expected: np.ndarray, tolerance: float = 1e-5) -> None:
    found = ops.convert_to_numpy(found)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


def tensors(*arrays: np.ndarray) -> list[Any]:
    return [ops.convert_to_tensor(array) for array in arrays]


# --- Boxes and small tools --------------------------------------------------------------------


def test_boxes(vectors):
    boxes, deltas = tensors(vectors["g_boxes"], vectors["g_deltas"])
    moved = graph.apply_box_deltas_graph(boxes, deltas)
    close(moved, vectors["g_apply"])
    close(graph.clip_boxes_graph(moved, vectors["g_window"]), vectors["g_clip"])
    close(graph.overlaps_graph(boxes, vectors["g_boxes2"]), vectors["g_overlaps"])


def test_units(vectors):
    shape = (128, 192)  # of the image in which the boxes of the vectors lie
    norm = graph.norm_boxes_graph(vectors["g_px"], ops.convert_to_tensor(shape))
    close(norm, vectors["g_norm"], 1e-6)
    back = ops.convert_to_numpy(graph.denorm_boxes_graph(norm, shape))
    assert back.dtype == np.int32
    np.testing.assert_array_equal(back, vectors["g_denorm"])
    # A zero box becomes one pixel.
    pixel = graph.denorm_boxes_graph(np.zeros((1, 4), np.float32), shape)
    assert ops.convert_to_numpy(pixel).tolist() == [[0, 0, 1, 1]]


def test_trim_zeros_drops_the_empty_rows():
    boxes = np.array([[0, 0, 0, 0], [0, 0, 1, 1], [-1, 0, 0, 1], [0, 0, 0, 0]], np.float32)
    for arguments in ((), ("some_name",), (None,)):
        rows, kept = graph.trim_zeros_graph(ops.convert_to_tensor(boxes), *arguments)
        np.testing.assert_array_equal(ops.convert_to_numpy(rows), boxes[1:3])
        assert ops.convert_to_numpy(kept).tolist() == [False, True, True, False]
    rows, kept = graph.trim_zeros_graph(ops.zeros((3, 4)))
    assert tuple(rows.shape) == (0, 4) and not ops.convert_to_numpy(kept).any()


def test_batch_pack_joins_the_counted_entries():
    x = np.arange(24).reshape(3, 4, 2)
    packed = graph.batch_pack_graph(*tensors(x, np.array([2, 0, 3])), 3)
    expected = np.concatenate([x[0, :2], x[2, :3]])
    np.testing.assert_array_equal(ops.convert_to_numpy(packed), expected)
    packed = graph.batch_pack_graph(*tensors(x, np.array([2, 0, 3])), 1)
    np.testing.assert_array_equal(ops.convert_to_numpy(packed), x[0, :2])


def test_log2():
    close(graph.log2_graph(ops.convert_to_tensor([0.25, 1.0, 8.0])), np.array([-2.0, 0.0, 3.0]))


def test_image_meta_by_name():
    meta = np.arange(2 * 16, dtype=np.float32).reshape(2, 16)
    parts = graph.parse_image_meta_graph(ops.convert_to_tensor(meta))
    whole = [ops.convert_to_numpy(part).reshape(2, -1) for part in parts.values()]
    np.testing.assert_array_equal(np.concatenate(whole, axis=1), meta)
    assert list(parts) == [
        *("image_id", "original_image_shape", "image_shape"),
        *("window", "scale", "active_class_ids"),
    ]


def test_backbone_shapes():
    config = tiny_config()
    shapes = graph.compute_backbone_shapes(config, (64, 128, 3))
    assert shapes.tolist() == [[16, 32], [8, 16], [4, 8], [2, 4], [1, 2]]
    own = tiny_config(
        BACKBONE=staticmethod(lambda image, **_: None),
        COMPUTE_BACKBONE_SHAPE=staticmethod(lambda shape: np.array([shape[:2]])),
    )
    assert graph.compute_backbone_shapes(own, (64, 128, 3)).tolist() == [[64, 128]]


# --- Losses -----------------------------------------------------------------------------------


def test_smooth_l1(vectors):
    found = graph.smooth_l1_loss(*tensors(vectors["smooth_l1_true"], vectors["smooth_l1_pred"]))
    close(found, vectors["smooth_l1_out"])


@pytest.mark.parametrize("kind", ["rpn_n", "rpn_empty"])
def test_rpn_losses(vectors, kind):
    match, logits, target, deltas = tensors(
        *(vectors[f"{kind}_{key}"] for key in ("match", "logits", "target_bbox", "bbox"))
    )
    for labels in (match, match[..., 0]):
        close(graph.rpn_class_loss_graph(labels, logits), vectors[f"{kind}_class_loss"])
        found = graph.rpn_bbox_loss_graph(VectorConfig(), target, labels, deltas)
        close(found, vectors[f"{kind}_bbox_loss"])


@pytest.mark.parametrize("kind", ["head_n", "head_empty"])
def test_head_losses(vectors, kind):
    v = {key.removeprefix(f"{kind}_"): value for key, value in vectors.items()}
    class_ids = ops.convert_to_tensor(v["target_class_ids"])
    # Matterport took the flags of image 0 for the whole batch.
    of_first = np.broadcast_to(v["active"][:1], v["active"].shape)
    for active, name in (
        (of_first, "class_loss"),
        (np.ones_like(of_first), "class_loss_allactive"),
    ):
        close(graph.mrcnn_class_loss_graph(class_ids, v["logits"], active), v[name])
    close(graph.mrcnn_bbox_loss_graph(v["target_bbox"], class_ids, v["pred_bbox"]), v["bbox_loss"])
    found = graph.mrcnn_mask_loss_graph(v["target_masks"], class_ids, v["pred_masks"])
    close(found, v["mask_loss"])


@pytest.fixture(scope="module")
def edge_cases(fixtures: Path) -> tuple[dict[str, np.ndarray], list[dict[str, Any]]]:
    with np.load(fixtures / "edge_vectors.npz") as archive:
        arrays = dict(archive)
    return arrays, json.loads((fixtures / "edge_cases.json").read_text())["cases"]


def test_edge_loss(edge_cases):
    arrays, cases = edge_cases
    swapped = {"sobel-x": "sobel-y", "sobel-y": "sobel-x"}
    compared = set()
    for case in cases[::23]:
        expected = arrays["values"][case["i"]]
        # Beyond this, the limit of the exponent changes the loss.
        if not np.isfinite(expected) or expected > 1e4:
            continue
        loss = graph.mrcnn_mask_edge_loss_graph(
            ops.convert_to_tensor(arrays[f"y_pred_{case['data']}"]),
            ops.convert_to_tensor(arrays[f"y_true_{case['data']}"]),
            [swapped.get(name, name) for name in case["filters"]],
            case["smoothing_predictions"],
            case["smoothing_gt"],
            case["norm"],
            case["weight_entropy"],
            case["weight_factor"],
        )
        assert float(loss) == pytest.approx(expected, rel=3e-4, abs=1e-5), case
        compared.add((case["norm"], case["weight_entropy"], case["smoothing_gt"]))
    assert len(compared) > 12


def test_edge_loss_of_no_roi_and_of_no_filter():
    none = ops.zeros((0, 28, 28))
    rest = (False, False, "l2", False, 1.0)
    assert float(graph.mrcnn_mask_edge_loss_graph(none, none, ["sobel-x"], *rest)) == 0
    assert float(graph.mrcnn_mask_edge_loss_graph(none, none, "sobel", *rest[:3], True, 2.0)) == 0
    with pytest.raises(ValueError, match="scharr"):
        graph.mrcnn_mask_edge_loss_graph(none, none, ["scharr"], *rest)


# --- Proposals and detections -----------------------------------------------------------------


@pytest.mark.parametrize(("key", "threshold"), [("prop_out", 0.7), ("prop_out_big", 0.3)])
def test_proposal_layer(vectors, key, threshold):
    inputs = [vectors[f"prop_{name}"] for name in ("scores", "deltas", "anchors")]
    expected = vectors[key]
    layer = layers.ProposalLayer(
        proposal_count=expected.shape[1], nms_threshold=threshold, name="ROI", config=VectorConfig()
    )
    close(layer(tensors(*inputs)), expected)
    if key == "prop_out":  # in a model that leaves the batch size open
        symbols = [keras.Input(array.shape[1:]) for array in inputs]
        close(keras.Model(symbols, layer(symbols)).predict(inputs, verbose=0), expected)


@pytest.mark.parametrize(
    ("key", "confidence"), [("ref_out", 0.5), ("ref_out_noconf", 0.0), ("ref_out_allbg", 0.5)]
)
def test_detections_of_one_image(vectors, key, confidence):
    config = configured(DETECTION_MIN_CONFIDENCE=confidence)
    probabilities = vectors["ref_probs"]
    if key == "ref_out_allbg":
        probabilities = np.zeros_like(probabilities) + np.float32([1, 0, 0, 0])
    found = graph.refine_detections_graph(
        vectors["ref_rois"], probabilities, vectors["ref_deltas"], vectors["ref_window"], config
    )
    close(found, vectors[key])


def test_detection_layer(vectors):
    height = width = 101
    y1, x1, y2, x2 = np.rint(vectors["ref_window"] * 100)
    window = np.array([y1, x1, y2 + 1, x2 + 1])
    meta = np.array([0, 1, 1, 3, height, width, 3, *window, 1, 1, 1, 1, 1], np.float32)
    arrays = [vectors[f"ref_{name}"] for name in ("rois", "probs", "deltas")]
    layer = layers.DetectionLayer(VectorConfig(), name="mrcnn_detection")
    found = layer(tensors(*(np.stack([array, array]) for array in (*arrays, meta))))
    one = graph.refine_detections_graph(*arrays, (window - [0, 0, 1, 1]) / 100, VectorConfig())
    assert (ops.convert_to_numpy(one)[:, 4] > 0).any()
    for image in (0, 1):
        close(found[image], ops.convert_to_numpy(one))


# --- Training RoIs ----------------------------------------------------------------------------


def targets_of(vectors: dict[str, np.ndarray], kind: str) -> list[np.ndarray]:
    names = ("proposals", "gt_ids", "gt_boxes", "gt_masks")
    return [vectors[f"tgt_{kind}_{name}"] for name in names]


def assert_like_matterports(found: list[Any], vectors: dict[str, np.ndarray], kind: str) -> None:
    """RoIs are drawn at random: as many, and those that both drew have the same targets."""
    rois, class_ids, deltas, masks = (ops.convert_to_numpy(tensor) for tensor in found)
    names = ("rois", "class_ids", "deltas", "masks")
    wanted = [vectors[f"tgt_{kind}_{name}"] for name in names]
    for own, other in zip((rois, class_ids, deltas, masks), wanted, strict=True):
        assert own.shape == other.shape
    assert class_ids.dtype == np.int32
    positives = (class_ids > 0).sum()
    assert positives == (wanted[1] > 0).sum() and (class_ids[:positives] > 0).all()
    assert (rois != 0).any(axis=1).sum() == (wanted[0] != 0).any(axis=1).sum()
    proposals = {tuple(row) for row in vectors[f"tgt_{kind}_proposals"]}
    assert {tuple(row) for row in rois} <= proposals | {(0, 0, 0, 0)}
    both = 0
    for row in range(positives):
        (same,) = np.nonzero((wanted[0] == rois[row]).all(axis=1))
        if same.size:
            both += 1
            assert class_ids[row] == wanted[1][same[0]]
            np.testing.assert_allclose(deltas[row], wanted[2][same[0]], atol=1e-5)
            np.testing.assert_array_equal(masks[row], wanted[3][same[0]])
    assert both > 3
    assert not deltas[positives:].any() and not masks[positives:].any()


@pytest.mark.parametrize("kind", ["mini", "full"])
def test_training_rois_of_one_image(vectors, kind):
    config = configured(USE_MINI_MASK=kind == "mini")
    found = graph.detection_targets_graph(*targets_of(vectors, kind), config)
    assert_like_matterports(found, vectors, kind)


def test_detection_target_layer(vectors):
    arrays = [np.stack([array, array]) for array in targets_of(vectors, "mini")]
    layer = layers.DetectionTargetLayer(VectorConfig(), name="proposal_targets")
    symbols = layer([keras.KerasTensor(a.shape, dtype=str(a.dtype)) for a in arrays])
    found = layer(tensors(*arrays))
    assert [tuple(x.shape) for x in symbols] == [tuple(x.shape) for x in found]
    first, second = ([tensor[image] for tensor in found] for image in (0, 1))
    assert_like_matterports(first, vectors, "mini")
    assert_like_matterports(second, vectors, "mini")
    assert layer.compute_mask(arrays) == [None] * 4
    # Images, and calls, draw for themselves.
    again = layer(tensors(*arrays))[0]
    rois = [ops.convert_to_numpy(tensor) for tensor in (first[0], second[0], again[0])]
    assert (rois[0] != rois[1]).any() and (rois[0] != rois[2]).any()


# --- RoIAlign and heads -----------------------------------------------------------------------


@pytest.mark.parametrize("side", [7, 14])
def test_pyramid_roi_align(vectors, side):
    inputs = [vectors[f"roi_{name}"] for name in ("boxes", "meta", "P2", "P3", "P4", "P5")]
    layer = layers.PyramidROIAlign([side, side], name="roi_align_classifier")
    close(layer(tensors(*inputs)), vectors[f"roi_out{side}"])
    if side == 7:
        inputs[1] = vectors["roi_meta_1024"]
        close(layer(tensors(*inputs)), vectors["roi_out7_1024"])


def head_inputs() -> list[Any]:
    rois, meta = keras.Input(batch_shape=(2, 5, 4)), keras.Input(batch_shape=(2, 16))
    maps = [keras.Input(batch_shape=(2, side, side, 8)) for side in (32, 16, 8, 4)]
    return [rois, maps, meta]


def test_classifier_head():
    outputs = graph.fpn_classifier_graph(*head_inputs(), 7, 4, train_bn=False, fc_layers_size=16)
    assert [tensor.shape for tensor in outputs] == [(2, 5, 4), (2, 5, 4), (2, 5, 4, 4)]


def test_mask_head_in_both_forms():
    for arguments, side in (((False,), 28), ((False, (28, 28)), 28), ((False, [56, 56]), 56)):
        assert graph.build_fpn_mask_graph(*head_inputs(), 14, 4, *arguments).shape == (
            *(2, 5, side, side, 4),
        )
    # As Matterport: twice the pool size, whatever it is.
    assert graph.build_fpn_mask_graph(*head_inputs(), 7, 4).shape == (2, 5, 14, 14, 4)


@pytest.mark.parametrize(
    "layer",
    [
        layers.ProposalLayer(9, 0.6, VectorConfig(), name="ROI"),
        layers.ProposalLayer(9, 0.6),
        layers.PyramidROIAlign((7, 7)),
        layers.DetectionTargetLayer(VectorConfig()),
        layers.DetectionLayer(VectorConfig()),
        layers.DetectionLayer(),
    ],
    ids=lambda layer: layer.name,
)
def test_layers_survive_saving(layer):
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert type(again) is type(layer)
    assert again.get_config() == layer.get_config()


def test_settings_reach_the_layers():
    layer = layers.ProposalLayer(9, 0.6, VectorConfig())
    assert (layer.proposal_count, layer.nms_threshold) == (9, 0.6)
    assert layer.settings == ProposalSettings(9, 0.6, pre_nms_limit=200)
    layer = layers.DetectionLayer(configured(DETECTION_NMS_THRESHOLD=0.4))
    assert layer.settings == DetectionSettings(15, 0.5, 0.4)
    layer = layers.DetectionTargetLayer(configured(ROI_POSITIVE_RATIO=0.5, ROI_POSITIVE_IOU=0.6))
    assert (layer.settings.count, layer.settings.positive_ratio) == (60, 0.5)
    assert (layer.settings.positive_iou, layer.settings.mask_shape) == (0.6, (28, 28))
