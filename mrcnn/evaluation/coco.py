"""COCO's detection metrics, by pycocotools (https://cocodataset.org/#detection-eval).

Results are dicts in COCO's result format: image_id, category_id, score, bbox [x, y, width,
height] in pixels, and segmentation as compressed run lengths.

Shape letters: N detections; H, W height and width of an image.
"""

from __future__ import annotations

import contextlib
import csv
import io
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from pycocotools import mask as mask_api
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from tqdm import tqdm

from mrcnn.data.dataset import Dataset
from mrcnn.data.rle import Rle, encode_in_boxes
from mrcnn.data.sample import describe_image
from mrcnn.datasets.coco import coco_api, read_coco_json
from mrcnn.datasets.segmentation import annotation_to_rle
from mrcnn.evaluation.pipeline import Loaded, Pipeline

Result = dict[str, Any]
Metrics = dict[str, dict[str, float]]  # {"segm": {"AP": 0.32, ...}, "bbox": {...}}
GroundTruth = str | os.PathLike[str] | COCO
Detect = Callable[[list[np.ndarray]], Sequence[Mapping[str, np.ndarray]]]


@runtime_checkable
class StepwiseDetector(Protocol):
    """A detector whose steps can overlap, such as `mrcnn.inference.detector.Detector`."""

    @property
    def batch_size(self) -> int:
        """The most images that `detect_batch` takes."""

    def prepare(self, image: np.ndarray) -> Loaded:
        """Resize an image for the network, in any thread."""

    def detect_batch(self, batch: Sequence[Any]) -> Sequence[Mapping[str, Any]]:
        """Run the network on prepared images of one shape.

        Returns:
            A dict for each with rois, class_ids and scores, the mask probabilities within the
            boxes as box_masks [N, h, w], and image_shape.
        """


# In the order of COCOeval's `stats`. S, M and L are objects of less than 32² pixels, of less
# than 96², and larger ones; AR1, AR10 and AR100 the recall with so many detections an image.
METRIC_NAMES = (
    *("AP", "AP50", "AP75", "AP_S", "AP_M", "AP_L"),
    *("AR1", "AR10", "AR100", "AR_S", "AR_M", "AR_L"),
)
IOU_TYPES = ("segm", "bbox")
UNDEFINED = -1.0  # COCO's value where the ground truth has no such object


def coco_results(
    image_id: Any,
    rois: np.ndarray,
    class_ids: np.ndarray,
    scores: np.ndarray,
    masks: np.ndarray | None = None,
    category_ids: Mapping[int, int] | None = None,
    rles: Sequence[Rle] | None = None,
) -> list[Result]:
    """Convert an image's detections to COCO's result format.

    Args:
        image_id: the image's id in the ground truth.
        rois: [N, 4] pixel boxes (y1, x1, y2, x2).
        class_ids: [N].
        scores: [N].
        masks: [H, W, N], nonzero is inside; None gives results without segmentation, unless
            there are `rles`.
        category_ids: category id in the ground truth of each class id; detections of classes
            it does not name are left out. None: the class ids are category ids.
        rles: N masks as compressed run lengths, instead of `masks`.

    Raises:
        ValueError: the arrays are not of the same N.
    """
    lengths = {"rois": len(rois), "class_ids": len(class_ids), "scores": len(scores)}
    if masks is not None:
        lengths["masks"] = masks.shape[-1]
    if rles is not None:
        lengths["rles"] = len(rles)
    if len(set(lengths.values())) > 1:
        raise ValueError(
            f"Image {image_id}: expected as many rois, class_ids, scores and masks; received "
            f"{lengths}. Masks are [height, width, N]."
        )
    results = []
    for index, class_id in enumerate(int(c) for c in class_ids):
        if category_ids is not None and class_id not in category_ids:
            continue
        y1, x1, y2, x2 = (float(edge) for edge in rois[index])
        result = {
            "image_id": image_id,
            "category_id": class_id if category_ids is None else category_ids[class_id],
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "score": float(scores[index]),
        }
        rle = None if rles is None else rles[index]
        if masks is not None:
            # One at a time: all of a large image's masks in another layout may not fit.
            rle = mask_api.encode(np.asfortranarray(masks[..., index] != 0, np.uint8))
        if rle is not None:
            result["segmentation"] = {"size": rle["size"], "counts": rle["counts"].decode()}
        results.append(result)
    return results


