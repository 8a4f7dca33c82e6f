"""Losses and outputs of the estimators, a user's own among them."""

import re

import numpy as np
import oracle
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from oracle.cases import OUTPUTS
from scipy.special import expit
from sklearn.base import clone
from sklearn.utils.class_weight import compute_sample_weight
from small_data import (
    assert_same_bits,
    both,
    either_dtype,
    fitted_state,
    make_data,
)

import mlp
from mlp import MLPClassifier, MLPRegressor, Network
from mlp._core import LOSS_CODES
from mlp.network.losses import LOSSES, check_callable, describe, losses_of

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = make_data()
THREE = np.array(["ibex", "lynx", "newt"])[np.arange(60) % 3]
MANY = (X[:, :3] > 0).astype(int)
SHORT = {"max_iter": 5, "batch_size": 20, "random_state": 0}


def squared(y_true, y_out):
    return ((y_out - y_true) ** 2).sum(axis=1) / 2, y_out - y_true


budget = {"calls": float("inf")}


def breakable(y_true, y_out):
    """A good loss until its calls are used up."""
    budget["calls"] -= 1
    if budget["calls"] < 0:
        raise ArithmeticError("no loss today")
    return squared(y_true, y_out)


def initial_loss(model, X, y, epochs=1):
    """The loss of the first epoch, in one batch of all samples, before any step."""
    model.set_params(alpha=0, max_iter=epochs, batch_size=len(X), random_state=0)
    return clone(model).fit(X, y).loss_curve_[0]


# ---- callables --------------------------------------------------------------------------


@either_dtype
@pytest.mark.parametrize("solver", ["sgd", "adam", "adamw", "lbfgs"])
def test_own_squared_error_is_the_built_in_one_bit_for_bit(solver, dtype):
    X, y = make_data(dtype=dtype)
    model = MLPRegressor((7, 5), solver=solver, **SHORT)
    own = clone(model).set_params(loss=squared).fit(X, y)
    model.fit(X, y)
    if solver != "lbfgs":
        assert_same_bits(own, model)
    # L-BFGS sees losses that NumPy has added up in another order
    assert_allclose(
        own.loss_curve_, model.loss_curve_, rtol=1e-5 if dtype == np.float32 else 1e-9
    )


@pytest.mark.parametrize("output", ["tanh", "softmax", "logistic"])
def test_own_loss_goes_through_any_output(output):
    model = MLPClassifier((7, 5), output_activation=output, **SHORT)
    own = clone(model).set_params(loss=squared).fit(X, THREE)
    model.set_params(loss="squared_error").fit(X, THREE)
    assert_same_bits(own, model)


def test_own_loss_is_called_once_a_batch_with_all_its_rows():
    rows = []

    def loss(y_true, y_out):
        rows.append(y_out.shape)
        assert y_true.shape == y_out.shape
        return squared(y_true, y_out)

    MLPRegressor(5, loss=loss, max_iter=2, batch_size=25).fit(X, Y)
    # first the check: one call, and two for the central differences of the one output
    assert rows[3:] == [(25, 1), (25, 1), (10, 1)] * 2


@either_dtype
def test_own_loss_meets_arrays_of_the_networks_precision(dtype):
    seen = set()

    def loss(y_true, y_out):
        seen.add((y_true.dtype, y_out.dtype))
        return squared(y_true, y_out)

    Network([4, 1], loss=loss, dtype=dtype).gradients(X, Y)
    assert seen == {(np.dtype(dtype), np.dtype(dtype))}


@both
def test_a_wrong_gradient_is_refused_before_training(Estimator):
    def wrong(y_true, y_out):
        return squared(y_true, y_out)[0], 2 * (y_out - y_true)

    with pytest.raises(ValueError, match="gradient is not the derivative"):
        Estimator(5, loss=wrong).fit(X, Y)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda t, y: (squared(t, y)[0].mean(), squared(t, y)[1]),
        lambda t, y: (squared(t, y)[0], squared(t, y)[1][:, 0]),
        lambda t, y: (squared(t, y)[0][:-1], squared(t, y)[1]),
    ],
)
def test_wrong_shapes_are_named(wrong):
    with pytest.raises(ValueError, match=r"loss returned values of shape.*must be"):
        MLPRegressor(5, loss=wrong).fit(X, np.c_[Y, Y])


def test_a_kink_among_the_samples_is_no_wrong_gradient():
    t = np.array([[0.0], [1.0], [2.0]])
    y = np.array([[0.0], [3.0], [1.0]])  # the first lies on the kink
    check_callable(lambda t, y: (np.abs(y - t)[:, 0], np.sign(y - t)), t, y)


