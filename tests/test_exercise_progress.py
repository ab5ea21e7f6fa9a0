"""What has passed is kept, and whatever happens to the file that keeps it does no harm."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jupyter_client.manager import KernelManager, start_new_kernel
from store_notebooks import ThisInterpreter, execute
from strategies import settings  # the profile of the course

from helpers import check, show_progress
from helpers.exercises import catalogue, find, passes

assert settings
ROOT = Path(__file__).parents[1]
OPEN = [
    "01  Cholesky theory       [ ] 01.1  [ ] 01.2  [ ] 01.3",
    "02  MSE fitting           [ ] 02.1  [ ] 02.2  [ ] 02.3",
    "03  Likelihood fitting    [ ] 03.1  [ ] 03.2  [ ] 03.3",
    "04  Batched GPU training  [ ] 04.1  [ ] 04.2  [ ] 04.3",
    "05  Error clinic          [ ] 05.1  [ ] 05.2  [ ] 05.3",
    "06  Parametrizations      [ ] 06.1  [ ] 06.2  [ ] 06.3",
    "07  How good is the fit?  [ ] 07.1  [ ] 07.2  [ ] 07.3",
    "08  Small samples         [ ] 08.1  [ ] 08.2  [ ] 08.3",
    "13  Scaling out           [ ] 13.1  [ ] 13.2  [ ] 13.3",
]


@pytest.fixture
def path(tmp_path, monkeypatch):
    """Where progress is kept in a test; there is no such file yet."""
    path = tmp_path / "new" / "kept.json"
    monkeypatch.setenv("COVARIANCE_PROGRESS", str(path))
    monkeypatch.setattr(passes, "_unkept", set())
    return path


@pytest.fixture
def shown(capsys):
    """Call `show_progress` and return its lines."""

    def lines() -> list[str]:
        capsys.readouterr()
        show_progress()
        return capsys.readouterr().out.splitlines()

    return lines


def solve(number: str) -> None:
    check(number, find(number).solution)


def kept(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def numbers_with_a_cross(lines: list[str]) -> list[str]:
    return [part[:4] for line in lines for part in line.split("[x] ")[1:]]


def test_before_the_first_pass_nothing_is_marked_and_nothing_written(path, shown):
    assert shown() == [*OPEN, "0 of 27 exercises have passed."]
    assert not path.parent.exists()


def test_a_pass_is_kept_and_an_open_answer_is_not(path, shown, capsys):
    solve("02.1")
    check("01.1", None)
    check("01.2", lambda z, loc, scale_tril: z)
    assert kept(path) == {"version": 1, "passed": ["02.1"]}
    solve("01.3")
    lines = shown()
    assert lines[0] == "01  Cholesky theory       [ ] 01.1  [ ] 01.2  [x] 01.3"
    assert numbers_with_a_cross(lines) == ["01.3", "02.1"]
    assert lines[-1] == "2 of 27 exercises have passed."
    assert [each.name for each in path.parent.iterdir()] == [path.name]  # nothing is left behind


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        (["01.3", "04.1"], ["01  Cholesky theory       [x] 01.3", OPEN[3][:34]]),
        ([], []),
    ],
)
def test_in_the_copy_of_a_workshop_only_its_exercises_count(
    path, shown, tmp_path, monkeypatch, listed, expected
):
    listing = tmp_path / "listing.json"
    listing.write_text(json.dumps(listed), encoding="utf-8")
    monkeypatch.setattr(catalogue, "KEPT", listing)
    solve("01.3")
    solve("02.1")  # passed in a notebook that is not in the copy
    n_passed = len({"01.3"} & set(listed))
    assert shown() == [*expected, f"{n_passed} of {len(listed)} exercises have passed."]


def test_the_file_is_not_written_twice_for_one_pass(path):
    solve("02.1")
    os.utime(path, (1, 1))
    solve("02.1")
    assert path.stat().st_mtime == 1


def test_the_file_is_one_that_people_can_read(path):
    solve("02.1")
    solve("01.3")
    lines = ["{", ' "version": 1,', ' "passed": [', '  "01.3",', '  "02.1"', " ]", "}", ""]
    assert path.read_text(encoding="utf-8").split("\n") == lines


def test_folders_that_are_not_there_are_made(path, monkeypatch):
    deep = path.parent / "deeper" / "kept.json"
    monkeypatch.setenv("COVARIANCE_PROGRESS", str(deep))
    solve("02.1")
    assert kept(deep)["passed"] == ["02.1"]


def test_what_another_notebook_has_written_stays(path, shown):
    solve("02.1")
    path.write_text(json.dumps({"version": 1, "passed": ["02.1", "03.1", "77.1"]}))
    solve("01.1")
    assert kept(path)["passed"] == ["01.1", "02.1", "03.1", "77.1"]
    assert shown()[-1] == "3 of 27 exercises have passed."


# The packages are there without what they import: this is about the file, and torch takes long.
RECORD_MANY = """
import sys, types
for name in ("helpers", "helpers.exercises"):
    sys.modules[name] = types.ModuleType(name)
