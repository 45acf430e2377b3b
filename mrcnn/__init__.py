"""Mask R-CNN with the Edge Agreement Head on Keras 3.

`import mrcnn` loads neither Keras nor a backend; `mrcnn.model` does.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from mrcnn.process import restore_numpy_names

if TYPE_CHECKING:
    from mrcnn.model import MaskRCNN

__version__ = "3.0.0"

# On a CPU TensorFlow's cost estimator warns of every crop, a page for each graph, because
# the number of boxes on a level is not fixed. What the user has set holds.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

restore_numpy_names()  # so that a script can import imgaug after this package


def load(weights: str | os.PathLike[str], **settings: Any) -> MaskRCNN:
    """Open a trained network again, ready to detect.

    The network is built from the settings that its training wrote beside the weights, so nothing
    has to be said twice::

        model = mrcnn.load("logs/fruits20260101T1200")
        result = model.detect([image])[0]
        names = [model.class_names[i] for i in result["class_ids"]]

    Args:
        weights: a weights file (`mask_rcnn_*.h5`), or the folder of a run, whose newest weights
            are taken.
        settings: settings of `mrcnn.config.Config` that win over the run's, such as
            DETECTION_MIN_CONFIDENCE=0.5.

    Returns:
        A `MaskRCNN` in the mode "inference". Its `class_names` are those of the training data,
        background first, or None where the run does not say.

    Raises:
        FileNotFoundError: there are no weights.
        ValueError: the settings beside the weights, or one of `settings`, cannot be used, or the
            weights are those of another network.
    """
    from mrcnn.runs.settings import is_setting
    from mrcnn.runs.trained import open_run

    unknown = [name for name in settings if not is_setting(name)]
    if unknown:
        raise ValueError(f"{', '.join(unknown)}: expected settings of mrcnn.config.Config.")
    return open_run(os.fspath(weights), overrides=settings)
