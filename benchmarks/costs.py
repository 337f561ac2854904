"""What a trial costs over width, batch and depth, beside its floor: `python -m benchmarks.costs`.

A trial trains for 5 epochs: the first one, which compiles, and four times the median of those
after it. Its floor is that of benchmarks/floor.py. One process for each net.
"""

from __future__ import annotations

import json
import statistics
import sys

import pandas as pd

import mnist_lab as lab
from benchmarks.compare import RESULTS, write
from benchmarks.nets import Net
from benchmarks.processes import last_line

ROUNDS = 5
EPOCHS = 5
CURVES = {
    "hidden": {size: Net((size,), 128) for size in (16, 64, 256, 512, 1024, 2048, 4096)},
    "batch_size": {size: Net((512,), size) for size in (16, 64, 128, 256, 1024, 4096)},
    "depth": {depth: Net((512,) * depth, 128) for depth in (1, 2, 4, 8)},
}


def row(curve: str, value: int) -> dict[str, object]:
    """Time one net."""
    from benchmarks.floor import Floor

    net = CURVES[curve][value]
    training = lab.train(net.config(epochs=1 + ROUNDS), lab.load_mnist(), seed=0)
    first = next(training).seconds
    floor = Floor(net)
    ways = [*floor.products.values(), *floor.updates.values()]
    parts: list[list[float]] = [[] for _ in ways]
    epochs = []
    for epoch in training:
        epochs.append(epoch.seconds)
        for seconds, way in zip(parts, ways, strict=True):
            seconds.append(floor.seconds(way))
    medians = [statistics.median(seconds) for seconds in parts]
    products, updates = medians[: len(floor.products)], medians[len(floor.products) :]
    median = statistics.median(epochs)
    return {
        "curve": curve,
        "value": value,
        "n": ROUNDS,
        "trial_s": f"{first + (EPOCHS - 1) * median:.3f}",
        "first_epoch_s": f"{first:.3f}",
        "epoch_s": f"{median:.3f}",
        "epoch_min_s": f"{min(epochs):.3f}",
        "epoch_max_s": f"{max(epochs):.3f}",
        "floor_of_epoch_s": f"{min(products) + min(updates):.3f}",
        "floor_of_trial_s": f"{EPOCHS * (min(products) + min(updates)):.3f}",
    }


def main() -> None:
    """Time all nets; keep the table and the figure."""
    from benchmarks.drawings import costs

    rows = []
    for curve, nets in CURVES.items():
        for value in nets:
            rows.append(json.loads(last_line("benchmarks.costs", curve, str(value))))
            print(f"{curve} {value}: {rows[-1]['trial_s']} s a trial", file=sys.stderr)
    write("costs", rows)
    costs(pd.read_csv(RESULTS / "costs.csv", comment="#"))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(row(sys.argv[1], int(sys.argv[2]))))
    else:
        main()
