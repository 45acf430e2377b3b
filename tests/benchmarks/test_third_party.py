"""Running public scripts: what is changed around them, and what the table says of how they end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from skimage import io

from benchmarks import third_party
from benchmarks.corpus import data, imports, outside, run, scenes
from benchmarks.corpus.projects import load

SCRIPT = """
import os, sys
from mrcnn.config import Config

class Settings(Config):
    NAME = "fruit"
    STEPS_PER_EPOCH = 65
    IMAGE_MIN_DIM = 512
    IMAGE_MAX_DIM = 512

settings = Settings()
print("steps", settings.STEPS_PER_EPOCH, "shape", settings.IMAGE_SHAPE.tolist())
print("package", Config.__module__, sys.modules["mrcnn"].__file__)
open("left.txt", "w").write(open("/else/where/note.txt").read())
os.replace("/else/where/note.txt", "/else/where/moved.txt")
if len(sys.argv) > 1:
    raise KeyError(sys.argv[1])
"""
NOTEBOOK = {
    "cells": [
        {"cell_type": "markdown", "source": ["# About"]},
        {"cell_type": "code", "source": ["%matplotlib inline\n", "!pip install fruit\n", "x = 1"]},
        {"cell_type": "code", "source": ["y = x + z"]},
        {"cell_type": "code", "source": ["print(get_ipython().magic('ls'), 'x is', x)"]},
    ]
}


@pytest.fixture
def clones(tmp_path):
    """A folder with one clone; returns it and the commit."""
    clone = tmp_path / "clones" / "someone+fruit"
    (clone / "mrcnn").mkdir(parents=True)
    (clone / "mrcnn" / "__init__.py").write_text("raise ImportError('their own copy')\n")
    (clone / "script.py").write_text(SCRIPT)
    (clone / "book.ipynb").write_text(json.dumps(NOTEBOOK))
    git = ["git", "-C", str(clone), "-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "all"]):
        subprocess.run([*git, *command], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True).stdout
    return clone.parent, commit.strip()


def results(clones, tmp_path, runs, commit=None):
    """The rows of a list of one project."""
    folder, head = clones
    listed = tmp_path / "list.toml"
    listed.write_text(
        f'[[project]]\nrepository = "someone/fruit"\ncommit = "{commit or head}"\nabout = "fruit"\n'
        + textwrap.dedent(runs)
    )
    output = tmp_path / "output"
    status = third_party.main(
        ["--checkouts", str(folder), "--projects", str(listed), "--output", str(output)]
    )
    rows = json.loads((output / "third_party.json").read_text())
    return status, rows, (output / "third_party.md").read_text(), output


NOTE = """
    data = [{ form = "text", at = "here", name = "note.txt", content = "from elsewhere" }]
    paths = { "/else/where" = "here" }
