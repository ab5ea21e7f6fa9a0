"""The table of bad input: what each kind of argument is given, and what has to come of it.

A `Target` is a public function with good arguments and the kind of each. A kind is a list of bad
values, each made from the good one. What is expected of a value is one of three things:

- ``REFUSED``: a ValueError or TypeError that names the argument, what was expected and what came;
- ``SAME``: the outcome for another value that means the same, to the last digits;
- ``RIGHT``: refused, or answered with finite numbers, which are compared with the exact answer
  where `Target.exact` knows it.

Whatever comes of a call, arguments and global state are the same, bit for bit, after it.
"""

from __future__ import annotations

import inspect
import math
import re
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import count as count_from_zero
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

import helpers

REFUSED, SAME, RIGHT = "refused", "same", "right"
TOGETHER = "(all tensors)"  # stands for all tensors of a call at once

# The same operations in another memory layout may be summed in another order.
SAME_RTOL = 1e-12
# float32 carries seven digits, of which the well-conditioned good arguments leave five or six.
FLOAT32_RTOL = 1e-4
# The exact answer against float64, for arguments whose scales lie hundreds of powers of ten apart.
EXACT_RTOL = 1e-9


class Bad(NamedTuple):
    """A bad value of an argument, made from the good one."""

    make: Callable[[Any], Any]
    expected: str
    clean: Callable[[Any], Any] | None = None  # from the good value to what the bad one means
    blamed: str = ""  # an argument that may be named instead, where two do not fit each other


@dataclass(frozen=True, eq=False)
class Target:
    """A public function: how it is called, with what, and of which kind each argument is."""

    call: Callable[..., Any]
    good: Callable[[], dict[str, Any]]
    kinds: dict[str, str]
    exact: Callable[..., list[float]] | None = None
    changes: tuple[str, ...] = ()  # arguments that it may change when it answers
    extra: dict[str, dict[str, Bad]] = field(default_factory=dict)  # values of this function only
    gives_up: tuple[type[Exception], ...] = ()  # what else it may raise, in words of its own


class Outcome(NamedTuple):
    """What came of one call."""

    answer: list[Any] | None
    error: Exception | None


class Result(NamedTuple):
    """One cell of the table after it was tried."""

    function: str
    parameter: str
    value: str
    refused: bool
    problem: str  # empty if all is well


# Good arguments ------------------------------------------------------------------------------


def generator(seed: int = 0) -> torch.Generator:
    """A source of random numbers of our own."""
    return torch.Generator().manual_seed(seed)


def samples(n: int = 8, dim: int = 3) -> Tensor:
    """Correlated samples, (n, dim)."""
    return torch.randn(n, dim, generator=generator(1), dtype=torch.float64) @ factor(dim).mT + 1.0


def factor(dim: int = 3) -> Tensor:
    """A Cholesky factor, (dim, dim)."""
    below = torch.randn(dim, dim, generator=generator(2), dtype=torch.float64).tril(-1)
    return below / 2 + torch.diag(torch.linspace(0.7, 1.4, dim, dtype=torch.float64))


def covariance(dim: int = 3) -> Tensor:
    """A covariance, (dim, dim), symmetric to the last bit."""
    product = factor(dim) @ factor(dim).mT
    return (product + product.mT) / 2


def loc(dim: int = 3) -> Tensor:
    """A mean, (dim,)."""
    return torch.linspace(-0.5, 0.75, dim, dtype=torch.float64)


def gaussian() -> helpers.Gaussian:
    """A mean and a factor."""
    return helpers.Gaussian(loc(), factor())


def model() -> helpers.GaussianLikelihood:
    """A model that is no standard normal."""
    made = helpers.GaussianLikelihood(3, dtype=torch.float64)
    made.assign(loc(), factor())
    return made


def learner() -> helpers.CovarianceLearner:
    """The same of the other kind."""
    made = helpers.CovarianceLearner(3, dtype=torch.float64)
    made.scale.assign(factor())
    return made


def statistics() -> helpers.SufficientStatistics:
    """Statistics of the good samples."""
    return helpers.SufficientStatistics.from_data(samples())


# What a value can be turned into -------------------------------------------------------------


def on_meta(value: Tensor) -> Tensor:
    """The same tensor on a device that is on every machine and holds no numbers."""
    return value.to("meta")


def with_entry(entry: float) -> Callable[[Tensor], Tensor]:
    """Put a number in the place of the last entry, which no triangle leaves out."""

    def change(value: Tensor) -> Tensor:
        changed = value.clone()
        changed.view(-1)[-1] = entry
        return changed

    return change


def in_second_of_batch(entry: float) -> Callable[[Tensor], Tensor]:
    """A batch of two, of which the second has a bad entry."""
    return lambda value: torch.stack([value, with_entry(entry)(value)])


def non_contiguous(value: Tensor) -> Tensor:
    """The same numbers with gaps between them in memory."""
    wide = torch.full((*value.shape, 2), math.nan, dtype=value.dtype)
    wide[..., 0] = value
    return wide[..., 0]


def masked(value: Tensor) -> np.ma.MaskedArray:
    """An array that says itself that one of its numbers counts for nothing."""
    array = np.ma.masked_array(value.numpy())
    array[(0,) * array.ndim] = np.ma.masked
    return array


def read_only(value: Tensor) -> np.ndarray:
    """An array that may not be written to."""
    array = value.numpy().copy()
    array.flags.writeable = False
    return array


def memmap(value: Tensor) -> np.memmap:
    """The same numbers in a file."""
    with tempfile.TemporaryFile() as file:  # a file that is mapped lives on
        array = np.memmap(file, dtype=np.float64, shape=tuple(value.shape))
    array[...] = value.numpy()
    return array


def one_stride(value: Tensor) -> Tensor:
    """A first entry or row that is repeated without being stored again."""
    return value[:1].expand_as(value)


def itself(value: Any) -> Any:
    """What a value means that only looks different."""
    return value


NOTHING = {"None": Bad(lambda good: None, REFUSED)}

