"""Draws the README's picture from the committed results: `python -m benchmarks.picture`."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes

from benchmarks.agreement import PATH as AGREEMENT
from benchmarks.compare import ROOT

STUDY = ROOT / "studies" / "results" / "baseline.csv"
PICTURE = ROOT / "docs" / "baseline.png"

# Training loss of the notebook's run of 2020-10-03 (Keras 2.4.3), epochs 1 to 5.
PUBLISHED = [0.2562, 0.1051, 0.0680, 0.0495, 0.0377]


def curves(axes: Axes) -> None:
    """The baseline's training loss: the lab, `keras.Model.fit`, and the published run."""
    rows = pd.read_csv(AGREEMENT)
    styles = {"mnist_lab": ("#0072B2", "o", "-"), "fit": ("#D55E00", "s", "--")}
    names = {"mnist_lab": "mnist_lab", "fit": "keras.Model.fit"}
    for trainer, (color, marker, line) in styles.items():
        losses = rows[rows["trainer"] == trainer].groupby("epoch")["loss"]
        mean, count = losses.mean(), int(losses.size().iloc[0])
        axes.fill_between(mean.index, losses.min(), losses.max(), color=color, alpha=0.2, lw=0)
        label = f"{names[trainer]}: mean and range (n={count})"
        axes.plot(mean.index, mean, line, color=color, marker=marker, label=label)
    axes.plot(range(1, 6), PUBLISHED, "k^:", label="Chollet's run of 2020 (n=1)", mfc="none", ms=9)
    axes.set(xlabel="epoch", ylabel="training loss", yscale="log", xticks=range(1, 6))
    axes.set_title("The baseline is the book's")
    axes.legend(frameon=False)


def study(axes: Axes) -> None:
    """The trials of the study of the baseline: validation accuracy over learning rate."""
    trials = pd.read_csv(STUDY).dropna(subset="trial")  # the others are of the confirmation
    for state, marker in (("COMPLETE", "o"), ("PRUNED", "x")):
        chosen = trials[trials["state"] == state]
        points = axes.scatter(
            chosen["learning_rate"],
            100 * chosen["val_accuracy"],
            c=chosen["hidden"].astype(float),
            marker=marker,
            cmap="viridis",
            vmin=32,
            vmax=1024,
            label=f"{state.lower()} (n={len(chosen)})",
        )
        if state == "COMPLETE":
            axes.figure.colorbar(points, ax=axes, label="hidden units")
    first = trials[trials["variant"] == "baseline"].iloc[0]
    axes.annotate(
        "the baseline's own",
        (first["learning_rate"], 100 * first["val_accuracy"]),
        xytext=(-25, -60),
        textcoords="offset points",
        arrowprops={"arrowstyle": "->"},
        ha="right",
    )
    axes.set(xlabel="learning rate", ylabel="validation accuracy (%)", xscale="log")
    axes.set_title(f"The study: {len(trials)} trials, one training each")
    axes.legend(frameon=False, loc="lower right")


if __name__ == "__main__":
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    curves(left)
    study(right)
    PICTURE.parent.mkdir(exist_ok=True)
    figure.savefig(PICTURE, dpi=110, metadata={"Software": None})
