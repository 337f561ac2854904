from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mnist_lab as lab
from mnist_lab.config import ConfigError, RunFields
from mnist_lab.dimensions import Choices, Dimension
from mnist_lab.space import StudyDeclaration


def test_defaults_are_chollets_listing() -> None:
    config = lab.RunConfig()
    listing = {
        "hidden": (512,),
        "activation": "relu",
        "output": "softmax",
        "loss": "cross_entropy",
        "optimizer": "rmsprop",
        "learning_rate": 0.001,
        "batch_size": 128,
        "epochs": 5,
        "initializer": "glorot_uniform",
        "normalization": "none",
        "pixel_low": 0.0,
        "pixel_high": 1.0,
        "validation_size": 0,
    }
    assert {name: getattr(config, name) for name in listing} == listing
    # All else is neutral: no noise, no penalty, no schedule, Keras' own constants.
    neutral = config.model_dump(exclude={*listing, "learning_rate_schedule", "momentum_schedule"})
    structural = {"maxout_pieces": 2, "architecture": "mlp", "scaling": "range"}
    structural |= {"patch_size": 7, "block_width": 256, "token_width": 64, "elastic_sigma": 4.0}
    assert {name: neutral.pop(name) for name in structural} == structural
    assert all(value in (0, None, False, ()) for value in neutral.values()), neutral
    assert config.learning_rate_schedule.type == config.momentum_schedule.type == "constant"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"hiden": 3}, "hiden: unknown key; did you mean 'hidden'?"),
        ({"zzz": 3}, "Known keys: activation, alpha_dropout"),
        ({"hidden": (512, 0)}, "hidden.1: 0 is not accepted: it should be greater than or equal"),
        ({"hidden": True}, "hidden: True is not accepted"),
        ({"hidden": "512"}, "hidden: '512' is not accepted"),
        ({"hidden": (1.5,)}, "hidden.0: 1.5 is not accepted: it should be a valid integer"),
        ({"activation": "rellu"}, "did you mean 'relu'?"),
        ({"activation": "ReLU"}, "did you mean 'relu'?"),
        ({"optimizer": "AdamW"}, "did you mean 'adamw'?"),
        ({"lr": 0.1}, "lr: unknown key; did you mean 'learning_rate'?"),
        ({"WD": 0.1}, "WD: unknown key; did you mean 'weight_decay'?"),
        ({"optimizer": None}, "it should be 'rmsprop', 'sgd', 'adam', 'adamw', 'lion' or 'muon'"),
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
        ({"rho": 0.9, "optimizer": "adam"}, "rho: is not used by optimizer 'adam', which has beta"),
        ({"optimizer": "sgd", "nesterov": True}, "nesterov: needs a momentum above 0"),
        ({"initializer": "normal"}, "initializer_scale: missing; initializer 'normal' needs it"),
        ({"initializer_scale": 0.1}, "initializer_scale: is not used by initializer 'glorot_un"),
        ({"dropout": 0.1, "layer_dropout": (0.1,)}, "it can be one or the other"),
        ({"layer_dropout": (0.1, 0.2)}, "layer_dropout: has 2 values for 1 hidden layers"),
        ({"residual": True}, "residual: needs a hidden layer as wide as the one before it, or as"),
        ({"optimizer": "muon", "nesterov": True, "momentum": 0.0}, "nesterov: needs a momentum ab"),
        ({"loss": "squared_hinge", "output": "linear", "mixup": 0.2}, "mixup: is not used by loss"),
        (
            {"loss": "squared_hinge", "output": "linear", "label_smoothing": 0.1},
            "label_smoothing: ",
        ),
        ({"mixup": 0.2, "batch_size": 1}, "mixup: needs a batch_size above 1"),
        (
            {"learning_rate_schedule": {"type": "cosine", "warmup": 0.0, "initial": 0.1}},
            "learning_rate_schedule.initial: is the start of a warm-up; a 'warmup' above 0",
        ),
        ({"output": "linear"}, "output: 'linear' has no cross-entropy"),
        ({"loss": "squared_hinge"}, "it is a loss of 'linear' outputs"),
        ({"pixel_low": 1.0}, "pixel_low: 1.0 is not below pixel_high 1.0"),
        ({"scaling": "standardize", "pixel_low": -1.0}, "is not used by scaling 'standardize'"),
        ({"architecture": "gmlp", "hidden": (3, 4)}, "hidden: [3, 4]: architecture 'gmlp' has one"),
        ({"architecture": "mixer", "dropout": 0.1}, "dropout: is not used by architecture 'mixer'"),
        ({"maxout_pieces": 3}, "maxout_pieces: is not used by activation 'relu'"),
        ({"patch_size": 14}, "patch_size: is not used by architecture 'mlp'"),
        ({"block_width": 8}, "block_width: is not used by architecture 'mlp'"),
        ({"token_width": 8}, "token_width: is not used by architecture 'mlp'"),
        ({"architecture": "gmlp", "token_width": 8}, "token_width: is not used by architecture 'g"),
        ({"elastic_sigma": 6.0}, "elastic_sigma: needs an elastic_alpha above 0"),
        ({"elastic_sigma": 6.0, "shift": 2.0}, "elastic_sigma: needs an elastic_alpha above 0"),
        ({"patch_size": 5}, "patch_size: 5 is not accepted: it should be 4, 7 or 14"),
    ],
)
def test_a_wrong_field_is_refused_by_name(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        lab.RunConfig(**fields)
    assert said in str(error.value)


def test_a_hidden_layer_may_be_added_to_the_input() -> None:
    assert lab.RunConfig(hidden=(784,), residual=True).residual
    assert lab.RunConfig(hidden=(64,), pca=64, residual=True).residual


def test_what_belongs_to_hidden_layers_is_accepted_where_there_are_none() -> None:
    """Variants of all depths can have it in common."""
    noise = dict.fromkeys(("dropout", "alpha_dropout", "drop_connect", "hidden_noise"), 0.1)
    fields = {"activation": "maxout", "maxout_pieces": 3, "normalization": "batch", **noise}
    assert lab.RunConfig(hidden=(), **fields).hidden == ()


@pytest.mark.parametrize(
    ("key", "choices"),
    [
        ("activation", ("relu", "maxout")),
        ("architecture", ("mlp", "gmlp", "mixer")),
        ("elastic_alpha", (0.0, 34.0)),
    ],
)
def test_what_decides_which_fields_are_used_can_be_searched(
    key: str, choices: tuple[str | float, ...]
) -> None:
    """The fields that not every choice uses are at their defaults, told or not."""
    defaults = RunFields(maxout_pieces=2, token_width=64, elastic_sigma=4.0, validation_size=10)
    search: dict[str, Dimension] = {key: Choices(type="categorical", choices=choices)}
    assert list(StudyDeclaration(config=defaults, search=search).problems()) == []


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
        lab.RunConfig(optimizer="sgd", momentum=0.9, nesterov=True, layer_dropout=(0.25,)),
        lab.RunConfig(learning_rate_schedule={"type": "step", "factor": 0.5, "every": 2}),
    ],
)
def test_toml_gives_the_same_config_back(config: lab.RunConfig) -> None:
    assert lab.RunConfig.from_toml(config.to_toml()) == config


