"""JupyterLab as `make lab` starts it: on loopback only, and for nobody without its token."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPResponse
from http.cookiejar import CookieJar
from ipaddress import ip_address
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
PATIENCE = 60  # seconds; JupyterLab needs two on an idle machine
ELSEWHERE = "https://example.org"
MAKE = shutil.which("make")

pytestmark = pytest.mark.skipif(
    MAKE is None or sys.platform == "win32", reason="asks make, and ends a group of processes"
)


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab."""

    process: psutil.Process
    origin: str
    token: str

    def ask(
        self,
        path: str,
        *,
        token: bool = False,
        opener: urllib.request.OpenerDirector,
        **headers: str,
    ) -> HTTPResponse:
        """What the server answers; a refusal is an answer too."""
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        if token:
            named["Authorization"] = f"token {self.token}"
        request = urllib.request.Request(f"{self.origin}{path}", headers=named)
        return answer(opener, request)

    def post(
        self,
        path: str,
        *,
        token: bool = False,
        opener: urllib.request.OpenerDirector,
        **headers: str,
    ) -> HTTPResponse:
        """What the server answers to a request that changes something."""
        named = {"Content-Type": "application/json"} | headers
        if token:
            named["Authorization"] = f"token {self.token}"
        request = urllib.request.Request(f"{self.origin}{path}", b"{}", named, method="POST")
        return answer(opener, request)

    def listeners(self) -> list[set[str]]:
        """The addresses at which each process listens: the server, and then its kernels."""
        return [addresses(each) for each in (self.process, *self.process.children(recursive=True))]


def addresses(process: psutil.Process) -> set[str]:
    """Where a process listens; nowhere when it has gone meanwhile."""
    with suppress(psutil.NoSuchProcess):
        return {
            connection.laddr.ip
            for connection in process.net_connections(kind="inet")
            if connection.status == psutil.CONN_LISTEN
        }
    return set()


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """Shows where one is sent instead of going there."""

    def redirect_request(self, *args: object) -> None:
        return None


def visitor() -> urllib.request.OpenerDirector:
    """A browser that has never been here; it keeps cookies, and asks no proxy."""
    cookies = urllib.request.HTTPCookieProcessor(CookieJar())
    return urllib.request.build_opener(urllib.request.ProxyHandler({}), cookies, NoRedirect)


def answer(opener: urllib.request.OpenerDirector, request: urllib.request.Request) -> HTTPResponse:
    try:
        return opener.open(request, timeout=PATIENCE)
    except urllib.error.HTTPError as refusal:
        return refusal


def command_line() -> list[str]:
    """What `make lab` runs, at a port of its own choice and without a browser."""
    arguments = ["PORT=0", "ARGS=--no-browser --allow-root"]  # as root, as in a container
    clean = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    said = subprocess.run(
        [MAKE, "--dry-run", "lab", *arguments],
        cwd=ROOT,
        env=clean,
        capture_output=True,
        text=True,
        check=True,
    )
    _, *words = shlex.split(said.stdout.splitlines()[-1])
    assert words[:2] == ["-m", "jupyterlab"]
    return [sys.executable, *words]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """JupyterLab in a copy of the notebooks, with nobody's settings."""
    folder = tmp_path_factory.mktemp("lab")
    shutil.copytree(ROOT / "notebooks", folder / "course" / "notebooks")
    foreign = ("JUPYTER", "IPYTHON", "PYTEST_")
    outer = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    own = {
        name: str(folder / name.lower())
        for name in ("HOME", "IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR")
    }
    runtime = folder / "runtime"
    log = folder / "log.txt"
    with log.open("w") as said:
        server = subprocess.Popen(
            command_line(),
            cwd=folder / "course",
            env=outer | own | {"JUPYTER_RUNTIME_DIR": str(runtime)},
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
    try:
        described = description(server, runtime, log)
        origin = f"http://127.0.0.1:{described['port']}"
        yield Lab(psutil.Process(server.pid), origin, described["token"])
    finally:
        end(server)


def description(server: subprocess.Popen, runtime: Path, log: Path) -> dict:
    """What the server writes down about itself, once it answers."""
    path = runtime / f"jpserver-{server.pid}.json"
    patience = time.monotonic() + PATIENCE
    while server.poll() is None and time.monotonic() < patience:
        with suppress(OSError, ValueError):  # the file is there a moment before the server answers
            described = json.loads(path.read_text())
            answer(visitor(), urllib.request.Request(f"http://127.0.0.1:{described['port']}/login"))
            return described
        time.sleep(0.05)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text()[-3000:]}")


