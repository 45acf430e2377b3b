"""Why no GPU is seen: the first thing in the way is named, with what to do."""

from __future__ import annotations

import pytest

from mrcnn.commands import gpu_reasons
from mrcnn.commands.gpu_reasons import Build, Machine, look_at_machine, why_no_gpu

NO_GPU = Machine(card=False, driver="", device_files=False)
SOUND = Machine(card=True, driver="NVIDIA 580", device_files=True)
FOR_CUDA = Build("tensorflow", gpu=True)


@pytest.mark.parametrize(
    ("machine", "build", "text", "advice", "is_fault"),
    [
        (NO_GPU, FOR_CUDA, "no NVIDIA GPU", "small networks", False),
        (Machine(True, "", False), FOR_CUDA, "no NVIDIA driver", "install NVIDIA's driver", True),
        (Machine(None, "", False), FOR_CUDA, "does not say", "if there is one", False),
        (Machine(True, "580", False), FOR_CUDA, "/dev/nvidia0", "--gpus all", True),
        (SOUND, Build("tensorflow", False), "built for CPUs alone", "mrcnn[gpu]", True),
        (SOUND, Build("jax", False), "built for CPUs alone", "jax[cuda13]", True),
        (SOUND, Build("torch", False), "built for CPUs alone", "pytorch.org", True),
        (SOUND, Build("tensorflow", True, ("cudnn", "cufft")), "cudnn, cufft", "mrcnn[gpu]", True),
        (SOUND, FOR_CUDA, "does not open the GPU", "--verbose", True),
        (
            Machine(True, "580", True, "CUDA_VISIBLE_DEVICES=-1"),
            FOR_CUDA,
            "CUDA_VISIBLE_DEVICES=-1 hides",
            "unset CUDA_VISIBLE_DEVICES",
            True,
        ),
        (Machine(None, "", False, windows=True), FOR_CUDA, "Windows", "WSL 2", False),
        (Machine(None, "580", True, windows=True), Build("torch", False), "CPUs", "pytorch", True),
    ],
)
def test_the_first_thing_in_the_way(machine, build, text, advice, is_fault):
    reason = why_no_gpu(machine, build)
    assert text in reason.text and advice in reason.advice and reason.is_fault is is_fault


@pytest.mark.parametrize(
    ("value", "hides"), [("-1", True), ("", True), ("0", False), ("0,1", False), (None, False)]
)
def test_the_variable_that_hides_gpus(value: str | None, hides: bool):
    environment = {} if value is None else {"CUDA_VISIBLE_DEVICES": value}
    assert bool(look_at_machine(environment).hidden_by) == hides


def test_a_card_is_found_by_its_vendor_and_class(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_reasons, "_PCI", tmp_path)
    monkeypatch.setattr(gpu_reasons.sys, "platform", "linux")

    def device(name: str, vendor: str, kind: str) -> None:
        (tmp_path / name).mkdir()
        (tmp_path / name / "vendor").write_text(f"{vendor}\n")
        (tmp_path / name / "class").write_text(f"{kind}\n")

    device("0000:00:01.0", "0x8086", "0x030000")  # graphics of a processor
    device("0000:00:02.0", "0x10de", "0x0c0330")  # a USB controller on an NVIDIA card
    assert look_at_machine({}).card is False
    device("0000:00:03.0", "0x10de", "0x030200")  # as an H200 says
    assert look_at_machine({}).card is True
    monkeypatch.setattr(gpu_reasons, "_PCI", tmp_path / "none")
    assert look_at_machine({}).card is None


def test_the_driver_says_which_it_is(tmp_path, monkeypatch):
    file = tmp_path / "version"
    file.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65\nGCC version: 12\n")
    monkeypatch.setattr(gpu_reasons, "_DRIVER_FILE", file)
    assert look_at_machine({}).driver == "NVIDIA UNIX x86_64 Kernel Module 580.65"


def test_libraries_are_found_in_the_packages_of_nvidia(tmp_path, monkeypatch):
    for place in (
        "cudnn/lib/libcudnn.so.9",
        "cuda_runtime/lib/libcudart.so.12",
        "cu13/lib/libcufft.so.12",
    ):
        path = tmp_path / "nvidia" / place
        path.parent.mkdir(parents=True)
        path.write_bytes(b"")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(gpu_reasons.ctypes, "CDLL", raise_error)
    assert gpu_reasons.missing_libraries() == ("cublas", "cusolver", "cusparse")


def raise_error(name: str) -> None:
    raise OSError(f"{name}: cannot open shared object file")
