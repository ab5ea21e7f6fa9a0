"""`make audit`: look up every pinned version in a database of known vulnerabilities.

pip-audit asks. Where a server does not know the versions that it asks for, pip-audit leaves them
out and reports that it found nothing, so that silence and a clean bill look alike. Here each pin
counts as looked up only if an answer for it came. A pin that pip-audit could not look up is looked
up on the page of its newest release, which tells of that release alone.

The exit code is 0 where every pin was looked up and nothing is open, 1 where an advisory is open,
2 for a wrong option, and 3 where the database could not be reached, or not for every pin. An
advisory stays open until the pin is raised, or until `advisories.toml` accepts it with a reason
and a date on which the acceptance ends.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from reliability import records

ROOT = Path(__file__).parents[1]
PINS = ROOT / "constraints.txt"
ACCEPTED = Path(__file__).with_name("advisories.toml")

CLEAN, OPEN, NOT_REACHED = 0, 1, 3
UNREACHABLE = "the advisory database could not be reached: nothing was checked"
SERVICES = ("pypi", "osv")
PATIENCE_SECONDS = 15

Pins = dict[str, str]


@dataclass(frozen=True)
class Advisory:
    """One known vulnerability of one pinned version.

    Attributes
    ----------
    package : str
    version : str
        What is pinned.
    names : tuple of str
        Its number and its other numbers.
    fixed_in : tuple of str
        Versions without it; none where there is none yet.
    """

    package: str
    version: str
    names: tuple[str, ...]
    fixed_in: tuple[str, ...]

    def __str__(self) -> str:
        cure = f"fixed in {', '.join(self.fixed_in)}" if self.fixed_in else "no version without it"
        return f"{self.package} {self.version}: {', '.join(self.names)} ({cure})"


Answers = dict[str, list[Advisory]]  # by package; a package without an answer is not in it


def read_pins(text: str) -> Pins:
    """The exact versions of a file of pins, for all platforms, by canonical name."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    requirements = map(Requirement, lines)
    return {
        canonicalize_name(each.name): next(iter(each.specifier)).version for each in requirements
    }


def by_pip_audit(pins: Pins, service: str) -> Answers:
    """What pip-audit learns from one service; nothing where the service is out of reach."""
    lines = [f"{name}=={version}\n" for name, version in pins.items()]
    with tempfile.TemporaryDirectory() as folder:
        asked, said = Path(folder, "pins.txt"), Path(folder, "said.json")
        asked.write_text("".join(lines), encoding="utf-8")
        command = [sys.executable, "-m", "pip_audit", "--disable-pip", "--no-deps"]
        command += ["--progress-spinner", "off", "--timeout", str(PATIENCE_SECONDS)]
        command += ["-s", service, "-f", "json", "-o", str(said), "-r", str(asked)]
        subprocess.run(command, capture_output=True, check=False)
        return answers_of(said.read_text(encoding="utf-8")) if said.exists() else {}


def answers_of(report: str) -> Answers:
    """The answers in a report of pip-audit; what it skipped has none."""
    listed = json.loads(report)["dependencies"] if report.strip() else []
    return {
        canonicalize_name(each["name"]): without_repeats(
            Advisory(
                canonicalize_name(each["name"]),
                each["version"],
                (one["id"], *one["aliases"]),
                tuple(one["fix_versions"]),
            )
            for one in each["vulns"]
        )
        for each in listed
        if "skip_reason" not in each
    }


def on_newest_page(pins: Pins) -> Answers:
    """Answers for the pins that are the newest release; nothing where the index is out of reach."""
    import requests
    from pip._internal.models.index import PyPI  # the index that pip installs from

    answers: Answers = {}
    with requests.Session() as session:
        for name, version in pins.items():
            try:
                got = session.get(f"{PyPI.pypi_url}/{name}/json", timeout=PATIENCE_SECONDS)
                page = got.json() if got.ok else {}
            except requests.ConnectionError:
                return answers
            except requests.RequestException:
                continue
            if is_of_release(page, version):
                answers[name] = advisories_on(page, name, version)
    return answers


def is_of_release(page: Mapping[str, Any], version: str) -> bool:
    """Whether a page of the index tells the vulnerabilities of this very version."""
    newest = page.get("info", {}).get("version")
    return bool(newest) and "vulnerabilities" in page and Version(newest) == Version(version)


def advisories_on(page: Mapping[str, Any], name: str, version: str) -> list[Advisory]:
    """The advisories on a page of the index, those aside that have been withdrawn."""
    return without_repeats(
        Advisory(name, version, (one["id"], *one["aliases"]), tuple(one["fixed_in"]))
        for one in page["vulnerabilities"]
        if not one.get("withdrawn")
    )


