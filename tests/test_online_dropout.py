"""Per-sample training with dropout, on the rows of the kept units in place."""

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal

from mlp import Dropout, MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

#: so small a momentum changes nothing, but takes the way of gathered batches
GATHERED = {"momentum": 1e-40, "nesterovs_momentum": False}


def data(sparse=False):
    rng = np.random.RandomState(0)
    X = rng.standard_normal((60, 13))
    X[rng.uniform(size=X.shape) < 0.3] = 0
    return (
        (sp.csr_array(X) if sparse else X),
        rng.randint(0, 3, 60),
        rng.uniform(size=60),
    )


def settings(rates=(0.5, 0.3), scaling="train", decay="kept", **options):
    return {
        "solver": "sgd", "batch_size": 1, "max_iter": 3, "tol": 0, "random_state": 1,
        "learning_rate_init": 0.01,
        "dropout": Dropout(rates, input=0.2, scaling=scaling, decay=decay),
    } | options  # fmt: skip


@pytest.mark.parametrize("activation", ["relu", "tanh", "logistic", "gelu"])
@pytest.mark.parametrize(
    "penalty",
    [
        {"alpha": 0.0},
        {"alpha": 0.1, "l2": 0.01},
        {"l2": 0.1, "scaling": "test"},
        {"alpha": 0.1, "l2": 0.01, "decay": "all"},
        {"l2": 0.1, "scaling": "test", "decay": "all"},
    ],
    ids=str,
)
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_it_is_the_gathered_network(activation, penalty, sparse, weighted):
    X, y, weight = data(sparse)
    weight = weight if weighted else None
    for Estimator in (MLPClassifier, MLPRegressor):
        here, gathered = (
            Estimator((37, 20), activation, **settings(**penalty), **way).fit(
                X, y, weight
            )
            for way in ({"momentum": 0.0}, GATHERED)
        )
        assert here.network_.params.any()
        assert_allclose(
            here.network_.params, gathered.network_.params, rtol=1e-10, atol=1e-12
        )
        assert_allclose(here.loss_curve_, gathered.loss_curve_, rtol=1e-10)


@pytest.mark.parametrize("decay", ["kept", "all"])
def test_float32_and_narrow_and_wide_layers(decay):
    X, y, _ = data()
    for sizes in ((3,), (50, 70, 40), (16, 16)):
        setting = settings(0.5, decay=decay, dtype="float32", l2=0.01)
        here = MLPClassifier(sizes, momentum=0.0, **setting).fit(X, y)
        gathered = MLPClassifier(sizes, **setting, **GATHERED).fit(X, y)
        assert_allclose(
            here.network_.params, gathered.network_.params, rtol=2e-4, atol=2e-5
        )


def test_samples_of_no_weight_change_nothing():
    X, y, weight = data()
    weight[::2] = 0
    est = MLPClassifier((10,), momentum=0.0, **settings(0.4)).fit(X, y, weight)
    again = MLPClassifier((10,), **settings(0.4), **GATHERED).fit(X, y, weight)
    assert_allclose(est.network_.params, again.network_.params, rtol=1e-10, atol=1e-12)


def test_the_same_bits_again():
    X, y, _ = data()
    fits = [MLPClassifier((37,), momentum=0.0, **settings(0.5)).fit(X, y)
            for _ in range(2)]  # fmt: skip
    assert_array_equal(fits[0].network_.params, fits[1].network_.params)


def test_scale_of_all_weights_is_folded_before_it_vanishes():
    # 600 steps that halve the weights, nearly: s would pass 1e-150
    X, y, _ = data()
    setting = settings(0.5, decay="all", l2=4.5, learning_rate_init=0.05, max_iter=10)
    here = MLPRegressor((10,), momentum=0.0, **setting).fit(X, y)
    gathered = MLPRegressor((10,), **setting, **GATHERED).fit(X, y)
    assert_allclose(
        here.network_.params, gathered.network_.params, rtol=1e-9, atol=1e-12
    )
    assert_allclose(here.loss_curve_, gathered.loss_curve_, rtol=1e-9)
