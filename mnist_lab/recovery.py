"""What a killed process leaves behind: trials and runs that nobody is at work on any more."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from datetime import datetime, timedelta

import optuna
from optuna.storages import RDBStorage, fail_stale_trials
from optuna.trial import FrozenTrial, TrialState

from mnist_lab.opening import STUDY_ID
from mnist_lab.process import KILLED, is_dead, is_here
from mnist_lab.records import RunRecord
from mnist_lab.retries import (
    counts,
    finish_failing,
    mark_called_off,
    try_again,
    was_called_off,
)
from mnist_lab.tracking import PARENT_TAG, Store

PROCESS = "process"
# How long after a trial was spared it is not spared again.
_SPARED_SECONDS = 600.0
# Between asking for a trial and writing down who did lie some milliseconds.
_UNOWNED = timedelta(seconds=20)
# Between telling a study of a trial's end and ending its run lies the upload of nothing.
_OVERDUE = timedelta(minutes=5)


def owned(number: int, process: str) -> list[int | str]:
    """The attribute PROCESS of a trial that a process is at work on.

    It has the trial's number, for a trial that is tried again inherits the attributes.
    """
    return [number, process]


def owner(trial: FrozenTrial) -> str | None:
    """The process that is at work on a trial, if it has said so."""
    number, process = trial.user_attrs.get(PROCESS, (None, None))
    return str(process) if number == trial.number else None


def fail_dead_trials(study: optuna.Study, storage: RDBStorage, spared: dict[int, float]) -> bool:
    """Fail the trials whose process is dead, and let them be tried again; whether there were any.

    Of a process on this machine that is known; of any other, and of one that lives and is at work
    on something else, when its heartbeat has stopped for a minute.

    Args:
        study: whose trials they are.
        storage: of the study.
        spared: trials of living processes of this machine that were spared before, and when: a
            heart stands still for a while where the machine was asleep.
    """
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    stale = set(storage._get_stale_trial_ids(study._study_id))
    now = time.monotonic()
    for trial in running:
        if _is_dead(trial):
            fail_and_retry(study, storage, trial.number)
            continue
        slept = trial._trial_id in stale and is_here(owner(trial) or "")
        if slept and now - spared.get(trial.number, -_SPARED_SECONDS) >= _SPARED_SECONDS:
            spared[trial.number] = now
            storage.record_heartbeat(trial._trial_id)
    fail_stale_trials(study)
    trials = study.get_trials(deepcopy=False)
    finish_failing(study, trials)
    return any(trials[trial.number].state == TrialState.FAIL for trial in running)


def id_of(study_name: str, storage: RDBStorage, number: int) -> int:
    """The storage's own number of a trial."""
    study_id = storage.get_study_id_from_name(study_name)
    return storage.get_trial_id_from_study_id_trial_number(study_id, number)


def call_off(study_name: str, storage: RDBStorage, number: int) -> None:
    """Fail a trial that was interrupted: it does not count, and is not tried again by itself.

    Raises:
        UpdateFinishedTrialError: it has ended in the meantime.
    """
    trial_id = id_of(study_name, storage, number)
    mark_called_off(storage, trial_id)
    storage.set_trial_state_values(trial_id, state=TrialState.FAIL)


def fail_and_retry(study: optuna.Study, storage: RDBStorage, number: int) -> None:
    """What Optuna does with a trial whose heartbeat has stopped."""
    trial_id = id_of(study.study_name, storage, number)
    # Another process, or the trial's own, may have been faster.
    with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
        if storage.set_trial_state_values(trial_id, state=TrialState.FAIL):
            try_again(study, storage.get_trial(trial_id))


def _is_dead(trial: FrozenTrial) -> bool:
    process = owner(trial)
    if process is not None:
        return is_dead(process)
    started = trial.datetime_start
    return started is not None and datetime.now() - started > _UNOWNED


def parents_of_others(study: optuna.Study, records: Iterable[RunRecord]) -> set[str]:
    """The runs of other studies of a study's name: it was begun anew, or its file had another one.

    Args:
        study: the one that is meant.
        records: of its MLflow experiment.
    """
    return {
        run.run_id
        for run in records
        if run.tags.get("kind") == "study"
        and run.tags.get("study") == study.study_name
        and run.tags.get(STUDY_ID) != study.user_attrs.get(STUDY_ID)
    }


def close_runs_of_dead_trials(
    study: optuna.Study, store: Store, experiment_id: str, ended: Iterable[str]
) -> None:
    """End the runs that nobody is at work on: by what the study knows of their trial.

    Args:
        study: whose runs they are.
        store: where they are recorded.
        experiment_id: the MLflow experiment they are filed in.
        ended: calls whose workers have all ended, on whatever machine.
    """
    trials = {str(trial.number): trial for trial in study.get_trials(deepcopy=False)}
    records = store.runs(experiment_id)
    over, others = set(ended), parents_of_others(study, records)
    for run in records:
        if run.tags.get("study") != study.study_name:
            continue
        if run.tags.get(PARENT_TAG) in others:  # of the study before this one
            if run.status == "RUNNING" and _is_left(run):
                store.close_run(run.run_id, "FAILED", KILLED)
            continue
        if run.tags.get("kind") == "study":
            _close_unused(run, study, store)
        if run.tags.get("kind") != "training":
            continue
        trial = trials.get(run.tags.get("trial", ""))
        if trial is not None and not trial.state.is_finished():
            continue
        left = _is_left(run) or run.tags.get("call") in over or _is_overdue(trial)
        if run.status == "RUNNING" and left:
            _close(run, trial, store)
        elif trial is not None and run.status != "RUNNING" and _is_left(run):
            _tell_state(run, trial, store)


def _is_left(run: RunRecord) -> bool:
    return is_dead(run.tags.get("process", ""))


def _is_overdue(trial: FrozenTrial | None) -> bool:
    """Whether a run should have ended long ago, with its trial.

    Its machine may be gone for good. Whoever still writes it tells it the same end.
    """
    ended = None if trial is None else trial.datetime_complete
    return ended is not None and datetime.now() - ended > _OVERDUE


def _close_unused(run: RunRecord, study: optuna.Study, store: Store) -> None:
    """End a run that was to be the study's, by a process that was killed just then."""
    used = run.run_id == study.user_attrs.get("parent_run_id")
    if run.status == "RUNNING" and not used and _is_left(run):
        store.close_run(run.run_id, "KILLED", KILLED)


def _close(run: RunRecord, trial: FrozenTrial | None, store: Store) -> None:
    tags = {"trial_state": trial.state.name} if trial is not None and counts(trial) else {}
    if trial is not None and trial.state in (TrialState.COMPLETE, TrialState.PRUNED):
        if "config_digest" not in run.tags:
            # A server whose answer is lost makes a run twice: nothing was ever written to this one.
            store.close_run(run.run_id, "FAILED", "nothing is on record under it")
            return
        store.close_run(run.run_id, "FINISHED", "", tags)
    elif trial is not None and "failure" in trial.user_attrs:
        reason = str(trial.user_attrs["failure"])
        store.close_run(run.run_id, "FAILED", reason, tags | {"failed_by_itself": "true"})
    elif trial is not None and was_called_off(trial):
        store.close_run(run.run_id, "KILLED", "interrupted", tags)
    else:
        store.close_run(run.run_id, "FAILED", KILLED, tags)


def _tell_state(run: RunRecord, trial: FrozenTrial, store: Store) -> None:
    """The trial's state, on a run whose process was killed before it could say."""
    if counts(trial) and run.tags.get("trial_state") != trial.state.name:
        store.set_tags(run.run_id, {"trial_state": trial.state.name})
