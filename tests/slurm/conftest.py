"""A project, a SLURM cluster to run it on, and the counts that it has without one."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from cluster import Cluster, ClusterError

from jobs.checkpoints import UnusableCheckpoint, read_progress

ROOT = Path(__file__).parents[2]
PARTS = ("Snakefile", "config", "envs", "notebooks", "profiles", "slurm", "workflow")

# What a user of this cluster would write, beside the profile that ships: the study, a
# partition, no conda, and short waits because a test has no time.
SITE = {
    "config": {"study": "tiny.yaml", "device": "cpu", "checkpoint_seconds": 1},
    "default-resources": {"slurm_partition": "main", "mem_mb": 1000, "runtime": 60},
    "software-deployment-method": "env-modules",
    "slurm-init-seconds-before-status-checks": 1,
    "latency-wait": 5,
}

#: Seconds that no step takes, nor the digits study, however busy the machine.
LONG, WHOLE_STUDY = 600, 2400


class Run:
    """Snakemake at work in a project."""

    def __init__(self, command: list[str], project: Project, environment: dict[str, str]) -> None:
        self._log = project.folder / f"snakemake.{time.monotonic_ns()}.log"
        # It ends with the tests, however they end, and Ctrl-C reaches it, though a shell may run
        # them in the background, where that is ignored.
        bound = ["env", "--default-signal=INT", "setpriv", "--pdeathsig=KILL", *command]
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                bound, cwd=project.folder, env=os.environ | environment, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return self._log.read_text()

    def succeed(self, seconds: float = LONG) -> str:
        """Wait for its end and return what it printed."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
        assert self.process.poll() == 0, self.output
        return self.output

    def wait_until(self, condition: Callable[[], object]) -> object:
        """Return the condition's value as soon as it is true, while Snakemake runs."""
        end = time.monotonic() + LONG
        while not (value := condition()):
            if self.process.poll() is not None:  # all has happened that will
                assert (value := condition()), self.output
                return value
            assert time.monotonic() < end, self.output
            time.sleep(0.1)
        return value

    def end(self, number: int = signal.SIGKILL) -> None:
        """Send a signal to Snakemake alone, not to its jobs."""
        if self.process.poll() is None:
            os.kill(self.process.pid, number)
        self.process.wait(LONG)


class Project:
    """A copy of the project's files, to run a study in.

    Parameters
    ----------
    folder : Path
        Where it goes; must not exist.
    like : Project, optional
        Another copy, whose data and models this one starts with.
    study : str, optional
        The study's name: "tiny", or one that the project ships.
    """

    shard = Path("counts/long/sigma_0.25/images_00000-00009")

    def __init__(self, folder: Path, like: Project | None = None, study: str = "tiny") -> None:
        self.folder, self.results = folder, folder / "results" / study
        self._runs: list[Run] = []
        ignore = shutil.ignore_patterns("__pycache__", "locks")
        for part in PARTS:
            folder.mkdir(exist_ok=True)
            if (ROOT / part).is_dir():
                shutil.copytree(ROOT / part, folder / part, ignore=ignore)
            else:
                shutil.copy2(ROOT / part, folder / part)
        shutil.copy2(Path(__file__).parent / "tiny.yaml", folder)
        config = SITE["config"] | ({} if study == "tiny" else {"study": study})
        self.site = copy.deepcopy(SITE) | {"config": config}
        if like:
            for part in (".snakemake", "results/tiny/data", "results/tiny/models"):
                shutil.copytree(like.folder / part, folder / part, ignore=ignore)

    def run_here(self, *targets: str) -> None:
        """Run Snakemake on this machine to its end."""
        config = [f"{key}={value}" for key, value in self.site["config"].items()]
        command = ["-m", "snakemake", "--cores", "2", *targets, "--config", *config]
        Run([sys.executable, *command], self, {}).succeed(WHOLE_STUDY)

    def submit(self, cluster: Cluster, *arguments: str) -> Run:
        """Start Snakemake with the profile that ships and the site's values."""
        (self.folder / "site.yaml").write_text(yaml.safe_dump(self.site))
        command = ["-m", "snakemake", "--profile", "slurm", "--profile", "site.yaml", *arguments]
        self._runs.append(Run([sys.executable, *command], self, cluster.environment))
        return self._runs[-1]

    def end_runs(self) -> None:
        """Kill what Snakemake is left."""
        for run in self._runs:
            run.end()

    def progress(self) -> dict[str, int]:
        """How far the long shard is, by its checkpoint."""
        try:
            return read_progress(self.results / self.shard.with_suffix(".checkpoint"))
        except (FileNotFoundError, UnusableCheckpoint):
            return {"samples": 0, "starts": 0}

    def provenance(self) -> dict:
        """What the long shard's job says of itself."""
        return json.loads((self.results / self.shard.with_suffix(".json")).read_text())

    def log(self) -> str:
        """The log of the long shard's last job."""
        name = self.shard.relative_to("counts").with_suffix(".log")
        path = self.results / "logs/certify_shard" / name
        return path.read_text() if path.exists() else ""

    def slurm_log(self, job: str) -> str:
        """What a job that failed printed; Snakemake keeps no other's."""
        (path,) = (self.folder / ".snakemake/slurm_logs").rglob(f"{job}.log")
        return path.read_text()

    def digests(self, experiment: str) -> dict[str, str]:
        """Hash every counts file of an experiment, and its merged one where it is there."""
        folder = self.results / "counts"
        files = [*folder.glob(f"{experiment}/*/*.parquet"), *folder.glob(f"{experiment}.parquet")]
        return {
            str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
            for file in files
        }


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project, run on this machine without SLURM."""
    project = Project(tmp_path_factory.mktemp("undisturbed") / "project")
    project.run_here("results/tiny/counts/many.parquet", "results/tiny/counts/long.parquet")
    return project


@pytest.fixture
def cluster(tmp_path: Path, request: pytest.FixtureRequest) -> Cluster:
    """A cluster of three nodes with two GPUs each, which ends with the test.

    A test that wants other arguments of `Cluster.start` gives them as a parameter.
    """
    cluster = Cluster(tmp_path / "cluster")
    try:
        cluster.start(ends_with_parent=True, **getattr(request, "param", {}))
    except ClusterError as error:
        pytest.fail(str(error), pytrace=False)
    yield cluster
    cluster.stop()


@pytest.fixture
def project(tmp_path: Path, cluster: Cluster, undisturbed: Project) -> Project:
    """A project with data and models and without counts."""
    project = Project(tmp_path / "project", like=undisturbed)
    yield project
    project.end_runs()
