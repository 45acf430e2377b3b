"""The allocator keeps what was freed."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

RESIDENT_MB_AFTER_FREEING_256 = """
import numpy as np
from mrcnn.host_memory import keep_freed_memory
if {keep}:
    assert keep_freed_memory() and keep_freed_memory()
array = np.ones(256 << 20, np.uint8)
del array
resident = next(line for line in open("/proc/self/status") if line.startswith("VmRSS"))
print(int(resident.split()[1]) >> 10)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has mallopt")
@pytest.mark.parametrize("keep", [False, True])
def test_freed_memory_stays_with_the_process_when_asked(keep):
    code = RESIDENT_MB_AFTER_FREEING_256.format(keep=keep)
    resident = int(subprocess.run([sys.executable, "-c", code], check=True, stdout=-1).stdout)
    assert (resident >= 256) == keep
