"""The table that a training writes: a row an epoch, in which the best one so far is marked.

The losses of the validation, part by part, are in `losses.csv`; here is their sum.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MARK = "*"
# The parts of the loss; on a narrow terminal they are left out.
PARTS = {
    "rpn_class_loss": "rpn class",
    "rpn_bbox_loss": "rpn box",
    "mrcnn_class_loss": "class",
    "mrcnn_bbox_loss": "box",
    "mrcnn_mask_loss": "mask",
    "mrcnn_mask_edge_loss": "edge",
}
VALIDATION = {
    "val_loss": "val loss",
    "val_accuracy": "val accuracy",
    "val_segm_AP": "mask AP",
    "val_bbox_AP": "box AP",
}
_LEAST_WIDTH = 8
_BEST_WIDTH = 18


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
        text: of the line.
        best: whether this epoch is the best one so far.
        header: whether it holds the names of the columns.
    """

    text: str
    best: bool = False
    header: bool = False


class EpochTable:
    """Makes the lines of the table; the names of the columns come again where they change.

    Args:
        last_epoch: number of the last epoch of the run, from 1.
        metric: by which the best epoch is chosen: `CHECKPOINT_METRIC`.
        width: columns of the screen.
    """

    def __init__(self, last_epoch: int, metric: str, width: int) -> None:
        self._last_epoch, self._metric, self._width = last_epoch, metric, width
        self._columns: dict[str, str] = {}

    def rows(
        self, epoch: int, logs: Mapping[str, float], best: Mapping[str, Any] | None, time: str
    ) -> list[Row]:
        """The lines of an epoch: its values, and above them the names where these are new.

        Args:
            epoch: from 1 on.
            logs: losses and metrics of the epoch; NaN: not evaluated.
            best: "metric", "value" and "epoch" of the best one so far; None: there is none.
            time: that the epoch took, in words.
        """
        columns, found = self._columns_of(logs), []
        if columns != self._columns:
            self._columns = columns
            found.append(Row(self._header(), header=True))
        of_metric = best if best is not None and best.get("metric") == self._metric else None
        is_best = of_metric is not None and of_metric.get("epoch") == epoch
        cells = [
            _cell(logs[name], title) + (MARK if is_best and name == self._metric else " ")
            for name, title in columns.items()
        ]
        first = f"{f'{epoch}/{self._last_epoch}':>9}"
        line = f"{first} {''.join(cells)} {_best_text(of_metric):>{_BEST_WIDTH}}  {time}"
        return [*found, Row(line.rstrip(), best=is_best)]

    def _header(self) -> str:
        titles = "".join(f"{title:>{_width(title)}} " for title in self._columns.values())
        return f"{'epoch':>9} {titles} {'best so far':>{_BEST_WIDTH}}  time"

    def _columns_of(self, logs: Mapping[str, float]) -> dict[str, str]:
        names = {"loss": "loss", **PARTS}
        own = [name for name in logs if name not in names and not name.startswith("val_")]
        names |= {name: name for name in own}  # a callback's, such as learning_rate
        names |= VALIDATION
        names.setdefault(self._metric, self._metric)
        shown = {name: title for name, title in names.items() if name in logs}
        if sum(_width(title) + 1 for title in shown.values()) + _BEST_WIDTH + 20 > self._width:
            left_out = PARTS.keys() - {self._metric}
            shown = {name: title for name, title in shown.items() if name not in left_out}
        return shown


def _width(title: str) -> int:
    return max(_LEAST_WIDTH, len(title))


def _cell(value: float, title: str) -> str:
    return f"{_number(value):>{_width(title)}}"


def _number(value: float) -> str:
    value = float(value)
    if not math.isfinite(value):
        return "-" if math.isnan(value) else str(value)
    if value and not 1e-3 <= abs(value) < 1e4:
        return f"{value:.2e}"
    return f"{value:.4f}"


def _best_text(best: Mapping[str, Any] | None) -> str:
    if best is None or "epoch" not in best:
        return "-"
    return f"{_number(best['value'])} in {best['epoch']}"