NO_TENSOR = {
    **NOTHING,
    "str": Bad(lambda good: "1.0", REFUSED),
    "list": Bad(lambda good: good.tolist(), REFUSED),
    "dict": Bad(lambda good: {"data": good}, REFUSED),
    "float": Bad(lambda good: 1.0, REFUSED),
    "object": Bad(lambda good: object(), REFUSED),
    "type": Bad(lambda good: Tensor, REFUSED),
}
OF_OTHER_KIND = {
    "complex": Bad(lambda good: good.to(torch.complex128), REFUSED),
    "sparse": Bad(lambda good: good.to_sparse(), REFUSED),
    "meta device": Bad(on_meta, REFUSED),
    "masked array": Bad(masked, REFUSED),
    "array of objects": Bad(lambda good: good.numpy().astype(object), REFUSED),
    "array of texts": Bad(lambda good: good.numpy().astype(str), REFUSED),
    "complex array": Bad(lambda good: good.numpy().astype(complex), REFUSED),
}
OF_OTHER_DTYPE = {
    "int64": Bad(lambda good: good.long(), REFUSED),
    "int8": Bad(lambda good: good.to(torch.int8), REFUSED),
    "bool": Bad(lambda good: good > 0, REFUSED),
    "half": Bad(lambda good: good.half(), REFUSED),
    "bfloat16": Bad(lambda good: good.bfloat16(), REFUSED),
    "integer array": Bad(lambda good: good.numpy().astype(int), REFUSED),
    "half array": Bad(lambda good: good.numpy().astype(np.float16), REFUSED),
    "float32": Bad(lambda good: good.float(), RIGHT),
}
NOT_FINITE = {
    "nan": Bad(with_entry(math.nan), REFUSED),
    "inf": Bad(with_entry(math.inf), REFUSED),
    "-inf": Bad(with_entry(-math.inf), REFUSED),
    "nan in a batch": Bad(in_second_of_batch(math.nan), REFUSED),
    "inf in a batch": Bad(in_second_of_batch(math.inf), REFUSED),
    "all nan": Bad(lambda good: torch.full_like(good, math.nan), REFUSED),
}
EXTREME = {
    "huge": Bad(lambda good: good * 1e200, RIGHT),
    "largest": Bad(lambda good: good / good.abs().max() * torch.finfo(good.dtype).max, RIGHT),
    "one huge": Bad(with_entry(1e300), RIGHT),
    "tiny": Bad(lambda good: good * 1e-200, RIGHT),
    "one tiny": Bad(with_entry(1e-300), RIGHT),
    "one subnormal": Bad(with_entry(5e-324), RIGHT),
    "zeros": Bad(lambda good: good * 0.0, RIGHT),
}
OTHERWISE_STORED = {
    "requires grad": Bad(lambda good: good.clone().requires_grad_(), SAME, itself),
    "parameter": Bad(lambda good: nn.Parameter(good.clone()), SAME, itself),
    "non-contiguous": Bad(non_contiguous, SAME, itself),
    "stride 0": Bad(one_stride, SAME, lambda good: one_stride(good).contiguous()),
    "array": Bad(lambda good: good.numpy().copy(), SAME, itself),
    "read-only array": Bad(read_only, SAME, itself),
    "array backwards": Bad(lambda good: good.flip(0).numpy().copy()[::-1], SAME, itself),
    "array of other byte order": Bad(lambda good: good.numpy().astype(">f8"), SAME, itself),
    "array in columns": Bad(lambda good: np.asfortranarray(good.numpy()), SAME, itself),
    "memmap": Bad(memmap, SAME, itself),
}
TENSOR = {
    **NO_TENSOR,
    **OF_OTHER_KIND,
    **OF_OTHER_DTYPE,
    **NOT_FINITE,
    **EXTREME,
    **OTHERWISE_STORED,
    "number": Bad(lambda good: good.flatten()[0], REFUSED),
    "empty": Bad(lambda good: good[..., :0], REFUSED),
    "too wide": Bad(lambda good: torch.cat([good, good[..., :1]], -1), REFUSED),
}
SAMPLES = {
    **TENSOR,
    "vector": Bad(lambda good: good[0], REFUSED),
    "one row": Bad(lambda good: good[:1], RIGHT),
    "no row": Bad(lambda good: good[:0], RIGHT),
    "constant column": Bad(lambda good: good * 0 + good[:1], RIGHT),
    "duplicated column": Bad(lambda good: good[:, [0, 1, 0]], RIGHT),
    "nearly duplicated column": Bad(lambda good: nearly_dependent(good), RIGHT),
    "too few rows": Bad(lambda good: good[:3], RIGHT),
    "far from zero": Bad(lambda good: good + 1e9, RIGHT),
    "batch of one": Bad(lambda good: good[None], RIGHT),
    "batch of none": Bad(lambda good: good[None][:0], RIGHT),
    "constant column in a batch": Bad(lambda good: torch.stack([good, good[:1] + 0 * good]), RIGHT),
}
SQUARE = {
    **TENSOR,
    "vector": Bad(lambda good: good[0], REFUSED),
    "rectangle": Bad(lambda good: good[:-1], REFUSED),
    "stride 0": Bad(
        lambda good: good.expand(2, *good.shape), SAME, lambda good: torch.stack([good, good])
    ),
}
SCALE_TRIL = {
    **SQUARE,
    "above the diagonal": Bad(lambda good: good + good.triu().mT.triu(1) + 1.0, REFUSED),
    "covariance": Bad(lambda good: good @ good.mT, REFUSED),
    "upper": Bad(lambda good: good.mT.contiguous(), REFUSED),
    "zero on the diagonal": Bad(with_entry(0.0), REFUSED),
    "negative diagonal": Bad(lambda good: -good, REFUSED),
    "negative in a batch": Bad(lambda good: torch.stack([good, -good]), REFUSED),
    "zeros": Bad(lambda good: 0 * good, REFUSED),
}
COVARIANCE = {
    **SQUARE,
    "asymmetric": Bad(lambda good: good + 0.1 * torch.ones_like(good).triu(1), REFUSED),
    "lower triangle": Bad(lambda good: good.tril(), REFUSED),
    "negative variance": Bad(with_entry(-1.0), REFUSED),
    "indefinite": Bad(lambda good: indefinite(good), REFUSED),
    "indefinite in a batch": Bad(lambda good: torch.stack([good, indefinite(good)]), REFUSED),
    "singular": Bad(lambda good: duplicated(good), RIGHT),
}
VECTOR = {
    **TENSOR,
    "number": Bad(lambda good: good[0], REFUSED),
    "too short": Bad(lambda good: good[:-1], REFUSED),
}


def with_second(good: Tensor, second: Tensor) -> Tensor:
    """A batch of two with another second element."""
    return torch.stack([good[0], second])


def nearly_dependent(good: Tensor) -> Tensor:
    """Samples whose last column repeats the first but for the last digits."""
    changed = good.clone()
    changed[:, -1] = changed[:, 0] * (1 + 1e-15)
    return changed


def indefinite(good: Tensor) -> Tensor:
    """A symmetric matrix with variances on the diagonal that is no covariance."""
    changed = good.clone()
    changed[-1, 0] = changed[0, -1] = 2.0 * math.sqrt(good[0, 0] * good[-1, -1])
    return changed


def duplicated(good: Tensor) -> Tensor:
    """The covariance of variables of which the last repeats the first."""
    kept = [*range(good.shape[0] - 1), 0]
    return good[kept][:, kept]


def drawn(kind: Mapping[str, Bad], **own: Bad) -> dict[str, Bad]:
    """The same kind for functions that draw, which take lists and any real numbers, in float64."""
    as_double = {
        "list": Bad(lambda good: good.tolist(), SAME, itself),
        "int64": Bad(lambda good: good.long(), SAME, lambda good: good.long().double()),
        "int8": Bad(lambda good: good.to(torch.int8), SAME, lambda good: good.long().double()),
        "half": Bad(lambda good: good.half(), SAME, lambda good: good.half().double()),
        "bfloat16": Bad(lambda good: good.bfloat16(), SAME, lambda good: good.bfloat16().double()),
        "float32": Bad(lambda good: good.float(), SAME, lambda good: good.float().double()),
        "bool": Bad(lambda good: good > 0, RIGHT),
        "integer array": Bad(
            lambda good: good.numpy().astype(int), SAME, lambda good: good.long().double()
        ),
        "half array": Bad(
            lambda good: good.numpy().astype(np.float16), SAME, lambda good: good.half().double()
        ),
        "nested wrongly": Bad(lambda good: [[1.0], [2.0, 3.0]], REFUSED),
        "list with a text": Bad(lambda good: [*good.tolist()[1:], "x"], REFUSED),
        "list with None": Bad(lambda good: [*good.tolist()[1:], None], REFUSED),
    }
    changed = {name: bad for name, bad in as_double.items() if name in kind or "list" in name}
    return {**kind, **changed, **own}


