"""Matterport's readers of a data set: `load_image_gt`, `data_generator` and `DataGenerator`.

For scripts and notebooks that look at training data, and for those that feed it by hand.
Training reads through `mrcnn.data.loader`, whose samples these are: the same images in the same
order, resized and augmented by the same random numbers, for the same `config.SEED`.

Shape letters: B images, A anchors, G instance slots (MAX_GT_INSTANCES), N instances, R training
RoIs, C classes or channels; H W image, h w masks. Boxes are pixels (y1, x1, y2, x2), y2 and x2
exclusive.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from itertools import count as count_from
from typing import Any

import numpy as np

from mrcnn import batch as batch_names
from mrcnn.config import Config
from mrcnn.data.augment import HorizontalFlip, Sequential
from mrcnn.data.dataset import Dataset
from mrcnn.data.loader import Loader, stack_samples
from mrcnn.data.molding import mold_image
from mrcnn.data.random_rois import generate_random_rois
from mrcnn.data.sample import Sample, load_sample
from mrcnn.data.scale_jitter import without_jitter
from mrcnn.data.stream import TARGET_STREAM, SampleStream, random_generator
from mrcnn.matterport.anchors import image_anchors
from mrcnn.matterport.targets import build_detection_targets, build_rpn_targets

Arrays = list[np.ndarray]


def load_image_gt(
    dataset: Dataset,
    config: Config,
    image_id: int,
    augment: Any = False,
    augmentation: Any = None,
    use_mini_mask: bool = False,
    rng: np.random.Generator | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Read an image and its instances as the network sees them.

    Both of Matterport's forms are taken. Most copies have `use_mini_mask`; those that do not have
    `augmentation` in the place of `augment`, so an augmentation is taken there too. Masks are as
    large as the image unless mini masks are asked for. (The form without `use_mini_mask` gave mini
    masks where the configuration uses them; `mrcnn.utils.expand_mask`, which is what scripts call
    on them next, leaves masks of the image's size as they are.)

    As in Matterport's package, the classes are the data set's, not `config.NUM_CLASSES`.
    In the modes "pad64" and "none", and with IMAGE_SHAPE_GROUPS, the image is as large as
    detection would make it; in these modes the training loader centers it in the one static
    shape of training. Scale jitter is left to the loader and the generators.

    Args:
        dataset: a prepared `mrcnn.data.dataset.Dataset`.
        config: settings, or their class.
        image_id: the data set's own, running number of the image.
        augment: mirror left and right, in half the calls.
        augmentation: None, or what `mrcnn.data.augment.as_transform` takes.
        use_mini_mask: masks are crops of their boxes.
        rng: decides crop and augmentation; None: seeded from NumPy's global generator, so that
            `np.random.seed` decides.

    Returns:
        image: uint8 [H, W, C], or float32 where the data set's image is not uint8.
        image_meta: float32 [1 + 3 + 3 + 4 + 1 + number of classes].
        class_ids: int32 [N]; negative: a crowd.
        bbox: int32 [N, 4].
        mask: bool [h, w, N], MINI_MASK_SHAPE or the image's size.

    Raises:
        SampleError: the image or its masks do not fit together, or do not fit the settings.
    """
    if augment is None or not isinstance(augment, bool | int | np.bool_):
        augment, augmentation = False, augment
    config = without_jitter(config() if isinstance(config, type) else config)
    config.NUM_CLASSES = dataset.num_classes
    config.USE_MINI_MASK = bool(use_mini_mask)
    if rng is None:
        rng = np.random.default_rng(np.random.randint(2**32, size=4, dtype=np.uint32))
    sample = load_sample(
        dataset, image_id, config, rng, _combined(augment, augmentation), static_shape=False
    )
    masks = sample.masks.transpose(1, 2, 0).astype(bool)
    return sample.image, sample.image_meta, sample.class_ids, sample.boxes, masks


