"""Figures show the curves they claim to, and are written reproducibly."""

import io
import itertools
from types import SimpleNamespace

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from paper_samples import CERTIFICATES, figure

from dds.statistics.accuracy import certified_accuracy
from dds.statistics.bounds import binomial_interval
from dds.statistics.cascade import compute_cascade
from paper.figures import (
    FIGURES,
    draw_figure,
    draw_votes,
    pictures,
    read_data,
    save_figure,
    to_png,
)
from paper.figures._style import styled

PANEL = {"title": "CNN", "experiment": "e", "classifier": "cnn"}
KEYS = {"kind": "accuracy_against_radius", "caption": "x", "panels": [PANEL]}
IMAGES = 50
AGAINST_RADIUS = figure(KEYS)
AGAINST_SIGMA = figure(KEYS, kind="accuracy_against_sigma", radii=[0.0, 0.25, 0.4])
CASCADE_FIGURE = KEYS | {"kind": "cascade"}
PICTURES = {"kind": "pictures", "caption": "x", "experiment": "e", "images": 3}

both_kinds = pytest.mark.parametrize(
    "entry", [AGAINST_RADIUS, AGAINST_SIGMA], ids=lambda entry: entry.kind
)


@pytest.fixture
def certificates():
    generator = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "sigma": np.repeat([0.25, 0.5], IMAGES),
            "classifier": "cnn",
            "radius": np.concatenate([generator.uniform(0, reach, IMAGES) for reach in (0.5, 1)]),
            "correct": generator.random(2 * IMAGES) < 0.9,
        }
    )


def test_one_falling_curve_a_sigma(certificates):
    (axis,) = draw_figure(AGAINST_RADIUS, {"e": certificates}).axes
    assert [line.get_label() for line in axis.lines] == [r"$\sigma = 0.25$", r"$\sigma = 0.5$"]
    for line, (_, rows) in zip(axis.lines, certificates.groupby("sigma"), strict=True):
        heights = line.get_ydata()
        assert (np.diff(heights) <= 0).all()
        assert heights[0] == pytest.approx(100 * rows["correct"].mean())
        assert heights[-1] == 0


def test_one_curve_a_radius_over_the_sigmas(certificates):
    (axis,) = draw_figure(AGAINST_SIGMA, {"e": certificates}).axes
    assert [line.get_label() for line in axis.lines] == [
        rf"$\varepsilon = {radius:g}$" for radius in AGAINST_SIGMA.radii
    ]
    accuracies = certified_accuracy(certificates, AGAINST_SIGMA.radii)
    for line, (_, rows) in zip(axis.lines, accuracies.groupby("radius"), strict=True):
        assert list(line.get_xdata()) == [0.25, 0.5]
        assert list(line.get_ydata()) == pytest.approx(list(100 * rows["accuracy"]))
    assert axis.get_xscale() == "log"
    assert [label.get_text() for label in axis.get_xticklabels()] == ["0.25", "0.5"]


def test_noise_levels_below_a_panel_do_not_cover_each_other(certificates):
    sigmas = np.arange(1, 11) / 10
    many = pd.concat([certificates.assign(sigma=sigma) for sigma in sigmas])
    entry = figure(KEYS, kind="accuracy_against_sigma", radii=[0.25], panels=[PANEL] * 3)
    for axis in draw_figure(entry, {"e": many}).axes:
        assert list(axis.get_xticks()) == pytest.approx(sigmas)
        labels = [label for label in axis.get_xticklabels() if label.get_visible()]
        boxes = [label.get_window_extent() for label in labels]
        assert len(boxes) > 4
        assert not any(box.overlaps(other) for box, other in itertools.pairwise(boxes))


