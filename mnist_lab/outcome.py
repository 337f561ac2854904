"""What a search has come to: its best configuration, or its Pareto front."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import optuna
import pandas as pd
from optuna.trial import FrozenTrial, TrialState

from mnist_lab.config import RunConfig
from mnist_lab.measured import CONFIRMED_TRIAL
from mnist_lab.retries import counts
from mnist_lab.space import MAXIMIZED, StudyDeclaration
from mnist_lab.tracking import Run

# Metrics of a study's run: what its confirmation has come to.
CONFIRMED = (
    *("confirmed_test_accuracy", "confirmed_p"),
    *("confirmed_difference", "confirmed_difference_low", "confirmed_difference_high"),
)


@dataclass(frozen=True)
class Outcome:
    """What a study has come to.

    Attributes:
        experiment_id: its MLflow experiment.
        parent_id: the run of the study, under which its trials are shown.
        others: the runs of other studies of its name, as one that was begun anew.
        done: trials that are complete, pruned or failed for good.
        best: the best configuration by the study's metric, of several objectives that of the
            front which is best by the first. None if no trial is complete.
        best_value: its value of the metric.
        best_trial: its number.
        front: of several objectives the Pareto front, the best by the first objective first: a
            row a trial with `trial`, the objectives and the parameters. Empty for one objective.
    """

    experiment_id: str
    parent_id: str
    others: Collection[str]
    done: int
    best: RunConfig | None
    best_value: float
    best_trial: int
    front: pd.DataFrame


def finished(study: optuna.Study) -> list[FrozenTrial]:
    """Trials that count: complete, pruned, or failed for good."""
    return [trial for trial in study.get_trials(deepcopy=False) if counts(trial)]


def outcome_of(
    declaration: StudyDeclaration,
    study: optuna.Study,
    experiment_id: str,
    parent_id: str,
    others: Collection[str],
) -> Outcome:
    """What a study has come to by now.

    Args:
        declaration: of the study.
        study: in its storage.
        experiment_id: its MLflow experiment.
        parent_id: its run.
        others: the runs of other studies of its name.
    """
    done = len(finished(study))
    front = _front(declaration, study)
    if not any(trial.state == TrialState.COMPLETE for trial in study.trials):
        return Outcome(experiment_id, parent_id, others, done, None, math.nan, -1, front)
    several = len(declaration.goals) > 1
    best = study.trials[int(front["trial"].iloc[0])] if several else study.best_trial
    config = _config_of(best, declaration)
    value, number = best.values[0], best.number
    return Outcome(experiment_id, parent_id, others, done, config, value, number, front)


def _config_of(trial: FrozenTrial, declaration: StudyDeclaration) -> RunConfig:
    """The configuration of a trial; those of older studies have theirs in their parameters."""
    if "config" in trial.user_attrs:
        return RunConfig(**trial.user_attrs["config"])
    return declaration.configuration(declaration.values(trial.params))


def _front(declaration: StudyDeclaration, study: optuna.Study) -> pd.DataFrame:
    goals = list(declaration.goals)
    members = study.best_trials if declaration.objectives else []
    rows = [
        {"trial": trial.number, **dict(zip(goals, trial.values, strict=True)), **trial.params}
        for trial in members
    ]
    rows.sort(key=lambda row: row[goals[0]], reverse=goals[0] in MAXIMIZED)
    return pd.DataFrame(rows, columns=None if rows else ["trial", *goals])


def log_outcome(
    parent: Run,
    tags: Mapping[str, str],
    declaration: StudyDeclaration,
    study: optuna.Study,
    outcome: Outcome,
) -> None:
    """Put what a study has come to on record with its run.

    Args:
        parent: the study's run.
        tags: that it has by now.
        declaration: of the study.
        study: in its storage.
        outcome: of the study.
    """
    # A verdict is about the trial that was the best when it was given.
    best = str(outcome.best_trial)
    if "verdict" in tags and tags.get(CONFIRMED_TRIAL, tags.get("best_trial")) != best:
        parent.log_summary(dict.fromkeys(CONFIRMED, math.nan), {"verdict": "none"})
    parent.log_text("study.json", declaration.model_dump_json(indent=2))
    parent.log_text("trials.csv", study.trials_dataframe().to_csv(index=False))
    if declaration.objectives:
        parent.log_text("pareto.csv", outcome.front.to_csv(index=False))
    if outcome.best is not None:
        parent.log_text("best.toml", outcome.best.to_toml())
        parent.log_summary(
            {f"best_{declaration.chosen_by}": outcome.best_value, "trials": outcome.done},
            {"best_trial": best},
        )
