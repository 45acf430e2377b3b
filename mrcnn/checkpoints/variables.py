"""The exact state of a model in training: read from its variables, and put back into them.

The variables are those of the model (weights, statistics, states of random generators), of its
optimizer (momentum, number of updates, learning rate, …) and of its metrics (the running means
of the epoch). They are matched by their order, which the graph fixes. Of their names only the
last part is compared: the parts before it count the objects that the process has made.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import keras
import numpy as np

from mrcnn.checkpoints.state_file import State, StateError

GROUPS = ("model", "optimizer", "metrics")


class NonFiniteWeightsError(FloatingPointError):
    """A weight, or a slot of the optimizer, is NaN or infinite."""


def variables_of(model: keras.Model) -> dict[str, list[keras.Variable]]:
    """The variables of a compiled model, by the groups of a state file."""
    return {
        "model": list(model.variables),
        "optimizer": list(model.optimizer.variables),
        "metrics": [variable for metric in model.metrics for variable in metric.variables],
    }


def synchronize(model: keras.Model) -> None:
    """Bring a model's variables up to date in the middle of `fit` (JAX keeps them elsewhere)."""
    if hasattr(model, "jax_state_sync"):
        model.jax_state_sync()


def values_changed_by_validation(model: keras.Model) -> dict[int, np.ndarray]:
    """Copies of the metrics and of the states of random generators, by `id` of the variable."""
    weights = {id(variable) for variable in model.weights}
    groups = variables_of(model)
    generators = [variable for variable in groups["model"] if id(variable) not in weights]
    return {
        id(variable): keras.ops.convert_to_numpy(variable).copy()
        for variable in (*groups["metrics"], *generators)
    }


def values_of(
    model: keras.Model, overrides: Mapping[int, np.ndarray] | None = None
) -> dict[str, Iterator[tuple[str, np.ndarray]]]:
    """The (path, value) pairs of each group, for `mrcnn.checkpoints.state_file.write_state`.

    Args:
        model: compiled.
        overrides: values to take for some variables, by `id`.

    The iterators raise a `NonFiniteWeightsError` at a variable that is not finite, because
    nothing can continue from such a state.
    """

    def pairs(
        variables: Sequence[keras.Variable], finite: bool
    ) -> Iterator[tuple[str, np.ndarray]]:
        for variable in variables:
            value = (overrides or {}).get(id(variable))
            if value is None:
                value = keras.ops.convert_to_numpy(variable)
            if finite and value.dtype.kind == "f" and not np.all(np.isfinite(value)):
                raise NonFiniteWeightsError(
                    f"{variable.path}: expected finite values; received NaN or infinity. Nothing "
                    "can be trained from them."
                )
            yield variable.path, value

    # A metric of the user's may be NaN for good reasons.
    return {
        name: pairs(variables, finite=name != "metrics")
        for name, variables in variables_of(model).items()
    }


def check_finite(model: keras.Model) -> None:
    """Check weights and optimizer.

    Raises:
        NonFiniteWeightsError: a variable is not finite.
    """
    for pairs in values_of(model).values():
        for _ in pairs:
            pass


def restore(model: keras.Model, state: State, groups: Sequence[str] = GROUPS) -> None:
    """Assign the values of a state to a model's variables.

    Args:
        model: compiled as when the state was written, if its optimizer or metrics are restored.
        state: see `mrcnn.checkpoints.state_file.read_state`.
        groups: those of `GROUPS` to restore.

    Raises:
        StateError: the variables differ; none was assigned.
    """
    # Only what is restored: a model need not be compiled to get its weights back.
    own = {"model": list(model.variables)} if set(groups) == {"model"} else variables_of(model)
    pairs = [pair for group in groups for pair in _match(own[group], state, group)]
    for variable, value in pairs:
        variable.assign(value)


def _match(
    variables: Sequence[keras.Variable], state: State, group: str
) -> Iterator[tuple[keras.Variable, np.ndarray]]:
    """Yield the variables of a group with their stored values, after comparing the two."""
    stored = state.groups.get(group, [])
    if len(stored) != len(variables):
        raise StateError(
            f"{state.path}: expected {len(variables)} variables of the {group}; received "
            f"{len(stored)}. The network or its optimizer differs from the one that wrote it."
        )
    for variable, (path, value) in zip(variables, stored, strict=True):
        if _name(variable.path) != _name(path) or tuple(variable.shape) != value.shape:
            raise StateError(
                f"{state.path}: expected {variable.path} {tuple(variable.shape)} of the "
                f"{group}; received {path} {value.shape}. The network or its optimizer "
                "differs from the one that wrote it."
            )
        dtype = keras.ops.convert_to_numpy(variable).dtype
        if value.dtype != dtype and dtype.kind not in "biuf":  # stored as bits, see `state_file`
            value = value.view(dtype)
        yield variable, value


def _name(path: str) -> str:
    """The last part of a path: the parts before it are numbered ("seed_generator_3")."""
    return path.rsplit("/", 1)[-1]
