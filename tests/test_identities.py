"""The identities of the chapter's problems, for any weights and any inputs."""

import numpy as np
import oracle
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from twins import masks_of, plan_of, twin_of, vector

from mlp import BatchNorm, Network

many = settings(max_examples=100, derandomize=True, deadline=None)
seeds = st.integers(0, 10**6)
widths = st.lists(st.integers(1, 9), min_size=3, max_size=6)
scales = st.floats(0.1, 10)


def drawn(sizes, seed, activation="tanh", scale=1.0, **options):
    """A network with random parameters, and inputs."""
    rng = np.random.default_rng(seed)
    network = Network(sizes, activation, **options)
    network.params[:] = scale * rng.normal(size=network.params.size)
    network.refold()
    return network, rng.normal(size=(11, sizes[0])), rng


def assert_close(actual, expected, bound=1e-12):
    assert_allclose(actual, expected, atol=bound * max(1, np.abs(expected).max()))


@many
@given(widths, seeds, scales)
def test_tanh_is_a_shifted_and_scaled_sigmoid_p65_2(sizes, seed, scale):
    # tanh(z) = 2σ(2z) − 1: double what enters a layer, halve and shift what leaves it
    network, X, _ = drawn(sizes, seed, "tanh", scale)
    other = Network(sizes, "logistic")
    for k, (W, b) in enumerate(zip(network.coefs, network.intercepts, strict=True)):
        enters = 1 if k == len(sizes) - 2 else 2
        leaves = 2 if k else 1
        other.coefs[k][:] = enters * leaves * W
        other.intercepts[k][:] = enters * (b - (W.sum(axis=0) if k else 0))
    assert_close(other.forward(X), network.forward(X), 1e-11)


@many
@given(widths, seeds, scales)
def test_flipping_the_signs_of_two_successive_tanh_layers_leaves_the_output_p65_3(
    sizes, seed, scale
):
    # the weights on both sides of an odd layer change their signs, and its offsets
    network, X, rng = drawn(sizes, seed, "tanh", scale)
    before = network.forward(X)
    k = rng.integers(len(sizes) - 2)
    network.coefs[k] *= -1
    network.intercepts[k] *= -1
    network.coefs[k + 1] *= -1
    assert_array_equal(network.forward(X), before)


@many
@given(widths, seeds, st.sampled_from(["tanh", "relu", "gelu", "softplus"]))
def test_permuting_hidden_units_leaves_the_output(sizes, seed, activation):
    network, X, rng = drawn(sizes, seed, activation)
    before = network.forward(X)
    k = rng.integers(len(sizes) - 2)
    order = rng.permutation(sizes[k + 1])
    network.coefs[k][:] = network.coefs[k][:, order]
    network.intercepts[k][:] = network.intercepts[k][order]
    network.coefs[k + 1][:] = network.coefs[k + 1][order]
    assert_close(network.forward(X), before)


@many
@given(widths, seeds)
def test_a_linear_network_is_the_product_of_its_matrices_p65_8(sizes, seed):
    network, X, _ = drawn(sizes, seed, "identity")
    product, offset = np.eye(sizes[0]), np.zeros(sizes[0])
    for W, b in zip(network.coefs, network.intercepts, strict=True):
        product, offset = product @ W, offset @ W + b
    assert_close(network.forward(X), X @ product + offset)


@many
@given(widths, seeds)
def test_two_sided_relu_with_minus_one_is_the_absolute_value_p65_4(sizes, seed):
    network, X, _ = drawn(sizes, seed, ("two_sided_relu", -1.0))
    y = X
    for W, b in zip(network.coefs[:-1], network.intercepts[:-1], strict=True):
        y = np.abs(y @ W + b)
    expected = y @ network.coefs[-1] + network.intercepts[-1]
    assert_close(network.forward(X), expected)


