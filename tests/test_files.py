"""Saving and loading: every bit comes back, nothing runs, nothing bad gets in."""

import hashlib
import json
import os
import pickle
import signal
import stat
import subprocess
import sys
import textwrap
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import skops.io
from bitwise import same
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.datasets import make_multilabel_classification
from small_data import both, either_dtype, make_data

import mlp
from mlp import (
    BatchNorm,
    CosineDecay,
    Dropout,
    EarlyStopping,
    MLPClassifier,
    MLPRegressor,
    Network,
    SiameseClassifier,
)
from mlp.estimators.saving import CODECS, ESTIMATORS, _of_version_1
from mlp.files import container, io
from mlp.files.encoding import Encoder
from mlp.projection_pursuit.regressor import ProjectionPursuitRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

DATA = Path(__file__).parent / "data"
X, Y = make_data()


def small_fit(Estimator=MLPClassifier, **options):
    settings = {"random_state": 0, "max_iter": 3, "tol": 0.0, **options}
    return Estimator((5, 5), **settings).fit(X, Y)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.mlp"


# -- everything comes back --

MODELS = {
    "plain": {},
    "no hidden layer": {"hidden_layer_sizes": ()},
    "batch norm": {"batch_norm": "all+input"},
    "residual": {"residual": True, "dropout": Dropout(0.3, scaling="test")},
    "dropout that decays all": {"dropout": Dropout(0.3, decay="all")},
    "exact zeros": {"l1": 0.01, "l1_method": "proximal"},
    "standardized": {"standardize": True},
    "a pair of betas": {"beta_1": (0.8, 0.9), "clip_norm": 1.0},
    "an activation a node": {
        "hidden_layer_sizes": (2, 1),
        "activation": [["tanh", ("leaky_relu", 0.1)], ["relu"]],
    },
    "radial basis functions": {"activation": ["rbf", "tanh"]},
    "no offsets": {"fit_intercept": False, "sampling": "replacement"},
    "parameters of NumPy": {
        "hidden_layer_sizes": np.array([4]),
        "alpha": np.float32(0.1),
        "n_iter_no_change": np.inf,
        "dtype": np.dtype("f4"),
        "shuffle": np.True_,
    },
    "a type": {"dtype": np.float32, "random_state": np.random.RandomState(3)},
    "early stopping": {"early_stopping": EarlyStopping(scoring="loss")},
    "a schedule": {"learning_rate": CosineDecay(epochs=5)},
    "full batch": {"solver": "lbfgs"},
    "connectivity": {"connectivity": [None, [[0, 2], [1], [3], [], [4, 0]], None]},
    "frozen": {"freeze": 1},
    "a base": {"base": Network([4, 5, 2])},
    "an estimator as base": {"base": MLPClassifier(5, max_iter=2).fit(X, Y)},
}


@both
@either_dtype
@pytest.mark.parametrize("options", MODELS.values(), ids=MODELS)
def test_an_estimator_comes_back_with_every_bit(Estimator, dtype, options, path):
    settings = {"hidden_layer_sizes": (5, 5), "max_iter": 3, "random_state": 0}
    model = Estimator(**{**settings, **options}).fit(X.astype(dtype), Y)
    model.save(path, training_state=True)
    back = mlp.load(path)
    assert same(back, model)
    assert_array_equal(back.predict(X.astype(dtype)), model.predict(X.astype(dtype)))
    assert back.coefs_[0].base is not None  # views into the network's parameters again
    assert back.network_.coefs[0] is back.coefs_[0]


LABELS = {
    "strings": np.where(Y, "yes", "no"),
    "objects": np.where(Y, "ja", "nein").astype(object),
    "truth values": Y.astype(bool),
    "floats": Y + 1.0,
    "small integers": (3 * Y).astype(np.int8),
    "big-endian": Y.astype(">i4"),
    "several": make_multilabel_classification(60, random_state=0)[1],
}


