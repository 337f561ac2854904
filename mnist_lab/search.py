"""Runs a study by Optuna: every training of every trial is a run on record."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from statistics import fmean, median

import numpy as np
import optuna

from mnist_lab.conditional import ConditionalSpace
from mnist_lab.config import RunConfig
from mnist_lab.data import Dataset
from mnist_lab.dimensions import Choices, IntRange
from mnist_lab.drawing import draw
from mnist_lab.interrupts import held
from mnist_lab.opening import open_study
from mnist_lab.outcome import Outcome, finished, log_outcome, outcome_of
from mnist_lab.progress import Progress
from mnist_lab.recording import record
from mnist_lab.sampling import sampler
from mnist_lab.space import StudyDeclaration
from mnist_lab.tracking import Run, Store
from mnist_lab.training import Epoch

# We draw our own progress and print our own results.
optuna.logging.set_verbosity(optuna.logging.ERROR)


class TrialFailed(Exception):
    """A trial that cannot give a value; it fails alone and the study goes on."""


def run_study(
    declaration: StudyDeclaration,
    name: str,
    study_name: str,
    data: Dataset,
    store: Store,
    storage_url: str,
    timeout: float | None = None,
    space: ConditionalSpace | None = None,
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
        space: the function that the declaration names, if it does.

    Raises:
        SpaceError: the function fails, or gives a configuration that is refused.
        StudyError: the storage cannot be used, or holds a different study of this name.
        KeyboardInterrupt: after the current run has ended as KILLED.
    """
    data.split(declaration.config.validation_size)
    with _quiet():
        study = open_study(declaration, study_name, data, storage_url, space)
        experiment_id = store.experiment(name)
        store.save_view(experiment_id, list(declaration.search) or ["hidden"], ("stage",))
        parent_tags = {"kind": "study", "study": study_name, "data_sha256": data.sha256}
        with store.run(
            experiment_id,
            study_name,
            tags=parent_tags,
            resume=study.user_attrs.get("parent_run_id"),
        ) as parent:
            study.set_user_attr("parent_run_id", parent.id)
            search = _Search(
                declaration, study, study_name, data, store, experiment_id, parent, space
            )
            search.run(timeout)
            outcome = outcome_of(declaration, study, experiment_id, parent.id)
            log_outcome(parent, declaration, study, outcome)
            draw(parent, declaration, study, study_name, name, store)
    return outcome


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without Optuna's notice that heartbeats, which it has had since 2.5, are experimental."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield


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
        space: ConditionalSpace | None,
    ) -> None:
        self._declaration = declaration
        self._study = study
        self._study_name = study_name
        self._data = data
        self._store = store
        self._experiment_id = experiment_id
        self._parent = parent
        self._space = space

    def run(self, timeout: float | None) -> None:
        """Run the trials that are missing."""
        done = len(finished(self._study))
        missing = self._declaration.trials - done
        if missing <= 0:
            return
        # The same sampler seed would draw the start-up trials of the first call again.
        stream = np.random.SeedSequence([self._declaration.seed, len(self._study.trials)])
        sampler_seed = int(stream.generate_state(1)[0])
        self._study.sampler = sampler(self._declaration, sampler_seed)
        with Progress("trials", self._declaration.trials, done) as self._progress:
            self._study.optimize(
                self._objective, n_trials=missing, timeout=timeout, catch=(TrialFailed,)
            )

    def _objective(self, trial: optuna.Trial) -> list[float]:
        try:
            return self._trial(trial)
        except KeyboardInterrupt:
            # Its place in the study is free again: the same parameters are tried first next time.
            self._study.enqueue_trial(trial.params, user_attrs=_inherited(trial))
            raise
        finally:
            self._progress.end()

    def _trial(self, trial: optuna.Trial) -> list[float]:
        """Train with one seed after the other: the mean of each goal."""
        config = self._configuration(trial)
        trial.set_user_attr("config", config.model_dump(mode="json", exclude_defaults=True))
        tags = {
            "kind": "training",
            "study": self._study_name,
            "trial": str(trial.number),
            "variant": trial.user_attrs.get("variant", "trial"),
        }
        seeds = self._declaration.seeds
        trained: list[Run] = []
        ends: list[dict[str, float]] = []
        state = ""
        for seed in seeds:
            name = f"trial {trial.number}" + (f" seed {seed}" if len(seeds) > 1 else "")
            with self._store.run(
                self._experiment_id, name, tags=tags, parent=self._parent.id
            ) as run:
                trial.set_user_attr("run_id", run.id)
                trained.append(run)
                state = self._train(trial, config, seed, run, ends)
                for one in trained if state else ():
                    one.tag({"trial_state": state})
            if state == "PRUNED":
                raise optuna.TrialPruned
            if state == "FAIL":
                raise TrialFailed(run.reason)
        return [fmean(end[goal] for end in ends) for goal in self._declaration.goals]

    def _train(
        self,
        trial: optuna.Trial,
        config: RunConfig,
        seed: int,
        run: Run,
        ends: list[dict[str, float]],
    ) -> str:
        """Train and record once, and report: the trial's state, or "" if it goes on.

        Args:
            trial: whose training this is.
            config: the trial's.
            seed: of the training.
            run: where it is recorded.
            ends: what the trial's earlier trainings came to; this one's is added.
        """
        pruned = False
        seconds: list[float] = []
        end: dict[str, float] = {}

        def stop(epoch: Epoch) -> bool:
            nonlocal pruned
            seconds.append(epoch.seconds)
            end.update(val_accuracy=epoch.val_accuracy, val_loss=epoch.val_loss)
            pruned = self._is_hopeless(trial, config, epoch, ends)
            return pruned

        record(config, self._data, seed, run, self._progress, stop)
        if run.failed_by_itself:
            trial.set_user_attr("failure", run.reason)
            return "FAIL"
        # The first epoch contains the compilation.
        end["seconds"] = config.epochs * median(seconds[1:] or seconds)
        end["parameters"] = run.parameters
        ends.append(end)
        if pruned:
            return "PRUNED"
        return "COMPLETE" if len(ends) == len(self._declaration.seeds) else ""

    def _is_hopeless(
        self,
        trial: optuna.Trial,
        config: RunConfig,
        epoch: Epoch,
        ends: list[dict[str, float]],
    ) -> bool:
        """Report an epoch, or a training's end, as a step; whether the trial is to be pruned.

        The epochs of the first training are steps 1 to E. Each further training is one step more,
        at its end, of the mean over the trainings so far: its first epochs would be compared with
        the last ones of the trainings before.
        """
        if len(self._declaration.goals) > 1:
            return False
        metric = self._declaration.chosen_by
        value, step = getattr(epoch, metric), epoch.number
        at_end = epoch.number == config.epochs
        if ends:
            if not at_end:
                return False
            value = fmean([*(earlier[metric] for earlier in ends), value])
            step = max(config.epochs, self._declaration.most_epochs) + len(ends)
        with held():
            trial.report(value, step)
            goes_on = not at_end or len(ends) + 1 < len(self._declaration.seeds)
            return goes_on and trial.should_prune()

    def _configuration(self, trial: optuna.Trial) -> RunConfig:
        if self._space is not None:
            return self._space.configuration(trial, self._declaration.config)
        return self._declaration.configuration(self._declaration.values(self._suggest(trial)))

    def _suggest(self, trial: optuna.Trial) -> dict[str, object]:
        parameters: dict[str, object] = {}
        for key, space in self._declaration.search.items():
            if isinstance(space, Choices):
                stored = [space.stored(choice) for choice in space.choices]
                parameters[key] = trial.suggest_categorical(key, stored)
            elif isinstance(space, IntRange):
                low, high, step = space.low, space.high, space.step or 1
                parameters[key] = trial.suggest_int(key, low, high, step=step, log=space.log)
            else:
                low_, high_ = space.low, space.high
                parameters[key] = trial.suggest_float(
                    key, low_, high_, step=space.step, log=space.log
                )
        return parameters


def _inherited(trial: optuna.Trial) -> dict[str, str]:
    return {key: value for key, value in trial.user_attrs.items() if key == "variant"}
