"""What the course reaches: no network, and no file outside figures/, build/ and a temporary folder.

Every notebook runs in a copy of the course. Two watchmen look: a hook inside each interpreter
writes down what Python opens, connects to and starts; and, where the system lets us, the whole run
stands in a mount namespace in which all but three folders is read-only, and in a network namespace
that has a loopback interface and no other: ranks of torch.distributed can speak to each other, and
nothing outside can be reached. The hook sees what is tried and fails in silence; the namespaces see
what is written in C.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest

import helpers

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="kernels are spoken to through Unix sockets"
)

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
WATCH = Path(__file__).with_name("watch")
RUNNER = Path(__file__).with_name("run_notebooks.py")
LOOPBACK = ROOT / "reliability" / "loopback.py"
WRITABLE = ("figures", "build")
PATIENCE = 600  # seconds; all notebooks take a minute on an idle machine

# Programs that are started, and who starts them.
PROGRAMS = {
    "uname": "platform, of Python's own library, asks for the processor",
    "fc-list": "matplotlib asks for fonts",
    "system_profiler": "matplotlib asks for fonts, on macOS",
    "nvidia-smi": "helpers.crossover asks for the version of the driver of a GPU",
}

# What our own Python may be started with: ranks, which are watched as the kernel is.
OF_RANKS = ("torch.distributed.run", "helpers.distributed", "helpers.bad_disk", "train.py")

# The rest of the machine can be read and not be written.
SEAL = """
for folder in "$1" "$2" "$3"; do mount --bind "$folder" "$folder" || exit 99; done
mount -o remount,bind,ro / || exit 99
shift 3
exec "$@"
"""


@dataclass(frozen=True)
class Place:
    """A copy of the course, a home folder and a folder for what is temporary.

    Attributes
    ----------
    course, home, temporary : Path
    sealed : bool
        Whether the system refuses what is not allowed.
    """

    course: Path
    home: Path
    temporary: Path
    sealed: bool

    @property
    def allowed(self) -> list[Path]:
        """Where something may be written."""
        return [*(self.course / name for name in WRITABLE), self.temporary]

    @property
    def log(self) -> Path:
        """What the hook wrote down."""
        return self.temporary / "surface.jsonl"

    def environment(self) -> dict[str, str]:
        """Nothing of an outer run; what other programs keep is kept in the temporary folder."""
        foreign = ("PYTEST_", "COVARIANCE_", "PYTHON", "JUPYTER", "IPYTHON", "XDG_", "MPL", "TORCH")
        outer = {k: v for k, v in os.environ.items() if not k.startswith(foreign)}
        kept = self.temporary / "kept"
        return {
            **outer,
            "HOME": str(self.home),
            "USERPROFILE": str(self.home),
            "IPYTHONDIR": str(kept / "ipython"),
            "JUPYTER_CONFIG_DIR": str(kept / "config"),
            "JUPYTER_DATA_DIR": str(kept / "data"),
            "JUPYTER_RUNTIME_DIR": str(kept / "runtime"),
            "KERNEL_PATH": os.pathsep.join([str(WATCH), str(self.course)]),
            "MPLCONFIGDIR": str(kept / "matplotlib"),
            "OMP_NUM_THREADS": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": str(self.course),
            "SURFACE_LOG": str(self.log),
            "TORCHINDUCTOR_CACHE_DIR": str(kept / "torchinductor"),
            **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(self.temporary)),
        }

    def run(self, *command: str | Path, watched: bool = False) -> str:
        """Run a program here; its output."""
        line = [*map(str, command)]
        if self.sealed:
            line = [*sealed_in(*self.allowed), *line]
        environment = self.environment()
        if watched:
            environment["PYTHONPATH"] = environment["KERNEL_PATH"]
        said = subprocess.run(
            line,
            cwd=self.course,
            env=environment,
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
            timeout=PATIENCE,
        )
        assert said.returncode == 0, said.stderr[-3000:]
        return said.stdout

    def reached(self) -> list[tuple[str, object]]:
        """Each thing that was reached for and is not allowed, once."""
        lines = dict.fromkeys(self.log.read_text(encoding="utf-8").splitlines())
        events = [json.loads(line) for line in lines]
        return [(event, what) for event, what in events if not self.may(event, what)]

    def may(self, event: str, what: object) -> bool:
        """Whether the rule allows it."""
        if event == "write":
            path = Path(what)
            return what == os.devnull or any(path.is_relative_to(each) for each in self.allowed)
        if event == "address":
            return is_of_this_machine(what)
        if event == "name":
            return what in (None, "", "localhost", "127.0.0.1", "::1", socket.gethostname())
        return Path(what[0]).name in PROGRAMS or is_of_ranks(what)


def is_of_ranks(program: list[str]) -> bool:
    """Whether a program is torchrun or one of its ranks, which this Python runs."""
    return program[0] == sys.executable and any(f"'{each}'" in program[1] for each in OF_RANKS)


def is_of_this_machine(address: object) -> bool:
    """Whether a socket speaks to a file, or to a program on the same machine."""
    if isinstance(address, str) or address[0] == "localhost":
        return True
    return ipaddress.ip_address(address[0]).is_loopback


def namespaces() -> list[str]:
    """The command that makes them; as somebody else than root, in a user namespace of one's own."""
    return ["unshare", *([] if os.getuid() == 0 else ["--map-root-user"]), "--mount", "--net"]