@pytest.mark.parametrize("y", LABELS.values(), ids=LABELS)
def test_labels_of_any_kind_come_back(y, path):
    model = MLPClassifier(4, max_iter=2, random_state=0).fit(X, y)
    model.save(path)
    back = mlp.load(path)
    assert_array_equal(back.classes_, model.classes_)
    assert back.classes_.dtype == model.classes_.dtype.newbyteorder("=")
    assert_array_equal(back.predict(X), model.predict(X))


def test_feature_names_and_class_weights_come_back(path):
    table = pd.DataFrame(X, columns=["a", "b", "ß", "d"])
    model = MLPClassifier(4, max_iter=2, class_weight={0: 1, 1: 2.5}).fit(table, Y)
    model.save(path)
    back = mlp.load(path)
    assert back.feature_names_in_.tolist() == ["a", "b", "ß", "d"]
    assert back.get_params() == model.get_params()
    assert_array_equal(back.predict_proba(table), model.predict_proba(table))


def test_an_unfitted_estimator_is_its_parameters(path):
    MLPRegressor((3, 2), alpha=float("nan")).save(path)
    back = mlp.load(path)
    assert back.hidden_layer_sizes == (3, 2)
    assert np.isnan(back.alpha)
    assert not hasattr(back, "network_")
    assert not hasattr(back, "network")


def test_what_was_put_into_coefs_by_hand_is_saved(path):
    model = small_fit()
    model.coefs_[0] = np.zeros_like(model.coefs_[0])
    model.save(path)
    assert not mlp.load(path).coefs_[0].any()


def test_a_projection_pursuit_comes_back(path):
    model = ProjectionPursuitRegressor(n_terms=2, random_state=0).fit(X, X[:, 0] ** 2)
    model.save(path)
    back = mlp.load(path)
    assert type(back) is ProjectionPursuitRegressor
    assert_array_equal(back.predict(X), model.predict(X))


NETWORKS = {
    "plain": Network([4, 3, 2]),
    "float32": Network([4, 3], dtype="float32"),
    "losses with a parameter": Network([4, 1], loss=("huber", 2.5)),
    "groups": Network(
        [4, 5], output_activation="softmax", groups=[2, 3], loss="log_loss"
    ),
    "batch norm": Network([4, 3, 3, 2], batch_norm="all+input", residual=True),
    "activations": Network([4, 2, 2], [["tanh", ("elu", 0.5, 2.0)]]),
    "activations of outputs": Network([4, 2], (), ["tanh", ("elu", 0.5, 2.0)]),
    "tied": Network([4, 2, 4], tied=True),
    "edges": Network([4, 3, 1], connectivity=[None, [[1, 2]]]),
    "folded": Network([4, 3, 3, 1], residual=True).folded(),
}


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_a_network_comes_back_with_every_bit(network, path):
    network = network.copy()
    rng = np.random.default_rng(0)
    network.params[:] = rng.standard_normal(network.params.size)
    for statistics in (network.input_statistics, *network.statistics):
        if statistics is not None:
            statistics[:] = rng.uniform(1, 2, statistics.shape)
    network.refold()
    network.save(path)
    back = mlp.load(path)
    assert same(back, network)
    inputs = X.astype(network.dtype)
    assert_array_equal(back.forward(inputs), network.forward(inputs))


def test_parameters_that_are_all_zero_stay_zero(path):
    network = Network([4, 3, 1], batch_norm="all")
    network.params[:] = 0
    network.save(path)
    assert not mlp.load(path).params.any()


def test_sparse_arrays_and_nested_values_come_back(path):
    model = small_fit()
    model.extra_ = {
        "csr": scipy.sparse.csr_array(X > 0.5),
        1: [(), (1, (2.5, None)), [float("-inf"), -0.0]],
        "mixed": np.array(["a", None, 2, np.float32(0.1)], dtype=object),
        "empty": [np.zeros((0, 3)), np.array([], dtype=object), np.array([""])],
        "complex": np.array([1j], dtype=np.complex64),
        "surrogate": "\ud800",
    }
    model.save(path)
    back = mlp.load(path).extra_
    assert (back["csr"] != model.extra_["csr"]).nnz == 0
    assert back.pop("csr").dtype == bool
    del model.extra_["csr"]
    assert same(back, model.extra_)


