"""What is vendored for the browser: complete, unchanged, licensed, and named in one list."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from workshop.html import VENDOR, copy_vendored

LIBRARIES = json.loads((VENDOR / "versions.json").read_text(encoding="utf-8"))
LISTED = {name: entry for library in LIBRARIES for name, entry in library["files"].items()}


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_every_file_is_listed_and_every_listed_file_is_there():
    there = {path.relative_to(VENDOR).as_posix() for path in VENDOR.rglob("*") if path.is_file()}
    assert there - {"versions.json"} == set(LISTED)


@pytest.mark.parametrize("name", sorted(LISTED))
def test_no_file_was_changed_since_it_was_taken(name):
    assert sha256(VENDOR / name) == LISTED[name]["sha256"]


def test_a_changed_file_is_noticed(tmp_path):
    """One byte more, such as a line ending that git rewrote."""
    name = "reveal/reveal.css"
    changed = tmp_path / "reveal.css"
    changed.write_bytes((VENDOR / name).read_bytes() + b"\n")
    assert sha256(changed) != LISTED[name]["sha256"]


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda library: library["name"])
def test_a_library_says_where_it_comes_from_and_what_its_licence_is(library):
    assert library["version"] in library["source"]
    (text,) = [name for name in library["files"] if name.endswith("/LICENSE")]
    words = {"MIT": "Permission is hereby granted", "Apache-2.0": "Apache License"}
    assert words[library["licence"]] in (VENDOR / text).read_text(encoding="utf-8")


def test_the_version_stands_in_the_file_itself():
    files = {"reveal.js": "reveal/reveal.js", "MathJax": "mathjax/tex-svg.js"}
    for library in LIBRARIES:
        script = (VENDOR / files[library["name"]]).read_text(encoding="utf-8")
        assert f'"{library["version"]}"' in script


def test_a_copy_brings_its_licence_along(tmp_path):
    copied = copy_vendored("mathjax", tmp_path)
    assert [path.name for path in copied] == ["LICENSE", "tex-svg.js"]
    assert sha256(copied[1]) == LISTED["mathjax/tex-svg.js"]["sha256"]


def test_an_unknown_library_is_named(tmp_path):
    expected = r"library: expected one of \['mathjax', 'reveal'\], got 'katex'"
    with pytest.raises(ValueError, match=expected):
        copy_vendored("katex", tmp_path)
