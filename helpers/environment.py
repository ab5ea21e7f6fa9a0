"""The check of the reader's installation: which requirement is met, and on which device we work."""

from __future__ import annotations

import platform
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import torch
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from helpers.devices import best_device

DISTRIBUTION = "covariance-course"
PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"


def declared_requirements() -> tuple[SpecifierSet, list[Requirement]]:
    """What the course declares that it needs to run.

    Read from the installed distribution, or from pyproject.toml where the folder is used without
    an installation.

    Returns
    -------
    python : SpecifierSet
        The versions of Python that will do.
    packages : list of Requirement
        The packages for this platform, without those that only the tests need.

    Raises
    ------
    FileNotFoundError
        If the course is not installed and there is no pyproject.toml beside `helpers`.
    """
    try:
        described = metadata.metadata(DISTRIBUTION)
        python, lines = described["Requires-Python"], metadata.requires(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
        python, lines = project["requires-python"], project["dependencies"]
    packages = [Requirement(line) for line in lines]
    # A package of an extra carries the marker `extra == "test"`, which is false for no extra.
    needed = [one for one in packages if one.marker is None or one.marker.evaluate({"extra": ""})]
    return SpecifierSet(python), needed


def _python_line(specifier: SpecifierSet) -> tuple[bool, str]:
    version = ".".join(map(str, sys.version_info[:3]))
    if specifier.contains(version):
        return True, f"[OK]   python {version}"
    return False, (
        f"[FAIL] python {version}, the course needs {specifier}: "
        f"install it from https://www.python.org/downloads/ and set the course up again"
    )


def _package_line(requirement: Requirement) -> tuple[bool, str]:
    needs = f"{requirement.name}{requirement.specifier}"
    remedy = f'run  %pip install "{needs}"  in a cell, then restart the kernel'
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return False, f"[FAIL] {requirement.name} is not installed: {remedy}"
    # A nightly build is a pre-release, and good enough if its number is.
    if requirement.specifier.contains(version, prereleases=True):
        return True, f"[OK]   {requirement.name} {version}"
    return False, f"[FAIL] {requirement.name} {version}, the course needs {needs}: {remedy}"


def _device_lines() -> list[str]:
    """One line a kind of device, and which one `fit` takes."""
    lines = [f"cpu    {platform.machine()}, {torch.get_num_threads()} threads for torch"]
    if torch.backends.mps.is_available():
        lines.append("mps    Apple GPU, float32 only")
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        lines.append(f"cuda   {', '.join(names)}")
    gpu = best_device().type
    if gpu == "cpu":
        return [*lines, "fit works on the cpu: torch sees no GPU here, and the course needs none"]
    return [*lines, f'fit works on the cpu, and on the GPU if you write device="{gpu}"']


def check_environment() -> bool:
    """Print whether Python and each requirement of the course are there, and the devices.

    One line for each: ``[OK]`` with the version, or ``[FAIL]`` with what to do about it. Then the
    devices that torch sees, and where `fit` works.

    Returns
    -------
    bool
        True if nothing failed.

    Raises
    ------
    FileNotFoundError
        If the course is not installed and there is no pyproject.toml beside `helpers`.
    """
    python, packages = declared_requirements()
    checks = [_python_line(python), *map(_package_line, packages)]
    for _, line in checks:
        print(line)
    print()
    print(*_device_lines(), sep="\n")
    return all(passed for passed, _ in checks)
