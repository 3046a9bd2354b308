"""Pack a study for deposit: results, configuration, locks and provenance: `make archive`.

The archive holds a folder with SHA256SUMS in it, which `sha256sum --check` reads. Weights
and data stay out: their hashes are in the provenance, and they have licences of their own.
So do the queries of addresses that files are downloaded from (``?token=...``), which may
hold secrets.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import sys
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from project import ROOT, open_study

# isort: split
from dds.files import atomic_path, sha256
from dds.origins import public
from study.study import Study
from study.yaml_files import read_yaml

#: What rebuilds the results, beside the study's own file.
RECIPE = ("Snakefile", "pyproject.toml", "LICENSE", "CITATION.cff", "README.md",
          "config", "envs", "notebooks", "profiles", "slurm", "tools", "workflow")  # fmt: skip

#: Results that are weights, data, or state of unfinished work.
LEFT_OUT = {".pt", ".safetensors", ".bin", ".npz", ".checkpoint", ".lock", ".training"}
LEFT_OUT_FOLDERS = {"data", "__pycache__"}


def archived_files(results: Path) -> Iterator[Path]:
    """Yield the files to pack, relative to the project, in order."""
    for part in (*map(Path, RECIPE), results):
        top = ROOT / part
        for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
            relative = path.relative_to(ROOT)
            if (
                path.is_file()
                and not path.is_symlink()
                and path.suffix not in LEFT_OUT
                and not LEFT_OUT_FOLDERS & set(relative.parts)
            ):
                yield relative


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


def pack(study: Study, archive: Path) -> int:
    """Write the archive of a checked study, atomically; return how many files it holds."""
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
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
            sums.append(f"{hashlib.sha256(content).hexdigest()}  {name}\n")

        for path in archived_files(Path("results", top)):
            add(str(path), (ROOT / path).read_bytes())
        add(
            "study.json", json.dumps(study.to_json(), indent=2).encode()
        )  # as checked, defaults and all
        add("SHA256SUMS", "".join(sums).encode())
    return len(sums)


def main() -> None:
    """Read the command line and pack."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", nargs="?", help="by default the one config/config.yaml names")
    arguments = parser.parse_args()
    study = open_study(arguments.study)
    if not (ROOT / "results" / study.name / "checks.json").exists():
        sys.exit(f"archive: results/{study.name} has no checks.json; finish the study first")
    archive = Path("dist", f"{study.name}.tar.gz")
    files = pack(study, ROOT / archive)
    size = (ROOT / archive).stat().st_size / 1e6
    print(f"archive: {archive}, {files} files, {size:.1f} MB, sha256 {sha256(ROOT / archive)}")


if __name__ == "__main__":
    main()
