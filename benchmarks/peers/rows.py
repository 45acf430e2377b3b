"""The work that peers do side by side, and who does it.

Free of any framework, as every peer's process reads its part.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from benchmarks.peers.objects import rois_in_use

POSITIVE_RATIO = 0.33  # of Matterport's sampling, which torchvision is given too
OURS, TORCHVISION, FORK = "ours", "torchvision", "fork"


@dataclass(frozen=True)
class Row:
    """One kind of work, the same for every peer.

    Attributes:
        kind: "train", "detect" or "load".
        image_size: (height, width) in pixels.
        rois: training RoIs of an image that there is room for.
        scales: sides of the anchors in pixels, by pyramid level.
        min_side: what the shorter side is scaled to; None: the image is the network's input as
            it is.
    """

    kind: str
    image_size: tuple[int, int]
    batch_size: int = 1
    backbone: str = "resnet101"
    classes: int = 81
    rois: int = 200
    scales: tuple[int, ...] = (32, 64, 128, 256, 512)

    def positives(self, share: float) -> int:
        """Positive RoIs of an image when so large a share of their slots is used; at least one."""
        return max(1, round(share * int(self.rois * POSITIVE_RATIO)))


ROWS = {
    "train-r50-128": Row(
        "train", (128, 128), 8, "resnet50", classes=4, rois=32, scales=(8, 16, 32, 64, 128)
    ),
    "train-r101-256": Row("train", (256, 256), 2, scales=(16, 32, 64, 128, 256)),
    "detect-r101-1024": Row("detect", (1024, 1024)),
    "detect-r101-256": Row("detect", (256, 256)),
    "load-1024": Row("load", (1024, 1024), batch_size=2),
    # Too small to say anything: for tests of the benchmark itself.
    "train-tiny": Row("train", (128, 128), 1, "resnet50", 3, 16, (8, 16, 32, 64, 128)),
    "detect-tiny": Row("detect", (128, 128), 1, "resnet50", 3, 16, (8, 16, 32, 64, 128)),
    "load-tiny": Row("load", (128, 128), batch_size=2),
}


@dataclass(frozen=True)
class Contestant:
    """A peer in one of its ways.

    Attributes:
        name: shown.
        peer: OURS, TORCHVISION or FORK.
        options: for its worker: the type it computes in, settings, what is left as shipped.
        kinds: of the rows that it takes part in.
    """

    name: str
    peer: str
    options: dict[str, Any] = field(default_factory=dict)
    kinds: tuple[str, ...] = ("train", "detect")


_BFLOAT16 = {"dtype": "bfloat16"}
_FROZEN = {"settings": {"FREEZE_GRAPH": True}}
CONTESTANTS = {
    contestant.name: contestant
    for contestant in (
        Contestant("ours", OURS, kinds=("train", "detect", "load")),
        Contestant("ours-frozen", OURS, _FROZEN, ("detect",)),
        Contestant("torchvision", TORCHVISION, kinds=("train", "detect", "load")),
        Contestant("torchvision-shipped", TORCHVISION, {"shipped": True}, ("train", "load")),
        Contestant("fork", FORK, kinds=("train", "detect", "load")),
        Contestant("ours-bfloat16", OURS, _BFLOAT16),
        Contestant("ours-frozen-bfloat16", OURS, {**_BFLOAT16, **_FROZEN}, ("detect",)),
        Contestant("torchvision-bfloat16", TORCHVISION, _BFLOAT16),
    )
}


def specification(row: Row, contestant: Contestant, share: float, **more: Any) -> dict[str, Any]:
    """What a contestant's process is told."""
    positives = row.positives(share)
    return {
        "kind": row.kind,
        "image_size": list(row.image_size),
        "batch_size": row.batch_size,
        "backbone": row.backbone,
        "classes": row.classes,
        "rois": row.rois,
        "positives": positives,
        "rois_in_use": rois_in_use(positives, POSITIVE_RATIO),
        "scales": list(row.scales),
        "dtype": "float32",
        "device": "cpu",
        "warm_up": 2,
        **contestant.options,
        **more,
    }


def class_biases(classes: int) -> list[float]:
    """The biases of the class logits of networks whose other weights there are 0.

    Features of random networks grow from block to block, and what they are taken for is chance. So
    that each peer has as many proposals and detections as there is room for, boxes stay where the
    anchors are, and every RoI is of the first class: no other has a score of 0.05, which is where
    torchvision stops to look.
    """
    return [-10.0, 5.0] + [0.0] * (classes - 2)


def repeats_of(row: Row) -> int:
    """Calls in a round: short ones twice, so that a round is not all probing."""
    pixels = row.batch_size * math.prod(row.image_size)
    return 1 if pixels > 300_000 else 2
