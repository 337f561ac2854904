"""The dimensions of a search space, as the file of a study declares them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from mnist_lab.declared import Declared

Scalar = int | float | str | bool
Value = Scalar | tuple[int | float, ...]

# A double tells no more values of one order of magnitude apart.
_MOST_STEPS = 10**15


class IntRange(Declared):
    """Whole numbers from `low` to `high`, both included.

    Attributes:
        type: "int".
        low: the least.
        high: the greatest.
        log: draw on a logarithmic scale.
        step: only every `step`-th value, counted from `low`.
    """

    type: Literal["int"]
    low: int
    high: int
    log: bool = False
    step: int | None = Field(default=None, ge=1)

    def problems(self) -> Iterator[tuple[str, str]]:
        """Bounds, scale and step that do not go together."""
        yield from _range_problems(self)

    def tried(self) -> tuple[Value, ...]:
        """Values that stand for all others where a field is asked what it accepts."""
        return (self.low, self.high)

    def count(self) -> int:
        """How many points a grid has; 0 where the scale is logarithmic."""
        return 0 if self.log else max(0, (self.high - self.low) // (self.step or 1) + 1)

    def points(self) -> tuple[Value, ...]:
        """All values, for a grid; none where the scale is logarithmic."""
        return () if self.log else tuple(range(self.low, self.high + 1, self.step or 1))

    def holds(self, value: object) -> bool:
        """Whether the search can come to a value."""
        return _in_range(self, value)


class FloatRange(Declared):
    """Real numbers from `low` to `high`.

    Attributes:
        type: "float".
        low: the least.
        high: the greatest.
        log: draw on a logarithmic scale.
        step: only `low` and what is a whole number of steps above it.
    """

    type: Literal["float"]
    low: float
    high: float
    log: bool = False
    step: float | None = Field(default=None, gt=0.0)

    def problems(self) -> Iterator[tuple[str, str]]:
        """Bounds, scale and step that do not go together."""
        yield from _range_problems(self)

    def tried(self) -> tuple[Value, ...]:
        """Values that stand for all others where a field is asked what it accepts."""
        return (self.low, self.high)

    def count(self) -> int:
        """How many points a grid has; 0 without a step."""
        return 0 if self.step is None else int(_steps(self)) + 1

    def points(self) -> tuple[Value, ...]:
        """All values, for a grid; none without a step."""
        if self.step is None:
            return ()
        # In decimals, as they are written: 0.1 + 2 * 0.1 is 0.3 here.
        low, step = Decimal(str(self.low)), Decimal(str(self.step))
        return tuple(float(low + i * step) for i in range(self.count()))

    def holds(self, value: object) -> bool:
        """Whether the search can come to a value."""
        return _in_range(self, value)

    def value(self, stored: float) -> float:
        """The value that a sampler means: it counts steps in doubles, 3 * 0.1 for 0.3."""
        if self.step is None:
            return stored
        low, step = Decimal(str(self.low)), Decimal(str(self.step))
        return float(low + round((Decimal(str(stored)) - low) / step) * step)


def _range_problems(space: IntRange | FloatRange) -> Iterator[tuple[str, str]]:
    if space.low >= space.high:
        yield "", f"low {space.low} is not below high {space.high}"
        return
    if space.log and space.low <= 0:
        yield "", f"low {space.low} is not above 0, which log = true needs"
    if space.step is None:
        return
    if space.log:
        yield ".step", "is not used with log = true; it can be one or the other"
    elif _steps(space) > _MOST_STEPS:
        yield ".step", f"{space.step} is too small: at most {_MOST_STEPS:,} steps are accepted"
    elif not _in_range(space, space.high):
        low, high, step = (Decimal(str(x)) for x in (space.low, space.high, space.step))
        nearest = (low + (high - low) // step * step).normalize()
        yield (
            "",
            f"high {high} is no whole number of steps of {step} above low {low}; {nearest:f} is",
        )


def _steps(space: IntRange | FloatRange) -> Decimal:
    """How many steps there are from `low` to `high`."""
    low, high, step = (Decimal(str(x)) for x in (space.low, space.high, space.step))
    return (high - low) / step


def _in_range(space: IntRange | FloatRange, value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if not space.low <= value <= space.high:
        return False
    if space.step is None:
        return True
    return (Decimal(str(value)) - Decimal(str(space.low))) % Decimal(str(space.step)) == 0


def _tuples(value: object) -> object:
    """Lists as tuples, those inside of a list too."""
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


class Choices(Declared):
    """One of some values without an order.

    Attributes:
        type: "categorical".
        choices: the values; lists for `hidden`, so that the depth can be searched.
    """

    type: Literal["categorical"]
    choices: Annotated[tuple[Value, ...], BeforeValidator(_tuples), Field(min_length=1)]

    def problems(self) -> Iterator[tuple[str, str]]:
        """Values that are there twice; 512 and [512] are the same width."""
        names = [_name(value) for value in self.choices]
        if len(set(names)) < len(names):
            shown = ", ".join(json.dumps(value) for value in self.choices)
            yield "", f"choices [{shown}] are not all different"

    def tried(self) -> tuple[Value, ...]:
        """All values."""
        return self.choices

    def count(self) -> int:
        """How many points a grid has."""
        return len(self.choices)

    def points(self) -> tuple[Value, ...]:
        """All values, for a grid."""
        return self.choices

    def holds(self, value: object) -> bool:
        """Whether the search can come to a value."""
        return _name(value) in map(_name, self.choices)

    def stored(self, value: object) -> Scalar:
        """How a search stores a value: a list, which no storage takes, as text."""
        found = next(choice for choice in self.choices if _name(choice) == _name(value))
        return json.dumps(found) if isinstance(found, tuple) else found

    def value(self, stored: object) -> Value:
        """The value that was stored."""
        return next(choice for choice in self.choices if self.stored(choice) == stored)


def _name(value: object) -> str:
    """What equal values have in common: 512, 512.0 and [512]."""
    if isinstance(value, tuple):
        return _name(value[0]) if len(value) == 1 else json.dumps([*map(_name, value)])
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value)


Dimension = Annotated[IntRange | FloatRange | Choices, Field(discriminator="type")]
