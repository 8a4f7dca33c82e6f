"""Interrupted fits go on from their checkpoint and end with the bits of whole ones."""

import os
import shutil
import signal
import subprocess
import sys
import textwrap
from functools import partial

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from bitwise import same
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import fbeta_score, make_scorer
from small_data import both, either_dtype, make_data

import mlp
from mlp import (
    Dropout,
    EarlyStopping,
    MLPAutoencoder,
    MLPClassifier,
    MLPRegressor,
    MultiTaskClassifier,
    SiameseClassifier,
)
from mlp.estimators.checkpoint import EstimatorCheckpoint
from mlp.training import checkpoint as module

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = make_data(80)


class At:
    """Callback that acts at the end of an epoch of this number, and counts them."""

    def __init__(self, epoch, action):
        self.epoch, self.action, self.epochs = epoch, action, 0

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context):
        if context.parent is not None:
            self.epochs += 1
            return self.action() if self.epochs == self.epoch else None
        return None


class Crash(RuntimeError):
    pass


def crash():
    raise Crash


def interrupt():
    raise KeyboardInterrupt


def crashed(model, path, after=4, data=(X, Y), **arguments):
    """Fit a copy that crashes at the end of an epoch, and leaves its checkpoint."""
    doomed = clone(model).set_callbacks(At(after, crash))
    with pytest.raises(Crash):
        doomed.fit(*data, checkpoint=arguments.pop("checkpoint", path), **arguments)


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: None)  # these files need not last
    return tmp_path / "run.mlp"


def small(Estimator=MLPClassifier, **options):
    settings = {"hidden_layer_sizes": (6, 6), "max_iter": 9, "tol": 0.0}
    return Estimator(**{**settings, "random_state": 0, "batch_size": 16, **options})


def noisy(batch, rng):
    return batch + 0.1 * rng.standard_normal(batch.shape).astype(batch.dtype)


def halved(steps):
    return 0.01 / 2**steps


def wilder(steps):
    return 0.01 if steps < 20 else 1e300


BASE = MLPClassifier((6, 5), max_iter=3).fit(X, Y).network
RUNS = {
    "adam": {},
    "sgd, nesterov": {"solver": "sgd", "learning_rate_init": 0.1},
    "plain sgd, a sample at a time": {"solver": "sgd", "momentum": 0, "batch_size": 1},
    "momentum, a sample at a time": {"solver": "sgd", "batch_size": 1, "l1": 1e-4},
    "adamw, cosine": {"solver": "adamw", "learning_rate": "cosine"},
    "invscaling, in order": {"learning_rate": "invscaling", "shuffle": False},
    "adaptive": {
        "solver": "sgd",
        "learning_rate": "adaptive",
        "learning_rate_init": 2.0,
        "n_iter_no_change": 1,
        "max_iter": 15,
    },
    "step": {"learning_rate": "step", "max_iter": 14},
    "inverse time": {"solver": "sgd", "learning_rate": "inverse_time", "power_t": 1.0},
    "inverse time, a sample at a time": {
        "solver": "sgd",
        "momentum": 0,
        "batch_size": 1,
        "learning_rate": "inverse_time",
    },
    "replacement": {"sampling": "replacement"},
    "replacement, held out": {"sampling": "replacement", "early_stopping": True},
    "no offsets": {"fit_intercept": False},
    "early stopping": {
        "early_stopping": True,
        "n_iter_no_change": 3,
        "learning_rate_init": 0.05,
        "max_iter": 40,
    },
    "the last, not the best": {"early_stopping": EarlyStopping(restore_best=False)},
    "held out, in order": {
        "early_stopping": EarlyStopping(scoring="loss"),
        "shuffle": False,
    },
    "dropout": {"dropout": Dropout(0.3, input=0.1)},
    "dropout that decays all": {"dropout": Dropout(0.3, decay="all"), "l2": 0.01},
    "exact zeros": {"l1": 0.01, "l1_method": "proximal"},
    "dropout of samples": {"dropout": Dropout(0.3, mask="sample")},
    "batch norm": {"batch_norm": "all+input", "early_stopping": True},
    "standardized": {"standardize": True, "residual": True, "clip_norm": 0.1},
    "functions": {"augment": noisy, "learning_rate": halved},
    "radial basis functions": {"activation": ["rbf", "tanh"], "batch_size": 80},
    "frozen layers": {"freeze": 1, "early_stopping": True},
    "a base, frozen in the middle": {"base": BASE, "freeze": (False, True, False)},
    "connectivity": {"connectivity": [X[:4, :1] > np.zeros(6), None, None]},
}


