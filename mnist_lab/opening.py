"""Opens a study in its storage, and refuses to mix trials of two different ones."""

from __future__ import annotations

import contextlib
import json
import os
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import TrialState
from sqlalchemy.exc import SQLAlchemyError

from mnist_lab import postgresql, sqlite_uri
from mnist_lab.conditional import ConditionalSpace, SpaceError
from mnist_lab.config import RunConfig, RunFields, UserError
from mnist_lab.connection import alone, first_line, without_password
from mnist_lab.data import Dataset
from mnist_lab.files import whole
from mnist_lab.process import is_dead, this_process
from mnist_lab.retries import try_again
from mnist_lab.room import check_database
from mnist_lab.sampling import ByPlace, pruner
from mnist_lab.space import MAXIMIZED, StudyDeclaration

HEARTBEAT_SECONDS = 15
# Whoever makes a study on another machine has filled it by then, or was killed.
_PATIENCE_SECONDS = 30
# Of a trial's attributes: its values were no configuration.
REFUSED = "refused"
# Of a study's attributes: the process that makes it.
_MAKER = "maker"
# Of a study's attributes and of its run's tags: it tells two studies of one name apart.
STUDY_ID = "study_id"

# Tables that an MLflow store has, and Optuna's storage has not all of.
_OF_MLFLOW = {"alembic_version", "experiments", "runs"}
# What a storage raises that is away, full or read-only.
STORAGE_ERRORS = (optuna.exceptions.StorageInternalError, SQLAlchemyError)


class StudyError(UserError):
    """A study that cannot be run as asked."""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without Optuna's notices on heartbeats.

    They are experimental, it says, as they have been since 2.5, and meant for its own loop; ours
    beats as that one does.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        warnings.filterwarnings("ignore", "Heartbeat of storage is supposed to be used with")
        yield


def make_storage(url: str) -> RDBStorage:
    """The storage at a URL; its tables are made if there are none.

    Raises:
        StudyError: it cannot be used.
        RoomError: it could not be written.
    """
    path = sqlite_uri.local_path(url)
    if sqlite_uri.in_memory(url):
        raise StudyError(
            f"--storage: {url} is in the memory of one process; expected a database that lasts, "
            "such as sqlite:///studies/NAME.db"
        )
    if path is not None and os.path.isdir(path.parent):
        check_database(path, "database of studies", "another --storage")
    try:
        if path is not None and not path.exists():
            # All of it or nothing: half the tables are there if this process is killed now.
            with whole(path) as unfinished:
                _storage(sqlite_uri.file_uri(unfinished)).engine.dispose()
        _check_own(url)
        return _storage(url)
    except StudyError:
        raise
    except Exception as error:
        raise unusable(url, error) from None


def _check_own(url: str) -> None:
    """Refuse MLflow's database, in which Optuna would leave its tables before it gives up.

    Raises:
        StudyError: names it.
    """
    engine = sqlalchemy.create_engine(url, **_patience(url))
    try:
        tables = sqlalchemy.inspect(engine).get_table_names()
    finally:
        engine.dispose()
    if {*tables} >= _OF_MLFLOW:
        raise StudyError(
            f"--storage: {without_password(url)} is the database of an MLflow store; expected one "
            "of its own, such as sqlite:///studies/NAME.db or postgresql://USER@HOST/DATABASE"
        )


def _make_database(url: str) -> None:
    """The database of a server, which has the lock on the making of its tables.

    Raises:
        StudyError: the server does not answer, or there may be none of that name.
    """
    if not postgresql.is_postgresql(url):
        return
    try:
        postgresql.create_database(url)
    except Exception as error:
        raise unusable(url, error) from None


def unusable(url: str, error: Exception) -> StudyError:
    """What is said of a storage that does not do its work."""
    shown = without_password(url)
    # Optuna's own words on an error of the database are a guess at what it was.
    said = first_line(error.__cause__ or error, url, shown)
    return StudyError(
        f"--storage: {shown} cannot be used ({said}); expected a database that can be "
        "written, such as sqlite:///studies/NAME.db or postgresql://USER@HOST/DATABASE"
    )


def _storage(url: str, made: bool = False) -> RDBStorage:
    with quiet():
        return RDBStorage(
            url,
            engine_kwargs=_patience(url),
            heartbeat_interval=HEARTBEAT_SECONDS,
            grace_period=4 * HEARTBEAT_SECONDS,
            heartbeat_stale_trial_callback=try_again,
            skip_table_creation=made,
            skip_compatibility_check=made,
        )


def _patience(url: str) -> dict[str, Any]:
    """Of an engine: whoever waits for a writer would give up after 5 seconds by default."""
    return {"connect_args": {"timeout": 60}} if sqlite_uri.local_path(url) else {}


