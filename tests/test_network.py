"""The two graphs: their layers, and that the training graph trains whatever comes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from mrcnn import batch as batch_names
from mrcnn import network
from mrcnn.config import LOSS_NAMES, Config
from mrcnn.inference import model as inference_model
from mrcnn.layers import detection_slots
from mrcnn.layers.resnet import resnet_graph
from mrcnn.layers.roi_align import RoiAlign
from mrcnn.ops import leading, losses
from mrcnn.ops.indexing import select_class
from mrcnn.ops.targets import DetectionTargets
from mrcnn.training import compile, weight_decay
from mrcnn.training import model as training_model
from mrcnn.training.model import TrainingModel
from mrcnn.training.stages import layer_regex
from mrcnn.weights.layers import weighted_layers
from tests.support import weight_gradients
from tests.tiny import tiny_batch, tiny_config

BACKEND = keras.backend.backend()
tensorflow_only = pytest.mark.skipif(
    BACKEND != "tensorflow",
    reason="one training step without compiling it takes a minute and more on this backend, "
    "and each graph would have to be compiled anew; what is tested depends on no backend",
)
BASE_LOSSES = LOSS_NAMES[:5]
KINDS = ("objects", "none", "crowds", "lines")


def eager(model: TrainingModel, config: Config) -> TrainingModel:
    """Compile for training without tracing: quicker for a step or two."""
    compile.compile_model(model, config, config.LEARNING_RATE, config.LEARNING_MOMENTUM)
    model.run_eagerly = True
    return model


def step(model: TrainingModel, batch: dict[str, np.ndarray]) -> dict[str, float]:
    """Train one step: the losses by name, of this step only."""
    model.reset_metrics()
    logs = model.train_on_batch(batch, return_dict=True)
    return {name: float(value) for name, value in logs.items()}


def weights_of(model: keras.Model) -> dict[str, list[np.ndarray]]:
    return {layer.name: layer.get_weights() for layer, _ in weighted_layers(model)}


def changed(before: dict[str, list], after: dict[str, list]) -> set[str]:
    return {
        name
        for name, values in before.items()
        if any((x != y).any() for x, y in zip(values, after[name], strict=True))
    }


# --- Layers -----------------------------------------------------------------------------------

HEADS = (
    *("fpn_c5p5", "fpn_c4p4", "fpn_c3p3", "fpn_c2p2", "fpn_p4add", "fpn_p3add", "fpn_p2add"),
    *("fpn_p2", "fpn_p3", "fpn_p4", "fpn_p5", "fpn_p6", "rpn_model", "ROI"),
    *("roi_align_classifier", "mrcnn_class_conv1", "mrcnn_class_bn1", "mrcnn_class_conv2"),
    *("mrcnn_class_bn2", "mrcnn_class_logits", "mrcnn_class", "mrcnn_bbox_fc", "mrcnn_bbox"),
    *("roi_align_mask", "mrcnn_mask_deconv", "mrcnn_mask"),
    *(f"mrcnn_mask_{kind}{number}" for kind in ("conv", "bn") for number in range(1, 5)),
)
RPN = ("rpn_conv_shared", "rpn_class_raw", "rpn_bbox_pred")
# Layers of the training graph only, and of the inference graph only.
TRAINING = ("proposal_targets", *LOSS_NAMES)
INFERENCE = ("mrcnn_detection",)


def backbone_names(blocks: tuple[int, ...]) -> set[str]:
    names = {"conv1", "bn_conv1"}
    for stage, count in enumerate(blocks, start=2):
        for number in range(count):
            branches = ("2a", "2b", "2c", "1") if number == 0 else ("2a", "2b", "2c")
            block = f"{stage}{chr(ord('a') + number)}_branch"
            names |= {f"{kind}{block}{branch}" for kind in ("res", "bn") for branch in branches}
    return names


@tensorflow_only
@pytest.mark.parametrize("depth", [50, 101])
def test_the_backbones_have_matterports_names(depth: int):
    image = keras.Input((64, 64, 3))
    model = keras.Model(image, resnet_graph(image, f"resnet{depth}", stage5=True)[1:])
    blocks = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}[depth]
    assert {layer.name for layer in model.layers if layer.weights} == backbone_names(blocks)
    assert [output.shape[1:] for output in model.outputs] == [
        (16, 16, 256), (8, 8, 512), (4, 4, 1024), (2, 2, 2048)
    ]  # fmt: skip
    assert model.get_layer("bn2a_branch2a").epsilon == 1e-3


def test_a_backbone_may_end_early_but_must_be_known():
    image = keras.Input((64, 64, 3))
    assert resnet_graph(image, "resnet10")[4] is None
    with pytest.raises(ValueError, match="resnet26"):
        resnet_graph(image, "resnet26")


def test_both_graphs_have_matterports_names():
    config = tiny_config(EDGE_LOSS_FILTERS=["sobel-x", "sobel-y"])
    graphs = training_model.build(config), network.build_inference(config)
    for graph, own, foreign in zip(
        graphs, (TRAINING, INFERENCE), (INFERENCE, TRAINING), strict=True
    ):
        names = {layer.name for layer in graph.layers}
        assert {*HEADS, *own} <= names and not names & set(foreign)
        assert {*RPN} <= {layer.name for layer in graph.get_layer("rpn_model").layers}
    # The weights of one fit the other.
    shapes = [
        {layer.name: [tuple(w.shape) for w in layer.weights] for layer, _ in weighted_layers(graph)}
        for graph in graphs
    ]
    for name in ("rpn_targets", "proposal_targets"):  # random states
        shapes[0].pop(name, None)
    assert shapes[0] == shapes[1] and len(shapes[0]) > 30


def test_the_inference_graph_fits_any_image_and_batch():
    config = tiny_config()
    model = network.build_inference(config)
    assert model.inputs[0].shape == (None, None, None, 3)
    assert [output.shape[1:] for output in model.outputs] == [
        *((5, 6), (20, 3), (20, 3, 4), (5, 28, 28, 3)),
        *((20, 4), (None, 2), (None, 4)),
    ]
    for shape in ((64, 64, 3), (64, 128, 3)):
        static = inference_model.with_static_shape(model, shape, 2, config, molded=False)
        assert all(None not in output.shape for output in static.outputs)
        anchors = 3 * sum(-(-shape[0] // s) * -(-shape[1] // s) for s in (4, 8, 16, 32, 64))
        assert static.outputs[5].shape == (2, anchors, 2)


# --- Training ---------------------------------------------------------------------------------


class Trained:
    """A compiled model, its first weights, and how often its step was traced."""

    def __init__(self, **settings: Any) -> None:
        self.config = tiny_config(**settings)
        self.model = training_model.build(self.config)
        compile.set_trainable(self.model, layer_regex("all"))
        compile.compile_model(
            self.model, self.config, self.config.LEARNING_RATE, self.config.LEARNING_MOMENTUM
        )
        self.model.optimizer.build(self.model.trainable_variables)
        self.variables = [*self.model.variables, *self.model.optimizer.variables]
        self.first = [ops.convert_to_numpy(variable) for variable in self.variables]
        self.traces = 0
        compute_loss = self.model.compute_loss

        def counting(*args: Any, **kwargs: Any) -> Any:
            self.traces += 1  # Python runs only while the step is traced
            return compute_loss(*args, **kwargs)

        self.model.compute_loss = counting

    def rewind(self) -> None:
        for variable, value in zip(self.variables, self.first, strict=True):
            variable.assign(value)


@pytest.fixture(scope="module")
def shared_model() -> Trained:
    return Trained(EDGE_LOSS_FILTERS=["sobel-x", "sobel-y"])


@pytest.fixture
def trained(shared_model: Trained) -> Trained:
    shared_model.rewind()
    return shared_model


def assert_finite(model: TrainingModel, logs: dict[str, float]) -> None:
    assert all(np.isfinite(value) for value in logs.values()), logs
    for layer, _ in weighted_layers(model):
        assert all(np.isfinite(value).all() for value in layer.get_weights()), layer.name


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_ground_truth_trains(trained: Trained, kind: str):
    batch = tiny_batch(trained.config, kind)
    logs = step(trained.model, batch)
    assert_finite(trained.model, logs)
    assert set(logs) == {"loss", *LOSS_NAMES}
    second_stage = [logs[name] for name in LOSS_NAMES if name.startswith("mrcnn_")]
    assert logs["rpn_class_loss"] > 0
    if kind == "objects":
        assert logs["rpn_bbox_loss"] > 0
    else:
        assert logs["rpn_bbox_loss"] == 0 and second_stage == [0] * 4


def test_the_loss_falls_and_the_frozen_statistics_stay(trained: Trained):
    model, batch = trained.model, tiny_batch(trained.config)
    before = weights_of(model)
    logs = [step(model, batch) for _ in range(15)]
    # The RPN's targets do not depend on what the network proposes: its losses must fall.
    rpn = [log["rpn_class_loss"] + log["rpn_bbox_loss"] for log in logs]
    assert np.mean(rpn[-3:]) < 0.7 * np.mean(rpn[:3])
    after = weights_of(model)
    norms = [name for name in before if "bn" in name]
    assert len(norms) > 10
    for name in norms:
        np.testing.assert_array_equal(before[name][2:], after[name][2:])
    # Gamma and beta learn, as everything else.
    assert {"bn_conv1", "conv1", "fpn_p2", "rpn_class_raw"} <= changed(before, after)


@pytest.mark.skipif(BACKEND == "torch", reason="nothing is traced")
def test_the_step_is_traced_once(trained: Trained):
    step(trained.model, tiny_batch(trained.config))
    traces = trained.traces
    assert traces > 0
    for kind in KINDS:
        step(trained.model, tiny_batch(trained.config, kind, seed=1))
    assert trained.traces == traces


def test_the_total_is_the_sum_and_the_weight_decay(trained: Trained):
    model, config = trained.model, trained.config
    decay = float(weight_decay.weight_decay(model.trainable_variables, config.WEIGHT_DECAY))
    logs = step(model, tiny_batch(config))
    total = decay + sum(logs[name] for name in LOSS_NAMES)
    assert decay > 0
    np.testing.assert_allclose(logs["loss"], total, rtol=1e-5)


# Each differs from the main model in all that it can.
VARIANTS = {
    "wide, five channels, whole masks": {
        "IMAGE_RESIZE_MODE": "pad64",
        "IMAGE_PAD_SHAPE": (64, 128),
        "IMAGE_CHANNEL_COUNT": 5,
        "MEAN_PIXEL": np.arange(5.0),
        "USE_MINI_MASK": False,
    },
    "grey, given RoIs, masks of 56": {
        "IMAGE_CHANNEL_COUNT": 1,
        "MEAN_PIXEL": np.array([100.0]),
        "USE_RPN_ROIS": False,
        "MASK_SHAPE": (56, 56),
        "GPU_COUNT": 2,
        "IMAGES_PER_GPU": 1,
    },
    "callable backbone, edge head with weighted entropy": {
        "BACKBONE": staticmethod(lambda image, **kwargs: small_backbone(image)),
        "COMPUTE_BACKBONE_SHAPE": staticmethod(lambda shape: shape),
        "EDGE_LOSS_FILTERS": ["laplace"],
        "EDGE_LOSS_WEIGHT_ENTROPY": True,
        "TRAIN_BN": True,
        "USE_RPN_ROIS": False,  # or none would be valid, and have statistics
    },
    "RoIPool, no border anchors, given RoIs, masks of 56": {
        "ROI_POOLING": "pool",
        "RPN_BORDER_ANCHORS": "ignore",
        "USE_RPN_ROIS": False,
        "MASK_SHAPE": (56, 56),
    },
}


def small_backbone(image: Any) -> list[Any]:
    """C1 … C5 from one convolution each; C1 is not used."""
    stages = [None]
    x = keras.layers.Conv2D(4, 3, strides=2, padding="same", name="res1")(image)
    for stage in range(2, 6):
        x = keras.layers.Conv2D(8, 3, strides=2, padding="same", name=f"res{stage}")(x)
        stages.append(x)
    return stages


@pytest.mark.parametrize("settings", VARIANTS.values(), ids=VARIANTS.keys())
def test_variants_train(settings: dict):
    config = tiny_config(**settings)
    model = training_model.build(config)
    batch = tiny_batch(config)
    for tensor in model.inputs:
        assert tuple(tensor.shape) == batch[tensor.name].shape
        # Images come as bytes or as float32, and are cast in the graph.
        sent = "float32" if tensor.name == "input_image" else str(batch[tensor.name].dtype)
        assert tensor.dtype == sent
    assert network.build_inference(config).outputs[3].shape[2:4] == tuple(config.MASK_SHAPE)
    if BACKEND != "tensorflow":
        return  # see tensorflow_only
    eager(model, config)
    before = weights_of(model)
    logs = step(model, batch)
    assert_finite(model, logs)
    if not config.USE_RPN_ROIS:  # they are the objects' boxes
        assert logs["mrcnn_bbox_loss"] > 0 and logs["mrcnn_mask_loss"] > 0
        last = "mrcnn_mask_deconv2" if config.MASK_SHAPE[0] == 56 else "mrcnn_mask_deconv"
        assert {last, "mrcnn_mask"} <= changed(before, weights_of(model))
    if config.TRAIN_BN:
        statistics = {name: values[2:] for name, values in before.items() if "_bn" in name}
        after = {name: values[2:] for name, values in weights_of(model).items()}
        assert "mrcnn_class_bn1" in changed(statistics, after)


@tensorflow_only
def test_only_the_chosen_layers_learn():
    config = tiny_config()
    model = training_model.build(config)
    # Weights of layers that never learn, such as random states, are no part of this.
    chosen = set(compile.set_trainable(model, layer_regex("heads")))
    assert {*RPN, "fpn_p2", "mrcnn_class_conv1"} <= chosen and "conv1" not in chosen
    eager(model, config)
    before = weights_of(model)
    step(model, tiny_batch(config, "objects"))
    moved = changed(before, weights_of(model)) - {"rpn_targets", "proposal_targets"}
    assert {*RPN, "fpn_p2"} <= moved <= chosen
    # And back: everything learns again.
    everything = set(compile.set_trainable(model, layer_regex("all")))
    assert chosen < everything and {"conv1", "bn_conv1"} <= everything
    # A pattern must fit the whole name, inside the RPN too.
    assert compile.set_trainable(model, "rpn_class_raw") == ["rpn_class_raw"]
    assert [v.path for v in model.trainable_variables] == [
        "rpn_class_raw/kernel",
        "rpn_class_raw/bias",
    ]
    assert compile.set_trainable(model, "rpn_model") == [*RPN]


@tensorflow_only
def test_the_edge_head_adds_one_loss_and_nothing_else():
    batch = tiny_batch(tiny_config(), "objects")
    values = {}
    for filters in ((), ("sobel-x", "sobel-y")):
        config = tiny_config(EDGE_LOSS_FILTERS=filters, USE_RPN_ROIS=False)
        given = {**batch, "input_rois": tiny_batch(config)["input_rois"]}
        keras.utils.set_random_seed(5)
        model = eager(training_model.build(config), config)
        found = model.predict_on_batch(given)
        values[filters] = (
            {name: float(found[name]) for name in LOSS_NAMES if name in found},
            model.count_params(),
            {layer.name for layer in model.layers},
        )
    (plain, plain_count, plain_names), (edge, edge_count, edge_names) = values.values()
    assert set(plain) == set(BASE_LOSSES) and "mrcnn_mask_edge_loss" not in plain_names
    assert edge.pop("mrcnn_mask_edge_loss") > 0 and edge == plain
    assert edge_count == plain_count and "mrcnn_mask_edge_loss" in edge_names
    # Inference knows nothing of it.
    inference = network.build_inference(config)
    assert "mrcnn_mask_edge_loss" not in {layer.name for layer in inference.layers}


@tensorflow_only
def test_loss_weights_scale_the_losses():
    weights = {"rpn_class_loss": 0.0, "mrcnn_mask_loss": 2.0, "mrcnn_mask_edge_loss": 3.0}
    values = []
    for loss_weights in ({}, weights):
        config = tiny_config(
            LOSS_WEIGHTS=loss_weights, USE_RPN_ROIS=False, EDGE_LOSS_FILTERS=["sobel-x"]
        )
        keras.utils.set_random_seed(5)
        model = eager(training_model.build(config), config)
        values.append(model.predict_on_batch(tiny_batch(config)))
    for name in LOSS_NAMES:
        np.testing.assert_allclose(
            values[1][name], weights.get(name, 1.0) * values[0][name], rtol=1e-6
        )
        assert values[0][name] > 0


@tensorflow_only
def test_the_mask_branch_needs_the_positive_slots_only():
    config = tiny_config(USE_RPN_ROIS=False)
    model = training_model.build(config)
    slots, every = config.POSITIVE_ROIS_PER_IMAGE, config.TRAIN_ROIS_PER_IMAGE
    names = ("fpn_p2", "fpn_p3", "fpn_p4", "fpn_p5")
    batch = tiny_batch(config)
    probe = keras.Model(
        model.inputs,
        {
            "targets": model.get_layer("proposal_targets").output,
            "features": [model.get_layer(name).output for name in names],
            "loss": model.output["mrcnn_mask_loss"],
        },
    )
    found = probe({name: ops.convert_to_tensor(value) for name, value in batch.items()})
    targets = DetectionTargets(*found["targets"])
    positives = ops.convert_to_numpy(targets.class_ids) > 0
    assert positives[:, :slots].any() and not positives[:, slots:].any()

    # Matterport's way: the mask head on all RoIs.
    area = np.array(np.prod(config.IMAGE_SHAPE[:2]), np.float32)
    x = RoiAlign((config.MASK_POOL_SIZE,) * 2)([targets.rois, area, *found["features"]])
    for number in range(1, 5):
        x = model.get_layer(f"mrcnn_mask_conv{number}")(x)
        x = ops.relu(model.get_layer(f"mrcnn_mask_bn{number}")(x, training=False))
    masks = model.get_layer("mrcnn_mask")(model.get_layer("mrcnn_mask_deconv")(x))
    padding = ((0, 0), (0, every - slots), (0, 0), (0, 0))
    loss = losses.mrcnn_mask_loss(
        ops.pad(targets.masks, padding),
        targets.class_ids,
        select_class(masks, targets.class_ids, axis=4),
    )
    np.testing.assert_allclose(float(found["loss"]), float(loss), rtol=1e-5)


def given_rois(config: Config, positives: int, negatives: int) -> np.ndarray:
    """RoIs in pixels: in image 0, so many overlap the first square of `tiny_batch`; in 1, none."""
    random = np.random.default_rng(0)
    rois = np.zeros((config.BATCH_SIZE, config.POST_NMS_ROIS_TRAINING, 4), np.int32)
    rois[0, :positives] = [8, 8, 40, 40] + random.integers(-3, 4, (positives, 4))
    rois[:, positives : positives + negatives] = [42, 2, 62, 20] + random.integers(-2, 3, 4)
    return rois


@tensorflow_only
@pytest.mark.parametrize(
    ("positives", "mask_slots", "box_slots"), [(0, 4, 4), (1, 4, 4), (6, 8, 20), (30, 15, 46)]
)
def test_heads_on_the_slots_in_use_are_heads_on_all(
    monkeypatch: pytest.MonkeyPatch, positives: int, mask_slots: int, box_slots: int
):
    import tensorflow as tf

    config = tiny_config(
        USE_RPN_ROIS=False,
        POST_NMS_ROIS_TRAINING=70,
        TRAIN_ROIS_PER_IMAGE=46,
        EDGE_LOSS_FILTERS=["sobel"],
        SEED=4,
    )
    model = training_model.build(config)
    batch = {**tiny_batch(config), batch_names.ROIS: given_rois(config, positives, 40)}
    batch = {name: tf.constant(value) for name, value in batch.items()}
    used = [model.get_layer(name).output[0] for name in ("used_mask_rois", "used_rois")]
    assert [x.shape[1] for x in keras.Model(model.inputs, used)(batch)] == [mask_slots, box_slots]
    start = [variable.numpy() for variable in model.variables]

    def computed() -> tuple[dict, list[np.ndarray], list[np.ndarray]]:
        for variable, value in zip(model.variables, start, strict=True):
            variable.assign(value)  # those of the random generators, too
        with tf.GradientTape() as tape:
            outputs = model(batch, training=True)
            total = tf.add_n(model.losses)
        gradients = tape.gradient(total, [v.value for v in model.trainable_variables])
        statistics = [v.numpy() for v in model.non_trainable_variables]
        return outputs, [tf.convert_to_tensor(g).numpy() for g in gradients], statistics

    some = computed()
    monkeypatch.setattr(detection_slots, "SLOTS_AT_ONCE", 1000)
    every = computed()
    for name in LOSS_NAMES:
        np.testing.assert_allclose(some[0][name], every[0][name], rtol=1e-5, err_msg=name)
        assert (float(some[0][name]) > 0) or not positives or name == "loss", name
    for found, expected in zip(some[1] + some[2], every[1] + every[2], strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max() + 1e-5)


XLA_SLOTS = {
    "USE_RPN_ROIS": False,
    "POST_NMS_ROIS_TRAINING": 110,
    "TRAIN_ROIS_PER_IMAGE": 70,  # 23 can be positive
    "EDGE_LOSS_FILTERS": ["sobel"],
    "JIT_COMPILE": True,
    "SEED": 4,
}


def compiled_step(model: keras.Model) -> Callable[[dict[str, np.ndarray]], list[Any]]:
    """From a batch to the outputs and the gradient of each weight; always of the same draw."""
    start = [ops.convert_to_numpy(variable) for variable in model.variables]
    if BACKEND == "jax":
        import jax

        def of_weights(weights: list, others: list, batch: dict) -> Any:
            def total(weights: list) -> Any:
                outputs, _, added = model.stateless_call(
                    weights, others, batch, training=True, return_losses=True
                )
                return sum(added), outputs

            return jax.value_and_grad(total, has_aux=True)(weights)

        step = jax.jit(of_weights)
        weights, others = (
            [variable.value for variable in group]
            for group in (model.trainable_variables, model.non_trainable_variables)
        )

        def compute(batch: dict[str, np.ndarray]) -> list[Any]:
            (_, outputs), gradients = step(weights, others, batch)
            return [outputs, gradients]

        return compute
    if BACKEND == "torch":

        def compute(batch: dict[str, np.ndarray]) -> list[Any]:
            for variable, value in zip(model.variables, start, strict=True):
                variable.assign(value)
            outputs = model(batch, training=True)
            return [outputs, weight_gradients(sum(model.losses), model.trainable_variables)]

        return compute
    import tensorflow as tf

    @tf.function  # XLA would compile this for minutes; tests/ops/test_leading.py lets it
    def taped(batch: dict) -> Any:
        with tf.GradientTape() as tape:
            outputs = model(batch, training=True)
            total = tf.add_n(model.losses)
        return outputs, tape.gradient(total, [v.value for v in model.trainable_variables])

    def compute(batch: dict[str, np.ndarray]) -> list[Any]:
        for variable, value in zip(model.variables, start, strict=True):
            variable.assign(value)  # those of the random generators
        return taped({name: tf.constant(value) for name, value in batch.items()})

    return compute


@pytest.fixture(scope="module")
def on_some_and_on_all() -> tuple[Config, Callable, Callable]:
    config = tiny_config(**XLA_SLOTS)
    model = training_model.build(config)
    some, every = compiled_step(model), compiled_step(model)
    first = {**tiny_batch(config), batch_names.ROIS: given_rois(config, 1, 40)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(leading, "MIN_SLOTS", 1000)
        every(first)  # traced now
    some(first)
    return config, some, every


@pytest.mark.parametrize("positives", [0, 1, 6, 30])
def test_heads_that_choose_between_slots_are_heads_on_all(
    on_some_and_on_all: tuple[Config, Callable, Callable], positives: int
):
    config, some, every = on_some_and_on_all
    batch = {**tiny_batch(config), batch_names.ROIS: given_rois(config, positives, 40)}
    found, expected = some(batch), every(batch)
    for name in LOSS_NAMES:
        ours, all_of_them = float(found[0][name]), float(expected[0][name])
        assert ours == pytest.approx(all_of_them, rel=1e-5), name
        assert ours > 0 or not positives, name
    for of_some, of_all in zip(found[1], expected[1], strict=True):
        of_some, of_all = (ops.convert_to_numpy(x) for x in (of_some, of_all))
        np.testing.assert_allclose(of_some, of_all, atol=1e-4 * np.abs(of_all).max() + 1e-6)


def test_heads_that_learn_statistics_compute_every_slot():
    model = training_model.build(tiny_config(**XLA_SLOTS, TRAIN_BN=True))
    assert not {"used_rois", "used_mask_rois"} & {layer.name for layer in model.layers}


@tensorflow_only
def test_boxes_and_losses_stay_float32_in_mixed_precision():
    config = tiny_config(EDGE_LOSS_FILTERS=["sobel-x"], USE_RPN_ROIS=False)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = training_model.build(config)
    finally:
        keras.config.set_dtype_policy(before)
    float32 = ("rpn_class_logits", "rpn_bbox", "mrcnn_class_logits", "mrcnn_bbox", "mrcnn_mask")
    for name in (*float32, *LOSS_NAMES):
        output = model.get_layer(name).output
        assert keras.backend.standardize_dtype(output.dtype) == "float32", name
    assert model.get_layer("res2a_branch2a").compute_dtype == "bfloat16"
    assert_finite(model, step(eager(model, config), tiny_batch(config)))


# Nothing is drawn at random: all anchors count, and there are as few RoIs as slots.
WITHOUT_DRAWING = {
    "RPN_TRAIN_ANCHORS_PER_IMAGE": 2048,
    "USE_RPN_ROIS": False,
    "POST_NMS_ROIS_TRAINING": 4,
    "EDGE_LOSS_FILTERS": ["sobel-x"],
}


@tensorflow_only
def test_boxes_without_masks_train_everything_but_the_mask_branch():
    config = tiny_config(**WITHOUT_DRAWING, WEIGHT_DECAY=0.0)
    model = eager(training_model.build(config), config)
    batch = tiny_batch(config)
    batch["input_rois"] = np.repeat(batch["input_gt_boxes"][:, :2], 2, axis=1)
    batch["input_gt_masks"] = 2 * batch["input_gt_masks"]
    before = weights_of(model)
    logs = step(model, batch)
    assert logs["mrcnn_mask_loss"] == 0 and logs["mrcnn_mask_edge_loss"] == 0
    assert logs["mrcnn_class_loss"] > 0 and logs["mrcnn_bbox_loss"] > 0
    learned = changed(before, weights_of(model))
    assert {"mrcnn_bbox_fc", "mrcnn_class_logits", "conv1"} <= learned
    assert not {name for name in learned if name.startswith("mrcnn_mask")}


@tensorflow_only
def test_learned_loss_weights_start_at_one_and_follow_the_losses():
    config = tiny_config(**WITHOUT_DRAWING, UNCERTAINTY_WEIGHTING=True, WEIGHT_DECAY=0.0)
    model = eager(training_model.build(config), config)
    batch = tiny_batch(config)
    batch["input_rois"] = np.repeat(batch["input_gt_boxes"][:, :2], 2, axis=1)
    logs = step(model, batch)
    losses = [logs[name] for name in LOSS_NAMES]
    assert logs["loss"] == pytest.approx(sum(losses), rel=1e-5)  # s = 0: exp(-s) L + s = L
    learned = ops.convert_to_numpy(model.get_layer("mrcnn_loss_weights").log_variances)
    # d/ds (exp(-s) L + s) at 0 is 1 - L: the variance of a loss above 1 grows.
    assert (np.sign(learned) == np.sign(np.array(losses) - 1)).all() and learned.any()


@tensorflow_only
def test_xla_gives_the_losses_of_tensorflows_kernels():
    values = {}
    for jit in (False, True):
        config = tiny_config(JIT_COMPILE=jit, **WITHOUT_DRAWING)
        keras.utils.set_random_seed(5)
        model = training_model.build(config)
        compile.compile_model(model, config, config.LEARNING_RATE, config.LEARNING_MOMENTUM)
        assert model.jit_compile is jit
        values[jit] = model.predict_on_batch(tiny_batch(config))
    for name in LOSS_NAMES:
        assert values[True][name] > 0, name
        np.testing.assert_allclose(values[True][name], values[False][name], rtol=1e-3)


@pytest.mark.slow  # losses under XLA are compared above, and JAX compiles every step
@tensorflow_only
def test_xla_compiles_the_whole_training_step_once():
    compiled = Trained(JIT_COMPILE=True, EDGE_LOSS_FILTERS=["sobel-x"])
    assert compiled.model.jit_compile is True and compiled.config.USE_RPN_ROIS
    before, batch = weights_of(compiled.model), tiny_batch(compiled.config)
    logs = step(compiled.model, batch)
    assert_finite(compiled.model, logs)
    assert logs["rpn_class_loss"] > 0 and logs["rpn_bbox_loss"] > 0
    after = weights_of(compiled.model)
    assert {"conv1", "res2a_branch2a", "fpn_p2", "rpn_bbox_pred"} <= changed(before, after)
    traces = compiled.traces
    assert traces > 0
    assert_finite(compiled.model, step(compiled.model, batch))
    assert changed(after, weights_of(compiled.model))
    assert compiled.traces == traces


@tensorflow_only
@pytest.mark.parametrize("loss", ["mrcnn_class_loss", "mrcnn_mask_loss"])
def test_no_gradient_has_a_dynamic_shape(loss: str):
    # For every `tf.where` of dynamic size, XLA evaluates all that came before as it compiles.
    import tensorflow as tf

    config = tiny_config(JIT_COMPILE=True, **WITHOUT_DRAWING)
    model = training_model.build(config)

    @tf.function
    def gradients(batch: dict) -> list:
        with tf.GradientTape() as tape:
            value = model(batch)[loss]
        variables = [variable.value for variable in model.trainable_variables]
        return [g for g in tape.gradient(value, variables) if g is not None]

    batch = {name: tf.constant(array) for name, array in tiny_batch(config).items()}
    graph = gradients.get_concrete_function(batch).graph
    assert "Where" not in {operation.type for operation in graph.get_operations()}
