"""Means and deviations of `standardize`: of weighted, incomplete, sparse samples."""

import numpy as np
import pytest
from scipy.sparse import coo_array, csr_array

import mlp
from mlp import (
    MLPAutoencoder,
    MLPClassifier,
    MLPRegressor,
    MultiTaskClassifier,
    SiameseClassifier,
)
from mlp.estimators.standardize import moments

RNG = np.random.RandomState(0)
X = RNG.randn(50, 4) * [1, 10, 0.1, 1] + 3
Y = X @ RNG.randn(4, 2)
TIMES = RNG.randint(0, 4, 50)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def expected(values, weights=None):
    """By formula, element by element."""
    columns = []
    for column in values.T:
        known = ~np.isnan(column)
        w = np.ones(known.sum()) if weights is None else weights[known]
        mean = np.average(column[known], weights=w)
        columns.append(
            (mean, np.sqrt(np.average((column[known] - mean) ** 2, weights=w)))
        )
    return np.transpose(columns)


@pytest.mark.parametrize("weights", [None, TIMES.astype(float)])
@pytest.mark.parametrize("kind", ["dense", "incomplete", "sparse"])
def test_moments_are_those_of_the_formula(kind, weights):
    values = np.where(X > 3, X, 0 if kind == "sparse" else np.nan)
    values = X if kind == "dense" else values
    given = csr_array(values) if kind == "sparse" else values
    np.testing.assert_allclose(
        moments(given, weights), expected(values, weights), rtol=1e-12
    )


def test_entries_stored_twice_add_up():
    rows, columns = np.indices((50, 4)).reshape(2, -1)
    twice = csr_array(
        coo_array(
            (
                np.tile(X.ravel() / 2, 2),
                (np.tile(rows, 2), np.tile(columns, 2)),
            )
        )
    )
    entries = np.repeat(np.arange(4), 2)
    doubled = csr_array(
        (
            np.repeat(X.ravel() / 2, 2),
            np.tile(entries, 50),
            np.arange(0, 401, 8),
        ),
        shape=(50, 4),
    )
    assert not doubled.has_canonical_format
    for given in (twice, doubled):
        np.testing.assert_allclose(moments(given, None), expected(X), rtol=1e-12)


def test_sparse_values_far_from_zero_keep_their_deviation():
    far = (3000 + RNG.randn(2000, 3)).astype("float32")
    np.testing.assert_allclose(
        moments(csr_array(far), None)[1], far.std(axis=0, dtype=float), rtol=1e-6
    )


@pytest.mark.parametrize("Estimator", [MLPClassifier, MLPRegressor, MLPAutoencoder])
def test_an_integer_weight_is_a_repeated_sample(Estimator):
    y = TIMES % 2 if Estimator is MLPClassifier else Y
    options = {
        "solver": "lbfgs",
        "standardize": True,
        "max_iter": 20,
        "random_state": 0,
    }
    weighted = Estimator(5, **options).fit(X, y, sample_weight=TIMES)
    repeated = Estimator(5, **options).fit(
        np.repeat(X, TIMES, axis=0), np.repeat(y, TIMES, axis=0)
    )
    np.testing.assert_allclose(weighted.coefs_[0], repeated.coefs_[0], rtol=1e-4)


def test_radial_functions_start_at_samples_that_weigh_something():
    model = MLPRegressor(3, "rbf", solver="lbfgs", max_iter=1, random_state=0)
    weights = np.zeros(50)
    weights[[7, 11, 13]] = 1, 2, 1
    model.set_params(max_fun=1).fit(X, Y, sample_weight=weights)
    start = MLPRegressor(3, "rbf", solver="sgd", learning_rate_init=1e-300, max_iter=1)
    start.set_params(random_state=0).fit(X, Y, sample_weight=weights)
    centres = {tuple(c) for c in start.coefs_[0].T}
    assert centres == {tuple(x) for x in X[[7, 11, 13]]}
    _, deviation = expected(X, weights)
    np.testing.assert_allclose(start.intercepts_[0], (deviation**2).sum())


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_an_integer_weight_is_a_repeated_pair(kind):
    far = X.copy()
    far[0] = 1e6
    first, second = far[:25], X[25:]
    if kind == "sparse":
        first, second = csr_array(first), csr_array(second)
    times = TIMES[:25].copy()
    times[0] = 0
    same = np.arange(25) % 2
    options = {"standardize": True, "max_iter": 1, "random_state": 0}
    weighted = SiameseClassifier(3, **options)
    weighted.fit((first, second), same, sample_weight=times)
    rows = np.repeat(np.arange(25), times)
    repeated = SiameseClassifier(3, **options).fit(
        (first[rows], second[rows]), same[rows]
    )
    np.testing.assert_allclose(
        weighted.network_.branch.input_scale,
        repeated.network_.branch.input_scale,
        rtol=1e-12,
    )


