"""Nine maps from numbers without walls to a Cholesky factor, behind one interface."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from helpers.gaussian import solve_for_inverse, triangular
from helpers.parametrizations import log_cholesky, log_cholesky_inverse, shape_of_factors
from helpers.validation import (
    as_kind,
    as_scale_tril,
    as_square,
    as_tensor,
    require_broadcastable,
    require_count,
    require_finite,
)


def cholesky_of_root(root: Tensor, *, validate_args: bool = True) -> Tensor:
    r"""Cholesky factor of a covariance that is known by another square root.

    .. math:: \Sigma = A A^\top, \quad A^\top = Q R \;\Rightarrow\; L = R^\top

    with the signs of the rows of R chosen so that its diagonal is positive. Nothing is squared and
    nothing can fail, whereas the factorisation of a rounded :math:`A A^\top` can.

    Parameters
    ----------
    root : Tensor, shape (*batch, d, d)
        Any A of full rank, beyond rounding: of one that is singular up to its last digits, the
        smallest scale is rounding itself.
    validate_args : bool
        False skips all checks, as in torch.distributions: for loops that checked before.

    Returns
    -------
    Tensor, shape (*batch, d, d)
        Lower triangular, positive on the diagonal; in the units of A.

    Raises
    ------
    TypeError, ValueError
        If `root` is no finite matrix of full rank.

    References
    ----------
    Golub and Van Loan (2013), Matrix Computations, 4th edition, section 5.2.
    """
    if validate_args:
        root = as_square(root, "root")
    scale_tril = triangular(root)
    if validate_args:
        if bool((scale_tril.diagonal(dim1=-2, dim2=-1) == 0).any()):
            raise ValueError("root: expected full rank, got a matrix with dependent rows")
        _as_factor(scale_tril, "root")
    return scale_tril


class ScaleMap(nn.Module):
    r"""A map from free numbers to a Cholesky factor; what all of them share.

    It has no parameters of its own, so that it serves `torch.nn.utils.parametrize` as it is::

        register_parametrization(module, "scale_tril", SoftplusCholesky())

    makes `module.scale_tril` the factor of free numbers, which the optimiser gets to see, and
    `module.scale_tril = L` sets them. `MappedCholesky` does the same without a module around it.

    The maps that take their numbers from a QR or a singular value decomposition know a row only to
    the rounding of the largest: for `MatrixExponential` and `Spectral`, scales of variables further
    apart than the dtype has digits are lost, and `right_inverse` refuses such a factor.
    """

    def __init__(self) -> None:
        super().__init__()

    def n_parameters(self, dim: int) -> int:
        """How many free numbers a covariance of `dim` variables takes."""
        dim = require_count(dim, "dim")
        return dim * (dim + 1) // 2

    def forward(self, free: Tensor, *, validate_args: bool = True) -> Tensor:
        """The factor that free numbers stand for.

        Parameters
        ----------
        free : Tensor, shape (*batch, n_parameters(d))
            Any value is allowed.
        validate_args : bool
            False skips all checks, for loops that checked before.

        Returns
        -------
        Tensor, shape (*batch, d, d)
            Lower triangular, positive on the diagonal.

        Raises
        ------
        TypeError, ValueError
            If the numbers are not finite, not as many as a covariance has, or if the dtype cannot
            hold the factor.
        """
        if not validate_args:
            return self._factor(free)
        free = as_tensor(free, "free")
        self._dim_of(free)
        require_finite(free, "free")
        return _as_factor(self._factor(free), "free")

    def right_inverse(self, scale_tril: Tensor, *, validate_args: bool = True) -> Tensor:
        """Free numbers of a factor: `forward` makes the same factor of them, up to rounding.

        Parameters
        ----------
        scale_tril : Tensor, shape (*batch, d, d)
            Lower triangular, positive on the diagonal.
        validate_args : bool
            False skips all checks, for loops that checked before.

        Returns
        -------
        Tensor, shape (*batch, n_parameters(d))

        Raises
        ------
        TypeError, ValueError
            If `scale_tril` is no such matrix, the dtype cannot hold the numbers, or they do not
            lead back: to half of the digits of each row, measured by the sum of its sizes.
        """
        if not validate_args:
            return self._free(scale_tril)
        scale_tril = as_scale_tril(scale_tril)
        free = self._free(scale_tril)
        if not bool(torch.isfinite(free).all()):
            raise ValueError(
                "scale_tril: expected a factor whose free numbers its dtype can hold, got one "
                "that is singular to its last digit; other units may help"
            )
        self._require_way_back(scale_tril.detach(), free.detach())
        return free

    def _require_way_back(self, scale_tril: Tensor, free: Tensor) -> None:
        """Raise ValueError unless free numbers lead back to their factor."""
        allowed = torch.finfo(free.dtype).eps ** 0.5 * scale_tril.abs().sum(dim=-1, keepdim=True)
        if not bool(((self._factor(free) - scale_tril).abs() <= allowed).all()):  # NaN is not
            raise ValueError(
                "scale_tril: expected a factor that its free numbers give back, got another from "
                "them: the scales are too far apart for this map and dtype; other units may help"
            )

    def _factor(self, free: Tensor) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__}: the map of free numbers is missing")

    def _free(self, scale_tril: Tensor) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__}: the way back is missing")

    def _dim_of(self, free: Tensor) -> int:
        """Number of variables, from how many numbers there are."""
        count = free.shape[-1] if free.ndim else 0
        dim = self._guess_dim(count)
        if dim == 0 or self.n_parameters(dim) != count:
            near = max(dim, 1)
            raise ValueError(
                f"free: expected shape (..., {self.n_parameters(near)}) for {near} variables or "
                f"(..., {self.n_parameters(near + 1)}) for {near + 1}, got {tuple(free.shape)}"
            )
        return dim

    def _guess_dim(self, count: int) -> int:
        return _triangle_of(count)


class ExpCholesky(ScaleMap):
    r"""The exponential on the diagonal: `log_cholesky` in one vector.

    .. math:: L_{ii} = e^{a_i}, \qquad L_{ij} = b_{ij} \; (i > j)

    The free numbers are a and then b, row by row. The map is one-to-one.

    References
    ----------
    Pinheiro and Bates (1996), Unconstrained parametrizations for variance-covariance matrices.
    Statistics and Computing 6, 289-296.
    """

    def _factor(self, free: Tensor) -> Tensor:
        return log_cholesky(*_split(free), validate_args=False)

    def _free(self, scale_tril: Tensor) -> Tensor:
        return torch.cat(log_cholesky_inverse(scale_tril, validate_args=False), dim=-1)


class SoftplusCholesky(ScaleMap):
    r"""The softplus on the diagonal, a straight line for large numbers.

    .. math:: L_{ii} = \log(1 + e^{a_i}), \qquad L_{ij} = b_{ij} \; (i > j)

    The free numbers are a and then b, row by row. The map is one-to-one.
    """

    def _factor(self, free: Tensor) -> Tensor:
        diagonal, below = _split(free)
        # torch's softplus is the number itself from 20 on, too little by 2e-9.
        return _assemble(torch.logaddexp(diagonal, torch.zeros_like(diagonal)), below)

    def _free(self, scale_tril: Tensor) -> Tensor:
        diagonal, below = _take_apart(scale_tril)
        return torch.cat([diagonal + (-torch.expm1(-diagonal)).log(), below], dim=-1)


class RowScaledCholesky(ScaleMap):
    r"""A scale for each row: for each variable, in its own units.

    .. math:: L = \mathrm{diag}(s)\, U, \qquad s_i = e^{a_i}, \quad U_{ii} = 1, \quad
        U_{ij} = b_{ij} \; (i > j)

    The free numbers are a and then b, row by row. In other units of a variable, one number of a
    changes and no other. The map is one-to-one.
    """

    def _factor(self, free: Tensor) -> Tensor:
        log_scale, below = _split(free)
        return log_scale.exp().unsqueeze(-1) * _unit_triangle(below, free.shape[-1])

    def _free(self, scale_tril: Tensor) -> Tensor:
        scale = scale_tril.diagonal(dim1=-2, dim2=-1)
        _, below = _take_apart(scale_tril / scale.unsqueeze(-1))
        return torch.cat([scale.log(), below], dim=-1)


class ColumnScaledCholesky(ScaleMap):
    r"""A scale for each column: :math:`\Sigma = U D U^\top`, as in an LDL factorisation.

    .. math:: L = U\, \mathrm{diag}(s), \qquad s_j = e^{a_j}, \quad U_{ii} = 1, \quad
        U_{ij} = b_{ij} \; (i > j)

    The free numbers are a and then b, row by row: the logarithms of conditional standard
    deviations, and coefficients of a regression. The map is one-to-one.

    References
    ----------
    Pourahmadi (1999), Joint mean-covariance models with applications to longitudinal data.
    Biometrika 86, 677-690.
    """

    def _factor(self, free: Tensor) -> Tensor:
        log_scale, below = _split(free)
        return _unit_triangle(below, free.shape[-1]) * log_scale.exp().unsqueeze(-2)

    def _free(self, scale_tril: Tensor) -> Tensor:
        scale = scale_tril.diagonal(dim1=-2, dim2=-1)
        _, below = _take_apart(scale_tril / scale.unsqueeze(-2))
        return torch.cat([scale.log(), below], dim=-1)


class CorrelationCholesky(ScaleMap):
    r"""Standard deviations times the factor of a correlation matrix.

    .. math:: L = \mathrm{diag}(s)\, C, \qquad s_i = e^{a_i}, \quad
        C_{ij} = \tanh(b_{ij}) \prod_{k < j} \frac{1}{\cosh b_{ik}}, \quad
        C_{ii} = \prod_{k < i} \frac{1}{\cosh b_{ik}}

    where the rows of C have length one. The free numbers are a, the logarithms of the standard
    deviations of the variables, and then b, row by row: tanh(b_ij) is the partial correlation of
    variables i and j given those before j. The map is one-to-one.

    It is the map of CorrCholeskyTransform in torch.distributions. That one takes
    :math:`\sqrt{1 - \tanh^2 b}` as it stands, which loses half of the digits near a correlation of
    one, and the gradient of its inverse is NaN; 1 / cosh b is the same number and does not cancel.

    References
    ----------
    Lewandowski, Kurowicka and Joe (2009), Generating random correlation matrices based on vines and
    extended onion method. Journal of Multivariate Analysis 100, 1989-2001.
    """

    def _factor(self, free: Tensor) -> Tensor:
        log_scale, below = _split(free)
        zeros = torch.zeros_like(log_scale)
        # sqrt(1 - tanh^2) is 1 / cosh, which does not cancel.
        shrink = _assemble(zeros, below).cosh().reciprocal().cumprod(dim=-1)
        shrink = torch.cat([torch.ones_like(shrink[..., :1]), shrink[..., :-1]], dim=-1)
        return log_scale.exp().unsqueeze(-1) * _assemble(zeros + 1, below.tanh()) * shrink

    def _free(self, scale_tril: Tensor) -> Tensor:
        diagonal = scale_tril.diagonal(dim1=-2, dim2=-1)
        unit = scale_tril / diagonal.unsqueeze(-1)  # so that no size is squared
        scale = diagonal * torch.linalg.vector_norm(unit, dim=-1)
        after = unit.square().flip(-1).cumsum(dim=-1).flip(-1).roll(-1, dims=-1)  # right of each
        _, below = _take_apart(unit)
        _, rest = _take_apart(after)
        return torch.cat([scale.log(), torch.asinh(below / rest.sqrt())], dim=-1)


class MatrixExponential(ScaleMap):
    r"""The exponential of a symmetric matrix.

    .. math:: \Sigma = e^M = I + M + \tfrac12 M^2 + \dots, \qquad M = M^\top

    The free numbers are the diagonal of M and then what is below it, row by row. The map is
    one-to-one, and the order of the variables does not matter to it. The factor comes from the root
    :math:`e^{M/2}`.

    Scales of variables that are far apart do not survive: with rows of 1e-8, 1 and 1e8 in float64
    (1e-4, 1 and 1e4 in float32) the smallest would be off by tens of per cent. `right_inverse`
    refuses what would lose half of its digits. Its gradient is NaN where two eigenvalues are equal.

    References
    ----------
    Chiu, Leonard and Tsui (1996), The matrix-logarithmic covariance model. Journal of the American
    Statistical Association 91, 198-210.
    """

    def _factor(self, free: Tensor) -> Tensor:
        diagonal, below = _split(free)
        lower = _assemble(torch.zeros_like(diagonal), below)
        symmetric = torch.diag_embed(diagonal) + lower + lower.mT
        return cholesky_of_root(torch.matrix_exp(symmetric / 2), validate_args=False)

    def _free(self, scale_tril: Tensor) -> Tensor:
        axes, lengths, _ = torch.linalg.svd(scale_tril)
        return torch.cat(_take_apart((axes * (2 * lengths.log()).unsqueeze(-2)) @ axes.mT), dim=-1)


class PrecisionCholesky(ScaleMap):
    r"""The Cholesky factor of the precision matrix, with an exponential on its diagonal.

    .. math:: \Sigma^{-1} = P P^\top, \qquad P_{ii} = e^{a_i}, \quad P_{ij} = b_{ij} \; (i > j)

    The free numbers are a and then b, row by row. The map is one-to-one. The negative
    log-likelihood is convex in P itself.
    """

    def _factor(self, free: Tensor) -> Tensor:
        return _factor_of_inverse(log_cholesky(*_split(free), validate_args=False))

    def _free(self, scale_tril: Tensor) -> Tensor:
        precision_tril = _factor_of_inverse(scale_tril)
        return torch.cat(log_cholesky_inverse(precision_tril, validate_args=False), dim=-1)


class ProductRoot(ScaleMap):
    r"""A full square matrix times its transpose.

    .. math:: \Sigma = A A^\top

    The free numbers are the :math:`d^2` entries of A, row by row: :math:`d(d-1)/2` more than a
    covariance has. A and A T stand for the same covariance, whatever the orthogonal T; and an
    A without full rank for none.
    """

    def n_parameters(self, dim: int) -> int:
        """How many free numbers a covariance of `dim` variables takes: the square of `dim`."""
        return require_count(dim, "dim") ** 2

    def _factor(self, free: Tensor) -> Tensor:
        dim = math.isqrt(free.shape[-1])
        return cholesky_of_root(free.unflatten(-1, (dim, dim)), validate_args=False)

    def _free(self, scale_tril: Tensor) -> Tensor:
        return scale_tril.flatten(-2).clone()

    def _guess_dim(self, count: int) -> int:
        return math.isqrt(count)


class Spectral(ScaleMap):
    r"""Principal axes, and the standard deviations along them.

    .. math:: \Sigma = V\, \mathrm{diag}(e^{2 a})\, V^\top, \qquad
        V = (I - K)(I + K)^{-1}, \quad K = -K^\top

    Cayley's formula makes a rotation V of any skew-symmetric K. The free numbers are a and then
    what is below the diagonal of K, row by row. The map is many-to-one: axes may be numbered in
    :math:`d!` orders and turned round, and where two variances are equal a whole circle of axes
    stands for the same covariance. The identity is therefore a stationary point wherever the data
    have equal variances too, as standardised columns have: start it with unequal ones.

    Scales of variables that are far apart do not survive: with rows of 1e-8, 1 and 1e8 in float64
    (1e-4, 1 and 1e4 in float32) the smallest would be off by tens of per cent. `right_inverse`
    refuses what would lose half of its digits. Its gradient is NaN where two eigenvalues are equal.

    References
    ----------
    O'Dorney (2014), Minimizing the Cayley transform of an orthogonal matrix by multiplying by
    signature matrices. Linear Algebra and its Applications 448, 97-103.
    """

    def _factor(self, free: Tensor) -> Tensor:
        log_scale, below = _split(free)
        lower = _assemble(torch.zeros_like(log_scale), below)
        skew = lower - lower.mT
        identity = torch.eye(skew.shape[-1], dtype=skew.dtype, device=skew.device)
        # The two factors commute. Numbers too large for a rotation give NaN here, and no error.
        axes = torch.linalg.solve_ex(identity + skew, identity - skew).result
        return cholesky_of_root(axes * log_scale.exp().unsqueeze(-2), validate_args=False)

    def _free(self, scale_tril: Tensor) -> Tensor:
        axes, lengths, _ = torch.linalg.svd(scale_tril)
        axes = axes * _turning_signs(axes).unsqueeze(-2)
        identity = torch.eye(axes.shape[-1], dtype=axes.dtype, device=axes.device)
        skew = torch.linalg.solve(identity + axes, identity - axes)
        _, below = _take_apart(skew - skew.mT)  # twice, less the rounding
        return torch.cat([lengths.log(), below / 2], dim=-1)


SCALE_MAPS = {
    "exp-Cholesky": ExpCholesky,
    "softplus": SoftplusCholesky,
    "row scale": RowScaledCholesky,
    "column scale": ColumnScaledCholesky,
    "correlation": CorrelationCholesky,
    "matrix exponential": MatrixExponential,
    "precision": PrecisionCholesky,
    "product": ProductRoot,
    "spectral": Spectral,
}
"""The nine maps by the names that figures give them."""


class MappedCholesky(nn.Module):
    """A learnable Cholesky factor behind any map; a new one is the identity.

    Parameters
    ----------
    scale_map : ScaleMap
    dim : int
        Number of variables d.
    batch_shape : sequence of int
        One factor for each element.
    dtype, device
        Of the parameter, as in `torch.zeros`.

    Attributes
    ----------
    free : Parameter, shape (*batch_shape, scale_map.n_parameters(d))
    """

    def __init__(
        self,
        scale_map: ScaleMap,
        dim: int,
        batch_shape: Sequence[int] = (),
        *,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        require_scale_map(scale_map, "scale_map")
        *batch, dim = shape_of_factors(dim, batch_shape)
        self.scale_map = scale_map
        identity = scale_map.right_inverse(torch.eye(dim, **as_kind(dtype, device)))
        self.free = nn.Parameter(identity.expand(*batch, -1).clone())
        self.register_load_state_dict_pre_hook(_require_same_map)

    def get_extra_state(self) -> Tensor:
        """The name of the map, in UTF-8, for `state_dict`: (characters,) of uint8."""
        name = list(type(self.scale_map).__name__.encode())
        return torch.tensor(name, dtype=torch.uint8, device="cpu")

    def set_extra_state(self, state: Tensor) -> None:
        """Nothing to set: that it is the same map was seen before any number was loaded."""

    @property
    def first_parameter(self) -> Tensor:
        """Where the factor lives: dtype and device."""
        return self.free

    @property
    def batch_shape(self) -> torch.Size:
        """Shape of the batch of factors."""
        return self.free.shape[:-1]

    def forward(self) -> Tensor:
        """The factor: Tensor, shape (*batch_shape, d, d)."""
        return self.scale_map(self.free, validate_args=False)

    @torch.no_grad()
    def assign(self, scale_tril: Tensor, *, validate_args: bool = True) -> None:
        """Set the parameter so that the factor is `scale_tril`, (*batch_shape, d, d)."""
        if validate_args:
            dim = self.scale_map._dim_of(self.free)
            # In the dtype of the parameter, where a large number may be none.
            scale_tril = as_tensor(scale_tril, "scale_tril").to(self.free)
            scale_tril = as_scale_tril(scale_tril, dim=dim)
            require_broadcastable(self.batch_shape, "scale_tril", scale_tril.shape[:-2])
        self.free.copy_(self.scale_map.right_inverse(scale_tril, validate_args=validate_args))


def require_scale_map(value: object, name: str) -> None:
    """Raise TypeError unless something is a map of this kind."""
    if not isinstance(value, ScaleMap):
        raise TypeError(f"{name}: expected a ScaleMap such as SoftplusCholesky(), got {value!r}")


def _require_same_map(scale: MappedCholesky, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Raise ValueError if `load_state_dict` comes with free numbers of another map."""
    name = state.get(f"{prefix}_extra_state")  # if it is missing, torch says so
    own = type(scale.scale_map).__name__
    if name is not None and (stored := bytes(name.tolist()).decode(errors="replace")) != own:
        raise ValueError(f"state_dict: expected free numbers of {own}, got those of {stored}")


