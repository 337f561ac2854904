"""Runs a study by Optuna: asks for its trials, and has them trained."""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from collections.abc import Iterator, Sequence

import optuna
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from mnist_lab.conditional import ConditionalSpace, EpochsError, SpaceError, TakenError
from mnist_lab.config import ConfigError, RunConfig, UserError, as_params
from mnist_lab.connection import TrackingError, local_uri, without_password
from mnist_lab.data import Dataset
from mnist_lab.dimensions import Choices, IntRange
from mnist_lab.interrupts import held
from mnist_lab.opening import (
    HEARTBEAT_SECONDS,
    REFUSED,
    STORAGE_ERRORS,
    STUDY_ID,
    StudyError,
    alone_with,
    disposed,
    open_study,
    quiet,
    unusable,
)
from mnist_lab.outcome import Outcome, finished, log_outcome, outcome_of
from mnist_lab.process import this_process
from mnist_lab.progress import Progress
from mnist_lab.recovery import (
    PROCESS,
    call_off,
    close_runs_of_dead_trials,
    fail_and_retry,
    fail_dead_trials,
    id_of,
    owned,
    owner,
    parents_of_others,
)
from mnist_lab.retries import counts, try_next
from mnist_lab.sampling import next_point, points_of_grid
from mnist_lab.space import StudyDeclaration
from mnist_lab.tracking import Run, Store
from mnist_lab.trial import TrialTask
from mnist_lab.work import Task, Team

# We draw our own progress and print our own results.
optuna.logging.set_verbosity(optuna.logging.ERROR)

# How often one looks whether the trials of another process have ended.
_LOOK_SECONDS = 1.0
# So many trials with refused values are a space that is mistaken: of all trials, where none was of
# use; in a row, where a space's function fails.
_MOST_REFUSED = 5
# What Optuna's storage says of what was deleted.
_NO_RECORD = "Record does not exist"
# States of trials whose values were a configuration; one that failed is, but for the refused.
_OF_USE = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)


def run_study(
    declaration: StudyDeclaration,
    name: str,
    study_name: str,
    data: Dataset,
    store: Store,
    storage_url: str,
    team: Team,
    timeout: float | None = None,
    space: ConditionalSpace | None = None,
) -> Outcome:
    """Search until the study has `declaration.trials` trials, going on with what is recorded.

    Several processes may do so at once, on several machines: together they come to that total.

    Args:
        declaration: the space and the budget.
        name: of the MLflow experiment.
        study_name: of the Optuna study: `name`, and what the command line changed.
        data: the digits; trials train on all but the validation images.
        store: where runs are recorded.
        storage_url: of the Optuna storage, for example sqlite:///studies/baseline.db.
        team: who trains.
        timeout: seconds after which no further trial is begun.
        space: the function that the declaration names, if it does.

    Raises:
        SpaceError: the function fails, or gives a configuration that is refused.
        StudyError: the storage cannot be used, or holds a different study of this name.
        KeyboardInterrupt: after the runs under way have ended as KILLED.
    """
    data.split(declaration.config.validation_size)
    with quiet(), _told_of(storage_url):
        tags = {"kind": "study", "study": study_name, "data_sha256": data.sha256}

        def start_parent(study_id: str) -> str:
            mine = {**tags, STUDY_ID: study_id}
            with store.run(store.experiment(name), study_name, tags=mine) as parent:
                return parent.id

        study, storage = open_study(declaration, study_name, data, storage_url, space, start_parent)
        experiment_id = store.experiment(name)
        store.save_view(experiment_id, list(declaration.search) or ["hidden"], ("stage",))
        if STUDY_ID in study.user_attrs:
            tags[STUDY_ID] = study.user_attrs[STUDY_ID]
        with (
            disposed(storage),
            store.run(
                experiment_id, study_name, tags=tags, resume=_parent(study, store, experiment_id)
            ) as parent,
        ):
            if study.user_attrs.get("parent_run_id") != parent.id:  # the store is another one
                study.set_user_attr("parent_run_id", parent.id)
            search = _Search(
                declaration,
                study,
                storage,
                study_name,
                storage_url,
                store,
                experiment_id,
                parent,
                space,
                data,
            )
            search.run(team, timeout)
            records = store.runs(experiment_id)
            others = parents_of_others(study, records)
            outcome = outcome_of(declaration, study, experiment_id, parent.id, others)
            told = next((run.tags for run in records if run.run_id == parent.id), {})
            log_outcome(parent, told, declaration, study, outcome)
            # Its import takes two seconds, which the first trial need not wait for.
            from mnist_lab.drawing import draw

            # Of several processes that end together, one draws, and the others find it done.
            with alone_with(storage_url, "figures"):
                draw(parent, declaration, study, others, name, store)
    return outcome


