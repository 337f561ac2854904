from __future__ import annotations

import gc
import sys
from collections.abc import Iterator

import pytest

from mnist_lab.importing import uncollected


@pytest.fixture(autouse=True)
def thawed() -> Iterator[None]:
    gc.collect()
    gc.unfreeze()
    yield
    gc.unfreeze()
    gc.enable()


class Cycle:
    """Garbage that only the search for it finds."""

    def __init__(self) -> None:
        self.itself = self


def test_what_an_import_makes_is_never_looked_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "this_is_new", raising=False)
    with uncollected("this_is_new"):
        assert not gc.isenabled()
        assert gc.get_freeze_count() == 0
    assert gc.isenabled()
    assert gc.get_freeze_count() > 10_000


def test_what_is_imported_already_changes_nothing() -> None:
    """Else each trial of a search would keep the garbage of those before it."""
    with uncollected("gc", "sys"):
        assert gc.isenabled()
    assert gc.get_freeze_count() == 0
    Cycle()
    assert gc.collect() > 0


def test_who_has_switched_the_search_off_finds_it_so() -> None:
    gc.disable()
    with uncollected("this_is_new"):
        pass
    assert not gc.isenabled()
    assert gc.get_freeze_count() == 0


def test_an_import_that_fails_leaves_the_search_on() -> None:
    with pytest.raises(ImportError), uncollected("this_is_new"):
        import this_is_new  # type: ignore[import-not-found]  # noqa: F401
    assert gc.isenabled()
