"""Freed memory, seeds of initializers, and the names that NumPy dropped and imgaug finds."""

from __future__ import annotations

import platform
import subprocess
import sys

import keras
import numpy as np
import pytest

from mrcnn import process

RESIDENT_MB_AFTER_FREEING_256 = """
import numpy as np
from mrcnn.process import keep_freed_memory, returning_memory
if {keep}:
    assert keep_freed_memory() and keep_freed_memory()
def step():
    array = np.ones(256 << 20, np.uint8)
if {returned}:
    step = returning_memory(step)
for _ in range({calls}):
    step()
resident = next(line for line in open("/proc/self/status") if line.startswith("VmRSS"))
print(int(resident.split()[1]) >> 10)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has mallopt")
@pytest.mark.parametrize(
    ("keep", "returned", "calls", "stays"),
    [
        (False, False, 1, False),
        (True, False, 1, True),
        (True, True, 1, False),  # the first call traces
        (True, True, 2, True),  # later ones find their memory again
    ],
)
def test_freed_memory_stays_with_the_process_when_asked(keep, returned, calls, stays):
    code = RESIDENT_MB_AFTER_FREEING_256.format(keep=keep, returned=returned, calls=calls)
    resident = int(subprocess.run([sys.executable, "-c", code], check=True, stdout=-1).stdout)
    assert (resident >= 256) == stays


def test_seeded_initializers_draw_what_they_draw_after_a_global_seed():
    def draw() -> np.ndarray:
        return keras.ops.convert_to_numpy(keras.initializers.GlorotUniform()((3, 4)))

    process.set_random_seed(7)
    expected = draw()
    process.set_random_seed(1)
    with process.seeded_initializers(7):
        np.testing.assert_array_equal(draw(), expected)
    after = draw()
    process.set_random_seed(1)
    np.testing.assert_array_equal(draw(), after)


def test_names_are_not_restored_without_imgaug(monkeypatch):
    monkeypatch.setattr(process, "find_spec", lambda name: None)
    monkeypatch.delitem(vars(np), "sctypes", raising=False)
    process.restore_numpy_names()
    assert not hasattr(np, "sctypes")


def test_names_are_restored_for_imgaug_and_those_that_exist_stay(monkeypatch):
    monkeypatch.setattr(process, "find_spec", lambda name: object())
    monkeypatch.delitem(vars(np), "sctypes", raising=False)
    monkeypatch.setitem(vars(np), "complex", "mine")
    process.restore_numpy_names()
    assert np.float32 in np.sctypes["float"] and np.uint8 in np.sctypes["uint"]
    assert np.complex == "mine"
    monkeypatch.delitem(vars(np), "sctypes")
