"""Per-image certification logs in Cohen et al.'s (2019) format, in and out.

The format is what the field exchanges: lines of ``idx label predict radius correct
time``, separated by tabs. Most authors write ``correct`` as 0 or 1, some as the number
of correct images so far; both are read. Radii in logs are usually rounded to three
digits, which can lift one over the radius it is compared with.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import ArrayLike

from dds.files import atomic_path, parquet_path
from dds.names import sigma_name
from dds.statistics.certificates import ABSTAIN, check_table

#: The columns of certificates, as `dds.statistics.certificates.compute_certificates` gives them.
COLUMNS = [
    "image",
    "label",
    "sigma",
    "classifier",
    "n0",
    "n",
    "prediction",
    "successes",
    "p_lower",
    "radius",
    "correct",
    "selected",
    "computed",
]

_HEADER = ("idx", "label", "predict", "radius", "correct", "time")
_SYNONYMS = {
    "image": ("idx", "index", "image"),
    "label": ("label",),
    "prediction": ("predict", "prediction", "pred"),
    "radius": ("radius",),
    "correct": ("correct",),
}
_LONGEST_HEADER = 2000
_NOT_IN_LOGS = ("n0", "n", "successes", "selected")
#: A noise level in a name, and a number behind it, if there is one. A whole number with letters at
#: its end, as in noise2noise, is none.
_LEVEL = r"(\d*\.\d+(?:e[+-]?\d+)?|\d+e[+-]?\d+|\d+(?![a-zA-Z\d]))(?=(?:[_-](\d*\.?\d+))?)"
_SIGMA = {word: re.compile(rf"{word}[_=-]?{_LEVEL}") for word in ("sigma", "noise")}


def read_log(
    path: str | Path, classifier: str | None = None, sigma: float | None = None
) -> pd.DataFrame:
    r"""Read a log as certificates.

    Parameters
    ----------
    path : str or Path
        The log: tab-separated, with a header or, without one, in Cohen's order.
        Whether ``correct`` is 0/1 or a running count is told from the whole column
        and checked against ``label`` and ``predict``; other columns are ignored.
    classifier : str, optional
        Name to give the classifier; by default the file's name without ``.tsv``.
    sigma : float, optional
        Noise level in [0,1] pixel units. By default it is taken from a part of the
        path like ``sigma_0.25`` or ``noise_0.25``, and is missing without one. A part like
        ``sigma_64_255``, which may mean another number than the first, is refused.

    Returns
    -------
    DataFrame
        The columns of `dds.statistics.certificates.compute_certificates`. Those that a log does not
        hold (``n0``, ``n``, ``successes``, ``p_lower``, ``selected``) are missing.
        ``correct`` is True where the label was predicted.

    Raises
    ------
    ValueError
        If the file is no log in UTF-8, ends in the middle of a line, has an image twice or
        a value out of range, or ``correct`` has neither meaning; naming the line. If the path
        leaves the noise level open.

    References
    ----------
    Cohen, Rosenfeld and Kolter (2019), Certified adversarial robustness via randomized
    smoothing. ICML: the logs of the released code.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "cnn_sigma_0.25.tsv")
    >>> _ = path.write_text(
    ...     "idx\tlabel\tpredict\tradius\tcorrect\ttime\n"
    ...     "0\t3\t3\t0.62\t1\t0:00:01\n"
    ...     "1\t5\t-1\t0.0\t0\t0:00:01\n"
    ... )
    >>> print(read_log(path)[["image", "sigma", "prediction", "radius", "correct"]])
       image  sigma  prediction  radius  correct
    0      0   0.25           3    0.62     True
    1      1   0.25          -1    0.00    False
    """
    path = Path(path)
    lines, table = _read_table(path)
    _check_rows(path, lines, table)
    hits = table["prediction"] == table["label"]
    _check_correct(path, lines, table["correct"], hits)
    missing = {name: pd.array([pd.NA] * len(table), dtype="Int64") for name in _NOT_IN_LOGS}
    sigma = _sigma_in(path) if sigma is None else sigma
    if sigma is not None and not 0 < sigma < np.inf:
        raise ValueError(f"{path}: sigma must be above 0, not {sigma:g}")
    return table.assign(
        sigma=np.nan if sigma is None else sigma,
        classifier=path.name.removesuffix(".tsv") if classifier is None else classifier,
        p_lower=np.nan,
        correct=hits,
        computed=table["radius"].notna(),
        **missing,
    )[COLUMNS]


def read_logs(
    folder: str | Path,
    sigma: float | None = None,
    *,
    on_refused: Callable[[str], None] | None = None,
) -> pd.DataFrame:
    """Read every log in a folder and those below it as certificates.

    Parameters
    ----------
    folder : str or Path
        Files that end in ``.tsv``, or begin with a log's header, are logs; other files are
        passed over.
    sigma : float, optional
        Noise level of every log; by default as `read_log` finds it.
    on_refused : callable, optional
        Called with what is wrong with each damaged log, in one line that names it; the log is
        left out. By default the first damaged log is an error.

    Returns
    -------
    DataFrame
        As from `read_log`. A log's classifier is its path in the folder without
        ``.tsv`` and without a last part that is only a noise level, as
        ``sigma_0.25`` is; the inverse of `write_logs`.

    Raises
    ------
    ValueError
        If there is no log, or none that is whole; if two logs are of the same classifier
        and noise level; or, without `on_refused`, if a log is damaged.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder")
    frames: list[pd.DataFrame] = []
    seen: dict[tuple[str, float | None], Path] = {}
    paths = find_logs(folder)
    for path in paths:
        name = path.relative_to(folder).as_posix().removesuffix(".tsv")
        if _SIGMA["sigma"].fullmatch(Path(name).name):
            name = str(Path(name).parent) if "/" in name else folder.resolve().name
        try:
            log = (name, _sigma_in(path) if sigma is None else sigma)
            frame = read_log(path, *log)
        except (OSError, ValueError) as error:
            if on_refused is None:
                raise
            on_refused(str(error))
            continue
        if log in seen:
            raise ValueError(f"{path} and {seen[log]} are both of {name} at sigma {log[1]}")
        seen[log] = path
        frames.append(frame)
    if not paths:
        raise ValueError(f"{folder} holds no log of certificates (columns {' '.join(_HEADER)})")
    if not frames:
        raise ValueError(f"{folder} holds no log that is whole")
    return pd.concat(frames, ignore_index=True)


