"""Two trained models compared image by image: McNemar's exact test."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy

from mnist_lab.estimates import LEVEL, ComparisonError, check_level


@dataclass(frozen=True)
class McNemar:
    """Two models' answers to the same images.

    Attributes:
        both_right: images that both get right.
        only_a: images that only model a gets right.
        only_b: images that only model b gets right.
        both_wrong: images that neither gets right.
        difference: accuracy of b - accuracy of a.
        low: lower end of the interval of the difference.
        high: its upper end.
        p: of the exact test that both are right equally often.
    """

    both_right: int
    only_a: int
    only_b: int
    both_wrong: int
    difference: float
    low: float
    high: float
    p: float


def mcnemar(
    answers_a: npt.ArrayLike, answers_b: npt.ArrayLike, labels: npt.ArrayLike, level: float = LEVEL
) -> McNemar:
    """Compare two trained models image by image (McNemar, 1947; the exact, binomial form).

    It is about these two models on such images; whether a *method* is better takes several seeds
    and `compare`.

    Args:
        answers_a: (m,) integer, model a's classes.
        answers_b: (m,) integer, model b's classes.
        labels: (m,) integer, the true classes.
        level: of the interval of the difference (Agresti and Min, 2005: Wald's with half an image
            added to each cell, which holds its level also where models hardly differ).

    Raises:
        ComparisonError: arrays that are empty, of different or other shapes, or no integers.
    """
    check_level(level)
    a, b, truth = (np.asarray(array) for array in (answers_a, answers_b, labels))
    for name, array in {"answers_a": a, "answers_b": b, "labels": truth}.items():
        if array.shape != (truth.size,) or not array.size or array.dtype.kind not in "iu":
            raise ComparisonError(
                f"{name} has shape {array.shape} and type {array.dtype}; all three must be "
                "integer arrays of one shape (m,), m >= 1"
            )
    right_a, right_b = a == truth, b == truth
    only_a, only_b = int((right_a & ~right_b).sum()), int((~right_a & right_b).sum())
    both = int((right_a & right_b).sum())
    low, high = _agresti_min(only_a, only_b, truth.size, level)
    return McNemar(
        both_right=both,
        only_a=only_a,
        only_b=only_b,
        both_wrong=truth.size - both - only_a - only_b,
        difference=(only_b - only_a) / truth.size,
        low=low,
        high=high,
        p=float(scipy.stats.binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0,
    )


def _agresti_min(only_a: int, only_b: int, m: int, level: float) -> tuple[float, float]:
    m, discordant, center = m + 2, only_a + only_b + 1, (only_b - only_a) / (m + 2)
    half = scipy.stats.norm.ppf(1 - level / 2) * np.sqrt((discordant / m - center**2) / m)
    return max(float(center - half), -1.0), min(float(center + half), 1.0)
