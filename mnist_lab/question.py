"""What the file of an experiment declares: a question, its variants and its seeds."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError

from mnist_lab.config import RunConfig, RunFields
from mnist_lab.declared import Declared, as_tuple, describe, nearest
from mnist_lab.variants import VARIANTS

# What is put on record as a tag of the parent run has to fit into one.
_MOST_SEEDS = 600
_MOST_VARIANTS = 80
_MOST_CANDIDATES = 256
# What is typed without quotes in a shell and read without doubt in a table.
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 _.,+=()-]{0,58}[A-Za-z0-9_.+)])?")


def _seeds(value: object) -> object:
    """A single number stands for that many seeds, from 0 on."""
    if isinstance(value, int) and not isinstance(value, bool) and 2 <= value <= _MOST_SEEDS:
        return tuple(range(value))
    if isinstance(value, list | tuple):
        return tuple(value)
    raise ValueError(
        f"should be a number of seeds from 2 (an interval needs two) to {_MOST_SEEDS}, or a list"
    )


Text = Annotated[str, Field(max_length=2_000)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Grid = dict[str, Annotated[tuple[Any, ...], BeforeValidator(as_tuple), Field(min_length=1)]]


class VariantFields(RunFields):
    """A variant: fields of `RunConfig` over those of [config].

    Attributes:
        variant: a name of `mnist_lab.variants.VARIANTS`, whose fields come before its own.
        tune: candidates of this variant, key by key in place of those of [tune]; a list of one
            sets the field without tuning.
    """

    variant: str | None = None
    tune: Grid = Field(default_factory=dict)


@dataclass(frozen=True)
class Candidate:
    """One configuration that a variant may have.

    Attributes:
        config: of its training.
        tuned: the values of the tuned fields, empty for a variant that is not tuned.
    """

    config: RunConfig
    tuned: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        """The tuned values: "learning_rate=0.001, batch_size=64"."""
        texts = self.config.params()
        return ", ".join(f"{key}={texts[key]}" for key in self.tuned)


class ExperimentDeclaration(Declared):
    """Variants of one network, trained with the same seeds and compared with a baseline.

    A variant's fields are, the later over the earlier: the baseline's defaults, [config], those
    of the named variant, its own, and what was tuned. With [tune], each variant is first trained
    with every candidate (every combination, where several fields are tuned) and the tuning seeds,
    on all but the last `tuning_validation_size` training images; it gets the candidate of the
    best mean accuracy on these images. The seeds of the verdict play no part in that, nor do test
    images. A variant that needs other candidates than [tune] has names them itself::

        [variants.sgd]
        optimizer = "sgd"
        tune.learning_rate = [0.01, 0.03, 0.1]

    Attributes:
        title: one line for the reader.
        question: what is asked.
        claim: what was expected before it was measured.
        baseline: the variant that the others are compared with.
        seeds: the seeds of every variant; a number N stands for 0 to N - 1.
        margin: variants whose difference certainly lies within so many test images of 10,000
            are equivalent; by default `mnist_lab.comparison.MARGIN`.
        tuning_seeds: the seeds of tuning.
        tuning_validation_size: the last training images, held out while tuning.
        config: fields of `RunConfig` that are common to all variants.
        variants: the variants by name.
        tune: candidates of fields that are tuned for each variant.
    """

    title: Text = ""
    question: Text = ""
    claim: Text = ""
    baseline: str
    seeds: Annotated[tuple[Seed, ...], BeforeValidator(_seeds), Field(max_length=_MOST_SEEDS)]
    margin: float | None = Field(default=None, gt=0.0, le=10_000.0)
    tuning_seeds: Annotated[
        tuple[Seed, ...], BeforeValidator(as_tuple), Field(min_length=1, max_length=_MOST_SEEDS)
    ] = (1_000,)
    tuning_validation_size: int = Field(default=10_000, ge=1)
    config: RunFields = RunFields()
    variants: dict[str, VariantFields] = Field(min_length=1, max_length=_MOST_VARIANTS)
    tune: Grid = Field(default_factory=dict)

    def problems(self) -> Iterator[tuple[str, str]]:
        """Mistakes in seeds, names, fields and grids."""
        yield from self._seed_problems()
        names = list(self.variants)
        if self.baseline not in names:
            hint = nearest(self.baseline, names) or "."
            yield (
                "baseline",
                f"'{self.baseline}' is no variant of this experiment{hint} "
                f"Variants: {', '.join(names)}",
            )
        of_variants = {name: list(self._variant_problems(name)) for name in names}
        # What [config] makes wrong for all of them is a mistake there.
        common = set.intersection(
            *(
                {(key.removeprefix(f"variants.{name}."), what) for key, what in found}
                for name, found in of_variants.items()
            )
        )
        of_config = set(self.config.problems())
        for name, found in of_variants.items():
            own = self.variants[name].model_fields_set
            for place, what in found:
                key = place.removeprefix(f"variants.{name}.")
                is_shared = (key, what) in common and (
                    key in self.config.model_fields_set - own or (key, what) in of_config
                )
                yield f"config.{key}" if is_shared else place, what
        sound = [name for name in names if not of_variants[name]]
        first: dict[tuple[str, ...], str] = {}
        for name in sound:
            same = tuple(sorted(candidate.config.digest() for candidate in self.candidates(name)))
            if same in first:
                yield (
                    f"variants.{name}",
                    f"is the same as variants.{first[same]}: with [config], all their fields are "
                    "equal; change one, or leave one out",
                )
            first.setdefault(same, name)

    def candidates(self, variant: str) -> list[Candidate]:
        """The configurations that a variant may have, in the order of the file; one if not tuned.

        Of a tuning run, `tuning_config` gives the configuration.
        """
        fields, grid = self._fields(variant), self.grid(variant)
        combinations = itertools.product(*grid.values())
        return [
            Candidate(RunConfig(**{**fields, **tuned}), tuned)
            for tuned in (dict(zip(grid, values, strict=True)) for values in combinations)
        ]

    def tuning_config(self, candidate: Candidate) -> RunConfig:
        """The configuration that a candidate is tuned with."""
        return candidate.config.replace(validation_size=self.tuning_validation_size)

    def grid(self, variant: str) -> dict[str, tuple[Any, ...]]:
        """The candidates of each tuned field of a variant."""
        return {**self.tune, **self.variants[variant].tune}

    def held_out(self) -> dict[str, int]:
        """How many of the last training images the runs hold out, by the key that says so."""
        sizes = {}
        for name, own in self.variants.items():
            is_own = "validation_size" in own.model_fields_set
            key = f"variants.{name}.validation_size" if is_own else "config.validation_size"
            sizes[key] = self.candidates(name)[0].config.validation_size
        if any(self.is_tuned(name) for name in self.variants):
            sizes["tuning_validation_size"] = self.tuning_validation_size
        return sizes

    def is_tuned(self, variant: str) -> bool:
        """Whether a variant has a choice of candidates."""
        return any(len(values) > 1 for values in self.grid(variant).values())

    def tuned_by(self, variant: str) -> dict[str, Any]:
        """All that decides how a variant is tuned: grid, seeds, validation images."""
        if not self.is_tuned(variant):
            return {}
        return {
            **{f"tune.{key}": list(values) for key, values in self.grid(variant).items()},
            "tuning_seeds": list(self.tuning_seeds),
            "tuning_validation_size": self.tuning_validation_size,
        }

    def _fields(self, variant: str) -> dict[str, Any]:
        """A variant's fields before tuning."""
        own = self.variants[variant]
        named = VARIANTS[own.variant].fields if own.variant is not None else {}
        return {**_given(self.config), **named, **_given(own)}

    def _seed_problems(self) -> Iterator[tuple[str, str]]:
        if len(self.seeds) < 2:
            yield "seeds", f"{list(self.seeds)} is not accepted: an interval needs two seeds"
        tuned = any(self.is_tuned(name) for name in self.variants)
        for key in ("seeds", "tuning_seeds"):
            seeds = getattr(self, key)
            repeated = sorted({seed for seed in seeds if seeds.count(seed) > 1})
            if repeated:
                yield key, f"{_listed(repeated)} repeated; each seed counts once"
        if tuned and (shared := sorted({*self.seeds} & {*self.tuning_seeds})):
            yield (
                "tuning_seeds",
                f"{_listed(shared)} also in seeds; what was chosen by a seed would be judged by it",
            )

    def _variant_problems(self, name: str) -> Iterator[tuple[str, str]]:
        own = self.variants[name]
        place = f"variants.{name}"
        if not _NAME.fullmatch(name):
            yield (
                place,
                f"{name!r} is not accepted as a name: it should begin with a letter or digit and "
                "have at most 60 letters, digits, spaces and any of _ . , + = ( ) -",
            )
        if own.variant is not None and own.variant not in VARIANTS:
            hint = nearest(own.variant, VARIANTS) or "."
            yield (
                f"{place}.variant",
                f"no variant '{own.variant}'{hint} Known: {', '.join(VARIANTS)}",
            )
            return
        combinations = math.prod(len(values) for values in self.grid(name).values())
        if combinations > _MOST_CANDIDATES:
            yield (
                f"{place}.tune" if own.tune else "tune",
                f"asks for {combinations:,} candidates; at most {_MOST_CANDIDATES} are accepted",
            )
            return
        wrong = list(self._grid_problems(name))
        yield from wrong
        if wrong:
            return
        grid = self.grid(name)
        for values in itertools.product(*grid.values()):
            fields = {**self._fields(name), **dict(zip(grid, values, strict=True))}
            found = list(RunFields(**fields).problems())
            yield from ((f"{place}.{key}", what) for key, what in found)
            if found:
                return

    def _grid_problems(self, name: str) -> Iterator[tuple[str, str]]:
        """Grids that cannot be used, those of [tune] as well as the variant's own."""
        own = self.variants[name]
        fields = [key for key in RunFields.model_fields if key != "validation_size"]
        for key, values in self.grid(name).items():
            place = f"variants.{name}.tune.{key}" if key in own.tune else f"tune.{key}"
            if key not in fields:
                hint = nearest(key, fields) or "."
                yield place, f"not a field that can be tuned{hint} Known: {', '.join(fields)}"
                continue
            if key in own.model_fields_set:
                yield (
                    f"variants.{name}.{key}",
                    f"is fixed here and tuned by {place}; to fix it for this variant alone, write "
                    f"tune.{key} = [{values[0]!r}] with the one value",
                )
            if key in self.config.model_fields_set:
                yield place, "is fixed in [config] as well; it can be one or the other"
            accepted = []
            for value in values:
                try:
                    accepted.append(getattr(RunFields(**{key: value}), key))
                except ValidationError as error:
                    yield from ((place, what) for _, what in describe(error, RunFields))
            if any(value in accepted[:i] for i, value in enumerate(accepted)):
                yield place, f"candidates {list(values)} are not all different"


def _given(fields: RunFields) -> dict[str, Any]:
    """The fields of `RunConfig` that a table of the file sets."""
    return {
        key: getattr(fields, key)
        for key in RunFields.model_fields
        if key in fields.model_fields_set
    }


def _listed(seeds: list[int]) -> str:
    shown = ", ".join(map(str, seeds[:10])) + (", …" if len(seeds) > 10 else "")
    return f"{shown} {'is' if len(seeds) == 1 else 'are'}"
