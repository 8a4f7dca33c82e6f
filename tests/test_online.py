"""Epochs of single samples: the plain order of operations, to rounding."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from functools import cache, partial

import numpy as np
import oracle
import pytest
import scipy.sparse
from numpy.testing import assert_array_equal
from oracle.network import penalty as penalty_of
from twins import (
    either_dtype,
    masks_of,
    on_every_isa,
    rounded,
    run_of,
    twin_of,
    vector,
)

from mlp.training.minibatch import Penalties

EPOCHS = 3
SEED = 7


@cache
def case(
    sizes, hidden="relu", output="identity", n=25, zeros=0.5, steps=32, **penalties
):
    """Network, inputs with many exact zeros, targets, and an order that repeats some."""
    rng = oracle.rng_of(*sizes, n)
    loss = "log_loss" if output == "softmax" else "squared_error"
    net = oracle.make_net(rng, list(sizes), hidden, output, loss=loss, **penalties)
    X, T = oracle.random_data(rng, net, n)
    X[rng.random(X.shape) < zeros] = 0
    return (*rounded(net, X, T), rng.integers(0, n, steps))


@cache
def plainly(rate, sizes, weighted=False, **options):
    """Parameters and mean losses of the twin, a sample a step [S 65.87]."""
    net, X, T, order = case(sizes, **options)
    w = weights(len(X)) if weighted else np.ones(len(X))
    n_outputs = sizes[-1] if net.loss == "squared_error" else 1
    losses = np.zeros(EPOCHS)
    for epoch in range(EPOCHS):
        for i in [[i] for i in order if w[i] > 0]:
            penalty = penalty_of(net, w[i].sum())
            # the squared error is reported as its mean over the outputs
            error = oracle.loss(net, X[i], T[i], w[i]) - penalty
            losses[epoch] += (error / n_outputs + penalty) / len(order)
            params = oracle.parameters(net)
            grads = oracle.flat(oracle.gradients(net, X[i], T[i], w[i]))
            net = oracle.with_parameters(net, oracle.sgd(params, grads, {}, lr=rate))
    return vector(oracle.parameters(net)), losses


def weights(n):
    w = np.random.default_rng(3).uniform(0.25, 2, n).astype(np.float32)
    w[::4] = 0
    return w.astype(np.float64)


def online(rate, sizes, dtype, weighted=False, sparse=False, **options):
    """The same of the core, from dense or CSR rows."""
    net, X, T, order = case(sizes, **options)
    twin = twin_of(net, dtype)
    run = run_of(
        twin,
        scipy.sparse.csr_array(X) if sparse else X,
        T,
        rate=rate,
        samples=order,
        sample_weight=weights(len(X)) if weighted else None,
        penalties=vars(Penalties(net.alpha, net.l2)),
    )
    return twin.params, [run.epoch() for _ in range(EPOCHS)]


def assert_plain(rate, sizes, dtype, *, sparse=False, bound=None, **options):
    expected = plainly(rate, sizes, **options)
    actual = online(rate, sizes, dtype, sparse=sparse, **options)
    # EPOCHS × 32 steps, each with a few roundings that the next ones carry on
    bound = bound or 200 * float(np.finfo(dtype).eps)
    for a, b in zip(actual, expected, strict=True):
        assert np.all(np.isfinite(a))
        assert oracle.relative_error([a], [b]) < bound


either_container = pytest.mark.parametrize(
    "sparse", [False, True], ids=["dense", "csr"]
)


# ---- shapes and activations -------------------------------------------------------------


@on_every_isa
@either_dtype
@either_container
@pytest.mark.parametrize("width", [1, 2, 10, 16, 17, 33, 100])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_layers_of_any_width(width, depth, sparse, dtype, isa):
    sizes = (13, *[width] * depth, 3)
    assert_plain(0.02, sizes, dtype, sparse=sparse)
    assert_plain(0.02, sizes, dtype, sparse=sparse, alpha=0.3)


@on_every_isa
@either_dtype
@either_container
@pytest.mark.parametrize("sizes", [(1, 1), (7, 1), (40, 2), (5, 33), (70, 100)])
def test_without_hidden_layers(sizes, sparse, dtype, isa):
    assert_plain(0.01, sizes, dtype, sparse=sparse, alpha=0.3)


@on_every_isa
@either_dtype
@pytest.mark.parametrize("sizes", [(6, 50, 3, 40, 2), (6, 3, 50, 1), (30, 40, 64, 20)])
@pytest.mark.parametrize("hidden", ["relu", "tanh", "leaky_relu", "softplus", "gelu"])
def test_narrow_and_wide_layers_by_turns(hidden, sizes, dtype, isa):
    assert_plain(0.02, sizes, dtype, hidden=hidden)
    assert_plain(0.02, sizes, dtype, hidden=hidden, l2=0.05)


@on_every_isa
@either_dtype
@either_container
@pytest.mark.parametrize("output", ["softmax", "tanh"])
def test_other_outputs(output, sparse, dtype, isa):
    options = {"output": output, "hidden": "tanh", "sparse": sparse}
    assert_plain(0.1, (9, 20, 4), dtype, **options)
    assert_plain(0.1, (9, 20, 4), dtype, **options, alpha=0.1)


@on_every_isa
@either_dtype
def test_layers_and_nodes_that_differ(isa, dtype):
    hidden = [["relu", "tanh", "gelu", "relu", ("elu", 0.5)], "relu", "softplus"]
    net = oracle.make_net(oracle.rng_of(1), [4, 5, 30, 6, 2], hidden)
    X, T = oracle.random_data(oracle.rng_of(2), net, 30)
    net, X, T = rounded(net, X, T)
    twin = twin_of(net, dtype)
    run_of(twin, X, T, rate=0.02).epoch()
    update = partial(oracle.sgd, lr=0.02)
    net, _ = oracle.train_epoch(net, X, T, [[i] for i in range(30)], update, {})
    expected = vector(oracle.parameters(net))
    bound = 200 * float(np.finfo(dtype).eps)
    assert oracle.relative_error([twin.params], [expected]) < bound


@on_every_isa
@either_dtype
@either_container
@pytest.mark.parametrize("zeros", [0, 0.9, 1])
def test_exact_zeros_among_the_inputs(zeros, sparse, dtype, isa):
    for sizes in [(50, 20, 2), (50, 2)]:
        assert_plain(0.02, sizes, dtype, sparse=sparse, zeros=zeros, alpha=0.2)


@on_every_isa
@either_dtype
def test_a_layer_of_dead_units(dtype, isa):
    net, X, T, _ = case((5, 20, 20, 1))
    net = oracle.with_parameters(net, oracle.parameters(net))
    net.b[0][:] = -100
    twin = twin_of(net, dtype)
    run_of(twin, X, T, rate=0.02).epoch()
    assert_array_equal(twin.coefs[0], net.W[0].astype(dtype))
    assert twin.intercepts[2] != net.b[2].astype(dtype)


@on_every_isa
@either_dtype
@pytest.mark.parametrize("hidden", ["tanh", "leaky_relu", "identity"])
@pytest.mark.parametrize("sizes", [(5, 20, 2), (5, 6, 40, 40, 1)])
def test_a_unit_at_zero_learns_where_its_slope_is_not_zero(sizes, hidden, dtype, isa):
    net, X, T, _ = case(sizes, hidden=hidden)
    W, b = [0 * net.W[0], *net.W[1:]], [0 * net.b[0], *net.b[1:]]
    net = oracle.with_parameters(net, [*W, *b])
    twin = twin_of(net, dtype)
    run_of(twin, X, T, rate=0.05).epoch()
    steps = [[i] for i in range(len(X))]
    net, _ = oracle.train_epoch(net, X, T, steps, partial(oracle.sgd, lr=0.05), {})
    bound = 100 * float(np.finfo(dtype).eps)
    expected = vector(oracle.parameters(net))
    assert oracle.relative_error([twin.params], [expected]) < bound


@on_every_isa
@either_dtype
def test_repeated_entries_of_a_sparse_row_add_up(dtype, isa):
    net, _, T, order = case((6, 20, 1), n=3, alpha=0.5)
    indices, indptr = [0, 3, 0, 2, 2, 5, 1], [0, 3, 5, 7]
    values = np.array([1.0, 2, 3, 1, 1, 4, -1], dtype)
    X = scipy.sparse.csr_array((values, indices, indptr), (3, 6))
    results = []
    for rows in (X, X.toarray()):
        twin = twin_of(net, dtype)
        run = run_of(twin, rows, T, rate=0.02, samples=order, penalties={"alpha": 0.5})
        results.append([twin.params, [run.epoch()]])
    bound = 50 * float(np.finfo(dtype).eps)
    for repeated, dense in zip(*results, strict=True):
        assert oracle.relative_error([repeated], [dense]) < bound


# ---- strips of columns, and threads ------------------------------------------------------


@on_every_isa
@either_dtype
@either_container
@pytest.mark.parametrize("sizes", [(9, 300, 2), (9, 130, 520, 3), (6, 270, 3, 600)])
def test_layers_of_several_strips(sizes, sparse, dtype, isa):
    assert_plain(2e-4, sizes, dtype, sparse=sparse, alpha=0.3)
    assert_plain(2e-4, sizes, dtype, sparse=sparse, hidden="tanh")


def assert_bits_of_any_threads(sizes, dtype, sparse, weighted, **options):
    """An epoch begins with all threads, goes on with one, and chooses."""
    net, X, T, order = case(sizes, n=40, steps=1000, **options)
    penalties = vars(Penalties(net.alpha, net.l2))
    rows = scipy.sparse.csr_array(X) if sparse else X
    results = []
    for n_threads in (1, 2, 4):
        twin = twin_of(net, dtype)
        norms = np.zeros(len(sizes) - 1)
        plan = run_of(twin, rows, T, n_threads=n_threads, penalties=penalties).plan
        assert plan.threads == n_threads
        data = twin.data(rows, T, weights(len(X)) if weighted else None)
        loss = plan.epoch(data, 1, order, 1e-3, gradient_norms=norms)
        assert np.isfinite(loss)
        results.append([twin.params, loss, norms])
    for others in results[1:]:
        for one, several in zip(results[0], others, strict=True):
            assert_array_equal(one, several)


@either_dtype
@either_container
@pytest.mark.parametrize(
    "options",
    [{}, {"alpha": 1e-3}, {"l2": 20.0, "weighted": True}, {"hidden": "gelu"}],
    ids=["plain", "alpha", "folded", "gelu"],
)
def test_number_of_threads_does_not_change_a_bit(options, sparse, dtype):
    weighted = options.get("weighted", False)
    options = {k: v for k, v in options.items() if k != "weighted"}
    # narrow layers between wide ones, and work enough for 4 threads, sparse inputs included
    sizes = (200, 1100, 24, 1200, 900, 5)
    assert_bits_of_any_threads(sizes, dtype, sparse, weighted, **options)


# at −1 every perturbation grows, whatever the order of operations
FACTORS = [0.999, 0.6, 0.5, 0.05, 1e-6, 1e-13, 0.0, -0.01, -0.5]
RATE = 1 / 64  # a power of two: the factor 0 is exact


# ---- a first layer whose updates wait for the end of a run -------------------------------

RUN = 24  # samples; W large and its inputs mostly not zero
LARGE_FIRST = [(60, 100, 3), (26, 270, 20, 2), (200, 40), (2000, 7, 1), (130, 300, 33)]


@on_every_isa
@either_dtype
@pytest.mark.parametrize("sizes", LARGE_FIRST)
def test_delayed_updates(sizes, dtype, isa):
    rate = 0.3 / sizes[0]
    for steps in (1, RUN - 1, RUN, RUN + 1, 3 * RUN + 7):
        options = {"hidden": "tanh", "zeros": 0.3, "steps": steps}
        assert_plain(rate, sizes, dtype, **options, alpha=0.2)
        assert_plain(rate, sizes, dtype, **options, weighted=True, l2=0.01)


@on_every_isa
@either_dtype
@pytest.mark.parametrize("factor", FACTORS)
def test_delayed_updates_and_decay_by_any_factor(factor, dtype, isa):
    """W = s V, and s is multiplied into V and what waits for it amid a run."""
    l2 = (1 - factor) / (2 * RATE)
    options = {"hidden": "tanh", "zeros": 0, "steps": 60, "l2": l2}
    assert_plain(RATE, (60, 100, 3), dtype, **options)


@either_dtype
@pytest.mark.parametrize("weighted", [False, True])
def test_delayed_updates_by_several_threads_have_the_same_bits(weighted, dtype):
    options = {"zeros": 0.1, "l2": 20.0}
    assert_bits_of_any_threads((300, 1100, 300, 5), dtype, False, weighted, **options)


@pytest.mark.skipif(os.name == "nt", reason="SIGALRM of POSIX")
@either_dtype
@pytest.mark.parametrize("seconds", [0.06, 0.12, 0.2])
def test_interrupted_amid_a_run_the_steps_so_far_are_kept(seconds, dtype):
    """At another place of its run each time."""
    net, X, T, _ = case((1000, 1000, 3), hidden="tanh", zeros=0)
    order = np.random.default_rng(0).integers(0, 25, 60_000)
    rates = 1e-3 / (1 + np.arange(60_000) / 1000)
    twin = twin_of(net, dtype)
    plan = run_of(twin, X, T).plan

    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        with pytest.raises(KeyboardInterrupt):
            plan.epoch(twin.data(X, T), 1, order, rates)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert 0 < plan.steps < len(order)
    again = twin_of(net, dtype)
    run_of(again, X, T).plan.epoch(again.data(X, T), 1, order[: plan.steps], rates)
    assert_array_equal(twin.params, again.params)


# ---- decay ------------------------------------------------------------------------------


@on_every_isa
@either_dtype
@either_container
@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("sizes", [(6, 20, 3), (6, 50, 2, 40, 1), (6, 1)])
def test_decay_by_any_factor(sizes, factor, sparse, dtype, isa):
    """The scale leaves its range after a few samples and is multiplied into the weights."""
    l2 = (1 - factor) / (2 * RATE)
    options = {"hidden": "tanh", "sparse": sparse, "steps": 60}
    assert_plain(RATE, sizes, dtype, **options, l2=l2)


@on_every_isa
@either_dtype
def test_decay_over_many_samples(dtype, isa):
    # 0.96^500 = 1e-9 in each epoch; old roundings decay like the weights
    options = {"hidden": "tanh", "l2": 1.28, "steps": 500}
    assert_plain(RATE, (6, 20, 2), dtype, **options)


@on_every_isa
@either_dtype
def test_decay_beyond_the_range_of_single_precision(dtype, isa):
    # 0.8^500 = 1e-48 in each epoch
    options = {"hidden": "tanh", "l2": 0.1 / RATE, "steps": 500}
    assert_plain(RATE, (6, 20, 2), dtype, **options)


# ---- weights ----------------------------------------------------------------------------


@on_every_isa
@either_dtype
@either_container
@pytest.mark.parametrize("sizes", [(6, 3), (13, 33, 10, 2)])
def test_samples_weigh_on_the_penalty_and_zero_weight_is_no_step(
    sizes, sparse, dtype, isa
):
    assert_plain(0.02, sizes, dtype, sparse=sparse, weighted=True, alpha=0.2, l2=0.01)


@on_every_isa
@either_dtype
def test_the_way_of_a_batch_of_one_agrees(dtype, isa):
    """Options that the per-sample path lacks train by batches, with the same result."""
    net, X, T, order = case((13, 33, 10, 2), alpha=0.2)
    results = []
    for other_way in ({}, {"clip_norm": 1e9}):
        twin = twin_of(net, dtype)
        options = {"rate": 0.02, "samples": order, "penalties": {"alpha": 0.2}}
        run = run_of(twin, X, T, **options, **other_way)
        results.append([twin.params, [run.epoch()]])
    bound = 100 * float(np.finfo(dtype).eps)
    for single, batch in zip(*results, strict=True):
        assert oracle.relative_error([single], [batch]) < bound


def test_a_network_too_deep_for_it_is_trained_all_the_same():
    code = """
        import numpy as np
        from mlp import MLPRegressor
        X = np.random.default_rng(0).normal(size=(20, 2))
        MLPRegressor((3,) * 70, solver="sgd", momentum=0, batch_size=1).partial_fit(X, X)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, (done.returncode, done.stderr)


