"""Distortions against displacements computed by hand and by scipy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, map_coordinates

import mnist_lab as lab
from mnist_lab.backend import tf
from mnist_lab.distortion import (
    _sampled,
    affine_maps,
    distorted,
    elastic_basis,
    field_factor,
    neighbours,
)
from mnist_lab.randomness import normal, stream

KEY = stream(tf.constant(1), tf.constant(2))
ROWS, COLUMNS = np.divmod(np.arange(784), 28)
STILL = np.array([[1, 0, 13.5, 0, 1, 13.5]], dtype=np.float32)  # the map that moves nothing


def first(data: lab.Dataset, count: int) -> np.ndarray:
    return data.train_images[:count]


def compiled(function: Callable[[], tf.Tensor]) -> np.ndarray:
    """What a function gives, compiled as the epoch is."""
    return np.asarray(tf.function(function, jit_compile=True, autograph=False)())


def elastic(images: np.ndarray, key: tf.Tensor = KEY, alpha: float = 34.0) -> np.ndarray:
    maps = np.repeat(STILL, len(images), axis=0)
    basis = elastic_basis(lab.RunConfig(elastic_alpha=alpha, elastic_sigma=4.0))
    field = (tf.constant(alpha), tf.constant(basis))
    return compiled(lambda: distorted(tf.constant(neighbours(images)), maps, key, field))


def test_sampling_is_bilinear_with_background_outside(small: lab.Dataset) -> None:
    images = first(small, 20)
    draw = np.random.default_rng(0)
    x = (COLUMNS + draw.uniform(-9, 9, (20, 784))).astype(np.float32)
    y = (ROWS + draw.uniform(-9, 9, (20, 784))).astype(np.float32)
    ours = compiled(
        lambda: _sampled(tf.constant(neighbours(images)), tf.constant(x), tf.constant(y))
    )
    for image, one, xs, ys in zip(images, ours, x, y, strict=True):
        padded = np.pad(image.astype(float), 20)
        theirs = map_coordinates(padded, [ys + 20, xs + 20], order=1)
        np.testing.assert_allclose(one, theirs, atol=0.01)


def test_an_image_under_the_map_that_moves_nothing_is_itself(small: lab.Dataset) -> None:
    images = first(small, 5)
    maps = np.repeat(STILL, 5, axis=0)
    same = compiled(
        lambda: distorted(tf.constant(neighbours(images)), tf.constant(maps), KEY, None)
    )
    np.testing.assert_allclose(same, images.reshape(5, 784), atol=1e-3)


class Fixed:
    """A source of numbers that gives those it was made of."""

    def __init__(self, *numbers: float) -> None:
        self.numbers = np.array(numbers)[:, None]

    def uniform(self, low: float, high: float, size: tuple[int, int]) -> np.ndarray:
        assert (low, high, size) == (-1.0, 1.0, (5, 1))
        return self.numbers


@pytest.mark.parametrize(
    ("fields", "draws", "expected"),
    [
        # A place 5 right of the center, 2 below it, and where its value comes from.
        ({"shift": 2.0}, (0, 0, 0, 1, -0.5), (13.5 + 5 + 2, 13.5 + 2 - 1)),
        ({"rotation": 90.0}, (1, 0, 0, 0, 0), (13.5 - 2, 13.5 + 5)),
        ({"zoom": 0.25}, (0, 0, 1, 0, 0), (13.5 + 5 / 1.25, 13.5 + 2 / 1.25)),
        ({"shear": 45.0}, (0, 1, 0, 0, 0), (13.5 + 5 + 2, 13.5 + 2)),
        ({}, (1, 1, 1, 1, 1), (13.5 + 5, 13.5 + 2)),
    ],
)
def test_affine_maps_by_hand(
    fields: dict[str, float], draws: tuple[float, ...], expected: tuple[float, float]
) -> None:
    source: np.random.Generator = Fixed(*draws)  # type: ignore[assignment]
    a, b, c, d, e, f = affine_maps(lab.RunConfig(**fields), 1, source)[0]
    assert (a * 5 + b * 2 + c, d * 5 + e * 2 + f) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("sigma", [0.5, 2.0, 4.0, 6.0, 28.0])
def test_elastic_fields_have_the_covariance_of_filtered_noise(sigma: float) -> None:
    factor = field_factor(sigma)
    # F = A Z A^T has the covariance (A A^T) x (A A^T); filtering has (G G^T) x (G G^T) / 3.
    impulses = np.eye(784).reshape(784, 28, 28)
    filtered = np.stack([gaussian_filter(i, sigma, mode="constant", truncate=9) for i in impulses])
    responses = filtered.reshape(784, 784)
    expected = responses.T @ responses / 3.0
    ours = np.kron(factor @ factor.T, factor @ factor.T)
    assert np.abs(ours - expected).max() < 0.01 * expected.max()
    if sigma >= 4.0:
        assert factor.shape[1] == 7  # a twentieth of the draws, whatever sigma is


def test_elastic_distortion_moves_pixels_by_fields_of_the_factor(small: lab.Dataset) -> None:
    images = first(small, 3)
    factor = field_factor(4.0)
    rank = factor.shape[1]
    draws = np.asarray(normal((6, rank**2), KEY)).reshape(6, rank, rank)
    fields = np.stack([34.0 * factor @ z @ factor.T for z in draws]).reshape(6, 784)
    for image, one, dx, dy in zip(images, elastic(images), fields[:3], fields[3:], strict=True):
        padded = np.pad(image.astype(float), 40)
        theirs = map_coordinates(padded, [ROWS + dy + 40, COLUMNS + dx + 40], order=1)
        np.testing.assert_allclose(one, theirs, atol=0.05)


def test_each_image_and_batch_has_its_own_distortion(mnist: lab.Dataset) -> None:
    images = np.repeat(first(mnist, 1), 50, axis=0)
    one = elastic(images)
    assert len({tuple(row) for row in one.round(3)}) == 50
    assert (one != elastic(images, stream(tf.constant(1), tf.constant(3)))).any()
    assert one.min() >= 0.0
    assert one.max() <= 255.0 + 1e-3
    maps = affine_maps(lab.RunConfig(shift=2.0), 50, np.random.default_rng(0))
    assert len({tuple(row) for row in maps}) == 50
