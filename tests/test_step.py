"""Gradient and step called apart: an epoch of one's own is the built-in one, to the bit."""

from itertools import pairwise

import numpy as np
import pytest
import scipy.sparse
from numpy.testing import assert_array_equal

from mlp import Dropout, Network
from mlp.training.minibatch import Optimizer, Penalties
from mlp.training.schedules import Schedule

N, BATCH, SEED = 23, 6, 11
rng = np.random.default_rng(4)
X = rng.normal(size=(N, 5))
T = rng.normal(size=(N, 2))
WEIGHTS = rng.uniform(0.5, 2, N)
ORDER = rng.permutation(N)[:20]
SOLVERS = {
    "sgd": {"solver": "sgd"},
    "momentum": {"solver": "sgd", "momentum": 0.9},
    "nesterov": {"solver": "sgd", "momentum": 0.9, "nesterov": True},
    "adam": {"solver": "adam", "beta_1": (0.9, 0.8)},
    "adamw": {"solver": "adamw", "weight_decay": 0.1},
}
PENALTIES = {"alpha": 0.1, "l2": 0.01, "l1": 0.01, "l2_bias": True}


def network_of(*, seed=3, dropout=None, mask="batch", sizes=(5, 7, 5, 2), **options):
    net = Network(sizes, ["tanh"] * (len(sizes) - 2), **options)
    net.params[:] = np.random.default_rng(seed).normal(size=net.params.size) / 2
    net.tie()
    if dropout is not None:
        net.configure(dropout=Dropout(dropout, input=0.2, mask=mask))
    net.refold()
    return net


def plan_of(net, optimizer, penalties, *, rows=BATCH + 1, n_threads=1, sparse=False):
    plan = net.plan()
    Penalties(**penalties).attach(plan)
    Optimizer(schedule=Schedule("constant", 1.0), **optimizer).attach(plan)
    plan.allocate(rows, n_threads, sparse)
    return plan


def batches(n, joins_last):
    starts = [*range(0, n, BATCH), n]
    if joins_last and starts[-1] - starts[-2] == 1:
        del starts[-2]
    return pairwise(starts)


def by_steps(plan, data, rates, *, joins_last=False, change=None):
    """An epoch of gradient and step; the mean loss that it reports."""
    total = 0.0
    for k, (first, last) in enumerate(batches(len(ORDER), joins_last)):
        loss = plan.gradient(data, ORDER, first, last, seed=SEED)
        if change is not None:
            change(plan.grads)
        total += (loss + plan.step(rates[k])) * (last - first)
    return total / len(ORDER)


def compare(make, optimizer=None, penalties=PENALTIES, *, sparse=False, **options):
    """Two epochs of either kind leave the same parameters, moments and steps."""
    optimizer = optimizer or SOLVERS["adam"]
    nets = make(), make()
    plans = [plan_of(n, optimizer, penalties, sparse=sparse, **options) for n in nets]
    inputs = scipy.sparse.csr_array(X) if sparse else X
    data = nets[0].data(inputs, T if nets[0].spec.layer_sizes[-1] == 2 else X, WEIGHTS)
    joins = nets[0].spec.batch_norm is not None
    rates = np.linspace(0.1, 0.05, 9)
    for _ in range(2):
        reported = plans[0].epoch(data, BATCH, ORDER, rates, SEED)
        ours = by_steps(plans[1], data, rates, joins_last=joins)
    assert_array_equal(nets[0].params, nets[1].params)
    for name in ("moment_1", "moment_2"):
        moments = [getattr(plan, name) for plan in plans]
        assert (moments[0] is None) == (moments[1] is None)
        if moments[0] is not None:
            assert_array_equal(*moments)
    assert plans[0].steps == plans[1].steps
    for a, b in zip(nets[0].statistics, nets[1].statistics, strict=True):
        assert a is b is None or (a == b).all()
    return reported, ours


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_steps_when_solver_then_bits_of_epoch(solver, dtype):
    compare(lambda: network_of(dtype=dtype), SOLVERS[solver])


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(
    "clip", [{"clip_norm": 0.3}, {"clip_value": 0.01}, {"clip_norm": 1e-9}]
)
def test_steps_when_clipped_then_bits_of_epoch(solver, clip):
    compare(network_of, {**SOLVERS[solver], **clip})


@pytest.mark.parametrize("solver", SOLVERS)
def test_steps_when_proximal_then_bits_of_epoch(solver):
    compare(network_of, SOLVERS[solver], {"l1": 0.05, "l1_method": "proximal"})


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_steps_when_tied_then_bits_of_epoch(dtype):
    compare(
        lambda: network_of(sizes=(5, 7, 3, 7, 5), tied=True, dtype=dtype),
        {**SOLVERS["momentum"], "clip_norm": 0.5},
    )


@pytest.mark.parametrize("batch_norm", ["hidden", "all+input"])
def test_steps_when_batch_norm_then_bits_of_epoch(batch_norm):
    compare(lambda: network_of(batch_norm=batch_norm))


