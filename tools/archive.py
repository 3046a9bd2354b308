"""Pack a study for deposit: results, configuration, locks and provenance: `make archive`.

The archive holds a folder with SHA256SUMS in it, which `sha256sum --check` reads. Weights
and data stay out: their hashes are in the provenance, and they have licences of their own.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

from project import ROOT, open_study

# isort: split
from dds.files import atomic_path, sha256
from study.study import Study

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


def pack(study: Study, archive: Path) -> int:
    """Write the archive of a checked study, atomically; return how many files it holds."""
    top, sums = study.name, []
    with (
        atomic_path(archive) as temporary,
        tarfile.open(temporary, "w:gz", compresslevel=6) as tar,
    ):

        def add(name: str, content: bytes) -> None:
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