@both
@either_dtype
@pytest.mark.parametrize("options", RUNS.values(), ids=RUNS)
def test_a_crashed_fit_goes_on_to_the_same_bits(Estimator, dtype, options, path):
    data = X.astype(dtype), Y
    model = small(Estimator, **options)
    whole = clone(model).fit(*data)
    assert whole.n_iter_ > 4
    crashed(model, path, data=data)
    functions = {k: v for k, v in options.items() if callable(v)}
    assert mlp.load(path, **functions).loss_curve_ == whole.loss_curve_[:4]
    counter = At(None, None)
    resumed = clone(model).set_callbacks(counter).fit(*data, checkpoint=path)
    assert counter.epochs == whole.n_iter_ - 4
    assert same(resumed.set_callbacks(), whole)


def test_a_fit_may_crash_many_times(path):
    model = small(early_stopping=True, dropout=0.2, max_iter=12)
    for after in (1, 3, 1, 2):
        crashed(model, path, after)
    assert same(clone(model).fit(X, Y, checkpoint=path), clone(model).fit(X, Y))


def test_a_loaded_checkpoint_fits_on(path):
    model = small(random_state=np.random.RandomState(4))
    whole = clone(model).fit(X, Y)
    crashed(model, path)
    resumed = mlp.load(path)
    assert resumed.n_iter_ == 4
    assert same(resumed.fit(X, Y, checkpoint=path), whole)  # random_state included


def test_the_users_generator_ends_where_a_whole_fit_leaves_it(path):
    whole = small(random_state=np.random.RandomState(4)).fit(X, Y)
    crashed(small(random_state=np.random.RandomState(4)), path)
    generator = np.random.RandomState(4)
    small(random_state=generator).fit(X, Y, checkpoint=path)
    assert same(generator, whole.random_state)


def test_a_fit_without_a_seed_goes_on_too(path):
    model = small(random_state=None)
    np.random.mtrand._rand.seed(3)
    whole = clone(model).fit(X, Y)
    np.random.mtrand._rand.seed(3)
    crashed(model, path)
    np.random.mtrand._rand.seed(4)
    assert same(clone(model).fit(X, Y, checkpoint=path), whole)


@pytest.mark.parametrize("Sparse", [scipy.sparse.csr_array, scipy.sparse.csr_matrix])
def test_sparse_weighted_samples_with_validation_go_on(Sparse, path):
    data = (Sparse(np.maximum(X, 0)), Y, np.linspace(1, 2, 80))
    validation = {"X_val": X[:20], "y_val": Y[:20]}
    model = small(early_stopping=True)
    whole = clone(model).fit(*data, **validation)
    crashed(model, path, data=data, **validation)
    assert same(clone(model).fit(*data, checkpoint=path, **validation), whole)


def test_the_checkpoint_of_early_stopping_predicts_with_the_best(path):
    model = small(early_stopping=True, learning_rate_init=0.3, n_iter_no_change=100)
    stopped = clone(model).set_callbacks(At(6, lambda: True)).fit(X, Y)
    assert np.argmax(stopped.validation_scores_) < 5
    crashed(model, path, after=6)
    assert_array_equal(mlp.load(path).predict_proba(X), stopped.predict_proba(X))


def test_ctrl_c_leaves_a_usable_model_and_a_run_that_goes_on(path):
    model = small()
    broken = clone(model).set_callbacks(At(4, interrupt))
    with pytest.warns(UserWarning, match="interrupted"):
        broken.fit(X, Y, checkpoint=path)
    assert broken.n_iter_ == 4
    assert same(clone(model).fit(X, Y, checkpoint=path), clone(model).fit(X, Y))


def test_a_fit_that_a_callback_stopped_goes_on(path):
    model = small()
    clone(model).set_callbacks(At(4, lambda: True)).fit(X, Y, checkpoint=path)
    assert same(clone(model).fit(X, Y, checkpoint=path), clone(model).fit(X, Y))


