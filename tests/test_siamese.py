"""`SiameseClassifier`: verification by a Siamese network."""

import json
import os
import pickle
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import scipy.sparse
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import (
    GridSearchCV,
    TunedThresholdClassifierCV,
    cross_val_score,
)
from sklearn.utils import estimator_checks as checks

from mlp import EarlyStopping, SiameseClassifier, sample_pairs
from mlp.network.siamese import HEADS, cosines
from mlp.progress import GradientNorms

every_head = pytest.mark.parametrize("head", HEADS)
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def labelled_pairs(n_pairs=60, n_features=5, dtype=np.float64):
    """Pairs that are the same where their first features have one sign."""
    X = np.random.default_rng(5).normal(size=(n_pairs, 2, n_features)).astype(dtype)
    return X, (X[:, 0, 0] * X[:, 1, 0] > 0).astype(int)


def small(head="cosine", **options):
    """An estimator that is fitted in milliseconds."""
    options = {"max_iter": 5, "batch_size": 16, "random_state": 0} | options
    return SiameseClassifier((8,), n_embedding=4, head=head, **options)


@pytest.mark.parametrize(
    "check",
    [
        checks.check_do_not_raise_errors_in_init_or_set_params,
        checks.check_estimator_cloneable,
        checks.check_estimator_repr,
        checks.check_estimator_tags_renamed,
        checks.check_get_params_invariance,
        checks.check_mixin_order,
        checks.check_no_attributes_set_in_init,
        checks.check_parameters_default_constructible,
        checks.check_set_params,
    ],
)
def test_it_passes_the_checks_that_need_no_samples(check):
    # scikit-learn has no samples of three dimensions to try the others with
    check("SiameseClassifier", SiameseClassifier())


@every_head
def test_it_tells_digits_apart_better_than_their_pixels(head):
    X, y = load_digits(return_X_y=True)
    pairs, same = sample_pairs(y[:1200], 6000, random_state=0)
    model = SiameseClassifier(head=head, max_iter=12, random_state=0, standardize=True)
    model.fit(X[:1200][pairs], same)
    pairs, same = sample_pairs(y[1200:], 3000, random_state=1)
    X = X[1200:][pairs]
    pixels = roc_auc_score(same, cosines(X[:, 0], X[:, 1]))
    assert roc_auc_score(same, model.decision_function(X)) > pixels + 0.05
    assert model.score(X, same) > 0.75


@every_head
def test_what_it_learns_holds_for_kinds_that_it_has_never_seen(head):
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(80), 20)
    X = 5 * rng.normal(size=(len(y), 20))  # five features of twenty tell a kind
    X[:, :5] = rng.normal(size=(80, 5))[y] + 0.2 * rng.normal(size=(len(y), 5))
    seen = y < 60
    pairs, same = sample_pairs(y[seen], 10000, random_state=0)
    model = SiameseClassifier((64,), head=head, max_iter=20, random_state=0)
    model.fit(X[seen][pairs], same)
    pairs, same = sample_pairs(y[~seen], 3000, random_state=1)
    X = X[~seen][pairs]
    assert roc_auc_score(same, cosines(X[:, 0], X[:, 1])) < 0.6
    assert roc_auc_score(same, model.decision_function(X)) > 0.9


@every_head
def test_scores_labels_and_probabilities_agree(head):
    X, y = labelled_pairs()
    names = np.array(["other", "same"])[y]
    model = small(head).fit(X, names)
    scores, proba = model.decision_function(X), model.predict_proba(X)
    assert_array_equal(model.classes_, ["other", "same"])
    assert_array_equal(model.predict(X) == "same", scores > 0)
    assert_array_equal(proba[:, 1] > 0.5, scores > 0)
    assert_allclose(proba.sum(axis=1), 1)
    assert_array_equal(np.argsort(proba[:, 1]), np.argsort(scores))
    assert_allclose(model.predict_log_proba(X), np.log(proba))
    assert model.score(X, names) == np.mean(model.predict(X) == names)


@pytest.mark.parametrize("head", ["cosine", "distance"])
def test_the_order_of_the_two_does_not_matter(head):
    X, y = labelled_pairs()
    model = small(head).fit(X, y)
    assert_array_equal(model.decision_function(X), model.decision_function(X[:, ::-1]))


def test_a_sample_is_like_itself():
    X, y = labelled_pairs()
    model = small().fit(X, y)
    same = X[:, [0, 0]]
    assert_allclose(model.decision_function(same), 1)
    assert (model.decision_function(same) <= 1).all()


