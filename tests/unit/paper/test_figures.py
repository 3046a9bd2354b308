"""Figures show the curves they claim to, and are written reproducibly."""

import numpy as np
import pandas as pd
import pytest

from dds.statistics.accuracy import certified_accuracy
from dds.statistics.bounds import binomial_interval
from paper.figures import draw_figure, draw_votes, read_data, save_figure

ENTRY = {
    "kind": "accuracy_against_radius", "caption": "x",
    "panels": [{"title": "CNN", "experiment": "e", "classifier": "cnn"}],
}  # fmt: skip

IMAGES = 50
AGAINST_SIGMA = ENTRY | {"kind": "accuracy_against_sigma", "radii": [0.0, 0.25, 0.4]}


@pytest.fixture
def certificates():
    generator = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "sigma": np.repeat([0.25, 0.5], IMAGES), "classifier": "cnn",
            "radius": np.concatenate([generator.uniform(0, reach, IMAGES) for reach in (0.5, 1)]),
            "correct": generator.random(2 * IMAGES) < 0.9,
        }
    )  # fmt: skip


def test_one_falling_curve_a_sigma(certificates):
    (axis,) = draw_figure(ENTRY, {"e": certificates}).axes
    assert [line.get_label() for line in axis.lines] == [r"$\sigma = 0.25$", r"$\sigma = 0.5$"]
    for line, (_, rows) in zip(axis.lines, certificates.groupby("sigma"), strict=True):
        heights = line.get_ydata()
        assert (np.diff(heights) <= 0).all()
        assert heights[0] == pytest.approx(100 * rows["correct"].mean())
        assert heights[-1] == 0


def test_one_curve_a_radius_over_the_sigmas(certificates):
    (axis,) = draw_figure(AGAINST_SIGMA, {"e": certificates}).axes
    assert [line.get_label() for line in axis.lines] == [
        rf"$\varepsilon = {radius:g}$" for radius in AGAINST_SIGMA["radii"]
    ]
    accuracies = certified_accuracy(certificates, AGAINST_SIGMA["radii"])
    for line, (_, rows) in zip(axis.lines, accuracies.groupby("radius"), strict=True):
        assert list(line.get_xdata()) == [0.25, 0.5]
        assert list(line.get_ydata()) == pytest.approx(list(100 * rows["accuracy"]))
    assert axis.get_xscale() == "log"
    assert [label.get_text() for label in axis.get_xticklabels()] == ["0.25", "0.5"]


@pytest.mark.parametrize("entry", [ENTRY, AGAINST_SIGMA], ids=lambda entry: entry["kind"])
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


def test_the_legend_lies_beside_the_data(certificates):
    figure = draw_figure(AGAINST_SIGMA, {"e": certificates})
    figure.draw_without_rendering()
    (legend,) = figure.legends
    assert legend.get_window_extent().x0 > figure.axes[-1].get_window_extent().x1


def test_panels_share_colours_and_legend(certificates):
    panels = [{"title": name, "experiment": name, "classifier": "cnn"} for name in "ab"]
    few = certificates[certificates["sigma"] == 0.5]
    figure = draw_figure(ENTRY | {"panels": panels}, {"a": certificates, "b": few})
    (_, first), (second,) = (axis.lines for axis in figure.axes)
    assert first.get_color() == second.get_color()
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        r"$\sigma = 0.25$", r"$\sigma = 0.5$",
    ]  # fmt: skip


def test_pictures_show_a_row_a_stage(tmp_path):
    clean = np.zeros((3, 1, 8, 8), np.float32)
    stages = np.zeros((2, 3, 1, 8, 8), np.float32)
    np.savez(tmp_path / "p.npz", clean=clean, noisy=stages, denoised=stages, sigmas=[0.25, 0.5])
    figure = draw_figure({"kind": "pictures"}, read_data([tmp_path / "p.npz"]))
    assert len(figure.axes) == 5 * 3
    assert figure.axes[3].get_ylabel() == r"$\sigma = 0.25$"


@pytest.mark.parametrize("suffix", [".pdf", ".png"])
def test_the_same_figure_gives_the_same_file(certificates, tmp_path, suffix):
    certificates.to_parquet(tmp_path / "e.parquet")
    files = []
    for name in ("a", "b"):
        save_figure(draw_figure(ENTRY, read_data([tmp_path / "e.parquet"])),
                    tmp_path / f"{name}{suffix}")  # fmt: skip
        files.append((tmp_path / f"{name}{suffix}").read_bytes())
    assert files[0] == files[1]


def test_votes_are_drawn_as_they_were_counted():
    counts = np.array([3, 97, 0]), np.array([20, 970, 10])
    for axis, votes in zip(draw_votes(*counts).axes, counts, strict=True):
        assert [bar.get_height() for bar in axis.patches] == list(votes)
