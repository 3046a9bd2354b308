"""What each result was made from, kept beside the results: they are known by it, not by times.

Snakemake remembers what it made in .snakemake, which a copy, a new clone and `make clean` lose.
So every job leaves a record in results/STUDY/records: what its result depends on (`study.depends`),
and hashes of what it read and of what it wrote. From records follows

- before a job works, that what it reads is what its own job wrote, for this study;
- before Snakemake plans, which results belong to other settings, or to files of the user's own
  that were replaced since: they are made again, whatever Snakemake remembers;
- for checks and archives, whether all results are whole, of this study, and of each other.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from dds.data.archives import files_below
from dds.differences import Difference, fingerprint, first_difference
from dds.files import sha256, write_json

_REMEDY = "remove it and run again"


def record_path(result: str | Path) -> Path:
    """Return where the record of a result lies; files that differ in their suffix share one.

    Examples
    --------
    >>> print(record_path("results/digits/tables/table_4.csv"))
    results/digits/records/tables/table_4.json
    """
    path = Path(result)
    top = _top(path)
    return top / "records" / path.relative_to(top).with_suffix(".json")


def contents(snakemake: Any) -> dict[Path, str]:
    """Return the hashes of what a job is about to read, by its paths."""
    if _depends(snakemake) is None or _results(snakemake) is None:
        return {}
    return {path: _content(path) for path in _read_by(snakemake) if path.exists()}


def write_records(snakemake: Any, before: Mapping[Path, str] | None = None) -> None:
    """Write the records of what a job has made; none where it says not what that depends on.

    Parameters
    ----------
    snakemake : object
        The object Snakemake gives the script, with ``params.depends``.
    before : mapping of Path to str, optional
        The `contents` of what the job read, from before it did.

    Raises
    ------
    ValueError
        If that has other contents now: nobody can tell which the result is of, and it is removed.
    """
    depends, top = _depends(snakemake), _results(snakemake)
    if depends is None or top is None:
        return
    record: dict[str, Any] = {"rule": str(snakemake.rule), "depends": depends}
    record |= {"inputs": {}, "sources": {}}
    for path in _read_by(snakemake):
        content = _content(path)
        if before is not None and before.get(path) != content:
            _remove(snakemake.output)
            raise ValueError(f"{path} was replaced while this job read it; run again")
        if path.is_relative_to(top):
            record["inputs"][str(path)] = content
        else:  # no job of the study makes it, so that its times say nothing
            record["sources"][str(path)] = {"content": content, "state": _state(path)}
    outputs = [Path(path) for path in snakemake.output]
    for place in dict.fromkeys(map(record_path, outputs)):
        written = {path.suffix: _content(path) for path in outputs if record_path(path) == place}
        write_json(place, record | {"outputs": written})


def check_inputs(snakemake: Any) -> None:
    """Make sure that what a job is about to read is what was made for this study.

    Parameters
    ----------
    snakemake : object
        The object Snakemake gives the script, with ``params.depends``.

    Raises
    ------
    ValueError
        Naming, in one line, the file, what is wrong, and the cure.
    """
    if wrong := next(input_faults(snakemake), None):
        raise ValueError(wrong)


def input_faults(snakemake: Any, *, thorough: bool = False) -> Iterator[str]:
    """Yield what is wrong with what a job reads, each in one line.

    Parameters
    ----------
    snakemake : object
        The object Snakemake gives the script, with ``params.depends``.
    thorough : bool, optional
        Whether to miss records, too, and to follow them to what the results were made from.
    """
    depends, top = _depends(snakemake), _results(snakemake)
    if depends is None or top is None:
        return
    made_from = depends.get("made_from", {})
    for path in _read_by(snakemake):
        if not path.is_relative_to(top):
            continue
        record = _read(record_path(path))
        wanted = made_from.get(path.relative_to(top).with_suffix("").as_posix())
        if record and wanted and fingerprint(record["depends"]) != wanted:
            yield f"{path} was made for other settings than the study's; {_REMEDY}"
        elif thorough and (wrong := fault(path)):
            yield wrong
        elif record and (altered := _altered(path, record)):
            yield altered


def fault(result: str | Path, depends: Mapping[str, Any] | None = None) -> str | None:
    """Return what is wrong with a result, in one line; None where it is as it must be.

    Parameters
    ----------
    result : str or Path
        One of its files.
    depends : mapping, optional
        What it must depend on, from `study.depends`; by default anything.
    """
    path = Path(result)
    if not path.is_file():
        return f"there is no {path}; run the study to its end, or snakemake {path}"
    if (record := _read(record_path(path))) is None:
        if depends is not None and not _is_cheap(depends):
            return None
        return f"{path} has no record of what it was made from; {_remedy(path)}"
    if depends is not None and (other := _difference(record, depends)):
        return (
            f"{path} was made with another {other.place}: {other.first}, not {other.second}; "
            "run the study again"
        )
    for source, content in record["inputs"].items():
        if Path(source).exists() and _content(Path(source)) != content:
            return f"{path} was made from another {source}; run the study again"
    for source in _touched(record):
        if _is_replaced(source, record):
            return f"{path} was made from another {source}; run the study again"
    return _altered(path, record, _remedy(path))


def sources(result: str | Path) -> list[Path]:
    """Return the files that a result was made from and that no job has made."""
    record = _read(record_path(result))
    return [Path(source) for source in record["sources"]] if record else []


def heed_records() -> None:
    """Have Snakemake make again what is out of date by its record, whatever it remembers.

    To be called when the workflow is read, in the process that plans. Snakemake has no public
    place for one's own reason to run a job. But there are the files that ``--forcerun`` names;
    to them come those that are out of date, of the jobs that Snakemake is about to look at.
    """
    from snakemake.dag import DAG

    plan = DAG.update_needrun
    if getattr(plan, "heeds_records", False):
        return
    seen = set()

    async def update_needrun(dag: Any, *arguments: Any, **options: Any) -> None:
        for job in set(dag.jobs) - seen:
            if _is_out_of_date(job, dag.workflow.persistence.has_metadata):
                dag.forcefiles.update(job.output)
        seen.update(dag.jobs)
        await plan(dag, *arguments, **options)

    update_needrun.heeds_records = True
    DAG.update_needrun = update_needrun


def _is_out_of_date(job: Any, is_remembered: Callable[[Any], bool]) -> bool:
    depends = _depends(job)
    if depends is None:
        return False
    is_there = [Path(path).exists() for path in job.output]
    # Checks and archives ask for what is missing. What is dear may have been left out on purpose.
    if not all(is_there) and _is_cheap(depends) and all(Path(path).exists() for path in job.input):
        return True
    if not any(is_there):
        return False
    records = {path: _read(path) for path in map(record_path, job.output)}
    if None in records.values():
        return _is_cheap(depends) and not is_remembered(job)
    return any(
        _difference(record, depends)
        or _has_other_inputs(job, record)
        or _has_other_sources(path, record)
        for path, record in records.items()
    )


def _is_cheap(depends: Mapping[str, Any]) -> bool:
    """Tell whether a result must have a record.

    Dear ones, which depend on a protocol, may be older than records: they say themselves what
    they are, and whoever reads them compares.
    """
    return "code" in depends and "protocol" not in depends


def _has_other_inputs(job: Any, record: Mapping[str, Any]) -> bool:
    """Tell whether a job reads today what it did not read then, under whatever name.

    What it read then and not today is missing, or the settings say so. What another rule has
    made, as where a deposit is unpacked, was made from other files as a matter of course.
    """
    if record["rule"] != str(job.rule):
        return False
    contents = {source["content"] for source in record["sources"].values()}
    known = {*record["inputs"], *record["sources"]}
    top = _results(job)
    for path in _read_by(job):
        if str(path) in known:
            continue
        is_made = top is not None and path.is_relative_to(top)
        if is_made or not path.exists() or _content(path) not in contents:
            return True
    return False


def _has_other_sources(path: Path, record: dict[str, Any]) -> bool:
    """Tell whether a file that no job makes has another content than when it was read.

    Only what has other times or another size is read again, and that once.
    """
    touched = _touched(record)
    if any(_is_replaced(source, record) for source in touched):
        return True
    seen = {
        source: record["sources"][source] | {"state": state} for source, state in touched.items()
    }
    # To read takes minutes: a job that ended meanwhile has a record of its own there.
    if seen and _read(path) == record:
        with suppress(OSError):
            write_json(path, record | {"sources": record["sources"] | seen})
    return False


def _touched(record: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return the states of files that no job makes, where they are others than then."""
    states = {source: _state(Path(source)) for source in record["sources"] if Path(source).exists()}
    known = record["sources"]
    return {source: state for source, state in states.items() if state != known[source]["state"]}


