"""Timing of both scikit-learn-style estimators, ours and scikit-learn's, by one rule.

A training round is the difference of two fits on the same data,
``time(1 + epochs) - time(1 epoch)``, divided by the steps in ``epochs``. With a warm-up
both fits have its epochs in addition. The costs per fit (validation, initial weights, label
encoding) cancel; everything that belongs to an epoch (shuffle, loss curve, bookkeeping) is
counted. The best time so far is used for the short fit, because a disturbed short fit would
make the round look faster than it was. A disturbed long fit makes it look slower, as with
every other peer; where a round repeats short runs, it takes the median of the long fits.
"""

import warnings
from statistics import median

import numpy as np

from peers.timing import repeated, seconds
from peers.workloads import make_data


def build(make, job, epochs):
    """Return ``make`` (an ``MLPClassifier``) with the row's settings and ``epochs``."""
    row = job.workload
    return make(
        hidden_layer_sizes=row.sizes[1:-1],
        activation="relu",
        solver=row.solver,
        alpha=row.alpha,
        batch_size=row.batch,
        learning_rate_init=row.rate,
        momentum=0.0,
        max_iter=epochs,
        tol=0.0,
        n_iter_no_change=10**9,
        random_state=0,
    )


def data(job):
    """Return X and y; two classes become a two-column indicator.

    An estimator uses a single logistic output for two classes. With the indicator it has
    the row's two outputs, with two logistic losses instead of one softmax.
    """
    X, y = make_data(job.workload, job.numpy_dtype)
    k = job.workload.sizes[-1]
    return X, (np.eye(k, dtype=int)[y] if k == 2 else y)


def prepare_training(make, job):
    """Return a round by the difference rule, with as many rows as fit the budget."""
    warnings.simplefilter("ignore")
    X, y = data(job)
    batch = job.workload.batch

    def fit(rows, epochs):
        build(make, job, epochs).fit(X[:rows], y[:rows])

    # A slow estimator gets fewer rows, not fewer epochs: at least one epoch is needed.
    few = min(job.workload.n, 20 * batch)
    fit(few, 1)
    step = max(seconds(fit, few, 3) - seconds(fit, few, 1), 1e-7) / (2 * few / batch)
    steps = min(job.workload.n // batch, max(20, int(job.budget / step)))
    rows = steps * batch
    epochs = max(1, round(job.budget / (step * steps)))
    first, fits = 1 + -(-job.workload.warm_up // steps), 1
    if job.workload.most_steps:
        total, epochs = epochs, max(1, job.workload.most_steps // steps - first)
        fits = -(-total // epochs)

    short = min(seconds(fit, rows, first) for _ in range(3))

    def run():
        nonlocal short
        short = min(short, *(seconds(fit, rows, first) for _ in range(fits)))
        long = median(seconds(fit, rows, first + epochs) for _ in range(fits))
        return long - short, epochs * steps

    return run


def fitted(make, job):
    """Return an estimator of the row's shape, fitted for one epoch on a few rows."""
    warnings.simplefilter("ignore")
    rng = np.random.default_rng(0)
    d, k = job.workload.sizes[0], job.workload.sizes[-1]
    X = rng.standard_normal((10 * k, d), dtype=job.numpy_dtype)
    return build(make, job, 1).set_params(batch_size=k).fit(X, np.arange(10 * k) % k)


def prepare_proba(make, job):
    estimator = fitted(make, job)
    X, _ = data(job)
    estimator.predict_proba(X)
    return repeated(lambda: estimator.predict_proba(X), 1, job.budget)
