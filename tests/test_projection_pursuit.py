"""Projection pursuit: the smoother, the recovery of planted terms, the scikit-learn API."""

import pickle
import sys

import numpy as np
import pytest
from scipy.interpolate import make_smoothing_spline
from sklearn.base import clone
from sklearn.datasets import make_friedman1
from sklearn.linear_model import LinearRegression
from sklearn.utils.estimator_checks import check_estimator

from mlp.projection_pursuit import ridge_function
from mlp.projection_pursuit.pursuit import Pursuit
from mlp.projection_pursuit.regressor import ProjectionPursuitRegressor
from mlp.projection_pursuit.ridge_function import RidgeFunction, smooth


def angle_in_degrees(a, b):
    cosine = abs(a @ b) / np.linalg.norm(a) / np.linalg.norm(b)
    return np.degrees(np.arccos(min(1.0, cosine)))


def planted(seed, n_samples=1000, n_features=6, noise=0.2):
    """y = sin(2 a'x) + (b'x)^2 / 2 + noise, features on very different scales."""
    rng = np.random.default_rng(seed)
    scale = rng.uniform(0.1, 30, n_features)
    X = rng.normal(size=(n_samples, n_features)) * scale + 5 * scale
    directions = rng.normal(size=(2, n_features)) / scale
    directions /= (X @ directions.T).std(axis=0)[:, None]
    u, v = ((X - 5 * scale) @ directions.T).T
    y = np.sin(2 * u) + v**2 / 2 + noise * rng.normal(size=n_samples)
    return X, y, directions


def spline_of(v, y, share, lam):
    """SciPy's smoothing spline for abscissae of unit spread, at v."""
    order = np.argsort(v)
    v = (v - share @ v) / np.sqrt(share @ (v - share @ v) ** 2)
    return make_smoothing_spline(v[order], y[order], w=share[order], lam=lam)(v)


# ---- smoother


@pytest.mark.parametrize("n", [6, 30, 90])
@pytest.mark.parametrize("lam", [1e-5, 3e-3, 1.0])
def test_smooth_is_scipys_spline_of_the_same_lam(n, lam, monkeypatch):
    rng = np.random.default_rng(n)
    v = 20 + rng.permutation(np.cumsum(rng.uniform(0.02, 0.2, n)))
    weight = rng.uniform(0.5, 2, n)
    y = np.sin(2 * v) + 0.2 * rng.normal(size=n)
    monkeypatch.setattr(ridge_function, "_LAM_GRID", np.array([lam]))
    g, _ = smooth(v, y, weight)
    expected = spline_of(v, y, weight / weight.sum(), lam)
    np.testing.assert_allclose(g(v), expected, atol=1e-7)


def test_score_is_the_gcv_of_the_smoother_matrix(monkeypatch):
    rng = np.random.default_rng(0)
    v, y = rng.normal(size=25), rng.normal(size=25)
    monkeypatch.setattr(ridge_function, "_LAM_GRID", np.array([0.01]))
    g, score = smooth(v, y, np.ones(25), gcv_penalty=1.2)
    share = np.full(25, 1 / 25)
    smoother = np.column_stack([spline_of(v, e, share, 0.01) for e in np.eye(25)])
    rest = 1 - 1.2 * np.trace(smoother) / 25
    expected = np.mean((y - smoother @ y) ** 2) / rest**2
    assert score == pytest.approx(expected, rel=1e-6)
    assert g.degrees_of_freedom == pytest.approx(np.trace(smoother), rel=1e-6)


@pytest.mark.parametrize("n", [100, 20_000])
def test_smooth_recovers_a_sine(n):
    rng = np.random.default_rng(1)
    v = rng.uniform(-2, 2, n)
    g, _ = smooth(v, np.sin(3 * v) + 0.3 * rng.normal(size=n), np.ones(n))
    grid = np.linspace(-1.9, 1.9, 50)
    error = np.sqrt(np.mean((g(grid) - np.sin(3 * grid)) ** 2))
    assert error < 0.3 * np.sqrt(40 / n)  # noise times root of twice the freedom


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_smooth_does_not_depend_on_the_units(scale):
    rng = np.random.default_rng(2)
    v = rng.normal(size=200)
    y = np.sin(2 * v) + 0.2 * rng.normal(size=200)
    g, score = smooth(v, y, np.ones(200))
    scaled, scaled_score = smooth(scale * v, y, np.full(200, 7.0))
    assert scaled_score == pytest.approx(score, rel=1e-8)
    np.testing.assert_allclose(scaled(scale * v), g(v), atol=1e-8)


