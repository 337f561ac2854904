"""Draws a search for its run on record: figures as PNG, and one interactive page by Optuna."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Iterator
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
from optuna.trial import FrozenTrial, TrialState

from mnist_lab.outcome import finished
from mnist_lab.space import StudyDeclaration
from mnist_lab.tracking import Run, Store

_DRAWN = "drawn"  # the run with the figures, and how many trials they show
# More would make squares too small to read.
_CONTOUR_PARAMETERS = 4


def draw(
    parent: Run,
    declaration: StudyDeclaration,
    study: optuna.Study,
    others: Collection[str],
    name: str,
    store: Store,
) -> None:
    """Put the figures of a search on record, unless they are there and show all its trials.

    Args:
        parent: the study's run; gets figures/search/*.png and figures/search.html.
        declaration: of the study.
        study: in its storage.
        others: the runs of other studies of its name.
        name: of the MLflow experiment.
        store: where the trials' epochs are recorded.
    """
    done = finished(study)
    drawn_already = [parent.id, len(done)]
    if not done or study.user_attrs.get(_DRAWN) == drawn_already:
        return
    # Only what has something to draw pays for the import of matplotlib.
    from mnist_lab import pictures
    from mnist_lab.figures import save_all
    from mnist_lab.study_figures import figures_of_search
    from mnist_lab.tables import runs

    goals = declaration.goals
    parameters = list(dict.fromkeys(key for trial in done for key in trial.params))
    table = runs(name, store)
    table = table[(table["study"] == study.study_name) & table["trial"].notna()]
    table = table[~table["parent"].isin(others)]
    drawn = pictures.of_study(table, name, store) if len(table) else {}
    importances = _importances(study)
    drawn |= figures_of_search(_table(done, declaration), goals, parameters, importances)
    parent.log_text("figures/search.html", _page(study, declaration, importances))
    with tempfile.TemporaryDirectory() as folder:
        save_all(drawn, Path(folder))
        parent.log_folder(Path(folder), "figures/search")
    study.set_user_attr(_DRAWN, drawn_already)


def _table(done: list[FrozenTrial], declaration: StudyDeclaration) -> pd.DataFrame:
    """A row a trial; one that was pruned has what it reported last."""
    rows = []
    for trial in done:
        values: list[float] = trial.values or []
        if not values and trial.intermediate_values:
            values = [trial.intermediate_values[max(trial.intermediate_values)]]
        row: dict[str, Any] = {"trial": trial.number, "state": trial.state.name, **trial.params}
        missing = [float("nan")] * (len(declaration.goals) - len(values))
        row.update(zip(declaration.goals, [*values, *missing], strict=True))
        rows.append(row)
    return pd.DataFrame(rows)


def _importances(study: optuna.Study) -> dict[str, float]:
    """The parameters' main effects on the first goal by fANOVA, as shares of their sum.

    Empty where nothing can be told.
    """
    complete = study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
    if len(complete) < 2 or len({trial.values[0] for trial in complete}) < 2:
        return {}
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    try:
        shares = optuna.importance.get_param_importances(
            study, evaluator=evaluator, target=lambda trial: float(trial.values[0])
        )
    except (RuntimeError, ValueError):  # no parameter is in all trials, or each has one value
        return {}
    return shares if np.isfinite(list(shares.values())).all() else {}


def _page(
    study: optuna.Study,
    declaration: StudyDeclaration,
    importances: dict[str, float],
) -> str:
    """One page with all interactive figures; plotly's code stands in it, once."""
    parts = []
    for place, figure in enumerate(_plots(study, declaration, importances)):
        parts.append(
            figure.to_html(
                full_html=False, include_plotlyjs=place == 0, config={"displaylogo": False}
            )
        )
    title = escape(study.study_name)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>'
        f"\n</head>\n<body>\n<h1>{title}</h1>\n" + "\n".join(parts) + "\n</body>\n</html>\n"
    )


def _plots(
    study: optuna.Study, declaration: StudyDeclaration, importances: dict[str, float]
) -> Iterator[Any]:
    """The figures for which there is something to draw."""
    # plotly takes a second to import, and only this page needs it.
    from optuna import visualization

    goals: list[str] = list(declaration.goals)
    complete = study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
    several = len(goals) > 1
    how: dict[str, Any] = {"target_name": goals[0]}
    if several:
        how["target"] = lambda trial: trial.values[0]
        if complete and len(goals) < 4:
            yield visualization.plot_pareto_front(study, target_names=goals)
    yield visualization.plot_optimization_history(study, **how)
    if not several:
        yield visualization.plot_intermediate_values(study)
    if len(complete) < 2:
        return
    if importances:
        target = how.get("target", lambda trial: trial.value)
        yield visualization.plot_param_importances(
            study, evaluator=_Evaluated(importances), target=target, target_name=goals[0]
        )
    parameters = list(dict.fromkeys(key for trial in complete for key in trial.params))
    ranked = sorted(parameters, key=lambda key: -importances.get(key, 0.0))
    yield visualization.plot_slice(study, ranked, **how)
    yield visualization.plot_parallel_coordinate(study, ranked, **how)
    if len(ranked) > 1:
        yield visualization.plot_contour(study, ranked[:_CONTOUR_PARAMETERS], **how)


class _Evaluated(optuna.importance.BaseImportanceEvaluator):
    """Has the importances already: fANOVA takes most of a second."""

    def __init__(self, importances: dict[str, float]) -> None:
        self._importances = importances

    def evaluate(
        self,
        study: optuna.Study,
        params: list[str] | None = None,
        *,
        target: Callable[[FrozenTrial], float] | None = None,
    ) -> dict[str, float]:
        """Each parameter's share."""
        return self._importances
