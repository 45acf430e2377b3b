"""The arms of a comparison: settings by name, those of the paper's experiments among them.

Numbers of tables and sections are those of arXiv 1809.07069.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

BASELINE = "baseline"
Settings = dict[str, Any]

_SOBEL = {"EDGE_LOSS_FILTERS": ("sobel-x", "sobel-y")}


def _norm(p: str) -> Settings:
    return {**_SOBEL, "EDGE_LOSS_NORM": p}


def _factor(alpha: float) -> Settings:
    return {**_SOBEL, "EDGE_LOSS_WEIGHT_FACTOR": alpha}


ARMS: dict[str, Settings] = {
    BASELINE: {},
    "sobel-l2": _SOBEL,
    # Filters
    "prewitt-l2": {"EDGE_LOSS_FILTERS": ("prewitt-x", "prewitt-y")},
    "roberts-l2": {"EDGE_LOSS_FILTERS": ("roberts-x", "roberts-y")},
    "kayyali-l2": {"EDGE_LOSS_FILTERS": ("kayyali-senw", "kayyali-nesw")},
    "laplace-l2": {"EDGE_LOSS_FILTERS": ("laplace",)},
    "laplace-4-l2": {"EDGE_LOSS_FILTERS": ("laplace-4",)},
    "sobel+laplace-l2": {"EDGE_LOSS_FILTERS": ("sobel-x", "sobel-y", "laplace")},
    # The exponent p
    "sobel-l1": _norm("l1"),
    "sobel-l3": _norm("l3"),
    "sobel-l4": _norm("l4"),
    "sobel-l5": _norm("l5"),
    # The factor alpha
    "sobel-l2-alpha-0.5": _factor(0.5),
    "sobel-l2-alpha-8": _factor(8.0),
    "sobel-l2-alpha-16": _factor(16.0),
    "sobel-l4-alpha-0.0625": {**_norm("l4"), "EDGE_LOSS_WEIGHT_FACTOR": 0.0625},
    # Smoothing
    "sobel-l2-smooth-truth": {**_SOBEL, "EDGE_LOSS_SMOOTHING_GT": True},
    "sobel-l2-smooth-prediction": {**_SOBEL, "EDGE_LOSS_SMOOTHING_PREDICTIONS": True},
    "sobel-l2-smooth-both": {
        **_SOBEL,
        "EDGE_LOSS_SMOOTHING_GT": True,
        "EDGE_LOSS_SMOOTHING_PREDICTIONS": True,
    },
    # Masks of 56 x 56
    "baseline-56": {"MASK_SHAPE": (56, 56)},
    "sobel-l2-56": {**_SOBEL, "MASK_SHAPE": (56, 56)},
    # Section 5.6
    "sobel-l2-magnitude": {**_SOBEL, "EDGE_LOSS_MAGNITUDE": True},
    # Figure 3: no filter of its own, but what the two responses come to together
    "sobel-magnitude-l2": {**_SOBEL, "EDGE_LOSS_MAGNITUDE": "only"},
    "sobel-l2-entropy-product": {**_SOBEL, "EDGE_LOSS_WEIGHT_ENTROPY": "product"},
    "sobel-l2-entropy-exp": {
        **_SOBEL,
        "EDGE_LOSS_WEIGHT_ENTROPY": "exp",
        "EDGE_LOSS_ENTROPY_DIVISOR": 4.0,
    },
    "baseline-uncertainty": {"UNCERTAINTY_WEIGHTING": True},
    "sobel-l2-uncertainty": {**_SOBEL, "UNCERTAINTY_WEIGHTING": True},
    # The paper's future work: the losses balanced by their gradients (Chen et al. 2018)
    "baseline-gradnorm": {"GRADNORM_ALPHA": 1.5},
    "sobel-l2-gradnorm": {**_SOBEL, "GRADNORM_ALPHA": 1.5},
}

# Control arms, without a setting of their own: the mask loss gets a factor, by which the gradients
# are as large as those of the arm named here. It is measured: `mrcnn.ablation.matching`.
MATCHED = {"mask-loss-matched": "sobel-l2"}

# Each begins with what the others are compared with.
GRIDS: dict[str, tuple[str, ...]] = {
    "short": (BASELINE, "sobel-l2", "laplace-l2", "sobel-l1"),
    "filters": (
        *(BASELINE, "sobel-l2", "prewitt-l2", "kayyali-l2", "roberts-l2"),
        *("laplace-l2", "sobel+laplace-l2"),
    ),
    "norms": (BASELINE, "sobel-l1", "sobel-l2", "sobel-l3", "sobel-l4"),
    "factors": (
        *(BASELINE, "sobel-l2-alpha-0.5", "sobel-l2", "sobel-l2-alpha-8"),
        *("sobel-l2-alpha-16", "sobel-l4-alpha-0.0625"),
    ),
    "smoothing": (
        *(BASELINE, "sobel-l2", "sobel-l2-smooth-truth"),
        *("sobel-l2-smooth-prediction", "sobel-l2-smooth-both"),
    ),
    "masks": (BASELINE, "sobel-l2", "baseline-56", "sobel-l2-56"),
    "masks-56": ("baseline-56", "sobel-l2-56"),
    "variants": (
        *(BASELINE, "sobel-l2", "sobel-l2-magnitude", "sobel-l2-entropy-product"),
        *("sobel-magnitude-l2", "sobel-l2-entropy-exp"),
        *("baseline-uncertainty", "sobel-l2-uncertainty"),
    ),
    "weighting": (
        *(BASELINE, "baseline-uncertainty", "baseline-gradnorm"),
        *("sobel-l2", "sobel-l2-uncertainty", "sobel-l2-gradnorm"),
    ),
}


def choose_arms(
    names: Sequence[str], own: Mapping[str, Settings] | None = None
) -> dict[str, Settings]:
    """The settings of some arms, in the order given.

    Args:
        names: of `ARMS`, `MATCHED` or `own`.
        own: arms of the user's.

    Raises:
        ValueError: an unknown name, or one that is given twice.
    """
    known = {**ARMS, **{name: {} for name in MATCHED}, **(own or {})}
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3)
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            raise ValueError(f"arm {name!r} is unknown.{hint} Valid: {', '.join(known)}.")
        if list(names).count(name) > 1:
            raise ValueError(f"arm {name!r} is named more than once; name it once.")
    return {name: dict(known[name]) for name in names}