@pytest.mark.parametrize("n_distinct", [1, 2, 3, 10])
def test_smooth_passes_near_the_means_of_few_distinct_abscissae(n_distinct):
    rng = np.random.default_rng(3)
    v = rng.integers(0, n_distinct, 4000).astype(float)
    y = v**2 + rng.normal(size=4000)
    g, _ = smooth(v, y, np.ones(4000))
    assert g.knots.size == n_distinct
    np.testing.assert_allclose(
        g(np.arange(n_distinct)), np.arange(n_distinct) ** 2, atol=0.25
    )


def test_nearly_equal_abscissae_do_not_bend_the_spline():
    rng = np.random.default_rng(9)
    v = np.repeat(rng.normal(size=40), 2)
    v[::2] += 1e-7
    y = np.sin(v) + 0.1 * rng.normal(size=80)
    g, _ = smooth(v, y, np.ones(80))
    assert np.abs(g.derivative(v)).max() < 1.5


def test_dense_abscissae_beside_an_outlier_keep_their_resolution():
    rng = np.random.default_rng(10)
    v = np.r_[rng.uniform(-1, 1, 50_000), 1e4]
    y = np.sin(3 * v) + 0.1 * rng.normal(size=v.size)
    g, _ = smooth(v, y, np.ones(v.size))
    grid = np.linspace(-0.9, 0.9, 30)
    np.testing.assert_allclose(g(grid), np.sin(3 * grid), atol=0.1)


def test_ridge_function_is_linear_outside_its_knots():
    g = RidgeFunction([0.0, 1.0, 2.0, 3.0], [0.0, 1.0, 0.0, 2.0])
    beyond = g([3.0, 4.0, 5.0])
    assert np.diff(beyond, 2) == pytest.approx([0], abs=1e-12)
    assert np.diff(beyond)[0] == pytest.approx(g.derivative(3.0))


def test_ridge_function_derivative_is_the_central_difference():
    g = RidgeFunction([0.0, 1.0, 2.0, 3.0], [0.0, 1.0, 0.0, 2.0])
    v, h = np.linspace(-1, 4, 23), 1e-6
    difference = (g(v + h) - g(v - h)) / (2 * h)
    np.testing.assert_allclose(g.derivative(v), difference, atol=1e-5)


@pytest.mark.parametrize("scale", [2.5, -2.5])
def test_rescaled_is_the_same_function_in_other_units(scale):
    g = RidgeFunction([0.0, 1.0, 2.5], [0.0, 1.0, -1.0])
    t = np.linspace(-3, 3, 40)
    np.testing.assert_allclose(
        g.rescaled(scale, 0.7, 0.2)(t), g(scale * t - 0.7) - 0.2, atol=1e-12
    )


# ---- directions


def test_gauss_newton_step_solves_the_linearised_problem():
    """At a small step from the truth, with g known, it leads back to the truth."""
    rng = np.random.default_rng(4)
    X = rng.normal(size=(3000, 4))
    true = np.array([0.8, 0.6, 0.0, 0.0])
    pursuit = Pursuit(
        ProjectionPursuitRegressor(), X, np.tanh(2 * X @ true), np.ones(3000), 0
    )
    true = true * pursuit.scale / np.linalg.norm(true * pursuit.scale)
    start = true + np.array([0.03, -0.03, 0.04, 0.02])
    term = pursuit._term(start / np.linalg.norm(start), pursuit.y)
    [step] = pursuit._gauss_newton_step([term], pursuit.y - term.values)
    assert step @ term.omega == pytest.approx(0, abs=1e-6)
    before = angle_in_degrees(term.omega, true)
    after = angle_in_degrees(term.omega + step, true)
    assert after < 0.1 * before


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_recovers_two_planted_directions(seed):
    X, y, directions = planted(seed)
    model = ProjectionPursuitRegressor(2, random_state=0).fit(X, y)
    for direction in directions:
        angles = [angle_in_degrees(direction, found) for found in model.directions_]
        assert min(angles) < 2


def test_recovers_the_ridge_functions_and_predicts():
    X, y, _ = planted(0, n_samples=2000)
    model = ProjectionPursuitRegressor(2, random_state=0).fit(X[:1500], y[:1500])
    error = np.sqrt(np.mean((model.predict(X[1500:]) - y[1500:]) ** 2))
    assert error < 0.23  # the noise is 0.2


def test_prediction_is_the_sum_of_its_terms():
    X, y, _ = planted(1, n_samples=300)
    model = ProjectionPursuitRegressor(2, random_state=0).fit(X, y)
    terms = [
        g(X @ omega)
        for omega, g in zip(model.directions_, model.ridge_functions_, strict=True)
    ]
    np.testing.assert_allclose(model.predict(X), model.intercept_ + sum(terms))
    np.testing.assert_allclose(np.linalg.norm(model.directions_, axis=1), 1)
    np.testing.assert_allclose([term.mean() for term in terms], 0, atol=1e-9)
    mse = np.mean((model.predict(X) - y) ** 2)
    assert model.loss_curve_[-1] == pytest.approx(mse)
    assert model.n_iter_ == len(model.loss_curve_)


