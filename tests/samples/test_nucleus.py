"""The nucleus sample: its data, its submissions, and its commands on drawn cells."""

from __future__ import annotations

import csv
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[2]
TINY = [
    *("--backbone", "resnet10", "--image-size", "64", "--batch-size", "2", "--rois", "8"),
    *("--steps-per-epoch", "2", "--validation-steps", "1", "--workers", "1", "--set"),
    *("TOP_DOWN_PYRAMID_SIZE=16", "RPN_CONV_FILTERS=16", "MASK_CONV_FILTERS=8"),
    *("FPN_CLASSIF_FC_LAYERS_SIZE=16", "RPN_ANCHOR_SCALES=(8,16,24,32,48)", "PRE_NMS_LIMIT=100"),
    *("POST_NMS_ROIS_TRAINING=30", "POST_NMS_ROIS_INFERENCE=20", "DETECTION_MAX_INSTANCES=5"),
]


def load_sample() -> Any:
    path = REPOSITORY / "samples" / "nucleus" / "nucleus.py"
    spec = importlib.util.spec_from_file_location("nucleus_sample", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


nucleus = load_sample()


def write_cells(folder: Path, name: str, masks: np.ndarray, with_masks: bool = True) -> None:
    """An image in the competition's layout: RGBA, bright where there is a mask [H, W, N]."""
    (folder / name / "images").mkdir(parents=True)
    image = np.full((*masks.shape[:2], 4), 255, np.uint8)
    image[:, :, :3] = np.where(masks.any(axis=2), 220, 30)[:, :, None]
    Image.fromarray(image).save(folder / name / "images" / f"{name}.png")
    if with_masks:
        (folder / name / "masks").mkdir()
        for i in range(masks.shape[2]):
            mask = Image.fromarray((255 * masks[:, :, i]).astype(np.uint8))
            mask.save(folder / name / "masks" / f"{i}.png")


def some_masks(count: int, seed: int, size: tuple[int, int] = (40, 56)) -> np.ndarray:
    """Disks in a row, far enough apart."""
    rng, (y, x) = np.random.default_rng(seed), np.ogrid[: size[0], : size[1]]
    centers = [(rng.integers(8, size[0] - 8), 9 + 18 * i) for i in range(count)]
    disks = [(y - cy) ** 2 + (x - cx) ** 2 <= 36 for cy, cx in centers]
    return np.stack(disks, axis=2) if disks else np.zeros((*size, 0), bool)


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cells")
    for i in range(5):
        write_cells(folder / "stage1_train", f"image{i}", some_masks(i % 4, seed=i))
    for i in range(2):
        write_cells(folder / "stage1_test", f"test{i}", some_masks(2, seed=9 + i), with_masks=False)
    return folder


def read_rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


class TestDataset:
    def test_masks_and_images(self, cells: Path) -> None:
        dataset = nucleus.NucleusDataset()
        dataset.load_nucleus(cells, "stage1_train")
        dataset.prepare()
        assert dataset.class_names == ["BG", "nucleus"]
        assert dataset.summary() == "5 images with 6 nuclei."
        for image_id in dataset.image_ids:
            expected = some_masks(image_id % 4, seed=image_id)
            masks, class_ids = dataset.load_mask(image_id)
            np.testing.assert_array_equal(masks, expected)
            assert masks.dtype == bool and class_ids.tolist() == [1] * expected.shape[2]
            assert dataset.load_image(image_id).shape == (40, 56, 3)
            assert dataset.image_reference(image_id) == f"image{image_id}"

    def test_parts_divide_the_labeled_images(self, cells: Path) -> None:
        ids = {}
        for subset in ("train", "val", "stage1_train"):
            dataset = nucleus.NucleusDataset()
            dataset.load_nucleus(cells, subset)
            ids[subset] = [info["id"] for info in dataset.image_info]
        assert len(ids["val"]) == 1
        assert sorted(ids["train"] + ids["val"]) == ids["stage1_train"]

    @settings(max_examples=20, deadline=None)
    @given(st.sets(st.text(min_size=1), min_size=2, max_size=60))
    def test_split(self, ids: set[str]) -> None:
        train, val = nucleus.split_ids(sorted(ids))
        assert sorted(train + val) == sorted(ids)
        assert len(val) == max(1, round(0.1 * len(ids)))
        again, _ = nucleus.split_ids(sorted(ids, reverse=True))
        assert sorted(again) == train

    def test_real_images(self, shared: Path) -> None:
        dataset = nucleus.NucleusDataset()
        dataset.load_nucleus(shared / "data" / "nucleus_dsb2018" / "native", "stage1_train")
        dataset.prepare()
        assert dataset.summary() == "12 images with 316 nuclei."
        counts = []
        for image_id in dataset.image_ids:
            masks, class_ids = dataset.load_mask(image_id)
            counts.append(len(class_ids))
            assert masks.shape[:2] == dataset.load_image(image_id).shape[:2]
            assert masks.any(axis=(0, 1)).all()
            assert masks.sum(axis=2).max() <= 1  # nuclei do not overlap
        assert sum(counts) == 316

    def test_what_is_missing_is_named(self, cells: Path, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="stage9.*there are none"):
            nucleus.NucleusDataset().load_nucleus(cells, "stage9")
        (tmp_path / "s" / "one").mkdir(parents=True)
        with pytest.raises(FileNotFoundError, match="one.png: expected the image 'one'"):
            nucleus.NucleusDataset().load_nucleus(tmp_path, "s")

    def test_mask_of_another_size(self, tmp_path: Path) -> None:
        write_cells(tmp_path / "s", "one", some_masks(1, seed=0))
        Image.new("L", (7, 5), 255).save(tmp_path / "s" / "one" / "masks" / "0.png")
        dataset = nucleus.NucleusDataset()
        dataset.load_nucleus(tmp_path, "s")
        with pytest.raises(ValueError, match="0.png.* 40 x 56 pixels; received 5 x 7"):
            dataset.load_mask(0)


class TestRunLengths:
    def test_numbered_from_one_down_the_columns(self) -> None:
        mask = np.array([[0, 1, 1], [0, 1, 0], [1, 0, 0]])
        assert nucleus.rle_encode(mask) == "3 3 7 1"
        assert nucleus.rle_encode(np.ones((2, 3))) == "1 6"
        assert nucleus.rle_encode(np.zeros((2, 3))) == ""

    @settings(max_examples=60, deadline=None)
    @given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=9)))
    def test_round_trip(self, mask: np.ndarray) -> None:
        rle = nucleus.rle_encode(mask)
        decoded = nucleus.rle_decode(rle, mask.shape)
        np.testing.assert_array_equal(decoded, mask)
        numbers = list(map(int, rle.split()))
        assert sum(numbers[1::2]) == mask.sum()
        # Runs ascend and do not touch.
        ends = [start + length for start, length in zip(numbers[::2], numbers[1::2], strict=True)]
        assert all(end < start for end, start in zip(ends, numbers[2::2], strict=False))

    @pytest.mark.parametrize("rle", ["1", "1 x", "0 1", "6 2", "-1 2"])
    def test_wrong_text(self, rle: str) -> None:
        with pytest.raises(ValueError, match="expected run"):
            nucleus.rle_decode(rle, (2, 3))


