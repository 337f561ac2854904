"""The import graph, read from the source: data flows one way, and doors are few."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import mnist_lab
from tests.conftest import ROOT, environment

PACKAGE = Path(mnist_lab.__file__).parent

# Each module and what of ours it may import; what is not listed may import nothing of ours.
ALLOWED = {
    "__main__": set(),
    "api_store": {"mlflow_backend", "records"},
    "backend": {"declared", "deferred"},
    "calibration": {"estimates"},
    "cells": {
        "config",
        "connection",
        "importing",
        "process",
        "progress",
        "question",
        "recording",
        "records",
        "tables",
        "tracking",
        "work",
    },
    "cluster": {
        "backend",
        "config",
        "connection",
        "data",
        "forking",
        "progress",
        "provenance",
        "sqlite_uri",
        "tracking",
        "work",
    },
    "command": {"config"},
    "compare": {
        "command",
        "comparison",
        "config",
        "data",
        "declared",
        "figures",
        "files",
        "importing",
        "listing",
        "pictures",
        "tables",
        "tracking",
        "two_models",
        "verdict",
    },
    "comparison": {"estimates", "pairing", "power"},
    "conditional": {"config", "declared", "provenance"},
    "config": {"declared", "schedule"},
    "confirmation": {
        "cells",
        "config",
        "data",
        "estimates",
        "figures",
        "measured",
        "outcome",
        "pictures",
        "progress",
        "provenance",
        "question",
        "tables",
        "tracking",
        "verdict",
        "work",
    },
    "connection": {"config", "sqlite_uri"},
    "costs": {"estimates", "looks"},
    "curves": {"estimates", "looks"},
    "data": {"config"},
    "declaration": {"config", "declared"},
    "declared": set(),
    "deferred": set(),
    "delivery": {"config", "logged_model", "measured", "mlflow_backend"},
    "dimensions": {"declared"},
    "distortion": {"backend", "config", "data", "randomness"},
    "drawing": {"figures", "outcome", "pictures", "space", "study_figures", "tables", "tracking"},
    "estimates": {"declared"},
    "experiment": {
        "command",
        "data",
        "declaration",
        "files",
        "options",
        "planning",
        "question",
        "runner",
        "start",
        "tables",
        "team",
        "tracking",
        "verdict",
        "wording",
    },
    "figures": {"costs", "curves", "forest", "looks", "mistakes"},
    "files": {"config"},
    "forest": {"looks"},
    "forking": set(),
    "graph": {"backend"},
    "importing": set(),
    "interrupts": set(),
    "layers": {"backend", "randomness"},
    "learning": {"backend", "config", "data", "optimizers"},
    "line": {"config", "connection", "delivery", "measured", "mlflow_backend", "unsent"},
    "listing": {"tables"},
    "logged_model": {"mlflow_backend", "provenance"},
    "looks": {"wording"},
    "measured": {"wording"},
    "memory": {"config"},
    "mistakes": {"looks", "wording"},
    "mlflow_backend": {"deferred"},
    "models": {"backend", "config", "data", "layers", "optimizers", "preprocessing"},
    "new_store": {"files", "mlflow_backend"},
    "opening": {
        "conditional",
        "config",
        "connection",
        "data",
        "files",
        "postgresql",
        "process",
        "retries",
        "room",
        "sampling",
        "space",
        "sqlite_uri",
    },
    "optimizers": {"backend", "config"},
    "options": set(),
    "outcome": {"config", "measured", "retries", "space", "tracking"},
    "pairing": {"declared", "estimates"},
    "pictures": {"comparison", "data", "estimates", "figures", "tables", "tracking", "verdict"},
    "plan": {"config", "distortion", "schedules"},
    "planning": {"comparison", "config", "estimates", "pairing", "power", "question"},
    "postgresql": set(),
    "power": {"estimates"},
    "preloaded": {"cells", "importing", "recording", "trial"},
    "preprocessing": {"backend", "config", "data"},
    "process": set(),
    "progress": set(),
    "provenance": set(),
    "question": {"config", "declared", "variants"},
    "randomness": {"backend"},
    "recording": {
        "backend",
        "config",
        "data",
        "memory",
        "optimizers",
        "progress",
        "tracking",
        "training",
    },
    "records": set(),
    "recovery": {"opening", "process", "records", "retries", "tracking"},
    "registry": {"connection", "interrupts", "mlflow_backend", "tracking"},
    "retries": set(),
    "room": {"config"},
    "run": {
        "config",
        "connection",
        "delivery",
        "interrupts",
        "line",
        "logged_model",
        "measured",
        "mlflow_backend",
        "provenance",
    },
    "runner": {
        "cells",
        "comparison",
        "config",
        "data",
        "estimates",
        "figures",
        "pictures",
        "process",
        "progress",
        "provenance",
        "question",
        "records",
        "standing",
        "tables",
        "tracking",
        "unsent",
        "verdict",
        "work",
    },
    "sampling": {"dimensions", "retries", "space"},
    "schedule": {"declared"},
    "schedules": {"config"},
    "search": {
        "conditional",
        "config",
        "connection",
        "data",
        "dimensions",
        "drawing",
        "interrupts",
        "opening",
        "outcome",
        "process",
        "progress",
        "recovery",
        "retries",
        "sampling",
        "space",
        "tracking",
        "trial",
        "work",
    },
    "send": {"command", "config", "connection", "process", "tracking", "unsent"},
    "space": {"conditional", "config", "declared", "dimensions"},
    "sqlite_store": {"records"},
    "sqlite_uri": set(),
    "standing": {"cells", "config", "question", "records"},
    "start": {"forking", "importing", "new_store", "tracking", "unsent"},
    "study": {
        "command",
        "conditional",
        "config",
        "confirmation",
        "connection",
        "data",
        "declaration",
        "files",
        "listing",
        "options",
        "postgresql",
        "registry",
        "search",
        "space",
        "start",
        "tables",
        "team",
        "verdict",
        "wording",
    },
    "study_figures": set(),
    "tables": {"config", "records", "tracking"},
    "team": {"cluster", "data", "progress", "tracking", "work"},
    "tracking": {
        "api_store",
        "connection",
        "declared",
        "delivery",
        "interrupts",
        "line",
        "measured",
        "mlflow_backend",
        "new_store",
        "process",
        "provenance",
        "records",
        "room",
        "run",
        "sqlite_store",
        "sqlite_uri",
    },
    "training": {
        "backend",
        "config",
        "data",
        "distortion",
        "graph",
        "learning",
        "models",
        "plan",
        "preprocessing",
        "provenance",
        "randomness",
    },
    "trial": {
        "config",
        "connection",
        "importing",
        "interrupts",
        "opening",
        "process",
        "recording",
        "recovery",
        "space",
        "tracking",
        "work",
    },
    "two_models": {"estimates"},
    "unsent": {"config", "measured"},
    "variants": set(),
    "verdict": {"comparison", "estimates", "measured", "records", "tables"},
    "wording": set(),
    "work": {"data", "progress", "tracking"},
}
DOORS = {
    "mlflow": {"mlflow_backend"},
    "optuna": {
        "search",
        "trial",
        "opening",
        "recovery",
        "retries",
        "outcome",
        "sampling",
        "drawing",
    },
    "distributed": {"cluster", "preloaded"},
    "tensorflow": {"backend"},
}
DOORS["keras"] = DOORS["tensorflow"]


def imports(module: str) -> set[str]:
    """All modules that a module's source imports, but for what is imported for types alone."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse((PACKAGE / f"{module}.py").read_text()))
    return found


