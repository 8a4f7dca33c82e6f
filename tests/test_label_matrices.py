"""Matrices of labels that hold other values than 0 and 1."""

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import neural_network
from sklearn.base import clone
from small_data import assert_same_bits, fitted_state

import mlp
from mlp import EarlyStopping, MLPClassifier

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X = np.linspace(-1, 1, 200)[:, None]
Y = np.c_[X > 0, X > 0.5].astype(int)
OTHER_VALUES = {
    "0/2": 2 * Y,
    "0/255 of uint8": (255 * Y).astype(np.uint8),
    "0/-1": -Y,
    "0.0/3.0": 3.0 * Y,
    "sparse": sp.csr_array(2 * Y),
    "list": (2 * Y).tolist(),
}
each_form = pytest.mark.parametrize("y", OTHER_VALUES.values(), ids=OTHER_VALUES)
every_loss = pytest.mark.parametrize(
    "loss", ["log_loss", "squared_error", "huber", "absolute_error", "logistic"]
)


def model(**options):
    return MLPClassifier(**{"hidden_layer_sizes": (8,), "max_iter": 10,
                            "random_state": 0} | options)  # fmt: skip


@each_form
@pytest.mark.parametrize("options", [{}, {"early_stopping": True}, {"solver": "sgd"}])
def test_loss_curve_of_other_label_values_equals_that_of_sklearn(y, options):
    theirs = neural_network.MLPClassifier((8,), max_iter=10, random_state=0)
    theirs.set_params(**options).fit(X, y)
    ours = model(**options).fit(X, y)
    assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-9)
    predicted = theirs.predict(X)  # sparse after a fit to a sparse matrix
    assert_array_equal(ours.predict(X), sp.csr_array(predicted).toarray())
    if options.get("early_stopping"):
        assert_allclose(ours.validation_scores_, theirs.validation_scores_)


@each_form
@every_loss
@pytest.mark.parametrize("solver", ["adam", "lbfgs", "cg"])
def test_label_values_other_than_0_and_1_are_trained_on_as_0_and_1(y, loss, solver):
    options = {"loss": loss, "solver": solver, "label_smoothing": 0.1}
    assert_same_bits(model(**options).fit(X, y), model(**options).fit(X, Y))


@each_form
def test_partial_fit_of_other_label_values_is_that_of_0_and_1(y):
    batches = model(), model()
    for _ in range(2):
        batches[0].partial_fit(X, y, classes=[0, 1])
        batches[1].partial_fit(X, Y, classes=[0, 1])
    assert_same_bits(*batches)


@each_form
@pytest.mark.parametrize("scoring", [None, "loss", "f1_micro"])
def test_y_val_of_other_label_values_is_that_of_0_and_1(y, scoring):
    model_ = model(early_stopping=EarlyStopping(scoring), learning_rate_init=0.05)
    one, other = (clone(model_).fit(X, Y, X_val=X, y_val=v) for v in (y, Y))
    assert one.validation_scores_ == other.validation_scores_
    assert one.validation_loss_curve_ == other.validation_loss_curve_
    assert other.validation_scores_[-1] > other.validation_scores_[0]


@each_form
def test_score_of_other_label_values_is_that_of_0_and_1(y):
    fitted = model(solver="lbfgs", max_iter=100).fit(X, y)
    assert fitted.score(X, y) == fitted.score(X, Y) > 0.9


@each_form
def test_inspection_of_other_label_values_is_that_of_0_and_1(y):
    fitted = model().fit(X, Y)
    v = np.ones(fitted.network_.params.size)
    for question in (
        lambda y: fitted.loss_gradients(X, y),
        lambda y: fitted.loss_gradients(X, y, "params"),
        lambda y: fitted.hessian_vector_product(X, y, v),
        lambda y: fitted.hessian_diagonal(X, y),
    ):
        assert_array_equal(question(y), question(Y))


def test_partial_fit_after_from_sklearn_goes_on_with_other_label_values():
    theirs = neural_network.MLPClassifier((8,), max_iter=3, random_state=0)
    ours = mlp.from_sklearn(theirs.fit(X, 2 * Y))
    ours.partial_fit(X, 2 * Y)
    assert_allclose(ours.loss_, theirs.partial_fit(X, 2 * Y).loss_, rtol=1e-9)


@pytest.mark.parametrize(("y", "values"), [(2 * Y - 1, "-1 and 1"), (Y + 1, "1 and 2")])
def test_label_matrices_without_zero_are_refused_by_their_values(y, values):
    fitted = model().fit(X, Y)
    before = fitted_state(fitted)
    for refused in (
        lambda: fitted.fit(X, y),
        lambda: fitted.partial_fit(X, y),
        lambda: fitted.fit(X, Y, X_val=X, y_val=y),
        lambda: fitted.score(X, y),
        lambda: fitted.loss_gradients(X, y),
    ):
        with pytest.raises(ValueError, match=f"with the values {values}; a label that"):
            refused()
    assert fitted_state(fitted) == before


def test_a_batch_in_which_all_labels_are_present_is_not_refused():
    one, other = (model().partial_fit(X, Y, classes=[0, 1]) for _ in range(2))
    one.partial_fit(X[:1], [[2, 2]])
    other.partial_fit(X[:1], [[1, 1]])
    assert_same_bits(one, other)
