"""Recorded runs as text: the columns that tell them apart, the best first."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from tabulate import tabulate

from mnist_lab.tables import FIELD_COLUMNS


def sort(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Runs from the best to the worst by a validation metric; those without it come last."""
    return table.sort_values(
        metric, ascending=metric.endswith("loss"), na_position="last", kind="stable"
    ).reset_index(drop=True)


def grouped(table: pd.DataFrame) -> pd.DataFrame:
    """Runs of experiments by variant and seed, those of tuning after those of the verdict.

    They are not ranked: the variants of an experiment are compared, not chosen from.
    """
    first = {variant: place for place, variant in enumerate(table["variant"].unique())}
    places = pd.DataFrame(
        {
            "experiment": table["experiment"],
            "stage": table["stage"] != "verdict",
            "variant": table["variant"].map(first),
            "seed": table["seed"],
        }
    )
    order = places.sort_values(list(places.columns), kind="stable").index
    return table.loc[order].reset_index(drop=True)


def readable(table: pd.DataFrame, keep: Sequence[str] = (), form: str = "simple") -> str:
    """The columns that tell runs apart, as aligned text, or as markdown (`form="pipe"`)."""
    varied = [
        column
        for column in (
            *FIELD_COLUMNS.values(),
            "stage",
            "seed",
            "study",
            "experiment",
            "data_sha256",
        )
        if column in keep or table[column].nunique(dropna=False) > 1
    ]
    trials = table["trial"].notna().any()
    columns = [
        *(["trial", "state"] if trials else ["name"]),
        *(["status"] if (table["status"] != "FINISHED").any() else []),
        *varied,
        *("val_accuracy", "test_accuracy", "duration"),
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
    if isinstance(value, float):
        return f"{value:.4f}" if column.endswith(("accuracy", "loss")) else f"{value:.4g}"
    return str(value)
