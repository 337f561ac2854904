"""Figures of recorded runs, drawn from tables and arrays; they know no storage and no training.

Every figure can be read without colour: variants differ in marker and line, verdicts in marker and
in words. Nothing of pyplot is used, so that drawing leaves no trace in the caller's process.
"""

from __future__ import annotations

import io
import os
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, pairwise
from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import (
    EngFormatter,
    FixedLocator,
    Formatter,
    MaxNLocator,
    NullLocator,
    StrMethodFormatter,
)
from matplotlib.transforms import ScaledTranslation
from scipy import stats

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.integer[Any]]

DPI = 130
CLASSES = 10
NAMELESS = "(no name)"
MINUS, TIMES = "\N{MINUS SIGN}", "\N{MULTIPLICATION SIGN}"

COLUMNS = 10  # of the grids of digits

# Okabe and Ito, "Color Universal Design" (2008), without the yellow that white paper swallows.
PALETTE = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
# The three lengths share no factor, so that no two of 385 variants look alike.
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "<", ">", "*", "p")
DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)))

VERDICTS = {
    "baseline": ("#000000", "D"),
    "better": ("#009E73", "^"),
    "worse": ("#D55E00", "v"),
    "equivalent": ("#0072B2", "s"),
    "inconclusive": ("#666666", "o"),
}
UNKNOWN = VERDICTS["inconclusive"]

# Whatever lies this many times further out than all the rest leaves the axis, or it would
# squash what one came to see.
FAR = 8.0
BESIDE = 9  # points between the middles of variants of the same place
# Accuracies above this are drawn at it: the axis shows the logarithm of the errors.
FEWEST_ERRORS = 0.01  # percent


@dataclass(frozen=True)
class _Group:
    """A variant: its name, its look, and its rows of the table."""

    name: str
    color: str
    marker: str
    dashes: Any
    rows: pd.DataFrame

    def style(self, line: bool, size: float = 6) -> dict[str, Any]:
        """Of the mean's line and markers; `size` in points."""
        return {
            "color": self.color,
            "marker": self.marker,
            "linestyle": self.dashes if line else "none",
            "markersize": size * (1.6 if self.marker == "*" else 1),  # stars are drawn small
            "markeredgecolor": "white",
            "markeredgewidth": 0.6,
        }


def learning_curves(epochs: pd.DataFrame, by: str = "variant") -> Figure:
    """Training loss and accuracy over the epochs: each variant's mean over its runs.

    The band is the 95% t-interval of the mean over runs, epoch by epoch. The accuracy is that on
    validation images if every variant has it, else that on training images, so that no variant is
    compared on easier images; its axis shows the logarithm of the errors.

    Args:
        epochs: one row per run and epoch: the `by` column, `epoch`, `loss`, `accuracy`,
            `val_loss`, `val_accuracy`; what is not finite is left out and shows in n. Where the
            `by` column is categorical, its categories fix the variants' order and looks.
        by: the column that names the variant.
    """
    groups = _groups(epochs, by)
    if not groups:
        return _message("No epochs are recorded.")
    validated = all(np.isfinite(_floats(group.rows["val_accuracy"])).any() for group in groups)
    metric = "val_accuracy" if validated else "accuracy"
    curves = {group.name: _over_epochs(group, metric) for group in groups}
    losses = {group.name: _over_epochs(group, "loss") for group in groups}
    last = {name: float(curve["mean"].iloc[-1]) for name, curve in curves.items() if len(curve)}
    ranked = sorted(groups, key=lambda group: -last.get(group.name, -np.inf))
    figure = _figure(8.5, max(3.6, 1 + 0.21 * len(groups)), (group.name for group in groups))
    left, right = figure.subplots(1, 2)
    _draw_curves(left, groups, losses, "loss")
    _draw_curves(right, groups, curves, metric)
    unseen = [_limit_losses(left, losses), _limit_accuracies(right, curves)]
    labels = [
        f"{group.name} ({_n(curves[group.name]['n'])})"
        + "".join(off[group.name] for off in unseen if group.name in off)
        for group in ranked
    ]
    banded = any((curve["n"] > 1).any() for curve in curves.values())
    title = "mean over runs and the\n95% t-interval of the mean" if banded else "one run each"
    _legend(figure, ranked, labels, title, line=True)
    return figure


