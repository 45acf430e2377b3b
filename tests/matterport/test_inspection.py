"""Intermediate tensors by their names in Matterport's graph, and their values."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from mrcnn import network
from mrcnn.data import molding
from mrcnn.inference import model
from mrcnn.matterport.inspection import Inspector, find_trainable_layer, get_trainable_layers, log
from mrcnn.ops import boxes as box_ops
from mrcnn.ops.targets import DetectionTargets
from mrcnn.training import model as training_model
from tests.tiny import tiny_batch, tiny_config

CONFIG = tiny_config(IMAGE_RESIZE_MODE="pad64", IMAGE_MAX_DIM=128)


def pictures(count: int, height: int = 64, width: int = 64) -> list[np.ndarray]:
    random = np.random.default_rng(count)
    return list(random.integers(0, 256, (count, height, width, 3)).astype(np.uint8))


@pytest.fixture(scope="module")
def inspector() -> Inspector:
    keras.utils.set_random_seed(2)
    return Inspector(network.build_inference(CONFIG), CONFIG)


@pytest.fixture(scope="module")
def training() -> Inspector:
    return Inspector(training_model.build(tiny_config()), tiny_config())


def run(inspector: Inspector, images: list[np.ndarray], **outputs: keras.KerasTensor) -> dict:
    molded, metas, _ = molding.mold_inputs(images, inspector.config)
    return inspector.run_graph(molded, metas, list(outputs.items()))


def output(inspector: Inspector, layer: str) -> keras.KerasTensor:
    return inspector.model.get_layer(layer).output


# --- Names ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("rpn_class", "rpn_class"),
        ("rpn_class:0", "rpn_class"),
        ("rpn_bbox/concat:0", "rpn_bbox"),
        ("res4a_out/Relu:0", "res4a_out"),
        ("res4a_out", "res4a_out"),
        ("conv1/BiasAdd", "conv1"),
        ("bn_conv1/FusedBatchNormV3:0", "bn_conv1"),
        ("fpn_p2add/add:0", "fpn_p2add"),
        ("fpn_p2/BiasAdd:0", "fpn_p2"),
        ("mrcnn_class/Reshape_1:0", "mrcnn_class"),
        ("mrcnn_detection", "mrcnn_detection"),
        ("input_image:0", "input_image"),
        ("ROI", "ROI"),
        (r"res5a_(in|out)/Relu.*", "res5a_out"),
    ],
)
def test_a_layers_output_has_its_names(inspector: Inspector, name: str, layer: str):
    start = output(inspector, "mrcnn_mask")  # the last layer: everything leads to it
    assert inspector.ancestor(start, name) is output(inspector, layer)


@pytest.mark.parametrize(
    "name",
    [
        "nowhere",
        "res4",
        "conv1/Conv2D:0",  # before the bias
        "rpn_class/Relu:0",
        "rpn_model",
        "rpn_conv_shared",
        "ROI/rpn_non_max_suppression/NonMaxSuppressionV1:0",
        "mrcnn_class/refined_anchors:0",
        "conv1:1",
    ],
)
def test_other_names_are_not_there(inspector: Inspector, name: str):
    assert inspector.ancestor(output(inspector, "mrcnn_mask"), name) is None


def test_only_ancestors_are_found(inspector: Inspector):
    pillar = output(inspector, "ROI")
    assert inspector.ancestor(pillar, "fpn_p2/BiasAdd:0") is output(inspector, "fpn_p2")
    assert inspector.ancestor(pillar, "mrcnn_class") is None
    assert inspector.ancestor(output(inspector, "res3a_out"), "res4a_out") is None


def test_a_step_is_the_same_tensor_each_time(inspector: Inspector):
    pillar = output(inspector, "ROI")
    found = [
        inspector.ancestor(pillar, f"ROI/rpn_non_max_suppression{end}")
        for end in ("", ":0", "/NonMaxSuppressionV2:0", "/NonMaxSuppressionV3:0")
    ]
    assert found[0] is not None and all(one is found[0] for one in found)
    # A step has ancestors itself.
    refined = inspector.ancestor(pillar, "ROI/refined_anchors:0")
    assert inspector.ancestor(refined, "conv1") is output(inspector, "conv1")


def test_the_tensor_must_be_of_the_model(inspector: Inspector, training: Inspector):
    with pytest.raises(ValueError, match="another model"):
        inspector.ancestor(output(training, "ROI"), "conv1")
    with pytest.raises(ValueError, match="symbolic tensor.*received ndarray"):
        inspector.ancestor(np.zeros(3), "conv1")


# --- Values -----------------------------------------------------------------------------------


def steps_of(inspector: Inspector) -> dict[str, keras.KerasTensor]:
    """What Matterport's notebook on a model's inside asks for."""
    pillar = output(inspector, "ROI")
    return {
        "rpn_class": output(inspector, "rpn_class"),
        "rpn_bbox": output(inspector, "rpn_bbox"),
        "pre_nms_anchors": inspector.ancestor(pillar, "ROI/pre_nms_anchors:0"),
        "refined_anchors": inspector.ancestor(pillar, "ROI/refined_anchors:0"),
        "refined_anchors_clipped": inspector.ancestor(pillar, "ROI/refined_anchors_clipped:0"),
        "post_nms_anchor_ix": inspector.ancestor(pillar, "ROI/rpn_non_max_suppression:0"),
        "proposals": pillar,
    }


def check_steps(found: dict[str, np.ndarray], anchors: np.ndarray, count: int) -> None:
    """Recompute each step of image 0 from the one before."""
    scores = found["rpn_class"][0, :, 1]
    best = np.argsort(-scores, kind="stable")[: CONFIG.PRE_NMS_LIMIT]
    np.testing.assert_allclose(found["pre_nms_anchors"][0], anchors[best], atol=1e-6)
    deltas = found["rpn_bbox"][0, best] * np.float32(CONFIG.RPN_BBOX_STD_DEV)
    refined = ops.convert_to_numpy(box_ops.decode(anchors[best].astype(np.float32), deltas))
    np.testing.assert_allclose(found["refined_anchors"][0], refined, rtol=1e-3, atol=1e-3)
    clipped = np.clip(found["refined_anchors"][0], 0, 1)
    np.testing.assert_allclose(found["refined_anchors_clipped"][0], clipped, atol=1e-6)
    index = found["post_nms_anchor_ix"]
    assert index.ndim == 1 and 1 <= len(index) <= count and (np.diff(index) > 0).all()
    proposals = found["proposals"][0]
    assert len(proposals) == count
    np.testing.assert_allclose(proposals[: len(index)], clipped[index], atol=1e-6)
    assert not proposals[len(index) :].any()


def test_the_steps_of_the_proposals(inspector: Inspector):
    found = run(inspector, pictures(1, 64, 128), **steps_of(inspector))
    assert list(found) == list(steps_of(inspector))
    anchors = network.anchors_layer(CONFIG)(np.zeros((1, 64, 128, 3), np.float32))
    check_steps(found, ops.convert_to_numpy(anchors)[0], CONFIG.POST_NMS_ROIS_INFERENCE)


def test_any_number_and_size_of_images(inspector: Inspector):
    features = {"p2": output(inspector, "fpn_p2"), "p5": output(inspector, "fpn_p5")}
    images = pictures(3)
    together = run(inspector, images, **features)
    assert together["p2"].shape == (3, 16, 16, 16) and together["p5"].shape == (3, 2, 2, 16)
    alone = run(inspector, images[1:2], **features)
    np.testing.assert_allclose(alone["p2"][0], together["p2"][1], rtol=1e-4, atol=1e-3)
    assert run(inspector, pictures(1, 64, 120), **features)["p2"].shape == (1, 16, 32, 16)


def test_like_the_model_itself(inspector: Inspector):
    images = pictures(2)
    molded, metas, _ = molding.mold_inputs(images, CONFIG)
    wrapped = model.with_static_shape(inspector.model, (64, 64, 3), 2, CONFIG, molded=True)
    whole = wrapped.predict_on_batch([molded, metas.astype(np.float32)])
    names = {0: "mrcnn_detection", 3: "mrcnn_mask", 4: "ROI"}
    found = run(inspector, images, **{name: output(inspector, name) for name in names.values()})
    for index, name in names.items():
        np.testing.assert_allclose(found[name], whole[index], atol=1e-4, err_msg=name)


def test_inputs_and_repetitions_among_the_outputs(inspector: Inspector):
    image = output(inspector, "input_image")
    conv = output(inspector, "conv1")
    images = pictures(1)
    found = run(inspector, images, image=image, again=image, conv=conv, twice=conv)
    molded = molding.mold_inputs(images, CONFIG)[0]
    np.testing.assert_array_equal(found["image"], molded)
    np.testing.assert_array_equal(found["again"], molded)
    np.testing.assert_array_equal(found["conv"], found["twice"])


def test_a_graph_is_compiled_once(inspector: Inspector, monkeypatch: pytest.MonkeyPatch):
    outputs = {"c1": output(inspector, "bn_conv1")}
    first = run(inspector, pictures(1), **outputs)
    built = []
    monkeypatch.setattr(model, "with_static_shape", lambda *_, **__: built.append(1))
    second = run(inspector, pictures(1), **outputs)
    np.testing.assert_array_equal(first["c1"], second["c1"])
    assert not built


def test_what_is_printed(inspector: Inspector, capsys: pytest.CaptureFixture):
    run(inspector, pictures(1), some_name=output(inspector, "conv1"))
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("some_name                shape: (1, 32, 32, 64)")


def test_outputs_that_cannot_be_computed(inspector: Inspector, training: Inspector):
    with pytest.raises(ValueError, match="None for nms, x"):
        run(inspector, pictures(1), conv=output(inspector, "conv1"), nms=None, x=None)
    with pytest.raises(ValueError, match="at least one"):
        run(inspector, pictures(1))
    with pytest.raises(ValueError, match="^far: .*another model"):
        run(inspector, pictures(1), conv=output(inspector, "conv1"), far=output(training, "conv1"))


# --- A training graph -------------------------------------------------------------------------


def test_a_training_graph_shows_what_hangs_on_images(training: Inspector, inspector: Inspector):
    images = list(tiny_batch(training.config)["input_image"])
    found = run(training, images[:1], **steps_of(training), p2=output(training, "fpn_p2"))
    anchors = network.anchors_layer(CONFIG)(np.zeros((1, 64, 64, 3), np.float32))
    check_steps(found, ops.convert_to_numpy(anchors)[0], training.config.POST_NMS_ROIS_TRAINING)
    assert found["p2"].shape == (1, 16, 16, 16)
    # The same weights see the same image as in inference.
    inspector.model.get_layer("conv1").set_weights(training.model.get_layer("conv1").get_weights())
    own = run(inspector, images[:1], conv=output(inspector, "conv1"))
    other = run(training, images[:1], conv=output(training, "conv1"))
    np.testing.assert_allclose(own["conv"], other["conv"], rtol=1e-4, atol=1e-3)


def test_a_training_graph_says_what_it_cannot(training: Inspector):
    with pytest.raises(ValueError, match="^rois: .*ground truth"):
        run(training, pictures(1), rois=output(training, "proposal_targets")[0])
    p2 = output(training, "fpn_p2")
    with pytest.raises(ValueError, match="up to 2 images"):
        run(training, pictures(3), p2=p2)
    molded, metas = np.zeros((1, 64, 128, 3), np.float32), np.zeros((1, 15))
    with pytest.raises(ValueError, match=r"\[64, 64, 3\].*\[64, 128, 3\]"):
        training.run_graph(molded, metas, [("p2", p2)])


def test_the_targets_of_a_training_graph_have_names(training: Inspector):
    loss = output(training, "mrcnn_mask_loss")
    targets = DetectionTargets(*output(training, "proposal_targets"))
    for name, tensor in (
        ("rois", targets.rois),
        ("target_class_ids:0", targets.class_ids),
        ("target_bbox:0", targets.deltas),
        ("target_mask", targets.masks),
    ):
        assert training.ancestor(loss, f"proposal_targets/{name}") is tensor
    assert training.ancestor(loss, "proposal_targets:1") is targets.class_ids
    assert training.ancestor(loss, "ROI/refined_anchors:0").shape == (2, 100, 4)


def test_given_rois_have_no_steps():
    config = tiny_config(USE_RPN_ROIS=False)
    inspector = Inspector(training_model.build(config), config)
    pillar = output(inspector, "ROI")
    assert inspector.ancestor(pillar, "ROI/refined_anchors:0") is None
    with pytest.raises(ValueError, match="^roi: .*ground truth"):
        run(inspector, pictures(1), roi=pillar)


# --- Layers and log ---------------------------------------------------------------------------


def test_layers_with_weights(inspector: Inspector):
    layers = get_trainable_layers(inspector.model)
    names = [layer.name for layer in layers]
    assert {"conv1", "bn_conv1", "fpn_p2", "rpn_model", "mrcnn_mask"} <= set(names)
    assert not {"ROI", "res2a_out", "mrcnn_detection", "input_image"} & set(names)
    assert all(layer.get_weights() for layer in layers)
    # Frozen or not.
    inspector.model.get_layer("conv1").trainable = False
    assert [layer.name for layer in get_trainable_layers(inspector.model)] == names


def test_wrappers_are_opened():
    dense = keras.layers.Dense(2)
    wrapped = keras.layers.SpectralNormalization(keras.layers.SpectralNormalization(dense))
    assert find_trainable_layer(wrapped) is dense
    assert find_trainable_layer(dense) is dense


def test_log(capsys: pytest.CaptureFixture):
    log("only a text")
    log("boxes", np.array([[-1.5, 2.25]], np.float32))
    log("masks", np.array([True, False]))
    log("nothing", np.zeros((0, 4), np.int32))
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "only a text",
        "boxes                    shape: (1, 2)                min:   -1.50000  "
        "max:    2.25000  float32",
        "masks                    shape: (2,)                  min:    0.00000  "
        "max:    1.00000  bool",
        "nothing                  shape: (0, 4)                min:             "
        "max:             int32",
    ]


# --- What scripts of other versions write --------------------------------------------------------


def test_log_takes_a_list(capsys: pytest.CaptureFixture):
    log("class_ids", [1, 2])
    assert "shape: (2,)" in capsys.readouterr().out


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="TensorFlow's own function")
def test_tf_identity_takes_a_layers_output(inspector: Inspector):
    import tensorflow as tf

    image = output(inspector, "input_image")
    assert tf.identity(image) is image and tf.identity(input=image, name="x") is image
    (picture,) = pictures(1)
    found = run(
        inspector,
        [picture],
        input_image=tf.identity(image),
        features=tf.identity(output(inspector, "fpn_p2")),
    )
    np.testing.assert_array_equal(found["input_image"], molding.mold_inputs([picture], CONFIG)[0])
    assert found["features"].shape == (1, 16, 16, 16)
    # What TensorFlow knows stays TensorFlow's, and so do its errors.
    assert tf.identity(tf.constant([1, 2])).numpy().tolist() == [1, 2]
    with pytest.raises((TypeError, ValueError)):
        tf.identity(object())


def test_the_training_graph_has_the_layers_of_matterports_inputs(training: Inspector):
    config = training.config
    anchors = training.model.get_layer("rpn_bbox").output.shape[1]
    shapes = {
        "input_rpn_match": (config.BATCH_SIZE, anchors, 1),
        "input_rpn_bbox": (config.BATCH_SIZE, config.RPN_TRAIN_ANCHORS_PER_IMAGE, 4),
        "output_rois": (config.BATCH_SIZE, config.TRAIN_ROIS_PER_IMAGE, 4),
    }
    outputs = [output(training, name) for name in shapes]
    assert [tuple(tensor.shape) for tensor in outputs] == list(shapes.values())
    graph = keras.Model(training.model.inputs, outputs)
    match, deltas, rois = (np.asarray(x) for x in graph(tiny_batch(config)))
    assert set(np.unique(match)) <= {-1, 0, 1} and (match == 1).any() and (match == -1).any()
    assert np.any(deltas) and rois.min() >= 0 and rois.max() <= 1
