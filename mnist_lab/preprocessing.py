"""The first layers of a network: pixels scaled, and projected on their principal components.

They are stock Keras layers that do not train, part of the network, so that the saved model holds
them. Their statistics are those of the training images alone.
"""

from __future__ import annotations

import numpy as np

from mnist_lab.backend import keras
from mnist_lab.config import RunConfig
from mnist_lab.data import SIDE, Split

_SCALING, _PCA = "scaling", "pca"
PREPROCESSING = (_SCALING, _PCA)
_PIXELS = SIDE * SIDE


def preprocessing(config: RunConfig, images: keras.KerasTensor) -> keras.KerasTensor:
    """The scaled, flat pixels or components of images (n, 28, 28): (n, 784 or `pca`)."""
    if config.scaling == "range" and not has_own_range(config):
        x = keras.layers.Rescaling(1.0 / 255.0, name=_SCALING)(images)
        x = keras.layers.Flatten(data_format="channels_last")(x)
    else:
        # With mean 0 and variance 1 this layer is an affine map of each pixel, and keeps the
        # numbers of the map among its weights, where Keras' Rescaling and Normalization have
        # constants.
        x = keras.layers.Flatten(data_format="channels_last")(images)
        x = keras.layers.BatchNormalization(
            epsilon=0.0,
            gamma_initializer=keras.initializers.Constant(_step(config)),
            beta_initializer=keras.initializers.Constant(config.pixel_low),
            trainable=False,
            name=_SCALING,
        )(x)
    if config.pca:
        x = keras.layers.Dense(config.pca, name=_PCA, trainable=False)(x)
    return x


def has_own_range(config: RunConfig) -> bool:
    """Whether pixels go to another range than the baseline's, which is [0, 1]."""
    return (config.pixel_low, config.pixel_high) != (0.0, 1.0)


def _step(config: RunConfig) -> float:
    """What a pixel that is brighter by 1 of 255 becomes brighter by."""
    return (config.pixel_high - config.pixel_low) / 255.0


def set_statistics(network: keras.Model, config: RunConfig, training: Split) -> None:
    """Set what the preprocessing layers of `network` need to know of the training images."""
    if config.scaling == "range" and not config.pca:
        return
    pixels = training.images.reshape(len(training), _PIXELS).astype(np.float32)
    scale, offset = _affine(config, pixels)
    if config.scaling != "range":
        layer = network.get_layer(_SCALING)
        layer.gamma.assign(scale)
        layer.beta.assign(offset)
    if config.pca:
        components, center = _principal_components(pixels * scale + offset, config.pca)
        network.get_layer(_PCA).set_weights([components, -center @ components])


def _affine(config: RunConfig, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scale and offset of each pixel, (784,) float32, from pixels (n, 784) in [0, 255]."""
    if config.scaling == "range":
        scale = np.full(_PIXELS, _step(config), np.float32)
        return scale, np.full(_PIXELS, config.pixel_low, np.float32)
    axis = 0 if config.scaling == "standardize_pixels" else None
    mean = pixels.mean(axis=axis, dtype=np.float64)
    deviation = pixels.std(axis=axis, dtype=np.float64)
    # A pixel that never changes says nothing: it becomes 0, in unseen images too.
    scale = np.where(deviation > 0.0, 1.0 / np.where(deviation > 0.0, deviation, 1.0), 0.0)
    scale = np.broadcast_to(scale, _PIXELS).astype(np.float32)
    return scale, (-np.broadcast_to(mean, _PIXELS) * scale).astype(np.float32)


def _principal_components(inputs: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The first components, (784, count), and the mean, (784,), of inputs (n, 784) float32.

    The components are the covariance's eigenvectors of the largest eigenvalues, in their order.
    """
    center = inputs.mean(axis=0, dtype=np.float64).astype(np.float32)
    centered = inputs - center
    covariance = (centered.T @ centered).astype(np.float64) / len(inputs)
    _, vectors = np.linalg.eigh(covariance)
    components = vectors[:, ::-1][:, :count]
    # An eigenvector's sign is arbitrary: its largest entry is made positive, for repeatability.
    largest = np.take_along_axis(components, np.abs(components).argmax(axis=0)[None], axis=0)
    return (components * np.sign(largest)).astype(np.float32), center
