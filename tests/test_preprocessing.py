from __future__ import annotations

import numpy as np
import pytest

import mnist_lab as lab
from mnist_lab.backend import keras
from mnist_lab.models import build_network
from mnist_lab.preprocessing import set_statistics


def prepared(config: lab.RunConfig, training: lab.Split | None, images: np.ndarray) -> np.ndarray:
    """What the first trained layer is given for `images`."""
    network = build_network(config)
    if training is not None:
        set_statistics(network, config, training)
    first = next(layer for layer in network.layers if layer.trainable and layer.weights)
    model = keras.Model(network.input, first.input)
    return np.asarray(model(images.astype(np.float32)))


def test_pixels_go_to_their_range(small: lab.Dataset) -> None:
    """Whatever the training images are, and whether or not they are known."""
    config = lab.RunConfig(hidden=(4,), pixel_low=-0.1, pixel_high=1.175)
    images = small.test_images
    expected = -0.1 + 1.275 * images.reshape(-1, 784) / 255
    for training in (small.split(0)[0], None):
        np.testing.assert_allclose(prepared(config, training, images), expected, atol=1e-6)


def test_the_baselines_pixels_are_divided_by_255_bit_for_bit(small: lab.Dataset) -> None:
    images = small.test_images
    expected = images.reshape(-1, 784).astype(np.float32) * np.float32(1.0 / 255.0)
    assert (prepared(lab.RunConfig(hidden=(4,)), None, images) == expected).all()


def test_standardized_pixels_have_mean_0_and_variance_1(small: lab.Dataset) -> None:
    training = small.split(500)[0]
    both = [
        prepared(lab.RunConfig(hidden=(4,), scaling=scaling), training, training.images)
        for scaling in ("standardize", "standardize_pixels")
    ]
    assert both[0].mean() == pytest.approx(0.0, abs=1e-4)
    assert both[0].std() == pytest.approx(1.0, abs=1e-4)
    changing = training.images.reshape(-1, 784).std(axis=0) > 0
    np.testing.assert_allclose(both[1].mean(axis=0), 0.0, atol=1e-3)
    np.testing.assert_allclose(both[1][:, changing].std(axis=0), 1.0, atol=1e-3)


def test_a_pixel_that_never_changes_in_training_is_0_in_unseen_images(small: lab.Dataset) -> None:
    training = small.split(500)[0]
    constant = training.images.reshape(-1, 784).std(axis=0) == 0
    assert constant.any()
    config = lab.RunConfig(hidden=(4,), scaling="standardize_pixels")
    bright = np.full((1, 28, 28), 255, dtype=np.uint8)
    assert (prepared(config, training, bright)[0, constant] == 0.0).all()


def test_pca_keeps_the_largest_variances_of_the_training_images(small: lab.Dataset) -> None:
    training, validation = small.split(500)
    config = lab.RunConfig(hidden=(4,), pca=20)
    components = prepared(config, training, training.images)
    assert components.shape == (1_500, 20)
    pixels = training.images.reshape(-1, 784) / 255.0
    _, singular, right = np.linalg.svd(pixels - pixels.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(components.std(axis=0), singular[:20] / 1_500**0.5, rtol=1e-3)
    np.testing.assert_allclose(components.mean(axis=0), 0.0, atol=1e-4)
    # Unseen images are projected with the training images' mean and components.
    unseen = validation.images.reshape(-1, 784) / 255.0 - pixels.mean(axis=0)
    projected = prepared(config, training, validation.images)
    np.testing.assert_allclose(np.abs(projected[:, 0]), np.abs(unseen @ right[0]), atol=1e-3)


def test_preprocessing_is_no_parameter(small: lab.Dataset) -> None:
    config = lab.RunConfig(hidden=(4,), scaling="standardize", pca=20)
    assert lab.train(config, small).parameters == 20 * 4 + 4 + 4 * 10 + 10
