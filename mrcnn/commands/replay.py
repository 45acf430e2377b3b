"""The command `mrcnn replay`: compute the step of a replay file (`training.nonfinite`) again."""

from __future__ import annotations

import argparse
import os
from typing import Any

from mrcnn.config import Config
from mrcnn.logger import logger

HELP = "compute the step again whose loss was not finite"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mrcnn replay`."""
    parser.description = (
        "Compute a training step again, of the file that training wrote when a loss was not "
        "finite, and show its losses and gradient norms."
    )
    parser.add_argument("file", help="the replay file that training wrote")


def run(args: argparse.Namespace) -> int:
    """Replay the file that the options name."""
    replay(args.file)
    return 0


def replay(
    path: str | os.PathLike[str], **settings: Any
) -> tuple[dict[str, float], dict[str, float]]:
    """Compute the step of a replay file again, and log losses and gradient norms.

    Args:
        path: the file.
        settings: settings to change. A setting that was a function, such as BACKBONE, must be
            given: a file holds no code.

    Returns:
        (losses by name, L2 norms of the gradients by the path of the weight)

    Raises:
        StateError: the file is damaged, or no replay file.
        ValueError: a function is missing.
    """
    import keras

    from mrcnn.checkpoints import state_file, variables
    from mrcnn.runs.settings import configure, is_setting
    from mrcnn.training import gradients, nonfinite
    from mrcnn.training import model as training_model
    from mrcnn.training.compile import set_trainable, set_trained_losses

    state = state_file.read_state(path, "replay")
    header = state.header
    stored = {name: value for name, value in header["settings"].items() if is_setting(name)}
    stored |= settings
    for name, value in stored.items():
        if isinstance(value, dict) and "function" in value:
            raise ValueError(
                f"{state.path}: {name} was the function {value['function']!r}, which a file "
                f"cannot hold. Call mrcnn.commands.replay.replay(path, {name}=...) with it."
            )
    config = configure(Config, stored)
    here = keras.backend.backend()
    logger.info(
        f"{state.path}: step {header['step']}, layers {header['stage']['layers']}, written with "
        f"{header['versions']['backend']}, replayed with {here}\nimages: {header['images']}"
    )
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(header["versions"]["dtype_policy"])
    try:
        model = training_model.build(config)
        set_trainable(model, header["stage"]["layers"])
        set_trained_losses(model, header["stage"].get("losses", "all"))
        variables.restore(model, state, ("model",))
        batch = nonfinite.batch_of(state)
        layer = nonfinite.first_spoilt_layer(model, batch)
        variables.restore(model, state, ("model",))
        losses, norms = gradients.measure(model, config, batch)
    finally:
        keras.config.set_dtype_policy(policy)
    logger.info(nonfinite.describe_losses(losses, norms))
    seen = nonfinite.losses_of(state)
    logger.info(f"Conclusion: {nonfinite.conclusion(seen, losses, norms, layer)}")
    return losses, norms
