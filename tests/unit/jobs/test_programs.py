"""Compiled networks are kept for other jobs, and whatever happens to them does no harm."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch._inductor.runtime.cache_dir_utils import default_cache_dir

from jobs import programs
from jobs.processes import this_process
from jobs.programs import VARIABLE, describe_environment, kept_programs

SCRIPTS = Path(programs.__file__).parents[1]

CPU = torch.device("cpu")
NETWORKS = {"descriptions": [{"network": "unet"}], "precision": "bfloat16", "batch_size": 1000}


@pytest.fixture(autouse=True)
def on_its_own(monkeypatch, tmp_path):
    monkeypatch.delenv(VARIABLE, raising=False)
    (tmp_path / "host").mkdir()
    monkeypatch.setattr(programs.tempfile, "tempdir", str(tmp_path / "host"))


def job(top, compiles=(), networks=NETWORKS):
    """Be a job: return the programs that it finds, after compiling others as torch does."""
    with kept_programs(top, CPU, networks) as kept:
        folder = Path(os.environ[VARIABLE])
        found = {path.name: path.read_text() for path in folder.rglob("*") if path.is_file()}
        for name in compiles:
            path = folder / "fxgraph" / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(f"program {name}")
            path.with_suffix(".lock").touch()
        kept.save()
    assert VARIABLE not in os.environ
    assert not folder.exists()
    return found


def archives(top):
    return [path for path in top.rglob("*") if path.is_file()]


def test_what_one_job_compiles_the_next_finds_and_adds_to(tmp_path):
    assert job(tmp_path / "kept", ["a"]) == {}
    assert job(tmp_path / "kept", ["b"]) == {"a": "program a"}
    assert job(tmp_path / "kept") == {"a": "program a", "b": "program b"}
    assert len(archives(tmp_path / "kept")) == 1


def test_a_job_that_compiles_nothing_writes_nothing(tmp_path):
    job(tmp_path / "kept")
    assert not (tmp_path / "kept").exists()
    job(tmp_path / "kept", ["a"])
    (path,) = archives(tmp_path / "kept")
    before = path.stat().st_ino
    job(tmp_path / "kept")
    assert path.stat().st_ino == before


def test_a_program_that_is_made_anew_takes_the_place_of_the_old(tmp_path):
    job(tmp_path, ["a"])
    with kept_programs(tmp_path, CPU, NETWORKS) as kept:
        (kept.folder / "fxgraph" / "a").write_text("another a")
        kept.save()
    assert job(tmp_path) == {"a": "another a"}


def test_jobs_at_once_leave_a_whole_archive(tmp_path):
    top = tmp_path / "kept"
    with kept_programs(top, CPU, NETWORKS) as kept:
        Path(os.environ[VARIABLE], "a").write_text("program a")
        outer = os.environ.pop(VARIABLE)
        assert job(top, ["b"]) == {}
        os.environ[VARIABLE] = outer
        kept.save()
    assert job(top) == {"a": "program a"}
    assert job(top, ["b"]) == {"a": "program a"}
    assert job(top) == {"a": "program a", "b": "program b"}


@pytest.mark.parametrize("damage", [
    lambda content: content[:-10],
    lambda content: content[:-10] + b"0123456789",
    lambda content: content.replace(b'"torch"', b'"troch"'),
    lambda content: b"",
])  # fmt: skip
def test_a_damaged_archive_is_one_line_and_is_replaced(tmp_path, caplog, damage):
    job(tmp_path, ["a"])
    (path,) = (tmp_path).glob("*/*.programs")
    path.write_bytes(damage(path.read_bytes()))
    assert job(tmp_path, ["a"]) == {}
    (line,) = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert line == f"{path} is damaged; networks are compiled anew"
    assert job(tmp_path) == {"a": "program a"}


def test_networks_have_archives_of_their_own(tmp_path):
    job(tmp_path, ["a"])
    assert job(tmp_path, networks={**NETWORKS, "precision": "float32"}) == {}


@pytest.mark.parametrize(("package", "attribute"), [
    (torch, "__version__"), (torch.version, "cuda"), (programs, "device_name"),
    (programs, "version"),
])  # fmt: skip
def test_another_gpu_or_version_has_another_folder(tmp_path, monkeypatch, package, attribute):
    monkeypatch.setattr(programs, "device_name", lambda device: "NVIDIA H100 80GB HBM3")
    monkeypatch.setattr(programs, "version", lambda package: "3.6.0")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    gpu = torch.device("cuda")

    def folder():
        with kept_programs(tmp_path / "kept", gpu, NETWORKS) as kept:
            Path(os.environ[VARIABLE], "a").write_text("program a")
            kept.save()
        return {path.parent.name for path in (tmp_path / "kept").glob("*/*")}

    (first,) = folder()
    assert first.startswith(f"NVIDIA_H100_80GB_HBM3_torch_{torch.__version__}_cuda_13.0_triton")
    other = (lambda _: "9.9") if callable(getattr(package, attribute)) else "9.9"
    monkeypatch.setattr(package, attribute, other)
    assert len(folder()) == 2


def test_programs_for_a_processor_are_its_own(monkeypatch):
    monkeypatch.setattr(programs, "processor", lambda: "a processor")
    assert describe_environment(CPU)["device"] == "a processor"


def test_the_least_recently_used_archives_go_first(tmp_path, monkeypatch):
    names = [{"name": number} for number in range(3)]
    for age, networks in zip((10, 30, 20), names, strict=True):
        (before,) = [set(archives(tmp_path / "kept"))]
        job(tmp_path / "kept", ["a"], networks)
        (path,) = set(archives(tmp_path / "kept")) - before
        os.utime(path, (age, age))
    job(tmp_path / "kept", networks=names[0])  # used
    monkeypatch.setattr(programs, "LARGEST", 2.5 * path.stat().st_size)
    job(tmp_path / "kept", ["a", "b"], names[1])
    assert [bool(job(tmp_path / "kept", networks=name)) for name in names] == [True, True, False]


def test_where_nothing_can_be_written_jobs_go_on(tmp_path, caplog):
    (tmp_path / "kept").write_text("a file where the folder belongs")
    assert job(tmp_path / "kept", ["a"]) == {}
    assert "compiled programs are not kept: " in caplog.text
    caplog.clear()
    programs.tempfile.tempdir = str(tmp_path / "missing")
    with kept_programs(tmp_path, CPU, NETWORKS) as kept:
        assert VARIABLE not in os.environ
        kept.save()
    assert "compiled programs are not kept: " in caplog.text


def test_an_archive_that_another_job_prunes_at_once_is_no_harm(tmp_path, monkeypatch, caplog):
    with monkeypatch.context() as patch:
        patch.setattr(programs, "_prune", Path.unlink)
        job(tmp_path, ["a"])
    assert "compiled programs are not kept: " in caplog.text
    assert job(tmp_path, ["a"]) == {}
    assert job(tmp_path) == {"a": "program a"}


def test_a_folder_that_cannot_be_read_is_no_harm(tmp_path, monkeypatch, caplog):
    def is_file(path):
        raise OSError(f"stale file handle: {path}")

    with kept_programs(tmp_path / "kept", CPU, NETWORKS) as kept:
        (kept.folder / "a").touch()
        with monkeypatch.context() as patch:
            patch.setattr(Path, "is_file", is_file)
            kept.save()
    assert "compiled programs are not kept: stale file handle" in caplog.text


def test_an_archive_that_cannot_be_removed_keeps_none_of_the_others(tmp_path, monkeypatch):
    for name in ("a", "b"):
        job(tmp_path / "kept", [name], {"name": name})
    ours, theirs = archives(tmp_path / "kept")
    os.utime(ours, (1, 1))  # so that it goes after the other
    unlink = Path.unlink
    monkeypatch.setattr(programs, "LARGEST", 0)
    monkeypatch.setattr(
        Path, "unlink",
        lambda path, **options: os.rmdir(path) if path == theirs else unlink(path, **options),
    )  # fmt: skip
    job(tmp_path / "kept", ["c"])
    assert theirs.exists()
    assert not ours.exists()


def test_what_killed_jobs_have_left_is_removed_by_the_next(tmp_path):
    program = (
        "import os, signal, torch\n"
        "from pathlib import Path\n"
        "from jobs.programs import kept_programs\n"
        "with kept_programs(Path('kept'), torch.device('cpu'), {}) as kept:\n"
        "    (kept.folder / 'kernel').touch()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    host = tmp_path / "host"
    settings = os.environ | {"TMPDIR": str(host), "PYTHONPATH": str(SCRIPTS)}
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=settings, check=False)
    (left,) = host.rglob("kernel")
    with kept_programs(tmp_path, CPU, NETWORKS) as kept:
        assert not left.exists()
        (kept.folder / "kernel").touch()
        del os.environ[VARIABLE]
        job(tmp_path)
        assert (kept.folder / "kernel").exists()  # of a job that lives
        os.environ[VARIABLE] = str(kept.folder)
    assert not list(host.iterdir())


@pytest.mark.parametrize(("other", "stays"), [
    ({}, False), ({"pid": os.getpid()}, True), ({"host": "another"}, True),
    ({"pid_namespace": "pid:[1]"}, True), ({"pid": "unreadable"}, True),
])  # fmt: skip
def test_what_may_be_a_living_jobs_stays(tmp_path, other, stays):
    (ended := subprocess.Popen(["true"])).wait()
    left = tmp_path / "host" / f"{programs.PREFIX}left"
    left.mkdir()
    (left / programs.OWNER).write_text(json.dumps(this_process() | {"pid": ended.pid} | other))
    job(tmp_path)
    assert left.exists() == stays


def test_the_folder_that_torch_names_by_itself_is_not_the_users(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, default_cache_dir())
    with kept_programs(tmp_path / "kept", CPU, NETWORKS):
        assert os.environ[VARIABLE].startswith(str(tmp_path / "host"))
    assert os.environ[VARIABLE] == default_cache_dir()


def test_a_folder_that_the_user_has_named_is_theirs(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "mine"))
    with kept_programs(tmp_path / "kept", CPU, NETWORKS) as kept:
        assert os.environ[VARIABLE] == str(tmp_path / "mine")
        kept.save()
    assert os.environ[VARIABLE] == str(tmp_path / "mine")
    assert not (tmp_path / "kept").exists()


def test_what_a_full_disk_has_cut_is_not_used_or_kept(tmp_path, small_disk, monkeypatch, caplog):
    with kept_programs(tmp_path / "kept", CPU, NETWORKS) as kept:
        (kept.folder / "kernel").write_bytes(os.urandom(400_000))
        kept.save()
    with monkeypatch.context() as patch:
        patch.setattr(programs.tempfile, "tempdir", str(small_disk))
        assert job(tmp_path / "kept", ["a"]) == {}
    assert "No space left on device; networks are compiled anew" in caplog.text
    assert job(tmp_path / "kept") == {"a": "program a"}


def test_another_users_archive_is_used(tmp_path, monkeypatch, caplog):
    def utime(path, times=None):
        if path == archive:
            raise PermissionError(f"not permitted: {path}")

    job(tmp_path, ["a"])
    (archive,) = archives(tmp_path)
    monkeypatch.setattr(os, "utime", utime)
    assert job(tmp_path) == {"a": "program a"}
    assert "compiled anew" not in caplog.text
