"""The L1 penalty by proximal steps: exact zeros, where the optimum has them."""

import numpy as np
import oracle
import pytest
import scipy.sparse
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.linear_model import Lasso
from small_data import assert_same_bits, both, either_dtype, make_data
from twins import plan_of, twin_of

from mlp import MLPAutoencoder, MLPRegressor, SiameseClassifier

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

#: steps of one batch of all samples, so small that they arrive
ARRIVING = {"batch_size": 60, "max_iter": 3000, "tol": 0, "n_iter_no_change": 3000}
SOLVERS = {
    "lbfgs": {"solver": "lbfgs", "max_iter": 5000, "tol": 1e-9},
    "gd": {"solver": "gd", "max_iter": 5000, "tol": 1e-9},
    "sgd": {"solver": "sgd", "momentum": 0, "learning_rate_init": 0.05, **ARRIVING},
    "momentum": {
        "solver": "sgd",
        "nesterovs_momentum": False,
        "learning_rate_init": 0.02,
        **ARRIVING,
    },
    "nesterov": {"solver": "sgd", "learning_rate_init": 0.02, **ARRIVING},
    "adam": {"solver": "adam", "learning_rate_init": 0.02, **ARRIVING},
    "adamw": {
        "solver": "adamw",
        "weight_decay": 0.0,
        "learning_rate_init": 0.02,
        **ARRIVING,
    },
}
every_solver = pytest.mark.parametrize("options", SOLVERS.values(), ids=SOLVERS)


