"""Input of a hostile user, and the errors that refuse it."""

import numpy as np
import pytest

from mlp import MLPClassifier, MLPRegressor

rng = np.random.default_rng(0)
X = rng.normal(size=(60, 4))
labels = np.arange(60) % 3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"hidden_layer_sizes": (3.5,)}, "hidden_layer_sizes must be integers"),
        ({"hidden_layer_sizes": (5, "a")}, "hidden_layer_sizes must be integers"),
        ({"hidden_layer_sizes": (True,)}, "hidden_layer_sizes must be integers"),
        ({"dropout": ["a"]}, r"dropout=.*one rate"),
        ({"beta_1": ("a", "b")}, "beta_1 must lie in"),
        ({"dtype": "foo"}, "dtype must be None, float32 or float64"),
        ({"learning_rate": lambda epoch: None}, r"learning_rate.0. returned None"),
        (
            {"early_stopping": True, "validation_fraction": 0.0},
            "early_stopping=True needs validation_fraction > 0",
        ),
        (
            {"class_weight": {0: 1, 1: -1, 2: 5}},
            "class_weight: the weight of 1 must be a finite number >= 0, got -1",
        ),
    ],
)
def test_a_parameter_is_named(options, words):
    with pytest.raises(ValueError, match=words):
        MLPClassifier(max_iter=2, **options).fit(X, labels)


def test_a_split_into_two_classes_that_cannot_be_stratified_is_explained():
    with pytest.raises(ValueError, match="early_stopping=True can't hold out"):
        MLPClassifier(early_stopping=True).fit(X[:23], np.arange(23) == 4)


def test_bad_validation_samples_are_called_so():
    with pytest.raises(ValueError, match=r"X_val, y_val: .*NaN"):
        MLPClassifier().fit(X, labels, X_val=X * np.nan, y_val=labels)


@pytest.mark.parametrize("scale", [1e200, 1e-200])
def test_what_cannot_be_standardized_is_refused(scale):
    model = MLPRegressor(standardize=True, max_iter=2)
    with pytest.raises(ValueError, match=r"standardize=True.* of X"):
        model.fit(X * scale, X[:, 0])
    with pytest.raises(ValueError, match=r"standardize=True.* of y"):
        model.fit(X, X[:, 0] * scale)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_an_equal_activation_may_go_on():
    model = MLPClassifier((4, 4), ["relu", "tanh"], max_iter=2, warm_start=True)
    model.fit(X, labels)
    assert model.set_params(activation=("relu", "tanh")).fit(X, labels) is model
