"""The Edge Agreement Head: settings, shapes, serialization, and training with it."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
from keras import ops

from mrcnn.layers.edge_agreement import EdgeAgreementHead
from mrcnn.ops import edge_filters, edges
from mrcnn.ops.edge_settings import EdgeSettings
from tests.support import compiled, gradient

CLASS_IDS = np.array([[2, 0, 1], [0, 0, -3]], np.int32)
POSITIVE = CLASS_IDS.ravel() > 0


def masks(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Predicted and target masks [B, P, H, W]."""
    random = np.random.default_rng(seed)
    predicted = random.uniform(0, 1, (2, 3, 8, 8)).astype(np.float32)
    return predicted, random.integers(0, 2, predicted.shape).astype(np.float32)


def make_head(loss_weight: float = 1.0, name: str | None = None, **settings) -> EdgeAgreementHead:
    return EdgeAgreementHead(EdgeSettings(**settings), loss_weight, name=name)


def loss_of_positives(predicted, target, **settings) -> float:
    """The published way: gather the positive RoIs first."""
    predicted, target = (x.reshape(-1, 8, 8)[POSITIVE] for x in (predicted, target))
    return float(ops.mean(edges.roi_edge_agreement(predicted, target, EdgeSettings(**settings))))


FULL = {
    "filters": ["roberts-x", "roberts-y", "laplace"],
    "norm": 3.5,
    "weight_factor": 0.25,
    "smoothing_gt": True,
    "smoothing_predictions": True,
    "weight_entropy": "product",
    "entropy_divisor": 4.0,
    "magnitude": True,
    "loss_weight": 2.0,
}


def test_the_default_is_the_recommended_setting():
    config = EdgeAgreementHead().get_config()
    assert config["filters"] == ["sobel-x", "sobel-y"]
    assert edge_filters.parse_norm(config["norm"]) == 2
    assert config["weight_factor"] == config["loss_weight"] == 1
    assert not config["smoothing_gt"] and not config["smoothing_predictions"]
    assert config["weight_entropy"] is False and config["magnitude"] is False


@pytest.mark.parametrize("options", [{}, {"weight_entropy": True}, FULL], ids=["l2", "exp", "full"])
def test_only_positive_rois_count(options):
    predicted, target = masks()
    head = make_head(**options)
    value = head([predicted, target, CLASS_IDS])
    settings = {name: x for name, x in options.items() if name != "loss_weight"}
    expected = options.get("loss_weight", 1) * loss_of_positives(predicted, target, **settings)
    assert tuple(value.shape) == ()
    assert float(value) == pytest.approx(expected, rel=1e-5)
    assert [float(x) for x in head.losses] == pytest.approx([expected], rel=1e-5)


def test_flat_rois_give_the_same():
    predicted, target = masks()
    flat = [predicted.reshape(-1, 8, 8), target.reshape(-1, 8, 8), CLASS_IDS.ravel()]
    assert float(EdgeAgreementHead()(flat)) == float(
        EdgeAgreementHead()([predicted, target, CLASS_IDS])
    )


# --- Masks of all classes -----------------------------------------------------------------------


def of_all_classes(predicted: np.ndarray, class_ids: np.ndarray, seed: int = 1) -> np.ndarray:
    """Masks [..., H, W, 4] that hold each RoI's mask at its class, and noise at the others."""
    noise = np.random.default_rng(seed).uniform(0, 1, (*predicted.shape, 4)).astype(np.float32)
    own = np.arange(4) == np.maximum(class_ids, 0)[..., None, None, None]
    return np.where(own, predicted[..., None], noise)


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("options", [{}, {"weight_entropy": True}, FULL], ids=["l2", "exp", "full"])
def test_masks_of_all_classes_give_the_loss_and_the_gradient_of_the_true_class(options, flat):
    predicted, target = masks()
    class_ids = CLASS_IDS
    if flat:
        predicted, target = predicted.reshape(-1, 8, 8), target.reshape(-1, 8, 8)
        class_ids = class_ids.ravel()
    every = of_all_classes(predicted, class_ids)
    own_head, head = make_head(**options), make_head(**options)
    assert float(head([every, target, class_ids])) == float(
        own_head([predicted, target, class_ids])
    )
    slope = gradient(lambda p: own_head([p, target, class_ids]), predicted)
    found = gradient(lambda p: head([p, target, class_ids]), every)
    np.testing.assert_array_equal(found, own_part(found, class_ids))
    np.testing.assert_array_equal(found.sum(axis=-1), slope)
    assert np.abs(slope).max() > 0


