"""The records of the long runs are of one form, and their page says what they say."""

from __future__ import annotations

import json
import shutil
from datetime import date
from importlib import import_module

import pytest

from reliability import records, report, stands
from reliability.__main__ import VERBS, main, usage

RECORDS = sorted(records.FOLDER.glob("*.json"))
SMALL = {
    "command": "make stands",
    "columns": ["what", "cells", "seconds"],
    "rows": [["one thread", 1234, 1.23456], ["a | b", None, 20.0]],
    "summary": {"runs": 2, "largest": 1.23456e-7},
}
PAGE = """# A page

By hand, <!--small.runs-->?<!--/--> runs, <!-- number: small.largest -->?<!-- /number --> at most.

<!-- table: small -->
<!-- end of table -->

The end.
"""
FILLED = """# A page

By hand, <!--small.runs-->2<!--/--> runs, <!--small.largest-->1.23e-07<!--/--> at most.

<!-- table: small -->

| what | cells | seconds |
| --- | ---: | ---: |
| one thread | 1,234 | 1.23 |
| a \\| b |  | 20 |

<!-- end of table -->

The end.
"""


@pytest.fixture
def folder(tmp_path):
    """A folder with one record."""
    records.write("small", SMALL, tmp_path)
    return tmp_path


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_a_record_is_of_the_common_form(path):
    assert records.problems(json.loads(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_a_record_is_stored_as_it_would_be_written(path, tmp_path):
    again = records.write(path.stem, records.read(path.stem), tmp_path)
    assert again.read_text(encoding="utf-8") == path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"command": "ls"}, "command: expected one of make, got 'ls'"),
        ({"columns": ["what", "cells"]}, "expected 2 columns, got {3}"),
        ({"rows": [["a", 1, [2]]]}, "expected texts and numbers"),
        ({"rows": [["in /home/somebody/course", 1, 2]]}, "expected no absolute path, got /home/"),
        ({"rows": [["in C:\\Users\\somebody", 1, 2]]}, "expected no absolute path"),
        ({"tables": {}}, "expected rows or tables, got both"),
        ({"summary": {"all": [1, 2]}}, "summary: expected single values"),
        ({"day": "21 November"}, "day: expected YYYY-MM-DD, got '21 November'"),
        ({"of": {"helpers": "all"}}, "of: expected digests by name"),
    ],
)
def test_a_record_of_another_form_is_refused(change, words, tmp_path):
    with pytest.raises(ValueError, match="^record: ") as refused:
        records.write("small", {**SMALL, **change}, tmp_path)
    assert words in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_a_record_says_little_of_the_machine(folder):
    assert set(records.read("small", folder)["machine"]) == {"cores", "system", "python", "torch"}


def test_a_row_of_a_record_is_a_line_of_its_file(folder):
    text = (folder / "small.json").read_text(encoding="utf-8")
    assert '  ["one thread", 1234, 1.23456],\n' in text
    assert json.loads(text)["rows"] == SMALL["rows"]


def test_brackets_and_commas_in_a_text_stay_as_they_are(tmp_path):
    odd = ["[ 1,\n  2 ], \\", "{, [ 1 ]", '"quoted",\n   too']
    record = {**SMALL, "rows": [odd], "summary": {"text": odd[0]}}
    records.write("odd", record, tmp_path)
    read = records.read("odd", tmp_path)
    assert (read["rows"], read["summary"]) == ([odd], {"text": odd[0]})


def test_the_page_is_filled_from_the_records_and_a_second_time_changes_nothing(folder):
    assert report.filled(PAGE, folder) == FILLED
    assert report.filled(FILLED, folder) == FILLED


