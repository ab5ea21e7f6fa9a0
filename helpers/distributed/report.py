"""The page beside a model: what it was fitted to, how well, how long it took, how to load it."""

from __future__ import annotations

import errno
import hashlib
import io
import re
from pathlib import Path
from typing import Any

import torch

from helpers.checkpoints import require_writable, write_files
from helpers.distributed.fitting import Plan, ShardFit
from helpers.distributed.kept import Kept

MOST_COLUMNS = 40  # shown, so that a page is a page
SUFFIX = ".md"
VERSION = 1  # of what a job is known by


def report_of(out: Path) -> Path:
    """Where the report of a model stands: beside it."""
    return out.with_name(out.name + SUFFIX)


def job_of(plan: Plan, dtype: torch.dtype) -> str:
    """What tells this job from others: its shards as they are now, and the kind of model."""
    return plan.identity(dtype=str(dtype), version=VERSION)


def is_finished(out: Path, job: str) -> bool:
    """Whether the model in `out` is the result of this job, and whole."""
    return _finished_job(out) == job


def _finished_job(out: Path) -> str | None:
    """The job whose whole result is in `out`; None if that is something else."""
    if not out.is_file() or not report_of(out).is_file():
        return None
    said = report_of(out).read_text(encoding="utf-8", errors="replace")
    stated = dict(re.findall(r"^- (job|model): `([0-9a-f]{64})`$", said, re.MULTILINE))
    return stated.get("job") if stated.get("model") == _digest(out.read_bytes()) else None


def require_free(out: Path, plan: Plan, kept: Path, overwrite: bool) -> None:
    """Raise FileExistsError if `out` is something else, OSError if it cannot be written."""
    if str(out) in {shard.path for shard in plan.shards}:
        words = "out: expected a file that is none of the shards, got one of them"
        raise FileExistsError(errno.EEXIST, words, str(out))
    if out.exists() and not overwrite:
        raise FileExistsError(errno.EEXIST, _whose(out, plan, kept), str(out))
    _make_folder(out.parent)
    require_writable(out, "out")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        words = f"out: the folder of the result cannot be made, {error.strerror}"
        raise OSError(error.errno, words, str(folder)) from error


def _whose(out: Path, plan: Plan, kept: Path) -> str:
    """What `out` is, where it is not the result of this job."""
    if _finished_job(out) is None:
        return (
            "out: expected a new file or the result of this job, got another file; name another "
            "one or say --overwrite"
        )
    return (
        "out: expected a new file or the result of this job, got that of another: "
        f"{_what_differs(plan, kept)}; --overwrite fits again"
    )


def _what_differs(plan: Plan, folder: Path) -> str:
    """What makes a job another than the finished one, as far as its kept statistics tell."""
    if folder.is_dir():
        kept = Kept(folder)
        for shard in plan.shards:
            if not kept.knows(shard):
                return f"{shard.path} is new"
            if kept.load(shard) is None:
                return f"{shard.path} has changed since"
    return "it had other shards, or another --dtype"


def write_result(out: Path, result: ShardFit, plan: Plan, job: str) -> None:
    """Write the model and its report; at no moment is a model beside a report of another."""
    content = io.BytesIO()
    torch.save(result.model.state_dict(), content)
    model = content.getvalue()
    text = report(result, plan, out.name) + _stamp(job, model)
    # The report first: a model that is there has its report, or is not ours.
    write_files({report_of(out): text.encode(), out: model}, "out")


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _stamp(job: str, model: bytes) -> str:
    """What `is_finished` reads."""
    return (
        "\n## What this belongs to\n\n"
        "A second start with the same shards finds these two lines and does nothing.\n\n"
        f"- job: `{job}`\n- model: `{_digest(model)}`\n"
    )


def report(result: ShardFit, plan: Plan, name: str) -> str:
    """The page, in markdown, without what tells it from others."""
    rows, columns = int(result.statistics.count), plan.dim
    parts = [
        f"# A Gaussian fitted to {rows:,} rows of {columns} columns\n",
        _sentence(str(result.history.verdict)),
        _table(["what", "how much"], _facts(result, plan)),
        "## Mean and standard deviation\n",
        _table(["column", "loc", "standard deviation"], _columns(result)),
        _rest(columns),
        "## Load it\n",
        _loading(name),
    ]
    return "\n".join(part for part in parts if part)


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}.\n"


def _facts(result: ShardFit, plan: Plan) -> list[tuple[str, str]]:
    shards, seconds = plan.shards, result.seconds
    n_empty = sum(not shard.rows for shard in shards)
    model, history = result.model, result.history
    return [
        ("rows", f"{int(result.statistics.count):,}"),
        ("columns", f"{plan.dim}"),
        ("shards", f"{len(shards):,}, {n_empty:,} of them empty"),
        ("taken from an earlier run", f"{result.n_kept:,} shards"),
        ("ranks", f"{result.n_ranks}"),
        ("dtype of the shards", f"{shards[0].dtype}, summed up in float64"),
        ("dtype of the model", f"{model.loc.dtype}".removeprefix("torch.")),
        ("fit", str(history)),
        ("condition number", _conditions(result)),
        ("seconds to read", f"{seconds['slowest']:.3g} on the slowest rank"),
        ("seconds to reduce", f"{seconds['reducing']:.3g}"),
        ("seconds to fit", f"{seconds['fitting']:.3g}"),
    ]


def _conditions(result: ShardFit) -> str:
    """How far the covariance and the correlations are from one that is not definite."""
    covariance = result.statistics.covariance_matrix()
    scale = covariance.diagonal().sqrt()
    found = [torch.linalg.cond(each) for each in (covariance, covariance / scale / scale[:, None])]
    return f"{found[0]:.3g} of the covariance, {found[1]:.3g} of the correlations"


def _columns(result: ShardFit) -> list[tuple[Any, ...]]:
    """Mean and standard deviation, column by column, as the model has them."""
    loc = result.model.loc.detach()
    scale = result.model.covariance_matrix.detach().diagonal().sqrt()
    pairs = zip(loc.tolist(), scale.tolist(), strict=True)
    found = [(i, f"{mean:.8g}", f"{sd:.6g}") for i, (mean, sd) in enumerate(pairs)]
    return found[:MOST_COLUMNS]


def _rest(columns: int) -> str:
    more = columns - MOST_COLUMNS
    return f"and {more} more columns, which the model has.\n" if more > 0 else ""


def _loading(name: str) -> str:
    return f"""```python
import torch
from helpers import GaussianLikelihood

state = torch.load({name!r}, weights_only=True)
model = GaussianLikelihood(len(state["loc"]), dtype=state["loc"].dtype)
model.load_state_dict(state)
```
"""


def _table(head: list[str], rows: list[tuple[Any, ...]]) -> str:
    """A table of markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines) + "\n"
