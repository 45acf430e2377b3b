"""What the Edge Agreement Head computes with, as one checked value. Plain Python, without Keras."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from mrcnn.ops.edge_filters import (
    ENTROPY_DIVISOR,
    check_factor,
    gradient_pairs,
    parse_magnitude,
    parse_norm,
    parse_weight_entropy,
    resolve_filters,
)


@dataclasses.dataclass(frozen=True)
class EdgeSettings:
    """The settings of the edge agreement loss; see `mrcnn.ops.edges.roi_edge_agreement`.

    Args:
        filters: a name or names of `mrcnn.ops.edge_filters.FILTERS` or `SHORTHANDS`; kept as the
            names of FILTERS that they stand for.
        norm: the exponent p, `"l1"` … `"l5"` or a number from 1 to 100.
        weight_factor: the paper's alpha.
        smoothing_gt: convolve the target masks with a 3x3 Gaussian first.
        smoothing_predictions: convolve the predicted masks likewise.
        weight_entropy: False; or weight the pixels' binary cross entropy by the edge error itself
            (`"product"`) or by its exponential (`"exp"`, or True).
        entropy_divisor: of the exponent, 16 in the published code, 4 in the paper.
        magnitude: compare the gradient magnitude too, or it alone (`"only"`); needs an x/y pair of
            filters.

    Raises:
        ValueError: a setting is not valid.

    >>> EdgeSettings("sobel", norm="l1").filters
    ('sobel-x', 'sobel-y')
    >>> EdgeSettings(norm="l1") == EdgeSettings(["sobel-x", "sobel-y"], "l1")
    True
    """

    filters: str | Sequence[str] = "sobel"
    norm: str | float = "l2"
    weight_factor: float = 1.0
    smoothing_gt: bool = False
    smoothing_predictions: bool = False
    weight_entropy: bool | str = False
    entropy_divisor: float = ENTROPY_DIVISOR
    magnitude: bool | str = False

    def __post_init__(self) -> None:
        parse_norm(self.norm)
        parse_weight_entropy(self.weight_entropy)
        self._set(
            filters=resolve_filters(self.filters),
            weight_factor=check_factor("weight_factor", self.weight_factor),
            entropy_divisor=check_factor("entropy_divisor", self.entropy_divisor, above_zero=True),
            smoothing_gt=bool(self.smoothing_gt),
            smoothing_predictions=bool(self.smoothing_predictions),
        )
        if not isinstance(self.magnitude, str):  # True of NumPy, or 1
            self._set(magnitude=bool(self.magnitude))
        if parse_magnitude(self.magnitude):
            gradient_pairs(self.filters)

    def _set(self, **values: Any) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)  # a frozen dataclass has no other way

    @property
    def exponent(self) -> float:
        """The exponent p as a number."""
        return parse_norm(self.norm)

    @property
    def entropy_weighting(self) -> str | None:
        """None, `"product"` or `"exp"`."""
        return parse_weight_entropy(self.weight_entropy)

    def to_dict(self) -> dict[str, Any]:
        """The settings by name, as JSON can hold them; `EdgeSettings(**…)` makes them again."""
        return {**dataclasses.asdict(self), "filters": list(self.filters)}


DEFAULT_EDGE_SETTINGS = EdgeSettings()
