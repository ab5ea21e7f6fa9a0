"""JupyterLab as a reader starts it, on a copy of the course, with nobody's settings.

Run as a program, this file is that JupyterLab: it ends when its standard input does, which is when
the program that started it has gone, for whatever reason.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

ROOT = Path(__file__).parents[2]
COPIED = ("notebooks", "helpers", "figures")
START_SECONDS = 60
STOP_SECONDS = 10

# JupyterLab asks at its first start whether it may look for news. The answer is no: it would be a
# request that leaves the machine, and the question would lie over every picture.
NO_NEWS = {"fetchNews": "false", "checkForUpdates": False}


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab.

    Attributes
    ----------
    origin : str
        As ``http://127.0.0.1:8888``.
    token : str
        Without it the server answers nobody.
    folder : Path
        The copy of the course that it shows.
    runtime : Path
        Where it describes itself and its kernels.
    """

    origin: str
    token: str
    folder: Path
    runtime: Path

    @property
    def progress(self) -> Path:
        """Where the copied helpers keep which exercises have passed."""
        return self.folder / "build" / "progress.json"

    def address(self, notebook: Path) -> str:
        """Where a reader finds a notebook of the copy."""
        place = quote(notebook.relative_to(self.folder).as_posix())
        # A workspace of its own, or JupyterLab would open what was open before beside it.
        workspace = quote(notebook.stem)
        return f"{self.origin}/lab/workspaces/{workspace}/tree/{place}?token={self.token}"


@contextmanager
def running_lab() -> Iterator[Lab]:
    """Start JupyterLab on a copy of the course; it ends, with its kernels, with the block."""
    with tempfile.TemporaryDirectory(prefix="lab-", ignore_cleanup_errors=True) as folder:
        course = Path(folder) / "a copy"
        own = Path(folder) / "own"
        _copy_course(course)
        _write_settings(own)
        with _server(course, own) as lab:
            yield lab


def _copy_course(folder: Path) -> None:
    ignored = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
    for name in COPIED:
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)


def _write_settings(own: Path) -> None:
    settings = own / "settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    text = json.dumps(NO_NEWS)
    (settings / "notification.jupyterlab-settings").write_text(text, encoding="utf-8")


def _environment(course: Path, own: Path) -> dict[str, str]:
    """Folders of its own for all that Jupyter keeps, and the copied helpers for its kernels."""
    foreign = ("JUPYTER", "IPYTHON", "COVARIANCE_", "PYTEST_")
    outer = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return outer | {
        "IPYTHONDIR": str(own / "ipython"),
        "JUPYTERLAB_SETTINGS_DIR": str(own / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(own / "workspaces"),
        "JUPYTER_CONFIG_DIR": str(own / "config"),
        "JUPYTER_DATA_DIR": str(own / "data"),
        "JUPYTER_RUNTIME_DIR": str(own / "runtime"),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(course),
    }


@contextmanager
def _server(course: Path, own: Path) -> Iterator[Lab]:
    token = secrets.token_hex(16)
    command = [
        *(sys.executable, __file__, "--no-browser", "--ip=127.0.0.1", "--port=0"),
        "--allow-root",  # as in a container
        f"--ServerApp.root_dir={course}",
        "--LabApp.expose_app_in_browser=True",
        "--LabApp.extension_manager=readonly",  # the other one asks the package index
    ]
    log = own / "log.txt"
    with log.open("w", encoding="utf-8") as said:
        server = subprocess.Popen(
            command,
            cwd=course,
            # Not on the command line, where every user of the machine could read it.
            env=_environment(course, own) | {"JUPYTER_TOKEN": token},
            stdin=subprocess.PIPE,
            stdout=said,
            stderr=said,
            # Ctrl-C is for us alone: JupyterLab would ask whether it is meant.
            start_new_session=True,
        )
    try:
        runtime = own / "runtime"
        yield Lab(_origin(server, runtime, log), token, course, runtime)
    finally:
        _stop(server)


def _origin(server: subprocess.Popen, runtime: Path, log: Path) -> str:
    """Where the server listens, once it answers; it chose its port itself."""
    described = runtime / f"jpserver-{server.pid}.json"
    patience = time.monotonic() + START_SECONDS
    while server.poll() is None and time.monotonic() < patience:
        with suppress(OSError, ValueError):
            port = json.loads(described.read_text(encoding="utf-8"))["port"]
            origin = f"http://127.0.0.1:{port}"
            _ask(f"{origin}/login")
            return origin
        time.sleep(0.05)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text(encoding='utf-8')[-3000:]}")


def _ask(address: str) -> None:
    # Without the proxy that the environment may name: this is our own machine.
    urllib.request.build_opener(urllib.request.ProxyHandler({})).open(address, timeout=5).close()


def _stop(server: subprocess.Popen) -> None:
    """End the server, which ends its kernels; where it does not listen, by force."""
    with suppress(OSError):
        server.stdin.close()
    try:
        server.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def _end_with_the_standard_input() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    from jupyterlab.labapp import main

    threading.Thread(target=_end_with_the_standard_input, daemon=True).start()
    main()
