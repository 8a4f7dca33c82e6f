"""Parameters of ours that are set in vain: a warning says what they need."""

import warnings
from inspect import signature

import numpy as np
import pytest
from sklearn import neural_network

import mlp
from mlp.estimators.parameters import NEEDS

RNG = np.random.RandomState(0)
X = RNG.rand(40, 3)
Y = (X[:, 0] > 0.5).astype(int)
DATA = {
    mlp.MLPClassifier: (X, Y),
    mlp.MLPRegressor: (X, X[:, 1]),
    mlp.MLPAutoencoder: (X,),
    mlp.MultiTaskClassifier: (X, np.column_stack([Y, Y])),
    mlp.SiameseClassifier: (RNG.rand(40, 2, 3), Y),
    mlp.ProjectionPursuitRegressor: (X, X[:, 1]),
}

#: parameter -> a value that is not its default, what gives it an effect, what is named
CASES = {
    "l1_method": ("proximal", {"l1": 0.1}, "l1 above 0"),
    "l2_bias": (True, {"l2": 0.1}, "l2 above 0"),
    "weight_decay": (5.0, {"solver": "adamw"}, "solver='adamw'"),
    "dropout": (0.5, {"hidden_layer_sizes": 4}, "hidden layers"),
    "sampling": ("replacement", {"solver": "sgd"}, "solver="),
    "batch_norm": ("hidden", {"hidden_layer_sizes": 4}, "hidden layers"),
    "early_stopping": (mlp.EarlyStopping(restore_best=False), {}, "solver="),
    "learning_rate": (mlp.StepDecay(every=5), {}, "solver="),
    "head_layer_sizes": ((4,), {"head": "relation"}, "head='relation'"),
    "head_activation": ("tanh", {"head": "relation"}, "head='relation'"),
    "max_terms": (2, {"n_terms": "cv"}, "n_terms='cv'"),
    "cv": (2, {"n_terms": "cv"}, "n_terms='cv'"),
}
#: what takes the effect away where the defaults don't
WITHOUT = {
    "dropout": {"hidden_layer_sizes": ()},
    "batch_norm": {"hidden_layer_sizes": ()},
    "sampling": {"solver": "lbfgs"},
    "early_stopping": {"solver": "lbfgs"},
    "learning_rate": {"solver": "lbfgs"},
}
PAIRS = [
    (Estimator, name)
    for Estimator in DATA
    for name in CASES
    if name in signature(Estimator).parameters
    # an autoencoder has a code, a Siamese network no full-batch solver
    and (Estimator, name) not in ((mlp.MLPAutoencoder, "dropout"),
                                  (mlp.MLPAutoencoder, "batch_norm"),
                                  (mlp.SiameseClassifier, "sampling"),
                                  (mlp.SiameseClassifier, "early_stopping"),
                                  (mlp.SiameseClassifier, "learning_rate"))
]  # fmt: skip
NAMES = {name for name, *_ in NEEDS}
each = pytest.mark.parametrize(("Estimator", "name"), PAIRS)


def told(model, data, fit="fit"):
    """Return the warnings of the fit about parameters without effect."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        getattr(model, fit)(*data)
    return [w for w in caught if "has no effect" in str(w.message)]


def made(Estimator, **options):
    if "max_iter" in signature(Estimator).parameters:
        options = {"max_iter": 1, **options}
    return Estimator(**options)


def test_every_parameter_of_the_table_when_listed_then_has_a_case():
    assert set(CASES) == NAMES


def test_parameters_of_the_table_when_listed_then_are_not_those_of_scikit_learn():
    with_objects_of_ours = {"early_stopping", "learning_rate"}
    for cls in (neural_network.MLPClassifier, neural_network.MLPRegressor):
        assert NAMES & set(signature(cls).parameters) == with_objects_of_ours


@pytest.mark.parametrize("solver", ["lbfgs", "adam"])
@pytest.mark.parametrize(
    "options", [{"early_stopping": True}, {"learning_rate": "adaptive"}], ids=str
)
def test_scikit_learns_own_values_when_in_vain_then_do_not_warn(options, solver):
    assert not told(made(mlp.MLPClassifier, solver=solver, **options), (X, Y))


@each
def test_parameter_without_effect_when_fitted_then_warns_what_it_needs(Estimator, name):
    value, _, needed = CASES[name]
    model = made(Estimator, **WITHOUT.get(name, {}), **{name: value})
    [warning] = told(model, DATA[Estimator])
    assert warning.category is UserWarning
    assert str(warning.message).startswith(f"{name}={value!r} has no effect")
    assert needed in str(warning.message)
    assert warning.filename == __file__


@each
def test_parameter_with_effect_when_fitted_then_does_not_warn(Estimator, name):
    value, giving, _ = CASES[name]
    assert not told(made(Estimator, **giving, **{name: value}), DATA[Estimator])


@pytest.mark.parametrize("Estimator", DATA)
def test_defaults_when_fitted_then_do_not_warn(Estimator):
    assert not told(made(Estimator), DATA[Estimator])


def test_parameter_without_effect_when_partially_fitted_then_warns():
    model = mlp.MLPRegressor(weight_decay=5.0)
    [warning] = told(model, DATA[mlp.MLPRegressor], "partial_fit")
    assert "weight_decay=5.0 has no effect" in str(warning.message)


@pytest.mark.parametrize(
    "options",
    [{"mask": "sample"}, {"scaling": "test"}, {"decay": "all"}, {"input": 0.0}],
    ids=str,
)
def test_arguments_of_dropout_when_nothing_is_dropped_then_warn_once(options):
    model = made(mlp.MLPRegressor, dropout=mlp.Dropout(0.0, **options))
    [warning] = told(model, DATA[mlp.MLPRegressor])
    assert str(warning.message).startswith(f"dropout={model.dropout!r} has no effect")
    assert "a rate above 0" in str(warning.message)


@pytest.mark.parametrize(
    "options", [{"dropout__mask": "sample"}, {"alpha": 0.0}], ids=str
)
def test_decay_of_dropped_units_when_nothing_is_dropped_or_decays_then_warns(options):
    model = made(mlp.MLPRegressor, dropout=mlp.Dropout(decay="all"))
    [warning] = told(model.set_params(**options), DATA[mlp.MLPRegressor])
    assert str(warning.message).startswith("decay of dropout=Dropout(0.5, ")
