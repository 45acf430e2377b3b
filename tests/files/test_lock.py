"""A folder has one writer, and a dead one keeps nothing."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mrcnn.files import lock
from mrcnn.files.lock import FolderLock, FolderTakenError, lock_folder

HOLD = """
import sys, time
from mrcnn.files.lock import FolderLock
held = FolderLock(sys.argv[1])
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path):
    """Another process that holds the folder "run"."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_a_folder_of_another_process_is_taken_until_that_is_killed(tmp_path, holder):
    folder = tmp_path / "run"
    for take in (FolderLock, lock_folder):
        with pytest.raises(FolderTakenError, match=rf"run: process {holder.pid} on .* writes into"):
            take(folder)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert FolderLock(folder).folder == str(folder.resolve())


def test_a_lock_ends_with_its_last_holder(tmp_path):
    first = FolderLock(tmp_path / "run")
    second = lock_folder(tmp_path / "." / "run")
    assert second is first
    with pytest.raises(FolderTakenError, match="this process"):
        FolderLock(tmp_path / "run")
    del first
    gc.collect()
    with pytest.raises(FolderTakenError):
        FolderLock(tmp_path / "run")
    del second
    gc.collect()
    with FolderLock(tmp_path / "run"):
        pass


def test_a_disk_without_locks_is_said(tmp_path, monkeypatch, capsys):
    def fail(file: int) -> None:
        raise OSError(lock.errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock, "_lock_descriptor", fail)
    FolderLock(tmp_path)
    assert "this disk has no locks (" in capsys.readouterr().err


def test_an_error_that_is_no_lock_is_not_taken_for_one(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        FolderLock(tmp_path / "file")


def test_a_folder_that_was_made_for_a_lock_goes_with_it_if_nothing_is_in_it(tmp_path):
    held = FolderLock(tmp_path / "logs" / "run")
    assert (tmp_path / "logs" / "run").is_dir()
    del held
    gc.collect()
    assert list((tmp_path / "logs").iterdir()) == []
    with FolderLock(tmp_path / "logs" / "run") as held:
        (tmp_path / "logs" / "run" / "configuration.log").write_text("x")
    del held
    gc.collect()
    assert (tmp_path / "logs" / "run" / "configuration.log").is_file()


def test_a_folder_that_was_there_stays(tmp_path):
    (tmp_path / "run").mkdir()
    held = FolderLock(tmp_path / "run")
    del held
    gc.collect()
    assert (tmp_path / "run").is_dir()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_fork_does_not_remove_what_its_parent_holds(tmp_path):
    code = (
        "import os, sys\n"
        "from mrcnn.files.lock import FolderLock\n"
        "held = FolderLock(sys.argv[1])\n"
        "if child := os.fork():\n"
        "    assert os.waitpid(child, 0)[1] == 0\n"
        "    print(os.listdir(held.folder))\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "['.lock']\n"
    assert not (tmp_path / "run").exists()  # at the parent's own end


def test_a_lock_on_a_file_that_its_holder_has_just_removed_is_taken_again(tmp_path, monkeypatch):
    """Another process may remove folder and file between opening and locking."""
    lock_descriptor, calls = lock._lock_descriptor, []

    def remove_once(file: int) -> None:
        if not calls:
            (tmp_path / "run" / lock.LOCK_FILE).unlink()
            (tmp_path / "run").rmdir()
        calls.append(file)
        lock_descriptor(file)

    monkeypatch.setattr(lock, "_lock_descriptor", remove_once)
    held = FolderLock(tmp_path / "run")
    assert len(calls) == 2 and str(os.getpid()) in (tmp_path / "run" / ".lock").read_text()
    assert held.folder == str((tmp_path / "run").resolve())
