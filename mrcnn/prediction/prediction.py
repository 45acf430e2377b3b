"""What was found in a picture, for programs, notebooks and files.

Shape letters: N detections; H, W height and width of the picture; h, w of the network's masks.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mrcnn.data.masks import filled_part, mask_places, paste_masks
from mrcnn.data.rle import Rle, encode_in_boxes


@dataclass(frozen=True, eq=False)
class Prediction:
    """The objects found in a picture, the surest first.

    It takes kilobytes: masks are kept as the network gave them, and the picture is kept only where
    it was asked for.

    Attributes:
        name: of the picture; a path with "/".
        path: of its file, or of the video; None for an array.
        size: (H, W).
        rois: int32 [N, 4], boxes (y1, x1, y2, x2) in pixels, y2 and x2 exclusive.
        class_ids: int32 [N].
        scores: float32 [N].
        class_names: of all classes, the background's first.
        image: uint8 [H, W, 3], or None.
    """

    name: str
    path: Path | None
    size: tuple[int, int]
    rois: np.ndarray
    class_ids: np.ndarray
    scores: np.ndarray
    class_names: Sequence[str]
    image: np.ndarray | None = None
    _box_masks: np.ndarray = field(default_factory=lambda: np.zeros((0, 1, 1)), repr=False)
    _boxes: np.ndarray = field(default_factory=lambda: np.zeros((0, 4)), repr=False)
    _areas: np.ndarray = field(default_factory=lambda: np.zeros((0, 4)), repr=False)
    _corners: np.ndarray | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def names(self) -> list[str]:
        """The class of each detection."""
        return [self.class_names[class_id] for class_id in self.class_ids]

    @cached_property
    def masks(self) -> np.ndarray:
        """bool [H, W, N]. For large pictures with many objects see `parts`."""
        return paste_masks(self._box_masks, self._areas, self.size, self._corners)

    @cached_property
    def rles(self) -> list[Rle]:
        """The masks as COCO's compressed run lengths."""
        return encode_in_boxes(self._box_masks, self._areas, self.size, self._corners)

    def parts(self) -> Iterator[tuple[tuple[int, int], np.ndarray]]:
        """Each mask as the (y, x) of a corner and a bool array that begins there."""
        places = mask_places(self._areas, self._corners, len(self), self.size)
        for mask, place in zip(self._box_masks, places, strict=True):
            yield place.pixels[:2], filled_part(mask, place)

    @classmethod
    def of(
        cls,
        name: str,
        path: Path | None,
        found: Mapping[str, Any],
        class_names: Sequence[str],
        image: np.ndarray | None = None,
    ) -> Prediction:
        """From what `mrcnn.inference.detector.Detector.detect_batch` returns for a picture."""
        height, width = found["image_shape"][:2]
        return cls(
            name=name,
            path=path,
            size=(int(height), int(width)),
            rois=found["rois"],
            class_ids=found["class_ids"],
            scores=found["scores"],
            class_names=class_names,
            image=image,
            _box_masks=found["box_masks"],
            _boxes=found["boxes"],
            _areas=found["mask_areas"],
            _corners=found["mask_corners"],
        )

    def kept(self, wanted: np.ndarray) -> Prediction:
        """Those detections alone that an index array or a mask [N] names, in its order."""
        return replace(
            self,
            rois=self.rois[wanted],
            class_ids=self.class_ids[wanted],
            scores=self.scores[wanted],
            _box_masks=self._box_masks[wanted],
            _boxes=self._boxes[wanted],
            _areas=self._areas[wanted],
            _corners=None if self._corners is None else self._corners[wanted],
        )

    @property
    def exact_boxes(self) -> np.ndarray:
        """float [N, 4], the boxes before they were rounded to pixels."""
        return np.asarray(self._boxes)

    # --- To look at ----------------------------------------------------------------------

    def draw(self) -> np.ndarray:
        """The picture with masks, boxes and names drawn on it, uint8 [H, W, 3]."""
        from mrcnn.drawing.overlay import draw_overlay

        image = self._read()
        captions = [
            f"{name} {score:.2f}" for name, score in zip(self.names, self.scores, strict=True)
        ]
        return draw_overlay(image, self.rois, list(self.parts()), captions)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the drawn picture; the suffix says how (PNG, JPEG, …). Missing folders are made."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(self.draw()).save(path)

    def show(self) -> None:
        """Show the drawn picture: in the cell of a notebook, otherwise in the system's viewer."""
        shell = sys.modules.get("IPython")
        shell = shell.get_ipython() if shell is not None else None
        if shell is not None and hasattr(shell, "kernel"):
            from IPython.display import display

            display(self)
        else:
            Image.fromarray(self.draw()).show(title=self.name)

    def _repr_png_(self) -> bytes:
        """A notebook shows the drawn picture."""
        buffer = io.BytesIO()
        Image.fromarray(self.draw()).save(buffer, "PNG")
        return buffer.getvalue()

    def _read(self) -> np.ndarray:
        if self.image is None:
            raise ValueError(
                f"{self.name}: expected the picture to draw on; it was not kept. Predict with "
                "keep_images=True."
            )
        return self.image

    # --- For other programs -------------------------------------------------------------

    def to_supervision(self) -> Any:
        """As `supervision.Detections` (https://supervision.roboflow.com).

        Raises:
            ImportError: the package is not installed.
        """
        try:
            import supervision
        except ImportError as error:
            raise ImportError(
                f"to_supervision() needs the package supervision ({error}). Install it by "
                "'pip install supervision'."
            ) from error
        boxes = self.rois[:, [1, 0, 3, 2]].astype(np.float32).reshape(-1, 4)
        return supervision.Detections(
            xyxy=boxes,
            mask=np.ascontiguousarray(self.masks.transpose(2, 0, 1)),
            confidence=np.asarray(self.scores, np.float32),
            class_id=np.asarray(self.class_ids, int),
            data={"class_name": np.array(self.names, dtype=str)},
        )

    def to_matterport(self) -> dict[str, Any]:
        """As `MaskRCNN.detect` returns it: rois, class_ids, scores and masks."""
        return {
            "rois": self.rois,
            "class_ids": self.class_ids,
            "scores": self.scores,
            "masks": self.masks,
        }
