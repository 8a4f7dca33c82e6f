"""Epochs of the core: step for step what the slow twin does, whatever the threads."""

import os
import subprocess
import sys
import textwrap
import time
from functools import partial

import numpy as np
import oracle
import pytest
import scipy.sparse
from numpy.testing import assert_array_equal
from twins import either_dtype, on_every_isa, rounded, run_of, twin_of, vector

PAIRS = {"beta_1": (0.9, 0.5), "beta_2": (0.999, 0.9)}


def adam_of(net, rate=0.01, rule=oracle.adam, **options):
    return partial(rule, lr=rate, **options)


def adamw_of(net):
    decay = oracle.per_parameter(net, 0.3, 0.0)
    return adam_of(net, rule=oracle.adamw, decay=decay)


def adam_of_pairs(net):
    return adam_of(net, betas=oracle.per_parameter(net, (0.9, 0.999), (0.5, 0.9)))


#: name -> (options of the run, the twin's rule for a network)
RULES = {
    "sgd": ({"rate": 0.1}, lambda net: partial(oracle.sgd, lr=0.1)),
    "momentum": (
        {"rate": 0.1, "momentum": 0.8},
        lambda net: partial(oracle.momentum, lr=0.1, beta=0.8),
    ),
    "nesterov": (
        {"rate": 0.1, "momentum": 0.9, "nesterov": True},
        lambda net: partial(oracle.nesterov, lr=0.1, beta=0.9),
    ),
    "adam": ({"solver": "adam", "rate": 0.01}, adam_of),
    "adam, betas in pairs": ({"solver": "adam", "rate": 0.01, **PAIRS}, adam_of_pairs),
    "adam, large epsilon": (
        {"solver": "adam", "rate": 0.01, "epsilon": 0.1},
        partial(adam_of, eps=0.1),
    ),
    "adamw": ({"solver": "adamw", "rate": 0.01, "weight_decay": 0.3}, adamw_of),
}
every_rule = pytest.mark.parametrize("rule", RULES)
PENALTIES = ("alpha", "l2", "l1", "l2_bias", "l1_method")


def case(n=53, sizes=(9, 17, 6, 3), hidden="tanh", output="softmax", **penalties):
    rng = oracle.rng_of(n, *sizes)
    loss = "log_loss" if output == "softmax" else "squared_error"
    net = oracle.make_net(rng, list(sizes), hidden, output, loss=loss, **penalties)
    X, T = oracle.random_data(rng, net, n)
    return (*rounded(net, X, T), rng.permutation(n))


def ours(rule, net, X, T, order, batch_size, dtype=np.float64, epochs=3, **options):
    """Parameters and losses after some epochs of the core."""
    twin = twin_of(net, dtype)
    penalties = {name: getattr(net, name) for name in PENALTIES}
    run = run_of(
        twin,
        X,
        T,
        batch_size=batch_size,
        samples=order,
        penalties=penalties,
        **RULES[rule][0],
        **options,
    )
    return twin.params, [run.epoch() for _ in range(epochs)]


def theirs(rule, net, X, T, order, batch_size, epochs=3, **options):
    """The same of the twin."""
    update, state, losses = RULES[rule][1](net), {}, []
    batches = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    for _ in range(epochs):
        net, loss = oracle.train_epoch(net, X, T, batches, update, state, **options)
        losses.append(loss)
    return vector(oracle.parameters(net)), losses


def assert_same(actual, expected, bound=1e-10):
    for a, b in zip(actual, expected, strict=True):
        assert oracle.relative_error([a], [b]) < bound


# ---- the same steps as the twin ---------------------------------------------------------


@on_every_isa
@every_rule
@pytest.mark.parametrize("batch_size", [1, 2, 8, 53])  # 53 = 6·8 + 5
def test_three_epochs_are_that_of_numpy(batch_size, rule, isa):
    args = rule, *case(alpha=0.3), batch_size
    assert_same(ours(*args), theirs(*args))


@on_every_isa
@every_rule
def test_single_precision_differs_by_its_roundings(rule, isa):
    args = rule, *case(alpha=0.3), 8
    # 21 steps of some tens of roundings each
    assert_same(ours(*args, dtype=np.float32), theirs(*args), 1000 * 2.0**-24)


