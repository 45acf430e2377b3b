"""What holds for every layer: shapes known in advance, settings that survive saving, float32.

Shape letters: B images, A anchors, K proposals, R RoIs, P positive slots, G instances,
C classes, H W.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
from keras import ops

import mrcnn.layers
from mrcnn.layers import losses, per_roi
from mrcnn.layers.anchors import Anchors
from mrcnn.layers.batch_norm import BatchNorm
from mrcnn.layers.class_detections import ClassDetections
from mrcnn.layers.class_masks import ClassMasks
from mrcnn.layers.classifier import Accuracy
from mrcnn.layers.detection_slots import (
    CompactDetections,
    CountUsedSlots,
    PadDetections,
    UsedSlots,
)
from mrcnn.layers.detections import Detections
from mrcnn.layers.edge_agreement import EdgeAgreementHead
from mrcnn.layers.folded_norm import FoldingConv2D, FoldsNorm
from mrcnn.layers.gradnorm import GradNormWeighting
from mrcnn.layers.grouped_conv import GroupedConv2D
from mrcnn.layers.kernel_choice import KernelChoiceLayer
from mrcnn.layers.level_proposals import LevelProposals
from mrcnn.layers.molding import ImageArea, MoldImage, NormalizeBoxes
from mrcnn.layers.per_roi import RoiConv2D, RoiConv2DTranspose
from mrcnn.layers.proposals import Proposals
from mrcnn.layers.roi_align import RoiAlign, RoiAlignFromMeta
from mrcnn.layers.roi_pool import RoiPool
from mrcnn.layers.rpn import ObjectProbabilities
from mrcnn.layers.sampled_roi_align import SampledRoiAlign
from mrcnn.layers.switched_loss import SwitchedLoss
from mrcnn.layers.targets import RoiTargets, RpnTargets
from mrcnn.ops.edge_settings import EdgeSettings
from mrcnn.ops.target_settings import RoiTargetSettings, RpnTargetSettings

B, A, K, R, P, G, C, H, W = 2, 30, 8, 6, 2, 3, 4, 64, 128
ODD_STD_DEV = (0.1, 0.2, 0.3, 0.4)
RANDOM = np.random.default_rng(0)


def boxes(*shape: int) -> np.ndarray:
    """Normalized boxes with area."""
    corners = RANDOM.uniform(0, 0.5, (*shape, 2))
    return np.concatenate([corners, corners + RANDOM.uniform(0.1, 0.5, (*shape, 2))], -1)


def floats(*shape: int) -> np.ndarray:
    return RANDOM.uniform(0, 1, shape).astype(np.float32)


def ids(*shape: int) -> np.ndarray:
    return RANDOM.integers(0, C, shape).astype(np.int32)


def image(channels: int = 3) -> np.ndarray:
    return RANDOM.integers(0, 256, (B, H, W, channels)).astype(np.uint8)


def pixel_boxes(*shape: int) -> np.ndarray:
    return np.rint(boxes(*shape) * [H, W, H, W]).astype(np.int32)


def image_meta() -> np.ndarray:
    row = [0, H, W, 3, H, W, 3, 0, 0, H, W, 1, *[1] * C]
    return np.array([row] * B, np.float32)


def pyramid(channels: int = 5) -> list[np.ndarray]:
    return [floats(B, H // stride, W // stride, channels) for stride in (4, 8, 16, 32)]


class Case(NamedTuple):
    """A layer, inputs for it, and which of their axes the inference graph leaves open."""

    make: Callable[..., keras.layers.Layer]
    inputs: Any  # an array or a list of arrays
    open_axes: Any = None  # for each input; None: all shapes must be known
    trainable: int = 0  # variables
    float32: bool = True  # under any dtype policy

    @property
    def arrays(self) -> list[np.ndarray]:
        return self.inputs if isinstance(self.inputs, list) else [self.inputs]


def case(make: Callable[..., keras.layers.Layer], *inputs: np.ndarray, **options: Any) -> Case:
    arrays = [x.astype(np.float32) if x.dtype == np.float64 else x for x in inputs]
    return Case(make, arrays if len(arrays) > 1 else arrays[0], **options)


BATCH, BATCH_AND_SIZE = (0,), (0, 1, 2)
AREA = np.array(H * W, np.float32)
ROI_SETTINGS = RoiTargetSettings(
    R, 0.4, ODD_STD_DEV, (5, 5), mini_masks=True, positive_iou=0.45, crowd_iou=0.1
)

CASES = {
    "PadDetections": case(
        lambda **kw: PadDetections(R + 1, **kw), floats(B, R, 3, 4), open_axes=[(0, 1)]
    ),
    "CountUsedSlots": case(lambda **kw: CountUsedSlots(**kw), floats(B, R) > 0.5),
    "Anchors": case(
        lambda **kw: Anchors((8, 16), (0.5, 1, 2), (4, 8), **kw),
        image(),
        open_axes=[BATCH_AND_SIZE],
    ),
    "Anchors in pixels": case(
        lambda **kw: Anchors((8.5, 16), (1,), (16, 32), anchor_stride=2, pixels=True, **kw),
        image(),
        open_axes=[BATCH_AND_SIZE],
    ),
    "Anchors of whole pixels": case(
        lambda **kw: Anchors((8, 16), (1, 2), (4, 8), rounded=True, steps_from_cells=True, **kw),
        image(),
        open_axes=[BATCH_AND_SIZE],
    ),
    "BatchNorm": case(
        lambda **kw: BatchNorm(training=False, epsilon=1e-4, **kw),
        floats(B, H, W, 3),
        open_axes=[BATCH_AND_SIZE],
        trainable=2,
        float32=False,
    ),
    "FoldingConv2D": case(
        lambda **kw: FoldingConv2D(3, 3, 2, **kw),
        floats(B, H, W, 3),
        open_axes=[BATCH_AND_SIZE],
        trainable=2,
        float32=False,
    ),
    "GroupedConv2D": case(
        lambda **kw: GroupedConv2D(6, 3, 2, groups=3, **kw),
        floats(B, 16, 16, 6),
        open_axes=[BATCH_AND_SIZE],
        trainable=2,
        float32=False,
    ),
    "ClassMasks": case(
        lambda **kw: ClassMasks(3, **kw),
        floats(B, P, 5, 6, 4),
        open_axes=[BATCH],
        trainable=2,
    ),
    "ClassDetections": case(
        lambda **kw: ClassDetections(5, 0.1, 0.4, ODD_STD_DEV, 4.0, 0.5, **kw),
        *(boxes(B, R), floats(B, R, C), floats(B, R, C, 4), image_meta()),
        open_axes=[BATCH] * 4,
    ),
    "Detections": case(
        lambda **kw: Detections(5, 0.1, 0.4, ODD_STD_DEV, **kw),
        *(boxes(B, R), floats(B, R, C), floats(B, R, C, 4), image_meta()),
        open_axes=[BATCH] * 4,
    ),
    "EdgeAgreementHead": case(
        lambda **kw: EdgeAgreementHead(EdgeSettings(norm="l3", smoothing_gt=True), **kw),
        *(floats(B, P, 6, 6), np.rint(floats(B, P, 6, 6)), ids(B, P) + 1),
    ),
    "MoldImage": case(
        lambda **kw: MoldImage([1.5, 2.5, 3.5], **kw), image(), open_axes=[BATCH_AND_SIZE]
    ),
    "MoldImage of one mean": case(
        lambda **kw: MoldImage(np.array([127.5]), **kw), image(5), open_axes=[BATCH_AND_SIZE]
    ),
    "NormalizeBoxes": case(
        lambda **kw: NormalizeBoxes(**kw),
        *(pixel_boxes(B, G), image()),
        open_axes=[(0, 1), BATCH_AND_SIZE],
    ),
    "RoiConv2D": case(
        lambda **kw: RoiConv2D(7, 3, padding="same", activation="relu", **kw),
        floats(B, R, 5, 6, 3),
        open_axes=[(0, 1)],
        trainable=2,
        float32=False,
    ),
    "RoiConv2D of all cells": case(
        lambda **kw: RoiConv2D(7, 5, use_bias=False, **kw),
        floats(B, R, 5, 5, 3),
        open_axes=[(0, 1)],
        trainable=1,
        float32=False,
    ),
    "RoiConv2DTranspose": case(
        lambda **kw: RoiConv2DTranspose(4, 2, strides=2, **kw),
        floats(B, R, 5, 6, 3),
        open_axes=[(0, 1)],
        trainable=2,
        float32=False,
    ),
    "Proposals": case(
        lambda **kw: Proposals(K, 0.6, pre_nms_limit=20, std_dev=ODD_STD_DEV, **kw),
        *(floats(B, A, 2), floats(B, A, 4), boxes(B, A)),
        open_axes=[(0, 1)] * 3,
    ),
    "LevelProposals": case(
        lambda **kw: LevelProposals(K, 0.6, 20, ODD_STD_DEV, 4.0, 0.5, whole_anchors=True, **kw),
        *(boxes(B, A), image_meta(), floats(B, 22, 1), floats(B, A - 22, 1)),
        *(floats(B, 22, 4), floats(B, A - 22, 4)),
        open_axes=[(0, 1), BATCH, *[(0, 1)] * 4],
    ),
    "ObjectProbabilities": case(
        lambda **kw: ObjectProbabilities(**kw), floats(B, A, 1), open_axes=[(0, 1)]
    ),
    "SampledRoiAlign": case(
        lambda **kw: SampledRoiAlign((3, 4), 2, aligned=True, **kw),
        *(boxes(B, R), AREA, *pyramid()),
        open_axes=[(0, 1), (), *[BATCH_AND_SIZE] * 4],
    ),
    "MoldImage with a deviation": case(
        lambda **kw: MoldImage([1.5, 2.5, 3.5], [2, 3, 4], **kw),
        image(),
        open_axes=[BATCH_AND_SIZE],
    ),
    "RoiAlign": case(
        lambda **kw: RoiAlign((3, 4), **kw),
        *(boxes(B, R), AREA, *pyramid()),
        open_axes=[(0, 1), (), *[BATCH_AND_SIZE] * 4],
    ),
    "RoiAlignFromMeta": case(
        lambda **kw: RoiAlignFromMeta((3, 4), **kw),
        *(boxes(B, R), image_meta(), *pyramid()),
        open_axes=[(0, 1), BATCH, *[BATCH_AND_SIZE] * 4],
    ),
    "RoiPool": case(
        lambda **kw: RoiPool((3, 4), **kw),
        *(boxes(B, R), AREA, *pyramid()),
        open_axes=[(0, 1), (), *[BATCH_AND_SIZE] * 4],
    ),
    "ImageArea": case(lambda **kw: ImageArea(**kw), image_meta()),
    "RpnTargets": case(
        lambda **kw: RpnTargets(RpnTargetSettings(12, ODD_STD_DEV, 0.6, 0.2), seed=3, **kw),
        *(pixel_boxes(B, A).astype(np.float64), ids(B, G), pixel_boxes(B, G)),
    ),
    "RpnTargets without border anchors": case(
        lambda **kw: RpnTargets(RpnTargetSettings(12, border_anchors="ignore"), seed=3, **kw),
        *(pixel_boxes(B, A).astype(np.float64), ids(B, G), pixel_boxes(B, G)),
        np.array([[8, 8, H - 8, W - 8]] * B, np.float64),
    ),
    "RoiTargets": case(
        lambda **kw: RoiTargets(ROI_SETTINGS, seed=3, **kw),
        *(boxes(B, K), ids(B, G), boxes(B, G), np.ones((B, G, 7, 7), np.uint8)),
    ),
    "RoiTargets of whole masks": case(
        lambda **kw: RoiTargets(RoiTargetSettings(R, mini_masks=False), seed=4, **kw),
        *(boxes(B, K), ids(B, G), boxes(B, G), np.ones((B, G, H, W), np.uint8)),
    ),
    "Accuracy": case(
        lambda **kw: Accuracy(**kw),
        *(ids(B, R), floats(B, R, C)),
    ),
    "LossLayer": case(
        lambda **kw: losses.LossLayer("mrcnn_bbox_loss", weight=0.5, **kw),
        *(floats(B, R, 4), ids(B, R), floats(B, R, C, 4)),
    ),
}

every_layer = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def flat(outputs: Any) -> list[Any]:
    return keras.tree.flatten(outputs)


def run(layer: keras.layers.Layer, inputs: Any) -> list[np.ndarray]:
    return [ops.convert_to_numpy(x) for x in flat(layer(inputs))]


def shapes(outputs: Any) -> list[tuple]:
    return [(tuple(x.shape), keras.backend.standardize_dtype(x.dtype)) for x in flat(outputs)]


def symbols(case: Case, axes: Any = None) -> Any:
    """The case's inputs as Keras tensors, open along `axes`."""
    tensors = [
        keras.KerasTensor(
            tuple(None if i in open_ else side for i, side in enumerate(array.shape)),
            str(array.dtype),
        )
        for array, open_ in zip(case.arrays, axes or [()] * len(case.arrays), strict=True)
    ]
    return tensors if isinstance(case.inputs, list) else tensors[0]


