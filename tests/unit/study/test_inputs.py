"""The files that results are made from, where asking for them can fail."""

from pathlib import Path

import pytest

from study.errors import StudyError
from study.inputs import find_published_logs
from study.load import load_config

ROOT = Path(__file__).parents[3]


def logs(folder):
    return find_published_logs(load_config({"published_logs": str(folder)}), ROOT)


def test_no_folder_is_asked_for_no_logs():
    assert logs("") == []


@pytest.mark.parametrize(
    ("folder", "problem"),
    [
        ("absent", "there is no folder .*absent"),
        ("logs/log.tsv", "there is no folder .*log.tsv"),
        ("logs", "logs holds none of the logs that .*logs.csv links, by their SHA-256"),
        ("empty", "empty holds none of the logs"),
    ],
)
def test_a_folder_without_published_logs_is_refused_before_anything_runs(tmp_path, folder, problem):
    for name in ("logs", "empty"):
        (tmp_path / name).mkdir()
    (tmp_path / "logs/log.tsv").write_text("idx\tlabel\tpredict\tradius\tcorrect\ttime\n")
    at = "config/config.yaml or --config: published_logs"
    with pytest.raises(StudyError, match=f"^{at}: .*{problem}"):
        logs(tmp_path / folder)
