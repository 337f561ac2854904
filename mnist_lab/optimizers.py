"""From a configuration to a Keras optimizer whose numbers are variables.

Where Keras keeps a number as a constant, the compiled epoch would have it baked in, and a search
over it would compile each trial anew.
"""

from __future__ import annotations

from typing import Any

from mnist_lab.backend import keras, tf
from mnist_lab.config import CONSTANTS, RunConfig

OUTPUT_LAYER = "logits"  # by this name Muon leaves the output layer to AdamW


class SGD(keras.optimizers.SGD):  # type: ignore[misc]  # Keras has no types
    """Keras' SGD with momentum, the momentum a variable: a schedule changes it at each update.

    Momentum as in Sutskever et al. (2013), "On the importance of initialization and momentum in
    deep learning".
    """

    decay: keras.Variable

    def update_step(
        self, gradient: tf.Tensor, variable: keras.Variable, learning_rate: tf.Tensor
    ) -> None:
        """Update `variable` by its gradient."""
        velocity = self.momentums[self._get_variable_index(variable)]
        step = gradient * learning_rate
        self.assign(velocity, velocity * self.decay - step)
        if self.nesterov:
            self.assign_add(variable, velocity * self.decay - step)
        else:
            self.assign_add(variable, velocity)


class RMSprop(keras.optimizers.RMSprop):  # type: ignore[misc]  # Keras has no types
    """Keras' RMSprop with momentum, the momentum a variable."""

    decay: keras.Variable

    def update_step(
        self, gradient: tf.Tensor, variable: keras.Variable, learning_rate: tf.Tensor
    ) -> None:
        """Update `variable` by its gradient."""
        index = self._get_variable_index(variable)
        average, momentum = self._velocities[index], self._momentums[index]
        self.assign(average, self.rho * average + (1 - self.rho) * tf.square(gradient))
        step = learning_rate * gradient / tf.sqrt(average + self.epsilon)
        self.assign(momentum, self.decay * momentum + step)
        self.assign_sub(variable, momentum)


OPTIMIZERS: dict[str, type[keras.optimizers.Optimizer]] = {
    "rmsprop": keras.optimizers.RMSprop,
    "sgd": keras.optimizers.SGD,
    "adam": keras.optimizers.Adam,
    # AdamW is Adam with decoupled weight decay; Keras' class only brings another default.
    "adamw": keras.optimizers.Adam,
    "lion": keras.optimizers.Lion,
    "muon": keras.optimizers.Muon,
}

# With a momentum that is a variable, where Keras asks whether it is 0.
_WITH_MOMENTUM: dict[str, type[keras.optimizers.Optimizer]] = {"rmsprop": RMSprop, "sgd": SGD}


def number(name: str, value: float) -> keras.Variable:
    """A number that the compiled epoch reads anew: () float32, not trained."""
    return keras.Variable(value, dtype="float32", trainable=False, name=name)


def build_optimizer(config: RunConfig, network: keras.Model) -> keras.optimizers.Optimizer:
    """The Keras optimizer of a configuration, built on the network's trainable variables."""
    constants = {name: getattr(config, name) for name in CONSTANTS[config.optimizer]}
    given = {name: value for name, value in constants.items() if value is not None}
    more: dict[str, Any] = {"use_ema": True} if config.ema_decay else {}
    kind = OPTIMIZERS[config.optimizer]
    if config.momentum:
        kind = _WITH_MOMENTUM.get(config.optimizer, kind)
    if config.optimizer == "muon":
        more |= {"exclude_layers": [OUTPUT_LAYER], "weight_decay": None, "adam_weight_decay": None}
    optimizer = kind(learning_rate=config.learning_rate, **given, **more)
    variables = network.trainable_variables
    plain = ("nesterov", "momentum") if config.optimizer in _WITH_MOMENTUM else ("nesterov",)
    for name, value in given.items():
        if name not in plain:
            setattr(optimizer, name, number(name, value))
    if config.momentum and config.optimizer in _WITH_MOMENTUM:
        optimizer.decay = number("momentum", config.momentum)
    if config.ema_decay:
        optimizer.ema_momentum = number("ema_decay", config.ema_decay)
    if config.weight_decay:
        optimizer.weight_decay = number("weight_decay", config.weight_decay)
        if config.optimizer == "muon":
            optimizer.adam_weight_decay = optimizer.weight_decay
        optimizer.exclude_from_weight_decay([v for v in variables if v.name != "kernel"])
    optimizer.build(variables)
    # Keras adds gradients up over replicas, of which there is one. TensorFlow keeps the gradient of
    # that sum for good, and with it the graph of each epoch that was ever compiled.
    optimizer._all_reduce_sum_gradients = list
    return optimizer


def constants_of(config: RunConfig) -> dict[str, object]:
    """The constants of the optimizer as they are used, Keras' own where the configuration has none.

    A mapping from Keras' name of each to its value.
    """
    constants = {name: getattr(config, name) for name in CONSTANTS[config.optimizer]}
    given = {name: value for name, value in constants.items() if value is not None}
    told = OPTIMIZERS[config.optimizer](learning_rate=config.learning_rate, **given).get_config()
    return {name: told[name] for name in constants if name in told}


def optimizer_variables(optimizer: keras.optimizers.Optimizer) -> list[keras.Variable]:
    """All that an update reads or writes besides the network, its numbers included."""
    held = [value for value in vars(optimizer).values() if isinstance(value, keras.Variable)]
    unique = {id(variable): variable for variable in [*optimizer.variables, *held]}
    return list(unique.values())
