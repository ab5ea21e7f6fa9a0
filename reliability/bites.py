"""`python -m reliability bites`: alter every stored statement, and count what the tests notice.

Numbers in the prose, printed numbers, outputs and pictures are altered one at a time and judged by
the rules of `make test`, by the same functions as tests/test_stored_numbers.py and
tests/trust/test_statements_bite.py. Then every notebook is run, and its figures are drawn again
with one thing in them altered.
"""

from __future__ import annotations

import argparse
import base64
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reliability import records
from reliability.redraw import NOTHING
from workshop.anatomy import course_notebooks, is_code, read_notebook, tags

if TYPE_CHECKING:
    from alterations import Trial
    from nbformat import NotebookNode

ROOT = Path(__file__).parents[1]
# Draws the altered figures beside the figures themselves.
INSTALL = """import sys
from pathlib import Path
sys.path.insert(0, {root!r})
from reliability.redraw import install
install(Path({folder!r}))
"""
WHY_NOT = {
    "formula": "a constant of a formula: nothing that is computed says which formula is meant",
    "reference": "leads to another section or notebook that is there",
}
UNCHANGED = "no pixel"  # what an alteration changed that cannot be seen at all
COARSE = "anything in a figure that shows rounding"
STEPS = ("one unit", "two units", "the tolerance")


