"""Updates, single samples, stored entries and dropout, in epochs of a few steps."""

import numpy as np
import pytest
from builders import epoch, gradient, network
from scipy.sparse import random_array

from mlp import Dropout
from mlp.training.minibatch import Penalties

SOLVERS = {
    "sgd": {"solver": "sgd"},
    "momentum": {"solver": "sgd", "momentum": 0.9},
    "nesterov": {"solver": "sgd", "momentum": 0.9, "nesterov": True},
    "adam": {"solver": "adam"},
    "adamw": {"solver": "adamw", "weight_decay": 0.01},
    "adam, clipped": {"solver": "adam", "clip_norm": 1.0},
    "adam, penalties": {"solver": "adam", "penalties": Penalties(1e-4, l1=1e-5)},
}
ONLINE = {
    "784-512-512-10": ((784, 512, 512, 10), 100, 1e-4),
    "784-100-10": ((784, 100, 10), 500, 0.0),
    "10-32-2": ((10, 32, 2), 10_000, 0.0),
}


@pytest.mark.parametrize("solver", SOLVERS)
def test_update(benchmark, rng, solver, dtype):
    """A million parameters and two samples, so that products take little of the time."""
    net = network([1_000, 1_000], dtype=dtype)
    X = rng.standard_normal((2, 1_000)).astype(dtype)
    benchmark(epoch(net, X, np.zeros((2, 1_000)), 2, **SOLVERS[solver]))


@pytest.mark.parametrize("sizes", ONLINE)
def test_online_samples(benchmark, rng, sizes, dtype):
    shape, n, alpha = ONLINE[sizes]
    net = network(shape, "relu", "softmax", loss="log_loss", dtype=dtype)
    X = rng.standard_normal((n, shape[0])).astype(dtype)
    y = rng.integers(0, shape[-1], n)
    benchmark.extra_info["samples"] = n
    benchmark(epoch(net, X, y, 1, solver="sgd", penalties=Penalties(alpha)))


@pytest.mark.parametrize("n", [1, 252])
def test_forward(benchmark, rng, n, dtype):
    net = network([784, 100, 10], "relu", "softmax", loss="log_loss", dtype=dtype)
    benchmark(net.forward, rng.standard_normal((n, 784)).astype(dtype))


def stored(rng, dtype):
    """Return 200 rows of 5,000 features, of which 1 % is stored."""
    return random_array((200, 5_000), density=0.01, format="csr", dtype=dtype, rng=rng)


def test_csr_forward(benchmark, rng, dtype):
    net = network([5_000, 100], dtype=dtype)
    benchmark(net.forward, stored(rng, dtype))


def test_csr_gradient(benchmark, rng, dtype):
    net = network([5_000, 100], dtype=dtype)
    benchmark(gradient(net, stored(rng, dtype), np.zeros((200, 100))))


def test_csr_step(benchmark, rng, dtype):
    net = network([5_000, 100, 10], dtype=dtype)
    benchmark(epoch(net, stored(rng, dtype), np.zeros((200, 10)), 200))


@pytest.mark.parametrize("mask", ["none", "batch", "sample"])
def test_dropout_step(benchmark, rng, mask, dtype):
    """With one mask per batch, products are smaller, and rows are gathered and
    scattered."""
    net = network([784, 512, 512, 10], dtype=dtype)
    if mask != "none":
        net.configure(dropout=Dropout(0.5, mask=mask))
    X = rng.standard_normal((128, 784)).astype(dtype)
    benchmark(epoch(net, X, np.zeros((128, 10)), 128))
