"""Functions of slots, computed on the leading slots that are in use, with static shapes.

Each image has a fixed number of slots, and what is used of them lies in front. XLA cannot compile
a number of rows that depends on the images, but it can choose between a few numbers, each
compiled by itself. Only the smallest that suffices is computed, and so it is with its gradient.

Shape letters: B images, S slots of an image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras
from keras import ops

from mrcnn.ops.tensor import Tensor
from mrcnn.tensorflow_backend.gradients import pull_back as tf_pull_back

# Shares of the slots between which a step chooses. Each is compiled by itself, a tenth of the time
# that JAX takes to compile a step of ResNet-50.
SHARES = (0.25, 0.5, 1.0)
# Fewer slots than this are not worth a choice.
MIN_SLOTS = 10


def slot_counts(slots: int) -> tuple[int, ...]:
    """The numbers of leading slots between which is chosen; the last is all of them.

    >>> slot_counts(66)
    (17, 33, 66)
    >>> slot_counts(4)
    (4,)
    """
    if slots < MIN_SLOTS:
        return (slots,)
    return tuple(sorted({-int(-slots * share // 1) for share in SHARES}))


def last_used(flags: Tensor) -> Tensor:
    """How many leading slots hold all those with a flag: bool [B, S] to a scalar int32.

    >>> int(last_used(ops.array([[True, False, False], [True, True, False]])))
    2
    """
    numbers = ops.arange(1, flags.shape[1] + 1, dtype="int32")
    return ops.max(ops.where(flags, numbers, 0))


def on_leading(
    function: Callable[..., Tensor],
    used: Tensor,
    rows: Sequence[Tensor],
    shared: Sequence[Tensor] = (),
) -> Tensor:
    """Compute a function of slots on so many leading ones as are used; the rest is zeros.

    Args:
        function: from some rows [B, N, ...] and what they share to [B, N, ...]; each slot's
            result depends on this slot only. It reads no variable, and its first derivative is
            all that is asked for.
        used: scalar int, how many leading slots matter.
        rows: [B, S, ...] float each, with static shapes.
        shared: further arguments of `function`, float.

    Returns:
        [B, S, ...]. As if `function` were computed on all slots, where a slot is used; neither
        value nor gradient of the others counts.
    """
    slots = rows[0].shape[1]
    counts = slot_counts(slots)
    if len(counts) == 1:
        return function(*rows, *shared)
    index = sum(ops.cast(used > count, "int32") for count in counts[:-1])

    def leading(operands: Sequence[Tensor], count: int) -> list[Tensor]:
        return [x[:, :count] if k < len(rows) else x for k, x in enumerate(operands)]

    def forward(count: int) -> Callable[..., Tensor]:
        return lambda *operands: _padded(function(*leading(operands, count)), slots)

    def backward(count: int) -> Callable[..., tuple[Tensor, ...]]:
        def gradients(upstream: Tensor, *operands: Tensor) -> tuple[Tensor, ...]:
            of_leading = pull_back(function, leading(operands, count), upstream[:, :count])
            return tuple(
                _padded(x, slots) if k < len(rows) else x for k, x in enumerate(of_leading)
            )

        return gradients

    # Differentiated by itself, a choice would keep what each of its branches needs.
    @ops.custom_gradient
    def chosen(*operands: Tensor) -> tuple[Tensor, Callable[..., tuple[Tensor, ...]]]:
        def gradient(*args: Tensor, upstream: Tensor | None = None) -> tuple[Tensor, ...]:
            upstream = args[0] if upstream is None else upstream
            return ops.switch(index, [backward(count) for count in counts], upstream, *operands)

        return ops.switch(index, [forward(count) for count in counts], *operands), gradient

    return chosen(*(ops.convert_to_tensor(x) for x in (*rows, *shared)))


def pull_back(
    function: Callable[..., Tensor], arguments: Sequence[Tensor], upstream: Tensor
) -> list[Tensor]:
    """The gradient of `sum(upstream * function(*arguments))` with respect to each argument.

    Raises:
        NotImplementedError: on a backend other than TensorFlow, JAX and PyTorch.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        return tf_pull_back(function, arguments, upstream)
    if backend == "torch":
        return _torch_pull_back(function, arguments, upstream)
    if backend != "jax":
        raise NotImplementedError(
            f"The gradient of a choice between slots: expected the backend 'tensorflow', 'jax' or "
            f"'torch'; received {backend!r}."
        )
    import jax

    return list(jax.vjp(function, *arguments)[1](upstream))


def _torch_pull_back(
    function: Callable[..., Tensor], arguments: Sequence[Tensor], upstream: Tensor
) -> list[Tensor]:
    import torch

    with torch.enable_grad():  # a gradient is computed without
        own = [x.detach().requires_grad_() for x in arguments]
        value = function(*own)
    slopes = torch.autograd.grad(value, own, upstream, allow_unused=True)
    pairs = zip(slopes, own, strict=True)
    return [torch.zeros_like(x) if slope is None else slope for slope, x in pairs]


def _padded(rows: Tensor, slots: int) -> Tensor:
    rest = [(0, 0)] * (len(rows.shape) - 2)
    return ops.pad(rows, [(0, 0), (0, slots - rows.shape[1]), *rest])
