"""The page "find your error message": every message is provoked, and every cure works."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "errors.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
NOTEBOOK_LINK = re.compile(r"\]\((\.\./notebooks/[^)]+)\)")
DOTS = " ... "


@dataclass
class Entry:
    """One message: its blocks by language, in order."""

    title: str
    text: str
    blocks: list[tuple[str, str]] = field(default_factory=list)

    def of(self, language: str) -> list[str]:
        return [block for name, block in self.blocks if name == language]

    @property
    def message(self) -> str:
        """The message without the line's end; empty where there is none."""
        return "".join(self.of("text")).strip()


def read_entries(page: str) -> tuple[str, list[Entry]]:
    """The code that all entries begin with, and the entries."""
    head, *parts = re.split(r"^### ", page, flags=re.MULTILINE)
    entries = []
    for part in parts:
        title, _, text = part.partition("\n")
        text = re.split(r"^## ", text, flags=re.MULTILINE)[0]
        entries.append(Entry(title, text, BLOCK.findall(text)))
    ((_, opening),) = BLOCK.findall(head)
    return opening, entries


OPENING, ENTRIES = read_entries(PAGE.read_text(encoding="utf-8"))


def differences(message: str, error: Exception) -> list[str]:
    """What of a message, with dots for what may differ, an error does not say."""
    kind, _, words = message.partition(": ")
    found = [] if type(error).__name__ == kind else [f"a {type(error).__name__}, not a {kind}"]
    # The pieces between the dots come in this order, whatever stands between them.
    pieces = [re.escape(piece.strip()) for piece in re.split(r"\.\.\.", words)]
    said = " ".join(str(error).split())
    return found if re.match(".*?".join(pieces), said) else [*found, f"it says {said!r}"]


def complaints(entry: Entry) -> list[str]:
    """Run an entry's code; what is not as the page says."""
    names: dict[str, object] = {}
    exec(OPENING, names)
    provoking, *cures = entry.of("python")
    found = []
    try:
        exec(provoking, names)
        if entry.message:
            found.append("nothing was raised")
    except Exception as error:
        found += differences(entry.message, error)
    for cure in cures:
        exec(cure, names)
    return found


IN_PROCESS = [entry for entry in ENTRIES if not entry.of("bash")]


@pytest.mark.parametrize("entry", IN_PROCESS, ids=lambda entry: entry.title)
def test_the_message_comes_and_the_cure_works(entry, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # some entries write a file
    assert len(entry.of("python")) == 2
    assert not complaints(entry)


def test_without_the_course_python_says_that_there_is_no_module():
    """A bare interpreter, which sees no installed package."""
    (entry,) = (entry for entry in ENTRIES if entry.of("bash"))
    (code,) = entry.of("python")
    said = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True)
    assert said.stderr.splitlines()[-1] == entry.message


def test_every_entry_has_a_title_of_its_own_and_says_something():
    titles = [entry.title for entry in ENTRIES]
    assert len(titles) == len(set(titles)) > 30
    for entry in ENTRIES:
        assert len(entry.of("text")) <= 1, entry.title
        assert "**Where.**" not in entry.text or NOTEBOOK_LINK.search(entry.text), entry.title


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("```text\nValueError: so ... much\n```\n```python\npass\n```\n", "nothing was raised"),
        ("```text\nValueError: a\n```\n```python\nraise ValueError('b')\n```\n", "it says 'b'"),
        ("```text\nValueError: b\n```\n```python\nraise KeyError('b')\n```\n", "a KeyError, not"),
        ("```python\nassert False\n```\n", "an AssertionError"),
    ],
)
def test_what_is_not_as_the_page_says_is_noticed(code, words):
    _, (entry,) = read_entries(f"```python\n```\n### title\n{code}")
    assert any(words.removeprefix("an ") in found for found in complaints(entry))


def test_a_cure_that_fails_is_noticed():
    code = "### title\n```python\npass\n```\n```python\nraise KeyError\n```\n"
    _, (entry,) = read_entries(f"```python\n```\n{code}")
    with pytest.raises(KeyError):
        complaints(entry)
