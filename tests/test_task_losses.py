"""The loss of several tasks whose labels are partly missing, and its gradient."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from small_data import either_dtype
from twins import batches_of, plain_task_loss, run_of

from mlp import Network

GROUPS = (3, 1, 2)  # the second task is a logistic output
WEIGHTS = [0.5, 2.0, 1.25]
rng = np.random.default_rng(5)
X = rng.normal(size=(60, 4))
LABELS = np.stack([rng.integers(0, n, 60) for n in (3, 2, 2)], axis=1).astype(np.int32)
HOLES = np.where(rng.random(LABELS.shape) < 0.3, -1, LABELS).astype(np.int32)
HOLES[7] = -1


def network_of(groups=GROUPS, dtype="float64", hidden=(5, 4), **keywords):
    sizes = [4, *hidden, sum(groups)]
    network = Network(
        sizes,
        "tanh",
        "softmax",
        loss="log_loss",
        groups=groups,
        dtype=dtype,
        **keywords,
    )
    network.params[:] = np.random.default_rng(1).normal(size=network.params.size)
    return network


# The loss and its gradient ----------------------------------------------------------


@either_dtype
@pytest.mark.parametrize("task_weight", [None, WEIGHTS])
def test_loss_is_that_of_the_known_labels(dtype, task_weight):
    network = network_of(dtype=dtype, group_weight=task_weight)
    weights = rng.uniform(0.5, 2, 60)
    expected = plain_task_loss(network, X, HOLES, weights, task_weight or (1, 1, 1))
    tolerance = 1e-12 if dtype == np.float64 else 1e-5
    assert_allclose(network.loss(X, HOLES, weights), expected, rtol=tolerance)


@pytest.mark.parametrize("task_weight", [None, WEIGHTS])
@pytest.mark.parametrize("batch_norm", [None, "hidden"])
def test_gradient_is_that_of_central_differences(task_weight, batch_norm):
    network = network_of(group_weight=task_weight, batch_norm=batch_norm)
    weights = rng.uniform(0.5, 2, 60)
    _, gradient = network.gradients(X, HOLES, weights)
    start, step = network.params.copy(), 1e-5
    slopes = np.zeros_like(gradient)
    for k in range(len(start)):
        sides = []
        for sign in (1, -1):
            network.params[:] = start
            network.params[k] += sign * step
            sides.append(network.loss(X, HOLES, weights))
        slopes[k] = (sides[0] - sides[1]) / (2 * step)
    assert_allclose(gradient, slopes, rtol=1e-6, atol=1e-9)


@either_dtype
def test_gradient_of_a_sum_is_the_sum_of_gradients(dtype):
    network = network_of(dtype=dtype, group_weight=WEIGHTS)
    _, gradient = network.gradients(X, HOLES)
    parts = np.zeros(gradient.shape)
    for t, weight in enumerate(WEIGHTS):
        alone = np.full_like(HOLES, -1)
        alone[:, t] = HOLES[:, t]
        parts += weight * network_of(dtype=dtype).gradients(X, alone)[1]
    tolerance = 1e-12 if dtype == np.float64 else 2e-5
    assert_allclose(gradient, parts, atol=tolerance * np.abs(parts).max())


@either_dtype
@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_task_without_labels_leaves_the_trunk_as_if_it_were_not_there(dtype, lost):
    """The gradient of the other parameters is that of a network without the task."""
    full = network_of(dtype=dtype)
    kept = [t for t in range(3) if t != lost]
    at = np.split(np.arange(6), np.cumsum(GROUPS)[:-1])
    columns = np.concatenate([at[t] for t in kept])
    less = network_of([GROUPS[t] for t in kept], dtype)
    for mine, theirs in zip(
        [*less.coefs[:-1], *less.intercepts[:-1]],
        [*full.coefs[:-1], *full.intercepts[:-1]],
        strict=True,
    ):
        mine[:] = theirs
    less.coefs[-1][:] = full.coefs[-1][:, columns]
    less.intercepts[-1][:] = full.intercepts[-1][columns]
    labels = HOLES.copy()
    labels[:, lost] = -1
    loss, gradient = full.gradients(X, labels)
    expected_loss, expected = less.gradients(X, HOLES[:, kept])
    tolerance = 1e-13 if dtype == np.float64 else 1e-6
    assert_allclose(loss, expected_loss, rtol=tolerance)
    (coefs, intercepts, _), (less_coefs, less_intercepts, _) = (
        full.unpack(gradient),
        less.unpack(expected),
    )
    for mine, theirs in zip(
        [*coefs[:-1], coefs[-1][:, columns], *intercepts[:-1], intercepts[-1][columns]],
        [*less_coefs, *less_intercepts],
        strict=True,
    ):
        assert_allclose(mine, theirs, rtol=0, atol=tolerance * np.abs(theirs).max())
    assert not coefs[-1][:, at[lost]].any() and not intercepts[-1][at[lost]].any()


@pytest.mark.parametrize("batch_size", [1, 7])
def test_an_epoch_steps_along_the_gradient_of_each_batch(batch_size):
    """Batches of one go another way through the core."""
    network = network_of(group_weight=WEIGHTS)
    twin, rate = network.copy(), 0.05
    run = run_of(network, X, HOLES, rate=rate, batch_size=batch_size)
    losses = []
    for rows in batches_of(np.arange(60), batch_size):
        loss, gradient = twin.gradients(X[rows], HOLES[rows])
        twin.params -= rate * gradient
        losses.append(loss * len(rows))
    assert_allclose(run.epoch(), np.sum(losses) / 60, rtol=1e-12)
    assert_allclose(network.params, twin.params, rtol=1e-11, atol=1e-13)


def test_labels_are_another_way_to_write_targets():
    network = network_of(group_weight=WEIGHTS)
    one_hot = np.full((60, 6), np.nan)
    for k, n, t in ((0, 3, 0), (3, 1, 1), (4, 2, 2)):
        known, code = HOLES[:, t] >= 0, HOLES[:, t]
        row = np.eye(n) if n > 1 else np.array([[0], [1]])
        one_hot[known, k : k + n] = row[code[known]]
    assert_array_equal(network.gradients(X, HOLES)[1], network.gradients(X, one_hot)[1])


def test_group_weights_survive_copies_and_pickles():
    network = network_of(group_weight=WEIGHTS)
    for other in (network.copy(), pickle.loads(pickle.dumps(network))):
        assert other.loss(X, HOLES) == network.loss(X, HOLES)
    assert network.loss(X, HOLES) != network_of().loss(X, HOLES)


@pytest.mark.parametrize("labels", [LABELS + 1, LABELS - 2])
def test_network_refuses_labels_out_of_range(labels):
    with pytest.raises(ValueError, match=r"integers below \[3, 2, 2\]"):
        network_of().loss(X, labels)


@pytest.mark.parametrize(
    "bad", [[1.0], [1, 1, -1], [1, np.nan, 1], [[1, 1, 1]], 2.0, [1, np.inf, 1]]
)
def test_network_refuses_group_weights(bad):
    with pytest.raises(ValueError, match="group_weight must be 3 finite numbers"):
        network_of(group_weight=bad)


def test_network_refuses_group_weights_that_its_loss_would_not_use():
    with pytest.raises(ValueError, match="group_weight needs"):
        Network([4, 3], groups=(3,), group_weight=[2.0])
