"""Networks without offsets: `fit_intercept=False`  [B]."""

import numpy as np
import oracle
import pytest
import scipy.optimize
from numpy.testing import assert_allclose, assert_array_equal
from small_data import both, make_data
from twins import on_every_isa, plan_of, rounded, run_of, twin_of, vector

import mlp
from mlp import (
    Dropout,
    MLPAutoencoder,
    MLPClassifier,
    MLPRegressor,
    Network,
    SiameseClassifier,
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = make_data()
SOLVERS = ["sgd", "adam", "adamw", "lbfgs", "cg", "gd"]


def no_offsets(model):
    return not any(b.any() for b in model.intercepts_)


@both
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("batch_size", [1, 20])
@pytest.mark.parametrize("init", ["sklearn", "normal"])
def test_offsets_stay_0_with_every_solver(Estimator, solver, batch_size, init):
    model = Estimator((8, 8), solver=solver, fit_intercept=False, init=init)
    model.set_params(max_iter=4, batch_size=batch_size, momentum=0, l2_bias=True)
    model.fit(X, Y)
    assert no_offsets(model)
    network = model.network_
    assert not network.gradients(X, Y)[1][network.n_weights :].any()


@both
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_single_samples_leave_offsets_alone_beside_dropout(Estimator, dropout):
    model = Estimator(8, solver="sgd", momentum=0, batch_size=1, max_iter=3)
    model.set_params(
        fit_intercept=False, dropout=Dropout(dropout, mask="batch"), l2=1e-3
    )
    assert no_offsets(model.fit(X, Y))


@both
def test_weights_start_as_beside_offsets(Estimator):
    model = Estimator(8, solver="sgd", learning_rate_init=1e-300, max_iter=1)
    model.set_params(random_state=0)
    with_offsets = [W.copy() for W in model.fit(X, Y).coefs_]
    without = model.set_params(fit_intercept=False).fit(X, Y).coefs_
    for a, b in zip(with_offsets, without, strict=True):
        assert_array_equal(a, b)


def case(dropout=0.0, **options):
    rng = oracle.rng_of(3)
    net = oracle.make_net(rng, [5, 20, 12, 3], "relu", offsets=False, **options)
    net.dropout = [dropout] * 3
    data = oracle.random_data(rng, net, 24)
    return rounded(net, *data)


@on_every_isa
@pytest.mark.parametrize("batch_size", [1, 7])
def test_epochs_are_those_of_the_oracle(batch_size, isa):
    net, X, T = case(l2=0.01)
    twin = twin_of(net)
    run_of(twin, X, T, batch_size=batch_size, penalties={"l2": 0.01}).epoch()
    batches = [range(i, min(24, i + batch_size)) for i in range(0, 24, batch_size)]
    rule = lambda *args, **given: oracle.sgd(*args, lr=0.1, **given)  # noqa: E731
    expected, _ = oracle.train_epoch(
        net, X, T, [np.array(b) for b in batches], rule, {}
    )
    found = oracle.parameters(expected)
    assert oracle.relative_error([twin.params], [vector(found)]) < 1e-12
    assert not twin.params[twin.n_weights :].any()


@on_every_isa
@pytest.mark.parametrize(
    "batch_size, dropout", [(1, 0.0), (1, 0.3), (6, 0.0), (6, 0.3)]
)
def test_gradient_norms_leave_offsets_out(batch_size, dropout, isa):
    net, X, T = case(dropout)
    norms, with_offsets = np.zeros(3), np.zeros(3)
    twin, other = (
        twin_of(net),
        twin_of(oracle.with_parameters(net, oracle.parameters(net))),
    )
    plan_of(twin, batch_size).epoch(twin.data(X, T), batch_size, None, 0.0, 4, norms)
    other = Network(net.sizes, "relu", params=other.params)
    other.configure(dropout=twin.spec.dropout)
    plan_of(other, batch_size).epoch(
        other.data(X, T), batch_size, None, 0.0, 4, with_offsets
    )
    assert (norms < with_offsets).all()


def test_gradient_norms_are_those_of_the_gradient():
    net, X, T = case()
    twin, norms = twin_of(net), np.zeros(3)
    plan_of(twin, 24).epoch(twin.data(X, T), 24, None, 0.0, 4, norms)
    W, _, _ = twin.unpack(twin.gradients(X, T)[1])
    assert_allclose(norms, [np.linalg.norm(w) for w in W], rtol=1e-12)


def test_derivatives_in_offsets_are_0():
    net, X, T = case()
    net.activation[:2] = ["tanh", "tanh"]
    twin = twin_of(net)
    n, v = twin.n_weights, np.ones(twin.params.size)
    bare = v * (np.arange(v.size) < n)
    product = twin.hessian_vector_product(X, T, v)
    assert not product[n:].any()
    assert_array_equal(product, twin.hessian_vector_product(X, T, bare))
    assert not twin.hessian_diagonal(X, T)[n:].any()
    assert not twin.loss_gradients(X, T, wrt="params")[:, n:].any()
    other = Network(net.sizes, "tanh", params=twin.params)
    assert_allclose(
        product[:n], other.hessian_vector_product(X, T, bare)[:n], rtol=1e-12
    )


POINTS = np.array([[-3.0, -3], [-2, -2], [4, 4], [2, -5]])  # of the lecture [B]
LABELS = np.array([1, 1, 0, 0])


def test_gd_minimises_the_lectures_one_neuron_without_offset():
    def risk(w):  # E(w) of [B]: a sum, and ours a mean
        p = 1 / (1 + np.exp(-POINTS @ w))
        return ((p - LABELS) ** 2).sum() / 8 + 0.01 * w @ w

    best = scipy.optimize.minimize(risk, [0.1, 0.1], method="BFGS", tol=1e-10)
    model = MLPRegressor(
        (), solver="gd", output_activation="logistic", alpha=0, l2=0.01
    )
    model.set_params(fit_intercept=False, init=lambda *_: (np.full((2, 1), 0.1), [9.0]))
    model.set_params(max_iter=1000, tol=1e-8).fit(POINTS, LABELS)
    assert no_offsets(model)
    assert_allclose(model.coefs_[0].ravel(), best.x, atol=1e-5)


def test_dead_centre_predicts_one_half():
    model = MLPClassifier((), fit_intercept=False, max_iter=3).fit(POINTS, LABELS)
    assert_array_equal(model.predict_proba([[0.0, 0.0]]), [[0.5, 0.5]])


def test_standardised_inputs_still_have_their_means_subtracted():
    model = MLPRegressor(
        5, "tanh", fit_intercept=False, standardize=True, random_state=0
    )
    model.set_params(epsilon=1e-3, max_iter=20)
    Z, t = 100 + X, 7 + Y
    inside = model.fit(Z, t).predict(Z)
    assert no_offsets(model)
    Z, mean, deviation = (Z - Z.mean(0)) / Z.std(0), t.mean(), t.std()
    model.set_params(standardize=False).fit(Z, (t - mean) / deviation)
    outside = model.predict(Z) * deviation + mean
    assert_allclose(inside, outside, rtol=1e-8)


def test_tied_autoencoders_and_twins_of_pairs_have_none_either():
    model = MLPAutoencoder(3, tied=True, fit_intercept=False, max_iter=3).fit(X)
    assert no_offsets(model)
    pairs = SiameseClassifier(5, head="distance", fit_intercept=False, max_iter=3)
    pairs.fit(X.reshape(30, 2, 4), Y[:30])
    assert not any(b.any() for b in pairs.network_.branch.intercepts)
    assert pairs.network_.head.intercepts[0].any()  # or equal samples would give 1/2


def test_files_and_summaries_say_so(tmp_path):
    model = MLPRegressor(5, fit_intercept=False, max_iter=3).fit(X, Y)
    model.save(tmp_path / "model")
    back = mlp.load(tmp_path / "model")
    assert not back.fit_intercept and not back.network_.spec.fit_intercept
    assert "25 parameters" in str(back.summary())


@pytest.mark.parametrize("options", [{"batch_norm": "hidden"}, {"activation": ["rbf"]}])
def test_what_has_offsets_of_its_own_is_refused(options):
    with pytest.raises(ValueError, match=r"fit_intercept=False does not go with"):
        MLPRegressor(5, fit_intercept=False, **options).fit(X, Y)


def test_offsets_by_hand_are_refused():
    model = MLPRegressor(5, fit_intercept=False, max_iter=3).fit(X, Y)
    before = model.predict(X)
    model.intercepts_ = [b + 1 for b in model.intercepts_]
    with pytest.raises(
        ValueError, match="intercepts_ must be 0 with fit_intercept=False"
    ):
        model.predict(X)
    model.intercepts_ = list(model.network_.intercepts)
    assert_array_equal(model.predict(X), before)


def test_a_base_with_offsets_is_refused():
    base = MLPRegressor(5, max_iter=3).fit(X, Y)
    with pytest.raises(
        ValueError, match=r"fit_intercept=False, but the layers of base"
    ):
        MLPRegressor(5, base=base, fit_intercept=False).fit(X, Y)
    base.set_params(fit_intercept=False).fit(X, Y)
    assert no_offsets(
        MLPRegressor(5, base=base, fit_intercept=False, freeze=1).fit(X, Y)
    )


def test_a_fitted_network_keeps_what_it_was_built_with():
    model = MLPRegressor(5, max_iter=3, warm_start=True).fit(X, Y)
    with pytest.raises(ValueError, match="fit_intercept=False differs from the fitted"):
        model.set_params(fit_intercept=False).fit(X, Y)
