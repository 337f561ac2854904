"""How many seeds an experiment needs, in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from mnist_lab.config import UserError
from mnist_lab.pairing import paired_sd
from mnist_lab.planning import power_report
from mnist_lab.power import detectable_difference, seeds_needed
from mnist_lab.question import ExperimentDeclaration
from tests.samples import noise, table


def declared(variants: int) -> ExperimentDeclaration:
    others = {f"v{width}": {"hidden": [width]} for width in range(1, variants)}
    return ExperimentDeclaration.model_validate(
        {
            "title": "Width",
            "question": "How wide?",
            "claim": "Wide.",
            "baseline": "baseline",
            "seeds": 7,
            "variants": {"baseline": {}, **others},
        }
    )


def test_power_is_that_of_holms_first_step() -> None:
    runs = table(baseline=noise(1, 6), v1=noise(2, 6), v2=noise(3, 6))
    told = power_report(declared(6), 30, runs, Path("none.csv"), "", "again")
    sd = paired_sd(runs)
    shown = 10_000 * detectable_difference(sd, 7, 0.01)
    assert f"of 30 test images of 10,000 needs {seeds_needed(0.003, sd, 0.01)} seeds" in told
    assert f"The 7 declared seeds can detect one of {shown:.1f} images" in told
    assert "at level 0.05/5, Holm's first step" in told


def test_one_variant_alone_has_no_power() -> None:
    with pytest.raises(UserError, match="nothing to compare"):
        power_report(declared(1), 30, table(baseline=noise(1, 6)), Path("none.csv"), "", "again")


_HEAD = "stage,data_sha256,variant,seed,test_accuracy\n"


def test_without_a_spread_it_says_what_gives_one(tmp_path: Path) -> None:
    results = tmp_path / "seeds.csv"
    for text, said in (
        (None, r"two seeds at first\n  again"),
        ("", "seeds.csv is no table of results"),
        ("a,b\n1,2\n", "seeds.csv is no table of results"),
        ("stage,data_sha256\nverdict,other\n", r"no two on this data"),
        ("stage,data_sha256\nverdict,this\nverdict,this\n", "seeds.csv is no table of results"),
        (f"{_HEAD}verdict,this,a,0,0.9\nverdict,this,b,0,0.8\n", "seeds.csv gives no spread: "),
    ):
        if text is not None:
            results.write_text(text)
        with pytest.raises(UserError, match=said):
            power_report(declared(2), 30, table(baseline=[0.9]), results, "this", "again")
