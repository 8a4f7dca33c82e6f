"""Layers copied from another network, and frozen layers [S ex. 65.11]."""

import pickle
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator

from mlp import Dropout, EarlyStopping, MLPClassifier, MLPRegressor, Network
from mlp.network.spec import frozen_layers
from mlp.network.transfer import (
    copy_layers,
    frozen_prefix,
    split_off_tail,
    write_tail,
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def data(n=120, seed=0, classes=3):
    rng = np.random.RandomState(seed)
    X = rng.standard_normal((n, 9))
    return X, rng.randint(0, classes, n)


@pytest.fixture(scope="module")
def base():
    X, y = data(seed=7, classes=4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return MLPClassifier((12, 8), max_iter=15, random_state=1).fit(X, y)


def settings(**options):
    return {"max_iter": 5, "tol": 0.0, "random_state": 0, "batch_size": 32} | options


# -- copied layers --


def test_leading_layers_are_those_of_the_base(base):
    X, y = data()
    est = MLPClassifier((12, 8), base=base, freeze=2, **settings()).fit(X, y)
    for k in (0, 1):
        assert_array_equal(est.coefs_[k], base.coefs_[k])
        assert_array_equal(est.intercepts_[k], base.intercepts_[k])
    assert est.coefs_[2].shape == (8, 3)
    assert_allclose(
        est.network_.hidden_activations(X), base.network_.hidden_activations(X)
    )
    assert est.loss_curve_[-1] < est.loss_curve_[0]


@pytest.mark.parametrize("head", [(12, 8, 5), (12,), (12, 5), (12, 8, 6, 4)])
def test_a_new_head_of_any_depth(base, head):
    X, y = data()
    shared = 2 if head[:2] == (12, 8) else 1
    est = MLPClassifier(head, base=base, freeze=shared, **settings()).fit(X, y)
    for k in range(shared):
        assert_array_equal(est.coefs_[k], base.coefs_[k])
    assert est.predict(X).shape == (120,)


@pytest.mark.parametrize("wrap", ["estimator", "frozen", "network"])
def test_what_a_base_may_be(base, wrap):
    X, y = data()
    given = {
        "estimator": base,
        "frozen": FrozenEstimator(base),
        "network": base.network_,
    }
    est = MLPClassifier((12, 8), base=given[wrap], **settings(max_iter=1)).fit(X, y)
    again = MLPClassifier((12, 8), base=base, **settings(max_iter=1)).fit(X, y)
    assert_array_equal(est.network_.params, again.network_.params)
    if wrap != "estimator":
        copy = clone(est).fit(X, y)
        assert_array_equal(copy.network_.params, est.network_.params)


def test_a_clone_of_a_base_is_not_fitted(base):
    X, y = data()
    with pytest.raises(ValueError, match=r"clone\(\) makes unfitted copies"):
        clone(MLPClassifier((12, 8), base=base)).fit(X, y)


def test_what_cannot_be_taken_over(base):
    X, y = data()
    with pytest.raises(ValueError, match="none can be the first"):
        MLPClassifier((11, 8), base=base).fit(X, y)
    with pytest.raises(ValueError, match="none can be the first"):
        MLPClassifier((12, 8), "tanh", base=base).fit(X, y)
    with pytest.raises(ValueError, match="batch_norm='hidden' would normalise"):
        MLPClassifier((12, 8), base=base, batch_norm="hidden").fit(X, y)
    with pytest.raises(ValueError, match="standardize=True would scale"):
        MLPClassifier((12, 8), base=base, standardize=True).fit(X, y)


@pytest.mark.parametrize(
    "options",
    [
        {"batch_norm": "all+input"},
        {"standardize": True},
        {"dropout": Dropout(0.3, scaling="test")},
        {"batch_norm": "hidden", "standardize": True},
    ],
    ids=str,
)
def test_a_base_comes_as_it_predicts(options):
    X, y = data()
    source = MLPClassifier((12, 8), **settings(**options)).fit(X, y)
    est = MLPClassifier((12, 8), base=source, freeze=2, **settings()).fit(X, y)
    assert_allclose(
        est.network_.hidden_activations(X),
        source.network_.hidden_activations(X),
        rtol=1e-9,
        atol=1e-9,
    )


def test_batch_norm_is_copied_where_both_have_it():
    X, y = data()
    source = MLPClassifier((12, 8), batch_norm="hidden+input", **settings()).fit(X, y)
    network = Network((9, 12, 8, 3), batch_norm="hidden+input")
    assert copy_layers(network, source.network_) == 2
    assert_array_equal(network.statistics[1], source.network_.statistics[1])
    assert_array_equal(network.scales[0], source.network_.scales[0])
    assert_array_equal(network.input_statistics, source.network_.input_statistics)


def test_connections_are_copied():
    rng = np.random.RandomState(0)
    there = [rng.uniform(size=(9, 12)) < 0.5, None]
    sparse, dense = Network((9, 12, 3), connectivity=there), Network((9, 12, 2))
    sparse.coefs[0].data[:] = rng.standard_normal(sparse.coefs[0].nnz)
    copy_layers(dense, sparse)
    assert_array_equal(dense.coefs[0], sparse.coefs[0].toarray())
    back = Network((9, 12, 2), connectivity=there)
    copy_layers(back, dense)
    assert_array_equal(back.coefs[0].toarray(), dense.coefs[0])


def test_layers_with_a_way_around_them_are_not_those_without():
    plain, residual = (
        Network((9, 12, 12, 12, 3), residual=around) for around in (False, True)
    )
    assert copy_layers(plain, residual) == copy_layers(residual, plain) == 1
    assert (
        copy_layers(plain, plain.copy()) == copy_layers(residual, residual.copy()) == 3
    )


# -- frozen layers --


@pytest.mark.parametrize(
    ("freeze", "message"),
    [(3, "leaves nothing to train"), (4, "must be a number of"), ([True], "each of"),
     ([1, 1, 1], "leaves nothing"), ([0, 2, 1], "must be"), ("ab", "must be")],
)  # fmt: skip
def test_bad_freeze(freeze, message):
    X, y = data()
    with pytest.raises(ValueError, match=message):
        MLPClassifier((12, 8), freeze=freeze).fit(X, y)


def test_frozen_layers_as_numbers_and_masks():
    assert frozen_layers(2, 3) == (True, True, False)
    assert frozen_layers([False, True, False], 3) == (False, True, False)
    assert frozen_layers(0, 2) == (False, False)


OPTIONS = {
    "adam": {},
    "sgd": {"solver": "sgd"},
    "single samples": {"solver": "sgd", "momentum": 0, "batch_size": 1},
    "adamw": {"solver": "adamw"},
    "lbfgs": {"solver": "lbfgs"},
    "cg": {"solver": "cg"},
    "gd": {"solver": "gd"},
    "penalties": {"alpha": 0.3, "l1": 0.01, "l2": 0.01, "l2_bias": True},
    "clipping": {"clip_norm": 0.1},
    "batch norm": {"batch_norm": "all"},
    "dropout": {"dropout": 0.3},
    "dropout of inputs": {"dropout": Dropout(0.3, input=0.2), "clip_norm": 0.2},
    "dropout by sample": {"dropout": Dropout(0.3, mask="sample")},
    "augment": {"augment": lambda X, rng: X + 0.1 * rng.standard_normal(X.shape)},
    "early stopping": {"early_stopping": EarlyStopping(restore_best=False)},
}


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize(
    "freeze", [1, 2, (False, True, False), (True, False, True)], ids=str
)
def test_frozen_parameters_keep_their_bits(option, freeze):
    X, y = data()
    est = MLPClassifier((12, 8), warm_start=True, **settings(**OPTIONS[option]))
    est.fit(X, y)
    before = est.network_.copy()
    est.set_params(freeze=freeze).fit(X, y)
    frozen = frozen_layers(freeze, 3)
    for k, still in enumerate(frozen):
        same = np.array_equal(est.coefs_[k], before.coefs[k])
        same_offsets = np.array_equal(est.intercepts_[k], before.intercepts[k])
        assert same == still
        assert same_offsets == still
        scale = est.network_.scales[k]
        if scale is not None:
            assert np.array_equal(scale, before.scales[k]) == still
    assert_allclose(est.predict_proba(X).sum(axis=1), 1)
    est.set_params(freeze=0).fit(X, y)
    assert not np.array_equal(est.coefs_[0], before.coefs[0])


PLAIN = ["adam", "sgd", "single samples", "adamw", "lbfgs", "penalties", "clipping"]


@pytest.mark.parametrize("option", PLAIN)
@pytest.mark.parametrize("sparse", [False, True])
def test_the_cut_network_trains_as_the_whole_one_with_gradients_left_out(
    option, sparse
):
    """Without the cut, frozen layers take the way of a mask in the middle."""
    X, y = data()
    X = sp.csr_array(np.where(np.abs(X) > 1, X, 0)) if sparse else X
    setting = settings(**OPTIONS[option])
    start = MLPClassifier((12, 8), **setting | {"max_iter": 1}).fit(X, y)
    cut = pickle.loads(pickle.dumps(start)).set_params(
        warm_start=True, freeze=1, max_iter=4, solver=setting.get("solver", "adam")
    )
    whole = pickle.loads(pickle.dumps(cut))
    cut.fit(X, y)
    import mlp.estimators.fitting as fitting

    kept = fitting.frozen_prefix
    fitting.frozen_prefix = lambda spec: 0
    try:
        whole.fit(X, y)
    finally:
        fitting.frozen_prefix = kept
    assert_allclose(cut.loss_curve_, whole.loss_curve_, rtol=1e-9)
    assert_allclose(cut.network_.params, whole.network_.params, rtol=1e-6, atol=1e-9)


def test_tail_and_back():
    rng = np.random.RandomState(0)
    network = Network((9, 12, 8, 3), "tanh", batch_norm="all")
    network.params[:] = rng.standard_normal(network.params.size)
    network.refold()
    X = rng.standard_normal((20, 9))
    short = split_off_tail(network, 2)
    assert_allclose(
        short.forward(network.hidden_activations(X, 1)), network.forward(X), rtol=1e-12
    )
    short.params *= 2
    write_tail(network, short, 2)
    assert_array_equal(network.coefs[2], short.coefs[0])
    assert_array_equal(network.scales[2], short.scales[0])
    network.configure(frozen=2)
    assert frozen_prefix(network.spec) == 2


def test_a_tail_drops_out_what_its_own_layers_do():
    network = Network((9, 12, 8, 3))
    network.configure(dropout=Dropout((0.2, 0.3), input=0.1))
    assert split_off_tail(network, 1).spec.drop_rates == (0.2, 0.3)
    assert split_off_tail(network, 2).spec.drop_rates == (0.3,)


def test_samples_are_augmented_before_frozen_layers(base):
    X, y = data()
    seen = set()

    def augment(batch, rng):
        seen.add(batch.shape[1])
        return batch

    MLPClassifier(
        (12, 8), base=base, freeze=2, augment=augment, **settings(max_iter=1)
    ).fit(X, y)
    assert seen == {9}


def test_scorers_and_callbacks_see_the_whole_network(base):
    X, y = data()
    seen = []

    def scorer(estimator, X, y):
        seen.append((X.shape, estimator.predict(X).shape, len(estimator.coefs_)))
        return len(seen)

    est = MLPClassifier(
        (12, 8),
        base=base,
        freeze=2,
        early_stopping=EarlyStopping(scorer),
        **settings(),
    ).fit(X, y)
    assert seen[0] == ((12, 9), (12,), 3)
    assert est.predict(X).shape == y.shape
    assert len(seen) == 5


def test_partial_fit_with_another_number_of_frozen_layers(base):
    X, y = data()
    est = MLPClassifier((12, 8), base=base, freeze=2, random_state=0)
    est.partial_fit(X, y, classes=[0, 1, 2])
    steps = est._optimizer.steps
    est.partial_fit(X, y)
    assert est._optimizer.steps == 2 * steps
    est.set_params(freeze=0).partial_fit(X, y)
    assert est._optimizer.steps == steps


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_regressor_with_standardized_targets(dtype):
    rng = np.random.RandomState(0)
    X, Y = rng.standard_normal((200, 9)), 1e3 * rng.standard_normal((200, 2))
    Y[:, 0] += 1e3 * X[:, 0]
    setting = settings(standardize=True, dtype=dtype, max_iter=60, warm_start=True)
    est = MLPRegressor((12, 8), **setting).fit(X, Y)
    before = est.score(X, Y), est.coefs_[0].copy()
    est.set_params(freeze=1).fit(X, Y)
    assert est.score(X, Y) > before[0]
    assert_array_equal(est.coefs_[0], before[1])


def test_random_features_can_be_frozen_too():
    X, y = data()
    est = MLPClassifier((300,), freeze=1, solver="lbfgs", max_iter=300, alpha=1e-3,
                        random_state=0).fit(X, y)  # fmt: skip
    assert est.score(X, y) > 0.9


@pytest.mark.parametrize(
    "options",
    [
        {"standardize": True},
        {"batch_norm": "hidden"},
        {"batch_norm": "all+input"},
        {"dropout": Dropout(0.3, input=0.2, scaling="test")},
        {"standardize": True, "residual": True},
    ],
    ids=str,
)
def test_frozen_layers_are_applied_as_in_prediction(options):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, 4)) * [1, 10, 0.1, 3] + [5, 100, 0, -20]
    y = X[:, 0] + X[:, 1] / 10
    model = MLPRegressor((8, 8), freeze=1, max_iter=4, random_state=0, **options)
    model.fit(X, y, X_val=X, y_val=y)
    network = model.network_
    assert_allclose(
        model.validation_loss_curve_[-1],
        network.prediction_loss(network.data(X, y[:, None])),
        rtol=1e-9,
    )