NO_COUNT = {
    **NOTHING,
    "str": Bad(lambda good: "3", REFUSED),
    "list": Bad(lambda good: [3], REFUSED),
    "bool": Bad(lambda good: True, REFUSED),
    "fraction": Bad(lambda good: 3.5, REFUSED),
    "float": Bad(lambda good: 3.0, REFUSED),
    "complex": Bad(lambda good: 3j, REFUSED),
    "nan": Bad(lambda good: math.nan, REFUSED),
    "inf": Bad(lambda good: math.inf, REFUSED),
    "tensor": Bad(lambda good: torch.tensor(3), REFUSED),
    "array": Bad(lambda good: np.array([3]), REFUSED),
    "negative": Bad(lambda good: -1, REFUSED),
    "huge": Bad(lambda good: 10**30, RIGHT),
    "NumPy integer": Bad(lambda good: np.int64(4), SAME, lambda good: 4),
}
COUNT = {**NO_COUNT, "zero": Bad(lambda good: 0, REFUSED)}
FROM_ZERO = {**NO_COUNT, "zero": Bad(lambda good: 0, RIGHT)}
NUMBER = {
    **NOTHING,
    "str": Bad(lambda good: "0.5", REFUSED),
    "list": Bad(lambda good: [0.5], REFUSED),
    "bool": Bad(lambda good: True, REFUSED),
    "complex": Bad(lambda good: 1j, REFUSED),
    "nan": Bad(lambda good: math.nan, REFUSED),
    "inf": Bad(lambda good: math.inf, REFUSED),
    "-inf": Bad(lambda good: -math.inf, REFUSED),
    "huge": Bad(lambda good: 1e300, RIGHT),
    "huge integer": Bad(lambda good: 10**400, REFUSED),
    "tiny": Bad(lambda good: 5e-324, RIGHT),
    "array": Bad(lambda good: np.array([0.5, 0.6]), REFUSED),
    "NumPy number": Bad(lambda good: np.float64(0.5), SAME, lambda good: 0.5),
}
POSITIVE = {
    **NUMBER,
    "zero": Bad(lambda good: 0.0, REFUSED),
    "negative": Bad(lambda good: -0.5, REFUSED),
}
TEXT = {
    **NOTHING,
    "int": Bad(lambda good: 3, REFUSED),
    "list": Bad(lambda good: ["a"], REFUSED),
    "bytes": Bad(lambda good: b"abc", REFUSED),
    "tensor": Bad(lambda good: torch.ones(2), REFUSED),
}
CHOICE = {
    **TEXT,
    "array": Bad(lambda good: np.array(["iris", "wine"]), REFUSED),
    "empty": Bad(lambda good: "", REFUSED),
    "unknown": Bad(lambda good: "no such thing", REFUSED),
    "path": Bad(lambda good: "../../iris", REFUSED),
    "surrounded by spaces": Bad(lambda good: f" {good} ", REFUSED),
    "float": Bad(lambda good: 1.5, REFUSED),
    "nan": Bad(lambda good: math.nan, REFUSED),
}
FLAG = {
    **NOTHING,
    "str": Bad(lambda good: "no", REFUSED),
    "int": Bad(lambda good: 2, REFUSED),
    "list": Bad(lambda good: [], REFUSED),
    "array": Bad(lambda good: np.array([True, False]), REFUSED),
}
SWITCH = {  # of checks: what is true switches them on, and good arguments pass either way
    "None": Bad(lambda good: None, SAME, itself),
    "str": Bad(lambda good: "no", SAME, itself),
    "int": Bad(lambda good: 2, SAME, itself),
    "list": Bad(lambda good: [], SAME, itself),
}
DTYPE = {
    "str": Bad(lambda good: "float64", REFUSED),
    "type": Bad(lambda good: float, REFUSED),
    "NumPy type": Bad(lambda good: np.float64, REFUSED),
    "int64": Bad(lambda good: torch.int64, REFUSED),
    "half": Bad(lambda good: torch.float16, REFUSED),
    "bfloat16": Bad(lambda good: torch.bfloat16, REFUSED),
    "complex": Bad(lambda good: torch.complex128, REFUSED),
    "bool": Bad(lambda good: torch.bool, REFUSED),
    "float32": Bad(lambda good: torch.float32, RIGHT),
}
NO_DEVICE = {
    "wrong name": Bad(lambda good: "abacus", REFUSED),
    "empty": Bad(lambda good: "", REFUSED),
    "list": Bad(lambda good: [], REFUSED),
    "float": Bad(lambda good: 0.5, REFUSED),
    "bytes": Bad(lambda good: b"cpu", REFUSED),
    "tensor": Bad(lambda good: torch.ones(1), REFUSED),
}
DEVICE = {
    **NO_DEVICE,
    "not there": Bad(lambda good: "cuda:99", REFUSED),
    "number of none": Bad(lambda good: 99, REFUSED),
    "meta": Bad(lambda good: "meta", REFUSED),
    "meta device": Bad(lambda good: torch.device("meta"), REFUSED),
    "name of the good": Bad(lambda good: "cpu", SAME, lambda good: torch.device("cpu")),
}
SIZES = {
    **NOTHING,
    "int": Bad(lambda good: 3, REFUSED),
    "str": Bad(lambda good: "3", REFUSED),
    "tensor": Bad(lambda good: torch.ones(2), REFUSED),
    "with a text": Bad(lambda good: (2, "3"), REFUSED),
    "with None": Bad(lambda good: (2, None), REFUSED),
    "with a fraction": Bad(lambda good: (2, 1.5), REFUSED),
    "with a negative": Bad(lambda good: (2, -1), REFUSED),
    "with bool": Bad(lambda good: (2, True), REFUSED),
    "with a huge number": Bad(lambda good: (2, 10**30), REFUSED),
    "huge together": Bad(lambda good: (2**30, 2**30), REFUSED),
    "list": Bad(list, SAME, itself),
}
BATCH = {  # of which the second element is bad
    "nan": Bad(lambda good: with_second(good, with_entry(math.nan)(good[1])), REFUSED),
    "inf": Bad(lambda good: with_second(good, with_entry(math.inf)(good[1])), REFUSED),
    "huge": Bad(lambda good: with_second(good, good[1] * 1e200), REFUSED),
    "all the same": Bad(lambda good: with_second(good, good[1] * 0), REFUSED),
    "constant column": Bad(
        lambda good: with_second(good, good[1] * torch.tensor([1.0, 0.0, 1.0])), REFUSED
    ),
    "duplicated column": Bad(lambda good: with_second(good, good[1][:, [0, 1, 0]]), REFUSED),
    "too few rows": Bad(lambda good: good[:, :3], REFUSED),
    "another batch shape": Bad(lambda good: torch.cat([good, good[:1]]), REFUSED),
    "stride 0": Bad(
        lambda good: good[:1].expand_as(good), SAME, lambda good: torch.cat([good[:1]] * 2)
    ),
    "one for all": Bad(lambda good: good[0], SAME, lambda good: torch.stack([good[0]] * 2)),
    "non-contiguous": Bad(non_contiguous, SAME, itself),
    "array": Bad(lambda good: good.numpy().copy(), SAME, itself),
}
DIMS = {
    **NOTHING,
    "int": Bad(lambda good: 1, REFUSED),
    "str": Bad(lambda good: "01", REFUSED),
    "tensor": Bad(lambda good: torch.tensor([0, 1]), REFUSED),
    "empty": Bad(lambda good: [], REFUSED),
    "with a text": Bad(lambda good: [0, "1"], REFUSED),
    "with None": Bad(lambda good: [0, None], REFUSED),
    "with a fraction": Bad(lambda good: [0, 1.0], REFUSED),
    "with bool": Bad(lambda good: [False, True], REFUSED),
    "negative": Bad(lambda good: [-1, 0], REFUSED),
    "out of range": Bad(lambda good: [0, 3], REFUSED),
    "twice": Bad(lambda good: [0, 0], REFUSED),
    "tuple": Bad(tuple, SAME, itself),
    "array": Bad(np.array, SAME, itself),
}
GAUSSIAN = {
    **NO_TENSOR,
    "list": Bad(lambda good: [1.0], REFUSED),
    "tensor": Bad(lambda good: good.loc, REFUSED),
    "pair": Bad(tuple, REFUSED),
    "nan in loc": Bad(lambda good: good._replace(loc=with_entry(math.nan)(good.loc)), REFUSED),
    "nan in a batch": Bad(
        lambda good: good._replace(loc=in_second_of_batch(math.nan)(good.loc)), REFUSED
    ),
    "inf in scale_tril": Bad(
        lambda good: good._replace(scale_tril=with_entry(math.inf)(good.scale_tril)), REFUSED
    ),
    "covariance as scale_tril": Bad(lambda good: good._replace(scale_tril=covariance()), REFUSED),
    "zero on the diagonal": Bad(
        lambda good: good._replace(scale_tril=with_entry(0.0)(good.scale_tril)), REFUSED
    ),
    "wrong shape": Bad(lambda good: good._replace(loc=good.loc[:-1]), REFUSED),
    "other dtypes": Bad(lambda good: good._replace(loc=good.loc.float()), REFUSED),
    "half": Bad(lambda good: helpers.Gaussian(*(part.half() for part in good)), REFUSED),
    "meta device": Bad(lambda good: helpers.Gaussian(*map(on_meta, good)), REFUSED),
    "None inside": Bad(lambda good: good._replace(scale_tril=None), REFUSED),
    "huge": Bad(lambda good: good._replace(loc=good.loc * 1e200), RIGHT),
    "tiny": Bad(lambda good: good._replace(scale_tril=good.scale_tril * 1e-200), RIGHT),
    "huge scale": Bad(lambda good: good._replace(scale_tril=good.scale_tril * 1e200), RIGHT),
    "distribution": Bad(
        lambda good: torch.distributions.MultivariateNormal(good.loc, scale_tril=good.scale_tril),
        SAME,
        itself,
    ),
    "model": Bad(lambda good: model(), SAME, lambda good: gaussian()),
    "requires grad": Bad(
        lambda good: helpers.Gaussian(*(part.clone().requires_grad_() for part in good)),
        SAME,
        itself,
    ),
    "non-contiguous": Bad(lambda good: helpers.Gaussian(*map(non_contiguous, good)), SAME, itself),
}


