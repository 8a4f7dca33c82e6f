"""Fitted estimators with other samples, other parameters or assigned weights."""

import pickle
from copy import deepcopy
from threading import Lock

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.exceptions import NotFittedError
from small_data import Listener

from mlp import (
    MLPAutoencoder,
    MLPClassifier,
    MLPRegressor,
    MultiTaskClassifier,
    SiameseClassifier,
)

RNG = np.random.RandomState(0)
X = RNG.randn(60, 5)
SPARSE = csr_array(np.where(np.abs(X) > 0.5, X, 0))
VALUES = X @ RNG.randn(5)
LABELS = np.digitize(X[:, 0], [-0.5, 0.5])
SEVERAL = (RNG.rand(60, 3) < 0.5).astype(int)
SHORT = {"max_iter": 5, "random_state": 0, "n_threads": 1}

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


# -- sparse samples where dense ones were fitted, and the other way --------------------


def later(model, X, y):
    """Every way in which samples reach a fitted model."""
    warm = deepcopy(model).set_params(warm_start=True)
    return [
        lambda: deepcopy(model).partial_fit(X, y),
        lambda: warm.fit(X, y),
    ]


@pytest.mark.parametrize(
    "model",
    [
        MLPClassifier(5, "rbf", **SHORT).fit(X, LABELS),
        MLPRegressor(5, "rbf", **SHORT).fit(X, VALUES),
        MultiTaskClassifier(5, "rbf", **SHORT).fit(X, SEVERAL),
        MLPAutoencoder(5, "rbf", **SHORT).fit(X),
    ],
    ids=lambda model: type(model).__name__,
)
def test_radial_functions_refuse_sparse_samples_later_too(model):
    y = {"MLPClassifier": LABELS, "MultiTaskClassifier": SEVERAL}.get(
        type(model).__name__, VALUES
    )
    for fit in later(model, SPARSE, y):
        with pytest.raises(ValueError, match="needs dense X"):
            fit()
    targets = {} if isinstance(model, MLPAutoencoder) else {"y_val": y}
    with pytest.raises(ValueError, match="needs dense X"):
        deepcopy(model).fit(X, y, X_val=SPARSE, **targets)


def test_a_twin_that_centres_its_inputs_refuses_sparse_pairs_later_too():
    same = np.arange(30) % 2
    model = SiameseClassifier(5, batch_norm="all+input", **SHORT)
    model.fit((X[:30], X[30:]), same)
    for fit in later(model, (SPARSE[:30], SPARSE[30:]), same):
        with pytest.raises(
            ValueError, match="would centre the inputs, but X is sparse"
        ):
            fit()


@pytest.mark.parametrize("Estimator", [MLPRegressor, MLPAutoencoder])
def test_subtracted_means_cannot_be_of_sparse_samples(Estimator):
    model = Estimator(5, standardize=True, **SHORT).fit(X + 10, VALUES)
    for fit in later(model, csr_array(X + 10), VALUES):
        with pytest.raises(ValueError, match="whose means it subtracts"):
            fit()


def test_scaled_sparse_samples_may_come_dense_later():
    model = MLPRegressor(5, standardize=True, **SHORT).fit(SPARSE, VALUES)
    dense = deepcopy(model).partial_fit(SPARSE.toarray(), VALUES)
    np.testing.assert_allclose(
        dense.coefs_[0], model.partial_fit(SPARSE, VALUES).coefs_[0], rtol=1e-10
    )


# -- other targets ---------------------------------------------------------------------


@pytest.mark.parametrize(("before", "now"), [(LABELS, SEVERAL), (SEVERAL, LABELS)])
def test_one_label_and_several_are_not_taken_for_each_other(before, now):
    now = np.minimum(now, 1)  # no label is new
    model = MLPClassifier(5, **SHORT).fit(X, before)
    for fit in later(model, X, now):
        with pytest.raises(
            ValueError, match=r"y of shape .* the network was fitted to"
        ):
            fit()
    with pytest.raises(ValueError, match="y_val: y of shape"):
        model.fit(X, before, X_val=X, y_val=now)


# -- other parameters ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "then", "said"),
    [
        (
            {"loss": ("quantile", 0.1)},
            {"loss": ("quantile", 0.9)},
            r"loss=\('quantile', 0\.9\).*\('quantile', 0\.1\)",
        ),
        ({"dtype": "float32"}, {"dtype": "float64"}, "dtype='float64' differs"),
    ],
)
def test_what_a_network_is_made_of_cannot_change_silently(first, then, said):
    model = MLPRegressor(5, warm_start=True, **first, **SHORT).fit(X, VALUES)
    with pytest.raises(ValueError, match=said):
        model.set_params(**then).fit(X, VALUES)


