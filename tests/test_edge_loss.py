"""Edge agreement as a Keras loss: against loops, against the head, and in Keras's training."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
from keras import ops

from mrcnn.edge_loss import EdgeAgreementLoss
from mrcnn.layers.edge_agreement import EdgeAgreementHead
from mrcnn.ops.edge_filters import resolve_filters
from mrcnn.ops.edge_settings import EdgeSettings
from tests.ops.test_edges import naive_loss
from tests.support import compiled, gradient

SETTINGS = {
    "default": {},
    "laplace l1": {"filters": "laplace", "norm": "l1", "weight_factor": 0.5},
    "smoothed l3.5": {"norm": 3.5, "smoothing_gt": True, "smoothing_predictions": True},
    "product": {"weight_entropy": "product", "filters": ["roberts", "laplace-4"]},
    "exp": {"weight_entropy": "exp", "entropy_divisor": 4.0, "smoothing_gt": True},
    "magnitude": {"magnitude": True, "norm": "l4", "filters": "prewitt"},
}
all_settings = pytest.mark.parametrize("settings", SETTINGS.values(), ids=list(SETTINGS))


def maps(shape=(2, 5, 7, 3), seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Targets {0, 1} and predictions in (0, 1)."""
    random = np.random.default_rng(seed)
    target = random.integers(0, 2, shape).astype(np.float32)
    return target, random.uniform(0.01, 0.99, shape).astype(np.float32)


def naive_losses(target, predicted, settings) -> np.ndarray:
    """One for each image: the mean over its channels, each of them alone."""
    settings = {**settings, "filters": resolve_filters(settings.get("filters", "sobel"))}
    settings["norm"] = float(str(settings.get("norm", 2.0)).removeprefix("l"))
    return np.array(
        [
            np.mean([naive_loss(p[None, ..., c], t[None, ..., c], **settings) for c in range(3)])
            for t, p in zip(target, predicted, strict=True)
        ]
    )


@all_settings
def test_like_the_loops(settings):
    target, predicted = maps()
    loss = EdgeAgreementLoss(**settings)
    expected = naive_losses(target, predicted, settings)
    np.testing.assert_allclose(loss.call(target, predicted), expected, rtol=2e-5)
    assert float(loss(target, predicted)) == pytest.approx(expected.mean(), rel=2e-5)


@all_settings
def test_one_channel_is_what_the_head_computes(settings):
    target, predicted = maps((4, 8, 6, 1))
    head = EdgeAgreementHead(EdgeSettings(**settings))
    expected = head([predicted[..., 0], target[..., 0], np.ones(4, np.int32)])
    value = EdgeAgreementLoss(**settings)(target, predicted)
    assert float(value) == pytest.approx(float(expected), rel=1e-5)


def test_channels_and_images_do_not_touch():
    target, predicted = maps((3, 6, 4, 2))
    order = [2, 0, 1]
    losses = np.asarray(EdgeAgreementLoss().call(target, predicted))
    shuffled = EdgeAgreementLoss().call(target[order][..., ::-1], predicted[order][..., ::-1])
    np.testing.assert_allclose(shuffled, losses[order], rtol=1e-6)


def test_logits_are_put_through_the_sigmoid():
    target, predicted = maps()
    logits = np.log(predicted / (1 - predicted))
    for weighting in (False, "exp"):
        expected = EdgeAgreementLoss(weight_entropy=weighting)(target, predicted)
        value = EdgeAgreementLoss(weight_entropy=weighting, from_logits=True)(target, logits)
        assert float(value) == pytest.approx(float(expected), rel=1e-4)


def test_equal_maps_of_any_range_lose_nothing():
    depth = np.random.default_rng(0).uniform(0, 80, (1, 9, 4, 1))
    assert float(EdgeAgreementLoss()(depth, depth)) == 0
    further = EdgeAgreementLoss().call(depth, depth + np.eye(9, 4)[None, ..., None])
    assert float(further[0]) > 0


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (2, 3)])
def test_tiny_maps(size):
    target, predicted = maps((2, *size, 3))
    expected = naive_losses(target, predicted, {}).mean()
    assert float(EdgeAgreementLoss()(target, predicted)) == pytest.approx(expected, rel=1e-5)


