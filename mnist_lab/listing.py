"""Recorded runs as text: the columns that tell them apart, the best first."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from tabulate import tabulate

from mnist_lab.tables import EPOCH_METRICS, FIELD_COLUMNS


def sort(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Runs from the best to the worst by a validation metric; those without it come last."""
    return table.sort_values(
        metric, ascending=metric.endswith("loss"), na_position="last", kind="stable"
    ).reset_index(drop=True)


def grouped(table: pd.DataFrame) -> pd.DataFrame:
    """Runs that verdicts rest on by variant and seed, and those of tuning after them.

    They are not ranked: the variants of an experiment are compared, not chosen from.
    """
    first = {variant: place for place, variant in enumerate(table["variant"].unique())}
    places = pd.DataFrame(
        {
            "experiment": table["experiment"],
            "stage": table["stage"] == "tuning",
            "variant": table["variant"].map(first),
            "seed": table["seed"],
        }
    )
    order = places.sort_values(list(places.columns), kind="stable").index
    return table.loc[order].reset_index(drop=True)


def ordered(table: pd.DataFrame) -> pd.DataFrame:
    """A study's trials, the best by validation accuracy first, then all other runs as `grouped`."""
    is_trial = table["trial"].notna()
    parts = [sort(table[is_trial], "val_accuracy"), grouped(table[~is_trial])]
    return pd.concat([part for part in parts if len(part)] or [table], ignore_index=True)


def by_trial(table: pd.DataFrame) -> pd.DataFrame:
    """A row a trial: of one with several trainings the mean of what was measured.

    Args:
        table: runs of one study's trials; those of a trial differ in their seed alone.

    Returns:
        The same columns; `duration` is the sum, and all that cannot be averaged is of the first.
    """
    if not table["trial"].duplicated().any():
        return table
    means = [*EPOCH_METRICS, "test_loss", "test_accuracy"]
    how: dict[str, str] = dict.fromkeys(table.columns, "first") | dict.fromkeys(means, "mean")
    how |= dict.fromkeys(("duration", "train_seconds", "epochs_done"), "sum")
    grouped_ = table.sort_values(["trial", "seed"], kind="stable").groupby("trial", sort=False)
    return grouped_.agg({key: value for key, value in how.items() if key != "trial"}).reset_index()


def readable_front(front: pd.DataFrame) -> str:
    """A Pareto front as aligned text."""
    cells = [
        [
            _cell(column, value) if value == value and value is not None else ""
            for column, value in zip(front.columns, row, strict=True)
        ]
        for row in front.astype(object).itertuples(index=False)
    ]
    text: str = tabulate(
        cells,
        headers=list(front.columns),
        disable_numparse=True,
        colalign=["right"] * len(front.columns),
    )
    return text


def readable(
    table: pd.DataFrame,
    keep: Sequence[str] = (),
    form: str = "simple",
    metric: str = "val_accuracy",
) -> str:
    """The columns that tell runs apart, as aligned text.

    Args:
        table: the runs, in their order.
        keep: fields that are shown in any case.
        form: tabulate's: "pipe" is markdown.
        metric: that they are ordered by, shown before the accuracies.
    """
    # Of a trial whose space failed no field is on record.
    configured = table[table["hidden"].notna()]
    others = ("stage", "seed", "study", "experiment", "data_sha256")
    varied = [
        column
        for columns, rows in ((FIELD_COLUMNS.values(), configured), (others, table))
        for column in columns
        if column in keep or rows[column].nunique(dropna=False) > 1
    ]
    trials = table["trial"].notna().any()
    columns = [
        *(["trial", "state"] if trials else ["name"]),
        *(["status"] if (table["status"] != "FINISHED").any() else []),
        *varied,
        *dict.fromkeys((metric, "val_accuracy", "test_accuracy", "duration")),
    ]
    shown = table[columns].rename(columns={"duration": "seconds"})
    cells = [
        [
            "" if value != value or value is None else _cell(column, value)
            for column, value in zip(shown.columns, row, strict=True)
        ]
        for row in shown.astype(object).where(shown.notna(), None).itertuples(index=False)
    ]
    text: str = tabulate(
        cells,
        headers=list(shown.columns),
        tablefmt=form,
        disable_numparse=True,
        colalign=["right"] * len(shown.columns) if cells else None,
    )
    return text


def _cell(column: str, value: object) -> str:
    if column == "seconds":
        return f"{value:.1f}"
    if column == "data_sha256":
        return str(value)[:12]
    if column == "parameters":
        return f"{value:,.0f}"
    if isinstance(value, float):
        return f"{value:.4f}" if column.endswith(("accuracy", "loss")) else f"{value:.4g}"
    return str(value)
