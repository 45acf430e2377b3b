"""The network gives the numbers of Matterport's, with Matterport's weights.

The fixtures are outputs of Matterport's package. A RoI edge that lies on exactly 1.0 samples the
border of a feature map, where the last bit of a float decides between the border's value
and 0. Such RoIs may differ, and proposals of almost equal scores may change places.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
from keras import ops

from mrcnn import network
from mrcnn.config import Config
from mrcnn.data.molding import resize_to_input, unmold_image
from mrcnn.inference import model as inference_model
from mrcnn.layers.molding import ImageArea
from mrcnn.model import MaskRCNN
from mrcnn.ops import losses
from mrcnn.ops.indexing import select_class
from mrcnn.training import compile, weight_decay
from mrcnn.training.stages import layer_regex
from mrcnn.weights.matterport import load_weights
from tests.support import weight_gradients

BACKEND = keras.backend.backend()
# Config derives these from the others.
DERIVED = ("BATCH_SIZE", "IMAGE_META_SIZE", "IMAGE_SHAPE")
# The fixture's names of what lies inside the graph.
FEATURES = {
    **{f"P{level}": f"fpn_p{level}" for level in range(2, 7)},
    **{"C2": "res2c_out", "C5": "res5c_out", "mrcnn_class_logits": "mrcnn_class_logits"},
}
# Outputs with a row for each proposal.
PER_ROI = ("mrcnn_class", "mrcnn_bbox", "mrcnn_class_logits")
ROWS_THAT_AGREE = 0.98 if BACKEND == "torch" else 0.99  # others lie on a border
MASK_BITS_THAT_DIFFER = 0.001


def fixture_config(path: Path, **settings: Any) -> Config:
    stored = json.loads(path.read_text())
    stored = {key: value for key, value in stored.items() if key not in DERIVED}
    stored |= {"DETECTION_BOXES": "matterport"}  # a setting that Matterport's does not have
    return type("FixtureConfig", (Config,), {**stored, **settings})()


def on_border(boxes: np.ndarray) -> np.ndarray:
    """[N] bool: whether an edge of a normalized box lies on 1.0."""
    return (np.abs(boxes - 1.0) < 1e-6).any(axis=-1)


def agree(actual: np.ndarray, expected: np.ndarray, tolerance: float) -> np.ndarray:
    """[N] bool: whether all of a row agrees."""
    return (np.abs(actual - expected) <= tolerance).reshape(len(expected), -1).all(axis=1)


def border_rois_that_differ(expected: dict[str, np.ndarray], actual: dict[str, np.ndarray]) -> int:
    """How many RoIs on the border were classified differently."""
    same = agree(actual["mrcnn_class"][0], expected["mrcnn_class"][0], 1e-4)
    return int((~same & on_border(expected["rois"][0])).sum())


def common_detections(
    expected: dict[str, np.ndarray], actual: dict[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of Matterport's detections and of ours that are the same, in Matterport's order.

    All are, in the same order, but for what border RoIs change: each that was classified
    differently can add one detection, which takes another's place, or lose one. How many there
    are depends on the processor's instructions, on any backend.
    """
    theirs, ours = expected["detections"][0], actual["detections"][0]
    same = (np.abs(theirs[:, None, :4] - ours[None, :, :4]) <= 1e-5).all(axis=-1)
    same &= theirs[:, None, 4] == ours[None, :, 4]
    same &= np.abs(theirs[:, None, 5] - ours[None, :, 5]) <= 1e-4
    differing = border_rois_that_differ(expected, actual)
    if not differing:
        assert same.diagonal().all()
        return np.arange(len(theirs)), np.arange(len(ours))
    rows, columns = np.nonzero(same & (theirs[:, None, 4] > 0))
    assert len(set(rows)) == len(rows) and len(set(columns)) == len(columns)
    assert (np.diff(columns) > 0).all()
    assert (theirs[:, 4] > 0).sum() - len(rows) <= differing
    assert (ours[:, 4] > 0).sum() - len(columns) <= differing
    return rows, columns


# --- Inference ------------------------------------------------------------------------------


