"""What the source of the helpers and the cells of the notebooks can reach at all: a closed list.

`tests/trust/test_surface.py` watches what they do; this reads what they could do.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "helpers").rglob("*.py"))
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

# Ways to the network, to other programs, and to code that is not in the source.
REACHING_MODULES = {
    *("aiohttp", "asyncio", "ftplib", "http", "httpx", "imaplib", "poplib", "requests", "smtplib"),
    *("socket", "socketserver", "ssl", "telnetlib", "urllib", "urllib3", "webbrowser", "websocket"),
    *("ctypes", "cffi", "multiprocessing", "pty", "subprocess"),
    *("cloudpickle", "code", "codeop", "dill", "joblib", "marshal", "pickle", "shelve"),
    *("importlib", "runpy"),
}
REACHING_CALLS = {
    *("eval", "exec", "compile", "__import__", "import_module"),
    *("os.system", "os.popen", "os.fork", "os.startfile", "os.spawnl", "os.spawnv", "os.execv"),
    *("torch.load", "torch.hub.load", "numpy.load", "np.load", "get_ipython"),
    *(
        "pandas.read_pickle",
        "pd.read_pickle",
        "fetch_openml",
        "urlopen",
        "load_state_dict_from_url",
    ),
}
OWN_WORDS = {"compile", "eval", "exec"}
# Keyword arguments that open what is closed by default.
REACHING_OPTIONS = {("shell", True), ("weights_only", False), ("allow_pickle", True)}

# What is allowed, by file, with the reason.
ALLOWED = {
    ("helpers/__init__.py", "importlib"): "public names of the upper floors, at their first use",
    ("helpers/__init__.py", "import_module"): "the same",
    ("helpers/exercises/catalogue.py", "importlib"): "the module of a notebook's exercises",
    ("helpers/exercises/catalogue.py", "import_module"): "the same",
    ("helpers/checkpoints.py", "torch.load"): "with weights_only=True: data, and no code",
    ("helpers/crossover.py", "subprocess"): "nvidia-smi tells the version of the driver",
    ("helpers/distributed/__init__.py", "importlib"): "what needs DDP, at its first use",
    ("helpers/distributed/__init__.py", "import_module"): "the same",
    ("helpers/source.py", "get_ipython"): "to show errors without their tracebacks",
    ("helpers/scaling.py", "subprocess"): "ranks are started, on this machine",
    ("helpers/scaling.py", "socket"): "a free port, at which ranks of this machine meet",
    ("helpers/environment.py", "importlib"): "the installed version of each requirement",
    (
        "helpers/exercises/passes.py",
        "sys.modules['IPython'].get_ipython",
    ): "whether the cell is a solution",
}

# And by notebook.
ALLOWED_IN_CELLS = {
    ("13_scaling_out", "torch.load"): "results of ranks, with weights_only=True: data, and no code",
}


def reaches(source: str) -> Iterator[str]:
    """What in a source is on the lists above."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (root_of(alias.name) for alias in node.names if reaching(alias.name))
        elif isinstance(node, ast.ImportFrom) and reaching(node.module or ""):
            yield root_of(node.module)
        elif isinstance(node, ast.Call):
            yield from reached_by(node)


def root_of(module: str) -> str:
    return module.partition(".")[0]


def reaching(module: str) -> bool:
    return root_of(module) in REACHING_MODULES


def reached_by(call: ast.Call) -> Iterator[str]:
    name = ast.unparse(call.func)
    # model.eval and re.compile are other things than those of Python itself.
    if name in REACHING_CALLS or name.rpartition(".")[2] in REACHING_CALLS - OWN_WORDS:
        yield name
    for word in call.keywords:
        if (
            isinstance(word.value, ast.Constant)
            and (word.arg, word.value.value) in REACHING_OPTIONS
        ):
            yield f"{word.arg}={word.value.value}"


def code_of(notebook: Path) -> Iterator[str]:
    """The code cells of a notebook; a magic or a line for the shell is not Python and raises."""
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            yield "".join(cell["source"])


def found_in_helpers() -> set[tuple[str, str]]:
    return {
        (path.relative_to(ROOT).as_posix(), what)
        for path in MODULES
        for what in reaches(path.read_text(encoding="utf-8"))
    }


def test_the_helpers_reach_for_what_is_listed_and_for_nothing_else():
    assert found_in_helpers() - set(ALLOWED) == set()


def test_nothing_is_listed_that_no_helper_reaches_for():
    assert set(ALLOWED) - found_in_helpers() == set()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_cell_reaches_for_anything(path):
    found = {what for code in code_of(path) for what in reaches(code)}
    assert {what for what in found if (path.stem, what) not in ALLOWED_IN_CELLS} == set()
    loads = [line for code in code_of(path) for line in code.splitlines() if "torch.load(" in line]
    assert all("weights_only=True" in line for line in loads)


def test_checkpoints_are_loaded_as_data():
    source = (ROOT / "helpers" / "checkpoints.py").read_text(encoding="utf-8")
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    loads = [node for node in calls if ast.unparse(node.func) == "torch.load"]
    assert loads
    for call in loads:
        options = {word.arg: ast.unparse(word.value) for word in call.keywords}
        assert options["weights_only"] == "True"


@pytest.mark.parametrize(
    "source",
    [
        "import socket",
        "import urllib.request as request",
        "from http.client import HTTPConnection",
        "def f():\n    import subprocess",
        "import pickle",
        "eval('1')",
        "import os\nos.system('true')",
        "import torch\ntorch.load(path, weights_only=False)",
        "numpy.load(path, allow_pickle=True)",
        "run('true', shell=True)",
        "from sklearn.datasets import fetch_openml\nfetch_openml('wine')",
        "from sklearn import datasets\ndatasets.fetch_openml('wine')",
        "get_ipython().system('true')",
    ],
)
def test_a_reach_is_noticed(source):
    assert list(reaches(source))


@pytest.mark.parametrize(
    "source",
    ["import re\nre.compile('x')", "torch.compile(f)", "from helpers import fit", "model.eval()"],
)
def test_what_reaches_for_nothing_is_left_alone(source):
    assert not list(reaches(source))
