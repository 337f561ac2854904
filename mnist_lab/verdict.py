"""The verdict of an experiment: which runs it rests on, and how it is put for a reader."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from tabulate import tabulate

from mnist_lab.comparison import IMAGES, MARGIN, compare
from mnist_lab.estimates import ComparisonError
from mnist_lab.measured import CONFIRMED_TRIAL
from mnist_lab.records import RunRecord
from mnist_lab.tables import FIELD_COLUMNS, counted

Row = dict[Hashable, Any]

# Verdicts rest on runs of these stages: of an experiment's, and of a study's confirmation.
_JUDGED_STAGES = ("verdict", "confirmation")

# A row a run: what a reader of the committed results needs, and nothing that differs between two
# machines that recorded the same.
_RESULTS = (
    *("variant", "seed", "stage", "tuned", "status", "test_accuracy", "test_loss", "val_accuracy"),
    *("val_loss", "accuracy", "loss", "epochs_done", "parameters", "train_seconds", "threads"),
    *("config_digest", "code_digest", "git_commit", "git_dirty", "data_sha256", "reason"),
)


@dataclass(frozen=True)
class Asked:
    """What an experiment asks, as it is put on record with its parent run.

    Attributes:
        experiment: its name, by which its runs are tagged; a study's confirmation is one, too.
        title: one line for the reader.
        question: what is asked.
        claim: what was expected.
        baseline: the variant that the others are compared with.
        margin: of equivalence, in accuracy, or None for the comparison's own.
        first_margin: what it was when the first of the runs were recorded.
        first_claim: likewise; as `first_baseline`, `first_variants` and `first_seeds` are.
        configs: the digest of each variant's configuration; the variants in their order.
        seeds: of every variant.
        code_digest: of the code that trains.
        data_sha256: of the data.
    """

    experiment: str
    title: str
    question: str
    claim: str
    baseline: str
    margin: float | None
    first_margin: float | None
    configs: dict[str, str]
    seeds: tuple[int, ...]
    code_digest: str
    data_sha256: str
    first_claim: str
    first_baseline: str
    first_variants: tuple[str, ...]
    first_seeds: tuple[int, ...]

    def tags(self) -> dict[str, str]:
        """As tags of a run; `from_tags` gives an equal object back."""
        return {
            key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            for key, value in vars(self).items()
        }

    @classmethod
    def from_tags(cls, tags: Mapping[str, str]) -> Asked:
        """Read what `tags` gave.

        Raises:
            KeyError: the experiment has not come as far as its verdict.
        """
        claim = tags.get("claim", "")
        return cls(
            experiment=tags["experiment"],
            title=tags.get("title", ""),  # a store may drop a tag without text
            question=tags.get("question", ""),
            claim=claim,
            baseline=tags["baseline"],
            margin=json.loads(tags["margin"]),
            first_margin=json.loads(tags["first_margin"]),
            configs=json.loads(tags["configs"]),
            seeds=tuple(json.loads(tags["seeds"])),
            code_digest=tags["code_digest"],
            data_sha256=tags["data_sha256"],
            # What is on record from before these were is as good as first.
            first_claim=tags.get("first_claim", "" if "first_seeds" in tags else claim),
            first_baseline=tags.get("first_baseline", tags["baseline"]),
            first_variants=tuple(json.loads(tags.get("first_variants", tags["configs"]))),
            first_seeds=tuple(json.loads(tags.get("first_seeds", tags["seeds"]))),
        )


def recorded_questions(records: Iterable[RunRecord]) -> list[Asked]:
    """What the experiments and the studies among some runs ask, each as it was asked last.

    Args:
        records: all runs of an MLflow experiment.
    """
    parents = [
        record
        for record in records
        if record.tags.get("kind") in ("experiment", "study") and "configs" in record.tags
        if record.tags["kind"] == "experiment" or _is_about_the_best(record.tags)
    ]
    parents.sort(key=lambda parent: parent.end_ms or parent.start_ms)
    asked = [Asked.from_tags(parent.tags) for parent in parents]
    # Other data of the same name make another question.
    return list({(one.experiment, one.data_sha256): one for one in asked}.values())


def _is_about_the_best(tags: Mapping[str, str]) -> bool:
    """Whether a study's answer is about the trial that is its best now."""
    best = tags.get("best_trial")
    trials = json.loads(tags["configs"]).keys() - {"baseline"}
    if trials and best is not None:
        return f"trial {best}" in trials
    return tags.get(CONFIRMED_TRIAL) in (None, best)


def judged_runs(runs: pd.DataFrame, asked: Asked) -> pd.DataFrame:
    """The runs that a verdict rests on, by variant and seed in the order asked for.

    Args:
        runs: as from `mnist_lab.runs`.
        asked: what is asked.

    Returns:
        Runs of this experiment, code, data and configurations that finished or failed by
        themselves; of two with the same seed the first.
    """
    own = _asked_for(runs, asked)
    chosen = own[counted(own)]
    return _ordered(chosen.drop_duplicates(["variant", "seed"]), asked)


