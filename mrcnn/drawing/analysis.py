"""The analysis of a detector's errors as a page: curves, the confusion matrix, what errors cost.

Shape letters: C classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from mrcnn.drawing.pages import DPI, save_figure
from mrcnn.evaluation.errors import KINDS, Cost, Curve

FIGURE_INCHES = (11, 9)
# More classes than these have no curve of their own, and no row: the worst ones have.
MAX_CURVES, MAX_ROWS = 10, 20
_ALL_COLOR = "black"


def analysis_page(
    path: str | PathLike[str],
    curves: Mapping[str, Curve],
    together: Curve,
    confusion: np.ndarray,
    costs: Mapping[str, Cost],
    iou: float,
) -> Path:
    """Save a page of four panels.

    Args:
        path: the PNG.
        curves: by the name of the class.
        together: of all classes.
        confusion: int [C + 1, C + 1], in the order of `curves`; see
            `mrcnn.evaluation.errors.confusion`.
        costs: by kind of error.
        iou: of the matching.

    Returns:
        `path`.
    """
    figure = Figure(
        figsize=FIGURE_INCHES,
        dpi=DPI,
        facecolor="white",
        layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1),
    )
    axes = [figure.add_subplot(2, 2, number) for number in (1, 2, 3, 4)]
    shown = _worst(curves)
    _draw_precision(axes[0], curves, shown, together, iou)
    _draw_f1(axes[1], curves, shown, together)
    _draw_confusion(axes[2], list(curves), confusion, together.best_score)
    _draw_costs(axes[3], costs, iou)
    return save_figure(figure, path)


def _worst(curves: Mapping[str, Curve]) -> list[str]:
    """The classes that are drawn: those with objects, of many those of the lowest AP."""
    names = [name for name, curve in curves.items() if curve.objects]
    if len(names) <= MAX_CURVES:
        return names
    return sorted(names, key=lambda name: curves[name].average_precision)[:MAX_CURVES]


def _draw_precision(
    ax: Axes, curves: Mapping[str, Curve], shown: Sequence[str], together: Curve, iou: float
) -> None:
    for name in shown:
        curve = curves[name]
        label = f"{_short(name)}, AP{100 * iou:.0f} {curve.average_precision:.3f}"
        ax.step(*_padded(curve), where="pre", lw=1.2, label=label)
    if len(shown) > 1:
        ax.step(*_padded(together), where="pre", lw=2, color=_ALL_COLOR, label="all together")
    worst = f" (the {len(shown)} classes of the lowest AP)" if len(shown) < len(curves) else ""
    ax.set_title(f"Precision and recall, masks, IoU {iou:g}{worst}", loc="left", fontsize=10)
    _label(ax, "recall", "precision")


def _padded(curve: Curve) -> tuple[np.ndarray, np.ndarray]:
    """The curve from recall 0 on."""
    first = curve.precision[:1] if len(curve.precision) else np.zeros(1)
    recall = np.concatenate([[0.0], curve.recall])
    return recall, np.concatenate([first, curve.precision])


def _draw_f1(ax: Axes, curves: Mapping[str, Curve], shown: Sequence[str], together: Curve) -> None:
    for name in shown:
        curve = curves[name]
        label = f"{_short(name)}, best from {curve.best_score:.2f}"
        ax.plot(curve.scores, curve.f1, lw=1.2, label=label)
    if len(shown) > 1:
        best = f"all together, best from {together.best_score:.2f}"
        ax.plot(together.scores, together.f1, lw=2, color=_ALL_COLOR, label=best)
    ax.axvline(together.best_score, color="0.4", linestyle=":", lw=1)
    ax.set_title("F1 of the detections from a score on", loc="left", fontsize=10)
    _label(ax, "score", "F1")


def _label(ax: Axes, x: str, y: str) -> None:
    ax.set_xlabel(x, fontsize=9)
    ax.set_ylabel(y, fontsize=9)
    ax.set_xlim(0, 1.02)
    ax.set_ylim(0, 1.02)
    ax.grid(True, color="0.9", lw=0.6)
    ax.set_axisbelow(True)
    if ax.get_lines():
        ax.legend(fontsize=8, loc="lower left", framealpha=0.8)


def _draw_confusion(ax: Axes, names: Sequence[str], counts: np.ndarray, score: float) -> None:
    """The confusion matrix; of many classes those that are confused or missed most."""
    rows = np.arange(len(names))
    wrong = counts[:-1].sum(axis=1) - np.diag(counts)[:-1]
    if len(names) > MAX_ROWS:
        rows = np.sort(np.argsort(-wrong, kind="stable")[:MAX_ROWS])
    order = [*rows.tolist(), len(names)]
    table = counts[np.ix_(order, order)]
    shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    labels = [*(_short(names[row]) for row in rows.tolist()), "background"]
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    ax.set_xticks(range(len(labels)), labels, fontsize=8, rotation=45, ha="right")
    ax.set_yticks(range(len(labels)), labels, fontsize=8)
    ax.set_xlabel("detected as; background: missed", fontsize=9)
    ax.set_ylabel("object; background: none", fontsize=9)
    for row, column in np.argwhere(table > 0).tolist():
        color = "white" if shares[row, column] > 0.5 else "black"
        ax.text(
            column, row, str(table[row, column]), ha="center", va="center", fontsize=8, color=color
        )
    some = f", the {MAX_ROWS} classes with most errors" if len(names) > MAX_ROWS else ""
    ax.set_title(f"Objects and detections from {score:.2f} on{some}", loc="left", fontsize=10)


def _draw_costs(ax: Axes, costs: Mapping[str, Cost], iou: float) -> None:
    values = [100 * costs[kind].ap for kind in KINDS]
    bars = ax.barh(range(len(KINDS)), values, color="tab:orange")
    ax.set_yticks(range(len(KINDS)), KINDS, fontsize=9)
    ax.invert_yaxis()
    labels = [
        f" {value:.1f}  ({costs[kind].number})" for kind, value in zip(KINDS, values, strict=True)
    ]
    ax.bar_label(bars, labels, fontsize=8)
    ax.set_xlim(0, max(1.0, 1.25 * max(values)))
    ax.set_xlabel(
        f"points of AP{100 * iou:.0f} that these errors cost (number of them)", fontsize=9
    )
    ax.set_title("What the errors cost, each kind alone", loc="left", fontsize=10)


def _short(name: str) -> str:
    """A class's name as a label: not too long, and no mathematics of Matplotlib's."""
    text = name if len(name) <= 18 else f"{name[:17]}…"
    return text.replace("$", r"\$").lstrip("_") or "class"