def find_logs(folder: str | Path) -> list[Path]:
    """Return the logs in a folder and those below it.

    Parameters
    ----------
    folder : str or Path
        A folder that does not exist holds none.

    Returns
    -------
    list of Path
        Files that end in ``.tsv``, or begin with a log's header; sorted.
    """
    files = (path for path in Path(folder).rglob("*") if path.is_file())
    return sorted(path for path in files if path.suffix == ".tsv" or _begins_as_log(path))


def write_log(certificates: pd.DataFrame, path: str | Path) -> None:
    r"""Write the certificates of one classifier at one noise level as a log, atomically.

    Radii are written in full, so that reading them back gives the same numbers;
    ``correct`` is 0 or 1. Certificates have no time an image, so ``time`` is ``nan``.

    Parameters
    ----------
    certificates : DataFrame
        With the columns ``image``, ``label``, ``prediction``, ``radius`` and ``correct``.
    path : str or Path
        The file to write.

    Raises
    ------
    ValueError
        If an image comes twice, a column is missing, or the classes of some images are unknown.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "sigma_0.25.tsv")
    >>> columns = ["image", "label", "prediction", "radius", "correct"]
    >>> write_log(pd.DataFrame([[0, 3, 3, 0.62, True]], columns=columns), path)
    >>> path.read_text().splitlines()[1].split("\t")
    ['0', '3', '3', '0.62', '1', 'nan']
    """
    columns = ["image", "label", "prediction", "radius", "correct"]
    check_table(certificates, columns)
    if certificates[["label", "correct"]].isna().any(axis=None):
        raise ValueError(f"{path}: the classes of some images are not known, as a log has them")
    double = certificates.loc[certificates["image"].duplicated(), "image"]
    if len(double):
        raise ValueError(
            f"{path}: image {double.iloc[0]} comes twice; "
            "a log is of one classifier at one noise level"
        )
    rows = certificates.sort_values("image")
    lines = [
        f"{image}\t{label}\t{prediction}\t{float(radius)!r}\t{int(correct)}\tnan\n"
        for image, label, prediction, radius, correct in rows[columns].itertuples(index=False)
    ]
    with atomic_path(path) as temporary:
        temporary.write_text("\t".join(_HEADER) + "\n" + "".join(lines), encoding="utf-8")