def test_no_layer_is_forgotten():
    # The shapes of two layers depend on values: tests/layers/test_detection_slots.py;
    # UncertaintyWeighting takes scalars: tests/test_network.py; so does GradNormWeighting:
    # tests/training/test_gradnorm.py.
    # The other ones are bases.
    classes = {
        *(KernelChoiceLayer, FoldsNorm, per_roi._PerRoi, SwitchedLoss),
        CompactDetections,
        UsedSlots,
        losses.UncertaintyWeighting,
        GradNormWeighting,
        *(type(case.make()) for case in CASES.values()),
    }
    for info in pkgutil.iter_modules(mrcnn.layers.__path__, "mrcnn.layers."):
        module = importlib.import_module(info.name)
        own = {x for x in vars(module).values() if getattr(x, "__module__", "") == info.name}
        layers = {x for x in own if isinstance(x, type) and issubclass(x, keras.layers.Layer)}
        assert layers <= classes, f"{layers - classes} of {info.name} have no case"


@every_layer
def test_the_shape_is_known_in_advance(case: Case):
    assert shapes(case.make()(symbols(case))) == shapes(case.make()(case.inputs))


@pytest.mark.parametrize(
    "case",
    [case for case in CASES.values() if case.open_axes],
    ids=[name for name, case in CASES.items() if case.open_axes],
)
def test_the_shape_is_right_where_axes_are_open(case: Case):
    open_shapes = shapes(case.make()(symbols(case, case.open_axes)))
    real_shapes = shapes(case.make()(case.inputs))
    for (open_shape, dtype), (shape, real_dtype) in zip(open_shapes, real_shapes, strict=True):
        assert dtype == real_dtype and len(open_shape) == len(shape)
        assert open_shape[0] is None
        for side, expected in zip(open_shape, shape, strict=True):
            assert side in (None, expected)
        # Only what depends on an open axis may be open.
        assert open_shape[-1] == shape[-1]


