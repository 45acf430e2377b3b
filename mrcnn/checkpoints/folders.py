"""Log folders and checkpoint files: Matterport's names, made, read and found.

A run writes into ``MODEL_DIR/<name><YYYYMMDDTHHMM>/``, or, when it has a run name, into
``MODEL_DIR/<name>_<run>_<YYYYMMDDTHHMM>/``; the next runs of the same minute append ``-2``, ``-3``
and so on. Its weights after an epoch are ``mask_rcnn_<name>_<epoch:04d>.h5``. `<name>` is the
lower-cased `Config.NAME`. The exact states of training (`mrcnn.checkpoints.state_file`) are beside
them, as ``step_<step:08d>.state``.
Paths are returned as `str`, as scripts that join them expect.
"""

from __future__ import annotations

import datetime
import itertools
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from mrcnn.checkpoints.losses_file import LOSSES_FILE
from mrcnn.files.atomic import atomic_path
from mrcnn.files.lock import FolderLock, FolderTakenError

DATE_FORMAT = "%Y%m%dT%H%M"
# Epochs are counted from 1 and written with four digits, or more when they need them.
_CHECKPOINT_FILE = re.compile(r"mask_rcnn_.+_(?P<epoch>\d{4,})\.h5")
_STATE_FILE = re.compile(r"step_(?P<step>\d{8,})\.state")
_DATE_AND_NUMBER = r"(?P<date>\d{8}T\d{4})(?:-(?P<number>\d+))?"
_DATED_FOLDER = re.compile(rf"(?P<prefix>.+?){_DATE_AND_NUMBER}")
_SEPARATORS = re.compile(r"[/\\]+")  # a path may come from another system


def new_log_dir(
    model_dir: str | os.PathLike[str],
    name: str | None,
    run_name: str | None = None,
    now: datetime.datetime | None = None,
) -> str:
    """Return the log folder of a run that starts `now`. Creates nothing.

    Args:
        model_dir: the folder of all runs.
        name: `Config.NAME`; lower-cased.
        run_name: `Config.RUN_NAME`, kept as it is written.
        now: the start of the run; the current local time by default.

    Raises:
        ValueError: if `name` is None, or `name` or `run_name` cannot be part of a folder's name.
    """
    date = (now or datetime.datetime.now()).strftime(DATE_FORMAT)
    return os.path.join(os.fspath(model_dir), _folder_prefix(name, run_name) + date)


def claim_new(log_dir: str | os.PathLike[str]) -> tuple[str, FolderLock]:
    """Take a log folder for a new run, or the next free one when another run has taken it.

    A folder is taken while somebody holds its lock, and once a run has written into it.

    Args:
        log_dir: of `new_log_dir`.

    Returns:
        (the folder, which exists now; its lock)
    """
    first = os.fspath(log_dir)
    for number in itertools.count(1):
        folder = first if number == 1 else f"{first}-{number}"
        try:
            lock = FolderLock(folder)
        except FolderTakenError:
            continue
        if not (states_in(folder) or epochs_in(folder) or Path(folder, LOSSES_FILE).exists()):
            return folder, lock
        del lock
    raise AssertionError("itertools.count ends")


def checkpoint_path(log_dir: str | os.PathLike[str], name: str | None, epoch: int) -> str:
    """Return the weights file of `epoch` (from 1) in a log folder."""
    if epoch < 0:
        raise ValueError(f"epoch: expected a number of at least 0; received {epoch}.")
    return os.path.join(os.fspath(log_dir), f"mask_rcnn_{_key(name)}_{epoch:04d}.h5")


def checkpoint_template(log_dir: str | os.PathLike[str], name: str | None) -> str:
    """Return the path of the weights files in a log folder, with "{epoch:04d}" for the epoch."""
    return os.path.join(os.fspath(log_dir), f"mask_rcnn_{_key(name)}_{{epoch:04d}}.h5")