def test_every_exported_estimator_can_be_saved():
    exported = {name for name in mlp.__all__ if hasattr(getattr(mlp, name), "save")}
    assert exported - {"Network"} <= set(ESTIMATORS)


# -- further training --

CONTINUED = {
    "sgd": {"solver": "sgd", "learning_rate": "invscaling"},
    "adaptive": {"solver": "sgd", "learning_rate": "adaptive"},
    "adam": {"learning_rate": "cosine"},
    "inverse time": {"learning_rate": "inverse_time", "batch_size": 7},
    "adamw, batch norm": {"solver": "adamw", "batch_norm": "all"},
    "dropout": {"dropout": 0.2, "batch_size": 7},
    "step, a sample at a time": {
        "solver": "sgd",
        "learning_rate": "step",
        "batch_size": 1,
        "momentum": 0.0,
    },
}


@both
@either_dtype
@pytest.mark.parametrize("options", CONTINUED.values(), ids=CONTINUED)
def test_partial_fit_goes_on_with_the_same_bits(Estimator, dtype, options, path):
    inputs = X.astype(dtype)
    rng = np.random.RandomState(5)
    model = Estimator((5, 5), random_state=rng, learning_rate_init=0.01, **options)
    for _ in range(3):
        model.partial_fit(
            inputs, Y, **({"classes": [0, 1]} if Estimator is MLPClassifier else {})
        )
    model.save(path, training_state=True)
    back = mlp.load(path)
    for _ in range(3):
        model.partial_fit(inputs, Y)
        back.partial_fit(inputs, Y)
    assert same(back, model)


@both
def test_a_warm_start_goes_on_with_the_same_bits(Estimator, path):
    rng = np.random.RandomState(5)
    model = small_fit(Estimator, warm_start=True, random_state=rng)
    model.save(path, training_state=True)
    back = mlp.load(path)
    assert same(back.fit(X, Y), model.fit(X, Y))


def test_without_training_state_the_solver_begins_anew(path):
    model = small_fit()
    model.save(path, training_state=True)
    whole = path.stat().st_size
    model.save(path)
    assert path.stat().st_size < whole - 2 * model.network.params.nbytes
    back = mlp.load(path)
    assert back.partial_fit(X, Y)._optimizer.steps == 1
    assert_array_equal(mlp.load(path).predict_proba(X), model.predict_proba(X))


# -- parameters that are not data --


def half_square(y_true, y_out):
    return ((y_out - y_true) ** 2).sum(axis=1) / 2, y_out - y_true


def noisy(batch, rng):
    return batch + 0.01 * rng.standard_normal(batch.shape)


def test_functions_are_left_out_by_name_and_given_to_load(path):
    rng = np.random.RandomState(1)
    model = small_fit(MLPRegressor, loss=half_square, augment=noisy, random_state=rng)
    model.save(path, training_state=True)
    with pytest.raises(
        ValueError, match=r"augment \(.*noisy\), loss \(.*half_square\)"
    ):
        mlp.load(path)
    back = mlp.load(path, loss=half_square, augment=noisy)
    assert same(back, model)
    assert same(back.partial_fit(X, Y), model.partial_fit(X, Y))
    idle = mlp.load(path, loss=half_square, augment=None)
    assert idle.augment is None


def test_load_takes_nothing_that_the_file_does_not_ask_for(path):
    small_fit().save(path)
    with pytest.raises(ValueError, match="needs no value for augment"):
        mlp.load(path, augment=noisy)


def test_a_networks_own_loss_is_left_out_too(path):
    Network([2, 1], loss=half_square).save(path)
    with pytest.raises(ValueError, match="half_square"):
        mlp.load(path)
    assert mlp.load(path, loss=half_square).spec.loss.function is half_square


