"""Promises of MLPClassifier and MLPRegressor beyond scikit-learn's numbers."""

import pickle
import warnings
from itertools import pairwise

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import neural_network as reference
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from small_data import (
    assert_same_bits,
    both,
    either_dtype,
    every_solver,
    fitted_state,
    make_data,
    parameters,
)

from mlp import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = make_data()


# Determinism ------------------------------------------------------------------------


@both
@every_solver
@either_dtype
def test_same_seed_gives_the_same_bits(Estimator, solver, dtype):
    X, y = make_data(dtype=dtype)
    network = Estimator((9, 5), solver=solver, max_iter=10, batch_size=7)
    network.set_params(random_state=0)
    assert_same_bits(clone(network).fit(X, y), clone(network).fit(X, y))


@both
def test_refit_forgets_the_fit_before(Estimator):
    X, y = make_data()
    network = Estimator(5, max_iter=10, random_state=0)
    once, twice = clone(network).fit(X, y), network.fit(X[:, :2], y).fit(X, y)
    assert_same_bits(once, twice)
    assert once.loss_curve_ == twice.loss_curve_


@both
def test_other_seed_gives_other_weights(Estimator):
    X, y = make_data()
    one, other = (Estimator(5, max_iter=2, random_state=i).fit(X, y) for i in (0, 1))
    assert not np.array_equal(one.coefs_[0], other.coefs_[0])


@either_dtype
@every_solver
def test_number_of_threads_does_not_change_a_bit(dtype, solver):
    X, y = make_data(n_samples=600, n_features=64, dtype=dtype)
    network = MLPClassifier((256, 256), solver=solver, max_iter=2, random_state=0)
    one, two = (clone(network).set_params(n_threads=n).fit(X, y) for n in (1, 2))
    assert_same_bits(one, two)
    assert_array_equal(one.predict_proba(X), two.predict_proba(X))


@both
@every_solver
@either_dtype
def test_pickle_keeps_every_bit(Estimator, solver, dtype):
    X, y = make_data(dtype=dtype)
    network = Estimator(5, solver=solver, max_iter=5, random_state=0).fit(X, y)
    copy = pickle.loads(pickle.dumps(network))
    assert fitted_state(copy) == fitted_state(network)
    assert_array_equal(copy.predict(X), network.predict(X))


@both
@pytest.mark.parametrize("solver", ["sgd", "adam"])
@either_dtype
def test_pickled_copy_goes_on_as_the_original(Estimator, solver, dtype):
    X, y = make_data(dtype=dtype)
    network = Estimator(5, solver=solver, batch_size=7, max_iter=5, random_state=0)
    network.fit(X, y).partial_fit(X, y)
    copy = pickle.loads(pickle.dumps(network))
    assert_same_bits(copy.partial_fit(X, y), network.partial_fit(X, y))


@both
def test_unpickled_parameters_are_used_and_not_a_copy_of_them(Estimator):
    X, y = make_data()
    network = Estimator(5, max_iter=5, random_state=0).fit(X, y)
    network = pickle.loads(pickle.dumps(network))
    before = network.predict(X)
    for array in parameters(network):
        array *= -3
    assert not np.array_equal(network.predict(X), before)


@both
def test_parameters_set_by_hand_predict(Estimator):
    X, y = make_data()
    one, other = (Estimator(5, max_iter=5, random_state=i).fit(X, y) for i in range(2))
    one.coefs_, one.intercepts_ = other.coefs_, other.intercepts_
    assert_array_equal(one.predict(X), other.predict(X))


# Known answers ----------------------------------------------------------------------

XOR = np.array([[1, 1], [-1, -1], [1, -1], [-1, 1]])


def test_xor_by_hand_set_parameters():
    # [S P65.1]; scikit-learn adds the intercepts, so each is minus the theta there.
    network = MLPRegressor(2, max_iter=1).fit(XOR, [-1.0, -1.0, 1.0, 1.0])
    network.coefs_ = [np.full((2, 2), -0.5), np.array([[2.0], [-4.0]])]
    network.intercepts_ = [np.array([1.0, 0.0]), np.array([-1.0])]
    assert_array_equal(network.predict(XOR), [-1, -1, 1, 1])


@every_solver
@pytest.mark.parametrize("activation", ["logistic", "tanh", "relu"])
@either_dtype
def test_xor_is_learned_by_a_classifier(solver, activation, dtype):
    network = MLPClassifier((16,), activation, solver=solver, random_state=1)
    network.set_params(learning_rate_init=0.1, max_iter=2000, n_iter_no_change=2000)
    X, y = XOR.astype(dtype), ["same", "same", "other", "other"]
    assert network.fit(X, y).score(X, y) == 1.0


@every_solver
@pytest.mark.parametrize("activation", ["logistic", "tanh", "relu"])
@either_dtype
def test_xor_is_learned_by_a_regressor(solver, activation, dtype):
    network = MLPRegressor((16,), activation, solver=solver, random_state=1)
    network.set_params(learning_rate_init=0.1, max_iter=2000, n_iter_no_change=2000)
    X, y = XOR.astype(dtype), np.array([-1.0, -1.0, 1.0, 1.0])
    assert_allclose(network.fit(X, y).predict(X), y, atol=0.1)


