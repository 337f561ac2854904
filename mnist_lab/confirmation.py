"""From search to answer: is the best configuration better than the baseline? On fresh seeds."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any

import pandas as pd

from mnist_lab import provenance
from mnist_lab.cells import Cell, Recorded, close_dead_runs, train_cells
from mnist_lab.config import RunConfig
from mnist_lab.data import Dataset
from mnist_lab.estimates import ComparisonError
from mnist_lab.measured import CONFIRMED_TRIAL
from mnist_lab.outcome import CONFIRMED
from mnist_lab.progress import Progress
from mnist_lab.question import Candidate
from mnist_lab.tables import runs
from mnist_lab.tracking import Run, Store
from mnist_lab.verdict import Asked, judge, results
from mnist_lab.work import Team

BASELINE = "baseline"
# Far from the small numbers that people give as seeds, so that seldom one has to be left out.
_FIRST_SEED = 10_000


def confirmation_seeds(wanted: int, searched: Iterable[int]) -> tuple[int, ...]:
    """The first seeds from 10,000 on that the search did not use.

    The same for every call, and more of them begin with the fewer: what is on record stays of use.

    Args:
        wanted: how many.
        searched: the seeds of the search, which chose a configuration for being lucky with them.
    """
    used = set(searched)
    return tuple(islice((seed for seed in count(_FIRST_SEED) if seed not in used), wanted))


@dataclass(frozen=True)
class Confirmation:
    """What the confirmation of a study has come to.

    Attributes:
        asked: the question as it is put on record with the study.
        recorded: all its runs, however they ended.
        runs: those that count.
        model_run: the run whose model stands for the best configuration: that of the first seed
            which finished, whatever its test accuracy. None if none has.
        trained: how many of them were trained by this call.
        missing: how many an accident has left untrained.
    """

    asked: Asked
    recorded: pd.DataFrame
    runs: pd.DataFrame
    model_run: pd.Series[Any] | None
    trained: int
    missing: int


def confirm(
    best: RunConfig,
    trial: int,
    seeds: tuple[int, ...],
    name: str,
    study_name: str,
    data: Dataset,
    store: Store,
    team: Team,
    experiment_id: str,
    parent_id: str,
) -> Confirmation:
    """Train the best configuration and the baseline on all training images, and compare on test.

    Nothing is chosen here: the best configuration was chosen by the search on validation images.
    What is on record (the same configuration, seed, data and code) is not trained again.

    Args:
        best: the best configuration of the search.
        trial: the trial it is from.
        seeds: of the trainings, disjoint from those of the search.
        name: of the MLflow experiment.
        study_name: of the study.
        data: the digits.
        store: where runs are recorded.
        team: who trains.
        experiment_id: the id of the MLflow experiment.
        parent_id: the run of the study, which gets the verdict.

    Raises:
        KeyboardInterrupt: after the present run has ended as KILLED.
    """
    configs = {BASELINE: RunConfig(), f"trial {trial}": best.replace(validation_size=0)}
    if configs[f"trial {trial}"] == RunConfig():
        del configs[f"trial {trial}"]
    asked = _asked(configs, seeds, study_name, data)
    cells = [
        Cell("confirmation", variant, seed, Candidate(config), config)
        for seed in seeds
        for variant, config in configs.items()
    ]
    close_dead_runs(store, experiment_id, {"experiment": asked.experiment})
    missing = _recorded(name, store, asked).missing(cells)
    tags = {"study": study_name, "experiment": asked.experiment}
    with store.run(experiment_id, study_name, tags={}, resume=parent_id) as parent:
        parent.tag(asked.tags())
        with Progress("confirmation", len(cells), len(cells) - len(missing)) as progress:
            train_cells(missing, team, store, experiment_id, parent_id, lambda cell: tags, progress)
        recorded = _recorded(name, store, asked)
        left = recorded.missing(cells)
        counted = recorded.of(cells)
        _tell(parent, trial, counted, name, asked, store, data)
    own = [recorded.run_of(cell) for cell in cells if cell.variant == list(configs)[-1]]
    finished = (run for run in own if run is not None and run["status"] == "FINISHED")
    trained = len(missing) - len(left)
    model_run = next(finished, None)
    return Confirmation(asked, recorded.own, counted, model_run, trained, len(left))


def _asked(
    configs: dict[str, RunConfig], seeds: tuple[int, ...], study_name: str, data: Dataset
) -> Asked:
    if len(configs) > 1:
        question = "Is the best configuration of the search better than the baseline?"
    else:
        question = "How good is the baseline, which no other trial was better than?"
    return Asked(
        experiment=f"{study_name} confirmation",
        title="",
        question=question,
        claim="",
        baseline=BASELINE,
        margin=None,
        first_margin=None,
        configs={variant: config.digest() for variant, config in configs.items()},
        seeds=seeds,
        code_digest=provenance.code_digest(),
        data_sha256=data.sha256,
        # What is confirmed is what the search came to, and as often as the command says.
        first_claim="",
        first_baseline=BASELINE,
        first_variants=tuple(configs),
        first_seeds=seeds,
    )


def _recorded(name: str, store: Store, asked: Asked) -> Recorded:
    return Recorded(runs(name, store), asked.experiment, asked.code_digest, asked.data_sha256)


def _tell(
    parent: Run,
    trial: int,
    counted: pd.DataFrame,
    name: str,
    asked: Asked,
    store: Store,
    data: Dataset,
) -> str:
    """The results, the verdict and the figures as files of the study's run; the verdict's word."""
    # Only what has something to draw pays for the import of matplotlib.
    from mnist_lab import figures, pictures

    parent.log_text("confirmation.csv", results(counted, asked).to_csv(index=False))
    drawn = pictures.of_experiment(counted, name, asked, store, data)
    with tempfile.TemporaryDirectory() as folder:
        figures.save_all(drawn, Path(folder))
        parent.log_folder(Path(folder), "figures/confirmation")
    verdict = ""
    # What is not told now is NaN, lest it be that of an earlier confirmation.
    metrics = dict.fromkeys(CONFIRMED, math.nan)
    tags = {CONFIRMED_TRIAL: str(trial), "verdict": "none"}
    try:
        table = judge(counted, asked)
    except ComparisonError as error:
        told = f"no verdict: {error}\n"
    else:
        told = table.to_csv(index=False)
        row = table.iloc[-1]
        metrics["confirmed_test_accuracy"] = float(row["mean"])
        if len(table) > 1:
            verdict = str(row["verdict"])
            for key in ("difference", "difference_low", "difference_high", "p"):
                metrics[f"confirmed_{key}"] = float(row[key])
        tags["verdict"] = verdict or "baseline"
    parent.log_text("verdict.csv", told)
    parent.log_summary(metrics, tags)
    return verdict
