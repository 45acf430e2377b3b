"""What a run is measured by: the kinds of AP, by the titles of their tables."""

from __future__ import annotations

KINDS = {
    "Mask AP": "segm",
    "Boundary AP": "boundary",
    "Box AP": "bbox",
    "Mask AP on ground-truth boxes": "segm_on_gt_boxes",
    "Boundary AP on ground-truth boxes": "boundary_on_gt_boxes",
}
# In which the contrasts of a report are tested, unless another is asked for.
PRIMARY = "segm"