KILLED = """
    import sys, time
    import numpy as np
    sys.path.insert(0, sys.argv[2])
    from test_checkpoint import At, X, Y, small
    def hang():
        print("four epochs", flush=True)
        time.sleep(60)
    small(early_stopping=True, dropout=0.2, n_iter_no_change=99).set_callbacks(
        At(4, hang)).fit(X, Y, checkpoint=sys.argv[1])
"""


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL of POSIX")
def test_a_killed_fit_goes_on(path):
    script, folder = textwrap.dedent(KILLED), os.path.dirname(__file__)
    command = [sys.executable, "-c", script, path, folder]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "four epochs\n"
        os.kill(child.pid, signal.SIGKILL)
    model = small(early_stopping=True, dropout=0.2, n_iter_no_change=99)
    counter = At(None, None)
    resumed = clone(model).set_callbacks(counter).fit(X, Y, checkpoint=path)
    assert counter.epochs == 5
    assert same(resumed.set_callbacks(), clone(model).fit(X, Y))


def test_a_finished_run_is_not_done_again(path):
    model = small(early_stopping=True)
    first = clone(model).fit(X, Y, checkpoint=path)
    counter = At(None, None)
    again = clone(model).set_callbacks(counter).fit(X, Y, checkpoint=path)
    assert counter.epochs == 0
    assert same(again.set_callbacks(), first)
    assert same(mlp.load(path), first)


def test_the_checkpoint_changes_nothing_in_the_fit(path):
    model = small(early_stopping=True, dropout=0.2)
    assert same(clone(model).fit(X, Y, checkpoint=path), clone(model).fit(X, Y))


# -- how often --


def written_after(monkeypatch, **arguments):
    epochs = []

    def note(self, fit, last, *, finished=False):
        epochs.append("end" if finished else fit.history.epochs)
        self._last = module.time.monotonic()

    monkeypatch.setattr(module.Checkpoint, "_write", note)
    small().fit(X, Y, **arguments)
    return epochs


def test_every_n_epochs(path, monkeypatch):
    assert written_after(monkeypatch, checkpoint=(path, 3)) == [3, 6, "end"]
    assert written_after(monkeypatch, checkpoint=(path, 4, "epochs")) == [4, 8, "end"]
    assert written_after(monkeypatch, checkpoint=str(path)) == [*range(1, 9), "end"]


def test_every_n_seconds(path, monkeypatch):
    clock = iter(np.arange(0, 100, 0.5))  # a look costs half a second
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    epochs = written_after(monkeypatch, checkpoint=(path, 1.5, "seconds"))
    assert epochs == [3, 6, "end"]


def test_a_crash_between_two_checkpoints_repeats_some_epochs(path):
    model = small(dropout=0.1)
    crashed(model, path, after=5, checkpoint=(path, 2))
    assert mlp.load(path).n_iter_ == 4
    resumed = clone(model).fit(X, Y, checkpoint=(path, 2))
    assert same(resumed, clone(model).fit(X, Y))


@pytest.mark.parametrize(
    "given",
    [5, (), ("a",), ("a", 0), ("a", 1.5), ("a", True), ("a", 1, "hours"), (1, 2),
     ("a", -1, "seconds"), ("a", float("nan"), "seconds"), ["a", 1]],
)  # fmt: skip
def test_what_is_no_checkpoint_is_named(given):
    with pytest.raises(ValueError, match=r"checkpoint must be a path.*got "):
        small().fit(X, Y, checkpoint=given)


# -- refusals --


def refused(model, path, match, data=(X, Y), **arguments):
    """The message of a fit that leaves the file and the estimator as they were."""
    before, attributes = path.read_bytes(), list(vars(model))
    with pytest.raises(ValueError, match=match):
        model.fit(*data, checkpoint=path, **arguments)
    assert path.read_bytes() == before
    assert list(vars(model)) == attributes


