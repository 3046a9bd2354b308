"""Measure how fast networks run, train and start, against what the device can do: `make bench`.

Every row runs in a process apart from this one, with a time limit of its own, and its record is
written as soon as it is there: a row that fails, hangs or takes the process down is a line, and
the others go on.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import pkgutil
import re
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

# Nothing large is imported here: what runs networks is imported where they run.
from bench_rows import DATA, NEEDS_GPU, Row, Settings, choose, every_row
from project import ROOT

# isort: split
from dds.files import atomic_path, write_json

Record = dict[str, Any]

#: Seconds that a process which is no longer needed has to end by itself.
_PATIENCE = 10.0


class Worker:
    """A process that calls one function after another, and is replaced where one fails.

    A failed CUDA call or a lack of memory may spoil what comes after it in the same process.
    """

    def __init__(self) -> None:
        self._process: Any = None

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the process; another takes its place when the next function is called."""
        if self._process is not None:
            self._connection.close()
            self._process.join(_PATIENCE)
        self._kill()

    def call(self, function: str, *arguments: object, limit: float) -> Any:
        """Return what a function returns, or raise RuntimeError with a reason of one line.

        Parameters
        ----------
        function : str
            As ``module:name``; the worker imports it.
        *arguments
            Handed on, as is the answer, by pickling.
        limit : float
            Seconds that it may take.
        """
        if self._process is None:
            self._start()
        try:
            self._connection.send((function, arguments))
            if not self._connection.poll(limit):
                raise RuntimeError(f"took longer than {limit:g} s, the limit of a row")
            reason, answer = self._connection.recv()
            if reason:
                raise RuntimeError(reason)
        except (EOFError, ConnectionError):
            self._process.join()
            status = self._process.exitcode
            self._kill()
            raise RuntimeError(f"its process ended with exit status {status}") from None
        except BaseException:
            self._kill()
            raise
        return answer

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,))
        self._process.start()
        theirs.close()

    def _kill(self) -> None:
        if self._process is not None and self._process.is_alive():
            try:  # with what the process has started: compilers, a shard
                os.killpg(self._process.pid, signal.SIGKILL)
            except ProcessLookupError:  # it has no group yet
                self._process.kill()
            self._process.join()
        self._process = None


def _serve(connection: Any) -> None:
    """Call what comes through a connection, and send back a reason or an answer."""
    os.setpgid(0, 0)
    while True:
        try:
            function, arguments = connection.recv()
        except EOFError:
            return
        try:
            sent = None, pkgutil.resolve_name(function)(*arguments)
        except Exception as error:  # whatever it is, the other rows go on
            lines = str(error).strip().splitlines() or [""]
            sent = f"{type(error).__name__}: {lines[0][:200]}", None
        connection.send(sent)


class Results:
    """The records of a device, in a JSON file and as a table beside it.

    Rows that are measured replace those of the same name; the others stay.
    """

    def __init__(self, folder: Path, device: str) -> None:
        words = re.sub(r"[^a-z0-9]+", "-", device.lower().replace("(s)", "s"))
        self.path = folder / f"{words.strip('-')}.json"
        self._device, self._records = device, {}
        if self.path.exists():
            try:
                kept = json.loads(self.path.read_text("utf-8"))
                self._records = {record["row"]: record for record in kept}
            except (ValueError, TypeError, KeyError):
                sys.exit(f"error: {self.path}: holds no rows; move it away or remove it")

    def add(self, record: Record) -> None:
        """Write a record among the others."""
        self._records[record["row"]] = record
        records = list(self._records.values())
        write_json(self.path, records)
        with atomic_path(self.path.with_suffix(".md")) as path:
            path.write_text(table(self._device, records), "utf-8")


def table(device: str, records: list[Record]) -> str:
    """Return the records that are measured as a table in Markdown."""
    head = ("row", "precision", "compiled", "batch", "measured", "TFLOP/s", "of the ceiling", "GiB")
    lines = [f"{device}:", "", f"| {' | '.join(head)} |", "| --- | --- | --- |" + " ---: |" * 5]
    for record in records:
        if "error" not in record:
            lines.append(f"| {' | '.join((record['row'], *cells(record)))} |")
    return "\n".join(lines) + "\n"


def cells(record: Record) -> tuple[str, ...]:
    """Return what the table says of a record that has no error."""
    measured = ""
    if "seconds" in record:
        stages = (f"{name} {seconds:.1f}" for name, seconds in record["stages"].items())
        measured = f"{record['seconds']:.1f} s ({', '.join(stages)})"
    elif "per_s" in record:
        measured = f"{number(record['per_s'])} images/s"
    return (
        record["precision"],
        "yes" if record["compiled"] else "no",
        str(record["batch_size"]),
        measured,
        number(record["tflops"]) if "tflops" in record else "",
        f"{record['share']:.0%}" if "share" in record else "",
        f"{record['peak_bytes'] / 2**30:.2f}" if "peak_bytes" in record else "",
    )


