"""The oracle itself, against central differences and known answers."""

import numpy as np
import oracle
import pytest
from oracle import (
    TRAINABLE,
    make_net,
    numeric_gradient,
    numeric_gradients,
    random_case,
    random_data,
    relative_error,
    rng_of,
    spec_of,
)

SMOOTH = ["tanh", "logistic", "softplus", "erf", "gaussian", "gelu", "silu", "mish"]


def away_from_kink(n=401, width=6.0):
    return np.linspace(-width, width, n)[:, None] + 0.005


# Activations


@pytest.mark.parametrize("name", TRAINABLE)
def test_slope_is_the_derivative_of_the_activation(name):
    z, spec, h = away_from_kink(), spec_of(name), 1e-3
    points = [oracle.activate(spec, z + i * h) for i in (1, -1, 2, -2)]
    numeric = (8 * (points[0] - points[1]) - (points[2] - points[3])) / (12 * h)
    np.testing.assert_allclose(oracle.slope(spec, z), numeric, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", TRAINABLE)
def test_curvature_is_the_derivative_of_the_slope(name):
    z, spec, h = away_from_kink(), spec_of(name), 1e-3
    points = [oracle.slope(spec, z + i * h) for i in (1, -1, 2, -2)]
    numeric = (8 * (points[0] - points[1]) - (points[2] - points[3])) / (12 * h)
    actual = oracle.curvature(spec, z)
    np.testing.assert_allclose(actual, numeric, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", [name for name in TRAINABLE if name != "exp"])
def test_no_overflow_and_no_nan_at_any_size(name):
    z = np.array([-1e300, -1e30, -1e4, -800, 0, 800, 1e4, 1e30, 1e300])[:, None]
    values = oracle.activate(spec_of(name), z), oracle.slope(spec_of(name), z)
    assert np.isfinite(values).all()


@pytest.mark.parametrize("name", ["relu", ("leaky_relu", 0.2)])
def test_slope_at_the_kink(name):
    expected = 0.0 if name == "relu" else 0.2
    assert oracle.slope(name, np.zeros((1, 1))) == expected


def test_one_activation_per_node():
    z = rng_of(0).normal(size=(5, 3))
    y = oracle.activate(["tanh", ("elu", 2.0), "relu"], z)
    np.testing.assert_array_equal(y[:, 1], oracle.ACTIVATIONS["elu"][0](z[:, 1], 2.0))


def test_sigmoid_is_a_shifted_tanh():  # [S P65.2]
    z = away_from_kink()
    shifted = 0.5 * (1 + np.tanh(z / 2))
    np.testing.assert_allclose(oracle.activate("logistic", z), shifted, atol=2e-16)


def test_two_sided_relu_with_minus_one_is_the_absolute_value():  # [S P65.4]
    z = away_from_kink()
    y = oracle.activate(("two_sided_relu", -1.0), z)
    np.testing.assert_array_equal(y, np.abs(z))


@pytest.mark.parametrize("groups", [None, (3, 1, 2)])
def test_softmax_jvp_is_the_derivative_of_softmax(groups):
    z, u = rng_of(1).normal(size=(2, 4, 6))
    analytic = oracle.softmax_jvp(oracle.softmax(z, groups), u, groups)
    numeric = numeric_gradient(lambda t: oracle.softmax(z + t * u, groups), 0.0, 1e-3)
    np.testing.assert_allclose(analytic, numeric, atol=1e-12)


def test_softmax_survives_huge_logits():
    y = oracle.softmax(np.array([[1e300, -1e300, 0.0]]))
    np.testing.assert_array_equal(y, [[1.0, 0.0, 0.0]])


def test_rbf_backward_is_the_gradient():
    rng = rng_of(2)
    args = rng.normal(size=(5, 3)), rng.normal(size=(3, 4)), rng.uniform(1, 2, size=4)
    dy = rng.normal(size=(5, 4))
    for j, analytic in enumerate(oracle.rbf_backward(*args, dy)):

        def weighted(p, j=j):
            return (dy * oracle.rbf(*args[:j], p, *args[j + 1 :])).sum()

        numeric = numeric_gradient(weighted, args[j], 1e-3)
        np.testing.assert_allclose(analytic, numeric, atol=1e-11)


# Losses

LOSS_CASES = [
    ("squared_error",),
    ("log_loss_softmax",),
    ("log_loss_softmax", (2, 1, 1)),
    ("log_loss_logistic",),
    ("logistic",),
    ("huber", 0.8),
    ("huber", 20.0),
    ("absolute_error",),
    ("poisson",),
    ("quantile", 0.2),
]
LOSS_CASES += [(name,) for name in oracle.LOSSES if name not in [n for n, *_ in LOSS_CASES]]


def loss_case(rng, name, missing, groups=None):
    y, t = rng.normal(size=(2, 6, 4))
    if name == "log_loss_softmax":
        t = oracle.softmax(t, groups)
    if name == "log_loss_logistic":
        t = rng.random((6, 4))
    if name == "logistic":
        t = np.sign(t)
    if name == "poisson":
        y, t = np.exp(y), rng.poisson(1, size=(6, 4)).astype(float)
    if missing:
        t[0], t[1, 2:] = np.nan, np.nan
    return y, t


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("name, params", [(n, p) for n, *p in LOSS_CASES])
def test_loss_gradient_is_the_derivative_of_the_loss(name, params, missing):
    y, t = loss_case(rng_of(3), name, missing, *params)
    value, gradient = oracle.LOSSES[name]
    numeric = numeric_gradient(lambda q: value(q, t, *params).sum(), y, 1e-4)
    np.testing.assert_allclose(gradient(y, t, *params), numeric, atol=1e-10)


@pytest.mark.parametrize("name, params", [(n, p) for n, *p in LOSS_CASES])
def test_a_missing_target_contributes_nothing(name, params):
    y, t = loss_case(rng_of(4), name, missing=True)
    value, gradient = oracle.LOSSES[name]
    assert value(y, t, *params)[0] == 0
    assert not gradient(y, t, *params)[0].any()


def test_a_missing_task_leaves_the_other_tasks_alone():  # [S 65.163-65.164]
    z, t = loss_case(rng_of(5), "log_loss_softmax", missing=False)
    t[:, :2] = np.nan
    value, gradient = oracle.LOSSES["log_loss_softmax"]
    np.testing.assert_array_equal(
        value(z, t, (2, 2)), value(z[:, 2:], t[:, 2:]), strict=True
    )
    assert not gradient(z, t, (2, 2))[:, :2].any()


def test_cross_entropy_of_two_classes_is_that_of_one_logistic():
    z, t = rng_of(6).normal(size=(5, 1)), np.array([[1.0], [0], [1], [1], [0]])
    both = oracle.LOSSES["log_loss_softmax"][0](
        np.hstack([z, np.zeros_like(z)]), np.hstack([t, 1 - t])
    )
    np.testing.assert_allclose(both, oracle.LOSSES["log_loss_logistic"][0](z, t))


def test_half_the_absolute_error_is_the_median_pinball():
    y, t = loss_case(rng_of(7), "quantile", missing=False)
    half = oracle.LOSSES["absolute_error"][0](y, t) / 2
    np.testing.assert_allclose(oracle.LOSSES["quantile"][0](y, t, 0.5), half)


def test_smoothed_labels_are_still_distributions():
    t = np.eye(5)[[0, 3, 4]]
    smoothed = oracle.smooth_labels(t, 0.1)
    np.testing.assert_allclose(smoothed.sum(axis=1), 1)
    assert smoothed[0, 0] == pytest.approx(0.92)


# Whole networks


def xor_network():
    W = [-0.5 * np.ones((2, 2)), np.array([[2.0], [-4.0]])]
    return oracle.Net(W, [np.array([1.0, 0.0]), np.array([-1.0])], ["relu", "identity"])


def test_two_hidden_relus_solve_xor():  # [S P65.1]
    X = np.array([[1, 1], [-1, -1], [1, -1], [-1, 1]])
    np.testing.assert_array_equal(
        oracle.predict(xor_network(), X)[:, 0], [-1, -1, 1, 1]
    )


def test_flipping_two_successive_tanh_layers_changes_nothing():  # [S P65.3]
    net, X = make_net(rng_of(8), [3, 5, 4, 2]), rng_of(9).normal(size=(6, 3))
    before = oracle.predict(net, X)
    for k in (0, 1):
        net.b[k] = -net.b[k]
    net.W[0], net.W[2] = -net.W[0], -net.W[2]
    np.testing.assert_allclose(oracle.predict(net, X), before, rtol=1e-14)


def test_a_linear_network_is_the_product_of_its_matrices():  # [S P65.8]
    net = make_net(rng_of(10), [3, 6, 5, 2], hidden="identity")
    X = rng_of(11).normal(size=(6, 3))
    product = X @ net.W[0] @ net.W[1] @ net.W[2]
    difference = oracle.predict(net, X) - oracle.predict(net, np.zeros((1, 3)))
    np.testing.assert_allclose(difference, product, atol=1e-14)


def test_permuting_hidden_units_changes_nothing():
    net, X = make_net(rng_of(12), [3, 6, 2]), rng_of(13).normal(size=(6, 3))
    before, order = oracle.predict(net, X), rng_of(14).permutation(6)
    net.W[0], net.b[0], net.W[1] = net.W[0][:, order], net.b[0][order], net.W[1][order]
    np.testing.assert_allclose(oracle.predict(net, X), before, atol=1e-14)


@pytest.mark.parametrize("seed", range(56))
def test_gradients_match_central_differences(seed):
    net, X, T, w, masks = random_case(seed)
    analytic = oracle.flat(oracle.gradients(net, X, T, w, masks=masks))
    numeric = numeric_gradients(net, X, T, w, masks=masks)
    assert relative_error(analytic, numeric) < 1e-8


@pytest.mark.parametrize("seed", range(26))
def test_input_gradient_matches_central_differences(seed):
    net, X, T, w, masks = random_case(seed)
    analytic = oracle.gradients(net, X, T, w, masks=masks).X
    numeric = numeric_gradient(
        lambda x: oracle.loss(net, x, T, w, masks=masks), X, 1e-5
    )
    assert relative_error([analytic], [numeric]) < 1e-8


@pytest.mark.parametrize("norm", ["hidden", "all", "all+input"])
def test_only_the_exact_batch_norm_gradient_is_the_gradient(norm):
    net = make_net(rng_of(16), [3, 5, 4, 2], norm=norm)
    X, T = random_data(rng_of(17), net)
    numeric = numeric_gradients(net, X, T)
    assert relative_error(oracle.flat(oracle.gradients(net, X, T)), numeric) < 1e-8
    net.bn_gradient = "diagonal"
    assert relative_error(oracle.flat(oracle.gradients(net, X, T)), numeric) > 0.05


def test_the_diagonal_gradient_is_exact_in_the_last_normalised_layer():
    net = make_net(rng_of(18), [3, 5, 4, 2], norm="hidden", bn_gradient="diagonal")
    X, T = random_data(rng_of(19), net)
    numeric = numeric_gradients(net, X, T)
    analytic = oracle.gradients(net, X, T)
    assert relative_error(analytic.W[1:], numeric[1:3]) < 1e-8


def test_a_residual_layer_adds_what_entered_it():
    net = make_net(rng_of(53), [3, 4, 4, 2], residual=True)
    net.W[1][:] = 0
    s = oracle.forward(net, rng_of(54).normal(size=(5, 3)))
    np.testing.assert_array_equal(s.y[1], np.tanh(net.b[1]) + s.y[0])


def test_alpha_counts_per_sample_and_l2_does_not():
    net = make_net(rng_of(20), [3, 4, 2])
    X, T = random_data(rng_of(21), net, n=8)
    plain, W2 = oracle.loss(net, X, T), sum((w**2).sum() for w in net.W)
    net.alpha, net.l2 = 0.5, 0.25
    penalty = oracle.loss(net, X, T) - plain
    assert penalty == pytest.approx(0.25 * W2 + 0.5 / 2 * W2 / 8)


def test_a_weight_of_two_is_the_sample_twice():
    net = make_net(rng_of(22), [3, 4, 2], alpha=0.3)
    X, T = random_data(rng_of(23), net, n=3)
    twice = oracle.loss(net, X[[0, 0, 1, 2]], T[[0, 0, 1, 2]])
    assert oracle.loss(net, X, T, np.array([2, 1, 1])) == pytest.approx(twice)


# Sensitivities


def sensitivity_case(seed):
    net, X, *_ = random_case(seed)
    for norm in net.norm:
        if norm is not None:
            norm.count += 5
            norm.mean, norm.var = rng_of(48).uniform(0.1, 1, size=(2, len(norm.mean)))
    return net, X


@pytest.mark.parametrize("seed", range(26))
def test_reverse_and_forward_jacobian_agree(seed):
    net, X = sensitivity_case(seed)
    reverse = oracle.jacobian(net, X)
    np.testing.assert_allclose(reverse, oracle.jacobian_forward(net, X), atol=1e-13)


@pytest.mark.parametrize("seed", range(13))
def test_jacobian_matches_central_differences(seed):
    net, X = sensitivity_case(seed)
    numeric = numeric_gradient(lambda x: oracle.predict(net, x[None])[0], X[0], 1e-4)
    np.testing.assert_allclose(oracle.jacobian(net, X)[0], numeric, atol=1e-9)


def second_order_case(hidden, output, loss, sizes=(3, 4, 2)):
    net = make_net(rng_of(49), list(sizes), hidden, output, loss=loss, l2=0.1)
    return net, *random_data(rng_of(50), net, n=5)


def test_hessian_vector_products_are_symmetric():
    case = second_order_case("tanh", "softmax", "log_loss")
    u, v = (
        [rng_of(i, p.size).normal(size=p.shape) for p in oracle.parameters(case[0])]
        for i in (51, 52)
    )
    Hu, Hv = (oracle.hessian_vector_product(*case, d) for d in (u, v))
    vHu = sum((a * b).sum() for a, b in zip(v, Hu, strict=True))
    uHv = sum((a * b).sum() for a, b in zip(u, Hv, strict=True))
    assert vHu == pytest.approx(uHv, rel=1e-10)


def test_hessian_diagonal_of_a_linear_network_is_known():
    net, X, T = second_order_case([], "identity", "squared_error", (3, 2))
    known = (X**2).mean(axis=0)[:, None] + 2 * net.l2 * np.ones((3, 2))
    diagonal = oracle.hessian_diagonal(net, X, T)[0]
    np.testing.assert_allclose(diagonal, known, rtol=1e-10)


def both_diagonals(*case):
    exact = oracle.hessian_diagonal(*case)
    return exact, oracle.hessian_diagonal(*case, kind="curvature")


@pytest.mark.parametrize("hidden", SMOOTH)
def test_curvature_diagonal_is_exact_under_a_loss_linear_in_the_output(hidden):
    net, X, T = second_order_case(hidden, "identity", "absolute_error")
    exact, curvature = both_diagonals(net, X, T)
    assert relative_error(curvature, exact) < 1e-9


@pytest.mark.parametrize("output", ["tanh", "logistic", "softmax"])
def test_curvature_diagonal_of_the_last_layer_under_such_a_loss(output):
    case = second_order_case("tanh", output, "absolute_error")
    exact, curvature = both_diagonals(*case)
    assert relative_error(curvature[1:2], exact[1:2]) < 1e-9


def test_curvature_diagonal_is_exact_where_every_piece_is_linear():
    case = second_order_case("relu", "identity", "absolute_error", (3, 4, 4, 2))
    assert relative_error(*both_diagonals(*case)) < 1e-9


def test_curvature_diagonal_is_not_exact_below_a_second_bend():
    case = second_order_case("tanh", "identity", "absolute_error", (3, 4, 4, 2))
    exact, curvature = both_diagonals(*case)
    assert relative_error(curvature[1:3], exact[1:3]) < 1e-9
    assert relative_error(curvature[:1], exact[:1]) > 0.01


@pytest.mark.parametrize(
    "output, loss", [("identity", "squared_error"), ("softmax", "log_loss")]
)
def test_curvature_diagonal_is_not_exact_for_the_textbooks_losses(output, loss):
    exact, curvature = both_diagonals(*second_order_case("tanh", output, loss))
    assert relative_error(curvature[:1], exact[:1]) > 0.05
