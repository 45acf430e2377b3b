"""Pairs of a predicted mask and its ground truth, from files, COCO results or a network.

Predictions are matched to objects by `mrcnn.evaluation.average_precision`, and both masks are
cropped to the prediction's own box as the mask branch and its targets have them.

Shape letters: H, W height and width of an image, N predictions, h, w a mask of the mask branch.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops
from pycocotools import mask as mask_api
from tqdm import tqdm

from mrcnn import network
from mrcnn.commands.chosen import parse_settings
from mrcnn.config import Config
from mrcnn.data.boxes import compute_overlaps_masks, denorm_boxes, extract_bboxes, norm_boxes
from mrcnn.data.images import read_image
from mrcnn.data.masks import paste_masks
from mrcnn.data.molding import resize_to_input
from mrcnn.data.orientation import load_image
from mrcnn.data.unmolding import Located, locate_detections
from mrcnn.datasets.coco import CocoDataset
from mrcnn.datasets.segmentation import annotation_to_rle
from mrcnn.evaluation.average_precision import UNMATCHED, compute_matches
from mrcnn.inference import model as inference_model
from mrcnn.logger import logger
from mrcnn.ops.crops import crop_and_resize
from mrcnn.runs.results import describe_run
from mrcnn.runs.settings import derive_config
from mrcnn.runs.trained import inference_config
from mrcnn.tensorflow_backend.compilation import tf_kernels_available
from mrcnn.weights.matterport import load_weights


class Place(NamedTuple):
    """Where a pair lies in a data set."""

    image_id: int
    box: tuple[int, int, int, int]  # pixels (y1, x1, y2, x2)


@dataclass(frozen=True, eq=False)
class Pair:
    """A predicted mask and its ground truth, both [h, w] float32 in [0, 1]."""

    predicted: np.ndarray
    target: np.ndarray
    iou: float  # of the whole masks
    image: str = ""  # the image's id in the ground truth, or the prediction's file
    class_name: str = ""
    score: float | None = None
    place: Place | None = None  # None: two mask images

    def title(self) -> str:
        """What it is, in a few short lines."""
        score = "" if self.score is None else f" {self.score:.2f}"
        image = self.image if self.place is None else f"image {self.image}"
        lines = (image, f"{self.class_name}{score}", f"IoU {self.iou:.3f}")
        return "\n".join(line for line in lines if line)


@dataclass(frozen=True)
class Selection:
    """Which predictions on a data set become pairs.

    Attributes:
        limit: number of images, from the first on; 0: all.
        min_iou: least IoU of masks that match.
    """

    limit: int = 0
    min_iou: float = 0.5


class _Predictions(NamedTuple):
    """The predictions on an image."""

    class_ids: np.ndarray  # int [N]
    scores: np.ndarray  # [N]
    masks: np.ndarray  # bool [H, W, N]
    boxes: np.ndarray  # [N, 4], what to crop from the image, normalized
    places: np.ndarray  # int [N, 4] in pixels, inside the image


# --- Two mask images ---------------------------------------------------------------------


def file_pair(prediction: str, truth: str, mask_size: int | None) -> Pair:
    """The pair of two grey images, 0 to 255 for probability 0 to 1.

    Args:
        prediction, truth: image files of one size.
        mask_size: crop both to the predicted mask's box at this size; None: as they are.
    """
    predicted, target = _read_mask(prediction), _read_mask(truth)
    if predicted.shape != target.shape:
        raise ValueError(
            f"{prediction} is {_size(predicted)} pixels and {truth} {_size(target)}: expected two "
            f"masks of one size."
        )
    iou = float(compute_overlaps_masks(predicted[..., None], target[..., None])[0, 0])
    if mask_size is not None:
        box = extract_bboxes(predicted[..., None] > 0.5)[0]
        if not box.any():
            raise ValueError(
                f"{prediction}: expected a pixel above 127 to crop to; there is none. Leave out "
                f"--mask-size to compare the masks as they are."
            )
        box = norm_boxes(box, predicted.shape)
        predicted, target = (
            _crop(mask, box, (mask_size, mask_size)) for mask in (predicted, target)
        )
    return Pair(predicted, target, iou, image=Path(prediction).name)


def _read_mask(path: str) -> np.ndarray:
    """A grey image as probabilities, float32 [H, W]."""
    image = read_image(path)
    if np.any(image != image[..., :1]):
        raise ValueError(f"{path}: expected a grey image, a mask; it has colors.")
    return image[..., 0].astype(np.float32) / 255


def _size(mask: np.ndarray) -> str:
    return f"{mask.shape[0]} x {mask.shape[1]}"


# --- Predictions on a data set -----------------------------------------------------------


def results_pairs(
    dataset: CocoDataset, results: str, mask_size: int, selection: Selection
) -> Iterator[Pair]:
    """Pairs of masks in COCO's result format and the objects that they match.

    Args:
        dataset: prepared, of one json file.
        results: a json file, as pycocotools' `loadRes` reads it; each result with its mask.
        mask_size: the masks' side.
        selection: of the images that have results.
    """
    by_image = _read_results(results, dataset)
    with_results = [k for k in dataset.image_ids if dataset.image_info[k]["id"] in by_image]
    for image_id in tqdm(
        with_results[: selection.limit or None], desc="Match", unit="image", disable=None
    ):
        info = dataset.image_info[image_id]
        found = by_image[info["id"]]
        size = info["height"], info["width"]
        rles = [annotation_to_rle(result, *size, file=results) for result in found]
        masks = mask_api.decode(rles).view(bool)
        boxes = extract_bboxes(masks).astype(np.float64)
        for k, result in enumerate(found):
            x, y, width, height = result.get("bbox") or (0, 0, 0, 0)
            if width > 0 and height > 0:
                boxes[k] = y, x, y + height, x + width
        boxes = norm_boxes(boxes, size)
        predictions = _Predictions(
            class_ids=np.array([result["class_id"] for result in found]),
            scores=np.array([result["score"] for result in found]),
            masks=masks,
            boxes=boxes,
            places=_inside(denorm_boxes(boxes, size), size),
        )
        for k, pair in _match(dataset, image_id, predictions, (mask_size, mask_size), selection):
            predicted = _crop(masks[..., k], predictions.boxes[k], (mask_size, mask_size))
            yield replace(pair, predicted=predicted)


def _read_results(path: str, dataset: CocoDataset) -> dict[Any, list[dict[str, Any]]]:
    """The results by image id, with the class id of the data set, all fields checked."""
    try:
        results = json.loads(Path(path).read_bytes())
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: expected COCO results; there is no such file.") from None
    except ValueError as error:
        raise ValueError(f"{path}: expected COCO results; it is not json: {error}.") from None
    if not isinstance(results, list) or not all(isinstance(entry, dict) for entry in results):
        raise ValueError(
            f"{path}: expected a list of results, as pycocotools' loadRes reads them. Is it a file "
            f"of annotations?"
        )
    images = {info["id"] for info in dataset.image_info}
    classes = {info["id"]: k for k, info in enumerate(dataset.class_info) if k}
    by_image: dict[Any, list[dict[str, Any]]] = {}
    for number, result in enumerate(results, start=1):
        where = f"{path}: result {number}"
        for field in ("image_id", "category_id", "score", "segmentation"):
            if field not in result:
                raise ValueError(f"{where}: expected the field {field!r}; it is missing.")
        for field, known in (("image_id", images), ("category_id", classes)):
            if result[field] not in known:
                raise ValueError(
                    f"{where}: the {field} {result[field]!r} is not in the ground truth. Are the "
                    f"results of another subset?"
                )
        entry = {**result, "id": f"of result {number}", "class_id": classes[result["category_id"]]}
        by_image.setdefault(result["image_id"], []).append(entry)
    return by_image


def network_pairs(
    dataset: CocoDataset, weights: str, config: Config, selection: Selection
) -> Iterator[Pair]:
    """Pairs of a network's mask probabilities and the objects that its detections match.

    Args:
        dataset: prepared, of the classes that the network was trained for.
        weights: a weights file.
        config: of the network, see `network_config`.
        selection: of the images of the data set.
    """
    height, width = config.MASK_SHAPE
    mask_shape = (height, width)
    logger.info(describe_run(config))
    model = network.build_inference(config)
    logger.info(load_weights(model, weights))

    @functools.lru_cache(maxsize=16)  # in some resizing modes images keep their shapes
    def of_shape(shape: tuple[int, ...]) -> keras.Model:
        return inference_model.with_static_shape(model, shape, 1, config, molded=False)

    for image_id in tqdm(
        dataset.image_ids[: selection.limit or None], desc="Detect", unit="image", disable=None
    ):
        image = load_image(dataset, image_id, config)
        resized, meta, window = resize_to_input(image, config)
        inputs = [resized[None], meta[None].astype(np.float32)]
        detections, _, _, class_masks, *_ = of_shape(resized.shape).predict_on_batch(inputs)
        found = locate_detections(
            detections[0], class_masks[0], image.shape, resized.shape, window, config
        )
        if not len(found.class_ids):
            continue
        predictions = _Predictions(
            class_ids=found.class_ids,
            scores=found.scores,
            masks=paste_masks(found.box_masks, found.mask_areas, image.shape, found.mask_corners),
            boxes=_sampled_boxes(found, image.shape),
            places=found.rois,
        )
        for k, pair in _match(dataset, image_id, predictions, mask_shape, selection):
            yield replace(pair, predicted=found.box_masks[k].astype(np.float32))


def network_config(weights: str, num_classes: int, settings: Sequence[str] = ()) -> Config:
    """The settings of a network's run, for inference, as `mrcnn evaluate` has them.

    Args:
        weights: a weights file; its settings are read from beside it.
        num_classes: of the data set, with the background.
        settings: NAME=VALUE, over those.

    Raises:
        ValueError: the network has other classes than the data set.
    """
    base = derive_config(Config, {"NAME": "edges", "NUM_CLASSES": num_classes})
    config = inference_config(weights, base, parse_settings(settings), every_detection=True)
    if config.NUM_CLASSES != num_classes:
        raise ValueError(
            f"{weights}: the network has {config.NUM_CLASSES} classes with the background, the "
            f"data set {num_classes}. Expected the data set that it was trained for."
        )
    return config


def expect_mask_size(config: Config, mask_size: int | None, weights: str) -> None:
    """Check that the masks of a network have the side `mask_size`; None: any.

    Raises:
        ValueError: they have another.
    """
    height, width = config.MASK_SHAPE
    if mask_size is not None and (height, width) != (mask_size, mask_size):
        raise ValueError(
            f"--mask-size {mask_size}: the masks of {weights} are {height} x {width}. Leave the "
            f"option out, or give the network's own with --set."
        )


def _sampled_boxes(found: Located, image_shape: Sequence[int]) -> np.ndarray:
    """What to crop from the image to have it where the masks have their samples: [N, 4]."""
    if found.mask_corners is None:
        return norm_boxes(found.boxes, image_shape)
    # From the places of the samples to those of the centers of pixels, which a crop counts.
    last = np.maximum([side - 1 for side in image_shape[:2]] * 2, 1)
    return np.clip((found.mask_corners - 0.5) / last, 0, 1)


def _inside(boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Pixel boxes [N, 4] cut to the image, of at least a pixel."""
    start = np.clip(boxes[:, :2], 0, np.array(size) - 1)
    end = np.clip(boxes[:, 2:], start + 1, size)
    return np.concatenate([start, end], axis=1)