"""


def test_a_script_runs_on_this_package_made_small(clones, tmp_path):
    runs = f"""
    [[project.run]]
    what = "script"
    file = "script.py"
    leaves = ["left.txt", "here/moved.txt"]
    prints = "package mrcnn.config"
    {NOTE}
    """
    status, (row,), table, output = results(clones, tmp_path, runs)
    assert (status, row["result"], row["error"]) == (0, "ran", None)
    printed = next(output.glob("*.log")).read_text()
    assert "shape [128, 128, 3]" in printed
    assert f"package mrcnn.config {third_party.ROOT / 'mrcnn'}" in printed
    assert "| script | ran |" in table and "1 runs of 1 projects: 1 ran." in table
    assert not (clones[0] / "someone+fruit" / "left.txt").exists()  # the clone stays as it was


def test_where_a_script_stopped(clones, tmp_path):
    runs = f"""
    [[project.run]]
    what = "script"
    file = "script.py"
    arguments = ["apple"]
    {NOTE}
    """
    status, (row,), table, _ = results(clones, tmp_path, runs)
    assert status == 1
    assert (row["result"], row["error"], row["theirs"]) == (
        "stopped",
        "KeyError: 'apple'",
        "script.py:17",
    )
    assert "KeyError: 'apple' (script.py:17)" in table


def test_a_stop_that_the_list_knows_is_no_failure(clones, tmp_path):
    runs = f"""
    [[project.run]]
    what = "script"
    file = "script.py"
    arguments = ["apple"]
    ends = "stopped"
    error = "ERROR"
    reason = "no apples"
    {NOTE}
    """
    known = results(clones, tmp_path, runs.replace("ERROR", "apple"))
    assert known[0] == 0 and known[1][0]["reason"] == "no apples"
    status, (row,), _, _ = results(clones, tmp_path, runs.replace("ERROR", "pear"))
    assert (status, row["result"], row["expected"]) == (1, "stopped", "stopped, with 'pear'")


def test_a_run_that_leaves_nothing_has_stopped(clones, tmp_path):
    runs = f"""
    [[project.run]]
    what = "script"
    file = "script.py"
    leaves = ["weights*.h5"]
    {NOTE}
    """
    status, (row,), _, _ = results(clones, tmp_path, runs)
    assert (status, row["result"]) == (1, "stopped")
    assert row["error"] == "ran to its end, but left no weights*.h5"


def test_all_cells_of_a_notebook_are_run(clones, tmp_path):
    runs = """
    [[project.run]]
    what = "book"
    file = "book.ipynb"
    then = "raise RuntimeError('not reached after an error')"
    """
    _, (row,), table, output = results(clones, tmp_path, runs)
    assert (row["cells"], row["cells_run"]) == (3, 2)
    assert row["error"].startswith("NameError") and row["theirs"] == "<cell 2>:1"
    assert "None x is 1" in next(output.glob("*.log")).read_text()
    assert "stopped (2 of 3 cells)" in table


def test_the_time_of_a_run_has_an_end(clones, tmp_path):
    runs = """
    [[project.run]]
    what = "book"
    file = "book.ipynb"
    then = ""
    """
    folder, head = clones
    listed = tmp_path / "list.toml"
    header = f'[[project]]\nrepository = "someone/fruit"\ncommit = "{head}"\nabout = "fruit"\n'
    listed.write_text(header + textwrap.dedent(runs))
    arguments = ["--checkouts", str(folder), "--projects", str(listed)]
    arguments += ["--output", str(tmp_path / "output"), "--timeout", "0.01"]
    assert third_party.main(arguments) == 1
    (row,) = json.loads((tmp_path / "output" / "third_party.json").read_text())
    assert row["result"] == "stopped" and row["error"].startswith("not done after")


RUN = """
[[project.run]]
what = "script"
file = "script.py"
"""


def test_only_the_listed_commit_unedited_is_run(clones, tmp_path):
    status, (row,), _, _ = results(clones, tmp_path, RUN, commit="0" * 40)
    assert (status, row["result"]) == (0, "other commit")
    script = clones[0] / "someone+fruit" / "script.py"
    script.write_text(SCRIPT + "# edited\n")
    assert results(clones, tmp_path, RUN)[1][0]["result"] == "edited"
    script.unlink()  # too large a file for a snapshot is missing there, not edited
    assert results(clones, tmp_path, RUN)[1][0]["result"] == "stopped"
    (clones[0] / "someone+fruit").rename(clones[0] / "other")
    assert results(clones, tmp_path, RUN)[1][0]["result"] == "no clone"


def test_the_list_says_how_to_get_the_clones(capsys):
    assert third_party.main(["--list", "--only", "matterport/Mask_RCNN balloon.py train"]) == 0
    printed = capsys.readouterr().out
    assert "git clone https://github.com/matterport/Mask_RCNN matterport+Mask_RCNN" in printed
    assert "git -C matterport+Mask_RCNN checkout 3deaec5d" in printed


def test_the_list_is_long_enough_and_each_project_is_there_once():
    projects = load()
    assert len({project.repository for project in projects}) == len(projects) >= 25
    assert sum(len(project.runs) for project in projects) >= 60
    for project in projects:
        assert len({each.what for each in project.runs}) == len(project.runs)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('form = "jpegs", at = "."', "no form 'jpegs'"),
        ('form = "video", at = "."', "missing a required argument: 'name'"),
        ('form = "empty", depth = 2', "unexpected keyword argument 'depth'"),
    ],
)
def test_a_wrong_entry_of_the_list_is_refused(tmp_path, text, said):
    listed = tmp_path / "list.toml"
    listed.write_text(
        '[[project]]\nrepository = "a/b"\nabout = "c"\ncommit = "'
        + "a" * 40
        + f'"\n[[project.run]]\nwhat = "d"\nfile = "e"\ndata = [{{ {text} }}]\n'
    )
    with pytest.raises(ValueError, match=said):
        load(listed)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("%matplotlib inline\nx = 1", "pass\nx = 1\n"),
        ("if a:\n    !ls -l {x}\ny = 7 % 2", "if a:\n    pass\ny = 7 % 2\n"),
        ("!pip install \\\n   a b\nx", "pass\n\nx\n"),
        ("x = (7\n% 2)", "x = (7\n% 2)\n"),
        ("text = '# ('\n%time", "text = '# ('\npass\n"),
        ("%%bash\ncd x", "pass\n"),
        ("%%time\nx = 1", "pass\nx = 1\n"),
        ("pwd", "pass\n"),
        ("model.train?", "model.train\n"),
    ],
)
def test_magics_become_pass(source, expected):
    assert run.without_magics(source) == expected


def test_cells_of_the_third_notebook_format():
    sheet = {"cells": [{"cell_type": "code", "input": ["a = 1"]}, {"cell_type": "heading"}]}
    assert run.code_cells({"worksheets": [sheet]}) == [(0, "a = 1\n")]


@pytest.mark.parametrize(
    ("value", "cap", "expected"),
    [(1000, 2, 2), (1, 2, 1), (65.5, 2, 1.5), (100.0, 2, 2.0), (None, 2, None), (True, 0, True)],
)
def test_settings_are_capped_in_their_own_type(value, cap, expected):
    found = outside.capped(value, cap)
    assert found == expected and type(found) is type(expected)


def test_paths_of_other_machines(monkeypatch):
    monkeypatch.setattr(outside, "_places", {"E:\\data\\": "/run/", "/content": "/run/here"})
    assert outside.translated("E:\\data\\a\\b.jpg") == "/run/a/b.jpg"
    assert outside.translated("/content/a") == "/run/here/a"
    assert outside.translated("logs\\a") == "logs/a"
    assert outside.translated(Path("/kept/a")) == Path("/kept/a")
    assert outside.translated(3) == 3


@pytest.fixture
def finder():
    """Makes finders, which are removed afterwards with what they have imported."""
    before, found = dict(sys.modules), []

    def make(*args, **kwargs):
        found.append(imports.Redirect(third_party.ROOT, *args, **kwargs))
        sys.meta_path.insert(0, found[-1])

    yield make
    for each in found:
        sys.meta_path.remove(each)
    for name in set(sys.modules) - set(before):
        del sys.modules[name]


def test_names_of_the_project_lead_to_modules_of_ours(finder, tmp_path):
    (tmp_path / "extra.py").write_text("from mrcnn import utils\nhere = utils.__name__\n")
    seen = []
    finder(
        [tmp_path],
        {"modellib_utils": "mrcnn.utils"},
        ["google", "google.colab"],
        {"sndhdr_like": seen.append, "mrcnn.extra": lambda module: seen.append(module.__name__)},
    )
    import modellib_utils
    import mrcnn.extra
    from google.colab import drive

    import mrcnn.utils

    assert modellib_utils is mrcnn.utils
    assert drive("anything") is None
    assert mrcnn.extra.here == "mrcnn.utils"
    assert seen == ["mrcnn.extra"]


def test_objects_of_a_scene_do_not_hide_each_other():
    for seed in range(20):
        scene = scenes.draw(seed, kinds=3, objects=3)
        masks = [outline.mask(scene.size) for outline in scene.outlines]
        assert all(mask.sum() > 200 for mask in masks)
        assert np.sum(masks, axis=0).max() == 1
        assert np.array_equal(scene.visible_masks(), masks)
        assert np.array_equal(scene.instances() > 0, np.any(masks, axis=0))
        left, top, right, bottom = scene.outlines[0].box
        assert 0 <= left < right <= scene.size[1] and 0 <= top < bottom <= scene.size[0]


def test_forms_of_data(tmp_path):
    data.via(tmp_path / "via", ["train"], attributes={"kind": ["a", "b"]}, count=1)
    described = json.loads((tmp_path / "via/train/via_region_data.json").read_text())
    ((_, picture),) = described.items()
    assert [region["region_attributes"]["kind"] for region in picture["regions"].values()] == [
        "a",
        "b",
        "a",
    ]
    assert io.imread(tmp_path / "via/train" / picture["filename"]).shape == (*scenes.SIZE, 3)

    data.coco(tmp_path / "coco", "images", "some.json", {"cup": 7}, count=2)
    described = json.loads((tmp_path / "coco/some.json").read_text())
    assert [each["id"] for each in described["annotations"]] == [1, 2, 3, 4, 5, 6]
    assert {each["category_id"] for each in described["annotations"]} == {7}
    data.coco(tmp_path / "coco", "images", "all.json", {"cup": 7, "can": 90}, fill=8)
    described = json.loads((tmp_path / "coco/all.json").read_text())
    assert [each["id"] for each in described["categories"]] == [7, 90, 1, 2, 3, 4, 5, 6]

    data.voc(tmp_path / "voc", [5])
    root = ElementTree.parse(tmp_path / "voc/annots/00005.xml").getroot()
    assert [child.text for child in root.find("size")] == ["160", "128", "3"]
    assert [child.tag for child in root.find("object")][4] == "bndbox"

    script = tmp_path / "script.py"
    script.write_text('NAMES = ["one", "two"]\n')
    wanted = {"file": str(script), "name": "NAMES"}
    data.mask_folders(tmp_path / "bowl", count=0, ids_of=wanted)
    assert sorted(os.listdir(tmp_path / "bowl")) == ["one", "two"]
    assert len(os.listdir(tmp_path / "bowl/one/masks")) == 3
    with pytest.raises(ValueError, match="no list OTHERS"):
        data.listed(script, "OTHERS")

    data.labelme(tmp_path / "labelme", ["x"], count=1, size=[64, 96])
    described = json.loads((tmp_path / "labelme/0.json").read_text())
    assert (described["imageHeight"], described["imageWidth"]) == (64, 96)

    data.indexed(tmp_path / "indexed", ["x"], "{}.png", "m{}.png", "{}.yaml", count=1)
    assert set(np.unique(io.imread(tmp_path / "indexed/m0.png"))) == {0, 1, 2, 3}
    assert (tmp_path / "indexed/0.yaml").read_text().count("- x") == 3


def test_run_lengths_are_those_of_the_masks(tmp_path):
    data.rle_table(tmp_path, "images", "ships.csv", [96, 128], ["a.jpg"], objects=2)
    header, *rows = (tmp_path / "ships.csv").read_text().splitlines()
    assert header == "ImageId,EncodedPixels" and len(rows) == 2
    scene = scenes.draw(0, objects=2, size=(96, 128), side=32)
    for row, outline in zip(rows, scene.outlines, strict=True):
        numbers = [int(number) for number in row.split(",")[1].split()]
        pixels = np.zeros(96 * 128, bool)
        for start, length in zip(numbers[::2], numbers[1::2], strict=True):
            pixels[start - 1 : start - 1 + length] = True
        assert np.array_equal(pixels.reshape(128, 96).T, outline.mask((96, 128)))


def test_what_ran_as_expected_is_not_run_again(clones, tmp_path, monkeypatch):
    runs = f"""
    [[project.run]]
    what = "script"
    file = "script.py"
    {NOTE}
    [[project.run]]
    what = "book"
    file = "book.ipynb"
    """
    results(clones, tmp_path, runs)
    seen = []

    def note(project, run, options):
        seen.append(run.what)
        return {"repository": project.repository, "commit": "", "what": run.what} | {
            "expected": "ran",
            "result": "ran",
        }

    monkeypatch.setattr(third_party, "one_row", note)
    arguments = ["--checkouts", str(clones[0]), "--projects", str(tmp_path / "list.toml")]
    assert third_party.main([*arguments, "--output", str(tmp_path / "output"), "--again"]) == 0
    assert seen == ["book"]


def kept():
    """The rows of the table that is kept in the repository."""
    path = third_party.ROOT / "benchmarks" / "corpus" / "results.json"
    return json.loads(path.read_text(encoding="utf-8"))


def test_the_kept_table_is_of_the_list_and_as_it_says():
    listed = {
        (project.repository, each.what): (project.commit, each)
        for project in load()
        for each in project.runs
    }
    rows = {(row["repository"], row["what"]): row for row in kept()}
    assert set(rows) == set(listed)
    for key, (commit, each) in listed.items():
        row = rows[key]
        assert (row["commit"], row["result"], row["reason"]) == (commit, each.ends, each.reason)
        assert each.error in (row["error"] or "")
    written = third_party.ROOT / "benchmarks" / "results" / "third_party.md"
    assert written.read_text(encoding="utf-8") == third_party.table(kept())


def test_the_documents_say_what_was_run():
    """Each project with its commit, each script, and why one stops and what to write."""
    text = (third_party.ROOT / "docs" / "compatibility.md").read_text(encoding="utf-8")
    section = text.partition("## Public code that was run")[2].partition("\n## ")[0]
    for row in kept():
        assert f"{row['repository']}/tree/{row['commit']}" in section
        assert row["what"] in section and row["reason"] in section
    ran = sum(row["result"] == "ran" for row in kept())
    projects = len({row["repository"] for row in kept()})
    said = f"{len(kept())} scripts and notebooks of {projects} projects"
    for document in (section, (third_party.ROOT / "README.md").read_text(encoding="utf-8")):
        plain = " ".join(document.split())
        assert said in plain and f"{ran} ran" in plain
