"""Derivatives of a trained network are those of the slow twin, and of differences."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import oracle
import pytest
import scipy.sparse
from numpy.testing import assert_allclose, assert_array_equal
from oracle.cases import OUTPUTS
from twins import either_dtype, on_every_isa, rounded, twin_of, vector

from mlp import Network
from mlp.network.derivatives import cheaper_mode

MIXED = ["tanh", "logistic", "gelu", ("elu", 0.5)]
HIDDEN = [oracle.spec_of(name) for name in oracle.TRAINABLE] + ["rbf", MIXED]
# the network offers no Poisson loss but from the logarithm of the rate
PAIRS = [p for p in OUTPUTS if p != ("softplus", "poisson")]
PAIRS += [
    ("relu", "squared_error"),
    ("gelu", ("huber", 0.5)),
    ("erf", "logistic"),
    ("softmax", ("huber", 0.5)),
    (("softmax", (2, 1)), "logistic"),
    ("logistic", "absolute_error"),
    (["tanh", "gelu", ("elu", 0.5)], ("huber", 0.5)),
]
OUTPUT_KINDS = ["identity", "tanh", "softmax", ("softmax", (2, 1)), [*MIXED[1:]]]
NAMED = [p for p in PAIRS if not callable(p[1])]
every_hidden = pytest.mark.parametrize("hidden", HIDDEN, ids=str)
every_pair = pytest.mark.parametrize("output, loss", PAIRS, ids=str)
every_named_pair = pytest.mark.parametrize("output, loss", NAMED, ids=str)
either_mode = pytest.mark.parametrize("mode", ["forward", "reverse"])
both_kinds = pytest.mark.parametrize("kind", ["exact", "curvature"])


def case(hidden, output, loss, n=6, sizes=(3, 4, 4, 3), missing=False, residual=True):
    """The oracle's network and data; all hidden layers alike, but one of a kind."""
    rng = oracle.rng_of(n, len(str(hidden)), len(str(output)))
    count = len(sizes) - 2
    layers = [hidden] * count
    if hidden == "rbf":
        layers = ["rbf", *["tanh"] * (count - 1)]
    net = oracle.make_net(rng, list(sizes), layers, output, loss=loss)
    net.residual = residual
    if hidden == "exp":  # or e to the power of e to the power of z overflows
        net.W = [W / 3 for W in net.W]
    X, T = oracle.random_data(rng, net, n, missing=missing and not callable(loss))
    if missing and loss == "log_loss" and output == ("softmax", (2, 1)):
        T[:, 1] = T[:, 0] * 0 + T[:, 1]  # a label is there or not, never in part
        T[np.isnan(T[:, 1]), 0] = np.nan
    return rounded(net, X, T, rng.uniform(0.5, 2, n))


def any_network(seed):
    """A network of any options, after some batches, with data; no penalties."""
    net, X, T, w, _ = oracle.random_case(seed)
    if (net.activation[-1], net.loss) == ("softplus", "poisson"):
        net.activation[-1] = "exp"
    if not any(net.norm[1:]):  # of the inputs alone: not offered
        net.norm[0] = None
    net.alpha = net.l2 = net.l1 = 0
    for norm in net.norm:
        if norm is not None:
            norm.count += 5
            norm.mean, norm.var = oracle.rng_of(48).uniform(0.1, 1, (2, len(norm.mean)))
    return net, X, T, w


def plain_network(seed):
    """The same without what is folded."""
    net, X, T, w = any_network(seed)
    net.norm = [None] * len(net.sizes)
    net.dropout, net.scaling = [0.0] * len(net.W), "train"
    return net, X, T, w


def relative(actual, expected):
    assert np.shape(actual) == np.shape(expected)
    return oracle.relative_error([actual], [expected])


def directions(*shape):
    return oracle.rng_of(60, *shape).normal(size=shape)


def differences(f, x, h=1e-5):
    """Fourth-order central differences of f in each entry of x."""
    return oracle.numeric_gradient(f, x, h)


# ---- first order


@either_mode
@pytest.mark.parametrize("seed", range(28))
def test_jacobian_is_that_of_numpy_whatever_is_folded(seed, mode):
    net, X, *_ = any_network(seed)
    twin = twin_of(net)
    assert relative(twin.jacobian(X, mode=mode), oracle.jacobian(net, X)) < 1e-12


