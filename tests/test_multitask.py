"""Several tasks at once, labels missing: loss, gradient, and `MultiTaskClassifier`."""

import inspect
import pickle
import re

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone, is_classifier
from sklearn.datasets import load_iris
from sklearn.metrics import accuracy_score
from sklearn.model_selection import KFold, cross_val_score
from sklearn.utils.estimator_checks import parametrize_with_checks
from small_data import assert_same_bits, either_dtype, fitted_state
from twins import plain_task_loss

from mlp import EarlyStopping, MLPClassifier, MultiTaskClassifier

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

rng = np.random.default_rng(5)
X = rng.normal(size=(60, 4))
#: three tasks that X has much to say about
Y = np.stack([np.digitize(X[:, 0], [-0.5, 0.5]), X[:, 1] > 0, X[:, 2] > 0.2], axis=1)
HOLES = np.where(rng.random(Y.shape) < 0.3, -1, Y)
HOLES[7] = -1
Y_HOLES = np.where(HOLES < 0, np.nan, Y)


# One task is `MLPClassifier` --------------------------------------------------------


@either_dtype
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"solver": "sgd", "batch_size": 1, "momentum": 0},
        {"solver": "lbfgs"},
        {"dropout": 0.3, "batch_norm": "hidden"},
        {"label_smoothing": 0.1, "standardize": True},
    ],
    ids=str,
)
def test_one_task_gives_the_numbers_of_the_classifier(options, n_classes, dtype):
    data, y = load_iris(return_X_y=True)
    data, y = data.astype(dtype), np.array(["ibex", "lynx", "newt"])[y % n_classes]
    weights = np.linspace(0.5, 2, 150)
    options = options | {"max_iter": 5, "random_state": 0}
    one = MLPClassifier(6, **options).fit(data, y, weights)
    other = MultiTaskClassifier(6, **options).fit(data, y[:, None], weights)
    assert_same_bits(one, other)
    assert_allclose(one.loss_curve_, other.loss_curve_, rtol=1e-7)
    assert_array_equal(one.predict_proba(data), other.predict_proba(data)[0])
    assert_array_equal(one.predict(data), other.predict(data)[:, 0])
    assert_allclose(one.score(data, y), other.score(data, y[:, None]), rtol=1e-15)


def test_one_task_is_validated_as_the_classifier():
    data, y = load_iris(return_X_y=True)
    keywords = {"X_val": data[::3], "sample_weight_val": np.arange(1.0, 51)}
    options = {"early_stopping": True, "max_iter": 30, "random_state": 0}
    one = MLPClassifier(6, **options).fit(data, y, y_val=y[::3], **keywords)
    other = MultiTaskClassifier(6, **options)
    other.fit(data, y[:, None], y_val=y[::3, None], **keywords)
    assert_allclose(one.validation_scores_, other.validation_scores_, rtol=1e-12)
    assert_array_equal(one.validation_loss_curve_, other.validation_loss_curve_)
    assert_same_bits(one, other)


# Missing labels ---------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("sparse", [False, True])
def test_rows_of_which_nothing_is_known_contribute_nothing(solver, sparse):
    data = sp.csr_array(X) if sparse else X
    model = MultiTaskClassifier(5, solver=solver, max_iter=5, random_state=0)
    some = np.flatnonzero((HOLES >= 0).any(axis=1))
    weights = rng.uniform(0.5, 2, 60)
    with_them = clone(model).fit(data, Y_HOLES, weights)
    without = clone(model).fit(data[some], Y_HOLES[some], weights[some])
    assert len(some) < 60
    assert_same_bits(with_them, without)
    assert with_them.loss_curve_ == without.loss_curve_


def test_loss_curve_is_the_loss_of_the_known_labels():
    """Smoothing goes to the classes of each task alike."""
    some = np.flatnonzero((HOLES >= 0).any(axis=1))
    options = {"alpha": 0.0, "shuffle": False, "batch_size": len(some), "max_iter": 1}
    model = MultiTaskClassifier(
        5, label_smoothing=0.2, task_weight=[1, 3, 0.5], warm_start=True, **options
    ).fit(X, Y_HOLES)
    before = model.network_.copy()
    model.fit(X, Y_HOLES)
    expected = plain_task_loss(before, X[some], HOLES[some], None, [1, 3, 0.5], 0.2)
    assert_allclose(model.loss_, expected, rtol=1e-12)


