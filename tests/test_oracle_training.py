"""The oracle's training: normalisation, dropout, optimisers and the listings."""

from functools import partial

import numpy as np
import oracle
import pytest
from oracle import make_net, random_data, relative_error, rng_of
from sklearn.neural_network import MLPClassifier, MLPRegressor

# Batch normalisation in use


def trained(norm, masks=None, **options):
    net = make_net(rng_of(24), [3, 5, 5, 2], norm=norm, **options)
    X, T = random_data(rng_of(25), net, n=20)
    batches = np.split(np.arange(20), 4)
    update = partial(oracle.sgd, lr=0.1)
    net, _ = oracle.train_epoch(net, X, T, batches, update, {}, masks=masks)
    return net, X


def test_running_statistics_of_a_repeated_batch_are_the_batchs():
    net = make_net(rng_of(26), [3, 4, 2], norm="hidden")
    X, _ = random_data(rng_of(27), net, n=10)
    for _ in range(3):
        oracle.update_statistics(net, oracle.forward(net, X, train=True))
    z, corrected = X @ net.W[0], 1 - 0.95**3
    np.testing.assert_allclose(net.norm[1].mean / corrected, z.mean(axis=0))
    np.testing.assert_allclose(net.norm[1].var / corrected, z.var(axis=0, ddof=1))


@pytest.mark.parametrize("norm", ["hidden", "all", "all+input", "none+input"])
@pytest.mark.parametrize("scaling", ["train", "test"])
def test_folding_leaves_the_predictions(norm, scaling):
    rates = [0.2, 0.5, 0.5]
    net, X = trained(norm, dropout=rates, scaling=scaling, residual=True)
    folded = oracle.predict(oracle.fold(net), X)
    np.testing.assert_allclose(folded, oracle.predict(net, X), rtol=1e-12)


def test_statistics_of_a_dropped_node_do_not_change():
    mask = [np.ones(3), np.array([1, 0, 1, 1, 1]), np.ones(5)]
    net, _ = trained("hidden", masks=[mask] * 4, dropout=[0.0, 0.2, 0.0])
    np.testing.assert_array_equal(net.norm[1].count, [4, 0, 4, 4, 4])
    assert net.norm[1].mean[1] == net.norm[1].var[1] == 0


# Dropout


@pytest.mark.parametrize("scaling", ["train", "test"])
def test_the_mean_over_all_masks_is_the_predicting_network(scaling):
    net = make_net(rng_of(28), [3, 4, 2], dropout=[0.0, 0.5], scaling=scaling)
    X, _ = random_data(rng_of(29), net)
    masks = [np.array(list(f"{i:04b}"), dtype=float) for i in range(16)]
    outputs = [oracle.forward(net, X, train=True, masks=[None, m]).out for m in masks]
    np.testing.assert_allclose(np.mean(outputs, axis=0), oracle.predict(net, X))


@pytest.mark.parametrize("rule", ["sgd", "momentum", "nesterov", "adam"])
def test_dropped_units_are_kept_by_every_optimiser(rule):
    net = make_net(
        rng_of(30), [3, 4, 2], dropout=[0, 0.5], l2=0.1, l1=0.1, norm="hidden"
    )
    X, T = random_data(rng_of(31), net)
    rows, update = [np.arange(7)] * 2, partial(getattr(oracle, rule), lr=0.1)
    masks = [[None, np.ones(4)], [None, np.array([1, 0, 1, 1])]]
    state = {}
    first, _ = oracle.train_epoch(net, X, T, rows[:1], update, state, masks=masks[:1])
    moments = {k: [m.copy() for m in v] for k, v in state.items() if k != "t"}
    second, _ = oracle.train_epoch(
        first, X, T, rows[1:], update, state, masks=masks[1:]
    )
    dropped = [~a for a in oracle.kept(net, masks[1])]
    for j, is_dropped in enumerate(dropped):
        before, after = oracle.parameters(first)[j], oracle.parameters(second)[j]
        np.testing.assert_array_equal(before[is_dropped], after[is_dropped])
        for name, values in moments.items():
            np.testing.assert_array_equal(values[j][is_dropped], state[name][j][is_dropped])


def test_the_thinned_network_is_a_smaller_dense_network():
    net = make_net(rng_of(32), [3, 4, 4, 2], dropout=[0, 0.5, 0.5], scaling="test")
    X, T = random_data(rng_of(33), net)
    i, j = [0, 2], [1, 2, 3]
    masks = [None, np.array([1.0, 0, 1, 0]), np.array([0.0, 1, 1, 1])]
    small = oracle.Net(
        [net.W[0][:, i], net.W[1][np.ix_(i, j)], net.W[2][j]],
        [net.b[0][i], net.b[1][j], net.b[2]],
        net.activation,
    )
    thinned = oracle.gradients(net, X, T, masks=masks)
    dense = oracle.gradients(small, X, T)
    np.testing.assert_allclose(thinned.W[1][np.ix_(i, j)], dense.W[1], atol=1e-15)


