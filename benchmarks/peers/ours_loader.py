"""The worker of this package's loader: batches in the caller's thread, none ahead."""

from __future__ import annotations

from benchmarks.peers.worker import Spec, Work, serve


def prepare(spec: Spec) -> Work:
    """The next batches of a stream over `spec["dataset"]`, mirrored at random, with mini masks."""
    from mrcnn.config import Config
    from mrcnn.data.augment import HorizontalFlip
    from mrcnn.data.loader import Loader
    from mrcnn.data.stream import SampleStream
    from mrcnn.datasets.coco import CocoDataset
    from mrcnn.process import keep_freed_memory
    from mrcnn.runs.settings import configure

    keep_freed_memory()  # as training does
    dataset = CocoDataset.of(spec["dataset"], spec["subset"], spec["year"])
    settings = {
        "NAME": "peers",
        "NUM_CLASSES": dataset.num_classes,
        "IMAGES_PER_GPU": spec["batch_size"],
        "IMAGE_MIN_DIM": spec["image_size"][0],
        "IMAGE_MAX_DIM": spec["image_size"][0],
    }
    stream = SampleStream.of(dataset, configure(Config, settings), 0, HorizontalFlip())
    batches = Loader(stream, workers=0).batches()

    def load() -> None:
        for _ in range(spec["batches"]):
            next(batches)

    return Work({"load": load}, {"images": spec["batches"] * spec["batch_size"]})


if __name__ == "__main__":
    serve(prepare)
