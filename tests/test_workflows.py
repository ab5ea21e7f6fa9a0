"""The workflows: actions pinned by commit, the least of permissions, nothing of a stranger run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.y*ml"))
# What a job may do beyond reading the repository.
PERMITTED = {("pages.yml", "publish"): {"pages": "write", "id-token": "write"}}
PINNED = re.compile(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
# Anybody can choose the title of a pull request or the name of a branch.
FOREIGN = re.compile(r"\$\{\{[^}]*\b(github\.event\b|github\.head_ref\b|inputs\.)")

each_workflow = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)


def parsed(text: str) -> dict[Any, Any]:
    return yaml.safe_load(text)


def steps(workflow: dict[Any, Any]) -> Iterator[dict[str, Any]]:
    for job in workflow["jobs"].values():
        yield from job["steps"]


def complaints(name: str, text: str) -> list[str]:
    """What is wrong with a workflow, a sentence each."""
    return [*about_actions(text), *about_permissions(name, text), *about_events(text)]


def about_actions(text: str) -> list[str]:
    used = re.findall(r"\buses:\s*(.*)", text)
    found = [f"not pinned by commit: {line}" for line in used if not PINNED.fullmatch(line)]
    for step in steps(parsed(text)):
        keeps = step.get("with", {}).get("persist-credentials", True)
        if step.get("uses", "").startswith("actions/checkout@") and keeps is not False:
            found.append("the checkout keeps its credentials")
    return found


def about_permissions(name: str, text: str) -> list[str]:
    workflow = parsed(text)
    found = []
    if workflow.get("permissions") != {"contents": "read"}:
        found.append("the workflow may do more than read the repository")
    for job_name, job in workflow["jobs"].items():
        if job.get("permissions", {}) != PERMITTED.get((name, job_name), {}):
            found.append(f"{job_name}: permissions that are not in the list")
        if "timeout-minutes" not in job:
            found.append(f"{job_name}: no limit of time")
    if "concurrency" not in workflow:
        found.append("two runs may be under way at once")
    if "secrets." in text:
        found.append("a secret is used")
    return found


def about_events(text: str) -> list[str]:
    workflow = parsed(text)
    # YAML reads the bare word `on` as true.
    events = set(workflow.get("on", workflow.get(True)))
    allowed = {"push", "pull_request", "schedule", "workflow_dispatch"}
    found = [f"runs at {event}" for event in sorted(events - allowed)]
    scripts = [step.get("run", "") for step in steps(workflow)]
    return found + [f"foreign text in: {script}" for script in scripts if FOREIGN.search(script)]


@each_workflow
def test_a_workflow_takes_no_risks(path):
    assert complaints(path.name, path.read_text(encoding="utf-8")) == []


GOOD = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (r"@[0-9a-f]{40} # v\S+", "@v7", "not pinned by commit: actions/checkout@v7"),
        (r" # v[\d.]+", "", "not pinned by commit"),
        ("persist-credentials: false", "fetch-depth: 1", "keeps its credentials"),
        ("contents: read", "contents: write", "more than read"),
        (r"(    runs-on:)", r"    permissions: write-all\n\1", "not in the list"),
        (r"\n    timeout-minutes: \d+", "", "no limit of time"),
        (r"concurrency:\n.*\n.*\n", "", "two runs"),
        ("  pull_request:", "  pull_request_target:", "runs at pull_request_target"),
        (r"run: \.ci/run", "run: echo ${{ github.event.head_commit.message }}", "foreign text"),
        ('PYTHONUTF8: "1"', "TOKEN: ${{ secrets.TOKEN }}", "a secret"),
    ],
)
def test_a_risk_is_noticed(old, new, words):
    changed, n_changed = re.subn(old, new, GOOD, count=1)
    assert n_changed == 1
    assert words in " ".join(complaints("ci.yml", changed))


# A well-kept reader of workflows knows more than these rules. ------------------------------------


def zizmor(folder: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("zizmor.exe" if os.name == "nt" else "zizmor")
    if not program.exists():
        assert not os.environ.get("CI"), "the lock of CI holds zizmor"
        pytest.skip("zizmor is not installed: make audit installs it")
    command = [program, "--offline", "--no-config", "--persona", "auditor", folder]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)


def test_zizmor_has_nothing_to_say():
    said = zizmor(ROOT / ".github")
    assert said.returncode == 0, said.stdout


def test_zizmor_speaks_of_an_action_that_is_not_pinned(tmp_path):
    folder = tmp_path / ".github"
    shutil.copytree(ROOT / ".github", folder)
    text = re.sub(r"@[0-9a-f]{40} # v\S+", "@v7", GOOD)
    (folder / "workflows" / "ci.yml").write_text(text, encoding="utf-8")
    said = zizmor(folder)
    assert said.returncode != 0
    assert "unpinned-uses" in said.stdout
