"""Batch normalization that can be frozen."""

from __future__ import annotations

import dataclasses
import weakref
from typing import Any

import keras

from mrcnn.layers.folded_norm import FoldsNorm
from mrcnn.ops.tensor import Tensor
from mrcnn.tensorflow_backend import replicas


@dataclasses.dataclass(frozen=True)
class NormSettings:
    """The normalizations of a network, and the convolutions in front of them.

    Args:
        train_bn: see `BatchNorm`.
        epsilon: added to the variance.
        momentum: of the moving statistics.
        conv_bias: convolutions in front of a normalization have a bias.
    """

    train_bn: bool | None = True
    epsilon: float = 1e-3
    momentum: float = 0.99
    conv_bias: bool = True

    def __call__(self, x: Tensor, name: str) -> Tensor:
        """Normalize with a new layer of that name."""
        layer = BatchNorm(epsilon=self.epsilon, momentum=self.momentum, name=name)
        return layer(x, training=self.train_bn)


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
        self._asked_to_synchronize = bool(kwargs.get("synchronized", False))
        if replicas.count() > 1:
            self.synchronized = True  # batch statistics are those of the whole batch
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

    def folded_into(self) -> FoldsNorm | None:
        """The convolution that does the work of this layer where it can.

        No property: Keras saves what attributes hold, and would go round in circles.
        """
        return None if self._convolution is None else self._convolution()

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        convolution = self.folded_into()
        if convolution is not None and convolution.folds(inputs.shape):
            return inputs
        return super().call(inputs, training=training, mask=mask)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "training": self.training,
            "synchronized": self._asked_to_synchronize,
        }
