"""How Optuna searches: the samplers and pruners that a study can name."""

from __future__ import annotations

from collections.abc import Callable

import optuna

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
