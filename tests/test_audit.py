"""The audit of the pins: silence is no clean bill, and an advisory is accepted for a time only."""

from __future__ import annotations

import json
from datetime import date

import pytest

from reliability import audit, records

PINS = {"first": "1.0", "second": "2.0"}
ADVISORY = audit.Advisory("first", "1.0", ("PYSEC-1", "CVE-1"), ("1.1",))
TODAY = date(2026, 11, 21)


def accepted(until: str = "2026-12-31", package: str = "first", number: str = "CVE-1"):
    return audit.read_accepted(
        f'[[accepted]]\npackage = "{package}"\nid = "{number}"\nreason = "r"\nuntil = {until}'
    )


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """Run the verb with given answers; its exit code, what it printed and its record."""

    def run(answers, entries=""):
        (tmp_path / "pins.txt").write_text("First==1.0\n# a word\nsecond==2.0 ; os_name == 'nt'\n")
        (tmp_path / "accepted.toml").write_text(entries)
        monkeypatch.setattr(audit, "ACCEPTED", tmp_path / "accepted.toml")
        monkeypatch.setattr(audit, "ways", lambda: {"a way": lambda pins: answers})
        write = records.write
        monkeypatch.setattr(
            audit.records, "write", lambda name, record, _: write(name, record, tmp_path)
        )
        monkeypatch.setattr(audit, "PINS", tmp_path / "pins.txt")
        code = audit.main(["--record"])
        monkeypatch.undo()
        record = tmp_path / "audit.json"
        return (
            code,
            capsys.readouterr().out,
            json.loads(record.read_text()) if record.exists() else 0,
        )

    return run


def test_where_nobody_answers_nothing_was_checked(run):
    assert run({}) == (3, f"{audit.UNREACHABLE}\n", 0)


def test_where_all_pins_are_in_order_the_code_is_zero(run):
    code, said, record = run({"first": [], "second": []})
    assert (code, said.partition("\n")[0]) == (
        0,
        "2 of 2 pins looked up, 0 known vulnerabilities, 0 open",
    )
    assert record["tables"]["ways"]["rows"] == [["a way", 2], ["not looked up", 0]]


def test_a_pin_without_an_answer_is_named_and_counts(run):
    code, said, record = run({"first": []})
    assert code == 3
    assert "not looked up: second 2.0" in said
    assert record["summary"]["looked_up"] == 1


def test_an_advisory_is_open_until_it_is_accepted(run):
    answers = {"first": [ADVISORY], "second": []}
    code, said, record = run(answers)
    assert code == 1
    assert "open: first 1.0: PYSEC-1, CVE-1 (fixed in 1.1)" in said
    assert record["tables"]["advisories"]["rows"][0][-1] == "open"
    entry = '[[accepted]]\npackage = "First"\nid = "CVE-1"\nreason = "r"\nuntil = 2999-01-01'
    code, said, record = run(answers, entry)
    assert code == 0
    assert "accepted: first 1.0" in said
    assert record["tables"]["advisories"]["rows"][0][-1] == "accepted"


@pytest.mark.parametrize(
    ("entries", "holds"),
    [
        (accepted(), True),
        (accepted(until="2026-11-21"), True),
        (accepted(until="2026-11-20"), False),
        (accepted(package="second"), False),
        (accepted(number="CVE-2"), False),
        ([], False),
    ],
)
def test_an_acceptance_holds_for_one_advisory_of_one_package_up_to_its_day(entries, holds):
    assert audit.is_accepted(ADVISORY, entries, TODAY) is holds


@pytest.mark.parametrize("line", ['reason = " "\nuntil = 2999-01-01', 'reason = "r"'])
def test_an_acceptance_without_reason_or_end_is_refused(line):
    with pytest.raises(ValueError, match="accepted: expected package, id, reason and until"):
        audit.read_accepted(f'[[accepted]]\npackage = "first"\nid = "CVE-1"\n{line}')


def test_what_is_accepted_now_is_in_good_form():
    audit.read_accepted(audit.ACCEPTED.read_text(encoding="utf-8"))


def test_what_pip_audit_skipped_has_no_answer():
    """It exits with 0 and says "No known vulnerabilities found" when it skipped every pin."""
    vulnerability = {"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["1.1"]}
    report = {
        "dependencies": [
            {"name": "First", "version": "1.0", "vulns": [vulnerability]},
            {"name": "second", "skip_reason": "Dependency not found"},
        ]
    }
    assert audit.answers_of(json.dumps(report)) == {"first": [ADVISORY]}
    assert audit.answers_of("") == {}


@pytest.mark.parametrize(
    ("page", "tells"),
    [
        ({"info": {"version": "1.0.0"}, "vulnerabilities": []}, True),
        ({"info": {"version": "1.1"}, "vulnerabilities": []}, False),
        ({"info": {"version": "1.0"}}, False),
        ({}, False),
    ],
)
def test_a_page_tells_of_its_own_release_alone(page, tells):
    assert audit.is_of_release(page, "1.0") is tells


def test_what_has_been_withdrawn_on_a_page_does_not_count():
    one = {"id": "PYSEC-1", "aliases": ["CVE-1"], "fixed_in": ["1.1"], "withdrawn": None}
    other = {**one, "id": "PYSEC-2", "withdrawn": "2026-01-01T00:00:00Z"}
    page = {"vulnerabilities": [one, other]}
    assert audit.advisories_on(page, "first", "1.0") == [ADVISORY]


def test_numbers_of_one_vulnerability_are_told_once():
    other = audit.Advisory("first", "1.0", ("GHSA-1", "CVE-1", "PYSEC-1"), ("1.1",))
    third = audit.Advisory("first", "1.0", ("GHSA-2", "CVE-2"), ())
    assert audit.without_repeats([ADVISORY, other, third]) == [ADVISORY, third]


def test_each_way_is_asked_for_what_those_before_left_open():
    asked = []

    def way(*known):
        def ask(pins):
            asked.append(set(pins))
            return {name: [] for name in known if name in pins}

        return ask

    found = audit.look_up(PINS, {"one": way("first"), "two": way("second"), "three": way()})
    assert asked == [{"first", "second"}, {"second"}]
    assert [len(answers) for answers in found.values()] == [1, 1, 0]
