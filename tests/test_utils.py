"""mrcnn.utils: Matterport's numbers through the door, and the functions that live in it."""

from __future__ import annotations

import json
import random
import subprocess
import sys

import numpy as np
import pytest
from keras import ops

from mrcnn import utils
from tests.tiny import tiny_config

UNMOLD_SHAPE = (96, 120, 3)  # of the fixtures


@pytest.fixture(scope="module")
def vectors(fixtures):
    return np.load(fixtures / "util_vectors.npz")


@pytest.fixture(scope="module")
def cases(fixtures):
    return json.loads((fixtures / "util_vectors.json").read_text())


def test_importing_it_loads_neither_keras_nor_matplotlib():
    code = "import sys, mrcnn.utils; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "numpy" in loaded
    assert not loaded & {"keras", "tensorflow", "jax", "torch", "matplotlib"}


def test_imgaug_finds_the_names_of_older_numpy_after_it(tmp_path):
    (tmp_path / "imgaug.py").write_text("import numpy\nfloats = numpy.sctypes['float']\n")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import mrcnn.utils, imgaug"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_xml_etree_is_whole_after_it():
    code = "import xml.etree, mrcnn.utils; print(xml.etree.ElementTree.fromstring('<a/>').tag)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("a\n", 0), done.stderr


def test_every_name_of_all_is_there():
    assert len(utils.__all__) == len(set(utils.__all__))
    for name in utils.__all__:
        assert hasattr(utils, name)


# --- Matterport's numbers, a sample of each room -------------------------------------------------


def test_boxes_are_matterports(vectors):
    boxes, others = vectors["ov_b1"], vectors["ov_b2"]
    np.testing.assert_allclose(utils.compute_overlaps(boxes, others), vectors["ov_out"], atol=1e-6)
    for tenths in (1, 3, 5):
        kept = utils.non_max_suppression(boxes, vectors["unms_scores"], tenths / 10)
        np.testing.assert_array_equal(kept, vectors[f"unms_{tenths}"])
    np.testing.assert_allclose(
        utils.box_refinement(boxes[: len(others)], others), vectors["br_out"], atol=1e-6
    )
    halves = utils.denorm_boxes(vectors["denorm_half_in"], (128, 128))
    np.testing.assert_array_equal(halves, vectors["denorm_half_out"])
    overlaps = utils.compute_overlaps_masks(vectors["ovm_m1"], vectors["ovm_m2"])
    np.testing.assert_allclose(overlaps, vectors["ovm_out"], atol=1e-6)


def test_images_and_masks_are_matterports(vectors, cases):
    for index in (1, 4, 6):  # square, pad64, crop
        case, key = cases["resize"][index], f"rs{index}_"
        random.seed(5)
        image, window, scale, padding, crop = utils.resize_image(
            vectors[key + "in"], mode=case["mode"], **case["kw"]
        )
        assert np.abs(image.astype(int) - vectors[key + "out"]).max() <= 1
        np.testing.assert_array_equal(window, vectors[key + "window"])
        mask = utils.resize_mask(vectors[key + "maskin"], scale, padding, crop)
        np.testing.assert_array_equal(mask, vectors[key + "maskout"])
    masks, boxes = vectors["mini_mask"], vectors["mini_bbox"]
    np.testing.assert_array_equal(utils.extract_bboxes(masks), boxes)
    mini = utils.minimize_mask(boxes, masks, (56, 56))
    np.testing.assert_array_equal(mini, vectors["mini_56x56"])
    expanded = utils.expand_mask(boxes, mini, masks.shape)
    assert (expanded != vectors["expand_56x56"]).mean() < 1e-3
    pasted = utils.unmold_mask(vectors["unmold_in"], cases["unmold"][0], UNMOLD_SHAPE)
    assert (pasted != vectors["unmold_out0"]).mean() < 1e-3


def test_precision_and_recall_are_matterports(vectors):
    names = ("boxes", "ids", "masks")
    truth = [vectors[f"ap0_gt_{name}"] for name in names]
    found = [vectors[f"ap0_pred_{name}"] for name in ("boxes", "ids", "scores", "masks")]
    average, *_ = utils.compute_ap(*truth, *found, iou_threshold=0.75)
    assert average == pytest.approx(float(vectors["ap0_75_mAP"]), abs=1e-6)
    mean = utils.compute_ap_range(*truth, *found, verbose=0)
    assert mean == pytest.approx(float(vectors["ap0_range"]), abs=1e-6)


@pytest.mark.parametrize("case", range(4))
def test_pyramid_anchors_are_matterports(vectors, cases, case):
    facts = cases[f"anch{case}"]
    anchors = utils.generate_pyramid_anchors(
        facts["scales"],
        facts["ratios"],
        vectors[f"anch{case}_shapes"],
        facts["strides"],
        facts["anchor_stride"],
    )
    assert len(anchors) == vectors[f"anch{case}_count"]
    if facts["sampled"] != "all":
        anchors = np.concatenate([anchors[:200], anchors[::997], anchors[-200:]])
    np.testing.assert_allclose(anchors, vectors[f"anch{case}"], rtol=1e-9, atol=1e-9)