def test_validation_loss_is_that_of_the_known_labels():
    """Weighted as the training loss; of labels as they are, not smoothed."""
    model = MultiTaskClassifier(
        5, label_smoothing=0.2, task_weight=[1, 3, 0.5], standardize=True, max_iter=2
    ).fit(X[20:], Y_HOLES[20:], X_val=X[8:20], y_val=Y_HOLES[8:20])
    some = 8 + np.flatnonzero((HOLES[8:20] >= 0).any(axis=1))
    expected = plain_task_loss(model.network_, X[some], HOLES[some], None, [1, 3, 0.5])
    assert_allclose(model.validation_loss_curve_[-1], expected, rtol=1e-12)


@either_dtype
def test_what_is_known_is_learnt_although_a_third_is_missing(dtype):
    model = MultiTaskClassifier(20, solver="lbfgs", max_iter=300, random_state=0)
    model.fit(X.astype(dtype), Y_HOLES)
    assert model.network_.dtype == dtype
    assert model.score(X, Y_HOLES) > 0.99
    assert model.score(X, Y) > 0.85  # the removed labels too


def test_masking_beats_dropping_incomplete_samples():
    generator = np.random.default_rng(0)
    data = generator.normal(size=(600, 10))
    y = (data @ generator.normal(size=(10, 6)) > 0).astype(float)
    holes = np.where(generator.random(y.shape) < 0.3, np.nan, y)
    complete = ~np.isnan(holes[:400]).any(axis=1)
    model = MultiTaskClassifier(30, solver="lbfgs", alpha=1.0, random_state=0)
    masked = clone(model).fit(data[:400], holes[:400]).score(data[400:], y[400:])
    rest = clone(model).fit(data[:400][complete], holes[:400][complete])
    assert masked > rest.score(data[400:], y[400:]) + 0.05


def test_a_task_of_one_class_is_predicted_and_teaches_nothing():
    alone = np.column_stack([Y_HOLES, np.where(HOLES[:, 0] < 0, np.nan, 7)])
    model = MultiTaskClassifier(5, max_iter=5, alpha=0.0, random_state=0)
    model.fit(X, alone)
    assert_array_equal(model.classes_[3], [7])
    assert_array_equal(model.predict(X)[:, 3], np.full(60, 7))
    assert_array_equal(model.predict_proba(X)[3], np.ones((60, 1)))
    W = model.coefs_[-1][:, -1].copy()
    model.set_params(warm_start=True, task_weight=[1, 2, 3, 4]).fit(X, alone)
    assert_array_equal(model.coefs_[-1][:, -1], W)
    assert MultiTaskClassifier(max_iter=1).fit(X, alone[:, 3:]).loss_ < 1e-3


def test_task_weights_lead_to_the_tasks_that_have_them():
    noise = np.random.default_rng(3).integers(0, 2, (60, 1))
    y = np.hstack([Y[:, 1:2], noise])
    model = MultiTaskClassifier(1, solver="lbfgs", alpha=0.1, random_state=0)
    first, second = (
        clone(model).set_params(task_weight=weight).fit(X, y)
        for weight in ([100, 0.01], [0.01, 100])
    )
    accuracy = [
        [accuracy_score(y[:, t], m.predict(X)[:, t]) for t in (0, 1)]
        for m in (first, second)
    ]
    assert accuracy[0][0] > accuracy[1][0] and accuracy[0][1] < accuracy[1][1]


def test_task_weights_of_one_change_nothing_and_scale_the_loss():
    model = MultiTaskClassifier(5, alpha=0.0, max_iter=5, random_state=0)
    plain = clone(model).fit(X, Y_HOLES)
    ones = clone(model).set_params(task_weight=np.ones(3)).fit(X, Y_HOLES)
    assert_same_bits(plain, ones)
    twos = clone(model).set_params(task_weight=[2, 2, 2]).fit(X, Y_HOLES)
    assert twos.loss_curve_[0] == pytest.approx(2 * plain.loss_curve_[0], rel=1e-6)


# Labels of any kind -----------------------------------------------------------------

