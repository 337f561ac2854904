"""How Optuna searches: the samplers and pruners that a study can name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial

from mnist_lab.space import StudyDeclaration

# Optuna's 50 are more than most studies have trials: all would be drawn at random.
_POPULATION = 20

_SAMPLERS: dict[str, Callable[[int], optuna.samplers.BaseSampler]] = {
    "tpe": lambda seed: optuna.samplers.TPESampler(seed=seed),
    "random": lambda seed: optuna.samplers.RandomSampler(seed=seed),
    # All points of a grid wait in the storage from the beginning, so that none is lost or tried
    # twice, whoever is interrupted or killed: nothing is left to draw.
    "grid": lambda seed: optuna.samplers.RandomSampler(seed=seed),
    "cmaes": lambda seed: optuna.samplers.CmaEsSampler(seed=seed),
    "nsgaii": lambda seed: optuna.samplers.NSGAIISampler(seed=seed, population_size=_POPULATION),
}
_PRUNERS: dict[str, Callable[[int], optuna.pruners.BasePruner]] = {
    # The first epoch is noise; the first trials have nothing to be compared with.
    "median": lambda steps: optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=1),
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


class ByNumber(optuna.samplers.BaseSampler):
    """The study's sampler, made anew for each trial, its choices from the trial's number.

    So a study that was interrupted, or whose trials are asked for by several processes, draws as
    one that ran at a stretch: what a trial gets depends on the seed, its number and the trials
    before it alone. All that Optuna's samplers need of earlier trials they read from the storage.

    Args:
        declaration: of the study.
    """

    def __init__(self, declaration: StudyDeclaration) -> None:
        self._declaration = declaration
        self._sampler = sampler(declaration, declaration.seed)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Make the sampler of a trial."""
        stream = np.random.SeedSequence([self._declaration.seed, trial.number])
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
