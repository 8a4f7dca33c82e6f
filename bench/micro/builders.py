"""Operands and networks of the micro-benchmarks."""

import numpy as np

from mlp import Network, _core
from mlp.training.minibatch import Optimizer, Penalties, StochasticRun
from mlp.training.schedules import Schedule


def padded(rows, columns, dtype, rng):
    """Return a matrix as in the workspace, with rows at multiples of `row_stride`."""
    stride = _core.row_stride(columns, dtype)
    matrix = _core.aligned_zeros(rows * stride, dtype).reshape(rows, stride)[
        :, :columns
    ]
    matrix[:] = rng.standard_normal((rows, columns))
    return matrix


def network(sizes, activation="relu", output_activation="identity", **options):
    """Return a network with small weights."""
    net = Network(sizes, activation, output_activation, **options)
    rng = np.random.default_rng(0)
    for W in net.coefs:
        W[:] = rng.uniform(-1, 1, W.shape) * np.sqrt(6 / sum(W.shape))
    net.refold()
    return net


def gradient(net, X, y, *, with_gradient=True):
    """Return a call that computes the loss, and the gradient, of all rows at once."""
    plan = net.plan(frozen_statistics=True)
    data = net.data(X, y)
    plan.allocate(X.shape[0], 1, data.sparse)
    return lambda: plan.loss_and_gradient(data, with_gradient=with_gradient)


def epoch(net, X, y, batch_size, *, solver="adam", penalties=None, **options):
    """Return a call that trains for one epoch in the order of the samples."""
    data = net.data(X, y)
    return StochasticRun(
        net,
        data,
        Optimizer(solver, Schedule("constant", 1e-6), **options),
        penalties or Penalties(),
        batch_size=batch_size,
        samples=None,
        shuffle=False,
        rng=np.random.RandomState(0),
        n_threads=1,
    ).epoch
