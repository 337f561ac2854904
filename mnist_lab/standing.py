"""What of an experiment is on record: which runs count, what is missing, what was edited since."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean

import pandas as pd

from mnist_lab.cells import Cell, Recorded
from mnist_lab.config import RunConfig
from mnist_lab.question import Candidate, ExperimentDeclaration
from mnist_lab.records import RunRecord


@dataclass(frozen=True)
class Choice:
    """The candidate that a variant was tuned to.

    Attributes:
        candidate: the one of the best mean validation accuracy.
        val_accuracy: that mean, over the tuning seeds.
        at_edge: tuned fields whose value is the least or the greatest of its candidates, so that
            a better one may lie outside.
        failed: candidates that no choice could fall on, because a training of them failed.
    """

    candidate: Candidate
    val_accuracy: float
    at_edge: tuple[str, ...]
    failed: tuple[str, ...]


class Standing:
    """An experiment as declared, beside its runs on record.

    Which runs count is said by `Recorded`; their configuration must be declared now.

    Args:
        declaration: what is asked.
        runs: what is on record, as from `mnist_lab.runs`.
        experiment: the experiment's name, by which its runs are tagged.
        code_digest: of the present code.
        data_sha256: of the present data.
    """

    def __init__(
        self,
        declaration: ExperimentDeclaration,
        runs: pd.DataFrame,
        experiment: str,
        code_digest: str,
        data_sha256: str,
    ) -> None:
        self.declaration = declaration
        self.recorded = Recorded(runs, experiment, code_digest, data_sha256)

    @property
    def judged(self) -> pd.DataFrame:
        """Runs of the verdict that count but for their configuration, which may be another."""
        runs = self.recorded.runs
        return runs[runs["stage"] == "verdict"]

    def tuning_cells(self) -> list[Cell]:
        """All runs of tuning, seed by seed."""
        declaration = self.declaration
        return [
            Cell("tuning", variant, seed, candidate, declaration.tuning_config(candidate))
            for seed in declaration.tuning_seeds
            for variant in declaration.variants
            if declaration.is_tuned(variant)
            for candidate in declaration.candidates(variant)
        ]

    def verdict_cells(self) -> list[Cell]:
        """All runs of the verdict, seed by seed: an interrupted experiment has balanced seeds."""
        chosen = {variant: self.choice(variant) for variant in self.declaration.variants}
        return [
            Cell("verdict", variant, seed, choice.candidate, choice.candidate.config)
            for seed in self.declaration.seeds
            for variant, choice in chosen.items()
        ]

    def choice(self, variant: str) -> Choice:
        """What a variant is tuned to, by accuracy on validation images alone; ties: the first.

        Raises:
            LookupError: no candidate can be chosen, since a training of each failed.
        """
        candidates = self.declaration.candidates(variant)
        if not self.declaration.is_tuned(variant):
            return Choice(candidates[0], math.nan, (), ())
        means = [self._val_accuracy(variant, candidate) for candidate in candidates]
        failed = tuple(
            str(candidate)
            for candidate, mean in zip(candidates, means, strict=True)
            if math.isnan(mean)
        )
        if len(failed) == len(candidates):
            raise LookupError(variant)
        best = max(range(len(means)), key=lambda i: -1.0 if math.isnan(means[i]) else means[i])
        tuned = candidates[best].tuned
        edges = tuple(
            key
            for key, values in self.declaration.grid(variant).items()
            if is_edge(tuned[key], values)
        )
        return Choice(candidates[best], means[best], edges, failed)

    def _val_accuracy(self, variant: str, candidate: Candidate) -> float:
        """The mean over the tuning seeds; NaN if a run is missing or failed."""
        config = self.declaration.tuning_config(candidate)
        values = []
        for seed in self.declaration.tuning_seeds:
            run = self.recorded.run_of(Cell("tuning", variant, seed, candidate, config))
            finished = run is not None and run["status"] == "FINISHED"
            values.append(float(run["val_accuracy"]) if run is not None and finished else math.nan)
        return fmean(values)

    def counted(self) -> pd.DataFrame:
        """The runs that count, tuning included, once there is a choice for each variant."""
        return self.recorded.of([*self.tuning_cells(), *self.verdict_cells()])

    def not_counted(self) -> dict[str, int]:
        """How many of the experiment's runs do not count, by reason."""
        others = len(self.recorded.runs) - len(self.counted())
        reasons = {"not what the file asks for now, or trained twice": others} if others else {}
        return {**self.recorded.unfit, **reasons}


def is_edge(value: object, values: tuple[object, ...]) -> bool:
    """Whether a number is the least or the greatest of several."""
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(numbers) < len(values) or len(numbers) < 2:
        return False
    return value in (min(numbers), max(numbers))


def edited(
    standing: Standing, records: Iterable[RunRecord]
) -> dict[str, list[tuple[str, str, str]]]:
    """Variants that have runs in the verdict with other fields than are declared now.

    Runs of tuning are free to change as long as no verdict rests on them.

    Args:
        standing: of the experiment.
        records: all its runs, as they are stored.

    Returns:
        For each such variant what differs: (key, recorded, now).
    """
    declaration = standing.declaration
    by_id = {record.run_id: record for record in records}
    changes: dict[str, list[tuple[str, str, str]]] = {}
    for run_id, variant in standing.judged[["run_id", "variant"]].itertuples(index=False):
        if variant not in declaration.variants or variant in changes:
            continue
        tags = by_id[run_id].tags
        tuned_by = json.loads(tags.get("tuned_by", "{}"))
        now_by = json.loads(json.dumps(declaration.tuned_by(variant)))
        candidates = declaration.candidates(variant)
        digests = {candidate.config.digest() for candidate in candidates}
        if tuned_by == now_by and tags["config_digest"] in digests:
            continue
        was = {key: json.dumps(value) for key, value in tuned_by.items()}
        now = {key: json.dumps(value) for key, value in now_by.items()}
        # A field that is newer than the run had its default then.
        was |= RunConfig().params() | by_id[run_id].params
        now |= candidates[0].config.params()
        tuned = {key.removeprefix("tune.") for key in (*tuned_by, *now_by)}
        fields = [key for key in RunConfig.model_fields if key not in tuned]
        keys = [*dict.fromkeys((*tuned_by, *now_by)), *fields]
        changes[variant] = [
            (key, was.get(key, "nothing"), now.get(key, "nothing"))
            for key in keys
            if was.get(key) != now.get(key)
        ]
    return changes