TEXT = np.array(["ibex", "lynx", "newt"])
ROWS = [
    [None if HOLES[i, 0] < 0 else str(TEXT[Y[i, 0]]), None if h else int(Y[i, 1]), b]
    for i, h, b in zip(
        range(60),
        HOLES[:, 1] < 0,
        [None if HOLES[i, 2] < 0 else bool(Y[i, 2]) for i in range(60)],
        strict=True,
    )
]


def with_sign(sign):
    return [[sign if v is None else v for v in row] for row in ROWS]


def frame(kinds):
    table = pd.DataFrame(ROWS, columns=["animal", "count", "flag"], dtype=object)
    return table.astype(kinds)


@pytest.mark.parametrize(
    ("y", "missing_label"),
    [
        (ROWS, np.nan),
        (with_sign(np.nan), np.nan),
        (with_sign("?"), "?"),
        (with_sign(-1), -1),
        (np.array(ROWS, dtype=object), None),
        (frame({}), np.nan),
        (frame({"animal": "category", "count": "Int64", "flag": "boolean"}), np.nan),
        (frame({"animal": "str", "count": "Int8"}).fillna({"animal": "?"}), "?"),
    ],
    ids=["None", "nan", "?", "-1", "objects", "frame", "typed frame", "frame with ?"],
)
def test_labels_may_be_of_any_kind_and_missing_in_any_way(y, missing_label):
    model = MultiTaskClassifier(
        5, missing_label=missing_label, max_iter=5, random_state=0
    )
    expected = clone(model).set_params(missing_label=np.nan).fit(X, Y_HOLES)
    model.fit(X, y)
    assert_same_bits(model, expected)
    assert [c.tolist() for c in model.classes_] == [
        TEXT.tolist(),
        [0, 1],
        [False, True],
    ]
    predicted, codes = model.predict(X), expected.predict(X).astype(int)
    assert predicted.dtype == object
    assert_array_equal(predicted[:, 0], TEXT[codes[:, 0]])
    assert_array_equal(predicted[:, 1:].astype(int), codes[:, 1:])
    assert model.score(X, y) == expected.score(X, Y_HOLES)


@pytest.mark.parametrize(
    "y",
    [
        HOLES.astype(np.int16),
        HOLES.astype(np.float32),
        np.where(HOLES < 0, "-1", Y.astype(str)),
    ],
    ids=["int16", "float32", "str"],
)
def test_predictions_have_the_dtype_of_labels_of_one_kind(y):
    sign = y.dtype.type(-1)
    model = MultiTaskClassifier(5, missing_label=sign.item(), max_iter=2).fit(X, y)
    predicted = model.predict(X)
    assert predicted.dtype.kind == y.dtype.kind and predicted.shape == (60, 3)
    assert sign not in predicted
    if predicted.dtype.kind != "U":
        assert predicted.dtype == y.dtype


def test_dates_are_labels_too():
    days = np.array(["2020-01-01", "2021-01-01"], "M8[D]")[Y[:, 1:]]
    days[3, 0] = np.datetime64("NaT")
    model = MultiTaskClassifier(5, solver="lbfgs", random_state=0).fit(X, days)
    assert model.predict(X).dtype == days.dtype
    assert model.score(X, days) > 0.95


# Prediction and scores --------------------------------------------------------------


@pytest.fixture(scope="module")
def fitted():
    return MultiTaskClassifier(8, max_iter=30, random_state=0).fit(X, Y_HOLES)


def test_probabilities_are_the_networks_outputs(fitted):
    out = fitted.network_.forward(X)
    first, second, third = fitted.predict_proba(X)
    assert_array_equal(first, out[:, :3])
    assert_array_equal(second, np.stack([1 - out[:, 3], out[:, 3]], axis=1))
    assert third.shape == (60, 2)
    for p, log_p, predicted in zip(
        fitted.predict_proba(X),
        fitted.predict_log_proba(X),
        fitted.predict(X).T,
        strict=True,
    ):
        assert_allclose(p.sum(axis=1), 1, rtol=1e-12)
        assert_array_equal(log_p, np.log(p))
        assert_array_equal(p.argmax(axis=1), predicted)


