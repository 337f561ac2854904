"""The figures of the benchmarks, from their tables; written beside them in results/."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from benchmarks.compare import RESULTS
from mnist_lab.looks import DASHES, GRID, MARKERS, PALETTE, figure_for

_NAMES = {"mnist_lab": "mnist_lab", "documented": "Optuna + fit + autolog"}
_AXES = {
    "hidden": "units of the hidden layer (batches of 128)",
    "batch_size": "images in a batch (512 units)",
    "depth": "hidden layers of 512 units (batches of 128)",
}

_TO_TORCH = ("case", "ratio to PyTorch, batches by index", "time beside PyTorch's")
_TO_FIT = ("case", "ratio to fit", "time beside that of keras.Model.fit")
# The figure of each table: what names a row, which column is drawn with its range, and its label.
DRAWN = {
    "training": _TO_FIT,
    "training_small": _TO_FIT,
    "tracking": ("case", "ratio to fit under autolog", "time beside that under autolog"),
    "others_baseline": _TO_TORCH,
    "others_small": _TO_TORCH,
    "others_3x1024": _TO_TORCH,
    "training_3x1024": _TO_FIT,
    "variants": ("variant", "ratio", "an epoch beside the plain net's"),
    "epochs": ("net", "floor / epoch", "an epoch's speed beside its floor's"),
    "startup": ("case", "ratio to import keras", "time beside `import keras`"),
    "first_epoch": (
        "case",
        "ratio to import keras and digits",
        "time beside `import keras` and the digits",
    ),
    "threads": ("hidden batch_size", "1 thread / all", "an epoch on one thread beside all"),
    "workers": ("net team", "ratio", "trials an hour beside those in process"),
    "records": ("case", "median_s", "seconds"),
    "reading": ("case of store", "ratio to search_runs", "time beside `mlflow.search_runs`"),
    "first_run": ("case", "median_s", "seconds"),
    "memory": ("case", "ratio to fit and evaluate", "peak beside the notebook's script's"),
}


def draw(name: str) -> None:
    """A figure beside the table of that name in results/, if there is one of its form."""
    if name not in DRAWN or not (RESULTS / f"{name}.csv").is_file():
        return
    named, column, label = DRAWN[name]
    table = pd.read_csv(RESULTS / f"{name}.csv", comment="#")
    in_seconds = column.endswith("_s")
    low, high = ("min_s", "max_s") if in_seconds else ("ratio_min", "ratio_max")
    cases = [", ".join(map(str, row)) for row in table[named.split()].to_numpy()]
    if "runs on record" in table:
        counts = table["runs on record"]
        cases = [f"{case} ({n:,} runs there)" for case, n in zip(cases, counts, strict=True)]
    rows = table.rename(columns={column: "median", low: "low", high: "high"})
    spans(name, rows.assign(case=cases), label, None if in_seconds else 1.0)


def _save(figure: Figure, name: str) -> None:
    figure.savefig(RESULTS / f"{name}.png", dpi=110, metadata={"Software": None})


def spans(name: str, rows: pd.DataFrame, label: str, beside: float | None) -> None:
    """Medians and their ranges, a line a case.

    Args:
        name: of the table, and of the figure.
        rows: one row a case: `case`, `median`, `low` and `high`.
        label: of the axis.
        beside: what they are compared with, as a dashed line.
    """
    figure = figure_for(5.5, 0.9 + 0.32 * len(rows), rows["case"])
    axes = figure.subplots()
    reach = [rows["median"] - rows["low"], rows["high"] - rows["median"]]
    places = range(len(rows))[::-1]
    axes.errorbar(
        rows["median"], places, xerr=reach, fmt="o", color=PALETTE[1], ecolor="#777777", capsize=3
    )
    if beside is not None:
        axes.axvline(beside, color=PALETTE[0], ls="--", lw=0.8)
    if rows["high"].max() > 20 * rows["low"].min():
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
    else:
        axes.set_xlim(left=0)
    axes.set_yticks(places, rows["case"])
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_xlabel(label)
    axes.grid(axis="x", **GRID)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    _save(figure, name)


def costs(table: pd.DataFrame) -> None:
    """Seconds of a trial, of its 5 epochs once compiled, and of its floor: a panel a curve."""
    figure = Figure(figsize=(12, 4), layout="constrained")
    lines = {
        "a trial of 5 epochs": table["trial_s"],
        "its epochs without compiling": 5 * table["epoch_s"],
        "floor: products and updates alone": table["floor_of_trial_s"],
    }
    for axes, (curve, label) in zip(figure.subplots(1, 3, sharey=True), _AXES.items(), strict=True):
        chosen = table["curve"] == curve
        for index, (name, seconds) in enumerate(lines.items()):
            axes.plot(
                table.loc[chosen, "value"],
                seconds[chosen],
                color=PALETTE[index],
                marker=MARKERS[index],
                linestyle=DASHES[index],
                markersize=5,
                label=name,
            )
        axes.set(xlabel=label, xscale="log", yscale="log")
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.grid(**GRID)
    figure.axes[0].set_ylabel("seconds")
    figure.axes[0].legend(frameon=False, loc="upper left")
    _save(figure, "costs")


def best_so_far(points: pd.DataFrame) -> None:
    """The best validation accuracy over the time since the command, a line a study."""
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    for index, (way, name) in enumerate(_NAMES.items()):
        for number, (_, study) in enumerate(points[points["way"] == way].groupby("seed")):
            axes.step(
                study["seconds"],
                100 * study["val_accuracy"].cummax(),
                where="post",
                color=PALETTE[index],
                linestyle=DASHES[index],
                marker=MARKERS[index],
                markersize=4,
                label=name if number == 0 else None,
            )
    axes.set(xlabel="seconds since the command", xscale="log")
    axes.set(ylabel="best validation accuracy so far (%)")
    axes.set_xticks([15, 30, 60, 120, 240], minor=False)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("")
    axes.grid(**GRID)
    axes.legend(frameon=False, loc="lower right")
    _save(figure, "study")


def growth(table: pd.DataFrame) -> None:
    """The resident memory of a process over its trials."""
    figure = Figure(figsize=(7, 3.5), layout="constrained")
    axes = figure.subplots()
    axes.plot(table["trials"], table["resident_MiB"], color=PALETTE[1])
    axes.set(xlabel="trials done", ylabel="resident memory (MiB)")
    axes.set_ylim(bottom=0)
    axes.grid(**GRID)
    _save(figure, "growth")
