"""Fits that are interrupted for real: killed, stopped, out of disk. Nothing is lost."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import torch
from jupyter_client.manager import start_new_kernel

from helpers import GaussianLikelihood, fit, load_checkpoint, save_checkpoint, two_correlated
from reliability import interrupted, kills

ROOT = Path(__file__).parents[2]
PATIENCE = 60  # seconds, for a machine that does much else
POSIX = pytest.mark.skipif(os.name != "posix", reason="Windows has no such signals")
pytestmark = POSIX


def wait_for(condition, process=None):
    """Wait until a condition holds, for as long as a process lives."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it took too long"
        assert process is None or process.poll() is None, process.communicate()
        time.sleep(0.005)


def parts(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".fit.pt.")]


# --- SIGKILL -----------------------------------------------------------------------------------


@pytest.mark.parametrize("way", interrupted.WAYS)
def test_a_fit_killed_within_its_checkpoints_ends_with_the_same_bits(way, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    expected = interrupted.undisturbed(way, whole)
    left_behind = []
    for place, count in zip(interrupted.PLACES, (1, 2, 2, 1), strict=True):
        process = interrupted.started(way, killed, place, count)
        process.join(PATIENCE)
        assert process.exitcode == -signal.SIGKILL, place
        left_behind.append(len(parts(killed)))
    # A killed process cannot clear up; the next one does, so there is never more than one file.
    assert left_behind == [1, 1, 1, 0]
    assert load_checkpoint(killed / "fit.pt")["n_steps"] < expected["step"][-1]
    process = interrupted.started(way, killed)
    process.join(PATIENCE)
    assert process.exitcode == 0
    assert interrupted.same_bits(interrupted.result_in(killed), expected)
    assert {path.name for path in killed.iterdir()} <= {"fit.pt", "result.pt", "data.npy"}


def test_results_that_differ_in_one_bit_are_told_apart(tmp_path):
    one = interrupted.undisturbed("adam", tmp_path)
    assert interrupted.same_bits(one, one)
    for part in ("model", "gap"):
        other = interrupted.result_in(tmp_path)
        tensor = other["model"]["loc"] if part == "model" else other["gap"]
        tensor[-1] = torch.nextafter(tensor[-1], tensor[-1] + 1)
        assert not interrupted.same_bits(one, other), part


def test_random_kills_are_counted_and_pass():
    row = kills.measure("adam, mini-batches, float32, memmap", 6, seed=1)
    assert row.passed()
    assert row.kills == row.restarts >= 6


def test_a_file_that_a_live_process_writes_is_not_swept(tmp_path):
    how = (interrupted.PLACES[2], 1, signal.SIGSTOP)
    process = interrupted.started("adam", tmp_path, *how)
    try:
        wait_for(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED)
        writing = parts(tmp_path)
        assert len(writing) == 1
        save_checkpoint(tmp_path / "fit.pt", {"of": "somebody else"})
        assert parts(tmp_path) == writing
    finally:
        process.kill()
        process.join()
    save_checkpoint(tmp_path / "fit.pt", {"of": "somebody else"})
    assert parts(tmp_path) == []


def test_a_file_of_another_kind_is_not_swept(tmp_path):
    others = [".fit.pt.swp", ".fit.pt.part", ".fit.pt.ABCDEFGH.part", ".afit.pt.abcdefgh.part"]
    for name in [*others, ".fit.pt.abcdefgh.part"]:
        (tmp_path / name).touch()
    save_checkpoint(tmp_path / "fit.pt", {})
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*others, "fit.pt"])


def test_two_equal_fits_with_one_checkpoint_do_not_disturb_each_other(tmp_path):
    (tmp_path / "whole").mkdir()
    expected = interrupted.undisturbed("adam, batches", tmp_path / "whole")
    both = [interrupted.started("adam, batches", tmp_path) for _ in range(2)]
    for process in both:
        process.join(PATIENCE)
        assert process.exitcode == 0
        assert interrupted.same_bits(interrupted.result_in(tmp_path), expected)
    assert parts(tmp_path) == []


