"""The batches of a training, as Keras's `fit` takes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from mrcnn import batch as batch_names
from mrcnn.config import Config
from mrcnn.data.dataset import Dataset
from mrcnn.data.dataset_checks import describe_image
from mrcnn.data.loader import Batch, Loader
from mrcnn.data.scale_jitter import without_jitter
from mrcnn.data.stream import SampleStream
from mrcnn.tensorflow_backend.batches import batches_of_shapes
from mrcnn.training import hosts
from mrcnn.training.model import TrainingModel


@dataclass(frozen=True)
class TrainingData:
    """What a network trains on, and what it is validated with.

    Attributes:
        train_dataset: prepared.
        val_dataset: prepared, or None.
        augmentation: of the training images; see `mrcnn.data.augment`.
        no_augmentation_sources: sources whose images are not augmented.
    """

    train_dataset: Dataset
    val_dataset: Dataset | None = None
    augmentation: Any = None
    no_augmentation_sources: Sequence[str] | None = None


class Batches:
    """Batches of training and validation, in the order that the seed and the step fix.

    A context: its workers end with it.

    Args:
        model: that trains.
        data: what to make batches of.
        config: settings.

    Attributes:
        loader: of the training batches.
        validation: keywords of Keras's `fit` for the same VALIDATION_STEPS batches every epoch;
            {} without validation.
    """

    def __init__(self, model: TrainingModel, data: TrainingData, config: Config) -> None:
        self._model = model
        self._dataset = data.train_dataset
        self.loader = Loader(
            SampleStream.of(
                data.train_dataset,
                config,
                seed=config.SEED,
                augmentation=data.augmentation,
                no_augmentation_sources=data.no_augmentation_sources,
            ),
            shard=hosts.shard(),
        )
        self.validation: dict[str, Any] = {}
        if data.val_dataset is not None and config.VALIDATION_STEPS > 0:
            still = without_jitter(config)
            stream = SampleStream.of(data.val_dataset, still, seed=config.SEED, shuffle=False)
            # In the caller's thread: validation batches are few, and training wants the cores.
            loader = Loader(stream, workers=0, shard=hosts.shard())
            self.validation = _validation(model, loader, config.VALIDATION_STEPS)

    def __enter__(self) -> Batches:
        return self

    def __exit__(self, *exception: object) -> None:
        self.loader.close()

    def between(self, first_step: int, last_step: int) -> Any:
        """The training batches from a step to before another, counted from 0."""
        return as_inputs(
            self._model, lambda: self.loader.batches(first_step, last_step), self.loader.image_dtype
        )

    def describe_images(self, step: int) -> str:
        """The images of a step, those of all processes, for a message."""
        ids = self.loader.image_ids(step)
        return "; ".join(describe_image(self._dataset, image_id) for image_id in ids)


def as_inputs(
    model: TrainingModel, batches: Callable[[], Iterator[Batch]], image_dtype: str
) -> Any:
    """Batches as Keras's `fit` and `evaluate` take them for a model.

    Args:
        model: of one image shape or several.
        batches: begins anew at each call.
        image_dtype: of their images.
    """
    if model.several_shapes:
        dtypes = {batch_names.IMAGE: image_dtype}
        return batches_of_shapes(batches, model.inputs, dtypes, model.replicas)
    return ((batch,) for batch in batches())


def _validation(model: TrainingModel, loader: Loader, steps: int) -> dict[str, Any]:
    def repeated() -> Iterator[Batch]:
        while True:
            yield from loader.batches(0, steps)

    if model.several_shapes:
        batches = as_inputs(model, repeated, loader.image_dtype)
    else:
        batches = _SameBatches(loader, steps)
    return {"validation_data": batches, "validation_steps": steps}


class _SameBatches(keras.utils.PyDataset):
    """The same batches every epoch.

    Not a generator: Keras reads ahead in it, and would begin the next epoch somewhere else.
    """

    def __init__(self, loader: Loader, steps: int) -> None:
        super().__init__()
        self.loader = loader
        self.steps = steps

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, index: int) -> tuple[Batch]:
        return (self.loader.batch(index),)

    def on_epoch_end(self) -> None:
        self.loader.report()
