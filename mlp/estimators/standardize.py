"""Standardisation of inputs and targets, folded into the network for predictions."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import gen_batches

from mlp.estimators.training_data import TrainingData
from mlp.network.network import Network
from mlp.network.samples import as_rows

__all__ = ["check_sparse", "measure", "moments", "standardized"]

Array = NDArray[Any]

#: numbers that are converted at once from float64 to a narrower dtype
BLOCK = 2**16


def _check(name: str, shift: Any, deviation: Array, values: Any) -> None:
    """Refuse to standardise values whose squares overflow or vanish."""
    finite = np.isfinite(deviation).all() and (
        shift is None or np.isfinite(shift).all()
    )
    constant = deviation == 0
    if finite and constant.any() and not hasattr(values, "indptr"):
        columns = values[:, constant]
        spread = np.nanmax(columns, axis=0) - np.nanmin(columns, axis=0)
        squared = spread.astype(np.float64) ** 2
        finite = ((spread == 0) | (squared > np.finfo(np.float64).tiny)).all()
    if not finite:
        raise ValueError(
            f"standardize=True: the deviation of {name} is too large or too small for "
            "floating point; rescale its values first"
        )


def moments(values: Any, weights: Array | None) -> tuple[Array, Array]:
    """Return the weighted mean and deviation of each column; NaN is left out.

    The deviation is exactly 0 where the variance is within the rounding error of that of a
    constant column, by the rule of scikit-learn's ``StandardScaler``.

    Parameters
    ----------
    values : ndarray or CSR array of shape (n_samples, n_columns)
    weights : ndarray of shape (n_samples,), or None

    Returns
    -------
    mean : float64 ndarray of shape (n_columns,)
    deviation : float64 ndarray of shape (n_columns,)
    """
    of_kind = _sparse_moments if hasattr(values, "indptr") else _dense_moments
    with np.errstate(over="ignore", invalid="ignore"):
        mean, variance, n = of_kind(values, weights)
        eps = np.finfo(np.float64).eps
        constant = variance <= n * eps * variance + (n * mean * eps) ** 2
        constant &= np.isfinite(variance)
        return mean, np.sqrt(np.where(constant, 0.0, variance))


def _dense_moments(values: Array, weights: Array | None) -> tuple[Array, Array, Any]:
    """Return mean, variance and number of values of each column."""
    if weights is None and not np.isnan(values.min()):
        mean = values.mean(axis=0, dtype=np.float64)
        return mean, values.var(axis=0, dtype=np.float64), len(values)
    known = ~np.isnan(values)
    n = known.sum(axis=0)
    if weights is None:
        mean = np.nanmean(values, axis=0, dtype=np.float64)
        return mean, np.nanvar(values, axis=0, dtype=np.float64), n
    shares = np.where(known, weights.astype(np.float64)[:, None], 0.0)
    # a column that is known only in samples of weight 0 has equal weights
    shares = np.where(shares.any(axis=0), shares, known)
    shares /= shares.sum(axis=0)
    mean = np.nansum(shares * values, axis=0)
    return mean, np.nansum(shares * (values - mean) ** 2, axis=0), n


def _sparse_moments(X: Any, weights: Array | None) -> tuple[Array, Array, int]:
    """Return mean and variance of each column, and the number of values per column."""
    X = as_rows(X, X.dtype)  # one entry per element
    if weights is None:
        weights = np.ones(X.shape[0])
    else:
        X, weights = X[weights != 0], weights[weights != 0].astype(np.float64)
    n_samples, n_columns = X.shape
    shares = np.repeat(weights / weights.sum(), np.diff(X.indptr))
    values = X.data.astype(np.float64)

    def sums(of_entries: Array) -> Array:
        return np.bincount(X.indices, of_entries, n_columns)

    mean = sums(shares * values)
    # where every entry is stored, the rounding error of 1 − sum is not an absent entry
    full = np.bincount(X.indices, minlength=n_columns) == n_samples
    absent = np.where(full, 0.0, np.maximum(1 - sums(shares), 0))
    around = sums(shares * (values - mean[X.indices]) ** 2)
    return mean, around + absent * mean**2, n_samples


def measure(network: Network, targets: TrainingData, with_targets: bool) -> None:
    """Set the network's means and deviations; sparse inputs are only scaled."""
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
    """Refuse sparse X where the zeros of a sample count as values.

    Raises
    ------
    ValueError
        If the network has radial basis functions, or centres its inputs.
    """
    if network.has_rbf:
        raise ValueError("activation='rbf' measures distances and needs dense X")
    norm = network.spec.batch_norm
    if norm is not None and norm.has_input:
        raise ValueError(
            f"batch_norm={norm.where!r} would centre the inputs, but X is sparse"
        )
    if network.input_shift is not None:
        raise ValueError(
            "standardize=True: the network was fitted to dense X, whose means it "
            "subtracts, but X is sparse; make X dense, or refit with warm_start=False"
        )


def standardized(network: Network, targets: TrainingData) -> TrainingData:
    """Return the samples standardised in float64, then rounded to the network's dtype."""
    if network.input_scale is None and network.output_scale is None:
        return targets
    whole = targets.take(slice(None))  # type: ignore[arg-type]
    whole.smoothing = targets.smoothing
    if network.input_scale is not None:
        factor = 1 / network.input_scale
        if targets.sparse:
            whole.X = targets.X.multiply(factor).tocsr().astype(network.dtype)
        else:
            shift = 0.0 if network.input_shift is None else network.input_shift
            whole.X = np.empty(targets.X.shape, network.dtype)
            for rows in gen_batches(len(whole.X), max(1, BLOCK // whole.X.shape[1])):
                whole.X[rows] = (targets.X[rows] - shift) * factor
    if network.output_scale is not None and targets.values is not None:
        values = (targets.values - network.output_shift) / network.output_scale
        whole.values = np.ascontiguousarray(values, dtype=network.dtype)
    return whole
