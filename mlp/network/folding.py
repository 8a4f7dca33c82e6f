"""What training keeps apart and prediction does in one: batch norm, standardisation and
dropout's 'test' scaling, folded into weights and offsets [S 65.188]."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from mlp.network.network import Network

__all__ = ["fold_dtype", "fold_into", "kept", "running_moments"]

Array = NDArray[Any]

#: standard deviations from 0 that a mean may be in float32: 8 of its 24 bits are lost
FAR = 256.0


def running_moments(statistics: Array, momentum: float) -> tuple[Array, Array]:
    """Mean and variance from sums that began at 0, rid of the bias of that start; 0 and 1
    for units that were never awake [S 65.176]."""
    sums, seen = statistics[:2], statistics[2]
    mean, var = sums / np.where(seen > 0, 1 - momentum**seen, 1)
    return np.where(seen > 0, mean, 0.0), np.where(seen > 0, var, 1.0)


def kept(network: Network) -> list[float]:
    """What each weight layer's input is multiplied by in prediction."""
    if network.dropout is None or network.dropout_scaling == "train":
        return [1.0] * (len(network.layer_sizes) - 1)
    return [1 - p for p in network.dropout]


def fold_dtype(network: Network) -> Any:
    """The dtype in which means can be folded: the network's, or float64 where float32 would
    keep little of what varies around them."""
    for shift, scale in (
        (network.input_shift, network.input_scale),
        (network.output_shift, network.output_scale),
    ):
        if shift is not None and (np.abs(shift) > FAR * scale).any():
            return np.dtype(np.float64)
    return network.dtype


def _inputs(network: Network) -> tuple[Array, Array]:
    """shift and factor: the first weights see factor·x − shift."""
    n = network.n_features
    shift: Array = np.zeros(n)
    factor: Array = np.ones(n)
    if network.input_scale is not None:
        factor = 1 / network.input_scale
        if network.input_shift is not None:
            shift = network.input_shift * factor
    if network.input_statistics is not None:
        mean, var = running_moments(
            network.input_statistics, network.batch_norm_momentum
        )
        root = np.sqrt(var + network.batch_norm_epsilon)
        shift, factor = (shift + mean) / root, factor / root
    return shift, factor


def fold_into(plain: Network, network: Network) -> None:
    """Give `plain`, of the same shape, the weights and offsets that predict alike."""
    keep, last = kept(network), len(network.coefs) - 1
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
            mean, var = running_moments(statistics, network.batch_norm_momentum)
            columns = scale / np.sqrt(var + network.batch_norm_epsilon)
            product = (product - mean) * columns
        offset += product
        if k == last and network.output_scale is not None:
            columns = columns * network.output_scale
            offset = offset * network.output_scale + network.output_shift
        edges = network.edges[k]
        if edges is None:
            plain.coefs[k][:] = W * rows[:, None] * columns
        else:
            plain.coefs[k].data[:] = W.data * rows[edges.rows] * columns[edges.to]
        plain.intercepts[k][:] = offset
