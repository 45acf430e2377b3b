"""The graph that is exported: from a picture's bytes to detections in its pixels.

It takes no kernel that only TensorFlow has, and nothing in it depends on the batch: one picture at
a time. Shape letters: H, W sides of the picture; D = DETECTION_MAX_INSTANCES slots for detections,
the surest first; C classes; m sides of the masks, with their border where they have one.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from mrcnn import network
from mrcnn.config import Config
from mrcnn.data.resize import Resize
from mrcnn.export.pixels import in_pixels, paste
from mrcnn.export.resizing import can_take_any, fixed_shape, resize_any, resize_known
from mrcnn.inference.model import InferenceNetwork, layers_between
from mrcnn.layers.detection_slots import CompactDetections, PadDetections
from mrcnn.ops.indexing import first_true_indices, gather_rows
from mrcnn.ops.tensor import Tensor

# What the graph returns, in this order.
OUTPUTS = ("boxes", "class_ids", "scores", "masks", "mask_corners", "mask_areas", "count")
PASTED = "pasted"


class ExportNetwork(keras.Model):
    """From uint8 [1, H, W, channels] to a dict of detections, the first `count` slots of D.

    - boxes float32 [1, D, 4]: y1, x1, y2, x2 in pixels of the picture, y2 and x2 exclusive.
    - class_ids int32 [1, D], from 1 on; 0 in empty slots.
    - scores float32 [1, D], falling.
    - masks float32 [1, D, m, m]: probabilities at a grid of points.
    - mask_corners float32 [1, D, 4]: where the first and the last of these points lie, in pixels;
      the center of the first pixel is (0.5, 0.5).
    - mask_areas float32 [1, D, 4]: within which pixels belong to the object; boxes, but of networks
      whose masks have a border.
    - count int32 [1].
    - pasted uint8 [1, D, H, W], where asked for: 1 in the object.

    Args:
        config: of the trained network. Precision and compilation are left aside.
        image_size: (H, W) of the pictures; None: any, which the mode "square" allows.
        pasted: return masks of the picture's size too.

    Raises:
        ValueError: pictures of any size are asked for, in a mode whose input depends on them.
    """

    def __init__(
        self,
        config: Config,
        image_size: Sequence[int] | None = None,
        pasted: bool = False,
    ) -> None:
        super().__init__(name="exported", dtype="float32")
        self.settings = config
        self.image_size = None if image_size is None else (int(image_size[0]), int(image_size[1]))
        self.pasted = pasted
        self.resize = Resize.for_detection(config)
        if self.image_size is None and not can_take_any(self.resize):
            raise ValueError(
                f"the network's input depends on the size of the picture "
                f"(IMAGE_RESIZE_MODE = {config.IMAGE_RESIZE_MODE!r}, IMAGE_SHAPE_GROUPS = "
                f"{config.IMAGE_SHAPE_GROUPS!r}), and a file has one input size: expected "
                "--picture-size HEIGHT WIDTH, the size of your pictures."
            )
        self.shape = fixed_shape(self.resize, self.image_size)
        self.inner = network.build_inference(config, InferenceNetwork)
        roi_align = self.inner.get_layer("roi_align_mask")
        boxes, image_area, *feature_maps = roi_align.input
        detections = self.inner.get_layer("mrcnn_detection").output
        self.first = keras.Model(self.inner.inputs, [detections, image_area, *feature_maps])
        self.roi_align = roi_align
        self.head = layers_between(roi_align, self.inner.get_layer("mrcnn_mask"))
        self.mold = network.mold_layer(config)
        self.anchors = network.anchors_layer(config).normalized(self.shape)[None]

    def call(self, image: Tensor) -> dict[str, Tensor]:
        resize = resize_any if self.image_size is None else resize_known
        resized, window = resize(image, self.resize)
        resized = ops.reshape(resized, (1, *self.shape, image.shape[3]))
        detections, image_area, *maps = self.first(
            [self.mold(resized), self._meta(window), ops.convert_to_tensor(self.anchors)],
            training=False,
        )
        picture = ops.cast(ops.stack(ops.shape(image)[1:3]), "float32")
        placed = in_pixels(detections, self.shape, window, picture, self.settings)
        slots = detections.shape[1]
        order, _ = first_true_indices(placed.kept, slots)
        count = ops.sum(ops.cast(placed.kept, "int32"), axis=1)
        filled = ops.arange(slots, dtype="int32")[None] < count[:, None]

        def kept(values: Tensor) -> Tensor:
            values = gather_rows(values, order)
            flags = ops.reshape(filled, (1, slots, *[1] * (len(values.shape) - 2)))
            return ops.where(flags, values, ops.cast(0, values.dtype))

        detections = kept(detections)
        masks = self._masks(detections, image_area, maps)
        outputs = {
            "boxes": kept(placed.boxes),
            "class_ids": ops.cast(detections[..., 4], "int32"),
            "scores": detections[..., 5],
            "masks": masks,
            "mask_corners": kept(placed.mask_corners),
            "mask_areas": kept(placed.mask_areas),
            "count": count,
        }
        if self.pasted:
            size = self.image_size or ops.shape(image)[1:3]
            outputs[PASTED] = paste(outputs, size, self.settings)
        return outputs

    def _masks(self, detections: Tensor, image_area: Tensor, maps: list[Tensor]) -> Tensor:
        """The masks of the detections' own classes [1, D, m, m]."""
        slots = detections.shape[1]
        boxes = CompactDetections()(detections)
        class_ids = ops.cast(detections[:, : ops.shape(boxes)[1], 4], "int32")
        x = self.roi_align([boxes, image_area, *maps], training=False)
        for layer in self.head[:-1]:
            x = layer(x)
        masks = PadDetections(slots)(self.head[-1](x, class_ids=class_ids))
        masks = ops.where(detections[..., 4, None, None] > 0, masks, 0.0)
        if self.settings.architecture().mask_pasting != "box":
            masks = ops.pad(masks, ((0, 0), (0, 0), (1, 1), (1, 1)))
        return masks

    def _meta(self, window: Tensor) -> Tensor:
        """The row of `mrcnn.batch.META_COLUMNS`, of which the graph reads shape and window."""
        shape = np.array([*self.shape, self.settings.IMAGE_CHANNEL_COUNT], np.float32)
        before = np.concatenate([np.zeros(4, np.float32), shape])
        after = np.zeros(self.settings.IMAGE_META_SIZE - 11, np.float32)
        return ops.concatenate([before, window, after])[None]
