"""One model, one seed: training as an iterator of epochs. Knows no storage and no screen."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from mnist_lab.backend import keras, release_variables, tf
from mnist_lab.config import RunConfig, checked_seed
from mnist_lab.data import SIDE, Dataset, Split
from mnist_lab.distortion import AFFINE, distorted, field_factor, neighbours
from mnist_lab.graph import Graph, aligned
from mnist_lab.learning import NUMBERS, Learner
from mnist_lab.models import build_network, count_parameters, serving_model
from mnist_lab.plan import Plan, distorts, plan_of
from mnist_lab.preprocessing import has_own_range, set_statistics
from mnist_lab.provenance import cores
from mnist_lab.randomness import stream

# Images in one forward pass of an evaluation: large enough to keep the cores busy, small
# enough that the activations of a wide net stay small.
_EVALUATION_BATCH = 2_000

# Fields that say how strong the noise of a layer is.
NOISES = (
    *("dropout", "input_dropout", "alpha_dropout", "drop_connect"),
    *("input_noise", "hidden_noise"),
)

# The values of all variables of a training.
State = list[np.ndarray]
# After an epoch: the state, the mean loss, the accuracy and the seconds it took.
_Trained = tuple[State, float, float, float]


@dataclass(frozen=True)
class Epoch:
    """What was measured in one epoch.

    Attributes:
        number: 1 for the first epoch.
        loss: mean loss (of the baseline cross-entropy, nats) over the epoch's training images,
            each measured in training mode before the update of its own batch, with the penalties
            of `l1` and `l2`, as `keras.Model.fit` prints it.
        accuracy: share in [0, 1] of training images classified rightly, measured likewise;
            under mixup an image's class is that of its larger part.
        val_loss: mean loss over the validation images after the epoch, measured likewise but
            not in training mode; NaN if none are held out.
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
        self.config = config
        self.seed = checked_seed(seed)
        self._training, self._validation = data.split(config.validation_size)
        self._test = data.test
        self._epochs_done = 0
        self._first: Future[_Trained] | None = None
        release_variables()  # of trainings before this one
        self._network = build_network(config, self.seed)
        self._is_handed_out = False  # to a model, whose layers are the network's own
        set_statistics(self._network, config, self._training)
        self._state = [np.array(v) for v in Learner(config, self._network).variables]
        prepare = neighbours if distorts(config) else _flat
        self._images = aligned(prepare(self._training.images))
        self._labels = self._training.labels

    def __iter__(self) -> Iterator[Epoch]:
        return self

    def __next__(self) -> Epoch:
        """Train for one epoch more."""
        if self._epochs_done == self.config.epochs:
            raise StopIteration
        first, self._first = self._first, None
        self._state, loss, accuracy, seconds = first.result() if first else self._train()
        self._epochs_done += 1
        val_loss, val_accuracy = self.evaluate(self._validation)
        return Epoch(self._epochs_done, loss, accuracy, val_loss, val_accuracy, seconds)

    def begin(self) -> None:
        """Begin the first epoch, which goes on while the caller does other work.

        Python's part of the compilation is done at once, so its time, half a second or so, is not
        in the first epoch's seconds. What is left runs outside Python, in a thread. Whoever asks
        for the epoch waits for it, and gets the error that ended it, if one did.
        """
        plan = self._plan()
        self._program.trace(self._state, self._images, self._labels, plan)
        thread = ThreadPoolExecutor(1, thread_name_prefix="epoch")
        self._first = thread.submit(self._train, plan)
        thread.shutdown(wait=False)

    def _train(self, plan: Plan | None = None) -> _Trained:
        """The next epoch; what comes of it is the caller's to keep."""
        began = time.perf_counter()
        trained = self._program.train_epoch(
            self._state, self._images, self._labels, plan or self._plan()
        )
        return *trained, time.perf_counter() - began

    def _plan(self) -> Plan:
        return plan_of(self.config, self.seed, self._epochs_done, len(self._training))

    @property
    def _program(self) -> _Program:
        return _program(_structure(self.config), len(self._training))

    def evaluate(self, split: Split) -> tuple[float, float]:
        """Mean loss and accuracy in [0, 1] of the present weights on a split.

        The whole split counts, the last short batch included. NaN for an empty split.
        """
        loss, accuracy, _ = self._examine(split)
        return loss, accuracy

    def _examine(self, split: Split) -> tuple[float, float, np.ndarray]:
        """As `evaluate`, and the digit seen in each image: (n,) uint8."""
        if len(split) == 0:
            return float("nan"), float("nan"), np.empty(0, np.uint8)
        loss, answers = self._program.evaluate(self._state, split)
        return loss, float(np.mean(answers == split.labels)), answers

    @property
    def parameters(self) -> int:
        """How many parameters the network has; those that are not trained count as in Keras."""
        return count_parameters(self._network)

    def test(self) -> tuple[float, float]:
        """Loss and accuracy on all test images. For the record, never for a choice."""
        loss, accuracy, _ = self.examination()
        return loss, accuracy

    def examination(self) -> tuple[float, float, np.ndarray]:
        """As `test`, and the digit seen in each test image: (n,) uint8."""
        loss, accuracy, answers = self._examine(self._test)
        if self.config.output == "sigmoid":
            # Which sigmoids of large outputs are one and the same float32 hangs on rounding: the
            # answers of the very model that is handed out.
            outputs = self.model().predict(self._test.images, verbose=0)
            answers = outputs.argmax(axis=1).astype(np.uint8)
            accuracy = float(np.mean(answers == self._test.labels))
        return loss, accuracy, answers

    def model(self) -> keras.Model:
        """A model with the present weights, averaged where `ema_decay` says so.

        (n, 28, 28) uint8 to (n, 10) probabilities, or what else `config.output` is. It keeps its
        weights, however the training goes on.
        """
        if self._is_handed_out:
            self._network = build_network(self.config, self.seed)
        self._is_handed_out = True
        for variable, value in zip(self._network.variables, self.weights(), strict=True):
            variable.assign(value)
        return serving_model(self._network, self.config)

    def weights(self) -> list[np.ndarray]:
        """Copies of the variables of the network as it is evaluated, input side first."""
        return self._program.weights(self._state)


