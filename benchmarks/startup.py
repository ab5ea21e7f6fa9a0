"""What a reader waits for: imports, first uses, the first figure, and whole notebooks."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.report import Row, Settings, rounded

ROOT = Path(__file__).parents[1]
HEAVY = ("pandas", "seaborn", "sklearn", "matplotlib", "scipy", "IPython", "tqdm")
TORCH = "import torch"
# Each is timed in a process of its own, after the lines before it.
WAITS = {
    "import torch": ("", TORCH),
    "import helpers, beyond torch": (TORCH, "import helpers"),
    "import matplotlib.pyplot": ("", "import matplotlib.pyplot"),
    "first figure, from nothing": (
        "",
        "import torch, helpers; helpers.use_style(); import matplotlib.pyplot as plt; "
        "fig, ax = plt.subplots(); "
        "helpers.plot_ellipse(ax, torch.zeros(2), torch.eye(2), color='k'); "
        "fig.canvas.draw()",
    ),
    "first fit, gradient written out": (
        "import torch, helpers; x = torch.randn(99, 2)",
        "helpers.fit(helpers.GaussianLikelihood(2), x, progress=False)",
    ),
    "second fit": (
        "import torch, helpers; x = torch.randn(99, 2); "
        "helpers.fit(helpers.GaussianLikelihood(2), x, progress=False)",
        "helpers.fit(helpers.GaussianLikelihood(2), x, progress=False)",
    ),
    "first optimiser of torch.optim": (
        TORCH,
        "torch.optim.Adam([torch.zeros(2, requires_grad=True)])",
    ),
    "first MultivariateNormal.log_prob": (
        TORCH,
        "torch.distributions.MultivariateNormal(torch.zeros(2), torch.eye(2))"
        ".log_prob(torch.zeros(2))",
    ),
}
QUICK = ("import helpers, beyond torch", "first figure, from nothing")


def rows(settings: Settings) -> list[Row]:
    """Waits in turns, then what `import helpers` brings in, then each notebook."""
    taken: dict[str, list[float]] = {name: [] for name in WAITS}
    for _ in range(1 if settings.quick else 5):
        for name, (before, timed) in WAITS.items():
            if not settings.quick or name in QUICK:
                taken[name].append(seconds_of(before, timed))
    found = [_row("a new process", name, seconds) for name, seconds in taken.items() if seconds]
    found.append(
        {
            "table": "startup",
            "case": "import helpers",
            "contestant": "heavy modules",
            "modules": heavy_modules(),
        }
    )
    if not settings.quick:
        for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
            found.append(_row("a notebook from end to end", path.stem, [notebook_seconds(path)]))
    return found


def seconds_of(before: str, timed: str) -> float:
    """Seconds that a line takes in a new process, after other lines."""
    code = (
        f"import json, time\n{before}\nstart = time.perf_counter()\n{timed}\n"
        "print(json.dumps(time.perf_counter() - start))"
    )
    return json.loads(_run(code).splitlines()[-1])


def heavy_modules() -> list[str]:
    """Those of the heavy packages that `import helpers` brings in beyond `import torch`."""
    code = f"import sys, {{}}; print(*[m for m in {HEAVY!r} if m in sys.modules])"
    alone, with_helpers = (set(_run(code.format(name)).split()) for name in ("torch", "helpers"))
    return sorted(with_helpers - alone)


def notebook_seconds(path: Path) -> float:
    """Seconds to run a notebook in a kernel of its own; its figures go to a folder that is lost."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
    with tempfile.TemporaryDirectory() as folder:
        ours = {
            "COVARIANCE_FIGURES": folder,
            "COVARIANCE_PROGRESS": os.path.join(folder, "progress.json"),
            "OMP_NUM_THREADS": "1",
        }
        kept = {name: os.environ.get(name) for name in ours}
        os.environ.update(ours)
        try:
            start = time.perf_counter()
            client = NotebookClient(
                notebook, timeout=120, resources={"metadata": {"path": str(path.parent)}}
            )
            client.execute()
            return time.perf_counter() - start
        finally:
            for name, value in kept.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


def _run(code: str) -> str:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout


def _row(case: str, name: str, seconds: list[float]) -> Row:
    return {
        "table": "startup",
        "case": case,
        "contestant": name,
        "seconds": rounded(statistics.median(seconds)),
        "lower": rounded(min(seconds)),
        "upper": rounded(max(seconds)),
        "rounds": len(seconds),
        "error": None,
        "error_is": "",
        "note": "",
    }
