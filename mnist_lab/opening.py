"""Opens a study in its storage, and refuses to mix trials of two different ones."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import optuna
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback

from mnist_lab.conditional import ConditionalSpace
from mnist_lab.config import RunConfig, RunFields, UserError
from mnist_lab.connection import without_password
from mnist_lab.data import Dataset
from mnist_lab.sampling import pruner
from mnist_lab.space import MAXIMIZED, StudyDeclaration

_HEARTBEAT_SECONDS = 15


class StudyError(UserError):
    """A study that cannot be run as asked."""


def open_study(
    declaration: StudyDeclaration,
    study_name: str,
    data: Dataset,
    url: str,
    space: ConditionalSpace | None,
) -> optuna.Study:
    """The study in its storage: a new one with the trials known beforehand, or the recorded one.

    Args:
        declaration: of the study.
        study_name: of the study.
        data: the digits.
        url: of the storage.
        space: the function that the declaration names, if it does.

    Raises:
        StudyError: the storage cannot be used, or holds a different study of this name.
    """
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
            directions=[
                "maximize" if goal in MAXIMIZED else "minimize" for goal in declaration.goals
            ],
            pruner=pruner(declaration),
            load_if_exists=True,
        )
    except Exception as error:
        first_line = str(error).splitlines()[0].replace(url, shown)
        raise StudyError(
            f"--storage: {shown} cannot be used ({first_line}); expected a database that can be "
            "written, such as sqlite:///studies/NAME.db or postgresql://USER@HOST/DATABASE"
        ) from None
    declared = _told(declaration, data, space)
    if "declaration" in study.user_attrs:
        _check_same(declared, study, study_name, shown)
    else:
        _enqueue(declaration, study, space)
        study.set_user_attr("declaration", declared)
    return study


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
        told[f"what {space.named} does"] = space.digest
    return told | {"data_sha256": data.sha256}


def _enqueue(
    declaration: StudyDeclaration, study: optuna.Study, space: ConditionalSpace | None
) -> None:
    """Let the trials that are known beforehand wait in the storage: the baseline's is the first."""
    again = bool(study.trials)  # an earlier call was killed in the midst of this
    points: list[dict[str, Any]] = []
    if space is not None:
        if declaration.first:
            fixed = declaration.config
            config = space.configuration(optuna.trial.FixedTrial(declaration.first), fixed)
            variant = "baseline" if config == RunConfig(**dict(fixed)) else "trial"
            attributes = {"variant": variant}
            study.enqueue_trial(declaration.first, attributes, skip_if_exists=again)
        return
    baseline = declaration.baseline_parameters()
    if declaration.sampler == "grid":
        points = [point for point in declaration.grid() if point != baseline]
        np.random.default_rng(declaration.seed).shuffle(points)
    if baseline is not None:
        study.enqueue_trial(baseline, {"variant": "baseline"}, skip_if_exists=again)
    for point in points:
        study.enqueue_trial(point, skip_if_exists=again)


def _check_same(
    declared: dict[str, object], study: optuna.Study, study_name: str, shown: str
) -> None:
    """Refuse to mix trials of two different studies under one name."""
    # A field that is newer than the study had its default then.
    config = RunFields().model_dump(mode="json")
    newer = StudyDeclaration().model_dump(
        mode="json", include={"objectives", "seeds_per_trial", "space", "first"}
    )
    recorded = {
        **{f"config.{key}": value for key, value in config.items()},
        **newer,
        **study.user_attrs["declaration"],
    }
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