def broken(good: nn.Module, entry: float) -> nn.Module:
    """A model with a bad parameter."""
    with torch.no_grad():
        good.scale.log_diagonal[-1] = entry
    return good


MODEL = {
    **NO_TENSOR,
    "list": Bad(lambda good: [good], REFUSED),
    "class": Bad(type, REFUSED),
    "other module": Bad(lambda good: nn.Linear(3, 3), REFUSED),
    "factor": Bad(lambda good: good.scale, REFUSED),
    "nan": Bad(lambda good: broken(good, math.nan), REFUSED),
    "inf": Bad(lambda good: broken(good, math.inf), REFUSED),
    "variance that overflows": Bad(lambda good: broken(good, 800.0), REFUSED),
    "no variance left": Bad(lambda good: broken(good, -800.0), REFUSED),
    "half": Bad(lambda good: good.half(), REFUSED),
    "bfloat16": Bad(lambda good: good.bfloat16(), REFUSED),
    "meta device": Bad(lambda good: good.to("meta"), REFUSED),
    "other width": Bad(lambda good: type(good)(2, dtype=torch.float64), REFUSED, blamed="data"),
    "float32": Bad(lambda good: good.float(), RIGHT),
    "without gradients": Bad(lambda good: good.requires_grad_(False), REFUSED),
    "in evaluation": Bad(lambda good: good.eval(), SAME, itself),
}
OWN = {name: MODEL[name] for name in ("nan", "inf", "variance that overflows", "no variance left")}
STATISTICS = {
    "statistics": Bad(helpers.SufficientStatistics.from_data, SAME, itself),
    "statistics of nothing": Bad(
        lambda good: helpers.SufficientStatistics.from_data(good[:0]), REFUSED
    ),
    "statistics of one row": Bad(
        lambda good: helpers.SufficientStatistics.from_data(good[:1]), RIGHT
    ),
    "statistics of other width": Bad(
        lambda good: helpers.SufficientStatistics.from_data(good[:, :2]), RIGHT
    ),
    "statistics in float32": Bad(
        lambda good: helpers.SufficientStatistics.from_data(good.float()), RIGHT
    ),
    "statistics with a constant column": Bad(
        lambda good: helpers.SufficientStatistics.from_data(0 * good + good[:1]), RIGHT
    ),
}
BATCHES = {
    **NO_TENSOR,
    "list": Bad(lambda good: [[1.0, 2.0]], REFUSED),
    "dict": Bad(lambda good: dict(enumerate(good)), REFUSED),
    "tensor": Bad(lambda good: good[0], REFUSED),
    "array": Bad(lambda good: good[0].numpy(), REFUSED),
    "empty": Bad(lambda good: [], REFUSED),
    "empty generator": Bad(lambda good: iter(()), REFUSED),
    "None in it": Bad(lambda good: [*good, None], REFUSED),
    "text in it": Bad(lambda good: [*good, "x"], REFUSED),
    "nan in one": Bad(lambda good: [good[0], with_entry(math.nan)(good[1])], REFUSED),
    "other width in one": Bad(lambda good: [good[0], good[1][:, :2]], REFUSED),
    "vector in it": Bad(lambda good: [*good, good[0][0]], REFUSED),
    "half in it": Bad(lambda good: [*good, good[0].half()], REFUSED),
    "integers in it": Bad(lambda good: [*good, good[0].long()], REFUSED),
    "complex in it": Bad(lambda good: [*good, good[0].cfloat()], REFUSED),
    "meta device in it": Bad(lambda good: [*good, on_meta(good[0])], REFUSED),
    "samples and targets": Bad(lambda good: [(each, each) for each in good], REFUSED),
    "batch without rows": Bad(lambda good: [*good, good[0][:0]], SAME, itself),
    "generator": Bad(lambda good: (each for each in good), SAME, itself),
    "arrays": Bad(lambda good: [each.numpy() for each in good], SAME, itself),
    "tuples of one": Bad(lambda good: [(each,) for each in good], SAME, itself),
    "loader": Bad(
        lambda good: torch.utils.data.DataLoader(
            torch.utils.data.TensorDataset(torch.cat(good)), batch_size=4, generator=generator()
        ),
        SAME,
        itself,
    ),
}
OPTIMIZER = {
    "empty": Bad(lambda good: "", REFUSED),
    "unknown": Bad(lambda good: "sgd", REFUSED),
    "int": Bad(lambda good: 3, REFUSED),
    "list": Bad(lambda good: ["adam"], REFUSED),
    "bytes": Bad(lambda good: b"adam", REFUSED),
    "tensor": Bad(lambda good: torch.ones(2), REFUSED),
    "array": Bad(lambda good: np.array(["adam", "lbfgs"]), REFUSED),
    "function of None": Bad(lambda good: lambda parameters: None, REFUSED),
    "function of no argument": Bad(lambda good: lambda: None, REFUSED),
    "over other parameters": Bad(
        lambda good: torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.1), REFUSED
    ),
    "other type": Bad(lambda good: dict, REFUSED),
    "that diverges": Bad(lambda good: lambda p: torch.optim.SGD(p, lr=1e300), RIGHT),
}
PATH = {
    **NOTHING,
    "int": Bad(lambda good: 3, REFUSED),
    "list": Bad(lambda good: ["a"], REFUSED),
    "bytes": Bad(lambda good: b"abc", REFUSED),
    "empty": Bad(lambda good: "", REFUSED),
    "null character": Bad(lambda good: "a\0b", REFUSED),
    "folder": Bad(lambda good: tempfile.gettempdir(), REFUSED),
}
FOLDER = {
    "int": Bad(lambda good: 3, REFUSED),
    "list": Bad(lambda good: ["a"], REFUSED),
    "bytes": Bad(lambda good: b"abc", REFUSED),
    "empty": Bad(lambda good: "", REFUSED),
    "null character": Bad(lambda good: "a\0b", REFUSED),
    "file": Bad(lambda good: __file__, REFUSED),
    "Path": Bad(lambda good: Path(folder_of_shards().name) / "kept", SAME, itself),
}


def shard(rows: Tensor | np.ndarray, name: str = "other.npy") -> str:
    """Write rows to a file of their own."""
    file = Path(folder_of_shards().name) / str(next(NUMBERS)) / name
    file.parent.mkdir()
    np.save(file, rows)
    return str(file)


