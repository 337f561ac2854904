"""Runs a study: the only module that imports Optuna. Every trial is a run on record."""

from __future__ import annotations

import contextlib
import json
import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial, TrialState

from mnist_lab.config import RunConfig, RunFields, UserError
from mnist_lab.connection import without_password
from mnist_lab.data import Dataset
from mnist_lab.interrupts import held
from mnist_lab.progress import Progress
from mnist_lab.recording import record
from mnist_lab.space import Choices, IntRange, StudyDeclaration
from mnist_lab.tracking import Run, Store
from mnist_lab.training import Epoch

# We draw our own progress and print our own results.
optuna.logging.set_verbosity(optuna.logging.ERROR)

_HEARTBEAT_SECONDS = 15
_PRUNERS: dict[str, Callable[[int], optuna.pruners.BasePruner]] = {
    # The first epoch is noise; the first trials have nothing to be compared with.
    "median": lambda epochs: optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=1),
    "hyperband": lambda epochs: optuna.pruners.HyperbandPruner(max_resource=epochs),
    "none": lambda epochs: optuna.pruners.NopPruner(),
}
_SAMPLERS: dict[str, Callable[[int], optuna.samplers.BaseSampler]] = {
    "tpe": lambda seed: optuna.samplers.TPESampler(seed=seed),
    "random": lambda seed: optuna.samplers.RandomSampler(seed=seed),
}


class StudyError(UserError):
    """A study that cannot be run as asked."""


class TrialFailed(Exception):
    """A trial that cannot give a value; it fails alone and the study goes on."""


@dataclass(frozen=True)
class Outcome:
    """What a study has come to.

    Attributes:
        experiment_id: its MLflow experiment.
        done: trials that are complete, pruned or failed for good.
        best: the best configuration by the study's metric, or None if no trial is complete.
        best_value: its value of the metric.
        best_trial: its number.
    """

    experiment_id: str
    done: int
    best: RunConfig | None
    best_value: float
    best_trial: int


def run_study(
    declaration: StudyDeclaration,
    name: str,
    study_name: str,
    data: Dataset,
    store: Store,
    storage_url: str,
    timeout: float | None = None,
) -> Outcome:
    """Search until the study has `declaration.trials` trials, going on with what is recorded.

    Args:
        declaration: the space and the budget.
        name: of the MLflow experiment.
        study_name: of the Optuna study: `name`, and what the command line changed.
        data: the digits; trials train on all but the validation images.
        store: where runs are recorded.
        storage_url: of the Optuna storage, for example sqlite:///studies/baseline.db.
        timeout: seconds after which no further trial is begun.

    Raises:
        StudyError: the storage cannot be used, or holds a different study of this name.
        KeyboardInterrupt: after the current run has ended as KILLED.
    """
    data.split(declaration.config.validation_size)
    with _quiet():
        study = _open(declaration, study_name, data, storage_url)
        experiment_id = store.experiment(name)
        store.save_view(experiment_id, list(declaration.search))
        parent_tags = {"kind": "study", "study": study_name, "data_sha256": data.sha256}
        with store.run(
            experiment_id,
            study_name,
            tags=parent_tags,
            resume=study.user_attrs.get("parent_run_id"),
        ) as parent:
            study.set_user_attr("parent_run_id", parent.id)
            search = _Search(declaration, study, study_name, data, store, experiment_id, parent)
            search.run(timeout)
            outcome = _outcome(declaration, study, experiment_id)
            _log_outcome(parent, declaration, study, outcome)
    return outcome


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without Optuna's notice that heartbeats, which it has had since 2.5, are experimental."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield


def _open(declaration: StudyDeclaration, study_name: str, data: Dataset, url: str) -> optuna.Study:
    shown = without_password(url)
    try:
        storage = RDBStorage(
            url,
            heartbeat_interval=_HEARTBEAT_SECONDS,
            grace_period=4 * _HEARTBEAT_SECONDS,
            heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(max_retry=3),
        )
        study = optuna.create_study(
            storage=storage,
            study_name=study_name,
            direction="maximize" if declaration.metric == "val_accuracy" else "minimize",
            pruner=_PRUNERS[declaration.pruner](declaration.config.epochs),
            load_if_exists=True,
        )
    except Exception as error:
        first_line = str(error).splitlines()[0].replace(url, shown)
        raise StudyError(
            f"--storage: {shown} cannot be used ({first_line}); expected a database that can be "
            "written, such as sqlite:///studies/NAME.db or postgresql://USER@HOST/DATABASE"
        ) from None
    _check_same(declaration, study, study_name, data, shown)
    return study


def _check_same(
    declaration: StudyDeclaration, study: optuna.Study, study_name: str, data: Dataset, shown: str
) -> None:
    """Refuse to mix trials of two different studies under one name."""
    declared = declaration.model_dump(mode="json", exclude={"title", "trials"})
    declared = {
        **{f"search.{key}": value for key, value in declared.pop("search").items()},
        **{f"config.{key}": value for key, value in declared.pop("config").items()},
        **declared,
        "data_sha256": data.sha256,
    }
    recorded = study.user_attrs.get("declaration")
    if recorded is None:
        study.set_user_attr("declaration", declared)
        parameters = declaration.baseline_parameters()
        if parameters is not None:
            study.enqueue_trial(parameters, user_attrs={"variant": "baseline"})
        return
    # A field that is newer than the study had its default then.
    defaults = RunFields().model_dump(mode="json")
    recorded = {**{f"config.{key}": value for key, value in defaults.items()}, **recorded}
    if recorded != declared:
        pairs = [
            (key, json.dumps(recorded.get(key)), json.dumps(declared.get(key)))
            for key in {**recorded, **declared}
        ]
        changes = [
            f"\n  {key}: recorded {before}, now {now}"
            for key, before, now in pairs
            if before != now
        ]
        raise StudyError(
            f"the study '{study_name}' in {shown} was begun with other settings, and its trials "
            f"cannot be compared with new ones:{''.join(changes)}\nUndo the change, or keep both: "
            "give the changed file another name, or this study another --storage"
        )