def test_score_is_the_mean_accuracy_on_known_labels(fitted):
    weights = rng.uniform(0, 2, 60)
    predicted = fitted.predict(X)
    for w in (None, weights):
        expected = []
        for t in range(3):
            known = HOLES[:, t] >= 0
            weight = None if w is None else w[known]
            expected.append(
                accuracy_score(Y[known, t], predicted[known, t], sample_weight=weight)
            )
        assert fitted.score(X, Y_HOLES, w) == pytest.approx(
            np.mean(expected), rel=1e-12
        )


def test_score_leaves_out_tasks_without_labels(fitted):
    y = Y_HOLES.copy()
    y[:, 0] = np.nan
    expected = [np.nanmean(fitted.predict(X)[:, t] == Y[:, t]) for t in (1, 2)]
    y[:, 1:] = Y[:, 1:]
    assert fitted.score(X, y) == pytest.approx(np.mean(expected), rel=1e-12)
    with pytest.raises(ValueError, match="no label is known"):
        fitted.score(X, y * np.nan)


def test_score_takes_a_label_never_seen_for_an_error(fitted):
    for label in (9, "newt", "1.0", np.datetime64("2020-01-01")):
        assert fitted.score(X, np.full((60, 3), label)) == 0


def test_early_stopping_goes_by_the_score_and_keeps_the_best():
    model = MultiTaskClassifier(8, early_stopping=True, random_state=0, max_iter=60)
    model.fit(X, Y_HOLES, X_val=X[:20], y_val=Y_HOLES[:20])
    assert max(model.validation_scores_) == model.best_validation_score_
    assert model.score(X[:20], Y_HOLES[:20]) == pytest.approx(
        model.best_validation_score_, rel=1e-12
    )
    held_out = MultiTaskClassifier(8, early_stopping=True, max_iter=5).fit(X, Y_HOLES)
    assert len(held_out.validation_scores_) == 5


def test_a_scorer_gets_the_labels_as_given():
    seen = []

    def scorer(estimator, X_val, y_val):
        seen.append(y_val)
        return estimator.score(X_val, y_val)

    model = MultiTaskClassifier(5, early_stopping=EarlyStopping(scorer), max_iter=2)
    y = frame({"animal": "category"})
    model.fit(X, y, X_val=X[:20], y_val=y[:20])
    informed = (HOLES[:20] >= 0).any(axis=1)
    assert_array_equal(pd.isna(seen[0]), HOLES[:20][informed] < 0)
    known = HOLES[:20, 0] >= 0
    animals = seen[0][:, 0][~pd.isna(seen[0][:, 0])]
    assert_array_equal(animals, TEXT[Y[:20, 0][known]])


# Life of an estimator ---------------------------------------------------------------


def test_partial_fit_goes_over_the_samples_as_fit_does():
    whole = MultiTaskClassifier(5, max_iter=3, shuffle=False, random_state=0)
    whole.fit(X, Y_HOLES)
    parts = clone(whole).partial_fit(X, Y_HOLES, classes=[[2, 1, 0], [0, 1], [1, 0]])
    parts.partial_fit(X, Y_HOLES).partial_fit(X, Y_HOLES)
    assert_same_bits(whole, parts)
    assert_array_equal(parts.classes_[0], [0, 1, 2])


def test_partial_fit_takes_a_batch_that_lacks_a_task():
    model = MultiTaskClassifier(5, random_state=0)
    lacking = Y_HOLES.copy()
    lacking[:, 0] = np.nan
    model.partial_fit(X, lacking, classes=[[0, 1, 2], [0, 1], [0, 1]])
    assert model.partial_fit(X, Y_HOLES).predict_proba(X)[0].shape == (60, 3)


def test_warm_start_goes_on():
    once = MultiTaskClassifier(5, solver="sgd", momentum=0, shuffle=False, max_iter=4)
    once.set_params(random_state=0)
    twice = clone(once).set_params(max_iter=2, warm_start=True).fit(X, Y_HOLES)
    assert_same_bits(once.fit(X, Y_HOLES), twice.fit(X, Y_HOLES))


