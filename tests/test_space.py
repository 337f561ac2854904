"""What a study can declare: dimensions, objectives, samplers, and spaces in Python."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest

import mnist_lab as lab
from mnist_lab.conditional import load_space
from mnist_lab.config import RunFields
from mnist_lab.declaration import read
from mnist_lab.dimensions import FloatRange, IntRange
from mnist_lab.space import StudyDeclaration
from tests.conftest import ROOT

GRID = """
trials = 4
sampler = "grid"
pruner = "none"

[search]
hidden = { type = "categorical", choices = [[], [512], [64, 32]] }
dropout = { type = "float", low = 0.0, high = 0.6, step = 0.3 }
epochs = { type = "int", low = 1, high = 5, step = 2 }
"""


def declared(text: str, folder: Path) -> StudyDeclaration:
    path = folder / "s.toml"
    path.write_text(text)
    return read(path, StudyDeclaration)


def test_a_grid_has_all_combinations_and_lists_are_depths(tmp_path: Path) -> None:
    study = declared(GRID, tmp_path)
    points = study.grid()
    assert len(points) == 3 * 3 * 3
    assert points[0] == {"hidden": "[]", "dropout": 0.0, "epochs": 1}
    configs = [study.configuration(study.values(point)) for point in points]
    assert {config.hidden for config in configs} == {(), (512,), (64, 32)}
    assert {config.dropout for config in configs} == {0.0, 0.3, 0.6}
    assert {config.epochs for config in configs} == {1, 3, 5}
    assert study.baseline_parameters() == {"hidden": "[512]", "dropout": 0.0, "epochs": 5}
    assert study.most_epochs == 5


def test_steps_are_counted_as_they_are_written() -> None:
    space = FloatRange(type="float", low=0.1, high=0.7, step=0.1)
    assert list(space.problems()) == []
    assert space.points() == (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
    assert space.holds(0.3)
    assert not space.holds(0.35)
    assert IntRange(type="int", low=8, high=64, step=8).points() == tuple(range(8, 65, 8))
    assert IntRange(type="int", low=8, high=64, log=True).points() == ()


def test_seeds_follow_each_other(tmp_path: Path) -> None:
    study = declared(f"seed = 3\nseeds_per_trial = 4\n{GRID}", tmp_path)
    assert study.seeds == (3, 4, 5, 6)


def test_losses_that_are_not_the_same_are_not_compared(tmp_path: Path) -> None:
    searched = """
[search]
l2 = { type = "float", low = 1e-6, high = 1e-3, log = true }
hidden = { type = "categorical", choices = [8, 16] }
"""
    for goals in ('metric = "val_loss"', 'objectives = ["val_accuracy", "val_loss"]'):
        with pytest.raises(lab.UserError, match=r"search\.l2: makes another loss") as error:
            declared(f'pruner = "none"\n{goals}\n{searched}', tmp_path)
        assert "hidden" not in str(error.value)
    declared(searched, tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("step = 0.3", "step = 0.25", "search.dropout: high 0.6 is no whole number of steps of"),
        ("step = 0.3", "step = 0.25", "0.5 is"),
        ("step = 0.3", "step = -0.3", "search.dropout.step: -0.3 is not accepted"),
        ("low = 1, high = 5, step = 2", "low = 1, high = 5, step = 2, log = true", "epochs.step"),
        ("step = 0.3", "log = false", "search.dropout: has no points for sampler 'grid'; give it"),
        ("trials = 4", "trials = 28", "trials: 28 is more than the 27 points of the grid"),
        ("high = 5, step = 2", f"high = {10**29}", "search.epochs: "),
        (
            "[[], [512], [64, 32]]",
            "[{ a = 1 }]",
            "search.hidden.choices.0: {'a': 1} is not accepted: it should be a finite number",
        ),
        ("[64, 32]]", "512]", "choices [[], [512], 512] are not all different"),
        ("[64, 32]]", "[64, 0]]", "search.hidden: hidden.1: 0 is not accepted"),
        (
            "low = 1, high = 5, step = 2 }",
            "low = 1, high = 5, step = 2 }\npatch_size = { type = 'int', low = 4, high = 14 }",
            "search.patch_size: patch_size: 5 is not accepted: it should be 4, 7 or 14; give those",
        ),
        ('"grid"', '"cmaes"', "search.hidden: is categorical; sampler 'cmaes' searches numbers"),
        ('"grid"', '"cmae"', "did you mean 'cmaes'?"),
        ('"none"', '"halving"', "should be 'median', 'successive_halving', 'hyperband' or 'none'"),
        (
            "trials = 4",
            'trials = 4\nmetric = "val_loss"\nobjectives = ["val_loss", "seconds"]',
            "bo",
        ),
        ("trials = 4", 'objectives = ["val_loss"]', "expected several different ones"),
        ("trials = 4", 'objectives = ["seconds", "val_loss"]', "expected val_accuracy or val_loss"),
        ("trials = 4", 'objectives = ["val_loss", "time"]', "should be 'val_accuracy', 'val_loss'"),
        ("trials = 4", "seeds_per_trial = 0", "seeds_per_trial: 0 is not accepted"),
        ("trials = 4", "seed = 4294967295\nseeds_per_trial = 2", "exceed 2**32"),
        ("trials = 4", 'space = "s.py:space"', "space: and [search] are both given"),
        ("trials = 4", 'space = "../s.py:space"', "should be FILE.py:FUNCTION, with FILE.py"),
        ("trials = 4", "first = { a = 1 }", "first: is not used without space"),
        ("trials = 4", "first = { a = [1] }", "finite number, a text, true or false"),
        ("step = 0.3", "step = 1e-300", "search.dropout.step: 1e-300 is too small"),
        ("step = 0.3", "step = 6e-10", "'grid' has 9,000,000,009 points; at most"),
        ("[64, 32]]", "[512.0]]", "choices [[], [512], [512.0]] are not all different"),
        (
            "trials = 4",
            'objectives = ["val_loss", "seconds"]',
            "objectives: seconds needs 2 epochs or more",
        ),
    ],
)
def test_a_wrong_space_names_key_and_what_would_be_accepted(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    assert old in GRID
    with pytest.raises(lab.UserError) as error:
        declared(GRID.replace(old, new), tmp_path)
    assert said in str(error.value)


def test_what_is_wrong_whatever_is_tried_is_told_once_and_where_it_stands(tmp_path: Path) -> None:
    text = """