OTHERS = {
    "learning_rate_init": 0.5,
    "hidden_layer_sizes": (6, 7),
    "max_iter": 10,
    "random_state": 1,
    "loss": "squared_error",
    "augment": noisy,
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_parameters_are_refused(name, path):
    crashed(small(), path)
    refused(small(**{name: OTHERS[name]}), path, f"holds a run with {name}=")


def test_another_function_is_refused(path):
    crashed(small(augment=noisy), path)
    for augment in (None, lambda batch, rng: batch):
        refused(small(augment=augment), path, "holds a run with augment=.*noisy")


def test_what_does_not_change_the_bits_may_change(path):
    crashed(small(), path)
    resumed = small(n_threads=2, verbose=False).fit(X, Y, checkpoint=path)
    assert_array_equal(resumed.network.params, small().fit(X, Y).network.params)


OTHER_DATA = {
    "fewer": (X[:-1], Y[:-1]),
    "another value": (X * (X[7, 2] != X), Y),
    "another order": (X[::-1], Y[::-1]),
    "another label": (X, np.r_[1 - Y[0], Y[1:]]),
    "weights": (X, Y, np.ones(80)),
}


@pytest.mark.parametrize("data", OTHER_DATA.values(), ids=OTHER_DATA)
def test_other_samples_are_refused(data, path):
    crashed(small(), path)
    refused(small(), path, "holds a run over 80 samples", data)


def test_other_features_names_and_classes_are_refused(path):
    crashed(small(), path)
    refused(small(), path, "n_features_in_=4, not 3", (X[:, :3], Y))
    refused(small(), path, "classes_=", (X, np.where(Y, "b", "a")))


def test_other_validation_samples_are_refused(path):
    model = small(early_stopping=True)
    crashed(model, path, X_val=X[:9], y_val=Y[:9])
    refused(model, path, "have other values", X_val=X[1:10], y_val=Y[1:10])


def test_files_of_another_kind_are_refused(path):
    crashed(small(), path)
    refused(small(MLPRegressor), path, "holds a MLPClassifier, not a MLPRegressor")
    small().fit(X, Y).save(path)
    refused(small(), path, "holds a saved model, not a run")
    path.write_bytes(path.read_bytes()[:-5])
    refused(small(), path, "truncated")
    path.write_text("notes")
    refused(small(), path, "not a file of mlp's")


def test_an_order_beyond_the_samples_is_refused(path, monkeypatch):
    class Forger(EstimatorCheckpoint):
        def _write(self, fit, last, **rest):
            fit.epochs.order += 10**6
            super()._write(fit, last, **rest)
            fit.epochs.order -= 10**6

    with monkeypatch.context() as patch:
        patch.setattr("mlp.estimators.base.EstimatorCheckpoint", Forger)
        crashed(small(), path)
    refused(small(), path, "order is not a permutation of 80 samples")


@pytest.mark.parametrize("solver", ["lbfgs", "cg", "gd"])
def test_full_batch_solvers_are_refused(solver, path):
    with pytest.raises(ValueError, match=f"stochastic solver.*solver='{solver}'"):
        small(solver=solver).fit(X, Y, checkpoint=path)


def test_a_warm_start_is_refused(path):
    with pytest.raises(ValueError, match="warm_start=True both set"):
        small(warm_start=True).fit(X, Y, checkpoint=path)


def test_a_folder_that_is_not_there_is_noticed_before_training(tmp_path):
    with pytest.raises(ValueError, match="there is no folder"):
        small().fit(X, Y, checkpoint=tmp_path / "none" / "run.mlp")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("", "checkpoint='' is not the path of a file"),
        ("new/", "checkpoint='new/' is not the path of a file"),
        ("a\0b", "is not the path of a file"),
        (".", r"checkpoint='\.' is a folder"),
        ("old", "checkpoint='old' is a folder"),
        (("old", 5), "checkpoint='old' is a folder"),
    ],
)
def test_a_path_of_no_file_is_noticed_before_training(
    given, message, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old").mkdir()
    counter = At(None, None)
    with pytest.raises(ValueError, match=message):
        small().set_callbacks(counter).fit(X, Y, checkpoint=given)
    assert counter.epochs == 0


def test_a_full_disk_does_not_cost_the_training(path, monkeypatch):
    def full_disk(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.warns(RuntimeWarning, match="could not be written.*no space"):
        model = small().fit(X, Y, checkpoint=path)
    assert not path.exists()
    assert same(model, small().fit(X, Y))


def test_divergence_is_reported_as_without_a_checkpoint(path):
    wild = small(MLPRegressor, solver="sgd", learning_rate_init=1e150, clip_norm=None)
    messages = []
    for arguments in ({}, {"checkpoint": path}):
        with pytest.raises(ValueError, match="non-finite") as caught:
            clone(wild).fit(X, Y, **arguments)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


def test_the_best_survives_a_divergence_after_it(path):
    model = small(
        MLPRegressor, early_stopping=True, learning_rate=wilder, shuffle=False
    )
    with np.errstate(all="ignore"):
        whole = clone(model).fit(X, Y)
        crashed(model, path, after=6)
        resumed = clone(model).fit(X, Y, checkpoint=path)
    assert not np.isfinite(whole.loss_)
    assert same(resumed, whole)


def test_a_run_goes_on_beside_a_copy_of_its_file(path, tmp_path):
    """The name of the file is not part of the run."""
    crashed(small(), path)
    other = shutil.copy(path, tmp_path / "copy.mlp")
    assert same(small().fit(X, Y, checkpoint=other), small().fit(X, Y))


# -- the same samples, given in another way --


class Mine(np.ndarray):
    pass


def frame(values):
    return pd.DataFrame(values, columns=list("abcd"))


NAMES = np.where(Y, "yes", "no")
BOTH = np.c_[Y, X[:, 0] > 0]
PAIRS = np.stack([X, X[::-1]], axis=1)
#: what is trained on the samples of a run, and the same when it goes on
GIVEN = {
    "lists": ((X, Y), (X.tolist(), Y.tolist())),
    "several labels": ((X, BOTH), (X, scipy.sparse.csr_array(BOTH.astype(bool)))),
    "an array of a class of its own": ((X, Y), (X.view(Mine), Y.view(Mine))),
    "columns": ((X, Y), (np.asfortranarray(X), Y[:, None])),
    "narrow integers": ((X, Y), (X, Y.astype(np.int8))),
    "objects": ((X, NAMES.astype(object)), (X, NAMES.tolist())),
    "a frame": ((frame(X), pd.Series(Y)), (frame(X), pd.DataFrame({"y": Y}))),
    "CSC": (
        (scipy.sparse.csr_array(X), Y, np.ones(80)),
        (scipy.sparse.csc_matrix(X), Y, [1] * 80),
    ),
}


@pytest.mark.parametrize(("first", "then"), GIVEN.values(), ids=GIVEN)
@pytest.mark.filterwarnings("ignore:A column-vector y")
def test_the_same_values_go_on_however_they_are_given(first, then, path):
    model = small()
    crashed(model, path, data=first)
    assert same(clone(model).fit(*then, checkpoint=path), clone(model).fit(*then))


OF_OTHERS = {
    "numbers": (MLPRegressor, (X, Y), (X.tolist(), Y.astype(float))),
    "columns": (MLPRegressor, (X, X[:, :2]), (X, pd.DataFrame(X[:, :2]))),
    "inputs": (MLPAutoencoder, (X,), (X.tolist(),)),
    "tasks": (MultiTaskClassifier, (X, BOTH), (X, BOTH.tolist())),
    "drawn pairs": (
        partial(SiameseClassifier, sampling="replacement", fit_intercept=False),
        (PAIRS, Y),
        (PAIRS.tolist(), Y.tolist()),
    ),
    "pairs": (SiameseClassifier, (PAIRS, Y), (PAIRS.tolist(), Y.tolist())),
}


@pytest.mark.parametrize(
    ("Estimator", "first", "then"), OF_OTHERS.values(), ids=OF_OTHERS
)
def test_other_estimators_samples_go_on_as_lists_too(Estimator, first, then, path):
    model = Estimator(5, max_iter=9, tol=0.0, random_state=0)
    crashed(model, path, data=first)
    assert same(clone(model).fit(*then, checkpoint=path), clone(model).fit(*then))


def test_how_things_are_printed_is_not_part_of_the_run(path, monkeypatch):
    data = frame(X), pd.Series(Y, name="label")
    validation = {"X_val": frame(X[:20]), "y_val": data[1][:20]}
    crashed(small(early_stopping=True), path, data=data, **validation)
    monkeypatch.setenv("COLUMNS", "31")
    with (
        np.printoptions(precision=2, threshold=5),
        pd.option_context("display.max_rows", 6, "display.precision", 2),
    ):
        resumed = small(early_stopping=True)
        resumed.fit(*data, checkpoint=path, **validation)
    assert same(resumed, small(early_stopping=True).fit(*data, **validation))


def test_values_that_only_the_scores_see_are_part_of_the_run(path):
    model, y = small(MLPRegressor, early_stopping=True), X[:, 0]
    crashed(model, path, data=(X.astype(np.float32), y))
    refused(model, path, "other values", (X.astype(np.float32), y * (1 + 1e-12)))


@pytest.mark.parametrize("at", [(0, 0), (40, 2), (79, 3)])
def test_one_other_value_in_the_middle_of_a_frame_is_refused(at, path):
    """Where no printed frame would show it."""
    crashed(small(), path, data=(frame(X), Y))
    other = X.copy()
    other[at] = np.nextafter(other[at], 9)
    refused(small(), path, "have other values", (frame(other), Y))


# -- parameters that are compared, whatever they are --

FORMATS = ["bsr", "coo", "csc", "csr", "dia", "dok", "lil"]
HALF = np.arange(24).reshape(4, 6) < 12


@pytest.mark.parametrize("form", FORMATS)
def test_another_connectivity_is_refused_in_every_format(form, path):
    def wired(mask):
        sparse = getattr(scipy.sparse, f"{form}_array")(mask)
        return small(connectivity=[sparse, None, None])

    crashed(wired(HALF), path)
    refused(wired(~HALF), path, "holds a run with connectivity=")
    resumed = wired(HALF).fit(X, Y, checkpoint=path)
    assert same(resumed.network, wired(HALF).fit(X, Y).network)


def test_wide_indices_do_not_make_another_connectivity(path):
    mask = scipy.sparse.csr_matrix(HALF)
    mask.indices, mask.indptr = (
        a.astype(np.int64) for a in (mask.indices, mask.indptr)
    )
    crashed(small(connectivity=[mask, None, None]), path)
    small(connectivity=[mask, None, None]).fit(X, Y, checkpoint=path)


class Rate:
    """A learning rate with a state."""

    def __init__(self, initial, **more):
        self.initial = initial
        self.more = more

    def __call__(self, epochs):
        self.asked = epochs  # what training does to it is no other state
        return self.initial / 2**epochs

    def method(self, epochs):
        return self.initial


class Locked(Rate):
    """Nobody can copy it."""

    def __reduce_ex__(self, protocol):
        raise RuntimeError("no copies")

    def __deepcopy__(self, memo):
        return self


class Options(dict):
    pass


def powers(base, steps):
    return 0.01 / base**steps


#: what a file can't hold, and another of the same name
ALIKE = {
    "an attribute": ("learning_rate", lambda rate: Rate(rate)),
    "an array": ("learning_rate", lambda rate: Rate(0.1, array=np.full(3, rate))),
    "a method": ("learning_rate", lambda rate: Rate(rate).method),
    "a partial function": ("learning_rate", lambda rate: partial(powers, 1 + rate)),
    "a function within": ("learning_rate", lambda rate: partial(
        halved if rate > 0.01 else wilder)),
    "a dict's contents": ("class_weight", lambda rate: Options({0: 1, 1: 1 + rate})),
    "a scorer": ("early_stopping", lambda rate: EarlyStopping(
        scoring=make_scorer(fbeta_score, beta=1 + rate))),
    "a frozen model": ("base", lambda rate: FrozenEstimator(
        MLPClassifier((6, 6), alpha=rate, max_iter=2, random_state=0).fit(X, Y))),
}  # fmt: skip


@pytest.mark.parametrize(("name", "make"), ALIKE.values(), ids=ALIKE)
def test_objects_with_another_state_are_refused(name, make, path):
    def model(rate):
        return small(**{name: make(rate)})

    crashed(model(0.02), path)
    refused(model(1e-6), path, f"holds a run with another {name}: it was also a ")
    resumed = model(0.02).fit(X, Y, checkpoint=path)
    assert same(resumed.network, model(0.02).fit(X, Y).network)


def test_what_cannot_be_looked_into_is_compared_by_its_name(path):
    for first, then in (
        (lambda _: 0.1, lambda _: 0.1),
        (Locked(0.1), Locked(0.2)),
        (Rate(0.1, function=lambda: 1), Rate(0.1, function=lambda: 1)),
    ):
        crashed(small(learning_rate=first), path)
        small(learning_rate=then).fit(X, Y, checkpoint=path)
        path.unlink()


def test_a_new_process_finds_the_same_objects(path):
    """No address is in what is compared, nor which of its parts are one object."""
    script = """
        import sys
        sys.path.insert(0, sys.argv[2])
        from test_checkpoint import *
        model = small(learning_rate=Rate(0.1, names=["a", "b"], text="a", inner=Rate(2)))
        crashed(model, sys.argv[1])
    """
    folder = os.path.dirname(__file__)
    command = [sys.executable, "-c", textwrap.dedent(script), path, folder]
    subprocess.run(command, check=True)
    text = "".join(["a"])  # another object than the "a" in the list
    rate = Rate(0.1, names=["a", "b"], text=text, inner=Rate(2))
    small(learning_rate=rate).fit(X, Y, checkpoint=path)


def test_a_run_of_another_version_is_named_so(path, monkeypatch):
    crashed(small(), path)
    monkeypatch.setattr(module, "RUN", (*module.RUN, "news"))
    refused(small(), path, "its run is incomplete, or of another version")
