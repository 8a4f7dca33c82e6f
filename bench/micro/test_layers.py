"""Activations, losses and batch norm, in networks with little other work."""

import numpy as np
import pytest
from builders import epoch, gradient, network

from mlp.network.activations import ACTIVATIONS
from mlp.network.losses import LOSSES

ROWS, UNITS = 252, 512
HIDDEN = sorted(set(ACTIVATIONS) - {"softmax"})
OUTPUT = [name for name in HIDDEN if name != "rbf"]
TRAINABLE = [name for name in HIDDEN if ACTIVATIONS[name].trainable]


@pytest.mark.parametrize("activation", OUTPUT)
def test_activation_forward(benchmark, rng, activation, dtype):
    net = network([2, UNITS], output_activation=activation, dtype=dtype)
    X = rng.standard_normal((ROWS, 2)).astype(dtype)
    benchmark(net.forward, X)


@pytest.mark.parametrize("activation", TRAINABLE)
def test_activation_forward_and_backward(benchmark, rng, activation, dtype):
    net = network([2, UNITS, 1], activation, dtype=dtype)
    X = rng.standard_normal((ROWS, 2)).astype(dtype)
    benchmark(gradient(net, X, np.zeros(ROWS)))


@pytest.mark.parametrize("n_outputs", [10, 1_000])
def test_softmax_log_loss(benchmark, rng, n_outputs, dtype):
    net = network([2, n_outputs], (), "softmax", loss="log_loss", dtype=dtype)
    X = rng.standard_normal((ROWS, 2)).astype(dtype)
    y = rng.integers(0, n_outputs, ROWS)
    benchmark(gradient(net, X, y, with_gradient=False))


def test_softmax_outputs(benchmark, rng, dtype):
    net = network([2, 1_000], (), "softmax", loss="log_loss", dtype=dtype)
    benchmark(net.forward, rng.standard_normal((ROWS, 2)).astype(dtype))


@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_loss(benchmark, rng, loss, dtype):
    output = (LOSSES[loss].links or ("identity",))[-1]
    net = network([2, UNITS], output_activation=output, loss=loss, dtype=dtype)
    X = rng.standard_normal((ROWS, 2)).astype(dtype)
    y = rng.integers(0, 2, (ROWS, UNITS)).astype(dtype)
    benchmark(gradient(net, X, y, with_gradient=False))


@pytest.mark.parametrize("batch_norm", [None, "hidden"])
def test_batch_norm_step(benchmark, rng, batch_norm, dtype):
    net = network([8, UNITS, UNITS, 2], batch_norm=batch_norm, dtype=dtype)
    X = rng.standard_normal((128, 8)).astype(dtype)
    benchmark(epoch(net, X, np.zeros((128, 2)), 128))
