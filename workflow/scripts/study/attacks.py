"""Attacks: which smoothed classifiers are attacked, how far from each image, and how hard."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from dds.keys import Count, Fraction, Images, Keys, Names, Samples, Sigmas, Whole, each_once, key
from dds.seeds import MOST_SAMPLES
from dds.statistics.reach import check_enough
from study.errors import refuse_at

#: Radii to attack within, each once, at least one, from the smallest on.
Attacked = Annotated[
    list[Annotated[float, Field(gt=0, le=100)]],
    Field(min_length=1),
    each_once,
    AfterValidator(sorted),
]
StepSize = Annotated[float, Field(gt=0, le=2)]


class Attack(Keys):
    """Attacks on classifiers of an experiment, on the first of its images."""

    experiment: str = key(
        "Whose smoothed classifiers are attacked. Its `noise` must be `float`.",
        allowed="a name of `experiments`",
    )
    classifiers: Names | None = key(
        "Which of its classifiers; all by default.", None, allowed="classifiers of the experiment"
    )
    sigmas: Sigmas | None = key(
        "At which of its noise levels; at all by default.",
        None,
        allowed="sigmas of the experiment, each once",
    )
    radii: Attacked = key(
        "l2 radii of the balls in [0,1] pixel units. Every image is judged as it is, too: that is "
        "radius 0.",
        allowed="numbers, above 0, at most 100, each once",
    )
    images: Images = key(
        "How many images to attack, from the first one of the split on.",
        allowed="whole number, 1 to the experiment's `images`",
    )
    images_per_shard: Images = key(
        "How many images a job attacks. Results do not depend on it.", 100
    )
    steps: Count = key("Gradient steps from each start.", 20)
    samples: Count = key(
        "Noisy copies of the image, fresh at every step, that a gradient is averaged over.", 16
    )
    restarts: Annotated[Whole, Field(ge=0, le=1000)] = key(
        "Starts from random points of the ball, beside the first one from the image itself. The "
        "one that leaves the label the least probability is judged.",
        1,
    )
    step_size: StepSize | None = key(
        "Length of a step as a share of the radius; 2.5 / `steps` by default.", None
    )
    clip: bool = key(
        "Keep attacked images in [0,1]. A certificate is about the whole ball, with what of it "
        "lies outside, so that attacks are on all of it by default.",
        False,
    )
    n: Samples = key("Samples of an attacked image that PREDICT answers by.", 1000)
    alpha: Fraction = key(
        "Probability, at most, that PREDICT answers what the smoothed classifier does not.", 0.001
    )

    @model_validator(mode="after")
    def _check_samples(self) -> Self:
        try:
            check_enough(self.n, self.alpha)
        except ValueError as error:
            raise refuse_at(str(error), "n") from error
        drawn = (self.restarts + 1) * self.steps * self.samples
        if drawn >= MOST_SAMPLES // 2:
            raise refuse_at(
                f"{self.samples:,} samples at {self.steps:,} steps from {self.restarts + 1:,} "
                f"starts are {drawn:,}; must be fewer than {MOST_SAMPLES // 2:,}",
                "samples",
            )
        return self
