"""One thread or one a core? `python -m benchmarks.threads` times epochs of nets of several sizes.

TensorFlow fixes the number when it computes first, so a process has one for all its nets. Each
round runs a process with one thread and one with TensorFlow's default.
"""

from __future__ import annotations

import json
import sys

import mnist_lab as lab
from benchmarks.compare import ratios, spread, write
from benchmarks.nets import Net
from benchmarks.processes import last_line

ROUNDS = 5
NETS = [Net((hidden,), batch) for hidden in (16, 64, 256, 1024) for batch in (32, 128)]


def seconds(net: Net) -> tuple[float, float]:
    """The first epoch, which compiles, and the shorter of the two after it."""
    epochs = [epoch.seconds for epoch in lab.train(net.config(epochs=3), lab.load_mnist())]
    return epochs[0], min(epochs[1:])


def main() -> None:
    """Time all nets with either number of threads."""
    from mnist_lab.provenance import cores

    measured: dict[int, list[list[tuple[float, float]]]] = {1: [], cores(): []}
    for number in range(ROUNDS):
        for threads, rounds in measured.items():
            rounds.append(
                json.loads(
                    last_line("benchmarks.threads", "all", TF_NUM_INTRAOP_THREADS=str(threads))
                )
            )
        print(f"round {number + 1} of {ROUNDS} done", file=sys.stderr)
    rows = []
    for index, net in enumerate(NETS):
        first, epochs = (
            {threads: [r[index][part] for r in rounds] for threads, rounds in measured.items()}
            for part in (0, 1)
        )
        rows.append(
            {"hidden": net.hidden[0], "batch_size": net.batch_size}
            | {
                f"{t}_threads_{cell}": v
                for t in measured
                for cell, v in spread(epochs[t], "s").items()
            }
            | ratios(epochs[1], epochs[cores()], "1 thread / all")
            | {"first epochs, 1 thread / all": ratios(first[1], first[cores()], "r")["r"]}
        )
    write("threads", rows, threads="one thread or one on each")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps([seconds(net) for net in NETS]))
    else:
        main()