def own_part(slope: np.ndarray, class_ids: np.ndarray) -> np.ndarray:
    """A gradient that is zero but for each RoI's own class."""
    return np.where(np.arange(4) == np.maximum(class_ids, 0)[..., None, None, None], slope, 0)


def test_masks_of_all_classes_in_every_way_to_run():
    predicted, target = masks()
    every = of_all_classes(predicted, CLASS_IDS)
    expected = loss_of_positives(predicted, target)
    for name, run in compiled(lambda p, t, ids: EdgeAgreementHead()([p, t, ids])):
        assert run(every, target, CLASS_IDS) == pytest.approx(expected, rel=1e-5), name


def test_masks_of_all_classes_in_a_graph():
    inputs = [keras.Input((3, 8, 8, 4)), keras.Input((3, 8, 8)), keras.Input((3,), dtype="int32")]
    model = keras.Model(inputs, EdgeAgreementHead()(inputs))
    predicted, target = masks()
    every = of_all_classes(predicted, CLASS_IDS)
    expected = loss_of_positives(predicted, target)
    assert float(model([every, target, CLASS_IDS])) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "predicted, target, class_ids",
    [
        ((2, 3, 8, 8), (2, 3, 8, 9), (2, 3)),
        ((2, 3, 8, 8, 4), (2, 3, 4, 4), (2, 3)),
        ((2, 3, 8, 8), (2, 3, 8, 8), (2,)),
        ((6, 8, 8, 4), (6, 8, 8), (2, 3)),
    ],
)
def test_shapes_that_do_not_fit_are_refused(predicted, target, class_ids):
    arrays = [np.zeros(predicted, np.float32), np.zeros(target, np.float32)]
    with pytest.raises(ValueError, match=r"expected (predicted masks|one class id).*received"):
        EdgeAgreementHead()([*arrays, np.zeros(class_ids, np.int32)])


def test_eager_and_compiled_agree():
    predicted, target = masks()
    expected = loss_of_positives(predicted, target)
    for name, run in compiled(lambda p, t, ids: EdgeAgreementHead()([p, t, ids])):
        assert run(predicted, target, CLASS_IDS) == pytest.approx(expected, rel=1e-5), name


def test_no_positive_roi():
    predicted, target = masks()
    nothing = np.minimum(CLASS_IDS, 0)
    head = make_head(weight_entropy=True, norm="l1")
    assert float(head([predicted, target, nothing])) == 0
    slope = gradient(lambda p: head([p, target, nothing]), predicted)
    np.testing.assert_array_equal(slope, 0)


def test_padding_gets_no_gradient():
    predicted, target = masks()
    slope = gradient(lambda p: EdgeAgreementHead()([p, target, CLASS_IDS]), predicted)
    steep = np.abs(slope.reshape(6, -1)).max(1) > 0
    np.testing.assert_array_equal(steep, POSITIVE)


def test_it_has_no_variable():
    head = EdgeAgreementHead()
    head([*masks(), CLASS_IDS])
    assert head.variables == []


def test_symbolic_output_is_a_scalar():
    masks_in = (3, 8, 8)
    inputs = [keras.Input(masks_in), keras.Input(masks_in), keras.Input((3,), dtype="int32")]
    head = EdgeAgreementHead()
    output = head(inputs)
    assert output.shape == ()
    assert output.dtype == "float32"
    model = keras.Model(inputs, output)
    predicted, target = masks()
    expected = loss_of_positives(predicted, target)
    assert float(model([predicted, target, CLASS_IDS])) == pytest.approx(expected, rel=1e-5)


def test_masks_of_two_sizes_are_refused():
    with pytest.raises(ValueError, match=r"expected predicted masks.*8, 8.*4, 4"):
        EdgeAgreementHead()([np.zeros((2, 8, 8)), np.zeros((2, 4, 4)), np.ones(2, np.int32)])


