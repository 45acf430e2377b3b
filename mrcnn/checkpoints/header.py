"""The header of a state file: JSON that may be anybody's, checked before it is used."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

MAX_COUNT = 2**53  # of steps and epochs

_COUNT = "a number of 0 or more"
_NUMBER = "a number"
_TEXT = "a text"
_OBJECT = "an object"
# What the fields hold that are read.
_FIELDS = {
    "kind": _TEXT,
    "step": _COUNT,
    "epoch": _COUNT,
    "epoch_step": _COUNT,
    "settings": _OBJECT,
    "images": _TEXT,
}
_PARTS = {
    "stage": {
        "layers": _TEXT,
        "learning_rate": _NUMBER,
        "momentum": _NUMBER,
        "first_epoch": _COUNT,
        "last_epoch": _COUNT,
        "schedule_start": _COUNT,
    },
    "data": {"images": _COUNT, "digest": _TEXT},
    "validation": {"images": _COUNT, "digest": _TEXT},
    "best": {"metric": _TEXT, "value": _NUMBER, "step": _COUNT},
    "versions": {"backend": _TEXT, "dtype_policy": _TEXT},
}
# What older versions did not write.
_OPTIONAL = {
    "stage": {"number": _COUNT, "skipped": _COUNT, "first_step": _COUNT, "last_step": _COUNT},
    "best": {"epoch": _COUNT},
}
_MAY_BE_NULL = ("data", "validation", "best")
_REQUIRED = {
    "state": ("step", "epoch", "epoch_step", "settings", *_PARTS),
    "replay": ("step", "settings", "images", "stage", "versions"),
}


def checked_header(text: str) -> dict[str, Any]:
    """Read a header.

    Args:
        text: JSON.

    Returns:
        Its fields. Those of a state or a replay are complete, as far as this package reads them.

    Raises:
        ValueError: it is not JSON, or a field is missing or of another type.
    """
    try:
        content = json.loads(text)
    except RecursionError:
        raise ValueError("its header is nested too deeply") from None
    if not isinstance(content, dict):
        raise ValueError(f"its header is no object but {text[:60]!r}")
    required = _REQUIRED.get(content["kind"], ()) if isinstance(content.get("kind"), str) else ()
    _check_fields(content, {**_FIELDS, **dict.fromkeys(_PARTS, _OBJECT)}, required, "header")
    for name, fields in _PARTS.items():
        if content.get(name) is not None:
            optional = _OPTIONAL.get(name, {})
            _check_fields(content[name], {**fields, **optional}, fields, name)
    return content


def _check_fields(
    content: Mapping[str, Any], fields: Mapping[str, str], required: Collection[str], where: str
) -> None:
    for name, kind in fields.items():
        if name not in content:
            if name in required:
                raise ValueError(f"its {where} lacks {name!r}")
        elif content[name] is None and name in _MAY_BE_NULL:
            continue
        elif not _is(content[name], kind):
            raise ValueError(
                f"its {where}, field {name!r}: expected {kind}; received {repr(content[name])[:60]}"
            )


def _is(value: Any, kind: str) -> bool:
    if kind == _TEXT:
        return isinstance(value, str)
    if kind == _OBJECT:
        return isinstance(value, dict)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return kind == _NUMBER or (isinstance(value, int) and 0 <= value <= MAX_COUNT)
