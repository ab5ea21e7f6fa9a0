"""The job files of the page on scaling out fit shards, started as the page says."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers import GaussianLikelihood, fit
from reliability.launches import launch
from reliability.sharded import BEFORE_READING, Death, Plan

ROOT = Path(__file__).parents[2]
BASH = shutil.which("bash")
SLURM_STUBS = {
    "srun": '#!/bin/bash\nwhile [[ "$1" == --* ]]; do shift; done\nexec "$@"\n',
    "scontrol": "#!/bin/bash\nprintf '127.0.0.1\\n'\n",
}
# Python runs a module of this name before all others: the ranks of the job file get watchmen.
WATCHED = """
import os

if "RANK" in os.environ:
    from pathlib import Path
    from reliability.sharded import Plan, Watchman

    Watchman(Plan.read(Path(os.environ["PLAN_OF_DEATHS"]))).watch()
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.fixture
def shards(tmp_path) -> dict[str, str]:
    """Three shards, and what tells the scripts of them and of the commands on this machine."""
    (tmp_path / "shards").mkdir()
    rows = torch.randn(60, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for i, part in enumerate(rows.split([30, 10, 20])):
        np.save(tmp_path / "shards" / f"{i}.npy", part.numpy())
    for name, text in SLURM_STUBS.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    here = [str(tmp_path), str(Path(sys.executable).parent), os.environ["PATH"]]
    return {
        "DATA": str(tmp_path / "shards"),
        "OUT": str(tmp_path / "gaussian.pt"),
        "PATH": os.pathsep.join(here),
        "GLOO_SOCKET_IFNAME": "lo",
    }


def is_the_fit_of_all_rows(settings: dict[str, str]) -> None:
    files = sorted(Path(settings["DATA"]).glob("*.npy"))
    rows = torch.cat([torch.from_numpy(np.load(file)) for file in files])
    expected, found = (GaussianLikelihood(3, dtype=torch.float64) for _ in range(2))
    fit(expected, rows)
    found.load_state_dict(torch.load(settings["OUT"], weights_only=True))
    torch.testing.assert_close(found.loc, expected.loc, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(
        found.covariance_matrix, expected.covariance_matrix, rtol=1e-12, atol=1e-12
    )


def test_the_same_line_on_two_hosts_fits_all_shards(shards):
    """Both hosts are this one, where they differ by nothing that the script looks at."""
    shards |= {"FIRST": "127.0.0.1", "PORT": str(free_port()), "LOCAL_ADDRESS": "127.0.0.1"}
    shards |= {"RANKS_PER_HOST": "1", "INTERFACE": "lo"}
    command = [BASH, ROOT / "docs" / "jobs" / "two_hosts.sh"]
    with launch(command, **shards) as one, launch(command, **shards) as other:
        for host in (one, other):
            said = host.ended()
            assert said.returncode == 0, said.stderr
    is_the_fit_of_all_rows(shards)
    report = Path(f"{shards['OUT']}.md").read_text(encoding="utf-8")
    assert "| ranks | 2 |" in report


@pytest.mark.parametrize("rank", [0, 1])
def test_two_hosts_begin_again_when_a_rank_is_killed(rank, shards, tmp_path):
    """One torchrun on each host: they have to agree on a new place where the ranks meet."""
    log = tmp_path / "log"
    deaths = [Death(rank, BEFORE_READING, str(tmp_path / "token"), 2 - rank)]  # 0 looks first
    plan = Plan(shards["DATA"], shards["OUT"], str(log), deaths).write(tmp_path / "plan.json")
    (tmp_path / "sitecustomize.py").write_text(WATCHED, encoding="utf-8")
    shards |= {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}", "PLAN_OF_DEATHS": str(plan)}
    shards |= {"FIRST": "127.0.0.1", "PORT": str(free_port()), "LOCAL_ADDRESS": "127.0.0.1"}
    shards |= {"RANKS_PER_HOST": "1", "INTERFACE": "lo"}
    command = [BASH, ROOT / "docs" / "jobs" / "two_hosts.sh"]
    with launch(command, **shards) as one, launch(command, **shards) as other:
        for host in (one, other):
            said = host.ended()
            assert said.returncode == 0, said.stderr
    lines = log.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if " dies " in line] == [f"{rank} 0 dies {BEFORE_READING}"]
    is_the_fit_of_all_rows(shards)


def test_the_batch_script_of_slurm_fits_all_shards_where_srun_runs_here(shards):
    shards |= {"SLURM_JOB_ID": str(free_port()), "SLURM_JOB_NODELIST": "127.0.0.1"}
    shards |= {"SLURM_JOB_NUM_NODES": "1", "SLURM_CPUS_PER_TASK": "2"}
    with launch([BASH, ROOT / "docs" / "jobs" / "slurm.sh"], **shards) as job:
        said = job.ended()
    assert said.returncode == 0, said.stderr
    is_the_fit_of_all_rows(shards)
