"""The job files in docs/jobs start what their page says, with options that exist."""

from __future__ import annotations

import argparse
import ast
import mmap
import os
import re
import shutil
import stat
import subprocess
import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.elastic.rendezvous
import yaml
from torch.distributed.elastic.rendezvous.utils import _parse_rendezvous_config
from torch.distributed.run import get_args_parser

from helpers.distributed.__main__ import make_parser
from helpers.distributed.report import report_of

ROOT = Path(__file__).parents[1]
JOBS = ROOT / "docs" / "jobs"
PAGE = (ROOT / "docs" / "scaling_out.md").read_text(encoding="utf-8")
BASH = shutil.which("bash")
SCRIPTS = sorted(path.name for path in JOBS.glob("*.sh"))
# Options of sbatch, from its manual, with what may stand after them.
COUNT = r"[1-9]\d*"
SBATCH = {
    "account": r"[\w-]+",
    "constraint": r"[\w&|*-]+",
    "cpus-per-task": COUNT,
    "error": r"[\w%./-]+",
    "exclusive": r"(user|mcs|topo)?",
    "export": r"[\w,=./-]+",
    "gpus-per-node": rf"(\w+:)?{COUNT}",
    "job-name": r"[\w-]+",
    "mail-type": r"[A-Z_,0-9]+",
    "mem": rf"{COUNT}[KMGT]?",
    "mem-per-cpu": rf"{COUNT}[KMGT]?",
    "nodes": rf"{COUNT}(-{COUNT})?",
    "ntasks": COUNT,
    "ntasks-per-node": COUNT,
    "open-mode": r"append|truncate",
    "output": r"[\w%./-]+",
    "partition": r"[\w,-]+",
    "qos": r"[\w-]+",
    "requeue": r"",
    "signal": rf"(R?B?:)?\w+(@{COUNT})?",
    "time": r"(\d+-)?\d+(:\d\d){0,2}",
}
# Says what it was called with, one argument a line, and runs what srun would run.
TORCHRUN = """#!/bin/bash
printf '%s\\n' "$@"
printf '%s\\n' "OMP_NUM_THREADS=$OMP_NUM_THREADS" "GLOO_SOCKET_IFNAME=${GLOO_SOCKET_IFNAME:-}" >&2
printf '%s\\n' "TORCH_DISABLE_SHARE_RDZV_TCP_STORE=$TORCH_DISABLE_SHARE_RDZV_TCP_STORE" >&2
"""
SRUN = """#!/bin/bash
[[ "$1 $2" == "--kill-on-bad-exit=1 --cpus-per-task=4" ]] || exit 9
shift 2
exec "$@"
"""
NEW_STORE = "TORCH_DISABLE_SHARE_RDZV_TCP_STORE"
STUBS = {
    "torchrun": TORCHRUN,
    "srun": SRUN,
    "scontrol": '#!/bin/bash\n[[ "$*" == "show hostnames node[07-08]" ]] || exit 9\n'
    "printf 'node07\\nnode08\\n'\n",
}
SLURM = {
    "SLURM_JOB_ID": "123456",
    "SLURM_JOB_NODELIST": "node[07-08]",
    "SLURM_JOB_NUM_NODES": "2",
    "SLURM_CPUS_PER_TASK": "4",
}


