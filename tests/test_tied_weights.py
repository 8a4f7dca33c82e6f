"""Tied weights: the decoder's are the encoder's transposed, whatever trains them."""

import pickle
from copy import deepcopy

import numpy as np
import oracle
import pytest
import scipy.sparse as sp
from autoencoder_cases import assert_tied, data, settings
from numpy.testing import assert_allclose, assert_array_equal

from mlp import Dropout, MLPAutoencoder, Network, _core
from mlp.training.minibatch import Optimizer, Penalties, StochasticRun
from mlp.training.schedules import Schedule

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SOLVERS = ["sgd", "adam", "adamw", "lbfgs", "cg", "gd"]


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("sizes", [(4,), (6, 3)])
def test_tied_weights_stay_tied(solver, sizes):
    X = data()
    model = MLPAutoencoder(sizes, tied=True, solver=solver, **settings()).fit(X)
    assert_tied(model)
    assert model.loss_curve_[-1] < model.loss_curve_[0]
    model.set_params(warm_start=True).fit(X)
    assert_tied(model)
    if solver in ("sgd", "adam", "adamw"):
        model.partial_fit(X)
        assert_tied(model)
        copy = pickle.loads(pickle.dumps(model))
        assert_tied(copy)
        assert_array_equal(
            copy.partial_fit(X).network_.params, model.partial_fit(X).network_.params
        )
        assert_tied(copy)


def test_tied_weights_with_early_stopping_batch_norm_and_dropout():
    model = MLPAutoencoder(
        (6, 3),
        tied=True,
        early_stopping=True,
        batch_norm="hidden",
        dropout=Dropout(0.2, mask="sample"),
        **settings(),
    ).fit(data())
    assert_tied(model)


def test_weights_set_by_hand_are_tied():
    X = data()
    model = MLPAutoencoder(4, tied=True, **settings()).fit(X)
    before = model.transform(X)
    model.coefs_ = [2 * model.coefs_[0], model.coefs_[1]]
    assert np.abs(model.transform(X) - before).max() > 0.1
    assert_tied(model)
    copy = deepcopy(model)
    model.coefs_[0][:] = 0.1  # in place: known when training goes on
    copy.coefs_ = [np.full((8, 4), 0.1), copy.coefs_[1]]
    assert_array_equal(
        model.partial_fit(X).network_.params, copy.partial_fit(X).network_.params
    )


def test_training_starts_from_tied_weights():
    X = data()
    options = settings(max_iter=1, batch_size=90, learning_rate_init=1e-12, alpha=0.0)
    model = MLPAutoencoder((6, 3), tied=True, **options).fit(X)
    assert_allclose(2 * model.loss_, model.reconstruction_error(X).mean(), rtol=1e-6)


@pytest.mark.parametrize(
    "output, loss", [("identity", "squared_error"), ("logistic", "log_loss")]
)
@pytest.mark.parametrize("sizes", [[5, 3, 5], [6, 5, 3, 5, 6]])
def test_tied_gradient_by_differences(sizes, output, loss):
    net = Network(sizes, "tanh", output, loss=loss, tied=True)
    rng = np.random.default_rng(1)
    net.params[:] = rng.standard_normal(net.params.size)
    net.tie()
    X = rng.uniform(size=(7, sizes[0]))
    _, gradient = net.gradients(X, X)
    G, _, _ = net.unpack(gradient)
    free = Network(sizes, "tanh", output, loss=loss, params=net.params.copy())
    G_free, _, _ = free.unpack(free.gradients(X, X)[1])
    for k, t in net.spec.ties:
        assert not G[t].any()
        assert_allclose(G[k], G_free[k] + G_free[t].T, rtol=1e-12, atol=1e-14)
    for _, first, n in net.spans():
        for j in range(first, first + n):
            sides = []
            for step in (1e-6, -1e-6):
                net.params[j] += step
                net.tie()
                sides.append(net.loss(X, X))
                net.params[j] -= step
            net.tie()
            assert_allclose((sides[0] - sides[1]) / 2e-6, gradient[j], atol=1e-7)


@pytest.mark.parametrize("sizes", [[5, 3, 5], [5, 7, 3, 7, 5]])
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_one_epoch_with_tied_weights(sizes, sparse, batch_size):
    """Step for step as in NumPy: gradients of both places summed, penalty once."""
    rate, alpha, l2, l1 = 0.1, 0.3, 0.02, 0.01
    net = oracle.make_net(oracle.rng_of(7), sizes, "tanh")
    last, half = len(net.W) - 1, len(net.W) // 2
    for k in range(half):
        net.W[last - k] = net.W[k].T
    X = data(11, 5)
    order = np.random.default_rng(2).permutation(11)
    twin = Network(
        sizes,
        "tanh",
        tied=True,
        params=np.concatenate([np.ravel(p) for p in oracle.parameters(net)]),
    )
    inputs = sp.csr_array(X) if sparse else X
    run = StochasticRun(
        twin,
        _core.Data(inputs, autoencode=True),
        Optimizer("sgd", Schedule("constant", rate)),
        Penalties(alpha, l2, l1),
        batch_size=batch_size,
        samples=order,
        shuffle=False,
        rng=None,
        n_threads=1,
    )
    run.epoch()
    for rows in np.split(order, range(batch_size, 11, batch_size)):
        g = oracle.gradients(net, X[rows], X[rows])
        for k in range(half):
            W = net.W[k]
            G = g.W[k] + g.W[last - k].T
            G = G + alpha / len(rows) * W + 2 * l2 * W + l1 * np.sign(W)
            net.W[k] = W - rate * G
            net.W[last - k] = net.W[k].T
        net.b = [b - rate * gb for b, gb in zip(net.b, g.b, strict=True)]
    for ours, theirs in zip(
        [*twin.coefs, *twin.intercepts], oracle.parameters(net), strict=True
    ):
        assert_allclose(ours, theirs, rtol=1e-11, atol=1e-13)