def differences(
    comparison: pd.DataFrame,
    by: str = "variant",
    metric: str = "test_accuracy",
    margin: float | None = None,
) -> Figure:
    """A forest plot: each variant's difference to the baseline, its interval, and the verdict.

    What lies far beyond all others is cut off by an arrow at the axis' end; the numbers at the
    right are always complete.

    Args:
        comparison: one row a variant, as `comparison.compare` gives it: the `by` column, `n`,
            `mean`, `pairs`, `difference`, `difference_low`, `difference_high`, `verdict`,
            `detectable`, and `failed` if there is one. The intervals are taken to be of 95%.
        by: the column that names the variant.
        metric: what was compared. Accuracies are shown in images of 10,000, others as they are.
        margin: the margin of equivalence, in the metric's units; it is shaded.
    """
    if comparison.empty:
        return _message("Nothing is compared.")
    scale, unit = _difference_unit(metric)
    columns = ["difference", "difference_low", "difference_high"]
    table = scale * comparison[columns].apply(_floats)
    names = [_label(name) for name in comparison[by]]
    texts = _forest_texts(comparison, table, metric)
    figure = _figure(4, 1.3 + 0.3 * len(names), names, texts)
    axes = figure.subplots()
    width = scale * (margin or 0.0)
    clipped = _forest_limits(axes, table, width)
    if width:
        axes.axvspan(-width, width, color="#DDDDDD", lw=0)
    axes.axvline(0, color="black", lw=1)
    for position, name in enumerate(names):
        verdict = str(comparison["verdict"].iloc[position])
        _draw_difference(axes, position, name, table.iloc[position], verdict)
    counts = [_n_and_pairs(row) for row in comparison.to_dict("records")]
    axes.set_yticks(range(len(names)), [f"{a}  {b}" for a, b in zip(names, counts, strict=True)])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0, pad=8)
    axes.spines[["top", "right", "left"]].set_visible(False)
    _write_beside(axes, texts)
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    notes = [f"difference to the baseline ({unit})"]
    if width:
        notes.append(f"shaded: margin of equivalence, ±{width:.4g}")
    if clipped:
        notes.append("arrows: goes on beyond the axis")
    axes.set_xlabel("\n".join(notes))
    return figure


def accuracy_over(
    runs: pd.DataFrame, x: str, by: str = "variant", metric: str = "test_accuracy"
) -> Figure:
    """What accuracy costs: each variant's mean with its 95% t-interval over what it takes.

    Single runs are faint dots. Variants of one and the same `x` stand side by side. One that is
    far off all others stands at the axis' end, with its value in the legend.

    Args:
        runs: one row a run: the `by` column, `x`, `metric`. A run without a finite value counts
            in n ("n=9 of 10") and is not drawn.
        x: the column to draw over, `parameters` or `train_seconds`; a variant stands at its mean.
        by: the column that names the variant; categories fix the order, as in `learning_curves`.
        metric: the column to draw, accuracies in percent.
    """
    scale, unit = _unit(metric)
    groups, xs, ys, counts = [], {}, {}, {}
    for group in _groups(runs, by):
        places, values = _floats(group.rows[x]), scale * _floats(group.rows[metric])
        finished = np.isfinite(places) & np.isfinite(values)
        counts[group.name] = _n_of(finished)
        if finished.any():
            groups.append(group)
            xs[group.name], ys[group.name] = places[finished], values[finished]
    if not groups:
        return _message("No finished runs are recorded.")
    means = {name: _interval(values) for name, values in ys.items()}
    labels = {
        name: f"{name}: {_plus_minus(*means[name], metric.endswith('accuracy'))} ({counts[name]})"
        for name in means
    }
    figure = _figure(5.5, max(3.8, 1 + 0.21 * len(groups)), labels.values())
    axes = figure.subplots()
    _limit_costs(axes, x, np.concatenate(list(xs.values())))
    off = _limit_results(axes, ys, metric)
    beside = _side_by_side(axes, {name: float(places.mean()) for name, places in xs.items()})
    for group in groups:
        name = group.name
        if name in off:
            _draw_off_axis(axes, group, float(xs[name].mean()), off[name], beside[name])
            labels[name] += ", off the axis"
        else:
            _draw_runs(axes, group, xs[name], ys[name], beside[name])
    axes.set_ylabel(unit)
    axes.grid(color="#E5E5E5", lw=0.6)
    _mark_equal_costs(axes, [float(places.mean()) for places in xs.values()])
    several = any(len(values) > 1 for values in ys.values())
    title = "mean ± 95% t-interval; small: single runs" if several else "one run each"
    title = f"{unit}\n{title}"
    if missing := counts.keys() - means.keys():
        title += f"\nno finished run: {', '.join(sorted(missing))}"
    ranked = sorted(groups, key=lambda group: -means[group.name][0])
    _legend(figure, ranked, [labels[group.name] for group in ranked], title, line=False)
    return figure


def confusion(answers: Integers, labels: Integers, name: str) -> Figure:
    """Which digit a variant takes for which, in images of the mean run.

    The colours show the errors alone: the right answers, a hundred times as many, stand on grey.

    Args:
        answers: (runs, m) or (m,), classes 0 to 9, a row for each run.
        labels: (m,), the true classes.
        name: the variant's name.
    """
    return confusions({name: answers}, labels)


