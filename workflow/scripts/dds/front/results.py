"""What the front door gives back: certificates and predictions, as tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from dds.extras import needed
from dds.front.curves import draw_curve
from dds.logs import write_log
from dds.sampling.counts import read_counts, stack, write_counts
from dds.statistics.accuracy import certified_accuracy, leaves_undecided
from dds.statistics.bounds import binomial_interval
from dds.statistics.certificates import ABSTAIN, compute_certificates
from dds.statistics.plans import make_plan
from dds.statistics.predictions import predict_counts
from dds.statistics.reach import down

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, eq=False)
class Certificates:
    """What is known of the smoothed classifier's answers on images: a row an image.

    With probability at least 1 - `alpha` over the samples, an image either abstains or
    has the smoothed classifier answer `prediction` everywhere within `radius` of it
    (Cohen et al., 2019, theorem 1).

    Attributes
    ----------
    prediction : ndarray of int, shape (images,) or ()
        The class, or `dds.ABSTAIN`.
    radius : ndarray of float, shape (images,) or ()
        l2 radius in [0,1] pixel units; 0 where it abstains. NaN where the plan stopped before it
        was known, as that of an image whose label is another class, or that is no longer of
        interest.
    p_lower : ndarray of float, shape (images,) or ()
        Lower confidence bound of the selected class's probability under noise; NaN as `radius`.
    selection : ndarray of int, shape (images, classes) or (classes,)
        Class counts of the n0 samples that select a class.
    estimation : ndarray of int, shape (images, classes) or (classes,)
        Class counts of the n samples that bound its probability.
    sigma, alpha : float
        Noise level in [0,1] pixel units, and error probability of each certificate.
    image : ndarray of int, shape (images,) or ()
        The number of each image.
    label : ndarray of int, shape (images,) or (), or None
        Its true class, where it is known.
    facts : mapping
        How it was counted: seed, plan, precision, names of classes, ...
    """

    prediction: np.ndarray
    radius: np.ndarray
    p_lower: np.ndarray
    selection: np.ndarray
    estimation: np.ndarray
    sigma: float
    alpha: float
    image: np.ndarray
    label: np.ndarray | None
    facts: Mapping[str, Any]

    @classmethod
    def of_counts(
        cls,
        selection: np.ndarray,
        estimation: np.ndarray,
        ids: ArrayLike,
        labels: np.ndarray | None,
        facts: Mapping[str, Any],
    ) -> Self:
        """Compute certificates of the class counts of images, both (images, classes)."""
        sigma, alpha = facts["sigma"], facts["alpha"]
        counts = counts_frame(ids, labels, sigma, selection, estimation)
        rows = compute_certificates(counts, facts["plan"], alpha)
        found = {name: rows[name].to_numpy() for name in ("prediction", "radius", "p_lower")}
        found |= {"selection": selection, "estimation": estimation, "image": np.asarray(ids)}
        return cls(**_rows(found, labels, facts), sigma=sigma, alpha=alpha, facts=facts)

    def __len__(self) -> int:
        return 1 if self.facts["is_one"] else len(self.image)

    def __repr__(self) -> str:
        settings = f"sigma {self.sigma:g}, alpha {self.alpha:g}"
        if self.facts["is_one"]:
            if self.prediction == ABSTAIN:
                return f"<Certificates: abstains; {settings}>"
            named = _named(int(self.prediction), self.facts)
            return f"<Certificates: class {named} within {down(self.radius)}; {settings}>"
        radii = self.radius[self.prediction != ABSTAIN]
        found = f"{len(radii)} certified"
        if len(radii):
            low, middle, high = map(down, (radii.min(), np.median(radii), radii.max()))
            found += f", radius {low} to {high} (median {middle})"
        if self.label is not None:
            found += f", {(self.prediction == self.label).mean():.1%} correct"
        return f"<Certificates of {len(self)} images: {found}; {settings}>"

    def to_frame(self) -> pd.DataFrame:
        """Return a table with a row an image.

        Returns
        -------
        DataFrame
            The columns of `dds.statistics.certificates.compute_certificates`: ``image``,
            ``label``, ``sigma``, ``classifier``, ``n0``, ``n``, ``prediction``, ``successes``,
            ``p_lower``, ``radius``, ``correct``, ``selected``, ... Where labels are unknown,
            ``label`` and ``correct`` are missing. `dds.certified_accuracy` takes it.
        """
        frame = compute_certificates(self._counts(), self.facts["plan"], self.alpha)
        if self.label is None:
            unknown = pd.array([pd.NA] * len(frame), dtype="Int64")
            frame = frame.assign(label=unknown, correct=unknown.astype("boolean"))
        return frame

    def certified_accuracy(self, radii: ArrayLike, *, level: float = 0.95) -> pd.DataFrame:
        """Return the share of images that are classified correctly everywhere within each radius.

        Parameters
        ----------
        radii : array_like of float
            In [0,1] pixel units, at least 0. At 0 it is the clean accuracy of the smoothed
            classifier, or a lower bound of it: abstentions count as wrong.
        level : float, optional
            Coverage of the intervals, which are about the images: what the share may be on all
            images of their kind.

        Returns
        -------
        DataFrame
            ``radius``, ``images``, ``certified`` (images), and ``accuracy``, ``low``, ``high`` in
            [0, 1], which are NaN at radii that the plan did not decide.

        Raises
        ------
        ValueError
            If labels are unknown, or a radius is negative or not a number.
        """
        self._check_labels()
        accuracy = certified_accuracy(self.to_frame(), radii, level=level)
        return accuracy.drop(columns=["classifier", "sigma"])

    def plot(self, ax: Axes | None = None, *, label: str | None = None) -> Axes:
        """Draw certified accuracy over the radius; without labels, the share that is certified.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw; by default in a new figure.
        label : str, optional
            The curve's name in a legend; by default its noise level.

        Returns
        -------
        matplotlib Axes

        Raises
        ------
        ModuleNotFoundError
            If matplotlib is not installed.
        """
        with needed():
            from matplotlib import pyplot

        ax = pyplot.subplots()[1] if ax is None else ax
        draw_curve(self.to_frame(), ax, label=label or f"sigma {self.sigma:g}")
        return ax

    def to_log(self, path: str | Path) -> None:
        """Write a log in the format of Cohen et al. (2019); see `dds.write_log`.

        Parameters
        ----------
        path : str or Path
            The file to write; other projects' tools look for names such as ``sigma_0.25.tsv``.

        Raises
        ------
        ValueError
            If labels are unknown, an image comes twice, or the plan left radii undecided, which
            a log cannot say.
        """
        self._check_labels()
        frame = self.to_frame()
        if leaves_undecided(frame):
            raise ValueError(
                f"the {self.facts['plan']['plan']} plan left radii undecided, which a log cannot "
                "say; certify by a plan that decides all, fixed or radius"
            )
        write_log(frame, path)

    def save(self, path: str | Path) -> None:
        """Write all that is known, atomically, for `load`: class counts, in a .parquet file."""
        write_counts(path, self._counts(), self.facts)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote, or `dds.certify` with ``save_to``.

        Raises
        ------
        ValueError
            If the file holds something else, or is not finished.
        FileNotFoundError
            If there is none.
        """
        selection, estimation, ids, labels, facts = _read(path, "certify")
        plan = make_plan(facts["plan"], facts["sigma"])
        known = [None] * len(ids) if labels is None else labels.tolist()
        drawn = selection.sum(axis=1)
        finished = [
            n0 == plan.n0 and estimated.sum() >= plan.goal(label, selected, estimated)
            for n0, label, selected, estimated in zip(
                drawn, known, selection, estimation, strict=True
            )
        ]
        _check_finished(path, finished, "certify")
        return cls.of_counts(selection, estimation, ids, labels, facts)

    def _counts(self) -> pd.DataFrame:
        labels = None if self.label is None else np.atleast_1d(self.label)
        return counts_frame(
            np.atleast_1d(self.image),
            labels,
            self.sigma,
            np.atleast_2d(self.selection),
            np.atleast_2d(self.estimation),
            self.facts["name"],
        )

    def _check_labels(self) -> None:
        if self.label is None:
            raise ValueError("the labels of these images are unknown; certify them with labels=...")


