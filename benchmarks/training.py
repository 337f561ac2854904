"""Training for 5 epochs, first compilation included: `python -m benchmarks.training [NET]`."""

import sys

from benchmarks.compare import case, compare

if __name__ == "__main__":
    net = sys.argv[1] if len(sys.argv) > 1 else "baseline"
    table = "training" if net == "baseline" else f"training_{net}"
    names = ["train", "fit", "fit, steps_per_execution=32", "fit, jit_compile=True"]
    compare(table, {name: case(name, net) for name in names}, against="fit")
