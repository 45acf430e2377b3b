"""The mask head on what was found alone, instead of on every slot for a detection.

Most images hold a few objects, and there are DETECTION_MAX_INSTANCES slots: at 256 x 256 the
masks of empty ones would be most of a detection's work. The number of rows then depends on the
image, which XLA cannot compile; it is for graphs that use TensorFlow's kernels.

Shape letters: B images, D slots of an image, N slots with a detection in some image of the batch.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from mrcnn.ops.tensor import Tensor

# N is rounded up, so that the convolutions meet few different shapes: each is prepared once.
SLOTS_AT_ONCE = 4


# Registered under the names that models are saved with.
@keras.saving.register_keras_serializable(package="mrcnn", name="FoundBoxes")
class CompactDetections(keras.layers.Layer):
    """Detections [B, D, 6], those without a class at the end, to the boxes [B, N, 4] found."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})

    def call(self, detections: Tensor) -> Tensor:
        found = ops.sum(ops.cast(detections[:, :, 4] > 0, "int32"), axis=1)
        most = ops.maximum(ops.max(found), 1)
        count = ops.minimum(-(-most // SLOTS_AT_ONCE) * SLOTS_AT_ONCE, detections.shape[1])
        return detections[:, :count, :4]

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (input_shape[0], None, 4)


@keras.saving.register_keras_serializable(package="mrcnn", name="AllSlots")
class PadDetections(keras.layers.Layer):
    """Rows [B, N, ...] to [B, D, ...] by zeros.

    Args:
        slots: D.
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
