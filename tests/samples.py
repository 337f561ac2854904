"""Runs and accuracies to be judged."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd


def table(metric: str = "test_accuracy", **values: npt.ArrayLike) -> pd.DataFrame:
    """Finished runs of the given variants, seeds from 0."""
    rows = [
        {"variant": variant, "seed": seed, "status": "FINISHED", metric: value}
        for variant, sample in values.items()
        for seed, value in enumerate(np.asarray(sample))
    ]
    return pd.DataFrame(rows)


def row(compared: pd.DataFrame, variant: str) -> pd.Series:
    return compared[compared["variant"] == variant].iloc[0]


def noise(seed: int, *shape: int) -> np.ndarray:
    """Accuracies as of the baseline's runs: 0.979 with a standard deviation of 15 images."""
    return np.random.default_rng(seed).normal(0.979, 0.0015, shape)
