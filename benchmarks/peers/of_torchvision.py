"""The worker of torchvision's Mask R-CNN: a training step, or a detection.

As shipped it differs from Matterport's network, and so from ours, in what it computes. Unless
`spec["shipped"]` is set, the work is made the same: the stride of a stage in its first 1 × 1 and
not in its 3 × 3, 512 channels in the RPN and not 256, one sample of a bin in RoIAlign and not
four, and a bound on the gradients. Both ways it has as many RoIs, proposals and positives as ours.
"""

from __future__ import annotations

import os
from typing import Any

from benchmarks.peers.rows import class_biases
from benchmarks.peers.worker import Spec, Work, serve

# Of the last normalization of a residual block. Frozen statistics of 0 and 1 normalize nothing, and
# with a factor of 1 each of the random blocks would double the variance: nothing would be found.
RESIDUAL_FACTOR = 0.3
LEARNING_RATE = 1e-9
PRE_NMS, POST_NMS_TRAINING, POST_NMS_DETECTION = 6000, 2000, 1000  # Matterport's


def prepare(spec: Spec) -> Work:
    """The work of a row; see `benchmarks.peers.rows.specification`."""
    import torch

    from benchmarks.peers import devices

    torch.manual_seed(0)
    if spec["device"] == "cpu":
        torch.set_num_threads(len(os.sched_getaffinity(0)))
    work = prepare_training(spec) if spec["kind"] == "train" else prepare_detection(spec)
    work.memory = devices.memory_of_torch(spec)
    work.trace = devices.tracer_of_torch(next(iter(work.calls.values())))
    return work


def build(spec: Spec) -> Any:
    """The network, on its device."""
    import torch
    from torchvision.models.detection import MaskRCNN
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
    from torchvision.ops.misc import FrozenBatchNorm2d

    backbone = resnet_fpn_backbone(
        backbone_name=spec["backbone"],
        weights=None,
        trainable_layers=5,
        norm_layer=FrozenBatchNorm2d,
    )
    for name, module in backbone.named_modules():
        if name.endswith("bn3"):
            module.weight.fill_(RESIDUAL_FACTOR)
    height, width = spec["image_size"]
    rois = spec["rois_in_use"]
    anchors = AnchorGenerator(
        tuple((side,) for side in spec["scales"]), ((0.5, 1.0, 2.0),) * len(spec["scales"])
    )
    equal = {} if spec.get("shipped") else _equal_work(backbone)
    model = MaskRCNN(
        backbone,
        num_classes=spec["classes"],
        min_size=min(height, width),
        max_size=max(height, width),
        rpn_anchor_generator=anchors,
        rpn_pre_nms_top_n_train=PRE_NMS,
        rpn_post_nms_top_n_train=POST_NMS_TRAINING,
        rpn_pre_nms_top_n_test=PRE_NMS,
        rpn_post_nms_top_n_test=POST_NMS_DETECTION,
        box_score_thresh=0.05,
        box_nms_thresh=0.9,  # as ours, so that random boxes leave enough detections
        box_batch_size_per_image=rois,
        box_positive_fraction=(spec["positives"] + 0.5) / rois,
        box_detections_per_img=100,
        **equal,
    ).to(spec["device"])
    with torch.no_grad():
        predictor = model.roi_heads.box_predictor
        for layer in (model.rpn.head.bbox_pred, predictor.bbox_pred, predictor.cls_score):
            layer.weight.zero_()
            layer.bias.zero_()
        predictor.cls_score.bias.copy_(torch.tensor(class_biases(spec["classes"])))
    if spec.get("channels_last"):
        model = model.to(memory_format=torch.channels_last)
    return model


def _equal_work(backbone: Any) -> dict[str, Any]:
    """Change a backbone to Matterport's strides; the other parts, as arguments of the network."""
    from torch import nn
    from torchvision.models.detection.rpn import RPNHead
    from torchvision.ops import MultiScaleRoIAlign

    for stage in (backbone.body.layer2, backbone.body.layer3, backbone.body.layer4):
        stage[0].conv1.stride, stage[0].conv2.stride = (2, 2), (1, 1)
    head = RPNHead(backbone.out_channels, 3)
    head.conv = nn.Sequential(nn.Conv2d(backbone.out_channels, 512, 3, padding=1), nn.ReLU())
    head.cls_logits, head.bbox_pred = nn.Conv2d(512, 3, 1), nn.Conv2d(512, 12, 1)
    for layer in (head.conv[0], head.cls_logits, head.bbox_pred):
        nn.init.normal_(layer.weight, std=0.01)
        nn.init.zeros_(layer.bias)
    maps = ["0", "1", "2", "3"]
    return {
        "rpn_head": head,
        "box_roi_pool": MultiScaleRoIAlign(maps, output_size=7, sampling_ratio=1),
        "mask_roi_pool": MultiScaleRoIAlign(maps, output_size=14, sampling_ratio=1),
    }


