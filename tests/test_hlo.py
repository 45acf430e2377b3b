"""What XLA makes of a training step and of a detection: loops, sorts, scatters, transfers.

A loop whose steps wait for each other costs a GPU several launches and a round trip of its
condition for each step, and whatever crosses over to the host stops it. So every loop, sort and
scatter of the optimized programs is listed here with its reason, and a new one has to be.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
from keras import ops

from mrcnn import network
from mrcnn.config import Config
from mrcnn.inference.model import with_static_shape
from mrcnn.ops import nms, targets
from mrcnn.training import compile
from mrcnn.training import model as training_model
from tests.tiny import tiny_batch, tiny_config

MOST_STEPS = 64
on_jax = pytest.mark.skipif(
    keras.backend.backend() != "jax", reason="JAX shows its optimized program, TensorFlow does not"
)


class Loop(NamedTuple):
    """A loop by a pattern of its name, and the number of its steps at most."""

    name: str
    most: Any  # from a configuration
    reason: str


LOOPS = (
    Loop(r"(rpn|proposal)_targets.*_uniform.*/while$", lambda c: 5, "rounds of JAX's generator"),
    Loop(
        r"rpn_targets\)?/while$",
        lambda c: min(c.MAX_GT_INSTANCES, targets.LOOPS),
        "objects, a few at a time, up to the last one there is",
    ),
    Loop(
        r"ROI\)?/while$",
        lambda c: -(-c.PRE_NMS_LIMIT // nms.BLOCK),
        "blocks of suppression; each depends on what the ones before have kept",
    ),
    Loop(
        r"mrcnn_detection\)?/while$",
        lambda c: -(-c.POST_NMS_ROIS_INFERENCE // nms.BLOCK),
        "the same of detections",
    ),
    Loop(
        r"(ROI|mrcnn_detection)\)?/while/body/while$",
        lambda c: 0,  # see test_suppression_settles_in_few_rounds
        "rounds until suppression in a block settles",
    ),
)
SORTS = {
    r"ROI\)?/top_k$": "the best anchors, by score",
    r"mrcnn_detection\)?/top_k$": "the detections, by score",
    r"(ROI|mrcnn_detection)\)?/while/body/top_k$": "the rows that a block keeps, in their order",
    r"rpn_targets\)?/top_k$": "a random draw of anchors, and the positive ones in their order",
    r"rpn_bbox_loss\)?/top_k$": "the positive anchors in their order",
    r"proposal_targets\)?/top_k$": "a random draw of RoIs",
}
SCATTERS = {
    r"rpn_bbox_loss\)+/.*scatter-add$": "gradient of reading the positive anchors' deltas",
    r"roi_align_(mask|classifier)\)+/.*scatter-add$": "gradient of RoIAlign, one for each corner",
    r"roi_align_classifier\)*/.*transpose.*scatter-add$": "the same within a choice of slots",
    r"(fpn_p6|max_pooling2d\w*)\)+/select_and_scatter$": "gradient of pooling",
}
TO_THE_HOST = r"infeed|outfeed|send|recv|send-done|recv-done|copy-to-host"


class Operation(NamedTuple):
    """A line of an optimized program."""

    kind: str
    name: str  # which part of the model it comes from
    line: str


def operations(text: str) -> list[Operation]:
    found = []
    for line in text.splitlines():
        match = re.match(r"\s*(?:ROOT )?%?[\w.\-]+ = .*? ([a-z][\w\-]*)\(", line)
        if match:
            name = re.search(r'op_name="([^"]*)"', line)
            found.append(Operation(match[1], name[1] if name else "", line))
    return found


class Program(NamedTuple):
    config: Config
    trains: bool
    operations: list[Operation]


def training_program() -> Program:
    import jax

    # So many RoIs that the box head chooses between slots.
    config = tiny_config(TRAIN_ROIS_PER_IMAGE=24, EDGE_LOSS_FILTERS=["sobel"], MAX_GT_INSTANCES=40)
    model = training_model.build(config)
    compile.compile_model(model, config, config.LEARNING_RATE, config.LEARNING_MOMENTUM)
    batch = tiny_batch(config)
    model._symbolic_build(data_batch=(batch,))
    groups = (
        *(model.trainable_variables, model.non_trainable_variables),
        *(model.optimizer.variables, model.metrics_variables),
    )
    state = tuple([variable.value for variable in group] for group in groups)
    step = jax.jit(model.train_step, donate_argnums=0).lower(state, (batch,))
    return Program(config, True, operations(step.compile().as_text()))


def detection_program() -> Program:
    import jax

    config = tiny_config()
    shape = tuple(int(side) for side in config.IMAGE_SHAPE)
    model = with_static_shape(
        network.build_inference(config), shape, config.BATCH_SIZE, config, molded=False
    )
    batch = tiny_batch(config)
    weights = [
        [variable.value for variable in group]
        for group in (model.trainable_variables, model.non_trainable_variables)
    ]
    images = [batch["input_image"], batch["input_image_meta"]]
    detect = jax.jit(lambda *weights: model.stateless_call(*weights, images)[0])
    return Program(config, False, operations(detect.lower(*weights).compile().as_text()))


@pytest.fixture(scope="module", params=["training", "detection"])
def program(request: pytest.FixtureRequest) -> Program:
    return training_program() if request.param == "training" else detection_program()


@on_jax
def test_no_loop_has_many_steps_that_wait_for_each_other(program: Program):
    loops = [x for x in program.operations if x.kind == "while"]
    assert loops
    for loop in loops:
        known = [x for x in LOOPS if re.search(x.name, loop.name)]
        assert len(known) == 1, f"a loop without a reason: {loop.name}"
        count = re.search(r'"known_trip_count":\{"n":"(\d+)"', loop.line)
        assert count is None or int(count[1]) <= MOST_STEPS, loop.name
        for config in (program.config, Config()):
            assert known[0].most(config) <= MOST_STEPS, loop.name


@on_jax
def test_nothing_crosses_over_to_the_host(program: Program):
    for operation in program.operations:
        assert not re.fullmatch(TO_THE_HOST, operation.kind), operation.line
        if operation.kind == "custom-call":
            target = re.search(r'custom_call_target="([^"]*)"', operation.line)[1]
            assert not re.search("callback|host|Host", target), operation.line
        # Memory space 5 is the host's.
        assert "S(5)" not in operation.line.split("metadata=")[0], operation.line


@on_jax
def test_every_sort_and_scatter_has_a_reason(program: Program):
    for operation in program.operations:
        target = re.search(r'custom_call_target="([^"]*)"', operation.line)
        if operation.kind in ("sort", "topk") or (target and "TopK" in target[1]):
            reasons = SORTS
        elif operation.kind in ("scatter", "select-and-scatter"):
            reasons = SCATTERS
        else:
            continue
        known = [x for x in reasons if re.search(x, operation.name)]
        assert known, f"a {operation.kind} without a reason: {operation.name}"


@on_jax
def test_the_box_head_chooses_between_slots_in_training(program: Program):
    # So that what is checked here is checked within the choices, too.
    choices = [x.name for x in program.operations if x.kind == "conditional"]
    assert any("roi_align_classifier" in name for name in choices) is program.trains


@pytest.mark.parametrize("seed", range(3))
def test_suppression_settles_in_few_rounds(seed: int, monkeypatch: pytest.MonkeyPatch):
    # Boxes in heaps, of which many suppress many: as proposals are.
    random = np.random.default_rng(seed)
    centers = random.uniform(0.2, 0.8, (8, 1, 2)) + random.normal(0, 0.03, (8, nms.BLOCK // 8, 2))
    sides = random.uniform(0.1, 0.2, (8, nms.BLOCK // 8, 2))
    boxes = np.concatenate([centers - sides / 2, centers + sides / 2], axis=-1)
    boxes = random.permutation(boxes.reshape(-1, 4))[None].astype(np.float32)
    rounds = []

    def counted(condition: Any, body: Any, state: tuple) -> tuple:
        number = 0
        while bool(condition(*state)):
            state, number = body(*state), number + 1
        rounds.append(number)
        return state

    monkeypatch.setattr(nms.ops, "while_loop", counted)
    valid = ops.ones(boxes.shape[:2], "bool")
    found = nms.nms_sorted(ops.convert_to_tensor(boxes), valid, threshold=0.7, count=nms.BLOCK)[1]
    assert 10 < int(ops.sum(ops.cast(found, "int32"))) < nms.BLOCK
    assert len(rounds) == 2 and rounds[-1] == 1  # one block; the loop within ends first
    assert 1 < rounds[0] <= 16
