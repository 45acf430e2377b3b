"""The small data sets of ../shared/cases, which failed once: one answer from all that read them."""

from __future__ import annotations

import pytest

from tests.doctor.readers import Right, hold_to_one_answer

FORM = frozenset(["annotation-form"])
CASES = {
    "flat_polygon": Right(FORM),
    "via_coco_export": Right(FORM),
    "nested_polygon": Right(FORM),
    "iscrowd_false": Right(),
    "cvat_masks_all_crowd": Right(frozenset(["only-crowds", "crowd"]), crowds_as_objects=True),
    "crossing_at_corner": Right(frozenset(["polygon-crossing", "area-disagrees"])),
    "empty_mask_in_evaluation": Right(frozenset(["mask-empty"])),
    "boxes_as_nested_empty": Right(
        FORM | {"box-only"}, stops="There is a 'bbox': --box-only", box_only=True
    ),
    "placeholder_segmentation": Right(
        FORM | {"box-only"}, 2, stops="There is a 'bbox': --box-only", repaired=2, box_only=True
    ),
    "windows_names": Right(
        frozenset(["path-backslash", "no-images"]), stops="expected 'images/a.png', which exists"
    ),
}
PIXELS = {"crossing_at_corner": [2300], "placeholder_segmentation": [400, 1200]}


def test_there_is_a_right_answer_for_each(shared):
    assert {path.name for path in (shared / "cases").iterdir() if path.is_dir()} == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_all_readers_give_it(shared, name, tmp_path, monkeypatch):
    root = shared / "cases" / name
    seen, repaired = hold_to_one_answer(root, CASES[name], tmp_path / "out", monkeypatch)
    for objects in (seen, repaired):
        assert not objects or sorted(o.pixels for o in objects) == PIXELS.get(name, [1200])
