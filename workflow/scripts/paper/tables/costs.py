"""What sampling was estimated to take, and what it took."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from dds.keys import key
from paper.costs import GPUS
from paper.parts import Captioned, Method
from paper.quantities import duration, metric
from paper.sheets import Cell, Sheet
from paper.tables._cells import groups

if TYPE_CHECKING:
    import pandas as pd

#: Heads of the columns, by those of the numbers, each with how it is written.
_SHOWN: dict[str, tuple[str, Callable[[float], str]]] = {
    "samples": ("Samples", lambda value: f"{value:,.0f}"),
    "pflop": ("Work", lambda value: metric(value * 1e15, "FLOP")),
    "hours": ("Time", lambda value: duration(value * 3600)),
    "shards": ("Shards", lambda value: f"{value:,.0f}"),
    "hours_a_shard": ("Time a shard", lambda value: duration(value * 3600)),
    "samples_per_second": ("Samples/s", metric),
    "tflops_per_second": ("Rate", lambda value: metric(value * 1e12, "FLOP/s")),
    "kwh": ("Energy", lambda value: metric(value * 1e3, "Wh")),
}


class Keys(Captioned):
    """What experiments were estimated to take before the run, and what they took."""

    gpu: Literal[*GPUS] = key(
        "The GPU of the estimates; its rate stands in `paper.costs`.", "a100-paper"
    )
    methods: Annotated[list[Method], Field(min_length=1)] = key("The experiments.")


def build(
    entry: Keys,
    certificates: Mapping[str, pd.DataFrame],
    published: pd.DataFrame | None,
    records: Mapping[str, Mapping[str, Any]],
) -> pd.DataFrame:
    """Put each experiment's estimate beside the record of its merged counts."""
    import pandas as pd

    rows = []
    for number, method in enumerate(entry.methods):
        record = records[method.experiment]
        head = {"row": number, "label": method.label, "experiment": method.experiment}
        estimate = record["estimate"]
        images = {"images": estimate["images"]}
        estimated = _estimated(estimate) | {"device": entry.gpu}
        rows.append(head | {"source": "estimated"} | images | estimated)
        rows.append(head | {"source": "measured"} | images | _measured(record))
    table = pd.DataFrame(rows)
    table["hours_a_shard"] = table["hours"] / table["shards"]
    table["samples_per_second"] = table["samples"] / (table["hours"] * 3600)
    table["tflops_per_second"] = table["pflop"] * 1000 / (table["hours"] * 3600)
    return table


def _estimated(estimate: Mapping[str, Any]) -> dict[str, Any]:
    plan = estimate["chosen"]
    return {
        "samples": round(estimate["expected_samples"][plan]),
        "hours": estimate["expected"][plan],
        "pflop": estimate["expected_flops"][plan] / 1e15,
        "shards": estimate["shards"],
    }


def _measured(record: Mapping[str, Any]) -> dict[str, Any]:
    estimate = record["estimate"]
    flops, samples = (estimate[f"expected_{what}"]["fixed"] for what in ("flops", "samples"))
    return {
        "samples": record["samples"],
        "hours": record["seconds"] / 3600,
        "pflop": flops / 1e15 * record["samples"] / samples,
        "shards": record["parts"],
        "device": _listed(record["device"]),
        "precision": _listed(record["precision"]),
        "kwh": record["joules"] / 3.6e6 if record.get("joules") else math.nan,
    }


def _listed(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else value


def lay_out(table: pd.DataFrame) -> list[Sheet]:
    """Lay out two rows an experiment: what was estimated, and what was measured."""
    columns = {name: how for name, how in _SHOWN.items() if table[name].notna().any()}
    rows = []
    for _, numbers in groups(table, "row"):
        for position, record in enumerate(numbers.to_dict("records")):
            label = record["label"] if position == 0 else ""
            texts = [_written(write, record[name]) for name, (_, write) in columns.items()]
            rows.append([Cell(text) for text in (label, record["source"], *texts)])
    devices = {
        source: ", ".join(part["device"].unique()) for source, part in groups(table, "source")
    }
    note = (
        "Estimated before the run, from the networks' operations and the rate of "
        f"{devices['estimated']}; measured on {devices['measured']}. Time is that of sampling on "
        "one device."
    )
    return [Sheet("", ["Experiment", "", *(head for head, _ in columns.values())], rows, [note])]


def _written(write: Callable[[float], str], value: float) -> str:
    return "" if math.isnan(value) else write(value)
