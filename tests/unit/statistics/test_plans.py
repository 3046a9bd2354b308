"""Sampling plans: how they are made, where they stop, and how alpha is spent."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.stats import hypergeom

from dds.seeds import BLOCK
from dds.statistics.bounds import largest_radius, successes_needed
from dds.statistics.certificates import certify_counts
from dds.statistics.plans import PLANS as KINDS
from dds.statistics.plans import make_plan
from dds.statistics.plans._looks import growing_looks
from dds.statistics.plans.curtailed import Curtailed
from dds.statistics.plans.fixed import Fixed
from dds.statistics.plans.radius import Radius
from dds.statistics.plans.sequential import Sequential
from dds.statistics.plans.union_sequential import UnionSequential

SIGMA, ALPHA, RADII = 0.25, 0.001, (0.0, 0.25, 0.5, 0.75)

PLANS = {
    "fixed": Fixed(100, 2_000),
    "curtailed": Curtailed(100, 2_000, sigma=SIGMA, alpha=ALPHA),
    "curtailed at 0.25": Curtailed(100, 2_000, lowest_radius=0.25, sigma=SIGMA, alpha=ALPHA),
    "sequential": Sequential(100, 2_000, radii=RADII, sigma=SIGMA, alpha=ALPHA),
    "sequential, ragged n": Sequential(100, 1_950, radii=RADII, sigma=SIGMA, alpha=ALPHA),
    "sequential, frugal": Sequential(
        100, 2_000, radii={SIGMA: RADII, 1.0: [0.0]}, sigma=SIGMA, alpha=ALPHA, frugal=True
    ),
    "union": UnionSequential(100, 2_000, radii=RADII, sigma=SIGMA, alpha=ALPHA),
    "radius": Radius(100, 2_000, within=0.1, alpha=ALPHA),
}
every_plan = pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)


def counts(successes, drawn):
    return np.array([drawn - successes, successes])


def hits_of(p, n, seed=0):
    """Whether each of `n` samples falls into the top class."""
    return np.random.default_rng(seed).random(n) < p


def run(plan, hits, label=1, ask_at=()):
    """Draw like a sampler that also asks at the sample counts `ask_at`; return the counts."""
    selection, drawn = counts(plan.n0, plan.n0), 0
    while True:
        goal = plan.goal(label, selection, counts(hits[:drawn].sum(), drawn))
        assert drawn <= goal <= plan.n
        assert goal % BLOCK == 0 or goal == plan.n
        if goal == drawn:
            return counts(hits[:drawn].sum(), drawn)
        drawn = min([goal, *(ask for ask in ask_at if ask > drawn)])


def certificate(plan, estimation, label=1, sigma=SIGMA):
    selection = counts(plan.n0, plan.n0)[None]
    rows = certify_counts(selection, estimation[None], sigma, np.array([label]), plan, ALPHA)
    return {name: column[0] for name, column in rows.items()}


@every_plan
@given(p=st.floats(0, 1), seed=st.integers(0, 99), ask_at=st.sets(st.integers(1, 1_999)))
def test_counts_do_not_depend_on_when_the_plan_is_asked(plan, p, seed, ask_at):
    hits = hits_of(p, plan.n, seed)
    assert run(plan, hits).tolist() == run(plan, hits, ask_at=ask_at).tolist()


@every_plan
def test_every_image_that_a_plan_finishes_can_be_certified(plan):
    for p in np.linspace(0, 1, 41):
        row = certificate(plan, run(plan, hits_of(p, plan.n)))
        assert row["computed"] or row["n"] < plan.n
        assert not row["computed"] or row["p_lower"] >= 0


@every_plan
def test_a_plan_survives_the_way_through_a_file(plan):
    settings = json.loads(json.dumps(plan.to_dict()))
    again = make_plan(settings, SIGMA)
    assert again == plan
    assert again.to_dict() == plan.to_dict()


def test_an_experiment_of_a_study_file_makes_its_plan():
    experiment = {"dataset": "digits", "plan": "fixed", "n0": 100, "n": 1_000, "alpha": 0.001}
    assert make_plan(experiment, 0.5) == Fixed(100, 1_000)

    experiment |= {"plan": "curtailed", "radii": [0.5, 0.25]}
    curtailed = Curtailed(100, 1_000, lowest_radius=0.25, sigma=0.5, alpha=0.001)
    assert make_plan(experiment, 0.5) == curtailed

    experiment |= {"plan": "sequential", "frugal": True}
    sequential = Sequential(100, 1_000, radii=[0.25, 0.5], sigma=0.5, alpha=0.001, frugal=True)
    assert make_plan(experiment, 0.5) == sequential

    experiment |= {"plan": "union_sequential", "looks": [500, 1_000]}
    union = UnionSequential(
        100, 1_000, radii=[0.25, 0.5], sigma=0.5, alpha=0.001, looks=[500, 1_000]
    )
    assert make_plan(experiment, 0.5) == union

    experiment |= {"plan": "radius", "within": 0.1}
    assert make_plan(experiment, 0.5) == Radius(100, 1_000, within=0.1, alpha=0.001)


@pytest.mark.parametrize(
    ("settings", "plan"),
    [
        ({"curtail": False}, Fixed(10, 1_000)),
        ({"curtail": False, "alpha": 0.01, "radii": [0.5]}, Fixed(10, 1_000)),
        (
            {"curtail": True, "alpha": 0.01, "radii": [0.5]},
            Curtailed(10, 1_000, lowest_radius=0.5, sigma=SIGMA, alpha=0.01),
        ),
        ({"curtail": True, "alpha": 0.01}, Curtailed(10, 1_000, sigma=SIGMA, alpha=0.01)),
    ],
)
def test_counts_that_call_a_curtailed_plan_fixed_are_still_read(settings, plan):
    assert make_plan({"plan": "fixed", "n0": 10, "n": 1_000} | settings, SIGMA) == plan


@pytest.mark.parametrize(
    "keys", [{"looks": [500, 1_000]}, {"looks": None, "last_share": 0.9, "futility": 0.01}]
)
def test_counts_that_call_a_union_sequential_plan_sequential_are_still_read(keys):
    settings = {"plan": "sequential", "n0": 10, "n": 1_000, "alpha": 0.01, "radii": [0.25]} | keys
    plan = UnionSequential(10, 1_000, radii=[0.25], sigma=SIGMA, alpha=0.01, looks=keys["looks"])
    assert make_plan(settings, SIGMA) == plan


# Kinds of plans. -------------------------------------------------------------------------

every_kind = pytest.mark.parametrize("kind", KINDS.names)


@every_kind
def test_a_plan_takes_no_keys_but_its_own(kind):
    own = set(KINDS[kind].Keys.model_fields)
    for stranger in {"radii", "looks", "last_share", "futility", "frugal", "curtail"} - own:
        with pytest.raises(ValidationError, match=stranger):
            KINDS[kind].Keys(**{"radii": [0.0], stranger: [0.5]})


def test_keys_and_plans_have_the_same_defaults():
    samples = {"n0": 10, "n": 1_000, "alpha": ALPHA, "sigma": SIGMA}
    curtailed = KINDS["curtailed"]
    assert curtailed.make(curtailed.Keys(), **samples) == Curtailed(**samples)
    radius = KINDS["radius"]
    assert radius.make(radius.Keys(), **samples) == Radius(10, 1_000, alpha=ALPHA)
    for name, plan in (("sequential", Sequential), ("union_sequential", UnionSequential)):
        keys = KINDS[name].Keys(radii=[0.25])
        assert KINDS[name].make(keys, **samples) == plan(**samples, radii=[0.25])


def test_what_a_fixed_plan_draws_does_not_depend_on_alpha_but_what_the_others_draw_does():
    selection = counts(100, 100)
    for kind in KINDS.names:
        settings = {"plan": kind, "n0": 100, "n": 1_000, "radii": [0.0]}
        plans = [make_plan(settings | {"alpha": alpha}, SIGMA) for alpha in (1e-9, 0.4)]
        goals = {
            tuple(plan.goal(1, selection, counts(hits, 400)) for hits in range(401))
            for plan in plans
        }
        assert (len(goals) > 1) == KINDS[kind].SPENDS_ALPHA


OWN_PLAN = """
from dataclasses import dataclass