@pytest.mark.parametrize("mask", ["batch", "sample"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_steps_when_dropout_then_bits_of_epoch(solver, mask):
    compare(
        lambda: network_of(dropout=(0.5, 0.3), mask=mask),
        {**SOLVERS[solver], "clip_norm": 0.5},
    )


@pytest.mark.parametrize("sparse", [False, True])
def test_steps_when_pieces_and_threads_then_bits_of_epoch(sparse):
    compare(network_of, rows=4, n_threads=2, sparse=sparse)


def test_steps_when_loss_is_reported_then_it_is_that_of_the_epoch():
    reported, ours = compare(network_of, penalties={})
    assert 2 * reported == pytest.approx(ours, rel=1e-12)  # the mean over the outputs


def test_gradient_when_changed_then_step_uses_it():
    net = network_of()
    plan = plan_of(net, SOLVERS["sgd"], {})
    data = net.data(X, T)
    before = net.params.copy()
    plan.gradient(data)
    plan.grads[:] = 2.0
    assert plan.step(0.5) == 0
    assert_array_equal(net.params, before - 0.5 * 2.0)


def test_gradient_when_two_halves_are_summed_then_that_of_the_whole():
    net = network_of()
    plan, other = plan_of(net, SOLVERS["sgd"], {}), plan_of(net, SOLVERS["sgd"], {})
    data = net.data(X, T, WEIGHTS)
    whole = plan.gradient(data, ORDER)
    weight = WEIGHTS[ORDER].sum()
    parts = [
        other.gradient(data, ORDER, first, last, weight_sum=weight)
        for first, last in ((0, 10), (10, 20))
    ]
    assert sum(parts) == pytest.approx(whole, rel=1e-12)
    first_half = other.gradient(data, ORDER, 0, 10, weight_sum=weight)
    summed = other.grads.copy()
    other.gradient(data, ORDER, 10, 20, weight_sum=weight)
    np.testing.assert_allclose(summed + other.grads, plan.grads, rtol=1e-10, atol=1e-14)
    assert first_half == parts[0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda plan, data: plan.step(0.1), "needs a gradient"),
        (lambda plan, data: plan.gradient(data, ORDER, 5, 5), "range of samples"),
        (lambda plan, data: plan.gradient(data, ORDER, 5, 99), "range of samples"),
        (lambda plan, data: plan.gradient(data, weight_sum=0.0), "must be positive"),
        (lambda plan, data: plan.gradient(data, ORDER.astype(float)), "int64 vector"),
    ],
)
def test_gradient_and_step_when_misused_then_refuse(call, message):
    net = network_of()
    with pytest.raises(ValueError, match=message):
        call(plan_of(net, SOLVERS["sgd"], {}), net.data(X, T))


def test_epoch_when_given_an_order_then_data_are_unchanged():
    net = network_of()
    plan = plan_of(net, SOLVERS["adam"], {})
    data = net.data(X, T)
    plan.epoch(data, BATCH, ORDER, 0.0)
    assert data.shape == X.shape
    assert plan.loss_and_gradient(data) == pytest.approx(net.loss(X, T), rel=1e-12)


@pytest.mark.parametrize("row", [-1, N, 2**62])
def test_order_beyond_the_data_when_given_then_refused(row):
    net = network_of()
    plan = plan_of(net, SOLVERS["adam"], {})
    data, order = net.data(X, T), np.array([0, row])
    with pytest.raises(ValueError, match=f"order must name rows below {N}, got {row}"):
        plan.gradient(data, order)
    with pytest.raises(ValueError, match=f"order must name rows below {N}, got {row}"):
        plan.epoch(data, BATCH, order, 0.1)


def test_plan_without_workspace_when_used_then_refused():
    net = network_of()
    plan, data = net.plan(), net.data(X, T)
    Optimizer("adam", Schedule("constant", 0.1)).attach(plan)
    for use in (plan.gradient, plan.loss_and_gradient, lambda d: plan.epoch(d, BATCH)):
        with pytest.raises(ValueError, match=r"no workspace: call Plan\.allocate"):
            use(data)
    with pytest.raises(ValueError, match="rows must be at least 1"):
        plan.allocate(0)


def test_data_of_none_when_given_then_refused():
    plan = plan_of(network_of(), SOLVERS["adam"], {})
    for use in (plan.gradient, plan.loss_and_gradient, plan.forward):
        with pytest.raises(TypeError, match="None"):
            use(None)


@pytest.mark.parametrize("rate", [-1.0, np.nan, np.inf])
def test_rate_out_of_range_when_stepping_then_refused(rate):
    net = network_of()
    plan = plan_of(net, SOLVERS["adam"], {})
    plan.gradient(net.data(X, T))
    with pytest.raises(ValueError, match="rate must be finite and >= 0"):
        plan.step(rate)