def train(config: RunConfig, data: Dataset, *, seed: int = 0) -> Training:
    """Train one model from one seed, yielding an `Epoch` after each pass.

    The same seed gives the same weights, bit for bit, on the same machine with the same number
    of threads. The consumer decides what becomes of an epoch, and may stop at any of them.

    Args:
        config: what to train.
        data: the digits; the last `config.validation_size` training images are held out.
        seed: from 0 to 2**32 - 1; determines initial weights, order of images and all noise.

    Raises:
        ConfigError: the seed is out of range, or no training image is left.
    """
    return Training(config, data, seed)


def threads() -> int:
    """How many threads TensorFlow computes one operation with in this process."""
    # 0 stands for TensorFlow's default: its variable, or one for each core the process may use.
    asked = os.environ.get("TF_NUM_INTRAOP_THREADS", "")
    default = int(asked) if asked.isdecimal() else 0
    return tf.config.threading.get_intra_op_parallelism_threads() or default or cores()


def _flat(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1)


def _structure(config: RunConfig) -> RunConfig:
    """`config` without the numbers that the compiled epoch reads from its state or its plan.

    Configurations with equal structure share one compilation: what is left says which parts
    there are, not how strong they are. Of `elastic_sigma` that is the rank of its fields, which
    is a shape: from 4 on it is one, below it grows as sigma falls. The largest rank for all
    would double the time of an epoch.
    """
    same = (
        *("learning_rate", "learning_rate_schedule", "momentum_schedule"),
        *("epochs", "validation_size", "initializer", "initializer_scale"),
    )
    plain = {name: RunConfig.model_fields[name].default for name in (*same, *AFFINE)}
    plain["shift"] = 1.0 if distorts(config) else 0.0
    switched = (*NUMBERS, *NOISES, "weight_decay", "ema_decay", "elastic_alpha", "mixup")
    plain |= {name: 0.5 if getattr(config, name) else 0.0 for name in switched}
    plain["layer_dropout"] = tuple(0.5 if rate else 0.0 for rate in config.layer_dropout)
    constants = ("rho", "beta_1", "beta_2", "epsilon", "momentum")
    plain |= {name: 0.5 for name in constants if getattr(config, name) is not None}
    if config.optimizer in ("rmsprop", "sgd") and not config.momentum:
        plain["momentum"] = None
    if config.optimizer == "adamw":  # Adam; weight decay is a part of its own
        plain["optimizer"] = "adam"
    if has_own_range(config):
        plain |= {"pixel_low": -1.0, "pixel_high": 1.0}
    if config.elastic_alpha:
        plain["elastic_sigma"] = float(field_factor(config.elastic_sigma).shape[1])
    return config.replace(**plain)


