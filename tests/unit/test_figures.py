"""Figures show the curves they claim to, and are written reproducibly."""

import numpy as np
import pandas as pd
import pytest

from dds.figures import draw_figure, read_data, save_figure

ENTRY = {
    "kind": "accuracy_against_radius", "caption": "x",
    "panels": [{"title": "CNN", "experiment": "e", "classifier": "cnn"}],
}  # fmt: skip


@pytest.fixture
def certificates():
    generator = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "sigma": np.repeat([0.25, 0.5], 50), "classifier": "cnn",
            "radius": np.concatenate([generator.uniform(0, 0.5, 50), generator.uniform(0, 1, 50)]),
            "correct": generator.random(100) < 0.9,
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
