"""Files from strangers: refused by a sentence, at no cost, and never followed elsewhere.

Every reader is fuzzed for a bounded number of cases; `python -m benchmarks.fuzz` continues.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import time
import tracemalloc
import warnings
import zipfile
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from PIL import Image
from pycocotools import mask as mask_api

from benchmarks import fuzz
from benchmarks.fuzz_targets import (
    CITYSCAPES_JSON,
    COCO_JSON,
    SETTINGS_JSON,
    SIZE,
    TARGETS,
    VIA_JSON,
    execute,
)
from mrcnn.config import Config
from mrcnn.data.images import read_image
from mrcnn.datasets.coco import CocoDataset
from mrcnn.datasets.segmentation import annotation_to_mask, box_rle
from mrcnn.datasets.via import Region, region_mask
from mrcnn.files import download, hdf5, untrusted, zip
from mrcnn.files.image_file import width_and_height
from mrcnn.files.untrusted import Folder, load_json
from mrcnn.runs import settings as runs_settings

EXAMPLES = 40  # for a reader
NUMBERS = itertools.count()


@pytest.mark.parametrize("name", TARGETS)
def test_fuzz(name: str, tmp_path: Path) -> None:
    seen = set()

    @settings(
        max_examples=EXAMPLES,
        database=None,
        deadline=None,
        derandomize=True,  # the same cases every time: new ones are for `benchmarks.fuzz`
        suppress_health_check=list(HealthCheck),
    )
    @given(TARGETS[name].cases)
    def run(case: object) -> None:
        folder = tmp_path / str(next(NUMBERS))
        folder.mkdir()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's and zipfile's, of what they then refuse
            seen.add(execute(TARGETS[name], case, folder))
        shutil.rmtree(folder)

    run()
    assert "refused" in seen
    base = {"coco": COCO_JSON, "via": VIA_JSON, "cityscapes": CITYSCAPES_JSON}
    base |= {"settings": SETTINGS_JSON}
    if name in base:  # not refused for another reason
        assert execute(TARGETS[name], json.dumps(base[name]).encode(), tmp_path) == "read"


class TestPaths:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        folder = tmp_path / "images"
        (folder / "sub").mkdir(parents=True)
        for path in (folder / "a.png", folder / "sub" / "b.png", tmp_path / "secret.png"):
            path.write_bytes(b"x")
        (folder / "inner.png").symlink_to("sub/b.png")
        (folder / "out.png").symlink_to(tmp_path / "secret.png")
        (folder / "up").symlink_to(tmp_path)
        (folder / "loop").symlink_to("loop")
        os.mkfifo(folder / "pipe")
        return folder

    def test_names_inside_are_found(self, folder: Path) -> None:
        files = Folder(folder)
        for name in ("a.png", "./a.png", "sub/b.png", "sub/../a.png", "inner.png"):
            assert os.path.samefile(files.find(name), folder / name)
        for name in ("none.png", "none/a.png", "sub", "pipe", "loop", "a.png/b"):
            assert files.find(name) is None

    @pytest.mark.parametrize(
        "name",
        [
            *("../secret.png", "/etc/passwd", "sub/../../secret.png", "..", "C:\\x", "\\\\host\\x"),
            *(
                "out.png",
                "up/secret.png",
                "up/images/../secret.png",
                "",
                "a\0b",
                "\ud800",
                None,
                [],
            ),
        ],
    )
    def test_names_that_lead_out_are_refused(self, folder: Path, name: object) -> None:
        with pytest.raises(ValueError, match="expected a path inside the image folder"):
            Folder(folder).find(name)

    def test_a_name_of_many_folders_is_refused_at_once(self, folder: Path) -> None:
        files = Folder(folder)
        for part in ("a/", "../", "./", "sub/../", "\x00/"):
            start = time.process_time()
            with pytest.raises(
                ValueError, match="expected a path of at most 4096 bytes .*characters"
            ):
                files.find(part * 100_000)
            assert time.process_time() - start < 0.1
        assert files.find("sub/../" * 500 + "a.png") is not None

    def test_a_folder_that_is_a_link_is_normal(self, folder: Path, tmp_path: Path) -> None:
        (tmp_path / "linked").symlink_to(folder)
        files = Folder(tmp_path / "linked")
        assert files.find("a.png") == str(tmp_path / "linked" / "a.png")
        assert files.find("sub/b.png") and files.find("inner.png")
        with pytest.raises(ValueError, match="MRCNN_FOLLOW_LINKS=1"):
            files.find("out.png")

    def test_links_that_lead_out_can_be_allowed(self, folder: Path, monkeypatch) -> None:
        monkeypatch.setattr(untrusted, "FOLLOW_LINKS", True)
        files = Folder(folder)
        assert files.find("out.png") and files.find("up/secret.png")
        with pytest.raises(ValueError):
            files.find("../secret.png")  # still not by the json alone

    def test_coco_names_the_file_the_image_and_the_field(self, folder: Path, tmp_path) -> None:
        content = json.loads(json.dumps(COCO_JSON))
        content["images"][1]["file_name"] = "out.png"
        (tmp_path / "x.json").write_text(json.dumps(content))
        with pytest.raises(ValueError, match=r"x\.json: image 2, field 'file_name': .*by a link"):
            CocoDataset().load_coco_json(tmp_path / "x.json", folder, box_only=True)


class TestBombs:
    @pytest.fixture
    def memory(self):
        """Peak memory that Python and NumPy took, in MiB."""
        tracemalloc.start()
        yield lambda: tracemalloc.get_traced_memory()[1] / 2**20
        tracemalloc.stop()

    def test_an_image_of_many_pixels(self, tmp_path: Path, memory, monkeypatch) -> None:
        path = tmp_path / "bomb.png"
        Image.new("1", (3000, 2000)).save(path)
        assert path.stat().st_size < 5000
        monkeypatch.setattr("mrcnn.files.image_file.MAX_IMAGE_PIXELS", 2000 * 2000)
        for read in (read_image, width_and_height):
            with pytest.raises(ValueError, match="bomb.png.*2000 x 3000.*MRCNN_MAX_IMAGE_PIXELS"):
                read(path)
        assert memory() < 3

    def test_programs_are_no_images(self, tmp_path: Path) -> None:
        path = tmp_path / "image.png"
        Image.new("RGB", (8, 8)).save(path, "EPS")  # Ghostscript would run it
        with pytest.raises(ValueError, match="image.png: cannot be read as an image"):
            read_image(path)

    def test_a_pipe_is_no_image(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "image.png")
        with pytest.raises(ValueError, match="it is not a plain file"):
            read_image(tmp_path / "image.png")

    def test_a_json_that_is_too_deep_or_too_long(self, tmp_path: Path, monkeypatch) -> None:
        path = tmp_path / "x.json"
        path.write_text("[" * 200_000)
        with pytest.raises(ValueError, match="nested too deeply"):
            load_json(path)
        monkeypatch.setattr(untrusted, "MAX_JSON_BYTES", 1000)
        with pytest.raises(ValueError, match="200000 bytes, more than MRCNN_MAX_JSON_BYTES = 1000"):
            load_json(path)

    @pytest.mark.parametrize(
        "change, expected",
        [
            (
                ("images", 0, "height", 10**8),
                "image 1, field 'height, width': expected at most.*pixels",
            ),
            (("annotations", 1, "segmentation", {"size": [10**6] * 2, "counts": [10**12]}), "size"),
            (("categories", 0, "name", "\x1b[2J"), "printable"),
        ],
    )
    def test_declared_sizes(self, tmp_path: Path, memory, change, expected) -> None:
        content = json.loads(json.dumps(COCO_JSON))
        entries, number, field, value = change
        content[entries][number][field] = value
        (tmp_path / "x.json").write_text(json.dumps(content))
        for name in ("a.png", "sub/b.png"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes(b"")
        with pytest.raises(ValueError, match=rf"x\.json.*{expected}"):
            CocoDataset().load_coco_json(tmp_path / "x.json", tmp_path, box_only=True)
        assert memory() < 3

    def test_many_masks_of_a_large_image(self, monkeypatch) -> None:
        monkeypatch.setattr(untrusted, "MAX_MASK_BYTES", 1000)
        untrusted.check_mask_bytes(10, 10, 10, "a.png")
        with pytest.raises(ValueError, match=r"a\.png: .* 11 of 10 x 10 pixels"):
            untrusted.check_mask_bytes(10, 10, 11, "a.png")

    def test_a_polygon_that_goes_to_and_fro(self, memory) -> None:
        polygon = [0, 0, 6000, 6000, 0, 6000] * 4000
        with pytest.raises(ValueError, match="annotation 3, .*outlines of at most 4000000 pixels"):
            annotation_to_mask({"id": 3, "segmentation": [polygon]}, 6000, 6000)
        assert memory() < 10

    def test_an_annotation_of_many_triangles_across_the_image(self, memory) -> None:
        rng = np.random.default_rng(0)
        ends = rng.integers(0, 11_000, (12_000, 2)).tolist()
        triangles = [[0, y1, 11_000, y2, 11_000, y2 + 3] for y1, y2 in ends]
        start = time.process_time()
        with pytest.raises(
            ValueError,
            match="annotation 3, .*outlines of at most 4288000 pixels in all, for polygons of "
            "72000 numbers; received .* in 12000 polygons",
        ):
            annotation_to_mask({"id": 3, "segmentation": triangles}, 11_000, 11_000)
        assert time.process_time() - start < 3
        assert memory() < 10

    def test_a_box_on_a_large_image(self, memory) -> None:
        rle = box_rle([10, 20, 30, 40], 11_000, 11_000)
        assert mask_api.area(rle) == 30 * 40
        assert memory() < 1

    def test_regions_of_via_on_a_large_image(self, memory) -> None:
        shapes = (
            {"name": "polygon", "all_points_x": [0, 5999, 3000], "all_points_y": [0, 10, 5999]},
            {"name": "ellipse", "cx": 3000, "cy": 3000, "rx": 2900, "ry": 1000, "theta": 1},
        )
        for shape in shapes:
            assert region_mask(Region(shape, {}), 6000, 6000).any()
        # Two bits a pixel and the mask, or a band of numbers.
        assert memory() < 300
        x, y = list(range(36_000)), [0, 11_000] * 18_000
        to_and_fro = Region({"name": "polygon", "all_points_x": x, "all_points_y": y}, {})
        with pytest.raises(ValueError, match="region: expected outlines of at most 4000000 pixels"):
            region_mask(to_and_fro, 11_000, 11_000)

    def test_an_archive_of_an_unusual_compression(self, tmp_path: Path) -> None:
        path = tmp_path / "a.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
            archive.writestr("x", b"0" * 100)
        with pytest.raises(download.DownloadError, match="a.zip: the entry 'x' is compressed by"):
            zip.extract_zip(path, tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_an_archive_that_points_before_its_start(self, tmp_path: Path) -> None:
        path = tmp_path / "a.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x", b"")
        path.write_bytes(path.read_bytes()[1:])
        with pytest.raises(zip.DamagedArchiveError, match="a.zip is not a zip archive or is"):
            zip.extract_zip(path, tmp_path / "out")

    def test_an_archive_of_many_entries(self, tmp_path: Path, monkeypatch) -> None:
        monkeypatch.setattr(zip, "MAX_ENTRIES", 3)
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            for k in range(4):
                archive.writestr(str(k), b"")
        with pytest.raises(download.DownloadError, match="4 entries, above the limit of 3"):
            zip.extract_zip(tmp_path / "a.zip", tmp_path / "out")


class TestWeights:
    """What the fuzz target holds for any file, here by its message."""

    @pytest.mark.parametrize(
        "kind, expected",
        [
            ("external link", "link to another file, 'secret.h5'"),
            ("soft link", "is a soft link"),
            ("virtual", "lie outside the file"),
            ("raw file", "lie outside the file"),
            ("strings", "holds object; expected an array of numbers"),
            ("records", "expected an array of numbers"),
            ("huge", "of another shape than the model's"),
            ("huge chunk", "has chunks of"),
        ],
    )
    def test_message(self, kind: str, expected: str, tmp_path: Path) -> None:
        from benchmarks import fuzz_weights
        from mrcnn.weights.report import WeightsError

        case = ("weights.h5", [("conv1/conv1/bias:0", kind)], [])
        fuzz_weights.write_weights(case, tmp_path)
        with pytest.raises(WeightsError, match=rf"weights\.h5.*{expected}"):
            fuzz_weights.read_weights(tmp_path)

    def test_keras_3_files_are_looked_through_first(self, tmp_path: Path) -> None:
        from benchmarks import fuzz_weights
        from mrcnn.weights.report import WeightsError

        case = ("other.weights.h5", [("layers/conv2d/vars/1", "huge")], [])
        fuzz_weights.write_weights(case, tmp_path)
        with pytest.raises(WeightsError, match="1 layer of another shape"):
            fuzz_weights.read_weights(tmp_path)

    def test_groups_that_hold_each_other(self, tmp_path: Path) -> None:
        with h5py.File(tmp_path / "x.h5", "w") as file:
            file["a/b"] = np.ones(3)
            hdf5.check_tree(file, 24)
            file["a/c"] = file["a"]
            with pytest.raises(hdf5.UnsafeFileError, match="contains itself"):
                hdf5.check_tree(file, 24)

    def test_shards_lie_beside_their_list(self, tmp_path: Path) -> None:
        from benchmarks import fuzz_weights
        from mrcnn.weights.keras3 import check_keras3_file
        from mrcnn.weights.report import WeightsError

        model, _ = fuzz_weights.network()
        (tmp_path / "x").mkdir()
        path = tmp_path / "x" / "m.weights.json"
        for name in ("../m.h5", "/etc/passwd", 5, None):
            path.write_text(json.dumps({"weight_map": {"/a": [name]}}))
            with pytest.raises(WeightsError, match=r"m\.weights\.json"):
                check_keras3_file(model, str(path))


def test_settings_beside_weights_replace_no_methods(tmp_path: Path) -> None:
    content = {"NAME": "x", "validate": 1, "to_dict": 2, "__init__": 3, "BATCH_SIZE": 4, "X": 5}
    (tmp_path / "config.json").write_text(json.dumps(content))
    assert runs_settings.load_settings(tmp_path / "weights.h5") == {"NAME": "x"}


def test_settings_of_a_wrong_type_are_refused() -> None:
    for setting, expected in (
        ("RPN_NMS_THRESHOLD", "Odd.RPN_NMS_THRESHOLD: expected a number from 0 to 1"),
        ("MASK_SHAPE", "Odd.MASK_SHAPE: expected .height, width., two integers of at least 1"),
    ):
        with pytest.raises(ValueError, match=expected):
            type("Odd", (Config,), {setting: None})()


def test_the_fuzz_images_are_valid_themselves() -> None:
    """Otherwise every mutation would be refused for the wrong reason."""
    from benchmarks.fuzz_targets import image_files

    assert len(image_files()) >= 12 and SIZE == (24, 32)


def test_the_fuzz_command_counts_and_reports(tmp_path: Path, monkeypatch) -> None:
    line = fuzz.fuzz("via", 0.3, seed=0, memory_mib=0, folder=tmp_path)
    assert line["executions"] == line["read"] + line["refused"] > 0 and not line["failures"]

    def fail(folder: Path) -> None:
        raise KeyError("no sentence")

    monkeypatch.setitem(TARGETS, "via", replace(TARGETS["via"], read=fail))
    line = fuzz.fuzz("via", 0.3, seed=0, memory_mib=0, folder=tmp_path)
    assert line["executions"] == 0
    assert line["failures"][0]["error"].startswith("KeyError: 'no sentence'")
