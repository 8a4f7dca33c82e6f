"""Layers that have only some of their connections [S ex. 65.6], against dense ones."""

import itertools

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal

from mlp import BatchNorm, Dropout, MLPClassifier, MLPRegressor, Network
from mlp.network.connectivity import Edges, assign, resolve_connectivity

SIZES = (13, 37, 21, 3)


def masks(seed=0, density=0.3, sizes=SIZES):
    rng = np.random.RandomState(seed)
    return [rng.uniform(size=(a, b)) < density for a, b in itertools.pairwise(sizes)]


def pair(seed=0, density=0.3, dtype="float64", **options):
    """A network with edges, and the dense one with zeros in their place."""
    rng = np.random.RandomState(seed)
    there = masks(seed, density)
    thin = Network(SIZES, connectivity=there, dtype=dtype, **options)
    dense = Network(SIZES, dtype=dtype, **options)
    for k, mask in enumerate(there):
        W = rng.standard_normal(mask.shape) * mask
        assign(thin.coefs[k], W)
        dense.coefs[k][:] = W
        b = rng.standard_normal(mask.shape[1])
        thin.intercepts[k][:], dense.intercepts[k][:] = b, b
    thin.refold()
    dense.refold()
    return thin, dense, there


def full(matrix):
    return matrix.toarray() if hasattr(matrix, "toarray") else matrix


# -- what may be said --


def test_all_ways_to_say_it_are_one():
    mask = masks()[0]
    ways = [
        mask,
        mask.astype(int),
        sp.csr_array(mask),
        sp.coo_array(mask.astype(float)),
        sp.csc_matrix(mask),
        [np.flatnonzero(column) for column in mask.T],
        [list(reversed(np.flatnonzero(column))) for column in mask.T],
        lambda layer, n_in, n_out: mask,
    ]
    for way in ways:
        given = way if callable(way) else [way]
        (edges,) = resolve_connectivity(given, SIZES[:2])
        assert edges == Edges(13, 37, *np.nonzero(mask))
        assert_array_equal(full(edges.matrix(np.ones(edges.n))) != 0, mask)
        assert_array_equal(edges.source, np.nonzero(mask.T)[1])


@pytest.mark.parametrize(
    ("entry", "error", "message"),
    [
        (
            np.ones((3, 4), bool),
            ValueError,
            r"connectivity\[0\] must have shape \(13, 37\)",
        ),
        (sp.eye_array(5), ValueError, r"connectivity\[0\] must have shape"),
        (np.full((13, 37), 0.5), ValueError, "must be boolean"),
        ([[0]] * 36, ValueError, "lists 36 units, the layer has 37"),
        ([[13]] + [[0]] * 36, ValueError, r"connectivity\[0\]\[0\] must be different"),
        ([[1, 1]] + [[0]] * 36, ValueError, "must be different integers"),
        ([[0.5]] + [[0]] * 36, ValueError, "must be different integers"),
        (3, TypeError, "got int"),
    ],
)
def test_what_does_not_fit_is_refused(entry, error, message):
    with pytest.raises(error, match=message):
        Network(SIZES[:2], connectivity=[entry])


def test_one_entry_a_layer():
    with pytest.raises(ValueError, match="has 1 entries, the network has 3"):
        Network(SIZES, connectivity=[None])
    with pytest.raises(ValueError, match="activation='rbf'"):
        Network(SIZES, ["rbf", "relu"], connectivity=[masks()[0], None, None])


