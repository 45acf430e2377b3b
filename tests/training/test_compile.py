"""The optimizer of a stage: chosen by the settings, fresh at each stage."""

from __future__ import annotations

from functools import partial

import keras
import numpy as np
import pytest

from mrcnn.training import compile, optimizers
from mrcnn.training import model as training_model
from tests.tiny import tiny_config


@pytest.fixture(scope="module")
def model() -> training_model.TrainingModel:
    return training_model.build(tiny_config())


def compiled(model: training_model.TrainingModel, optimizer, rate: float = 0.01):
    config = tiny_config(OPTIMIZER=optimizer, GRADIENT_CLIP_NORM=3.0)
    compile.compile_model(model, config, rate, 0.8)
    return model.optimizer


def test_the_default_is_sgd_with_momentum_clipped_by_the_global_norm(model):
    optimizer = compiled(model, tiny_config().OPTIMIZER)
    assert isinstance(optimizer, keras.optimizers.SGD)
    assert optimizer.momentum == 0.8 and optimizer.global_clipnorm == 3.0
    assert float(optimizer.learning_rate) == pytest.approx(0.01)


def test_adam_is_clipped_too(model):
    optimizer = compiled(model, "adam")
    assert type(optimizer) is keras.optimizers.Adam and optimizer.global_clipnorm == 3.0


def test_a_rate_that_is_too_high_for_adam_is_said(model, capsys: pytest.CaptureFixture):
    compiled(model, "adam", rate=1e-3)
    compiled(model, "sgd", rate=0.02)
    assert capsys.readouterr().err == ""
    compiled(model, "adam", rate=0.02)
    assert "A learning rate of 0.02 suits OPTIMIZER = 'sgd'" in capsys.readouterr().err


def test_a_function_makes_the_optimizer_from_the_learning_rate(model):
    optimizer = compiled(model, partial(keras.optimizers.RMSprop, rho=0.5), rate=0.125)
    assert type(optimizer) is keras.optimizers.RMSprop and optimizer.rho == 0.5
    assert float(optimizer.learning_rate) == 0.125


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_the_next_stage_starts_with_an_empty_optimizer_and_its_own_rate(model, name):
    optimizer = compiled(model, name)
    ones = [keras.ops.ones(variable.shape) for variable in model.trainable_variables]
    optimizer.apply(ones, model.trainable_variables)
    assert any(np.any(keras.ops.convert_to_numpy(v)) for v in optimizer.variables[2:])

    again = compiled(model, name, rate=0.02)
    assert float(again.learning_rate) == pytest.approx(0.02)
    others = [v for v in again.variables if v is not again._learning_rate]
    assert len(others) > len(model.trainable_variables)
    assert not any(np.any(keras.ops.convert_to_numpy(v)) for v in others)


def test_the_rate_rises_and_falls_over_a_stage(model):
    config = tiny_config(LEARNING_RATE_SCHEDULE="cosine", WARMUP_STEPS=4)
    compile.compile_model(model, config, 0.1, 0.8, steps=12)
    rates = []
    for step in range(13):
        model.optimizer.iterations.assign(step)
        rates.append(float(model.optimizer.learning_rate))
    np.testing.assert_allclose(rates[:5], [0, 0.025, 0.05, 0.075, 0.1], atol=1e-7)
    falling = [0.05 * (1 + np.cos(np.pi * k / 8)) for k in range(9)]
    np.testing.assert_allclose(rates[4:], falling, atol=1e-6)


def test_a_rate_that_has_risen_stays(model):
    compile.compile_model(model, tiny_config(WARMUP_STEPS=2), 0.1, 0.8, steps=6)
    model.optimizer.iterations.assign(5)
    assert float(model.optimizer.learning_rate) == pytest.approx(0.1)


def test_a_stage_shorter_than_its_warm_up_is_named(model):
    with pytest.raises(ValueError, match="WARMUP_STEPS.*more than 4 steps; received 3"):
        compile.compile_model(model, tiny_config(WARMUP_STEPS=4), 0.1, 0.8, steps=3)


def test_accumulated_gradients_make_one_update(model):
    config = tiny_config(GRADIENT_ACCUMULATION_STEPS=2, GRADIENT_CLIP_NORM=0.0, WEIGHT_DECAY=0.0)
    compile.compile_model(model, config, 0.5, 0.0)
    optimizers.add_weight_decay(model.optimizer, 0.0)
    variables = model.trainable_variables
    before = [np.array(v) for v in variables]
    try:
        for value in (1.0, 3.0):
            middle = [np.array(v) for v in variables]
            model.optimizer.apply([np.full(v.shape, value, np.float32) for v in variables])
        for old, between, new in zip(before, middle, variables, strict=True):
            np.testing.assert_array_equal(old, between)
            np.testing.assert_allclose(new, old - 0.5 * 2.0, rtol=1e-5, atol=1e-6)
    finally:
        for variable, value in zip(variables, before, strict=True):
            variable.assign(value)


def test_exactly_the_named_layers_learn(model):
    try:
        names = compile.set_trainable(model, "(rpn_class_raw)|(mrcnn_mask)")
        assert names == ["rpn_class_raw", "mrcnn_mask"]
        learning = {variable.path.split("/")[-2] for variable in model.trainable_variables}
        assert learning == {"rpn_class_raw", "mrcnn_mask"}
        with pytest.raises(ValueError, match="'nothing' matches no layer"):
            compile.set_trainable(model, "nothing")
        assert len(model.trainable_variables) == 4  # an error changes nothing
    finally:
        compile.set_trainable(model, "all")


def test_the_step_is_traced_again_only_for_other_weights_or_another_optimizer(model):
    compile.compile_model(model, tiny_config(), 0.01, 0.9)
    first = model.optimizer
    compile.compile_model(model, tiny_config(), 0.02, 0.9)
    assert model.optimizer is first
    compile.compile_model(model, tiny_config(), 0.02, 0.5)
    second = model.optimizer
    assert second is not first
    try:
        compile.set_trainable(model, "heads")
        compile.compile_model(model, tiny_config(), 0.02, 0.5)
        assert model.optimizer is not second
    finally:
        compile.set_trainable(model, "all")