def parse_checkpoint_path(
    path: str | os.PathLike[str],
) -> tuple[str, int, datetime.datetime] | None:
    r"""Take the path of a checkpoint apart.

    The separators may be ``/`` or ``\``, whatever system this runs on.

    Returns:
        (log folder, epoch, start of the run), or None when the file does not lie in a log folder
        or is not named as a checkpoint: weights from elsewhere, which begin a new run.
    """
    text = os.fspath(path)
    separators = list(_SEPARATORS.finditer(text))
    if not separators:
        return None
    log_dir, file_name = text[: separators[-1].start()], text[separators[-1].end() :]
    file_match = _CHECKPOINT_FILE.fullmatch(file_name)
    folder_match = _DATED_FOLDER.fullmatch(_SEPARATORS.split(log_dir)[-1])
    date = _parse_date(folder_match["date"]) if folder_match else None
    if file_match is None or date is None:
        return None
    return log_dir, int(file_match["epoch"]), date


def find_last(
    model_dir: str | os.PathLike[str], name: str | None, run_name: str | None = None
) -> str:
    """Return the newest checkpoint of a configuration.

    The newest folder (by the date in its name) that holds a checkpoint, and there the one of the
    highest epoch. Folders without a checkpoint are passed over. Only folders of exactly this name
    and run name count: "shape" does not find the runs of "shapes", nor those with a run name.

    Raises:
        FileNotFoundError: if there is none; the message says what was looked for, and where.
    """
    folder, _ = _newest_folder(model_dir, name, run_name, epochs_in)
    return last_checkpoint(folder)


def find_newest(model_dir: str | os.PathLike[str]) -> str:
    """Return the newest checkpoint of the newest run, whatever its name.

    Raises:
        FileNotFoundError: there is none; the message says where it was looked for.
    """
    root = Path(model_dir)
    runs = [entry.name for entry in root.iterdir() if entry.is_dir()] if root.is_dir() else []
    dated = {name: match for name in runs if (match := re.search(f"{_DATE_AND_NUMBER}$", name))}
    newest_first = sorted(dated, key=lambda name: _start_of(dated[name].group()), reverse=True)
    for name in newest_first:
        if epochs_in(root / name):
            return last_checkpoint(root / name)
    raise FileNotFoundError(
        f"{root}: expected the folder of a run with weights, mask_rcnn_*_<epoch>.h5; found none. "
        "Give a weights file, or the folder of a run, with --model."
    )


def find_last_run(
    model_dir: str | os.PathLike[str], name: str | None, run_name: str | None = None
) -> str:
    """Return the newest log folder of a configuration that holds a checkpoint or a state.

    Raises:
        FileNotFoundError: if there is none; the message says what was looked for, and where.
    """
    folder, _ = _newest_folder(
        model_dir, name, run_name, lambda folder: states_in(folder) or epochs_in(folder)
    )
    return folder


def state_path(log_dir: str | os.PathLike[str], step: int) -> str:
    """Return the state file of a step (the number of steps done) in a log folder."""
    return os.path.join(os.fspath(log_dir), f"step_{step:08d}.state")


def states_in(log_dir: str | os.PathLike[str]) -> dict[int, str]:
    """Return the names of the state files in a log folder by their steps; {} without a folder."""
    return _numbered(log_dir, _STATE_FILE)


def epochs_in(log_dir: str | os.PathLike[str]) -> dict[int, str]:
    """Return the names of the weights files in a log folder by their epochs."""
    return _numbered(log_dir, _CHECKPOINT_FILE)


def last_checkpoint(log_dir: str | os.PathLike[str]) -> str:
    """Return the weights file of the highest epoch in a log folder.

    Raises:
        FileNotFoundError: there is none.
    """
    epochs = epochs_in(log_dir)
    if not epochs:
        raise FileNotFoundError(f"No checkpoint mask_rcnn_*_<epoch>.h5 in {os.fspath(log_dir)}.")
    return os.path.join(os.fspath(log_dir), epochs[max(epochs)])


def keep_best(log_dir: str | os.PathLike[str], name: str | None, epoch: int) -> str | None:
    """Make `mask_rcnn_<name>_best.h5` the weights file of an epoch; None where that is missing.

    A second name of the same file where the disk has such, otherwise a copy.
    """
    source = checkpoint_path(log_dir, name, epoch)
    best = os.path.join(os.fspath(log_dir), f"mask_rcnn_{_key(name)}_best.h5")
    if not os.path.exists(source):
        return None
    with atomic_path(best) as temporary:
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)
    return best


