"""Solvers, schedules, penalties and clipping as the estimators offer them."""

import pickle
import warnings
from itertools import pairwise

import numpy as np
import pytest
import scipy.sparse
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_iris, make_regression
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPRegressor as SklearnRegressor
from small_data import (
    Listener,
    assert_same_bits,
    both,
    either_dtype,
    make_data,
    parameters,
)

from mlp import BatchNorm, MLPClassifier, MLPRegressor, Network
from mlp.training.full_batch import Risk, minimize
from mlp.training.minibatch import Penalties
from mlp.training.schedules import Schedule

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

STOCHASTIC = ["sgd", "adam", "adamw"]
FULL_BATCH = ["lbfgs", "cg", "gd"]
every_stochastic = pytest.mark.parametrize("solver", STOCHASTIC)
every_full_batch = pytest.mark.parametrize("solver", FULL_BATCH)
every_solver = pytest.mark.parametrize("solver", STOCHASTIC + FULL_BATCH)
X, Y = make_data()
SMOOTH = np.sin(3 * X[:, 0]) + X[:, 1] ** 2


def start_of(model, *data):
    """The same model before its first step."""
    still = clone(model).set_params(solver="sgd", learning_rate="constant", momentum=0)
    return still.set_params(learning_rate_init=1e-300, max_iter=1).fit(*data)


# ---- full batch -------------------------------------------------------------------------


def risk_of(network, X, T, **penalties):
    data = network.data(X, T)
    return Risk(network, data, Penalties(**penalties), n_threads=1, sparse=False)


def network_and_risk(seed=0, **options):
    network = Network([4, 6, 2], "tanh", **options)
    rng = np.random.default_rng(seed)
    network.params[:] = rng.normal(size=network.params.size) / 2
    T = np.c_[SMOOTH, np.cos(X[:, 2])]
    return network, risk_of(network, X, T, alpha=0.1, l2=1e-3, l1=1e-3, l2_bias=True)


@pytest.mark.parametrize("batch_norm", [None, "hidden", "all+input"])
def test_gradient_of_the_risk_is_the_central_difference(batch_norm):
    network, risk = network_and_risk(batch_norm=batch_norm)
    w = network.params.copy()
    _, gradient = risk(w)
    steps = 1e-6 * np.eye(len(w))
    slopes = [(risk(w + h)[0] - risk(w - h)[0]) / 2e-6 for h in steps]
    assert_allclose(gradient, slopes, atol=1e-6 * np.linalg.norm(gradient))


@pytest.mark.parametrize("seed", range(5))
def test_steepest_descent_goes_to_the_minimum_along_each_gradient(seed):
    _, risk = network_and_risk(seed)
    w = risk.network.params.copy()
    _, gradient = risk(w)
    options = {"max_iter": 1, "max_fun": 1000, "tol": 0.0}
    end = minimize(risk, "gd", on_iteration=lambda value: False, **options).x
    _, there = risk(end)
    moved = (w - end) / gradient  # by one positive step for all
    assert_allclose(moved, moved[0], rtol=1e-6)
    assert moved[0] > 0
    cosine = there @ gradient / np.linalg.norm(there) / np.linalg.norm(gradient)
    assert abs(cosine) < 1e-2  # Brent stops at 1e-4 of the step


@pytest.mark.parametrize("seed", range(5))
@every_full_batch
def test_full_batch_solvers_lower_the_risk_in_every_iteration(solver, seed):
    model = MLPRegressor(6, "tanh", solver=solver, max_iter=30, random_state=seed)
    model.fit(X, SMOOTH)
    assert all(after <= before for before, after in pairwise(model.loss_curve_))
    assert len(model.loss_curve_) == model.n_iter_
    assert model.loss_ == pytest.approx(model.loss_curve_[-1])


@every_full_batch
def test_full_batch_solvers_stop_where_the_gradient_is_small(solver):
    model = MLPRegressor((), solver=solver, alpha=1.0, tol=1e-3, max_iter=500)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.fit(X, SMOOTH)
    network = model.network_
    risk = risk_of(network, X, SMOOTH, alpha=1.0)
    assert np.abs(risk(network.params.copy())[1]).max() <= 1e-3


@every_full_batch
def test_full_batch_solvers_warn_when_iterations_run_out(solver):
    model = MLPRegressor(6, solver=solver, max_iter=2, random_state=0)
    with pytest.warns(ConvergenceWarning, match=rf"{solver} failed to converge"):
        model.fit(X, SMOOTH)