def sealed_in(*folders: Path) -> list[str]:
    """The command that runs another one in namespaces, with three folders that can be written."""
    loopback = [sys.executable, "-I", str(LOOPBACK)]  # not watched: it is ours
    return [*namespaces(), *loopback, "sh", "-c", SEAL, "seal", *map(str, folders)]


def can_seal(folder: Path) -> bool:
    """Whether this machine lets us make a read-only world without a network."""
    if sys.platform != "linux" or shutil.which("unshare") is None:
        return False
    try_it = f"! touch '{Path(__file__).parent}/touched' 2> /dev/null && touch '{folder}/touched'"
    command = [*sealed_in(folder, folder, folder), "sh", "-c", try_it]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def content(folder: Path) -> dict[str, bytes | None]:
    """Every file below a folder, but for those that may be written; None stands for a folder."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if name.parts[0] not in WRITABLE:
            found[str(name)] = path.read_bytes() if path.is_file() else None
    return found


@pytest.fixture
def place() -> Iterator[Place]:
    """A copy of the course in a folder with a short name, as sockets need it."""
    with tempfile.TemporaryDirectory(prefix="s-") as name:
        folder = Path(name).resolve()
        course, home, temporary = folder / "course", folder / "home", folder / "t"
        for each in (course, home, temporary, course / "build"):
            each.mkdir()
        ignored = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
        for each in ("notebooks", "helpers", "figures"):
            shutil.copytree(ROOT / each, course / each, ignore=ignored)
        yield Place(course, home, temporary, can_seal(temporary))


def run_notebooks(place: Place, *notebooks: Path) -> None:
    """Run notebooks of the copy, and hold it and the home folder against what was there before."""
    before, at_home = content(place.course), content(place.home)
    said = place.run(sys.executable, RUNNER, *notebooks)
    assert said.split() == [path.name for path in notebooks]
    assert content(place.course) == before
    assert content(place.home) == at_home


def write_notebook(place: Place, code: str) -> Path:
    """A notebook of one cell beside the others."""
    path = place.course / "notebooks" / "99_tiny.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)]), path)
    return path


@pytest.mark.parametrize("name", [path.name for path in NOTEBOOKS])
def test_a_notebook_keeps_to_figures_build_and_the_temporary_folder(place, name):
    run_notebooks(place, place.course / "notebooks" / name)
    assert place.reached() == []
    assert str(place.course / "figures") in place.log.read_text(), "no figure was written"


# What a notebook does not call: the rest of the public names, and what is called with more words.
CALLS = """
import tempfile
from pathlib import Path
import matplotlib
matplotlib.use("agg")
import matplotlib.pyplot as plt
import torch
import helpers
from helpers import *

check_environment()
data: Dataset = load_dataset("iris")
model = GaussianLikelihood(4)
kept = Path(tempfile.mkdtemp(), "fit.pt")
history: History = fit(model, data.data, optimizer="adam", max_steps=20, checkpoint=kept)
save_checkpoint(kept, load_checkpoint(kept))
verdict: Verdict = judge(history.gap[-1], 4, 150)
covariance = model.covariance_matrix.detach()
print(mahalanobis(data.data[:2].float(), model.loc.detach(), model.scale_tril.detach()))
print(entropy(model.scale_tril.detach()), mean_standard_error(covariance, 150))
print(marginal(model, [0, 1]), natural_turn(torch.eye(4)))
print(reduce_statistics(SufficientStatistics.from_data(data.data)).count)
fit_batches(GaussianLikelihood(4, (2,)), torch.stack([data.data, data.data + 1]))
maps: list[ScaleMap] = [CorrelationCholesky(), ColumnScaledCholesky(), PrecisionCholesky()]
for scale_map in (*maps, Spectral()):
    print(MappedCholesky(scale_map, 4)())
