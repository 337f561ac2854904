"""One frozen, validated configuration of a training run; its defaults are the baseline.

The baseline is Chollet, *Deep Learning with Python*, listing 2.1.
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError


class UserError(Exception):
    """A mistake in what the user asked for. Its text is the whole message: no traceback."""


class ConfigError(UserError, ValueError):
    """A field that is unknown, of the wrong type or out of range."""


def nearest(name: str, known: Iterable[str]) -> str:
    """``"; did you mean 'x'?"`` for the known name closest to `name`, or an empty string."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else ""


class Declared(BaseModel):
    """Base of whatever a user declares: frozen, strictly typed, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    def problems(self) -> Iterator[tuple[str, str]]:
        """Mistakes that no single key shows: (dotted key, what is wrong) for each."""
        yield from ()


def describe(error: ValidationError, model: type[BaseModel]) -> Iterator[tuple[str, str]]:
    """Put a pydantic error into plain words: (dotted key, what is wrong) for each mistake."""
    for detail in error.errors():
        keys, known = _walk(model, detail["loc"])
        key = ".".join(keys)
        if detail["type"] == "extra_forbidden":
            hint = nearest(keys[-1], known)
            yield key, f"unknown key{hint or '.'} Known keys: {', '.join(sorted(known))}"
        elif detail["type"] == "missing":
            yield key, "missing; it must be given"
        elif detail["type"] == "union_tag_not_found":
            yield key, "lacks its type; it must be one of 'int', 'float' and 'categorical'"
        elif detail["type"] == "union_tag_invalid":
            tag, tags = detail["ctx"]["tag"], detail["ctx"]["expected_tags"]
            hint = nearest(tag, re.findall("'(.*?)'", tags))
            yield f"{key}.type", f"{tag!r} is not accepted: it should be one of {tags}{hint}"
        else:
            hint = ""
            if detail["type"] == "literal_error":
                hint = nearest(str(detail["input"]), re.findall("'(.*?)'", detail["msg"]))
            message = detail["msg"].removeprefix("Value error, ").removeprefix("Input ")
            for python, toml in _IN_TOML.items():
                message = message.replace(python, toml)
            yield key, f"{detail['input']!r} is not accepted: it {message}{hint}"


# What pydantic calls by Python's names, as the user of a TOML file knows it.
_IN_TOML = {
    "valid dictionary or object to extract fields from": "table",
    "valid dictionary": "table",
    "valid tuple": "list",
}


def _walk(model: type[BaseModel], path: tuple[str | int, ...]) -> tuple[list[str], list[str]]:
    """The keys of `path` as the user wrote them, and the names known where it ends.

    Within a union pydantic adds the tag of the branch to the path ("int" of ``type = "int"``);
    a user has written no such key.
    """
    keys: list[str] = []
    known = list(model.model_fields)
    models = [model]
    for part in path:
        branch = [m for m in models if part in get_args(_annotation(m, "type"))]
        if len(models) > 1 and branch:
            models = branch
        else:
            keys.append(str(part))
            inner = [found for m in models for found in _models_in(_annotation(m, str(part)))]
            # A key of a table such as [search] is no field: the models stay as they are.
            models = inner or models
        known = sorted({name for m in models for name in m.model_fields})
    return keys, known


def _annotation(model: type[BaseModel], name: str) -> Any:
    return model.model_fields[name].annotation if name in model.model_fields else None


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]


Activation = Literal["relu", "gelu", "silu", "elu", "selu", "tanh", "sigmoid", "softplus"]
Optimizer = Literal["rmsprop", "sgd", "adam"]
Normalization = Literal["none", "batch", "layer"]


def _widths(value: object) -> object:
    """A single width stands for one hidden layer; a TOML list for a tuple."""
    if isinstance(value, int) and not isinstance(value, bool):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


class RunFields(Declared):
    """The fields of a `RunConfig`, as they are nested in the file of a declaration."""

    hidden: Annotated[
        tuple[Annotated[int, Field(ge=1, le=65_536)], ...],
        BeforeValidator(_widths),
        Field(max_length=256),
    ] = (512,)
    activation: Activation = "relu"
    optimizer: Optimizer = "rmsprop"
    learning_rate: float = Field(default=1e-3, gt=0.0, le=1_000.0)
    batch_size: int = Field(default=128, ge=1, le=1_000_000)
    epochs: int = Field(default=5, ge=1, le=1_000_000)
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    weight_decay: float = Field(default=0.0, ge=0.0, le=1.0)
    normalization: Normalization = "none"
    validation_size: int = Field(default=0, ge=0)


class RunConfig(RunFields):
    """What defines a training, but for the data and the seed. The defaults are the baseline.

    Attributes:
        hidden: width of each hidden layer, input side first; ``()`` is softmax regression.
            One integer stands for one hidden layer.
        activation: non-linearity of the hidden layers.
        optimizer: a Keras optimizer with Keras' default constants.
        learning_rate: step size of the optimizer, > 0.
        batch_size: images per update; an epoch's last batch may be shorter.
        epochs: passes over the training images.
        dropout: probability in [0, 1) of dropping a hidden unit (Srivastava et al., 2014).
        weight_decay: decoupled decay of the kernels, ``w -= learning_rate * weight_decay * w``
            at each update (Loshchilov and Hutter, 2019); biases and norm scales do not decay.
        normalization: "batch" (Ioffe and Szegedy, 2015) or "layer" (Ba et al., 2016)
            between a hidden layer's product and its activation.
        validation_size: how many of the last training images are held out for validation.
            0, as in the baseline, trains on all and measures no validation.

    Raises:
        ConfigError: unknown field, wrong type, or out of range.
    """

    def __init__(self, **fields: Any) -> None:
        try:
            super().__init__(**fields)
        except ValidationError as error:
            lines = [f"{key}: {what}" for key, what in describe(error, RunConfig)]
            raise ConfigError("RunConfig: " + "\n  ".join(lines)) from None

    def replace(self, **fields: Any) -> Self:
        """A copy with other values for some fields, validated anew."""
        return type(self)(**{**self.model_dump(), **fields})

    def to_toml(self) -> str:
        """All fields as TOML, one a line; `from_toml` gives an equal configuration back."""
        # For strings, numbers and lists of numbers JSON's notation is TOML's.
        return "".join(f"{key} = {json.dumps(value)}\n" for key, value in self.model_dump().items())

    @classmethod
    def from_toml(cls, text: str) -> Self:
        """Read what `to_toml` wrote. Fields left out keep the baseline's values."""
        try:
            return cls(**tomllib.loads(text))
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"RunConfig: not TOML: {error}") from None