@either_mode
@every_hidden
@pytest.mark.parametrize("output", OUTPUT_KINDS)
def test_jacobian_is_the_central_difference(hidden, output, mode):
    net, X, *_ = case(hidden, output, "squared_error", n=2)
    twin = twin_of(net)
    numeric = [differences(lambda h: twin.forward(h[None])[0], x) for x in X]
    assert relative(twin.jacobian(X, mode=mode), np.array(numeric)) < 1e-8


@pytest.mark.parametrize("name", oracle.TRAINABLE)
def test_jacobian_of_every_output_activation(name):
    net, X, *_ = case("tanh", oracle.spec_of(name), "squared_error")
    assert relative(twin_of(net).jacobian(X), oracle.jacobian(net, X)) < 1e-12


@either_mode
@pytest.mark.parametrize("sizes", [(3, 2), (2, 5), (300, 4, 2), (2, 3, 270)])
def test_jacobian_without_hidden_layers_and_of_more_rows_than_a_block(sizes, mode):
    net, X, *_ = case("gelu", "softmax", "log_loss", 9, sizes)
    twin = twin_of(net)
    assert relative(twin.jacobian(X, mode=mode), oracle.jacobian(net, X)) < 1e-12


def test_jacobian_takes_the_way_that_costs_less():
    assert cheaper_mode((784, 100, 10)) == "reverse"
    assert cheaper_mode((10, 100, 784)) == "forward"
    net, X, *_ = case("tanh", "identity", "squared_error", sizes=(2, 5, 40))
    twin = twin_of(net)
    assert_array_equal(twin.jacobian(X), twin.jacobian(X, mode="forward"))


@pytest.mark.parametrize("seed", range(28))
def test_products_with_the_jacobian(seed):
    net, X, *_ = any_network(seed)
    twin = twin_of(net)
    J = twin.jacobian(X)
    V, U = directions(len(X), 3), directions(3, len(X)).T
    assert relative(twin.jvp(X, V), np.einsum("nqm,nm->nq", J, V)) < 1e-12
    assert relative(twin.vjp(X, U), np.einsum("nqm,nq->nm", J, U)) < 1e-12
    one, other = (U * twin.jvp(X, V)).sum(1), (twin.vjp(X, U) * V).sum(1)
    assert_allclose(one, other, atol=1e-13 * np.abs(J).max())


@pytest.mark.parametrize("seed", range(28))
def test_gradient_of_each_sample_in_its_inputs_is_that_of_numpy(seed):
    net, X, T, _ = any_network(seed)
    expected = len(X) * oracle.gradients(net, X, T, train=False).X
    assert relative(twin_of(net).loss_gradients(X, T), expected) < 1e-12


@every_pair
@every_hidden
def test_gradient_of_each_sample_in_the_parameters(hidden, output, loss):
    net, X, T, _ = case(hidden, output, loss, missing=True)
    twin = twin_of(net)
    rows = twin.loss_gradients(X, T, "params")
    assert rows.shape == (len(X), twin.params.size)
    assert relative(rows.mean(axis=0), twin.gradients(X, T)[1]) < 1e-12
    assert relative(rows[1], twin.gradients(X[1:2], T[1:2])[1]) < 1e-12


def test_gradient_of_class_labels():
    net, X, T, _ = case("tanh", "softmax", "log_loss")
    twin, labels = twin_of(net), T.argmax(axis=1)
    for wrt in ("inputs", "params"):
        expected = twin.loss_gradients(X, np.eye(3)[labels], wrt)
        assert_allclose(twin.loss_gradients(X, labels, wrt), expected, rtol=1e-12)


def test_an_error_in_the_callers_loss_is_the_callers():
    def broken(y_true, y_out):
        raise KeyError("mine")

    twin = Network([2, 1], loss=broken)
    with pytest.raises(KeyError, match="mine"):
        twin.loss_gradients(np.ones((3, 2)), np.ones((3, 1)))


# ---- second order


