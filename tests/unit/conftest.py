"""Folders that cannot be written to, and property tests that a busy machine does not fail."""

import contextlib
import os
import subprocess

import pytest
from hypothesis import settings

settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


def mount(folder, options):
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting needs root")


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 256 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount(folder, "size=256k")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def fill():
    """A function that fills the disk a folder lies on with a file, and returns the file."""

    def fill(folder):
        path = folder / "filling"
        with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(1024))
        return path

    return fill


@pytest.fixture
def read_only(tmp_path):
    """A function that makes a folder read-only, for root too."""
    mounted = []

    def make(folder):
        mount(folder, "ro")
        mounted.append(folder)

    yield make
    for folder in mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
