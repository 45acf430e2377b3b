"""Mask R-CNN with the Edge Agreement Head on Keras 3.

`import mrcnn` loads neither Keras nor a backend; `mrcnn.model` does.
"""

import os

from mrcnn.process import restore_numpy_names

__version__ = "3.0.0"

# On a CPU TensorFlow's cost estimator warns of every crop, a page for each graph, because
# the number of boxes on a level is not fixed. What the user has set holds.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

restore_numpy_names()  # so that a script can import imgaug after this package
