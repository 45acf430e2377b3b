"""Mask R-CNN with the Edge Agreement Head on Keras 3.

`import mrcnn` loads neither Keras nor a backend; `mrcnn.model` does.
"""

__version__ = "3.0.0"
