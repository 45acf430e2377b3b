"""The seed of everything random that Keras, NumPy and Python draw in this process."""

from __future__ import annotations

import sys


def set_random_seed(seed: int) -> None:
    """Set the global seeds, as `keras.utils.set_random_seed` does.

    That imports TensorFlow with any backend where it is installed; this does not.
    """
    import keras

    keep_out = keras.backend.backend() != "tensorflow" and "tensorflow" not in sys.modules
    if keep_out:
        sys.modules["tensorflow"] = None  # an import of it fails
    try:
        keras.utils.set_random_seed(seed)
    finally:
        if keep_out:
            del sys.modules["tensorflow"]