@pytest.mark.parametrize(
    "options", [{}, {"batch_norm": "all"}, {"standardize": True, "dropout": 0.2}]
)
def test_copies_and_pickles_predict_alike(options):
    model = MultiTaskClassifier(5, max_iter=3, task_weight=[1, 2, 3], **options)
    model.fit(X, Y_HOLES)
    loaded = pickle.loads(pickle.dumps(model))
    for p, q in zip(model.predict_proba(X), loaded.predict_proba(X), strict=True):
        assert_array_equal(p, q)
    assert_array_equal(model.predict(X), loaded.predict(X))
    assert_array_equal(loaded.network_.spec.group_weight, [1, 2, 3])
    assert not hasattr(clone(model), "classes_")


def test_sparse_inputs_and_threads_give_the_same_numbers():
    data = np.where(rng.random((60, 4)) < 0.5, 0, X)
    model = MultiTaskClassifier(8, max_iter=5, random_state=0)
    dense = clone(model).fit(data, Y_HOLES)
    sparse = clone(model).fit(sp.csr_array(data), Y_HOLES)
    assert_allclose(sparse.coefs_[0], dense.coefs_[0], rtol=1e-9, atol=1e-12)
    assert_array_equal(sparse.predict(sp.csr_array(data)), dense.predict(data))
    wide = MultiTaskClassifier(256, max_iter=2, random_state=0)
    assert_same_bits(
        clone(wide).set_params(n_threads=1).fit(data, Y_HOLES),
        clone(wide).set_params(n_threads=2).fit(data, Y_HOLES),
    )


def test_cross_validation_scores_with_missing_labels():
    model = MultiTaskClassifier(8, solver="lbfgs", alpha=0.1, random_state=0)
    scores = cross_val_score(model, X, Y_HOLES, cv=KFold(3))
    assert scores.shape == (3,) and scores.mean() > 0.7
    signed = clone(model).set_params(missing_label=-1)
    assert_array_equal(cross_val_score(signed, X, HOLES, cv=3), scores)


def test_only_parameters_that_it_has_are_described():
    absent = {"loss", "output_activation", "class_weight"}
    parameters = MultiTaskClassifier().get_params()
    text = inspect.getdoc(MultiTaskClassifier).partition("Attributes\n")[0]
    entries = re.findall(r"^(\w[\w, ]*) : ", text, re.MULTILINE)
    described = [name for entry in entries for name in entry.split(", ")]
    assert is_classifier(MultiTaskClassifier()) and not absent & set(parameters)
    assert sorted(described) == sorted(parameters)


ONE_COLUMN = "predictions are (n_samples, 1), probabilities a list, for one task too"
ONE_DIMENSIONAL = "the check gives labels of one dimension"
CLASSES = "the check gives partial_fit one flat array of classes"
EXPECTED = {
    "check_n_features_in_after_fitting": CLASSES,
    "check_estimators_partial_fit_n_features": CLASSES,
    "check_classifiers_classes": ONE_DIMENSIONAL,
    "check_classifiers_regression_target": ONE_DIMENSIONAL,
    "check_estimator_sparse_array": ONE_COLUMN,
    "check_estimator_sparse_matrix": ONE_COLUMN,
    "check_classifiers_train": ONE_COLUMN,
    "check_methods_sample_order_invariance": ONE_COLUMN,
}


@parametrize_with_checks(
    [MultiTaskClassifier(max_iter=100)], expected_failed_checks=lambda _: EXPECTED
)
def test_estimator_passes(estimator, check):
    check(estimator)


# Bad input --------------------------------------------------------------------------

NO_COUNT = frame({})
NO_COUNT["count"] = None
MIXED = with_sign(None)
MIXED[0][1], MIXED[1][1] = "many", 2


@pytest.mark.parametrize(
    ("y", "words"),
    [
        (Y[:, 0], r"shape \(n_samples, n_tasks\).*got shape \(60,\).*reshape"),
        (Y[:, :, None], r"got shape \(60, 3, 1\)"),
        (Y[:, :0], "one column per task, got no columns"),
        ([[1, 2], [3]], "n_tasks"),
        (Y[:-1], r"inconsistent.*\[60, 59\]"),
        (None, "requires y to be passed"),
        (np.where([1, 0, 1], Y, np.nan), "column 1 of y: every label is missing"),
        (NO_COUNT, r"column 1 of y \('count'\): every label is missing"),
        (MIXED, "column 1 of y mixes strings and other types, such as 'many' and"),
        (Y + 0.5, "column 0 of y: .*continuous, with values such as"),
        (np.where(Y == 2, np.inf, Y), "column 0 of y: .*values such as inf"),
        (sp.csr_array(Y), r"y is sparse.*toarray"),
        ([[(1, 2), 3]] * 60, "column 0 of y: labels must be single"),
    ],
)
def test_labels_that_are_none_are_refused_and_nothing_is_lost(y, words):
    model = MultiTaskClassifier(5, max_iter=2).fit(X, Y)
    before = fitted_state(model)
    with pytest.raises(ValueError, match=words):
        model.fit(X, y)
    assert fitted_state(model) == before


