"""What only Unix has is missed nowhere: every module is imported without it."""

from __future__ import annotations

import subprocess
import sys

# Run in a process of its own. The packages that the modules need come first, as themselves.
PROGRAM = """
import errno, importlib, os, pkgutil, signal, sys, tempfile, types

import h5py, keras, matplotlib.pyplot, PIL.Image, pycocotools.mask, scipy.ndimage, skimage.measure
import tensorboardX, tqdm, yaml
if keras.backend.backend() == "tensorflow":
    import tensorflow

for name in ("fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "syslog"):
    sys.modules[name] = None
for name in ("fork", "getuid", "geteuid", "getpgid", "killpg", "setsid", "sched_getaffinity",
             "sysconf", "statvfs", "pread", "uname", "getloadavg", "mkfifo"):
    if hasattr(os, name):
        delattr(os, name)
for name in ("SIGKILL", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGALRM", "SIGPIPE", "alarm", "setitimer"):
    if hasattr(signal, name):
        delattr(signal, name)
locked = set()

def locking(file, mode, count):
    key = os.fstat(file).st_ino
    if key in locked:
        raise OSError(errno.EACCES, "Permission denied")
    locked.add(key)

sys.modules["msvcrt"] = types.SimpleNamespace(locking=locking, LK_NBLCK=2)
sys.platform = "win32"

import mrcnn
from mrcnn.commands import cli

names = [module.name for module in pkgutil.walk_packages(mrcnn.__path__, "mrcnn.")]
for name in names:
    if not name.endswith("__main__"):
        importlib.import_module(name)
for command in cli.COMMANDS:
    try:
        cli.main([command, "--help"])
    except SystemExit as end:
        assert end.code == 0

from mrcnn.data.loader import available_workers
from mrcnn.files.atomic import write_json
from mrcnn.files.json_items import load_json_items
from mrcnn.files import lock

folder = tempfile.mkdtemp()
held = lock.FolderLock(folder)
lock._held.clear()  # as another process begins
try:
    lock.FolderLock(folder)
except lock.FolderTakenError as error:
    assert "writes into this folder" in str(error)
else:
    raise AssertionError("two processes write")
path = os.path.join(folder, "a.json")
write_json(path, {"annotations": [{"id": number} for number in range(50)]})
items = load_json_items(path, ["annotations"])["annotations"]
assert [item["id"] for item in items] == list(range(50))
assert available_workers() >= 1
print(len(names), "modules")
"""


def test_every_module_is_imported_without_what_only_unix_has():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-3000:]
    assert int(done.stdout.splitlines()[-1].split()[0]) > 200
