"""The objective and the update of a network: targets, loss, penalties, optimizer, constraints."""

from __future__ import annotations

from collections.abc import Sequence

from mnist_lab.backend import keras, tf
from mnist_lab.config import RunConfig
from mnist_lab.data import CLASSES
from mnist_lab.optimizers import build_optimizer, number, optimizer_variables

# Fields whose values the compiled epoch reads from variables; a part at 0 is not compiled in.
NUMBERS = ("l1", "l2", "label_smoothing", "max_norm")


class Learner:
    """What trains one network. All its numbers are variables, so that they are no new program."""

    def __init__(self, config: RunConfig, network: keras.Model) -> None:
        self._config = config
        self._network = network
        self._optimizer = build_optimizer(config, network)
        self._kernels = [v for v in network.trainable_variables if v.name == "kernel"]
        self._numbers = {
            name: number(name, getattr(config, name)) for name in NUMBERS if getattr(config, name)
        }
        self._loss = _loss(config)

    @property
    def variables(self) -> list[keras.Variable]:
        """All that an update reads or writes; the network's variables come first."""
        return [
            *self._network.variables,
            *optimizer_variables(self._optimizer),
            *self._numbers.values(),
        ]

    def targets(self, labels: tf.Tensor) -> tf.Tensor:
        """What the outputs for labels (n,) should be: (n, 10) float32, each row adding up to 1."""
        targets = tf.one_hot(tf.cast(labels, tf.int32), CLASSES)
        if "label_smoothing" in self._numbers:
            spread = self._numbers["label_smoothing"].value
            targets = targets * (1.0 - spread) + spread / CLASSES
        return targets

    def loss(self, targets: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
        """The mean loss of outputs (n, 10) before their non-linearity, and the penalties: ()."""
        if self._config.loss == "squared_hinge":
            targets = 2.0 * targets - 1.0
        elif self._config.loss == "squared_error":
            outputs = keras.activations.get(self._config.output)(outputs)
        loss = self._loss(targets, outputs)
        if "l1" in self._numbers:
            total = tf.add_n([tf.reduce_sum(tf.abs(kernel.value)) for kernel in self._kernels])
            loss += self._numbers["l1"].value * total
        if "l2" in self._numbers:
            total = tf.add_n([tf.reduce_sum(tf.square(kernel.value)) for kernel in self._kernels])
            loss += self._numbers["l2"].value * total
        return loss

    def set_rates(self, learning_rate: tf.Tensor, momentum: tf.Tensor) -> None:
        """Set what schedules change before an update."""
        self._optimizer.learning_rate.assign(learning_rate)
        if self._config.optimizer == "sgd" and self._config.momentum:
            self._optimizer.decay.assign(momentum)

    def apply(self, gradients: Sequence[tf.Tensor]) -> None:
        """One step of the optimizer, within the largest norm."""
        self._optimizer.apply(gradients, self._network.trainable_variables)
        if "max_norm" in self._numbers:
            limit = self._numbers["max_norm"].value
            for kernel in self._kernels:
                norms = tf.norm(kernel.value, axis=0, keepdims=True)
                kernel.assign(kernel.value * (limit / tf.maximum(norms, limit)))

    def use_averages(self) -> None:
        """Put the averaged weights, if there are any, in the place of the last."""
        if self._config.ema_decay:
            tf.cond(self._optimizer.iterations.value > 0, self._finalize, lambda: tf.constant(0))

    def _finalize(self) -> tf.Tensor:
        self._optimizer.finalize_variable_values(self._network.trainable_variables)
        return tf.constant(0)

    def answers(self, outputs: tf.Tensor) -> tf.Tensor:
        """The digit seen in each image, from the network's outputs (n, 10): (n,) int32.

        Sigmoids of large outputs are one and the same float32: the first of them is the answer, as
        it is of the model that is served.
        """
        served = tf.sigmoid(outputs) if self._config.output == "sigmoid" else outputs
        return tf.argmax(served, axis=-1, output_type=tf.int32)

    def count_correct(self, targets: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
        """How many of the outputs (n, 10) are answers that their targets give: () int32."""
        right = tf.equal(self.answers(outputs), tf.argmax(targets, axis=-1, output_type=tf.int32))
        return tf.reduce_sum(tf.cast(right, tf.int32))


def _loss(config: RunConfig) -> keras.losses.Loss:
    """Keras' loss; a cross-entropy takes the outputs before their non-linearity."""
    if config.loss == "squared_error":
        return keras.losses.MeanSquaredError()
    if config.loss == "squared_hinge":
        return keras.losses.SquaredHinge()
    if config.output == "sigmoid":
        return keras.losses.BinaryCrossentropy(from_logits=True)
    return keras.losses.CategoricalCrossentropy(from_logits=True)