def test_the_cascade_stands_in_black_over_the_curves_of_its_sigmas():
    entry = figure(CASCADE_FIGURE, p0=0.6)
    (axis,) = draw_figure(entry, CERTIFICATES).axes
    *_, curve = axis.lines
    assert [line.get_label() for line in axis.lines] == [
        r"$\sigma = 0.25$", r"$\sigma = 0.5$", "cascade",
    ]  # fmt: skip
    assert [text.get_text() for text in axis.texts][-1] == "cascade"
    assert curve.get_color() == "black"
    cascade = compute_cascade(CERTIFICATES["e"].query("classifier == 'cnn'"), p0=0.6)
    accuracies = certified_accuracy(cascade, curve.get_xdata())["accuracy"]
    assert list(curve.get_ydata()) == pytest.approx(list(100 * accuracies))
    assert accuracies.iloc[0] > 0
    assert accuracies.iloc[-1] == 0
    assert len(axis.collections) == 3  # bands


@both_kinds
def test_every_curve_has_the_band_of_its_interval(certificates, entry):
    (axis,) = draw_figure(entry, {"e": certificates}).axes
    assert len(axis.collections) == len(axis.lines) > 0
    for line, band in zip(axis.lines, axis.collections, strict=True):
        edge = band.get_paths()[0].vertices
        for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True):
            low, high = binomial_interval(round(y * IMAGES / 100), IMAGES, 0.95)
            heights = edge[np.isclose(edge[:, 0], x), 1]
            assert np.isclose(heights, 100 * low).any()
            assert np.isclose(heights, 100 * high).any()


@both_kinds
@pytest.mark.parametrize("radius", [np.nan, 0.0], ids=["nothing computed", "all abstain"])
def test_where_nothing_is_certified_curves_lie_at_zero(certificates, entry, radius, tmp_path):
    drawn = draw_figure(entry, {"e": certificates.assign(radius=radius, correct=False)})
    (axis,) = drawn.axes
    assert len(axis.lines) > 0
    for line in axis.lines:
        assert set(line.get_ydata()) == {0.0}
        assert line.get_xdata()[-1] > 0
    save_figure(drawn, tmp_path / "f.png")


@both_kinds
def test_radii_that_a_plan_left_undecided_are_not_drawn(certificates, entry, tmp_path):
    undecided = certificates.assign(radius=np.nan, correct=False, lowest_radius=9.0)
    drawn = draw_figure(entry, {"e": undecided})
    assert all(np.isnan(line.get_ydata()).all() for line in drawn.axes[0].lines)
    save_figure(drawn, tmp_path / "f.png")


def test_only_radii_that_a_plan_decided_are_marked_and_drawn(certificates, tmp_path):
    decided = [0.125, 0.25, 0.4]
    rows = certificates.assign(lowest_radius=decided[0], decided_radii=" ".join(map(repr, decided)))
    drawn = draw_figure(AGAINST_RADIUS, {"e": rows})
    (axis,) = drawn.axes
    for line, (_, group) in zip(axis.lines, certificates.groupby("sigma"), strict=True):
        assert list(line.get_xdata()) == decided
        assert line.get_marker() == "o"
        expected = certified_accuracy(group, decided)["accuracy"]
        assert list(line.get_ydata()) == pytest.approx(list(100 * expected))
        assert line.get_drawstyle() == "steps-pre"  # never above the next radius that was decided
    save_figure(drawn, tmp_path / "f.png")


def test_each_sigma_is_drawn_at_the_radii_that_it_decides(certificates):
    rows = certificates.assign(lowest_radius=0.125, decided_radii="0.125 0.4")
    largest = rows["sigma"].max()
    rows.loc[rows["sigma"] == largest, ["lowest_radius", "decided_radii"]] = [0.25, "0.25"]
    (axis,) = draw_figure(AGAINST_RADIUS, {"e": rows}).axes
    for line, sigma in zip(axis.lines, sorted(rows["sigma"].unique()), strict=True):
        assert list(line.get_xdata()) == ([0.25] if sigma == largest else [0.125, 0.4])


def shown(axis):
    """Return where the text of each label of a panel stands, in pixels."""
    return {text.get_text(): text.get_window_extent() for text in axis.texts}


