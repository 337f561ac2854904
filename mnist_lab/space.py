"""What the file of a study declares: the search space, its budget and how it is searched."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError

from mnist_lab.conditional import NAMED
from mnist_lab.config import ConfigError, RunConfig, RunFields
from mnist_lab.declared import Declared, as_tuple, describe, nearest
from mnist_lab.dimensions import Choices, Dimension, IntRange, Scalar, Value

Metric = Literal["val_accuracy", "val_loss"]
Objective = Literal["val_accuracy", "val_loss", "parameters", "seconds"]

MAXIMIZED = ("val_accuracy",)
# Fields that say what the loss is, of validation images too.
_OF_THE_LOSS = {"loss", "output", "label_smoothing", "l1", "l2"}
# Each point waits in the storage as a trial.
_LARGEST_GRID = 10_000
# Of so many whole numbers each is tried as the value of its field.
_SHORT_RANGE = 100


class StudyDeclaration(Declared):
    """A search over fields of `RunConfig`.

    Attributes:
        title: one line for the reader.
        trials: the study's total of trials; a study that has them is complete.
        metric: what is maximized (val_accuracy) or minimized (val_loss), after the last epoch.
            By val_loss, what belongs to the loss cannot be searched; a `space` is not looked into.
        objectives: several of them instead, which end in a Pareto front: a metric first, by
            which one of the front is chosen, then a metric, "parameters" (their number) or
            "seconds" (the epochs times the median duration of one, compilation left out), which
            are minimized.
        sampler: "tpe" (Bergstra et al., 2011), "random", "grid" (all combinations, once each),
            "cmaes" (Hansen and Ostermeier, 2001; of numbers alone) or "nsgaii" (Deb et al., 2002).
        pruner: "median" (stops a trial that is below the median of the earlier ones at the same
            step), "successive_halving" (Jamieson and Talwalkar, 2016; Li et al., 2020),
            "hyperband" (Li et al., 2018) or "none". The steps are the epochs of a trial's first
            training, then one at the end of each further training.
        seed: of the sampler's choices and of every trial's first training.
        seeds_per_trial: trainings of a trial, with `seed`, `seed` + 1 and so on; their mean counts.
        config: fields of `RunConfig` that are the same for all trials.
        search: the fields that are searched, and where.
        space: instead of `search` a Python function, "FILE.py:FUNCTION" with FILE.py beside the
            study's file; see `mnist_lab.conditional`.
        first: of a `space`, the parameters of the first trial.
    """

    title: str = ""
    trials: int = Field(default=20, ge=1, le=1_000_000)
    metric: Metric = "val_accuracy"
    objectives: Annotated[tuple[Objective, ...], BeforeValidator(as_tuple)] = ()
    sampler: Literal["tpe", "random", "grid", "cmaes", "nsgaii"] = "tpe"
    pruner: Literal["median", "successive_halving", "hyperband", "none"] = "median"
    seed: int = Field(default=0, ge=0, lt=2**32)
    seeds_per_trial: int = Field(default=1, ge=1, le=100)
    config: RunFields = RunFields(validation_size=10_000)
    search: dict[str, Dimension] = Field(default_factory=dict)
    space: str | None = None
    first: dict[str, Scalar] = Field(default_factory=dict)

    @property
    def goals(self) -> tuple[Objective, ...]:
        """What is optimized: the objectives, or the one metric."""
        return self.objectives or (self.metric,)

    @property
    def chosen_by(self) -> Objective:
        """The metric of validation images by which the best configuration is chosen."""
        return self.goals[0]

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds that the search uses, in the order of a trial's trainings."""
        return tuple(range(self.seed, self.seed + self.seeds_per_trial))

    @property
    def most_epochs(self) -> int:
        """The epochs of the longest training of the declared space."""
        searched = self.search.get("epochs")
        tried = () if searched is None else searched.tried()
        return max([self.config.epochs, *(value for value in tried if isinstance(value, int))])

    def problems(self) -> Iterator[tuple[str, str]]:
        """Searched keys that are no fields, values that `RunConfig` refuses, a search at odds."""
        if self.space is None and not self.search:
            yield "search", "missing; it must be given, or a function as space"
        yield from self._space_problems()
        each = (self._dimension_problems(key, dimension) for key, dimension in self.search.items())
        yield from dict.fromkeys(itertools.chain.from_iterable(each))
        yield from self._objective_problems()
        yield from self._sampler_problems()
        if self.seed + self.seeds_per_trial > 2**32:
            yield "seeds_per_trial", f"{self.seeds_per_trial} from seed {self.seed} on exceed 2**32"
        if self.config.validation_size < 1:
            yield (
                "config.validation_size",
                "must be at least 1: a study selects on validation images, never on test images",
            )

    def _space_problems(self) -> Iterator[tuple[str, str]]:
        if self.space is None:
            if self.first:
                yield "first", "is not used without space; of a [search] the baseline is the first"
            return
        if not NAMED.fullmatch(self.space):
            yield (
                "space",
                f"{self.space!r} is not accepted: it should be FILE.py:FUNCTION, with FILE.py "
                "beside this file",
            )
        if self.search:
            yield "space", "and [search] are both given; it can be one or the other"

    def _dimension_problems(self, key: str, dimension: Dimension) -> Iterator[tuple[str, str]]:
        # What every trial has in common, and what is a table.
        others = {"validation_size", "learning_rate_schedule", "momentum_schedule"}
        fields = [name for name in RunConfig.model_fields if name not in others]
        place = f"search.{key}"
        if key not in fields:
            hint = nearest(key, fields) or "."
            yield place, f"not a field that can be searched{hint} Known: {', '.join(fields)}"
            return
        if key in self.config.model_fields_set:
            yield place, "is fixed in [config] as well; it can be one or the other"
        yield from ((place + inner, what) for inner, what in dimension.problems())
        refused = [what for value in dimension.tried() for what in _refused(key, value)]
        yield from ((place, what) for what in dict.fromkeys(refused))
        if refused:
            return
        if between := [what for value in _within(dimension) for what in _refused(key, value)]:
            yield place, f"{between[0]}; give those that it can be as categorical choices"
            return
        # One field at a time is varied, for what it may be can depend on the others.
        tried = {name: d.tried()[0] for name, d in self.search.items() if name in fields}
        firsts = {name: value for name, value in tried.items() if not _refused(name, value)}
        told: list[str] = []
        for value in dimension.tried():
            try:
                self.configuration({**firsts, key: value})
            except ConfigError as error:
                told.append(str(error).removeprefix("RunConfig: "))
        whatever = len(told) == len(dimension.tried()) and len(set(told)) == 1
        for message in dict.fromkeys(told):
            field, _, what = message.partition(": ")
            mine = whatever and field.partition(".")[0] in self.config.model_fields_set
            yield (f"config.{field}", what) if mine else (place, message)

    def _objective_problems(self) -> Iterator[tuple[str, str]]:
        for key in sorted(self.search.keys() & _OF_THE_LOSS) if "val_loss" in self.goals else []:
            yield (
                f"search.{key}",
                "makes another loss of val_loss, by which trials are compared here; fix it in "
                "[config], or search by val_accuracy",
            )
        if not self.objectives:
            return
        shown = ", ".join(self.objectives)
        if len(self.objectives) < 2 or len(set(self.objectives)) < len(self.objectives):
            yield "objectives", f"{shown}: expected several different ones; for one there is metric"
        if self.objectives[0] not in ("val_accuracy", "val_loss"):
            yield (
                "objectives",
                f"{shown}: expected val_accuracy or val_loss first, by which one configuration of "
                "the Pareto front is chosen",
            )
        epochs = self.search["epochs"].tried() if "epochs" in self.search else (self.config.epochs,)
        if "seconds" in self.objectives and self.space is None and 1 in epochs:
            yield (
                "objectives",
                "seconds needs 2 epochs or more: the first one contains the compilation",
            )
        if "metric" in self.model_fields_set:
            yield "metric", "and objectives are both given; it can be one or the other"
        if self.pruner != "none":
            yield (
                "pruner",
                f"'{self.pruner}' with several objectives: a trial can be pruned by one value "
                'alone; write pruner = "none"',
            )

    def _sampler_problems(self) -> Iterator[tuple[str, str]]:
        if self.sampler == "grid":
            yield from self._grid_problems()
        if self.sampler != "cmaes":
            return
        if self.objectives:
            yield "sampler", "'cmaes' has one objective; for several there are tpe and nsgaii"
        if self.space is not None:
            yield "sampler", "'cmaes' needs the same parameters in all trials: [search], not space"
        for key, dimension in self.search.items():
            if isinstance(dimension, Choices):
                yield f"search.{key}", "is categorical; sampler 'cmaes' searches numbers alone"
        if len(self.search) == 1:
            yield "sampler", "'cmaes' needs at least two parameters; for one there is tpe"

    def _grid_problems(self) -> Iterator[tuple[str, str]]:
        if self.space is not None:
            yield "sampler", "'grid' needs the points of a [search], which space does not tell"
            return
        for key, dimension in self.search.items():
            if not dimension.count():
                yield (
                    f"search.{key}",
                    "has no points for sampler 'grid'; give it a step, or choices",
                )
        size = math.prod(dimension.count() for dimension in self.search.values())
        if size > _LARGEST_GRID:
            yield "sampler", f"'grid' has {size:,} points; at most {_LARGEST_GRID:,} are accepted"
        elif 0 < size < self.trials:
            shown = (
                f"{self.trials}"
                if "trials" in self.model_fields_set
                else f"{self.trials}, the default,"
            )
            yield "trials", f"{shown} is more than the {size} points of the grid"

    def configuration(self, values: Mapping[str, object]) -> RunConfig:
        """The configuration of a trial.

        Args:
            values: of the searched fields.

        Raises:
            ConfigError: they are refused, alone or beside the others.
        """
        return RunConfig(**{**dict(self.config), **values})

    def values(self, parameters: Mapping[str, Any]) -> dict[str, Value]:
        """The values of the searched fields from the parameters that a search stored."""
        found: dict[str, Value] = {}
        for key, stored in parameters.items():
            dimension = self.search[key]
            found[key] = stored if isinstance(dimension, IntRange) else dimension.value(stored)
        return found

    def baseline_parameters(self) -> dict[str, Scalar] | None:
        """The baseline's parameters of the search, or None if the space excludes one."""
        baseline = RunConfig()
        parameters: dict[str, Scalar] = {}
        for key, dimension in self.search.items():
            value = getattr(baseline, key)
            if key == "hidden" and not isinstance(dimension, Choices):
                value = value[0]
            if not dimension.holds(value):
                return None
            parameters[key] = dimension.stored(value) if isinstance(dimension, Choices) else value
        return parameters

    def grid(self) -> list[dict[str, Scalar]]:
        """The parameters of all points, those of the first key varied last."""
        columns = [
            [(key, d.stored(v) if isinstance(d, Choices) else v) for v in d.points()]
            for key, d in self.search.items()
        ]
        return [dict(point) for point in itertools.product(*columns)]  # type: ignore[arg-type]


def _within(dimension: Dimension) -> Iterable[int]:
    """The values of a short range: a field may accept both ends of it, and not all between."""
    if not isinstance(dimension, IntRange) or dimension.high - dimension.low > _SHORT_RANGE:
        return ()
    return range(dimension.low, dimension.high + 1, dimension.step or 1)


def _refused(key: str, value: object) -> list[str]:
    """What is wrong with the value of a field, whatever the others are."""
    try:
        RunFields.model_validate({key: value})
    except ValidationError as error:
        return [f"{place}: {what}" for place, what in describe(error, RunFields)]
    return []
