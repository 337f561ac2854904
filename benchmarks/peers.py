"""The training of a net in other libraries, as their documentation writes it.

`python benchmarks/peers.py CASE DIGITS BATCH_SIZE HIDDEN…` in an environment of its own (`make
bench-peers`) prints the seconds of 5 epochs. Imports and reading the digits are done before the
clock starts; compiling is not. Nothing of ours is imported.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import Any

import numpy as np

EPOCHS = 5
Digits = tuple[np.ndarray, np.ndarray]  # (60000, 784) uint8, (60000,) uint8


def _torch_net(hidden: tuple[int, ...]) -> tuple[Any, Any, Any]:
    import torch
    from torch import nn

    layers: list[nn.Module] = []
    widths = (784, *hidden)
    for inputs, units in zip(widths, hidden, strict=False):
        layers += [nn.Linear(inputs, units), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(widths[-1], 10))
    return model, nn.CrossEntropyLoss(), torch.optim.RMSprop(model.parameters(), lr=1e-3, alpha=0.9)


def pytorch_loader(digits: Digits, batch_size: int, hidden: tuple[int, ...]) -> None:
    """The tutorial "What is torch.nn really?": TensorDataset, DataLoader and a loop."""
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    images = torch.tensor(digits[0], dtype=torch.float32) / 255
    labels = torch.tensor(digits[1], dtype=torch.int64)
    loader = DataLoader(TensorDataset(images, labels), batch_size=batch_size, shuffle=True)
    model, loss_function, optimizer = _torch_net(hidden)
    for _ in range(EPOCHS):
        model.train()
        for x, y in loader:
            loss = loss_function(model(x), y)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()


def pytorch_indexed(digits: Digits, batch_size: int, hidden: tuple[int, ...]) -> None:
    """The same without a loader: batches by a permutation, as who wants it faster writes it."""
    import torch

    images = torch.tensor(digits[0], dtype=torch.float32) / 255
    labels = torch.tensor(digits[1], dtype=torch.int64)
    model, loss_function, optimizer = _torch_net(hidden)
    for _ in range(EPOCHS):
        for chosen in torch.randperm(len(images)).split(batch_size):
            loss = loss_function(model(images[chosen]), labels[chosen])
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()


def _jax_step(hidden: tuple[int, ...]) -> tuple[Any, Any]:
    """Network, loss and update of JAX's own examples/mnist_classifier.py."""
    import jax
    from jax.example_libraries import optimizers, stax

    layers = [part for units in hidden for part in (stax.Dense(units), stax.Relu)]
    initialize, predict = stax.serial(*layers, stax.Dense(10), stax.LogSoftmax)
    _, parameters = initialize(jax.random.PRNGKey(0), (-1, 784))
    begin, advance, parameters_of = optimizers.rmsprop(1e-3)

    def loss(parameters: object, batch: tuple[jax.Array, jax.Array]) -> jax.Array:
        inputs, targets = batch
        return -jax.numpy.mean(jax.numpy.sum(predict(parameters, inputs) * targets, axis=1))

    def step(i: int, state: object, batch: tuple[jax.Array, jax.Array]) -> object:
        return advance(i, jax.grad(loss)(parameters_of(state), batch), state)

    return step, begin(parameters)


def _jax_data(digits: Digits) -> Digits:
    return digits[0].astype(np.float32) / 255, np.eye(10, dtype=np.float32)[digits[1]]


def jax_steps(digits: Digits, batch_size: int, hidden: tuple[int, ...]) -> None:
    """JAX's example: a compiled update, called for each batch of a stream from numpy."""
    import jax

    images, targets = _jax_data(digits)
    step, state = _jax_step(hidden)
    update = jax.jit(step)

    def batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for _ in range(EPOCHS):
            order = np.random.permutation(len(images))
            for start in range(0, len(images), batch_size):
                chosen = order[start : start + batch_size]
                yield images[chosen], targets[chosen]

    for i, batch in enumerate(batches()):
        state = update(i, state, batch)
    jax.block_until_ready(state)


def jax_scan(digits: Digits, batch_size: int, hidden: tuple[int, ...]) -> None:
    """The whole epoch compiled as one `lax.scan`; without the last short batch of an epoch."""
    import jax

    images, targets = (jax.numpy.asarray(array) for array in _jax_data(digits))
    step, state = _jax_step(hidden)
    full = len(images) // batch_size

    def epoch(state: object, key: jax.Array, images: jax.Array, targets: jax.Array) -> object:
        order = jax.random.permutation(key, len(images))[: full * batch_size]

        def body(state: object, chosen: jax.Array) -> tuple[object, None]:
            return step(0, state, (images[chosen], targets[chosen])), None

        return jax.lax.scan(body, state, order.reshape(full, batch_size))[0]

    compiled = jax.jit(epoch)
    for key in jax.random.split(jax.random.PRNGKey(0), EPOCHS):
        state = compiled(state, key, images, targets)
    jax.block_until_ready(state)


def sklearn(digits: Digits, batch_size: int, hidden: tuple[int, ...]) -> None:
    """scikit-learn's MLPClassifier, which has no RMSprop: with its default, Adam."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    images = digits[0].astype(np.float32) / 255
    classifier = MLPClassifier(hidden, batch_size=batch_size, max_iter=EPOCHS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # 5 epochs are what is asked for
        classifier.fit(images, digits[1])


CASES: dict[str, tuple[str, Callable[[Digits, int, tuple[int, ...]], None]]] = {
    "PyTorch, DataLoader": ("torch", pytorch_loader),
    "PyTorch, batches by index": ("torch", pytorch_indexed),
    "JAX, a compiled step": ("jax", jax_steps),
    "JAX, a compiled epoch": ("jax", jax_scan),
    "scikit-learn": ("sklearn.neural_network", sklearn),
}


def main() -> None:
    """Time one case and print its seconds; or the versions."""
    if sys.argv[1] == "versions":
        packages = ("torch", "jax", "scikit-learn")
        print(", ".join(f"{package} {version(package)}" for package in packages))
        return
    case, path, batch_size, *hidden = sys.argv[1:]
    package, run = CASES[case]
    __import__(package)
    with np.load(path) as arrays:
        digits = arrays["x_train"].reshape(-1, 784), arrays["y_train"]
    began = time.perf_counter()
    run(digits, int(batch_size), tuple(map(int, hidden)))
    print(time.perf_counter() - began)


if __name__ == "__main__":
    main()