class Case(NamedTuple):
    model: MaskRCNN
    compiled: bool
    expected: list[dict[str, np.ndarray]]  # of each image
    actual: list[dict[str, np.ndarray]]


@pytest.fixture(scope="module", params=["A", "A compiled", "C"])
def case(
    request: pytest.FixtureRequest,
    fixtures: Path,
    parity_file: Callable[[str], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Case:
    name, compiled = request.param[0], request.param.endswith("compiled")
    if compiled and BACKEND == "jax":
        pytest.skip("on JAX the case A is compiled already")
    stored = dict(np.load(parity_file(f"{name}_parity.npz")))
    config = fixture_config(
        parity_file(f"{name}_config.json"), **({"JIT_COMPILE": True} if compiled else {})
    )
    door = MaskRCNN("inference", config, tmp_path_factory.mktemp("logs"))
    door.load_weights(fixtures / "A_weights.h5")
    model = door.keras_model
    probe = keras.Model(
        model.inputs,
        model.outputs + [model.get_layer(layer).output for layer in FEATURES.values()],
    )
    names = [*network.INFERENCE_OUTPUTS, *FEATURES]
    static: dict[tuple[int, ...], keras.Model] = {}
    expected, actual = [], []
    for prefix in sorted({key.split("_")[0] + "_" for key in stored}):
        expected.append({k[len(prefix) :]: v for k, v in stored.items() if k.startswith(prefix)})
        molded = expected[-1]["molded_images"].astype(np.float32)
        shape = molded.shape[1:]
        if shape not in static:
            static[shape] = inference_model.with_static_shape(probe, shape, 1, config, molded=True)
        metas = expected[-1]["image_metas"].astype(np.float32)
        outputs = static[shape].predict_on_batch([molded, metas])
        actual.append(dict(zip(names, outputs, strict=True)))
    return Case(door, compiled, expected, actual)


def test_the_trunk_is_matterports(case: Case):
    for expected, actual in zip(case.expected, case.actual, strict=True):
        for name in ("rpn_class", "rpn_bbox"):
            np.testing.assert_allclose(actual[name], expected[name], atol=1e-4, rtol=0)
        for name in {"P2", "P3", "P4", "P5", "P6", "C2", "C5"} & set(expected):
            features = actual[name][..., : expected[name].shape[-1]]
            np.testing.assert_allclose(features, expected[name], atol=1e-3, rtol=0)
    assert any({"P2", "P6", "C2", "C5"} <= set(expected) for expected in case.expected)


def test_the_proposals_are_matterports(case: Case):
    for expected, actual in zip(case.expected, case.actual, strict=True):
        same = agree(actual["rpn_rois"][0], expected["rois"][0], 1e-5)
        if case.model.config.NAME == "a":
            assert same.all()
        assert same.mean() >= ROWS_THAT_AGREE


def test_the_box_heads_answers_are_matterports(case: Case):
    for expected, actual in zip(case.expected, case.actual, strict=True):
        rois = expected["rois"][0]
        same_roi = agree(actual["rpn_rois"][0], rois, 1e-5)
        for name in PER_ROI:
            if name in expected:
                same = agree(actual[name][0], expected[name][0], 1e-4)
                assert (same | on_border(rois) | ~same_roi).all(), name
                assert same.mean() >= ROWS_THAT_AGREE, name


def test_the_detections_are_matterports(case: Case):
    for expected, actual in zip(case.expected, case.actual, strict=True):
        theirs, ours = common_detections(expected, actual)
        boxes = expected["detections"][0][theirs, :4]
        same = agree(actual["mrcnn_mask"][0][ours], expected["mrcnn_mask"][0][theirs], 1e-4)
        assert (same | on_border(boxes)).all()


def assert_same_masks(
    masks: np.ndarray, expected: dict[str, np.ndarray], rows: np.ndarray | slice = slice(None)
) -> None:
    """Compare masks [H, W, N] with the rows of the fixture."""
    shape = tuple(expected["res0_masks_shape"])
    bits = np.unpackbits(expected["res0_masks_packed"], count=int(np.prod(shape)))
    theirs = bits.reshape(shape).astype(bool)[..., rows]
    assert masks.shape == theirs.shape and masks.dtype == bool
    assert (masks != theirs).mean() <= MASK_BITS_THAT_DIFFER


def test_the_results_are_matterports(case: Case):
    for expected, actual in zip(case.expected, case.actual, strict=True):
        theirs, ours = common_detections(expected, actual)
        boxes, class_ids, scores, masks = case.model.unmold_detections(
            actual["detections"][0][ours],
            actual["mrcnn_mask"][0][ours],
            expected["image0"].shape,
            expected["molded_images"].shape[1:],
            expected["windows"][0],
        )
        theirs = theirs[: len(expected["res0_rois"])]  # rows of zeros are no results
        assert len(boxes) > 0
        np.testing.assert_array_equal(boxes, expected["res0_rois"][theirs])
        np.testing.assert_array_equal(class_ids, expected["res0_class_ids"][theirs])
        np.testing.assert_allclose(scores, expected["res0_scores"][theirs], atol=1e-4, rtol=0)
        assert_same_masks(masks, expected, theirs)


def test_detect_finds_what_matterport_finds(case: Case):
    if case.compiled:
        pytest.skip("compiling a second graph tests nothing new")
    if BACKEND == "jax" and case.model.config.NAME == "c":
        pytest.skip("three more graphs to compile; case A tests detect() on this backend")
    config = case.model.config
    unchanged = 0
    results = case.model.detect([expected["image0"] for expected in case.expected])
    for expected, actual, result in zip(case.expected, case.actual, results, strict=True):
        resized = resize_to_input(expected["image0"], config).image
        theirs = unmold_image(expected["molded_images"][0], config)
        same_image = np.array_equal(resized, theirs)
        unchanged += same_image
        # Where resizing rounds some pixels to the next grey level, scores move a little, and
        # neighbours of almost equal scores change places: compare by class and box.
        boxes = np.column_stack([expected["res0_class_ids"], expected["res0_rois"]])
        found = np.column_stack([result["class_ids"], result["rois"]])
        theirs, ours = np.nonzero((boxes[:, None] == found[None]).all(axis=-1))
        assert len(set(theirs)) == len(theirs) and len(set(ours)) == len(ours)
        spare = border_rois_that_differ(expected, actual)
        assert max(len(boxes), len(found)) - len(theirs) <= spare
        if same_image:
            assert (np.diff(ours) > 0).all()
        np.testing.assert_allclose(
            result["scores"][ours],
            expected["res0_scores"][theirs],
            atol=1e-4 if same_image else 1e-3,
            rtol=0,
        )
        assert_same_masks(result["masks"][..., ours], expected, theirs)
    assert unchanged >= 1


def test_the_anchors_are_matterports(case: Case):
    for expected in case.expected:
        shape = expected["molded_images"].shape[1:]
        np.testing.assert_allclose(
            case.model.get_anchors(shape), expected["anchors"], atol=1e-6, rtol=0
        )


# --- Training -------------------------------------------------------------------------------

RPN_OUTPUTS = ("rpn_class_logits", "rpn_class", "rpn_bbox")
# Names in the fixture: layer and weight, joined by an underscore.
# Weights, and how close their gradients are (norm of the difference, relative).
#
# The RPN and the FPN are smooth around the fixture. In the backbone, one input of a ReLU
# (res4c_out) lies within 1e-8 of 0, and its sign, the last bit of a sum, decides on 1.2e-4
# of the gradients below it. In front of the max pooling, flat areas of the image make ties:
# noise of 1e-7 in the image moves the gradient of conv1's kernel by some percent.
GRADIENTS = {
    "rpn_conv_shared/kernel": 1e-5,
    "rpn_class_raw/kernel": 1e-5,
    "rpn_bbox_pred/bias": 1e-5,
    "fpn_p2/kernel": 1e-5,
    "fpn_c5p5/bias": 1e-5,
    "res4a_branch2b/bias": 3e-4,
    "bn_conv1/gamma": 3e-4,
    "conv1/kernel": 0.03,
}


class Training(NamedTuple):
    config: Config
    model: keras.Model  # (images, meta, RoIs) to the RPN's and the heads' answers, by name
    stored: dict[str, np.ndarray]
    actual: dict[str, np.ndarray]


@pytest.fixture(scope="module")
def training(fixtures: Path) -> Training:
    """The parts of the training graph, second stage on Matterport's draw of RoIs."""
    config = fixture_config(fixtures / "train_config.json")
    stored = dict(np.load(fixtures / "train_parity.npz"))
    arrays = [stored[name] for name in ("in_images", "in_image_meta", "out_output_rois")]
    arrays = [array.astype(np.float32) for array in arrays]
    image, meta, rois = inputs = [keras.Input(batch_shape=array.shape) for array in arrays]
    trunk = network.build_trunk(image, config)
    anchors = network.anchors_layer(config)(image)
    area = ImageArea()(meta)
    logits, probabilities, deltas = network.build_box_head(rois, trunk, area, config)
    outputs = {
        **{name: getattr(trunk, name) for name in RPN_OUTPUTS},
        "rpn_rois": network.build_proposals(trunk, anchors, config, meta, training=True),
        "mrcnn_class_logits": logits,
        "mrcnn_class": probabilities,
        "mrcnn_bbox": deltas,
        "mrcnn_mask": network.build_mask_head(rois, trunk, area, config),
    }
    model = keras.Model(inputs, outputs)
    load_weights(model, fixtures / "A_weights.h5")
    model.compile(jit_compile=BACKEND == "jax")
    return Training(config, model, stored, model.predict_on_batch(arrays))


def assert_loss(actual: Any, expected: np.ndarray) -> None:
    np.testing.assert_allclose(float(actual), float(expected), rtol=1e-4)


@pytest.mark.parametrize("name", RPN_OUTPUTS)
def test_the_rpn_answers_as_matterports_in_training(training: Training, name: str):
    expected = training.stored[f"out_{name}"]
    np.testing.assert_allclose(training.actual[name], expected, atol=1e-4, rtol=0)


def test_the_training_proposals_are_matterports(training: Training):
    for actual, expected in zip(
        training.actual["rpn_rois"], training.stored["out_rpn_rois"], strict=True
    ):
        assert agree(actual, expected, 1e-5).mean() >= ROWS_THAT_AGREE


def test_the_second_stage_answers_as_matterports(training: Training):
    rois = training.stored["out_output_rois"].reshape(-1, 4)
    for name in ("mrcnn_class_logits", "mrcnn_class", "mrcnn_bbox", "mrcnn_mask"):
        expected = training.stored[f"out_{name}"]
        actual = training.actual[name].reshape(len(rois), -1)
        same = agree(actual, expected.reshape(len(rois), -1), 1e-4)
        assert (same | on_border(rois)).all(), name


def rpn_losses(stored: dict[str, np.ndarray], outputs: dict[str, Any]) -> tuple[Any, Any]:
    match = ops.convert_to_tensor(stored["in_rpn_match"][..., 0])
    targets = ops.convert_to_tensor(stored["in_rpn_bbox"].astype(np.float32))
    return (
        losses.rpn_class_loss(match, outputs["rpn_class_logits"]),
        losses.rpn_bbox_loss(targets, match, outputs["rpn_bbox"]),
    )


def test_the_rpn_losses_are_matterports(training: Training):
    outputs = {name: ops.convert_to_tensor(training.actual[name]) for name in RPN_OUTPUTS}
    class_loss, bbox_loss = rpn_losses(training.stored, outputs)
    assert_loss(class_loss, training.stored["out_rpn_class_loss"])
    assert_loss(bbox_loss, training.stored["out_rpn_bbox_loss"])


def test_the_second_stages_losses_are_matterports(training: Training):
    # From Matterport's answers and draw, so that no border RoI blurs the comparison.
    stored = {name: ops.convert_to_tensor(value) for name, value in training.stored.items()}
    class_ids = stored["out_target_class_ids"]
    # Matterport takes the flags of image 0 for the whole batch, and counts padding.
    flags = np.repeat(training.stored["in_image_meta"][:1, 12:], 2, axis=0).astype(np.float32)
    for outputs in (training.stored, {f"out_{k}": v for k, v in training.actual.items()}):
        logits, deltas, masks = (
            ops.convert_to_tensor(outputs[f"out_{name}"])
            for name in ("mrcnn_class_logits", "mrcnn_bbox", "mrcnn_mask")
        )
        class_loss = losses.mrcnn_class_loss(class_ids, logits, ops.convert_to_tensor(flags))
        bbox_loss = losses.mrcnn_bbox_loss(stored["out_target_bbox"], class_ids, deltas)
        own = select_class(masks, class_ids, axis=4)
        mask_loss = losses.mrcnn_mask_loss(stored["out_target_mask"], class_ids, own)
        assert_loss(class_loss, training.stored["out_mrcnn_class_loss"])
        assert_loss(bbox_loss, training.stored["out_mrcnn_bbox_loss"])
        assert_loss(mask_loss, training.stored["out_mrcnn_mask_loss"])


def gradients(
    model: keras.Model, inputs: np.ndarray, loss: Callable[[Any], Any], weights: list[Any]
) -> list[np.ndarray]:
    """d loss(model(inputs)) / d weights."""
    if BACKEND == "tensorflow":
        import tensorflow as tf

        @tf.function
        def slopes(images: Any) -> Any:
            with tf.GradientTape() as tape:
                value = loss(model(images))
            return tape.gradient(value, [weight.value for weight in weights])

        return [ops.convert_to_numpy(slope) for slope in slopes(tf.constant(inputs))]
    if BACKEND == "torch":
        total = loss(model(ops.convert_to_tensor(inputs)))
        return [ops.convert_to_numpy(slope) for slope in weight_gradients(total, weights)]
    import jax

    others = [v.value for v in model.non_trainable_variables]
    chosen = {id(weight) for weight in weights}

    @jax.jit
    def slopes(values: list[Any]) -> list[Any]:
        def value(values: list[Any]) -> Any:
            given = iter(values)
            all_values = [
                next(given) if id(v) in chosen else v.value for v in model.trainable_variables
            ]
            return loss(model.stateless_call(all_values, others, inputs)[0])

        return jax.grad(value)(values)

    ordered = [v for v in model.trainable_variables if id(v) in chosen]
    by_weight = dict(zip(map(id, ordered), slopes([v.value for v in ordered]), strict=True))
    return [np.asarray(by_weight[id(weight)]) for weight in weights]


def test_the_rpns_gradients_are_matterports(training: Training):
    trunk = keras.Model(
        training.model.inputs[0],
        {name: training.model.output[name] for name in RPN_OUTPUTS},
    )
    weights = []
    for name in GRADIENTS:
        layer, weight = name.split("/")
        owner = trunk.get_layer("rpn_model") if layer.startswith("rpn_") else trunk
        weights.append(getattr(owner.get_layer(layer), weight))
    slopes = gradients(
        trunk,
        training.stored["in_images"],
        lambda outputs: sum(rpn_losses(training.stored, outputs)),
        weights,
    )
    for name, slope in zip(GRADIENTS, slopes, strict=True):
        expected = training.stored["grad_rpn_" + name.replace("/", "_")]
        if expected.shape != slope.shape:  # the first values of a large kernel
            slope = slope.ravel()[: expected.size]
        error = np.linalg.norm(slope - expected) / np.linalg.norm(expected)
        assert error < GRADIENTS[name], (name, error)


@pytest.mark.parametrize("layers", ["heads", "all"])
def test_the_weight_decay_is_matterports(training: Training, layers: str):
    compile.set_trainable(training.model, layer_regex(layers))
    try:
        decay = weight_decay.weight_decay(
            training.model.trainable_variables, training.config.WEIGHT_DECAY
        )
    finally:
        compile.set_trainable(training.model, ".*")
    assert_loss(decay, training.stored[f"reg_{layers}_without_anchors"])


def test_the_trainings_images_are_grey_levels(training: Training):
    # The loader's uint8 images become the fixture's input.
    stored = training.stored["in_images"]
    images = unmold_image(stored, training.config)
    molded = network.MoldImage(training.config.MEAN_PIXEL)(images)
    np.testing.assert_allclose(ops.convert_to_numpy(molded), stored, atol=1e-4)
