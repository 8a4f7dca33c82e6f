"""Estimators of scikit-learn to ours and back: the same predictions and training."""

import subprocess
import sys
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn import neural_network as theirs
from sklearn.datasets import make_classification
from sklearn.exceptions import NotFittedError

import mlp
from mlp import Dropout, EarlyStopping, StepDecay

CLASSES = {
    "classifier": (theirs.MLPClassifier, mlp.MLPClassifier),
    "regressor": (theirs.MLPRegressor, mlp.MLPRegressor),
}
SOLVERS = {
    "adam": {"solver": "adam", "beta_1": 0.8, "beta_2": 0.99, "epsilon": 1e-6},
    "adam invscaling": {"solver": "adam", "learning_rate": "invscaling"},
    "sgd": {"solver": "sgd", "learning_rate_init": 0.01, "momentum": 0.0},
    "momentum": {"solver": "sgd", "learning_rate_init": 0.01, "momentum": 0.8,
                 "nesterovs_momentum": False},
    "nesterov": {"solver": "sgd", "learning_rate_init": 0.01},
    "invscaling": {"solver": "sgd", "learning_rate": "invscaling", "power_t": 0.2},
    "adaptive": {"solver": "sgd", "learning_rate": "adaptive", "tol": 0.1,
                 "n_iter_no_change": 1, "learning_rate_init": 0.1},
}  # fmt: skip
HISTORY = ("loss_curve_", "loss_", "best_loss_", "t_", "n_iter_", "n_layers_",
           "n_outputs_", "out_activation_", "validation_scores_",
           "best_validation_score_")  # fmt: skip