@pytest.mark.parametrize("solver", ["cg", "gd"])
def test_evaluations_of_the_risk_are_limited(solver):
    _, risk = network_and_risk()
    options = {"max_iter": 500, "max_fun": 40, "tol": 0.0}
    minimize(risk, solver, on_iteration=lambda value: False, **options)
    assert risk.evaluations < 40 + 60  # what one line search may take more


@every_full_batch
def test_conjugate_gradients_and_descent_reach_ridge_regression(solver):
    model = MLPRegressor((), solver=solver, alpha=2.0, tol=1e-7, max_iter=2000)
    model.fit(X, SMOOTH)
    centred = X - X.mean(axis=0)
    A = centred.T @ centred + 2.0 * np.eye(4)
    expected = np.linalg.solve(A, centred.T @ (SMOOTH - SMOOTH.mean()))
    # a decrease of 2.2e-9 (L-BFGS) or a step of 1e-4 of the last ends the search
    assert_allclose(model.coefs_[0].ravel(), expected, atol=1e-4)


@pytest.mark.parametrize("solver", ["sgd", *FULL_BATCH])
@pytest.mark.parametrize("penalty", ["l2", "alpha"])
def test_penalties_mean_the_same_for_every_solver_with_several_outputs(solver, penalty):
    # ½‖γ̂ − γ‖² + ρ‖W‖² [S 65.45]: ridge regression, of three outputs, without offsets
    rho, T = 0.05, np.c_[SMOOTH, np.cos(X[:, 2]), X[:, 3] ** 3]
    A, T = X - X.mean(axis=0), T - T.mean(axis=0)
    expected = np.linalg.solve(A.T @ A / 60 + 2 * rho * np.eye(4), A.T @ T / 60)
    strength = {"l2": rho, "alpha": 0.0} if penalty == "l2" else {"alpha": 120 * rho}
    model = MLPRegressor((), solver=solver, tol=1e-9, max_iter=3000, batch_size=60)
    model.set_params(momentum=0.0, learning_rate_init=0.5, n_iter_no_change=3000)
    model.set_params(random_state=0, **strength).fit(A, T)
    assert_allclose(model.coefs_[0], expected, atol=1e-7)
    penalty_value = rho * (model.coefs_[0] ** 2).sum()
    reported = ((model.predict(A) - T) ** 2).mean() / 2 + penalty_value
    assert model.loss_ == pytest.approx(reported, rel=1e-9)


def test_lbfgs_with_a_small_tol_goes_on_until_the_gradient_is_small():
    model = MLPRegressor((6,), "tanh", solver="lbfgs", alpha=1.0, tol=1e-8)
    model.set_params(max_iter=3000, random_state=0).fit(X, SMOOTH)
    risk = risk_of(model.network_, X, SMOOTH, alpha=1.0)
    assert np.abs(risk(model.network_.params.copy())[1]).max() <= 1e-8


def test_lbfgs_with_a_usual_tol_stops_where_scikit_learn_does():
    options = {"solver": "lbfgs", "random_state": 0, "alpha": 10.0}
    ours = MLPRegressor((6,), "tanh", **options).fit(X, SMOOTH)
    theirs = SklearnRegressor(hidden_layer_sizes=(6,), activation="tanh", **options)
    assert ours.n_iter_ == theirs.fit(X, SMOOTH).n_iter_


def test_steepest_descent_at_a_kink_goes_on_or_warns():
    X, y = make_regression(100, 5, random_state=0)
    model = MLPRegressor((6, 5), "relu", solver="gd", random_state=0, max_iter=300)
    with pytest.warns(ConvergenceWarning, match="gd failed to converge"):
        model.fit(X, y)
    assert model.n_iter_ > 16 and model.loss_ == min(model.loss_curve_)


def test_conjugate_gradients_without_descent_warn():
    X, y = make_regression(100, 5, random_state=0)
    model = MLPRegressor((6, 5), "relu", solver="cg", random_state=0, max_iter=300)
    with pytest.warns(ConvergenceWarning, match="cg failed to converge"):
        model.fit(X, y)


# ---- any solver -------------------------------------------------------------------------


@both
@every_solver
@either_dtype
def test_every_solver_lowers_the_loss_and_records_it(Estimator, solver, dtype):
    X, y = make_data(dtype=dtype)
    model = Estimator(8, "tanh", solver=solver, max_iter=40, learning_rate_init=0.02)
    model.set_params(random_state=0).fit(X, y)
    assert model.loss_curve_[-1] < 0.95 * model.loss_curve_[0]
    assert len(model.loss_curve_) == model.n_iter_
    assert model.coefs_[0].dtype == dtype