@both
@pytest.mark.parametrize("calls", [0, 7])  # in the check; in the second epoch
@pytest.mark.parametrize("goes_on", ["fit", "warm start", "partial_fit"])
def test_an_exception_in_the_loss_leaves_the_estimator_as_it_was(
    Estimator, goes_on, calls, monkeypatch
):
    model = Estimator(5, loss=breakable, batch_size=20, max_iter=5, random_state=0)
    model.set_params(warm_start=goes_on == "warm start").fit(X, Y)
    again = model.partial_fit if goes_on == "partial_fit" else model.fit
    before, prediction = fitted_state(model), model.predict(X)
    calls = min(calls, 5) if goes_on == "partial_fit" else calls
    monkeypatch.setitem(budget, "calls", calls)
    with pytest.raises(ArithmeticError, match="no loss today"):
        again(X, Y)
    assert fitted_state(model) == before
    assert_array_equal(model.predict(X), prediction)


# ---- values, gradients, targets ---------------------------------------------------------

REGRESSIONS = {
    "squared_error": lambda e: e**2 / 2,
    "absolute_error": np.abs,
    ("huber", 0.3): lambda e: np.where(np.abs(e) <= 0.3, e**2 / 0.6, np.abs(e) - 0.15),
    ("quantile", 0.8): lambda e: np.maximum(-0.8 * e, 0.2 * e),
}
every_regression = pytest.mark.parametrize("loss", REGRESSIONS, ids=str)


@either_dtype
@every_regression
def test_first_loss_is_the_definitions(loss, dtype):
    X, y = make_data(dtype=dtype)
    model = MLPRegressor(5, loss=loss, solver="sgd", learning_rate_init=1e-300)
    first = initial_loss(model, X, y)
    start = clone(model).fit(X, y)
    expected = REGRESSIONS[loss](start.predict(X).astype(float) - y).mean()
    assert first == pytest.approx(expected, rel=1e-12 if dtype == np.float64 else 1e-5)


def test_huber_takes_one_norm_for_all_outputs():
    Y3 = np.c_[Y, 1 - Y, 2 * Y] * 1.0
    model = MLPRegressor(5, loss="huber", solver="sgd", learning_rate_init=1e-300)
    first = initial_loss(model, X, Y3)
    e = np.linalg.norm(clone(model).fit(X, Y3).predict(X) - Y3, axis=1)
    expected = np.where(e <= 1, e**2 / 2, e - 0.5).mean()
    assert first == pytest.approx(expected, rel=1e-12)


@either_dtype
@every_regression
def test_an_exact_output_has_no_gradient(loss, dtype):
    network = Network([2, 1], loss=loss, dtype=dtype)
    network.params[:] = 0
    value, gradient = network.gradients(np.ones((3, 2)), np.zeros((3, 1)))
    assert value == 0
    assert_array_equal(gradient, 0)


@either_dtype
@pytest.mark.parametrize("classes", [3, 20])  # up to the lanes of a vector, and more
def test_a_class_ruled_out_costs_nothing_where_it_is_not_the_label(classes, dtype):
    network = Network([1, classes], [], "softmax", loss="log_loss", dtype=dtype)
    network.params[:] = 0
    network.intercepts[0][1] = -np.inf
    loss = network.loss(np.ones((4, 1)), np.full(4, 2))
    assert loss == pytest.approx(
        np.log(classes - 1), rel=4 * float(np.finfo(dtype).eps)
    )


@pytest.mark.parametrize("quantile", [0.1, 0.5, 0.9])
def test_quantile_loss_finds_the_quantile(quantile):
    y = np.random.default_rng(0).exponential(size=2000)
    model = MLPRegressor((), loss=("quantile", quantile), learning_rate="cosine")
    model.set_params(learning_rate_init=0.1, max_iter=100, tol=0, n_iter_no_change=200)
    model.fit(np.zeros((2000, 1)), y)
    below = (y < model.predict([[0.0]])[0]).mean()
    assert below == pytest.approx(quantile, abs=0.01)


def test_absolute_error_ignores_how_far_an_outlier_lies():
    far, farther = (np.r_[Y[:-1], v] * 1.0 for v in (1e3, 1e6))
    model = MLPRegressor(5, loss="absolute_error", **SHORT)
    assert_same_bits(clone(model).fit(X, far), model.fit(X, farther))


