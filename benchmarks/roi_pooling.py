"""What the rounding of RoIPool does, beside RoIAlign, and what each costs.

    python -m benchmarks.roi_pooling figure --output docs/results/roi_pooling.png
    python -m benchmarks.roi_pooling time

`figure`: a RoI on its cells, as it is and as RoIPool rounds it; the place that each way reads when
a RoI moves by a pixel at a time; and how far RoIs are moved by the rounding, in pixels of their
masks. `time`: both ways on the pyramid of an image of 1024 pixels, with and without the gradient.
JSON lines, medians.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from benchmarks.limits import timed
from mrcnn.ops.crops import pyramid_level, pyramid_roi_align
from mrcnn.ops.roi_pool import pyramid_roi_pool, roi_cells
from mrcnn.process import keep_freed_memory
from mrcnn.tensorflow_backend.compilation import tf_kernels_available

Tensor = Any
SIDE = 1024  # pixels of the image
STRIDES = (4, 8, 16, 32)
MASK_SIDE = 28
# The RoI of the first panel, in pixels of an image of 160, on cells of 16.
EXAMPLE, EXAMPLE_SIDE, EXAMPLE_STRIDE, EXAMPLE_BINS = (29, 37, 104, 136), 160, 16, 4
WAYS: dict[str, Callable[..., Tensor]] = {"align": pyramid_roi_align, "pool": pyramid_roi_pool}
ALIGNED, POOLED, OBJECT = "C0", "C3", "0.25"


def random_rois(count: int, seed: int = 0) -> np.ndarray:
    """RoIs [count, 4] in pixels of the image, first and last, of many sizes and shapes."""
    rng = np.random.default_rng(seed)
    sides = 2.0 ** rng.uniform(4, 9.5, (count, 1)) * 2.0 ** (
        rng.uniform(-0.5, 0.5, (count, 1)) * [1, -1]
    )
    corners = rng.uniform(0, 1, (count, 2)) * (SIDE - 1 - sides)
    return np.concatenate([corners, corners + sides], axis=1)


def displacements(rois: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How far the rounding moves the upper side of each RoI, in pixels of its mask, and its level.

    Args:
        rois: [N, 4] in pixels.
    """
    boxes = ops.convert_to_tensor((rois / (SIDE - 1)).astype(np.float32))
    level = ops.convert_to_numpy(pyramid_level(boxes, float(SIDE**2)))
    stride = np.array(STRIDES, np.int32)[level]
    first, _ = roi_cells(
        boxes[:, 0],
        boxes[:, 2],
        ops.convert_to_tensor((SIDE // stride).astype(np.int32)),
        ops.convert_to_tensor(stride),
    )
    moved = ops.convert_to_numpy(first) * stride - rois[:, 0]
    return moved * MASK_SIDE / (rois[:, 2] - rois[:, 0]), level


def places_read(shifts: np.ndarray) -> dict[str, np.ndarray]:
    """The mean place that each way reads of a RoI of 96 pixels that is moved, in pixels.

    The value of each cell is its place along the axis.
    """
    cells = np.arange(SIDE // 8, dtype=np.float32) * 8
    features = np.broadcast_to(cells[:, None], (len(cells), len(cells)))[None, :, :, None]
    # One level, which stands for P3: its RoIs are given as those of an image half as large.
    maps = [ops.convert_to_tensor(np.ascontiguousarray(features))]
    start = 200 + shifts
    rois = np.stack([start, start * 0 + 200, start + 95, start * 0 + 295], axis=1)
    boxes = ops.convert_to_tensor((rois / (SIDE - 1)).astype(np.float32)[None])
    area = float(SIDE**2)
    found = {}
    for name, way in WAYS.items():
        boxes_of = boxes if name == "align" else _as_of_stride_4(rois)
        values = ops.convert_to_numpy(way(maps, boxes_of, area, (7, 7)))[0, ..., 0]
        found[name] = values.mean(axis=(1, 2))
    return found


def _as_of_stride_4(rois: np.ndarray) -> Tensor:
    """RoIs on a map of stride 8 as RoIs of half the size on one of stride 4, the first level's."""
    boxes = rois / 2 / (SIDE // 2 - 1)
    return ops.convert_to_tensor(boxes.astype(np.float32)[None])


def draw(path: str) -> None:
    """Save the figure as a PNG."""
    figure = Figure(figsize=(12, 3.9), dpi=90, layout="constrained")
    example, moving, spread = figure.subplots(1, 3)
    _draw_example(example)
    shifts = np.arange(0, 33, dtype=np.float64)
    read = places_read(shifts)
    for name, color in (("align", ALIGNED), ("pool", POOLED)):
        moving.plot(shifts, read[name] - read[name][0], ".-", color=color, label=_label(name), lw=1)
    moving.plot(shifts, shifts, color=OBJECT, lw=0.8, ls=":", label="the object")
    moving.set_title("A RoI of 96 pixels that moves, stride 8", fontsize=9)
    moving.set_xlabel("moved by, pixels", fontsize=8)
    moving.set_ylabel("what its features say, pixels", fontsize=8)
    moving.legend(fontsize=8)
    moved, level = displacements(random_rois(20_000))
    bins = np.linspace(-5, 5, 81)
    for number in range(len(STRIDES)):
        label = f"P{number + 2}, stride {STRIDES[number]}"
        shown = np.clip(moved[level == number], -5, 5)
        spread.hist(shown, bins, density=True, histtype="step", label=label)
    spread.set_title(
        f"Where RoIPool begins to read, beside the RoI ({MASK_SIDE}² masks)", fontsize=9
    )
    spread.set_xlabel("pixels of the mask", fontsize=8)
    spread.set_yticks([])
    spread.legend(fontsize=8)
    for ax in (moving, spread):
        ax.tick_params(labelsize=8)
        ax.grid(True, color="0.92", lw=0.6)
    FigureCanvasAgg(figure).print_png(path)
    share = float(np.mean(np.abs(moved) > 0.5))
    line = {"moved_by_more_than_half_a_mask_pixel": round(share, 3)}
    line |= {
        f"median_on_P{number + 2}": round(float(np.median(np.abs(moved[level == number]))), 2)
        for number in range(len(STRIDES))
    }
    print(json.dumps({"benchmark": "figure", **line}))


def _draw_example(ax: Axes) -> None:
    top, left, bottom, right = EXAMPLE
    ax.set_title(
        f"A RoI on cells of {EXAMPLE_STRIDE} pixels, {EXAMPLE_BINS} × {EXAMPLE_BINS} bins",
        fontsize=9,
    )
    for line in range(0, EXAMPLE_SIDE + 1, EXAMPLE_STRIDE):
        ax.axhline(line, color="0.88", lw=0.6, zorder=0)
        ax.axvline(line, color="0.88", lw=0.6, zorder=0)
    sides = []
    for start, end in ((top, bottom), (left, right)):
        pixels = [ops.full((1,), place / (EXAMPLE_SIDE - 1)) for place in (start, end)]
        of_map = [
            ops.full((1,), number, dtype="int32")
            for number in (EXAMPLE_SIDE // EXAMPLE_STRIDE, EXAMPLE_STRIDE)
        ]
        sides.append([int(cell[0]) for cell in roi_cells(*pixels, *of_map)])
    (first_row, last_row), (first_column, last_column) = sides
    # A cell stands for the pixels that are rounded to it.
    corner = [EXAMPLE_STRIDE * (first - 0.5) for first in (first_column, first_row)]
    size = [
        EXAMPLE_STRIDE * (last - first + 1)
        for first, last in ((first_column, last_column), (first_row, last_row))
    ]
    ax.add_patch(Rectangle(corner, *size, fill=False, ec=POOLED, lw=1.8, label=_label("pool")))
    for bins, cells, across in (
        (EXAMPLE_BINS, last_row - first_row + 1, False),
        (EXAMPLE_BINS, last_column - first_column + 1, True),
    ):
        for number in range(1, bins):
            edge = EXAMPLE_STRIDE * (number * cells // bins)
            if across:
                ax.plot(
                    [corner[0] + edge] * 2, [corner[1], corner[1] + size[1]], color=POOLED, lw=0.7
                )
            else:
                ax.plot(
                    [corner[0], corner[0] + size[0]], [corner[1] + edge] * 2, color=POOLED, lw=0.7
                )
    ax.add_patch(
        Rectangle(
            (left, top), right - left, bottom - top, fill=False, ec=OBJECT, lw=1.8, label="RoI"
        )
    )
    rows, columns = (np.linspace(a, b, EXAMPLE_BINS) for a, b in ((top, bottom), (left, right)))
    ax.plot(*np.meshgrid(columns, rows), "x", color=ALIGNED, ms=4)
    ax.plot([], [], "x", color=ALIGNED, label=_label("align"))
    ax.set_xlim(0, EXAMPLE_SIDE)
    ax.set_ylim(EXAMPLE_SIDE, 0)
    ax.set_aspect("equal")
    ax.tick_params(labelsize=8)
    ax.legend(fontsize=7, loc="lower right")


def _label(way: str) -> str:
    return {"align": "RoIAlign", "pool": "RoIPool"}[way]


def time_both(images: int, channels: int, rounds: int) -> None:
    """Print the times of both ways for the box head's and the mask head's RoIs."""
    rng = np.random.default_rng(0)
    maps = [
        ops.convert_to_tensor(
            rng.standard_normal((images, SIDE // s, SIDE // s, channels)).astype(np.float32)
        )
        for s in STRIDES
    ]
    for head, count, side in (("box head", 200, 7), ("mask head", 66, 14)):
        rois = random_rois(images * count).reshape(images, count, 4) / (SIDE - 1)
        boxes = ops.convert_to_tensor(rois.astype(np.float32))
        line: dict[str, Any] = {"benchmark": "time", "head": head, "rois": count, "side": side}
        for name in WAYS:
            for gradient in (False, True):
                run = _run(name, boxes, (side, side), gradient)
                run(maps)
                seconds = [timed(lambda run=run: run(maps)) for _ in range(rounds)]
                what = "with_gradient" if gradient else "forward"
                line[f"{name}_{what}_ms"] = round(1e3 * statistics.median(seconds), 1)
        print(json.dumps({"backend": keras.backend.backend(), **line}), flush=True)


def _run(
    name: str, boxes: Tensor, size: tuple[int, int], gradient: bool
) -> Callable[[list[Tensor]], Any]:
    """A compiled function of the maps, as the training step runs it."""
    use_tf_kernels = tf_kernels_available(None)
    options = {"use_tf_kernels": use_tf_kernels} if name == "align" else {}

    def total(maps: list[Tensor]) -> Tensor:
        return ops.sum(ops.square(WAYS[name](maps, boxes, float(SIDE**2), size, **options)))

    if keras.backend.backend() == "jax":
        import jax

        run = jax.jit(jax.grad(total) if gradient else total)
        return lambda maps: jax.block_until_ready(run(maps))
    import tensorflow as tf

    @tf.function(jit_compile=not use_tf_kernels)
    def compiled(maps: list[Tensor]) -> Any:
        if not gradient:
            return total(maps)
        with tf.GradientTape() as tape:
            tape.watch(maps)
            value = total(maps)
        return [tf.reduce_sum(slope) for slope in tape.gradient(value, maps)]

    return lambda maps: ops.convert_to_numpy(
        ops.sum(ops.stack([*keras.tree.flatten(compiled(maps))]))
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="what", required=True)
    command = commands.add_parser("figure")
    command.add_argument("--output", default="roi_pooling.png")
    command = commands.add_parser("time")
    command.add_argument("--images", type=int, default=2)
    command.add_argument("--channels", type=int, default=256)
    command.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    if args.what == "figure":
        draw(args.output)
        return
    keep_freed_memory()
    time_both(args.images, args.channels, args.rounds)


if __name__ == "__main__":
    main()
