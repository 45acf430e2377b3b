"""What was loaded, skipped and missing, and the error when nothing could be loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Shapes = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class WeightsReport:
    """What `load_weights` did, layer by layer. `str()` gives a short summary.

    Attributes:
        path: the file.
        loaded: layers that got their weights from the file.
        skipped: layers of the file that the model lacks.
        missing: layers of the model that the file lacks; they keep their values.
        mismatched: (name, expected shapes, found shapes); only in the report of an error.
        excluded: layers of the model that `exclude` kept as they are.
        unknown_excluded: names in `exclude` that neither the model nor the file has.
    """

    path: str
    loaded: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    mismatched: tuple[tuple[str, Shapes, Shapes], ...] = ()
    excluded: tuple[str, ...] = ()
    unknown_excluded: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = [f"{self.path}: {count_layers(self.loaded)} loaded"]
        for names, meaning in (
            (self.skipped, "in the file only"),
            (self.missing, "in the model only"),
            (tuple(name for name, _, _ in self.mismatched), "of another shape"),
            (self.excluded, "excluded"),
            (self.unknown_excluded, "in `exclude` but nowhere else"),
        ):
            if names:
                parts.append(f"{count_layers(names)} {meaning} ({abbreviate(names)})")
        return "; ".join(parts)


class WeightsError(ValueError):
    """Weights that cannot be loaded. `report` says what was compared, where anything was."""

    def __init__(self, message: str, report: WeightsReport | None = None) -> None:
        super().__init__(message)
        self.report = report


def count_layers(names: Sequence[str]) -> str:
    """Their number as text: "1 layer", "4 layers"."""
    return f"{len(names)} layer" + ("" if len(names) == 1 else "s")


def abbreviate(names: Sequence[str], limit: int = 4) -> str:
    """The first names, with "…" for the others."""
    return ", ".join(names[:limit]) + (", …" if len(names) > limit else "")