# Where scikit-learn is wrong --------------------------------------------------------


def risk_and_reported_loss(network, flat, X, Y):
    """Return the risk, which sums squared errors over the outputs, and `loss_`, which
    averages them."""
    arrays, start = [], 0
    for array in parameters(network):
        arrays.append(flat[start : start + array.size].reshape(array.shape))
        start += array.size
    coefs, intercepts = arrays[: len(network.coefs_)], arrays[len(network.coefs_) :]
    for W, b in zip(coefs[:-1], intercepts[:-1], strict=True):
        X = np.tanh(X @ W + b)
    error = X @ coefs[-1] + intercepts[-1] - Y
    penalty = sum((W**2).sum() for W in coefs) * network.alpha / (2 * len(Y))
    return (error**2).sum() / 2 / len(Y) + penalty, (error**2).mean() / 2 + penalty


@pytest.mark.parametrize("n_outputs", [1, 2, 5])
def test_lbfgs_ends_where_the_risk_of_all_solvers_is_flat(n_outputs):
    X = np.random.default_rng(0).uniform(-1, 1, (50, 3))
    Y = np.stack([np.sin((k + 1) * X).sum(axis=1) for k in range(n_outputs)], axis=1)
    network = MLPRegressor(4, "tanh", solver="lbfgs", alpha=0.5, tol=1e-7)
    network.set_params(max_iter=5000, random_state=0, warm_start=True)
    for _ in range(3):  # L-BFGS-B also ends on a small decrease; go on from there
        network.fit(X, Y if n_outputs > 1 else Y.ravel())
    flat = np.concatenate([array.ravel() for array in parameters(network)])
    _, reported = risk_and_reported_loss(network, flat, X, Y)
    assert_allclose(network.loss_, reported, rtol=1e-12)
    slopes = [
        risk_and_reported_loss(network, flat + h, X, Y)[0]
        - risk_and_reported_loss(network, flat - h, X, Y)[0]
        for h in 1e-5 * np.eye(len(flat))
    ]
    # tol is the largest slope left; differences of a risk of order 1 add 1e-16 / 2e-5.  A
    # data term k times too small would leave the slope (k - 1) alpha W / N, about 5e-3.
    assert np.abs(slopes).max() / 2e-5 < 1e-7 + 1e-9


@pytest.mark.parametrize("n_outputs", [1, 3])
def test_lbfgs_without_hidden_layers_is_ridge_regression(n_outputs):
    # The data term is the sum over the outputs: alpha/2 |W|^2 / N + |E|^2 / (2 N).
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((50, 3)), rng.standard_normal((50, n_outputs))
    network = MLPRegressor((), solver="lbfgs", alpha=2.0, tol=1e-9, max_iter=1000)
    network.fit(X, Y if n_outputs > 1 else Y.ravel())
    ridge = Ridge(alpha=2.0, tol=1e-12).fit(X, Y)
    # a gradient of 1e-9, over a curvature of about 1
    assert_allclose(network.coefs_[0], ridge.coef_.reshape(n_outputs, -1).T, atol=1e-8)
    assert_allclose(network.intercepts_[0], ridge.intercept_, atol=1e-8)


@pytest.mark.parametrize("n_classes", [2, 3, 4])
def test_early_stopping_stratifies(n_classes):
    # Constant rows get one label for all, so the first validation score is that
    # label's share of the validation part: exactly its share of the data.
    shares = {2: [70, 30], 3: [60, 30, 10], 4: [40, 30, 20, 10]}[n_classes]
    y = np.repeat(["ibex", "lynx", "newt", "oryx"][:n_classes], shares)
    network = MLPClassifier(3, early_stopping=True, max_iter=1)
    scores = [
        network.set_params(random_state=seed)
        .fit(np.ones((100, 2)), y)
        .validation_scores_[0]
        for seed in range(10)
    ]
    assert {round(100 * score) for score in scores} <= set(shares)


RARE = {
    "one member": np.r_[np.arange(39) % 2, 2],
    "one member of text": np.r_[np.tile(["ibex", "lynx"], 20), ["newt"]],
    "more classes than are held out": np.arange(400) % 100,
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("y", RARE.values(), ids=RARE)
def test_early_stopping_with_rare_classes_splits_as_sklearn_and_says_so(y, weighted):
    X = np.random.default_rng(0).normal(size=(len(y), 3))
    weights = np.linspace(1, 2, len(y)) if weighted else None
    options = {"early_stopping": True, "max_iter": 8, "random_state": 3}
    ours, theirs = MLPClassifier(5, **options), reference.MLPClassifier((5,), **options)
    with pytest.warns(
        UserWarning, match=r"^early_stopping=True holds out .*stratified"
    ):
        ours.fit(X, y, weights)
    theirs.fit(X, y, weights)
    assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-9)
    assert_allclose(ours.validation_scores_, theirs.validation_scores_)


