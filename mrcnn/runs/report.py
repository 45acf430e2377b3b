"""`report.html`: all that is known of a run on one page that needs no network.

It is made of the files in the run's folder, and of pictures that an evaluation chose, so that
training writes it and evaluation writes it again with more. Plotly draws the curves (extra
"report"). All names are a stranger's: they are escaped wherever they go.
"""

from __future__ import annotations

import base64
import csv
import html
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from PIL import Image

from mrcnn.checkpoints.losses_file import LOSSES_FILE, is_metric, read_losses_file
from mrcnn.checkpoints.settings_file import CLASS_NAMES, SETTINGS_FILE, TRAINING
from mrcnn.config import Config
from mrcnn.files.atomic import atomic_path
from mrcnn.files.untrusted import load_json
from mrcnn.logger import logger
from mrcnn.runs.report_page import PAGE
from mrcnn.runs.settings import is_setting

REPORT_FILE = "report.html"
_MISSING = (
    "report.html was not written, because Plotly, which draws its curves, is not installed: "
    "pip install 'mrcnn[report]' (or plotly)."
)
_JPEG_QUALITY = 85
# A large table of curves is thinned out to so many points a class.
_MOST_POINTS = 400


@dataclass(frozen=True, eq=False)
class ReportImage:
    """A picture of the report, beside its ground truth.

    Attributes:
        name: of the file.
        found, false, missed: objects of the picture, and detections of none.
        classes: names of the classes of its objects and detections.
        errors: the kinds of error in it.
        truth, detected: uint8 [H, W, 3], with the objects drawn.
    """

    name: str
    found: int
    false: int
    missed: int
    classes: Sequence[str]
    errors: Sequence[str]
    truth: np.ndarray
    detected: np.ndarray


def write_report(
    folder: str | Path,
    split: str | None = None,
    images: Sequence[ReportImage] = (),
    results: str | Path | None = None,
) -> Path | None:
    """Write the page of a run.

    Args:
        folder: of the run.
        split: the name in the files of the evaluation to show, such as "val"; None: the training
            alone.
        images: that the evaluation chose.
        results: the folder of the evaluation's files, and of the page; None: the run's.

    Returns:
        The page; None where Plotly is not installed, which is logged.
    """
    try:
        import plotly.graph_objects  # noqa: F401
        from plotly.offline import get_plotlyjs
    except ImportError:
        logger.info(_MISSING)
        return None
    folder, results = Path(folder), Path(folder if results is None else results)
    figures: dict[str, Any] = {}
    sections = [_settings(folder), _curves(folder, figures)]
    if split is not None:
        sections += [
            _metrics(results, split),
            _analysis(results, split, figures),
            _images(images),
        ]
    body = "\n".join(section for section in sections if section)
    page = Template(PAGE).substitute(
        title=html.escape(folder.resolve().name),
        body=body,
        plotly=get_plotlyjs(),
        figures=_script_json(figures),
    )
    path = results / REPORT_FILE
    with atomic_path(path) as temporary:
        Path(temporary).write_text(page, encoding="utf-8")
    return path