def data_generator(
    dataset: Dataset,
    config: Config,
    shuffle: bool = True,
    augment: bool = False,
    augmentation: Any = None,
    random_rois: int = 0,
    batch_size: int = 1,
    detection_targets: bool = False,
    no_augmentation_sources: Sequence[str] | None = None,
) -> Iterator[tuple[Arrays, Arrays]]:
    """Yield batches without end, each image once in each pass over the data set.

    Images are square in the mode "square": IMAGE_SHAPE_GROUPS is not used.

    Args:
        dataset: a prepared `mrcnn.data.dataset.Dataset`.
        config: settings; SEED decides the order and everything random.
        shuffle: a new order in each pass.
        augment: mirror half the images left and right.
        augmentation: None, or what `mrcnn.data.augment.as_transform` takes.
        random_rois: how many random RoIs to add for each image, to train without the RPN.
        batch_size: B.
        detection_targets: add the targets of the heads for these RoIs.
        no_augmentation_sources: sources whose images are not augmented.

    Yields:
        (inputs, outputs), two lists. The inputs: molded images float32 [B, H, W, C], metas
        float32 [B, ·], rpn_match int32 [B, A, 1], rpn_bbox float32
        [B, RPN_TRAIN_ANCHORS_PER_IMAGE, 4], class ids int32 [B, G], boxes int32 [B, G, 4], masks
        bool [B, h, w, G]. With `random_rois`, then the RoIs, int32 [B, random_rois, 4]. With
        `detection_targets`, then the drawn RoIs, int32 [B, R, 4]; and the outputs are class
        ids int32 [B, R, 1], deltas float32 [B, R, C, 4] and masks float32 [B, R, *MASK_SHAPE, C].
        Otherwise there are no outputs.

    Raises:
        ValueError: `detection_targets` without `random_rois`, or a data set without images.
        SampleError: an image could not be loaded; the message names it.
    """
    batches = _Batches(
        *(dataset, config, shuffle, _combined(augment, augmentation), no_augmentation_sources),
        *(random_rois, detection_targets),
    )
    # In a generator of its own, so that wrong arguments are told at once.
    return (batches(range(step * batch_size, (step + 1) * batch_size)) for step in count_from())


