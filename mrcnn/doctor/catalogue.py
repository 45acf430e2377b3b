"""Every kind of fault that the doctor knows.

`python -m mrcnn.doctor.catalogue` prints them as the table of docs/reliability.md.
"""

import re

from mrcnn.doctor import (
    anchors,
    annotations,
    any_dataset,
    boxes,
    classes,
    file_names,
    image_files,
    segmentations,
    sizes,
    splits,
)
from mrcnn.doctor.findings import SEVERITIES, Kind

KINDS: tuple[Kind, ...] = (
    *annotations.KINDS,
    *file_names.KINDS,
    *any_dataset.KINDS,
    *image_files.KINDS,
    *segmentations.KINDS,
    *boxes.KINDS,
    *sizes.KINDS,
    *anchors.KINDS,
    *classes.KINDS,
    *splits.KINDS,
)
# A field of a template, which a value replaces.
_FIELD = re.compile(r"\{(\w+)[^}]*\}")


def table() -> str:
    """A line of Markdown for each kind, errors first; values in a message are in italics."""
    lines = [
        "| kind | severity | message | what training does | `--fix` |",
        "|---|---|---|---|---|",
    ]
    for kind in sorted(KINDS, key=lambda kind: SEVERITIES.index(kind.severity)):
        field = f", field '{kind.field}'" if kind.field else ""
        message = f"{kind.subject}{field}: expected {kind.expected}; received {kind.received}"
        texts = (_FIELD.sub(r"*\1*", text) for text in (message, kind.effect))
        cells = (f"`{kind.name}`", kind.severity, *texts, kind.fix or "–")
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
