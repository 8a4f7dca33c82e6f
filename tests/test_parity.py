"""The same numbers as scikit-learn, in float64, from the same random_state.

The combinations come from a covering design: any two settings of a solver meet in
at least one case.  Each case is fitted once by both packages, then every claim is
tested on that pair of models.

Rounding separates the two by about 1e-16 per step, and 20 epochs of these well-behaved
trainings amplify it by less than 1e4 (measured by moving X by one part in 1e15), so that
1e-6 allows any order of summation, but not a wrong formula.
"""

import warnings
from contextlib import nullcontext
from functools import cache
from itertools import combinations, product
from unittest import mock

import numpy as np
import pytest
import scipy.sparse as sp
import sklearn.neural_network
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import _multilayer_perceptron as reference_module

import mlp

RTOL = 1e-6
ATOL = 1e-9  # for numbers that may pass through zero; all are of order one
N_SAMPLES, N_FEATURES, EPOCHS = 97, 6, 20  # 97: no batch size divides it

# Targets ---------------------------------------------------------------------------

CLASSIFICATIONS = ("binary", "multiclass", "multilabel", "strings")
REGRESSIONS = ("single", "multioutput", "poisson")  # and poisson2, with two outputs


@cache
def make_data(target):
    """Return X with a third of exact zeros, y of the wanted kind, and weights."""
    rng = np.random.RandomState(7)
    X = rng.uniform(-1, 1, (N_SAMPLES, N_FEATURES))
    X[rng.uniform(size=X.shape) < 1 / 3] = 0.0
    scores = np.tanh(X @ rng.standard_normal((N_FEATURES, 4)))
    scores += 0.3 * rng.standard_normal(scores.shape)
    winners = scores[:, :3].argmax(axis=1)
    y = {
        "binary": (scores[:, 0] > 0).astype(int),
        "multiclass": winners,
        "multilabel": (scores > 0).astype(int),
        "strings": np.array(["lynx", "ibex", "newt"], dtype=object)[winners],
        "single": scores[:, 0],
        "multioutput": scores[:, :3],
        "poisson": rng.poisson(np.exp(scores[:, 0])),
        "poisson2": rng.poisson(np.exp(scores[:, :2])),
    }[target]
    return X, y, rng.uniform(0.5, 2.0, N_SAMPLES)


# Cases -----------------------------------------------------------------------------

DATA = {
    "target": CLASSIFICATIONS + REGRESSIONS,
    "activation": ("identity", "logistic", "tanh", "relu"),
    "hidden": ((6,), (7, 5), (5, 4, 3)),
    "alpha": (0.0, 1e-4, 0.03),
    "weighted": (False, True),
    "container": ("dense", "csr", "csc"),
}
EPOCHWISE = {
    "batch": (1, 13, 32, "auto", 500),  # 500 is clipped, with a warning
    "shuffle": (True, False),
    "early": (False, True),
    "mode": ("fit", "warm_start", "partial_fit"),
}
DESIGNS = {
    "sgd": DATA
    | EPOCHWISE
    | {
        "momentum": ((0.0, True), (0.8, False), (0.9, True)),  # (momentum, nesterov)
        "schedule": ("constant", "invscaling", "adaptive"),
    },
    "adam": DATA
    | EPOCHWISE
    | {
        "betas": ((0.9, 0.999), (0.5, 0.9), (0.0, 0.99)),
        "schedule": ("constant", "invscaling", "adaptive"),  # ignored
        "epsilon": (1e-8, 0.01),  # the larger shows where it is added
    },
    "lbfgs": DATA | {"mode": ("fit", "warm_start")},
}


def is_allowed(solver, case):
    early, mode = case.get("early", False), case.get("mode", "fit")
    if solver == "lbfgs" and case.get("target") == "multioutput":
        return False  # scikit-learn's gradient is wrong there: test_estimators.py
    # partial_fit refuses early stopping; a warm start from the best weights has tests
    # of its own below.
    return not early or mode == "fit"