def _as_factor(scale_tril: Tensor, named: str) -> Tensor:
    """Return a factor that is finite and positive on its diagonal."""
    diagonal = scale_tril.detach().diagonal(dim1=-2, dim2=-1)
    smallest = diagonal.amin().item() if diagonal.numel() else math.inf
    if smallest > 0 and bool(torch.isfinite(scale_tril).all()):
        return scale_tril
    dtype = str(scale_tril.dtype).removeprefix("torch.")
    raise ValueError(
        f"{named}: expected numbers whose scale_tril {dtype} can hold, finite and positive on its "
        f"diagonal, got {smallest:.6g} as the smallest entry there"
    )


def _triangle_of(count: int) -> int:
    """Number of variables d whose d(d+1)/2 numbers are so many; the largest that needs no more."""
    return (math.isqrt(8 * count + 1) - 1) // 2


def _split(free: Tensor) -> tuple[Tensor, Tensor]:
    """The first d numbers, and the d(d-1)/2 others."""
    dim = _triangle_of(free.shape[-1])
    return free[..., :dim], free[..., dim:]


def _assemble(diagonal: Tensor, below: Tensor) -> Tensor:
    """A lower-triangular matrix, (*batch, d, d), from its diagonal and what is below, by rows."""
    d = diagonal.shape[-1]
    rows, columns = torch.tril_indices(d, d, offset=-1, device=diagonal.device)
    matrix = torch.diag_embed(diagonal)
    matrix[..., rows, columns] = below
    return matrix


