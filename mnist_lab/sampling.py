"""How Optuna searches: the samplers and pruners that a study can name."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from mnist_lab.dimensions import Scalar
from mnist_lab.retries import PLACE, counts, free_place
from mnist_lab.space import StudyDeclaration

# Optuna's 50 are more than most studies have trials: all would be drawn at random.
_POPULATION = 20

_SAMPLERS: dict[str, Callable[[int], optuna.samplers.BaseSampler]] = {
    # Trials under way count as bad ones, so that several workers do not try the same.
    "tpe": lambda seed: optuna.samplers.TPESampler(seed=seed, constant_liar=True),
    "random": lambda seed: optuna.samplers.RandomSampler(seed=seed),
    # Each point of a grid waits in the storage before it is asked for: nothing is left to draw.
    "grid": lambda seed: optuna.samplers.RandomSampler(seed=seed),
    "cmaes": lambda seed: optuna.samplers.CmaEsSampler(seed=seed),
    "nsgaii": lambda seed: optuna.samplers.NSGAIISampler(seed=seed, population_size=_POPULATION),
}
_PRUNERS: dict[str, Callable[[int], optuna.pruners.BasePruner]] = {
    # The first trials have nothing to be compared with. From its first epoch on each other trial
    # is judged, beside the same epoch of those before it.
    "median": lambda steps: optuna.pruners.MedianPruner(n_startup_trials=5),
    "successive_halving": lambda steps: optuna.pruners.SuccessiveHalvingPruner(
        min_resource=1, reduction_factor=2
    ),
    "hyperband": lambda steps: optuna.pruners.HyperbandPruner(max_resource=steps),
    "none": lambda steps: optuna.pruners.NopPruner(),
}


def sampler(declaration: StudyDeclaration, seed: int) -> optuna.samplers.BaseSampler:
    """The study's sampler, its choices from a seed."""
    return _SAMPLERS[declaration.sampler](seed)


def pruner(declaration: StudyDeclaration) -> optuna.pruners.BasePruner:
    """The study's pruner; it sees an epoch or a training as a step."""
    return _PRUNERS[declaration.pruner](declaration.most_epochs + declaration.seeds_per_trial - 1)


def points_of_grid(declaration: StudyDeclaration) -> list[dict[str, Scalar]]:
    """All points of a grid in the order in which they are tried: the baseline's, then shuffled."""
    baseline = declaration.baseline_parameters()
    points = [point for point in declaration.grid() if point != baseline]
    np.random.default_rng(declaration.seed).shuffle(points)
    return points if baseline is None else [baseline, *points]


def next_point(
    points: Sequence[dict[str, Scalar]], trials: Sequence[FrozenTrial]
) -> dict[str, Scalar] | None:
    """The first point that has no trial; None if there is none, or if a trial waits already.

    So none is lost or tried twice, whoever is interrupted or killed, and what takes the place of
    such a trial is not the last.

    Args:
        points: of the grid, in their order.
        trials: of the study so far.
    """
    if any(trial.state == TrialState.WAITING for trial in trials):
        return None
    keys = list(points[0])
    taken = set()
    for trial in trials:
        if trial.state != TrialState.FAIL or counts(trial):
            parameters = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
            taken.add(tuple(parameters.get(key) for key in keys))
    return next((p for p in points if tuple(p[key] for key in keys) not in taken), None)


class ByPlace(optuna.samplers.BaseSampler):
    """The study's sampler, made anew for each trial, its choices from the trial's place.

    So a study that was interrupted, or whose trials are asked for by several processes, draws as
    one that ran at a stretch: what a trial gets depends on the seed, on its place and on the trials
    before it alone. Its place is its number, or that of a trial that was interrupted or killed, in
    whose place it is. All that Optuna's samplers need of earlier trials they read from the storage.

    Args:
        declaration: of the study.
    """

    def __init__(self, declaration: StudyDeclaration) -> None:
        self._declaration = declaration
        self._sampler = sampler(declaration, declaration.seed)
        self._place = 0

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Make the sampler of a trial."""
        self._place = free_place(study.get_trials(deepcopy=False))
        study._storage.set_trial_user_attr(trial._trial_id, PLACE, self._place)
        stream = np.random.SeedSequence([self._declaration.seed, self._place])
        self._sampler = sampler(self._declaration, int(stream.generate_state(1)[0]))
        self._sampler.before_trial(study, trial)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """What the sampler draws together."""
        return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The parameters that the sampler draws together."""
        if self._declaration.sampler == "cmaes":  # which adds the number to its seed
            trial = copy.copy(trial)
            trial.number = self._place
        return self._sampler.sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """A parameter that the sampler draws alone."""
        return self._sampler.sample_independent(study, trial, param_name, param_distribution)