fit(DiagonalLikelihood(4), data.data)
low_rank: LowRankCovariance = probabilistic_pca(data.data, 1)
left_out: LeaveOneOut = leave_one_out(data.data)
measures: Mardia = mardia(data.data)
print(chi_squared_quantiles(150, 4))
fig, ax = plt.subplots(figsize=WIDE)
plot_principal_axes(ax, torch.zeros(2), covariance[:2, :2], color="C0")
print(principal_axes(covariance))
save_figure(fig, "99_axes")
hint("01.1")
check("01.1", None)
for name in ("ellipse", "likelihood_descent", "mse_descent", "noise_floor", "step"):
    getattr(helpers, f"explore_{name}")()
measure_crossover(["cpu"], (1, 10), (2,), repeats=1)
show_progress()
"""


def test_what_the_notebooks_do_not_call_keeps_to_them_too(place):
    place.run(sys.executable, "-c", CALLS, watched=True)
    assert place.reached() == []
    assert (place.course / "figures" / "99_axes.png").exists()
    assert content(place.home) == {}


def test_what_torch_told_this_process_is_not_told_to_the_run(place, monkeypatch):
    # torch writes the name of its cache into the environment of the first process that asks for it.
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(place.home / "torchinductor"))
    ask = "import os; print(os.environ['TORCHINDUCTOR_CACHE_DIR'])"
    said = place.run(sys.executable, "-c", ask)
    assert Path(said.strip()).is_relative_to(place.temporary)


def test_every_public_name_is_called_in_a_notebook_or_here():
    cells = [
        cell.source
        for path in NOTEBOOKS
        for cell in nbformat.read(path, as_version=4).cells
        if cell.cell_type == "code"
    ]
    called = set(re.findall(r"\w+", "\n".join([*cells, CALLS])))
    assert set(helpers.__all__) <= called


# Each watchman alone, at what is not allowed. ----------------------------------------------------


OUTSIDE = {
    "a file at home": "from pathlib import Path\n(Path.home() / 'x').write_text('x')",
    "a folder at home": "import os\nos.mkdir(os.path.expanduser('~/x'))",
    "a file beside the notebook": "open('x.txt', 'w').write('x')",
    "a file renamed": "import os\nos.rename('01_cholesky_theory.ipynb', 'x')",
    "a connection": "import socket\nsocket.create_connection(('192.0.2.1', 1), 1)",
    "an address": "import urllib.request\nurllib.request.urlopen('http://example.org')",
    "a program": "import subprocess\nsubprocess.run(['true'])",
    "a line of the shell": "import os\nos.system('true')",
}


@pytest.mark.parametrize("code", OUTSIDE.values(), ids=OUTSIDE.keys())
def test_the_hook_sees_what_is_tried_even_if_it_fails_in_silence(place, code):
    quiet = f"import contextlib\nwith contextlib.suppress(OSError):\n{indented(code)}"
    place.run(sys.executable, "-c", f"import os\nos.chdir('notebooks')\n{quiet}", watched=True)
    assert place.reached() != []


def indented(code: str) -> str:
    return "\n".join(f"    {line}" for line in code.splitlines())


def test_a_notebook_that_opens_an_address_or_writes_at_home_fails(place):
    path = write_notebook(place, f"try:\n{indented(OUTSIDE['a file at home'])}\nexcept OSError: 1")
    if place.sealed:
        run_notebooks(place, path)
    else:
        with pytest.raises(AssertionError, match="'x': b'x'"):
            run_notebooks(place, path)
    assert [event for event, _ in place.reached()] == ["write"]
    path = write_notebook(
        place, "import urllib.request\nurllib.request.urlopen('http://127.0.0.1:1')"
    )
    with pytest.raises(AssertionError, match="URLError"):
        run_notebooks(place, path)


# What writes without asking Python, and what speaks to another machine.
IN_C = {
    "a file": ("import torch\ntorch.jit.script(torch.nn.Identity()).save('x.pt')", "[Rr]ead-only"),
    "a connection": ("import socket\nsocket.create_connection(('192.0.2.1', 1), 1)", "unreachable"),
}


@pytest.mark.parametrize(("code", "words"), IN_C.values(), ids=IN_C.keys())
def test_the_system_refuses_what_is_written_in_c_and_every_connection(place, code, words):
    if not place.sealed:
        pytest.skip("this machine makes no namespaces for us")
    with pytest.raises(AssertionError, match=words):
        place.run(sys.executable, "-c", code)