def test_parameters_set_later_do_not_change_what_was_fitted():
    model = MLPClassifier(5, **SHORT).fit(X, VALUES > 0)
    before = model.predict(X)
    np.testing.assert_array_equal(model.set_params(loss="logistic").predict(X), before)


def test_a_random_connectivity_is_drawn_once_in_a_fit():
    draws = np.random.RandomState(0)

    def connectivity(layer, n_in, n_out):
        return draws.rand(n_in, n_out) < 0.5

    model = MLPClassifier(5, connectivity=connectivity, warm_start=True, **SHORT)
    assert model.fit(X, LABELS).n_iter_ == 5
    with pytest.raises(ValueError, match="connectivity differs"):
        model.fit(X, LABELS)


# -- weights assigned by hand ----------------------------------------------------------


def by_hand():
    model = MLPClassifier(5, **SHORT).fit(X, LABELS)
    model.coefs_ = [np.full_like(W, 0.25) for W in model.coefs_]
    model.intercepts_[0] = np.arange(5.0)
    return model


@pytest.mark.parametrize(
    "copy",
    [deepcopy, lambda m: pickle.loads(pickle.dumps(m))],
    ids=["deepcopy", "pickle"],
)
def test_copies_have_what_was_assigned(copy):
    model = copy(by_hand())
    np.testing.assert_array_equal(model.intercepts_[0], np.arange(5.0))
    np.testing.assert_array_equal(model.predict_proba(X), by_hand().predict_proba(X))


def test_a_base_gives_what_was_assigned_to_it():
    model = MLPClassifier(5, base=by_hand(), freeze=1, **SHORT).fit(X, LABELS)
    assert (model.coefs_[0] == 0.25).all()


def test_a_fit_that_fails_leaves_what_was_assigned():
    model = by_hand()
    with pytest.raises(ValueError, match="features"):
        model.partial_fit(X[:, :2], LABELS)
    np.testing.assert_array_equal(model.predict_proba(X), by_hand().predict_proba(X))


def test_a_pairs_networks_take_over_what_is_assigned():
    model = SiameseClassifier(5, **SHORT).fit((X[:30], X[30:]), np.arange(30) % 2)
    model.coefs_ = [W * 0 for W in model.coefs_]
    model.intercepts_ = [b * 0 for b in model.intercepts_]
    assert not model.embed(X).any()


# -- callbacks -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "model",
    [
        MLPClassifier(5),
        MLPRegressor(5),
        MultiTaskClassifier(5),
        MLPAutoencoder(5),
        SiameseClassifier(5),
    ],
    ids=lambda model: type(model).__name__,
)
def test_callbacks_are_taken_down_after_a_partial_fit(model):
    class Hears(Listener):
        heard = ()

        def setup(self, estimator, context):
            self.heard += ("setup",)

        def teardown(self, estimator, context):
            self.heard += ("teardown",)

    listener = Hears()
    model.set_callbacks(listener)
    samples, y = X, SEVERAL
    if isinstance(model, SiameseClassifier):
        samples, y = (X[:30], X[30:]), np.arange(30) % 2
    elif not isinstance(model, MultiTaskClassifier):
        y = (VALUES > 0).astype(int)
    known = {}
    if isinstance(model, MLPClassifier):
        known = {"classes": [0, 1]}
    elif isinstance(model, MultiTaskClassifier):
        known = {"classes": [[0, 1]] * 3}
    model.partial_fit(samples, y, **known)
    assert listener.heard == ("setup", "teardown")
    assert not [name for name in vars(model) if name.startswith("_callback_fit")]


class Assigns(Listener):
    """Sets the last layer to 0 after an epoch, in place or by another array."""

    def __init__(self, epoch, in_place):
        self.epoch, self.in_place, self.ended = epoch, in_place, 0

    def on_fit_task_end(self, estimator, context):
        self.ended += 1
        if self.ended == self.epoch and self.in_place:
            estimator.coefs_[-1][:] = 0
        elif self.ended == self.epoch:
            estimator.coefs_[-1] = np.zeros_like(estimator.coefs_[-1])