def test_masks_per_sample_average_over_the_samples():
    net = make_net(rng_of(55), [3, 4, 2], dropout=[0, 0.5])
    X, T = random_data(rng_of(56), net, n=4)
    rows = (rng_of(57).random((4, 4)) < 0.5) * 1.0
    together = oracle.gradients(net, X, T, masks=[None, rows])
    alone = [
        oracle.gradients(net, X[[i]], T[[i]], masks=[None, rows[i]]).W[0]
        for i in range(4)
    ]
    np.testing.assert_allclose(together.W[0], np.mean(alone, axis=0), atol=1e-15)


# Optimisers and listings


def sklearn_twin(estimator, net_options, sizes, X, y, T, update, w=None, epochs=3):
    """Loss curves of scikit-learn and of the oracle from the same initial weights."""
    start = type(estimator)(
        hidden_layer_sizes=sizes[1:-1],
        solver="sgd",
        learning_rate_init=1e-300,
        max_iter=1,
        random_state=0,
    ).fit(X, y)
    estimator.set_params(
        hidden_layer_sizes=sizes[1:-1], random_state=0, max_iter=epochs, shuffle=False
    ).fit(X, y, sample_weight=w)
    net = oracle.Net(start.coefs_, start.intercepts_, **net_options)
    batches = np.split(np.arange(len(X)), range(8, len(X), 8))
    state, curve = {}, []
    for _ in range(epochs):
        net, mean = oracle.train_epoch(net, X, T, batches, update, state, w)
        curve.append(mean)
    return estimator.loss_curve_, curve


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
@pytest.mark.parametrize(
    "options, update",
    [
        ({"solver": "sgd", "momentum": 0.0}, oracle.sgd),
        ({"solver": "sgd", "nesterovs_momentum": False}, oracle.momentum),
        ({"solver": "sgd", "momentum": 0.9}, oracle.nesterov),
        ({"solver": "adam"}, oracle.adam),
    ],
)
@pytest.mark.parametrize("loss", ["squared_error", "poisson"])
def test_the_regressors_loss_curve_is_scikit_learns(loss, options, update):
    X = rng_of(34).normal(size=(20, 3))
    y = rng_of(35).poisson(2, size=20).astype(float)
    net_options = {
        "activation": ["relu", "exp" if loss == "poisson" else "identity"],
        "loss": loss,
        "alpha": 0.1,
    }
    estimator = MLPRegressor(
        loss=loss, alpha=0.1, batch_size=8, learning_rate_init=0.01, **options
    )
    update = partial(update, lr=0.01)
    twins = sklearn_twin(estimator, net_options, (3, 5, 1), X, y, y[:, None], update)
    np.testing.assert_allclose(*twins, rtol=1e-12)


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_classifiers_loss_curve_is_scikit_learns(n_classes):
    X, y = rng_of(36).normal(size=(24, 3)), np.arange(24) % n_classes
    T = np.eye(3)[y] if n_classes == 3 else y[:, None].astype(float)
    output = "softmax" if n_classes == 3 else "logistic"
    net_options = {"activation": ["relu", output], "loss": "log_loss", "alpha": 1e-4}
    sizes, w = (3, 5, T.shape[1]), rng_of(37).uniform(0.5, 2, size=24)
    estimator = MLPClassifier(batch_size=8)
    update = partial(oracle.adam, lr=0.001)
    twins = sklearn_twin(estimator, net_options, sizes, X, y, T, update, w)
    np.testing.assert_allclose(*twins, rtol=1e-12)


def test_adamw_shrinks_before_adams_step():
    p, g = [rng_of(38).normal(size=4)], [rng_of(39).normal(size=4)]
    plain = oracle.adam([0.9 * p[0]], g, {}, lr=0.1)
    decoupled = oracle.adamw(p, g, {}, lr=0.1, decay=[1.0])
    np.testing.assert_allclose(decoupled[0], plain[0], rtol=1e-15)


def test_clipping_by_norm_keeps_the_direction():
    g = [rng_of(40).normal(size=(3, 2)), rng_of(41).normal(size=2)]
    clipped = oracle.clip(g, norm=0.1)
    assert np.sqrt(sum((c**2).sum() for c in clipped)) == pytest.approx(0.1)
    np.testing.assert_allclose(clipped[0] / g[0], clipped[1][0] / g[1][0])


def test_clipping_by_value_bounds_every_entry():
    clipped = oracle.clip([rng_of(42).normal(size=50)], value=0.5)
    assert np.abs(clipped[0]).max() == 0.5


LISTING_BATCHES = [np.array([3, 1, 4]), np.array([0, 5, 2]), np.array([6, 7])]


def listing_case(output="tanh", loss="squared_error", **options):
    net = make_net(
        rng_of(43), [3, 5, 4, 2], ["tanh", "softplus"], output, loss=loss, **options
    )
    X, T = random_data(rng_of(44), net, n=8)
    start = net.W, [-b for b in net.b]
    return net, X, T, start, (net.activation, X, T)


