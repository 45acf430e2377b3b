"""bfloat16 and float16: where they compute, and that they learn and detect the same."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from mrcnn.config import Config
from mrcnn.model import MaskRCNN
from mrcnn.training import compile
from mrcnn.training import model as training_model
from tests.tiny import tiny_batch, tiny_config

STEPS, COMPARED = 8, 5
# The RoIs are given and all anchors count: otherwise rounding decides what is drawn.
WITHOUT_DRAWING = {
    "EDGE_LOSS_FILTERS": ["sobel"],
    "USE_RPN_ROIS": False,
    "POST_NMS_ROIS_TRAINING": 8,
    "RPN_TRAIN_ANCHORS_PER_IMAGE": 2048,
}


def losses_of(config: Config) -> list[float]:
    keras.utils.set_random_seed(3)
    model = training_model.build(config)
    compile.compile_model(model, config, 0.005, 0.9)
    batch = tiny_batch(config)
    return [float(model.train_on_batch(batch, return_dict=True)["loss"]) for _ in range(STEPS)]


@pytest.fixture(scope="module")
def reference() -> list[float]:
    return losses_of(tiny_config(**WITHOUT_DRAWING))


def test_bfloat16_follows_float32(reference: list[float]):
    found = losses_of(tiny_config(**WITHOUT_DRAWING, MIXED_PRECISION="bfloat16"))
    np.testing.assert_allclose(found[0], reference[0], rtol=0.02)
    # Later the steps of a random start go their own ways, as with another order of summing.
    np.testing.assert_allclose(found[:COMPARED], reference[:COMPARED], rtol=0.1)


def test_float16_learns(reference: list[float]):
    found = losses_of(tiny_config(**WITHOUT_DRAWING, MIXED_PRECISION="float16"))
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[0], reference[0], rtol=0.02)
    # The first steps are left out until the scale of the loss fits.
    assert found[-1] < 0.8 * max(found)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_what_computes_in_which_type(dtype: str):
    policy = keras.config.dtype_policy().name
    model = training_model.build(tiny_config(MIXED_PRECISION=dtype))
    assert keras.config.dtype_policy().name == policy  # set for this network only
    for name in ("conv1", "fpn_p2", "mrcnn_mask_conv1", "mrcnn_class_conv1"):
        layer = model.get_layer(name)
        assert layer.compute_dtype == dtype and layer.variable_dtype == "float32"
    for name in ("ROI", "proposal_targets", "rpn_targets", "mrcnn_mask_loss", "mrcnn_class"):
        assert model.get_layer(name).compute_dtype == "float32"
    assert all(variable.dtype == "float32" for variable in model.trainable_variables)


def test_float16_scales_the_loss():
    config = tiny_config(MIXED_PRECISION="float16")
    model = training_model.build(config)
    compile.compile_model(model, config, 0.005, 0.9)
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)


def test_detections_agree_with_those_in_float32(tmp_path):
    random = np.random.default_rng(0)
    image = random.integers(0, 255, (64, 64, 3)).astype(np.uint8)
    plain = MaskRCNN("inference", tiny_config(IMAGES_PER_GPU=1, SEED=1), tmp_path)
    mixed = MaskRCNN(
        "inference", tiny_config(IMAGES_PER_GPU=1, MIXED_PRECISION="bfloat16"), tmp_path
    )
    plain.keras_model.save_weights(str(tmp_path / "weights.h5"))
    mixed.load_weights(str(tmp_path / "weights.h5"))
    outputs = [m.keras_model.predict_on_batch(_inputs(m, image)) for m in (plain, mixed)]
    assert all(output.dtype == np.float32 for output in outputs[1])
    # Objectness of the same anchors. The weights are random, so that nothing is certain.
    difference = np.abs(outputs[1][5] - outputs[0][5])
    assert difference.mean() < 0.01 and (difference < 0.05).mean() > 0.97


def _inputs(model: MaskRCNN, image: np.ndarray) -> list[np.ndarray]:
    molded, metas, _ = model.mold_inputs([image])
    return [molded, metas.astype(np.float32), model.get_anchors(molded.shape[1:])[None]]


def test_an_unknown_precision_is_named():
    with pytest.raises(ValueError, match=r"MIXED_PRECISION.*bfloat16.*received 'half'"):
        tiny_config(MIXED_PRECISION="half")
