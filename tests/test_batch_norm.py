"""Batch normalisation: its definition, its two gradients, its statistics, its folding."""

import pickle
from functools import partial

import numpy as np
import oracle
import pytest
import scipy.sparse
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from small_data import assert_same_bits, both, make_data, parameters
from twins import batches_of, either_dtype, plan_of, twin_of, vector

from mlp import BatchNorm, MLPClassifier, MLPRegressor, Network

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

KINDS = ["hidden", "all", "hidden+input", "all+input"]
every_kind = pytest.mark.parametrize("kind", KINDS)
every_solver = pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs", "cg", "gd"])
X, Y = make_data()
MIXED = X * [100, 1, 0.01, 1] + [5, 0, -3, 1000]  # columns of many sizes


def case(norm="hidden", n=8, **options):
    net = oracle.make_net(oracle.rng_of(1), [3, 6, 5, 2], norm=norm, **options)
    return net, *oracle.random_data(oracle.rng_of(2), net, n=n)


def train(twin, X, T, batch_size, rate=0.1, epochs=1):
    plan, data = plan_of(twin, batch_size + 1), twin.data(X, T)
    for _ in range(epochs):
        plan.epoch(data, batch_size, None, rate)
    twin.refold()


def normalised(z, epsilon=1e-5):
    return (z - z.mean(axis=0)) / np.sqrt(z.var(axis=0) + epsilon)


# ---- the definition ---------------------------------------------------------------------


@either_dtype
def test_a_batch_is_normalised_by_its_own_moments(dtype):
    network = Network([3, 6, 2], "tanh", batch_norm="all+input", dtype=dtype)
    rng = np.random.default_rng(0)
    network.params[:] = rng.normal(size=network.params.size)
    X, T = rng.normal(size=(9, 3)), rng.normal(size=(9, 2))
    y = normalised(X)
    for W, b, a, f in zip(
        network.coefs,
        network.intercepts,
        network.scales,
        (np.tanh, lambda v: v),
        strict=True,
    ):
        y = f(a * normalised(y @ np.float64(W)) + b)
    expected = ((y - T) ** 2).sum() / 2 / 9
    # no variance over a batch of 9 is small: some tens of roundings
    assert network.loss(X, T) == pytest.approx(
        expected, rel=64 * float(np.finfo(dtype).eps)
    )