@on_every_isa
@every_rule
@pytest.mark.parametrize("batch_size", [1, 8])
@pytest.mark.parametrize(
    "penalties",
    [
        {"alpha": 2.0},
        {"l2": 0.05},
        {"l1": 0.02},
        {"l2": 0.05, "l2_bias": True},
        {"alpha": 0.7, "l2": 0.02, "l1": 0.01, "l2_bias": True},
        {"l1": 0.02, "l1_method": "proximal"},
        {"alpha": 0.7, "l2": 0.02, "l1": 0.1, "l1_method": "proximal"},
    ],
    ids=str,
)
def test_penalties_are_that_of_numpy(penalties, batch_size, rule, isa):
    args = rule, *case(n=21, **penalties), batch_size
    assert_same(ours(*args), theirs(*args))


@on_every_isa
@pytest.mark.parametrize("rule", ["sgd", "momentum", "adam", "adamw"])
@pytest.mark.parametrize("batch_size", [1, 8])
@pytest.mark.parametrize(
    "clipping",
    [
        {"clip_norm": 0.05},
        {"clip_norm": 1e6},
        {"clip_value": 0.01},
        {"clip_norm": 0.1, "clip_value": 0.02},
    ],
    ids=str,
)
def test_clipping_of_the_penalised_gradient_is_that_of_numpy(
    clipping, batch_size, rule, isa
):
    args = rule, *case(n=21, alpha=0.5, l1=0.01), batch_size
    assert_same(ours(*args, **clipping), theirs(*args, **clipping))


@on_every_isa
@every_rule
@pytest.mark.parametrize("batch_size", [1, 8, 53])
def test_sample_weights_are_that_of_numpy(batch_size, rule, isa):
    args = rule, *case(alpha=0.3), batch_size
    w = np.random.default_rng(4).uniform(0.5, 3, 53)
    if batch_size > 1:
        w[::3] = 0
    assert_same(ours(*args, sample_weight=w), theirs(*args, sample_weight=w))


@on_every_isa
@every_rule
@pytest.mark.parametrize("batch_size", [1, 8])
def test_batch_of_no_weight_is_no_step(batch_size, rule, isa):
    net, X, T, order = case(alpha=0.3)
    w = np.ones(53)
    w[order[8:16]] = 0
    params, _ = ours(rule, net, X, T, order, batch_size, sample_weight=w)
    kept = np.delete(order, np.s_[8:16])
    expected, _ = theirs(rule, net, X, T, kept, batch_size)
    assert_same([params], [expected])


@on_every_isa
@pytest.mark.parametrize("rule", ["sgd", "adam"])
@pytest.mark.parametrize("batch_size", [4097, 9000, 10000])
@pytest.mark.parametrize("make", [np.asarray, scipy.sparse.csr_array])
def test_batch_larger_than_the_workspace_is_one_step(make, batch_size, rule, isa):
    net, X, T, order = case(n=9000, sizes=(3, 5, 2), alpha=0.3)
    w = np.random.default_rng(4).uniform(0, 3, 9000)
    actual = ours(rule, net, make(X), T, order, batch_size, sample_weight=w)
    assert_same(actual, theirs(rule, net, X, T, order, batch_size, sample_weight=w))


@on_every_isa
@every_rule
@pytest.mark.parametrize("sizes", [(4, 1), (9, 1, 1), (5, 40, 33, 1)])
def test_squared_error_of_one_output_is_that_of_numpy(sizes, rule, isa):
    args = rule, *case(n=30, sizes=sizes, hidden="relu", output="identity"), 7
    assert_same(ours(*args), theirs(*args))


def test_reported_squared_error_is_averaged_over_outputs_but_its_gradient_is_not():
    net, X, T, order = case(n=30, output="identity")
    params, losses = ours("sgd", net, X, T, order, 30)
    expected, sums = theirs("sgd", net, X, T, order, 30)
    assert_same([params, losses], [expected, np.array(sums) / 3])


@on_every_isa
@every_rule
@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_sparse_rows_are_trained_on_as_dense(batch_size, rule, isa):
    net, X, T, order = case(n=30, alpha=0.3)
    X[np.random.default_rng(0).random(X.shape) < 0.7] = 0
    sparse = scipy.sparse.csr_array(X)
    actual = ours(rule, net, sparse, T, order, batch_size)
    assert_same(actual, theirs(rule, net, X, T, order, batch_size))


