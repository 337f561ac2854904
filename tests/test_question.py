"""What an experiment's file can ask, and how its mistakes are told."""

from __future__ import annotations

from pathlib import Path

import pytest

import mnist_lab as lab
from mnist_lab.declaration import read
from mnist_lab.question import ExperimentDeclaration
from tests.conftest import ROOT
from tests.questions import TUNED


def replaced(*pairs: tuple[str, str]) -> str:
    text = TUNED
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    return text


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("hidden = 8\n\n", "hiden = 8\n\n", "e.toml:15: variants.8.hiden: unknown key; did you"),
        ("hidden = 8\n\n", "hidden = -8\n\n", "e.toml:15: variants.8.hidden.0: -8 is not accepted"),
        ("hidden = 8\n\n", 'variant = "gmpl"\n', "variants.8.variant: no variant 'gmpl'; did you"),
        ('activation = "tanh"', "nesterov = true", "e.toml:19: variants.fixed.nesterov: is not us"),
        ("seeds = 2", "seeds = 1", "e.toml:3: seeds: 1 is not accepted"),
        ("seeds = 2", "seeds = [4]", "e.toml:3: seeds: [4] is not accepted: an interval needs two"),
        ("seeds = 2", "seeds = [4, 5, 4]", "e.toml:3: seeds: 4 is repeated"),
        ("seeds = 2", "seeds = true", "seeds: True is not accepted"),
        ("seeds = 2", "seeds = [1, -1]", "e.toml:3: seeds.1: -1 is not accepted"),
        ("seeds = 2", "seed = 2", "e.toml:3: seed: unknown key; did you mean 'seeds'?"),
        ("seeds = 2", "seeds = 200", "e.toml:4: tuning_seeds: 100, 101 are also in seeds"),
        ("[100, 101]", "[100, 100]", "e.toml:4: tuning_seeds: 100 is repeated"),
        ("[100, 101]", "[]", "e.toml:4: tuning_seeds"),
        ("= 400", "= 0", "e.toml:5: tuning_validation_size: 0 is not accepted"),
        ('baseline = "8"', 'baseline = "fixd"', "'fixd' is no variant of this experiment; did you"),
        ('baseline = "8"', "", "baseline: missing; it must be given"),
        ('baseline = "8"', 'baseline = "8"\nmargin = 0', "e.toml:3: margin: 0 is not accepted"),
        ('activation = "tanh"\n', "tune.epochs = [2, 3]\n", "e.toml:19: variants.fixed.tune.epoch"),
        ("[1e-4, 3e-2]", "[1e-4, 1e-4]", "e.toml:12: tune.learning_rate: candidates [0.0001, 0.0"),
        ("[1e-4, 3e-2]", "[1e-4, -1.0]", "e.toml:12: tune.learning_rate: -1.0 is not accepted"),
        ("[1e-4, 3e-2]", "[]", "e.toml:12: tune.learning_rate"),
        (
            "learning_rate = [1e-4, 3e-2]",
            "hidden = [8, [8]]",
            "hidden: candidates [8, [8]] are not",
        ),
        ("3e-2]", f"3e-2]\nbatch_size = {list(range(1, 130))}", "asks for 258 candidates; at most"),
        ("[1e-4, 3e-2]", "1e-4", "e.toml:12: tune.learning_rate: 0.0001 is not accepted: it shou"),
        (
            "learning_rate = [1e-4",
            "learning_rat = [1e-4",
            "not a field that can be tuned; did you mean 'learni",
        ),
        (
            "learning_rate = [1e-4",
            "validation_size = [1e-4",
            "validation_size: not a field that can be tuned",
        ),
        ("epochs = 2", "epochs = 2\nlearning_rate = 0.1", "is fixed in [config] as well"),
        ("hidden = 8\n\n", "learning_rate = 0.1\n", "e.toml:15: variants.8.learning_rate: is fix"),
        ("[variants.8]", '[variants.""]', "variants.: '' is not accepted as a name"),
        ("[variants.8]", '[variants."a\\nb"]', "is not accepted as a name"),
        ("[variants.8]", '[variants."-"]', "e.toml:14: variants.-: '-' is not accepted as a name"),
    ],
)
def test_a_wrong_experiment_file_names_file_line_and_key(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    path = tmp_path / "e.toml"
    path.write_text(replaced((old, new)))
    with pytest.raises(lab.UserError) as error:
        read(path, ExperimentDeclaration)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("epochs = 2", "epochs = 2\nnesterov = true", "e.toml:9: config.nesterov: is not us"),
        ("epochs = 2", 'epochs = 2\ninitializer = "normal"', "config.initializer_scale: missing"),
        (
            "epochs = 2",
            'epochs = 2\nlearning_rate_schedule = { type = "step", factor = 0.5 }',
            "e.toml:9: config.learning_rate_schedule.every: missing",
        ),
        ("learning_rate = [1e-4", "learning_rat = [1e-4", "e.toml:12: tune.learning_rat: not a f"),
    ],
)
def test_a_mistake_of_all_variants_is_told_once_where_it_was_made(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    path = tmp_path / "e.toml"
    path.write_text(replaced((old, new), ("tune.learning_rate = [1e-2]\n", "")))
    with pytest.raises(lab.UserError) as error:
        read(path, ExperimentDeclaration)
    (line,) = str(error.value).splitlines()
    assert said in line


def test_a_mistake_of_one_variant_is_told_as_its_own(tmp_path: Path) -> None:
    path = tmp_path / "e.toml"
    residual = replaced(("epochs = 2", "epochs = 2\nresidual = true"), ("= 8\n\n", "= [8, 8]\n\n"))
    path.write_text(residual)
    with pytest.raises(lab.UserError) as error:
        read(path, ExperimentDeclaration)
    (line,) = str(error.value).splitlines()
    assert "variants.fixed.residual: needs a hidden layer" in line


def test_a_name_with_a_dot_wants_quotes(tmp_path: Path) -> None:
    path = tmp_path / "e.toml"
    path.write_text(replaced(("[variants.8]", "[variants.0.2]")))
    with pytest.raises(lab.UserError, match=r'unknown key\. A name with a dot .* quotes: "0\.2"'):
        read(path, ExperimentDeclaration)


def test_two_variants_alike_are_both_named(tmp_path: Path) -> None:
    path = tmp_path / "e.toml"
    twin = '\n[variants."twin 0.5"]\nactivation = "relu"\nhidden = [8]\n'
    path.write_text(TUNED + twin)
    with pytest.raises(lab.UserError) as error:
        read(path, ExperimentDeclaration)
    assert f"{path}:22: variants.twin 0.5: is the same as variants.8" in str(error.value)


def test_an_experiment_without_variants_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "e.toml"
    path.write_text('baseline = "a"\nseeds = 2\n[variants]\n')
    with pytest.raises(lab.UserError, match=r"e\.toml:3: variants: "):
        read(path, ExperimentDeclaration)


def test_fields_come_from_config_named_variant_own_and_tuning_in_this_order(
    tmp_path: Path,
) -> None:
    path = tmp_path / "e.toml"
    path.write_text(
        """
baseline = "own"
seeds = [3, 5]
[config]
hidden = 64
activation = "tanh"
epochs = 7
[tune]
learning_rate = [0.1, 0.2]
[variants.own]
variant = "wide"
activation = "elu"
[variants.config]
batch_size = 64
"""
    )
    declaration = read(path, ExperimentDeclaration)
    wide = lab.VARIANTS["wide"].fields["hidden"]
    assert [candidate.config for candidate in declaration.candidates("own")] == [
        lab.RunConfig(hidden=wide, activation="elu", epochs=7, learning_rate=rate)
        for rate in (0.1, 0.2)
    ]
    assert declaration.candidates("config")[1].config == lab.RunConfig(
        hidden=64, activation="tanh", epochs=7, batch_size=64, learning_rate=0.2
    )
    assert declaration.seeds == (3, 5)


@pytest.mark.parametrize("path", sorted((ROOT / "experiments").glob("**/*.toml")), ids=str)
def test_the_shipped_experiments_are_sound(path: Path) -> None:
    declaration = read(path, ExperimentDeclaration)
    assert declaration.question
    assert declaration.claim
    text = path.read_text()
    assert text.startswith("# Claim: ")
    assert f"python -m mnist_lab.experiment {path.stem}\n" in text
    assert "# Expected: " in text
