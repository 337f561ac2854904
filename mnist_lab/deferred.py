"""Parts of a package that are imported when something of them is asked for, not before."""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any


def defer(package: str, *parts: str) -> None:
    """Let a package's own imports of some of its parts cost nothing until these are used.

    To be called before the package is imported; afterwards it does nothing, nor for parts that
    the package does not have. Whoever uses a deferred part finds it whole.

    Args:
        package: such as "keras".
        parts: modules within it, such as "wrappers" or "src.visualization".
    """
    whole = None if package in sys.modules else find_spec(package)
    if whole is None:
        return
    for part in parts:
        path = whole.submodule_search_locations
        *folders, _ = part.split(".")
        if folders and path is not None:
            path = [f"{place}/{'/'.join(folders)}" for place in path]
        spec = PathFinder.find_spec(f"{package}.{part}", path)
        if spec is not None and spec.loader is not None:
            module = module_from_spec(spec)
            module.__class__ = _Deferred
            sys.modules[spec.name] = module


class _Deferred(ModuleType):
    """A module whose code has not run; what its import sets, its name and place, is there.

    The standard library's `LazyLoader` has these wait as well, so that the import statements of
    the package itself would run the code.
    """

    def __getattr__(self, name: str) -> Any:
        self.__class__ = ModuleType  # type: ignore[assignment]
        assert self.__spec__ is not None
        assert self.__spec__.loader is not None
        self.__spec__.loader.exec_module(self)
        return getattr(self, name)

    def __dir__(self) -> list[str]:
        self.__getattr__("__doc__")
        return dir(self)
