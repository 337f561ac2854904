"""One trial of a study: its trainings, each a run on record, and what the study is told of them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import fmean, median
from typing import TYPE_CHECKING

import optuna
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from mnist_lab.config import RunConfig
from mnist_lab.connection import TrackingError
from mnist_lab.importing import uncollected
from mnist_lab.interrupts import held
from mnist_lab.opening import HEARTBEAT_SECONDS, STORAGE_ERRORS, loaded_study, quiet
from mnist_lab.process import this_process
from mnist_lab.recovery import PROCESS, id_of, owned
from mnist_lab.space import StudyDeclaration
from mnist_lab.tracking import Run
from mnist_lab.work import Bench

if TYPE_CHECKING:
    from mnist_lab.training import Epoch


@dataclass(frozen=True)
class TrialTask:
    """A trial that was asked for and is to be trained.

    Attributes:
        declaration: of the study.
        study_name: of the study.
        storage_url: of its storage.
        number: of the trial.
        asker: the process that asked for it.
        config: what to train.
        tags: of its runs.
        experiment_id: the MLflow experiment of its runs.
        parent_id: the run they are shown under.
    """

    declaration: StudyDeclaration
    study_name: str
    storage_url: str
    number: int
    asker: str
    config: RunConfig
    tags: dict[str, str]
    experiment_id: str
    parent_id: str

    def run(self, bench: Bench) -> None:
        """Train, and tell the study; once only, however often this is called.

        Dask calls it again where a worker was killed. The trial is then left as it is, for the
        study to fail and to try again with a run of its own.
        """
        with (
            quiet(),
            loaded_study(self.declaration, self.study_name, self.storage_url) as (study, storage),
        ):
            trial_id = id_of(self.study_name, storage, self.number)
            trial = optuna.trial.Trial(study, trial_id)
            running = storage.get_trial(trial_id).state == TrialState.RUNNING
            if not running or trial.user_attrs.get(PROCESS) != owned(self.number, self.asker):
                return
            with held():
                trial.set_user_attr(PROCESS, owned(self.number, this_process()))
            # A process that slept too long finds its trial failed, and given to another one.
            given_away = contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError)
            try:
                with given_away, _beating(storage, trial_id):
                    _Training(self, study, storage, trial, bench).run()
            except BaseException:
                # Nobody is at work on it any more, though this process lives.
                with given_away, contextlib.suppress(*STORAGE_ERRORS):
                    trial.set_user_attr(PROCESS, owned(self.number, self.asker))
                raise


@contextlib.contextmanager
def _beating(storage: RDBStorage, trial_id: int) -> Iterator[None]:
    """Tell the storage every few seconds that a trial's process is alive."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(HEARTBEAT_SECONDS):
            # A database that is away for a moment costs a beat, not the trial.
            with contextlib.suppress(Exception):
                storage.record_heartbeat(trial_id)
        storage.remove_session()

    storage.record_heartbeat(trial_id)
    thread = threading.Thread(target=beat, name=f"heartbeat of trial {trial_id}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


class _Training:
    """The trainings of one trial, one seed after the other: the mean of each goal counts."""

    def __init__(
        self,
        task: TrialTask,
        study: optuna.Study,
        storage: RDBStorage,
        trial: optuna.Trial,
        bench: Bench,
    ) -> None:
        self._task = task
        self._study = study
        self._storage = storage
        self._trial = trial
        self._bench = bench
        self._seeds = task.declaration.seeds
        self._ends: list[dict[str, float]] = []
        self._runs: list[str] = []

    def run(self) -> None:
        """Train until the trial is complete, pruned or failed."""
        task = self._task
        for seed in self._seeds:
            name = f"trial {task.number}" + (f" seed {seed}" if len(self._seeds) > 1 else "")
            with self._bench.store.run(
                task.experiment_id, name, tags=task.tags, parent=task.parent_id
            ) as run:
                self._runs.append(run.id)
                self._trial.set_user_attr("run_id", run.id)
                state = self._train(seed, run)
                if state is not None:
                    self._tell(state, run)
            if state is not None:
                return

    @held()
    def _tell(self, state: TrialState, run: Run) -> None:
        """Tell the study, while the run's record is whole but for its end.

        Killed before this, the trial is tried again; killed after it, the run can be closed by
        what the study knows.
        """
        if state == TrialState.FAIL:
            self._trial.set_user_attr("failure", run.reason)
        goals = self._task.declaration.goals
        means = [fmean(end[goal] for end in self._ends) for goal in goals if self._ends]
        values = means if state == TrialState.COMPLETE else None
        self._check_not_given_away()
        self._study.tell(self._trial, values, state)
        run.tag({"trial_state": state.name})
        # Where the store is away, the next call of the command says so on the earlier runs.
        with contextlib.suppress(TrackingError):
            for earlier in self._runs[:-1]:
                self._bench.store.set_tags(earlier, {"trial_state": state.name})

    def _check_not_given_away(self) -> None:
        """Say so as a report would: of several objectives nothing is reported before the end."""
        number = self._trial.number
        trial_id = id_of(self._task.study_name, self._storage, number)
        if self._storage.get_trial(trial_id).state.is_finished():
            raise optuna.exceptions.UpdateFinishedTrialError(
                f"trial {number} was failed meanwhile, for it gave no sign of life"
            )

    def _train(self, seed: int, run: Run) -> TrialState | None:
        """Train and record once, and report: the trial's state, or None if it goes on."""
        # TensorFlow takes seconds to import: whoever only gives trials out needs none of it.
        with uncollected("mnist_lab.recording"):
            from mnist_lab.recording import record

        config = self._task.config
        pruned = False
        seconds: list[float] = []
        end: dict[str, float] = {}

        def stop(epoch: Epoch) -> bool:
            nonlocal pruned
            seconds.append(epoch.seconds)
            end.update(val_accuracy=epoch.val_accuracy, val_loss=epoch.val_loss)
            pruned = self._is_hopeless(epoch)
            return pruned

        record(config, self._bench.data, seed, run, self._bench.watcher, stop)
        if run.status == "FAILED":
            return TrialState.FAIL
        # The first epoch contains the compilation.
        end["seconds"] = config.epochs * median(seconds[1:] or seconds)
        end["parameters"] = run.parameters
        self._ends.append(end)
        if pruned:
            return TrialState.PRUNED
        return TrialState.COMPLETE if len(self._ends) == len(self._seeds) else None

    def _is_hopeless(self, epoch: Epoch) -> bool:
        """Report an epoch, or a training's end, as a step; whether the trial is to be pruned.

        The epochs of the first training are steps 1 to E. Each further training is one step more,
        at its end, of the mean over the trainings so far: its first epochs would be compared with
        the last ones of the trainings before.
        """
        declaration, epochs = self._task.declaration, self._task.config.epochs
        if len(declaration.goals) > 1:
            return False
        metric = declaration.chosen_by
        value, step = getattr(epoch, metric), epoch.number
        at_end = epoch.number == epochs
        if self._ends:
            if not at_end:
                return False
            value = fmean([*(earlier[metric] for earlier in self._ends), value])
            step = max(epochs, declaration.most_epochs) + len(self._ends)
        with held():
            self._trial.report(value, step)
            goes_on = not at_end or len(self._ends) + 1 < len(self._seeds)
            return goes_on and self._trial.should_prune()