# ---- interruption by the clock ----------------------------------------------------------


def long_epoch(dtype, order, **penalties):
    """Train a network of a million weights over `order`, in one epoch for each list."""
    net, X, T, _ = case((1000, 1000, 3), hidden="tanh", zeros=0)
    twin = twin_of(net, dtype)
    losses = []
    for samples in order:
        run = run_of(twin, X, T, rate=1e-3, samples=samples, penalties=penalties)
        losses.append(run.epoch())
    return twin.params, np.mean(losses)


@either_dtype
def test_epoch_in_slices_of_time_has_the_bits_of_epochs_without(dtype):
    order = np.random.default_rng(0).integers(0, 25, 600 * RUN)
    begun = time.perf_counter()
    sliced, loss = long_epoch(dtype, [order])
    assert time.perf_counter() - begun > 0.1  # two slices
    whole, losses = long_epoch(dtype, np.split(order, 600))
    assert_array_equal(sliced, whole)
    assert loss == pytest.approx(losses, rel=1e-12)


@either_dtype
def test_slices_do_not_change_a_bit_of_decay_either(dtype):
    order = np.random.default_rng(0).integers(0, 25, 600 * RUN)
    first, second = (long_epoch(dtype, [order], alpha=5.0) for _ in range(2))
    assert_array_equal(first[0], second[0])
    assert first[1] == second[1]


