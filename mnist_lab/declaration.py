"""Finds what the user declared in a TOML file by name, and reads it with errors that help."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from mnist_lab.config import ConfigError, UserError
from mnist_lab.declared import Declared, describe, nearest

Model = TypeVar("Model", bound=Declared)


class NotFoundError(UserError):
    """No declaration of that name."""


def find(name: str, folder: Path, what: str) -> Path:
    """The file of a declaration: the stem of a .toml in `folder`, or a path.

    Args:
        name: "baseline", or "some/where/baseline.toml".
        folder: where declarations of this kind lie.
        what: the kind, for the message: "study".

    Raises:
        NotFoundError: lists those that there are.
    """
    named, path = folder / f"{name}.toml", Path(name)
    try:
        if named.is_file():
            return named
        if path.suffix == ".toml" and path.is_file():
            return path
    except OSError:  # longer than a name can be
        pass
    known = sorted(file.stem for file in folder.glob("*.toml") if file.is_file())
    listed = ", ".join(known) or f"none in the folder {folder}/ (run this where it is)"
    raise NotFoundError(
        f"no {what} named '{name}'{nearest(name, known) or '.'} Known: {listed}; or give the path "
        "of a .toml file"
    )


def read(path: Path, model: type[Model]) -> Model:
    """Read and validate a TOML file.

    Raises:
        ConfigError: every mistake with file, line, key, value and what would be accepted.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        content = tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text ({error.reason})") from None
    except (ValueError, RecursionError) as error:  # of numbers and nestings without an end, too
        raise ConfigError(f"{path}{_broken_at(text)}: not TOML: {error}") from None
    try:
        declared = model(**content)
        problems = list(dict.fromkeys(declared.problems()))
    except ValidationError as error:
        problems = list(describe(error, model))
    if problems:
        raise _mistaken(path, text, problems)
    return declared


def mistaken(path: Path, key: str, what: str) -> ConfigError:
    """What is said of a mistake in a file that shows only once more is known, the data say."""
    return _mistaken(path, path.read_text(encoding="utf-8-sig"), [(key, what)])


def check_held_out(path: Path, key: str, images: int, least: int, of: int, data: str) -> None:
    """Refuse to hold out more of the training images than there are.

    Args:
        path: of the file.
        key: in it, that says how many are held out.
        images: as many.
        least: what the key accepts.
        of: how many training images there are.
        data: their name.

    Raises:
        ConfigError: no training image would be left.
    """
    if images >= of:
        raise mistaken(
            path,
            key,
            f"{images} is not accepted: {data} has {of:,} training images, so it must be from "
            f"{least} to {of - 1}",
        )


def _mistaken(path: Path, text: str, problems: list[tuple[str, str]]) -> ConfigError:
    return ConfigError(
        "\n".join(f"{path}{_line_of(text, key)}: {key}: {what}" for key, what in problems)
    )


def _broken_at(text: str) -> str:
    """The line and the key of the first value or header that is no TOML, as text ":LINE: KEY".

    TOML's own error names where reading ended: of a list that is left open, that is a later key or
    the end of the file.
    """
    lines = text.split("\n")
    read = next(count for count in reversed(range(len(lines))) if _is_toml(lines[:count]))
    key, equals, _ = lines[read].partition("=")
    return f":{read + 1}" + (f": {key.strip()}" if equals and key.strip() else "")


def _is_toml(lines: list[str]) -> bool:
    try:
        tomllib.loads("\n".join(lines))
    except (ValueError, RecursionError):
        return False
    return True


def _line_of(text: str, key: str) -> str:
    """The line of a dotted key, else of the section it would be in or of its first part."""
    section, found, part, depth = "", None, None, 0
    # What is in quotes over several lines has no keys.
    text = re.sub(
        r'(?s)"""(?:\\.|.)*?"""|\'\'\'.*?\'\'\'', lambda it: "\n" * it[0].count("\n"), text
    )
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        within, depth = depth > 0, max(0, depth + _opened(stripped))
        if within:  # a list that goes on
            continue
        if header := re.match(r"\[+\s*([^\]]+?)\s*\]+", stripped):
            section = _bare(header[1])
            if _leads_to(section, key):
                found = found or number
            continue
        name = _bare(stripped.partition("=")[0].strip())
        whole = f"{section}.{name}" if section else name
        if name and _leads_to(whole, key):
            return f":{number}"
        if name and section != key and whole.startswith(f"{key}."):
            part = part or number
    found = part or found
    return f":{found}" if found else ""


def _opened(line: str) -> int:
    """How many brackets a line leaves open; what is in quotes or a comment does not count."""
    plain = re.sub(r"""'[^']*'|"(?:\\.|[^"\\])*"|#.*""", "", line)
    return plain.count("[") - plain.count("]")


def _bare(key: str) -> str:
    """A dotted key without the quotes around its parts."""
    return re.sub(r"""["']|\s*(\.)\s*""", r"\1", key)


def _leads_to(part: str, key: str) -> bool:
    return key == part or key.startswith(f"{part}.")
