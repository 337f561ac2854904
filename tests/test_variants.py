"""One contract, held by every variant that has a name."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import mnist_lab as lab
from mnist_lab.backend import keras
from mnist_lab.variants import VARIANTS
from tests.conftest import slow


def parameters_by_hand(config: lab.RunConfig) -> int:
    """The number of parameters, from the configuration alone."""
    if config.architecture != "mlp":
        return _parameters_on_patches(config)
    inputs = config.pca or 784
    pieces = config.maxout_pieces if config.activation == "maxout" else 1
    # Scales, shifts and the running statistics of batch normalization, for each hidden unit.
    of_norm = {"none": 0, "rms": 1, "layer": 2, "batch": 4}[config.normalization]
    count = 0
    for before, width in pairwise((inputs, *config.hidden)):
        count += (before + 1) * width * pieces + of_norm * width * pieces
    return count + ((config.hidden[-1] if config.hidden else inputs) + 1) * 10


def _parameters_on_patches(config: lab.RunConfig) -> int:
    patches, width, wide = (28 // config.patch_size) ** 2, config.hidden[0], config.block_width
    embedding, norm, output = (config.patch_size**2 + 1) * width, 2 * width, (width + 1) * 10
    channels = (width + 1) * wide + (wide + 1) * width
    if config.architecture == "mixer":
        tokens = (patches + 1) * config.token_width + (config.token_width + 1) * patches
        block = norm + tokens + norm + channels
    else:
        gate = 2 * wide + (patches + 1) * patches
        block = norm + channels + (width + 1) * wide + gate
    return embedding + len(config.hidden) * block + norm + output


OF_EACH_KIND = (
    *("baseline", "softmax_regression", "deep", "residual", "maxout", "dropout", "layer_dropout"),
    *("drop_connect", "hidden_noise", "batch_norm", "max_norm", "sigmoid_outputs"),
    *("momentum_ramp", "ema", "pca", "elastic", "mixup"),
)
OTHERS = [name for name in VARIANTS if name not in OF_EACH_KIND]


@pytest.mark.parametrize("name", [*OF_EACH_KIND, *slow(*OTHERS)])
def test_contract(name: str, small: lab.Dataset, tmp_path: Path) -> None:
    """Shapes, parameters, a falling loss, equal predictions after saving, equal bits."""
    config = lab.RunConfig(**{**VARIANTS[name].fields, "epochs": 3, "batch_size": 100})
    training, again = (lab.train(config, small, seed=1) for _ in range(2))
    losses = [epoch.loss for epoch in training]
    assert all(np.isfinite(losses))
    assert losses[-1] < losses[0]

    model = training.model()
    outputs = np.asarray(model(small.test_images))
    assert outputs.shape == (500, 10)
    assert outputs.dtype == np.float32
    if config.output == "softmax":
        np.testing.assert_allclose(outputs.sum(axis=1), 1.0, rtol=1e-5)
    assert (outputs.argmax(axis=1) == training.examination()[2]).all()
    assert training.parameters == parameters_by_hand(config)

    path = tmp_path / "model.keras"
    model.save(path)
    loaded = keras.models.load_model(path)
    assert (np.asarray(loaded(small.test_images)) == outputs).all()
    # Only stock layers: the saved model loads where this package is not installed.
    assert {type(layer).__module__.split(".")[0] for layer in loaded.layers} == {"keras"}

    assert [epoch.loss for epoch in again] == losses
    assert all((a == b).all() for a, b in zip(training.weights(), again.weights(), strict=True))


def test_variants_differ_and_say_what_they_are() -> None:
    configs = {name: lab.RunConfig(**variant.fields) for name, variant in VARIANTS.items()}
    assert len({config.digest() for config in configs.values()}) == len(configs)
    assert configs["baseline"] == lab.RunConfig()
    assert all(variant.what and variant.source for variant in VARIANTS.values())


def test_every_choice_of_a_field_is_a_variant() -> None:
    """No name that the configuration accepts is left out of the contract."""
    configs = [lab.RunConfig(**variant.fields) for variant in VARIANTS.values()]
    for field in ("activation", "normalization", "optimizer", "loss", "output", "architecture"):
        accepted = lab.RunConfig.model_json_schema()["properties"][field]["enum"]
        assert {getattr(config, field) for config in configs} == set(accepted), field
    neutral = lab.RunConfig()
    constants = {"rho", "beta_1", "beta_2", "epsilon", "patch_size", "validation_size", "epochs"}
    constants |= {"batch_size", "elastic_sigma", "token_width"}
    for field in set(lab.RunConfig.model_fields) - constants:
        assert any(getattr(c, field) != getattr(neutral, field) for c in configs), field
