"""What must be the same for a run to continue exactly."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mrcnn.checkpoints.identity import RunIdentity, StageRun, settings_as_json
from mrcnn.checkpoints.state_file import State
from mrcnn.config import Config
from mrcnn.data.augment import HorizontalFlip, Sequential
from mrcnn.data.dataset import Dataset
from tests.tiny import tiny_config

STAGE = StageRun("heads", 0.01, 0.9, first_epoch=1, last_epoch=3, number=1, schedule_start=1)


def dataset(*ids: Any, source: str = "noise") -> Dataset:
    made = Dataset()
    made.add_class(source, 1, "thing")
    for image_id in ids:
        made.add_image(source, image_id, None)
    made.prepare()
    return made


def identity(stage: StageRun = STAGE, **settings: Any) -> RunIdentity:
    return RunIdentity.of(tiny_config(**settings), dataset(1, 2), dataset(3), stage)


def header(**changes: Any) -> dict[str, Any]:
    """The header of a state of `identity()`, as it comes out of its file."""
    return json.loads(json.dumps(identity().as_header())) | changes


def test_a_run_is_the_same_as_its_own_header():
    assert list(identity().differences(header())) == []
    identity().expect_same(State("a.state", header(), {}))


def test_the_header_holds_the_stage():
    assert header()["stage"] == {
        "layers": "heads",
        "learning_rate": 0.01,
        "momentum": 0.9,
        "first_epoch": 1,
        "last_epoch": 3,
        "number": 1,
        "schedule_start": 1,
        "skipped": 0,
        "losses": "all",
    }


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        (identity(SEED=7), "SEED expected 0, received 7"),
        (identity(IMAGES_PER_GPU=1), "BATCH_SIZE expected 2, received 1"),
        (identity(replace(STAGE, layers="all")), "layers expected 'heads', received 'all'"),
        (identity(replace(STAGE, momentum=0.5)), "momentum expected 0.9, received 0.5"),
    ],
    ids=["setting", "derived setting", "layers", "momentum"],
)
def test_a_difference_is_named_with_both_values(changed: RunIdentity, text: str):
    assert list(changed.differences(header())) == [text]
    with pytest.raises(ValueError, match=f"a.state: training cannot continue exactly.*{text}"):
        changed.expect_same(State("a.state", header(), {}))


def test_what_changes_no_weight_may_differ():
    other = identity(
        replace(STAGE, last_epoch=9, number=4),
        NAME="other",
        LOADER_WORKERS=7,
        CHECKPOINTS_KEPT=5,
        DETECTION_MIN_CONFIDENCE=0.9,
        LEARNING_RATE=5.0,
    )
    assert list(other.differences(header())) == []


def test_other_data_are_named():
    config = tiny_config()
    other = RunIdentity.of(config, dataset(1, 2, 5), None, STAGE)
    training, validation = other.differences(header())
    assert training.startswith("training data expected 2 images (digest ")
    assert "received 3 images" in training
    assert validation.startswith("validation data expected 1 images")
    assert validation.endswith("received none")


def test_a_setting_that_is_younger_than_the_state_had_its_default():
    """States of older versions continue, as long as nobody changes what they did not know."""
    old = header()
    del old["settings"]["RPN_POSITIVE_IOU"], old["settings"]["SEED"]
    assert list(identity().differences(old)) == []
    (text,) = identity(RPN_POSITIVE_IOU=0.6).differences(old)
    assert text == f"RPN_POSITIVE_IOU expected {Config.RPN_POSITIVE_IOU}, received 0.6"


def test_states_that_name_no_losses_trained_with_all():
    old = header()
    del old["stage"]["losses"]
    assert list(identity().differences(old)) == []
    with_rpn = replace(identity(), stage=replace(identity().stage, losses="rpn"))
    assert list(with_rpn.differences(old)) == ["losses expected 'all', received 'rpn'"]


def test_a_depth_that_older_versions_found_anew_in_each_run_is_no_difference():
    old = header()
    assert list(identity(GREY_BIT_DEPTH={"x": 12}).differences(old)) == []
    del old["settings"]["GREY_BIT_DEPTH"]
    assert list(identity(GREY_BIT_DEPTH={"x": 12}).differences(old)) == []
    old["settings"]["GREY_BIT_DEPTH"] = {"x": 12}
    (text,) = identity(GREY_BIT_DEPTH=16).differences(old)
    assert text == "GREY_BIT_DEPTH expected {'x': 12}, received 16"


def test_settings_are_plain_json():
    class Own(type(tiny_config())):
        OPTIMIZER = staticmethod(dataset)
        MEAN_PIXEL = np.array([1.0, 2.0, 3.0])
        MY_OWN = object()

    settings = settings_as_json(Own())
    assert json.loads(json.dumps(settings)) == settings
    assert settings["OPTIMIZER"] == {"function": "dataset"}
    assert settings["MEAN_PIXEL"] == [1.0, 2.0, 3.0]
    assert settings["BATCH_SIZE"] == 2 and "MY_OWN" not in settings


# --- Everything that the next batch depends on --------------------------------------------------


@pytest.mark.parametrize(
    ("augmentation", "text"),
    [
        (None, '"class": "HorizontalFlip", "probability": 0.5} *, received none'),
        (HorizontalFlip(0.25), 'received {"class": "HorizontalFlip", "probability": 0.25}'),
        (Sequential([HorizontalFlip(0.5)]), 'received {"class": "Sequential", "transforms"'),
    ],
)
def test_another_augmentation_is_named(augmentation: Any, text: str):
    data = (tiny_config(), dataset(1, 2), dataset(3), STAGE)
    old = json.loads(json.dumps(RunIdentity.of(*data, HorizontalFlip(0.5)).as_header()))
    assert list(RunIdentity.of(*data, HorizontalFlip(0.5)).differences(old)) == []
    (difference,) = RunIdentity.of(*data, augmentation).differences(old)
    assert difference.startswith("augmentation expected ")
    assert text.replace(" *", "") in difference
    del old["augmentation"]  # of an older version
    assert list(RunIdentity.of(*data, augmentation).differences(old)) == []


def test_other_sources_without_augmentation_are_named():
    data = (tiny_config(), dataset(1, 2), dataset(3), STAGE, None)
    (difference,) = RunIdentity.of(*data, ["noise"]).differences(header())
    assert difference == "no_augmentation_sources expected [], received ['noise']"


def test_other_annotations_of_the_same_images_are_named():
    changed = dataset(1, 2)
    changed.image_info[1]["annotations"] = [{"bbox": [1, 2, 3, 4]}]
    (text,) = RunIdentity.of(tiny_config(), changed, dataset(3), STAGE).differences(header())
    assert text.startswith("annotations of the training data expected ")
    validation = dataset(3)
    validation.class_info[1]["name"] = "other"
    (text,) = RunIdentity.of(tiny_config(), dataset(1, 2), validation, STAGE).differences(header())
    assert text == (
        "classes of the validation data expected ['BG', 'thing'], received ['BG', 'other']"
    )


def test_the_length_of_a_stage_counts_where_the_rate_falls_over_it():
    longer = replace(STAGE, last_epoch=9)
    assert list(identity(longer).differences(header())) == []
    falling = {"LEARNING_RATE_SCHEDULE": "cosine"}
    old = json.loads(json.dumps(identity(**falling).as_header()))
    (text,) = identity(longer, **falling).differences(old)
    assert text == "the last epoch of the schedule expected 3, received 9"


def test_other_versions_are_a_warning_and_another_backend_is_not(capsys: pytest.CaptureFixture):
    old = header()
    old["versions"] |= {"mrcnn": "2.9", "numpy": "1.0"}
    identity().expect_same(State("a.state", old, {}))
    warning = capsys.readouterr().err
    assert "a.state: the run was stopped with other versions" in warning
    assert "mrcnn 2.9, now" in warning and "numpy 1.0, now" in warning
    old["versions"]["backend"] = "abacus"
    with pytest.raises(ValueError, match="backend expected abacus, received"):
        identity().expect_same(State("a.state", old, {}))


def test_a_run_can_go_on_changed_if_it_is_said(capsys: pytest.CaptureFixture):
    state = State("a.state", header(), {})
    with pytest.raises(ValueError, match="--allow-changed"):
        identity(SEED=7).expect_same(state)
    identity(SEED=7).expect_same(state, allow_changed=True)
    warning = capsys.readouterr().err
    assert "a.state: the run continues, changed: SEED expected 0, received 7." in warning
    # The place in the run is counted in epochs.
    with pytest.raises(ValueError, match="STEPS_PER_EPOCH expected 2, received 3") as raised:
        identity(STEPS_PER_EPOCH=3).expect_same(state, allow_changed=True)
    assert "--allow-changed" not in str(raised.value)