@many
@given(widths, seeds, st.floats(0.01, 5))
def test_two_sided_relu_is_a_difference_of_relus(sizes, seed, alpha):
    network, X, _ = drawn(sizes[:2] + sizes[-1:], seed, ("two_sided_relu", alpha))
    pairs = Network([sizes[0], 2 * sizes[1], sizes[-1]], "relu")
    W, V = network.coefs
    pairs.coefs[0][:] = np.hstack([W, -W])
    pairs.intercepts[0][:] = np.r_[network.intercepts[0], -network.intercepts[0]]
    pairs.coefs[1][:] = np.vstack([V, -alpha * V])
    pairs.intercepts[1][:] = network.intercepts[1]
    assert_close(pairs.forward(X), network.forward(X))


@many
@given(widths, seeds, scales)
def test_relu_networks_are_homogeneous_in_each_layer(sizes, seed, scale):
    network, X, rng = drawn(sizes, seed, "relu")
    before = network.forward(X)
    k = rng.integers(len(sizes) - 2)
    network.coefs[k] *= scale
    network.intercepts[k] *= scale
    network.coefs[k + 1] /= scale
    assert_close(network.forward(X), before)


@many
@given(widths, seeds, st.floats(-50, 50))
def test_softmax_ignores_a_shift_of_all_logits(sizes, seed, shift):
    options = {"output_activation": "softmax", "loss": "log_loss"}
    network, X, _ = drawn([*sizes, 3], seed, **options)
    before = network.forward(X)
    network.intercepts[-1] += shift
    assert_close(network.forward(X), before)
    assert_close(before.sum(axis=1), np.ones(11))


@many
@given(widths, seeds)
def test_two_classes_by_softmax_are_one_logistic_output(sizes, seed):
    both = {"output_activation": "softmax", "loss": "log_loss"}
    network, X, _ = drawn([*sizes[:-1], 2], seed, **both)
    one = Network([*sizes[:-1], 1], "tanh", "logistic", loss="log_loss")
    for k, (W, b) in enumerate(zip(network.coefs, network.intercepts, strict=True)):
        last = k == len(sizes) - 2
        one.coefs[k][:] = W[:, 1:] - W[:, :1] if last else W
        one.intercepts[k][:] = b[1:] - b[:1] if last else b
    assert_close(one.forward(X)[:, 0], network.forward(X)[:, 1])


@many
@given(widths, seeds, scales, st.floats(-3, 3))
def test_batch_norm_ignores_scale_and_shift_of_what_enters_it(
    sizes, seed, scale, shift
):
    options = {"batch_norm": BatchNorm("hidden+input", epsilon=1e-300)}
    network, X, rng = drawn(sizes, seed, **options)
    T = rng.normal(size=(11, sizes[-1]))
    before = network.loss(X, T)
    network.coefs[0] *= scale
    assert abs(network.loss(scale * X + shift, T) - before) < 1e-9 * max(1, before)


@many
@given(st.integers(1, 9), seeds)
def test_a_residual_layer_of_zero_weights_is_the_identity(width, seed):
    network, X, _ = drawn([4, width, width, width, 3], seed, residual=True)
    for k in (1, 2):
        network.coefs[k][:] = network.intercepts[k][:] = 0
    shallow = Network([4, width, 3], "tanh")
    for k, other in enumerate((0, 3)):
        shallow.coefs[k][:] = network.coefs[other]
        shallow.intercepts[k][:] = network.intercepts[other]
    assert_close(network.forward(X), shallow.forward(X))


@many
@given(seeds, st.sampled_from(["train", "test"]))
def test_dropped_units_could_as_well_not_be_there(seed, scaling):
    rng = oracle.rng_of(seed)
    net = oracle.make_net(rng, [3, 8, 2], dropout=[0.0, 0.5], scaling=scaling)
    X, T = oracle.random_data(rng, net)
    twin = twin_of(net)
    [[_, mask]] = masks_of(twin, seed, [np.arange(7)])
    twin.coefs[0][:, mask == 0] = np.nan
    twin.coefs[1][mask == 0] = np.nan
    twin.intercepts[0][mask == 0] = np.nan
    plan_of(twin, 7).epoch(twin.data(X, T), 7, None, 1.0, seed)
    g = vector(oracle.flat(oracle.gradients(net, X, T, masks=[None, mask])))
    kept = vector(oracle.kept(net, [None, mask])) > 0
    expected = vector(oracle.parameters(net)) - g
    assert_close(twin.params[kept], expected[kept])
    assert np.isnan(twin.params[~kept]).all()
