"""A copy of the project with a small study of its own, run once and shared by the tests."""

from __future__ import annotations

import pytest
from projects import Project, hostile_account, shorten, shrink


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The small study, built to the end by somebody with settings that would fail it."""
    settings = hostile_account(tmp_path_factory.mktemp("account"))
    project = Project(tmp_path_factory.mktemp("project"), settings)
    shorten(project)
    shrink(project.study)
    project.write_study()
    project.snakemake("all")
    return project
