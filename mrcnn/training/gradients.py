"""How large the gradients of a training step are, weight by weight, before any clipping."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from mrcnn.config import Config
from mrcnn.data.loader import Batch
from mrcnn.tensorflow_backend.compilation import default_jit_compile
from mrcnn.training.model import TrainingModel


class GradientNorms(keras.optimizers.Optimizer):
    """An "optimizer" that changes no weight: it keeps the L2 norm of each gradient."""

    def __init__(self, name: str = "gradient_norms", **options: Any) -> None:
        super().__init__(learning_rate=0.0, name=name, **options)

    def build(self, variables: list[keras.Variable]) -> None:
        super().build(variables)
        self.paths = [variable.path for variable in variables]
        self.norms = [self.add_variable((), dtype="float32", name="norm") for _ in variables]

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        gradient = ops.cast(gradient, "float32")
        largest = ops.max(ops.abs(gradient))
        # Scaled, so that squares of large values stay finite.
        scale = ops.where(ops.logical_and(largest > 0, ops.isfinite(largest)), largest, 1.0)
        norm = scale * ops.sqrt(ops.sum(ops.square(gradient / scale)))
        self.norms[self._get_variable_index(variable)].assign(norm)


class GradientProbe:
    """Computes training steps without their updates.

    The model's optimizer is lost; its statistics and random states move on, its weights stay.

    Args:
        model: to measure; what is trainable at the time has gradients.
        config: its settings.
    """

    def __init__(self, model: TrainingModel, config: Config) -> None:
        self.model = model
        self.optimizer = GradientNorms()
        self.optimizer.build(model.trainable_variables)
        jit_compile = default_jit_compile(config.JIT_COMPILE)
        model.compile(optimizer=self.optimizer, jit_compile=jit_compile)
        model.traced_with = None  # the next stage needs an optimizer of its own

    def __call__(self, batch: Batch) -> tuple[dict[str, float], dict[str, float]]:
        """(losses by name, L2 norms of the gradients by the path of the weight) for a batch."""
        losses = self.model.train_on_batch(batch, return_dict=True)
        norms = [float(ops.convert_to_numpy(norm)) for norm in self.optimizer.norms]
        return (
            {name: float(loss) for name, loss in losses.items()},
            dict(zip(self.optimizer.paths, norms, strict=True)),
        )


def measure(
    model: TrainingModel, config: Config, batch: Batch
) -> tuple[dict[str, float], dict[str, float]]:
    """One step of a `GradientProbe`."""
    return GradientProbe(model, config)(batch)