def test_linear_target_gives_the_least_squares_direction():
    rng = np.random.default_rng(5)
    X = rng.normal(size=(200, 3)) * [1, 100, 0.01]
    y = 3 + X @ [1.0, 0.02, -50.0]
    model = ProjectionPursuitRegressor(1, random_state=0).fit(X, y)
    assert angle_in_degrees(model.directions_[0], np.array([1, 0.02, -50])) < 0.01
    far = np.array([[30.0, 300.0, 0.1]])
    assert model.predict(far)[0] == pytest.approx(3 + 30 + 6 - 5, rel=1e-3)


def test_features_may_be_rescaled_and_shifted():
    X, y, _ = planted(2, n_samples=300)
    factor = np.array([1.0, 10, 0.1, 1000, 3, 1])
    model = ProjectionPursuitRegressor(2, random_state=0).fit(X, y)
    other = clone(model).fit(X * factor - 7, y)
    np.testing.assert_allclose(
        other.predict(X * factor - 7), model.predict(X), rtol=0.01
    )


def test_backfitting_lowers_the_loss():
    X, y, _ = planted(3)
    stagewise = ProjectionPursuitRegressor(2, max_iter=0, random_state=0).fit(X, y)
    backfitted = clone(stagewise).set_params(max_iter=20).fit(X, y)
    assert stagewise.n_iter_ == 2
    assert backfitted.loss_curve_[-1] < 0.8 * stagewise.loss_curve_[-1]


# ---- number of terms


def test_cross_validation_finds_the_planted_number_of_terms():
    X, y, _ = planted(0, n_samples=600)
    model = ProjectionPursuitRegressor("cv", max_terms=4, random_state=0).fit(X, y)
    assert model.cv_errors_.shape == (4,)
    assert model.cv_errors_[0] > 2 * model.cv_errors_[1]
    assert model.n_terms_ == 1 + np.argmin(model.cv_errors_)
    assert model.n_terms_ >= 2


def test_given_folds_are_used():
    X, y, _ = planted(0, n_samples=200)
    folds = [(np.arange(100), np.arange(100, 200))]
    model = ProjectionPursuitRegressor("cv", max_terms=2, cv=folds, random_state=0)
    model.fit(X, y)
    half = clone(model).set_params(n_terms=1).fit(X[:100], y[:100])
    expected = np.mean((half.predict(X[100:]) - y[100:]) ** 2)
    assert model.cv_errors_[0] == pytest.approx(expected)


@pytest.mark.parametrize("constant", ["X", "y"])
def test_constant_data_give_the_mean(constant):
    rng = np.random.default_rng(6)
    X, y = rng.normal(size=(30, 2)), rng.normal(size=30)
    if constant == "X":
        X[:] = 4.0
    else:
        y[:] = 4.0
    model = ProjectionPursuitRegressor(random_state=0).fit(X, y)
    assert model.n_terms_ == 0 and model.directions_.shape == (0, 2)
    np.testing.assert_allclose(model.predict(X), y.mean())


def test_constant_feature_has_no_part_in_the_directions():
    X, y, _ = planted(0, n_samples=200)
    X[:, 3] = 12.3
    model = ProjectionPursuitRegressor(2, random_state=0).fit(X, y)
    assert np.all(model.directions_[:, 3] == 0)


# ---- the scikit-learn API


def test_check_estimator():
    check_estimator(ProjectionPursuitRegressor(random_state=0), on_skip=None)


def test_integer_weights_are_repeated_rows():
    X, y, _ = planted(0, n_samples=150)
    weight = np.random.default_rng(7).integers(0, 4, 150)
    weighted = ProjectionPursuitRegressor(2, random_state=0).fit(X, y, weight)
    repeated = clone(weighted).fit(X.repeat(weight, 0), y.repeat(weight))
    np.testing.assert_allclose(weighted.predict(X), repeated.predict(X), rtol=1e-9)
    unweighted = clone(weighted).fit(X, y)
    assert np.abs(unweighted.predict(X) - weighted.predict(X)).max() > 1e-3


def test_scale_of_the_weights_is_without_effect():
    X, y, _ = planted(0, n_samples=150)
    weight = np.random.default_rng(8).uniform(0.1, 2, 150)
    model = ProjectionPursuitRegressor(1, random_state=0).fit(X, y, weight)
    scaled = clone(model).fit(X, y, weight / 2**20)
    np.testing.assert_allclose(scaled.predict(X), model.predict(X), rtol=1e-9)


def test_same_seed_same_bits_and_pickle():
    X, y, _ = planted(0, n_samples=200)
    model = ProjectionPursuitRegressor(2, random_state=3).fit(X, y)
    again = clone(model).fit(X, y)
    np.testing.assert_array_equal(again.directions_, model.directions_)
    copy = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copy.predict(X), model.predict(X))


