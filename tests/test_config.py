from __future__ import annotations

from typing import Any

import pytest

import mnist_lab as lab
from mnist_lab.config import ConfigError


def test_defaults_are_chollets_listing() -> None:
    assert lab.RunConfig().model_dump() == {
        "hidden": (512,),
        "activation": "relu",
        "optimizer": "rmsprop",
        "learning_rate": 0.001,
        "batch_size": 128,
        "epochs": 5,
        "dropout": 0.0,
        "weight_decay": 0.0,
        "normalization": "none",
        "validation_size": 0,
    }


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"hiden": 3}, "hiden: unknown key; did you mean 'hidden'?"),
        ({"zzz": 3}, "Known keys: activation, batch_size"),
        ({"hidden": (512, 0)}, "hidden.1: 0 is not accepted: it should be greater than or equal"),
        ({"hidden": True}, "hidden: True is not accepted"),
        ({"hidden": "512"}, "hidden: '512' is not accepted"),
        ({"hidden": (1.5,)}, "hidden.0: 1.5 is not accepted: it should be a valid integer"),
        ({"activation": "rellu"}, "did you mean 'relu'?"),
        ({"optimizer": None}, "it should be 'rmsprop', 'sgd' or 'adam'"),
        ({"learning_rate": 0.0}, "it should be greater than 0"),
        ({"learning_rate": float("nan")}, "it should be a finite number"),
        ({"learning_rate": float("inf")}, "it should be a finite number"),
        ({"learning_rate": "0.1"}, "it should be a valid number"),
        ({"batch_size": 0}, "it should be greater than or equal to 1"),
        ({"batch_size": 128.0}, "it should be a valid integer"),
        ({"epochs": -1}, "it should be greater than or equal to 1"),
        ({"dropout": 1.0}, "it should be less than 1"),
        ({"weight_decay": -0.1}, "it should be greater than or equal to 0"),
        ({"validation_size": -1}, "it should be greater than or equal to 0"),
    ],
)
def test_a_wrong_field_is_refused_by_name(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        lab.RunConfig(**fields)
    assert said in str(error.value)


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as error:
        lab.RunConfig(epochs=0, dropout=2.0)
    assert "epochs" in str(error.value)
    assert "dropout" in str(error.value)


def test_a_config_cannot_be_changed() -> None:
    config = lab.RunConfig()
    with pytest.raises(ValueError, match="frozen"):
        config.epochs = 3
    assert hash(config) == hash(lab.RunConfig())


def test_replace_validates() -> None:
    assert lab.RunConfig().replace(hidden=[3, 4]).hidden == (3, 4)
    with pytest.raises(ConfigError, match="epochs"):
        lab.RunConfig().replace(epochs=0)


@pytest.mark.parametrize(
    "config",
    [
        lab.RunConfig(),
        lab.RunConfig(hidden=(), learning_rate=1e-5),
        lab.RunConfig(hidden=(300, 100), activation="tanh", dropout=0.25, weight_decay=1e-20),
    ],
)
def test_toml_gives_the_same_config_back(config: lab.RunConfig) -> None:
    assert lab.RunConfig.from_toml(config.to_toml()) == config


def test_broken_toml_is_refused() -> None:
    with pytest.raises(ConfigError, match="not TOML"):
        lab.RunConfig.from_toml("epochs = ")
