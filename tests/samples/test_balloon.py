"""The balloon sample: its data, the splash, and its commands on drawn balloons."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mrcnn.data.video import read_frames, write_frames
from mrcnn.doctor.examine import examine_datasets

REPOSITORY = Path(__file__).resolve().parents[2]
HEIGHT, WIDTH = 48, 64
TINY = [
    *("--backbone", "resnet10", "--image-size", "64", "--batch-size", "2", "--rois", "8"),
    *("--steps-per-epoch", "2", "--validation-steps", "1", "--workers", "1", "--set"),
    *("TOP_DOWN_PYRAMID_SIZE=16", "RPN_CONV_FILTERS=16", "MASK_CONV_FILTERS=8"),
    *("FPN_CLASSIF_FC_LAYERS_SIZE=16", "RPN_ANCHOR_SCALES=(8,16,24,32,48)", "PRE_NMS_LIMIT=100"),
    *("POST_NMS_ROIS_TRAINING=30", "POST_NMS_ROIS_INFERENCE=20", "DETECTION_MAX_INSTANCES=5"),
]


def load_sample() -> Any:
    path = REPOSITORY / "samples" / "balloon" / "balloon.py"
    spec = importlib.util.spec_from_file_location("balloon_sample", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


balloon = load_sample()


def ellipse(cx: int, cy: int, rx: int, ry: int) -> np.ndarray:
    y, x = np.ogrid[:HEIGHT, :WIDTH]
    return ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 <= 1


def picture(seed: int, *ellipses: tuple[int, int, int, int]) -> np.ndarray:
    """Blue and green noise with red balloons."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 120, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    for shape in ellipses:
        image[ellipse(*shape)] = 230, 20, 30
    return image


def write_subset(folder: Path, regions: list[list[dict[str, Any]]], project: bool) -> None:
    """Pictures with VIA annotations: a project file of 2.x, or an annotation file of 1.x."""
    folder.mkdir(parents=True)
    content = {}
    for i, shapes in enumerate(regions):
        name = f"{folder.name}{i}.png"
        drawn = [(s["cx"], s["cy"], s["rx"], s["ry"]) for s in shapes if s["name"] == "ellipse"]
        Image.fromarray(picture(i, *drawn)).save(folder / name)
        entries: Any = [{"shape_attributes": s, "region_attributes": {}} for s in shapes]
        if not project:
            entries = {str(k): value for k, value in enumerate(entries)}
        content[f"{name}99"] = {"filename": name, "size": 99, "regions": entries}
    if project:
        content = {"_via_settings": {}, "_via_img_metadata": content, "_via_attributes": {}}
    name = "via_project_1Jan.json" if project else "via_region_data.json"
    (folder / name).write_text(json.dumps(content))


def round_balloon(cx: int, cy: int, rx: int = 8, ry: int = 10) -> dict[str, Any]:
    return {"name": "ellipse", "cx": cx, "cy": cy, "rx": rx, "ry": ry}


TRAIN = [
    [round_balloon(15, 20), round_balloon(45, 25)],
    [
        round_balloon(30, 22),
        {"name": "point", "cx": 4, "cy": 4},
        {"name": "polyline", "all_points_x": [1, 5], "all_points_y": [1, 5]},
    ],
    [{"name": "polygon", "all_points_x": [5, 25, 15], "all_points_y": [5, 5, 30]}],
    [],
    [{"name": "point", "cx": 4, "cy": 4}],
]
VAL = [[round_balloon(40, 20)], [{"name": "circle", "cx": 20, "cy": 20, "r": 9}]]