@every_named_pair
@every_hidden
def test_product_with_the_hessian_is_the_difference_of_gradients(hidden, output, loss):
    net, X, T, w = case(hidden, output, loss, missing=True)
    twin = twin_of(net)
    v = directions(twin.params.size)
    v /= np.linalg.norm(v)
    params = twin.params.copy()

    def gradient_at(t):
        twin.params[:] = params + t[0] * v
        return twin.gradients(X, T, w)[1]

    numeric = differences(gradient_at, np.zeros(1), 1e-4)[:, 0]
    twin.params[:] = params
    assert relative(twin.hessian_vector_product(X, T, v, w), numeric) < 1e-6


@pytest.mark.parametrize("seed", [s for s in range(42) if s % 14 != 13])
def test_exact_diagonal_is_that_of_the_products(seed):
    net, X, T, w = plain_network(seed)
    twin = twin_of(net)
    units = np.eye(twin.params.size)
    H = np.array([twin.hessian_vector_product(X, T, unit, w) for unit in units])
    assert_allclose(H, H.T, atol=1e-12 * np.abs(H).max())
    diagonal = twin.hessian_diagonal(X, T, sample_weight=w)
    assert_allclose(diagonal, np.diag(H), atol=1e-12 * np.abs(H).max())


@pytest.mark.parametrize("layers", [1, 2, 4])
@every_hidden
def test_exact_diagonal_at_other_depths(hidden, layers):
    sizes = (3, *[4] * layers, 2)
    net, X, T, w = case(hidden, "softmax", ("huber", 0.5), sizes=sizes)
    twin = twin_of(net)
    units = np.eye(twin.params.size)
    H = np.array([twin.hessian_vector_product(X, T, unit, w) for unit in units])
    diagonal = twin.hessian_diagonal(X, T, "exact", w)
    assert_allclose(diagonal, np.diag(H), atol=1e-12 * np.abs(H).max())


def test_hessian_of_a_linear_network_is_known():
    net, X, T, w = case("tanh", "identity", "squared_error", sizes=(3, 2))
    twin = twin_of(net)
    expected = np.average(X**2, axis=0, weights=w)[:, None] * np.ones(2)
    diagonal = twin.hessian_diagonal(X, T, sample_weight=w)
    assert_allclose(diagonal, np.r_[expected.ravel(), 1, 1], rtol=1e-13)


# ---- the textbook's diagonal


def both_diagonals(hidden, output, loss, sizes=(3, 4, 3), residual=False):
    """By layer, weights only: what the package calls 'curvature', and differences."""
    net, X, T, _ = case(hidden, output, loss, sizes=sizes, residual=residual)
    twin = twin_of(net)
    params = twin.params.copy()
    exact = np.empty_like(params)
    for i, p in enumerate(params):

        def slope_at(t, i=i, p=p):
            twin.params[i] = p + t[0]
            return twin.gradients(X, T)[1][i]

        exact[i] = differences(slope_at, np.zeros(1), 1e-4)[0]
        twin.params[i] = p
    curvature = twin.hessian_diagonal(X, T, "curvature")
    return twin.unpack(curvature)[0], twin.unpack(exact)[0]


@every_named_pair
@pytest.mark.parametrize("hidden", [h for h in HIDDEN if h != "rbf"], ids=str)
def test_curvature_diagonal_is_that_of_numpy(hidden, output, loss):
    net, X, T, w = case(hidden, output, loss, residual=False)
    expected = vector(oracle.hessian_diagonal(net, X, T, "curvature", sample_weight=w))
    actual = twin_of(net).hessian_diagonal(X, T, "curvature", w)
    assert relative(actual, expected) < 1e-11


@pytest.mark.parametrize("hidden", ["tanh", "gelu", "softplus", "rbf", MIXED], ids=str)
def test_curvature_is_exact_below_what_is_straight(hidden):
    ours, exact = both_diagonals(hidden, "identity", "absolute_error")
    assert_allclose(ours[0], exact[0], atol=1e-8)
    assert_allclose(ours[1], exact[1], atol=1e-8)


@pytest.mark.parametrize("output", ["tanh", "logistic", "softmax", ("softmax", (2, 1))])
def test_curvature_is_exact_in_the_last_layer_under_a_straight_loss(output):
    ours, exact = both_diagonals("tanh", output, "absolute_error")
    assert_allclose(ours[1], exact[1], atol=1e-8)
    assert relative(ours[0], exact[0]) > 0.01


def test_curvature_is_exact_where_every_piece_is_straight():
    ours, exact = both_diagonals("relu", "identity", "absolute_error", (3, 4, 4, 2))
    for one, other in zip(ours, exact, strict=True):
        assert_allclose(one, other, atol=1e-8)


