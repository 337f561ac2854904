"""One model, one seed: training as an iterator of epochs. Knows no storage and no screen."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from mnist_lab.backend import keras, release_variables, tf
from mnist_lab.config import ConfigError, RunConfig
from mnist_lab.data import Dataset, Split
from mnist_lab.models import build_network, build_optimizer, count_parameters, serving_model
from mnist_lab.provenance import cores

# Images in one forward pass of an evaluation: large enough to keep the cores busy, small
# enough that the activations of a wide net stay small.
_EVALUATION_BATCH = 2_000

State = list[tf.Tensor]


@dataclass(frozen=True)
class Epoch:
    """What was measured in one epoch.

    Attributes:
        number: 1 for the first epoch.
        loss: mean cross-entropy (nats) over the epoch's training images, each measured in
            training mode before the update of its own batch, as `keras.Model.fit` prints it.
        accuracy: share in [0, 1] of training images classified rightly, measured likewise.
        val_loss: mean cross-entropy over the validation images after the epoch; NaN if none
            are held out.
        val_accuracy: share in [0, 1] of validation images classified rightly; NaN if none.
        seconds: duration of the training pass, in the first epoch with the compilation.
    """

    number: int
    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float
    seconds: float

    def __str__(self) -> str:
        """The epoch in a line, as far as it was measured."""
        parts = [f"loss {self.loss:.4f}", f"accuracy {self.accuracy:.4f}"]
        if self.val_accuracy == self.val_accuracy:  # not NaN
            parts += [f"val_loss {self.val_loss:.4f}", f"val_accuracy {self.val_accuracy:.4f}"]
        return f"epoch {self.number}: {', '.join(parts)} ({self.seconds:.2f} s)"


class Training:
    """A training under way: iterate over it to train; ask it for its model at any time.

    Obtained from `train`. Trainings are independent of each other: several in one process may
    be advanced in turn.
    """

    def __init__(self, config: RunConfig, data: Dataset, seed: int) -> None:
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
            raise ConfigError(f"seed: {seed!r} is not accepted: it must be from 0 to {2**32 - 1}")
        self.config = config
        self.seed = seed
        self._training, self._validation = data.split(config.validation_size)
        self._test = data.test
        self._epochs_done = 0
        release_variables()  # of trainings before this one
        self._network = build_network(config, seed)
        optimizer = build_optimizer(config, self._network)
        self._state = [tf.identity(v) for v in _variables(self._network, optimizer)]
        self._images = tf.constant(_flat(self._training.images))
        self._labels = tf.constant(self._training.labels)

    def __iter__(self) -> Iterator[Epoch]:
        return self

    def __next__(self) -> Epoch:
        """Train for one epoch more."""
        if self._epochs_done == self.config.epochs:
            raise StopIteration
        began = time.perf_counter()
        program = _program(_structure(self.config), len(self._training))
        order = _permutation(self.seed, self._epochs_done, len(self._training))
        self._state, loss, accuracy = program.train_epoch(
            self._state, self._images, self._labels, order
        )
        seconds = time.perf_counter() - began
        self._epochs_done += 1
        val_loss, val_accuracy = self.evaluate(self._validation)
        return Epoch(self._epochs_done, loss, accuracy, val_loss, val_accuracy, seconds)

    def evaluate(self, split: Split) -> tuple[float, float]:
        """Mean cross-entropy (nats) and accuracy in [0, 1] of the present weights on a split.

        The whole split counts, the last short batch included. NaN for an empty split.
        """
        if len(split) == 0:
            return float("nan"), float("nan")
        program = _program(_structure(self.config), len(self._training))
        return program.evaluate(self._state, split)

    @property
    def parameters(self) -> int:
        """How many parameters the network has; those that are not trained count as in Keras."""
        return count_parameters(self._network)

    def test(self) -> tuple[float, float]:
        """Loss and accuracy on all test images. For the record, never for a choice."""
        return self.evaluate(self._test)

    def model(self) -> keras.Model:
        """The model with the present weights: (n, 28, 28) uint8 to (n, 10) probabilities."""
        for variable, value in zip(self._network.variables, self._state, strict=False):
            variable.assign(value)
        return serving_model(self._network, self.config.dropout)

    def weights(self) -> list[np.ndarray]:
        """Copies of the network's present variables, input side first."""
        return [value.numpy() for value in self._state[: len(self._network.variables)]]


def train(config: RunConfig, data: Dataset, *, seed: int = 0) -> Training:
    """Train one model from one seed, yielding an `Epoch` after each pass.

    The same seed gives the same weights, bit for bit, on the same machine with the same number
    of threads. The consumer decides what becomes of an epoch, and may stop at any of them.

    Args:
        config: what to train.
        data: the digits; the last `config.validation_size` training images are held out.
        seed: from 0 to 2**32 - 1; determines initial weights, order of images and dropout.

    Raises:
        ConfigError: the seed is out of range, or no training image is left.
    """
    return Training(config, data, seed)


def threads() -> int:
    """How many threads TensorFlow computes one operation with in this process."""
    # 0 stands for TensorFlow's default, one for each core the process may use.
    return tf.config.threading.get_intra_op_parallelism_threads() or cores()


def _flat(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1)


def _permutation(seed: int, epoch: int, size: int) -> tf.Tensor:
    """The order of the images in an epoch (counted from 0): (size,) int32."""
    stream = np.random.SeedSequence(seed, spawn_key=(1, epoch))
    return tf.constant(np.random.default_rng(stream).permutation(size).astype(np.int32))


