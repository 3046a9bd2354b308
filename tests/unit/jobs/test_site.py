"""A site's resources reach the jobs that they are for, whatever their rule."""

import types

import pytest
from snakemake.resources import Resources

from jobs.site import give_resources

SITE = {"slurm_partition": "cpus", "mem_mb": "4000", "runtime": "60"}


def resources(site, rule, overwritten=None):
    """Return what a rule of the name "rule" asks for in the end."""
    lines = [f"{name}={value}" for name, value in (SITE | site).items()]
    defaults = Resources.parse(lines, allow_expressions=True)
    one = types.SimpleNamespace(
        name="rule", resources=Resources.parse(lines, allow_expressions=True)
    )
    fixed = Resources.from_mapping(overwritten or {})
    one.resources.update(Resources.from_mapping(rule))
    one.resources.update(fixed)
    give_resources([one], defaults, {"rule": fixed})

    def evaluate(resource):
        return resource.evaluate(
            wildcards=None, input=[], attempt=1, rulename="rule", threads=1, async_run=None
        )

    found = one.resources.expand_items(constraints={}, evaluate=evaluate, expand_sized=False)
    return {name: value for name, value in found if value is not None}


GPU, CPU = {"gpu": 1, "mem_mb": 16000, "runtime": 120}, {"mem_mb": 2000}


@pytest.mark.parametrize(("rule", "partition", "gpu", "model"), [
    (GPU, "gpus", 1, "a100"), (CPU, "cpus", None, None), ({"gpu": 0}, "cpus", 0, None),
])  # fmt: skip
def test_a_job_goes_where_its_kind_belongs(rule, partition, gpu, model):
    site = {"gpu_slurm_partition": "gpus", "gpu_model": "a100", "gpu_slurm_extra": "'--nice=5'"}
    found = resources(site, rule)
    assert found["slurm_partition"] == partition
    assert (found.get("gpu"), found.get("gpu_model")) == (gpu, model)
    assert found.get("slurm_extra") == ("--nice=5" if gpu else None)
    assert {name for name in found if name.startswith(("gpu_", "all_"))} <= {"gpu_model"}


def test_a_rule_keeps_what_it_asks_for_itself():
    assert resources({}, GPU) == {"slurm_partition": "cpus"} | GPU
    assert resources({}, CPU) == SITE | CPU | {"runtime": 60}


def test_what_a_site_says_of_all_jobs_or_of_a_kind_goes_before_what_a_rule_asks_for():
    site = {"all_mem_mb": "0", "all_max_runtime": "240", "gpu_max_runtime": "600"}
    assert resources(site, GPU) == {"slurm_partition": "cpus", "max_runtime": 600} | GPU | {
        "mem_mb": 0
    }
    found = resources(site, CPU)
    assert (found["mem_mb"], found["max_runtime"]) == (0, 240)


def test_what_the_command_line_says_of_a_rule_goes_before_all():
    site = {"gpu_slurm_partition": "gpus", "all_mem_mb": "0", "gpu_model": "a100"}
    found = resources(site, GPU, {"slurm_partition": "debug", "mem_mb": 5, "gpu_model": "h100"})
    assert (found["slurm_partition"], found["mem_mb"]) == ("debug", 5)
    assert found["gpu_model"] == "h100"


def test_a_gpu_is_asked_for_once():
    found = resources({"gpu_gres": "gpu:a100:1"}, GPU)
    assert (found["gres"], found["gpu"]) == ("gpu:a100:1", 0)
    assert "gres" not in resources({"gpu_gres": "gpu:a100:1"}, CPU)