def test_curvature_is_not_exact_below_a_second_bend():
    ours, exact = both_diagonals("tanh", "identity", "absolute_error", (3, 4, 4, 2))
    assert_allclose(ours[1], exact[1], atol=1e-8)
    assert relative(ours[0], exact[0]) > 0.01


@pytest.mark.parametrize(
    "output, loss", [("identity", "squared_error"), ("softmax", "log_loss")]
)
def test_curvature_is_not_exact_for_the_textbooks_losses(output, loss):
    for one, other in zip(*both_diagonals("tanh", output, loss), strict=True):
        assert relative(one, other) > 0.05


# ---- how it is computed


def answers(twin, X, T, w=None, n_threads=1):
    """Everything that can be asked of a plain network, by name."""
    V, U = directions(*X.shape), directions(len(X), twin.n_outputs)
    v = directions(twin.params.size)
    return {
        "forward": twin.jacobian(X, n_threads, mode="forward"),
        "reverse": twin.jacobian(X, n_threads, mode="reverse"),
        "jvp": twin.jvp(X, V, n_threads),
        "vjp": twin.vjp(X, U, n_threads),
        "inputs": twin.loss_gradients(X, T, "inputs", n_threads),
        "params": twin.loss_gradients(X, T, "params", n_threads),
        "hidden": twin.hidden_activations(X, 0, n_threads),
        "product": twin.hessian_vector_product(X, T, v, w, n_threads),
        "exact": twin.hessian_diagonal(X, T, "exact", w, n_threads),
        "curvature": twin.hessian_diagonal(X, T, "curvature", w, n_threads),
    }


@on_every_isa
@either_dtype
@pytest.mark.parametrize("n", [1, 3, 4, 23])
@pytest.mark.parametrize(
    "sizes", [(1, 1, 1), (37, 33, 17, 5), (8, 40, 1), (5, 9, 9, 9, 12)]
)
def test_every_instruction_set_agrees_at_every_edge(sizes, n, dtype, isa):
    for hidden, output, loss in [
        ("relu", "identity", "squared_error"),
        ("gelu", "softmax", "log_loss"),
        ("rbf", "tanh", ("huber", 0.5)),
    ]:
        net, X, T, w = case(hidden, output, loss, n, sizes=sizes)
        expected = {
            "forward": oracle.jacobian_forward(net, X),
            "reverse": oracle.jacobian(net, X),
            "inputs": n * oracle.gradients(net, X, T).X,
        }
        twin = twin_of(net, dtype)
        actual = answers(twin, X, T, w)
        bound = 64 * float(np.finfo(dtype).eps)
        for name, value in expected.items():
            assert actual[name].dtype == dtype
            assert relative(actual[name], value) < bound, name
        double = answers(twin_of(net), X, T, w)
        for name, value in double.items():
            assert relative(actual[name], value) < 4 * bound, name


@either_dtype
def test_threads_and_blocks_do_not_change_the_bits(dtype):
    net, X, T, w = case("gelu", "softmax", "log_loss", 700, (20, 24, 24, 6))
    twin = twin_of(net, dtype)
    alone = answers(twin, X, T, w)
    for n_threads in (2, 3):
        for name, value in answers(twin, X, T, w, n_threads).items():
            assert_array_equal(value, alone[name], name)
    few = answers(twin, X[:5], T[:5])
    V, U = directions(*X.shape)[:5], directions(len(X), 6)[:5]
    assert_array_equal(few["reverse"], alone["reverse"][:5])
    assert_array_equal(few["forward"], alone["forward"][:5])
    assert_array_equal(few["params"], alone["params"][:5])
    assert_array_equal(twin.jvp(X[:5], V), alone["jvp"][:5])
    assert_array_equal(twin.vjp(X[:5], U), alone["vjp"][:5])


def test_sums_over_many_blocks_are_those_of_the_parts():
    net, X, T, w = case("gelu", "softmax", "log_loss", 700, (5, 8, 3))
    twin = twin_of(net)
    v = directions(twin.params.size)
    share = w[:90].sum() / w.sum()
    for ask in (
        lambda *samples: twin.hessian_vector_product(*samples[:2], v, samples[2]),
        lambda *samples: twin.hessian_diagonal(*samples[:2], "exact", samples[2]),
    ):
        head, tail = ask(X[:90], T[:90], w[:90]), ask(X[90:], T[90:], w[90:])
        expected = share * head + (1 - share) * tail
        assert relative(ask(X, T, w), expected) < 1e-13


