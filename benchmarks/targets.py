"""What is to be reached, and whether a run reached it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from benchmarks.report import Row, rounded

AUTOGRAD = "helpers, autograd"
WRITTEN_OUT = "helpers, gradient written out"
WHOLE_FIT = "helpers, whole fit"
SKLEARN = "scikit-learn, EmpiricalCovariance"
IN_FLOAT64 = ("by two passes", "by one graph", "by da.cov")  # ways of dask, to equal accuracy
LIBRARIES = ("scikit-learn", "scipy", "numpy", "GPyTorch", "Pyro", "JAX", "NumPyro", "dask")


class Target(NamedTuple):
    """A figure to be reached.

    Attributes
    ----------
    table, case : str
        Where it is measured.
    about : str
        What is compared.
    wanted : float
    measure : function
        From the rows of the case to the figure; None where a row is missing.
    at_most : bool
        The figure must not be larger, instead of not smaller.
    unit : str
    """

    table: str
    case: str
    about: str
    wanted: float
    measure: Callable[[Sequence[Row]], float | None]
    at_most: bool = False
    unit: str = "x"


def judge(rows: Sequence[Row]) -> list[Row]:
    """Each target with what was measured, and "reached", "not reached" or "not measured".

    Parameters
    ----------
    rows : sequence of Row
        Of a run.

    Returns
    -------
    list of Row
    """
    found = []
    for target in TARGETS:
        here = [
            row
            for row in rows
            if (row["table"], row["case"]) == (target.table, target.case) and "skipped" not in row
        ]
        measured = target.measure(here)
        found.append(
            {
                "table": target.table,
                "case": target.case,
                "about": target.about,
                "wanted": target.wanted,
                "at_most": target.at_most,
                "unit": target.unit,
                "measured": None if measured is None else rounded(measured),
                "verdict": _verdict(target, measured),
            }
        )
    return found


def faster(ours: str, *theirs: str, field: str = "seconds") -> Callable[..., float | None]:
    """How many times less time ours takes than the best of theirs.

    Parameters
    ----------
    ours : str
        A contestant.
    *theirs : str
        The beginnings of the names of contestants.
    field : str
        What is compared.

    Returns
    -------
    function
        From rows to the ratio, or None if one side is missing.
    """

    def measure(rows: Sequence[Row]) -> float | None:
        own = [row[field] for row in rows if row["contestant"] == ours]
        others = [row[field] for row in rows if row["contestant"].startswith(theirs)]
        return min(others) / own[0] if own and others else None

    return measure


def slower(ours: str, theirs: str) -> Callable[..., float | None]:
    """How many times the time of theirs ours takes."""
    ratio = faster(ours, theirs)

    def measure(rows: Sequence[Row]) -> float | None:
        times = ratio(rows)
        return None if times is None else 1 / times

    return measure


def value(contestant: str, field: str) -> Callable[[Sequence[Row]], Any]:
    """A field of one contestant."""

    def measure(rows: Sequence[Row]) -> Any:
        found = [row[field] for row in rows if row["contestant"] == contestant]
        return found[0] if found else None

    return measure


def _verdict(target: Target, measured: float | None) -> str:
    if measured is None:
        return "not measured"
    reached = measured <= target.wanted if target.at_most else measured >= target.wanted
    return "reached" if reached else "not reached"


def _one_fit() -> list[Target]:
    wanted = {
        "n=1000, d=2": (80, 500, 1.5),
        "n=10000, d=8": (200, 1500, 1.5),
        "n=100000, d=32": (500, 3000, 0.8),
    }
    found = []
    for case, (by_autograd, by_hand, sklearn) in wanted.items():
        for about, least, measure in (
            ("autograd against the textbook", by_autograd, faster(AUTOGRAD, "textbook")),
            ("written out against the textbook", by_hand, faster(WRITTEN_OUT, "textbook")),
            ("written out against scikit-learn", sklearn, faster(WRITTEN_OUT, SKLEARN)),
        ):
            found.append(Target("one_fit", case, about, least, measure))
        found.append(
            Target(
                "one_fit",
                case,
                "written out over the closed form",
                3,
                slower(WRITTEN_OUT, "closed form"),
                at_most=True,
            )
        )
    return found


def _conditioning() -> list[Target]:
    return [
        Target(
            "conditioning",
            f"condition 1e+0{power}",
            f"steps, {about}",
            20,
            value(name, "steps"),
            at_most=True,
            unit=" steps",
        )
        for power in (2, 4, 6, 8)
        for about, name in (("written out", WRITTEN_OUT), ("autograd", AUTOGRAD))
    ]


def _mini_batches() -> list[Target]:
    online = "helpers, online natural gradient"
    return [
        Target(
            "mini_batches",
            "to the textbook's floor",
            "online natural gradient against the textbook",
            200,
            faster(online, "textbook"),
        ),
        Target(
            "mini_batches",
            "a step of Adam",
            "same Adam, same schedule",
            2.2,
            faster("helpers, Adam", "textbook"),
        ),
    ]


def _many_fits() -> list[Target]:
    ours = "helpers, fit"
    found = []
    for case, textbook, sklearn in (
        ("B=10000, n=100, d=2", 50_000, 100),
        ("B=10000, n=200, d=8", 25_000, 30),
    ):
        for about, least, other in (
            ("against the textbook", textbook, "textbook"),
            ("against scikit-learn's loop", sklearn, "scikit-learn"),
        ):
            found.append(Target("many_fits", case, about, least, faster(ours, other)))
        over = slower(ours, "closed form, batched")
        found.append(
            Target("many_fits", case, "over the batched closed form", 3, over, at_most=True)
        )
    return found


def _log_prob() -> list[Target]:
    forward, backward = "helpers, log_prob", "helpers, mean_log_prob"
    found = []
    for d, least in ((32, 5), (128, 4)):
        case = f"forward, d={d}"
        for about, wanted, other in (
            ("against the textbook", least, "textbook"),
            ("against scikit-learn's mixture", 1.5, "scikit-learn"),
        ):
            found.append(Target("log_prob", case, about, wanted, faster(forward, other)))
    for d in (32, 128):
        case = f"with backward, d={d}"
        for about, wanted, other in (
            ("against the textbook", 5, "textbook"),
            ("against JAX", 1.1, "JAX"),
        ):
            found.append(Target("log_prob", case, about, wanted, faster(backward, other)))
    return found


def _data_pass() -> list[Target]:
    ours, case = "helpers, from_data", "n=1000000, d=64"
    ratios = (
        ("against torch.cov", 2, "torch.cov"),
        ("against scikit-learn", 4, "scikit-learn"),
        ("against JAX", 1.6, "JAX"),
        ("share of the matrix product's rate", 0.6, "matrix product"),
    )
    return [
        Target("data_pass", case, about, least, faster(ours, other))
        for about, least, other in ratios
    ]


def _memory() -> list[Target]:
    case = "n=100000, d=32"
    return [
        Target("memory", case, about, least, faster(WRITTEN_OUT, *others, field="mebibytes"))
        for about, least, others in (
            ("less than the textbook", 20, ("textbook",)),
            ("less than the best peer", 4, LIBRARIES),
        )
    ]


def _startup() -> list[Target]:
    return [
        Target(
            "startup",
            "a new process",
            "import helpers, beyond torch",
            0.1,
            value("import helpers, beyond torch", "seconds"),
            at_most=True,
            unit=" s",
        )
    ]


def _distributed() -> list[Target]:
    ours = "helpers, fit_shards"
    return [
        # The model of the helpers under DDP has no target: without them nobody would have it.
        Target(
            "ranks",
            "n=1000000, d=32, 2 ranks",
            "whole fit against 1000 steps of DDP, model of the textbook",
            10_000,
            faster(WHOLE_FIT, "DDP, model of the textbook"),
        ),
        *(
            Target(
                "shards",
                "n=1000000, d=64, 2 ranks",
                f"against {library} in float64",
                2,
                faster(ours, *(f"{library}, {way}" for way in IN_FLOAT64)),
            )
            for library in ("dask.array", "dask.distributed")
        ),
        Target(
            "shards",
            "n=1000000, d=64, 2 ranks",
            "relative error of the covariance",
            1e-12,
            value(ours, "error"),
            at_most=True,
            unit="",
        ),
        *(
            Target(
                "rank_memory",
                f"n={n}, d=64, 2 ranks",
                "of a rank",
                64,
                value(ours, "mebibytes"),
                at_most=True,
                unit=" MiB",
            )
            for n in (100_000, 1_000_000, 10_000_000)
        ),
    ]


TARGETS: tuple[Target, ...] = (
    *_one_fit(),
    *_conditioning(),
    *_mini_batches(),
    *_many_fits(),
    *_log_prob(),
    *_data_pass(),
    *_memory(),
    *_startup(),
    *_distributed(),
)
