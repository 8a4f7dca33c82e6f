"""Beside the rest of the ecosystem: frames, routing, searches, caches, callbacks."""

import io
import os
import sys
import warnings
from copy import deepcopy

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
from numpy.testing import assert_array_equal
from sklearn.calibration import CalibratedClassifierCV
from sklearn.callback import FitCallback, ProgressBar, ScoringMonitor
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.inspection import DecisionBoundaryDisplay, permutation_importance
from sklearn.model_selection import GridSearchCV, ShuffleSplit, cross_validate
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from small_data import both, make_data, parameters
from threadpoolctl import threadpool_info, threadpool_limits

import mlp
from mlp import MLPClassifier, MLPRegressor, _core
from mlp.progress import ProgressLine
from mlp.threads import default_threads, resolve_threads

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

NAMES = list("abcd")


def small(Estimator, **options):
    return Estimator((6,), **{"max_iter": 8, "random_state": 0, **options})


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


# Frames -----------------------------------------------------------------------------


@pytest.fixture(params=["pandas", "polars"])
def frame(request):
    """The data frame and series of a library, and the name of the library."""
    library = pytest.importorskip(request.param)
    X, y = make_data()
    return library.DataFrame(dict(zip(NAMES, X.T, strict=True))), library.Series(y)


@both
@pytest.mark.parametrize("options", [{}, {"early_stopping": True}, {"solver": "lbfgs"}])
def test_a_frame_is_the_array_it_holds(Estimator, options, frame):
    network = small(Estimator, **options)
    expected = parameters(small(Estimator, **options).fit(*make_data()))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.simplefilter("ignore", ConvergenceWarning)
        network.fit(*frame).predict(frame[0])
    assert_array_equal(network.feature_names_in_, NAMES)
    for ours, its in zip(parameters(network), expected, strict=True):
        assert_array_equal(ours, its)


@both
def test_frames_to_validate_on(Estimator, frame):
    X, y = frame
    network = small(Estimator, early_stopping=True)
    expected = small(Estimator, early_stopping=True)
    arrays = make_data()
    expected.fit(*arrays, X_val=arrays[0], y_val=arrays[1])
    network.fit(X, y, X_val=X, y_val=y)
    assert network.validation_scores_ == expected.validation_scores_


@both
def test_frames_come_in_pieces(Estimator, frame):
    (X, y), arrays = frame, make_data()
    classes = {"classes": [0, 1]} if Estimator is MLPClassifier else {}
    network, expected = small(Estimator), small(Estimator)
    for rows in (slice(0, 30), slice(30, 60)):
        network.partial_fit(X[rows], y[rows], **classes)
        expected.partial_fit(arrays[0][rows], arrays[1][rows], **classes)
    assert_array_equal(network.coefs_[0], expected.coefs_[0])


def test_a_frame_of_words_and_numbers_through_a_column_transformer(frame):
    X, y = frame
    words = np.where(make_data()[0][:, 0] > 0, "up", "down")
    add = X.assign if hasattr(X, "assign") else X.with_columns
    X = add(word=words)
    columns = ColumnTransformer(
        [
            ("word", OneHotEncoder(sparse_output=False), ["word"]),
            ("number", StandardScaler(), NAMES),
        ]
    ).set_output(transform=type(X).__module__.split(".")[0])
    model = make_pipeline(
        columns, small(MLPClassifier, solver="lbfgs", max_iter=200)
    ).fit(X, y)
    assert_array_equal(
        model[-1].feature_names_in_,
        ["word__word_down", "word__word_up", *(f"number__{name}" for name in NAMES)],
    )
    assert model.score(X, y) > 0.9


# Metadata routing -------------------------------------------------------------------


@both
def test_validation_samples_are_routed_through_cross_validate(Estimator, routing):
    X, y = make_data()
    X_val, y_val = make_data(n_samples=25)
    weights = np.linspace(0.1, 2, len(y))
    network = small(Estimator, early_stopping=True)
    network.set_fit_request(sample_weight=True, X_val=True, y_val=True)
    network.set_score_request(sample_weight=True)
    folds = ShuffleSplit(2, random_state=0)
    found = cross_validate(
        network,
        X,
        y,
        cv=folds,
        params={"sample_weight": weights, "X_val": X_val, "y_val": y_val},
        return_estimator=True,
    )
    for k, (train, test) in enumerate(folds.split(X)):
        by_hand = small(Estimator, early_stopping=True).fit(
            X[train], y[train], weights[train], X_val=X_val, y_val=y_val
        )
        assert found["estimator"][k].validation_scores_ == by_hand.validation_scores_
        score = by_hand.score(X[test], y[test], sample_weight=weights[test])
        assert found["test_score"][k] == score


