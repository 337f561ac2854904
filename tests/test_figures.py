from __future__ import annotations

import io
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from scipy import stats

from mnist_lab import figures, pictures
from mnist_lab.costs import BESIDE
from mnist_lab.data import Dataset
from mnist_lab.looks import NAMELESS, PALETTE
from tests.conftest import ROOT, environment

Answers = npt.NDArray[np.int64]
NAMES = ["baseline", "gelu", "silu", "elu", "selu", "tanh", "sigmoid", "softplus", "maxout", "odd"]


def some_runs(variants: int = 3, seeds: int = 4) -> pd.DataFrame:
    """Accuracies near 0.98 with a spread of 0.0008; the tenth variant has learned nothing."""
    rng = np.random.default_rng(0)
    rows = [
        {
            "run_id": f"{name}-{seed}",
            "variant": name,
            "seed": seed,
            "parameters": 407_050 if place % 3 else 101_770 * (1 + place),
            "train_seconds": (5 + place) * rng.uniform(0.9, 1.1),
            "test_accuracy": (0.1 if name == "odd" else 0.98) + rng.normal(0, 0.0008),
        }
        for place, name in enumerate(NAMES[:variants])
        for seed in range(seeds)
    ]
    return pd.DataFrame(rows).astype({"parameters": "Int64", "seed": "Int64"})


def some_epochs(runs: pd.DataFrame, epochs: int = 3, validated: bool = True) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    rows = [
        {
            "run_id": run_id,
            "variant": variant,
            "epoch": epoch,
            "loss": 0.3 / epoch * rng.uniform(0.9, 1.1),
            "accuracy": accuracy - 0.02 / epoch,
            "val_loss": 0.2,
            "val_accuracy": accuracy - 0.03 / epoch + rng.normal(0, 0.001) if validated else np.nan,
        }
        for run_id, variant, accuracy in runs[["run_id", "variant", "test_accuracy"]].to_numpy()
        for epoch in range(1, epochs + 1)
    ]
    return pd.DataFrame(rows)


def a_comparison(differences: dict[str, float], half: float = 0.0006) -> pd.DataFrame:
    """The table of `comparison.compare` for given differences to the baseline."""
    rows = [
        {
            "variant": name,
            "n": 10,
            "failed": 0,
            "mean": 0.98 + difference,
            "pairs": pd.NA if name == "baseline" else 10,
            "difference": np.nan if name == "baseline" else difference,
            "difference_low": np.nan if name == "baseline" else difference - half,
            "difference_high": np.nan if name == "baseline" else difference + half,
            "detectable": 0.0009,
            "verdict": "baseline"
            if name == "baseline"
            else ("better" if difference > half else "worse" if difference < -half else "")
            or "inconclusive",
        }
        for name, difference in differences.items()
    ]
    return pd.DataFrame(rows).astype({"n": "Int64", "failed": "Int64", "pairs": "Int64"})


TEN = {"baseline": 0.0} | {name: 0.0004 * place - 0.001 for place, name in enumerate(NAMES[1:9])}
TEN["odd"] = -0.88


def line(axes: Axes, name: str) -> Line2D:
    (found,) = (line for line in axes.lines if line.get_label() == name)
    return found


def xy(line: Line2D) -> npt.NDArray[np.float64]:
    return np.asarray(line.get_xydata(), dtype=np.float64)


def bands(axes: Axes) -> list[PolyCollection]:
    return [band for band in axes.collections if isinstance(band, PolyCollection)]


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if isinstance(text, Text)]


def said(figure: Figure) -> str:
    return "\n".join(texts(figure))


def half_width(values: npt.NDArray[np.float64]) -> float:
    n = len(values)
    return float(stats.t.ppf(0.975, n - 1) * values.std(ddof=1) / np.sqrt(n))


def test_the_curve_passes_the_means_and_its_band_is_their_interval() -> None:
    epochs = some_epochs(some_runs())
    loss, accuracy = figures.learning_curves(epochs).axes
    for place, name in enumerate(NAMES[:3]):
        for axes, metric, scale in ((loss, "loss", 1), (accuracy, "val_accuracy", 100)):
            drawn, band = xy(line(axes, name)), bands(axes)[place].get_paths()[0].vertices
            for epoch, mean in drawn:
                chosen = epochs[(epochs["variant"] == name) & (epochs["epoch"] == epoch)]
                values = scale * chosen[metric].to_numpy()
                assert mean == pytest.approx(values.mean())
                edges = {y for x, y in np.asarray(band) if x == epoch}
                assert min(edges) == pytest.approx(mean - half_width(values))
                assert max(edges) == pytest.approx(mean + half_width(values))
            assert list(drawn[:, 0]) == [1, 2, 3]


