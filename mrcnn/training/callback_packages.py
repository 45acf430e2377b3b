"""Packages that Keras's own callbacks need and do not bring, asked for before training starts."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec

import keras


def check_packages(callbacks: Iterable[keras.callbacks.Callback]) -> None:
    """Check that the callbacks can do their work; Keras would find out after the first epoch.

    Raises:
        ModuleNotFoundError: a package is missing; the message says how to install it.
    """
    if not any(isinstance(callback, keras.callbacks.TensorBoard) for callback in callbacks):
        return
    for package, command in (
        ("tensorboard", 'pip install "mrcnn[tensorboard]"'),
        ("tensorflow", "pip install tensorflow"),
    ):
        if find_spec(package) is None:
            raise ModuleNotFoundError(
                f"custom_callbacks: keras.callbacks.TensorBoard needs the package {package}, "
                f"which is not installed. Install it ({command}), or leave the callback out: "
                "training writes TensorBoard's events of every epoch itself, into the log folder.",
                name=package,
            )
