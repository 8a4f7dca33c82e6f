"""Deliberate differences from scikit-learn, row by row: docs/coming_from.rst.

Each test states both sides, so that it also fails when scikit-learn comes to agree.
"""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
import sklearn.neural_network
from numpy.testing import assert_allclose
from scipy.special import log_softmax
from sklearn.exceptions import ConvergenceWarning

import mlp

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

rng = np.random.default_rng(3)
X = rng.uniform(-1, 1, (60, 4))
binary = (X[:, 0] > 0).astype(int)
three = X[:, :3].argmax(axis=1)
target = X @ [1.0, 2.0, 3.0, 4.0]


def both(name, *data, **options):
    """scikit-learn's estimator and ours, fitted to the same data."""
    options = {"hidden_layer_sizes": (5,), "max_iter": 4, "random_state": 0, **options}
    pair = [getattr(p, name)(**options) for p in (sklearn.neural_network, mlp)]
    return [estimator.fit(*data) if data else estimator for estimator in pair]


# The reported log loss --------------------------------------------------------------


def first_epoch(scale):
    options = {"batch_size": 60, "learning_rate_init": 1e-12, "alpha": 0}
    return both("MLPClassifier", scale * X, three, max_iter=1, **options)


def test_log_loss_of_saturated_outputs_is_exact_where_scikit_learn_clips():
    theirs, ours = first_epoch(1000)
    hidden = np.maximum(0, 1000 * X @ ours.coefs_[0] + ours.intercepts_[0])
    logits = hidden @ ours.coefs_[1] + ours.intercepts_[1]
    exact = -log_softmax(logits, axis=1)[np.arange(60), three].mean()
    assert_allclose(ours.loss_, exact, rtol=1e-6)  # the parameters have moved by 1e-12
    # each class's share is clipped at eps: no sample loses more than 36.04 there
    assert theirs.loss_ <= -np.log(np.finfo(float).eps) < exact / 2


def test_log_loss_of_scaled_columns_is_that_of_scikit_learn():
    theirs, ours = first_epoch(1)
    assert_allclose(ours.loss_, theirs.loss_, rtol=1e-12)


def test_steps_of_saturated_outputs_are_those_of_scikit_learn():
    options = {"max_iter": 5, "tol": 0, "batch_size": 20}
    theirs, ours = both("MLPClassifier", 1000 * X, three, **options)
    assert abs(ours.loss_curve_[0] / theirs.loss_curve_[0] - 1) > 0.5
    for actual, desired in zip(ours.coefs_, theirs.coefs_, strict=True):
        assert_allclose(actual, desired, rtol=1e-6, atol=1e-9)


# Early stopping ---------------------------------------------------------------------


def test_warm_start_without_progress_ends_with_the_best_weights_not_the_last():
    options = {"early_stopping": True, "warm_start": True, "solver": "sgd"}
    for estimator in both("MLPRegressor", learning_rate_init=0.01, **options):
        estimator.fit(X, target)
        best = estimator.coefs_[0].copy()
        estimator.set_params(learning_rate_init=0.9).fit(X, target)
        assert estimator.validation_scores_[-1] < estimator.best_validation_score_
        kept = np.array_equal(estimator.coefs_[0], best)
        assert kept == (type(estimator) is mlp.MLPRegressor)


# Going on with other parameters -----------------------------------------------------


def test_warm_start_refuses_another_activation():
    theirs, ours = both("MLPClassifier", X, binary, warm_start=True)
    theirs.set_params(activation="tanh").fit(X, binary)
    with pytest.raises(ValueError, match="activation='tanh'"):
        ours.set_params(activation="tanh").fit(X, binary)


def test_warm_start_refuses_other_widths():
    theirs, ours = both("MLPClassifier", X, binary, warm_start=True)
    assert (
        theirs.set_params(hidden_layer_sizes=(7,)).fit(X, binary).coefs_[0].size == 20
    )
    with pytest.raises(ValueError, match=r"hidden_layer_sizes=\(7,\)"):
        ours.set_params(hidden_layer_sizes=(7,)).fit(X, binary)


def test_prediction_is_by_the_fitted_activation():
    before = {}
    for estimator in both("MLPClassifier", X, binary):
        before[estimator] = estimator.predict_proba(X)
        estimator.set_params(activation="identity")
    theirs, ours = before
    assert np.array_equal(ours.predict_proba(X), before[ours])
    assert not np.allclose(theirs.predict_proba(X), before[theirs])


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ({"solver": "lbfgs"}, {"solver": "adam"}),
        ({}, {"early_stopping": True}),
        ({"early_stopping": True}, {"early_stopping": False}),
    ],
)
def test_warm_start_goes_on_with_another_way_of_training(first, then):
    theirs, ours = both("MLPClassifier", X, binary, warm_start=True, **first)
    with pytest.raises((AttributeError, TypeError)):
        theirs.set_params(**then).fit(X, binary)
    assert ours.set_params(**then).fit(X, binary).n_iter_ == 4


def test_label_column_after_a_label_matrix_is_refused():
    both_labels = np.column_stack([binary, 1 - binary])
    theirs, ours = both("MLPClassifier", X, both_labels, warm_start=True)
    theirs.fit(X, binary)
    with pytest.raises(ValueError, match="label matrix"):
        ours.fit(X, binary)


