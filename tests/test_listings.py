"""One epoch of every training listing of the chapter, step for step as printed.

The listings' squared error is ours, ½‖γ̂ − γ‖²; θ is subtracted there, b = −θ added here.
"""

import numpy as np
import oracle
import pytest
from twins import batches_of, masks_of, on_every_isa, plan_of, twin_of, vector

pytestmark = [on_every_isa, pytest.mark.usefixtures("isa")]

RATE, RHO, SEED = 0.1, 0.05, 3
SIZES = [3, 7, 5, 2]
ORDER = np.array([3, 1, 4, 0, 5, 2, 6, 7, 10, 8, 9])
BATCHES = batches_of(ORDER, 4)
OUTPUTS = {
    "tanh": ("squared_error", oracle.boundary_squared),
    "softmax": ("squared_error", oracle.boundary_softmax_squared),
}


def make_case(output="tanh", loss="squared_error", **options):
    """The oracle's network, samples, and what every listing is given first."""
    net = oracle.make_net(
        oracle.rng_of(43), SIZES, ["tanh", "softplus"], output, loss=loss, **options
    )
    X, T = oracle.random_data(oracle.rng_of(44), net, n=len(ORDER))
    return net, X, T, (net.W, [-b for b in net.b])


def epoch(net, X, T, batch_size=4, rate=RATE, **options):
    """The twin after one epoch of the core with penalty ρ."""
    twin = twin_of(net)
    plan = plan_of(twin, batch_size, penalties={"l2": RHO}, **options)
    plan.epoch(twin.data(X, T), batch_size, ORDER, rate, SEED)
    return twin


def assert_ends_at(twin, W, theta, scales=()):
    expected = vector([*W, *(-t for t in theta), *scales])
    assert oracle.relative_error([twin.params], [expected]) < 1e-10


@pytest.mark.parametrize("output", OUTPUTS)
def test_mini_batch_backpropagation_65_82(output):
    loss, boundary = OUTPUTS[output]
    net, X, T, start = make_case(output, loss)
    listing = oracle.listing_65_82(
        *start, net.activation, X, T, BATCHES, RATE, RHO, boundary
    )
    assert_ends_at(epoch(net, X, T), *listing)


@pytest.mark.parametrize("output", OUTPUTS)
def test_stochastic_backpropagation_65_87(output):
    loss, boundary = OUTPUTS[output]
    net, X, T, start = make_case(output, loss)
    listing = oracle.listing_65_87(
        *start, net.activation, X, T, ORDER, RATE, RHO, boundary
    )
    assert_ends_at(epoch(net, X, T, batch_size=1), *listing)


@pytest.mark.parametrize("output", ["softmax", "logistic"])
def test_cross_entropy_by_mini_batches_65_149(output):
    net, X, T, start = make_case(output, "log_loss")
    listing = oracle.listing_65_149(*start, net.activation, X, T, BATCHES, RATE, RHO)
    assert_ends_at(epoch(net, X, T), *listing)


@pytest.mark.parametrize("output", ["softmax", "logistic"])
def test_cross_entropy_by_single_samples_65_150(output):
    net, X, T, start = make_case(output, "log_loss")
    listing = oracle.listing_65_150(*start, net.activation, X, T, ORDER, RATE, RHO)
    assert_ends_at(epoch(net, X, T, batch_size=1), *listing)


@pytest.mark.parametrize("rates", [[0.2, 0.5, 0.4], [0.0, 0.5, 0.0], [0.5, 0, 0]])
@pytest.mark.parametrize("scaling", ["train", "test"])
@pytest.mark.parametrize("decay", ["kept", "all"])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_dropout_65_124(batch_size, decay, scaling, rates):
    net, X, T, start = make_case(dropout=rates, scaling=scaling, dropout_decay=decay)
    batches = batches_of(ORDER, batch_size)
    masks = [
        [
            np.ones(n) if mask is None else mask
            for mask, n in zip(m, SIZES, strict=False)
        ]
        for m in masks_of(twin_of(net), SEED, batches)
    ]
    given = X, T, batches, masks, rates, RATE, RHO, scaling
    listing = oracle.listing_65_124(*start, net.activation, *given, decay=decay)
    assert_ends_at(epoch(net, X, T, batch_size), *listing)


def test_dropout_65_124_ends_with_weights_scaled_by_what_was_kept():
    rates = [0.2, 0.5, 0.4]
    net, X, T, _ = make_case(dropout=rates, scaling="test")
    twin = epoch(net, X, T)
    twin.refold()
    scaled = oracle.scaled_for_test(twin.coefs, rates)
    plain = oracle.Net(scaled, twin.intercepts, net.activation)
    expected = oracle.predict(plain, X)
    assert oracle.relative_error([twin.forward(X)], [expected]) < 1e-14


@pytest.mark.parametrize("gradient", ["exact", "diagonal"])
@pytest.mark.parametrize("norm", ["hidden", "all"])
@pytest.mark.parametrize("scale", [None, 0.0])  # as drawn; as the listing starts it
def test_batch_normalisation_65_187(scale, norm, gradient):
    net, X, T, start = make_case(norm=norm, bn_gradient=gradient)
    for layer in net.norm:
        if layer is not None and scale is not None:
            layer.a[:] = scale
    scales = [None if n is None else n.a for n in net.norm[1:]]
    *listing, a, statistics = oracle.listing_65_187(
        *start,
        scales,
        net.activation,
        X,
        T,
        BATCHES,
        RATE,
        RHO,
        normed=[n is not None for n in net.norm[1:]],
        gradient=gradient,
    )
    twin = epoch(net, X, T)
    assert_ends_at(twin, *listing, [s for s in a if s is not None])
    for ours, theirs in zip(twin.statistics, statistics, strict=True):
        if ours is not None:
            assert oracle.relative_error(ours[:2], theirs) < 1e-12


def test_the_gradients_of_65_187_differ_below_the_last_norm_only():
    net, X, T, _ = make_case(norm="hidden")
    exact = epoch(net, X, T, batch_size=11)
    net.bn_gradient = "diagonal"
    diagonal = epoch(net, X, T, batch_size=11)
    assert oracle.relative_error(exact.coefs[1:], diagonal.coefs[1:]) < 1e-14
    assert oracle.relative_error(exact.coefs[:1], diagonal.coefs[:1]) > 1e-3


@pytest.mark.parametrize("theta_betas", [(0.9, 0.999), (0.7, 0.95)])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_adam_65_95(batch_size, theta_betas):
    net, X, T, start = make_case()
    batches = batches_of(ORDER, batch_size)
    given = X, T, batches, 0.01, RHO, (0.9, 0.999), theta_betas
    listing = oracle.listing_65_95(*start, net.activation, *given)
    betas = {f"beta_{i + 1}": (b, theta_betas[i]) for i, b in enumerate((0.9, 0.999))}
    twin = epoch(net, X, T, batch_size, 0.01, solver="adam", **betas)
    assert_ends_at(twin, *listing)