def _script_json(content: Any) -> str:
    """JSON that may stand inside a script: no name in it ends the script."""
    text = json.dumps(content, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _section(title: str, content: str) -> str:
    return f"<section><h2>{html.escape(title)}</h2>\n{content}</section>" if content else ""


def _table(header: Sequence[Any], rows: Iterable[Sequence[Any]], sortable: bool = True) -> str:
    cells = "".join(f"<th>{html.escape(str(name))}</th>" for name in header)
    lines = "\n".join(
        "<tr>" + "".join(f"<td>{html.escape(_shown(value))}</td>" for value in row) + "</tr>"
        for row in rows
    )
    kind = ' class="sortable"' if sortable else ""
    return f"<table{kind}><thead><tr>{cells}</tr></thead><tbody>{lines}</tbody></table>"


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return "–" if not math.isfinite(value) or value == -1 else f"{value:.3f}"
    return str(value)


# --- Settings and curves ------------------------------------------------------------------------


def _settings(folder: Path) -> str:
    """The settings that differ from the defaults, the classes, and how the run was started."""
    path = folder / SETTINGS_FILE
    if not path.is_file():
        return ""
    content = load_json(path)
    changed = [
        (name, json.dumps(value))
        for name, value in sorted(content.items())
        if is_setting(name) and _plain(value) != _plain(getattr(Config, name))
    ]
    training = content.get(TRAINING) or {}
    started = [
        (name, json.dumps(value)) for name, value in sorted(training.items()) if value is not None
    ]
    classes = content.get(CLASS_NAMES) or []
    parts = [
        f"<p>Classes: {html.escape(', '.join(map(str, classes[1:])))}</p>" if classes else "",
        _folded("Settings that differ from the defaults", ["setting", "value"], changed),
        _folded("How the run was started", ["option", "value"], started),
    ]
    return _section("Settings and data", "\n".join(parts))


def _folded(title: str, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    if not rows:
        return ""
    table = _table(header, rows, sortable=False)
    return f"<details><summary>{html.escape(title)} ({len(rows)})</summary>{table}</details>"


def _plain(value: Any) -> str:
    """A value as the settings file has it."""
    return json.dumps(value, default=str)


def _figure(figures: dict[str, Any], name: str, title: str, figure: Any) -> str:
    """Keep a figure for the page's script, and return where it goes."""
    figure.update_layout(template="plotly_white", margin={"l": 60, "r": 20, "t": 30, "b": 50})
    figures[name] = json.loads(figure.to_json())
    place = f'<div class="figure" id="figure-{html.escape(name)}"></div>'
    return f"<div><h3>{html.escape(title)}</h3>{place}</div>"


def _curves(folder: Path, figures: dict[str, Any]) -> str:
    """Losses of training and validation, and metrics that were computed while training."""
    import plotly.graph_objects as go

    if not (folder / LOSSES_FILE).is_file():
        return ""
    columns = read_losses_file(folder / LOSSES_FILE)
    epochs = columns.get("epoch", [])
    if not epochs:
        return ""
    losses = [name for name in columns if name.endswith("loss") and not name.startswith("val_")]
    losses.sort(key=lambda name: (name != "loss", name))
    figure = go.Figure()
    for number, name in enumerate(losses):
        for column, dash in ((name, "solid"), (f"val_{name}", "dot")):
            if column in columns:
                figure.add_scatter(
                    x=epochs,
                    y=_numbers(columns[column]),
                    name=column,
                    mode="lines+markers",
                    line={"dash": dash},
                    connectgaps=True,
                    visible=True if number == 0 else "legendonly",
                )
    figure.update_layout(hovermode="x unified")
    figure.update_xaxes(title="epoch")
    figure.update_yaxes(title="loss, mean of the epoch")
    parts = [_figure(figures, "losses", "Losses (click a name to show or hide it)", figure)]
    metrics = [name for name in columns if is_metric(name)]
    if metrics:
        figure = go.Figure()
        for name in metrics:
            figure.add_scatter(
                x=epochs,
                y=_numbers(columns[name]),
                name=name.removeprefix("val_"),
                mode="lines+markers",
                connectgaps=True,
            )
        figure.update_layout(hovermode="x unified")
        figure.update_xaxes(title="epoch")
        figure.update_yaxes(title="AP, from 0 to 1", rangemode="tozero")
        parts.append(_figure(figures, "metrics", "COCO metrics of the validation set", figure))
    return _section("Training", "\n".join(parts))


def _numbers(values: Sequence[float]) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in values]


# --- Evaluation -----------------------------------------------------------------------------------


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _metrics(folder: Path, split: str) -> str:
    overall = _rows(folder / f"coco_{split}.csv")
    classes = _rows(folder / f"coco_{split}_classes.csv")
    parts = []
    for rows in (overall, classes):
        if rows:
            header = list(rows[0])
            parts.append(_table(header, ([_number(row[name]) for name in header] for row in rows)))
    return _section(f"COCO metrics, {split}", "\n".join(parts))


def _number(text: str) -> Any:
    try:
        return float(text) if "." in text or text == "-1" else int(text)
    except ValueError:
        return text


def _analysis(folder: Path, split: str, figures: dict[str, Any]) -> str:
    import plotly.graph_objects as go

    parts = []
    curves: dict[str, list[dict[str, str]]] = {}
    for row in _rows(folder / f"curves_{split}.csv"):
        curves.setdefault(row["category"], []).append(row)
    for name, x, y, title in (
        ("precision", "recall", "precision", "Precision and recall of masks, IoU 0.5"),
        ("f1", "score", "f1", "F1 of the detections from a score on"),
    ):
        figure = go.Figure()
        for category, rows in curves.items():
            thinned = rows[:: max(1, len(rows) // _MOST_POINTS)]
            figure.add_scatter(
                x=[float(row[x]) for row in thinned],
                y=[float(row[y]) for row in thinned],
                name=html.escape(category),
                mode="lines",
            )
        figure.update_xaxes(title=x, range=[0, 1.02])
        figure.update_yaxes(title=y, range=[0, 1.02])
        if curves:
            parts.append(_figure(figures, name, title, figure))
    confusion = _rows(folder / f"confusion_{split}.csv")
    if confusion:
        parts.append(_confusion(confusion, figures))
    costs = _rows(folder / f"errors_{split}.csv")
    if costs:
        figure = go.Figure(
            go.Bar(
                x=[100 * float(row["AP50_cost"]) for row in costs],
                y=[row["error"] for row in costs],
                text=[f"{row['count']} errors" for row in costs],
                orientation="h",
            )
        )
        figure.update_xaxes(title="points of mask AP50", rangemode="tozero")
        figure.update_yaxes(autorange="reversed")
        parts.append(_figure(figures, "errors", "What the errors cost, each kind alone", figure))
    return _section("What goes wrong", f'<div class="grid">{"".join(parts)}</div>' if parts else "")


def _confusion(rows: Sequence[Mapping[str, str]], figures: dict[str, Any]) -> str:
    import plotly.graph_objects as go

    names = [row["object"] for row in rows]
    counts = np.array([[int(row[name]) for name in names] for row in rows])
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    labels = [html.escape(name) for name in names]
    figure = go.Figure(
        go.Heatmap(
            z=shares.tolist(),
            x=labels,
            y=labels,
            text=counts.tolist(),
            texttemplate="%{text}",
            colorscale="Blues",
            showscale=False,
        )
    )
    figure.update_yaxes(autorange="reversed")
    title = "Objects (rows) and what they were detected as (columns)"
    return _figure(figures, "confusion", title, figure)


def _images(images: Sequence[ReportImage]) -> str:
    if not images:
        return ""
    classes = sorted({name for image in images for name in image.classes})
    errors = sorted({kind for image in images for kind in image.errors})
    choices = "".join(
        f'<label>{label} <select id="{name}"><option value="">all</option>'
        + "".join(
            f'<option value="{html.escape(value)}">{html.escape(value)}</option>'
            for value in values
        )
        + "</select></label> "
        for name, label, values in (("by-class", "class", classes), ("by-error", "error", errors))
    )
    shown = "\n".join(_image(image) for image in images)
    order = '<label>order <select id="by-order"><option>worst first</option>'
    order += "<option>best first</option></select></label>"
    count = '<span id="image-count"></span>'
    hint = "<p>Left: the ground truth. Right: the detections from the best score on.</p>"
    bar = f'<div class="filters">{choices}{order} {count}</div>'
    return _section("Images", f'{bar}{hint}<div id="images">{shown}</div>')


def _image(image: ReportImage) -> str:
    total = image.found + image.missed
    words = f"{image.found} of {total} found, {image.false} false, {image.missed} missed"
    data = {
        "classes": json.dumps(list(image.classes)),
        "errors": json.dumps(list(image.errors)),
        "wrong": str(image.false + image.missed),
    }
    attributes = " ".join(f'data-{name}="{html.escape(value)}"' for name, value in data.items())
    name = html.escape(image.name)
    return (
        f'<figure class="image" {attributes}><figcaption><b>{name}</b> {html.escape(words)}'
        f'</figcaption><img alt="{name}, ground truth" src="{_jpeg(image.truth)}">'
        f'<img alt="{name}, detections" src="{_jpeg(image.detected)}"></figure>'
    )


def _jpeg(picture: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