def quietly(fit, *args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return fit(*args, **options)


def problem(kind, n=90, dtype="float64"):
    X, y = make_classification(
        n, 5, n_informative=4, n_redundant=0, n_classes=3, random_state=0
    )
    targets = {
        "multiclass": y,
        "binary": y > 0,
        "texts": np.array(["a", "b", "c"])[y],
        "multilabel": np.stack([y > 0, y == 2], axis=1).astype(int),
        "one class": np.full(n, 4),
        "values": np.sin(X[:, 0]),
        "several values": X[:, :2] ** 2,
        "counts": y,
    }
    return X.astype(dtype), targets[kind]


KINDS = {
    "multiclass": "classifier",
    "binary": "classifier",
    "texts": "classifier",
    "multilabel": "classifier",
    "one class": "classifier",
    "values": "regressor",
    "several values": "regressor",
}


def make(kind, ours, **options):
    options = {
        "hidden_layer_sizes": (7, 4),
        "max_iter": 6,
        "random_state": 0,
        **options,
    }
    return CLASSES[KINDS.get(kind, "regressor")][ours](**options)


def assert_same_predictions(a, b, X, tolerance=1e-12):
    if hasattr(a, "predict_proba"):
        assert_allclose(a.predict_proba(X), b.predict_proba(X), rtol=0, atol=tolerance)
        assert (a.predict(X) == b.predict(X)).all()
        assert a.predict(X).dtype == b.predict(X).dtype
    else:
        assert_allclose(a.predict(X), b.predict(X), rtol=0, atol=tolerance)


def assert_same_state(a, b):
    for name in HISTORY:
        x, y = getattr(a, name, None), getattr(b, name, None)
        if x is None or isinstance(x, str):
            assert x == y, name
        else:
            assert_allclose(x, y, rtol=1e-6, err_msg=name)
    for x, y in zip(
        (*a.coefs_, *a.intercepts_), (*b.coefs_, *b.intercepts_), strict=True
    ):
        assert_allclose(x, y, rtol=0, atol=1e-6)


# -- from scikit-learn --


@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
@pytest.mark.parametrize("kind", KINDS)
def test_predictions_are_theirs(kind, activation):
    X, y = problem(kind)
    source = quietly(make(kind, 0, activation=activation).fit, X, y)
    ours = mlp.from_sklearn(source)
    assert type(ours) is CLASSES[KINDS[kind]][1]
    assert_same_predictions(ours, source, X)
    assert_same_state(ours, source)


def test_single_precision():
    X, y = problem("binary", dtype="float32")
    ours = mlp.from_sklearn(source := quietly(make("binary", 0).fit, X, y))
    assert ours.network_.dtype == np.float32
    assert_same_predictions(ours, source, X, 1e-6)


def test_poisson():
    X, y = problem("counts")
    source = quietly(make("counts", 0, loss="poisson").fit, X, y)
    ours = mlp.from_sklearn(source)
    assert ours.out_activation_ == "exp"
    assert_same_predictions(ours, source, X)
    for est in (source, ours):
        quietly(est.partial_fit, X, y)
    assert_same_state(ours, source)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(
    "kind", ["multiclass", "binary", "multilabel", "several values"]
)
def test_partial_fit_goes_on_as_theirs(kind, solver):
    X, y = problem(kind)
    source = quietly(make(kind, 0, batch_size=20, **SOLVERS[solver]).fit, X, y)
    ours = mlp.from_sklearn(source)
    for _ in range(5):
        for est in (source, ours):
            quietly(est.partial_fit, X, y)
    assert_same_state(ours, source)


@pytest.mark.parametrize("solver", ["adam", "adam invscaling", "nesterov", "adaptive"])
def test_warm_start_goes_on_as_theirs(solver):
    X, y = problem("binary")
    source = make("binary", 0, warm_start=True, **SOLVERS[solver])
    quietly(source.fit, X, y)
    ours = mlp.from_sklearn(source)
    for est in (source, ours):
        quietly(est.fit, X, y)
    assert_same_state(ours, source)


def test_early_stopping_goes_on_as_ours():
    """Not as theirs, which trains in the very arrays that it keeps as the best so far."""
    X, y = problem("binary")
    options = {"warm_start": True, "early_stopping": True}
    native = quietly(make("binary", 1, **options).fit, X, y)
    ours = mlp.from_sklearn(quietly(make("binary", 0, **options).fit, X, y))
    for est in (native, ours):
        quietly(est.fit, X, y)
    assert_same_state(ours, native)
    curve = ours.validation_loss_curve_
    assert len(curve) == len(ours.validation_scores_)
    assert np.isnan(curve).sum() * 2 == len(curve)


def test_a_generators_state_is_copied():
    X, y = problem("values")
    source = make("values", 0, random_state=np.random.RandomState(3))
    quietly(source.fit, X, y)
    ours = mlp.from_sklearn(source)
    for est in (source, ours):
        quietly(est.partial_fit, X, y)
    assert_same_state(ours, source)


def test_lbfgs():
    X, y = problem("values")
    source = quietly(make("values", 0, solver="lbfgs", max_iter=30).fit, X, y)
    ours = mlp.from_sklearn(source)
    assert_same_predictions(ours, source, X)
    assert (ours.loss_, ours.n_iter_) == (source.loss_, source.n_iter_)
    quietly(ours.set_params(warm_start=True).fit, X, y)
    assert ours.loss_ <= source.loss_


def test_nothing_is_shared():
    X, y = problem("multiclass")
    source = quietly(make("multiclass", 0).fit, X, y)
    before, curve = source.predict_proba(X), list(source.loss_curve_)
    ours = mlp.from_sklearn(source)
    quietly(ours.partial_fit, X, y)
    ours.classes_[:] = -1
    assert (source.predict_proba(X) == before).all()
    assert source.loss_curve_ == curve
    assert (source.predict(X) >= 0).all()


def test_feature_names():
    pandas = pytest.importorskip("pandas")
    X, y = problem("values")
    table = pandas.DataFrame(X, columns=list("abcde"))
    ours = mlp.from_sklearn(quietly(make("values", 0).fit, table, y))
    assert list(ours.feature_names_in_) == list("abcde")
    assert list(ours.to_sklearn().feature_names_in_) == list("abcde")
    with pytest.raises(ValueError, match="feature names"):
        ours.predict(table[list("abced")])


def test_subclasses_of_theirs():
    class Special(theirs.MLPRegressor):
        def __init__(self, extra=1, max_iter=3):
            super().__init__(hidden_layer_sizes=(5,), max_iter=max_iter)
            self.extra = extra

    X, y = problem("values")
    ours = mlp.from_sklearn(source := quietly(Special().fit, X, y))
    assert type(ours) is mlp.MLPRegressor
    assert_same_predictions(ours, source, X)


def test_from_sklearn_refuses_others():
    with pytest.raises(TypeError, match=r"BernoulliRBM of sklearn"):
        mlp.from_sklearn(theirs.BernoulliRBM())
    with pytest.raises(TypeError, match="not MLPRegressor of mlp"):
        mlp.from_sklearn(mlp.MLPRegressor())
    with pytest.raises(NotFittedError):
        mlp.from_sklearn(theirs.MLPRegressor())


def test_import_is_light():
    code = (
        "import mlp, sys; assert {'from_sklearn', 'to_onnx'} <= set(dir(mlp)); "
        "sys.exit('sklearn' in sys.modules or 'onnx' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# -- to scikit-learn --


@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
@pytest.mark.parametrize("kind", KINDS)
def test_theirs_predicts_the_same(kind, activation):
    X, y = problem(kind)
    ours = quietly(make(kind, 1, activation=activation).fit, X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        target = ours.to_sklearn()
    assert type(target) is CLASSES[KINDS[kind]][0]
    assert_same_predictions(target, ours, X)
    assert_same_state(target, ours)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(
    "kind", ["multiclass", "binary", "multilabel", "several values"]
)
def test_theirs_goes_on_as_ours(kind, solver):
    X, y = problem(kind)
    ours = quietly(make(kind, 1, batch_size=20, **SOLVERS[solver]).fit, X, y)
    target = ours.to_sklearn()
    for _ in range(5):
        for est in (ours, target):
            quietly(est.partial_fit, X, y)
    assert_same_state(target, ours)


def test_there_and_back():
    X, y = problem("texts")
    source = quietly(make("texts", 0).fit, X, y)
    back = mlp.from_sklearn(source).to_sklearn()
    assert back.get_params() == source.get_params()
    assert_same_state(back, source)
    for est in (back, source):
        quietly(est.partial_fit, X, y)
    assert_same_state(back, source)


def test_exponential_outputs_become_poisson():
    X, y = problem("counts")
    ours = quietly(make("counts", 1, loss="poisson").fit, X, y)
    target = ours.to_sklearn()
    assert target.loss == "poisson"
    assert_same_predictions(target, ours, X)


@pytest.mark.parametrize(
    "options",
    [
        {"batch_norm": "all+input"},
        {"standardize": True},
        {"dropout": Dropout((0.2, 0.5), scaling="test")},
        {"solver": "adamw"},
        {"learning_rate": "cosine"},
        {"learning_rate": StepDecay(every=3)},
        {"beta_1": (0.9, 0.8)},
        {"l1": 1e-3},
        {"loss": "squared_error"},
        {"init": "he"},
        {"dtype": "float64"},
    ],
    ids=lambda options: " ".join(options),
)
def test_what_theirs_lacks_is_named_and_predictions_stay(options):
    X, y = problem("binary")
    ours = quietly(make("binary", 1, **options).fit, X * 10 + 3, y)
    with pytest.warns(UserWarning) as caught:
        target = ours.to_sklearn()
    (warning,) = caught
    assert warning.filename == __file__
    for name, value in options.items():
        assert f"{name}={value!r}" in str(warning.message)
    assert_same_predictions(target, ours, X)
    quietly(target.partial_fit, X, y)  # its parameters are legal


@pytest.mark.parametrize("early", [True, EarlyStopping(), EarlyStopping("loss")], ids=str)
def test_early_stopping_becomes_true_and_its_arguments_are_named(early):
    X, y = problem("binary")
    ours = quietly(make("binary", 1, early_stopping=early).fit, X, y)
    if early == EarlyStopping("loss"):
        with pytest.warns(UserWarning, match=r"early_stopping=EarlyStopping\('loss'\)"):
            target = ours.to_sklearn()
    else:
        target = ours.to_sklearn()
    assert target.early_stopping is True
    quietly(target.fit, X, y)  # its parameters are legal


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("binary", {"activation": "gelu"}, "activation='gelu'"),
        ("binary", {"activation": ["relu", "tanh"]}, "activation="),
        ("binary", {"activation": ("leaky_relu", 0.1)}, "activation="),
        ("binary", {"residual": True, "hidden_layer_sizes": (5, 5)}, "residual=True"),
        ("binary", {"output_activation": "softmax"}, "output_activation='softmax'"),
        ("binary", {"loss": "logistic"}, "loss='logistic'"),
        ("multiclass", {"loss": "squared_error", "output_activation": "logistic"},
         "output_activation='logistic'.*softmax"),
        ("values", {"output_activation": "tanh"}, "output_activation='tanh'"),
    ],
)  # fmt: skip
def test_what_theirs_cannot_predict_is_refused(kind, options, message):
    X, y = problem(kind)
    ours = quietly(make(kind, 1, **options).fit, X, y)
    with pytest.raises(ValueError, match=message):
        ours.to_sklearn()


def test_another_solver_set_since_begins_anew():
    X, y = problem("binary")
    ours = quietly(make("binary", 1, solver="adamw").fit, X, y)
    target = ours.set_params(solver="adam").to_sklearn()
    quietly(target.partial_fit, X, y)
    assert target._optimizer.t == 1


def test_one_activation_named_for_every_layer_is_one():
    X, y = problem("binary")
    ours = quietly(make("binary", 1, activation=["tanh", "tanh"]).fit, X, y)
    target = ours.to_sklearn()
    assert target.activation == "tanh"
    assert_same_predictions(target, ours, X)


def test_changes_by_hand_and_no_hidden_layer():
    X, y = problem("values")
    ours = quietly(make("values", 1, hidden_layer_sizes=()).fit, X, y)
    ours.coefs_ = [np.arange(5.0)[:, None]]
    ours.intercepts_[0][:] = 2
    assert_allclose(ours.to_sklearn().predict(X), X @ np.arange(5.0) + 2, atol=1e-12)


def test_to_sklearn_wants_a_fitted_estimator():
    with pytest.raises(NotFittedError):
        mlp.MLPClassifier().to_sklearn()


def test_to_sklearn_when_the_loss_parameter_changed_after_the_fit_then_reads_the_fitted():
    X, y = problem("multiclass")
    model = quietly(mlp.MLPClassifier(4, loss="logistic", max_iter=3).fit, X, y)
    model.set_params(loss="log_loss")
    with pytest.raises(ValueError, match="loss='logistic' cannot be expressed"):
        model.to_sklearn()


def test_to_sklearn_when_parameters_changed_after_the_fit_then_names_the_fitted_ones():
    X, y = problem("several values")
    model = quietly(mlp.MLPRegressor((4, 3), "tanh", loss="huber").fit, X, y)
    model.set_params(loss="squared_error", activation="relu", hidden_layer_sizes=9)
    with pytest.warns(UserWarning, match=r"loss=\('huber', 1.0\)"):
        converted = model.to_sklearn()
    assert converted.activation == "tanh"
    assert converted.hidden_layer_sizes == (4, 3)
    assert_allclose(converted.predict(X), model.predict(X))


@pytest.mark.parametrize(
    ("kind", "fitted", "changed"),
    [
        ("binary", {}, {"output_activation": "softmax"}),
        ("binary", {"output_activation": "softmax"}, {"output_activation": None}),
        ("multiclass", {}, {"output_activation": "tanh", "loss": "logistic"}),
        ("multiclass", {"loss": "logistic"}, {"loss": "log_loss"}),
        ("counts", {"loss": "poisson"}, {"loss": "squared_error"}),
        ("values", {}, {"loss": "poisson"}),
    ],
)
def test_loss_gradients_when_parameters_changed_after_the_fit_then_are_of_the_fitted(
    kind, fitted, changed
):
    X, y = problem(kind)
    model = CLASSES[KINDS.get(kind, "regressor")][1](
        4, **fitted, max_iter=3, random_state=0
    )
    quietly(model.fit, X, y)
    expected = model.loss_gradients(X, y)
    model.set_params(**changed)
    np.testing.assert_array_equal(model.loss_gradients(X, y), expected)
