"""The notebooks give the same outputs where little is there, and each way differs as it says."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from nbformat.v4 import new_code_cell, new_output

from reliability import records, stands
from reliability.stands import NO_HOME, QUICK, WAYS, WITHOUT_AVX, Way

ROOT = Path(__file__).parents[2]
AS_EVER = WAYS[0]
pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="Windows knows neither HOME nor TZ nor these locales"
)
QUESTIONS = {
    "threads": "os.environ.get('OMP_NUM_THREADS')",
    "hash": "hash('covariance')",
    "home is there": "Path.home().is_dir()",
    "home can be made": "can_make(Path.home())",
    "checkout can be written": "can_write(Path(ROOT) / 'a file of a test')",
    "folder": "os.getcwd()",
    "another device": "len(socket.if_nameindex()) > 1",
    "encoding": "codecs.lookup(locale.getpreferredencoding(False)).name",
    "decimal point": "decimal_point()",
    "time zone": "time.tzname[0]",
}
CODE = """
import codecs, json, locale, os, socket, time
from pathlib import Path
ROOT = {root!r}
def can_make(folder):
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return True
def can_write(file):
    try:
        file.write_text("x")
    except OSError:
        return False
    return True
def decimal_point():
    locale.setlocale(locale.LC_ALL, "")
    return locale.localeconv()["decimal_point"]
print(json.dumps({{name: eval(question) for name, question in {questions!r}.items()}}))
"""


@cache
def has_namespaces() -> bool:
    """Whether this machine lets us have a mount and a network of our own."""
    try:
        command = ["unshare", "--map-root-user", "--mount", "--net", "true"]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def skip_if(reason: str | None, way: Way) -> None:
    """Skip where a machine lacks namespaces or a locale; any other obstacle is a failure."""
    if reason is None:
        return
    lacks = (way.blocked and not has_namespaces()) or "unsupported locale" in reason
    assert lacks, f"{way.what}: {reason}"
    pytest.skip(f"{way.what}: {reason}")


@cache
def answers(way: Way, root: Path) -> dict[str, object]:
    """What Python says of the environment of a way."""
    with stands.prepared(way, root) as (place, folder):
        skip_if(stands.obstacle(way, place, folder), way)
        code = CODE.format(root=str(place), questions=QUESTIONS)
        said = stands.start(way, place, folder, ["-c", code])
        assert said.returncode == 0, said.stderr
        return json.loads(said.stdout)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A checkout with what a run copies, and a notebook that asks nothing of anybody."""
    folder = tmp_path_factory.mktemp("a checkout")
    for part in stands.PARTS:
        (folder / part).parent.mkdir(parents=True, exist_ok=True)
        if part.endswith((".py", ".toml")):
            shutil.copy(ROOT / part, folder / part)
        else:
            (folder / part).mkdir()
    (folder / "helpers" / "__init__.py").touch()
    return folder


@pytest.fixture(scope="module")
def as_ever(root) -> dict[str, object]:
    return answers(AS_EVER, root)


def way_with(words: str) -> Way:
    (way,) = [way for way in WAYS if words in way.what]
    return way


@pytest.mark.parametrize(
    ("words", "question", "expected"),
    [
        ("2 threads, in torch", "threads", "2"),
        ("OMP_NUM_THREADS not set", "threads", None),
        ("started from /", "folder", "/"),
        ("read-only checkout", "checkout can be written", False),
        ("folder that does not exist", "home is there", False),
        ("folder that cannot be made", "home can be made", False),
        ("namespace without interfaces", "another device", False),
        ("locale C", "encoding", "ascii"),
        ("locale de_DE", "decimal point", ","),
        ("Pacific/Kiritimati", "time zone", "+14"),
        ("America/St_Johns", "time zone", "NST"),
    ],
)
def test_a_way_differs_as_it_says(words, question, expected, root, as_ever):
    assert answers(way_with(words), root)[question] == expected
    assert as_ever[question] != expected


@pytest.mark.parametrize(
    "question", ["checkout can be written", "home can be made", "another device"]
)
def test_much_at_once_is_all_of_it(question, root):
    assert answers(way_with("much at once"), root)[question] is False


def test_the_hash_seeds_differ(root, as_ever):
    seeds = {answers(way_with(f"PYTHONHASHSEED={seed}"), root)["hash"] for seed in (0, 1)}
    assert len(seeds) == 2


def test_torch_obeys_what_it_is_told_of_the_processor(root):
    code = "import torch; print(torch.backends.cpu.get_cpu_capability())"
    told = {}
    for way in (AS_EVER, Way("no AVX", WITHOUT_AVX)):
        with stands.prepared(way, root) as (place, folder):
            told[way.what] = stands.start(way, place, folder, ["-c", code]).stdout.strip()
    if told[AS_EVER.what] == "DEFAULT":
        pytest.skip("a processor without AVX")
    assert told["no AVX"] == "DEFAULT"


def test_a_loaded_machine_has_a_busy_process_per_core_until_the_run_is_over(monkeypatch):
    started = []

    def start(*arguments):
        started.append(real(*arguments))
        return started[-1]

    real = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", start)
    with stands.busy_processes(2):
        assert [process.poll() for process in started] == [None, None]
    assert all(process.poll() for process in started)


def test_there_are_more_than_twenty_ways_and_each_has_its_name():
    names = [way.what for way in WAYS]
    assert len(set(names)) == len(names) > 20


