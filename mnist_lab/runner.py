"""Runs an experiment: variants x seeds become runs on record; only what is missing is trained."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from mnist_lab import provenance, unsent
from mnist_lab.cells import Cell, close_dead_runs, train_cells
from mnist_lab.comparison import IMAGES
from mnist_lab.config import RunConfig, UserError
from mnist_lab.data import Dataset
from mnist_lab.estimates import ComparisonError
from mnist_lab.process import KILLED, is_dead
from mnist_lab.progress import Progress
from mnist_lab.question import ExperimentDeclaration
from mnist_lab.records import RunRecord
from mnist_lab.standing import Choice, Standing, edited
from mnist_lab.tables import no_runs, runs
from mnist_lab.tracking import Run, Store
from mnist_lab.verdict import Asked, judge, results
from mnist_lab.work import Team


class ExperimentError(UserError):
    """An experiment that cannot be run as asked."""


@dataclass(frozen=True)
class Outcome:
    """What an experiment has come to.

    Attributes:
        experiment_id: its MLflow experiment.
        asked: what is on record as asked.
        standing: how it stood at the end.
        runs: the runs that count, of the verdict and of tuning.
        choices: what each variant was tuned to.
        trained: how many of them were trained by this call.
    """

    experiment_id: str
    asked: Asked
    standing: Standing
    runs: pd.DataFrame
    choices: dict[str, Choice]
    trained: int


def check_not_edited(standing: Standing, experiment: str, store: Store, experiment_id: str) -> None:
    """Refuse to judge runs of one variant that were trained in two different ways.

    Raises:
        ExperimentError: names each variant and each field that differs.
    """
    changes = edited(standing, store.runs(experiment_id))
    if not changes:
        return
    lines = [
        f"\n  variants.{variant}: {key}: recorded {was}, now {now}"
        for variant, differences in changes.items()
        for key, was, now in differences or [("its configuration", "another", "this")]
    ]
    raise ExperimentError(
        f"the experiment '{experiment}' has runs of other settings than its file declares now, "
        f"and they cannot be judged together:{''.join(lines)}\nUndo the change, or keep both: give "
        "the changed variant another name, or the changed file. The recorded runs are untouched"
    )


def run_experiment(
    declaration: ExperimentDeclaration,
    name: str,
    experiment: str,
    data: Dataset,
    store: Store,
    team: Team,
) -> Outcome:
    """Train what is missing: first what tunes the variants, then what the verdict rests on.

    Args:
        declaration: what is asked.
        name: of the MLflow experiment.
        experiment: of this experiment: `name`, and what the command line changed.
        data: the digits.
        store: where runs are recorded.
        team: who trains.

    Raises:
        ExperimentError: it was edited after some of its runs, or no candidate of a variant can
            be trained.
        KeyboardInterrupt: after the present run has ended as KILLED.
    """
    work = _Experiment(declaration, name, experiment, data, store, team)
    return work.run()


class _Experiment:
    """One call of the command."""

    def __init__(
        self,
        declaration: ExperimentDeclaration,
        name: str,
        experiment: str,
        data: Dataset,
        store: Store,
        team: Team,
    ) -> None:
        self._declaration = declaration
        self._name = name
        self._experiment = experiment
        self._data = data
        self._store = store
        self._team = team
        self._tried = False
        self._trained = 0
        self._earlier: RunRecord | None = None
        # What was stated before the first run; as long as there is none, it may change.
        self._first: Mapping[str, str] = {}

    def run(self) -> Outcome:
        if (recorded := self._store.lookup(self._name)) is not None:
            check_not_edited(self._standing(), self._experiment, self._store, recorded)
        experiment_id = self._store.experiment(self._name)
        close_dead_runs(self._store, experiment_id, {"experiment": self._experiment})
        self._store.save_view(
            experiment_id, self._varied(), ("variant", "stage"), ("test_accuracy", "val_accuracy")
        )
        tags = {
            "kind": "experiment",
            "experiment": self._experiment,
            "code_digest": provenance.code_digest(),
            "data_sha256": self._data.sha256,
        }
        self._earlier = self._store.find_run(experiment_id, tags)
        self._close_dead_parents(experiment_id)
        with self._store.run(
            experiment_id,
            self._experiment,
            tags=tags,
            resume=None if self._earlier is None else self._earlier.run_id,
        ) as parent:
            parent.log_text("experiment.json", self._declaration.model_dump_json(indent=2))
            if self._earlier is not None and self._has_runs():
                self._first = self._earlier.tags
            choices, standing = self._train_all(experiment_id, parent)
            asked = self._asked(choices)
            counted = standing.counted()
            if self._tried or not self._is_told(asked):
                self._tell(parent, counted, asked)
        return Outcome(experiment_id, asked, standing, counted, choices, self._trained)

    def _close_dead_parents(self, experiment_id: str) -> None:
        """End the runs of this experiment whose commands were killed: others may go on with none.

        Of another version of the code or on other data, that is; the one that is gone on with ends
        with this call.
        """
        earlier = "" if self._earlier is None else self._earlier.run_id
        for run in self._store.runs(experiment_id):
            own = run.tags.get("kind") == "experiment" and run.run_id != earlier
            dead = run.status == "RUNNING" and is_dead(run.tags.get("process", ""))
            if own and dead and run.tags.get("experiment") == self._experiment:
                self._store.close_run(run.run_id, "FAILED", KILLED)

    def _is_told(self, asked: Asked) -> bool:
        """Whether an earlier call came to its end with the same question."""
        earlier = self._earlier
        return (
            earlier is not None
            and earlier.status == "FINISHED"
            and asked.tags().items() <= earlier.tags.items()
        )

    def _tell(self, parent: Run, counted: pd.DataFrame, asked: Asked) -> None:
        """The results, the verdict and the figures as files of the parent run."""
        # Only what has something to draw pays for the import of matplotlib.
        from mnist_lab import figures, pictures

        parent.log_text("results.csv", results(counted, asked).to_csv(index=False))
        with contextlib.suppress(ComparisonError):  # the report says why there is none
            parent.log_text("verdict.csv", judge(counted, asked).to_csv(index=False))
        drawn = pictures.of_experiment(counted, self._name, asked, self._store, self._data)
        with tempfile.TemporaryDirectory() as folder:
            figures.save_all(drawn, Path(folder))
            parent.log_folder(Path(folder), "figures")

    def _standing(self) -> Standing:
        return standing_of(self._declaration, self._name, self._experiment, self._data, self._store)

    def _has_runs(self) -> bool:
        """Whether runs that count are on record, or wait to be."""
        if not self._standing().recorded.runs.empty:
            return True
        own = {
            "kind": "training",
            "experiment": self._experiment,
            "code_digest": provenance.code_digest(),
            "data_sha256": self._data.sha256,
        }
        return any(
            own.items() <= run.tags.items() and (run.is_complete or "failed_by_itself" in run.tags)
            for run in unsent.readable()
        )

    def _train_all(self, experiment_id: str, parent: Run) -> tuple[dict[str, Choice], Standing]:
        """Tune, choose, and train for the verdict; what was chosen, and how it stands now."""
        standing = self._standing()
        tuning = standing.tuning_cells()
        verdict = len(self._declaration.seeds) * len(self._declaration.variants)
        missing = standing.recorded.missing(tuning)
        with Progress("runs", len(tuning) + verdict, len(tuning) - len(missing)) as progress:
            standing = self._train(missing, experiment_id, parent, progress)
            _check_all_tuned(standing)
            choices = {name: self._choice(standing, name) for name in self._declaration.variants}
            parent.tag(self._asked(choices).tags())
            missing = standing.recorded.missing(standing.verdict_cells())
            progress.end(verdict - len(missing))
            standing = self._train(missing, experiment_id, parent, progress)
        return choices, standing

    def _train(
        self, cells: list[Cell], experiment_id: str, parent: Run, progress: Progress
    ) -> Standing:
        """Train cells; how it stands now: an accident may have left some of them untrained."""
        self._tried = self._tried or bool(cells)
        train_cells(cells, self._team, self._store, experiment_id, parent.id, self._tags, progress)
        standing = self._standing()
        self._trained += len(cells) - len(standing.recorded.missing(cells))
        return standing

    def _tags(self, cell: Cell) -> dict[str, str]:
        tags = {"experiment": self._experiment}
        if cell.candidate.tuned:
            tags["tuned"] = str(cell.candidate)
            tags["tuned_by"] = json.dumps(self._declaration.tuned_by(cell.variant))
        return tags

    def _choice(self, standing: Standing, variant: str) -> Choice:
        try:
            return standing.choice(variant)
        except LookupError:
            raise ExperimentError(
                f"variants.{variant}: no candidate can be chosen, since a training of each failed; "
                f"see their reasons with `python -m mnist_lab.compare {self._name}`, and give it "
                f"other candidates: tune.{next(iter(self._declaration.grid(variant)))} = [...]"
            ) from None

    def _asked(self, choices: dict[str, Choice]) -> Asked:
        declaration = self._declaration
        margin = None if declaration.margin is None else declaration.margin / IMAGES
        first = self._first
        seeds, variants = declaration.seeds, tuple(choices)
        asked = Asked(
            experiment=self._experiment,
            title=declaration.title,
            question=declaration.question,
            claim=declaration.claim,
            baseline=declaration.baseline,
            margin=margin,
            first_margin=json.loads(first.get("first_margin", json.dumps(margin))),
            configs={name: choice.candidate.config.digest() for name, choice in choices.items()},
            seeds=seeds,
            code_digest=provenance.code_digest(),
            data_sha256=self._data.sha256,
            first_claim=declaration.claim,
            first_baseline=declaration.baseline,
            first_variants=variants,
            first_seeds=seeds,
        )
        if "configs" not in first:
            return asked
        then = Asked.from_tags(first)
        return replace(
            asked,
            first_claim=then.first_claim,
            first_baseline=then.first_baseline,
            first_variants=then.first_variants,
            first_seeds=then.first_seeds,
        )

    def _varied(self) -> list[str]:
        """The fields in which the variants differ."""
        params = [
            candidate.config.params()
            for variant in self._declaration.variants
            for candidate in self._declaration.candidates(variant)
        ]
        return [key for key in RunConfig.model_fields if len({p.get(key) for p in params}) > 1]


def _check_all_tuned(standing: Standing) -> None:
    """Choose nothing while runs are missing: the choice could be another with them.

    Raises:
        ExperimentError: runs of tuning are missing.
    """
    cells = standing.tuning_cells()
    missing = standing.recorded.missing(cells)
    if missing:
        why = "".join(f"\n  {count}: {reason}" for reason, count in standing.recorded.unfit.items())
        raise ExperimentError(
            f"{len(missing)} of {len(cells)} runs of tuning are missing, {missing[0].name} the "
            "first of them, and nothing is chosen without them; run the command again. What is on "
            f"record and does not count:{why or ' nothing'}"
        )


def standing_of(
    declaration: ExperimentDeclaration, name: str, experiment: str, data: Dataset, store: Store
) -> Standing:
    """An experiment's standing by what is on record now."""
    recorded = runs(name, store) if store.lookup(name) is not None else no_runs()
    return Standing(declaration, recorded, experiment, provenance.code_digest(), data.sha256)
