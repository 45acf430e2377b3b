"""What a check reports: a kind of fault, where it was found, and what training does about it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

ERROR, WARNING, NOTE = "error", "warning", "note"
SEVERITIES = (ERROR, WARNING, NOTE)
# When training meets it: before the first step, where it stops, or when the image's turn comes.
AT_COMMAND, AT_START, AT_STEP = "command", "start", "step"
_STOPS = {
    AT_COMMAND: "does not start with `mrcnn train`; with `--no-check`",
    AT_START: "stops before the first step",
    AT_STEP: "puts another image in its place; stops when LOADER_MAX_BAD_SHARE are such",
    None: "",
}


@dataclass(frozen=True)
class Kind:
    """A kind of fault.

    Attributes:
        name: short, with dashes.
        severity: ERROR: training stops, or cannot use the image. WARNING: it continues, but
            something is lost, or is not what one would expect. NOTE: good to know.
        stops: AT_COMMAND, AT_START or AT_STEP for an error, else None.
        subject: what the id of a finding belongs to: "image", "annotation", …
        field: of the json; "" when it is not about a field.
        expected, received: templates of the message, whose {names} `report` fills in.
        training: what training does, a verb first; a template too.
        fix: what `--fix` does; "" when it leaves that as it is.
    """

    name: str
    severity: str
    stops: str | None
    subject: str
    field: str
    expected: str
    received: str
    training: str = ""
    fix: str = ""

    @property
    def effect(self) -> str:
        """What training does, in a sentence."""
        joint = ", it " if self.stops == AT_COMMAND else "; "
        return joint.join(part for part in (_STOPS[self.stops], self.training) if part)


def stops_at_start(
    name: str,
    subject: str,
    field: str,
    expected: str,
    received: str,
    training: str = "",
    fix: str = "",
) -> Kind:
    """An error that training meets before the first step."""
    return Kind(name, ERROR, AT_START, subject, field, expected, received, training, fix)


def stops_train_command(
    name: str,
    subject: str,
    field: str,
    expected: str,
    received: str,
    training: str,
    fix: str = "",
) -> Kind:
    """An error that only the check of `mrcnn train` stops at: training would run for nothing."""
    return Kind(name, ERROR, AT_COMMAND, subject, field, expected, received, training, fix)


def stops_at_step(
    name: str,
    subject: str,
    field: str,
    expected: str,
    received: str,
    training: str = "",
    fix: str = "",
) -> Kind:
    """An error that training meets when the image's turn comes."""
    return Kind(name, ERROR, AT_STEP, subject, field, expected, received, training, fix)


def warning(
    name: str,
    subject: str,
    field: str,
    expected: str,
    received: str,
    training: str = "",
    fix: str = "",
) -> Kind:
    """A fault that training continues with."""
    return Kind(name, WARNING, None, subject, field, expected, received, training, fix)


def note(
    name: str,
    subject: str,
    field: str,
    expected: str,
    received: str,
    training: str = "",
    fix: str = "",
) -> Kind:
    """Something good to know."""
    return Kind(name, NOTE, None, subject, field, expected, received, training, fix)


class Fault(NamedTuple):
    """A fault of a kind, not yet said where.

    Attributes:
        kind: of the fault.
        values: for the templates of the kind.
    """

    kind: Kind
    values: dict[str, Any]


def fault(kind: Kind, **values: Any) -> Fault:
    """Make a fault; `values` are for the templates of its kind."""
    return Fault(kind, values)


@dataclass(frozen=True)
class Finding:
    """One fault at one place.

    Attributes:
        kind: name of the `Kind`.
        severity, subject, field: of the kind.
        subset: of the data set, such as "train2017".
        file: the json or image file.
        id: of the image, annotation, category …; None where there is none.
        expected, received: what should be there and what is.
        training: what training does.
    """

    kind: str
    severity: str
    subset: str
    file: str
    subject: str
    id: Any
    field: str
    expected: str
    received: str
    training: str

    @property
    def message(self) -> str:
        """The finding in one sentence, without what training does."""
        where = self.subject if self.id is None else f"{self.subject} {self.id}"
        field = f", field {self.field!r}" if self.field else ""
        return f"{self.file}: {where}{field}: expected {self.expected}; received {self.received}."

    def to_dict(self) -> dict[str, Any]:
        """Every field, for JSON."""
        return {**asdict(self), "message": self.message}


def report(kind: Kind, subset: str, file: Any, id: Any = None, **values: Any) -> Finding:
    """Make a finding.

    Args:
        kind: what was found.
        subset: of the data set.
        file: where.
        id: of the subject.
        **values: for the templates of the kind.
    """
    return Finding(
        kind=kind.name,
        severity=kind.severity,
        subset=subset,
        file=str(file),
        subject=kind.subject,
        id=id,
        field=kind.field,
        expected=kind.expected.format(**values),
        received=kind.received.format(**values),
        training=kind.effect.format(**values),
    )