WRITER = """
import sys, torch
from helpers import save_checkpoint
path, number = sys.argv[1], int(sys.argv[2])
for _ in range(50):
    save_checkpoint(path, {"numbers": torch.full((50_000,), number), "of": number})
"""


def test_two_writers_never_mix(tmp_path):
    path = tmp_path / "fit.pt"
    command = [sys.executable, "-c", WRITER, path]
    writers = [subprocess.Popen([*command, str(n)], cwd=ROOT) for n in (1, 2)]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        if path.exists():
            state = load_checkpoint(path)  # refuses what is not whole
            assert (state["numbers"] == state["of"]).all()
            seen.add(state["of"])
    assert [writer.returncode for writer in writers] == [0, 0]
    assert seen == {1, 2}
    assert list(tmp_path.iterdir()) == [path]


# --- SIGTERM, SIGINT, and the interval ---------------------------------------------------------

PROGRAM = """
import json, signal, sys
import torch
from helpers import GaussianLikelihood, fit, training, two_correlated

# A shell lets what it starts in the background ignore SIGINT, and these tests inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
path, seconds, steps = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
training.CHECKPOINT_SECONDS = seconds
model = GaussianLikelihood(2, dtype=torch.float64)
options = {"optimizer": "adam", "batch_size": 25, "max_steps": steps}
history = fit(model, two_correlated(50), checkpoint=path, **options)
bits = [value.tolist() for value in (*model.state_dict().values(), history.gap, history.loss)]
print(json.dumps(bits))
"""


def program(path: Path, seconds: float, steps: int) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(path), str(seconds), str(steps)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def steps_in(path: Path) -> int:
    return load_checkpoint(path)["n_steps"] if path.exists() else -1


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_program_and_the_same_command_goes_on(how, tmp_path):
    model, path, steps = GaussianLikelihood(2, dtype=torch.float64), tmp_path / "fit.pt", 1500
    history = fit(model, two_correlated(50), optimizer="adam", batch_size=25, max_steps=steps)
    values = (*model.state_dict().values(), history.gap, history.loss)
    # Saved at every step it takes long, and cannot be over before the signal comes.
    process = program(path, 0.0, steps)
    wait_for(lambda: steps_in(path) > 0, process)
    process.send_signal(how)
    _, said = process.communicate(timeout=PATIENCE)
    # Python shows a traceback for SIGINT, and tells of it with a code or with the signal.
    assert process.returncode in ((-how, 1) if how == signal.SIGINT else (-how,))
    assert ("KeyboardInterrupt" in said) == (how == signal.SIGINT)
    assert 0 < steps_in(path) < steps
    again = program(path, 0.02, steps)
    printed, said = again.communicate(timeout=PATIENCE)
    assert again.returncode == 0, said
    assert json.loads(printed) == [value.tolist() for value in values]  # repr keeps every bit
    assert list(tmp_path.iterdir()) == [path]


def test_the_last_checkpoint_is_about_a_second_old(tmp_path):
    path = tmp_path / "fit.pt"
    process = program(path, 1.0, 1_000_000)
    wait_for(lambda: steps_in(path) > 0, process)
    ages = []
    for _ in range(30):
        time.sleep(0.1)
        ages.append(time.time() - path.stat().st_mtime)
    process.kill()
    process.communicate()
    # A second, and what a busy machine adds to one step, a record and a write.
    assert max(ages) < 3.0
    assert max(ages) > 0.5  # and it is not written all the time


# --- Ctrl-C in a notebook ----------------------------------------------------------------------

