"""Will a training fit into memory? Asked before it takes any: a process that runs out is killed."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import psutil

from mnist_lab.config import RunConfig

_PIXELS = 784
_DIGITS = 10
_BYTES = 4  # of a float32
# The network as it is built, what the compiled epoch works on, its state and the state after it.
_COPIES = 4
_CGROUP = Path("/sys/fs/cgroup")


def check_memory(config: RunConfig, images: int) -> None:
    """Refuse what cannot fit.

    Args:
        config: what is to be trained.
        images: how many it is trained on.

    Raises:
        MemoryError: says how much is needed at the least, and how much there is.
    """
    needed, free = least_bytes(config, images), available_bytes()
    if needed > free:
        batch = min(config.batch_size, images)
        raise MemoryError(
            f"a training of hidden layers {list(config.hidden)} by {batch:,} images needs at least "
            f"{needed / 2**30:,.1f} GiB; {free / 2**30:,.1f} GiB are available"
        )


def least_bytes(config: RunConfig, images: int) -> int:
    """What a training takes at the least, in bytes.

    Its weights, their gradients and averages, and what the layers give for one batch, which is kept
    for the way back. The images and the code that is compiled come on top.
    """
    averages = 0 if config.optimizer == "sgd" else 1
    weights = _weights(config) * (_COPIES * (1 + averages) + 1)
    return _BYTES * (weights + min(config.batch_size, images) * _units(config))


def _units(config: RunConfig) -> int:
    """How many numbers the hidden layers give for an image."""
    if config.architecture != "mlp":
        return sum(config.hidden) * (28 // config.patch_size) ** 2
    pieces = config.maxout_pieces if config.activation == "maxout" else 1
    return sum(config.hidden) * pieces


def _weights(config: RunConfig) -> int:
    """How many weights the products have, of the patch architectures those of the channels."""
    if config.architecture != "mlp":
        return sum(2 * width * config.block_width for width in config.hidden)
    pieces = config.maxout_pieces if config.activation == "maxout" else 1
    widths = (config.pca or _PIXELS, *config.hidden)
    last = widths[-1] * _DIGITS
    return sum(before * width * pieces for before, width in pairwise(widths)) + last


def available_bytes() -> int:
    """What this process can have: the machine's free memory, or what its container leaves it."""
    free = int(psutil.virtual_memory().available)
    try:
        limit = int((_CGROUP / "memory.max").read_text())
        used = int((_CGROUP / "memory.current").read_text())
    except (OSError, ValueError):  # no container, or one without a limit
        return free
    return min(free, max(limit - used + _cached(), 0))


def _cached() -> int:
    """What the container's files take in memory, which is given up for whatever needs it."""
    try:
        lines = (_CGROUP / "memory.stat").read_text().splitlines()
        return int(dict(line.split() for line in lines)["inactive_file"])
    except (OSError, ValueError, KeyError):
        return 0


def total_bytes() -> int:
    """The memory of this machine, or of its container."""
    total = int(psutil.virtual_memory().total)
    try:
        return min(total, int((_CGROUP / "memory.max").read_text()))
    except (OSError, ValueError):
        return total
