"""Learning rate schedules: every factor equals the formula, and yamls and classes agree."""

import dataclasses
import math
from pathlib import Path

import pytest
from hydra.utils import get_class, instantiate
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf
from pydantic import ValidationError

from dimat_flwr.learning import LrSchedule
from dimat_flwr.learning.lr_schedules.constant import Constant
from dimat_flwr.learning.lr_schedules.cosine import Cosine
from dimat_flwr.learning.lr_schedules.step import StepDecay

ROOT = Path(__file__).parents[2]
YAMLS = sorted((ROOT / "conf" / "lr_schedule").glob("*.yaml"))


@pytest.mark.parametrize("path", YAMLS, ids=lambda p: p.stem)
def test_yaml_shows_every_field(path):
    config = OmegaConf.load(path)
    part = instantiate(config)
    assert isinstance(part, LrSchedule)
    assert set(config) == {f.name for f in dataclasses.fields(type(part))} | {"_target_"}
    if path.stem != "warmup":
        assert part == type(part)()


def test_every_class_has_a_yaml():
    assert {path.stem for path in YAMLS} == {"constant", "step", "cosine", "warmup"}
    assert {get_class(OmegaConf.load(p)._target_) for p in YAMLS} == {Constant, StepDecay, Cosine}


def factors(schedule, rounds):
    return [schedule.factor(round, rounds) for round in range(rounds + 1)]


def test_constant_step_and_cosine():
    assert factors(Constant(), 4) == [1] * 5
    assert factors(StepDecay(every=2, gamma=0.1), 5) == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
    expected = [0.2 + 0.8 * (1 + math.cos(math.pi * r / 4)) / 2 for r in range(5)]
    assert factors(Cosine(minimum=0.2), 4) == pytest.approx(expected)
    assert (expected[0], expected[-1]) == (1, 0.2)


def test_warm_up_comes_before_every_schedule():
    assert factors(Constant(warmup_rounds=3), 5) == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1])
    assert factors(StepDecay(warmup_rounds=1, every=2, gamma=0.5), 5) == pytest.approx([0.5, 1, 1, 0.5, 0.5, 0.25])
    assert factors(Cosine(warmup_rounds=2, minimum=0.1), 4) == pytest.approx([1 / 3, 2 / 3, 1, 0.55, 0.1])


@given(
    schedule=st.sampled_from([Constant(), StepDecay(every=1, gamma=0.5), Cosine()]),
    warmup=st.integers(0, 20),
    rounds=st.integers(0, 15),
    round=st.integers(0, 20),
)
def test_a_factor_is_always_above_0_and_at_most_1(schedule, warmup, rounds, round):
    assert 0 < dataclasses.replace(schedule, warmup_rounds=warmup).factor(round, rounds) <= 1


@pytest.mark.parametrize(
    ("cls", "fields"),
    [
        (Constant, {"warmup_rounds": -1}),
        (StepDecay, {"every": 0}),
        (StepDecay, {"gamma": 0.0}),
        (Cosine, {"minimum": 1.5}),
        (Cosine, {"period": 3}),
    ],
)
def test_wrong_settings_are_refused(cls, fields):
    with pytest.raises(ValidationError, match=next(iter(fields))):
        cls(**fields)
