"""Models whose arrays joblib maps from a file, read-only: they predict, are saved and are
trained further as any other."""

import copy
import pickle

import joblib
import numpy as np
import pytest

import mlp

RNG = np.random.RandomState(0)
X = RNG.rand(60, 4)
Y = (X[:, 0] > 0.5).astype(int)
PAIRS = RNG.rand(60, 2, 4)
SHORT = {"max_iter": 3, "random_state": 0}

#: estimators whose fitted arrays are of all kinds, and what they are fitted to
MODELS = {
    "batch norm": (
        mlp.MLPClassifier(5, batch_norm="all+input", standardize=True, **SHORT),
        (X, Y),
    ),
    "labels, connectivity": (
        mlp.MLPClassifier(5, solver="sgd", connectivity=[RNG.rand(4, 5) > 0.3, None],
                          **SHORT),
        (X, np.array(["a", "b"])[Y]),
    ),
    "regressor": (mlp.MLPRegressor(5, dropout=0.5, standardize=True, **SHORT), (X, X)),
    "radial": (mlp.MLPRegressor(5, "rbf", solver="lbfgs", **SHORT), (X, Y)),
    "autoencoder": (mlp.MLPAutoencoder(5, tied=True, **SHORT), (X,)),
    "tasks": (mlp.MultiTaskClassifier(5, **SHORT), (X, np.column_stack([Y, Y + 1]))),
    "pairs": (
        mlp.SiameseClassifier(5, head="relation", batch_norm="hidden", **SHORT),
        (PAIRS, Y),
    ),
    "projections": (mlp.ProjectionPursuitRegressor(1), (X, X[:, 1])),
}  # fmt: skip
TRAINABLE = [name for name in MODELS if name not in ("radial", "projections")]

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def output(model, data):
    """Predictions, or an autoencoder's codes."""
    return (model.transform if hasattr(model, "transform") else model.predict)(data[0])


@pytest.fixture
def both(request, tmp_path):
    """A fitted estimator, the same one with mapped arrays, and its data."""
    estimator, data = MODELS[request.param]
    model = copy.deepcopy(estimator).fit(*data)
    joblib.dump(model, tmp_path / "model.joblib")
    return model, joblib.load(tmp_path / "model.joblib", mmap_mode="r"), data


every = pytest.mark.parametrize("both", MODELS, indirect=True)
trainable = pytest.mark.parametrize("both", TRAINABLE, indirect=True)


@every
def test_mapped_model_when_saved_then_its_file_predicts_the_same(both, tmp_path):
    model, mapped, data = both
    mapped.save(tmp_path / "model.mlp", training_state=True)
    loaded = mlp.load(tmp_path / "model.mlp")
    np.testing.assert_array_equal(output(loaded, data), output(model, data))


@every
@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))]
)
def test_mapped_model_when_copied_then_predicts_the_same(both, duplicate):
    model, mapped, data = both
    np.testing.assert_array_equal(output(duplicate(mapped), data), output(model, data))


@trainable
def test_mapped_model_when_trained_on_then_has_the_same_bits(both):
    model, mapped, data = both
    for each in (model, mapped):
        each.partial_fit(*data)
    np.testing.assert_array_equal(output(mapped, data), output(model, data))


@every
def test_mapped_model_when_warm_started_then_has_the_same_bits(both):
    model, mapped, data = both
    for each in (model, mapped):
        if "warm_start" in each.get_params():
            each.set_params(warm_start=True)
        each.fit(*data)
    np.testing.assert_array_equal(output(mapped, data), output(model, data))


def test_mapped_network_when_saved_then_its_file_predicts_the_same(tmp_path):
    network = mlp.Network([40, 30, 2], batch_norm="all+input")
    network.params[:] = RNG.randn(len(network.params))
    network.refold()
    joblib.dump(network, tmp_path / "network.joblib")
    mapped = joblib.load(tmp_path / "network.joblib", mmap_mode="r")
    mapped.save(tmp_path / "network.mlp")
    rows = RNG.rand(5, 40)
    np.testing.assert_array_equal(
        mlp.load(tmp_path / "network.mlp").forward(rows), network.forward(rows)
    )
