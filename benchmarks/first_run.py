"""What a record adds to the first run of a process: `python -m benchmarks.first_run`.

The baseline's training and its test beside the same as a run on record, in fresh processes. One
and the same case differs by more than a second from round to round, so there are many pairs, whose
order changes, and what counts is the median of the differences within a pair.
"""

from __future__ import annotations

import sys

from benchmarks.compare import case, measured, spread, write

PAIRS = 15
WITHOUT, WITH = "train and test", "tracked run"


def main() -> None:
    """Measure all pairs and keep the table."""
    seconds: dict[str, list[float]] = {WITHOUT: [], WITH: []}
    for number in range(PAIRS + 1):
        for name in (WITHOUT, WITH) if number % 2 else (WITH, WITHOUT):
            value = measured(case(name, "baseline"))
            if number > 0:  # the first pair fills the disk's cache
                seconds[name].append(value)
        print(f"pair {number} of {PAIRS} done", file=sys.stderr)
    more = [there - without for without, there in zip(*seconds.values(), strict=True)]
    rows = {**seconds, "difference within a pair": more}
    write("first_run", [{"case": name} | spread(values, "s") for name, values in rows.items()])


if __name__ == "__main__":
    main()
