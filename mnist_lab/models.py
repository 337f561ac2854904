"""From a configuration to Keras models: the network that trains, the model that is served."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mnist_lab.backend import keras
from mnist_lab.config import ConfigError, RunConfig, checked_seed
from mnist_lab.data import CLASSES, SIDE, Dataset
from mnist_lab.layers import AlphaDropout, DropConnect, Dropout, GaussianNoise, Noise
from mnist_lab.optimizers import OUTPUT_LAYER
from mnist_lab.preprocessing import PREPROCESSING, preprocessing, set_statistics

NORMALIZATIONS: dict[str, Callable[[], keras.layers.Layer]] = {
    "batch": keras.layers.BatchNormalization,
    "layer": keras.layers.LayerNormalization,
    "rms": keras.layers.RMSNormalization,
}

_FIXED_INITIALIZERS: dict[str, Callable[[float, int], keras.initializers.Initializer]] = {
    "normal": lambda scale, seed: keras.initializers.RandomNormal(stddev=scale, seed=seed),
    "uniform": lambda scale, seed: keras.initializers.RandomUniform(-scale, scale, seed=seed),
}


def build_network(config: RunConfig, seed: int = 0) -> keras.Model:
    """The network that trains: pixels in, logits or scores out, weights drawn from `seed`.

    Input: (n, 28, 28) float32 in [0, 255]. Output: (n, 10) float32, before the output's
    non-linearity. The statistics of the images that preprocessing needs are not set.

    Raises:
        ConfigError: Keras is set to compute in other numbers than float32.
    """
    policy = keras.config.dtype_policy().name
    if policy != "float32":
        raise ConfigError(
            f"Keras is set to '{policy}', by keras.config or in ~/.keras/keras.json; expected "
            "'float32'"
        )
    images = keras.Input((SIDE, SIDE))
    build = _Builder(config, seed)
    x = preprocessing(config, images)
    if config.input_dropout:
        x = Dropout(config.input_dropout, build.noise_seed())(x)
    if config.input_noise:
        x = GaussianNoise(config.input_noise, build.noise_seed())(x)
    x = _ARCHITECTURES[config.architecture](config, build, x)
    return keras.Model(images, build.dense(CLASSES, name=OUTPUT_LAYER)(x))


class _Builder:
    """Makes the dense layers of one network, each from a seed of its own.

    Weights and noise have separate streams: a network with dropout begins with the weights of
    the same network without.
    """

    def __init__(self, config: RunConfig, seed: int) -> None:
        self._config = config
        self._weights, self._noise = (
            np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0, part)))
            for part in (0, 1)
        )

    def weight_seed(self) -> int:
        """The next seed of a kernel."""
        return int(self._weights.integers(2**31))

    def noise_seed(self) -> int:
        """The next seed of a layer's noise."""
        return int(self._noise.integers(2**31))

    def dense(self, units: int, name: str | None = None) -> keras.layers.Layer:
        """A stock dense layer."""
        kernel = initializer(self._config, self.weight_seed())
        return keras.layers.Dense(units, kernel_initializer=kernel, name=name)

    def hidden(self, units: int) -> keras.layers.Layer:
        """The dense part of a hidden layer."""
        config = self._config
        kernel = initializer(config, self.weight_seed())
        if config.drop_connect:
            seed = self.noise_seed()
            return DropConnect(units, config.drop_connect, seed, kernel_initializer=kernel)
        return keras.layers.Dense(units, kernel_initializer=kernel)


def initializer(config: RunConfig, seed: int) -> keras.initializers.Initializer:
    """The initializer of a kernel."""
    if config.initializer in _FIXED_INITIALIZERS:
        return _FIXED_INITIALIZERS[config.initializer](config.initializer_scale or 0.0, seed)
    kind = keras.initializers.get(config.initializer).__class__
    return kind() if config.initializer == "zeros" else kind(seed=seed)