def covering_design(solver):
    """Return cases in which every allowed pair of settings occurs, greedily few."""
    factors = DESIGNS[solver]
    pairs = {
        ((a, i), (b, j))
        for a, b in combinations(factors, 2)
        for i, j in product(factors[a], factors[b])
        if is_allowed(solver, {a: i, b: j})
    }
    waiting = sorted(pairs, key=repr)
    cases = []
    while waiting:
        case = dict(waiting[0])
        for name in factors:
            if name in case:
                continue
            levels = [
                level
                for level in factors[name]
                if is_allowed(solver, case | {name: level})
            ]
            shift = len(cases) % len(levels)  # ties go to each level in turn
            case[name] = max(
                levels[shift:] + levels[:shift],
                key=lambda level: sum(
                    (name, level) in pair
                    and {*case.items(), (name, level)}.issuperset(pair)
                    for pair in waiting
                ),
            )
        cases.append({"solver": solver} | {name: case[name] for name in factors})
        waiting = [pair for pair in waiting if not set(case.items()).issuperset(pair)]
    return cases


def case_id(case):
    """Name what is not the default: 'sgd-tanh-binary-6-batch13-alpha0.03-csr'."""
    words = [case["solver"], case["activation"], case["target"]]
    words.append("x".join(map(str, case["hidden"])))
    words += [f"{name}{case[name]}" for name in ("batch", "alpha") if name in case]
    if "momentum" in case:
        momentum, nesterov = case["momentum"]
        words.append(f"{'nesterov' if nesterov else 'momentum'}{momentum}")
        words.append(case["schedule"])
    if "betas" in case:
        words.append("betas{}_{}".format(*case["betas"]))
        words.append(f"epsilon{case['epsilon']}")
    words += [w for w in ("early", "weighted") if case.get(w, False)]
    words += [] if case.get("shuffle", True) else ["unshuffled"]
    words += [w for w in (case["mode"], case["container"]) if w not in ("fit", "dense")]
    return "-".join(words)


CASES = [case for solver in DESIGNS for case in covering_design(solver)]
each_case = pytest.mark.parametrize("key", range(len(CASES)), ids=map(case_id, CASES))


def stratified_split(X, y, *weights, random_state, test_size, stratify):
    """Split as scikit-learn does, stratified by the one-hot y of many classes."""
    assert stratify is None
    return train_test_split(
        X,
        y,
        *weights,
        random_state=random_state,
        test_size=test_size,
        stratify=y.argmax(axis=1),
    )


def build(package, case, **changes):
    """Return the case's unfitted estimator, from `package`."""
    params = {
        "hidden_layer_sizes": case["hidden"],
        "activation": case["activation"],
        "solver": case["solver"],
        "alpha": case["alpha"],
        "learning_rate_init": 0.02 if case["solver"] == "sgd" else 0.005,
        "max_iter": EPOCHS // 2 if case["mode"] == "warm_start" else EPOCHS,
        "warm_start": case["mode"] == "warm_start",
        "tol": 1e-3,
        # 'adaptive' shall switch its rate within 20 epochs, the others run on.
        "n_iter_no_change": 2 if case.get("schedule") == "adaptive" else 12,
        "random_state": 11,
    }
    if case["solver"] == "lbfgs":
        params["max_iter"] = 6
    else:
        params["batch_size"] = case["batch"]
        params["shuffle"] = case["shuffle"]
        params["early_stopping"] = case["early"]
        params["validation_fraction"] = 0.25
    if case["solver"] == "sgd":
        params["momentum"], params["nesterovs_momentum"] = case["momentum"]
        params["learning_rate"] = case["schedule"]
    if case["solver"] == "adam":
        params["beta_1"], params["beta_2"] = case["betas"]
        params["epsilon"] = case["epsilon"]
    if case["target"].startswith("poisson"):
        params["loss"] = "poisson"
    kind = "MLPClassifier" if case["target"] in CLASSIFICATIONS else "MLPRegressor"
    return getattr(package, kind)(**params | changes)


def load(case, dtype=np.float64):
    """Return X in the case's container, y, and the weights or None."""
    X, y, weights = make_data(case["target"])
    wrap = {"dense": np.array, "csr": sp.csr_array, "csc": sp.csc_array}
    X = wrap[case["container"]](X.astype(dtype))
    return X, y, weights if case["weighted"] else None


