"""The scikit-learn API: estimator checks, pipelines, searches and data frames."""

import inspect
import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
import sklearn.neural_network
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_iris
from sklearn.ensemble import BaggingRegressor
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import parametrize_with_checks

import mlp
from mlp import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
both = pytest.mark.parametrize("Estimator", [MLPClassifier, MLPRegressor])


@pytest.fixture
def iris():
    return load_iris(return_X_y=True)


@pytest.fixture
def iris_frame():
    return load_iris(as_frame=True, return_X_y=True)


@parametrize_with_checks(
    [
        MLPClassifier(max_iter=100),
        MLPRegressor(max_iter=100),
        # Without a penalty lbfgs separates the multilabel check's data, and a
        # probability rounded to 1 fails its "< 1".
        MLPClassifier(solver="lbfgs", alpha=0.1),
        MLPRegressor(solver="lbfgs"),
        MLPClassifier(solver="sgd", learning_rate_init=0.1, max_iter=100),
        MLPRegressor(solver="sgd", learning_rate_init=0.03, max_iter=100),
    ]
)
def test_estimator_passes(estimator, check):
    check(estimator)


# The face ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])
def test_every_parameter_of_scikit_learn_has_the_same_default(name):
    ours = getattr(mlp, name)().get_params()
    theirs = getattr(sklearn.neural_network, name)().get_params()
    assert theirs.items() <= ours.items()


@both
def test_only_hidden_layer_sizes_and_activation_are_positional(Estimator):
    parameters = list(inspect.signature(Estimator).parameters.values())
    positional = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert positional == ["hidden_layer_sizes", "activation"]


@both
def test_hidden_layer_sizes_come_first(Estimator):
    assert Estimator((50, 20), "tanh").hidden_layer_sizes == (50, 20)


@both
def test_representation_shows_what_is_not_the_default(Estimator):
    estimator = Estimator(alpha=0.5, max_iter=7)
    assert repr(estimator) == f"{Estimator.__name__}(alpha=0.5, max_iter=7)"


@pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])
def test_tags_are_those_of_scikit_learn(name):
    ours = get_tags(getattr(mlp, name)())
    theirs = get_tags(getattr(sklearn.neural_network, name)())
    assert ours == theirs


def test_the_two_kinds_are_told_apart():
    assert is_classifier(MLPClassifier()) and is_regressor(MLPRegressor())


@both
def test_clone_of_a_fitted_estimator_is_unfitted_and_trains_alike(Estimator, iris):
    fitted = Estimator(5, max_iter=5, random_state=0).fit(*iris)
    copy = clone(fitted)
    assert not hasattr(copy, "coefs_")
    assert copy.get_params() == fitted.get_params()
    assert_array_equal(copy.fit(*iris).coefs_[0], fitted.coefs_[0])


# Among other estimators -------------------------------------------------------------


@both
def test_pipeline_equals_its_steps_by_hand(Estimator, iris):
    X, y = iris
    network = Estimator(8, max_iter=10, random_state=0)
    pipeline = make_pipeline(StandardScaler(), clone(network)).fit(X, y)
    scaled = StandardScaler().fit_transform(X)
    assert_array_equal(pipeline.predict(X), network.fit(scaled, y).predict(scaled))


def test_pipeline_with_set_output_passes_names_on(iris_frame):
    X, y = iris_frame
    pipeline = make_pipeline(StandardScaler(), MLPClassifier(8, max_iter=5))
    pipeline.set_output(transform="pandas").fit(X, y)
    assert_array_equal(pipeline[-1].feature_names_in_, X.columns)


@both
def test_grid_search_keeps_the_best_candidate(Estimator, iris):
    grid = {"alpha": [1e-4, 1e6], "hidden_layer_sizes": [(6,), (4, 4)]}
    network = Estimator(solver="lbfgs", max_iter=30, random_state=0)
    search = GridSearchCV(network, grid, cv=3).fit(*iris)
    assert search.best_params_["alpha"] == 1e-4  # 1e6 allows a constant only
    assert search.best_score_ == search.cv_results_["mean_test_score"].max()


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_cross_val_score_is_the_same_from_parallel_workers(backend, iris):
    network = make_pipeline(StandardScaler(), MLPClassifier(8, random_state=0))
    serial = cross_val_score(network, *iris, cv=4)
    with joblib.parallel_config(backend=backend, n_jobs=2):
        assert_array_equal(cross_val_score(network, *iris, cv=4), serial)


def test_cross_val_predict_gives_probabilities(iris):
    X, y = iris
    network = MLPClassifier(8, max_iter=5, random_state=0)
    probabilities = cross_val_predict(network, X, y, cv=3, method="predict_proba")
    assert probabilities.shape == (150, 3)
    assert_allclose(probabilities.sum(axis=1), 1.0, rtol=1e-12)


