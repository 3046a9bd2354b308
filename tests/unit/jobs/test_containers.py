"""The image of `--sdm apptainer`, and the folders that its jobs see."""

from pathlib import Path

import pytest
from snakemake.settings.types import DeploymentMethod

from jobs.containers import ready_containers
from study.errors import StudyError

APPTAINER = {DeploymentMethod.CONDA, DeploymentMethod.APPTAINER}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("APPTAINER_BIND", "/data,/more")
    return tmp_path


def test_nothing_is_asked_without_containers(monkeypatch):
    monkeypatch.delenv("APPTAINER_BIND")
    ready_containers("", Path("/project"), {DeploymentMethod.CONDA})
    with pytest.raises(KeyError):
        monkeypatch.delenv("APPTAINER_BIND")


@pytest.mark.parametrize(
    ("image", "reason"),
    [("", "is empty, and --sdm apptainer needs an image"), ("no.sif", "there is no image no.sif")],
)
def test_an_image_that_is_not_there_is_one_line(image, reason):
    with pytest.raises(StudyError, match=f"config: container: {reason}"):
        ready_containers(image, Path("/project"), APPTAINER)


@pytest.mark.parametrize("image", ["docker://hub.example/dds:1", "dds.sif"])
def test_jobs_see_the_project_and_what_links_lead_to(image, folder, monkeypatch):
    import os

    Path("dds.sif").touch()
    (folder / "scratch").mkdir()
    Path("results").symlink_to(folder / "scratch")
    Path("downloads").mkdir()
    for _ in range(2):  # as in a job, whose Snakemake inherits what the first one set
        ready_containers(image, Path("/project"), APPTAINER)
        assert os.environ["APPTAINER_BIND"] == f"/data,/more,/project,{folder}/scratch"
