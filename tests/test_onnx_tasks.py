"""ONNX models of estimators with several tasks, or with two inputs."""

import numpy as np
import pytest
from test_onnx import DTYPES, assert_close, onnxruntime, quietly, run, samples

from mlp import to_onnx


@pytest.mark.parametrize("dtype", DTYPES)
def test_each_task_has_its_label_and_probabilities(dtype):
    module = pytest.importorskip("mlp.estimators.multitask")
    X = samples(100, 4, dtype)
    y = np.empty((100, 4), dtype=object)
    y[:, 0] = np.where(X[:, 0] > 0, "yes", "no")
    y[:, 1] = np.digitize(X[:, 1], [0, 1])
    y[:, 2] = 5
    y[:, 3] = X[:, 2] > 0
    y[::7, 1] = None
    est = module.MultiTaskClassifier(
        (8,), max_iter=20, random_state=0, batch_norm="all"
    )
    out = run(to_onnx(quietly(est, X, y)), X)
    expected = est.predict(X)
    for t, probabilities in enumerate(est.predict_proba(X)):
        assert_close(out[f"probabilities_{t}"], probabilities, dtype)
        assert (out[f"label_{t}"] == expected[:, t]).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("labels", [[0, 1], ["different", "same"]])
@pytest.mark.parametrize("head", ["cosine", "distance", "relation"])
def test_both_samples_of_a_pair_go_through_the_same_weights(head, labels, dtype):
    module = pytest.importorskip("mlp.estimators.siamese")
    pairs = samples(240, 4, dtype).reshape(120, 2, 4)
    y = np.array(labels)[(pairs.prod(axis=1).sum(axis=1) > 0).astype(int)]
    est = module.SiameseClassifier(
        (8,), head=head, max_iter=20, random_state=0, batch_norm="all", standardize=True
    )
    model = to_onnx(quietly(est, pairs, y))
    weights = [c for c in model.graph.initializer if list(c.dims) == [4, 8]]
    assert len(weights) == 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    first, second = (np.ascontiguousarray(pairs[:, k]) for k in (0, 1))
    label, p = session.run(["label", "probabilities"], {"X1": first, "X2": second})
    assert_close(p, est.predict_proba(pairs), dtype)
    decided = np.abs(est.decision_function(pairs)) > 1e-5
    assert decided.mean() > 0.9
    assert (label == est.predict(pairs))[decided].all()