@cache
def folder_of_shards() -> tempfile.TemporaryDirectory:
    """A folder that is removed when Python ends."""
    return tempfile.TemporaryDirectory()


def beside(rows: Callable[[Tensor], Any], expected: str = REFUSED) -> Bad:
    """The good shards and one more, whose message names the file."""
    return Bad(lambda good: [good, shard(rows(samples()))], expected, None, "npy")


def cut_off(good: str) -> list[str]:
    """The good shards and one more that has lost its last bytes."""
    file = shard(samples())
    with open(file, "r+b") as opened:
        opened.truncate(300)
    return [good, file]


def text(good: str) -> list[str]:
    """The good shards and a text."""
    file = Path(folder_of_shards().name) / f"{next(NUMBERS)}.npy"
    file.write_text("1, 2, 3")
    return [good, str(file)]


NUMBERS = count_from_zero()  # of files that were written
HEADERS_OF_SHARDS = {
    **NOTHING,
    "int": Bad(lambda good: 3, REFUSED),
    "bytes": Bad(lambda good: b"abc", REFUSED),
    "tensor": Bad(lambda good: samples(), REFUSED),
    "array": Bad(lambda good: samples().numpy(), REFUSED),
    "nothing": Bad(lambda good: [], REFUSED),
    "empty": Bad(lambda good: "", REFUSED),
    "null character": Bad(lambda good: "a\0b", REFUSED),
    "None in it": Bad(lambda good: [good, None], REFUSED),
    "no such file": Bad(lambda good: "no such file.npy", RIGHT),
    "pattern of nothing": Bad(lambda good: f"{good}/*.none", RIGHT),
    "folder of nothing": Bad(lambda good: tempfile.mkdtemp(dir=folder_of_shards().name), REFUSED),
    "no rows": Bad(lambda good: shard(samples()[:0]), REFUSED),
    "cut off": Bad(cut_off, REFUSED, None, "npy"),
    "text": Bad(text, REFUSED, None, "npy"),
    "other width": beside(lambda rows: rows[:, :2]),
    "other dtype": beside(lambda rows: rows.float()),
    "half": beside(lambda rows: rows.half()),
    "int64": beside(lambda rows: rows.long()),
    "complex": beside(lambda rows: rows.to(torch.complex128)),
    "vector": beside(lambda rows: rows[0]),
    "batch": beside(lambda rows: rows.expand(2, 8, 3)),
    "objects": beside(lambda rows: rows.numpy().astype(object)),
    "Path": Bad(Path, SAME, itself),
    "twice": Bad(lambda good: [good, good], SAME, itself),
    "pattern": Bad(lambda good: f"{good}/*.npy", SAME, itself),
    "backwards": Bad(lambda good: sorted(Path(good).glob("*.npy"))[::-1], SAME, itself),
}
SHARDS = {
    **HEADERS_OF_SHARDS,
    "nan": beside(with_entry(math.nan)),
    "inf": beside(with_entry(math.inf)),
    "one huge": beside(with_entry(1e300), RIGHT),
    "largest": beside(lambda rows: torch.full_like(rows, torch.finfo(rows.dtype).max), RIGHT),
    "too few rows": Bad(lambda good: shard(samples()[:3]), REFUSED, None, "data"),
    "constant column": Bad(
        lambda good: shard(samples() * torch.tensor([1, 0, 1])), REFUSED, None, "data"
    ),
    "float32": Bad(lambda good: shard(samples().float()), RIGHT),
    "in columns": Bad(lambda good: shard(np.asfortranarray(samples())), SAME, itself),
    "of other byte order": Bad(lambda good: shard(samples().numpy().astype(">f8")), SAME, itself),
}
CALLABLE = {
    **NOTHING,
    "str": Bad(lambda good: "f", REFUSED),
    "int": Bad(lambda good: 3, REFUSED),
    "result of the call": Bad(lambda good: torch.ones(2), REFUSED),
}
GROUP = {
    "str": Bad(lambda good: "gloo", REFUSED),
    "int": Bad(lambda good: 0, REFUSED),
    "list": Bad(lambda good: [0, 1], REFUSED),
    "object": Bad(lambda good: object(), REFUSED),
    "group of others": Bad(lambda good: dist.GroupMember.NON_GROUP_MEMBER, REFUSED),
}
AXES = {
    **NOTHING,
    "str": Bad(lambda good: "ax", REFUSED),
    "figure": Bad(lambda good: good.figure, REFUSED),
    "array of axes": Bad(lambda good: np.array([good, good]), REFUSED),
    "class": Bad(type, REFUSED),
}
COLOR = {
    **TEXT,
    "empty": Bad(lambda good: "", REFUSED),
    "unknown": Bad(lambda good: "no such colour", REFUSED),
    "three numbers": Bad(lambda good: (math.nan, 0, 0), REFUSED),
}
LABEL = {name: bad for name, bad in TEXT.items() if name != "None"}
LINESTYLE = {**TEXT, "unknown": Bad(lambda good: "wavy", REFUSED)}
FORMAT = {**TEXT, "unknown": Bad(lambda good: ".2q", REFUSED)}
LABELS = {
    "str": Bad(lambda good: "abc", REFUSED),
    "int": Bad(lambda good: 3, REFUSED),
    "too few": Bad(lambda good: good[:-1], REFUSED),
    "too many": Bad(lambda good: [*good, "more"], REFUSED),
    "empty": Bad(lambda good: [], REFUSED),
    "with None": Bad(lambda good: [*good[:-1], None], REFUSED),
    "with a number": Bad(lambda good: [*good[:-1], 3], REFUSED),
    "tuple": Bad(tuple, SAME, itself),
}
MAPPING = {
    **NOTHING,
    "str": Bad(lambda good: "abc", REFUSED),
    "list": Bad(lambda good: list(good.values()), REFUSED),
    "empty": Bad(lambda good: {}, REFUSED),
    "None in it": Bad(lambda good: {**good, "b": None}, REFUSED),
    "text in it": Bad(lambda good: {**good, "b": "abc"}, REFUSED),
    "number as key": Bad(lambda good: {3: next(iter(good.values()))}, REFUSED),
}

