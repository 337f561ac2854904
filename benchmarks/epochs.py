"""An epoch of the lab beside its floor: `python -m benchmarks.epochs`.

Epochs and the parts of the floor (benchmarks/floor.py) are timed in turn in one process for each
net. `first_s` is the first epoch of the process, which compiles; `again_s` the first epoch of a
second training of the same shapes, which does not.
"""

from __future__ import annotations

import json
import statistics
import sys

import mnist_lab as lab
from benchmarks.compare import ratios, spread, write
from benchmarks.nets import NETS, Net
from benchmarks.processes import last_line

ROUNDS = 7


def row(name: str, net: Net) -> dict[str, object]:
    """Time one net."""
    from benchmarks.floor import Floor

    data = lab.load_mnist()
    training = lab.train(net.config(epochs=1 + ROUNDS), data, seed=0)
    first = next(training).seconds
    again = next(lab.train(net.config(learning_rate=5e-4), data, seed=1)).seconds
    floor = Floor(net)
    epochs: list[float] = []
    products: dict[str, list[float]] = {way: [] for way in floor.products}
    updates: dict[str, list[float]] = {way: [] for way in floor.updates}
    for epoch in training:
        epochs.append(epoch.seconds)
        for way, part in floor.products.items():
            products[way].append(floor.seconds(part))
        for way, part in floor.updates.items():
            updates[way].append(floor.seconds(part))
    product_way, update_way = (
        min(ways, key=lambda way: statistics.median(ways[way])) for ways in (products, updates)
    )
    floors = [a + b for a, b in zip(products[product_way], updates[update_way], strict=True)]
    return {
        "net": name,
        "first_s": f"{first:.3f}",
        "again_s": f"{again:.3f}",
        **spread(epochs, "s"),
        "floor_s": f"{statistics.median(floors):.3f}",
        **ratios(floors, epochs, "floor / epoch"),
        **{f"products by {way}_s": f"{statistics.median(v):.3f}" for way, v in products.items()},
        **{f"updates by {way}_s": f"{statistics.median(v):.3f}" for way, v in updates.items()},
        "products_gflop": f"{net.flops / 1e9:.1f}",
    }


def main() -> None:
    """Time all nets, each in a fresh process, and keep the table."""
    rows = []
    for name in NETS:
        rows.append(json.loads(last_line("benchmarks.epochs", name)))
        print(f"{name} done", file=sys.stderr)
    write("epochs", rows)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(row(sys.argv[1], NETS[sys.argv[1]])))
    else:
        main()
