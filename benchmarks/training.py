"""Training for 5 epochs, first compilation included: `python -m benchmarks.training [NET]`.

Of the baseline, which is the default, also with all that a run records, beside MLflow's own ways.
"""

import sys

from benchmarks.compare import case, compare_all

TRAINING = ["train", "fit", "fit, steps_per_execution=32", "fit, jit_compile=True"]
TRACKED = ["tracked run", "fit under autolog", "fit with MlflowCallback and log_model"]

if __name__ == "__main__":
    net = sys.argv[1] if len(sys.argv) > 1 else "baseline"
    table = "training" if net == "baseline" else f"training_{net}"
    tables = {table: (TRAINING, "fit")}
    cases = TRAINING
    if net == "baseline":
        tables["tracking"] = ([*TRACKED, "train", "fit"], "fit under autolog")
        cases = [*TRAINING, *TRACKED]
    compare_all(tables, {name: case(name, net) for name in cases})
