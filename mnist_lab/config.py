"""One frozen, validated configuration of a training run; its defaults are the baseline.

The baseline is Chollet, *Deep Learning with Python*, section 2.1.
"""

from __future__ import annotations

import hashlib
import json
import math
import tomllib
from collections.abc import Collection, Iterator, Mapping
from typing import Annotated, Any, Literal, Self, SupportsIndex

from pydantic import BeforeValidator, Field, ValidationError

# Whoever has to do with a configuration has to do with its errors.
from mnist_lab.declared import ConfigError as ConfigError
from mnist_lab.declared import Declared, as_tuple, describe, plain
from mnist_lab.declared import UserError as UserError
from mnist_lab.schedule import ONE_CYCLE_RISE
from mnist_lab.schedule import Schedule as Schedule

Activation = Literal[
    "relu",
    "gelu",
    "silu",
    "elu",
    "selu",
    "tanh",
    "scaled_tanh",
    "sigmoid",
    "softplus",
    "maxout",
]
Architecture = Literal["mlp", "gmlp", "mixer"]
Initializer = Literal[
    "glorot_uniform",
    "glorot_normal",
    "he_uniform",
    "he_normal",
    "lecun_normal",
    "orthogonal",
    "normal",
    "uniform",
    "zeros",
]
Loss = Literal["cross_entropy", "squared_error", "squared_hinge"]
Normalization = Literal["none", "batch", "layer", "rms"]
Optimizer = Literal["rmsprop", "sgd", "adam", "adamw", "lion", "muon"]
Output = Literal["softmax", "sigmoid", "linear"]
Scaling = Literal["range", "standardize", "standardize_pixels"]

# The constants of each optimizer; where one is not given, it has Keras' own value.
CONSTANTS: dict[str, tuple[str, ...]] = {
    "rmsprop": ("rho", "momentum", "epsilon"),
    "sgd": ("momentum", "nesterov"),
    "adam": ("beta_1", "beta_2", "epsilon"),
    "adamw": ("beta_1", "beta_2", "epsilon"),
    "lion": ("beta_1", "beta_2"),
    "muon": ("momentum", "nesterov", "epsilon"),
}
_ALL_CONSTANTS = ("momentum", "nesterov", "rho", "beta_1", "beta_2", "epsilon")

# The patch architectures bring blocks of their own.
_OF_MLP = (
    "normalization",
    "residual",
    "dropout",
    "layer_dropout",
    "alpha_dropout",
    "drop_connect",
    "hidden_noise",
    "pca",
)
_OF_PATCHES = ("patch_size", "block_width", "token_width")
# What an architecture makes no use of.
_UNUSED: dict[str, tuple[str, ...]] = {
    "mlp": _OF_PATCHES,
    "gmlp": (*_OF_MLP, "token_width"),
    "mixer": _OF_MLP,
}


def _widths(value: object) -> object:
    """A single width stands for one hidden layer; a TOML list for a tuple."""
    if isinstance(value, int) and not isinstance(value, bool):
        return (value,)
    return as_tuple(value)


Probability = Annotated[float, Field(ge=0.0, lt=1.0)]


