"""The norms of the gradient that an epoch leaves behind: those of its last batch."""

import numpy as np
import oracle
import pytest
import scipy.sparse
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from small_data import assert_same_bits, both, make_data
from twins import (
    batches_of,
    either_dtype,
    masks_of,
    on_every_isa,
    plan_of,
    run_of,
    twin_of,
)

from mlp import Dropout, MLPClassifier, MLPRegressor, Network
from mlp.progress import GradientNorms

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SEED = 5
TOLERANCE = {np.float32: 1e-5, np.float64: 1e-12}
#: options of the oracle's network, rows of a batch, options of the plan
WAYS = {
    "batches": ({}, 4, {}),
    "single samples": ({}, 1, {}),
    "single samples, wide outputs": ({"sizes": (5, 8, 40)}, 1, {}),
    "single samples by the way of a batch": ({}, 1, {"momentum": 0.5}),
    "adam": ({}, 4, {"solver": "adam"}),
    "clipped": ({}, 4, {"clip_norm": 1e-3, "clip_value": 1e-6}),
    "penalties": ({}, 4, {"penalties": {"alpha": 1.0, "l1": 0.1, "l2": 0.1}}),
    "single samples with decay": ({}, 1, {"penalties": {"alpha": 1.0, "l2": 0.1}}),
    "batch norm": ({"norm": "all+input"}, 4, {}),
    "residual": ({"residual": True}, 4, {}),
    "radial basis functions": ({"hidden": ["rbf", "tanh"]}, 4, {}),
    "thinned": ({"dropout": [0.4, 0.5, 0.5]}, 4, {}),
    "thinned, single samples": ({"dropout": [0.4, 0.5, 0.5]}, 1, {}),
    "thinned with batch norm": ({"dropout": [0, 0.5, 0.5], "norm": "hidden"}, 4, {}),
    "scaled in the test": ({"dropout": [0.4, 0.5, 0.5], "scaling": "test"}, 4, {}),
}
every_way = pytest.mark.parametrize("way", WAYS)


def case(options):
    options = {"sizes": (5, 8, 8, 3), "hidden": "tanh"} | options
    sizes = list(options.pop("sizes"))
    net = oracle.make_net(oracle.rng_of(21), sizes, **options)
    return net, *oracle.random_data(oracle.rng_of(22), net, n=11)


def norms_of(twin, gradient):
    """By the shortest route: all entries of a layer in one vector."""
    layers = zip(*twin.unpack(gradient), strict=True)
    return [
        np.linalg.norm(np.concatenate([g.ravel() for g in layer if g is not None]))
        for layer in layers
    ]


def expected(net, twin, X, T, rows):
    """Of the oracle's gradient on the last batch of an epoch that changed nothing."""
    batches = batches_of(np.arange(len(X)), rows, joins_last=bool(twin.spec.batch_norm))
    masks = masks_of(twin, SEED, batches)
    last = batches[-1]
    grads = oracle.gradients(net, X[last], T[last], masks=masks and masks[-1])
    return norms_of(twin, np.concatenate([g.ravel() for g in oracle.flat(grads)]))


@on_every_isa
@pytest.mark.usefixtures("isa")
@either_dtype
@every_way
def test_norms_are_those_of_the_last_batch(way, dtype):
    options, rows, training = WAYS[way]
    net, X, T = case(options)
    twin = twin_of(net, dtype)
    norms = np.full(len(twin.coefs), np.nan)
    data = twin.data(X, T)
    plan_of(twin, rows + 1, **training).epoch(data, rows, None, 0.0, SEED, norms)
    assert_allclose(norms, expected(net, twin, X, T, rows), TOLERANCE[dtype])


@pytest.mark.parametrize("rows", [1, 4])
def test_norms_come_before_the_last_step_and_after_the_others(rows):
    net, X, T = case({})
    one, other = twin_of(net), twin_of(net)
    order, norms = np.arange(9), np.zeros(3)
    plan_of(one, rows).epoch(one.data(X, T), rows, order, 0.5, SEED, norms)
    last = batches_of(order, rows)[-1]
    plan_of(other, rows).epoch(other.data(X, T), rows, order[: -len(last)], 0.5, SEED)
    _, gradient = other.gradients(X[last], T[last])
    assert_allclose(norms, norms_of(other, gradient), 1e-12)


