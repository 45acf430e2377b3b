"""Layers that may use TensorFlow's own kernels."""

from __future__ import annotations

from typing import Any

import keras


class KernelChoiceLayer(keras.layers.Layer):
    """Base of the layers whose function takes `use_tf_kernels`; float32 under any dtype policy.

    Args:
        use_tf_kernels: use the kernels of `mrcnn.tensorflow_backend`: TensorFlow only, not
            compilable by XLA.
    """

    def __init__(self, use_tf_kernels: bool = False, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        self.use_tf_kernels = use_tf_kernels

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "use_tf_kernels": self.use_tf_kernels}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> KernelChoiceLayer:
        return cls(**with_current_names(config))


def with_current_names(config: dict[str, Any]) -> dict[str, Any]:
    """A layer's configuration in which `use_tf_kernels` may be `native`, as in older models."""
    return {{"native": "use_tf_kernels"}.get(name, name): value for name, value in config.items()}