def test_modules_import_only_what_lies_below_them() -> None:
    modules = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    assert modules == set(ALLOWED)
    for module in modules:
        ours = {name.split(".")[1] for name in imports(module) if name.startswith("mnist_lab.")}
        assert ours == ALLOWED[module], module


def test_there_are_no_circles() -> None:
    left = {module: set(below) for module, below in ALLOWED.items()}
    while left:
        lowest = {module for module, below in left.items() if not below & set(left)}
        assert lowest, left
        left = {module: below for module, below in left.items() if module not in lowest}


def test_each_library_has_its_door() -> None:
    for module in ALLOWED:
        roots = {name.split(".")[0] for name in imports(module)}
        for library, doors in DOORS.items():
            if library in roots:
                assert module in doors, f"{module} imports {library}"


def loaded_after(code: str) -> set[str]:
    """All modules that a fresh process has loaded after running `code`."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\nprint(*sys.modules)"],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.splitlines()[-1].split())


HEAVY = {"tensorflow", "keras", "mlflow", "optuna", "pandas", "numpy", "pydantic", "click"}


def test_importing_the_package_imports_nothing_else() -> None:
    assert not loaded_after("import mnist_lab") & HEAVY


def test_help_imports_nothing_that_computes() -> None:
    for module in ("experiment", "study", "compare", "send", "__main__"):
        code = f"import mnist_lab.{module} as m\ntry: m.main(['--help'])\nexcept SystemExit: pass"
        loaded = loaded_after(code)
        assert not loaded & (HEAVY - {"click", "pydantic"}), module
        assert "click" in loaded


def test_a_command_begins_to_train_without_what_only_its_end_needs() -> None:
    """Statistics, figures and importances: three seconds of imports."""
    modules = ("search", "runner", "cells", "trial", "recording", "team")
    loaded = loaded_after("\n".join(f"import mnist_lab.{module}" for module in modules))
    assert {"tensorflow", "mlflow", "optuna"} <= loaded
    assert not loaded & {"scipy.stats", "sklearn", "matplotlib", "plotly", "fastapi"}


def test_every_public_name_can_be_had() -> None:
    for name in mnist_lab.__all__:
        assert getattr(mnist_lab, name).__doc__, name
        # Importing a module sets it in the package, in place of a public name that it shares.
        assert name == "compare" or not (PACKAGE / f"{name}.py").exists(), name
    assert set(mnist_lab.__all__) <= set(dir(mnist_lab))
