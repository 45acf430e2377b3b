"""The plan of a training, and of one that continues."""

from __future__ import annotations

import pytest

from mrcnn.runs.plan import Plan, continued, describe_stages, of_length, stored_plan
from mrcnn.training.stages import Stage, epoch_ends

STAGES = [Stage("heads", 1e-3, 10), Stage("4+", 1e-3, 20), Stage("all", 1e-4, 10)]
OPTIONS = {
    "schedule": "paper-160k",
    "training_mode": "full",
    "steps": 40,
    "scale": None,
    "learning_rate": None,
}
PLAN = Plan(STAGES, 0, OPTIONS)
NOTHING = dict.fromkeys(OPTIONS)


def steps(plan: Plan) -> list[int]:
    return [stage.steps for stage in plan.stages]


def test_a_plan_is_written_down_and_read_again():
    assert stored_plan(PLAN.as_json(start=3)) == Plan(STAGES, 3, OPTIONS)
    alternating = Plan([Stage("rpn", 1e-3, 10, "rpn"), STAGES[0]], 0, OPTIONS)
    assert stored_plan(alternating.as_json(start=3)) == Plan(alternating.stages, 3, OPTIONS)
    older = {"stages": [["heads", 1e-3, 10], ["4+", 1e-3, 20], ["all", 1e-4, 10]], "start": 0}
    assert stored_plan({**older, **OPTIONS}) == PLAN
    assert describe_stages(alternating.stages).startswith(
        "10 steps, layers rpn (losses: rpn), rate 0.001; 10 steps, layers heads, rate"
    )
    assert stored_plan({}) is None  # of a script, or of an older version


@pytest.mark.parametrize(
    "stages",
    [7, [["heads", 1e-3]], [["heads", "fast", 3]], [["heads", 1e-3, 0]], None]
    + [[["heads", 1e-3, 3, "no loss"]], [["heads", 1e-3, 3, "all", 1]]],
)
def test_what_is_no_plan_is_said(stages):
    with pytest.raises(ValueError, match="expected the stages of a run"):
        stored_plan({"stages": stages, "start": 0})


def test_what_is_not_given_stays():
    assert continued(PLAN, NOTHING) == PLAN
    assert continued(PLAN, {**NOTHING, "schedule": "paper-160k", "training_mode": "full"}) == PLAN
    assert continued(PLAN, {**NOTHING, "steps": 48}) == PLAN  # a length is no other schedule


@pytest.mark.parametrize(
    "given", [{"schedule": "scratch"}, {"learning_rate": 0.01}, {"training_mode": "fine"}]
)
def test_another_schedule_is_asked_for_by_name(given):
    assert continued(PLAN, {**NOTHING, **given}) is None


def test_a_run_under_way_gets_a_longer_last_stage(capsys: pytest.CaptureFixture):
    longer = of_length(PLAN, 48, finished=False, done=15)
    assert steps(longer) == [10, 20, 18] and longer.options["steps"] == 48
    assert "continues to 48 steps in all, in place of 40" in capsys.readouterr().out


def test_a_run_that_is_done_gets_a_stage_more():
    longer = of_length(PLAN, 48, finished=True, done=40)
    assert steps(longer) == [10, 20, 10, 8]
    assert longer.stages[-1] == Stage("all", 1e-4, 8)
    assert of_length(longer, 48, finished=True, done=48) is longer


def test_a_shorter_run_keeps_what_was_trained():
    assert steps(of_length(PLAN, 25, finished=False, done=15)) == [10, 15]
    assert of_length(PLAN, 25, finished=True, done=40) is PLAN  # nothing is untrained
    with pytest.raises(ValueError, match="--steps 12: expected at least the 15 steps"):
        of_length(PLAN, 12, finished=False, done=15)


def test_epochs_end_where_stages_end():
    assert epoch_ends(STAGES, 8) == [8, 10, 18, 26, 30, 38, 40]
    assert epoch_ends(STAGES, 100) == [10, 30, 40]
