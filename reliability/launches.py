"""Programs of several ranks, started as a reader starts them; nothing of them is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[1]
PATIENCE = 120  # seconds, for a machine that does much else
MARK = "COVARIANCE_RANKS_OF"  # in the environment of every process that a launch brings about


@dataclass
class Launch:
    """A program that was started, with all that it starts; to be used as a context."""

    process: subprocess.Popen
    mark: str

    def everyone(self) -> list[psutil.Process]:
        """All its processes that live, whoever is their parent by now."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                ours = process.environ().get(MARK) == self.mark
                if ours and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def workers(self) -> dict[int, psutil.Process]:
        """The ranks that live, by their number."""
        found = {}
        for process in self.everyone():
            with suppress(psutil.Error):
                environment = process.environ()
                if "RANK" in environment:
                    found[int(environment["RANK"])] = process
        return found

    def ended(self, patience: float = PATIENCE) -> subprocess.CompletedProcess[str]:
        """What it printed and its exit code, when it has ended."""
        out, err = self.process.communicate(timeout=patience)
        return subprocess.CompletedProcess(self.process.args, self.process.returncode, out, err)

    def __enter__(self) -> Launch:
        return self

    def __exit__(self, *_: object) -> None:
        """Leave no process behind, also none that is stopped."""
        while everyone := self.everyone():
            for process in everyone:
                with suppress(psutil.Error):
                    process.send_signal(signal.SIGKILL)
        self.process.communicate()


# What a run of the tests, or torchrun itself, may have told this process, and what it may not tell.
FOREIGN = ("PYTEST_", "COVARIANCE_", "TORCHELASTIC_", "RANK", "WORLD_SIZE", "LOCAL_", "MASTER_")


def environment(**more: str) -> dict[str, str]:
    """Ours, without what belongs to an outer run."""
    outer = {key: value for key, value in os.environ.items() if not key.startswith(FOREIGN)}
    return {**outer, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **more}


def launch(command: Sequence[str | Path], **more: str) -> Launch:
    """Start a program that can be found again by a mark, with all that it starts."""
    mark = uuid.uuid4().hex
    process = subprocess.Popen(
        list(map(str, command)),
        cwd=ROOT,
        env=environment(**{MARK: mark, **more}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    return Launch(process, mark)


def torchrun(number: int, *rest: str | Path, restarts: int = 0) -> list[str]:
    """The command that starts so many ranks on a free port of the loopback interface."""
    how = ["--nproc-per-node", str(number), "--max-restarts", str(restarts)]
    how += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0", "--local-addr", "127.0.0.1"]
    return [sys.executable, "-m", "torch.distributed.run", *how, *map(str, rest)]