def test_a_table_of_a_record_with_several_is_named_by_both(tmp_path):
    one = {key: SMALL[key] for key in ("columns", "rows")}
    records.write("two", {"command": "make soak", "tables": {"fits": one, "none": one}}, tmp_path)
    page = "<!-- table: two.fits -->\n<!-- end of table -->\n"
    assert "| one thread | 1,234 | 1.23 |" in report.filled(page, tmp_path)
    with pytest.raises(ValueError, match=r"expected one of \['fits', 'none'\] of two, got ''"):
        report.filled(page.replace("two.fits", "two"), tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("table: small", "table: great", r"expected a record \(small\), got 'great'"),
        ("small.runs", "small.walks", r"expected one of \['largest', 'runs'\] of small, got"),
        ("<!-- end of table -->", "", "expected marks in pairs, got 5 marks"),
        ("?<!--/--> runs", "? runs", "expected marks in pairs, got"),
        ("?<!-- /number --> at", "? at", "expected marks in pairs, got"),
    ],
)
def test_a_mark_that_leads_nowhere_is_named(old, new, words, folder):
    with pytest.raises(ValueError, match=words):
        report.filled(PAGE.replace(old, new), folder)


def test_the_page_of_this_checkout_says_what_the_records_say():
    page = report.PAGE.read_text(encoding="utf-8")
    assert report.filled(page) == page, "renew it: python -m reliability report"


def test_a_page_that_differs_is_written_once(folder, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(PAGE, encoding="utf-8")
    assert report.update(page, folder)
    assert page.read_text(encoding="utf-8") == FILLED
    assert not report.update(page, folder)


def test_every_record_belongs_to_a_verb_and_says_its_command():
    for path in RECORDS:
        assert path.stem in VERBS
        assert path.stem in records.read(path.stem)["command"].split()


# What a record speaks of -------------------------------------------------------------------------


@pytest.fixture
def checkout(tmp_path):
    """A small checkout with one file of each part."""
    for pattern in (pattern for patterns in records.PARTS.values() for pattern in patterns):
        path = tmp_path / pattern.replace("**/", "").replace("[0-9][0-9]_*", "01_a").replace(
            "*", "a"
        )
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"one\ntwo\n")
    return tmp_path


def test_a_record_says_its_day_and_what_it_speaks_of(folder):
    record = records.read("small", folder)
    assert date.fromisoformat(record["day"])
    assert record["of"] == records.digests("small")
    assert set(record["of"]) == {"helpers", "notebooks", "rules"}
    assert set(records.digests("audit")) == {"pins"}


def test_a_digest_is_of_the_contents_and_not_of_what_lies_beside(checkout):
    before = records.digests("small", checkout)
    (checkout / "helpers" / "__pycache__").mkdir()
    (checkout / "helpers" / "__pycache__" / "a.pyc").write_bytes(b"1")
    (checkout / "notebooks" / "mine.ipynb").write_text("{}")
    (checkout / "helpers" / "a.py").write_bytes(b"one\r\ntwo\r\n")  # as git may store it
    assert records.digests("small", checkout) == before
    (checkout / "helpers" / "a.py").write_bytes(b"one\nTWO\n")
    after = records.digests("small", checkout)
    assert [part for part in before if before[part] != after[part]] == ["helpers"]
    shutil.move(checkout / "notebooks" / "01_a.ipynb", checkout / "notebooks" / "02_a.ipynb")
    assert records.digests("small", checkout)["notebooks"] != before["notebooks"]


def test_every_part_of_this_checkout_has_files():
    empty = {records.digest(part, records.FOLDER) for part in records.PARTS}
    assert len(empty) == 1
    assert not empty & {records.digest(part) for part in records.PARTS}


def test_the_list_of_records_says_what_has_changed_since(folder, monkeypatch):
    page = "<!-- table: records -->\n<!-- end of table -->\n"
    assert "| the present helpers, notebooks and rules |" in report.filled(page, folder)
    now = records.digests("small")
    monkeypatch.setattr(records, "digests", lambda name, root=None: {**now, "rules": "0" * 12})
    assert "| rules changed since |" in report.filled(page, folder)
    monkeypatch.undo()
    records.write("small", {**SMALL, "of": {}}, folder)
    assert "| an earlier state of helpers, notebooks and rules; which" in report.filled(
        page, folder
    )


