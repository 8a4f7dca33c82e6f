"""Projection pursuit as an ONNX graph, with tables of cubic pieces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlp.onnx.graph import Graph

if TYPE_CHECKING:
    from mlp.projection_pursuit.ridge_function import RidgeFunction

__all__ = ["projection_pursuit"]

Array = NDArray[Any]


def _pieces(function: RidgeFunction) -> tuple[Array, Array]:
    """Return the knots and one row per interval between, below and above them.

    A row contains the origin of the interval's polynomial and its coefficients, the
    constant first.
    """
    knots = function._spline.x
    inner = np.column_stack([knots[:-1], function._spline.c[::-1].T])
    ends = knots[[0, -1]]
    outer = np.zeros((2, 5))
    outer[:, :3] = np.column_stack([ends, function(ends), function.derivative(ends)])
    return knots, np.vstack([outer[:1], inner, outer[1:]])


def _pad(rows: Array, length: int, filler: float) -> Array:
    width = [(0, length - len(rows)), *[(0, 0)] * (rows.ndim - 1)]
    return np.pad(rows, width, constant_values=filler)


def projection_pursuit(estimator: Any) -> Graph:
    """Return the graph of a `ProjectionPursuitRegressor`, with the output ``variable``.

    The graph computes in float64, as the estimator does.  The row of a projection is the
    number of knots that are not above it.
    """
    g = Graph(np.float64)
    x = g.input("X", estimator.n_features_in_)
    directions = estimator.directions_.T
    tables = [_pieces(function) for function in estimator.ridge_functions_]
    if not tables:  # a constant
        directions = np.zeros((estimator.n_features_in_, 1))
        tables = [(np.zeros(1), np.zeros((2, 5)))]
    longest = max(len(knots) for knots, _ in tables)
    knots = np.stack([_pad(knots, longest, np.inf) for knots, _ in tables])
    rows = np.vstack([_pad(pieces, longest + 1, 0.0) for _, pieces in tables])
    first = np.arange(len(tables)) * (longest + 1)

    v = g("MatMul", x, directions)
    passed = g("GreaterOrEqual", g("Unsqueeze", v, [2]), knots[None])
    count = g("ReduceSum", g("Cast", passed, to=g.integer), [2], keepdims=0)
    pieces = g("Add", count, first)
    origin, *coefficients = (g("Gather", column, pieces) for column in rows.T)
    t, value = g("Sub", v, origin), coefficients[-1]
    for c in coefficients[-2::-1]:
        value = g("Add", g("Mul", value, t), c)
    total = g("ReduceSum", value, [1], keepdims=1)
    g.output("variable", g("Add", total, float(estimator.intercept_)), 1)
    return g
