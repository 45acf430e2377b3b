"""`fit` as scripts call it that train by themselves: Matterport's batches, Keras 2's arguments.

Matterport's `train` hands `data_generator(…)` to `keras_model.fit_generator`, and many projects
have a copy of it. Its batches are lists of seven arrays; those of this package's network are
dictionaries of five (`mrcnn.batch`). Here, and only here, the one becomes the other:

- the images' mean is added again, which the network subtracts;
- masks [B, h, w, G] become [B, G, h, w];
- the RPN's targets are left out: the network makes its own, by the same rules.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from mrcnn import batch as batch_names
from mrcnn.data.molding import add_mean
from mrcnn.logger import logger

if TYPE_CHECKING:
    from keras import Model as _Model
else:
    _Model = object  # a mixin: the Keras model is the class behind it

# Matterport's inputs in their order. The proposals come with USE_RPN_ROIS = False.
_ORDER = (
    batch_names.IMAGE,
    batch_names.IMAGE_META,
    "rpn_match",
    "rpn_bbox",
    batch_names.GT_CLASS_IDS,
    batch_names.GT_BOXES,
    batch_names.GT_MASKS,
    batch_names.ROIS,
)
_UNUSED = ("rpn_match", "rpn_bbox")
_FEWEST = _ORDER.index(batch_names.ROIS)


class OwnLoops(_Model):
    """Mixin of `fit` and its like as Keras 2 had them, before a `TrainingModel`."""

    def fit(self, x: Any = None, *args: Any, **options: Any) -> keras.callbacks.History:
        """Keras's `fit`, which also takes Matterport's batches.

        Args:
            x: what Keras takes; or a generator or a sequence of Matterport's
                (`mrcnn.model.data_generator`, `DataGenerator`), or of one's own that gives such
                batches, of BATCH_SIZE images each.
            args, options: Keras's. `validation_data` may be of the same kinds as `x`. `generator`
                stands for `x`. `workers`, `use_multiprocessing` and `max_queue_size` are Keras
                2's and have no effect on generators: these run in one thread, beside the steps.
        """
        x = options.pop("generator", x)
        x, options["steps_per_epoch"] = self._adapted(x, options.get("steps_per_epoch"))
        if hasattr(x, "__next__"):
            options["shuffle"] = False  # it has an order of its own
        if options.get("validation_data") is not None:
            options["validation_data"], options["validation_steps"] = self._adapted(
                options["validation_data"], options.get("validation_steps")
            )
        return super().fit(x, *args, **_without_keras_2(options))

    def evaluate(self, x: Any = None, *args: Any, **options: Any) -> Any:
        """Keras's `evaluate`, which also takes Matterport's batches; see `fit`."""
        x = options.pop("generator", x)
        x, options["steps"] = self._adapted(x, options.get("steps"))
        return super().evaluate(x, *args, **_without_keras_2(options))

    def fit_generator(
        self,
        generator: Any,
        steps_per_epoch: float | None = None,
        epochs: int = 1,
        verbose: Any = "auto",
        callbacks: Sequence[keras.callbacks.Callback] | None = None,
        validation_data: Any = None,
        validation_steps: float | None = None,
        **options: Any,
    ) -> keras.callbacks.History:
        """`fit` under the name and with the order of arguments that Keras 2 had for generators."""
        return self.fit(
            generator,
            steps_per_epoch=steps_per_epoch,
            epochs=epochs,
            verbose=verbose,
            callbacks=callbacks,
            validation_data=validation_data,
            validation_steps=validation_steps,
            **options,
        )

    def evaluate_generator(self, generator: Any, steps: float | None = None, **options: Any) -> Any:
        """`evaluate` under the name that Keras 2 had for generators."""
        return self.evaluate(generator, steps=steps, **options)

    def train_on_batch(self, x: Any, y: Any = None, *args: Any, **options: Any) -> Any:
        """Keras's, which also takes a batch of Matterport's and its empty list of outputs."""
        _expect_no_outputs(y)
        return super().train_on_batch(self._batch(x), None, *args, **options)

    def test_on_batch(self, x: Any, y: Any = None, *args: Any, **options: Any) -> Any:
        """Keras's, which also takes a batch of Matterport's and its empty list of outputs."""
        _expect_no_outputs(y)
        return super().test_on_batch(self._batch(x), None, *args, **options)

    # --- What is adapted ---------------------------------------------------------------------

    def _adapted(self, data: Any, steps: float | None) -> tuple[Any, int | None]:
        """Data for Keras's `fit` or `evaluate`, and how many batches of them."""
        count = None if steps is None else math.ceil(steps)
        if hasattr(data, "endless"):  # Matterport's sequence: a pass may be shorter than an epoch
            return self._items(data.endless()), len(data) if count is None else count
        if hasattr(data, "__next__"):
            return self._items(data), count
        if isinstance(data, tuple | list):
            if _is_matterports(data):
                return self._batch(data), count
            if data and _is_matterports(data[0]):
                return self._item(data), count
            return data, count
        if isinstance(data, keras.utils.PyDataset) or _is_sequence(data):
            return _Sequence(data, self._item), count
        return data, count

    def _items(self, items: Iterator[Any]) -> Iterator[tuple[Any, ...]]:
        for item in items:
            yield self._item(item)

    def _item(self, item: Any) -> tuple[Any, ...]:
        """(inputs, outputs, …) as Keras takes them."""
        if not isinstance(item, tuple | list) or not _is_matterports(item[0]):
            return item
        if len(item) > 1:
            _expect_no_outputs(item[1])
        return (self._batch(item[0]),)

    def _batch(self, inputs: Any) -> Any:
        """A batch of Matterport's as a batch of the loader's; any other as it is."""
        if not _is_matterports(inputs):
            return inputs
        if len(inputs) > len(_ORDER):
            raise ValueError(
                f"A batch of {len(inputs)} arrays: expected {_FEWEST}, or {len(_ORDER)} with "
                "USE_RPN_ROIS = False. The network draws the targets of its heads itself: leave "
                "out detection_targets."
            )
        arrays = dict(zip(_ORDER, map(np.asarray, inputs), strict=False))
        for name in _UNUSED:
            del arrays[name]
        size = self.inputs[0].shape[0]
        if len(arrays[batch_names.IMAGE]) != size:
            raise ValueError(
                f"A batch of {len(arrays[batch_names.IMAGE])} images: expected {size}, which is "
                "BATCH_SIZE = GPU_COUNT * IMAGES_PER_GPU. Pass batch_size=config.BATCH_SIZE to "
                "data_generator."
            )
        mean = self.get_layer("molded_image").mean_pixel
        arrays[batch_names.IMAGE] = add_mean(arrays[batch_names.IMAGE], mean)
        masks = arrays[batch_names.GT_MASKS].transpose(0, 3, 1, 2)
        arrays[batch_names.GT_MASKS] = np.ascontiguousarray(masks).astype(np.uint8)
        for name in (batch_names.GT_CLASS_IDS, batch_names.GT_BOXES, batch_names.ROIS):
            if name in arrays:
                arrays[name] = np.asarray(arrays[name], np.int32)
        arrays[batch_names.IMAGE_META] = np.asarray(arrays[batch_names.IMAGE_META], np.float32)
        return {tensor.name: arrays[tensor.name] for tensor in self.inputs}