class TestSubmission:
    @settings(max_examples=30, deadline=None)
    @given(
        arrays(bool, st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(0, 4))),
        st.lists(st.integers(0, 3), min_size=4, max_size=4),
    )
    def test_each_pixel_goes_to_the_highest_score(
        self, masks: np.ndarray, scores: list[int]
    ) -> None:
        scores = scores[: masks.shape[2]]
        separate = nucleus.separate_masks(masks, scores)
        for y, x in np.ndindex(masks.shape[:2]):
            inside = np.flatnonzero(masks[y, x])
            best = [max(inside, key=lambda i: (scores[i], -i))] if len(inside) else []
            assert np.flatnonzero(separate[y, x]).tolist() == best

    def test_rows(self) -> None:
        masks = np.zeros((2, 3, 3), bool)
        masks[:, 0, 0] = masks[:, :2, 1] = masks[0, 0, 2] = True
        rows = nucleus.submission_rows("a", masks, np.array([0.9, 0.8, 0.7]))
        assert rows == [("a", "1 2"), ("a", "3 2")]  # nothing is left of the third
        assert nucleus.submission_rows("b", masks[..., :0], np.zeros(0)) == [("b", "")]

    def test_picture_is_twice_as_large_and_shows_the_mask(self, tmp_path: Path) -> None:
        masks = some_masks(1, seed=3)
        found = {
            "rois": np.array([[0, 0, 40, 20]]),
            "masks": masks,
            "class_ids": np.ones(1, int),
            "scores": np.ones(1),
        }
        image = np.full((40, 56, 3), 90, np.uint8)
        nucleus.save_picture(tmp_path / "x.png", image, found, ["BG", "nucleus"])
        picture = np.array(Image.open(tmp_path / "x.png"))[:, :, :3]
        assert picture.shape == (80, 112, 3)
        changed = (picture != 90).any(axis=2)[::2, ::2]
        assert changed[masks[:, :, 0]].all() and changed.sum() < 2 * masks.sum()