@both
def test_a_pipeline_transforms_the_validation_samples_too(Estimator, routing):
    X, y = make_data()
    X_val, y_val = make_data(n_samples=25)
    network = small(Estimator).set_fit_request(X_val=True, y_val=True)
    model = Pipeline(
        [("scale", StandardScaler()), ("net", network)], transform_input=["X_val"]
    )
    model.fit(X, y, X_val=X_val, y_val=y_val)
    scale = StandardScaler().fit(X)
    by_hand = small(Estimator).fit(
        scale.transform(X), y, X_val=scale.transform(X_val), y_val=y_val
    )
    assert model[-1].validation_loss_curve_ == by_hand.validation_loss_curve_


def test_weights_are_routed_to_partial_fit_and_score(routing):
    network = MLPClassifier().set_partial_fit_request(sample_weight=True, classes=True)
    network.set_score_request(sample_weight="w")
    requests = network.get_metadata_routing()
    assert requests.partial_fit.requests == {"sample_weight": True, "classes": True}
    assert requests.score.requests == {"sample_weight": "w"}


def test_metadata_that_nobody_asked_for_is_refused(routing):
    X, y = make_data()
    with pytest.raises(Exception, match="X_val"):
        cross_validate(small(MLPClassifier), X, y, params={"X_val": X, "y_val": y})


# Searches, caches and inspection ----------------------------------------------------


@pytest.mark.parametrize("backend", ["loky", "threading"])
@both
def test_a_parallel_search_finds_what_a_serial_one_finds(Estimator, backend):
    X, y = make_data()
    grid = {"hidden_layer_sizes": [(4,), (9,)], "alpha": [1e-4, 1.0]}
    serial = GridSearchCV(small(Estimator), grid, cv=2).fit(X, y)
    with joblib.parallel_config(backend=backend):
        search = GridSearchCV(small(Estimator), grid, cv=2, n_jobs=2).fit(X, y)
    assert_array_equal(
        search.cv_results_["mean_test_score"], serial.cv_results_["mean_test_score"]
    )


@pytest.mark.parametrize("backend", ["loky", "threading", "multiprocessing"])
def test_workers_divide_the_cores(backend):
    cores = joblib.cpu_count()
    with joblib.parallel_config(backend=backend, n_jobs=max(2, cores)):
        found = joblib.Parallel()(joblib.delayed(default_threads)() for _ in range(4))
    assert found == [1] * 4


def core_as_threadpoolctl_sees_it():
    return [pool for pool in threadpool_info() if pool["user_api"] == "mlp"]


def test_threadpoolctl_knows_the_core():
    (pool,) = core_as_threadpoolctl_sees_it()
    assert pool["filepath"] == os.path.realpath(_core.__file__)
    assert pool["version"] == mlp.__version__


def test_threadpoolctl_limits_the_core(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8), raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", False)
    assert default_threads() == 8
    with threadpool_limits(limits=3):
        assert (
            default_threads() == core_as_threadpoolctl_sees_it()[0]["num_threads"] == 3
        )
        with threadpool_limits(limits=1, user_api="mlp"):
            assert default_threads() == 1
        with threadpool_limits(limits=1, user_api="blas"):
            assert default_threads() == 3
        with threadpool_limits(limits=20):
            assert default_threads() == 8
        assert resolve_threads(6) == 6
    assert default_threads() == 8


@both
def test_joblib_caches_a_fit(Estimator, tmp_path):
    calls = []

    def fit(network, X, y):
        calls.append(network)
        return network.fit(X, y)

    cached = joblib.Memory(tmp_path, verbose=0).cache(fit)
    X, y = make_data()
    first, again = cached(small(Estimator), X, y), cached(small(Estimator), X, y)
    cached(small(Estimator, alpha=1.0), X, y)
    assert len(calls) == 2
    assert_array_equal(first.predict(X), again.predict(X))


@both
def test_joblib_hashes_a_fitted_estimator_as_its_copy(Estimator):
    network = small(Estimator).fit(*make_data())
    assert joblib.hash(network) == joblib.hash(deepcopy(network))


def test_a_pipeline_caches_before_the_network(tmp_path):
    X, y = make_data()
    steps = [("scale", StandardScaler()), ("net", small(MLPClassifier))]
    model = Pipeline(steps, memory=str(tmp_path)).fit(X, y)
    assert_array_equal(model.predict(X), Pipeline(steps).fit(X, y).predict(X))