def alone_with(url: str, what: str = "storage") -> AbstractContextManager[None]:
    """Hold off other processes that use a storage: of PostgreSQL all, else those of this machine.

    With PostgreSQL only those that use it for the same; `what` says for what.

    The tables of a new database can be made by one process at a time, and nothing else keeps two
    of them from asking for the last trial both.
    """
    if postgresql.is_postgresql(url):
        return postgresql.alone_on(url, what)
    path = sqlite_uri.local_path(url) or Path("storage")
    # Where there is no folder, opening the storage says so.
    return alone(path) if os.path.isdir(path.parent) else contextlib.nullcontext()


def open_study(
    declaration: StudyDeclaration,
    study_name: str,
    data: Dataset,
    url: str,
    space: ConditionalSpace | None,
    start_parent: Callable[[str], str],
) -> tuple[optuna.Study, RDBStorage]:
    """The study in its storage: a new one with the trials known beforehand, or the recorded one.

    However many processes open a new study at once, one of them makes it.

    Args:
        declaration: of the study.
        study_name: of the study.
        data: the digits.
        url: of the storage.
        space: the function that the declaration names, if it does.
        start_parent: starts the run under which all trials are shown, and gives its id; is told
            the study's STUDY_ID.

    Raises:
        StudyError: the storage cannot be used, or holds a different study of this name.
    """
    declared = _told(declaration, data, space)
    path = sqlite_uri.local_path(url)
    folder = None if path is None else path.parent
    if folder is not None and os.path.isdir(folder) and not os.access(folder, os.R_OK | os.X_OK):
        raise unusable(url, PermissionError(f"{folder} may not be looked into"))
    _make_database(url)
    with alone_with(url):
        storage = make_storage(url)
        try:
            study = _study(declaration, study_name, storage)
        except optuna.exceptions.StorageInternalError as error:
            raise unusable(url, error) from None
        if _is_mended(study, declared):
            optuna.delete_study(study_name=study_name, storage=storage)
            study = _study(declaration, study_name, storage)
        if "declaration" not in study.user_attrs and not sqlite_uri.local_path(url):
            _wait_for_maker(study)
        if _is_unfinished(study):
            optuna.delete_study(study_name=study_name, storage=storage)
            study = _study(declaration, study_name, storage)
        if "declaration" not in study.user_attrs:
            _check_ours(declaration, study, without_password(url))
            study.set_user_attr(_MAKER, this_process())
            _enqueue(declaration, study, space)
            # One that was begun anew is another one, though it has the name.
            study.set_user_attr(STUDY_ID, study.user_attrs.get(STUDY_ID, uuid.uuid4().hex))
            study.set_user_attr("parent_run_id", start_parent(study.user_attrs[STUDY_ID]))
            study.set_user_attr("declaration", declared)  # the last: it says that all is there
            return study, storage
    _check_same(declared, study, study_name, without_password(url))
    return study, storage


def _is_mended(study: optuna.Study, declared: dict[str, object]) -> bool:
    """Whether the declaration was changed after trials of which none was trained to an end.

    There were none, their values were refused, or they were interrupted. Such a study begins anew:
    Optuna keeps to the distributions of the trials that there were.
    """
    if "declaration" not in study.user_attrs or _recorded(study) == declared:
        return False
    trials = study.get_trials(deepcopy=False)
    begun = [trial for trial in trials if trial.state != TrialState.WAITING]
    if not begun:
        return _is_abandoned(study)
    return all(
        trial.state == TrialState.FAIL
        and (REFUSED in trial.user_attrs or "failure" not in trial.user_attrs)
        for trial in begun
    )


def _is_unfinished(study: optuna.Study) -> bool:
    """Whether an earlier call gave up while it made the study, and may have been mended since.

    No trial of it was begun, and what it was to optimize, or first, may be another by now.
    """
    begun = any(trial.state != TrialState.WAITING for trial in study.trials)
    return "declaration" not in study.user_attrs and not begun and _is_abandoned(study)


def _is_abandoned(study: optuna.Study) -> bool:
    """Whether the lab made a study, by a process that is no more, or by this one."""
    maker = study.user_attrs.get(_MAKER)
    return maker is not None and (maker == this_process() or is_dead(maker))


def _check_ours(declaration: StudyDeclaration, study: optuna.Study, shown: str) -> None:
    """Refuse a study that something else made: of the lab's own, trials wait by now, if any."""
    begun = sum(trial.state != TrialState.WAITING for trial in study.trials)
    expected, found = (
        ", ".join(direction.name.lower() for direction in directions)
        for directions in (_directions(declaration), study.directions)
    )
    if begun or found != expected:
        raise StudyError(
            f"'{study.study_name}' in {shown} is not a study of mnist_lab: {begun} trials were "
            f"begun by something else, to {found} where this study is to {expected}; expected "
            "another --storage, or another name"
        )