sys.modules["helpers.exercises"].__path__ = [sys.argv[1]]
sys.modules["helpers.exercises.catalogue"] = types.SimpleNamespace(notebooks=None)
from helpers.exercises.passes import record
for k in range(25):
    record(f"{sys.argv[2]}.{k}")
"""


def test_many_kernels_at_once_lose_nothing(path):
    folder = str(Path(passes.__file__).parent)

    def run(notebook: str) -> None:
        command = [sys.executable, "-c", RECORD_MANY, folder, notebook]
        subprocess.run(command, check=True, timeout=120)

    with ThreadPoolExecutor() as pool:
        list(pool.map(run, ["91", "92", "93"]))
    assert len(kept(path)["passed"]) == 75


class Clock:
    """Time that passes only where somebody sleeps, and what may happen meanwhile."""

    def __init__(self):
        self.now, self.slept = 100.0, []
        self.meanwhile = lambda: None

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept.append(seconds)
        self.meanwhile()


@pytest.fixture
def clock(monkeypatch):
    """The clock that the lock looks at."""
    clock = Clock()
    monkeypatch.setattr(passes, "time", clock)
    return clock


@pytest.fixture
def lock(path):
    """The lock of another kernel."""
    path.parent.mkdir()
    lock = path.with_name("kept.json.lock")
    lock.touch()
    return lock


def test_a_lock_that_was_left_behind_holds_nobody_up_for_long(path, clock, lock):
    solve("01.1")
    assert kept(path)["passed"] == ["01.1"]
    assert not lock.exists()
    # One step of waiting more or less does not matter.
    assert sum(clock.slept) == pytest.approx(passes.LOCK_SECONDS, abs=0.03)
    assert max(clock.slept) < 0.02


def test_another_kernel_is_waited_for_no_longer_than_it_takes(path, clock, lock):
    clock.meanwhile = lambda: len(clock.slept) == 3 and lock.unlink()
    solve("01.1")
    assert kept(path)["passed"] == ["01.1"]
    assert len(clock.slept) == 3


def test_who_writes_has_the_lock_and_a_hidden_file_beside_the_other(path, clock, monkeypatch):
    seen = []

    def replace(source, target, replace=os.replace):
        seen.extend(sorted(each.name for each in path.parent.iterdir()))
        replace(source, target)

    monkeypatch.setattr(os, "replace", replace)
    solve("01.1")
    hidden, lock = seen
    assert hidden.startswith(".progress-")
    assert lock == "kept.json.lock"
    assert clock.slept == []


# Damage --------------------------------------------------------------------------------------

DAMAGED = [
    b"",
    b"{",
    b"\x00\xff\xfe",
    b"[]",
    b"3",
    b"null",
    b'{"version": 1}',
    b'{"version": 1, "passed": "01.1"}',
    b'{"version": 2, "passed": ["01.1"]}',
    b'{"passed": ["01.1"]}',
    b"[" * 50_000,
    b'{"version": 1, "passed": [' + b'"01.1", ' * 20_000 + b'"01.1"]}',
    b"9" * 5000,
]


@pytest.mark.parametrize("content", DAMAGED, ids=lambda content: repr(content[:36]))
def test_a_file_that_is_not_ours_is_said_and_then_moved_aside(path, shown, content):
    path.parent.mkdir()
    path.write_bytes(content)
    said = shown()
    assert said[:-1] == [*OPEN, "0 of 27 exercises have passed."]
    assert said[-1] == f"{path} could not be read, so this record starts anew."
    assert path.read_bytes() == content
    solve("01.1")
    assert kept(path)["passed"] == ["01.1"]
    assert shown()[-1] == "1 of 27 exercises have passed."
    aside = path.with_name("kept.json.unreadable")
    assert aside.read_bytes() == content if content else not aside.exists()


def test_what_is_no_number_of_an_exercise_is_left_out(path, shown):
    path.parent.mkdir()
    foreign = ["01.1", 1.1, None, ["01.2"], "\ud800", "x" * 99, {"01.3": 1}]
    path.write_text(json.dumps({"version": 1, "passed": foreign}))
    assert numbers_with_a_cross(shown()) == ["01.1"]


@given(content=st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode()))
def test_random_bytes_do_no_harm(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("kept") / "kept.json"
    path.write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COVARIANCE_PROGRESS", str(path))
        patch.setattr(passes, "_unkept", set())
        show_progress()
        solve("01.1")
        assert kept(path)["passed"] == ["01.1"]


def test_a_file_that_is_lost_starts_anew(path, shown):
    solve("01.1")
    path.unlink()
    assert shown()[-1] == "0 of 27 exercises have passed."
    solve("01.2")
    assert kept(path)["passed"] == ["01.2"]


def assert_kept_until_the_kernel_ends(path, shown):
    assert shown()[-2:] == [
        "1 of 27 exercises have passed.",
        f"{path} could not be written; this is kept until the kernel ends.",
    ]


def test_where_no_folder_can_be_made_a_check_still_answers(path, shown, capsys):
    path.parent.write_text("a file where the folder would be")
    solve("01.1")
    assert capsys.readouterr().out.startswith("Exercise 01.1 passed: ")
    assert_kept_until_the_kernel_ends(path, shown)
    path.parent.unlink()
    solve("01.2")
    assert kept(path)["passed"] == ["01.1", "01.2"]


def test_a_folder_in_the_place_of_the_file_stays(path, shown):
    path.mkdir(parents=True)
    solve("01.1")
    assert_kept_until_the_kernel_ends(path, shown)
    assert path.is_dir()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes on this system")
def test_a_device_in_the_place_of_the_file_stays(path, shown):
    # A pipe stands for it: replacing /dev/null would harm the machine that runs the tests.
    path.parent.mkdir()
    os.mkfifo(path)
    solve("01.1")
    assert_kept_until_the_kernel_ends(path, shown)
    assert path.is_fifo()


def test_a_file_that_may_not_be_written_stays(path, shown, monkeypatch):
    solve("01.2")
    before = path.read_bytes()
    path.chmod(0o444)
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everything
    solve("01.1")
    assert path.read_bytes() == before
    assert shown()[-1].endswith("could not be written; this is kept until the kernel ends.")
    assert numbers_with_a_cross(shown()) == ["01.1", "01.2"]


def test_a_write_that_fails_half_way_leaves_the_old_file(path, monkeypatch):
    solve("01.1")
    before = path.read_bytes()

    def fail(*_):
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", fail)
    solve("01.2")
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_a_link_is_followed(path):
    path.parent.mkdir()
    target = path.with_name("elsewhere.json")
    path.symlink_to(target)
    solve("01.1")
    assert kept(target)["passed"] == ["01.1"]
    assert path.is_symlink()


def test_without_the_variable_progress_is_kept_in_build(monkeypatch):
    monkeypatch.delenv("COVARIANCE_PROGRESS")
    assert passes._file() == ROOT / "build" / "progress.json"
    assert passes._shown(passes._file()) == "build/progress.json"


def test_the_checkout_is_known_by_its_own_name_where_a_link_leads_to_it(tmp_path, monkeypatch):
    link = tmp_path / "link"
    link.symlink_to(ROOT, target_is_directory=True)
    monkeypatch.setattr(passes, "__file__", str(link / "helpers" / "exercises" / "passes.py"))
    assert passes._root() == ROOT.resolve()


def test_tests_do_not_write_a_learners_file():
    assert not Path(os.environ["COVARIANCE_PROGRESS"]).is_relative_to(ROOT)


def test_storing_the_notebooks_does_not_write_a_learners_file(tmp_path, monkeypatch):
    monkeypatch.delenv("COVARIANCE_PROGRESS")
    source = "import os; print(os.environ['COVARIANCE_PROGRESS'])"
    cells = [nbformat.v4.new_code_cell(source)]
    notebook = nbformat.v4.new_notebook(cells=cells)
    execute(notebook, folder=tmp_path, figures=tmp_path)
    (output,) = notebook.cells[0].outputs
    assert Path(output.text.strip()).is_relative_to(tmp_path)


# In a kernel ---------------------------------------------------------------------------------


class Shell:
    """Stands for the shell of a kernel, which knows the request of the front end."""

    def __init__(self, request: dict | None):
        self.request = request

    def get_parent(self) -> dict | None:
        return self.request


@pytest.mark.parametrize(
    ("shell", "is_solution"),
    [
        (Shell({"metadata": {"tags": ["solution"]}}), True),
        (Shell({"metadata": {"tags": ["exercise"]}}), False),
        (Shell({"metadata": {"tags": None}}), False),
        (Shell({}), False),
        (Shell(None), False),
        (object(), False),  # the shell of a terminal
        (None, False),  # IPython is imported and does not run
    ],
)
def test_the_tags_of_the_cell_that_runs_say_whose_it_is(path, monkeypatch, shell, is_solution):
    ipython = ModuleType("IPython")
    ipython.get_ipython = lambda: shell
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    solve("02.1")
    assert path.exists() != is_solution


def test_without_ipython_every_answer_is_the_learners(path, monkeypatch):
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    solve("02.1")
    assert path.exists()


class ThisKernel(KernelManager):
    """A kernel of this interpreter."""

    def _kernel_spec_manager_default(self) -> ThisInterpreter:
        return ThisInterpreter(parent=self)


@pytest.fixture(scope="module")
def run_cell():
    """Run a cell with the metadata that a front end sends along; return what it printed."""
    import jupyter_client.manager

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jupyter_client.manager, "KernelManager", ThisKernel)
        manager, client = start_new_kernel(kernel_name="python3")
    printed: list[str] = []

    def collect(message):
        printed.append(message["content"].get("text") or message["content"].get("evalue", ""))

    def run(code: str, metadata: dict) -> str:
        printed.clear()
        content = {"code": code, "silent": False, "store_history": True, "stop_on_error": True}
        message = client.session.msg("execute_request", content, metadata=metadata)
        client.shell_channel.send(message)
        while True:
            reply = client.get_iopub_msg(timeout=60)
            if reply["parent_header"].get("msg_id") != message["header"]["msg_id"]:
                continue
            if reply["msg_type"] in ("stream", "error"):
                collect(reply)
            if reply["msg_type"] == "status" and reply["content"]["execution_state"] == "idle":
                return "".join(printed)

    try:
        yield run
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


RIGHT = "check('02.2', lambda covariance_matrix, n: covariance_matrix * (n - 1) / n)"


def test_a_solution_cell_is_not_the_learners(run_cell, path):
    start = f"import os; os.environ['COVARIANCE_PROGRESS'] = {str(path)!r}\n"
    start += "from helpers import check, show_progress"
    assert run_cell(start, {}) == ""
    solution = {"tags": ["solution"], "jupyter": {"source_hidden": True}, "cellId": "a"}
    assert run_cell(RIGHT, solution).startswith("Exercise 02.2 passed: ")
    assert not path.exists()
    assert "0 of 27" in run_cell("show_progress()", {})
    # In the learner's own cell it counts, and where the front end tells nothing.
    for metadata in ({"tags": ["exercise"]}, {"tags": None}, {}):
        path.unlink(missing_ok=True)
        run_cell(RIGHT, metadata)
        assert kept(path)["passed"] == ["02.2"]


def test_an_error_in_a_cell_names_the_line_of_the_cell(run_cell):
    run_cell("from helpers import check", {})
    cell = "def wrong(covariance_matrix, n):\n    half = covariance_matrix / 2\n"
    cell += "    return half @ half[0, :1]\n\ncheck('02.2', wrong)"
    said = run_cell(cell, {}).splitlines()
    assert "    line 3: return half @ half[0, :1]" in said
    assert "`half` is of shape (2, 2)." in " ".join(said)
