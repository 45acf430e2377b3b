"""Files that are damaged at random: read, or refused with a sentence that names a file of them."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.datasets.formats.support import load
from tests.datasets.formats.test_registry import WRITERS

TEXTS = (".json", ".xml", ".txt", ".yaml")
VALUES = (None, True, -1, 0, 10**30, 1e308, float("nan"), float("inf"), "", "x" * 50, [], {}, [[]])


def damaged(content: Any, rng: random.Random) -> Any:
    """A json value with one value in it replaced, left out or repeated."""
    if isinstance(content, dict) and content and rng.random() < 0.9:
        key = rng.choice(list(content))
        if rng.random() < 0.15:
            return {k: v for k, v in content.items() if k != key}
        return {**content, key: damaged(content[key], rng)}
    if isinstance(content, list) and content and rng.random() < 0.9:
        i = rng.randrange(len(content))
        if rng.random() < 0.15:
            return [*content, content[i]]
        return [*content[:i], damaged(content[i], rng), *content[i + 1 :]]
    return rng.choice(VALUES)


def damage(path: Path, rng: random.Random) -> None:
    data = path.read_bytes()
    if path.suffix == ".json" and rng.random() < 0.8:
        path.write_text(json.dumps(damaged(json.loads(data), rng)))
        return
    place = rng.randrange(len(data) + 1)
    kind = rng.randrange(3)
    if kind == 0:
        path.write_bytes(data[:place])
    elif kind == 1:
        path.write_bytes(data[:place] + bytes([rng.randrange(256)]) + data[place + 1 :])
    else:
        extra = rng.choice([b"9999999999", b"-", b"nan", b"<a>", b"\x00", b"*x", b"]", b"1e400 "])
        path.write_bytes(data[:place] + extra + data[place:])


@pytest.mark.parametrize("name", WRITERS)
def test_damage_is_survived(tmp_path, name):
    """Nothing but these errors leaves a reader."""
    whole = tmp_path / "whole"
    WRITERS[name](whole)
    label = [p for p in sorted(whole.rglob("*")) if p.suffix in TEXTS]
    files = label or [p for p in sorted(whole.rglob("masks/*")) if p.is_file()]
    assert files
    refused = 0
    for seed in range(40):
        rng = random.Random(f"{name} {seed}")
        folder = tmp_path / "damaged"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(whole, folder)
        damage(folder / rng.choice(files).relative_to(whole), rng)
        for skip_invalid in (False, True):
            try:
                load(folder, skip_invalid=skip_invalid).load_mask(0)
            except (OSError, ValueError) as error:
                refused += 1
                assert str(folder) in str(error), (seed, error)
            except IndexError:  # no image is left
                pass
    assert refused > 8