@both
@every_solver
def test_sparse_inputs_are_trained_on_as_dense(Estimator, solver):
    X, y = make_data()
    X[X < 0] = 0
    model = Estimator(8, "tanh", solver=solver, max_iter=5, random_state=0)
    model.set_params(epsilon=1e-3)  # or Adam divides a rounding by another
    dense, sparse = clone(model).fit(X, y), model.fit(scipy.sparse.csr_array(X), y)
    for a, b in zip(parameters(dense), parameters(sparse), strict=True):
        assert_allclose(a, b, rtol=1e-8, atol=1e-8)


@both
@every_solver
def test_warm_starts_go_on_where_the_last_fit_ended(Estimator, solver):
    model = Estimator(8, "tanh", solver=solver, max_iter=8, warm_start=True)
    model.set_params(random_state=0).fit(X, Y)
    first = model.loss_
    model.fit(X, Y)
    assert model.loss_ < first
    assert len(model.loss_curve_) == 16


@every_solver
def test_number_of_threads_does_not_change_a_bit(solver):
    X, y = make_data(n_samples=600, n_features=64)
    model = MLPClassifier((200, 100), solver=solver, max_iter=2, random_state=0)
    model.set_params(l2=1e-3, l1=1e-5)
    one, *more = (clone(model).set_params(n_threads=n).fit(X, y) for n in (1, 2, 4))
    for other in more:
        assert_same_bits(one, other)


def test_decoupled_decay_shrinks_the_weights_apart_from_the_gradient():
    # no hidden layer, X = 0: the weights get no gradient, only their decay
    model = MLPRegressor((), solver="adamw", weight_decay=0.5, learning_rate_init=0.1)
    model.set_params(alpha=0, max_iter=4, random_state=0)
    start = start_of(model, 0 * X, Y)
    model.fit(0 * X, Y)
    assert_allclose(model.coefs_[0], 0.95**4 * start.coefs_[0], rtol=1e-14)


def test_betas_in_pairs_are_for_weights_and_offsets():
    model = MLPRegressor(5, max_iter=5, random_state=0)
    one = clone(model).set_params(beta_1=0.8, beta_2=0.99).fit(X, Y)
    pair = clone(model).set_params(beta_1=(0.8, 0.8), beta_2=(0.99, 0.99)).fit(X, Y)
    mixed = clone(model).set_params(beta_1=(0.8, 0.5), beta_2=0.99).fit(X, Y)
    assert_same_bits(one, pair)
    assert not np.array_equal(one.intercepts_[0], mixed.intercepts_[0])


@pytest.mark.parametrize("betas", [(0.9,), (0.9, 1.0), (0.9, 0.9, 0.9), (-0.1, 0.9)])
def test_bad_pairs_of_betas_are_refused(betas):
    with pytest.raises(ValueError, match="beta_1"):
        MLPRegressor(beta_1=betas).fit(X, Y)


# ---- schedules --------------------------------------------------------------------------

