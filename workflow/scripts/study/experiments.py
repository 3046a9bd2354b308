"""Experiments: what is certified, how, and by how many samples."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from dds.keys import Count, Fraction, Images, Keys, Names, Samples, Sigmas, Whole, key
from dds.kinds import Kinds
from dds.names import sigma_name
from dds.origins import DataFile
from dds.seeds import MOST_SAMPLES, MOST_STEPS
from dds.statistics.plans import PLANS
from dds.statistics.reach import largest_radius, samples_needed
from study.entries import Kinded, or_else
from study.errors import refuse_at

Steps = Annotated[
    Annotated[Whole, Field(ge=1, le=MOST_STEPS)] | Literal["all"],
    or_else(f"must be a whole number from 2 to {MOST_STEPS:,}, or all; 1 is one shot"),
]
BatchSize = Annotated[
    Count | Literal["auto"], or_else("must be a whole number from 1 to 100,000, or auto")
]
DenoiserName = Annotated[str, or_else("is no denoiser; must be its name, or none for no denoiser")]
TimestepRule = Literal["nearest", "exact", "authors"]


class Experiment(Kinded):
    """An experiment; beside these it has the keys of its plan."""

    KIND: ClassVar[str] = "plan"
    KINDS: ClassVar[Kinds] = PLANS

    like: str | None = key(
        "Another experiment whose keys this entry takes over, each key as a whole, but for those "
        "of a plan that it has not; the entry's own keys win.",
        None,
        allowed="an experiment",
    )
    dataset: str = key("The images to certify.", paper="4", allowed="a name of `datasets`")
    split: str = key(
        "Which split of the dataset to certify.",
        "test",
        paper="4",
        allowed="a split of the dataset",
    )
    denoiser: DenoiserName = key(
        "The diffusion model in front of the classifiers; `none` certifies them without one.",
        paper="3",
        allowed="a model of kind `denoiser`, or `none`",
    )
    steps: Steps = key(
        "Steps of denoising: 1 denoises in one shot (equation 7), more by a chain of so many "
        "reverse steps, `all` by one of every timestep below sigma's.",
        1,
        paper="3",
        allowed=f"whole number, 1 to {MOST_STEPS:,}, or `all`",
    )
    timestep: TimestepRule = key(
        "How a timestep is chosen for sigma. `nearest`: noise at exactly sigma, the timestep "
        "whose noise is nearest. `exact`: noise at exactly sigma, a fractional timestep. "
        "`authors`: the first timestep with at least that noise, and noise at its level, as in "
        "the authors' code.",
        "nearest",
        paper="3, algorithm 2",
    )
    classifiers: Names = key(
        "The classifiers; they share every denoised batch and must have the dataset's classes.",
        paper="4",
        allowed="models of kind `classifier`",
    )
    sigmas: Sigmas = key(
        "Noise levels. Each must lie within the denoiser's noise schedule and have at most six "
        "digits.",
        paper="2, 4",
        allowed="0.001 to 10, each once",
    )
    n0: Samples = key("Samples an image that select a class.", paper="4")
    n: Samples = key(
        "Samples an image that bound that class's probability, the paper's N; the most samples "
        "where a plan stops early.",
        paper="4",
        allowed=f"whole number, at least `n0`, at most {MOST_SAMPLES:,}",
    )
    alpha: Fraction = key(
        "Error probability of a certificate, over all looks of a sequential plan.", paper="4"
    )
    images: Images = key(
        "How many images to certify, from the first one of the split on.",
        paper="4",
        allowed="whole number, 1 to the size of the split",
    )
    images_per_shard: Images = key("How many images a job certifies. Results do not depend on it.")
    plan: str = key("How many of the n samples an image gets.", paper="4")
    noise: Literal["float", "integer"] = key(
        "`integer` rounds the noise to multiples of 1/255, against false certificates from "
        "rounding.",
        "float",
    )
    precision: Literal["float32", "bfloat16", "auto"] = key(
        "Number format of the networks' matrix products and convolutions. It is part of what is "
        "certified, and kept with the counts. `auto` takes bfloat16 on GPUs with tensor cores "
        "for it, and on CPUs where a matrix product in it is at least 1.5 times as fast: for "
        "clusters of one kind of GPU, because counts of different precisions do not merge.",
        "float32",
    )
    deterministic: bool = key(
        "Run every block of 100 noise samples as a batch of its own, so that counts repeat to "
        "the bit.",
        False,
    )
    batch_size: BatchSize = key(
        "Noisy images in a batch, where `deterministic` is false. `auto` searches the smallest "
        "that is about as fast as any. Halved when a GPU runs out of memory.",
        100,
    )

    votes: DataFile | None = key(
        "A deposit to take the votes from instead of drawing samples: an archive that "
        "`make archive` wrote, or its folder, of a study whose experiment of this name is the "
        "same (`docs/deposits.md`).",
        None,
        allowed="mapping with `file` or `url`, as for the files of a dataset",
    )

    @classmethod
    def of(cls, entry: Any) -> type[Self]:
        """Return the class that has all keys that an entry may have.

        Raises
        ------
        ValidationError
            If the entry's plan is missing or wrong, or one of its keys is another plan's.
        """
        found = super().of(entry)
        if cls._is_open() and isinstance(entry, dict):
            for name in entry:
                if name not in found.model_fields and (plans := _plans_with(name)):
                    *others, last = plans
                    whose = f"plans {', '.join(others)} and {last}" if others else f"plan {last}"
                    raise refuse_at(f"is for {whose} alone; leave it out", name)
        return found

    @model_validator(mode="after")
    def _check_keys_together(self) -> Self:
        if self.n < self.n0:
            raise refuse_at(f"{self.n} is below n0 ({self.n0}); n must be at least n0", "n")
        if self.denoiser == "none" and self.steps != 1:
            raise refuse_at(f"{self.steps} is for experiments with a denoiser alone", "steps")
        return self

    @model_validator(mode="after")
    def _check_sigmas(self) -> Self:
        for index, sigma in enumerate(self.sigmas):
            written = sigma_name(sigma).removeprefix("sigma_")
            if float(written) != sigma:
                raise refuse_at(
                    f"{sigma} has more than the six digits that names of folders have; allowed "
                    f"is, for example, {written}",
                    "sigmas",
                    index,
                )
        return self

    @model_validator(mode="after")
    def _check_plan(self) -> Self:
        plan = PLANS[self.plan]
        try:
            getattr(plan, "check", _allow)(self, self.n)
        except ValueError as error:  # its message begins with the key that is wrong
            key, _, _ = str(error).partition(" ")
            raise refuse_at(str(error), key if key in plan.Keys.model_fields else "plan") from error
        return self

    @model_validator(mode="after")
    def _check_radii(self) -> Self:
        radii = getattr(self, "radii", None)
        # Those of an experiment that this one is like may be for more.
        if isinstance(radii, dict) and not radii.keys() >= set(self.sigmas):
            listed, wanted = (", ".join(f"{s:g}" for s in each) for each in (radii, self.sigmas))
            raise refuse_at(
                f"are listed for sigma {listed}; each sigma of the experiment needs some: {wanted}",
                "radii",
            )
        return self

    @model_validator(mode="after")
    def _check_samples(self) -> Self:
        if largest_radius(self.n, self.last_alpha, 1.0) is None:
            needed = samples_needed(0.0, self.last_alpha, 1.0)
            raise refuse_at(
                f"{self.n} certifies nothing at alpha = {self.alpha:g}; must be at least {needed}",
                "n",
            )
        return self

    @property
    def last_alpha(self) -> float:
        """Error probability of the bound after all n samples."""
        share = getattr(PLANS[self.plan], "LAST_SHARE", None)
        return self.alpha * (getattr(self, share) if share else 1)

    @property
    def kept(self) -> float:
        """What the plan leaves of the largest radius that n samples certify, as a share."""
        shortfall = getattr(PLANS[self.plan], "SHORTFALL", None)
        return 1 - getattr(self, shortfall) if shortfall else 1.0

    @property
    def models(self) -> list[str]:
        """The classifiers and, if there is one, the denoiser."""
        return [*self.classifiers, *([] if self.denoiser == "none" else [self.denoiser])]


def _allow(keys: Keys, n: int) -> None:
    """Find nothing wrong: for plans whose types say it all."""


def _plans_with(name: str) -> list[str]:
    return [plan for plan in PLANS.names if name in PLANS[plan].Keys.model_fields]