@pytest.mark.parametrize("rate", [0.0, 0.4])
def test_sparse_inputs_give_the_same_norms(rate):
    net, X, T = case({"dropout": [rate, 0, 0]})
    X[np.random.default_rng(0).random(X.shape) < 0.5] = 0
    both_norms = np.zeros((2, 3))
    for samples, norms in zip((X, scipy.sparse.csr_array(X)), both_norms, strict=True):
        twin = twin_of(net)
        plan = plan_of(twin, 4, sparse=scipy.sparse.issparse(samples))
        plan.epoch(twin.data(samples, T), 4, None, 0.1, SEED, norms)
    assert_allclose(*both_norms, 1e-12)


def test_a_batch_in_pieces_has_one_gradient():
    net, X, T = case({})
    twin, norms = twin_of(net), np.zeros(3)
    _, gradient = twin.gradients(X, T)
    plan_of(twin, 3).epoch(twin.data(X, T), len(X), None, 0.1, SEED, norms)
    assert_allclose(norms, norms_of(twin, gradient), 1e-12)


@pytest.mark.parametrize("rows", [1, 6])
def test_a_last_batch_that_weighs_nothing_has_no_gradient(rows):
    net, X, T = case({})
    twin, norms = twin_of(net), np.full(3, np.nan)
    weights = np.repeat([1.0, 0.0], [6, 5])
    plan_of(twin, rows).epoch(twin.data(X, T, weights), rows, None, 0.1, SEED, norms)
    assert_array_equal(norms, 0)


def test_the_same_norms_for_any_number_of_threads():
    rng = np.random.default_rng(4)
    X, T = rng.normal(size=(512, 300)), rng.normal(size=(512, 20))
    found = []
    for n_threads in (1, 2):
        net = Network([300, 256, 20])
        net.params[:] = np.random.default_rng(5).normal(size=net.params.size) / 20
        plan = run_of(net, X, T, batch_size=256, n_threads=n_threads).plan
        found.append(np.zeros(2))
        plan.epoch(net.data(X, T), 256, None, 0.1, SEED, found[-1])
        assert plan.threads == n_threads
    assert_array_equal(*found)


def test_norms_of_a_wrong_shape_are_refused():
    net, X, T = case({})
    twin = twin_of(net)
    with pytest.raises(ValueError, match=r"gradient_norms must have shape \(3,\)"):
        plan_of(twin, 4).epoch(twin.data(X, T), 4, None, 0.1, SEED, np.zeros(2))


# ---- estimators -------------------------------------------------------------------------


def recording(Estimator=MLPRegressor, **options):
    options = {"random_state": 1, "max_iter": 3, "activation": "tanh"} | options
    return Estimator((6, 5), **options).set_callbacks(GradientNorms())


@both
def test_nothing_is_recorded_unless_asked_for(Estimator):
    X, y = make_data()
    model = recording(Estimator).fit(X, y)
    assert len(model.gradient_norms_) == len(model.loss_curve_) == 3
    plain = clone(model).set_callbacks().fit(X, y)
    assert not hasattr(plain, "gradient_norms_")
    assert_same_bits(model, plain)
    assert not hasattr(model.set_callbacks().fit(X, y), "gradient_norms_")


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_full_batches_of_sgd_record_what_the_network_says(alpha):
    X, y = make_data()
    options = {"solver": "sgd", "batch_size": len(X), "alpha": alpha, "momentum": 0}
    model = recording(max_iter=5, **options).fit(X, y)
    before = recording(max_iter=4, **options).fit(X, y).network_
    _, gradient = before.gradients(X, y)
    assert_allclose(model.gradient_norms_[4], norms_of(before, gradient), 1e-10)


@pytest.mark.parametrize("solver", ["lbfgs", "cg", "gd"])
def test_full_batch_solvers_record_where_they_have_arrived(solver):
    X, y = make_data()
    model = recording(solver=solver, max_iter=8).fit(X, y)
    _, gradient = model.network_.gradients(X, y)
    assert len(model.gradient_norms_) == model.n_iter_ == 8
    assert_allclose(
        model.gradient_norms_[-1], norms_of(model.network_, gradient), 1e-10
    )


def test_norms_go_on_with_partial_fit_and_warm_start():
    X, y = make_data()
    model = recording(MLPClassifier, warm_start=True).fit(X, y).fit(X, y)
    assert len(model.gradient_norms_) == 6
    model.partial_fit(X, y)
    assert np.shape(model.gradient_norms_) == (7, 3)


