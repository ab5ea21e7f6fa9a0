"""Two hosts: two network namespaces joined by a cable, with a name of its own each."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from truth import apart, one_process

from reliability import launches, sharded

# What is to run on each host is a file with a script. `one` and `two` are the ends of the cable.
TWO_HOSTS = """
set -e
hosts=$1 first=$2 second=$3
mount --bind "$hosts" /etc/hosts
hostname first
ip link set lo up
unshare --net --uts sleep 600 & other=$!
trap 'kill $other 2> /dev/null; wait' EXIT
while [ "$(readlink /proc/$other/ns/net)" = "$(readlink /proc/self/ns/net)" ]; do sleep 0.01; done
ip link add one type veth peer name two
ip link set two netns $other
ip address add 10.77.0.1/24 dev one
ip link set one up
there() { nsenter --target $other --net --uts "$@"; }
there hostname second
there ip link set lo up
there ip address add 10.77.0.2/24 dev two
there ip link set two up
[ -n "$first" ] || exit 0
there sh "$second" & peer=$!
sh "$first" || mine=$?
wait $peer || theirs=$?
exit $((${mine:-0} + 10 * ${theirs:-0}))
"""
NAMES = "127.0.0.1 localhost\n10.77.0.1 first\n10.77.0.2 second\n"


def hosts(names: Path, *programs: Path | str) -> list[str]:
    """The command that runs a program on each of two hosts; a skip where that cannot be."""
    for name in ("unshare", "nsenter", "ip"):
        if shutil.which(name) is None:
            pytest.skip(f"this machine has no program {name!r}")
    command = ["unshare", "--net", "--uts", "--mount", "sh", "-c", TWO_HOSTS, "hosts", str(names)]
    tried = subprocess.run([*command, "", ""], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        pytest.skip(f"this machine lets us make no network of our own: {tried.stderr.strip()}")
    return [*command, *map(str, programs)]


def script(folder: Path, number: int, rendezvous: str, *rest: str | Path) -> Path:
    """What is run on a host: torchrun with two ranks in all, as the course tells it."""
    how = f"--nnodes 2 --nproc-per-node 1 --rdzv-backend c10d --rdzv-id job {rendezvous}"
    words = " ".join(f"'{word}'" for word in rest)
    path = folder / f"host-{number}"
    path.write_text(f"exec '{sys.executable}' -m torch.distributed.run {how} {words}\n")
    return path


@pytest.mark.parametrize("named", [True, False], ids=["names", "addresses"])
def test_two_hosts_fit_what_one_process_fits(named, tmp_path):
    shards = sharded.make_shards(tmp_path / "data")
    rest = ["-m", "helpers.distributed", tmp_path / "data", "--out", tmp_path / "model.pt"]
    names = tmp_path / "hosts"
    names.write_text(NAMES if named else "127.0.0.1 localhost\n")
    if named:
        both = [script(tmp_path, i, "--rdzv-endpoint first:29500", *rest) for i in (0, 1)]
    else:
        # Where nothing tells a host its own address, it has to be told.
        where = "--rdzv-endpoint 10.77.0.1:29500 --rdzv-conf is_host={} --local-addr 10.77.0.{}"
        both = [script(tmp_path, i, where.format(1 - i, 1 + i), *rest) for i in (0, 1)]
        for path, interface in zip(both, ("one", "two"), strict=True):
            path.write_text(f"export GLOO_SOCKET_IFNAME={interface}\n{path.read_text()}")
    with launches.launch(hosts(names, *both)) as launch:
        done = launch.ended()
    assert done.returncode == 0, done.stderr[-3000:]
    assert "| ranks | 2 |" in (tmp_path / "model.pt.md").read_text()
    data = np.concatenate([np.load(path) for path in shards])
    assert apart(torch.load(tmp_path / "model.pt", weights_only=True), one_process(data)) <= 1e-12
