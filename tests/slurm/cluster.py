"""A real SLURM cluster on one machine: slurmctld, munge and nodes with fake GPUs.

    python tests/slurm/cluster.py start RUN     # RUN: a new folder for everything it writes
    eval "$(python tests/slurm/cluster.py environment RUN)"; sinfo
    python tests/slurm/cluster.py status RUN
    python tests/slurm/cluster.py stop RUN

It needs root and Debian's packages slurmctld, slurmd, slurm-client and munge, and with
--accounting slurmdbd and mariadb-server; it needs neither systemd nor cgroups, and
touches nothing outside RUN, so clusters run side by side. Every node has a host name of
its own where the machine allows it, two GPUs that are copies of /dev/null, and more CPUs
and memory than the machine may have. As on the least kind of sites, SLURM is found by
SLURM_CONF alone, and on the nodes there is no home to write to.

A supervisor starts the daemons, adopts whatever they leave behind, jobs included, and ends
it all with itself. As a fixture it is told to end with the test run, however that ends.
Should the supervisor itself be killed, `stop RUN` clears up: it finds what belongs to the
cluster by RUN in its environment, or a log in RUN that it holds open.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import fnmatch
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

PACKAGES = {
    "munged": "munge",
    "sinfo": "slurm-client",
    "slurmctld": "slurmctld",
    "slurmd": "slurmd",
}
ACCOUNTING_PACKAGES = {"mariadbd": "mariadb-server", "slurmdbd": "slurmdbd"}
ACCOUNT = "lab"  # that root's jobs are charged to, where there is accounting
MARK = "TEST_CLUSTER"  # Snakemake's jobs drop variables whose names start with SLURM_
NODE = "TEST_CLUSTER_NODE"

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER, _CLONE_NEWUTS = 1, 36, 0x04000000
_LONGEST_SOCKET_PATH = 107

#: Seconds that nothing here takes, however busy the machine.
LONG = 120

# Time limits are short, so that a test sees a dead node or an expired credential within
# half a minute.
_SLURM_CONF = """\
ClusterName=test
SlurmctldHost=localhost
SlurmctldPort={controller_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={run}/munge.socket,cred_expire=5
StateSaveLocation={run}/state
SlurmdSpoolDir={run}/spool.%n
SlurmctldPidFile={run}/slurmctld.pid
SlurmdPidFile={run}/slurmd.%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
{accounting}
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2,sched_min_interval=100000
GresTypes=gpu
ReturnToService=2
SlurmctldTimeout=10
SlurmdTimeout=10
MessageTimeout=5
TCPTimeout=2
KillWait=5
MinJobAge={min_job_age}
JobRequeue=1
Prolog={run}/prolog
TaskProlog={run}/task_prolog
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmdParameters=config_overrides
NodeName=DEFAULT CPUs=4 RealMemory=64000
{nodes}
PartitionName=DEFAULT Nodes={gpu_nodes} State=UP DefaultTime=60 MaxTime={max_time} DefMemPerCPU=100
PartitionName={partition} Default=YES PriorityTier=1 PreemptMode=REQUEUE GraceTime=10
PartitionName={urgent_partition} PriorityTier=10 PreemptMode=OFF
{cpu_partition}
"""

# Where jobs that want a GPU are refused.
_CPU_PARTITION = "PartitionName=cpu Nodes={cpu_nodes} PreemptMode=OFF"

_WITHOUT_ACCOUNTING = "AccountingStorageType=accounting_storage/none"

# As sites have it: a job without a valid account is refused.
_WITH_ACCOUNTING = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=localhost
AccountingStoragePort={port}
AccountingStoragePass={run}/munge.socket
AccountingStorageTRES=gres/gpu
AccountingStorageEnforce=associations,limits"""

_SLURMDBD_CONF = """\
AuthType=auth/munge
AuthInfo=socket={run}/munge.socket
DbdHost=localhost
DbdPort={port}
SlurmUser=root
StorageType=accounting_storage/mysql
StorageUser=root
PidFile={run}/slurmdbd.pid
"""


class ClusterError(RuntimeError):
    """The cluster cannot be brought up; the message says why."""


class Cluster:
    """A cluster that lives in a folder.

    Parameters
    ----------
    run : str or Path
        The folder.
    """

    def __init__(self, run: str | Path) -> None:
        self.run = Path(run).resolve()

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs in its environment to use the cluster."""
        return {
            MARK: str(self.run),
            "SLURM_CONF": f"{self.run}/slurm.conf",
            "MYSQL_UNIX_PORT": f"{self.run}/database.socket",  # where slurmdbd looks for it
        }

    def start(
        self,
        *,
        nodes: Iterable[str] = ("n1", "n2", "n3"),
        cpu_nodes: Iterable[str] = (),
        gpus: int = 2,
        partition: str = "main",
        urgent_partition: str = "urgent",
        accounting: bool = False,
        max_jobs: int | None = None,
        max_time: str = "INFINITE",
        min_job_age: int = 3600,
        ends_with_parent: bool = False,
    ) -> None:
        """Bring the cluster up and wait until all nodes are idle.

        Parameters
        ----------
        nodes : iterable of str, optional
            Names of the nodes with GPUs.
        cpu_nodes : iterable of str, optional
            Names of more nodes, without GPUs, which make up the partition `cpu`.
        gpus : int, optional
            Fake GPUs of each node.
        partition, urgent_partition : str, optional
            Names of the default partition, and of one whose jobs preempt those of the
            default one.
        accounting : bool, optional
            Whether jobs are kept in a database, and need an account: `ACCOUNT`.
        max_jobs : int, optional
            With accounting, how many jobs root may have in the queue.
        max_time : str, optional
            The longest that a job may run, as slurm.conf takes it.
        min_job_age : int, optional
            For how many seconds slurmctld knows a job that has ended.
        ends_with_parent : bool, optional
            Stop when the calling process ends, however it ends.

        Raises
        ------
        ClusterError
            If root or packages are missing, or the nodes do not come up.
        """
        nodes, cpu_nodes = list(nodes), list(cpu_nodes)
        self._check_requirements(PACKAGES | (ACCOUNTING_PACKAGES if accounting else {}))
        self._write_files(
            nodes, cpu_nodes, gpus, accounting, partition=partition,
            urgent_partition=urgent_partition, max_time=max_time, min_job_age=min_job_age,
        )  # fmt: skip
        nodes += cpu_nodes
        with (self.run / "supervisor.log").open("w") as log:
            subprocess.Popen(
                [sys.executable, __file__, "supervise", self.run, *nodes,
                 *(["--ends-with-parent"] if ends_with_parent else [])],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env=os.environ | self.environment,
            )  # fmt: skip
        try:
            if accounting:
                self.wait_until(lambda: self._add_account(max_jobs), LONG)
            self.wait_until(lambda: self.states() == dict.fromkeys(nodes, "idle"), LONG)
        except ClusterError:
            states = self.states()
            self.stop()
            raise ClusterError(
                f"the nodes did not come up: {states or 'no answer'}; logs: {self.run}/*.log"
            ) from None

    def _add_account(self, max_jobs: int | None) -> bool:
        """Give root an account, once the database answers and knows the cluster."""
        limit = [] if max_jobs is None else [f"maxsubmitjobs={max_jobs}"]
        self.command("sacctmgr", "--immediate", "add", "account", ACCOUNT, check=False)
        self.command("sacctmgr", "--immediate", "add", "user", "root", f"account={ACCOUNT}",
                     *limit, check=False)  # fmt: skip
        found = self.command("sacctmgr", "--noheader", "show", "associations", "user=root",
                             "format=account", check=False)  # fmt: skip
        return ACCOUNT in found

    def stop(self) -> None:
        """End every process of the cluster, jobs included; the folder stays."""
        if self._signal_supervisor(signal.SIGTERM):
            with contextlib.suppress(ClusterError):
                self.wait_until(lambda: not self.processes(), 10)
        while processes := self.processes():
            self.kill(processes)

    def command(self, *arguments: str, check: bool = True) -> str:
        """Run a SLURM command and return what it prints."""
        answer = subprocess.run(
            arguments, env=os.environ | self.environment, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        if check and answer.returncode:
            raise ClusterError(f"{' '.join(arguments)}: {answer.stderr.strip()}")
        return answer.stdout.strip()

    def states(self) -> dict[str, str]:
        """Return the state of each node, by its name; nothing when slurmctld is silent."""
        lines = self.command("sinfo", "--noheader", "--Node", "--format=%N %T", check=False)
        return dict(line.split() for line in lines.splitlines())

    def jobs(self) -> list[dict[str, str]]:
        """Return all jobs since the start, oldest first, as scontrol describes them."""
        answer = self.wait_until(
            lambda: self.command("scontrol", "--oneliner", "show", "jobs", check=False), LONG
        )
        described = (
            dict(field.partition("=")[::2] for field in line.split() if "=" in field)
            for line in answer.splitlines()
        )
        return sorted((job for job in described if "JobId" in job), key=lambda j: int(j["JobId"]))

    def wait_until(self, condition: Callable[[], object], seconds: float) -> object:
        """Return the condition's value as soon as it is true.

        Raises
        ------
        ClusterError
            If it is not after so many seconds.
        """
        end = time.monotonic() + seconds
        while not (value := condition()):
            if time.monotonic() > end:
                raise ClusterError(f"waited {seconds:g} s in vain")
            time.sleep(0.2)
        return value

    def processes(self, node: str | None = None) -> list[int]:
        """Return the living processes of the cluster, or those of one node."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                process = int(folder.name)
                if process != os.getpid() and _lives(process) and self._has(folder, node):
                    found.append(process)
        return found

    def _has(self, process: Path, node: str | None) -> bool:
        """Tell whether a process, by its folder in /proc, is the cluster's, or the node's."""
        environment = (process / "environ").read_bytes().decode(errors="replace").split("\0")
        if f"{MARK}={self.run}" in environment:
            return node is None or not {
                f"{NODE}={node}", f"SLURMD_NODENAME={node}"
            }.isdisjoint(environment)  # fmt: skip
        # slurmstepd writes its title over its environment, but keeps its node's log open.
        logs = str(self.run / f"slurmd.{node or '*'}.log")
        for opened in (process / "fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                if fnmatch.fnmatchcase(os.readlink(opened), logs):
                    return True
        return False

    def kill(self, processes: Iterable[int]) -> None:
        """Kill processes all at once: stopped first, none sees another one die."""
        processes = list(processes)
        self._signal(processes, signal.SIGSTOP)
        self._signal(processes, signal.SIGKILL)

    def kill_node(self, name: str, spared: Iterable[int] = ()) -> None:
        """Let a node die: its slurmd and all that runs on it, but processes that are spared.

        Looked for again until there are none: one may have been born meanwhile.
        """
        groups = {os.getpgid(process) for process in spared}
        while processes := set(self.processes(name)).difference(spared):
            self._signal(processes, signal.SIGSTOP)
            # The kernel hangs up on a process group that loses its last parent while one of
            # it is stopped. So nobody who is spared shares a group with a stopped process then.
            self._kill({process for process in processes if _group(process) in groups})
            self._kill(processes)

    def _kill(self, processes: Collection[int]) -> None:
        """Kill processes, and wait for their ends: one that is ending may hang up on others."""
        self._signal(processes, signal.SIGKILL)
        self.wait_until(lambda: not any(map(_lives, processes)), LONG)

    @staticmethod
    def _signal(processes: Iterable[int], number: int) -> None:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number)

    def break_nodes(self, broken: bool = True) -> None:
        """Let every node that shall start a job fail to, until told otherwise."""
        (self.run / "prolog").write_text(f"#!/bin/sh\nexit {int(broken)}\n")

    def stop_controller(self) -> None:
        """Let slurmctld end in order, as an administrator does."""
        os.kill(self._controller(), signal.SIGTERM)

    def kill_controller(self, *, losing_jobs: bool = False) -> None:
        """Let slurmctld die; it forgets what it has not saved, or all jobs."""
        self.kill([self._controller()])
        if losing_jobs:
            for saved in (self.run / "state").glob("job_state*"):
                saved.unlink()

    def _controller(self) -> int:
        return int((self.run / "slurmctld.pid").read_text())

    def revive(self) -> None:
        """Start again every daemon that is dead."""
        self._signal_supervisor(signal.SIGHUP)

    def _signal_supervisor(self, number: int) -> bool:
        """Send the supervisor a signal; tell whether there is one."""
        try:
            supervisor = int((self.run / "supervisor.pid").read_text())
        except FileNotFoundError:
            return False
        if supervisor not in self.processes():
            return False
        os.kill(supervisor, number)
        return True

    def _check_requirements(self, packages: dict[str, str]) -> None:
        if os.geteuid() != 0:
            raise ClusterError("a test cluster needs root")
        missing = [package for command, package in packages.items() if not shutil.which(command)]
        if missing:
            raise ClusterError(
                "missing packages; apt-get install --no-install-recommends " + " ".join(missing)
            )
        if len(f"{self.run}/munge.socket") > _LONGEST_SOCKET_PATH:
            raise ClusterError(f"{self.run} is too long a path for munge's socket")

    def _write_files(
        self, nodes: list[str], cpu_nodes: list[str], gpus: int, accounting: bool,
        **settings: object,
    ) -> None:  # fmt: skip
        try:
            self.run.mkdir(parents=True)
        except FileExistsError:
            raise ClusterError(f"{self.run} exists; a cluster needs a new folder") from None
        for name in ("state", "dev", *(f"spool.{node}" for node in nodes + cpu_nodes)):
            (self.run / name).mkdir()
        for index in range(gpus):
            os.mknod(self.run / f"dev/nvidia{index}", 0o20666, os.makedev(1, 3))
        key = self.run / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(1024))
        controller_port, database_port, *node_ports = _free_ports(2 + len(nodes + cpu_nodes))
        if accounting:
            self._prepare_database(database_port)
        (self.run / "slurm.conf").write_text(
            _SLURM_CONF.format(
                run=self.run, controller_port=controller_port, gpu_nodes=",".join(nodes),
                **settings,
                accounting=(
                    _WITH_ACCOUNTING.format(run=self.run, port=database_port) if accounting
                    else _WITHOUT_ACCOUNTING
                ),
                nodes="\n".join(
                    f"NodeName={node} NodeHostname=localhost NodeAddr=127.0.0.1 Port={port}"
                    + (f" Gres=gpu:fake:{gpus}" if node in nodes else "")
                    for node, port in zip(nodes + cpu_nodes, node_ports, strict=True)
                ),
                cpu_partition=(
                    _CPU_PARTITION.format(cpu_nodes=",".join(cpu_nodes)) if cpu_nodes else ""
                ),
            )
        )  # fmt: skip
        (self.run / "gres.conf").write_text(
            f"NodeName={','.join(nodes)} Name=gpu Type=fake Count={gpus} "
            f"File={self.run}/dev/nvidia[0-{gpus - 1}]\n"
        )
        self.break_nodes(False)
        (self.run / "prolog").chmod(0o755)
        # What it prints, SLURM puts into the environment of every task, batch scripts too.
        homeless = self.run / "task_prolog"
        homeless.write_text("#!/bin/sh\necho export HOME=/dev/null\n")
        homeless.chmod(0o755)

    def _prepare_database(self, port: int) -> None:
        subprocess.run(
            ["mariadb-install-db", "--no-defaults", "--user=root", "--skip-test-db",
             "--auth-root-authentication-method=socket", f"--datadir={self.run}/database"],
            check=True, capture_output=True,
        )  # fmt: skip
        configuration = self.run / "slurmdbd.conf"
        configuration.touch(mode=0o600)
        configuration.write_text(_SLURMDBD_CONF.format(run=self.run, port=port))


