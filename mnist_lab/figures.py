"""All figures of recorded runs, drawn from tables and arrays, and how they are written."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure

from mnist_lab.costs import accuracy_over
from mnist_lab.curves import learning_curves
from mnist_lab.forest import differences
from mnist_lab.looks import names_of
from mnist_lab.mistakes import Integers, confusions, misclassified

__all__ = [
    "accuracy_over",
    "confusions",
    "differences",
    "figures_of",
    "learning_curves",
    "misclassified",
    "save",
    "save_all",
]

_DPI = 130


def figures_of(
    runs: pd.DataFrame,
    epochs: pd.DataFrame | None = None,
    comparison: pd.DataFrame | None = None,
    answers: Mapping[str, Integers] | None = None,
    images: npt.NDArray[np.uint8] | None = None,
    labels: Integers | None = None,
    *,
    by: str = "variant",
    metric: str = "test_accuracy",
    margin: float | None = None,
    named: int | None = None,
) -> dict[str, Figure]:
    """All figures that the inputs allow, with each variant in one look throughout.

    Args:
        runs: one row a run, as `tables.runs` gives it.
        epochs: one row per run and epoch, as `tables.epochs` gives it; those of other runs are
            left out.
        comparison: as for `differences`; the baseline comes first in every figure.
        answers: a variant's name to its answers on the test images, (runs, m).
        images: (m, 28, 28) uint8, the test images.
        labels: (m,), their true classes.
        by: the column that names the variant.
        metric: the accuracy that was compared.
        margin: the margin of equivalence, in the metric's units.
        named: so many variants, from the first of the comparison or else of the runs, are
            coloured and named, the others grey; by default all.

    Returns:
        From a file's stem to its figure: `learning_curves`, `differences`,
        `accuracy_parameters`, `accuracy_seconds`, `confusion`, `misclassified`.
    """
    order = _order(runs, comparison, by)
    figures = {}
    if epochs is not None:
        epochs = epochs.drop(columns=by, errors="ignore").merge(runs[["run_id", by]], on="run_id")
        if not epochs.empty:
            figures["learning_curves"] = learning_curves(epochs, by, order, named)
    if comparison is not None and not comparison.empty:
        figures["differences"] = differences(comparison, by, metric, margin)
    for stem, x in (("accuracy_parameters", "parameters"), ("accuracy_seconds", "train_seconds")):
        if {x, metric} <= set(runs) and runs[x].notna().any():
            figures[stem] = accuracy_over(runs, x, by, metric, order, named)
    if answers and images is not None and labels is not None:
        answers = {name: answers[name] for name in order if name in answers}
        figures["confusion"] = confusions(answers, labels)
        figures["misclassified"] = misclassified(images, labels, answers)
    return figures


def _order(runs: pd.DataFrame, comparison: pd.DataFrame | None, by: str) -> list[str]:
    """The variants in the comparison's order and then the runs', the baseline before all."""
    names = list(names_of(runs[by]))
    if comparison is not None:
        baseline = comparison["verdict"] == "baseline"
        names = [*comparison.loc[baseline, by], *comparison[by], *names]
    return list(dict.fromkeys(str(name) for name in names))


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, the same bytes for the same figure, and whole or not at all.

    Args:
        figure: what to write.
        path: the file; its folder is made.

    Raises:
        OSError: it cannot be written; what was there before is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        figure.savefig(partial, format="png", dpi=_DPI, metadata={"Software": None})
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def save_all(figures: Mapping[str, Figure], folder: Path) -> list[Path]:
    """Write figures under their stems, as `figures_of` gives them, and say where they are."""
    paths = [folder / f"{stem}.png" for stem in figures]
    for figure, path in zip(figures.values(), paths, strict=True):
        save(figure, path)
    return paths
