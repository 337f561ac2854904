"""The lab and `fit` beside PyTorch, JAX and scikit-learn: `python -m benchmarks.others [NET]`.

5 epochs, compilation included. On the large and the small net PyTorch alone, by the faster of its
ways. The peers live in an environment of their own: `make bench-peers`.
"""

from __future__ import annotations

import subprocess
import sys

from benchmarks.compare import ROOT, case, compare_all
from benchmarks.nets import NETS
from mnist_lab.data import MNIST

PYTHON = ROOT / ".venv-peers" / "bin" / "python"
PEERS = ROOT / "benchmarks" / "peers.py"
TORCH = "PyTorch, batches by index"
NAMES = (
    *("PyTorch, DataLoader", TORCH),
    *("JAX, a compiled step", "JAX, a compiled epoch"),
    "scikit-learn",
)


def peer(name: str, net: str) -> list[str]:
    """The command that times one of benchmarks/peers.py."""
    _, batch_size = NETS[net]
    widths = map(str, NETS[net].hidden)
    return [str(PYTHON), str(PEERS), name, str(MNIST), str(batch_size), *widths]


def main() -> None:
    """Time all cases on one net."""
    net = sys.argv[1] if len(sys.argv) > 1 else "baseline"
    ours = {name: case(name, net) for name in ("train", "fit")}
    names = NAMES if net == "baseline" else (TORCH,)
    theirs = {name: peer(name, net) for name in names}
    versions = subprocess.check_output([PYTHON, PEERS, "versions"], text=True).strip()
    tables = {f"others_{net}": ([*ours, *theirs], TORCH)}
    if net == "3x1024":  # others have a benchmark of their own beside `fit`
        tables[f"training_{net}"] = (list(ours), "fit")
    compare_all(tables, {**ours, **theirs}, more=versions)


if __name__ == "__main__":
    main()