SYMMETRIC = {  # where a variance may be negative, as the difference of two covariances has it
    **COVARIANCE,
    **{name: COVARIANCE[name]._replace(expected=RIGHT) for name in ("negative variance",)},
    "indefinite": Bad(lambda good: indefinite(good), RIGHT),
    "indefinite in a batch": Bad(lambda good: torch.stack([good, indefinite(good)]), RIGHT),
}
COUNTS_OF_SAMPLES = {
    **NO_TENSOR,
    "list": Bad(lambda good: [8], REFUSED),
    "int": Bad(int, REFUSED),
    "float64": Bad(lambda good: good.double(), REFUSED),
    "int32": Bad(lambda good: good.int(), REFUSED),
    "array": Bad(lambda good: good.numpy(), REFUSED),
    "vector": Bad(lambda good: good.expand(2), REFUSED),
    "negative": Bad(lambda good: -good, REFUSED),
    "meta device": Bad(on_meta, REFUSED),
    "zero": Bad(lambda good: 0 * good, REFUSED),
}
STATISTICS_ALONE = {
    **{name: NO_TENSOR[name] for name in ("None", "str", "dict", "object")},
    "tensor": Bad(lambda good: samples(), REFUSED),
    "of nothing": Bad(lambda good: helpers.SufficientStatistics.from_data(samples()[:0]), RIGHT),
    "float32": Bad(lambda good: good.to(torch.float32), RIGHT),
}
OTHER_STATISTICS = {
    **NO_TENSOR,
    "list": Bad(lambda good: [good], REFUSED),
    "tensor": Bad(lambda good: samples(), REFUSED),
    "other width": Bad(lambda good: helpers.SufficientStatistics.from_data(samples(8, 2)), REFUSED),
    "other batch": Bad(
        lambda good: helpers.SufficientStatistics.from_data(samples().expand(2, 8, 3)), REFUSED
    ),
    "float32": Bad(lambda good: good.to(torch.float32), REFUSED),
    "of nothing": Bad(lambda good: helpers.SufficientStatistics.from_data(samples()[:0]), RIGHT),
    "far away": Bad(lambda good: helpers.SufficientStatistics.from_data(samples() + 1e200), RIGHT),
}
CONVERSIONS = {
    "None": Bad(lambda good: (None,), SAME, lambda good: (torch.float64,)),  # torch takes it
    "nothing": Bad(lambda good: (), SAME, lambda good: (torch.float64,)),
    "unknown": Bad(lambda good: ("abacus",), REFUSED),
    "half": Bad(lambda good: (torch.float16,), REFUSED),
    "int64": Bad(lambda good: (torch.int64,), REFUSED),
    "complex": Bad(lambda good: (torch.complex128,), REFUSED),
    "meta": Bad(lambda good: ("meta",), REFUSED),
    "not there": Bad(lambda good: ("cuda:99",), REFUSED),
    "list": Bad(lambda good: ([],), REFUSED),
    "too many": Bad(lambda good: ("cpu", torch.float64, False, False, 1, 2), REFUSED),
}
NAMED_CONVERSIONS = {
    "unknown": Bad(lambda good: {"shape": (3, 3)}, REFUSED),
    "half": Bad(lambda good: {"dtype": torch.float16}, REFUSED),
    "meta": Bad(lambda good: {"device": "meta"}, REFUSED),
    "wrong type": Bad(lambda good: {"dtype": "float64"}, REFUSED),
    "copy": Bad(lambda good: {"copy": True}, SAME, lambda good: {}),
}
RECORDS = {
    **{name: bad for name, bad in NO_TENSOR.items() if name != "float"},
    "float": Bad(lambda good: 1.0, REFUSED),
    "number": Bad(lambda good: good[0], REFUSED),
    "nothing": Bad(lambda good: good[:0], REFUSED),
    "too short": Bad(lambda good: good[:-1], REFUSED),
    "meta device": Bad(on_meta, REFUSED),
    "complex": Bad(lambda good: good.to(torch.complex128), REFUSED),
}
FINITE_RECORDS = {
    **RECORDS,
    "nan": Bad(with_entry(math.nan), REFUSED),
    "array": Bad(lambda good: good.numpy(), SAME, itself),
}
STEPS = {**RECORDS, "fractions": Bad(lambda good: good + 0.5, REFUSED)}
STEPPED = {
    **NO_TENSOR,
    "list": Bad(lambda good: [good], REFUSED),
    "learner": Bad(lambda good: learner(), REFUSED),
    "nan": MODEL["nan"],
    "half": MODEL["half"],
    "meta device": MODEL["meta device"],
    "other width": MODEL["other width"]._replace(blamed="objective"),
}
OBJECTIVE = {
    **NO_TENSOR,
    "list": Bad(lambda good: [good], REFUSED),
    "samples": Bad(lambda good: samples(), REFUSED),
    "statistics": Bad(lambda good: good.statistics, REFUSED),
}
STATE = {
    **NO_TENSOR,
    "list": Bad(list, REFUSED),
    "empty": Bad(lambda good: {}, REFUSED),
    "one missing": Bad(lambda good: {k: v for k, v in good.items() if k != "moments"}, REFUSED),
    "wrong shape": Bad(lambda good: {**good, "loc": good["loc"][:2]}, REFUSED),
    "nan": Bad(lambda good: {**good, "loc": good["loc"] * math.nan}, REFUSED),
    "no factor": Bad(lambda good: {**good, "scale_tril": -good["scale_tril"]}, REFUSED),
    "wrong moments": Bad(lambda good: {**good, "moments": [1, 2]}, REFUSED),
}
STATE = {name: bad._replace(blamed="checkpoint") for name, bad in STATE.items()}
SAVED = {
    **NOTHING,
    "str": Bad(lambda good: "state", REFUSED),
    "int": Bad(lambda good: 3, REFUSED),
    "list": Bad(lambda good: [good], REFUSED),
    "tensor": Bad(lambda good: samples(), REFUSED),
    "function in it": Bad(lambda good: {"f": print}, REFUSED),
    "object in it": Bad(lambda good: {"f": object()}, REFUSED),
}
ANSWER = {  # of an exercise: whatever it is, the check says something
    name: Bad(lambda good, make=bad.make: make(samples()), RIGHT)
    for name, bad in {
        **NO_TENSOR,
        **NOT_FINITE,
        "int": Bad(lambda good: 3, RIGHT),
        "function of nothing": Bad(lambda good: lambda: 3, RIGHT),
        "function that raises": Bad(lambda good: lambda *x: 1 / 0, RIGHT),
        "function that returns None": Bad(lambda good: lambda *x: None, RIGHT),
        "class": Bad(lambda good: dict, RIGHT),
        "sparse": Bad(lambda good: samples().to_sparse(), RIGHT),
        "meta device": Bad(lambda good: on_meta(samples()), RIGHT),
        "complex": Bad(lambda good: samples().to(torch.complex128), RIGHT),
    }.items()
}
THINGS = {
    "None": Bad(lambda good: (None,), REFUSED),
    "nothing": Bad(lambda good: (), REFUSED),
    "name": Bad(lambda good: ("log_det",), REFUSED),
    "tensor": Bad(lambda good: (samples(),), REFUSED),
    "built-in": Bad(lambda good: (len,), REFUSED),
    "bound value": Bad(lambda good: (model(),), REFUSED),
    "list": Bad(lambda good: (list(good),), REFUSED),
}
DEVICES = {
    "str": Bad(lambda good: "cpu", REFUSED),
    "int": Bad(lambda good: 3, REFUSED),
    "empty": Bad(lambda good: [], REFUSED),
    "meta in it": Bad(lambda good: ["cpu", "meta"], REFUSED),
    "wrong name in it": Bad(lambda good: ["cpu", "abacus"], REFUSED),
    "None in it": Bad(lambda good: ["cpu", None], REFUSED),
}
COUNTS = {
    **{name: SIZES[name] for name in ("None", "int", "str", "tensor", "with a text", "with None")},
    **{name: SIZES[name] for name in ("with a fraction", "with a negative", "with bool", "list")},
    "empty": Bad(lambda good: [], REFUSED),
    "with zero": Bad(lambda good: [2, 0], REFUSED),
    "with a huge number": Bad(lambda good: [2, 10**30], RIGHT),
}
SIZE = {**COUNT, "huge": Bad(lambda good: 10**30, REFUSED)}
FIGURE = {
    **NOTHING,
    "str": Bad(lambda good: "fig", REFUSED),
    "axes": Bad(lambda good: good.axes[0], REFUSED),
    "pair of subplots": Bad(lambda good: (good, good.axes), REFUSED),
    "class": Bad(type, REFUSED),
}
SLIDER = {
    **NUMBER,
    "outside": Bad(lambda good: 50.0, REFUSED),
    "huge": Bad(lambda good: 1e300, REFUSED),
    "far below": Bad(lambda good: -1e300, REFUSED),
    "tiny": Bad(lambda good: 5e-324, RIGHT),
}
SINGULAR = {  # an ellipse that is a segment or a point can be drawn
    "zero on the diagonal": Bad(with_entry(0.0), RIGHT),
    "negative diagonal": Bad(lambda good: -good, RIGHT),
    "zeros": Bad(lambda good: 0 * good, RIGHT),
}
FIXED_RANK = {
    "nan in a batch": Bad(in_second_of_batch(math.nan), REFUSED),
    "batch of one": Bad(lambda good: good[None], REFUSED),
    "batch of none": Bad(lambda good: good[None][:0], REFUSED),
    "constant column in a batch": Bad(lambda good: torch.stack([good, good]), REFUSED),
    "no row": Bad(lambda good: good[:0], REFUSED),
}
GRID = {
    **VECTOR,
    "unsorted": Bad(lambda good: good.flip(0), REFUSED),
    "one value": Bad(lambda good: good[:1], REFUSED),
    "constant": Bad(lambda good: 0 * good, REFUSED),
    "zeros": Bad(lambda good: 0 * good, REFUSED),
    "stride 0": Bad(one_stride, REFUSED),
    # A finer, a coarser and a shorter grid are grids.
    "too short": Bad(lambda good: good[:-1], RIGHT),
    "too wide": Bad(lambda good: torch.cat([good, good[-1:] + 1]), RIGHT),
}

