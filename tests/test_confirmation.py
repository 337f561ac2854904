"""From search to answer: what the search found is confirmed on fresh seeds, and registered."""

from __future__ import annotations

import io
import json
import math
import re
import urllib.request
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest

import mnist_lab as lab
from mnist_lab.confirmation import confirmation_seeds
from mnist_lab.registry import DATA_TAG, Winner, register
from mnist_lab.tracking import open_store
from tests.conftest import Command, Done, served
from tests.samples import write_digits

TINY = """
trials = 2
seed = 3
sampler = "random"

[config]
epochs = 2
batch_size = 100
validation_size = 400

[search]
hidden = { type = "categorical", choices = [8, 32] }
"""
# Two rates, of which one learns and the other hardly moves.
PLANTED = """
trials = 6
sampler = "random"
pruner = "none"

[config]
hidden = 32
epochs = 2
batch_size = 100
validation_size = 400

[search]
learning_rate = { type = "categorical", choices = [1e-7, 1e-2] }
"""


@pytest.fixture
def run(lab_: Command, workspace: Path, small: lab.Dataset) -> Command:
    """Run the study studies/tiny.toml on a part of the digits."""
    (workspace / "studies" / "tiny.toml").write_text(TINY)
    write_digits(workspace / "digits.npz", small)

    def command(*arguments: str, draws: bool = True) -> Done:
        return lab_("study", "tiny", "--data", "digits.npz", *arguments, draws=draws)

    return command


def client() -> mlflow.MlflowClient:
    return mlflow.MlflowClient()


NAME = "tiny data=digits"


def test_seeds_are_those_that_the_search_did_not_use() -> None:
    assert confirmation_seeds(3, [0]) == (10_000, 10_001, 10_002)
    assert confirmation_seeds(3, [10_001, 10_000]) == (10_002, 10_003, 10_004)
    assert confirmation_seeds(2, [7]) == confirmation_seeds(5, [7])[:2]


