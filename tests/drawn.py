"""Runs to be drawn, and what is to be seen in a figure."""

from __future__ import annotations

import io
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from scipy import stats

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
