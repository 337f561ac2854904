"""Trials that did not come to their end: which of them count, and how another takes their place."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import count
from typing import Any

import optuna
from optuna.storages import RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial, TrialState

# Of a trial: by which number its parameters were drawn.
PLACE = "place"
# How often a trial is tried again whose process was killed.
RETRIES = 3
# Attributes of a trial: the number of the one in whose place it is, which was called off; and that
# it was called off by a version that writes the former.
_IN_PLACE_OF = "in_place_of"
_CALLED_OFF = "called_off"
_LINKED = "linked"
# Of successive halving and hyperband: how a trial had done before it was killed.
_RUNG = "completed_rung_"
# Of a trial that is tried again: those before it.
_HISTORY = ("failed_trial", "retry_history")


def counts(trial: FrozenTrial) -> bool:
    """Whether a trial has ended for good: complete, pruned, or failed and not to be tried again.

    It fails for good for a reason of its own, as a loss that is NaN, or killed once too
    often. One that was called off has another one in its place.
    """
    if trial.state != TrialState.FAIL:
        return trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
    if "failure" in trial.user_attrs:
        return True
    # The callback's own reading of it is experimental, and says so at each call.
    tried = len(trial.system_attrs.get("retry_history", ()))
    return tried >= RETRIES and not was_called_off(trial)


def was_called_off(trial: FrozenTrial) -> bool:
    """Whether a trial was interrupted on purpose."""
    return _CALLED_OFF in trial.user_attrs


def mark_called_off(storage: optuna.storages.BaseStorage, trial_id: int) -> None:
    """Say of a trial that it is interrupted on purpose."""
    storage.set_trial_user_attr(trial_id, _CALLED_OFF, _LINKED)


def free_place(trials: Sequence[FrozenTrial]) -> int:
    """The first place that no trial has which counts or is under way.

    Args:
        trials: of the study. Those of older versions, which told no place, have their numbers'.
    """
    taken = set()
    for trial in trials:
        if PLACE not in trial.user_attrs:
            taken |= {trial.number} if trial.state.is_finished() else set()
        elif trial.state == TrialState.RUNNING or counts(trial):
            taken.add(trial.user_attrs[PLACE])
    return next(place for place in count() if place not in taken)


def try_again(study: optuna.Study, trial: FrozenTrial) -> None:
    """Let a failed trial be tried again, as Optuna does with one whose process was killed.

    One that had failed for a reason of its own by then is not; what was said of it is not
    inherited by the trial in its place.
    """
    if "failure" in trial.user_attrs:
        return
    trial = copy.deepcopy(trial)
    for key in (_CALLED_OFF, PLACE):
        trial.user_attrs.pop(key, None)
    trial.system_attrs = _without(trial.system_attrs, _RUNG)
    RetryHeartbeatStaleTrialCallback(RETRIES)(study, trial)


def try_next(study: optuna.Study, trial: FrozenTrial) -> None:
    """Let the parameters of a trial that was called off be the next to be tried.

    With what the sampler wrote down of them: of a trial without it CMA-ES and NSGA-II learn
    nothing.
    """
    if not trial.params and not trial.system_attrs.get("fixed_params"):
        return  # it was called off before it had any
    inherited = {key: value for key, value in trial.user_attrs.items() if key == "variant"}
    study.add_trial(
        optuna.trial.create_trial(
            state=TrialState.WAITING,
            params=trial.params,
            distributions=trial.distributions,
            user_attrs={**inherited, _IN_PLACE_OF: trial.number},
            system_attrs=_without(trial.system_attrs, _RUNG, *_HISTORY),
        )
    )


def finish_failing(study: optuna.Study, trials: Sequence[FrozenTrial]) -> None:
    """Let trials be tried again whose process was killed, or who failed them, before saying so."""
    replaced = {
        number
        for trial in trials
        for number in (
            *trial.system_attrs.get("retry_history", ()),
            trial.user_attrs.get(_IN_PLACE_OF),
        )
    }
    for trial in trials:
        if trial.state != TrialState.FAIL or trial.number in replaced or counts(trial):
            continue
        if not was_called_off(trial):
            try_again(study, trial)
        elif trial.user_attrs[_CALLED_OFF] == _LINKED:
            try_next(study, trial)


def _without(attributes: dict[str, Any], *beginnings: str) -> dict[str, Any]:
    return {key: value for key, value in attributes.items() if not key.startswith(beginnings)}
