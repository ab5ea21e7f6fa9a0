"""Build the website into `build/site`: ``python docs/build.py``, or ``make site``.

The sources stay where they are. What Sphinx reads is put together anew each time, in
`build/site-source`, from the pages in `docs/`, the notebooks and the docstrings of `helpers`.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

DOCS = Path(__file__).parent
ROOT = DOCS.parent
sys.path[:0] = [str(ROOT), str(DOCS / "extensions")]

from repository_links import downloads, sources  # noqa: E402


def stage(folder: Path) -> None:
    """Put the sources of the site into an empty folder."""
    from public_names import pages

    for place, file in (sources() | downloads()).items():
        target = folder / place
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    (folder / "api").mkdir()
    for name, text in pages().items():
        (folder / "api" / name).write_text(text, encoding="utf-8")


def build(out: Path) -> int:
    """Build the site from nothing; 0 if there was no warning.

    Parameters
    ----------
    out : Path
        Folder of the pages. It is emptied first, and so is the one beside it, with ``-source`` at
        the end of its name, for what Sphinx reads.
    """
    from sphinx.cmd.build import main

    source = out.with_name(f"{out.name}-source")
    for folder in (out, source):
        shutil.rmtree(folder, ignore_errors=True)
    stage(source)
    how = ["-q", "-W", "--keep-going", "-b", "html", "-c", str(DOCS)]
    # The cache of what was read stays out of the pages.
    return main([*how, "-d", str(source / ".doctrees"), str(source), str(out)])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Build the website.")
    parser.add_argument("out", nargs="?", type=Path, default=ROOT / "build" / "site")
    site = parser.parse_args().out.resolve()
    code = build(site)
    if code == 0:
        print(f"The site is built: open {site / 'index.html'}")
    sys.exit(code)
