from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from mnist_lab import randomness
from mnist_lab.backend import tf
from mnist_lab.randomness import normal, stream, uniform


def key(seed: int, step: int = 0) -> tf.Tensor:
    return stream(tf.constant(seed), tf.constant(step))


def draw(seed: int, step: int = 0, count: int = 200_000) -> np.ndarray:
    return np.asarray(uniform((count,), key(seed, step)))


def test_uniform_numbers_are_uniform() -> None:
    numbers = draw(3)
    assert numbers.dtype == np.float32
    assert numbers.min() >= 0.0
    assert numbers.max() < 1.0
    counts = np.bincount((numbers * 256).astype(int), minlength=256)
    expected = len(numbers) / 256
    # Chi-squared with 255 degrees of freedom: 99.99% of samples lie within 255 +- 90.
    assert abs(((counts - expected) ** 2 / expected).sum() - 255) < 90


def test_normal_numbers_are_normal() -> None:
    numbers = np.asarray(normal((200_000,), key(1)))
    assert abs(numbers.mean()) < 0.01
    assert numbers.std() == pytest.approx(1.0, abs=0.01)
    assert (numbers < -1.0).mean() == pytest.approx(0.15866, abs=0.004)
    assert (numbers > 2.0).mean() == pytest.approx(0.02275, abs=0.002)
    assert np.isfinite(numbers).all()


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("number", [0.0, 2.0**-24, 0.5, 1 - 3 * 2.0**-24, 1 - 2.0**-24])
def test_normal_numbers_of_the_ends_are_right(
    number: float, compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the least and of the largest uniform number, each one in 16 million."""
    monkeypatch.setattr(randomness, "uniform", lambda shape, key: tf.fill(shape, number))
    drawn = tf.function(lambda k: normal((3,), k), jit_compile=compiled)(key(1))
    assert np.asarray(drawn) == pytest.approx([norm.ppf(number + 2.0**-25)] * 3, abs=1e-3)


@pytest.mark.parametrize("lag", [1, 2, 28, 512, 784])
def test_neighbours_are_independent(lag: int) -> None:
    numbers = draw(7) - 0.5
    correlation = (numbers[lag:] * numbers[:-lag]).mean() * 12
    assert abs(correlation) < 4.5 / len(numbers) ** 0.5


def test_streams_of_seeds_and_steps_are_independent() -> None:
    base = draw(5, 9) - 0.5
    for other in (draw(5, 10), draw(6, 9), draw(9, 5), draw(5, 8), draw(-5, 9)):
        correlation = (base * (other - 0.5)).mean() * 12
        assert abs(correlation) < 4.5 / len(base) ** 0.5


def test_no_stream_is_a_shifted_copy_of_another() -> None:
    seen = {float(number): place for place, number in enumerate(draw(1, 1, 4_000))}
    shifts = [place - seen[n] for place, n in enumerate(draw(1, 2, 4_000).tolist()) if n in seen]
    assert len(shifts) == len(set(shifts))


def test_compiled_and_uncompiled_give_the_same_numbers() -> None:
    compiled = tf.function(lambda k: uniform((7, 5), k), jit_compile=True)
    assert (np.asarray(compiled(key(4))) == np.asarray(uniform((7, 5), key(4)))).all()