def confusions(answers_by_variant: Mapping[str, Integers], labels: Integers) -> Figure:
    """The confusion matrices of several variants, in their order and on one scale of colours.

    All of them are shown, for a best one could only be chosen by its test accuracy.

    Args:
        answers_by_variant: a variant's name to its answers, (runs, m) or (m,), classes 0 to 9.
        labels: (m,), the true classes.
    """
    if not answers_by_variant or not len(labels):
        return _message("No answers are recorded.")
    counts = {name: _counts(answers, labels) for name, answers in answers_by_variant.items()}
    errors = [matrix * ~np.eye(CLASSES, dtype=bool) for matrix in counts.values()]
    largest = [float(matrix.max()) for matrix in errors]
    # One that learned nothing would bleach the others.
    top = max(1.0, *(value for value in largest if value <= 2 * np.median(largest)))
    single = len(counts) == 1
    columns = min(3, len(counts))
    rows = -(-len(counts) // columns)
    size = (5.8, 5.0) if single else (0.7 + 3.2 * columns, 0.3 + 3.3 * rows)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels[len(counts) :]:
        axes.set_visible(False)
    image: Any = None
    for axes, (name, matrix) in zip(panels, counts.items(), strict=False):
        runs = np.atleast_2d(answers_by_variant[name]).shape[0]
        image = _draw_confusion(axes, matrix, top, decimals=int(single and runs > 1))
        wrong = len(labels) - float(np.trace(matrix))
        text = f"{wrong:,.1f}" if runs > 1 else f"{wrong:,.0f}"
        title = f"{_label(name)} (n={runs}): {text} errors in {len(labels):,}"
        axes.set_title(title, fontsize=10 if single else 8.5)
    blank = "" if single else "\nrounded; blank: under 0.5"
    figure.colorbar(
        image,
        ax=list(panels),
        label=f"errors (images, mean over runs){blank}",
        extend="max" if max(largest) > top else "neither",
        shrink=1 if rows == 1 else 0.5,
    )
    return figure


def misclassified(
    images: npt.NDArray[np.uint8],
    labels: Integers,
    answers_by_variant: Mapping[str, Integers],
    cells: int = 20,
) -> Figure:
    """The digits that every run gets wrong, and those on which the variants disagree the most.

    Above: the images that all runs of all variants get wrong, those first for which the most runs
    give the same answer. Below: the images with the largest disagreement, which is the variance
    over variants of the share of a variant's runs that give an answer, summed over the ten
    answers; of a single variant, the disagreement between its runs. Equal ones come in the
    images' order, so that the choice is always the same; a variant's most frequent answer is the
    smallest of equally frequent ones.

    Args:
        images: (m, 28, 28) uint8.
        labels: (m,), the true classes.
        answers_by_variant: a variant's name to its answers, (runs, m) or (m,), classes 0 to 9.
        cells: how many images each part shows at most.
    """
    if not answers_by_variant:
        return _message("No answers are recorded.")
    answers = {name: np.atleast_2d(given) for name, given in answers_by_variant.items()}
    everyone = np.concatenate(list(answers.values()))
    votes = _votes(everyone)
    several = len(answers) > 1
    voters = list(answers.values()) if several else [run[None] for run in everyone]
    shares = [_votes(given) / len(given) for given in voters]
    wrong, disputed = _agreed(everyone, labels), _disputed(shares)
    wrong_texts = [_answers_of_runs(votes[:, i]) for i in wrong[:cells]]
    if several:
        majority = np.stack([share.argmax(axis=0) for share in shares])
        texts = [_answers_of_variants(majority[:, i], labels[i]) for i in disputed[:cells]]
    else:
        texts = [_answers_of_runs(votes[:, i]) for i in disputed[:cells]]
    heights = [max(0.1, _cell(lines) * -(-len(lines) // COLUMNS)) for lines in (wrong_texts, texts)]
    who = f"{_plural(len(everyone), 'run')}, {_plural(len(answers), 'variant')}"
    titles = [
        f"Wrong in every run ({who}): {_shown(len(wrong_texts), len(wrong))}.",
        f"Disputed between {'variants' if several else 'runs'}, "
        f"the most disputed first: {_shown(len(texts), len(disputed))}.",
    ]
    if wrong_texts:
        titles[0] += f" Below each: #number: true digit; each answer {TIMES} its runs."
    if texts and several:
        titles[1] += _legend_of_signs(list(answers))
    figure = Figure(figsize=(COLUMNS, 1.1 + sum(heights)), layout="constrained")
    above, below = figure.subplots(2, 1, height_ratios=heights)
    _draw_digits(above, images, labels, wrong[:cells], wrong_texts, titles[0])
    _draw_digits(below, images, labels, disputed[:cells], texts, titles[1])
    return figure


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
) -> dict[str, Figure]:
    """All figures that the inputs allow, with each variant in one look throughout.

    Args:
        runs: one row a run, as `tables.runs` gives it.
        epochs: one row per run and epoch, as `tables.epochs` gives it; the `by` column is taken
            from `runs` by `run_id` if it is not there.
        comparison: as for `differences`; the baseline comes first in every figure.
        answers: a variant's name to its answers on the test images, (runs, m).
        images: (m, 28, 28) uint8, the test images.
        labels: (m,), their true classes.
        by: the column that names the variant.
        metric: what was compared.
        margin: the margin of equivalence, in the metric's units.

    Returns:
        From a file's stem to its figure: `learning_curves`, `differences`,
        `accuracy_parameters`, `accuracy_seconds`, `confusion`, `misclassified`.
    """
    order = _order(runs, comparison, by)

    def ordered(table: pd.DataFrame) -> pd.DataFrame:
        return table.assign(**{by: pd.Categorical(_names(table[by]), categories=order)})

    figures = {}
    if epochs is not None and not epochs.empty:
        if by not in epochs:
            epochs = epochs.merge(runs[["run_id", by]], on="run_id")
        figures["learning_curves"] = learning_curves(ordered(epochs), by)
    if comparison is not None and not comparison.empty:
        figures["differences"] = differences(comparison, by, metric, margin)
    for stem, x in (("accuracy_parameters", "parameters"), ("accuracy_seconds", "train_seconds")):
        if {x, metric} <= set(runs) and runs[x].notna().any():
            figures[stem] = accuracy_over(ordered(runs), x, by, metric)
    if answers and labels is not None:
        known = [name for name in order if name in answers]
        answers = {name: answers[name] for name in dict.fromkeys([*known, *answers])}
        figures["confusion"] = confusions(answers, labels)
        if images is not None:
            figures["misclassified"] = misclassified(images, labels, answers)
    return figures


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, the same bytes for the same figure, and whole or not at all.

    Args:
        figure: what to write.
        path: the file; its folder is made.

    Raises:
        OSError: it cannot be written; what was there before is untouched.
    """
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=DPI, metadata={"Software": None})
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_bytes(drawn.getvalue())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def save_all(figures: Mapping[str, Figure], folder: Path) -> list[Path]:
    """Write figures under their stems, as `figures_of` gives them, and say where they are."""
    paths = [folder / f"{stem}.png" for stem in figures]
    for figure, path in zip(figures.values(), paths, strict=True):
        save(figure, path)
    return paths


def _label(name: object) -> str:
    """A name as text: matplotlib reads `$` as mathematics and hides a leading underscore."""
    text = str(name).replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


def _order(runs: pd.DataFrame, comparison: pd.DataFrame | None, by: str) -> list[str]:
    """The variants in the comparison's order and then the runs', the baseline before all."""
    names = list(_names(runs[by]))
    if comparison is not None:
        baseline = comparison["verdict"] == "baseline"
        names = [*comparison.loc[baseline, by], *comparison[by], *names]
    return list(dict.fromkeys(str(name) for name in names))


def _names(column: pd.Series[Any]) -> pd.Series[Any]:
    return column.astype("string").fillna(NAMELESS)


def _groups(table: pd.DataFrame, by: str) -> list[_Group]:
    """The variants that have rows, each in the look of its place in the order."""
    names = _names(table[by])
    categories = table[by].dtype
    if isinstance(categories, pd.CategoricalDtype):
        order = [str(name) for name in categories.categories]
    else:
        order = list(dict.fromkeys(names))
    looks = zip(cycle(PALETTE), cycle(MARKERS), cycle(DASHES), strict=False)
    groups = [
        _Group(_label(name), *look, table[names == name])
        for name, look in zip(order, looks, strict=False)
    ]
    return [group for group in groups if len(group.rows)]


def _floats(column: pd.Series[Any]) -> Floats:
    """As float64, with NaN for whatever is missing or infinite."""
    values = pd.to_numeric(column).to_numpy(dtype=np.float64, na_value=np.nan)
    return np.where(np.isfinite(values), values, np.nan)


def _interval(values: Floats) -> tuple[float, float]:
    """The mean and half the width of its 95% t-interval, which is NaN for a single value."""
    n = len(values)
    if n < 2:
        return float(values.mean()), np.nan
    half = stats.t.ppf(0.975, n - 1) * values.std(ddof=1) / np.sqrt(n)
    return float(values.mean()), float(half)


def _over_epochs(group: _Group, metric: str) -> pd.DataFrame:
    """A variant's metric epoch by epoch: `mean`, `half` the interval's width, `n` finite values."""
    values = pd.Series(_unit(metric)[0] * _floats(group.rows[metric]), group.rows["epoch"])
    found = {epoch: _floats(rows) for epoch, rows in values.dropna().groupby(level=0)}
    rows = [(*_interval(numbers), len(numbers)) for numbers in found.values()]
    return pd.DataFrame(rows, index=list(found), columns=["mean", "half", "n"])


def _beyond(reach: Floats, floor: float) -> npt.NDArray[np.bool_]:
    """Which of them, at most half, lie FAR times further out than the next nearer one.

    Args:
        reach: (n,), how far from the middle each reaches; NaN is never beyond.
        floor: a reach that is near whatever the others are.
    """
    ordered = np.sort(reach[np.isfinite(reach)])
    for near, further in pairwise(ordered[max(0, (len(ordered) - 1) // 2) :]):
        if further > FAR * max(near, floor):
            return np.asarray(reach > near)
    return np.zeros(len(reach), dtype=bool)


def _unit(metric: str) -> tuple[float, str]:
    """What a metric is multiplied by to be shown, and how its axis is called."""
    words = metric.replace("val_", "validation ").replace("_", " ")
    words = f"training {words}" if metric in ("loss", "accuracy") else words
    return (100.0, f"{words} (%)") if metric.endswith("accuracy") else (1.0, words)


def _difference_unit(metric: str) -> tuple[float, str]:
    """The same for differences, in which a percentage would be misread as a ratio."""
    _, words = _unit(metric)
    if not metric.endswith("accuracy"):
        return 1.0, words
    return 10_000.0, f"{words.removesuffix(' accuracy (%)')} images of 10,000"


def _n(counts: pd.Series[int]) -> str:
    """`n=10`, or `n=8 to 10` where runs end early or lose their finite values."""
    if counts.empty:
        return "n=0"
    low, high = int(counts.min()), int(counts.max())
    return f"n={high}" if low == high else f"n={low} to {high}"


def _n_of(finished: npt.NDArray[np.bool_]) -> str:
    n, total = int(finished.sum()), len(finished)
    return f"n={n}" if n == total else f"n={n} of {total}"


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _figure(width: float, height: float, *texts: Iterable[str]) -> Figure:
    """A figure of `width` inches plus what columns of `texts` take, by their longest."""
    extra = sum(0.075 * max(map(len, column), default=0) for column in texts)
    return Figure(figsize=(width + extra, height), layout="constrained")


def _message(text: str) -> Figure:
    """A figure of one sentence, for when there is nothing to draw."""
    figure = Figure(figsize=(5, 1.2), layout="constrained")
    figure.text(0.5, 0.5, text, ha="center", va="center")
    return figure


def _legend(
    figure: Figure, groups: Sequence[_Group], labels: Sequence[str], title: str, line: bool
) -> None:
    handles = [Line2D([], [], **group.style(line)) for group in groups]
    figure.legend(
        handles,
        labels,
        title=title,
        loc="outside right center",
        frameon=False,
        alignment="left",
        fontsize=9,
        title_fontsize=9,
        handlelength=3.2 if line else 1.2,
    )


def _points(axes: Axes, points: float) -> Any:
    """A transform that moves to the right by so many points."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    return ScaledTranslation(points / 72, 0, figure.dpi_scale_trans)


def _side_by_side(axes: Axes, places: Mapping[str, float]) -> dict[str, Any]:
    """Of each name the transform that sets it beside all others that have its place."""
    moved = {}
    for name, place in places.items():
        peers = [other for other, there in places.items() if there == place]
        moved[name] = _points(axes, BESIDE * (peers.index(name) - (len(peers) - 1) / 2))
    return moved


def _draw_curves(
    axes: Axes, groups: Sequence[_Group], curves: Mapping[str, pd.DataFrame], metric: str
) -> None:
    longest = max((len(curve) for curve in curves.values()), default=0)
    step = max(1, round(longest / 10))
    beside = _side_by_side(axes, dict.fromkeys(curves, 0.0))
    for place, group in enumerate(groups):
        curve = curves[group.name]
        x, mean, half = curve.index.to_numpy(), curve["mean"], curve["half"]
        # Points of one epoch have no line that tells them apart.
        transform = axes.transData + beside[group.name] if longest == 1 else axes.transData
        style = group.style(line=True) | {"label": group.name, "transform": transform}
        axes.plot(x, mean, markevery=(place % step, step), **style)
        if len(curve) > 1 and half.notna().any():
            axes.fill_between(x, mean - half, mean + half, color=group.color, alpha=0.13, lw=0)
        elif half.notna().any():
            axes.vlines(x, mean - half, mean + half, color=group.color, transform=transform)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set(xlabel="epoch", ylabel=_unit(metric)[1])
    axes.grid(color="#E5E5E5", lw=0.6)
    if longest:
        axes.set_xlim(left=0.5, right=1.5 if longest == 1 else None)


def _log_ticks(low: float, high: float) -> list[float]:
    """Round numbers for a logarithmic axis, at least four of them however short it is."""
    powers = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))))
    for digits in ((1,), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8)):
        numbers = [digit * 10.0**power for power in powers for digit in digits]
        numbers = [number for number in [*numbers, 10.0**powers.stop] if low <= number <= high]
        if len(numbers) > 3:
            return numbers
    even = MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(low, high)
    return [number for number in even if low <= number <= high]