def test_logistic_loss_of_signed_targets_is_the_definitions():
    model = MLPClassifier(5, loss="logistic", solver="sgd", learning_rate_init=1e-300)
    first = initial_loss(model, X, Y)
    start = clone(model).fit(X, Y)
    assert start.out_activation_ == "tanh"
    margin = (2 * Y - 1) * start.network_.forward(X)[:, 0]
    assert first == pytest.approx(np.log1p(np.exp(-margin)).mean(), rel=1e-12)
    expected = expit(start.network_.forward(X)[:, 0])
    assert_allclose(start.predict_proba(X)[:, 1], expected, rtol=1e-12)


CLASSIFIERS = [
    ("log_loss", None),
    ("log_loss", "logistic"),
    ("log_loss", "softmax"),
    ("squared_error", "softmax"),
    ("squared_error", "logistic"),
    ("squared_error", "tanh"),
    ("squared_error", "identity"),
    ("squared_error", "scaled_tanh"),
    ("huber", "softmax"),
    ("absolute_error", "logistic"),
    ("logistic", None),
    ("logistic", "identity"),
]


@pytest.mark.parametrize("loss, output", CLASSIFIERS)
@pytest.mark.parametrize("y", [Y, THREE, MANY], ids=["two", "three", "labels"])
def test_classifiers_learn_with_any_loss_and_output(y, loss, output):
    if y is MANY and output == "softmax":
        pytest.skip("several labels at once are not a distribution")
    if y is not MANY:  # no circles to square: classes that a plane divides
        y = np.unique(y)[X[:, : len(np.unique(y))].argmax(axis=1)]
    model = MLPClassifier(20, "tanh", loss=loss, output_activation=output)
    model.set_params(learning_rate_init=0.02, max_iter=300, random_state=0).fit(X, y)
    assert model.score(X, y) > 0.85
    probabilities = model.predict_proba(X)
    assert (probabilities >= 0).all() and (probabilities <= 1).all()
    if y is not MANY:
        assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-12)
        chosen = model.classes_[probabilities.argmax(axis=1)]
        assert (chosen == model.predict(X)).mean() > 0.98  # but for ties at 0 and 1


@pytest.mark.parametrize("loss, output", [("log_loss", "tanh"), ("poisson", "relu")])
def test_a_loss_on_an_output_it_is_not_defined_on_is_refused_by_both(loss, output):
    with pytest.raises(ValueError, match=f"'{loss}'.*output_activation.*'{output}'"):
        MLPRegressor(5, loss=loss, output_activation=output).fit(X, Y)


@pytest.mark.parametrize(
    "loss, message",
    [
        (("quantile", 1.0), "level must be one number between 0 and 1"),
        (("huber", 0.0), "delta must be one number greater than 0"),
        (("huber", np.inf), "delta must be one number greater than 0, and finite"),
        (("huber", "1"), "delta must be one number"),
        (("huber", 1.0, 2.0), "delta must be one number"),
        (("absolute_error", 1.0), "absolute_error takes no parameter"),
        ("hinge", "is not a loss; there are squared_error"),
        ((), "is not a loss"),
        ((["huber"], 1.0), "is not a loss"),
    ],
    ids=str,
)
def test_a_loss_that_cannot_be_is_refused_by_name(loss, message):
    with pytest.raises(ValueError, match=f"loss={re.escape(repr(loss))}.*{message}"):
        MLPRegressor(5, loss=loss).fit(X, Y)
    with pytest.raises(ValueError, match=f"loss={re.escape(repr(loss))}.*{message}"):
        Network([3, 1], loss=loss)


@pytest.mark.parametrize("loss", [name for name, e in LOSSES.items() if e.parameter])
def test_the_name_alone_means_the_default_of_the_parameter(loss):
    model = MLPRegressor(5, loss=loss, **SHORT)
    given = clone(model).set_params(loss=[loss, LOSSES[loss].parameter.default])
    assert_same_bits(model.fit(X, Y), given.fit(X, Y))


def test_the_same_loss_spelled_otherwise_may_be_trained_on():
    model = MLPRegressor(5, loss="huber", warm_start=True, **SHORT).fit(X, Y)
    model.set_params(loss=["huber", 1]).fit(X, Y)
    with pytest.raises(
        ValueError, match=r"loss=\('huber', 2\) differs from the fitted network's"
    ):
        model.set_params(loss=("huber", 2)).fit(X, Y)


# ---- every loss of the table ------------------------------------------------------------

MEANT = [
    (estimator, loss)
    for estimator, targets in [
        (MLPClassifier, "labels"),
        (MLPRegressor, "values"),
        (mlp.MLPAutoencoder, "inputs"),
    ]
    for loss in losses_of(targets)
]


