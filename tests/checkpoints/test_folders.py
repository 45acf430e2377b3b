"""Log folders and checkpoint names."""

from __future__ import annotations

import datetime
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrcnn.checkpoints.folders import (
    checkpoint_path,
    claim_new,
    epochs_in,
    find_last,
    find_last_run,
    new_log_dir,
    parse_checkpoint_path,
    remove_unfinished,
    state_path,
    states_in,
)
from mrcnn.files.atomic import atomic_path

NOW = datetime.datetime(2019, 3, 4, 5, 6, 7)


def make_checkpoint(root: Path, folder: str, name: str = "shapes", epoch: int | None = None) -> str:
    """Create a log folder and, if an epoch is given, its checkpoint file."""
    (root / folder).mkdir(exist_ok=True)
    if epoch is None:
        return str(root / folder)
    path = Path(checkpoint_path(root / folder, name, epoch))
    path.touch()
    return str(path)


def test_new_log_dir_has_matterports_name(tmp_path):
    assert new_log_dir(tmp_path, "Shapes", now=NOW) == str(tmp_path / "shapes20190304T0506")


def test_new_log_dir_with_a_run_name(tmp_path):
    assert new_log_dir(tmp_path, "COCO", "sobel_L2", NOW) == str(
        tmp_path / "coco_sobel_L2_20190304T0506"
    )


def test_new_log_dir_creates_nothing(tmp_path):
    new_log_dir(tmp_path, "shapes")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [None, "", "a/b", "a\\b"])
def test_a_name_that_cannot_be_a_folder_is_an_error(tmp_path, name):
    with pytest.raises(ValueError, match="NAME"):
        new_log_dir(tmp_path, name)


def test_a_run_name_with_a_separator_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="RUN_NAME"):
        new_log_dir(tmp_path, "shapes", "../up")


def test_checkpoint_path_is_lower_case_with_four_digits():
    path = checkpoint_path("logs", "Shapes", 7)
    assert path == os.path.join("logs", "mask_rcnn_shapes_0007.h5")


def test_a_negative_epoch_is_an_error():
    with pytest.raises(ValueError, match="-1"):
        checkpoint_path("logs", "shapes", -1)


@settings(max_examples=50, deadline=None)
@given(
    name=st.from_regex(r"[a-zA-Z0-9][a-zA-Z0-9_-]{0,12}", fullmatch=True),
    run_name=st.none() | st.from_regex(r"[a-zA-Z0-9_.-]{1,12}", fullmatch=True),
    epoch=st.integers(0, 123_456),
    now=st.datetimes(min_value=datetime.datetime(1970, 1, 1)),
)
def test_parsing_undoes_naming(name, run_name, epoch, now):
    log_dir = new_log_dir("logs", name, run_name, now)
    assert parse_checkpoint_path(checkpoint_path(log_dir, name, epoch)) == (
        log_dir,
        epoch,
        now.replace(second=0, microsecond=0),
    )


def test_parse_accepts_windows_separators():
    path = r"C:\logs\shapes20190304T0506\mask_rcnn_shapes_0012.h5"
    date = datetime.datetime(2019, 3, 4, 5, 6)
    assert parse_checkpoint_path(path) == (r"C:\logs\shapes20190304T0506", 12, date)


def test_parse_accepts_a_doubled_separator():
    path = "logs/shapes20190304T0506//mask_rcnn_shapes_0012.h5"
    assert parse_checkpoint_path(path)[:2] == ("logs/shapes20190304T0506", 12)


@pytest.mark.parametrize(
    "path",
    [
        "mask_rcnn_coco.h5",
        "mask_rcnn_coco_0001.h5",
        "weights/mask_rcnn_coco.h5",
        "shapes20190304T0506/mask_rcnn_shapes.h5",
        "shapes20191304T0506/mask_rcnn_shapes_0001.h5",
        "20190304T0506/mask_rcnn_shapes_0001.h5",
        "shapes20190304T0506/other_0001.h5",
        "shapes20190304T0506/mask_rcnn_shapes_0001.h5.99.part",
        "shapes20190304T0506/sub/mask_rcnn_shapes_0001.h5",
        "",
    ],
)
def test_other_files_are_not_checkpoints(path):
    assert parse_checkpoint_path(path) is None


def test_find_last_takes_the_newest_folder_and_the_highest_epoch(tmp_path):
    make_checkpoint(tmp_path, "shapes20190304T0506", epoch=99)
    make_checkpoint(tmp_path, "shapes20190305T0000", epoch=2)
    make_checkpoint(tmp_path, "shapes20190305T0000", epoch=9_999)
    last = make_checkpoint(tmp_path, "shapes20190305T0000", epoch=10_000)
    assert find_last(tmp_path, "Shapes") == last


def test_find_last_passes_over_empty_folders(tmp_path):
    last = make_checkpoint(tmp_path, "shapes20190304T0506", epoch=1)
    make_checkpoint(tmp_path, "shapes20200101T0000")
    (tmp_path / "shapes20200102T0000").mkdir()
    (tmp_path / "shapes20200102T0000" / "mask_rcnn_shapes_0001.h5.1.part").touch()
    (tmp_path / "shapes20200103T0000").touch()
    assert find_last(str(tmp_path), "shapes") == last


