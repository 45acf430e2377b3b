"""YAML of strangers: texts, lists and tables, and nothing that refers or could grow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

MAX_BYTES = 1 << 20  # YAML is slow to read, and a table of classes is small


class _Loader(yaml.BaseLoader):
    """Every plain value is a text: the class `no` is none of False."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Refuse references, of which a few lines can make a table without end."""
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("expected no references (*name)")
        return super().compose_node(parent, index)


def read_yaml(path: Path) -> Any:
    """Read a YAML file: texts, lists, dicts with texts as keys.

    Raises:
        OSError: it cannot be opened.
        ValueError: it is no YAML, or too large, or has references; names it.
    """
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ValueError(f"{path}: expected YAML of at most {MAX_BYTES} bytes; it has {size}.")
    try:
        return yaml.load(path.read_bytes().decode("utf-8-sig"), _Loader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, TypeError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path}: expected YAML; {reason}.") from None
