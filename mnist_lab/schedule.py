"""How a number that a training changes as it goes on is declared; `schedules` has its values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from mnist_lab.declared import Declared

ScheduleType = Literal[
    "constant", "exponential", "step", "linear", "flat_linear", "cosine", "one_cycle"
]

ONE_CYCLE_RISE = 0.3  # of the epochs, where no warm-up is given, as in mnist_lab/schedules.py
# The settings that each type of schedule needs, and those that it knows besides.
_SCHEDULE_SETTINGS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "constant": ((), ()),
    "exponential": (("factor",), ()),
    "step": (("factor", "every"), ()),
    "linear": (("final",), ("until",)),
    "flat_linear": (("flat", "final"), ("until",)),
    "cosine": ((), ("final", "until")),
    "one_cycle": ((), ("final", "until")),
}


class Schedule(Declared):
    """How a number (learning rate or momentum) changes over the updates of a training.

    With v the number's own field, and time counted in epochs, fractions included:

    Attributes:
        type: "constant" stays at v; "exponential" multiplies by `factor` after each epoch;
            "step" multiplies by `factor` after every `every` epochs; "linear" goes straight to
            `final`; "flat_linear" stays at v for `flat` epochs first; "cosine" goes to `final`
            along half a cosine (Loshchilov and Hutter, 2017); "one_cycle" is a warm-up and a
            cosine (Smith, 2018), over the first 30% of the epochs from v / 25, then to
            v / 250,000, where `warmup`, `initial` and `final` do not say otherwise. (That is his
            of the learning rate. Of the momentum he has it fall while the rate rises, and rise
            again: `initial` and `final` above v.)
        factor: of "exponential" and "step", > 0.
        every: epochs between two steps.
        flat: epochs of "flat_linear" before the descent.
        final: value that is reached.
        until: epoch at which it is reached and from which it is kept; by default the last.
        warmup: epochs of a linear rise from `initial` to v, before all else.
        initial: value at the start of the warm-up.
    """

    type: ScheduleType = "constant"
    factor: float | None = Field(default=None, gt=0.0, le=1_000.0)
    every: int | None = Field(default=None, ge=1)
    flat: float | None = Field(default=None, ge=0.0)
    final: float | None = Field(default=None, ge=0.0)
    until: float | None = Field(default=None, gt=0.0)
    warmup: float | None = Field(default=None, ge=0.0)
    initial: float | None = Field(default=None, ge=0.0)

    def problems(self) -> Iterator[tuple[str, str]]:
        """Settings that the type lacks or does not use."""
        needed, allowed = _SCHEDULE_SETTINGS[self.type]
        for key in needed:
            if getattr(self, key) is None:
                yield key, f"missing; type '{self.type}' needs it"
        for key in self.model_fields_set - {"type", "warmup", "initial", *needed, *allowed}:
            if getattr(self, key) is not None:
                yield key, f"is not used by type '{self.type}'"
        begun = (self.warmup or 0.0) + (self.flat or 0.0)
        if self.until is not None and self.until <= begun:
            yield "until", f"{self.until:g} is over before the descent begins, at epoch {begun:g}"
        own = self.warmup is None and self.type == "one_cycle"  # a rise that need not be given
        if self.initial is not None and not self.warmup and not own:
            yield "initial", "is the start of a warm-up; a 'warmup' above 0 must be given as well"

    def __str__(self) -> str:
        """As in "cosine(warmup=1.0)"."""
        given = self.model_dump(exclude_none=True, exclude={"type"})
        settings = ", ".join(f"{key}={value}" for key, value in given.items())
        return f"{self.type}({settings})" if settings else self.type