def _is_replaced(source: str, record: Mapping[str, Any]) -> bool:
    return _content(Path(source)) != record["sources"][source]["content"]


def _depends(job: Any) -> dict[str, Any] | None:
    """Return what the results of a job depend on, as JSON holds it."""
    depends = getattr(getattr(job, "params", None), "depends", None)
    return None if depends is None else json.loads(json.dumps(depends))


def _results(job: Any) -> Path | None:
    """Return the folder of the results of a job's study; None where a job makes none there."""
    output = getattr(job, "output", None)
    return _top(Path(output[0])) if isinstance(output, list) and output else None


def _top(path: Path) -> Path | None:
    """Return the folder that is called ``results/STUDY``, of the path of a result."""
    parts = path.parts
    return Path(*parts[: parts.index("results") + 2]) if "results" in parts else None


def _read_by(job: Any) -> Iterator[Path]:
    """Yield the files and folders that a job reads.

    Snakemake is not told of folders, which change whenever somebody puts a file into them.
    """
    named = getattr(job.params, "files", {})
    yield from dict.fromkeys(map(Path, [*job.input, *named.values()]))


def _read(path: Path) -> dict[str, Any] | None:
    """Return a record; None where there is none, or none that can be used."""
    try:
        record = json.loads(path.read_text("utf-8"))
        return {key: record[key] for key in ("rule", "depends", "inputs", "sources", "outputs")}
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None


