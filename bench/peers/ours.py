"""This package's ``MLPClassifier`` and ``Network``, timed by `estimator`."""

from functools import partial
from itertools import pairwise

import numpy as np

from mlp import MLPClassifier
from peers import estimator
from peers.timing import repeated

LIBRARY = "fastmlp"


def prepare(job):
    row = job.workload
    options = {"n_threads": job.threads}
    if row.dropout:
        options["dropout"] = row.dropout
    if row.batch_norm:
        options["batch_norm"] = "hidden"
    if row.connected < 1:
        rng = np.random.default_rng(0)
        options["connectivity"] = [
            rng.random(shape) < row.connected for shape in pairwise(row.sizes)
        ]
    make = partial(MLPClassifier, **options)
    if row.kind == "train":
        return "fit", estimator.prepare_training(make, job)
    if row.kind == "proba":
        return "predict_proba", estimator.prepare_proba(make, job)
    network = estimator.fitted(make, job).network_
    X, _ = estimator.data(job)
    network.forward(X)
    return "Network.forward", repeated(
        lambda: network.forward(X, job.threads), 1, job.budget
    )
