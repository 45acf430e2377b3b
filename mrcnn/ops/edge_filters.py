"""The edge filters and what the settings of the Edge Agreement Head may be.

After Zimmermann & Siems, *Faster Training of Mask R-CNN by Focusing on Instance Boundaries*
(arXiv 1809.07069). Plain Python: `mrcnn.config` checks its settings here without loading Keras.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from numbers import Real

# Cross-correlation kernels: they are applied as written, without a flip. An even kernel with
# SAME padding reaches down and to the right, which is the lower right corner of a 3x3 one.
SOBEL_X = ((1, 0, -1), (2, 0, -2), (1, 0, -1))  # the paper's S_x: change along x
SOBEL_Y = ((1, 2, 1), (0, 0, 0), (-1, -2, -1))  # the paper's S_y: change along y
PREWITT_X = ((1, 0, -1), (1, 0, -1), (1, 0, -1))
PREWITT_Y = ((1, 1, 1), (0, 0, 0), (-1, -1, -1))
ROBERTS_X = ((0, 0, 0), (0, 1, 0), (0, 0, -1))  # [[1, 0], [0, -1]]
ROBERTS_Y = ((0, 0, 0), (0, 0, -1), (0, 1, 0))  # [[0, -1], [1, 0]]
KAYYALI_SENW = ((6, 0, -6), (0, 0, 0), (-6, 0, 6))
KAYYALI_NESW = ((-6, 0, 6), (0, 0, 0), (6, 0, -6))  # the negative of the other
LAPLACE = ((1, 1, 1), (1, -8, 1), (1, 1, 1))  # equation 4, the one of the experiments
LAPLACE_4 = ((0, 1, 0), (1, -4, 1), (0, 1, 0))  # equation 3
# exp(-(x² + y²) / 2σ²) with σ = 1.0426, scaled to a sum of 1, in the digits of the published
# code. This is also a normal distribution of sigma 1 integrated over the areas of the pixels.
GAUSSIAN = (
    (0.0778470, 0.1233172, 0.0778470),
    (0.1233172, 0.1953460, 0.1233172),
    (0.0778470, 0.1233172, 0.0778470),
)

FILTERS = {
    "sobel-x": SOBEL_X,
    "sobel-y": SOBEL_Y,
    "prewitt-x": PREWITT_X,
    "prewitt-y": PREWITT_Y,
    "roberts-x": ROBERTS_X,
    "roberts-y": ROBERTS_Y,
    "kayyali-senw": KAYYALI_SENW,
    "kayyali-nesw": KAYYALI_NESW,
    "laplace": LAPLACE,
    "laplace-4": LAPLACE_4,
}
SHORTHANDS = {
    "sobel": ("sobel-x", "sobel-y"),
    "prewitt": ("prewitt-x", "prewitt-y"),
    "roberts": ("roberts-x", "roberts-y"),
    "kayyali": ("kayyali-senw", "kayyali-nesw"),
    "sobel+laplace": ("sobel-x", "sobel-y", "laplace"),  # the paper's "S & L"
}
# Two derivatives at right angles: only these have a gradient magnitude.
GRADIENT_PAIRS = (SHORTHANDS["sobel"], SHORTHANDS["prewitt"], SHORTHANDS["roberts"])

NORMS = ("l1", "l2", "l3", "l4", "l5")
# Beyond that |d|**p is 0 or immense in float32: nothing to learn from.
LARGEST_NORM = 100.0
# What the published code divides by; the paper writes 4.
ENTROPY_DIVISOR = 16.0


def resolve_filters(names: str | Sequence[str]) -> tuple[str, ...]:
    """Spell out filter names.

    >>> resolve_filters(["sobel", "laplace"])
    ('sobel-x', 'sobel-y', 'laplace')

    Args:
        names: one name or a sequence of names, each of FILTERS or SHORTHANDS.

    Returns:
        Names of FILTERS in the order given.

    Raises:
        ValueError: no name, an unknown name, or a filter that is named twice (it would
            weigh double in the mean over the channels).
    """
    given = (names,) if isinstance(names, str) else tuple(names)
    valid = ", ".join([*FILTERS, *SHORTHANDS])
    if not given:
        raise ValueError(f"Edge filters: expected at least one name, received none. Valid: {valid}")
    resolved: list[str] = []
    for name in given:
        if not isinstance(name, str) or (name not in FILTERS and name not in SHORTHANDS):
            raise ValueError(f"Edge filters: {name!r} is unknown. Valid: {valid}")
        resolved.extend(SHORTHANDS.get(name, (name,)))
    for name in resolved:
        if resolved.count(name) > 1:
            raise ValueError(
                f"Edge filters: {name!r} is named more than once in {list(given)}; name it once"
            )
    return tuple(resolved)


def parse_norm(norm: str | float) -> float:
    """The exponent p of the distance: `"l1"` … `"l5"`, or a number from 1 to LARGEST_NORM.

    The number may be text, as from a command line.

    >>> parse_norm("l2"), parse_norm(1.5)
    (2.0, 1.5)
    """
    value = math.nan  # refused below
    if isinstance(norm, str):
        with contextlib.suppress(ValueError):
            value = float(norm[1:] if norm in NORMS else norm)
    elif isinstance(norm, Real) and not isinstance(norm, bool):
        value = float(norm)
    if 1.0 <= value <= LARGEST_NORM:
        return value
    raise ValueError(
        f"Edge loss norm: expected one of {', '.join(NORMS)}, or a number from 1 to "
        f"{LARGEST_NORM:g}; received {norm!r}"
    )


def parse_weight_entropy(weight_entropy: bool | str) -> str | None:
    """How the edge error weights the cross entropy: None, `"product"` or `"exp"`.

    False stands for None, and True for `"exp"`, as in the published code.
    """
    if isinstance(weight_entropy, bool):
        return "exp" if weight_entropy else None
    if weight_entropy in ("product", "exp"):
        return weight_entropy
    raise ValueError(
        "Edge loss entropy weighting: expected False, True, 'product' or 'exp'; "
        f"received {weight_entropy!r}"
    )


def parse_magnitude(magnitude: bool | str) -> str | None:
    """What becomes of the gradient magnitude: None, `"beside"` the filters' responses or `"only"`.

    True stands for `"beside"`, and False for None.
    """
    if not isinstance(magnitude, str):
        return "beside" if magnitude else None
    if magnitude == "only":
        return magnitude
    raise ValueError(f"Edge magnitude: expected False, True or 'only'; received {magnitude!r}")


def gradient_pairs(names: str | Sequence[str]) -> tuple[tuple[int, int], ...]:
    """Positions of the x/y pairs among the resolved `names`: what has a magnitude.

    Raises:
        ValueError: there is no such pair.
    """
    names = resolve_filters(names)
    pairs = [pair for pair in GRADIENT_PAIRS if set(pair) <= set(names)]
    if not pairs:
        raise ValueError(
            "Edge magnitude: expected both filters of sobel, prewitt or roberts; "
            f"received {list(names)}"
        )
    return tuple((names.index(x), names.index(y)) for x, y in pairs)


def check_factor(name: str, value: float, above_zero: bool = False) -> float:
    """A finite number of at least 0, or above 0, as a float.

    Raises:
        ValueError: it is none; the message names it by `name`.
    """
    expected = "a finite number above 0" if above_zero else "a finite number of at least 0"
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or value < 0 or (above_zero and value == 0):
        raise ValueError(f"Edge loss {name}: expected {expected}; received {value!r}")
    return float(value)