def _set_ticks(axis: Axis, ticks: Sequence[float], formatter: Formatter) -> None:
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(formatter)
    axis.set_minor_locator(NullLocator())


def _limit_losses(axes: Axes, curves: Mapping[str, pd.DataFrame]) -> dict[str, str]:
    """A logarithmic axis over the means; of those that are not on it, what to say of them."""
    axes.set_yscale("log")
    logs = {
        name: np.log10(curve["mean"][curve["mean"] > 0].to_numpy())
        for name, curve in curves.items()
    }
    off = _off_axis(logs, floor=0.25)
    kept = np.concatenate([np.zeros(0), *(log for name, log in logs.items() if name not in off)])
    if len(kept):
        room = 0.06 * np.ptp(kept) + 0.03
        low, high = 10 ** (kept.min() - room), 10 ** (kept.max() + room)
        axes.set_ylim(low, high)
        _set_ticks(axes.yaxis, _log_ticks(low, high), StrMethodFormatter("{x:g}"))
    return {
        name: f"; loss {10 ** log[-1]:.2g}, off the axis" if len(log) else "; no finite loss"
        for name, log in logs.items()
        if name in off or not len(log)
    }


def _limit_accuracies(axes: Axes, curves: Mapping[str, pd.DataFrame]) -> dict[str, str]:
    """An axis of percentages on which halving the errors is the same step everywhere.

    Returns:
        Of the variants that are not on it, what to say of them.
    """

    def forward(accuracy: Any) -> Any:
        return -np.log10(np.maximum(100 - np.asarray(accuracy, dtype=float), FEWEST_ERRORS))

    def inverse(height: Any) -> Any:
        return 100 - 10 ** -np.asarray(height, dtype=float)

    means = {name: curve["mean"].to_numpy() for name, curve in curves.items()}
    off = _off_axis(means, floor=0.5)
    kept = np.concatenate([np.zeros(0), *(mean for name, mean in means.items() if name not in off)])
    if len(kept):
        axes.set_yscale("function", functions=(forward, inverse))
        heights = forward(kept)
        room = 0.06 * np.ptp(heights) + 0.03
        low = inverse(heights.min() - room)
        high = min(inverse(heights.max() + room), 100 - FEWEST_ERRORS)
        axes.set_ylim(low, high)
        ticks = [100 - errors for errors in _log_ticks(100 - high, 100 - low)]
        _set_ticks(axes.yaxis, ticks, StrMethodFormatter("{x:g}"))
    return {
        name: f"; {mean[-1]:.1f}%, off the axis" if len(mean) else "; no accuracy"
        for name, mean in means.items()
        if name in off or not len(mean)
    }