def number(value: float) -> str:
    """Return a number in three digits or more: 0.0123, 1.23, 123, 12,345."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def line(record: Record) -> str:
    """Describe a record in one line, behind the name of its row."""
    if "error" in record:
        return f"failed: {record['error']}"
    precision, compiled, batch, measured, tflops, share, memory = cells(record)
    how = f"{precision}{', compiled' if compiled == 'yes' else ''}, batches of {batch}"
    if not measured:
        how = f"{precision}, the best of {len(record['tflops_by_size'])} sizes: {batch}"
    parts = (how, measured, tflops and f"{tflops} TFLOP/s", share and f"{share} of the ceiling",
             memory and f"{memory} GiB")  # fmt: skip
    return "; ".join(part for part in parts if part)


def ratios(records: list[Record]) -> str:
    """Say how many times as fast as the plain ways we are, where both were measured."""
    rates = {record["row"]: record.get("per_s") for record in records}
    found = []
    for name in DATA:
        ours = rates.get(f"pair/{name}/ours")
        others = {row.rpartition("/")[2]: rate for row, rate in rates.items()
                  if row.startswith(f"pair/{name}/") and not row.endswith("/ours")}  # fmt: skip
        found += [f"{name} {ours / rate:.2f} ({way})" for way, rate in others.items()
                  if ours and rate]  # fmt: skip
    return f"ours is so many times as fast: {', '.join(found)}" if found else "done"


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="+", default=["*"], metavar="NAME",
                        help="what to measure, as --list lists it; * is anything")  # fmt: skip
    parser.add_argument("--list", action="store_true", help="list the rows and measure nothing")
    parser.add_argument("--budget", type=float, default=float("inf"), metavar="SECONDS",
                        help="start no row after so long")  # fmt: skip
    parser.add_argument("--limit", type=float, default=600.0, metavar="SECONDS",
                        help="end a row that takes longer")  # fmt: skip
    parser.add_argument("--precision", choices=["auto", "float32", "bfloat16"], default="auto",
                        help="of what we sample with")  # fmt: skip
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--threads", type=int, help="of a CPU")
    parser.add_argument("--batch-size", type=int, help="of every row, instead of its own")
    parser.add_argument("--repeats", type=int, default=3, help="of every row, at least")
    parser.add_argument("--seconds", type=float, default=1.0,
                        help="to repeat every row for, at least")  # fmt: skip
    parser.add_argument("--official", type=Path, metavar="FOLDER",
                        help="checkout of the authors' code, to time as well")  # fmt: skip
    parser.add_argument("--output", type=Path, default=ROOT / "results" / "bench")
    return parser.parse_args(arguments)


def main() -> None:
    """Measure the rows, print and write what came out."""
    arguments = parse()
    try:
        rows = choose(every_row(official=arguments.official is not None), arguments.rows)
    except ValueError as error:
        sys.exit(f"error: {error}")
    if arguments.list:
        print("\n".join(row.name for row in rows))
        return
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: sys.exit(
            f"error: bench: ended by {signal.Signals(number).name}; what was measured is in "
            f"{arguments.output}"))  # fmt: skip
    with Worker() as worker, tempfile.TemporaryDirectory(prefix="bench-") as cache:
        names = ("device", "precision", "threads", "batch_size", "repeats", "seconds")
        settings = Settings(
            **{name: getattr(arguments, name) for name in names},
            cache=cache, official=arguments.official and str(arguments.official.resolve()),
        )  # fmt: skip
        records = run(rows, settings, arguments, worker)
    failed = [record["row"] for record in records if "error" in record]
    print(f"bench: {ratios(records)}; see {arguments.output}")
    if failed:
        sys.exit(f"error: bench: {len(failed)} rows failed: {', '.join(failed)}")


def run(
    rows: list[Row], settings: Settings, arguments: argparse.Namespace, worker: Worker
) -> list[Record]:
    """Measure the ceilings and then the rows; print and write each as it comes."""
    started = time.monotonic()
    try:
        records = worker.call("bench_measure:measure_ceilings", settings, limit=arguments.limit)
    except RuntimeError as error:
        sys.exit(f"error: {str(error).removeprefix('ValueError: ')}")
    device = records[0]["device"]
    results = Results(arguments.output, device)
    print(f"{device}; written to {results.path}")
    for record in records:
        results.add(record)
        print(f"{record['row']:<40}{line(record)}", flush=True)
    ceilings = {record["precision"]: record["tflops"] for record in records}
    if "tf32" not in ceilings:
        rows = [row for row in rows if row.way not in NEEDS_GPU]
    for index, row in enumerate(rows):
        if time.monotonic() - started >= arguments.budget:
            print(f"{arguments.budget:g} s are over, so {len(rows) - index} rows are left out: "
                  f"{', '.join(row.name for row in rows[index:])}")  # fmt: skip
            break
        print(f"{row.name:<40}", end="", flush=True)
        try:
            if row.kind == "start":
                worker.stop()  # it may have the device to itself
                record = worker.call("bench_start:measure", row, settings, limit=arguments.limit)
            else:
                record = worker.call(
                    "bench_measure:measure", row, settings, ceilings, limit=arguments.limit
                )
        except RuntimeError as error:
            record = {"row": row.name, "device": device, "error": str(error)}
        results.add(record)
        records.append(record)
        print(line(record), flush=True)
    return records


if __name__ == "__main__":
    main()