RATES = {
    "constant": lambda k: 0.1,
    "step": lambda k: 0.1 * 0.5 ** (k // 10),
    "cosine": lambda k: 0.05 * (1 + np.cos(np.pi * k / 24)),
    "invscaling": lambda k: 0.1 / (60 * k + 1) ** 0.5,
    "inverse_time": lambda k: 0.1 / (k + 1) ** 0.5,
}


def rates_used(model, X, y):
    """The rate of the last step of every epoch."""
    seen = []
    original = Schedule.epoch_ends

    def spy(self, *args):
        seen.append(self.rate)
        original(self, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Schedule, "epoch_ends", spy)
        model.fit(X, y)
    return seen


@every_stochastic
@pytest.mark.parametrize("schedule", RATES)
def test_schedules_are_their_formulas(schedule, solver):
    model = MLPRegressor(3, solver=solver, learning_rate=schedule, max_iter=24)
    model.set_params(learning_rate_init=0.1, n_iter_no_change=100, random_state=0)
    ignored = schedule == "invscaling" and solver != "sgd"
    rate = RATES["constant" if ignored else schedule]
    expected = [rate(k) for k in range(24)]
    assert_allclose(rates_used(model, X, Y), expected, rtol=1e-12, atol=1e-17)


def test_a_cosine_stays_at_its_end():
    schedule = Schedule("cosine", 0.1, horizon=3)
    rates = []
    for epoch in range(6):
        rates.extend(schedule.rates(2 * epoch, 2))
        schedule.epoch_ends(samples=10)
    falling = 0.05 * (1 + np.cos(np.pi * np.arange(6) / 6))  # from step to step
    assert_allclose(rates, [*falling, *[0] * 6], rtol=1e-14)


def test_the_rate_of_a_step_is_its_length():
    # one batch, no inputs: dQ/db = b − y, so b moves by rate times that
    asked, offsets = [], [0.0]

    def rate(steps):
        asked.append(steps)
        return 0.1 / (steps + 1)

    model = MLPRegressor((), solver="sgd", momentum=0, learning_rate=rate, init="zeros")
    model.set_params(warm_start=False, tol=0, n_iter_no_change=99)
    for epochs in range(1, 5):
        asked.clear()
        model.set_params(max_iter=epochs).fit(np.zeros((5, 1)), np.ones(5))
        offsets.append(model.intercepts_[0][0])
    assert asked[1:5] == [0, 1, 2, 3]  # after one question about the first
    steps = np.diff(offsets) / (1 - np.array(offsets[:-1]))
    assert_allclose(steps, [0.1, 0.05, 0.1 / 3, 0.025], rtol=1e-12)


def offset_learner(batch_size, **options):
    """No inputs: steps of squared error move the one offset b by rate · (mean y − b)."""
    model = MLPRegressor((), solver="sgd", momentum=0, alpha=0, init="zeros", tol=0)
    model.set_params(shuffle=False, batch_size=batch_size, n_iter_no_change=99)
    return model.set_params(**options)


def offset_after(y, batch_size, epochs, rate):
    """Return what `offset_learner` learns with this rate as a function of the steps."""
    b, k = 0.0, 0
    for _ in range(epochs):
        for first in range(0, len(y), batch_size):
            b += rate(k) * (y[first : first + batch_size].mean() - b)
            k += 1
    return b


ONE_OVER_K = {
    "learning_rate": "inverse_time",
    "power_t": 1.0,
    "learning_rate_init": 1.0,
}
TARGETS = np.random.default_rng(8).normal(size=12)


@pytest.mark.parametrize("batch_size", [1, 5, 12])
def test_inverse_time_with_power_one_is_one_over_k_at_step_k(batch_size):
    model = offset_learner(batch_size, **ONE_OVER_K, max_iter=3)
    model.fit(np.zeros((12, 1)), TARGETS)
    expected = offset_after(TARGETS, batch_size, 3, lambda k: 1 / (k + 1))
    assert_allclose(model.intercepts_[0], expected, rtol=1e-13)
    if 12 % batch_size == 0:  # steps of 1, 1/2, 1/3, … make a mean
        assert_allclose(expected, TARGETS.mean(), rtol=1e-12)


@pytest.mark.parametrize("batch_size", [1, 5, 12])
def test_steps_are_counted_on_when_partial_fit_goes_on(batch_size):
    model = offset_learner(batch_size, **ONE_OVER_K)
    for _ in range(3):
        model.partial_fit(np.zeros((12, 1)), TARGETS)
    expected = offset_after(TARGETS, batch_size, 3, lambda k: 1 / (k + 1))
    assert_allclose(model.intercepts_[0], expected, rtol=1e-13)
    assert model._optimizer.schedule.rate == 1 / model._optimizer.steps


@pytest.mark.parametrize("batch_size", [1, 2])
def test_batches_without_weight_are_no_steps_of_the_schedule(batch_size):
    model = offset_learner(batch_size, **ONE_OVER_K, max_iter=2)
    weights = np.repeat([1.0, 0.0, 1.0, 0.0, 0.0, 1.0], 2)
    model.fit(np.zeros((12, 1)), TARGETS, weights)
    kept = TARGETS[weights > 0]
    assert_allclose(model.intercepts_[0], kept.mean(), rtol=1e-12)
    assert model._optimizer.steps == 12 // batch_size


@pytest.mark.parametrize("batch_size", [1, 5, 12])
def test_cosine_falls_from_step_to_step(batch_size):
    model = offset_learner(batch_size, learning_rate="cosine", max_iter=3)
    model.set_params(learning_rate_init=0.5).fit(np.zeros((12, 1)), TARGETS)
    n = 3 * -(-12 // batch_size)
    expected = offset_after(
        TARGETS, batch_size, 3, lambda k: 0.25 * (1 + np.cos(np.pi * k / n))
    )
    assert_allclose(model.intercepts_[0], expected, rtol=1e-12)


def test_a_callable_rate_is_asked_with_the_number_of_steps_done():
    asked = []

    def rate(steps):
        asked.append(steps)
        return 0.1

    model = offset_learner(5, learning_rate=rate, max_iter=2)
    model.fit(np.zeros((12, 1)), TARGETS)
    assert asked[1:] == [0, 1, 2, 3, 4, 5]  # after one question about the first


def test_adaptive_divides_by_five_when_progress_stops():
    model = MLPRegressor(3, solver="sgd", learning_rate="adaptive", tol=10.0)
    model.set_params(n_iter_no_change=2, learning_rate_init=0.1, max_iter=11)
    used = rates_used(model, X, Y)
    # an epoch to begin with, then three without progress; then three, three, …
    assert_allclose(used, [0.1] * 4 + [0.02] * 3 + [0.004] * 3 + [0.0008])


def test_adaptive_ends_at_its_smallest_rate():
    assert Schedule("adaptive", Schedule.smallest).progress_stopped()
    assert not Schedule("adaptive", 1.01 * Schedule.smallest).progress_stopped()


@both
@pytest.mark.parametrize("schedule", ["step", "cosine", lambda k: 0.1 / (k + 1)])
def test_partial_fits_go_on_with_the_schedule(Estimator, schedule):
    first = {"classes": [0, 1]} if Estimator is MLPClassifier else {}
    model = Estimator(3, learning_rate=schedule, shuffle=False, max_iter=15)
    model.set_params(solver="sgd", random_state=0, learning_rate_init=0.1)
    once = clone(model).set_params(n_iter_no_change=99).fit(X, Y)
    for _ in range(15):
        model.partial_fit(X, Y, **first)
    assert_same_bits(once, model)


def halved(steps):
    return 0.1 / 2**steps


def test_a_pickled_schedule_goes_on():
    model = MLPRegressor(3, learning_rate=halved, solver="sgd", random_state=0)
    model.partial_fit(X, Y).partial_fit(X, Y)
    copy = pickle.loads(pickle.dumps(model))
    assert_same_bits(copy.partial_fit(X, Y), model.partial_fit(X, Y))
    assert copy._optimizer.schedule.rate == 0.1 / 4  # of the third step


@pytest.mark.parametrize("value", [-0.1, np.nan, np.inf])
def test_a_callable_rate_that_is_none_is_refused_with_its_step(value):
    model = MLPRegressor(3, learning_rate=lambda steps: 0.1 if steps < 2 else value)
    with pytest.raises(ValueError, match=r"learning_rate\(2\)"):
        model.fit(X, Y)


# ---- penalties and clipping -------------------------------------------------------------


@every_solver
def test_penalties_are_reported_with_the_loss(solver):
    penalties = {"alpha": 0.3, "l2": 0.02, "l1": 0.01, "l2_bias": True}
    model = MLPRegressor(4, solver=solver, max_iter=1, batch_size=60, random_state=0)
    model.set_params(learning_rate_init=1e-300, weight_decay=0, **penalties).fit(X, Y)
    W = np.concatenate([w.ravel() for w in model.coefs_])
    b = np.concatenate(model.intercepts_)
    expected = ((model.predict(X) - Y) ** 2).mean() / 2 + 0.3 / 2 * W @ W / 60
    expected += 0.02 * (W @ W + b @ b) + 0.01 * np.abs(W).sum()
    assert model.loss_ == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("solver", ["sgd", "lbfgs"])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_scales_of_batch_norm_are_never_penalised(solver, dropout):
    if dropout and solver == "lbfgs":
        pytest.skip("refused")
    model = MLPRegressor(
        4, solver=solver, batch_norm=BatchNorm(), l2=10.0, l2_bias=True
    )
    model.set_params(dropout=dropout, max_iter=1, batch_size=60, random_state=0)
    model.set_params(momentum=0, init="zeros", batch_norm__scale_init=3.0, max_fun=1)
    # all activations and weights are 0: nothing moves the scales but a penalty
    model.fit(0 * X, 0 * Y)
    assert_array_equal(model.network_.scales[0], 3.0)


def test_l1_leaves_what_is_exactly_zero_at_zero():
    model = MLPRegressor((), solver="sgd", l1=0.1, init="zeros", momentum=0, alpha=0)
    model.set_params(max_iter=3).fit(0 * X, Y)
    assert_array_equal(model.coefs_[0], 0)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_clipping_by_norm_bounds_the_step(dropout):
    model = MLPRegressor(6, solver="sgd", momentum=0, learning_rate_init=1.0)
    model.set_params(clip_norm=1e-3, max_iter=1, random_state=0, dropout=dropout)
    start, end = start_of(model, X, 100 * SMOOTH), model.fit(X, 100 * SMOOTH)
    step = end.network_.params - start.network_.params
    assert np.linalg.norm(step) == pytest.approx(1e-3, rel=1e-9)


def test_clipping_by_value_bounds_every_entry():
    model = MLPRegressor(6, solver="sgd", momentum=0, learning_rate_init=1.0)
    model.set_params(clip_value=1e-3, max_iter=1, random_state=0)
    start, end = start_of(model, X, 100 * SMOOTH), model.fit(X, 100 * SMOOTH)
    step = end.network_.params - start.network_.params
    assert np.abs(step).max() == pytest.approx(1e-3, rel=1e-9)


@every_full_batch
@pytest.mark.parametrize(
    "options", [{"clip_norm": 1.0}, {"clip_value": 1.0}, {"augment": np.sin}], ids=str
)
def test_what_changes_the_risk_is_refused_by_both_names(options, solver):
    message = rf"{next(iter(options))}.*solver='{solver}'"
    with pytest.raises(ValueError, match=message):
        MLPRegressor(solver=solver, **options).fit(X, Y)


# -- interruption ------------------------------------------------------------------------


class InterruptsAt(Listener):
    """Scores the model after every iteration, and interrupts the fit after one of them."""

    def __init__(self, iteration, X, y):
        self.iteration, self.X, self.y, self.scores = iteration, X, y, []

    def on_fit_task_end(self, estimator, context):
        self.scores.append(estimator.score(self.X, self.y))
        if len(self.scores) == self.iteration:
            raise KeyboardInterrupt


@pytest.mark.parametrize("solver", ["lbfgs", "cg", "gd"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_an_interrupted_search_has_batch_norms_statistics(solver):
    X, y = load_iris(return_X_y=True)
    options = {"solver": solver, "batch_norm": "hidden", "random_state": 0}
    listener = InterruptsAt(10, X + 10, y)
    stopped = MLPClassifier(5, **options).set_callbacks(listener).fit(X + 10, y)
    whole = MLPClassifier(5, max_iter=10, **options).fit(X + 10, y)
    np.testing.assert_allclose(
        stopped.predict_proba(X + 10), whole.predict_proba(X + 10), rtol=1e-10
    )
    assert listener.scores[9] == stopped.score(X + 10, y)
    assert stopped.best_loss_ == min(stopped.loss_curve_)


@pytest.mark.parametrize("solver", ["lbfgs", "cg", "gd"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_an_interrupted_search_ends_where_the_last_iteration_did(solver):
    rng = np.random.RandomState(0)
    X = rng.randn(80, 4)
    y = X @ rng.randn(4)
    for calls in range(20, 50):
        left = iter(range(calls))

        def loss(y_true, y_out, left=left):
            if next(left, None) is None:
                raise KeyboardInterrupt
            return 0.5 * ((y_out - y_true) ** 2).sum(1), y_out - y_true

        model = MLPRegressor(5, solver=solver, loss=loss, alpha=0, random_state=0)
        model.fit(X, y)
        mean = 0.5 * np.mean((model.predict(X) - y) ** 2)
        np.testing.assert_allclose(mean, model.loss_, rtol=1e-10)


def test_conjugate_gradients_warn_when_evaluations_run_out():
    X, y = load_iris(return_X_y=True)
    with pytest.warns(ConvergenceWarning, match="cg failed to converge .* max_fun=5"):
        MLPClassifier(5, solver="cg", max_fun=5, random_state=0).fit(X, y)


@pytest.mark.parametrize("solver", ["lbfgs", "cg", "gd"])
def test_a_search_that_overflows_is_no_fit(solver):
    X, y = load_iris(return_X_y=True)
    model = MLPRegressor(5, solver=solver, random_state=0)
    with (
        pytest.raises(ValueError, match="non-finite"),
        np.errstate(all="ignore"),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        model.fit(X * 1e200, y)
    assert not hasattr(model, "network_")
