"""A worker of `benchmarks.peers` without any framework: it writes down when it works."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from benchmarks.peers.worker import Spec, Work, serve


def prepare(spec: Spec) -> Work:
    if spec.get("fails"):
        raise ValueError("this peer has no wheels")
    print("not part of what is said")
    sys.stdout.flush()

    def work() -> None:
        time.sleep(spec.get("seconds", 0))
        with open(spec["log"], "a", encoding="utf-8") as file:
            file.write(spec["letter"])
        if len(written.read_text()) > spec.get("dies_after", 1e9):
            raise MemoryError("out of memory")

    facts = {"operations": 1e9, "letter": spec["letter"]}
    written = Path(spec["log"])
    return Work({spec.get("call", "step"): work}, facts, lambda: {"log": written.read_text()})


if __name__ == "__main__":
    serve(prepare)