def lasso_data():
    """Twenty features, of which six matter."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 20))
    return X, X[:, :6] @ rng.standard_normal(6) + 0.1 * rng.standard_normal(60)


def proximal(Estimator=MLPRegressor, hidden=(), **options):
    options = {"alpha": 0, "l1": 0.05, "random_state": 0, **options}
    return Estimator(hidden, l1_method="proximal", **options)


# ---- the right zeros --------------------------------------------------------------------


@pytest.mark.parametrize("l1", [0.05, 0.3])
@every_solver
def test_linear_network_has_the_solution_and_the_zeros_of_the_lasso(options, l1):
    X, y = lasso_data()
    lasso = Lasso(alpha=l1, tol=1e-12, max_iter=100_000).fit(X, y)
    W = proximal(l1=l1, **options).fit(X, y).coefs_[0][:, 0]
    assert_array_equal(W == 0, lasso.coef_ == 0)
    assert 0 < np.count_nonzero(W) < 20
    assert_allclose(W, lasso.coef_, atol=3e-5)  # L-BFGS-B's stop; the others are closer


@every_solver
def test_a_penalty_that_outweighs_the_gradient_makes_all_weights_zero(options):
    X, y = lasso_data()
    largest = np.abs(X.T @ (y - y.mean())).max() / len(X)
    model = proximal(l1=1.01 * largest, **options).fit(X, y)
    assert not model.coefs_[0].any()
    assert model.intercepts_[0] == pytest.approx(y.mean(), rel=1e-4)


@pytest.mark.parametrize(
    "solver, dtype",
    # single precision ends L-BFGS-B's line search before
    [("gd", np.float32), ("gd", np.float64), ("lbfgs", np.float64)],
)
def test_hidden_layers_by_a_full_batch_solver_get_zeros_at_a_stationary_point(
    solver, dtype
):
    X, _ = make_data(dtype=dtype)
    y = np.sin(2 * X[:, 0]) + X[:, 1]
    model = proximal(hidden=(8, 6), activation="tanh", solver=solver, l1=0.003)
    model.set_params(tol=1e-4, max_iter=3000, max_fun=10**6).fit(X, y)
    _, gradient = model.network_.gradients(X, y)
    weights, offsets, _ = model.network_.unpack(gradient)
    for W, g in zip(model.coefs_, weights, strict=True):
        assert 0 < (W == 0).mean() < 1
        assert (np.abs(g[W == 0]) < 0.003 + 2e-4).all()
        assert_allclose(g[W != 0], -0.003 * np.sign(W[W != 0]), atol=2e-4)
    for g in offsets:
        assert_allclose(g, 0, atol=2e-4)


@pytest.mark.parametrize("solver", ["gd", "lbfgs"])
def test_loss_of_full_batch_solvers_is_that_with_the_whole_penalty(solver):
    X, y = lasso_data()
    model = proximal(hidden=(4,), solver=solver, max_iter=20).fit(X, y)
    sizes = sum(np.abs(W).sum() for W in model.coefs_)
    expected = ((model.predict(X) - y) ** 2).mean() / 2 + 0.05 * sizes
    assert model.loss_ == pytest.approx(expected, rel=1e-10)
    assert model.loss_curve_[-1] == pytest.approx(model.loss_, rel=1e-10)
    assert (np.diff(model.loss_curve_) < 1e-12).all()


@pytest.mark.parametrize("solver", ["gd", "lbfgs"])
def test_a_search_that_overflows_is_no_fit(solver):
    X, y = lasso_data()
    model = proximal(hidden=(4,), solver=solver)
    with pytest.raises(ValueError, match="non-finite"), np.errstate(all="ignore"):
        model.fit(X * 1e200, y)
    assert not hasattr(model, "network_")


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_reported_loss_of_stochastic_solvers_has_the_penalty(solver):
    X, y = lasso_data()
    model = proximal(hidden=(4,), solver=solver, max_iter=1, batch_size=60)
    model.set_params(learning_rate_init=1e-300).fit(X, y)
    sizes = sum(np.abs(W).sum() for W in model.coefs_)
    expected = ((model.predict(X) - y) ** 2).mean() / 2 + 0.05 * sizes
    assert model.loss_ == pytest.approx(expected, rel=1e-12)


def test_subgradients_leave_no_exact_zero():
    # what the option is for
    X, y = lasso_data()
    model = proximal(**SOLVERS["adam"]).set_params(l1_method="subgradient").fit(X, y)
    assert np.count_nonzero(model.coefs_[0]) == 20


# ---- what is penalised ------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["lbfgs", "gd", "sgd", "adam", "adamw"])
def test_offsets_and_scales_and_centres_have_no_threshold(solver):
    X, y = make_data()
    model = proximal(hidden=(5, 5), activation=["rbf", "tanh"], solver=solver, l1=10.0)
    if solver == "gd":
        model.set_params(activation="tanh")  # it can't keep widths positive
    model.set_params(batch_norm="hidden", max_iter=30, learning_rate_init=0.1)
    network = model.fit(X, y).network_
    first = 1 if network.has_rbf else 0
    assert not any(W.any() for W in network.coefs[first:])
    assert network.coefs[0].all() or not network.has_rbf
    assert network.intercepts[-1].all()
    assert all(a.all() for a in network.scales if a is not None)


def test_frozen_layers_keep_their_weights():
    X, y = make_data()
    base = MLPRegressor((5,), max_iter=2, random_state=0).fit(X, y)
    model = proximal(hidden=(5,), base=base.network_, freeze=1, l1=10.0, max_iter=50)
    model.set_params(learning_rate_init=0.1).fit(X, y)
    assert_array_equal(model.coefs_[0], base.coefs_[0])
    assert not model.coefs_[1].any()


@pytest.mark.parametrize("solver", ["sgd", "adam", "gd", "lbfgs"])
def test_tied_weights_get_the_same_zeros(solver):
    X, _ = make_data()
    model = proximal(MLPAutoencoder, hidden=(4,), tied=True, solver=solver, l1=0.02)
    model.set_params(max_iter=100, learning_rate_init=0.02).fit(X)
    assert 0 < (model.coefs_[0] == 0).mean() < 1
    assert_array_equal(model.coefs_[1], model.coefs_[0].T)


def test_pairs_reach_exact_zeros():
    X, _ = make_data()
    pairs = np.stack([X[:30], X[30:]], axis=1)
    model = proximal(SiameseClassifier, hidden=(6,), l1=0.05, max_iter=50)
    model.set_params(learning_rate_init=0.02).fit(pairs, np.arange(30) % 2)
    assert any((W == 0).any() for W in model.network_.branch.coefs)


@pytest.mark.parametrize("options", [{"dropout": 0.3}, {"batch_size": 1}, {}], ids=str)
@pytest.mark.parametrize("solver", ["sgd", "adam"])
@both
def test_sparse_inputs_are_trained_on_as_dense(Estimator, solver, options):
    X, y = make_data()
    X[X < 0] = 0
    model = proximal(Estimator, hidden=(6,), solver=solver, l1=0.01, max_iter=5)
    model.set_params(learning_rate_init=0.01, **options)
    dense = clone(model).fit(X, y)
    sparse = model.fit(scipy.sparse.csr_array(X), y)
    assert_array_equal(dense.coefs_[0] == 0, sparse.coefs_[0] == 0)
    assert_allclose(dense.coefs_[0], sparse.coefs_[0], atol=1e-9)


@either_dtype
@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("solver", ["sgd", "adam", "adamw"])
def test_number_of_threads_does_not_change_a_bit(solver, dropout, dtype):
    X, y = make_data(n_samples=300, n_features=64, dtype=dtype)
    model = proximal(hidden=(200, 200), solver=solver, max_iter=2, l1=1e-3)
    model.set_params(dropout=dropout, clip_norm=0.5, learning_rate_init=0.01)
    one, two = (clone(model).set_params(n_threads=n).fit(X, y) for n in (1, 2))
    assert_same_bits(one, two)
    assert one.loss_curve_ == two.loss_curve_


def test_a_weight_in_the_threshold_stays_at_zero_under_nesterovs_momentum():
    net = oracle.make_net(oracle.rng_of(1), [3, 2])
    X, T = np.ones((4, 3)), np.zeros((4, 2))
    twin = twin_of(net)
    penalties = {"l1": 100.0, "l1_method": "proximal"}
    options = {"momentum": 0.9, "nesterov": True}
    plan = plan_of(twin, 4, penalties=penalties, **options)
    for _ in range(3):
        plan.epoch(twin.data(X, T), 4, None, 0.1)
    assert_array_equal(twin.coefs[0], 0.0)


# ---- refusals ---------------------------------------------------------------------------


@both
def test_conjugate_gradients_with_proximal_l1_are_refused_by_both_names(Estimator):
    with pytest.raises(ValueError, match=r"solver='cg'.*l1_method='proximal'"):
        proximal(Estimator, hidden=(3,), solver="cg").fit(*make_data())


def test_unknown_method_is_refused_by_name():
    with pytest.raises(ValueError, match="'l1_method'"):
        MLPRegressor(l1_method="ista").fit(*make_data())


@pytest.mark.filterwarnings("ignore:l1_method=")
def test_penalties_without_l1_are_the_same_bits_by_either_method():
    X, y = make_data()
    model = proximal(hidden=(5,), l1=0.0, max_iter=3)
    other = clone(model).set_params(l1_method="subgradient").fit(X, y)
    assert_same_bits(model.fit(X, y), other)