@every_head
def test_embed_is_what_the_scores_are_made_of(head):
    X, y = labelled_pairs()
    model = small(head, batch_norm="hidden", standardize=True).fit(X, y)
    U, V = model.embed(X[:, 0]), model.embed(X[:, 1])
    assert U.shape == (60, 4)
    if head == "cosine":
        expected = (
            (U * V).sum(1) / np.linalg.norm(U, axis=1) / np.linalg.norm(V, axis=1)
        )
    else:
        joined = abs(U - V) if head == "distance" else np.hstack([U, V])
        p = model.network_.head.forward(joined)[:, 0]
        expected = np.log(p / (1 - p))
    assert_allclose(model.decision_function(X), expected, rtol=1e-9)


@every_head
def test_all_forms_of_pairs_are_alike(head):
    X, y = labelled_pairs()
    X[X < 0.3] = 0
    model = small(head).fit(X, y)
    for pair in (
        (X[:, 0], X[:, 1]),
        (scipy.sparse.csr_array(X[:, 0]), scipy.sparse.csc_matrix(X[:, 1])),
        X.tolist(),
    ):
        other = small(head).fit(pair, y)
        assert_allclose(model.loss_curve_, other.loss_curve_, rtol=1e-12)
        assert_allclose(
            model.decision_function(X), other.decision_function(pair), rtol=1e-9
        )


def test_a_list_of_two_arrays_of_two_samples_is_refused_as_ambiguous():
    X, y = labelled_pairs()
    model = small().fit(X, y)
    both = [X[:2, 0], X[:2, 1]]
    for refused in (
        lambda: model.predict(both),
        lambda: model.partial_fit(both, [0, 1]),
        lambda: model.fit(both, [0, 1]),
        lambda: model.fit(X, y, X_val=both, y_val=[0, 1]),
    ):
        with pytest.raises(ValueError, match=r"numpy.stack.*the tuple \(X1, X2\)"):
            refused()
    expected = model.decision_function(X[:2])
    assert_array_equal(model.decision_function(tuple(both)), expected)
    assert_array_equal(model.decision_function(X[:2].tolist()), expected)


def test_early_stopping_with_one_pair_of_a_kind_is_not_stratified():
    X, _ = labelled_pairs()
    rare = np.arange(60) == 7
    model = small(early_stopping=True)
    with pytest.warns(UserWarning, match=r"^early_stopping=True .* not stratified"):
        model.fit(X, rare)
    assert len(model.validation_scores_) == 5


def test_frames_keep_their_names():
    pandas = pytest.importorskip("pandas")
    X, y = labelled_pairs()
    first, second = (pandas.DataFrame(X[:, k], columns=list("abcde")) for k in (0, 1))
    model = small().fit((first, second), y)
    assert_array_equal(model.feature_names_in_, list("abcde"))
    with pytest.raises(ValueError, match="feature names"):
        model.predict((first, second[list("edcba")]))


@every_head
def test_sklearn_can_cut_and_search(head):
    X, y = labelled_pairs()
    assert cross_val_score(small(head), X, y, cv=3, scoring="roc_auc").shape == (3,)
    search = GridSearchCV(small(head), {"n_embedding": [2, 3]}, cv=2).fit(X, y)
    assert search.best_estimator_.embed(X[:, 0]).shape[1] in (2, 3)
    tuned = TunedThresholdClassifierCV(small(head), cv=2).fit(X, y)
    assert tuned.predict(X).shape == (60,)


@every_head
def test_copies_predict_the_same(head):
    X, y = labelled_pairs()
    model = small(head, batch_norm="all", standardize=True).fit(X, y)
    scores = model.decision_function(X)
    for copy in (pickle.loads(pickle.dumps(model)), clone(model).fit(X, y)):
        assert_array_equal(scores, copy.decision_function(X))
    copy = pickle.loads(pickle.dumps(model)).set_params(warm_start=True)
    model.set_params(warm_start=True)
    for trained in (model, copy):
        trained.coefs_[-1] *= 0.5  # views still
        trained.fit(X, y)
    assert_array_equal(model.decision_function(X), copy.decision_function(X))
    assert (model.decision_function(X) != scores).any()


@every_head
def test_partial_fit_is_an_epoch_of_fit(head):
    X, y = labelled_pairs()
    whole = small(head, max_iter=3, shuffle=False).fit(X, y)
    steps = small(head, shuffle=False)
    for _ in range(3):
        steps.partial_fit(X, y)
    assert_array_equal(whole.loss_curve_, steps.loss_curve_)
    assert_array_equal(whole.decision_function(X), steps.decision_function(X))
    with pytest.raises(ValueError, match=r"two labels.*got \[1\]"):
        small(head).partial_fit(X[y == 1], y[y == 1])
    first = small(head).partial_fit(X[y == 1], y[y == 1], classes=[0, 1])
    assert_array_equal(first.classes_, [0, 1])


