"""Write a trained network into a file, and let the file show that it is the network."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from mrcnn import precision
from mrcnn.config import Config, changed
from mrcnn.data.masks import paste_masks
from mrcnn.export.comparison import TOLERANCES, Agreement, Found, compare
from mrcnn.export.formats import FORMATS, WEIGHTS, Format, Run
from mrcnn.export.network import PASTED, ExportNetwork
from mrcnn.inference import model as inference_model
from mrcnn.inference.detector import Detector
from mrcnn.logger import keeping_handlers, logger
from mrcnn.tensorflow_backend.compilation import is_tensorflow
from mrcnn.tensorflow_backend.export import Traced

LABELS_SUFFIX = ".labels.txt"
# Of the pixels in objects: those where a probability is 0.5 to the last digits.
MOST_PASTED_DIFFERENT = 0.005
# Of scikit-image's, those that its package holds.
PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")


@dataclass(frozen=True)
class ExportSettings:
    """What the file is like.

    Attributes:
        format: of `mrcnn.export.formats.FORMATS`.
        image_size: (H, W) of the pictures that it takes; None: of any size.
        weights: "float32", "float16" or "int8": how the weights are kept.
        pasted: it returns masks of the picture's size too.

    Raises:
        ValueError: there is no such format, or it cannot have these.
    """

    format: str
    image_size: tuple[int, int] | None = None
    weights: str = "float32"
    pasted: bool = False

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise ValueError(f"format: expected one of {list(FORMATS)}; received {self.format!r}.")
        known = FORMATS[self.format]
        if self.weights not in known.weights:
            raise ValueError(
                f"weights: {known.title} keeps them as {' or '.join(known.weights)}; received "
                f"{self.weights!r}. {', '.join(WEIGHTS)} are for the other formats."
            )
        if self.image_size is not None and min(self.image_size) < 1:
            raise ValueError(
                f"image size: expected a height and a width of at least 1; received "
                f"{self.image_size}."
            )
        if known.fixed_size and self.image_size is None:
            raise ValueError(
                f"image size: {known.title} takes pictures of one size; expected --picture-size "
                "HEIGHT WIDTH, the size of your pictures."
            )


class Exported(NamedTuple):
    """What was written."""

    path: Path
    labels: Path | None
    agreement: Agreement
    seconds: tuple[float, float]  # a picture, by the network and by the file; medians

    def __str__(self) -> str:
        own, other = self.seconds
        lines = [
            str(self.agreement),
            f"Seconds a picture here: the network {own:.3f}, the file {other:.3f}.",
            f"Exported: {self.path}",
        ]
        if self.labels is not None:
            lines.append(f"Classes, the background's first: {self.labels}")
        if not self.agreement.own:
            lines.append(
                "The network found nothing in these pictures, so that nothing could be compared: "
                "give some in which there is something to find."
            )
        return "\n".join(lines)


def export(
    detector: Detector,
    output: str | os.PathLike[str],
    settings: ExportSettings,
    pictures: Sequence[np.ndarray] | None = None,
    class_names: Sequence[str] | None = None,
) -> Exported:
    """Write a network into a file, if the file finds what the network finds.

    Args:
        detector: of the network. It is compared as it computes in float32.
        output: the file, or the folder of a SavedModel. The format's suffix is added where it is
            missing. What was exported there before is replaced.
        settings: what the file is like.
        pictures: uint8 arrays [H, W, channels] to compare on, best with something to find; those of
            another size than the file takes are scaled to it. None: `photographs`.
        class_names: of all classes, the background's first; they are written beside the file, one a
            line.

    Raises:
        ValueError: the network cannot be exported so, something is not installed, or the file finds
            other things than the network; then there is no file.
        FileExistsError: something else is in the place of the output.
    """
    if not is_tensorflow():
        raise ValueError(
            "export: expected the backend TensorFlow, which the converters take graphs from; set "
            "KERAS_BACKEND=tensorflow. The weights are the same."
        )
    form = FORMATS[settings.format]
    form.expect_packages()
    path = _path(output, form)
    _expect_replaceable(path, form)
    if pictures is None:
        pictures = photographs(detector.config.IMAGE_CHANNEL_COUNT)
    detector = _in_float32(detector)
    traced = _traced(detector, settings)
    pictures = [_of_size(picture, settings.image_size) for picture in pictures]
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        written = Path(folder, path.name)
        _convert(form, traced, written, settings.weights)
        agreement, seconds = _compare(detector, form.load(written), pictures, settings.weights)
        tolerance = TOLERANCES[settings.weights]
        if not agreement.is_within(tolerance):
            raise ValueError(
                f"{path}: not written, because {form.title} does not find what the network finds "
                f"(expected {tolerance}). {agreement}"
            )
        labels = None
        if class_names is not None:
            labels = Path(folder, path.stem + LABELS_SUFFIX)
            labels.write_text("\n".join(class_names) + "\n", encoding="utf-8")
        if path.is_dir():
            shutil.rmtree(path)
        for file in Path(folder).iterdir():
            os.replace(file, path.parent / file.name)
    if labels is not None:
        labels = path.parent / labels.name
    return Exported(path, labels, agreement, seconds)


def photographs(channels: int) -> list[np.ndarray]:
    """Pictures that scikit-image comes with, uint8 [H, W, 3].

    Raises:
        ValueError: a network takes another number of channels.
    """
    if channels != 3:
        raise ValueError(
            f"pictures: expected some with IMAGE_CHANNEL_COUNT = {channels} channels to compare "
            "on; the photographs that are taken otherwise have three."
        )
    from skimage import data

    return [getattr(data, name)() for name in PHOTOGRAPHS]


def _in_float32(detector: Detector) -> Detector:
    config = detector.config
    if precision.resolve(config.MIXED_PRECISION, config.JIT_COMPILE) is None:
        return detector
    config = changed(config, {"MIXED_PRECISION": None})
    model = inference_model.build(config)
    model.set_weights(detector.model.get_weights())
    return Detector(model, config)


def _path(output: str | os.PathLike[str], form: Format) -> Path:
    path = Path(output)
    return path if path.suffix == form.suffix or not form.suffix else Path(f"{path}{form.suffix}")


def _expect_replaceable(path: Path, form: Format) -> None:
    exported = path.is_file() if form.suffix else (path / "saved_model.pb").is_file()
    if path.exists() and not exported:
        raise FileExistsError(
            f"{path}: expected a free name, or what was exported before as {form.title}; something "
            "else is there. Give another --output."
        )


def _traced(detector: Detector, settings: ExportSettings) -> Traced:
    # Without the kernels that only TensorFlow has: they are for graphs that nothing compiles.
    config = changed(detector.config, {"JIT_COMPILE": True, "MIXED_PRECISION": None})
    network = ExportNetwork(config, settings.image_size, pasted=settings.pasted)
    network.inner.set_weights(detector.model.get_weights())
    size = settings.image_size or (None, None)
    return Traced(network, (1, *size, config.IMAGE_CHANNEL_COUNT))


def _convert(form: Format, traced: Traced, path: Path, weights: str) -> None:
    started = time.perf_counter()
    try:
        with keeping_handlers():
            form.write(traced, path, weights)
    except Exception as error:  # of the converters' own kinds
        raise ValueError(
            f"{path.name}: the converter to {form.title} refused the network: "
            f"{type(error).__name__}: {error}"
        ) from error
    logger.info(f"Converted to {form.title} in {time.perf_counter() - started:.0f} s.")


def _compare(
    detector: Detector, run: Run, pictures: Sequence[np.ndarray], weights: str
) -> tuple[Agreement, tuple[float, float]]:
    own, other = [], []
    seconds: list[tuple[float, float]] = []
    for picture in pictures:
        batch = picture[None]
        if not seconds:  # the first call of a shape prepares it
            detector.detect_compact([picture])
            run(batch)
        start = time.perf_counter()
        own.append(Found.of_detector(detector.detect_compact([picture])[0]))
        middle = time.perf_counter()
        outputs = run(batch)
        seconds.append((middle - start, time.perf_counter() - middle))
        other.append(Found.of_file(outputs))
        _expect_pasted(outputs, picture, detector.config)
    config = detector.config
    agreement = compare(
        own,
        other,
        TOLERANCES[weights],
        config.DETECTION_MIN_CONFIDENCE or 0,
        config.DETECTION_MAX_INSTANCES,
    )
    mine, yours = np.median(seconds, axis=0)
    return agreement, (float(mine), float(yours))


def _expect_pasted(outputs: dict[str, np.ndarray], picture: np.ndarray, config: Config) -> None:
    """Check that masks which a file has pasted are those that its other outputs mean.

    Raises:
        ValueError: they are not.
    """
    if PASTED not in outputs:
        return
    count = int(np.ravel(outputs["count"])[0])
    masks, areas, corners = (
        outputs[name][0, :count] for name in ("masks", "mask_areas", "mask_corners")
    )
    around = None if config.DETECTION_BOXES == "matterport" else corners
    expected = paste_masks(masks, areas, picture.shape, around).transpose(2, 0, 1)
    found = outputs[PASTED][0, :count].astype(bool)
    different = (found != expected).sum()
    if (
        different > MOST_PASTED_DIFFERENT * max(1, expected.sum())
        or outputs[PASTED][0, count:].any()
    ):
        raise ValueError(
            f"{different} pixels of the masks that the file has pasted are not what its masks and "
            f"their areas say, of {expected.sum()} that they say; expected a share of at most "
            f"{MOST_PASTED_DIFFERENT}. Export without pasted masks."
        )


def _of_size(picture: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
    if size is None or picture.shape[:2] == size:
        return picture
    channels = [
        np.asarray(Image.fromarray(channel).resize(size[::-1], Image.Resampling.BILINEAR))
        for channel in np.moveaxis(picture, 2, 0)
    ]
    return np.stack(channels, axis=2)
