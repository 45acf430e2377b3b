"""Batch normalization that can be frozen."""

from __future__ import annotations

import math
import weakref
from typing import Any

import keras
from keras import ops

from mrcnn.layers.folded_norm import FoldsNorm


@keras.saving.register_keras_serializable(package="mrcnn")
class BatchNorm(keras.layers.BatchNormalization):
    """Keras's layer under Matterport's name.

    Detectors train with one or two images a device, too few for batch statistics, so
    the graphs call it with `training=config.TRAIN_BN`: False uses the stored
    statistics and leaves them alone, while gamma and beta train as any weight; None
    does what Keras does. Frozen behind a convolution that can, it lets that do its work
    (`mrcnn.layers.folded_norm`).

    Args:
        training: what holds in every call, whatever the model is called with. None: the
            value with which the layer is put into a graph, `BatchNorm()(x, training=False)`.
            A model of Keras 3 would overwrite that with its own `training`.
    """

    def __init__(self, training: bool | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.training = training
        self._convolution: weakref.ref[FoldsNorm] | None = None

    def __call__(self, inputs: Any, training: bool | None = None, **kwargs: Any) -> Any:
        if self.training is None and isinstance(inputs, keras.KerasTensor):
            self.training = training
        if self.training is False and isinstance(inputs, keras.KerasTensor):
            self._move_into(getattr(inputs, "_keras_history", None))
        if self.training is not None:
            training = self.training
        return super().__call__(inputs, training=training, **kwargs)

    def _move_into(self, history: Any) -> None:
        """Let the convolution that makes the input, if it is one that can, do the work."""
        source = history and history.operation
        if isinstance(source, FoldsNorm) and source.activation is keras.activations.linear:
            source.fold(self)
            self._convolution = weakref.ref(source)

    def call(
        self, inputs: Any, training: bool | None = None, mask: Any = None, valid: Any = None
    ) -> Any:
        """Normalize.

        Args:
            inputs: [..., channels].
            training: whether to use the batch's statistics, and to learn them.
            mask: Keras's.
            valid: bool, of the leading axes of the inputs: which entries the batch's statistics
                are taken of. None: all.
        """
        convolution = None if self._convolution is None else self._convolution()
        if convolution is not None and convolution.folds(inputs.shape):
            return inputs
        if valid is None or not training or not self.trainable:
            return super().call(inputs, training=training, mask=mask)
        return self._normalize_valid(inputs, valid)

    def _normalize_valid(self, inputs: Any, valid: Any) -> Any:
        """As Keras's in training, with the statistics of the valid entries alone.

        Without any, the stored statistics are used, and stay.
        """
        x = ops.cast(inputs, "float32")
        gamma, beta, stored_mean, stored_variance = (
            ops.cast(v, "float32")
            for v in (self.gamma, self.beta, self.moving_mean, self.moving_variance)
        )
        axes = tuple(range(len(x.shape) - 1))
        flags = ops.cast(valid, "float32")
        weights = ops.reshape(flags, (*ops.shape(flags), *(1,) * (len(x.shape) - len(flags.shape))))
        sides = ops.cast(math.prod(x.shape[len(flags.shape) : -1]), "float32")
        count = ops.sum(flags) * sides
        some = count > 0
        share = weights / ops.maximum(count, 1.0)
        mean = ops.where(some, ops.sum(x * share, axis=axes), stored_mean)
        spread = ops.sum(ops.square(x - mean) * share, axis=axes)
        variance = ops.where(some, spread, stored_variance)
        for moving, value in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + value * (1.0 - self.momentum))
        scale = ops.rsqrt(variance + self.epsilon) * gamma
        return ops.cast(x * scale + (beta - mean * scale), self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "training": self.training}
