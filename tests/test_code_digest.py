"""What makes the trainer another version."""

from __future__ import annotations

from pathlib import Path

import pytest

from mnist_lab import provenance
from mnist_lab.provenance import meaning


def test_the_code_digest_is_that_of_what_decides_the_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def digest() -> str:
        provenance.code_digest.cache_clear()
        return provenance.code_digest()

    package = Path(provenance.__file__).parent
    for file in package.glob("*.py"):
        (tmp_path / file.name).write_text(file.read_text())
    before = digest()
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "provenance.py"))
    assert digest() == before

    def change(module: str, old: str, new: str) -> str:
        path = tmp_path / f"{module}.py"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))
        changed = digest()
        path.write_text(text)
        return changed

    future = "from __future__ import annotations"
    # A comment, a docstring, a blank line, and modules that decide nothing do not count.
    assert change("training", future, f"# a comment\n\n{future}") == before
    assert change("training", '"""', '"""Another text. ') == before
    assert change("tables", future, f"{future}\nx = 1") == before
    assert change("config", future, f"{future}\nx = 1") == before
    # Code counts, in the trainer and in what it rests on, directly or not.
    for module in ("training", "models", "layers", "data", "backend"):
        assert change(module, future, f"{future}\nx = 1") != before, module
    provenance.code_digest.cache_clear()


def test_what_is_told_to_users_is_no_part_of_the_trainers_version() -> None:
    """A message that is put in other words makes no run one of another version."""
    provenance.code_digest.cache_clear()
    read: list[str] = []

    def noted(source: str, *, in_parts: bool) -> str:
        read.append(source)
        return meaning(source, in_parts=in_parts)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(provenance, "meaning", noted)
        provenance.code_digest()
    provenance.code_digest.cache_clear()
    assert any("class Training" in source for source in read)
    for ours in ("class RunConfig", "class UserError", "class GitState"):
        assert not any(ours in source for source in read), ours


def test_the_quotes_of_f_strings_do_not_count() -> None:
    """`ast.unparse` of one version of Python writes them in others than that of another."""
    source = """f'{a["b"]!r:>{width}} of {c}'"""
    parts = meaning(source, in_parts=True)
    assert parts == meaning("""f"{a['b']!r:>{width}} of {c}\"""", in_parts=True)
    assert parts.startswith("('f', ")
    for other in ('a["d"]!r', 'a["b"]!s', 'a["b"]'):
        assert meaning(source.replace('a["b"]!r', other), in_parts=True) != parts
