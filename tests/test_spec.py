"""Specifications of networks: what they check, resolve, and tell of a warm start."""

import pickle
from copy import deepcopy
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
from sklearn.base import BaseEstimator, clone
from sklearn.model_selection import GridSearchCV

from mlp import BatchNorm, Dropout, MLPRegressor, Network
from mlp.network.activations import Activation
from mlp.network.losses import Loss
from mlp.network.spec import NetworkSpec

# -- features --


def test_a_feature_shows_what_differs_from_its_defaults():
    assert repr(Dropout()) == "Dropout(0.5)"
    assert repr(Dropout([0.2, 0.5], input=0.1)) == "Dropout([0.2, 0.5], input=0.1)"
    assert repr(BatchNorm("all", epsilon=1.0)) == "BatchNorm('all', epsilon=1.0)"
    assert eval(repr(BatchNorm(scale_init=0.0))) == BatchNorm(scale_init=0.0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Dropout(1.0), r"dropout=1.0 must be one rate in \[0, 1\)"),
        (lambda: Dropout([0.1, "a"]), "or one per hidden layer"),
        (lambda: Dropout(0.1, input=-1), "input of Dropout .* got -1"),
        (lambda: Dropout(mask="row"), "mask of Dropout must be 'batch' or 'sample'"),
        (lambda: Dropout(scaling=2), "scaling of Dropout must be 'train' or 'test'"),
        (lambda: Dropout(decay=None), "decay of Dropout must be 'kept' or 'all'"),
        (lambda: BatchNorm("input"), "batch_norm must be None, .* got 'input'"),
        (lambda: BatchNorm(momentum=1), r"momentum of BatchNorm .* \[0, 1\), got 1"),
        (lambda: BatchNorm(epsilon=0.0), "epsilon of BatchNorm must be positive"),
        (lambda: BatchNorm(scale_init="a"), "scale_init of BatchNorm .* a number"),
        (lambda: BatchNorm(gradient="full"), "gradient of BatchNorm must be 'exact'"),
    ],
)
def test_a_features_mistake_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_parameters_of_a_feature_are_set_all_or_none():
    dropout = Dropout(0.3)
    assert dropout.set_params(mask="sample", input=0.1) is dropout
    assert dropout.get_params()["mask"] == "sample"
    with pytest.raises(ValueError, match="scaling"):
        dropout.set_params(mask="batch", scaling="never")
    with pytest.raises(TypeError):
        dropout.set_params(masks="batch")
    assert dropout == Dropout(0.3, input=0.1, mask="sample")
    with pytest.raises(FrozenInstanceError):
        dropout.mask = "batch"


class Nothing(BaseEstimator):
    """An estimator whose parameter is a feature."""

    def __init__(self, dropout=None):
        self.dropout = dropout

    def fit(self, X, y=None):
        return self

    def score(self, X, y=None):
        return self.dropout.rate if self.dropout.mask == "sample" else 0.0


def test_a_grid_search_reaches_the_arguments_of_a_feature():
    model = Nothing(Dropout([0.1, 0.2]))
    assert clone(model).dropout == model.dropout
    grid = {"dropout__mask": ["batch", "sample"], "dropout__rate": [0.2, 0.4]}
    search = GridSearchCV(model, grid, cv=2).fit(np.zeros((4, 1)))
    assert search.best_params_ == {"dropout__mask": "sample", "dropout__rate": 0.4}
    assert model.dropout == Dropout([0.1, 0.2])


def test_a_network_does_not_change_with_the_object_that_it_was_made_with():
    norm, dropout = BatchNorm("all"), Dropout((0.1,))
    network = Network([2, 3, 1], batch_norm=norm, dropout=dropout)
    norm.set_params(momentum=0.5)
    dropout.set_params(rate=(0.9,))
    assert network.spec.batch_norm == BatchNorm("all")
    assert network.spec.dropout == Dropout((0.1,))


# -- resolving --


def test_short_forms_are_resolved():
    spec = NetworkSpec([3, 4, 4, 2], "tanh", batch_norm=True, dropout=0.5, frozen=1)
    assert spec.layer_sizes == (3, 4, 4, 2)
    assert spec.activations == (Activation("tanh"), Activation("tanh"))
    assert spec.loss == Loss("squared_error")
    assert spec.groups == (2,)
    assert spec.batch_norm == BatchNorm("hidden")
    assert spec.dropout == Dropout((0.5, 0.5))
    assert spec.frozen == (True, False, False)
    assert spec.skip_scales == (0.0, 0.0, 0.0)
    assert replace(spec, skip_scales=True).skip_scales == (0.0, 1.0, 0.0)
    assert spec.edges == (None, None, None)
    assert spec.dtype == np.float64


@pytest.mark.parametrize("nothing", [None, 0, 0.0, (0.0, 0.0), Dropout(0.0)])
def test_rates_of_zero_are_no_dropout(nothing):
    assert NetworkSpec((3, 4, 4, 1), dropout=nothing).dropout is None


def rich():
    return NetworkSpec(
        (4, 5, 5, 3),
        [["tanh", "relu", ("elu", 0.5), "tanh", "relu"], "gelu"],
        ["tanh", "identity", "relu"],
        ("huber", 0.5),
        batch_norm=BatchNorm("all+input", scale_init=0.5),
        dropout=Dropout((0.2, 0.5), input=0.1, scaling="test"),
        skip_scales=True,
        edges=[None, np.eye(5) > 0, None],
        frozen=(True, False, True),
        dtype="float32",
    )


