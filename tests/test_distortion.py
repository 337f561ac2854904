"""Distortions against displacements computed by hand and by scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, map_coordinates

import mnist_lab as lab
from mnist_lab.backend import tf
from mnist_lab.distortion import _affine, _sampled, _smooth, distorted, field_factor
from mnist_lab.randomness import normal, stream

KEY = stream(tf.constant(1), tf.constant(2))
ROWS, COLUMNS = np.divmod(np.arange(784), 28)


def flat(data: lab.Dataset, count: int) -> np.ndarray:
    return data.train_images[:count].reshape(count, 784)


def test_sampling_is_bilinear_with_background_outside(small: lab.Dataset) -> None:
    images = flat(small, 20)
    draw = np.random.default_rng(0)
    x = (COLUMNS + draw.uniform(-9, 9, (20, 784))).astype(np.float32)
    y = (ROWS + draw.uniform(-9, 9, (20, 784))).astype(np.float32)
    ours = np.asarray(_sampled(tf.constant(images), tf.constant(x), tf.constant(y)))
    for image, one, xs, ys in zip(images, ours, x, y, strict=True):
        padded = np.pad(image.reshape(28, 28).astype(float), 20)
        theirs = map_coordinates(padded, [ys + 20, xs + 20], order=1)
        np.testing.assert_allclose(one, theirs, atol=0.01)


def test_nothing_displaced_gives_the_image_back(small: lab.Dataset) -> None:
    images = flat(small, 5)
    strengths = {"shift": tf.constant(0.0)}
    same = np.asarray(distorted(tf.constant(images), KEY, strengths, 4.0))
    np.testing.assert_allclose(same, images, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "strength", "draws", "expected"),
    [
        # A place 5 right of the center, 2 below it, and where its value comes from.
        ("shift", 2.0, [0, 0, 0, 1, -0.5], (13.5 + 5 + 2, 13.5 + 2 - 1)),
        ("rotation", 90.0, [1, 0, 0, 0, 0], (13.5 - 2, 13.5 + 5)),
        ("zoom", 0.25, [0, 0, 1, 0, 0], (13.5 + 5 / 1.25, 13.5 + 2 / 1.25)),
        ("shear", 45.0, [0, 1, 0, 0, 0], (13.5 + 5 + 2, 13.5 + 2)),
    ],
)
def test_affine_maps_by_hand(
    name: str, strength: float, draws: list[float], expected: tuple[float, float]
) -> None:
    x, y = tf.constant([[18.5]]), tf.constant([[15.5]])
    places = _affine(x, y, tf.constant([draws], tf.float32), {name: tf.constant(strength)})
    assert [float(place[0, 0]) for place in places] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("sigma", [2.0, 4.0, 6.0])
def test_elastic_fields_have_the_covariance_of_filtered_noise(sigma: float) -> None:
    factor = field_factor(sigma)
    # F = A Z A^T has the covariance (A A^T) x (A A^T); filtering has (G G^T) x (G G^T) / 3.
    impulses = np.eye(784).reshape(784, 28, 28)
    filtered = np.stack([gaussian_filter(i, sigma, mode="constant", truncate=9) for i in impulses])
    responses = filtered.reshape(784, 784)
    expected = responses.T @ responses / 3.0
    ours = np.kron(factor @ factor.T, factor @ factor.T)
    assert np.abs(ours - expected).max() < 0.01 * expected.max()
    if sigma == 4.0:
        assert factor.shape[1] <= 9  # a tenth of the draws


def test_elastic_fields_are_drawn_from_the_factor() -> None:
    factor = field_factor(4.0)
    rank = factor.shape[1]
    draws = normal((2 * 3 * rank, rank), KEY)
    fields = np.asarray(_smooth(draws, tf.constant(factor), 3)).reshape(6, 28, 28)
    for field, z in zip(fields, np.asarray(draws).reshape(6, rank, rank), strict=True):
        np.testing.assert_allclose(field, (factor @ z.T @ factor.T), atol=1e-5)


def test_each_image_and_epoch_has_its_own_distortion(mnist: lab.Dataset) -> None:
    image = flat(mnist, 1)
    images = tf.constant(np.repeat(image, 50, axis=0))
    strengths = {"elastic_alpha": tf.constant(34.0), "shift": tf.constant(2.0)}
    one = np.asarray(distorted(images, KEY, strengths, 4.0))
    assert len({tuple(row) for row in one.round(3)}) == 50
    other = np.asarray(distorted(images, stream(tf.constant(1), tf.constant(3)), strengths, 4.0))
    assert (one != other).any()
    assert one.min() >= 0.0
    assert one.max() <= 255.0 + 1e-3
