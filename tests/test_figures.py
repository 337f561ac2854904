"""What holds of all figures."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from mnist_lab import figures, pictures
from mnist_lab.data import Dataset
from mnist_lab.looks import NAMELESS, PALETTE
from tests.conftest import ROOT, environment
from tests.drawn import (
    NAMES,
    TEN,
    Answers,
    a_comparison,
    clipped,
    line,
    overlaps,
    said,
    some_epochs,
    some_runs,
    texts,
)


@pytest.mark.parametrize("variants", [1, 2, pytest.param(10, marks=pytest.mark.slow)])
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
            "trial": pd.array(numbers, dtype="Int64"),
            "variant": "trial",
            "study": "s",
            "parent": "the study's run",
            "start_time": pd.Timestamp("2026-01-01", tz="UTC"),
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
    # Of one that was begun anew the newer is drawn.
    older = trials.assign(
        parent="another run",
        start_time=pd.Timestamp("2025-01-01", tz="UTC"),
        run_id=trials["run_id"] + "°",
        val_accuracy=0.999,
    )
    epochs2 = trials.assign(study="s epochs=2", run_id=trials["run_id"] + "'")
    both = pd.concat([older, trials, epochs2])
    drawn = pictures.of_study(pictures.newest(both), "s", store=None)  # type: ignore[arg-type]
    assert "trial 9, s epochs=2: 97.90 (n=1)" in texts(drawn["accuracy_seconds"])
    assert "trial 9, s: 97.90 (n=1)" in texts(drawn["accuracy_seconds"])
    # Of a trial with two seeds the mean counts: one lucky training does not make it the best.
    lucky = [0.9 if name == "trial 0" else 0.98 for name in trials["name"]]
    other = trials.assign(run_id=trials["run_id"] + "'", name="", val_accuracy=lucky)
    trials.loc[0, "val_accuracy"] = 0.999
    drawn = pictures.of_study(pd.concat([trials, other]), "s", store=None)  # type: ignore[arg-type]
    shown = texts(drawn["accuracy_seconds"])
    assert any(text.startswith("trial 9: ") and "(n=2)" in text for text in shown)
    assert not any(text.startswith("trial 0: ") for text in shown)


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