@every_layer
def test_the_settings_survive_saving(case: Case):
    layer = case.make(name="some_name")
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert type(copy) is type(layer) and copy is not layer
    assert copy.name == "some_name" and copy.get_config() == layer.get_config()
    expected = run(layer, case.inputs)
    copy(symbols(case))
    if layer.trainable_variables:
        copy.set_weights(layer.get_weights())
    for actual, value in zip(run(copy, case.inputs), expected, strict=True):
        np.testing.assert_array_equal(actual, value)


@every_layer
def test_only_what_learns_has_trainable_variables(case: Case):
    layer = case.make()
    layer(case.inputs)
    assert len(layer.trainable_variables) == case.trainable


@every_layer
def test_boxes_and_losses_are_float32_under_mixed_precision(case: Case):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        layer = case.make()
        symbolic = shapes(layer(symbols(case)))
        outputs = layer(case.inputs)
    finally:
        keras.config.set_dtype_policy(before)
    float_types = {dtype for _, dtype in shapes(outputs) if "float" in dtype}
    assert float_types <= {"float32" if case.float32 else "bfloat16"}
    assert symbolic == shapes(outputs)
    assert all(variable.dtype == "float32" for variable in layer.trainable_variables)


def test_the_area_in_image_meta_gives_the_same_crops():
    rois, area, *features = CASES["RoiAlign"].inputs
    expected = RoiAlign((3, 4))([rois, area, *features])
    crops = RoiAlignFromMeta((3, 4))([rois, image_meta(), *features])
    np.testing.assert_array_equal(crops, expected)