def test_one_seed_has_a_curve_and_no_band() -> None:
    figure = figures.learning_curves(some_epochs(some_runs(variants=2, seeds=1)))
    assert [len(axes.lines) for axes in figure.axes] == [2, 2]
    assert not [band for axes in figure.axes for band in axes.collections]
    assert "gelu (n=1)" in texts(figure)


def test_accuracy_is_that_of_training_where_one_variant_validates_nothing() -> None:
    epochs = some_epochs(some_runs())
    assert figures.learning_curves(epochs).axes[1].get_ylabel() == "validation accuracy (%)"
    epochs.loc[epochs["variant"] == "silu", "val_accuracy"] = np.nan
    axes = figures.learning_curves(epochs).axes[1]
    assert axes.get_ylabel() == "training accuracy (%)"
    accuracy = epochs[(epochs["variant"] == "gelu") & (epochs["epoch"] == 3)]["accuracy"]
    assert xy(line(axes, "gelu"))[-1, 1] == pytest.approx(100 * accuracy.mean())


def test_runs_that_end_early_or_diverge_show_in_n() -> None:
    epochs = some_epochs(some_runs())
    epochs = epochs[~((epochs["run_id"] == "gelu-0") & (epochs["epoch"] == 3))]
    epochs.loc[epochs["variant"] == "silu", "loss"] = np.inf
    found = texts(figures.learning_curves(epochs))
    assert "gelu (n=3 to 4)" in found
    assert "silu (n=4); no finite loss" in found


def test_a_variant_that_learned_nothing_leaves_the_axis_to_the_others() -> None:
    epochs = some_epochs(some_runs(variants=10))
    figure = figures.learning_curves(epochs)
    low, high = figure.axes[1].get_ylim()
    assert low < min(xy(line(figure.axes[1], name))[:, 1].min() for name in NAMES[:9])
    assert 90 < low < high < 100
    assert "odd (n=4); 8.9%, off the axis" in said(figure)


@pytest.mark.parametrize("epochs", [1, 2, 60])
def test_any_number_of_epochs_is_drawn(epochs: int) -> None:
    figure = figures.learning_curves(some_epochs(some_runs(), epochs))
    assert len(xy(line(figure.axes[0], "gelu"))) == epochs
    figure.draw_without_rendering()


def test_the_forest_has_each_difference_in_images_at_its_place() -> None:
    figure = figures.differences(a_comparison(TEN), margin=0.001)
    (axes,) = figure.axes
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == [f"{name}  n=10" for name in TEN]
    for row, (name, difference) in enumerate(TEN.items()):
        if name == "odd":
            continue
        assert xy(line(axes, name)).tolist() == [[pytest.approx(1e4 * difference), row]]
    intervals = [xy(drawn) for drawn in axes.lines if len(xy(drawn)) == 2]
    for row, name in enumerate(NAMES[1:9], start=1):
        (interval,) = (ends for ends in intervals if (ends[:, 1] == row).all())
        assert interval[:, 0] == pytest.approx([1e4 * TEN[name] - 6, 1e4 * TEN[name] + 6], abs=1e-9)
    assert "±10" in axes.get_xlabel()


def test_a_far_variant_does_not_squash_the_forest_and_its_numbers_are_there() -> None:
    figure = figures.differences(a_comparison(TEN))
    (axes,) = figure.axes
    low, high = axes.get_xlim()
    assert -30 < low < high < 50
    arrows = [drawn for drawn in axes.lines if drawn.get_marker() == "<"]
    assert [xy(arrow).tolist() for arrow in arrows] == [[[low, 9]]]
    assert "−8800.0  −8806.0 to −8794.0   worse" in said(figure)  # noqa: RUF001


