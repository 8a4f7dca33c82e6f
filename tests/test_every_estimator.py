"""Every estimator with every pair of its options."""

import inspect
import pickle
import re

import numpy as np
import pytest
import scipy.sparse
from bitwise import same
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

import mlp
from mlp import (
    MLPAutoencoder,
    MLPClassifier,
    MLPRegressor,
    MultiTaskClassifier,
    ProjectionPursuitRegressor,
    SiameseClassifier,
    to_onnx,
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

N, M = 40, 5
rng = np.random.default_rng(3)
SAMPLES = np.where(rng.random((N, M)) < 0.3, 0, rng.uniform(-1, 1, (N, M)))
KINDS = (SAMPLES[:, 0] > 0).astype(int) + (SAMPLES[:, 1] > 0)
COMMON = {"hidden_layer_sizes": (6, 4), "max_iter": 6, "tol": 0.0, "random_state": 0}
COMMON |= {"batch_size": 10, "learning_rate_init": 0.01}

#: estimator -> options of its own, and y
ESTIMATORS = {
    MLPClassifier: ({}, KINDS),
    MLPRegressor: ({}, SAMPLES[:, :2] ** 2),
    MLPAutoencoder: ({}, None),
    MultiTaskClassifier: ({}, np.column_stack([KINDS, KINDS > 0])),
    SiameseClassifier: ({"head": "relation", "head_layer_sizes": (3,)}, KINDS > 1),
    ProjectionPursuitRegressor: ({}, SAMPLES[:, 0] ** 2),
}


def every_third(layer, n_in, n_out):
    return (np.add.outer(np.arange(n_in), np.arange(n_out)) % 3 > 0) if layer else None


OPTIONS = {
    "nothing": {},
    "connectivity": {"connectivity": every_third},
    "freeze": {"freeze": 1},
    "a frozen layer in between": {"freeze": (False, True, False)},
    "single samples with dropout": {
        "solver": "sgd", "momentum": 0.0, "batch_size": 1, "dropout": 0.3,
    },
    "batch norm": {"batch_norm": "hidden"},
    "standardize": {"standardize": True},
    "sparse": {},
    "float32": {},
    "tied": {"tied": True},
    "residual": {"residual": True, "hidden_layer_sizes": (6, 6)},
}  # fmt: skip


def cases_of_all():
    for Estimator in ESTIMATORS:
        names = inspect.signature(Estimator).parameters
        for option, values in OPTIONS.items():
            if set(values) <= set(names):
                yield pytest.param(
                    Estimator, option, id=f"{Estimator.__name__}-{option}"
                )


CASES = list(cases_of_all())


def situation(Estimator, option):
    """An unfitted estimator with the option; X and y."""
    own, y = ESTIMATORS[Estimator]
    options = {**COMMON, **own, **OPTIONS[option]}
    if Estimator is ProjectionPursuitRegressor:
        options = {"random_state": 0, "n_terms": 2}
    elif Estimator is MLPAutoencoder and isinstance(options.get("freeze"), tuple):
        options["freeze"] = (False, True, False, False)
    X = SAMPLES.astype("float32" if option == "float32" else "float64")
    if Estimator is SiameseClassifier:
        X = (X, X[::-1])
    if option == "sparse":
        sparse = scipy.sparse.csr_array
        X = tuple(map(sparse, X)) if isinstance(X, tuple) else sparse(X)
    return Estimator(**options), X, y


every_case = pytest.mark.parametrize(("Estimator", "option"), CASES)
trained = pytest.mark.parametrize(
    ("Estimator", "option"),
    [case for case in CASES if case.values[0] is not ProjectionPursuitRegressor],
)


@pytest.fixture(scope="module")
def fitted():
    kept = {}

    def fit(Estimator, option):
        if (Estimator, option) not in kept:
            model, X, y = situation(Estimator, option)
            try:
                model.fit(X, y)
            except (TypeError, ValueError) as error:
                kept[Estimator, option] = error
            else:
                kept[Estimator, option] = model, X, y
        found = kept[Estimator, option]
        if isinstance(found, Exception):
            if option == "sparse" and Estimator is ProjectionPursuitRegressor:
                pytest.skip("refused")
            raise found
        return found

    return fit


def answers(model, X):
    """All that it says of X."""
    names = (
        "predict",
        "predict_proba",
        "decision_function",
        "transform",
        "score_samples",
    )
    return [getattr(model, name)(X) for name in names if hasattr(model, name)]


def functions_of(model):
    return {k: v for k, v in model.get_params(deep=False).items() if callable(v)}


@every_case
@pytest.mark.parametrize("state", [False, True], ids=["", "with training state"])
def test_a_file_holds_the_estimator(Estimator, option, state, fitted, tmp_path):
    model, X, _ = fitted(Estimator, option)
    model.save(tmp_path / "m", training_state=state)
    loaded = mlp.load(tmp_path / "m", **functions_of(model))
    assert same(answers(loaded, X), answers(model, X))


@every_case
def test_a_pickle_holds_the_estimator(Estimator, option, fitted):
    model, X, _ = fitted(Estimator, option)
    copy = pickle.loads(pickle.dumps(model))
    assert Estimator is ProjectionPursuitRegressor or same(copy, model)
    assert same(answers(copy, X), answers(model, X))


@every_case
def test_a_clone_fits_to_the_same_bits(Estimator, option, fitted):
    model, X, y = fitted(Estimator, option)
    assert same(answers(clone(model).fit(X, y), X), answers(model, X))


class Crash(Exception):
    pass


class CrashAt:
    def __init__(self, epoch):
        self.left = epoch

    def setup(self, estimator, context):
        pass

    teardown = on_fit_task_begin = lambda *args, **kwargs: None

    def on_fit_task_end(self, estimator, context):
        self.left -= 1
        if self.left == 0:
            raise Crash


@trained
@pytest.mark.parametrize("stopping", [False, True], ids=["", "early stopping"])
def test_a_crashed_fit_goes_on_from_its_checkpoint(
    Estimator, option, stopping, tmp_path, monkeypatch
):
    monkeypatch.setattr("os.fsync", lambda _: None)  # these files need not last
    model, X, y = situation(Estimator, option)
    model.set_params(early_stopping=stopping, validation_fraction=0.3)
    whole = clone(model).fit(X, y)
    path = tmp_path / "run"
    with pytest.raises(Crash):
        clone(model).set_callbacks(CrashAt(3)).fit(X, y, checkpoint=path)
    assert mlp.load(path, **functions_of(model)).loss_curve_ == whole.loss_curve_[:3]
    assert same(clone(model).fit(X, y, checkpoint=path), whole)


@trained
def test_partial_fit_of_a_loaded_one_has_the_same_bits(
    Estimator, option, fitted, tmp_path
):
    model, X, y = fitted(Estimator, option)
    model.save(tmp_path / "m", training_state=True)
    copies = [
        mlp.load(tmp_path / "m", **functions_of(model)),
        pickle.loads(pickle.dumps(model)),
    ]
    for copy in copies:
        copy.partial_fit(X, y)
    assert same(*copies)
    assert not same(copies[0].coefs_, model.coefs_)


@trained
def test_a_warm_start_goes_on(Estimator, option, fitted):
    model, X, y = fitted(Estimator, option)
    copy = pickle.loads(pickle.dumps(model)).set_params(warm_start=True, max_iter=2)
    before = copy.network_.params.copy()
    copy.fit(X, y)
    assert copy.loss_curve_[:-2] == model.loss_curve_
    assert len(copy.loss_curve_) == len(model.loss_curve_) + 2
    frozen = getattr(copy.network_, "frozen", None) or ()
    network = copy.network_
    still = np.zeros(len(before), bool)
    if any(frozen):
        still[:] = True
        for _, first, n in network.spans():
            still[first : first + n] = False
        assert still.any()
    assert_array_equal(network.params[still], before[still])
    assert (network.params[~still] != before[~still]).any()
    # what it says now is what its network, by itself, says
    assert same(answers(pickle.loads(pickle.dumps(copy)), X), answers(copy, X))


@trained
def test_frozen_and_missing_weights_keep_their_bits(Estimator, option, fitted):
    """An epoch at a rate of nothing, and six of something."""
    model, X, y = fitted(Estimator, option)
    start = clone(model).set_params(max_iter=1, learning_rate_init=1e-300)
    start = start.set_params(alpha=0.0).fit(X, y)
    frozen = start.network_.spec.frozen or [False] * len(model.coefs_)
    for k, still in enumerate(frozen):
        unchanged = same(start.coefs_[k], model.coefs_[k])
        unchanged &= same(start.intercepts_[k], model.intercepts_[k])
        assert unchanged == still


@every_case
def test_onnx_predicts_the_same(Estimator, option, fitted):
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    model, X, _ = fitted(Estimator, option)
    if Estimator is MLPAutoencoder:
        with pytest.raises(TypeError, match="to_onnx converts"):
            to_onnx(model)
        model = model.network
    session = runtime.InferenceSession(to_onnx(model).SerializeToString())
    inputs = X if isinstance(X, tuple) else (X,)
    inputs = [x.toarray() if hasattr(x, "toarray") else x for x in inputs]
    if Estimator is ProjectionPursuitRegressor:
        inputs = [x.astype(float) for x in inputs]
    names = [i.name for i in session.get_inputs()]
    feed = dict(zip(names, inputs, strict=True))
    outputs = session.run(None, feed)
    if hasattr(model, "predict_proba"):
        expected = model.predict_proba(X)
        expected = expected if isinstance(expected, list) else [expected]
        outputs = outputs[1::2]
    else:
        forward = getattr(model, "forward", None) or model.predict
        expected, outputs = [forward(X)], [outputs[0].reshape(N, -1)]
    for ours, theirs in zip(expected, outputs, strict=True):
        tolerance = 1e-5 if option == "float32" else 1e-10
        assert_allclose(theirs, ours.reshape(N, -1), rtol=tolerance, atol=tolerance)


@trained
def test_the_summary_counts_the_parameters(Estimator, option, fitted):
    model, _, _ = fitted(Estimator, option)
    networks = getattr(model.network_, "networks", [model.network_])
    counts = re.findall(r"^([\d,]+) parameters", model.summary(), re.MULTILINE)
    assert counts == [f"{network.params.size:,}" for network in networks]


@trained
def test_verbose_changes_nothing(Estimator, option, fitted, capsys):
    model, X, y = fitted(Estimator, option)
    talking = clone(model).set_params(verbose=2).fit(X, y)
    lines = [line for line in capsys.readouterr().out.splitlines() if "loss" in line]
    assert len(lines) == 6
    assert all("learning rate" in line and "samples/s" in line for line in lines)
    assert same(talking.loss_curve_, model.loss_curve_)
    assert same(answers(talking, X), answers(model, X))


@trained
def test_the_curve_drawn_is_the_curve(Estimator, option, fitted):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from mlp.plot import LossCurveDisplay

    model, _, _ = fitted(Estimator, option)
    display = LossCurveDisplay.from_estimator(model)
    assert_array_equal(display.ax_.lines[0].get_ydata(), model.loss_curve_)
    matplotlib.pyplot.close(display.figure_)


@trained
def test_sensitivities_are_slopes(Estimator, option, fitted):
    model, X, _ = fitted(Estimator, option)
    if Estimator is SiameseClassifier:
        assert not hasattr(model, "jacobian")
        return
    J = model.network.jacobian(X)
    assert_allclose(
        model.feature_sensitivity(X).per_output, np.abs(J).mean(axis=0), rtol=1e-5
    )
    if option == "float32":
        return
    X = X.toarray() if hasattr(X, "toarray") else X
    h = 1e-7
    ends = [[model.network.forward(X + s * h * e) for e in np.eye(M)] for s in (1, -1)]
    slopes = np.stack([(a - b) / (2 * h) for a, b in zip(*ends, strict=True)], axis=2)
    close = np.isclose(J, slopes, rtol=1e-4, atol=1e-6).all(axis=(1, 2))
    assert close.mean() >= 0.95  # all but samples next to a kink of relu


@trained
def test_threads_change_no_bit(Estimator, option, fitted):
    model, X, y = fitted(Estimator, option)
    for n_threads in (2, 4):
        other = clone(model).set_params(n_threads=n_threads).fit(X, y)
        assert same(answers(other, X), answers(model, X))


@pytest.mark.parametrize("freeze", [0, 1])
@pytest.mark.parametrize("given", [False, True], ids=["held out", "X_val"])
def test_a_fit_that_goes_on_may_begin_to_validate(freeze, given):
    X, y = SAMPLES, KINDS
    model = MLPClassifier(**COMMON, freeze=freeze, warm_start=True).fit(X, y)
    assert model.validation_scores_ is None
    validation = {"X_val": X, "y_val": y} if given else {}
    model.set_params(early_stopping=True, validation_fraction=0.3).fit(
        X, y, **validation
    )
    assert len(model.validation_scores_) == len(model.validation_loss_curve_) == 6
    assert model.best_validation_score_ == max(model.validation_scores_)
    assert model.best_loss_ is None
    if given:  # the best of these epochs is kept
        assert model.score(X, y) == model.best_validation_score_
    model.set_params(early_stopping=False, n_iter_no_change=2).fit(X, y)
    assert len(model.loss_curve_) == 18  # losses are not compared with scores
    assert model.best_loss_ == min(model.loss_curve_)


def test_a_twin_is_a_base():
    pairs, same_kind = (SAMPLES, SAMPLES[::-1]), KINDS[::-1] == KINDS
    twin = SiameseClassifier(**COMMON).fit(pairs, same_kind)
    model = MLPClassifier(**COMMON, base=twin, freeze=2).fit(SAMPLES, KINDS)
    assert same(model.coefs_[:2], twin.coefs_[:2])
    assert same(model.intercepts_[:2], twin.intercepts_[:2])