def end(server: subprocess.Popen) -> None:
    """End the server, and its kernels with it."""
    server.terminate()
    try:
        server.wait(10)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def test_the_server_and_its_kernels_listen_on_loopback_only(lab):
    started = lab.post("/api/kernels", token=True, opener=visitor())
    assert started.status == 201
    patience = time.monotonic() + PATIENCE
    while not any(lab.listeners()[1:]) and time.monotonic() < patience:
        time.sleep(0.1)
    server, *kernels = lab.listeners()
    assert server
    assert any(kernels), "no kernel listens"
    everywhere = server.union(*kernels)
    assert all(ip_address(address).is_loopback for address in everywhere), everywhere


def test_the_token_is_long_and_not_on_the_command_line(lab):
    assert re.fullmatch(r"[0-9a-f]{48}", lab.token)
    assert lab.token not in " ".join(lab.process.cmdline())


@pytest.mark.parametrize("path", ["/api/contents", "/api/kernels", "/files/README.md"])
def test_nobody_gets_in_without_the_token(lab, path):
    refused = lab.ask(path, opener=visitor())
    assert refused.status in (302, 403)
    if refused.status == 302:
        assert refused.headers["Location"].startswith("/login")
    wrong = {"Authorization": "token 0123"}
    assert lab.ask(path, opener=visitor(), **wrong).status in (302, 403)


def test_the_page_itself_sends_to_the_login_and_opens_with_the_token(lab):
    refused = lab.ask("/lab", opener=visitor())
    assert (refused.status, refused.headers["Location"][:6]) == (302, "/login")
    assert lab.ask("/lab", token=True, opener=visitor()).status == 200
    assert lab.ask("/api/contents", token=True, opener=visitor()).status == 200


def test_a_request_from_another_page_changes_nothing(lab):
    """With the reader's cookie, as a page in another tab would send it."""
    reader = visitor()
    assert lab.ask(f"/lab?token={lab.token}", opener=reader).status == 200
    assert lab.ask("/api/contents", opener=reader).status == 200, "the cookie does not log in"
    refused = lab.post("/api/contents", opener=reader)
    assert refused.status == 403
    assert b"_xsrf" in refused.read()


def test_another_page_may_not_read_the_answers(lab):
    reader = visitor()
    assert lab.ask(f"/lab?token={lab.token}", opener=reader).status == 200
    said = lab.ask("/api/contents", opener=reader, Origin=ELSEWHERE)
    assert said.headers["Access-Control-Allow-Origin"] is None
    # A name that somebody lets point to this machine is not the name of this machine.
    assert lab.ask("/api/contents", token=True, opener=visitor(), Host="example.org").status == 403


# No file of the repository opens it further. -----------------------------------------------------


OPEN = re.compile(
    r"""0\.0\.0\.0 | --ip[= ]['"]?[*:] | \bip\s*=\s*['"](?:|\*|::)['"]
    | (?:token|password)\s*=\s*(?:''|""|\\"\\") | (?:token|password)=(?:\s|$)
    | allow_origin\s*=\s*['"]?\* | allow_remote_access\s*=\s*True | disable_check_xsrf\s*=\s*True
    | allow_unauthenticated_access\s*=\s*True""",
    re.VERBOSE | re.IGNORECASE,
)
TEXTS = (".cfg", ".ipynb", ".json", ".md", ".py", ".sh", ".toml", ".yaml", ".yml", "")
LEFT_OUT = {".git", ".venv", "build", "node_modules"}


def opened(text: str) -> list[str]:
    return [found.group() for found in OPEN.finditer(text)]


def test_no_file_opens_the_server_to_others():
    looked_at = 0
    for folder, below, names in os.walk(ROOT):
        below[:] = [name for name in below if name not in LEFT_OUT and "cache" not in name]
        for path in (Path(folder, name) for name in names):
            if path.suffix in TEXTS and path != Path(__file__):
                looked_at += 1
                assert opened(path.read_text(encoding="utf-8", errors="replace")) == [], path
    assert looked_at > 100


@pytest.mark.parametrize(
    "line",
    [
        "jupyter lab --ip=0.0.0.0",
        "--ip='*'",
        'c.ServerApp.ip = "*"',
        "--ServerApp.token=''",
        "--IdentityProvider.token= --no-browser",
        'c.ServerApp.password = ""',
        "--ServerApp.allow_origin='*'",
        "--ServerApp.allow_remote_access=True",
        "--ServerApp.disable_check_xsrf=true",
    ],
)
def test_a_line_that_opens_the_server_is_noticed(line):
    assert opened(line)
