"""Folding batch norm, standardisation and dropout's 'test' scaling into weights and
offsets, for predictions [S 65.188]."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from mlp.network.network import Network

__all__ = ["fold_dtype", "fold_into", "running_moments"]

Array = NDArray[Any]

#: largest mean in standard deviations that is folded in float32: 8 of 24 bits are lost
FAR = 256.0


def running_moments(statistics: Array, momentum: float) -> tuple[Array, Array]:
    """Mean and variance from sums that began at 0, corrected for the bias of that start; 0
    and 1 for units that were dropped in every batch [S 65.176]."""
    sums, seen = statistics[:2], statistics[2]
    mean, var = sums / np.where(seen > 0, 1 - momentum**seen, 1)
    return np.where(seen > 0, mean, 0.0), np.where(seen > 0, var, 1.0)


def fold_dtype(network: Network) -> Any:
    """The dtype in which means can be folded: the network's, or float64 where float32 would
    keep few digits of the values around them."""
    for shift, scale in (
        (network.input_shift, network.input_scale),
        (network.output_shift, network.output_scale),
    ):
        if shift is not None and (np.abs(shift) > FAR * scale).any():
            return np.dtype(np.float64)
    return network.dtype


def _inputs(network: Network) -> tuple[Array, Array]:
    """shift and factor: the first weights are applied to factor·x − shift."""
    n = network.n_features
    shift: Array = np.zeros(n)
    factor: Array = np.ones(n)
    if network.input_scale is not None:
        factor = 1 / network.input_scale
        if network.input_shift is not None:
            shift = network.input_shift * factor
    norm = network.spec.batch_norm
    if network.input_statistics is not None:
        mean, var = running_moments(network.input_statistics, norm.momentum)
        root = np.sqrt(var + norm.epsilon)
        shift, factor = (shift + mean) / root, factor / root
    return shift, factor


def fold_into(plain: Network, network: Network) -> None:
    """Set the weights and offsets of `plain`, of the same shape, to those that predict
    alike."""
    spec, last = network.spec, len(network.coefs) - 1
    keep, norm = spec.keeps, spec.batch_norm
    for k, (W, b) in enumerate(zip(network.coefs, network.intercepts, strict=True)):
        rows = np.full(W.shape[0], keep[k])
        columns = np.ones(W.shape[1])
        product, offset = np.zeros(len(b)), b.astype(np.float64)
        if k == 0:
            shift, factor = _inputs(network)
            product = -(shift * rows) @ W.astype(np.float64)
            rows *= factor
        statistics, scale = network.statistics[k], network.scales[k]
        if statistics is not None and scale is not None:
            mean, var = running_moments(statistics, norm.momentum)
            columns = scale / np.sqrt(var + norm.epsilon)
            product = (product - mean) * columns
        offset += product
        if k == last and network.output_scale is not None:
            columns = columns * network.output_scale
            offset = offset * network.output_scale + network.output_shift
        edges = spec.edges[k]
        if edges is None:
            plain.coefs[k][:] = W * rows[:, None] * columns
        else:
            plain.coefs[k].data[:] = W.data * rows[edges.rows] * columns[edges.to]
        plain.intercepts[k][:] = offset