def _variables(
    network: keras.Model, optimizer: keras.optimizers.Optimizer
) -> Sequence[keras.Variable]:
    """All that an update reads or writes; the network's variables come first."""
    variables = [*network.variables, *optimizer.variables]
    decay = optimizer.weight_decay
    if isinstance(decay, keras.Variable) and not any(decay is v for v in variables):
        variables.append(decay)
    return variables


def _structure(config: RunConfig) -> RunConfig:
    """`config` without the numbers that the compiled epoch reads from its state.

    Configurations with equal structure share one compilation.
    """
    plain = RunConfig()
    return config.replace(
        learning_rate=plain.learning_rate,
        epochs=plain.epochs,
        validation_size=plain.validation_size,
        dropout=0.5 if config.dropout else 0.0,
        weight_decay=0.5 if config.weight_decay else 0.0,
    )


class _Program:
    """The compiled epoch of a structure: state in, state out.

    Keras' layers and optimizers work on variables. The program keeps one set of them as
    scratch: it loads a state into them, trains, and reads the new state back, all inside one
    compiled function.
    """

    def __init__(self, structure: RunConfig, size: int) -> None:
        self._network = build_network(structure)
        self._optimizer = build_optimizer(structure, self._network)
        self._scratch = _variables(self._network, self._optimizer)
        self._loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum")
        self._size = size
        self._batch_size = min(structure.batch_size, size)
        self._lock = threading.Lock()
        self._epoch = tf.function(self._train_epoch, autograph=False, jit_compile=True)
        self._measure = tf.function(self._evaluate_batch, autograph=False, reduce_retracing=True)

    def train_epoch(
        self, state: State, images: tf.Tensor, labels: tf.Tensor, order: tf.Tensor
    ) -> tuple[State, float, float]:
        """Train one epoch.

        Args:
            state: values of the program's variables.
            images: (size, 784) uint8.
            labels: (size,) uint8.
            order: (size,) int32, the images in the order of their use.

        Returns:
            The new state, the mean loss and the accuracy over the epoch.
        """
        with self._lock:
            state, loss, correct = self._epoch(state, images, labels, order)
        return state, float(loss) / self._size, float(correct) / self._size

    def evaluate(self, state: State, split: Split) -> tuple[float, float]:
        """Mean loss and accuracy of a state's weights on a split."""
        loss = correct = 0.0
        with self._lock:
            for variable, value in zip(self._scratch, state, strict=True):
                variable.assign(value)
            for start in range(0, len(split), _EVALUATION_BATCH):
                stop = start + _EVALUATION_BATCH
                batch_loss, batch_correct = self._measure(
                    tf.constant(_flat(split.images[start:stop])),
                    tf.constant(split.labels[start:stop]),
                )
                loss += float(batch_loss)
                correct += float(batch_correct)
        return loss / len(split), correct / len(split)

    def _train_epoch(
        self, state: State, images: tf.Tensor, labels: tf.Tensor, order: tf.Tensor
    ) -> tuple[State, tf.Tensor, tf.Tensor]:
        for variable, value in zip(self._scratch, state, strict=True):
            variable.assign(value)
        batch_size = self._batch_size
        full_batches, rest = divmod(self._size, batch_size)

        def batch(start: tf.Tensor | int, size: int) -> tuple[tf.Tensor, tf.Tensor]:
            chosen = tf.slice(order, [start], [size])
            return self._update(tf.gather(images, chosen), tf.gather(labels, chosen))

        def body(
            i: tf.Tensor, loss: tf.Tensor, correct: tf.Tensor
        ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            batch_loss, batch_correct = batch(i * batch_size, batch_size)
            return i + 1, loss + batch_loss, correct + batch_correct

        _, loss, correct = tf.while_loop(
            lambda i, *_: i < full_batches, body, (tf.constant(0), tf.constant(0.0), tf.constant(0))
        )
        if rest:
            batch_loss, batch_correct = batch(full_batches * batch_size, rest)
            loss, correct = loss + batch_loss, correct + batch_correct
        return [tf.identity(variable) for variable in self._scratch], loss, correct

    def _update(self, images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """One step of the optimizer on one batch: its summed loss and count of right answers."""
        variables = self._network.trainable_variables
        with tf.GradientTape() as tape:
            logits = self._network(_scaled(images), training=True)
            loss = self._loss(labels, logits)
            mean_loss = loss / images.shape[0]
        gradients = tape.gradient(mean_loss, [variable.value for variable in variables])
        self._optimizer.apply(gradients, variables)
        return loss, _correct(logits, labels)

    def _evaluate_batch(self, images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        logits = self._network(_scaled(images), training=False)
        return self._loss(labels, logits), _correct(logits, labels)


def _scaled(images: tf.Tensor) -> tf.Tensor:
    """Pixels as float32 in [0, 1]: the arithmetic of the served model's Rescaling layer."""
    return tf.cast(images, tf.float32) * (1.0 / 255.0)


def _correct(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    answers = tf.argmax(logits, axis=-1, output_type=tf.int32)
    return tf.reduce_sum(tf.cast(tf.equal(answers, tf.cast(labels, tf.int32)), tf.int32))


@lru_cache(maxsize=16)
def _program(structure: RunConfig, size: int) -> _Program:
    """The program of a structure, compiled once a process and kept while it is in use."""
    return _Program(structure, size)