@pytest.mark.parametrize("method", ["sigmoid", "isotonic", "temperature"])
def test_probabilities_can_be_calibrated(method):
    X, y = make_data()
    model = CalibratedClassifierCV(small(MLPClassifier), method=method, cv=2).fit(X, y)
    np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1, rtol=1e-12)


@both
def test_permutations_find_the_columns_that_matter(Estimator):
    X, y = make_data(200)
    network = small(Estimator, max_iter=400, learning_rate_init=0.01).fit(X, y)
    found = permutation_importance(network, X, y, n_repeats=3, random_state=0)
    assert found.importances_mean[:2].min() > 3 * found.importances_mean[2:].max()


@pytest.mark.parametrize("method", ["predict", "predict_proba"])
def test_decision_boundaries_are_drawn(method):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("agg")
    X, y = make_data(n_features=2)
    network = small(MLPClassifier).fit(X, y)
    display = DecisionBoundaryDisplay.from_estimator(
        network, X, response_method=method, grid_resolution=7
    )
    grid = np.column_stack([display.xx0.ravel(), display.xx1.ravel()])
    expected = getattr(network, method)(grid)
    expected = expected[:, 1] if expected.ndim == 2 else expected
    assert_array_equal(display.response.ravel(), expected)
    pyplot.close("all")


def test_targets_may_be_transformed():
    X, y = make_data()
    model = TransformedTargetRegressor(
        small(MLPRegressor), transformer=StandardScaler()
    )
    model.fit(X, 1e4 + 1e3 * y)
    by_hand = small(MLPRegressor).fit(X, (y - y.mean()) / y.std())
    expected = 1e4 + 1e3 * (y.mean() + y.std() * by_hand.predict(X))
    np.testing.assert_allclose(model.predict(X), expected, rtol=1e-9)


def test_dask_feeds_partial_fit():
    wrappers = pytest.importorskip("dask_ml.wrappers")
    array = pytest.importorskip("dask.array")
    X, y = make_data()
    blocks = [array.from_array(a, chunks=(20, *a.shape[1:])) for a in (X, y)]
    model = wrappers.Incremental(small(MLPClassifier), shuffle_blocks=False)
    model.fit(*blocks, classes=[0, 1])
    expected = small(MLPClassifier)
    for k in (0, 20, 40):
        expected.partial_fit(X[k : k + 20], y[k : k + 20], classes=[0, 1])
    assert_array_equal(model.estimator_.coefs_[0], expected.coefs_[0])


# Callbacks --------------------------------------------------------------------------


class Diary:
    """A user's callback: what happened, and the model after each epoch."""

    def __init__(self, last_epoch=None):
        self.last_epoch, self.events, self.models, self.shown = last_epoch, [], [], []

    def setup(self, estimator, context):
        self.events.append("setup")

    def on_fit_task_begin(self, estimator, context):
        self.events.append(f"{context.task_name} begins")

    def on_fit_task_end(self, estimator, context, *, X, y, metadata, fitted_estimator):
        self.events.append(f"{context.task_name} ends")
        self.shown.append((X, y, metadata))
        self.models.append(fitted_estimator)
        return context.task_id == self.last_epoch and context.task_name == "epoch"

    def teardown(self, estimator, context):
        self.events.append("teardown")


every_kind = pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs", "cg"])


def test_the_diary_follows_the_protocol():
    assert isinstance(Diary(), FitCallback)


@every_kind
@both
def test_callbacks_hear_the_beginning_every_epoch_and_the_end(Estimator, solver):
    diary = Diary()
    network = small(Estimator, solver=solver, max_iter=2, tol=0).set_callbacks(diary)
    network.fit(*make_data())
    epoch = ["epoch begins", "epoch ends"]
    assert diary.events == ["setup", "fit begins", *epoch * 2, "fit ends", "teardown"]


@both
def test_callbacks_hear_of_partial_fit(Estimator):
    diary = Diary()
    network = small(Estimator).set_callbacks(diary)
    classes = {"classes": [0, 1]} if Estimator is MLPClassifier else {}
    network.partial_fit(*make_data(), **classes)
    once = ["setup", "fit begins", "epoch begins", "epoch ends", "fit ends", "teardown"]
    assert diary.events == once
    network.partial_fit(*make_data())
    assert diary.events == once * 2