TRUTHS = {
    **{name: bad for name, bad in NO_TENSOR.items() if name != "None"},
    "numbers": Bad(lambda good: good.double(), REFUSED),
    "array": Bad(lambda good: good.numpy(), REFUSED),
    "too short": Bad(lambda good: good[:-1], REFUSED),
    "meta device": Bad(on_meta, REFUSED),
}
SCALE_MAP = {
    **NOTHING,
    "str": Bad(lambda good: "softplus", REFUSED),
    "class": Bad(lambda good: helpers.SoftplusCholesky, REFUSED),
    "function": Bad(lambda good: torch.exp, REFUSED),
    "other module": Bad(lambda good: nn.Softplus(), REFUSED),
    "tensor": Bad(lambda good: torch.ones(2), REFUSED),
}
KINDS: dict[str, dict[str, Bad]] = {
    "scale map": SCALE_MAP,
    "truths": TRUTHS,
    "samples": SAMPLES,
    "samples or statistics": {**SAMPLES, **STATISTICS},
    "scale_tril": SCALE_TRIL,
    "covariance": COVARIANCE,
    "square": SQUARE,
    "vector": VECTOR,
    "gaussian": GAUSSIAN,
    "model": MODEL,
    "own model": OWN,
    "batches": BATCHES,
    "batch of samples": BATCH,
    "optimizer": OPTIMIZER,
    "count": COUNT,
    "from zero": FROM_ZERO,
    "number": NUMBER,
    "positive": POSITIVE,
    "text": TEXT,
    "label": LABEL,
    "choice": CHOICE,
    "flag": FLAG,
    "switch": SWITCH,
    "dtype": DTYPE,
    "device": DEVICE,
    "kind of device": NO_DEVICE,
    "sizes": SIZES,
    "dims": DIMS,
    "path": PATH,
    "folder or None": FOLDER,
    "headers of shards": HEADERS_OF_SHARDS,
    "shards": SHARDS,
    "callable": CALLABLE,
    "group or None": GROUP,
    "axes": AXES,
    "color": COLOR,
    "linestyle": LINESTYLE,
    "format": FORMAT,
    "labels": LABELS,
    "mapping": MAPPING,
}
KINDS |= {
    "batches of a fit": {k: bad for k, bad in BATCHES.items() if k not in ("tensor", "array")},
    "symmetric": SYMMETRIC,
    "tensor of counts": COUNTS_OF_SAMPLES,
    "statistics alone": STATISTICS_ALONE,
    "other statistics": OTHER_STATISTICS,
    "what to() takes": CONVERSIONS,
    "names that to() takes": NAMED_CONVERSIONS,
    "records": FINITE_RECORDS,
    "steps": STEPS,
    "model of a stepper": STEPPED,
    "objective": OBJECTIVE,
    "state": STATE,
    "saved state": SAVED,
    "answer": ANSWER,
    "things": THINGS,
    "devices": DEVICES,
    "counts": COUNTS,
    "repeats": SIZE,  # a huge number of them would take for ever
    "size": SIZE,
    "figure": FIGURE,
    "slider": SLIDER,
    "grid": drawn(GRID),
    "drawn factor": drawn(SCALE_TRIL, **SINGULAR),
    "drawn scale_tril": drawn(SCALE_TRIL),
    "drawn covariance": drawn(COVARIANCE),
    "drawn vector": drawn(VECTOR),
    "drawn points": drawn(SAMPLES, **FIXED_RANK),
    "drawn matrix": drawn(SAMPLES, **FIXED_RANK),
}
WITH_DEFAULT = ("count", "positive", "number", "path", "flag", "dims", "sizes")
for _name in (*WITH_DEFAULT, "scale map", "vector"):
    # None stands for the default, which is what the good call has.
    KINDS[f"{_name} or None"] = {k: bad for k, bad in KINDS[_name].items() if k != "None"}

ALL_TENSORS = {
    "float32": Bad(lambda good: good.float(), RIGHT),
    "arrays": Bad(lambda good: good.numpy().copy(), SAME, itself),
    "require grad": Bad(lambda good: good.clone().requires_grad_(), SAME, itself),
    "non-contiguous": Bad(non_contiguous, SAME, itself),
    "meta device": Bad(on_meta, REFUSED),
    "half": Bad(lambda good: good.half(), REFUSED),
}


# Trying ----------------------------------------------------------------------------------------


def try_target(name: str, target: Target) -> Iterator[Result]:
    """Try every bad value of every argument of a function, all others good."""
    for parameter, value, bad in cells(target):
        yield _try(name, target, parameter, value, bad)


def cells(target: Target) -> Iterator[tuple[str, str, Bad]]:
    """The bad values of a function: parameter, name of the value, value."""
    for parameter, kind in target.kinds.items():
        values = {**KINDS[kind], **target.extra.get(parameter, {})}
        yield from ((parameter, value, bad) for value, bad in values.items())
    if tensors_of(target.good()):
        yield from ((TOGETHER, value, bad) for value, bad in together(target).items())


def together(target: Target) -> dict[str, Bad]:
    """Values of all tensors at once: functions that draw take any real numbers."""
    is_drawn = any(kind.startswith("drawn") or kind == "grid" for kind in target.kinds.values())
    as_double = {"half": Bad(lambda good: good.half(), SAME, lambda good: good.half().double())}
    return {**ALL_TENSORS, **(as_double if is_drawn else {})}


def tensors_of(arguments: Mapping[str, Any]) -> list[str]:
    """The names of the arguments that are tensors of real numbers."""
    return [
        name
        for name, value in arguments.items()
        if isinstance(value, Tensor) and value.is_floating_point()
    ]


def _try(name: str, target: Target, parameter: str, value: str, bad: Bad) -> Result:
    arguments = _with(target, parameter, bad.make)
    before = _state(arguments), _global_state()
    outcome, warned = _call(target, arguments)
    problem = ""
    if outcome.error is not None:
        problem = _problem_of_refusal(outcome.error, target, parameter, bad)
    elif outcome.answer is not None:
        problem = _problem_of_answer(outcome.answer, target, parameter, bad, arguments)
    may_change = target.changes if outcome.error is None else ()
    problem = problem or _changed(before, arguments, may_change) or warned
    return Result(name, parameter, value, outcome.error is not None, problem)


def _with(target: Target, parameter: str, make: Callable[[Any], Any]) -> dict[str, Any]:
    arguments = target.good()
    which = tensors_of(arguments) if parameter == TOGETHER else [parameter]
    for name in which:
        arguments[name] = make(arguments[name])
    return arguments


