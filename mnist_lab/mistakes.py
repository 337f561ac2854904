"""The figures of mistakes: which digit is taken for which, and the images that runs get wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mnist_lab import looks
from mnist_lab.looks import Floats
from mnist_lab.wording import plural

Integers = npt.NDArray[np.integer[Any]]

_CLASSES = 10
_COLUMNS, _MOST_IMAGES = 10, 20  # of a grid of digits
_TIMES = "\N{MULTIPLICATION SIGN}"


def confusions(answers_by_variant: Mapping[str, Integers], labels: Integers) -> Figure:
    """Which digit is taken for which, in images of a variant's mean run, on one scale of colours.

    The colours show the errors alone: the right answers, a hundred times as many, stand on grey.
    All variants are shown, for a best one could only be chosen by its test accuracy.

    Args:
        answers_by_variant: a variant's name to its answers, (runs, m) or (m,), classes 0 to 9.
        labels: (m,), the true classes.
    """
    if not answers_by_variant or not len(labels):
        return looks.message("No answers are recorded.")
    answers = {name: np.atleast_2d(given) for name, given in answers_by_variant.items()}
    matrices = {name: _matrix(given, labels) for name, given in answers.items()}
    largest = [(matrix * ~np.eye(_CLASSES, dtype=bool)).max() for matrix in matrices.values()]
    # One that learned nothing would bleach the others.
    top = max(1.0, *(value for value in largest if value <= 2 * np.median(largest)))
    columns = min(3, len(answers))
    rows = -(-len(answers) // columns)
    single = len(answers) == 1
    side = 4.6 if single else 3.2  # inches; there is room for decimals in a single one
    figure = Figure(figsize=(0.7 + side * columns, 0.3 + (side + 0.1) * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels[len(answers) :]:
        axes.set_visible(False)
    image: Any = None
    for axes, (name, matrix) in zip(panels, matrices.items(), strict=False):
        runs = len(answers[name])
        decimals = int(runs > 1)
        image = _draw_matrix(axes, matrix, top, decimals if single else 0)
        wrong = f"{len(labels) - np.trace(matrix):,.{decimals}f}"
        title = f"{looks.label(name)} (n={runs}): {wrong} errors in {len(labels):,}"
        axes.set_title(title, fontsize=8.5)
    figure.colorbar(
        image,
        ax=list(panels),
        label="errors (images, mean over runs)" + ("" if single else "\nrounded; blank: under 0.5"),
        extend="max" if max(largest) > top else "neither",
        shrink=0.85 if rows == 1 else 0.5,
    )
    return figure


def _matrix(answers: Integers, labels: Integers) -> Floats:
    """(10, 10): images of a class (row) that got an answer (column), mean over (runs, m)."""
    pairs = _CLASSES * labels.astype(np.int64) + answers.astype(np.int64)
    counts = np.bincount(pairs.ravel(), minlength=_CLASSES**2)
    return counts.reshape(_CLASSES, _CLASSES) / len(answers)


def _draw_matrix(axes: Axes, matrix: Floats, top: float, decimals: int) -> Any:
    right = np.eye(_CLASSES, dtype=bool)
    colors = colormaps["Blues"].with_extremes(bad="#E0E0E0")
    image = axes.imshow(np.ma.masked_array(matrix, right), cmap=colors, vmin=0, vmax=top)
    for (row, column), count in np.ndenumerate(matrix):
        text = f"{count:.0f}" if row == column else f"{count:.{decimals}f}"
        if float(text) == 0:
            continue
        color = "white" if row != column and count > 0.6 * top else "black"
        axes.text(column, row, text, ha="center", va="center", color=color, fontsize=7)
    axes.set(xticks=range(_CLASSES), yticks=range(_CLASSES), xlabel="answer", ylabel="true digit")
    axes.tick_params(length=0, labelsize=8)
    return image


def misclassified(
    images: npt.NDArray[np.uint8], labels: Integers, answers_by_variant: Mapping[str, Integers]
) -> Figure:
    """The digits that every run gets wrong, and those on which the variants disagree the most.

    Above: the images that all runs of all variants get wrong, those first for which the most runs
    give the same answer. Below: the images with the largest disagreement, which is the variance
    over variants of the share of a variant's runs that give an answer, summed over the ten
    answers. Equal ones come in the images' order, so that the choice is always the same; a
    variant's most frequent answer is the smallest of equally frequent ones.

    Args:
        images: (m, 28, 28) uint8.
        labels: (m,), the true classes.
        answers_by_variant: a variant's name to its answers, (runs, m) or (m,), classes 0 to 9.
    """
    if not answers_by_variant:
        return looks.message("No answers are recorded.")
    answers = [np.atleast_2d(given) for given in answers_by_variant.values()]
    everyone = np.concatenate(answers)
    votes, shares = _votes(everyone), np.stack([_votes(given) / len(given) for given in answers])
    wrong, disputed = _wrong_in_all(everyone, labels, votes), _disputed(shares)
    who = f"{plural(len(everyone), 'run')}, {plural(len(answers), 'variant')}"
    titles = [
        f"Wrong in every run ({who}): {_shown(len(wrong))}.",
        f"Disputed between variants, the most disputed first: {_shown(len(disputed))}.",
    ]
    if len(wrong):
        titles[0] += f" Below each: #number: true digit; each answer {_TIMES} its runs."
    if len(disputed):
        names = ", ".join(map(looks.label, answers_by_variant))
        signs = "Signs: each variant's most frequent answer, a dot if right, in the order"
        titles[1] += "\n" + "\n".join(wrap(f"{signs} {names}.", 130))
    wrong, disputed = wrong[:_MOST_IMAGES], disputed[:_MOST_IMAGES]
    majority = shares.argmax(axis=1)
    texts = (
        [_answers_of_runs(votes[:, i]) for i in wrong],
        [_answers_of_variants(majority[:, i], labels[i]) for i in disputed],
    )
    heights = [max(0.1, _cell(lines) * -(-len(lines) // _COLUMNS)) for lines in texts]
    figure = Figure(figsize=(_COLUMNS, 1.1 + sum(heights)), layout="constrained")
    above, below = figure.subplots(2, 1, height_ratios=heights)
    _draw_digits(above, images, labels, wrong, texts[0], titles[0])
    _draw_digits(below, images, labels, disputed, texts[1], titles[1])
    return figure


def _votes(answers: Integers) -> npt.NDArray[np.int64]:
    """(runs, m) answers to (10, m): how many runs gave each."""
    return np.stack([(answers == digit).sum(axis=0) for digit in range(_CLASSES)])


def _wrong_in_all(answers: Integers, labels: Integers, votes: Integers) -> npt.NDArray[np.intp]:
    """The images that all runs get wrong, those with the most equal answers first."""
    wrong = np.flatnonzero((answers != labels).all(axis=0))
    return np.asarray(wrong[np.argsort(-votes[:, wrong].max(axis=0), kind="stable")])


def _disputed(shares: Floats) -> npt.NDArray[np.intp]:
    """The images on which variants differ, by the variance of their (variants, 10, m) shares."""
    # Rounded, so that ties are ties whatever the order of the additions.
    variance = shares.var(axis=0).sum(axis=0).round(9)
    order = np.argsort(-variance, kind="stable")
    return np.asarray(order[variance[order] > 0])


def _shown(found: int) -> str:
    if found > _MOST_IMAGES:
        return f"{_MOST_IMAGES} of {found:,} images"
    return plural(found, "image") if found else "none"


def _answers_of_runs(votes: Integers) -> str:
    """The answers by frequency, the first two of them: 3 by 97 runs, 8 by 2, …."""
    order = [int(digit) for digit in np.argsort(-votes, kind="stable") if votes[digit]]
    texts = [f"{digit}{_TIMES}{votes[digit]}" for digit in order[:2]]
    return " ".join([*texts, "…"] if len(order) > 2 else texts)


def _answers_of_variants(majority: Integers, right: int) -> str:
    """A sign a variant, in blocks of five and lines of ten: its answer, or · where it is right."""
    signs = "".join("·" if answer == right else str(answer) for answer in majority)
    blocks = [signs[i : i + 5] for i in range(0, len(signs), 5)]
    lines = [" ".join(blocks[i : i + 2]) for i in range(0, len(blocks), 2)]
    # Lines are centred: of one length, or a short last one would lose its columns.
    return "\n".join(line.ljust(len(lines[0])) for line in lines)


def _cell(texts: Sequence[str]) -> float:
    """The height of a cell, in its widths or inches: a digit, a line of label, and the text."""
    return 1.02 + 0.135 * max((1 + text.count("\n") for text in texts), default=0)


def _draw_digits(
    axes: Axes,
    images: npt.NDArray[np.uint8],
    labels: Integers,
    chosen: npt.NDArray[np.intp],
    texts: Sequence[str],
    title: str,
) -> None:
    """A grid of images with text below each; a unit of the axes is the width of a cell."""
    cell = _cell(texts)
    font: Any = {"family": looks.MONOSPACED, "size": 7.5, "linespacing": 1.3}
    for place, (index, text) in enumerate(zip(chosen, texts, strict=True)):
        row, column = divmod(place, _COLUMNS)
        left, top = column + 0.14, row * cell
        axes.imshow(images[index], cmap="gray_r", extent=(left, left + 0.72, top + 0.72, top))
        caption = f"#{index}: {labels[index]}\n{text}"
        axes.text(column + 0.5, top + 0.76, caption, ha="center", va="top", **font)
    height = max(0.1, cell * -(-len(chosen) // _COLUMNS))
    axes.set(xlim=(0, _COLUMNS), ylim=(height, 0), aspect="equal")
    axes.set_axis_off()
    axes.set_title(title, loc="left", fontsize=9)