def activation(config: RunConfig, x: keras.KerasTensor) -> keras.KerasTensor:
    """The hidden layers' non-linearity; for maxout x is (n, pieces * units)."""
    if config.activation == "scaled_tanh":
        x = keras.layers.Activation("tanh")(keras.layers.Rescaling(2.0 / 3.0)(x))
        return keras.layers.Rescaling(1.7159)(x)
    if config.activation == "maxout":
        pieces = config.maxout_pieces
        x = keras.layers.Reshape((pieces, x.shape[-1] // pieces))(x)
        return keras.layers.GlobalMaxPooling1D(data_format="channels_last")(x)
    return keras.layers.Activation(config.activation)(x)


def _mean_of_patches(x: keras.KerasTensor) -> keras.KerasTensor:
    # As the network is built, whatever order of axes a user's Keras is set to.
    return keras.layers.GlobalAveragePooling1D(data_format="channels_last")(x)


def _mlp(config: RunConfig, build: _Builder, x: keras.KerasTensor) -> keras.KerasTensor:
    rates = config.layer_dropout or (config.dropout,) * len(config.hidden)
    pieces = config.maxout_pieces if config.activation == "maxout" else 1
    for width, rate in zip(config.hidden, rates, strict=True):
        inputs = x
        x = build.hidden(width * pieces)(x)
        if config.normalization != "none":
            x = NORMALIZATIONS[config.normalization]()(x)
        x = activation(config, x)
        if config.residual and inputs.shape == x.shape:
            x = keras.layers.Add()([inputs, x])
        if config.hidden_noise:
            x = GaussianNoise(config.hidden_noise, build.noise_seed())(x)
        if rate:
            x = Dropout(rate, build.noise_seed())(x)
        if config.alpha_dropout:
            x = AlphaDropout(config.alpha_dropout, build.noise_seed())(x)
    return x


def _patches(config: RunConfig, build: _Builder, x: keras.KerasTensor) -> keras.KerasTensor:
    """The image as a sequence of patches, embedded: (n, 784) to (n, patches, width)."""
    side = config.patch_size
    across = SIDE // side
    x = keras.layers.Reshape((across, side, across, side))(x)
    x = keras.layers.Permute((1, 3, 2, 4))(x)
    x = keras.layers.Reshape((across * across, side * side))(x)
    return build.dense(config.hidden[0])(x)


def _mixer(config: RunConfig, build: _Builder, x: keras.KerasTensor) -> keras.KerasTensor:
    """MLP-Mixer (Tolstikhin et al., 2021): an MLP over patches, then one over channels."""
    x = _patches(config, build, x)
    patches = x.shape[1]
    for width in config.hidden:
        y = keras.layers.Permute((2, 1))(keras.layers.LayerNormalization()(x))
        y = activation(config, build.dense(config.token_width)(y))
        y = keras.layers.Permute((2, 1))(build.dense(patches)(y))
        x = keras.layers.Add()([x, y])
        y = build.dense(config.block_width)(keras.layers.LayerNormalization()(x))
        x = keras.layers.Add()([x, build.dense(width)(activation(config, y))])
    return _mean_of_patches(keras.layers.LayerNormalization()(x))


def _gmlp(config: RunConfig, build: _Builder, x: keras.KerasTensor) -> keras.KerasTensor:
    """The network of Liu et al. (2021), gMLP: channels are gated by a linear map over patches.

    The map begins near 0 with biases of 1, so that each block begins as a plain MLP.
    """
    x = _patches(config, build, x)
    patches = x.shape[1]
    for width in config.hidden:
        y = keras.layers.LayerNormalization()(x)
        # Two dense layers of half the width are the paper's one, split.
        kept = activation(config, build.dense(config.block_width)(y))
        gate = activation(config, build.dense(config.block_width)(y))
        gate = keras.layers.Permute((2, 1))(keras.layers.LayerNormalization()(gate))
        gate = keras.layers.Dense(
            patches,
            kernel_initializer=keras.initializers.RandomNormal(
                stddev=1e-3, seed=build.weight_seed()
            ),
            bias_initializer="ones",
        )(gate)
        y = keras.layers.Multiply()([kept, keras.layers.Permute((2, 1))(gate)])
        x = keras.layers.Add()([x, build.dense(width)(y)])
    return _mean_of_patches(keras.layers.LayerNormalization()(x))


_ARCHITECTURES: dict[str, Callable[[RunConfig, _Builder, keras.KerasTensor], keras.KerasTensor]] = {
    "mlp": _mlp,
    "mixer": _mixer,
    "gmlp": _gmlp,
}


def count_parameters(network: keras.Model) -> int:
    """How many parameters a network has; the running statistics of "batch" count as in Keras.

    What is measured on the images before training, or is the state of a random generator, is
    no parameter.
    """
    return sum(
        int(np.prod(variable.shape))
        for layer in network.layers
        if layer.name not in PREPROCESSING and not isinstance(layer, Noise)
        for variable in layer.weights
        if variable.name not in ("strength", "seed_and_step")
    )


def serving_model(network: keras.Model, config: RunConfig) -> keras.Model:
    """The model that is logged and served: raw images in, the outputs of `config.output` out.

    It holds `network`'s own stock layers, so it shares their weights, and the preprocessing of
    the pixels, so serving cannot skew from training. Only stock Keras layers are in it: it loads
    where this package is not installed.

    Input: (n, 28, 28) uint8. Output: (n, 10) float32: for "softmax" each row a distribution over
    the digits, for "sigmoid" ten probabilities, for "linear" ten scores.
    """
    images = keras.Input((SIDE, SIDE), dtype="uint8", name="images")

    def stock(layer: keras.layers.Layer) -> keras.layers.Layer:
        return layer.stock() if isinstance(layer, Noise | DropConnect) else layer

    clone = keras.models.clone_model(network, input_tensors=images, clone_function=stock)
    name = "scores" if config.output == "linear" else "probabilities"
    outputs = keras.layers.Activation(config.output, name=name)(clone.outputs[0])
    return keras.Model(images, outputs)


def build_model(config: RunConfig, seed: int = 0, data: Dataset | None = None) -> keras.Model:
    """The untrained model of a configuration, as it would be served.

    The baseline's has 407,050 parameters.

    Args:
        config: of the network.
        seed: of its initial weights, 0 to 2**32 - 1.
        data: whose training images, but for the last `validation_size`, `pca` and the
            standardizing scalings go by; other configurations need none.

    Returns:
        A Keras model from (n, 28, 28) uint8 images to (n, 10) float32: probabilities, or scores
        where the configuration's `output` is "linear".

    Raises:
        ConfigError: the seed is not accepted, or `data` is needed.
    """
    network = build_network(config, checked_seed(seed))
    if data is not None:
        set_statistics(network, config, data.split(config.validation_size)[0])
    elif config.pca or config.scaling != "range":
        what = "pca" if config.pca else f"scaling '{config.scaling}'"
        raise ConfigError(f"data: missing; {what} goes by the training images")
    return serving_model(network, config)