class Supervisor:
    """The process that starts a cluster's daemons and ends them with itself."""

    def __init__(self, run: Path, nodes: list[str]) -> None:
        self._run = run
        munge = ["munged", "--foreground", "--force", "--num-threads=2",
                 *(f"--{name}-file={run}/munge{suffix}" for name, suffix in
                   (("key", ".key"), ("pid", "d.pid"), ("log", "d.log"), ("seed", "d.seed"))),
                 f"--socket={run}/munge.socket"]  # fmt: skip
        controller = ["slurmctld", "-D", "-f", f"{run}/slurm.conf", "-L", f"{run}/slurmctld.log"]
        self._daemons = {"munged": munge}
        if (run / "slurmdbd.conf").exists():
            self._daemons["mariadbd"] = [
                "mariadbd", "--no-defaults", "--user=root", "--skip-networking",
                f"--datadir={run}/database", f"--socket={run}/database.socket",
                f"--pid-file={run}/mariadbd.pid", f"--log-error={run}/mariadbd.log",
            ]  # fmt: skip
            self._daemons["slurmdbd"] = ["slurmdbd", "-D"]
        self._daemons |= {"slurmctld": controller} | {
            node: ["slurmd", "-D", "-f", f"{run}/slurm.conf", "-N", node,
                   "-L", f"{run}/slurmd.{node}.log"]
            for node in nodes
        }  # fmt: skip
        self._running: dict[int, str] = {}

    def serve(self, *, ends_with_parent: bool) -> None:
        """Run the daemons until a signal says to end."""
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)
        parent = os.getppid()
        signals = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD}
        signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        if ends_with_parent:
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        (self._run / "supervisor.pid").write_text(str(os.getpid()))
        self._start_missing()
        received = None if parent == os.getppid() else signal.SIGTERM
        while received not in (signal.SIGTERM, signal.SIGINT):
            received = signal.sigwait(signals)
            self._reap()
            if received == signal.SIGHUP:
                self._start_missing()
        while not self._reap():  # what loses its parent becomes a child of this process
            Cluster(self._run).kill(_children(os.getpid()))
            time.sleep(0.02)

    def _start_missing(self) -> None:
        cluster = Cluster(self._run)
        sockets = {"munged": "munge.socket", "mariadbd": "database.socket"}
        for name in sockets.keys() - self._running.values():
            (self._run / sockets[name]).unlink(missing_ok=True)
        for name, command in self._daemons.items():
            if name not in self._running.values():
                self._running[self._start(name, command)] = name
            if name in sockets:  # what comes after needs it
                cluster.wait_until((self._run / sockets[name]).exists, LONG)
            elif name == "slurmdbd":
                cluster.wait_until(
                    lambda: cluster.command("sacctmgr", "show", "clusters", check=False), LONG
                )

    def _start(self, name: str, command: list[str]) -> int:
        child = os.fork()
        if child:
            return child
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        os.setsid()
        environment = dict(os.environ)
        if command[0] == "slurmd":
            environment[NODE] = name
            with contextlib.suppress(OSError):  # without the right to, nodes share a host name
                if ctypes.CDLL(None).unshare(_CLONE_NEWUTS) == 0:
                    socket.sethostname(name)
        try:
            os.execvpe(command[0], command, environment)
        finally:
            os._exit(127)

    def _reap(self) -> bool:
        """Bury dead children; tell whether none is left."""
        try:
            while (child := os.waitpid(-1, os.WNOHANG)[0]) != 0:
                self._running.pop(child, None)
        except ChildProcessError:
            return True
        return False