def _directions(declaration: StudyDeclaration) -> list[StudyDirection]:
    return [
        StudyDirection.MAXIMIZE if goal in MAXIMIZED else StudyDirection.MINIMIZE
        for goal in declaration.goals
    ]


def _does(space: ConditionalSpace) -> str:
    return f"what {space.named} does"


@contextlib.contextmanager
def loaded_study(
    declaration: StudyDeclaration, study_name: str, url: str
) -> Iterator[tuple[optuna.Study, RDBStorage]]:
    """A study that is there and its storage, for whoever trains a trial and draws none."""
    storage = _storage(url, made=True)
    with disposed(storage):
        study = optuna.load_study(
            study_name=study_name,
            storage=storage,
            sampler=optuna.samplers.RandomSampler(),
            pruner=pruner(declaration),
        )
        yield study, storage


@contextlib.contextmanager
def disposed(storage: RDBStorage) -> Iterator[None]:
    """Close the connections of a storage in the end."""
    try:
        yield
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _study(declaration: StudyDeclaration, study_name: str, storage: RDBStorage) -> optuna.Study:
    return optuna.create_study(
        storage=storage,
        study_name=study_name,
        directions=_directions(declaration),
        sampler=ByPlace(declaration),
        pruner=pruner(declaration),
        load_if_exists=True,
    )


def _wait_for_maker(study: optuna.Study) -> None:
    """Wait while another machine's process may be filling a study that it has just made."""
    maker = study.user_attrs.get(_MAKER)
    if maker is None or is_dead(maker):
        return
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while "declaration" not in study.user_attrs and time.monotonic() < deadline:
        time.sleep(0.2)


def _told(
    declaration: StudyDeclaration, data: Dataset, space: ConditionalSpace | None
) -> dict[str, object]:
    """What makes a study this one, flat: keys as the user knows them, and values of JSON."""
    told = declaration.model_dump(mode="json", exclude={"title", "trials"})
    search, config = told.pop("search"), told.pop("config")
    for key, dimension in search.items():
        told[f"search.{key}"] = {name: v for name, v in dimension.items() if v is not None}
    told |= {f"config.{key}": value for key, value in config.items()}
    if space is not None:
        told[_does(space)] = space.digest
    return told | {"data_sha256": data.sha256}


def _enqueue(
    declaration: StudyDeclaration, study: optuna.Study, space: ConditionalSpace | None
) -> None:
    """Let the trials that are known beforehand wait in the storage: the baseline's is the first."""
    again = bool(study.trials)  # an earlier call was killed in the midst of this
    if space is not None:
        if declaration.first:
            fixed = declaration.config
            asked = optuna.trial.FixedTrial(declaration.first)
            with warnings.catch_warnings():
                warnings.simplefilter("error", UserWarning)  # a value out of the range asked for
                try:
                    config = space.configuration(asked, fixed)
                except SpaceError as error:
                    # It is what `first` gives that is not found, or out of the range.
                    if not isinstance(error.__cause__, ValueError | UserWarning):
                        raise
                    raise StudyError(f"first: {error}") from None
            if unused := sorted(declaration.first.keys() - asked.params.keys()):
                raise StudyError(
                    f"first: {space.named} does not ask for {', '.join(unused)}; it asks for "
                    f"{', '.join(asked.params) or 'nothing'}"
                )
            variant = "baseline" if config == RunConfig(**dict(fixed)) else "trial"
            attributes = {"variant": variant}
            study.enqueue_trial(declaration.first, attributes, skip_if_exists=again)
        return
    baseline = declaration.baseline_parameters()
    if baseline is not None:  # of a grid each point is told as it is asked for, the first as well
        study.enqueue_trial(baseline, {"variant": "baseline"}, skip_if_exists=again)


def _recorded(study: optuna.Study) -> dict[str, object]:
    """What was declared. A field that is newer than the study had its default then."""
    config = RunFields().model_dump(mode="json")
    newer = StudyDeclaration().model_dump(
        mode="json", include={"objectives", "seeds_per_trial", "space", "first"}
    )
    return {
        **{f"config.{key}": value for key, value in config.items()},
        **newer,
        **study.user_attrs["declaration"],
    }


def _check_same(
    declared: dict[str, object], study: optuna.Study, study_name: str, shown: str
) -> None:
    """Refuse to mix trials of two different studies under one name."""
    recorded = _recorded(study)
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
