"""Which runs of a table count, which belong together, and how far apart pairs of them lie."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any

import numpy as np
import pandas as pd

from mnist_lab.declared import nearest
from mnist_lab.estimates import ComparisonError

# By variant, the baseline first: the values of its runs that count, by seed and in order of it.
Samples = dict[Hashable, "pd.Series[float]"]


def samples_by_seed(
    runs: pd.DataFrame,
    by: str,
    baseline: Hashable,
    metric: str,
    pair: str,
    declared: Iterable[Hashable] = (),
) -> tuple[Samples, pd.DataFrame]:
    """Sort the runs of a table into those that count and those that do not.

    A run counts if its `status`, where there is such a column, is FINISHED and if it has a
    variant, a seed and a finite metric.

    Args:
        runs: one row a run, in any order.
        by: the column that names the variants.
        baseline: one of them; "128" names the number 128 as well.
        metric: the column of values.
        pair: the column of seeds.
        declared: variants that are there though none of their runs is, in their order.

    Returns:
        The samples, empty for a variant none of whose runs count; and a row for each run that does
        not count: `variant`, `seed`, `reason`.

    Raises:
        ComparisonError: a column or a baseline that is not there, a seed repeated, or fewer than
            two runs of the baseline.
    """
    table = _with_reasons(runs, by, metric, pair)
    variants = list(dict.fromkeys([*declared, *table["variant"].dropna()]))
    names = [str(variant) for variant in variants]
    if str(baseline) not in names:
        raise ComparisonError(
            f"baseline '{baseline}' is not in column '{by}'{nearest(str(baseline), names) or '.'} "
            f"There: {', '.join(names) or 'nothing'}"
        )
    first = variants[names.index(str(baseline))]
    counted = table[table["reason"] == ""]
    counts = counted.value_counts(["variant", "seed"]).reset_index()
    for variant, seed, count in counts.itertuples(index=False):
        if count > 1:
            raise ComparisonError(
                f"variant '{variant}' has {count} runs with {pair} {seed}; pairs need exactly one: "
                "keep one of them"
            )
    samples = {
        # In order of the seeds, so that no sum depends on the order of the rows.
        variant: counted[counted["variant"] == variant].set_index("seed")["value"].sort_index()
        for variant in dict.fromkeys([first, *variants])
    }
    if len(samples[first]) < 2:
        raise ComparisonError(
            f"baseline '{baseline}': {len(samples[first])} of its runs count; an interval needs at "
            f"least two, each with another {pair}"
        )
    return samples, table.loc[table["reason"] != "", ["variant", "seed", "reason"]]


def left_out(samples: Samples, failed: pd.DataFrame, pair: str) -> list[str]:
    """Each run that does not count and each seed without its pair, in words.

    Args:
        samples: from `samples_by_seed`.
        failed: likewise.
        pair: what the seeds are called.
    """
    lines, explained = [], set()
    for variant, seed, reason in failed.itertuples(index=False):
        lines.append(f"{'?' if pd.isna(variant) else variant}, {pair} {seed}: {reason}")
        explained.add((variant, seed))
    (baseline, own), *others = samples.items()
    for variant, values in others:
        for seed in own.index.difference(values.index):
            if (variant, seed) not in explained:
                lines.append(f"{variant}, {pair} {seed}: not paired, {variant} has no such run")
        for seed in values.index.difference(own.index):
            lines.append(f"{variant}, {pair} {seed}: not paired, {baseline} has none that counts")
        pairs = len(values.index.intersection(own.index))
        if pairs < 2:
            lines.append(f"{variant}: {pairs} pair(s); an interval and a test need at least two")
    return lines


def paired_sd(runs: pd.DataFrame, baseline: Hashable = "baseline") -> float:
    """The standard deviation of a paired difference in test accuracy, from recorded runs.

    It is pooled over the variants that share at least two seeds with the baseline. Where none
    does, it is sqrt(2) times the baseline's own, as if pairs shared nothing but a number.

    Args:
        runs: with the columns `variant`, `seed` and `test_accuracy`.
        baseline: the variant that the others are paired with.

    Raises:
        ComparisonError: as for `samples_by_seed`.
    """
    samples, _ = samples_by_seed(runs, "variant", baseline, "test_accuracy", "seed")
    own, *others = samples.values()
    differences = [(values - own).dropna() for values in others]
    differences = [sample for sample in differences if len(sample) > 1]
    if not differences:
        return float(np.sqrt(2) * own.std())
    degrees = [len(sample) - 1 for sample in differences]
    return float(np.sqrt(np.average([sample.var() for sample in differences], weights=degrees)))


def _with_reasons(runs: pd.DataFrame, by: str, metric: str, pair: str) -> pd.DataFrame:
    """Each run's `variant`, `seed`, `value`, and the `reason` why it does not count, or ""."""
    for column in (by, pair, metric):
        if column not in runs.columns:
            known = [str(name) for name in runs.columns]
            hint = nearest(column, known) or "."
            raise ComparisonError(f"no column '{column}'{hint} Columns: {', '.join(known)}")
    table = pd.DataFrame(
        {
            "variant": runs[by],
            "seed": runs[pair].convert_dtypes(),  # a CSV with a gap gives seeds as 3.0
            "value": _numbers(runs[metric]),
            "status": runs["status"] if "status" in runs.columns else "FINISHED",
        }
    )
    table["reason"] = [_reason(run, metric, pair) for run in table.to_dict("records")]
    return table


def _numbers(values: pd.Series[Any]) -> pd.Series[float]:
    try:
        return pd.to_numeric(values).astype("float64")
    except (TypeError, ValueError):
        raise ComparisonError(
            f"column '{values.name}' holds no numbers; a metric such as test_accuracy does"
        ) from None


def _reason(run: dict[Hashable, Any], metric: str, pair: str) -> str:
    """Why a run does not count; empty if it does."""
    if str(run["status"]) != "FINISHED":
        return f"status {run['status']}"
    if pd.isna(run["variant"]):
        return "no variant"
    if pd.isna(run["seed"]):
        return f"no {pair}"
    return "" if np.isfinite(run["value"]) else f"{metric} is {run['value']}"