@pytest.mark.parametrize("in_place", [True, False])
@pytest.mark.parametrize("freeze", [0, 1])
@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_training_goes_on_from_what_a_callback_assigns(solver, freeze, in_place):
    options = {"solver": solver, "freeze": freeze, **SHORT}
    model = MLPClassifier((5, 4), **options).set_callbacks(Assigns(2, in_place))
    model.fit(X, LABELS)
    parts = MLPClassifier((5, 4), **options).set_params(max_iter=2).fit(X, LABELS)
    other = MLPClassifier((5, 4), **options).fit(X, LABELS)
    assert model.loss_curve_[:2] == parts.loss_curve_ == other.loss_curve_[:2]
    assert model.loss_curve_[2] != other.loss_curve_[2]
    assert model.coefs_[-1].any()  # it was trained on
    assert np.abs(model.coefs_[-1]).max() < np.abs(other.coefs_[-1]).max() / 2
    np.testing.assert_array_equal(model.coefs_[-1], model.network.coefs[-1])


# -- interruption outside the epochs, objects of the user's ------------------------------


def interrupt(*args):
    raise KeyboardInterrupt


def test_an_interruption_before_the_first_epoch_changes_nothing():
    model = MLPClassifier(5, **SHORT).fit(X, LABELS)
    before = model.predict(X)
    with pytest.raises(KeyboardInterrupt):
        model.set_params(init=interrupt).fit(X[:, :3], np.where(LABELS, "cat", "dog"))
    np.testing.assert_array_equal(model.predict(X), before)
    new = MLPClassifier(5, init=interrupt, **SHORT)
    with pytest.raises(KeyboardInterrupt):
        new.fit(X, LABELS)
    with pytest.raises(NotFittedError):
        new.predict(X)


class Loss:
    """A squared error that can't be copied."""

    def __init__(self):
        self.scale, self.lock = 1.0, Lock()

    def __call__(self, y_true, y_out):
        d = self.scale * (y_out - y_true)
        return 0.5 * self.scale * ((y_out - y_true) ** 2).sum(1), d


class WithItsOwnLoss(MLPRegressor):
    """A subclass whose loss is a method."""

    def fit(self, X, y):
        self.loss = self.squared
        return super().fit(X, y)

    def squared(self, y_true, y_out):
        return 0.5 * ((y_out - y_true) ** 2).sum(1), y_out - y_true


def test_a_users_loss_stays_the_same_object():
    loss = Loss()
    model = MLPRegressor(5, loss=loss, alpha=0.0, **SHORT).fit(X, VALUES)
    with pytest.raises(ValueError, match="NaN"):
        model.partial_fit(X * np.nan, VALUES)
    assert model.network_.spec.loss.spec is loss
    loss.scale = 0.0
    assert model.partial_fit(X, VALUES).loss_ == 0


def test_a_loss_may_be_a_method_of_the_estimator():
    model = WithItsOwnLoss(5, alpha=0.0, **SHORT).fit(X, VALUES)
    plain = MLPRegressor(5, alpha=0.0, **SHORT).fit(X, VALUES)
    for m in (model, plain):
        m.partial_fit(X, VALUES)
    np.testing.assert_allclose(model.predict(X), plain.predict(X), rtol=1e-10)


@pytest.mark.parametrize("what", ["init", "loss"])
def test_a_callable_that_returns_nothing_is_named(what):
    model = MLPRegressor(5, **{what: lambda *args: None}, **SHORT)
    with pytest.raises(ValueError, match=f"{what} must return two arrays"):
        model.fit(X, VALUES)


def test_what_is_asked_of_a_fit_is_free_of_parameters_set_later():
    options = {"output_activation": "identity", "loss": "squared_error", **SHORT}
    model = MLPClassifier(5, "tanh", **options).fit(X, VALUES > 0)
    before = model.loss_gradients(X, VALUES > 0)
    model.set_params(loss="logistic")
    np.testing.assert_array_equal(model.loss_gradients(X, VALUES > 0), before)


def test_a_twins_dtype_cannot_change_silently():
    pairs, same = (X[:30], X[30:]), np.arange(30) % 2
    model = SiameseClassifier(5, warm_start=True, **SHORT).fit(pairs, same)
    with pytest.raises(ValueError, match="dtype='float32' differs"):
        model.set_params(dtype="float32").fit(pairs, same)


def test_attributes_set_during_a_fit_stay() -> None:
    class Counting(MLPRegressor):
        def count(self, batch, rng):  # type: ignore[no-untyped-def]
            self.seen_ = getattr(self, "seen_", 0) + 1
            return batch

    X = np.eye(4)
    model = Counting((2,), max_iter=1, random_state=0)
    model.set_params(augment=model.count)
    for n in (1, 2):
        model.partial_fit(X, X[:, 0])
        assert model.seen_ == n
