"""The random layers against what can be computed by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from mnist_lab.backend import keras, tf
from mnist_lab.layers import AlphaDropout, DropConnect, Dropout, GaussianNoise, Noise

ONES = np.ones((1_000, 100), dtype=np.float32)


def compiled(layer: keras.layers.Layer) -> Callable[[np.ndarray], np.ndarray]:
    """The layer in training, compiled as the epoch is."""
    layer.build((None, 100))
    function = tf.function(lambda x: layer(x, training=True), jit_compile=True, autograph=False)
    return lambda inputs: np.asarray(function(tf.constant(inputs)))


def test_dropout_drops_its_share_and_scales_the_rest() -> None:
    drop = compiled(Dropout(0.25, seed=7))
    first, second = drop(ONES), drop(ONES)
    assert set(np.unique(first)) == {np.float32(0.0), np.float32(1 / 0.75)}
    # 100,000 draws: the standard deviation of the share is 0.0014.
    assert abs((first == 0.0).mean() - 0.25) < 0.007
    assert ((first == 0.0) & (second == 0.0)).mean() == pytest.approx(0.0625, abs=0.005)


def test_alpha_dropout_keeps_mean_and_variance() -> None:
    inputs = np.random.default_rng(0).normal(size=(1_000, 100)).astype(np.float32)
    outputs = compiled(AlphaDropout(0.2, seed=1))(inputs)
    assert abs(outputs.mean()) < 0.02
    assert outputs.std() == pytest.approx(1.0, abs=0.02)
    # By hand (Klambauer et al., 2017): a dropped unit becomes a (alpha' - rate alpha'), with
    # alpha' = -1.0507 * 1.6733 and a = (0.8 (1 + 0.2 alpha'^2))^(-1/2).
    floor = -1.0507009873554805 * 1.6732632423543772
    scale = (0.8 * (1 + 0.2 * floor**2)) ** -0.5
    assert np.isclose(outputs, scale * (floor - 0.2 * floor), atol=1e-5).mean() == pytest.approx(
        0.2, abs=0.01
    )


def test_gaussian_noise_has_its_standard_deviation() -> None:
    noise = compiled(GaussianNoise(0.3, seed=2))(ONES) - ONES
    assert noise.std() == pytest.approx(0.3, abs=0.003)
    assert abs(noise.mean()) < 0.005


def test_drop_connect_multiplies_with_the_kept_weights() -> None:
    layer = DropConnect(50, 0.25, seed=3)
    outputs = compiled(layer)(np.eye(100, dtype=np.float32))  # the kernel as it was used
    kernel = np.asarray(layer.kernel)
    kept = outputs != 0.0
    assert kept.mean() == pytest.approx(0.75, abs=0.03)
    np.testing.assert_allclose(outputs[kept], (kernel / 0.75)[kept], rtol=1e-5)
    inputs = ONES[:2]
    mean_network = np.asarray(layer(inputs, training=False))
    np.testing.assert_allclose(mean_network, inputs @ kernel, rtol=1e-5, atol=1e-6)
    assert (np.asarray(layer.stock()(inputs)) == mean_network).all()


@pytest.mark.parametrize("kind", [Dropout, AlphaDropout, GaussianNoise])
def test_noise_repeats_from_its_state_and_is_for_training_alone(kind: type[Noise]) -> None:
    layer = kind(0.5, seed=3)
    first = compiled(layer)(ONES)
    assert (compiled(kind(0.5, seed=3))(ONES) == first).all()
    assert (compiled(kind(0.5, seed=4))(ONES) != first).any()
    assert (np.asarray(layer(ONES, training=False)) == ONES).all()
    assert type(layer.stock()).__module__.startswith("keras.")
