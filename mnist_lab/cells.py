"""The runs that a comparison asks for: which are on record, and training those that are not."""

from __future__ import annotations

import contextlib
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import pandas as pd

from mnist_lab.config import RunConfig
from mnist_lab.connection import TrackingError
from mnist_lab.importing import uncollected
from mnist_lab.process import KILLED, is_dead, is_here
from mnist_lab.progress import Progress
from mnist_lab.question import Candidate
from mnist_lab.records import RunRecord
from mnist_lab.tables import counted
from mnist_lab.tracking import Store
from mnist_lab.work import Bench, Team

# How long one waits for a run to end before one looks again.
_LOOK_SECONDS = 15.0
# How long a run of another machine may tell of no epoch.
_PATIENCE = timedelta(hours=1)
_PATIENCE_EPOCHS = 20
_SILENT = "its machine has given no sign of life"

Stage = Literal["tuning", "verdict", "confirmation"]


@dataclass(frozen=True)
class Cell:
    """One run that is asked for.

    Attributes:
        stage: "tuning" or "verdict" of an experiment, "confirmation" of a study.
        variant: its name.
        seed: of the training.
        candidate: what the variant is trained with.
        config: the candidate's, while tuning with validation images.
    """

    stage: Stage
    variant: str
    seed: int
    candidate: Candidate
    config: RunConfig

    @property
    def name(self) -> str:
        """The name of its run."""
        tuned = f" {self.candidate}" if self.stage == "tuning" else ""
        return f"{self.variant}{tuned} seed {self.seed}"


class Recorded:
    """The runs on record that count for one comparison.

    A run counts if it belongs to this comparison, was trained by this version of the code on this
    data, and finished or failed by itself. It is the run of a cell if its configuration and seed
    are the cell's. All others stay on record and play no part.

    Args:
        runs: what is on record, as from `mnist_lab.runs`.
        experiment: the comparison's name, by which its runs are tagged.
        code_digest: of the present code.
        data_sha256: of the present data.

    Attributes:
        own: all runs of this comparison.
        runs: those that count.
        unfit: how many do not, by reason.
    """

    def __init__(
        self, runs: pd.DataFrame, experiment: str, code_digest: str, data_sha256: str
    ) -> None:
        self.own = own = runs[runs["experiment"] == experiment]
        ours = (own["code_digest"] == code_digest) & (own["data_sha256"] == data_sha256)
        ended = counted(own)
        self.runs = own[ours & ended]
        self.unfit = Counter(_reasons(own, code_digest, data_sha256)[~(ours & ended)])
        self._by_cell: dict[tuple[str, str, int, str], pd.Series[Any]] = {}
        for _, run in self.runs.iterrows():
            key = (run["stage"], run["variant"], int(run["seed"]), run["config_digest"])
            self._by_cell.setdefault(key, run)

    def run_of(self, cell: Cell) -> pd.Series[Any] | None:
        """The run of a cell that counts, or None if it is still to be trained."""
        return self._by_cell.get((cell.stage, cell.variant, cell.seed, cell.config.digest()))

    def missing(self, cells: list[Cell]) -> list[Cell]:
        """The cells that are still to be trained, in their order."""
        return [cell for cell in cells if self.run_of(cell) is None]

    def of(self, cells: list[Cell]) -> pd.DataFrame:
        """The runs of some cells, in the order of the record."""
        ids = [run["run_id"] for cell in cells if (run := self.run_of(cell)) is not None]
        return self.runs[self.runs["run_id"].isin(ids)]


def _reasons(own: pd.DataFrame, code_digest: str, data_sha256: str) -> pd.Series[str]:
    """Why each run would not count, the first reason that holds."""
    statuses = {
        "KILLED": "interrupted",
        "RUNNING": "still running, or its process was killed",
        "FAILED": "failed by an accident outside of training",
    }
    reasons = own["status"].map(statuses).fillna("")
    told = own["reason"].astype("string").fillna("")
    reasons = reasons.mask((own["status"] == "FAILED") & told.str.startswith("out of memory"), told)
    # What ended before it began to train has not told what it would have been trained on.
    other_data = own["data_sha256"].notna() & (own["data_sha256"] != data_sha256)
    reasons = reasons.mask(other_data, "trained on other data")
    other_code = own["code_digest"].notna() & (own["code_digest"] != code_digest)
    return reasons.mask(other_code, "trained by another version of the code")


