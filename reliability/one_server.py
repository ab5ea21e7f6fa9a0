"""All notebooks at once, in one Jupyter server, each in a kernel of its own.

The server is JupyterLab as a reader starts it, on a copy of the course. Each notebook is opened
and run through the interface that a browser uses, cell after cell, and every output is compared
with the stored one by the rules of `make test`.
"""

from __future__ import annotations

import json
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any
from urllib.parse import quote

import nbformat
import websocket

ROOT = Path(__file__).parents[1]
# The server, and the rules by which outputs are compared, are those of the tests.
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "browser")]

from lab import Lab, running_lab  # noqa: E402
from nbval_rules import output_differences  # noqa: E402

CELL_SECONDS = 300
NOT_COMPARED, NOT_RUN = "nbval-ignore-output", "nbval-skip"


@dataclass
class Course:
    """What came out for one opening of a notebook."""

    notebook: str
    cells: int = 0
    compared: int = 0
    seconds: float = 0.0
    mismatches: list[str] = field(default_factory=list)


def run_together(notebooks: list[Path], openings: int, at_once: int) -> tuple[list[Course], int]:
    """Run notebooks in one server.

    Parameters
    ----------
    notebooks : list of Path
        Of the checkout.
    openings : int
        How often a notebook is opened in all, each in its turn.
    at_once : int
        Kernels that may run at the same time.

    Returns
    -------
    list of Course, int
        One for each opening, and the largest number of kernels that the server had.
    """
    jobs = list(islice(cycle(notebooks), openings))
    done = threading.Event()
    with running_lab() as lab, ThreadPoolExecutor(at_once + 1) as pool:
        most = pool.submit(_most_kernels, lab, done)
        try:
            courses = list(pool.map(partial(_run, lab), jobs))
        finally:
            done.set()
        return courses, most.result()


def _most_kernels(lab: Lab, done: threading.Event) -> int:
    most = 0
    while not done.wait(0.2):
        # The server cannot list its kernels at the moment at which one of them goes.
        with suppress(urllib.error.HTTPError):
            most = max(most, len(_ask(lab, "GET", "kernels")))
    return most


def _run(lab: Lab, path: Path) -> Course:
    """Open a notebook of the server, run its cells, and compare."""
    place = f"{path.parent.name}/{path.name}"
    content = _ask(lab, "GET", f"contents/{quote(place)}?content=1")["content"]
    notebook = nbformat.from_dict(content)
    course, begun = Course(path.stem), time.perf_counter()
    with _kernel(lab, place) as kernel:
        for number, cell in enumerate(notebook.cells):
            tags = cell.metadata.get("tags", [])
            if cell.cell_type != "code" or NOT_RUN in tags:
                continue
            outputs = _merged(kernel.outputs_of(cell.source))
            course.cells += 1
            if NOT_COMPARED in tags:
                continue
            course.compared += 1
            told = output_differences(outputs, _merged(cell.outputs), tags)
            course.mismatches += [f"{path.stem}, cell {number}: {each}" for each in told]
    course.seconds = time.perf_counter() - begun
    return course


def _merged(outputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The outputs with the streams of one name in one, as nbval compares them."""
    merged, streams = [], {}
    for output in outputs:
        if output["output_type"] != "stream":
            merged.append(output)
        elif output["name"] in streams:
            streams[output["name"]]["text"] += output["text"]
        else:
            streams[output["name"]] = dict(output)
    return [*merged, *streams.values()]


class Kernel:
    """A kernel of the server, spoken to through a web socket as a browser does."""

    def __init__(self, channel: websocket.WebSocket) -> None:
        self.channel = channel
        self.session = uuid.uuid4().hex

    def outputs_of(self, code: str) -> list[dict[str, Any]]:
        """Execute a cell, and wait for its end and its last output."""
        request = self._send(code)
        outputs: list[dict[str, Any]] = []
        waiting = {"execute_reply", "idle"}
        while waiting:
            text = self.channel.recv()
            if isinstance(text, bytes):
                continue  # the picture of a widget, which no file stores
            message = json.loads(text)
            if message["parent_header"].get("msg_id") != request:
                continue
            kind, content = message["header"]["msg_type"], message["content"]
            if kind in ("stream", "display_data", "execute_result", "error"):
                outputs.append(nbformat.v4.output_from_msg(nbformat.from_dict(message)))
            elif kind == "clear_output":
                outputs.clear()
            waiting -= {kind, content.get("execution_state")}
        return outputs

    def _send(self, code: str) -> str:
        request = uuid.uuid4().hex
        header = {
            "msg_id": request,
            "msg_type": "execute_request",
            "session": self.session,
            "username": "",
            "date": datetime.now(UTC).isoformat(),
            "version": "5.3",
        }
        content = {"code": code, "silent": False, "store_history": True, "allow_stdin": False}
        message = {"header": header, "parent_header": {}, "metadata": {}, "content": content}
        self.channel.send(json.dumps({**message, "channel": "shell", "buffers": []}))
        return request


@contextmanager
def _kernel(lab: Lab, place: str) -> Iterator[Kernel]:
    """A new kernel for a notebook, as when it is opened; it ends with the block."""
    # Two openings of one notebook have a kernel each, so each has a path of its own.
    opened = {"path": f"{place}#{uuid.uuid4().hex}", "name": place, "type": "console"}
    session = _ask(lab, "POST", "sessions", {**opened, "kernel": {"name": "python3"}})
    address = f"{lab.origin}/api/kernels/{session['kernel']['id']}/channels"
    channel = websocket.create_connection(
        address.replace("http", "ws", 1),
        header={"Authorization": f"token {lab.token}"},
        timeout=CELL_SECONDS,
        http_no_proxy=["127.0.0.1"],
    )
    try:
        yield Kernel(channel)
    finally:
        channel.close()
        _ask(lab, "DELETE", f"sessions/{session['id']}")


def _ask(lab: Lab, method: str, what: str, content: dict[str, Any] | None = None) -> Any:
    """Ask the server's interface; the token says who asks."""
    request = urllib.request.Request(
        f"{lab.origin}/api/{what}",
        data=None if content is None else json.dumps(content).encode(),
        headers={"Authorization": f"token {lab.token}"},
        method=method,
    )
    # Without the proxy that the environment may name: this is our own machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=CELL_SECONDS) as answer:
        text = answer.read()
    return json.loads(text) if text else None