def test_a_target_known_only_where_the_weights_are_zero_is_measured_without_them():
    y = Y.copy()
    y[3:, 1] = np.nan
    weights = np.ones(50)
    weights[:3] = 0
    model = MLPRegressor(3, standardize=True, max_iter=2, random_state=0)
    model.fit(X, y, sample_weight=weights)
    np.testing.assert_allclose(model.network_.output_scale[1], Y[:3, 1].std())


# -- columns that are constant but for rounding --

SIZES = [10, 97, 200, 300, 777, 1000]
CONSTANTS = [0.1, 1.0, 7.0, 14.62, -3e-9, 1e12]


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", ["dense", "incomplete", "sparse"])
def test_moments_when_a_column_is_constant_then_its_deviation_is_0(n, weighted, kind):
    values = np.tile(CONSTANTS, (n, 1))
    weights = np.random.RandomState(n).rand(n) if weighted else None
    if kind == "incomplete":
        values[: n // 2, 0] = np.nan
    given = csr_array(values) if kind == "sparse" else values
    mean, deviation = moments(given, weights)
    np.testing.assert_allclose(mean, CONSTANTS, rtol=1e-12)
    np.testing.assert_array_equal(deviation, 0)


def test_sparse_moments_when_rows_weigh_nothing_then_a_full_column_is_constant():
    values = np.ones((300, 1))
    values[:100] = 0
    weights = np.random.RandomState(0).rand(300)
    weights[:100] = 0
    assert moments(csr_array(values), weights)[1] == 0


def test_moments_when_a_column_varies_by_more_than_rounding_then_it_is_not_constant():
    values = 1e6 + 1e-3 * RNG.randn(50, 1)
    np.testing.assert_allclose(moments(values, None)[1], values.std(axis=0), rtol=1e-12)


def targets_of(Estimator, x):
    """Return targets that the estimator can learn of the values x in [−1, 1]."""
    if Estimator is MultiTaskClassifier:
        return np.column_stack([x > 0, x > 0.5])
    return x > 0 if Estimator is MLPClassifier else x


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize(
    "Estimator", [MLPClassifier, MLPRegressor, MLPAutoencoder, MultiTaskClassifier]
)
def test_input_scale_when_a_column_is_constant_then_is_1(Estimator, solver, weighted):
    x = np.linspace(-1, 1, 200)
    given = np.column_stack([x, np.full(200, 0.1)])
    weights = np.random.RandomState(0).rand(200) if weighted else None
    model = Estimator(4, standardize=True, solver=solver, max_iter=3, random_state=0)
    model.fit(given, targets_of(Estimator, x), sample_weight=weights)
    assert model.network_.input_scale[1] == 1


def test_input_scale_of_pairs_when_a_column_is_constant_then_is_1():
    given = np.full((100, 2, 2), 0.1)
    given[..., 0] = RNG.randn(100, 2)
    same = np.arange(100) % 2
    model = SiameseClassifier(3, standardize=True, max_iter=1, random_state=0)
    model.fit(given, same, sample_weight=np.random.RandomState(0).rand(100))
    assert model.network_.branch.input_scale[1] == 1


def test_predictions_when_a_constant_column_moves_then_move_as_little():
    x = np.linspace(-1, 1, 200)
    given = np.column_stack([x, np.full(200, 0.1)])
    model = MLPRegressor(4, standardize=True, solver="lbfgs", random_state=0)
    model.fit(given, x)
    still, moved = model.predict([[0.5, 0.1], [0.5, 0.1001]])
    assert abs(moved - still) < 1e-3  # by 1e-4 times weights of about 1


def test_score_when_a_sparse_column_is_an_intercept_then_is_that_of_dense_samples():
    x = np.linspace(1, 2, 300)
    given = csr_array(np.column_stack([np.ones(300), x, RNG.rand(300)]))
    model = MLPRegressor(4, standardize=True, solver="lbfgs", random_state=0)
    assert model.fit(given, x).score(given, x) > 0.999


# -- means that float32 has no digits for --

FAR = 1.7e9
NEAR = np.random.RandomState(0).randn(400, 3)
SUM = NEAR @ [1.0, 2.0, 3.0]
SINGLE = {
    "standardize": True,
    "dtype": "float32",
    "learning_rate_init": 0.01,
    "random_state": 0,
}


@pytest.mark.parametrize("shift", [0, FAR])
@pytest.mark.parametrize(
    "options",
    [{}, {"solver": "lbfgs"}, {"early_stopping": True}, {"loss": "huber"}],
    ids=["adam", "lbfgs", "early stopping", "huber"],
)
def test_float32_regressor_when_means_are_far_then_scores_as_float64(options, shift):
    model = MLPRegressor(20, **SINGLE, **options).fit(FAR + NEAR, shift + SUM)
    double = MLPRegressor(20, **{**SINGLE, "dtype": "float64"}, **options)
    double.fit(FAR + NEAR, shift + SUM)
    assert model.network_.dtype == np.float32
    score = model.score(FAR + NEAR, shift + SUM)
    assert score == pytest.approx(double.score(FAR + NEAR, shift + SUM), abs=1e-3)
    assert score > 0.99


def test_float32_partial_fit_when_means_are_far_then_scores_as_float64():
    single = MLPRegressor(20, **SINGLE)
    double = MLPRegressor(20, **{**SINGLE, "dtype": "float64"})
    for model in (single, double):
        for _ in range(10):
            model.partial_fit(FAR + NEAR, FAR + SUM)
    scores = [model.score(FAR + NEAR, FAR + SUM) for model in (single, double)]
    assert scores[0] == pytest.approx(scores[1], abs=1e-3)


def test_validation_loss_of_float32_when_means_are_far_then_is_that_of_float64():
    curves = []
    for dtype in ("float32", "float64"):
        model = MLPRegressor(20, **{**SINGLE, "dtype": dtype}, max_iter=5)
        model.fit(FAR + NEAR, FAR + SUM, X_val=FAR + NEAR[:50], y_val=FAR + SUM[:50])
        curves.append(model.validation_loss_curve_)
    np.testing.assert_allclose(*curves, rtol=1e-3)


def test_float32_samples_with_far_targets_when_fitted_then_score_as_float64():
    given = NEAR.astype(np.float32)
    model = MLPRegressor(20, **{**SINGLE, "dtype": None}).fit(given, FAR + SUM)
    assert model.network_.dtype == np.float32
    assert model.score(given, FAR + SUM) > 0.99


def test_float32_classifier_when_means_are_far_then_classifies():
    model = MLPClassifier(20, **SINGLE).fit(FAR + NEAR, SUM > 0)
    assert model.score(FAR + NEAR, SUM > 0) > 0.98


@pytest.mark.parametrize("head", ["cosine", "distance", "relation"])
def test_float32_pairs_when_means_are_far_then_train_as_in_float64(head):
    pairs = FAR + NEAR.reshape(200, 2, 3)
    same = (SUM.reshape(200, 2) > 0).sum(axis=1) != 1
    losses = []
    for dtype in ("float32", "float64"):
        model = SiameseClassifier(
            9, **{**SINGLE, "dtype": dtype}, head=head, max_iter=5
        )
        model.fit(pairs, same, X_val=pairs, y_val=same)
        losses.append([*model.loss_curve_, *model.validation_loss_curve_])
    np.testing.assert_allclose(*losses, rtol=1e-3)


def test_float32_autoencoder_when_means_are_far_then_reconstructs_as_float64():
    codes = {}
    for dtype in ("float32", "float64"):
        model = MLPAutoencoder(2, "identity", **{**SINGLE, "dtype": dtype})
        model.fit(FAR + NEAR)
        codes[dtype] = model.score(FAR + NEAR)
        assert model.transform(FAR + NEAR).dtype == dtype
    assert codes["float32"] == pytest.approx(codes["float64"], abs=1e-3)


def test_derivatives_of_float32_when_means_are_far_then_are_those_of_float64():
    models = [
        MLPRegressor(9, **{**SINGLE, "dtype": dtype}, max_iter=5).fit(
            FAR + NEAR, FAR + SUM
        )
        for dtype in ("float32", "float64")
    ]
    models[1].network_.params[:] = models[0].network_.params
    models[1].network_.refold()
    few = FAR + NEAR[:9]
    for ask in (
        lambda m: m.jacobian(few),
        lambda m: m.jvp(few, np.ones((9, 3))),
        lambda m: m.vjp(few, np.ones((9, 1))),
        lambda m: m.loss_gradients(few, FAR + SUM[:9]),
        lambda m: m.feature_sensitivity(few).mean,
        lambda m: m.hidden_activations(few),
    ):
        np.testing.assert_allclose(*map(ask, models), rtol=1e-4, atol=1e-6)


def test_frozen_layers_of_float32_when_means_are_far_then_are_applied_with_digits():
    model = MLPRegressor(20, **SINGLE).fit(FAR + NEAR, FAR + SUM)
    before = model.score(FAR + NEAR, FAR + SUM)
    model.set_params(freeze=1, warm_start=True, early_stopping=True)
    assert model.fit(FAR + NEAR, FAR + SUM).score(FAR + NEAR, FAR + SUM) > before - 0.01


def test_file_and_sklearn_of_float32_when_means_are_far_then_predict_the_same(tmp_path):
    model = MLPRegressor(9, **SINGLE, max_iter=5).fit(FAR + NEAR, FAR + SUM)
    expected = model.predict(FAR + NEAR)
    model.save(tmp_path / "model")
    np.testing.assert_array_equal(
        mlp.load(tmp_path / "model").predict(FAR + NEAR), expected
    )
    with pytest.warns(UserWarning, match="standardize=True"):
        np.testing.assert_allclose(
            model.to_sklearn().predict(FAR + NEAR), expected, rtol=1e-14
        )


def test_float32_predictions_when_means_are_near_then_stay_float32():
    model = MLPRegressor(9, **SINGLE, max_iter=5).fit(200 + NEAR, 200 + SUM)
    assert model.predict(200 + NEAR).dtype == np.float32