def assert_same(net, W, theta):
    for mine, other in zip([*net.W, *net.b], [*W, *(-t for t in theta)], strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("output", ["tanh", "softmax"])
def test_listing_65_82(output):
    net, X, T, start, given = listing_case(output, l2=0.05)
    boundary = {
        "tanh": oracle.boundary_squared,
        "softmax": oracle.boundary_softmax_squared,
    }[output]
    W, theta = oracle.listing_65_82(
        *start, *given, LISTING_BATCHES, 0.1, 0.05, boundary
    )
    update = partial(oracle.sgd, lr=0.1)
    net, _ = oracle.train_epoch(net, X, T, LISTING_BATCHES, update, {})
    assert_same(net, W, theta)


def test_listing_65_87_is_65_82_with_batches_of_one():
    _, _, _, start, given = listing_case()
    order = rng_of(45).permutation(8)
    single = oracle.listing_65_87(*start, *given, order, 0.1, 0.05)
    batch = oracle.listing_65_82(*start, *given, order[:, None], 0.1, 0.05)
    assert relative_error(single[0] + single[1], batch[0] + batch[1]) < 1e-14


def test_the_books_step_and_penalty_are_twice_and_half_of_ours():
    _, _, _, start, given = listing_case()

    def twice(*args):
        return 2 * oracle.boundary_squared(*args)

    book = oracle.listing_65_87(*start, *given, range(8), 0.1, 0.05, twice)
    ours = oracle.listing_65_87(*start, *given, range(8), 0.2, 0.025)
    assert relative_error(book[0] + book[1], ours[0] + ours[1]) < 1e-14


@pytest.mark.parametrize("output", ["softmax", "logistic"])
def test_listing_65_149(output):
    net, X, T, start, given = listing_case(output, "log_loss", l2=0.05)
    W, theta = oracle.listing_65_149(*start, *given, LISTING_BATCHES, 0.1, 0.05)
    update = partial(oracle.sgd, lr=0.1)
    net, _ = oracle.train_epoch(net, X, T, LISTING_BATCHES, update, {})
    assert_same(net, W, theta)


def test_listing_65_150():
    net, X, T, start, given = listing_case("softmax", "log_loss", l2=0.05)
    order = rng_of(46).permutation(8)
    W, theta = oracle.listing_65_150(*start, *given, order, 0.1, 0.05)
    update = partial(oracle.sgd, lr=0.1)
    net, _ = oracle.train_epoch(net, X, T, order[:, None], update, {})
    assert_same(net, W, theta)


@pytest.mark.parametrize("scaling", ["train", "test"])
def test_listing_65_124(scaling):
    rates = [0.2, 0.5, 0.4]
    net, X, T, start, given = listing_case(dropout=rates, scaling=scaling, l2=0.05)
    masks = [[(rng_of(47, m).random(n) < 0.6) for n in (3, 5, 4)] for m in range(3)]
    masks = [[a.astype(float) for a in drawn] for drawn in masks]
    W, theta = oracle.listing_65_124(
        *start, *given, LISTING_BATCHES, masks, rates, 0.1, 0.05, scaling
    )
    update = partial(oracle.sgd, lr=0.1)
    net, _ = oracle.train_epoch(net, X, T, LISTING_BATCHES, update, {}, masks=masks)
    assert_same(net, W, theta)


def test_listing_65_124_predicts_with_scaled_weights():
    rates = [0.2, 0.5, 0.4]
    net, X, *_ = listing_case(dropout=rates, scaling="test")
    scaled = oracle.Net(oracle.scaled_for_test(net.W, rates), net.b, net.activation)
    np.testing.assert_allclose(oracle.predict(net, X), oracle.predict(scaled, X))


@pytest.mark.parametrize("gradient", ["exact", "diagonal"])
@pytest.mark.parametrize("norm", ["hidden", "all"])
def test_listing_65_187(norm, gradient):
    net, X, T, start, given = listing_case(norm=norm, l2=0.05, bn_gradient=gradient)
    a = [None if n is None else n.a for n in net.norm[1:]]
    W, theta, a, statistics = oracle.listing_65_187(
        *start,
        a,
        *given,
        LISTING_BATCHES,
        0.1,
        0.05,
        normed=[n is not None for n in net.norm[1:]],
        gradient=gradient,
    )
    update = partial(oracle.sgd, lr=0.1)
    net, _ = oracle.train_epoch(net, X, T, LISTING_BATCHES, update, {})
    assert_same(net, W, theta)
    np.testing.assert_allclose(net.norm[1].a, a[0], rtol=1e-12)
    np.testing.assert_allclose(net.norm[2].var, statistics[1][1], rtol=1e-12)


def test_listing_65_95_with_betas_of_its_own_for_the_offsets():
    net, X, T, start, given = listing_case(l2=0.05)
    W, theta = oracle.listing_65_95(
        *start, *given, LISTING_BATCHES, 0.01, 0.05, (0.8, 0.99), (0.7, 0.95)
    )
    betas = oracle.per_parameter(net, (0.8, 0.99), (0.7, 0.95))
    update = partial(oracle.adam, lr=0.01, betas=betas)
    net, _ = oracle.train_epoch(net, X, T, LISTING_BATCHES, update, {})
    assert_same(net, W, theta)