@pytest.mark.parametrize(
    "bad", [[1, 2], [1, 0, 1], [1, -1, 1], [1, np.nan, 1], "abc", [[1, 1, 1]], ["a"]]
)
def test_task_weights_are_refused(bad):
    words = "task_weight must be 3 positive numbers|'task_weight' parameter"
    with pytest.raises(ValueError, match=words):
        MultiTaskClassifier(task_weight=bad, max_iter=1).fit(X, Y)


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        (None, "classes must be passed on the first call"),
        ([0, 1, 2], r"classes\[0\] must be a list of labels"),
        ([[0, 1, 2], [0, 1]], "classes must be a list of 3 arrays"),
        (3, "classes must be a list of 3 arrays"),
        ([[0, 1, 2], [0, 1], []], r"classes\[2\] must be a list"),
        ([[0, 1, 2], [0, None], [0, 1]], r"classes\[1\] must be a list .*none missing"),
        ([[0, 1], [0, 1], [0, 1]], r"column 0 of y has the label .*2.* in row"),
        ([list("abc"), [0, 1], [0, 1]], r"column 0 of y has the label .* in row"),
    ],
)
def test_classes_of_partial_fit_are_refused(classes, words):
    model = MultiTaskClassifier(5)
    with pytest.raises(ValueError, match=words):
        model.partial_fit(X, Y, classes=classes)
    assert not hasattr(model, "classes_")


def test_partial_fit_of_a_batch_without_a_known_label_trains_nothing(fitted):
    model = pickle.loads(pickle.dumps(fitted)).partial_fit(X, Y_HOLES)
    before = fitted_state(model)
    for row in range(3):
        model.partial_fit(X[[row]], np.full((1, 3), np.nan))
    assert fitted_state(model) == before


def test_partial_fit_may_begin_without_a_known_label():
    options = {"classes": [[0, 1, 2], [0, 1], [0, 1]]}
    one, other = (
        MultiTaskClassifier(5, random_state=np.random.RandomState(0)) for _ in range(2)
    )
    one.partial_fit(X, Y * np.nan, **options).partial_fit(X, Y_HOLES)
    assert_same_bits(one, other.partial_fit(X, Y_HOLES, **options))


def test_loss_gradients_without_a_known_label_are_zeros(fitted):
    assert_array_equal(fitted.loss_gradients(X, Y * np.nan), np.zeros_like(X))


def test_later_calls_must_have_the_same_tasks_and_classes(fitted):
    model = pickle.loads(pickle.dumps(fitted)).set_params(warm_start=True)
    with pytest.raises(ValueError, match=r"y has the classes \[0 1 5\] in column 0"):
        model.fit(X, np.where(Y == 2, 5, Y))
    with pytest.raises(ValueError, match="y has 2 columns, the fitted network has 3 tasks"):
        model.fit(X, Y[:, :2])
    with pytest.raises(ValueError, match="y has 2 columns"):
        model.score(X, Y[:, :2])
    with pytest.raises(ValueError, match="classes has the classes"):
        model.partial_fit(X, Y, classes=[[0, 1, 3], [0, 1], [0, 1]])
    with pytest.raises(ValueError, match=r"X_val, y_val: column 1 of y has the label"):
        model.fit(X, Y, X_val=X, y_val=Y + np.array([0, 1, 0]))
    with pytest.raises(ValueError, match="where y is known"):
        model.fit(X, Y_HOLES, sample_weight=(HOLES < 0).all(axis=1).astype(float))


def test_losses_cannot_be_chosen():
    with pytest.raises(ValueError, match="Invalid parameter 'loss'"):
        MultiTaskClassifier().set_params(loss="huber")