def test_many_callers_at_once():
    net, X, T, w = case("gelu", "softmax", "log_loss", 300, (20, 24, 24, 6))
    twin = twin_of(net)
    expected = answers(twin, X, T, w)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda n: answers(twin, X, T, w, n), [1, 2, 1, 2, 2, 1]):
            for name, value in found.items():
                assert_array_equal(value, expected[name], name)


@either_dtype
def test_sparse_inputs_give_what_dense_ones_give(dtype):
    net, X, T, w = case("tanh", "softmax", "log_loss", 30, (20, 8, 3))
    X[oracle.rng_of(3).random(X.shape) < 0.8] = 0
    twin = twin_of(net, dtype)
    S = scipy.sparse.csr_array(X)
    V, U, v = directions(30, 20), directions(30, 3), directions(twin.params.size)
    for ask in (
        lambda Z: twin.jacobian(Z),
        lambda Z: twin.jvp(Z, V),
        lambda Z: twin.vjp(Z, U),
        lambda Z: twin.loss_gradients(Z, T),
        lambda Z: twin.loss_gradients(Z, T, "params"),
        lambda Z: twin.hessian_vector_product(Z, T, v, w),
        lambda Z: twin.hessian_diagonal(Z, T, sample_weight=w),
        lambda Z: twin.hidden_activations(Z),
    ):
        assert_array_equal(ask(S), ask(X))


@either_dtype
def test_rows_of_a_wider_array_are_read_in_place(dtype):
    net, X, T, _ = case("tanh", "identity", "squared_error", 9, (5, 8, 3))
    twin = twin_of(net, dtype)
    wide = np.full((9, 11), np.nan, dtype)
    wide[:, 2:7] = X
    for name, value in answers(twin, X.astype(dtype), T).items():
        assert_array_equal(answers(twin, wide[:, 2:7], T)[name], value, name)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("hidden", [h for h in oracle.TRAINABLE if h != "exp"])
def test_huge_inputs_give_no_nan(hidden, dtype):
    twin = Network([1, 2, 1], hidden, "tanh", dtype=dtype)
    twin.coefs[0][:] = [[1, -1]]
    twin.coefs[1][:] = [[0.1], [0.2]]
    big = np.finfo(dtype).max / 4
    X = np.array([[0], [1e3], [1e10], [np.sqrt(big)], [big]], dtype)
    v = np.ones(twin.params.size)
    assert np.isfinite(twin.jacobian(X)).all()
    for x in X[:3]:
        assert np.isfinite(twin.hessian_vector_product(x[None], [[0.5]], v)).all()


# ---- what is folded, what is refused


@pytest.mark.parametrize(
    "option", [{"batch_norm": "hidden"}, {}], ids=["batch norm", "standardised"]
)
def test_parameters_behind_a_fold_are_refused(option):
    twin = Network([3, 4, 2], "tanh", **option)
    if not option:
        twin.input_scale = np.full(3, 2.0)
    twin.refold()
    X, T, v = directions(5, 3), directions(5, 2), directions(twin.params.size)
    for ask in (
        lambda: twin.loss_gradients(X, T, "params"),
        lambda: twin.hessian_vector_product(X, T, v),
        lambda: twin.hessian_diagonal(X, T),
    ):
        with pytest.raises(ValueError, match=r"take those of network\.folded\(\)"):
            ask()


@pytest.mark.parametrize("seed", [s for s in range(28) if s % 14 != 13])
def test_parameters_of_a_folded_network(seed):
    net, X, T, w = any_network(seed)
    twin = twin_of(net).folded()
    params, v = twin.params.copy(), directions(twin.params.size)
    v /= np.linalg.norm(v)

    def gradient_at(t):
        twin.params[:] = params + t[0] * v
        return np.average(twin.loss_gradients(X, T, "params"), axis=0, weights=w)

    numeric = differences(gradient_at, np.zeros(1), 1e-4)[:, 0]
    twin.params[:] = params
    assert relative(twin.hessian_vector_product(X, T, v, w), numeric) < 1e-6