def test_shuffling_permutes_the_order_of_the_epoch_before():
    net, X, T, _ = case()
    twin, state = twin_of(net), {}
    rng = np.random.RandomState(5)
    run = run_of(twin, X, T, batch_size=8, shuffle=True, rng=np.random.RandomState(5))
    order = np.arange(53)
    for _ in range(3):
        permutation = np.arange(53)
        rng.shuffle(permutation)
        order = order[permutation]
        batches = np.split(order, range(8, 53, 8))
        net, loss = oracle.train_epoch(
            net, X, T, batches, partial(oracle.sgd, lr=0.1), state
        )
        assert run.epoch() == pytest.approx(loss, rel=1e-12)
    assert_same([twin.params], [vector(oracle.parameters(net))])


# ---- the same bits ----------------------------------------------------------------------

WIDE = {
    "adam": ("adam", {}),
    "nesterov with clipping": ("nesterov", {"clip_norm": 0.5}),
    "sgd with weights": ("sgd", {"sample_weight": np.linspace(0, 2, 700)}),
    "adamw in a ragged batch": ("adamw", {"batch_size": 333}),
}


def wide_case(**penalties):
    return case(n=700, sizes=(130, 190, 70, 10), alpha=1e-3, l1=1e-4, **penalties)


@on_every_isa
@either_dtype
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("rule, options", WIDE.values(), ids=WIDE)
def test_number_of_threads_does_not_change_a_bit(rule, options, sparse, dtype, isa):
    net, X, T, order = wide_case()
    X = scipy.sparse.csr_array(np.where(X > 1, X, 0)) if sparse else X
    options = {"batch_size": 200, **options}
    runs = [
        ours(rule, net, X, T, order, dtype=dtype, n_threads=n, epochs=2, **options)
        for n in (1, 2, 3, 4)
    ]
    for params, losses in runs[1:]:
        assert_array_equal(params, runs[0][0])
        assert losses == runs[0][1]


@either_dtype
def test_those_threads_are_really_used(dtype):
    net, X, T, _ = wide_case()
    run = run_of(twin_of(net, dtype), X, T, batch_size=200, n_threads=4)
    assert run.plan.threads == 4


def test_a_small_network_stays_on_one_thread():
    net, X, T, _ = case()
    assert run_of(twin_of(net), X, T, batch_size=8, n_threads=4).plan.threads == 1


@on_every_isa
@either_dtype
@pytest.mark.parametrize("batch_size", [1, 32])
@every_rule
def test_the_same_training_twice_gives_the_same_bits(rule, batch_size, dtype, isa):
    args = rule, *case(), batch_size
    first, second = (ours(*args, dtype=dtype) for _ in range(2))
    assert_array_equal(first[0], second[0])
    assert first[1] == second[1]


def test_epoch_in_slices_of_time_gives_the_same_bits():
    # a run looks for signals, and tries its threads, at moments that follow the clock
    net, X, T, order = wide_case()
    args = "adam", net, X, T, np.tile(order, 200), 50
    begun = time.perf_counter()
    first = ours(*args, epochs=1)
    assert time.perf_counter() - begun > 0.1
    second = ours(*args, epochs=1, n_threads=2)
    assert_array_equal(first[0], second[0])
    assert first[1] == second[1]


# ---- other processes --------------------------------------------------------------------


def python(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_trains_with_threads_of_its_own():
    done = python(
        """
        import os
        import numpy as np
        from mlp import MLPRegressor

        X = np.random.default_rng(0).normal(size=(600, 120))
        model = MLPRegressor((200, 100), max_iter=3, tol=0, n_threads=2, random_state=0)
        expected = model.fit(X, X[:, 0]).predict(X)
        for _ in range(5):
            child = os.fork()
            if child == 0:
                same = np.array_equal(model.fit(X, X[:, 0]).predict(X), expected)
                os._exit(0 if same else 3)
            assert os.waitpid(child, 0)[1] == 0
        assert np.array_equal(model.fit(X, X[:, 0]).predict(X), expected)
        """
    )
    assert done.returncode == 0, done.stderr


@on_every_isa
def test_mlp_isa_forces_an_instruction_set(isa):
    code = "from mlp import _core; print(_core.ISA)"
    assert python(code, MLP_ISA=isa).stdout.strip() == isa


def test_an_unknown_instruction_set_is_refused_by_name():
    done = python("import mlp; mlp.Network", MLP_ISA="mmx")
    assert done.returncode != 0
    assert "MLP_ISA='mmx'" in done.stderr
    assert "scalar" in done.stderr