def course(axis, line):
    """Return points along a curve, in pixels."""
    x, y = line.get_data()
    if line.get_drawstyle() == "steps-pre":
        x, y = np.repeat(x, 2)[:-1], np.repeat(y, 2)[1:]
    places = np.linspace(0, len(x) - 1, 40 * len(x))
    points = [np.interp(places, np.arange(len(x)), values) for values in (x, y)]
    return axis.transData.transform(np.column_stack(points))


def distance(box, points):
    """Return how far a box is from the nearest of some points."""
    outside = np.maximum(np.maximum(box.min - points, points - box.max), 0)
    return np.hypot(*outside.T).min()


@both_kinds
def test_each_curve_bears_its_label_and_no_other_is_as_near(certificates, entry):
    drawn = draw_figure(entry, {"e": certificates})
    assert not drawn.legends
    (axis,) = drawn.axes
    labels = shown(axis)
    assert list(labels) == [line.get_label() for line in axis.lines]
    frame = axis.get_window_extent()
    for line in axis.lines:
        box = labels[line.get_label()]
        near = {other: distance(box, course(axis, other)) for other in axis.lines}
        assert 0 < near[line] < 12
        assert all(near[line] < near[other] for other in axis.lines if other is not line)
        assert frame.contains(*box.min)
        assert frame.contains(*box.max)


@both_kinds
def test_labels_do_not_cover_each_other(certificates, entry):
    (axis,) = draw_figure(entry, {"e": certificates}).axes
    boxes = list(shown(axis).values())
    for place, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:place])


@pytest.mark.parametrize("panels", [1, 3])
def test_labels_without_room_stand_below_the_panels_each_once(certificates, panels):
    sigmas = np.arange(1, 13) / 8
    many = pd.concat([certificates.assign(sigma=sigma, correct=False) for sigma in sigmas])
    drawn = draw_figure(figure(KEYS, panels=[PANEL] * panels), {"e": many})
    (legend,) = drawn.legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts == [rf"$\sigma = {sigma:g}$" for sigma in sigmas]
    below = legend.get_window_extent()
    assert drawn.bbox.fully_containsx(below.x0)
    assert drawn.bbox.fully_containsx(below.x1)
    for axis in drawn.axes:
        assert not axis.texts
        assert not axis.get_tightbbox().overlaps(below)


def test_curves_are_told_apart_in_grey(certificates):
    many = pd.concat([certificates.assign(sigma=certificates["sigma"] * k) for k in (1, 4, 16)])
    (axis,) = draw_figure(AGAINST_RADIUS, {"e": many}).axes
    greys = [
        float(np.dot(mpl.colors.to_rgb(line.get_color()), [0.299, 0.587, 0.114]))
        for line in axis.lines
    ]
    assert len({str(line.get_linestyle()) for line in axis.lines}) >= 4
    assert (np.diff(greys) > 0.05).all()
    assert greys[-1] < 0.7


def test_panels_share_the_looks_of_curves(certificates):
    panels = [PANEL | {"title": name, "experiment": name} for name in "ab"]
    few = certificates[certificates["sigma"] == 0.5]
    drawn = draw_figure(figure(KEYS, panels=panels), {"a": certificates, "b": few})
    (_, first), (second,) = (axis.lines for axis in drawn.axes)
    assert first.get_label() == second.get_label()
    assert first.get_color() == second.get_color()
    assert first.get_linestyle() == second.get_linestyle()


@pytest.mark.parametrize(("count", "inches", "rows"), [(1, 4, 1), (2, 6.5, 1), (4, 6.5, 2)])
def test_a_figure_is_as_wide_as_its_panels_and_no_wider_than_a_page(
    certificates, count, inches, rows
):
    drawn = draw_figure(figure(KEYS, panels=[PANEL] * count), {"e": certificates})
    assert inches - 1 < drawn.get_figwidth() <= inches
    assert len(drawn.axes) == count
    assert len({round(axis.get_window_extent().y0) for axis in drawn.axes}) == rows
    axis = drawn.axes[0].get_window_extent()
    assert axis.width < 1.8 * axis.height


