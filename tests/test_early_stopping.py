"""Early stopping: what is watched, what is kept, what is given back [S 65.94]."""

import pickle

import numpy as np
import pytest
import scipy.sparse
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.metrics import accuracy_score, balanced_accuracy_score, log_loss
from sklearn.model_selection import GridSearchCV
from small_data import assert_same_bits, both, either_dtype, make_data

from mlp import Dropout, EarlyStopping, MLPAutoencoder, MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, _ = make_data(n_samples=120)
Y = (X[:, 0] + X[:, 1] / 2 > 0).astype(int)
X_VAL, Y_VAL = X[80:], Y[80:]
X, Y = X[:80], Y[:80]
VALIDATION = {"X_val": X_VAL, "y_val": Y_VAL}
STATES = {
    "plain": {},
    "batch norm": {"batch_norm": "all+input"},
    "dropout": {"dropout": Dropout(0.3, input=0.1)},
    "dropout of the listing": {"dropout": Dropout(0.3, scaling="test")},
    "all": {
        "batch_norm": "hidden+input",
        "dropout": 0.3,
        "standardize": True,
        "residual": True,
    },
}
every_state = pytest.mark.parametrize("options", STATES.values(), ids=STATES)


def watchful(Estimator, scoring=None, restore_best=True, **options):
    """A model that learns fast, overshoots and stops; seeds fixed."""
    model = Estimator((8, 8), "tanh", learning_rate_init=0.05, batch_size=20)
    early = EarlyStopping(scoring, restore_best)
    model.set_params(early_stopping=early, max_iter=25, random_state=0)
    return model.set_params(n_iter_no_change=25, tol=0.0, **options)


def overshooting(epoch):
    return 0.05 if epoch < 15 else 20.0


# ---- the pocket -------------------------------------------------------------------------


@both
@every_state
@pytest.mark.parametrize("scoring", [None, "loss"])
def test_fit_ends_with_all_the_state_of_the_best_epoch(Estimator, options, scoring):
    model = watchful(Estimator, scoring=scoring, **options)
    model.set_params(learning_rate=overshooting).fit(X, Y, **VALIDATION)
    best = int(np.argmax(model.validation_scores_)) + 1
    assert best < 20  # or nothing would be given back
    there = clone(model).set_params(max_iter=best)
    there.set_params(early_stopping__restore_best=False)
    there.fit(X, Y, **VALIDATION)
    for kept, expected in zip(
        model.network_.snapshot(), there.network_.snapshot(), strict=True
    ):
        assert_array_equal(kept, expected)
    assert_array_equal(model.predict(X_VAL), there.predict(X_VAL))


@both
@every_state
def test_predictions_after_fit_have_the_best_score(Estimator, options):
    model = watchful(Estimator, **options).fit(X, Y, **VALIDATION)
    assert model.score(X_VAL, Y_VAL) == model.best_validation_score_
    assert model.best_validation_score_ == max(model.validation_scores_)


@both
@every_state
def test_restore_best_false_ends_with_the_last_epoch(Estimator, options):
    model = watchful(Estimator, restore_best=False, **options).fit(X, Y, **VALIDATION)
    assert model.score(X_VAL, Y_VAL) == model.validation_scores_[-1]
    unwatched = clone(model).set_params(early_stopping=False).fit(X, Y)
    assert_same_bits(model, unwatched)


@both
def test_statistics_come_out_of_the_pocket_with_the_parameters(Estimator):
    model = watchful(Estimator, batch_norm="hidden", learning_rate=overshooting)
    model.fit(X, Y, **VALIDATION)
    best = int(np.argmax(model.validation_scores_)) + 1
    assert_array_equal(model.network_.statistics[0][2], 4 * best)


