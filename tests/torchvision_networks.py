"""torchvision's Mask R-CNNs with random weights: what the networks of `mrcnn` are compared with."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.random_pictures import random_picture

torch = pytest.importorskip("torch", reason="the oracle is torchvision: pip install '.[bench]'")
pytest.importorskip("torchvision", reason="the oracle is torchvision: pip install '.[bench]'")

MIN_SIZE, MAX_SIZE, CLASSES = 128, 192, 5


def random_network(version: int, seed: int = 0, **settings: Any) -> Any:
    """`maskrcnn_resnet50_fpn`, or `_v2`, whose activations and scores are far from constant."""
    from torchvision.models import detection

    torch.manual_seed(seed)
    make = detection.maskrcnn_resnet50_fpn if version == 1 else detection.maskrcnn_resnet50_fpn_v2
    settings = {"min_size": MIN_SIZE, "max_size": MAX_SIZE, "num_classes": CLASSES, **settings}
    model = make(weights=None, weights_backbone=None, **settings)
    with torch.no_grad():
        for name, module in model.named_modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                # The branches of a ResNet add up: small, so that they do not grow beyond bounds.
                scale = 0.3 if name.endswith("bn3") else 1.0
                module.weight.uniform_(0.5 * scale, 1.5 * scale)
                module.bias.normal_(0, 0.1)
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
            elif isinstance(module, (torch.nn.Conv2d, torch.nn.Linear)) and module.bias is not None:
                module.bias.normal_(0, 0.1)
        heads = model.rpn.head
        _spread(heads.cls_logits, 0.05)
        _spread(heads.bbox_pred, 0.01)
        _spread(model.roi_heads.box_predictor.bbox_pred, 0.05)
        model.eval()
        _let_scores_differ(model, settings["min_size"], settings["max_size"])
    return model


def _let_scores_differ(model: Any, *size: int) -> None:
    """Give every class its RoIs: logits of mean 0 and deviation 1.5 on a picture."""
    score, seen = model.roi_heads.box_predictor.cls_score, []
    hook = score.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    model([torch.from_numpy(random_picture(*size)).permute(2, 0, 1).float() / 255])
    hook.remove()
    _spread(score, 1.0)
    logits = seen[0] @ score.weight.T
    score.weight *= 1.5 / logits.std(dim=0, keepdim=True).T
    score.bias.copy_(-(seen[0] @ score.weight.T).mean(dim=0))


def _spread(layer: Any, deviation: float) -> None:
    layer.weight.normal_(0, deviation)


def answers(model: Any, picture: np.ndarray) -> dict[str, np.ndarray]:
    """What torchvision finds, its proposals, and the masks' probabilities before pasting.

    Boxes are (y1, x1, y2, x2) in pixels of the picture; proposals in those of the resized one.
    """
    seen: dict[str, Any] = {}
    hooks = [
        model.rpn.register_forward_hook(lambda m, i, o: seen.update(proposals=o[0][0])),
        model.roi_heads.register_forward_hook(
            lambda m, i, o: seen.update(box_masks=o[0][0]["masks"])
        ),
        model.backbone.register_forward_hook(lambda m, i, o: seen.update(features=dict(o))),
        model.transform.register_forward_hook(lambda m, i, o: seen.update(image=o[0].tensors)),
    ]
    image = torch.from_numpy(picture).permute(2, 0, 1).float() / 255
    with torch.no_grad():
        (found,) = model([image])
    for hook in hooks:
        hook.remove()
    flip = [1, 0, 3, 2]
    return {
        "image": seen["image"][0].permute(1, 2, 0).numpy(),
        "proposals": seen["proposals"].numpy()[:, flip],
        "features": [f[0].permute(1, 2, 0).numpy() for f in seen["features"].values()],
        "boxes": found["boxes"].numpy()[:, flip],
        "labels": found["labels"].numpy(),
        "scores": found["scores"].numpy(),
        "box_masks": seen["box_masks"].numpy()[:, 0],
        "masks": found["masks"].numpy()[:, 0],
    }