def _call(target: Target, arguments: dict[str, Any]) -> tuple[Outcome, str]:
    """Call with what may warn on the way, which no answer should."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            outcome = Outcome(numbers(target.call(**arguments)), None)
        except Exception as error:  # what it is, and whether it is good enough, is what we ask
            outcome = Outcome(None, error)
    warned = "; ".join(f"warns: {each.message}" for each in caught)
    return outcome, warned


def _problem_of_refusal(error: Exception, target: Target, parameter: str, bad: Bad) -> str:
    message = str(error)
    if isinstance(error, target.gives_up) and bad.expected == RIGHT:
        return ""
    if not isinstance(error, (TypeError, ValueError)):
        return f"{type(error).__name__}: {message}"[:200]
    is_good = bad.expected == SAME and (
        bad.clean is itself or _clean(target, parameter, bad).error is None
    )
    if is_good:
        return f"refuses what is good: {message}"[:200]
    asked = tensors_of(target.good()) if parameter == TOGETHER else [parameter]
    asked += [bad.blamed] if bad.blamed else []
    words = ["expected", "got"]
    named = any(re.search(rf"\b{name}\b", message) for name in asked) or "self" in asked
    if not (named and all(word in message for word in words)):
        return f"says {type(error).__name__}: {message}"[:200]
    return ""


def _problem_of_answer(
    answer: list[Any], target: Target, parameter: str, bad: Bad, arguments: dict[str, Any]
) -> str:
    if bad.expected == REFUSED:
        return f"answers {answer}"[:120]
    if any(not is_finite(part) for part in answer):
        return f"answers {answer}"[:120]
    if bad.expected == SAME:
        clean = _clean(target, parameter, bad)
        if clean.error is not None:
            return f"answers where the same otherwise stored is refused: {clean.error}"[:200]
        return difference(clean.answer, answer, SAME_RTOL)
    if target.exact is None:
        return ""
    narrow = any(each.dtype == torch.float32 for each in _floats([*arguments.values(), *answer]))
    try:
        expected = target.exact(**arguments)
    except (TypeError, ValueError, ZeroDivisionError) as error:
        return f"answers {answer} where there is no answer: {error}"[:200]
    if expected is None:
        return ""
    tolerance = FLOAT32_RTOL if narrow else EXACT_RTOL
    return difference([torch.tensor(expected, dtype=torch.float64)], [_joined(answer)], tolerance)


def _clean(target: Target, parameter: str, bad: Bad) -> Outcome:
    if bad.clean is itself:
        return _all_good(target)
    return _call(target, _with(target, parameter, bad.clean))[0]


@cache
def _all_good(target: Target) -> Outcome:
    return _call(target, target.good())[0]


def numbers(answer: Any) -> list[Any]:
    """All that an answer consists of: arrays, numbers and texts, in their order."""
    if isinstance(answer, Tensor):
        return [answer.detach().clone()]
    if isinstance(answer, np.ndarray):
        return [torch.as_tensor(np.ma.filled(answer, 0.0).copy())]
    if isinstance(answer, Mapping):
        return [part for each in answer.values() for part in numbers(each)]
    if isinstance(answer, (list, tuple)):
        return [part for each in answer for part in numbers(each)]
    if isinstance(answer, helpers.SufficientStatistics):
        return numbers((answer.count, answer.mean, answer.scatter))
    if isinstance(answer, nn.Module):
        return numbers(answer.state_dict())
    if isinstance(answer, helpers.History):
        return numbers((answer.step, answer.loss, answer.gap))
    for read in ("get_xydata", "get_offsets", "get_array"):
        if hasattr(answer, read):
            return numbers(getattr(answer, read)())
    if hasattr(answer, "axes") and isinstance(answer.axes, list):  # a figure
        drawn_in = [(*ax.lines, *ax.collections, *ax.texts) for ax in answer.axes]
        return numbers(drawn_in)
    if hasattr(answer, "get_text"):
        return [answer.get_text()]
    return [] if answer is None else [answer if isinstance(answer, (int, float)) else str(answer)]


def is_finite(part: Any) -> bool:
    """Whether nothing in a part of an answer is NaN or infinite."""
    if isinstance(part, Tensor):
        return not part.is_meta and bool(part.isfinite().all())
    return not isinstance(part, float) or math.isfinite(part)


def difference(expected: list[Any], given: list[Any], rtol: float) -> str:
    """What is other than expected; empty if nothing is."""
    if len(expected) != len(given):
        return f"answers {given}, expected {expected}"[:200]
    for one, other in zip(expected, given, strict=True):
        if isinstance(one, str) or isinstance(other, str):
            if one != other:
                return f"answers {other!r}, expected {one!r}"[:200]
            continue
        one, other = torch.as_tensor(one), torch.as_tensor(other)
        if one.shape != other.shape or one.device != other.device:
            return f"answers shape {tuple(other.shape)}, expected {tuple(one.shape)}"
        # Below the smallest normal number no relative precision can be asked for.
        tiny = torch.finfo(other.dtype).tiny if other.is_floating_point() else 0.0
        scale = one.double().abs().max() if one.numel() else 0.0
        off = (one.double() - other.double()).abs()
        if bool((off > rtol * (one.double().abs() + 1e-3 * scale) + tiny).any()):
            return f"answers {other.tolist()}, expected {one.tolist()}"[:200]
    return ""


def _joined(answer: list[Any]) -> Tensor:
    parts = [torch.as_tensor(part, dtype=_dtype_of(part)).flatten() for part in answer]
    wide = torch.promote_types(parts[0].dtype, parts[-1].dtype)
    return torch.cat([part.to(wide) for part in parts])


def _dtype_of(part: Any) -> torch.dtype | None:
    return None if isinstance(part, Tensor) else torch.float64  # integers may be larger than 2^63


def _floats(values: Sequence[Any]) -> list[Tensor]:
    return [
        part for part in numbers(values) if isinstance(part, Tensor) and part.is_floating_point()
    ]


# What must not change --------------------------------------------------------------------------


def _state(value: Any) -> Any:
    """A copy of all the bits of a value, and what else it may lose."""
    if isinstance(value, Tensor):
        kind = (value.dtype, str(value.device), tuple(value.shape), value.requires_grad)
        return (*kind, _bits(value), value._version, value.grad is None)
    if isinstance(value, np.ndarray):
        return (value.dtype, value.shape, value.tobytes() if value.dtype != object else None)
    if isinstance(value, nn.Module):
        parts = {**dict(value.named_parameters()), **dict(value.named_buffers())}
        return (value.training, {name: _state(part)[:5] for name, part in parts.items()})
    if isinstance(value, Mapping):
        return {key: _state(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_state(each) for each in value]
    if isinstance(value, helpers.SufficientStatistics):
        return _state((value.count, value.mean, value.scatter))
    return value if isinstance(value, (int, float, str, bytes, complex)) else None


def _bits(tensor: Tensor) -> bytes | None:
    if tensor.is_meta or tensor.layout != torch.strided:
        return None
    return tensor.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes()


def _global_state() -> tuple[Any, ...]:
    return (
        torch.get_rng_state().numpy().tobytes(),
        np.random.get_state()[1].tobytes(),  # noqa: NPY002
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
        torch.get_num_threads(),
    )


def _changed(before: tuple[Any, Any], arguments: dict[str, Any], allowed: Sequence[str]) -> str:
    old, old_world = before
    new = _state(arguments)
    changed = [name for name in old if name not in allowed and repr(old[name]) != repr(new[name])]
    if changed:
        return f"changes {', '.join(changed)}"
    return "" if old_world == _global_state() else "changes the global state"


# What there is ---------------------------------------------------------------------------------


@cache
def surface() -> dict[str, list[str]]:
    """The parameters of every public function, constructor and method."""
    found = {}
    for name in helpers.__all__:
        value = getattr(helpers, name)
        if callable(value):
            found[name] = parameters_of(value)
        if inspect.isclass(value):
            methods = {each: inspect.getattr_static(value, each) for each in dir(value)}
            for own, method in methods.items():
                function = getattr(method, "__func__", method)  # of a class method
                if is_own_method(own, function):
                    found[f"{name}.{own}"] = parameters_of(function)
    return found


def is_own_method(name: str, function: Any) -> bool:
    """Whether a method is public and written here."""
    public = not name.startswith("_") and inspect.isfunction(function)
    return public and function.__module__.startswith("helpers")


def parameters_of(function: Callable[..., Any]) -> list[str]:
    """The names that can be passed, without those of the object or class itself."""
    return [name for name in inspect.signature(function).parameters if name not in ("self", "cls")]
