"""Exchange certificates with other projects, as logs in Cohen et al.'s (2019) format."""

from __future__ import annotations

from pathlib import Path

import click

from dds.commands.running import PATH, Command, how_many, left_out, log_sigma_option, to_parquet


@click.command("import-logs", cls=Command, example="import-logs logs imported.parquet")
@click.argument("folder", type=PATH)
@click.argument("output", type=PATH, callback=to_parquet)
@log_sigma_option()
def import_logs(folder: Path, output: Path, sigma: float | None) -> int:
    """Turn a folder of logs into certificates.

    FOLDER holds logs in Cohen et al.'s format; OUTPUT is the file of certificates to write
    (.parquet), which may hold what was imported before. A damaged log is reported and left out,
    and the exit status is then 1.
    """
    from dds.commands.results import read_folder
    from dds.logs import write_certificates

    _check_is_of_logs(output)
    certificates, refused = read_folder(folder, sigma)
    write_certificates(certificates, output)
    logs = certificates.groupby(["classifier", "sigma"], dropna=False).ngroups
    read = how_many(len(certificates), "certificate")
    click.echo(f"{output}: {read} from {how_many(logs, 'log')}")
    return left_out(refused)


def _check_is_of_logs(output: Path) -> None:
    """Refuse a file that holds anything but certificates of logs, such as votes: they are dear."""
    import pyarrow as pa
    from pyarrow import parquet

    from dds.logs import COLUMNS

    if not output.exists():
        return
    with open(output, "rb") as file:
        try:
            is_of_logs = parquet.read_schema(file).names == COLUMNS
        except pa.ArrowInvalid:
            is_of_logs = False
    if not is_of_logs:
        raise ValueError(f"{output} is there and was not imported; name another file")


@click.command("export-log", cls=Command, example="export-log certificates.parquet logs")
@click.argument("certificates", type=PATH)
@click.argument("folder", type=PATH)
def export_log(certificates: Path, folder: Path) -> None:
    """Turn certificates into logs.

    CERTIFICATES is a file of certificates or of results (.parquet); FOLDER gets a log for each
    classifier and noise level, in Cohen et al.'s format.
    """
    from dds.commands.results import is_parquet, read_any_certificates
    from dds.logs import write_logs
    from dds.statistics.accuracy import leaves_undecided

    if not is_parquet(certificates):
        raise ValueError(
            f"{certificates} is no file of certificates or of results (.parquet); logs are made of "
            "these alone"
        )
    found = read_any_certificates(certificates)
    if leaves_undecided(found):
        raise ValueError(
            f"{certificates}: its sampling plan left radii undecided, which a log cannot "
            "say; export certificates of a plan that decides all, such as fixed"
        )
    if found["correct"].isna().any():
        raise ValueError(
            f"{certificates}: the classes of its images are not known, as a log has them"
        )
    for path in write_logs(found, folder):
        click.echo(path)
