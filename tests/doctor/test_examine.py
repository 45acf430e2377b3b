"""Each kind of damage is found, and training does what the doctor says it does."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mrcnn.data.loader import Loader
from mrcnn.data.sample import Sample, load_sample
from mrcnn.data.stream import SampleStream
from mrcnn.datasets.coco import CocoDataset
from mrcnn.doctor import any_dataset, segmentations
from mrcnn.doctor.catalogue import KINDS
from mrcnn.doctor.examine import DatasetFiles, Examination, examine
from mrcnn.doctor.findings import AT_START, AT_STEP, ERROR, WARNING
from mrcnn.doctor.subset import find_subset
from tests.doctor.damaged import CASES, damaged
from tests.doctor.sound import DoctorConfig, noise, sound, square

pytestmark = pytest.mark.usefixtures("annotations_either_way")

BY_NAME = {kind.name: kind for kind in KINDS}


def config_of(settings: dict[str, Any]) -> DoctorConfig:
    return type("SomeDoctorConfig", (DoctorConfig,), settings)()


def check(
    folder: Path, name: str = "", val: str | None = "val", quick: bool = False
) -> Examination:
    """Examine, with the settings and options of a case."""
    settings = CASES[name].settings if name else {}
    box_only = CASES[name].box_only if name else False
    return examine(
        DatasetFiles(folder, val=val), config_of(settings), box_only, quick, jobs=1, progress=False
    )


def load(folder: Path, subset: str = "train", box_only: bool = False) -> CocoDataset:
    """As `mrcnn train` loads it."""
    return CocoDataset.of(folder, subset, box_only=box_only)


def sample_of(folder: Path, image: int = 0, **settings: Any) -> Sample:
    dataset = load(folder)
    config = config_of({"NUM_CLASSES": dataset.num_classes, **settings})
    return load_sample(dataset, image, config, np.random.default_rng(0))


def png_of_16_bits(values: np.ndarray) -> bytes:
    """A PNG of integers [H, W, 3] below 65536, which Pillow reads but does not write."""
    height, width, _ = values.shape
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in values)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


def training_stops(folder: Path, settings: dict[str, Any], box_only: bool) -> str | None:
    """When training stops: before the first step, when an image is drawn, or not at all."""
    try:
        datasets = [load(folder, subset, box_only) for subset in ("train", "val")]
        # No image may be bad: then the first one stops training.
        strict = {"NUM_CLASSES": datasets[0].num_classes, "LOADER_MAX_BAD_SHARE": 0}
        config = config_of({**strict, **settings})
        loaders = [
            Loader(SampleStream.of(dataset, config, 0, shuffle=False), workers=0)
            for dataset in datasets
        ]
    except Exception:
        return AT_START
    try:
        for dataset, loader in zip(datasets, loaders, strict=True):
            for position in range(dataset.num_images):
                loader.sample(position)
    except Exception:
        return AT_STEP
    return None


def test_a_sound_data_set_has_no_findings(tmp_path):
    sound(tmp_path / "data").write()
    examination = check(tmp_path / "data")
    assert not examination.findings
    assert training_stops(tmp_path / "data", {}, False) is None
    assert not check(tmp_path / "data", quick=True).findings


def test_there_is_a_case_for_every_kind():
    # Cases of their own: below, and in test_any_dataset.py.
    refused = {segmentations.REFUSED.name} | {kind.name for kind in any_dataset.KINDS}
    assert {case.kinds[0] for case in CASES.values()} | refused == set(BY_NAME)
    assert len(BY_NAME) == len(KINDS) >= 30


@pytest.mark.parametrize("name", CASES)
def test_the_damage_is_found_and_training_does_as_said(tmp_path, name):
    case = CASES[name]
    damaged(name, tmp_path / "data")
    examination = check(tmp_path / "data", name)
    found = {finding.kind for finding in examination.findings}
    assert found == set(case.kinds)
    first = next(finding for finding in examination.findings if finding.kind == case.kinds[0])
    assert case.message in first.message
    assert first.file in first.message and first.training

    stops = {BY_NAME[kind].stops for kind in found}
    said = AT_START if AT_START in stops else AT_STEP if AT_STEP in stops else None
    assert training_stops(tmp_path / "data", case.settings, case.box_only) == said
    assert examination.stops_training == bool(stops - {None})


@pytest.mark.parametrize("name", CASES)
def test_the_quick_check_finds_what_the_json_and_the_headers_tell(tmp_path, name):
    case = CASES[name]
    damaged(name, tmp_path / "data")
    found = {finding.kind for finding in check(tmp_path / "data", name, quick=True).findings}
    assert (case.kinds[0] in found) == case.quick
    assert found <= set(case.kinds)


def test_a_finding_is_one_sentence_with_all_there_is_to_know(tmp_path):
    damaged("image-missing", tmp_path / "data")
    finding = check(tmp_path / "data").findings[0]
    folder = tmp_path / "data" / "train"
    assert finding.to_dict() == {
        "kind": "image-missing",
        "severity": ERROR,
        "subset": "train",
        "file": str(tmp_path / "data" / "annotations" / "instances_train.json"),
        "subject": "image",
        "id": 0,
        "field": "file_name",
        "expected": f"the file '0.png' in {folder}",
        "received": "no such file",
        "training": "stops before the first step",
        "message": f"{finding.file}: image 0, field 'file_name': expected the file '0.png' in "
        f"{folder}; received no such file.",
    }


def test_what_only_the_reader_refuses_is_found_too(tmp_path, monkeypatch):
    def refuse(annotation, height, width):
        raise ValueError(f"annotations: annotation {annotation['id']}: expected better.")

    sound(tmp_path / "data").write()
    monkeypatch.setattr(segmentations, "annotation_to_image_rle", refuse)
    findings = check(tmp_path / "data").findings
    assert {finding.kind for finding in findings} == {segmentations.REFUSED.name}
    assert findings[0].received == "annotation 1: expected better"


def test_the_order_of_findings_does_not_depend_on_the_threads(tmp_path):
    damaged("too-many-objects", tmp_path / "data")
    config = config_of({"MAX_GT_INSTANCES": 5})
    files = DatasetFiles(tmp_path / "data")
    one = examine(files, config, jobs=1, progress=False)
    many = examine(files, config, jobs=4, progress=False)
    assert one.findings == many.findings and len(one.findings) == 3


def test_a_subset_of_its_own_can_be_checked(tmp_path):
    damaged("leak", tmp_path / "data")
    examination = check(tmp_path / "data", val=None)
    assert [examined.subset.name for examined in examination.subsets] == ["train"]
    assert not examination.findings


def test_a_line_of_1600_bytes_is_not_16_bits(tmp_path):
    data = sound(tmp_path / "data")
    data.save(noise(0, 400, 533), "0.bmp")  # "1600" is beside the layout of its pixels
    data.image().unlink()
    data.train["images"][0].update(file_name="0.bmp", height=400, width=533)
    data.write()
    assert "bits-16" not in {finding.kind for finding in check(tmp_path / "data").findings}


def test_broken_exif_data_does_not_make_a_file_unreadable(tmp_path):
    data = sound(tmp_path / "data")
    data.save(noise(0), exif=b"Exif\0\0nothing of that kind")
    data.write()
    assert not check(tmp_path / "data").findings
    assert training_stops(tmp_path / "data", {}, False) is None


@pytest.mark.parametrize("subset", ["train", "val", "minival", "valminusminival"])
@pytest.mark.parametrize("in_names", ["", "2014"])
def test_subsets_are_found_where_the_reader_finds_them(tmp_path, monkeypatch, subset, in_names):
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / f"instances_{subset}{in_names}.json").touch()
    read = []
    monkeypatch.setattr(
        CocoDataset, "load_coco_json", lambda self, *paths, **options: read.append(paths[:2])
    )
    CocoDataset().load_coco(tmp_path, subset, year="2014")
    found = find_subset(tmp_path, subset, year="2014")
    assert [(found.file, found.folder)] == read


def test_the_quick_check_measures_the_anchors_as_the_full_one(tmp_path):
    sound(tmp_path).write()
    full, quick = (check(tmp_path, quick=quick).coverage for quick in (False, True))
    assert full is not None and quick is not None and len(full.sides) == len(quick.sides) > 0
    # Polygons of corners, against the boxes of drawn masks.
    np.testing.assert_allclose(np.sort(quick.sides), np.sort(full.sides), atol=2)
    assert quick.scales == full.scales and quick.image_size == full.image_size


def test_the_quick_check_reads_some_headers_spread_over_the_subset(tmp_path, monkeypatch):
    data = sound(tmp_path / "data")
    for index in range(2, 7):
        data.save(noise(index), f"{index}.png")
        image = {**data.train["images"][0], "id": index, "file_name": f"{index}.png"}
        data.train["images"].append(image)
    data.write()
    monkeypatch.setattr("mrcnn.doctor.examine.QUICK_IMAGES", 3)
    examined = check(tmp_path / "data", quick=True).subsets[0]
    assert [image["id"] for image, _ in examined.image_files] == [0, 3, 6]


class TestWhatTrainingDoes:
    """The claims about training that continues."""

    def test_an_orientation_is_ignored(self, tmp_path):
        sound(tmp_path / "sound").write()
        damaged("exif-upside-down", tmp_path / "data")
        images = [sample_of(tmp_path / name).image for name in ("sound", "data")]
        np.testing.assert_array_equal(*images)

    def test_of_16_bits_that_hold_12_the_upper_8_of_12_are_kept(self, tmp_path, caplog):
        damaged("grey-of-12-bits", tmp_path / "data")
        image = load(tmp_path / "data").load_image(0)
        assert image.max() == 255 and image.min() == 0 and len(np.unique(image)) == 256
        assert (image[..., 0] == image[..., 2]).all()  # a grey image is repeated

    def test_of_16_bits_a_color_the_upper_8_are_kept_too(self, tmp_path):
        data = sound(tmp_path / "data")
        values = np.random.default_rng(0).integers(0, 1 << 16, (48, 64, 3))
        data.image().write_bytes(png_of_16_bits(values))
        data.write()
        (finding,) = check(tmp_path / "data").findings
        assert finding.kind == "bits-16" and "of a color image" in finding.message
        np.testing.assert_array_equal(load(tmp_path / "data").load_image(0), values >> 8)

    def test_alpha_is_dropped(self, tmp_path):
        sound(tmp_path / "sound").write()
        damaged("alpha-transparent", tmp_path / "data")
        images = [load(tmp_path / name).load_image(0) for name in ("sound", "data")]
        np.testing.assert_array_equal(*images)

    def test_of_an_animation_the_first_picture_is_taken(self, tmp_path):
        data = damaged("animation", tmp_path / "data")
        expected = data.picture("0.gif").convert("RGB")
        np.testing.assert_array_equal(load(tmp_path / "data").load_image(0), expected)

    def test_a_polygon_that_crosses_itself_has_a_hole_where_it_covers_a_place_twice(self, tmp_path):
        data = sound(tmp_path / "data")
        # A loop: the inner square, 16 to 24, lies within the outer one and is run around twice.
        loop = [8, 8, 32, 8, 32, 32, 8, 32, 8, 8, 24, 16, 24, 24, 16, 24, 16, 16, 24, 16]
        data.object()["segmentation"] = [loop]
        data.write()
        masks, _ = load(tmp_path / "data").load_mask(0)
        assert masks[28, 12, 0] and not masks[20, 20, 0]

    def test_a_polygon_outside_is_cut_off_at_the_border(self, tmp_path):
        damaged("polygon-outside", tmp_path / "data")
        sample = sample_of(tmp_path / "data")
        assert sample.boxes[3].tolist() == [10, 50, 22, 64]  # 8 rows of padding above

    def test_the_box_is_the_masks(self, tmp_path):
        damaged("box-disagrees", tmp_path / "data")
        assert sample_of(tmp_path / "data").boxes[0].tolist() == [10, 2, 22, 14]

    def test_a_crowd_of_another_size_covers_the_image(self, tmp_path):
        damaged("crowd-rle-size", tmp_path / "data")
        sample = sample_of(tmp_path / "data")
        assert sample.class_ids[0] < 0
        assert sample.boxes[0].tolist() == [8, 0, 56, 64]

    def test_the_text_0_makes_an_object(self, tmp_path):
        damaged("crowd-flag-as-text", tmp_path / "data")
        assert sample_of(tmp_path / "data").class_ids[0] > 0
        assert load(tmp_path / "data").forms == {"'iscrowd': a number written as text": 1}

    @pytest.mark.parametrize("name", ["mask-empty", "polygon-all-outside"])
    def test_an_object_without_a_pixel_is_left_out_and_counted(self, tmp_path, name):
        damaged(name, tmp_path / "data")
        dataset = load(tmp_path / "data")
        assert dataset.load_mask(0)[0].shape[-1] == 9
        assert sum(dataset.left_out.values()) == 1

    def test_an_object_that_vanishes_is_left_out_and_counted(self, tmp_path):
        damaged("object-vanishes", tmp_path / "data")
        sample = sample_of(tmp_path / "data")
        assert len(sample.class_ids) == 9 and sample.ignored["vanished"] == 1

    def test_too_many_objects_are_drawn_at_random_and_the_others_counted(self, tmp_path):
        damaged("too-many-objects", tmp_path / "data")
        dataset = load(tmp_path / "data")
        config = config_of({"NUM_CLASSES": 3, "MAX_GT_INSTANCES": 5})
        loader = Loader(SampleStream.of(dataset, config, 0, shuffle=False), workers=0)
        drawn = {tuple(map(tuple, loader.sample(2 * k).boxes)) for k in range(5)}
        assert len(drawn) > 1 and all(len(boxes) == 5 for boxes in drawn)
        assert loader.sample(0).ignored["overflow"] == 5

    def test_ids_that_come_twice_are_all_taken(self, tmp_path):
        damaged("annotation-id-twice", tmp_path / "data")
        assert len(sample_of(tmp_path / "data").class_ids) == 10

    def test_the_last_name_of_a_category_counts(self, tmp_path):
        data = sound(tmp_path / "data")
        data.train["categories"].append({"id": 7, "name": "date"})
        data.write()
        assert load(tmp_path / "data").class_names == ["BG", "fig", "date"]

    def test_a_polygon_on_a_line_gives_no_pixel_or_a_thin_line(self, tmp_path):
        data = sound(tmp_path / "data")
        data.object()["segmentation"].append([20, 20, 30, 30, 40, 40])
        data.write()
        assert {f.kind for f in check(tmp_path / "data").findings} >= {"polygon-no-area"}
        masks, _ = load(tmp_path / "data").load_mask(0)
        extra = masks[..., 0].sum() - 144
        assert 0 <= extra <= 40

    def test_classes_are_counted_by_the_order_of_their_ids(self, tmp_path):
        damaged("validation-names-another-class", tmp_path / "data")
        names = [load(tmp_path / "data", subset).class_names for subset in ("train", "val")]
        assert names == [["BG", "fig", "nut"], ["BG", "date", "nut"]]


def test_invalid_annotations_that_training_leaves_out_do_not_stop_it(tmp_path):
    data = sound(tmp_path / "data")
    data.object(0)["segmentation"] = [[2, 2, 14, 14]]
    data.object(1)["iscrowd"] = "x"
    data.object(2)["image_id"] = 99
    data.write()
    for quick in (False, True):
        examination = examine(
            *(DatasetFiles(data.folder), DoctorConfig(), False, quick),
            progress=False,
            skip_invalid=True,
        )
        assert not examination.stops_training
        skipped = {f.kind for f in examination.findings if f.severity == WARNING}
        assert skipped == {"polygon-points", "crowd-flag", "image-unknown"}
        assert all("leaves the annotation out" in f.training
                   for f in examination.findings if f.kind in skipped)  # fmt: skip
    assert CocoDataset.of(data.folder, "train", skip_invalid=True).load_mask(0)[0].shape[-1] == 7


def test_where_only_crowds_would_be_left_the_training_stops_all_the_same(tmp_path):
    data = sound(tmp_path / "data")
    for annotation in data.train["annotations"]:
        annotation["segmentation"] = [[2, 2, 14, 14]]
    data.object()["segmentation"] = square(0, 0, 1)["segmentation"]
    data.object()["iscrowd"] = 1
    data.write()
    examination = examine(
        DatasetFiles(data.folder), DoctorConfig(), progress=False, skip_invalid=True
    )
    assert "only-crowds" in {f.kind for f in examination.findings if f.severity == ERROR}
