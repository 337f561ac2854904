from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import matplotlib.image
import pandas as pd
import pytest

import mnist_lab as lab
from mnist_lab.compare import _run
from mnist_lab.tracking import Store
from tests.conftest import ROOT, Command, environment
from tests.samples import write_digits

BIAS = """
title = "Two widths"
question = "Does width help?"
baseline = "8"
seeds = 2

[config]
batch_size = 100
epochs = 1

[variants.8]
hidden = 8

[variants.16]
hidden = 16
"""

SEARCH = """
trials = 2

[config]
epochs = 1
batch_size = 100
validation_size = 400

[search]
hidden = { type = "categorical", choices = [8, 16] }
"""


@pytest.fixture
def recorded(lab_: Command, workspace: Path, small: lab.Dataset) -> Path:
    """A folder where the experiment `widths` has been run on a part of the digits."""
    (workspace / "experiments").mkdir()
    (workspace / "experiments" / "widths.toml").write_text(BIAS)
    write_digits(workspace / "digits.npz", small)
    done = lab_("experiment", "widths", "--data", "digits.npz", draws=False)
    assert done.returncode == 0, done.stderr
    return workspace


# Each order in a process that has imported nothing of the lab, only what takes long.
_ORDERS = """
import os
import sys
import pandas as pd
import scipy.stats
ORDERS = [
    "import mnist_lab as lab; compare = lab.compare",
    "import mnist_lab as lab; import mnist_lab.compare; compare = lab.compare",
    "import mnist_lab.compare; import mnist_lab as lab; compare = lab.compare",
    "import mnist_lab as lab; lab.compare; import mnist_lab.compare; compare = lab.compare",
    "from mnist_lab import compare; import mnist_lab.compare",
    "from mnist_lab.compare import main; from mnist_lab import compare",
]
for imports in ORDERS:
    assert "mnist_lab" not in sys.modules
    if child := os.fork():
        assert os.waitpid(child, 0)[1] == 0, imports
        continue
    exec(imports)
    runs = pd.DataFrame({"variant": list("aabb"), "seed": [0, 1, 0, 1]})
    runs["test_accuracy"] = [0.9, 0.91, 0.95, 0.97]
    table = compare(runs, by="variant", baseline="a")
    assert table["verdict"][0] == "baseline"
    assert abs(table["difference"][1] - 0.055) < 1e-12
    from mnist_lab.compare import main
    assert main.name == "main"
    sys.exit()
"""


def test_compare_is_a_function_in_whatever_order_it_is_imported() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _ORDERS],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_an_experiment_shows_its_runs_and_its_verdict(
    lab_: Command, recorded: Path, small: lab.Dataset
) -> None:
    experiment = lab_("experiment", "widths", "--data", "digits.npz")
    shown = lab_("compare", "widths")
    assert shown.returncode == 0, shown.stderr
    # The runs by variant and seed: none is ranked above another.
    lines = shown.stdout.splitlines()[2:6]
    assert [" ".join(line.split()[:3]) for line in lines] == [
        "8 seed 0",
        "8 seed 1",
        "16 seed 0",
        "16 seed 1",
    ]
    # The verdict is the experiment's own, word for word.
    verdict = experiment.stdout[experiment.stdout.index("Title:") :]
    verdict = verdict[: verdict.index("All runs as a table")].strip()
    assert "paired t-test" in verdict
    assert verdict in shown.stdout
    # For machines there are the runs alone.
    csv = pd.read_csv(io.StringIO(lab_("compare", "widths", "--format", "csv").stdout))
    assert len(csv) == 4
    records = json.loads(lab_("compare", "widths", "--format", "json").stdout)
    assert [record["variant"] for record in records] == ["8", "8", "16", "16"]


@pytest.mark.slow
@pytest.mark.figures
def test_figures_are_written(lab_: Command, recorded: Path) -> None:
    done = lab_("compare", "widths", "--data", "digits.npz", "--figures", "pictures/of/it")
    assert done.returncode == 0, done.stderr
    written = sorted((recorded / "pictures" / "of" / "it").iterdir())
    assert [path.stem for path in written] == [
        "accuracy_parameters",
        "accuracy_seconds",
        "confusion",
        "differences",
        "learning_curves",
        "misclassified",
    ]
    for path in written:
        assert matplotlib.image.imread(path).std() > 0.01, path
        assert str(path.relative_to(recorded)) in done.stderr

    # Digits that the runs have not seen are not drawn.
    done = lab_("compare", "widths", "--figures", "others")
    assert "trained on other data than mnist" in done.stderr
    assert not (recorded / "others" / "misclassified.png").exists()
    assert (recorded / "others" / "differences.png").exists()

    (recorded / "file").write_text("")
    done = lab_("compare", "widths", "--figures", "file/x")
    assert done.returncode == 2
    assert "--figures: file/x: cannot be written" in done.stderr


@pytest.mark.figures
def test_a_study_has_figures_of_its_trials(lab_: Command, workspace: Path, recorded: Path) -> None:
    (workspace / "studies" / "widths.toml").write_text(SEARCH)
    searched = lab_("study", "widths", "--data", "digits.npz", "--confirm=0", draws=False)
    assert searched.returncode == 0, searched.stderr
    # Study and experiment of one name lie side by side, and neither disturbs the other.
    done = lab_("compare", "widths", "--figures", "drawn", "--data", "digits.npz")
    assert done.returncode == 0, done.stderr
    assert (workspace / "drawn" / "study" / "learning_curves.png").is_file()
    assert (workspace / "drawn" / "differences.png").is_file()
    assert "6 runs" in done.stdout
    assert "Does width help?" in done.stdout