@pytest.mark.filterwarnings("error:Glyph")
@pytest.mark.parametrize("title", ["$5 and $6", r"<b>$\frac{$", "n₀ = 100, ℓ₂ ✓"])
def test_a_title_is_shown_as_it_is_written(certificates, title, tmp_path):
    drawn = draw_figure(figure(KEYS, panels=[PANEL | {"title": title}]), {"e": certificates})
    assert drawn.axes[0].get_title() == title
    save_figure(drawn, tmp_path / "f.pdf")


@pytest.mark.parametrize("panels", [1, 2, 6])
def test_long_titles_cover_neither_each_other_nor_the_edge(certificates, panels):
    title = "ViT-B/16, denoised in one shot; facebook/deit_base_distilled_patch16_384_of_cifar10"
    entry = figure(KEYS, panels=[PANEL | {"title": title}] * panels)
    drawn = draw_figure(entry, {"e": certificates})
    boxes = [axis.title.get_window_extent() for axis in drawn.axes]
    assert all(drawn.bbox.fully_containsx(x) for box in boxes for x in box.intervalx)
    assert not any(box.overlaps(other) for box, other in itertools.combinations(boxes, 2))


def test_panels_of_one_title_stay_apart(certificates):
    panels = [PANEL, PANEL | {"experiment": "few"}]
    few = certificates[certificates["sigma"] == 0.5]
    drawn = draw_figure(figure(KEYS, panels=panels), {"e": certificates, "few": few})
    assert [axis.get_title() for axis in drawn.axes] == ["CNN", "CNN"]
    assert [len(axis.lines) for axis in drawn.axes] == [2, 1]


def test_pictures_show_a_row_a_stage(tmp_path):
    clean = np.zeros((3, 1, 8, 8), np.float32)
    stages = np.zeros((2, 3, 1, 8, 8), np.float32)
    np.savez(tmp_path / "p.npz", clean=clean, noisy=stages, denoised=stages, sigmas=[0.25, 0.5])
    drawn = draw_figure(figure(PICTURES), read_data([tmp_path / "p.npz"]))
    assert len(drawn.axes) == 5 * 3
    assert drawn.axes[3].get_ylabel() == r"$\sigma = 0.25$"


def study(split, denoiser="unet"):
    experiment = SimpleNamespace(denoiser=denoiser, dataset="digits", split="test")
    dataset = SimpleNamespace(splits={"test": split})
    return SimpleNamespace(experiments={"e": experiment}, datasets={"digits": dataset})


@pytest.mark.parametrize("split", [2, SimpleNamespace(images=2)], ids=["number", "mapping"])
def test_pictures_need_images_that_the_split_has(split):
    assert list(pictures.check(figure(PICTURES, images=2), study(split))) == []
    assert list(pictures.check(figure(PICTURES), study(split))) == [
        (("images",), "3 is out of range; split test of dataset digits has 2 images")
    ]


def test_pictures_of_a_split_of_unknown_size_are_not_refused():
    assert list(pictures.check(figure(PICTURES), study(SimpleNamespace(images=None)))) == []


def test_pictures_need_a_denoiser():
    assert list(pictures.check(figure(PICTURES), study(3, denoiser="none"))) == [
        (("experiment",), "e has no denoiser; allowed are experiments with one")
    ]


def test_kinds_say_whether_they_are_drawn_from_pictures():
    assert {name for name in FIGURES.names if FIGURES[name].PICTURES} == {"pictures"}