def _parent(study: optuna.Study, store: Store, experiment_id: str) -> str | None:
    """The study's run in a store. The one it was last shown under may be in another store."""
    last = study.user_attrs.get("parent_run_id")
    if last is None or store.has_run(last):
        return last
    tags = {"kind": "study", STUDY_ID: study.user_attrs.get(STUDY_ID, "")}
    found = store.find_run(experiment_id, tags)
    return None if found is None else found.run_id


@contextlib.contextmanager
def _told_of(storage_url: str) -> Iterator[None]:
    """Tell of a storage that fails in mid-study what is told of one that fails at its beginning."""
    try:
        yield
    except STORAGE_ERRORS as error:
        raise unusable(storage_url, error) from None
    except KeyError as error:
        if _NO_RECORD not in str(error):
            raise
        raise StudyError(
            f"--storage: the study was deleted from {without_password(storage_url)} while it ran; "
            "its runs are on record all the same, and the same command begins it anew"
        ) from None


class _Search:
    """The trials of one call of the command."""

    def __init__(
        self,
        declaration: StudyDeclaration,
        study: optuna.Study,
        storage: RDBStorage,
        study_name: str,
        storage_url: str,
        store: Store,
        experiment_id: str,
        parent: Run,
        space: ConditionalSpace | None,
        data: Dataset,
    ) -> None:
        self._data = data
        self._declaration = declaration
        self._study = study
        self._study_name = study_name
        self._storage_url = storage_url
        self._storage = storage
        self._store = store
        self._experiment_id = experiment_id
        self._parent = parent
        self._space = space
        self._call = uuid.uuid4().hex
        self._points = points_of_grid(declaration) if declaration.sampler == "grid" else []
        self._begun: set[int] = set()
        self._failed_in_a_row = 0
        self._spared: dict[int, float] = {}

    def run(self, team: Team, timeout: float | None) -> None:
        """Run the trials that are missing, after those that a killed process left behind."""
        self._recover(())
        done = len(finished(self._study))
        if done >= self._declaration.trials:
            return
        deadline = None if timeout is None else time.monotonic() + timeout
        with Progress("trials", self._declaration.trials, done) as progress:
            try:
                self._run(team, progress, deadline)
            except BaseException:
                try:
                    team.stop()
                finally:
                    # What went wrong before is the greater news.
                    for number in sorted(self._begun):
                        with contextlib.suppress(*STORAGE_ERRORS):
                            self._call_off([number])
                    with contextlib.suppress(TrackingError, *STORAGE_ERRORS):
                        self._recover((self._call,))
                raise
        self._recover((self._call,))

    def _run(self, team: Team, progress: Progress, deadline: float | None) -> None:
        while True:
            done = len(finished(self._study))
            progress.reach(done)
            late = deadline is not None and time.monotonic() >= deadline
            if not late and team.room() > 0 and (task := self._next()) is not None:
                team.begin(task, progress)
            elif team.busy():
                self._beat()
                for ended in team.ended(HEARTBEAT_SECONDS):
                    self._settle(ended)
                self._recover_trials()
            elif late or done >= self._declaration.trials:
                return
            else:  # what is missing is under way in another process
                time.sleep(_LOOK_SECONDS)
                self._recover_trials()

    @held()
    def _next(self) -> TrialTask | None:
        """A trial to train, or None if those that are missing are under way."""
        while (trial := self._ask()) is not None:
            try:
                config = self._configuration(trial)
            except (ConfigError, SpaceError) as error:
                # These tell that what is declared is mistaken: it is the study's, no trial's.
                mistaken = isinstance(error, EpochsError | TakenError)
                if mistaken and not self._some_are_of_use(trial.number):
                    raise
                self._refuse(trial, error)
                continue
            self._failed_in_a_row = 0
            trial.set_user_attr("config", config.model_dump(mode="json", exclude_defaults=True))
            return TrialTask(
                declaration=self._declaration,
                study_name=self._study_name,
                # A worker may be in another folder.
                storage_url=local_uri(self._storage_url),
                number=trial.number,
                asker=this_process(),
                config=config,
                tags=self._tags(trial),
                experiment_id=self._experiment_id,
                parent_id=self._parent.id,
            )
        return None

    def _ask(self) -> optuna.Trial | None:
        with alone_with(self._storage_url):
            running = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
            if len(finished(self._study)) + len(running) >= self._declaration.trials:
                return None
            if self._declaration.sampler == "grid":
                point = next_point(self._points, self._study.get_trials(deepcopy=False))
                if point is not None:
                    self._study.enqueue_trial(point)
            trial = self._study.ask()
            self._begun.add(trial.number)
            trial.set_user_attr(PROCESS, owned(trial.number, this_process()))
        if self._is_one_too_many(trial.number):
            self._call_off([trial.number])
            return None
        self._storage.record_heartbeat(id_of(self._study_name, self._storage, trial.number))
        return trial

    def _tags(self, trial: optuna.Trial) -> dict[str, str]:
        return {
            "kind": "training",
            "study": self._study_name,
            "trial": str(trial.number),
            "variant": trial.user_attrs.get("variant", "trial"),
            "call": self._call,
        }

    def _refuse(self, trial: optuna.Trial, error: UserError) -> None:
        """Let a trial fail whose values are no configuration: each alone may be one.

        Raises:
            UserError: `error`, if that may be so of all trials: the space's function fails for
                many in a row; or none is any better, and it fails or many have been refused.
        """
        reason = str(error)
        name, parent = f"trial {trial.number}", self._parent.id
        with self._store.run(
            self._experiment_id, name, tags=self._tags(trial), parent=parent
        ) as run:
            run.log_circumstances(*self._values(trial), self._declaration.seed, self._data)
            run.fail(reason)
            trial.set_user_attr("run_id", run.id)
            trial.set_user_attr(REFUSED, True)
            trial.set_user_attr("failure", reason)
            self._study.tell(trial, state=TrialState.FAIL)
            run.tag({"trial_state": TrialState.FAIL.name})
        self._begun.discard(trial.number)
        # An error of the function's own has a cause; values that it gave and that are refused have
        # none.
        fails = error.__cause__ is not None or isinstance(error, TakenError)
        self._failed_in_a_row = self._failed_in_a_row + 1 if fails else 0
        if self._some_are_of_use(trial.number):
            if self._failed_in_a_row >= _MOST_REFUSED:
                raise error
            return
        trials = self._study.get_trials(deepcopy=False)
        refused = sum(REFUSED in other.user_attrs for other in trials)
        most = 1 if isinstance(error, SpaceError) else min(_MOST_REFUSED, self._declaration.trials)
        if refused >= most:
            raise error

    def _values(self, trial: optuna.Trial) -> tuple[dict[str, str], dict[str, str]]:
        """The values of a trial as parameters of its run, and as tags what are no fields."""
        declaration = self._declaration
        if self._space is not None:
            return {}, {"values": json.dumps(trial.params)}
        values = declaration.values(trial.params)
        return as_params({**dict(declaration.config), **values}), {}

    def _some_are_of_use(self, besides: int) -> bool:
        """Whether the values of another trial than `besides` were a configuration."""
        return any(
            other.state in _OF_USE and REFUSED not in other.user_attrs and other.number != besides
            for other in self._study.get_trials(deepcopy=False)
        )

    def _beat(self) -> None:
        """Tell the storage that the trials which wait for a worker are not forgotten.

        The workers of a cluster may be busy for others. Whoever trains a trial beats for it.
        """
        if not self._begun:
            return
        trials = self._study.get_trials(deepcopy=False)
        for number in self._begun:
            if owner(trials[number]) == this_process():
                trial_id = id_of(self._study_name, self._storage, number)
                self._storage.record_heartbeat(trial_id)

    def _is_one_too_many(self, number: int) -> bool:
        """Whether processes on several machines asked at once: those who asked first go on."""
        before = [
            trial
            for trial in self._study.get_trials(deepcopy=False)
            if counts(trial) or (trial.state == TrialState.RUNNING and trial.number < number)
        ]
        return len(before) >= self._declaration.trials

    def _settle(self, task: Task) -> None:
        """Let a trial be tried again whose worker was killed before it could begin."""
        assert isinstance(task, TrialTask)
        self._begun.discard(task.number)
        trial = self._study.get_trials(deepcopy=False)[task.number]
        if trial.state == TrialState.RUNNING and owner(trial) == this_process():
            with alone_with(self._storage_url):
                fail_and_retry(self._study, self._storage, task.number)

    @held()
    def _call_off(self, numbers: Sequence[int]) -> None:
        """Free the places of trials that this call began, so far as they have not ended.

        Their parameters are the first to be tried next time.
        """
        for number in numbers:
            self._begun.discard(number)
            trial = self._study.get_trials(deepcopy=False)[number]
            if trial.state != TrialState.RUNNING:
                continue
            with (
                alone_with(self._storage_url),
                contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError),
            ):
                call_off(self._study_name, self._storage, number)
                try_next(self._study, trial)

    def _recover_trials(self) -> None:
        if self._fail_dead_trials():
            self._recover(())

    def _fail_dead_trials(self) -> bool:
        # To fail a trial and to let another one wait in its place are two steps, between which no
        # other process looks.
        with alone_with(self._storage_url):
            return fail_dead_trials(self._study, self._storage, self._spared)

    def _recover(self, ended: tuple[str, ...]) -> None:
        self._fail_dead_trials()
        close_runs_of_dead_trials(self._study, self._store, self._experiment_id, ended)

    def _configuration(self, trial: optuna.Trial) -> RunConfig:
        declaration = self._declaration
        if self._space is not None:
            config = self._space.configuration(trial, declaration.config)
            by_epochs = declaration.pruner == "hyperband" or declaration.seeds_per_trial > 1
            if by_epochs and config.epochs != declaration.config.epochs:
                raise EpochsError(
                    f"{declaration.space} gave epochs = {config.epochs}; with pruner 'hyperband', "
                    "or several seeds a trial, all trials have the epochs of [config]"
                )
            return config
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