[config]
learning_rate_schedule = { type = "one_cycle", until = 1.0 }
validation_size = 10_000

[search]
hidden        = { type = "int", low = 8, high = 16 }
learning_rate = { type = "float", low = 1e-3, high = 1e-2 }
"""
    with pytest.raises(lab.UserError) as error:
        declared(text, tmp_path)
    (line,) = str(error.value).splitlines()
    assert line.startswith(f"{tmp_path}/s.toml:3: config.learning_rate_schedule.until: 1 is over")


def test_several_objectives_cannot_be_pruned(tmp_path: Path) -> None:
    text = (
        'objectives = ["val_accuracy", "parameters"]\n[search]\nhidden = { type = "int", low = 8,'
    )
    with pytest.raises(lab.UserError, match='write pruner = "none"'):
        declared(text + " high = 64 }", tmp_path)


DEPTH = """
def space(trial):
    layers = trial.suggest_int("layers", 1, 3)
    return {"hidden": [trial.suggest_int(f"width_{i}", 16, 64) for i in range(layers)]}
"""


def test_a_function_gives_a_conditional_space(tmp_path: Path) -> None:
    (tmp_path / "depth.py").write_text(DEPTH)
    space = load_space("depth.py:space", tmp_path)
    fixed = RunFields(epochs=2)
    trial = optuna.trial.FixedTrial({"layers": 2, "width_0": 16, "width_1": 32})
    assert space.configuration(trial, fixed) == lab.RunConfig(hidden=(16, 32), epochs=2)
    # Comments do not make it another space; what it does, does.
    (tmp_path / "depth.py").write_text(f"# How deep?\n{DEPTH}")
    assert load_space("depth.py:space", tmp_path).digest == space.digest
    (tmp_path / "depth.py").write_text(DEPTH.replace("1, 3", "1, 4"))
    assert load_space("depth.py:space", tmp_path).digest != space.digest


@pytest.mark.parametrize(
    ("source", "named", "said"),
    [
        (DEPTH, "depths.py:space", "depths.py cannot be read"),
        (DEPTH, "depths.py:space", "did you mean 'depth.py'?"),
        (DEPTH, "depth.py:spaces", "has no function 'spaces'; did you mean 'space'?"),
        ("def space(trial:", "depth.py:space", "depth.py:1: "),
        ("import nowhere", "depth.py:space", "depth.py:1: ModuleNotFoundError"),
        ("def space(trial):\n    return 1 / 0", "depth.py:space", "depth.py:2: space failed: Zero"),
        (
            "def space(trial):\n    return 3",
            "depth.py:space",
            "space gave 3; expected a dictionary",
        ),
        ("def space(t):\n    return {'epochs': 3}", "depth.py:space", "gave epochs, which belongs"),
        ("def space(t):\n    return {'hiden': 3}", "depth.py:space", "did you mean 'hidden'?"),
        ("def space(t):\n    return {'hidden': 0}", "depth.py:space", "{'hidden': 0}: hidden"),
    ],
)
def test_a_wrong_function_is_named_with_its_line(
    tmp_path: Path, source: str, named: str, said: str
) -> None:
    (tmp_path / "depth.py").write_text(source)

    def configuration() -> lab.RunConfig:
        space = load_space(named, tmp_path)
        return space.configuration(optuna.trial.FixedTrial({}), RunFields(epochs=2))

    with pytest.raises(lab.UserError) as error:
        configuration()
    assert said in str(error.value)


@pytest.mark.parametrize("path", sorted((ROOT / "studies").glob("*.toml")), ids=lambda p: p.stem)
def test_the_shipped_studies_say_what_they_claim_and_begin_with_the_baseline(path: Path) -> None:
    study = read(path, StudyDeclaration)
    head = path.read_text().splitlines()
    assert head[0].startswith("# Claim:    ")
    assert head[1].startswith(f"# Command:  python -m mnist_lab.study {path.stem}")
    assert head[2].startswith("# Expected: ")
    assert study.title
    if study.space is None:
        if study.config.model_fields_set <= {"epochs", "validation_size"}:
            assert study.baseline_parameters() is not None
        return
    space = load_space(study.space, path.parent)
    first = space.configuration(optuna.trial.FixedTrial(study.first), study.config)
    assert first.replace(validation_size=0) == lab.RunConfig()


def test_a_wrong_bound_is_blamed_on_its_own_key_alone(tmp_path: Path) -> None:
    text = """
