"""The value of a scheduled number at each update of an epoch, in plain numpy."""

from __future__ import annotations

import numpy as np

from mnist_lab.config import Schedule


def values(
    schedule: Schedule, value: float, *, epoch: int, epochs: int, updates: int
) -> np.ndarray:
    """The scheduled number at each update of one epoch.

    Args:
        schedule: how it changes.
        value: the number's own field, for example the learning rate.
        epoch: counted from 0.
        epochs: of the whole training.
        updates: in each epoch.

    Returns:
        (updates,) float32.
    """
    time = epoch + np.arange(updates) / updates  # epochs that have passed before each update
    one_cycle = schedule.type == "one_cycle"
    warmup = _given(schedule.warmup, 0.3 * epochs if one_cycle else 0.0)
    initial = _given(schedule.initial, value / 25 if one_cycle else 0.0)
    final = _given(schedule.final, value / 250_000 if one_cycle else 0.0)
    begin = warmup + _given(schedule.flat, 0.0)
    until = _given(schedule.until, float(epochs))
    progress = np.clip((time - begin) / max(until - begin, 1e-12), 0.0, 1.0)  # of the descent
    if schedule.type == "exponential":
        main = value * _given(schedule.factor, 1.0) ** np.floor(time)
    elif schedule.type == "step":
        main = value * _given(schedule.factor, 1.0) ** np.floor(time / (schedule.every or 1))
    elif schedule.type in ("linear", "flat_linear"):
        main = value + (final - value) * progress
    elif schedule.type in ("cosine", "one_cycle"):
        main = final + (value - final) * (1 + np.cos(np.pi * progress)) / 2
    else:
        main = np.full(updates, value)
    rise = initial + (value - initial) * time / max(warmup, 1e-12)
    return np.where(time < warmup, rise, main).astype(np.float32)


def _given(setting: float | None, default: float) -> float:
    return default if setting is None else setting
