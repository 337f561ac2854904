"""What a report says beside its table."""

from __future__ import annotations

from typing import Any

import pandas as pd

from mnist_lab.verdict import Asked, report


def asked(**fields: Any) -> Asked:
    """A question about variants a and b with seeds 0 to 2, asked so from the beginning."""
    first = {
        "first_claim": "b is better.",
        "first_baseline": "a",
        "first_variants": ("a", "b"),
        "first_seeds": (0, 1, 2),
    }
    now = {"claim": "b is better.", "baseline": "a", "configs": {"a": "1", "b": "2"}}
    told = {"experiment": "e", "title": "", "question": "", "margin": None, "first_margin": None}
    known = {"seeds": (0, 1, 2), "code_digest": "c", "data_sha256": "d"}
    return Asked(**{**told, **known, **first, **now, **fields})


def runs(**accuracies: list[float | None]) -> pd.DataFrame:
    """Runs of variants by seed; None for one that failed by itself."""
    rows = [
        {
            "variant": variant,
            "seed": seed,
            "config_digest": {"a": "1", "b": "2"}[variant],
            "status": "FINISHED" if accuracy is not None else "FAILED",
            "failed_by_itself": accuracy is None,
            "reason": None if accuracy is not None else "loss nan",
            "test_accuracy": accuracy,
        }
        for variant, values in accuracies.items()
        for seed, accuracy in enumerate(values)
    ]
    known = {"experiment": "e", "stage": "verdict", "code_digest": "c", "data_sha256": "d"}
    return pd.DataFrame(rows).assign(**known, tuned=None, start_time=0)


def test_a_verdict_on_those_that_did_not_fail_says_so() -> None:
    told = report(runs(a=[0.9, 0.91, 0.92], b=[0.95, 0.96, 0.97]), asked())
    assert "that finished" not in told
    told = report(runs(a=[0.9, 0.91, 0.92], b=[0.95, 0.96, None]), asked())
    assert "The verdict on b is one on the 2 trainings of it that finished; 1 failed." in told


def test_a_comparison_on_fewer_seeds_than_there_are_says_so() -> None:
    told = report(runs(a=[None, 0.91, 0.92], b=[0.95, 0.96, 0.97]), asked())
    assert "The comparison of b rests on 2 of its 3 seeds" in told
    told = report(runs(a=[0.9, 0.91, 0.92], b=[None, 0.96, 0.97]), asked())
    assert "The comparison of b" not in told


def test_how_to_train_again_what_had_no_memory_is_told() -> None:
    table = runs(a=[0.9, 0.91, 0.92], b=[0.95, 0.96, None]).assign(run_id="f00")
    assert "mlflow runs delete" not in report(table, asked())
    table.loc[table["status"] == "FAILED", "reason"] = "out of memory: little is left"
    assert "mlflow runs delete --run-id f00\n" in f"{report(table, asked())}\n"


def test_accuracies_that_are_all_the_same_are_told() -> None:
    told = report(runs(a=[0.9, 0.91, 0.92], b=[0.9, 0.91, 0.92]), asked())
    assert "b has the baseline's accuracy with each seed: it may be the same training." in told
    assert "same training" not in report(runs(a=[0.9, 0.91], b=[0.91, 0.9]), asked())


def test_a_variant_without_runs_has_a_row() -> None:
    told = report(runs(a=[0.9, 0.91, 0.92]), asked())
    assert "Holm's correction for 1 variant(s)" in told
    (line,) = [line for line in told.splitlines() if line.startswith("b ")]
    assert line.split()[:2] == ["b", "0"]
    assert "b seed 2: missing" in told


def test_what_was_stated_otherwise_at_first_is_told() -> None:
    table = runs(a=[0.9, 0.91, 0.92], b=[0.95, 0.96, 0.97])
    for word in ("Since", "Whoever", "when the first"):
        assert word not in report(table, asked())
    other = asked(
        first_claim="b is worse.",
        first_baseline="b",
        first_variants=("a", "b", "gone"),
        first_seeds=(0, 1, 7),
    )
    told = report(table, other)
    assert "The claim was 'b is worse.' when the first of these runs were recorded, and" in told
    assert "The baseline was 'b' when the first" in told
    assert "were recorded, variants left out: gone" in told
    assert "were recorded, seeds added: 2" in told
    assert "were recorded, seeds left out: 7" in told
    assert "Whoever adds seeds until a difference shows" in told
    # What is on record from before these were told is as good as first.
    tags = {key: value for key, value in asked().tags().items() if not key.startswith("first_")}
    assert Asked.from_tags({**tags, "first_margin": "null"}) == asked()
    assert Asked.from_tags(other.tags()) == other
