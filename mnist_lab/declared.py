"""What a user declares, and how mistakes in it are told: the base of all declarations."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationError


class UserError(Exception):
    """A mistake in what the user asked for. Its text is the whole message: no traceback."""


class ConfigError(UserError, ValueError):
    """A field that is unknown, of the wrong type or out of range."""


def nearest(name: str, known: Iterable[str]) -> str:
    """``"; did you mean 'x'?"`` for the known name closest to `name`, or an empty string.

    In whatever case, and "lr" for "learning_rate".
    """
    folded = {other.casefold(): other for other in known}
    given = name.casefold()
    short = [key for key in folded if "".join(part[:1] for part in key.split("_")) == given]
    if len(short) != 1 or len(given) == 1:
        short = []
    close = short or difflib.get_close_matches(given, list(folded), n=1)
    return f"; did you mean '{folded[close[0]]}'?" if close else ""


class Declared(BaseModel):
    """Base of whatever a user declares: frozen, strictly typed, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    def problems(self) -> Iterator[tuple[str, str]]:
        """Mistakes that no single key shows: (dotted key, what is wrong) for each."""
        yield from ()


def as_tuple(value: object) -> object:
    """A TOML list as the tuple that it stands for."""
    return tuple(value) if isinstance(value, list) else value


def plain(value: Any) -> object:
    """A number of NumPy's, as tables have them, as Python's own; in lists and tables as well."""
    if isinstance(value, list | tuple):
        return type(value)(map(plain, value))
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    return value.item() if getattr(value, "shape", None) == () else value


def describe(error: ValidationError, model: type[BaseModel]) -> Iterator[tuple[str, str]]:
    """Put a pydantic error into plain words: (dotted key, what is wrong) for each mistake."""
    of_unions: set[tuple[str | int, ...]] = set()
    details = error.errors()
    lists = {_without_branches(d["loc"]) for d in details if any(map(_is_list, d["loc"]))}
    for detail in details:
        place = detail["loc"]
        if detail["type"] in _OF_SCALARS:
            place = _without_branches(place)
        keys, known = _walk(model, place)
        key = ".".join(keys)
        if place != detail["loc"]:  # one mistake, told once for each type that is accepted there
            if place not in of_unions:
                of_unions.add(place)
                accepted = _SCALAR_OR_LIST if place in lists else _SCALAR
                yield key, f"{_shown(detail['input'])} is not accepted: it should be {accepted}"
        elif detail["type"] == "extra_forbidden":
            hint = nearest(keys[-1], known) or "."
            unlike = hint == "." or keys[-1][:1].isdecimal()
            if len(keys) > 2 and isinstance(detail["input"], dict) and unlike:
                hint = f'. A name with a dot is written in quotes: "{keys[-2]}.{keys[-1]}".'
            yield key, f"unknown key{hint} Known keys: {', '.join(sorted(known))}"
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
            message = detail["msg"].removeprefix("Value error, ")
            message = message.removeprefix("Input ").removeprefix("Value ")
            for python, toml in _IN_TOML.items():
                message = re.sub(python, toml, message)
            yield key, f"{_shown(detail['input'])} is not accepted: it {message}{hint}"


# What pydantic calls by Python's names, as the user of a TOML file knows it.
_IN_TOML = {
    "valid dictionary or (object to extract fields from|instance of \\w+)": "table",
    "^Dictionary": "should be a table that",
    "^Tuple": "should be a list that",
    "^String": "should be a text that",
    " after validation, not \\d+": "",
    "should be a (table|list|text) that should have": r"should be a \1 of",
    "valid dictionary": "table",
    "valid tuple": "list",
}
_SCALAR = "a finite number, a text, true or false"
_SCALAR_OR_LIST = "a finite number, a text, true, false, or a list of numbers"
# pydantic's types of mistakes that one of these branches can meet.
_OF_SCALARS = (
    *("int_type", "int_from_float", "float_type", "finite_number"),
    *("string_type", "bool_type", "tuple_type"),
)
_BRANCHES = ("int", "float", "str", "bool")
_LONGEST = 80  # characters of a value that are shown


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _without_branches(path: tuple[str | int, ...]) -> tuple[str | int, ...]:
    """A mistake's place without the branch of a union of plain values in which pydantic met it."""
    for end, part in enumerate(path):
        if isinstance(part, str) and all(isinstance(p, int) or _is_branch(p) for p in path[end:]):
            return path[:end]
    return path


def _is_branch(part: str) -> bool:
    return part in _BRANCHES or _is_list(part)


def _is_list(part: str | int) -> bool:
    return isinstance(part, str) and part.startswith("tuple[")


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