def test_core_and_reference_have_the_losses_of_the_table():
    assert {*LOSS_CODES} == {*LOSSES, "callable"}
    reference = {re.sub("^log_loss_.*", "log_loss", name) for name in oracle.LOSSES}
    assert reference == {*LOSSES}
    paired = {loss[0] if isinstance(loss, tuple) else loss for _, loss in OUTPUTS}
    assert {*LOSSES} <= paired


@pytest.mark.parametrize(("Estimator", "loss"), MEANT)
def test_every_loss_falls_in_training_by_the_estimator_it_is_meant_for(Estimator, loss):
    inputs = X - X.min()
    data = (inputs / inputs.max(),) if Estimator is mlp.MLPAutoencoder else (X, Y)
    model = Estimator(8, "tanh", loss=loss, max_iter=30, random_state=0)
    curve = model.set_params(learning_rate_init=0.01).fit(*data).loss_curve_
    assert curve[-1] < curve[0]


@pytest.mark.parametrize(("Estimator", "loss"), MEANT)
def test_an_estimators_docstring_has_the_losses_meant_for_it(Estimator, loss):
    text = Estimator.__doc__.partition("\n    Or a callable")[0]
    line = " ".join(describe(loss).split())
    assert line in " ".join(text.split())


def test_every_loss_meant_for_something_is_described():
    assert {loss for _, loss in MEANT} == {*LOSSES}
    assert all(entry.doc for entry in LOSSES.values())


# ---- smoothing and weights of classes ---------------------------------------------------


@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("y, output", [(Y, "logistic"), (THREE, "softmax")])
def test_smoothed_labels_are_mixed_with_the_uniform_distribution(
    y, output, standardize
):
    model = MLPClassifier(5, solver="sgd", learning_rate_init=1e-300)
    model.set_params(standardize=standardize)
    first = initial_loss(model.set_params(label_smoothing=0.2), X, y)
    start = clone(model).fit(X, y)
    T = (y[:, None] == start.classes_).astype(float)
    T = oracle.smooth_labels(T[:, 1:] if output == "logistic" else T, 0.2)
    P = start.network_.forward(X)
    expected = -(T * np.log(P)).sum(axis=1)
    if output == "logistic":
        expected -= ((1 - T) * np.log(1 - P)).sum(axis=1)
    assert first == pytest.approx(expected.mean(), rel=1e-12)


@pytest.mark.parametrize("y, loss", [(MANY, "log_loss"), (Y, "squared_error")])
def test_smoothed_values_lie_between_the_classes(y, loss):
    # tanh outputs are trained towards ±0.8, probabilities of labels towards 0.1 and 0.9
    output = "tanh" if loss == "squared_error" else None
    model = MLPClassifier(30, loss=loss, output_activation=output, label_smoothing=0.2)
    model.set_params(solver="lbfgs", alpha=0, max_iter=2000, tol=1e-7, random_state=1)
    out = model.fit(X, y).network_.forward(X)
    low = -0.8 if output else 0.1
    target = np.where(y > 0, -low if output else 0.9, low).reshape(out.shape)
    # all but the few whose tanh saturated on the way, where no gradient brings them back
    assert np.quantile(np.abs(out - target), 0.95) < 0.02


def test_label_smoothing_out_of_range_is_refused():
    with pytest.raises(ValueError, match="label_smoothing"):
        MLPClassifier(label_smoothing=1.0).fit(X, Y)


@pytest.mark.parametrize("y", [Y, THREE], ids=["two", "three"])
@pytest.mark.parametrize("weighted", [False, True])
def test_class_weights_are_sample_weights(weighted, y):
    factors = dict(zip(np.unique(y).tolist(), [0.5, 2.0, 3.0], strict=False))
    w = np.linspace(0.5, 2, 60) if weighted else None
    by_hand = np.array([factors[label] for label in y]) * (1 if w is None else w)
    model = MLPClassifier(5, **SHORT)
    expected = clone(model).fit(X, y, by_hand)
    assert_same_bits(model.set_params(class_weight=factors).fit(X, y, w), expected)


def test_balanced_classes_weigh_the_same():
    y = np.r_[np.zeros(45, int), np.ones(15, int)]
    balanced = MLPClassifier(5, class_weight="balanced", **SHORT).fit(X, y)
    factors = MLPClassifier(5, class_weight={0: 60 / 90, 1: 2.0}, **SHORT).fit(X, y)
    assert_same_bits(balanced, factors)


