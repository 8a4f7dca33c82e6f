"""Objects that parameters take: cloned, shown, and searched by their arguments."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from small_data import assert_same_bits, make_data

from mlp import (
    BatchNorm,
    CosineDecay,
    Dropout,
    EarlyStopping,
    InverseTimeDecay,
    MLPClassifier,
    MLPRegressor,
    StepDecay,
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = make_data()
SHORT = {"max_iter": 6, "batch_size": 20, "random_state": 0, "solver": "sgd"}


@pytest.mark.parametrize(
    "feature",
    [
        StepDecay(every=3, factor=0.1),
        CosineDecay(),
        InverseTimeDecay(power=1.0),
        EarlyStopping(None),
        EarlyStopping(scoring="loss", restore_best=False),
        Dropout(0.2, input=0.1, mask="sample"),
        BatchNorm("all", momentum=0.5),
    ],
    ids=str,
)
def test_a_feature_is_cloned_and_shown_as_it_is_made(feature):
    assert eval(repr(feature)) == feature == clone(feature, safe=False)
    assert type(feature)(**feature.get_params()) == feature


def test_a_grid_search_reaches_the_arguments_of_features():
    model = MLPClassifier(
        4,
        dropout=Dropout(0.2),
        batch_norm=BatchNorm(),
        early_stopping=EarlyStopping(scoring="loss"),
        learning_rate=StepDecay(),
        **SHORT,
    )
    grid = {
        "dropout__mask": ["sample"],
        "batch_norm__momentum": [0.5],
        "early_stopping__restore_best": [False],
        "learning_rate__factor": [0.9, 0.5],
    }
    best = GridSearchCV(model, grid, cv=2).fit(X, Y).best_estimator_
    assert best.network_.spec.dropout.mask == "sample"
    assert best.network_.spec.batch_norm.momentum == 0.5
    assert best.early_stopping == EarlyStopping(scoring="loss", restore_best=False)
    assert best.learning_rate.every == 10
    assert model.dropout == Dropout(0.2)  # the search has copies


def test_batch_norm_true_is_that_of_the_hidden_layers():
    model = MLPRegressor(4, batch_norm=True, **SHORT).fit(X, Y)
    assert_same_bits(model, clone(model).set_params(batch_norm="hidden").fit(X, Y))
    assert np.isfinite(model.loss_curve_).all()
