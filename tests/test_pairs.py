"""Pairs through a twin network: gradients, epochs, and how pairs are drawn."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from numpy.testing import assert_allclose, assert_array_equal
from twins import either_dtype, on_every_isa

from mlp import Network, _core, sample_pairs
from mlp.network.siamese import HEADS, SiameseNetwork, cosines
from mlp.training.checkpoint import Checkpoint
from mlp.training.fit import Fit
from mlp.training.minibatch import Optimizer, Penalties
from mlp.training.pairs import PairOptimizer, PairRun
from mlp.training.report import Observer
from mlp.training.schedules import Schedule
from mlp.training.stopping import Stopping

every_head = pytest.mark.parametrize("head", HEADS)


def make_network(head, activation="tanh", embedding="identity", **options):
    """A random network of five inputs, four outputs, and its head."""
    rng = np.random.default_rng(1)
    twin = Network((5, 7, 4), activation, embedding, **options)
    network = SiameseNetwork(twin, head, (6,), activation)
    for part in network.networks:
        part.params[:] = rng.normal(size=part.params.size)
    network.refold()
    return network


def make_pairs(head, n_pairs=11, n_samples=20):
    """Samples, their pairs, targets and weights."""
    rng = np.random.default_rng(2)
    X = rng.normal(size=(n_samples, 5))
    index = rng.integers(n_samples, size=(n_pairs, 2))
    t = rng.choice(HEADS[head], n_pairs)
    return X, index, t, rng.uniform(0.1, 2, n_pairs)


# ---- NumPy twins -----------------------------------------------------------------------


def tanh_network(network, X):
    """Outputs of each layer of a tanh network, inputs first; the top one is linear."""
    outputs = [X]
    for k, (W, b) in enumerate(zip(network.coefs, network.intercepts, strict=True)):
        z = outputs[-1] @ W + b
        outputs.append(np.tanh(z) if k + 1 < len(network.coefs) else z)
    return outputs


def tanh_gradient(network, outputs, delta):
    """Gradient in the parameters from δ of the top, and ∂Q/∂(inputs)."""
    weights, offsets = [], []
    for k in reversed(range(len(network.coefs))):
        weights.insert(0, (outputs[k].T @ delta).ravel())
        offsets.insert(0, delta.sum(axis=0))
        delta = delta @ network.coefs[k].T
        if k:
            delta *= 1 - outputs[k] ** 2
    return np.concatenate([*weights, *offsets]), delta


def plain_loss_and_gradient(network, U_rows, V_rows, t, w):
    """Mean loss of a tanh network's pairs and its gradient, by the shortest route."""
    both = tanh_network(network.branch, np.vstack([U_rows, V_rows]))
    U, V = np.split(both[-1], 2)
    w = w / w.sum()
    head_gradient = []
    if network.kind == "cosine":
        u, v = (np.linalg.norm(E, axis=1) for E in (U, V))
        c = (U * V).sum(axis=1) / (u * v)
        loss = w @ (c - t) ** 2 / 2
        slope = (w * (c - t) / (u * v))[:, None]
        dU = slope * (V - (c * v / u)[:, None] * U)
        dV = slope * (U - (c * u / v)[:, None] * V)
    else:
        joined = abs(U - V) if network.kind == "distance" else np.hstack([U, V])
        layers = tanh_network(network.head, joined)
        p = 1 / (1 + np.exp(-layers[-1][:, 0]))
        if network.kind == "distance":
            loss = -w @ (t * np.log(p) + (1 - t) * np.log(1 - p))
            delta = w * (p - t)
        else:
            loss = w @ (p - t) ** 2 / 2
            delta = w * (p - t) * p * (1 - p)
        gradient, down = tanh_gradient(network.head, layers, delta[:, None])
        head_gradient = [gradient]
        if network.kind == "distance":
            dU, dV = np.sign(U - V) * down, np.sign(V - U) * down
        else:
            dU, dV = np.hsplit(down, 2)
    gradient = tanh_gradient(network.branch, both, np.vstack([dU, dV]))[0]
    return loss, np.concatenate([gradient, *head_gradient])


@on_every_isa
@every_head
@pytest.mark.parametrize("n_pairs", [1, 3, 11, 40])
def test_loss_and_gradient_are_those_of_numpy(head, n_pairs, isa):
    network = make_network(head)
    X, index, t, w = make_pairs(head, n_pairs)
    loss, gradient = network.loss_and_gradient(network.data(X, index, t, w))
    twin = plain_loss_and_gradient(network, X[index[:, 0]], X[index[:, 1]], t, w)
    assert_allclose(loss, twin[0], rtol=1e-12)
    assert_allclose(gradient, twin[1], rtol=1e-10, atol=1e-13)


