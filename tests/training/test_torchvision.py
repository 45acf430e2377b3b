"""Training in torchvision's own semantics: its losses and its gradients, from the same weights.

Everything random is taken out, by drawing all anchors and all RoIs that there are.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the oracle is torchvision: pip install '.[bench]'")
pytest.importorskip("torchvision", reason="the oracle is torchvision: pip install '.[bench]'")

from mrcnn import batch  # noqa: E402
from mrcnn.config import Config  # noqa: E402
from mrcnn.data.molding import compose_image_meta  # noqa: E402
from mrcnn.data.resize import Resize  # noqa: E402
from mrcnn.runs.conversion import convert  # noqa: E402
from mrcnn.runs.settings import configure  # noqa: E402
from mrcnn.training import model as training_model  # noqa: E402
from mrcnn.weights import torchvision  # noqa: E402
from tests.losses_and_gradients import losses_and_gradients  # noqa: E402
from tests.torchvision_networks import CLASSES, random_network, random_picture  # noqa: E402

SIDE, HEIGHT, WIDTH = 128, 96, 128  # the second image leaves a part of the network's input unused
ANCHORS = 3 * sum((SIDE // stride) ** 2 for stride in (4, 8, 16, 32, 64))
PROPOSALS, ROIS, OBJECTS = 60, 160, 5
# The names of the losses, theirs and ours.
LOSSES = {
    "loss_objectness": "rpn_class_loss",
    "loss_rpn_box_reg": "rpn_bbox_loss",
    "loss_classifier": "mrcnn_class_loss",
    "loss_box_reg": "mrcnn_bbox_loss",
    "loss_mask": "mrcnn_mask_loss",
}


def some_objects(seed: int, size: tuple[int, int], count: int) -> tuple[Any, Any, Any]:
    """Class ids, whole boxes and masks with holes: [N], [N, 4], [N, H, W]."""
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, np.array(size) - 24, (count, 2))
    sides = rng.integers(12, np.minimum(70, np.array(size) - corners))
    boxes = np.concatenate([corners, corners + sides], axis=1)
    masks = np.zeros((count, *size), np.uint8)
    for mask, (y1, x1, y2, x2) in zip(masks, boxes, strict=True):
        mask[y1:y2, x1:x2] = rng.random((y2 - y1, x2 - x1)) < 0.8
    return rng.integers(1, CLASSES, count).astype(np.int32), boxes.astype(np.int32), masks


@pytest.fixture(scope="module", params=[1, 2], ids=["v1", "v2"])
def both(request, tmp_path_factory) -> SimpleNamespace:
    theirs = random_network(
        request.param,
        min_size=SIDE,
        max_size=SIDE,
        rpn_batch_size_per_image=2 * ANCHORS,
        rpn_pre_nms_top_n_train=400,
        rpn_post_nms_top_n_train=PROPOSALS,
        box_batch_size_per_image=ROIS,
        box_positive_fraction=0.5,
    )
    arrays = {name: tensor.numpy() for name, tensor in theirs.state_dict().items()}
    found = torchvision.network_of(arrays)
    folder = tmp_path_factory.mktemp("converted")
    torch.save(theirs.state_dict(), folder / "theirs.pth")
    convert(folder / "theirs.pth", folder / "own" / "weights.h5")
    settings = {
        "NAME": "theirs",
        "ARCHITECTURE": found.architecture,
        **found.settings,
        "IMAGES_PER_GPU": 2,
        "IMAGE_MIN_DIM": SIDE,
        "IMAGE_MAX_DIM": SIDE,
        "RPN_TRAIN_ANCHORS_PER_IMAGE": 2 * ANCHORS,
        "PRE_NMS_LIMIT_TRAINING": 400,
        "POST_NMS_ROIS_TRAINING": PROPOSALS,
        "TRAIN_ROIS_PER_IMAGE": ROIS,
        "ROI_POSITIVE_RATIO": 0.5,
        "MAX_GT_INSTANCES": OBJECTS,
        "USE_MINI_MASK": False,
        "WEIGHT_DECAY": 0.0,
        "EDGE_LOSS_FILTERS": [],
    }
    config = configure(Config, settings)
    own = training_model.build(config)
    own.load_weights(folder / "own" / "weights.h5", by_name=True)
    return SimpleNamespace(
        theirs=theirs, own=own, config=config, arrays=arrays, architecture=found.architecture
    )


def batch_for(both: SimpleNamespace) -> tuple[dict[str, np.ndarray], list[Any], list[Any]]:
    """A batch of ours, and torchvision's images and targets: a small image, and a wide one."""
    resize = Resize.of(both.config)
    batches: dict[str, list[Any]] = {name: [] for name in (batch.IMAGE, batch.IMAGE_META)}
    batches |= {name: [] for name in (batch.GT_CLASS_IDS, batch.GT_BOXES, batch.GT_MASKS)}
    images, targets = [], []
    for number, (size, count) in enumerate([((SIDE, SIDE), OBJECTS), ((HEIGHT, WIDTH), 3)]):
        picture = random_picture(*size, seed=number)
        class_ids, boxes, masks = some_objects(number, size, count)
        resized = resize(picture)
        assert resized.scale == 1
        meta = compose_image_meta(
            number, picture.shape, resized.image.shape, resized.window, 1, np.ones(CLASSES)
        )
        room = OBJECTS - count
        whole = np.pad(masks, ((0, room), (0, SIDE - size[0]), (0, SIDE - size[1])))
        for name, value in (
            (batch.IMAGE, resized.image),
            (batch.IMAGE_META, meta.astype(np.float32)),
            (batch.GT_CLASS_IDS, np.pad(class_ids, (0, room))),
            (batch.GT_BOXES, np.pad(boxes, ((0, room), (0, 0)))),
            (batch.GT_MASKS, whole),
        ):
            batches[name].append(value)
        images.append(torch.from_numpy(picture).permute(2, 0, 1).float() / 255)
        targets.append(
            {
                "boxes": torch.from_numpy(boxes[:, [1, 0, 3, 2]]).float(),
                "labels": torch.from_numpy(class_ids).long(),
                "masks": torch.from_numpy(masks),
            }
        )
    return {name: np.stack(values) for name, values in batches.items()}, images, targets


def their_losses(both: SimpleNamespace, images: list[Any], targets: list[Any]) -> dict[str, Any]:
    """With the batch statistics that the weights came with, as ours."""
    both.theirs.train()
    for module in both.theirs.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    both.theirs.zero_grad()
    return both.theirs(images, targets)


def test_the_same_losses_and_gradients(both):
    inputs, images, targets = batch_for(both)
    expected = their_losses(both, images, targets)
    losses, gradients = losses_and_gradients(both.own, inputs)
    for theirs, own in LOSSES.items():
        np.testing.assert_allclose(losses[own], expected[theirs].item(), rtol=1e-4, err_msg=own)
        assert losses[own] > 1e-3
    sum(expected.values()).backward()
    slopes = {
        name: parameter.grad.numpy()
        for name, parameter in both.theirs.named_parameters()
        if parameter.grad is not None
    }
    compared = 0
    for place in torchvision.places(both.arrays, both.architecture):
        if place.source not in slopes or (place.layer, place.variable) not in gradients:
            continue
        slope, own = place.change(slopes[place.source]), gradients[place.layer, place.variable]
        error = np.linalg.norm(own - slope) / max(np.linalg.norm(slope), 1e-6)
        assert error < 3e-3, f"{place.layer}/{place.variable}: {error}"
        compared += 1
    assert compared > 80
