"""What a variant adds to the time of an epoch: `python -m benchmarks.variants`.

All trainings are advanced in turn in one process, an epoch each and the baseline's between them;
the first epoch of each, which compiles, does not count.
"""

from __future__ import annotations

import statistics
import sys

import mnist_lab as lab
from benchmarks.compare import write
from mnist_lab.training import Training

ROUNDS = 5
NAMES = (
    *("dropout", "drop_connect", "input_noise", "hidden_noise"),
    *("shifts", "affine", "elastic", "mixup"),
    *("batch_norm", "layer_norm", "adam", "max_norm", "ema"),
)


def seconds(training: Training) -> float:
    """The time of the next epoch."""
    return next(training).seconds


def main() -> None:
    """Time the epochs and keep the ratios."""
    data = lab.load_mnist()

    def train(fields: dict[str, object]) -> Training:
        return lab.train(lab.RunConfig(**{**fields, "epochs": 2 * len(NAMES) * (ROUNDS + 1)}), data)

    plain = train({})
    seconds(plain)
    rows = []
    for name in NAMES:
        variant = train(lab.VARIANTS[name].fields)
        seconds(variant)
        pairs = [(seconds(variant), seconds(plain)) for _ in range(ROUNDS)]
        ratios = [one / other for one, other in pairs]
        rows.append(
            {
                "variant": name,
                "n": ROUNDS,
                "median_s": f"{statistics.median(one for one, _ in pairs):.3f}",
                "baseline_s": f"{statistics.median(other for _, other in pairs):.3f}",
                "ratio": f"{statistics.median(ratios):.3f}",
                "ratio_min": f"{min(ratios):.3f}",
                "ratio_max": f"{max(ratios):.3f}",
            }
        )
        print(f"{name}: {rows[-1]['ratio']}", file=sys.stderr)
    write("variants", rows)


if __name__ == "__main__":
    main()