@both
@pytest.mark.parametrize("patience", [1, 4])
def test_training_stops_after_so_many_epochs_without_progress(Estimator, patience):
    model = watchful(Estimator, scoring="loss", max_iter=500)
    model.set_params(n_iter_no_change=patience, tol=1e-3).fit(X, Y, **VALIDATION)
    stalled, best = 0, -np.inf
    for score in model.validation_scores_:
        stalled = stalled + 1 if score < best + 1e-3 else 0
        best = max(best, score)
    assert stalled == patience + 1
    assert model.n_iter_ == len(model.validation_scores_) < 500


# ---- what is watched --------------------------------------------------------------------


@both
def test_validation_loss_is_that_of_the_predictions(Estimator):
    model = watchful(Estimator, restore_best=False).fit(X, Y, **VALIDATION)
    if Estimator is MLPClassifier:
        expected = log_loss(Y_VAL, model.predict_proba(X_VAL))
    else:
        expected = ((model.predict(X_VAL) - Y_VAL) ** 2).mean() / 2
    assert model.validation_loss_curve_[-1] == pytest.approx(expected, rel=1e-10)
    assert len(model.validation_loss_curve_) == model.n_iter_


@both
def test_scoring_by_loss_is_the_validation_loss_negated(Estimator):
    model = watchful(Estimator, scoring="loss").fit(X, Y)
    assert_array_equal(
        model.validation_scores_, -np.array(model.validation_loss_curve_)
    )


@pytest.mark.parametrize(
    "name, metric",
    [
        (None, accuracy_score),
        ("accuracy", accuracy_score),
        ("balanced_accuracy", balanced_accuracy_score),
    ],
)
def test_scorers_go_by_name(name, metric):
    model = watchful(MLPClassifier, scoring=name, restore_best=False)
    model.fit(X, Y, **VALIDATION)
    expected = metric(Y_VAL, model.predict(X_VAL))
    assert model.validation_scores_[-1] == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("name", ["roc_auc", "neg_log_loss", "f1", "neg_brier_score"])
def test_probabilities_and_labels_are_scored(name):
    model = watchful(MLPClassifier, scoring=name).fit(X, Y)
    assert np.isfinite(model.validation_scores_).all()


@both
def test_scorers_may_be_callables(Estimator):
    def score(estimator, X, y):
        return -float(np.abs(estimator.predict(X) - y).mean())

    model = watchful(Estimator, scoring=score, restore_best=False)
    model.fit(X, Y, **VALIDATION)
    assert model.validation_scores_[-1] == score(model, X_VAL, Y_VAL)


@both
def test_scorers_that_know_no_weights_get_none(Estimator):
    model = watchful(Estimator, scoring=lambda estimator, X, y: 1.0, max_iter=2)
    assert model.fit(X, Y, np.ones(80)).validation_scores_ == [1.0, 1.0]


def test_scorers_that_know_weights_get_them():
    w = np.linspace(0, 2, 40)
    model = watchful(MLPClassifier, scoring="accuracy", restore_best=False)
    model.fit(X, Y, **VALIDATION, sample_weight_val=w)
    expected = accuracy_score(Y_VAL, model.predict(X_VAL), sample_weight=w)
    assert model.validation_scores_[-1] == pytest.approx(expected, rel=1e-12)


def test_an_unknown_scorer_is_refused_by_name():
    with pytest.raises(ValueError, match="acuracy"):
        watchful(MLPClassifier, scoring="acuracy").fit(X, Y)


@both
@pytest.mark.parametrize("options", [{}, {"dropout": 0.5}, {"augment": np.negative}])
def test_validation_is_free_of_what_is_random_in_training(Estimator, options):
    def augment(batch, rng):
        return -batch

    if "augment" in options:
        options = {"augment": augment}
    model = watchful(Estimator, restore_best=False, max_iter=1, **options)
    model.set_params(solver="sgd", learning_rate_init=1e-300).fit(X, Y, **VALIDATION)
    assert model.score(X_VAL, Y_VAL) == model.validation_scores_[0]


# ---- validation samples -----------------------------------------------------------------