@dataclass(frozen=True, eq=False)
class Predictions:
    """What the smoothed classifier answers on images: a row an image.

    With probability at least 1 - `alpha` over the samples, an image either abstains or has
    `prediction` as the smoothed classifier's answer on it (Cohen et al., 2019, proposition 1).

    Attributes
    ----------
    prediction : ndarray of int, shape (images,) or ()
        The class, or `dds.ABSTAIN`.
    p_value : ndarray of float, shape (images,) or ()
        Of the test of the two classes with the most votes.
    counts : ndarray of int, shape (images, classes) or (classes,)
        Class counts of the n samples.
    sigma, alpha : float
        Noise level in [0,1] pixel units, and error probability of each prediction.
    image : ndarray of int, shape (images,) or ()
        The number of each image.
    label : ndarray of int, shape (images,) or (), or None
        Its true class, where it is known.
    facts : mapping
        How it was counted: seed, precision, names of classes, ...
    """

    prediction: np.ndarray
    p_value: np.ndarray
    counts: np.ndarray
    sigma: float
    alpha: float
    image: np.ndarray
    label: np.ndarray | None
    facts: Mapping[str, Any]

    @classmethod
    def of_counts(
        cls,
        counts: np.ndarray,
        ids: ArrayLike,
        labels: np.ndarray | None,
        facts: Mapping[str, Any],
    ) -> Self:
        """Compute predictions of the class counts of images, (images, classes)."""
        prediction, p_value = predict_counts(counts, facts["alpha"])
        found = {"prediction": prediction, "p_value": p_value, "counts": counts}
        return cls(
            **_rows(found | {"image": np.asarray(ids)}, labels, facts),
            sigma=facts["sigma"],
            alpha=facts["alpha"],
            facts=facts,
        )

    def __len__(self) -> int:
        return 1 if self.facts["is_one"] else len(self.image)

    def __repr__(self) -> str:
        settings = f"sigma {self.sigma:g}, alpha {self.alpha:g}"
        if self.facts["is_one"]:
            named = _named(int(self.prediction), self.facts)
            found = "abstains" if self.prediction == ABSTAIN else f"class {named}"
            return f"<Predictions: {found}; {settings}>"
        found = f"{(self.prediction != ABSTAIN).sum()} answered"
        if self.label is not None:
            found += f", {(self.prediction == self.label).mean():.1%} correct"
        return f"<Predictions of {len(self)} images: {found}; {settings}>"

    def to_frame(self) -> pd.DataFrame:
        """Return a table with a row an image.

        Returns
        -------
        DataFrame
            ``image``, ``label``, ``sigma``, ``classifier``, ``n``, ``prediction``, ``votes`` (for
            the class with the most), ``p_value``, ``correct``. Where labels are unknown, ``label``
            and ``correct`` are missing.
        """
        counts, prediction = np.atleast_2d(self.counts), np.atleast_1d(self.prediction)
        label = pd.array([pd.NA] * len(counts), dtype="Int64")
        if self.label is not None:
            label = pd.array(np.atleast_1d(self.label), dtype="Int64")
        return pd.DataFrame(
            {
                "image": np.atleast_1d(self.image),
                "label": label,
                "sigma": self.sigma,
                "classifier": self.facts["name"],
                "n": counts.sum(axis=1),
                "prediction": prediction,
                "votes": counts.max(axis=1),
                "p_value": np.atleast_1d(self.p_value),
                "correct": label == pd.array(prediction, dtype="Int64"),
            }
        )

    def accuracy(self, *, level: float = 0.95) -> tuple[float, float, float]:
        """Return the share of correct answers, and the ends of its interval over images.

        Abstentions count as wrong, so that it bounds the smoothed classifier's accuracy from
        below.

        Raises
        ------
        ValueError
            If labels are unknown.
        """
        if self.label is None:
            raise ValueError("the labels of these images are unknown; predict with labels=...")
        correct = int((self.prediction == self.label).sum())
        low, high = binomial_interval(correct, len(self), level)
        return correct / len(self), float(low), float(high)

    def save(self, path: str | Path) -> None:
        """Write all that is known, atomically, for `load`: class counts, in a .parquet file."""
        labels = None if self.label is None else np.atleast_1d(self.label)
        counts = np.atleast_2d(self.counts)
        ids, name = np.atleast_1d(self.image), self.facts["name"]
        none = np.zeros_like(counts)
        write_counts(path, counts_frame(ids, labels, self.sigma, counts, none, name), self.facts)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote, or `dds.predict` with ``save_to``; as `Certificates.load`."""
        counts, _, ids, labels, facts = _read(path, "predict")
        _check_finished(path, counts.sum(axis=1) == facts["n0"], "predict")
        return cls.of_counts(counts, ids, labels, facts)


def counts_frame(
    ids: ArrayLike,
    labels: np.ndarray | None,
    sigma: float,
    selection: np.ndarray,
    estimation: np.ndarray,
    classifier: str = "classifier",
) -> pd.DataFrame:
    """Return class counts as a table, a row an image; the label of unknown ones is -1."""
    return pd.DataFrame(
        {
            "image": np.asarray(ids),
            "label": -1 if labels is None else labels,
            "sigma": sigma,
            "classifier": classifier,
            "selection": list(selection),
            "estimation": list(estimation),
        }
    )


def _read(
    path: str | Path, call: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None, dict[str, Any]]:
    """Return class counts, numbers and labels of images, and the facts, of a file of a call."""
    cure = f"load a file written by dds.{call} with save_to, or by save"
    try:
        counts, facts = read_counts(path)
    except ValueError as error:
        raise ValueError(f"{error}; {cure}") from error
    if facts.get("call") != call:
        raise ValueError(f"{path} was not written by dds.{call}; {cure}")
    labels = counts["label"].to_numpy(np.int64)
    return (
        stack(counts["selection"]),
        stack(counts["estimation"]),
        counts["image"].to_numpy(np.int64),
        None if facts["labels"] is None else labels,
        facts,
    )


def _rows(
    columns: Mapping[str, np.ndarray], labels: np.ndarray | None, facts: Mapping[str, Any]
) -> dict[str, Any]:
    """Return columns and labels as they are, or of one image without the first dimension."""
    whole = dict(columns) | {"label": labels}
    if not facts["is_one"]:
        return whole
    return {name: None if values is None else values[0] for name, values in whole.items()}


def _check_finished(path: str | Path, finished: ArrayLike, call: str) -> None:
    finished = np.asarray(finished)
    if not finished.all():
        raise ValueError(
            f"{path} is not finished: {finished.sum()} of {len(finished)} images are; "
            f"the same call of {call} goes on with it"
        )


def _named(number: int, facts: Mapping[str, Any]) -> str:
    """Return a class's number and, where it is known, its name."""
    names = facts.get("class_names")
    return str(number) if names is None else f"{number} ({names[number]})"