def test_nothing_is_cut_off_where_all_are_of_one_size() -> None:
    comparison = a_comparison({"baseline": 0.0, "gelu": 0.002, "silu": -0.003, "elu": 0.009})
    (axes,) = figures.differences(comparison).axes
    low, high = axes.get_xlim()
    assert low < -36
    assert high > 96
    assert "arrows" not in axes.get_xlabel()


def test_verdicts_are_told_by_words_and_by_marker() -> None:
    verdicts = ["baseline", "better", "worse", "equivalent", "inconclusive"]
    comparison = a_comparison(dict.fromkeys(NAMES[:5], 0.0005)).assign(verdict=verdicts)
    figure = figures.differences(comparison)
    markers = [line(figure.axes[0], name).get_marker() for name in NAMES[:5]]
    assert len(set(markers)) == 5
    for verdict in verdicts:
        assert any(verdict in text.split("   ")[-1] for text in texts(figure))
    assert "inconclusive (could show ±9.0)" in said(figure)


def test_the_interval_is_called_by_its_level() -> None:
    comparison = a_comparison({"baseline": 0.0, "gelu": 0.002})
    assert "  interval  " in said(figures.differences(comparison))
    assert "%" not in said(figures.differences(comparison)).replace("(%)", "")
    comparison.attrs["level"] = 0.1
    assert "  90% interval  " in said(figures.differences(comparison))


def test_failed_runs_missing_pairs_and_single_pairs_are_shown() -> None:
    comparison = a_comparison({"baseline": 0.0, "gelu": 0.002, "silu": -0.003})
    comparison.loc[1, ["failed", "n", "pairs"]] = [2, 8, 7]
    comparison.loc[2, ["difference_low", "difference_high", "detectable"]] = np.nan
    (axes,) = figures.differences(comparison).axes
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels[1] == "gelu  n=8, 2 failed, 7 pairs"
    assert xy(line(axes, "silu")).tolist() == [[pytest.approx(-30), 2]]


def test_other_metrics_keep_their_unit() -> None:
    comparison = a_comparison({"baseline": 0.0, "gelu": 0.002})
    (axes,) = figures.differences(comparison, metric="test_loss", margin=0.001).axes
    assert xy(line(axes, "gelu"))[0, 0] == pytest.approx(0.002)
    assert axes.get_xlabel().startswith("difference to the baseline (test loss)")


@pytest.mark.parametrize("x", ["parameters", "train_seconds"])
def test_a_variant_stands_at_its_means_with_its_interval(x: str) -> None:
    runs = some_runs()
    (axes,) = figures.accuracy_over(runs, x).axes
    for name in NAMES[:3]:
        mine = runs[runs["variant"] == name]
        accuracy = 100 * mine["test_accuracy"].to_numpy()
        place, mean = xy(line(axes, name))[0]
        assert place == pytest.approx(mine[x].astype(float).mean())
        assert mean == pytest.approx(accuracy.mean())
        expected = [mean - half_width(accuracy), mean + half_width(accuracy)]
        ends = [xy(drawn)[:, 1] for drawn in axes.lines if drawn.get_marker() == "None"]
        assert any(found == pytest.approx(expected) for found in ends)
        dots = [xy(drawn)[:, 1] for drawn in axes.lines if len(xy(drawn)) == len(mine)]
        assert any(found == pytest.approx(accuracy) for found in dots)


def test_variants_of_one_size_stand_side_by_side() -> None:
    runs = some_runs().assign(parameters=407_050)
    figure = figures.accuracy_over(runs, "parameters")
    figure.draw_without_rendering()
    drawn = [line(figure.axes[0], name) for name in NAMES[:3]]
    places = [marker.get_transform().transform(xy(marker))[0, 0] for marker in drawn]
    assert np.diff(places) == pytest.approx([BESIDE * figure.dpi / 72] * 2)


def test_unfinished_runs_count_in_n() -> None:
    runs = some_runs()
    runs.loc[runs["run_id"] == "gelu-1", "test_accuracy"] = np.nan
    runs.loc[runs["variant"] == "silu", "test_accuracy"] = np.nan
    figure = figures.accuracy_over(runs, "parameters")
    assert "(n=3 of 4)" in said(figure)
    assert "no finished run: silu" in said(figure)


def test_a_wide_range_of_sizes_is_logarithmic() -> None:
    runs = some_runs()
    assert figures.accuracy_over(runs, "train_seconds").axes[0].get_xscale() == "linear"
    runs.loc[runs["variant"] == "silu", "parameters"] = 25_450_000
    assert figures.accuracy_over(runs, "parameters").axes[0].get_xscale() == "log"