def _match(
    dataset: CocoDataset,
    image_id: int,
    predictions: _Predictions,
    mask_shape: tuple[int, int],
    selection: Selection,
) -> Iterator[tuple[int, Pair]]:
    """Match an image's predictions to its objects, and crop these to the predictions' boxes.

    Yields:
        The index of a prediction that matches, and its pair, still without the predicted mask.
    """
    truth, true_ids = dataset.load_mask(image_id)
    if not len(true_ids):
        return
    order = np.argsort(-predictions.scores, kind="stable")
    _, matches, overlaps = compute_matches(
        np.ones((len(true_ids), 4)),  # no padding
        true_ids,
        truth,
        np.ones((len(order), 4)),
        predictions.class_ids[order],
        np.arange(len(order), 0, -1),  # in this order, also where scores are equal
        predictions.masks[..., order],
        iou_threshold=selection.min_iou,
    )
    for rank in np.flatnonzero(matches != UNMATCHED):
        k, matched = order[rank], int(matches[rank])
        y1, x1, y2, x2 = predictions.places[k].tolist()
        yield (
            int(k),
            Pair(
                predicted=np.zeros(mask_shape, np.float32),
                target=_crop(truth[..., matched], predictions.boxes[k], mask_shape),
                iou=float(overlaps[rank, matched]),
                image=str(dataset.image_info[image_id]["id"]),
                class_name=str(dataset.class_names[predictions.class_ids[k]]),
                score=float(predictions.scores[k]),
                place=Place(image_id, (y1, x1, y2, x2)),
            ),
        )


def _crop(mask: np.ndarray, box: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Crop a mask to a normalized box as training does for its targets.

    A binary mask stays binary; probabilities are interpolated.

    Args:
        mask: [H, W], bool or probabilities.
        box: [4].
        size: (height, width).

    Returns:
        float32 [height, width].
    """
    mask = np.asarray(mask, np.float32)
    crop = crop_and_resize(
        mask[None, ..., None],
        np.asarray(box, np.float32)[None],
        np.zeros(1, np.int32),
        size,
        use_tf_kernels=tf_kernels_available(None),
    )
    crop = ops.convert_to_numpy(crop)[0, ..., 0]
    is_binary = np.all((mask == 0) | (mask == 1))
    return np.rint(crop) if is_binary else crop
