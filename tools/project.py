"""How every tool opens a study: its configuration, its file, and one line for what is wrong."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

from study.checks import check_deposits_exist  # noqa: E402
from study.errors import StudyError  # noqa: E402
from study.load import load_config, load_study  # noqa: E402
from study.study import Study  # noqa: E402
from study.yaml_files import read_yaml  # noqa: E402


def open_study(name: str | None = None, deposit: str | None = None) -> Study:
    """Return a study, or end the program with one line about what is wrong.

    Parameters
    ----------
    name : str, optional
        Of a study that ships, or the path of a study file; by default the one that
        config/config.yaml names.
    deposit : str, optional
        The archive that it is rebuilt from, as in ``snakemake --config deposit=...``; by
        default the one that config/config.yaml names, if any.
    """
    try:
        config = read_yaml(ROOT / "config" / "config.yaml", "config/config.yaml")
        given = {"study": name, "deposit": deposit}
        instead = {key: value for key, value in given.items() if value}
        study = load_study(load_config(config, **instead), ROOT)
        check_deposits_exist(study)
    except StudyError as error:
        sys.exit(f"error: {error}")
    return study


@contextmanager
def whole_report(results: Path) -> Iterator[Path]:
    """Yield where to write the report of a study, which lies beside its results once it is whole.

    The folder in it has its file's name, so that no temporary name will do.
    """
    (ROOT / results).mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=ROOT / results, prefix=".report.") as folder:
        written = Path(folder, "report.zip")
        yield written
        os.replace(written, ROOT / results / written.name)


def written_out(name: str) -> dict[str, Any]:
    """Return a study that ships as a file could say it, with every key of every entry.

    Models of the registry are left out.
    """
    study = open_study(name).to_json()
    return {key: value for key, value in study.items() if key not in ("name", "models")}
