"""The Keras model whose outputs are its losses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import keras
from keras import ops

from mrcnn import batch as batch_names
from mrcnn import network
from mrcnn.config import LOSS_NAMES, Config
from mrcnn.layers.switched_loss import forget_losses
from mrcnn.ops.tensor import Tensor
from mrcnn.process import returning_memory
from mrcnn.tensorflow_backend.sums import with_fixed_sums
from mrcnn.training import optimizers
from mrcnn.training.gradnorm import BACKENDS, GradNormStep
from mrcnn.training.loss_switches import all_losses_on
from mrcnn.training.own_loops import OwnLoops
from mrcnn.training.replicated import ReplicatedStep
from mrcnn.training.weight_decay import weight_decay
from mrcnn.weights.keras_api import MatterportFiles

# Outputs whose running means are shown and written down; the last is that of `build_classifier`.
SHOWN_OUTPUTS = (*LOSS_NAMES, "accuracy")


@keras.saving.register_keras_serializable(package="mrcnn")
class TrainingModel(ReplicatedStep, GradNormStep, keras.Model):
    """Functional model whose outputs are its losses.

    The loss layers have added them to the total; this class adds the weight decay of
    whatever is trainable at the time and keeps the running mean of each loss. Trackers
    live here because updating them inside `call` fails on JAX.

    Attributes:
        weight_decay: `Config.WEIGHT_DECAY`.
        traced_with: what `mrcnn.training.compile` compiled it for last.
    """

    train_function: Callable[[Iterator], Any] | None
    test_function: Callable[[Iterator], Any] | None

    def __init__(self, *args: Any, weight_decay: float = 0.0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.weight_decay = weight_decay
        self.traced_with: tuple[Any, ...] | None = None
        self.loss_means = [
            keras.metrics.Mean(name=name) for name in SHOWN_OUTPUTS if name in self.output
        ]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "weight_decay": self.weight_decay}

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        # The layers compute with static shapes, but Keras's generator adapter forgets the
        # batch size.
        inputs = {tensor.name: _with_batch(inputs[tensor.name], tensor) for tensor in self.inputs}
        forget_losses(self)
        return super().call(inputs, training=training, mask=mask)

    def compile(self, *args: Any, **kwargs: Any) -> None:
        super().compile(*args, **kwargs)
        self.traced_with = None
        optimizers.add_weight_decay(self.optimizer, self.weight_decay)
        if self.is_replicated:
            optimizers.add_up_replicas(self.optimizer)

    def make_train_function(self, force: bool = False) -> Any:
        if self.train_function is None or force:
            self.train_function = self._step_function("train_function")
        return self.train_function

    def make_test_function(self, force: bool = False) -> Any:
        if self.test_function is None or force:
            self.test_function = self._step_function("test_function")
        return self.test_function

    @property
    def several_shapes(self) -> bool:
        """Whether image shapes differ between batches, in a way that Keras does not handle.

        Only on TensorFlow, where Keras traces a step once, for unknown sides. JAX traces each
        shape, and PyTorch traces nothing.
        """
        if keras.backend.backend() != "tensorflow":
            return False
        return any(x.name == batch_names.IMAGE and None in x.shape for x in self.inputs)

    def _step_function(self, kind: str) -> Callable[[Iterator], Any]:
        """Keras's step, whose sums do not depend on how busy the machine is.

        Args:
            kind: "train_function" or "test_function".
        """
        if self.several_shapes:
            return with_fixed_sums(self._function_of_shape(kind))
        getattr(super(), f"make_{kind}")(force=True)
        return with_fixed_sums(self.in_parts(returning_memory(getattr(self, kind))))

    def _function_of_shape(self, kind: str) -> Callable[[Iterator], Any]:
        """A step that is Keras's own, traced for each image shape by itself.

        Args:
            kind: "train_function" or "test_function".
        """
        functions: dict[tuple[int, ...], Callable[[Iterator], Any]] = {}
        make = getattr(super(), f"make_{kind}")

        def step(iterator: Iterator) -> Any:
            batch = self.parts(next(iterator))
            shape = self.shape_of_part(batch[0][batch_names.IMAGE])
            if shape not in functions:
                make(force=True)
                functions[shape] = returning_memory(getattr(self, kind))
                setattr(self, kind, step)
            return functions[shape](iter([batch]))

        return step

    def test_step(self, *args: Any, **kwargs: Any) -> Any:
        # The total of a validation is of all losses, so that epochs of other stages compare.
        with all_losses_on(self):
            return super().test_step(*args, **kwargs)

    def compute_loss(self, *args: Any, **kwargs: Any) -> Tensor:
        loss = super().compute_loss(*args, **kwargs)
        # The optimizer adds its gradient: backpropagation would hold one for each weight from
        # the start of the step to its end.
        decay = weight_decay(self.trainable_variables, self.weight_decay)
        # Of several replicas each gives its share of the loss.
        return loss + ops.stop_gradient(decay) / self.replicas

    def compute_metrics(
        self, x: Any, y: Any, y_pred: dict[str, Tensor], sample_weight: Any = None
    ) -> dict[str, Tensor]:
        for mean in self.loss_means:
            mean.update_state(y_pred[mean.name])
        return self.get_metrics_result()


def _with_batch(value: Tensor, symbolic: keras.KerasTensor) -> Tensor:
    """Give a tensor the static shape of an input, whose image sides may be open."""
    sides = zip(symbolic.shape, value.shape, strict=True)
    return ops.reshape(value, [own if side is None else side for side, own in sides])


@keras.saving.register_keras_serializable(package="mrcnn")
class TrainingNetwork(MatterportFiles, OwnLoops, TrainingModel):
    """The training graph of `mrcnn.network`, with Matterport's weights files and batches."""


def build(config: Config) -> TrainingNetwork:
    """The training graph as a model that `fit` can train.

    Its inputs are those of `mrcnn.batch`, its outputs the weighted losses by name and the class
    probabilities. It decays its weights as the configuration says.

    Raises:
        ValueError: GradNorm is asked for on a backend that it does not know.
    """
    if config.GRADNORM_ALPHA is not None and keras.backend.backend() not in BACKENDS:
        raise ValueError(
            f"GRADNORM_ALPHA: expected a backend of {list(BACKENDS)}, on which the gradient of "
            f"each loss is measured; received {keras.backend.backend()!r}. Use "
            "UNCERTAINTY_WEIGHTING, or LOSS_WEIGHTS of your own."
        )
    model = network.build_training(config, TrainingNetwork)
    model.weight_decay = config.WEIGHT_DECAY
    return model


def build_classifier(config: Config) -> TrainingNetwork:
    """The graph that pretrains a backbone (`mrcnn.network.build_classifier`), likewise."""
    model = network.build_classifier(config, TrainingNetwork)
    model.weight_decay = config.WEIGHT_DECAY
    return model
