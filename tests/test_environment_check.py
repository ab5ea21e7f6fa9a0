"""`check_environment` on faked installations: it names what is missing, and says what to do."""

from __future__ import annotations

import platform
import sys
from importlib import metadata
from types import SimpleNamespace

import pytest
import torch
from packaging.requirements import Requirement

from helpers import environment

REQUIRES = ["numpy>=2.0", "torch>=2.8", 'pytest>=8.3; extra == "test"']
GOOD = {"numpy": "2.4.6", "torch": "2.13.0+cpu"}


@pytest.fixture
def install(monkeypatch):
    """Pretend that these versions are installed, and nothing else."""

    def pretend(versions: dict[str, str], python: tuple[int, ...] = (3, 12, 1)) -> None:
        def version(name: str) -> str:
            if name not in versions:
                raise metadata.PackageNotFoundError(name)
            return versions[name]

        monkeypatch.setattr(metadata, "metadata", lambda name: {"Requires-Python": ">=3.11"})
        monkeypatch.setattr(metadata, "requires", lambda name: REQUIRES)
        monkeypatch.setattr(metadata, "version", version)
        monkeypatch.setattr(sys, "version_info", python)

    return pretend


def lines_of(capsys) -> list[str]:
    return capsys.readouterr().out.splitlines()


def test_a_good_environment(install, capsys):
    install(GOOD)
    assert environment.check_environment() is True
    lines = lines_of(capsys)
    assert lines[:3] == ["[OK]   python 3.12.1", "[OK]   numpy 2.4.6", "[OK]   torch 2.13.0+cpu"]
    assert "FAIL" not in "".join(lines)
    assert "pytest" not in "".join(lines)  # only the tests need it


@pytest.mark.parametrize(
    ("versions", "python", "line"),
    [
        (
            {"torch": "2.13.0"},
            (3, 12, 1),
            '[FAIL] numpy is not installed: run  %pip install "numpy>=2.0"  in a cell, '
            "then restart the kernel",
        ),
        (
            {**GOOD, "torch": "2.7.1"},
            (3, 12, 1),
            '[FAIL] torch 2.7.1, the course needs torch>=2.8: run  %pip install "torch>=2.8"  '
            "in a cell, then restart the kernel",
        ),
        (
            GOOD,
            (3, 10, 4),
            "[FAIL] python 3.10.4, the course needs >=3.11: install it from "
            "https://www.python.org/downloads/ and set the course up again",
        ),
    ],
)
def test_what_fails_is_named_with_its_remedy(install, capsys, versions, python, line):
    install(versions, python)
    assert environment.check_environment() is False
    lines = lines_of(capsys)
    assert line in lines
    assert sum(each.startswith("[FAIL]") for each in lines) == 1


def test_a_nightly_build_is_good_enough(install, capsys):
    install({**GOOD, "torch": "2.15.0.dev20261101"})
    assert environment.check_environment() is True


def test_two_digit_versions_are_compared_as_numbers(install, capsys):
    """As text, 2.13 is less than 2.8."""
    install({**GOOD, "torch": "2.13.0"})
    assert environment.check_environment() is True


@pytest.mark.parametrize(
    ("cuda", "mps", "last"),
    [
        (False, False, "fit works on the cpu: torch sees no GPU here, and the course needs none"),
        (False, True, 'fit works on the cpu, and on the GPU if you write device="mps"'),
        (True, False, 'fit works on the cpu, and on the GPU if you write device="cuda"'),
    ],
)
def test_the_devices(install, capsys, monkeypatch, cuda, mps, last):
    install(GOOD)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda i: f"GPU number {i}")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert environment.check_environment() is True
    lines = lines_of(capsys)
    assert lines[-1] == last
    cpu = lines.index(f"cpu    {platform.machine()}, 3 threads for torch")
    assert lines[cpu - 1] == ""  # between the versions and the devices
    assert lines[cpu - 2].startswith("[OK]   torch")
    assert ("cuda   GPU number 0, GPU number 1" in lines) is cuda
    assert any(line.startswith("mps ") for line in lines) is mps


def test_without_an_installation_the_bounds_come_from_pyproject(monkeypatch):
    installed = environment.declared_requirements()

    def missing(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "metadata", missing)
    python, packages = environment.declared_requirements()
    assert python.contains("3.11.0")
    assert not python.contains("3.10.9")
    assert sorted(map(str, packages)) == sorted(map(str, installed[1]))
    assert Requirement("torch>=2.8") in packages


def test_pyproject_is_read_as_utf_8_on_every_machine(monkeypatch):
    def missing(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    def read_text(encoding: str) -> str:
        assert encoding == "utf-8"
        return '[project]\nrequires-python = ">=3.11"\ndependencies = []'

    monkeypatch.setattr(metadata, "metadata", missing)
    monkeypatch.setattr(environment, "PYPROJECT", SimpleNamespace(read_text=read_text))
    assert environment.declared_requirements() == (">=3.11", [])


def test_this_very_environment_is_good(capsys):
    assert environment.check_environment() is True, capsys.readouterr().out
