"""The settings of a run, and their file beside the weights."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mrcnn.config import DERIVED_SETTINGS, Config
from mrcnn.runs.settings import (
    configure,
    derive_config,
    load_settings,
    parse_setting,
    save_settings,
)


def test_settings_survive_the_file(tmp_path):
    config = configure(Config, {"NAME": "x", "BBOX_STD_DEV": (0.1, 0.1, 0.2, 0.4)})
    assert save_settings(config, tmp_path / "new") == tmp_path / "new" / "config.json"
    loaded = configure(Config, load_settings(tmp_path / "new" / "weights.h5"))
    assert config.to_dict().keys() == loaded.to_dict().keys()
    for name, value in config.to_dict().items():
        # A tuple comes back as a list.
        np.testing.assert_equal(_plain(getattr(loaded, name)), _plain(value), err_msg=name)


def _plain(value):
    return json.loads(json.dumps(value, default=np.ndarray.tolist))


def test_nothing_derived_is_written_or_read(tmp_path):
    save_settings(Config(), tmp_path)
    content = json.loads((tmp_path / "config.json").read_text())
    assert not content.keys() & set(DERIVED_SETTINGS)
    content |= {"BATCH_SIZE": 99, "validate": 1, "NO_SETTING": 2}
    (tmp_path / "config.json").write_text(json.dumps(content))
    assert not load_settings(tmp_path / "w.h5").keys() & {"BATCH_SIZE", "validate", "NO_SETTING"}


def test_what_a_configuration_derives_is_in_the_list():
    given = {name for name in vars(Config) if name.isupper()} - set(DERIVED_SETTINGS)
    derived = {name for name in Config().to_dict() if name.isupper()} - given
    assert derived == set(DERIVED_SETTINGS)


def test_a_damaged_file_is_named(tmp_path):
    for content in ("{", "[1, 2]"):
        (tmp_path / "config.json").write_text(content)
        with pytest.raises(ValueError, match=r"config\.json: expected the settings of a run"):
            load_settings(tmp_path / "weights.h5")
    assert load_settings(tmp_path / "elsewhere" / "weights.h5") == {}


def test_a_class_of_configurations():
    derived = derive_config(Config, {"NAME": "x", "IMAGES_PER_GPU": 3})
    assert issubclass(derived, Config) and derived().BATCH_SIZE == 3
    assert Config.NAME != "x"


@pytest.mark.parametrize(
    ("text", "setting"),
    [
        ("TRAIN_BN=None", ("TRAIN_BN", None)),
        ("IMAGE_RESIZE_MODE=pad64", ("IMAGE_RESIZE_MODE", "pad64")),
        ("MASK_SHAPE=(56, 56)", ("MASK_SHAPE", (56, 56))),
        ("RUN_NAME=a=b", ("RUN_NAME", "a=b")),
    ],
)
def test_a_setting_as_text(text, setting):
    assert parse_setting(text) == setting
