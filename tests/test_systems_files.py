"""The systems built from the network, saved, loaded, crashed and gone on."""

import pickle

import numpy as np
import pytest
import scipy.sparse as sp
from bitwise import same
from numpy.testing import assert_array_equal
from sklearn.base import clone
from test_checkpoint import crashed, path  # noqa: F401

import mlp
from mlp import MLPAutoencoder, MultiTaskClassifier, SiameseClassifier, sample_pairs

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

rng = np.random.RandomState(0)
X = rng.uniform(size=(80, 7))
LABELS = np.array(["a", "b", "c"])[rng.randint(0, 3, 80)]
TASKS = np.stack([LABELS, np.where(X[:, 0] > 0.5, "yes", "no")], axis=1).astype(object)
TASKS[::5, 1] = None
PAIRS, SAME = sample_pairs(LABELS, 60, random_state=0)

SETTINGS = {"max_iter": 7, "tol": 0.0, "random_state": 0, "batch_size": 16}
SYSTEMS = {
    "autoencoder": (MLPAutoencoder((5, 3), **SETTINGS), (X,)),
    "tied, denoising": (
        MLPAutoencoder((5, 3), tied=True, denoising=0.3, **SETTINGS),
        (X,),
    ),
    "sparse autoencoder": (MLPAutoencoder((4,), **SETTINGS), (sp.csr_array(X),)),
    "tasks": (MultiTaskClassifier((6,), task_weight=[1, 2], **SETTINGS), (X, TASKS)),
    "tasks stopped early": (
        MultiTaskClassifier((6,), early_stopping=True, dropout=0.3, **SETTINGS),
        (X, TASKS),
    ),
    "cosine": (SiameseClassifier((6,), head="cosine", **SETTINGS), (X[PAIRS], SAME)),
    "distance": (
        SiameseClassifier((6,), head="distance", **SETTINGS),
        (X[PAIRS], SAME),
    ),
    "relation": (
        SiameseClassifier((6,), head="relation", batch_norm="hidden", **SETTINGS),
        (X[PAIRS], SAME),
    ),
}
systems = pytest.mark.parametrize(("model", "data"), SYSTEMS.values(), ids=SYSTEMS)


def answers(model, data):
    if hasattr(model, "transform"):
        return [model.transform(data[0]), model.reconstruction_error(data[0])]
    return [model.predict(data[0]), *model.predict_proba(data[0])]


@systems
def test_saved_and_pickled_they_answer_alike(model, data, tmp_path):
    fitted = clone(model).fit(*data)
    fitted.save(tmp_path / "model.mlp")
    for copy in (mlp.load(tmp_path / "model.mlp"), pickle.loads(pickle.dumps(fitted))):
        for ours, theirs in zip(
            answers(copy, data), answers(fitted, data), strict=True
        ):
            assert_array_equal(ours, theirs)


@systems
def test_training_goes_on_from_a_file(model, data, tmp_path):
    fitted = clone(model).fit(*data)
    if fitted.get_params()["early_stopping"]:
        pytest.skip("not with partial_fit")
    fitted.save(tmp_path / "model.mlp", training_state=True)
    copy = mlp.load(tmp_path / "model.mlp")
    assert same(copy.partial_fit(*data), fitted.partial_fit(*data))


@systems
def test_a_crashed_fit_goes_on_to_the_same_bits(model, data, path):  # noqa: F811
    whole = clone(model).fit(*data)
    crashed(model, path, data=data)
    assert mlp.load(path).loss_curve_ == whole.loss_curve_[:4]
    resumed = clone(model).fit(*data, checkpoint=path)
    assert same(resumed, whole)
