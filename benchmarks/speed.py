"""The README's tables of speed, from the committed results: `python -m benchmarks.speed`.

Writes docs/speed.md with all the others as well, and draws each table.
"""

from __future__ import annotations

import csv
from pathlib import Path

import pandas as pd

from benchmarks.compare import RESULTS, ROOT
from benchmarks.drawings import DRAWN, draw

PAGE = ROOT / "docs" / "speed.md"
_TEXT = Path(__file__).parent / "speed.md"
_SPAN = "({ratio_min} to {ratio_max})"
_CASE = {"5 epochs, compilation included": "{case}", "n": "{n}", "median": "{median_s} s"}
_BESIDE_FIT = {**_CASE, "to `fit`, median (range)": "{ratio to fit} " + _SPAN}
_BESIDE_TORCH = {
    **_CASE,
    "to PyTorch, median (range)": "{ratio to PyTorch, batches by index} " + _SPAN,
}
# Of docs/speed.md: the columns of each table, filled in from a row of results/NAME.csv.
_COLUMNS = {
    "training_small": _BESIDE_FIT,
    "others_small": _BESIDE_TORCH,
    "training_3x1024": _BESIDE_FIT,
    "others_3x1024": _BESIDE_TORCH,
    "epochs": {
        "net": "{net}",
        "n": "{n}",
        "an epoch": "{median_s} s",
        "its floor": "{floor_s} s",
        "floor / epoch, median (range)": "{floor / epoch} " + _SPAN,
        "first epoch (n=1)": "{first_s} s",
        "first epoch of a second run (n=1)": "{again_s} s",
    },
    "variants": {
        "variant": "{variant}",
        "n": "{n}",
        "its epoch / the plain net's, median (range)": "{ratio} " + _SPAN,
    },
    "costs": {
        "of": "{curve} {value}",
        "n": "{n}",
        "5 epochs, the first and 4 later ones": "{trial_s} s",
        "their floor": "{floor_of_trial_s} s",
        "the first (range)": "{first_epoch_s} s ({first_epoch_min_s} to {first_epoch_max_s})",
        "a later one (range)": "{epoch_s} s ({epoch_min_s} to {epoch_max_s})",
        "its floor": "{floor_of_epoch_s} s",
    },
    "records": {
        "what": "{case}",
        "runs on record": "{runs on record}",
        "n": "{n}",
        "median (range)": "{median_s} s ({min_s} to {max_s})",
    },
    "reading": {
        "read": "{case}",
        "runs of": "{of}",
        "store": "{store}",
        "n": "{n}",
        "median (range)": "{median_s} s ({min_s} to {max_s})",
        "to `mlflow.search_runs`, median (range)": "{ratio to search_runs} " + _SPAN,
    },
    "first_run": {
        "the first run of a process": "{case}",
        "n": "{n}",
        "median (95% interval)": "{median_s} s ({low_s} to {high_s})",
        "range": "{min_s} to {max_s} s",
    },
    "first_epoch": {
        "until": "{case}",
        "n": "{n}",
        "seconds": "{median_s} s",
        "to the import, median (range)": "{ratio to import keras and digits} " + _SPAN,
    },
    "threads": {
        "hidden": "{hidden}",
        "batch": "{batch_size}",
        "n": "{1_threads_n}",
        "an epoch on one thread": "{1_threads_median_s} s",
        "one thread / two, median (range)": "{1 thread / all} " + _SPAN,
        "the same of the first epoch": "{first epochs, 1 thread / all}",
    },
    "workers": {
        "net": "{net}",
        "trained": "{team}",
        "n": "{n}",
        "trials an hour": "{trials_an_hour}",
        "of those in process, median (range)": "{ratio} " + _SPAN,
        "whole command": "{command_s} s",
    },
    "study": {
        "seconds of": "{measure}",
        "seed": "{seed}",
        "the lab": "{mnist_lab_s}",
        "Optuna, `fit` and autolog": "{documented_s}",
        "ratio": "{ratio}",
    },
    "memory": {
        "process": "{case}",
        "n": "{n}",
        "peak": "{median_MiB} MiB",
        "of the notebook's, median (range)": "{ratio to fit and evaluate} " + _SPAN,
    },
}