SETUP = """
import torch
from helpers import GaussianLikelihood, fit, training, two_correlated

training.CHECKPOINT_SECONDS = 0.02
data = two_correlated(50)
options = {{"optimizer": "adam", "batch_size": 25, "max_steps": 1500, "progress": True}}
model = GaussianLikelihood(2, dtype=torch.float64)
path = {path!r}
"""
FIT = "history = fit(model, data, checkpoint=path, **options)"
LEARNT = "print(model.scale_tril.tolist())"
BITS = """
print([v.tolist() for v in (*model.state_dict().values(), history.gap, history.loss)])
"""
UNDISTURBED = """
model = GaussianLikelihood(2, dtype=torch.float64)
history = fit(model, data, **options)
"""


@pytest.fixture
def kernel() -> Iterator[tuple]:
    manager, client = start_new_kernel(kernel_name="python3", startup_timeout=PATIENCE, cwd=ROOT)
    yield manager, client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def run_cell(client, code: str) -> tuple[str, str | None]:
    """What a cell prints, and the name of the error it ends with."""
    printed, names = [], []

    def hook(message):
        if message["msg_type"] == "stream" and message["content"]["name"] == "stdout":
            printed.append(message["content"]["text"])
        if message["msg_type"] == "error":
            names.append(message["content"]["ename"])

    client.execute_interactive(code, output_hook=hook, timeout=PATIENCE)
    return "".join(printed).strip(), (names or [None])[0]


def test_ctrl_c_in_a_notebook_keeps_what_was_learnt_and_the_next_cell_goes_on(kernel, tmp_path):
    manager, client = kernel
    path = tmp_path / "fit.pt"
    assert run_cell(client, SETUP.format(path=str(path))) == ("", None)
    request = client.execute(FIT)
    wait_for(lambda: steps_in(path) > 0)
    manager.interrupt_kernel()
    while (reply := client.get_shell_msg(timeout=PATIENCE))["parent_header"]["msg_id"] != request:
        continue
    assert reply["content"]["status"] == "error"
    assert reply["content"]["ename"] == "KeyboardInterrupt"
    interrupted_at = steps_in(path)
    assert 0 < interrupted_at < 1500
    learnt, error = run_cell(client, LEARNT)
    assert error is None
    # The file is as the model is, so that the next fit takes nothing back.
    saved = GaussianLikelihood(2, dtype=torch.float64)
    saved.load_state_dict(load_checkpoint(path)["model"])
    assert json.loads(learnt) == saved.scale_tril.tolist()
    assert run_cell(client, FIT)[1] is None
    assert steps_in(path) == 1500
    bits, _ = run_cell(client, BITS)
    assert run_cell(client, UNDISTURBED)[1] is None
    assert run_cell(client, BITS) == (bits, None)


# --- Full and read-only disks ------------------------------------------------------------------

OUT_OF_SPACE = """
import json, os, resource, sys
import torch
from helpers import GaussianLikelihood, fit, load_checkpoint, training, two_correlated

training.CHECKPOINT_SECONDS = -1.0
kind, folder = sys.argv[1:]
path, filler = os.path.join(folder, "fit.pt"), os.path.join(folder, "filler")
options = {"optimizer": "adam", "max_steps": 300}
data, start = two_correlated(50), GaussianLikelihood(2, dtype=torch.float64)

def fitted(**more):
    history = fit(model := GaussianLikelihood(2, dtype=torch.float64), data, **options, **more)
    return [v.tolist() for v in (*model.state_dict().values(), history.gap, history.loss)]

if kind == "limit":
    resource.setrlimit(resource.RLIMIT_FSIZE, (12_000, resource.RLIM_INFINITY))
else:
    with open(filler, "wb") as file:
        file.write(bytes(20_000))
model = GaussianLikelihood(2, dtype=torch.float64)
try:
    fit(model, data, checkpoint=path, **options)
except OSError as error:
    found = {"errno": error.errno, "text": str(error), "filename": error.filename}
found["files"] = sorted(os.listdir(folder))
saved = load_checkpoint(path)
found["n_steps"] = saved["n_steps"]
then = GaussianLikelihood(2, dtype=torch.float64)
then.load_state_dict(saved["model"])
target = data.T.cov(correction=0)
found["distance"] = [(m.covariance_matrix - target).norm().item() for m in (start, then, model)]
if kind == "limit":
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
else:
    os.unlink(filler)
found["same bits"] = fitted(checkpoint=path) == fitted()
print(json.dumps(found))
"""

