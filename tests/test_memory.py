"""Memory that a fit allocates, beside X and y: so many parameters, batches, indices.

The promise: peak ≤ 4 × parameters (with their gradient and two moments) + 3 × a batch's
activations + one shuffled index array, and X of the right dtype and order is never copied.
NumPy reports its buffers to tracemalloc, and every buffer of the core is a NumPy array.

What may come on top has a name: see `allowance`.
"""

import tracemalloc
import warnings
from itertools import pairwise

import numpy as np
import pytest

from mlp import MLPClassifier, MLPRegressor, Network
from mlp.network.initializers import INITIALIZERS, draw
from mlp.training.minibatch import Optimizer, Penalties, StochasticRun
from mlp.training.schedules import Schedule

#: Python objects, small vectors, and the panel of packed weights of the one thread
FIXED = 256 << 10
#: Python objects of one epoch
FEW = 16 << 10
#: bytes per sample of the indices in scikit-learn's train_test_split
SPLIT = 100


def traced(function):
    """Return the function's result, and the peak of memory above that before it."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        result = function()
        return result, tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def samples(n, n_features, n_outputs, dtype):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, n_features), dtype=dtype)
    return X, rng.integers(0, n_outputs, n)


def fitted(Estimator, X, y, **options):
    """Fit twice, for what is imported and cached by a first; the second one's peak."""
    model = Estimator(random_state=0, n_threads=1, max_iter=3, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X[:100], y[:100])
        return traced(lambda: model.fit(X, y))


def promised(sizes, batch_size, n_samples, dtype):
    """The issue's formula, in bytes."""
    parameters = sum(a * b + b for a, b in pairwise(sizes))
    item = np.dtype(dtype).itemsize
    return item * (4 * parameters + 3 * batch_size * sum(sizes)) + 8 * n_samples


def allowance(sizes, n_samples, dtype, *, parameters=0.0):
    """Return the rest: y in the core's form and the search for its classes; a byte per
    parameter for the check that they are finite; copies of the parameters, where an option
    needs them; the fixed part."""
    count = sum(a * b + b for a, b in pairwise(sizes))
    item = np.dtype(dtype).itemsize
    return FIXED + 16 * n_samples + count * (1 + parameters * item)


WIDE = (784, 512, 512, 10)
NETWORKS = {
    "wide": (WIDE, 128, 3_000, {}),
    "wide, sgd": (WIDE, 128, 3_000, {"solver": "sgd"}),
    "wide, small batch": (WIDE, 8, 500, {}),
    "classic": ((784, 100, 10), 200, 3_000, {}),
    "one layer": ((2_000, 500, 3), 4, 200, {}),
    "tiny": ((20, 64, 64, 2), 32, 20_000, {}),
    "online": ((10, 32, 2), 1, 20_000, {"solver": "sgd", "momentum": 0}),
    "gelu": ((784, 512, 10), 128, 3_000, {"activation": "gelu"}),
}
#: what an option adds, in times the parameters
OPTIONS = {
    "nothing": ({}, 0),
    "gelu": ({"activation": "gelu"}, 0),
    "clipped": ({"clip_norm": 1.0}, 0),
    "shuffle off": ({"shuffle": False}, 0),
    # the thinned network, of which (1 − p)² is touched
    "dropout": ({"dropout": 0.5}, 1),
    # the network that predicts, its predecessor, and a layer in float64 on the way
    "batch norm": ({"batch_norm": "hidden"}, 4),
    # the pocket, and the one before it while it is filled; a gradient in validation's plan
    "early stopping": ({"early_stopping": True}, 3),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NETWORKS)
def test_peak_of_a_fit(name, dtype):
    sizes, batch_size, n, options = NETWORKS[name]
    X, y = samples(n, sizes[0], sizes[-1], dtype)
    options = {"hidden_layer_sizes": sizes[1:-1], "batch_size": batch_size, **options}
    _, peak = fitted(MLPClassifier, X, y, **options)
    limit = promised(sizes, batch_size, n, dtype) + allowance(sizes, n, dtype)
    assert peak <= limit


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", OPTIONS)
def test_peak_with_an_option(name, dtype):
    options, parameters = OPTIONS[name]
    X, y = samples(1_000, 784, 10, dtype)
    options = {"hidden_layer_sizes": WIDE[1:-1], "batch_size": 128, **options}
    _, peak = fitted(MLPClassifier, X, y, **options)
    extra = allowance(WIDE, len(X), dtype, parameters=parameters)
    if "early_stopping" in options:
        extra += X.nbytes / 10 + SPLIT * len(X)
    assert peak <= promised(WIDE, 128, len(X), dtype) + extra