@pytest.mark.parametrize("name", ["Proposals", "Detections", "RoiAlign", "RoiTargets"])
def test_a_layer_of_an_older_model_loads(name: str):
    """`use_tf_kernels` was `native`."""
    layer = CASES[name].make(use_tf_kernels=True, name="some_name")
    stored = json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
    config = stored["config"]
    config["native"] = config.pop("use_tf_kernels")
    copy = keras.saving.deserialize_keras_object(stored)
    assert copy.use_tf_kernels is True
    assert copy.get_config() == layer.get_config()


def test_float32_layers_take_bfloat16_features():
    # Features come from convolutions that compute in bfloat16.
    rois, area, *features = CASES["RoiAlign"].inputs
    lower = [ops.cast(x, "bfloat16") for x in features]
    rounded = [ops.cast(x, "float32") for x in lower]
    layer = RoiAlign((3, 4))
    crops = layer([rois, area, *lower])
    assert keras.backend.standardize_dtype(crops.dtype) == "float32"
    np.testing.assert_array_equal(crops, layer([rois, area, *rounded]))


@pytest.mark.parametrize("name", ["RpnTargets", "RoiTargets"])
def test_target_layers_draw_anew_each_time(name: str):
    noise = []
    for _ in range(2):
        layer = CASES[name].make()
        noise.append([keras.random.uniform((4,), seed=layer.random) for _ in range(2)])
    noise = np.array([[ops.convert_to_numpy(x) for x in draws] for draws in noise])
    np.testing.assert_array_equal(noise[0], noise[1])  # one seed, one sequence
    assert (noise[0, 0] != noise[0, 1]).any()


