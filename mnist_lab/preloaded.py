"""What a worker needs, imported once for all of them, before they are forked.

Nothing is computed by these imports, which TensorFlow's threads would not survive.
"""

from __future__ import annotations

from mnist_lab.importing import uncollected

with uncollected("distributed"):
    import distributed  # noqa: F401

    import mnist_lab.cells
    import mnist_lab.recording
    import mnist_lab.trial  # noqa: F401