def test_targets_may_be_integers_or_bool():
    target, predicted = maps()
    expected = float(EdgeAgreementLoss()(target, predicted))
    for dtype in (np.uint8, np.int32, bool):
        assert float(EdgeAgreementLoss()(target.astype(dtype), predicted)) == expected


class TestReduction:
    def test_each_kind(self):
        target, predicted = maps()
        each = np.asarray(EdgeAgreementLoss(reduction=None)(target, predicted))
        assert each.shape == (2,)
        for reduction, expected in (("sum", each.sum()), ("sum_over_batch_size", each.mean())):
            value = float(EdgeAgreementLoss(reduction=reduction)(target, predicted))
            assert value == pytest.approx(expected, rel=1e-6)

    @pytest.mark.parametrize("shape", [(2,), (2, 1)])
    def test_sample_weights_are_of_images(self, shape):
        target, predicted = maps()
        each = np.asarray(EdgeAgreementLoss().call(target, predicted))
        weights = np.array([3.0, 0.5], np.float32)
        value = EdgeAgreementLoss()(target, predicted, sample_weight=weights.reshape(shape))
        assert float(value) == pytest.approx((each * weights).mean(), rel=1e-6)
        mean = EdgeAgreementLoss(reduction="mean_with_sample_weight")
        value = mean(target, predicted, sample_weight=weights.reshape(shape))
        assert float(value) == pytest.approx((each * weights).sum() / weights.sum(), rel=1e-6)

    def test_an_image_of_weight_zero_gets_no_gradient(self):
        target, predicted = maps()
        weights = np.array([0.0, 1.0], np.float32)
        slope = gradient(lambda p: EdgeAgreementLoss()(target, p, sample_weight=weights), predicted)
        assert not slope[0].any() and slope[1].any()


def test_eager_and_compiled_agree():
    target, predicted = maps()
    expected = naive_losses(target, predicted, SETTINGS["smoothed l3.5"]).mean()
    loss = EdgeAgreementLoss(**SETTINGS["smoothed l3.5"])
    for name, run in compiled(loss):
        assert run(target, predicted) == pytest.approx(expected, rel=2e-5), name


@all_settings
def test_the_gradient_is_finite(settings):
    """Where the maps are flat or equal, and where sigmoids saturate."""
    target = np.zeros((3, 6, 6, 1), np.float32)
    target[:, 2:5, 1:4] = 1
    logits = (target - 0.5) * np.array([0, 200, -200], np.float32)[:, None, None, None]
    loss = EdgeAgreementLoss(**settings, from_logits=True)
    slope = gradient(lambda p: loss(target, p), logits, jit=True)
    assert np.isfinite(slope).all()


def test_the_gradient_is_the_slope():
    target, predicted = maps((1, 4, 4, 2))
    slope = gradient(lambda p: EdgeAgreementLoss()(target, p), predicted)
    step = np.zeros_like(predicted)
    step[0, 1, 2, 1] = 0.01
    loss = EdgeAgreementLoss()
    rise = float(loss(target, predicted + step)) - float(loss(target, predicted - step))
    assert slope[0, 1, 2, 1] == pytest.approx(rise / 0.02, rel=1e-3)


def network(**sides) -> keras.Model:
    """One convolution, for images of any size."""
    keras.utils.set_random_seed(0)
    images = keras.Input((sides.get("height"), sides.get("width"), 3))
    return keras.Model(images, keras.layers.Conv2D(1, 3, padding="same")(images))