def _asked_for(runs: pd.DataFrame, asked: Asked) -> pd.DataFrame:
    """The runs of what is asked, however they ended."""
    return runs[
        (runs["experiment"] == asked.experiment)
        & runs["stage"].isin(_JUDGED_STAGES)
        & (runs["code_digest"] == asked.code_digest)
        & (runs["data_sha256"] == asked.data_sha256)
        & (runs["config_digest"] == runs["variant"].map(asked.configs))
        & runs["seed"].isin(asked.seeds)
    ]


def _ordered(runs: pd.DataFrame, asked: Asked) -> pd.DataFrame:
    """By variant and seed as asked for; runs of tuning after those of the verdict."""
    variants = {variant: place for place, variant in enumerate(asked.configs)}
    seeds = {seed: place for place, seed in enumerate(asked.seeds)}
    places = pd.DataFrame(
        {
            "variant": runs["variant"].map(variants),
            "stage": runs["stage"] == "tuning",
            "asked": runs["seed"].map(seeds).fillna(len(seeds)),
            "tuned": runs["tuned"].fillna(""),
            "seed": runs["seed"],
        }
    )
    order = places.sort_values(list(places.columns), kind="stable").index
    return runs.loc[order].reset_index(drop=True)


def judge(runs: pd.DataFrame, asked: Asked) -> pd.DataFrame:
    """`mnist_lab.compare` of the runs that a verdict rests on, the baseline first.

    Variants none of whose runs count are among them.

    Raises:
        ComparisonError: fewer than two runs of the baseline count.
    """
    return compare(
        judged_runs(runs, asked),
        by="variant",
        baseline=asked.baseline,
        margin=asked.margin,
        variants=asked.configs,
    )


def results(runs: pd.DataFrame, asked: Asked) -> pd.DataFrame:
    """The table that is committed with an experiment: a row a run, the same for the same runs.

    Args:
        runs: those that count, of the verdict and of tuning.
        asked: what is asked.
    """
    return _ordered(runs, asked)[list(_RESULTS)]


def study_results(trials: pd.DataFrame, confirmed: pd.DataFrame) -> pd.DataFrame:
    """The table that is committed with a study: a row a run, the trials before the confirmation.

    Args:
        trials: runs of the trials, as from `mnist_lab.runs`.
        confirmed: runs of the confirmation that count.

    Returns:
        As `results`, with `trial`, `state`, and the fields in which the runs differ.
    """
    trials = trials.sort_values(["trial", "seed"], kind="stable")
    table = pd.concat([trials, confirmed.sort_values(["variant", "seed"], kind="stable")])
    varied = [c for c in FIELD_COLUMNS.values() if table[c].nunique(dropna=False) > 1]
    return table[["trial", "state", *_RESULTS[:3], *varied, *_RESULTS[4:]]]


def report(runs: pd.DataFrame, asked: Asked) -> str:
    """The answer in full: question, claim, verdicts, the method, and what is missing or failed."""
    heads = {"Title": asked.title, "Question": asked.question, "Claim": asked.claim}
    parts = ["\n".join(f"{head + ':':10}{text}" for head, text in heads.items() if text)]
    judged = judged_runs(runs, asked)
    try:
        table = judge(runs, asked)
        told = "Differences are shown in images of 10,000, however many there are in the test set."
        method = textwrap.fill(f"{table.attrs['method']} {told}", 100)
        parts += [readable_verdict(table), method, *_of_survivors(table), *_of_pairs(table)]
        parts += _of_no_effect(table)
    except ComparisonError as error:
        parts.append(f"No verdict: {error}")
    if _margin(asked.margin) != _margin(asked.first_margin):
        parts.append(
            f"The margin of equivalence was {_margin(asked.first_margin)} when the first of these "
            f"runs were recorded, and is {_margin(asked.margin)} now: it was not stated beforehand."
        )
    parts.append("\n".join(_changed_since(asked)))
    parts.append(_left_out(runs, judged, asked))
    return "\n\n".join(part for part in parts if part)


def _changed_since(asked: Asked) -> list[str]:
    """What was stated otherwise when the first of the runs were recorded, in sentences."""
    lines = [
        f"The {what} was {first!r} when the first of these runs were recorded, and is {now!r} now."
        for what, first, now in (
            ("claim", asked.first_claim, asked.claim),
            ("baseline", asked.first_baseline, asked.baseline),
        )
        if first != now
    ]
    for what, first, now in (
        ("variants", asked.first_variants, tuple(asked.configs)),
        ("seeds", asked.first_seeds, asked.seeds),
    ):
        come, gone = (
            [name for name in a if name not in b] for a, b in ((now, first), (first, now))
        )
        for names, change in ((come, "added"), (gone, "left out")):
            if names:
                told = ", ".join(map(str, names))
                lines.append(
                    f"Since the first of these runs were recorded, {what} {change}: {told}"
                )
    if set(asked.seeds) - set(asked.first_seeds):
        lines.append(
            "Whoever adds seeds until a difference shows finds one that is not there more often "
            "than the level says."
        )
    return lines


