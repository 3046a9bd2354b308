"""Energy is what the device's counters say, and nothing where there are none."""

import sys
import types

import pytest
import torch

from jobs import energy
from jobs.energy import EnergyMeter

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Two processors' counters, and one of a part of the first."""
    monkeypatch.setattr(energy, "_PROCESSORS", tmp_path)
    for name in ("intel-rapl:0", "intel-rapl:1", "intel-rapl:0:0"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "energy_uj").write_text("900000000")
        (tmp_path / name / "max_energy_range_uj").write_text("1000000000")
    return [tmp_path / name / "energy_uj" for name in ("intel-rapl:0", "intel-rapl:1")]


def test_processors_are_added_up_over_the_end_of_their_counters(packages):
    meter = EnergyMeter(CPU)
    packages[0].write_text("950000000")
    assert meter.joules() == 50
    packages[0].write_text("20000000")  # 1,000 J later it starts again
    packages[1].write_text("901000000")
    assert meter.joules() == 50 + 70 + 1


def test_a_counter_that_cannot_be_read_for_once_is_made_up_for(packages):
    meter = EnergyMeter(CPU)
    packages[1].rename(packages[1].with_suffix(".away"))
    assert meter.joules() == 0
    packages[1].with_suffix(".away").rename(packages[1])
    packages[1].write_text("903000000")
    assert meter.joules() == 3


def test_without_counters_there_is_no_energy(tmp_path, monkeypatch):
    monkeypatch.setattr(energy, "_PROCESSORS", tmp_path)
    assert EnergyMeter(CPU).joules() is None


class NVML(types.ModuleType):
    """NVIDIA's library, with one GPU whose counter is in millijoules."""

    class NVMLError(Exception):
        """What its functions raise."""

    millijoules = 5000

    def nvmlInit(self):  # noqa: N802
        pass

    def nvmlDeviceGetHandleByUUID(self, name):  # noqa: N802
        if name != "GPU-12":
            raise self.NVMLError("not found")
        return "handle"

    def nvmlDeviceGetTotalEnergyConsumption(self, handle):  # noqa: N802
        return self.millijoules


@pytest.mark.parametrize(("uuid", "expected"), [("12", 2.5), ("34", None)])
def test_a_gpu_is_found_by_its_identifier(monkeypatch, uuid, expected):
    nvml = NVML("pynvml")
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    properties = types.SimpleNamespace(uuid=uuid)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    meter = EnergyMeter(GPU)
    nvml.millijoules = 7500
    assert meter.joules() == expected


def test_without_the_library_of_gpus_there_is_no_energy(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert EnergyMeter(GPU).joules() is None
