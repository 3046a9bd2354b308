"""The benchmark measures what its rows say, writes each at once, and outlives those that fail."""

import json
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import torch

import bench
import bench_measure
import bench_start
import bench_timing
from bench_rows import PLAIN, Row, Settings, choose, every_row
from dds.sampling.kernels import tf32

PAIR = ("digits_unet", "digits_vit")


def rows(*names):
    return choose(every_row(official=True), list(names))


@pytest.fixture(autouse=True)
def keep_threads():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


class Here:
    """A worker that is this process, in which some rows fail."""

    fails = ()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass

    def call(self, function, *arguments, limit):
        if any(isinstance(argument, Row) and argument.name in self.fails for argument in arguments):
            raise RuntimeError("OutOfMemoryError: too large")
        return getattr(bench_measure, function.removeprefix("bench_measure:"))(*arguments)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run the command on small rows, in this process."""
    monkeypatch.setattr(bench_measure, "SIZES", {"cpu": (16, 64)})
    monkeypatch.setattr(bench, "Worker", Here)
    monkeypatch.setattr(bench.signal, "signal", lambda *_: None)

    def run(*arguments, fails=()):
        monkeypatch.setattr(Here, "fails", fails)
        command = ["bench.py", "--device", "cpu", "--precision", "float32", "--threads", "1",
                   "--batch-size", "10", "--repeats", "1", "--seconds", "0",
                   "--output", str(tmp_path), *arguments]  # fmt: skip
        monkeypatch.setattr(sys, "argv", command)
        bench.main()

    return run


def written(folder):
    (path,) = folder.glob("*.json")
    assert path.name.endswith("-cpu-1-threads.json")
    return {record["row"]: record for record in json.loads(path.read_text())}


def test_bench_writes_a_record_a_row(run, tmp_path, capsys):
    run("--rows", "pair/digits/*", "network/digits_*", "train/digits_[uv]*")
    records = written(tmp_path)
    assert list(records) == [
        "ceiling/bfloat16", "ceiling/float32",
        "network/digits_vit", "network/digits_cnn", "network/digits_unet",
        "pair/digits/ours", "pair/digits/plain_float32",
        "train/digits_vit", "train/digits_unet", "train/digits_vit_finetuned",
    ]  # fmt: skip
    ceiling = records["ceiling/float32"]
    assert ceiling["tflops"] == max(ceiling["tflops_by_size"].values())
    for name, record in records.items():
        assert {"device", "precision", "batch_size", "compiled", "versions"} <= record.keys()
        assert record["tflops"] > 0
        if not name.startswith("ceiling"):
            assert record["precision"] == "float32"
            assert record["batch_size"] == 10
            assert record["tflops"] == record["per_s"] * record["flops_per_item"] / 1e12
            assert record["share"] == record["tflops"] / ceiling["tflops"]
    ours, plain = records["pair/digits/ours"], records["pair/digits/plain_float32"]
    assert ours["models"] == list(PAIR)
    flops = {name: record.get("flops_per_item") for name, record in records.items()}
    denoiser, classifier = flops["network/digits_unet"], flops["network/digits_vit"]
    assert flops["pair/digits/ours"] == denoiser + classifier
    assert flops["train/digits_unet"] == 3 * denoiser
    assert flops["train/digits_vit_finetuned"] == 3 * classifier + denoiser
    last = capsys.readouterr().out.splitlines()[-1]
    ratio = f"{ours['per_s'] / plain['per_s']:.2f}"
    assert last.startswith(f"bench: ours is so many times as fast: digits {ratio} (plain_float32)")
    (page,) = tmp_path.glob("*.md")
    assert len(page.read_text().splitlines()) == 4 + len(records)


def test_a_row_that_fails_is_one_line_and_the_others_go_on(run, tmp_path, capsys):
    with pytest.raises(SystemExit, match="1 rows failed: network/digits_cnn"):
        run("--rows", "network/digits_cnn", "network/digits_vit", fails=("network/digits_cnn",))
    records = written(tmp_path)
    assert records["network/digits_cnn"]["error"] == "OutOfMemoryError: too large"
    assert records["network/digits_vit"]["per_s"] > 0
    lines = capsys.readouterr().out.splitlines()
    (failed,) = (line for line in lines if line.startswith("network/digits_cnn"))
    assert failed.endswith("failed: OutOfMemoryError: too large")


def test_rows_that_are_not_measured_again_stay(tmp_path):
    measured = [{"row": name, "error": "none"} for name in ("first", "second")]
    for record in (*measured, {"row": "first", "error": "another"}):
        results = bench.Results(tmp_path, "A GPU")
        results.add(record)
    assert json.loads((tmp_path / "a-gpu.json").read_text()) == [
        {"row": "first", "error": "another"}, measured[1],
    ]  # fmt: skip


def test_no_row_starts_when_the_budget_is_used_up(run, tmp_path, capsys):
    run("--rows", "network/digits_*", "--budget", "0")
    assert list(written(tmp_path)) == ["ceiling/bfloat16", "ceiling/float32"]
    assert "3 rows are left out: network/digits_vit, " in capsys.readouterr().out


def test_a_file_that_holds_no_rows_is_refused(tmp_path):
    (tmp_path / "a-gpu.json").write_text('{"pair": "digits"}')
    with pytest.raises(SystemExit, match="a-gpu.json: holds no rows"):
        bench.Results(tmp_path, "A GPU")


def test_an_unknown_row_is_refused_with_what_there_is(run):
    with pytest.raises(
        SystemExit, match="no row is called pair/mnist; allowed: .*pair/digits/ours"
    ):
        run("--rows", "pair/mnist")


def test_every_row_is_of_models_of_the_registry():
    names = [row.name for row in rows("*")]
    assert len(set(names)) == len(names)
    for row in rows("*"):
        for model in row.models:
            assert {"network", "input"} <= bench_measure.read_entry(model).keys()


def test_workers_answer_and_are_replaced_when_they_fail_hang_or_die():
    with bench.Worker() as worker:
        assert worker.call("builtins:abs", -2, limit=60) == 2
        with pytest.raises(RuntimeError, match="ValueError: invalid literal"):
            worker.call("builtins:int", "two", limit=60)
        with pytest.raises(RuntimeError, match="longer than 0.2 s"):
            worker.call("time:sleep", 60, limit=0.2)
        with pytest.raises(RuntimeError, match="exit status 3"):
            worker.call("os:_exit", 3, limit=60)
        assert worker.call("builtins:abs", -4, limit=60) == 4


@pytest.mark.parametrize("way", PLAIN)
def test_tf32_is_as_a_plain_way_says_and_restored(way):
    backends = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [backend.allow_tf32 for backend in backends]
    with suppress(KeyError), tf32(*PLAIN[way]):
        assert tuple(backend.allow_tf32 for backend in backends) == PLAIN[way]
        raise KeyError
    assert [backend.allow_tf32 for backend in backends] == before


@pytest.mark.parametrize(
    ("precision", "way", "device", "expected"),
    [
        ("bfloat16", "plain_tf32", "cuda", "bfloat16"),
        ("float32", "plain_tf32", "cuda", "tf32"),
        ("float32", "plain_default", "cuda", "float32, convolutions in tf32"),
        ("float32", "plain_float32", "cuda", "float32"),
        ("float32", "plain_tf32", "cpu", "float32"),
    ],
)
def test_a_record_says_what_its_row_was_computed_in(precision, way, device, expected):
    with tf32(*PLAIN[way]):
        assert bench_timing.arithmetic(precision, torch.device(device)) == expected


def test_a_cold_start_compiles_anew_and_a_warm_one_does_not(tmp_path, monkeypatch):
    settings = Settings(cache=str(tmp_path))
    seen = []

    def start(data, settings, cache):
        seen.append(cache.exists())
        cache.mkdir(exist_ok=True)
        return {"seconds": 1.0, "precision": "float32"}

    monkeypatch.setattr(bench_start, "_first_samples", start)
    for way in ("warm", "warm", "cold"):
        bench_start.measure(Row("start", "digits", PAIR, way), settings)
    assert seen == [False, True, True, False]


def test_a_start_says_how_long_its_stages_took(tmp_path):
    (row,) = rows("start/digits/cold")
    settings = Settings(
        device="cpu", precision="float32", threads=1, batch_size=10, cache=str(tmp_path)
    )
    record = bench_start.measure(row, settings)
    assert list(record["stages"]) == ["imports", "networks", "first batch"]
    assert record["seconds"] == pytest.approx(sum(record["stages"].values()), abs=0.01)
    assert all(seconds > 0 for seconds in record["stages"].values())
    assert record["batch_size"] == 10
    assert Path(tmp_path, "digits").is_dir()
