"""The records of the long runs are of one form, and their page says what they say."""

from __future__ import annotations

import json

import pytest

from reliability import records, report
from reliability.__main__ import VERBS, main, usage

RECORDS = sorted(records.FOLDER.glob("*.json"))
SMALL = {
    "command": "make stands",
    "columns": ["what", "cells", "seconds"],
    "rows": [["one thread", 1234, 1.23456], ["a | b", None, 20.0]],
    "summary": {"runs": 2, "largest": 1.23456e-7},
}
PAGE = """# A page

By hand, <!-- number: small.runs -->?<!-- /number --> runs, \
<!-- number: small.largest -->?<!-- /number --> at most.

<!-- table: small -->
<!-- end of table -->

The end.
"""
FILLED = """# A page

By hand, <!-- number: small.runs -->2<!-- /number --> runs, \
<!-- number: small.largest -->1.23e-07<!-- /number --> at most.

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
        ("?<!-- /number --> runs", "? runs", "expected marks in pairs, got"),
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


def test_the_verbs_are_listed_and_another_is_refused(capsys):
    assert main(["--help"]) == 0
    assert capsys.readouterr().out == f"{usage()}\n"
    assert main(["stand"]) == 2
    assert "expected a verb, got 'stand'" in capsys.readouterr().err