@pytest.mark.parametrize("name", INITIALIZERS)
def test_initial_weights_are_drawn_into_one_buffer(name):
    rng = np.random.RandomState(0)
    (weights, _), peak = traced(lambda: draw(name, rng, 500, 400, "relu"))
    assert peak <= weights.nbytes + FEW


def start_run(X, y, samples=None, *, dtype, solver="adam", batch_size=100):
    network = Network(
        [X.shape[1], 30, 3], "tanh", "softmax", loss="log_loss", dtype=dtype
    )
    for W in network.coefs:
        W[:] = np.random.default_rng(1).uniform(-0.1, 0.1, W.shape)
    return StochasticRun(
        network,
        network.data(X, y),
        Optimizer(solver, Schedule("constant", 0.001)),
        Penalties(alpha=1e-4),
        batch_size=batch_size,
        samples=samples,
        shuffle=True,
        rng=np.random.RandomState(0),
        n_threads=1,
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("part", [False, True], ids=["all samples", "some"])
@pytest.mark.parametrize(("solver", "batch_size"), [("adam", 100), ("sgd", 1)])
def test_later_epochs_allocate_nothing(solver, batch_size, part, dtype):
    X, y = samples(20_000, 20, 3, dtype)
    chosen = np.arange(0, len(X), 2) if part else None
    run = start_run(X, y, chosen, dtype=dtype, solver=solver, batch_size=batch_size)
    run.epoch()
    _, peak = traced(lambda: [run.epoch() for _ in range(3)])
    assert peak <= FEW


def test_one_index_array():
    X, y = samples(200_000, 2, 3, "float32")
    _, without = traced(lambda: start_run(X[:1_000], y[:1_000], dtype="float32"))
    _, peak = traced(lambda: start_run(X, y, dtype="float32").epoch())
    labels = 3 * 4 * len(X)  # of y: int32, compared, and the mask of what differs
    assert peak <= without + 8 * len(X) + labels


def test_a_given_index_is_left_alone():
    X, y = samples(1_000, 4, 3, "float32")
    chosen = np.arange(0, 1_000, 3)
    run = start_run(X, y, chosen, dtype="float32")
    run.epoch()
    run.epoch()
    np.testing.assert_array_equal(chosen, np.arange(0, 1_000, 3))


# ---- X ---------------------------------------------------------------------------------

LARGE = (4_000, 2_000)  # 32 MB in float32, which no other buffer comes near


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("Estimator", [MLPClassifier, MLPRegressor])
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_x_is_not_copied(solver, Estimator, dtype):
    X, y = samples(*LARGE, 2, dtype)
    _, peak = fitted(Estimator, X, y, hidden_layer_sizes=(5,), solver=solver)
    # the full-batch solver's workspace holds 1,024 rows
    assert peak < X.nbytes / (2 if solver == "lbfgs" else 4)


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_early_stopping_copies_the_validation_rows_only(solver):
    X, y = samples(*LARGE, 2, "float32")
    options = {"hidden_layer_sizes": (5,), "batch_size": 50, "solver": solver}
    _, plain = fitted(MLPClassifier, X, y, **options)
    _, peak = fitted(MLPClassifier, X, y, early_stopping=True, **options)
    validation = X.nbytes / 10
    assert peak - plain < 1.5 * validation + SPLIT * len(X)


def test_validation_samples_are_not_copied():
    X, y = samples(*LARGE, 2, "float32")
    model = MLPClassifier((5,), batch_size=50, max_iter=3, n_threads=1, tol=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _, peak = traced(lambda: model.fit(X[:2_000], y[:2_000], X_val=X, y_val=y))
    assert peak < X.nbytes / 4


def test_predictions_do_not_copy_x():
    X, y = samples(*LARGE, 2, "float32")
    model, _ = fitted(MLPClassifier, X, y, hidden_layer_sizes=(5,))
    _, peak = traced(lambda: model.predict_proba(X))
    assert peak < X.nbytes / 4


def test_rows_apart_are_used_as_they_lie():
    X, y = samples(2 * LARGE[0], LARGE[1], 3, "float32")
    network = Network(
        [LARGE[1], 3], output_activation="softmax", loss="log_loss", dtype="float32"
    )
    _, peak = traced(lambda: network.data(X[::2], y[::2]))
    assert peak < X.nbytes / 8
