"""Derivatives of fitted estimators are those of their networks, in the user's terms."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from numpy.testing import assert_allclose, assert_array_equal
from oracle import numeric_gradient, rng_of
from sklearn.exceptions import NotFittedError

from mlp import Dropout, MLPClassifier, MLPRegressor, MultiTaskClassifier

FEW = {"hidden_layer_sizes": (6, 6), "activation": "tanh", "max_iter": 3}
OPTIONS = [
    {},
    {"batch_norm": "hidden+input"},
    {"standardize": True},
    {"dropout": Dropout(0.5, input=0.2, scaling="test")},
    {"residual": True, "dropout": Dropout(0.3, scaling="test"), "standardize": True},
]
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
X = rng_of(1).normal(size=(40, 4)) * [1, 2, 0.5, 3] + [0, 5, 0, 0]
TARGETS = {
    "one output": X[:, 0] * X[:, 3] + 10,
    "outputs": X[:, :2] * [3, 0.1],
    "two classes": np.where(X[:, 0] > 0, "yes", "no"),
    "classes": np.array(["a", "b", "c"])[np.digitize(X[:, 1], [4, 6])],
    "labels": (X[:, :3] > [0, 5, 0]).astype(int),
}
every_target = pytest.mark.parametrize("kind", TARGETS)


def fitted(kind, **options):
    Estimator = MLPRegressor if "output" in kind else MLPClassifier
    model = Estimator(random_state=0, **(FEW | options))
    return model.fit(X, TARGETS[kind]), TARGETS[kind]


def sample_loss(model, x, y):
    """The loss of one sample from what is predicted, or the estimator's own."""
    if isinstance(model, MLPRegressor):
        return ((model.predict(x[None])[0] - y) ** 2).sum() / 2
    p = model.predict_proba(x[None])[0]
    if np.ndim(y):
        return -np.log(np.where(y == 1, p, 1 - p)).sum()
    return -np.log(p[model.classes_ == y][0])


@every_target
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_jacobian_is_the_difference_of_predictions(kind, options):
    model, _ = fitted(kind, **options)
    if isinstance(model, MLPRegressor):
        predict = model.predict
    elif kind == "two classes":
        predict = lambda Z: model.predict_proba(Z)[:, 1]  # noqa: E731
    else:
        predict = model.predict_proba
    numeric = numeric_gradient(lambda x: predict(x[None])[0], X[0], 1e-4)
    J = model.jacobian(X)
    assert J.shape == (40, model.n_outputs_, 4)
    assert_allclose(J[0], numeric.reshape(-1, 4), rtol=1e-7, atol=1e-9)
    V, U = X[::-1], np.ones((40, model.n_outputs_))
    assert_allclose(model.jvp(X, V), np.einsum("nqm,nm->nq", J, V), atol=1e-12)
    assert_allclose(model.vjp(X, U), J.sum(axis=1), atol=1e-12)


@every_target
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_loss_gradients_are_those_of_the_predictions(kind, options):
    model, y = fitted(kind, **options)
    numeric = numeric_gradient(lambda x: sample_loss(model, x, y[0]), X[0], 1e-4)
    gradient = model.loss_gradients(X, y)
    assert gradient.shape == X.shape
    assert_allclose(gradient[0], numeric, rtol=1e-7, atol=1e-8)


@every_target
def test_second_derivatives_are_those_of_the_parameters(kind):
    model, y = fitted(kind)
    weight = rng_of(2).uniform(1, 2, 40)
    v, params = np.linspace(-1, 1, model.network_.params.size), model.network_.params
    before = params.copy()

    def gradient_at(t):
        params[:] = before + t[0] * v
        return np.average(model.loss_gradients(X, y, "params"), axis=0, weights=weight)

    numeric = numeric_gradient(gradient_at, np.zeros(1), 1e-4)[:, 0]
    params[:] = before
    product = model.hessian_vector_product(X, y, v, weight)
    assert_allclose(product, numeric, atol=1e-7 * np.abs(numeric).max())
    first = model.hessian_vector_product(X, y, np.eye(len(v))[0], weight)[0]
    diagonal = model.hessian_diagonal(X, y, sample_weight=weight)
    assert diagonal[0] == pytest.approx(first, rel=1e-10)
    assert model.hessian_diagonal(X, y, "curvature")[0] != diagonal[0]


def test_weights_of_classes_count_as_in_training():
    model, y = fitted("classes", class_weight={"a": 3.0, "b": 1.0, "c": 1.0})
    v = np.ones(model.network_.params.size)
    weighted = model.hessian_vector_product(X, y, v)
    same = fitted("classes")[0].set_params(warm_start=True)
    same.network_.params[:] = model.network_.params
    expected = same.hessian_vector_product(X, y, v, np.where(y == "a", 3.0, 1.0))
    assert_allclose(weighted, expected, rtol=1e-12)


