"""How many steps each map of `SCALE_MAPS` takes, on data in two kinds of units.

`python -m helpers.parametrization_race --out FILE` runs all of it in a few minutes and writes a
record, which `load_race` reads. The record of the course is
``helpers/records/parametrizations.json``.

Every run starts at the sample mean, where the mean then stays, and at the identity as covariance;
the spectral map at a diagonal factor with entries from 0.8 to 1.2. On standardised columns the
identity is a stationary point of that map: no gradient turns its axes, so that Adam would leave it
by rounding alone, and L-BFGS not at all. A run ends when the gap is 1 % of the sampling error p/2N.
"Adam" is torch.optim.Adam with the constant rate 0.02; "L-BFGS" is that of `fit`, and its
evaluations of the loss are counted, not its steps. All of it uses all the data at once, in float64.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from helpers.datasets import load_dataset
from helpers.maps import SCALE_MAPS
from helpers.models import GaussianLikelihood
from helpers.scaling import as_text
from helpers.training import fit
from helpers.uncertainty import expected_gap

RECORD = Path(__file__).with_name("records") / "parametrizations.json"
SHARE = 0.01  # of p/2N: where a run ends
LEARNING_RATE = 0.02
LIMITS = {"Adam": 30_000, "L-BFGS": 5_000}  # steps
DATA = ("iris", "wine")
UNITS = ("standardised", "raw")


@dataclass(frozen=True)
class Run:
    """One run of a race.

    Attributes
    ----------
    scale_map : str
        A name of `SCALE_MAPS`.
    data : {"iris", "wine"}
    units : {"standardised", "raw"}
    optimizer : {"Adam", "L-BFGS"}
    evaluations : int
        Of the loss and its gradient; for Adam the same as steps.
    gap : float
        At the end, in units of p/2N.
    """

    scale_map: str
    data: str
    units: str
    optimizer: str
    evaluations: int
    gap: float

    @property
    def arrived(self) -> bool:
        """Whether the gap came down to 1 % of the sampling error."""
        return self.gap <= SHARE


def load_race(path: Path = RECORD) -> list[Run]:
    """Read the runs of a record.

    Parameters
    ----------
    path : Path
        By default the record that comes with the course.

    Returns
    -------
    list of Run
    """
    return [Run(*row) for row in json.loads(path.read_text(encoding="utf-8"))["rows"]]


def load_columns(data: str, units: str) -> Tensor:
    """Rows of a data set in float64, (n, d), as they come or each column with variance one."""
    x = load_dataset(data).data.double()
    return x if units == "raw" else (x - x.mean(dim=0)) / x.std(dim=0, correction=0)


def first_factor(scale_map: str, dim: int) -> Tensor:
    """Where a run starts, (d, d): the identity; for the spectral map, unequal variances."""
    scales = torch.ones(dim, dtype=torch.float64, device="cpu")
    if scale_map == "spectral":
        scales = torch.linspace(0.8, 1.2, dim, dtype=torch.float64, device="cpu")
    return scales.diag()


def run_once(
    scale_map: str, data: str, units: str, optimizer: str, *, limit: int | None = None
) -> Run:
    """One run: from the sample mean and `first_factor` to 1 % of p/2N.

    Parameters
    ----------
    scale_map : str
        A name of `SCALE_MAPS`.
    data : {"iris", "wine"}
    units : {"standardised", "raw"}
    optimizer : {"Adam", "L-BFGS"}
    limit : int, optional
        Steps after which it ends in any case; by default 30,000 and 5,000.

    Returns
    -------
    Run
    """
    x = load_columns(data, units)
    n, dim = x.shape
    error = expected_gap(dim, n)
    model = GaussianLikelihood(dim, parametrization=SCALE_MAPS[scale_map](), dtype=torch.float64)
    model.assign(x.mean(dim=0), first_factor(scale_map, dim))
    calls: list[int] = []
    hook = model.register_forward_hook(lambda *_: calls.append(1))
    history = fit(
        model,
        x,
        optimizer=_OPTIMIZERS[optimizer],
        tol=SHARE * error,
        max_steps=LIMITS[optimizer] if limit is None else limit,
        progress=False,
    )
    hook.remove()
    return Run(scale_map, data, units, optimizer, len(calls), history.gap[-1].item() / error)


def _adam(parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, lr=LEARNING_RATE, fused=True)


_OPTIMIZERS: dict[str, str | Callable[..., torch.optim.Optimizer]] = {
    "Adam": _adam,
    "L-BFGS": "lbfgs",
}


def run_all() -> Iterator[Run]:
    """Every map, on both data sets, in both kinds of units, by both optimisers."""
    for optimizer in LIMITS:
        for units in UNITS:
            for data in DATA:
                for name in SCALE_MAPS:
                    yield run_once(name, data, units, optimizer)


def make_record(runs: Iterable[Run]) -> dict[str, Any]:
    """Runs beside what they were made with."""
    rows = [{**asdict(run), "gap": float(f"{run.gap:.3g}")} for run in runs]
    return {
        "command": "python -m helpers.parametrization_race --out FILE",
        "torch": torch.__version__,
        "python": platform.python_version(),
        "start": "the sample mean, and the identity as factor; for the spectral map a diagonal "
        "factor from 0.8 to 1.2",
        "end": f"a gap of {SHARE} p/2N, or {LIMITS['Adam']} and {LIMITS['L-BFGS']} steps",
        "columns": list(Run.__dataclass_fields__),
        "rows": [list(row.values()) for row in rows],
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the whole race, and write the record."""
    parser = argparse.ArgumentParser(
        prog="python -m helpers.parametrization_race", description=main.__doc__
    )
    parser.add_argument("--out", required=True, type=Path, help="file to write")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    runs = []
    for run in run_all():
        print(run, flush=True)
        runs.append(run)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(as_text(make_record(runs)), encoding="utf-8")


if __name__ == "__main__":
    main()
