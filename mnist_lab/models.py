"""From a configuration to Keras models: the network that trains, the model that is served."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mnist_lab.backend import keras
from mnist_lab.config import RunConfig
from mnist_lab.data import CLASSES, SIDE
from mnist_lab.layers import Dropout

NORMALIZATIONS: dict[str, Callable[[], keras.layers.Layer]] = {
    "batch": keras.layers.BatchNormalization,
    "layer": keras.layers.LayerNormalization,
}

OPTIMIZERS: dict[str, type[keras.optimizers.Optimizer]] = {
    "rmsprop": keras.optimizers.RMSprop,
    "sgd": keras.optimizers.SGD,
    "adam": keras.optimizers.Adam,
}


def build_network(config: RunConfig, seed: int = 0) -> keras.Model:
    """The network that trains: flat pixels in, logits out, weights drawn from `seed`.

    Input: (n, 784) float32 in [0, 1]. Output: (n, 10) float32 logits.
    """
    seeds = iter(
        np.random.SeedSequence(seed, spawn_key=(0,)).generate_state(2 * len(config.hidden) + 1) >> 1
    )

    def dense(units: int) -> keras.layers.Layer:
        initializer = keras.initializers.GlorotUniform(seed=int(next(seeds)))
        return keras.layers.Dense(units, kernel_initializer=initializer)

    stack: list[keras.layers.Layer] = [keras.Input((SIDE * SIDE,))]
    for width in config.hidden:
        stack.append(dense(width))
        if config.normalization != "none":
            stack.append(NORMALIZATIONS[config.normalization]())
        stack.append(keras.layers.Activation(config.activation))
        key = int(next(seeds))
        if config.dropout > 0.0:
            stack.append(Dropout(config.dropout, seed=key))
    stack.append(dense(CLASSES))
    return keras.Sequential(stack)


def count_parameters(network: keras.Model) -> int:
    """How many parameters a network has, trained or not, as `count_params` of the served model."""
    return sum(layer.count_params() for layer in network.layers if not isinstance(layer, Dropout))


def serving_model(network: keras.Model, dropout: float = 0.0) -> keras.Model:
    """The model that is logged and served: raw images in, probabilities out.

    It holds `network`'s own layers, so it shares their weights, and the scaling of the pixels,
    so serving cannot skew from training. Only stock Keras layers are in it: it loads where
    this package is not installed.

    Input: (n, 28, 28) uint8. Output: (n, 10) float32, each row a distribution over digits.
    """
    images = keras.Input((SIDE, SIDE), dtype="uint8", name="images")
    x = keras.layers.Rescaling(1.0 / 255.0)(images)
    x = keras.layers.Flatten()(x)
    for layer in network.layers:
        x = keras.layers.Dropout(dropout)(x) if isinstance(layer, Dropout) else layer(x)
    return keras.Model(images, keras.layers.Softmax(name="probabilities")(x))


def build_model(config: RunConfig, seed: int = 0) -> keras.Model:
    """The untrained model of a configuration, as it would be served.

    Input: (n, 28, 28) uint8. Output: (n, 10) float32 probabilities. The baseline has
    407,050 parameters.
    """
    return serving_model(build_network(config, seed), config.dropout)


def build_optimizer(config: RunConfig, network: keras.Model) -> keras.optimizers.Optimizer:
    """The Keras optimizer of a configuration, built on the network's trainable variables."""
    optimizer = OPTIMIZERS[config.optimizer](learning_rate=config.learning_rate)
    variables = network.trainable_variables
    if config.weight_decay > 0.0:
        # A variable, where Keras has a plain number, so that the compiled epoch reads it anew.
        optimizer.weight_decay = keras.Variable(
            config.weight_decay, dtype="float32", trainable=False, name="weight_decay"
        )
        optimizer.exclude_from_weight_decay([v for v in variables if v.name != "kernel"])
    optimizer.build(variables)
    return optimizer
