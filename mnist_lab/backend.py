"""TensorFlow and Keras, imported without the log noise of TensorFlow's start-up.

Every module that computes with TensorFlow imports it from here.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from mnist_lab.declared import UserError
from mnist_lab.deferred import defer

# No C++ logs: at level ERROR, a machine without a GPU is told that CUDA failed. What goes wrong
# in a computation is raised all the same. What a user has set is obeyed.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Whatever a user's profile says for other programs: nothing here can do with another one.
os.environ["KERAS_BACKEND"] = "tensorflow"

# Before its logger is set up, TensorFlow writes these to the stderr of the process whatever
# the level: "I0000 00:00:… port.cc:153] oneDNN custom operations are on" and the like.
_NOISE = re.compile(r"[IW]\d{4} |WARNING: All log messages before absl::InitializeLog")


@contextmanager
def _without_noise() -> Iterator[None]:
    """Hold back what is written to file descriptor 2; pass on all that is not start-up noise."""
    if sys.stderr is None:  # nothing is to be kept quiet, and 2 may be another file by now
        yield
        return
    sys.stderr.flush()
    try:
        stderr = os.dup(2)
    except OSError:
        yield
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
            held.seek(0)
            for line in held.read().decode(errors="replace").splitlines(keepends=True):
                if not _NOISE.match(line):
                    sys.stderr.write(line)


# They import scikit-learn and pyplot: a second and a half, and 80 MB.
defer("keras", "wrappers", "visualization", "src.visualization")
with _without_noise():
    import keras
    import tensorflow as tf

if keras.config.backend() != "tensorflow":
    raise UserError(
        f"Keras was imported before mnist_lab, with its backend '{keras.config.backend()}'; "
        "expected 'tensorflow', or mnist_lab to be imported first"
    )

# Its warnings about retracing count all our programs, each traced once, as one function.
tf.get_logger().setLevel("ERROR")


def release_variables() -> None:
    """Give back the memory of variables that Python has let go of.

    TensorFlow's cache of eager kernels holds on to each variable made by Keras. Emptying it is
    what `keras.utils.clear_session` does, which would also reset the user's own Keras settings.
    """
    from tensorflow.python.eager import context

    context.context().clear_kernel_cache()


def materialized(*tensors: tf.Tensor) -> list[tf.Tensor]:
    """The same tensors, written to memory before they are used. In code compiled by XLA only.

    XLA fuses what it can, and computes the inputs of a gather once for each element that is
    gathered, one after the other; written out first, they are computed in vectors.
    """
    from tensorflow.compiler.tf2xla.python import xla

    return list(xla.optimization_barrier(*tensors))


__all__ = ["keras", "materialized", "release_variables", "tf"]
