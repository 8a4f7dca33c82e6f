"""Inputs and targets of mean 0 and deviation 1, folded into the network for predictions."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp.estimators.targets import Targets
from mlp.network import Network

__all__ = ["measure", "standardized"]

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


def measure(network: Network, targets: Targets, with_targets: bool) -> None:
    """Means and deviations of inputs and targets; sparse inputs are only scaled."""
    X = targets.X
    if targets.sparse:
        mean_square = np.asarray(X.multiply(X).mean(axis=0), dtype=np.float64).ravel()
        mean = np.asarray(X.mean(axis=0), dtype=np.float64).ravel()
        deviation = np.sqrt(np.maximum(mean_square - mean**2, 0))
    else:
        network.input_shift = X.mean(axis=0, dtype=np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            deviation = X.std(axis=0, dtype=np.float64)
    _check("X", network.input_shift, deviation, X)
    network.input_scale = np.where(deviation > 0, deviation, 1.0)
    values = targets.values
    if with_targets and targets.autoencode:
        shift, network.output_scale = network.input_shift, network.input_scale
        network.output_shift = np.zeros(X.shape[1]) if shift is None else shift
    elif with_targets and values is not None:
        network.output_shift = np.nanmean(values, axis=0, dtype=np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            deviation = np.nanstd(values, axis=0, dtype=np.float64)
        _check("y", network.output_shift, deviation, values)
        network.output_scale = np.where(deviation > 0, deviation, 1.0)


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
        else:
            whole.X = (targets.X - network.input_shift.astype(network.dtype)) * factor
    if network.output_scale is not None and targets.values is not None:
        values = (targets.values - network.output_shift) / network.output_scale
        whole.values = np.ascontiguousarray(values, dtype=network.dtype)
    return whole