def _of_no_effect(table: pd.DataFrame) -> list[str]:
    """A line for each variant that has the baseline's accuracy, to the image, with each seed."""
    ends = table[["difference", "difference_low", "difference_high"]]
    same = (ends == 0).all(axis=1) & (table["pairs"] > 1)
    return [
        f"{variant} has the baseline's accuracy with each seed: it may be the same training."
        for variant in table.loc[same.fillna(False).astype(bool), "variant"]
    ]


def _of_survivors(table: pd.DataFrame) -> list[str]:
    """A line for each verdict that rests on the trainings which did not fail."""
    return [
        f"The verdict on {row['variant']} is one on the {row['n']} trainings of it that finished; "
        f"{row['failed']} failed."
        for row in table.to_dict("records")
        if row["failed"] and row["verdict"] in ("better", "worse", "equivalent")
    ]


def _of_pairs(table: pd.DataFrame) -> list[str]:
    """A line for each comparison that rests on fewer seeds than the variant has."""
    return [
        f"The comparison of {row['variant']} rests on {row['pairs']} of its {row['n']} seeds: with "
        "the others the baseline has no training that finished."
        for row in table.to_dict("records")
        if row["verdict"] != "baseline" and 0 < row["pairs"] < row["n"]
    ]


def _margin(margin: float | None) -> str:
    return f"{IMAGES * (MARGIN if margin is None else margin):g} images"


def _left_out(runs: pd.DataFrame, judged: pd.DataFrame, asked: Asked) -> str:
    """Each failed and each missing run, or an empty text."""
    tried = _asked_for(runs, asked).sort_values("start_time", kind="stable")
    tried = tried[(tried["status"] == "FAILED") & tried["reason"].notna()]
    reasons = {(run["variant"], run["seed"]): f": {run['reason']}" for _, run in tried.iterrows()}
    failed = judged[judged["status"] == "FAILED"]
    lines = [
        f"  {run['variant']} seed {run['seed']}: failed: {run['reason']}{_again(run)}"
        for _, run in failed.iterrows()
    ]
    there = set(zip(judged["variant"], judged["seed"], strict=True))
    lines += [
        f"  {variant} seed {seed}: missing{reasons.get((variant, seed), '')}"
        for variant in asked.configs
        for seed in asked.seeds
        if (variant, seed) not in there
    ]
    return (
        "\n".join(["Failed and missing runs, which no number above contains:", *lines])
        if lines
        else ""
    )


def _again(run: pd.Series[Any]) -> str:
    """How a run that failed for want of memory is trained again: it counts, wherever it failed."""
    if not str(run["reason"]).startswith("out of memory"):
        return ""
    return (
        "\n    to have it trained again, where there is more, delete it first:"
        f"\n    mlflow runs delete --run-id {run['run_id']}"
    )


def readable_verdict(table: pd.DataFrame) -> str:
    """A table of verdicts as aligned text, effects in test images of 10,000."""
    inconclusive = (table["verdict"] == "inconclusive").any()
    several = len(table) > 1
    rows = []
    for row in table.to_dict("records"):
        compared = row["verdict"] != "baseline"
        cells = [row["variant"], _count(row), _mean(row)]
        if several:
            cells += [_images(row), _number(row["p_holm"], ".2g"), row["verdict"]]
        if inconclusive:
            shown = compared and row["verdict"] == "inconclusive"
            cells.append(_number(IMAGES * row["detectable"], ".1f") if shown else "")
        rows.append(cells)
    headers = ["variant", "n", "test accuracy (95% interval)"]
    if several:
        headers += ["difference in images", "p (Holm)", "verdict"]
    if inconclusive:
        headers.append("detectable")
    text: str = tabulate(
        rows,
        headers=headers,
        disable_numparse=True,
        colalign=["left", *["right"] * (len(headers) - 1)],
    )
    return text


def _count(row: Row) -> str:
    return f"{row['n']}" + (f" ({row['failed']} failed)" if row["failed"] else "")


def _mean(row: Row) -> str:
    half = (row["high"] - row["low"]) / 2
    mean = _number(row["mean"], ".4f")
    return f"{mean} ± {half:.4f}" if half == half else mean


def _images(row: Row) -> str:
    center = _number(row["images"], "+.1f")
    low, high = (IMAGES * row[key] for key in ("difference_low", "difference_high"))
    return f"{center} ({low:+.1f} to {high:+.1f})" if low == low else center


def _number(value: float, form: str) -> str:
    return "" if value != value else format(value, form)
