from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import mnist_lab as lab
from mnist_lab.backend import keras
from mnist_lab.config import ConfigError
from mnist_lab.models import build_network, count_parameters
from mnist_lab.optimizers import build_optimizer
from mnist_lab.variants import VARIANTS


def test_the_baseline_has_407050_parameters() -> None:
    assert lab.build_model(lab.RunConfig()).count_params() == 407_050
    assert count_parameters(build_network(lab.RunConfig())) == 407_050


@pytest.mark.parametrize(
    ("fields", "parameters"),
    [
        ({"hidden": ()}, 7_850),
        ({"hidden": (300, 100)}, 784 * 300 + 300 + 300 * 100 + 100 + 100 * 10 + 10),
        ({"hidden": (20,), "dropout": 0.5}, 784 * 20 + 20 + 20 * 10 + 10),
        ({"hidden": (20,), "normalization": "batch"}, 784 * 20 + 20 + 4 * 20 + 20 * 10 + 10),
        ({"hidden": (20,), "normalization": "layer"}, 784 * 20 + 20 + 2 * 20 + 20 * 10 + 10),
    ],
)
def test_parameters_by_hand(fields: dict[str, object], parameters: int) -> None:
    config = lab.RunConfig(**fields)
    assert lab.build_model(config).count_params() == parameters
    assert count_parameters(build_network(config)) == parameters


def test_the_served_model_takes_raw_images(small: lab.Dataset) -> None:
    model = lab.build_model(lab.RunConfig(hidden=(20,), dropout=0.5, normalization="batch"))
    probabilities = np.asarray(model(small.test_images[:7]))
    assert probabilities.shape == (7, 10)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, rtol=1e-6)
    # Only stock layers: it loads where this package is not installed.
    assert {type(layer).__module__.split(".")[0] for layer in model.layers} == {"keras"}


def test_the_seed_decides_the_weights() -> None:
    one, same, other = (build_network(lab.RunConfig(), seed).get_weights() for seed in (1, 1, 2))
    assert all((a == b).all() for a, b in zip(one, same, strict=True))
    assert (one[0] != other[0]).any()
    # Glorot and Bengio (2010): uniform within the square root of 6 / (fan in + fan out).
    limit = (6 / (784 + 512)) ** 0.5
    assert 0.99 * limit < np.abs(one[0]).max() <= limit


def test_weight_decay_spares_biases_and_norms() -> None:
    config = lab.RunConfig(
        hidden=(5,), optimizer="sgd", learning_rate=0.5, weight_decay=0.1, normalization="layer"
    )
    network = build_network(config)
    optimizer = build_optimizer(config, network)
    before = [np.asarray(v) + 0.0 for v in network.trainable_variables]
    zeros = [keras.ops.zeros(v.shape) for v in network.trainable_variables]
    optimizer.apply(zeros, network.trainable_variables)
    for variable, old in zip(network.trainable_variables, before, strict=True):
        factor = 1 - 0.5 * 0.1 if variable.name == "kernel" else 1.0
        np.testing.assert_allclose(np.asarray(variable), factor * old, rtol=1e-6)


def forward(network: keras.Model, images: np.ndarray) -> np.ndarray:
    return np.asarray(network(images.astype(np.float32)))


def kernels_and_biases(network: keras.Model) -> list[np.ndarray]:
    return [np.asarray(variable) for variable in network.trainable_variables]


@pytest.mark.parametrize(
    ("activation", "by_hand"),
    [
        ("relu", lambda z: np.maximum(z, 0.0)),
        ("scaled_tanh", lambda z: 1.7159 * np.tanh(2.0 / 3.0 * z)),
        ("silu", lambda z: z / (1.0 + np.exp(-z))),
        ("softplus", lambda z: np.log1p(np.exp(z))),
        ("maxout", lambda z: z.reshape(len(z), 3, 6).max(axis=1)),
    ],
)
def test_a_hidden_layer_by_hand(
    small: lab.Dataset, activation: str, by_hand: Callable[[np.ndarray], np.ndarray]
) -> None:
    pieces = {"maxout_pieces": 3} if activation == "maxout" else {}
    config = lab.RunConfig(hidden=(6,), activation=activation, **pieces)
    network = build_network(config, seed=1)
    kernel, bias, output, output_bias = kernels_and_biases(network)
    images = small.test_images[:9]
    x = images.reshape(9, 784) / 255.0
    expected = by_hand(x @ kernel + bias) @ output + output_bias
    np.testing.assert_allclose(forward(network, images), expected, rtol=1e-3, atol=1e-4)


