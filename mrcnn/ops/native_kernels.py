"""Backend kernels that are faster than their `keras.ops` twins where XLA is not used.

The one place of the package that calls TensorFlow. But for the optimizer's, none of these
kernels can be compiled by XLA; `available` says whether a graph may use them. Each has a
twin of the same meaning, and a test that the two agree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
import numpy as np

from mrcnn.ops.tensor import Tensor


def available(jit_compile: bool | None) -> bool:
    """Whether a graph that is compiled as told may use native kernels.

    Args:
        jit_compile: True, False, or None for the device's default (see
            `default_jit_compile`).
    """
    if keras.backend.backend() != "tensorflow":
        return False
    return not default_jit_compile(jit_compile)


def default_jit_compile(jit_compile: bool | None) -> bool:
    """Resolve None: XLA on an accelerator and on JAX; not for TensorFlow on a CPU.

    TensorFlow's oneDNN convolutions beat XLA's on a CPU.
    """
    if jit_compile is not None:
        return jit_compile
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return bool(tf.config.list_logical_devices("GPU"))
    return keras.backend.backend() == "jax"


def batches_of_shapes(
    batches: Callable[[], Iterable[dict[str, Any]]], inputs: Sequence[keras.KerasTensor]
) -> Any:
    """Batches whose shapes differ where a model's inputs leave them open, for Keras's `fit`.

    TensorFlow alone needs it: Keras takes the shapes of a generator's first two batches for
    those of all.

    Args:
        batches: makes an iterator of batches, each a dict of arrays by the inputs' names.
        inputs: the model's.

    Returns:
        A `tf.data.Dataset` of (batch,).
    """
    import tensorflow as tf

    signature = {tensor.name: tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in inputs}
    return tf.data.Dataset.from_generator(
        lambda: ((batch,) for batch in batches()), output_signature=(signature,)
    ).prefetch(1)


def crop_and_resize(
    maps: Tensor, boxes: Tensor, map_index: Tensor, size: tuple[int, int]
) -> Tensor:
    """Twin of `mrcnn.ops.crops.crop_and_resize`."""
    import tensorflow as tf

    return tf.image.crop_and_resize(maps, boxes, map_index, size)


def pyramid_crop(
    feature_maps: Sequence[Tensor],
    boxes: Tensor,
    image: Tensor,
    level: Tensor,
    size: tuple[int, int],
) -> Tensor:
    """Crop each box [N, 4] from `feature_maps[level]`; see `mrcnn.ops.crops`."""
    import tensorflow as tf

    crops, rows = [], []
    for index, features in enumerate(feature_maps):
        here = tf.where(level == index)[:, 0]
        crops.append(
            tf.image.crop_and_resize(features, tf.gather(boxes, here), tf.gather(image, here), size)
        )
        rows.append(here)
    order = tf.argsort(tf.concat(rows, axis=0))
    result = tf.gather(tf.concat(crops, axis=0), order)
    return tf.ensure_shape(result, (boxes.shape[0], *size, feature_maps[0].shape[-1]))


def nms_sorted(boxes: Tensor, valid: Tensor, threshold: float, count: int) -> tuple[Tensor, Tensor]:
    """Twin of `mrcnn.ops.nms.nms_sorted`.

    TensorFlow's kernel for several classes, with one class: it takes the images of a batch
    side by side, and a third of the time that its kernel for one image takes.
    """
    import tensorflow as tf

    batch, rows = boxes.shape[0], boxes.shape[1]
    # The kernel orders by score and returns scores: give it the order that the rows already
    # have, from which their numbers follow.
    order = tf.range(rows, 0, -1, dtype=tf.float32)
    selected = tf.raw_ops.CombinedNonMaxSuppression(
        boxes=boxes[:, :, None],
        scores=tf.where(valid, order, -1.0)[..., None],
        max_output_size_per_class=count,
        max_total_size=count,
        iou_threshold=threshold,
        score_threshold=0.0,
        clip_boxes=False,
    )
    found = tf.range(count) < selected.valid_detections[:, None]
    index = tf.where(found, rows - tf.cast(selected.nmsed_scores, tf.int32), 0)
    return tf.ensure_shape(index, (batch, count)), tf.ensure_shape(found, (batch, count))


def nms_overlaps(
    overlaps: Tensor, valid: Tensor, threshold: float, count: int
) -> tuple[Tensor, Tensor]:
    """Greedy suppression by a given matrix of overlaps [B, N, N]; rows sorted by score."""
    import tensorflow as tf

    rows = overlaps.shape[1]
    order = tf.range(rows, 0, -1, dtype=tf.float32)
    index, found = [], []
    for image_overlaps, image_valid in zip(tf.unstack(overlaps), tf.unstack(valid), strict=True):
        selected = tf.raw_ops.NonMaxSuppressionWithOverlaps(
            overlaps=image_overlaps,
            scores=tf.where(image_valid, order, -1.0),
            max_output_size=count,
            overlap_threshold=threshold,
            score_threshold=0.0,
        )
        number = tf.shape(selected)[0]
        index.append(tf.pad(selected, [[0, count - number]]))
        found.append(tf.range(count) < number)
    return (
        tf.ensure_shape(tf.stack(index), (overlaps.shape[0], count)),
        tf.ensure_shape(tf.stack(found), (overlaps.shape[0], count)),
    )


def updates_in_place() -> bool:
    """Whether `momentum_step` can be used: TensorFlow, on one device."""
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    return not tf.distribute.has_strategy()


def momentum_step(
    variable: Any,
    momentum_of: Any,
    gradient: Tensor,
    learning_rate: Tensor,
    momentum: float,
) -> None:
    """Twin of `keras.optimizers.SGD.update_step` with momentum; XLA has this kernel too.

    The first two are variables of Keras or of TensorFlow; Keras's optimizers pass either.
    """
    import tensorflow as tf

    def handle(variable: Any) -> Tensor:
        return (variable.value if isinstance(variable, keras.Variable) else variable).handle

    tf.raw_ops.ResourceApplyKerasMomentum(
        var=handle(variable),
        accum=handle(momentum_of),
        lr=tf.cast(learning_rate, variable.dtype),
        grad=tf.cast(gradient, variable.dtype),
        momentum=tf.cast(momentum, variable.dtype),
        use_locking=False,
        use_nesterov=False,
    )


def with_constants(
    model: keras.Model, constants: Sequence[keras.Variable]
) -> Callable[[Sequence[np.ndarray]], list[np.ndarray]]:
    """`predict_on_batch` of a graph in which some variables are constants of their value now.

    Args:
        model: with static shapes, a list of inputs and a list of outputs.
        constants: the variables.
    """
    import tensorflow as tf

    values = [(variable, keras.ops.convert_to_numpy(variable)) for variable in constants]

    @tf.function(autograph=False, jit_compile=False)
    def run(*inputs: Tensor) -> list[Tensor]:
        mapping = [(variable, tf.constant(value)) for variable, value in values]
        with keras.StatelessScope(state_mapping=mapping):
            return model(list(inputs), training=False)

    specs = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in model.inputs]
    graph = run.get_concrete_function(*specs)

    def predict(inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        tensors = [tf.constant(x, spec.dtype) for x, spec in zip(inputs, specs, strict=True)]
        return [output.numpy() for output in graph(*tensors)]

    return predict


def fingerprint(variables: Sequence[keras.Variable]) -> Callable[[], bytes]:
    """A function of which the result changes when any of the variables does."""
    import tensorflow as tf

    @tf.function(autograph=False, jit_compile=False)
    def hashes() -> Tensor:
        flat = [tf.reshape(variable.value, (1, -1)) for variable in variables]
        return tf.concat([tf.fingerprint(values) for values in flat], axis=0)

    return lambda: hashes().numpy().tobytes() if variables else b""


def global_norm(tensors: Sequence[Tensor]) -> Tensor:
    """Twin of Keras's global norm: the root of the sum of all squares; XLA has this kernel too."""
    import tensorflow as tf

    return tf.sqrt(2.0 * tf.add_n([tf.nn.l2_loss(tf.cast(t, tf.float32)) for t in tensors]))