def _group(process: int) -> int | None:
    """Return the process group of a process, if that lives."""
    with contextlib.suppress(ProcessLookupError):
        return os.getpgid(process)
    return None


def _lives(process: int) -> bool:
    """Tell whether a process has not come to its end; while it ends it has no environment."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def _children(parent: int) -> list[int]:
    """Return the processes whose parent is `parent`."""
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(file.read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(file.parent.name))
    return found


def _free_ports(count: int) -> list[int]:
    """Return ports that nothing listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for opened in sockets:
            opened.bind(("127.0.0.1", 0))
        return [opened.getsockname()[1] for opened in sockets]


def main() -> None:
    """Run one command of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    start = commands.add_parser("start", help="bring a cluster up")
    start.add_argument("--nodes", default="n1,n2,n3", help="names, with commas")
    start.add_argument("--gpus", type=int, default=2, help="fake GPUs a node")
    start.add_argument("--partition", default="main", help="name of the default partition")
    start.add_argument("--accounting", action="store_true", help="with slurmdbd and a database")
    start.add_argument("--urgent-partition", default="urgent", help="name of one that preempts")
    commands.add_parser("stop", help="end all its processes")
    commands.add_parser("status", help="show nodes and jobs")
    commands.add_parser("environment", help="print what a shell needs to use it")
    supervise = commands.add_parser("supervise")
    for command in commands.choices.values():
        command.add_argument("run", metavar="RUN", help="the cluster's folder")
    supervise.add_argument("names", nargs="+")
    supervise.add_argument("--ends-with-parent", action="store_true")
    arguments = parser.parse_args()

    cluster = Cluster(arguments.run)
    if arguments.command not in ("start", "supervise") and not cluster.run.is_dir():
        raise ClusterError(f"there is no cluster in {cluster.run}")
    if arguments.command == "supervise":
        Supervisor(cluster.run, arguments.names).serve(ends_with_parent=arguments.ends_with_parent)
    elif arguments.command == "start":
        cluster.start(
            nodes=arguments.nodes.split(","), gpus=arguments.gpus, partition=arguments.partition,
            urgent_partition=arguments.urgent_partition, accounting=arguments.accounting,
        )  # fmt: skip
        print(f"{len(cluster.states())} nodes idle in {cluster.run}")
    elif arguments.command == "stop":
        cluster.stop()
        print("nothing left running")
    elif arguments.command == "environment":
        for key, value in cluster.environment.items():
            print(f"export {key}='{value}'")
    else:
        print(cluster.command("sinfo"), cluster.command("squeue"), sep="\n\n")


if __name__ == "__main__":
    try:
        main()
    except ClusterError as error:
        sys.exit(f"error: {error}")
