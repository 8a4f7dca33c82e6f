"""`mlp.Network`: outputs, losses and gradients are those of the slow twin."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import oracle
import pytest
import scipy.sparse
from numpy.testing import assert_allclose, assert_array_equal
from oracle.cases import OUTPUTS
from twins import either_dtype, on_every_isa, rounded, twin_of, vector

from mlp import Dropout, Network

# the network offers no callable losses, and Poisson's only from the logarithm of the rate
PAIRS = [p for p in OUTPUTS if not callable(p[1]) and p != ("softplus", "poisson")]
PAIRS += [
    ("relu", "squared_error"),
    ("logistic", "absolute_error"),
    ("erf", "logistic"),
]
every_output = pytest.mark.parametrize("output, loss", PAIRS, ids=str)
every_activation = pytest.mark.parametrize("hidden", oracle.TRAINABLE)


def case(hidden, output, loss, n=7, missing=False, sizes=(3, 4, 5, 3)):
    """Network and data of the oracle, with entries that either precision holds."""
    rng = oracle.rng_of(len(hidden), n, len(str(output)), missing)
    hidden = oracle.spec_of(hidden) if isinstance(hidden, str) else hidden
    net = oracle.make_net(rng, list(sizes), hidden, output, loss=loss)
    if hidden == "exp":  # or e to the power of e to the power of z overflows
        net.W = [W / 3 for W in net.W]
    X, T = oracle.random_data(rng, net, n, missing=missing)
    if missing and loss == "log_loss" and output == ("softmax", (2, 1)):
        T[:, 1] = T[:, 0] * 0 + T[:, 1]  # a label is there or not, never in part
        T[np.isnan(T[:, 1]), 0] = np.nan
    return rounded(net, X, T, rng.uniform(0.5, 2, n))


def relative(actual, expected):
    return oracle.relative_error([actual], [expected])


# ---- the same numbers as the twin -------------------------------------------------------


@every_output
@every_activation
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_outputs_loss_and_gradient_are_that_of_numpy(
    hidden, output, loss, missing, weighted
):
    net, X, T, w = case(hidden, output, loss, missing=missing)
    w = w if weighted else None
    expected = vector(oracle.flat(oracle.gradients(net, X, T, w)))
    twin = twin_of(net)
    value, gradient = twin.gradients(X, T, w)
    assert relative(twin.forward(X), oracle.predict(net, X)) < 1e-13
    assert relative(gradient, expected) < 1e-12
    assert value == pytest.approx(oracle.loss(net, X, T, w), rel=1e-12)
    assert twin.loss(X, T, w) == value


@every_output
@every_activation
def test_single_precision_differs_by_its_roundings(hidden, output, loss):
    net, X, T, w = case(hidden, output, loss, missing=True)
    expected = vector(oracle.flat(oracle.gradients(net, X, T, w)))
    twin = twin_of(net, np.float32)
    value, gradient = twin.gradients(X, T, w)
    # some 40 roundings lie on the way there and back, of terms a few times the result
    bound = 64 * float(np.finfo(np.float32).eps)
    assert gradient.dtype == twin.forward(X).dtype == np.float32
    assert relative(twin.forward(X), oracle.predict(net, X)) < bound
    assert relative(gradient, expected) < bound
    assert value == pytest.approx(oracle.loss(net, X, T, w), rel=bound)


@every_output
@every_activation
def test_gradient_is_the_central_difference(hidden, output, loss):
    net, X, T, w = case(hidden, output, loss, missing=True)
    twin = twin_of(net)
    _, gradient = twin.gradients(X, T, w)
    numeric = np.empty_like(gradient)
    for i, p in enumerate(twin.params.copy()):
        twin.params[i] = p + 1e-5
        above = twin.loss(X, T, w)
        twin.params[i] = p - 1e-5
        numeric[i] = (above - twin.loss(X, T, w)) / 2e-5
        twin.params[i] = p
    assert relative(gradient, numeric) < 1e-6


@on_every_isa
@either_dtype
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 23, 64, 70])
@pytest.mark.parametrize("sizes", [(1, 1), (37, 33, 17, 5), (8, 70, 1), (5, 2, 2, 12)])
def test_every_instruction_set_agrees_at_every_edge(sizes, n, dtype, isa):
    for hidden, output, loss in [
        ("relu", "identity", "squared_error"),
        ("gelu", "softmax", "log_loss"),
        ("tanh", "logistic", "squared_error"),
    ]:
        net, X, T, w = case(hidden, output, loss, n, sizes=sizes)
        twin = twin_of(net, dtype)
        _, gradient = twin.gradients(X, T, w)
        expected = vector(oracle.flat(oracle.gradients(net, X, T, w)))
        bound = 64 * float(np.finfo(dtype).eps)
        assert relative(twin.forward(X), oracle.predict(net, X)) < bound
        assert relative(gradient, expected) < bound


@either_dtype
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_few_rows_are_computed_as_among_many(n, dtype):
    net, X, T, _ = case("tanh", "softmax", "log_loss", 40, sizes=(30, 50, 20, 4))
    twin = twin_of(net, dtype)
    bound = 64 * float(np.finfo(dtype).eps)
    alone = [twin.gradients(X[i : i + n], T[i : i + n])[1] for i in range(0, 40, n)]
    among = twin.gradients(X, T)[1]
    assert relative(twin.forward(X[:n]), twin.forward(X)[:n]) < bound
    if 40 % n == 0:
        assert relative(np.mean(alone, axis=0), among) < bound


@pytest.mark.parametrize("make", [np.asarray, scipy.sparse.csr_array])
def test_more_rows_than_the_workspace_go_through_in_pieces(make):
    net, X, T, w = case("relu", "identity", "squared_error", 2500)
    _, gradient = twin_of(net).gradients(make(X), T, w)
    expected = vector(oracle.flat(oracle.gradients(net, X, T, w)))
    assert relative(gradient, expected) < 1e-12


def test_class_probabilities_missing_in_part_are_missing():
    net, X, T, w = case("relu", "softmax", "log_loss")
    T[1, 0] = T[3, 1] = T[5, 2] = np.nan
    loss, gradient = twin_of(net).gradients(X, T, w)
    assert loss == pytest.approx(oracle.loss(net, X, T, w), rel=1e-12)
    expected = vector(oracle.flat(oracle.gradients(net, X, T, w)))
    assert relative(gradient, expected) < 1e-12


# ---- topology ---------------------------------------------------------------------------


@every_output
def test_without_hidden_layers(output, loss):
    net, X, T, w = case([], output, loss, sizes=(4, 3))
    expected = vector(oracle.flat(oracle.gradients(net, X, T, w)))
    assert relative(twin_of(net).gradients(X, T, w)[1], expected) < 1e-12


@on_every_isa
@either_dtype
@pytest.mark.parametrize(
    "hidden",
    [
        ["tanh", "relu"],
        [("leaky_relu", 0.2), ("two_sided_relu", -1.0)],
        [["tanh", "gelu", ("elu", 0.5), "relu"], "softplus"],
        ["erf", ["silu", "identity", "gaussian", ("leaky_relu", 0.3), "logistic"]],
        [("scaled_tanh", 0.8, 1.4), ("elu", 1.7)],
    ],
    ids=str,
)
def test_layers_and_nodes_may_differ(hidden, dtype, isa):
    net, X, T, w = case(hidden, "softmax", "log_loss")
    twin = twin_of(net, dtype)
    expected = vector(oracle.flat(oracle.gradients(net, X, T, w)))
    assert relative(twin.gradients(X, T, w)[1], expected) < 64 * float(
        np.finfo(dtype).eps
    )


def test_elu_with_a_scale_is_that_multiple_of_elu():
    net, X, _, _ = case("tanh", ("elu", 0.7), "squared_error")
    scaled = Network(
        [3, 4, 5, 3], "tanh", ("elu", 0.7, 2.5), params=twin_of(net).params
    )
    assert_allclose(scaled.forward(X), 2.5 * oracle.predict(net, X), rtol=1e-13)


def test_class_labels_are_one_hot_targets():
    net, X, _, w = case("relu", "softmax", "log_loss")
    labels = np.array([0, 2, 1, 1, 0, 2, 2])
    twin = twin_of(net)
    loss, gradient = twin.gradients(X, labels, w)
    expected_loss, expected = twin.gradients(X, np.eye(3)[labels], w)
    assert loss == expected_loss
    assert_array_equal(gradient, expected)


@either_dtype
def test_exclusive_or_by_hand(dtype):
    net = Network([2, 2, 1], dtype=dtype)
    net.params[:] = [-0.5, -0.5, -0.5, -0.5, 2, -4, 1, 0, -1]
    X = [[1, 1], [-1, -1], [1, -1], [-1, 1]]
    assert_array_equal(net.forward(X), [[-1], [-1], [1], [1]])


@either_dtype
def test_sign_predicts_but_is_not_trained(dtype):
    net = Network([2, 2, 1], ["sign"], "sign", dtype=dtype)
    net.coefs[0][:], net.coefs[1][:] = np.eye(2), 1
    assert_array_equal(net.forward([[3, 1], [-1, -2], [0, 0]]), [[1], [-1], [1]])
    with pytest.raises(ValueError, match=r"'sign' can't be trained.*predictions only"):
        net.gradients([[1, 1]], [1])


EXTREMES = [0, 1e-30, 1e-3, 1, 20, 50, 89, 120, 800, 1e6, 1e18, 3e38]


@on_every_isa
@either_dtype
@pytest.mark.parametrize("name", sorted({*oracle.TRAINABLE} - {"exp"}))
def test_no_finite_input_gives_infinity_or_nan(name, dtype, isa):
    tiny = np.finfo(dtype).smallest_subnormal
    z = np.array([s * v for s in (1, -1) for v in (*EXTREMES, tiny)], dtype)[:, None]
    spec = oracle.spec_of(name)
    net = Network([1, 1], "relu", spec, loss="absolute_error", dtype=dtype)
    net.params[:] = [1, 0]
    y = net.forward(z)
    # the loss's gradient in the offset is the slope, up to the sign
    slopes = [net.gradients(v, [[-9e37]])[1][1] for v in z[:, None]]
    # the core takes subnormal numbers for 0
    seen = np.where(np.abs(z) < np.finfo(dtype).tiny, 0, z).astype(float)
    assert_allclose(y, oracle.activate(spec, seen), rtol=1e-5, atol=1e-30)
    assert_allclose(
        np.abs(slopes)[:, None], np.abs(oracle.slope(spec, seen)), rtol=1e-5, atol=1e-6
    )


# ---- parameters and copies --------------------------------------------------------------


def test_weights_and_offsets_are_views_into_one_vector():
    net = Network([2, 3, 1])
    for view in (*net.coefs, *net.intercepts):
        view[:] = np.arange(1, 1 + view.size).reshape(view.shape)
    assert_array_equal(net.params, [1, 2, 3, 4, 5, 6, 1, 2, 3, 1, 2, 3, 1])
    assert_array_equal(net.forward([[1, 1]]), [[6 * 1 + 9 * 2 + 12 * 3 + 1]])


def test_given_parameters_are_used_in_place():
    params = np.zeros(13)
    net = Network([2, 3, 1], params=params)
    params[-1] = 5
    assert net.params is params
    assert_array_equal(net.forward([[1, 1]]), [[5]])


@pytest.mark.parametrize("duplicate", [Network.copy, copy.copy, copy.deepcopy])
def test_copy_is_equal_and_independent(duplicate):
    hidden = ["tanh", ["gelu", "relu", "relu", ("elu", 0.5), "tanh"]]
    for output, loss in PAIRS:
        net, X, T, w = case(hidden, output, loss)
        twin = twin_of(net)
        other = duplicate(twin)
        assert_array_equal(other.gradients(X, T, w)[1], twin.gradients(X, T, w)[1])
        before = twin.forward(X)
        other.params[:] = 0
        assert_array_equal(twin.forward(X), before)


@either_dtype
def test_pickle_keeps_every_bit_and_the_views(dtype):
    net, X, T, w = case("gelu", ("softmax", (2, 1)), "log_loss")
    twin = twin_of(net, dtype)
    back = pickle.loads(pickle.dumps(twin))
    assert back.gradients(X, T, w)[0] == twin.gradients(X, T, w)[0]
    assert_array_equal(back.forward(X), twin.forward(X))
    assert all(np.shares_memory(view, back.params) for view in back.coefs)


# ---- what X may be ----------------------------------------------------------------------

LAYOUTS = {
    "fortran": np.asfortranarray,
    "every other row": lambda X: np.repeat(X, 2, axis=0)[::2],
    "every other column": lambda X: np.repeat(X, 2, axis=1)[:, ::2],
    "a slice of columns": lambda X: np.pad(X, ((0, 0), (2, 3)))[:, 2:-3],
    "backwards": lambda X: X[::-1].copy()[::-1],
    "columns backwards": lambda X: X[:, ::-1].copy()[:, ::-1],
    "other byte order": lambda X: X.astype(X.dtype.newbyteorder()),
    "half precision": lambda X: X.astype(np.float16),
    "list": np.ndarray.tolist,
    "unaligned": lambda X: np.frombuffer(
        b"." + X.tobytes(), np.dtype([("", "b"), ("X", X.dtype, X.shape)])
    )["X"][0],
}


@either_dtype
@pytest.mark.parametrize("lay_out", LAYOUTS.values(), ids=LAYOUTS)
def test_layout_of_the_data_does_not_change_a_bit(lay_out, dtype):
    net, X, T, _ = case("relu", "identity", "squared_error", 9)
    X, T = np.round(X, 1).astype(np.float16).astype(dtype), T.astype(dtype)
    twin = twin_of(net, dtype)
    assert_array_equal(twin.forward(lay_out(X)), twin.forward(X))
    assert_array_equal(twin.gradients(lay_out(X), T)[1], twin.gradients(X, T)[1])


@either_dtype
def test_read_only_data_and_repeated_rows_are_accepted(dtype):
    net, X, T, _ = case("relu", "identity", "squared_error")
    twin = twin_of(net, dtype)
    one = np.broadcast_to(X[0].astype(dtype), X.shape)
    assert not one.flags.writeable
    assert_array_equal(twin.gradients(one, T)[1], twin.gradients(one.copy(), T)[1])
    assert_array_equal(twin.forward(one)[3], twin.forward(one.copy())[0])


@on_every_isa
@either_dtype
@pytest.mark.parametrize("make", [scipy.sparse.csr_array, scipy.sparse.csc_matrix])
@pytest.mark.parametrize("n", [1, 3, 40])
def test_sparse_input_is_computed_as_dense(n, make, dtype, isa):
    for hidden, sizes in [("relu", (20, 33, 4)), ([], (20, 4))]:
        net, X, T, w = case(hidden, "softmax", "log_loss", n, sizes=sizes)
        X[np.random.default_rng(2).random(X.shape) < 0.8] = 0
        twin, sparse = twin_of(net, dtype), make(X.astype(dtype))
        expected = vector(oracle.flat(oracle.gradients(net, X, T, w)))
        bound = 64 * float(np.finfo(dtype).eps)
        assert relative(twin.forward(sparse), oracle.predict(net, X)) < bound
        assert relative(twin.gradients(sparse, T, w)[1], expected) < bound


@on_every_isa
@either_dtype
@pytest.mark.parametrize("outputs", [1, 2, 5, 10, 17, 33, 100])
@pytest.mark.parametrize("inputs", [3, 16, 50, 300, 1100])
def test_a_row_has_the_same_bits_alone_and_among_others(inputs, outputs, dtype, isa):
    """Also of layers whose last few columns are summed in another order."""
    rng = np.random.default_rng(inputs * outputs)
    net = Network((inputs, outputs), dtype=dtype)
    net.params[:] = rng.normal(size=net.params.size) / np.sqrt(inputs)
    X = rng.normal(size=(41, inputs)).astype(dtype)
    together = net.forward(X)
    expected = X @ np.float64(net.coefs[0]) + np.float64(net.intercepts[0])
    assert relative(together, expected) < 64 * float(np.finfo(dtype).eps)
    for rows in (1, 2, 3, 5):
        apart = [net.forward(X[i : i + rows]) for i in range(0, len(X), rows)]
        assert_array_equal(np.concatenate(apart), together)


# ---- threads ----------------------------------------------------------------------------


@either_dtype
@pytest.mark.parametrize("n", [250, 253, 505, 1000])
def test_number_of_threads_does_not_change_a_bit(n, dtype):
    net, X, _, _ = case("tanh", "softmax", "log_loss", n, sizes=(90, 200, 10))
    twin = twin_of(net, dtype)
    alone = twin.forward(X)
    for n_threads in (2, 3, 4):
        assert_array_equal(twin.forward(X, n_threads=n_threads), alone)


def test_one_network_may_predict_in_many_threads_at_once():
    net, X, _, _ = case("tanh", "softmax", "log_loss", 300, sizes=(90, 200, 10))
    twin = twin_of(net)
    expected = twin.forward(X)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda i: twin.forward(X, 1 + i % 2), range(40)))
    assert all(np.array_equal(y, expected) for y in results)


# ---- errors -----------------------------------------------------------------------------

X32 = np.ones((2, 3))
softmax = {"output_activation": "softmax", "loss": "log_loss"}


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Network([3]), "layer_sizes"),
        (lambda: Network([3, 0, 1]), "layer_sizes"),
        (lambda: Network([3, 1], "tank"), None),
        (lambda: Network([3, 2, 1], "tank"), "activation='tank'.*tanh"),
        (lambda: Network([3, 2, 1], "softmax"), "'softmax' is for the output"),
        (lambda: Network([3, 2, 1], ["relu"] * 2), "names 2 layers"),
        (lambda: Network([3, 2, 1], [["relu"] * 3]), "names 3 nodes.*has 2"),
        (lambda: Network([3, 2, 1], ("relu", 2.0)), "relu takes 0 parameters"),
        (lambda: Network([3, 2, 1], ("elu", -1.0)), "alpha must be positive"),
        (lambda: Network([3, 1], "relu", "tank"), "output_activation='tank'"),
        (lambda: Network([3, 1], loss="hinge"), "loss='hinge'.*huber"),
        (lambda: Network([3, 1], loss="log_loss"), "'log_loss' needs.*softmax"),
        (lambda: Network([3, 1], loss="poisson"), "'poisson' needs.*exp"),
        (lambda: Network([3, 1], loss=("huber", 0)), "huber.*delta must be"),
        (lambda: Network([3, 1], loss=("quantile", 1)), "quantile.*level must be"),
        (lambda: Network([3, 4], groups=[2, 1], **softmax), "groups.*4 outputs"),
        (lambda: Network([3, 1], dtype="float16"), "dtype.*float16"),
        (lambda: Network([3, 1], params=np.zeros(5)), r"params.*\(4,\).*\(5,\)"),
        (lambda: Network([3, 1], params=np.zeros(4, "f")), "params.*float64.*float32"),
        (lambda: Network([3, 1], params=np.zeros(8)[::2]), "params.*contiguous"),
        (lambda: Network([3, 1]).forward(np.ones(3)), r"X must.*\(3,\)"),
        (lambda: Network([3, 1]).forward(np.ones((2, 4))), "4"),
        (lambda: Network([3, 1]).loss(X32, np.ones(3)), "y has .3.*X has 2"),
        (lambda: Network([3, 1]).loss(X32, np.ones((2, 2))), r"y must.*\(2, 2\)"),
        (lambda: Network([3, 1]).loss(X32, [1, 2], [1.0]), r"sample_weight.*\(1,\)"),
        (lambda: Network([3, 1]).loss(X32, [1, 2], [0, 0]), "sample_weight"),
        (lambda: Network([3, 1]).loss(X32[:0], []), "sample_weight"),
        (lambda: Network([3, 2], **softmax).loss(X32, [0, 2]), "labels.*0 to 1"),
        (lambda: Network([3, 2], **softmax).loss(X32, [0, 0.5]), "labels"),
        (lambda: Network([3, 2], **softmax).loss(X32, [0, -1]), "labels"),
    ],
)
def test_a_mistake_is_named(make, message):
    if message is None:  # no hidden layer to which the name would apply
        make()
        return
    with pytest.raises(ValueError, match=message):
        make()


def test_reported_loss_is_that_of_the_predictions_with_residuals_and_test_scaling():
    rng = np.random.RandomState(0)
    net = Network((5, 6, 6, 2), "tanh", residual=True)
    net.params[:] = rng.standard_normal(net.params.size)
    net.configure(dropout=Dropout((0.5, 0.4), input=0.2, scaling="test"))
    X, Y = rng.standard_normal((20, 5)), rng.standard_normal((20, 2))
    expected = ((net.forward(X) - Y) ** 2).mean() / 2
    assert_allclose(net.prediction_loss(net.data(X, Y)), expected, rtol=1e-12)


def test_what_would_be_read_beyond_is_refused():
    net = Network((3, 4, 1), ["rbf"])
    with pytest.raises(ValueError, match="measures distances, give an array"):
        net.forward(scipy.sparse.csr_array(np.eye(3)))
    with pytest.raises(ValueError, match="y is missing"):
        Network((3, 4, 1)).gradients(np.eye(3), None)


def test_labels_made_for_another_network_are_refused():
    X = np.zeros((3, 4))
    many = Network([4, 9], output_activation="softmax", loss="log_loss")
    few = Network([4, 3], output_activation="softmax", loss="log_loss")
    data = many.data(X, np.array([0, 8, 2]))
    for ask in (
        few.prediction_loss,
        lambda d: few.loss_gradients(d, None),
        lambda d: few.hessian_diagonal(d, None),
    ):
        with pytest.raises(ValueError, match="the label 8 in column 0, whose classes"):
            ask(data)
    tasks = Network([4, 9], output_activation="softmax", loss="log_loss", groups=(3, 6))
    with pytest.raises(ValueError, match="labels of 1 tasks, the network has 2"):
        tasks.prediction_loss(data)


@pytest.mark.parametrize("depth", [0, 3, 10_000])
def test_a_depth_that_is_none_is_refused(depth):
    network = Network([4, 3, 2])
    with pytest.raises(
        ValueError, match=f"depth must be from 1 to 2 layers, got {depth}"
    ):
        network._predictor.forward(network.data(np.zeros((5, 4))), 1, depth)