@pytest.fixture(scope="module")
def party(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("party")
    write_subset(folder / "train", TRAIN, project=False)
    write_subset(folder / "val", VAL, project=True)
    return folder


class FoundByColor:
    """A model that finds what is red, and counts the images of each call."""

    def __init__(self, batch_size: int) -> None:
        self.config = SimpleNamespace(BATCH_SIZE=batch_size)
        self.calls: list[int] = []

    def detect(self, images: list[np.ndarray]) -> list[dict[str, np.ndarray]]:
        self.calls.append(len(images))
        masks = [(image[:, :, 0] > 200)[:, :, np.newaxis] for image in images]
        return [{"masks": mask, "class_ids": np.ones(1, int)} for mask in masks]


class TestDataset:
    def test_regions_become_masks_and_the_rest_is_counted(self, party: Path) -> None:
        dataset = balloon.BalloonDataset()
        dataset.load_balloon(party, "train")
        dataset.prepare()
        assert dataset.class_names == ["BG", "balloon"]
        assert [info["id"] for info in dataset.image_info] == [f"train{i}.png" for i in range(3)]
        assert dataset.left_out == {
            "regions of the shape 'point'": 2,
            "regions of the shape 'polyline'": 1,
            "pictures without a balloon": 2,
        }
        assert dataset.summary().startswith("3 pictures with 4 balloons; left out: 2 regions")
        masks, class_ids = dataset.load_mask(0)
        assert masks.dtype == bool and class_ids.tolist() == [1, 1]
        np.testing.assert_array_equal(masks[:, :, 1], ellipse(45, 25, 8, 10))
        # The masks lie on the drawn balloons.
        np.testing.assert_array_equal(masks.any(axis=2), dataset.load_image(0)[:, :, 0] == 230)
        assert dataset.load_mask(2)[0].sum() == pytest.approx(250, rel=0.15)
        assert dataset.image_reference(0) == str(party / "train" / "train0.png")

    @pytest.mark.parametrize("orientation", [1, 3, 6, 8])
    def test_masks_lie_on_the_balloons_of_a_photograph_on_its_side(
        self, party: Path, tmp_path: Path, orientation: int
    ) -> None:
        """VIA's coordinates are those of what the browser shows."""
        shutil.copytree(party / "train", tmp_path / "train")
        path = tmp_path / "train" / "train0.png"
        turn = {3: 2, 6: 1, 8: 3}.get(orientation, 0)  # quarters that the viewer turns back
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(np.rot90(np.asarray(Image.open(path)), turn)).save(path, exif=exif)
        dataset = balloon.BalloonDataset()
        dataset.load_balloon(tmp_path, "train")
        dataset.prepare()
        masks, _ = dataset.load_mask(0)
        np.testing.assert_array_equal(masks.any(axis=2), dataset.load_image(0)[:, :, 0] == 230)
        # The reader turns it: nothing is amiss.
        examination = examine_datasets(dataset, None, balloon.BalloonConfig(), 1, progress=False)
        kinds = {finding.kind for finding in examination.findings}
        assert not kinds & {"exif-orientation", "size-rotated", "size-wrong", "objects-refused"}

    def test_project_file_of_another_name(self, party: Path) -> None:
        dataset = balloon.BalloonDataset()
        dataset.load_balloon(party, "val")
        assert dataset.summary() == "2 pictures with 2 balloons; left out: nothing."

    def test_what_is_missing_is_named(self, tmp_path: Path) -> None:
        dataset = balloon.BalloonDataset()
        with pytest.raises(FileNotFoundError, match="train: expected a folder"):
            dataset.load_balloon(tmp_path, "train")
        write_subset(tmp_path / "val", VAL, project=True)
        (tmp_path / "val" / "val1.png").unlink()
        with pytest.raises(FileNotFoundError, match="val1.png: expected the picture.*via_project"):
            dataset.load_balloon(tmp_path, "val")
        (tmp_path / "val" / "second.json").write_text("{}")
        with pytest.raises(FileNotFoundError, match="found 2 json files"):
            dataset.load_balloon(tmp_path, "val")


class TestSplash:
    IMAGE = picture(0, (20, 20, 8, 10))

    def test_color_stays_in_the_masks_only(self) -> None:
        masks = np.stack([ellipse(20, 20, 8, 10), ellipse(50, 30, 5, 5)], axis=2)
        original = self.IMAGE.copy()
        splash = balloon.color_splash(self.IMAGE, masks)
        np.testing.assert_array_equal(self.IMAGE, original)
        inside = masks.any(axis=2)
        np.testing.assert_array_equal(splash[inside], original[inside])
        grey = splash[~inside].astype(float)
        assert (grey == grey[:, :1]).all()
        weighted = original[~inside] @ [0.2126, 0.7152, 0.0722]
        assert np.abs(grey[:, 0] - weighted).max() <= 0.5

    @pytest.mark.parametrize("shape", [(HEIGHT, WIDTH, 0), (HEIGHT, WIDTH, 3)])
    def test_nothing_found_is_all_grey(self, shape: tuple[int, ...]) -> None:
        splash = balloon.color_splash(self.IMAGE, np.zeros(shape, bool))
        assert splash.dtype == np.uint8 and splash.shape == self.IMAGE.shape
        assert (splash == splash[:, :, :1]).all()

    def test_image(self, tmp_path: Path, capsys: Any) -> None:
        Image.fromarray(self.IMAGE).save(tmp_path / "x.png")
        output = tmp_path / "new" / "y.png"
        model = FoundByColor(batch_size=2)
        assert balloon.detect_and_color_splash(model, tmp_path / "x.png", output=output) == output
        expected = balloon.color_splash(self.IMAGE, ellipse(20, 20, 8, 10)[:, :, np.newaxis])
        np.testing.assert_array_equal(np.array(Image.open(output)), expected)
        assert model.calls == [2] and "1 found." in capsys.readouterr().out

    def test_folder_of_frames_in_batches(self, tmp_path: Path, monkeypatch: Any) -> None:
        frames = [picture(k, (10 + 8 * k, 20, 8, 10)) for k in range(5)]
        write_frames(tmp_path / "walk", frames)
        monkeypatch.chdir(tmp_path)
        model = FoundByColor(batch_size=2)
        output = balloon.detect_and_color_splash(model, video_path="walk")
        assert (tmp_path / output).resolve() == tmp_path / "walk_splash"
        assert model.calls == [2, 2, 2]
        for k, frame in enumerate(read_frames(output)):
            inside = ellipse(10 + 8 * k, 20, 8, 10)
            np.testing.assert_array_equal(frame[inside], frames[k][inside])
            assert (frame[~inside] == frame[~inside][:, :1]).all()

    def test_gif_keeps_its_length_and_rate(self, tmp_path: Path) -> None:
        write_frames(tmp_path / "x.gif", [picture(k, (20, 20, 8, 10)) for k in range(3)], 5)
        output = tmp_path / "y.gif"
        balloon.detect_and_color_splash(FoundByColor(1), None, tmp_path / "x.gif", output)
        result = read_frames(output)
        assert (len(result), result.rate) == (3, 5)
        colorful = np.ptp(next(iter(result)).astype(int), axis=2) > 100
        assert colorful.sum() == pytest.approx(ellipse(20, 20, 8, 10).sum(), rel=0.05)

    def test_one_source(self) -> None:
        with pytest.raises(ValueError, match="one of --image and --video"):
            balloon.detect_and_color_splash(FoundByColor(1))


def test_the_data_set_is_checked(party: Path, tmp_path: Path, capsys: Any) -> None:
    party = Path(shutil.copytree(party, tmp_path / "party"))
    assert balloon.main(["check", "--dataset", str(party), *TINY]) == 0
    out = capsys.readouterr().out
    assert "train: 3 images, 4 annotations, 1 categories" in out and "0 errors" in out
    picture = next(path for path in (party / "train").iterdir() if path.suffix != ".json")
    picture.write_bytes(picture.read_bytes()[:200])
    assert balloon.main(["check", "--dataset", str(party), *TINY]) == 1
    assert "file-" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        balloon.main(["train", "--dataset", str(party)])


def test_train_then_splash(party: Path, tmp_path: Path, capsys: Any) -> None:
    logs = ["--logs", str(tmp_path / "logs")]
    train = ["train", "--dataset", str(party), "--weights", "none", "--steps", "3", *logs, *TINY]
    assert balloon.main(train) == 0
    (run,) = (tmp_path / "logs").iterdir()
    assert len(list(run.glob("mask_rcnn_balloon_*.h5"))) >= 3
    assert "3 pictures with 4 balloons" in capsys.readouterr().out
    assert json.loads((run / "config.json").read_text())["TRAIN_BN"] is None

    splash = ["splash", "--weights", "last", *logs, "--output", str(tmp_path / "x.gif")]
    splash += ["--video", str(party / "val"), "--set", "DETECTION_MIN_CONFIDENCE=0.0"]
    assert balloon.main(splash) == 0
    result = read_frames(tmp_path / "x.gif")
    assert len(result) == 2 and next(iter(result)).shape == (HEIGHT, WIDTH, 3)
    assert "found in 2 frames" in capsys.readouterr().out


def test_splash_of_everything_that_coco_knows(tmp_path: Path, monkeypatch: Any) -> None:
    from mrcnn.runs import start_weights, trained

    seen = []

    class Fake(FoundByColor):
        def __init__(self, mode: str, config: Any, model_dir: Any) -> None:
            super().__init__(config.BATCH_SIZE)
            seen.append(config)

        def load_weights(self, path: str, by_name: bool) -> None:
            seen.append(path)

    monkeypatch.setattr(trained, "MaskRCNN", Fake)
    monkeypatch.setattr(start_weights, "weights_path", lambda name, logs, config: f"{name}.h5")
    Image.fromarray(picture(0, (20, 20, 8, 10))).save(tmp_path / "x.png")
    output = str(tmp_path / "y.png")
    arguments = ["--weights", "coco", "--image", str(tmp_path / "x.png"), "--output", output]
    assert balloon.main(["splash", *arguments, "--set", "DETECTION_MIN_CONFIDENCE=0.7"]) == 0
    config, path = seen
    assert (config.NUM_CLASSES, config.BATCH_SIZE, path) == (81, 1, "coco.h5")
    assert config.DETECTION_MIN_CONFIDENCE == 0.7
    assert Image.open(output).size == (WIDTH, HEIGHT)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--weights", "none"], "--dataset"),
        (["train", "--weights", "none", "--dataset", "no/such"], "no/such"),
        (["splash", "--weights", "none", "--image", "x.png"], "weights that detect"),
        (["splash", "--weights", "last"], "one of --image and --video"),
        (["splash", "--weights", "last", "--image", "x.png"], "No checkpoint"),
    ],
)
def test_wrong_options_are_clear_errors(
    tmp_path: Path, capsys: Any, arguments: list[str], message: str
) -> None:
    assert balloon.main([*arguments, "--logs", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("balloon.py: ") and message in error