@pytest.mark.parametrize(
    "params",
    [
        {"n_terms": 0},
        {"n_terms": "many"},
        {"max_terms": 0},
        {"n_starts": 0},
        {"max_iter": -1},
        {"n_knots": 3},
        {"gcv_penalty": 0.5},
        {"tol": -1e-3},
    ],
    ids=str,
)
def test_bad_parameters_are_named(params):
    X, y, _ = planted(0, n_samples=20)
    with pytest.raises(ValueError, match=f"'{next(iter(params))}' parameter"):
        ProjectionPursuitRegressor(**params).fit(X, y)


def test_bad_data_are_refused():
    X, y, _ = planted(0, n_samples=20)
    model = ProjectionPursuitRegressor(random_state=0)
    with pytest.raises(ValueError, match="NaN"):
        model.fit(np.full_like(X, np.nan), y)
    with pytest.raises(ValueError, match="Negative values in data passed to"):
        model.fit(X, y, -np.ones(20))
    with pytest.raises(ValueError, match="zero"):
        model.fit(X, y, np.zeros(20))
    with pytest.raises(ValueError, match="5 features"):
        model.fit(X, y).predict(X[:, :5])


def test_explains_what_a_linear_model_cannot():
    X, y = make_friedman1(600, noise=1.0, random_state=0)
    train, test = slice(0, 400), slice(400, None)
    model = ProjectionPursuitRegressor(4, random_state=0).fit(X[train], y[train])
    linear = LinearRegression().fit(X[train], y[train])
    unexplained = 1 - model.score(X[test], y[test])
    assert unexplained < 0.5 * (1 - linear.score(X[test], y[test]))


# ---- weights


@pytest.mark.parametrize("scale", [1e-200, 3.0, 1e160])
def test_the_scale_of_the_weights_has_no_effect(scale):
    X, y, _ = planted(0, n_samples=80)
    weights = np.linspace(1, 2, 80)
    plain, scaled = (
        ProjectionPursuitRegressor(2, random_state=0).fit(
            X, y, sample_weight=s * weights
        )
        for s in (1.0, scale)
    )
    np.testing.assert_allclose(plain.predict(X), scaled.predict(X), rtol=1e-6)


@pytest.mark.parametrize("least", [1e-8, 1e-14, 1e-300])
def test_weights_may_be_far_apart(least):
    X, y, _ = planted(0, n_samples=80)
    weights = np.where(np.arange(80) % 2, least, 1.0)
    model = ProjectionPursuitRegressor(2, random_state=0)
    model.fit(X, y, sample_weight=weights)
    assert model.score(X[::2], y[::2]) > 0.9


# ---- refusals


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sample_weight": [-1.0]}, "sample_weight"),
        ({"X": 1e200}, "X has values beyond 1e.80"),
        ({"X": 1e-120}, "X has values .* that differ by less than 1e-80"),
        ({"y": 1e200}, "y has values beyond 1e.80"),
    ],
)
def test_a_fit_that_fails_leaves_the_fitted_model(change, said):
    X, y, _ = planted(0, n_samples=50)
    model = ProjectionPursuitRegressor(1, random_state=0).fit(X, y)
    before = model.predict(X)
    other = np.hstack([X, X]) * change.get("X", 1.0)
    weight = np.resize(change.get("sample_weight", [1.0]), 50)
    with pytest.raises(ValueError, match=said):
        model.fit(other, y * change.get("y", 1.0), sample_weight=weight)
    np.testing.assert_array_equal(model.predict(X), before)


# ---- plot


def test_plot_terms_draws_the_ridge_functions():
    pytest.importorskip("matplotlib").use("Agg")
    X, y, _ = planted(0, n_samples=200)
    model = ProjectionPursuitRegressor(2, random_state=0).fit(X, y)
    axes = model.plot_terms(X, y)
    assert axes.shape == (2,)
    for ax, g in zip(axes, model.ridge_functions_, strict=True):
        points, curve = ax.get_lines()
        assert len(points.get_xdata()) == 200
        np.testing.assert_allclose(curve.get_ydata(), g(curve.get_xdata()))
    same = model.plot_terms(ax=axes)
    assert same[0] is axes[0]
    with pytest.raises(ValueError, match="n_terms_=2 axes, got 1"):
        model.plot_terms(ax=axes[0])
    with pytest.raises(ValueError, match="both X and y"):
        model.plot_terms(X)


def test_plot_terms_without_matplotlib_says_so(monkeypatch):
    X, y, _ = planted(0, n_samples=50)
    model = ProjectionPursuitRegressor(1, random_state=0).fit(X, y)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"pip install 'fastmlp\[plot\]'"):
        model.plot_terms()