def _take_apart(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Diagonal (*batch, d) and what is below it, (*batch, d(d-1)/2), by rows."""
    d = matrix.shape[-1]
    rows, columns = torch.tril_indices(d, d, offset=-1, device=matrix.device)
    return matrix.diagonal(dim1=-2, dim2=-1), matrix[..., rows, columns]


def _unit_triangle(below: Tensor, count: int) -> Tensor:
    """Ones on the diagonal, and what is below it; of `count` numbers in all."""
    dim = _triangle_of(count)
    return _assemble(below.new_ones(*below.shape[:-1], dim), below)


def _factor_of_inverse(scale_tril: Tensor) -> Tensor:
    """The Cholesky factor of (L L^T)^-1, from the root L^-T; its own inverse."""
    return cholesky_of_root(solve_for_inverse(scale_tril).mT, validate_args=False)


def _turning_signs(axes: Tensor) -> Tensor:
    """Signs of columns, (*batch, d), that turn orthogonal axes into a rotation without half turns.

    Elimination in I + V D, with each sign chosen when its pivot is met: none is then below one.
    """
    rest, signs = axes, []
    for k in range(axes.shape[-1]):
        pivot = rest[..., k, k]
        sign = torch.where(pivot < 0, -1.0, 1.0).to(axes.dtype)
        signs.append(sign)
        column = (rest[..., :, k] * (sign / (1 + sign * pivot)).unsqueeze(-1)).unsqueeze(-1)
        rest = rest - column * rest[..., k, :].unsqueeze(-2)
    return torch.stack(signs, dim=-1)
