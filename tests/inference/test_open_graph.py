"""One graph for images of every shape gives what Keras's graph of each shape gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from mrcnn.inference import open_graph
from mrcnn.inference.detector import Detector
from mrcnn.inference.open_graph import OpenGraph
from mrcnn.layers import resnet, resnext
from mrcnn.model import MaskRCNN
from mrcnn.network import INFERENCE_OUTPUTS
from mrcnn.tensorflow_backend import one_image
from tests.tiny import tiny_config

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="other backends compile a graph for each shape"
)
SHAPES = ((64, 64), (32, 128), (96, 64))


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def settings_of(**more: Any) -> dict[str, Any]:
    return {"IMAGES_PER_GPU": 1, "IMAGE_RESIZE_MODE": "none", "SEED": 3, **more}


def pair(tmp_path, **settings: Any) -> tuple[Detector, Detector]:
    """The detector with one graph for all shapes, and that with Keras's, on the same weights."""
    model = MaskRCNN("inference", tiny_config(**settings_of(**settings)), tmp_path)
    for layer in model.keras_model.layers:
        if isinstance(layer, layers.BatchNormalization):  # as if it had learned something
            random = np.random.default_rng(len(layer.name))
            layer.set_weights([w * random.uniform(0.9, 1.1, w.shape) for w in layer.get_weights()])
    keras_graph = tiny_config(**settings_of(**settings), FREEZE_GRAPH=False)
    return model.detector, Detector(model.keras_model, keras_graph)


@pytest.fixture(scope="module")
def detectors(tmp_path_factory) -> tuple[Detector, Detector]:
    return pair(tmp_path_factory.mktemp("logs"))


def outputs(
    detector: Detector, images: list[np.ndarray], molded: bool = False
) -> dict[str, np.ndarray]:
    prepared = [detector.prepare(image) for image in images]
    graph = detector.graph(prepared[0].shape, molded)
    resized = np.stack([p.resized for p in prepared])
    if molded:
        resized = resized.astype(np.float32) - detector.config.MEAN_PIXEL.astype(np.float32)
    metas = np.stack([p.meta for p in prepared]).astype(np.float32)
    return dict(zip(INFERENCE_OUTPUTS, graph.predict_on_batch([resized, metas]), strict=True))


def assert_same(
    open_one: Detector,
    other: Detector,
    images: list[np.ndarray],
    molded: bool = False,
    tolerance: float = 1e-4,
    names: Sequence[str] = INFERENCE_OUTPUTS,
) -> dict[str, np.ndarray]:
    """The outputs of the first, which are those of the other, up to a part of the largest value.

    Probabilities may differ more, and so may what is read in proposals that differ a little.
    """
    found, expected = (outputs(detector, images, molded) for detector in (open_one, other))
    for name in names:
        assert found[name].shape == expected[name].shape
        assert found[name].dtype == expected[name].dtype
        allowed = tolerance * (1 if name == "rpn_bbox" else 50)
        allowed *= max(1.0, np.abs(expected[name]).max())
        np.testing.assert_allclose(found[name], expected[name], 0, allowed, err_msg=name)
    return found


def test_it_is_what_keras_computes(detectors):
    for shape in SHAPES:
        assert isinstance(detectors[0].graph((*shape, 3), molded=False), OpenGraph)
        assert not isinstance(detectors[1].graph((*shape, 3), molded=False), OpenGraph)
        assert_same(*detectors, [picture(*shape)])
    assert_same(*detectors, [picture(*SHAPES[0])], molded=True)


def test_batches(tmp_path):
    detectors = pair(tmp_path, IMAGES_PER_GPU=2)
    for shape in SHAPES[:2]:
        assert_same(*detectors, [picture(*shape), picture(*shape, seed=1)])


@pytest.mark.parametrize(
    "settings",
    [
        {"BACKBONE": "resnet50"},  # bottleneck blocks
        {"BACKBONE": "resnext50", "RPN_ANCHOR_STRIDE": 2},  # grouped convolutions
        {"TRAIN_BN": None, "RPN_ANCHOR_SCALES": (8, 16, 24, 32)},
        {"PRE_NMS_LIMIT": 6000, "ROI_POOLING": "pool"},  # more than there are anchors
    ],
    ids=["bottlenecks", "groups", "own-statistics", "few-anchors"],
)
def test_other_networks(tmp_path, settings, monkeypatch):
    monkeypatch.setitem(resnet.BOTTLENECK_BLOCKS, "resnet50", (2, 1, 1, 1))
    monkeypatch.setitem(resnext.RESNEXTS, "resnext50", ((1, 1, 2, 1), 32, 4))
    assert_same(*pair(tmp_path, **settings), [picture(64, 64)])


