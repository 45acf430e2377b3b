"""A data set is divided as --split asks, if it has no validation set."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from mrcnn.datasets.division import Division
from mrcnn.runs.division import applies, divide_dataset
from tests.datasets.formats.support import picture
from tests.datasets.formats.test_labelme import SQUARE, shape, write


def labelled(folder, count=10):
    for i in range(count):
        write(folder, f"{i}", [shape("cat" if i % 2 else "dog", SQUARE)])


def test_a_folder_of_labelme_files_is_divided(tmp_path, capsys):
    labelled(tmp_path)
    division = divide_dataset(tmp_path, "train", "", 0.8, seed=4)
    assert len(division.train) == 8 and len(division.val) == 2
    assert "8 images to train on and 2 to validate on" in capsys.readouterr().out
    assert divide_dataset(tmp_path, "train", "", 0.8, seed=4) == division
    assert divide_dataset(tmp_path, "train", "", 0.8, seed=5) != division


def test_pictures_that_resemble_each_other_stay_together(tmp_path, capsys):
    labelled(tmp_path, 8)
    for i in range(0, 8, 2):  # each the darker copy of the next
        pixels = np.asarray(Image.open(tmp_path / f"{i + 1}.jpg"))
        Image.fromarray(pixels // 2).save(tmp_path / f"{i}.jpg", quality=95)
    for seed in range(4):
        division = divide_dataset(tmp_path, "train", "", 0.5, "near-duplicates", seed)
        sides = {int(name[0]): name in division.train for name in division.train + division.val}
        assert all(sides[i] == sides[i + 1] for i in range(0, 8, 2))
    assert "4 of 8 stay with it" in capsys.readouterr().out


@pytest.mark.parametrize("share", [0, 1, 80, -0.5])
def test_a_share_that_is_none_is_refused(tmp_path, share):
    with pytest.raises(ValueError, match="--split: expected the share"):
        divide_dataset(tmp_path, "train", "", share)


def test_a_data_set_that_has_a_validation_set_is_not_divided(tmp_path):
    labelled(tmp_path / "train")
    labelled(tmp_path / "val")
    with pytest.raises(ValueError, match="expected a data set without a validation set"):
        divide_dataset(tmp_path, "train", "", 0.8)


def test_a_division_belongs_to_its_images(tmp_path):
    labelled(tmp_path / "a", 3)
    write(tmp_path / "b", "other", [shape("cat", SQUARE)])
    division = Division("train", 0.6, None, 0, ("0.jpg", "1.jpg"), ("2.jpg",))
    assert applies(division, tmp_path / "a", "")
    assert not applies(division, tmp_path / "b", "") and not applies(division, tmp_path / "c", "")
    (tmp_path / "a" / "2.json").unlink()
    with pytest.raises(ValueError, match=r"1 of them are not there, such as '2\.jpg'"):
        applies(division, tmp_path / "a", "")


def test_an_unreadable_picture_is_no_obstacle(tmp_path):
    labelled(tmp_path, 4)
    (tmp_path / "3.jpg").write_bytes(b"no picture")
    picture(tmp_path / "unlabelled.jpg")
    division = divide_dataset(tmp_path, "train", "", 0.5, "near-duplicates")
    assert len(division.train) == len(division.val) == 2
