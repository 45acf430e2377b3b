"""The detector in steps, in groups of shapes, and in the evaluation."""

from __future__ import annotations

import gc

import keras
import numpy as np
import pytest
from pycocotools import mask as mask_api

from mrcnn import network
from mrcnn.data.masks import paste_masks
from mrcnn.data.molding import mold_inputs
from mrcnn.datasets.coco import CocoDataset
from mrcnn.datasets.shapes import write_shapes
from mrcnn.evaluation.coco import evaluate_model
from mrcnn.evaluation.detection import FunctionDetector
from mrcnn.evaluation.pipeline import ImageError
from mrcnn.inference.detector import Detector
from mrcnn.inference.frozen_graph import FrozenGraph
from mrcnn.model import MaskRCNN
from mrcnn.tensorflow_backend import constants
from tests.tiny import tiny_config

GROUPS = {"IMAGE_MIN_DIM": 64, "IMAGE_MAX_DIM": 128, "IMAGE_SHAPE_GROUPS": "auto"}
SIZES = ((64, 128), (128, 128), (128, 64), (60, 128), (30, 20), (128, 130))


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def mix_classes(model: MaskRCNN) -> MaskRCNN:
    """Untrained, every RoI would be of the class of the largest bias."""
    logits = model.keras_model.get_layer("mrcnn_class_logits")
    kernel, bias = logits.get_weights()
    logits.set_weights([kernel * 5, bias])
    return model


@pytest.fixture(scope="module")
def grouped(tmp_path_factory) -> MaskRCNN:
    config = tiny_config(**GROUPS, NUM_CLASSES=4, SEED=1)
    return mix_classes(MaskRCNN("inference", config, tmp_path_factory.mktemp("logs")))


def test_compact_results_are_the_results(grouped: MaskRCNN):
    images = [picture(*size, seed) for seed, size in enumerate(SIZES)]
    results = grouped.detect(images)
    compact = grouped.detector.detect_compact(images)
    assert sum(len(found["rois"]) for found in compact) > len(images)
    for image, whole, found in zip(images, results, compact, strict=True):
        for name in ("rois", "class_ids", "scores"):
            np.testing.assert_array_equal(found[name], whole[name])
        assert found["image_shape"] == image.shape
        assert found["box_masks"].shape == (len(found["rois"]), 28, 28)
        assert (np.abs(found["boxes"] - found["rois"]) <= 0.5 + 1e-9).all()
        pasted = paste_masks(found["box_masks"], found["boxes"], image.shape, found["mask_corners"])
        np.testing.assert_array_equal(pasted, whole["masks"])


@pytest.mark.parametrize("boxes_are", ["exact", "matterport"])
def test_every_way_to_the_image_takes_the_same_boxes(grouped: MaskRCNN, shapes, boxes_are):
    """Results, compact results, COCO's results and the steps taken by hand."""
    dataset, truth = shapes
    settings = {"IMAGE_MAX_DIM": 128, "NUM_CLASSES": 4, "DETECTION_BOXES": boxes_are}
    detector = Detector(grouped.keras_model, tiny_config(**settings))
    image = dataset.load_image(0)
    (result,), (compact,) = detector.detect([image]), detector.detect_compact([image])
    assert set(result) == {"rois", "class_ids", "scores", "masks"}
    assert result["rois"].dtype == np.int32 and len(result["rois"])
    np.testing.assert_array_equal(result["rois"], compact["rois"])

    model = MaskRCNN("inference", detector.config, "logs")
    molded, metas, windows = model.mold_inputs([image])
    outputs = detector._run(molded, metas, molded=True)
    rois, class_ids, scores, masks = model.unmold_detections(
        outputs[0][0], outputs[3][0], image.shape, molded.shape[1:], windows[0]
    )
    np.testing.assert_array_equal(rois, result["rois"])
    np.testing.assert_array_equal(masks, result["masks"])

    results = evaluate_model(detector, dataset, truth, [0], progress=False).results
    decoded = mask_api.decode([entry["segmentation"] for entry in results]).astype(bool)
    np.testing.assert_array_equal(decoded, result["masks"])
    x, y, width, height = np.array([entry["bbox"] for entry in results]).T
    boxes = np.stack([y, x, y + height, x + width], axis=1)
    np.testing.assert_allclose(boxes, compact["boxes"], atol=1e-6)
    assert (boxes == np.rint(boxes)).all() == (boxes_are == "matterport")


