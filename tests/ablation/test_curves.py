"""Loss curves of a comparison."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from mrcnn.ablation import curves

HEAD = "epoch,loss,mrcnn_mask_edge_loss,mrcnn_mask_loss,rpn_class_loss,val_mrcnn_mask_loss"


def test_the_total_leaves_out_the_edge_loss_and_weight_decay(tmp_path):
    path = tmp_path / "losses.csv"
    path.write_text(f"{HEAD}\n0,9,5,1,2,3\n1,8,5,0.5,1,NA\n")
    table = curves.read_losses(path)
    np.testing.assert_array_equal(table["total"], [3, 1.5])
    np.testing.assert_array_equal(table["val_total"], [3, np.nan])


@pytest.mark.parametrize("validation", [False, True])
def test_the_figure_shows_every_arm(tmp_path, validation):
    prefix = "val_" if validation else ""
    runs = {
        arm: {
            seed: {prefix + "total": np.full(4, height), prefix + "mrcnn_mask_loss": np.arange(4.0)}
            for seed in (0, 1)
        }
        for arm, height in (("baseline", 2.0), ("sobel", 1.0))
    }
    both = curves.plot_curves(
        runs, "baseline", tmp_path / "a" / "both.png", 10, validation=validation
    )
    alone = curves.plot_curves(
        {"baseline": runs["baseline"]}, "baseline", tmp_path / "one.png", 10, validation=validation
    )
    pictures = [np.asarray(Image.open(path).convert("RGB")).astype(int) for path in (both, alone)]
    colored = [(np.ptp(picture, axis=-1) > 60).sum() for picture in pictures]
    assert colored[0] > 500 and colored[1] == 0  # the baseline is grey


def test_only_curves_that_spread_widely_get_logarithmic_axes():
    steady, spike = np.linspace(4, 2, 5), np.array([4, 90, 3, 2, np.nan])
    assert curves._is_wide([steady, spike]) and not curves._is_wide([steady, np.full(5, 3.0)])
    assert not curves._is_wide([]) and not curves._is_wide([np.zeros(3)])