class TestInKeras:
    SETTINGS = {"filters": "sobel+laplace", "norm": 3.0, "weight_factor": 0.25, "from_logits": True}

    @pytest.mark.parametrize("jit", [False, True])
    def test_training_lowers_it(self, jit):
        if keras.backend.backend() == "jax" and not jit:
            pytest.skip("JAX then compiles operation by operation, which takes long")
        images = np.random.default_rng(0).uniform(0, 1, (4, 10, 8, 3)).astype(np.float32)
        target = (images[..., :1] > 0.5).astype(np.float32)
        model = network(height=10, width=8)
        loss = EdgeAgreementLoss(from_logits=True)
        model.compile(keras.optimizers.Adam(0.1), loss, jit_compile=jit)
        before = float(model.test_on_batch(images, target))
        for _ in range(15):
            model.train_on_batch(images, target)
        model.reset_metrics()
        assert float(model.test_on_batch(images, target)) < 0.7 * before

    def test_sides_that_are_known_at_the_call_only(self):
        model = network()
        loss = EdgeAgreementLoss(from_logits=True)
        model.compile("sgd", loss, jit_compile=False)
        for size in ((6, 9), (4, 5)):
            target, images = maps((2, *size, 3))
            target = target[..., :1]
            value = model.test_on_batch(images, target)
            model.reset_metrics()
            expected = float(loss(target, ops.convert_to_tensor(model(images))))
            assert float(value) == pytest.approx(expected, rel=1e-5)

    def test_a_compiled_model_is_saved_with_it(self, tmp_path):
        target, images = maps((2, 6, 6, 3))
        model = network(height=6, width=6)
        model.compile("sgd", EdgeAgreementLoss(**self.SETTINGS), jit_compile=False)
        model.save(tmp_path / "model.keras")
        twin = keras.saving.load_model(tmp_path / "model.keras")
        assert isinstance(twin.loss, EdgeAgreementLoss)
        assert twin.loss.get_config() == model.loss.get_config()
        value = float(twin.test_on_batch(images, target[..., :1]))
        assert value == pytest.approx(float(model.test_on_batch(images, target[..., :1])), rel=1e-6)

    @all_settings
    def test_config_round_trip(self, settings):
        loss = EdgeAgreementLoss(**settings, from_logits=True, reduction="sum", name="edges")
        stored = json.loads(json.dumps(keras.saving.serialize_keras_object(loss)))
        twin = keras.saving.deserialize_keras_object(stored)
        assert isinstance(twin, EdgeAgreementLoss)
        assert twin.get_config() == loss.get_config()
        for name, value in {**settings, "from_logits": True, "reduction": "sum"}.items():
            expected = list(resolve_filters(value)) if name == "filters" else value
            assert twin.get_config()[name] == expected
        assert float(twin(*maps())) == float(loss(*maps()))

    def test_float32_when_the_default_is_another(self):
        before = keras.config.floatx()
        keras.config.set_floatx("float16")
        try:
            value = EdgeAgreementLoss()(*maps())
        finally:
            keras.config.set_floatx(before)
        assert keras.backend.standardize_dtype(value.dtype) == "float32"


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"filters": ["sobel", "scharr"]}, "'scharr' is unknown.*laplace"),
        ({"norm": "l6"}, "l1, l2, l3, l4, l5"),
        ({"weight_entropy": "yes"}, "'product' or 'exp'"),
        ({"weight_factor": -1.0}, "weight_factor: expected a finite number of at least 0"),
        ({"weight_factor": "1"}, "weight_factor"),
        ({"entropy_divisor": 0}, "entropy_divisor: expected a finite number above 0"),
        ({"filters": "laplace", "magnitude": True}, "sobel, prewitt or roberts"),
        ({"reduction": "median"}, "median"),
    ],
)
def test_wrong_settings_are_refused_at_construction(settings, message):
    with pytest.raises(ValueError, match=message):
        EdgeAgreementLoss(**settings)


@pytest.mark.parametrize(
    "target, predicted",
    [
        ((2, 6, 6, 1), (2, 6, 5, 1)),
        ((2, 6, 6, 1), (2, 6, 6, 3)),
        ((2, 6, 6), (2, 6, 6, 1)),
        ((2, 6, 6), (2, 6, 6)),
    ],
)
def test_other_shapes_are_refused(target, predicted):
    with pytest.raises(ValueError, match=r"expected targets and predictions of one shape \[batch"):
        EdgeAgreementLoss()(np.zeros(target), np.zeros(predicted))