# Who may write a record --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verb", "arguments", "words"),
    [
        ("kills", ["-5"], "argument kills: expected an integer of at least 1, got '-5'"),
        ("kills", ["2.5"], "argument kills: expected an integer of at least 1, got '2.5'"),
        (
            "errors",
            ["--seeds", "0"],
            "argument --seeds: expected an integer of at least 1, got '0'",
        ),
        ("soak", ["--fits", "9"], "argument --fits: expected an integer of at least 10, got '9'"),
        ("soak", ["--kernels", "0"], "argument --kernels: expected an integer of at least 1"),
        ("soak", ["fits", "--record"], "--record: expected all parts, got fits"),
        ("stands", ["--jobs", "0"], "argument --jobs: expected an integer of at least 1"),
        ("stands", ["--record", "--quick"], "--record: expected all runs"),
        ("stands", ["--record", "--only", "locale"], "--record: expected all runs"),
        ("bites", ["--record", "--quick"], "--record: expected the figures, too"),
        ("audit", ["--record", "--pins", "mine.txt"], "--record: expected the pins of the course"),
    ],
)
def test_a_run_of_nothing_and_a_record_of_a_part_are_refused(verb, arguments, words, capsys):
    with pytest.raises(SystemExit) as ended:
        main([verb, *arguments])
    assert ended.value.code == 2
    assert words in capsys.readouterr().err


def test_a_run_writes_its_record_only_where_it_is_asked_to(folder, capsys):
    before = (folder / "small.json").read_bytes()
    records.keep("small", {**SMALL, "rows": []}, False, folder)
    assert (folder / "small.json").read_bytes() == before
    assert "add --record to replace it" in capsys.readouterr().out
    records.keep("small", {**SMALL, "rows": []}, True, folder)
    assert records.read("small", folder)["rows"] == []
    assert capsys.readouterr().out == "reliability/records/small.json: written\n"


@pytest.mark.parametrize("verb", sorted(set(VERBS) - {"report"}))
def test_every_verb_says_how_its_record_is_written(verb, capsys):
    with pytest.raises(SystemExit) as ended:
        import_module(f"reliability.{verb}").main(["--help"])
    assert ended.value.code == 0
    assert f"write reliability/records/{verb}.json" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("some", [["--module", "gaussian"], ["--notebooks-alone", "9"]])
def test_a_record_of_the_mutants_is_of_all_of_them(some, capsys):
    with pytest.raises(SystemExit):
        import_module("reliability.mutants").main(["--record", *some])
    assert "--record: expected a run of all modules" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("verb", "arguments", "line"),
    [
        ("stands", [], "make stands"),
        ("soak", ["--record", "--fits", "20"], 'make soak ARGS="--record --fits 20"'),
        ("kills", ["--record", "100"], "python -m reliability kills --record 100"),
        (
            "stands",
            ["--python", "/home/me/bin/python3.12"],
            'make stands ARGS="--python python3.12"',
        ),
        ("stands", ["--python=C:\\py\\python.exe"], 'make stands ARGS="--python=python.exe"'),
    ],
)
def test_a_command_has_its_arguments_and_no_path(verb, arguments, line):
    assert records.command(verb, arguments) == line
    assert records.problems({**records.read("kills"), "command": line}) == []


def test_an_interpreter_is_named_by_its_version(monkeypatch):
    arguments = ["--record", "--python", "/home/me/bin/python", "--jobs", "3"]
    way = stands.Way("Python 3.12.1 with torch 2.13.0", python="/home/me/bin/python")
    monkeypatch.setattr(stands, "interpreter", lambda path: way)
    line = stands.repeated_by(arguments, stands.options_of(arguments))
    assert line == 'make stands ARGS="--record --python python3.12 --jobs 3"'


def test_the_verbs_are_listed_and_another_is_refused(capsys):
    assert main(["--help"]) == 0
    assert capsys.readouterr().out == f"{usage()}\n"
    assert main(["stand"]) == 2
    assert "expected a verb, got 'stand'" in capsys.readouterr().err