@pytest.mark.parametrize(
    "again", [replace, deepcopy, lambda spec: pickle.loads(pickle.dumps(spec))]
)
def test_a_resolved_specification_stays_as_it_is(again):
    assert again(rich()) == rich()
    assert rich().differences(again(rich())) == []


def test_a_folded_specification_has_nothing_to_fold():
    spec = rich().folded(np.float64)
    assert (spec.batch_norm, spec.dropout, spec.frozen) == (None, None, None)
    assert spec.skip_scales == (0.0, 1 - 0.2, 0.0)
    assert (spec.activations, spec.loss) == (rich().activations, rich().loss)
    assert Network.of(spec).is_plain()


def test_a_tail_has_the_options_of_its_layers():
    tail = rich().tail(1)
    assert tail.layer_sizes == (5, 5, 3)
    assert tail.batch_norm == BatchNorm("all", scale_init=0.5)
    assert tail.drop_rates == (0.2, 0.5)
    assert tail.edges == rich().edges[1:]
    assert tail.frozen == (False, True)


def test_numbers_of_parameters_are_those_of_the_vector():
    for spec in (rich(), NetworkSpec((3, 2, 3), tied=True), NetworkSpec((2, 1))):
        assert Network.of(spec).params.shape == (spec.n_params,)


def test_fresh_scales_are_those_of_batch_norm():
    network = Network.of(rich())
    assert all((scale == 0.5).all() for scale in network.scales)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer_sizes": (3,)}, "layer_sizes must name at least inputs and outputs"),
        ({"dropout": (0.1, 0.2)}, "names 2 layers, hidden_layer_sizes has 1"),
        ({"corruption": 1.0}, r"corruption=1.0 must lie in \[0, 1\)"),
        ({"skip_scales": (0, 1)}, r"skip_scales=\(0.0, 1.0\) must be 2 numbers"),
        ({"frozen": 3}, "freeze=3 must be a number of leading layers"),
        ({"batch_norm": "none"}, "batch_norm must be None"),
        ({"dtype": "float16"}, "dtype must be float32 or float64, got 'float16'"),
        ({"groups": (2, 2)}, r"groups=\(2, 2\) must be positive and add up to 1"),
        (
            {"tied": True, "layer_sizes": (3, 2, 3), "frozen": (False, True)},
            "tied=True; freeze that of the encoder",
        ),
    ],
)
def test_a_specifications_mistake_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        NetworkSpec(**{"layer_sizes": (3, 4, 1), **options})


# -- changes --


def test_fields_that_differ_are_named_but_for_those_that_a_fit_may_change():
    spec = rich()
    assert spec.differences(replace(spec, loss="squared_error")) == ["loss"]
    assert spec.differences(replace(spec, edges=None)) == ["edges"]
    free = replace(spec, dropout=replace(spec.dropout, rate=0.9), frozen=None)
    assert spec.differences(free) == []
    scaled = replace(spec, dropout=replace(spec.dropout, scaling="train"))
    assert spec.differences(scaled) == ["dropout"]
    assert spec.differences(replace(scaled, dropout=None)) == []
    norm = replace(spec.batch_norm, scale_init=0.0)
    assert spec.differences(replace(spec, batch_norm=norm)) == []


def test_a_network_is_configured_by_name():
    network = Network([3, 4, 1])
    network.configure(dropout=Dropout(0.5, scaling="test"), corruption=0.1, frozen=1)
    assert not network.is_plain()
    assert network.spec.frozen == (True, False)
    with pytest.raises(TypeError, match="residual, tied can't change"):
        network.configure(tied=True, residual=True)
    with pytest.raises(ValueError, match="corruption=2"):
        network.configure(corruption=2)
    assert network.spec.corruption == 0.1


CHANGES = {
    "hidden_layer_sizes": (7, r"hidden_layer_sizes=7 differs .* \(5, 5\)"),
    "activation": ("tanh", r"activation='tanh' differs .* \['relu', 'relu'\]"),
    "loss": ("absolute_error", "loss='absolute_error' differs .* 'squared_error'"),
    "batch_norm": ("hidden", "batch_norm='hidden' differs .* None"),
    "residual": (True, "residual=True differs .* False"),
    "standardize": (True, "standardize=True differs .* False"),
    "connectivity": (lambda k, a, b: np.ones((a, b), bool), "connectivity differs"),
    "fit_intercept": (False, "fit_intercept=False differs .* True"),
    "output_activation": ("tanh", "output_activation='tanh' differs .* 'identity'"),
    "dropout": (Dropout(0.1, scaling="test"), "dropout=Dropout.*'test'.* differs"),
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", CHANGES)
def test_a_warm_start_with_another_network_names_the_parameter(name):
    value, message = CHANGES[name]
    X = np.random.default_rng(0).normal(size=(20, 3))
    model = MLPRegressor((5, 5), dropout=0.1, max_iter=2, warm_start=True)
    model.fit(X, X[:, 0])
    before = model.predict(X)
    with pytest.raises(ValueError, match=f"{message}.*refit with warm_start=False"):
        model.set_params(**{name: value}).fit(X, X[:, 0])
    np.testing.assert_array_equal(model.predict(X), before)