def boxes(figure: Figure) -> list[tuple[str, Bbox]]:
    """All texts that are really drawn (ticks beyond an axis are not), and where."""
    found: dict[int, tuple[str, Bbox]] = {}
    draw = Text.draw

    def record(text: Text, renderer: RendererBase) -> None:
        if text.get_text().strip() and text.get_visible():
            found[id(text)] = (text.get_text(), text.get_window_extent(renderer))
        draw(text, renderer)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Text, "draw", record)
        figure.savefig(io.BytesIO(), format="png")
    return list(found.values())


def overlaps(figure: Figure) -> list[tuple[str, str]]:
    """Pairs of texts whose boxes share more than a hair."""
    return [
        (a, b)
        for (a, box), (b, other) in combinations(boxes(figure), 2)
        if min(box.x1, other.x1) - max(box.x0, other.x0) > 1
        and min(box.y1, other.y1) - max(box.y0, other.y0) > 1
    ]


def clipped(figure: Figure) -> list[str]:
    """Texts that reach beyond the figure."""
    whole = figure.bbox.padded(1)
    return [
        text
        for text, box in boxes(figure)
        if not (whole.contains(box.x0, box.y0) and whole.contains(box.x1, box.y1))
    ]


@pytest.mark.parametrize("variants", [1, 2, 10])
def test_no_text_overlaps_another_or_is_cut_off(mnist: Dataset, variants: int) -> None:
    runs = some_runs(variants)
    labels, rng = mnist.test_labels[:500].astype(np.int64), np.random.default_rng(2)
    answers = {}
    for name in NAMES[:variants]:
        guess = rng.integers(0, 10, (4, 500))
        answers[name] = np.where(rng.random((4, 500)) < 0.1, guess, labels)
        answers[name][:, :30] = (labels[:30] + 1) % 10
    drawn = figures.figures_of(
        runs,
        some_epochs(runs),
        a_comparison({name: TEN[name] for name in NAMES[:variants]}),
        answers,
        mnist.test_images[:500],
        labels,
        margin=0.001,
    )
    assert list(drawn) == [
        "learning_curves",
        "differences",
        "accuracy_parameters",
        "accuracy_seconds",
        "confusion",
        "misclassified",
    ]
    for stem, figure in drawn.items():
        assert not overlaps(figure), stem
        assert not clipped(figure), stem


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


def test_what_is_empty_is_said_and_not_drawn() -> None:
    runs = some_runs()
    nothing: Answers = np.zeros((0,), dtype=np.int64)
    for figure in (
        figures.learning_curves(some_epochs(runs).iloc[:0]),
        figures.differences(a_comparison(TEN).iloc[:0]),
        figures.accuracy_over(runs.iloc[:0], "parameters"),
        figures.accuracy_over(runs.assign(test_accuracy=np.nan), "parameters"),
        figures.confusions({"baseline": nothing}, nothing),
        figures.misclassified(np.zeros((0, 28, 28), np.uint8), nothing, {}),
    ):
        assert not figure.axes
        assert len(texts(figure)) == 1
    assert list(figures.figures_of(runs.drop(columns="train_seconds"))) == ["accuracy_parameters"]


def test_a_variant_looks_the_same_in_all_figures() -> None:
    runs = some_runs(variants=4)
    epochs = some_epochs(runs).drop(columns="variant")
    # Neither the order of the rows nor a variant without epochs changes a look.
    epochs = epochs[~epochs["run_id"].str.startswith("gelu")][::-1]
    comparison = a_comparison({name: TEN[name] for name in reversed(NAMES[:4])})
    drawn = figures.figures_of(runs, epochs, comparison)
    for name in ("baseline", "silu", "elu"):
        looks = {
            (found.get_color(), found.get_marker())
            for stem in ("learning_curves", "accuracy_parameters", "accuracy_seconds")
            for found in [line(drawn[stem].axes[0], name)]
        }
        assert len(looks) == 1
    assert line(drawn["accuracy_seconds"].axes[0], "baseline").get_color() == PALETTE[0]


