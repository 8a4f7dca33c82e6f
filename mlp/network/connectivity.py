"""Sparse layers, which have only some of their weights [S ex. 65.6].

`resolve_connectivity` reads a user's notation; `Edges` are the connections for the core.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Edges", "assign", "resolve_connectivity"]

Array = NDArray[Any]


class Edges:
    """The connections between two layers, listed by input unit and by output unit.

    Parameters
    ----------
    n_in, n_out : int
        Number of units of the two layers.
    inputs, outputs : int ndarray of shape (n,)
        The two ends of each edge, in any order, all edges different.

    Attributes
    ----------
    n : int
        Number of edges.
    start : int64 ndarray of shape (n_in + 1,)
        The edges of input unit i are those from start[i] to start[i + 1].
    to : int32 ndarray of shape (n,)
        Output unit of each edge, in this order, which is that of the weights.
    in_start : int64 ndarray of shape (n_out + 1,)
        The edges of output unit j, in an order by output units, are those from
        in_start[j] to in_start[j + 1].
    source : int32 ndarray of shape (n,)
        Input unit of each edge, in the order by output units.
    place : int64 ndarray of shape (n,)
        Index of each edge in the order by input units.
    """

    def __init__(self, n_in: int, n_out: int, inputs: Array, outputs: Array) -> None:
        order = np.lexsort((outputs, inputs))
        inputs, outputs = inputs[order], outputs[order]
        self.n_in, self.n_out, self.n = n_in, n_out, len(inputs)
        self.start = _starts(inputs, n_in)
        self.to = np.ascontiguousarray(outputs, dtype=np.int32)
        self.in_start = _starts(outputs, n_out)
        self.place = np.argsort(outputs, kind="stable").astype(np.int64)
        self.source = np.ascontiguousarray(inputs[self.place], dtype=np.int32)

    @property
    def rows(self) -> Array:
        """Input unit of each edge, int64 of shape (n,)."""
        return np.repeat(np.arange(self.n_in), np.diff(self.start))

    def matrix(self, weights: Array) -> Any:
        """The weights as a scipy CSR array (n_in, n_out) that shares their memory."""
        from scipy.sparse import csr_array

        shape = (self.n_in, self.n_out)
        matrix = csr_array((weights, self.to, self.start), shape=shape)
        matrix.data = weights  # scipy copies views of larger arrays
        return matrix

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Edges)
            and (self.n_in, self.n_out) == (other.n_in, other.n_out)
            and np.array_equal(self.start, other.start)
            and np.array_equal(self.to, other.to)
        )

    __hash__ = None  # type: ignore[assignment]


def _starts(units: Array, n: int) -> Array:
    counts = np.bincount(units, minlength=n)
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


Mask = Any
Connectivity = Sequence[Mask] | Callable[[int, int, int], Mask]


def resolve_connectivity(
    connectivity: Connectivity | None, layer_sizes: Sequence[int]
) -> list[Edges | None]:
    """The edges of every weight layer, None where it has all of them.

    Parameters
    ----------
    connectivity : None, sequence or callable
        One entry per weight layer, or a callable ``(layer, n_in, n_out) -> entry``.  An
        entry is None (all connections), a boolean array or scipy sparse array of shape
        (n_in, n_out), or a list of the input units that each output unit is connected to.
    layer_sizes : sequence of int

    Raises
    ------
    ValueError, TypeError
        If an entry doesn't fit its layer; the message names the layer.
    """
    sizes = list(pairwise(layer_sizes))
    if connectivity is None:
        return [None] * len(sizes)
    if callable(connectivity):
        entries = [connectivity(k, *pair) for k, pair in enumerate(sizes)]
    else:
        entries = list(connectivity)
        if len(entries) != len(sizes):
            raise ValueError(
                f"connectivity has {len(entries)} entries, the network has "
                f"{len(sizes)} layers of weights"
            )
    return [
        _edges(entry, *pair, f"connectivity[{k}]")
        for k, (entry, pair) in enumerate(zip(entries, sizes, strict=True))
    ]


def _edges(entry: Mask, n_in: int, n_out: int, name: str) -> Edges | None:
    if entry is None or isinstance(entry, Edges):
        if entry is not None and (entry.n_in, entry.n_out) != (n_in, n_out):
            raise ValueError(
                f"{name} is for {(entry.n_in, entry.n_out)} units, the layer has "
                f"{(n_in, n_out)}"
            )
        return entry
    if hasattr(entry, "tocoo"):
        _check_shape(entry.shape, n_in, n_out, name)
        coo = entry.tocoo(copy=True)
        coo.sum_duplicates()
        there = coo.data != 0
        inputs, outputs = coo.coords if hasattr(coo, "coords") else (coo.row, coo.col)
        pairs = np.unique(np.stack([inputs[there], outputs[there]]), axis=1)
        return Edges(n_in, n_out, pairs[0], pairs[1])
    if isinstance(entry, np.ndarray) and entry.ndim == 2:
        _check_shape(entry.shape, n_in, n_out, name)
        if entry.dtype != bool and not np.isin(entry, (0, 1)).all():
            raise ValueError(f"{name} must be boolean, got values other than 0 and 1")
        inputs, outputs = np.nonzero(entry)
        return Edges(n_in, n_out, inputs, outputs)
    return _neighbour_edges(entry, n_in, n_out, name)


def _neighbour_edges(entry: Any, n_in: int, n_out: int, name: str) -> Edges:
    """Edges from the sets 𝒩_j of input units, one for each output unit."""
    try:
        lists = [np.asarray(list(units)) for units in entry]
    except TypeError:
        raise TypeError(
            f"{name} must be None, a boolean or sparse array of shape "
            f"{(n_in, n_out)}, or a list of input units for each output unit; got "
            f"{type(entry).__name__}"
        ) from None
    if len(lists) != n_out:
        raise ValueError(f"{name} lists {len(lists)} units, the layer has {n_out}")
    for j, units in enumerate(lists):
        good = units.size == 0 or (
            units.dtype.kind in "iu" and units.min() >= 0 and units.max() < n_in
        )
        if units.ndim != 1 or not good or len(np.unique(units)) != len(units):
            raise ValueError(
                f"{name}[{j}] must be different integers from 0 to {n_in - 1}, got "
                f"{units.tolist()}"
            )
    inputs = np.concatenate(lists).astype(np.int64) if n_out else np.empty(0, np.int64)
    outputs = np.repeat(np.arange(n_out), [len(units) for units in lists])
    return Edges(n_in, n_out, inputs, outputs)


def _check_shape(shape: tuple[int, ...], n_in: int, n_out: int, name: str) -> None:
    if tuple(shape) != (n_in, n_out):
        raise ValueError(f"{name} must have shape {(n_in, n_out)}, got {tuple(shape)}")


def assign(weights: Any, new: Any) -> None:
    """Set the weights of a sparse layer, a CSR array, from any matrix of its shape.

    Raises
    ------
    ValueError
        If the matrix has weights where the layer has no connections.
    """
    new = new.tocsr() if hasattr(new, "tocsr") else np.asarray(new)
    ends = np.repeat(np.arange(weights.shape[0]), np.diff(weights.indptr))
    values = np.asarray(new[ends, weights.indices]).ravel()
    outside = (new != 0).sum() - np.count_nonzero(values)
    if outside:
        raise ValueError(f"{outside} weights are not 0 where connectivity has none")
    weights.data[:] = values
