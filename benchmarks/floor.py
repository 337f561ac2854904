"""The floor under an epoch: its matrix products alone, and the passes over the weights.

No training of a net by batches takes less than its matrix products (forward, and backward to
every kernel and to the inputs of every layer but the first) and, after each batch, one pass of
the optimizer over the weights. Each is timed in all the ways there are in the lab's own process,
TensorFlow's operations, XLA's and numpy's, and the fastest of each counts. The images of all
products are the same few, which lie in the cache; an epoch has to fetch its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.nets import IMAGES, PIXELS, Net
from mnist_lab.backend import tf

Kernels = Sequence[Any]  # tensors or arrays: neither has types that hold here

_WINDOW = 4  # batches that are taken in turn: the products of one alone could be done but once
_LONG = 1e11  # operations after which a part has been timed long enough
_RHO, _RATE, _EPSILON = 0.9, 1e-3, 1e-7


class Floor:
    """The parts of the floor of one net, each a function that is called to be timed.

    The last short batch of an epoch counts by its share of a full one; of a large net's epoch a
    part is timed.
    """

    def __init__(self, net: Net) -> None:
        self._net = net
        self._full = min(IMAGES // net.batch_size, int(_LONG / net.flops * IMAGES / net.batch_size))
        self._share = IMAGES / (self._full * net.batch_size)
        draw = np.random.default_rng(0)
        images = draw.random((_WINDOW * net.batch_size, PIXELS), dtype=np.float32)
        kernels = [0.05 * draw.standard_normal(shape, np.float32) for shape in net.kernels]
        arrays = [tf.constant(kernel) for kernel in kernels]
        pixels = tf.constant(images)
        eager, compiled = (
            tf.function(self._products, autograph=False, jit_compile=jit) for jit in (False, True)
        )
        passes = tf.function(self._passes, autograph=False, jit_compile=True)
        stock = _StockUpdate(arrays, self._full)
        self.products: dict[str, Callable[[], object]] = {
            "tensorflow": lambda: _wait(eager(pixels, arrays)),
            "xla": lambda: _wait(compiled(pixels, arrays)),
            "numpy": lambda: self._numpy(images, kernels),
        }
        self.updates: dict[str, Callable[[], object]] = {
            "xla": lambda: _wait(passes(arrays, arrays)),
            "tensorflow": stock,
        }
        for part in (*self.products.values(), *self.updates.values()):
            part()  # compiles

    def seconds(self, part: Callable[[], object]) -> float:
        """The time that a part takes in an epoch."""
        began = time.perf_counter()
        part()
        return (time.perf_counter() - began) * self._share

    def _products(self, images: tf.Tensor, kernels: Kernels) -> Any:
        size = self._net.batch_size

        def body(i: tf.Tensor, *_: tf.Tensor) -> tuple[tf.Tensor, ...]:
            batch = tf.slice(images, [i % _WINDOW * size, 0], [size, PIXELS])
            return (i + 1, *_batch(batch, kernels, tf.matmul))

        return tf.while_loop(
            lambda i, *_: i < self._full,
            body,
            (tf.constant(0), *kernels),
            parallel_iterations=1,  # a batch waits for the one before, as in a training
        )[1:]

    def _passes(self, squares: Kernels, kernels: Kernels) -> Any:
        """RMSprop, fused by XLA to one pass over a kernel, its gradient and its mean square."""

        def body(i: tf.Tensor, *state: tf.Tensor) -> tuple[tf.Tensor, ...]:
            count = len(kernels)
            means = [
                _RHO * mean + (1.0 - _RHO) * tf.square(gradient)
                for mean, gradient in zip(state[:count], kernels, strict=True)
            ]
            weights = [
                weight - _RATE * gradient * tf.math.rsqrt(mean + _EPSILON)
                for weight, gradient, mean in zip(state[count:], kernels, means, strict=True)
            ]
            return (i + 1, *means, *weights)

        return tf.while_loop(
            lambda i, *_: i < self._full, body, (tf.constant(0), *squares, *kernels)
        )[1:]

    def _numpy(self, images: np.ndarray, kernels: list[np.ndarray]) -> None:
        size = self._net.batch_size
        for i in range(self._full):
            start = i % _WINDOW * size
            _batch(images[start : start + size], kernels, _numpy_product)


def _batch(images: tf.Tensor, kernels: Kernels, product: Callable[..., Any]) -> Kernels:
    """All matrix products of one batch: what stands in the gradients' place, input side first."""
    inputs = [images]
    for kernel in kernels:
        inputs.append(product(inputs[-1], kernel))
    error = inputs.pop()
    gradients = []
    for index in reversed(range(len(kernels))):
        gradients.append(product(inputs[index], error, transpose_a=True))
        if index > 0:
            error = product(error, kernels[index], transpose_b=True)
    return gradients[::-1]


def _numpy_product(
    a: np.ndarray, b: np.ndarray, transpose_a: bool = False, transpose_b: bool = False
) -> Any:
    return (a.T if transpose_a else a) @ (b.T if transpose_b else b)


class _StockUpdate:
    """TensorFlow's own kernel of RMSprop, once for each batch of an epoch."""

    def __init__(self, kernels: Kernels, times: int) -> None:
        self._gradients = kernels
        self._times = times
        self._slots = [
            tuple(tf.Variable(tensor) for tensor in (kernel, tf.square(kernel), kernel * 0.0))
            for kernel in kernels
        ]
        self._all = tf.function(self._updates, autograph=False)

    def __call__(self) -> None:
        _wait(self._all())

    def _updates(self) -> Any:
        def body(i: tf.Tensor) -> tf.Tensor:
            done = [
                tf.raw_ops.ResourceApplyRMSProp(
                    var=weight.handle,
                    ms=square.handle,
                    mom=momentum.handle,
                    lr=_RATE,
                    rho=_RHO,
                    momentum=0.0,
                    epsilon=_EPSILON,
                    grad=gradient,
                )
                for (weight, square, momentum), gradient in zip(
                    self._slots, self._gradients, strict=True
                )
            ]
            with tf.control_dependencies(done):
                return i + 1

        return tf.while_loop(
            lambda i: i < self._times, body, (tf.constant(0),), parallel_iterations=1
        )


def _wait(tensors: Kernels) -> None:
    """Until the last number is there."""
    for tensor in tensors:
        tensor.numpy() if tensor.shape.rank == 0 else tensor[0, 0].numpy()
