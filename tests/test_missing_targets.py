"""`MLPRegressor` with targets that are not known (NaN)."""

import pickle

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.metrics import r2_score
from sklearn.model_selection import KFold, cross_val_score
from small_data import assert_same_bits, either_dtype, fitted_state, parameters
from twins import run_of

from mlp import MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

rng = np.random.default_rng(4)
X = rng.normal(size=(80, 3))
Y = np.stack([X[:, 0] + X[:, 1], 3 * X[:, 2] - 1, X[:, 0] * X[:, 2]], axis=1)
GONE = rng.random(Y.shape) < 0.3
GONE[5] = True  # of this sample nothing is known
HOLES = np.where(GONE, np.nan, Y)
SOME = ~GONE.all(axis=1)


def plain_loss(y, out, name):
    """Losses of the known targets, summed over the outputs, mean over the samples."""
    e = np.where(np.isnan(y), 0, out - y)
    if name == "huber":
        norm = np.linalg.norm(e, axis=1)
        return np.mean(np.where(norm <= 1, norm**2 / 2, norm - 0.5))
    return np.mean(np.abs(e).sum(axis=1))


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("sparse", [False, True])
def test_samples_without_a_known_target_contribute_nothing(solver, sparse):
    data = sp.csr_array(X) if sparse else X
    model = MLPRegressor(5, solver=solver, max_iter=5, random_state=0, standardize=True)
    weights = rng.uniform(0.5, 2, 80)
    with_them = clone(model).fit(data, HOLES, weights)
    without = clone(model).fit(data[SOME], HOLES[SOME], weights[SOME])
    assert_same_bits(with_them, without)
    assert with_them.loss_curve_ == without.loss_curve_


@either_dtype
def test_one_output_is_trained_on_its_known_targets(dtype):
    known = ~GONE[:, 0]
    data = X.astype(dtype)
    model = MLPRegressor(5, max_iter=5, early_stopping=True, random_state=0)
    assert_same_bits(
        clone(model).fit(data, HOLES[:, 0]), clone(model).fit(data[known], Y[known, 0])
    )


