"""Frames of videos: folders, animated pictures, video files."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mrcnn.data.video import read_frames, write_frames


def some_frames(count: int = 5, height: int = 33, width: int = 47) -> list[np.ndarray]:
    """A smooth picture that gets brighter: what lossy formats can keep."""
    y, x = np.mgrid[:height, :width]
    return [np.stack([4 * y, 3 * x, 0 * x + 30 * k], axis=2).astype(np.uint8) for k in range(count)]


def difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(float) - b).mean())


def test_folder_round_trip_is_exact(tmp_path: Path) -> None:
    frames = some_frames()
    assert write_frames(tmp_path / "new" / "folder", iter(frames)) == 5
    read = read_frames(tmp_path / "new" / "folder")
    assert len(read) == 5
    for _ in range(2):  # each iteration starts anew
        for frame, original in zip(read, frames, strict=True):
            np.testing.assert_array_equal(frame, original)


def test_folder_is_read_in_the_order_of_numbers(tmp_path: Path) -> None:
    for number in (10, 9, 100, 1):
        Image.new("L", (4, 3), number).save(tmp_path / f"frame{number}.png")
    (tmp_path / "notes.txt").write_text("no frame")
    assert [frame[0, 0].tolist() for frame in read_frames(tmp_path)] == [
        [n, n, n] for n in (1, 9, 10, 100)
    ]


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".GIF"])
def test_animation_round_trip(tmp_path: Path, suffix: str) -> None:
    frames, path = some_frames(), tmp_path / f"x{suffix}"
    assert write_frames(path, iter(frames), rate=12.5) == 5
    read = read_frames(path)
    assert len(read) == 5 and read.rate == pytest.approx(12.5)
    for frame, original in zip(read, frames, strict=True):
        assert frame.dtype == np.uint8 and difference(frame, original) < 4


def test_single_picture_as_animation(tmp_path: Path) -> None:
    Image.new("L", (4, 3), 7).save(tmp_path / "one.gif")
    (frame,) = read_frames(tmp_path / "one.gif")
    assert frame.tolist() == [[[7, 7, 7]] * 4] * 3


def test_video_round_trip_of_odd_sides(tmp_path: Path) -> None:
    pytest.importorskip("imageio_ffmpeg", reason="the extra 'video' is not installed")
    frames, path = some_frames(), tmp_path / "x.mp4"
    assert write_frames(path, iter(frames), rate=8) == 5
    read = read_frames(path)
    assert (len(read), read.rate) == (5, 8)
    for frame, original in zip(read, frames, strict=True):
        assert frame.shape == (34, 48, 3)  # made even
        assert difference(frame[:33, :47], original) < 6
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    with pytest.raises(ValueError, match="broken.mp4: cannot be read as a video"):
        read_frames(tmp_path / "broken.mp4")


def test_missing_extra_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    (tmp_path / "x.mp4").write_bytes(b"")
    with pytest.raises(ImportError, match=r"x.mp4.*pip install imageio\[ffmpeg\].*GIF"):
        read_frames(tmp_path / "x.mp4")
    with pytest.raises(ImportError, match="y.avi"):
        write_frames(tmp_path / "y.avi", some_frames())


def test_wrong_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing.mp4"):
        read_frames(tmp_path / "nothing.mp4")
    with pytest.raises(FileNotFoundError, match="found none"):
        read_frames(tmp_path)
    (tmp_path / "x.gif").write_text("no picture")
    with pytest.raises(ValueError, match="x.gif: cannot be read"):
        read_frames(tmp_path / "x.gif")
    with pytest.raises(ValueError, match="at least one frame"):
        write_frames(tmp_path / "y.gif", [])
    mixed = [*some_frames(2), *some_frames(1, height=10)]
    with pytest.raises(ValueError, match=r"\(33, 47, 3\).*\(10, 47, 3\) as frame 2"):
        write_frames(tmp_path / "z.gif", mixed)