def _off_axis(curves: Mapping[str, Floats], floor: float) -> set[str]:
    """The names of the curves that end far from where the others end."""
    ends = {name: curve[-1] for name, curve in curves.items() if len(curve)}
    if not ends:
        return set()
    last = np.array(list(ends.values()))
    far = _beyond(np.abs(last - np.median(last)), floor)
    return {name for name, out in zip(ends, far, strict=True) if out}


def _forest_limits(axes: Axes, table: pd.DataFrame, margin: float) -> bool:
    """Fit the axis to all rows but the far ones; whether any row is cut off."""
    reach = table.abs().max(axis=1).to_numpy()
    far = _beyond(np.where(reach > 0, reach, np.nan), floor=margin)
    kept = [*table[~far].to_numpy().ravel(), -margin, 0.0, margin]
    low, high = np.nanmin(kept), np.nanmax(kept)
    room = 0.06 * (high - low) or 1.0
    axes.set_xlim(low - room, high + room)
    return bool(((table < low - room) | (table > high + room)).to_numpy().any())


def _draw_difference(
    axes: Axes, position: int, name: str, row: pd.Series[float], verdict: str
) -> None:
    """One row of the forest: the interval as far as the axis goes, and the verdict's marker."""
    difference, low, high = (0.0, 0.0, 0.0) if verdict == "baseline" else row
    if np.isnan(difference):
        return
    color, marker = VERDICTS.get(verdict, UNKNOWN)
    left, right = axes.get_xlim()
    # Without an interval the point stands for it.
    low, high = (difference, difference) if np.isnan(low) or np.isnan(high) else (low, high)
    if low < right and high > left:
        axes.plot([max(low, left), min(high, right)], [position] * 2, color=color, lw=1.8)
    for end, arrow, cut in ((left, "<", low < left), (right, ">", high > right)):
        if cut:
            axes.plot(end, position, arrow, color=color, ms=8, clip_on=False, zorder=4)
    if left <= difference <= right:
        fill = "white" if verdict in ("inconclusive", "baseline") else color
        style: dict[str, Any] = {"color": color, "markerfacecolor": fill, "ms": 8, "mew": 1.4}
        axes.plot(difference, position, marker, zorder=3, label=name, **style)