def options(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = records.parser("bites", __doc__)
    parser.add_argument("--quick", action="store_true", help="draw no figures")
    chosen = parser.parse_args(arguments)
    if chosen.record and chosen.quick:
        parser.error("--record: expected the figures, too, got --quick")
    return chosen


def main(arguments: list[str]) -> int:
    """Alter everything; the exit code is 1 if something passes unexplained."""
    chosen = options(arguments)
    sys.path.insert(0, str(ROOT / "tests"))  # the rules lie beside the tests that use them
    notebooks = [read_notebook(path) for path in course_notebooks()]
    trials = stored_trials(notebooks)
    tables = {
        "prose": prose_table(trials["prose"]),
        "printed": printed_table(trials["printed"]),
        "outputs": plain_table(trials["outputs"]),
    }
    if not chosen.quick:
        drawn = list(drawn_trials())
        trials["drawn"] = [trial for trial in drawn if trial.noticed != UNCHANGED]
        trials["unchanged"] = [trial for trial in drawn if trial.noticed == UNCHANGED]
        tables["drawn"] = plain_table(trials["drawn"])
    show(tables)
    for trial in not_noticed(trials):
        print(f"not noticed: {trial}")
    command = records.command("bites", arguments)
    record = {"command": command, "tables": tables, "summary": summary(trials)}
    records.keep("bites", record, chosen.record)
    return 1 if unexplained(trials) else 0


def not_noticed(trials: dict[str, list[Trial]]) -> list[Trial]:
    """What nobody noticed and the page has to explain."""
    expected = {*WHY_NOT, "not compared", COARSE}
    found = (trial for name, own in trials.items() if name != "unchanged" for trial in own)
    return [trial for trial in found if not trial.noticed and trial.kind not in expected]


def unexplained(trials: dict[str, list[Trial]]) -> list[Trial]:
    """Statements that can be altered by a unit, and no rule says why."""
    by_a_unit = {name: trials[name] for name in ("prose", "replaced", "printed")}
    return not_noticed(by_a_unit)


def stored_trials(notebooks: list[NotebookNode]) -> dict[str, list[Trial]]:
    """Every alteration of what is stored, by what is altered."""
    import alterations

    judges = {
        "prose": (alterations.prose_trials,),
        "replaced": (alterations.replacement_trials,),
        "printed": (alterations.number_trials,),
        "outputs": (alterations.output_trials, alterations.picture_trials),
    }
    return {
        name: [trial for judge in own for notebook in notebooks for trial in judge(notebook)]
        for name, own in judges.items()
    }


# Figures drawn again ------------------------------------------------------------------------------


def drawn_trials() -> Iterator[Trial]:
    """Run every notebook; each figure with one thing altered."""
    for path in course_notebooks():
        with tempfile.TemporaryDirectory() as drawn, tempfile.TemporaryDirectory() as altered:
            notebook = read_notebook(path)
            run_with_alterations(notebook, Path(drawn), Path(altered))
            yield from judged_figures(notebook, Path(drawn), Path(altered))


def run_with_alterations(notebook: NotebookNode, drawn: Path, altered: Path) -> None:
    """Run a notebook whose kernel draws its figures to one folder, altered ones to another."""
    from store_notebooks import execute

    setup = next(cell for cell in notebook.cells if is_code(cell))
    setup.source = INSTALL.format(root=str(ROOT), folder=str(altered)) + setup.source
    execute(notebook, ROOT / "notebooks", drawn)


def judged_figures(notebook: NotebookNode, drawn: Path, altered: Path) -> Iterator[Trial]:
    """The trial of each altered figure that is not the figure itself."""
    from alterations import IGNORED, Trial
    from nbval_rules import ROUNDING, image_difference

    sources = {cell.source: tags(cell) for cell in notebook.cells if is_code(cell)}
    for path in sorted(altered.glob("*.png")):
        figure, kind, _ = path.stem.split("--")
        own = next(marks for source, marks in sources.items() if f'"{figure}"' in source)
        right, wrong = (drawn / f"{figure}.png").read_bytes(), path.read_bytes()
        if IGNORED in own or kind == NOTHING:
            continue
        if right == wrong:
            yield Trial(figure, kind, path.stem, UNCHANGED)
            continue
        pictures = (base64.b64encode(png).decode() for png in (wrong, right))
        coarsely = ROUNDING in own
        told = image_difference(*pictures, shows_rounding=coarsely)
        yield Trial(figure, COARSE if coarsely else kind, path.stem, "yes" if told else "")


# The record ---------------------------------------------------------------------------------------


def prose_table(trials: Iterable[Trial]) -> dict[str, Any]:
    """Numbers in the prose by kind."""
    found = by_kind(trials)
    rows = [
        [kind, len(own), noticed(own), WHY_NOT.get(kind, "") if noticed(own) < len(own) else ""]
        for kind, own in found.items()
    ]
    return {"columns": ["kind", "numbers", "noticed", "why not"], "rows": rows}


def printed_table(trials: Iterable[Trial]) -> dict[str, Any]:
    """Printed numbers by kind, and what it took."""
    rows = []
    for kind, own in by_kind(trials).items():
        took = Counter(trial.noticed for trial in own)
        rows.append([kind, len(own), *(took[step] for step in STEPS), took[""]])
    columns = ["kind", "numbers", "at one unit", "at two units", "beyond 1e-4", "never"]
    return {"columns": columns, "rows": rows}


def plain_table(trials: Iterable[Trial]) -> dict[str, Any]:
    """Alterations by kind."""
    rows = [[kind, len(own), noticed(own)] for kind, own in by_kind(trials).items()]
    return {"columns": ["alteration", "tried", "noticed"], "rows": rows}


def by_kind(trials: Iterable[Trial]) -> dict[str, list[Trial]]:
    """Trials by kind, those with most trials first."""
    found: dict[str, list[Trial]] = defaultdict(list)
    for trial in trials:
        found[trial.kind].append(trial)
    return dict(sorted(found.items(), key=lambda item: (-len(item[1]), item[0])))


def noticed(trials: Iterable[Trial]) -> int:
    """How many were noticed."""
    return sum(bool(trial.noticed) for trial in trials)


def summary(trials: dict[str, list[Trial]]) -> dict[str, int | float]:
    """The numbers that the page names; those of figures only where some were drawn."""
    figures = {}
    if "drawn" in trials:
        figures = {
            "drawn": len(trials["drawn"]),
            "drawn_noticed": noticed(trials["drawn"]),
            "drawn_unchanged": len(trials["unchanged"]),
        }
    claims = [trial for trial in trials["prose"] if trial.kind == "claim"]
    compared = [trial for trial in trials["printed"] if trial.kind != "not compared"]
    return {
        "prose_numbers": len(trials["prose"]),
        "claims": len(claims),
        "claims_noticed": noticed(claims),
        "replaced": len(trials["replaced"]),
        "replaced_noticed": noticed(trials["replaced"]),
        "printed_numbers": len(compared),
        "printed_noticed": noticed(compared),
        "not_compared": len(trials["printed"]) - len(compared),
        "outputs": len(trials["outputs"]),
        "outputs_noticed": noticed(trials["outputs"]),
        **figures,
    }


def show(tables: dict[str, dict[str, Any]]) -> None:
    """Print the tables."""
    for table in tables.values():
        for row in (table["columns"], *table["rows"]):
            print(f"{row[0]:45}", *(f"{cell!s:>10}" for cell in row[1:]))
        print()
