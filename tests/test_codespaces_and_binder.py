"""Binder finds environment.yml and the helpers; Codespaces opens JupyterLab at notebook 1."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jsonschema
import pytest

ROOT = Path(__file__).parents[1]
REPO2DOCKER = Path(sys.executable).with_name("jupyter-repo2docker")
PATIENCE = 60  # seconds; JupyterLab needs two on an idle machine

not_on_windows = pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")


# Binder ---------------------------------------------------------------------------------------


def dockerfile_for(folder: Path) -> str:
    """What repo2docker would build, and what it says of it; neither docker nor network is used."""
    command = [REPO2DOCKER, "--no-build", "--debug", "."]
    said = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return said.stderr + said.stdout


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with everything at the top of the checkout that could mean something to Binder."""
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, tmp_path)
        elif path.name in ("binder", ".binder"):
            shutil.copytree(path, tmp_path / path.name)
    return tmp_path


@not_on_windows
def test_binder_builds_from_environment_yml(checkout):
    said = dockerfile_for(checkout)
    (version,) = re.findall(r"^  - python=(\S+)", (ROOT / "environment.yml").read_text(), re.M)
    assert f"Building conda environment for python={version}" in said
    assert "Python version unspecified" not in said
    assert 'env update -p ${NB_PYTHON_PREFIX} --file "environment.yml"' in said
    # The helpers are installed from the checkout, so it has to be there before.
    copied = said.index("COPY --chown=0:0 src/ ${REPO_DIR}/")
    assert copied < said.index('--file "environment.yml"')


@not_on_windows
@pytest.mark.parametrize(
    ("name", "content"), [("Dockerfile", "FROM scratch"), ("binder/environment.yml", "name: other")]
)
def test_a_file_that_binder_prefers_would_be_noticed(checkout, name, content):
    (checkout / name).parent.mkdir(exist_ok=True)
    (checkout / name).write_text(content)
    assert '--file "environment.yml"' not in dockerfile_for(checkout)


@not_on_windows
def test_a_bound_on_python_would_be_noticed(checkout):
    environment = checkout / "environment.yml"
    text, n_changed = re.subn(r"python=\S+", "python>=3.11", environment.read_text())
    assert n_changed == 1
    environment.write_text(text)
    assert "Python version unspecified" in dockerfile_for(checkout)


# Codespaces -----------------------------------------------------------------------------------


def devcontainer() -> dict[str, Any]:
    """The configuration; its comments stand on lines of their own."""
    text = (ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8")
    return json.loads(re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE))


def complaints(configuration: dict[str, Any]) -> list[str]:
    schema = json.loads((ROOT / "tests/data/devcontainer.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft201909Validator.check_schema(schema)
    return [e.message for e in jsonschema.Draft201909Validator(schema).iter_errors(configuration)]


def test_the_devcontainer_is_valid():
    assert complaints(devcontainer()) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("postAttachComand", ["make"]),
        ("postAttachCommand", "make lab"),
        ("forwardPorts", ["a port"]),
        ("hostRequirements", {"memory": "4 gigabytes"}),
        ("otherPortsAttributes", {"onAutoForward": "never"}),
        ("image", 312),
    ],
)
def test_an_invalid_devcontainer_would_be_noticed(key, value):
    assert len(complaints({**devcontainer(), key: value})) == 1


def test_the_container_has_the_python_of_the_course_and_a_pytorch_for_cpus():
    configuration = devcontainer()
    (version,) = re.findall(r":([\d.]+)$", configuration["image"])
    (conda,) = re.findall(r"^  - python=(\S+)", (ROOT / "environment.yml").read_text(), re.M)
    assert version == conda
    wheels = configuration["containerEnv"]["PIP_EXTRA_INDEX_URL"]
    assert f"PIP_EXTRA_INDEX_URL={wheels}" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert wheels.endswith("/cpu")


def test_the_verbs_and_files_that_the_container_names_exist():
    configuration = devcontainer()
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for command in (configuration["onCreateCommand"], configuration["postAttachCommand"]):
        assert command[0] == "make"
        assert re.search(rf"^{command[1]}:", makefile, re.MULTILINE)
    for name in configuration["customizations"]["codespaces"]["openFiles"]:
        assert (ROOT / name).is_file()
    (port,) = configuration["forwardPorts"]
    assert f"PORT ?= {port}" in makefile
    assert list(configuration["portsAttributes"]) == [str(port)]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def recorder(folder: Path) -> tuple[Path, Path]:
    """A stand-in for the editor's helper that opens an address in your browser; its record."""
    record, program = folder / "opened", folder / "browser"
    program.write_text(f'#!/bin/sh\necho "$1" > "{record}.part"; mv "{record}.part" "{record}"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program, record


def jupyter_settings(folder: Path) -> dict[str, str]:
    """Settings of its own for JupyterLab; in a container of this kind one is not root."""
    (folder / "jupyter_server_config.json").write_text('{"ServerApp": {"allow_root": true}}')
    names = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    return {name: str(folder) for name in names}


@pytest.fixture(scope="module")
def opened(tmp_path_factory) -> Iterator[str]:
    """The address that the container's command opens in the browser, while it is served."""
    folder = tmp_path_factory.mktemp("codespace")
    program, record = recorder(folder)
    command = [
        *devcontainer()["postAttachCommand"],
        f"PORT={free_port()}",
        f"BIN={Path(sys.executable).parent}",
        "--old-file=.venv/.installed",  # what is installed here is what is tested
    ]
    environment = {**os.environ, **jupyter_settings(folder), "BROWSER": str(program)}
    with open(folder / "log", "w") as log:
        server = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True
        )
        try:
            deadline = time.monotonic() + PATIENCE
            while not record.exists():
                assert server.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < deadline, (folder / "log").read_text()
                time.sleep(0.05)
            yield record.read_text().strip()
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait(timeout=PATIENCE)


needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="no make on this machine")


@not_on_windows
@needs_make
def test_the_container_opens_jupyterlab_at_notebook_1(opened):
    address = urlsplit(opened)
    assert address.scheme == "http"
    assert address.path == "/lab/tree/notebooks/01_cholesky_theory.ipynb"
    with urllib.request.urlopen(opened, timeout=PATIENCE) as page:
        assert page.geturl() == opened  # and not the page that asks for a token
        assert b"jupyter-config-data" in page.read()


def answer(opened: str, origin: str, *, token: bool = True) -> Any:
    """What the server says to a page of another origin."""
    address = urlsplit(opened)
    query = f"?{address.query}" if token else ""
    url = f"{address.scheme}://{address.netloc}/api/contents/notebooks{query}"
    request = urllib.request.Request(url, headers={"Origin": origin})
    return urllib.request.urlopen(request, timeout=PATIENCE)


@not_on_windows
@needs_make
def test_the_forwarded_address_may_ask_and_others_may_not(opened):
    allowed = "Access-Control-Allow-Origin"
    mine = "https://happy-space-8888.app.github.dev"
    with answer(opened, mine) as said:
        assert said.headers[allowed] == mine
    for other in ("https://example.com", f"{mine}.example.com", "http://a-8888.app.github.dev"):
        with answer(opened, other) as said:
            assert said.headers[allowed] is None


@not_on_windows
@needs_make
def test_without_its_token_nobody_gets_in(opened):
    with pytest.raises(urllib.error.HTTPError) as refused:
        answer(opened, "https://happy-space-8888.app.github.dev", token=False)
    assert refused.value.code == 403
