"""How batches run on a device changes no vote: size, memory, shapes, counting late."""

import pytest
import torch
from brightness import CLASSES, CLASSIFIERS, IMAGES, PLANS, Greedy, Spy, count_votes, same, smoothed
from torch import nn

from dds.networks.denoisers import DiffusionDenoiser, NoDenoiser
from dds.networks.schedules import cosine_schedule
from dds.sampling import runner
from dds.sampling.runner import Runner, scatter
from dds.sampling.votes import Votes


def test_batches_are_filled_across_images():
    spy = Spy(0.45, 0.55)
    count_votes(smoothed("sequential", {"spy": spy}, batch_size=128))
    assert spy.sizes[0] == 128
    assert sum(size == 128 for size in spy.sizes) >= len(spy.sizes) // 2


def test_deterministic_batches_are_whole_blocks():
    spy = Spy(0.45, 0.55)
    count_votes(smoothed("fixed", {"spy": spy}, deterministic=True, batch_size=7))
    assert set(spy.sizes) == {100}


class Stop(Exception):
    """Interrupts sampling."""


def test_deterministic_batches_go_on_in_the_middle_of_a_block():
    votes = Votes.none(IMAGES, len(CLASSIFIERS), CLASSES)

    def stop(votes):
        if votes.samples > 100:
            raise Stop

    with pytest.raises(Stop):
        count_votes(smoothed(batch_size=37), votes=votes, after_batch=stop)
    assert votes.samples == 111
    assert same(count_votes(smoothed(deterministic=True), votes=votes), count_votes(smoothed()))


@pytest.mark.parametrize("plan", PLANS)
def test_out_of_memory_halves_the_batch_and_goes_on(plan):
    expected = count_votes(smoothed(plan, {"greedy": Greedy(700)}))
    smooth = smoothed(plan, {"greedy": Greedy(70)}, batch_size=512)
    assert same(count_votes(smooth), expected)
    assert smooth.batch_size == 64


def test_out_of_memory_with_one_sample_or_fixed_shapes_is_an_error():
    for options in ({}, {"deterministic": True}):
        with pytest.raises(torch.OutOfMemoryError):
            count_votes(smoothed("fixed", {"greedy": Greedy(0)}, **options))


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize(
    "options", [{"batch_size": 37}, {"batch_size": 400}, {"deterministic": True}]
)
def test_counting_may_lag_behind(plan, options):
    """As on a GPU, where a batch is queued before the votes of the last are known."""
    smooth = smoothed(plan, **options)
    smooth.runner.ahead = 3
    assert same(count_votes(smooth), count_votes(smoothed(plan)))


@pytest.mark.parametrize("plan", PLANS)
def test_compiled_networks_see_four_shapes_and_count_the_same(plan, monkeypatch):
    monkeypatch.setattr(runner, "compile_networks", lambda networks, run, **options: True)
    spies = {"strict": Spy(0.3, 0.7), "lax": Spy(0.45, 0.55)}
    votes = count_votes(smoothed(plan, spies, batch_size=80, compiled=True))
    assert same(votes, count_votes(smoothed(plan)))
    assert {size for spy in spies.values() for size in spy.sizes} <= {20, 40, 60, 80}


@pytest.mark.parametrize("plan", PLANS)
def test_a_compiled_classifier_that_is_alone_sees_one_shape(plan, monkeypatch):
    monkeypatch.setattr(runner, "compile_networks", lambda networks, run, **options: True)
    spies = {"lax": Spy(0.45, 0.55)}
    votes = count_votes(smoothed(plan, spies, batch_size=80, compiled=True))
    assert same(votes, count_votes(smoothed(plan, {"lax": CLASSIFIERS["lax"]})))
    assert set(spies["lax"].sizes) == {80}


@pytest.mark.parametrize("plan", PLANS)
def test_a_batch_size_is_looked_for_before_networks_are_compiled(plan, monkeypatch):
    tried = []

    def search(run):
        run(7)
        tried.append(True)
        return 80

    monkeypatch.setattr(runner, "fastest_batch_size", search)
    monkeypatch.setattr(
        runner, "compile_networks", lambda networks, run, **options: len(tried) == 1
    )
    spies = {"lax": Spy(0.45, 0.55)}
    smooth = smoothed(plan, spies, batch_size="auto", compiled=True)
    votes = count_votes(smooth)
    assert same(votes, count_votes(smoothed(plan, {"lax": CLASSIFIERS["lax"]})))
    assert smooth.runner.compiled
    assert spies["lax"].sizes[0] == 7
    assert set(spies["lax"].sizes[1:]) == {80}


class Unet(nn.Module):
    """Sees noise everywhere."""

    def __init__(self):
        super().__init__()
        self.sizes = []

    def forward(self, x, time):
        self.sizes.append(len(x))
        return x