@pytest.mark.parametrize("name", ["RoiConv2D", "RoiConv2DTranspose"])
def test_rois_are_treated_one_by_one(name: str):
    case = CASES[name]
    layer = case.make()
    together = ops.convert_to_numpy(layer(case.inputs))
    for roi in range(R):
        alone = ops.convert_to_numpy(layer(case.inputs[:, roi : roi + 1]))
        np.testing.assert_allclose(together[:, roi : roi + 1], alone, atol=1e-5)


@pytest.mark.parametrize("train_bn", [False, True, None])
def test_batch_norm_trains_as_the_graph_says(train_bn: bool | None):
    # Keras 3 overwrites the `training` of a layer with that of the model's call.
    x = floats(B, 4, 4, 3) + 5
    image = keras.Input((4, 4, 3))
    model = keras.Model(image, BatchNorm(momentum=0.5, name="bn")(image, training=train_bn))
    copy = keras.Model.from_config(model.get_config())
    for graph in (model, copy):
        layer = graph.get_layer("bn")
        for training in (False, True):
            before = ops.convert_to_numpy(layer.moving_mean)
            expected_to_move = training if train_bn is None else train_bn
            y = ops.convert_to_numpy(graph(x, training=training))
            assert (ops.convert_to_numpy(layer.moving_mean) != before).all() == expected_to_move
            assert (abs(y.mean()) < 0.1) == expected_to_move  # normalized by the batch


def test_batch_norm_outside_a_graph_is_kerass():
    x = floats(B, 4, 4, 3) + 5
    layer, fixed = BatchNorm(), BatchNorm(training=False)
    layer(x, training=True)
    fixed(x, training=True)
    assert (ops.convert_to_numpy(layer.moving_mean) > 0).all()
    np.testing.assert_array_equal(fixed.moving_mean, np.zeros(3))
    y = ops.convert_to_numpy(BatchNorm()(x, training=False))
    np.testing.assert_allclose(y, x / np.sqrt(1 + layer.epsilon), rtol=1e-5)


def test_empty_slots_stay_zero_boxes():
    given = np.array([[[0, 0, 0, 0], [0, 0, H, W]]], np.int32)
    np.testing.assert_array_equal(
        NormalizeBoxes()([given, image()[:1]]), [[[0, 0, 0, 0], [0, 0, 1, 1]]]
    )


def test_an_unknown_loss_is_refused():
    with pytest.raises(ValueError, match="mask_loss"):
        losses.LossLayer("mask_loss")
