"""Custom Keras layers; each cites its source."""

from __future__ import annotations

from typing import Any

from mnist_lab.backend import keras, tf


class Dropout(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
    """Dropout (Srivastava et al., 2014) that XLA compiles to fast code on a CPU.

    Keras' own layer draws its bits with a generator that XLA runs some 25 times slower than
    it runs uncompiled. This one draws them by Threefry (Salmon et al., 2011) from a key and a
    counter. Key, counter and rate are variables, so that another seed or rate needs no new
    compilation and the state of the generator is part of the model's state.

    It runs compiled by XLA only: uncompiled, TensorFlow has no Threefry on a CPU.

    Input and output: (n, units) float32. Outputs are scaled by 1 / (1 - rate) in training;
    outside training the input is returned as it is.

    Args:
        rate: probability in [0, 1) of setting a unit to 0.
        seed: the key of the generator, any int32.
    """

    def __init__(self, rate: float, seed: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._initial_rate = rate
        self._initial_seed = seed

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the state: the rate () float32, the key and counter (2,) int32."""
        self.rate = self.add_weight(
            shape=(),
            initializer=keras.initializers.Constant(self._initial_rate),
            trainable=False,
            name="rate",
        )
        self.key_and_counter = self.add_weight(
            shape=(2,),
            dtype="int32",
            initializer=lambda shape, dtype: tf.constant([self._initial_seed, 0], dtype),
            trainable=False,
            name="key_and_counter",
        )

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Drop units of `inputs` (n, units) in training."""
        if not training:
            return inputs
        state = self.key_and_counter.value
        draws = tf.random.stateless_uniform(tf.shape(inputs), state, alg="threefry")
        state.assign_add([0, 1])
        rate = self.rate.value
        return tf.where(draws >= rate, inputs / (1.0 - rate), 0.0)
