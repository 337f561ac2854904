"""Before an experiment: how many seeds a difference needs, by the spread that is on record."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from mnist_lab.comparison import IMAGES
from mnist_lab.config import UserError
from mnist_lab.estimates import LEVEL, ComparisonError
from mnist_lab.pairing import paired_sd
from mnist_lab.power import POWER, detectable_difference, seeds_needed
from mnist_lab.question import ExperimentDeclaration


def power_report(
    declaration: ExperimentDeclaration,
    images: float,
    recorded: pd.DataFrame,
    results: Path,
    data_sha256: str,
    again: str,
) -> str:
    """How many seeds a difference needs, and what the declared ones can show, in words.

    Args:
        declaration: whose number of variants and seeds count.
        images: the difference, in test images of 10,000, > 0.
        recorded: runs of this experiment's verdict; their spread is taken where there is one.
        results: the committed results of many seeds of the baseline, taken otherwise.
        data_sha256: of the data; results of other data tell nothing.
        again: the command that runs the experiment.

    Raises:
        UserError: there is nothing to compare, or no spread on record.
    """
    comparisons = len(declaration.variants) - 1
    if comparisons < 1:
        raise UserError("--power: the experiment has one variant; there is nothing to compare")
    sd, source = _spread(declaration, recorded, results, data_sha256, again)
    # Holm's first step, which no later step falls short of.
    level = LEVEL / comparisons
    needed = seeds_needed(images / IMAGES, sd, level)
    declared = len(declaration.seeds)
    shown = IMAGES * detectable_difference(sd, declared, level)
    return (
        f"A difference of {images:g} test images of 10,000 needs {needed} seeds.\n"
        f"The {declared} declared seeds can detect one of {shown:.1f} images.\n\n"
        f"Seeds for {POWER:.0%} power of the two-sided paired t-test (noncentral t) at level "
        f"{LEVEL:g}/{comparisons}, Holm's first step; standard deviation of a paired difference "
        f"{sd:.3g}.\nSpread from {source}."
    )


def _spread(
    declaration: ExperimentDeclaration,
    recorded: pd.DataFrame,
    results: Path,
    data_sha256: str,
    again: str,
) -> tuple[float, str]:
    """The standard deviation of a paired difference, and where it is from."""
    finished = recorded[recorded["status"] == "FINISHED"].drop_duplicates(["variant", "seed"])
    try:
        sd = paired_sd(finished, declaration.baseline)
        return sd, f"the {len(finished)} recorded runs of this experiment"
    except ComparisonError:  # fewer than two runs of its baseline
        pass
    if results.is_file():
        try:
            seeds = pd.read_csv(results, comment="#")
            seeds = seeds[(seeds["stage"] == "verdict") & (seeds["data_sha256"] == data_sha256)]
            if len(seeds) > 1:
                return paired_sd(seeds, seeds["variant"].iloc[0]), (
                    f"the {len(seeds)} runs of {results}, as if pairs shared nothing but a number"
                )
        except ComparisonError as error:
            raise UserError(f"--power: {results} gives no spread: {error}") from None
        except (OSError, ValueError, KeyError) as error:
            raise UserError(
                f"--power: {results} is no table of results ({type(error).__name__}: {error}); "
                "expected what `python -m mnist_lab.experiment NAME --output FILE` writes"
            ) from None
    raise UserError(
        "--power: no spread is on record: this experiment has not two runs of its baseline yet, "
        f"and {results} has no two on this data; run the experiment, with two seeds at first\n"
        f"  {again}"
    )
