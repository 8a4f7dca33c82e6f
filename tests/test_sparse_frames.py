"""Frames of sparse columns are sparse inputs; what works on dense batches refuses them."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import coo_array, csr_array

from mlp import (
    Dropout,
    MLPAutoencoder,
    MLPClassifier,
    MLPRegressor,
    MultiTaskClassifier,
    Network,
    _core,
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SPARSE_FRAME = pd.get_dummies(pd.Series(list("abc") * 4), sparse=True, dtype=float)
DENSE_FRAME = SPARSE_FRAME.sparse.to_dense()
TWO = np.array([0, 1] * 6)
SPARSE_REFUSALS = {
    "dropout": {"dropout": Dropout(0.0, input=0.2, mask="sample")},
    "augment": {"augment": lambda X, rng: X},
}


@pytest.mark.parametrize("calls", [["fit"], ["partial_fit"], ["dense", "partial_fit"]])
@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize(
    ("Estimator", "name"),
    [
        *product((MLPClassifier, MLPRegressor, MultiTaskClassifier), SPARSE_REFUSALS),
        (MLPAutoencoder, "augment"),
    ],
)
def test_frame_of_sparse_columns_when_training_needs_dense_batches_then_is_refused(
    Estimator, batch_size, name, calls
):
    y = np.column_stack([TWO, TWO]) if Estimator is MultiTaskClassifier else TWO
    classes = {
        MLPClassifier: {"classes": [0, 1]},
        MultiTaskClassifier: {"classes": [[0, 1], [0, 1]]},
    }.get(Estimator, {})
    model = Estimator(2, batch_size=batch_size, **SPARSE_REFUSALS[name])
    *before, last = calls
    for _ in before:
        model.partial_fit(DENSE_FRAME, y, **classes)
    with pytest.raises(ValueError, match=f"{name}.*X is sparse"):
        getattr(model, last)(SPARSE_FRAME, y, **(classes if "p" in last else {}))


def test_frame_of_sparse_columns_when_only_validated_on_then_is_taken():
    model = MLPClassifier(2, **SPARSE_REFUSALS["dropout"], max_iter=1)
    model.fit(DENSE_FRAME, TWO, X_val=SPARSE_FRAME, y_val=TWO)
    assert len(model.validation_loss_curve_) == 1


@pytest.mark.parametrize(
    ("options", "settle", "what"),
    [
        ({}, lambda plan: plan.set_callbacks(None, lambda X: X), "augment"),
        ({}, lambda plan: plan.set_dropout((0.2, 0.0), True), "dropout of inputs"),
        ({"batch_norm": "hidden+input"}, lambda plan: None, "batch_norm"),
    ],
)
def test_core_when_a_sparse_workspace_needs_dense_batches_then_refuses(
    options, settle, what
):
    plan = Network([3, 2, 1], **options).plan()
    settle(plan)
    with pytest.raises(ValueError, match=f"{what}.*X is sparse"):
        plan.allocate(4, 1, True)


@pytest.mark.parametrize("rows", [1, 4])
@pytest.mark.parametrize("sparse", [False, True])
def test_core_when_samples_are_not_of_the_workspace_then_refuses(sparse, rows):
    network = Network([3, 2, 1])
    plan = network.plan()
    plan.allocate(rows, 1, not sparse)
    given = csr_array(np.eye(3)) if sparse else np.eye(3)
    with pytest.raises(ValueError, match="workspace was allocated for"):
        plan.epoch(network.data(given, np.ones(3)), rows)


def test_core_when_radial_functions_meet_sparse_samples_then_refuses():
    plan = Network([3, 2, 1], "rbf").plan()
    with pytest.raises(ValueError, match="'rbf' measures distances"):
        plan.forward(_core.Data(csr_array(np.eye(3))))


def test_network_loss_when_samples_are_coo_then_is_that_of_dense_ones():
    network = Network([3, 2, 1])
    assert network.loss(coo_array(np.eye(3)), np.ones(3)) == 0.5