def test_residual_and_rms_normalization_by_hand(small: lab.Dataset) -> None:
    config = lab.RunConfig(hidden=(6, 6), residual=True, normalization="rms")
    network = build_network(config, seed=1)
    first, bias, scale, second, bias_2, scale_2, output, _ = kernels_and_biases(network)
    images = small.test_images[:9]

    def layer(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray, scale: np.ndarray) -> np.ndarray:
        z = x @ kernel + bias
        size = np.sqrt((z**2).mean(axis=1, keepdims=True) + 1e-6)
        return np.asarray(np.maximum(z / size * scale, 0.0))

    x = layer(images.reshape(9, 784) / 255.0, first, bias, scale)
    x = x + layer(x, second, bias_2, scale_2)
    np.testing.assert_allclose(forward(network, images), x @ output, rtol=1e-3, atol=1e-4)


def norm(x: np.ndarray) -> np.ndarray:
    """Layer normalization as it begins: scale 1, shift 0."""
    center, variance = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    return np.asarray((x - center) / np.sqrt(variance + 1e-3))


def patches(images: np.ndarray, side: int) -> np.ndarray:
    """(n, patches, side * side), by slicing."""
    across = 28 // side
    cut = [
        images[:, side * i : side * (i + 1), side * j : side * (j + 1)].reshape(len(images), -1)
        for i in range(across)
        for j in range(across)
    ]
    return np.asarray(np.stack(cut, axis=1) / 255.0)


def test_mixer_by_hand(small: lab.Dataset) -> None:
    config = lab.RunConfig(architecture="mixer", hidden=(5,), token_width=3, block_width=4)
    network = build_network(config, seed=1)
    dense = [v for v in kernels_and_biases(network) if v.ndim == 2]  # biases begin at 0
    embedding, token_1, token_2, channel_1, channel_2, output = dense
    images = small.test_images[:9]
    x = patches(images, 7) @ embedding
    y = np.maximum(norm(x).transpose(0, 2, 1) @ token_1, 0.0) @ token_2
    x = x + y.transpose(0, 2, 1)
    x = x + np.maximum(norm(x) @ channel_1, 0.0) @ channel_2
    expected = norm(x).mean(axis=1) @ output
    np.testing.assert_allclose(forward(network, images), expected, rtol=1e-3, atol=1e-4)


def test_gmlp_by_hand(small: lab.Dataset) -> None:
    config = lab.RunConfig(architecture="gmlp", hidden=(5,), block_width=4, patch_size=14)
    network = build_network(config, seed=1)
    dense = {v.path.split("/")[0]: np.asarray(v) for v in network.weights if v.name == "kernel"}
    # Keras lists layers by their distance from the output: the gate's path is the longer.
    embedding, gate, kept, spatial, back, output = dense.values()
    images = small.test_images[:9]
    x = patches(images, 14) @ embedding
    gates = norm(np.maximum(norm(x) @ gate, 0.0)).transpose(0, 2, 1) @ spatial + 1.0
    y = np.maximum(norm(x) @ kept, 0.0) * gates.transpose(0, 2, 1)
    expected = norm(x + y @ back).mean(axis=1) @ output
    np.testing.assert_allclose(forward(network, images), expected, rtol=1e-3, atol=1e-4)
    assert np.abs(spatial).max() < 0.01  # each block begins as a plain MLP


@pytest.mark.parametrize("name", ["baseline", "standardized_pixels", "maxout", "mixer", "gmlp"])
def test_the_order_of_axes_that_a_users_keras_has_changes_nothing(
    name: str, small: lab.Dataset
) -> None:
    config = lab.RunConfig(**VARIANTS[name].fields)
    counts, networks = [], []
    for order in ("channels_last", "channels_first"):
        keras.config.set_image_data_format(order)
        try:
            network = build_network(config)
            networks.append(network)
            counts.append(
                (network.count_params(), [layer.output.shape for layer in network.layers])
            )
        finally:
            keras.config.set_image_data_format("channels_last")
    assert counts[0] == counts[1]
    networks[1].set_weights(networks[0].get_weights())
    one, other = (forward(network, small.test_images[:5]) for network in networks)
    np.testing.assert_array_equal(one, other)


def test_other_numbers_than_float32_are_refused() -> None:
    keras.config.set_dtype_policy("mixed_float16")
    try:
        with pytest.raises(ConfigError, match="Keras is set to 'mixed_float16'"):
            build_network(lab.RunConfig())
    finally:
        keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize("fields", [{"pca": 20}, {"scaling": "standardize_pixels"}])
def test_an_untrained_model_scales_and_projects_as_a_trained_one(
    small: lab.Dataset, fields: dict[str, object]
) -> None:
    config = lab.RunConfig(hidden=(8,), validation_size=500, epochs=1, **fields)
    model = lab.build_model(config, 3, small)
    trained = lab.train(config, small, seed=3)
    for ours, theirs in zip(model.weights, trained.model().weights, strict=True):
        assert (ours.numpy() == theirs.numpy()).all()
    with pytest.raises(lab.UserError, match=r"data: missing; .* goes by the training images"):
        lab.build_model(config)


def test_an_untrained_model_wants_a_seed_as_a_training_does() -> None:
    with pytest.raises(lab.UserError, match="seed: -1 is not accepted"):
        lab.build_model(lab.RunConfig(), -1)