def without_repeats(advisories: Iterable[Advisory]) -> list[Advisory]:
    """Each vulnerability once: several databases tell of it, and each names the other's number."""
    kept: list[Advisory] = []
    for each in advisories:
        if not any(set(each.names) & set(other.names) for other in kept):
            kept.append(each)
    return kept


def ways() -> dict[str, Callable[[Pins], Answers]]:
    """Whom to ask, the best first; each is asked for what those before it left open."""
    exact = {
        f"{service}, this version": lambda pins, service=service: by_pip_audit(pins, service)
        for service in SERVICES
    }
    return {**exact, "pypi, newest release": on_newest_page}


def look_up(pins: Pins, asked: Mapping[str, Callable[[Pins], Answers]]) -> dict[str, Answers]:
    """Ask one after the other for the pins that are still without an answer."""
    found, left = {}, dict(pins)
    for way, ask in asked.items():
        found[way] = ask(left) if left else {}
        left = {name: version for name, version in left.items() if name not in found[way]}
    return found


def read_accepted(text: str) -> list[dict[str, Any]]:
    """The advisories that we live with for a while.

    Raises
    ------
    ValueError
        If an entry lacks its package, its id, its reason or the date on which it ends.
    """
    entries = tomllib.loads(text).get("accepted", [])
    for entry in entries:
        words = all(str(entry.get(key, "")).strip() for key in ("package", "id", "reason"))
        if not words or not isinstance(entry.get("until"), date):
            raise ValueError(f"accepted: expected package, id, reason and until, got {entry}")
    return entries


def is_accepted(advisory: Advisory, accepted: Iterable[Mapping[str, Any]], today: date) -> bool:
    """Whether an entry that has not ended names this advisory of this package."""
    return any(
        canonicalize_name(entry["package"]) == advisory.package
        and entry["id"] in advisory.names
        and today <= entry["until"]
        for entry in accepted
    )


def record_of(
    pins: Pins,
    found: Mapping[str, Answers],
    open_ones: list[Advisory],
    today: date,
    command: str,
) -> records.Record:
    """The record: how many pins were looked up in which way, and what was found."""
    answers = {name: each for way in found.values() for name, each in way.items()}
    advisories = sorted((each for some in answers.values() for each in some), key=str)
    missing = sorted(set(pins) - set(answers))
    return {
        "command": command,
        "tables": {
            "ways": {
                "columns": ["looked up", "pins"],
                "rows": [[way, len(got)] for way, got in found.items()]
                + [["not looked up", len(missing)]],
            },
            "advisories": {
                "columns": ["package", "version", "advisory", "fixed in", "state"],
                "rows": [
                    [
                        each.package,
                        each.version,
                        each.names[0],
                        ", ".join(each.fixed_in),
                        "open" if each in open_ones else "accepted",
                    ]
                    for each in advisories
                ],
            },
        },
        "summary": {
            "day": today.isoformat(),
            "pins": len(pins),
            "looked_up": len(answers),
            "not_looked_up": len(missing),
            "which_not": ", ".join(f"{name} {pins[name]}" for name in missing),
            "advisories": len(advisories),
            "open": len(open_ones),
        },
    }


def options(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = records.parser("audit", __doc__)
    parser.add_argument("--pins", type=Path, default=PINS, help="another file of exact pins")
    given = parser.parse_args(arguments)
    if given.record and given.pins != PINS:
        parser.error("--record: expected the pins of the course, got --pins")
    return given


def main(arguments: list[str]) -> int:
    """Look up the pins, and say what was found."""
    given, today = options(arguments), date.today()
    pins = read_pins(given.pins.read_text(encoding="utf-8"))
    accepted = read_accepted(ACCEPTED.read_text(encoding="utf-8"))
    found = look_up(pins, ways())
    answers = {name: each for way in found.values() for name, each in way.items()}
    if not answers:
        print(UNREACHABLE)
        return NOT_REACHED
    advisories = [each for some in answers.values() for each in some]
    open_ones = [each for each in advisories if not is_accepted(each, accepted, today)]
    record = record_of(pins, found, open_ones, today, records.command("audit", arguments))
    for each in advisories:
        print(f"{'open' if each in open_ones else 'accepted'}: {each}")
    summary = record["summary"]
    print(
        f"{summary['looked_up']} of {summary['pins']} pins looked up, "
        f"{summary['advisories']} known vulnerabilities, {summary['open']} open"
    )
    if summary["not_looked_up"]:
        print(f"not looked up: {summary['which_not']}")
    records.keep("audit", record, given.record)
    return verdict(summary["open"], summary["not_looked_up"])


def verdict(n_open: int, n_missing: int) -> int:
    """The exit code: an open advisory counts before a pin that was not looked up."""
    if n_open:
        return OPEN
    return NOT_REACHED if n_missing else CLEAN