OWN_KIND = '''
"""A histogram of radii."""

from __future__ import annotations

from dds.keys import Count, key
from paper.parts import Captioned

PICTURES = False


class Keys(Captioned):
    """How radii are spread."""

    experiment: str = key("Whose.")
    bins: Count = key("How many bars.", 4)


def draw(entry, data):
    from matplotlib.figure import Figure

    figure = Figure()
    figure.subplots().hist(data[entry.experiment]["radius"], bins=entry.bins)
    return figure
'''


def test_a_file_of_the_users_own_is_a_kind_of_figure(certificates, tmp_path):
    path = tmp_path / "radius_histogram.py"
    path.write_text(OWN_KIND)
    entry = figure({"kind": str(path), "caption": "x", "experiment": "e"})
    drawn = draw_figure(entry, {"e": certificates})
    assert sum(bar.get_height() for bar in drawn.axes[0].patches) == 2 * IMAGES
    assert len(drawn.axes[0].patches) == 4
    save_figure(drawn, tmp_path / "f.pdf")


def written(entry, data, path):
    save_figure(draw_figure(entry, data), path)
    return path.read_bytes()


@pytest.mark.parametrize("suffix", [".pdf", ".png"])
def test_the_same_figure_gives_the_same_file(certificates, tmp_path, suffix):
    certificates.to_parquet(tmp_path / "e.parquet")
    first, second = (
        written(AGAINST_RADIUS, read_data([tmp_path / "e.parquet"]), tmp_path / f"{name}{suffix}")
        for name in ("a", "b")
    )
    assert first == second


@both_kinds
def test_a_users_own_settings_of_matplotlib_change_nothing(certificates, entry, tmp_path):
    plain = written(entry, {"e": certificates}, tmp_path / "plain.png")
    own = {"text.usetex": True, "lines.linewidth": 9, "axes.grid": True, "savefig.bbox": "tight"}
    with mpl.rc_context(own):
        assert written(entry, {"e": certificates}, tmp_path / "own.png") == plain
        votes = draw_votes(np.array([3, 97]), np.array([20, 980]))
        assert not votes.axes[0].title.get_usetex()
        assert mpl.rcParams["lines.linewidth"] == 9


@pytest.mark.parametrize("kind", ["curves", "pictures"])
def test_a_notebook_shows_what_the_file_holds(certificates, kind, tmp_path):
    clean, stages = np.zeros((3, 1, 8, 8)), np.zeros((2, 3, 1, 8, 8))
    pictures = {"clean": clean, "noisy": stages, "denoised": stages, "sigmas": [0.25, 0.5]}
    entry, data = {
        "curves": (AGAINST_RADIUS, {"e": certificates}),
        "pictures": (figure(PICTURES), pictures),
    }[kind]
    drawn = draw_figure(entry, data)
    for suffix in (".pdf", ".png"):
        save_figure(drawn, tmp_path / f"f{suffix}")
    with mpl.rc_context({"savefig.format": "svg", "savefig.dpi": 30}):
        assert to_png(draw_figure(entry, data)) == (tmp_path / "f.png").read_bytes()


def test_votes_are_drawn_as_they_were_counted():
    counts = np.array([3, 97, 0]), np.array([20, 970, 10])
    for axis, votes in zip(draw_votes(*counts).axes, counts, strict=True):
        assert [bar.get_height() for bar in axis.patches] == list(votes)


@pytest.mark.parametrize("classes", [2, 10, 100, 1000])
def test_votes_of_any_number_of_classes_can_be_seen_and_told_apart(classes):
    votes = np.zeros(classes, int)
    votes[-1] = 100
    drawn = draw_votes(votes, votes)
    image = mpl.image.imread(io.BytesIO(to_png(drawn)))
    color = mpl.colors.to_rgb(drawn.axes[0].patches[0].get_facecolor())
    assert np.isclose(image[..., :3], color, atol=0.02).all(axis=-1).sum() > 100
    with styled():
        drawn.draw_without_rendering()
    for axis in drawn.axes:
        labels = [label.get_window_extent() for label in axis.get_xticklabels()]
        assert len(labels) >= min(classes, 5)
        assert not any(label.overlaps(other) for label, other in itertools.pairwise(labels))