# -- the network --


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rows", [1, 3, 15, 16, 17, 64, 65, 130, 3000])
def test_forward_and_gradient_equal_the_dense_ones(dtype, rows):
    tol = (
        {"rtol": 2e-4, "atol": 2e-4}
        if dtype == "float32"
        else {"rtol": 1e-12, "atol": 1e-12}
    )
    for density in (0.0, 0.05, 0.5, 1.0):
        thin, dense, there = pair(rows, density, dtype, activation="tanh")
        rng = np.random.RandomState(1)
        X = rng.standard_normal((rows, 13)).astype(dtype)
        Y = rng.standard_normal((rows, 3)).astype(dtype)
        assert_allclose(thin.forward(X), dense.forward(X), **tol)
        loss, gradient = thin.gradients(X, Y)
        dense_loss, dense_gradient = dense.gradients(X, Y)
        assert_allclose(loss, dense_loss, rtol=1e-5)
        for ours, theirs, mask in zip(
            thin.unpack(gradient)[0],
            dense.unpack(dense_gradient)[0],
            there,
            strict=True,
        ):
            assert_allclose(full(ours), theirs * mask, **tol)
        for ours, theirs in zip(
            thin.unpack(gradient)[1], dense.unpack(dense_gradient)[1], strict=True
        ):
            assert_allclose(ours, theirs, **tol)


def test_threads_give_the_same_bits():
    sizes = (60, 900, 900, 4)
    rng = np.random.RandomState(0)
    X, y = rng.standard_normal((600, 60)), rng.randint(0, 4, 600)
    fits = [
        MLPClassifier(
            sizes[1:-1], connectivity=masks(0, 0.3, sizes), max_iter=2, tol=0,
            random_state=0, n_threads=n,
        ).fit(X, y)
        for n in (1, 2, 4)
    ]  # fmt: skip
    for other in fits[1:]:
        assert_array_equal(fits[0].network_.params, other.network_.params)
        assert_array_equal(fits[0].predict_proba(X), other.predict_proba(X))
    assert fits[1].predict_proba(X).shape == (600, 4)


def test_memory_is_that_of_the_edges():
    rng = np.random.RandomState(0)
    ends = [[j % 50_000, rng.randint(50_000)] for j in range(50_000)]
    ends = [list(dict.fromkeys(pair)) for pair in ends]
    net = Network((50_000, 50_000), connectivity=[ends])
    assert net.params.size <= 150_000
    assert net.forward(np.ones((1, 50_000))).shape == (1, 50_000)


# -- estimators --


def data(n=90, seed=0):
    rng = np.random.RandomState(seed)
    X = rng.standard_normal((n, 13))
    return X, rng.randint(0, 3, n), rng.standard_normal((n, 3))


OPTIONS = {
    "adam": {},
    "sgd": {"solver": "sgd", "learning_rate_init": 0.05},
    "plain sgd": {"solver": "sgd", "momentum": 0.0, "batch_size": 1},
    "adamw": {"solver": "adamw", "weight_decay": 0.1},
    "lbfgs": {"solver": "lbfgs"},
    "cg": {"solver": "cg"},
    "gd": {"solver": "gd"},
    "penalties": {"l1": 1e-3, "l2": 1e-2, "l2_bias": True, "alpha": 0.1},
    "clipping": {"clip_norm": 0.1, "clip_value": 0.01},
    "batch norm": {"batch_norm": "all+input"},
    "diagonal": {"batch_norm": BatchNorm("all", gradient="diagonal")},
    "dropout": {"dropout": Dropout(0.4, input=0.2)},
    "dropout clipped": {"dropout": 0.4, "clip_norm": 0.1, "alpha": 0.1, "l1": 1e-3},
    "dropout batch norm": {"dropout": 0.4, "batch_norm": "hidden"},
    "dropout by sample": {"dropout": Dropout(0.4, mask="sample")},
    "standardize": {"standardize": True},
}


