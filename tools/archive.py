"""Pack a finished study for deposit: results, and what rebuilds them: `make archive`.

Everything that the study should have must be there, be what its job wrote, and be of this
study; otherwise one line says what is not. The archive holds a folder with SHA256SUMS in it,
which `sha256sum --check` reads, and study.json, the study with every default filled in and the
registry's entries of its models. From it the study is rebuilt without a GPU (docs/deposits.md).
Weights and data stay out: their hashes are in the records, and they have licences of their own.
So do the queries of addresses that files are downloaded from (``?token=...``), which may hold
secrets.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import re
import sys
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from project import ROOT, open_study

# isort: split
from dds.files import atomic_path, sha256
from dds.origins import public
from jobs.records import fault, record_path, sources
from study.code import SCRIPTS, closure
from study.load import load_config, study_files
from study.results import results
from study.study import Study
from study.yaml_files import read_yaml

CONFIG = Path("config", "config.yaml")

#: What rebuilds any study.
RECIPE = ("Makefile", "Snakefile", "pyproject.toml", "LICENSE", "CITATION.cff", "README.md",
          "config", "docs", "envs", "notebooks", "profiles", "slurm", "tools", "workflow",
          "Containerfile", "results/README.md")  # fmt: skip

#: Weights and data that may lie among those, by the endings of their files.
LEFT_OUT = {".pt", ".pth", ".safetensors", ".bin", ".npz"}
#: Keys of a study file that weights, data and other deposits stand at.
LEFT_OUT_KEYS = {"files", "votes", "weights"}

#: When every file of an archive was last changed, in seconds: zip archives, as reports are, hold
#: no time before 1980, wherever on earth they are made.
CHANGED = 315_700_000


def finished(study: Study) -> list[Path]:
    """Return the results of a study with their records, or end with one line about a fault."""
    found = results(study, Path())
    for path, depends in found.items():
        if wrong := fault(path, depends):
            sys.exit(f"archive: {wrong}")
    paths = map(Path, found)
    records = {record_path(path) for path in found}
    return [*paths, *sorted(path for path in records if path.is_file())]


def asked_addresses(value: Any) -> Iterator[str]:
    """Yield the addresses that parts of a configuration file say to download from."""
    if isinstance(value, list):
        for inner in value:
            yield from asked_addresses(inner)
    elif isinstance(value, dict):
        for key, inner in value.items():
            if key in ("url", "mirrors"):
                yield from filter(None, [inner] if isinstance(inner, str) else inner or [])
            else:
                yield from asked_addresses(inner)


def without_queries(content: bytes, addresses: Iterable[str]) -> bytes:
    """Return a file's content with what of addresses may be known to all."""
    for address in sorted(addresses, key=len, reverse=True):  # one may begin another
        content = content.replace(address.encode(), public(address).encode())
    return content


def recipe() -> Iterator[Path]:
    """Yield the files of the project that rebuild any study."""
    for part in map(Path, RECIPE):
        for path in sorted(part.rglob("*")) if part.is_dir() else [part]:
            hidden = any(name.startswith((".", "__pycache__")) for name in path.parts)
            if path.is_file() and not hidden and path.suffix not in LEFT_OUT:
                yield path


def files_of(study: str) -> Iterator[Path]:
    """Yield a study's file, those of studies it is like, and the files that they name.

    Those are code of the user's own, with the modules beside it that it imports, classes, and
    files that networks are built with.
    """
    for path in study_files(study, Path()):
        yield path
        for text in _texts(read_yaml(path, str(path))):
            named = Path(re.sub(r"\.py:\w+$", ".py", text))
            if len(text) < 1000 and named.suffix and named.is_file():
                yield named
                if named.suffix == ".py":
                    yield from (part for part in closure(named) if not part.is_relative_to(SCRIPTS))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, part in value.items():
            if key not in LEFT_OUT_KEYS:
                yield from _texts(part)
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part)


def left_out(study: Study) -> set[Path]:
    """Return the weights, images and deposits of the user's own that a study names, anywhere."""
    files = [file.file for data in study.datasets.values() for file in data.origins.values()]
    files += [deposit.file for deposit in study.deposits]
    sigmas = {sigma for entry in study.experiments.values() for sigma in entry.sigmas}
    files += [model.weights.file_for(s) for model in study.models.values() for s in sigmas]
    return {_whole(file) for file in files if file}


def pack(study: Study, files: Iterable[Path], archive: Path) -> int:
    """Write the archive, atomically; return how many files it holds."""
    top, sums = study.name, []
    registry = read_yaml(ROOT / "config" / "models.yaml", "config/models.yaml")
    asked = set(asked_addresses([registry, study.to_json()]))
    with (
        atomic_path(archive) as temporary,
        tarfile.open(temporary, "w:gz", compresslevel=6) as tar,
    ):

        def add(name: str, content: bytes) -> None:
            content = without_queries(content, asked)
            entry = tarfile.TarInfo(f"{top}/{name}")
            entry.size, entry.mtime = len(content), CHANGED
            tar.addfile(entry, io.BytesIO(content))
            sums.append(f"{hashlib.sha256(content).hexdigest()}  {name}\n")

        for path in files:
            add(_inside(path), path.read_bytes())
        add("study.json", json.dumps(study.to_json(), indent=2).encode())
        add("SHA256SUMS", "".join(sums).encode())
    return len(sums)


def _inside(path: Path) -> str:
    """Return where a file lies in the archive; those from elsewhere below ``outside``."""
    whole = _whole(path)
    if whole.is_relative_to(ROOT):
        return whole.relative_to(ROOT).as_posix()
    return f"outside{whole.as_posix()}"


def _whole(path: str | Path) -> Path:
    return Path(os.path.abspath(path))


def main() -> None:
    """Read the command line and pack."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", nargs="?", help="by default the one config/config.yaml names")
    parser.add_argument("--deposit", help="that it took votes from (docs/deposits.md)")
    arguments = parser.parse_args()
    os.chdir(ROOT)
    study = open_study(arguments.study, arguments.deposit)
    made = finished(study)
    used = [source for path in made for source in sources(path)]
    name = arguments.study or load_config(read_yaml(CONFIG, str(CONFIG))).study
    wanted = [
        *recipe(),
        *files_of(name),
        *filter(Path.is_file, used),
        *made,
    ]
    logs = sorted(path for path in Path("results", study.name, "logs").rglob("*.log"))
    stays = left_out(study)
    files = {_inside(path): path for path in (*wanted, *logs) if _whole(path) not in stays}
    archive = Path("dist", f"{study.name}.tar.gz")
    count = pack(study, files.values(), archive)
    size = archive.stat().st_size / 1e6
    print(f"archive: {archive}, {count} files, {size:.1f} MB, sha256 {sha256(archive)}")


if __name__ == "__main__":
    main()