@pytest.mark.filterwarnings("ignore:early_stopping=True holds out")
def test_a_search_over_long_tailed_labels_with_early_stopping_has_scores():
    y = np.r_[np.arange(90) % 3, [3, 3, 3, 4, 5, 6]]
    X = np.random.default_rng(0).normal(size=(96, 2))
    model = MLPClassifier(3, early_stopping=True, max_iter=2, random_state=0)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class")  # of the search
        search = GridSearchCV(model, {"alpha": [0, 1]}, cv=3).fit(X, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_early_stopping_refuses_one_member_of_two_classes_as_sklearn():
    X, _ = make_data(20)
    y = [0] * 19 + [1]
    with pytest.raises(ValueError, match="least populated class"):
        MLPClassifier(early_stopping=True).fit(X, y)


def test_early_stopping_of_multilabel_targets_is_not_stratified():
    X, _ = make_data(20)
    Y = np.zeros((20, 3), dtype=int)
    Y[0] = 1  # a combination with one member
    network = MLPClassifier(3, early_stopping=True, max_iter=3).fit(X, Y)
    assert len(network.validation_scores_) == 3


@pytest.mark.parametrize("max_iter", [5, 500])
def test_lbfgs_records_its_loss_curve(max_iter):
    network = MLPRegressor(5, solver="lbfgs", max_iter=max_iter, random_state=0)
    network.fit(*make_data())
    assert len(network.loss_curve_) == network.n_iter_
    assert network.loss_curve_[-1] == pytest.approx(network.loss_, rel=1e-12)
    assert all(b <= a for a, b in pairwise(network.loss_curve_))


@both
def test_warm_start_that_gets_worse_ends_with_the_best_weights(Estimator):
    X, y = make_data()
    network = Estimator(8, early_stopping=True, warm_start=True, random_state=0)
    best = network.set_params(learning_rate_init=0.01).fit(X, y).best_validation_score_
    before = [array.copy() for array in parameters(network)]
    network.set_params(learning_rate_init=10.0, max_iter=3).fit(X, y)
    assert max(network.validation_scores_[-3:]) <= best  # or it has not got worse
    for array, kept in zip(parameters(network), before, strict=True):
        assert_array_equal(array, kept)


# Sample weights ---------------------------------------------------------------------


@both
@every_solver
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_zero_weight_is_a_dropped_row(Estimator, solver, activation):
    # In full batches, where each sum has all rows. 1e-9: see test_parity.py.
    weights = np.r_[np.zeros(20), np.linspace(0.5, 1.5, 40)]
    network = Estimator(5, activation, solver=solver, max_iter=10, random_state=0)
    dropped = clone(network).fit(X[20:], Y[20:], sample_weight=weights[20:])
    network.fit(X, Y, sample_weight=weights)
    for actual, desired in zip(parameters(network), parameters(dropped), strict=True):
        assert_allclose(actual, desired, rtol=1e-9, atol=1e-12)


@both
@every_solver
def test_integer_weight_is_a_repeated_row(Estimator, solver):
    weights = np.arange(60) % 3
    network = Estimator(5, "tanh", solver=solver, max_iter=10, random_state=0)
    repeated = clone(network).fit(np.repeat(X, weights, 0), np.repeat(Y, weights))
    network.fit(X, Y, sample_weight=weights)
    for actual, desired in zip(parameters(network), parameters(repeated), strict=True):
        assert_allclose(actual, desired, rtol=1e-9, atol=1e-12)


@both
@every_solver
def test_unit_weights_are_no_weights(Estimator, solver):
    network = Estimator(5, "tanh", solver=solver, max_iter=10, batch_size=7)
    plain = clone(network.set_params(random_state=0)).fit(X, Y)
    network.fit(X, Y, sample_weight=np.ones(60))
    assert_allclose(network.coefs_[0], plain.coefs_[0], rtol=1e-9, atol=1e-12)


# Warnings ---------------------------------------------------------------------------


@both
@every_solver
@pytest.mark.filterwarnings("default::sklearn.exceptions.ConvergenceWarning")
def test_too_few_epochs_give_a_convergence_warning(Estimator, solver):
    message = "lbfgs failed" if solver == "lbfgs" else r"Maximum iterations \(3\)"
    with pytest.warns(ConvergenceWarning, match=message):
        Estimator(5, solver=solver, max_iter=3).fit(X, Y)


@both
@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_convergence_gives_no_warning(Estimator, solver):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network = Estimator(5, solver=solver, max_iter=100, tol=1.0).fit(X, Y)
    assert network.n_iter_ == 12  # the first is an improvement, then 10 + 1 are not


@both
def test_partial_fit_gives_no_warning(Estimator):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        classes = {"classes": [0, 1]} if Estimator is MLPClassifier else {}
        network = Estimator(5, max_iter=1).partial_fit(X, Y, **classes)
    assert network.n_iter_ == 1