class _Program:
    """The compiled epoch of a structure: state in, state out.

    Keras' layers and optimizers work on variables. The program keeps one set of them as
    scratch: it loads a state into them, trains, and reads the new state back, all inside one
    compiled function.
    """

    def __init__(self, structure: RunConfig, size: int) -> None:
        self._structure = structure
        self._size = size
        self._batch_size = min(structure.batch_size, size)
        self._full_batches, self._rest = divmod(size, self._batch_size)
        self._lock = threading.Lock()
        self._graph = Graph()
        with self._graph.building():
            self._network = build_network(structure)
            self._learner = Learner(structure, self._network)
        self._scratch = self._learner.variables
        self._load = self._graph.function(_traced(self._load_state), self._scratch)
        self._measure = self._graph.function(
            _traced(self._evaluate_batch),
            tf.TensorSpec((None, SIDE * SIDE), tf.uint8),
            tf.TensorSpec((None,), tf.uint8),
        )
        self._read = self._graph.function(lambda: [v.value for v in self._network.variables])
        self._epoch: Callable[..., tuple[State, float, int]] | None = None

    def trace(self, state: State, images: np.ndarray, labels: np.ndarray, plan: Plan) -> None:
        """Trace what `train_epoch` compiles; nothing, if that is done already."""
        with self._lock:
            self._traced_epoch(state, images, labels, plan)

    def _traced_epoch(self, *arguments: Any) -> Callable[..., tuple[State, float, int]]:
        if self._epoch is None:
            # Compiled for variables without a value, it would be compiled again for the next epoch.
            self._load(arguments[0])
            self._epoch = self._graph.function(self._train, *arguments)
        return self._epoch

    def train_epoch(
        self, state: State, images: np.ndarray, labels: np.ndarray, plan: Plan
    ) -> tuple[State, float, float]:
        """Train one epoch.

        Args:
            state: values of the program's variables.
            images: (size, 784) uint8, or (size, 841) int32 of `neighbours` to be distorted.
            labels: (size,) uint8.
            plan: of the epoch.

        Returns:
            The new state, the mean loss and the accuracy over the epoch.
        """
        with self._lock:
            epoch = self._traced_epoch(state, images, labels, plan)
            state, loss, correct = epoch(state, images, labels, plan)
        return state, float(loss) / self._size, float(correct) / self._size

    def evaluate(self, state: State, split: Split) -> tuple[float, np.ndarray]:
        """Mean loss, and the answer to each image, (n,) uint8, of a state's weights."""
        loss, answers = 0.0, []
        with self._lock:
            self._load(state)
            for start in range(0, len(split), _EVALUATION_BATCH):
                stop = start + _EVALUATION_BATCH
                batch_loss, batch_answers = self._measure(
                    _flat(split.images[start:stop]), split.labels[start:stop]
                )
                loss += float(batch_loss)
                answers.append(batch_answers)
        return loss / len(split), np.concatenate(answers).astype(np.uint8)

    def weights(self, state: State) -> list[np.ndarray]:
        """Copies of the network's variables as they are evaluated."""
        with self._lock:
            self._load(state)
            return [np.array(value) for value in self._read()]

    def _load_state(self, state: list[tf.Tensor]) -> tf.Tensor:
        """Load a state to evaluate it: with the averages in the weights' place, if it has any."""
        self._assign(state)
        self._learner.use_averages()
        return tf.constant(0)

    def _train(
        self, state: list[tf.Tensor], images: tf.Tensor, labels: tf.Tensor, plan: Plan
    ) -> tuple[list[tf.Tensor], tf.Tensor, tf.Tensor]:
        """One epoch: the state after it, the summed loss and the count of right answers."""
        compiled = _traced(self._train_full_batches, jit_compile=True)
        state, loss, correct = compiled(state, images, labels, plan)
        if self._rest:
            # Compiled as well, the one short batch would take half of the time of the compilation.
            # What distorts images runs only compiled.
            short = _traced(self._train_rest, jit_compile=distorts(self._structure))
            state, rest_loss, rest_correct = short(state, images, labels, plan)
            loss, correct = loss + rest_loss, correct + rest_correct
        return state, loss, correct

    def _train_full_batches(
        self, state: list[tf.Tensor], images: tf.Tensor, labels: tf.Tensor, plan: Plan
    ) -> tuple[list[tf.Tensor], tf.Tensor, tf.Tensor]:
        self._assign(state)

        def body(
            i: tf.Tensor, loss: tf.Tensor, correct: tf.Tensor
        ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            batch_loss, batch_correct = self._train_batch(i, self._batch_size, images, labels, plan)
            return i + 1, loss + batch_loss, correct + batch_correct

        _, loss, correct = tf.while_loop(
            lambda i, *_: i < self._full_batches,
            body,
            (tf.constant(0), tf.constant(0.0), tf.constant(0)),
        )
        return [tf.identity(variable) for variable in self._scratch], loss, correct

    def _train_rest(
        self, state: list[tf.Tensor], images: tf.Tensor, labels: tf.Tensor, plan: Plan
    ) -> tuple[list[tf.Tensor], tf.Tensor, tf.Tensor]:
        """The last batch of an epoch, which is a short one."""
        self._assign(state)
        loss, correct = self._train_batch(self._full_batches, self._rest, images, labels, plan)
        return [tf.identity(variable) for variable in self._scratch], loss, correct

    def _assign(self, state: list[tf.Tensor]) -> None:
        for variable, value in zip(self._scratch, state, strict=True):
            variable.assign(value)

    def _train_batch(
        self, i: tf.Tensor | int, size: int, images: tf.Tensor, labels: tf.Tensor, plan: Plan
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Train on batch `i` of the plan: its summed loss and count of right answers."""
        first = i * self._batch_size
        chosen = tf.slice(plan.order, [first], [size])
        pixels = tf.gather(images, chosen)
        if distorts(self._structure):
            maps = tf.slice(plan.maps, [first, 0], [size, 6])
            key = stream(plan.seed, tf.convert_to_tensor(i))
            elastic = (plan.alpha, plan.basis) if self._structure.elastic_alpha else None
            pixels = distorted(pixels, maps, key, elastic)
        self._learner.set_rates(plan.rates[i], plan.momenta[i])
        targets = self._learner.targets(tf.gather(labels, chosen))
        return self._update(_as_input(pixels), targets, plan.mixes[i])

    def _update(
        self, images: tf.Tensor, targets: tf.Tensor, mix: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """One step of the optimizer on one batch: its summed loss and count of right answers."""
        if self._structure.mixup:
            # Batches are drawn at random, so a neighbour in the batch is a random partner.
            images = mix * images + (1.0 - mix) * tf.roll(images, 1, axis=0)
            targets = mix * targets + (1.0 - mix) * tf.roll(targets, 1, axis=0)
        variables = self._network.trainable_variables
        with tf.GradientTape() as tape:
            outputs = self._network(images, training=True)
            loss = self._learner.loss(targets, outputs)
        gradients = tape.gradient(loss, [variable.value for variable in variables])
        self._learner.apply(gradients)
        return loss * images.shape[0], self._learner.count_correct(targets, outputs)

    def _evaluate_batch(self, images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        outputs = self._network(_as_input(images), training=False)
        loss = self._learner.loss(self._learner.targets(labels), outputs)
        count = tf.cast(tf.shape(labels)[0], tf.float32)
        return loss * count, self._learner.answers(outputs)


def _traced(body: Callable[..., Any], *, jit_compile: bool = False) -> Callable[..., Any]:
    traced: Callable[..., Any] = tf.function(body, autograph=False, jit_compile=jit_compile)
    return traced


def _as_input(pixels: tf.Tensor) -> tf.Tensor:
    """Pixels (n, 784) of any type as the network takes them: (n, 28, 28) float32."""
    return tf.reshape(tf.cast(pixels, tf.float32), (-1, SIDE, SIDE))


def release_programs() -> None:
    """Give back the memory of what was compiled for trainings that have ended."""
    _program.cache_clear()
    gc.collect()  # a graph and its functions know each other


@lru_cache(maxsize=16)
def _program(structure: RunConfig, size: int) -> _Program:
    """The program of a structure, compiled once a process and kept while it is in use."""
    return _Program(structure, size)
