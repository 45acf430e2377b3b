"""Names of files as another machine knew them, and the files here that they may mean.

Annotation tools write the path that an image had where it was annotated: an absolute one
(labelme2coco), one that leads out of the export (Label Studio: `../../media/upload/4/a.png`, with
the separators of Windows), or one with a folder that the export does not have (`images/1/a.png`).
The image is then often here, under an end of that name. It may also be another one of that name:
so messages name it, and nothing is read by it. The doctor's fix writes it, where the size agrees
and no other entry means that file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from mrcnn.files.untrusted import MAX_NAME_BYTES

MAX_PARTS = 8  # of an end


def ends(name: str) -> Iterator[str]:
    """The ends of a name, the longest first, with `/` between their parts.

    >>> list(ends("C:\\\\photos\\\\day1/a.png"))
    ['photos/day1/a.png', 'day1/a.png', 'a.png']
    """
    if len(name) > MAX_NAME_BYTES or "\0" in name:
        return
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    for start in range(max(0, len(parts) - MAX_PARTS), len(parts)):
        end = parts[start:]
        if ".." not in end and not end[0].endswith(":"):
            yield "/".join(end)


def file_meant(name: str, is_file: Callable[[str], bool]) -> str | None:
    """The longest end of a name, another than the name itself, that is a file.

    Args:
        name: as the annotations have it.
        is_file: whether there is a file of a name, which does not lead out of the image folder.
    """
    return next((end for end in ends(name) if end != name and is_file(end)), None)
