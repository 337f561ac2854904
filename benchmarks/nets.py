"""The nets that are timed: the notebook's own, a large one and a small one."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import mnist_lab as lab

PIXELS, CLASSES, IMAGES = 28 * 28, 10, 60_000


class Net(NamedTuple):
    """Widths of the hidden layers, and the images of a batch."""

    hidden: tuple[int, ...]
    batch_size: int

    @property
    def kernels(self) -> list[tuple[int, int]]:
        """Shapes of the kernels, input side first."""
        widths = (PIXELS, *self.hidden, CLASSES)
        return list(pairwise(widths))

    @property
    def flops(self) -> int:
        """Operations of an epoch's matrix products.

        They are those forward, those backward to the kernel of every layer, and those backward to
        the inputs of every layer but the first.
        """
        sizes = [rows * columns for rows, columns in self.kernels]
        return 2 * IMAGES * (3 * sum(sizes) - sizes[0])

    def config(self, **fields: Any) -> lab.RunConfig:
        """The lab's configuration of the net, otherwise the baseline's."""
        return lab.RunConfig(hidden=self.hidden, batch_size=self.batch_size, **fields)


NETS = {
    "baseline": Net((512,), 128),
    "3x1024": Net((1024, 1024, 1024), 128),
    "small": Net((32,), 32),
}