def weights_of(path: str | os.PathLike[str]) -> str:
    """Return a weights file: the one that was given, or the newest in the folder of a run.

    Raises:
        FileNotFoundError: there is nothing, or a folder without weights; the message says what is
            there.
    """
    text = os.fspath(path)
    if os.path.isdir(text):
        if epochs_in(text):
            return last_checkpoint(text)
        runs = sorted(name for name in os.listdir(text) if epochs_in(os.path.join(text, name)))
        there = f"it holds the runs {', '.join(runs[-4:])}: name one" if runs else "it has none"
        raise FileNotFoundError(
            f"{text}: expected a weights file, or the folder of a run with mask_rcnn_*_<epoch>.h5; "
            f"{there}."
        )
    if not os.path.exists(text):
        raise FileNotFoundError(
            f"{text}: expected a weights file, or the folder of a run; it does not exist."
        )
    return text


def remove_unfinished(log_dir: str | os.PathLike[str]) -> list[str]:
    """Remove what `atomic_path` leaves in a log folder when the process is killed in a write.

    Only for a folder that no other process writes to. Returns the names of the files.
    """
    unfinished = sorted(Path(log_dir).glob("*.part"))
    for path in unfinished:
        path.unlink()
    return [path.name for path in unfinished]


def _numbered(folder: str | os.PathLike[str], pattern: re.Pattern[str]) -> dict[int, str]:
    """File names by the number that is the pattern's only group."""
    if not os.path.isdir(folder):
        return {}
    found = (pattern.fullmatch(name) for name in os.listdir(folder))
    return {int(match[1]): match.string for match in found if match}


def _newest_folder(
    model_dir: str | os.PathLike[str],
    name: str | None,
    run_name: str | None,
    files_in: Callable[[str], dict[int, str]],
) -> tuple[str, dict[int, str]]:
    """The newest log folder in which `files_in` finds files, and these."""
    root, prefix = Path(model_dir), _folder_prefix(name, run_name)
    wanted = f"{prefix}<YYYYMMDDTHHMM>/mask_rcnn_*_<epoch>.h5"
    if not root.is_dir():
        raise FileNotFoundError(f"No checkpoint {wanted}: the folder {root} does not exist.")
    folders = sorted(entry.name for entry in root.iterdir() if entry.is_dir())
    own = [folder for folder in folders if _belongs(folder, prefix)]
    own.sort(key=lambda folder: _start_of(folder[len(prefix) :]))
    for folder in reversed(own):
        if files := files_in(str(root / folder)):
            return str(root / folder), files
    seen = f"{len(own)} such folders hold no checkpoint" if own else "no such folder"
    others = ", ".join(folder for folder in folders[-3:] if folder not in own)
    raise FileNotFoundError(
        f"No checkpoint {wanted} in {root}: {seen}"
        + (f"; other folders there: {others}" if others else "")
        + ". Check NAME, RUN_NAME and the model folder, or give the path of a weights file."
    )


def _key(name: str | None) -> str:
    """The part of the names of folders and files that `Config.NAME` gives."""
    if not name or _SEPARATORS.search(name):
        raise ValueError(
            f"NAME: expected a text without path separators, which names the log folder; "
            f"received {name!r}. Set NAME in your Config."
        )
    return name.lower()


def _folder_prefix(name: str | None, run_name: str | None) -> str:
    if not run_name:
        return _key(name)
    if _SEPARATORS.search(run_name):
        raise ValueError(f"RUN_NAME: expected no path separators; received {run_name!r}.")
    return f"{_key(name)}_{run_name}_"


def _belongs(folder: str, prefix: str) -> bool:
    return folder.startswith(prefix) and bool(_start_of(folder[len(prefix) :]))


def _start_of(text: str) -> tuple[str, int] | tuple[()]:
    """The (date, number within the minute) of the end of a folder's name; () if it is another."""
    match = re.fullmatch(_DATE_AND_NUMBER, text)
    if match is None or _parse_date(match["date"]) is None:
        return ()
    return match["date"], int(match["number"] or 1)


def _parse_date(text: str) -> datetime.datetime | None:
    try:
        return datetime.datetime.strptime(text, DATE_FORMAT)
    except ValueError:  # such as month 13
        return None
