"""Small data and comparisons shared by the tests of the estimators."""

import joblib
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from mlp import MLPClassifier, MLPRegressor

both = pytest.mark.parametrize("Estimator", [MLPClassifier, MLPRegressor])
every_solver = pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
either_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def make_data(n_samples=60, n_features=4, dtype=np.float64):
    """Return X and y in {0, 1}, a target of either kind of estimator."""
    rng = np.random.default_rng(3)
    X = rng.uniform(-1, 1, (n_samples, n_features)).astype(dtype)
    return X, (X[:, 0] * X[:, 1] > 0).astype(int)


def with_value(array, value):
    """Return a floating copy of `array` with its middle element replaced."""
    array = np.array(array, dtype=float)
    array[np.unravel_index(array.size // 2, array.shape)] = value
    return array


def fitted_state(estimator):
    """Return a hash of each public thing that fit has left behind."""
    names = [n for n in dir(estimator) if n.endswith("_") and not n.startswith("_")]
    return {n: joblib.hash(getattr(estimator, n)) for n in names}


def parameters(estimator):
    return estimator.coefs_ + estimator.intercepts_


def assert_same_bits(one, other):
    for a, b in zip(parameters(one), parameters(other), strict=True):
        assert a.dtype == b.dtype
        assert_array_equal(a, b)


class Listener:
    """A callback that does nothing; tests say what it does at the end of an epoch."""

    def setup(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        pass