@every_kind
@both
def test_a_callback_that_says_so_stops_training(Estimator, solver):
    network = small(Estimator, solver=solver, tol=0).set_callbacks(Diary(last_epoch=1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network.fit(*make_data())
    assert network.n_iter_ == len(network.loss_curve_) == 2


@pytest.mark.parametrize("options", [{}, {"batch_norm": "all"}, {"dropout": 0.5}])
@both
def test_a_callback_keeps_models_as_they_were(Estimator, options):
    X, y = make_data()
    diary = Diary()
    small(Estimator, max_iter=5, **options).set_callbacks(diary).fit(X, y)
    for epochs, kept in enumerate(diary.models[:-1], start=1):
        shorter = small(Estimator, max_iter=epochs, **options).fit(X, y)
        assert_array_equal(kept.predict(X), shorter.predict(X))
        assert kept.loss_curve_ == shorter.loss_curve_


@both
def test_callbacks_see_the_samples_as_they_were_given(Estimator):
    X, y = make_data()
    frame, weights = pd.DataFrame(X, columns=NAMES), np.ones(len(y))
    diary = Diary()
    small(Estimator, max_iter=1).set_callbacks(diary).fit(frame, y, weights)
    for given_X, given_y, metadata in diary.shown:
        assert given_X is frame and given_y is y
        assert metadata["sample_weight"] is weights


def test_a_callback_that_raises_leaves_the_estimator_as_it_was():
    class Faulty(Diary):
        def on_fit_task_end(self, estimator, context):
            raise RuntimeError("faulty")

    network = small(MLPClassifier).set_callbacks(faulty := Faulty())
    with pytest.raises(RuntimeError, match="faulty"):
        network.fit(*make_data())
    assert faulty.events[-1] == "teardown"
    assert not [name for name in vars(network) if name.endswith("_")]


@both
def test_scoring_monitor_records_the_score_of_every_epoch(Estimator):
    X, y = make_data()
    scoring = "accuracy" if Estimator is MLPClassifier else "r2"
    monitor = ScoringMonitor(scoring=scoring)
    frame = pd.DataFrame(X, columns=NAMES)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.simplefilter("ignore", ConvergenceWarning)
        network = small(Estimator).set_callbacks(monitor).fit(frame, y)
    rows = [r for r in monitor.get_logs().data if r["task_name"] == "epoch"]
    by_hand = [
        small(Estimator, max_iter=n + 1).fit(frame, y).score(frame, y) for n in range(8)
    ]
    assert [row[scoring] for row in rows] == by_hand
    assert by_hand[-1] == network.score(frame, y)


def test_scoring_monitor_inside_a_pipeline_inside_a_parallel_search():
    X, y = make_data()
    monitor = ScoringMonitor(scoring="accuracy")
    model = make_pipeline(StandardScaler(), small(MLPClassifier).set_callbacks(monitor))
    search = GridSearchCV(model, {"mlpclassifier__alpha": [0.1, 1.0]}, cv=2, n_jobs=2)
    search.fit(X, y)
    logs = monitor.get_logs(select="all")
    epochs = [r for log in logs for r in log.data if r["task_name"] == "epoch"]
    assert len(epochs) == 8 * (2 * 2 + 1)


def test_a_callback_inside_a_pipeline_inside_a_search():
    X, y = make_data()
    diary = Diary(last_epoch=0)
    model = make_pipeline(StandardScaler(), small(MLPClassifier).set_callbacks(diary))
    search = GridSearchCV(model, {"mlpclassifier__alpha": [0.1, 1.0]}, cv=2).fit(X, y)
    assert diary.events.count("epoch ends") == 2 * 2 + 1
    assert search.best_estimator_[-1].n_iter_ == 1


@pytest.mark.parametrize("where", ["network", "pipeline", "search"])
def test_progress_bars_are_shown(where, capsys):
    pytest.importorskip("rich")
    X, y = make_data()
    model = network = small(MLPClassifier)
    if where != "network":
        model = make_pipeline(StandardScaler(), network)
    if where == "search":
        model = GridSearchCV(model, {"mlpclassifier__alpha": [0.1, 1.0]}, cv=2)
    model.set_callbacks(ProgressBar(max_propagation_depth=None)).fit(X, y)
    shown = capsys.readouterr().out
    assert "MLPClassifier" in shown and "100%" in shown


@pytest.mark.parametrize("in_a_pipeline", [False, True])
def test_the_progress_line_counts_epochs(in_a_pipeline, monkeypatch):
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", terminal)
    model = small(MLPClassifier).set_callbacks(ProgressLine())
    if in_a_pipeline:
        model = make_pipeline(StandardScaler(), model)
    model.fit(*make_data())
    last = terminal.getvalue().split("\r")[-1]
    assert "] epoch 8/8  loss " in last and last.endswith("\n")
