"""A tracked run against autolog, and against training alone: `python -m benchmarks.tracking`."""

from benchmarks.compare import case, compare

if __name__ == "__main__":
    names = ["tracked run", "fit under autolog", "train", "fit"]
    compare("tracking", {name: case(name) for name in names}, against="fit under autolog")
