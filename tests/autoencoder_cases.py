"""Samples and settings shared by the tests of autoencoders."""

import numpy as np
import scipy.sparse as sp
from numpy.testing import assert_array_equal


def data(n=90, n_features=8, seed=0, sparse=False):
    """Values in [0, 1], a third of them 0."""
    rng = np.random.default_rng(seed)
    mixed = rng.uniform(size=(n, 3)) @ rng.uniform(size=(3, n_features)) / 3
    X = mixed * (rng.uniform(size=mixed.shape) > 1 / 3)
    return sp.csr_array(X) if sparse else X


def settings(**options):
    return {"max_iter": 5, "tol": 0.0, "random_state": 0, "batch_size": 32} | options


def assert_tied(estimator):
    W = estimator.coefs_
    for k in range(len(W) // 2):
        assert_array_equal(W[-1 - k], W[k].T)
