"""Imports point only upward, and what must stay light stays light."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGE = REPOSITORY / "mrcnn"

# The house, from the ground up: a room is a folder, or a file beside the folders, and imports only
# from rooms below its own level.
LEVELS = (
    ("screen",),
    ("batch", "process", "logger", "tensorflow_backend"),
    ("ops", "files", "precision", "__init__"),
    ("setting_rules",),
    ("layers", "weights", "edge_loss"),
    ("config",),
    ("network", "data"),
    ("checkpoints", "datasets", "inference"),
    ("evaluation", "doctor"),
    ("training",),
    ("matterport", "drawing"),
    ("prediction", "export"),
    ("utils",),  # a door; the others hand its name on, as Matterport's do
    ("model", "visualize", "parallel_model"),  # the doors
    ("runs",),
    ("ablation",),
    ("commands",),
    ("__main__",),
)
BACKENDS = {"keras", "tensorflow", "jax", "torch"}
HOST_SIDE = ("data", "datasets", "evaluation", "doctor")

# The package itself is below all rooms; `mrcnn.load` opens these when it is called.
WHEN_CALLED = {("__init__", "runs.settings"), ("__init__", "runs.trained")}


@cache
def modules() -> dict[str, Path]:
    """Files by their dotted name below `mrcnn`; a folder's `__init__` has the folder's name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts[-1] == "__init__" and len(parts) > 1:
            parts = parts[:-1]
        found[".".join(parts)] = path
    return found


def room(module: str) -> str:
    return module.split(".")[0]


def level(module: str) -> int | None:
    return next((number for number, rooms in enumerate(LEVELS) if room(module) in rooms), None)


def nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node but those that only type checkers see."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from nodes(child)


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(modules()[module].read_text(encoding="utf-8"))


@cache
def imports(module: str) -> frozenset[str]:
    """Dotted names of all that a module imports, those inside functions included."""
    names = set()
    for node in nodes(tree(module)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: write imports in full, not relative"
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(names)


@cache
def internal(module: str) -> frozenset[str]:
    """Modules of the package that a module imports."""
    names = {name.removeprefix("mrcnn.") for name in imports(module) if name.startswith("mrcnn.")}
    return frozenset(names & modules().keys())


def outside(module: str) -> set[str]:
    """Top-level packages that a module imports."""
    return {name.split(".")[0] for name in imports(module)} - {"mrcnn"}


def reachable(module: str) -> set[str]:
    seen, waiting = set(), [module]
    while waiting:
        current = waiting.pop()
        if current not in seen:
            seen.add(current)
            waiting += internal(current)
    return seen


def test_every_module_has_a_level():
    homeless = [module for module in modules() if level(module) is None]
    assert not homeless, f"give these a level in LEVELS: {homeless}"
    assert {"config", "network", "model", "ops.boxes"} <= modules().keys()


@pytest.mark.parametrize("module", modules())
def test_a_room_imports_only_from_rooms_below(module: str):
    for name in internal(module):
        if (module, name) in WHEN_CALLED:
            continue
        same = room(name) == room(module)
        assert same or level(name) < level(module), f"mrcnn.{module} imports mrcnn.{name}"


def test_no_room_of_the_list_is_missing():
    rooms = {room(module) for module in modules()}
    assert {name for names in LEVELS for name in names} == rooms


def test_there_is_no_cycle():
    for module in modules():
        for name in internal(module) - {module}:
            assert module not in reachable(name), f"mrcnn.{module} and mrcnn.{name} form a cycle"


@pytest.mark.parametrize(
    "module", [module for module in modules() if module.split(".")[0] in HOST_SIDE]
)
def test_the_host_side_is_free_of_keras(module: str):
    # `process.set_random_seed` imports Keras when it is called; what is loaded is tested below.
    for name in reachable(module) - {"process"}:
        assert not outside(name) & BACKENDS, f"mrcnn.{module} reaches {name}"


def test_tensorflow_is_called_in_one_place():
    callers = [module for module in modules() if "tensorflow" in outside(module)]
    assert callers and {room(module) for module in callers} == {"tensorflow_backend"}


@pytest.mark.parametrize("module", modules())
def test_what_cannot_be_saved_or_trusted_is_not_used(module: str):
    unsafe = {"pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    if module == "files.array_pickle":  # which admits arrays alone
        unsafe -= {"pickle"}
    assert not outside(module) & unsafe
    for node in nodes(tree(module)):
        name = getattr(node, "attr", getattr(node, "id", None))
        assert name not in ("Lambda", "TimeDistributed"), f"mrcnn.{module} line {node.lineno}"
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            assert isinstance(node.value, ast.Constant) and not node.value.value


def loaded_after(statement: str, **environment: str) -> set[str]:
    """Top-level packages that a fresh interpreter holds after a statement."""
    run = subprocess.run(
        [sys.executable, "-c", f"{statement}; import sys; print(*sys.modules)"],
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return {name.split(".")[0] for name in run.stdout.split()}


def test_importing_the_package_loads_no_backend():
    assert not loaded_after("import mrcnn, mrcnn.data, mrcnn.config") & BACKENDS


def test_the_host_side_loads_no_backend():
    names = [f"mrcnn.{module}" for module in modules() if module.split(".")[0] in HOST_SIDE]
    loaded = loaded_after(f"import {', '.join(names)}")
    assert "numpy" in loaded and not loaded & BACKENDS


def test_on_jax_nothing_loads_tensorflow():
    pytest.importorskip("jax")
    seeded = "from mrcnn.process import set_random_seed; set_random_seed(0)"
    loaded = loaded_after(
        f"import mrcnn.model, mrcnn.commands.cli, mrcnn.runs.results, mrcnn.runs.trained; {seeded}",
        KERAS_BACKEND="jax",
    )
    assert "jax" in loaded and "tensorflow" not in loaded