@pytest.mark.figures
def test_a_study_ends_in_a_confirmed_answer_and_a_champion(
    run: Command, lab_: Command, workspace: Path
) -> None:
    done = run("--confirm", "2", "--output", "one.csv")
    assert done.returncode == 0, done.stderr
    table = lab.runs("tiny")
    confirmed = table[table["stage"] == "confirmation"]
    trials = table[table["trial"].notna()]
    assert len(trials) == 2
    assert len(confirmed) == 4
    best = trials.sort_values("val_accuracy", ascending=False, kind="stable").iloc[0]
    variant = f"trial {best['trial']}"

    # On all images, with seeds of their own, seed by seed; the baseline is the listing itself.
    assert confirmed["name"].tolist() == [
        f"{name} seed {seed}" for seed in (10_000, 10_001) for name in ("baseline", variant)
    ]
    assert not set(confirmed["seed"]) & set(trials["seed"])
    baseline, chosen = (confirmed[confirmed["variant"] == name] for name in ("baseline", variant))
    assert set(baseline["config_digest"]) == {lab.RunConfig().digest()}
    config = lab.RunConfig(hidden=int(best["hidden"]), epochs=2, batch_size=100)
    assert set(chosen["config_digest"]) == {config.digest()}
    assert (confirmed["validation_size"] == 0).all()
    assert set(table["parent"]) == {trials["parent"].iloc[0]}

    # The verdict is that of the public function; it is printed, and on record with the study.
    verdict = lab.compare(confirmed, baseline="baseline")
    parent = client().get_run(trials["parent"].iloc[0])
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["verdict"] == verdict["verdict"][1]
    difference = parent.data.metrics["confirmed_difference"]
    assert difference == pytest.approx(verdict["difference"][1])
    (shown,) = [line for line in done.stdout.splitlines() if line.startswith(f"{variant}  ")]
    assert verdict["verdict"][1] in shown
    assert "all 2,000 training images with seeds 10000 to 10001" in done.stdout
    saved = client().download_artifacts(parent.info.run_id, "verdict.csv", str(workspace))
    assert pd.read_csv(saved)["verdict"].tolist() == verdict["verdict"].tolist()
    figures = client().list_artifacts(parent.info.run_id, "figures/confirmation")
    assert "figures/confirmation/differences.png" in {file.path for file in figures}

    # So are the figures of the search: pictures, and a page that loads nothing from elsewhere.
    pictures = {file.path for file in client().list_artifacts(parent.info.run_id, "figures/search")}
    for stem in ("history", "slices", "importance", "learning_curves"):
        assert f"figures/search/{stem}.png" in pictures
    page = client().download_artifacts(parent.info.run_id, "figures/search.html", str(workspace))
    html = Path(page).read_text()
    assert html.count("Plotly.newPlot(") >= 4
    assert "plotly.js v" in html
    assert not re.findall(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=", html)

    # No run of the confirmation is among the trials, on the screen or in the file.
    best_trials = done.stdout[: done.stdout.index("Best configuration")]
    assert "10000" not in best_trials
    results = pd.read_csv(workspace / "one.csv")
    assert results["stage"].fillna("").tolist() == ["", "", *["confirmation"] * 4]
    assert results["trial"].tolist()[:2] == [0, 1]
    assert {"hidden", "state", "val_accuracy", "test_accuracy"} <= set(results)

    # The model of the first seed is the champion, whichever seed has the best test accuracy.
    version = client().get_model_version_by_alias(NAME, "champion")
    assert version.run_id == chosen["run_id"].iloc[0]
    assert float(version.tags["mnist_lab.metric_value"]) == best["val_accuracy"]

    # Again: nothing is trained, nothing is registered, the results are the same to the byte.
    again = run("--confirm", "2", "--output", "two.csv", draws=False)
    assert again.returncode == 0, again.stderr
    assert "Trained now: 0 runs." in again.stdout
    assert (workspace / "two.csv").read_text() == (workspace / "one.csv").read_text()
    assert [v.version for v in client().search_model_versions()] == [version.version]
    # A verdict is about one trial, and no longer one of the study when another is the best.
    client().set_tag(parent.info.run_id, "confirmed_trial", "99")
    assert run("--confirm", "0", draws=False).returncode == 0
    data = client().get_run(parent.info.run_id).data
    assert data.tags["verdict"] == "none"
    assert math.isnan(data.metrics["confirmed_difference"])
    asks = "Is the best configuration of the search better"
    assert asks in lab_("compare", "tiny").stdout  # about the trial that is the best after all
    client().set_tag(parent.info.run_id, "best_trial", "99")
    assert asks not in lab_("compare", "tiny").stdout
    # A seed more: only that one is trained.
    more = run("--confirm", "3", draws=False)
    assert "Trained now: 2 runs." in more.stdout
    assert lab.runs("tiny")["run_id"].tolist()[:6] == table["run_id"].tolist()
    tags = client().get_run(parent.info.run_id).data.tags
    assert tags["verdict"] != "none"
    assert tags["confirmed_trial"] == tags["best_trial"] == str(best["trial"])


def test_compare_shows_trials_and_confirmation_apart(run: Command, lab_: Command) -> None:
    assert run("--confirm", "2").returncode == 0
    shown = lab_("compare", "tiny")
    assert shown.returncode == 0, shown.stderr
    trials, confirmed, *_ = shown.stdout.split("\n\n")
    assert len(trials.splitlines()) == 4
    assert "COMPLETE" in trials
    assert "baseline seed 10000" not in trials
    assert len(confirmed.splitlines()) == 6
    assert f"{NAME} confirmation" in shown.stdout
    assert "Is the best configuration of the search better than the baseline?" in shown.stdout
    csv = pd.read_csv(io.StringIO(lab_("compare", "tiny", "--format", "csv").stdout))
    assert csv["stage"].tolist()[2:] == ["confirmation"] * 4


def test_without_confirmation_there_is_none(run: Command) -> None:
    done = run("--confirm", "0")
    assert done.returncode == 0, done.stderr
    assert "Confirmation" not in done.stdout
    assert len(lab.runs("tiny")) == 2
    assert client().search_registered_models() == []


def test_a_search_that_is_not_complete_is_not_confirmed(run: Command) -> None:
    done = run("--timeout", "0.001")
    assert done.returncode == 0, done.stderr
    assert "trials are missing" in done.stdout
    assert lab.runs("tiny")["stage"].isna().all()


def test_test_accuracy_chooses_nothing(lab_: Command, workspace: Path, small: lab.Dataset) -> None:
    """A configuration of good test and bad validation accuracy is planted, and is not chosen.

    The labels of the images held out are wrong, so that whoever learns the digits is worse there
    than whoever learns nothing. Those of the test images are right.
    """
    labels = small.train_labels.copy()
    labels[-400:] = (labels[-400:] + 1) % 10
    write_digits(workspace / "planted.npz", small, labels)
    (workspace / "studies" / "tiny.toml").write_text(PLANTED)
    done = lab_("study", "tiny", "--data", "planted.npz", "--confirm", "2")
    assert done.returncode == 0, done.stderr
    table = lab.runs("tiny")
    trials = table[table["trial"].notna()]
    by_rate = trials.groupby("learning_rate")[["val_accuracy", "test_accuracy"]].mean()
    planted, other = by_rate.loc[1e-2], by_rate.loc[1e-7]
    assert planted["test_accuracy"] > other["test_accuracy"] + 0.3
    assert planted["val_accuracy"] < other["val_accuracy"]
    assert "learning_rate = 1e-07" in done.stdout
    confirmed = table[(table["stage"] == "confirmation") & (table["variant"] != "baseline")]
    assert set(confirmed["learning_rate"]) == {1e-7}
    version = client().get_model_version_by_alias("tiny data=planted", "champion")
    assert version.run_id == confirmed["run_id"].iloc[0]


@pytest.mark.slow
def test_a_registry_that_is_away_keeps_nothing_back(
    run: Command, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    done = run("--confirm", "1", "--output", "out.csv")
    assert done.returncode == 2
    assert "did not take 'tiny data=digits'" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(pd.read_csv(workspace / "out.csv")) == 4
    assert "All runs in MLflow" in done.stdout


def test_a_best_configuration_that_is_the_baseline_is_said_to_be_it(
    lab_: Command, run: Command, workspace: Path
) -> None:
    only = (
        TINY.replace("[8, 32]", "[512]")
        .replace("epochs = 2\nbatch_size = 100\n", "")
        .replace("trials = 2", "")
    )
    (workspace / "studies" / "tiny.toml").write_text(only)
    done = run("--trials", "1", "--confirm", "2")
    assert done.returncode == 0, done.stderr
    assert "The best configuration is the baseline itself" in done.stdout
    table = lab.runs("tiny")
    assert table["variant"].tolist() == ["baseline"] * 3
    version = client().get_model_version_by_alias(NAME, "champion")
    assert version.run_id == table["run_id"][1]


def test_the_champion_gives_way_only_to_one_that_is_not_worse(run: Command) -> None:
    assert run("--confirm", "2").returncode == 0
    table = lab.runs("tiny")
    runs = table[table["stage"] == "confirmation"]
    store = open_store()

    def winner(
        place: int,
        value: float,
        metric: str = "val_accuracy",
        tags: dict[str, str] | None = None,
    ) -> Winner:
        row = runs.iloc[place]
        return Winner(str(row["run_id"]), str(row["model_uri"]), metric, value, tags or {})

    first = register(store, "a:b/c", winner(0, 0.9))
    assert (first.name, first.version, first.champion, first.reason) == ("a-b-c", "1", "1", "")
    worse = register(store, "a:b/c", winner(1, 0.8999))
    assert (worse.version, worse.champion) == ("2", "1")
    assert worse.reason == "its val_accuracy in the search, 0.9000, is better"
    equal = register(store, "a:b/c", winner(2, 0.9))
    assert (equal.version, equal.champion) == ("3", "3")
    other = register(store, "a:b/c", winner(3, 0.1, "val_loss"))
    assert other.champion == "3"
    assert "chosen by val_accuracy, not by val_loss" in other.reason
    elsewhere = register(store, "a:b/c", winner(0, 0.99, tags={DATA_TAG: "another"}))
    assert elsewhere.champion == "3"
    # Of a loss the smaller is the better.
    # Nor can what was measured on other images, or averaged over other seeds.
    for number, key in enumerate(("validation_size", "seeds_per_trial")):
        register(store, key, winner(0, 0.5, tags={key: "100"}))
        other = register(store, key, winner(1, 0.9, tags={key: "2"}))
        assert (other.version, other.champion, number) == ("2", "1", number)
        assert other.reason == f"it was chosen with {key} 100, not 2"
    assert register(store, "loss", winner(0, 0.2, "val_loss")).champion == "1"
    assert register(store, "loss", winner(1, 0.3, "val_loss")).champion == "1"
    assert register(store, "loss", winner(2, 0.1, "val_loss")).champion == "3"
    # Another search came to the champion itself: it is told by the new one's metric from now on.
    same = register(store, "loss", winner(2, 0.8))
    assert (same.version, same.champion, same.reason) == ("3", "3", "")
    assert register(store, "loss", winner(0, 0.9)).champion == "1"


@pytest.mark.slow
def test_the_champion_answers_a_raw_image_over_http(
    run: Command, workspace: Path, small: lab.Dataset
) -> None:
    done = run("--confirm", "2")
    printed = re.search(r"mlflow models serve -m '(.+?)' --env-manager local", done.stdout)
    assert printed is not None
    version = client().get_model_version_by_alias(NAME, "champion")
    answers = lab.answers(version.run_id)
    command = ["models", "serve", "-m", printed[1], "--env-manager", "local"]
    with served(workspace, *command, "--host", "127.0.0.1") as port:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/invocations",
            json.dumps({"inputs": small.test_images[:3].tolist()}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            predictions = np.array(json.load(response)["predictions"])
    assert predictions.shape == (3, 10)
    assert predictions.sum(axis=1) == pytest.approx(1, abs=1e-4)
    assert predictions.argmax(axis=1).tolist() == answers[:3].tolist()