def test_the_data_set_is_checked(cells: Path, capsys: Any) -> None:
    command = ["check", "--dataset", str(cells), *TINY]
    assert nucleus.main(command) == 1  # of the few images, the one to validate with is empty
    out = capsys.readouterr().out
    assert "1 categories" in out and "check of NucleusDataset: 1 error" in out
    assert "no-annotations: training does not start with `mrcnn train`" in out


def test_train_detect_evaluate(cells: Path, tmp_path: Path, capsys: Any) -> None:
    common = ["--dataset", str(cells), "--logs", str(tmp_path / "logs")]
    train = ["train", *common, "--weights", "none", "--steps", "3", *TINY]
    assert nucleus.main(train) == 0
    (run,) = (tmp_path / "logs").iterdir()
    weights = sorted(run.glob("mask_rcnn_nucleus_*.h5"))
    assert len(weights) >= 3 and (run / "losses.png").is_file()
    assert "1 images with" in capsys.readouterr().out

    last = [*common, "--weights", "last"]
    detect = ["detect", *last, "--pictures", "1", "--set", "DETECTION_MIN_CONFIDENCE=0.0"]
    assert nucleus.main(detect) == 0
    rows = read_rows(run / "submit_stage1_test" / "submit.csv")
    assert [*rows[0]] == ["ImageId", "EncodedPixels"]
    assert {row["ImageId"] for row in rows} == {"test0", "test1"}
    for name in ("test0", "test1"):
        masks = [
            nucleus.rle_decode(row["EncodedPixels"], (40, 56))
            for row in rows
            if row["ImageId"] == name
        ]
        assert np.sum(masks, axis=0).max() <= 1
    assert [p.name for p in (run / "submit_stage1_test").glob("*.png")] == ["test0.png"]

    assert nucleus.main(["evaluate", *last, "--subset", "stage1_train", "--limit", "2"]) == 0
    segm, bbox, boundary = read_rows(run / "coco_stage1_train.csv")
    assert 0 <= float(segm["AP50"]) <= 1 and bbox["iou_type"] == "bbox"
    assert boundary["iou_type"] == "boundary"
    assert (run / "detections_stage1_train.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["detect", "--weights", "imagenet"], "weights that know nuclei"),
        (["detect", "--weights", "last"], "No checkpoint"),
        (["train", "--weights", "none", "--subset", "stage7"], "stage7"),
        (["train", "--weights", "none", "--image-size", "100"], "64"),
    ],
)
def test_wrong_options_are_clear_errors(
    cells: Path, tmp_path: Path, capsys: Any, arguments: list[str], message: str
) -> None:
    common = ["--dataset", str(cells), "--logs", str(tmp_path), "--backbone", "resnet10"]
    assert nucleus.main([*arguments, *common]) == 2
    error = capsys.readouterr().err
    assert error.startswith("nucleus.py: ") and message in error