def test_a_subclass_of_the_users_is_refused(path):
    class Mine(MLPClassifier):
        pass

    with pytest.raises(ValueError, match="Mine can't be saved"):
        Mine().save(path)
    assert not path.exists()


@pytest.mark.parametrize(
    "value", [object(), np.array([object()]), np.longdouble(1), {1}]
)
def test_a_fitted_attribute_that_is_no_data_is_named(value, path):
    model = small_fit()
    model.extra_ = [value]
    with pytest.raises(ValueError, match=r"extra_\[0\]"):
        model.save(path)


def test_parameters_that_are_not_finite_are_not_saved(path):
    model = small_fit()
    model.network.params[3] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        model.save(path)


def test_a_network_with_an_attribute_unknown_to_the_format_is_refused(path):
    network = Network([2, 1])
    network.connectivity_of_tomorrow = 1
    with pytest.raises(ValueError, match="connectivity_of_tomorrow"):
        network.save(path)


# -- without scikit-learn --

WITHOUT = """
    import sys
    sys.modules["sklearn"] = sys.modules["scipy"] = None  # importing them raises
    import numpy as np, mlp
    network = mlp.load_network(sys.argv[1])
    X = np.load(sys.argv[2])
    np.save(sys.argv[2], network.forward(X))
"""


