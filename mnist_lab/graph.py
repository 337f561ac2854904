"""Functions that TensorFlow compiles, whose memory is given back with them.

What a `tf.function` was compiled to, TensorFlow keeps until the process ends: five megabytes for
each width of a search. A session has devices of its own, and what is compiled for them ends with
it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mnist_lab.backend import tf

_v1 = tf.compat.v1


class Graph:
    """A graph with variables of its own, and functions that work on them.

    Variables and functions made inside `with graph.building():` are its own. A variable has no
    value before a function assigns one.
    """

    def __init__(self) -> None:
        self._graph = _v1.Graph()
        self._session = _v1.Session(graph=self._graph)

    def building(self) -> Any:
        """A context in which TensorFlow and Keras build this graph."""
        return self._graph.as_default()

    def function(self, body: Callable[..., Any], *examples: Any) -> Callable[..., Any]:
        """Trace a function of tensors.

        Args:
            body: a Python function of tensors; it returns a nest of them.
            examples: for each of its arguments a nest of arrays or of `tf.TensorSpec`, with
                the shapes and types that are to come.

        Returns:
            The function of nests of arrays, to arrays.
        """
        with self.building():
            feeds = tf.nest.map_structure(lambda it: _v1.placeholder(it.dtype, it.shape), examples)
            fetches = body(*feeds)
        run = self._session.make_callable(tf.nest.flatten(fetches), tf.nest.flatten(feeds))

        def call(*arguments: Any) -> Any:
            return tf.nest.pack_sequence_as(fetches, run(*tf.nest.flatten(arguments)))

        return call


def aligned(array: np.ndarray) -> np.ndarray:
    """The same array at an address from which a graph reads it without a copy."""
    return np.asarray(tf.constant(array))
