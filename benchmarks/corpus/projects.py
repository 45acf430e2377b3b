"""The list of public projects in `projects.toml`, read and checked."""

from __future__ import annotations

import dataclasses
import inspect
import re
import tomllib
from pathlib import Path
from typing import Any

from benchmarks.corpus import data

LIST = Path(__file__).with_name("projects.toml")
RAN, STOPS = "ran", "stopped"


@dataclasses.dataclass(frozen=True)
class Run:
    """One script or notebook of a project, and what it needs.

    Attributes:
        what: how the table calls it.
        file: script or notebook, in the project.
        folder: where it is started; the file's, unless given.
        arguments: of the command line.
        name: what `__name__` is; another one than "__main__" does not start a server.
        then: lines of ours that are executed afterwards, among the script's names.
        data: what is made for it: a form, the folder "at", and the form's arguments.
        weights: files of weights: "at", "classes", and the "steps" that the network has learned.
        borrows: files of other projects on the list: "repository", "file", "at".
        imagenet: whether `get_imagenet_weights` is asked for.
        settings: of the configuration, whatever the script says.
        paths: folders of the author's machine, and which of the run's they lead to.
        search: folders of the project in which modules are looked for, as in its author's editor.
        copies: the project's own copies of `mrcnn`, for modules that ours has not got.
        aliases: names of modules of ours in the project.
        silent: modules that do nothing.
        camera: a film in the place of the camera.
        keys: after how many questions for a key the answer is "q".
        packages: what the script needs besides the package's own requirements.
        leaves: patterns of files that are there afterwards.
        prints: what is on the screen afterwards, as a regular expression.
        ends: "ran" or "stopped", as it is known to end.
        error: what the error says then.
        reason: why it stops, and the line to write instead.
    """

    what: str
    file: str
    folder: str | None = None
    arguments: list[str] = dataclasses.field(default_factory=list)
    name: str = "__main__"
    then: str = ""
    data: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    weights: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    borrows: list[dict[str, str]] = dataclasses.field(default_factory=list)
    imagenet: bool = False
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    paths: dict[str, str] = dataclasses.field(default_factory=dict)
    search: list[str] = dataclasses.field(default_factory=list)
    copies: list[str] = dataclasses.field(default_factory=list)
    aliases: dict[str, str] = dataclasses.field(default_factory=dict)
    silent: list[str] = dataclasses.field(default_factory=list)
    camera: str | None = None
    keys: int = 2
    packages: list[str] = dataclasses.field(default_factory=list)
    leaves: list[str] = dataclasses.field(default_factory=list)
    prints: str | None = None
    ends: str = RAN
    error: str = ""
    reason: str = ""


@dataclasses.dataclass(frozen=True)
class Project:
    """A public repository at a commit."""

    repository: str
    commit: str
    about: str
    runs: list[Run]

    @property
    def names(self) -> tuple[str, str]:
        """Folders that may hold a clone: "owner+name" and "owner/name"."""
        return self.repository.replace("/", "+"), self.repository


def load(path: Path = LIST) -> list[Project]:
    """The projects, in the list's order.

    Raises:
        ValueError: an entry has an unknown key, form or argument, no commit, or no reason.
    """
    projects = []
    for entry in tomllib.loads(path.read_text())["project"]:
        where = f"{path.name}: {entry.get('repository')}"
        unknown = set(entry) - {"repository", "commit", "about", "run"}
        if unknown:
            raise ValueError(f"{where}: unknown {sorted(unknown)}")
        if not re.fullmatch(r"[0-9a-f]{40}", entry["commit"]):
            raise ValueError(f"{where}: commit {entry['commit']!r} is not 40 hexadecimal digits")
        runs = [checked(Run(**run), where) for run in entry["run"]]
        projects.append(Project(entry["repository"], entry["commit"], entry["about"], runs))
    return projects


def checked(run: Run, where: str) -> Run:
    """The run, whose data can be made and whose end is explained."""
    for made in run.data:
        form = data.FORMS.get(made["form"])
        if form is None:
            raise ValueError(f"{where}, {run.what}: no form {made['form']!r} of data")
        arguments = {key: value for key, value in made.items() if key not in ("form", "at")}
        try:
            inspect.signature(form).bind(Path(), **arguments)
        except TypeError as error:
            raise ValueError(f"{where}, {run.what}: {made['form']}: {error}") from error
    if run.ends not in (RAN, STOPS):
        raise ValueError(f"{where}, {run.what}: ends {run.ends!r}")
    if run.ends == STOPS and not (run.error and run.reason):
        raise ValueError(f"{where}, {run.what}: stops, with no error or for no reason")
    return run
