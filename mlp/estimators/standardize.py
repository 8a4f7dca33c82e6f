"""Inputs and targets of mean 0 and deviation 1, folded into the network for predictions."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp.estimators.targets import Targets
from mlp.network import Network
from mlp.samples import as_rows

__all__ = ["check_sparse", "measure", "moments", "standardized"]

Array = NDArray[Any]


def _check(name: str, shift: Any, deviation: Array, values: Any) -> None:
    """Refuse to standardise what overflows or vanishes when squared."""
    finite = np.isfinite(deviation).all() and (
        shift is None or np.isfinite(shift).all()
    )
    still = deviation == 0
    if finite and still.any() and not hasattr(values, "indptr"):
        columns = values[:, still]
        finite = (np.nanmax(columns, axis=0) == np.nanmin(columns, axis=0)).all()
    if not finite:
        raise ValueError(
            f"standardize=True: the deviation of {name} is too large or too small for "
            "floating point; rescale its values first"
        )


def moments(values: Any, weights: Array | None) -> tuple[Array, Array]:
    """Mean and deviation of each column, of samples with weights; NaN is left out.

    Parameters
    ----------
    values : ndarray or CSR array of shape (n_samples, n_columns)
    weights : ndarray of shape (n_samples,), or None

    Returns
    -------
    mean : float64 ndarray of shape (n_columns,)
    deviation : float64 ndarray of shape (n_columns,)
    """
    with np.errstate(over="ignore", invalid="ignore"):
        if hasattr(values, "indptr"):
            return _sparse_moments(values, weights)
        if weights is None and not np.isnan(values.min()):
            mean = values.mean(axis=0, dtype=np.float64)
            return mean, values.std(axis=0, dtype=np.float64)
        if weights is None:
            mean = np.nanmean(values, axis=0, dtype=np.float64)
            return mean, np.nanstd(values, axis=0, dtype=np.float64)
        known = ~np.isnan(values)
        shares = np.where(known, weights.astype(np.float64)[:, None], 0.0)
        # of a column that is known only where the weights are 0, all that is known
        shares = np.where(shares.any(axis=0), shares, known)
        shares /= shares.sum(axis=0)
        mean = np.nansum(shares * values, axis=0)
        return mean, np.sqrt(np.nansum(shares * (values - mean) ** 2, axis=0))


def _sparse_moments(X: Any, weights: Array | None) -> tuple[Array, Array]:
    X = as_rows(X, X.dtype)  # an element is one entry
    n_samples, n_columns = X.shape
    weights = np.ones(n_samples) if weights is None else weights.astype(np.float64)
    shares = np.repeat(weights / weights.sum(), np.diff(X.indptr))
    values = X.data.astype(np.float64)

    def sums(of_entries: Array) -> Array:
        return np.bincount(X.indices, of_entries, n_columns)

    mean = sums(shares * values)
    zeros = np.maximum(1 - sums(shares), 0)
    around = sums(shares * (values - mean[X.indices]) ** 2)
    return mean, np.sqrt(around + zeros * mean**2)


def measure(network: Network, targets: Targets, with_targets: bool) -> None:
    """Means and deviations of inputs and targets; sparse inputs are only scaled."""
    X, weights = targets.X, targets.sample_weight
    mean, deviation = moments(X, weights)
    if not targets.sparse:
        network.input_shift = mean
    _check("X", network.input_shift, deviation, X)
    network.input_scale = np.where(deviation > 0, deviation, 1.0)
    values = targets.values
    if with_targets and targets.autoencode:
        shift, network.output_scale = network.input_shift, network.input_scale
        network.output_shift = np.zeros(X.shape[1]) if shift is None else shift
    elif with_targets and values is not None:
        network.output_shift, deviation = moments(values, weights)
        _check("y", network.output_shift, deviation, values)
        network.output_scale = np.where(deviation > 0, deviation, 1.0)


def check_sparse(network: Network) -> None:
    """Refuse sparse X where every value of a sample, the zeros too, is worked on.

    Raises
    ------
    ValueError
        If the network measures distances, or centres its inputs.
    """
    if network.has_rbf:
        raise ValueError("activation='rbf' measures distances: not with sparse X")
    if network.input_statistics is not None:
        raise ValueError(
            f"batch_norm={network.batch_norm!r} would centre the inputs, but X is sparse"
        )
    if network.input_shift is not None:
        raise ValueError(
            "standardize=True: the network was fitted to dense X, whose means it "
            "subtracts, but X is sparse; make X dense, or refit with warm_start=False"
        )


def standardized(network: Network, targets: Targets) -> Targets:
    """The samples as the network is trained on them."""
    if network.input_scale is None and network.output_scale is None:
        return targets
    whole = targets.take(slice(None))  # type: ignore[arg-type]
    whole.smoothing = targets.smoothing
    if network.input_scale is not None:
        factor = (1 / network.input_scale).astype(network.dtype)
        if targets.sparse:
            whole.X = targets.X.multiply(factor).tocsr()
        elif network.input_shift is None:
            whole.X = targets.X * factor
        else:
            whole.X = (targets.X - network.input_shift.astype(network.dtype)) * factor
    if network.output_scale is not None and targets.values is not None:
        values = (targets.values - network.output_shift) / network.output_scale
        whole.values = np.ascontiguousarray(values, dtype=network.dtype)
    return whole