def test_two_models_are_compared_image_by_image(
    lab_: Command, recorded: Path, small: lab.Dataset
) -> None:
    table = lab.runs("widths").set_index("name")
    a, b = table.loc["8 seed 1"], table.loc["16 seed 0"]
    answers_a, answers_b = (lab.answers(str(run["run_id"])) for run in (a, b))
    right = [given == small.test_labels for given in (answers_a, answers_b)]
    assert [one.mean() for one in right] == [a["test_accuracy"], b["test_accuracy"]]
    options = ("--data", "digits.npz", "--mcnemar")
    by_name = lab_("compare", "widths", *options, "8 seed 1", "16 seed 0")
    assert by_name.returncode == 0, by_name.stderr
    for label, count in (
        ("both right", (right[0] & right[1]).sum()),
        ("only a", (right[0] & ~right[1]).sum()),
        ("only b", (~right[0] & right[1]).sum()),
        ("both wrong", (~right[0] & ~right[1]).sum()),
    ):
        (line,) = [line for line in by_name.stdout.splitlines() if line.startswith(label)]
        assert str(count) in line.split(), label
    found = lab.mcnemar(answers_a, answers_b, small.test_labels)
    assert f"p {found.p:.2g} (McNemar, exact)" in by_name.stdout
    by_id = lab_("compare", "widths", *options, a["run_id"][:8], b["run_id"])
    assert by_id.stdout == by_name.stdout
    written = lab_("compare", "widths", "--output", "two.txt", *options, "8 seed 1", "16 seed 0")
    assert written.returncode == 0, written.stderr
    assert written.stdout == ""
    assert (recorded / "two.txt").read_text() == by_name.stdout

    for options_, named in (
        (("--figures", "drawn", "--data", "nowhere"), "nowhere: no such file or folder"),
        (("--figures", "/proc/drawn"), "--figures: /proc/drawn: cannot be written"),
    ):
        wrong = lab_("compare", "widths", "--output", "table.txt", *options_)
        assert wrong.returncode == 2
        assert named in wrong.stderr
        assert not (recorded / "table.txt").exists()
    for runs, said in (
        (("8 seed 1", "16 sed 0"), "no finished run '16 sed 0'; did you mean '16 seed 0'?"),
        (("", "16 seed 0"), "no finished run ''"),
        ((a["run_id"][:7], "16 seed 0"), "the first 8 characters or more of its id"),
    ):
        wrong = lab_("compare", "widths", *options, *runs)
        assert wrong.returncode == 2
        assert said in wrong.stderr
    wrong = lab_("compare", "widths", "--mcnemar", "8 seed 1", "16 seed 0")
    assert wrong.returncode == 2
    assert "'8 seed 1' was trained on other data than mnist; give it as --data" in wrong.stderr


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--format", "csv"], "--format csv cannot"),
        (["--figures", "drawn"], "--figures drawn cannot"),
        (["--format=json", "--figures=drawn"], "--format json and --figures drawn cannot"),
    ],
)
def test_what_two_models_cannot_have_is_refused(
    lab_: Command, workspace: Path, options: list[str], named: str
) -> None:
    done = lab_("compare", "widths", "--mcnemar", "8 seed 1", "16 seed 0", *options)
    assert done.returncode == 2
    assert f"{named} be given with --mcnemar" in done.stderr
    assert done.stdout == ""
    assert not (workspace / "drawn").exists()


def test_of_runs_of_one_name_those_of_the_data_count(mnist: lab.Dataset) -> None:
    table = pd.DataFrame(
        {
            "status": "FINISHED",
            "name": "8 seed 0",
            "trial": pd.array([None, None, None], "Int64"),
            "run_id": ["a" * 32, "b" * 32, "c" * 32],
            "data_sha256": ["other", mnist.sha256, mnist.sha256],
            "start_time": pd.to_datetime(["2026-01-01", "2026-01-02", "2026-01-03"], utc=True),
        }
    )
    assert _run(table[:2], "8 seed 0", mnist)["run_id"] == "b" * 32
    with pytest.raises(lab.UserError, match=r"fits 2 runs.*: b{12} of 2026-01-02 00:00, c{12} of"):
        _run(table, "8 seed 0", mnist)


def test_a_study_without_a_complete_trial_has_no_figures(lab_: Command, store: Store) -> None:
    tags = {"kind": "training", "study": "s", "trial": "0", "trial_state": "FAIL"}
    with (
        pytest.raises(OSError, match="gone"),
        store.run(store.experiment("s"), "trial 0", tags=tags),
    ):
        raise OSError("gone")
    done = lab_("compare", "s", "--figures", "drawn")
    assert done.returncode == 0, done.stderr
    assert "No figures" in done.stderr
    assert list(Path("drawn").iterdir()) == []


def test_data_that_nothing_looks_at_are_refused(lab_: Command, workspace: Path) -> None:
    done = lab_("compare", "widths", "--data", "digits.npz")
    assert done.returncode == 2
    assert "--data is for what looks at images: --figures and --mcnemar" in done.stderr


def test_a_run_without_answers_is_named(recorded: Path) -> None:
    run_id = lab.runs("widths")["run_id"][0]
    (path,) = recorded.glob(f"mlruns/*/{run_id}/artifacts/test_answers.npy")
    path.unlink()
    with pytest.raises(lab.UserError, match=f"run {run_id} has no test_answers.npy"):
        lab.answers(run_id)
