"""Names of files that no system opens, and the findings for them."""

from __future__ import annotations

import pytest

from mrcnn.datasets.coco import CocoDataset
from mrcnn.doctor import fixes
from tests.doctor.readers import look
from tests.doctor.sound import sound


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("x" * 300 + ".png", "image-missing"),
        ("x" * 5000, "image-missing"),
        ("a/" * 100_000 + "b.png", "image-missing"),
        ("\ud800.png", "image-missing"),
        ("a\0.png", "image-missing"),
        (".", "image-missing"),
        ("..", "path-outside"),
        ("/", "path-outside"),
        ("C:", "path-outside"),
        ("../" * 5000 + "0.png", "path-outside"),
        ("~/0.png", "path-elsewhere"),
    ],
)
def test_the_doctor_and_the_reader_refuse_them_in_a_sentence(tmp_path, name, kind):
    data = sound(tmp_path / "data")
    data.train["images"][0]["file_name"] = name
    data.write()
    examination = look(data.folder, box_only=False)
    (finding,) = [f for f in examination.findings if f.field == "file_name"]
    assert finding.kind == kind and len(finding.message) < 1000
    with pytest.raises((ValueError, FileNotFoundError), match=r"instances_train\.json: image 0"):
        CocoDataset.of(data.folder, "train")
    fixes.fix(examination, tmp_path / "out")
    kept = len(CocoDataset.of(tmp_path / "out", "train").image_ids)
    assert kept == (2 if kind == "path-elsewhere" else 1)