@every_head
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_precision_is_that_of_the_pairs(head, dtype):
    X, y = labelled_pairs(dtype=dtype)
    model = small(head).fit(X, y)
    assert model.coefs_[0].dtype == model.embed(X[:, 0]).dtype == dtype
    assert model.decision_function(X).dtype == dtype
    assert small(head, dtype="float32").fit(X, y).coefs_[0].dtype == np.float32


@every_head
def test_weights_count_as_repetitions(head):
    X, y = labelled_pairs()
    twice = np.random.default_rng(0).integers(1, 3, size=len(y))
    repeated = np.repeat(np.arange(len(y)), twice)
    options = {"batch_size": 200, "max_iter": 4, "solver": "sgd", "shuffle": False}
    with pytest.warns(UserWarning, match="clipped"):
        weighted = small(head, **options).fit(X, y, twice)
        rows = small(head, **options).fit(X[repeated], y[repeated])
    assert_allclose(weighted.loss_curve_, rows.loss_curve_, rtol=1e-11)
    assert_allclose(
        weighted.decision_function(X), rows.decision_function(X), rtol=1e-9, atol=1e-12
    )


@every_head
def test_early_stopping_goes_back_to_the_best(head):
    X, y = labelled_pairs(200)
    options = {"n_iter_no_change": 5, "max_iter": 60}
    loss, auc = EarlyStopping("loss"), EarlyStopping("roc_auc")
    model = small(head, batch_norm="hidden", early_stopping=loss, **options)
    model.fit(X[:120], y[:120], X_val=X[120:], y_val=y[120:])
    targets = np.array(HEADS[head])[y[120:]]
    index = np.arange(160).reshape(80, 2)
    data = model.network_.data(X[120:].reshape(160, 5), index, targets)
    best = model.network_.prediction_loss(data)
    assert_allclose(best, min(model.validation_loss_curve_), rtol=1e-12)
    assert_allclose(best, -model.best_validation_score_, rtol=1e-12)
    scores = model.decision_function(X[120:])
    if head == "cosine":
        expected = np.mean((scores - targets) ** 2) / 2
    elif head == "distance":
        expected = np.mean(np.logaddexp(0, (1 - 2 * targets) * scores))
    else:
        expected = np.mean((1 / (1 + np.exp(-scores)) - targets) ** 2) / 2
    assert_allclose(best, expected, rtol=1e-10)
    split = small(head, early_stopping=auc, **options).fit(X, y)
    assert len(split.validation_scores_) == split.n_iter_


def test_callbacks_see_usable_models():
    X, y = labelled_pairs()
    seen = []

    class Watch:
        def setup(self, estimator, context): ...
        def teardown(self, estimator, context): ...
        def on_fit_task_begin(self, estimator, context): ...

        def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
            if context.parent is not None:
                seen.append(fitted_estimator.decision_function(X))

    model = small(max_iter=3)
    model.set_callbacks(Watch())
    model.fit(X, y)
    assert len(seen) == 3
    assert_array_equal(seen[-1], model.decision_function(X))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"X": np.ones((60, 5))}, r"X must have shape \(n_pairs, 2, n_features\)"),
        ({"X": np.ones((60, 3, 5))}, r"got shape \(60, 3, 5\)"),
        ({"X": (np.ones((60, 5)),)}, "got 1"),
        (
            {"X": (np.ones((60, 5)), np.ones((59, 5)))},
            "same number of rows, got 60 and 59",
        ),
        ({"X": (np.ones((60, 5)), np.ones((60, 4)))}, "4 features"),
        (
            {"X": (scipy.sparse.csr_array(np.ones((60, 5))), np.ones((60, 5)))},
            "both be sparse",
        ),
        ({"X": scipy.sparse.csr_array(np.ones((60, 5)))}, r"tuple \(X1, X2\)"),
        ({"X": np.full((60, 2, 5), np.nan)}, "NaN"),
        ({"y": np.arange(60) % 3}, r"two labels.*\[0, 1, 2\]"),
        ({"y": np.ones(60, int)}, r"two labels.*\[1\]"),
        ({"y": np.linspace(0, 1, 60)}, "continuous"),
        ({"y": np.zeros(59, int)}, "inconsistent numbers"),
        ({"y": None}, "got None"),
        ({"sample_weight": np.zeros(60)}, "non-zero|positive"),
        ({"head": "dot"}, "'head' parameter"),
        ({"solver": "lbfgs"}, "'solver' parameter"),
        ({"embedding_activation": "softmax"}, "softmax"),
        ({"activation": "rbf"}, "rbf"),
        ({"activation": "sign"}, "can't be trained"),
        ({"head": "relation", "head_layer_sizes": (0,)}, "head_layer_sizes"),
        ({"batch_norm": "all", "batch_size": 1}, "batch_size >= 2"),
        ({"early_stopping": True, "validation_fraction": 0.0}, "validation_fraction"),
        ({"n_embedding": 0}, "'n_embedding' parameter"),
        ({"dtype": "int8"}, "dtype"),
    ],
)
def test_bad_input_is_refused_and_nothing_lost(change, message):
    X, y = labelled_pairs()
    model = small().fit(X, y)
    before, scores = set(vars(model)), model.decision_function(X)
    arguments = {"X": X, "y": y}
    arguments |= {k: v for k, v in change.items() if k in ("X", "y", "sample_weight")}
    settings = {k: v for k, v in change.items() if k not in arguments}
    with pytest.raises(ValueError, match=message):
        model.set_params(**settings).fit(**arguments)
    assert set(vars(model)) == before
    assert_array_equal(model.decision_function(X), scores)