@every_target
def test_feature_sensitivity_is_the_mean_of_the_jacobian(kind):
    model, _ = fitted(kind)
    found = model.feature_sensitivity(X)
    expected = np.abs(model.jacobian(X)).mean(axis=0)
    assert_allclose(found.per_output, expected, rtol=1e-12)
    assert_allclose(found.mean, expected.mean(axis=0), rtol=1e-12)
    assert list(found.feature_names) == ["x0", "x1", "x2", "x3"]
    names = {"two classes": ["yes"], "classes": ["a", "b", "c"], "one output": [0]}
    assert list(found.output_names) == names.get(kind, list(range(model.n_outputs_)))


def test_feature_sensitivity_in_pieces(monkeypatch):
    model, _ = fitted("classes")
    whole = model.feature_sensitivity(X)
    monkeypatch.setattr("mlp.estimators.inspection.JACOBIAN_NUMBERS", 12 * 7)
    for Z in (X, scipy.sparse.csc_array(X)):
        pieces = model.feature_sensitivity(Z)
        assert_allclose(pieces.per_output, whole.per_output, rtol=1e-12)


def test_feature_sensitivity_finds_the_feature_and_names_it():
    frame = pd.DataFrame(X, columns=["useless", "also", "idle", "cause"])
    model = MLPRegressor((), max_iter=400, solver="lbfgs", random_state=0)
    model.fit(frame, 3 * frame["cause"] - 1)
    found = model.feature_sensitivity(frame)
    assert found.feature_names[found.mean.argmax()] == "cause"
    assert_allclose(found.mean, [0, 0, 0, 3], atol=1e-2)


@every_target
def test_hidden_activations_lead_to_the_outputs(kind):
    model, _ = fitted(kind, residual=True)
    first, last = (model.hidden_activations(X, layer) for layer in (0, -1))
    assert_allclose(first, np.tanh(X @ model.coefs_[0] + model.intercepts_[0]))
    second = np.tanh(first @ model.coefs_[1] + model.intercepts_[1]) + first
    assert_allclose(last, second, rtol=1e-12)


def test_float32_stays_float32():
    single = X.astype(np.float32)
    model = MLPClassifier(random_state=0, **FEW).fit(single, TARGETS["classes"])
    assert model.jacobian(single).dtype == np.float32
    assert model.loss_gradients(single, TARGETS["classes"]).dtype == np.float32
    assert model.hidden_activations(single).dtype == np.float32


def test_weights_put_in_by_hand_are_used():
    model, _ = fitted("outputs")
    model.coefs_[2] = np.zeros((6, 2))
    assert_array_equal(model.jacobian(X), 0)


QUESTIONS = {
    "jacobian": lambda model, Z: model.jacobian(Z),
    "jvp": lambda model, Z: model.jvp(Z, Z),
    "vjp": lambda model, Z: model.vjp(Z, np.ones((len(Z), 3))),
    "loss_gradients": lambda model, Z: model.loss_gradients(Z, TARGETS["classes"]),
    "hessian_diagonal": lambda model, Z: model.hessian_diagonal(Z, TARGETS["classes"]),
    "feature_sensitivity": lambda model, Z: model.feature_sensitivity(Z),
    "hidden_activations": lambda model, Z: model.hidden_activations(Z),
}


@pytest.mark.parametrize("ask", QUESTIONS.values(), ids=QUESTIONS)
def test_input_is_checked_as_for_predictions(ask):
    with pytest.raises(NotFittedError):
        ask(MLPClassifier(), X)
    model, _ = fitted("classes")
    with pytest.raises(ValueError, match="4 features"):
        ask(model, X[:, :3])
    with pytest.raises(ValueError, match="NaN"):
        ask(model, np.where(X > 0, np.nan, X))


def test_targets_are_checked_as_for_a_fit():
    model, y = fitted("classes")
    with pytest.raises(ValueError, match="classes not in"):
        model.loss_gradients(X, np.where(y == "a", "d", y))
    with pytest.raises(ValueError, match="2 columns"):
        fitted("one output")[0].loss_gradients(X, X[:, :2])
    with pytest.raises(ValueError, match=r"take those of network\.folded\(\)"):
        fitted("classes", standardize=True)[0].hessian_diagonal(X, y)


def test_loss_gradients_of_samples_without_a_target_are_zero():
    X = np.random.RandomState(0).randn(20, 4)
    y = X[:, :2].copy()
    y[1] = np.nan
    model = MLPRegressor(5, max_iter=2, random_state=0).fit(X, y)
    for wrt, n in (("inputs", 4), ("params", model.network_.params.size)):
        gradients = model.loss_gradients(X[:3], y[:3], wrt)
        assert gradients.shape == (3, n)
        np.testing.assert_array_equal(
            gradients, model.network_.loss_gradients(X[:3], y[:3], wrt)
        )
        assert not gradients[1].any()


def test_outputs_of_several_tasks_are_named_by_task_and_class():
    X = np.random.RandomState(0).randn(30, 4)
    y = np.column_stack([np.arange(30) % 3, np.arange(30) % 2 * 5])
    model = MultiTaskClassifier(5, max_iter=2, random_state=0).fit(X, y)
    asked = model.feature_sensitivity(X)
    assert asked.output_names == [(0, 0), (0, 1), (0, 2), (1, 5)]
    assert asked.per_output.shape == (4, 4)
