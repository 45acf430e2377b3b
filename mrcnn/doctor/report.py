"""The findings of an examination as a text for the terminal, and as JSON."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from pathlib import Path
from typing import Any

from mrcnn.doctor import anchors, classes
from mrcnn.doctor.examine import Examination
from mrcnn.doctor.findings import ERROR, NOTE, SEVERITIES, WARNING, Finding

_TITLES = {
    ERROR: "Errors (training stops, or skips the image)",
    WARNING: "Warnings (training continues)",
    NOTE: "Notes",
}


def by_kind(findings: list[Finding]) -> dict[str, list[Finding]]:
    """The findings of each kind, errors first, then the kinds that are found most often."""
    groups: dict[str, list[Finding]] = defaultdict(list)
    for finding in findings:
        groups[finding.kind].append(finding)
    order = sorted(
        groups, key=lambda kind: (SEVERITIES.index(groups[kind][0].severity), -len(groups[kind]))
    )
    return {kind: groups[kind] for kind in order}


def counts(findings: list[Finding]) -> dict[str, int]:
    """How many findings there are of each severity."""
    return {s: sum(finding.severity == s for finding in findings) for s in SEVERITIES}


def text(examination: Examination, notes: bool = True) -> str:
    """What was checked, a block for each kind of finding with an example, and the sizes.

    Args:
        examination: of a data set.
        notes: with the blocks of notes; False: their number only.
    """
    lines = [_describe_subsets(examination)]
    groups = by_kind(examination.findings)
    for severity in SEVERITIES:
        if severity == NOTE and not notes:
            continue
        of_severity = {k: g for k, g in groups.items() if g[0].severity == severity}
        if of_severity:
            lines += ["", f"{_TITLES[severity]}:"]
        for kind, group in of_severity.items():
            lines.append(f"{len(group):6}  {kind}: training {group[0].training}")
            lines.append(f"{'':8}{'such as ' if len(group) > 1 else ''}{group[0].message}")
    if examination.coverage is not None and not examination.quick:
        lines += ["", anchors.histogram(examination.coverage)]
    lines += ["", summary(examination)]
    return "\n".join(lines)


def summary(examination: Examination) -> str:
    """One sentence: how many errors, warnings and notes."""
    number = counts(examination.findings)
    found = ", ".join(f"{number[s]} {s}{'' if number[s] == 1 else 's'}" for s in SEVERITIES)
    kind = "quick check" if examination.quick else "check"
    return f"{kind} of {examination.dataset}: {found}."


def to_dict(examination: Examination) -> dict[str, Any]:
    """Everything that was found, for JSON."""
    report: dict[str, Any] = {
        "dataset": examination.dataset,
        "quick": examination.quick,
        "counts": counts(examination.findings),
        "kinds": {kind: len(group) for kind, group in by_kind(examination.findings).items()},
        "subsets": [
            {
                "name": examined.subset.name,
                "file": str(examined.subset.file),
                "images": len(examined.subset.images),
                "image_files_read": len(examined.image_files),
                "annotations": sum(map(len, examined.subset.annotations.values())),
                "objects_by_category": {
                    str(examined.subset.categories[id]): number
                    for id, number in classes.count_objects(examined.subset).items()
                },
            }
            for examined in examination.subsets
        ],
        "findings": [finding.to_dict() for finding in examination.findings],
    }
    coverage = examination.coverage
    if coverage is not None:
        report["sizes"] = {
            "object_sides": [round(float(side), 1) for side in coverage.sides],
            "best_anchor_iou": [round(float(iou), 3) for iou in coverage.best_ious],
            "anchor_scales": [float(scale) for scale in coverage.scales],
            "recommended_anchor_scales": [float(scale) for scale in coverage.recommended],
            "histogram": anchors.histogram(coverage),
        }
    return report


def write_json(examination: Examination, path: str | os.PathLike[str]) -> None:
    """Write everything that was found."""
    Path(path).write_text(json_text(examination) + "\n", encoding="utf-8")


def json_text(examination: Examination) -> str:
    """Everything that was found, as JSON."""
    return json.dumps(to_dict(examination), indent=1, default=str)


def _describe_subsets(examination: Examination) -> str:
    lines = []
    for examined in examination.subsets:
        subset = examined.subset
        annotations = sum(map(len, subset.annotations.values()))
        of_files = f", {len(examined.image_files)} headers read" if examination.quick else ""
        lines.append(
            f"{subset.name}: {len(subset.images)} images{of_files}, {annotations} annotations, "
            f"{len(subset.categories)} categories"
        )
    return "\n".join(lines)
