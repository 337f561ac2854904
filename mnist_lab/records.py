"""What is read of runs, whatever the store: plain records, before they are tables."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple


@dataclass
class RunRecord:
    """A run as it is stored: params and tags are text, metrics the latest values."""

    run_id: str
    name: str
    status: str
    start_ms: int
    end_ms: int | None
    params: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


class EpochRecord(NamedTuple):
    """One value of one metric at one step, and when it was logged: milliseconds since 1970."""

    run_id: str
    key: str
    step: int
    value: float
    timestamp: int
