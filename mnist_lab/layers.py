"""Custom Keras layers that act in training alone; each cites its source.

What is the same in training and in use is made of stock Keras layers (models.py). A layer here
draws random numbers, and gives the stock layer that stands in its place in a saved model, so that
the model loads where this package is not installed.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np

from mnist_lab.backend import keras, tf
from mnist_lab.randomness import normal, stream, uniform

# Klambauer et al. (2017): what SELU tends to for inputs towards minus infinity.
_SELU_FLOOR = np.float32(-1.7580993408473766)


def random_state(layer: keras.layers.Layer, seed: int, strength: float) -> None:
    """Give a layer its variables: `strength` () float32 and `seed_and_step` (2,) int32.

    They are variables, so that another seed or strength needs no new compilation, and so that
    the state of the generator is part of the model's state.
    """
    layer.strength = layer.add_weight(
        shape=(),
        initializer=keras.initializers.Constant(strength),
        trainable=False,
        name="strength",
    )
    layer.seed_and_step = layer.add_weight(
        shape=(2,),
        dtype="int32",
        initializer=lambda shape, dtype: tf.constant([seed, 0], dtype),
        trainable=False,
        name="seed_and_step",
    )


def next_key(layer: keras.layers.Layer) -> tf.Tensor:
    """The key of the layer's next draw, (2,) uint32."""
    state = layer.seed_and_step.value
    key = stream(state[0], state[1])
    state.assign_add([0, 1])
    return key


class Noise(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
    """Base of the layers that change their input at random, in training alone.

    Input and output: (n, units) float32, n static.

    Args:
        strength: a rate in [0, 1), or a standard deviation.
        seed: of the layer's random numbers, any int32.
    """

    def __init__(self, strength: float, seed: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._initial = (seed, strength)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the layer's strength and the state of its generator."""
        random_state(self, *self._initial)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Change `inputs` (n, units) in training; return them as they are otherwise."""
        if not training:
            return inputs
        return self.changed(inputs, self.strength.value, next_key(self))

    @abstractmethod
    def changed(self, inputs: tf.Tensor, strength: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
        """The changed inputs, (n, units) float32."""

    @abstractmethod
    def stock(self) -> keras.layers.Layer:
        """The stock Keras layer that does the same."""


class Dropout(Noise):
    """Dropout (Srivastava et al., 2014): units are 0 with a rate, the rest scaled up.

    Keras' own layer draws its bits with a generator that XLA runs on a CPU some 25 times slower
    than it runs uncompiled.
    """

    def changed(self, inputs: tf.Tensor, strength: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
        """Drop units at the rate `strength`."""
        kept = uniform(inputs.shape, key) >= strength
        return tf.where(kept, inputs / (1.0 - strength), 0.0)

    def stock(self) -> keras.layers.Layer:
        """Keras' dropout."""
        return keras.layers.Dropout(float(self.strength.numpy()))


class AlphaDropout(Noise):
    """Alpha dropout (Klambauer et al., 2017, "Self-normalizing neural networks").

    Dropped units take SELU's lowest value, and an affine map brings mean and variance of inputs
    of mean 0 and variance 1 back to 0 and 1.
    """

    def changed(self, inputs: tf.Tensor, strength: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
        """Drop units at the rate `strength`."""
        kept = 1.0 - strength
        scale = tf.math.rsqrt(kept * (1.0 + strength * _SELU_FLOOR**2))
        chosen = tf.where(uniform(inputs.shape, key) >= strength, inputs, _SELU_FLOOR)
        return scale * (chosen - strength * _SELU_FLOOR)

    def stock(self) -> keras.layers.Layer:
        """Keras' alpha dropout."""
        return keras.layers.AlphaDropout(float(self.strength.numpy()))


class GaussianNoise(Noise):
    """Noise of a normal distribution added to the inputs (Sietsma and Dow, 1991)."""

    def changed(self, inputs: tf.Tensor, strength: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
        """Add noise of the standard deviation `strength`."""
        return inputs + strength * normal(inputs.shape, key)

    def stock(self) -> keras.layers.Layer:
        """Keras' Gaussian noise."""
        return keras.layers.GaussianNoise(float(self.strength.numpy()))


class DropConnect(keras.layers.Dense):  # type: ignore[misc]  # Keras has no types
    """A dense layer whose weights are dropped in training (Wan et al., 2013).

    One mask is drawn for each batch, not for each image: on a CPU a mask for each image costs
    more than the products. Kept weights are scaled up, and outside training the mean network
    computes, where the paper samples from a Gaussian.

    Args:
        units: width.
        rate: probability in [0, 1) of dropping a weight.
        seed: of the masks, any int32.
    """

    def __init__(self, units: int, rate: float, seed: int, **kwargs: Any) -> None:
        super().__init__(units, **kwargs)
        self._initial = (seed, rate)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create kernel and bias, the rate and the state of the generator."""
        super().build(input_shape)
        random_state(self, *self._initial)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """The products of `inputs` (n, k) with the kept weights: (n, units) float32."""
        if not training:
            return super().call(inputs)
        rate = self.strength.value
        kept = uniform(self.kernel.shape, next_key(self)) >= rate
        kernel = tf.where(kept, self.kernel.value / (1.0 - rate), 0.0)
        return tf.matmul(inputs, kernel) + self.bias.value

    def stock(self) -> keras.layers.Layer:
        """Keras' dense layer with copies of the weights."""
        dense = keras.layers.Dense(self.units)
        dense.build(self.kernel.shape[:1])
        dense.set_weights([self.kernel, self.bias])
        return dense
