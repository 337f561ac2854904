"""How numbers and states are put into words."""

from __future__ import annotations

_STATES = {"FAIL": "failed"}


def plural(count: int, noun: str) -> str:
    """`1 run`, `2 runs`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def state(name: str) -> str:
    """A trial's state, as Optuna names it, in a sentence: `complete`, `pruned`, `failed`."""
    return _STATES.get(name, name.lower())