@both
def test_given_samples_without_early_stopping_are_only_watched(Estimator):
    model = watchful(Estimator, early_stopping=False)
    watched = clone(model).fit(X, Y, **VALIDATION)
    assert_same_bits(watched, model.fit(X, Y))
    assert len(watched.validation_loss_curve_) == len(watched.validation_scores_) == 25
    assert model.validation_loss_curve_ is None


@both
def test_given_samples_leave_all_others_for_training(Estimator):
    model = watchful(Estimator, restore_best=False)
    given = clone(model).fit(X, Y, **VALIDATION)
    assert given.t_ == 25 * 80
    assert model.fit(X, Y).t_ == 25 * 72


@both
@either_dtype
@pytest.mark.parametrize("sparse", [False, True])
def test_given_samples_may_be_of_another_kind_than_x(Estimator, dtype, sparse):
    X_val = X_VAL.astype(np.float64 if dtype == np.float32 else np.float32)
    same = watchful(Estimator).fit(
        X.astype(dtype), Y, X_val=X_val.astype(dtype), y_val=Y_VAL
    )
    X_val = scipy.sparse.csr_array(X_val) if sparse else X_val
    other = watchful(Estimator).fit(X.astype(dtype), Y, X_val=X_val, y_val=Y_VAL)
    assert_allclose(
        other.validation_loss_curve_, same.validation_loss_curve_, rtol=1e-5
    )


@both
def test_given_samples_need_not_have_every_class(Estimator):
    few = Y_VAL == 0
    model = watchful(Estimator, warm_start=True, max_iter=2)
    for _ in range(2):
        model.fit(X, Y, X_val=X_VAL[few], y_val=Y_VAL[few])
    assert len(model.validation_scores_) == 4


@pytest.mark.parametrize("output", [None, "tanh"])
def test_labels_are_smoothed_in_training_only(output):
    loss = "squared_error" if output else "log_loss"
    model = watchful(MLPClassifier, loss=loss, output_activation=output)
    model.set_params(learning_rate_init=1e-300, max_iter=1)
    hard = clone(model).fit(X, Y, **VALIDATION)
    smooth = clone(model).set_params(label_smoothing=0.2).fit(X, Y, **VALIDATION)
    assert smooth.validation_loss_curve_ == hard.validation_loss_curve_
    assert smooth.loss_curve_ != hard.loss_curve_


@both
def test_weights_of_given_samples_weigh_their_loss(Estimator):
    w = np.arange(40) % 3
    model = watchful(Estimator, max_iter=3)
    weighted = clone(model).fit(X, Y, **VALIDATION, sample_weight_val=w)
    repeated = model.fit(X, Y, X_val=X_VAL.repeat(w, 0), y_val=Y_VAL.repeat(w))
    assert_allclose(
        weighted.validation_loss_curve_, repeated.validation_loss_curve_, rtol=1e-12
    )
    assert_allclose(
        weighted.validation_scores_, repeated.validation_scores_, rtol=1e-12
    )


def test_a_label_unknown_to_training_is_refused():
    with pytest.raises(ValueError, match="classes not in"):
        watchful(MLPClassifier).fit(X, Y, X_val=X_VAL, y_val=Y_VAL + 1)


@both
@pytest.mark.parametrize("given", [{"X_val": X_VAL}, {"y_val": Y_VAL}])
def test_half_of_the_given_samples_is_refused(Estimator, given):
    with pytest.raises(ValueError, match="X_val and y_val"):
        Estimator().fit(X, Y, **given)


@both
def test_other_features_than_those_of_x_are_refused(Estimator):
    with pytest.raises(ValueError, match="features"):
        Estimator().fit(X, Y, X_val=X_VAL[:, :2], y_val=Y_VAL)


