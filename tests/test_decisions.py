"""Decisions where the sources disagree or leave something open: docs/sources.rst."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.ensemble import BaggingClassifier, VotingClassifier

from mlp import (
    MLPAutoencoder,
    MLPClassifier,
    MLPRegressor,
    MultiTaskClassifier,
    Network,
    SiameseClassifier,
)
from mlp.training.stopping import Progress

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

rng = np.random.default_rng(0)
X = rng.uniform(0.1, 0.9, (60, 4))
binary = (X[:, 0] > 0.5).astype(int)
three = X[:, :3].argmax(axis=1)


def all_zero(estimator, y, X=X):
    """The fitted estimator, with the outputs that zero weights and offsets give."""
    estimator.set_params(max_iter=1, random_state=0).fit(X, y)
    estimator.coefs_ = [np.zeros_like(W) for W in estimator.coefs_]
    estimator.intercepts_ = [np.zeros_like(b) for b in estimator.intercepts_]
    return estimator


# Ties -------------------------------------------------------------------------------


def test_output_of_exactly_one_half_predicts_the_first_class():
    model = all_zero(MLPClassifier((3,)), np.array(["no", "yes"])[binary])
    assert_array_equal(model.predict_proba(X), np.full((60, 2), 0.5))
    assert set(model.predict(X)) == {"no"}


def test_label_of_exactly_one_half_is_not_predicted():
    model = all_zero(MLPClassifier((3,)), np.column_stack([binary, 1 - binary]))
    assert_array_equal(model.predict(X), np.zeros((60, 2)))


def test_signed_output_of_exactly_zero_predicts_the_first_class():
    options = {"output_activation": "tanh", "loss": "squared_error"}
    model = all_zero(MLPClassifier((3,), **options), binary)
    assert_array_equal(model.predict(X), np.zeros(60))


def test_equal_softmax_outputs_predict_the_first_class():
    model = all_zero(MLPClassifier((3,)), three + 5)
    assert_array_equal(model.predict(X), np.full(60, 5))


def test_task_of_exactly_one_half_predicts_its_first_label():
    model = all_zero(MultiTaskClassifier((3,)), np.column_stack([binary, three]))
    assert_array_equal(model.predict(X), np.zeros((60, 2)))


def test_pair_of_exactly_score_zero_is_predicted_different():
    model = SiameseClassifier((3,), n_embedding=2, head="distance")
    model = all_zero(model, np.arange(30) % 2, X.reshape(30, 2, 4))
    assert_array_equal(model.predict(X.reshape(30, 2, 4)), np.zeros(30))


@pytest.mark.parametrize("threshold", ["step", "sign"])
def test_hard_threshold_of_zero_is_one(threshold):
    network = Network([1, 1], output_activation=threshold)
    assert network.forward(np.zeros((1, 1))) == 1


# Activations ------------------------------------------------------------------------


def test_softmax_of_one_output_is_logistic():
    networks = [
        Network([4, 3, 1], "tanh", output, loss="log_loss")
        for output in ("softmax", "logistic")
    ]
    for network in networks:
        network.params[:] = np.linspace(-1, 2, network.params.size)
    one, other = networks
    y = binary[:, None].astype(float)
    assert_allclose(one.forward(X), other.forward(X), rtol=1e-15)
    assert_allclose(one.loss(X, y), other.loss(X, y), rtol=1e-14)
    assert_allclose(one.gradients(X, y)[1], other.gradients(X, y)[1], rtol=1e-12)


@pytest.mark.parametrize(
    ("activation", "slope"), [("relu", 0), ("leaky_relu", 0.01), ("elu", 1)]
)
def test_slope_at_zero_in_the_core_is_the_decided_one(activation, slope):
    network = Network([1, 1, 1], activation)
    network.coefs[0][:], network.coefs[1][:] = 0, 1
    _, gradient = network.gradients(np.ones((1, 1)), -np.ones((1, 1)))
    assert network.unpack(gradient)[0][0] == slope


# Initial values, samples ------------------------------------------------------------


@pytest.mark.parametrize(
    ("init", "deviation"),
    [("normal", 1), ("uniform", 0), ("glorot", 0), ("glorot_sigmoid", 0), ("he", 0)],
)
def test_offsets_start_at_zero_unless_init_is_normal(init, deviation):
    model = MLPRegressor((4000,), init=init, max_iter=1, random_state=0)
    model.set_params(learning_rate_init=1e-12, alpha=0).fit(X, X[:, 0])
    # the standard error of the deviation of 4000 numbers is 1.1 %
    assert abs(np.std(model.intercepts_[0]) - deviation) < 0.05


def test_epoch_without_replacement_visits_every_sample_once():
    seen = []

    def note(batch, rng):
        seen.append(batch[:, 0].copy())
        return batch

    model = MLPRegressor((3,), augment=note, batch_size=7, random_state=0)
    model.partial_fit(X, X[:, 0])
    assert_array_equal(np.sort(np.concatenate(seen)), np.sort(X[:, 0]))


def test_missing_targets_count_among_the_samples_of_the_mean():
    network = Network([4, 2])
    network.params[:] = np.linspace(-1, 1, network.params.size)
    targets = rng.normal(size=(60, 2))
    some = targets.copy()
    some[:15] = np.nan
    expected = network.loss(X[15:], targets[15:]) * 45 / 60
    assert_allclose(network.loss(X, some), expected, rtol=1e-14)


# Penalties --------------------------------------------------------------------------


def test_gradients_and_diagonal_leave_penalties_out():
    plain = MLPRegressor((3,), "tanh", max_iter=3, random_state=0).fit(X, X[:, :2])
    same = clone(plain).set_params(l1=0.5, l2=0.7, alpha=3.0, learning_rate_init=1e-300)
    same.fit(X, X[:, :2]).network_.params[:] = plain.network_.params
    gradients = [m.loss_gradients(X, X[:, :2], wrt="params") for m in (same, plain)]
    assert_array_equal(*gradients)
    assert_array_equal(*[m.hessian_diagonal(X, X[:, :2]) for m in (same, plain)])


def test_step_is_along_the_gradient_plus_two_rho_w():
    options = {"solver": "sgd", "momentum": 0, "alpha": 0, "l2": 0.3}
    model = MLPRegressor((3,), "tanh", batch_size=60, random_state=0, **options)
    model.set_params(learning_rate_init=1e-300).partial_fit(X, X[:, :2])
    _, gradient = model.network_.gradients(X, X[:, :2])
    before = [W.copy() for W in model.coefs_]
    model.set_params(learning_rate_init=0.1)
    model = model.set_params(warm_start=True, max_iter=1).fit(X, X[:, :2])
    for W, old, G in zip(
        model.coefs_, before, model.network_.unpack(gradient)[0], strict=True
    ):
        assert_allclose(W, old - 0.1 * (G + 2 * 0.3 * old), rtol=1e-12)


def test_penalty_of_tied_weights_is_counted_once():
    options = {"learning_rate_init": 1e-300, "alpha": 0, "max_iter": 1}
    losses = []
    for l2 in (0.0, 0.25):
        coder = MLPAutoencoder((3,), tied=True, l2=l2, random_state=0, **options)
        losses.append(coder.fit(X).loss_)
    expected = 0.25 * (coder.coefs_[0] ** 2).sum()
    assert_allclose(losses[1] - losses[0], expected, rtol=1e-12)


# Stopping, committees ---------------------------------------------------------------


def test_equal_score_does_not_replace_the_best_so_far():
    progress = Progress(tol=0.0)
    assert progress.update(0.5)
    assert not progress.update(0.5)


@pytest.mark.parametrize(
    "committee",
    [
        lambda network: BaggingClassifier(network, n_estimators=5, random_state=0),
        lambda network: VotingClassifier(
            [(str(k), clone(network).set_params(random_state=k)) for k in range(5)]
        ),
    ],
    ids=["bagging", "vote"],
)
def test_committee_of_networks_is_fitted_and_votes(committee):
    network = MLPClassifier((8,), learning_rate_init=0.05, max_iter=60)
    model = committee(network).fit(X, three)
    members = np.mean([member.score(X, three) for member in model.estimators_])
    assert model.score(X, three) >= members > 0.6
