"""Which graphs XLA compiles, and which may use TensorFlow's own kernels instead."""

from __future__ import annotations

import platform

import keras

from mrcnn.tensorflow_backend import replicas


def is_tensorflow() -> bool:
    """Whether Keras computes with TensorFlow."""
    return keras.backend.backend() == "tensorflow"


def tf_kernels_available(jit_compile: bool | None) -> bool:
    """Whether a graph that is compiled as told may use TensorFlow's kernels.

    Args:
        jit_compile: True, False, or None for the device's default (see
            `default_jit_compile`).
    """
    if keras.backend.backend() != "tensorflow":
        return False
    return not default_jit_compile(jit_compile)


def default_jit_compile(jit_compile: bool | None) -> bool:
    """Resolve None: XLA on an accelerator and on JAX; not for TensorFlow on a CPU.

    TensorFlow's oneDNN convolutions beat XLA's on a CPU. Nor for TensorFlow's replicas on several
    devices: they add their gradients within a step, which XLA compiles for one device alone.
    """
    if replicas.count() > 1:
        return False
    if jit_compile is not None:
        return jit_compile
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return bool(tf.config.list_logical_devices("GPU"))
    return keras.backend.backend() == "jax"


def compute_capability() -> tuple[int, int] | None:
    """The lowest CUDA compute capability of TensorFlow's GPUs; None: one of them has none."""
    import tensorflow as tf

    details = map(tf.config.experimental.get_device_details, tf.config.list_physical_devices("GPU"))
    found = [detail.get("compute_capability") for detail in details]
    return None if None in found else min(found, default=None)


def built_with_cuda() -> bool:
    """Whether this TensorFlow can use NVIDIA GPUs."""
    import tensorflow as tf

    return bool(tf.sysconfig.get_build_info().get("is_cuda_build", False))


def has_onednn() -> bool | None:
    """Whether TensorFlow uses oneDNN's kernels on an x86 processor; None: another, or unknown.

    It does so by itself on those with AVX512-VNNI, AMX or the like, else if
    TF_ENABLE_ONEDNN_OPTS=1 asks for it.
    """
    if keras.backend.backend() != "tensorflow" or platform.machine() not in ("x86_64", "AMD64"):
        return None
    try:
        # Nothing public tells.
        from tensorflow.python.util import _pywrap_util_port
    except ImportError:
        return None
    return bool(_pywrap_util_port.IsMklEnabled())
