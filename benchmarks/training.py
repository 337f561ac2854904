"""Training the baseline, 5 epochs, first compilation included: `python -m benchmarks.training`."""

from benchmarks.compare import case, compare

if __name__ == "__main__":
    names = ["train", "fit", "fit, steps_per_execution=32", "fit, jit_compile=True"]
    compare("training", {name: case(name) for name in names}, against="fit")