def train(estimator, case, X, y, weights):
    """Fit in the case's mode; return the warnings given on the way."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if case["mode"] == "partial_fit":
            classes = {}
            if case["target"] in CLASSIFICATIONS:
                labels = np.arange(y.shape[1]) if y.ndim == 2 else np.unique(y)
                classes = {"classes": labels}
            for part in [slice(0, 50), slice(50, None)] * (EPOCHS // 2):
                w = None if weights is None else weights[part]
                estimator.partial_fit(X[part], y[part], sample_weight=w, **classes)
        else:
            for _ in range(2 if case["mode"] == "warm_start" else 1):
                estimator.fit(X, y, sample_weight=weights)
    return [(w.category.__name__, str(w.message)) for w in caught]


@cache
def fitted(key):
    """Return ours, scikit-learn's, and the warnings of each."""
    case = CASES[key]
    one_of_many = case["target"] in {"multiclass", "strings"}
    # scikit-learn stratifies two classes only; lend it the general rule.
    patch = (
        mock.patch.object(reference_module, "train_test_split", stratified_split)
        if case.get("early") and one_of_many
        else nullcontext()
    )
    theirs = build(sklearn.neural_network, case)
    with patch:
        their_warnings = train(theirs, case, *load(case))
    ours = build(mlp, case)
    our_warnings = train(ours, case, *load(case))
    return ours, theirs, our_warnings, their_warnings


def assert_attributes_agree(ours, theirs, names):
    for name in names:
        actual, desired = getattr(ours, name), getattr(theirs, name)
        if desired is None or isinstance(desired, (int, str)):
            assert actual == desired, name
        elif name == "classes_":
            assert_array_equal(actual, desired)
        else:
            assert_allclose(actual, desired, RTOL, ATOL, err_msg=name)


@pytest.mark.parametrize("solver", DESIGNS)
def test_every_allowed_pair_of_settings_is_in_a_case(solver):
    factors, cases = DESIGNS[solver], [c for c in CASES if c["solver"] == solver]
    for a, b in combinations(factors, 2):
        wanted = {
            (i, j)
            for i, j in product(factors[a], factors[b])
            if is_allowed(solver, {a: i, b: j})
        }
        assert wanted == {(case[a], case[b]) for case in cases}


@each_case
def test_loss_curve_agrees(key):
    ours, theirs, *_ = fitted(key)
    if CASES[key]["solver"] == "lbfgs":  # of which scikit-learn keeps the end only
        assert_allclose(ours.loss_, theirs.loss_, RTOL)
    else:
        assert_allclose(ours.loss_curve_, theirs.loss_curve_, RTOL)


@each_case
def test_fitted_attributes_agree(key):
    ours, theirs, *_ = fitted(key)
    names = ["n_iter_", "t_", "n_layers_", "n_outputs_", "out_activation_", "loss_"]
    names += ["n_features_in_", "classes_"]
    names += ["best_loss_", "validation_scores_", "best_validation_score_"]
    assert_attributes_agree(ours, theirs, [n for n in names if hasattr(theirs, n)])


@each_case
def test_parameters_agree(key):
    ours, theirs, *_ = fitted(key)
    for actual, desired in zip(
        ours.coefs_ + ours.intercepts_,
        theirs.coefs_ + theirs.intercepts_,
        strict=True,
    ):
        assert actual.shape == desired.shape
        assert_allclose(actual, desired, RTOL, ATOL)


@each_case
def test_predictions_agree(key):
    ours, theirs, *_ = fitted(key)
    X, *_ = load(CASES[key])
    if hasattr(theirs, "classes_"):
        assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), RTOL, ATOL)
        assert_array_equal(ours.predict(X), theirs.predict(X))
        assert ours.predict(X).dtype == theirs.predict(X).dtype
    else:
        assert_allclose(ours.predict(X), theirs.predict(X), RTOL, ATOL)


