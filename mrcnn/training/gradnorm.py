"""What GradNorm adds to a training step: the gradient of each loss, at the layers all losses share.

Shared are the 3 x 3 convolutions of the feature pyramid, the last layers before the RPN and the
heads part. The gradient of a loss with respect to their kernels, all four taken as one vector,
needs a backward pass through the heads for each loss, and none through the backbone.

Keras's step stays as it is. On TensorFlow the losses are computed within the tape of its step, on
JAX by the function that its step differentiates, and on PyTorch they keep the graph that its step
goes back through; so here the ways part.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import keras
from keras import ops

from mrcnn.config import LOSS_NAMES
from mrcnn.layers.gradnorm import GradNormWeighting
from mrcnn.ops.tensor import Tensor
from mrcnn.tensorflow_backend import replicas
from mrcnn.tensorflow_backend.gradients import gradients_of_each

if TYPE_CHECKING:
    from keras import Model as _Model
else:
    _Model = object  # a mixin: the Keras model is the class behind it

SHARED_LAYERS = ("fpn_p2", "fpn_p3", "fpn_p4", "fpn_p5")
BACKENDS = ("tensorflow", "jax", "torch")


class GradNormStep(_Model):
    """Mixin of a model whose outputs are its losses by name, before `keras.Model`.

    Without a `GradNormWeighting` among the model's layers it does nothing.
    """

    @property
    def gradnorm(self) -> GradNormWeighting | None:
        """The layer whose weights are moved."""
        return next((x for x in self.layers if isinstance(x, GradNormWeighting)), None)

    @property
    def shared_kernels(self) -> list[keras.Variable]:
        """The weights at which gradients are compared."""
        return [self.get_layer(name).kernel for name in SHARED_LAYERS]

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """The network's outputs. In training the losses' weights move too, but not on JAX."""
        forward = super().call
        gradients_of = _GRADIENTS.get(keras.backend.backend())
        layer = self.gradnorm if training and gradients_of is not None else None
        if layer is None or gradients_of is None:
            return forward(inputs, training=training, mask=mask)
        outputs, gradients = gradients_of(
            lambda: forward(inputs, training=training, mask=mask),
            _losses,
            self.shared_kernels,
        )
        losses = ops.stop_gradient(ops.stack(_losses(outputs)))
        # Of several replicas each has its share: the mean is the whole batch's.
        number = replicas.count()
        norms = [_norm(replicas.total_of_each(of_loss)) / number for of_loss in gradients]
        layer.update(replicas.total(losses) / number, ops.stack(norms))
        return outputs

    def compute_loss_and_updates(
        self,
        trainable_variables: Sequence[Tensor],
        non_trainable_variables: Sequence[Tensor],
        metrics_variables: Sequence[Tensor],
        x: Any,
        y: Any,
        sample_weight: Any,
        training: bool = False,
        optimizer_variables: Any = None,
    ) -> Any:
        """Keras's on JAX, which its step differentiates; in training, the losses' weights move."""
        stateless = super().compute_loss_and_updates

        def forward(trainable: Sequence[Tensor], other: Sequence[Tensor]) -> Any:
            return stateless(
                *(trainable, other, metrics_variables, x, y, sample_weight),
                training=training,
                optimizer_variables=optimizer_variables,
            )

        layer = self.gradnorm if training else None
        if layer is None:
            return forward(trainable_variables, non_trainable_variables)

        import jax

        groups = list(trainable_variables), list(non_trainable_variables)
        places = _places(self.shared_kernels, self)

        def losses_of(kernels: list[Tensor]) -> Any:
            trainable, other = (list(group) for group in groups)
            for (group, index), kernel in zip(places, kernels, strict=True):
                (trainable, other)[group][index] = kernel
            loss, aux = forward(trainable, other)
            return ops.stack(_losses(aux[1])), (loss, aux)

        kernels = [groups[group][index] for group, index in places]
        losses, pull_back, (loss, aux) = jax.vjp(losses_of, kernels, has_aux=True)
        units = ops.eye(losses.shape[0], dtype=losses.dtype)
        norms = ops.stack([_norm(pull_back(unit)[0]) for unit in units])
        unscaled_loss, outputs, other, metrics = aux
        other = self._with_moved_weights(layer, list(other), losses, norms)
        return loss, (unscaled_loss, outputs, other, metrics)

    def _with_moved_weights(
        self, layer: GradNormWeighting, values: list[Tensor], losses: Tensor, norms: Tensor
    ) -> list[Tensor]:
        """The values of the non-trainable variables, in which the layer's have moved."""
        mapping = list(zip(self.non_trainable_variables, values, strict=True))
        with keras.StatelessScope(state_mapping=mapping) as scope:
            layer.update(ops.stop_gradient(losses), ops.stop_gradient(norms))
        return [scope.get_current_value(variable) for variable in self.non_trainable_variables]


def _torch_gradients_of_each(
    compute: Callable[[], Any],
    values_of: Callable[[Any], Sequence[Tensor]],
    variables: Sequence[keras.Variable],
) -> tuple[Any, list[list[Tensor | None]]]:
    """As `mrcnn.tensorflow_backend.gradients.gradients_of_each`, on PyTorch."""
    import torch

    # Not their `value`, which is a copy in another type where a network computes in 16 bits.
    tensors: list[Any] = [variable._value for variable in variables]
    frozen = [tensor for tensor in tensors if not tensor.requires_grad]
    for tensor in frozen:
        tensor.requires_grad_(True)
    try:
        outputs = compute()
        gradients = [
            list(torch.autograd.grad(value, tensors, retain_graph=True, allow_unused=True))
            for value in values_of(outputs)
        ]
    finally:
        for tensor in frozen:
            tensor.requires_grad_(False)
    return outputs, gradients


_GRADIENTS: dict[str, Callable[..., Any]] = {
    "tensorflow": gradients_of_each,
    "torch": _torch_gradients_of_each,
}


def _losses(outputs: dict[str, Tensor]) -> list[Tensor]:
    """Those that the network's `GradNormWeighting` is given, in its order."""
    return [outputs[name] for name in LOSS_NAMES if name in outputs]


def _norm(gradients: Sequence[Tensor | None]) -> Tensor:
    """The L2 norm of some tensors together, float32."""
    squares = [ops.sum(ops.square(ops.cast(g, "float32"))) for g in gradients if g is not None]
    return ops.sqrt(sum(squares, ops.zeros(())))


def _places(variables: Sequence[keras.Variable], model: keras.Model) -> list[tuple[int, int]]:
    """Of each variable: 0 if it is trainable, else 1; and its number among those."""
    groups = (model.trainable_variables, model.non_trainable_variables)
    numbers = [{id(variable): k for k, variable in enumerate(group)} for group in groups]
    return [
        next((group, found[id(v)]) for group, found in enumerate(numbers) if id(v) in found)
        for v in variables
    ]