@every_kind
def test_running_statistics_are_the_definitions(kind):
    net, X, T = case(kind, n=23)
    twin, before = twin_of(net), oracle.forward(net, X[:7], train=True)
    plan_of(twin, 7).epoch(twin.data(X[:7], T[:7]), 7, None, 0.0)
    ours = [twin.input_statistics, *twin.statistics]
    z = [X, *before.z]
    for statistics, values in zip(ours, z, strict=True):
        if statistics is not None:
            expected = [0.05 * values[:7].mean(axis=0), 0.05 * values.var(0, ddof=1)]
            expected[1] = 0.05 * values[:7].var(axis=0, ddof=1)
            assert_allclose(statistics[:2], expected, rtol=1e-11, atol=1e-14)
            assert_array_equal(statistics[2], 1)


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.95])
def test_bias_of_the_start_at_zero_is_removed(momentum):
    # the same batch again and again: the running moments are its moments at every time
    X = np.random.default_rng(0).normal(3, 2, (9, 4))
    network = Network([4, 2], batch_norm=BatchNorm("all", momentum=momentum))
    network.coefs[0][:] = np.eye(4, 2)
    for _ in range(3):
        train(network, X, np.zeros((9, 2)), 9, rate=0.0)
        z = X[:, :2]
        expected = (z - z.mean(axis=0)) / np.sqrt(z.var(axis=0, ddof=1) + 1e-5)
        assert_allclose(network.forward(X), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("dropout", [None, "train", "test"])
@every_kind
def test_folded_prediction_is_the_definitions(kind, dropout, residual):
    net = oracle.make_net(oracle.rng_of(3), [3, 5, 5, 5, 2], norm=kind)
    net.residual = residual
    if dropout:
        net.dropout, net.scaling = [0.2, 0.5, 0.0, 0.5], dropout
    X, T = oracle.random_data(oracle.rng_of(4), net, n=20)
    batches = batches_of(np.arange(20), 5)
    update = partial(oracle.sgd, lr=0.1)
    net, _ = oracle.train_epoch(net, X, T, batches, update, {})
    folded = twin_of(net).folded()
    assert folded.is_plain()
    assert_allclose(folded.forward(X), oracle.predict(net, X), rtol=1e-11, atol=1e-13)


def test_units_never_seen_predict_with_mean_0_and_variance_1():
    network = Network([3, 2], batch_norm=BatchNorm("all", epsilon=0.25))
    network.coefs[0][:] = np.eye(3, 2)
    network.refold()
    expected = np.ones((1, 2)) / np.sqrt(1.25)
    assert_allclose(network.forward(np.ones((1, 3))), expected, rtol=1e-15)


# ---- gradients --------------------------------------------------------------------------


def differences(network, X, T, step=1e-6):
    slopes = np.empty(network.params.size)
    for i, p in enumerate(network.params.copy()):
        network.params[i] = p + step
        above = network.loss(X, T)
        network.params[i] = p - step
        slopes[i] = (above - network.loss(X, T)) / (2 * step)
        network.params[i] = p
    return slopes


@every_kind
def test_exact_gradient_is_the_central_difference(kind):
    net, X, T = case(kind)
    twin = twin_of(net)
    gradient = twin.gradients(X, T)[1]
    assert oracle.relative_error([gradient], [differences(twin, X, T)]) < 1e-6


@every_kind
def test_diagonal_gradient_is_not_the_central_difference(kind):
    net, X, T = case(kind, bn_gradient="diagonal")
    twin = twin_of(net)
    gradient = twin.gradients(X, T)[1]
    assert oracle.relative_error([gradient], [differences(twin, X, T)]) > 1e-2
    expected = vector(oracle.flat(oracle.gradients(net, X, T)))
    assert oracle.relative_error([gradient], [expected]) < 1e-12


@pytest.mark.parametrize("gradient", ["exact", "diagonal"])
def test_scales_that_start_at_zero_give_lower_layers_no_gradient(gradient):
    norm = BatchNorm("hidden", scale_init=0.0, gradient=gradient)
    model = MLPRegressor(6, "tanh", batch_norm=norm, max_iter=1, solver="sgd")
    model.set_params(alpha=0, momentum=0, init="normal", random_state=0).fit(X, Y)
    start = clone(model).set_params(learning_rate_init=1e-300).fit(X, Y)
    assert_array_equal(model.coefs_[0], start.coefs_[0])
    assert (model.network_.scales[0] != 0).all()


def test_offsets_before_a_norm_would_have_no_effect_and_there_are_none():
    # v = a z' + b: b is behind the norm, so shifting it by c shifts v by c
    network = Network([3, 2], batch_norm="all")
    network.coefs[0][:] = np.eye(3, 2)
    T, b = np.zeros((9, 2)), np.array([0.3, -2.0])
    before = network.loss(X[:9, :3], T)
    network.intercepts[0][:] = b
    assert network.loss(X[:9, :3], T) == pytest.approx(before + (b**2).sum() / 2)


# ---- batches ----------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 5, 9, 13])
def test_last_batch_of_one_joins_the_one_before(n):
    net, X, T = case(n=n)
    twin = twin_of(net)
    train(twin, X, T, 4)
    batches = batches_of(np.arange(n), 4, joins_last=True)
    assert min(map(len, batches)) > 1
    update = partial(oracle.sgd, lr=0.1)
    net, _ = oracle.train_epoch(net, X, T, batches, update, {})
    assert (
        oracle.relative_error([twin.params], [vector(oracle.parameters(net))]) < 1e-10
    )
    assert_array_equal(twin.statistics[0][2], len(batches))


@both
def test_a_batch_size_larger_than_the_pieces_is_normalised_as_a_whole(Estimator):
    X, y = make_data(n_samples=5000)
    model = Estimator(4, batch_norm="hidden", batch_size=5000, max_iter=1, solver="sgd")
    model.set_params(random_state=0, learning_rate_init=1e-300).fit(X, y)
    z = X @ model.coefs_[0]
    assert_allclose(model.network_.statistics[0][0], 0.05 * z.mean(axis=0), rtol=1e-10)


@both
@pytest.mark.parametrize("batch_size", [3, 59, 60, "auto"])
def test_any_batch_size_trains(Estimator, batch_size):
    model = Estimator(5, batch_norm="hidden", batch_size=batch_size, random_state=0)
    model.set_params(max_iter=30).fit(X, Y)
    assert model.loss_curve_[-1] < model.loss_curve_[0]


# ---- estimators -------------------------------------------------------------------------


def test_normalised_inputs_need_no_scaling_by_the_user():
    model = MLPRegressor(6, batch_norm=BatchNorm("hidden+input", epsilon=1e-12))
    model.set_params(max_iter=5, batch_size=20, random_state=0, solver="sgd")
    plain, mixed = clone(model).fit(X, Y), clone(model).fit(MIXED, Y)
    # μ = 1000 beside a deviation of ½ costs three digits or four, 15 steps some more
    for a, b in zip(parameters(plain), parameters(mixed), strict=True):
        assert_allclose(a, b, rtol=1e-7, atol=1e-9)


@both
@every_solver
@pytest.mark.parametrize("kind", ["hidden", "all+input"])
def test_every_solver_lowers_the_loss_and_predicts_with_all_statistics(
    Estimator, solver, kind
):
    model = Estimator(6, "tanh", solver=solver, batch_norm=kind, max_iter=40)
    model.set_params(random_state=0, learning_rate_init=0.05).fit(X, Y)
    assert model.loss_curve_[-1] < 0.9 * model.loss_curve_[0]
    z = X
    if kind == "all+input":
        z = (X - X.mean(axis=0)) / np.sqrt(X.var(axis=0, ddof=1) + 1e-5)
    if solver in ("lbfgs", "cg", "gd"):  # one pass over all samples at the minimum
        statistics = model.network_.statistics[0]
        assert_allclose(
            statistics[0] / 0.05, (z @ model.coefs_[0]).mean(axis=0), atol=0.02
        )
        assert_array_equal(statistics[2], 1)


@either_dtype
@every_kind
def test_number_of_threads_does_not_change_a_bit(kind, dtype):
    X, y = make_data(n_samples=400, n_features=64, dtype=dtype)
    model = MLPClassifier((200, 130), batch_norm=kind, max_iter=2, random_state=0)
    one, *more = (clone(model).set_params(n_threads=n).fit(X, y) for n in (1, 2, 4))
    for other in more:
        assert_same_bits(one, other)
        assert_array_equal(one.network_.statistics[1], other.network_.statistics[1])


@either_dtype
def test_sparse_inputs_are_trained_on_as_dense(dtype):
    X, y = make_data(dtype=dtype)
    X[X < 0] = 0
    model = MLPRegressor(6, "tanh", batch_norm="all", max_iter=3, solver="sgd")
    model.set_params(random_state=0, batch_size=20)
    dense, sparse = clone(model).fit(X, y), model.fit(scipy.sparse.csr_array(X), y)
    bound = 1000 * float(np.finfo(dtype).eps)  # 9 steps of some tens of roundings
    assert_allclose(sparse.predict(X), dense.predict(X), rtol=bound, atol=bound)


@both
@every_kind
def test_statistics_survive_pickling_and_training_goes_on(Estimator, kind):
    first = {"classes": [0, 1]} if Estimator is MLPClassifier else {}
    model = Estimator(6, batch_norm=kind, random_state=0).partial_fit(X, Y, **first)
    copy = pickle.loads(pickle.dumps(model))
    assert_array_equal(copy.predict(X), model.predict(X))
    assert_same_bits(copy.partial_fit(X, Y), model.partial_fit(X, Y))
    for a, b in zip(copy.network_.statistics, model.network_.statistics, strict=True):
        assert_array_equal(a, b)


@both
def test_partial_fits_go_on_counting_batches(Estimator):
    first = {"classes": [0, 1]} if Estimator is MLPClassifier else {}
    model = Estimator(6, batch_norm="hidden", batch_size=20)
    for _ in range(3):
        model.partial_fit(X, Y, **first)
    assert_array_equal(model.network_.statistics[0][2], 9)


def test_predictions_do_not_depend_on_the_rows_beside():
    model = MLPRegressor(6, batch_norm="all+input", max_iter=5).fit(X, Y)
    alone = [model.predict(row[None])[0] for row in X]
    assert_allclose(alone, model.predict(X), rtol=1e-12, atol=1e-14)


def test_batches_of_one_are_refused_by_both_names():
    with pytest.raises(ValueError, match=r"batch_norm='hidden'.*batch_size"):
        MLPRegressor(batch_norm="hidden", batch_size=1).fit(X, Y)


def test_one_sample_is_refused():
    with pytest.raises(ValueError, match=r"batch_norm='all'.*2 samples"):
        MLPRegressor(batch_norm="all").fit(X[:1], Y[:1])


def test_centring_sparse_inputs_is_refused_by_both_names():
    model = MLPRegressor(batch_norm="hidden+input")
    with pytest.raises(ValueError, match=r"batch_norm='hidden\+input'.*X is sparse"):
        model.fit(scipy.sparse.csr_array(X), Y)