def run(script, *arguments):
    command = [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("what", ["estimator", "network"])
def test_a_saved_network_predicts_without_scikit_learn(what, path, tmp_path):
    model = small_fit(batch_norm="all", standardize=True)
    (model if what == "estimator" else model.network).save(path)
    np.save(tmp_path / "x.npy", X)
    done = run(WITHOUT, path, tmp_path / "x.npy")
    assert done.returncode == 0, done.stderr
    assert_array_equal(np.load(tmp_path / "x.npy"), model.network.forward(X))


def test_a_network_file_loads_without_scikit_learn(path):
    Network([2, 1]).save(path)
    script = """
        import sys
        sys.modules["sklearn"] = None
        import mlp
        assert type(mlp.load(sys.argv[1])) is mlp.Network
    """
    assert run(script, path).returncode == 0


def test_load_network_when_the_file_asks_for_functions_then_needs_the_loss_alone(path):
    model = small_fit(MLPRegressor, loss=half_square, augment=noisy)
    model.save(path, training_state=True)
    with pytest.raises(ValueError, match=r"loss \(.*half_square\)") as caught:
        mlp.load_network(path)
    assert "augment" not in str(caught.value)
    back = mlp.load_network(path, loss=half_square)
    assert same(back, model.network)
    assert_array_equal(mlp.load_network(path, loss=None).forward(X), back.forward(X))


def test_load_network_of_a_file_without_one_says_so(path):
    MLPClassifier().save(path)
    with pytest.raises(ValueError, match="MLPClassifier without a fitted network"):
        mlp.load_network(path)


def test_load_network_of_pairs_gives_the_pairs_networks(path):
    model = SiameseClassifier(4, max_iter=2, random_state=0)
    model.fit((X[:20], X[20:40]), Y[:20] == Y[20:40])
    model.save(path)
    assert same(mlp.load_network(path), model.network)


# -- all or nothing --


def litter(path):
    return sorted(set(os.listdir(path.parent)) - {path.name})


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failed_save_leaves_the_old_file_and_nothing_else(call, path, monkeypatch):
    model = small_fit()
    model.save(path)
    before = path.read_bytes()

    def full_disk(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, call, full_disk)
    with pytest.raises(OSError, match="no space"):
        model.partial_fit(X, Y).save(path)
    assert path.read_bytes() == before
    assert litter(path) == []


KILLED = """
    import os, sys, time
    import mlp
    network = mlp.Network([300, 300, 1])
    network.params[:] = 1
    def hang(*_):
        print("writing", flush=True)
        time.sleep(60)
    os.{call} = hang
    network.save(sys.argv[1])
"""


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL of POSIX")
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_save_that_is_killed_leaves_the_old_file(call, path):
    network = Network([300, 300, 1])
    network.save(path)
    before = path.read_bytes()
    script = textwrap.dedent(KILLED.format(call=call))
    command = [sys.executable, "-c", script, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "writing\n"
        assert len(litter(path)) == 1
        network.save(path)  # leaves the file of a process that lives alone
        assert len(litter(path)) == 1
        os.kill(child.pid, signal.SIGKILL)
    assert path.read_bytes() == before
    assert not mlp.load(path).params.any()
    network.save(path)  # takes away what the dead process left
    assert litter(path) == []


def test_a_link_goes_on_pointing_to_the_file(path, tmp_path):
    link = tmp_path / "link.mlp"
    link.symlink_to(path)
    Network([2, 1]).save(link)
    assert link.is_symlink()
    assert mlp.load(path).layer_sizes == (2, 1)


def test_a_link_to_itself_stays_one(tmp_path):
    link = tmp_path / "link.mlp"
    link.symlink_to(link)
    with pytest.raises(OSError, match="symbolic links"):
        Network([2, 1]).save(link)
    assert link.is_symlink()
    assert litter(link) == []


def read_all(fifo):
    """A thread that reads what is written to the pipe, and where it puts that."""
    found = []

    def read():
        found.append(fifo.read_bytes())

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    return thread, found


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with a name")
@pytest.mark.parametrize("through_a_link", [False, True])
def test_a_pipe_is_written_to_and_stays_a_pipe(through_a_link, path, tmp_path):
    network = Network([2, 1])
    network.save(path)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    target = fifo
    if through_a_link:
        target = tmp_path / "link"
        target.symlink_to(fifo)
    thread, found = read_all(fifo)
    network.save(target)
    thread.join(60)
    assert stat.S_ISFIFO(fifo.stat().st_mode)
    assert target.is_symlink() == through_a_link
    assert found == [path.read_bytes()]


@pytest.mark.skipif(not os.path.exists("/dev/null"), reason="needs /dev/null")
def test_a_device_gets_the_bytes_and_stays_one(tmp_path):
    link = tmp_path / "link"  # replacing what it points to would fail or do harm
    calls = []
    link.symlink_to("/dev/null")
    assert container.takes_bytes(link)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", lambda *places: calls.append(places))
        Network([2, 1]).save(link)
    assert not calls
    assert link.is_symlink() and link.is_char_device()


@pytest.mark.skipif(not os.path.exists("/dev/stdout"), reason="needs /dev/stdout")
def test_a_file_behind_the_output_is_gone_on_with(path, tmp_path):
    """`python … >> file`: neither replaced nor cut."""
    Network([2, 1]).save(path)
    script = """
        import mlp
        print("before", flush=True)
        mlp.Network([2, 1]).save("/dev/stdout")
        print("behind")
    """
    out = tmp_path / "out"
    out.write_bytes(b"old\n")
    with open(out, "ab") as file:
        command = [sys.executable, "-c", textwrap.dedent(script)]
        subprocess.run(command, stdout=file, check=True, timeout=120)
    assert out.read_bytes() == b"old\nbefore\n" + path.read_bytes() + b"behind\n"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with a name")
def test_a_writer_that_fails_writes_nothing_to_a_pipe(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    def fail(file):
        file.write(b"half")
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        container.write_atomically(fifo, fail)  # with no reader: it isn't even opened


def test_the_format_is_as_it_is_described(path):
    """Read by hand, from the description alone."""
    network = Network([2, 1])
    network.params[:] = [1, 2, 3]
    network.save(path)
    data = path.read_bytes()
    assert data[:8] == b"\x89mlp\r\n\x1a\n"
    version, size, length = np.frombuffer(data, "<u8", 3, 8)
    header = json.loads(data[32 : 32 + length])
    assert (version, size) == (1, len(data))
    assert header["arrays"] == [["<f8", [3]]]
    start = -(-(32 + int(length)) // 64) * 64
    assert_array_equal(np.frombuffer(data, "<f8", 3, start), [1, 2, 3])
    assert hashlib.sha256(data[:-32]).digest() == data[-32:]


# -- the other ways --

TRUSTED = {
    "mlp.network.activations.Activation",
    "mlp.network.connectivity.Edges",
    "mlp.network.features.BatchNorm",
    "mlp.network.features.Dropout",
    "mlp.estimators.classifier.MLPClassifier",
    "mlp.estimators.regressor.MLPRegressor",
    "mlp.network.losses.Loss",
    "mlp.network.network.Network",
    "mlp.network.spec.NetworkSpec",
    "mlp.training.schedules.CosineDecay",
    "mlp.training.schedules.Schedule",
    "mlp.training.stopping.EarlyStopping",
    "mlp.training.stopping.Progress",
    "mlp.training.minibatch.Optimizer",
    "numpy.dtype",
    "numpy.float32",
}


@both
@pytest.mark.parametrize("options", MODELS.values(), ids=MODELS)
def test_skops_takes_estimators_with_every_bit(Estimator, options):
    settings = {"hidden_layer_sizes": (5, 5), "max_iter": 3, "random_state": 0}
    model = Estimator(**{**settings, **options}).fit(X, Y)
    data = skops.io.dumps(model)
    ours = set(skops.io.get_untrusted_types(data=data))
    assert ours <= TRUSTED
    back = skops.io.loads(data, trusted=sorted(ours))
    assert_array_equal(back.predict(X), model.predict(X))
    assert same(back.network, model.network)
    if model.solver == "adam" and not model.early_stopping:
        assert same(back.partial_fit(X, Y).network, model.partial_fit(X, Y).network)


def test_a_loaded_estimator_pickles_and_clones(path):
    model = small_fit(random_state=np.random.RandomState(3))
    model.save(path, training_state=True)
    back = pickle.loads(pickle.dumps(mlp.load(path)))
    assert same(back, model)
    assert clone(back).get_params().keys() == model.get_params().keys()


# -- files of earlier versions: they load for ever --

REFERENCES = {
    "classifier": lambda: MLPClassifier(
        (3, 3),
        activation=[["tanh", "relu", ("elu", 0.5, 1.5)], ["gelu"] * 3],
        batch_norm="hidden+input",
        dropout=Dropout(0.2, scaling="test"),
        residual=True,
        early_stopping=True,
        learning_rate="cosine",
        random_state=np.random.RandomState(1),
        class_weight={"no": 1, "yes": 2.0},
    ),
    "regressor": lambda: MLPRegressor(
        (3,), loss="huber", standardize=True, solver="sgd", dtype=np.float32, random_state=0
    ),
    "projection-pursuit": lambda: ProjectionPursuitRegressor(2, random_state=0),
    "network-float32": lambda: Network([4, 3, 2], "tanh", "softmax", loss="log_loss",
                                       dtype="float32"),
    "network-float64": lambda: Network([4, 3, 2], batch_norm="all", residual=False),
}  # fmt: skip


def outputs(model, inputs):
    if isinstance(model, Network):
        return model.forward(inputs.astype(model.dtype))
    return getattr(model, "predict_proba", model.predict)(inputs)


@pytest.mark.parametrize("name", sorted(p.name for p in DATA.glob("*.mlp")))
def test_a_file_of_an_earlier_version_loads_for_ever(name):
    """These files are never written again; a new format adds files of its own."""
    expected = np.load(DATA / f"{name}.npz")
    model = mlp.load(DATA / name)
    np.testing.assert_allclose(
        outputs(model, expected["X"]), expected["outputs"], rtol=1e-5, atol=1e-7
    )
    if hasattr(model, "partial_fit"):
        y = expected["y"]
        model.set_params(early_stopping=False).partial_fit(expected["X"], y)
        np.testing.assert_allclose(
            outputs(model, expected["X"]), expected["next"], rtol=1e-4, atol=1e-6
        )


def test_the_parameters_of_losses_in_earlier_files_stand_with_their_names():
    assert mlp.load(DATA / "v1-network-huber.mlp").spec.loss.spec == ("huber", 0.25)
    assert mlp.load(DATA / "v1-regressor.mlp").loss == "huber"
    model = mlp.load(DATA / "v1-quantile.mlp")
    assert model.loss == model.network.spec.loss.spec == ("quantile", 0.9)
    given = np.load(DATA / "v1-quantile.mlp.npz")
    model.fit(given["X"], given["y"])  # a warm start compares them with the network's
    with pytest.raises(
        ValueError, match="loss='quantile' differs from the fitted network's"
    ):
        model.set_params(loss="quantile").fit(given["X"], given["y"])


def test_load_when_a_siamese_network_of_version_1_has_a_twin_then_it_is_the_branch(
    path,
):
    pairs = np.random.default_rng(0).standard_normal((12, 2, 3))
    model = mlp.SiameseClassifier(4, max_iter=1, head="distance")
    network = model.fit(pairs, np.arange(12) % 2).network_
    codec = CODECS["SiameseNetwork"]

    def encode(encoder, value, where):
        content = codec.encode(encoder, value, where)
        content["twin"] = content.pop("branch")
        return content

    encoder = Encoder({**CODECS, "SiameseNetwork": replace(codec, encode=encode)})
    io.write(path, encoder, encoder(network, "network"))
    loaded = mlp.load(path)
    assert_array_equal(loaded.params, network.params)
    assert_array_equal(loaded.embed(pairs[:, 0]), network.embed(pairs[:, 0]))


def test_parameters_of_earlier_files_are_arguments_of_what_they_belong_to():
    model = mlp.load(DATA / "v1-classifier.mlp")
    assert model.dropout == Dropout(0.2, scaling="test")
    assert model.batch_norm == "hidden+input" and model.early_stopping is True
    flat = {
        "dropout": 0.0,
        "input_dropout": 0.1,
        "dropout_mask": "sample",
        "dropout_scaling": "train",
        "dropout_decay": "kept",
        "batch_norm": "all",
        "batch_norm_momentum": 0.5,
        "batch_norm_epsilon": 1e-5,
        "early_stopping": True,
        "scoring": "loss",
        "restore_best": False,
    }
    assert _of_version_1(flat) == {
        "dropout": Dropout(0.0, input=0.1, mask="sample"),
        "batch_norm": BatchNorm("all", momentum=0.5),
        "early_stopping": EarlyStopping(scoring="loss", restore_best=False),
    }
    off = {"batch_norm": None, "early_stopping": False, "dropout": 0.5}
    rest = {"batch_norm_momentum": 0.5, "dropout_mask": "batch"}
    rest |= {"scoring": None, "restore_best": False}
    assert _of_version_1(off | rest) == off


def test_there_are_files_of_every_version():
    versions = range(1, container.FORMAT + 1)
    wanted = {f"v{version}-{name}.mlp" for version in versions for name in REFERENCES}
    assert wanted <= {p.name for p in DATA.glob("*.mlp")}


def write_references():
    """Write the files of the present format, once: `python tests/test_files.py`."""
    rng = np.random.default_rng(0)
    for name, make in REFERENCES.items():
        path = DATA / f"v{container.FORMAT}-{name}.mlp"
        model, arrays = make(), {"X": X[:10], "y": Y}
        if isinstance(model, Network):
            model.params[:] = rng.standard_normal(model.params.size)
            for statistics in model.statistics:
                if statistics is not None:
                    statistics[:] = rng.uniform(1, 2, statistics.shape)
            model.refold()
            model.save(path)
        else:
            labels = np.where(Y, "yes", "no") if name == "classifier" else Y
            arrays = {"X": X, "y": labels}
            options = {"training_state": True} if hasattr(model, "partial_fit") else {}
            model.fit(X, labels).save(path, **options)
        arrays["outputs"] = outputs(model, arrays["X"])
        if hasattr(model, "partial_fit"):
            model.set_params(early_stopping=False).partial_fit(X, arrays["y"])
            arrays["next"] = outputs(model, X)
        np.savez_compressed(f"{path}.npz", **arrays)


# -- sparse arrays of any format --

MASK = np.arange(20).reshape(4, 5) % 3 > 0


@pytest.mark.parametrize("kind", ["array", "matrix"])
@pytest.mark.parametrize("form", ["bsr", "coo", "csc", "csr", "dia", "dok", "lil"])
def test_connectivity_of_any_sparse_format_comes_back(form, kind, path):
    given = getattr(scipy.sparse, f"{form}_{kind}")(MASK)
    model = small_fit(connectivity=[given, None, None])
    model.save(path, training_state=True)
    back = mlp.load(path)
    assert isinstance(back.connectivity[0], getattr(scipy.sparse, f"csr_{kind}"))
    assert_array_equal(back.connectivity[0].toarray(), MASK)
    assert same(back.partial_fit(X, Y).network, model.partial_fit(X, Y).network)


class Sparse:
    def tocsr(self):
        raise NotImplementedError


def test_sparse_arrays_of_another_kind_are_left_out(path):
    for given in (scipy.sparse.coo_array(np.eye(4).astype("g")), Sparse()):
        MLPClassifier(connectivity=[given]).save(path)
        with pytest.raises(ValueError, match="hold connectivity"):
            mlp.load(path)


# -- what is given to load --


@both
def test_without_its_loss_a_model_predicts(Estimator, path):
    model = small_fit(Estimator, loss=half_square, batch_norm="all")
    model.save(path, training_state=True)
    back = mlp.load(path, loss=None)
    assert back.loss is None
    assert_array_equal(back.predict(X), model.predict(X))
    assert back.score(X, Y) == model.score(X, Y)
    assert "loss not_given" in back.summary()
    for call in (
        back.network.loss,
        back.network.gradients,
        back.network.loss_gradients,
    ):
        with pytest.raises(ValueError, match=r"the loss was not given.*mlp.load"):
            call(X, np.eye(2)[Y][:, : back.n_outputs_])
    for train in (back.fit, back.partial_fit):
        with pytest.raises(ValueError, match=r"'loss' parameter.*Got None"):
            train(X, Y)
    back.save(path)
    assert_array_equal(mlp.load(path).predict(X), model.predict(X))
    again = pickle.loads(pickle.dumps(back))
    assert_array_equal(again.predict(X), model.predict(X))


def test_without_its_loss_a_network_predicts(path):
    network = Network([4, 3, 1], loss=half_square)
    network.params[:] = np.linspace(-1, 1, network.params.size)
    network.save(path)
    back = mlp.load(path, loss=None)
    assert_array_equal(back.forward(X), network.forward(X))
    assert_array_equal(back.folded().copy().forward(X), network.forward(X))
    assert_array_equal(back.jacobian(X), network.jacobian(X))
    with pytest.raises(ValueError, match="the loss was not given"):
        back.loss(X, Y)


def constant(epochs):
    return 0.01


def endless(steps):
    return float("inf")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("loss", 5, "loss=5 can't be used: loss=5 is not a loss; there are"),
        ("loss", [1], r"loss=\[1\] can't be used: loss=\[1\] is not a loss"),
        ("loss", "poisson", "loss='poisson' can't be used: .* needs output_activation"),
        (
            "learning_rate",
            endless,
            r"endless .*can't be used: learning_rate\(0\) return",
        ),
    ],
)
def test_what_the_caller_gives_wrong_is_not_the_files_fault(name, value, message, path):
    functions = {"loss": half_square, "learning_rate": constant}
    small_fit(MLPRegressor, **functions).save(path, training_state=True)
    with pytest.raises(ValueError, match=message) as caught:
        mlp.load(path, **{**functions, name: value})
    assert "not a valid file" not in str(caught.value)
    mlp.load(path, **functions)


if __name__ == "__main__":
    write_references()
