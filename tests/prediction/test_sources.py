"""Sources: what is found where, how it is named, and what is refused."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from PIL import Image

from mrcnn.prediction.sources import Picture, Video, find_sources
from tests.tiny import tiny_config


def picture(path, size=(6, 4), color=(10, 20, 30), **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path, **options)


def animation(path) -> None:
    frames = [Image.new("RGB", (6, 4), (0, 0, 80 * k)) for k in range(3)]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=50)


def names(given) -> list[str]:
    return [source.name for source in find_sources(given)]


def test_a_folder_gives_pictures_and_videos_in_the_order_of_numbers(tmp_path, caplog):
    caplog.set_level(logging.INFO, "mrcnn")
    for name in ("10.jpg", "2.png", "sub/1.webp", "sub/b.TIF", ".hidden.png", ".git/x.png"):
        picture(tmp_path / name)
    animation(tmp_path / "walk.gif")
    (tmp_path / "notes.txt").write_text("x")
    assert names(tmp_path) == ["2.png", "10.jpg", "walk.gif", "sub/1.webp", "sub/b.TIF"]
    kinds = {source.name: type(source) for source in find_sources(tmp_path)}
    assert kinds["walk.gif"] is Video and kinds["sub/1.webp"] is Picture
    assert "2 other files are not read (1 of .png, 1 of .txt)" in caplog.text


def test_several_folders_keep_their_names_apart(tmp_path):
    picture(tmp_path / "a/x.png")
    picture(tmp_path / "b/x.png")
    assert names([tmp_path / "a", tmp_path / "b"]) == ["a/x.png", "b/x.png"]
    with pytest.raises(ValueError, match=r"x\.png.*x\.png.*different names"):
        find_sources([tmp_path / "a/x.png", tmp_path / "b/x.png"])


def test_patterns(tmp_path):
    for name in ("p/1.jpg", "p/q/2.jpg", "p/3.png"):
        picture(tmp_path / name)
    assert names(str(tmp_path / "p/*.jpg")) == ["1.jpg"]
    assert names(str(tmp_path / "p/**/*.jpg")) == ["1.jpg", "q/2.jpg"]
    with pytest.raises(FileNotFoundError, match="no file fits"):
        find_sources(str(tmp_path / "*.bmp"))
    # A name with brackets that exists is a file, no pattern.
    picture(tmp_path / "p/a[1].png")
    assert names(str(tmp_path / "p/a[1].png")) == ["a[1].png"]


def test_arrays_and_paths(tmp_path):
    picture(tmp_path / "1.png")
    pixels = np.ones((4, 6, 3), np.uint8)
    found = find_sources([tmp_path / "1.png", pixels])
    assert [source.name for source in found] == ["1.png", "image_1"]
    config = tiny_config()
    assert found[0].load(config).shape == found[1].load(config).shape == (4, 6, 3)
    assert [source.name for source in find_sources(pixels)] == ["image_0"]
    assert len(find_sources(np.stack([pixels, pixels]))) == 2


@pytest.mark.parametrize("given", [7, [object()], None])
def test_other_things_are_refused(given):
    with pytest.raises(ValueError, match="expected a path, a pattern or an array"):
        find_sources(given)


def test_nothing_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing of this name"):
        find_sources(tmp_path / "no.jpg")
    with pytest.raises(FileNotFoundError, match="it has none"):
        find_sources(tmp_path)


def test_pictures_are_turned_as_people_see_them(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    picture(tmp_path / "1.jpg", size=(8, 4), exif=exif)
    (source,) = find_sources(tmp_path / "1.jpg")
    assert source.load(tiny_config()).shape == (8, 4, 3)
    assert source.load(tiny_config(EXIF_ORIENTATION="ignore")).shape == (4, 8, 3)


def test_deep_grey_pictures_have_the_bits_of_training(tmp_path):
    Image.fromarray(np.full((4, 4), 4000, np.uint16)).save(tmp_path / "1.png")
    (source,) = find_sources(tmp_path / "1.png")
    assert source.load(tiny_config()).max() == 250  # 12 bits, by its own largest value
    assert source.load(tiny_config(GREY_BIT_DEPTH=16)).max() == 15
    assert source.load(tiny_config(GREY_BIT_DEPTH={"coco": 14})).max() == 62


def test_frames_of_a_video(tmp_path):
    animation(tmp_path / "walk.gif")
    (video,) = find_sources(tmp_path / "walk.gif")
    frames = list(video.pictures())
    assert [frame.name for frame in frames] == [f"walk.gif#00000{k}" for k in range(3)]
    assert [int(frame.load(tiny_config())[0, 0, 2]) for frame in frames] == [0, 80, 160]