@pytest.mark.parametrize("labels", [["0", "1", "01"], ["-1", " 1", "1"], [3, 1, 2]])
def test_class_weights_of_any_labels_are_sample_weights(labels):
    y = np.array(labels)[np.arange(60) % 3]
    by_hand = np.where(y == labels[2], 5.0, 1.0)
    model = MLPClassifier(5, **SHORT)
    expected = clone(model).fit(X, y, by_hand)
    weighted = clone(model).set_params(class_weight={labels[2]: 5})
    assert_same_bits(weighted.fit(X, y), expected)


def test_class_weights_of_a_later_y_without_a_class_are_sample_weights():
    model = MLPClassifier(5, class_weight={1: 10.0}, **SHORT)
    plain = clone(model).set_params(class_weight=None)
    zeros = np.zeros(60, int)
    model.partial_fit(X, zeros, classes=[0, 1]).partial_fit(X, Y)
    plain.partial_fit(X, zeros, classes=[0, 1]).partial_fit(X, Y, np.where(Y, 10.0, 1))
    assert_same_bits(model, plain)
    v = np.ones(model.network_.params.size)
    for question in (
        lambda m: m.loss_gradients(X, zeros),
        lambda m: m.hessian_diagonal(X, zeros),
        lambda m: m.hessian_vector_product(X, zeros, v),
    ):
        assert_array_equal(question(model), question(plain))
    model.fit(X, Y, X_val=X, y_val=zeros)
    plain.fit(X, Y, np.where(Y, 10.0, 1), X_val=X, y_val=zeros)
    assert_allclose(model.validation_loss_curve_, plain.validation_loss_curve_)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("weights", [[{1: 5}, {}, {0: 2, 1: 3.0}], "balanced"], ids=str)
def test_class_weights_of_label_columns_are_multiplied(weights, weighted):
    w = np.linspace(0.5, 2, 60) if weighted else None
    labels = np.stack([Y, THREE == 0, THREE == 2], axis=1).astype(int)
    full = weights
    if isinstance(weights, list):
        full = [{0: 1, 1: 1} | column for column in weights]
    by_hand = compute_sample_weight(full, labels) * (1 if w is None else w)
    model = MLPClassifier(5, **SHORT)
    expected = clone(model).fit(X, labels, by_hand)
    for y in (labels, 2 * labels):
        model.set_params(class_weight=weights).fit(X, y, w)
        assert_same_bits(model, expected)


def test_class_weights_of_label_columns_come_back_from_a_file(tmp_path):
    labels = np.stack([Y, THREE == 0], axis=1).astype(int)
    model = MLPClassifier(5, class_weight=[{1: 5}, {}], **SHORT).fit(X, labels)
    model.save(tmp_path / "labels.mlp")
    assert mlp.load(tmp_path / "labels.mlp").class_weight == [{1: 5}, {}]


@pytest.mark.parametrize(
    ("class_weight", "y", "words"),
    [
        ({0: 1, 1: "5"}, Y, "the weight of 1 must be a finite number >= 0, got '5'"),
        ({0: None}, Y, "the weight of 0 must be .*, got None"),
        ({0: np.nan}, Y, "the weight of 0 must be .*, got nan"),
        ({1: np.inf}, Y, "the weight of 1 must be .*, got inf"),
        ({0: 0, 1: 0}, Y, "gives every sample the weight 0"),
        ([{0: 1}], Y, "must be a dict or 'balanced' where y has one label"),
        ({0: 1, 1: 5}, np.stack([Y, Y], 1), "must be a list of 2 dicts where y is a"),
        ([{1: 5}], np.stack([Y, Y], 1), "must be a list of 2 dicts where y is a"),
        ([{1: 5}, {1: "a"}], np.stack([Y, Y], 1), r"class_weight\[1\]: .*, got 'a'"),
        ([{1: 5}, {2: 1}], np.stack([Y, Y], 1), r"class_weight\[1\] has the keys \[2\]"),
    ],
)
def test_class_weights_that_do_not_suit_y_are_refused(class_weight, y, words):
    with pytest.raises(ValueError, match=words):
        MLPClassifier(class_weight=class_weight).fit(X, y)


def test_balanced_class_weights_are_refused_in_partial_fit():
    model = MLPClassifier(5, class_weight="balanced", **SHORT)
    with pytest.raises(ValueError, match=r"partial_fit .*compute_class_weight"):
        model.partial_fit(X, Y, classes=[0, 1])


@pytest.mark.parametrize(
    "class_weight, message", [({"yak": 1.0}, "yak"), ("balance", "class_weight")]
)
def test_bad_class_weights_are_refused(class_weight, message):
    with pytest.raises(ValueError, match=message):
        MLPClassifier(class_weight=class_weight).fit(X, THREE)