# Runs of notebooks ------------------------------------------------------------------------------


@pytest.fixture
def tiny(root, write_notebook):
    """A notebook whose second cell does not print what is stored, and its checkout."""
    stored = {
        "print(1.5)": "1.5\n",
        "print(2.25)": "2.0\n",
        "print(torch.get_num_threads())": "1\n",
    }
    cells = [new_code_cell("import torch\ntorch.set_num_threads(1)")]
    for code, text in stored.items():
        cells.append(new_code_cell(code, outputs=[new_output("stream", name="stdout", text=text)]))
    for count, cell in enumerate(cells, start=1):
        cell.execution_count = count
    path = write_notebook(root / "notebooks" / "01_tiny.ipynb", *cells)
    yield root
    path.unlink()


def test_a_cell_that_gives_something_else_is_named_with_what_differs(tiny):
    outcome = stands.run(AS_EVER, tiny)
    (told,) = outcome.mismatches
    assert told[:2] == ("01_tiny.ipynb", "Cell 2")
    assert told[2].startswith("stdout: 2.25 is not 2.0 ")
    assert outcome.cells == 4
    assert [share > 1 for _, share in outcome.numbers] == [False, True]
    record = stands.record_of({AS_EVER: outcome, Way("nowhere"): "there is no such thing"})
    assert records.problems({**record, "day": "2026-11-21", "of": {}}) == []
    assert (record["summary"]["mismatches"], record["summary"]["left_out"]) == (1, 1)


def test_more_threads_are_asked_for_in_the_notebooks_themselves(tiny):
    outcome = stands.run(way_with("2 threads, in torch"), tiny)
    assert [told[1] for told in outcome.mismatches] == ["Cell 2", "Cell 3"]
    assert "reads '2', stored was '1'" in outcome.mismatches[1][2]


def test_a_run_that_does_not_reach_every_cell_is_no_success(tiny):
    (tiny / "notebooks" / "01_tiny.ipynb").rename(tiny / "notebooks" / "02_tiny.ipynb")
    (tiny / "notebooks" / "01_tiny.ipynb").write_text("not a notebook", encoding="utf-8")
    with pytest.raises(json.JSONDecodeError):
        stands.run(AS_EVER, tiny)
    broken = {"cells": [{"cell_type": "code"}], "nbformat": 4, "nbformat_minor": 5, "metadata": {}}
    (tiny / "notebooks" / "01_tiny.ipynb").write_text(json.dumps(broken), encoding="utf-8")
    outcome = stands.run(AS_EVER, tiny)
    (tiny / "notebooks" / "02_tiny.ipynb").unlink()
    assert "expected 5 cells, got" in outcome.mismatches[-1][2]


def test_a_way_that_the_machine_does_not_know_is_left_out_with_the_reason(root):
    assert (
        stands.run(replace(AS_EVER, python="/nowhere/python"), root)
        == "there is no /nowhere/python here"
    )
    lost = Way("a locale of nowhere", {"LC_ALL": "xx_YY.UTF-8", "LOCPATH": "{folder}/locales"})
    assert "unsupported locale setting" in stands.run(lost, root)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--only", "no such words"], "no run has the words ['no such words']"),
        (["--python", "/dev/null"], "--python: expected a Python with the course's packages, got"),
    ],
)
def test_what_cannot_be_asked_is_refused(arguments, words, capsys):
    assert stands.main(arguments) == 2
    assert words in capsys.readouterr().err


def test_the_notebooks_stand_where_little_is_there():
    """Two runs that tell most, at once; `make stands` does all of them."""
    outcomes = stands.run_all(QUICK, jobs=2)
    for way, outcome in outcomes.items():
        skip_if(outcome if isinstance(outcome, str) else None, way)
        assert outcome.mismatches == [], way.what
        assert outcome.cells == stands.code_cells(ROOT)


def test_a_reader_without_a_place_to_write_sees_each_figure_and_one_sentence(tmp_path):
    """In a kernel as JupyterLab starts it, without the variables that tests set."""
    way = Way("a reader's", NO_HOME, blocked=("read-only",))
    code = """
import nbformat
from nbclient import NotebookClient
cells = ["import matplotlib.pyplot as plt\\nfrom helpers import save_figure, show_progress",
         "fig, ax = plt.subplots()\\nsave_figure(fig, '01_a_reader')",
         "from helpers.exercises.passes import record\\nrecord('01.1')\\nshow_progress()"]
notebook = nbformat.v4.new_notebook(cells=list(map(nbformat.v4.new_code_cell, cells)))
client = NotebookClient(notebook, kernel_name="python3", resources={"metadata": {"path": "."}})
client.execute()
print(nbformat.writes(notebook))
"""
    with stands.prepared(way) as (place, folder):
        skip_if(stands.obstacle(way, place, folder), way)
        said = stands.start(way, place, folder, ["-c", code])
    assert said.returncode == 0, said.stderr
    _, figure, progress = (cell["outputs"] for cell in json.loads(said.stdout)["cells"])
    assert [output["output_type"] for output in figure] == ["stream", "display_data"]
    warning = "".join(figure[0]["text"])
    assert "the figure 01_a_reader is shown but not saved (name a folder of yours in" in warning
    assert "Read-only file system" in warning
    assert "image/png" in figure[1]["data"]
    assert "build/progress.json could not be written; this is kept until" in "".join(
        progress[0]["text"]
    )
