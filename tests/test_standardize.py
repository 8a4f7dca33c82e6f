"""What `standardize` measures: of weighted, incomplete, sparse samples."""

import numpy as np
import pytest
from scipy.sparse import coo_array, csr_array

from mlp import MLPAutoencoder, MLPClassifier, MLPRegressor, SiameseClassifier
from mlp.estimators.standardize import moments

RNG = np.random.RandomState(0)
X = RNG.randn(50, 4) * [1, 10, 0.1, 1] + 3
Y = X @ RNG.randn(4, 2)
TIMES = RNG.randint(0, 4, 50)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def expected(values, weights=None):
    """By formula, element by element."""
    columns = []
    for column in values.T:
        known = ~np.isnan(column)
        w = np.ones(known.sum()) if weights is None else weights[known]
        mean = np.average(column[known], weights=w)
        columns.append(
            (mean, np.sqrt(np.average((column[known] - mean) ** 2, weights=w)))
        )
    return np.transpose(columns)


@pytest.mark.parametrize("weights", [None, TIMES.astype(float)])
@pytest.mark.parametrize("kind", ["dense", "incomplete", "sparse"])
def test_moments_are_those_of_the_formula(kind, weights):
    values = np.where(X > 3, X, 0 if kind == "sparse" else np.nan)
    values = X if kind == "dense" else values
    given = csr_array(values) if kind == "sparse" else values
    np.testing.assert_allclose(
        moments(given, weights), expected(values, weights), rtol=1e-12
    )


def test_entries_stored_twice_add_up():
    rows, columns = np.indices((50, 4)).reshape(2, -1)
    twice = csr_array(
        coo_array(
            (
                np.tile(X.ravel() / 2, 2),
                (np.tile(rows, 2), np.tile(columns, 2)),
            )
        )
    )
    entries = np.repeat(np.arange(4), 2)
    doubled = csr_array(
        (
            np.repeat(X.ravel() / 2, 2),
            np.tile(entries, 50),
            np.arange(0, 401, 8),
        ),
        shape=(50, 4),
    )
    assert not doubled.has_canonical_format
    for given in (twice, doubled):
        np.testing.assert_allclose(moments(given, None), expected(X), rtol=1e-12)


def test_sparse_values_far_from_zero_keep_their_deviation():
    far = (3000 + RNG.randn(2000, 3)).astype("float32")
    np.testing.assert_allclose(
        moments(csr_array(far), None)[1], far.std(axis=0, dtype=float), rtol=1e-6
    )


@pytest.mark.parametrize("Estimator", [MLPClassifier, MLPRegressor, MLPAutoencoder])
def test_an_integer_weight_is_a_repeated_sample(Estimator):
    y = TIMES % 2 if Estimator is MLPClassifier else Y
    options = {
        "solver": "lbfgs",
        "standardize": True,
        "max_iter": 20,
        "random_state": 0,
    }
    weighted = Estimator(5, **options).fit(X, y, sample_weight=TIMES)
    repeated = Estimator(5, **options).fit(
        np.repeat(X, TIMES, axis=0), np.repeat(y, TIMES, axis=0)
    )
    np.testing.assert_allclose(weighted.coefs_[0], repeated.coefs_[0], rtol=1e-4)


def test_radial_functions_start_at_samples_that_weigh_something():
    model = MLPRegressor(3, "rbf", solver="lbfgs", max_iter=1, random_state=0)
    weights = np.zeros(50)
    weights[[7, 11, 13]] = 1, 2, 1
    model.set_params(max_fun=1).fit(X, Y, sample_weight=weights)
    start = MLPRegressor(3, "rbf", solver="sgd", learning_rate_init=1e-300, max_iter=1)
    start.set_params(random_state=0).fit(X, Y, sample_weight=weights)
    centres = {tuple(c) for c in start.coefs_[0].T}
    assert centres == {tuple(x) for x in X[[7, 11, 13]]}
    _, deviation = expected(X, weights)
    np.testing.assert_allclose(start.intercepts_[0], (deviation**2).sum())


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_an_integer_weight_is_a_repeated_pair(kind):
    far = X.copy()
    far[0] = 1e6
    first, second = far[:25], X[25:]
    if kind == "sparse":
        first, second = csr_array(first), csr_array(second)
    times = TIMES[:25].copy()
    times[0] = 0
    same = np.arange(25) % 2
    options = {"standardize": True, "max_iter": 1, "random_state": 0}
    weighted = SiameseClassifier(3, **options)
    weighted.fit((first, second), same, sample_weight=times)
    rows = np.repeat(np.arange(25), times)
    repeated = SiameseClassifier(3, **options).fit(
        (first[rows], second[rows]), same[rows]
    )
    np.testing.assert_allclose(
        weighted.network_.twin.input_scale,
        repeated.network_.twin.input_scale,
        rtol=1e-12,
    )


def test_a_target_known_only_where_the_weights_are_zero_is_measured_without_them():
    y = Y.copy()
    y[3:, 1] = np.nan
    weights = np.ones(50)
    weights[:3] = 0
    model = MLPRegressor(3, standardize=True, max_iter=2, random_state=0)
    model.fit(X, y, sample_weight=weights)
    np.testing.assert_allclose(model.network_.output_scale[1], Y[:3, 1].std())
