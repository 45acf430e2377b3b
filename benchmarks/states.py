"""What a state of training costs: seconds to write it (synced to the disk) and to read it back.

    python -m benchmarks.states --gigabytes 0.5

Half a gigabyte is Mask R-CNN with ResNet-101 and SGD: 64 million weights and their momentum. One
JSON line: medians of wall-clock and CPU seconds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mrcnn.checkpoints import state_file

ARRAY = 10**6  # values in an array: 4 MB


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=0.5)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--folder", help="on the disk to measure (default: the temporary folder)")
    args = parser.parse_args()
    array = np.random.default_rng(0).standard_normal(ARRAY, dtype=np.float32)
    count = max(1, round(args.gigabytes * 1e9 / array.nbytes))
    result = {"gigabytes": round(count * array.nbytes / 1e9, 3)}
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        path = Path(folder, "step.state")

        def write() -> None:
            state_file.write_state(path, {}, {"model": ((str(n), array) for n in range(count))})

        for name, action in (("write", write), ("read", lambda: state_file.read_state(path))):
            result |= timed(name, action, args.repeat)
    print(json.dumps(result))


def timed(name: str, action: Callable[[], object], repeat: int) -> dict[str, float]:
    wall, cpu = [], []
    for _ in range(repeat):
        started = time.perf_counter(), time.process_time()
        action()
        wall.append(time.perf_counter() - started[0])
        cpu.append(time.process_time() - started[1])
    return {
        f"{name}_seconds": round(statistics.median(wall), 2),
        f"{name}_cpu_seconds": round(statistics.median(cpu), 2),
    }


if __name__ == "__main__":
    main()
