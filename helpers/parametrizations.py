"""From numbers without walls to a Cholesky factor, and back."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from helpers.validation import (
    LARGEST_SIZE,
    as_free_numbers,
    as_kind,
    as_scale_tril,
    as_tensor,
    require_broadcastable,
    require_count,
    require_counts,
)


def log_cholesky(
    log_diagonal: Tensor, below_diagonal: Tensor, *, validate_args: bool = True
) -> Tensor:
    r"""Cholesky factor from unconstrained numbers.

    .. math:: L_{ii} = e^{a_i}, \qquad L_{ij} = b_{ij} \; (i > j), \qquad L_{ij} = 0 \; (i < j)

    Parameters
    ----------
    log_diagonal : Tensor, shape (*batch, d)
        The a; any value is allowed.
    below_diagonal : Tensor, shape (*batch, d(d-1)/2)
        The b, row by row; any value is allowed.
    validate_args : bool
        False skips all checks, as in torch.distributions: for loops that checked before.

    Returns
    -------
    Tensor, shape (*batch, d, d)
        Lower triangular, positive on the diagonal.

    Raises
    ------
    TypeError, ValueError
        If shapes do not match.

    References
    ----------
    Pinheiro and Bates (1996), Unconstrained parametrizations for variance-covariance matrices.
    Statistics and Computing 6, 289-296.
    """
    if validate_args:
        log_diagonal, below_diagonal = as_free_numbers(log_diagonal, below_diagonal)
    d = log_diagonal.shape[-1]
    rows, columns = torch.tril_indices(d, d, offset=-1, device=log_diagonal.device)
    scale_tril = torch.diag_embed(log_diagonal.exp())  # (*batch, d, d)
    scale_tril[..., rows, columns] = below_diagonal
    return scale_tril


def log_cholesky_inverse(
    scale_tril: Tensor, *, validate_args: bool = True
) -> tuple[Tensor, Tensor]:
    """The unconstrained numbers of a Cholesky factor; inverse of `log_cholesky`.

    Parameters
    ----------
    scale_tril : Tensor, shape (*batch, d, d)
        Lower triangular, positive on the diagonal.
    validate_args : bool
        False skips all checks, as in torch.distributions: for loops that checked before.

    Returns
    -------
    log_diagonal : Tensor, shape (*batch, d)
    below_diagonal : Tensor, shape (*batch, d(d-1)/2)

    Raises
    ------
    TypeError, ValueError
        If `scale_tril` is no such matrix.
    """
    if validate_args:
        scale_tril = as_scale_tril(scale_tril)
    d = scale_tril.shape[-1]
    rows, columns = torch.tril_indices(d, d, offset=-1, device=scale_tril.device)
    return scale_tril.diagonal(dim1=-2, dim2=-1).log(), scale_tril[..., rows, columns]


def shape_of_factors(dim: int, batch_shape: Sequence[int]) -> tuple[int, ...]:
    """Return (*batch, d) of factors (*batch, d, d); ValueError if those are too large."""
    dim = require_count(dim, "dim")
    batch = require_counts(batch_shape, "batch_shape", minimum=0)
    if math.prod(batch) * dim**2 > LARGEST_SIZE:
        raise ValueError(
            f"dim, batch_shape: expected at most {LARGEST_SIZE} numbers in a factor, "
            f"got {(*batch, dim, dim)}"
        )
    return (*batch, dim)


class LogCholesky(nn.Module):
    """A learnable Cholesky factor with d(d+1)/2 parameters; a new one is the identity.

    Parameters
    ----------
    dim : int
        Number of variables d.
    batch_shape : sequence of int
        One factor for each element.
    dtype, device
        Of the parameters, as in `torch.zeros`.

    Attributes
    ----------
    log_diagonal : Parameter, shape (*batch_shape, d)
    below_diagonal : Parameter, shape (*batch_shape, d(d-1)/2)
    """

    def __init__(
        self,
        dim: int,
        batch_shape: Sequence[int] = (),
        *,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        *batch, dim = shape_of_factors(dim, batch_shape)
        kind = as_kind(dtype, device)
        self.log_diagonal = nn.Parameter(torch.zeros(*batch, dim, **kind))
        self.below_diagonal = nn.Parameter(torch.zeros(*batch, dim * (dim - 1) // 2, **kind))

    @property
    def first_parameter(self) -> Tensor:
        """One of the parameters: it tells dtype and device of all."""
        return self.log_diagonal

    @property
    def batch_shape(self) -> torch.Size:
        """Shape of the batch of factors."""
        return self.log_diagonal.shape[:-1]

    def forward(self) -> Tensor:
        """The factor: Tensor, shape (*batch_shape, d, d)."""
        return log_cholesky(self.log_diagonal, self.below_diagonal, validate_args=False)

    @torch.no_grad()
    def assign(self, scale_tril: Tensor, *, validate_args: bool = True) -> None:
        """Set the parameters so that the factor is `scale_tril`, (*batch_shape, d, d)."""
        if validate_args:
            # In the dtype of the parameters, where a large number may be none.
            scale_tril = as_tensor(scale_tril, "scale_tril").to(self.log_diagonal)
            scale_tril = as_scale_tril(scale_tril, dim=self.log_diagonal.shape[-1])
            batch_shape = self.log_diagonal.shape[:-1]
            require_broadcastable(batch_shape, "scale_tril", scale_tril.shape[:-2])
        log_diagonal, below_diagonal = log_cholesky_inverse(scale_tril, validate_args=False)
        self.log_diagonal.copy_(log_diagonal)
        self.below_diagonal.copy_(below_diagonal)
