"""What torch.compile made of networks, kept for the jobs that run the same networks later.

torch keeps kernels in a folder of thousands of small files, under locks, and takes what lies
there on trust. So a job gets such a folder for itself, on its own host, and puts whole programs
there, too. What is kept for others is one file: an archive of that folder, whole or absent, with
a hash of its content. Jobs on any number of hosts may read and write it at once without locks;
the last one wins, and whatever it did not know is compiled, and added, by the next that needs it.
"""

from __future__ import annotations

import io
import json
import logging
import os
import platform
import re
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from dds.differences import fingerprint
from jobs.checkpoints import UnusableCheckpoint, load_checkpoint, save_checkpoint
from jobs.device import device_name
from jobs.processes import is_alive, names_a_process, this_process
from jobs.provenance import processor

#: Bytes that all archives together may take; the least recently used go first.
LARGEST = 2 * 2**30

#: The variable by which torch is told where its folder is; whoever sets it keeps programs there.
VARIABLE = "TORCHINDUCTOR_CACHE_DIR"

#: How the names of jobs' folders begin, and the file in one that says which process's it is.
PREFIX, OWNER = "dds-programs-", "owner.json"

#: When a file was written, and how many bytes it has.
_State = tuple[int, int]

_log = logging.getLogger("programs")


class Programs:
    """A folder that torch keeps programs in, and the archive that it came from.

    Attributes
    ----------
    folder : Path
        The folder, of the running job alone.
    """

    def __init__(self, folder: Path, archive: Path, identity: Mapping[str, Any]) -> None:
        self.folder, self._archive, self._identity = folder, archive, identity
        self._kept = self._unpack()

    def save(self) -> None:
        """Keep what has come to the folder, if anything has; failing is no harm."""
        try:
            found = self._files()
            if found.items() <= self._kept.items():
                return
            save_checkpoint(self._archive, _packed(self.folder, found), self._identity, {})
            _prune(self._archive)
            size = self._archive.stat().st_size / 1e6
        except OSError as error:  # also where another job has pruned the archive meanwhile
            _log.warning("compiled programs are not kept: %s", error)
            return
        self._kept = found
        _log.info("compiled programs are kept in %s, %.1f MB", self._archive, size)

    def _unpack(self) -> dict[str, _State]:
        try:
            if (found := load_checkpoint(self._archive, self._identity)) is None:
                return {}
            with tarfile.open(fileobj=io.BytesIO(found[0])) as archive:
                archive.extractall(self.folder, filter="data")
        except (UnusableCheckpoint, OSError, tarfile.TarError) as error:
            shutil.rmtree(self.folder)  # what a full disk has cut
            self.folder.mkdir()
            reason = str(error).replace("checkpoint ", "")
            _log.warning("%s; networks are compiled anew", reason)
            return {}
        with suppress(OSError):  # it may be another user's
            os.utime(self._archive)  # used, so not the first to be pruned
        kept = self._files()
        _log.info("%d files of compiled programs from %s", len(kept), self._archive)
        return kept

    def _files(self) -> dict[str, _State]:
        """Return the files of the folder, without locks and what is being written."""
        found = {}
        for path in self.folder.rglob("*"):
            if path.is_file() and path.suffix not in (".lock", ".tmp"):
                with suppress(FileNotFoundError):  # moved to its place meanwhile
                    state = path.stat()
                    name = path.relative_to(self.folder).as_posix()
                    found[name] = (state.st_mtime_ns, state.st_size)
        return found


class NoPrograms:
    """Stands for `Programs` where none are kept."""

    folder = None

    def save(self) -> None:
        """Do nothing."""


@contextmanager
def kept_programs(
    top: Path, device: torch.device, networks: Mapping[str, Any]
) -> Iterator[Programs | NoPrograms]:
    """Let networks be compiled from what earlier jobs have kept, for the length of the block.

    Parameters
    ----------
    top : Path
        The folder of all archives.
    device : torch.device
        What is compiled for. Another kind of it, or other versions of torch and of what it
        compiles with, have other archives.
    networks : mapping
        What tells which networks are compiled and how, as JSON can hold it. It decides what is
        found together, and nothing else: torch itself compares all that a kernel depends on, and
        `dds.networks.programs` all that a program does.

    Yields
    ------
    Programs or NoPrograms
        The latter where whoever started the job has set `VARIABLE` to a folder of their own, or
        where there is no room for a folder.
    """
    before = os.environ.get(VARIABLE)
    if before is not None and before != _default_folder():
        yield NoPrograms()
        return
    environment = describe_environment(device)
    name = " ".join(f"{key} {value}" if key != "device" else value
                    for key, value in environment.items())  # fmt: skip
    archive = top / re.sub(r"[^\w.+-]+", "_", name) / f"{fingerprint(networks)}.programs"
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(_own_folder())
        except OSError as error:
            _log.warning("compiled programs are not kept: %s", error)
            yield NoPrograms()
            return
        programs = Programs(folder, archive, {**environment, "networks": networks})
        os.environ[VARIABLE] = str(folder)
        try:
            yield programs
        finally:
            del os.environ[VARIABLE]
            if before is not None:
                os.environ[VARIABLE] = before


@contextmanager
def _own_folder() -> Iterator[Path]:
    """Make a folder for this process, after removing what killed ones of this user have left."""
    for left in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError, ValueError):  # removed meanwhile, or only just made
            if left.lstat().st_uid == os.getuid():
                owner = json.loads((left / OWNER).read_text())
                if names_a_process(owner) and is_alive(owner) is False:
                    shutil.rmtree(left)
    with tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as top:
        Path(top, OWNER).write_text(json.dumps(this_process()))
        folder = Path(top, "programs")
        folder.mkdir()
        yield folder


def describe_environment(device: torch.device) -> dict[str, str]:
    """Return what programs for a device are made for and with.

    Parameters
    ----------
    device : torch.device
        What they run on.

    Returns
    -------
    dict of str to str
        ``device``, and the versions of ``torch``, ``cuda`` or ``hip``, ``triton`` and ``python``.
    """
    on_cpu = device.type == "cpu"
    found = {
        "device": processor() if on_cpu else device_name(device),
        "torch": torch.__version__,
        "cuda": None if on_cpu else torch.version.cuda,
        "hip": None if on_cpu else torch.version.hip,
        "triton": None if on_cpu else _version("triton"),
        "python": f"{sys.version_info.major}.{sys.version_info.minor} {platform.machine()}",
    }
    return {key: value for key, value in found.items() if value}


def _default_folder() -> str:
    """Return what torch itself sets `VARIABLE` to when it is first looked at."""
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir

    return default_cache_dir()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _packed(folder: Path, names: Iterable[str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as archive:
        for name in sorted(names):
            with suppress(FileNotFoundError):  # moved to its place meanwhile
                archive.add(folder / name, name)
    return buffer.getvalue()


def _prune(newest: Path) -> None:
    """Remove the least recently used archives, and what killed jobs left of some, above `LARGEST`.

    The newest stays, and what is another user's may.
    """
    states = []
    for path in newest.parents[1].rglob("*"):
        with suppress(OSError):
            if path.is_file() and path != newest:
                states.append((path.stat().st_mtime, path.stat().st_size, path))
    room = LARGEST - newest.stat().st_size
    for _, size, path in sorted(states, reverse=True):
        room -= size
        if room < 0:
            with suppress(OSError):
                path.unlink()