def test_whole_images_where_training_takes_random_windows(tmp_path, capsys):
    """Each call finds the same, in the whole image; and it is said once."""
    settings = {"NUM_CLASSES": 4, "DETECTION_MAX_INSTANCES": 20, "SEED": 1}
    cropping = tiny_config(IMAGE_RESIZE_MODE="crop", **settings)
    model = MaskRCNN("inference", cropping, tmp_path)
    logits = model.keras_model.get_layer("mrcnn_class_logits")
    kernel, bias = logits.get_weights()
    logits.set_weights([kernel, bias + [-9, 9, 0, 0]])  # every RoI is an object
    said = capsys.readouterr().err
    assert said.count('"crop"') == 1 and '"pad64"' in said
    image = picture(128, 192)
    first, second = model.detect([image]), model.detect([image])
    padding = tiny_config(IMAGE_RESIZE_MODE="pad64", **settings)
    padded = Detector(model.keras_model, padding).detect([image])
    assert capsys.readouterr().err == ""
    assert model.detector.image_shape == (128, 192)
    assert model.config is cropping and cropping.IMAGE_RESIZE_MODE == "crop"
    assert len(first[0]["rois"]) and first[0]["rois"][:, 3].max() > 64  # not one window's
    for (one,) in (second, padded):
        for name, values in first[0].items():
            np.testing.assert_array_equal(values, one[name])
    molded, _, (window,) = model.mold_inputs([picture(100, 180)])
    assert molded.shape == (1, 128, 192, 3) and window.tolist() == [14, 6, 114, 186]
    MaskRCNN("inference", padding, tmp_path)
    assert capsys.readouterr().err == ""


def test_an_image_that_the_mode_none_cannot_take(tmp_path):
    config = tiny_config(IMAGE_RESIZE_MODE="none", IMAGE_MAX_DIM=128)
    model = MaskRCNN("inference", config, tmp_path)
    assert len(model.detect([picture(64, 64), picture(96, 160)])) == 2
    match = r'multiples of 32; received 100 x 64 .*IMAGE_RESIZE_MODE = "none" .*"pad64"'
    with pytest.raises(ValueError, match=r"images\[1\]: expected sides that are " + match):
        model.detect([picture(64, 64), picture(100, 64)])
    with pytest.raises(ValueError, match="molded_images: expected sides that are " + match):
        molded, metas, _ = mold_inputs([picture(100, 64)], config)
        model.detector.detect_molded(molded, metas)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="counts TensorFlow's graphs")
@pytest.mark.parametrize("freeze_graph", [None, False])
def test_graphs_that_were_dropped_take_no_memory(tmp_path, monkeypatch, freeze_graph):
    """Of any number of image shapes, no more stays than MAX_STATIC_SHAPES graphs."""
    monkeypatch.setattr("mrcnn.inference.detector.MAX_STATIC_SHAPES", 1)
    config = tiny_config(IMAGE_RESIZE_MODE="none", IMAGES_PER_GPU=1, FREEZE_GRAPH=freeze_graph)
    model = MaskRCNN("inference", config, tmp_path)

    def graphs_and_objects(width):
        model.detect([picture(32, width)])
        gc.collect()
        objects = gc.get_objects()
        return sum(type(o).__name__ == "FuncGraph" for o in objects), len(objects)

    graphs_and_objects(32)
    graphs, before = graphs_and_objects(64)
    for width in (96, 128, 160):
        found, after = graphs_and_objects(width)
        assert found == graphs
    assert after - before < 3 * 200  # a graph has some 15,000


def test_batches_are_filled_from_all_the_images(grouped: MaskRCNN, monkeypatch):
    """Two shapes in turn: neighbors never share a batch."""
    images = [picture(*SIZES[k % 2], seed=k) for k in range(8)]
    sizes = []
    detector = grouped.detector
    run = detector.detect_batch
    monkeypatch.setattr(
        detector, "detect_batch", lambda batch: sizes.append(len(batch)) or run(batch)
    )
    together = detector.detect(images)
    assert sizes == [2] * 4
    for image, found in zip(images, together, strict=True):
        (alone,) = detector.detect([image])
        np.testing.assert_array_equal(found["rois"], alone["rois"])


@pytest.mark.parametrize(
    "size, shape",
    [
        ((64, 128), (64, 128)),
        ((128, 64), (128, 64)),
        ((40, 80), (64, 128)),
        ((90, 128), (128, 128)),
    ],
)
def test_a_group_holds_the_image_of_the_square(size, shape):
    image = picture(*size)
    groups = tiny_config(**{**GROUPS, "IMAGE_SHAPE_GROUPS": [(64, 128), (128, 64)]})
    square = tiny_config(**{**GROUPS, "IMAGE_SHAPE_GROUPS": None})
    (molded,), (meta,), ((y1, x1, y2, x2),) = mold_inputs([image], groups)
    assert molded.shape == tuple(meta[4:7]) == (*shape, 3)
    (padded,), _, ((top, left, bottom, right),) = mold_inputs([image], square)
    assert padded.shape == (128, 128, 3)
    np.testing.assert_array_equal(molded[y1:y2, x1:x2], padded[top:bottom, left:right])
    # In the middle, as in the square.
    assert 0 <= (shape[0] - y2) - y1 <= 1 and 0 <= (shape[1] - x2) - x1 <= 1