@every_head
@pytest.mark.parametrize(
    "activation, embedding", [("tanh", "identity"), ("gelu", "tanh"), ("tanh", "elu")]
)
@pytest.mark.parametrize("batch_norm", [None, "all+input"])
def test_gradient_by_central_differences(head, activation, embedding, batch_norm):
    network = make_network(head, activation, embedding, batch_norm=batch_norm)
    data = network.data(*make_pairs(head))
    gradient = network.loss_and_gradient(data)[1]
    slopes = []
    for part in network.networks:
        for k, value in enumerate(part.params.copy()):
            around = []
            for step in (1e-6, -1e-6):
                part.params[k] = value + step
                around.append(network.loss_and_gradient(data)[0])
            part.params[k] = value
            slopes.append((around[0] - around[1]) / 2e-6)
    assert np.abs(gradient).max() > 1e-3
    assert_allclose(gradient, slopes, atol=1e-8)


def run_epochs(network, given, penalties=(), n_epochs=3, solver="sgd", **options):
    options = {
        "batch_size": 4,
        "samples": None,
        "schedule": "constant",
        "shuffle": True,
        "rng": np.random.RandomState(3),
        "n_threads": 1,
    } | options
    schedule = Schedule(options.pop("schedule"), 0.1, power_t=1.0)
    optimizer = PairOptimizer(Optimizer(solver, schedule))
    run = PairRun(
        network,
        network.data(*given),
        optimizer,
        Penalties(**dict(penalties)),
        **options,
    )
    losses = [run.epoch() for _ in range(n_epochs)]
    network.refold()
    return losses


@every_head
@pytest.mark.parametrize("schedule", ["constant", "inverse_time"])
@pytest.mark.parametrize("sampling", ["shuffle", "replacement"])
def test_epochs_of_sgd_are_those_of_numpy(head, schedule, sampling):
    X, index, t, w = make_pairs(head)
    chosen = np.array([0, 2, 3, 5, 6, 8, 9, 10, 1])
    ours, plain = make_network(head), make_network(head)
    penalties = {"alpha": 0.3, "l2": 0.01, "l1": 0.02}
    options = {"schedule": schedule, "sampling": sampling}
    losses = run_epochs(ours, (X, index, t, w), penalties, samples=chosen, **options)

    rng, order, steps = np.random.RandomState(3), chosen.copy(), 0
    for epoch_loss in losses:
        if sampling == "replacement":
            order = chosen[rng.randint(0, 9, 9)]
        else:
            rng.shuffle(order)
        total = 0.0
        for rows in (order[:4], order[4:8], order[8:]):
            steps += 1
            rate = 0.1 if schedule == "constant" else 0.1 / steps
            first, second = X[index[rows, 0]], X[index[rows, 1]]
            loss, gradient = plain_loss_and_gradient(
                plain, first, second, t[rows], w[rows]
            )
            at = 0
            for part in plain.networks:
                value, slope = Penalties(**penalties).full_batch(part, w[rows].sum())
                loss += value
                size = part.params.size
                part.params -= rate * (gradient[at : at + size] + slope)
                at += size
            total += loss * len(rows)
        assert_allclose(epoch_loss, total / len(order), rtol=1e-12)
    assert_allclose(ours.params, plain.params, rtol=1e-10, atol=1e-12)


@every_head
def test_a_batch_in_pieces_is_one_step(head):
    given = make_pairs(head, n_pairs=700)
    whole, parts = make_network(head), make_network(head)
    _, gradient = whole.loss_and_gradient(whole.data(*given))  # 512 at once
    run_epochs(parts, given, n_epochs=1, batch_size=700, shuffle=False)
    assert_allclose(whole.params - 0.1 * gradient, parts.params, rtol=1e-11)


