"""Every arm is a valid setting, and every grid compares with a baseline."""

from __future__ import annotations

import pytest

from mrcnn.ablation.arms import ARMS, BASELINE, GRIDS, MATCHED, choose_arms
from mrcnn.config import Config
from mrcnn.runs.settings import configure


@pytest.mark.parametrize("name", ARMS)
def test_an_arm_is_a_valid_configuration_of_settings_that_exist(name):
    assert all(hasattr(Config, setting) for setting in ARMS[name])
    configure(Config, ARMS[name])


@pytest.mark.parametrize("name", GRIDS)
def test_a_grid_begins_with_the_baseline(name):
    assert not ARMS[GRIDS[name][0]].get("EDGE_LOSS_FILTERS")
    assert GRIDS[name][0] == BASELINE or name == "masks-56"
    assert list(choose_arms(GRIDS[name])) == list(GRIDS[name])


def test_no_two_arms_are_the_same():
    settings = [repr(sorted(arm.items())) for arm in ARMS.values()]
    assert len(set(settings)) == len(settings)


def test_a_control_has_no_setting_of_its_own():
    """Its factor is measured; see test_matching."""
    for control, arm in MATCHED.items():
        assert choose_arms([control, arm]) == {control: {}, arm: ARMS[arm]}


def test_an_unknown_arm_comes_with_its_neighbors():
    with pytest.raises(ValueError, match=r"'sobel-L2' is unknown.*sobel-l2"):
        choose_arms(["sobel-L2"])


def test_own_arms_and_repetitions():
    assert choose_arms(["mine"], {"mine": {"POOL_SIZE": 5}}) == {"mine": {"POOL_SIZE": 5}}
    with pytest.raises(ValueError, match="more than once"):
        choose_arms(["baseline", "baseline"])
