"""The README's tables of speed, from the committed results: `python -m benchmarks.speed`."""

from __future__ import annotations

import pandas as pd

from benchmarks.compare import RESULTS

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
    "JAX, a compiled epoch": "JAX, the epoch compiled",
    "scikit-learn": "scikit-learn's `MLPClassifier`",
}


def training() -> str:
    """Training, with what a reader of the notebook could change in it."""
    return _table("training", "fit", "5 epochs of the baseline, compilation included", _TRAINING)


def tracking() -> str:
    """A run on record beside MLflow's own ways."""
    head = "the same with test accuracy, model and all else on record"
    return _table("tracking", "fit under autolog", head, _TRACKING)


def peers() -> str:
    """Other libraries, as their documentation writes it."""
    against = "PyTorch, batches by index"
    return _table("others_baseline", against, "5 epochs of the baseline elsewhere", _PEERS)


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
