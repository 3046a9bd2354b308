"""Entries of a study file, and certificates to make tables of, for the tests beside this file."""

import pandas as pd

from dds.statistics.bounds import clopper_pearson_lower
from paper.figures import FIGURES
from paper.parts import read_entry
from paper.tables import TABLES


def table(keys, **changes):
    """Return a table's entry, typed."""
    return read_entry(TABLES, keys | changes)


def figure(keys, **changes):
    """Return a figure's entry, typed."""
    return read_entry(FIGURES, keys | changes)


def certificates(radii, *, sigma=0.25, classifier="cnn", selected=None, **columns):
    """Return certificates of one sigma and classifier, right where the radius is above 0."""
    images = len(radii)
    successes = [100 if radius > 0 else 30 for radius in radii]
    selected = list(range(images)) if selected is None else selected
    return pd.DataFrame(
        {
            "image": range(images),
            "label": 1,
            "sigma": sigma,
            "classifier": classifier,
            "n0": 10,
            "n": 100,
            "radius": radii,
            "correct": [radius > 0 for radius in radii],
            "selected": selected,
            "successes": successes,
            "p_lower": clopper_pearson_lower(successes, 100, 0.001),
            "label_successes": successes,
            "top": selected,
            "top_successes": successes,
            "runner_up_successes": [min(100 - count, 30) for count in successes],
            "alpha": 0.001,
            "lowest_radius": 0.0,
        }
        | columns
    )


#: By experiment; the CNN of ``e`` answers class 3 alone at sigma 0.5.
CERTIFICATES = {
    "e": pd.concat(
        [
            certificates([0.3, 0.3, 0.1, 0.0]),
            certificates([0.6, 0.0, 0.0, 0.0], sigma=0.5, selected=[3] * 4),
            certificates([0.3, 0.3, 0.3, 0.3], classifier="vit"),
            certificates([0.3, 0.0, 0.0, 0.0], classifier="vit", sigma=0.5),
        ]
    ),
    "other": pd.concat(
        [
            certificates([0.3, 0.0, 0.1, 0.0]),
            certificates([0.0, 0.0, 0.0, 0.0], sigma=0.5),
        ]
    ),
}
CERTIFICATES["early"] = CERTIFICATES["e"].assign(
    n=[40, 60, 0, 90, *[100] * 12], radius=[0.3, 0.1, 0.1, 0.0, 0.7, *[0.0] * 11]
)
#: What a study says of the samples behind them.
RECORDS = {
    name: {
        "sampling": {"images": 4, "n0": 10, "n": 100, "alpha": 0.001, "plan": plan, "radii": [0.25]}
    }
    for name, plan in {"e": "fixed", "other": "fixed", "early": "curtailed"}.items()
}
PUBLISHED = pd.DataFrame(
    [
        ("4a", "sigma = 0.25", 0.25, 0.0, 76.0, None, "printed"),
        ("4a", "sigma = 0.25", 0.25, 0.25, 1.0, None, "printed"),
        ("4a", "sigma = 0.5", 0.5, 0.0, None, None, "not_legible"),
        ("4a", "sigma = 0.5", 0.5, 0.25, 25.0, None, "printed"),
        ("3", "RS", None, 0.25, 61.0, 75.0, "printed"),
    ],
    columns=["table", "row", "sigma", "radius", "certified_accuracy", "clean_accuracy", "status"],
).assign(extra_data="no", images=500)

#: One table of each kind that shows certificates, as a study file writes it.
PER_SIGMA = {
    "kind": "per_sigma",
    "caption": "Some caption.",
    "radii": [0.0, 0.25],
    "panels": [
        {"title": "CNN", "experiment": "e", "classifier": "cnn"},
        {"title": "ViT", "experiment": "e", "classifier": "vit"},
    ],
}
BEST = {
    "kind": "best_over_sigma",
    "caption": "Some caption.",
    "radii": [0.25],
    "rows": [
        {"label": "RS", "off_the_shelf": "none", "published": {"table": "3", "row": "RS"}},
        {
            "label": "Ours",
            "off_the_shelf": "full",
            "extra_data": True,
            "experiment": "e",
            "classifier": "vit",
        },
    ],
}
COMPARISON = {
    "kind": "comparison",
    "caption": "Some caption.",
    "radii": [0.25],
    "classifiers": {"cnn": "CNN"},
    "methods": [
        {"label": "one-shot", "experiment": "e"},
        {"label": "multi-step", "experiment": "other"},
    ],
}
CASCADE = PER_SIGMA | {"kind": "cascade"}
PLANS = {
    "kind": "sampling_plans",
    "caption": "Some caption.",
    "radii": [0.25],
    "classifiers": {"cnn": "CNN"},
    "methods": [
        {"label": "fixed", "experiment": "e"},
        {"label": "early", "experiment": "early"},
    ],
}


def texts(sheet):
    """Return what the cells of a sheet say."""
    return [[cell.text for cell in row] for row in sheet.rows]
