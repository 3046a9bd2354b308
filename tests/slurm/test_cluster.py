"""The test cluster is a cluster, stands beside others, and leaves nothing behind."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cluster import LONG, Cluster, ClusterError

pytestmark = pytest.mark.slurm


def submit(cluster, *options, script="sleep 600"):
    return cluster.command(
        "sbatch", "--parsable", "--output=/dev/null", *options, f"--wrap=srun {script}"
    )


def running(cluster, count):
    cluster.wait_until(
        lambda: [job["JobState"] for job in cluster.jobs()].count("RUNNING") == count, LONG
    )


def alive(word):
    """Tell whether any process has the word among its arguments."""
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if word.encode() in file.read_bytes().split(b"\0"):
                return True
    return False


def test_gpus_are_handed_out_and_run_out(cluster):
    for _ in range(8):
        submit(cluster, "--gpus=1")
    running(cluster, 6)
    assert sorted(job["NodeList"] for job in cluster.jobs()) == sorted(
        ["", "", *("n1", "n2", "n3") * 2]
    )


def test_a_jobs_node_has_a_name_and_a_gpu(cluster, tmp_path):
    file = tmp_path / "said"
    submit(cluster, "--gpus=1", "-w", "n2", script=f"sh -c 'hostname; echo $CUDA_VISIBLE_DEVICES' "
                                                   f"> {file}")  # fmt: skip
    cluster.wait_until(lambda: cluster.jobs()[0]["JobState"] == "COMPLETED", LONG)
    assert file.read_text().split() == ["n2", "0"]


def test_a_dead_nodes_job_is_requeued_and_the_node_comes_back(cluster):
    submit(cluster, "--requeue")
    running(cluster, 1)
    node = cluster.jobs()[0]["NodeList"]
    cluster.kill_node(node)
    assert not cluster.processes(node)
    cluster.wait_until(lambda: cluster.jobs()[0]["Restarts"] == "1", LONG)
    cluster.revive()
    cluster.wait_until(lambda: cluster.states().get(node) in ("idle", "mixed"), LONG)
    running(cluster, 1)


def test_stopping_ends_every_process(cluster):
    """One that hides its environment and leaves its job, too."""
    submit(cluster, script="env -i setsid sleep 98765")
    running(cluster, 1)
    assert cluster.processes()
    cluster.wait_until(lambda: alive("98765"), LONG)
    cluster.stop()
    assert not cluster.processes()
    assert not alive("98765")


def test_names_are_free_and_clusters_stand_side_by_side(cluster, tmp_path):
    other = Cluster(tmp_path / "other")
    other.start(nodes=["a1", "a2"], gpus=1, partition="short", ends_with_parent=True)
    try:
        assert other.states() == {"a1": "idle", "a2": "idle"}
        assert "short*" in other.command("sinfo", "--format=%P")
        assert set(cluster.states()) == {"n1", "n2", "n3"}
    finally:
        other.stop()
    assert set(cluster.states()) == {"n1", "n2", "n3"}


def test_a_killed_owner_takes_its_cluster_with_it(cluster, tmp_path):
    other = Cluster(tmp_path / "other")
    script = (
        "import os, signal; from cluster import Cluster;"
        f"Cluster({str(other.run)!r}).start(ends_with_parent=True);"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    owner = subprocess.run(
        [sys.executable, "-c", script], cwd=Path(__file__).parent, check=False
    )  # fmt: skip
    assert owner.returncode == -signal.SIGKILL
    cluster.wait_until(lambda: not other.processes(), LONG)


def test_stop_clears_up_after_a_killed_supervisor(cluster):
    submit(cluster)
    running(cluster, 1)
    os.kill(int((cluster.run / "supervisor.pid").read_text()), signal.SIGKILL)
    cluster.stop()
    assert not cluster.processes()


def test_a_used_folder_is_refused(cluster):
    with pytest.raises(ClusterError, match="needs a new folder"):
        Cluster(cluster.run).start()
