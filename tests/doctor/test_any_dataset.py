"""Data sets of any format are checked: by their files where there are some, and by their masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mrcnn.data.dataset import Dataset
from mrcnn.datasets.coco import CocoDataset
from mrcnn.doctor import fixes
from mrcnn.doctor.examine import Examination, examine_datasets
from tests.doctor.damaged import damaged
from tests.doctor.sound import HEIGHT, SIDE, WIDTH, DoctorConfig, noise, sound


class Squares(Dataset):
    """Ten squares an image; pictures in files, or drawn where there is no folder."""

    def __init__(self, folder: Path | None = None, seed: int = 0, images: int = 2) -> None:
        super().__init__()
        self.masks = np.zeros((HEIGHT, WIDTH, 10), bool)
        for index in range(10):
            x, y = 2 + 16 * (index % 4), 2 + 16 * (index // 4)
            self.masks[y : y + SIDE, x : x + SIDE, index] = True
        self.labels = np.array([1, 2] * 5, np.int32)
        self.seed = seed
        self.add_class("squares", 1, "fig")
        self.add_class("squares", 2, "nut")
        for index in range(images):
            path = None if folder is None else folder / f"{index}.png"
            if path is not None:
                folder.mkdir(exist_ok=True)
                noise(seed + index).save(path)
            self.add_image("squares", index, path)
        self.prepare()

    def load_image(self, image_id: int) -> np.ndarray:
        if self.image_info[image_id]["path"] is not None:
            return super().load_image(image_id)
        return np.asarray(noise(self.seed + image_id))

    def load_mask(self, image_id: int) -> tuple[np.ndarray, np.ndarray]:
        return self.masks, self.labels


def check(train: Dataset, val: Dataset | None = None) -> Examination:
    return examine_datasets(train, val, DoctorConfig(), jobs=1, progress=False)


def kinds(*datasets: Dataset) -> set[str]:
    return {finding.kind for finding in check(*datasets).findings}


@pytest.mark.parametrize("in_files", [True, False])
def test_a_sound_data_set_has_no_findings(tmp_path, in_files):
    folders = (tmp_path / "train", tmp_path / "val") if in_files else (None, None)
    train, val = Squares(folders[0]), Squares(folders[1], seed=100, images=1)
    examination = check(train, val)
    assert not examination.findings and len(examination.subsets[0].objects.boxes) == 20
    assert examination.coverage is not None


def test_what_coco_readers_give_is_found_as_in_the_json(tmp_path):
    sound(tmp_path / "data").write()
    assert not kinds(*(CocoDataset.of(tmp_path / "data", name) for name in ("train", "val")))
    damaged("only-crowds", tmp_path / "crowds")
    assert {"only-crowds"} <= kinds(CocoDataset.of(tmp_path / "crowds", "train"))


def test_files_are_checked_where_there_are_some(tmp_path):
    train = Squares(tmp_path / "a")
    (tmp_path / "a" / "0.png").write_bytes(b"no picture")
    noise(1).convert("L").save(tmp_path / "a" / "1.png")
    assert {"file-unreadable", "grey"} <= kinds(train)


class Upright(Squares):
    """Squares in photographs that a camera stored on their side, and a browser showed upright."""

    def __init__(self, folder: Path, orientation: int, **info: object) -> None:
        super().__init__(folder)
        turn = {3: 2, 6: 1, 8: 3}[orientation]  # quarters that the viewer turns back
        for index, entry in enumerate(self.image_info):
            exif = Image.Exif()
            exif[0x0112] = orientation
            Image.fromarray(np.rot90(noise(index), turn)).save(entry["path"], exif=exif)
            entry |= info


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_what_a_reader_turns_upright_is_no_finding(tmp_path, orientation):
    assert not kinds(Upright(tmp_path / "a", orientation, upright=True))


def test_which_way_up_is_said_where_nothing_tells(tmp_path):
    assert kinds(Upright(tmp_path / "a", 3)) == {"exif-orientation"}
    sized = Upright(tmp_path / "b", 6, height=HEIGHT, width=WIDTH)
    assert kinds(sized) == {"size-rotated"}
    assert "objects-refused" in kinds(Upright(tmp_path / "c", 6))  # stored lying, masks upright
    for setting, found in (("apply", set()), ("ignore", {"objects-refused", "no-images"})):
        config = type("Some", (DoctorConfig,), {"EXIF_ORIENTATION": setting})()
        findings = examine_datasets(sized, None, config, jobs=1, progress=False).findings
        assert {finding.kind for finding in findings} == found


def test_masks_are_checked(tmp_path):
    train = Squares(tmp_path / "a")
    train.masks[..., 0] = False
    (first, _) = [f for f in check(train).findings if f.kind == "mask-empty"]
    assert first.id == "0/0" and first.file == "Squares" and first.subset == "train"
    train.labels = -train.labels
    assert "only-crowds" in kinds(train)


@pytest.mark.parametrize("problem", ["size", "class", "raises"])
def test_what_the_loader_would_refuse_is_an_error_that_names_the_image(tmp_path, problem):
    train = Squares(tmp_path / "a")
    if problem == "size":
        train.masks = train.masks[1:]
    elif problem == "class":
        train.labels = train.labels + 1
    else:
        train.load_mask = lambda image_id: 1 / 0
    found = [f for f in check(train).findings if f.kind == "objects-refused"]
    assert len(found) == 2 and found[0].id == 0 and found[0].severity == "error"
    expected = {"size": "masks (48, 64, 10)", "class": "NUM_CLASSES = 3", "raises": "division"}
    assert expected[problem] in found[0].message


def test_class_ids_may_be_a_list():
    lists = Squares()
    lists.labels = lists.labels.tolist()
    assert kinds(lists) == kinds(Squares())


def test_a_picture_that_is_not_drawn_is_an_error():
    train = Squares()
    train.load_image = lambda image_id: 1 / 0
    assert {"image-refused", "no-images"} <= kinds(train)


def test_leaks_and_classes_are_compared(tmp_path):
    train, val = Squares(tmp_path / "a"), Squares(tmp_path / "b", images=1)
    assert "split-leak" in kinds(train, val)
    val.class_info[1]["name"] = "date"
    assert "classes-differ" in kinds(train, val)


def test_there_is_nothing_to_repair(tmp_path):
    examination = check(Squares(tmp_path / "a"))
    with pytest.raises(ValueError, match="nothing to repair it from"):
        fixes.fix(examination, tmp_path / "out")
    assert not (tmp_path / "out").exists()