class _Search:
    """The trials of one call of the command."""

    def __init__(
        self,
        declaration: StudyDeclaration,
        study: optuna.Study,
        study_name: str,
        data: Dataset,
        store: Store,
        experiment_id: str,
        parent: Run,
    ) -> None:
        self._declaration = declaration
        self._study = study
        self._study_name = study_name
        self._data = data
        self._store = store
        self._experiment_id = experiment_id
        self._parent = parent

    def run(self, timeout: float | None) -> None:
        """Run the trials that are missing."""
        done = len(_done(self._study))
        missing = self._declaration.trials - done
        if missing <= 0:
            return
        # The same sampler seed would draw the start-up trials of the first call again.
        stream = np.random.SeedSequence([self._declaration.seed, len(self._study.trials)])
        sampler_seed = int(stream.generate_state(1)[0])
        self._study.sampler = _SAMPLERS[self._declaration.sampler](sampler_seed)
        with Progress("trials", self._declaration.trials, done) as self._progress:
            self._study.optimize(
                self._objective, n_trials=missing, timeout=timeout, catch=(TrialFailed,)
            )

    def _objective(self, trial: optuna.Trial) -> float:
        try:
            return self._trial(trial)
        except KeyboardInterrupt:
            # Its place in the study is free again: the same parameters are tried first next time.
            self._study.enqueue_trial(trial.params, user_attrs=_inherited(trial))
            raise
        finally:
            self._progress.end()

    def _trial(self, trial: optuna.Trial) -> float:
        config = self._declaration.configuration(self._suggest(trial))
        tags = {
            "kind": "training",
            "study": self._study_name,
            "trial": str(trial.number),
            "variant": trial.user_attrs.get("variant", "trial"),
        }
        with self._store.run(
            self._experiment_id, f"trial {trial.number}", tags=tags, parent=self._parent.id
        ) as run:
            trial.set_user_attr("run_id", run.id)
            state, value = self._train(trial, config, run)
            run.tag({"trial_state": state})
        if state == "PRUNED":
            raise optuna.TrialPruned
        if state == "FAIL":
            raise TrialFailed(run.reason)
        return value

    def _train(self, trial: optuna.Trial, config: RunConfig, run: Run) -> tuple[str, float]:
        """Train, record and report every epoch: the trial's state and its value."""
        state, value = "COMPLETE", math.nan

        def prune(epoch: Epoch) -> bool:
            nonlocal state, value
            value = getattr(epoch, self._declaration.metric)
            with held():
                trial.report(value, epoch.number)
                if epoch.number < config.epochs and trial.should_prune():
                    state = "PRUNED"
            return state == "PRUNED"

        record(config, self._data, self._declaration.seed, run, self._progress, stop=prune)
        if run.failed_by_itself:
            trial.set_user_attr("failure", run.reason)
            state = "FAIL"
        return state, value

    def _suggest(self, trial: optuna.Trial) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key, space in self._declaration.search.items():
            if isinstance(space, Choices):
                values[key] = trial.suggest_categorical(key, space.choices)
            elif isinstance(space, IntRange):
                values[key] = trial.suggest_int(key, space.low, space.high, log=space.log)
            else:
                values[key] = trial.suggest_float(key, space.low, space.high, log=space.log)
        return values


def _inherited(trial: optuna.Trial) -> dict[str, Any]:
    return {key: value for key, value in trial.user_attrs.items() if key == "variant"}


def _done(study: optuna.Study) -> list[FrozenTrial]:
    """Trials that count: complete, pruned, or failed for a reason of their own.

    A trial that was interrupted or whose process was killed failed without one, and is retried.
    """
    return [
        trial
        for trial in study.trials
        if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
        or (trial.state == TrialState.FAIL and "failure" in trial.user_attrs)
    ]


def _outcome(declaration: StudyDeclaration, study: optuna.Study, experiment_id: str) -> Outcome:
    done = len(_done(study))
    if not any(trial.state == TrialState.COMPLETE for trial in study.trials):
        return Outcome(experiment_id, done, None, math.nan, -1)
    best = study.best_trial
    config = declaration.configuration(best.params)
    return Outcome(experiment_id, done, config, study.best_value, best.number)


def _log_outcome(
    parent: Run, declaration: StudyDeclaration, study: optuna.Study, outcome: Outcome
) -> None:
    parent.log_text("study.json", declaration.model_dump_json(indent=2))
    parent.log_text("trials.csv", study.trials_dataframe().to_csv(index=False))
    if outcome.best is not None:
        parent.log_text("best.toml", outcome.best.to_toml())
        parent.log_summary(
            {f"best_{declaration.metric}": outcome.best_value, "trials": outcome.done},
            {"best_trial": str(outcome.best_trial)},
        )
