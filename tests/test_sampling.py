"""Each name of a sampler and a pruner is the one of Optuna that it says."""

from __future__ import annotations

import optuna
import pytest

from mnist_lab.sampling import pruner, sampler
from mnist_lab.space import StudyDeclaration

SEARCH = {"learning_rate": {"type": "categorical", "choices": [1e-4, 1e-3]}}


def declared(**keys: object) -> StudyDeclaration:
    return StudyDeclaration.model_validate({"title": "t", "trials": 2, "search": SEARCH} | keys)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("tpe", optuna.samplers.TPESampler),
        ("random", optuna.samplers.RandomSampler),
        ("cmaes", optuna.samplers.CmaEsSampler),
        ("nsgaii", optuna.samplers.NSGAIISampler),
    ],
)
def test_a_samplers_name_is_optunas(name: str, expected: type) -> None:
    assert type(sampler(declared(sampler=name), 0)) is expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("none", optuna.pruners.NopPruner),
        ("median", optuna.pruners.MedianPruner),
        ("successive_halving", optuna.pruners.SuccessiveHalvingPruner),
        ("hyperband", optuna.pruners.HyperbandPruner),
    ],
)
def test_a_pruners_name_is_optunas(name: str, expected: type) -> None:
    assert type(pruner(declared(pruner=name))) is expected
