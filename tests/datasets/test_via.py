"""Annotation files of the VGG Image Annotator."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrcnn.datasets.via import Region, read_via_json, region_mask

SHAPES = {
    "polygon": {"all_points_x": [2, 8, 8, 2], "all_points_y": [1, 1, 5, 5]},
    "rect": {"x": 2, "y": 1, "width": 6, "height": 4},
    "circle": {"cx": 5, "cy": 4, "r": 3},
    "ellipse": {"cx": 5, "cy": 4, "rx": 4, "ry": 2},
    "polyline": {"all_points_x": [1, 2, 3], "all_points_y": [1, 2, 1]},
    "point": {"cx": 3, "cy": 3},
}


def region(name: str, **changes: Any) -> Region:
    return Region({"name": name, **SHAPES[name], **changes}, {})


def entry(filename: str, regions: Any, **fields: Any) -> dict[str, Any]:
    return {"filename": filename, "size": 12, "file_attributes": {}, "regions": regions, **fields}


def as_json(shape: Region, **attributes: Any) -> dict[str, Any]:
    return {"shape_attributes": shape.shape, "region_attributes": attributes}


def write(folder: Path, content: Any) -> Path:
    path = folder / "via.json"
    path.write_text(json.dumps(content))
    return path


class TestReading:
    REGIONS = [as_json(region("polygon"), name="balloon"), as_json(region("point"))]

    @pytest.mark.parametrize("version", ["1.x", "2.x", "project"])
    def test_all_versions_are_the_same(self, tmp_path: Path, version: str) -> None:
        regions = self.REGIONS
        if version == "1.x":
            regions = {str(i): value for i, value in enumerate(regions)}
        content: dict[str, Any] = {
            "b.jpg12": entry("b.jpg", regions),
            "a.jpg12": entry("a.jpg", {} if version == "1.x" else [], file_attributes={"k": 1}),
        }
        if version == "project":
            content = {"_via_settings": {}, "_via_img_metadata": content, "_via_attributes": {}}
        first, second = read_via_json(write(tmp_path, content))
        assert (first.filename, second.filename) == ("b.jpg", "a.jpg")
        assert [r.name for r in first.regions] == ["polygon", "point"]
        assert [r.has_area for r in first.regions] == [True, False]
        assert first.regions[0].attributes == {"name": "balloon"}
        assert second.regions == () and second.attributes == {"k": 1}

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ([], "an entry for each image"),
            ({"images": [], "annotations": []}, "'filename' and 'regions'"),
            ({"project": {}, "metadata": {}}, "VIA 3"),
            ({"a": entry("a", "none")}, "image 'a'.*as an object or a list"),
            ({"a": entry("a", [{}])}, "region 0.*shape_attributes"),
            ({"a": entry("a", [as_json(region("circle", r=None))])}, "circle.*'r'"),
            ({"a": entry("a", [as_json(region("rect", x="4"))])}, "rect.*'4' as 'x'"),
            ({"a": entry("a", [as_json(region("polygon", all_points_x=[1, 2]))])}, "2 x and 4 y"),
            ({"a": entry("a", [as_json(region("polygon", all_points_x=[1, None]))])}, "None"),
        ],
    )
    def test_what_is_wrong_is_named(self, tmp_path: Path, content: Any, message: str) -> None:
        path = write(tmp_path, content)
        with pytest.raises(ValueError, match=message) as error:
            read_via_json(path)
        assert str(path) in str(error.value)

    def test_no_file_and_no_json(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="nothing.json"):
            read_via_json(tmp_path / "nothing.json")
        (tmp_path / "x.json").write_text("filename,size")
        with pytest.raises(ValueError, match="x.json: expected a json file"):
            read_via_json(tmp_path / "x.json")


class TestMasks:
    def test_rect_is_a_slice(self) -> None:
        expected = np.zeros((10, 12), bool)
        expected[1:5, 2:8] = True
        np.testing.assert_array_equal(region_mask(region("rect"), 10, 12), expected)

    def test_polygon_holds_the_pixels_inside_and_is_about_its_rect(self) -> None:
        mask = region_mask(region("polygon"), 10, 12)
        assert mask[2:5, 3:8].all() and mask[1:6, 2:9].sum() == mask.sum()

    def test_triangle_has_half_the_area(self) -> None:
        triangle = region("polygon", all_points_x=[0, 100, 0], all_points_y=[0, 0, 100])
        assert 99 * 100 / 2 <= region_mask(triangle, 120, 120).sum() <= 101 * 102 / 2

    @settings(max_examples=30, deadline=None)
    @given(
        *[st.floats(-5, 25)] * 2, *[st.floats(0.5, 12)] * 2, st.floats(-math.pi, math.pi)
    )  # fmt: skip
    def test_ellipse_by_pixels(self, cx: float, cy: float, rx: float, ry: float, t: float) -> None:
        mask = region_mask(region("ellipse", cx=cx, cy=cy, rx=rx, ry=ry, theta=t), 18, 21)
        # A pixel's center, turned back by the angle and shrunk to the unit circle.
        for y, x in np.ndindex(18, 21):
            turned = complex(x - cx, y - cy) * complex(math.cos(t), -math.sin(t))
            radius = math.hypot(turned.real / rx, turned.imag / ry)
            assert mask[y, x] == (radius <= 1) or abs(radius - 1) < 1e-9

    def test_circle_is_a_round_ellipse(self) -> None:
        circle = region_mask(region("circle"), 10, 12)
        np.testing.assert_array_equal(circle, region_mask(region("ellipse", rx=3, ry=3), 10, 12))
        assert circle.sum() == 29  # points of the grid within 3 of the center

    def test_quarter_turn_swaps_the_radii(self) -> None:
        turned = region_mask(region("ellipse", cx=6, cy=6, theta=math.pi / 2 + 1e-12), 13, 13)
        upright = region_mask(region("ellipse", cx=6, cy=6, rx=2, ry=4), 13, 13)
        assert (turned != upright).sum() <= 4  # the outermost points lie on the border

    @pytest.mark.parametrize("name", ["polygon", "rect", "circle", "ellipse"])
    def test_what_is_outside_is_cut_off(self, name: str) -> None:
        whole = region_mask(region(name), 20, 20)
        np.testing.assert_array_equal(region_mask(region(name), 3, 5), whole[:3, :5])

    def test_shape_without_area(self) -> None:
        with pytest.raises(ValueError, match="polygon, rect, circle, ellipse; received 'point'"):
            region_mask(region("point"), 5, 5)