@pytest.mark.parametrize("options", [{}, {"norm": "l4", "filters": "sobel+laplace"}, FULL], ids=str)
def test_serialization_round_trip(options):
    head = make_head(name="mrcnn_mask_edge_loss", **options)
    stored = json.loads(json.dumps(keras.saving.serialize_keras_object(head)))
    twin = keras.saving.deserialize_keras_object(stored)
    assert isinstance(twin, EdgeAgreementHead)
    assert twin.name == "mrcnn_mask_edge_loss"
    assert twin.get_config() == head.get_config()
    for name, value in options.items():
        expected = list(edge_filters.resolve_filters(value)) if name == "filters" else value
        assert twin.get_config()[name] == expected
    inputs = [*masks(), CLASS_IDS]
    assert float(twin(inputs)) == float(head(inputs))


def test_a_head_of_an_older_model_loads():
    """As the version before `EdgeSettings` wrote it: the settings beside the layer's own."""
    config = {
        "name": "mrcnn_mask_edge_loss",
        "trainable": True,
        "dtype": "float32",
        **FULL,
    }
    stored = {
        "module": "mrcnn.layers.edge_agreement",
        "class_name": "EdgeAgreementHead",
        "config": config,
        "registered_name": "mrcnn>EdgeAgreementHead",
    }
    head = keras.saving.deserialize_keras_object(stored)
    assert isinstance(head, EdgeAgreementHead)
    assert head.loss_weight == 2 and head.name == "mrcnn_mask_edge_loss"
    assert head.settings == EdgeSettings(
        **{name: value for name, value in FULL.items() if name != "loss_weight"}
    )


@pytest.mark.parametrize(
    "options, message",
    [
        ({"filters": ["sobel", "scharr"]}, "'scharr' is unknown.*laplace"),
        ({"filters": []}, "at least one"),
        ({"norm": "l6"}, "l1, l2, l3, l4, l5"),
        ({"weight_entropy": "yes"}, "'product' or 'exp'"),
        ({"weight_factor": -1.0}, "weight_factor: expected a finite number of at least 0"),
        ({"weight_factor": "1"}, "weight_factor"),
        ({"entropy_divisor": 0}, "entropy_divisor: expected a finite number above 0"),
        ({"loss_weight": float("nan")}, "loss_weight"),
        ({"filters": "laplace", "magnitude": True}, "sobel, prewitt or roberts"),
    ],
)
def test_wrong_settings_are_refused_at_construction(options, message):
    with pytest.raises(ValueError, match=message):
        make_head(**options)


def test_float32_under_a_mixed_precision_policy():
    predicted, target = masks()
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        head = EdgeAgreementHead()
        value = head([ops.convert_to_tensor(predicted), target, CLASS_IDS])
    finally:
        keras.config.set_dtype_policy(before)
    assert keras.backend.standardize_dtype(value.dtype) == "float32"
    assert float(value) == pytest.approx(loss_of_positives(predicted, target), rel=1e-5)


@pytest.mark.parametrize("jit", [False, True])
def test_training_on_the_edge_loss_alone_finds_the_mask(jit):
    """One pixelwise logit for each RoI, and no other loss: the mask must come out."""
    target = np.zeros((4, 2, 8, 8), np.float32)
    target[:, 0, 2:6, 2:7] = 1
    target[:, 1, :3, 1:5] = 1
    class_ids = np.tile(np.array([[1, 3]], np.int32), (4, 1))
    start = keras.Input((1,))
    truth = keras.Input((2, 8, 8))
    ids = keras.Input((2,), dtype="int32")
    logits = keras.layers.Dense(2 * 8 * 8, kernel_initializer="zeros")(start)
    predicted = keras.layers.Reshape((2, 8, 8))(keras.layers.Activation("sigmoid")(logits))
    edge_loss = EdgeAgreementHead(loss_weight=3.0)([predicted, truth, ids])
    model = keras.Model([start, truth, ids], [predicted, edge_loss])
    model.compile(keras.optimizers.Adam(0.3), jit_compile=jit)
    batch = [np.ones((4, 1), np.float32), target, class_ids]
    losses = [float(model.train_on_batch(batch)) for _ in range(40)]
    assert losses[0] == pytest.approx(
        3 * float(ops.mean(edges.roi_edge_agreement(np.full((2, 8, 8), 0.5), target[0]))), rel=1e-4
    )
    assert losses[-1] < 0.01 * losses[0]
    found = ops.convert_to_numpy(model(batch)[0])
    np.testing.assert_array_equal(found > 0.5, target > 0.5)