@dataclass(frozen=True)
class CellTask:
    """A cell that is to be trained.

    Attributes:
        cell: what to train.
        tags: of its run.
        experiment_id: the MLflow experiment it is filed in.
        parent_id: the run it is shown under.
    """

    cell: Cell
    tags: dict[str, str]
    experiment_id: str
    parent_id: str

    def run(self, bench: Bench) -> None:
        """Train, as a run on record."""
        # TensorFlow takes seconds to import: whoever only gives cells out needs none of it.
        with uncollected("mnist_lab.recording"):
            from mnist_lab.recording import record

        cell = self.cell
        with bench.store.run(
            self.experiment_id, cell.name, tags=self.tags, parent=self.parent_id
        ) as run:
            record(cell.config, bench.data, cell.seed, run, bench.watcher)


def train_cells(
    cells: list[Cell],
    team: Team,
    store: Store,
    experiment_id: str,
    parent_id: str,
    tags: Callable[[Cell], Mapping[str, str]],
    progress: Progress,
) -> None:
    """Train cells, each as a run on record.

    Args:
        cells: what to train.
        team: who trains.
        store: where the runs are recorded.
        experiment_id: the MLflow experiment they are filed in.
        parent_id: the run they are shown under.
        tags: a cell's tags but for its kind, stage and variant.
        progress: is told of every run and epoch.
    """
    if not cells:
        return
    call = uuid.uuid4().hex
    waiting = [
        CellTask(cell, {**_tags(cell, call), **tags(cell)}, experiment_id, parent_id)
        for cell in cells
    ]
    waiting.reverse()
    try:
        while waiting or team.busy():
            if waiting and team.room() > 0:
                team.begin(waiting.pop(), progress)
            else:
                progress.end(len(team.ended(_LOOK_SECONDS)))
    except BaseException:
        team.stop()
        # What went wrong before is the greater news.
        with contextlib.suppress(TrackingError):
            close_dead_runs(store, experiment_id, {"call": call})
        raise
    close_dead_runs(store, experiment_id, {"call": call})


def _tags(cell: Cell, call: str) -> dict[str, str]:
    return {"kind": "training", "stage": cell.stage, "variant": cell.variant, "call": call}


def close_dead_runs(store: Store, experiment_id: str, tags: Mapping[str, str]) -> None:
    """End the runs with some tags that nobody is at work on any more.

    Of a process of this machine it is known whether it was killed. Another machine may be gone for
    good: its run is given up an hour after its last epoch, or after twenty times as long as that
    took.

    Args:
        store: where they are recorded.
        experiment_id: the MLflow experiment they are filed in.
        tags: with "call" among them those of a call whose workers have all ended, wherever.
    """
    for run in store.runs(experiment_id):
        meant = run.tags.get("kind") == "training" and tags.items() <= run.tags.items()
        if run.status != "RUNNING" or not meant:
            continue
        if "call" in tags or is_dead(run.tags.get("process", "")):
            store.close_run(run.run_id, "FAILED", KILLED)
        elif _is_silent(run, store):
            store.close_run(run.run_id, "FAILED", _SILENT)


def _is_silent(run: RunRecord, store: Store) -> bool:
    """Whether a run of another machine has told of no epoch for so long that it is given up."""
    if is_here(run.tags.get("process", "")):
        return False
    patience = max(_PATIENCE, _PATIENCE_EPOCHS * timedelta(seconds=_epoch_seconds(run)))
    return datetime.now(UTC) - store.last_sign(run) > patience


def _epoch_seconds(run: RunRecord) -> float:
    return min(run.metrics.get("epoch_seconds", 0.0), timedelta(days=1).total_seconds())