@pytest.mark.parametrize(("steps", "once"), [(1, True), (3, False), (0, False)])
def test_all_networks_are_compiled_and_tried_on_a_full_batch(steps, once, monkeypatch):
    found = {}

    def compile_networks(networks, run, once, programs):
        found.update(networks=networks, once=once)
        run()
        return True

    monkeypatch.setattr(runner, "compile_networks", compile_networks)
    unet, spy = Unet(), Spy(0.3, 0.7)
    denoiser = DiffusionDenoiser(unet, cosine_schedule(20), steps=steps)
    smooth = smoothed("fixed", {"spy": spy}, denoiser, batch_size=64, compiled=True)
    assert not unet.training
    assert not spy.training
    count_votes(smooth)
    count_votes(smooth)
    assert found == {"networks": [spy, unet], "once": once}
    assert spy.sizes[0] == 64
    assert set(unet.sizes) == {64}


@pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning")
@pytest.mark.parametrize("compiled", [True, None])
def test_programs_of_torchscript_are_not_compiled_again(compiled, monkeypatch):
    tried = []
    monkeypatch.setattr(runner, "compile_networks", lambda these, *_, **__: tried.extend(these))
    monkeypatch.setattr("dds.networks.compiling.WORTH_COMPILING", 0)
    unet, program = Unet(), torch.jit.script(nn.Sequential(nn.Flatten(), nn.Linear(3, 2)))
    denoiser = DiffusionDenoiser(unet, cosine_schedule(20))
    smooth = Runner([program], denoiser, batch_size=4, compiled=True)
    smooth._compiles_all = compiled is not None  # as on a GPU, where None means what is worth it
    smooth.get_ready(lambda images, normal, wanted: program(unet(images, None)), (3, 1, 1), 4)
    assert tried == [unet]


def test_networks_of_a_denoiser_that_is_no_module_are_evaluated_too():
    class Mine(NoDenoiser):
        networks = (nn.Dropout(),)

    Runner([], Mine())
    assert not Mine.networks[0].training


def test_a_denoiser_says_what_it_runs_and_how_often():
    class Silent:
        networks = ()

    with pytest.raises(AttributeError, match="'Silent' object has no attribute 'runs'"):
        Runner([], Silent())


def test_automatic_settings_are_replaced_by_what_ran():
    smooth = smoothed(precision="auto", batch_size="auto")
    assert smooth.precision in ("float32", "bfloat16")
    count_votes(smooth)
    assert isinstance(smooth.batch_size, int)


def test_what_is_gathered_is_scattered_to_the_same_places():
    places = [slice(1, 3), slice(4, 5)]
    samples, onto = torch.arange(6), torch.full((6,), -1)
    scatter(Runner([], NoDenoiser()).gather(samples, places), places, onto)
    assert onto.tolist() == [-1, 1, 2, -1, 4, -1]


@pytest.mark.parametrize("wrong", [{"precision": "int8"}, {"batch_size": 0}, {"batch_size": "big"}])
def test_bad_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        smoothed(classifiers=CLASSIFIERS, **wrong)


@pytest.mark.parametrize("batch_size", [1.5, -1, None])
def test_a_batch_is_of_whole_samples(batch_size):
    with pytest.raises(ValueError, match=f"must be auto or at least 1, not {batch_size}"):
        Runner([], NoDenoiser(), batch_size=batch_size)


def test_a_batch_may_be_a_single_sample():
    spy = Spy(0.45, 0.55)
    count_votes(smoothed("fixed", {"spy": spy}, batch_size=1), rows=[0])
    assert set(spy.sizes) == {1}


@pytest.mark.parametrize(("deterministic", "size"), [(False, 37), (True, 100)])
def test_an_automatic_batch_size_is_found_by_trying_whole_batches(deterministic, size, monkeypatch):
    tried = []

    def fastest_batch_size(run):
        run(37)
        tried.extend(spy.sizes)
        return 37

    monkeypatch.setattr(runner, "fastest_batch_size", fastest_batch_size)
    spy = Spy(0.45, 0.55)
    smooth = smoothed("fixed", {"spy": spy}, batch_size="auto", deterministic=deterministic)
    votes = count_votes(smooth)
    assert smooth.batch_size == size
    assert tried == ([] if deterministic else [37])
    assert same(votes, count_votes(smoothed("fixed", {"spy": spy})))


def test_a_log_says_which_batch_size_is_too_large_and_which_comes_next(caplog):
    count_votes(smoothed("fixed", {"greedy": Greedy(70)}, batch_size=200))
    assert [record.getMessage() for record in caplog.records] == [
        "out of memory at batch size 200; going on with 100",
        "out of memory at batch size 100; going on with 50",
    ]


@pytest.mark.parametrize(
    ("device", "deterministic", "compiled", "ahead"),
    [("cpu", False, False, 0), ("cuda", False, True, 1), ("cuda", True, False, 1)],
)
def test_by_default_a_gpu_compiles_and_is_kept_busy(device, deterministic, compiled, ahead):
    made = Runner([], NoDenoiser(), device=device, deterministic=deterministic)
    assert (made.compiled, made.ahead) == (compiled, ahead)
