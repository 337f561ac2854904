from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mnist_lab as lab
from mnist_lab.config import ConfigError, Schedule
from mnist_lab.schedules import values


def curve(value: float = 1.0, epochs: int = 4, updates: int = 2, **settings: Any) -> list[float]:
    """The value at each update of a whole training."""
    schedule = Schedule(**settings)
    assert not list(schedule.problems())
    parts = [
        values(schedule, value, epoch=epoch, epochs=epochs, updates=updates)
        for epoch in range(epochs)
    ]
    return [float(value) for value in np.concatenate(parts)]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"type": "constant"}, [1, 1, 1, 1, 1, 1, 1, 1]),
        ({"type": "exponential", "factor": 0.5}, [1, 1, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125]),
        ({"type": "step", "factor": 0.1, "every": 2}, [1, 1, 1, 1, 0.1, 0.1, 0.1, 0.1]),
        (
            {"type": "linear", "final": 0.0},
            [1, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125],
        ),
        ({"type": "linear", "final": 3.0, "until": 2.0}, [1, 1.5, 2, 2.5, 3, 3, 3, 3]),
        (
            {"type": "flat_linear", "flat": 2.0, "final": 0.0},
            [1, 1, 1, 1, 1, 0.75, 0.5, 0.25],
        ),
        ({"type": "constant", "warmup": 2.0}, [0, 0.25, 0.5, 0.75, 1, 1, 1, 1]),
        (
            {"type": "constant", "warmup": 1.0, "initial": 0.2},
            [0.2, 0.6, 1, 1, 1, 1, 1, 1],
        ),
        (
            {"type": "linear", "final": 0.0, "warmup": 2.0},
            [0, 0.25, 0.5, 0.75, 1, 0.75, 0.5, 0.25],
        ),
    ],
)
def test_values_by_hand(settings: dict[str, Any], expected: list[float]) -> None:
    assert curve(**settings) == pytest.approx(expected, abs=1e-6)


def test_cosine_is_half_a_cosine() -> None:
    falling = curve(value=2.0, type="cosine", final=1.0)
    assert falling[0] == 2.0
    assert falling[4] == pytest.approx(1.5)
    assert falling == sorted(falling, reverse=True)


def test_one_cycle_rises_for_a_third_and_falls_to_nearly_nothing() -> None:
    cycle = curve(value=1.0, epochs=10, updates=100, type="one_cycle")
    assert cycle[0] == pytest.approx(1 / 25)
    assert max(cycle) == pytest.approx(cycle[300]) == pytest.approx(1.0)
    assert cycle[-1] < 1e-4


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"type": "exponential"}, "learning_rate_schedule.factor: missing"),
        ({"type": "cosine", "factor": 0.5}, "learning_rate_schedule.factor: is not used by type"),
        ({"type": "constant", "initial": 0.1}, "a 'warmup' above 0 must be given as well"),
        ({"type": "linaer", "final": 0.0}, "did you mean 'linear'?"),
        ({"type": "linear", "fianl": 0.0}, "did you mean 'final'?"),
        ({"type": "step", "factor": 0.0, "every": 1}, "greater than 0"),
        ({"type": "linear", "final": 0.0, "until": 1.0, "warmup": 3.0}, "until: 1 is over before"),
        ({"type": "flat_linear", "final": 0.0, "until": 1.0, "flat": 1.0}, "begins, at epoch 1"),
        ({"type": "one_cycle", "until": 1.5}, "over before the descent begins, at epoch 1.5"),
    ],
)
def test_wrong_settings_are_refused_by_name(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        lab.RunConfig(learning_rate_schedule=settings)
    assert said in str(error.value)


def test_a_momentum_schedule_needs_momentum() -> None:
    with pytest.raises(ConfigError, match="momentum_schedule: needs optimizer 'sgd'"):
        lab.RunConfig(momentum_schedule={"type": "linear", "final": 0.9})


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"type": "linear", "final": 1.0}, "momentum_schedule.final: is a momentum, which is less"),
        ({"type": "constant", "warmup": 1.0, "initial": 2.0}, "momentum_schedule.initial: is a mo"),
        ({"type": "exponential", "factor": 1.5}, "factor: 1.5 makes the momentum 1 or more within"),
    ],
)
def test_a_momentum_stays_below_1(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        lab.RunConfig(optimizer="sgd", momentum=0.9, momentum_schedule=settings)
    assert said in str(error.value)


def test_a_momentum_may_rise_by_a_factor() -> None:
    for schedule in ({"type": "exponential", "factor": 1.02}, {"type": "step", "factor": 1.1}):
        if schedule["type"] == "step":
            schedule["every"] = 2
        lab.RunConfig(optimizer="sgd", momentum=0.5, momentum_schedule=schedule)
    rising = {"type": "exponential", "factor": 1.02}  # to 0.9937 in the last of 6 epochs
    lab.RunConfig(optimizer="sgd", momentum=0.9, epochs=6, momentum_schedule=rising)
