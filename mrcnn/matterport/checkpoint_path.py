"""What `MaskRCNN.find_last` returns: a path that is also the pair which Matterport 2.0 returned."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any


class CheckpointPath(str):
    """The path of a checkpoint, which scripts of Matterport 2.0 take apart into folder and path.

    It is a text like any other path: it opens, joins, compares, prints, pickles and goes into JSON
    as one. Only what nobody asks of a path means the pair: `[0]` and `[1]`, where a text has its
    first two characters, and iteration, by which `folder, path = model.find_last()` unpacks it.

    >>> path = CheckpointPath("logs/shapes20260101T0000/mask_rcnn_shapes_0007.h5")
    >>> path[0], path[1][-7:]
    ('logs/shapes20260101T0000', '0007.h5')
    >>> folder, file = path
    >>> file == path, path.endswith(".h5"), path[-3:]
    (True, True, '.h5')
    """

    __slots__ = ()

    def __getitem__(self, key: Any) -> str:
        text = str(self)
        if isinstance(key, int) and key in (0, 1):
            return (os.path.dirname(text), text)[key]
        return text[key]

    def __iter__(self) -> Iterator[str]:
        return iter((self[0], self[1]))
