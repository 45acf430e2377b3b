"""The losses of each epoch, a row each in a file beside the weights.

Epochs are counted from 1, as on the screen and in the names of the weights files. Keras's own
`CSVLogger` counts from 0: a file that has an epoch 0 is read as one of these.
"""

from __future__ import annotations

import contextlib
import csv
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from mrcnn.files import atomic
from mrcnn.logger import logger

LOSSES_FILE = "losses.csv"


def drop_losses(path: str | os.PathLike[str], epochs_done: int) -> None:
    """Take the rows of epochs after the `epochs_done`th, and half-written ones, out of a CSV.

    Those epochs are trained anew: their rows will come again. Lines that hold no epoch, as a
    disk leaves them that lost its power, are named and left out; a file without a header is
    renamed to `….damaged`, and a new one begins.
    """
    path = Path(path)
    if not path.is_file():
        return
    lines = path.read_bytes().decode(errors="replace").splitlines(keepends=True)
    if lines and not lines[0].startswith("epoch"):
        damaged = path.with_name(f"{path.name}.damaged")
        os.replace(path, damaged)
        logger.warning(
            f"{path}: expected a header that begins with 'epoch'; received {lines[0][:40]!r}. The "
            f"file is renamed to {damaged.name}; the losses of the epochs so far are there."
        )
        return
    kept, without_epoch = lines[:1], []
    from_zero = any(_epoch_of(line) == 0 for line in lines[1:])
    for number, line in enumerate(lines[1:], start=2):
        if not line.endswith("\n"):
            continue  # the process was killed while it wrote
        epoch = _epoch_of(line)
        if epoch is None:
            without_epoch.append(number)
        elif epoch + from_zero <= epochs_done:
            kept.append(f"{epoch + 1},{line.partition(',')[2]}" if from_zero else line)
    if without_epoch:
        logger.warning(
            f"{path}: expected rows that begin with the number of an epoch; lines "
            f"{', '.join(map(str, without_epoch))} do not, and are left out."
        )
    if kept != lines:
        with atomic.atomic_path(path) as temporary:
            Path(temporary).write_text("".join(kept), encoding="utf-8", newline="")


def is_metric(name: str) -> bool:
    """Whether a column holds COCO's metrics of a validation set, such as `val_segm_AP`."""
    return name.startswith("val_") and "_AP" in name


def read_losses_file(path: str | os.PathLike[str]) -> dict[str, list[float]]:
    """The columns `epoch`, from 1 on, `…loss`, and of metrics, of a CSV file with a header.

    Blank lines are passed over. Cells that are empty, missing or Keras's "NA" are NaN.

    Raises:
        ValueError: a cell is no number; the message names the file and the line.
    """
    with open(path, newline="", encoding="utf-8", errors="replace") as file:
        reader = csv.DictReader(file, restval="")
        names = [
            name
            for name in reader.fieldnames or ()
            if name == "epoch" or name.endswith("loss") or is_metric(name)
        ]
        columns: dict[str, list[float]] = {name: [] for name in names}
        for row in reader:
            for name in names:
                try:
                    value = float(row[name]) if row[name] not in ("", "NA") else math.nan
                except ValueError:
                    raise ValueError(
                        f"{os.fspath(path)}: line {reader.line_num}, column {name!r}: expected a "
                        f"number; received {row[name][:40]!r}. Remove the line."
                    ) from None
                columns[name].append(value)
    if 0 in columns.get("epoch", ()):
        columns["epoch"] = [epoch + 1 for epoch in columns["epoch"]]
    return columns


def append_losses(path: str | os.PathLike[str], epoch: int, logs: Mapping[str, float]) -> None:
    """Write the row of an epoch.

    The columns are those that are there; where a run has come to log more, the file gets them, and
    earlier rows are empty in them. What is not logged any more is left empty.

    Args:
        path: the CSV file; made where it is missing.
        epoch: from 1 on.
        logs: losses and metrics.
    """
    names = ["epoch", *sorted(logs)]
    with contextlib.suppress(FileNotFoundError), open(path, newline="", encoding="utf-8") as file:
        names = next(csv.reader(file), names)
    further = sorted(logs.keys() - set(names))
    if further:
        names = [*names, *further]
        _widen(path, names)
    is_new = not os.path.exists(path) or os.path.getsize(path) == 0
    with open(path, "a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, restval="")
        if is_new:
            writer.writeheader()
        values = {name: _cell(name, value) for name, value in logs.items()}
        writer.writerow({"epoch": epoch, **values})


def _cell(name: str, value: float) -> str | float:
    """A metric that was not computed in this epoch is empty."""
    return "" if is_metric(name) and math.isnan(value) else float(value)


def _widen(path: str | os.PathLike[str], names: Sequence[str]) -> None:
    """Write the file anew with more columns."""
    with open(path, newline="", encoding="utf-8", errors="replace") as file:
        rows = list(csv.DictReader(file, restval=""))
    with (
        atomic.atomic_path(path) as temporary,
        open(temporary, "w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, names, restval="", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


def _epoch_of(line: str) -> int | None:
    """The epoch of a row; None where a line is not one."""
    try:
        return None if "\0" in line else int(line.split(",")[0])
    except ValueError:
        return None