@each_case
def test_warnings_agree(key):
    _, _, our_warnings, their_warnings = fitted(key)
    assert our_warnings == their_warnings


# What the design leaves out ---------------------------------------------------------

PLAIN = {
    "solver": "adam",
    "target": "multiclass",
    "activation": "tanh",
    "hidden": (6,),
    "alpha": 1e-3,
    "weighted": False,
    "container": "dense",
    "batch": 13,
    "shuffle": True,
    "early": False,
    "mode": "fit",
    "momentum": (0.9, True),
    "schedule": "constant",
    "betas": (0.9, 0.999),
    "epsilon": 1e-8,
}


def fit_pair(case, dtype=np.float64, **changes):
    ours, theirs = (
        build(package, case, **changes) for package in (mlp, sklearn.neural_network)
    )
    for estimator in (ours, theirs):
        train(estimator, case, *load(case, dtype))
    return ours, theirs


@pytest.mark.parametrize("hidden", [5, [5], np.array([5, 4]), (), (8, 7, 6, 5, 4)])
def test_loss_curve_agrees_for_any_form_of_hidden_layer_sizes(hidden):
    ours, theirs = fit_pair(PLAIN | {"hidden": hidden})
    assert_allclose(ours.loss_curve_, theirs.loss_curve_, RTOL)


@pytest.mark.parametrize("power_t", [0.0, 0.25, 1.0])
def test_loss_curve_agrees_for_any_power_of_invscaling(power_t):
    case = PLAIN | {"solver": "sgd", "schedule": "invscaling"}
    ours, theirs = fit_pair(case, power_t=power_t)
    assert_allclose(ours.loss_curve_, theirs.loss_curve_, RTOL)


def test_max_fun_ends_lbfgs_at_the_same_iteration():
    ours, theirs = fit_pair(PLAIN | {"solver": "lbfgs"}, max_iter=100, max_fun=9)
    assert ours.n_iter_ == theirs.n_iter_ < 100
    assert_allclose(ours.loss_, theirs.loss_, RTOL)


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_loss_curve_agrees_for_poisson_with_two_outputs(solver):
    ours, theirs = fit_pair(PLAIN | {"target": "poisson2", "solver": solver})
    assert_allclose(ours.loss_curve_, theirs.loss_curve_, RTOL)


@pytest.mark.parametrize("target", ["binary", "multiclass", "multilabel"])
def test_log_probabilities_agree(target):
    ours, theirs = fit_pair(PLAIN | {"target": target})
    X, *_ = load(PLAIN)
    assert_allclose(ours.predict_log_proba(X), theirs.predict_log_proba(X), RTOL, ATOL)


@pytest.mark.parametrize("target", ["binary", "multilabel", "single", "multioutput"])
@pytest.mark.parametrize("weighted", [False, True])
def test_scores_agree(target, weighted):
    case = PLAIN | {"target": target, "weighted": weighted}
    ours, theirs = fit_pair(case)
    arguments = load(case)
    assert_allclose(ours.score(*arguments), theirs.score(*arguments), RTOL)


@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
@pytest.mark.parametrize("early", [False, True])
def test_random_stream_is_left_where_scikit_learn_leaves_it(solver, early):
    case = PLAIN | {"solver": solver, "target": "binary", "early": early}
    streams = [np.random.RandomState(3) for _ in range(2)]
    for package, stream in zip((mlp, sklearn.neural_network), streams, strict=True):
        train(build(package, case, random_state=stream), case, *load(case))
    assert streams[0].randint(2**31) == streams[1].randint(2**31)


def test_global_random_stream_serves_when_random_state_is_none():
    curves = []
    for package in (mlp, sklearn.neural_network):
        np.random.seed(5)  # noqa: NPY002 (random_state=None means this stream)
        estimator = build(package, PLAIN, random_state=None)
        train(estimator, PLAIN, *load(PLAIN))
        curves.append(estimator.loss_curve_)
    assert_allclose(*curves, RTOL)