from dds import keys as typed

SPENDS_ALPHA = False


class Keys(typed.Keys):
    stop: typed.Count = typed.key("How many samples to draw of an image that begins badly.")
    least: typed.Fraction = typed.key("Share of hits after which it goes on.", 0.5)


def make(keys, *, n0, n, alpha, sigma):
    return TwoStages(n0, n, keys.stop, keys.least)


@dataclass(frozen=True)
class TwoStages:
    n0: int
    n: int
    stop: int
    least: float
    lowest_radius = 0.0

    def goal(self, label, selection, estimation):
        hits, drawn = estimation[selection.argmax()], estimation.sum()
        return self.stop if drawn <= self.stop and hits < self.least * self.stop else self.n

    def computed(self, drawn):
        return drawn == self.n

    def alpha_at(self, drawn, alpha):
        return 0 * drawn + alpha

    def to_dict(self):
        return {"plan": __file__, "n0": self.n0, "n": self.n, "stop": self.stop,
                "least": self.least}
"""


def test_a_plan_of_the_users_own_is_a_file(tmp_path, monkeypatch):
    (tmp_path / "two_stages.py").write_text(OWN_PLAN)
    monkeypatch.chdir(tmp_path)
    settings = {"plan": "two_stages.py", "n0": 100, "n": 2_000, "stop": 300, "alpha": ALPHA}
    plan = make_plan(settings, SIGMA)
    assert (plan.stop, plan.least) == (300, 0.5)
    assert make_plan(json.loads(json.dumps(plan.to_dict())), SIGMA) == plan
    bad, good = (certificate(plan, run(plan, hits_of(p, 2_000))) for p in (0.2, 0.9))
    assert (bad["n"], bad["computed"]) == (300, False)
    assert good == certificate(PLANS["fixed"], run(PLANS["fixed"], hits_of(0.9, 2_000)))

    del settings["stop"]
    with pytest.raises(ValueError, match="a two_stages plan needs stop"):
        make_plan(settings, SIGMA)
    with pytest.raises(ValueError, match="plan: there is no Python file .*three_stages.py"):
        make_plan(settings | {"plan": "three_stages.py"}, SIGMA)


# Where plans stop. -----------------------------------------------------------------------


def test_fixed_draws_everything_of_every_image():
    hits = hits_of(0.1, 2_000)
    assert run(PLANS["fixed"], hits).sum() == 2_000
    assert run(PLANS["fixed"], hits, label=0).sum() == 2_000


@pytest.mark.parametrize(
    "name", ["curtailed", "curtailed at 0.25", "sequential", "union", "radius"]
)
def test_nothing_is_drawn_of_a_misclassified_image(name):
    drawn = run(PLANS[name], hits_of(0.9, 2_000), label=0)
    assert drawn.sum() == 0
    assert not certificate(PLANS[name], drawn, label=0)["computed"]


@pytest.mark.parametrize("name", ["curtailed", "sequential", "union", "radius"])
def test_without_a_label_no_image_is_skipped(name):
    assert run(PLANS[name], hits_of(0.99, 2_000), label=None).sum() > 0


@given(n=st.integers(1, 1_500), lowest=st.floats(0, 1), p=st.floats(0.3, 1), data=st.data())
def test_curtailing_stops_no_image_that_any_plan_of_n_samples_certifies(n, lowest, p, data):
    plan = Curtailed(10, n, lowest_radius=lowest, sigma=SIGMA, alpha=ALPHA)
    hits = hits_of(p, n, data.draw(st.integers(0, 99)))
    stopped = not certificate(plan, run(plan, hits))["computed"]
    assert not (stopped and hits.sum() >= successes_needed(lowest, SIGMA, n, ALPHA))


def test_curtailing_stops_at_the_first_block_that_settles_it():
    plan = PLANS["curtailed"]
    too_many = 2_000 - int(successes_needed(0.0, SIGMA, 2_000, ALPHA)) + 1
    hits = np.zeros(2_000, dtype=bool)
    assert run(plan, hits).sum() == -(-too_many // BLOCK) * BLOCK


@pytest.mark.parametrize("misses_too_many", [0, 1])
def test_curtailing_lets_an_image_go_on_that_can_just_be_certified(misses_too_many):
    plan = PLANS["curtailed at 0.25"]
    allowed = 2_000 - int(successes_needed(0.25, SIGMA, 2_000, ALPHA))
    hits = np.arange(2_000) >= allowed + misses_too_many
    block_end = -(-allowed // BLOCK) * BLOCK
    # The last miss falls on the end of a block, so that this is where the plan is asked.
    hits[:block_end] = np.roll(hits[:block_end], block_end - allowed - misses_too_many)
    assert hits[:block_end].sum() == block_end - allowed - misses_too_many
    estimation = run(plan, hits)
    row = certificate(plan, estimation)
    if misses_too_many:
        assert estimation.sum() == block_end
    else:
        assert estimation.sum() == 2_000
        assert row["radius"] >= 0.25


def test_curtailing_draws_nothing_where_the_radius_is_beyond_reach():
    beyond = 1.01 * float(largest_radius(2_000, ALPHA, SIGMA))
    plan = Curtailed(100, 2_000, lowest_radius=beyond, sigma=SIGMA, alpha=ALPHA)
    assert run(plan, hits_of(1.0, 2_000)).sum() == 0


def test_curtailed_images_cannot_be_certified_at_a_larger_alpha():
    drawn = np.array([2_000])
    assert PLANS["curtailed"].alpha_at(drawn, 0.0001) == [0.0001]
    with pytest.raises(ValueError, match=r"alpha 0.01 is above the 0.001"):
        PLANS["curtailed"].alpha_at(drawn, 0.01)


@pytest.mark.parametrize("kind", [Sequential, UnionSequential])
def test_a_sequential_plan_stops_early_where_the_case_is_clear(kind):
    plan = kind(100, 100_000, radii=RADII, sigma=SIGMA, alpha=ALPHA)
    for p, radius, most in [(1.0, 0.75, 20_000), (0.6, 0.0, 10_000), (0.3, None, 100)]:
        row = certificate(plan, run(plan, hits_of(p, 100_000)))
        assert row["n"] <= most
        assert row["correct"] == (radius is not None)
        assert radius is None or row["radius"] >= radius


@given(p=st.floats(0.5, 1), seed=st.integers(0, 999))
def test_a_sequential_image_ends_on_a_look_with_its_place_in_the_grid(p, seed):
    plan = PLANS["union"]
    row = certificate(plan, run(plan, hits_of(p, 2_000, seed)))
    assert row["n"] in plan.looks
    certified = sum(row["correct"] and row["radius"] >= radius for radius in RADII)
    needed = successes_needed(RADII, SIGMA, row["n"], plan.alpha_at(row["n"], ALPHA))
    assert certified == (row["successes"] >= needed).sum()


def test_giving_up_loses_no_more_decisions_than_agreed():
    plan = UnionSequential(100, 2_000, radii=[0.25], sigma=SIGMA, alpha=ALPHA, futility=0.1)
    last_alpha = plan.alpha_at(np.array([2_000]), ALPHA)
    needed = int(successes_needed(0.25, SIGMA, 2_000, last_alpha[0]))
    generator = np.random.default_rng(0)
    hits = np.arange(2_000) < needed  # the hardest image to keep: it just makes it
    kept = sum(
        certificate(plan, run(plan, generator.permutation(hits)))["radius"] >= 0.25
        for _ in range(1_000)
    )
    assert kept >= 0.9 * 1_000


def test_a_sequential_image_goes_on_exactly_while_its_case_is_open():
    plan = UnionSequential(100, 2_000, radii=[0.25], sigma=SIGMA, alpha=ALPHA)
    risk = plan.futility / (len(plan.looks) - 1)
    at_the_end = int(successes_needed(0.25, SIGMA, 2_000, plan.alpha_at(2_000, ALPHA)))
    for look in plan.looks[:-1]:
        open_cases = [
            successes
            for successes in range(look + 1)
            if plan.goal(1, counts(100, 100), counts(successes, look)) > look
        ]
        assert open_cases == list(range(open_cases[0], open_cases[-1] + 1))
        fewest = hypergeom(2_000, at_the_end, look)
        assert fewest.cdf(open_cases[0] - 1) < risk <= fewest.cdf(open_cases[0])
        certifying = successes_needed(0.25, SIGMA, look, plan.alpha_at(look, ALPHA))
        assert open_cases[-1] == certifying - 1


def test_a_radius_that_takes_every_sample_is_still_tried():
    alpha = UnionSequential(100, 2_000, radii=[0], sigma=SIGMA, alpha=ALPHA).alpha_at(2_000, ALPHA)
    radius = 0.9999 * float(largest_radius(2_000, alpha, SIGMA))
    assert successes_needed(radius, SIGMA, 2_000, alpha) == 2_000
    plan = UnionSequential(100, 2_000, radii=[radius], sigma=SIGMA, alpha=ALPHA)
    assert certificate(plan, run(plan, hits_of(1.0, 2_000)))["radius"] >= radius
    assert run(plan, hits_of(0.99, 2_000)).sum() < 2_000


@given(st.sets(st.integers(1, 19)), st.floats(0.01, 0.99), st.floats(1e-6, 0.5))
def test_no_looks_spend_more_than_alpha(early, last_share, alpha):
    looks = [*(BLOCK * look for look in sorted(early)), 2_000]
    plan = UnionSequential(
        10, 2_000, radii=[0.0], sigma=SIGMA, alpha=alpha, looks=looks, last_share=last_share
    )
    spent = plan.alpha_at(np.array(looks), alpha)
    assert spent.sum() == pytest.approx(alpha)
    assert spent[-1] == pytest.approx(last_share * alpha if early else alpha)


def test_a_single_look_gets_the_whole_alpha():
    plan = UnionSequential(10, 100, radii=[0.0], sigma=SIGMA, alpha=ALPHA)
    assert plan.looks == (100,)
    assert plan.alpha_at(np.array([100]), ALPHA) == [ALPHA]


@pytest.mark.parametrize("name", ["fixed", "curtailed", "union"])
def test_a_count_that_is_no_stop_of_the_plan_is_refused(name):
    with pytest.raises(ValueError, match="1700 estimation samples is no stop of this plan"):
        PLANS[name].alpha_at(np.array([2_000, 1_700]), ALPHA)


@given(st.integers(1, 300) | st.integers(1, 1_000_000), st.floats(1.05, 2))
def test_looks_rise_in_whole_blocks_from_the_first_one_to_n(n, growth):
    looks = growing_looks(n, growth)
    assert (looks[0], looks[-1]) == (min(n, BLOCK), n)
    assert list(looks) == sorted(set(looks))
    assert all(look % BLOCK == 0 for look in looks[:-1])


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda: Fixed(0, 10), "n0 must be whole, at least 1 and at most 26,214,400, not 0"),
        (lambda: Fixed(10, 10**9), "n must be whole, at least 1 and at most 26,214,400"),
        (lambda: Fixed(10, 1.5), "n must be whole"),
        (lambda: Fixed(float("nan"), 10), "n0 must be whole"),
        (lambda: Curtailed(10, 0, sigma=0.25, alpha=0.001), "n must be whole, at least 1"),
        (
            lambda: make_plan({"plan": "curtailed", "n0": 10, "n": 10}, 0.25),
            "a curtailed plan needs alpha",
        ),
        (
            lambda: make_plan({"plan": "sequential", "n0": 10, "n": 10}, 0.25),
            "a sequential plan needs radii and alpha",
        ),
        (lambda: Sequential(1, 1, radii=[], sigma=1, alpha=0.1), "a sequential plan needs radii"),
        (lambda: Sequential(1, 1, radii=[0], sigma=1, alpha=1), "alpha must lie between 0 and 1"),
        (lambda: Sequential(1, 1, radii=[0], sigma=0, alpha=0.1), "sigma must be above 0"),
        (lambda: Sequential(1, 1, radii=[-1], sigma=1, alpha=0.1), "radius must be at least 0"),
        (
            lambda: Sequential(1, 1, radii={0.5: [0], 2: [0]}, sigma=1, alpha=0.1),
            "radii has none for sigma 1; it has some for 0.5, 2",
        ),
        (lambda: union(radii=[]), "needs radii"),
        (lambda: union(last_share=1.0), "last_share must lie between 0 and 1"),
        (lambda: union(futility=0.0), "futility must lie between 0 and 1"),
        (lambda: union(alpha=0.0), "alpha must lie between 0 and 1"),
        (lambda: union(sigma=-1.0), "sigma must be above 0"),
        (lambda: union(radii=[-0.5]), "radius must be at least 0"),
        (
            lambda: Curtailed(10, 10, sigma=0.0, alpha=0.001),
            "sigma must be above 0",
        ),
        (
            lambda: make_plan({"plan": "adaptive", "n0": 1, "n": 1}, 0.25),
            "plan: adaptive is not allowed; allowed: curtailed, fixed, radius, sequential, "
            "union_sequential, or FILE.py",
        ),
        (lambda: make_plan("fixed", 0.25), "must be a mapping that has plan, .*, not 'fixed'"),
        (lambda: make_plan({"n": 1}, 0.25), "must be a mapping that has plan"),
        (lambda: make_plan({"plan": "fixed"}, 0.25), "a fixed plan needs n0 and n"),
    ],
)
def test_impossible_plans_are_refused(call, reason):
    with pytest.raises(ValueError, match=reason):
        call()


def union(**changes):
    return UnionSequential(
        100, 1_000, **({"radii": [0.25], "sigma": SIGMA, "alpha": ALPHA} | changes)
    )


@pytest.mark.parametrize(
    ("n", "growth", "looks"),
    [
        (1_000, 1.5, (100, 200, 300, 400, 700, 1_000)),
        (1_234, 1.5, (100, 200, 400, 500, 800, 1_234)),
        (1_500, 1.1, (*range(100, 1_300, 100), 1_400, 1_500)),
        (120, 1.1, (100, 120)),
        (100, 1.5, (100,)),
        (99, 1.1, (99,)),
        (1, 1.1, (1,)),
    ],
)
def test_looks_grow_in_whole_blocks(n, growth, looks):
    assert growing_looks(n, growth) == looks


@pytest.mark.parametrize(
    "looks",
    [
        [],
        [0, 1_000],
        [-100, 1_000],
        [150, 1_000],
        [100, 900],
        [500, 500, 1_000],
        [500, 200, 1_000],
    ],
)
def test_looks_that_do_not_rise_from_the_first_block_to_n_are_refused(looks):
    with pytest.raises(ValueError, match="looks must rise in multiples of 100 and end at n = 1000"):
        union(looks=looks)


def test_a_study_refuses_such_looks_before_anything_runs():
    keys, check = KINDS["union_sequential"].Keys, KINDS["union_sequential"].check
    check(keys(radii=[0.0], looks=[500, 1_000]), 1_000)
    check(keys(radii=[0.0]), 1_234)
    with pytest.raises(ValueError, match="end at n = 900"):
        check(keys(radii=[0.0], looks=[500, 1_000]), 900)
    with pytest.raises(ValidationError, match="looks"):
        keys(radii=[0.0], looks=[])


def test_a_sequential_plan_of_one_sample_has_certificates():
    plan = UnionSequential(1, 1, radii=[0.0], sigma=SIGMA, alpha=ALPHA)
    row = certificate(plan, run(plan, np.array([True])))
    assert row["computed"]
    assert row["p_lower"] == pytest.approx(ALPHA)


@pytest.mark.parametrize("name", ["curtailed", "curtailed at 0.25"])
def test_a_hopeless_image_stops_at_the_end_of_its_block(name):
    """However many samples it has had when the plan is asked."""
    for drawn in (1_001, 1_050, 1_100, 1_999):
        goal = PLANS[name].goal(1, counts(100, 100), counts(0, drawn))
        assert goal == -(-drawn // BLOCK) * BLOCK