@every_head
def test_batch_norm_is_over_both_samples_of_a_batchs_pairs(head):
    given = X, index, t, w = make_pairs(head, n_pairs=9)
    trained = make_network(head, batch_norm="hidden")
    stepped = make_network(head, batch_norm="hidden")
    run_epochs(trained, given, n_epochs=1, shuffle=False)
    for rows in (slice(0, 4), slice(4, 9)):  # a last one by itself joins them
        batch = stepped.data(X, index[rows], t[rows], w[rows])
        gradient = stepped.loss_and_gradient(batch)[1]
        z = X[index[rows].ravel()] @ stepped.branch.coefs[0]
        at = 0
        for part in stepped.networks:
            part.params -= 0.1 * gradient[at : at + part.params.size]
            at += part.params.size
        lam = stepped.branch.spec.batch_norm.momentum
        for kept, seen in zip(
            stepped.branch.statistics[0],
            (z.mean(axis=0), z.var(axis=0, ddof=1)),
            strict=False,
        ):
            kept[:] = lam * kept + (1 - lam) * seen
    assert_allclose(trained.params, stepped.params, rtol=1e-11, atol=1e-13)
    assert_allclose(
        trained.branch.statistics[0][:2], stepped.branch.statistics[0][:2], rtol=1e-11
    )


# ---- the core --------------------------------------------------------------------------


@every_head
@either_dtype
@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_threads_give_the_same_bits(head, dtype, solver):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 90)).astype(dtype)
    index = rng.integers(300, size=(400, 2))
    t = rng.choice(HEADS[head], 400)
    states = []
    for n_threads in (1, 2, 3):
        twin = Network((90, 120, 70), "tanh", dtype=dtype)
        network = SiameseNetwork(twin, head, (100,), "relu")
        draw = np.random.default_rng(1)
        for part in network.networks:
            part.params[:] = draw.normal(size=part.params.size) / 10
        losses = run_epochs(
            network, (X, index, t), batch_size=96, n_threads=n_threads, solver=solver
        )
        states.append((losses, network.params))
    for losses, params in states[1:]:
        assert losses == states[0][0]
        assert_array_equal(params, states[0][1])


def test_the_threads_are_used():
    twin = Network((90, 120, 70), "tanh")
    network = SiameseNetwork(twin, "relation", (500, 500))
    plan = network.plan()
    plan.allocate(96, 3)
    assert plan.branch.threads == plan.head.threads == 3
    plan = SiameseNetwork(twin, "distance").plan()
    plan.allocate(96, 3)
    assert (plan.branch.threads, plan.head.threads) == (3, 1)


@every_head
def test_float32_follows_float64(head):
    X, index, t, w = make_pairs(head)
    states = []
    for dtype in (np.float32, np.float64):
        twin = Network((5, 7, 4), "tanh", dtype=dtype)
        network = SiameseNetwork(twin, head, (6,), "tanh")
        for part, source in zip(
            network.networks, make_network(head).networks, strict=True
        ):
            part.params[:] = source.params
        losses = run_epochs(network, (X, index, t, w), n_epochs=5)
        states.append((losses, network.params))
    assert_allclose(states[0][0], states[1][0], rtol=2e-5)
    assert_allclose(states[0][1], states[1][1], rtol=2e-4, atol=2e-5)


@every_head
def test_sparse_samples_are_those_that_they_hold(head):
    X, index, t, w = make_pairs(head)
    X[np.random.default_rng(0).uniform(size=X.shape) < 0.6] = 0
    dense, sparse = make_network(head), make_network(head)
    losses = run_epochs(dense, (X, index, t, w))
    others = run_epochs(sparse, (scipy.sparse.csr_array(X), index, t, w))
    assert_allclose(losses, others, rtol=1e-12)
    assert_allclose(dense.params, sparse.params, rtol=1e-10, atol=1e-12)


@either_dtype
@pytest.mark.parametrize("size", [0.0, 1e-41, 1e-30])
def test_an_embedding_of_no_length_has_cosine_0_and_no_gradient(dtype, size):
    twin = Network((3, 2), dtype=dtype)  # linear: 0 becomes 0
    twin.coefs[0][:] = [[1, 2], [3, 4], [5, 6]]
    network = SiameseNetwork(twin)
    X = np.array([[size, 0, 0], [1, 0, 0]])
    data = network.data(X, [[0, 1], [1, 0], [0, 0]], [1, 1, -1])
    loss, gradient = network.loss_and_gradient(data)
    if size == 0 or (size == 1e-41 and dtype == np.float32):  # it has lost digits
        assert loss == 0.5
        assert_array_equal(gradient, 0)
    else:
        assert_allclose(loss, 2 / 3, rtol=1e-6)
        assert np.isfinite(gradient).all()
    assert_array_equal(cosines(np.zeros((1, 2)), np.ones((1, 2))), 0)


