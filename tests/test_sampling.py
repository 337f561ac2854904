"""Each name of a sampler and a pruner is the one of Optuna that it says."""

from __future__ import annotations

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from mnist_lab.opening import quiet
from mnist_lab.recovery import call_off, fail_and_retry
from mnist_lab.retries import PLACE, RETRIES, counts, finish_failing, try_again, try_next
from mnist_lab.sampling import ByPlace, next_point, points_of_grid, pruner, sampler
from mnist_lab.space import StudyDeclaration

SEARCH = {"learning_rate": {"type": "categorical", "choices": [1e-4, 1e-3]}}

RATE = {"learning_rate": {"type": "float", "low": 1e-4, "high": 1e-1, "log": True}}
GRID = {
    "hidden": {"type": "int", "low": 500, "high": 516, "step": 4},
    "batch_size": {"type": "categorical", "choices": [64, 128]},
}


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


def search(declaration: StudyDeclaration, stop: int = -1, how: str = "") -> list[dict[str, float]]:
    """The parameters of a study's trials on a toy goal, of which one may be interrupted."""
    storage = optuna.storages.InMemoryStorage()
    study = optuna.create_study(
        study_name="s", storage=storage, sampler=ByPlace(declaration), direction="maximize"
    )
    with quiet():
        return _searched(declaration, study, storage, stop, how)


def _searched(
    declaration: StudyDeclaration,
    study: optuna.Study,
    storage: optuna.storages.InMemoryStorage,
    stop: int,
    how: str,
) -> list[dict[str, float]]:
    while sum(map(counts, study.trials)) < declaration.trials:
        trial = study.ask()
        rate = trial.suggest_float("learning_rate", 1e-4, 1e-1, log=True)
        momentum = trial.suggest_float("momentum", 0.0, 0.9)
        if trial.number != stop:
            study.tell(trial, -((np.log10(rate) + 2.5) ** 2) - (momentum - 0.4) ** 2)
        elif how == "killed":
            fail_and_retry(study, storage, stop)  # type: ignore[arg-type]
        else:
            begun = study.trials[stop]
            call_off("s", storage, stop)  # type: ignore[arg-type]
            try_next(study, begun)
    return [trial.params for trial in study.trials if counts(trial)]


@pytest.mark.parametrize("how", ["killed", "called off"])
@pytest.mark.parametrize("name", ["tpe", "random", "cmaes", "nsgaii"])
def test_a_study_that_is_interrupted_within_a_trial_draws_as_one_at_a_stretch(
    name: str, how: str
) -> None:
    declaration = declared(
        sampler=name,
        pruner="none",
        trials=45 if name == "nsgaii" else 18,
        search={
            "learning_rate": {"type": "float", "low": 1e-4, "high": 1e-1, "log": True},
            "momentum": {"type": "float", "low": 0.0, "high": 0.9},
        },
    )
    assert search(declaration, 7, how) == search(declaration)


def test_of_a_grid_what_takes_the_place_of_a_trial_is_not_the_last() -> None:
    declaration = declared(sampler="grid", trials=4, pruner="none", search=GRID)
    study = optuna.create_study(study_name="s")
    points = points_of_grid(declaration)
    tried: list[dict[str, object]] = []
    for step in range(5):
        if (point := next_point(points, study.trials)) is not None:
            study.enqueue_trial(point)
        trial = study.ask()
        trial.suggest_int("hidden", 500, 516, step=4)
        trial.suggest_categorical("batch_size", [64, 128])
        if step == 0:
            begun = study.trials[0]
            call_off("s", study._storage, 0)  # type: ignore[arg-type]
            try_next(study, begun)
            continue
        tried.append(study.trials[-1].params)
        study.tell(trial, 0.0)
    assert tried[0] == {"hidden": 512, "batch_size": 128}  # the baseline's
    assert len({tuple(point.items()) for point in tried}) == 4


def test_all_points_of_a_grid_are_tried_once() -> None:
    declaration = declared(sampler="grid", trials=4, pruner="none", search=GRID)
    study = optuna.create_study()
    points, tried = points_of_grid(declaration), []
    while (point := next_point(points, study.trials)) is not None:
        tried.append(point)
        study.enqueue_trial(point)
        assert next_point(points, study.trials) is None  # it waits
        trial = study.ask()
        trial.suggest_int("hidden", 500, 516, step=4)
        trial.suggest_categorical("batch_size", [64, 128])
        study.tell(trial, 0.0)
    assert len(tried) == len({tuple(sorted(point.items())) for point in tried}) == 10


def test_a_trial_that_is_killed_before_it_drew_does_not_draw_what_another_did() -> None:
    declaration = declared(sampler="random", pruner="none", trials=3, search=RATE)
    storage = optuna.storages.InMemoryStorage()
    study = optuna.create_study(study_name="s", storage=storage, sampler=ByPlace(declaration))
    with quiet():
        study.ask()
        drawn = [study.ask().suggest_float("learning_rate", 1e-4, 1e-1, log=True)]
        fail_and_retry(study, storage, 0)  # type: ignore[arg-type]
        drawn += [
            study.ask().suggest_float("learning_rate", 1e-4, 1e-1, log=True) for _ in range(2)
        ]
    assert len(set(drawn)) == 3
    assert [trial.user_attrs[PLACE] for trial in study.trials] == [0, 1, 0, 2]


def test_trials_of_a_version_that_told_no_place_have_their_numbers() -> None:
    declaration = declared(sampler="random", pruner="none", trials=3, search=RATE)
    study = optuna.create_study(sampler=ByPlace(declaration))
    distribution = optuna.distributions.FloatDistribution(1e-4, 1e-1, log=True)
    for state in (TrialState.COMPLETE, TrialState.FAIL, TrialState.COMPLETE):
        study.add_trial(
            optuna.trial.create_trial(
                state=state,
                value=0.5 if state == TrialState.COMPLETE else None,
                params={"learning_rate": 1e-3},
                distributions={"learning_rate": distribution},
            )
        )
    study.ask()
    assert study.trials[-1].user_attrs[PLACE] == 3


def test_what_takes_the_place_of_a_trial_begins_anew() -> None:
    """Nothing of how the other one had done is held against it, or against the next."""
    study = optuna.create_study(study_name="s")
    attributes = {"completed_rung_0": 0.9, "nsga:generation": 2, "retry_history": [0, 1]}
    begun = optuna.trial.create_trial(
        state=TrialState.FAIL,
        params={"learning_rate": 1e-3},
        distributions={"learning_rate": optuna.distributions.FloatDistribution(1e-4, 1e-1)},
        system_attrs={**attributes, "failed_trial": 0},
        user_attrs={"variant": "trial", "run_id": "x"},
    )
    with quiet():
        study.add_trial(begun)
        try_next(study, study.trials[0])
        try_again(study, study.trials[0])
    _, called_off, killed = study.trials
    assert called_off.system_attrs == {"nsga:generation": 2}
    assert called_off.user_attrs == {"variant": "trial", "in_place_of": 0}
    assert killed.system_attrs["retry_history"] == [0, 1, 0]
    assert "completed_rung_0" not in killed.system_attrs
    assert len(killed.system_attrs["retry_history"]) == RETRIES
    finish_failing(study, study.trials)  # both were replaced
    assert len(study.trials) == 3