def _difference(record: Mapping[str, Any], depends: Mapping[str, Any]) -> Difference | None:
    return first_difference(record["depends"], json.loads(json.dumps(depends)))


def _altered(path: Path, record: Mapping[str, Any], remedy: str = _REMEDY) -> str | None:
    if _content(path) == record["outputs"].get(path.suffix):
        return None
    return f"{path} is not what rule {record['rule']} wrote; {remedy}"


def _remedy(path: Path) -> str:
    """Return the cure where nothing that is missing reads the result: no plain run makes it."""
    return f"remove it and run snakemake {path}"


def _remove(outputs: Iterable[str]) -> None:
    for path in map(Path, outputs):
        if path.is_file():
            path.unlink()


def _state(path: Path) -> list[Any]:
    """Return what tells that a file, or what is in a folder, may have changed: size and times."""
    if not path.is_dir():
        status = path.stat()
        return [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
    states = {name: _state(file) for name, file in files_below(path) if file.is_file()}
    return [len(states), fingerprint(states)]


def _content(path: Path) -> str:
    """Return the hash of a file, or of the names and hashes of all files in a folder."""
    return _content_in_state(path, json.dumps(_state(path)))


@cache
def _content_in_state(path: Path, state: str) -> str:
    if not path.is_dir():
        return sha256(path)
    files = (file for file in files_below(path) if file[1].is_file())
    return fingerprint({name: sha256(file) for name, file in files})