class DataGenerator:
    """The batches of `data_generator` by their number; a pass holds each image once.

    A sequence as Keras has it, with `len`, an index and `on_epoch_end`, but not a subclass of
    Keras's: the host side loads no Keras. `mrcnn.model.MaskRCNN.train` does not need it.

    Batches have `config.BATCH_SIZE` images; the last one of a pass has those that are left. A
    batch is a pure function of `config.SEED`, the number of the pass and its index.

    Args: as those of `data_generator`.
    """

    def __init__(
        self,
        dataset: Dataset,
        config: Config,
        shuffle: bool = True,
        augmentation: Any = None,
        random_rois: int = 0,
        detection_targets: bool = False,
        no_augmentation_sources: Sequence[str] | None = None,
    ) -> None:
        self.images = len(dataset.image_ids)
        self.batch_size = config.BATCH_SIZE
        self.passes = 0  # that are over
        self._batches = _Batches(
            *(dataset, config, shuffle, augmentation, no_augmentation_sources),
            *(random_rois, detection_targets),
        )

    def __len__(self) -> int:
        """Batches in a pass."""
        return -(-self.images // self.batch_size)

    def __getitem__(self, idx: int) -> tuple[Arrays, Arrays]:
        """Return (inputs, outputs) of a batch of this pass; see `data_generator`."""
        if not -len(self) <= idx < len(self):
            raise IndexError(f"idx: expected a batch from 0 to {len(self) - 1}; received {idx}.")
        first = self.passes * self.images
        start = first + idx % len(self) * self.batch_size
        return self._batches(range(start, min(start + self.batch_size, first + self.images)))

    def __iter__(self) -> Iterator[tuple[Arrays, Arrays]]:
        """Iterate over the batches of this pass."""
        return (self[idx] for idx in range(len(self)))

    def endless(self) -> Iterator[tuple[Arrays, Arrays]]:
        """Batches without end, all of BATCH_SIZE images, from the pass under way on.

        This is what `keras_model.fit` takes of it: an epoch may be longer than a pass.
        """
        size, first = self.batch_size, self.passes * self.images
        return (self._batches(range(at, at + size)) for at in count_from(first, size))

    def on_epoch_end(self) -> None:
        """Continue to the next pass, in its own order and with its own random numbers."""
        self.passes += 1


class _Batches:
    """Turns positions of the loader's endless stream into Matterport's inputs and outputs."""

    def __init__(
        self,
        dataset: Dataset,
        config: Config,
        shuffle: bool,
        augmentation: Any,
        no_augmentation_sources: Sequence[str] | None,
        random_rois: int,
        detection_targets: bool,
    ) -> None:
        if detection_targets and not random_rois:
            raise ValueError(
                "detection_targets: they are those of random RoIs; expected random_rois of at "
                f"least 1, received {random_rois}."
            )
        if config.IMAGE_SHAPE_GROUPS is not None:  # any images of a batch have one shape
            config = copy.copy(config)
            config.IMAGE_SHAPE_GROUPS = None
        self.config = config
        self.random_rois = random_rois
        self.detection_targets = detection_targets
        self.anchors = image_anchors(config, config.IMAGE_SHAPE)
        self.loader = Loader(
            SampleStream.of(
                dataset,
                config,
                seed=config.SEED,
                augmentation=augmentation,
                no_augmentation_sources=no_augmentation_sources,
                shuffle=shuffle,
            ),
            workers=0,
        )

    def __call__(self, positions: Sequence[int]) -> tuple[Arrays, Arrays]:
        samples = [self.loader.sample(position) for position in positions]
        targets = [
            self._targets(sample, random_generator(self.config.SEED, TARGET_STREAM, position))
            for sample, position in zip(samples, positions, strict=True)
        ]
        rpn_match, rpn_bbox, *more = map(np.stack, zip(*targets, strict=True))
        batch = stack_samples(samples, self.config.MAX_GT_INSTANCES)
        inputs = [
            mold_image(batch[batch_names.IMAGE], self.config),
            batch[batch_names.IMAGE_META],
            rpn_match[..., None],
            rpn_bbox.astype(np.float32),
            batch[batch_names.GT_CLASS_IDS],
            batch[batch_names.GT_BOXES],
            batch[batch_names.GT_MASKS].transpose(0, 2, 3, 1).astype(bool),
        ]
        outputs: Arrays = []
        if self.detection_targets:
            random_rois, rois, class_ids, bboxes, masks = more
            inputs += [random_rois, rois]
            outputs = [class_ids[..., None], bboxes, masks]
        else:
            inputs += more
        return inputs, outputs

    def _targets(self, sample: Sample, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        """(rpn_match, rpn_bbox), then the random RoIs, then the detection targets, as asked."""
        shape, class_ids, boxes = sample.image.shape, sample.class_ids, sample.boxes
        window = sample.image_meta[batch_names.META_COLUMNS["window"]]
        targets: tuple[np.ndarray, ...] = build_rpn_targets(
            shape, self.anchors, class_ids, boxes, self.config, rng, window
        )
        if self.random_rois:
            rois = generate_random_rois(shape, self.random_rois, class_ids, boxes, rng)
            targets += (rois,)
            if self.detection_targets:
                masks = sample.masks.transpose(1, 2, 0)
                targets += build_detection_targets(rois, class_ids, boxes, masks, self.config, rng)
        return targets


def _combined(augment: Any, augmentation: Any) -> Any:
    """Both of Matterport's augmentations as one: first the mirror, then the library's."""
    if augmentation is False:  # as scripts write for none
        augmentation = None
    if not augment:
        return augmentation
    return Sequential([HorizontalFlip(), *([] if augmentation is None else [augmentation])])