def test_the_best_trials_of_a_study_are_coloured_and_the_others_grey(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    numbers = range(12)
    trials = pd.DataFrame(
        {
            "run_id": [f"run {number}" for number in numbers],
            "name": [f"trial {number}" for number in numbers],
            "variant": "trial",
            "study": "s",
            "state": ["COMPLETE"] * 10 + ["PRUNED", "FAIL"],
            "parameters": 407_050,
            "train_seconds": 5.0,
            "test_accuracy": [0.98 - 0.001 * number for number in numbers],
        }
    ).assign(val_accuracy=[0.97 + 0.001 * number for number in numbers])
    monkeypatch.setattr(pictures, "epochs", lambda name, store: some_epochs(trials))
    drawn = pictures.of_study(trials, "s", store=None)  # type: ignore[arg-type]
    named = [f"trial {number}" for number in (9, 8, 7, 6, 5, 4, 3)]
    for stem in ("learning_curves", "accuracy_parameters", "accuracy_seconds"):
        axes, legend = drawn[stem].axes[0], drawn[stem].legends[0]
        assert len({line(axes, name).get_color() for name in named}) == 7
        (grey,) = {line(axes, f"trial {number}").get_color() for number in (0, 1, 2)}
        assert not {grey} & {line(axes, name).get_color() for name in named}
        rows = [text.get_text().split(":")[0].split(" (")[0] for text in legend.texts]
        assert sorted(rows) == sorted([*named, "3 others"])
        assert "trial 10" not in said(drawn[stem])
    # The studies of one name, which each have a trial 0, are not mixed.
    both = pd.concat([trials, trials.assign(study="s epochs=2", run_id=trials["run_id"] + "'")])
    drawn = pictures.of_study(both, "s", store=None)  # type: ignore[arg-type]
    assert "trial 9, s epochs=2: 97.90 (n=1)" in texts(drawn["accuracy_seconds"])
    assert "trial 9, s: 97.90 (n=1)" in texts(drawn["accuracy_seconds"])


def test_names_are_text_whatever_they_contain() -> None:
    runs = some_runs(variants=2).replace({"variant": {"baseline": "_a$x^2$", "gelu": "b" * 90}})
    for figure in (
        figures.learning_curves(some_epochs(runs)),
        figures.accuracy_over(runs, "parameters"),
        figures.differences(a_comparison({"baseline": 0.0, "b" * 90: 0.001, "_a$x^2$": 0.0})),
    ):
        assert r"_a\$x^2\$" in said(figure)
        assert not clipped(figure)


def test_runs_without_a_variant_are_not_dropped() -> None:
    runs = some_runs()
    runs.loc[runs["variant"] == "silu", "variant"] = None
    figure = figures.figures_of(runs)["accuracy_parameters"]
    assert f"{NAMELESS}: " in said(figure)


def test_a_figure_is_saved_bit_for_bit_the_same(tmp_path: Path) -> None:
    runs = some_runs()
    drawn = [figures.figures_of(runs, some_epochs(runs), a_comparison(TEN)) for _ in range(2)]
    for folder, mapping in zip((tmp_path / "a", tmp_path / "b"), drawn, strict=True):
        assert figures.save_all(mapping, folder) == [folder / f"{stem}.png" for stem in mapping]
    figures.save(drawn[0]["differences"], tmp_path / "again.png")
    for stem in drawn[0]:
        first = (tmp_path / "a" / f"{stem}.png").read_bytes()
        assert first == (tmp_path / "b" / f"{stem}.png").read_bytes()
        assert first.startswith(b"\x89PNG")
        assert b"Software" not in first
    again = (tmp_path / "again.png").read_bytes()
    assert again == (tmp_path / "a" / "differences.png").read_bytes()


def test_a_figure_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "figure.png"
    path.write_bytes(b"old")

    def fail(partial: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device", str(partial))

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="No space left"):
        figures.save(Figure(), path)
    assert [found.name for found in tmp_path.iterdir()] == ["figure.png"]
    assert path.read_bytes() == b"old"


def test_drawing_imports_no_pyplot(tmp_path: Path) -> None:
    code = (
        "import sys, numpy as np\n"
        "from pathlib import Path\n"
        "from mnist_lab import figures\n"
        "figure = figures.confusions({'a': np.arange(10)}, np.arange(10))\n"
        f"figures.save(figure, Path({str(tmp_path / 'figure.png')!r}))\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