def test_standardised_network():
    twin = Network([3, 4, 2], "tanh")
    twin.params[:] = directions(twin.params.size)
    twin.input_shift, twin.input_scale = directions(3), np.array([0.5, 2, 3])
    twin.output_shift, twin.output_scale = directions(2), np.array([10.0, 0.1])
    twin.refold()
    X = directions(1, 3)
    numeric = differences(lambda h: twin.forward(h[None])[0], X[0])
    assert_allclose(twin.jacobian(X)[0], numeric, rtol=1e-8)


X, T = np.ones((5, 3)), np.ones((5, 2))
REFUSED = [
    (lambda net: net.jacobian(np.ones((5, 4))), r"X must have shape \(n_samples, 3\)"),
    (lambda net: net.jacobian(X, mode="both"), "mode must be one of"),
    (
        lambda net: net.jvp(X, np.ones((5, 2))),
        r"V must have shape \(5, 3\), got \(5, 2",
    ),
    (lambda net: net.vjp(X, np.ones(2)), r"U must have shape \(5, 2\), got \(2,\)"),
    (
        lambda net: net.loss_gradients(X, T, "weights"),
        "wrt must be 'inputs' or 'params'",
    ),
    (lambda net: net.loss_gradients(X, T[:4]), "y has"),
    (lambda net: net.loss_gradients(X, None), "y is missing"),
    (lambda net: net.hessian_diagonal(net.data(X), None), "y is missing"),
    (lambda net: net.hessian_vector_product(X, T, T), r"v must have shape \(26,\)"),
    (lambda net: net.hessian_diagonal(X, T, "f''"), "kind must be 'exact' or"),
    (lambda net: net.hessian_diagonal(X, T, "exact", np.zeros(5)), "positive sum"),
    (lambda net: net.hessian_diagonal(X[:0], T[:0]), "positive sum"),
    (lambda net: net.hidden_activations(X, 1), "layer=1: the network has 1 hidden"),
    (lambda net: net.hidden_activations(X, -2), "layer=-2: the network has 1 hidden"),
    (lambda net: net.hidden_activations(X, 0.5), "layer=0.5"),
]


@pytest.mark.parametrize("ask, message", REFUSED, ids=[m for _, m in REFUSED])
def test_bad_input_is_refused(ask, message):
    with pytest.raises(ValueError, match=message):
        ask(Network([3, 4, 2], "tanh"))


def test_what_has_no_derivative_is_refused():
    step = Network([3, 4, 2], "step")
    with pytest.raises(ValueError, match="derivative is zero"):
        step.jacobian(X)
    assert_array_equal(step.hidden_activations(X), 1)
    mine = Network([3, 4, 2], "tanh", loss=oracle.cases.custom_loss)
    with pytest.raises(ValueError, match="loss is a callable"):
        mine.hessian_diagonal(X, T)
    rbf = Network([3, 4, 2], "rbf")
    with pytest.raises(ValueError, match="X is sparse"):
        rbf.jacobian(scipy.sparse.csr_array(X))
    with pytest.raises(ValueError, match="0 hidden layers"):
        Network([3, 2]).hidden_activations(X)


def test_samples_that_are_prepared_already():
    net = Network([3, 4, 2], "tanh")
    net.params[:] = directions(26)
    data = net.data(X, T)
    assert_array_equal(net.jacobian(data), net.jacobian(X))
    assert_array_equal(net.loss_gradients(data, None), net.loss_gradients(X, T))


def test_no_samples_give_empty_answers():
    net = Network([3, 4, 2], "tanh")
    assert net.jacobian(X[:0]).shape == (0, 2, 3)
    assert net.loss_gradients(X[:0], T[:0], "params").shape == (0, 26)
    assert net.hidden_activations(X[:0]).shape == (0, 4)


@pytest.mark.parametrize("seed", range(28))
def test_hidden_activations_are_that_of_numpy(seed):
    net, X, *_ = any_network(seed)
    twin, expected = twin_of(net), oracle.forward(net, X)
    for layer in range(3):
        assert relative(twin.hidden_activations(X, layer), expected.y[layer]) < 1e-12
    assert_array_equal(twin.hidden_activations(X), twin.hidden_activations(X, 2))