def prepare_training(spec: Spec) -> Work:
    """A step on one batch."""
    import torch

    model = build(spec).train()
    images = [image.float().to(spec["device"]) / 255 for image in _images(spec)]
    objects = _objects(spec)
    drawn: list[tuple[int, int]] = []  # RoIs and positives, by image, of the last step
    losses: list[float] = []
    select = model.roi_heads.select_training_samples

    def selecting(*args: Any) -> Any:
        selected = select(*args)
        drawn[:] = [(len(labels), int((labels > 0).sum())) for labels in selected[2]]
        return selected

    def count() -> dict[str, Any]:
        model.roi_heads.select_training_samples = selecting
        step()
        model.roi_heads.select_training_samples = select
        rois, positives = (sum(values) / len(drawn) for values in zip(*drawn, strict=True))
        return {"rois": rois, "positives": positives, "loss": losses[-1]}

    optimizer = torch.optim.SGD(model.parameters(), LEARNING_RATE, momentum=0.9, weight_decay=1e-4)

    def step() -> None:
        with _precision(spec):
            loss = sum(model(images, objects).values())
        optimizer.zero_grad()
        loss.backward()
        if not spec.get("shipped"):
            torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        losses.append(float(loss.detach()))  # waits for a GPU

    return Work({"step": step}, _versions(), count)


def prepare_detection(spec: Spec) -> Work:
    """The network alone, and the whole way from bytes to pasted masks."""
    import torch

    model = build(spec).eval()
    images = _images(spec)
    molded = [image.float().to(spec["device"]) / 255 for image in images]
    paste = model.transform.postprocess
    found: list[int] = []

    def graph() -> None:
        model.transform.postprocess = lambda results, *_: results
        with torch.inference_mode(), _precision(spec):
            results = model(molded)
        found[:] = [len(result["scores"].cpu()) for result in results]

    def whole() -> None:
        model.transform.postprocess = paste
        with torch.inference_mode(), _precision(spec):
            results = model([image.float().to(spec["device"]) / 255 for image in images])
        for result in results:
            (result["masks"][:, 0] > 0.5).cpu().numpy()
        found[:] = [len(result["scores"]) for result in results]

    calls = {"graph": graph, "whole": whole}
    return Work(calls, _versions(), lambda: {"found": sum(found) / len(found)})


def _precision(spec: Spec) -> Any:
    import torch

    return torch.autocast(spec["device"], torch.bfloat16, enabled=spec["dtype"] == "bfloat16")


def _images(spec: Spec) -> list[Any]:
    """Noise, uint8 [3, H, W]."""
    import torch

    shape = (3, *spec["image_size"])
    return [torch.randint(0, 256, shape, dtype=torch.uint8) for _ in range(spec["batch_size"])]


def _objects(spec: Spec) -> list[dict[str, Any]]:
    """Filled boxes, as many as there are to be positives: they are proposals themselves here."""
    import torch

    height, width = spec["image_size"]
    size = torch.tensor([width, height])
    targets = []
    for _ in range(spec["batch_size"]):
        count = spec["positives"]
        centers = (torch.rand(count, 2) * 0.6 + 0.2) * size
        halves = (torch.rand(count, 2) * 0.19 + 0.06) * size
        boxes = torch.cat([(centers - halves).clamp(0), torch.minimum(centers + halves, size)], 1)
        masks = torch.zeros(count, height, width, dtype=torch.uint8)
        for mask, (x1, y1, x2, y2) in zip(masks, boxes.int().tolist(), strict=True):
            mask[y1:y2, x1:x2] = 1
        labels = torch.randint(1, spec["classes"], (count,))
        target = {"boxes": boxes, "labels": labels, "masks": masks}
        targets.append({name: value.to(spec["device"]) for name, value in target.items()})
    return targets


def _versions() -> dict[str, Any]:
    import torch
    import torchvision

    return {"version": f"torch {torch.__version__}, torchvision {torchvision.__version__}"}


if __name__ == "__main__":
    serve(prepare)