READ_ONLY = """
import json, sys, torch
from helpers import GaussianLikelihood, fit

def batches():
    raise AssertionError("the data were read")
    yield

try:
    fit(GaussianLikelihood(2), batches(), checkpoint=sys.argv[2] + "/fit.pt")
except OSError as error:
    print(json.dumps({"errno": error.errno, "text": str(error), "filename": error.filename}))
"""


def own_mounts() -> list[str]:
    """How to start a program with mounts of its own; a reason to skip where that is forbidden."""
    for way in (["unshare", "--mount"], ["unshare", "--user", "--map-root-user", "--mount"]):
        try:
            if subprocess.run([*way, "true"], capture_output=True, check=False).returncode == 0:
                return way
        except FileNotFoundError:
            break
    pytest.skip("this machine does not let us mount a small disk of our own")


def answer(command: list[str]) -> dict:
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def mounted(options: str, *command: str) -> list[str]:
    folder = command[-1]
    script = f'mount -t tmpfs -o {options} tmpfs "$1"; shift; exec "$@"'
    return [*own_mounts(), "sh", "-c", script, "sh", folder, *command]


@pytest.mark.parametrize(
    ("kind", "number"),
    [("disk", errno.ENOSPC), ("limit", errno.EFBIG)],
)
def test_a_full_disk_stops_the_fit_and_takes_nothing_away(kind, number, tmp_path):
    command = [sys.executable, "-c", OUT_OF_SPACE, kind, str(tmp_path)]
    found = answer(command if kind == "limit" else mounted("size=48k", *command))
    assert found["errno"] == number
    assert found["filename"] == str(tmp_path / "fit.pt")
    assert found["text"].endswith(
        f"checkpoint: cannot be written, {os.strerror(number)}: {str(tmp_path / 'fit.pt')!r}"
    )
    # The older checkpoint is whole, and nothing half written lies beside it.
    assert set(found["files"]) == ({"fit.pt"} if kind == "limit" else {"fit.pt", "filler"})
    assert 0 < found["n_steps"] < 300
    # The model is near the checkpoint, a step ahead of it, and not back where it started.
    before, saved, kept = found["distance"]
    assert max(saved, kept) < 0.5 * before
    assert found["same bits"]


def test_a_read_only_disk_is_told_of_before_the_data_are_read(tmp_path):
    command = [sys.executable, "-c", READ_ONLY, "read-only", str(tmp_path)]
    found = answer(mounted("ro", *command))
    assert found["errno"] == errno.EROFS
    assert found["filename"] == str(tmp_path / "fit.pt")
    assert "checkpoint: cannot be written" in found["text"]


def test_a_checkpoint_goes_on_with_another_number_of_threads(tmp_path):
    path, data = tmp_path / "fit.pt", two_correlated(50)
    options = {"optimizer": "adam", "batch_size": 25, "max_steps": 1500}
    expected = GaussianLikelihood(2, dtype=torch.float64)
    history = fit(expected, data, **options)
    process = program(path, 0.02, 1500)
    wait_for(lambda: steps_in(path) > 0, process)
    process.kill()
    process.communicate()
    before = torch.get_num_threads()
    model = GaussianLikelihood(2, dtype=torch.float64)
    try:
        torch.set_num_threads(before + 1)
        rest = fit(model, data, checkpoint=path, **options)
    finally:
        torch.set_num_threads(before)
    # So small a matrix is not shared out among threads, so the bits are the same.
    assert torch.equal(model.scale_tril, expected.scale_tril)
    assert torch.equal(rest.gap, history.gap)
