"""The figures of confusion and of misclassified digits."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.image import AxesImage

from mnist_lab import figures
from mnist_lab.data import Dataset
from tests.drawn import (
    NAMES,
    said,
    texts,
)


def test_confusion_counts_by_hand() -> None:
    labels = np.array([3, 3, 3, 5, 5, 7])
    answers = np.array([[3, 5, 5, 5, 5, 7], [3, 3, 5, 5, 3, 7]])
    figure = figures.confusions({"baseline": answers}, labels)
    axes = figure.axes[0]
    cells = {
        (int(text.get_position()[1]), int(text.get_position()[0])): text.get_text()
        for text in axes.texts
    }
    assert cells == {(3, 3): "2", (3, 5): "1.5", (5, 5): "2", (5, 3): "0.5", (7, 7): "1"}
    assert "baseline (n=2): 2.0 errors in 6" in texts(figure)
    colors = np.ma.masked_array(axes.images[0].get_array())
    assert np.diagonal(np.ma.getmaskarray(colors)).all()
    assert colors[3, 5] == 1.5
    assert axes.images[0].get_clim() == (0, 1.5)


def test_one_that_learned_nothing_does_not_bleach_the_others() -> None:
    labels = np.repeat(np.arange(10), 50)
    good = {name: labels.copy() for name in NAMES[:3]}
    for answers in good.values():
        answers[:7] = 1
    figure = figures.confusions(good | {"odd": np.ones_like(labels)}, labels)
    assert {axes.images[0].get_clim() for axes in figure.axes[:4] if axes.images} == {(0, 7)}


def shown_digits(axes: Axes) -> list[npt.NDArray[np.uint8]]:
    return [np.asarray(image.get_array()) for image in axes.images if isinstance(image, AxesImage)]


def test_the_digits_shown_are_those_that_all_runs_get_wrong(mnist: Dataset) -> None:
    images, labels = mnist.test_images[:50], mnist.test_labels[:50].astype(np.int64)
    a, b = np.stack([labels, labels]), np.stack([labels, labels])
    for index in (4, 9, 33):
        a[:, index], b[:, index] = (labels[index] + 1) % 10, (labels[index] + 2) % 10
    b[:, 9] = a[:, 9]  # all four give one wrong answer: first
    a[:, 20], b[0, 20] = (labels[20] + 1) % 10, (labels[20] + 1) % 10  # one run is right
    above, below = figures.misclassified(images, labels, {"a": a, "b": b}).axes
    expected = [images[index] for index in (9, 4, 33)]
    assert all(map(np.array_equal, shown_digits(above), expected))
    assert len(shown_digits(above)) == 3
    captions = [text.get_text() for text in above.texts]
    assert captions[0] == f"#9: {labels[9]}\n{(labels[9] + 1) % 10}×4"  # noqa: RUF001
    # The variants differ wholly on 4 and 33 and by half on 20; on 9 they agree. Of b's two answers
    # to 20, one each, the smaller counts.
    expected = [images[index] for index in (4, 33, 20)]
    assert all(map(np.array_equal, shown_digits(below), expected))
    assert len(shown_digits(below)) == 3
    assert labels[20] == 9
    assert below.texts[2].get_text() == "#20: 9\n00"


def test_signs_of_many_variants_stay_in_columns(mnist: Dataset) -> None:
    images, labels = mnist.test_images[:5], mnist.test_labels[:5].astype(np.int64)
    answers = {f"v{i}": labels.copy() for i in range(12)}
    answers["v11"][2] = 8
    _, below = figures.misclassified(images, labels, answers).axes
    assert below.texts[0].get_text() == f"#2: {labels[2]}\n····· ·····\n·8         "


def test_more_digits_than_cells_and_none_at_all_are_said(mnist: Dataset) -> None:
    images, labels = mnist.test_images[:50], mnist.test_labels[:50].astype(np.int64)
    figure = figures.misclassified(images, labels, {"a": (labels + 1) % 10})
    assert len(shown_digits(figure.axes[0])) == 20
    assert "20 of 50 images" in said(figure)
    figure = figures.misclassified(images, labels, {"a": labels, "b": labels})
    assert not [digit for axes in figure.axes for digit in shown_digits(axes)]
    assert "Wrong in every run (2 runs, 2 variants): none." in said(figure)
    assert "the most disputed first: none." in said(figure)