def test_meta_estimators_accept_it(iris):
    X, y = iris
    network = MLPRegressor(5, max_iter=5, random_state=0)
    bagged = BaggingRegressor(network, n_estimators=2).fit(X, y)
    columns = MultiOutputRegressor(network).fit(X, X[:, :2])
    calibrated = CalibratedClassifierCV(MLPClassifier(5, max_iter=5), cv=2).fit(X, y)
    assert bagged.predict(X).shape == (150,)
    assert columns.predict(X).shape == (150, 2)
    assert calibrated.predict_proba(X).shape == (150, 3)


@both
def test_sample_weight_is_routed_through_a_pipeline(Estimator, iris):
    X, y = iris
    weights = np.linspace(0.1, 2.0, len(y))
    direct = Estimator(5, max_iter=5, random_state=0).fit(X, y, sample_weight=weights)
    with sklearn.config_context(enable_metadata_routing=True):
        routed = clone(direct).set_fit_request(sample_weight=True)
        make_pipeline("passthrough", routed).fit(X, y, sample_weight=weights)
    assert_array_equal(routed.coefs_[0], direct.coefs_[0])


def test_metadata_requests_name_the_arguments():
    with sklearn.config_context(enable_metadata_routing=True):
        classifier = MLPClassifier().set_partial_fit_request(classes=True)
        requests = classifier.get_metadata_routing()
    assert requests.fit.requests.keys() >= {"sample_weight"}
    assert requests.partial_fit.requests["classes"] is True
    assert requests.score.requests.keys() == {"sample_weight"}


# Data frames ------------------------------------------------------------------------


@both
def test_frame_gives_feature_names(Estimator, iris_frame):
    X, y = iris_frame
    estimator = Estimator(5, max_iter=5).fit(X, y)
    assert_array_equal(estimator.feature_names_in_, X.columns)
    assert estimator.n_features_in_ == 4


@both
@pytest.mark.parametrize("options", [{}, {"early_stopping": True}])
def test_frame_trains_as_its_array_without_warnings(Estimator, options, iris_frame):
    X, y = iris_frame
    network = Estimator(5, max_iter=5, random_state=0, **options)
    from_array = clone(network).fit(X.to_numpy(), y.to_numpy())
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.simplefilter("ignore", sklearn.exceptions.ConvergenceWarning)
        from_frame = network.fit(X, y)
        from_frame.predict(X)
    assert_array_equal(from_frame.coefs_[0], from_array.coefs_[0])


@both
def test_array_after_frame_warns_about_the_names(Estimator, iris_frame):
    X, y = iris_frame
    estimator = Estimator(5, max_iter=5).fit(X, y)
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        estimator.predict(X.to_numpy())


@both
def test_frame_after_array_warns_about_the_names(Estimator, iris_frame):
    X, y = iris_frame
    estimator = Estimator(5, max_iter=5).fit(X.to_numpy(), y)
    with pytest.warns(UserWarning, match="was fitted without feature names"):
        estimator.predict(X)


@both
@pytest.mark.parametrize("method", ["predict", "partial_fit"])
def test_columns_in_another_order_are_refused(Estimator, method, iris_frame):
    X, y = iris_frame
    estimator = Estimator(5, max_iter=5).fit(X, y)
    arguments = (X[X.columns[::-1]], y)[: 1 if method == "predict" else 2]
    with pytest.raises(ValueError, match="feature names should match"):
        getattr(estimator, method)(*arguments)


@pytest.mark.parametrize("dtype", ["object", "str", "category"])
def test_series_of_strings_is_a_target(dtype, iris_frame):
    X, y = iris_frame
    names = np.array(["lynx", "ibex", "newt"])[y]
    expected = MLPClassifier(5, max_iter=5, random_state=0).fit(X, names)
    actual = clone(expected).fit(X, pd.Series(names, dtype=dtype, index=X.index[::-1]))
    assert_array_equal(actual.classes_, ["ibex", "lynx", "newt"])
    assert_array_equal(actual.predict(X), expected.predict(X))


def test_frame_of_targets_is_multioutput(iris_frame):
    X, _ = iris_frame
    Y = X[X.columns[:2]]
    regressor = MLPRegressor(5, max_iter=5, random_state=0).fit(X, Y)
    assert regressor.predict(X).shape == (150, 2)


@both
def test_series_of_weights_is_taken_by_position(Estimator, iris_frame):
    X, y = iris_frame
    weights = np.linspace(0.1, 2.0, len(y))
    network = Estimator(5, max_iter=5, random_state=0)
    expected = clone(network).fit(X, y, sample_weight=weights)
    series = pd.Series(weights, index=X.index[::-1])
    actual = network.fit(X, y, sample_weight=series)
    assert_array_equal(actual.coefs_[0], expected.coefs_[0])


@both
def test_one_column_target_is_flattened_with_a_warning(Estimator, iris):
    X, y = iris
    flat = Estimator(5, max_iter=5, random_state=0).fit(X, y)
    with pytest.warns(sklearn.exceptions.DataConversionWarning, match="column-vector"):
        column = clone(flat).fit(X, y.reshape(-1, 1))
    assert_array_equal(column.predict(X), flat.predict(X))