def write_logs(certificates: pd.DataFrame, folder: str | Path) -> list[Path]:
    """Write certificates as ``FOLDER/CLASSIFIER/sigma_0.25.tsv``, a log a noise level.

    Parameters
    ----------
    certificates : DataFrame
        As `write_log` takes them, of any classifiers and noise levels, which the columns
        ``classifier`` and ``sigma`` tell apart.
    folder : str or Path
        Where the logs go.

    Returns
    -------
    list of Path
        The files written. A classifier whose noise level is missing gets
        ``FOLDER/CLASSIFIER.tsv``.

    Raises
    ------
    ValueError
        If an image comes twice, a column is missing, a classifier's name leads out of the folder,
        or two logs have one name, which keeps six digits of a noise level.
    """
    check_table(certificates, ["classifier", "sigma"])
    folder, logs = Path(folder), {}
    for (classifier, sigma), rows in certificates.groupby(["classifier", "sigma"], dropna=False):
        name = f"{classifier}.tsv" if pd.isna(sigma) else f"{classifier}/{sigma_name(sigma)}.tsv"
        if not (folder / name).resolve().is_relative_to(folder.resolve()):
            raise ValueError(f"classifier {classifier!r} cannot name a file in {folder}")
        if folder / name in logs:
            raise ValueError(
                f"{folder / name} would be the log of {classifier} at sigma {float(sigma)!r} and "
                "of another; names keep six digits of a noise level: write each log by write_log"
            )
        logs[folder / name] = rows
    for path, rows in logs.items():
        write_log(rows, path)
    return list(logs)


def read_certificates(path: str | Path) -> pd.DataFrame:
    """Read a certificates file.

    Parameters
    ----------
    path : str or Path
        As `write_certificates` wrote it, or rule compute_certificates.

    Returns
    -------
    DataFrame
        With at least the columns `COLUMNS`.

    Raises
    ------
    ValueError
        If the file is not parquet, or lacks a column of certificates.
    """
    try:
        certificates = pd.read_parquet(path)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path} is not a certificates file: {error}") from error
    missing = [name for name in COLUMNS if name not in certificates]
    if missing:
        raise ValueError(f"{path} is not a certificates file: it has no column {missing[0]}")
    return certificates


def write_certificates(certificates: pd.DataFrame, path: str | Path) -> None:
    """Write a certificates file, atomically.

    Parameters
    ----------
    certificates : DataFrame
        As `read_logs` returns them, or `dds.statistics.certificates.compute_certificates`.
    path : str or Path
        The file to write (.parquet).

    Raises
    ------
    ValueError
        If its name does not end so, or is that of a folder.
    """
    with atomic_path(parquet_path(path)) as temporary:
        certificates.to_parquet(temporary, index=False)


def _read_table(path: Path) -> tuple[np.ndarray, pd.DataFrame]:
    """Return the line numbers and the values of a log's rows."""
    rows = _rows(path)
    number, first = next(rows, (1, []))
    columns = _columns(first)
    if columns is None and first and first[0].isdecimal():  # no header: Cohen's order
        columns, body = _columns(_HEADER[: len(first)]), [(number, first), *rows]
    else:
        body = list(rows)
    if columns is None:
        raise ValueError(
            f"{path}, line {number}: expected the columns {' '.join(_HEADER)}, "
            f"separated by tabs, not {' '.join(first)[:80]!r}"
        )
    for number, fields in body:
        if len(fields) != len(first):
            raise ValueError(
                f"{path}, line {number}: {len(fields)} fields where the first line has {len(first)}"
                + ("; the file seems to be cut off" if number == body[-1][0] else "")
            )
    if not body:
        raise ValueError(f"{path} has no image")
    lines = np.array([number for number, _ in body])
    texts = {name: pd.Series([row[at] for _, row in body]) for name, at in columns.items()}
    return lines, pd.DataFrame({name: _numbers(path, lines, name, texts[name]) for name in texts})


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the line number and the fields of every line that is not blank."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        text = None
    if text is None or "\0" in text:
        hint = "; it seems to be UTF-16: save it as UTF-8" if _is_utf16(path) else ""
        raise ValueError(f"{path} is no text in UTF-8{hint}")
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, [field.strip() for field in line.split("\t")]


