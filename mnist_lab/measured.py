"""What a run has measured, as plain data: enough to put it on record in any store."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import NamedTuple

from mnist_lab.wording import plural

PARENT_TAG = "mlflow.parentRunId"
CONFIRMED_TRIAL = "confirmed_trial"  # of a study's run: the trial that its verdict is about
PROCESS_TAG = "process"  # who writes a run, or wrote it last: as `this_process` tells it


class Value(NamedTuple):
    """One value of a metric."""

    key: str
    value: float
    ms: int  # since 1970
    step: int


@dataclass
class Measured:
    """What a run has measured so far.

    Attributes:
        run_id: in the store that it was started in.
        experiment: the name of its MLflow experiment.
        name: the run's.
        store: the address of that store, without a password.
        start_ms: since 1970.
        tags: of the run; a later value takes the place of an earlier one.
        params: likewise.
        metrics: every value, in the order of their measurement.
        dataset: MLflow's description of the data, or None.
        status: MLflow's status of its end, or "" while it is under way.
        end_ms: since 1970, or None while it is under way.
        has_model: whether its folder holds the whole model.
    """

    run_id: str
    experiment: str
    name: str
    store: str
    start_ms: int
    tags: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    metrics: list[Value] = field(default_factory=list)
    dataset: dict[str, str] | None = None
    status: str = ""
    end_ms: int | None = None
    has_model: bool = False

    def add(
        self, tags: Mapping[str, str], params: Mapping[str, str], metrics: Sequence[Value]
    ) -> None:
        """Note more of it."""
        self.tags |= tags
        self.params |= params
        self.metrics += metrics

    @property
    def epochs(self) -> int:
        """The number of its last epoch, 0 if there is none."""
        return max((value.step for value in self.metrics if value.key == "loss"), default=0)

    @property
    def is_complete(self) -> bool:
        """Whether its training came to its end."""
        return any(value.key == "test_loss" for value in self.metrics)

    def summary(self) -> str:
        """What there is of it, for the user."""
        parts = [plural(self.epochs, "epoch")] if self.epochs else ["its tags and files"]
        parts += ["test metrics"] if self.is_complete else []
        parts += ["model"] if self.has_model else []
        return ", ".join(parts)

    def to_json(self) -> str:
        """As text; a NaN is written as Python does, NaN."""
        return json.dumps(asdict(self), indent=1)


def from_json(text: str) -> Measured:
    """What `Measured.to_json` wrote.

    Raises:
        ValueError, TypeError: it is something else.
    """
    read = json.loads(text)
    return Measured(**{**read, "metrics": [Value(*value) for value in read["metrics"]]})