def evaluate_results(
    ground_truth: GroundTruth,
    results: Sequence[Result],
    iou_types: Sequence[str] = IOU_TYPES,
    image_ids: Iterable[Any] | None = None,
) -> Metrics:
    """Compute the 12 COCO metrics for each kind of IoU.

    An object's or detection's size is its area in pixels for "segm" and the box's area of a
    detection for "bbox", as the COCO server has it. The ground truth is left as it was.

    Args:
        ground_truth: a COCO json file, or its `COCO` object.
        results: in COCO's result format. For "bbox", one without `bbox` gets its mask's box.
        iou_types: "segm", "bbox" or both.
        image_ids: ids in the ground truth to evaluate on; None: all of its images, those
            without results included.

    Returns:
        By kind of IoU, the metrics of METRIC_NAMES, in [0, 1], or -1 where the ground truth
        has no object of that size. Without results, 0 takes their place.

    Raises:
        ValueError: an image id is not in the ground truth, or a result lacks a field.
    """
    if isinstance(ground_truth, COCO):
        content = ground_truth.dataset
    else:
        content = read_coco_json(ground_truth)
    known = {image["id"] for image in content["images"]}
    chosen = known if image_ids is None else set(image_ids)
    unknown = sorted((chosen | {result["image_id"] for result in results}) - known, key=str)
    if unknown:
        raise ValueError(
            f"image_ids, results: expected ids of the ground truth's {len(known)} images; received "
            f"{len(unknown)} others, such as {unknown[0]!r}. Are they of another subset?"
        )
    truth = coco_api({**content, "annotations": complete_annotations(content)})
    return {iou_type: _evaluate(truth, results, iou_type, sorted(chosen)) for iou_type in iou_types}


def evaluate_model(
    detect: Detect | StepwiseDetector,
    dataset: Dataset,
    coco_ground_truth: GroundTruth,
    image_ids: Iterable[int] | None = None,
    limit: int = 0,
    batch_size: int | None = None,
    progress: bool = True,
    workers: int | None = None,
) -> tuple[Metrics, list[Result], dict[str, float]]:
    """Detect on the images of a data set and compute the COCO metrics.

    Images are read ahead and results encoded behind the network by threads (see
    `mrcnn.evaluation.pipeline`). With a detector, masks are never as large as the image.

    Args:
        detect: a detector, such as `MaskRCNN.detector`; or a function that maps a list of
            `batch_size` images, uint8 [H, W, 3], to a list of dicts with rois [N, 4],
            class_ids [N], scores [N] and masks [H, W, N]. A function's last batch is filled up
            with its last image, so that all batches have the same size.
        dataset: prepared; its sources' class ids are the category ids of the ground truth.
            Detections of classes from another source than the image's are left out: the
            ground truth does not know them. Its `load_image` is called in several threads.
        coco_ground_truth: as in `evaluate_results`.
        image_ids: internal ids of the data set; None: all.
        limit: use the first so many of them; 0: all.
        batch_size: images a call of a function `detect`; None: 1. A detector has its own.
        progress: show a progress bar.
        workers: threads that read and encode; None: by the number of cores. With 0, reading,
            detecting and encoding take turns.

    Returns:
        The metrics on these images, the results in the order of the images, and the timing:
        `images`, `seconds` in all, `detect_seconds` within `detect` and `first_batch_seconds`
        of them, the first batch being the one that compiles.

    Raises:
        ValueError: an image stands twice in the ids, `detect` gives too few dicts, or an image
            cannot be read (`mrcnn.evaluation.pipeline.ImageError`, which names it).
    """
    behind = None
    if isinstance(detect, StepwiseDetector):
        if batch_size not in (None, detect.batch_size):
            raise ValueError(
                f"batch_size: expected {detect.batch_size}, the detector's own, or None; received "
                f"{batch_size}. Set IMAGES_PER_GPU."
            )
    else:
        detect = _Function(detect, 1 if batch_size is None else batch_size)
        behind = detect.batch_size  # its masks are as large as the images
    if detect.batch_size < 1 or limit < 0:
        raise ValueError(
            f"expected batch_size of at least 1 and limit of at least 0; received "
            f"{detect.batch_size} and {limit}."
        )
    chosen = list(dataset.image_ids if image_ids is None else image_ids)
    chosen = chosen[:limit] if limit else chosen
    source_ids = [dataset.image_info[image_id]["id"] for image_id in chosen]
    if len(set(source_ids)) < len(source_ids):
        twice = next(i for i in source_ids if source_ids.count(i) > 1)
        raise ValueError(
            f"image_ids: expected each image once; the image {twice!r} of the ground truth stands "
            f"several times in the data set. Load one subset of it."
        )
    batch_seconds = []

    def run(batch: list[Any]) -> Sequence[Mapping[str, Any]]:
        batch_started = time.perf_counter()
        found = detect.detect_batch(batch)
        batch_seconds.append(time.perf_counter() - batch_started)
        return found

    pipeline = Pipeline(
        load=lambda image_id: detect.prepare(dataset.load_image(image_id)),
        detect=run,
        finish=lambda image_id, found: _encode(dataset, image_id, found),
        batch_size=detect.batch_size,
        describe=lambda image_id: describe_image(dataset, image_id),
        behind=behind,
        workers=workers,
    )
    results: list[Result] = []
    started = time.perf_counter()
    images = pipeline(chosen)
    for encoded in tqdm(
        images, total=len(chosen), desc="Evaluate", unit="image", disable=not progress
    ):
        results += encoded
    metrics = evaluate_results(coco_ground_truth, results, image_ids=source_ids)
    timing = {
        "images": len(chosen),
        "seconds": time.perf_counter() - started,
        "detect_seconds": sum(batch_seconds),
        "first_batch_seconds": batch_seconds[0] if batch_seconds else 0.0,
    }
    return metrics, results, timing


