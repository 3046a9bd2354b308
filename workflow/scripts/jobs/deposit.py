"""Results that are taken from a deposit, in the place of those that samples were drawn for.

A deposit is what `make archive` writes, packed or unpacked: a folder of a project with its
study in study.json and checksums of everything in SHA256SUMS.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dds.data.archives import Archive, open_archive
from dds.differences import first_difference
from dds.files import atomic_path
from study import depends
from study.errors import suggestion
from study.study import Study

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

#: Files of a deposit that say what it is.
STUDY, SUMS = "study.json", "SHA256SUMS"


class Deposit:
    """A deposit that is open for reading.

    Parameters
    ----------
    archive : Archive
        Its files.

    Attributes
    ----------
    path : Path
        Where it lies.
    description : dict
        What it says of its study, whichever release of the project wrote it.

    Raises
    ------
    ValueError
        If it is no deposit, or is damaged.
    """

    def __init__(self, archive: Archive) -> None:
        self._archive, self.path = archive, archive.path
        tops = [name.removesuffix(SUMS) for name in archive.names if name.split("/")[-1] == SUMS]
        if len(tops) != 1:
            raise ValueError(f"{archive.path} is no deposit: it holds {len(tops)} files {SUMS}")
        (self._top,) = tops
        lines = archive.read(f"{self._top}{SUMS}").decode("utf-8", "replace").splitlines()
        self._sums = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
        try:
            self.description = json.loads(self.read(STUDY))
        except json.JSONDecodeError as error:
            raise self._unusable(error) from error

    @cached_property
    def study(self) -> Study:
        """The study that it is the deposit of.

        Raises
        ------
        ValueError
            If it is none that this release of the project can read.
        """
        try:
            return Study.from_json(self.description)
        except ValueError as error:
            raise self._unusable(error) from error

    def _unusable(self, error: ValueError) -> ValueError:
        return ValueError(f"{self.path}: {STUDY} cannot be used: {' '.join(str(error).split())}")

    def read(self, name: str) -> bytes:
        """Return the content of a file, after comparing its checksum.

        Raises
        ------
        ValueError
            If it is not there, or is not what was deposited.
        """
        path = self.path
        if f"{self._top}{name}" not in self._archive.names or name not in self._sums:
            raise ValueError(f"{path} holds no {name}")
        content = self._archive.read(f"{self._top}{name}")
        if hashlib.sha256(content).hexdigest() != self._sums[name]:
            raise ValueError(f"{path} is damaged: {name} is not what {SUMS} says")
        return content

    def check(self, result: str, wanted: Mapping[str, Any]) -> None:
        """Make sure that a result of the deposit is the one that is wanted.

        Parameters
        ----------
        result : str
            As `study.depends.taken` takes it.
        wanted : mapping
            What that returned for the study that takes the result.

        Raises
        ------
        ValueError
            Naming the first difference.
        """
        path = self.path
        try:
            found = depends.taken(self.study, result)
        except KeyError as error:
            folder = result.partition("/")[0]
            kind = "experiment" if folder == "counts" else folder.removesuffix("s")
            there = suggestion(error.args[0], getattr(self.study, f"{kind}s"))
            raise ValueError(
                f"{path}: its study {self.study.name} has no {kind} {error.args[0]}; {there}. A "
                f"study that is `like` yours, with `{kind}s: {{{error.args[0]}: null}}`, goes "
                "without it"
            ) from error
        except OSError as error:  # code of the user's own that is not here
            raise ValueError(f"{path}: {result} depends on {error.filename}") from error
        if other := first_difference(json.loads(json.dumps(found)), wanted):
            raise ValueError(
                f"{path}: {result} was made with another {other.place}: "
                f"{other.first}, not {other.second}"
            )

    def counts(self, experiment: str, wanted: Mapping[str, Any]) -> bytes:
        """Return the file of an experiment's counts, once they are what it must be.

        Parameters
        ----------
        experiment : str
            Its name.
        wanted : mapping
            What `study.depends.taken` returned for it.

        Raises
        ------
        ValueError
            Naming what is wrong with them.
        """
        from dds.sampling.counts import check_counts, counts_differ, read_counts

        name = f"results/{self.study.name}/counts/{experiment}.parquet"
        content = self.read(name)
        try:
            counts, metadata = read_counts(io.BytesIO(content))
            if other := counts_differ(metadata, {**metadata, "depends": wanted["votes"]}):
                raise ValueError(
                    f"was counted with another {other.place.removeprefix('depends.')}: "
                    f"{other.first}, not {other.second}"
                )
            check_counts(counts, metadata)
            places = {
                "images": list(range(wanted["images"])),
                "sigmas": sorted(wanted["sigmas"]),
                "classifiers": sorted(wanted["votes"]["classifiers"]),
            }
            for key, values in places.items():
                if sorted(counts[key.removesuffix("s")].unique().tolist()) != values:
                    raise ValueError(f"holds other {key} than its study says")
        except ValueError as error:
            raise ValueError(f"{self.path}: {name} {error}") from error
        return content


@contextmanager
def open_deposit(path: str | Path) -> Iterator[Deposit]:
    """Open a deposit for reading within the block.

    Raises
    ------
    FileNotFoundError
        If there is nothing at `path`.
    ValueError
        If it is no deposit, or is damaged.
    """
    with open_archive(path) as archive:
        yield Deposit(archive)


def take(
    deposit: str | Path, result: str, wanted: Mapping[str, Any], outputs: Sequence[str]
) -> None:
    """Take a result from a deposit, if it is the one that is wanted.

    Parameters
    ----------
    deposit : str or Path
        The deposit.
    result : str
        As `study.depends.taken` takes it.
    wanted : mapping
        What that returned for the study that takes the result.
    outputs : sequence of str
        Where the files of the result go, below the folder of a study's results.

    Raises
    ------
    ValueError
        Naming, in one line, the file and what is wrong; nothing is then written.
    """
    wanted = json.loads(json.dumps(wanted))
    folder, name = result.split("/", 1)
    with open_deposit(deposit) as opened:
        opened.check(result, wanted)
        contents = {}
        for output in map(Path, outputs):
            inside = output.relative_to(*_results(output)).as_posix()
            is_counts = folder == "counts" and output.suffix == ".parquet"
            contents[output] = (
                opened.counts(name, wanted)
                if is_counts
                else opened.read(f"results/{opened.study.name}/{inside}")
            )
    for output, content in contents.items():
        with atomic_path(output) as temporary:
            temporary.write_bytes(content)


def _results(output: Path) -> tuple[Path]:
    """Return the folder of a study's results that a file lies in: results/STUDY."""
    return (Path(*output.parts[:2]),)
