"""A tracked run against MLflow's own ways, and training alone: `python -m benchmarks.tracking`."""

from benchmarks.compare import case, compare

if __name__ == "__main__":
    names = [
        *("tracked run", "fit under autolog", "fit with MlflowCallback and log_model"),
        *("train", "fit"),
    ]
    compare("tracking", {name: case(name) for name in names}, against="fit under autolog")