def corridor(attack):
    panel = PANEL | {"title": attack, "attack": attack}
    return {"kind": "accuracy_under_attack", "caption": "x", "panels": [panel]}


def attack_up_to(largest):
    """Return an attack that never succeeds."""
    rows = [(image, radius) for image in range(IMAGES) for radius in (0.0, largest)]
    attacked = pd.DataFrame(rows, columns=["image", "radius"])
    return attacked.assign(label=1, classifier="cnn", sigma=0.25, prediction=1)


@pytest.mark.parametrize(
    ("decided", "largest", "drawn", "marked"),
    [
        ("0.0 0.125 0.25 0.4", 0.3, [0.0, 0.125, 0.25, 0.3], 3),
        ("0.0 0.125 0.25 0.4", 0.25, [0.0, 0.125, 0.25], 3),
        ("0.0 0.125", 0.3, [0.0, 0.125], 2),
    ],
)
def test_a_corridor_ends_where_the_attack_does(certificates, decided, largest, drawn, marked):
    """At the height of the next radius that was decided, and outside of no panel."""
    rows = certificates.assign(
        image=np.tile(range(IMAGES), 2), lowest_radius=0.0, decided_radii=decided
    )
    data = {"e": rows, "attacks/e": attack_up_to(largest)}
    (axis,) = draw_figure(figure(corridor("e")), data).axes
    lower = axis.lines[0]
    assert list(lower.get_xdata()) == drawn
    assert sum(lower.get_markevery()) == marked
    radii = np.array(decided.split(), float)[: len(drawn)]
    heights = certified_accuracy(rows[rows["sigma"] == 0.25], radii)["accuracy"]
    assert list(lower.get_ydata()) == pytest.approx(list(100 * heights))
    assert axis.get_xlim() == (0, largest)


def test_where_nothing_is_decided_within_an_attack_there_is_no_corridor(certificates, tmp_path):
    rows = certificates.assign(image=np.tile(range(IMAGES), 2), lowest_radius=0.5)
    drawn = draw_figure(figure(corridor("e")), {"e": rows, "attacks/e": attack_up_to(0.3)})
    assert not drawn.axes[0].lines
    save_figure(drawn, tmp_path / "f.png")


def test_the_corridor_is_of_the_images_that_were_attacked(certificates, tmp_path):
    entry = figure(corridor("e"))
    certificates["image"] = np.tile(range(IMAGES), 2)
    first = certificates["image"] < 10
    attacked = pd.DataFrame(
        [(image, radius) for image in range(10) for radius in (0.0, 0.3)],
        columns=["image", "radius"],
    ).assign(label=1, classifier="cnn", sigma=0.25)
    near = attacked["radius"] > 0
    attacked["prediction"] = np.select([near & (attacked["image"] < 4), near], [2, -1], 1)
    (tmp_path / "attacks").mkdir()
    paths = [tmp_path / "e.parquet", tmp_path / "attacks" / "e.parquet"]
    for path, frame in zip(paths, (certificates, attacked), strict=True):
        frame.to_parquet(path)
    (axis,) = draw_figure(entry, read_data(paths)).axes
    lower, upper = axis.lines
    rows = certificates[first & (certificates["sigma"] == 0.25)]
    assert lower.get_ydata()[0] == pytest.approx(100 * rows["correct"].mean())
    assert lower.get_xdata()[-1] == 0.3
    assert list(upper.get_xdata()) == [0.0, 0.3]
    assert list(upper.get_ydata()) == [100, 60]
    assert axis.collections[-1].get_offsets().tolist() == [[0.0, 100.0], [0.3, 0.0]]
    assert upper.get_color() == lower.get_color()
    assert [line.get_label() for line in axis.lines] == [
        r"$\sigma = 0.25$", r"$\sigma = 0.25$, attacked",
    ]  # fmt: skip
