from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mnist_lab.backend import keras, tf
from mnist_lab.graph import Graph, aligned
from tests.conftest import ROOT, environment


def counter(graph: Graph) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Functions that set the count of a graph, and that add to it."""
    with graph.building():
        count = keras.Variable(0.0, name="count")

    def add(by: tf.Tensor) -> dict[str, tf.Tensor]:
        count.assign(count + by)
        return {"count": count.value, "by": by}

    traced = tf.function(add, autograph=False, jit_compile=True)
    setting = tf.function(lambda value: count.assign(value), autograph=False)
    return graph.function(setting, np.float32(0)), graph.function(traced, np.float32(0))


def test_functions_of_a_graph_share_its_variables_and_no_others() -> None:
    (set_one, add_one), (set_two, add_two) = counter(Graph()), counter(Graph())
    set_one(np.float32(1))
    set_two(np.float32(100))
    assert add_one(np.float32(2))["count"] == 3
    assert add_one(np.float32(3)) == {"count": 6, "by": 3}
    assert add_two(np.float32(1))["count"] == 101


def test_a_variable_has_no_value_before_it_gets_one() -> None:
    _, add = counter(Graph())
    with pytest.raises(tf.errors.FailedPreconditionError, match="count"):
        add(np.float32(1))


@pytest.mark.parametrize("shape", [(1_000, 784), (3,), ()])
def test_an_aligned_array_is_the_same_array(shape: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape, dtype=int), dtype=np.int32).reshape(shape)
    same = aligned(array)
    assert same.ctypes.data % 64 == 0
    assert same.dtype == array.dtype
    np.testing.assert_array_equal(same, array)


_MEMORY = """
import ctypes, gc, resource
import numpy as np
from mnist_lab.backend import tf
from mnist_lab.graph import Graph

def compiled(width):
    def body(w):
        return tf.while_loop(lambda i, w: i < 3, lambda i, w: (i + 1, tf.nn.softmax(w @ w)),
                             (tf.constant(0), w))
    weights = np.ones((width, width), np.float32)
    Graph().function(tf.function(body, autograph=False, jit_compile=True), weights)(weights)

for width in range(25):
    compiled(50 + width)
    if width in (9, 24):
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        print(int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() / 2**20)
"""


@pytest.mark.slow
def test_what_was_compiled_is_given_back_with_its_graph() -> None:
    """A `tf.function` outside of a graph would leave half a megabyte and more each time."""
    done = subprocess.run(
        [sys.executable, "-c", _MEMORY],
        cwd=ROOT,
        env=environment(TF_XLA_FLAGS=""),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    early, late = map(float, done.stdout.split())
    assert late < early + 4, f"{early:.0f} MiB after 10 graphs, {late:.0f} after 25"