class _Image(NamedTuple):
    """An image for a function that detects: it takes images of all shapes together."""

    image: np.ndarray
    shape: None = None


class _Function:
    """A function that detects, in steps. Its batches are full: the last image fills them up."""

    def __init__(self, function: Detect, batch_size: int) -> None:
        self.function = function
        self.batch_size = batch_size

    def prepare(self, image: np.ndarray) -> _Image:
        return _Image(image)

    def detect_batch(self, batch: Sequence[_Image]) -> Sequence[Mapping[str, Any]]:
        images = [image for image, _ in batch]
        return self.function(images + images[-1:] * (self.batch_size - len(images)))


def _encode(dataset: Dataset, image_id: int, found: Mapping[str, Any]) -> list[Result]:
    """The results of an image, from masks as large as the image or as their boxes."""
    info = dataset.image_info[image_id]
    category_ids = _category_ids(dataset, info["source"])
    detections = (info["id"], found["rois"], found["class_ids"], found["scores"])
    if "box_masks" in found:
        rles = encode_in_boxes(found["box_masks"], found["rois"], found["image_shape"])
        return coco_results(*detections, category_ids=category_ids, rles=rles)
    return coco_results(*detections, found["masks"], category_ids)


def write_csv(path: str | os.PathLike[str], metrics: Metrics) -> None:
    """Write a line for each kind of IoU, in full precision, under a header."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["iou_type", *METRIC_NAMES])
        for iou_type, values in metrics.items():
            writer.writerow([iou_type, *(repr(values[name]) for name in METRIC_NAMES)])


def format_table(metrics: Metrics) -> str:
    """A table for the terminal, a line for each kind of IoU; a dash where a metric is undefined."""
    lines = [" " * 9 + "".join(f"{name:>7}" for name in METRIC_NAMES)]
    for iou_type, values in metrics.items():
        numbers = ("-" if v == UNDEFINED else f"{v:.3f}" for v in map(values.get, METRIC_NAMES))
        lines.append(f"{iou_type:<9}" + "".join(f"{number:>7}" for number in numbers))
    return "\n".join(lines)


def _evaluate(
    truth: COCO, results: Sequence[Result], iou_type: str, image_ids: list[Any]
) -> dict[str, float]:
    if iou_type not in IOU_TYPES:
        raise ValueError(f"iou_types: expected some of {IOU_TYPES}; received {iou_type!r}.")
    to_annotation = segm_annotation if iou_type == "segm" else _bbox_annotation
    annotations = [to_annotation(result, index) for index, result in enumerate(results, start=1)]
    detections = coco_api({**truth.dataset, "annotations": annotations})
    evaluator = COCOeval(truth, detections, iou_type)
    evaluator.params.imgIds = image_ids
    with contextlib.redirect_stdout(io.StringIO()):
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return dict(zip(METRIC_NAMES, map(float, evaluator.stats), strict=True))


def segm_annotation(result: Result, index: int) -> dict[str, Any]:
    _require(result, "segmentation", index)
    # Not together with the box: its area would be taken for the mask's.
    return {
        **_common_fields(result, index),
        "segmentation": result["segmentation"],
        "area": float(mask_api.area(result["segmentation"])),
    }


def _bbox_annotation(result: Result, index: int) -> dict[str, Any]:
    bbox = result.get("bbox")
    if not bbox:
        _require(result, "segmentation", index)
        bbox = mask_api.toBbox(result["segmentation"]).tolist()
    return {**_common_fields(result, index), "bbox": bbox, "area": bbox[2] * bbox[3]}


def _common_fields(result: Result, index: int) -> dict[str, Any]:
    for field in ("category_id", "score"):
        _require(result, field, index)
    common = {field: result[field] for field in ("image_id", "category_id", "score")}
    return {**common, "id": index, "iscrowd": 0}


def _require(result: Result, field: str, index: int) -> None:
    if field not in result:
        raise ValueError(
            f"Result {index} (image {result['image_id']}): expected the field {field!r}; received "
            f"{sorted(result)}."
        )


def complete_annotations(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Copies, because the evaluator writes into them, with all the fields that it reads."""
    sizes = {image["id"]: (image["height"], image["width"]) for image in content["images"]}
    annotations = []
    # Numbered from 1: the evaluator takes a match with the id 0 for no match.
    for index, annotation in enumerate(content["annotations"], start=1):
        annotation = {"iscrowd": 0, **annotation, "id": index}
        if "area" not in annotation or "bbox" not in annotation:
            rle = annotation_to_rle(annotation, *sizes[annotation["image_id"]])
            annotation.setdefault("area", float(mask_api.area(rle)))
            annotation.setdefault("bbox", mask_api.toBbox(rle).tolist())
        annotations.append(annotation)
    return annotations


def _category_ids(dataset: Dataset, source: str) -> dict[int, int]:
    """The category id of each class of a source, the background aside."""
    return {
        class_id: dataset.get_source_class_id(class_id, source)
        for class_id, info in enumerate(dataset.class_info)
        if info["source"] == source
    }
