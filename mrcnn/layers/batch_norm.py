"""Batch normalization that can be frozen."""

from __future__ import annotations

from typing import Any

import keras


@keras.saving.register_keras_serializable(package="mrcnn")
class BatchNorm(keras.layers.BatchNormalization):
    """Keras's layer under Matterport's name.

    Detectors train with one or two images a device, too few for batch statistics, so
    the graphs call it with `training=config.TRAIN_BN`: False uses the stored
    statistics and leaves them alone, while gamma and beta train as any weight; None
    does what Keras does.

    Args:
        training: what holds in every call, whatever the model is called with. None: the
            value with which the layer is put into a graph, `BatchNorm()(x, training=False)`.
            A model of Keras 3 would overwrite that with its own `training`.
    """

    def __init__(self, training: bool | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.training = training

    def __call__(self, inputs: Any, training: bool | None = None, **kwargs: Any) -> Any:
        if self.training is None and isinstance(inputs, keras.KerasTensor):
            self.training = training
        if self.training is not None:
            training = self.training
        return super().__call__(inputs, training=training, **kwargs)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "training": self.training}