class RunFields(Declared):
    """The fields of a `RunConfig`, as they are nested in the file of a declaration."""

    # The network.
    hidden: Annotated[
        tuple[Annotated[int, Field(ge=1, le=65_536)], ...],
        BeforeValidator(_widths),
        Field(max_length=256),
    ] = (512,)
    activation: Activation = "relu"
    maxout_pieces: int = Field(default=2, ge=2, le=64)
    normalization: Normalization = "none"
    residual: bool = False
    output: Output = "softmax"
    initializer: Initializer = "glorot_uniform"
    initializer_scale: float | None = Field(default=None, gt=0.0, le=1_000.0)
    architecture: Architecture = "mlp"
    patch_size: Literal[4, 7, 14] = 7
    block_width: int = Field(default=256, ge=1, le=65_536)
    token_width: int = Field(default=64, ge=1, le=65_536)
    # The objective.
    loss: Loss = "cross_entropy"
    label_smoothing: float = Field(default=0.0, ge=0.0, lt=1.0)
    l1: float = Field(default=0.0, ge=0.0, le=1_000.0)
    l2: float = Field(default=0.0, ge=0.0, le=1_000.0)
    # The optimizer.
    optimizer: Optimizer = "rmsprop"
    learning_rate: float = Field(default=1e-3, gt=0.0, le=1_000.0)
    learning_rate_schedule: Schedule = Schedule()
    momentum: float | None = Field(default=None, ge=0.0, lt=1.0)
    momentum_schedule: Schedule = Schedule()
    nesterov: bool | None = None
    rho: float | None = Field(default=None, ge=0.0, lt=1.0)
    beta_1: float | None = Field(default=None, gt=0.0, lt=1.0)
    beta_2: float | None = Field(default=None, gt=0.0, lt=1.0)
    epsilon: float | None = Field(default=None, gt=0.0, le=1.0)
    weight_decay: float = Field(default=0.0, ge=0.0, le=1.0)
    max_norm: float = Field(default=0.0, ge=0.0, le=1_000.0)
    ema_decay: float = Field(default=0.0, ge=0.0, lt=1.0)
    batch_size: int = Field(default=128, ge=1, le=1_000_000)
    epochs: int = Field(default=5, ge=1, le=1_000_000)
    # Noise in training.
    dropout: Probability = 0.0
    layer_dropout: Annotated[tuple[Probability, ...], BeforeValidator(as_tuple)] = ()
    input_dropout: Probability = 0.0
    alpha_dropout: Probability = 0.0
    drop_connect: Probability = 0.0
    input_noise: float = Field(default=0.0, ge=0.0, le=1.0)  # Keras' layer takes no more
    hidden_noise: float = Field(default=0.0, ge=0.0, le=1.0)
    # The images.
    scaling: Scaling = "range"
    pixel_low: float = Field(default=0.0, ge=-1_000.0, le=1_000.0)
    pixel_high: float = Field(default=1.0, ge=-1_000.0, le=1_000.0)
    pca: int = Field(default=0, ge=0, le=784)
    shift: float = Field(default=0.0, ge=0.0, le=28.0)
    rotation: float = Field(default=0.0, ge=0.0, le=180.0)
    zoom: float = Field(default=0.0, ge=0.0, lt=1.0)
    shear: float = Field(default=0.0, ge=0.0, le=60.0)
    elastic_alpha: float = Field(default=0.0, ge=0.0, le=1_000.0)
    elastic_sigma: float = Field(default=4.0, gt=0.0, le=28.0)
    mixup: float = Field(default=0.0, ge=0.0, le=1_000.0)
    validation_size: int = Field(default=0, ge=0)

    def problems(self) -> Iterator[tuple[str, str]]:
        """Fields that contradict each other, or that would do nothing."""
        for name in ("learning_rate_schedule", "momentum_schedule"):
            for key, what in getattr(self, name).problems():
                yield f"{name}.{key}", what
        yield from self._network_problems()
        yield from self._optimizer_problems()
        if self.loss == "cross_entropy" and self.output == "linear":
            yield "output", "'linear' has no cross-entropy; use 'softmax' or 'sigmoid'"
        if self.loss == "squared_hinge" and self.output != "linear":
            yield "output", f"'{self.output}' with squared_hinge: it is a loss of 'linear' outputs"
        for key in ("label_smoothing", "mixup"):
            if self.loss == "squared_hinge" and getattr(self, key):
                yield key, "is not used by loss 'squared_hinge', whose targets are -1 and 1"
        if self.mixup and self.batch_size == 1:
            yield "mixup", "needs a batch_size above 1"
        if self.pixel_low >= self.pixel_high:
            yield "pixel_low", f"{self.pixel_low} is not below pixel_high {self.pixel_high}"
        if self.scaling != "range" and (self.pixel_low, self.pixel_high) != (0.0, 1.0):
            yield "pixel_low", f"is not used by scaling '{self.scaling}'"
        if self._is_set("elastic_sigma") and not self.elastic_alpha:
            yield "elastic_sigma", "needs an elastic_alpha above 0"

    def _is_set(self, key: str) -> bool:
        """Whether a field is not at its default."""
        return bool(getattr(self, key) != type(self).model_fields[key].default)

    def _network_problems(self) -> Iterator[tuple[str, str]]:
        drawn = self.initializer in ("normal", "uniform")
        if drawn and self.initializer_scale is None:
            yield "initializer_scale", f"missing; initializer '{self.initializer}' needs it"
        if not drawn and self.initializer_scale is not None:
            yield "initializer_scale", f"is not used by initializer '{self.initializer}'"
        if self.layer_dropout and self.dropout:
            yield "layer_dropout", "and dropout are both given; it can be one or the other"
        if self.layer_dropout and len(self.layer_dropout) != len(self.hidden):
            yield (
                "layer_dropout",
                f"has {len(self.layer_dropout)} values for {len(self.hidden)} hidden layers",
            )
        pairs = zip((self.pca or 784, *self.hidden), self.hidden, strict=False)
        if self.residual and not any(one == next_ for one, next_ in pairs):
            yield "residual", "needs a hidden layer as wide as the one before it, or as the input"
        if self._is_set("maxout_pieces") and self.activation != "maxout":
            yield "maxout_pieces", f"is not used by activation '{self.activation}'"
        for key in _UNUSED[self.architecture]:
            if self._is_set(key):
                yield key, f"is not used by architecture '{self.architecture}'"
        if self.architecture != "mlp":
            if len(set(self.hidden)) != 1:
                yield (
                    "hidden",
                    f"{list(self.hidden)}: architecture '{self.architecture}' has one width for "
                    "all its blocks, one entry a block",
                )
            if self.activation == "maxout":
                yield "activation", f"'maxout' is not used by architecture '{self.architecture}'"

    def _optimizer_problems(self) -> Iterator[tuple[str, str]]:
        known = CONSTANTS[self.optimizer]
        for key in _ALL_CONSTANTS:
            if getattr(self, key) is not None and key not in known:
                yield (
                    key,
                    f"is not used by optimizer '{self.optimizer}', which has {', '.join(known)}",
                )
        default = 0.0 if self.optimizer == "sgd" else None  # muon's own is above 0
        if self.nesterov and (default if self.momentum is None else self.momentum) == 0.0:
            yield "nesterov", "needs a momentum above 0"
        if self.momentum_schedule != Schedule() and (self.optimizer != "sgd" or not self.momentum):
            yield "momentum_schedule", "needs optimizer 'sgd' with a momentum above 0"
        for name in ("learning_rate_schedule", "momentum_schedule"):
            schedule, rise = getattr(self, name), ONE_CYCLE_RISE * self.epochs
            own = schedule.type == "one_cycle" and schedule.warmup is None
            if own and schedule.until is not None and schedule.until <= rise:
                what = f"{schedule.until:g} is over before the descent begins, at epoch {rise:g}"
                yield f"{name}.until", what
        schedule = self.momentum_schedule
        for key in ("final", "initial"):
            if (getattr(schedule, key) or 0.0) >= 1.0:
                yield f"momentum_schedule.{key}", "is a momentum, which is less than 1"
        if schedule.factor is not None and self.momentum:
            steps = (self.epochs - 1) // (schedule.every or 1)
            if math.log(self.momentum) + steps * math.log(schedule.factor) >= 0:
                yield (
                    "momentum_schedule.factor",
                    f"{schedule.factor:g} makes the momentum 1 or more within {self.epochs} epochs",
                )


