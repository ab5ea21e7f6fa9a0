"""Where there is no browser, tests that need one are skipped, and that is said in one line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import NO_BROWSER

TESTS = Path(__file__).parents[1]
OTHERS = ("PYTEST_", "CHROMIUM")


@pytest.mark.parametrize("named", ["test_slides_in_browser.py", "browser"])
def test_the_number_of_skipped_tests_is_said_in_one_line(tmp_path, named):
    environment = {k: v for k, v in os.environ.items() if not k.startswith(OTHERS)}
    said = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", TESTS / named],
        env={**environment, "PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert said.returncode == 0, said.stdout
    (line,) = [line for line in said.stdout.splitlines() if NO_BROWSER in line]
    (summary,) = [line for line in said.stdout.splitlines() if " skipped in " in line]
    number = summary.split()[0]
    assert f"{number} tests were skipped" in line