_TRAINING = {
    "train": "`mnist_lab.train`",
    "fit": "`keras.Model.fit`, as in the notebook",
    "fit, steps_per_execution=32": "`fit`, `steps_per_execution=32`",
    "fit, jit_compile=True": "`fit`, `jit_compile=True`",
}
_TRACKING = {
    "tracked run": "a tracked run of the lab",
    "fit under autolog": "`fit` under `mlflow.tensorflow.autolog()`",
    "fit with MlflowCallback and log_model": "`fit` with MLflow's callback and `log_model`",
    "fit": "`fit`, untracked",
}
_PEERS = {
    "train": "`mnist_lab.train`",
    "fit": "`keras.Model.fit`",
    "PyTorch, batches by index": "PyTorch, batches by index",
    "PyTorch, DataLoader": "PyTorch, `DataLoader`",
    "JAX, a compiled step": "JAX, a step compiled, as in its documentation",
    "JAX, a compiled epoch": "JAX, the epoch compiled",
    "scikit-learn": "scikit-learn's `MLPClassifier`",
}


def training() -> str:
    """Training, with what a reader of the notebook could change in it."""
    return _table("training", "fit", "5 epochs of the baseline, compilation included", _TRAINING)


def tracking() -> str:
    """A run on record beside MLflow's own ways."""
    head = "5 epochs of the baseline, tested and on record with the model"
    return _table("tracking", "fit under autolog", head, _TRACKING)


def peers() -> str:
    """Other libraries, as their documentation writes it."""
    against = "PyTorch, batches by index"
    return _table("others_baseline", against, "5 epochs of the baseline elsewhere", _PEERS)


def variants() -> str:
    """The README's clause on what variants cost: from the cheapest to the dearest."""
    rows = pd.read_csv(RESULTS / "variants.csv", comment="#").sort_values("ratio")
    least, most = (f"{row.ratio:.2f} ({row.variant})" for row in rows.iloc[[0, -1]].itertuples())
    return f"{least} to {most}"


def page() -> str:
    """docs/speed.md: the text of benchmarks/speed.md with each {table} and number in its place."""
    tables = {name: _filled(name) for name in _COLUMNS}
    numbers = {**_of_study(), **_of_3x1024(), **growth()}
    workers = pd.read_csv(RESULTS / "workers.csv", comment="#")
    numbers |= {"worker_trials": str(workers["trials"][0]), "workers_start": _start_of_workers()}
    return _TEXT.read_text().format(**tables, **numbers)