def _columns(header: Sequence[str]) -> dict[str, int] | None:
    """Return where each column lies, or None if the fields are no header of a log."""
    fields = [field.lower() for field in header]
    columns = {
        name: fields.index(known)
        for name, synonyms in _SYNONYMS.items()
        for known in synonyms
        if known in fields
    }
    return columns if columns.keys() == _SYNONYMS.keys() else None


def _begins_as_log(path: Path) -> bool:
    """Tell whether a file begins with a log's header, in whatever encoding."""
    header = _beginning(path).replace(b"\0", b"").decode("utf-8", "ignore").lstrip("\ufeff")
    first = header.splitlines()[0] if header else ""
    return _columns([field.strip() for field in first.split("\t")]) is not None


def _is_utf16(path: Path) -> bool:
    beginning = _beginning(path)
    marked = beginning.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return marked or (b"\0" in beginning and _begins_as_log(path))


def _beginning(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(_LONGEST_HEADER)


def _numbers(path: Path, lines: np.ndarray, name: str, texts: pd.Series) -> pd.Series:
    """Return a column's numbers: whole ones, but for radii, which may be NaN."""
    numbers = pd.to_numeric(texts, errors="coerce").astype(float)
    unknown = numbers.isna()
    if name == "radius":
        unreadable = unknown & (texts.str.lower() != "nan")
        _refuse(path, lines, unreadable, "radius is {!r}, not a number", texts)
        return numbers
    unreadable = unknown | (numbers != np.floor(numbers)) | np.isinf(numbers)
    _refuse(path, lines, unreadable, name + " is {!r}, not a whole number", texts)
    return numbers.astype(np.int64)


def _check_rows(path: Path, lines: np.ndarray, table: pd.DataFrame) -> None:
    image, prediction, radius = table["image"], table["prediction"], table["radius"]
    _refuse(path, lines, image.duplicated(), "image {} is on an earlier line too", image)
    for name, lowest in (("image", 0), ("label", 0), ("prediction", ABSTAIN)):
        too_low = table[name] < lowest
        _refuse(path, lines, too_low, name + f" is {{}}, below {lowest}", table[name])
    abstains = prediction == ABSTAIN
    wrong = (radius < 0) | np.isinf(radius) | (radius.isna() & ~abstains)
    _refuse(path, lines, wrong, "radius is {}, not a number of at least 0", radius)
    wrong = abstains & (radius > 0)
    _refuse(path, lines, wrong, "radius is {} although the classifier abstains", radius)


def _check_correct(path: Path, lines: np.ndarray, correct: pd.Series, hits: pd.Series) -> None:
    """Make sure that `correct` is 0/1, or a running count, of the images that hit their label.

    Both can fit a short log, which then says the same under both. A count may start
    above 0, and anew where logs of parts were joined.
    """
    flags = (correct == hits).to_numpy()
    counts = np.append(correct[0] >= hits[0], np.diff(correct) == hits[1:])
    exceeds_one = correct.max() > 1
    if exceeds_one:
        counts |= flags
    if not (flags.all() or counts.all()):
        _refuse(
            path,
            lines,
            ~(counts if exceeds_one else flags),
            "correct is {}, neither 0/1 "
            "nor a running count of the images whose prediction is their label",
            correct,
        )


def _refuse(path: Path, lines: np.ndarray, wrong: ArrayLike, problem: str, values: Any) -> None:
    """Raise about the first row that is wrong."""
    if np.any(wrong):
        at = int(np.flatnonzero(wrong)[0])
        raise ValueError(f"{path}, line {lines[at]}: {problem.format(values[at])}")


def _sigma_in(path: Path) -> float | None:
    """Return the noise level that a path names, in its last part that names one.

    A ``sigma``, which is what was certified at, goes before a ``noise``, which is
    what the classifier was trained on.

    Raises
    ------
    ValueError
        Where a number of its kind follows, as in ``sigma_64_255``: which is meant is not known.
    """
    for pattern in _SIGMA.values():
        for part in reversed(path.parts):
            if match := pattern.search(part.removesuffix(".tsv")):
                level, following = match.groups()
                if following and (level.isdecimal() or "." in following):
                    raise ValueError(
                        f"{path}: the noise level in {part} may be {level} or not; give sigma"
                    )
                return float(level)
    return None