# ---- a rate per step --------------------------------------------------------------------

RATES = 0.05 / np.arange(1, 41)


def falling_rates(sizes, dtype=np.float64, zeros=0.5, dropout=0.0, threads=1):
    """The oracle's parameters and the core's after an epoch by RATES, with decay."""
    net, X, T, order = case(sizes, "tanh", zeros=zeros, steps=40, l2=0.1)
    net = replace(net, dropout=[dropout] * len(net.W))
    twin = twin_of(net, dtype)
    run = run_of(twin, X, T, penalties={"l2": 0.1}, n_threads=threads)
    run.plan.epoch(twin.data(X, T), 1, order, RATES, SEED)
    batches = [[i] for i in order]
    rules = [partial(oracle.sgd, lr=rate) for rate in RATES]
    masks = masks_of(twin, SEED, batches)
    net, _ = oracle.train_epoch(net, X, T, batches, rules, {}, masks=masks)
    return twin.params, vector(oracle.parameters(net))


@on_every_isa
@either_dtype
@pytest.mark.parametrize("zeros, dropout", [(0.9, 0.0), (0.0, 0.0), (0.5, 0.3)])
@pytest.mark.parametrize("sizes", [(6, 20, 3), (60, 100, 40, 3)])
def test_each_step_has_its_own_rate(sizes, zeros, dropout, dtype, isa):
    ours, expected = falling_rates(sizes, dtype, zeros, dropout)
    bound = 200 * float(np.finfo(dtype).eps)
    assert oracle.relative_error([ours], [expected]) < bound


@either_dtype
@pytest.mark.parametrize("zeros", [0.0, 0.9])
def test_rates_per_step_give_the_same_bits_by_several_threads(zeros, dtype):
    sizes = (300, 1100, 300, 5)
    one, *others = (falling_rates(sizes, dtype, zeros, 0.0, n)[0] for n in (1, 2, 3))
    for other in others:
        assert_array_equal(one, other)