def _of_study() -> dict[str, str]:
    """What the text says of the whole search."""
    rows = pd.read_csv(RESULTS / "study.csv", comment="#", dtype=str).set_index("measure")
    medians = rows[rows["seed"] == "median"]["ratio"].map(
        lambda ratio: f"{float(ratio):.2f}" if ratio.replace(".", "").isdecimal() else ratio
    )
    ends = rows[rows["seed"] != "median"].loc[["after the last trial"]].astype(float)
    trials = pd.read_csv(RESULTS / "study_trials.csv").query("way == 'mnist_lab'")
    states = trials[trials["trial"].notna()]["state"]
    return {
        "study_trials": str(len(states) // trials["seed"].nunique()),
        "study_seeds": str(trials["seed"].nunique()),
        "pruned": f"{(states == 'PRUNED').sum()} of its {len(states)} trials",
        "study_trial": medians["a trial"],
        "study_whole": medians["a trial that was not pruned"],
        "study_command": medians["whole command"],
        "study_first": medians.iloc[0],
        "study_hard": medians[medians.index.str.startswith("until") & _is_number(medians)].iloc[-1],
        "study_end": _range(ends["mnist_lab_s"]),
        "study_end_documented": _range(ends["documented_s"]),
    }


def _is_number(texts: pd.Series[str]) -> pd.Series[bool]:
    return pd.to_numeric(texts, errors="coerce").notna()


def _of_3x1024() -> dict[str, str]:
    """What the text says of the largest net: medians, and the parts of its epoch."""
    beside_fit = pd.read_csv(RESULTS / "training_3x1024.csv", comment="#").set_index("case")
    ours, times = beside_fit.loc["train"], beside_fit["median_s"]
    epochs = pd.read_csv(RESULTS / "epochs.csv", comment="#").set_index("net").loc["3x1024"]
    products, updates = (
        min(epochs[column] for column in epochs.index if column.startswith(f"{part} by "))
        for part in ("products", "updates")
    )
    return {
        "big_train": f"{times['train']:.1f}",
        "big_fit": f"{times['fit']:.1f}",
        "big_ratio": f"{ours['ratio to fit']:.2f}",
        "big_of_medians": f"{times['train'] / times['fit']:.2f}",
        "big_span": f"{ours['ratio_min']:.2f} to {ours['ratio_max']:.2f}",
        "big_epoch": f"{epochs['median_s']:.1f}",
        "big_products": f"{products:.1f}",
        "big_updates": f"{updates:.1f}",
        "big_compile": f"{epochs['first_s'] - epochs['median_s']:.1f}",
        "big_share": f"{5 * products / (0.45 * times['fit']):.0%}",
    }


def growth() -> dict[str, str]:
    """What the text says of a long search: medians of its memory, once it was warm and at the end.

    Memory sways with the widths at hand, so that of 50 trials counts; what is kept compiled is
    complete by the fiftieth, and after the last one come the figures.
    """
    rows = pd.read_csv(RESULTS / "growth.csv", comment="#")
    trials, size = rows["trials"], rows["resident_MiB"]
    last = trials.max()
    early, late = (
        size[trials.between(n, m)].median() for n, m in ((50, 100), (last - 50, last - 1))
    )
    return {
        "grown_from": f"{early:,.0f}",
        "grown_to": f"{late:,.0f}",
        "grown": f"{100 * (late / early - 1):.1f}",
        "growth_trials": f"{last}",
    }


def _range(values: pd.Series[float]) -> str:
    return f"{values.min():.1f} to {values.max():.1f}"


def _start_of_workers() -> str:
    """What a command takes besides its trials, in process and by two workers."""
    rows = pd.read_csv(RESULTS / "workers.csv", comment="#").set_index(["net", "team"])
    net = rows.loc["hidden 64, batch 32"]
    besides = net["command_s"] - net["trials"] * 3600 / net["trials_an_hour"]
    return f"{besides['2 workers']:.0f} s with the small net, and {besides['in process']:.0f} s"


def _filled(name: str) -> str:
    columns = _COLUMNS[name]
    with (RESULTS / f"{name}.csv").open(newline="") as stream:
        rows = list(csv.DictReader(line for line in stream if not line.startswith("#")))
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    lines += [f"| {' | '.join(cell.format(**row) for cell in columns.values())} |" for row in rows]
    return "\n".join(lines)


def _table(name: str, against: str, head: str, shown: dict[str, str]) -> str:
    rows = pd.read_csv(RESULTS / f"{name}.csv", comment="#").set_index("case")
    short = {"fit": "`fit`", "fit under autolog": "autolog"}.get(against, "PyTorch")
    n = rows["n"].iloc[0]
    lines = [f"| {head} (n={n}) | median | ratio to {short}, median (range) |", "|---|---|---|"]
    for case, told in shown.items():
        if case in rows.index:
            row = rows.loc[case]
            span = f"{row['ratio_min']:.2f} to {row['ratio_max']:.2f}"
            ratio = f"{row[f'ratio to {against}']:.2f} ({span})"
            lines.append(f"| {told} | {row['median_s']:.1f} s | {ratio} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(training(), tracking(), peers(), sep="\n\n")
    PAGE.write_text(page())
    for name in DRAWN:
        draw(name)
