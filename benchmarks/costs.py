"""What a trial costs over width, batch and depth, beside its floor: `python -m benchmarks.costs`.

A trial trains for 5 epochs: the first one, which compiles, and four times the median of those
after it. Its floor is that of benchmarks/floor.py. A process compiles a net but once:
one of each net times the later epochs beside their floor, and as many more as there are rounds a
first one each.
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


def first_epoch(net: Net) -> float:
    """Seconds of the epoch that compiles."""
    return next(lab.train(net.config(epochs=1), lab.load_mnist(), seed=0)).seconds


def later_epochs(net: Net) -> dict[str, float]:
    """Seconds of the epochs after the first, and of their floor."""
    from benchmarks.floor import Floor

    training = lab.train(net.config(epochs=1 + ROUNDS), lab.load_mnist(), seed=0)
    next(training)
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
    return {
        "median": statistics.median(epochs),
        "min": min(epochs),
        "max": max(epochs),
        "floor": min(products) + min(updates),
    }


def row(curve: str, value: int) -> dict[str, object]:
    """Time one net, each part in a process of its own."""
    name = ("benchmarks.costs", curve, str(value))
    firsts = [float(last_line(*name, "first")) for _ in range(ROUNDS)]
    epoch = json.loads(last_line(*name, "later"))
    first = statistics.median(firsts)
    return {
        "curve": curve,
        "value": value,
        "n": ROUNDS,
        "trial_s": f"{first + (EPOCHS - 1) * epoch['median']:.3f}",
        "first_epoch_s": f"{first:.3f}",
        "first_epoch_min_s": f"{min(firsts):.3f}",
        "first_epoch_max_s": f"{max(firsts):.3f}",
        "epoch_s": f"{epoch['median']:.3f}",
        "epoch_min_s": f"{epoch['min']:.3f}",
        "epoch_max_s": f"{epoch['max']:.3f}",
        "floor_of_epoch_s": f"{epoch['floor']:.3f}",
        "floor_of_trial_s": f"{EPOCHS * epoch['floor']:.3f}",
    }


def main() -> None:
    """Time all nets; keep the table and the figure."""
    from benchmarks.drawings import costs

    rows = []
    for curve, nets in CURVES.items():
        for value in nets:
            rows.append(row(curve, value))
            print(f"{curve} {value}: {rows[-1]['trial_s']} s a trial", file=sys.stderr)
    write("costs", rows)
    costs(pd.read_csv(RESULTS / "costs.csv", comment="#"))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        _, curve, value, part = sys.argv
        net = CURVES[curve][int(value)]
        print(first_epoch(net) if part == "first" else json.dumps(later_epochs(net)))
    else:
        main()
