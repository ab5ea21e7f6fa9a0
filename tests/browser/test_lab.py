"""The server of these tests: it listens to nobody else, and is gone when we are."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
PATIENCE_SECONDS = 20
KERNEL_PORTS = ("shell_port", "iopub_port", "stdin_port", "control_port", "hb_port")
# Starts JupyterLab and a kernel, says where they describe themselves, and waits to be ended.
STARTED = """
import signal
import time
import urllib.request
from lab import running_lab

signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
with running_lab() as lab:
    said = {"Authorization": f"token {lab.token}"}
    ask = urllib.request.Request(f"{lab.origin}/api/kernels", data=b"{}", headers=said)
    urllib.request.build_opener(urllib.request.ProxyHandler({})).open(ask).close()
    print(lab.runtime, flush=True)
    time.sleep(600)
"""


def is_heard(port: int) -> bool:
    """Whether something listens at a port of this machine."""
    with socket.socket() as knock:
        return knock.connect_ex(("127.0.0.1", port)) == 0


def ports(runtime: Path) -> list[int]:
    """The ports of a server and its only kernel."""
    (server,) = runtime.glob("jpserver-*.json")
    (kernel,) = runtime.glob("kernel-*.json")
    of_server = json.loads(server.read_text(encoding="utf-8"))
    of_kernel = json.loads(kernel.read_text(encoding="utf-8"))
    return [of_server["port"], *(of_kernel[name] for name in KERNEL_PORTS)]


def wait_until(is_so: Callable[[], bool]) -> bool:
    """Whether something becomes true before long."""
    patience = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        if time.monotonic() > patience:
            return False
        time.sleep(0.1)
    return True


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "killed"])
@pytest.mark.usefixtures("browser")  # without one, JupyterLab is not started for these tests
def test_server_and_kernels_end_with_the_tests_that_started_them(tmp_path, sent):
    started = subprocess.Popen(
        [sys.executable, "-c", STARTED],
        cwd=FOLDER,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        heard = ports(Path(started.stdout.readline().strip()))
        assert wait_until(lambda: all(map(is_heard, heard)))
    finally:
        started.send_signal(sent)
        started.wait(PATIENCE_SECONDS)
    assert wait_until(lambda: not any(map(is_heard, heard)))
    if sent is signal.SIGINT:
        assert list(tmp_path.iterdir()) == []


def test_nobody_is_answered_without_the_token(lab):
    (described,) = lab.runtime.glob("jpserver-*.json")
    assert json.loads(described.read_text(encoding="utf-8"))["hostname"] == "127.0.0.1"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with pytest.raises(urllib.error.HTTPError, match="403"):
        opener.open(f"{lab.origin}/api/contents")