def started(script: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a job file where torchrun and SLURM only say what they were asked for."""
    for name, text in STUBS.items():
        stub = folder / name
        stub.write_text(text, encoding="utf-8")
        stub.chmod(stub.stat().st_mode | stat.S_IXUSR)
    path = f"{folder}{os.pathsep}/usr/bin{os.pathsep}/bin"
    return subprocess.run(
        [BASH, JOBS / script],
        env={"PATH": path, **environment},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def parsed(arguments: list[str]) -> tuple[argparse.Namespace, argparse.Namespace]:
    """What torchrun makes of its arguments, and the course of what is left to it."""
    launcher = get_args_parser().parse_args(arguments)
    assert launcher.module
    assert launcher.training_script == "helpers.distributed"
    return launcher, make_parser().parse_args(launcher.training_script_args)


def waits_for_the_endpoint(launcher: argparse.Namespace) -> bool:
    """Whether it waits as long for the endpoint as for those who meet there: ten minutes."""
    return _parse_rendezvous_config(launcher.rdzv_conf) == {"read_timeout": "600"}


def manifest() -> tuple[dict[str, Any], dict[str, Any]]:
    """The service and the job."""
    service, job = yaml.safe_load_all((JOBS / "kubernetes.yaml").read_text(encoding="utf-8"))
    return service, job


# Shell scripts ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCRIPTS)
def test_bash_can_read_the_script(name):
    said = subprocess.run(
        [BASH, "-n", JOBS / name], capture_output=True, text=True, check=False, timeout=60
    )
    assert (said.returncode, said.stderr) == (0, "")
    text = (JOBS / name).read_text(encoding="utf-8")
    assert text.startswith("#!/bin/bash\n")
    assert "\nset -euo pipefail\n" in text


def sbatch_problems(text: str) -> list[str]:
    """What sbatch would not take, or not see."""
    lines = text.splitlines()
    places = [i for i, line in enumerate(lines) if line.startswith("#SBATCH")]
    first_command = next(i for i, line in enumerate(lines) if line and not line.startswith("#"))
    problems = [f"{lines[i]}: after the first command" for i in places if i > first_command]
    for i in places:
        found = re.fullmatch(r"#SBATCH --([a-z-]+)(?:=(\S+))?", lines[i])
        if not found or found[1] not in SBATCH:
            problems.append(f"{lines[i]}: no such option")
        elif not re.fullmatch(SBATCH[found[1]], found[2] or ""):
            problems.append(f"{lines[i]}: no such value")
    return problems


def test_slurm_knows_every_option_of_the_batch_script():
    text = (JOBS / "slurm.sh").read_text(encoding="utf-8")
    assert text.count("#SBATCH") >= 5
    assert sbatch_problems(text) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("--nodes=2", "--node=2"),
        ("--mem=4G", "--mem=4 G"),
        ("--time=01:00:00", "--time=an-hour"),
        ("--requeue", "--requeue=yes"),
        ("set -euo pipefail", "set -euo pipefail\n#SBATCH --nodes=4"),
    ],
)
def test_a_wrong_option_of_sbatch_would_be_seen(old, new):
    text = (JOBS / "slurm.sh").read_text(encoding="utf-8")
    assert old in text
    assert len(sbatch_problems(text.replace(old, new, 1))) == 1


def test_the_slurm_script_starts_torchrun_on_the_nodes_it_was_given(tmp_path):
    said = started("slurm.sh", tmp_path, **SLURM, DATA="/a b/*.npy", OUT="/c/g.pt")
    assert said.returncode == 0, said.stderr
    launcher, course = parsed(said.stdout.splitlines())
    assert launcher.nnodes == "2"
    assert launcher.nproc_per_node == "4"
    assert int(launcher.max_restarts) > 0
    assert launcher.rdzv_backend == "c10d"
    assert launcher.rdzv_endpoint == "node07:23456"
    assert launcher.rdzv_id == "123456"
    assert [str(each) for each in course.data] == ["/a b/*.npy"]  # the course finds the files
    assert str(course.out) == "/c/g.pt"
    assert "OMP_NUM_THREADS=1" in said.stderr
    assert f"{NEW_STORE}=1" in said.stderr
    assert waits_for_the_endpoint(launcher)


def test_two_hosts_are_started_by_the_same_line(tmp_path):
    said = started("two_hosts.sh", tmp_path, FIRST="192.168.1.10", INTERFACE="eth1")
    assert said.returncode == 0, said.stderr
    launcher, course = parsed(said.stdout.splitlines())
    assert launcher.rdzv_endpoint == "192.168.1.10:29400"
    assert launcher.nnodes == "2"
    assert launcher.local_addr is None
    assert course.timeout == 600
    assert "GLOO_SOCKET_IFNAME=eth1" in said.stderr
    assert f"{NEW_STORE}=1" in said.stderr
    assert waits_for_the_endpoint(launcher)
    said = started("two_hosts.sh", tmp_path, FIRST="a", LOCAL_ADDRESS="192.168.1.11")
    assert parsed(said.stdout.splitlines())[0].local_addr == "192.168.1.11"
    assert "GLOO_SOCKET_IFNAME=\n" in said.stderr


def test_two_hosts_need_to_know_the_first(tmp_path):
    said = started("two_hosts.sh", tmp_path)
    assert said.returncode != 0
    assert "FIRST: the address of the first host" in said.stderr
    assert said.stdout == ""


# Kubernetes ---------------------------------------------------------------------------------------


def test_the_manifest_is_a_job_of_pods_that_find_each_other():
    service, job = manifest()
    assert (service["apiVersion"], service["kind"]) == ("v1", "Service")
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
    assert service["spec"]["clusterIP"] == "None"  # the word, which makes it headless
    assert service["spec"]["publishNotReadyAddresses"] is True
    assert service["spec"]["selector"] == {"job-name": job["metadata"]["name"]}
    assert job["spec"]["completionMode"] == "Indexed"  # which gives pods their names
    assert job["spec"]["completions"] == job["spec"]["parallelism"]
    pod = job["spec"]["template"]["spec"]
    assert pod["subdomain"] == service["metadata"]["name"]
    assert pod["restartPolicy"] in ("OnFailure", "Never")  # what a Job allows
    for named in (service, job):
        assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", named["metadata"]["name"])


def test_the_manifest_has_no_field_that_kubernetes_does_not_know():
    service, job = manifest()
    assert set(service) == {"apiVersion", "kind", "metadata", "spec"} == set(job)
    assert set(service["spec"]) <= {"clusterIP", "publishNotReadyAddresses", "selector", "ports"}
    assert all(set(port) <= {"name", "port", "targetPort"} for port in service["spec"]["ports"])
    known = {"completionMode", "completions", "parallelism", "backoffLimit", "template"}
    assert set(job["spec"]) <= known
    pod = job["spec"]["template"]["spec"]
    assert set(pod) <= {"subdomain", "restartPolicy", "containers", "volumes"}
    (container,) = pod["containers"]
    known = {"name", "image", "command", "args", "env", "resources", "volumeMounts"}
    assert set(container) <= known
    for kind, amounts in container["resources"].items():
        assert kind in ("requests", "limits")
        assert all(re.fullmatch(r"\d+(m|[KMGT]i?)?", amount) for amount in amounts.values())
    volumes = {volume["name"] for volume in pod["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes
    for variable in container["env"]:
        value = variable.get("value", variable.get("valueFrom"))
        assert isinstance(value, (str, dict)), variable  # a number would be refused


def test_the_pods_run_torchrun_with_the_first_of_them():
    service, job = manifest()
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["torchrun"]
    assert all(isinstance(argument, str) for argument in container["args"])
    launcher, course = parsed(container["args"])
    host, port = launcher.rdzv_endpoint.split(":")
    assert host == f"{job['metadata']['name']}-0.{service['metadata']['name']}"
    assert int(port) in [each["port"] for each in service["spec"]["ports"]]
    assert int(launcher.nnodes) == job["spec"]["parallelism"]
    assert launcher.nproc_per_node == container["resources"]["requests"]["cpu"]
    assert waits_for_the_endpoint(launcher)
    assert {"name": NEW_STORE, "value": "1"} in container["env"]
    defined = {f"$({variable['name']})" for variable in container["env"]}
    used = {name for argument in container["args"] for name in re.findall(r"\$\(\w+\)", argument)}
    assert used <= defined
    mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
    for path in (*course.data, course.out):
        assert any(str(path).startswith(f"{mount}/") for mount in mounts)


# The page -----------------------------------------------------------------------------------------


HEADINGS = {"two_hosts.sh": "Two hosts", "slurm.sh": "SLURM", "kubernetes.yaml": "Kubernetes"}


def blocks(heading: str) -> list[str]:
    """The blocks of code under a heading of the page."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"^```\w+\n(.*?)^```", section, re.MULTILINE | re.DOTALL)


def starts(block: str, name: str) -> bool:
    """Whether this is the line that starts a job file, not a part of it."""
    return f"docs/jobs/{name}" in block


@pytest.mark.parametrize("name", HEADINGS)
def test_the_page_shows_parts_of_the_job_files_as_they_are(name):
    assert sorted(HEADINGS) == sorted(path.name for path in JOBS.iterdir())
    parts = [block for block in blocks(HEADINGS[name]) if not starts(block, name)]
    text = (JOBS / name).read_text(encoding="utf-8")
    assert len(parts) == 1
    assert "torchrun" in parts[0]
    depth = {len(line) - len(line.lstrip()) for line in text.splitlines()}
    shown = [textwrap.indent(parts[0], " " * spaces) for spaces in depth]
    assert any(f"\n{each}" in text for each in shown), parts[0]
    assert f"](jobs/{name})" in PAGE


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_line_that_starts_a_script_is_on_the_page_and_gives_what_it_asks_for(name):
    text = (JOBS / name).read_text(encoding="utf-8")
    (line,) = [block for block in blocks(HEADINGS[name]) if starts(block, name)]
    assert set(re.findall(r"\b([A-Z]+)=", line)) - {"ALL"} <= set(re.findall(r"\b[A-Z]+\b", text))
    assert f"docs/jobs/{name}" in text.partition("set -euo")[0]
    assert set(re.findall(r"\{([A-Z]+):\?", text)) <= set(re.findall(r"\b([A-Z]+)=", line))


def first_column(heading: str) -> list[str]:
    """Messages in the table after a line of the page."""
    rows = PAGE.partition(heading)[2].strip().partition("\n\n")[0].splitlines()[2:]
    return [message for row in rows for message in re.findall(r"`([^`]+)`", row.split("|")[1])]


def words_of(folder: Path) -> str:
    """All texts in the modules of a folder, with a line for what is put into them."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in folder.glob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    return "\n".join(node.value for node in nodes if isinstance(node.value, str))


def test_the_messages_of_the_page_are_those_of_the_course():
    said = words_of(ROOT / "helpers" / "distributed")
    messages = first_column("at the end of the line of the progress bar.")
    assert len(messages) >= 10
    for message in messages:
        for part in re.split(r"\.\.\.|\bnan\b|\brow\b", message):
            assert part.strip() in said, message


def test_the_messages_of_the_page_are_those_of_torch():
    (library,) = (Path(torch.__file__).parent / "lib").glob("libtorch_cpu.*")
    messages = first_column("before the course has begun:")
    assert len(messages) >= 5
    with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as said:
        for message in messages:
            known = hasattr(torch.distributed.elastic.rendezvous, message)
            assert known or said.find(message.encode()) >= 0, message


def test_the_page_names_the_files_that_are_written():
    out = Path("gaussian.pt")
    assert f"`{report_of(out).name}`" in PAGE
    parser = make_parser()
    assert f"`{out}.parts/`" in PAGE
    assert "FILE.parts" in parser.format_help()


def commands() -> list[str]:
    """Lines of the page that start the course by torchrun or alone."""
    shown = re.findall(r"^```bash\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    # Parts of job files have variables, which the tests above give values.
    lines = "".join(block for block in shown if '"$' not in block).replace("\\\n", " ")
    return [line for line in lines.splitlines() if "-m helpers.distributed" in line]


def test_the_commands_of_the_page_have_options_that_exist():
    assert len(commands()) >= 2
    for command in commands():
        words = [word for word in command.split() if not re.fullmatch(r"[A-Z_]+=\S*", word)]
        if words[0] == "torchrun":
            parsed(words[1:])
        else:
            assert words[:3] == ["python", "-m", "helpers.distributed"], command
            make_parser().parse_args(words[3:])