class _Sequence(keras.utils.PyDataset):
    """A sequence of batches, adapted one by one."""

    def __init__(self, source: Any, adapt: Any) -> None:
        names = ("workers", "use_multiprocessing", "max_queue_size")
        super().__init__(**{name: getattr(source, name) for name in names if hasattr(source, name)})
        self.source, self.adapt = source, adapt

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        return self.adapt(self.source[index])

    def on_epoch_begin(self) -> None:
        getattr(self.source, "on_epoch_begin", lambda: None)()

    def on_epoch_end(self) -> None:
        getattr(self.source, "on_epoch_end", lambda: None)()


def _is_matterports(inputs: Any) -> bool:
    return isinstance(inputs, tuple | list) and len(inputs) >= _FEWEST and np.ndim(inputs[0]) == 4


def _is_sequence(data: Any) -> bool:
    """Whether it gives batches by number, and is no array, data set or mapping."""
    return (
        hasattr(data, "__getitem__")
        and hasattr(data, "__len__")
        and not hasattr(data, "shape")
        and not hasattr(data, "keys")
    )


def _expect_no_outputs(outputs: Any) -> None:
    """Check that nothing is to be compared with the network's outputs, which are its losses."""
    if outputs is not None and len(outputs):
        raise ValueError(
            f"A batch with {len(outputs)} arrays of outputs: expected none, because the network's "
            "outputs are its losses. Leave out detection_targets."
        )


def _without_keras_2(options: dict[str, Any]) -> dict[str, Any]:
    """Keyword arguments without those that Keras 3 has no longer."""
    workers = options.pop("workers", 0)
    processes = options.pop("use_multiprocessing", False)
    options.pop("max_queue_size", None)
    if workers > 1 or processes:
        logger.info(
            "workers and use_multiprocessing have no effect on a generator: it runs in one thread, "
            "beside the steps. MaskRCNN.train reads with as many workers as there are cores."
        )
    return options