def test_find_last_does_not_take_the_runs_of_another_configuration(tmp_path):
    make_checkpoint(tmp_path, "shapes20200101T0000", epoch=1)
    make_checkpoint(tmp_path, "shape_sobel_20200101T0000", "shape", epoch=1)
    last = make_checkpoint(tmp_path, "shape20190101T0000", "shape", epoch=3)
    assert find_last(tmp_path, "shape") == last


def test_find_last_of_a_run(tmp_path):
    make_checkpoint(tmp_path, "coco20200101T0000", "coco", epoch=5)
    make_checkpoint(tmp_path, "coco_a_b_20200101T0000", "coco", epoch=5)
    last = make_checkpoint(tmp_path, "coco_a_20190101T0000", "coco", epoch=1)
    assert find_last(tmp_path, "coco", "a") == last


def test_find_last_opens_what_new_log_dir_named(tmp_path):
    log_dir = Path(new_log_dir(tmp_path, "COCO", "Sobel", NOW))
    last = make_checkpoint(tmp_path, log_dir.name, "COCO", epoch=3)
    assert find_last(tmp_path, "COCO", "Sobel") == last
    assert parse_checkpoint_path(last)[:2] == (str(log_dir), 3)


def test_find_last_tells_what_it_looked_for(tmp_path):
    make_checkpoint(tmp_path, "balloon20190101T0000", epoch=1)
    with pytest.raises(FileNotFoundError, match=r"shapes<.*balloon20190101T0000"):
        find_last(tmp_path, "shapes")
    make_checkpoint(tmp_path, "shapes20190101T0000")
    with pytest.raises(FileNotFoundError, match="1 such folders hold no checkpoint"):
        find_last(tmp_path, "shapes")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        find_last(tmp_path / "nowhere", "shapes")


def test_the_newest_run_may_hold_states_only(tmp_path):
    make_checkpoint(tmp_path, "shapes20190304T0506", epoch=7)
    run = tmp_path / "shapes20190305T0000"
    assert find_last_run(tmp_path, "shapes") == str(tmp_path / "shapes20190304T0506")
    run.mkdir()
    Path(state_path(run, 12)).touch()
    Path(state_path(run, 123_456_789)).touch()
    (run / "step_00000013.state.77.part").touch()
    (run / "step_00000014.state.unused").touch()
    assert find_last_run(tmp_path, "shapes") == str(run)
    assert states_in(run) == {
        12: "step_00000012.state",
        123_456_789: "step_123456789.state",
    }
    assert epochs_in(run) == {} and states_in(tmp_path / "nowhere") == {}
    # What evaluates or is older than states asks for weights.
    assert find_last(tmp_path, "shapes").endswith("0007.h5")
    assert remove_unfinished(run) == ["step_00000013.state.77.part"]
    assert len(list(run.iterdir())) == 3


def test_atomic_path_replaces_on_success_only(tmp_path):
    path = tmp_path / "new" / "state"
    with atomic_path(path) as temporary:
        assert Path(temporary).parent == path.parent
        Path(temporary).write_text("first")
        assert not path.exists()
    assert path.read_text() == "first"
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        Path(temporary).write_text("half")
        raise RuntimeError
    assert path.read_text() == "first"
    assert [entry.name for entry in path.parent.iterdir()] == ["state"]


# --- A folder for one run alone -------------------------------------------------------------


def test_runs_of_the_same_minute_get_folders_of_their_own(tmp_path):
    wanted = new_log_dir(tmp_path, "shapes", now=NOW)
    first, first_lock = claim_new(wanted)
    second, second_lock = claim_new(wanted)
    assert (first, second) == (wanted, f"{wanted}-2")
    assert os.path.isdir(second) and first_lock.folder != second_lock.folder


@pytest.mark.parametrize(
    "file", ["losses.csv", "step_00000000.state", "mask_rcnn_shapes_0001.h5", ".lock", "notes.txt"]
)
def test_a_folder_that_a_run_has_written_into_is_taken(tmp_path, file):
    wanted = new_log_dir(tmp_path, "shapes", now=NOW)
    Path(wanted).mkdir()
    Path(wanted, file).touch()
    free = file in (".lock", "notes.txt")  # a lock that nobody holds is none
    assert claim_new(wanted)[0] == (wanted if free else f"{wanted}-2")


def test_the_newest_of_the_same_minute_has_the_highest_number(tmp_path):
    for number in ("", "-2", "-10", "-9"):
        last = make_checkpoint(tmp_path, f"shapes20190304T0506{number}", epoch=3)
        if number == "-10":
            newest = last
    assert find_last(tmp_path, "shapes") == newest
    folder, epoch, start = parse_checkpoint_path(newest)
    assert folder.endswith("0506-10") and epoch == 3 and start == NOW.replace(second=0)
    later = make_checkpoint(tmp_path, "shapes20190304T0507", epoch=1)
    assert find_last(tmp_path, "shapes") == later
