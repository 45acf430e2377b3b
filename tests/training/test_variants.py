"""Every variant trains and stays finite: `benchmarks.variants`, on little data."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from benchmarks import edge_head, variants
from mrcnn.datasets.coco import CocoDataset
from mrcnn.datasets.shapes import write_shapes
from mrcnn.ops.edge_filters import FILTERS, resolve_filters

# Less to compute: the mask branch's slots, and the layers around them.
SMALLER = {
    "TRAIN_ROIS_PER_IMAGE": 8,
    "TOP_DOWN_PYRAMID_SIZE": 8,
    "RPN_CONV_FILTERS": 8,
    "MASK_CONV_FILTERS": 8,
    "POST_NMS_ROIS_TRAINING": 20,
}


def test_the_variants_are_all_that_the_paper_tried():
    settings = variants.VARIANTS.values()
    used = {
        name
        for chosen in settings
        if chosen.get("EDGE_LOSS_FILTERS")
        for name in resolve_filters(chosen["EDGE_LOSS_FILTERS"])
    }
    assert used == set(FILTERS)
    tried = {(name, str(value)) for chosen in settings for name, value in chosen.items()}
    assert {("EDGE_LOSS_NORM", f"l{p}") for p in (1, 3, 4, 5)} <= tried
    for setting, values in {
        "EDGE_LOSS_WEIGHT_FACTOR": ("0.5", "8.0", "16.0", "0.0625"),
        "EDGE_LOSS_WEIGHT_ENTROPY": ("exp", "product"),
        "EDGE_LOSS_ENTROPY_DIVISOR": ("4.0",),
        "EDGE_LOSS_SMOOTHING_GT": ("True",),
        "EDGE_LOSS_SMOOTHING_PREDICTIONS": ("True",),
        "EDGE_LOSS_MAGNITUDE": ("True", "only"),
        "UNCERTAINTY_WEIGHTING": ("True",),
        "MASK_SHAPE": ("(56, 56)",),
    }.items():
        assert {(setting, value) for value in values} <= tried


@pytest.mark.parametrize(
    "name", [n for n, chosen in variants.VARIANTS.items() if chosen.get("EDGE_LOSS_FILTERS")]
)
def test_the_head_of_each_variant_trains(name):
    """The head on masks of one layer that learns: finite losses, and weights that move."""
    settings = {**SMALLER, "TRAIN_ROIS_PER_IMAGE": 3, "ROI_POSITIVE_RATIO": 1.0}
    config = variants.make_config({**settings, **variants.VARIANTS[name]}, 64, 2)
    keras.utils.set_random_seed(0)
    model = edge_head.head_model(config)
    model.compile(keras.optimizers.Adam(1e-2), run_eagerly=True)
    batch = edge_head.head_batch(config)
    before = model.get_weights()
    losses = [model.train_on_batch(batch) for _ in range(5)]
    assert np.isfinite(np.asarray(losses, float)).all()
    after = model.get_weights()
    assert all(np.isfinite(weights).all() for weights in after)
    assert any(np.abs(a - b).max() > 1e-3 for a, b in zip(after, before, strict=True))


def test_a_network_with_everything_at_once_trains_on_images(tmp_path):
    write_shapes(tmp_path, 2, 1, (64, 64))
    dataset = CocoDataset()
    dataset.load_coco(tmp_path, "train", year="")
    dataset.prepare()
    settings = {**SMALLER, **variants.VARIANTS["everything"]}
    config = variants.make_config(settings, 64, dataset.num_classes)
    batches = variants.load_batches(dataset, config, 3)
    row = variants.train_variant(config, batches)
    assert row.finite and len(row.losses) == 3
    assert any(losses[variants.EDGE] > 0 and losses[variants.MASK] > 0 for losses in row.losses)
    cells = row.cells("everything")
    assert len(cells) == len(variants.HEAD) and cells[:2] == ("everything", "3")


@pytest.mark.slow  # tests/test_network.py trains with the same components, in less time
@pytest.mark.parametrize("name", ["roi-pool", "border-anchors-ignored"])
def test_a_component_trains_on_images(tmp_path, name):
    """The backbones are tested in tests/layers/test_resnext.py, in less time."""
    write_shapes(tmp_path, 2, 1, (64, 64))
    dataset = CocoDataset.of(tmp_path, "train", "")
    config = variants.make_config({**SMALLER, **variants.VARIANTS[name]}, 64, dataset.num_classes)
    row = variants.train_variant(config, variants.load_batches(dataset, config, 2))
    assert row.finite and len(row.losses) == 2
    assert all(losses["rpn_class_loss"] > 0 for losses in row.losses)
    assert any(losses[variants.MASK] > 0 for losses in row.losses)


def test_every_component_changes_a_setting_to_something_else():
    for chosen in variants.COMPONENTS.values():
        plain = variants.make_config({}, 64, 2)
        other = variants.make_config(chosen, 64, 2)
        assert all(getattr(plain, name) != getattr(other, name) for name in chosen)


def test_what_is_not_finite_is_said():
    fine = variants.Row([{"loss": 1.0}], True, 2.0)
    assert fine.finite and fine.cells("a") == ("a", "1", "1 → 1", "", "", "yes", "2")
    for row in (
        variants.Row([{"loss": 1.0}, {"loss": float("nan")}], True, 2.0),
        variants.Row([{"loss": 1.0}], False, 2.0),
    ):
        assert not row.finite and "NO" in row.cells("a")