def _write_beside(axes: Axes, texts: Sequence[str]) -> None:
    """Lines to the right of the rows, the first one above them."""
    for position, text in enumerate(texts, start=-1):
        head = position < 0
        axes.annotate(
            text,
            (1, 1) if head else (1, position),
            xycoords="axes fraction" if head else ("axes fraction", "data"),
            xytext=(10, 2 if head else 0),
            textcoords="offset points",
            va="bottom" if head else "center",
            family="DejaVu Sans Mono",  # columns need equal widths; it ships with matplotlib
            size=8.5,
            annotation_clip=False,
        )


def _n_and_pairs(row: Mapping[Hashable, Any]) -> str:
    """`n=10`, with the runs that failed, and the pairs where some have no partner."""
    texts = [f"n={row['n']}"]
    if row.get("failed", 0):
        texts.append(f"{row['failed']} failed")
    if row["verdict"] != "baseline" and row["pairs"] != row["n"]:
        texts.append(f"{row['pairs']} pairs")
    return ", ".join(texts)


def _forest_texts(comparison: pd.DataFrame, table: pd.DataFrame, metric: str) -> list[str]:
    """The numbers beside the rows, in columns for a monospaced font, below a line of heads."""
    accuracy = metric.endswith("accuracy")
    decimals = 1 if accuracy else _decimals(table)
    rows = [("mean (%)" if accuracy else "mean", "difference", "95% interval", "verdict")]
    for row, values in zip(comparison.to_dict("records"), table.to_numpy(), strict=True):
        difference, low, high = (_signed(value, decimals) for value in values)
        mean = f"{100 * row['mean']:.2f}" if accuracy else f"{row['mean']:.{decimals}f}"
        verdict = str(row["verdict"])
        if verdict == "baseline":
            difference = low = high = ""
        if verdict == "inconclusive" and not pd.isna(row["detectable"]):
            could = _signed(_difference_unit(metric)[0] * row["detectable"], decimals)
            verdict += f" (could show {could.replace('+', '±')})"
        interval = f"{low} to {high}" if low and high else ""
        rows.append((mean.replace("nan", ""), difference, interval, verdict))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(f"{text:>{width}}" for text, width in zip(row[:3], widths[:3], strict=True))
        + f"   {row[3]}"
        for row in rows
    ]


