"""The worker of torchvision's loader: CocoDetection, transforms v2, DataLoader in its own process.

As shipped, that is what torchvision's reference training of detection does with the "hflip"
preset: images keep their size and are resized within the step. Otherwise the image and its masks
are resized here, as ours are, but for the padding. Masks have the size of the image, ours 56².
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.peers.worker import Spec, Work, serve


def prepare(spec: Spec) -> Work:
    """The next batches of a loader over `spec["dataset"]`, shuffled, mirrored at random."""
    import torch
    from torch.utils.data import DataLoader
    from torchvision.datasets import CocoDetection, wrap_dataset_for_transforms_v2
    from torchvision.transforms import v2

    torch.manual_seed(0)
    torch.set_num_threads(1)
    resizing = [] if spec.get("shipped") else [v2.Resize(None, max_size=spec["image_size"][0])]
    transforms = v2.Compose(
        [
            v2.ToImage(),
            v2.RandomHorizontalFlip(0.5),
            *resizing,
            v2.ToDtype(torch.float32, scale=True),
            v2.SanitizeBoundingBoxes(),
            v2.ToPureTensor(),
        ]
    )
    folder, name = Path(spec["dataset"]), f"{spec['subset']}{spec['year']}"
    annotations = folder / "annotations" / f"instances_{name}.json"
    dataset = CocoDetection(folder / name, annotations, transforms=transforms)
    labelled = [
        i for i, key in enumerate(dataset.ids) if dataset.coco.getAnnIds(key, iscrowd=False)
    ]
    dataset = wrap_dataset_for_transforms_v2(dataset, target_keys=["boxes", "labels", "masks"])
    loader = DataLoader(
        torch.utils.data.Subset(dataset, labelled),
        batch_size=spec["batch_size"],
        shuffle=True,
        drop_last=True,
        collate_fn=lambda samples: tuple(zip(*samples, strict=True)),
    )

    def endless() -> Any:
        while True:
            yield from loader

    batches = endless()

    def load() -> None:
        for _ in range(spec["batches"]):
            next(batches)

    return Work({"load": load}, {"images": spec["batches"] * spec["batch_size"]})


if __name__ == "__main__":
    serve(prepare)
