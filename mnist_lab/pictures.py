"""The figures of recorded runs: gathers what `mnist_lab.figures` draws from tables and store."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from mnist_lab.comparison import MARGIN
from mnist_lab.data import Dataset
from mnist_lab.estimates import ComparisonError
from mnist_lab.figures import figures_of
from mnist_lab.tables import epochs
from mnist_lab.tracking import MissingAnswersError, Store
from mnist_lab.verdict import Asked, judge, judged_runs

_BEST_TRIALS = 7  # as many as there are colours


def of_experiment(
    runs: pd.DataFrame, name: str, asked: Asked, store: Store, data: Dataset | None
) -> dict[str, Figure]:
    """The figures of an experiment, by the stem of their files.

    Args:
        runs: as from `mnist_lab.runs`.
        name: of the MLflow experiment.
        asked: whose runs are drawn.
        store: where epochs and answers are recorded.
        data: what the runs were trained on, or None: then no digits are drawn.
    """
    judged = judged_runs(runs, asked)
    try:
        comparison = judge(runs, asked)
        comparison = comparison[comparison["variant"].isin(judged["variant"])]
    except ComparisonError:  # the report says why
        comparison = None
    return figures_of(
        judged,
        epochs(name, store),
        comparison if len(asked.configs) > 1 else None,
        _answers(judged, store) if data is not None else None,
        None if data is None else data.test_images,
        None if data is None else data.test_labels,
        margin=MARGIN if asked.margin is None else asked.margin,
    )


def of_study(runs: pd.DataFrame, name: str, store: Store) -> dict[str, Figure]:
    """The figures of a study's complete trials, the best by validation accuracy in colour.

    Args:
        runs: the trials, as from `mnist_lab.runs`.
        name: of the MLflow experiment.
        store: where epochs are recorded.
    """
    trials = runs[runs["state"] == "COMPLETE"]
    # Of a trial with several seeds the mean counts, as for the study.
    trials = trials.assign(name="trial " + trials["trial"].astype(str))
    if trials["study"].nunique() > 1:  # each of them has a trial 0
        trials = trials.assign(name=trials["name"] + ", " + trials["study"])
    means = trials.groupby("name")["val_accuracy"].transform("mean")
    trials = trials.iloc[np.argsort(-means.to_numpy(), kind="stable")]
    return figures_of(
        trials, epochs(name, store), by="name", metric="val_accuracy", named=_BEST_TRIALS
    )


def newest(runs: pd.DataFrame) -> pd.DataFrame:
    """Of trials of a study that was begun anew those of the newer one.

    Args:
        runs: as from `mnist_lab.runs`.
    """
    by_age = runs.sort_values("start_time", kind="stable")
    parents = by_age.groupby("study", dropna=False)["parent"].transform("last")
    return by_age[(by_age["parent"] == parents) | parents.isna()]


def _answers(judged: pd.DataFrame, store: Store) -> dict[str, np.ndarray]:
    """Each variant's answers to the test images, (runs, m); runs without any are left out."""
    answers: dict[str, list[np.ndarray]] = {}
    finished = judged[judged["status"] == "FINISHED"]
    for run_id, variant in finished[["run_id", "variant"]].itertuples(index=False):
        try:
            answers.setdefault(variant, []).append(store.answers(run_id))
        except MissingAnswersError:  # its artifacts were deleted
            continue
    return {variant: np.stack(rows) for variant, rows in answers.items() if rows}
