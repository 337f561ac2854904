from __future__ import annotations

import numpy as np
import pytest

import mnist_lab as lab
from mnist_lab.backend import keras
from mnist_lab.models import build_network, count_parameters
from mnist_lab.optimizers import build_optimizer


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
