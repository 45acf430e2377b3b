"""The stream of predictions: order, selection, broken files, bounded memory."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from mrcnn.prediction.prediction import Prediction
from mrcnn.prediction.sources import Picture
from mrcnn.prediction.stream import Predictions, Predictor, Selection, Unreadable
from tests.prediction.disc_detector import DiscDetector, discs

NAMES = ["background", "disc", "green"]
CENTERS = [(20, 20), (20, 60), (60, 20), (60, 60)]


def pictures(count: int) -> list[Picture]:
    """Pictures of two shapes, with as many discs as their number says."""
    return [
        Picture(f"{k}.png", None, discs(80, 80 + 16 * (k % 2), CENTERS[: k % 5], green=1))
        for k in range(count)
    ]


@pytest.mark.parametrize("workers", [0, 3])
@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_predictions_come_in_order_whatever_the_batches(workers, batch_size):
    predictor = Predictor(DiscDetector(batch_size), NAMES, workers=workers)
    found = list(predictor(pictures(11)))
    assert [prediction.name for prediction in found] == [f"{k}.png" for k in range(11)]
    assert [len(prediction) for prediction in found] == [k % 5 for k in range(11)]
    assert all(prediction.image is None for prediction in found)


def test_a_broken_file_is_handed_on_and_the_others_go_on(tmp_path):
    (tmp_path / "b.png").write_bytes(b"no picture")
    Image.fromarray(discs(80, 80, CENTERS)).save(tmp_path / "c.png")
    files = [Picture(name, tmp_path / name) for name in ("a.png", "b.png", "c.png")]
    missing, broken, read = Predictor(DiscDetector(), NAMES)(files)
    assert isinstance(missing, Unreadable) and "a.png" in missing.reason
    assert isinstance(broken, Unreadable) and "b.png: cannot be read" in broken.reason
    assert isinstance(read, Prediction) and len(read) == 4
    with pytest.raises(ValueError, match=r"b\.png"):
        list(Predictions(Predictor(DiscDetector(), NAMES), files[1:]))


def test_selection():
    (everything,) = Predictor(DiscDetector(), NAMES)(pictures(5)[4:])
    assert everything.names.count("green") == 1 and len(everything) == 4

    def kept(**options) -> list[str]:
        (found,) = Predictor(DiscDetector(), NAMES, Selection(**options))(pictures(5)[4:])
        assert found.masks.shape[2] == len(found.rles) == len(found.rois) == len(found)
        return found.names

    assert kept(classes=("green",)) == ["green"]
    assert len(kept(most=3)) == 3
    assert kept(min_score=0.99) == []


@pytest.mark.parametrize(
    ("options", "word"),
    [({"min_score": 50}, "score"), ({"most": 0}, "at least 1"), ({"classes": ("x",)}, "'disc'")],
)
def test_what_cannot_be_selected(options, word):
    with pytest.raises(ValueError, match=word):
        Predictor(DiscDetector(), NAMES, Selection(**options))


def test_pictures_are_read_when_their_turn_comes():
    asked = []

    def endless():
        number = 0
        while True:
            asked.append(number)
            yield Picture(f"{number}", None, discs(40, 40, [(20, 20)]))
            number += 1

    stream = Predictor(DiscDetector(2), NAMES, workers=2)(endless())
    for _ in range(10):
        next(stream)
    assert len(asked) < 40
    stream.close()


def test_predictions_by_index_and_one_by_one():
    found = Predictions(Predictor(DiscDetector(), NAMES, keep_images=True), pictures(5))
    assert len(found) == 5
    assert len(found[3]) == 3 and len(found[-1]) == 4
    assert [len(prediction) for prediction in found] == [0, 1, 2, 3, 4]
    drawn = found[4].draw()
    assert drawn.shape == found[4].image.shape
    assert (drawn != found[4].image).any()
    assert found[4]._repr_png_().startswith(b"\x89PNG")
    unknown = Predictions(Predictor(DiscDetector(), None), pictures(2))
    assert unknown[1].names == ["class 2"]
    with pytest.raises(ValueError, match="keep_images"):
        unknown[1].draw()


def test_masks_in_parts_are_the_masks():
    (found,) = Predictor(DiscDetector(), NAMES)(pictures(5)[4:])
    masks = np.zeros((*found.size, len(found)), bool)
    for k, ((y, x), part) in enumerate(found.parts()):
        masks[y : y + part.shape[0], x : x + part.shape[1], k] = part
    np.testing.assert_array_equal(masks, found.masks)
    matterport = found.to_matterport()
    assert set(matterport) == {"rois", "class_ids", "scores", "masks"}


def test_supervision():
    pytest.importorskip("supervision")
    (found,) = Predictor(DiscDetector(), NAMES)(pictures(5)[4:])
    other = found.to_supervision()
    assert len(other) == 4 and other.mask.shape == (4, *found.size)
    np.testing.assert_array_equal(other.xyxy[0], found.rois[0][[1, 0, 3, 2]])