@either_dtype
def test_missing_targets_have_no_gradient(dtype):
    """The gradient is the same as if they had been predicted without error."""
    model = MLPRegressor(5, max_iter=2, random_state=0).fit(X.astype(dtype), HOLES)
    network = model.network_
    filled = np.where(GONE, network.forward(X.astype(dtype)), HOLES)
    (loss, gradient), (expected_loss, expected) = (
        network.gradients(X, y) for y in (HOLES, filled)
    )
    tolerance = 1e-13 if dtype == np.float64 else 1e-6
    assert_allclose(loss, expected_loss, rtol=tolerance)
    assert_allclose(gradient, expected, rtol=0, atol=tolerance * abs(expected).max())


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "huber"])
def test_single_samples_step_along_the_gradient(loss):
    """Batches of one go another way through the core."""
    network = MLPRegressor(5, loss=loss, max_iter=2).fit(X, HOLES).network_
    twin, rate = network.copy(), 0.05
    for x, y in zip(X, HOLES, strict=True):
        twin.params -= rate * twin.gradients(x[None], y[None])[1]
    run_of(network, X, HOLES, rate=rate, batch_size=1).epoch()
    assert_allclose(network.params, twin.params, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("loss", ["absolute_error", "huber"])
def test_loss_curve_is_the_loss_of_the_known_targets(loss):
    whole = int(SOME.sum())
    model = MLPRegressor(5, loss=loss, alpha=0.0, batch_size=whole, max_iter=1)
    model.set_params(warm_start=True, solver="sgd").fit(X, HOLES)
    out = model.predict(X[SOME])
    model.fit(X, HOLES)
    assert_allclose(model.loss_, plain_loss(HOLES[SOME], out, loss), rtol=1e-12)


@pytest.mark.parametrize(
    "loss", ["squared_error", "absolute_error", "huber", "quantile"]
)
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_what_is_known_is_learnt_whatever_the_loss(loss, solver):
    """Linear targets are found exactly, also where they were not known."""
    linear = np.where(GONE, np.nan, X @ [[1, 2, 0], [0, -1, 1], [3, 0, 1]])
    model = MLPRegressor(
        (), loss=loss, solver=solver, alpha=0.0, max_iter=2000, tol=1e-9, random_state=0
    ).set_params(learning_rate_init=0.01)
    model.fit(X, linear)
    assert model.score(X, X @ [[1, 2, 0], [0, -1, 1], [3, 0, 1]]) > 0.995


def test_poisson_rates_may_be_missing():
    counts = np.where(GONE[:, 0], np.nan, np.floor(np.exp(X[:, 0])))
    model = MLPRegressor((), loss="poisson", solver="lbfgs", random_state=0)
    assert model.fit(X, counts).coefs_[0][0, 0] > 0.5


def test_standardization_is_by_the_known_targets():
    model = MLPRegressor(5, standardize=True, max_iter=1).fit(X, HOLES)
    assert_allclose(model.network_.output_shift, np.nanmean(HOLES, axis=0), rtol=1e-12)
    assert_allclose(model.network_.output_scale, np.nanstd(HOLES, axis=0), rtol=1e-12)


def test_score_is_the_mean_r2_of_the_known_targets():
    model = MLPRegressor(20, solver="lbfgs", random_state=0).fit(X, HOLES)
    out, weights = model.predict(X), rng.uniform(0, 2, 80)
    for w in (None, weights):
        expected = [
            r2_score(
                Y[known, k],
                out[known, k],
                sample_weight=None if w is None else w[known],
            )
            for k, known in enumerate(~GONE.T)
        ]
        assert model.score(X, HOLES, w) == pytest.approx(np.mean(expected), rel=1e-12)
        assert model.score(X, Y, w) == r2_score(Y, out, sample_weight=w)
    assert model.score(X, HOLES) > 0.95


def test_score_leaves_out_an_output_with_a_single_known_target():
    model = MLPRegressor(5, max_iter=5, random_state=0).fit(X, HOLES)
    y = Y.copy()
    y[1:, 2] = np.nan
    expected = r2_score(Y[:, :2], model.predict(X)[:, :2])
    assert model.score(X, y) == pytest.approx(expected, rel=1e-12)
    with pytest.raises(ValueError, match=r"y must have shape \(80, 3\)"):
        model.score(X, HOLES[:, :2])
    with pytest.raises(ValueError, match="infinity"):
        model.score(X, np.where(GONE, np.inf, Y))


def test_early_stopping_scores_the_known_targets():
    model = MLPRegressor(20, early_stopping=True, max_iter=50, random_state=0)
    model.set_params(learning_rate_init=0.01)
    model.fit(X, HOLES, X_val=X[:40], y_val=HOLES[:40])
    best = model.best_validation_score_
    assert best == max(model.validation_scores_)
    assert model.score(X[:40], HOLES[:40]) == pytest.approx(best, rel=1e-12)
    assert best > model.validation_scores_[0] + 0.3
    held_out = clone(model).set_params(max_iter=3).fit(X, HOLES)
    assert np.isfinite(held_out.validation_scores_).all()
    assert np.isfinite(held_out.validation_loss_curve_).all()


def test_validation_may_lack_an_output():
    lacking = np.where([True, False, True], HOLES, np.nan)[:40]
    model = MLPRegressor(5, max_iter=2, random_state=0)
    model.fit(X, HOLES, X_val=X[:40], y_val=lacking)
    assert model.validation_scores_[-1] == pytest.approx(model.score(X[:40], lacking))


def test_partial_fit_goes_over_the_samples_as_fit_does():
    whole = MLPRegressor(5, max_iter=2, shuffle=False, random_state=0).fit(X, HOLES)
    parts = clone(whole).partial_fit(X, HOLES).partial_fit(X, HOLES)
    assert_same_bits(whole, parts)


def test_partial_fit_takes_a_batch_that_lacks_an_output():
    model = MLPRegressor(5, random_state=0)
    model.partial_fit(X, np.where([True, False, True], HOLES, np.nan))
    before = [p.copy() for p in parameters(model)]
    model.partial_fit(X, np.where([False, True, False], HOLES, np.nan))
    assert (model.coefs_[-1][:, 1] != before[1][:, 1]).any()


@pytest.mark.parametrize("options", [{}, {"batch_norm": "hidden"}, {"dropout": 0.2}])
@pytest.mark.parametrize("sparse", [False, True])
def test_partial_fit_of_a_batch_without_a_known_target_trains_nothing(options, sparse):
    data = sp.csr_array(X) if sparse else X
    model = MLPRegressor(5, random_state=0, **options).partial_fit(data, HOLES)
    before = fitted_state(model)
    model.partial_fit(data[:1], np.full((1, 3), np.nan))
    assert fitted_state(model) == before


@pytest.mark.parametrize("loss", ["squared_error", "huber", "own"])
def test_partial_fit_may_begin_without_a_known_target(loss):
    loss = half_square_of_known if loss == "own" else loss
    model = MLPRegressor(5, loss=loss, random_state=np.random.RandomState(0))
    model.partial_fit(X[:1], np.full((1, 3), np.nan))
    assert np.isnan(model.loss_)
    assert model.loss_curve_ == []
    assert model.predict(X).shape == (80, 3)
    expected = MLPRegressor(5, loss=loss, random_state=np.random.RandomState(0))
    assert_same_bits(model.partial_fit(X, HOLES), expected.partial_fit(X, HOLES))


@pytest.mark.parametrize("options", [{"standardize": True}, {"activation": ["rbf"]}])
def test_partial_fit_cannot_measure_samples_without_a_known_target(options):
    model = MLPRegressor(5, **options)
    with pytest.raises(ValueError, match="y: every target is missing"):
        model.partial_fit(X, HOLES * np.nan)


def test_loss_gradients_without_a_known_target_are_zeros():
    model = MLPRegressor(5, max_iter=2).fit(X, HOLES)
    gradients = model.loss_gradients(X, HOLES * np.nan)
    assert_array_equal(gradients, np.zeros_like(X))
    with pytest.raises(ValueError, match="y: every target is missing"):
        model.hessian_diagonal(X, HOLES * np.nan)


def test_y_val_without_a_known_target_is_refused():
    with pytest.raises(ValueError, match="X_val, y_val: y: every target is missing"):
        MLPRegressor(5).fit(X, HOLES, X_val=X, y_val=HOLES * np.nan)


def test_frames_and_none_mark_missing_targets():
    model = MLPRegressor(5, max_iter=2, random_state=0)
    expected = clone(model).fit(X, HOLES)
    table = pd.DataFrame(HOLES).astype("Float64")
    assert table.isna().to_numpy().any()
    for y in (table, np.where(GONE, None, Y)):
        assert_same_bits(clone(model).fit(X, y), expected)


def test_cross_validation_and_pickles():
    model = MLPRegressor(10, solver="lbfgs", alpha=0.1, random_state=0)
    scores = cross_val_score(model, X, HOLES, cv=KFold(3))
    assert scores.mean() > 0.8
    model.fit(X, HOLES)
    loaded = pickle.loads(pickle.dumps(model))
    assert_array_equal(loaded.predict(X), model.predict(X))


def half_square(y, out):
    return 0.5 * ((out - y) ** 2).sum(axis=1), out - y


def half_square_of_known(y, out):
    return half_square(np.where(np.isnan(y), out, y), out)


def half_square_pulled_to_zero(y, out):
    """Values leave missing targets out, the gradient does not."""
    return half_square_of_known(y, out)[0], out - np.where(np.isnan(y), 0, y)


def test_own_gradient_of_missing_targets_must_be_zero():
    model = MLPRegressor(5, loss=half_square_pulled_to_zero, max_iter=5, random_state=0)
    model.fit(X, Y)
    with pytest.raises(ValueError, match="missing targets"):
        model.fit(X, HOLES)


def test_own_loss_is_told_to_leave_out_missing_targets():
    model = MLPRegressor(5, loss=half_square, max_iter=5, random_state=0)
    late = np.where((np.arange(80) > 70)[:, None], HOLES, Y)  # not in the first samples
    for y in (HOLES, late):
        with pytest.raises(ValueError, match="missing targets"):
            clone(model).fit(X, y)
    model.set_params(loss=half_square_of_known).fit(X, HOLES)
    built_in = clone(model).set_params(loss="squared_error").fit(X, HOLES)
    for a, b in zip(parameters(model), parameters(built_in), strict=True):
        assert_allclose(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("y", "words"),
    [
        (np.where([1, 0, 1], HOLES, np.nan), "every target is missing in column 1"),
        (
            pd.DataFrame(np.where([1, 0, 1], HOLES, np.nan), columns=list("abc")),
            r"every target is missing in column 1 \('b'\)",
        ),
        (np.full(80, np.nan), "y: every target is missing$"),
        (np.where(GONE, np.inf, Y), "Input y contains infinity"),
        (np.where(GONE, -np.inf, HOLES), "Input y contains infinity"),
        (HOLES[:-1], r"inconsistent.*\[80, 79\]"),
        (HOLES[:, :, None], "dim 3"),
    ],
)
def test_bad_targets_are_refused_and_nothing_is_lost(y, words):
    model = MLPRegressor(5, max_iter=2).fit(X, HOLES)
    before = fitted_state(model)
    with pytest.raises(ValueError, match=words):
        model.fit(X, y)
    assert fitted_state(model) == before


def test_what_is_unknown_at_first_cannot_be_standardized():
    model = MLPRegressor(5, standardize=True)
    with pytest.raises(ValueError, match="every target is missing in column 1"):
        model.partial_fit(X, np.where([1, 0, 1], HOLES, np.nan))


def test_weights_must_fall_on_known_targets():
    with pytest.raises(ValueError, match="positive sum where y is known"):
        MLPRegressor(max_iter=1).fit(X, HOLES, sample_weight=1.0 * ~SOME)


def test_sparse_targets_are_refused():
    with pytest.raises(TypeError, match="Sparse data was passed for y"):
        MLPRegressor(max_iter=1).fit(X, sp.csr_array(Y))