def checked_seed(seed: object) -> int:
    """The seed of a training as a plain number.

    Raises:
        ConfigError: it is no whole number from 0 to 2**32 - 1.
    """
    number = seed.__index__() if isinstance(seed, SupportsIndex) else -1
    if isinstance(seed, bool) or type(seed).__name__ == "bool" or not 0 <= number < 2**32:
        raise ConfigError(f"seed: {seed!r} is not accepted: it must be from 0 to {2**32 - 1}")
    return number


class RunConfig(RunFields):
    """What defines a training, but for the data and the seed. The defaults are the baseline.

    A field that would do nothing beside the others is refused if it is not at its default. Two
    cases are accepted, so that variants and trials of any depth and length can have them in common:
    without hidden layers, what belongs to them (`activation`, `maxout_pieces`, `normalization`,
    `dropout`, `alpha_dropout`, `drop_connect`, `hidden_noise`, of "muon" `momentum` and `nesterov`)
    does nothing, nor does a step or a descent of a schedule that would begin after the last epoch.
    None stands for Keras' own value.

    Attributes:
        hidden: width of each hidden layer, input side first; ``()`` is softmax regression.
            One integer stands for one hidden layer.
        activation: non-linearity of the hidden layers. "scaled_tanh" is 1.7159 tanh(2x/3)
            (LeCun et al., 1998), "maxout" the largest of `maxout_pieces` linear units
            (Goodfellow et al., 2013).
        maxout_pieces: linear units in each maxout unit.
        normalization: "batch" (Ioffe and Szegedy, 2015), "layer" (Ba et al., 2016) or "rms"
            (Zhang and Sennrich, 2019) between a hidden layer's product and its activation.
        residual: add a hidden layer's input to its output where both have one width
            (He et al., 2016).
        output: non-linearity of the ten outputs.
        initializer: distribution of the kernels; biases begin at 0. "glorot_…" (Glorot and
            Bengio, 2010), "he_…" (He et al., 2015), "lecun_normal" (LeCun et al., 1998),
            "orthogonal" (Saxe et al., 2014), "normal" and "uniform" with `initializer_scale`.
        initializer_scale: standard deviation of "normal", bound of "uniform".
        architecture: "mlp", or on patches of the image "gmlp" (Liu et al., 2021) or "mixer"
            (Tolstikhin et al., 2021). Of these, `hidden` has the width of each block.
        patch_size: side of a patch, pixels.
        block_width: width within a block: of the channels' MLP ("mixer"), or of the gated
            projection ("gmlp", before it is split in two halves of this width).
        token_width: width of "mixer"'s MLP over patches.
        loss: "cross_entropy" (of "sigmoid" outputs: the mean of ten binary ones),
            "squared_error" or "squared_hinge" (mean over the ten outputs, as Keras has them;
            targets are 0 and 1, of the hinge -1 and 1).
        label_smoothing: share in [0, 1) of each target spread over all ten (Szegedy et al., 2016),
            of "sigmoid" outputs too.
        l1: weight of the sum of the kernels' magnitudes in the loss.
        l2: weight of the sum of the kernels' squares in the loss.
        optimizer: a Keras optimizer: "rmsprop" (Tieleman and Hinton, 2012), "sgd", "adam"
            (Kingma and Ba, 2015), "adamw" (Loshchilov and Hutter, 2019), "lion" (Chen et al.,
            2023) or "muon" (Jordan, 2024; the output layer and biases by AdamW).
        learning_rate: step size of the optimizer, > 0.
        learning_rate_schedule: how it changes, update by update.
        momentum: of "sgd", "rmsprop" and "muon".
        momentum_schedule: how the momentum of "sgd" changes, update by update.
        nesterov: of "sgd" (Nesterov, 1983; Sutskever et al., 2013) and "muon".
        rho: decay of "rmsprop"'s mean square.
        beta_1: decay of the mean gradient of "adam", "adamw" and "lion".
        beta_2: decay of the mean square of "adam" and "adamw", of the mean gradient of "lion".
        epsilon: added to the denominator of "adam", "adamw" and "muon"; of "rmsprop" to the mean
            square, under the root.
        weight_decay: decoupled decay of the kernels, ``w -= learning_rate * weight_decay * w``
            at each update (Loshchilov and Hutter, 2019); biases and norm scales do not decay.
        max_norm: largest norm of a unit's incoming weights, kept after each update
            (Srivastava et al., 2014); 0 for none.
        ema_decay: decay of an exponential moving average of the weights over updates, with
            which the model is evaluated and saved (Polyak and Juditsky, 1992); 0 for none. As in
            Keras, it is of the weights before `max_norm` is kept.
        batch_size: images per update; an epoch's last batch may be shorter.
        epochs: passes over the training images.
        dropout: probability in [0, 1) of dropping a hidden unit (Srivastava et al., 2014).
        layer_dropout: the same with a value for each hidden layer.
        input_dropout: probability in [0, 1) of dropping an input.
        alpha_dropout: dropout of the hidden layers that keeps mean and variance, for "selu"
            (Klambauer et al., 2017).
        drop_connect: probability in [0, 1) of dropping a weight, drawn for each batch
            (Wan et al., 2013); the mean network is evaluated.
        input_noise: standard deviation of Gaussian noise on the scaled inputs.
        hidden_noise: the same on the hidden units' activations.
        scaling: pixels to [`pixel_low`, `pixel_high`] ("range"), to mean 0 and variance 1 over
            all pixels of the training images ("standardize"), or pixel by pixel
            ("standardize_pixels", where constant pixels become 0).
        pixel_low: what a background pixel becomes.
        pixel_high: what a full pixel becomes.
        pca: keep this many principal components of the scaled training images; 0 for none.
        shift: largest shift in each direction, pixels. This and the next are drawn uniformly
            for each image, anew in each epoch, and sampled bilinearly.
        rotation: largest angle, degrees.
        zoom: largest change of size, as a share.
        shear: largest angle of shear, degrees.
        elastic_alpha: strength of elastic distortion, pixels (Simard et al., 2003); 0 for none.
        elastic_sigma: its smoothness, the standard deviation of its Gaussian, pixels.
        mixup: alpha of mixup's Beta(alpha, alpha), a weight for each batch (Zhang et al., 2018);
            0 for none.
        validation_size: how many of the last training images are held out for validation.
            0, as in the baseline, trains on all and measures no validation.

    Raises:
        ConfigError: unknown field, wrong type, out of range, or in contradiction to another.
    """

    def __init__(self, /, **fields: Any) -> None:
        try:
            given: dict[str, Any] = {name: plain(value) for name, value in fields.items()}
            super().__init__(**given)
            problems = list(self.problems())
        except ValidationError as error:
            problems = list(describe(error, RunConfig))
        if problems:
            lines = [f"{key}: {what}" for key, what in problems]
            raise ConfigError("RunConfig: " + "\n  ".join(lines)) from None

    def replace(self, **fields: Any) -> Self:
        """A copy with other values for some fields, validated anew."""
        return type(self)(**{**self.model_dump(), **fields})

    def params(self) -> dict[str, str]:
        """Every field that has a value as the text that is put on record."""
        return as_params(dict(self))

    def digest(self) -> str:
        """16 hexadecimal digits that tell configurations apart.

        Fields at their default do not count, so a field that is added later with a default that
        changes nothing leaves the digests of recorded runs as they are.
        """
        told = self.model_dump(mode="json", exclude_defaults=True)
        text = json.dumps(told, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_toml(self) -> str:
        """All fields as TOML, one a line; `from_toml` gives an equal configuration back."""
        return self._lines(tuple(type(self).model_fields))

    def own_toml(self, besides: Collection[str] = ()) -> str:
        """The fields in which it is not the baseline, one a line; `from_toml` adds the others.

        Args:
            besides: fields that are told in any case.
        """
        baseline = type(self)()
        names = type(self).model_fields
        told = [n for n in names if n in besides or getattr(self, n) != getattr(baseline, n)]
        return self._lines(told)

    def _lines(self, names: Collection[str]) -> str:
        fields = self.model_dump(mode="json", exclude_none=True, include=set(names))
        return "".join(f"{key} = {_toml(value)}\n" for key, value in fields.items())

    @classmethod
    def from_toml(cls, text: str) -> Self:
        """Read what `to_toml` wrote. Fields left out keep the baseline's values."""
        try:
            fields = tomllib.loads(text)
        except (ValueError, RecursionError) as error:  # of numbers and nestings without an end, too
            raise ConfigError(f"RunConfig: not TOML: {error}") from None
        return cls(**fields)


def as_params(fields: Mapping[str, object]) -> dict[str, str]:
    """The fields that have a value as the texts that are put on record."""
    return {name: _text(value) for name, value in fields.items() if value is not None}


def _text(value: object) -> str:
    """A field's value in a table: "512-256", "none" for an empty tuple, "cosine(warmup=1.0)"."""
    if isinstance(value, tuple):
        return "-".join(map(str, value)) or "none"
    return str(value)


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }"
    # For strings, booleans, numbers and lists of numbers JSON's notation is TOML's.
    return json.dumps(value)
