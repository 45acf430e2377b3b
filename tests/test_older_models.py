"""Models that an older version saved still load, and compute what they computed."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from mrcnn.inference.model import InferenceNetwork
from mrcnn.layers.detection_slots import CompactDetections, PadDetections
from mrcnn.layers.edge_agreement import EdgeAgreementHead
from mrcnn.layers.roi_align import RoiAlignFromMeta
from mrcnn.ops.edge_settings import EdgeSettings
from mrcnn.ops.target_settings import RoiTargetSettings
from mrcnn.training.model import TrainingNetwork
from tests.tiny import tiny_batch, tiny_config

on_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="TensorFlow's kernels and random numbers"
)


@pytest.fixture(scope="module")
def folder() -> Path:
    return Path(__file__).parent / "fixtures" / "older_models"


@pytest.fixture(scope="module")
def expected(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / "outputs.npz") as archive:
        return dict(archive)


@pytest.fixture(scope="module")
def training(folder: Path) -> TrainingNetwork:
    return keras.saving.load_model(folder / "training.keras")


def test_a_training_model_loads(training: TrainingNetwork):
    assert isinstance(training, TrainingNetwork) and training.weight_decay == 0.002
    head = training.get_layer("mrcnn_mask_edge_loss")
    assert isinstance(head, EdgeAgreementHead)
    assert head.settings == EdgeSettings(
        "sobel+laplace", "l3", 0.5, smoothing_gt=True, weight_entropy="exp"
    )
    targets = training.get_layer("proposal_targets")
    assert targets.settings == RoiTargetSettings(12) and not targets.use_tf_kernels
    assert isinstance(training.get_layer("roi_align_mask"), RoiAlignFromMeta)


@on_tensorflow
def test_a_training_model_computes_its_losses(
    training: TrainingNetwork,
    expected: dict[str, np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
):
    """With the RoIs that the older version drew, by TensorFlow's generator."""

    def drawn_then(shape, seed, step, first_image):
        import tensorflow as tf

        state = tf.stack([tf.cast(number, "int32") for number in (seed, step)])
        return tf.random.stateless_uniform(shape, state)

    monkeypatch.setattr("mrcnn.layers.targets.uniform_noise", drawn_then)
    batch = {name: ops.convert_to_tensor(x) for name, x in tiny_batch(tiny_config()).items()}
    outputs = training(batch)
    assert {f"training_{name}" for name in outputs} == {
        name for name in expected if name.startswith("training_")
    }
    for name, value in outputs.items():
        np.testing.assert_allclose(value, expected[f"training_{name}"], rtol=1e-4, atol=1e-6)


def test_a_training_model_trains_on(folder: Path):
    model = keras.saving.load_model(folder / "training.keras")
    model.compile("sgd", jit_compile=False)
    losses = model.train_on_batch(tiny_batch(tiny_config()))
    assert np.isfinite(losses).all() and len(losses) > 6


@on_tensorflow
def test_an_inference_model_detects(folder: Path, expected: dict[str, np.ndarray]):
    model = keras.saving.load_model(folder / "inference.keras")
    assert isinstance(model, InferenceNetwork)
    kinds = {type(layer) for layer in model.layers}
    assert {CompactDetections, PadDetections, RoiAlignFromMeta} <= kinds
    assert model.get_layer("ROI").use_tf_kernels
    anchors = np.tile(expected["anchors"], (1, 18, 1))[:, :1023]
    inputs = [ops.convert_to_tensor(x) for x in (expected["images"], expected["meta"], anchors)]
    names = ("detections", "mrcnn_class", "mrcnn_bbox", "mrcnn_mask", "rpn_rois")
    for name, value in zip(names, model(inputs), strict=False):
        np.testing.assert_allclose(value, expected[f"inference_{name}"], atol=1e-4, err_msg=name)
