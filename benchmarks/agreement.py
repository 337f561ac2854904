"""Does the lab's training equal `keras.Model.fit`? The baseline, 10 trainings of each.

`python -m benchmarks.agreement` trains both ten times with the settings of the book's section 2.1,
writes one row per trainer, training and epoch to results/agreement.csv and prints the table of
means.

`fit` is not seeded, as it is not in the notebook. After `keras.utils.set_random_seed` it would
repeat the first epoch's order of the images in every epoch: its shuffle is a random operation in
a tf.data pipeline, which starts again from the seed each time it is iterated. That alone lowers
the training loss of epoch 5 from 0.038 to 0.036 (the lab does the same when made to repeat its
order), so a seeded `fit` is not what the notebook's reader sees.
"""

from __future__ import annotations

import sys

import pandas as pd
from scipy import stats

import mnist_lab as lab
from benchmarks.cases import load, notebook_model
from benchmarks.compare import RESULTS
from mnist_lab.comparison import IMAGES

SEEDS = range(10)
TRAINERS = {"mnist_lab": "mnist_lab", "fit": "`keras.Model.fit`"}
PATH = RESULTS / "agreement.csv"


def _fit(seed: int) -> list[dict[str, object]]:
    (train_images, train_labels), (test_images, test_labels) = load()
    x = train_images.reshape((60000, 28 * 28)).astype("float32") / 255
    x_test = test_images.reshape((10000, 28 * 28)).astype("float32") / 255
    model = notebook_model()
    history = model.fit(x, train_labels, epochs=5, batch_size=128, verbose=0).history
    _, test_accuracy = model.evaluate(x_test, test_labels, verbose=0)
    return [
        {"trainer": "fit", "seed": seed, "epoch": epoch, "loss": loss, "accuracy": accuracy}
        | {"test_accuracy": test_accuracy}
        for epoch, (loss, accuracy) in enumerate(
            zip(history["loss"], history["accuracy"], strict=True), start=1
        )
    ]


def _train(seed: int) -> list[dict[str, object]]:
    training = lab.train(lab.RunConfig(), lab.load_mnist(), seed=seed)
    epochs = list(training)
    _, test_accuracy = training.test()
    return [
        {"trainer": "mnist_lab", "seed": seed, "epoch": e.number, "loss": e.loss}
        | {"accuracy": e.accuracy, "test_accuracy": test_accuracy}
        for e in epochs
    ]


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation over seeds of each measure, and how far the means differ."""
    curves = rows.melt(["trainer", "seed", "epoch"], ["loss", "accuracy"], "measure")
    curves["measure"] = curves["measure"] + " " + curves["epoch"].astype(str)
    last = rows[rows["epoch"] == 5].rename(columns={"test_accuracy": "value"})
    tests = last.assign(measure="test_accuracy")
    columns = ["trainer", "seed", "measure", "value"]
    both = pd.concat([curves[columns], tests[columns]])
    grouped = pd.DataFrame()
    for trainer in TRAINERS:
        values = both[both["trainer"] == trainer].groupby("measure")["value"]
        grouped = grouped.join(values.agg(["mean", "std"]).add_prefix(f"{trainer} "), how="outer")
    difference = grouped["mnist_lab mean"] - grouped["fit mean"]
    spread = ((grouped["fit std"] ** 2 + grouped["mnist_lab std"] ** 2) / 2) ** 0.5
    return grouped.assign(difference=difference, difference_in_sd=difference / spread)


def summary(rows: pd.DataFrame) -> str:
    """The README's table: each trainer's means with their 95% intervals (Student's t)."""
    measures = [f"loss {epoch}" for epoch in range(1, 6)] + ["test_accuracy"]
    heads = [f"loss, epoch {epoch}" for epoch in range(1, 6)] + ["test accuracy"]
    lines = [f"| | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    means = table(rows)
    count = rows.groupby("trainer")["seed"].nunique().min()
    factor = stats.t.ppf(0.975, count - 1) / count**0.5
    for trainer, name in TRAINERS.items():
        centers = means[f"{trainer} mean"][measures]
        halves = factor * means[f"{trainer} std"][measures]
        cells = [f"{m:.4f} ± {half:.4f}" for m, half in zip(centers, halves, strict=True)]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines.append(
        "| one published run (2020) | 0.2562 | 0.1051 | 0.0680 | 0.0495 | 0.0377 | 0.9792 |"
    )
    return "\n".join(lines)


def difference(rows: pd.DataFrame) -> str:
    """The README's sentence: lab minus `fit` in test accuracy, by Welch's t-test."""
    last = rows[rows["epoch"] == rows["epoch"].max()]
    ours, theirs = (last[last["trainer"] == name]["test_accuracy"] for name in ("mnist_lab", "fit"))
    found = stats.ttest_ind(ours, theirs, equal_var=False)
    low, high = (IMAGES * limit for limit in found.confidence_interval(0.95))
    return (
        f"The difference in test accuracy is {(low + high) / 2:+.0f} ± {(high - low) / 2:.0f} "
        f"images of 10,000 (Welch's t-test, n={len(ours)} each, p = {found.pvalue:.2f})"
    )


if __name__ == "__main__":
    measured = []
    for number in SEEDS:
        measured += _fit(number) + _train(number)
        print(f"seed {number} done", file=sys.stderr)
    frame = pd.DataFrame(measured)
    RESULTS.mkdir(exist_ok=True)
    frame.to_csv(PATH, index=False, float_format="%.6f")
    print(table(frame).round(5).to_string(), summary(frame), difference(frame), sep="\n\n")
