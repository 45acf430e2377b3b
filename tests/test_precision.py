"""MIXED_PRECISION = "auto": what it is on which device, and that a run remembers it."""

from __future__ import annotations

from types import SimpleNamespace

import keras
import pytest

from mrcnn import precision
from mrcnn.inference import model as inference_model
from mrcnn.model import MaskRCNN
from mrcnn.tensorflow_backend import compilation
from tests.tiny import tiny_config

AMX = "processor\t: 0\nflags\t\t: fpu avx512f amx_bf16 amx_tile\n"
AVX512_BF16 = "processor\t: 0\nflags\t\t: fpu avx512f avx512_bf16\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd bf16 i8mm\n"
PLAIN = "processor\t: 0\nflags\t\t: fpu avx2 avx512f\n"


@pytest.fixture
def cpu(monkeypatch: pytest.MonkeyPatch, tmp_path):
    """A function that says what /proc/cpuinfo holds; None: there is none."""
    monkeypatch.setattr(keras.distribution, "list_devices", lambda: ["cpu:0"])

    def holds(text: str | None) -> None:
        file = tmp_path / "cpuinfo"
        if text is not None:
            file.write_text(text)
        monkeypatch.setattr(precision, "_CPUINFO", file)

    return holds


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="XLA takes float32 on a CPU")
@pytest.mark.parametrize(
    ("text", "dtype", "word"),
    [
        (AMX, "bfloat16", "amx_bf16"),
        (AVX512_BF16, "bfloat16", "avx512_bf16"),
        (ARM, "bfloat16", "bf16"),
        (PLAIN, None, "no instructions"),
        ("", None, "does not say"),
        (None, None, "does not say"),
    ],
)
def test_a_processor(cpu, text: str | None, dtype: str | None, word: str):
    cpu(text)
    choice = precision.choose()
    assert choice.dtype == dtype and word in choice.reason
    assert precision.choose(jit_compile=True).dtype is None  # XLA emulates it


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="of JAX")
def test_jax_on_a_cpu_takes_float32(cpu):
    cpu(AMX)
    assert precision.choose().dtype is None


@pytest.mark.parametrize(
    ("capabilities", "dtype", "word"),
    [
        (["9.0"], "bfloat16", "9.0"),
        (["8.0"], "bfloat16", "8.0"),
        (["7.5"], None, "7.5"),
        (["12.0", "7.0"], None, "7.0"),  # the step computes on both
        (["gfx90a"], None, "does not say"),
    ],
)
def test_gpus(monkeypatch, capabilities: list[str], dtype: str | None, word: str):
    monkeypatch.setattr(keras.distribution, "list_devices", lambda: ["gpu:0"])
    if keras.backend.backend() == "jax":
        import jax

        gpus = [SimpleNamespace(compute_capability=capability) for capability in capabilities]
        monkeypatch.setattr(jax, "local_devices", lambda: gpus)
    else:
        import tensorflow as tf

        known = {
            capability: tuple(int(number) for number in capability.split("."))
            for capability in capabilities
            if capability[0].isdigit()
        }
        monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: capabilities)
        monkeypatch.setattr(
            tf.config.experimental,
            "get_device_details",
            lambda gpu: {"compute_capability": known[gpu]} if gpu in known else {},
        )
        if capabilities == ["9.0"]:
            assert compilation.compute_capability() == (9, 0)
    choice = precision.choose()
    assert choice.dtype == dtype and word in choice.reason


def test_a_tpu(monkeypatch):
    monkeypatch.setattr(keras.distribution, "list_devices", lambda: ["tpu:0"])
    assert precision.choose().dtype == "bfloat16"


@pytest.mark.parametrize("dtype", ["bfloat16", None])
def test_a_model_computes_in_it_says_so_and_remembers(monkeypatch, tmp_path, caplog, dtype):
    monkeypatch.setattr(precision, "choose", lambda jit: precision.Choice(dtype, "of the test"))
    caplog.set_level("INFO", "mrcnn")
    config = tiny_config(MIXED_PRECISION="auto")
    model = MaskRCNN("inference", config, tmp_path)
    assert config.MIXED_PRECISION == dtype
    assert model.keras_model.get_layer("conv1").compute_dtype == (dtype or "float32")
    said = [record.getMessage() for record in caplog.records if "auto" in record.getMessage()]
    assert len(said) == 1 and (dtype or "float32") in said[0] and "of the test" in said[0]
    # A network that is built without `MaskRCNN` understands the word too.
    network = inference_model.build(tiny_config(MIXED_PRECISION="auto"))
    assert network.get_layer("conv1").compute_dtype == (dtype or "float32")


def test_a_hint_where_it_would_gain(monkeypatch):
    monkeypatch.setattr(
        precision, "choose", lambda jit: precision.Choice("bfloat16", "of the test")
    )
    assert "--mixed-precision auto" in precision.hint(tiny_config())
    assert precision.hint(tiny_config(MIXED_PRECISION="float16")) == ""
    monkeypatch.setattr(precision, "choose", lambda jit: precision.Choice(None, "of the test"))
    assert precision.hint(tiny_config()) == ""
