"""What the file of a study declares: the search space, its budget and how it is searched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from mnist_lab.config import ConfigError, RunConfig, RunFields
from mnist_lab.declared import Declared, nearest

Scalar = int | float | str | bool


class IntRange(Declared):
    """Whole numbers from `low` to `high`, both included; `log` draws on a logarithmic scale."""

    type: Literal["int"]
    low: int
    high: int
    log: bool = False


class FloatRange(Declared):
    """Real numbers from `low` to `high`; `log` draws on a logarithmic scale."""

    type: Literal["float"]
    low: float
    high: float
    log: bool = False


class Choices(Declared):
    """One of some values without an order."""

    type: Literal["categorical"]
    choices: Annotated[
        tuple[Scalar, ...],
        BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value),
        Field(min_length=1),
    ]


Dimension = Annotated[IntRange | FloatRange | Choices, Field(discriminator="type")]


class StudyDeclaration(Declared):
    """A search over fields of `RunConfig`.

    Attributes:
        title: one line for the reader.
        trials: the study's total of trials; a study that has them is complete.
        metric: what is maximized (val_accuracy) or minimized (val_loss), after the last epoch.
        sampler: "tpe" (Bergstra et al., 2011) or "random".
        pruner: "median" (stops a trial that is below the median of the earlier ones at the same
            epoch), "hyperband" (Li et al., 2018) or "none"; it sees every epoch.
        seed: of the sampler's choices and of every trial's training.
        config: fields of `RunConfig` that are the same for all trials.
        search: the fields that are searched, and where.
    """

    title: str = ""
    trials: int = Field(default=20, ge=1, le=1_000_000)
    metric: Literal["val_accuracy", "val_loss"] = "val_accuracy"
    sampler: Literal["tpe", "random"] = "tpe"
    pruner: Literal["median", "hyperband", "none"] = "median"
    seed: int = Field(default=0, ge=0, lt=2**32)
    config: RunFields = RunFields(validation_size=10_000)
    search: dict[str, Dimension] = Field(min_length=1)

    def problems(self) -> Iterator[tuple[str, str]]:
        """Searched keys that are no fields, or whose values `RunConfig` refuses."""
        fields = [name for name in RunConfig.model_fields if name != "validation_size"]
        # One field at a time is varied, for what it may be can depend on the others.
        firsts = {
            key: dimension.choices[0] if isinstance(dimension, Choices) else dimension.low
            for key, dimension in self.search.items()
            if key in fields
        }
        for key, dimension in self.search.items():
            place = f"search.{key}"
            if key not in fields:
                yield (
                    place,
                    f"nothing to search{nearest(key, fields) or '.'} Known: {', '.join(fields)}",
                )
                continue
            if key in self.config.model_fields_set:
                yield place, "is fixed in [config] as well; it can be one or the other"
            if isinstance(dimension, Choices):
                values: tuple[Scalar, ...] = dimension.choices
                if len(set(values)) < len(values):
                    yield place, f"choices {list(values)} are not all different"
            else:
                values = (dimension.low, dimension.high)
                if dimension.low >= dimension.high:
                    yield place, f"low {dimension.low} is not below high {dimension.high}"
                if dimension.log and dimension.low <= 0:
                    yield place, f"low {dimension.low} is not above 0, which log = true needs"
            for value in values:
                try:
                    self.configuration({**firsts, key: value})
                except ConfigError as error:
                    yield place, str(error).removeprefix("RunConfig: ")
        if self.config.validation_size < 1:
            yield (
                "config.validation_size",
                "must be at least 1: a study selects on validation images, never on test images",
            )

    def configuration(self, values: Mapping[str, object]) -> RunConfig:
        """The configuration of a trial.

        Args:
            values: of the searched fields.

        Raises:
            ConfigError: they are refused, alone or beside the others.
        """
        return RunConfig(**{**dict(self.config), **values})

    def baseline_parameters(self) -> dict[str, Scalar] | None:
        """The baseline's values of the searched fields, or None if the space excludes one."""
        baseline = RunConfig()
        values: dict[str, Scalar] = {}
        for key, dimension in self.search.items():
            value = baseline.hidden[0] if key == "hidden" else getattr(baseline, key)
            if isinstance(dimension, Choices):
                inside = value in dimension.choices
            else:
                inside = dimension.low <= value <= dimension.high
            if not inside:
                return None
            values[key] = value
        return values