def test_broken_toml_is_refused() -> None:
    with pytest.raises(ConfigError, match="not TOML"):
        lab.RunConfig.from_toml("epochs = ")


def test_the_digest_tells_configurations_apart() -> None:
    configs = [
        lab.RunConfig(),
        lab.RunConfig(hidden=(513,)),
        lab.RunConfig(dropout=0.1),
        lab.RunConfig(input_dropout=0.1),
        lab.RunConfig(learning_rate_schedule={"type": "cosine"}),
        lab.RunConfig(learning_rate_schedule={"type": "cosine", "warmup": 1.0}),
    ]
    assert len({config.digest() for config in configs}) == len(configs)
    # A default that is written out is the same configuration.
    assert lab.RunConfig(hidden=512, dropout=0.0).digest() == lab.RunConfig().digest()
    # The digest stands in recorded runs: it may not change.
    assert lab.RunConfig(hidden=(300, 100), dropout=0.5).digest() == "fe0ee42494e10d87"


def test_params_are_text_that_reads_well() -> None:
    config = lab.RunConfig(hidden=(30, 20), learning_rate_schedule={"type": "cosine", "warmup": 1})
    params = config.params()
    assert params["hidden"] == "30-20"
    assert params["layer_dropout"] == "none"
    assert params["learning_rate_schedule"] == "cosine(warmup=1.0)"
    assert params["residual"] == "False"
    assert "momentum" not in params


def test_a_configuration_can_be_told_by_what_is_its_own() -> None:
    config = lab.RunConfig(hidden=(64,), epochs=2)
    assert config.own_toml() == "hidden = [64]\nepochs = 2\n"
    assert (
        config.own_toml(["learning_rate"]) == "hidden = [64]\nlearning_rate = 0.001\nepochs = 2\n"
    )
    assert lab.RunConfig.from_toml(config.own_toml()) == config
    assert lab.RunConfig().own_toml() == ""


def test_numbers_from_a_table_are_numbers() -> None:
    config = lab.RunConfig(epochs=np.int64(2), hidden=(np.int64(8), 4), dropout=np.float32(0.5))
    assert config == lab.RunConfig(epochs=2, hidden=(8, 4), dropout=0.5)
    step = {"type": "step", "factor": np.float32(0.5), "every": np.int64(2)}
    assert lab.RunConfig(learning_rate_schedule=step) == lab.RunConfig(
        learning_rate_schedule={"type": "step", "factor": 0.5, "every": 2}
    )
    with pytest.raises(lab.UserError, match=r"epochs: 2\.5 is not accepted"):
        lab.RunConfig(epochs=np.float64(2.5))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("self = 1", "self: unknown"),
        ("epochs = " + "9" * 5_000, "not TOML"),
        ("hidden = " + "[" * 5_000, "not TOML"),
    ],
)
def test_no_text_ends_in_another_error(text: str, said: str) -> None:
    with pytest.raises(lab.UserError, match=said):
        lab.RunConfig.from_toml(text)


DEFAULTS = """
hidden=512 activation=relu maxout_pieces=2 normalization=none residual=False output=softmax
initializer=glorot_uniform architecture=mlp patch_size=7 block_width=256 token_width=64
loss=cross_entropy label_smoothing=0.0 l1=0.0 l2=0.0 optimizer=rmsprop learning_rate=0.001
learning_rate_schedule=constant momentum_schedule=constant weight_decay=0.0 max_norm=0.0
ema_decay=0.0 batch_size=128 epochs=5 dropout=0.0 layer_dropout=none input_dropout=0.0
alpha_dropout=0.0 drop_connect=0.0 input_noise=0.0 hidden_noise=0.0 scaling=range pixel_low=0.0
pixel_high=1.0 pca=0 shift=0.0 rotation=0.0 zoom=0.0 shear=0.0 elastic_alpha=0.0 elastic_sigma=4.0
mixup=0.0 validation_size=0
"""


def test_the_defaults_are_those_that_recorded_runs_had() -> None:
    """A run's digest leaves out what is at its default: another default makes it another run's."""
    recorded = dict(pair.split("=") for pair in DEFAULTS.split())
    assert recorded.items() <= lab.RunConfig().params().items()