def _decimals(table: pd.DataFrame) -> int:
    """As many as give the middling difference three digits."""
    reach = table.abs().max(axis=1)
    reach = reach[reach > 0]
    return 3 if reach.empty else max(0, 2 - int(np.floor(np.log10(reach.median()))))


def _signed(value: float, decimals: int) -> str:
    return "" if np.isnan(value) else f"{value:+.{decimals}f}".replace("-", MINUS)


def _plus_minus(mean: float, half: float, accuracy: bool) -> str:
    text = f"{mean:.2f}" if accuracy else f"{mean:.4g}"
    if np.isnan(half):
        return text
    return f"{text} ± {half:.2f}" if accuracy else f"{text} ± {half:.2g}"


def _limit_costs(axes: Axes, x: str, values: Floats) -> None:
    low, high = values.min(), values.max()
    name = {"train_seconds": "training time (s)"}.get(x, x.replace("_", " "))
    if 0 < 10 * low < high:
        low, high = low / 1.4, high * 1.4
        axes.set_xscale("log")
        ticks = _log_ticks(low, high)
    elif low < high:
        low, high = low - 0.1 * (high - low), high + 0.1 * (high - low)
        ticks = [tick for tick in MaxNLocator(6).tick_values(low, high) if low <= tick <= high]
    else:
        ticks = [float(low)]
        low, high = low - 1, high + 1
    axes.set_xlim(low, high)
    # Thousands and millions of parameters; times are written out.
    plain = StrMethodFormatter("{x:g}")
    _set_ticks(axes.xaxis, ticks, EngFormatter(sep="") if x == "parameters" else plain)
    axes.set_xlabel(name)


def _mark_equal_costs(axes: Axes, places: Sequence[float]) -> None:
    """A bar on the axis below variants that stand side by side but cost the same."""
    counts = Counter(places)
    for place, count in counts.items():
        if count > 1:
            width = BESIDE * (count - 1) + 8
            bar = {"arrowstyle": "-", "lw": 4, "color": "#999999", "shrinkA": 0, "shrinkB": 0}
            axes.annotate(
                "",
                (place, 0),
                (place, 0),
                xycoords=axes.get_xaxis_transform() + _points(axes, -width / 2),
                textcoords=axes.get_xaxis_transform() + _points(axes, width / 2),
                arrowprops=bar,
            )
    if max(counts.values()) > 1:
        axes.set_xlabel(f"{axes.get_xlabel()}\nthose above a grey bar: all at its middle")


def _limit_results(axes: Axes, values: Mapping[str, Floats], metric: str) -> dict[str, float]:
    """Fit the axis to all variants but the far ones; of those, on which side (0 or 1) they are."""
    means = {name: numbers.mean() for name, numbers in values.items()}
    center = np.median(list(means.values()))
    reach = np.array([np.abs(numbers - center).max() for numbers in values.values()])
    far = _beyond(reach, floor=0.1 if metric.endswith("accuracy") else 0.0)
    out = {name for name, is_far in zip(values, far, strict=True) if is_far}
    kept: list[float] = []
    for name in (name for name in values if name not in out):
        mean, half = _interval(values[name])
        kept += [*values[name], mean - np.nan_to_num(half), mean + np.nan_to_num(half)]
    room = 0.07 * (max(kept) - min(kept)) or 0.01 * abs(kept[0]) or 1.0
    axes.set_ylim(min(kept) - room, max(kept) + room)
    return {name: float(means[name] > center) for name in out}


def _draw_runs(axes: Axes, group: _Group, x: Floats, y: Floats, moved: Any) -> None:
    """A variant's mean with its interval, and its runs as faint dots."""
    place, (mean, half) = x.mean(), _interval(y)
    style = {"transform": axes.transData + moved}
    if len(y) > 1:
        faint = group.style(line=False, size=3.5) | {"alpha": 0.4, "markeredgewidth": 0}
        # Runs of one cost would hide behind the interval.
        aside = _points(axes, -4 if x.min() == x.max() else 0)
        axes.plot(x, y, **faint | {"transform": style["transform"] + aside})
        ends = [mean - half, mean + half]
        axes.plot([place] * 2, ends, color=group.color, lw=1.6, **style)
    style |= group.style(line=False, size=8)
    axes.plot(place, mean, zorder=3, label=group.name, **style)


def _draw_off_axis(axes: Axes, group: _Group, place: float, side: float, moved: Any) -> None:
    """A variant's marker at the lower (0) or upper (1) end of the axis, and an arrow beyond."""
    transform = axes.get_xaxis_transform() + moved
    inner = abs(side - 0.07)
    arrow = {"arrowstyle": "->", "color": group.color, "shrinkA": 5, "shrinkB": 0}
    axes.annotate(
        "",
        (place, side),
        (place, inner),
        xycoords=transform,
        textcoords=transform,
        arrowprops=arrow,
    )
    style = group.style(line=False, size=8)
    axes.plot(place, inner, transform=transform, label=group.name, **style)