def test_a_fitted_network_keeps_its_shape():
    X, y = labelled_pairs()
    model = small("relation", warm_start=True).fit(X, y)
    for change in (
        {"n_embedding": 5},
        {"head": "cosine"},
        {"hidden_layer_sizes": (7,)},
        {"head_layer_sizes": (7,)},
        {"head_activation": "tanh"},
        {"standardize": True},
    ):
        other = pickle.loads(pickle.dumps(model)).set_params(**change)
        with pytest.raises(ValueError, match=next(iter(change))):
            other.fit(X, y)
    with pytest.raises(ValueError, match="labels"):
        model.fit(X, y + 1)
    with pytest.raises(ValueError, match="4 features"):
        model.predict(X[:, :, :4])


def test_divergence_is_reported_and_undone():
    X, y = labelled_pairs()
    model = small("distance").fit(X, y)
    scores = model.decision_function(X)
    with pytest.raises(ValueError, match="diverged"), np.errstate(all="ignore"):
        model.set_params(solver="sgd", learning_rate_init=1e300).fit(X, y)
    assert_array_equal(model.decision_function(X), scores)


INTERRUPTED = """
import json, time, warnings
import numpy as np
from mlp import SiameseClassifier

rng = np.random.default_rng(0)
X = rng.standard_normal((100_000, 2, 16), dtype=np.float32)
y = rng.integers(2, size=100_000)
model = SiameseClassifier((768, 768), head="relation", max_iter=1)
print("ready", flush=True)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    model.fit(X, y)
ended = time.clock_gettime(time.CLOCK_MONOTONIC)
print(json.dumps({
    "ended": ended,
    "warnings": [str(w.message) for w in caught],
    "n_iter_": model.n_iter_,
    "finite": bool(np.isfinite(model.decision_function(X[:100])).all()),
}), flush=True)
"""


@pytest.mark.skipif(os.name == "nt", reason="SIGINT of POSIX")
def test_ctrl_c_amid_an_epoch_leaves_a_usable_model():
    command = [sys.executable, "-c", INTERRUPTED]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "ready\n"
        time.sleep(0.7)
        assert child.poll() is None  # still training
        sent = time.clock_gettime(time.CLOCK_MONOTONIC)
        os.kill(child.pid, signal.SIGINT)
        report = json.loads(child.communicate(timeout=120)[0])
    assert report["warnings"] == ["Training interrupted by user."]
    assert report["n_iter_"] == 0
    assert report["finite"]
    assert report["ended"] - sent < 0.3  # 0.1 to notice, the rest to a busy machine


@pytest.mark.parametrize("head", ["cosine", "distance", "relation"])
@pytest.mark.parametrize("batch_norm", [None, "hidden"])
def test_norms_of_the_gradient_are_those_of_the_branch_and_then_the_heads(head, batch_norm):
    rng = np.random.RandomState(0)
    X, same = (rng.randn(40, 4), rng.randn(40, 4)), np.arange(40) % 2
    model = SiameseClassifier(
        5, head=head, batch_norm=batch_norm, alpha=0, solver="sgd", batch_size=40,
        learning_rate_init=1e-300, max_iter=2, random_state=0,
    )  # fmt: skip
    model.set_callbacks(GradientNorms()).fit(X, same)
    network = model.network_
    low, high = HEADS[head]
    data = network.data(
        np.vstack(X), np.arange(80).reshape(2, 40).T, np.where(same, high, low)
    )
    _, gradient = network.loss_and_gradient(data)
    expected, at = [], 0
    for part in network.networks:
        weights, offsets, scales = part.unpack(gradient[at : at + part.params.size])
        at += part.params.size
        for W, b, a in zip(weights, offsets, scales, strict=True):
            arrays = [W, b] if a is None else [W, b, a]
            expected.append(np.sqrt(sum((g**2).sum() for g in arrays)))
    assert len(model.gradient_norms_) == 2
    np.testing.assert_allclose(model.gradient_norms_[-1], expected, rtol=1e-10)