[search]
hidden        = { type = "int", low = 8, high = 16 }
learning_rate = { type = "float", low = 0.0, high = 1e-2 }
"""
    with pytest.raises(lab.UserError) as error:
        declared(text, tmp_path)
    (line,) = str(error.value).splitlines()
    assert line.startswith(f"{tmp_path}/s.toml:4: search.learning_rate: learning_rate: 0.0 is not")


def test_dotted_keys_have_lines_and_a_byte_order_mark_is_none_of_the_text(tmp_path: Path) -> None:
    text = """\ufefftrials = 3
search.hidden.type = "int"
search.hidden.low = 8
search.hidden.high = 7
"""
    with pytest.raises(lab.UserError, match=r"s\.toml:2: search\.hidden: low 8 is not below"):
        declared(text, tmp_path)


@pytest.mark.parametrize("text", ["trials = " + "9" * 5_000, "trials = " + "[" * 5_000])
def test_toml_without_an_end_is_no_toml(tmp_path: Path, text: str) -> None:
    with pytest.raises(lab.UserError, match=r"s\.toml:1: trials: not TOML"):
        declared(text, tmp_path)


def test_a_choice_of_0_is_the_baselines_0(tmp_path: Path) -> None:
    text = "[search]\ndropout = { type = 'categorical', choices = [0, 0.2] }"
    assert declared(text, tmp_path).baseline_parameters() == {"dropout": 0}


def test_a_space_is_python_as_any_other_file(tmp_path: Path) -> None:
    (tmp_path / "d.py").write_text(
        """
from dataclasses import dataclass, fields

@dataclass
class Widths:
    first: int

def space(trial):
    assert fields(Widths)[0].type is int
    return {"hidden": trial.suggest_int("width", 8, 16)}
"""
    )
    trial = optuna.trial.FixedTrial({"width": 9})
    found = load_space("d.py:space", tmp_path).configuration(trial, RunFields())
    assert found == lab.RunConfig(hidden=9)


def test_a_step_that_a_sampler_counted_in_doubles_is_the_one_that_is_meant(tmp_path: Path) -> None:
    study = declared(
        "[search]\ndropout = { type = 'float', low = 0.0, high = 0.7, step = 0.1 }", tmp_path
    )
    for step in range(8):
        assert study.values({"dropout": 0.0 + step * 0.1}) == {"dropout": step / 10}


def test_a_number_of_trials_that_nobody_gave_is_said_to_be_the_default(tmp_path: Path) -> None:
    text = 'sampler = "grid"\npruner = "none"\n[search]\n'
    with pytest.raises(lab.UserError, match="trials: 20, the default, is more than the 2 points"):
        declared(text + "epochs = { type = 'int', low = 1, high = 2 }", tmp_path)