@pytest.mark.parametrize("option", OPTIONS, ids=str)
@pytest.mark.parametrize("sparse", [False, True], ids=["dense X", "CSR X"])
def test_all_connections_equal_none_left_out(option, sparse):
    """A complete graph is the dense network: the same numbers, the same random draws."""
    X, y, _ = data()
    if sparse:
        if "input" in str(OPTIONS[option].get("batch_norm")):
            pytest.skip("refused")
        X = sp.csr_array(np.where(np.abs(X) > 1, X, 0))
    setting = {"max_iter": 4, "random_state": 3, "batch_size": 32} | OPTIONS[option]
    complete = [
        np.ones((a, b), bool) for a, b in zip((13, 20, 9), (20, 9, 3), strict=True)
    ]
    dense = MLPClassifier((20, 9), **setting)
    thin = MLPClassifier((20, 9), connectivity=complete, **setting)
    with pytest.warns(match="."):
        dense.fit(X, y)
        thin.fit(X, y)
    assert_allclose(thin.loss_curve_, dense.loss_curve_, rtol=1e-9)
    assert_allclose(thin.predict_proba(X), dense.predict_proba(X), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("option", OPTIONS, ids=str)
def test_weights_outside_stay_zero(option):
    X, y, Y = data()
    there = masks()
    setting = {"max_iter": 3, "random_state": 3, "batch_size": 32} | OPTIONS[option]
    for Estimator, target in ((MLPClassifier, y), (MLPRegressor, Y)):
        est = Estimator(SIZES[1:-1], connectivity=there, warm_start=True, **setting)
        with pytest.warns(match="."):
            est.fit(X, target)
            est.fit(X, target)
        for W, mask in zip(est.coefs_, there, strict=True):
            assert W.nnz == mask.sum()
            assert not full(W)[~mask].any()
            assert full(W)[mask].any()
        assert_allclose(
            est.network_.forward(X),
            dense_twin(est.network_).forward(X), rtol=1e-9, atol=1e-9,
        )  # fmt: skip


def dense_twin(network):
    plain = network.folded()
    dense = Network(
        plain.layer_sizes,
        plain.spec.activations,
        plain.spec.output_activation,
        loss=plain.spec.loss.spec,
    )
    for k, W in enumerate(plain.coefs):
        dense.coefs[k][:], dense.intercepts[k][:] = full(W), plain.intercepts[k]
    return dense


def test_residual_layers_with_edges():
    X, y, _ = data()
    rng = np.random.RandomState(0)
    there = [None, rng.uniform(size=(12, 12)) < 0.4, None]
    est = MLPClassifier(
        (12, 12), connectivity=there, residual=True, max_iter=3, tol=0, random_state=0
    )
    with pytest.warns(match="."):
        est.fit(X, y)
    W, b = [full(W) for W in est.coefs_], est.intercepts_
    h = np.maximum(0, X @ W[0] + b[0])
    h = np.maximum(0, h @ W[1] + b[1]) + h
    z = h @ W[2] + b[2]
    p = np.exp(z - z.max(axis=1, keepdims=True))
    assert_allclose(est.predict_proba(X), p / p.sum(axis=1, keepdims=True), rtol=1e-9)


def test_partial_fit_pickle_and_changed_connections():
    import pickle

    X, y, _ = data()
    there = masks()
    est = MLPClassifier(SIZES[1:-1], connectivity=there, random_state=0)
    est.partial_fit(X, y, classes=[0, 1, 2])
    copy = pickle.loads(pickle.dumps(est))
    est.partial_fit(X, y)
    copy.partial_fit(X, y)
    assert_array_equal(est.network_.params, copy.network_.params)
    with pytest.raises(
        ValueError, match="connectivity differs from that of the fitted"
    ):
        est.set_params(connectivity=masks(5)).partial_fit(X, y)


def test_coefs_can_be_set_by_hand_where_there_are_connections():
    X, y, _ = data()
    there = masks()
    est = MLPClassifier(SIZES[1:-1], connectivity=there, max_iter=1, random_state=0)
    with pytest.warns(match="."):
        est.fit(X, y)
    est.coefs_ = [full(W) * 2 for W in est.coefs_]
    expected = dense_twin(est.network_)
    for W in expected.coefs:
        W *= 2
    est.predict(X)  # takes them over
    assert_allclose(est.network_.forward(X), expected.forward(X), rtol=1e-9)
    est.coefs_ = [np.ones_like(full(W)) for W in est.coefs_]
    with pytest.raises(ValueError, match="are not 0 where connectivity has none"):
        est.predict(X)


@pytest.mark.parametrize("loss", ["squared_error", "huber"])
def test_gradient_by_differences(loss):
    thin, _, _ = pair(2, 0.3, activation="softplus", loss=loss)
    rng = np.random.RandomState(1)
    X, Y = rng.standard_normal((7, 13)), rng.standard_normal((7, 3))
    _, gradient = thin.gradients(X, Y)
    h = 1e-6
    for k in rng.choice(thin.params.size, 60, replace=False):
        keep = thin.params[k]
        thin.params[k] = keep + h
        up = thin.loss(X, Y)
        thin.params[k] = keep - h
        down = thin.loss(X, Y)
        thin.params[k] = keep
        assert_allclose(gradient[k], (up - down) / (2 * h), rtol=1e-6, atol=1e-8)


def differences(function, network, step=1e-5):
    """Central differences of a function of the network in its parameters."""
    columns = []
    for k in range(network.params.size):
        keep = network.params[k]
        ends = []
        for sign in (1, -1):
            network.params[k] = keep + sign * step
            network.tie()
            network.refold()
            ends.append(function())
        network.params[k] = keep
        network.tie()
        network.refold()
        columns.append((ends[0] - ends[1]) / (2 * step))
    return np.array(columns)


@pytest.mark.parametrize("kind", ["edges", "tied"])
def test_derivatives_of_a_trained_network(kind):
    rng = np.random.RandomState(0)
    if kind == "edges":
        there = [rng.uniform(size=(4, 6)) < 0.5, None, rng.uniform(size=(5, 2)) < 0.5]
        net = Network((4, 6, 5, 2), "tanh", connectivity=there)
    else:
        net = Network((3, 4, 3), "tanh", tied=True)
    net.params[:] = 0.5 * rng.standard_normal(net.params.size)
    net.tie()
    net.refold()
    X = rng.standard_normal((6, net.n_features))
    Y = rng.standard_normal((6, net.n_outputs))
    free = np.zeros(net.params.size, bool)
    for _, first, n in net.spans():
        free[first : first + n] = True

    _, gradient = net.gradients(X, Y)
    assert_allclose(
        gradient, differences(lambda: net.loss(X, Y), net) * free, atol=1e-8
    )
    by_sample = net.loss_gradients(X, Y, wrt="params")
    assert_allclose(by_sample.mean(axis=0), gradient, atol=1e-12)
    v = rng.standard_normal(net.params.size) * free
    along = differences(lambda: net.gradients(X, Y)[1] @ v, net) * free
    assert_allclose(net.hessian_vector_product(X, Y, v), along, atol=1e-6)
    h = 1e-6
    columns = [
        (net.forward(X + h * e) - net.forward(X - h * e)) / (2 * h)
        for e in np.eye(net.n_features)
    ]
    assert_allclose(net.jacobian(X), np.stack(columns, axis=2), atol=1e-8)
    if kind == "tied":
        with pytest.raises(ValueError, match="tied=True: a weight in two layers"):
            net.hessian_diagonal(X, Y)
    else:
        units = np.eye(net.params.size)
        exact = [net.hessian_vector_product(X, Y, e) @ e for e in units]
        assert_allclose(net.hessian_diagonal(X, Y), exact, atol=1e-10)


@pytest.mark.parametrize("form", ["coo", "csr", "csc"])
def test_entries_of_a_sparse_array_that_cancel_are_no_connection(form):
    twice = ([1, -1, 1, 1], ([0, 0, 1, 2], [0, 0, 1, 0]))
    mask = sp.coo_array(twice, shape=(3, 2)).asformat(form)
    edges = resolve_connectivity([mask], [3, 2])[0]
    assert list(zip(edges.rows, edges.to, strict=True)) == [(1, 1), (2, 0)]
