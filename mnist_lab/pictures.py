"""The figures of recorded runs: gathers what `mnist_lab.figures` draws from tables and store."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from mnist_lab.comparison import MARGIN
from mnist_lab.connection import TrackingError
from mnist_lab.data import Dataset
from mnist_lab.estimates import ComparisonError
from mnist_lab.figures import figures_of
from mnist_lab.tables import epochs
from mnist_lab.tracking import Store
from mnist_lab.verdict import Asked, judge, judged_runs


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
    except ComparisonError:  # the report says why
        comparison = None
    curves = epochs(name, store)
    return figures_of(
        judged,
        curves[curves["run_id"].isin(judged["run_id"])],
        comparison if len(asked.configs) > 1 else None,
        _answers(judged, store) if data is not None else None,
        None if data is None else data.test_images,
        None if data is None else data.test_labels,
        margin=MARGIN if asked.margin is None else asked.margin,
    )


def of_study(runs: pd.DataFrame, name: str, store: Store) -> dict[str, Figure]:
    """The figures of a study's trials, by the stem of their files: no two have equal settings."""
    curves = epochs(name, store)
    curves = curves[curves["run_id"].isin(runs["run_id"])]
    return figures_of(runs, curves, metric="val_accuracy")


def _answers(judged: pd.DataFrame, store: Store) -> dict[str, np.ndarray]:
    """Each variant's answers to the test images, (runs, m); runs without any are left out."""
    answers: dict[str, list[np.ndarray]] = {}
    finished = judged[judged["status"] == "FINISHED"]
    for run_id, variant in finished[["run_id", "variant"]].itertuples(index=False):
        try:
            answers.setdefault(variant, []).append(store.answers(run_id))
        except TrackingError:  # its artifacts were deleted
            continue
    return {variant: np.stack(rows) for variant, rows in answers.items() if rows}
