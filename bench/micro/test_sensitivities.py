"""Derivatives of a trained network at 1000 samples of 784-100-10."""

import numpy as np
import pytest
from builders import network

QUESTIONS = {
    "jacobian, reverse": lambda net, X, y: net.jacobian(X, mode="reverse"),
    "jacobian, forward": lambda net, X, y: net.jacobian(X, mode="forward"),
    "jvp": lambda net, X, y: net.jvp(X, X),
    "vjp": lambda net, X, y: net.vjp(X, np.ones((len(X), 10), X.dtype)),
    "loss_gradients": lambda net, X, y: net.loss_gradients(X, y),
    "product": lambda net, X, y: net.hessian_vector_product(X, y, net.params),
    "diagonal": lambda net, X, y: net.hessian_diagonal(X, y),
    "curvature": lambda net, X, y: net.hessian_diagonal(X, y, "curvature"),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_sensitivity(benchmark, rng, question, dtype):
    net = network([784, 100, 10], "tanh", "softmax", loss="log_loss", dtype=dtype)
    X = rng.standard_normal((1_000, 784)).astype(dtype)
    benchmark(QUESTIONS[question], net, X, rng.integers(0, 10, 1_000))