@both
@pytest.mark.parametrize("solver", ["lbfgs", "cg", "gd"])
def test_given_samples_and_full_batch_solvers_are_refused_together(Estimator, solver):
    with pytest.raises(ValueError, match=rf"X_val.*solver='{solver}'"):
        Estimator(solver=solver).fit(X, Y, **VALIDATION)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scoring": 3}, "scoring of EarlyStopping must be None, a name or a callable"),
        (
            {"restore_best": "yes"},
            "restore_best of EarlyStopping must be True or False",
        ),
    ],
)
def test_early_stopping_of_another_kind_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        EarlyStopping(**arguments)


def test_grid_search_reaches_the_score_of_early_stopping():
    grid = {"early_stopping__scoring": [None, "loss"]}
    model = watchful(MLPClassifier, max_iter=3)
    search = GridSearchCV(model, grid, cv=2).fit(X, Y)
    assert search.best_params_["early_stopping__scoring"] in (None, "loss")
    assert model.early_stopping == EarlyStopping()


# ---- going on ---------------------------------------------------------------------------


@both
@every_state
def test_a_warm_start_goes_on_from_the_pocket(Estimator, options):
    model = watchful(Estimator, warm_start=True, **options).fit(X, Y, **VALIDATION)
    best = model.best_validation_score_
    model.set_params(learning_rate_init=1e-300, max_iter=1).fit(X, Y, **VALIDATION)
    assert model.validation_scores_[-1] == pytest.approx(best, abs=0.2)
    assert model.best_validation_score_ >= best


@both
@every_state
def test_pickles_hold_the_best_state(Estimator, options):
    model = watchful(Estimator, **options).fit(X, Y)
    copy = pickle.loads(pickle.dumps(model))
    assert_array_equal(copy.predict(X_VAL), model.predict(X_VAL))
    assert copy.validation_loss_curve_ == model.validation_loss_curve_


@both
def test_partial_fit_and_early_stopping_are_refused_together(Estimator):
    first = {"classes": [0, 1]} if Estimator is MLPClassifier else {}
    with pytest.raises(ValueError, match="partial_fit does not support early_stopping"):
        watchful(Estimator).partial_fit(X, Y, **first)


def test_a_regressors_default_score_is_r2():
    model = watchful(MLPRegressor, restore_best=False).fit(X, Y, **VALIDATION)
    assert model.validation_scores_[-1] == model.score(X_VAL, Y_VAL)


def test_a_score_that_is_nan_from_the_beginning_is_refused():
    X = np.random.RandomState(0).randn(60, 3)
    model = MLPRegressor(5, early_stopping=True, random_state=0)
    with pytest.raises(ValueError, match="score of epoch 1 is NaN, on 1 samples"):
        model.fit(X, X[:, 0], X_val=X[:1], y_val=X[:1, 0])
    assert not hasattr(model, "network_")


def test_samples_held_out_must_weigh_something():
    X = np.random.RandomState(0).randn(60, 3)
    weights = np.zeros(60)
    weights[0] = 1
    model = MLPRegressor(5, early_stopping=True, random_state=0)
    with pytest.raises(ValueError, match="holds out 6 samples, whose sample_weight"):
        model.fit(X, X[:, 0], sample_weight=weights)


@pytest.mark.parametrize("Estimator", [MLPClassifier, MLPRegressor, MLPAutoencoder])
def test_weights_for_samples_that_are_not_given_are_refused(Estimator):
    X = np.random.RandomState(0).randn(60, 3)
    with pytest.raises(
        ValueError, match="sample_weight_val are weights of X_val"
    ):
        Estimator(5).fit(X, np.arange(60) % 2, sample_weight_val=np.ones(3))


def test_an_autoencoders_validation_samples_lie_where_its_loss_is_defined():
    X = np.random.RandomState(0).rand(60, 3)
    model = MLPAutoencoder(2, loss="log_loss", max_iter=2, random_state=0)
    with pytest.raises(ValueError, match="X_val: loss='log_loss' needs values in"):
        model.fit(X, X_val=5 * X)
    # beyond what was trained on, but no loss of theirs is undefined
    MLPAutoencoder(2, max_iter=2, random_state=0).fit(X, X_val=1.1 * X)