@every_head
def test_the_cores_door_refuses_what_does_not_fit(head):
    network = make_network(head)
    X, index, t, w = make_pairs(head)
    plan = network.plan()
    data = network.data(X, index, t, w)
    with pytest.raises(ValueError, match="allocate comes first"):
        plan.epoch(data, 4)
    plan.allocate(4)
    with pytest.raises(ValueError, match="no targets"):
        plan.epoch(network.data(X, index), 4)
    with pytest.raises(ValueError, match="allocated for dense rows"):
        plan.epoch(network.data(scipy.sparse.csr_array(X), index, t), 4)
    with pytest.raises(ValueError, match="index must name rows of 20 samples"):
        network.data(X, index + 15, t)
    with pytest.raises(ValueError, match="targets must be"):
        network.data(X, index, t[:-1])
    with pytest.raises(ValueError, match="takes 5"):
        plan.epoch(network.data(X[:, :4], index, t), 4)
    wrong = Network((3, 1)).plan()
    with pytest.raises(ValueError, match=r"no head|the head must take"):
        _core.PairPlan(network.branch.plan(), wrong, head)


# ---- pairs drawn at random -------------------------------------------------------------


def test_sampled_pairs_are_what_they_claim():
    y = np.random.default_rng(0).integers(5, size=80).astype(str)
    pairs, labels = sample_pairs(y, 1000, same=0.3, random_state=1)
    assert pairs.shape == (1000, 2)
    assert labels.sum() == 300
    assert_array_equal(y[pairs[:, 0]] == y[pairs[:, 1]], labels == 1)
    assert (pairs[:, 0] != pairs[:, 1]).all()
    assert len(np.unique(np.sort(pairs, axis=1), axis=0)) == 1000
    assert 350 < (pairs[:, 0] < pairs[:, 1]).sum() < 650  # either one first
    assert 120 < labels[:500].sum() < 180  # shuffled
    again = sample_pairs(y, 1000, same=0.3, random_state=1)
    assert_array_equal(pairs, again[0])
    assert_array_equal(labels, again[1])
    other = sample_pairs(y, 1000, same=0.3, random_state=2)[0]
    assert (other != pairs).any()


def test_every_pair_can_be_had():
    y = np.array([1, 0, 1, 2, 1])
    pairs, labels = sample_pairs(y, 6, same=0.5, random_state=0)
    assert {frozenset(p) for p in pairs[labels == 1].tolist()} == {
        frozenset(p) for p in ((0, 2), (0, 4), (2, 4))
    }
    pairs, labels = sample_pairs(y, 7, same=0, random_state=0)
    assert len({frozenset(p) for p in pairs.tolist()}) == 7
    with pytest.raises(ValueError, match=r"8 pairs of different classes.*only 7"):
        sample_pairs(y, 8, same=0)
    with pytest.raises(ValueError, match=r"4 pairs of the same class.*only 3"):
        sample_pairs(y, 8)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"n_pairs": 0}, "n_pairs"),
        ({"n_pairs": 2.5}, "n_pairs"),
        ({"n_pairs": 2, "same": 1.1}, "same"),
        ({"n_pairs": 2, "y": [[0, 1], [1, 0]]}, "1d"),
    ],
)
def test_impossible_samples_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        sample_pairs(**{"y": [0, 0, 1, 1]} | arguments)


def test_a_fit_of_pairs_resumes_with_the_same_bits(tmp_path: Path) -> None:
    X = np.random.RandomState(0).randn(12, 3)
    index = np.random.RandomState(1).randint(0, 12, (20, 2))

    def fitted(n: int, *observers: Any) -> Any:
        branch = Network([3, 4, 2], "tanh")
        branch.params[:] = np.linspace(-1, 1, branch.params.size)
        network = SiameseNetwork(branch, "distance")
        run = PairRun(
            network,
            network.data(X, index, np.arange(20.0) % 2),
            PairOptimizer(Optimizer("adam", Schedule("constant", 0.01))),
            Penalties(),
            batch_size=8,
            rng=np.random.RandomState(0),
        )
        Fit(run, Stopping(n, tol=0), observers=observers).run()
        return network.params

    class Stop(Observer):
        def epoch_ended(self, fit: Any) -> bool:
            return bool(fit.history.epochs == 2)

    path = tmp_path / "run.mlp"
    fitted(5, Checkpoint(path), Stop())
    np.testing.assert_array_equal(fitted(5, Checkpoint(path)), fitted(5))
