"""Copies, slides and sheets of a workshop; run times and schedules for its teacher."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from workshop import copies, run_times, schedules
from workshop.anatomy import ROOT, course_notebooks, read_notebook
from workshop.archive import pack
from workshop.browser import find_chromium
from workshop.plans import PLANS, Plan, plan_named
from workshop.welcome import START, minutes_past_midnight

OUT = ROOT / "build" / "workshop"
FOLDERS = ("student", "instructor", "slides")


def build(plan: Plan, out: Path = OUT, start: str = START) -> list[Path]:
    """Write the folders of a workshop, a zip of each, and the sheets.

    Parameters
    ----------
    plan : Plan
    out : Path
        What an earlier build has left there is replaced.
    start : str, optional
        When the workshop begins, as ``"9:00"``; the slides state times on the clock.

    Returns
    -------
    list of Path
        What was written, for a reader to open or to hand out.
    """
    from workshop import sheets, slides

    _clear(out)
    notebooks = course_notebooks()
    copies.build_student(plan, notebooks, out / "student")
    copies.build_instructor(plan, notebooks, out / "instructor")
    slides.build(plan, notebooks, out / "slides", start)
    archives = [pack(out / name, out / f"{name}.zip") for name in FOLDERS]
    pages = [path for path in sheets.build(out) if path.suffix in (".html", ".pdf")]
    return archives + pages


def _clear(out: Path) -> None:
    """Remove what a build writes, and nothing else that may lie there."""
    out.mkdir(parents=True, exist_ok=True)
    for name in (*FOLDERS, "assets"):
        shutil.rmtree(out / name, ignore_errors=True)
    for pattern in ("*.zip", "*.html", "*.pdf"):
        for path in out.glob(pattern):
            path.unlink()


def _report(plan: Plan, written: list[Path], out: Path) -> None:
    what = "sessions" if plan.weekly else "workshop"
    print(f"{what} of {plan.minutes} minutes ({plan.name}) in {_shown(out)}:")
    for path in written:
        print(f"  {path.relative_to(out)}")
    if find_chromium() is None:
        print("left out, as there is no Chromium here: cheat_sheet.pdf (print cheat_sheet.html)")


def _shown(path: Path) -> Path:
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path


def main(arguments: list[str], out: Path = OUT) -> int:
    """Do what is asked; the exit code is 2 where it cannot be understood."""
    parser = argparse.ArgumentParser(prog="python -m workshop", description=__doc__)
    verbs = ("build", "run-times", "schedules")
    parser.add_argument("verb", nargs="?", choices=verbs, default="build")
    parser.add_argument("--plan", default="day", help=f"one of {', '.join(PLANS)}")
    parser.add_argument("--start", default=START, help="when it begins, for the slides")
    options = parser.parse_args(arguments)
    if options.verb == "run-times":
        run_times.store(run_times.record(course_notebooks()))
    elif options.verb == "schedules":
        notebooks = {path.stem: read_notebook(path) for path in course_notebooks()}
        changed = schedules.update(notebooks)
        print(f"{_shown(schedules.PAGE)}: {'written' if changed else 'unchanged'}")
    else:
        try:
            plan = plan_named(options.plan)
            minutes_past_midnight(options.start)
        except ValueError as error:
            print(error, file=sys.stderr)
            return 2
        _report(plan, build(plan, out, options.start), out)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
