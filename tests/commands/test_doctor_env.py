"""`mrcnn doctor-env`: facts of this machine, and what is wrong with it."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import keras
import pytest

import mrcnn
from mrcnn.commands import cli, environment
from mrcnn.commands.gpu_reasons import Reason


def test_json_has_the_facts(tmp_path: Path, capsys: pytest.CaptureFixture):
    code = cli.main(["doctor-env", "--json", "--logs", str(tmp_path / "not" / "yet")])
    found = json.loads(capsys.readouterr().out)
    assert code == (1 if found["problems"] else 0)
    versions = found["versions"]
    assert versions["mrcnn"] == mrcnn.__version__
    assert versions["python"] == platform.python_version()
    assert versions["keras"] == keras.__version__
    assert versions["numpy"] == metadata.version("numpy")
    assert found["backend"]["name"] == keras.backend.backend()
    assert found["backend"]["native_precision"] in ("float32", "bfloat16")
    assert found["system"]["cores"] == os.cpu_count()
    assert 0 < found["memory"]["available_gb"] <= found["memory"]["total_gb"]
    assert found["disk"]["folder"] == str(tmp_path / "not" / "yet")
    assert found["disk"]["free_gb"] > 0 and found["disk"]["writable"]
    if not found["backend"]["gpu_seen"]:
        assert found["backend"]["no_gpu"]["text"] and found["backend"]["no_gpu"]["advice"]


def test_people_get_lines_and_what_to_do(tmp_path, monkeypatch, capsys):
    look = environment.look

    def with_a_card(logs: str) -> dict:
        found = look(logs)
        found["backend"]["gpu_seen"] = False
        found["backend"]["no_gpu"] = vars(Reason("no driver is loaded", "install it", True))
        found["disk"]["free_gb"] = 0.5
        found["extras"] = {
            "gpu": {"installed": False, "missing": ["nvidia-cudnn"]},
            "jax": {"installed": True, "missing": []},
        }
        return {**found, "problems": list(environment._problems(found))}

    monkeypatch.setattr(environment, "look", with_a_card)
    file = tmp_path / "facts.json"
    assert cli.main(["doctor-env", "--logs", str(tmp_path), "--json", str(file)]) == 1
    assert len(json.loads(file.read_text())["problems"]) == 2
    out, err = capsys.readouterr()
    assert "none is seen: no driver is loaded" in out and "what to do: install it" in out
    assert 'gpu: pip install "mrcnn[gpu]" (lacks nvidia-cudnn)' in out
    assert "installed: jax" in out and "Nothing is wrong" not in out
    assert "No GPU is seen: no driver is loaded. Install it." in err
    assert "has 0.5 GB left. Free some" in err
    assert "\x1b" not in out + err


@pytest.mark.parametrize("value", ["0", "1"])
@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow" or platform.machine() not in ("x86_64", "AMD64"),
    reason="of TensorFlow, on these processors",
)
def test_whether_onednn_is_on_is_said(value: str, tmp_path: Path):
    command = [sys.executable, "-m", "mrcnn", "doctor-env", "--logs", str(tmp_path)]
    environ = {**os.environ, "TF_ENABLE_ONEDNN_OPTS": value, "CUDA_VISIBLE_DEVICES": ""}
    said = subprocess.run(command, capture_output=True, text=True, env=environ).stdout
    assert "what to do" in said
    state, other = {"0": ("off", "1"), "1": ("on", "0")}[value]
    assert f"oneDNN's are {state}; TF_ENABLE_ONEDNN_OPTS={other} turns them" in said


def test_an_extra_lacks_what_is_not_installed(monkeypatch):
    wanted = {
        "mrcnn": [
            "numpy>=2",
            'jax>=0.7; extra == "jax"',
            "tensorflow[and-cuda]>=2; extra == 'gpu'",
        ],
        "jax": ["numpy"],
        "tensorflow": ["numpy", 'nvidia-cudnn-cu12<10; extra == "and-cuda"'],
    }
    monkeypatch.setattr(environment.metadata, "requires", lambda name: wanted[name])
    installed = {"numpy": "2", "tensorflow": "2.21"}
    monkeypatch.setattr(environment, "version_of", installed.get)
    assert environment._extras() == {
        "jax": {"installed": False, "missing": ["jax"]},
        "gpu": {"installed": False, "missing": ["nvidia-cudnn-cu12"]},
    }