# --- What is written here -------------------------------------------------------------------------


def naive_anchors(scales, ratios, shape, feature_stride, anchor_stride):
    anchors = []
    for y in range(0, shape[0], anchor_stride):
        for x in range(0, shape[1], anchor_stride):
            for ratio in ratios:
                for scale in scales:
                    height, width = scale / ratio**0.5, scale * ratio**0.5
                    top = y * feature_stride - height / 2
                    left = x * feature_stride - width / 2
                    anchors.append((top, left, top + height, left + width))
    return anchors


@pytest.mark.parametrize("anchor_stride", [1, 2])
def test_anchors_of_several_scales(anchor_stride):
    expected = naive_anchors([8, 16], [0.5, 1, 2], (3, 5), 4, anchor_stride)
    got = utils.generate_anchors([8, 16], [0.5, 1, 2], (3, 5), 4, anchor_stride)
    np.testing.assert_allclose(got, expected)


def test_anchors_of_one_scale():
    expected = naive_anchors([8], [0.5, 2], (2, 3), 4, 1)
    np.testing.assert_allclose(utils.generate_anchors(8, [0.5, 2], (2, 3), 4, 1), expected)
    np.testing.assert_allclose(utils.generate_anchors((8,), [0.5, 2], (2, 3), 4, 1), expected)


def test_trim_zeros_drops_rows_of_zeros_wherever_they_stand():
    rows = np.array([[0, 1, 0], [0, 0, 0], [2, 0, 0], [0, 0, 0]])
    assert utils.trim_zeros(rows).tolist() == [[0, 1, 0], [2, 0, 0]]
    assert utils.trim_zeros(np.zeros((3, 4))).shape == (0, 4)
    assert utils.trim_zeros(np.zeros((0, 4))).shape == (0, 4)
    with pytest.raises(ValueError, match=r"\(3,\)"):
        utils.trim_zeros(np.ones(3))


def test_mold_mask_follows_the_configuration():
    masks = np.zeros((40, 50, 2), np.uint8)
    masks[10:30, 5:45, 0] = 1
    masks[3:9, 20:26, 1] = 1
    mini = utils.mold_mask(masks, tiny_config(MINI_MASK_SHAPE=(14, 14)))
    assert mini.shape == (14, 14, 2) and mini.dtype == bool
    boxes = utils.extract_bboxes(masks)
    np.testing.assert_array_equal(utils.expand_mask(boxes, mini, masks.shape)[8:32], masks[8:32])
    whole = utils.mold_mask(masks, tiny_config(USE_MINI_MASK=False))
    assert whole.dtype == bool
    np.testing.assert_array_equal(whole, masks)


def test_box_refinement_graph_is_box_refinement():
    boxes = np.array([[0, 0, 10, 20], [5, 5, 9, 30], [1, 2, 3, 4]], np.int32)
    targets = np.array([[2, 1, 12, 19], [5, 5, 9, 30], [0, 0, 50, 60]], np.int32)
    got = ops.convert_to_numpy(utils.box_refinement_graph(boxes, targets))
    np.testing.assert_allclose(got, utils.box_refinement(boxes, targets), atol=1e-6)
    assert got.dtype == np.float32
    empty = np.zeros((1, 4), np.float32)
    assert ops.convert_to_numpy(utils.box_refinement_graph(empty, targets[:1])).tolist() == [
        [0] * 4
    ]


class TestBatchSlice:
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    y = np.arange(3, dtype=np.float32)

    def test_one_input_and_one_output(self):
        got = utils.batch_slice(self.x, lambda row: row * 2, 3)
        np.testing.assert_array_equal(ops.convert_to_numpy(got), self.x * 2)

    def test_several_inputs_and_outputs(self):
        tensors = [ops.convert_to_tensor(self.x), ops.convert_to_tensor(self.y)]
        total, shifted = utils.batch_slice(
            tensors, lambda x, y: (ops.sum(x), x + y), 3, names=["total", "shifted"]
        )
        np.testing.assert_array_equal(ops.convert_to_numpy(total), self.x.sum(axis=1))
        np.testing.assert_array_equal(ops.convert_to_numpy(shifted), self.x + self.y[:, None])

    def test_a_list_of_one_output_is_that_output(self):
        got = utils.batch_slice([self.x], lambda row: [row[:2]], 3)
        np.testing.assert_array_equal(ops.convert_to_numpy(got), self.x[:, :2])

    def test_a_smaller_batch_leaves_images_out(self):
        assert utils.batch_slice(self.x, lambda row: row, 2).shape == (2, 4)
