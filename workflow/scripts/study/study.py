"""A study: all that decides what is certified, and what is made of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import Field, SerializeAsAny

from dds.keys import Keys, Line, Text, Whole, each_once, key
from dds.origins import DataFile
from study.artefacts import Check, Figure, Table
from study.attacks import Attack
from study.datasets import Dataset
from study.entries import Name
from study.experiments import Experiment
from study.models import Model, ModelName

Seed = Annotated[Whole, Field(ge=0, lt=2**63)]
Experiments = Annotated[dict[Name, SerializeAsAny[Experiment]], Field(min_length=1)]


class StudyKeys(Keys):
    """A study file, one in config/studies/ or a user's own."""

    like: str | None = key(
        "Another study, which this one changes: mappings are merged key by key, `null` leaves "
        "out what the other has, and anything else stands in the place of what the other has "
        "(a JSON Merge Patch, RFC 7396). Among the `arguments` of a model `null` is a value; to "
        "leave one out, write its default.",
        None,
        allowed="a name in `config/studies/` without its ending, or the path of a study file",
    )
    seed: Seed = key(
        "Keys every random choice of the study: noise, training, splits.",
        allowed="whole number, at least 0",
    )
    datasets: dict[Name, SerializeAsAny[Dataset]] = key("The datasets by name.", paper="4")
    models: dict[ModelName, SerializeAsAny[Model]] = key(
        "The study's own models, beside those of `config/models.yaml` and with the same keys.",
        {},
        paper="4",
        allowed="see [models.yaml](#modelsyaml)",
    )
    experiments: Experiments = key("What to certify, by name; at least one.", paper="4")
    attacks: dict[Name, Attack] = key(
        "Attacks on what experiments certify, by name: how much accuracy is left, beside how much "
        "is certified.",
        {},
    )
    tables: dict[Name, SerializeAsAny[Table]] = key(
        "The tables by name. Each name is a target: `snakemake table_4`. No table may "
        "have the name of a figure or of a rule.",
        {},
        paper="4.1",
    )
    figures: dict[Name, SerializeAsAny[Figure]] = key(
        "The figures by name; targets like the tables.", {}, paper="4.1"
    )
    notebooks: Annotated[list[Name], each_once] = key(
        "Which of `notebooks/NAME.ipynb` to execute, without the ending.",
        [],
        allowed="list of names",
    )
    checks: list[Check] = key("What must hold of the results, beside what holds of any.", [])
    title: Line = key("Title of `paper.pdf`; without one, the study's name is.", "")
    authors: list[Text] = key("Authors of the study, in `paper.pdf`.", [])


class Study(StudyKeys):
    """A study that was checked, with the models that its experiments need and no others."""

    name: Text = key("What its results are called: they lie in results/NAME.")

    def models_by(self, kind: str, origin: str) -> list[str]:
        """Return the models of a kind whose weights have an origin, such as ``"train"``."""
        return [
            name
            for name, model in self.models.items()
            if model.kind == kind and model.weights.origin == origin
        ]

    @property
    def measured_models(self) -> list[str]:
        """The classifiers that an accuracy is expected of, which is measured."""
        return [
            name
            for name, model in self.models.items()
            if getattr(model, "expected_accuracy", None) is not None
        ]

    @property
    def deposited(self) -> dict[str, DataFile]:
        """The experiments whose votes are taken from deposits, with those."""
        entries = self.experiments.items()
        return {name: entry.votes for name, entry in entries if entry.votes is not None}

    @property
    def sampled(self) -> list[str]:
        """The experiments whose votes are drawn."""
        return [name for name, entry in self.experiments.items() if entry.votes is None]

    @property
    def attacked(self) -> list[str]:
        """The attacks that are made: those on experiments whose votes are drawn."""
        return [name for name, entry in self.attacks.items() if entry.experiment in self.sampled]

    def attacked_classifiers(self, attack: str) -> list[str]:
        """Return the classifiers that an attack is on."""
        entry = self.attacks[attack]
        return entry.classifiers or self.experiments[entry.experiment].classifiers

    def attacked_sigmas(self, attack: str) -> list[float]:
        """Return the noise levels that an attack is at."""
        entry = self.attacks[attack]
        return entry.sigmas or self.experiments[entry.experiment].sigmas

    def deposit_of_attack(self, attack: str) -> DataFile | None:
        """Return where an attack is taken from; None for one that is made."""
        return self.experiments[self.attacks[attack].experiment].votes

    def users(self, model: str) -> list[str]:
        """Return the experiments that a model takes part in."""
        return [name for name, entry in self.experiments.items() if model in entry.models]

    def sigmas_of(self, model: str) -> list[float]:
        """Return the noise levels of the experiments that a model takes part in."""
        users = [self.experiments[name] for name in self.users(model)]
        return sorted({sigma for user in users for sigma in user.sigmas})

    def deposit_of_model(self, model: str) -> DataFile | None:
        """Return where what is known of a model is taken from; None where its weights are used."""
        deposits = [self.experiments[name].votes for name in self.users(model)]
        return deposits[0] if deposits and None not in deposits else None

    def deposit_of_figure(self, figure: str) -> DataFile | None:
        """Return where a figure of pictures is taken from; None for one that is drawn."""
        entry = self.figures[figure]
        return self.experiments[entry.experiment].votes if entry.shows_pictures else None

    @property
    def deposit_of_costs(self) -> DataFile | None:
        """The deposit of the whole study, with its estimated costs; None where there is none."""
        first, *others = (entry.votes for entry in self.experiments.values())
        return first if all(other == first for other in others) else None

    @property
    def deposits(self) -> list[DataFile]:
        """The deposits that the study takes votes from, each once."""
        found: list[DataFile] = []
        for deposit in self.deposited.values():
            found += [] if deposit in found else [deposit]
        return found

    @property
    def pictures(self) -> list[str]:
        """The figures that are drawn from images, instead of certificates."""
        return [name for name, figure in self.figures.items() if figure.shows_pictures]

    def to_json(self) -> dict[str, Any]:
        """Return the study as mappings, lists, text and numbers, every default filled in.

        Keys that are absent and have no default are left out. `from_json` turns it back.
        """
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    @classmethod
    def from_json(cls, mapping: Mapping[str, Any]) -> Self:
        """Return the study that `to_json` gave the mapping of.

        Raises
        ------
        ValidationError
            If it is none.
        """
        return cls.model_validate(dict(mapping))