def other_backbone(image, **options):
    """Convolutions of other kinds: dilated, without a bias, with an activation, grouped."""
    x = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(image)
    stages = [x]
    for strides in (2, 2, 2, 2):
        x = layers.Conv2D(8, 3, padding="same", dilation_rate=2, use_bias=False)(x)
        x = layers.Conv2D(8, 3, padding="same", activation="gelu", groups=1)(x)
        x = layers.BatchNormalization()(x, training=False)
        x = layers.MaxPooling2D(strides)(x)
        x = layers.Add()([x, layers.Conv2D(8, 1)(x)])
        stages.append(x)
    return stages


def test_a_backbone_of_other_layers(tmp_path):
    shapes = {"COMPUTE_BACKBONE_SHAPE": staticmethod(lambda *_: [(s, s) for s in (16, 8, 4, 2, 1)])}
    assert_same(*pair(tmp_path, BACKBONE=staticmethod(other_backbone), **shapes), [picture(64, 64)])


def test_bfloat16_computes_the_same_numbers(tmp_path):
    detectors = pair(tmp_path, MIXED_PRECISION="bfloat16")
    assert_same(*detectors, [picture(64, 64)], tolerance=0.03, names=["rpn_bbox"])


def test_it_is_traced_once(tmp_path, monkeypatch):
    """For all shapes, and for all weights."""
    traced = []
    trace = one_image.traced
    monkeypatch.setattr(one_image, "traced", lambda *given: traced.append(1) or trace(*given))
    model = MaskRCNN("inference", tiny_config(**settings_of()), tmp_path)
    norm = model.keras_model.get_layer("bn2a_branch2a")
    for shape in SHAPES:
        model.detect([picture(*shape)])
        norm.set_weights([weight * 1.5 for weight in norm.get_weights()])
    assert len(traced) == 1


def test_anchors_of_few_shapes_are_kept(detectors, monkeypatch):
    monkeypatch.setattr(open_graph, "MAX_SHAPES", 2)
    graph = OpenGraph(detectors[0].model, detectors[0].config)
    monkeypatch.setattr(detectors[0], "_open", graph)
    for shape in (*SHAPES, SHAPES[0]):
        assert_same(*detectors, [picture(*shape)])
        assert 1 <= len(graph._anchors) <= 2


def changed(after: dict[str, np.ndarray], before: dict[str, np.ndarray]) -> bool:
    return np.abs(after["rpn_bbox"] - before["rpn_bbox"]).max() > 1e-3


CHANGES = {
    "a kernel with a normalization": ("res3a_branch2a", 0),
    "its bias": ("res3a_branch2a", 1),
    "the normalization's scale": ("bn3a_branch2a", 0),
    "its offset": ("bn3a_branch2a", 1),
    "its mean": ("bn3a_branch2a", 2),
    "its variance": ("bn3a_branch2a", 3),
    "a kernel of the pyramid": ("fpn_p3", 0),
}


def test_changed_weights_are_seen(detectors):
    model, image = detectors[0].model, picture(64, 64)
    before = assert_same(*detectors, [image])
    for name, (layer_name, number) in CHANGES.items():
        layer = model.get_layer(layer_name)
        weights = layer.get_weights()
        weights[number] = weights[number] * 1.7 + 0.3
        layer.set_weights(weights)
        after = assert_same(*detectors, [image])
        assert changed(after, before), name
        before = after
    rpn = model.get_layer("rpn_model").get_layer("rpn_conv_shared")
    rpn.kernel.assign(rpn.kernel * 2)
    after = assert_same(*detectors, [image])
    assert changed(after, before)


def test_loaded_weights_are_seen(detectors, tmp_path):
    other = MaskRCNN("inference", tiny_config(**settings_of(SEED=9)), tmp_path)
    path = other.save_weights(tmp_path / "other.h5")
    image = picture(64, 64)
    before = assert_same(*detectors, [image])
    detectors[0].model.load_weights(path)
    after = assert_same(*detectors, [image])
    assert changed(after, before)
    expected = outputs(other.detector, [image])
    np.testing.assert_array_equal(after["rpn_class"], expected["rpn_class"])


def test_a_model_that_trains_is_seen_step_by_step(detectors):
    """The same variables train and detect."""
    model, image = detectors[0].model, picture(64, 64)
    kernel = model.get_layer("res2a_branch2a").kernel
    optimizer = keras.optimizers.SGD(1e-3, momentum=0.9)
    optimizer.build([kernel])
    before = assert_same(*detectors, [image])
    for _ in range(3):
        optimizer.apply([keras.ops.ones(kernel.shape)], [kernel])
        after = assert_same(*detectors, [image])
        assert changed(after, before)
        before = after