@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize("target", ["binary", "multilabel", "single"])
@pytest.mark.parametrize("early", [False, True], ids=["by-loss", "by-validation"])
def test_training_stops_by_itself_at_the_same_epoch(solver, target, early):
    case = PLAIN | {"solver": solver, "target": target, "early": early}
    ours, theirs = fit_pair(case, max_iter=300, tol=5e-3, n_iter_no_change=3)
    assert theirs.n_iter_ < 300
    assert ours.n_iter_ == theirs.n_iter_
    assert_allclose(ours.loss_curve_, theirs.loss_curve_, RTOL)
    assert_attributes_agree(ours, theirs, ["loss_", "best_loss_", "validation_scores_"])


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_early_stopping_ends_with_the_same_best_weights(solver):
    case = PLAIN | {"solver": solver, "target": "single", "early": True}
    ours, theirs = fit_pair(case, max_iter=300, tol=5e-3, n_iter_no_change=3)
    assert theirs.validation_scores_[-1] < theirs.best_validation_score_
    for actual, desired in zip(ours.coefs_, theirs.coefs_, strict=True):
        assert_allclose(actual, desired, RTOL, ATOL)


def test_warm_start_goes_on_from_the_best_weights():
    case = PLAIN | {"target": "single", "early": True, "mode": "warm_start"}
    ours, theirs = fit_pair(case, max_iter=5, learning_rate_init=1e-3)
    first, second = theirs.validation_scores_[:5], theirs.validation_scores_[5:]
    assert max(first) < max(second)  # else scikit-learn keeps the last weights
    assert_allclose(ours.loss_curve_, theirs.loss_curve_, RTOL)
    assert_allclose(ours.validation_scores_, theirs.validation_scores_, RTOL)


@pytest.mark.parametrize("target", ["binary", "single"])
def test_adaptive_schedule_switches_its_rate_at_the_same_epochs(target, capsys):
    case = PLAIN | {"solver": "sgd", "target": target, "schedule": "adaptive"}
    printed = []
    for package in (mlp, sklearn.neural_network):
        estimator = build(package, case, max_iter=200, tol=1e-2, verbose=True)
        train(estimator, case, *load(case))
        printed.append(capsys.readouterr().out)
    assert printed[1].count("Setting learning rate to") > 3
    assert "Learning rate too small. Stopping." in printed[1]
    assert printed[0] == printed[1]


@pytest.mark.parametrize("early", [False, True])
def test_verbose_prints_the_same_lines(early, capsys):
    case = PLAIN | {"target": "binary", "early": early}
    printed = []
    for package in (mlp, sklearn.neural_network):
        estimator = build(
            package, case, max_iter=60, n_iter_no_change=2, tol=2e-2, verbose=True
        )
        train(estimator, case, *load(case))
        printed.append(capsys.readouterr().out)
    assert "Stopping." in printed[1]
    assert printed[0] == printed[1]


@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize(
    "target", ["binary", "multiclass", "multilabel", "multioutput", "poisson"]
)
def test_float32_loss_curve_agrees(solver, target):
    # 20 epochs of 8 steps at 6e-8 each, amplified as in float64: below 1e-3.
    case = PLAIN | {"solver": solver, "target": target}
    ours, theirs = fit_pair(case, np.float32)
    assert ours.coefs_[0].dtype == theirs.coefs_[0].dtype == np.float32
    assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-3)


@pytest.mark.parametrize("X_kind", ["int64", "float16", "object", "list"])
def test_other_kinds_of_numbers_train_as_in_scikit_learn(X_kind):
    X, y, _ = load(PLAIN)
    X = np.rint(4 * X)
    X = X.tolist() if X_kind == "list" else X.astype(X_kind)
    curves = []
    for package in (mlp, sklearn.neural_network):
        estimator = build(package, PLAIN)
        train(estimator, PLAIN, X, y, None)
        curves.append(estimator.loss_curve_)
    assert_allclose(*curves, RTOL)


def test_convergence_warning_is_given_when_lbfgs_runs_out_of_iterations():
    case = PLAIN | {"solver": "lbfgs"}
    with pytest.warns(ConvergenceWarning, match="lbfgs failed to converge"):
        build(mlp, case).fit(*load(case))
