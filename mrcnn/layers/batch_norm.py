"""Batch normalization that can be frozen."""

from __future__ import annotations

import keras


@keras.saving.register_keras_serializable(package="mrcnn")
class BatchNorm(keras.layers.BatchNormalization):
    """Keras's layer under Matterport's name.

    Detectors train with one or two images a device, too few for batch statistics, so
    the graphs call it with `training=config.TRAIN_BN`: False uses the stored
    statistics and leaves them alone, while gamma and beta train as any weight; None
    does what Keras does.
    """
