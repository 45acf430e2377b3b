"""Heads on the slots that are used alone, instead of on every slot there is.

Most images hold a few objects, and there are DETECTION_MAX_INSTANCES slots for detections: at
256 x 256 the masks of empty ones would be most of a detection's work. In training, few of the
slots for positive RoIs hold one, and their masks are most of a step's work. The number of rows then
depends on the images, which XLA cannot compile; it is for graphs that use TensorFlow's kernels.
Where XLA compiles, layers of a training step choose between a few numbers of rows instead, each by
itself, given how many are used (`mrcnn.ops.leading`).

Shape letters: B images, S slots of an image, N slots that are used in some image of the batch.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from mrcnn.ops.leading import last_used
from mrcnn.ops.tensor import Tensor

# N is rounded up, so that the convolutions meet few different shapes: each is prepared once.
SLOTS_AT_ONCE = 4
# In training, with more slots, at most about so many shapes.
ROUNDS = 16


def _used(flags: Tensor, at_once: int) -> Tensor:
    """How many leading slots hold all those with a flag [B, S], rounded up; at least one round."""
    last = ops.maximum(last_used(flags), 1)
    # Not -(-last // at_once): converters to other formats round a negative quotient to zero.
    return ops.minimum((last + at_once - 1) // at_once * at_once, flags.shape[1])


@keras.saving.register_keras_serializable(package="mrcnn")
class CountUsedSlots(keras.layers.Layer):
    """Flags [B, S] to how many leading slots hold all true ones, a scalar."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})

    def call(self, flags: Tensor) -> Tensor:
        return last_used(flags)

    def compute_output_spec(self, flags: Tensor) -> keras.KerasTensor:
        # Keras would take the shape () of compute_output_shape for an empty structure.
        return keras.KerasTensor((), dtype="int32")


@keras.saving.register_keras_serializable(package="mrcnn")
class UsedSlots(keras.layers.Layer):
    """[flags [B, S], rows [B, S, ...], ...] to the leading slots [B, N, ...] with all true flags.

    The flags are cut, too, and come first.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})

    def call(self, inputs: list[Tensor]) -> list[Tensor]:
        slots = inputs[0].shape[1]
        count = _used(inputs[0], max(SLOTS_AT_ONCE, slots // ROUNDS))
        return [values[:, :count] for values in inputs]

    def compute_output_spec(self, inputs: list[Tensor]) -> list[keras.KerasTensor]:
        return [
            keras.KerasTensor((values.shape[0], None, *values.shape[2:]), dtype=values.dtype)
            for values in inputs
        ]


# Registered under the names that models are saved with.
@keras.saving.register_keras_serializable(package="mrcnn", name="FoundBoxes")
class CompactDetections(keras.layers.Layer):
    """Detections [B, S, 6], those without a class at the end, to the boxes [B, N, 4] found."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})

    def call(self, detections: Tensor) -> Tensor:
        return detections[:, : _used(detections[:, :, 4] > 0, SLOTS_AT_ONCE), :4]

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (input_shape[0], None, 4)


@keras.saving.register_keras_serializable(package="mrcnn", name="AllSlots")
class PadDetections(keras.layers.Layer):
    """Rows [B, N, ...] to [B, S, ...] by zeros.

    Args:
        slots: S.
    """

    def __init__(self, slots: int, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        self.slots = slots

    def call(self, rows: Tensor) -> Tensor:
        batch, count = ops.shape(rows)[:2]
        empty = ops.zeros((batch, self.slots - count, *rows.shape[2:]), rows.dtype)
        padded = ops.concatenate([rows, empty], axis=1)
        return ops.reshape(padded, (batch, self.slots, *rows.shape[2:]))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (input_shape[0], self.slots, *input_shape[2:])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "slots": self.slots}