def test_a_failed_fit_leaves_the_norms_alone():
    X, y = make_data()
    model = recording(warm_start=True).fit(X, y)
    before = np.array(model.gradient_norms_)
    with pytest.raises(ValueError, match="NaN"):
        model.fit(np.full_like(X, np.nan), y)
    assert_array_equal(model.gradient_norms_, before)


# ---- layers that have not all weights, or not their own ---------------------------------


def partly_connected(**options):
    rng = np.random.RandomState(6)
    sizes = (5, 8, 8, 3)
    masks = [rng.uniform(size=shape) < 0.5 for shape in ((5, 8), (8, 8), (8, 3))]
    net = Network(sizes, "tanh", connectivity=masks, **options)
    net.params[:] = rng.normal(size=net.params.size)
    net.refold()
    X, T = rng.normal(size=(11, 5)), rng.normal(size=(11, 3))
    return net, X, T


def flat_norms(net, gradient):
    weights, offsets, _ = net.unpack(gradient)
    stored = [g.data if hasattr(g, "indptr") else g.ravel() for g in weights]
    return [np.linalg.norm(np.r_[a, b]) for a, b in zip(stored, offsets, strict=True)]


@pytest.mark.parametrize("sparse", [False, True])
def test_connections_that_do_not_exist_have_no_gradient(sparse):
    net, X, T = partly_connected()
    _, gradient = net.gradients(X, T)
    X = scipy.sparse.csr_array(X) if sparse else X
    norms, expected_norms = np.zeros(3), flat_norms(net, gradient)
    plan_of(net, 11, sparse=sparse).epoch(net.data(X, T), 11, None, 0.1, SEED, norms)
    assert_allclose(norms, expected_norms, 1e-12)


@pytest.mark.parametrize("sparse", [False, True])
def test_connections_of_dropped_units_have_no_gradient(sparse):
    net, X, T = partly_connected()
    net.configure(dropout=Dropout(0.5, input=0.4))
    dense = Network(net.layer_sizes, "tanh")
    dense.configure(dropout=net.spec.dropout)
    for k, W in enumerate(net.coefs):
        dense.coefs[k][:], dense.intercepts[k][:] = W.toarray(), net.intercepts[k]
    # a plain step of rate 1 from the same mask shows the gradient
    norms, before = np.zeros(3), dense.params.copy()
    samples = scipy.sparse.csr_array(X) if sparse else X
    plan_of(net, 11, sparse=sparse).epoch(
        net.data(samples, T), 11, None, 0.0, SEED, norms
    )
    plan_of(dense, 11).epoch(dense.data(X, T), 11, None, 1.0, SEED)
    moved, offsets, _ = dense.unpack(before - dense.params)
    expected_norms = [
        np.linalg.norm(np.r_[g[W.toarray() != 0], b])
        for g, W, b in zip(moved, net.coefs, offsets, strict=True)
    ]
    assert_allclose(norms, expected_norms, 1e-12)


@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_frozen_layers_have_no_gradient(rate):
    net, X, T = case({"dropout": [0, rate, rate]})
    twin, free, norms = twin_of(net), twin_of(net), np.zeros((2, 3))
    twin.configure(frozen=(False, True, False))
    for network, found in zip((twin, free), norms, strict=True):
        network.refold()
        plan = plan_of(network, 4)
        plan.epoch(network.data(X, T), 4, None, 0.0, SEED, found)
    assert norms[0][1] == 0 and norms[1][1] > 0
    assert_allclose(norms[0][[0, 2]], norms[1][[0, 2]], 1e-12)


def test_the_gradient_of_tied_weights_is_counted_once():
    rng = np.random.default_rng(8)
    net = Network((5, 3, 5), "tanh", tied=True)
    net.params[:] = rng.normal(size=net.params.size)
    net.tie()
    net.refold()
    X, norms = rng.normal(size=(7, 5)), np.zeros(2)
    _, gradient = net.gradients(X, X)
    expected_norms = norms_of(net, gradient)
    plan_of(net, 7).epoch(net.data(X, X), 7, None, 0.1, SEED, norms)
    assert_allclose(norms, expected_norms, 1e-12)


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("freeze", [1, [False, True, False]])
def test_frozen_layers_of_an_estimator_have_none(solver, freeze):
    X, y = make_data()
    model = recording(freeze=freeze, solver=solver).fit(X, y)
    norms = np.array(model.gradient_norms_)
    frozen = [True, False, False] if freeze == 1 else freeze
    assert norms.shape == (model.n_iter_, 3)
    assert_array_equal((norms == 0).all(axis=0), frozen)