def _counts(answers: Integers, labels: Integers) -> Floats:
    """(10, 10): images of a class (row) that got an answer (column), mean over the runs."""
    runs = np.atleast_2d(answers).astype(np.int64)
    pairs = (CLASSES * labels.astype(np.int64) + runs).ravel()
    matrix = np.bincount(pairs, minlength=CLASSES**2).reshape(CLASSES, CLASSES)
    return matrix / len(runs)


def _draw_confusion(axes: Axes, matrix: Floats, top: float, decimals: int) -> Any:
    right = np.eye(CLASSES, dtype=bool)
    colors = colormaps["Blues"].with_extremes(bad="#E0E0E0")
    image = axes.imshow(np.ma.masked_array(matrix, right), cmap=colors, vmin=0, vmax=top)
    for (row, column), count in np.ndenumerate(matrix):
        text = f"{count:.0f}" if row == column else f"{count:.{decimals}f}"
        if float(text) == 0:
            continue
        dark = row != column and count > 0.6 * top
        color = "white" if dark else "black"
        axes.text(column, row, text, ha="center", va="center", color=color, fontsize=7)
    axes.set_xticks(range(CLASSES))
    axes.set_yticks(range(CLASSES))
    axes.tick_params(length=0, labelsize=8)
    axes.set(xlabel="answer", ylabel="true digit")
    return image


def _votes(answers: Integers) -> npt.NDArray[np.int64]:
    """(runs, m) answers to (10, m): how many runs gave each."""
    return np.stack([(answers == digit).sum(axis=0) for digit in range(CLASSES)])


def _agreed(answers: Integers, labels: Integers) -> npt.NDArray[np.intp]:
    """The images that all runs get wrong, those with the most equal answers first."""
    wrong = np.flatnonzero((answers != labels).all(axis=0))
    largest = _votes(answers[:, wrong]).max(axis=0)
    return np.asarray(wrong[np.argsort(-largest, kind="stable")])


def _disputed(shares: Sequence[Floats]) -> npt.NDArray[np.intp]:
    """The images on which voters differ, by the variance of their (10, m) shares, summed."""
    # Rounded, so that ties are ties whatever the order of the additions.
    variance = np.stack(shares).var(axis=0).sum(axis=0).round(9)
    order = np.argsort(-variance, kind="stable")
    return np.asarray(order[variance[order] > 0])


def _shown(shown: int, found: int) -> str:
    if not found:
        return "none"
    return _plural(found, "image") if shown == found else f"{shown} of {found:,} images"


def _answers_of_runs(votes: npt.NDArray[np.int64]) -> str:
    """The answers by frequency, the first two of them: 3 by 97 runs, 8 by 2, …."""
    order = [int(digit) for digit in np.argsort(-votes, kind="stable") if votes[digit]]
    if votes.sum() == 1:
        return str(order[0])
    texts = [f"{digit}{TIMES}{votes[digit]}" for digit in order[:2]]
    return " ".join([*texts, "…"] if len(order) > 2 else texts)


def _answers_of_variants(majority: Integers, label: int) -> str:
    """A sign a variant, in blocks of five and lines of ten: its answer, or · where it is right."""
    signs = "".join("·" if answer == label else str(answer) for answer in majority)
    blocks = [signs[i : i + 5] for i in range(0, len(signs), 5)]
    lines = [" ".join(blocks[i : i + 2]) for i in range(0, len(blocks), 2)]
    # Lines are centred: of one length, or a short last one would lose its columns.
    return "\n".join(line.ljust(len(lines[0])) for line in lines)


def _legend_of_signs(names: Sequence[str]) -> str:
    """What `_answers_of_variants` shows, in lines as wide as the figure."""
    text = "Signs: each variant's most frequent answer, a dot if right, in the order "
    return "\n".join(["", *wrap(text + ", ".join(map(_label, names)) + ".", 130)]).lstrip(" ")


def _cell(texts: Sequence[str]) -> float:
    """The height of a cell, in its widths or inches: a digit, a line of label, and the text."""
    return 1.02 + 0.135 * max((1 + text.count("\n") for text in texts), default=0)


def _draw_digits(
    axes: Axes,
    images: npt.NDArray[np.uint8],
    labels: Integers,
    chosen: npt.NDArray[np.intp],
    answers: Sequence[str],
    title: str,
) -> None:
    """A grid of images with text below each; a unit of the axes is the width of a cell."""
    cell = _cell(answers)
    for place, (index, text) in enumerate(zip(chosen, answers, strict=True)):
        row, column = divmod(place, COLUMNS)
        left, top = column + 0.14, row * cell
        axes.imshow(images[index], cmap="gray_r", extent=(left, left + 0.72, top + 0.72, top))
        caption = f"#{index}: {labels[index]}\n{text}"
        middle, below = column + 0.5, top + 0.76
        font: Any = {"family": "DejaVu Sans Mono", "size": 7.5, "linespacing": 1.3}
        axes.text(middle, below, caption, ha="center", va="top", **font)
    height = max(0.1, cell * -(-len(chosen) // COLUMNS))
    axes.set(xlim=(0, COLUMNS), ylim=(height, 0), aspect="equal")
    axes.set_axis_off()
    axes.set_title(title, loc="left", fontsize=9)
