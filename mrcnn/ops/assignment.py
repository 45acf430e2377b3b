"""IoU thresholds by which anchors and RoIs are assigned to objects; free of Keras."""

from __future__ import annotations

# Ren et al., Faster R-CNN, section 3.1.2: an anchor is positive from the first on, negative below
# the second, and between the two of no account.
RPN_POSITIVE_IOU = 0.7
RPN_NEGATIVE_IOU = 0.3
# Girshick, Fast R-CNN, section 2.3: a RoI from here on is an object's.
ROI_POSITIVE_IOU = 0.5
# A crowd takes the anchors and proposals that touch it out of the negatives.
CROWD_IOU = 0.001