# lbfgs ------------------------------------------------------------------------------


def test_partial_fit_with_lbfgs_is_refused_for_both_estimators():
    theirs, ours = both("MLPRegressor", solver="lbfgs")
    assert theirs.partial_fit(X, target).n_iter_ > 1  # a whole fit
    assert not hasattr(ours, "partial_fit")


def test_lbfgs_records_what_stochastic_solvers_record():
    theirs, ours = both("MLPRegressor", X, target, solver="lbfgs")
    assert not hasattr(theirs, "loss_curve_") and not hasattr(theirs, "best_loss_")
    assert len(ours.loss_curve_) == ours.n_iter_
    assert ours.best_loss_ == min(ours.loss_curve_)


def test_verbose_lbfgs_prints_each_iteration(capsys):
    both("MLPRegressor", X, target, solver="lbfgs", verbose=True)
    printed = capsys.readouterr().out
    assert printed.count("Iteration") == 4  # ours; SciPy prints nothing any more


def test_verbose_2_prints_more_than_the_loss(capsys):
    both("MLPClassifier", X, binary, verbose=2, max_iter=1)
    theirs, ours = capsys.readouterr().out.splitlines()
    assert ours.startswith(f"{theirs}, learning rate = 0.001, gradient norm = ")


# Refusals and divergence ------------------------------------------------------------


def test_negative_targets_of_the_poisson_loss_are_refused():
    theirs, ours = both("MLPRegressor", loss="poisson")
    with np.errstate(invalid="ignore"):
        assert np.isnan(theirs.fit(X, target).loss_)
    with pytest.raises(ValueError, match="y must not be negative"):
        ours.fit(X, target)


def test_unknown_target_is_left_out_of_a_regression():
    y = target.copy()
    y[3] = np.nan
    theirs, ours = both("MLPRegressor")
    with pytest.raises(ValueError, match="NaN"):
        theirs.fit(X, y)
    assert np.isfinite(ours.fit(X, y).loss_) and np.isfinite(ours.score(X, y))


def test_batch_without_weight_is_no_step():
    weights = np.repeat([1.0, 0.0], 30)
    theirs, ours = both("MLPRegressor", batch_size=30, shuffle=False, alpha=0)
    with pytest.raises(ZeroDivisionError):
        theirs.fit(X, target, weights)
    ours.fit(X, target, weights)
    _, alone = both("MLPRegressor", X[:30], target[:30], shuffle=False, alpha=0)
    assert_allclose(ours.coefs_[0], alone.coefs_[0], rtol=1e-12)


def test_weights_that_add_up_to_less_than_zero_are_refused():
    theirs, ours = both("MLPRegressor")
    theirs.fit(X, target, -np.ones(60))
    with pytest.raises(ValueError, match="sample_weight must have a positive sum"):
        ours.fit(X, target, -np.ones(60))


def test_divergence_ends_the_fit_at_once():
    heard = []
    for estimator in both("MLPRegressor", max_iter=20):
        with warnings.catch_warnings(record=True) as caught, np.errstate(all="ignore"):
            warnings.simplefilter("always")
            with pytest.raises(ValueError, match="non-finite parameter weights"):
                estimator.fit(1e200 * X, target)
        heard.append(any(w.category is ConvergenceWarning for w in caught))
    assert heard == [True, False]  # scikit-learn runs through all 20 epochs


def test_a_fit_that_fails_leaves_the_fitted_estimator_as_it_was():
    kept = []
    for estimator in both("MLPRegressor", X, target):
        before = estimator.predict(X)
        with pytest.raises(ValueError, match="non-finite"), np.errstate(all="ignore"):
            estimator.fit(1e200 * X, target)
        with np.errstate(all="ignore"):
            kept.append(np.array_equal(estimator.predict(X), before))
    assert kept == [False, True]


# What is returned -------------------------------------------------------------------


def test_labels_predicted_after_a_sparse_matrix_of_labels_are_dense():
    labels = sp.csr_array(np.column_stack([binary, 1 - binary]))
    theirs, ours = both("MLPClassifier", X, labels)
    assert sp.issparse(theirs.predict(X)) and isinstance(ours.predict(X), np.ndarray)
    assert np.array_equal(theirs.predict(X).toarray(), ours.predict(X))


def test_hidden_layer_sizes_come_first_in_the_regressor_too():
    theirs = sklearn.neural_network.MLPRegressor("squared_error", (3,))
    ours = mlp.MLPRegressor((3,))
    assert theirs.hidden_layer_sizes == ours.hidden_layer_sizes == (3,)


def test_parameters_of_another_shape_are_refused():
    for estimator in both("MLPRegressor", X, target):
        estimator.coefs_ = [np.ones((4, 6)), np.ones((6, 1))]
        estimator.intercepts_ = [np.zeros(6), np.zeros(1)]
        if type(estimator) is mlp.MLPRegressor:
            with pytest.raises(ValueError, match="coefs_ must have the shapes"):
                estimator.predict(X)
        else:
            assert estimator.predict(X).shape == (60,)