def test_a_group_detects_as_matterport_does_on_that_shape(grouped: MaskRCNN):
    """The mode "pad64" pads this image to the same shape; the parity fixtures hold that mode."""
    image = picture(64, 128)
    settings = {**GROUPS, "NUM_CLASSES": 4, "IMAGE_SHAPE_GROUPS": [(64, 128)]}
    results = []
    for changed in ({}, {"IMAGE_RESIZE_MODE": "pad64", "IMAGE_SHAPE_GROUPS": None}):
        detector = Detector(grouped.keras_model, tiny_config(**{**settings, **changed}))
        results += detector.detect([image])
        assert detector.image_shape == (64, 128)
    assert len(results[0]["rois"])
    for name, values in results[0].items():
        np.testing.assert_array_equal(values, results[1][name])


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes")
    write_shapes(folder, 0, 7, (64, 90))
    dataset = CocoDataset()
    truth = dataset.load_coco(folder, "val", return_coco=True)
    dataset.prepare()
    return dataset, truth


def test_evaluation_with_the_detector_is_evaluation_with_its_function(grouped, shapes):
    dataset, truth = shapes
    function = FunctionDetector(grouped.detect, grouped.config.BATCH_SIZE)
    by_function = evaluate_model(function, dataset, truth, progress=False)
    assert len(by_function.results) > len(dataset.image_ids)
    for workers in (0, 2):
        metrics, results, timing, _ = evaluate_model(
            grouped.detector, dataset, truth, progress=False, workers=workers
        )
        assert len(results) == len(by_function.results)
        for found, expected in zip(results, by_function.results, strict=True):
            # A function gives whole pixels.
            assert np.abs(np.subtract(found.pop("bbox"), expected["bbox"])).max() <= 1
            assert found == {name: expected[name] for name in found}
        assert metrics["segm"] == by_function.metrics["segm"]
        assert timing.images == len(dataset.image_ids)


def test_an_image_that_cannot_be_detected_in_is_named(grouped, shapes, monkeypatch):
    dataset, truth = shapes
    load = dataset.load_image
    monkeypatch.setattr(dataset, "load_image", lambda i: load(i)[..., 0] if i == 2 else load(i))
    with pytest.raises(ImageError, match=r"image 2 \(source .* ValueError: .*expected the shape"):
        evaluate_model(grouped.detector, dataset, truth, progress=False)


# --- Constants in the graph -------------------------------------------------------------------

on_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="only TensorFlow's graphs are frozen"
)


def detect_both(model: MaskRCNN, frozen: Detector, image: np.ndarray) -> list[list[np.ndarray]]:
    inputs = [frozen.prepare(image)]
    arrays = [inputs[0].resized[None], inputs[0].meta[None].astype(np.float32)]
    return [
        detector.graph(inputs[0].shape, molded=False).predict_on_batch(arrays)
        for detector in (model.detector, frozen)
    ]


@on_tensorflow
def test_a_frozen_graph_gives_the_same_and_sees_new_weights(tmp_path):
    model = mix_classes(MaskRCNN("inference", tiny_config(IMAGES_PER_GPU=1, SEED=2), tmp_path))
    frozen = Detector(model.keras_model, tiny_config(IMAGES_PER_GPU=1, FREEZE_GRAPH=True))
    image = picture(100, 128)
    earlier = None
    for change in (
        lambda weights: weights,
        lambda weights: [weights[0][:, :, ::-1], *weights[1:]],  # the same values in other places
        lambda weights: [weights[0], weights[1] + 0.5],
    ):
        layer = model.keras_model.get_layer("fpn_p2")
        layer.set_weights(change(layer.get_weights()))
        plain, constant = detect_both(model, frozen, image)
        assert [x.shape for x in constant] == [x.shape for x in plain]
        # The RPN's answers have an order of their own; detections of almost equal scores have not.
        for name in ("rpn_class", "rpn_bbox"):
            index = network.INFERENCE_OUTPUTS.index(name)
            np.testing.assert_allclose(constant[index], plain[index], atol=1e-4)
        assert earlier is None or np.abs(plain[index] - earlier).max() > 1e-3
        earlier = plain[index]


@on_tensorflow
def test_a_frozen_graph_is_made_once_while_weights_stay(tmp_path, monkeypatch):
    config = tiny_config(IMAGES_PER_GPU=1, FREEZE_GRAPH=True)
    model = MaskRCNN("inference", config, tmp_path)
    made = []
    freeze = constants.with_constants
    monkeypatch.setattr(
        constants, "with_constants", lambda *given: made.append(given) or freeze(*given)
    )
    for _ in range(3):
        model.detect([picture(90, 128)])
    assert len(made) == 1
    norm = model.keras_model.get_layer("bn2a_branch2a")  # folded into its convolution
    norm.set_weights([weight * 2 for weight in norm.get_weights()])
    model.detect([picture(90, 128)])
    assert len(made) == 2


@pytest.mark.parametrize("settings", [{"IMAGES_PER_GPU": 2}, {"JIT_COMPILE": True}])
def test_only_single_images_without_xla_are_frozen(grouped: MaskRCNN, settings):
    config = tiny_config(**{"IMAGES_PER_GPU": 1, **settings}, FREEZE_GRAPH=True, NUM_CLASSES=4)
    with pytest.warns(UserWarning, match="FREEZE_GRAPH has no effect"):
        graph = Detector(grouped.keras_model, config).graph((128, 128, 3), molded=False)
    assert not isinstance(graph, FrozenGraph)
