"""Both heads read their RoIs in one place, in the way that the settings say."""

from __future__ import annotations

import pytest

from mrcnn import network
from mrcnn.layers.roi_align import RoiAlign
from mrcnn.layers.roi_features import RoiFeatureSettings
from mrcnn.layers.roi_pool import RoiPool
from tests.tiny import tiny_config


@pytest.mark.parametrize(("pooling", "kind"), [("align", RoiAlign), ("pool", RoiPool)])
def test_the_setting_decides_for_both_heads(pooling: str, kind: type):
    model = network.build_inference(tiny_config(ROI_POOLING=pooling))
    for name, side in (("roi_align_classifier", 7), ("roi_align_mask", 14)):
        layer = model.get_layer(name)
        assert type(layer) is kind and layer.pool_shape == (side, side)


def test_another_way_is_refused():
    with pytest.raises(ValueError, match="'align' or 'pool'; received 'max'"):
        RoiFeatureSettings(7, pooling="max")
