"""Files that names from another machine mean."""

from __future__ import annotations

import pytest

from mrcnn.files.elsewhere import MAX_PARTS, ends, file_meant
from mrcnn.files.untrusted import is_outside


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.png", ["a.png"]),
        ("images\\1/a.png", ["images/1/a.png", "1/a.png", "a.png"]),
        ("..\\..\\media\\a.png", ["media/a.png", "a.png"]),
        ("/home/me/a.png", ["home/me/a.png", "me/a.png", "a.png"]),
        ("C:\\me\\a.png", ["me/a.png", "a.png"]),
        ("a/../b.png", ["b.png"]),
        ("./a//b.png", ["a/b.png", "b.png"]),
        ("..", []),
        ("a\0.png", []),
        ("", []),
    ],
)
def test_the_ends_of_a_name_stay_inside_the_folder(name, expected):
    assert list(ends(name)) == expected
    assert not any(map(is_outside, expected))


def test_names_without_end_cost_nothing():
    assert len(list(ends("a/" * 2000 + "b.png"))) == MAX_PARTS
    assert list(ends("a/" * 200_000)) == []


def test_the_longest_end_that_is_a_file_is_meant():
    there = {"a.png", "1/a.png"}
    assert file_meant("images/1/a.png", there.__contains__) == "1/a.png"
    assert file_meant("a.png", there.__contains__) is None  # which is the name itself
    assert file_meant("x/b.png", there.__contains__) is None
