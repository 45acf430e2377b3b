"""What alternating turns say: times, and ratios with their spread.

A machine's speed changes from minute to minute, and with it every time; a ratio is made of two
turns of one round. That of a peer is its time over the first one's: above 1, the first is faster.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.peers.alternate import Record, Turn


def summarize(record: Record, baseline: str, clock: str = "wall") -> list[dict[str, Any]]:
    """A line for each worker and call.

    Args:
        record: of `benchmarks.peers.alternate.take_turns`.
        baseline: the worker that the others' times are divided by, call by call; where it has no
            call of that name, there is no ratio.
        clock: of the ratios: "wall" or "processor", all threads of a worker together.

    Returns:
        Dicts with median and best seconds; the median, least and greatest ratio of the rounds; the
        same ratios with each time multiplied by the throughput of the convolution around it
        (`paced_…`); that throughput; and the facts of the worker.
    """
    names = dict.fromkeys(turn.name for turn in record.turns)
    lines = []
    for name in names:
        own = [turn for turn in record.turns if turn.name == name]
        for call in own[0].samples:
            lines.append(
                {
                    "peer": name,
                    "call": call,
                    **_times(own, call),
                    **_ratios(record.turns, (name, baseline), call, clock),
                    **record.facts[name],
                }
            )
    return lines


def _times(turns: Sequence[Turn], call: str) -> dict[str, Any]:
    seconds = [wall for turn in turns for wall, _ in turn.samples[call]]
    processor = [used for turn in turns for _, used in turn.samples[call]]
    before, after = [turn.before for turn in turns], [turn.after for turn in turns]
    return {
        "rounds": len(turns),
        "seconds": round(statistics.median(seconds), 4),
        "best_seconds": round(min(seconds), 4),
        "processor_seconds": round(statistics.median(processor), 4),
        "gflops_before": [round(value / 1e9) for value in before],
        "gflops_after": [round(value / 1e9) for value in after],
    }


def _ratios(turns: Iterable[Turn], names: tuple[str, str], call: str, clock: str) -> dict[str, Any]:
    """The ratios of a worker to the baseline, round by round."""
    name, baseline = names
    of_round: dict[int, dict[str, Turn]] = {}
    for turn in turns:
        of_round.setdefault(turn.number, {})[turn.name] = turn
    plain, paced = [], []
    for pair in of_round.values():
        own, other = pair[name], pair[baseline]
        if call not in other.samples:
            return {}
        plain.append(_typical(own, call, clock) / _typical(other, call, clock))
        paced.append(plain[-1] * _pace(own) / _pace(other))
    return {**_spread("ratio", plain), **_spread("paced_ratio", paced)}


def _typical(turn: Turn, call: str, clock: str) -> float:
    return statistics.median(sample[clock == "processor"] for sample in turn.samples[call])


def _pace(turn: Turn) -> float:
    return (turn.before + turn.after) / 2


def _spread(name: str, values: Sequence[float]) -> dict[str, float]:
    return {
        name: round(statistics.median(values), 3),
        f"{name}_least": round(min(values), 3),
        f"{name}_greatest": round(max(values), 3),
    }


def table(lines: Iterable[Mapping[str, Any]]) -> str:
    """Lines of `summarize`, each with its `row`, as a table in Markdown."""
    head = ("work", "who", "median (best)", "its time over ours", "memory", "convolution")
    rows = [head, ("---",) * len(head)]
    for line in lines:
        ratio = "–"
        if line.get("ratio_least") == line.get("ratio_greatest") == 1:
            ratio = "1"
        elif "ratio" in line:
            ratio = f"{line['ratio']:.2f} ({line['ratio_least']:.2f} to "
            ratio += f"{line['ratio_greatest']:.2f})"
        speeds = [*line["gflops_before"], *line["gflops_after"]]
        rows.append(
            (
                _work(line),
                str(line["peer"]),
                f"{line['seconds']:.3g} ({line['best_seconds']:.3g}) s",
                ratio,
                f"{line['peak_gb']:.1f} GB",
                f"{min(speeds)} to {max(speeds)}",
            )
        )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _work(line: Mapping[str, Any]) -> str:
    work = str(line["row"])
    if line.get("positives") is not None:
        work += f", {line['positives']:g} positives of {line['rois']:g} RoIs"
    return f"{work}: {line['call']}" if line["call"] != "step" else work
